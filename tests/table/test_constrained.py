"""ConstrainedCodec: exact round trips, and constraints that no code can break."""

import datetime
import decimal
import importlib.util
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from pandas.testing import assert_frame_equal

from sklearn_unsup._table.constrained import ConstrainedCodec
from sklearn_unsup.constraints import (
    FixedCombinations,
    Inequality,
    Linear,
    Range,
    Unique,
    Where,
)

SCALINGS = ["quantile", "standard", "minmax", None]
seeds = st.integers(0, 2**32 - 1)


def any_rows(codec, n, rng):
    """Encoded rows far beyond what a model would draw, with all masks at random."""
    layout = codec.layout_
    x_num = rng.normal(size=(n, layout.n_numeric)) * rng.choice([0.5, 3, 30], (n, 1))
    codes = [rng.integers(0, k, n) for k in layout.cardinalities]
    x_cat = np.stack(codes, 1) if codes else np.zeros((n, 0), np.int64)
    return x_num.astype(np.float32), x_cat


def with_holes(column, share, rng):
    return column.mask(rng.random(len(column)) < share)


def whole(dtype, scale=1):
    return lambda values: pd.Series(values * scale).astype(dtype)


def dates(dtype, ticks=1):
    """Every so many ticks of the dtype's unit after 2020."""
    unit = dtype.partition("[")[2].partition("]")[0].partition(",")[0]

    def make(values):
        start = np.datetime64("2020-01-01", unit).astype(np.int64)
        plain = pd.Series((start + values * ticks).view(f"M8[{unit}]"))
        if "," not in dtype:
            return plain
        zone = dtype.partition(", ")[2].rstrip("]")
        return plain.dt.tz_localize("UTC").dt.tz_convert(zone)

    return make


def cells(function):
    return lambda values: pd.Series([function(int(v)) for v in values], dtype=object)


DAY = datetime.timedelta(1)
KINDS = {
    "int8": whole("int8"),
    "int64": whole("int64", 2**15),
    "uint8": whole("uint8"),
    "Int32": whole("Int32"),
    "float32": whole("float32"),
    "cents": lambda values: pd.Series(np.round(values * 0.37, 2)),
    "float32 cents": lambda values: pd.Series(np.float32(np.round(values * 0.37, 2))),
    "seconds": dates("datetime64[s]", 40_000),
    "days": dates("datetime64[ns]", 86_400 * 10**9),
    "zone": dates("datetime64[us, Europe/Rome]", 3_600 * 10**6),
    "durations": lambda values: pd.Series(pd.to_timedelta(values, unit="min")),
    "periods": lambda values: pd.Series(pd.PeriodIndex.from_ordinals(values, freq="M")),
    "date objects": cells(lambda v: datetime.date(2020, 1, 1) + v * DAY),
    "decimals": cells(lambda v: decimal.Decimal(v) / 100),
    "sparse": lambda values: pd.Series(pd.arrays.SparseArray(values)),
}
if importlib.util.find_spec("pyarrow"):
    KINDS["arrow"] = whole("int64[pyarrow]")
CAN_BE_MISSING = set(KINDS) - {"int8", "int64", "uint8", "sparse"}
# Columns of two kinds, the lower and the higher one.
PAIRS = [(kind, kind) for kind in KINDS] + [
    ("int8", "Int32"),
    ("int8", "cents"),
    ("cents", "int8"),
    ("cents", "float32"),
    ("seconds", "days"),
    ("days", "seconds"),
    ("date objects", "days"),
]
STRICT = {
    ("float32", "float32"),
    ("decimals", "decimals"),
    ("int8", "cents"),
    ("cents", "int8"),
    ("days", "seconds"),
}


def ordered(kinds, n, rng, *, strict):
    """Columns of which each is above the one before, with holes where they can be."""
    low, high = kinds
    values = rng.integers(0, 60, n), rng.integers(0, 60, n)
    X = pd.DataFrame({"high": KINDS[high](values[1]), "low": KINDS[low](values[0])})
    keep = compare(X, "low", "high", strict)
    X = X[keep].reset_index(drop=True)
    for name, kind in zip(["low", "high"], kinds, strict=True):
        if kind in CAN_BE_MISSING:
            X[name] = with_holes(X[name], 0.2, rng)
    return X


def compare(X, low, high, strict=False):
    """Whether the rows of X meet an inequality, by pandas itself."""
    below, above = X[low], X[high]
    if "Decimal" in str(type(below.dropna().iloc[0])):
        below, above = below.astype(float), above.astype(float)
    elif {below.dtype.kind, above.dtype.kind} == {"O", "M"}:
        below, above = pd.to_datetime(below), pd.to_datetime(above)
    missing = (below.isna() | above.isna()).to_numpy()
    holds = np.ones(len(X), bool)
    below, above = below[~missing], above[~missing]
    holds[~missing] = (below < above) if strict else (below <= above)
    return holds


# Reading a kind is the same with `strict`, which a few of them show at once.
@pytest.mark.parametrize(
    ("kinds", "strict"),
    [
        pytest.param(
            kinds,
            strict,
            id="-".join((*kinds, str(strict))),
            marks=[pytest.mark.slow] if strict and kinds not in STRICT else [],
        )
        for kinds in PAIRS
        for strict in (False, True)
    ],
)
@given(seed=seeds, scaling=st.sampled_from(SCALINGS))
def test_an_inequality_holds_for_any_code_and_comes_back(kinds, strict, seed, scaling):
    rng = np.random.default_rng(seed)
    X = ordered(kinds, 150, rng, strict=strict)
    constraints = [Inequality("low", "high", strict)]
    codec = ConstrainedCodec(scaling, constraints=constraints).fit(X)
    assert_frame_equal(codec.decode(*codec.encode(X, rng)), X)
    drawn = codec.decode(*any_rows(codec, 200, rng))
    assert drawn.dtypes.equals(X.dtypes)
    assert compare(drawn, "low", "high", strict).all()
    for name in X:
        assert drawn[name].dropna().max() <= X[name].dropna().max()
        assert drawn[name].dropna().min() >= X[name].dropna().min()


