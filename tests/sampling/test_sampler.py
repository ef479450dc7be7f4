"""From codes to rows: conditions, density ratio and calibration against known laws."""

from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from scipy.special import expit
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity, NearestNeighbors

from sklearn_unsup import AutoencoderTransformer, VAETransformer
from sklearn_unsup._nn.autoregressive import AutoregressiveModel
from sklearn_unsup._nn.distributions import TableDistribution, block_indicator
from sklearn_unsup._nn.likelihoods import LOGIT_CAP
from sklearn_unsup._sampling import proposals, sampler
from sklearn_unsup._sampling import ratio as sampling_ratio
from sklearn_unsup._sampling.density import LatentDensity, smoothed_bootstrap
from sklearn_unsup._sampling.marginals import MarginalMap, random_ranks
from sklearn_unsup._sampling.proposals import (
    MAX_POOL,
    LatentProposals,
    RowSource,
    distinct_sample_size,
    draw_conditional,
    draw_each,
    effective_particles,
    resample,
)
from sklearn_unsup._sampling.raking import Raking, limited
from sklearn_unsup._sampling.ratio import (
    GENERATED_FACTOR,
    DensityRatio,
    native_categories,
    resample_distinct,
)
from sklearn_unsup._sampling.sampler import TableSampler, group_rows
from sklearn_unsup._table.codec import TableCodec
from sklearn_unsup._table.layout import EncodedConditions, TableLayout
from sklearn_unsup._table.quantiles import Quantiles

ALPHA = 1e-5  # chance that correct code fails one comparison under another seed
Z = stats.norm.isf(ALPHA / 2)


def rng_of(seed=0):
    return np.random.default_rng(seed)


def dkw(*sizes):
    """Distance of distribution functions that samples of these sizes stay within."""
    return sum(np.sqrt(np.log(2 / ALPHA) / (2 * size)) for size in sizes)


# ------------------------------------------------------------------- latent density


def assert_moments(codes, mean, covariance):
    """Within the error of as many normal draws."""
    scale = np.sqrt(np.diag(covariance))
    error = (codes.mean(0) - mean) / scale
    assert np.abs(error).max() < Z / np.sqrt(len(codes))
    error = (np.cov(codes.T) - covariance) / np.outer(scale, scale)
    assert np.abs(error).max() < Z * np.sqrt(2 / len(codes))


def test_a_normal_density_has_the_moments_of_the_codes():
    rng = rng_of()
    codes = rng.exponential(size=(3_000, 3)) @ rng.normal(size=(3, 3)) * [1, 100, 1e-3]
    density = LatentDensity("normal").fit(codes, rng)
    drawn = density.sample(50_000, rng)
    assert drawn.dtype == np.float32
    assert_moments(drawn, codes.mean(0), np.cov(codes.T))
    standard = (drawn - codes.mean(0)) / codes.std(0)
    for column in standard.T:
        assert stats.kstest(column, "norm").pvalue > ALPHA


def two_clusters(n, rng):
    """Codes at 0 and at 20, a quarter and three quarters of them."""
    far = rng.random(n) < 0.75
    return rng.normal(size=(n, 2)) + 20.0 * far[:, None]


@pytest.mark.parametrize(
    "density",
    ["mixture", GaussianMixture(2), KernelDensity(bandwidth=0.05)],
    ids=["mixture", "GaussianMixture", "KernelDensity"],
)
def test_a_density_with_modes_keeps_them(density):
    rng = rng_of()
    codes = two_clusters(2_000, rng)
    params = None if isinstance(density, str) else density.get_params()
    drawn = LatentDensity(density).fit(codes, rng).sample(8_000, rng)
    share = (drawn[:, 0] > 10).mean()
    bound = Z * np.sqrt(0.75 * 0.25 * (1 / 2_000 + 1 / 8_000))
    assert abs(share - 0.75) < bound
    assert ((drawn > 4) & (drawn < 16)).mean() < 1e-3
    if params is not None:  # a clone was fitted
        assert density.get_params() == params
        assert not any(name.endswith("_") for name in vars(density))


@pytest.mark.parametrize("density", ["normal", "mixture", KernelDensity()])
def test_drawn_codes_are_in_random_order(density):
    """A mixture's own sample is sorted by component."""
    rng = rng_of()
    drawn = LatentDensity(density).fit(two_clusters(2_000, rng), rng).sample(2_000, rng)
    first, second = drawn[:-1, 0], drawn[1:, 0]
    assert abs(np.corrcoef(first, second)[0, 1]) < Z / np.sqrt(2_000)


@pytest.mark.parametrize("density", ["normal", "mixture", GaussianMixture(2)])
def test_draws_differ_and_repeat_by_their_generator(density):
    codes = two_clusters(500, rng_of())
    fitted, again = (LatentDensity(density).fit(codes, rng_of(1)) for _ in range(2))
    rng, other = rng_of(2), rng_of(2)
    first, second = fitted.sample(50, rng), fitted.sample(50, rng)
    assert not np.isin(first[:, 0], second[:, 0]).any()
    np.testing.assert_array_equal(first, again.sample(50, other))
    np.testing.assert_array_equal(second, again.sample(50, other))


@pytest.mark.parametrize("density", ["normal", "mixture"])
@pytest.mark.parametrize(
    "case", ["constant column", "collinear", "all constant", "one row", "two rows"]
)
def test_degenerate_codes_stay_what_they_are(density, case):
    rng = rng_of()
    codes = rng.normal(size=(300, 1)) * [1.0, 1.0, 1.0] + 5
    codes[:, 1] = {"constant column": 7.0, "collinear": 2 * codes[:, 0]}.get(case, 5.0)
    if case == "all constant":
        codes[:] = [1.0, -2.0, 3.0]
    codes = codes[: {"one row": 1, "two rows": 2}.get(case, 300)]
    drawn = LatentDensity(density).fit(codes, rng).sample(1_000, rng)
    assert drawn.shape == (1_000, 3)
    assert np.isfinite(drawn).all()
    # no further out than the codes' own spread (constant ones: 1e-6) allows
    spread = np.maximum(codes.std(0), 1e-5)
    assert (np.abs(drawn - codes.mean(0)) < 6 * spread).all()
    if case == "collinear":
        # GaussianMixture adds 1e-4 to the variances of standardised codes
        apart = drawn[:, 1] - 2 * drawn[:, 0]
        assert np.abs(apart).max() < 6 * np.sqrt(8 * 1e-4) * codes.std(0)[0]


def test_a_mixture_has_a_component_per_hundred_codes():
    codes = rng_of().normal(size=(6_000, 2))
    for n, expected in [(50, 1), (399, 3), (6_000, 50)]:
        fitted = LatentDensity("mixture").fit(codes[:n], rng_of())
        assert fitted.estimator_.n_components == expected
    fitted = LatentDensity("normal").fit(codes, rng_of())
    assert fitted.estimator_.n_components == 1


# ------------------------------------------------------------------- conditions


def given_codes(n, given):
    """Conditions of one code for all rows, or one for each, by column."""
    codes = {column: np.full(n, code, dtype=np.int64) for column, code in given.items()}
    return EncodedConditions(n, codes)


