"""What scikit-learn calls private, in one place: a new release changes this file.

Most of it is the table by which `fit` checks the parameters of an estimator.
"""

import numbers
from collections.abc import Callable
from typing import TypeVar

import sklearn
import torch
from sklearn.base import BaseEstimator, _fit_context
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.utils._param_validation import Hidden, Interval, StrOptions
from sklearn.utils.validation import (
    _check_feature_names as check_feature_names,
)
from sklearn.utils.validation import (
    _check_n_features as check_n_features,
)
from skorch.callbacks import Callback

from ._modules import ACTIVATIONS
from ._version import __version__

__all__ = [
    "DENSITY_PARAMETERS",
    "NET_PARAMETERS",
    "RATIO_PARAMETERS",
    "TABLE_PARAMETERS",
    "Interval",
    "OtherVersion",
    "StrOptions",
    "check_feature_names",
    "check_lists",
    "check_n_features",
    "fit_context",
]

NET_PARAMETERS = {
    "n_components": [Interval(numbers.Integral, 1, None, closed="left")],
    "hidden_layer_sizes": ["array-like"],
    "activation": [StrOptions(set(ACTIVATIONS))],
    "max_iter": [
        Interval(numbers.Integral, 1, None, closed="left"),
        StrOptions({"auto"}),
    ],
    "batch_size": [
        Interval(numbers.Integral, 1, None, closed="left"),
        StrOptions({"auto"}),
    ],
    "learning_rate_init": [Interval(numbers.Real, 0, None, closed="neither")],
    "weight_decay": [Interval(numbers.Real, 0, None, closed="left")],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(numbers.Real, 0, 1, closed="neither")],
    "n_iter_no_change": [Interval(numbers.Integral, 1, None, closed="left")],
    "tol": [Interval(numbers.Real, 0, None, closed="left")],
    "warm_start": ["boolean"],
    "verbose": ["verbose"],
    "random_state": ["random_state"],
    "device": [str, Hidden(torch.device)],
    "data_parallel": ["boolean"],
    "mixed_precision": ["boolean"],
    "callbacks": [list, None],
}
TABLE_PARAMETERS = {
    "numeric_scaling": [StrOptions({"auto", "quantile", "standard", "minmax"}), None],
    "categorical_features": [StrOptions({"from_dtype"}), "array-like", None],
    "handle_unknown": [StrOptions({"error", "ignore"})],
    "max_categories": [Interval(numbers.Integral, 2, None, closed="left"), None],
}
RATIO_PARAMETERS = {
    "density_ratio": [StrOptions({"auto"}), None, Hidden(BaseEstimator)],
}
DENSITY_PARAMETERS = {
    "latent_density": [StrOptions({"normal", "mixture"}), Hidden(BaseEstimator)],
}

Method = TypeVar("Method", bound=Callable)


def fit_context(method: Method) -> Method:
    """Decorate a `fit`: its estimator's parameters are checked before it runs.

    The signature is here because scikit-learn has none, and type checkers would forget
    that of the method.
    """
    return _fit_context(prefer_skip_nested_validation=True)(method)


def check_lists(estimator):
    """Check what is inside the lists among the parameters.

    Raises
    ------
    ValueError, TypeError
        For a width that is no int of at least 1, or what is no callback of skorch.
    """
    parameters = estimator.get_params(deep=False)
    for name in ("hidden_layer_sizes", "critic_hidden_layer_sizes"):
        sizes = parameters.get(name, ())
        if not all(isinstance(n, numbers.Integral) and n > 0 for n in sizes):
            raise ValueError(
                f"{name} must hold ints of at least 1, such as (256, 128), got "
                f"{sizes!r}."
            )
    for item in parameters["callbacks"] or []:
        callback = item[1] if isinstance(item, tuple | list) else item
        kind = callback if isinstance(callback, type) else type(callback)
        if not issubclass(kind, Callback):
            raise TypeError(
                "callbacks must hold callbacks of skorch (instances, classes, or pairs "
                f"of a name and one of them), got {item!r}."
            )


class OtherVersion(InconsistentVersionWarning):
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
