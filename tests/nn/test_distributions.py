"""TableDistribution against scipy, torch.distributions and enumeration."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Categorical

from sklearn_unsup._nn.conditions import LOG_IMPOSSIBLE, folded
from sklearn_unsup._nn.distributions import (
    TableDistribution,
    block_indicator,
    indices,
    one_hot,
    presence,
    softcap,
)
from sklearn_unsup._nn.hats import _negative_peaks
from sklearn_unsup._nn.likelihoods import LOGIT_CAP
from sklearn_unsup._nn.random import gumbel
from sklearn_unsup._table.layout import EncodedConditions, TableLayout

ALPHA = 1e-5  # chance that a correct sampler fails one comparison under another seed
NUMBERS, CATEGORIES = TableLayout(2), TableLayout(0, (3, 2, 4))
MIXED = TableLayout(2, (3, 2, 4), masks=(-1, 1))  # the second number has a mask
LAYOUTS = {"numbers": NUMBERS, "categories": CATEGORIES, "mixed": MIXED}


@pytest.fixture(params=LAYOUTS)
def layout(request):
    return LAYOUTS[request.param]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def make(layout, n=1, bernoulli=False, seed=0):
    """A distribution of `n` rows, of locations and logits that are all different."""
    raw = 2 * torch.randn(n, layout.width, generator=generator(seed))
    log_scale = None if bernoulli else torch.linspace(-1, 0.5, layout.n_numeric)
    return TableDistribution(layout, raw, log_scale, block_indicator(layout))


def rows_of(layout, n, seed=1):
    noise = generator(seed)
    codes = [torch.randint(k, (n, 1), generator=noise) for k in layout.cardinalities]
    x_cat = torch.cat([torch.zeros(n, 0, dtype=torch.int64), *codes], 1)
    return torch.randn(n, layout.n_numeric, generator=noise), x_cat


def all_codes(layout):
    ranges = [range(k) for k in layout.cardinalities]
    return torch.tensor(list(itertools.product(*ranges)), dtype=torch.int64)


def repeated(distribution, n):
    """The same distribution for `n` rows."""
    raw = distribution.location
    if distribution.logits is not None:
        # the cap is undone: it would be applied twice
        free = LOGIT_CAP * torch.atanh(distribution.logits / LOGIT_CAP)
        raw = torch.cat([raw, free], 1)
    return TableDistribution(
        distribution.layout,
        raw.expand(n, -1),
        distribution.log_scale,
        distribution.indicator,
    )


# ------------------------------------------------------------------- log-probability


def expected_log_prob(distribution, x_num, x_cat):
    """By scipy's densities, column by column."""
    layout, total = distribution.layout, np.zeros(len(x_num))
    for column, mask in enumerate(layout.masks):
        location, x = distribution.location[:, column], x_num[:, column]
        if distribution.log_scale is None:
            each = x * torch.sigmoid(location).log()
            each = (each + (1 - x) * torch.sigmoid(-location).log()).numpy()
        else:
            scale = distribution.log_scale[column].exp().item()
            each = stats.norm(location.numpy(), scale).logpdf(x.numpy())
        total += each if mask < 0 else np.where(x_cat[:, mask] == 0, each, 0.0)
    for column, block in enumerate(layout.category_slices):
        p = torch.softmax(distribution.logits[:, block].double(), 1)
        total += np.log(p[torch.arange(len(p)), x_cat[:, column]].numpy())
    return total


@pytest.mark.parametrize("bernoulli", [False, True])
def test_log_prob_is_the_sum_over_columns(layout, bernoulli):
    distribution = make(layout, 40, bernoulli)
    x_num, x_cat = rows_of(layout, 40)
    if bernoulli:
        x_num = torch.sigmoid(x_num)
    np.testing.assert_allclose(
        distribution.log_prob(x_num, x_cat),
        expected_log_prob(distribution, x_num, x_cat),
        rtol=1e-4,
        atol=1e-4,
    )
    assert len(distribution) == 40


def test_probabilities_of_all_categories_sum_to_one():
    codes = all_codes(CATEGORIES)
    rows = repeated(make(CATEGORIES), len(codes))
    p = rows.log_prob(torch.zeros(len(codes), 0), codes).exp()
    assert p.sum().item() == pytest.approx(1.0, abs=1e-5)
    assert p.std() > 0.01