class Toy:
    """A decoder of four codes, every probability of which is written down.

    `x_num` is the code itself, and the two categories are independent given it.
    """

    layout = TableLayout(1, (3, 2))
    prior = np.array([0.5, 0.3, 0.15, 0.05])
    first = np.array(
        [[0.1, 0.2, 0.7], [0.3, 0.4, 0.3], [0.5, 0.45, 0.05], [0.04, 0.06, 0.9]]
    )
    second = np.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8], [0.05, 0.95]])

    def __init__(self):
        log_p = np.log(np.hstack([self.first, self.second]))
        logits = LOGIT_CAP * np.arctanh(log_p / LOGIT_CAP)  # decoders cap them
        raw = np.column_stack([np.arange(4), logits])
        self.raw = torch.tensor(raw, dtype=torch.float32)
        self.pools = []

    def distribution(self, z):
        scale, blocks = torch.full((1,), -8.0), block_indicator(self.layout)
        return TableDistribution(self.layout, self.raw[z[:, 0]], scale, blocks)

    def propose(self, conditions, rng, n_particles=1):
        n = len(conditions)
        self.pools.append(n)
        z = torch.from_numpy(rng.choice(4, size=(n, 1), p=self.prior))
        return LatentProposals(self.distribution, self.layout, z, conditions)

    def joint(self):
        """Probabilities of code, first and second category, shape (4, 3, 2)."""
        return np.einsum("z,za,zb->zab", self.prior, self.first, self.second)


def test_weights_are_the_probabilities_of_what_is_given():
    toy = Toy()
    for given, expected in [
        ({}, np.ones(4)),
        ({0: 1}, toy.first[:, 1]),
        ({0: 2, 1: 0}, toy.first[:, 2] * toy.second[:, 0]),
    ]:
        pool = toy.propose(given_codes(40_000, given), rng_of())
        z = pool.z[:, 0].numpy()
        np.testing.assert_allclose(np.exp(pool.log_weights), expected[z], rtol=1e-4)
        assert pool.log_weights.shape == (40_000,)


@pytest.mark.parametrize("given", [{}, {0: 2}, {1: 0}, {0: 0, 1: 1}, {0: 2, 1: 0}])
def test_rows_follow_the_conditional_law(given):
    """Cells of code and free categories against p(code, rest | given), enumerated."""
    toy, n = Toy(), 40_000
    law = toy.joint()
    for column, value in given.items():
        keep = np.zeros(law.shape[column + 1])
        keep[value] = 1
        law = law * keep.reshape([-1 if i == column + 1 else 1 for i in range(3)])
    law = (law / law.sum()).ravel()
    x_num, x_cat, _ = draw_conditional(toy.propose, given_codes(n, given), rng_of())
    for column, value in given.items():
        assert (x_cat[:, column] == value).all()
    code = np.rint(x_num[:, 0]).astype(int)
    cells = np.ravel_multi_index((code, *x_cat.T), (4, 3, 2))
    shares = np.bincount(cells, minlength=24) / n
    assert (shares[law == 0] == 0).all()
    # the pool's own shares err, too: it is about twice the request here
    error = np.sqrt(law * (1 - law) * 2 / n)
    assert (np.abs(shares - law) <= Z * error + 5 / n).all()


def test_rows_are_in_random_order():
    x_num, _, _ = draw_conditional(Toy().propose, given_codes(5_000, {0: 1}), rng_of())
    code = np.rint(x_num[:, 0])
    assert abs(np.corrcoef(code[1:], code[:-1])[0, 1]) < Z / np.sqrt(5_000)


def test_the_pool_grows_until_it_is_worth_the_request():
    """Kish's size of a pool of m is m E[w]^2 / E[w^2], known here in closed form."""
    n, given = 20_000, {0: 2, 1: 0}
    toy = Toy()
    draw_conditional(toy.propose, given_codes(n, given), rng_of())
    weights = toy.first[:, 2] * toy.second[:, 0]
    efficiency = (toy.prior @ weights) ** 2 / (toy.prior @ weights**2)
    assert 0.1 < efficiency < 0.9  # or there would be nothing to see
    assert toy.pools[0] == n
    assert sum(toy.pools) == pytest.approx(n / efficiency, rel=0.15)
    small = Toy()
    draw_conditional(small.propose, given_codes(10, given), rng_of())
    assert small.pools == [proposals.MIN_POOL]


class RareToy(Toy):
    """One code in 300,000 has the level that is asked for; others all but never."""

    prior = np.array([0.5, 0.3, 0.2 - 1 / 300_000, 1 / 300_000])
    first = np.array([[1 - 2e-9, 1e-9, 1e-9]] * 3 + [[0.1, 0.8, 0.1]])


def test_a_rare_level_costs_a_bounded_pool_and_no_failure():
    toy = RareToy()
    x_num, x_cat, _ = draw_conditional(toy.propose, given_codes(500, {0: 1}), rng_of())
    assert x_num.shape == (500, 1)
    assert (x_cat[:, 0] == 1).all()
    assert sum(toy.pools) <= MAX_POOL
    few, _, _ = draw_conditional(RareToy().propose, given_codes(3, {0: 1}), rng_of(1))
    assert few.shape == (3, 1)


def test_an_impossible_level_does_not_fail():
    """A log-probability whose exponential is zero in any precision."""

    class Never(Toy):
        def distribution(self, z):
            distribution = super().distribution(z)
            distribution.category_log_probs = lambda column: torch.full(
                (len(z), 3), -5_000.0
            )
            return distribution

    toy = Never()
    x_num, x_cat, _ = draw_conditional(toy.propose, given_codes(500, {0: 1}), rng_of())
    assert (x_cat[:, 0] == 1).all()
    assert set(np.rint(x_num[:, 0])) == {0, 1, 2, 3}
    assert sum(toy.pools) == proposals.MIN_POOL  # all alike: nothing to gain


def test_more_rows_than_a_pool_may_have(monkeypatch):
    monkeypatch.setattr(proposals, "MAX_POOL", 3_000)
    toy = Toy()
    x_num, x_cat, _ = draw_conditional(
        toy.propose, given_codes(5_000, {0: 1}), rng_of()
    )
    assert toy.pools == [5_000]
    assert len(x_num) == len(x_cat) == 5_000


@pytest.mark.parametrize("given", [{}, {0: 2}, {0: 0, 1: 1}, {0: 2, 1: 0}])
def test_rows_with_conditions_of_their_own(given):
    """Each follows p(code, rest | given), from particles of its own."""
    toy, n = Toy(), 3_000
    law = toy.joint()
    for column, value in given.items():
        keep = np.zeros(law.shape[column + 1])
        keep[value] = 1
        law = law * keep.reshape([-1 if i == column + 1 else 1 for i in range(3)])
    # Rows of another condition between them.
    codes = {c: np.where(np.arange(2 * n) % 2, 0, v) for c, v in given.items()}
    conditions = EncodedConditions(2 * n, codes)
    x_num, x_cat, log_mass = draw_each(toy.propose, conditions, rng_of(), 1, bool)
    x_num, x_cat = x_num[::2], x_cat[::2]
    np.testing.assert_allclose(np.exp(log_mass[::2]).mean(), law.sum(), rtol=0.05)
    law = (law / law.sum()).ravel()
    cells = np.ravel_multi_index(
        (np.rint(x_num[:, 0]).astype(int), *x_cat.T), (4, 3, 2)
    )
    shares = np.bincount(cells, minlength=24) / n
    assert (shares[law == 0] == 0).all()
    # Few particles: the bias is of the order of one in their number.
    bias = 1 / proposals.MIN_PARTICLES
    assert (np.abs(shares - law) <= Z * np.sqrt(law * (1 - law) / n) + bias).all()


def test_several_rows_for_each_condition():
    toy, n = Toy(), 40
    conditions = given_codes(n, {0: np.arange(n) % 3})
    x_num, x_cat, log_mass = draw_each(toy.propose, conditions, rng_of(), 4, bool)
    np.testing.assert_array_equal(x_cat[:, 0], np.repeat(np.arange(n) % 3, 4))
    assert len(x_num) == 4 * n
    assert log_mass.shape == (n,)


