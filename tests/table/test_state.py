"""pandas objects as plain parts, and back: also where pyarrow came or went."""

import importlib.util
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from sklearn_unsup import AutoencoderTransformer
from sklearn_unsup._table.state import array_of, dtype_of, plain_array, plain_dtype

HAS_PYARROW = importlib.util.find_spec("pyarrow") is not None
# Before pandas 2.3 only pyarrow's strings had NaN for what is missing.
HAS_STR = pd.Series(["a"], dtype="str").dtype != object


def string_dtypes():
    yield pd.StringDtype("python")
    if HAS_STR:
        yield pd.StringDtype("python", na_value=np.nan)
    if HAS_PYARROW:
        yield pd.StringDtype("pyarrow")
    if HAS_PYARROW and HAS_STR:
        yield pd.StringDtype("pyarrow", na_value=np.nan)


def parts_of(plain):
    """Types of all that lies in a plain form."""
    if isinstance(plain, dict):
        return {kind for value in plain.values() for kind in parts_of(value)}
    return {type(plain)}


@pytest.mark.parametrize("dtype", string_dtypes(), ids=repr)
def test_strings(dtype):
    array = pd.array(["b", None, "a", ""], dtype=dtype)
    plain = plain_array(array)
    assert parts_of(plain) == {str, bool, np.ndarray}
    pd.testing.assert_extension_array_equal(array_of(plain), array)
    assert dtype_of(plain_dtype(dtype)) == dtype
    categories = pd.Series(array).astype("category").array
    again = array_of(plain_array(categories))
    assert again.dtype == categories.dtype
    assert again.categories.dtype == dtype


@pytest.mark.parametrize("nullable", [True, False])
def test_strings_of_an_environment_with_pyarrow(nullable):
    """Its storage where there is pyarrow, else the one that pandas has by itself."""
    values = np.array(["b", None, "a"], dtype=object)
    plain = {"kind": "string", "values": values, "storage": "pyarrow"}
    array = array_of({**plain, "nullable": nullable})
    assert array.isna().tolist() == [False, True, False]
    assert array[[0, 2]].tolist() == ["b", "a"]
    if nullable or HAS_STR:
        assert array.dtype.storage == ("pyarrow" if HAS_PYARROW else "python")
        assert (array.dtype.na_value is pd.NA) == nullable


def test_the_default_storage_follows_the_environment():
    """A saved table of the storage that pandas chose says "auto", not which it was."""
    for name in ("string", "str"):
        dtype = pd.Series(["a"], dtype=name).dtype
        if isinstance(dtype, pd.StringDtype):
            assert plain_dtype(dtype)["storage"] == "auto"


# Loads a model that was saved with pyarrow, and saves one without.
WITHOUT_PYARROW = """
import pickle, sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        is_pyarrow = name.split(".")[0] == "pyarrow"
        return None if is_pyarrow else super().find_spec(name, path, target)

sys.meta_path = [Without if f is PathFinder else f for f in sys.meta_path]
import pandas as pd
from sklearn_unsup import AutoencoderTransformer
file = sys.argv[1]
frame = pd.DataFrame({"name": pd.Series(["x", "y", None] * 10, dtype="string")})
frame["word"] = pd.Series(["u", None, "v"] * 10, dtype="str")
frame["level"] = frame["word"].astype("category")
with open(file, "rb") as saved:
    model = pickle.load(saved)
assert model.sample(5).dtypes.equals(frame.dtypes)
assert model.transform(frame).shape == (30, 1)
model = AutoencoderTransformer(1, max_iter=1, random_state=0).fit(frame)
with open(file, "wb") as saved:
    pickle.dump(model, saved)
"""


@pytest.mark.slow
@pytest.mark.skipif(not HAS_PYARROW, reason="compares with and without pyarrow")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_model_moves_to_an_environment_without_pyarrow_and_back(tmp_path):
    frame = pd.DataFrame({"name": pd.Series(["x", "y", None] * 10, dtype="string")})
    frame["word"] = pd.Series(["u", None, "v"] * 10, dtype="str")
    frame["level"] = frame["word"].astype("category")
    model = AutoencoderTransformer(1, max_iter=1, random_state=0).fit(frame)
    file = tmp_path / "model.pickle"
    file.write_bytes(pickle.dumps(model))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT_PYARROW, str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    other = pickle.loads(file.read_bytes())
    drawn = other.sample(5)
    assert drawn.dtypes.equals(frame.dtypes)
    assert drawn["level"].cat.categories.dtype == frame["level"].cat.categories.dtype
