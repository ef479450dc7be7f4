"""Frequent values of numbers, and where the codecs of later rows have them."""

import numpy as np

from .numeric import NumericColumn


def frequent_values(column: NumericColumn, min_share: float, few: int) -> np.ndarray:
    """Values of at least a share of the rows; all of a column that has few of them.

    Whole numbers that are counted from an origin, as dates are, do not depend on it,
    as it may change with later rows: ticks of time, or integers of any size.
    """
    values = column.quantiles_.frequent_values(min_share, few)
    if column.span_ is None:
        return values
    every = [absolute(value, column.origin_, column.step_) for value in values]
    return np.array(every, dtype=object)


def absolute(value: float, origin: int, step: int) -> int:
    whole = int(value)
    return origin + whole * step + round((value - whole) * step)


def value_intervals(column: NumericColumn, values) -> np.ndarray:
    """Encoded intervals of given values, shape (4, n_values), see `Quantiles`."""
    if not len(values):
        return np.empty((4, 0))
    if column.span_ is not None:
        values = [(value - column.origin_) / column.step_ for value in values]
    return column.quantiles_.intervals(np.array(values, dtype=np.float64))
