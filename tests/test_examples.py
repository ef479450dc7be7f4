"""What a newcomer reads and runs: the README, the guide, the examples."""

import ast
import doctest
import importlib.util
import inspect
import os
import re
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from itertools import zip_longest
from pathlib import Path

import pytest
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import sklearn_unsup

ROOT = Path(__file__).parents[1]
GUIDE = sorted((ROOT / "docs" / "guide").glob("*.rst"))
PAGES = [
    *GUIDE,
    *(ROOT / "docs" / f"{name}.rst" for name in ("index", "install", "tour")),
]
# Their code takes a second; that of the others is run by `make test-all`.
QUICK_PAGES = {"autoencoder", "encoding", "install", "reproducibility"}
EXAMPLES = sorted((ROOT / "examples").glob("plot_*.py"))
SIDE_ROOMS = (
    *("augmentation", "constraints", "datasets", "impute", "inspection", "metrics"),
    *("outliers", "over_sampling", "pipeline", "privacy"),
)


def read(*parts):
    return ROOT.joinpath(*parts).read_text(encoding="utf-8")


def run(script, folder):
    """Run a script as a user would, but on one thread and without a screen."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    environment.pop("PYTHONWARNINGS", None)
    return subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


# --------------------------------------------------------------------- README


def python_blocks(text):
    """Code of a page's blocks, each after as many blank lines as it has above, and
    what is said to be printed: the comments that end the block.

    An error then names the line of the page.
    """
    pattern = r"```python\n(.*?)((?:^#[^\n]*\n)*)```"
    for match in re.finditer(pattern, text, re.DOTALL | re.MULTILINE):
        printed = re.sub(r"^# ?", "", match[2], flags=re.MULTILINE)
        yield "\n" * text.count("\n", 0, match.start(1)) + match[1], printed


def differences(printed, expected):
    """Pairs of words that are not the same, nor numbers within a tenth of each other.

    What a fit learns differs in its last bits between processors.
    """
    words = zip_longest(printed.split(), expected.split(), fillvalue="")
    return [pair for pair in words if not agree(*pair)]


def agree(word, other):
    try:
        return float(word) == pytest.approx(float(other), rel=0.1)
    except ValueError:
        return word == other


def test_differences_are_found():
    assert differences("a  1.0\nb", "a 1.05 b") == []
    assert differences("a 1.0", "a 1.2") == [("1.0", "1.2")]
    assert differences("a", "a b") == [("", "b")]
    assert differences("a", "") == [("a", "")]


@pytest.mark.slow
def test_readme_prints_what_it_says():
    names = {}
    blocks = list(python_blocks(read("README.md")))
    assert len(blocks) == 4
    for block, expected in blocks:
        printed = StringIO()
        with redirect_stdout(printed):
            exec(compile(block, "README.md", "exec"), names)
        assert differences(printed.getvalue(), expected) == []
    rows = names["rows"]
    assert (rows["plan"] == "pro").all()
    assert rows["height"].between(170, 180).all()
    assert f"by hand, {encoded_by_hand(names['table']):.2f}\n" in blocks[2][1]


def encoded_by_hand(table):
    """Accuracy of the README's regression on all columns, without a reducer."""
    X = table.drop(columns="active").assign(joined=table["joined"].astype("int64"))
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    encoder = make_column_transformer(
        (numbers, ["height", "weight", "visits", "spend", "joined"]),
        (OneHotEncoder(handle_unknown="ignore"), ["plan", "region"]),
    )
    model = make_pipeline(encoder, LogisticRegression())
    return cross_val_score(model, X, table["active"], cv=3).mean()


def test_front_page_table_of_verbs():
    """A verb is described in a column of the table exactly if the class has it."""
    table = read("docs/index.rst").partition("What each estimator does")[2]
    table = table.partition(".. toctree")[0]
    rows = [row.split("\n     - ") for row in re.split(r"\n   \* - ", table)[1:]]
    head, *rows = [[" ".join(cell.split()) for cell in row] for row in rows]
    names = [name.strip("`~").rpartition(".")[2] for name in head[1:]]
    assert sorted(names) == sorted(sklearn_unsup.__all__)
    assert len(rows) == 5
    for verbs, *cells in rows:
        for name, cell in zip(names, cells, strict=True):
            for verb in re.findall(r"``(\w+)\(", verbs):
                offered = hasattr(getattr(sklearn_unsup, name), verb)
                assert offered != cell.startswith("none"), (name, verb)


