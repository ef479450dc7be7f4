"""Frequent values of numbers, and where other codecs of the same column have them."""

from fractions import Fraction

import numpy as np

from .numeric import TICKS_PER_SECOND, NumericColumn


def frequent_values(column: NumericColumn, min_share: float, few: int) -> np.ndarray:
    """Values of at least a share of the rows; all of a column that has few of them.

    They are in the units of the table, and do not depend on what a codec counts them
    from or in: floats; dates, durations and huge integers are ticks of the column's
    unit of time and integers of any size.
    """
    values = column.quantiles_.frequent_values(min_share, few)
    if column.span_ is None:
        return values * column.step_
    every = [absolute(value, column.origin_, column.step_) for value in values]
    return np.array(every, dtype=object)


def absolute(value: float, origin: int, step: int) -> int:
    whole = int(value)
    return origin + whole * step + round((value - whole) * step)


def value_intervals(column: NumericColumn, values) -> np.ndarray:
    """Encoded intervals of given values, shape (4, n_values), see `Quantiles`."""
    if not len(values):
        return np.empty((4, 0))
    own = [(value - column.origin_) / column.step_ for value in values]
    return column.quantiles_.intervals(np.array(own, dtype=np.float64))


def in_units_of(column: NumericColumn, values, source: NumericColumn):
    """Values of a source's column in the unit of time of another table's column."""
    units = [getattr(each, "time_unit_", None) for each in (source, column)]
    if None in units or units[0] == units[1]:
        return values
    ratio = Fraction(TICKS_PER_SECOND[units[1]], TICKS_PER_SECOND[units[0]])
    return np.array([ratio * value for value in values], dtype=object)
