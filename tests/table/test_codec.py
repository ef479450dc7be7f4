"""TableCodec: exact round trips, exact marginals, total decoding, and clear errors."""

import importlib.util
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal, assert_series_equal
from scipy import stats

from sklearn_unsup._table.categorical import CategoricalColumn
from sklearn_unsup._table.codec import TableCodec
from sklearn_unsup._table.layout import TableLayout
from sklearn_unsup._table.numeric import NumericColumn
from sklearn_unsup._table.quantiles import Quantiles

SCALINGS = ["quantile", "standard", "minmax", None]

# An exact test of level 1e-6 would fail this often; a stratified sample does better.
RISK = 1e-6


def ks_bound(*sizes):
    """Kolmogorov-Smirnov distance that samples of these sizes exceed with RISK."""
    return np.sqrt(-np.log(RISK / 2) / 2 * sum(1 / n for n in sizes))


def round_trip(X, scaling="quantile", rng=None, **params):
    codec = TableCodec(scaling, **params).fit(X)
    return codec.decode(*codec.encode(X, rng), rng)


def normal_draws(codec, n, rng):
    """Encoded rows as a perfect model of independent columns would draw them."""
    layout = codec.layout_
    x_num = rng.normal(size=(n, layout.n_numeric)).astype(np.float32)
    codes = [rng.integers(0, k, n) for k in layout.cardinalities]
    return x_num, np.stack(codes, 1) if codes else np.zeros((n, 0), np.int64)


# ------------------------------------------------------------------ round trips

# Values that float32 tells apart under every scaling, by the kind of the column.
WHOLE = {
    dtype: st.integers(
        max(-(2**19), np.iinfo(dtype.lower()).min),
        min(2**19, np.iinfo(dtype.lower()).max),
    )
    for dtype in (
        "int8 int16 int32 int64 uint8 uint16 uint32 uint64 Int8 Int16 Int32 Int64 "
        "UInt8 UInt16 UInt32 UInt64"
    ).split()
}
WHOLE["int64[pyarrow]"] = WHOLE["int64"]
DECIMAL = st.integers(-(10**4), 10**4).map(lambda i: i / 100)
FLOATS = dict.fromkeys(
    ("float32", "float64", "Float32", "Float64", "double[pyarrow]"), DECIMAL
)
FLOATS["float16"] = st.integers(-200, 200).map(float)
DATES = {
    f"datetime64[{unit}{zone}]": st.integers(0, 2**19)
    for unit in ("s", "ms", "us", "ns")
    for zone in ("", ", Europe/Rome")
} | {f"timedelta64[{unit}]": st.integers(-(2**18), 2**18) for unit in ("s", "ns")}
WORDS = st.text(max_size=3)
LEVELS = {
    "object": st.one_of(WORDS, st.integers(0, 3), st.booleans()),
    "str": WORDS,
    "string": WORDS,
    "category": st.sampled_from(["a", "b", "c"]),
    "bool": st.booleans(),
    "boolean": st.booleans(),
}
VALUES = WHOLE | FLOATS | DATES | LEVELS
NEEDS_PYARROW = pytest.mark.skipif(
    importlib.util.find_spec("pyarrow") is None, reason="needs the extra test"
)
# The scale comes after the dtype has been read: one column for each way to read it.
DTYPES_OF_OTHER_SCALINGS = {"int64", "Int8", "float64", "datetime64[ns]", "str"}
DTYPES_AND_SCALINGS = [
    pytest.param(
        dtype,
        scaling,
        marks=[
            *([NEEDS_PYARROW] if "pyarrow" in dtype else []),
            *(
                []
                if scaling == "quantile" or dtype in DTYPES_OF_OTHER_SCALINGS
                else [pytest.mark.slow]
            ),
        ],
    )
    for dtype in VALUES
    for scaling in SCALINGS
]


def takes_missing(dtype):
    return (
        dtype != "bool"
        and not (dtype in WHOLE and dtype[0] in "iu")
        or ("pyarrow" in dtype)
    )


def column_of(dtype, values):
    """A Series from plain values, None for missing."""
    if dtype == "category":
        dtype = pd.CategoricalDtype(["c", "a", "unused", "b"], ordered=True)
    if dtype in DATES and dtype[0] == "d":
        unit, _, zone = dtype[11:-1].partition(", ")
        days = pd.Series(values, dtype="Int64") * (86_400 if unit == "s" else 7)
        dates = pd.Series(days.astype(f"datetime64[{unit}]"))
        return dates.dt.tz_localize("UTC").dt.tz_convert(zone) if zone else dates
    if dtype in DATES:
        ticks = pd.Series(values, dtype="Int64").fillna(np.iinfo(np.int64).min)  # NaT
        return pd.Series(
            ticks.to_numpy(np.int64).view(dtype.replace("timedelta64", "m8"))
        )
    return pd.Series(values, dtype="object" if dtype == "object" else None).astype(
        dtype
    )


@pytest.mark.parametrize(("dtype", "scaling"), DTYPES_AND_SCALINGS)
@given(data=st.data())
def test_round_trip_is_exact(dtype, scaling, data):
    cell = VALUES[dtype]
    if takes_missing(dtype):
        cell = st.none() | cell
    column = column_of(dtype, data.draw(st.lists(cell, min_size=1, max_size=30)))
    X = pd.DataFrame({"column": column})
    for rng in (None, np.random.default_rng(0)):
        back = round_trip(X, scaling, rng)
        assert_frame_equal(back, X, rtol=0, atol=0)
        # equal is not enough for objects: 1, 1.0 and True are equal
        assert list(map(type, back["column"])) == list(map(type, X["column"]))


@given(
    low=st.integers(-(2**63), 2**63 - 2**53 - 1),
    offsets=st.lists(st.integers(0, 2**53), min_size=1, max_size=30),
)
def test_integers_beyond_float64_are_exact(low, offsets):
    for dtype, shift in (("int64", 0), ("uint64", 2**63)):
        values = np.array([low + shift + offset for offset in offsets], dtype=dtype)
        assert_array_equal(round_trip(values[:, None])[:, 0], values)