def test_readme_commands_and_links():
    text = read("README.md")
    commands = re.findall(r"^make ([\w-]+)", text, re.MULTILINE)
    assert commands == ["demo", "test"]
    for command in commands:
        assert re.search(rf"^{command}\b.*:", read("Makefile"), re.MULTILINE)
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", text)
    assert links
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    anchors = {f"#{heading.lower().replace(' ', '-')}" for heading in headings}
    files = [link for link in links if link not in anchors]
    assert [link for link in files if not ROOT.joinpath(link).exists()] == []


# ------------------------------------------------------------------------ docs


def page_parameters():
    for page in PAGES:
        marks = [] if page.stem in QUICK_PAGES else [pytest.mark.slow]
        yield pytest.param(page, id=page.stem, marks=marks)


DECIMAL = re.compile(r"-?\d*\.\d+|-?\d+\.")


class NearlyEqual(doctest.OutputChecker):
    """Numbers with a decimal point may be a tenth off, for the reason given above."""

    def check_output(self, want, got, optionflags):
        if super().check_output(want, got, optionflags):
            return True
        texts = [" ".join(DECIMAL.sub("#", text).split()) for text in (want, got)]
        numbers = [DECIMAL.findall(text) for text in (want, got)]
        return texts[0] == texts[1] and all(map(agree, *numbers))


@pytest.mark.parametrize(
    ("got", "same"),
    [
        ("a  12 1.05\n", True),
        ("a 12  1.2\n", False),
        ("a 13 1.0\n", False),
        ("b 12 1.0\n", False),
        ("a 12 1.0 1.0\n", False),
    ],
)
def test_nearly_equal(got, same):
    assert NearlyEqual().check_output("a 12 1.0\n", got, 0) == same


