"""find_constraints: what holds in every row, and how unlikely that is by chance."""

import datetime

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from sklearn_unsup._table.constrained import ConstrainedCodec
from sklearn_unsup.constraints import (
    FixedCombinations,
    Inequality,
    Linear,
    Range,
    find_constraints,
)


def known_table(n=500, random_state=0):
    rng = np.random.default_rng(random_state)
    place = rng.integers(0, 12, n)
    start = pd.Timestamp("2020") + pd.to_timedelta(rng.integers(0, 900, n), "D")
    X = pd.DataFrame(
        {
            "city": np.array([f"city {i}" for i in range(12)])[place],
            "a": rng.integers(0, 50, n),
            "b": rng.normal(size=n).round(3),
            "end": start + pd.to_timedelta(rng.integers(1, 40, n), "D"),
            "country": pd.Categorical.from_codes(place // 3, list("wxyz")),
            "one": 7,
            "start": start,
            "noise": rng.integers(0, 900, n),
        }
    )
    X["total"] = X["a"] + 2 * X["b"]
    X["rest"] = 100 - X["a"]
    X.loc[rng.random(n) < 0.1, "start"] = pd.NaT
    return X


def test_what_was_built_into_a_table_is_found():
    found = find_constraints(known_table())
    assert set(found["constraint"]) == {
        Range("one", 7, 7),
        FixedCombinations(["city", "country"]),
        Inequality("start", "end", strict=True),
        Linear({"a": 1, "b": 2, "total": -1}),
        Linear({"a": 1, "rest": 1}, 100),
    }
    assert found["surprise"].is_monotonic_decreasing
    assert found["surprise"].iloc[0] == np.inf
    # The two sums share a column: only the more surprising one can be given.
    sums = [isinstance(c, Linear) for c in found["constraint"]]
    assert found["compatible"].tolist() == [
        not is_sum or i == sums.index(True) for i, is_sum in enumerate(sums)
    ]


def test_what_one_row_breaks_is_not_found():
    X = known_table(3_000)
    X.loc[2_900, "a"] += 1
    X.loc[2_903, "b"] += 1
    X.loc[2_901, "end"] = pd.Timestamp("2019")
    X.loc[2_902, "country"] = "z" if X.loc[2_902, "country"] != "z" else "w"
    X.loc[2_901, "start"] = pd.Timestamp("2020")
    assert find_constraints(X)["constraint"].tolist() == [Range("one", 7, 7)]


@pytest.mark.parametrize("seed", range(5))
def test_columns_that_have_nothing_to_do_with_each_other(seed):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(
        {
            "rare": rng.random(300) < 0.01,
            "few": rng.integers(0, 3, 300),
            "key": np.arange(300).astype(str),
            "low": rng.normal(size=300),
            "high": rng.normal(5.5, 1, size=300),
            "higher": rng.normal(50, 1, size=300),
        }
    )
    assert len(find_constraints(X)) == 0


def test_surprise_is_a_probability():
    """Of an order and of a dependence, by drawing the other column at random."""
    rng = np.random.default_rng(0)
    low = rng.integers(0, 4, 90)
    X = pd.DataFrame({"low": low, "high": low + rng.integers(0, 3, 90)})
    [surprise] = find_constraints(X)["surprise"]
    pairs = X["low"].to_numpy()[:, None] <= X["high"].to_numpy()
    assert_allclose(surprise, -90 * np.log10(pairs.mean()))
    place = rng.integers(0, 4, 40)
    X = pd.DataFrame({"a": place.astype(str), "b": (place // 2).astype(str)})
    [surprise] = find_constraints(X)["surprise"]
    equal = np.square(X["b"].value_counts(normalize=True)).sum()
    assert_allclose(surprise, -(40 - 4) * np.log10(equal))


def test_an_order_follows_from_two_others():
    values = np.sort(np.random.default_rng(0).normal(size=(200, 3)), axis=1)
    found = find_constraints(values)["constraint"].tolist()
    assert sorted(found, key=repr) == [Inequality(0, 1), Inequality(1, 2)]


def test_equal_columns_are_no_order():
    a = np.random.default_rng(0).integers(0, 9, 100)
    found = find_constraints(pd.DataFrame({"a": a, "b": a}))["constraint"]
    assert found.tolist() == [Linear({"a": 1, "b": -1})]


@pytest.mark.parametrize("columns", [[3, 2, 1], [0.5, 1.0, 2.0], [np.nan, 0.0, 1.0]])
def test_names_of_any_kind_can_be_passed_on(columns):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(np.sort(rng.integers(0, 99, (200, 3)), axis=1), columns=columns)
    found = find_constraints(X)["constraint"].tolist()
    assert len(found) == 2
    assert ConstrainedCodec(constraints=found).fit(X).constraints_.positions_ in (
        [[0, 1], [1, 2]],
        [[1, 2], [0, 1]],
    )


def test_columns_that_lie_too_far_away_are_left_out():
    rng = np.random.default_rng(0)
    low = rng.integers(0, 99, 200)
    day = pd.Series(pd.Timestamp("2020") + pd.to_timedelta(low, "D")).astype("M8[ns]")
    X = pd.DataFrame(
        {
            "hash": rng.integers(-(2**63), 2**63 - 1, 200),
            "low": low,
            "high": low + rng.integers(0, 9, 200),
            "ever": np.array(["0001-01-01", "9999-12-31"] * 100, dtype="M8[s]"),
            "from": day,
            "to": day + pd.to_timedelta(rng.integers(0, 9, 200), "D"),
        }
    )
    found = find_constraints(X)["constraint"].tolist()
    assert set(found) == {Inequality("low", "high"), Inequality("from", "to")}


def test_huge_floats_add_up():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(200, 3)) * [1e300, 1e300, 1.0], columns=[*"abc"])
    X["total"] = X["a"] + X["b"]
    assert find_constraints(X)["constraint"].tolist() == [
        Linear({"a": 1, "b": 1, "total": -1})
    ]
    # An estimator takes none of columns whose differences are too large for floats.
    ends = pd.DataFrame({"low": -1.7e308 * rng.random(200), "high": 1.7e308})
    assert len(find_constraints(ends)) == 0


def test_a_constant_time_of_day():
    X = pd.DataFrame({"t": [datetime.time(9, 30)] * 9, "x": range(9)})
    [constraint] = find_constraints(X)["constraint"]
    assert constraint == Range("t", datetime.time(9, 30), datetime.time(9, 30))
    codec = ConstrainedCodec(constraints=[constraint]).fit(X)
    assert codec.find_broken(X.assign(t=datetime.time(9, 31)))
