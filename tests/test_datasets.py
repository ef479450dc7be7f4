"""The generated rows against the stated truth.

Every bound follows from the number of rows and ALPHA, the chance that a correct
generator would fail one comparison under another seed.
"""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sklearn_unsup.datasets import MixedTableTruth, make_mixed_table

ALPHA = 1e-6
N_SAMPLES = 20_000
CATEGORICAL = ["plan", "region", "active"]
NUMERIC = ["height", "weight", "visits", "spend", "joined"]
CONDITIONS = [
    None,
    {"plan": "pro"},
    {"plan": "trial"},
    {"region": None},
    {"region": "west", "active": False},
]


@pytest.fixture(scope="module")
def drawn():
    return make_mixed_table(N_SAMPLES, random_state=0)


def as_numbers(values):
    """Present values of a column; dates as days since 2020-01-01."""
    values = values.dropna()
    if values.dtype.kind == "M":
        values = (values - pd.Timestamp("2020-01-01")) / pd.Timedelta(days=1)
    return values.to_numpy(dtype=float)


def select(table, conditions):
    for column, level in (conditions or {}).items():
        values = table[column]
        table = table[values.isna() if level is None else values == level]
    return table


def assert_frequencies(counts, probabilities):
    """Chi-square test; cells that expect fewer than five rows are put together."""
    counts, probabilities = np.asarray(counts), np.asarray(probabilities)
    assert probabilities.sum() == pytest.approx(1.0)
    assert counts[probabilities == 0].sum() == 0
    expected = probabilities * counts.sum()
    small = expected < 5
    observed = np.append(counts[~small], counts[small].sum())
    expected = np.append(expected[~small], expected[small].sum())
    kept = expected > 0
    if kept.sum() > 1:
        assert stats.chisquare(observed[kept], expected[kept]).pvalue > ALPHA


@pytest.mark.parametrize("conditions", CONDITIONS)
@pytest.mark.parametrize("column", CATEGORICAL)
def test_levels(drawn, column, conditions):
    table, truth = drawn
    expected = truth.probabilities(column, conditions=conditions)
    counts = select(table, conditions)[column].value_counts(dropna=False)
    counts.index = counts.index.astype(object)
    assert counts.reindex(expected.index).sum() == counts.sum()
    assert_frequencies(counts.reindex(expected.index).fillna(0), expected)


@pytest.mark.parametrize("pair", [*combinations(CATEGORICAL, 2)])
def test_pairs_of_levels(drawn, pair):
    table, truth = drawn
    expected = truth.probabilities(*pair)
    counts = table.astype(dict.fromkeys(pair, object))
    counts = counts.groupby(list(pair), dropna=False).size()
    assert_frequencies(counts.reindex(expected.index).fillna(0), expected)


@pytest.mark.parametrize("conditions", CONDITIONS)
@pytest.mark.parametrize("column", NUMERIC)
def test_distribution_functions(drawn, column, conditions):
    # Dvoretzky-Kiefer-Wolfowitz with Massart's constant: holds for jumps as well
    table, truth = drawn
    values = np.sort(as_numbers(select(table, conditions)[column]))
    points = np.unique(values)
    empirical = np.searchsorted(values, points, side="right") / len(values)
    distance = np.abs(empirical - truth.cdf(column, points, conditions)).max()
    assert distance < np.sqrt(np.log(2 / ALPHA) / (2 * len(values)))


@pytest.mark.parametrize("conditions", CONDITIONS)
@pytest.mark.parametrize("column", NUMERIC)
def test_moments(drawn, column, conditions):
    table, truth = drawn
    values = as_numbers(select(table, conditions)[column])
    mean, std = truth.moments(column, conditions)
    z = stats.norm.isf(ALPHA / 2)
    if std == 0:  # nobody on a trial spends anything
        assert (values == mean).all()
        return
    assert abs(values.mean() - mean) < z * std / np.sqrt(len(values))
    fourth = np.mean(((values - mean) / std) ** 4)
    bound = z * np.sqrt((fourth - 1) / len(values))
    assert abs(np.mean((values - mean) ** 2) / std**2 - 1) < bound


@pytest.mark.parametrize("conditions", [None, {"plan": "basic"}, {"active": True}])
@pytest.mark.parametrize("pair", [*combinations(NUMERIC, 2)])
def test_correlations(drawn, pair, conditions):
    table, truth = drawn
    present = select(table, conditions)[list(pair)].dropna()
    first, second = (as_numbers(present[name]) for name in pair)
    expected = truth.correlation(*pair, conditions)
    # the variance of a correlation, from the same standardised products (delta method)
    x, y = stats.zscore(first), stats.zscore(second)
    observed = np.mean(x * y)
    influence = x * y - observed * (x**2 + y**2) / 2
    bound = stats.norm.isf(ALPHA / 2) * influence.std() / np.sqrt(len(x))
    assert abs(observed - expected) < bound


def test_height_and_weight_within_a_segment(drawn):
    # the tallest segment hardly overlaps the others: its own correlation shows
    table, _ = drawn
    tall = table[table["height"] > 187].dropna(subset="height")
    slope = stats.linregress(tall["height"], tall["weight"])
    assert abs(slope.slope - 0.8 * 6 / 3) < 5 * slope.stderr


