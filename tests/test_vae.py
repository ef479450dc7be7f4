"""VAETransformer against closed forms, quadrature and a table of known distribution."""

import itertools
import math
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from scipy.sparse import csr_array
from scipy.special import logsumexp
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_predict
from skorch.callbacks import Callback, TrainEndCheckpoint

from sklearn_unsup import VAETransformer
from sklearn_unsup._nn.autoencoders import importance_bound
from sklearn_unsup._sampling import sampler
from sklearn_unsup.datasets import make_mixed_table

ALPHA = 1e-4  # chance that sampling error alone exceeds one bound
Z = stats.norm.isf(ALPHA / 2)
KOLMOGOROV = stats.kstwobign.isf(ALPHA)
N_ROWS, N_DRAWN, N_CONDITIONED = 4_000, 20_000, 3_000
# What a network may be off beyond the error of the rows that it was fitted to and of
# those that it drew: in probability, and in standard deviations of a mean.
TOLERANCE = {"autoregressive": 0.025, "short": 0.05, "latent": 0.04}
CATEGORICAL = ["plan", "region", "active"]
NUMERIC = ["height", "weight", "visits", "spend", "joined"]


# ------------------------------------------------------------------- linear oracles


@pytest.fixture(scope="module")
def linear():
    """A linear model of rows with two factors, and the rows as the codec scales them.

    Every column has the same share of noise, so that probabilistic PCA (one standard
    deviation for all columns) and factor analysis (one each, as here) agree.
    """
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(5, 2))
    loadings /= np.linalg.norm(loadings, axis=1, keepdims=True)
    X = rng.normal(size=(2_000, 2)) @ loadings.T + 0.5 * rng.normal(size=(2_000, 5))
    model = VAETransformer(
        2,
        hidden_layer_sizes=(),
        beta=1.0,
        numeric_scaling="standard",
        sampling="latent",
        latent_density="normal",
        density_ratio=None,
        max_iter=120,
        batch_size=250,
        learning_rate_init=5e-2,
        weight_decay=0.0,
        random_state=0,
    ).fit(X)
    return model, X, (X - X.mean(0)) / X.std(0)


@pytest.fixture(scope="module")
def factors(linear):
    return FactorAnalysis(2, tol=1e-8, max_iter=5_000).fit(linear[2])


def linear_decoder(model):
    """Loadings (columns, components) and noise variances of a linear decoder."""
    zero, one = torch.zeros(1, 2), torch.eye(2)
    with torch.no_grad():
        intercept = model._distribution(zero).location
        loadings = (model._distribution(one).location - intercept).numpy().T
        noise = np.exp(2 * model._distribution(zero).log_scale.numpy())
    return intercept.numpy()[0], loadings.astype(float), noise.astype(float)


def test_likelihood_of_a_linear_model(linear, factors):
    model, X, standard = linear
    best = factors.score(standard)
    intercept, loadings, noise = linear_decoder(model)
    covariance = loadings @ loadings.T + np.diag(noise)
    each = stats.multivariate_normal(intercept, covariance).logpdf(standard)
    exact = each.mean()
    # the maximum of the likelihood is factor analysis's, up to its own tolerance
    assert best - 0.01 < exact < best + 1e-4
    assert PCA(2).fit(standard).score(standard) == pytest.approx(exact, abs=0.01)
    # and the bound is tight: the posterior of a linear model is normal
    bound = model.score_samples(X[:500], n_draws=256).mean()
    assert bound == pytest.approx(each[:500].mean(), abs=5e-3)


def test_subspace_of_a_linear_model(linear, factors):
    model, _, standard = linear
    _, loadings, noise = linear_decoder(model)
    for axes in (factors.components_.T, PCA(2).fit(standard).components_.T):
        bases = np.linalg.qr(loadings)[0], np.linalg.qr(axes)[0]
        cosines = np.linalg.svd(bases[0].T @ bases[1])[1]
        assert cosines.min() > 0.995
    covariance = loadings @ loadings.T + np.diag(noise)
    np.testing.assert_allclose(covariance, factors.get_covariance(), atol=0.08)


def test_codes_of_a_linear_model_are_posterior_means(linear):
    model, X, standard = linear
    intercept, loadings, noise = linear_decoder(model)
    precision = np.eye(2) + loadings.T @ (loadings / noise[:, None])
    means = np.linalg.solve(precision, loadings.T @ ((standard - intercept) / noise).T)
    codes = model.transform(X)
    assert np.abs(codes - means.T).max() < 0.25
    assert np.abs(codes - means.T).mean() < 0.05


def test_rows_of_a_linear_model(linear):
    model, X, _ = linear
    rows = model.sample(20_000, random_state=0)
    # a normal density of codes: rows are normal with the covariance of the table
    scale = X.std(0)
    error = (np.cov(rows.T) - np.cov(X.T)) / np.outer(scale, scale)
    assert np.abs(error).max() < Z * np.sqrt(2 / 20_000) + 0.05


# ------------------------------------------------------------------- scoring


@pytest.fixture(scope="module")
def small():
    """One latent dimension, mixed columns, missing values."""
    X, _ = make_mixed_table(300, random_state=0)
    model = VAETransformer(
        1,
        hidden_layer_sizes=(32,),
        sampling="latent",
        max_iter=40,
        batch_size=50,
        random_state=0,
    )
    return model.fit(X), X


def encoded(model, X):
    """`x_num` and `x_cat` as tensors."""
    return tuple(torch.from_numpy(part) for part in model.codec_.encode(X))


@pytest.fixture(scope="module")
def exact(small):
    """log p(x), the integral over the one latent dimension by the trapezoid rule."""
    model, X = small
    x_num, x_cat = encoded(model, X)
    grid = torch.linspace(-8, 8, 2_001)[:, None]
    distribution = model._distribution(grid)
    with torch.no_grad():
        each = [
            distribution.log_prob(
                x_num[i : i + 1].expand(len(grid), -1),
                x_cat[i : i + 1].expand(len(grid), -1),
            )
            for i in range(len(x_num))
        ]
    log_prior = stats.norm.logpdf(grid[:, 0].double().numpy())
    joint = torch.stack(each).double().numpy() + log_prior
    return logsumexp(joint, axis=1) + np.log(16 / 2_000)