@pytest.mark.usefixtures("default_batches")
@pytest.mark.parametrize("page", page_parameters())
def test_guide_examples(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # for pages that save something
    # Noise of a budget has no seed, and its audit finds something in one of forty.
    for _ in range(2 if page.stem == "privacy" else 1):
        examples = doctest.DocTestParser().get_doctest(
            page.read_text("utf-8"), {"__name__": "__main__"}, page.name, str(page), 0
        )
        runner = doctest.DocTestRunner(NearlyEqual(), optionflags=doctest.ELLIPSIS)
        runner.run(examples)
        assert runner.tries > 0
        if runner.failures == 0:
            break
    assert runner.failures == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_answers_are_shown(page):
    """A page prints the answer, and `True` only where equality is the question."""
    for example in doctest.DocTestParser().get_examples(page.read_text("utf-8")):
        if example.want.strip() in ("True", "False"):
            assert re.search(r"equals?\(", example.source), example.source


# Pages that a task leads to, from the front page.
TASKS = {
    *("augmentation", "autoencoder", "balancing", "conditions", "constraints"),
    *("growing", "images", "imputation", "privacy", "unusual_rows", "vae"),
}


@pytest.mark.parametrize("name", sorted(TASKS))
def test_head_of_a_task(name):
    """When to take it, and when not; what to set; code that prints something."""
    page = ROOT / "docs" / "guide" / f"{name}.rst"
    head = re.split(r"^[^\n]+\n-{4,}\n", page.read_text("utf-8"), flags=re.M)[0]
    fields = re.findall(r"^:([A-Z][^:\n]+):", head, re.MULTILINE)
    assert fields == ["Use it", "Rather not", "Set first"]
    set_first = head.partition(":Set first:")[2].partition("\n\n")[0]
    assert len(set(re.findall(r"`(\w+)[`=]", set_first))) >= 2
    examples = doctest.DocTestParser().get_examples(head)
    assert any(example.want for example in examples)
    text = page.read_text("utf-8")
    assert re.search(r"list-table::|^ *=+ +=+", text, re.MULTILINE)
    assert f"guide/{name}" in read("docs", "index.rst").partition(".. toctree")[0]


def code_of_pages():
    """Name and code of README, guide and examples, without running any."""
    blocks = [block for block, _ in python_blocks(read("README.md"))]
    yield "README.md", "\n".join(blocks)
    for page in PAGES:
        examples = doctest.DocTestParser().get_examples(page.read_text("utf-8"))
        yield page.name, "".join(example.source for example in examples)
    for script in EXAMPLES:
        yield script.name, script.read_text(encoding="utf-8")


def called(node, imported):
    """What a call calls, if it was imported or is a method of what was; else None."""
    function = node.func
    if isinstance(function, ast.Name):
        return imported.get(function.id)
    owner = getattr(function, "value", None)
    if isinstance(owner, ast.Name) and owner.id in imported:
        return getattr(imported[owner.id], function.attr)
    return None


@pytest.mark.parametrize(
    ("page", "code"), [pytest.param(*each, id=each[0]) for each in code_of_pages()]
)
def test_pages_use_what_there_is(page, code):
    """What they import exists, and takes the arguments that are named.

    Most pages take too long to be run each time; this finds a name that was changed.
    """
    nodes, imported, n_calls = list(ast.walk(ast.parse(code, page))), {}, 0
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module.startswith("sklearn_unsup"):
            for alias in node.names:
                path = f"{node.module}.{alias.name}"
                imported[alias.asname or alias.name] = resolve(path)
    for node in nodes:
        if isinstance(node, ast.Call) and (function := called(node, imported)):
            n_calls += 1
            parameters = inspect.signature(function).parameters
            named = {keyword.arg for keyword in node.keywords} - {None}
            # Arguments of the page's own networks.
            named = {name.partition("__")[0] for name in named}
            assert named <= set(parameters), f"{page}, line {node.lineno}"
    assert n_calls > 0


def test_guide_names_real_parameters():
    """Words in backticks that assign a value are parameters of something public."""
    # of the environment; of scikit-learn, numpy, matplotlib, skorch, torch
    known = {"OMP_NUM_THREADS", "SKLEARN_UNSUP_CUDA_GRAPHS"}
    known |= {"class_weight", "n_jobs", "method", "layout", "monitor"}
    known |= {"optimizer__weight_decay"}
    for item in map(resolve, documented_in_api()):
        methods = inspect.getmembers(item, inspect.isroutine)
        own = [method for name, method in methods if not name.startswith("_")]
        for function in [item, *own] if inspect.isclass(item) else [item]:
            known |= set(inspect.signature(function).parameters)
    for page in [*PAGES, ROOT / "README.md"]:
        text = page.read_text(encoding="utf-8")
        text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        assigned = re.findall(r"`(\w+)=[^`]*`", text)
        assert set(assigned) <= known, page.name


LINKED = [
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG")),
    *PAGES,
    *((ROOT / "docs" / name) for name in ("api.rst", "benchmarks.rst")),
    *((ROOT / "docs" / name) for name in ("architecture.md", "changelog.md")),
    *sorted((ROOT / "docs" / "notes").glob("*.md")),
    *EXAMPLES,
]


@pytest.mark.parametrize("path", LINKED, ids=lambda path: path.name)
def test_measures_have_one_name(path):
    """That of their column in a report; papers write some of them in capitals."""
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"\b(C2ST|TSTR|TRTR|DCR)\b", text) == []


def missing_links(path):
    """Pages and files that a text leads to or names, and that are not there."""
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r":doc:`(?:[^`<]*<)?([^`>]+)>?`", text):
        # sphinx-gallery puts the scripts' pages there.
        folder = ROOT / "docs" / "auto_examples" if path in EXAMPLES else path.parent
        base = ROOT / "docs" if target.startswith("/") else folder
        page = (base / target.lstrip("/")).resolve()
        if page.parent.name == "auto_examples":  # made of the scripts
            page = ROOT / "examples" / page.name.replace("index", "GALLERY_HEADER")
        if not any(page.with_suffix(end).exists() for end in (".rst", ".md", ".py")):
            yield target
    if path.suffix == ".md":
        links = re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", text)
        yield from (link for link in links if not (path.parent / link).exists())
    folders = "benchmarks|docs|examples|sklearn_unsup|tests"
    named = re.findall(rf"`((?:{folders})/[\w/.-]*\w)(?=[` ])", text)
    yield from (name for name in named if not (ROOT / name).exists())