def test_rows_that_few_particles_suit_get_more():
    """Two numbers are a latent one, give or take .007; each row asks for the first."""
    layout, drawn, scale = TableLayout(2), [], torch.full((2,), -5.0)

    def propose(conditions, rng, n_particles=1):
        drawn.append(len(conditions))
        z = torch.from_numpy(rng.normal(size=(len(conditions), 1)).astype("f4"))

        def distribution(z):
            blocks = block_indicator(layout)
            return TableDistribution(layout, z.expand(-1, 2), scale, blocks)

        return LatentProposals(distribution, layout, z, conditions)

    n = 1_000
    wanted = np.linspace(-2, 2, n, dtype="f4")
    bounds = {0: np.stack([wanted, wanted], 1)}
    conditions = EncodedConditions(n, bounds=bounds)
    x_num, _, log_mass = draw_each(propose, conditions, rng_of(), 1, bool)
    np.testing.assert_array_equal(x_num[:, 0], wanted)
    assert (x_num[:, 1] - wanted).std() == pytest.approx(np.exp(-5) * 2**0.5, rel=0.2)
    expected = stats.norm.logpdf(wanted)
    assert np.abs(log_mass - expected).mean() < 0.3
    assert proposals.GROWN_POOL / 2 < sum(drawn) < 3 * proposals.GROWN_POOL


def test_effective_particles():
    """Those that were resampled from one another count as one."""
    weights = np.array([[1.0, 1.0, 1.0, 1.0], [3.0, 1.0, 0.0, 0.0]])
    np.testing.assert_allclose(effective_particles(weights, None), [4.0, 1.6])
    origins = torch.tensor([0, 0, 0, 3, 4, 5, 6, 7])
    np.testing.assert_allclose(effective_particles(weights, origins), [1.6, 1.6])


def test_groups_of_equal_conditions():
    """Few different conditions are groups; of many those that many rows have."""
    few = given_codes(60, {0: np.arange(60) % 3})
    groups, own = group_rows(few)
    assert [len(index) for index in groups] == [20, 20, 20]
    assert len(own) == 0
    low = np.concatenate([np.zeros(200), np.arange(300)]).astype("f4")
    bounds = np.stack([low, low + 1], 1)
    groups, own = group_rows(EncodedConditions(500, {}, {}, {0: bounds}))
    [group] = groups
    np.testing.assert_array_equal(group, np.arange(201))
    np.testing.assert_array_equal(own, np.arange(201, 500))


def autoregressive_source(n_columns, seed=0):
    torch.manual_seed(seed)
    network = AutoregressiveModel(TableLayout(0, (4,) * n_columns), 8).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2.0)
        network.input_layer.weight.mul_(network.mask)
    return RowSource(network)


def test_what_is_rare_is_drawn_by_sequential_monte_carlo(monkeypatch):
    """It takes over once a pool would need more rows; the law stays the model's."""
    source = autoregressive_source(3)
    codes = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), -1).reshape(-1, 3)
    with torch.no_grad():
        log_law = source.network.log_prob(torch.zeros(64, 0), torch.from_numpy(codes))
    law = log_law.double().exp().numpy()
    wanted = (codes[:, 1] == codes[law.argmin(), 1]) & (codes[:, 2] == 0)
    mass = law[wanted].sum()
    law = law[wanted] / mass
    monkeypatch.setattr(source, "_lookahead", lambda *args: None)
    monkeypatch.setattr(proposals, "PARTICLES_PER_ROW", 2)
    monkeypatch.setattr(proposals, "MIN_SEQUENTIAL", 0)
    n, used = 8_000, []

    def propose(conditions, rng, n_particles=1):
        used.append((len(conditions), n_particles))
        return source.propose(conditions, rng, n_particles=n_particles)

    given = given_codes(n, {1: codes[wanted][0, 1], 2: 0})
    _, x_cat, log_mass = draw_conditional(propose, given, rng_of())
    assert used == [(n, 1), (2 * n, proposals.PARTICLE_BLOCK)]
    assert np.exp(log_mass) == pytest.approx(mass, rel=0.1)
    assert (x_cat[:, 1:] == codes[wanted][0, 1:]).all()
    shares = np.bincount(x_cat[:, 0], minlength=4) / n
    np.testing.assert_allclose(shares, law, atol=0.04)


def shifted_marginals(scaling="quantile"):
    """Two columns, and the map of generated ones that are .7 deviations too great."""
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(2_000, 2)) * [3.0, 1.0] + [10.0, 0.0]
    codec = TableCodec(scaling).fit(numbers)
    x_num, x_cat = codec.encode(numbers)
    x_num = (x_num + 0.7).astype(np.float32)
    return MarginalMap(codec).fit(x_num, x_cat), x_num, x_cat


@pytest.mark.parametrize("scaling", ["quantile", "standard"])
def test_what_is_asked_for_goes_back_through_the_calibration(scaling):
    """Rows drawn in the range before it are those that are in the range after it."""
    marginals, x_num, x_cat = shifted_marginals(scaling)
    after = marginals.apply(x_num, x_cat, rng_of(), ranked=False)
    for low, high in [(-0.5, 0.25), (1.0, np.inf), (-np.inf, -1.5)]:
        bounds = np.tile(np.array([low, high], np.float32), (len(x_num), 1))
        conditions = EncodedConditions(len(x_num), {}, {}, {0: bounds})
        before = marginals.conditions_before(conditions).bounds[0][0]
        was_inside = (x_num[:, 0] >= before[0]) & (x_num[:, 0] <= before[1])
        is_inside = (after[:, 0] >= low) & (after[:, 0] <= high)
        assert 0.05 < is_inside.mean() < 0.4
        assert (was_inside == is_inside).mean() > 0.999
        met = marginals.meet(x_num, x_cat, conditions, rng_of())[:, 0]
        assert (met >= bounds[:, 0]).all()
        assert (met <= bounds[:, 1]).all()


def test_one_number_is_met_to_the_last_digit():
    marginals, x_num, x_cat = shifted_marginals()
    numbers = np.linspace(-2, 2, len(x_num), dtype=np.float32)
    bounds = np.stack([numbers, numbers], 1)
    conditions = EncodedConditions(len(x_num), {}, {}, {1: bounds})
    before = marginals.conditions_before(conditions).bounds[1]
    np.testing.assert_array_equal(before[:, 0], before[:, 1])
    np.testing.assert_allclose(before[:, 0], numbers + 0.7, atol=0.2)
    x_num[:, 1] = before[:, 0]
    met = marginals.meet(x_num, x_cat, conditions, rng_of())
    np.testing.assert_array_equal(met[:, 1], numbers)
    # The other column is calibrated all the same.
    assert abs(met[:, 0].mean()) < 0.05


def test_where_nothing_was_generated_a_range_stays_as_it_is():
    marginals, x_num, x_cat = shifted_marginals()
    marginals.clusters_[0][2][0][:] = 0.7  # All generated numbers were one.
    bounds = np.tile(np.array([1.0, 1.5], np.float32), (len(x_num), 1))
    conditions = EncodedConditions(len(x_num), {}, {}, {0: bounds})
    before = marginals.conditions_before(conditions).bounds[0]
    np.testing.assert_array_equal(before, bounds)
    x_num[:, 0] = 1.2
    met = marginals.meet(x_num, x_cat, conditions, rng_of())[:, 0]
    assert ((met >= 1.0) & (met <= 1.5)).all()


# ------------------------------------------------------------------- resampling


def test_systematic_counts_are_floor_or_ceil():
    rng = rng_of()
    for n in (1, 7, 1_000):
        weights = rng.exponential(size=200) * (rng.random(200) < 0.7)
        expected = n * weights / weights.sum()
        chosen = resample(weights, n, rng)
        assert chosen.shape == (n,)
        counts = np.bincount(chosen, minlength=200)
        assert (counts >= np.floor(expected - 1e-9)).all()
        assert (counts <= np.ceil(expected + 1e-9)).all()


def test_systematic_counts_are_unbiased():
    rng = rng_of()
    weights, n, repeats = rng.exponential(size=12), 5, 20_000
    expected = n * weights / weights.sum()
    counts = [
        np.bincount(resample(weights, n, rng), minlength=12) for _ in range(repeats)
    ]
    part = expected - np.floor(expected)
    error = np.sqrt(part * (1 - part) / repeats)
    assert (np.abs(np.mean(counts, axis=0) - expected) < Z * error + 1e-12).all()