def test_bernoulli_probabilities_sum_to_one():
    x_num = torch.tensor(list(itertools.product([0.0, 1.0], repeat=2)))
    rows = repeated(make(NUMBERS, bernoulli=True), 4)
    p = rows.log_prob(x_num, torch.zeros(4, 0, dtype=torch.int64)).exp()
    assert p.sum().item() == pytest.approx(1.0, abs=1e-6)
    ones = stats.bernoulli(torch.sigmoid(rows.location[0]).numpy())
    np.testing.assert_allclose(p, ones.pmf(x_num.numpy()).prod(1), rtol=1e-5)


def test_a_masked_number_adds_nothing():
    distribution = make(MIXED, 30)
    x_num, x_cat = rows_of(MIXED, 30)
    missing = x_cat[:, 1] == 1
    assert 0 < missing.sum() < 30
    changed = x_num.clone()
    changed[:, 1] = 1e6
    before = distribution.log_prob(x_num, x_cat)
    after = distribution.log_prob(changed, x_cat)
    assert torch.equal(before[missing], after[missing])
    assert (after[~missing] < before[~missing] - 1e6).all()
    # but its mask, a category, does
    flipped = x_cat.clone()
    flipped[:, 1] = 1 - x_cat[:, 1]
    assert (distribution.log_prob(x_num, flipped) != before).all()


def test_log_probs_of_a_category(layout):
    distribution = make(layout, 20)
    for column, size in enumerate(layout.cardinalities):
        log_p = distribution.category_log_probs(column)
        logits = distribution.logits[:, layout.category_slices[column]]
        assert log_p.shape == (20, size)
        torch.testing.assert_close(log_p, Categorical(logits=logits).logits)


@pytest.mark.parametrize("size", [1e2, 1e6, 1e30])
def test_extreme_logits_give_finite_probabilities(size):
    raw = size * torch.randn(20, MIXED.width, generator=generator())
    raw[:, :2] = 0.0
    raw.requires_grad_()
    distribution = TableDistribution(MIXED, raw, torch.zeros(2), block_indicator(MIXED))
    x_num, x_cat = rows_of(MIXED, 20)
    log_p = distribution.log_prob(x_num, x_cat)
    log_p.sum().backward()
    assert torch.isfinite(log_p).all()
    assert torch.isfinite(raw.grad).all()
    # between the best and the worst of a block lie twice the cap
    floor = sum(-2 * LOGIT_CAP - np.log(k) for k in MIXED.cardinalities)
    assert distribution.mean().isfinite().all()
    assert log_p.min() > floor + stats.norm.logpdf(x_num.numpy()).sum(1).min() - 1e-3


# ------------------------------------------------------------------- softcap


def test_softcap_bounds_smoothly():
    logits = torch.linspace(-200, 200, 4_001, dtype=torch.float64)
    capped = softcap(logits)
    assert capped.abs().max() <= LOGIT_CAP
    assert (capped.diff() >= 0).all()
    torch.testing.assert_close(softcap(-logits), -capped)
    # tanh(x) = x - x^3 / 3 + ...: usual logits are left as they are
    small = logits[logits.abs() < 3]
    error = (softcap(small) - small).abs()
    assert (error <= small.abs() ** 3 / (3 * LOGIT_CAP**2) + 1e-12).all()
    assert error.max() < 0.011
    far = torch.tensor([1e30, -1e30, torch.inf])
    assert softcap(far).tolist() == [LOGIT_CAP, -LOGIT_CAP, LOGIT_CAP]


def test_sums_of_exponentials_of_capped_logits_are_finite():
    """In float32, for ten thousand levels at the cap."""
    sums = torch.full((10_000,), LOGIT_CAP).exp().sum()
    assert torch.isfinite(sums)
    assert torch.full((), -LOGIT_CAP).exp() > 0


# ------------------------------------------------------------------- mean and mode


