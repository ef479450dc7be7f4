"""Energy distance and coverage against brute force, quadrature and known laws."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import quad

from sklearn_unsup._nn.two_sample import N_NEIGHBOURS, coverage, energy_distance

ALPHA = 1e-5  # chance that correct code fails one comparison under another seed
Z = stats.norm.isf(ALPHA / 2)


def normal(n, width, seed, mean=0.0):
    noise = torch.Generator().manual_seed(seed)
    return torch.randn(n, width, generator=noise) + mean


# ------------------------------------------------------------------- energy distance


def test_energy_distance_is_its_formula():
    x, y = normal(17, 3, 0).double(), normal(23, 3, 1, 0.5).double()

    def mean_distance(first, second, pairs):
        apart = [np.linalg.norm(first[i] - second[j]) for i, j in pairs]
        return np.mean(apart)

    across = mean_distance(x, y, [(i, j) for i in range(17) for j in range(23)])
    within = [
        mean_distance(
            part, part, [(i, j) for i in range(m) for j in range(m) if i != j]
        )
        for part, m in ((x, 17), (y, 23))
    ]
    expected = 2 * across - sum(within)
    assert energy_distance(x, y).item() == pytest.approx(expected, rel=1e-9)
    assert energy_distance(y, x).item() == pytest.approx(expected, rel=1e-9)


def test_two_points_are_twice_their_distance_apart():
    first, second = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]])
    for n, m in [(1, 1), (5, 8)]:
        apart = energy_distance(first.expand(n, 2), second.expand(m, 2))
        assert apart.item() == pytest.approx(10.0)
        same = energy_distance(first.expand(n, 2), first.expand(m, 2))
        assert same.item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("mean", "scale"), [(1.0, 1.0), (0.0, 2.0), (0.3, 0.7)])
def test_two_normals(mean, scale):
    """Twice the integral of the squared difference of the distribution functions."""
    expected, _ = quad(
        lambda x: 2 * (stats.norm.cdf(x) - stats.norm.cdf(x, mean, scale)) ** 2, -20, 20
    )
    drawn = [
        energy_distance(normal(400, 1, 2 * s), scale * normal(400, 1, 2 * s + 1) + mean)
        for s in range(100)
    ]
    error = np.std(drawn) / np.sqrt(len(drawn))
    assert error < 0.02
    assert np.mean(drawn) == pytest.approx(expected, abs=Z * error)


@pytest.mark.parametrize(("n", "m"), [(20, 20), (5, 60)])
def test_equal_laws_are_zero_apart_in_the_mean(n, m):
    """Also for few rows: paired with themselves they would be some tenths apart."""
    drawn = np.array(
        [
            energy_distance(normal(n, 4, 2 * s), normal(m, 4, 2 * s + 1))
            for s in range(2_000)
        ]
    )
    assert abs(drawn.mean()) < Z * drawn.std() / np.sqrt(len(drawn))
    assert drawn.min() < 0  # unbiased, therefore not bounded by zero


def test_energy_distance_sees_dependence():
    """Equal margins, correlation 0.9 against none."""
    x, noise = normal(1_000, 2, 0), normal(1_000, 2, 1)
    dependent = torch.stack(
        [noise[:, 0], 0.9 * noise[:, 0] + 0.19**0.5 * noise[:, 1]], 1
    )
    nought = energy_distance(x, normal(1_000, 2, 2)).item()
    assert energy_distance(x, dependent).item() > 10 * abs(nought)


# ------------------------------------------------------------------- coverage


def expected_coverage(n, m):
    """Of equal laws (Naeem et al. 2020): none of m among the k nearest of both."""
    k = np.arange(1, N_NEIGHBOURS + 1)
    return 1 - np.prod((n - k) / (n + m - k))


@pytest.mark.parametrize(("n", "m"), [(500, 500), (400, 100), (100, 400)])
@pytest.mark.parametrize("width", [1, 3])
def test_coverage_of_equal_laws(n, m, width):
    drawn = [
        coverage(normal(n, width, 2 * s), normal(m, width, 2 * s + 1))
        for s in range(40)
    ]
    expected = expected_coverage(n, m)
    error = np.sqrt(expected * (1 - expected) / n) / np.sqrt(40)
    assert np.mean(drawn) == pytest.approx(expected, abs=2 * Z * error)
    if n == m:
        assert expected == pytest.approx(0.97, abs=0.005)


def test_coverage_by_hand():
    """Balls on a line: at 0, 1, 3, 6, 10, 15, 21 up to the fifth nearest other."""
    real = torch.tensor([0.0, 1, 3, 6, 10, 15, 21])[:, None]
    # radii: 15, 14, 12, 9, 10, 14, 20
    for place, covered in [(36.0, 1), (20.1, 2), (-4.0, 3), (29.0, 2), (100.0, 0)]:
        share = coverage(real, torch.tensor([[place]]))
        assert share == pytest.approx(covered / 7)
    both = coverage(real, torch.tensor([[36.0], [-4.0]]))
    assert both == pytest.approx(4 / 7)


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_a_missing_mode_lowers_it_by_its_share(share):
    n = 1_000
    far = torch.zeros(n)
    far[: int(share * n)] = 50.0
    real = normal(n, 2, 0) + far[:, None]
    generated = normal(n, 2, 1)
    both = coverage(real, generated)
    kept = coverage(real[int(share * n) :], generated)
    assert both == pytest.approx((1 - share) * kept, abs=1e-6)
    assert kept > 0.95
    # a mode that is there in a tenth of its strength covers part of its rows
    some = generated.clone()
    some[: int(share * n) // 10] += 50.0
    assert both < coverage(real, some) < 0.97


def test_one_point_covers_next_to_nothing():
    real = normal(500, 2, 0)
    assert coverage(real, torch.zeros(500, 2)) < 0.05
    assert coverage(real, real) == 1.0
    assert coverage(real, real + 100) == 0.0