@pytest.mark.parametrize("function", [resample, resample_distinct])
def test_chosen_rows_are_in_random_order(function):
    chosen = function(np.ones(4_000), 2_000, rng_of())
    assert abs(np.corrcoef(chosen[1:], chosen[:-1])[0, 1]) < Z / np.sqrt(2_000)


@pytest.mark.parametrize(
    ("spread", "n"),
    [(0.0, 100), (0.3, 25), (1.0, 50), (3.0, 1), (3.0, 90), (3.0, 99), (3.0, 100)]
    + [(6.0, 50)],
)
def test_distinct_rows_are_distinct(spread, n):
    rng = rng_of()
    for _ in range(50):
        weights = np.clip(np.exp(spread * rng.normal(size=100)), 1e-3, 1e3)
        chosen = resample_distinct(weights, n, rng)
        assert len(set(chosen)) == n
        assert chosen.min() >= 0
        assert chosen.max() < 100


@pytest.mark.parametrize("n_good", [0, 100, 960, 999, 1_000, 3_999])
def test_distinct_rows_from_a_pool_of_good_and_bad_ones(n_good):
    """The extreme weights of a density ratio; the good rows come first."""
    weights = np.repeat([999.0, 1 / 999], [n_good, 4_000 - n_good])
    chosen = resample_distinct(weights, 1_000, rng_of())
    assert len(set(chosen)) == 1_000
    assert np.count_nonzero(chosen < n_good) >= min(n_good, 1_000) - 1


def test_distinct_rows_are_proportional_where_that_can_be():
    """A weight is cut where it is due more than one row; the others share the rest."""
    rng = rng_of()
    weights = np.array([40.0, 6.0, 4.0, 3.0, 2.0, 2.0, 1.0, 1.0, 0.5, 0.5])
    n, repeats = 4, 5_000
    counts = np.zeros(10)
    for _ in range(repeats):
        counts[resample_distinct(weights, n, rng)] += 1
    expected = np.append(1.0, 3 * weights[1:] / weights[1:].sum())
    assert expected.max() <= 1
    error = np.sqrt(expected * (1 - expected) / repeats)
    assert (np.abs(counts / repeats - expected) <= Z * error + 1e-9).all()


# ------------------------------------------------------------------- density ratio


class NormalSource:
    """Rows of independent normal numbers and a category; the codec is of the truth."""

    kept_intervals = None

    def __init__(self, X, shift, levels=None):
        self.codec = TableCodec(None).fit(X)
        self.shift, self.levels = shift, levels

    def propose(self, conditions, rng, density=None, n_particles=1):
        return NormalRows(self, conditions, rng)


class NormalRows:
    effective_size = staticmethod(distinct_sample_size)
    gains_by_resampling, has_density, origins = False, True, None

    def __init__(self, source, conditions, rng):
        n, layout = len(conditions), source.codec.layout_
        self.x_num = rng.normal(source.shift, size=(n, layout.n_numeric)).astype("f4")
        self.x_cat = np.zeros((n, layout.n_categorical), np.int64)
        self.log_weights = np.zeros(n)
        if layout.n_categorical:
            # the level depends on the first number
            p = expit(self.x_num[:, 0])
            self.x_cat[:, 0] = rng.random(n) < p
            for column, codes in conditions.codes.items():
                drawn = np.where(codes == 1, p, 1 - p)
                self.log_weights = np.log(drawn.astype(float))
                self.x_cat[:, column] = codes

    def draw(self, index, rng):
        return self.x_num[index], self.x_cat[index]


def normal_table(n, seed=0):
    return rng_of(seed).normal(size=(n, 2))


def fitted_sampler(source, X, density_ratio, rng):
    sampler = TableSampler(None, density_ratio, rng)
    return sampler.fit(source, source.codec, None, X, len(X), rng)


def ratio_of(density_ratio, X, shift, seed=0):
    source, rng = NormalSource(X, shift), rng_of(seed)

    def draw(n):
        x_num, x_cat, _ = draw_conditional(source.propose, EncodedConditions(n), rng)
        return x_num, x_cat

    return DensityRatio.fit_if_useful(density_ratio, source.codec, X, draw, rng)


@pytest.mark.parametrize(
    ("density_ratio", "error", "correlation"),
    [("auto", 0.3, 0.88), (LogisticRegression(), 0.15, 0.96)],
)
def test_weights_are_the_ratio_of_densities(density_ratio, error, correlation):
    """Real N(0, 1), generated N(0.7, 1) twice: log w = 0.245 - 0.7 x + const."""
    ratio = ratio_of(density_ratio, normal_table(8_000), [0.7, 0.0])
    ratio.raking = None  # It follows the noise of the table's own marginals.
    fresh = rng_of(5).normal([0.7, 0.0], size=(5_000, 2))
    log_w = np.log(ratio.weights(fresh))
    true = 0.245 - 0.7 * fresh[:, 0] - np.log(GENERATED_FACTOR)
    assert np.abs(log_w - true).mean() < error
    assert np.corrcoef(log_w, true)[0, 1] > correlation
    # the gain is the divergence of the two, 0.7^2 / 2 nats
    assert ratio.gain == pytest.approx(0.245, abs=0.06)


class Odds(LogisticRegression):
    """A classifier whose odds are known: exp(first column), whatever it is shown."""

    def fit(self, X, y):
        self.seen_ = X, y
        return self

    def predict_proba(self, X):
        p = expit(X[:, 0])
        return np.column_stack([1 - p, p])


def test_raked_weights_have_the_marginals_of_the_table():
    """Weights that miss one number, a category and the holes; the limit is kept."""
    rng = rng_of()

    def rows(n, shift, share, holes):
        number = rng.normal(shift, size=n)
        level = (rng.random(n) < share).astype(float)
        gap = np.where(rng.random(n) < holes, np.nan, rng.normal(size=n))
        return np.column_stack([number, level, gap])

    real, generated = rows(20_000, 0.0, 0.3, 0.1), rows(60_000, 0.5, 0.5, 0.3)
    raking = Raking(4.0).fit(real, generated, np.ones(len(generated)))
    fresh = rows(60_000, 0.5, 0.5, 0.3)
    weights = limited(raking.factors(fresh), 4.0)
    weights /= weights.sum()
    below = np.sort(real[:, 0])[2_000::2_000]
    shares = [(weights * (fresh[:, 0] <= edge)).sum() for edge in below]
    np.testing.assert_allclose(shares, np.arange(1, len(below) + 1) / 10, atol=0.015)
    assert weights @ fresh[:, 1] == pytest.approx(0.3, abs=0.015)
    assert weights @ np.isnan(fresh[:, 2]) == pytest.approx(0.1, abs=0.015)


def test_factors_are_bounded_where_no_generated_row_helps():
    """A level that is never generated, and 300 columns that all call for one row."""
    real = np.repeat([[0.0], [1.0]], 500, axis=0)
    raking = Raking(4.0).fit(real, np.zeros((5_000, 1)), np.ones(5_000))
    factors = raking.factors(np.array([[0.0], [1.0]]))
    assert np.abs(np.log(factors)).max() <= 5.0 + 1e-9
    wide = np.repeat(real, 300, axis=1)
    generated = np.repeat([[0.0], [1.0]], [4_990, 10], axis=0).repeat(300, axis=1)
    raking = Raking(4.0).fit(wide, generated, np.ones(5_000))
    assert np.isfinite(raking.factors(wide)).all()


def test_a_table_of_many_values_has_fewer_generated_rows(monkeypatch):
    """Memory of the classifier grows with rows times columns."""
    monkeypatch.setattr(sampling_ratio, "MANY_VALUES", 1_999)
    ratio = ratio_of(Odds(), normal_table(1_000), [0.7, 0.0])
    _, label = ratio.classifier.seen_
    assert np.count_nonzero(label == 0) == 2 * np.count_nonzero(label == 1)


