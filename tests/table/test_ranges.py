"""Ranges of numbers and dates: encoded so that decoded values are inside, exactly."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr

from sklearn_unsup._table.codec import TableCodec
from sklearn_unsup._table.ranges import limits, read_bound, read_range

RNG = np.random.default_rng(0)
DAYS = pd.Timestamp("2020-01-01") + pd.to_timedelta(RNG.integers(0, 700, 300), "D")
COLUMNS = {
    "floats": pd.Series(RNG.normal(size=300)),
    "few floats": pd.Series(RNG.choice([0.1, 0.2, 0.7, 0.9], 300)),
    "decimals": pd.Series(RNG.normal(size=300).round(2)),
    "spiked": pd.Series(
        np.where(RNG.random(300) < 0.5, 0.0, RNG.exponential(size=300))
    ),
    "float32": pd.Series(RNG.normal(size=300)).astype("float32"),
    "integers": pd.Series(RNG.poisson(20, 300)),
    "uint8": pd.Series(RNG.integers(0, 256, 300), dtype="uint8"),
    "huge": pd.Series(RNG.integers(0, 2**62, 300) + 2**62),
    "extreme": pd.Series(RNG.normal(size=300) * 1e300),
    "Int64": pd.Series(RNG.poisson(20, 300), dtype="Int64").mask(RNG.random(300) < 0.2),
    "days": pd.Series(DAYS),
    "moments": pd.Series(DAYS + pd.to_timedelta(RNG.integers(0, 10**9, 300), "us")),
    "zone": pd.Series(DAYS).dt.tz_localize("Europe/Rome"),
    "durations": pd.Series(pd.to_timedelta(RNG.exponential(1e5, 300), "s")),
    "periods": pd.Series(pd.PeriodIndex(DAYS, freq="M")),
    "dates": pd.Series([day.date() for day in DAYS], dtype=object),
    "times": pd.Series(
        [datetime.time(int(h), 30) for h in RNG.integers(0, 24, 300)], dtype=object
    ),
    "Decimal": pd.Series(
        [Decimal(int(cents)) / 100 for cents in RNG.integers(0, 9_999, 300)],
        dtype=object,
    ),
}


def inside(column, low, high):
    column = column.dropna()
    return all(low <= cell <= high for cell in column)


@pytest.mark.parametrize("scaling", ["quantile", "standard", "minmax", None])
@pytest.mark.parametrize("name", COLUMNS)
def test_values_are_inside_to_the_last_digit(name, scaling):
    """Whatever number is drawn within the encoded bounds, or even beyond them."""
    column = COLUMNS[name]
    codec = TableCodec(scaling).fit(pd.DataFrame({"x": column}))
    if name == "huge" and scaling is None:
        return  # nets refuse them
    values = np.sort(column.dropna().to_numpy(), kind="stable")
    ends = [
        (values[60], values[200]),
        (values[10], values[10]),
        (values[0], values[-1]),
    ]
    for low, high in ends:
        conditions = codec.encode_conditions({"x": (low, high)}, 200)
        [bounds] = conditions.encoded.bounds.values()
        assert (bounds[:, 0] <= bounds[:, 1]).all()
        z = np.clip(RNG.normal(size=200), *bounds[0])
        x_cat = np.zeros((200, codec.layout_.n_categorical), np.int64)
        for x_num in (z, RNG.normal(size=200)):
            x_num = x_num.astype(np.float32)[:, None]
            back = codec.decode(x_num, x_cat, requests=conditions.requests)["x"]
            assert back.dtype == column.dtype
            assert inside(back, low, high)
        exact = codec.encode_conditions({"x": low}, 200)
        back = codec.decode(x_num, x_cat, requests=exact.requests)["x"]
        assert (back == low).all()


@pytest.mark.parametrize(
    "name", ["floats", "few floats", "spiked", "integers", "decimals", "days"]
)
def test_encoded_bounds_hold_the_rows_of_the_range(name):
    """The normal mass between them is the share of training rows in the range."""
    column = COLUMNS[name]
    codec = TableCodec().fit(pd.DataFrame({"x": column}))
    values = np.sort(column.to_numpy())
    for first, last in [(60, 200), (0, 100), (150, 299), (0, 299)]:
        low, high = values[first], values[last]
        conditions = codec.encode_conditions({"x": (low, high)}, 1)
        [bounds] = conditions.encoded.bounds[0]
        share = column.between(low, high).mean()
        assert ndtr(bounds[1]) - ndtr(bounds[0]) == pytest.approx(share, abs=1.1 / 300)
        assert np.exp(conditions.log_share[0]) == pytest.approx(share, abs=1.1 / 300)
    # the numbers of training inside of the range, and no others, are within the bounds
    x_num, _ = codec.encode(pd.DataFrame({"x": column}), np.random.default_rng(1))
    low, high = values[60], values[200]
    [bounds] = codec.encode_conditions({"x": (low, high)}, 1).encoded.bounds[0]
    within = (x_num[:, 0] >= bounds[0]) & (x_num[:, 0] <= bounds[1])
    np.testing.assert_array_equal(within, column.between(low, high))


def test_a_range_without_rows():
    """The nearest value stands for it while drawing, and the rows are in the range."""
    table = pd.DataFrame({"few": [1, 2, 7, 8] * 20, "floats": np.linspace(0, 1, 80)})
    codec = TableCodec().fit(table)
    cases = [("few", (3, 4), 3), ("few", (5, 6), 6), ("few", (20, None), 20)]
    cases += [("floats", (2.0, 3.0), 2.0), ("floats", (None, -1.0), -1.0)]
    for name, asked, expected in cases:
        conditions = codec.encode_conditions({name: asked}, 2)
        assert conditions.unseen == {name: 2}
        place = list(table).index(name)
        bounds = conditions.encoded.bounds[place]
        assert np.isfinite(bounds).all()
        x_num = np.zeros((2, 2), np.float32)
        x_num[:, place] = bounds.mean(1)
        back = codec.decode(x_num, np.zeros((2, 0), int), None, conditions.requests)
        assert back[name].tolist() == [expected] * 2


def column_codec(column):
    return TableCodec().fit(pd.DataFrame({"x": column})).columns_codec_[0]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("integers", 20.5, "dtype int64, which cannot hold 20.5"),
        ("uint8", 300, "dtype uint8, which cannot hold 300"),
        ("uint8", -1, "cannot hold -1"),
        ("integers", "20", "holds numbers; cannot read '20' as one .it is text"),
        ("days", 20, "holds dates; cannot read 20 as one .it is a number"),
        ("days", "someday", "holds dates; cannot read 'someday'"),
        ("days", pd.Timestamp("2020-02-01", tz="UTC"), "the column has no time zone"),
        ("durations", "a while", "holds durations; cannot read"),
        ("periods", pd.Period("2020", freq="Y"), "of frequency 'M'; .*frequency is 'Y"),
        ("floats", 1j, "holds numbers; cannot read"),
    ],
)
def test_values_that_a_column_cannot_have(name, value, message):
    codec = TableCodec().fit(pd.DataFrame({"x": COLUMNS[name]}))
    with pytest.raises(ValueError, match=message):
        codec.encode_conditions({"x": value}, 2)


def test_a_range_without_a_value_of_the_dtype():
    codec = TableCodec().fit(pd.DataFrame({"x": COLUMNS["integers"]}))
    with pytest.raises(ValueError, match=r"can have no value in \(20.2, 20.8\)"):
        codec.encode_conditions({"x": (20.2, 20.8)}, 2)


@pytest.mark.parametrize(
    ("name", "asked", "message"),
    [
        ("floats", (None, -np.inf), r"can have no value in \(None, -inf\)"),
        ("floats", (np.inf, np.inf), "can have no value"),
        ("float32", (1e39, None), "can have no value"),
        ("float32", 1e39, "dtype float32, which cannot hold"),
        ("integers", (np.inf, None), "can have no value"),
        ("integers", np.inf, "takes finite numbers"),
        ("integers", (np.nan, 5), "'x' is asked for a range with a missing end"),
        ("floats", (pd.NA, 5), "missing end"),
        ("floats", (Decimal("sNaN"), 5), "missing end"),
        ("days", (pd.NaT, "2020-02-01"), "missing end, .*Pass None for no limit"),
        ("days", (None, np.inf), "'x' holds dates; cannot read inf"),
        ("integers", (pd.Timestamp(0), 5), "'x' holds numbers; cannot read"),
        ("times", ("25:00:00", None), "can have no value"),
    ],
)
def test_ends_that_no_value_can_have(name, asked, message):
    codec = TableCodec().fit(pd.DataFrame({"x": COLUMNS[name]}))
    with pytest.raises(ValueError, match=message):
        codec.encode_conditions({"x": asked}, 2)


@pytest.mark.parametrize("name", ["floats", "float32", "integers", "Int64"])
def test_infinite_ends_are_open(name):
    codec = TableCodec().fit(pd.DataFrame({"x": COLUMNS[name]}))
    for asked, same in [((1, np.inf), (1, None)), ((-np.inf, 1), (None, 1))]:
        found, expected = (
            codec.encode_conditions({"x": ends}, 2).requests[0]
            for ends in (asked, same)
        )
        np.testing.assert_array_equal(found.low, expected.low)
        np.testing.assert_array_equal(found.high, expected.high)


def test_ends_are_rounded_into_the_range():
    codec = column_codec(COLUMNS["integers"])
    assert read_bound(codec, 20.5, "low") == 21
    assert read_bound(codec, 20.5, "high") == 20
    codec = column_codec(COLUMNS["float32"])
    assert np.float32(read_bound(codec, 0.1, "high")) <= 0.1
    assert read_bound(codec, 0.1, "low") >= 0.1
    # Older versions of pandas would count nanoseconds.
    codec = column_codec(pd.Series(COLUMNS["days"]).astype("datetime64[s]"))
    noon, unit = pd.Timestamp("2020-03-01 00:00:00.0000005"), codec.time_unit_
    before = pd.DatetimeIndex(["2020-03-01"]).as_unit(unit).asi8[0]
    assert read_bound(codec, noon, "high") == before
    assert read_bound(codec, noon, "low") == before + 1


def test_numbers_are_drawn_at_the_resolution_of_the_column():
    table = pd.DataFrame({"x": COLUMNS["decimals"]})
    codec = TableCodec().fit(table)
    conditions = codec.encode_conditions({"x": (0.123, 0.456)}, 2)
    x_num = np.array([[-5.0], [5.0]], np.float32)
    back = codec.decode(x_num, np.zeros((2, 0), int), None, conditions.requests)
    assert back["x"].tolist() == [0.13, 0.45]
    # but a range between two rounded values is met all the same
    conditions = codec.encode_conditions({"x": (0.123, 0.127)}, 2)
    back = codec.decode(x_num, np.zeros((2, 0), int), None, conditions.requests)
    assert back["x"].between(0.123, 0.127).all()


def test_times_without_a_zone_are_those_of_the_column():
    codec = column_codec(COLUMNS["zone"])
    aware = pd.Timestamp("2020-06-01", tz="Europe/Rome")
    assert read_bound(codec, "2020-06-01", "low") == read_bound(codec, aware, "low")
    utc = pd.Timestamp("2020-05-31 22:00", tz="UTC")
    assert read_bound(codec, utc, "low") == read_bound(codec, aware, "low")


def test_constant_columns_have_what_is_asked():
    table = pd.DataFrame(
        {"same": 3, "gaps": [2.0, np.nan] * 5, "never": np.nan, "x": np.arange(10.0)}
    )
    codec = TableCodec().fit(table)
    x_num, x_cat = codec.encode(table)
    for asked, unseen in [
        ({"same": 3, "gaps": (1, 2), "never": None}, {}),
        ({"same": (4, 5), "gaps": 7.0}, {"same": 10, "gaps": 10}),
    ]:
        conditions = codec.encode_conditions(asked, 10)
        assert conditions.unseen == unseen
        x_cat[:, codec.mask_of_[1]] = conditions.encoded.codes[codec.mask_of_[1]]
        back = codec.decode(x_num, x_cat, None, conditions.requests)
        assert back["same"].tolist() == [4 if unseen else 3] * 10
        assert back["gaps"].tolist() == [7.0 if unseen else 2.0] * 10
    with pytest.raises(ValueError, match="'never' was all missing when fitted"):
        codec.encode_conditions({"never": 1.0}, 10)


@pytest.mark.parametrize("name", ["days", "moments", "zone", "periods", "dates"])
@pytest.mark.parametrize(
    "text", ["2020", "2020Q2", "2020-02", "May 2020", "2020-02-03"]
)
@pytest.mark.parametrize("scaling", ["quantile", "standard"])
def test_a_text_names_a_span_of_time(name, text, scaling):
    """Drawn rows are those that pandas selects by the same text."""
    if name == "periods" and text == "2020-02-03":
        text = "2020-02"
    codec = TableCodec(scaling).fit(pd.DataFrame({"x": COLUMNS[name]}))
    for asked in text, (text, text):
        conditions = codec.encode_conditions({"x": asked}, 50)
        [bounds] = conditions.encoded.bounds[0][:1]
        x_num = np.linspace(*bounds.clip(-5, 5), 50, dtype=np.float32)[:, None]
        back = codec.decode(x_num, np.zeros((50, 0), int), None, conditions.requests)
        index = pd.DatetimeIndex(back["x"]) if name == "dates" else pd.Index(back["x"])
        span = pd.Period(text)
        days = index.tz_localize(None) if name == "zone" else index
        days = days.asfreq("D") if name == "periods" else days.to_period("D")
        assert (days.asfreq(span.freq) == span).all()
        is_month = text in ("2020-02", "May 2020")
        is_single = len(text) == 10 or (name == "periods" and is_month)
        assert (index.nunique() == 1) == (is_single and name != "moments")


@pytest.mark.parametrize(
    ("name", "asked", "ends"),
    [
        ("moments", "2020-02-03", ("2020-02-03", "2020-02-03 23:59:59.999999")),
        (
            "moments",
            "2020-02-03 10:20",
            ("2020-02-03 10:20", "2020-02-03 10:20:59.999999"),
        ),
        ("moments", "2020-02-03 10:20:00.5", ["2020-02-03 10:20:00.5"] * 2),
        ("moments", pd.Timestamp("2020-02-03"), ["2020-02-03"] * 2),
        (
            "days",
            (pd.Timestamp("2020-02-03 06:00"), "2020-02"),
            ("2020-02-04", "2020-02-29"),
        ),
    ],
)
def test_ends_of_dates(name, asked, ends):
    """Moments are meant exactly, and ranges end with days where a column has days."""
    codec = column_codec(COLUMNS[name])
    moments = np.array(ends, f"M8[{codec.time_unit_}]")
    assert (
        list(read_range(codec, asked, *limits(codec))) == moments.astype(int).tolist()
    )


HOURS = pd.date_range("2018-01-01", "2018-12-31", freq="h", tz="UTC").to_series()


@pytest.mark.parametrize("zone", ["America/Sao_Paulo", "America/Havana", "Asia/Tokyo"])
@pytest.mark.parametrize(
    "day", ["2018-02-17", "2018-11-03", "2018-11-04", "2018-03-11"]
)
@pytest.mark.parametrize("has_hours", [False, True])
def test_days_with_changes_of_clocks_at_midnight(zone, day, has_hours):
    """They begin at 1 o'clock, or at the first of two midnights."""
    moments = HOURS.dt.tz_convert(zone)
    clocks = moments.dt.tz_localize(None)
    if not has_hours:
        moments = moments[~clocks.dt.floor("D").duplicated()].iloc[1:]
        clocks = moments.dt.tz_localize(None)
    codec = column_codec(moments.reset_index(drop=True))
    low, high = read_range(codec, day, *limits(codec))
    ticks = moments.dt.as_unit(codec.time_unit_).astype("int64")
    inside = (ticks >= low) & (ticks <= high)
    assert inside.sum() in ((23, 24, 25) if has_hours else (1,))
    np.testing.assert_array_equal(inside, clocks.dt.strftime("%Y-%m-%d") == day)