def test_the_whole_range_of_an_integer_dtype():
    for dtype in ("int64", "uint64", "int8", "uint8"):
        info = np.iinfo(dtype)
        X = pd.DataFrame({"a": np.array([info.min, info.max, info.max // 2], dtype)})
        back = round_trip(X)["a"].to_numpy()
        assert_array_equal(back[:2], X["a"][:2])
        assert_allclose(float(back[2]), float(X["a"][2]), rtol=2**-52)


@pytest.mark.parametrize("width", [16, 32, 64])
@given(data=st.data())
def test_any_finite_floats_round_trip(width, data):
    cell = st.floats(width=width, allow_nan=False, allow_infinity=False)
    values = data.draw(st.lists(cell, min_size=1, max_size=30))
    X = np.array(values, dtype=f"float{width}")[:, None]
    # The smallest of values that differ by 300 powers of ten lose their last bits.
    largest = float(np.abs(X).max())
    assert_allclose(round_trip(X), X, rtol=0, atol=largest * 1e-290)
    for scaling in SCALINGS[1:]:
        back = round_trip(X, scaling)
        assert back.dtype == X.dtype
        assert np.isfinite(back).all()
        # float32 covers the half of the range that the square of a deviation covers
        if largest < 1e30 and (scaling or largest > 1e-30):
            error = np.abs(back.astype(float) - X.astype(float)).max()
            assert error <= 2.0**-20 * largest


def test_a_million_wide_tail_of_integers_is_exact():
    # fewer knots than values: most of them lie between two knots
    rng = np.random.default_rng(0)
    values = np.unique(rng.lognormal(12, 0.5, 26_000).astype(int))
    assert len(values) > 20_000
    X = pd.DataFrame({"weight": values})
    assert_frame_equal(round_trip(X, rng=rng), X)


def test_repeated_values_amid_distinct_ones_are_exact():
    rng = np.random.default_rng(0)
    values = rng.normal(size=20_000)
    values[:5_000] = 1 / 3
    for scaling in SCALINGS:
        back = round_trip(values[:, None], scaling, rng)[:, 0]
        assert (back[:5_000] == 1 / 3).all()
        assert_allclose(back, values, rtol=0, atol=1e-5)


def test_mixed_levels_do_not_collide():
    cells = [1, "1", True, 1.5, None, ("a", 1), "True", False, 0, b"1"]
    X = pd.DataFrame({"mixed": pd.Series(cells * 3, dtype=object)})
    back = round_trip(X)["mixed"]
    assert [(type(v), v) for v in back] == [(type(v), v) for v in cells * 3]


@pytest.mark.parametrize("gap", [None, np.nan, pd.NA, pd.NaT], ids=str)
@pytest.mark.parametrize("values", [["a", "b", "a"], [1, 2, 2], [0.5, 2.5, 0.5]])
def test_object_columns_keep_their_marker_of_missing(values, gap):
    X = pd.DataFrame({"a": pd.Series([*values, gap], dtype=object)})
    back = round_trip(X)
    assert back["a"].dtype == object
    assert back["a"].tolist()[:3] == values
    assert repr(back["a"].iloc[3]) == repr(gap)


def test_frames_keep_names_order_and_forget_the_index():
    X = pd.DataFrame(
        [[1, "a", 2.5], [3, "b", 0.5]], columns=pd.Index(["z", "a", 3], name="columns")
    )
    X.index = [7, 7]
    back = round_trip(X)
    assert_frame_equal(back, X.reset_index(drop=True))


def test_columns_of_one_name():
    X = pd.DataFrame([[1, "a"], [2, "b"]], columns=["same", "same"])
    assert_frame_equal(round_trip(X), X)


def test_encode_finds_columns_by_name():
    X = pd.DataFrame({"a": [1, 2, 3], "b": ["x", "y", "y"], "c": [0.1, 0.2, 0.2]})
    codec = TableCodec().fit(X)
    for one, other in zip(
        codec.encode(X), codec.encode(X[["c", "b", "a"]]), strict=True
    ):
        assert_array_equal(one, other)


@pytest.mark.parametrize(
    "X",
    [
        np.arange(12.0).reshape(4, 3),
        np.arange(12).reshape(4, 3).astype(np.float32),
        np.arange(12).reshape(4, 3).astype(np.uint8),
        np.array([[True, False], [False, False], [True, True]]),
        np.array([["a", "b"], ["c", "b"]]),
        np.array([["a", 1], [None, 2]], dtype=object),
        np.array([["a", 1.5], ["b", None]], dtype=object),
        np.array([[1.5, np.nan], [np.nan, 2.5], [0.5, 2.0]]),
    ],
    ids=lambda X: str(X.dtype),
)
def test_arrays_return_as_they_came(X):
    back = round_trip(X)
    assert isinstance(back, np.ndarray)
    assert back.dtype == X.dtype
    assert_array_equal(back, X)


# ------------------------------------------------------------------ resolution


def random_decode(column, scaling):
    """What encoded values between those of training decode to."""
    codec = TableCodec(scaling).fit(pd.DataFrame({"a": column}))
    x_num = np.linspace(*codec.encoded_quantile(0, np.array([0, 1])), 500)
    return codec.decode(x_num[:, None], np.zeros((500, 0), int))["a"]


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("dtype", ["float64", "float32", "Float64"])
def test_decimals_are_learnt(scaling, dtype):
    rng = np.random.default_rng(0)
    column = pd.Series(rng.normal(0, 3, 100).round(1)).astype(dtype)
    back = random_decode(column, scaling)
    assert set(back) - set(column)  # between the values of training ...
    assert_series_equal(back, back.astype(float).round(1).astype(dtype))


@pytest.mark.parametrize("scaling", SCALINGS)
def test_whole_floats_stay_whole(scaling):
    column = pd.Series([1.0, 4.0, 7.0, 5.0, 100.0])
    back = random_decode(column, scaling)
    assert_array_equal(back, back.round())
    assert len(set(back)) > 50


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("step", ["D", "h", "min", "s", "ms", "us"])
@pytest.mark.parametrize("zone", [None, "Asia/Tokyo"])
def test_the_resolution_of_dates_is_learnt(step, zone, scaling):
    start = pd.Timestamp("2021-03-04 05:06:07", tz=zone)
    gaps = pd.to_timedelta([0, 3, 7, 8, 90, 1_000], unit=step)
    back = random_decode(pd.Series(start + gaps).dt.as_unit("us"), scaling)
    counts = (back - start) / pd.Timedelta(1, unit=step)
    assert_array_equal(counts, counts.round())
    assert counts.nunique() > 50


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize(
    "zone", ["Europe/Berlin", "America/Sao_Paulo", "America/Havana", "Asia/Kolkata"]
)
def test_days_of_a_time_zone_begin_at_its_midnight(zone, scaling):
    """Also where clocks are changed between them, or at midnight."""
    days = pd.Series(pd.date_range("2017-01-01", periods=700))
    options = {"nonexistent": "shift_forward", "ambiguous": np.ones(700, dtype=bool)}
    moments = days.dt.tz_localize(zone, **options)
    back = random_decode(moments, scaling)
    assert back.isin(moments).all()
    assert back.nunique() > 100
    last = pd.Series(np.array(["2020-01-01", "9999-12-31"], "M8[s]"))
    column = NumericColumn("a", scaling, 100).fit(last.dt.tz_localize(zone))
    assert not column.has_local_days_
    hours = moments + pd.to_timedelta(np.arange(700) % 24, unit="h")
    assert random_decode(hours, scaling).dt.hour.nunique() > 20


# ------------------------------------------------------------------ the transform

RNG = np.random.default_rng(5)
N = 20_000
MARGINALS = {
    "normal": RNG.normal(size=N),
    "heavy tails": RNG.standard_cauchy(size=N),
    "spike": RNG.gamma(2, size=N) * (RNG.random(N) > 0.92),
    "spike amid": np.where(RNG.random(N) < 0.5, 0.25, RNG.normal(size=N)),
    "five values": RNG.integers(0, 5, N),
    "binary": (RNG.random(N) < 0.003).astype(int),
    "many integers": RNG.normal(0, 10_000, N).astype(int),
    "few repeats": RNG.integers(0, 8_000, N),
}


@pytest.mark.parametrize("name", MARGINALS)
def test_encoded_at_random_a_column_is_normal(name):
    X = MARGINALS[name][:, None]
    codec = TableCodec().fit(X)
    z = codec.encode(X, np.random.default_rng(1))[0][:, 0]
    assert stats.kstest(z, "norm").statistic < ks_bound(N)


@pytest.mark.parametrize("name", ["normal", "heavy tails", "many integers"])
def test_between_knots_ranks_are_kept(name):
    # within a gap of N / n_quantiles rows the map may leave the ranks, no further
    X = MARGINALS[name][:, None]
    z = TableCodec(n_quantiles=200).fit(X).encode(X)[0][:, 0]
    assert stats.kstest(z, "norm").statistic < 2 / 200


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("name", MARGINALS)
def test_normal_draws_decode_to_the_marginal(name, scaling):
    values = MARGINALS[name]
    codec = TableCodec(scaling).fit(values[:, None])
    u = np.random.default_rng(2).random(N)
    x_num = codec.encoded_quantile(0, u)[:, None].astype(np.float32)
    drawn = codec.decode(x_num, np.zeros((N, 0), int))[:, 0]
    assert stats.ks_2samp(values, drawn).statistic < ks_bound(N, N)
    if name in ("five values", "binary"):
        assert set(drawn) == set(values)


def test_normal_draws_are_quantiles():
    # the scaling "quantile" says it without the help of encoded_quantile
    rng = np.random.default_rng(3)
    for values in MARGINALS.values():
        codec = TableCodec().fit(values[:, None])
        drawn = codec.decode(*normal_draws(codec, N, rng))[:, 0]
        assert stats.ks_2samp(values, drawn).statistic < ks_bound(N, N)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_encoded_quantile_of_a_discrete_column(scaling):
    values = MARGINALS["five values"]
    codec = TableCodec(scaling).fit(values[:, None])
    u = np.linspace(0, 1, 1_001)
    decoded = codec.decode(codec.encoded_quantile(0, u)[:, None], np.zeros((1_001, 0)))
    expected = np.quantile(values, u, method="inverted_cdf")
    assert_array_equal(decoded[:, 0], expected)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_encoded_quantile_is_in_encoded_units(scaling):
    values = MARGINALS["normal"]
    codec = TableCodec(scaling).fit(values[:, None])
    x_num, _ = codec.encode(values[:, None])
    u = np.linspace(0.01, 0.99, 99)
    assert_allclose(
        codec.encoded_quantile(0, u), np.quantile(x_num[:, 0], u), atol=2e-2
    )
    ends = codec.encoded_quantile(0, np.array([0.0, 1.0]))
    assert_allclose(ends, [x_num.min(), x_num.max()], rtol=1e-6)


@given(
    values=st.lists(st.integers(-20, 20) | st.floats(-1e9, 1e9), min_size=2),
    others=st.lists(st.floats(-1e300, 1e300), min_size=1),
    repeats=st.sampled_from([1, 5]),
)
def test_encoding_is_monotone_and_bounded(values, others, repeats):
    if min(values) == max(values):
        return
    X = np.repeat(np.array(values, dtype=float), repeats)[:, None]
    codec = TableCodec().fit(X)
    z = codec.encode(np.sort([*values, *others])[:, None])[0][:, 0]
    assert (np.diff(z) >= 0).all()
    assert np.abs(z).max() <= 10
    # distinct values of training are told apart
    own = codec.encode(np.unique(X)[:, None])[0][:, 0]
    assert (np.diff(own) > 0).all()


def test_outliers_are_encoded_beyond_the_range():
    X = MARGINALS["normal"][:, None]
    codec = TableCodec().fit(X)
    top = X.max()
    z = codec.encode(top + np.array([[0.0], [1.0], [2.0], [1e9]]))[0][:, 0]
    assert_allclose(np.diff(z[:3]), 1 / X.std(), rtol=1e-4)  # one deviation is one
    assert z[3] == 10


def test_without_a_generator_an_atom_is_at_the_middle_of_its_interval():
    X = np.repeat([0, 1, 2], [500, 300, 200])[:, None]
    codec = TableCodec().fit(X)
    z = codec.encode(np.array([[0], [1], [2]]))[0][:, 0]
    assert_allclose(stats.norm.cdf(z), [0.25, 0.65, 0.9], atol=1e-3)


def test_a_random_point_never_leaves_its_atom():
    X = np.repeat([0, 1, 2], [500, 300, 200])[:, None]
    codec = TableCodec().fit(X)
    many = np.tile(X, (100, 1))
    x_num, x_cat = codec.encode(many, np.random.default_rng(0))
    u = stats.norm.cdf(x_num[:, 0])
    for value, low, high in ((0, 0, 0.5), (1, 0.5, 0.8), (2, 0.8, 1)):
        inside = u[many[:, 0] == value]
        assert low - 1e-7 <= inside.min() < low + 0.002
        assert high - 0.002 < inside.max() <= high + 1e-7
    assert_array_equal(codec.decode(x_num, x_cat), many)


def test_standard_minmax_and_none():
    X = np.array([[1.0], [2.0], [4.0], [9.0]])
    encoded = {s: TableCodec(s).fit(X).encode(X)[0] for s in SCALINGS}
    assert_allclose(encoded["standard"], (X - 4) / X.std(), rtol=1e-6)
    assert_allclose(encoded["minmax"], (X - 1) / 8, rtol=1e-6)
    assert_array_equal(encoded[None], X)


def test_encoding_draws_from_the_given_generator_only():
    X = MARGINALS["five values"][:, None]
    codec = TableCodec().fit(X)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    one, two, other = (
        codec.encode(X, np.random.default_rng(seed))[0] for seed in (0, 0, 1)
    )
    assert_array_equal(one, two)
    assert (one != other).any()
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert_array_equal(codec.encode(X)[0], codec.encode(X)[0])


# ------------------------------------------------------------------ decoding is total


def mixed_frame(n=300, seed=0):
    rng = np.random.default_rng(seed)

    def holes(values):
        return pd.Series(values).mask(rng.random(n) < 0.2)

    return pd.DataFrame(
        {
            "float": rng.normal(size=n),
            "float32": rng.lognormal(size=n).astype(np.float32),
            "holes": holes(rng.normal(size=n)),
            "int": rng.integers(-5, 5, n),
            "int8": rng.integers(-128, 128, n).astype(np.int8),
            "uint64": rng.integers(2**63, 2**64, n, dtype=np.uint64),
            "Int64": holes(rng.integers(0, 9, n)).astype("Int64"),
            "bool": rng.random(n) < 0.3,
            "boolean": holes(rng.random(n) < 0.3).astype("boolean"),
            "date": pd.Timestamp("2020-01-01")
            + pd.to_timedelta(rng.integers(0, 99, n), unit="D"),
            "date_holes": holes(
                pd.Timestamp("2020-01-01", tz="Asia/Tokyo")
                + pd.to_timedelta(rng.integers(0, 10**6, n), unit="s")
            ),
            "str": pd.Series(rng.choice(["x", "y", "z"], n), dtype="str"),
            "object": holes(pd.Series(rng.choice(["x", "y"], n), dtype=object)),
            "category": pd.Categorical(
                rng.choice(["u", "v"], n), categories=["w", "v", "u"], ordered=True
            ),
            "numbers": pd.Categorical(rng.integers(0, 30, n)),
            "constant": 3.5,
            "empty": np.nan,
        }
    )


@pytest.mark.parametrize("scaling", SCALINGS)
@given(data=st.data())
def test_any_output_decodes_to_a_legal_table(scaling, data):
    X = mixed_frame()
    codec = TableCodec(scaling, max_categories=10).fit(X)
    layout = codec.layout_
    cell = st.floats(width=32, allow_nan=False, allow_infinity=False)
    cell |= st.sampled_from([1e30, -1e30, 0.0, 5.0, -5.0])
    x_num = np.array(
        data.draw(st.lists(cell, min_size=layout.n_numeric, max_size=layout.n_numeric)),
        dtype=np.float32,
    )
    x_cat = np.array(
        [data.draw(st.integers(0, k - 1)) for k in layout.cardinalities], dtype=int
    )
    rng = np.random.default_rng(0)
    back = codec.decode(np.tile(x_num, (3, 1)), np.tile(x_cat, (3, 1)), rng)
    assert_series_equal(back.dtypes, X.dtypes)
    for name in X:
        present = back[name].dropna()
        assert len(present) == 3 or X[name].isna().any()
        if X[name].dtype.kind in "iufM" and len(present):
            assert X[name].min() <= present.min()
            assert present.max() <= X[name].max()
        else:
            assert set(present) <= set(X[name])
    assert np.isfinite(codec.to_matrix(x_num[None], x_cat[None])).sum() >= 10


# An open end is one that a single row has reached.
ENDS = {
    "open": ([-1.0, 0.25, 1.5], [-3.5, 4.0]),
    "shared": ([-1.0, -1.0, 0.25, 1.5, 1.5], [-1.0, 1.5]),
    "above zero": ([1.0, 2.25, 5.5], [0.0, 10.0]),
    "below zero": ([-1.0, -2.25, -5.5], [-10.0, 0.0]),
    "whole": ([3, 5, 9], [0, 15]),
    "bytes": (np.array([3, 5, 200], np.uint8), [0, 255]),
    "flags": ([0, 1, 1, 0], [0, 1]),
    "large floats": (np.array([-3e38, 0.5, 3e38], np.float32), [-3.4e38, 3.4e38]),
    "dates": (
        pd.to_datetime(["2020-01-01", "2020-01-03"]),
        ["2020-01-01", "2020-01-03"],
    ),
}


@pytest.mark.parametrize("name", ENDS)
def test_what_is_rebuilt_may_leave_the_range_at_an_open_end(name):
    """By the width of the range, but keeping sign and dtype; only if asked for."""
    values, (low, high) = ENDS[name]
    X = pd.DataFrame({"x": values})
    codec = TableCodec("standard").fit(X)
    far, none = np.array([[-1e9], [1e9]], np.float32), np.empty((2, 0), np.int64)
    inside, beyond = (codec.decode(far, none, beyond_range=b)["x"] for b in (0, 1))
    assert inside.tolist() == [X["x"].min(), X["x"].max()]
    assert beyond.dtype == X["x"].dtype
    expected = pd.Series([low, high]).astype(X["x"].dtype)
    if X["x"].dtype.kind == "f":
        assert_allclose(beyond, expected, rtol=1e-3)
    else:
        assert beyond.tolist() == expected.tolist()


@pytest.mark.parametrize("scaling", ["quantile", "minmax", None])
def test_other_scalings_rebuild_within_the_range(scaling):
    X = pd.DataFrame({"x": [-1.0, 0.25, 1.5]})
    codec = TableCodec(scaling).fit(X)
    far, none = np.array([[-1e9], [1e9]], np.float32), np.empty((2, 0), np.int64)
    assert codec.decode(far, none, beyond_range=True)["x"].tolist() == [-1.0, 1.5]


def test_missing_comes_from_the_mask_alone():
    X = pd.DataFrame({"a": [1.0, np.nan, 3.0, 4.0], "b": [1, 2, 3, 5]})
    codec = TableCodec().fit(X)
    assert codec.layout_ == TableLayout(2, (2,), (0, -1))
    x_num, x_cat = codec.encode(X)
    assert_array_equal(x_cat[:, 0], [0, 1, 0, 0])
    assert x_num[1, 0] == 0
    assert_array_equal(codec.decode(x_num, 1 - x_cat)["a"].isna(), [1, 0, 1, 1])


def test_no_rows():
    X = mixed_frame()
    codec = TableCodec().fit(X)
    back = codec.decode(*(encoded[:0] for encoded in codec.encode(X)))
    assert_frame_equal(back, X.iloc[:0])


# ------------------------------------------------------------------ what does not vary


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([7, 7, 7]),
        pd.Series([2**62 + 1] * 3),
        pd.Series([0.1, 0.1, 0.1], dtype="float32"),
        pd.Series(["a"] * 3),
        pd.Series(["a"] * 3, dtype=object),
        pd.Series(pd.Categorical(["a"] * 3, categories=["b", "a"])),
        pd.Series([True] * 3),
        pd.Series([np.nan] * 3),
        pd.Series([None] * 3, dtype=object),
        pd.Series([pd.NA] * 3, dtype="Int64"),
        pd.Series([pd.NA] * 3, dtype="string"),
        pd.Series([pd.NaT] * 3),
        pd.Series([pd.Timestamp("2020-05-05", tz="UTC")] * 3),
        pd.Series(pd.to_timedelta([5, 5, 5], unit="s")),
    ],
    ids=lambda column: f"{column.dtype} {column[0]}",
)
def test_a_constant_column_weighs_nothing(column):
    X = pd.DataFrame({"constant": column, "other": [1, 2, 3]})
    codec = TableCodec().fit(X)
    assert codec.layout_ == TableLayout(1)
    assert_frame_equal(codec.decode(*codec.encode(X)), X)


@pytest.mark.parametrize("seen", [np.nan, 6e6, -1.0])
def test_a_constant_stays_constant_whatever_is_encoded(seen):
    X = pd.DataFrame({"constant": [1.0, 1.0], "level": ["a", "a"], "other": [1, 2]})
    codec = TableCodec().fit(X)
    changed = X.assign(constant=[seen, 1.0], level=["b", None])
    for one, other in zip(codec.encode(changed), codec.encode(X), strict=True):
        assert_array_equal(one, other)


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([3, None, 3], dtype="Int64"),
        pd.Series([0.5, np.nan, 0.5]),
        pd.Series([pd.Timestamp("2020-01-01"), pd.NaT, pd.Timestamp("2020-01-01")]),
        pd.Series(["a", None, "a"], dtype=object),
        pd.Series([True, None, True], dtype="boolean"),
    ],
    ids=lambda column: str(column.dtype),
)
def test_a_constant_with_holes_is_all_mask(column):
    X = pd.DataFrame({"a": column})
    codec = TableCodec().fit(X)
    assert codec.layout_ == TableLayout(0, (2,))
    assert_frame_equal(codec.decode(*codec.encode(X)), X)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_a_table_that_does_not_vary(scaling):
    X = pd.DataFrame({"a": [1], "b": ["x"], "c": [np.nan]})
    codec = TableCodec(scaling).fit(X)
    assert codec.layout_.width == 1
    x_num, x_cat = codec.encode(X)
    assert_array_equal(x_num, [[0]])
    assert_frame_equal(codec.decode(x_num + 5, x_cat), X)
    assert codec.to_matrix(x_num, x_cat).shape == (1, 1)
    assert_array_equal(codec.encoded_quantile(0, np.array([0.1, 0.9])), [0, 0])