def test_the_gain_is_judged_on_rows_held_out():
    X = normal_table(4_000)
    ratio = ratio_of(Odds(), X, [0.7, 0.0])
    rows, label = ratio.classifier.seen_
    assert np.count_nonzero(label == 1) == 3_000
    assert np.count_nonzero(label == 0) == 3_000 * GENERATED_FACTOR
    codec = TableCodec(None).fit(X)
    X = codec.to_matrix(*codec.encode(X))  # float32 on the way
    held_out = X[~np.isin(X[:, 0] + np.pi * X[:, 1], rows[:, 0] + np.pi * rows[:, 1])]
    assert len(held_out) == 1_000
    # E_real[log w] - log E_generated[w]; of log-normal w the latter is 0.7 + 1 / 2
    generated = 0.7 + 0.5
    error = np.sqrt((np.e - 1) / (1_000 * GENERATED_FACTOR))
    expected = held_out[:, 0].mean() - generated
    assert ratio.gain == pytest.approx(expected, abs=Z * error)


class Memory(Odds):
    """Knows the rows that it was fitted to, and nothing else."""

    def predict_proba(self, X):
        rows, label = self.seen_
        known = dict(zip(map(tuple, rows), label, strict=True))
        p = np.array([0.05 + 0.9 * known.get(tuple(row), 0.5) for row in X])
        return np.column_stack([1 - p, p])


def test_no_overfitting_flatters_the_gain():
    ratio = ratio_of(Memory(), normal_table(1_000), [0.7, 0.0])
    assert ratio.gain == pytest.approx(0.0, abs=1e-6)


def test_weights_are_bounded():
    ratio = DensityRatio(Odds(), None)
    weights = ratio.weights(np.array([[-1e3], [0.0], [1e3]]))
    np.testing.assert_allclose(weights, [1 / 999, 1.0, 999])


def test_auto_steps_aside_for_a_perfect_generator():
    for seed in range(6):
        assert ratio_of("auto", normal_table(1_000, seed), [0, 0], seed) is None


def test_a_classifier_of_ones_own_is_kept_even_if_it_does_not_help():
    ratio = ratio_of(LogisticRegression(), normal_table(1_000), [0.0, 0.0])
    assert ratio.gain < 0.02
    ratio.raking = None  # It follows the noise of the table's own marginals.
    assert (
        np.abs(GENERATED_FACTOR * ratio.weights(normal_table(100, 1)) - 1).max() < 0.4
    )


def test_too_few_rows_to_judge_on():
    assert ratio_of("auto", normal_table(79), [3.0, 0.0]) is not None
    assert ratio_of("auto", normal_table(76), [3.0, 0.0]) is None


def test_the_classifier_is_a_clone_with_a_seed():
    classifier = LogisticRegression()
    ratio = ratio_of(classifier, normal_table(200), [1.0, 0.0])
    assert ratio.classifier is not classifier
    assert ratio.classifier.random_state is not None
    assert classifier.random_state is None
    assert not hasattr(classifier, "coef_")


def test_the_ratio_brings_rows_nearer_to_the_truth():
    """Weighted N(0.5, 1) becomes N(0, 1), without a row that comes twice."""
    X = normal_table(4_000)
    source = NormalSource(X, [0.5, 0.0])
    means = {}
    for density_ratio in (None, "auto", LogisticRegression()):
        sampler = fitted_sampler(source, X, density_ratio, rng_of())
        assert (sampler.ratio_ is None) == (density_ratio is None)
        # not calibrated: calibration alone would mend a column's mean
        anything = EncodedConditions(4_000)
        x_num, *_ = sampler._draw(source, source.codec, anything, rng_of(1))
        means[str(density_ratio)] = x_num[:, 0].mean()
        assert len(np.unique(x_num, axis=0)) == 4_000
    assert means["None"] == pytest.approx(0.5, abs=Z / np.sqrt(4_000))
    # one row of four is kept: the best reachable mean is not quite zero
    assert abs(means["auto"]) < 0.1
    assert abs(means["LogisticRegression()"]) < 0.1


def test_conditions_and_the_ratio_together():
    """p(x | level) of the truth: the weights of both multiply."""
    rng = rng_of()
    numbers = rng.normal(size=(6_000, 2))
    level = rng.random(6_000) < expit(numbers[:, 0])
    X = pd.DataFrame({"a": numbers[:, 0], "b": numbers[:, 1], "level": level})
    grid = np.linspace(-8, 8, 4_001)
    density = stats.norm.pdf(grid)
    # the column b is generated at 0.7, and the ratio must mend it under conditions
    source = NormalSource(X, [0.0, 0.7])
    # a fit orders codes by frequency; here code 1 means True
    source.codec = TableCodec(None).fit(
        pd.concat([X, X[X["level"].eq(False)][:300]], ignore_index=True)
    )
    assert source.codec.categories_[0].levels_ == [False, True]
    sampler = fitted_sampler(source, X, LogisticRegression(), rng)
    for value in (0, 1):
        n = 4_000
        asked = given_codes(n, {0: np.full(n, value)})
        x_num, x_cat, _ = sampler._draw(source, source.codec, asked, rng)
        assert (x_cat[:, 0] == value).all()
        part = density * (expit(grid) if value else 1 - expit(grid))
        mean = (grid * part).sum() / part.sum()
        assert x_num[:, 0].mean() == pytest.approx(mean, abs=2 * Z / np.sqrt(n))
        assert x_num[:, 1].mean() == pytest.approx(0.0, abs=0.12)
    given = np.arange(2_000) % 2
    conditions = given_codes(2_000, {0: given})
    x_num, x_cat, _ = sampler.sample(source, source.codec, conditions, rng)
    np.testing.assert_array_equal(x_cat[:, 0], given)
    assert x_num[given == 1, 0].mean() > x_num[given == 0, 0].mean() + 0.5


def test_a_ratio_weighs_a_bounded_number_of_rows_at_a_time(monkeypatch):
    """Four proposals for each row of a chunk; rows stay in the order of conditions."""
    monkeypatch.setattr(sampler, "RATIO_CHUNK", 300)
    X = pd.DataFrame(normal_table(400), columns=["a", "b"])
    X["level"] = np.where(np.arange(400) < 100, "high", "low")
    source = NormalSource(X, [0.0, 0.0])
    source.needs_particles = lambda conditions: True
    fitted = fitted_sampler(source, X, Odds(), rng_of())
    sizes, weights = [], fitted.ratio_.weights
    fitted.ratio_.weights = lambda rows: sizes.append(len(rows)) or weights(rows)
    for draw, given in (
        (fitted._draw, np.ones(1_000, int)),
        (fitted._draw_each, np.arange(1_000) % 2),
    ):
        conditions = given_codes(1_000, {0: given})
        x_num, x_cat, log_mass = draw(source, source.codec, conditions, rng_of())
        np.testing.assert_array_equal(x_cat[:, 0], given)
        assert len(np.unique(x_num[:, 0])) == 1_000
        assert log_mass.shape == (1_000,)
    assert sizes == [1_000] * 8  # for 250 rows each


def test_columns_that_boosting_takes_as_categories():
    n = 700
    X = pd.DataFrame(
        {
            "many": [f"level {i % 256}" for i in range(n)],
            "number": np.arange(n) / 7,
            "few": [f"level {i % 255}" for i in range(n)],
            "hole": np.where(np.arange(n) % 5, np.arange(n), np.nan),
            "flag": np.arange(n) % 2 == 0,
            # constant where it is there: a category of two levels
            "constant": np.where(np.arange(n) % 3, 1.0, np.nan),
        }
    )
    codec = TableCodec().fit(X)
    matrix = codec.to_matrix(*codec.encode(X))
    mask = native_categories(codec)
    # numbers first; then many, few, flag and the constant's
    assert mask.tolist() == [False, False, False, True, True, True]
    assert matrix.shape[1] == 6
    assert matrix[:, mask].max() <= 254


