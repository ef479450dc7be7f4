"""A fit with a budget: noise as it should be, and nothing spent beyond the budget."""

import datetime
import pickle
from decimal import Decimal
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

from sklearn_unsup import VAETransformer, _vae
from sklearn_unsup._privacy import budget as budgets
from sklearn_unsup._privacy import marginals
from sklearn_unsup._privacy.columns import (
    NoisyCounts,
    PrivateColumn,
    category_column,
    public_kind,
)
from sklearn_unsup._privacy.declared import declared_bounds, declared_levels
from sklearn_unsup._privacy.dtypes import as_dtype
from sklearn_unsup._privacy.marginals import (
    NoisyPairs,
    consistent,
    count_error,
    draw_codes,
    pair_counts,
    project_simplex,
)
from sklearn_unsup._privacy.numeric import (
    clear_range,
    cut_evenly,
    find_bounds,
    n_clear,
    number_column,
    parts_of,
    tail_of,
    with_cells,
)
from sklearn_unsup._table.plain import to_floats
from sklearn_unsup._table.polars import narrowed_schema, schema_of, to_polars
from sklearn_unsup.constraints import Inequality, Linear
from sklearn_unsup.privacy import Budget, epsilon_lower_bound

QUICK = {"max_iter": 2, "hidden_layer_sizes": (8,), "n_components": 2}


@pytest.fixture
def accountant():
    pytest.importorskip("dp_accounting", reason="needs the extra privacy")


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    n = 4_000
    x = rng.normal(100, 15, n).round()
    return pd.DataFrame(
        {
            "x": x,
            "high": np.where(x + rng.normal(0, 5, n) > 100, "yes", "no"),
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(x, unit="D"),
            "paid": np.where(rng.random(n) < 0.7, 0, rng.integers(1, 5_000, n)),
            "hole": np.where(rng.random(n) < 0.3, np.nan, x / 7),
        }
    )


def counter(sigma=1.0, delta=1e-6, seed=0):
    return NoisyCounts(sigma, delta, np.random.default_rng(seed))


# ------------------------------------------------------------------- the mechanism


def test_noise_of_a_histogram_is_normal():
    codes = np.repeat([0, 2], [10, 30])
    source = counter(sigma=3.0)
    noisy = np.array([source.histogram(codes, 3) for _ in range(2_000)])
    errors = (noisy - [10, 0, 30]).ravel()
    assert stats.kstest(errors, "norm", args=(0.0, 3.0)).pvalue > 0.001
    assert np.abs(np.corrcoef(noisy.T)[0, 1:]).max() < 0.1


def test_a_value_of_one_row_is_told_with_probability_delta():
    source = counter(sigma=5.0, delta=0.02)
    told = sum(len(source.frequent(np.array(["alone"]))[0]) for _ in range(3_000))
    assert 35 < told < 85


def test_noise_of_frequent_values_is_normal():
    source, values = counter(sigma=3.0), np.repeat([1.0, 2.0], [70, 90])
    counts = np.array([source.frequent(values)[1] for _ in range(1_000)])
    errors = (counts - [70, 90]).ravel()
    assert stats.kstest(errors, "norm", args=(0.0, 3.0)).pvalue > 0.001


@pytest.mark.parametrize("sigma", [0.7, 3.0])
def test_noise_of_a_pair_is_normal(sigma):
    codes = np.array([[0, 1], [1, 1], [1, 1]])
    pairs = NoisyPairs(codes, [2, 2], sigma, 1.0, np.random.default_rng(0))
    noisy = np.array([pairs.measure((0, 1)) for _ in range(2_000)])
    errors = (noisy - [[0, 1], [0, 2]]).ravel()
    assert stats.kstest(errors, "norm", args=(0.0, sigma)).pvalue > 0.001


def test_a_pair_is_chosen_with_the_probability_of_the_exponential_mechanism():
    """Proportional to exp(epsilon / 2 * score), as one row moves a score by 1."""
    epsilon, n = 0.8, 4_000
    codes = np.zeros((5, 3), dtype=np.int64)
    pairs = NoisyPairs(codes, [1, 1, 1], 1.0, epsilon, np.random.default_rng(0))
    # All counts are 5: what is expected says how far each pair is from them.
    expected = {(0, 1): [[5.0]], (0, 2): [[4.0]], (1, 2): [[2.0]]}
    chosen = [pairs.choose(expected) for _ in range(n)]
    weights = np.exp(epsilon / 2 * np.array([0, 1, 3]))
    counts = [chosen.count(pair) for pair in expected]
    assert stats.chisquare(counts, n * weights / weights.sum()).pvalue > 0.001


@pytest.mark.parametrize(("n_single", "n_rounds"), [(4, 0), (20, 29)])
def test_the_plan_spends_what_it_says(n_single, n_rounds):
    plan = budgets.Plan(0.02, n_single, n_rounds)
    rho = n_single / (2 * plan.sigma_single**2)
    if n_rounds:
        rho += n_rounds / (2 * plan.sigma_pair**2)
        rho += n_rounds * plan.choice_epsilon**2 / 8
        assert rho == pytest.approx(0.02)
    else:
        assert rho == pytest.approx(0.02 * budgets.SINGLE_SHARE)
    # All of that is what the accountant is told.
    rho_of = {"GaussianDpEvent": lambda sigma: 1 / (2 * sigma**2), "ZCDpEvent": float}
    events = plan.events()
    assert sum(n * rho_of[kind](value) for kind, value, n in events) == pytest.approx(
        rho
    )


@pytest.mark.parametrize(
    ("n_rows", "n_rounds", "n_codes"),
    [(2_000, 20, 12), (14_000, 27, 12), (40_000, 40, 18), (1e6, 40, 24)],
)
def test_more_rows_have_more_pairs_and_codes(n_rows, n_rounds, n_codes):
    """As noise of a pair misplaces 8 % at most, for the same budget."""
    plan = budgets.Plan(0.1, 20, 1)
    finer, n = plan.with_resolution(n_rows, 10)
    assert (finer.n_rounds, n) == (n_rounds, n_codes)
    if n_rounds > 20:
        noise = 0.5 * np.sqrt(2 / np.pi) * finer.sigma_pair * n_codes**2
        assert noise <= 0.08 * n_rows
    assert finer.sigma_single == plan.sigma_single
    spent = [
        n * (1 / (2 * value**2) if kind == "GaussianDpEvent" else value)
        for p in (plan, finer)
        for kind, value, n in p.events()
    ]
    assert sum(spent[:3]) == pytest.approx(sum(spent[3:]))


def test_two_columns_have_one_pair():
    assert budgets.Plan(1.0, 5, 1).with_resolution(1e6, 2)[0].n_rounds == 1
    assert budgets.Plan(1.0, 5, 0).with_resolution(1e6, 1)[0].n_rounds == 0