@pytest.mark.parametrize("path", LINKED, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    assert list(missing_links(path)) == []


def test_missing_links_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "[a](b.md), [c](page.md), :doc:`d`, :doc:`page`, :doc:`text <e>`, "
        "`benchmarks/none.py`, `benchmarks/peers.py --repeats 1`, `tests/no.py -x`"
    )
    assert list(missing_links(page)) == [
        "d",
        "e",
        "b.md",
        "benchmarks/none.py",
        "tests/no.py",
    ]


def test_every_page_is_in_the_contents():
    """The build would say so, too, but the build is no part of the tests."""
    listed = re.findall(r"^   ([\w/]+)$", read("docs", "index.rst"), re.MULTILINE)
    pages = [page.relative_to(ROOT / "docs") for page in (ROOT / "docs").glob("*.*")]
    notes = (ROOT / "docs" / "notes").glob("*.md")
    pages += [page.relative_to(ROOT / "docs") for page in [*GUIDE, *notes]]
    pages = {
        page.with_suffix("").as_posix()
        for page in pages
        if page.suffix in (".rst", ".md") and page.stem != "index"
    }
    assert pages | {"auto_examples/index"} == set(listed)


def test_pictures_of_the_pages():
    """Each is shown somewhere, says what it shows, and is small."""
    folder, shown = ROOT / "docs", set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        names = re.findall(r"^ *\.\. (?:image|figure):: (.+)$", text, re.MULTILINE)
        assert len(re.findall(r"^ +:alt: \S", text, re.M)) == len(names), page.name
        shown |= {(page.parent / name).resolve() for name in names}
    assert shown == {path.resolve() for path in (folder / "pictures").glob("*.png")}
    assert max(path.stat().st_size for path in shown) < 100_000


def documented_in_api():
    """Paths of the objects in the API page's tables."""
    module, found = None, []
    for line in read("docs", "api.rst").splitlines():
        if line.startswith(".. currentmodule::"):
            module = line.split()[-1]
        elif re.fullmatch(r"   \w+", line):
            found.append(f"{module}.{line.strip()}")
    return found


def resolve(path):
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_api_page_lists_what_is_public():
    public = [f"sklearn_unsup.{name}" for name in sklearn_unsup.__all__]
    for room in SIDE_ROOMS:
        if importlib.util.find_spec(f"sklearn_unsup.{room}") is not None:
            names = importlib.import_module(f"sklearn_unsup.{room}").__all__
            public += [f"sklearn_unsup.{room}.{name}" for name in names]
    assert sorted(documented_in_api()) == sorted(public)


# -------------------------------------------------------------------- examples


@pytest.mark.slow
def test_quickstart(tmp_path):
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="needs the extra plot")
    done = run(ROOT / "examples" / "quickstart.py", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no warning either

    # every row meets the condition
    drawn = re.search(r"(\d+) of (\d+) drawn rows meet", done.stdout)
    assert drawn[1] == drawn[2]
    # samples are like the real rows, which columns drawn one by one are not
    judged = {
        name: [float(number) for number in numbers.split()]
        for name, numbers in re.findall(
            r"^(synthetic|independent columns) +([-.\d ]+)$", done.stdout, re.M
        )
    }
    for samples, independent in list(
        zip(judged["synthetic"], judged["independent columns"], strict=True)
    )[1:4:2]:  # trend and tstr
        assert samples > independent + 0.05
    # PCA leads in no line of the variance kept, and not among pictures
    kept = dict(re.findall(r"^(\w+(?:, \d)?) +(\d\.\d+)", done.stdout, re.M))
    for size in ("", ", 2", ", 4", ", 8"):
        assert float(kept[f"AutoencoderTransformer{size}"]) > float(kept[f"PCA{size}"])

    assert [path.name for path in tmp_path.iterdir()] == ["quickstart.png"]
    picture = pyplot.imread(tmp_path / "quickstart.png")
    assert picture[..., :3].std() > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.stem)
def test_example(script, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra plot")
    # Each asserts its own claim; without an assertion this would say little.
    assert re.search(r"^ *assert ", script.read_text(encoding="utf-8"), re.MULTILINE)
    done = run(script, tmp_path)
    assert done.returncode == 0, done.stderr