def test_many_levels_can_have_a_ratio():
    rng = rng_of()
    X = pd.DataFrame({"a": rng.normal(size=4_500), "b": np.arange(4_500) % 300})
    X["b"] = X["b"].astype("category")
    codec = TableCodec().fit(X)

    def draw(n):
        rows = rng.integers(len(X), size=n)
        x_num, x_cat = codec.encode(X, rng)
        return x_num[rows] + 2, x_cat[rows]

    ratio = DensityRatio.fit_if_useful("auto", codec, X, draw, rng)
    assert ratio is not None
    assert ratio.gain > 0.5


# ------------------------------------------------------------------- calibration


def calibrated_table(n, rng):
    """Columns without gaps: bell, skew, integers, a spike, and one with holes."""
    spike = np.where(rng.random(n) < 0.6, 0.0, rng.gamma(3.0, size=n))
    holes = np.where(rng.random(n) < 0.3, np.nan, rng.uniform(size=n))
    return pd.DataFrame(
        {
            "bell": rng.normal(3, 2, n),
            "skew": rng.gamma(3.0, size=n),
            "counts": rng.poisson(4, n),
            "spike": spike,
            "holes": holes,
        }
    )


def wrong_rows(codec, n, rng):
    """Encoded rows whose numbers are off in location, scale and shape."""
    layout = codec.layout_
    x_num = np.sinh(rng.normal(0.4, 0.7, size=(n, layout.n_numeric)))
    x_cat = (rng.random((n, layout.n_categorical)) < 0.2).astype(np.int64)
    for number, mask in enumerate(layout.masks):
        if mask >= 0:
            x_num[x_cat[:, mask] == 1, number] = 0.0
    return x_num.astype(np.float32), x_cat


def ecdf_distance(first, second):
    return stats.ks_2samp(first, second, method="asymp").statistic


@pytest.mark.parametrize("scaling", ["quantile", "standard", "minmax"])
@pytest.mark.parametrize("ranked", [True, False])
def test_marginals_become_those_of_training(scaling, ranked):
    rng = rng_of()
    X = calibrated_table(3_000, rng)
    codec = TableCodec(scaling).fit(X)
    marginals = MarginalMap(codec).fit(*wrong_rows(codec, 20_000, rng))
    x_num, x_cat = wrong_rows(codec, 3_000, rng)
    fixed = marginals.apply(x_num, x_cat, rng, ranked=ranked)
    before, after = codec.decode(x_num, x_cat), codec.decode(fixed, x_cat)
    # ranks leave a step of their own; 2,000 quantiles are kept, 1,000 knots
    bound = 1 / 2_000 + 1 / 1_000
    if not ranked:
        bound = dkw(20_000 * 0.7, 3_000 * 0.7) + 2 / 1_000
    for column in X:
        real = X[column].dropna()
        assert ecdf_distance(before[column].dropna(), real) > 0.1
        assert ecdf_distance(after[column].dropna(), real) < bound
        assert (after[column].isna() == before[column].isna()).all()
    assert set(after["counts"]) <= set(X["counts"])


@pytest.mark.parametrize("scaling", ["standard", "minmax"])
def test_a_map_of_calibrated_rows_leaves_their_atoms(scaling):
    """Under a density ratio rows are calibrated twice: the second map meets atoms."""
    rng = rng_of()
    X = calibrated_table(3_000, rng)
    codec = TableCodec(scaling).fit(X)
    first = MarginalMap(codec).fit(*wrong_rows(codec, 20_000, rng))
    rows = wrong_rows(codec, 20_000, rng)
    once = first.apply(*rows, rng, ranked=False)
    second = MarginalMap(codec).fit(once, rows[1])
    few = slice(0, 3_000)
    twice = second.apply(once[few], rows[1][few], rng, ranked=False)
    after = codec.decode(twice, rows[1][few])
    bound = dkw(20_000 * 0.7, 3_000 * 0.7) + 2 / 1_000
    for column in X:
        assert ecdf_distance(after[column].dropna(), X[column].dropna()) < bound


@pytest.mark.parametrize("ranked", [True, False])
def test_kept_intervals_are_neither_left_nor_entered(ranked):
    """Other columns of a row depend on whether it has a frequent value."""
    rng = rng_of()
    X = np.where(rng.random(3_000) < 0.3, 1.0, rng.lognormal(size=3_000))[:, None]
    codec = TableCodec("quantile").fit(X)
    kept = codec.intervals([np.array([1.0])])
    # A wrong share has the value, and the others have a wrong distribution.
    has_value = rng.random(20_000) < 0.5
    wrong = np.where(has_value, 1.0, rng.lognormal(0.3, 1.5, 20_000))
    x_num = codec.encode(wrong[:, None])
    rows, none = (part.copy() for part in x_num)
    before = codec.decode(rows, none)[:, 0]
    marginals = MarginalMap(codec, kept).fit(rows, none)
    fixed = marginals.apply(rows, none, rng, ranked=ranked)
    after = codec.decode(fixed, none)[:, 0]
    np.testing.assert_array_equal(before == 1.0, after == 1.0)
    np.testing.assert_array_equal(fixed[before == 1.0], rows[before == 1.0])
    for side in (np.less, np.greater):
        real, moved = (x[side(x, 1.0)] for x in (X[:, 0], after))
        np.testing.assert_array_equal(side(before, 1.0), side(after, 1.0))
        assert ecdf_distance(moved, real) < dkw(10_000 * 0.5, 3_000 * 0.35) + 2 / 1_000


def test_the_fixed_map_reaches_the_extremes():
    """The largest of 20,000 rows are as rare among a few hundred, and as different."""
    rng = rng_of()
    X = rng.lognormal(size=(20_000, 1))
    codec = TableCodec().fit(X)
    rows, none = codec.encode(X)
    marginals = MarginalMap(codec).fit(rows, none)
    largest = np.argsort(X[:, 0])[-20:]
    out = marginals.apply(rows[largest], none[largest], rng, ranked=False)
    assert len(np.unique(out)) == 20
    assert codec.decode(out, none[largest]).max() == X.max()


def test_a_classifier_is_never_dropped():
    """Only "auto" steps aside on few rows."""
    X = rng_of().normal(size=(60, 1))
    codec, rng = TableCodec().fit(X), rng_of()

    def draw(n):
        return rng.normal(1.0, size=(n, 1)).astype("f4"), np.zeros((n, 0), np.int64)

    classifier = LogisticRegression()
    assert DensityRatio.fit_if_useful(classifier, codec, X, draw, rng) is not None
    assert DensityRatio.fit_if_useful("auto", codec, X, draw, rng) is None


@pytest.mark.parametrize("ranked", [True, False])
def test_ranks_are_kept(ranked):
    rng = rng_of()
    X = calibrated_table(3_000, rng)
    codec = TableCodec().fit(X)
    x_num, x_cat = wrong_rows(codec, 2_000, rng)
    copy = x_num.copy()
    marginals = MarginalMap(codec).fit(*wrong_rows(codec, 20_000, rng))
    out = marginals.apply(x_num, x_cat, rng, ranked=ranked)
    np.testing.assert_array_equal(x_num, copy)  # the argument is left alone
    for column, mask in enumerate(codec.layout_.masks):
        present = slice(None) if mask < 0 else x_cat[:, mask] == 0
        order = np.argsort(x_num[present, column])
        assert (np.diff(out[present, column][order]) >= 0).all()