@pytest.mark.usefixtures("accountant")
def test_the_accountant_confirms_the_plan():
    plan = budgets.make_plan(1.0, 1e-6, 20, 29)
    spent = budgets.spent_epsilon(plan.events(), 1e-6)
    assert 0.99 < spent <= 1.0
    # The accountant is tighter than the closed form of zero-concentrated privacy.
    assert spent <= plan.rho + 2 * np.sqrt(plan.rho * np.log(1e6))


def gaussian_epsilon(sigma, delta):
    """Exact epsilon of normal noise for a sensitivity of 1 (Balle and Wang 2018)."""

    def excess(epsilon):
        a, b = 1 / (2 * sigma), epsilon * sigma
        return stats.norm.cdf(a - b) - np.exp(epsilon) * stats.norm.cdf(-a - b) - delta

    return optimize.brentq(excess, 0, 50)


@pytest.mark.usefixtures("accountant")
@pytest.mark.parametrize(("sigma", "times"), [(4.0, 1), (30.0, 20)])
def test_the_accountant_agrees_with_the_exact_epsilon(sigma, times):
    exact = gaussian_epsilon(sigma / np.sqrt(times), 1e-6)
    spent = budgets.spent_epsilon([("GaussianDpEvent", sigma, times)], 1e-6)
    assert exact <= spent < 1.15 * exact
    rho = times / (2 * sigma**2)
    spent = budgets.spent_epsilon([("ZCDpEvent", rho / 3, 3)], 1e-6)
    assert exact <= spent < 1.15 * exact


@pytest.mark.usefixtures("accountant")
def test_what_is_spent_is_the_budget(monkeypatch, table):
    """All of delta, that of thresholds with that of noise, and no more."""
    thresholds, accounts = [], []
    frequent, spent = NoisyCounts.frequent, budgets.spent_epsilon
    monkeypatch.setattr(
        NoisyCounts,
        "frequent",
        lambda self, values: thresholds.append(self.delta) or frequent(self, values),
    )
    monkeypatch.setattr(
        budgets, "spent_epsilon", lambda *a: accounts.append(a) or spent(*a)
    )
    rng = np.random.default_rng(0)
    _, epsilon, delta = budgets.private_table(table, Budget(5.0, 1e-5), rng)
    assert delta == 1e-5
    assert epsilon <= 5.0
    assert len(thresholds) == table.shape[1]
    assert sum(thresholds) + accounts[-1][1] == pytest.approx(1e-5)


def test_one_row_changes_every_score_by_one_at_most():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, size=(50, 2))
    expected = rng.random((4, 4)) * 10
    counts = pair_counts(codes, [4, 4], (0, 1))
    for row in rng.integers(0, 4, size=(20, 2)):
        more = pair_counts(np.vstack([codes, row]), [4, 4], (0, 1))
        assert np.abs(more - counts).sum() == 1
        change = count_error(more, expected) - count_error(counts, expected)
        assert abs(change) <= 1 + 1e-9


@pytest.mark.parametrize(("value", "changes"), [(1e6, 1), (1.5, 0), (np.nan, 1)])
def test_one_row_changes_one_count_of_each_histogram(value, changes, monkeypatch):
    """Of a value with a count of its own, that one alone but for the powers of two."""
    seen = []
    original = np.bincount
    series = pd.Series([1.5, 2.5, 700.0, np.nan] * 50, name="x")
    more = pd.concat([series, pd.Series([value])], ignore_index=True)
    monkeypatch.setattr(
        np, "bincount", lambda *a, **k: seen.append(original(*a, **k)) or seen[-1]
    )
    number_column(series, None, counter(), 12)
    first, seen = seen, []
    number_column(more, None, counter(), 12)
    assert len(first) == len(seen) == 3  # with the one of frequent values four
    found = [np.abs(a - b).sum() for a, b in zip(first, seen, strict=True)]
    assert found == [int(not np.isnan(value)), changes, changes]


def test_bounds_are_powers_of_two_around_the_values():
    values = np.random.default_rng(0).uniform(2.1, 900, 10_000)
    assert find_bounds(values, counter()) == (2.0, 1024.0)
    # Ten rows far away are no more than noise.
    values = np.concatenate([values, np.full(10, 1e9)])
    assert find_bounds(values, counter(sigma=5.0)) == (2.0, 1024.0)
    assert find_bounds(-values[:10_000], counter()) == (-1024.0, -2.0)


def test_noise_of_a_weighted_histogram_is_what_its_weight_costs():
    source = counter(sigma=3.0)
    noisy = source.histogram(np.zeros(0, dtype=np.int64), 4_000, weight=4.0)
    assert noisy.std() == pytest.approx(1.5, rel=0.05)
    assert source.n_told == 4.0


def test_cells_are_cut_off_where_there_is_noise_alone():
    rng = np.random.default_rng(0)
    cells = rng.normal(0, 5.0, 200)
    cells[60:100] += 50
    start, stop = clear_range(cells, 5.0)
    assert 56 <= start <= 66
    assert 94 <= stop <= 104
    assert clear_range(np.full(9, -1.0), 5.0) == (0, 9)  # Never is a column emptied.


@pytest.mark.parametrize(
    ("in_noise", "expected"),
    [([], 0), ([1.0, 3.0], 0), ([2.0, 3.0, 1.0], 2), ([0.0, 5.0, 1.0], 2), ([2.0], 1)],
)
def test_a_column_goes_on_while_rows_are_likely(in_noise, expected):
    assert n_clear(np.array(in_noise)) == expected


def test_averaged_counts_have_the_noise_that_is_said():
    rng = np.random.default_rng(0)
    edges, ends = np.arange(9.0), np.array([0.0, 1.0, 4.0, 8.0])
    bins, cells = (
        rng.normal(0, 3.0, (4_000, 3)),
        rng.normal(0, 3.0 / np.sqrt(2), (4_000, 8)),
    )
    both = [
        with_cells(b, ends, c, edges, 2.0, 3.0)
        for b, c in zip(bins, cells, strict=True)
    ]
    noise = np.std([counts for counts, _ in both], axis=0)
    np.testing.assert_allclose(noise, both[0][1], rtol=0.05)
    # Bins that cut a cell share its noise with others: nothing is averaged in.
    _, sigmas = with_cells(
        bins[0, :2], ends[:3] + [0, 0.5, 0], cells[0], edges, 2.0, 3.0
    )
    np.testing.assert_array_equal(sigmas, 3.0)


def test_rows_that_noise_hides_go_on_as_the_last_bins_fall():
    ends = np.arange(12.0)
    counts = 1_000 * np.exp(-ends[:-1] / 2)  # falls by e in two bins
    [*tail] = tail_of(counts, ends, np.inf, 9, 20.0)
    (first, n), *_, (last, _) = tail
    assert first[0] == 9.0
    assert all(a[1] == b[0] for (a, _), (b, _) in pairwise(tail))
    # As many as there are in all further bins of that kind, or as noise hides.
    further = (1_000 * np.exp(-np.arange(9, 60) / 2)).sum()
    assert n * len(tail) == pytest.approx(further, rel=0.1)
    assert last[1] == pytest.approx(9 + 2 * np.log(4 * n * len(tail)), rel=0.05)
    halves = sum(n for interval, n in tail if interval[1] <= 9 + 2 * np.log(2) + 0.1)
    assert halves == pytest.approx(n * len(tail) / 2, rel=0.3)
    assert sum(n for _, n in tail_of(counts, ends, np.inf, 3, 20.0)) == 1.5 * 20.0
    assert tail_of(counts, ends, 9.5, 9, 20.0)[-1][0][1] == pytest.approx(9.5)


