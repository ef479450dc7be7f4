"""Means of a column's numbers, and of draws: as floats, or as a column has them."""

import numpy as np
import pandas as pd

from .numeric import NumericColumn
from .plain import given_back


def column_of_means(codec: NumericColumn, x: np.ndarray, as_floats: bool) -> pd.Series:
    """A column of means of what `to_numbers` of the codec returns.

    With `as_floats` they are floats as they are, else rounded as the values of training
    are, in their dtype.
    """
    if as_floats and codec.dtype_.kind not in "mM":
        origin = 0 if codec.span_ is None else codec.origin_
        return pd.Series(x * codec.step_ + origin)
    x = x if codec.decimals_ is None else np.round(x, codec.decimals_)
    plain = codec._to_plain(np.clip(x, codec.low_, codec.high_))
    if codec.dtype_.kind in "mM":
        column = codec._dates(plain, None)
    else:
        column = pd.Series(plain).astype(codec.dtype_)
    return given_back(column, codec.form_, codec.na_value_)


def most_frequent(numbers, counts):
    """The most frequent number of each row among draws that count, (n_draws, n)."""
    votes = np.stack([((numbers == own) & counts).sum(axis=0) for own in numbers])
    chosen = np.where(counts, votes, -1).argmax(axis=0)
    return numbers[chosen, np.arange(numbers.shape[1])]


def mean_and_nearest(drawn, counts, missing):
    """Means of the draws that count, and the draw of each row that is nearest to them.

    Parameters
    ----------
    drawn : dict of {int: ndarray of shape (n_draws, n)}
        Values by position of a column.
    counts : ndarray of bool of shape (n_draws, n)
    missing : ndarray of bool of shape (n, n_columns)
        Cells whose distances count, in standard deviations of the column.

    Returns
    -------
    means, nearest : dict of {int: ndarray of shape (n,)}
    """
    means, distances = {}, np.zeros(counts.shape)
    for i, values in drawn.items():
        # Dates have more digits than floats.
        apart = (values - values[0]).astype(np.float64)
        mean = (apart * counts).sum(axis=0) / counts.sum(axis=0)
        far = (apart - mean) * counts
        scale = np.sqrt(np.square(far).sum() / counts.sum()) or 1.0
        distances += np.where(missing[:, i], np.square(far / scale), 0.0)
        if values.dtype.kind == "i":
            mean = np.rint(mean).astype(np.int64)
        means[i] = values[0] + mean
    chosen = np.where(counts, distances, np.inf).argmin(axis=0)
    rows = np.arange(counts.shape[1])
    return means, {i: values[chosen, rows] for i, values in drawn.items()}


def column_on_grid(grid, values, as_floats):
    """A column of means: as floats, or as the nearest values that it can have."""
    if grid.is_whole_:
        values = grid.at(grid.points(values + grid.step_ // 2))
    elif as_floats:
        return pd.Series(values)
    else:
        values = grid.nearest(values)
    return grid.column(values, np.zeros(len(values), bool))