def test_score_approaches_the_log_likelihood(small, exact):
    model, X = small
    many = model.score_samples(X, n_draws=512)
    assert np.abs(many - exact).mean() < 0.05
    assert many.mean() == pytest.approx(exact.mean(), abs=0.05)


def test_score_is_a_lower_bound(small, exact):
    model, X = small
    exact = exact.mean()
    points = torch.randn(400, 1, generator=torch.Generator().manual_seed(0))
    rows, module = encoded(model, X), model.net_.module_.eval()
    with torch.no_grad():
        draws = [importance_bound(module, *rows, p[None]).mean() for p in points]
        eights = [importance_bound(module, *rows, p) for p in points.split(8)]
    one, eight = np.mean(draws), np.mean([each.mean() for each in eights])
    error = np.std(draws) / 20
    assert one + Z * error < exact
    assert one < eight < exact + 0.01
    # what the method returns are those, without their noise
    assert model.score_samples(X, n_draws=1).mean() == pytest.approx(one, abs=0.25)
    assert model.score_samples(X, n_draws=1).mean() < exact
    assert model.score_samples(X, n_draws=8).mean() == pytest.approx(eight, abs=0.1)


def test_score_of_a_row_does_not_depend_on_company(small):
    model, X = small
    scores = model.score_samples(X)
    np.testing.assert_array_equal(scores, model.score_samples(X))
    shuffled = np.random.default_rng(0).permutation(len(X))
    np.testing.assert_allclose(
        model.score_samples(X.iloc[shuffled]), scores[shuffled], atol=1e-4
    )
    alone = [model.score_samples(X.iloc[i : i + 1])[0] for i in range(20)]
    np.testing.assert_allclose(alone, scores[:20], atol=1e-4)
    assert model.score(X) == pytest.approx(scores.mean())


@pytest.mark.parametrize("n_draws", [0, -1, 1.5, "8"])
def test_error_of_n_draws(small, n_draws):
    model, X = small
    with pytest.raises(ValueError, match="n_draws must be an int of at least 1, got"):
        model.score_samples(X, n_draws=n_draws)


def test_rows_unlike_the_training_score_low(small):
    model, X = small
    broken = X.assign(weight=np.random.default_rng(0).permutation(X["weight"]))
    assert model.score(broken) < model.score(X) - 0.3


# ------------------------------------------------------------------- collapse

# ------------------------------------------------------------------- likelihood


@pytest.fixture(scope="module")
def quick():
    """A short fit of autoregressive rows to all kinds of columns."""
    X, _ = make_mixed_table(600, random_state=0)
    X["constant"] = 1.0
    X["price"] = (X["weight"] * 0.37).round(2)
    model = VAETransformer(2, max_iter=3, handle_unknown="ignore", random_state=0)
    return model.fit(X), X


def test_bound_is_no_likelihood(quick, small):
    model, X = quick
    assert not np.allclose(model.score_samples(X), model.evidence_lower_bound(X))
    model, X = small
    bound = model.evidence_lower_bound(X, n_draws=3)
    np.testing.assert_array_equal(model.score_samples(X, n_draws=3), bound)


@pytest.mark.slow
@pytest.mark.parametrize("scaling", ["quantile", "standard"])
def test_likelihood_of_a_discrete_table_sums_to_one(scaling):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "whole": rng.poisson(1.0, 400),
            "level": rng.choice(["a", "b", None], 400),
            "half": rng.integers(0, 3, 400) / 2,
            "flag": rng.random(400) < 0.3,
        }
    )
    table["holes"] = (table["whole"] % 2).where(rng.random(400) < 0.8)
    # Else a share is kept for levels and holes that nobody has seen.
    options = {"handle_unknown": "error", "batch_size": 16, "random_state": 0}
    model = VAETransformer(2, numeric_scaling=scaling, max_iter=3, **options).fit(table)
    cells = range(-25, 40), ["a", "b", None], np.arange(-8, 12) / 2, [False, True]
    holes = [*map(float, range(-25, 30)), None]
    rows = pd.DataFrame(itertools.product(*cells, holes), columns=table.columns)
    rows = rows.astype(table.dtypes)
    probability = np.exp(model.score_samples(rows))
    assert probability.sum() == pytest.approx(1.0, abs=5e-3)
    # Nearly all of it is where rows were.
    seen = rows["whole"].between(0, 9) & rows["half"].between(0, 1)
    seen &= rows["holes"].isin([0, 1]) | rows["holes"].isna()
    assert probability[seen].sum() > (0.98 if scaling == "quantile" else 0.9)


def test_likelihood_of_a_row_does_not_depend_on_company(quick):
    model, X = quick
    scores = model.score_samples(X)
    for index in (np.arange(1), np.arange(7), np.arange(len(X))[::-3]):
        np.testing.assert_array_equal(model.score_samples(X.iloc[index]), scores[index])


@pytest.mark.parametrize("column", ["height", "visits", "spend", "price", "joined"])
def test_numbers_beyond_the_range_score_ever_lower(quick, column):
    model, X = quick
    spread = np.ptp(X[column].dropna()) / 6
    for end, sign in ((X[column].min(), -1), (X[column].max(), 1)):
        rows = X.iloc[[5] * 5].copy()
        far = [end + sign * k * spread for k in (2, 4, 10, 100, 1_000)]
        rows[column] = pd.Series(far, rows.index)
        if column == "visits":
            rows[column] = rows[column].round().astype(int)
        assert (np.diff(model.score_samples(rows)) < -0.3).all()


def test_unseen_levels_and_holes_are_unlikely(quick):
    model, X = quick
    for column, value in (("region", "moon"), ("plan", "gold"), ("weight", None)):
        row = X.iloc[[3]].copy()
        row[column] = pd.Series([value], row.index, dtype=object if value else None)
        terms = model._likelihood_terms(row)[0, X.columns.get_loc(column)]
        assert terms == pytest.approx(-math.log(601))


def test_a_constant_column_counts_nothing(quick):
    model, X = quick
    scores = model.score_samples(X.assign(constant=7.0))
    np.testing.assert_array_equal(scores, model.score_samples(X))


def test_likelihoods_are_in_the_units_of_the_table():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    options = {"max_iter": 3, "random_state": 0, "n_components": 2}
    one = VAETransformer(**options).fit(X).score(X)
    other = VAETransformer(**options).fit(X * [1e3, 1]).score(X * [1e3, 1])
    assert other == pytest.approx(one - math.log(1e3), abs=0.01)


