"""Drawn values as columns of the dtypes that a table has."""

import numpy as np
import pandas as pd

from .._table.kinds import DATES, DURATIONS, arrow_kind, column_kind
from .._table.plain import MICROSECONDS_PER_DAY, given_back, plain_column


def as_dtype(values, dtype, declared=None):
    """Values, days for dates and durations, as a column of a dtype; None is missing.

    The categories of a dtype may tell of rows: those of the column are what was drawn,
    and a level that was declared need not be among them. Only of ordered ones the order
    stays, or is the declared one.
    """
    if isinstance(dtype, pd.CategoricalDtype):
        known = set(pd.Series(values, dtype=object).dropna())
        order = dtype.categories if declared is None else declared
        levels = [level for level in order if level in known]
        if not dtype.ordered:
            levels = sorted(levels, key=str)
        return pd.Categorical(values, categories=levels, ordered=dtype.ordered)
    if not pd.api.types.is_object_dtype(dtype):
        empty = pd.Series([], dtype=dtype)
        kind, (_, form) = column_kind(empty), plain_column(empty)
        if kind in (DATES, DURATIONS):
            return as_times(pd.Series(values, dtype=np.float64), kind, form, dtype)
        if arrow_kind(dtype) is not None:
            return given_back(pd.Series(values, dtype=np.float64), form)
    if pd.api.types.is_integer_dtype(dtype):
        whole = pd.Series(values, dtype="Float64").round()
        return within(whole, dtype).astype(dtype)
    return pd.Series(values, dtype=object).astype(dtype)


def within(whole, dtype):
    """Whole numbers within the range of an integer dtype, which bins may go beyond."""
    info = np.iinfo(getattr(dtype, "numpy_dtype", dtype))
    # The nearest floats of 64 bits to the ends of long integers lie beyond them.
    low, high = float(info.min), np.nextafter(float(info.max), 0.0)
    return whole.clip(low, high if info.bits == 64 else float(info.max))


def as_times(days, kind, form, dtype):
    if arrow_kind(dtype) == "time":  # A bin may go beyond a day.
        days = days.clip(0, 1 - 1 / MICROSECONDS_PER_DAY)
    ticks = (days * MICROSECONDS_PER_DAY).round()
    ticks = ticks.astype("Int64").to_numpy(np.int64, na_value=np.iinfo(np.int64).min)
    times = pd.Series(ticks.view("m8[us]" if kind == DURATIONS else "M8[us]"))
    if arrow_kind(dtype) is not None:
        return given_back(times, form)
    zone = getattr(dtype, "tz", None)
    if zone is not None:
        times = times.dt.tz_localize("UTC").dt.tz_convert(zone)
    return times.astype(dtype)