# ------------------------------------------------------------------ levels


def test_codes_follow_frequency_then_order():
    X = pd.DataFrame({"a": list("bbbcccaadd") + [None]})
    codec = TableCodec().fit(X)
    table = pd.DataFrame({"a": ["b", "c", "a", "d", None]})
    assert_array_equal(codec.encode(table)[1][:, 0], range(5))


def test_levels_without_rows_have_no_code():
    X = pd.DataFrame({"a": pd.Categorical(["x", "y"] * 5, categories=["none", *"yx"])})
    codec = TableCodec().fit(X)
    assert codec.layout_.cardinalities == (2,)
    back = codec.decode(np.zeros((2, 0)), np.array([[0], [1]]))
    assert back["a"].dtype == X["a"].dtype
    assert set(back["a"]) == {"x", "y"}


def test_declared_levels_without_rows_may_come_later():
    """In a stream; they come last, and never where rare levels are drawn."""
    dtype = pd.CategoricalDtype(["never", "later", "y", "x"], ordered=True)
    X = pd.DataFrame({"a": pd.Categorical(list("xxy"), dtype=dtype)})
    later = pd.DataFrame({"a": pd.Categorical(["later", "x"], dtype=dtype)})
    codec = TableCodec(declared_levels=True).fit(X)
    assert codec.layout_.cardinalities == (4,)
    assert_array_equal(codec.encode(X)[1][:, 0], [0, 0, 1])
    assert_frame_equal(codec.decode(*codec.encode(later)), later)
    with pytest.raises(ValueError, match="'later'"):
        TableCodec().fit(X).encode(later)
    # x keeps a code of its own, y shares one with the two that no row shows
    codec = TableCodec(declared_levels=True, max_categories=2).fit(X)
    shared = np.ones((500, 1), np.int64)
    drawn = codec.decode(np.zeros((500, 0)), shared, np.random.default_rng(0))
    assert set(drawn["a"]) == {"y"}
    # nobody has a row: all alike
    codec = TableCodec(declared_levels=True, max_categories=2).fit(X[:2])
    drawn = codec.decode(np.zeros((500, 0)), shared, np.random.default_rng(0))
    assert set(drawn["a"]) == {"never", "later", "y"}


