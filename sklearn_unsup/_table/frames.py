"""What a user may pass for a table: to one of three containers, or to a DataFrame."""

import sys
from collections.abc import Iterator
from os import PathLike

import numpy as np
import pandas as pd
from scipy import sparse

from .polars import from_polars, is_polars


def as_container(X, key="X"):
    """A table as a DataFrame of pandas, an array or a sparse matrix.

    What is masked in a masked array is missing, and rows of Python objects keep each
    cell as it is. Anything that is no table passes as it came.

    Raises
    ------
    TypeError, ValueError
        For tables that have to be read or converted first: the message says how.
    """
    if isinstance(X, pd.DataFrame) or sparse.issparse(X):
        return X
    if is_polars(X):
        return from_polars(X, key)
    pyarrow = sys.modules.get("pyarrow")
    if pyarrow is not None and isinstance(X, pyarrow.Table | pyarrow.RecordBatch):
        raise TypeError(
            f"{key} is a pyarrow {type(X).__name__}: pass {key}.to_pandas(), or "
            f"polars.from_arrow({key})."
        )
    if isinstance(X, dict):
        raise TypeError(f"{key} is a dict: pass pandas.DataFrame({key}).")
    if isinstance(X, str | PathLike):
        raise ValueError(
            f"{key} must be a DataFrame or an array, got {type(X).__name__}: read the "
            f"file that it names, for example by pandas.read_csv({key})."
        )
    if isinstance(X, Iterator):
        raise TypeError(
            f"{key} is a {type(X).__name__}, which can be read once only: pass "
            f"list({key}), or its parts to partial_fit one by one."
        )
    if getattr(getattr(X, "dtype", None), "names", None):
        raise TypeError(
            f"{key} is a structured {type(X).__name__}, whose rows are records: pass "
            f"pandas.DataFrame({key})."
        )
    if isinstance(X, np.ma.MaskedArray):
        return fill_masked(X)
    if isinstance(X, list | tuple):
        return array_of_rows(X)
    return X


def fill_masked(X):
    """A masked array as a plain one, with NaN or None where it is masked."""
    mask = np.ma.getmaskarray(X)
    if not mask.any():
        return np.asarray(X)
    if X.dtype.kind in "biu":
        X = X.astype(np.float64)
    elif X.dtype.kind not in "fcmM":
        X = X.astype(object)
    missing = {"f": np.nan, "c": np.nan, "m": "NaT", "M": "NaT"}.get(X.dtype.kind)
    return np.where(mask, np.array(missing, dtype=X.dtype), X.data)


def array_of_rows(rows):
    """Rows that are lists as an array; of objects where numpy would make them text."""
    array = np.asarray(rows)
    if array.dtype.kind not in "US" or array.ndim != 2:
        return array
    cells = np.array(rows, dtype=object)
    if all(isinstance(cell, str | bytes) for cell in cells.flat):
        return array
    return cells


def as_frame(X, key="X") -> pd.DataFrame:
    """A table as a DataFrame; the same object if it is one.

    Raises
    ------
    ValueError, TypeError
        If it is none: the message calls it by `key`.
    """
    X = as_container(X, key)
    if isinstance(X, pd.DataFrame):
        return X
    given = type(X).__name__
    if hasattr(X, "fit") or np.ndim(X) == 0 and not sparse.issparse(X):
        hint = ": pass rows, such as estimator.sample(1000)"
        raise ValueError(
            f"{key} must be a DataFrame or an array, got {given}"
            f"{hint if hasattr(X, 'fit') else ''}"
        )
    X = X.toarray() if sparse.issparse(X) else np.asarray(X)
    if X.ndim != 2:
        raise ValueError(
            f"{key} must be a DataFrame or an array of two dimensions, got one of "
            f"{X.ndim}"
        )
    # The strings of an array are objects: pandas would give them a dtype of its own.
    return pd.DataFrame(X, dtype=object if X.dtype.kind in "OSU" else X.dtype)
