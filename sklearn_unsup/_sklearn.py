"""Private names of scikit-learn, in one file that new releases may break."""

from collections.abc import Callable
from typing import TypeVar

import sklearn
from sklearn.base import _fit_context
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.utils._param_validation import Hidden, Interval, StrOptions
from sklearn.utils.validation import (
    _check_feature_names as check_feature_names,
)
from sklearn.utils.validation import (
    _check_n_features as check_n_features,
)

from ._version import __version__

__all__ = [
    "Hidden",
    "Interval",
    "PackageVersionWarning",
    "StrOptions",
    "check_feature_names",
    "check_n_features",
    "fit_context",
]

Method = TypeVar("Method", bound=Callable)


def fit_context(method: Method) -> Method:
    """Decorate a `fit` method so that it checks the estimator's parameters first.

    scikit-learn's decorator has no type annotations, so that type checkers would lose
    the signature of the method.
    """
    return _fit_context(prefer_skip_nested_validation=True)(method)


class PackageVersionWarning(InconsistentVersionWarning):
    """A model was saved by another version of this package."""

    def __init__(self, name, written_by):
        super().__init__(
            estimator_name=name,
            current_sklearn_version=sklearn.__version__,
            original_sklearn_version="unknown",
        )
        self.args = name, written_by

    def __str__(self):
        name, written_by = self.args
        return (
            f"This {name} was saved by sklearn_unsup {written_by} and is loaded by "
            f"{__version__}: it may fail, or give other results. Install "
            f"sklearn-unsup=={written_by} to use it as it was, or fit it again and "
            "save it with this version."
        )
