"""The floors of the package: who may import whom, and how large a file may grow.

Read from the source, not from what happens to be imported: an import inside a function
counts, and nothing has to be installed.
"""

import ast
import functools
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = "sklearn_unsup"
SOURCE = Path(__file__).parents[1] / PACKAGE
MAX_FILE, MAX_FUNCTION = 350, 60  # lines of code

TABLE_LIBRARIES = {"numpy", "pandas", "scipy", "sklearn"}
LAYOUT = "_table.layout"


@dataclass(frozen=True)
class Floor:
    """What the files of a floor may import besides the standard library.

    Files of the package are named as Python does, without the package itself. A name
    stands for the file and for all files below it.
    """

    files: set[str]
    libraries: set[str]
    own: set[str]
    # Libraries that the package does not depend on: inside functions only.
    inside_functions: frozenset[str] = frozenset()


# The first floor that a file belongs to counts. CONTRIBUTING.md shows the same table.
FLOORS = {
    "names": Floor({"__init__"}, set(), {"_version", "_autoencoder", "_vae", "_gan"}),
    "contract": Floor({"_version", "_warnings", LAYOUT}, set(), set()),
    "tables": Floor(
        {"_table"},
        TABLE_LIBRARIES,
        {"_table", "_warnings"},
        frozenset({"polars", "pyarrow"}),
    ),
    "private tables": Floor(
        {"_privacy"},
        TABLE_LIBRARIES,
        {"_privacy"}
        | {f"_table.{name}" for name in ("constraint_set", "frames", "kinds", "plain")},
        frozenset({"dp_accounting"}),
    ),
    "tensors": Floor({"_nn"}, {"numpy", "torch"}, {"_nn", LAYOUT, "_warnings"}),
    "training": Floor(
        {"_training", "_skorch"},
        {"numpy", "skorch", "torch", "tqdm"},
        {"_training", "_skorch", "_nn", LAYOUT, "_warnings"},
        frozenset({"accelerate"}),
    ),
    "sampling": Floor(
        {"_sampling"}, {*TABLE_LIBRARIES, "torch"}, {"_sampling", "_nn", LAYOUT}
    ),
    "shell": Floor(
        {
            *("_sklearn", "_parameters", "_validation", "_encoding", "_scoring"),
            *(
                "_base",
                "_constrained_imputation",
                "_drawing",
                "_fitting",
                "_holes",
                "_imputation",
                "_interpretation",
                "_own_nets",
                "_public_methods",
                "_row_columns",
                "_row_fitting",
                "_transfer",
            ),
        },
        {*TABLE_LIBRARIES, "skorch", "torch"},
        {
            *("_sklearn", "_parameters", "_validation", "_encoding", "_base"),
            *("_scoring", "_drawing", "_fitting", "_holes", "_imputation"),
            "_constrained_imputation",
            *("_interpretation", "_own_nets", "_public_methods"),
            *("_row_columns", "_row_fitting", "_transfer"),
            *("_table", "_nn", "_training", "_sampling", "_warnings", "_version"),
        },
    ),
    "public": Floor(
        {"_autoencoder", "_vae", "_gan"},
        {*TABLE_LIBRARIES, "skorch", "torch"},
        {"_base", "_encoding", "_imputation", "_interpretation", "_parameters"}
        | {"_row_columns", "_row_fitting", "_scoring", "_sklearn", "_privacy"}
        | {"_transfer", "_validation"}
        | {"_table", "_nn", "_training", "_sampling", "_warnings"},
    ),
    "side rooms": Floor(
        {"augmentation", "constraints", "datasets", "pipeline", "over_sampling"}
        | {"metrics", "inspection", "impute", "outliers", "privacy"},
        {*TABLE_LIBRARIES, "imblearn"},
        {"__init__", "_validation", "_warnings", "_privacy.budget", "metrics"}
        | {f"_table.{name}" for name in ("frames", "kinds", "plain", "polars")}
        | {f"_table.{name}" for name in ("constraints", "constraint_set")}
        | {f"_table.{name}" for name in ("discovery", "quantiles")},
        frozenset({"matplotlib"}),
    ),
}
# What these libraries call private may change: then one file changes with it.
PRIVATE = {
    "sklearn": "_sklearn",
    "imblearn": "_sklearn",
    "skorch": "_skorch",
    "torch": "_nn.torch_private",
}
# Private attributes of skorch's nets that a method of ours might reach for.
OF_A_NET = {"_modules", "_criteria", "_optimizers", "_set_training"} | {
    f"_initialize_{part}" for part in ("module", "criterion", "optimizer", "callbacks")
}


