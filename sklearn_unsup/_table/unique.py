"""Columns in which no value repeats: values that repeat, moved to free ones."""

import numpy as np
import pandas as pd

from .categorical import factorize, key_of


def find_repeats(columns: list) -> np.ndarray:
    """Which rows have values that an earlier one has; none if a value is missing.

    Parameters
    ----------
    columns : list of Series
    """
    frame = pd.concat([column.reset_index(drop=True) for column in columns], axis=1)
    return (frame.duplicated() & frame.notna().all(axis=1)).to_numpy()


def exchanged_levels(codec, column: pd.Series, rng) -> pd.Series:
    """A column of categories with levels that no row has in place of repeated ones.

    As far as there are any.

    Parameters
    ----------
    codec : CategoricalColumn
    column : Series
        With levels of the codec.
    rng : numpy.random.Generator
    """
    inverse, levels = factorize(codec.name, column)
    places = np.array([codec.index_[key_of(level)] for level in levels])[inverse]
    is_free = np.array([level is not None for level in codec.levels_])
    is_free[places] = False
    free = rng.permutation(np.flatnonzero(is_free))
    rows = np.flatnonzero(find_repeats([column]))[: len(free)]
    places[rows] = free[: len(rows)]
    return codec.take(places)


def spread_numbers(grid, column: pd.Series) -> pd.Series:
    """A column of numbers with those that repeat moved to the next ones that are free.

    They stay in the range of training while it has room, and go on beyond its end else.
    Floats that can be anywhere are left as they are.

    Parameters
    ----------
    grid : Grid
    column : Series
    """
    missing, values = grid.read(column)
    rows = np.flatnonzero(~missing)
    if not (grid.is_whole_ or grid.decimals_ is not None) or not len(rows):
        return column
    order = rows[np.argsort(values[rows], kind="stable")]
    count = np.arange(len(order))
    # The distance to the number of rows below never falls, so that values differ.
    points = np.maximum.accumulate(grid.points(values[order]) - count) + count
    first, last = grid.points(np.array([grid.low_, grid.high_]))
    if len(order) <= last - first + 1:
        points = np.minimum(points, last - count[::-1])
    values[order] = grid.at(points)
    return grid.column(values, missing)
