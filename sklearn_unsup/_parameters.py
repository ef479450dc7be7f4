"""Constraints of the parameters that the estimators share."""

import copy
import inspect
import numbers

import torch
from sklearn.base import BaseEstimator
from skorch.callbacks import Callback

from ._encoding import CODEC_PARAMETERS
from ._nn.images import default_channels
from ._nn.layers import ACTIVATIONS
from ._sklearn import Hidden, Interval, StrOptions
from ._table.constraints import Constraint

# What callbacks of skorch watch where rows are held out, and by default.
VALIDATION_LOSSES = "valid_loss", "valid_loss_best"
LAYER_SIZES_CONSTRAINT = [
    "array-like",
    Interval(numbers.Integral, 1, None, closed="left"),
    StrOptions({"auto"}),
]
NET_PARAMETERS = {
    "n_components": [Interval(numbers.Integral, 1, None, closed="left")],
    "hidden_layer_sizes": LAYER_SIZES_CONSTRAINT,
    "activation": [StrOptions(set(ACTIVATIONS))],
    "max_iter": [
        Interval(numbers.Integral, 1, None, closed="left"),
        StrOptions({"auto"}),
    ],
    "batch_size": [
        Interval(numbers.Integral, 1, None, closed="left"),
        StrOptions({"auto"}),
    ],
    "optimizer": [callable, None],
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
    "handle_unknown": [StrOptions({"error", "warn", "ignore"})],
    "max_categories": [Interval(numbers.Integral, 2, None, closed="left"), None],
    "constraints": [StrOptions({"auto"}), list, tuple, None],
    "image_shape": ["array-like", None],
}
RATIO_PARAMETERS = {
    "density_ratio": [StrOptions({"auto"}), None, Hidden(BaseEstimator)],
}
COMMON_PARAMETERS = {**NET_PARAMETERS, **TABLE_PARAMETERS, **RATIO_PARAMETERS}
CODING_PARAMETERS = {"encoder": [callable, None], "decoder": [callable, None]}
DENSITY_PARAMETERS = {
    "latent_density": [StrOptions({"normal", "mixture"}), Hidden(BaseEstimator)],
}

# Channels of the first two convolutions of images. The first one works on the largest
# image and needs few.
IMAGE_CHANNELS = 16, 48

# Parameters of all estimators that codec and net are made with. A fit with `warm_start`
# and `partial_fit` go on with both as they are.
SHAPE_PARAMETERS = (
    "n_components",
    "hidden_layer_sizes",
    "activation",
    *CODEC_PARAMETERS,
)


def layer_sizes(sizes) -> tuple | str:
    """Widths of hidden layers; an int stands for one layer, and "auto" stays."""
    if isinstance(sizes, str):
        return sizes
    return (sizes,) if isinstance(sizes, numbers.Integral) else tuple(sizes)


def resolved_layer_sizes(
    sizes, default, layout, first_channels=IMAGE_CHANNELS
) -> tuple:
    """Widths of hidden layers for a layout, or channels of the stages of an image.

    Parameters
    ----------
    sizes : int, tuple of int or "auto"
    default : tuple of int
        Meaning of "auto" for a table that is no image.
    layout : TableLayout
    first_channels : tuple of int, default=IMAGE_CHANNELS
        Channels of the first two stages of an image if `sizes` is "auto".

    Raises
    ------
    ValueError
        If there is no stage for images.
    """
    is_image = layout.image_shape is not None
    if isinstance(sizes, str):
        if not is_image:
            return default
        return default_channels(layout.image_shape, first_channels)
    if is_image and not layer_sizes(sizes):
        raise ValueError(
            "hidden_layer_sizes=() leaves no convolutions for image_shape="
            f"{layout.image_shape}: pass the channels of at least one, such as (32,), "
            "'auto', or image_shape=None."
        )
    return layer_sizes(sizes)


def check_parameters(estimator, method) -> None:
    """Check what scikit-learn cannot, before one of the methods that train."""
    check_lists(estimator)
    estimator._check_own_parameters()
    goes_on = estimator.warm_start or method == "partial_fit"
    if goes_on and getattr(estimator, "privacy", None) is not None:
        raise ValueError(
            "privacy is the budget of a single fit: partial_fit and warm_start=True "
            "would spend more. Fit once with all rows, or pass privacy=None."
        )
    if goes_on and hasattr(estimator, "net_"):
        refuse_changed_shape(estimator, method)