@pytest.mark.parametrize("asked", ["2262", (None, "2262"), ("2262", None)])
def test_a_span_that_a_unit_can_only_begin(asked):
    codec = column_codec(COLUMNS["days"].dt.as_unit("ns"))
    low, high = read_range(codec, asked, *limits(codec))
    assert low == (
        limits(codec)[0] if asked == (None, "2262") else pd.Timestamp("2262").value
    )
    assert high > pd.Timestamp("2262-04-11").value


@pytest.mark.parametrize("name", ["days", "moments", "zone", "periods", "dates"])
@pytest.mark.parametrize("asked", ["NaT", ("NaT", "2021"), ("2020", "")])
def test_texts_that_are_missing_are_no_ends(name, asked):
    codec = TableCodec().fit(pd.DataFrame({"x": COLUMNS[name]}))
    with pytest.raises(ValueError, match="as one .it is missing; pass None"):
        codec.encode_conditions({"x": asked}, 2)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("decimals", 0.123),
        ("decimals", (0.121, 0.129)),
        ("days", pd.Timestamp("2020-02-03 06:00")),
    ],
)
@pytest.mark.parametrize("scaling", ["quantile", "standard"])
def test_values_between_those_of_the_column(name, asked, scaling):
    """No training row has more decimals, or another time of the day."""
    column = COLUMNS[name]
    codec = TableCodec(scaling).fit(pd.DataFrame({"x": column}))
    assert codec.encode_conditions({"x": asked}, 2).unseen == {"x": 2}
    for value in column[:50]:
        assert codec.encode_conditions({"x": value}, 2).unseen == {}