@pytest.mark.parametrize(
    "counts",
    [
        [900.0, 800, 700, 0, 0],  # a sharp end
        [100.0, 100, 100, 0, 0],  # nothing falls
        [100.0, 100, 0.001, 0, 0],  # no row is left
        [900.0],
    ],
)
def test_a_column_that_ends_has_no_tail(counts):
    n_kept = min(3, len(counts))
    ends = np.arange(len(counts) + 1.0)
    assert tail_of(np.array(counts), ends, np.inf, n_kept, 20.0) == []


def test_a_column_reaches_towards_its_declared_bounds():
    rng = np.random.default_rng(0)
    values = pd.Series(-rng.exponential(10, 20_000), name="x")  # the least is -93
    column = number_column(values, (-200.0, 0.0), counter(sigma=40.0), 12)
    drawn = column.draw(column.encode(values), rng).astype(float)
    assert -120 < drawn.min() < -85  # without a tail -70
    assert drawn.max() <= 0
    assert stats.kstest(drawn, values).statistic < 0.02
    for part in column.parts:
        assert sum(share for _, share in part) == pytest.approx(1)


def test_shares_in_a_bin_are_even_unless_noise_does_not_explain_them():
    edges = np.arange(6.0)
    cells = np.array([100.0, 103.0, 97.0, 101.0, 99.0])
    noisy = parts_of(0.0, 5.0, cells, edges, 20.0, True)
    np.testing.assert_allclose([share for _, share in noisy], 0.2)
    clear = parts_of(0.0, 5.0, np.array([400.0, 0, 0, 0, 100]), edges, 1.0, True)
    np.testing.assert_allclose(
        [share for _, share in clear], [0.8, 0, 0, 0, 0.2], atol=0.01
    )
    assert parts_of(0.0, 5.0, cells, edges, 1.0, False) == [((0.0, 5.0), 1.0)]


def test_a_frequent_count_is_a_run_of_its_own():
    assert cut_evenly([1, 1, 9, 1, 1, 1, 1], 4) == [(0, 2), (2, 3), (3, 7)]
    assert cut_evenly([4, 4, 1], 4) == [(0, 1), (1, 3)]


def test_whole_numbers_end_where_they_end():
    """Ranges are no powers of two where the noised counts tell of it."""
    rng = np.random.default_rng(0)
    hours = pd.Series(
        np.where(rng.random(20_000) < 0.4, 40, rng.integers(1, 100, 20_000))
    )
    column = number_column(hours, None, counter(sigma=30.0), 12)
    drawn = column.draw(rng.permutation(column.encode(hours)), rng)
    drawn = np.round(drawn.astype(float))
    assert 1 <= drawn.min() <= 3
    assert 96 <= drawn.max() <= 102
    assert (drawn == 40).mean() == pytest.approx((hours == 40).mean(), abs=0.01)
    real = np.bincount(hours, minlength=110).cumsum() / len(hours)
    made = np.bincount(drawn.astype(int), minlength=110).cumsum() / len(drawn)
    assert np.abs(real - made[: len(real)]).max() < 0.02


def test_declared_levels_and_bounds_are_kept():
    series = pd.Series(["a"] * 90 + ["undeclared"] * 9, name="c")
    column = category_column(series, ["a", "b"], counter(), 12)
    assert [[v for v, _ in part] for part in column.parts] == [[None], ["a"], ["b"]]
    assert column.counts[1] == pytest.approx(90, abs=5)
    numbers = pd.Series(np.linspace(-50, 50, 500), name="x")
    column = number_column(numbers, (0, 10), counter(), 12)
    drawn = column.draw(column.encode(numbers), np.random.default_rng(0))
    assert 0 <= min(drawn)
    assert max(drawn) <= 10


FIRST, LAST = pd.Timestamp("2020-01-01"), pd.Timestamp("2020-01-11")


@pytest.mark.parametrize(
    ("dtype", "pair"),
    [
        ("datetime64[s]", (FIRST, LAST)),
        ("datetime64[s]", ("2020-01-01", "2020-01-11")),
        ("datetime64[us]", (FIRST.date(), LAST.to_datetime64())),
        ("datetime64[us, UTC]", (FIRST, LAST)),
        ("datetime64[us, Europe/Paris]", (FIRST.tz_localize("UTC"), "2020-01-11T01")),
        ("period[h]", (pd.Period("2020-01-01", "D"), LAST)),
        ("timedelta64[s]", (datetime.timedelta(18_262), pd.Timedelta(18_272, "D"))),
        ("float32", (18_262, Decimal(18_272))),
    ],
)
def test_bounds_are_declared_in_the_words_of_a_column(dtype, pair):
    frame = pd.DataFrame({"x": pd.Series([], dtype=dtype)})
    kinds = {"x": public_kind(frame["x"])}
    # Days since 1970, as `to_floats` has dates.
    assert declared_bounds({"x": pair}, frame, kinds) == {"x": (18_262.0, 18_272.0)}


def test_levels_are_declared_without_missing_values():
    frame = pd.DataFrame({"c": ["a"], "flag": [True]})
    kinds = {name: public_kind(frame[name]) for name in frame}
    levels = {"c": np.array(["a", None, np.nan, "b"], dtype=object)}
    assert declared_levels(levels, frame, kinds) == {"c": ["a", "b"]}
    with pytest.raises(ValueError, match="must be True and False"):
        declared_levels({"flag": ["no", "yes"]}, frame, kinds)


def test_rare_levels_are_not_told():
    series = pd.Series(["common"] * 500 + ["rare"] * 3, name="c")
    column = category_column(series, None, counter(sigma=10.0), 12)
    assert [v for part in column.parts for v, _ in part] == [None, "common"]
    # Their rows are those of the most frequent level, and not missing ones.
    assert column.encode(pd.Series(["rare", "common", None])).tolist() == [1, 1, 0]


def test_missing_values_are_counted_where_levels_are_declared():
    series = pd.Series(["a"] * 300 + [None] * 100 + ["not declared"] * 50, name="c")
    column = category_column(series, ["a", "b"], counter(sigma=0.1), 12)
    shares = dict(
        zip([part[0][0] for part in column.parts], column.counts, strict=True)
    )
    assert shares == pytest.approx({None: 100, "a": 300, "b": 0}, abs=1)


def test_levels_without_a_code_of_their_own_keep_their_shares():
    counts = np.array([1000 - 50 * i for i in range(14)])
    levels = [f"level {i}" for i in range(14)]
    series = pd.Series(np.repeat(levels, counts), name="c")
    column = category_column(series, levels, counter(sigma=0.1), 12)
    (first, share), *others = column.parts[-1]
    assert [first, *(level for level, _ in others)] == levels[11:]
    shares = [share, *(share for _, share in others)]
    np.testing.assert_allclose(shares, counts[11:] / counts[11:].sum(), atol=1e-3)


