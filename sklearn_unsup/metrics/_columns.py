"""Columns of any dtype as numbers, or as a few levels."""

import numpy as np

from .._table.kinds import CATEGORIES, EMPTY, NUMBERS, column_kind
from .._table.plain import to_floats

# Maximum number of values of a column of integers that is drawn level by level.
MAX_INTEGER_LEVELS = 10


def is_measured(column):
    """Whether a picture needs an axis for a column, and not one place for each level.

    A column without values is drawn as one of categories: nothing but missing ones.
    """
    return column_kind(column) not in (CATEGORIES, EMPTY)


def kind_of_target(target):
    """The kind of what to colour by: few whole numbers are labels of classes."""
    kind = column_kind(target)
    if kind == NUMBERS:
        values = to_floats(target)
        values = np.unique(values[~np.isnan(values)])
        if len(values) <= MAX_INTEGER_LEVELS and np.array_equal(
            values, np.round(values)
        ):
            return CATEGORIES
    return CATEGORIES if kind == EMPTY else kind


def to_objects(column):
    """Levels as plain Python objects, whatever dtype held them."""
    return column.astype(object).where(column.notna(), None)


def main_positions(shares, max_levels):
    """Positions of the most frequent levels, in order; one place is for the rest."""
    if len(shares) <= max_levels:
        return np.arange(len(shares))
    return np.sort(np.argsort(-np.asarray(shares), kind="stable")[: max_levels - 1])
