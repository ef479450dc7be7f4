"""Ridge regressions, and levels that depart from them."""

import numpy as np
import pytest
import torch

from sklearn_unsup._nn.gaussian import MIN_VARIANCE
from sklearn_unsup._nn.regression import MIN_LEVEL_ROWS, Regression, ridge

MIXED = torch.tensor([False, False, True, True])


def randn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def inputs(n, n_rare, seed=0):
    """Two levels, the first of them rare, and two numbers."""
    is_rare = (torch.arange(n) < n_rare).double()
    return torch.cat(
        [torch.stack([is_rare, 1 - is_rare], 1), randn(n, 2, seed=seed)], 1
    )


def test_a_level_has_its_own_slope():
    A, noise = inputs(3_000, 60), randn(3_000, seed=1)
    y = A[:, 2] + 0.5 * A[:, 3] - 2 * A[:, 0] * A[:, 3] + 0.5 * noise
    found = Regression(A, y, MIXED)
    [(level, number, centre, slope)] = found.slopes
    assert (level, number) == (0, 3)
    assert centre == pytest.approx(A[:60, 3].mean().item())
    # Four standard errors, of errors of .5 in 60 rows.
    assert slope == pytest.approx(-2, abs=4 * 0.5 / 60**0.5)
    assert found.weight[3].item() == pytest.approx(0.5, abs=0.05)
    assert found.scale.item() == pytest.approx(0.5, rel=0.05)
    assert found.spreads == []


@pytest.mark.parametrize("ratio", [0.2, 4.0])
def test_a_level_has_its_own_spread(ratio):
    """Which is shrunk a little, and the deviation is that of the other rows."""
    A, noise = inputs(3_000, 60), randn(3_000, seed=1)
    noise[:60] *= ratio
    found = Regression(A, A[:, 2] + 0.5 * noise, MIXED)
    [(level, log)] = found.spreads
    assert level == 0
    # The logarithm of a deviation of 60 errors has a standard error of .09.
    assert log == pytest.approx(np.log(ratio) * 60 / 64, abs=0.35)
    assert found.scale.item() == pytest.approx(0.5, rel=0.05)
    assert found.slopes == []


def test_a_spread_weights_rows():
    """Rows of a small spread say more of the weights than others do."""
    A, noise = inputs(2_000, 100), randn(2_000, seed=1)
    noise[100:] *= 50.0
    found = Regression(A, A[:, 2] + 0.1 * noise, MIXED)
    # By the precise rows alone: a standard error of .01 instead of .11.
    assert found.weight[2].item() == pytest.approx(1.0, abs=0.05)


def test_levels_of_noise_do_not_depart():
    n_found = 0
    for seed in range(100):
        code = torch.randint(10, (300,), generator=torch.Generator().manual_seed(seed))
        levels = torch.nn.functional.one_hot(code, 10).double()
        A = torch.cat([levels, randn(300, 5, seed=seed)], 1)
        is_number = torch.arange(15) >= 10
        y = A[:, 10:].sum(1) + randn(300, seed=1_000 + seed)
        found = Regression(A, y, is_number)
        n_found += bool(found.slopes or found.spreads)
    # By chance 1 to 3 of a hundred tables, in each of which 60 are looked at.
    assert n_found <= 6


@pytest.mark.parametrize(
    ("n_rare", "max_share"), [(MIN_LEVEL_ROWS - 1, 0.5), (200, 0.05)]
)
def test_levels_too_rare_or_too_frequent_do_not_depart(n_rare, max_share):
    A = inputs(2_000, n_rare)
    y = A[:, 2] * (1 - 3 * A[:, 0]) + 0.01 * randn(2_000, seed=1)
    found = Regression(A, y, MIXED, max_share)
    assert found.slopes == found.spreads == []


def test_no_levels_and_no_numbers():
    A, y = inputs(100, 50), randn(100, seed=1)
    levels = Regression(A[:, :2], y, MIXED[:2])
    numbers = Regression(A[:, 2:], y, MIXED[2:])
    assert levels.slopes == numbers.slopes == numbers.spreads == []
    weight, bias, scale = ridge(A[:, 2:], y)
    assert torch.equal(numbers.weight, weight)
    assert (numbers.bias, numbers.scale) == (bias, scale)


# ------------------------------------------------------------------------ ridge


def test_many_rows_give_the_least_squares_solution():
    A, noise = randn(20_000, 3), randn(20_000, seed=1)
    true = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    weight, bias, scale = ridge(A + 1.0, A @ true + 3.0 + 0.5 * noise)
    # Five standard errors of a weight.
    torch.testing.assert_close(weight, true, atol=5 * 0.5 / 20_000**0.5, rtol=0)
    assert bias.item() == pytest.approx(3.0 - true.sum().item(), abs=0.05)
    assert scale.item() == pytest.approx(0.5, rel=0.03)


@pytest.mark.parametrize("n_features", [1, 12, 25])
def test_the_deviation_is_that_of_errors_on_new_rows(n_features):
    """On average, also of nearly as many features as rows, which training rows hide."""
    ratios = []
    for seed in range(60):
        A, noise = randn(130, n_features, seed=seed), randn(130, seed=100 + seed)
        y = A.sum(1) / n_features**0.5 + noise
        weight, bias, scale = ridge(A[:30], y[:30])
        errors = y[30:] - A[30:] @ weight - bias
        ratios.append((errors.square().mean() / scale.square()).item())
    assert 0.7 < np.median(ratios) < 1.5


def test_noise_is_not_explained():
    A, y = randn(60, 20), randn(60, seed=1)
    weight, _, scale = ridge(A, y)
    # The weights of least squares have a squared length of about 20 / 40.
    assert weight.square().sum() < 0.15
    assert scale.item() == pytest.approx(y.std().item(), rel=0.15)


def test_an_exact_dependence_has_a_least_deviation():
    A = randn(30, 1)
    _, _, scale = ridge(A, torch.zeros(30, dtype=torch.float64))
    assert scale.item() == pytest.approx(MIN_VARIANCE**0.5)
