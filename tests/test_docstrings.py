"""Docstrings are held to numpydoc, to the signatures and to the fitted attributes."""

import ast
import importlib
import inspect
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpydoc.docscrape import ClassDoc, FunctionDoc
from numpydoc.validate import validate
from sklearn.datasets import load_iris

import sklearn_unsup

SIDE_ROOMS = (
    *("augmentation", "datasets", "pipeline", "over_sampling", "outliers", "metrics"),
    *("inspection", "privacy"),
)

IGNORED_CODES = {
    "GL01",  # the summary begins on the line of the quotes, as ruff's D212 wants it
    "ES01",  # where the summary says it all, a second paragraph would repeat it
    "RT02",  # returned values have names: there may be two, and the text refers to them
    "SA01",  # not everything has a relative worth seeing
    "SA04",  # names in "See Also" of other projects speak for themselves
}
# A class shows how its methods are used, once, in one example.
IGNORED_FOR_METHODS = {"EX01"}
# Properties take no parameters; numpydoc reads the attributes of the class for them.
IGNORED_FOR_PROPERTIES = {"EX01", "PR02", "RT01"}


def public_objects():
    """Public classes and functions, by the path a user would import them from."""
    found = {
        f"sklearn_unsup.{name}": getattr(sklearn_unsup, name)
        for name in sklearn_unsup.__all__
        if not name.startswith("_")
    }
    for room in SIDE_ROOMS:
        if importlib.util.find_spec(f"sklearn_unsup.{room}") is None:
            continue
        module = importlib.import_module(f"sklearn_unsup.{room}")
        for name in module.__all__:
            found[f"sklearn_unsup.{room}.{name}"] = getattr(module, name)
    return found


def public_members(cls):
    """Methods and properties that this package wrote, inherited ones among them."""
    for name, member in inspect.getmembers(cls):
        function = getattr(member, "fget", member)
        module = getattr(function, "__module__", None) or ""
        is_ours = module.startswith("sklearn_unsup")
        if not name.startswith("_") and is_ours and not inspect.isclass(member):
            yield name, member


OBJECTS = public_objects()
CLASSES = {path: item for path, item in OBJECTS.items() if inspect.isclass(item)}
MEMBERS = {
    f"{path}.{name}": member
    for path, cls in CLASSES.items()
    for name, member in public_members(cls)
}
CALLABLES = {
    **OBJECTS,
    **{path: member for path, member in MEMBERS.items() if callable(member)},
}
ESTIMATORS = {name: getattr(sklearn_unsup, name) for name in sklearn_unsup.__all__}
ESTIMATORS = {name: cls for name, cls in ESTIMATORS.items() if inspect.isclass(cls)}


@pytest.mark.parametrize("path", [*OBJECTS, *MEMBERS])
def test_numpydoc(path):
    ignored = set(IGNORED_CODES)
    if path in MEMBERS:
        is_property = isinstance(MEMBERS[path], property)
        ignored |= IGNORED_FOR_PROPERTIES if is_property else IGNORED_FOR_METHODS
    errors = [error for error in validate(path)["errors"] if error[0] not in ignored]
    assert errors == []


def documented_parameters(item):
    doc = ClassDoc(item) if inspect.isclass(item) else FunctionDoc(item)
    parameters = doc["Parameters"] + doc["Other Parameters"]
    return {
        name.strip().lstrip("*"): parameter.type
        for parameter in parameters
        for name in parameter.name.split(",")
    }


def default_as_documented(type_text):
    """What follows "default=", as a value if it can be read as one; None without it."""
    _, found, text = type_text.partition("default=")
    if not found:
        return None
    try:
        return (ast.literal_eval(text.strip()),)
    except (ValueError, SyntaxError):
        return (text.strip(),)


def same_default(documented, actual):
    # 1 and True are equal, 0 and 0.0 too, and a reader would not take them for the same
    return type(documented) is type(actual) and documented == actual


@pytest.mark.parametrize("path", CALLABLES)
def test_defaults_agree_with_the_signature(path):
    item = CALLABLES[path]
    types = documented_parameters(item)
    for name, parameter in inspect.signature(item).parameters.items():
        if name in ("self", "cls") or parameter.default is parameter.empty:
            assert "default=" not in types.get(name, ""), f"{name} has no default"
            continue
        if name == "y" and types[name].strip() == "None":
            continue  # ignored, and its type says already that only None makes sense
        documented = default_as_documented(types[name])
        assert documented, f"{name}: the docstring states no default"
        assert same_default(documented[0], parameter.default), (
            f"{name}: the docstring says {documented[0]!r}, the signature "
            f"{parameter.default!r}"
        )


def tiny_fit(cls, **settings):
    """Fit on 38 rows, as fast as it goes, with those of `settings` that it knows."""
    X = load_iris(as_frame=True).data[::4].assign(label=list("ab") * 19)
    settings = {"max_iter": 2, "batch_size": 20, "random_state": 0, **settings}
    estimator = cls()
    known = {key: settings[key] for key in settings.keys() & estimator.get_params()}
    return estimator.set_params(**known).fit(X)


FITS = {
    "defaults": {},
    # what only exists because it was asked for
    "everything": {"early_stopping": True, "ordered": True},
}


@pytest.fixture(scope="module", params=ESTIMATORS)
def fits(request):
    cls = ESTIMATORS[request.param]
    return cls, {name: tiny_fit(cls, **settings) for name, settings in FITS.items()}


def fitted_attributes(estimator):
    """Names ending in an underscore: those set and, on the class, the properties."""
    names = set(vars(estimator))
    names |= {
        name
        for name, member in inspect.getmembers(type(estimator))
        if isinstance(member, property)
    }
    return {name for name in names if name.endswith("_") and not name.startswith("_")}


