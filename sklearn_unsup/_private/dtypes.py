"""Drawn values as columns of the dtypes that a table has."""

import numpy as np
import pandas as pd

from .._table.kinds import DATES, DURATIONS, column_kind
from .._table.plain import MICROSECONDS_PER_DAY


def as_dtype(values, dtype):
    """Values, days for dates and durations, as a column of a dtype; None is missing.

    The categories of a dtype may tell of rows: those of the column are what was drawn.
    Only of ordered ones the order stays.
    """
    if isinstance(dtype, pd.CategoricalDtype):
        known = set(pd.Series(values, dtype=object).dropna())
        levels = [level for level in dtype.categories if level in known]
        if not dtype.ordered:
            levels = sorted(levels, key=str)
        return pd.Categorical(values, categories=levels, ordered=dtype.ordered)
    if not pd.api.types.is_object_dtype(dtype):
        kind = column_kind(pd.Series([], dtype=dtype))
        if kind in (DATES, DURATIONS):
            return as_times(pd.Series(values, dtype=np.float64), kind, dtype)
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


def as_times(days, kind, dtype):
    ticks = (days * MICROSECONDS_PER_DAY).round()
    ticks = ticks.astype("Int64").to_numpy(np.int64, na_value=np.iinfo(np.int64).min)
    if kind == DURATIONS:
        return pd.Series(ticks.view("m8[us]")).astype(dtype)
    moments = pd.Series(ticks.view("M8[us]"))
    zone = getattr(dtype, "tz", None)
    if zone is not None:
        moments = moments.dt.tz_localize("UTC").dt.tz_convert(zone)
    return moments.astype(dtype)