@pytest.mark.parametrize("conditions", CONDITIONS)
@pytest.mark.parametrize("column", CATEGORICAL + NUMERIC)
def test_missing_values(drawn, column, conditions):
    table, truth = drawn
    rows = select(table, conditions)
    p = truth.missing_probability(column, conditions)
    n_missing = int(rows[column].isna().sum())
    if p in (0, 1):
        assert n_missing == p * len(rows)
    else:
        assert stats.binomtest(n_missing, len(rows), p).pvalue > ALPHA


def test_dates_and_probabilities_meet(drawn):
    _, truth = drawn
    dates = pd.to_datetime(["2020-05-01", "2021-01-01"])
    days = (dates - pd.Timestamp("2020-01-01")).days
    np.testing.assert_array_equal(
        truth.cdf("joined", dates), truth.cdf("joined", np.array(days))
    )


def test_dtypes(drawn):
    table, _ = drawn
    assert table.dtypes.map(lambda dtype: dtype.kind).to_dict() == {
        **{"height": "f", "weight": "f", "visits": "i", "spend": "f", "joined": "M"},
        **{"plan": "O", "region": "O", "active": "b"},
    }
    assert isinstance(table["plan"].dtype, pd.CategoricalDtype)
    assert (table["joined"] == table["joined"].dt.normalize()).all()
    assert table["spend"].between(0, 100).all()


def test_nothing_missing_at_rate_zero():
    table, truth = make_mixed_table(2000, missing_rate=0, random_state=0)
    assert not table.isna().any(axis=None)
    assert truth.missing_probability("height") == 0
    assert truth.probabilities("region").index.notna().all()


def test_a_table_of_one_row():
    table, _ = make_mixed_table(1, random_state=0)
    assert table.shape == (1, 8)
    larger, _ = make_mixed_table(2, random_state=0)
    pd.testing.assert_series_equal(table.dtypes, larger.dtypes)


@pytest.mark.parametrize(
    "make_seed",
    [lambda: 7, lambda: np.random.RandomState(7), lambda: np.random.default_rng(7)],
)
def test_the_seed_decides(make_seed):
    first, _ = make_mixed_table(50, random_state=make_seed())
    again, _ = make_mixed_table(50, random_state=make_seed())
    pd.testing.assert_frame_equal(first, again)
    unseeded, _ = make_mixed_table(50)
    assert not first.equals(unseeded)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_mixed_table(0), "n_samples must be an integer >= 1, got 0"),
        (lambda: make_mixed_table(9, missing_rate=0.6), "missing_rate must be in"),
        (lambda: MixedTableTruth(-1), "missing_rate must be in"),
        (lambda: MixedTableTruth().probabilities("height"), "columns must be one of"),
        (lambda: MixedTableTruth().moments("plan"), "column must be one of"),
        (lambda: MixedTableTruth().missing_probability("age"), "column must be one of"),
        (
            lambda: MixedTableTruth().moments("height", {"plan": "gold"}),
            "'plan' must be one of its levels .*basic.*, got 'gold'",
        ),
        (
            lambda: MixedTableTruth().moments("height", {"visits": 1}),
            "conditions: the column must be one of",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_true_likelihood_is_a_density():
    """Against another known density: the mean ratio of the two is one."""
    table, truth = make_mixed_table(40_000, random_state=0)
    scores = truth.score_samples(table)
    other = MixedTableTruth(0.05).score_samples(table)
    ratio = np.exp(other - scores)
    assert ratio.mean() == pytest.approx(1.0, abs=5 * ratio.std() / 200)


def test_true_likelihood_of_a_row():
    row = make_mixed_table(1, random_state=0)[0]
    row["height"], row["weight"], row["visits"], row["spend"] = 148.0, 52.0, 1, 0.0
    row["joined"] = pd.Timestamp("2020-01-01") + pd.Timedelta(146, unit="D")
    row["plan"], row["region"], row["active"] = "basic", "east", True
    # The first segment alone has such rows.
    expected = np.log(0.5 * 0.7 * 0.95 * 0.7 * 0.9 * 0.95 * 0.9)
    expected += stats.norm(150, 5).logpdf(148) + stats.poisson(1).logpmf(1)
    expected += stats.norm(50 - 0.8 * 4 * 0.4, 4 * 0.6).logpdf(52)
    expected += stats.binom(729, 0.2).logpmf(146)
    truth = MixedTableTruth(0.1)
    assert truth.score_samples(row)[0] == pytest.approx(expected, abs=1e-6)
    gone = row.assign(height=np.nan, region=None, spend=40.0)
    expected += np.log(0.05 / 0.95) - stats.norm(150, 5).logpdf(148)
    expected += stats.norm(50, 4).logpdf(52) - stats.norm(48.72, 2.4).logpdf(52)
    expected += np.log(0.05 / 0.95 / 0.7)
    expected += np.log(0.1 / 0.9) + stats.beta(2, 6, scale=100).logpdf(40)
    assert truth.score_samples(gone)[0] == pytest.approx(expected, abs=1e-6)
    assert truth.score_samples(row.assign(visits=-1))[0] == -np.inf
