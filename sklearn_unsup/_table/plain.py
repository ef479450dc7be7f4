"""Columns of dtypes that numpy has no numbers for: to plain columns, and back.

A plain column has a dtype of numpy, or one of pandas' nullable ones: its values are
integers or floats with or without a unit of time.
"""

import datetime
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from .kinds import arrow_kind, inferred_dtype, label

MICROSECONDS_PER_DAY = 86_400e6
# The integer that numpy takes for a missing date.
NAT = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Form:
    """How the values of a plain column looked when they came.

    Parameters
    ----------
    kind : str
        "sparse", "period"; of arrow "null", "decimal", "date" or "time"; of an object
        column the name of the type of its cells.
    dtype : dtype
        That of the column as it came.
    detail : str, int or None, default=None
        Of periods their frequency, of decimals the digits after the point.
    """

    kind: str
    dtype: Any
    detail: str | int | None = None


def plain_column(column: pd.Series) -> tuple[pd.Series, Form | None]:
    """A column as a plain one, and the way back; None if it is plain as it is.

    Raises
    ------
    ValueError, TypeError
        If cells of an object column do not belong together.
    """
    dtype = column.dtype
    if isinstance(dtype, pd.SparseDtype):
        return column.sparse.to_dense(), Form("sparse", dtype)
    if isinstance(dtype, pd.PeriodDtype):
        return plain_periods(column, dtype)
    arrow = arrow_kind(dtype)
    if arrow == "decimal":
        scale = dtype.pyarrow_dtype.scale
        floats = column.astype("double[pyarrow]").to_numpy(float, na_value=np.nan)
        # The cast of arrow may miss the nearest float by one bit.
        return series(np.round(floats, scale), column), Form(arrow, dtype, scale)
    if arrow in ("time", "date"):
        width = f"int{dtype.pyarrow_dtype.bit_width}[pyarrow]"
        ticks = column.astype(width).astype("Int64").to_numpy(np.int64, na_value=NAT)
        times = ticks.view(numpy_time(dtype.pyarrow_dtype))
        times = times.astype("M8[s]") if times.dtype == "M8[D]" else times
        return series(times, column), Form(arrow, dtype)
    if arrow == "null":
        return series(np.full(len(column), np.nan), column), Form(arrow, dtype)
    if pd.api.types.is_object_dtype(dtype):
        return plain_cells(column)
    return column, None


def numpy_time(arrow):
    """What numpy calls the ticks of a date or a time of day of arrow."""
    if not hasattr(arrow, "unit"):
        return "M8[D]" if arrow.bit_width == 32 else "M8[ms]"
    return f"m8[{arrow.unit}]"


def series(values, column):
    return pd.Series(values, index=column.index, name=column.name)


def plain_periods(column, dtype):
    missing = column.isna().to_numpy()
    ordinals = np.where(missing, 0, pd.PeriodIndex(column).asi8)
    values = pd.arrays.IntegerArray(ordinals, missing) if missing.any() else ordinals
    return series(values, column), Form("period", dtype, period_name(dtype))


def period_name(dtype):
    """The frequency by which a dtype of periods is found again."""
    return dtype.name.removeprefix("period[").removesuffix("]")


def plain_cells(column):
    """Of an object column: dates, durations, decimals and booleans as plain columns."""
    found = inferred_dtype(column)
    if found == "boolean":
        return series(column.astype("boolean").array, column), Form(
            "bool", np.dtype(object)
        )
    missing = column.isna().to_numpy()
    cells = column[~missing].tolist()
    if found == "period":
        periods = series(pd.PeriodIndex(column), column)
        column, form = plain_periods(periods, periods.dtype)
        return column, Form("Period", np.dtype(object), form.detail)
    read = READERS.get(type(cells[0])) if cells else None
    if read is None:
        return column, None
    values, detail = read(column, cells)
    if values.dtype.kind == "f":
        full = np.full(len(column), np.nan)
    else:
        full = pd.Series(values[:1]).repeat(len(column)).array.copy()
        full[missing] = pd.NaT
    full[~missing] = values
    kind = type(cells[0]).__name__
    return series(full, column), Form(kind, np.dtype(object), detail)


def is_missing(cell) -> bool:
    """Whether a single cell, and no list of them, is a missing value."""
    if isinstance(cell, Decimal):
        return cell.is_nan()  # pandas would compare it, which a signaling one refuses
    return not pd.api.types.is_list_like(cell) and bool(pd.isna(cell))


def as_duration(value) -> pd.Timedelta:
    """What a user wrote for a duration; a time of day is that since midnight."""
    if isinstance(value, datetime.time):
        midnight = datetime.datetime.min
        value = datetime.datetime.combine(midnight, value) - midnight
    return pd.Timedelta(value)


def read_dates(column, cells):
    return np.array(cells, dtype="M8[D]").astype("M8[s]"), None


def read_moments(column, cells):
    if all(cell.tzinfo is None for cell in cells):
        if type(cells[0]) is datetime.datetime:
            return np.array(cells, dtype="M8[us]"), None
        unit = finest_unit(cell.unit for cell in cells)
        return np.array([cell.as_unit(unit).asm8 for cell in cells]), None
    try:
        index = pd.DatetimeIndex(cells)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{label(column)} mixes time zones ({error}). Convert all cells to one, "
            "for example by pandas.to_datetime(..., utc=True)."
        ) from error
    return index.array, None


