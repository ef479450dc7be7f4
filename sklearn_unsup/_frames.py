"""The door for tables: polars frames come in and go out, arrays are looked at."""

import io
import sys
from contextlib import contextmanager

import numpy as np
import pandas as pd

WIDE_INTEGERS = "Int128", "UInt128"

# ------------------------------------------------------------------------ polars


def is_polars(X) -> bool:
    """Whether X is a frame of polars, which only its user has to import."""
    polars = sys.modules.get("polars")
    return polars is not None and isinstance(X, polars.DataFrame | polars.LazyFrame)


def schema_of(X) -> bytes | None:
    """What `to_polars` needs to know of a polars frame; None for other tables."""
    if not is_polars(X):
        return None
    # A file of no rows: bytes can be saved and opened where polars is missing.
    file = io.BytesIO()
    X.clear().write_ipc(file)
    return file.getvalue()


def from_polars(X):
    """A polars DataFrame as a pandas one, by numpy alone; any other table as it is.

    Strings, categories and enums become objects, times of day whole numbers, decimals
    floats: the codec sees no difference, and `to_polars` knows the way back.
    """
    if not is_polars(X):
        return X
    if not hasattr(X, "height"):
        raise TypeError("X is a polars LazyFrame: pass X.collect(), its rows.")
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
    if kind in ("Date", "Datetime", "Duration"):
        ticks = column.to_physical().cast(polars.Int64).fill_null(0).to_numpy()
        ticks = np.where(missing, np.iinfo(np.int64).min, ticks)  # NaT
        letter = "m" if kind == "Duration" else "M"
        unit = "D" if kind == "Date" else column.dtype.time_unit
        values = ticks.view(f"{letter}8[{unit}]")
        return values.astype("M8[s]") if kind == "Date" else values
    if kind == "Time" or (column.dtype.is_integer() and kind not in WIDE_INTEGERS):
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


def plain_values(column, missing, kind, dtype):
    """What polars holds of a column, a numpy array; anything where it is missing."""
    if kind in ("Date", "Datetime", "Duration"):
        unit = "D" if kind == "Date" else dtype.time_unit
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


# ------------------------------------------------------------------------ pixels


def resolve_scaling(X, scaling, default, pixel_columns):
    """What "auto" means: the default, but for tables that look like pixels.

    Those have `pixel_columns` columns of numbers, or more.
    """
    if scaling != "auto":
        return scaling
    if X.shape[1] < pixel_columns:
        return default
    if is_unit_interval(X):
        return None
    return "minmax" if default == "quantile" and shares_one_scale(X) else default


def resolve_sparse_scaling(X, scaling, loss, default):
    """What "auto" means for sparse rows.

    Where all numbers are in [0, 1] their columns share a unit, which one scale leaves
    them; a likelihood of probabilities, as models have it whose default is "quantile",
    wants zeros and ones as they are.
    """
    if scaling == "quantile":
        raise ValueError(
            "numeric_scaling='quantile' needs dense rows, and X is sparse: pass "
            "'standard', 'minmax', None or 'auto'."
        )
    if scaling != "auto":
        return scaling
    if (X.data < 0).any() or (X.data > 1).any():
        return "standard"
    bits = default == "quantile" and loss == "auto" and np.isin(X.data, (0, 1)).all()
    return None if bits or loss == "binary_crossentropy" else "shared"


def refuse_dense_options(categorical_features, density_ratio):
    """Raise for what sparse rows cannot have."""
    chosen = np.asarray([] if categorical_features is None else categorical_features)
    named = chosen.any() if chosen.dtype == bool else chosen.size > 0
    if named and not isinstance(categorical_features, str):
        raise ValueError(
            f"categorical_features={categorical_features!r}: X is sparse, and all "
            "columns of sparse rows are numbers. Pass 'from_dtype' or None, or a "
            "DataFrame."
        )
    if not isinstance(density_ratio, str | None):
        raise ValueError(
            f"density_ratio={density_ratio!r} learns from dense rows, X is sparse: "
            "pass 'auto' or None, which are the same for sparse rows."
        )


def is_unit_interval(X) -> bool:
    """Whether a table is numbers in [0, 1] only: pixels, or scaled by the user."""
    # Most tables say no in the first chunk.
    return holds_plain_numbers(X) and not any(
        ((part < 0) | (part > 1)).any() for part in float_chunks(X)
    )


def shares_one_scale(X) -> bool:
    """Whether most columns run from 0 or above to one same maximum, as greys do."""
    if not holds_plain_numbers(X):
        return False
    highest = np.zeros(X.shape[1], np.float32)
    for part in float_chunks(X):
        if not (part >= 0).all():
            return False
        highest = np.maximum(highest, part.max(0))
    return bool(highest.any() and np.mean(highest == highest.max()) > 0.5)


def holds_plain_numbers(X) -> bool:
    dtypes = X.dtypes if isinstance(X, pd.DataFrame) else [X.dtype]
    return all(isinstance(d, np.dtype) and d.kind in "fiu" for d in dtypes)


def float_chunks(X):
    step = 1_000
    for start in range(0, len(X), step):
        yield np.asarray(X[start : start + step], dtype=np.float32)


def refuse_empty(X: pd.DataFrame, name: str) -> None:
    """Raise scikit-learn's error for a frame without rows or columns."""
    if 0 in X.shape:
        raise ValueError(
            f"Found array with {X.shape[0]} sample(s) and {X.shape[1]} feature(s) "
            f"while a minimum of 1 is required by {name}."
        )


def holds_objects(X) -> bool:
    """Whether an array-like has cells that are no plain numbers."""
    return np.asarray(X).dtype.kind in "OUS" if not hasattr(X, "tocsr") else False


@contextmanager
def explained_warm_start(going_on):
    """Say in errors of a table with other columns or levels where these come from."""
    try:
        yield
    except ValueError as error:
        if not going_on:
            raise
        raise ValueError(
            f"{error}\nWith warm_start=True `fit` goes on with the columns and levels "
            "of the first fit; pass warm_start=False to start anew on this table."
        ) from error
