"""One answer to what a column holds, and columns of any dtype that come back."""

import datetime as dt
import enum
import importlib.util
import pickle
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from pandas.testing import assert_frame_equal
from scipy import sparse

from sklearn_unsup import AutoencoderTransformer
from sklearn_unsup._table.codec import TableCodec
from sklearn_unsup._table.frames import as_container, as_frame
from sklearn_unsup._table.kinds import column_kind
from sklearn_unsup._table.numeric import NumericColumn
from sklearn_unsup._table.plain import to_floats

needs_pyarrow = pytest.mark.skipif(
    importlib.util.find_spec("pyarrow") is None, reason="needs the extra test"
)
ROME = ZoneInfo("Europe/Rome")
MIDNIGHT = dt.datetime(2020, 1, 1)


def objects(cells):
    """An object column of the very cells, whatever pandas would make of them."""
    column = pd.Series([None] * len(cells), dtype=object)
    for place, cell in enumerate(cells):
        column.iat[place] = cell
    return column


def arrow(cells, name, *args):
    """A column of the arrow type that pyarrow makes by this name."""
    pyarrow = pytest.importorskip("pyarrow")
    return pd.Series(cells, dtype=pd.ArrowDtype(getattr(pyarrow, name)(*args)))


def hour(h):
    return dt.time(h, 30)


# ---------------------------------------------------------------- columns that return

# Cells of a column from whole numbers, by how the column is made.
CELLS = {
    "date": lambda i: dt.date(1, 1, 1) + dt.timedelta(i),
    "datetime": lambda i: MIDNIGHT + dt.timedelta(seconds=i),
    "datetime of a zone": lambda i: (MIDNIGHT + dt.timedelta(hours=i)).replace(
        tzinfo=ROME
    ),
    "Timestamp": lambda i: pd.Timestamp(MIDNIGHT) + pd.Timedelta(i, "min"),
    "Timestamp of a zone": lambda i: pd.Timestamp(i, unit="s", tz="Asia/Tokyo"),
    "timedelta": lambda i: dt.timedelta(microseconds=i),
    "Timedelta": lambda i: pd.Timedelta(i, "ms"),
    "time": lambda i: (dt.datetime.min + dt.timedelta(seconds=i)).time(),
    "Decimal": lambda i: Decimal(i).scaleb(-2),
    "datetime64": lambda i: np.datetime64(i, "s"),
    "timedelta64": lambda i: np.timedelta64(i, "s"),
    "Period": lambda i: pd.Period(ordinal=i, freq="M"),
}
COLUMNS = {name: (cell, objects) for name, cell in CELLS.items()} | {
    "period[M]": (CELLS["Period"], lambda x: pd.Series(pd.PeriodIndex(x, freq="M"))),
    "period[Q-MAR]": (
        lambda i: pd.Period(ordinal=i, freq="Q-MAR"),
        lambda x: pd.Series(pd.PeriodIndex(x, freq="Q-MAR")),
    ),
    "decimal128": (CELLS["Decimal"], lambda x: arrow(x, "decimal128", 12, 2)),
    "time64": (CELLS["time"], lambda x: arrow(x, "time64", "us")),
    "time32": (CELLS["time"], lambda x: arrow(x, "time32", "s")),
    "date32": (CELLS["date"], lambda x: arrow(x, "date32")),
    "Sparse[float]": (
        lambda i: i / 4,
        lambda x: pd.Series(x, dtype=float).astype(pd.SparseDtype(float, 0.0)),
    ),
    "Sparse[float], of another fill": (
        lambda i: i / 4,
        lambda x: pd.Series(x, dtype=float).astype(pd.SparseDtype(float, 7.0)),
    ),
}


