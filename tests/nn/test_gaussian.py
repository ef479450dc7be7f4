"""A normal distribution fitted to rows with missing numbers, and its conditionals."""

import numpy as np
import pytest
import torch

from sklearn_unsup._nn.gaussian import (
    PRIOR_ROWS,
    conditional_moments,
    fit_gaussian,
    moments_without,
)

COVARIANCE = np.array([[1.0, 0.8, -0.3], [0.8, 1.0, 0.1], [-0.3, 0.1, 1.0]])
MEAN = np.array([0.2, -0.1, 0.0])


def normal_rows(n, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.multivariate_normal(MEAN, COVARIANCE, n))


def test_a_fit_to_complete_rows_is_that_of_their_moments():
    x = normal_rows(200)
    mean, covariance = fit_gaussian(x, torch.ones(200, 3, dtype=torch.bool))
    torch.testing.assert_close(mean, x.mean(0))
    expected = 200 * torch.cov(x.T, correction=0) + PRIOR_ROWS * torch.eye(3)
    torch.testing.assert_close(covariance, expected / (200 + PRIOR_ROWS))


@pytest.mark.parametrize("kind", ["at random", "by the first column"])
def test_a_fit_to_rows_with_holes_finds_the_law(kind):
    """Also where means of what is there are wrong, as holes depend on a column."""
    n = 6_000
    x = normal_rows(n)
    is_present = torch.from_numpy(np.random.default_rng(1).random((n, 3)) > 0.4)
    if kind != "at random":
        is_present[:] = True
        is_present[:, 1] = x[:, 0] < 0.5
    hidden = torch.where(is_present, x, 77.0)  # no number that is missing is read
    mean, covariance = fit_gaussian(hidden, is_present)
    np.testing.assert_allclose(mean, MEAN, atol=0.06)
    np.testing.assert_allclose(covariance, COVARIANCE, atol=0.08)


def test_conditionals_are_those_of_the_closed_form():
    x = normal_rows(8)
    seen = torch.tensor([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)])
    seen = seen.bool()
    means, deviations = conditional_moments(
        torch.where(seen, x, 77.0), seen, *map(torch.tensor, (MEAN, COVARIANCE))
    )
    for row in range(8):
        known = np.flatnonzero(seen[row])
        for j in np.flatnonzero(~seen[row].numpy()):
            weights = np.zeros(0)
            if len(known):
                block = COVARIANCE[np.ix_(known, known)]
                weights = np.linalg.solve(block, COVARIANCE[known, j])
            mean = MEAN[j] + weights @ (x[row, known].numpy() - MEAN[known])
            variance = COVARIANCE[j, j] - weights @ COVARIANCE[known, j]
            assert means[row, j].item() == pytest.approx(mean, abs=1e-5)
            assert deviations[row, j].item() == pytest.approx(np.sqrt(variance), 1e-5)


@pytest.mark.parametrize("n_asked", [2, 4])
def test_moments_without_are_those_of_fewer_seen_numbers(n_asked):
    """Of none, one or several that are left out, seen or not."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(4, 4))
    covariance = torch.from_numpy(root @ root.T / 4 + 0.2 * np.eye(4))
    mean, x = torch.from_numpy(rng.normal(size=4)), torch.randn(40, 4)
    seen = torch.from_numpy(rng.random((40, 4)) < 0.6)
    left_out = [(), (0,), (3,), (1, 2), (0, 1, 3), (2,)]
    together = moments_without(x, seen, mean, covariance, left_out, n_asked)
    for place, own in enumerate(left_out):
        fewer = seen.clone()
        fewer[:, list(own)] = False
        alone = conditional_moments(x, fewer, mean, covariance)
        is_asked = ~fewer[:, :n_asked]
        for of_all, of_one in zip(together, alone, strict=True):
            torch.testing.assert_close(
                of_all[place][is_asked], of_one[:, :n_asked][is_asked]
            )
