"""Constraints of the parameters that the estimators share."""

import numbers

import torch
from sklearn.base import BaseEstimator
from skorch.callbacks import Callback

from ._nn.layers import ACTIVATIONS
from ._sklearn import Hidden, Interval, StrOptions

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


def check_lists(estimator):
    """Check the elements of list parameters, which scikit-learn does not check.

    Raises
    ------
    ValueError
        If a width is not an int of at least 1.
    TypeError
        If an element of `callbacks` is not a callback of skorch.
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
        callback_class = callback if isinstance(callback, type) else type(callback)
        if not issubclass(callback_class, Callback):
            raise TypeError(
                "callbacks must hold callbacks of skorch (instances, classes, or pairs "
                f"of a name and one of them), got {item!r}."
            )