def test_categories_in_another_order_are_the_same_levels():
    X = pd.DataFrame({"a": pd.Categorical(list("xxxyyz"))})
    codec = TableCodec().fit(X)
    for other in (
        X.astype({"a": pd.CategoricalDtype(list("zyx"))}),
        X.astype(object),
        X.astype("string"),
    ):
        assert_array_equal(codec.encode(other)[1], codec.encode(X)[1])


def many_levels(n_levels):
    """Level i has i + 1 rows, up to 30."""
    counts = np.arange(n_levels) % 30 + 1
    return pd.DataFrame({"a": np.repeat([f"l{i}" for i in range(n_levels)], counts)})


def test_ten_thousand_levels():
    X = many_levels(10_000)
    codec = TableCodec(max_categories=1_000).fit(X)
    assert codec.layout_.cardinalities == (1_000,)
    x_num, x_cat = codec.encode(X)
    counts = X["a"].map(X["a"].value_counts())
    own = x_cat[:, 0] < 999
    assert X["a"][own].nunique() == 999
    assert counts[own].min() >= counts[~own].max()
    back = codec.decode(x_num, x_cat, np.random.default_rng(0))
    assert_array_equal(back["a"][own], X["a"][own])
    assert set(back["a"][~own]) <= set(X["a"][~own])