def test_grid_search_compares_scalings():
    X = np.random.default_rng(0).lognormal(size=(200, 2))
    grid = {"numeric_scaling": ["quantile", "standard"]}
    model = VAETransformer(1, max_iter=3, random_state=0)
    search = GridSearchCV(model, grid, cv=2).fit(X)
    entropy = 2 * stats.lognorm(1).entropy()
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_score_ == pytest.approx(-entropy, abs=0.5)


@pytest.mark.parametrize("n_columns", [1, 2])
@pytest.mark.slow
def test_likelihood_of_normal_numbers(n_columns):
    covariance = np.array([[4.0, 1.8], [1.8, 1.0]])[:n_columns, :n_columns]
    law = stats.multivariate_normal(np.zeros(n_columns), covariance)
    X = law.rvs(4_000, random_state=0).reshape(-1, n_columns)
    model = VAETransformer(random_state=0).fit(X)
    rows = law.rvs(4_000, random_state=1).reshape(-1, n_columns)
    excess = (law.logpdf(rows) - model.score_samples(rows)).mean()
    assert -0.01 < excess < 0.05


def test_a_large_beta_collapses_every_component():
    X, _ = make_mixed_table(300, random_state=0)
    options = {"hidden_layer_sizes": (16,), "max_iter": 10, "random_state": 0}
    model = VAETransformer(3, beta=1e4, sampling="latent", **options)
    with pytest.warns(ConvergenceWarning, match="collapsed.*Lower beta.*10000"):
        model.fit(X)
    assert model.active_components_.tolist() == [False] * 3
    assert model.sample(10, random_state=0).shape == (10, 8)


@pytest.mark.parametrize("container", [np.asarray, pd.DataFrame, csr_array])
def test_codes_of_constants_are_not_called_collapsed(container):
    """There is nothing that they could say. A warning would fail the test."""
    X = np.tile([3.0, 1.0, 7.0], (40, 1))
    model = VAETransformer(2, max_iter=1, random_state=0).fit(container(X))
    assert model.active_components_.tolist() == [False] * 2
    np.testing.assert_array_equal(model.sample(5), X[:5])


@pytest.mark.slow
def test_components_without_a_use_collapse():
    """Rows with one factor: one component of four suffices at beta=1."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 1)) + 0.1 * rng.normal(size=(500, 4))
    model = VAETransformer(
        4,
        hidden_layer_sizes=(32,),
        beta=1.0,
        sampling="latent",
        density_ratio=None,
        max_iter=60,
        random_state=0,
    ).fit(X)
    assert model.active_components_.dtype == bool
    assert 1 <= model.active_components_.sum() <= 3
    spread = model.transform(X).var(0)
    np.testing.assert_array_equal(model.active_components_, spread > 0.01)


# ------------------------------------------------------------------- known truth


class Known:
    """A fitted model, the table of its fit, the table's truth and a large sample."""

    def __init__(self, sampling):
        self.X, self.truth = make_mixed_table(N_ROWS, random_state=0)
        options = {
            "autoregressive": {},
            # A tenth of the steps, for fast tests with wider bounds.
            "short": {"max_iter": 8, "hidden_layer_sizes": (32,)},
            "latent": {"max_iter": 60, "sampling": "latent"},
        }[sampling]
        with pytest.MonkeyPatch.context() as patch:
            # What is drawn is judged: as many rows calibrate it as for users.
            patch.setattr(sampler, "CALIBRATION_ROWS", 20_000)
            self.model = VAETransformer(8, random_state=0, **options).fit(self.X)
        self.sampling, self.tolerance = sampling, TOLERANCE[sampling]
        self.rows = self.model.sample(N_DRAWN, random_state=1)


@pytest.fixture(
    scope="module",
    params=[
        "short",
        pytest.param("autoregressive", marks=pytest.mark.slow),
        pytest.param("latent", marks=pytest.mark.slow),
    ],
)
def known(request):
    return Known(request.param)


def as_numbers(values):
    """Present values of a column; dates as days since 2020-01-01."""
    values = values.dropna()
    if values.dtype.kind == "M":
        values = (values - pd.Timestamp("2020-01-01")) / pd.Timedelta(days=1)
    return values.to_numpy(dtype=float)


def meets(table, conditions):
    """Mask of the rows that have the levels asked for; None is a missing value."""
    masks = [
        table[column].isna()
        if level is None
        else (table[column] == level).fillna(False)
        for column, level in conditions.items()
    ]
    return np.all([mask.to_numpy(dtype=bool) for mask in masks], axis=0)


def ks_distance(values, cdf):
    """Of values that may repeat to a distribution function with steps."""
    values, counts = np.unique(as_numbers(values), return_counts=True)
    return np.abs(np.cumsum(counts) / counts.sum() - cdf(values)).max()


def frequencies(table, columns, index):
    """Shares of the levels, or pairs of levels, in the order of `index`."""
    counts = table.astype(dict.fromkeys(columns, object))
    counts = counts.groupby(columns, dropna=False).size() / len(table)
    return counts.reindex(index).fillna(0).to_numpy()


def effective(n_fitted, n_drawn):
    """Number of rows whose error is that of fitting to some and drawing others."""
    return 1 / (1 / n_fitted + 1 / n_drawn)


def assert_frequencies(rows, columns, expected, n, tolerance):
    shares, p = frequencies(rows, columns, expected.index), expected.to_numpy()
    assert shares.sum() == pytest.approx(1)  # no level, or pair, that cannot be
    bound = Z * np.sqrt(p * (1 - p) / n) + tolerance
    assert (np.abs(shares - p) < bound).all()


@pytest.mark.parametrize("column", NUMERIC)
def test_marginals_are_those_of_the_training(known, column):
    """Calibration: nearer to the training's than the training is to the truth."""
    first = as_numbers(known.rows[column])
    second = as_numbers(known.X[column])
    assert stats.ks_2samp(first, second).statistic < 0.005
    truth = ks_distance(known.rows[column], lambda x: known.truth.cdf(column, x))
    assert truth < KOLMOGOROV / np.sqrt(0.8 * N_ROWS) + 0.005


@pytest.mark.parametrize("column", NUMERIC)
def test_marginals_of_few_rows(known, column):
    """Less than a thousand rows pass through a map that was fitted once."""
    rows = known.model.sample(900, random_state=2)
    distance = ks_distance(rows[column], lambda x: known.truth.cdf(column, x))
    assert distance < KOLMOGOROV / np.sqrt(effective(N_ROWS, 800)) + 0.01