@pytest.mark.parametrize(
    "scaling", ["quantile", pytest.param(None, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", COLUMNS)
@given(data=st.data())
def test_round_trip_is_exact(name, scaling, data):
    cell, make = COLUMNS[name]
    whole = st.none() | st.integers(0, 86_399)
    drawn = data.draw(st.lists(whole, min_size=1, max_size=20))
    X = pd.DataFrame({"x": make([None if i is None else cell(i) for i in drawn])})
    codec = TableCodec(scaling).fit(X)
    assert isinstance(codec.columns_codec_[0], NumericColumn)
    for again in (codec, pickle.loads(pickle.dumps(codec))):
        back = again.decode(*again.encode(X))
        assert_frame_equal(back, X, rtol=0, atol=0)
        if X["x"].dtype == object:
            assert list(map(type, back["x"])) == list(map(type, X["x"]))


@pytest.mark.parametrize("name", COLUMNS)
def test_what_a_column_learnt_is_plain(name):
    """No dtype or cell of a library but numpy's: stricter formats can save it."""
    cell, make = COLUMNS[name]
    codec = TableCodec().fit(pd.DataFrame({"x": make([cell(3), cell(8), cell(3)])}))
    [state] = codec.__getstate__()["columns_codec_"]
    parts = list(state.values())
    for part in parts:
        parts += part.values() if isinstance(part, dict) else []
    libraries = {type(part).__module__.split(".")[0] for part in parts}
    assert libraries <= {"builtins", "numpy", "sklearn_unsup"}


def test_drawn_cells_are_of_the_type_and_the_scale():
    """Between the values of training, too: what the column has, and no level of it."""
    X = pd.DataFrame(
        {
            "day": objects([dt.date(2020, 1, 1), dt.date(9999, 12, 31)] * 5),
            "price": objects([Decimal("0.50"), Decimal("99.25")] * 5),
            "at": objects([hour(1), hour(23)] * 5),
            "paid": arrow([Decimal("0.50"), Decimal("99.25")] * 5, "decimal128", 9, 2),
        }
    )
    codec = TableCodec("standard").fit(X)
    assert codec.layout_.n_numeric == 4
    z = np.random.default_rng(0).normal(size=(99, 4)).astype(np.float32)
    drawn = codec.decode(z, np.zeros((99, 0), np.int64))
    assert drawn.dtypes.equals(X.dtypes)
    assert drawn.map(type).nunique().eq(1).all()
    assert {value.as_tuple().exponent for value in drawn["price"]} == {-2}
    assert (drawn.nunique() > 20).all()
    codec.encode(drawn)  # nothing is unseen


def test_booleans_that_are_read_as_numbers_are_booleans():
    X = pd.DataFrame({"x": objects([True, False, None, True])})
    codec = TableCodec(categorical_features=None).fit(X)
    assert codec.layout_.n_numeric == 1
    back = codec.decode(*codec.encode(X))["x"].tolist()
    assert [cell if cell is None else (type(cell), cell) for cell in back] == [
        (bool, True),
        (bool, False),
        None,
        (bool, True),
    ]


@needs_pyarrow
def test_an_arrow_column_without_values():
    X = pd.DataFrame({"x": arrow([None, None], "null"), "y": [1, 2]})
    codec = pickle.loads(pickle.dumps(TableCodec().fit(X)))
    assert_frame_equal(codec.decode(*codec.encode(X)), X)


def test_periods_of_another_unit_are_refused():
    days, months = (
        pd.DataFrame({"x": pd.period_range("2020-01-01", periods=3, freq=unit)})
        for unit in "DM"
    )
    codec = TableCodec().fit(months)
    with pytest.raises(ValueError, match=r"'x' has dtype period\[D\].*period\[M\]"):
        codec.encode(days)


# ------------------------------------------------------------------- kinds

ONE_OF_EACH = [
    (pd.Series([1, 2]), "number"),
    (objects([1, 2.5, None]), "number"),
    (objects([Decimal("1.5"), None]), "number"),
    (pd.Series([0.0, 1.5]).astype("Sparse[float]"), "number"),
    (pd.Series(pd.to_datetime(["2020"])), "date"),
    (pd.Series(pd.period_range("2020", periods=2, freq="M")), "date"),
    (objects([dt.date(2020, 1, 1)]), "date"),
    (objects([MIDNIGHT]), "date"),
    (objects([pd.Period("2020", "M")]), "date"),
    (pd.Series(pd.to_timedelta([1], "D")), "duration"),
    (objects([dt.timedelta(1)]), "duration"),
    (objects([hour(3)]), "duration"),
    (pd.Series([True, False]), "category"),
    (objects([True, None]), "category"),
    (pd.Series([1, 2]).astype("category"), "category"),
    (pd.Series(["a", "b"]), "category"),
    (objects([1, "a", True]), "category"),
    (objects([None, np.nan]), "empty"),
]


@pytest.mark.parametrize(("column", "kind"), ONE_OF_EACH)
def test_column_kind(column, kind):
    assert column_kind(column) == kind
    layout = TableCodec().fit(pd.DataFrame({"x": column})).layout_
    if column.nunique() > 1:
        assert (layout.n_numeric == 0) == (kind == "category")


@needs_pyarrow
def test_kinds_of_arrow():
    assert column_kind(arrow([Decimal("1.5")], "decimal128", 4, 2)) == "number"
    assert column_kind(arrow([hour(3)], "time64", "us")) == "duration"
    assert column_kind(arrow([dt.date(2020, 1, 1)], "date32")) == "date"
    assert column_kind(arrow(["a"], "string")) == "category"
    assert column_kind(arrow([None], "null")) == "empty"


DAY = dt.date(2020, 1, 1)
REFUSED = [
    ([DAY, "a"], ValueError, "'x' mixes cells of the types date, str"),
    ([DAY, 1], ValueError, "'x' mixes cells of the types date, int"),
    ([DAY, MIDNIGHT], ValueError, "date, datetime"),
    ([MIDNIGHT, pd.Timestamp(MIDNIGHT)], ValueError, "Timestamp, datetime"),
    ([Decimal(1), Decimal("sNaN")], ValueError, "'x' holds Decimal.'sNaN'"),
    ([Decimal(1), 1.5], ValueError, "Decimal, float"),
    ([hour(1), "a"], ValueError, "str, time"),
    ([pd.Period("2020", "M"), pd.Period("2020", "D")], ValueError, "frequencies"),
    ([MIDNIGHT, MIDNIGHT.replace(tzinfo=ROME)], ValueError, "'x' mixes time zones"),
    ([hour(1).replace(tzinfo=ROME)], ValueError, "'x' holds times of day with a time"),
    ([1j, 2.0], ValueError, "'x' holds complex"),
    ([[1], [2]], TypeError, "'x' holds list objects: the argument must be a string"),
    ([np.arange(2), np.arange(3)], TypeError, "'x' holds ndarray objects"),
    ([{"a": 1}, "b"], TypeError, "'x' holds dict objects"),
]


@pytest.mark.parametrize("chosen", ["from_dtype", None])
@pytest.mark.parametrize(("cells", "error", "message"), REFUSED)
def test_cells_that_are_refused(cells, error, message, chosen):
    with pytest.raises(error, match=message):
        TableCodec(categorical_features=chosen).fit(pd.DataFrame({"x": objects(cells)}))


@needs_pyarrow
def test_nested_columns_of_arrow_are_refused():
    pyarrow = pytest.importorskip("pyarrow")
    for column in (
        arrow([[1], [2]], "list_", pyarrow.int64()),
        arrow([{"a": 1}], "struct", [("a", pyarrow.int64())]),
    ):
        with pytest.raises(TypeError, match=r"'x' holds (list|struct)<.*> objects"):
            TableCodec().fit(pd.DataFrame({"x": column}))


def test_complex_columns_are_refused():
    with pytest.raises(ValueError, match="'x' holds complex numbers"):
        TableCodec().fit(pd.DataFrame({"x": [1j, 2.0]}))


def test_floats_count_days():
    """One scale for a date, whatever holds it: UTC, from 1970 on; missing is NaN."""
    day = 18_262.0  # of 2020-01-01
    for column in (
        pd.Series(pd.to_datetime(["2020-01-01", None])),
        pd.Series(pd.to_datetime(["2020-01-01T01:00+01:00", None], utc=True)),
        pd.Series(pd.PeriodIndex(["2020-01", None], freq="M")),
        objects([DAY, None]),
        objects([dt.datetime(2020, 1, 1, 1, tzinfo=ROME), None]),
        objects([pd.Period("2020", "Y"), None]),
    ):
        assert_array_equal(to_floats(column), [day, np.nan])
    assert_array_equal(to_floats(objects([dt.time(12), None])), [0.5, np.nan])
    assert_array_equal(to_floats(objects([Decimal("1.5"), None])), [1.5, np.nan])
    last = pd.Series(np.array(["9999-12-31"], dtype="M8[s]"))
    assert to_floats(last) == (dt.date(9999, 12, 31) - dt.date(1970, 1, 1)).days


class Size(enum.IntEnum):
    SMALL = 1
    MEDIUM = 2
    HUGE = 100


def test_members_of_an_enumeration_are_levels():
    """Also those that are numbers, which would else be drawn between the members."""
    cells = list(Size) * 5 + [None]
    column = objects(cells)
    assert column_kind(column) == "category"
    assert column_kind(objects([1, 2, 100])) == "number"
    assert column_kind(objects([Size.SMALL, 2])) == "number"
    table = pd.DataFrame({"size": column})
    for categorical in ("from_dtype", ["size"]):
        codec = TableCodec(categorical_features=categorical).fit(table)
        back = codec.decode(*codec.encode(table), np.random.default_rng(0))
        assert back["size"].tolist() == cells
        assert {type(cell) for cell in back["size"]} == {Size, type(None)}
    codec = TableCodec(categorical_features=None).fit(table)
    assert codec.layout_.n_numeric == 1


# ------------------------------------------------------------------- frames


def test_rows_keep_what_each_cell_is():
    rows = [[0.5, "a"], [0.7, "b"]]
    assert as_container(rows).tolist() == rows
    assert as_container([["a", "b"]]).dtype.kind == "U"
    assert as_container([[1, 2.5]]).dtype == np.float64
    model = AutoencoderTransformer(1, max_iter=1, random_state=0).fit(rows * 10)
    assert model.codec_.layout_.n_numeric == 1
    one, table = model.transform([[0.6, "b"]]), np.array([[0.6, "b"]], dtype=object)
    assert_array_equal(one, model.transform(table))
    drawn = model.sample(3)
    assert [list(map(type, row)) for row in drawn] == [[float, str]] * 3


@pytest.mark.parametrize("dtype", [float, int, "M8[s]", object])
def test_what_is_masked_is_missing(dtype):
    values = np.arange(6).reshape(3, 2).astype(dtype)
    masked = np.ma.masked_array(values, [[0, 1], [0, 0], [1, 0]])
    frame = as_frame(masked)
    assert_array_equal(frame.isna(), masked.mask)
    for column in (0, 1):
        kept = ~masked.mask[:, column]
        assert_array_equal(frame[column][kept], values[kept, column])
    assert as_container(np.ma.masked_array(values)).dtype == values.dtype


def test_an_estimator_reads_the_mask():
    rng = np.random.default_rng(0)
    X = np.ma.masked_array(rng.integers(0, 9, (30, 2)), rng.random((30, 2)) < 0.2)
    model = AutoencoderTransformer(1, max_iter=1, random_state=0).fit(X)
    assert model.codec_.layout_.masks == (0, 1)


@needs_pyarrow
def test_tables_of_arrow_are_refused_by_what_to_call():
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"x": [1, 2]})
    with pytest.raises(TypeError, match=r"real is a pyarrow Table.*real\.to_pandas"):
        as_frame(table, "real")
    with pytest.raises(TypeError, match=r"X\.to_pandas\(\)"):
        AutoencoderTransformer(1).fit(table)


def test_records_are_refused_by_what_to_call():
    records = np.rec.fromarrays([[1.0, 2.0], [3, 4]], names="x,n")
    masked = np.ma.masked_array(records, [(0, 1), (0, 0)])
    for X in (records, np.asarray(records), masked):
        with pytest.raises(TypeError, match=r"pass pandas\.DataFrame\(X\)\.$"):
            as_container(X)
    assert as_frame(pd.DataFrame(records)).columns.tolist() == ["x", "n"]


def test_sparse_matrices_are_frames_for_those_who_ask():
    X = sparse.random(5, 3, density=0.5, random_state=0)
    assert_array_equal(as_frame(X), X.toarray())
    assert as_container(X) is X


def test_what_is_no_table():
    for wrong, message in (
        (AutoencoderTransformer(), r"real must be .*estimator\.sample\(1000\)"),
        (3.0, "real must be a DataFrame or an array, got float"),
        (np.zeros(3), "two dimensions, got one of 1"),
    ):
        with pytest.raises(ValueError, match=message):
            as_frame(wrong, "real")


@pytest.mark.parametrize("fill", [0.0, np.nan, 7.0])
def test_sparse_columns_of_floats_in_an_estimator(fill):
    rng = np.random.default_rng(0)
    dense = pd.DataFrame(rng.choice([0.0, 1.5, 7.0], size=(30, 3)), columns=list("abc"))
    X = dense.astype(pd.SparseDtype(float, fill))
    model, other = (
        AutoencoderTransformer(1, max_iter=1, random_state=0) for _ in range(2)
    )
    assert_array_equal(model.fit_transform(X), other.fit_transform(dense))
    drawn = model.partial_fit(X).sample(5)
    assert drawn.dtypes.equals(X.dtypes)
