"""pandas objects as builtins and numpy arrays, for files that must hold no others.

What has no plain form here (intervals, dtypes of other libraries) stays as it is:
pickle can save it, stricter formats refuse it.
"""

import importlib.util
import inspect
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from .plain import period_name

MASKED = {
    "b": pd.arrays.BooleanArray,
    "i": pd.arrays.IntegerArray,
    "u": pd.arrays.IntegerArray,
    "f": pd.arrays.FloatingArray,
}


def plain_array(array):
    """A pandas array as a dict of plain parts, or itself."""
    dtype = array.dtype
    # Before the arrays of numpy: strings that pandas stores without pyarrow are a
    # subclass of them.
    if isinstance(dtype, pd.StringDtype):
        return {
            "kind": "string",
            "values": array.to_numpy(dtype=object, na_value=None),
            **string_options(dtype),
        }
    if isinstance(array, pd.arrays.NumpyExtensionArray) or isinstance(dtype, np.dtype):
        return {"kind": "numpy", "values": np.asarray(array)}
    if isinstance(dtype, pd.CategoricalDtype):
        return {
            "kind": "category",
            "values": np.asarray(array.codes),
            "categories": plain_array(dtype.categories.array),
            "ordered": dtype.ordered,
        }
    if type(array) in MASKED.values():
        gaps = np.asarray(array.isna())
        values = array.to_numpy(dtype=dtype.numpy_dtype, na_value=0)
        return {"kind": "masked", "values": values, "gaps": gaps}
    if isinstance(dtype, pd.SparseDtype):
        fill = np.asarray(dtype.fill_value)
        return {"kind": "sparse", "values": np.asarray(array), "fill": fill}
    if isinstance(dtype, pd.PeriodDtype):
        return {"kind": "period", "values": array.asi8, "freq": period_name(dtype)}
    if isinstance(dtype, pd.ArrowDtype):
        return {"kind": "arrow", "values": arrow_bytes(array)}
    if isinstance(dtype, pd.DatetimeTZDtype) and zone_name(dtype.tz) is not None:
        return {
            "kind": "zone",
            "values": array.tz_convert(None).to_numpy(),
            "zone": zone_name(dtype.tz),
            "zoneinfo": isinstance(dtype.tz, ZoneInfo),
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
        return pd.array(values, dtype=string_dtype(plain["storage"], plain["nullable"]))
    if kind == "masked":
        return MASKED[values.dtype.kind](values, plain["gaps"])
    if kind == "sparse":
        fill = plain["fill"][()]
        return pd.arrays.SparseArray(values, fill_value=fill, dtype=values.dtype)
    if kind == "period":
        return pd.PeriodIndex.from_ordinals(values, freq=plain["freq"]).array
    if kind == "arrow":
        return array_of_bytes(values)
    series = pd.Series(values, dtype=values.dtype)
    if kind == "zone":
        # By name alone older versions of pandas make a zone of pytz.
        zone = ZoneInfo(plain["zone"]) if plain["zoneinfo"] else plain["zone"]
        series = series.dt.tz_localize("UTC").dt.tz_convert(zone)
    return series.array


def arrow_bytes(array):
    """A file of arrow with one column: its type and its values."""
    import pyarrow

    table = pyarrow.table({"values": array.__arrow_array__()})
    file = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue().to_pybytes()


def array_of_bytes(values):
    """Inverse of `arrow_bytes`."""
    import pyarrow

    [column] = pyarrow.ipc.open_stream(values).read_all().columns
    return pd.array(column, dtype=pd.ArrowDtype(column.type))


def string_options(dtype):
    """Arguments of `string_dtype` that give this dtype back, wherever it is loaded.

    Where pandas chose the storage it is "auto" and not what pandas chose: that depends
    on whether pyarrow is installed, and is to follow the tables of the environment.
    """
    nullable = dtype.na_value is pd.NA
    is_default = dtype == string_dtype("auto", nullable)
    # "pyarrow_numpy" is how pandas 2.2 calls pyarrow with NaN for what is missing.
    storage = "auto" if is_default else dtype.storage.removesuffix("_numpy")
    return {"storage": storage, "nullable": nullable}


def string_dtype(storage, nullable):
    """Dtype of strings, or the nearest that this pandas has without other packages."""
    has_pyarrow = importlib.util.find_spec("pyarrow") is not None
    if storage == "auto" or not has_pyarrow:
        storage = None  # the default of pandas, which looks for pyarrow itself
    if nullable:
        return pd.StringDtype(storage)
    if "na_value" in inspect.signature(pd.StringDtype).parameters:
        return pd.StringDtype(storage, na_value=np.nan)
    # pandas 2.2 knows strings with NaN only from pyarrow; others are objects there.
    return pd.StringDtype("pyarrow_numpy") if storage == "pyarrow" else np.dtype(object)


def zone_name(zone):
    """The name by which a zone is found again; None if it has none."""
    name = str(zone)
    try:
        if isinstance(zone, ZoneInfo):
            return name if ZoneInfo(name) == zone else None
        return name if pd.DatetimeTZDtype(tz=name).tz == zone else None
    except (TypeError, ValueError, KeyError, OSError):
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