@pytest.mark.parametrize("column", CATEGORICAL)
def test_levels(known, column):
    expected = known.truth.probabilities(column)
    n = effective(N_ROWS, N_DRAWN)
    assert_frequencies(known.rows, [column], expected, n, known.tolerance)


@pytest.mark.parametrize(
    "pair", [("plan", "region"), ("plan", "active"), ("region", "active")]
)
def test_pairs_of_levels(known, pair):
    expected = known.truth.probabilities(*pair)
    n = effective(N_ROWS, N_DRAWN)
    assert_frequencies(known.rows, list(pair), expected, n, known.tolerance)


@pytest.mark.parametrize("column", NUMERIC)
def test_moments(known, column):
    mean, sd = known.truth.moments(column)
    values = as_numbers(known.rows[column])
    n = effective(0.8 * N_ROWS, len(values))
    assert abs(values.mean() - mean) / sd < Z / np.sqrt(n) + 0.01
    assert values.std() == pytest.approx(sd, rel=Z / np.sqrt(n) + 0.01)


@pytest.mark.parametrize(
    "pair", [("height", "weight"), ("visits", "joined"), ("spend", "visits")]
)
def test_correlations(known, pair):
    both = known.rows[list(pair)].dropna()
    drawn = np.corrcoef(as_numbers(both[pair[0]]), as_numbers(both[pair[1]]))[0, 1]
    expected = known.truth.correlation(*pair)
    n = effective(0.8 * N_ROWS, len(both))
    # a correlation's error is at most that of independent columns
    assert abs(drawn - expected) < Z / np.sqrt(n) + known.tolerance


@pytest.mark.parametrize("conditions", [{}, {"plan": "pro"}, {"plan": "basic"}])
def test_missing_values_are_as_frequent(known, conditions):
    rows = known.rows[meets(known.rows, conditions)] if conditions else known.rows
    n = effective(len(rows) * N_ROWS / N_DRAWN, len(rows))
    for column in ("height", "region"):
        p = known.truth.missing_probability(column, conditions)
        bound = Z * np.sqrt(p * (1 - p) / n) + known.tolerance
        assert abs(rows[column].isna().mean() - p) < bound
    assert not rows[["weight", "visits", "spend", "plan", "active"]].isna().any().any()


CONDITIONS = {
    "first column": {"plan": "pro"},
    "last column": {"active": True},
    "missing": {"region": None},
    "two columns": {"region": "west", "active": False},
    "three columns": {"plan": "basic", "region": "east", "active": True},
}


@pytest.mark.parametrize("conditions", CONDITIONS.values(), ids=CONDITIONS)
def test_conditional_distributions(known, conditions):
    """Given columns hold, and the other columns follow their law given these."""
    rows = known.model.sample(N_CONDITIONED, conditions=conditions, random_state=2)
    assert meets(rows, conditions).all()
    n = effective(meets(known.X, conditions).sum(), N_CONDITIONED)
    for column in set(CATEGORICAL) - set(conditions):
        expected = known.truth.probabilities(column, conditions=conditions)
        assert_frequencies(rows, [column], expected, n, known.tolerance)
    for column in NUMERIC:
        distance = ks_distance(
            rows[column], lambda x, c=column: known.truth.cdf(c, x, conditions)
        )
        assert distance < KOLMOGOROV / np.sqrt(n) + known.tolerance
    missing = known.truth.missing_probability("height", conditions)
    bound = Z * np.sqrt(missing * (1 - missing) / n) + known.tolerance
    assert abs(rows["height"].isna().mean() - missing) < bound


def test_bounds_of_conditions_have_power(known):
    """Rows drawn without the condition would fail the test above."""
    conditions = CONDITIONS["two columns"]
    n = effective(meets(known.X, conditions).sum(), N_CONDITIONED)
    distance = ks_distance(
        known.rows["height"], lambda x: known.truth.cdf("height", x, conditions)
    )
    assert distance > KOLMOGOROV / np.sqrt(n) + known.tolerance + 0.1


def test_a_rare_level_can_be_asked_for(known):
    """Of 0.2 % of the rows; on that plan nobody spends, and heights are as for all."""
    conditions = {"plan": "trial"}
    assert meets(known.X, conditions).sum() < 15
    rows = known.model.sample(1_000, conditions=conditions, random_state=3)
    assert (rows["plan"] == "trial").all()
    assert len(rows.drop_duplicates()) > 900  # no handful of rows again and again
    # learnt from a dozen rows: the law of the whole table shines through
    assert (rows["spend"] == 0).mean() > (known.rows["spend"] == 0).mean() + 0.02
    law = ks_distance(
        rows["height"], lambda x: known.truth.cdf("height", x, conditions)
    )
    assert law < 0.35


def test_a_rare_combination_can_be_asked_for(known):
    conditions = {"plan": "trial", "region": "south", "active": False}
    rows = known.model.sample(200, conditions=conditions, random_state=3)
    assert meets(rows, conditions).all()
    assert rows["weight"].nunique() > 20


def test_a_sequence_of_conditions(known):
    plans = np.random.default_rng(0).choice(["basic", "pro", "trial"], 2_000)
    flags = np.arange(2_000) % 2 == 0
    conditions = {"plan": plans, "active": flags}
    rows = known.model.sample(2_000, conditions=conditions, random_state=4)
    np.testing.assert_array_equal(rows["plan"].astype(object), plans)
    np.testing.assert_array_equal(rows["active"], flags)
    # each row follows its own condition
    for plan in ("basic", "pro"):
        chosen = rows[(plans == plan) & flags]
        given = {"plan": plan, "active": True}
        n = effective(meets(known.X, given).sum(), len(chosen))
        distance = ks_distance(
            chosen["height"], lambda x, g=given: known.truth.cdf("height", x, g)
        )
        assert distance < KOLMOGOROV / np.sqrt(n) + known.tolerance


def test_likelihood_is_near_the_true_one(known):
    model = known.model
    if known.sampling == "latent":
        pytest.skip("the bound is in units of the encoded table")
    rows, truth = make_mixed_table(N_ROWS, random_state=7)
    excess = truth.score_samples(rows) - model.score_samples(rows)
    assert 0.0 < excess.mean() < 0.45
    assert excess.std() < 1.0


