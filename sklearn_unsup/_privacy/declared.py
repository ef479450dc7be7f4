"""What a user declares of columns, so that it need not be learnt from the rows."""

import numbers
from decimal import Decimal

import numpy as np
import pandas as pd

from .._table.kinds import CATEGORIES, DATES, NUMBERS
from .._table.plain import as_duration, is_missing, to_floats


def check_names(budget, names):
    """Refuse what is declared of columns that are not there."""
    for key in ("bounds", "categories"):
        declared = getattr(budget, key)
        if declared is not None and not isinstance(declared, dict):
            raise ValueError(
                f"{key} must be a dict by column or None, got {declared!r}"
            )
        unknown = [name for name in declared or () if name not in names]
        if unknown:
            raise ValueError(f"{key} must name columns of {names}, got {unknown}")


def declared_bounds(bounds, frame, kinds) -> dict:
    """By column its lowest and highest value, as the floats that it is counted in."""
    found = {}
    for name, pair in (bounds or {}).items():
        if kinds[name] == CATEGORIES:
            raise ValueError(
                f"bounds are for columns of numbers, dates or durations, and {name!r} "
                "is one of categories by its dtype: declare its categories, or convert "
                "it, for example by pandas.to_numeric."
            )
        dtype = frame[name].dtype
        try:
            low, high = (end_as_float(value, kinds[name], dtype) for value in pair)
            is_range = bool(np.isfinite([low, high]).all() and low < high)
        except (TypeError, ValueError):
            is_range = False
        if not is_range:
            unit = {NUMBERS: "number", DATES: "date"}.get(kinds[name], "duration")
            raise ValueError(
                f"bounds of column {name!r} must be a lower and a higher {unit}, got "
                f"{pair!r}"
            )
        if pd.api.types.is_integer_dtype(dtype) and np.ceil(low) > np.floor(high):
            raise ValueError(
                f"bounds of column {name!r}, which is one of whole numbers by its "
                f"dtype, must have one between them, got {pair!r}"
            )
        found[name] = low, high
    return found


def end_as_float(value, kind, dtype):
    """An end of a range as `to_floats` has the values of the column.

    NaN if one is a number and the other is not.
    """
    is_number = isinstance(value, numbers.Real | Decimal)
    if kind == NUMBERS or is_number:
        return float(value) if kind == NUMBERS and is_number else np.nan
    if kind != DATES:
        return to_floats(pd.Series([as_duration(value)]))[0]
    if isinstance(value, pd.Period):
        value = value.start_time
    moment, zone = pd.Timestamp(value), getattr(dtype, "tz", None)
    if zone is not None and moment.tzinfo is None:
        moment = moment.tz_localize(zone)
    return to_floats(pd.Series([moment]))[0]


def declared_levels(categories, frame, kinds) -> dict:
    """By column a list of its levels; missing values have a place of their own."""
    found = {}
    for name, levels in (categories or {}).items():
        if kinds[name] != CATEGORIES:
            raise ValueError(
                f"categories are for columns of categories, and {name!r} is one of "
                "numbers, dates or durations by its dtype: declare its bounds, or "
                "convert it, for example by astype('category')."
            )
        try:
            known = [] if isinstance(levels, str | bytes) else list(levels)
            known = [level for level in known if not is_missing(level)]
            is_list = 0 < len(set(known)) == len(known)
        except TypeError:
            is_list = False
        if not is_list:
            raise ValueError(
                f"categories of column {name!r} must be a list of one or more "
                f"different levels, got {levels!r}"
            )
        is_flag = frame[name].dtype in (np.dtype(bool), pd.BooleanDtype())
        if is_flag and not all(isinstance(level, bool | np.bool_) for level in known):
            raise ValueError(
                f"categories of column {name!r}, which is one of flags by its dtype, "
                f"must be True and False, got {levels!r}"
            )
        found[name] = known
    return found
