"""Polars frames: in as pandas ones, out as what came in."""

import io
import sys

import numpy as np
import pandas as pd

WIDE_INTEGERS = "Int128", "UInt128"
TIMES = "Date", "Datetime", "Duration", "Time"


def is_polars(X) -> bool:
    """Whether X is a frame of polars, which only its user has to import."""
    polars = sys.modules.get("polars")
    return polars is not None and isinstance(X, polars.DataFrame | polars.LazyFrame)


def is_polars_series(column) -> bool:
    """Whether a column is one of a polars frame."""
    polars = sys.modules.get("polars")
    return polars is not None and isinstance(column, polars.Series)


def refuse_lazy(X, key="X"):
    """Raise for a polars frame that has no rows yet; the error calls it by `key`."""
    if not hasattr(X, "height"):
        raise TypeError(f"{key} is a polars LazyFrame: pass {key}.collect(), its rows.")


def schema_of(X) -> bytes | None:
    """What `to_polars` needs to know of a polars frame; None for other tables."""
    if not is_polars(X):
        return None
    refuse_lazy(X)
    # A file of no rows: bytes can be saved and opened where polars is missing.
    file = io.BytesIO()
    X.clear().write_ipc(file)
    return file.getvalue()


def narrowed_schema(schema: bytes | None, table, declared) -> bytes | None:
    """A schema whose enums have only the levels that a table of pandas has.

    Where levels of a column are declared, their order is that of its enum.
    """
    if schema is None:
        return None
    import polars

    empty = polars.read_ipc(io.BytesIO(schema))
    for position, (name, dtype) in enumerate(empty.schema.items()):
        if dtype.base_type().__name__ == "Enum":
            known = set(table.iloc[:, position].dropna())
            order = (declared or {}).get(name, dtype.categories)
            levels = [level for level in order if level in known]
            column = polars.Series(name, [], polars.Enum(levels))
            empty = empty.with_columns(column)
    return schema_of(empty)


def from_polars(X, key="X"):
    """A polars DataFrame as a pandas one, by numpy alone; any other table as it is.

    Strings, categories and enums become objects, times of day durations, decimals
    floats: the codec sees no difference, and `to_polars` knows the way back.
    """
    if not is_polars(X):
        return X
    refuse_lazy(X, key)
    columns = {name: column_from_polars(X[name]) for name in X.columns}
    return pd.DataFrame(columns, index=pd.RangeIndex(X.height))


def column_from_polars(column):
    """Values of a column in numpy's dtypes, or pandas' nullable ones."""
    kind = column.dtype.base_type().__name__
    missing = column.is_null().to_numpy()
    polars = sys.modules["polars"]
    if kind in ("String", "Categorical", "Enum"):
        return np.array(column.cast(polars.String).to_list(), dtype=object)
    if kind in ("Float32", "Float64", "Decimal", "Null"):
        floats = column if kind == "Float32" else column.cast(polars.Float64)
        return floats.to_numpy()
    if kind == "Boolean":
        values = column.fill_null(False).to_numpy()
        return pd.arrays.BooleanArray(values, missing) if missing.any() else values
    if kind in TIMES:
        ticks = column.to_physical().cast(polars.Int64).fill_null(0).to_numpy()
        ticks = np.where(missing, np.iinfo(np.int64).min, ticks)  # NaT
        letter = "m" if kind in ("Duration", "Time") else "M"
        values = ticks.view(f"{letter}8[{time_unit(kind, column.dtype)}]")
        return values.astype("M8[s]") if kind == "Date" else values
    if column.dtype.is_integer() and kind not in WIDE_INTEGERS:
        values = column.to_physical().fill_null(0).to_numpy()
        return pd.arrays.IntegerArray(values, missing) if missing.any() else values
    raise TypeError(
        f"column {column.name!r} has the polars dtype {column.dtype}; numbers, "
        "strings, categories, booleans, dates and times are allowed. Cast it to one "
        "of them, unnest it, or drop it."
    )


def to_polars(table, schema: bytes | None):
    """A decoded table as the polars DataFrame that `schema` is of, gaps as nulls.

    Without a schema as it is.
    """
    if schema is None:
        return table
    import polars

    dtypes = polars.read_ipc(io.BytesIO(schema)).schema
    columns = []
    for position, (name, dtype) in enumerate(dtypes.items()):
        column = table.iloc[:, position]
        missing = column.isna().to_numpy()
        kind = dtype.base_type().__name__
        if kind in ("String", "Categorical", "Enum"):
            levels = column.astype(object).mask(missing, None).tolist()
            values = polars.Series(name, levels, polars.String)
        elif kind == "Null":
            values = polars.Series(name, [None] * len(column))
        else:
            values = polars.Series(name, plain_values(column, missing, kind, dtype))
            values = values.set(polars.Series(missing), None)
        columns.append(values.cast(dtype))
    return polars.DataFrame(columns)


def numbers_to_polars(values, names):
    """Floats as a polars DataFrame with columns of these names."""
    import polars

    return polars.DataFrame(dict(zip(names, values.T, strict=True)))


def with_flags(table, names, flags):
    """A polars DataFrame with columns of booleans after its own."""
    import polars

    columns = zip(names, flags.T, strict=True)
    return table.with_columns(polars.Series(name, flag) for name, flag in columns)


def time_unit(kind, dtype):
    """The unit that polars counts in, as numpy calls it."""
    return {"Date": "D", "Time": "ns"}.get(kind) or dtype.time_unit


def plain_values(column, missing, kind, dtype):
    """What polars holds of a column, a numpy array; anything where it is missing."""
    if kind in TIMES:
        unit = time_unit(kind, dtype)
        ticks = column.to_numpy().astype(f"{column.dtype.kind}8[{unit}]")
        return np.where(missing, 0, ticks.view(np.int64))
    if kind == "Decimal":
        # Older polars cut digits off and newer ones round: a quarter of the last digit
        # more gives the nearest decimal in both.
        values = np.round(column.to_numpy(dtype=np.float64), dtype.scale)
        return values + np.copysign(0.25 * 10.0**-dtype.scale, values)
    if isinstance(column.dtype, np.dtype):
        return column.to_numpy()
    return column.to_numpy(dtype=column.dtype.numpy_dtype, na_value=0)