def documented_attributes(cls):
    return {attribute.name: attribute for attribute in ClassDoc(cls)["Attributes"]}


def test_documented_attributes_exist_after_fit(fits):
    cls, fitted = fits
    for name in documented_attributes(cls):
        assert hasattr(fitted["everything"], name), f"{name} is documented, but not set"


def test_attributes_set_by_fit_are_documented(fits):
    cls, fitted = fits
    documented = documented_attributes(cls)
    for settings, estimator in fitted.items():
        missing = {
            name for name in fitted_attributes(estimator) if name not in documented
        }
        assert missing == set(), f"set by fit ({settings}), but not documented"


def test_attributes_say_what_they_are(fits):
    cls, _ = fits
    for name, attribute in documented_attributes(cls).items():
        if name.endswith("_"):
            assert attribute.type, f"{name}: type (and shape) are missing"
            assert attribute.desc, f"{name}: the description is missing"


def test_the_sampler_documents_its_attributes():
    pytest.importorskip("imblearn", reason="needs the extra imbalanced")
    from sklearn_unsup.over_sampling import GenerativeOverSampler

    generator = ESTIMATORS["AutoencoderTransformer"](max_iter=2)
    X = pd.DataFrame({"a": np.arange(30.0), "b": np.arange(30.0) ** 2})
    sampler = GenerativeOverSampler(generator, random_state=0)
    sampler.fit_resample(X, np.arange(30) < 10)
    documented = set(documented_attributes(GenerativeOverSampler))
    assert documented == fitted_attributes(sampler)


@pytest.mark.parametrize(
    ("type_text", "default", "expected"),
    [
        ("int, default=1", 1, True),
        ("int, default=1", 2, False),
        ("float, default=1", 1.0, False),
        ("bool, default=True", 1, False),
        ('{"a", "b"}, default="a"', "a", True),
        ('str, default="a"', "b", False),
        ("tuple of int, default=(64, 32)", (64, 32), True),
        ("int or None, default=None", None, True),
        ("float, default=1e-3", 0.001, True),
    ],
)
def test_the_check_of_defaults(type_text, default, expected):
    [documented] = default_as_documented(type_text)
    assert same_default(documented, default) is expected


# Parameters and attributes that mean something else in each model, and say so. All
# others that the three models share are described in the same words.
OF_EACH_MODEL = {
    "activation",
    "batch_size",
    "codec_",
    "density_ratio",
    "early_stopping",
    "hidden_layer_sizes",
    "latent_density",
    "learning_rate_init",
    "loss",
    "loss_curve_",
    "max_iter",
    "n_components",
    "net_",
    "numeric_scaling",
    "tol",
    "validation_scores_",
    "weight_decay",
}


def test_what_models_share_is_described_alike():
    """The words are repeated, as in scikit-learn, and must not drift apart."""
    descriptions = {}
    for name in ("AutoencoderTransformer", "VAETransformer", "GANSampler"):
        documentation = ClassDoc(getattr(sklearn_unsup, name))
        for entry in [*documentation["Parameters"], *documentation["Attributes"]]:
            text = " ".join(" ".join(entry.desc).split())
            descriptions.setdefault(entry.name, []).append(text)
    shared = {name: texts for name, texts in descriptions.items() if len(texts) > 1}
    differing = {name for name, texts in shared.items() if len(set(texts)) > 1}
    assert differing <= OF_EACH_MODEL
    assert {"max_categories", "device", "random_state"} <= set(shared) - differing


# ---------------------------------------------------------------- groups on the pages


@pytest.fixture(scope="module")
def parameter_groups():
    path = Path(__file__).parents[1] / "docs" / "parameter_groups.py"
    spec = importlib.util.spec_from_file_location("parameter_groups", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_parameter_is_in_one_group(parameter_groups):
    grouped = [name for names in parameter_groups.GROUPS.values() for name in names]
    assert len(grouped) == len(set(grouped))
    known = {
        name
        for cls in ESTIMATORS.values()
        for name in inspect.signature(cls).parameters
    }
    assert set(grouped) == known
    paths = [f"sklearn_unsup.{name}" for name in ESTIMATORS]
    assert sorted(parameter_groups.GROUPED) == sorted(paths)


LISTED = """\
Summary.

:Parameters:

    **tol** : float, default=1e-4
        Gain.

    **encoder, decoder** : type or None, default=None
        Networks.

        A second paragraph.

    **device** : str
        Where.

    **n_components** : int, default=16
        Size.

:Attributes:

    **loss_** : float
        Loss."""


def test_groups_of_a_page(parameter_groups):
    grouped = parameter_groups.group(LISTED.splitlines())
    heads = [line.strip() for line in grouped if line.startswith("    ")]
    heads = [line for line in heads if line.startswith((".. rubric", "**"))]
    assert heads == [
        ".. rubric:: Often set",
        "**n_components** : int, default=16",
        ".. rubric:: Networks and loss",
        "**encoder, decoder** : type or None, default=None",
        ".. rubric:: Training",
        "**tol** : float, default=1e-4",
        ".. rubric:: Device and scale",
        "**device** : str",
        "**loss_** : float",
    ]
    written = [line for line in grouped if line and ".. rubric" not in line]
    assert sorted(written) == sorted(line for line in LISTED.splitlines() if line)
    networks = "\n".join(grouped).partition("**encoder")[2].partition(".. rubric")[0]
    assert "A second paragraph." in networks
    with pytest.raises(ValueError, match=r"no group for \['new'\]"):
        parameter_groups.group(LISTED.replace("tol", "new").splitlines())