@given(seed=seeds)
def test_an_order_of_floats_with_all_digits(seed):
    rng = np.random.default_rng(seed)
    low = rng.normal(size=300) * 10.0 ** rng.integers(-5, 5, 300)
    X = pd.DataFrame({"low": low, "high": low + rng.exponential(size=300)})
    X["high"] = X["high"].where(rng.random(300) < 0.8, X["low"])
    codec = ConstrainedCodec(constraints=[Inequality("low", "high")]).fit(X)
    back = codec.decode(*codec.encode(X, rng))
    assert_frame_equal(back, X, rtol=1e-14, atol=0)
    drawn = codec.decode(*any_rows(codec, 500, rng))
    assert (drawn.low <= drawn.high).all()
    strict = [Inequality("low", "high", strict=True)]
    X = X[X.low < X.high].reset_index(drop=True)
    codec = ConstrainedCodec(constraints=strict).fit(X)
    drawn = codec.decode(*any_rows(codec, 500, rng))
    assert (drawn.low < drawn.high).all()


def test_an_upper_column_has_no_atom_at_its_least_value():
    """What is encoded is what is free, so that equal codes are not piled up there."""
    rng = np.random.default_rng(0)
    low = rng.integers(0, 100, 500)
    X = pd.DataFrame({"low": low, "high": np.maximum(low, 60) + rng.integers(1, 40)})
    X["high"] += rng.integers(0, 500, 500)
    codec = ConstrainedCodec(constraints=[Inequality("low", "high")]).fit(X)
    x_num = rng.normal(size=(2_000, 2)).astype(np.float32)
    drawn = codec.decode(x_num, np.zeros((2_000, 0), np.int64))
    assert drawn["high"].min() >= X["high"].min()
    assert (drawn["high"] == X["high"].min()).mean() < 0.02
    constant = X.assign(high=314)
    codec = ConstrainedCodec(constraints=[Inequality("low", "high")]).fit(constant)
    assert (codec.decode(*any_rows(codec, 50, rng))["high"] == 314).all()


@given(seed=seeds)
def test_a_net_of_inequalities(seed):
    """Two lower bounds of one column, two upper ones of another, and a chain."""
    rng = np.random.default_rng(seed)
    values = np.sort(rng.integers(0, 50, (300, 4)), axis=1)
    values[:, 1:3] = rng.permuted(values[:, 1:3], axis=1)
    X = pd.DataFrame(values, columns=list("abcd")).astype("float64")
    X["b"], X["c"] = X["b"].astype("Int16"), X["c"] / 4
    X["a"] /= 4
    X = X.apply(with_holes, share=0.2, rng=rng)
    pairs = "ab", "ac", "bd", "cd"
    X = X[np.all([compare(X, *pair) for pair in pairs], axis=0)]
    X = X.reset_index(drop=True)[list("dbca")]
    codec = ConstrainedCodec(constraints=[Inequality(*pair) for pair in pairs]).fit(X)
    assert_frame_equal(codec.decode(*codec.encode(X, rng)), X)
    drawn = codec.decode(*any_rows(codec, 500, rng))
    for pair in pairs:
        assert compare(drawn, *pair).all()


LEVELS = {
    "text": np.array(["a", "b", "c", "d"], dtype=object),
    "numbers": np.array([1.5, 2.5, 3.5, -1.0]),
    "flags": np.array([True, False, True, False]),
    "category": pd.Categorical(["u", "v", "w", "u"]),
    "dates": pd.date_range("2020", periods=4),
    "mixed": np.array(["1", 1, True, 2], dtype=object),
}


def combined(first, second, n, rng):
    """Two columns that depend on each other, with missing values in both."""
    place = rng.integers(0, 4, n)
    X = pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "second": pd.Series(LEVELS[second]).take(place // 2).to_numpy(),
            "first": pd.Series(LEVELS[first]).take(place).array,
        }
    )
    if second == "category":
        X["second"] = X["second"].astype("category")
    X.loc[place == 1, "second"] = None if second != "dates" else pd.NaT
    return X


def pairs_of(X):
    shown = X[["first", "second"]].astype(object)
    shown = shown.where(shown.notna(), None)
    return {(type(a), a, type(b), b) for a, b in shown.to_numpy().tolist()}


@pytest.mark.parametrize("first", LEVELS)
@pytest.mark.parametrize("second", [kind for kind in LEVELS if kind != "flags"])
def test_combinations_are_those_of_training(first, second):
    rng = np.random.default_rng(0)
    X = combined(first, second, 200, rng)
    constraints = [FixedCombinations(["second", "first"])]
    codec = ConstrainedCodec(constraints=constraints).fit(X)
    assert_frame_equal(codec.decode(*codec.encode(X, rng)), X)
    drawn = codec.decode(*any_rows(codec, 500, rng))
    assert drawn.dtypes.equals(X.dtypes)
    assert pairs_of(drawn) == pairs_of(X)