@pytest.mark.parametrize("ranked", [True, False])
def test_missing_numbers_are_left_alone(ranked):
    rng = rng_of()
    X = calibrated_table(3_000, rng)
    codec = TableCodec("standard").fit(X)
    place = list(X).index("holes")
    mask = codec.layout_.masks[place]
    x_num, x_cat = wrong_rows(codec, 2_000, rng)
    marginals = MarginalMap(codec).fit(x_num, x_cat)
    out = marginals.apply(x_num, x_cat, rng, ranked=ranked)
    missing = x_cat[:, mask] == 1
    assert 0 < missing.sum() < 2_000
    assert (out[missing, place] == 0).all()
    # nor do they count among the ranks of the others
    x_num[missing, place] = 50.0
    other = MarginalMap(codec).fit(x_num, x_cat)
    for one, two in zip(other.clusters_, marginals.clusters_, strict=True):
        np.testing.assert_array_equal(one[2], two[2])
    assert (other.apply(x_num, x_cat, rng, ranked=ranked)[missing, place] == 50).all()


def test_the_fixed_map_and_the_ranked_one():
    """Of a sample unlike the one that was kept, ranks undo what a map leaves."""
    rng = rng_of()
    X = rng.normal(size=(5_000, 1))
    codec = TableCodec().fit(X)
    rows = rng.normal(0.3, 1.2, size=(20_000, 1)).astype("f4")
    none = np.zeros((20_000, 0), np.int64)
    marginals = MarginalMap(codec).fit(rows, none)
    # such a map is x -> (x - 0.3) / 1.2, for one row as for many
    for part in (slice(0, 1), slice(0, 2_000)):
        out = marginals.apply(rows[part], none[part], rng, ranked=False)
        inner = np.abs(out) < 2
        expected = (rows[part] - 0.3) / 1.2
        np.testing.assert_allclose(out[inner], expected[inner], atol=0.15)
    above = rows[rows[:, 0] > 0.3][:2_000]
    kept = marginals.apply(above, none[: len(above)], rng, ranked=False)
    assert kept.min() > -0.1  # what a condition has moved stays moved
    ranked = marginals.apply(above, none[: len(above)], rng, ranked=True)
    assert ecdf_distance(ranked[:, 0], codec.encode(X)[0][:, 0]) < 1e-3


def clustered(n, rng):
    """Five clusters of equal share at 0, 2, 4, 6 and 8; which one comes, too."""
    which = rng.integers(5, size=n)
    return 2.0 * which + 0.05 * rng.normal(size=n), which


@pytest.mark.parametrize("scaling", ["quantile", "standard", "minmax", None])
@pytest.mark.parametrize("ranked", [True, False])
def test_no_value_crosses_a_gap(scaling, ranked):
    """The generator's shares are off; a row stays in its cluster all the same."""
    rng = rng_of()
    X, _ = clustered(4_000, rng)
    codec = TableCodec(scaling).fit(X[:, None])
    which = rng.choice(5, size=5_000, p=[0.1, 0.25, 0.3, 0.25, 0.1])
    values = 2.0 * which + 0.2 * rng.normal(size=5_000).clip(-4, 4)
    x_num, x_cat = codec.encode(values[:, None])
    marginals = MarginalMap(codec).fit(x_num, x_cat)
    out = codec.decode(marginals.apply(x_num, x_cat, rng, ranked=ranked), x_cat)[:, 0]
    np.testing.assert_array_equal(np.rint(out / 2), which)
    # and inside its cluster it is calibrated
    for cluster in range(5):
        apart = out[which == cluster] - 2 * cluster
        real = X[np.rint(X / 2) == cluster] - 2 * cluster
        assert ecdf_distance(apart, real) < dkw(400) * 0.5


def test_a_cluster_without_generated_rows():
    """It has no map of its own; a row that comes there later stays there."""
    rng = rng_of()
    X, _ = clustered(2_000, rng)
    codec = TableCodec().fit(X[:, None])
    x_num, x_cat = codec.encode(X[X < 5][:, None])
    marginals = MarginalMap(codec).fit(x_num, x_cat)
    later, _ = codec.encode(np.array([[6.01], [8.02], [2.0]]))
    out = marginals.apply(later, x_cat[:3], rng, ranked=False)
    values = codec.decode(out, x_cat[:3])[:, 0]
    np.testing.assert_array_equal(np.rint(values / 2), [3, 4, 1])


def test_a_table_of_constants_is_calibrated_to_itself():
    codec = TableCodec().fit(np.ones((50, 2)))
    zeros, none = np.zeros((50, 1), np.float32), np.zeros((50, 0), np.int64)
    marginals = MarginalMap(codec).fit(zeros, none)
    np.testing.assert_array_equal(
        marginals.apply(zeros, none, rng_of(), ranked=True), zeros
    )


def test_random_ranks():
    rng = rng_of()
    # Negative numbers, and both zeros, which are equal.
    values = np.float32([1.5, 1.5, -2.0, 0.0, -0.0, -0.5])
    values = values.repeat([25, 25, 30, 5, 5, 10])
    ranks = random_ranks(values, rng)
    assert ((ranks > 0) & (ranks < 1)).all()
    # one in each hundredth, in the order of the values
    np.testing.assert_array_equal(np.sort((ranks * 100).astype(int)), np.arange(100))
    for value, low, high in [
        (-2, 0.0, 0.3),
        (-0.5, 0.3, 0.4),
        (0, 0.4, 0.5),
        (1.5, 0.5, 1),
    ]:
        of_value = ranks[values == value]
        assert of_value.min() > low
        assert of_value.max() < high
    # equal values are in no order
    for equal in (np.ones(10, np.float32), np.float32([0.0, -0.0] * 5)):
        first = [random_ranks(equal, rng)[0] for _ in range(2_000)]
        assert stats.kstest(first, "uniform").pvalue > ALPHA
    assert len(random_ranks(np.zeros(0, np.float32), rng)) == 0


# ------------------------------------------------------------------- gaps


@pytest.mark.parametrize("n", [200, 2_000, 20_000])
def test_gaps_between_clusters_are_found(n):
    for seed in range(5):
        X, _ = clustered(n, rng_of(seed))
        quantiles = Quantiles(2_000).fit(X)
        last = quantiles.values_[quantiles.cluster_gaps_]
        first = quantiles.values_[quantiles.cluster_gaps_ + 1]
        np.testing.assert_array_equal(np.rint(last / 2), [0, 1, 2, 3])
        np.testing.assert_array_equal(np.rint(first / 2), [1, 2, 3, 4])
        for scaling in ("quantile", "standard", "minmax", None):
            codec = TableCodec(scaling).fit(X[:, None])
            u, middles = codec.cluster_gaps(0)
            below = [(X < border).mean() for border in (1, 3, 5, 7)]
            np.testing.assert_allclose(u, below, atol=1 / n + 1 / 2_000)
            sides = codec.encode(np.column_stack([last, first]).reshape(-1, 1))[0]
            assert (sides.reshape(4, 2)[:, 0] < middles).all()
            assert (middles < sides.reshape(4, 2)[:, 1]).all()


@pytest.mark.parametrize("n", [200, 2_000, 20_000])
@pytest.mark.parametrize(
    "law", ["normal", "uniform", "exponential", "lognormal", "standard_cauchy"]
)
def test_no_gaps_where_there_are_none(law, n):
    for seed in range(10):
        X = getattr(rng_of(seed), law)(size=n)
        assert len(Quantiles(2_000).fit(X).cluster_gaps_) == 0


def test_small_and_discrete_columns_have_no_gaps():
    rng = rng_of()
    few = np.append(rng.random(500), 50 + rng.random(19))
    assert len(Quantiles(2_000).fit(few).cluster_gaps_) == 0  # under twenty rows
    some = np.append(rng.random(500), 50 + rng.random(21))
    assert len(Quantiles(2_000).fit(some).cluster_gaps_) == 1
    rare = np.append(rng.random(5_000), 50 + rng.random(100))
    assert len(Quantiles(2_000).fit(rare).cluster_gaps_) == 0  # under one in fifty
    assert len(Quantiles(2_000).fit(rng.choice([0.0, 9.0], 500)).cluster_gaps_) == 0
    assert len(Quantiles(2_000).fit(np.array([1.0, 5.0])).cluster_gaps_) == 0


