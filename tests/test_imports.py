"""The floors of the package: who may import whom.

Read from the source, not from what happens to be imported: an import inside a function
counts, and nothing has to be installed. A new file begins with a line in `ROOMS`.
"""

import ast
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = "sklearn_unsup"
SOURCE = Path(__file__).parents[1] / PACKAGE

CONTRACT = {"_layout", "_version"}
TABLES = ["_layout", "_quantiles", "_columns", "_table"]
TENSORS = [
    "_noise",
    "_likelihoods",
    "_fused",
    "_distributions",
    "_rows",
    "_modules",
    "_adversarial",
    "_objectives",
    "_two_sample",
    "_devices",
    "_batches",
    "_blocks",
    "_optimizers",
    "_averages",
    "_capture",
]
SHELL = ["_sampling", "_sklearn", "_encoding", "_base"]
PUBLIC = {"_autoencoder", "_vae", "_gan"}
TRAINING = {"_nets", "_saving", "_parallel", "_processes"}
TO_TABLES = {*TABLES, "_matrix", "_frames"}
BELOW_SHELL = {*CONTRACT, *TO_TABLES, *TENSORS, *TRAINING}
BELOW_PUBLIC = {*BELOW_SHELL, *SHELL}


@dataclass(frozen=True)
class Room:
    """What a file may import besides the standard library."""

    libraries: set[str]
    own: set[str]  # files of this package, by their names without .py
    # libraries that are no dependency of the package: inside functions only
    inside_functions: frozenset[str] = frozenset()


def rooms():
    table_libraries = {"numpy", "pandas", "scipy", "sklearn"}
    table = {
        # nothing computed: names and the version
        "__init__": Room(set(), {"_version", *PUBLIC}),
        # floor 0, contract
        **{name: Room(set(), set()) for name in CONTRACT},
        # floor 1, tables
        "_quantiles": Room({"numpy", "scipy"}, set()),
        "_columns": Room(table_libraries, {"_layout", "_quantiles"}),
        "_plain": Room({"numpy", "pandas"}, set()),
        "_table": Room(table_libraries, {"_plain", *TABLES[:-1]}),
        "_matrix": Room({"numpy", "scipy", "sklearn"}, {"_layout"}),
        "_frames": Room({"numpy", "pandas"}, set(), frozenset({"polars"})),
        # floor 2, training
        "_callbacks": Room({"skorch", "torch", "tqdm"}, set()),
        "_parallel": Room({"torch"}, {"_devices"}, frozenset({"accelerate"})),
        "_processes": Room({"numpy"}, set()),
        "_saving": Room({"numpy", "skorch", "torch"}, set()),
        "_nets": Room(
            {"numpy", "skorch", "torch"},
            {"_layout", "_callbacks", "_saving", *TENSORS},
        ),
        # side rooms: see the package from outside, as a user does
        "datasets": Room(table_libraries, set()),
        "pipeline": Room(table_libraries, set()),
        "over_sampling": Room({"imblearn", *table_libraries}, {"__init__"}),
        "metrics": Room(table_libraries, {"metrics"}),
        "inspection": Room(
            table_libraries,
            {"inspection", "metrics"},
            inside_functions=frozenset({"matplotlib"}),
        ),
    }
    # floor 1, tensors: each sees those to the left of it
    for i, name in enumerate(TENSORS):
        table[name] = Room({"numpy", "torch"}, {"_layout", *TENSORS[:i]})
    # floor 3, shell
    heavy = {"joblib", "numpy", "pandas", "scipy", "sklearn", "skorch", "threadpoolctl"}
    for i, name in enumerate(SHELL):
        below = {*BELOW_SHELL, *SHELL[:i]}
        table[name] = Room({*heavy, "torch"}, below)
    # floor 4, public: not each other
    for name in PUBLIC:
        table[name] = Room({*heavy, "torch"}, BELOW_PUBLIC)
    return table


ROOMS = rooms()
# What scikit-learn calls private may change: then one file changes with it.
PRIVATE_SKLEARN = {"_sklearn"}


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

    @property
    def own_files(self):
        """Files of the package that this import reaches."""
        parts = self.module.split(".")[1:]
        if parts:
            return {parts[0]}
        # `from . import x`: x is a file, or else a name of __init__
        files = {name for name in self.names if name in ROOMS}
        return (
            files if files and len(files) == len(self.names) else {"__init__", *files}
        )