@pytest.mark.parametrize(
    ("asked", "ranks"),
    [
        ("2020-01-02", [1]),
        (datetime.date(2020, 1, 2), [1]),
        ({"2020-01-02", pd.Timestamp("2020-01-03")}, [1, 2]),
        (("2020-01-02", None), [1, 2, 3]),
        ([None, "2020-01-02"], [4, 1]),
    ],
    ids=["text", "date", "set", "range", "list"],
)
def test_combinations_take_dates_by_text(asked, ranks):
    X = pd.DataFrame({"day": pd.date_range("2020", periods=5), "x": range(5)})
    X.loc[4, "day"] = pd.NaT
    codec = ConstrainedCodec(constraints=[FixedCombinations(["day", "x"])]).fit(X)
    [found] = codec.encode_conditions({"day": asked}, 2).requests.values()
    x_cat = codec.encode(X.iloc[ranks])[1]
    if isinstance(asked, list) or len(ranks) == 1:
        assert_array_equal(found.ranks, np.resize(x_cat, 2))
    else:
        assert_array_equal(found.sets, [np.sort(x_cat[:, 0])])
    with pytest.raises(ValueError, match="'day' has no value '2021'"):
        codec.encode_conditions({"day": "2021"}, 2)
    with pytest.raises(ValueError, match="^conditions: NaT cannot.*None for no limit"):
        codec.encode_conditions({"day": (pd.NaT, None)}, 2)


def test_combinations_need_no_columns_of_their_own():
    """The net sees one category for all columns that belong together."""
    X = combined("text", "text", 200, np.random.default_rng(0))
    codec = ConstrainedCodec(constraints=[FixedCombinations(["first", "second"])])
    assert codec.fit(X).layout_.cardinalities == (4,)


def test_infrequent_combinations_are_forgotten():
    """max_categories is for what a model must not keep: neither in joint levels."""
    code = np.repeat([0, 1, 2, 3], [50, 40, 2, 1])
    X = pd.DataFrame(
        {
            "a": np.array(["p", "q", "rare", "rarest"])[code],
            "b": np.array([7, 8, 9, 5])[code],
        }
    )
    codec = ConstrainedCodec(
        constraints=[FixedCombinations(["a", "b"])],
        max_categories=3,
        keep_infrequent=False,
    ).fit(X)
    assert b"rare" not in pickle.dumps(codec)
    x_num, x_cat = codec.encode(X)
    assert set(x_cat[92:, 0]) == {codec.layout_.cardinalities[0] - 1}
    drawn = codec.decode(x_num, x_cat, random_state=np.random.default_rng(0))
    assert set(drawn.a) <= {"p", "q"}
    codec.refuse_broken(pd.DataFrame({"a": ["p"], "b": [5]}))


def test_a_later_chunk_widens_ranges_but_keeps_codes():
    first = pd.DataFrame({"low": [0, 5, 7, 3], "high": [4.0, 6.5, np.nan, 9.5]})
    later = pd.DataFrame({"low": [-5, 20], "high": [30.0, 40.5]})
    codec = ConstrainedCodec(None, constraints=[Inequality("low", "high")]).fit(first)
    wider = ConstrainedCodec(constraints=[Inequality("low", "high")]).fit(first)
    wider = wider.updated(later)
    both = pd.concat([first, later], ignore_index=True)
    assert_frame_equal(wider.decode(*wider.encode(both)), both)
    x_num, _ = codec.encode(first)
    assert_array_equal(codec.updated(later).encode(first)[0], x_num)
    # The codec from before still decodes within its own range.
    assert codec.decode(*codec.encode(later))["high"].max() <= 9.5
    with pytest.raises(
        ValueError, match=r"1 of 2 rows breaks Inequality.*first at row 1"
    ):
        wider.updated(pd.DataFrame({"low": [1, 2], "high": [1.0, 1.5]}))


def test_columns_come_in_any_order_and_a_saved_codec_is_the_same():
    rng = np.random.default_rng(0)
    X = ordered(("days", "seconds"), 100, rng, strict=False)
    X["a"], X["b"] = X.low.isna().map({True: "u", False: None}), X.low.isna()
    constraints = [
        Inequality("low", "high"),
        FixedCombinations(["a", "b"]),
        Range("low", "2020-01-01"),
    ]
    codec = ConstrainedCodec(constraints=constraints).fit(X)
    other = pickle.loads(pickle.dumps(codec))
    for expected, found in zip(
        codec.encode(X), other.encode(X[X.columns[::-1]]), strict=True
    ):
        assert_array_equal(expected, found)
    assert_frame_equal(other.decode(*other.encode(X)), X)


def test_arrays_have_columns_by_position():
    rng = np.random.default_rng(0)
    X = np.sort(rng.integers(0, 9, (100, 3)), axis=1).astype(np.float32)
    constraints = [Inequality(0, -2), Inequality(1, 2)]
    codec = ConstrainedCodec(constraints=constraints).fit(X)
    assert_array_equal(codec.decode(*codec.encode(X)), X)
    drawn = codec.decode(*any_rows(codec, 300, rng))
    assert drawn.dtype == np.float32
    assert (np.diff(drawn, axis=1) >= 0).all()


@pytest.mark.parametrize(
    "columns", [[1, 2, 3], [2, 0, 1], [1.0, 2.5, 3.0], [2.0, np.nan, 1.0]]
)
def test_numbers_that_are_names_are_no_positions(columns):
    """And both ends that are named are the columns that are drawn in order."""
    values = np.array([[1, 5, 3], [2, 4, 9], [3, 8, 3], [0, 3, 0]])
    X = pd.DataFrame(values, columns=columns)
    low, high = X.columns[2], X.columns[1]
    for names in ((low, high), (columns[2], columns[1])):
        with pytest.raises(ValueError, match="1 of 4 training rows breaks Inequality"):
            ConstrainedCodec(constraints=[Inequality(*names)]).fit(X)
        codec = ConstrainedCodec(constraints=[Inequality(*names)]).fit(X.drop(index=1))
        drawn = codec.decode(*any_rows(codec, 50, np.random.default_rng(0)))
        assert (drawn.iloc[:, 2] <= drawn.iloc[:, 1]).all()
    with pytest.raises(ValueError, match="names -1, which is no column of X"):
        ConstrainedCodec(constraints=[Inequality(-1, columns[0])]).fit(X)