def test_rows_cannot_be_told_from_fresh_ones(known):
    """Gradient boosting, five folds, against rows that the model has not seen."""
    fresh, _ = make_mixed_table(N_ROWS, random_state=5)
    both = pd.concat([fresh, known.rows[:N_ROWS]], ignore_index=True)
    both["joined"] = (both["joined"] - pd.Timestamp("2020-01-01")).dt.days
    both["region"] = both["region"].astype("category")
    label = np.repeat([1, 0], N_ROWS)
    boosting = HistGradientBoostingClassifier(max_iter=50, random_state=0)
    proba = cross_val_predict(boosting, both, label, cv=5, method="predict_proba")
    limit = {"autoregressive": 0.6, "short": 0.75, "latent": 0.75}[known.sampling]
    assert roc_auc_score(label, proba[:, 1]) < limit


def test_samples_repeat_by_seed_alone(known):
    first, again, other = (known.model.sample(50, random_state=s) for s in (0, 0, 1))
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)
    assert not known.model.sample(50).equals(known.model.sample(50))
    assert first.dtypes.equals(known.X.dtypes)
    assert list(first["plan"].cat.categories) == list(known.X["plan"].cat.categories)


# ------------------------------------------------------------------- pixels, streams


@pytest.fixture(scope="module")
def digits():
    X = load_digits().data / 16
    model = VAETransformer(8, max_iter=15, batch_size=64, random_state=0)
    return X, model.fit(X[:1_000])


def test_pixels_are_read_as_probabilities(digits):
    X, model = digits
    distribution = model._distribution(torch.zeros(1, 8))
    assert distribution.log_scale is None
    assert model.codec_.numeric_scaling is None
    # a Bernoulli likelihood is a probability: its log is never positive
    assert (model.score_samples(X[1_000:]) < 0).all()
    rows = model.sample(200, random_state=0)
    assert rows.min() >= 0
    assert rows.max() <= 1
    assert np.unique(rows).size > 50  # greys, not ink and paper alone
    assert np.abs(rows.mean(0) - X[:1_000].mean(0)).max() < 0.25


def test_pixels_are_reconstructed(digits):
    X, model = digits
    rebuilt = model.inverse_transform(model.transform(X[1_000:]))
    spread = np.square(X[1_000:] - X[:1_000].mean(0)).mean()
    assert np.square(X[1_000:] - rebuilt).mean() < 0.6 * spread


@pytest.mark.parametrize(
    ("table", "loss"),
    [("narrow", "auto"), ("pixels", "gaussian"), ("beyond", "auto")],
)
def test_other_tables_are_normal(table, loss):
    X = np.random.default_rng(0).random((60, 8 if table == "narrow" else 40))
    X = 3 * X if table == "beyond" else X
    model = VAETransformer(2, loss=loss, max_iter=2, random_state=0).fit(X)
    assert model._distribution(torch.zeros(1, 2)).log_scale is not None


def test_cross_entropy_needs_the_unit_interval():
    X = np.random.default_rng(0).normal(size=(60, 3))
    # Batches of 16 rows: with fewer steps the components would still be collapsed.
    model = VAETransformer(2, loss="binary_crossentropy", max_iter=2, batch_size=16)
    with pytest.raises(ValueError, match=r"\[0, 1\].*numeric_scaling='minmax'"):
        model.fit(X)
    model.set_params(numeric_scaling="minmax", random_state=0).fit(X)
    assert model._distribution(torch.zeros(1, 2)).log_scale is None


@pytest.mark.parametrize("sampling", ["autoregressive", "latent"])
def test_streams_can_be_sampled(sampling):
    X, truth = make_mixed_table(1_200, random_state=0)
    model = VAETransformer(4, sampling=sampling, random_state=0)
    for start in (0, 400, 800):
        model.partial_fit(X[start : start + 400])
        rows = model.sample(50, conditions={"active": True}, random_state=0)
        assert rows["active"].all()
        assert rows.dtypes.equals(X.dtypes)
    for column in NUMERIC:  # calibrated, however little was learnt
        rows = model.sample(2_000, random_state=0)
        distance = ks_distance(rows[column], lambda x, c=column: truth.cdf(c, x))
        assert distance < KOLMOGOROV / np.sqrt(effective(300, 2_000)) + 0.01


def test_streams_outgrow_their_first_batch():
    """Batches and decay follow the rows seen so far, as those of a fit would."""
    X, _ = make_mixed_table(2_100, missing_rate=0, random_state=0)
    X = X[["height", "weight", "visits"]]
    model = VAETransformer(4, random_state=0).partial_fit(X[:100])
    assert model.net_.batch_size == 16
    first = [group["weight_decay"] for group in model.net_.optimizer_.param_groups]
    model.partial_fit(X[100:])
    fitted = VAETransformer(4, max_iter=1, random_state=0).fit(X)
    assert model.net_.batch_size == fitted.net_.batch_size
    groups = model.net_.optimizer_.param_groups
    later = [group["weight_decay"] for group in groups]
    expected = [g["weight_decay"] for g in fitted.net_.optimizer_.param_groups]
    assert later == expected
    assert max(later) < max(first)


def test_looking_at_a_stream_does_not_change_it():
    X, _ = make_mixed_table(400, random_state=0)
    codes = []
    for looked in (False, True):
        model = VAETransformer(4, random_state=0).partial_fit(X[:200])
        if looked:
            model.sample(5)
        codes.append(model.partial_fit(X[200:]).transform(X))
    np.testing.assert_array_equal(*codes)


class Steps(Callback):
    """Step sizes, the latest weights, and an average over the last tenth of them."""

    def on_train_begin(self, net, **kwargs):
        self.rates, self.average = [], torch.zeros(())

    def on_batch_end(self, net, training=True, **kwargs):
        self.rates.append(net.optimizer_.param_groups[0]["lr"])
        self.latest = net.module_.autoregressive.input_layer.weight.detach().clone()
        weight = 10 / (9 + len(self.rates))
        self.average = self.average + weight * (self.latest - self.average)