def loses_digits(column: pd.Series) -> bool:
    """Whether floats of 64 bits, which all numbers become, cannot say those of it."""
    dtype = column.dtype
    if isinstance(dtype, np.dtype) and dtype.kind == "f" and dtype.itemsize > 8:
        values = column.dropna().to_numpy()
        return bool((values.astype(np.float64) != values).any())
    if not (pd.api.types.is_object_dtype(dtype) or arrow_kind(dtype) == "decimal"):
        return False
    if inferred_dtype(column.astype(object)) != "decimal":
        return False
    cells = [c for c in column.dropna() if c.is_finite()]
    scale = read_decimals(column, cells)[1]
    return any(
        Decimal(f"{float(cell):.{scale}f}") != cell
        for cell in cells
        if cell.adjusted() + scale >= 15  # fewer digits are never lost
    )


def finest_unit(units):
    return max(units, key=["s", "ms", "us", "ns"].index)


def read_durations(column, cells):
    if type(cells[0]) is datetime.timedelta:
        return np.array(cells, dtype="m8[us]"), None
    unit = finest_unit(cell.unit for cell in cells)
    return np.array([cell.as_unit(unit).asm8 for cell in cells]), None


def read_numpy_times(column, cells):
    values = np.array(cells)
    unit = np.datetime_data(values.dtype)[0]
    unit = unit if unit in ("s", "ms", "us", "ns") else "s"
    return values.astype(f"{values.dtype.kind}8[{unit}]"), None


def read_times(column, cells):
    if any(cell.tzinfo is not None for cell in cells):
        raise ValueError(
            f"{label(column)} holds times of day with a time zone: convert them to one "
            "zone and take it off, by time.replace(tzinfo=None)."
        )
    ticks = [
        ((cell.hour * 60 + cell.minute) * 60 + cell.second) * 1_000_000
        + cell.microsecond
        for cell in cells
    ]
    return np.array(ticks, dtype=np.int64).view("m8[us]"), None


def read_decimals(column, cells):
    exponents = [cell.as_tuple().exponent for cell in cells if cell.is_finite()]
    scale = max(0, -min(exponents, default=0))
    return np.array([float(cell) for cell in cells]), scale


READERS = {
    datetime.date: read_dates,
    datetime.datetime: read_moments,
    pd.Timestamp: read_moments,
    datetime.timedelta: read_durations,
    pd.Timedelta: read_durations,
    np.datetime64: read_numpy_times,
    np.timedelta64: read_numpy_times,
    datetime.time: read_times,
    Decimal: read_decimals,
}


def given_back(column: pd.Series, form: Form | None, na_value=None) -> pd.Series:
    """Inverse of `plain_column`; `na_value` is what an object column calls missing."""
    if form is None:
        return column
    missing = column.isna().to_numpy()
    if form.kind == "sparse":
        return column.astype(form.dtype)
    if form.kind == "period":
        return series(periods_of(column, missing, form), column).astype(form.dtype)
    if not pd.api.types.is_object_dtype(form.dtype):
        return series(arrow_array(column, missing, form), column)
    full = np.empty(len(column), dtype=object)
    full[:] = cells_of(column, missing, form)
    full[missing] = [na_value] * missing.sum()
    return pd.Series(full, index=column.index, name=column.name, dtype=object)


def periods_of(column, missing, form):
    ordinals = column.to_numpy(np.int64, na_value=0) if missing.any() else column
    ordinals = np.where(missing, NAT, ordinals)
    return pd.PeriodIndex.from_ordinals(ordinals, freq=form.detail)


def arrow_array(column, missing, form):
    """An array of pandas of one of the types that only arrow has."""
    import pyarrow

    kind = form.dtype.pyarrow_dtype
    if form.kind == "null":
        values = pyarrow.nulls(len(column))
    elif form.kind == "decimal":
        values = pyarrow.array(decimals_of(column, missing, form.detail), kind)
    else:
        ticks = column.to_numpy(numpy_time(kind)).view(np.int64)
        ticks = np.where(missing, 0, ticks)
        values = pyarrow.array(ticks.astype(f"i{kind.bit_width // 8}"), mask=missing)
        values = values.cast(kind)
    return pd.array(values, dtype=form.dtype)


def decimals_of(column, missing, scale):
    """Decimals of so many digits after the point, None where they are missing."""
    floats = column.to_numpy(dtype=np.float64, na_value=np.nan).tolist()
    return [
        None if gap else Decimal(f"{value:.{scale}f}")
        for value, gap in zip(floats, missing, strict=True)
    ]


def cells_of(column, missing, form):
    """A list of what an object column holds; anything where it is missing."""
    if form.kind == "Decimal":
        return decimals_of(column, missing, form.detail)
    if form.kind == "Period":
        return list(periods_of(column, missing, form))
    if form.kind in ("datetime64", "timedelta64"):
        return list(column.to_numpy())
    back = FROM_PANDAS.get(form.kind, lambda cell: cell)
    return [
        None if gap else back(cell) for cell, gap in zip(column, missing, strict=True)
    ]


# From what a plain column gives to the type of the cells; others are what it gives.
FROM_PANDAS = {
    "bool": bool,
    "date": pd.Timestamp.date,
    "datetime": pd.Timestamp.to_pydatetime,
    "timedelta": pd.Timedelta.to_pytimedelta,
    "time": lambda since: (datetime.datetime.min + since.to_pytimedelta()).time(),
}


def to_floats(column: pd.Series) -> np.ndarray:
    """Numbers as they are, dates as days since 1970 (UTC), durations as days.

    Missing values are NaN.
    """
    column, form = plain_column(column)
    if form is not None and form.kind.lower() == "period":
        missing = column.isna().to_numpy()
        periods = periods_of(column, missing, form).asfreq("us", how="start")
        column = pd.Series(periods.asi8.view("M8[us]"))
    if column.dtype.kind not in "mM":
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    index = pd.TimedeltaIndex if column.dtype.kind == "m" else pd.DatetimeIndex
    index = index(column).as_unit("us")
    return np.where(index.isna(), np.nan, index.asi8 / MICROSECONDS_PER_DAY)