def test_columns_without_numbers_for_names_have_positions():
    X = pd.DataFrame({"b": [3, 4, 9], "a": [1, 2, 9]})
    codec = ConstrainedCodec(constraints=[Inequality(1, np.int64(0))]).fit(X)
    drawn = codec.decode(*any_rows(codec, 50, np.random.default_rng(0)))
    assert (drawn["a"] <= drawn["b"]).all()
    codec = ConstrainedCodec(constraints=[Inequality(np.int64(-1), 0)])
    drawn = codec.fit(X.to_numpy()).decode(*codec.encode(X.to_numpy()))
    assert_array_equal(drawn, X)


@pytest.mark.parametrize(
    "constraint",
    [FixedCombinations(["a", "b"]), Linear({"a": 1, "b": -1}), Unique("a")],
)
def test_a_constraint_twice_is_the_same_as_once(constraint):
    X = pd.DataFrame({"a": [1, 2, 3, 4], "b": [1, 2, 3, 4]})
    codes = any_rows(
        ConstrainedCodec(constraints=[constraint]).fit(X), 9, np.random.default_rng(0)
    )
    tables = [
        ConstrainedCodec(constraints=[constraint] * n).fit(X).decode(*codes)
        for n in (1, 2)
    ]
    assert_frame_equal(*tables)


# ------------------------------------------------------------------ sums


def make_sum(kind, rng, n=200):
    """Two parts and their total, and the total as numpy says it."""
    a, b = rng.integers(0, 100, n), rng.integers(-20, 28, n)
    if kind == "int8":
        return pd.DataFrame({"a": a, "b": b, "total": a + b}).astype("int8")
    if kind == "Int64":
        return pd.DataFrame({"a": a, "b": b, "total": a + b}).astype("Int64")
    if kind == "uint8 total":  # never negative, though its parts are
        b = np.maximum(b, -a)
        return pd.DataFrame({"a": a, "b": b, "total": a + b}).astype({"total": "uint8"})
    if kind == "cents":
        X = pd.DataFrame({"a": a / 100, "b": b.astype(float)})
        return X.assign(total=(a + 100 * b) / 100)
    if kind == "whole total":  # the parts have decimals, their sum never has
        return pd.DataFrame(
            {"a": a / 4, "b": b + 1 - a % 4 / 4, "total": a // 4 + b + 1}
        )
    if kind == "float32":
        X = pd.DataFrame({"a": a / 8, "b": b / 8, "total": (a + b) / 8})
        return X.astype("float32")
    ticks = pd.to_timedelta(a + 21 + b, unit="h")
    start = pd.Timestamp("2020") + pd.to_timedelta(a, unit="D")
    return pd.DataFrame({"a": start, "b": ticks, "total": start + ticks})


SUMS = ["int8", "Int64", "uint8 total", "cents", "whole total", "float32", "times"]
ADD_UP = {"total": -1, "a": 1, "b": 1}


def adds_up(X):
    X = X.dropna()
    if X["a"].dtype.kind == "M":
        return X["a"] + X["b"] == X["total"]
    rest = X["a"].astype(float) + X["b"].astype(float) - X["total"].astype(float)
    return rest.abs() < 1e-5  # floats of 32 bits are not exact


@pytest.mark.parametrize("kind", SUMS)
@given(seed=seeds, scaling=st.sampled_from(SCALINGS))
def test_a_sum_holds_for_any_code_and_comes_back(kind, seed, scaling):
    rng = np.random.default_rng(seed)
    X = make_sum(kind, rng)
    if kind in ("Int64", "cents", "float32", "times"):
        X = X.apply(with_holes, share=0.2, rng=rng)
    codec = ConstrainedCodec(scaling, constraints=[Linear(ADD_UP)]).fit(X)
    assert_frame_equal(codec.decode(*codec.encode(X, rng)), X)
    drawn = codec.decode(*any_rows(codec, 300, rng))
    assert drawn.dtypes.equals(X.dtypes)
    assert adds_up(drawn).all()
    assert len(codec.find_broken(drawn)) == 0
    for name in X:
        assert drawn[name].min() >= X[name].min()
        assert drawn[name].max() <= X[name].max()


@pytest.mark.parametrize("kind", SUMS)
def test_a_sum_says_the_one_value_that_is_missing(kind):
    X = make_sum(kind, np.random.default_rng(0))
    codec = ConstrainedCodec(constraints=[Linear(ADD_UP)]).fit(X)
    [part] = codec.constraints_.sums_
    for name in X:
        hidden = X.assign(**{name: X[name].astype(object).where(X.index % 2 == 0)})
        columns = [X[other] if other != name else hidden[name] for other in X]
        columns[list(X).index(name)] = hidden[name].convert_dtypes()
        found = pd.concat(part.completed(columns), axis=1).set_axis(X.columns, axis=1)
        assert_frame_equal(found, X, check_dtype=False)
    # Of two that are missing neither is known.
    nothing = [X["a"], *(X[n].astype(object).mask(X.index < 9) for n in ("b", "total"))]
    nothing = [column.convert_dtypes() for column in nothing]
    assert pd.concat(part.completed(nothing), axis=1).isna().sum().sum() == 18


def test_a_sum_leaves_nothing_to_learn():
    """The total follows from its parts: the net does not see it."""
    X = make_sum("int8", np.random.default_rng(0))
    codec = ConstrainedCodec(constraints=[Linear(ADD_UP)]).fit(X)
    assert [column.name for column in codec.numbers_] == ["a", "b"]


@given(seed=seeds)
def test_shares_that_make_a_hundred(seed):
    rng = np.random.default_rng(seed)
    shares = rng.multinomial(1000, [0.2, 0.3, 0.5], 200) / 10
    X = pd.DataFrame(shares, columns=list("abc"))
    constraint = Linear({"a": 1, "b": 1, "c": 1}, constant=100)
    codec = ConstrainedCodec(constraints=[constraint]).fit(X)
    assert_frame_equal(codec.decode(*codec.encode(X, rng)), X)
    drawn = codec.decode(*any_rows(codec, 300, rng))
    assert (drawn.sum(axis=1).round(9) == 100).all()
    assert (drawn.min() >= X.min()).all()
    assert (drawn.max() <= X.max()).all()


def test_a_constant_total_of_whole_parts():
    """There is no room for rounding: the last part takes what is left."""
    rng = np.random.default_rng(0)
    a = rng.integers(2, 9, 200)
    X = pd.DataFrame({"a": a, "b": 11 - a, "total": 11})
    codec = ConstrainedCodec(constraints=[Linear(ADD_UP)]).fit(X)
    drawn = codec.decode(*any_rows(codec, 300, rng))
    assert (drawn["a"] + drawn["b"] == 11).all()
    assert (drawn["total"] == 11).all()


def test_a_sum_is_rounded_where_its_column_is():
    rng = np.random.default_rng(0)
    net = rng.integers(100, 9999, 300) / 100
    X = pd.DataFrame({"net": net, "gross": (net * 1.19).round(2)})
    constraint = Linear({"net": 1.19, "gross": -1})
    codec = ConstrainedCodec(constraints=[constraint]).fit(X)
    assert_frame_equal(codec.decode(*codec.encode(X, rng)), X)
    drawn = codec.decode(*any_rows(codec, 300, rng))
    assert (np.abs(drawn.net * 1.19 - drawn.gross) <= 0.005 + 1e-9).all()
    assert (drawn.gross == drawn.gross.round(2)).all()
    # Rounding of the floats that sums are made of is no breach of them.
    wide = pd.DataFrame({"three": np.arange(2**57, 2**57 + 40)})
    wide["two"] = (2 * wide["three"] + 1) // 3
    codec.set_params(constraints=[Linear({"three": 2, "two": -3})]).fit(wide)
    codec.set_params(constraints=[constraint])
    X.loc[7, "gross"] = round(X.loc[7, "gross"] + 0.01, 2)
    with pytest.raises(ValueError, match="1 of 300 training rows breaks Linear.*row 7"):
        codec.fit(X)


def test_a_missing_total_is_seen_although_it_is_left_out():
    X = pd.DataFrame({"a": [1, 2, 5, 7], "b": [3, 9, 4, 1]})
    X["total"] = X["a"] + X["b"]
    broken = X.astype("Int64").mask(X > 10)
    codec = ConstrainedCodec(constraints=[Linear(ADD_UP)]).fit(X)
    with pytest.raises(ValueError, match="'total' has missing values, but had none"):
        codec.encode(broken)
    with pytest.raises(ValueError, match="'total' has missing values, but had none"):
        codec.updated(broken)
    codec.set_params(handle_unknown="warn")
    with pytest.warns(UserWarning, match="'total' has missing values, but had none"):
        codec.encode(broken)
    codec.set_params(handle_unknown="ignore").encode(broken)


def test_a_sum_of_floats_with_all_digits():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(300, 2)), columns=["a", "b"])
    X["total"] = X["a"] * 0.3 + X["b"] * 0.7
    constraint = Linear({"a": 0.3, "b": 0.7, "total": -1})
    codec = ConstrainedCodec(constraints=[constraint]).fit(X)
    assert_frame_equal(codec.decode(*codec.encode(X, rng)), X, rtol=1e-14)
    drawn = codec.decode(*any_rows(codec, 300, rng))
    assert not codec.find_broken(drawn)
    assert not codec.find_broken(X.assign(total=X["total"] * (1 + 1e-12)))
    assert codec.find_broken(X.assign(total=X["total"] * (1 + 1e-6)))