def test_rare_levels_are_drawn_by_their_frequencies():
    X = many_levels(30)
    codec = TableCodec(max_categories=5).fit(X)
    rare = np.full((50_000, 1), 4)
    drawn = codec.decode(np.zeros((50_000, 0)), rare, np.random.default_rng(0))["a"]
    expected = X["a"].value_counts().sort_index()
    expected = expected[expected <= 26]
    observed = drawn.value_counts().sort_index()
    assert_array_equal(observed.index, expected.index)
    shares = expected / expected.sum()
    assert stats.chisquare(observed, 50_000 * shares).pvalue > RISK
    # without a generator, the most frequent of them
    assert set(codec.decode(np.zeros((3, 0)), rare[:3])["a"]) == {"l25"}


def test_as_many_levels_as_codes_need_no_sharing():
    X = many_levels(5)
    codec = TableCodec(max_categories=5).fit(X)
    assert_frame_equal(codec.decode(*codec.encode(X), np.random.default_rng(0)), X)


# ------------------------------------------------------------------ unknown values


UNKNOWN = {
    "missing in training": (["a", "b", "b", None], 2, None),
    "rare": (list("aaaaabbbbcccdde"), 4, "d"),
    "neither": (list("abb"), 10, "b"),
}


@pytest.mark.parametrize("case", UNKNOWN)
@pytest.mark.parametrize("unseen", ["new", 3.5])
def test_unknown_levels_can_be_ignored(case, unseen):
    levels, max_categories, expected = UNKNOWN[case]
    if case == "missing in training":
        max_categories = 10
    codec = TableCodec(handle_unknown="ignore", max_categories=max_categories)
    codec.fit(pd.DataFrame({"a": pd.Series(levels, dtype=object)}))
    table = pd.DataFrame({"a": pd.Series([unseen, "a"], dtype=object)})
    back = codec.decode(*codec.encode(table))["a"].tolist()
    assert back == [expected, "a"]


@pytest.mark.parametrize("scaling", SCALINGS)
def test_unseen_missing_numbers_can_be_ignored(scaling):
    X = pd.DataFrame({"a": [1, 2, 3, 4, 100]})
    codec = TableCodec(scaling, handle_unknown="ignore").fit(X)
    x_num, x_cat = codec.encode(pd.DataFrame({"a": [np.nan, 100.0]}))
    assert_array_equal(codec.decode(x_num, x_cat)["a"], [3, 100])


FRAME = pd.DataFrame(
    {
        "age": [1, 2, 3, 4],
        "city": ["Rome", "Oslo", "Rome", "Bonn"],
        "date": pd.date_range("2020-01-01", periods=4),
    }
)


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"city": "Paris"}, ValueError, "'city'.*Paris.*handle_unknown='ignore'"),
        ({"city": None}, ValueError, "'city'.*handle_unknown='ignore'"),
        ({"age": np.nan}, ValueError, "'age' has missing.*handle_unknown='ignore'"),
        ({"date": pd.NaT}, ValueError, "'date'"),
        ({"age": np.inf}, ValueError, "'age' contains infinity"),
        ({"age": "old"}, ValueError, "'age'.*cannot be read as numbers"),
        ({"date": 5}, ValueError, "'date' has dtype int64"),
        ({"date": pd.Timestamp(0, tz="UTC")}, ValueError, "'date' has dtype"),
    ],
)
def test_encode_errors(changes, kind, message):
    codec = TableCodec().fit(FRAME)
    with pytest.raises(kind, match=message):
        codec.encode(FRAME.assign(**changes))


@pytest.mark.parametrize(
    ("X", "params", "kind", "message"),
    [
        (pd.DataFrame({"a": [1.0, np.inf]}), {}, ValueError, "'a' contains infinity"),
        (np.array([[1.0], [-np.inf]]), {}, ValueError, "0 contains infinity"),
        (
            pd.DataFrame({"a": ["x", "y"]}),
            {"categorical_features": None},
            ValueError,
            "'a'.*categorical_features",
        ),
        (
            np.array([[{"a": 1}], [2.0]], dtype=object),
            {},
            TypeError,
            "argument must be .* string.* number",
        ),
        (
            pd.DataFrame({"a": [[1], [2]]}),
            {},
            TypeError,
            "'a' holds list.*argument must be .* string.* number",
        ),
        (FRAME, {"categorical_features": ["town"]}, ValueError, "'town'.*'age'"),
        (FRAME, {"categorical_features": [3]}, ValueError, "3, which is no column"),
        (FRAME, {"categorical_features": [True]}, ValueError, "mask of 1"),
    ],
)
def test_fit_errors(X, params, kind, message):
    with pytest.raises(kind, match=message):
        TableCodec(**params).fit(X)


# ------------------------------------------------------- which are categories


@pytest.mark.parametrize(
    "chosen",
    [["city", "age"], [1, 0], np.array([0, 1]), [True, True, False], ("age", "city")],
    ids=str,
)
def test_categorical_features(chosen):
    codec = TableCodec(categorical_features=chosen).fit(FRAME)
    assert codec.layout_ == TableLayout(1, (4, 3))
    # numbers that are declared categories come back as numbers
    assert_frame_equal(codec.decode(*codec.encode(FRAME)), FRAME)


@pytest.mark.parametrize("dtype", ["int64", "Int64", "float32", "datetime64[ns]"])
def test_declared_categories_keep_their_dtype(dtype):
    column = pd.Series([3, 1, 3, 7]).astype(dtype)
    X = pd.DataFrame({"a": column})
    if dtype != "int64":
        X.loc[1, "a"] = None
    codec = TableCodec(categorical_features=["a"]).fit(X)
    assert codec.layout_ == TableLayout(0, (3,))
    assert_frame_equal(codec.decode(*codec.encode(X)), X)


def test_categorical_features_by_tuples_and_by_names_beside_positions():
    X = FRAME.set_axis(pd.MultiIndex.from_product([["x"], FRAME.columns]), axis=1)
    names = [("x", "city"), ("x", "age")]
    for chosen in (names, pd.MultiIndex.from_tuples(names)):
        codec = TableCodec(categorical_features=chosen).fit(X)
        assert codec.layout_ == TableLayout(1, (4, 3))
    codec = TableCodec(categorical_features=["city", 0]).fit(FRAME)
    assert codec.layout_ == TableLayout(1, (4, 3))
    with pytest.raises(ValueError, match=r"\['age'\], which is no column"):
        TableCodec(categorical_features=[["age"], "city"]).fit(FRAME)


