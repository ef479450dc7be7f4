"""Means of a column's numbers: to a column of floats, or of its own dtype."""

import numpy as np
import pandas as pd

from .numeric import NumericColumn
from .plain import given_back


def column_of_means(codec: NumericColumn, x: np.ndarray, as_floats: bool) -> pd.Series:
    """A column of means of what `to_numbers` of the codec returns.

    With `as_floats` they are floats as they are, else rounded as the values of training
    are, in their dtype.
    """
    if as_floats and codec.dtype_.kind not in "mM":
        origin = 0 if codec.span_ is None else codec.origin_
        return pd.Series(x * codec.step_ + origin)
    x = x if codec.decimals_ is None else np.round(x, codec.decimals_)
    plain = codec._to_plain(np.clip(x, codec.low_, codec.high_))
    if codec.dtype_.kind in "mM":
        column = codec._dates(plain, None)
    else:
        column = pd.Series(plain).astype(codec.dtype_)
    return given_back(column, codec.form_, codec.na_value_)