# ------------------------------------------------------------------- the sampler


def test_few_rows_pass_through_the_fixed_map():
    """A request of 999 rows is calibrated by the kept map, one of 1,000 by ranks."""
    X = normal_table(2_000)
    source = NormalSource(X, [0.3, 0.0])
    source.codec = TableCodec("standard").fit(X)
    sampler = fitted_sampler(source, X, None, rng_of())
    real = np.sort(X[:, 0])
    distances = {}
    for n in (999, 1_000):
        nothing = EncodedConditions(n)
        x_num, x_cat, _ = sampler.sample(source, source.codec, nothing, rng_of(1))
        drawn = source.codec.decode(x_num, x_cat)
        distances[n] = ecdf_distance(drawn[:, 0], real)
    assert distances[1_000] < 2.5e-3
    assert 5e-3 < distances[999] < dkw(999, 20_000) + 2 / 1_000


def test_what_calibration_mends_is_not_worth_a_weight():
    """Rows that are off by their marginals alone need no ratio."""
    X = normal_table(2_000)
    source = NormalSource(X, [0.7, -0.4])
    source.codec = TableCodec("standard").fit(X)
    sampler = fitted_sampler(source, X, "auto", rng_of())
    assert sampler.ratio_ is None
    assert sampler.proposal_marginals_ is None
    assert ratio_of("auto", X, [0.7, -0.4]) is not None


@pytest.mark.parametrize("density_ratio", [None, LogisticRegression()])
def test_conditions_keep_their_own_marginals(density_ratio):
    """Many rows of one level have that level's mean, not the table's."""
    rng = rng_of()
    numbers = rng.normal(size=4_000)
    level = rng.random(4_000) < expit(2 * numbers - 0.5)
    X = pd.DataFrame({"a": numbers, "level": level})
    source = NormalSource(X, [0.0])
    source.codec = TableCodec("standard").fit(X)
    assert source.codec.categories_[0].levels_ == [False, True]
    sampler = fitted_sampler(source, X, density_ratio, rng)
    given = np.ones(3_000, dtype=np.int64)
    conditions = given_codes(3_000, {0: given})
    x_num, _, _ = sampler.sample(source, source.codec, conditions, rng)
    grid = np.linspace(-8, 8, 4_001)
    part = stats.norm.pdf(grid) * expit(grid)  # the law of the source
    if density_ratio is None:
        mean = (grid * part).sum() / part.sum()
        assert x_num[:, 0].mean() == pytest.approx(mean, abs=2 * Z / np.sqrt(3_000))
    assert x_num[:, 0].mean() > 0.25


@pytest.mark.parametrize("n", [1, 2, 7, 1_500])
def test_knots_are_quantiles(n):
    values = rng_of().lognormal(size=(n, 1)).astype("f4")
    codec = TableCodec("standard").fit(normal_table(50)[:, :1])
    marginals = MarginalMap(codec).fit(values, np.empty((n, 0), np.int64))
    (knots,) = marginals.clusters_[0][2]
    expected = np.quantile(values[:, 0], marginals.probabilities_)
    np.testing.assert_allclose(knots, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("n_rows", "n_drawn"), [(50, 4_000), (700, 7_000), (3_000, 20_000)]
)
def test_rows_that_the_marginals_are_fitted_to(monkeypatch, n_rows, n_drawn):
    """Ten for each row of training, within limits."""
    monkeypatch.setattr(sampler, "CALIBRATION_ROWS", 20_000)
    X = normal_table(n_rows)
    source, sizes = NormalSource(X, [0.3, 0.0]), []
    source.codec = TableCodec("standard").fit(X)
    propose = source.propose
    monkeypatch.setattr(
        source,
        "propose",
        lambda conditions, *args, **options: (
            sizes.append(len(conditions)) or propose(conditions, *args, **options)
        ),
    )
    fitted_sampler(source, X, None, rng_of())
    assert sum(sizes) == n_drawn


def test_numbers_without_scaling_are_not_calibrated():
    X = normal_table(500)
    source = NormalSource(X, [0.3, 0.0])
    sampler = fitted_sampler(source, X, None, rng_of())
    assert sampler.marginals_ is None
    nothing = EncodedConditions(5_000)
    x_num, _, _ = sampler.sample(source, source.codec, nothing, rng_of())
    assert x_num[:, 0].mean() == pytest.approx(0.3, abs=Z / np.sqrt(5_000))


def test_models_take_estimators():
    X = load_iris().data
    model = VAETransformer(
        2,
        hidden_layer_sizes=(16,),
        sampling="latent",
        latent_density=KernelDensity(bandwidth=0.3),
        density_ratio=LogisticRegression(max_iter=1_000),
        max_iter=20,
        random_state=0,
    ).fit(X)
    rows = model.sample(1_000, random_state=0)
    assert ecdf_distance(rows[:, 2], X[:, 2]) < 0.02
    assert not np.array_equal(model.sample(5), model.sample(5))


# ------------------------------------------------------------------- what is kept


def test_smoothed_codes_keep_mean_and_covariance():
    """Few codes are far apart: their noise is no small part of the variance."""
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(40, 5)) @ rng.normal(size=(5, 5)) + 5
    drawn = np.concatenate([smoothed_bootstrap(codes, None, rng) for _ in range(200)])
    assert np.allclose(drawn.mean(0), codes.mean(0), atol=0.1)
    assert np.allclose(np.cov(drawn.T), np.cov(codes.T), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("codes", [np.ones((1, 3)), np.ones((5, 3))])
def test_equal_codes_stay(codes):
    assert (smoothed_bootstrap(codes, None, np.random.default_rng(0)) == codes).all()


@pytest.mark.parametrize("width", [4, 24])
@pytest.mark.parametrize("model", [AutoencoderTransformer, VAETransformer])
def test_a_stream_keeps_no_code_that_decodes_to_a_row(model, width):
    """Those that it keeps are about as far from the rows as fresh rows are."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(4, width))
    X, fresh = (
        rng.normal(size=(n, 4)) @ mixing + 0.02 * rng.normal(size=(n, width))
        for n in (1_000, 300)
    )
    options = {"sampling": "latent"} if model is VAETransformer else {}
    fitted = model(4, hidden_layer_sizes=(32,), random_state=0, **options)
    for chunk in np.split(X, 4):
        fitted.partial_fit(chunk)
    decoded = fitted.inverse_transform(fitted._sampler.reservoir_)
    near = NearestNeighbors(n_neighbors=1).fit(X)
    spacing = np.median(near.kneighbors(fresh)[0])
    assert np.median(near.kneighbors(decoded)[0]) > 0.5 * spacing


@pytest.mark.parametrize(
    ("n", "unit", "expected"),
    [
        (1, 1, [1]),
        (2_048, 1, [2_048]),
        (2_049, 1, [1_025, 1_024]),
        (5_000, 1, [1_667, 1_667, 1_666]),
        (3_000, 1_000, [2_000, 1_000]),
        (9_000, 3_000, [3_000, 3_000, 3_000]),
    ],
)
def test_passes_have_about_as_many_rows_each(n, unit, expected):
    class Network(torch.nn.Linear):
        layout = TableLayout(1, ())
        sizes: ClassVar[list] = []

        def sample(self, conditions, generator):
            n = len(conditions)
            self.sizes.append(n)
            nothing = torch.zeros(n, 0, dtype=torch.int64)
            return torch.zeros(n, 1), nothing, torch.zeros(n)

    network = Network(1, 1)
    network.sizes.clear()
    rng = np.random.default_rng(0)
    rows = RowSource(network).propose(EncodedConditions(n), rng, n_particles=unit)
    assert network.sizes == expected
    assert len(rows.x_num) == n