@pytest.mark.parametrize(("dtype", "expected"), [("int64", 0.0), ("float64", 500.0)])
def test_a_dtype_without_missing_values_gets_none(dtype, expected):
    assert counter(sigma=1.0).missing_count(500.0, np.dtype(dtype)) == expected
    assert counter(sigma=500.0).missing_count(500.0, np.dtype(dtype)) == 0.0


def ends_of(column):
    """Least and greatest end of the intervals and values of a column of numbers."""
    values = [np.ravel(v) for part in column.parts[1:] for v, _ in part]
    return np.min(np.concatenate(values)), np.max(np.concatenate(values))


def test_bounds_that_were_found_are_open_at_their_lower_end():
    """Whole numbers above a power of two begin at the next one."""
    series = pd.Series(np.repeat(np.arange(9, 17), 200), name="x")
    low, high = ends_of(number_column(series, None, counter(sigma=0.1), 12))
    assert (low, high) == (8.5, 16.5)
    # Those that are declared are closed.
    low, high = ends_of(number_column(series, (8, 17), counter(sigma=0.1), 12))
    assert low >= 7.5
    assert high <= 17.5


def test_each_bin_of_whole_numbers_holds_one():
    """Also where a single number has the rows of many bins; empty ones end nowhere."""
    stars = pd.Series(np.repeat(np.arange(1, 6), 2_000), name="stars")
    column = number_column(stars, (0, 10), counter(), 12)
    intervals = [v for part in column.parts[1:] for v, _ in part]
    assert all(np.ceil(low) <= np.floor(high) for low, high in intervals)
    drawn = column.draw(column.encode(stars), np.random.default_rng(0))
    counts = np.bincount(np.round(drawn.astype(float)).astype(int), minlength=7)
    np.testing.assert_allclose(counts[1:6], 2_000, atol=40)


def test_zero_is_a_bound_of_numbers_that_are_not_negative():
    values = np.repeat([0.0, 3.0], 1_000)
    assert find_bounds(values, counter(sigma=0.1)) == (0.0, 4.0)


def test_the_last_cell_of_whole_numbers_ends_at_the_bound():
    series = pd.Series(np.random.default_rng(0).integers(0, 1_001, 20_000), name="x")
    column = number_column(series, (0, 1_000), counter(sigma=0.1), 12)
    assert ends_of(column) == (-0.5, 1_000.5)


def test_frequent_values_beyond_declared_bounds_are_clipped():
    series = pd.Series(np.repeat([20.0, 200.0], 500), name="x")
    column = number_column(series, (0, 100), counter(sigma=0.1), 12)
    assert ends_of(column)[1] <= 100
    assert column.counts.sum() == pytest.approx(1_000, abs=5)


def test_missing_numbers_have_the_code_of_missing_values():
    series = pd.Series([1.0, np.nan, 3.0] * 300, name="x")
    column = number_column(series, (0, 4), counter(sigma=0.1), 12)
    codes = column.encode(pd.Series([np.nan, 1.0, 3.0]))
    assert codes[0] == 0
    assert codes[1:].min() > 0
    assert column.counts[0] == pytest.approx(300, abs=1)


# ------------------------------------------------ what one row must not decide alone


def test_one_cell_does_not_decide_what_an_object_column_holds():
    numbers = pd.Series([1, 2, 3] * 100, dtype=object)
    mixed = pd.concat([numbers, pd.Series(["x"], dtype=object)])
    assert public_kind(numbers) == public_kind(mixed) == "category"


def test_one_row_does_not_decide_how_equal_values_are_told():
    flags = pd.Series([True] + [1] * 500, name="c", dtype=object)
    column = category_column(flags, None, counter(), 12)
    assert [repr(v) for part in column.parts for v, _ in part] == ["None", "1"]
    for zeros in ([-0.0] + [0.0] * 500, [-0.0] * 500):
        column = number_column(pd.Series(zeros, name="x"), (-1, 1), counter(), 12)
        [spike] = [v for part in column.parts for v, _ in part if isinstance(v, float)]
        assert repr(float(spike)) == "0.0"


def test_categories_of_a_dtype_are_not_told():
    dtype = pd.CategoricalDtype(["low", "secret", "high"], ordered=True)
    column = as_dtype(["high", "low", None], dtype)
    assert column.categories.tolist() == ["low", "high"]
    assert column.ordered
    dtype = pd.CategoricalDtype(["z", "secret", "a"])
    assert as_dtype(["z", "a"], dtype).categories.tolist() == ["a", "z"]


@pytest.mark.usefixtures("accountant")
@pytest.mark.parametrize("kind", ["U", "S"])
def test_the_longest_string_of_an_array_is_not_told(kind):
    X = np.array([["common", "row"]] * 3_000 + [["an exceptional one", "row"]])
    X = X.astype(kind)
    drawn, *_ = budgets.private_table(X, Budget(5.0), np.random.default_rng(0))
    assert drawn.dtype == f"{kind}6"


def test_a_declared_level_is_drawn_whether_or_not_a_row_has_it():
    """Else the gaps that stand for it would tell that no row does."""
    values = ["high", "secret", "low", None]
    ordered = pd.CategoricalDtype(["low", "high"], ordered=True)
    for dtype in (pd.CategoricalDtype(["low", "high"]), ordered):
        column = as_dtype(values, dtype, ["low", "secret", "high", "other"])
        assert column.tolist()[:3] == values[:3]
        assert column.isna().sum() == 1
    # Nor does the order tell of it.
    assert column.categories.tolist() == ["low", "secret", "high"]


def test_a_declared_level_is_one_of_an_enum_whether_or_not_a_row_has_it():
    table = pd.DataFrame({"c": ["a", "b", "secret"]})
    declared = {"c": ["secret", "b", "a", "other"]}
    without, with_it = (
        narrowed_schema(schema_of(as_polars(rows)), table, declared)
        for rows in (table[:2], table)
    )
    assert without == with_it
    drawn = to_polars(table, without)["c"]
    assert drawn.to_list() == ["a", "b", "secret"]
    assert drawn.dtype.categories.to_list() == ["secret", "b", "a"]


def as_polars(table):
    polars = pytest.importorskip("polars")
    levels = polars.Enum([*sorted(set(table["c"])), "declared"])
    return polars.from_pandas(table).with_columns(polars.col("c").cast(levels))


QUERIES = {
    "transform": lambda model, rows: model.transform(rows),
    "score": lambda model, rows: model.score(rows),
    "explain": lambda model, rows: model.explain_samples(rows),
    "bound": lambda model, rows: model.evidence_lower_bound(rows),
    "impute": lambda model, rows: model.impute(rows, random_state=0),
    "sample": lambda model, rows: model.sample(3, random_state=0),
}


