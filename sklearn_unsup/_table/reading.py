"""The numbers in a column, as they are."""

from collections.abc import Hashable

import numpy as np
import pandas as pd

from .kinds import KIND_OF_OBJECTS, NUMBERS, inferred_dtype


def read_numbers(name: Hashable, column: pd.Series):
    """Numbers of a column as they are.

    Returns
    -------
    missing : ndarray of bool, shape (n,), or None
        None if nothing is missing.
    values : ndarray of shape (n_present,)
        int64 or uint64, or the column's own float dtype.

    Raises
    ------
    ValueError, TypeError
        If there is something else than numbers, or infinity.
    """
    kind = column.dtype.kind
    if kind == "f":
        if isinstance(column.dtype, np.dtype):
            values = column.to_numpy()
        else:
            values = column.to_numpy(dtype=column.dtype.numpy_dtype, na_value=np.nan)
        missing = np.isnan(values)  # a nullable column may hold NaN beside NA
        values = values[~missing] if missing.any() else values
    else:
        missing = column.isna().to_numpy()
        column = column[~missing] if missing.any() else column
        if kind in "iub":
            values = column.to_numpy(dtype=np.uint64 if kind == "u" else np.int64)
        else:
            values = numbers_of_objects(name, column)
    if values.dtype.kind == "f" and np.isinf(values).any():
        raise ValueError(
            f"column {name!r} contains infinity: replace it by a missing value or by a "
            "large number."
        )
    if values.dtype.kind == "f" and values.dtype.itemsize > 8:
        with np.errstate(over="ignore"):
            if np.isinf(values.astype(np.float64)).any():
                raise ValueError(
                    f"column {name!r} has dtype {column.dtype} and goes beyond what "
                    "floats of 64 bits hold: divide it."
                )
    return (missing if missing.any() else None), values


def numbers_of_objects(name, column):
    """Integers or floats out of an object column without missing values."""
    found = inferred_dtype(column)
    try:
        if found == "integer":
            try:
                return column.to_numpy(dtype=np.int64)
            except OverflowError:
                return column.to_numpy(dtype=np.uint64)
        if KIND_OF_OBJECTS.get(found) != NUMBERS and found not in ("boolean", "empty"):
            raise ValueError(f"cells must be numbers, got those of type {found}")
        return column.to_numpy(dtype=np.float64)
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"column {name!r} has dtype {column.dtype} and cannot be read as numbers "
            f"({error}). Name it in categorical_features, or convert it."
        ) from error