@pytest.mark.slow
def test_a_fit_for_samples_averages_its_weights(monkeypatch):
    """At a constant step size. With epochs of one's own choice the step size decays."""
    monkeypatch.setattr("sklearn_unsup._row_fitting.MIN_STEPS", 150)
    # Trials would end each column by itself, see tests/training/test_row_trial.py.
    monkeypatch.setattr("sklearn_unsup._row_fitting.MAX_TRIAL_ROWS", 0)
    X, steps = make_mixed_table(200, random_state=0)[0], Steps()
    options = {"callbacks": [steps], "random_state": 0}
    model = VAETransformer(2, hidden_layer_sizes=(4,), **options).fit(X)
    assert len(set(steps.rates[-50:])) == 1
    weight = model.net_.module_.autoregressive.input_layer.weight
    torch.testing.assert_close(weight, steps.average, atol=1e-5, rtol=1e-3)
    assert (weight - steps.latest).abs().max() > 1e-3
    model = VAETransformer(2, hidden_layer_sizes=(4,), max_iter=20, **options).fit(X)
    assert steps.rates[-1] < 0.1 * steps.rates[len(steps.rates) // 2]
    weight = model.net_.module_.autoregressive.input_layer.weight
    torch.testing.assert_close(weight.detach(), steps.latest)


@pytest.mark.slow
def test_a_fit_after_a_long_stream_learns_by_its_own_steps(monkeypatch):
    """The steps of the stream do not count for its average."""
    monkeypatch.setattr("sklearn_unsup._row_fitting.MIN_STEPS", 400)
    rng = np.random.default_rng(0)
    first = rng.normal(size=500)
    X = np.column_stack([first, first + 0.1 * rng.normal(size=500)])
    options = {"hidden_layer_sizes": (8,), "warm_start": True, "random_state": 0}
    model = VAETransformer(2, numeric_scaling="standard", **options)
    model.partial_fit(rng.normal(size=(500, 2)))
    model.net_.average_.n_steps = 100_000
    model.fit(X)
    assert np.corrcoef(model.sample(1_000, random_state=0).T)[0, 1] > 0.8


@pytest.mark.parametrize(("device", "size"), [("cpu", 128), ("cuda", 1_024)])
def test_steps_and_batches_of_large_tables(device, size):
    """On a GPU eight times the rows and .35 times the steps, worth about the same."""
    X = np.random.default_rng(0).normal(size=(50, 2))
    options = {"hidden_layer_sizes": (4,), "max_iter": 1, "random_state": 0}
    model = VAETransformer(2, **options).fit(X)
    model.device_ = device
    assert model._default_batch_size(40_000) == size
    assert model._default_batch_size(3_000) == 128
    assert model._default_steps(40_000) == round(5_250 * math.sqrt(128 / size))


def test_rows_of_a_stream_are_rebuilt_beyond_the_range_of_its_first_chunk():
    rng = np.random.default_rng(0)
    model = VAETransformer(2, random_state=0).partial_fit(rng.uniform(size=(100, 2)))
    later = 10.0 * rng.uniform(size=(100, 2))
    for _ in range(20):
        model.partial_fit(later)
    assert model.inverse_transform(model.transform(later)).max() > 5.0


def test_what_is_saved_at_the_end_of_a_fit_is_what_it_is_used_with(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("sklearn_unsup._row_fitting.MIN_STEPS", 50)
    X = np.random.default_rng(0).normal(size=(100, 2))
    saved = TrainEndCheckpoint(dirname=tmp_path)
    options = {"hidden_layer_sizes": (4,), "callbacks": [saved], "random_state": 0}
    model = VAETransformer(2, **options).fit(X)
    weights = torch.load(tmp_path / "train_end_params.pt", weights_only=True)
    for name, tensor in model.net_.module_.state_dict().items():
        torch.testing.assert_close(tensor, weights[name], rtol=0, atol=0)


def test_a_histogram_only_for_numbers_of_normal_quantiles():
    X = make_mixed_table(600, random_state=0)[0]
    for scaling, n_bins in [("quantile", [6, 40]), ("standard", [1, 1])]:
        options = {"numeric_scaling": scaling, "max_iter": 1, "random_state": 0}
        model = VAETransformer(2, hidden_layer_sizes=(4,), **options).fit(X)
        heads = model.net_.module_.autoregressive.number_heads
        assert n_bins[0] <= heads.n_bins <= n_bins[1]


def test_plain_numbers_are_drawn_from_codes():
    """The autoregressive model is one of standard numbers."""
    X = load_iris().data + 20
    options = {"max_iter": 40, "batch_size": 64, "random_state": 0}
    model = VAETransformer(2, numeric_scaling=None, **options).fit(X)
    rows = model.sample(2_000, random_state=0)
    spread = X.std(0)
    assert (np.abs(rows.mean(0) - X.mean(0)) < 0.5 * spread).all()
    assert model.net_.module_.autoregressive is None
    with pytest.raises(ValueError, match="sampling='autoregressive' needs numbers"):
        model.set_params(sampling="autoregressive").fit(X)


def test_rows_under_a_condition_are_no_twins():
    X, _ = make_mixed_table(2_000, missing_rate=0, random_state=0)
    X = X[["height", "weight", "plan", "region", "active"]]
    model = VAETransformer(4, max_iter=3, random_state=0).fit(X)
    rows = model.sample(2_000, conditions={"active": True}, random_state=0)
    twins = X.duplicated().mean()
    assert rows.duplicated().mean() < twins + 0.01


@pytest.mark.parametrize(
    "kind", ["numbers", "categories", "one column", "one row", "constant"]
)
def test_tables_of_one_kind_make_no_warning(kind):
    X, _ = make_mixed_table(80, random_state=0)
    X = {
        "numbers": X[["weight", "visits", "spend"]],
        "categories": X[CATEGORICAL],
        "one column": X[["height"]],
        "one row": X[:1],
        "constant": X.assign(weight=3.5),
    }[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)  # so few steps
        warnings.filterwarnings("ignore", ".*fitted to one row")
        model = VAETransformer(2, max_iter=3, random_state=0).fit(X)
    rows = model.sample(30, random_state=0)
    assert rows.dtypes.equals(X.dtypes)
    assert np.isfinite(model.score(X))
    if kind == "constant":
        assert (rows["weight"] == 3.5).all()


# ------------------------------------------------------------------- reasons


def test_scores_where_columns_come_in_any_order(mixed_table):
    """No single order gives an exact likelihood: the bound is the score."""
    X = mixed_table.head(200)
    model = VAETransformer(
        2, sampling="any_order", hidden_layer_sizes=(8,), max_iter=2, random_state=0
    ).fit(X)
    scores = model.score_samples(X)
    np.testing.assert_array_equal(scores, model.evidence_lower_bound(X))
    assert np.isfinite(scores).all()
    cells = model.explain_samples(X)
    assert list(cells) == list(X)
    assert np.isfinite(cells.to_numpy()).all()


def test_sparse_rows_in_any_order_are_refused():
    X = csr_array(np.eye(20))
    model = VAETransformer(2, sampling="any_order", max_iter=1)
    with pytest.raises(ValueError, match="sampling='any_order' needs dense rows"):
        model.fit(X)


def test_shares_of_cells_add_up_to_the_score(quick, small):
    for model, X in (quick, small):
        X = X.iloc[5:40]
        shares, expected = model.explain_samples(X, return_expected=True)
        scores = model.score_samples(X)
        np.testing.assert_allclose(shares.sum(axis=1), scores, rtol=1e-12, atol=1e-9)
        for table in (shares, expected):
            assert table.columns.equals(X.columns)
            assert table.index.equals(X.index)
        assert expected.dtypes.equals(X.dtypes)
        one = model.explain_samples(X.iloc[[7]])
        np.testing.assert_array_equal(one.to_numpy()[0], shares.to_numpy()[7])


@pytest.fixture(scope="module")
def dependent():
    """Rows whose columns follow from each other, and a model that has learnt it."""
    rng = np.random.default_rng(0)
    level = rng.integers(0, 3, 600)
    table = pd.DataFrame(
        {
            "number": 100 * level + rng.normal(size=600),
            "level": pd.Series(level).map({0: "low", 1: "mid", 2: "high"}),
            "other": 5.0 - level + 0.1 * rng.normal(size=600),
        }
    )
    model = VAETransformer(2, max_iter=25, batch_size=64, random_state=0)
    return model.fit(table.iloc[:500]), table.iloc[500:]


def test_the_cell_that_does_not_fit_is_named(dependent):
    model, rows = dependent
    usual = model.score_samples(rows)
    for column in rows:
        broken = rows.copy()
        broken[column] = np.roll(rows[column], 1)
        moved = broken["level"] != rows["level"]
        if column != "level":
            moved = np.roll(rows["level"], 1) != rows["level"]
        shares, expected = model.explain_samples(broken, return_expected=True)
        named = shares.to_numpy().argmin(1) == list(rows).index(column)
        assert named[moved].mean() > 0.9
        assert (model.score_samples(broken) < usual - 2)[moved].mean() > 0.9
        if column == "level":
            assert (expected["level"] == rows["level"])[moved].mean() > 0.9
        else:
            near = (expected[column] - rows[column]).abs() < 0.3 * rows[column].std()
            assert near[moved].mean() > 0.9


def test_what_was_never_seen_is_named(quick):
    model, X = quick
    for column, value in (("height", 900.0), ("visits", 400), ("region", "moon")):
        rows = X.iloc[:3].assign(**{column: value})
        shares = model.explain_samples(rows)
        assert (shares.idxmin(axis=1) == column).all()


def test_explanations_of_an_array_are_an_array():
    X = np.random.default_rng(0).normal(size=(60, 3))
    X[:, 1] = 2.0
    model = VAETransformer(2, max_iter=2, random_state=0).fit(X)
    shares = model.explain_samples(X)
    assert type(shares) is np.ndarray
    assert (shares[:, 1] == 0).all()  # a constant
    np.testing.assert_allclose(shares.sum(1), model.score_samples(X), atol=1e-9)


@pytest.mark.slow
def test_values_that_do_not_go_together_are_drawn_with_a_warning():
    """Each level is frequent, and the two of them never occur in one row."""
    rng = np.random.default_rng(0)
    kind = rng.choice(["a", "b"], 2_000)
    table = pd.DataFrame({"kind": kind, "also": np.char.add(kind, "!")})
    table["x"] = rng.normal(size=2_000) + 20.0 * (kind == "b")
    vae = VAETransformer(2, hidden_layer_sizes=(8,), max_iter=40, random_state=0)
    vae.fit(table)
    for asked in ({"kind": "a", "also": "b!"}, {"kind": "a", "x": (19.0, 21.0)}):
        with pytest.warns(UserWarning, match="50 of 50 rows ask for .* times less"):
            rows = vae.sample(50, conditions=asked)
        assert (rows["kind"] == "a").all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vae.sample(50, conditions={"kind": "a", "also": "a!", "x": (-1.0, 1.0)})


# ------------------------------------------------------------------ few rows


def test_a_near_copy_of_a_column_is_drawn_as_one():
    """A correlation of .995, of which networks alone learnt .90 to .95."""
    x = np.random.default_rng(0).normal(size=(400, 2)) * [1.0, 0.1]
    drawn = (
        VAETransformer(random_state=0).fit(x.cumsum(1)).sample(2_000, random_state=0)
    )
    assert np.corrcoef(np.asarray(drawn).T)[0, 1] > 0.98


@pytest.mark.parametrize("seed", [0, 1])
def test_a_rare_level_keeps_its_numbers(seed):
    """Of ninety rows in a thousand. A half of the difference was lost."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(rng.normal(size=(1_000, 5)), columns=list("vwxyz"))
    table["rare"] = table["v"] + rng.normal(size=1_000) > 1.9
    drawn = VAETransformer(random_state=seed).fit(table).sample(20_000, random_state=0)
    expected, found = (
        X.loc[X["rare"], "v"].mean() - X.loc[~X["rare"], "v"].mean()
        for X in (table, drawn)
    )
    assert 0.75 * expected < found < 1.1 * expected


def test_regressions_are_for_few_rows_of_a_fixed_order(monkeypatch):
    X = np.random.default_rng(0).normal(size=(60, 2))
    options = {"max_iter": 1, "hidden_layer_sizes": 4, "random_state": 0}

    def has_regressions(model):
        rows = model.net_.module_.autoregressive
        return rows is not None and rows.linear is not None

    assert has_regressions(VAETransformer(**options).fit(X))
    for sampling in ("any_order", "latent"):
        model = VAETransformer(sampling=sampling, **options).fit(X)
        assert not has_regressions(model)
    assert not has_regressions(VAETransformer(**options).partial_fit(X))
    monkeypatch.setattr("sklearn_unsup._row_fitting.MAX_TRIAL_ROWS", 59)
    assert not has_regressions(VAETransformer(**options).fit(X))


def test_bins_end_where_those_of_few_rows_would_hold_two_kinds(monkeypatch):
    """A tenth of the rows is of the other level, and apart from the rest."""
    rng = np.random.default_rng(0)
    kind = np.repeat(["a", "b"], [450, 50])
    X = pd.DataFrame({"kind": kind, "x": rng.normal(size=500) + 6.0 * (kind == "b")})
    options = {"max_iter": 1, "hidden_layer_sizes": 4, "random_state": 0}
    X["y"] = rng.permutation(X["x"] + 10.0 * (X["x"] > 3))  # a gap, and no level
    edges = VAETransformer(2, **options).fit(X).net_.module__bin_edges
    assert all(np.abs(own - 0.9).min() < 0.005 for own in edges)
    monkeypatch.setattr("sklearn_unsup._row_columns.MAX_TRIAL_ROWS", 499)
    edges = VAETransformer(2, **options).fit(X).net_.module__bin_edges
    assert all(np.abs(own - 0.9).min() > 0.05 for own in edges)


@pytest.mark.parametrize("sampling", ["auto", "any_order"])
def test_bins_learn_faster_by_themselves_where_neighbours_differ(sampling):
    """The fit tells the numbers of which it is so, and which repeat, from others."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"days": rng.integers(20, size=900), "x": rng.random(900)})
    X["hours"] = rng.integers(20, size=900)
    X["is_even"] = np.where(X["days"] % 2 == 0, "yes", "no")
    # The level differs from each tenth of x to the next, but its values do not repeat.
    X["is_even_tenth"] = np.where(X["x"] * 10 // 1 % 2 == 0, "yes", "no")
    options = {"max_iter": 1, "hidden_layer_sizes": 4, "random_state": 0}
    model = VAETransformer(2, sampling=sampling, **options).fit(X)
    rows, names = (
        model.net_.module_.autoregressive,
        [c.name for c in model.codec_.numbers_],
    )
    counts = (rows.number_heads.widths > 0).sum(1).tolist()
    own = {
        name: (scales[:n].min().item(), 2 / n)
        for name, scales, n in zip(
            names, rows.number_heads.blocks.scales[:, 0], counts, strict=True
        )
    }
    scale, share = own["days"]
    assert scale == pytest.approx(share**0.5)
    for name in ("x", "hours"):
        scale, share = own[name]
        # Or by their share of the rows, of which bins may have more than one.
        assert share <= scale * 1.001 < 1.5 * share


def noise_beside_dependence(n):
    """Two categories that depend on each other; one of sixty levels, and numbers."""
    rng = np.random.default_rng(0)
    plan = rng.choice(["basic", "plus", "pro"], size=n)
    renews = rng.random(n) < np.where(plan == "pro", 0.7, 0.4)
    code = [f"c{code}" for code in rng.integers(60, size=n)]
    table = {"code": code, "plan": plan, "renews": np.where(renews, "yes", "no")}
    table |= {f"x{place}": rng.normal(size=n) for place in range(6)}
    return pd.DataFrame(table)


def test_a_category_of_many_levels_ends_nothing_else():
    """Networks of noise memorise rows at once, and others learn on."""
    table = noise_beside_dependence(1_500)
    model = VAETransformer(2, hidden_layer_sizes=4, random_state=0).fit(table)
    assert not model.net_.module_.autoregressive.learns_embeddings
    drawn = model.sample(20_000)
    shares = drawn["renews"].eq("yes").groupby(drawn["plan"]).mean()
    assert shares["pro"] - shares["basic"] > 0.2


def test_passes_over_the_same_rows_do_not_make_numbers_repeat():
    """Values would be atoms otherwise, and all that is drawn a copy of one."""
    table = pd.DataFrame({"x": np.random.default_rng(0).normal(size=200)})
    table["y"] = table["x"] + 0.3 * np.random.default_rng(1).normal(size=200)
    model = VAETransformer(2, hidden_layer_sizes=4, random_state=0)
    scores = [model.partial_fit(table).score(table) for _ in range(4)]
    assert np.isin(model.sample(500), table).mean() < 0.1
    assert scores[-1] > scores[0] - 0.5  # A probability would be far less.


@pytest.mark.parametrize("n_levels", [40, 120])
def test_levels_that_only_change_a_dependence_are_learnt(n_levels):
    """Scores know nothing of them: indicators do, or embeddings if rows are few."""
    rng = np.random.default_rng(0)
    sign = rng.choice([-1.0, 1.0], size=n_levels)
    code, x = rng.integers(n_levels, size=1_500), rng.normal(size=1_500)
    table = pd.DataFrame({"code": [f"c{own}" for own in code], "x": x})
    table["y"] = sign[code] * x + 0.3 * rng.normal(size=1_500)
    model = VAETransformer(2, hidden_layer_sizes=4, random_state=0).fit(table)
    drawn = model.sample(5_000)
    signs = sign[drawn["code"].str[1:].astype(int)]
    assert np.corrcoef(signs * drawn["x"], drawn["y"])[0, 1] > 0.6


def test_levels_of_enough_rows_have_indicators():
    """Of a category of many levels, if the levels have scores."""
    rows = [1_000, *[60] * 10, *[10] * 40]
    code = np.repeat([f"c{place}" for place in range(len(rows))], rows)
    table = pd.DataFrame({"code": code, "few": np.arange(len(code)) % 3 > 0})
    table["x"] = np.random.default_rng(0).normal(size=len(code))
    model = VAETransformer(2, hidden_layer_sizes=4, random_state=0).fit(table)
    assert model.net_.module__n_indicators == (11, 0)
    fixed = VAETransformer(2, hidden_layer_sizes=4, max_iter=1).fit(table)
    assert fixed.net_.module__n_indicators == ()


def test_levels_of_a_stream_are_learnt_on():
    table = noise_beside_dependence(600)
    model = VAETransformer(2, hidden_layer_sizes=4, random_state=0).fit(table)
    assert not model.net_.module_.autoregressive.learns_embeddings
    saved = pickle.loads(pickle.dumps(model))
    assert not saved.net_.module_.autoregressive.learns_embeddings
    (embedding,) = model.net_.module_.autoregressive.embeddings.values()
    before = embedding.weight.clone()
    model.partial_fit(table)
    assert model.net_.module_.autoregressive.learns_embeddings
    assert (embedding.weight != before).any()