def test_a_model_keeps_nothing_of_earlier_fits_and_of_rows_that_it_is_asked_about(
    monkeypatch,
):
    rng = np.random.default_rng(0)
    drawn = pd.DataFrame({"x": rng.normal(size=60), "c": ["a", "b", "a"] * 20})
    rows = pd.DataFrame({"x": [1.0, 7.0] * 40, "c": ["secret", "b"] * 40})
    monkeypatch.setattr(_vae, "private_table", lambda *a: (drawn.copy(), 1.0, 1e-6))
    monkeypatch.setattr("time.time", lambda: 0.0)
    options = {**QUICK, "handle_unknown": "ignore", "random_state": 0}
    model = VAETransformer(**options, privacy=Budget()).fit(rows)
    used = VAETransformer(**options).fit(rows).partial_fit(rows)
    used.set_params(privacy=Budget()).fit(rows)
    for state in (model, used):
        for query in QUERIES.values():
            query(state, rows)
    assert vars(used).keys() == vars(model).keys()
    for name, value in vars(model).items():
        assert pickle.dumps(vars(used)[name]) == pickle.dumps(value), name
    assert b"secret" not in pickle.dumps(used)


def test_rows_learnt_without_a_budget_end_what_it_promised(monkeypatch):
    drawn = pd.DataFrame({"x": np.arange(60.0)})
    monkeypatch.setattr(_vae, "private_table", lambda *a: (drawn.copy(), 1.0, 1e-6))
    model = VAETransformer(**QUICK, random_state=0)
    assert model.partial_fit(drawn).epsilon_ is model.delta_ is None
    model = VAETransformer(**QUICK, random_state=0, privacy=Budget()).fit(drawn)
    assert (model.epsilon_, model.delta_) == (1.0, 1e-6)
    model.set_params(privacy=None).partial_fit(drawn)
    assert model.epsilon_ is model.delta_ is None


@pytest.mark.parametrize("container", [pd.DataFrame, as_polars])
def test_nothing_of_the_table_reaches_the_model_but_what_was_drawn(
    container, monkeypatch
):
    """Other rows, levels, gaps and another length: the same model, bit for bit."""
    rng = np.random.default_rng(0)
    drawn = pd.DataFrame({"x": rng.normal(size=60), "c": ["a", "b", "a"] * 20})
    monkeypatch.setattr(_vae, "private_table", lambda *a: (drawn.copy(), 1.0, 1e-6))
    first = pd.DataFrame({"x": np.arange(50.0), "c": ["a"] * 25 + ["b"] * 25})
    other = pd.DataFrame(
        {"x": [np.nan] * 70 + [1e9], "c": ["a", "secret"] * 35 + ["b"]}
    )
    states = []
    monkeypatch.setattr("time.time", lambda: 0.0)  # A model has its epochs' durations.
    for table in (first, other):
        model = VAETransformer(**QUICK, privacy=Budget(), random_state=0)
        model.fit(container(table))
        states.append(pickle.dumps(model))
    assert states[0] == states[1]


def test_noise_cannot_be_repeated_from_what_a_model_holds(monkeypatch):
    drawn = pd.DataFrame({"x": np.arange(60.0)})
    seen = []

    def spied(X, budget, rng, constraints):
        seen.append(rng.random())
        return drawn, 1.0, 1e-6

    monkeypatch.setattr(_vae, "private_table", spied)
    model = VAETransformer(**QUICK, random_state=0)
    for budget in (Budget(), Budget(), Budget(noise_seed=3), Budget(noise_seed=3)):
        model.set_params(privacy=budget).fit(drawn)
    assert seen[0] != seen[1]
    assert seen[2] == seen[3] not in seen[:2]


@pytest.mark.usefixtures("accountant")
def test_noise_at_two_epsilons_does_not_cancel(table, monkeypatch):
    """Of one seed, too: else two fits would tell every count exactly."""
    noise = []
    original = NoisyCounts.histogram

    def histogram(self, codes, size, weight=1.0):
        noisy = original(self, codes, size, weight)
        errors = noisy - np.bincount(codes, minlength=size)
        noise.append(errors * np.sqrt(weight) / self.sigma)
        return noisy

    monkeypatch.setattr(NoisyCounts, "histogram", histogram)
    for epsilon in (4.0, 5.0):
        budgets.private_table(
            table[["x"]], Budget(epsilon), np.random.default_rng(seed=0)
        )
    half = len(noise) // 2
    first, second = (np.concatenate(part) for part in (noise[:half], noise[half:]))
    n = min(len(first), len(second))
    assert abs(np.corrcoef(first[:n], second[:n])[0, 1]) < 0.15


@pytest.mark.usefixtures("accountant")
def test_all_histograms_are_paid_for(monkeypatch):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "number": rng.normal(size=3_000),
            "bounded": rng.normal(size=3_000),
            "level": rng.choice(["a", "b"], 3_000),
            "declared": rng.choice(["a", "b"], 3_000),
        }
    )
    budget = Budget(
        5.0, bounds={"bounded": (-4, 4)}, categories={"declared": ["a", "b"]}
    )
    charged = []
    monkeypatch.setattr(
        budgets, "spent_epsilon", lambda events, delta: charged.append(events) or 1.0
    )
    budgets.private_table(table, budget, np.random.default_rng(0))
    # Of the rows 1; of numbers 4, of bounded ones 3; of levels 1 each.
    [(kind, _, times), *_] = charged[-1]
    assert (kind, times) == ("GaussianDpEvent", 1 + 4 + 3 + 1 + 1)
    monkeypatch.setattr(budgets, "n_histograms", lambda *a: 1)
    with pytest.raises(
        RuntimeError, match=r"told are \(10.0, 6, 6\), and \(5, 6, 6\) are paid"
    ):
        budgets.private_table(table, budget, np.random.default_rng(0))


def arrow_columns():
    if find_spec("pyarrow") is None:
        return []
    import pyarrow as pa

    days = [datetime.date(2020, 1, 2), None]
    cells = {
        pa.time64("us"): [datetime.time(1, 2, 3), None],
        pa.time32("s"): [datetime.time(23), None],
        pa.date32(): days,
        pa.timestamp("us", "Europe/Paris"): [pd.Timestamp("2020-01-01T12Z"), None],
        pa.decimal128(8, 2): [Decimal("1.25"), None],
        pa.null(): [None, None],
    }
    return [
        pd.Series(values, dtype=pd.ArrowDtype(kind)) for kind, values in cells.items()
    ]


TIMES = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(0, 9, 0.5), unit="D")


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(TIMES),
        pd.Series(TIMES.tz_localize("Europe/Paris")),
        pd.Series(TIMES.to_period("h")),
        pd.Series(TIMES - TIMES[0]),
        pd.Series([0, 255, 300], dtype="UInt16"),
        pd.Series([-128, 127], dtype="int8"),
        pd.Series([0.5, 2.0], dtype="float32"),
        pd.Series([True, False]),
        *arrow_columns(),
    ],
    ids=lambda column: str(column.dtype),
)
def test_values_come_back_as_the_dtype(column):
    values = column.astype(object) if column.dtype == bool else to_floats(column)
    back = pd.Series(as_dtype(values, column.dtype))
    pd.testing.assert_series_equal(back, column, check_names=False)