def test_no_categories():
    X = pd.DataFrame({"a": [True, False, True], "b": [1, 2, 3]})
    codec = TableCodec(categorical_features=None).fit(X)
    assert codec.layout_ == TableLayout(2)
    assert_frame_equal(codec.decode(*codec.encode(X)), X)


def test_object_columns_of_numbers_are_numeric():
    X = pd.DataFrame({"a": pd.Series([1, 2, 40], dtype=object)})
    assert TableCodec().fit(X).layout_ == TableLayout(1)
    assert [type(value) for value in round_trip(X)["a"]] == [int, int, int]


def test_arrays_have_categories_only_among_objects():
    assert TableCodec().fit(np.array([[1, 2], [3, 5]])).layout_ == TableLayout(2)
    X = np.array([["a", 1.0], ["b", 2.0]], dtype=object)
    assert TableCodec().fit(X).layout_ == TableLayout(1, (2,))


# ------------------------------------------------------------------ the matrix


@pytest.mark.parametrize("scaling", SCALINGS)
def test_to_matrix_is_the_decoded_table(scaling):
    X = mixed_frame()[["float", "holes", "int", "object", "category", "constant"]]
    codec = TableCodec(scaling).fit(X)
    x_num, x_cat = codec.encode(X)
    matrix, back = codec.to_matrix(x_num, x_cat), codec.decode(x_num, x_cat)
    assert_array_equal(codec.matrix_categorical_, [0, 0, 0, 1, 1])
    assert_array_equal(matrix[:, :3], back[["float", "holes", "int"]])
    for column, name in ((3, "object"), (4, "category")):
        codes = pd.Series(matrix[:, column])
        levels = X[name].astype(object).fillna("missing")
        assert (codes.groupby(levels).nunique() == 1).all()
        assert codes.nunique() == levels.nunique()


# ------------------------------------------------------------------ what is kept


def test_no_rows_inside():
    rng = np.random.default_rng(0)

    def size(n):
        X = pd.DataFrame(
            {
                "normal": rng.normal(size=n),
                "repeats": rng.integers(0, 5_000, n),
                "spike": rng.normal(size=n) * (rng.random(n) < 0.5),
                "day": pd.Timestamp("2020-01-01")
                + pd.to_timedelta(rng.integers(0, 3_000, n), unit="D"),
                "holes": pd.Series(rng.normal(size=n)).mask(rng.random(n) < 0.5),
                "level": rng.choice(["a", "b"], n),
            }
        )
        return len(pickle.dumps(TableCodec().fit(X)))

    assert size(30_000) < 2 * size(3_000)


@pytest.mark.parametrize("n_quantiles", [10, 100])
@pytest.mark.parametrize("name", MARGINALS)
def test_no_more_quantiles_than_asked_for(name, n_quantiles):
    codec = TableCodec("standard", n_quantiles=n_quantiles)
    codec.fit(MARGINALS[name][:, None])
    few = pickle.dumps(codec)
    bytes_per_quantile = 3 * 8
    assert len(few) < 3_000 + bytes_per_quantile * n_quantiles
    # and those there are include the extremes
    x_num = codec.encoded_quantile(0, np.array([[0.0], [1.0]]))
    ends = codec.decode(x_num, np.zeros((2, 0)))[:, 0]
    assert_allclose(ends, [MARGINALS[name].min(), MARGINALS[name].max()], rtol=1e-15)


def test_a_pickled_codec_is_the_same_codec():
    X = mixed_frame()
    X["word"] = pd.Series(["\ud800", "a"] * len(X), dtype=object)  # no text of UTF-8
    codec = TableCodec().fit(X)
    other = pickle.loads(pickle.dumps(codec))
    rngs = np.random.default_rng(0), np.random.default_rng(0)
    encoded, again = codec.encode(X, rngs[0]), other.encode(X, rngs[1])
    for one, two in zip(encoded, again, strict=True):
        assert_array_equal(one, two)
    assert_frame_equal(codec.decode(*encoded), other.decode(*again))


def test_the_table_is_left_alone():
    X = mixed_frame()
    copy = X.copy(deep=True)
    codec = TableCodec().fit(X)
    x_num, x_cat = codec.encode(X)
    before = x_num.copy(), x_cat.copy()
    codec.decode(x_num, x_cat, np.random.default_rng(0))
    codec.to_matrix(x_num, x_cat)
    assert_frame_equal(X, copy)
    assert_array_equal(x_num, before[0])
    assert_array_equal(x_cat, before[1])


# ------------------------------------------------------------------ streams


@given(
    st.lists(st.integers(-4, 9), min_size=1, max_size=60),
    st.lists(st.integers(-4, 9), min_size=1, max_size=60),
)
def test_discrete_values_are_learnt_as_if_all_had_come_at_once(first, second):
    """Where every value is kept, in whatever parts they come."""
    repeated = [np.repeat(np.array(part, float), 20) for part in (first, second)]
    parts, whole = Quantiles(2_000).fit(repeated[0]), np.concatenate(repeated)
    parts.update(repeated[1])
    expected = Quantiles(2_000).fit(whole)
    assert_array_equal(parts.values_, expected.values_)
    np.testing.assert_allclose(parts.u_lower_, expected.u_lower_, atol=1e-12)
    np.testing.assert_allclose(parts.u_upper_, expected.u_upper_, atol=1e-12)
    assert parts.discrete_
    assert parts.n_ == len(whole)
    assert_array_equal(parts.decode(parts.encode(whole)), whole)


@pytest.mark.parametrize(
    ("name", "bound"), [("normal", 1e-3), ("spiky", 1e-3), ("few", 5e-3)]
)
def test_other_values_are_learnt_up_to_the_knots(name, bound):
    """Ten chunks; the first alone would be off by the noise of a tenth of the rows."""
    rng = np.random.default_rng(0)
    x = {
        "normal": rng.normal(size=30_000),
        "spiky": np.where(rng.random(30_000) < 0.6, 0.0, rng.gamma(1, 9, 30_000)),
        "few": rng.normal(size=1_000),
    }[name]
    chunks = np.array_split(x, 10)
    parts = Quantiles(2_000).fit(chunks[0])
    for chunk in chunks[1:]:
        parts.update(chunk)
    assert not parts.discrete_
    assert len(parts.values_) <= 2_000
    at_first = Quantiles(2_000).fit(chunks[0])
    grid = np.quantile(x, np.linspace(0, 1, 301))
    expected = [
        np.searchsorted(np.sort(x), grid, s) / len(x) for s in ("left", "right")
    ]
    for frequencies, first, true in zip(
        parts._frequencies(grid), at_first._frequencies(grid), expected, strict=True
    ):
        assert np.abs(frequencies - true).max() < bound
        assert np.abs(first - true).max() > 4 * bound
    z = parts.encode(x, rng)
    assert stats.kstest(z, "norm").statistic < 0.01
    np.testing.assert_allclose(parts.decode(z), x, atol=1e-4)


def test_a_wider_codec_knows_new_numbers():
    """Values between and beyond those of the first rows; the old codec stays."""
    days = pd.to_datetime(["2020-01-01", "2020-01-05", "2020-01-09"])
    X = pd.DataFrame(
        {"count": [1, 5, 5] * 20, "level": list("aab") * 20, "day": list(days) * 20}
    )
    more = pd.DataFrame(
        {
            "count": [3, 9, -2] * 20,
            "level": list("aab") * 20,
            "day": pd.to_datetime(["2020-01-03", "2020-01-05", "2030-01-01"]).tolist()
            * 20,
        }
    )
    codec = TableCodec().fit(X)
    before = codec.encode(X)[0].copy()
    wider = codec.updated(more)
    assert wider.layout_ == codec.layout_
    back = wider.decode(*wider.encode(more))
    assert_array_equal(back["count"], more["count"])
    assert_array_equal(back["day"], more["day"])
    assert_frame_equal(wider.decode(*wider.encode(X)), X)
    assert_array_equal(codec.encode(X)[0], before)
    assert set(codec.decode(*codec.encode(more))["count"]) <= {1, 5}


