"""The measures against scipy, brute force and tables made by hand."""

import re
from contextlib import contextmanager
from html.parser import HTMLParser
from itertools import combinations
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.utils import Bunch

from sklearn_unsup import VAETransformer
from sklearn_unsup.datasets import make_mixed_table
from sklearn_unsup.metrics import (
    SynthesisReport,
    _c2st,
    c2st_score,
    closest_record_scores,
    shape_score,
    synthesis_report,
    trend_score,
    utility_scores,
)
from sklearn_unsup.metrics._c2st import fill_sparse_columns
from sklearn_unsup.metrics._closest import closeness
from sklearn_unsup.metrics._column_signs import chance_of_none
from sklearn_unsup.metrics._frames import encode_tables
from sklearn_unsup.metrics._membership import say_membership
from sklearn_unsup.metrics._report import verdict_on
from sklearn_unsup.metrics._signs import find_signs, near_copies

ALPHA = 1e-6  # chance that a correct measure would fail one comparison
Z = stats.norm.isf(ALPHA / 2)


@contextmanager
def fewer_trees():
    """The fixture `few_trees`, for other fixtures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_c2st, "N_TREES", 20)
        yield


def independent_columns(table, seed):
    """Each column resampled by itself."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(len(table), size=(table.shape[1], len(table)))
    return pd.DataFrame(
        {k: table[k].iloc[row].array for k, row in zip(table, rows, strict=True)}
    )


def bootstrap(table, seed):
    return table.sample(len(table), replace=True, random_state=seed)


# ------------------------------------------------------------------------ shape


@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_shape_of_numbers_is_kolmogorov_smirnov(decimals):
    rng = np.random.default_rng(decimals)
    real = rng.normal(size=(80, 3)).round(decimals)
    synthetic = rng.normal(0.3, 1.5, size=(130, 3)).round(decimals)
    expected = [
        1 - stats.ks_2samp(a, b).statistic
        for a, b in zip(real.T, synthetic.T, strict=True)
    ]
    assert shape_score(real, synthetic) == pytest.approx(np.mean(expected))


@pytest.mark.parametrize("dtype", ["category", "string", object])
def test_shape_of_categories_is_total_variation(dtype):
    # frequencies .5 .25 .25 0 against .25 .25 0 .5
    real = pd.DataFrame({"x": pd.Series(list("aabc"), dtype=dtype)})
    synthetic = pd.DataFrame({"x": pd.Series(list("abdd"), dtype=dtype)})
    assert shape_score(real, synthetic) == pytest.approx(0.5)


def test_shape_of_flags_is_total_variation():
    # as numbers the distance would be the same; False and missing would not be apart
    real = pd.DataFrame({"x": pd.array([True, False, None, None], dtype="boolean")})
    synthetic = pd.DataFrame({"x": pd.array([True, True, True, None], dtype="boolean")})
    assert shape_score(real, synthetic) == pytest.approx(0.5)


def test_a_missing_number_is_larger_than_all_others():
    real = np.array([1.0, 2.0, 3.0, np.nan])[:, None]
    assert shape_score(real, real) == 1.0
    assert shape_score(real, np.array([1.0, 2.0, np.nan, np.nan])[:, None]) == 0.75
    with_largest = np.where(np.isnan(real), 9.0, real)
    assert shape_score(real, with_largest) == 0.75


@pytest.mark.parametrize("zone", [None, "Asia/Tokyo"])
def test_dates_and_durations_are_numbers(zone):
    days = np.array([0.0, 3.0, 9.0, np.nan]), np.array([3.0, 4.0, 4.5, 9.0])
    start = pd.Timestamp("2024-02-28", tz=zone)
    numbers = [pd.DataFrame({"x": d}) for d in days]
    durations = [pd.DataFrame({"x": pd.to_timedelta(d, unit="D")}) for d in days]
    dates = [start + d for d in durations]
    expected = shape_score(*numbers)
    assert expected not in (0.0, 1.0)
    assert shape_score(*durations) == expected
    assert shape_score(*dates) == expected
    assert shape_score(*(d.astype(object) for d in dates)) == expected


def test_shape_is_the_mean_of_the_columns(mixed_table):
    other = independent_columns(mixed_table, 0)
    single = [shape_score(mixed_table[[k]], other[[k]]) for k in mixed_table]
    assert len(set(single)) > 5
    assert shape_score(mixed_table, other) == pytest.approx(np.mean(single))


# ------------------------------------------------------------------------ trend


def test_trend_of_numbers_compares_correlations():
    rng = np.random.default_rng(0)
    tables = []
    for slope in (1.0, -0.5):
        x, noise = rng.normal(size=(2, 60))
        table = pd.DataFrame({"x": x, "y": slope * x + noise, "z": rng.normal(size=60)})
        table.loc[rng.random(60) < 0.2, "x"] = np.nan
        tables.append(table)
    expected = []
    for pair in combinations("xyz", 2):
        first, second = (
            stats.pearsonr(*table[list(pair)].dropna().to_numpy().T).statistic
            for table in tables
        )
        expected.append(1 - abs(first - second) / 2)
    assert trend_score(*tables) == pytest.approx(np.mean(expected))


def test_trend_of_categories_compares_two_way_tables():
    real = pd.DataFrame({"x": list("aabb"), "y": pd.Categorical(list("cdcd"))})
    # the marginals are equal, and half of the rows would have to move
    synthetic = pd.DataFrame({"x": list("aabb"), "y": pd.Categorical(list("ccdd"))})
    assert shape_score(real, synthetic) == 1.0
    assert trend_score(real, synthetic) == pytest.approx(0.5)


@pytest.mark.parametrize("values", [["c", "d", "c", "d"], [0.0, 1.0, 0.0, 1.0]])
def test_a_missing_value_is_a_level_of_a_two_way_table(values):
    real = pd.DataFrame({"x": list("aabb"), "y": values})
    for value in values[:2]:
        holes = real.assign(y=real["y"].where(real["y"] != value))
        assert trend_score(real, holes) == pytest.approx(0.5)
        assert trend_score(holes, holes) == 1.0


def test_trend_of_mixed_pairs_cuts_numbers_over_the_real_range():
    rng = np.random.default_rng(0)
    tables = []
    for shift, n in ((0.0, 200), (0.5, 300)):
        kind = rng.integers(3, size=n)
        number = kind * shift + rng.normal(size=n)
        number[:20] = np.nan
        tables.append(pd.DataFrame({"x": number, "kind": kind}).astype({"kind": str}))
    edges = np.linspace(tables[0]["x"].min(), tables[0]["x"].max(), 11)
    edges[[0, -1]] = -np.inf, np.inf  # what lies beyond belongs to the outer bins
    assert tables[1]["x"].max() > tables[0]["x"].max()
    shares = []
    for table in tables:
        bins = pd.cut(table["x"], edges, right=False).cat.codes  # -1 where missing
        shares.append(pd.crosstab(bins, table["kind"], normalize=True).stack())
    expected = 1 - shares[0].sub(shares[1], fill_value=0).abs().sum() / 2
    assert expected < 0.9
    assert trend_score(*tables) == pytest.approx(expected)
    # the range is that of the first table
    assert trend_score(*tables[::-1]) != pytest.approx(expected, abs=1e-3)