def test_a_bin_that_goes_beyond_a_day_ends_with_it():
    pa = pytest.importorskip("pyarrow")
    times = pd.Series(as_dtype([1.25, 0.5], pd.ArrowDtype(pa.time64("us"))))
    assert times.tolist() == [
        datetime.time(23, 59, 59, 999999),
        datetime.time(12),
    ]


def test_numbers_stay_within_an_integer_dtype():
    assert list(as_dtype([-129.0, 128.0], np.dtype("int8"))) == [-128, 127]
    assert list(as_dtype([-3.0, 2.0**64], np.dtype("uint64")))[0] == 0


def test_projection_is_the_nearest_point():
    rng = np.random.default_rng(0)
    values = rng.normal(size=6)
    nearest = project_simplex(values)
    assert nearest.sum() == pytest.approx(1)
    assert nearest.min() >= 0
    others = rng.dirichlet(np.ones(6), 2_000)
    assert ((others - values) ** 2).sum(1).min() >= ((nearest - values) ** 2).sum()


def test_a_table_made_consistent_has_the_margins():
    rng = np.random.default_rng(0)
    first, second = rng.dirichlet(np.ones(3)), rng.dirichlet(np.ones(4))
    table = consistent(rng.normal(50, 20, (3, 4)), first, second, 1_000)
    np.testing.assert_allclose(table.sum(1), first, atol=1e-4)
    np.testing.assert_allclose(table.sum(0), second, atol=1e-4)


def test_noise_of_empty_cells_is_taken_away():
    """Less is left than where counts below 0 are set to 0."""
    rng = np.random.default_rng(0)
    truth = np.diag(rng.dirichlet(np.ones(12)))
    counts = 1_000 * truth + rng.normal(0, 15, truth.shape)
    margins = truth.sum(1), truth.sum(0)
    made = consistent(counts, *margins, 1_000)
    cut = np.maximum(counts, 0) / np.maximum(counts, 0).sum()
    assert np.abs(made - truth).sum() < 0.5 * np.abs(cut - truth).sum()
    assert np.abs(made[~np.eye(12, dtype=bool)]).sum() < 0.12


def test_without_noise_pairs_are_those_of_the_table():
    rng = np.random.default_rng(0)
    a = rng.integers(1, 4, 5_000)
    codes = np.stack([a, np.where(rng.random(5_000) < 0.8, a, 1), 4 - a], axis=1)
    columns = [
        category_column(
            pd.Series(column.astype(str), name="c"), None, counter(0.01), 12
        )
        for column in codes.T
    ]
    coded = np.stack(
        [c.encode(pd.Series(x.astype(str))) for c, x in zip(columns, codes.T,
                                                           strict=True)], axis=1
    )  # fmt: skip
    noisy = NoisyPairs(coded, [4, 4, 4], sigma=0.01, epsilon=1e6, rng=rng)
    drawn = draw_codes(noisy, columns, 3, 5_000, rng)
    assert noisy.n_chosen == noisy.n_measured == 3
    for pair in [(0, 1), (0, 2), (1, 2)]:
        real, made = (pair_counts(t, [4, 4, 4], pair) for t in (coded, drawn))
        assert np.abs(real - made).sum() / 10_000 < 0.02


def test_noise_of_many_cells_does_not_choose_their_pair():
    """What noise adds to the error of a pair is taken off, cell by cell."""
    codes = np.zeros((100, 3), dtype=np.int64)
    rng = np.random.default_rng(0)
    pairs = NoisyPairs(codes, [1, 2, 50], 10.0, 1e9, rng)
    expected = {pair: counts.astype(float) for pair, counts in pairs.counts.items()}
    expected[0, 1] -= 20.0  # an error of 40
    expected[1, 2][0, 0] -= 60.0
    assert pairs.choose(expected) == (0, 1)


def test_pairs_beside_the_tree_are_kept():
    """Three columns of which each depends on both others, all pairs counted."""
    rng = np.random.default_rng(0)
    a = rng.integers(0, 2, 20_000)
    b = np.where(rng.random(20_000) < 0.8, a, 1 - a)
    c = np.where(rng.random(20_000) < 0.8, np.where(rng.random(20_000) < 0.5, a, b), 0)
    codes = np.stack([a, b, c], axis=1)
    columns = [
        PrivateColumn("c", np.dtype(int), [], np.bincount(column), None)
        for column in codes.T
    ]
    noisy = NoisyPairs(codes, [2, 2, 2], sigma=0.01, epsilon=1e9, rng=rng)
    drawn = draw_codes(noisy, columns, 3, 20_000, rng)
    for pair in noisy.counts:
        made = pair_counts(drawn, [2, 2, 2], pair)
        np.testing.assert_allclose(made, noisy.counts[pair], atol=100)


def test_drawn_rows_are_in_random_order(monkeypatch):
    """Also where some are drawn many times."""
    monkeypatch.setattr(marginals, "n_particles_of", lambda d: 20)
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 5, (500, 2))
    columns = [
        PrivateColumn("c", np.dtype(int), [], np.bincount(column), None)
        for column in codes.T
    ]
    noisy = NoisyPairs(codes, [5, 5], sigma=0.01, epsilon=1e9, rng=rng)
    drawn = draw_codes(noisy, columns, 1, 2_000, rng)
    assert (np.diff(drawn, axis=0) != 0).any(axis=1).sum() > 1_000


def test_margins_hold_where_noise_has_emptied_a_row():
    counts = np.array([[0.0, 0.0], [40.0, 60.0]])
    table = consistent(counts, np.array([0.2, 0.8]), np.array([0.5, 0.5]), 100)
    np.testing.assert_allclose(table.sum(1), [0.2, 0.8], atol=1e-6)
    np.testing.assert_allclose(table.sum(0), [0.5, 0.5], atol=1e-6)


def test_one_pair_raises_a_weight_by_a_bounded_factor():
    particles = np.zeros((1_000, 2), dtype=np.int64)
    particles[0] = 1
    shares = np.array([[0.5, 0.0], [0.0, 0.5]])
    weights = np.full(1_000, 1e-3)
    weights = marginals.rake(particles, weights, {(0, 1): shares}, [2, 2], 1)
    largest = marginals.MAX_WEIGHT_FACTOR / (0.5 / 0.999)
    assert weights[0] / weights[1] == pytest.approx(largest)


# ------------------------------------------------------------------------ the fit


