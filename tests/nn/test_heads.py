"""Conditional distributions of single columns: densities, draws, and their bins."""

import functools

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from sklearn_unsup._nn.heads import (
    MAX_Z,
    NumberHeads,
)

EDGES = [(0.1, 0.3, 0.35, 0.8), (), (0.5,)]
WIDTH = 4


def make_heads(gate=0.0, seed=0):
    """Heads of three numbers with different bins, far from where they start."""
    torch.manual_seed(seed)
    heads = NumberHeads(WIDTH, EDGES)
    with torch.no_grad():
        heads.set_weights(torch.empty(heads.weights().shape).normal_(std=0.5))
        heads._split(heads.bias)[3].fill_(gate)
    return heads


def hidden_units(n, seed=0):
    torch.manual_seed(seed)
    return torch.randn(WIDTH).expand(n, WIDTH)


@torch.no_grad()
def density(heads, column, z):
    hidden = hidden_units(len(z)).expand(len(EDGES), -1, -1)
    x = torch.zeros(len(z), len(EDGES))
    x[:, column] = torch.as_tensor(z, dtype=torch.float32)
    present = torch.zeros(len(z), len(EDGES))
    present[:, column] = 1.0
    return heads.log_prob(hidden, x, present).exp().numpy().astype(float)


GRID = np.linspace(-14, 14, 56_001)


@functools.cache
def density_on_grid(gate, column):
    """Once for all tests, as it takes longer than what they do with it."""
    return density(make_heads(gate), column, GRID)


@pytest.mark.parametrize("gate", [-30.0, 0.0, 30.0])
@pytest.mark.parametrize("column", range(len(EDGES)))
def test_densities_integrate_to_one(gate, column):
    total = integrate.trapezoid(density_on_grid(gate, column), GRID)
    assert total == pytest.approx(1.0, abs=2e-3)


@torch.no_grad()
@pytest.mark.parametrize("moments", [None, (0.5, 2.0)])
def test_draws_of_a_gpu_and_of_a_cpu_have_one_law(moments):
    """A GPU draws mixture and histogram for all rows, a CPU one of them for each."""
    heads, n = make_heads(), 20_000
    hidden = hidden_units(n)
    if moments is not None:
        moments = tuple(torch.full((n,), value) for value in moments)
    is_sharp = torch.arange(n) % 3 == 0
    generator = torch.Generator().manual_seed(0)
    drawn = [
        draw(0, hidden, is_sharp, generator, moments)
        for draw in (heads._draw_parts, heads._draw_both)
    ]
    laws = []
    for rows in (is_sharp, ~is_sharp):
        one, other = (x[rows].numpy() for x in drawn)
        assert stats.ks_2samp(one, other).pvalue > 1e-4
        laws.append(one)
    assert stats.ks_2samp(*laws).pvalue < 1e-4


@torch.no_grad()
@pytest.mark.parametrize("gate", [-30.0, 0.0, 30.0])
@pytest.mark.parametrize("column", range(len(EDGES)))
def test_draws_follow_the_density(gate, column):
    heads, n = make_heads(gate), 20_000
    draws = heads.sample(column, hidden_units(n), torch.Generator().manual_seed(1))
    assert draws.abs().max() <= MAX_Z
    cdf = np.cumsum(density_on_grid(gate, column))
    below, above = np.interp([-MAX_Z, MAX_Z], GRID, cdf)
    inside = draws[draws.abs() < MAX_Z].double().numpy()
    assert len(inside) > 0.5 * n
    result = stats.kstest(
        inside, lambda z: (np.interp(z, GRID, cdf) - below) / (above - below)
    )
    assert result.pvalue > 1e-4


@torch.no_grad()
@pytest.mark.parametrize("gate", [-30.0, 0.0, 30.0])
@pytest.mark.parametrize("column", range(len(EDGES)))
@pytest.mark.parametrize(
    ("low", "high"), [(-0.5, 0.3), (1.2, np.inf), (-np.inf, -1.5), (2.0, 2.2)]
)
def test_draws_within_a_range(gate, column, low, high):
    """They follow the density cut off outside, whose integral is the mass."""
    heads, n = make_heads(gate), 5_000
    draws, log_mass = heads.sample_within(
        column,
        hidden_units(n),
        torch.full((n,), low),
        torch.full((n,), high),
        torch.Generator().manual_seed(1),
    )
    assert ((draws >= low) & (draws <= high)).all()
    inside = (GRID >= low) & (GRID <= high)
    parts = np.where(inside, density_on_grid(gate, column), 0.0)
    mass = integrate.trapezoid(parts, GRID)
    np.testing.assert_allclose(log_mass, np.log(mass), atol=1e-2)
    # What is beyond MAX_Z is drawn as MAX_Z.
    draws, cdf = draws[draws.abs() < MAX_Z].double().numpy(), np.cumsum(parts)
    assert len(draws) > 0.5 * n
    below, above = np.interp([-MAX_Z, MAX_Z], GRID, cdf)
    result = stats.kstest(
        draws, lambda z: (np.interp(z, GRID, cdf) - below) / (above - below)
    )
    assert result.pvalue > 1e-4