@pytest.mark.parametrize("scaling", ["standard", "minmax", None])
def test_plain_scales_stay_those_of_the_first_rows(scaling):
    X = pd.DataFrame({"x": [1.0, 2.0, 4.0]})
    codec = TableCodec(scaling).fit(X)
    wider = codec.updated(X * 100)
    assert_array_equal(wider.encode(X)[0], codec.encode(X)[0])


@pytest.mark.parametrize("size", [1, 5, 10, 30, 100])
def test_chunks_of_any_size_keep_the_values(size):
    """A value that came once in a chunk is an atom once it has come more often."""
    rng = np.random.default_rng(0)
    n = min(3_000, 600 * size)  # a chunk of one row takes as long as one of a hundred
    for x in (rng.integers(0, 100, n) * 1.0, rng.binomial(1, 0.08, n) * 1.0):
        chunks = np.array_split(x, len(x) // size)
        parts = Quantiles(2_000).fit(chunks[0])
        for chunk in chunks[1:]:
            parts.update(chunk)
        assert_array_equal(parts.decode(parts.encode(x, rng)), x)
        whole = Quantiles(2_000).fit(x)
        assert_array_equal(parts.values_, whole.values_)
        np.testing.assert_allclose(parts.upper_, whole.upper_, atol=1e-9)


def test_finer_values_may_come_later():
    codec = TableCodec().fit(pd.DataFrame({"x": [1.0, 2.0, 3.0] * 20}))
    more = pd.DataFrame({"x": [1.25, 2.0, 9.125] * 20})
    wider = codec.updated(more)
    assert_frame_equal(wider.decode(*wider.encode(more)), more)


def state_of(codec):
    return {
        (place, name): value
        for place, column in enumerate(codec.columns_codec_)
        for name, value in vars(column.quantiles_).items()
    }


@pytest.mark.parametrize("is_shuffled", [False, True])
@pytest.mark.parametrize("n_rows", [200, 3_000])
def test_another_pass_over_the_same_chunks_changes_nothing(n_rows, is_shuffled):
    """Single values stay single, and so continuous columns continuous."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"x": rng.normal(size=n_rows)})
    table["rounded"] = table["x"].round(1)
    chunks = [table[::2], table[1::2]]
    codec = TableCodec().fit(chunks[0]).updated(chunks[1])
    known = state_of(codec)
    for chunk in 5 * chunks:
        codec = codec.updated(chunk.sample(frac=1) if is_shuffled else chunk)
    for name, value in state_of(codec).items():
        np.testing.assert_array_equal(value, known[name])


def test_another_pass_in_other_chunks_changes_nothing():
    rng = np.random.default_rng(0)
    x = rng.normal(size=600)
    codec = TableCodec().fit(pd.DataFrame({"x": x}))
    for _ in range(4):
        for chunk in np.array_split(rng.permutation(x), 5):
            codec = codec.updated(pd.DataFrame({"x": chunk}))
    [column] = codec.columns_codec_
    assert not column.quantiles_.discrete_
    assert column.quantiles_.n_ == 600


def test_a_codec_does_not_grow_with_the_chunks_of_a_stream(monkeypatch):
    monkeypatch.setattr("sklearn_unsup._table.passes.MAX_CHUNKS", 3)
    rng = np.random.default_rng(0)
    codec = TableCodec().fit(pd.DataFrame({"x": rng.normal(size=40)}))
    for _ in range(5):
        codec = codec.updated(pd.DataFrame({"x": rng.normal(size=40)}))
    assert len(codec.chunks_) == 3


@pytest.mark.parametrize("n_rows", [2_500, 6_000])
def test_passes_over_many_values_make_no_atoms(n_rows):
    """Only some of them are kept, so that none can tell whether a value is known."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=n_rows)
    x[: n_rows // 5] = 0.0  # A spike stays one.
    codec = TableCodec().fit(pd.DataFrame({"x": x}))
    for _ in range(4):
        for chunk in np.array_split(rng.permutation(x), 5):
            codec = codec.updated(pd.DataFrame({"x": chunk}))
    quantiles = codec.columns_codec_[0].quantiles_
    assert not quantiles.discrete_
    (low, high) = quantiles.atoms()[2:, :]
    assert len(low) == 1
    assert high[0] - low[0] == pytest.approx(0.2, abs=0.01)


def test_known_values_of_new_rows_are_learnt():
    """The same days, with other numbers beside them, are other rows."""
    days = pd.date_range("2020-01-01", periods=400)
    rng = np.random.default_rng(0)
    codec = TableCodec().fit(pd.DataFrame({"day": days, "x": rng.normal(size=400)}))
    for _ in range(3):
        late = pd.DataFrame({"day": days[300:], "x": rng.normal(size=100)})
        codec = codec.updated(late)
    back = codec.columns_codec_[0].quantiles_
    assert back.n_ == 700
    assert back.lower_[300] == pytest.approx(300 / 700)


@pytest.mark.parametrize("size", [1, 2, 100])
def test_values_that_come_again_are_counted(size):
    """Chunks of few values are alike by chance."""
    first = [0.0, 1.0, 2.0]
    codec = TableCodec().fit(pd.DataFrame({"x": first}))
    for _ in range(300 // size):
        codec = codec.updated(pd.DataFrame({"x": [2.0] * size}))
    [column] = codec.columns_codec_
    assert column.quantiles_.n_ == 303
    np.testing.assert_allclose(column.quantiles_.upper_, [1 / 303, 2 / 303, 1])


@pytest.mark.parametrize("size", [1, 5, 8, 100])
def test_few_more_rows_do_not_make_a_column_discrete(size):
    """Of many values knots are kept, and rows count more than three times as many."""
    rng = np.random.default_rng(0)
    quantiles = Quantiles(2_000).fit(rng.lognormal(size=8_000))
    for _ in range(40):
        quantiles.update(rng.lognormal(size=size))
        assert not quantiles.discrete_
    assert len(quantiles.values_) <= 2_000


def test_a_stream_of_days_goes_on():
    """Days before and after those of the first rows are drawn, too."""
    days = pd.Series(pd.date_range("2020-01-01", periods=90))
    codec = TableCodec().fit(pd.DataFrame({"day": days[30:60]}))
    wider = codec.updated(pd.DataFrame({"day": days[60:]}))
    rows = pd.DataFrame({"day": days[30:]}).reset_index(drop=True)
    assert_frame_equal(wider.decode(*wider.encode(rows)), rows)
    z = wider.encode(rows)[0][:, 0]
    assert stats.kstest(z, "norm").statistic < 0.05
    early = wider.updated(pd.DataFrame({"day": days[:30]}))
    rows = pd.DataFrame({"day": days})
    assert_frame_equal(early.decode(*early.encode(rows)), rows)


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ([1.0, 1.0], [1.0, 2.0]),
        ([np.nan, np.nan], [np.nan, 2.0]),
        ([1.0, 1.0], [1.0, np.nan]),
        ("aa", "ab"),
    ],
)
def test_columns_that_vary_only_later_are_refused(first, later):
    """They have no place in the encoded table: silence would lose them."""
    X = pd.DataFrame({"x": list(first), "y": [1, 2]})
    more = X.assign(x=list(later))
    codec = TableCodec().fit(X)
    assert codec.updated(X).layout_ == codec.layout_
    with pytest.raises(ValueError, match="column 'x'"):
        codec.updated(more)
    ignoring = TableCodec(handle_unknown="ignore").fit(X)
    back = ignoring.updated(more).decode(*ignoring.encode(more))
    assert back["x"].equals(X["x"])


# ------------------------------------------------------------------- extremes

I64, U64 = np.iinfo(np.int64), np.iinfo(np.uint64)


def spread_out(dtype, low, high, n=40):
    """Values all over a range of whole numbers, its ends among them."""
    dtype = np.dtype(dtype)
    whole = np.uint64 if dtype.kind == "u" else np.int64
    values = np.random.default_rng(0).integers(low, high, n, whole, endpoint=True)
    values[:2] = low, high
    return pd.Series(values.view(dtype) if dtype.kind in "mM" else values.astype(dtype))


EXTREME_STREAMS = {
    "uint64 beyond 2**63": ("u8", (2**63, 2**63 + 1000), (0, U64.max)),
    "uint64 grows": ("u8", (0, 1000), (2**63, U64.max)),
    "int64 all over": ("i8", (I64.min, I64.max), (I64.min, I64.max)),
    "int64 grows": ("i8", (0, 1000), (I64.min, I64.max)),
    "int64 grows a little": ("i8", (0, 1000), (2**53, 2**54)),
    "int64 falls": ("i8", (2**60, 2**60 + 1000), (-5, 5)),
    "int8 grows": ("i1", (-3, 3), (-128, 127)),
    "ns to its bounds": ("M8[ns]", (0, 10**18), (I64.min + 1, I64.max)),
    "ns at its bounds": ("M8[ns]", (I64.min + 1, I64.max), (I64.min + 1, I64.max)),
    "s far outside of ns": ("M8[s]", (-(10**15), 10**15), (-(10**17), 10**17)),
    "s falls": ("M8[s]", (0, 10**9), (-(10**12), 10**12)),
    "durations": ("m8[ns]", (0, 10**15), (I64.min + 1, I64.max)),
}


def as_integers(column):
    kind = column.dtype.kind
    values = column.to_numpy()
    return [int(v) for v in (values.view(np.int64) if kind in "mM" else values)]


def assert_in_range(drawn, *seen):
    assert drawn.dtype == seen[0].dtype
    assert not drawn.isna().any()
    known = [v for column in seen for v in as_integers(column)]
    assert min(known) <= min(as_integers(drawn))
    assert max(as_integers(drawn)) <= max(known)


@pytest.mark.parametrize("scaling", ["quantile", "standard", "minmax"])
@pytest.mark.parametrize("name", EXTREME_STREAMS)
def test_streams_of_extremes_stay_in_what_they_saw(name, scaling):
    dtype, first, second = EXTREME_STREAMS[name]
    one, two = spread_out(dtype, *first), spread_out(dtype, *second)
    codec = TableCodec(scaling).fit(pd.DataFrame({"x": one}))
    wider = codec.updated(pd.DataFrame({"x": two}))
    z = np.linspace(-12, 12, 301, dtype=np.float32)[:, None]
    empty = np.empty((len(z), 0), np.int64)
    assert_in_range(codec.decode(z, empty)["x"], one)
    drawn = wider.decode(z, empty)["x"]
    assert_in_range(drawn, one, two)
    for column in (one, two):
        assert np.isfinite(wider.encode(pd.DataFrame({"x": column}))[0]).all()
    if scaling == "quantile":  # the others keep the range that `fit` saw
        whole = as_integers(pd.concat([one, two]))
        assert min(as_integers(drawn)) == min(whole)
        assert max(as_integers(drawn)) == max(whole)


@pytest.mark.parametrize("first", [1e-310, 1e-3, 1.0, 1e200])
@pytest.mark.parametrize("second", [1e-310, 1.0, 1e200, 1.7e308])
def test_streams_of_extreme_floats_stay_in_what_they_saw(first, second):
    unit = np.linspace(-1, 1, 40)
    one, two = (pd.DataFrame({"x": unit * size}) for size in (first, second))
    wider = TableCodec().fit(one).updated(two)
    for table in (one, two):
        assert np.isfinite(wider.encode(table)[0]).all()
    z = np.linspace(-12, 12, 301, dtype=np.float32)[:, None]
    drawn = wider.decode(z, np.empty((301, 0), np.int64))["x"]
    assert np.isfinite(drawn).all()
    assert drawn.abs().max() <= max(first, second)


def test_what_a_stream_learnt_stays_exact_when_its_origin_moves():
    """Two chunks of days, the second one earlier: both come back to the tick."""
    day = 86_400 * 10**9
    one, two = (
        pd.DataFrame({"x": (np.arange(30) * day + start * day).view("M8[ns]")})
        for start in (1_000, 0)
    )
    wider = TableCodec().fit(one).updated(two)
    for table in (one, two):
        pd.testing.assert_frame_equal(wider.decode(*wider.encode(table)), table)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_dates_beyond_the_unit_are_outliers(scaling):
    """To encode they are like the last date that the unit holds; none is learnt."""
    near = pd.DataFrame({"when": spread_out("M8[ns]", 0, 10**18)})
    codec = TableCodec(scaling).fit(near)
    far = pd.DataFrame({"when": np.array([-(10**15), 0, 10**15]).view("M8[s]")})
    last = pd.DataFrame({"when": np.array([1 - 2**63, 0, 2**63 - 1]).view("M8[ns]")})
    z = codec.encode(far)[0]
    assert_allclose(z, codec.encode(last)[0], rtol=1e-6)
    assert z[0] < z[1] < z[2]
    with pytest.raises(ValueError, match=r"'when' counts ns .*datetime64\[s\]"):
        codec.updated(far)


def test_outliers_stay_numbers_that_can_be_squared():
    for scaling in ("standard", "minmax"):
        codec = TableCodec(scaling).fit(pd.DataFrame({"x": [0.0, 1.0]}))
        far, _ = codec.encode(pd.DataFrame({"x": [1e300]}))
        assert far == np.float32(1e15)


@given(
    st.sampled_from([np.int64, np.uint64]),
    st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=12),
    st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=12),
)
def test_widened_whole_numbers_stay_in_what_they_saw(dtype, first, second):
    least = np.iinfo(dtype).min
    one, two = (
        pd.DataFrame({"x": np.array([v + int(least) for v in part], dtype=dtype)})
        for part in (first, second)
    )
    codec = TableCodec(handle_unknown="ignore").fit(one).updated(two)
    seen = [one["x"], two["x"]] if codec.numbers_ else [one["x"]]
    z = np.linspace(-9, 9, 41, dtype=np.float32)[:, None]
    drawn = codec.decode(z, np.empty((41, 0), np.int64))["x"]
    assert_in_range(drawn, *seen)
    ends = codec.encode(pd.DataFrame({"x": pd.concat(seen)}))[0]
    back = as_integers(codec.decode(ends, np.empty((len(ends), 0), np.int64))["x"])
    exact = [v for column in seen for v in as_integers(column)]
    # float64 counts from the least one, in 53 bits
    off = max(abs(a - b) for a, b in zip(back, exact, strict=True))
    assert off <= max((max(exact) - min(exact)) >> 50, 0)


def test_levels_that_share_a_code_share_its_probability():
    column = pd.Series(["a"] * 60 + ["b"] * 30 + ["c"] * 6 + ["d"] * 4)
    codec = CategoricalColumn("x", 3).fit(column)
    shares, unknown = codec.log_shares(pd.Series(["a", "c", "d", "e"]))
    np.testing.assert_allclose(np.exp(shares[:3]), [1.0, 0.6, 0.4])
    assert unknown.tolist() == [False, False, False, True]
    pooled = CategoricalColumn("x", 2, keep_infrequent=False).fit(column)
    shares, unknown = pooled.log_shares(pd.Series(["b", "c", "e", None]))
    np.testing.assert_array_equal(shares, 0.0)
    assert unknown.tolist() == [False, False, False, True]