@pytest.mark.parametrize("scale", [2**54, 2**58])
def test_a_sum_of_integers_beyond_the_digits_of_floats(scale):
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.integers(0, scale, 200)})
    X["b"] = rng.integers(-scale, scale, 200)
    X["total"] = X["a"] + X["b"]
    codec = ConstrainedCodec(constraints=[Linear(ADD_UP)]).fit(X)
    drawn = codec.decode(*any_rows(codec, 2_000, rng))
    assert (drawn["a"] + drawn["b"] == drawn["total"]).all()
    assert (drawn.min() >= X.min()).all()
    assert (drawn.max() <= X.max()).all()
    X.loc[7, "total"] += 1
    with pytest.raises(ValueError, match="1 of 200 training rows breaks Linear.*row 7"):
        codec.fit(X)


@pytest.mark.parametrize("dtype", ["float16", "longdouble"])
def test_a_sum_of_rare_floats(dtype):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(200, 2)).astype(dtype), columns=["a", "b"])
    X["total"] = X["a"] + X["b"]
    codec = ConstrainedCodec(constraints=[Linear(ADD_UP)]).fit(X)
    drawn = codec.decode(*any_rows(codec, 200, rng))
    assert not codec.find_broken(drawn)
    assert codec.find_broken(X.assign(total=X["total"] + 0.5))


# ------------------------------------------------------------------ limits


def shuffled_free(codec, X, n, rng):
    """Free columns that have nothing to do with each other."""
    free = codec.constraints_.to_free([column for _, column in X.items()])
    rows = rng.integers(0, len(X), (len(free), n))
    return [c.iloc[i].reset_index(drop=True) for c, i in zip(free, rows, strict=True)]