def check_lists(estimator):
    """Check the elements of list parameters, which scikit-learn does not check.

    Raises
    ------
    ValueError
        If a width is not an int of at least 1, or if a callback watches a loss that
        there is none of.
    TypeError
        If an element of `callbacks` is not a callback of skorch, or one of
        `constraints` is not a constraint.
    """
    parameters = estimator.get_params(deep=False)
    for name in ("hidden_layer_sizes", "critic_hidden_layer_sizes"):
        sizes = layer_sizes(parameters.get(name, ()))
        if isinstance(sizes, str):  # scikit-learn has checked that it is an option.
            continue
        if not all(isinstance(n, numbers.Integral) and n > 0 for n in sizes):
            raise ValueError(
                f"{name} must hold ints of at least 1, such as (256, 128), got "
                f"{parameters[name]!r}."
            )
    for item in parameters["callbacks"] or []:
        callback = item[1] if isinstance(item, tuple | list) else item
        callback_class = callback if isinstance(callback, type) else type(callback)
        if not issubclass(callback_class, Callback):
            raise TypeError(
                "callbacks must hold callbacks of skorch (instances, classes, or pairs "
                f"of a name and one of them), got {item!r}."
            )
        refuse_watching_nothing(callback, callback_class, estimator.early_stopping)
    for item in given_constraints(parameters["constraints"]):
        if not isinstance(item, Constraint):
            raise TypeError(
                "constraints must hold those of sklearn_unsup.constraints, such as "
                f"Inequality('low', 'high'), got {item!r}."
            )


def given_constraints(constraints):
    """Those of a list: none for None, or for "auto", which looks for laws."""
    return () if isinstance(constraints, str) else constraints or ()


def refuse_watching_nothing(callback, callback_class, early_stopping):
    """Raise for a callback that watches a loss which no row is held out for."""
    if isinstance(callback, type):
        watched = inspect.signature(callback).parameters.get("monitor")
        watched = None if watched is None else watched.default
    else:
        watched = getattr(callback, "monitor", None)
    is_held_out = isinstance(watched, str) and watched in VALIDATION_LOSSES
    if is_held_out and early_stopping in (False, "auto"):
        raise ValueError(
            f"callbacks: {callback_class.__name__} watches {watched!r}, and with "
            f"early_stopping={early_stopping!r} no rows are held out for it. Pass "
            "early_stopping=True, or monitor='train_loss'."
        )


def shape_parameters(estimator) -> dict:
    """Values of the parameters that codec and net are made with, to be remembered.

    They are copied, because users may change a list or an array in place.
    """
    names = *SHAPE_PARAMETERS, *estimator._own_shape_parameters
    values = {name: copy.deepcopy(getattr(estimator, name)) for name in names}
    values |= copy.deepcopy(estimator._net_arguments())
    # A copy of a network or a function would be another one.
    values |= {
        name: getattr(estimator, name) for name in estimator._parameters_with_arguments
    }
    for name in values:
        if name.endswith("layer_sizes"):
            values[name] = layer_sizes(values[name])
    return values


def refuse_changed_shape(estimator, method) -> None:
    """Raise ValueError if codec or net were made with other parameters.

    Parameters
    ----------
    estimator : BaseTableModel
    method : {"fit", "partial_fit"}
        The method that is to go on with both.
    """
    may_change, verb = (), method
    if method == "fit":
        may_change = estimator._changeable_parameters()
        verb = "fit with warm_start=True"
    changes = [
        f"{name}={value!r} (it was {estimator._made_with[name]!r})"
        for name, value in shape_parameters(estimator).items()
        if name not in may_change and not is_same(value, estimator._made_with[name])
    ]
    if changes:
        raise ValueError(
            f"{verb} goes on with the codec and the net of the first fit of this "
            f"{type(estimator).__name__}, so that these parameters cannot change: "
            f"{', '.join(changes)}. Set them back, or call fit with warm_start=False "
            "to start anew."
        )


def as_list(value):
    """What an array or a Series of any library holds, as a list; others as they are."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return value.to_list() if hasattr(value, "to_list") else value


def is_same(first, second) -> bool:
    """Whether two values of a parameter mean the same, be they lists or arrays.

    True is not 1: a mask of columns is not a list of their positions.
    """
    first, second = map(as_list, (first, second))
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(is_same, first, second))
    return isinstance(first, bool) == isinstance(second, bool) and first == second