@pytest.mark.usefixtures("accountant")
def test_a_fit_with_a_budget(table):
    model = VAETransformer(
        **QUICK, privacy=Budget(epsilon=5.0, noise_seed=0), random_state=0
    )
    drawn = model.fit(table).sample(2_000, random_state=0)
    assert 4.9 < model.epsilon_ <= 5.0
    assert model.delta_ == 1e-6
    pd.testing.assert_series_equal(drawn.dtypes, table.dtypes)
    assert drawn["hole"].isna().mean() == pytest.approx(0.3, abs=0.1)
    assert (drawn["paid"] == 0).mean() == pytest.approx(0.7, abs=0.15)
    assert np.isfinite(model.score_samples(table[:50])).all()
    assert model.transform(table[:5]).shape == (5, 2)
    assert (model.sample(9, conditions={"high": "yes"})["high"] == "yes").all()


@pytest.mark.usefixtures("accountant")
def test_missing_cells_are_filled_in_with_a_budget(table):
    model = VAETransformer(
        **QUICK,
        sampling="any_order",
        privacy=Budget(epsilon=5.0, noise_seed=0),
        random_state=0,
    ).fit(table)
    rows = table[:50].copy()
    rows.loc[::2, "x"] = np.nan
    filled = model.impute(rows)
    assert filled.notna().all(axis=None)
    pd.testing.assert_series_equal(filled["x"][1::2], rows["x"][1::2])
    drawn = model.sample(9, conditions={"x": (90, 110), "high": "no"}, random_state=0)
    assert drawn["x"].between(90, 110).all()
    assert (drawn["high"] == "no").all()


@pytest.mark.usefixtures("accountant")
def test_constraints_hold_with_a_budget(table):
    pair = table[["x"]].assign(above=table["x"] + 40)
    model = VAETransformer(
        **QUICK,
        constraints=[Inequality("x", "above")],
        privacy=Budget(epsilon=5.0, noise_seed=0),
        random_state=0,
    ).fit(pair)
    drawn = model.sample(200, random_state=0)
    assert (drawn["x"] <= drawn["above"]).all()
    # Where noised counts cannot know of a constraint, the fit is refused.
    model.set_params(constraints=[Linear({"above": 1, "x": -1}, 40)])
    with pytest.raises(ValueError, match="are too few for a fit with a budget"):
        model.fit(pair)


@pytest.mark.usefixtures("accountant")
def test_the_private_table_keeps_a_dependence(table):
    drawn, *_ = budgets.private_table(
        table, Budget(epsilon=5.0), np.random.default_rng(0)
    )
    means = drawn.groupby("high")["x"].mean()
    real = table.groupby("high")["x"].mean()
    assert means["yes"] - means["no"] == pytest.approx(real["yes"] - real["no"], abs=5)
    assert abs(len(drawn) - len(table)) < 200


@pytest.mark.usefixtures("accountant")
def test_arrays_stay_arrays():
    X = np.random.default_rng(0).normal(size=(3_000, 2))
    model = VAETransformer(
        **QUICK, privacy=Budget(epsilon=5.0, noise_seed=0), random_state=0
    )
    assert isinstance(model.fit(X).sample(3), np.ndarray)
    model.set_params(privacy=None).fit(X[:100])
    assert model.epsilon_ is None


def test_a_column_without_a_frequent_level_is_named():
    plan = budgets.Plan(rho=1e6, n_single=2, n_rounds=0)
    parts = [[(None, 1.0)]]
    for dtype, advice in (("object", "convert it"), ("category", "declare its")):
        column = PrivateColumn("city", np.dtype("O"), parts, np.zeros(1), None)
        column.dtype = pd.Series([], dtype=dtype).dtype
        with pytest.raises(ValueError, match=f"no value of column 'city'.*{advice}"):
            budgets.check_useful(plan, 1_000, 1e-6, [column])


def test_rows_that_meet_constraints_are_numbered_anew():
    table = pd.DataFrame({"a": [1, 5, 2, 3], "b": [2, 4, 3, 4]})
    kept = budgets.without_broken(table, [Inequality("a", "b")])
    assert kept.index.tolist() == [0, 1, 2]
    assert kept["a"].tolist() == [1, 2, 3]


def test_processes_that_share_a_fit_share_the_noise():
    class Group:
        def broadcast(self, word):
            return 7

    first, second = (budgets.noise_generator(Budget(), Group()) for _ in range(2))
    assert first.normal() == second.normal()
    first, second = (budgets.noise_generator(Budget()) for _ in range(2))
    assert first.normal() != second.normal()


@pytest.mark.usefixtures("accountant")
def test_a_budget_that_is_too_small_names_the_smallest_useful_one(table):
    few = table[["x", "high"]][:400]
    with pytest.raises(ValueError, match="smallest useful one is about") as caught:
        budgets.private_table(few, Budget(epsilon=0.1), np.random.default_rng(0))
    least = float(str(caught.value).partition("is about ")[2].partition(";")[0])
    budgets.private_table(few, Budget(epsilon=2 * least), np.random.default_rng(0))


def test_a_budget_is_for_one_fit(table):
    model = VAETransformer(**QUICK, privacy=Budget())
    with pytest.raises(ValueError, match="budget of a single fit"):
        model.partial_fit(table)
    with pytest.raises(ValueError, match="budget of a single fit"):
        model.set_params(warm_start=True).fit(table)


def test_parameters_that_do_not_go_together_spend_nothing(monkeypatch, table):
    def spend(*args):
        raise AssertionError("the rows were read")

    monkeypatch.setattr("sklearn_unsup._vae.private_table", spend)
    options = {"sampling": "any_order", "image_shape": (2, 2), "privacy": Budget()}
    with pytest.raises(ValueError, match="sampling='any_order' is for tables"):
        VAETransformer(**options).fit(table)


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (Budget(epsilon=0), "epsilon must be a number above 0"),
        (Budget(noise_seed=-1), "noise_seed must be None or an int"),
        (Budget(delta=0.5), "delta must lie between 0 and 0.1"),
        (Budget(bounds={"z": (0, 1)}), "bounds must name columns"),
        (Budget(categories={"z": ["a"]}), "categories must name columns"),
        (Budget(bounds={"x": (1, 0)}), "a lower and a higher number"),
        (Budget(bounds={"high": (0, 1)}), "bounds are for columns of numbers"),
        (Budget(categories={"x": [1]}), "categories are for columns of categories"),
        (Budget(bounds=[("x", 0, 1)]), "bounds must be a dict by column or None"),
        (Budget(bounds={"x": 1}), "a lower and a higher number, got 1"),
        (Budget(bounds={"x": (0, np.inf)}), "a lower and a higher number"),
        (Budget(bounds={"x": ("1", "2")}), "a lower and a higher number"),
        (Budget(bounds={"day": (0, 1)}), "a lower and a higher date"),
        (Budget(bounds={"paid": (0.2, 0.8)}), "must have one between them"),
        (Budget(categories={"high": ["no", "no"]}), "one or more different levels"),
        (Budget(categories={"high": [None]}), "one or more different levels"),
        (Budget(categories={"high": "no"}), "one or more different levels"),
        (Budget(categories={"high": [["no"]]}), "one or more different levels"),
        (Budget(categories={"high": 2}), "one or more different levels"),
    ],
)
def test_budgets_that_are_refused(budget, message, table):
    with pytest.raises(ValueError, match=message):
        VAETransformer(**QUICK, privacy=budget).fit(table)