def test_mean_is_the_expectation_over_all_rows():
    codes = all_codes(MIXED)
    distribution = make(MIXED)
    rows = repeated(distribution, len(codes))
    p = torch.stack(
        [rows.category_log_probs(j).exp().gather(1, codes[:, j : j + 1])[:, 0]
         for j in range(3)]
    ).prod(0)  # fmt: skip
    hot = one_hot(codes, MIXED)
    mean = distribution.mean()[0]
    assert mean.shape == (MIXED.width,)
    torch.testing.assert_close(mean[2:], p @ hot)
    torch.testing.assert_close(mean[:2], distribution.location[0])
    bernoulli = make(MIXED, bernoulli=True)
    torch.testing.assert_close(
        bernoulli.mean()[0, :2], torch.sigmoid(bernoulli.location[0])
    )


def test_mode_is_the_most_likely_row():
    codes = all_codes(CATEGORIES)
    for seed in range(20):
        distribution = make(CATEGORIES, seed=seed)
        rows = repeated(distribution, len(codes))
        log_p = rows.log_prob(torch.zeros(len(codes), 0), codes)
        assert distribution.mode()[1][0].tolist() == codes[log_p.argmax()].tolist()


@pytest.mark.parametrize("bernoulli", [False, True])
def test_mode_of_numbers(bernoulli):
    """Of a Bernoulli number the mean, as for the grey of a pixel."""
    distribution = make(NUMBERS, 30, bernoulli)
    x_num, x_cat = distribution.mode()
    location = distribution.location
    expected = torch.sigmoid(location) if bernoulli else location
    torch.testing.assert_close(x_num, expected)
    assert x_cat.shape == (30, 0)
    assert x_cat.dtype == torch.int64
    if not bernoulli:
        best = distribution.log_prob(x_num, x_cat)
        for step in torch.eye(2):
            assert (distribution.log_prob(x_num + 0.01 * step, x_cat) < best).all()
            assert (distribution.log_prob(x_num - 0.01 * step, x_cat) < best).all()


# ------------------------------------------------------------------- sampling


def test_drawn_numbers_follow_their_normal():
    distribution = make(MIXED)
    x_num, _ = repeated(distribution, 20_000).sample(generator())
    for column in range(2):
        scale = distribution.log_scale[column].exp().item()
        law = stats.norm(distribution.location[0, column].item(), scale)
        assert stats.kstest(x_num[:, column].numpy(), law.cdf).pvalue > ALPHA
    correlation = np.corrcoef(x_num.numpy().T)[0, 1]
    assert abs(correlation) < stats.norm.isf(ALPHA / 2) / np.sqrt(20_000)


def test_drawn_categories_follow_their_probabilities():
    """All combinations: the columns are independent given the code."""
    n, codes, distribution = 20_000, all_codes(CATEGORIES), make(CATEGORIES)
    p = repeated(distribution, len(codes)).log_prob(torch.zeros(len(codes), 0), codes)
    p = p.double().exp().numpy()
    _, x_cat = repeated(distribution, n).sample(generator())
    which = np.ravel_multi_index(x_cat.numpy().T, CATEGORIES.cardinalities)
    counts = np.bincount(which, minlength=len(codes))
    assert stats.chisquare(counts, p / p.sum() * n).pvalue > ALPHA


def test_bernoulli_numbers_are_drawn_at_their_mean():
    distribution = make(NUMBERS, 10, bernoulli=True)
    x_num, _ = distribution.sample(generator())
    torch.testing.assert_close(x_num, torch.sigmoid(distribution.location))


def test_numbers_of_two_values_are_drawn_as_one_of_them():
    """As often as is probable, also under conditions that leave both or one."""
    n = 20_000
    raw = torch.tensor([[0.4, -1.5, 0.8]]).expand(n, 3)
    distribution = TableDistribution(
        TableLayout(3), raw, None, block_indicator(TableLayout(3))
    )
    distribution.is_binary = torch.tensor([True, True, False])
    p = torch.sigmoid(raw[0])
    one, both = (torch.tensor([low, 1.0]).expand(n, 2) for low in (0.5, -0.2))
    for bounds, expected in [({}, p[:2]), ({0: one, 1: both}, [1.0, p[1]])]:
        numbers, _ = distribution.sample(
            generator(), EncodedConditions(n, {}, {}, bounds)
        )
        assert set(numbers[:, :2].unique().tolist()) == {0.0, 1.0}
        torch.testing.assert_close(numbers[:, 2], p[2].expand(n))
        np.testing.assert_allclose(numbers[:, :2].mean(0), expected, atol=0.015)
        log_mass = distribution.log_mass(EncodedConditions(n, {}, {}, bounds))
        expected_mass = p[0].log() if bounds else torch.tensor(0.0)
        torch.testing.assert_close(log_mass, expected_mass.expand(n))
    never = EncodedConditions(n, {}, {}, {0: torch.tensor([0.2, 0.4]).expand(n, 2)})
    assert (distribution.log_mass(never) == LOG_IMPOSSIBLE).all()


