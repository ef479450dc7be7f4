"""Columns in which no value repeats: values that repeat, moved to free ones."""

import numpy as np
import pandas as pd

from .categorical import factorize, key_of
from .grid import MAX_SPAN, MAX_WHOLE
from .ranges import limits


def find_repeats(columns: list) -> np.ndarray:
    """Which rows have values that an earlier one has; none if a value is missing.

    Parameters
    ----------
    columns : list of Series
    """
    frame = pd.concat([column.reset_index(drop=True) for column in columns], axis=1)
    return (frame.duplicated() & frame.notna().all(axis=1)).to_numpy()


def exchanged_levels(codec, column: pd.Series, rng, fixed=None) -> pd.Series:
    """A column of categories with levels that no row has in place of repeated ones.

    Parameters
    ----------
    codec : CategoricalColumn
    column : Series
        With levels of the codec.
    rng : numpy.random.Generator
    fixed : ndarray of bool of shape (n,) or None, default=None
        Rows that stay as they are, so that others make way for them.

    Raises
    ------
    ValueError
        If there are fewer levels than rows.
    """
    n_levels = sum(level is not None for level in codec.levels_)
    refuse_too_few(codec.name, f"has {n_levels:,} levels", n_levels, column)
    inverse, levels = factorize(codec.name, column)
    known = [codec.index_.get(key_of(level), -1) for level in levels]
    places = np.array(known)[inverse]
    is_free = np.array([level is not None for level in codec.levels_])
    is_free[places[places >= 0]] = False
    free = rng.permutation(np.flatnonzero(is_free))
    # Of equal ones the first in this order stays.
    order = np.argsort(
        np.zeros(len(column)) if fixed is None else ~fixed, kind="stable"
    )
    rows = order[find_repeats([column.iloc[order]])][: len(free)]
    places[rows] = free[: len(rows)]
    return codec.take(places)


def spread_numbers(grid, column: pd.Series, fixed=None) -> pd.Series:
    """A column of numbers with those that repeat moved to the next ones that are free.

    They stay in the range of training while it has room. Else they go on above its end,
    and below its beginning once the dtype has no greater ones. Floats that can be
    anywhere are left as they are.

    Parameters
    ----------
    grid : Grid
    column : Series
    fixed : ndarray of bool of shape (n,) or None, default=None
        Rows that stay as they are, so that others make way for them.

    Raises
    ------
    ValueError
        If the dtype has fewer values than there are rows.
    """
    missing, values = grid.read(column)
    fixed = np.zeros(len(column), bool) if fixed is None else fixed
    rows = np.flatnonzero(~missing & ~fixed)
    if not (grid.is_whole_ or grid.decimals_ is not None) or not len(rows):
        return column
    order = rows[np.argsort(values[rows], kind="stable")]
    low, high = grid.points(np.array([grid.low_, grid.high_])).tolist()
    points, count = grid.points(values[order]), np.arange(len(order))
    taken = np.unique(grid.points(values[fixed & ~missing]))
    if grid.is_whole_ and high - low > MAX_SPAN:
        # Differences need more than 64 bits.
        points, count, taken = (a.astype(object) for a in (points, count, taken))
    # Counted from the lower end of the range, so that no sum overflows, and without
    # those that are taken.
    points, last, taken = points - low, high - low, taken - low
    taken = taken[taken >= 0]
    points = points - np.searchsorted(taken, points)
    n_free = last + 1 - np.count_nonzero(taken <= last)
    if len(order) > n_free:
        least, most = point_limits(grid)
        has = f"of dtype {grid.column_.dtype_} can have {most - least + 1:,.0f} values"
        refuse_too_few(grid.name, has, most - least + 1, column)
        n_free = min(most - low, MAX_SPAN) + 1 - len(taken)
    # At least one more than the row before, but not so much that the rows after it
    # find no room: the distance to the number of rows before never falls.
    points = np.minimum(points, n_free - 1 - count[::-1])
    points = np.maximum.accumulate(points - count) + count
    taken = taken - np.arange(len(taken))
    points = points + np.searchsorted(taken, points, side="right")
    values[order] = grid.at(points + low)
    return grid.column(values, missing)


def point_limits(grid):
    """The first and the last point of a grid that its dtype can hold."""
    if not grid.is_whole_:
        # Floats are as dense as the points up to here.
        n_points = 2 ** np.finfo(grid.column_.raw_dtype_).nmant
        return -n_points, n_points
    least, most = limits(grid.column_)
    least, most = max(least, -MAX_WHOLE), min(most, MAX_WHOLE)
    return -((grid.origin_ - least) // grid.step_), (most - grid.origin_) // grid.step_


def refuse_too_few(name, has, n_values, column):
    """Raise if a column that is unique has fewer values than rows."""
    n_rows = int(column.notna().sum())
    if n_rows > n_values:
        raise ValueError(
            f"Unique: column {name!r} {has}, too few for {n_rows:,} rows that all "
            "differ. Draw fewer rows, or leave the constraint out."
        )