def test_trend_of_undefined_correlations():
    varied = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": [0.1, 0.1, 0.2]})
    constant = varied.assign(y=0.1)
    assert trend_score(varied, constant) == 0.0
    assert trend_score(constant, varied) == 0.0
    assert trend_score(constant, constant) == 1.0


def test_trend_is_the_mean_over_all_pairs(mixed_table):
    other = independent_columns(mixed_table, 0)
    single = [
        trend_score(mixed_table[list(pair)], other[list(pair)])
        for pair in combinations(mixed_table, 2)
    ]
    assert trend_score(mixed_table, other) == pytest.approx(np.mean(single))


# ------------------------------------------------------------------- two samples


def test_two_samples_of_one_distribution():
    n, m = 600, 400
    real, synthetic = (make_mixed_table(k, random_state=k)[0] for k in (n, m))
    score = c2st_score(real, synthetic, random_state=0)
    # standard deviation of the Mann-Whitney statistic; the folds share rows, so that
    # their scores are not independent, for which the bound is twice as wide
    assert abs(score - 0.5) < 2 * Z * np.sqrt((n + m + 1) / (12 * n * m))


@pytest.mark.usefixtures("few_trees")
def test_two_samples_that_differ():
    real, _ = make_mixed_table(300, random_state=0)
    apart = real.assign(visits=real["visits"] + 1_000)
    assert c2st_score(real, apart, random_state=0) == 1.0
    renamed = real.assign(plan=real["plan"].astype(str) + "!")
    assert c2st_score(real, renamed, random_state=0) > 0.98
    no_holes = real.assign(height=real["height"].where(real["height"].isna(), 1.0))
    holes = real.assign(
        height=real["height"].where(real["height"].notna(), 1.0) * np.nan
    )
    assert c2st_score(no_holes, holes, random_state=0) > 0.9
    # equal columns, other dependence
    loose = independent_columns(real, 0)
    assert c2st_score(real, loose, random_state=0) > 0.85


@pytest.mark.usefixtures("few_trees")
def test_two_samples_that_are_copies():
    real, _ = make_mixed_table(300, random_state=0)
    assert c2st_score(real, bootstrap(real, 0), random_state=0) < 0.35


@pytest.mark.usefixtures("few_trees")
def test_c2st_score_repeats_itself():
    real, synthetic = np.random.default_rng(0).normal(size=(2, 100, 2))
    scores = [c2st_score(real, synthetic, random_state=s) for s in (0, 0, 1)]
    assert scores[0] == scores[1] != scores[2]


# ----------------------------------------------------------------------- utility