def test_only_the_given_generator_is_used(layout):
    distribution = make(layout, 50)
    state = torch.get_rng_state()
    first, again, other = (distribution.sample(generator(s)) for s in (0, 0, 1))
    assert torch.equal(state, torch.get_rng_state())
    for one, same, different in zip(first, again, other, strict=True):
        assert torch.equal(one, same)
        assert not one.numel() or not torch.equal(one, different)
        assert one.dtype == different.dtype
    shapes = (50, layout.n_numeric), (50, layout.n_categorical)
    assert (first[0].shape, first[1].shape) == shapes


def test_gumbel_noise():
    noise = gumbel((20_000,), generator(), "cpu")
    assert torch.isfinite(noise).all()
    assert stats.kstest(noise.numpy(), stats.gumbel_r.cdf).pvalue > ALPHA


# ------------------------------------------------------------------- helpers


def test_one_hot_blocks_lie_side_by_side(layout):
    _, x_cat = rows_of(layout, 30)
    hot = one_hot(x_cat, layout)
    assert hot.shape == (30, layout.n_one_hot)
    for column, block in enumerate(layout.category_slices):
        assert torch.equal(hot[:, block].argmax(1), x_cat[:, column])
        assert torch.equal(hot[:, block].sum(1), torch.ones(30))


def test_block_indicator_sums_blocks():
    blocks = [torch.ones(k, 1) for k in CATEGORIES.cardinalities]
    assert torch.equal(block_indicator(CATEGORIES), torch.block_diag(*blocks))
    assert block_indicator(NUMBERS).shape[0] == 0


def test_presence_is_what_the_masks_say():
    x_cat = torch.tensor([[0, 0, 3], [2, 1, 0]])
    assert presence(MIXED, x_cat).tolist() == [[1, 1], [1, 0]]
    assert presence(NUMBERS, x_cat[:, :0]) is None
    assert presence(CATEGORIES, x_cat) is None


def test_cached_tensors_can_be_trained_with_wherever_they_were_made():
    indices.cache_clear()
    _negative_peaks.cache_clear()
    with torch.inference_mode():
        made = (
            indices((1, 0), torch.device("cpu")),
            _negative_peaks(4, torch.device("cpu")),
        )
    assert not any(tensor.is_inference() for tensor in made)
    assert made[1].dtype == torch.float32
    x = torch.ones(3, 2, requires_grad=True)
    (x.index_select(1, made[0]) * x).sum().backward()
    assert (x.grad == 2).all()


# ------------------------------------------------------------------- ranges


def test_numbers_outside_ranges_are_reflected():
    x = torch.tensor([-0.3, 0.2, 1.4, 3.1, -5.0, 0.7, 9.0, -9.0, 4.0, 4.0])
    inf = torch.inf
    low = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, -inf, -inf, 2.0, 1.0, -inf])
    high = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, inf, 3.0, inf, 1.0, inf])
    expected = [0.3, 0.2, 0.6, 0.9, 1.0, 0.7, -3.0, 13.0, 1.0, 4.0]
    np.testing.assert_allclose(folded(x, low, high), expected, atol=1e-6)


def test_reflected_numbers_are_spread_over_a_narrow_range():
    """None is at an end, where three quarters would be if they were moved there."""
    x = 0.1 * torch.randn(10_000, generator=generator())
    low, high = torch.zeros(10_000), torch.full((10_000,), 0.03)
    inside = folded(x, low, high)
    assert stats.kstest(inside / 0.03, "uniform").statistic < 0.02