@given(seed=seeds)
def test_an_order_keeps_what_is_asked_for(seed):
    """Limits of either column, or of both, that leave the other one room."""
    rng = np.random.default_rng(seed)
    X = ordered(("cents", "cents"), 200, rng, strict=False)
    codec = ConstrainedCodec(constraints=[Inequality("low", "high")]).fit(X)
    n = 300
    free = shuffled_free(codec, X, n, rng)
    ends = np.sort(rng.integers(0, 2200, (2, n)) / 100, axis=0)
    of_low = np.stack([ends[0] - 3, ends[0]])
    for limits in ({0: ends}, {1: ends}, {0: ends, 1: of_low}):
        columns = codec.constraints_.to_table(free, limits)
        back = pd.concat(columns, axis=1, keys=X.columns)
        assert compare(back, "low", "high").all()
        for place, (least, most) in limits.items():
            values = back.iloc[:, place].to_numpy(float)
            there = ~np.isnan(values)
            if place == 0 or 0 in limits:
                there &= ~back["high"].isna().to_numpy()
            assert (values >= least)[there].all()
            assert (values <= most)[there].all()


def test_a_lower_column_may_leave_the_range_of_the_upper_one():
    rng = np.random.default_rng(0)
    X = ordered(("cents", "cents"), 200, rng, strict=False)
    codec = ConstrainedCodec(constraints=[Inequality("low", "high")]).fit(X)
    free = shuffled_free(codec, X, 300, rng)
    high, low = codec.constraints_.to_table(free, {1: np.full((2, 300), 90.0)})
    assert set(low.dropna()) == {90.0}
    assert (high[low.notna()].dropna() >= 90.0).all()


@given(seed=seeds)
def test_a_sum_keeps_what_is_asked_for(seed):
    rng = np.random.default_rng(seed)
    X = make_sum("cents", rng)
    codec = ConstrainedCodec(constraints=[Linear(ADD_UP)]).fit(X)
    n = 300
    free = shuffled_free(codec, X, n, rng)
    parts = rng.permuted(X[["a", "b"]].to_numpy().T, axis=1)
    parts = parts[:, rng.integers(0, len(X), n)]
    total = parts.sum(axis=0).round(2)
    exactly = {i: np.stack([v, v]) for i, v in enumerate([*parts, total])}
    loosely = {i: (v + np.array([[-0.1], [0.1]])).round(2) for i, v in exactly.items()}
    for kept in ([2], [0], [0, 1], [0, 2], [0, 1, 2]):
        for limits in (exactly, loosely):
            chosen = {i: limits[i] for i in kept}
            columns = codec.constraints_.to_table(free, chosen)
            back = pd.concat(columns, axis=1, keys=X.columns)
            assert adds_up(back).all()
            for i in kept:
                # One that is not asked for ends where the others leave no room.
                values = back.iloc[:, i].to_numpy()
                assert (values >= limits[i][0] - 1e-9).all() or len(kept) == 1
                assert (values <= limits[i][1] + 1e-9).all() or len(kept) == 1
    columns = codec.constraints_.to_table(free, {2: exactly[2]})
    np.testing.assert_allclose(columns[2], total)


# ------------------------------------------------------------------ no repeats


def test_numbers_move_to_those_that_are_free():
    X = pd.DataFrame({"id": np.arange(100), "x": 0.5})
    codec = ConstrainedCodec(constraints=[Unique("id")]).fit(X)
    rng = np.random.default_rng(0)
    drawn = pd.DataFrame({"id": rng.integers(0, 100, 100), "x": 0.5})
    back = codec.without_repeats(drawn, {}, rng)
    assert sorted(back["id"]) == list(range(100))
    few = pd.DataFrame({"id": [5, 99, 99, 5, 7], "x": 0.5})
    back = codec.without_repeats(few, {}, rng)
    assert back["id"].is_unique
    assert sorted(back["id"]) == [5, 6, 7, 98, 99]
    assert codec.without_repeats(few, {"id"}, rng).equals(few)
    many = pd.DataFrame({"id": np.zeros(300, int), "x": 0.5})
    assert codec.without_repeats(many, {}, rng)["id"].tolist() == list(range(300))


def test_numbers_that_are_fixed_are_not_moved_to():
    X = pd.DataFrame({"id": np.arange(100), "x": 0.5})
    codec = ConstrainedCodec(constraints=[Unique("id")]).fit(X)
    rng = np.random.default_rng(0)
    drawn = pd.DataFrame({"id": [5, 5, 6, 6, 8, 99, 99], "x": 0.5})
    fixed = np.zeros((7, 2), bool)
    fixed[[1, 3, 6], 0] = True
    back = codec.without_repeats(drawn, {}, rng, fixed)["id"]
    assert back.tolist() == [7, 5, 8, 6, 9, 98, 99]
    # There is no room within the range of training: they go on above it.
    full = pd.DataFrame({"id": [*range(100), 5, 7], "x": 0.5})
    fixed = np.repeat(np.arange(102) < 100, 2).reshape(-1, 2)
    back = codec.without_repeats(full, {}, rng, fixed)["id"]
    assert back.is_unique
    assert back[:100].tolist() == list(range(100))


def test_levels_that_are_fixed_stay():
    X = pd.DataFrame({"id": [f"n{i}" for i in range(9)], "x": range(9)})
    codec = ConstrainedCodec(constraints=[Unique("id")]).fit(X)
    rng = np.random.default_rng(0)
    drawn = pd.DataFrame({"id": ["n1", "n1", "n7"], "x": 1})
    fixed = np.array([[False, True], [True, True], [False, True]])
    back = codec.without_repeats(drawn, {}, rng, fixed)["id"]
    assert back[1:].tolist() == ["n1", "n7"]
    assert back.is_unique


