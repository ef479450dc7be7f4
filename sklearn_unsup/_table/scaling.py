"""What `numeric_scaling="auto"` means for a table, and which tables are pixels."""

import numpy as np
import pandas as pd

# Number of values that the pixels of images with labels have together, and number of
# rows that are looked at for it.
MIN_SHADES, MAX_SHADES, SHADE_ROWS = 16, 256, 1_000


def resolve_scaling(X, scaling, default, pixel_columns):
    """What "auto" means: the default, but for tables that look like pixels.

    Those have `pixel_columns` columns of numbers, or more.
    """
    if scaling != "auto":
        return scaling
    if X.shape[1] < pixel_columns:
        return default
    if is_unit_interval(X):
        return None
    return "minmax" if default == "quantile" and shares_one_scale(X) else default


def holds_shades(X) -> bool:
    """Whether numbers are the shades of images: the same few values in all columns.

    Numbers that were only scaled to one range have more values than a byte, and flags
    or marks have few.
    """
    rows = X[:: -(-len(X) // SHADE_ROWS)]
    shades = [np.unique(part) for part in float_chunks(rows)]
    n_shades = len(np.unique(np.concatenate(shades)))
    return MIN_SHADES <= n_shades <= MAX_SHADES


def resolve_sparse_scaling(X, scaling, loss, default):
    """What "auto" means for sparse rows.

    Where all numbers are in [0, 1] their columns share a unit, which one scale leaves
    them; a likelihood of probabilities, as models have it whose default is "quantile",
    wants zeros and ones as they are.
    """
    if scaling == "quantile":
        raise ValueError(
            "numeric_scaling='quantile' needs dense rows, and X is sparse: pass "
            "'standard', 'minmax', None or 'auto'."
        )
    if scaling != "auto":
        return scaling
    if (X.data < 0).any() or (X.data > 1).any():
        return "standard"
    bits = default == "quantile" and loss == "auto" and np.isin(X.data, (0, 1)).all()
    return None if bits or loss == "binary_crossentropy" else "shared"


def refuse_dense_options(categorical_features, density_ratio):
    """Raise for what sparse rows cannot have."""
    chosen = np.asarray([] if categorical_features is None else categorical_features)
    named = chosen.any() if chosen.dtype == bool else chosen.size > 0
    if named and not isinstance(categorical_features, str):
        raise ValueError(
            f"categorical_features={categorical_features!r}: X is sparse, and all "
            "columns of sparse rows are numbers. Pass 'from_dtype' or None, or a "
            "DataFrame."
        )
    if not isinstance(density_ratio, str | None):
        raise ValueError(
            f"density_ratio={density_ratio!r} learns from dense rows, X is sparse: "
            "pass 'auto' or None, which are the same for sparse rows."
        )


def is_unit_interval(X) -> bool:
    """Whether a table is numbers in [0, 1] only: pixels, or scaled by the user."""
    # Most tables say no in the first chunk.
    return holds_plain_numbers(X) and not any(
        ((part < 0) | (part > 1)).any() for part in float_chunks(X)
    )


def looks_like_pixels(X, min_columns) -> bool:
    """Whether a table is numbers of one scale in at least `min_columns` columns."""
    return X.shape[1] >= min_columns and (is_unit_interval(X) or shares_one_scale(X))


def shares_one_scale(X) -> bool:
    """Whether most columns run from 0 or above to one same maximum, as greys do."""
    if not holds_plain_numbers(X):
        return False
    highest = np.zeros(X.shape[1], np.float32)
    for part in float_chunks(X):
        if not (part >= 0).all():
            return False
        highest = np.maximum(highest, part.max(0))
    return bool(highest.any() and np.mean(highest == highest.max()) > 0.5)


def holds_plain_numbers(X) -> bool:
    dtypes = X.dtypes if isinstance(X, pd.DataFrame) else [X.dtype]
    return all(isinstance(d, np.dtype) and d.kind in "fiu" for d in dtypes)


def float_chunks(X):
    step = 1_000
    for start in range(0, len(X), step):
        with np.errstate(over="ignore"):  # too much is beyond all scales, too
            part = np.asarray(X[start : start + step], dtype=np.float32)
        yield part


def open_range(x, least, most) -> tuple[float, float]:
    """The range of values, widened where rows to come may go beyond it.

    A single row that is alone at an end will not be the most extreme one for long, and
    to cut off what is beyond would cost a linear reduction more than anything else: up
    to the width of the range is added there. An end that several rows share is taken
    for a limit, such as that of flags or marks, and so is zero for values of one sign.

    Parameters
    ----------
    x : ndarray of shape (n,)
    least, most : float
        What the column can hold.
    """
    low, high = float(x.min()), float(x.max())
    if low >= 0:
        least = max(least, 0.0)
    if high <= 0:
        most = min(most, 0.0)
    width = high - low
    return (
        max(low - width, least) if (x == low).sum() == 1 else low,
        min(high + width, most) if (x == high).sum() == 1 else high,
    )


def is_binary(column) -> bool:
    """Whether only two values of a numeric column are known, encoded as 0 and 1."""
    if not column.varies_ or column.scaling not in (None, "minmax"):
        return False
    ends = np.array([column.low_, column.high_])
    ends = (ends - column.center_) / column.scale_
    return len(column.quantiles_.values_) == 2 and (ends == (0, 1)).all()
