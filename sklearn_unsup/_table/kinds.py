"""What kind of column this is: the one answer of codec, metrics and displays."""

import datetime
import enum
from decimal import Decimal

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype, is_bool_dtype

NUMBERS = "number"
DATES = "date"
DURATIONS = "duration"
CATEGORIES = "category"
EMPTY = "empty"

# What `infer_dtype` finds among the cells of an object column that is no category.
KIND_OF_OBJECTS = {
    "integer": NUMBERS,
    "floating": NUMBERS,
    "mixed-integer-float": NUMBERS,
    "decimal": NUMBERS,
    "date": DATES,
    "datetime": DATES,
    "datetime64": DATES,
    "period": DATES,
    "timedelta": DURATIONS,
    "timedelta64": DURATIONS,
    "time": DURATIONS,
    "empty": EMPTY,
}
KIND_OF_ARROW = {
    "decimal": NUMBERS,
    "date": DATES,
    "time": DURATIONS,
    "null": EMPTY,
}
# Cells that are read as numbers of a unit of their own: a column of one type of them
# comes back as that type, so that they cannot stand beside anything else.
MEASURED_TYPES = {
    datetime.date,
    datetime.datetime,
    datetime.timedelta,
    datetime.time,
    pd.Timestamp,
    pd.Timedelta,
    pd.Period,
    np.datetime64,
    np.timedelta64,
    Decimal,
}


def column_kind(column: pd.Series) -> str:
    """What a column holds.

    Returns
    -------
    kind : {"number", "date", "duration", "category", "empty"}
        A period is a date, a time of day is the duration since midnight, and a boolean
        is a category, as are members of an enumeration, those of `IntEnum` too. "empty"
        is an object column without any value, which may stand for every kind.

    Raises
    ------
    ValueError
        If the numbers are complex, or if dates, times or decimals stand beside cells of
        another type.
    TypeError
        If cells are containers: lists, dicts, arrays.
    """
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype) or is_bool_dtype(dtype):
        return CATEGORIES
    if isinstance(dtype, pd.PeriodDtype):
        return DATES
    arrow = arrow_kind(dtype)
    if arrow == "nested":
        raise container_error(column, {str(dtype.pyarrow_dtype)})
    if arrow is not None:
        return KIND_OF_ARROW[arrow]
    if pd.api.types.is_object_dtype(dtype):
        kind = KIND_OF_OBJECTS.get(inferred_dtype(column), CATEGORIES)
        return CATEGORIES if kind == NUMBERS and holds_members(column) else kind
    if dtype.kind == "c":
        raise complex_error(column)
    if dtype.kind in "iuf":
        return NUMBERS
    return {"M": DATES, "m": DURATIONS}.get(dtype.kind, CATEGORIES)


def is_categorical(column: pd.Series) -> bool:
    """Whether a column is one of categories; one without values is not."""
    return column_kind(column) == CATEGORIES


def holds_members(column: pd.Series) -> bool:
    """Whether all cells are members of enumerations, which pandas takes for numbers.

    Between two members, such as 1 and 10, there need not be another one.
    """
    types = set(map(type, column[column.notna().to_numpy()]))
    return all(issubclass(kind, enum.Enum) for kind in types)


def inferred_dtype(column: pd.Series) -> str:
    """What an object column holds, in pandas' words, missing values aside.

    Refuses cells that neither a category nor a number can be made of.
    """
    found = infer_dtype(column, skipna=True)
    if found == "decimal":
        if any(isinstance(cell, Decimal) and cell.is_snan() for cell in column):
            raise ValueError(
                f"{label(column)} holds Decimal('sNaN'), which refuses to be compared: "
                "replace it by None."
            )
    mixed = found.startswith("mixed")
    # pandas calls dates beside moments dates, and a moment of each library a moment.
    if mixed or found == "complex" or KIND_OF_OBJECTS.get(found) in (DATES, DURATIONS):
        types = set(map(type, column[column.notna().to_numpy()]))
        if any(issubclass(kind, complex) for kind in types):
            raise complex_error(column)
        refuse_containers(column, types)
        if (mixed or len(types) > 1) and types & MEASURED_TYPES:
            names = ", ".join(sorted(kind.__name__ for kind in types))
            if types == {pd.Period}:
                names = "Period, of several frequencies"
            raise ValueError(
                f"{label(column)} mixes cells of the types {names}: dates, times and "
                "decimals must be alone in their column. Convert all cells to one "
                "type, for example by pandas.to_datetime or astype(str)."
            )
    return found


def refuse_containers(column: pd.Series, types: set[type]) -> None:
    """Raise for an object column with lists or the like among its types of cells."""
    containers = {kind.__name__ for kind in types if kind.__hash__ is None}
    if containers:
        raise container_error(column, containers)


def container_error(column, names):
    return TypeError(
        f"{label(column)} holds {', '.join(sorted(names))} objects: the argument must "
        "be a string or a number, or a date or missing. Convert such cells, for "
        "example by astype(str)."
    )


def complex_error(column):
    return ValueError(
        f"{label(column)} holds complex numbers: pass real and imaginary parts as two "
        "columns."
    )


def label(column: pd.Series) -> str:
    """How an error calls a column, which may have no name."""
    return "the column" if column.name is None else f"column {column.name!r}"


def arrow_kind(dtype) -> str | None:
    """The kind of those types of arrow that numpy has no type for."""
    arrow = getattr(dtype, "pyarrow_dtype", None)
    if arrow is None:
        return None
    from pyarrow import types

    if types.is_decimal(arrow):
        return "decimal"
    if types.is_date(arrow):
        return "date"
    if types.is_time(arrow):
        return "time"
    if types.is_null(arrow):
        return "null"
    return "nested" if types.is_nested(arrow) else None