def relation(n, seed, levels=2):
    """Two numbers, a class that depends on the first, a number on both."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    cuts = np.linspace(-1, 1, levels + 1)[1:-1]
    label = cuts.searchsorted(x[:, 0] + 0.5 * rng.normal(size=n))
    table = pd.DataFrame(x, columns=["a", "b"]).assign(label=label)
    table["size"] = x @ [1.0, 2.0] + 0.5 * rng.normal(size=n)
    return table.astype({"label": "category"})


@pytest.mark.parametrize("levels", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_utility_for_a_class(levels):
    train, test = (relation(300, seed, levels) for seed in (0, 1))
    scores = utility_scores(train, test, train, "label", random_state=0)
    assert scores.tstr == scores.trtr
    X, X_test = (t[["a", "b", "size"]].to_numpy() for t in (train, test))
    model = HistGradientBoostingClassifier().fit(X, train["label"])
    proba = model.predict_proba(X_test)
    one_hot = test["label"].to_numpy()[:, None] == model.classes_
    expected = np.mean(
        [roc_auc_score(one_hot[:, k], proba[:, k]) for k in range(levels)]
    )
    assert scores.trtr == pytest.approx(expected, abs=1e-6)
    # what the synthetic rows have wrong, the model has wrong
    wrong = train.assign(
        label=train["label"].cat.rename_categories(list(range(levels))[::-1])
    )
    assert utility_scores(train, test, wrong, "label", random_state=0).tstr < 0.4


def test_utility_for_a_number():
    train, test = (relation(300, seed) for seed in (0, 1))
    train["label"], test["label"] = (
        train["label"].astype(int),
        test["label"].astype(int),
    )
    opposite = train.assign(size=-train["size"])
    scores = utility_scores(train, test, opposite, "size", random_state=0)
    X, X_test = (t[["a", "b", "label"]].to_numpy() for t in (train, test))
    model = HistGradientBoostingRegressor().fit(X, train["size"])
    assert scores.trtr == pytest.approx(r2_score(test["size"], model.predict(X_test)))
    assert scores.trtr > 0.7
    assert scores.tstr < -1


def test_utility_leaves_out_rows_without_the_number():
    train, test = (relation(200, seed) for seed in (0, 1))
    holes = [
        t.assign(size=t["size"].mask(np.arange(200) % 2 == 0)) for t in (train, test)
    ]
    halves = [t[1::2] for t in (train, test)]
    with_holes, without = (
        utility_scores(*tables, tables[0], "size", random_state=0)
        for tables in (holes, halves)
    )
    assert with_holes.trtr == pytest.approx(without.trtr)


@pytest.mark.usefixtures("few_trees")
def test_utility_where_levels_are_rare_or_lacking():
    train, test = (relation(400, seed, 3) for seed in (0, 1))
    # one level only: nothing to learn
    single = train.assign(label=pd.Categorical([1] * 400, [0, 1, 2]))
    assert utility_scores(train, test, single, "label").tstr == 0.5
    # a level that is never drawn is never predicted, and counts .5
    two = train[train["label"] != 2]
    proba_of_two = utility_scores(train, test, two, "label", random_state=0).tstr
    X, X_test = (t[["a", "b", "size"]].to_numpy() for t in (two, test))
    model = HistGradientBoostingClassifier(max_iter=20)
    model.fit(X, two["label"].astype(int))
    proba = model.predict_proba(X_test)
    areas = [roc_auc_score(test["label"] == k, proba[:, k]) for k in (0, 1)]
    assert proba_of_two == pytest.approx(np.mean([*areas, 0.5]), abs=1e-6)
    # a level that the real rows lack is no mistake
    more = train.assign(label=train["label"].astype(str))
    more.loc[more.index[:30], "label"] = "new"
    train, test = (t.assign(label=t["label"].astype(str)) for t in (train, test))
    assert utility_scores(train, test, more, "label", random_state=0).tstr > 0.7


def test_utility_where_early_stopping_meets_a_single_row():
    # more than 10,000 rows: boosting splits each level in two, which one row cannot be
    train, test = (relation(10_100, seed)[["a", "label"]] for seed in (0, 1))
    train = train.assign(label=train["label"].astype(str))
    test = test.assign(label=test["label"].astype(str))
    odd = train.copy()
    odd.loc[0, "label"] = "odd"
    scores = utility_scores(train, test, odd, "label", random_state=0)
    assert scores.tstr == pytest.approx(scores.trtr, abs=0.02)


# --------------------------------------------------------------- closest records


def brute_force_excess(train, holdout, synthetic):
    """One number x and one category k; distances by the definition, row by row."""
    known = pd.concat([train, holdout])
    present = np.sort(known["x"].dropna())

    def features(table):
        lower, upper = (
            present.searchsorted(table["x"], side=s) for s in ("left", "right")
        )
        quantile = np.where(table["x"].isna(), 0.5, (lower + upper) / 2 / len(present))
        levels = ["u", "v", "w", None]
        one_hot = [table["k"].isna() if k is None else table["k"] == k for k in levels]
        one_hot += [table["x"].isna(), table["x"].notna()]
        return np.column_stack([quantile, *(np.array(c) / np.sqrt(2) for c in one_hot)])

    distances = cdist(features(synthetic), features(known))
    share = 0.0
    for row in distances:
        nearest = np.isclose(row, row.min(), rtol=0, atol=1e-7)
        share += nearest[: len(train)].sum() / nearest.sum() / len(synthetic)
    chance = len(train) / len(known)
    return (share - chance) / (1 - chance)


def test_closest_records_by_brute_force():
    rng = np.random.default_rng(0)
    tables = []
    for n in (40, 17, 60):
        # few distinct values, which all occur: ties, and no interpolation
        x = pd.Series(rng.permutation(np.arange(n) % 7).astype(float))
        k = pd.Series(rng.choice(["u", "v", "w", None], n), dtype=object)
        tables.append(pd.DataFrame({"x": x.mask(rng.random(n) < 0.2), "k": k}))
    excess = closest_record_scores(*tables).dcr_excess
    assert excess == pytest.approx(brute_force_excess(*tables))
    assert abs(excess) > 0.01


def test_closest_records_of_copies_and_of_fresh_rows():
    train, holdout, fresh = (
        make_mixed_table(n, random_state=n)[0] for n in (800, 200, 500)
    )
    copied = closest_record_scores(train, holdout, bootstrap(train, 0))
    assert copied.dcr_excess == pytest.approx(1.0)
    assert (copied.copies, copied.holdout_copies) == (1.0, 0.0)
    new = closest_record_scores(train, holdout, fresh)
    assert abs(new.dcr_excess) < Z * new.dcr_excess_std
    assert new.copies == 0.0
    stolen = closest_record_scores(train, holdout, holdout)
    assert stolen.dcr_excess == pytest.approx(-4.0)  # - chance / (1 - chance)


def test_standard_deviation_of_the_excess():
    rng = np.random.default_rng(0)
    records, fresh = rng.normal(size=(100, 3)), rng.normal(size=(150, 3))
    scores = []
    for _ in range(200):
        rows = rng.permutation(100)
        scores.append(
            closest_record_scores(records[rows[:70]], records[rows[70:]], fresh)
        )
    # it is a property of the records, and not of how they are split
    stated = [s.dcr_excess_std for s in scores]
    assert np.ptp(stated) < 1e-9
    observed = np.array([s.dcr_excess for s in scores])
    # error of a standard deviation of a nearly normal variable
    assert abs(observed.std() / stated[0] - 1) < Z / np.sqrt(2 * len(scores))
    assert abs(observed.mean()) < Z * stated[0] / np.sqrt(len(scores))


def test_ties_say_nothing_of_copying():
    # the same four rows everywhere, however the real ones are split
    rows = pd.DataFrame({"x": list("aabb"), "y": list("cdcd")})
    train, holdout = pd.concat([rows] * 30), pd.concat([rows] * 10)
    scores = closest_record_scores(train, holdout, rows)
    assert scores.dcr_excess == pytest.approx(0.0)
    assert (scores.copies, scores.holdout_copies) == (1.0, 1.0)


def test_exact_copies_by_hand():
    train = pd.DataFrame({"x": [1.0, 2.0, np.nan, 4.0], "k": ["a", None, "a", "b"]})
    holdout = pd.DataFrame({"x": [4.0, 4.0], "k": ["b", "a"]})
    synthetic = pd.DataFrame(
        {"x": [2.0, np.nan, 1.0, np.nan, 9.0], "k": [np.nan, "a", "b", "b", "a"]}
    )
    scores = closest_record_scores(train, holdout, synthetic)
    assert scores.copies == pytest.approx(2 / 5)
    assert scores.holdout_copies == pytest.approx(1 / 2)


def test_many_queries_are_a_random_selection():
    rng = np.random.default_rng(0)
    train, holdout = rng.normal(size=(2, 20, 2))
    # sorted: the first 5,000 rows are all copies
    synthetic = np.concatenate(
        [train[:1].repeat(6_000, 0), holdout[:1].repeat(6_000, 0)]
    )
    scores = closest_record_scores(train, holdout, synthetic, random_state=0)
    assert abs(scores.dcr_excess) < Z / np.sqrt(5_000)
    again = closest_record_scores(train, holdout, synthetic, random_state=0)
    assert again == scores
    assert closest_record_scores(train, holdout, synthetic, random_state=1) != scores


# ------------------------------------------------------------------------ frames


def test_arrays_frames_and_the_order_of_columns():
    frame, _ = make_mixed_table(60, random_state=0)
    other, _ = make_mixed_table(50, random_state=1)
    expected = trend_score(frame, other)
    assert trend_score(frame, other[frame.columns[::-1]]) == pytest.approx(expected)
    assert trend_score(frame, other.to_numpy()) == pytest.approx(expected)
    arrays = [t.to_numpy(dtype=object) for t in (frame, other)]
    assert trend_score(*arrays) == pytest.approx(expected)


def test_polars_tables_are_scored_as_pandas_ones():
    """By the names of their columns, whatever their order, and by their dtypes."""
    polars = pytest.importorskip("polars", reason="needs the extra test")
    table, other = (make_mixed_table(60, random_state=seed)[0] for seed in (0, 1))
    times = {"at": np.arange(60) % 24 * 3_600 * 10**9, "day": np.arange(60) % 30}
    frame, fresh = (
        polars.from_pandas(t).with_columns(
            polars.Series("at", times["at"]).cast(polars.Time),
            polars.Series("day", times["day"]).cast(polars.Date),
        )
        for t in (table, other)
    )
    table, other = (
        t.assign(at=pd.to_timedelta(times["at"]), day=times["day"].view("M8[D]"))
        for t in (table, other)
    )
    turned = fresh.select(fresh.columns[::-1])
    for score in (shape_score, trend_score):
        expected = pytest.approx(score(table, other))
        assert score(frame, turned) == expected
        assert score(frame, other) == expected
        assert score(frame, frame) == 1.0
    renamed = fresh.rename({"at": "when"})
    with pytest.raises(ValueError, match=r"lacks \['at'\].*its \['when'\]"):
        shape_score(frame, renamed)
    one, two = (
        utility_scores(*tables, "plan", random_state=0)
        for tables in ((table, other, other), (frame, fresh, fresh))
    )
    assert one == pytest.approx(two)
    lazy = frame.lazy()
    with pytest.raises(TypeError, match=r"LazyFrame: pass .*collect\(\)"):
        shape_score(frame, lazy)


@pytest.mark.parametrize("dtype", ["Int64", "float32", object])
def test_numbers_of_any_dtype(dtype):
    real = pd.DataFrame({"x": [1, 2, 3, 4]})
    synthetic = pd.DataFrame({"x": [1, 1, 3, 9]})
    expected = shape_score(real, synthetic)
    assert shape_score(real.astype(dtype), synthetic) == expected
    assert shape_score(real, synthetic.astype(dtype)) == expected


def test_columns_without_values():
    real = pd.DataFrame({"x": [None, None, None], "y": [1.0, 2.0, 4.0]})
    floats = real.assign(x=np.nan)
    assert shape_score(real, floats) == 1.0
    assert shape_score(real, real.assign(x=["a", "b", "c"])) == 0.5
    assert shape_score(real, real.assign(x=[1.0, 2.0, 3.0])) == 0.5
    assert trend_score(real, floats) == 1.0
    assert closest_record_scores(real, floats, real).copies == 1.0
    assert (
        shape_score(pd.DataFrame({"x": pd.to_datetime(["2020"] * 3)}), real[["x"]]) == 0
    )


@pytest.mark.usefixtures("few_trees")
def test_inputs_and_global_generator_stay_as_they_were(mixed_table):
    synthetic = independent_columns(mixed_table, 0)[mixed_table.columns[::-1]]
    copies = mixed_table.copy(), synthetic.copy()
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    synthesis_report(mixed_table, synthetic, holdout=synthetic, random_state=0)
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002
    pd.testing.assert_frame_equal(mixed_table, copies[0])
    pd.testing.assert_frame_equal(synthetic, copies[1])


REAL = pd.DataFrame({"x": np.arange(6.0), "k": list("aabbcc")})
TWO = {"real": REAL, "synthetic": REAL}
THREE = {"train": REAL, "test": REAL, "synthetic": REAL}


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (
            shape_score,
            {**TWO, "synthetic": REAL[["x"]]},
            r"synthetic .* real: it lacks \['k'\]$",
        ),
        (
            shape_score,
            {**TWO, "synthetic": REAL[["x"]].assign(z=1)},
            r"lacks \['k'\], and real does not have its \['z'\]$",
        ),
        (
            synthesis_report,
            {**TWO, "synthetic": VAETransformer()},
            r"synthetic must .*, got VAETransformer: pass rows, such as est.*\.sample",
        ),
        (shape_score, {**TWO, "real": "table"}, "real must be .* an array, got str:"),
        (
            trend_score,
            {**TWO, "synthetic": REAL.assign(z=1)},
            r"as real: real does not have its \['z'\]$",
        ),
        (
            shape_score,
            {**TWO, "synthetic": REAL[:0]},
            r"synthetic must have at least one row",
        ),
        (
            shape_score,
            {**TWO, "real": REAL[[]]},
            "real must have at least one row and one",
        ),
        (
            shape_score,
            {**TWO, "real": np.zeros(3)},
            "real must be a DataFrame or an array",
        ),
        (
            shape_score,
            {**TWO, "synthetic": np.zeros((4, 3))},
            "synthetic must have as many",
        ),
        (shape_score, {**TWO, "real": REAL[["x", "x"]]}, "more than one column .*'x'"),
        (
            shape_score,
            {**TWO, "synthetic": REAL.assign(x="a")},
            "'x' is a number in real",
        ),
        (
            shape_score,
            {**TWO, "synthetic": REAL.assign(x=pd.Timestamp("2020"))},
            "'x' is a number in real, but synthetic has dtype datetime64",
        ),
        (
            shape_score,
            {**TWO, "synthetic": REAL.assign(x=np.inf)},
            "'x' of synthetic .*infin",
        ),
        (trend_score, {"real": REAL[["x"]], "synthetic": REAL[["x"]]}, "two columns"),
        (
            c2st_score,
            {**TWO, "synthetic": REAL[:4]},
            "synthetic .*at least 5 rows",
        ),
        (
            utility_scores,
            {**THREE, "target": "z"},
            r"one of the columns \['x', 'k'\], got 'z'",
        ),
        (
            utility_scores,
            {**{k: t[["x"]] for k, t in THREE.items()}, "target": "x"},
            "a second column is needed",
        ),
        (utility_scores, {**THREE, "test": REAL[:2], "target": "k"}, "vary in test"),
        (utility_scores, {**THREE, "test": REAL[:1], "target": "x"}, "vary in test"),
        (
            utility_scores,
            {**THREE, "synthetic": REAL.assign(x=np.nan), "target": "x"},
            "synthetic must have at least two rows with the target 'x'",
        ),
        (
            closest_record_scores,
            {"train": REAL, "holdout": REAL[:0], "synthetic": REAL},
            "holdout must have at least one row",
        ),
        (synthesis_report, {**TWO, "target": "k"}, "pass them as holdout"),
        (synthesis_report, {**TWO, "holdout": REAL, "target": "z"}, "got 'z'"),
        (
            synthesis_report,
            {**TWO, "holdout": REAL[:1], "target": "k"},
            "vary in holdout",
        ),
        (synthesis_report, {**TWO, "holdout": REAL[["k"]]}, r"holdout .*lacks \['x'\]"),
    ],
)
def test_errors(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(**arguments)


# ------------------------------------------------------------------------ report


@pytest.fixture(scope="module")
def tables():
    """Real rows, others of the same distribution, and some held out."""
    return [make_mixed_table(n, random_state=n)[0] for n in (300, 301, 150)]


@pytest.fixture(scope="module")
def full_report(tables):
    real, fresh, holdout = tables
    with fewer_trees():
        return synthesis_report(
            real, fresh, holdout=holdout, target="plan", random_state=0
        )


@pytest.mark.usefixtures("few_trees")
def test_report_has_every_measure(tables, full_report):
    real, fresh, holdout = tables
    scores = full_report.scores
    assert scores.index.tolist() == ["synthetic", "independent columns", "bootstrap"]
    utility = utility_scores(real, holdout, fresh, "plan", random_state=0)
    expected = {
        "shape": shape_score(real, fresh),
        "trend": trend_score(real, fresh),
        "copies": 0.0,
        "dcr_excess": closest_record_scores(real, holdout, fresh).dcr_excess,
        "tstr": utility.tstr,
        "trtr": utility.trtr,
    }
    order = ["shape", "trend", "c2st", "copies", "dcr_excess", "tstr", "trtr"]
    assert scores.columns.tolist() == order
    for name, value in expected.items():
        assert scores.loc["synthetic", name] == pytest.approx(value), name
    assert scores["trtr"].nunique() == 1


def test_report_of_the_baselines(full_report):
    scores = full_report.scores
    independent, copies = scores.loc["independent columns"], scores.loc["bootstrap"]
    assert copies["copies"] == copies["dcr_excess"] == 1.0
    assert copies["c2st"] < 0.35
    assert independent["c2st"] > 0.9
    assert independent["trend"] < copies["trend"] - 0.15
    assert independent["tstr"] < 0.6 < copies["tstr"]
    assert independent["copies"] == 0.0
    # both are resampled: the distance of two samples bounds that of each column
    bound = np.sqrt(np.log(2 / ALPHA) / (2 * 300))
    assert min(independent["shape"], copies["shape"]) > 1 - 2 * bound


@pytest.mark.usefixtures("few_trees")
def test_report_repeats_itself(tables):
    small = [table[["visits"]][:80] for table in tables[:2]]
    first, again, other = (synthesis_report(*small, random_state=s) for s in (0, 0, 1))
    pd.testing.assert_frame_equal(first.scores, again.scores)
    assert not first.scores.equals(other.scores)


@pytest.mark.usefixtures("few_trees")
def test_report_warns(tables):
    real, _, holdout = (table[["height", "weight", "plan"]] for table in tables)
    copies = bootstrap(real, 0)
    report = synthesis_report(real, copies, random_state=0)
    assert kinds(report.warnings) == {"Copies"}
    report = synthesis_report(real, copies, holdout=holdout, random_state=0)
    assert kinds(report.warnings) == {"Copies", "Near copies"}


@pytest.mark.usefixtures("few_trees")
def test_report_leaves_out_what_cannot_be_computed():
    rng = np.random.default_rng(0)
    report = synthesis_report(rng.normal(size=(3, 1)), rng.normal(size=(9, 1)))
    assert report.scores.columns.tolist() == ["shape", "copies"]
    assert report.warnings == []


def test_report_compares_each_column(tables, full_report):
    real, fresh, _ = tables
    columns = full_report.columns
    assert list(columns) == list(real)
    shapes = [shape for shape, _ in columns.values()]
    assert np.mean(shapes) == pytest.approx(shape_score(real, fresh))
    for name, (shape, shares) in columns.items():
        assert shape == pytest.approx(shape_score(real[[name]], fresh[[name]]))
        np.testing.assert_allclose(shares.sum(), 1)
    plan = columns["plan"][1]
    for side, table in (("real", real), ("synthetic", fresh)):
        expected = table["plan"].value_counts(normalize=True)
        for level, share in expected.items():
            assert plan.loc[level, side] == pytest.approx(share)


@pytest.mark.parametrize(
    ("c2st", "said"),
    [
        (0.3, "nearer to the real ones"),
        (0.5, "hardly told"),
        (0.62, "a little better than by chance"),
        (0.8, "often told"),
        (0.99, "Nearly every"),
    ],
)
def test_verdict_names_what_the_classifier_finds(c2st, said):
    scores = pd.Series({"shape": 1.0, "c2st": c2st})
    (sentence,) = verdict_on(scores, [], 10_000)
    assert said in sentence
    assert f"{c2st:.2f}" in sentence


def test_verdict_of_few_rows_allows_for_chance():
    """Twenty equally distributed rows differ by as much in one of twenty tables."""
    scores = pd.Series({"c2st": 0.7})
    assert "hardly" in verdict_on(scores, [], 20)[0]
    assert "hardly" not in verdict_on(scores, [], 2_000)[0]


@pytest.mark.slow
def test_verdict_goes_by_held_out_rows_where_values_are_repeated():
    """Independent columns have the very values of the real rows."""
    rng = np.random.default_rng(0)
    real, holdout = rng.normal(size=(2, 500, 6))
    rows = rng.permuted(real, axis=0)
    without = synthesis_report(real, rows, random_state=0)
    assert without.scores.loc["synthetic", "c2st"] < 0.42
    assert "nearer to the real ones" in without.verdict[0]
    report = synthesis_report(real, rows, holdout=holdout, random_state=0)
    beside = c2st_score(holdout, rows, random_state=0)
    assert beside > 0.45
    said = re.findall(r"0\.\d+", report.verdict[0])
    assert float(said[0]) == pytest.approx(beside, abs=0.04)
    assert float(said[1]) == pytest.approx(
        without.scores.loc["synthetic", "c2st"], abs=0.01
    )
    assert "hardly told" in report.verdict[0]
    report = synthesis_report(real, rows, holdout=holdout[:4], random_state=0)
    assert "nearer to the real ones" in report.verdict[0]


@pytest.mark.slow
def test_verdict_says_whether_rows_give_away_which_ones_were_fitted_on():
    rng = np.random.default_rng(0)
    real, fresh, holdout = rng.normal(size=(3, 400, 5))
    copies = real + rng.normal(0, 0.01, real.shape)
    said = {
        name: synthesis_report(real, rows, holdout=holdout, random_state=0).verdict[1]
        for name, rows in (("copies", copies), ("fresh", fresh))
    }
    assert said["copies"].startswith("They give away which rows")
    assert "in 100 % of pairs" in said["copies"]
    assert "does not tell which rows" in said["fresh"]
    share = int(re.search(r"in (\d+) % of pairs", said["fresh"])[1])
    assert 40 <= share <= 60
    # With too few rows there is nothing to say.
    report = synthesis_report(real, copies, holdout=holdout[:19], random_state=0)
    assert not any("give away" in sentence for sentence in report.verdict)


def test_an_attack_is_chance_where_rows_are_fresh():
    """Its false alarms are those of its confidence: here none of thirty."""
    rng = np.random.default_rng(0)
    for seed in range(30):
        tables = rng.normal(size=(3, 60, 2))
        *encoded, columns = encode_tables(
            **dict(zip(("real", "holdout", "synthetic"), tables, strict=True))
        )
        said = say_membership(*encoded, columns, np.random.RandomState(seed))
        assert "does not tell" in said


def test_verdict_comes_first_and_points_to_warnings(full_report):
    lines = repr(full_report).splitlines()
    assert lines[: len(full_report.verdict)] == full_report.verdict
    assert f"{full_report.scores.loc['synthetic', 'tstr']:.3f}" in lines[1]
    scores = pd.Series({"shape": 1.0})
    assert verdict_on(scores, [], 10) == []
    assert "2 below" in verdict_on(scores, ["Copies: a", "Copies: b"], 10)[0]


class Page(HTMLParser):
    """Tags that are open, and the pictures and text of a page."""

    VOID: ClassVar = {"meta", "rect"}

    def __init__(self):
        super().__init__()
        self.open, self.pictures, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        # A mark of a place has a title in it, a bar has nothing and closes itself.
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "svg":
            self.pictures.append(dict(attrs)["aria-label"])

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_report_as_a_page(tables, full_report, tmp_path):
    path = tmp_path / "report.html"
    full_report.to_html(path)
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    assert page.open == []
    assert sorted(page.pictures) == sorted(tables[0])
    for sentence in full_report.verdict:
        assert sentence in page.text
    for name in full_report.scores:
        assert name in page.text
    assert full_report._repr_html_() in path.read_text(encoding="utf-8")
    # a narrow page sets the numbers of a measure and its best value in one line
    n_numbers = len(full_report.scores) + 1
    assert f'style="--numbers: {n_numbers}"' in full_report._repr_html_()


@pytest.mark.usefixtures("few_trees")
def test_page_shows_odd_columns_and_escapes_names():
    days = pd.Series(pd.date_range("2024-01-01", periods=40))
    real = pd.DataFrame(
        {
            "<b>&": np.arange(40.0),
            3: days.where(days.dt.day > 2),
            "one": "a<i>",
            "empty": np.nan,
            "long " * 20: days - days[0],
        }
    )
    page = Page()
    page.feed(synthesis_report(real, real, random_state=0)._repr_html_())
    assert page.open == []
    assert set(page.pictures) == {str(name) for name in real}
    assert "a<i>: real 100.0%, drawn 100.0%" in page.text
    assert "missing: real 10.0%" in page.text
    assert "2024-01-0" in page.text


@pytest.fixture(scope="module")
def narrow_tables(tables):
    return [table[["weight", "plan", "active"]][:120] for table in tables]


def predictions(real, fresh, holdout):
    """What boosting makes of real rows, others and held out ones."""
    with fewer_trees():
        utilities = [
            utility_scores(real, holdout, fresh, target, random_state=0)
            for target in ("plan", "weight")
        ]
        return c2st_score(real, fresh, random_state=0), *utilities


@pytest.fixture(scope="module")
def expected_predictions(narrow_tables):
    return predictions(*narrow_tables)


def with_column(tables, n_values):
    """A column that has values in the first of the real rows alone, if any."""
    empty = [table.assign(z=np.nan) for table in tables]
    empty[0].loc[: n_values - 1, "z"] = 1.0
    return empty


@pytest.mark.parametrize("n_values", [0, 1])
def test_a_column_without_values_changes_no_prediction(
    narrow_tables, n_values, expected_predictions
):
    """Also where it has a value outside of one fold only."""
    assert predictions(*with_column(narrow_tables, n_values)) == expected_predictions


@pytest.mark.usefixtures("few_trees")
def test_report_of_a_column_without_values(narrow_tables):
    real, fresh, holdout = with_column(narrow_tables, 1)
    report = synthesis_report(
        real, fresh, holdout=holdout, target="plan", random_state=0
    )
    assert report.scores.notna().all(axis=None)


def test_columns_that_boosting_could_use_are_not_filled():
    X = np.full((60, 2), np.nan)
    X[:19, 0] = X[:20, 1] = 1.0
    filled = fill_sparse_columns(X)
    assert not np.isnan(filled[:, 0]).any()
    np.testing.assert_array_equal(filled[:, 1], X[:, 1])


def test_report_as_text(tables):
    scores = pd.DataFrame({"shape": [0.98765]}, ["synthetic"])
    report = SynthesisReport(scores, [], {}, 10)
    assert repr(report) == "           shape\nsynthetic  0.988\n\nNo warnings."
    report.warnings = ["Copies: some.", "Dependence lost: much."]
    assert repr(report).endswith(
        "\nWarnings\n- Copies: some.\n- Dependence lost: much."
    )


# ------------------------------------------------------------------------- signs


def signs(real, synthetic, holdout=None):
    """Warnings of a report without its scores, which take longer."""
    if holdout is None:
        real, synthetic, columns = encode_tables(real=real, synthetic=synthetic)
        return find_signs(real, synthetic, columns)
    real, holdout, synthetic, columns = encode_tables(
        real=real, holdout=holdout, synthetic=synthetic
    )
    rng = np.random.RandomState(0)
    closest = closeness(real, holdout, synthetic, columns, rng)
    return find_signs(real, synthetic, columns, closest)


def kinds(sentences):
    return {sentence.partition(":")[0] for sentence in sentences}


SIZES = [(300, range(6)), (1_000, range(2))]
CASES = [(n, seed) for n, seeds in SIZES for seed in seeds]
SLOW_CASES = [(300, seed) for seed in range(6, 40)] + [(5_000, 0), (5_000, 1)]
SLOW_CASES = [pytest.param(*case, marks=pytest.mark.slow) for case in SLOW_CASES]


@pytest.mark.parametrize(("n", "seed"), CASES + SLOW_CASES)
def test_signs_of_baselines_and_of_fresh_rows(n, seed):
    real, fresh = (make_mixed_table(n, random_state=s)[0] for s in (seed, 1_000 + seed))
    holdout, _ = make_mixed_table(n // 4, random_state=2_000 + seed)
    assert signs(real, fresh, holdout) == []
    assert kinds(signs(real, bootstrap(real, seed), holdout)) == {
        "Copies",
        "Near copies",
    }
    loose = kinds(signs(real, independent_columns(real, seed), holdout))
    assert "Dependence lost" in loose
    assert not loose & {"Copies", "Near copies", "Collapsed column"}


@pytest.mark.slow
@pytest.mark.parametrize(("n", "seed"), [(300, 0), (300, 1), (1_000, 2)])
def test_report_of_a_good_model(n, seed):
    from sklearn_unsup import VAETransformer

    real, _ = make_mixed_table(n, random_state=seed)
    holdout, _ = make_mixed_table(n, random_state=1_000 + seed)
    rows = VAETransformer(random_state=seed).fit(real).sample(n)
    report = synthesis_report(
        real, rows, holdout=holdout, target="plan", random_state=seed
    )
    assert report.warnings == []
    scores = report.scores
    assert (
        scores["trend"]["synthetic"] - scores["trend"]["independent columns"]
    ) > 0.15
    assert 0.3 < scores["c2st"]["synthetic"] < 0.7


def test_some_copies_among_fresh_rows():
    real, fresh = (make_mixed_table(500, random_state=s)[0] for s in (0, 1))
    mixed = pd.concat([fresh[:450], real[:50]])
    [sentence] = signs(real, mixed)
    assert sentence.startswith("Copies: 50 synthetic rows (10 %)")
    # one in a hundred may be the same person by accident
    assert signs(real, pd.concat([fresh[:495], real[:5]])) == []


@pytest.mark.parametrize("seed", range(5))
def test_copies_where_equal_rows_are_common(seed):
    """Fresh rows equal real ones, too; only those that are unique tell."""
    rng = np.random.default_rng(seed)
    real, fresh = rng.geometric(0.35, size=(2, 2_000, 4)).astype(str).astype(object)
    copies = pd.DataFrame(real).sample(2_000, replace=True, random_state=seed)
    assert closest_record_scores(real, fresh, fresh).holdout_copies > 0.5
    assert "Copies" not in kinds(signs(real, fresh))
    sentence = signs(real, copies)[0]
    assert sentence.startswith("Copies")
    # what is to be expected, against what happens
    real, fresh = (pd.Series(map(tuple, rows)) for rows in (real, fresh))
    unique = real[~real.duplicated(keep=False)]
    expected = float(sentence.partition("about ")[2].partition(" %")[0]) / 100
    observed = fresh.isin(unique).mean()
    # pairs count twice, hence the larger of the two errors
    assert abs(observed - expected) < Z * np.sqrt(3 * observed / 2_000)


def test_few_more_copies_than_chance_gives():
    """They are beyond chance in a large table, and still no copying to speak of."""
    rng = np.random.default_rng(0)
    real, fresh = rng.geometric(0.35, size=(2, 20_000, 5)).astype(str).astype(object)
    _, place, counts = np.unique(
        real.astype(str), axis=0, return_inverse=True, return_counts=True
    )
    unique = real[counts[place] == 1]
    assert signs(real, np.concatenate([fresh[:-600], unique[:600]])) == []
    assert signs(real, np.concatenate([fresh[:-2_000], unique[:2_000]])) != []


def test_near_copies():
    real, holdout = (make_mixed_table(400, random_state=s)[0] for s in (0, 1))
    rng = np.random.default_rng(0)
    numbers = real.select_dtypes("float")
    moved = numbers * (1 + 1e-3 * rng.normal(size=numbers.shape))
    assert kinds(signs(real, real.assign(**moved), holdout)) == {"Near copies"}
    assert signs(real, real.assign(**moved)) == []  # not to be seen without a holdout


@pytest.mark.parametrize(
    ("excess", "std", "expected"),
    [(0.35, 0.01, 0), (0.5, 0.01, 1), (0.9, 0.4, 0), (0.9, 0.1, 1), (-0.9, 0.1, 0)],
)
def test_near_copies_are_many_and_beyond_chance(excess, std, expected):
    closest = Bunch(dcr_excess=excess, dcr_excess_std=std)
    assert len(near_copies(closest)) == expected


def test_lost_dependence_is_measured():
    rng = np.random.default_rng(0)

    def draw(n, n_shuffled):
        x, noise = rng.normal(size=(2, n))
        table = pd.DataFrame({"x": x, "y": x**2 + 0.1 * noise, "z": x > 0})
        # y depends on x without being correlated with it, and not on z
        for name in ("y", "z"):
            values = table[name].to_numpy(copy=True)
            rng.shuffle(values[:n_shuffled])
            table[name] = values
        return table

    real = draw(1_000, 0)
    assert signs(real, draw(1_000, 200)) == []
    [sentence] = signs(real, draw(1_000, 800))
    assert sentence.startswith("Dependence lost: 2 pairs of columns clearly depend")
    # phi of a mixture with independent rows is their share less: 20 %, give or take
    share = float(sentence.partition("keeps ")[2].partition(" %")[0])
    assert 10 < share < 30
    assert sentence.endswith("The largest loss is between 'x' and 'y'.")


@pytest.mark.parametrize("n_drawn", [120, 1_000])
def test_a_pair_that_is_lost_among_others_is_named(n_drawn):
    rng = np.random.default_rng(0)

    def draw(n):
        common, own = rng.normal(size=(n, 1)), rng.normal(size=(n, 1))
        many = common + 0.3 * rng.normal(size=(n, 6))
        pair = own + 0.5 * rng.normal(size=(n, 2))
        return pd.DataFrame(np.hstack([many, pair]), columns=list("abcdefxy"))

    real, drawn = draw(1_000), draw(n_drawn)
    assert signs(real, drawn) == []
    drawn["y"] = rng.permutation(drawn["y"])
    [sentence] = signs(real, drawn)
    assert sentence.startswith("Dependence lost: 'x' and 'y' clearly depend on each")
    # A weak dependence that is lost, phi .15, is no sign by itself.
    real["y"] = rng.normal(size=1_000) + 0.2 * real["x"]
    assert signs(real, drawn) == []


@pytest.mark.parametrize("seed", range(5))
def test_fresh_rows_lose_no_pair(seed):
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(4, 8)) * (rng.random((4, 8)) < 0.5)

    def draw(n):
        return rng.normal(size=(n, 4)) @ factors + 0.5 * rng.normal(size=(n, 8))

    for n_real, n_drawn in ((2_000, 120), (150, 150), (300, 2_000)):
        assert signs(draw(n_real), draw(n_drawn)) == []


def test_chance_association_of_few_rows_is_no_dependence():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(2_000, 1)) + rng.normal(size=(2_000, 6))
    # phi of 120 independent rows would be .37 if it was not corrected, of `real` .5
    assert kinds(signs(real, rng.normal(size=(120, 6)))) == {"Dependence lost"}
    for _ in range(5):  # of so few rows nothing can be said
        fresh = rng.normal(size=(12, 1)) + rng.normal(size=(12, 6))
        assert signs(real, fresh) == []


def test_one_row_of_rare_levels_is_no_dependence():
    rng = np.random.default_rng(0)
    real, fresh = rng.integers(2, size=(2, 300, 2)).astype(str).astype(object)
    real[0] = "odd"  # by chi-square, highly significant
    assert signs(real, fresh) == []


@pytest.mark.parametrize("seed", range(10))
def test_no_dependence_to_lose(seed):
    rng = np.random.default_rng(seed)

    def draw(n):
        return pd.DataFrame(
            {
                "x": rng.normal(size=n),
                "spike": rng.poisson(0.1, n),
                "k": rng.choice(list("abcdefgh"), n),
                "rare": rng.random(n) < 0.005,
                "none": 1.0,
            }
        )

    assert signs(draw(300), draw(300)) == []
    assert signs(draw(300)[["x"]], draw(300)[["x"]]) == []
    assert signs(draw(50), draw(2_000)) == []
    assert signs(draw(2_000), draw(5)) == []


def test_chance_of_none_is_hypergeometric():
    marked, drawn = np.meshgrid([0, 1, 5, 40, 93, 100], [0, 1, 7, 60, 100])
    expected = stats.hypergeom.pmf(0, 100, marked, drawn)
    np.testing.assert_allclose(
        chance_of_none(100, marked, drawn), expected, rtol=1e-9, atol=1e-300
    )


def test_collapsed_columns():
    real, fresh = (make_mixed_table(1_000, random_state=s)[0] for s in (0, 1))
    usual = fresh["plan"].where(fresh["plan"] != "pro", "basic")
    [sentence] = signs(real, fresh.assign(plan=usual))
    assert sentence.startswith("Collapsed column: 'plan' never has 'pro' (")
    for value, message in [
        (7.0, "'spend' is always 7 in the synthetic table."),
        (np.nan, "'spend' is missing in every synthetic row."),
    ]:
        found = signs(real, fresh.assign(spend=value))
        assert f"Collapsed column: {message}" in found
    filled = fresh.assign(height=fresh["height"].fillna(170.0))
    [sentence] = signs(real, filled)
    assert sentence.startswith("Collapsed column: 'height' never has a missing value (")
    [sentence] = signs(real, fresh.assign(region=fresh["region"].fillna("east")))
    assert sentence.startswith("Collapsed column: 'region' never has a missing value (")
    # all rows but two have the same value, which 1,000 rows may well all have
    nearly = real.assign(spend=np.where(np.arange(1_000) < 2, 1.0, 0.0))
    assert signs(nearly, fresh.assign(spend=0.0)) == []
    # a constant stays one
    assert signs(real.assign(spend=0.0), fresh.assign(spend=0.0)) == []


def visits(n, seed):
    """Two numbers that rise together, one after the other, and a level."""
    rng = np.random.default_rng(seed)
    start = rng.exponential(size=n)
    return pd.DataFrame(
        {
            "start": start,
            "end": start + rng.exponential(size=n),
            "cost": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
            "kind": rng.choice(["new", "old"], n),
        }
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda t: t, []),
        (
            lambda t: t.assign(kind=t["kind"].where(t.index >= 40, "lost")),
            [
                "New values: 'kind' is 'lost' in 40 synthetic rows (10 %), a level "
                "that no real row has."
            ],
        ),
        # Of a few rows it may be by chance that they are beyond the others.
        (lambda t: t.assign(cost=t["cost"].where(t.index >= 5, 60.0)), []),
        (
            lambda t: t.assign(cost=t["cost"].where(t.index >= 20, -60.0 - t.index)),
            [r"New values: 'cost' is below the least real number in \d+ synth"],
        ),
        (
            lambda t: t.assign(cost=np.abs(t["cost"])),
            ["Other distribution: that of 'cost' agrees to 5"],
        ),
        (
            lambda t: t.assign(kind=t["kind"].where(t.index < 160, "new")),
            ["Other distribution: that of 'kind' agrees to 7"],
        ),
        (lambda t: t.assign(kind=t["kind"].where(t.index < 320, "new")), []),
        (
            lambda t: t.assign(start=t["start"].where(t.index >= 40, 0.01)),
            [r"Other distribution: 'start' is 0.01 in 10 % of the synthetic rows"],
        ),
        (
            lambda t: pd.concat([t[:80]] * 5, ignore_index=True),
            [r"Repeats: 320 synthetic rows \(80 %\) repeat another synthetic one"],
        ),
    ],
)
def test_signs_of_single_faults(change, expected):
    found = signs(visits(600, 0), change(visits(400, 1)))
    assert len(found) == len(expected)
    for sentence, start in zip(found, expected, strict=True):
        assert re.match(start.replace("(10 %)", r"\(10 %\)"), sentence), sentence


def test_orders_and_directions_that_turn():
    real, fresh = visits(600, 0), visits(400, 1)
    swapped = fresh.rename(columns={"start": "end", "end": "start"})
    found = signs(real, swapped)
    [sentence] = [s for s in found if s.startswith("Broken order")]
    assert sentence == (
        "Broken order: 'start' is never above 'end' in the real table, but in 400 "
        "synthetic rows (100 %)."
    )
    turned = fresh.assign(end=-fresh["end"])
    [sentence] = [s for s in signs(real, turned) if s.startswith("Dependence rev")]
    assert re.search(
        r"rank correlation of 0\.\d+ in the real table and of -0\.\d+ in", sentence
    )


@pytest.mark.parametrize("seed", range(20))
def test_fresh_rows_of_any_size_show_no_sign(seed):
    n, m = [30, 100, 600][seed % 3], [20, 200, 2_000, 600][seed % 4]
    real, fresh = visits(n, seed), visits(m, 1_000 + seed)
    assert signs(real, fresh) == []
    assert signs(real.round(0), fresh.round(0)) == []


def test_many_collapsed_columns_are_counted():
    real = np.random.default_rng(0).normal(size=(50, 9))
    found = signs(real, np.zeros((50, 9)))
    assert found[-1] == "Collapsed column: the same of 4 more columns."
    assert len(found) == 6


def test_impossible_pairs():
    rng = np.random.default_rng(0)

    def draw(n, n_wrong):
        sex = np.where(rng.random(n) < 0.5, "male", "female")
        pregnant = (sex == "female") & (rng.random(n) < 0.4)
        wrong = np.flatnonzero(sex == "male")[:n_wrong]
        pregnant[wrong] = True
        return pd.DataFrame({"sex": sex, "pregnant": pregnant})

    real = draw(500, 0)
    [sentence] = signs(real, draw(500, 20))
    assert sentence == (
        "Impossible pairs: 20 synthetic rows or more (4 %) have levels of 'sex' and "
        "'pregnant' that never occur together in the real table, such as 'sex' = "
        "'male' with 'pregnant' = True (20 rows)."
    )
    # few enough that the real rows may have missed them
    assert signs(real, draw(500, 5)) == []
    # missing is a level as well
    hole = real.assign(pregnant=real["pregnant"].where(real["sex"] == "female", None))
    [sentence] = signs(hole, hole.assign(sex=hole["sex"].to_numpy()[::-1]))[-1:]
    assert sentence.startswith("Impossible pairs")
    assert "missing" in sentence


def test_columns_with_a_level_for_each_row():
    """No table of all pairs of levels is made: it would have 10**10 cells."""
    rng = np.random.default_rng(0)
    n = 100_000
    names = [f"id {k}" for k in range(2 * n)]
    tables = [
        pd.DataFrame({"a": ids, "b": ids[::-1], "k": rng.integers(2, size=n)})
        for ids in (names[:n], names[n:])
    ]
    real, synthetic, columns = encode_tables(
        **dict(zip(("real", "synthetic"), tables, strict=True))
    )
    assert find_signs(real, synthetic, columns) == []


def test_pairs_of_rare_levels_are_not_impossible():
    # no real row has both, but independent columns would often give none, either
    real = pd.DataFrame({"a": [1] * 20 + [0] * 480, "b": [0] * 480 + [1] * 20})
    both = real.assign(b=real["b"].to_numpy()[::-1])
    assert "Impossible pairs" not in kinds(signs(real.astype(str), both.astype(str)))