@torch.no_grad()
@pytest.mark.parametrize("gate", [-30.0, 0.0, 30.0])
def test_a_range_may_be_a_number_or_all_numbers(gate):
    """Of a number the density is returned; without ends the draws are as ever."""
    heads = make_heads(gate)
    low = torch.tensor([0.7, -np.inf, 0.7, -1.3])
    high = torch.tensor([0.7, np.inf, 0.7, -1.3])
    for column in range(len(EDGES)):
        hidden, noise = hidden_units(4), torch.Generator().manual_seed(0)
        draws, log_mass = heads.sample_within(column, hidden, low, high, noise)
        assert draws[[0, 2, 3]].tolist() == pytest.approx([0.7, 0.7, -1.3])
        expected = np.log(density(heads, column, [0.7, 0.0, 0.7, -1.3]))
        expected[1] = 0.0
        np.testing.assert_allclose(log_mass, expected, atol=1e-4)
        assert abs(draws[1]) <= MAX_Z


@torch.no_grad()
@pytest.mark.parametrize("gate", [-30.0, 0.0, 30.0])
def test_rows_may_have_ranges_of_their_own(gate):
    """Each is as likely, and met as well, as if all rows had it."""
    heads, ranges = make_heads(gate), [(-0.5, 0.3), (1.2, np.inf), (0.9, 1.3)]
    n = len(ranges) * 200
    low, high = (torch.tensor(ends).repeat(200) for ends in zip(*ranges, strict=True))
    noise = torch.Generator().manual_seed(1)
    draws, log_mass = heads.sample_within(0, hidden_units(n), low, high, noise)
    assert ((draws >= low) & (draws <= high)).all()
    for place, ends in enumerate(ranges):
        same = (torch.full((200,), end) for end in ends)
        _, alone = heads.sample_within(0, hidden_units(200), *same, noise)
        torch.testing.assert_close(log_mass[place::3], alone)


@torch.no_grad()
def test_ranges_far_out_are_met():
    heads, n = make_heads(), 100
    for low, high in [(7.0, 8.0), (-9.0, -8.5), (20.0, np.inf)]:
        draws, log_mass = heads.sample_within(
            0,
            hidden_units(n),
            torch.full((n,), low),
            torch.full((n,), high),
            torch.Generator().manual_seed(0),
        )
        assert ((draws >= low) & (draws <= high)).all()
        assert torch.isfinite(log_mass).all()


def test_bins_begin_as_the_standard_normal_distribution():
    """Whatever their number: a bin that is not used has no probability."""
    heads = NumberHeads(WIDTH, EDGES)
    with torch.no_grad():
        heads.weight.zero_()
        heads._split(heads.bias)[3].fill_(30.0)
    z = np.linspace(-3, 3, 50)
    for column in range(len(EDGES)):
        expected = stats.norm.pdf(z)
        np.testing.assert_allclose(density(heads, column, z), expected, rtol=1e-4)


def test_a_draw_stays_in_its_bin():
    """All probability in one bin: its quantiles are drawn, and no others."""
    heads = make_heads(gate=30.0)
    with torch.no_grad():
        heads.weight.zero_()
        heads._split(heads.bias)[4][0, 0, 1] = 50.0
    with torch.no_grad():
        draws = heads.sample(0, hidden_units(5_000), torch.Generator().manual_seed(0))
    u = stats.norm.cdf(draws.double().numpy())
    assert u.min() >= 0.1 - 1e-6
    assert u.max() <= 0.3 + 1e-6
    assert stats.kstest(u, stats.uniform(0.1, 0.2).cdf).pvalue > 1e-4


# ------------------------------------------------------------------- starts