def find_imports(source, package=PACKAGE):
    """Every import in `source`, a file that lies in `package`."""
    found = []

    def visit(node, in_function):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found.append(Import(alias.name, (), in_function, node.lineno))
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            module = node.module or ""
            if node.level:
                base = package.split(".")[: len(package.split(".")) - node.level + 1]
                module = ".".join([*base, module] if module else base)
            found.append(Import(module, names, in_function, node.lineno))
        inside = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(ast.parse(source), False)
    return found


def find_violations(room_name, source, package=PACKAGE):
    """Sentences, one for each import that the room's line in the table forbids."""
    room = ROOMS[room_name]
    for item in find_imports(source, package):
        where = f"{room_name}, line {item.line}: {item.module}"
        if item.library == PACKAGE:
            for name in item.own_files - room.own:
                yield f"{where} reaches {name}, allowed are {sorted(room.own)}"
        elif item.library in room.inside_functions:
            if not item.in_function:
                yield f"{where} belongs inside the function that needs it"
        elif item.library not in sys.stdlib_module_names | room.libraries:
            yield f"{where} is not among {sorted(room.libraries)}"
        private = [part for part in item.module.split(".") if part.startswith("_")]
        private += [name for name in item.names if name.startswith("_")]
        is_foreign = item.library in ("sklearn", "imblearn", "skorch", "torch")
        if private and is_foreign and room_name not in PRIVATE_SKLEARN:
            yield f"{where} is private to {item.library}: take it from _sklearn"


def source_files():
    return sorted(SOURCE.rglob("*.py"))


def room_of(path):
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def package_of(path):
    return ".".join((PACKAGE, *path.relative_to(SOURCE).parent.parts))


@pytest.mark.parametrize(
    "path", source_files(), ids=lambda path: path.relative_to(SOURCE).as_posix()
)
def test_floors(path):
    assert room_of(path) in ROOMS, "a new file needs a line in ROOMS"
    source = path.read_text(encoding="utf-8")
    assert list(find_violations(room_of(path), source, package_of(path))) == []


def test_the_package_was_found():
    assert "_layout" in {room_of(path) for path in source_files()}


@pytest.mark.parametrize(
    ("room", "source", "message"),
    [
        ("_layout", "import numpy", "not among"),
        ("_table", "import torch", "not among"),
        ("_table", "def f():\n    from torch import nn", "not among"),
        ("_distributions", "from pandas import DataFrame", "not among"),
        ("_distributions", "from ._modules import MLP", "reaches _modules"),
        ("_nets", "from ._table import TableCodec", "reaches _table"),
        ("_sampling", "from ._base import BaseTableModel", "reaches _base"),
        ("_base", "from .inspection import LossCurveDisplay", "reaches inspection"),
        ("_vae", "from ._autoencoder import AutoencoderTransformer", "reaches _auto"),
        ("_vae", "from . import AutoencoderTransformer", "reaches __init__"),
        ("_vae", "import sklearn_unsup._gan", "reaches _gan"),
        ("pipeline", "import skorch", "not among"),
        ("datasets", "from . import _table", "reaches _table"),
        ("inspection", "from matplotlib import pyplot", "inside the function"),
        ("metrics", "from ..inspection import x", "reaches inspection"),
        ("__init__", "from .metrics import synthesis_report", "reaches metrics"),
        ("_vae", "from sklearn.base import _fit_context", "private to sklearn"),
        ("_vae", "from sklearn.utils._param_validation import x", "private to sklearn"),
    ],
)
def test_the_table_is_enforced(room, source, message):
    package = f"{PACKAGE}.{room}" if room in ("metrics", "inspection") else PACKAGE
    [violation] = find_violations(room, source, package)
    assert message in violation


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("_modules", "from ._distributions import x\nimport torch.nn as nn"),
        ("_sklearn", "from sklearn.utils._param_validation import Interval"),
        ("over_sampling", "def f():\n    from sklearn_unsup import VAETransformer"),
        ("inspection", "class D:\n    def plot(self):\n        import matplotlib"),
        ("metrics", "from ._shape import x\nfrom . import _trend\nimport math"),
    ],
)
def test_what_is_allowed_passes(room, source):
    package = f"{PACKAGE}.{room}" if room in ("metrics", "inspection") else PACKAGE
    assert list(find_violations(room, source, package)) == []