def test_which_rows_a_combination_can_complete():
    X = pd.DataFrame({"a": [*"uuv", None], "b": [1, 2, 2, 9]})
    codec = ConstrainedCodec(constraints=[FixedCombinations(["a", "b"])]).fit(X)
    [part] = codec.constraints_.combinations_
    rows = pd.DataFrame(
        {"a": ["u", "v", None, None, None, "v"], "b": [1, 1, 2, 9, None, None]}
    )
    found = part.can_complete([rows["a"], rows["b"]])
    assert found.tolist() == [True, False, True, False, True, True]


def test_open_cells_make_way_for_the_others():
    X = pd.DataFrame({"a": [1, 2, 3], "b": [2, 3, 4], "c": [3, 4, 5]})
    constraints = [Inequality("a", "b", strict=True), Inequality("b", "c")]
    codec = ConstrainedCodec(constraints=constraints).fit(X)
    rows = [[9, 5, 7], [1, 9, 9], [3, 4, -5], [9, 5, 7]]
    columns = [pd.Series(cells) for cells in zip(*rows, strict=True)]
    is_open = np.array([[1, 0, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1]], bool)
    moved = codec.constraints_.orders_.moved(columns, is_open)
    found = pd.concat(moved, axis=1).to_numpy().tolist()
    assert found == [[4, 5, 7], [1, 9, 9], [-6, -5, -5], [9, 10, 10]]


def test_a_gap_is_told_from_one_that_is_counted_from_elsewhere():
    X = pd.DataFrame({"low": [1.0, None, 3, 5], "high": [2.0, 3, 4, 9]})
    codec = ConstrainedCodec(constraints=[Inequality("low", "high")]).fit(X)
    assert codec.layout_.base_masks == ((), (codec.layout_.masks[0],))
    codec = ConstrainedCodec(constraints=[Inequality("low", "high")]).fit(X.dropna())
    assert codec.layout_.base_masks == ()


def test_levels_are_exchanged_for_others():
    X = pd.DataFrame({"id": [f"n{i}" for i in range(50)] + [None], "x": range(51)})
    codec = ConstrainedCodec(constraints=[Unique("id")]).fit(X)
    rng = np.random.default_rng(0)
    drawn = pd.DataFrame({"id": ["n1", "n1", None, None, "n7"], "x": 1})
    back = codec.without_repeats(drawn, {}, rng)["id"]
    assert back.dropna().is_unique
    assert back.isna().tolist() == [False, False, True, True, False]
    assert back[[0, 4]].tolist() == ["n1", "n7"]
    many = pd.DataFrame({"id": ["n1"] * 50 + [None] * 9, "x": 1})
    assert codec.without_repeats(many, {}, rng)["id"].nunique() == 50
    with pytest.raises(ValueError, match="Unique: column 'id' has 50 levels.* 51 rows"):
        codec.without_repeats(many.assign(id=["n1"] * 51 + [None] * 8), {}, rng)