def test_a_start_beside_moments_has_their_mean_and_variance():
    heads = NumberHeads(WIDTH, EDGES)
    before = heads.bias.clone()
    heads.start_beside([0, 1, 2], torch.tensor([1.0, 0.5, 0.1]))
    weights, means, log_scales, gate, bins = heads._split(heads.bias.detach())
    p = weights.softmax(-1)
    mean = (p * means).sum(-1)
    variance = (p * (means.square() + (2 * log_scales).exp())).sum(-1)
    torch.testing.assert_close(mean, torch.zeros_like(mean))
    torch.testing.assert_close(variance, torch.ones_like(variance))
    # A tenth as many draws of the histogram to one of the mixture as variance is left.
    torch.testing.assert_close(
        gate.exp().flatten(), torch.tensor([0.1, 0.025, 0.001]), rtol=1e-4, atol=0
    )
    # And the mixture is nearly the normal distribution.
    z = torch.linspace(-4, 4, 81)
    parts = torch.distributions.Normal(means[0, 0], log_scales[0, 0].exp())
    mixture = (p[0, 0] * parts.cdf(z[:, None])).sum(1)
    torch.testing.assert_close(mixture, torch.special.ndtr(z), rtol=0, atol=1e-3)
    torch.testing.assert_close(bins, heads._split(before)[4])


@torch.no_grad()
@pytest.mark.parametrize("gate", [-30.0, 0.0, 30.0])
@pytest.mark.parametrize(("precision", "centre"), [(0.0, 0.0), (4.0, 1.0), (1e4, -2.5)])
def test_tilted_draws(gate, precision, centre):
    """Against the product of density and factor, by quadrature; ratios are its own."""
    heads, n = make_heads(gate), 40_000
    grid = GRID if precision < 100 else centre + GRID / 100
    for column in range(len(EDGES)):
        base = density(heads, column, grid)
        tilted = base * np.exp(-0.5 * precision * (grid - centre) ** 2)
        total = integrate.trapezoid(tilted, grid)
        generator = torch.Generator().manual_seed(1)
        is_tilted = torch.arange(n) % 2 == 0
        x, log_ratio = heads.sample_tilted(
            column,
            hidden_units(n),
            torch.full((n,), precision),
            torch.full((n,), centre),
            is_tilted,
            generator,
        )
        expected = -0.5 * precision * (x.double() - centre) ** 2 - np.log(total)
        is_inside = x.abs() < MAX_Z  # Others were moved after their ratio was known.
        np.testing.assert_allclose(
            log_ratio[is_inside], expected[is_inside], rtol=1e-3, atol=0.03
        )
        cdf = integrate.cumulative_trapezoid(tilted / total, grid, initial=0)
        own = np.sort(x[is_tilted])
        own = own[np.abs(own) < MAX_Z]  # Those beyond are moved to it.
        below = np.searchsorted(own, grid) + (x[is_tilted] <= -MAX_Z).sum().item()
        inside = np.abs(grid) < MAX_Z
        assert np.abs(below / is_tilted.sum().item() - cdf)[inside].max() < 0.015
        plain = heads.sample(column, hidden_units(n), generator)
        assert stats.ks_2samp(x[~is_tilted], plain).pvalue > 1e-4


@torch.no_grad()
@pytest.mark.parametrize("gate", [-30.0, 30.0])
@pytest.mark.parametrize(("mean", "precision", "centre"), [(5, 1, 5.5), (5, 10, 10)])
def test_weights_of_tilted_draws_near_the_range_of_all_numbers(
    gate, mean, precision, centre
):
    """Numbers beyond the range are moved to its ends, whichever way they are drawn."""
    heads, n = NumberHeads(WIDTH, [()]), 100_000
    _, means, log_scales, gates, _ = heads._split(heads.bias)
    heads.weight.zero_()
    means.fill_(float(mean))
    log_scales.zero_()
    gates.fill_(gate)
    arrays = torch.full((n,), float(precision)), torch.full((n,), float(centre))
    is_tilted = torch.arange(n) % 2 == 0
    x, log_ratio = heads.sample_tilted(
        0, hidden_units(n), *arrays, is_tilted, torch.Generator().manual_seed(0)
    )
    weights = (2.0 / (1.0 + log_ratio.double().exp())).numpy()
    assert weights.mean() == pytest.approx(1.0, abs=0.02)
    assert weights.max() <= 2.0 + 1e-6
    at_end = stats.norm.sf(MAX_Z, mean if gate < 0 else 0.0)
    assert (weights * (x.numpy() >= MAX_Z)).mean() == pytest.approx(at_end, abs=0.02)