def name_of(path):
    """A file's name as Python has it, without that of the package."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and parts[1:] else parts)


def covers(names, file):
    """Whether one of the names is that of the file or of a folder around it."""
    return any(file == name or file.startswith(f"{name}.") for name in names)


def floor_of(file):
    return next((floor for floor in FLOORS.values() if covers(floor.files, file)), None)


@dataclass(frozen=True)
class Import:
    """One imported module, absolute, with the names taken from it."""

    module: str
    names: tuple[str, ...]
    in_function: bool
    line: int

    @property
    def library(self):
        return self.module.split(".")[0]

    def own_files(self):
        """Files of the package that this import reaches."""
        module = self.module.partition(".")[2]
        below = {f"{module}.{n}".strip(".") for n in self.names}
        files = {name for name in below if name in FILES}
        if len(files) < len(self.names) or not self.names:
            files.add(module or "__init__")
        return files


@functools.cache
def parse(source):
    """Once for all tests of a file, as it takes most of their time."""
    return ast.parse(source)


def find_imports(tree, package):
    """Every import in a module that lies in `package`."""
    found = []

    def visit(node, in_function):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found.append(Import(alias.name, (), in_function, node.lineno))
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                parts = package.split(".")
                base = parts[: len(parts) - node.level + 1]
                module = ".".join([*base, module] if module else base)
            names = tuple(alias.name for alias in node.names)
            found.append(Import(module, names, in_function, node.lineno))
        inside = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(tree, False)
    return found


def find_private_attributes(tree):
    """Library and attribute of everything private that is reached for by a dot."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not is_private(node.attr):
            continue
        if node.attr in OF_A_NET:
            yield "skorch", node.attr, node.lineno
        root = node.value
        while isinstance(root, ast.Attribute):
            root = root.value
        if isinstance(root, ast.Name) and root.id in PRIVATE:
            yield root.id, node.attr, node.lineno


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def find_violations(file, source):
    """Sentences, one for each thing that the file's floor forbids."""
    floor, tree = floor_of(file), parse(source)
    parts = [PACKAGE, *file.split(".")]
    package = ".".join(parts if file in FOLDERS else parts[:-1])
    for item in find_imports(tree, package):
        where = f"{file}, line {item.line}: {item.module}"
        if item.library == PACKAGE:
            for name in item.own_files():
                same_room = covers({file.split(".")[0]}, name)
                if not covers(floor.own, name) and not same_room:
                    yield f"{where} reaches {name}, allowed are {sorted(floor.own)}"
        elif item.library in floor.inside_functions:
            if not item.in_function:
                yield f"{where} belongs inside the function that needs it"
        elif item.library not in sys.stdlib_module_names | floor.libraries:
            yield f"{where} is not among {sorted(floor.libraries)}"
        private = filter(is_private, [*item.module.split("."), *item.names])
        if any(private) and PRIVATE.get(item.library, file) != file:
            home = PRIVATE[item.library]
            yield f"{where} is private to {item.library}: take it from {home}"
    for library, name, line in find_private_attributes(tree):
        if PRIVATE[library] != file:
            yield f"{file}, line {line}: {name} is private to {library}"


