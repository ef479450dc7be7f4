"""Columns of any dtype as numbers, or as a few levels."""

import numpy as np
import pandas as pd
from pandas.api import types

FEW_LEVELS = 10  # integers with no more values are told apart rather than measured


def as_table(X, columns=None):
    """DataFrame of a frame, array or sparse matrix; the same object for a frame."""
    if isinstance(X, pd.DataFrame):
        return X
    if hasattr(X, "fit"):
        raise ValueError(
            f"Expected a table with rows and columns, got {type(X).__name__}: pass "
            "rows, such as estimator.sample(1000)."
        )
    X = X.toarray() if hasattr(X, "toarray") else np.asarray(X)
    if X.ndim != 2:
        raise ValueError(
            f"Expected a table with rows and columns, got an array of shape {X.shape}."
        )
    return pd.DataFrame(X, columns=columns).infer_objects()


def kind_of(column):
    """What a column is for a picture: "number", "date" or "category"."""
    if types.is_datetime64_any_dtype(column.dtype):
        return "date"
    if types.is_bool_dtype(column.dtype) or types.is_complex_dtype(column.dtype):
        return "category"
    return "number" if types.is_numeric_dtype(column.dtype) else "category"


def kind_of_target(target):
    """The same, but few whole numbers are labels of classes."""
    kind = kind_of(target)
    if kind == "number":
        values = to_floats(target)
        values = np.unique(values[~np.isnan(values)])
        if len(values) <= FEW_LEVELS and np.array_equal(values, np.round(values)):
            return "category"
    return kind


def to_floats(column):
    """Numbers as they are, dates in days since 1970 (UTC), missing ones as NaN."""
    if types.is_datetime64_any_dtype(column.dtype):
        if getattr(column.dtype, "tz", None) is not None:
            column = column.dt.tz_convert("UTC").dt.tz_localize(None)
        days = column.to_numpy("datetime64[us]")
        floats = days.astype(np.int64) / 86_400e6
        return np.where(np.isnat(days), np.nan, floats)
    return column.to_numpy(dtype=float, na_value=np.nan)


def to_objects(column):
    """Levels as plain Python objects, whatever dtype held them."""
    return column.astype(object).where(column.notna(), None)


def main_positions(shares, max_levels):
    """Positions of the most frequent levels, in order; one place is for the rest."""
    if len(shares) <= max_levels:
        return np.arange(len(shares))
    return np.sort(np.argsort(-np.asarray(shares), kind="stable")[: max_levels - 1])