END = 2**63 - 1
NUMBERED = {
    "int8": (pd.Series(range(100), dtype="int8"), 256),
    "uint8": (pd.Series(range(100, 200), dtype="uint8"), 256),
    "negative int8": (pd.Series(range(-120, -20), dtype="int8"), 256),
    "Int8": (pd.Series(range(100), dtype="Int8"), 256),
    "int64": (pd.Series([END - i for i in range(100)]), None),
    "least int64": (pd.Series([i - END for i in range(100)]), None),
    "hash": (pd.Series([i * 2**56 - 2**62 for i in range(100)]), None),
    "float16": (pd.Series(np.arange(100), dtype="float16"), 2**11 + 1),
    "time": (
        pd.Series([datetime.time(i // 60, i % 60) for i in range(100)], dtype=object),
        24 * 60,
    ),
    "date": (
        pd.Series([datetime.date(9999, 12, 31) - i * DAY for i in range(100)]),
        None,
    ),
}


@pytest.mark.parametrize("kind", NUMBERED)
def test_numbers_move_within_their_dtype(kind):
    column, n_values = NUMBERED[kind]
    X = pd.DataFrame({"id": column, "x": 0.5})
    codec = ConstrainedCodec(constraints=[Unique("id")]).fit(X)
    rng = np.random.default_rng(0)
    for n in (250, n_values or 250):
        drawn = X.iloc[np.arange(n) % 100].reset_index(drop=True)
        back = codec.without_repeats(drawn, {}, rng)["id"]
        assert back.dtype == column.dtype
        assert back.is_unique
        assert set(column) <= set(back)
        # They are as near as can be, and have not gone round to the other end.
        if column.dtype != object and kind != "hash":
            assert int(back.max()) - int(back.min()) == n - 1
    if n_values:
        more = pd.concat([drawn, drawn[:1]], ignore_index=True)
        with pytest.raises(ValueError, match=f"column 'id' of dtype.*{n + 1:,} rows"):
            codec.without_repeats(more, {}, rng)


# ------------------------------------------------------------------ errors

DATES = pd.Series(pd.to_datetime(["2020-01-01", "2020-01-03"]))
FRAME = pd.DataFrame(
    {
        "low": [1, 2],
        "high": [1.0, 5.0],
        "date": DATES,
        "zone": DATES.dt.tz_localize("UTC"),
        "month": DATES.dt.to_period("M"),
        "long": DATES - DATES[0],
        "word": ["a", "b"],
        "huge": np.array([2**64 - 1, 5], dtype="uint64"),
        "wide": [-(2**62), 2**62],
        "enormous": [1.7e308, 1.0],
    }
)
BAD = [
    (Inequality("high", "low"), r"1 of 2 training rows breaks Inequality.*at row 1"),
    (Inequality("low", "high", strict=True), r"strict=True\), first at row 0"),
    (Inequality("low", "hihg"), r"'hihg', which is no column.*did you mean 'high'"),
    (Inequality("low", 99), "names 99, which is no column"),
    (Inequality("low", "word"), "'word' is one of categories. Convert it to a number"),
    (Inequality("low", "date"), "same kind of number.*'date' of dtype"),
    (Inequality("date", "zone"), "same kind of number.*time zone"),
    (Inequality("date", "month"), "same kind of number.*periods"),
    (Inequality("date", "long"), "same kind of number"),
    (Inequality("low", "huge"), "'huge'.*too far apart"),
    (Inequality("low", "wide"), "'wide'.*too far apart"),
    (Inequality("low", "enormous"), r"'enormous' goes up to 1.7e\+308.*divide it"),
    (Range("low", 2), r"1 of 2 training rows breaks Range\('low', 2\), first at row 0"),
    (Range("low", None, 1), r"breaks Range\('low', high=1\), first at row 1"),
    (Linear({"low": 1, "high": 1}, 2), r"1 of 2 training rows breaks Linear.*at row 1"),
    (Linear({"low": 1, "date": 1}), "must all be numbers, or durations"),
    (Linear({"date": 1, "long": 1}), "coefficients add up to zero"),
    (Linear({"low": 1, "word": 1}), "'word' is one of categories"),
    (Unique("one"), "'one', which is no column"),
    (Where(lambda X: X["low"]), "must return a flag.*shape.*int64"),
    (Where(lambda X: True), "a flag, True or False, for each of the 2 rows"),
    (
        Where(lambda X: X["low"].astype("Int64").mask(X["low"] < 2) > 0),
        "a missing flag for 1 of 2 rows, first for row 0.*fillna",
    ),
    (Where(lambda X: X["low"] < 2), r"breaks Where\(.*first at row 1"),
    (Range("low", "one"), "'one' cannot be compared with column 'low'"),
    (Range("low", DATES[0]), "cannot be compared with column 'low'.*Timestamp"),
    (Range("low", 3, 2), "low is greater than high"),
    (Range("word", 3), "'word' must hold numbers"),
    (Range("date", "2020-01-02"), "1 of 2 training rows breaks Range"),
    (Range("date", "now and then"), "'now and then' cannot be compared"),
    (Range("zone", high="2020-01-03 00:30+01:00"), "1 of 2 training rows"),
    (Range("long", high="1 day"), "1 of 2 training rows"),
    (Range("month", "2020-02"), "2 of 2 training rows"),
]


@pytest.mark.parametrize(
    ("constraint", "message"), BAD, ids=lambda item: str(item)[:40]
)
def test_errors(constraint, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        ConstrainedCodec(constraints=[constraint]).fit(FRAME)


def test_a_function_may_change_its_table_and_return_nullable_flags():
    def is_low(X):
        X["high"] = 0.0
        return X["low"].astype("Int64") < 3

    X = FRAME.copy()
    codec = ConstrainedCodec(constraints=[Where(is_low)]).fit(X)
    assert_frame_equal(X, FRAME)
    assert not codec.find_broken(X)


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        ([Inequality("low", "high"), Inequality("high", "low")], "circle.*<= "),
        (
            [FixedCombinations(["low", "word"]), Inequality("low", "high")],
            "both name column 'low'",
        ),
        (
            [FixedCombinations(["low", "word"]), FixedCombinations(["date", "word"])],
            "both name column 'word'",
        ),
    ],
)
def test_constraints_that_do_not_go_together(constraints, message):
    with pytest.raises(ValueError, match=message):
        ConstrainedCodec(constraints=constraints).fit(FRAME)


def test_a_number_that_is_read_as_a_category():
    codec = ConstrainedCodec(
        categorical_features=["low"], constraints=[Inequality("low", "high")]
    )
    with pytest.raises(ValueError, match="'low' is one of categories"):
        codec.fit(FRAME)


def test_two_columns_of_one_name():
    X = pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"])
    with pytest.raises(ValueError, match="2 columns of X are called 'a'.*position"):
        ConstrainedCodec(constraints=[Inequality("a", 1)]).fit(X)
    assert ConstrainedCodec(constraints=[Inequality(0, 1)]).fit(X)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Inequality("a", "a"), ValueError, "two columns, got 'a' for both"),
        (lambda: Inequality("a", "b", 1), TypeError, "strict must be True or False"),
        (lambda: Range("a"), ValueError, "needs a bound"),
        (lambda: Range("a", float("nan")), ValueError, "low.*is nan: pass None"),
        (lambda: Range("a", 1, pd.NaT), ValueError, "high.*is NaT: pass None"),
        (lambda: Range("a", pd.NA), ValueError, "low.*is <NA>: pass None"),
        (lambda: Linear(["a", "b"]), TypeError, "must be a dict of columns"),
        (lambda: Linear({"a": 1}), ValueError, "at least two columns"),
        (lambda: Linear({"a": 1, "b": 0}), ValueError, "factors other than 0"),
        (lambda: Linear({"a": 1, "b": np.inf}), ValueError, "finite numbers.*inf"),
        (lambda: Linear({"a": 1, "b": "2"}), ValueError, "finite numbers.*'2'"),
        (lambda: Unique([]), ValueError, "at least one column"),
        (lambda: Where("a < 3"), TypeError, "needs a function"),
        (lambda: FixedCombinations(["a"]), ValueError, "at least two columns"),
        (lambda: FixedCombinations("ab"), TypeError, "a list of columns, got 'ab'"),
        (lambda: FixedCombinations(["a", "a"]), ValueError, "names a column twice"),
    ],
)
def test_records_refuse_what_they_cannot_mean(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_records_are_values():
    assert Inequality("a", "b") == Inequality("a", "b") != Inequality("a", "b", True)
    assert hash(FixedCombinations(["a", "b"])) == hash(FixedCombinations(("a", "b")))
    assert repr(Range("a", high=2)) == "Range('a', high=2)"
