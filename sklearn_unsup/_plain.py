"""pandas objects as builtins and numpy arrays, for files that must hold no others.

What has no plain form here (periods, intervals, arrow's types and the like) stays as it
is: pickle can save it, stricter formats refuse it.
"""

import numpy as np
import pandas as pd

MASKED = {
    "b": pd.arrays.BooleanArray,
    "i": pd.arrays.IntegerArray,
    "u": pd.arrays.IntegerArray,
    "f": pd.arrays.FloatingArray,
}


def plain_array(array):
    """A pandas array as a dict of plain parts, or itself."""
    dtype = array.dtype
    if isinstance(array, pd.arrays.NumpyExtensionArray) or isinstance(dtype, np.dtype):
        return {"kind": "numpy", "values": np.asarray(array)}
    if isinstance(dtype, pd.CategoricalDtype):
        return {
            "kind": "category",
            "values": np.asarray(array.codes),
            "categories": plain_array(dtype.categories.array),
            "ordered": dtype.ordered,
        }
    if isinstance(dtype, pd.StringDtype):
        return {
            "kind": "string",
            "values": array.to_numpy(dtype=object, na_value=None),
            "storage": dtype.storage,
            "nullable": dtype.na_value is pd.NA,
        }
    if type(array) in MASKED.values():
        gaps = np.asarray(array.isna())
        values = array.to_numpy(dtype=dtype.numpy_dtype, na_value=0)
        return {"kind": "masked", "values": values, "gaps": gaps}
    if isinstance(dtype, pd.DatetimeTZDtype) and zone_name(dtype.tz) is not None:
        return {
            "kind": "zone",
            "values": array.tz_convert(None).to_numpy(),
            "zone": zone_name(dtype.tz),
        }
    return array


def array_of(plain):
    """Inverse of `plain_array`."""
    if not isinstance(plain, dict):
        return plain
    kind, values = plain["kind"], plain["values"]
    if kind == "category":
        categories = pd.Index(array_of(plain["categories"]))
        dtype = pd.CategoricalDtype(categories, plain["ordered"])
        return pd.Categorical.from_codes(values, dtype=dtype)
    if kind == "string":
        # The only kind that pandas 2 knows is nullable.
        missing = {} if plain["nullable"] else {"na_value": np.nan}
        return pd.array(values, dtype=pd.StringDtype(plain["storage"], **missing))
    if kind == "masked":
        return MASKED[values.dtype.kind](values, plain["gaps"])
    series = pd.Series(values, dtype=values.dtype)
    if kind == "zone":
        series = series.dt.tz_localize("UTC").dt.tz_convert(plain["zone"])
    return series.array


def zone_name(zone):
    """The name by which a zone is found again; None if it has none."""
    name = str(zone)
    try:
        return name if pd.DatetimeTZDtype(tz=name).tz == zone else None
    except (TypeError, ValueError, KeyError):
        return None


def plain_dtype(dtype):
    """A dtype as the plain form of an array of it that has no values."""
    return plain_array(pd.Series([], dtype=dtype).array)


def dtype_of(plain):
    """Inverse of `plain_dtype`."""
    return array_of(plain).dtype


def plain_index(index):
    """Names of columns as a dict of plain parts, or the index itself."""
    if isinstance(index, pd.MultiIndex):
        return index
    return {"names": plain_array(index.array), "name": index.name}


def index_of(plain):
    """Inverse of `plain_index`."""
    if isinstance(plain, pd.Index):
        return plain
    return pd.Index(array_of(plain["names"]), name=plain["name"])