# --------------------------------------------------------------------------- proof


@pytest.fixture
def told(monkeypatch):
    """All that private tables tell of their rows: exact and noisy counts."""
    monkeypatch.setattr(marginals, "n_particles_of", lambda d: 200)
    monkeypatch.setattr(budgets, "check_useful", lambda *a: None)
    seen = []
    histogram, measure = NoisyCounts.histogram, NoisyPairs.measure

    def spied_histogram(self, codes, size, weight=1.0):
        noisy = histogram(self, codes, size, weight)
        exact = np.bincount(codes, minlength=size)
        # In units of noise of weight one.
        seen.append((exact, exact + (noisy - exact) * np.sqrt(weight)))
        return noisy

    def spied_measure(self, pair):
        noisy = measure(self, pair)
        seen.append((self.counts[pair].ravel(), noisy.ravel()))
        return noisy

    monkeypatch.setattr(NoisyCounts, "histogram", spied_histogram)
    monkeypatch.setattr(NoisyPairs, "measure", spied_measure)
    return seen


def canary_evidence(told, n_fits, epsilon=1.0):
    """The best attack: log-likelihood ratios with a canary in half of the fits.

    Whoever makes it has all noised counts, and knows all rows but the canary, and
    where it is counted.
    """
    declared = Budget(epsilon, categories={"a": list("xyz"), "b": list("uv")})
    rows = pd.DataFrame({"a": list("xxxxyy") * 200, "b": list("uuuvuv") * 200})
    canary = pd.DataFrame({"a": ["z"], "b": ["v"]})
    d = rows.shape[1]
    plan = budgets.make_plan(epsilon, 0.5 * declared.delta, 1 + d, 1)
    sigmas = np.array([plan.sigma_single] * (1 + d) + [plan.sigma_pair])
    tables = {False: rows, True: pd.concat([rows, canary], ignore_index=True)}
    exact, evidence = {}, {False: [], True: []}
    for seed in range(n_fits):
        is_member = seed % 2 == 0
        told.clear()
        budgets.private_table(tables[is_member], declared, np.random.default_rng(seed))
        exact.setdefault(is_member, [counts for counts, _ in told])
        evidence[is_member].append([noisy for _, noisy in told])
    without, with_it = exact[False], exact[True]
    assert [np.abs(a - b).sum() for a, b in zip(without, with_it, strict=True)] == [
        1
    ] * len(sigmas)
    scores = {
        is_member: [
            sum(
                (((v - a) ** 2).sum() - ((v - b) ** 2).sum()) / (2 * sigma**2)
                for v, a, b, sigma in zip(fit, without, with_it, sigmas, strict=True)
            )
            for fit in fits
        ]
        for is_member, fits in evidence.items()
    }
    return scores, (1 / sigmas**2).sum()


@pytest.mark.usefixtures("accountant")
def test_evidence_of_a_canary_is_what_the_accountant_was_told(told):
    """Of normal noise it is normal: mean and variance follow from what was charged."""
    scores, information = canary_evidence(told, 100)
    for is_member, sign in [(True, 1), (False, -1)]:
        standard = np.array(scores[is_member]) - sign * information / 2
        standard /= np.sqrt(information)
        assert stats.kstest(standard, "norm").pvalue > 0.001
    assert epsilon_lower_bound(scores[True], scores[False], random_state=0) <= 1.0


@pytest.mark.usefixtures("accountant")
def test_noise_in_use_is_the_noise_that_was_charged(told, table, monkeypatch):
    charged, choices, spent = [], [], budgets.spent_epsilon
    choose = NoisyPairs.choose
    monkeypatch.setattr(
        budgets, "spent_epsilon", lambda *a: charged.append(a[0]) or spent(*a)
    )
    monkeypatch.setattr(
        NoisyPairs,
        "choose",
        lambda self, expected: choices.append(self.epsilon) or choose(self, expected),
    )
    table = table.assign(more=table["x"] % 3)  # 15 pairs, of which 12 are counted
    budgets.private_table(table, Budget(5.0), np.random.default_rng(0))
    (_, sigma, n_single), (_, sigma_pair, n_rounds), (_, rho, n_choices) = charged[-1]
    noise = [noisy - exact for exact, noisy in told]
    assert len(choices) == n_rounds == n_choices == 12
    np.testing.assert_allclose(np.square(choices) / 8, rho)
    # Histograms of numbers that may repeat are not among those that are seen here.
    assert len(noise) == n_single - table.shape[1] + n_rounds
    for errors, scale in ((noise[:-n_rounds], sigma), (noise[-n_rounds:], sigma_pair)):
        standard = np.concatenate(errors) / scale
        assert standard.std() == pytest.approx(1, abs=4 / np.sqrt(2 * len(standard)))


@pytest.mark.usefixtures("accountant")
def test_a_canary_is_found_where_noise_is_too_small(told, monkeypatch):
    monkeypatch.setattr(
        budgets, "NoisyCounts", lambda sigma, *rest: NoisyCounts(sigma / 32, *rest)
    )
    monkeypatch.setattr(
        budgets,
        "NoisyPairs",
        lambda codes, sizes, sigma, *rest: NoisyPairs(codes, sizes, sigma / 32, *rest),
    )
    scores, _ = canary_evidence(told, 80)
    assert epsilon_lower_bound(scores[True], scores[False], random_state=0) > 1.0


@pytest.mark.usefixtures("accountant")
def test_rows_are_seen_through_noised_counts_alone(told, monkeypatch):
    """Once what is counted is the same, two tables that share no row give one."""
    monkeypatch.setattr(
        NoisyCounts,
        "histogram",
        lambda self, codes, size, weight=1.0: np.full(size, 40.0),
    )
    monkeypatch.setattr(NoisyCounts, "n_told", property(lambda self: 6, lambda *a: 0))
    monkeypatch.setattr(
        NoisyCounts,
        "frequent",
        lambda self, values: (
            (np.array(["", "'u'"]), np.array([40.0, 90.0]))
            if values.dtype == object
            else (np.array([1.5]), np.array([30.0]))
        ),
    )
    monkeypatch.setattr(NoisyPairs, "n_chosen", property(lambda self: 1, lambda *a: 0))
    monkeypatch.setattr(
        NoisyPairs, "n_measured", property(lambda self: 1, lambda *a: 0)
    )
    monkeypatch.setattr(NoisyPairs, "choose", lambda self, expected: min(expected))
    monkeypatch.setattr(
        NoisyPairs, "measure", lambda self, p: np.ones(self.counts[p].shape)
    )
    first = pd.DataFrame({"x": [1.5, 2.0, np.nan], "c": ["u", "v", None]})
    other = pd.DataFrame({"x": [-1e6] * 50, "c": list("uwxyz") * 10})
    tables = [
        budgets.private_table(
            table.astype({"c": object}), Budget(), np.random.default_rng(0)
        )[0]
        for table in (first, other)
    ]
    pd.testing.assert_frame_equal(*tables)