def lines_of_code(node, source):
    """Lines that are no blanks, comments or docstrings."""
    documented = set()
    for part in ast.walk(node):
        body = getattr(part, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            if isinstance(body[0].value, ast.Constant):
                documented |= set(range(body[0].lineno, body[0].end_lineno + 1))
    start, stop = getattr(node, "lineno", 1), getattr(node, "end_lineno", None)
    lines = source.splitlines()
    code = {
        number
        for number, line in enumerate(lines[start - 1 : stop], start)
        if line.strip() and not line.strip().startswith("#")
    }
    return len(code - documented)


FILES = {name_of(path): path for path in sorted(SOURCE.rglob("*.py"))}
FOLDERS = {name for name, path in FILES.items() if path.name == "__init__.py"} - {
    "__init__"
}
each_file = pytest.mark.parametrize("file", FILES)


@each_file
def test_floors(file):
    assert floor_of(file) is not None, "a new file needs a floor"
    source = FILES[file].read_text(encoding="utf-8")
    assert list(find_violations(file, source)) == []


@each_file
def test_sizes(file):
    source = FILES[file].read_text(encoding="utf-8")
    tree = parse(source)
    assert lines_of_code(tree, source) <= MAX_FILE
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            n_lines = lines_of_code(node, source)
            assert n_lines <= MAX_FUNCTION or only_stores(node), node.name


def only_stores(function):
    """Whether a function does no more than to store its arguments as attributes."""
    stored = [
        f"self.{argument.arg} = {argument.arg}" for argument in arguments_of(function)
    ]
    stored.append("self._store_net_arguments(net_params)")
    return function.name == "__init__" and all(
        ast.unparse(statement) in stored for statement in function.body
    )


def arguments_of(function):
    return [*function.args.args, *function.args.kwonlyargs]


@each_file
def test_each_file_says_what_it_is(file):
    documentation = ast.get_docstring(parse(FILES[file].read_text()))
    assert documentation is not None or file == "_version"


def test_the_package_was_found():
    assert {LAYOUT, "_nn.layers", "_base", "metrics"} <= set(FILES)


def test_floors_are_those_that_contributors_read():
    page = (SOURCE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for name, floor in FLOORS.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| {name} |"))
        _, _, files, libraries, own, _ = (cell.strip() for cell in row.split("|"))
        shown = {cell.strip("` ") for cell in files.split(",")}
        assert shown == floor.files
        shown = {cell.strip("` ") for cell in libraries.split(",")} - {"nothing"}
        assert shown == floor.libraries
        shown = {cell.strip("` ") for cell in own.split(",")} - {"nothing"}
        assert shown == floor.own


@functools.cache
def definitions():
    """By class or file the names that it defines; `None` stands for any of them."""
    found = {None: set()}
    for file, path in FILES.items():
        tree = parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef):
                owner = file if isinstance(node, ast.Module) else node.name
                names = set(names_defined(node.body))
                found.setdefault(owner, set()).update(names)
                found[None] |= names
    return found


def names_defined(statements):
    for statement in statements:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            yield statement.name
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            for node in ast.walk(statement):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    yield node.id


def find_unknown_names(page):
    """What a page sets as code and the package lacks: files, and names in them."""
    for shown in re.findall(r"`([^`\s]+)`", page):
        name = shown.strip("/").replace("/", ".")
        owner, _, attribute = name.rpartition(".")
        if name in FILES or attribute in definitions().get(owner or None, ()):
            continue
        # Other words are parameters, or belong to other libraries.
        is_own = "." in name or shown.startswith("_") or not shown.islower()
        if is_own and shown not in OTHER_CODE:
            yield shown


# Code of the page on architecture that is no name of the package.
OTHER_CODE = {"tests/test_imports.py", "CONTRIBUTING.md"}


def test_the_page_on_architecture_names_what_there_is():
    page = (SOURCE.parent / "docs/architecture.md").read_text(encoding="utf-8")
    assert list(find_unknown_names(page)) == []


@pytest.mark.parametrize(
    "shown", ["_nn/gone", "_base._gone", "TableNet.gone", "Gone", "_gone", "_nn/net"]
)
def test_a_name_that_is_gone_is_found(shown):
    page = f"`_nn/`, `BaseTableModel._fit`, `TableNet.fit_loop` and `{shown}`"
    assert list(find_unknown_names(page)) == [shown]


@pytest.mark.parametrize(
    ("file", "source", "message"),
    [
        (LAYOUT, "import numpy", "not among"),
        ("_table.codec", "import torch", "not among"),
        ("_table.codec", "def f():\n    from torch import nn", "not among"),
        ("_table.codec", "from .._nn.layers import ResidualMLP", "reaches _nn.layers"),
        ("_nn.losses", "from pandas import DataFrame", "not among"),
        ("_nn.losses", "from .._training import data", "reaches _training.data"),
        ("_nn.losses", "from .._table.codec import x", "reaches _table.codec"),
        ("_training.net", "from .._table.codec import x", "reaches _table.codec"),
        ("_training.net", "import pandas", "not among"),
        ("_sampling.sampler", "from .._base import x", "reaches _base"),
        ("_sampling.sampler", "from .._training.net import x", "reaches _training.net"),
        ("_base", "from .inspection import LossCurveDisplay", "reaches inspection"),
        ("_vae", "from ._autoencoder import x", "reaches _autoencoder"),
        ("_vae", "from . import AutoencoderTransformer", "reaches __init__"),
        ("_vae", "import sklearn_unsup._gan", "reaches _gan"),
        ("pipeline", "import skorch", "not among"),
        ("datasets", "from ._table import codec", "reaches _table.codec"),
        ("inspection", "from matplotlib import pyplot", "inside the function"),
        ("metrics", "from ..inspection import x", "reaches inspection"),
        ("__init__", "from .metrics import synthesis_report", "reaches metrics"),
        ("_vae", "from sklearn.base import _fit_context", "private to sklearn"),
        ("_vae", "from sklearn.utils._mask import x", "private to sklearn"),
        ("_vae", "import torch\ntorch._foreach_add_([], 1)", "private to torch"),
        ("_vae", "import sklearn\nsklearn.utils._mask.x()", "private to sklearn"),
        ("_training.net", "net._set_training(True)", "private to skorch"),
    ],
)
def test_the_floors_are_enforced(file, source, message):
    [violation] = find_violations(file, source)
    assert message in violation


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("_nn.layers", "from .distributions import x\nimport torch.nn as nn"),
        ("_nn.layers", "from .._table.layout import TableLayout"),
        ("_sklearn", "from sklearn.utils._param_validation import Interval"),
        ("_skorch", "class Net:\n    def f(self):\n        self._set_training(True)"),
        ("over_sampling", "def f():\n    from sklearn_unsup import VAETransformer"),
        ("inspection", "class D:\n    def plot(self):\n        import matplotlib"),
        ("inspection._panels", "from ._columns import x"),
        ("metrics", "from ._fidelity import x\nfrom . import _signs\nimport math"),
    ],
)
def test_what_is_allowed_passes(file, source):
    assert list(find_violations(file, source)) == []


def test_what_counts_as_code():
    source = (
        '"""Two\n\nlines."""\n\n# why\nx = 1\n\n\ndef f():\n    "Doc"\n    return x\n'
    )
    assert lines_of_code(parse(source), source) == 3
