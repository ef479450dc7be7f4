"""What a column holds: numbers, dates, categories."""

import pandas as pd
from pandas.api.types import infer_dtype

NUMBERS_IN_OBJECTS = {"integer", "floating", "mixed-integer-float", "decimal", "empty"}


def inferred_dtype(column: pd.Series) -> str:
    """What an object column holds, in pandas' words, missing values aside."""
    return infer_dtype(column, skipna=True)


def is_categorical(column: pd.Series) -> bool:
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype) or pd.api.types.is_bool_dtype(dtype):
        return True
    if pd.api.types.is_object_dtype(dtype):
        return inferred_dtype(column) not in NUMBERS_IN_OBJECTS
    return dtype.kind not in "iufmM"
