"""What is built, installed and promised: files, metadata, lowest versions."""

import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import sklearn_unsup

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def read_pins(name):
    """Pinned version of each package in a file of constraints."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return {
        package.lower(): tuple(int(part) for part in version.split("."))
        for package, version in re.findall(r"^([\w.-]+)==([\d.]+)$", text, re.M)
    }


def lower_bounds():
    """Package and lowest version of each requirement, but those of the pages."""
    project = PROJECT["project"]
    extras = {**project["optional-dependencies"], "needed": project["dependencies"]}
    extras["build"] = PROJECT["build-system"]["requires"]
    del extras["docs"]
    for requirement in sorted({item for items in extras.values() for item in items}):
        name, version = re.fullmatch(
            r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", requirement
        ).groups()
        yield name, tuple(int(part) for part in version.split("."))


@pytest.mark.parametrize(("name", "lowest"), lower_bounds())
def test_lower_bounds_are_those_of_the_floor_environment(name, lowest):
    """Both lists name a package: its lowest version, and one of the newest."""
    pinned = read_pins("constraints-floor.txt")[name]
    if name == "torch":  # see the comment in constraints-floor.txt
        assert pinned >= lowest
    else:
        assert pinned[: len(lowest)] == lowest
    assert read_pins("constraints.txt")[name] >= pinned


def test_citation_names_the_version_and_the_authors():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {sklearn_unsup.__version__}\n" in text
    [author] = PROJECT["project"]["authors"]
    assert f"\n  - name: {author['name']}\n" in text


# ----------------------------------------------------------------------- built files


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The source archive, and the wheel that is built of it as an index's users do."""
    pytest.importorskip("hatchling", reason="needs the extra test")
    pytest.importorskip("hatch_fancy_pypi_readme", reason="needs the extra test")
    folder = tmp_path_factory.mktemp("built")
    build(ROOT, "sdist", folder)
    [archive] = folder.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    [source] = (path for path in folder.iterdir() if path.is_dir())
    build(source, "wheel", folder)
    [wheel] = folder.glob("*.whl")
    return source, wheel


def build(source, target, folder):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)],
        cwd=source,
        check=True,
        capture_output=True,
    )


@pytest.mark.slow
def test_the_source_archive_can_run_its_tests(built):
    source, _ = built
    for name in ("Makefile", "constraints-floor.txt", "README.md", "CITATION.cff"):
        assert (source / name).read_bytes() == (ROOT / name).read_bytes()
    names = {path.name for path in (ROOT / "tests").glob("*.py")}
    assert {path.name for path in (source / "tests").glob("*.py")} == names
    assert not any(path.name.startswith(".venv") for path in source.iterdir())


@pytest.mark.slow
def test_the_wheel_holds_the_package_alone(built):
    with zipfile.ZipFile(built[1]) as wheel:
        names = [name for name in wheel.namelist() if ".dist-info/" not in name]
    package = ROOT / "sklearn_unsup"
    files = {path.relative_to(ROOT).as_posix() for path in package.rglob("*.py")}
    assert set(names) == files | {"sklearn_unsup/py.typed"}


@pytest.mark.slow
def test_the_metadata(built):
    """What an index shows: nothing there leads to a file that it does not have."""
    with zipfile.ZipFile(built[1]) as wheel:
        [name] = (n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(wheel.read(name).decode("utf-8"))
        licenses = [n for n in wheel.namelist() if n.endswith("licenses/LICENSE")]
    assert metadata["Name"] == "sklearn-unsup"
    assert metadata["Version"] == sklearn_unsup.__version__
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert len(licenses) == 1
    assert metadata["Description-Content-Type"] == "text/markdown"
    text = metadata.get_payload()
    assert text.startswith("# sklearn_unsup")
    assert re.findall(r"\]\((?!https?:)[^)]*\)", text) == []
    assert "![" not in text
    assert "*A table of numbers" not in text  # the caption of the picture
    assert text.count("](https:") == (ROOT / "README.md").read_text(
        encoding="utf-8"
    ).count("](https:")
    needed = {
        item.split(";")[0].strip()
        for item in metadata.get_all("Requires-Dist")
        if "extra ==" not in item
    }
    assert needed == set(PROJECT["project"]["dependencies"])


USE = """
import importlib.metadata, pathlib, sys
import sklearn_unsup
from sklearn_unsup import VAETransformer
from sklearn_unsup.datasets import make_mixed_table

folder = pathlib.Path(sklearn_unsup.__file__).parent
assert folder.is_relative_to(sys.argv[1]), folder
assert (folder / "py.typed").exists()
assert importlib.metadata.version("sklearn-unsup") == sklearn_unsup.__version__
table, _ = make_mixed_table(60, random_state=0)
model = VAETransformer(2, hidden_layer_sizes=(8,), max_iter=1, random_state=0)
rows = model.fit(table).sample(7, conditions={"plan": "pro"})
assert rows.dtypes.equals(table.dtypes)
assert (rows["plan"] == "pro").sum() == 7
"""


@pytest.mark.slow
def test_the_installed_wheel_fits_and_samples(built, tmp_path):
    """In an environment that sees the dependencies, but not this checkout."""
    environment = tmp_path / "environment"
    venv.create(environment, symlinks=True)
    python = environment / "bin" / "python"
    [site] = environment.glob("lib/python*/site-packages")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", str(python), "install"),
            *("--quiet", "--no-deps", "--no-index", str(built[1])),
        ],
        check=True,
    )
    # Folders named in such a file are searched last, and their own .pth files, by
    # which the checkout is found, are not read.
    folders = [path for path in sys.path if path.endswith("site-packages")]
    (site / "dependencies.pth").write_text("\n".join(folders) + "\n")
    done = subprocess.run(
        [str(python), "-I", "-W", "ignore", "-c", USE, str(site)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
