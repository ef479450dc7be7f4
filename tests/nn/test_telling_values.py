"""Numbers of which single values say more of later columns than their size does."""

import pytest
import torch

from sklearn_unsup._nn.telling_values import telling_columns

N_VALUES = 40
BEGIN = torch.arange(N_VALUES, dtype=torch.float64) / N_VALUES
QUANTILES = torch.stack([BEGIN, BEGIN + 1 / N_VALUES])
VALUES = torch.cat([torch.special.ndtri(QUANTILES), QUANTILES])
NONE = torch.zeros(4, 0)


def rows(n, later, seed=0):
    """Values 0 to 39 of a first column, and a second one that `later` makes of them."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.rand(n, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, generator=generator)
    second = later((N_VALUES * u).floor().float(), noise)
    return torch.stack([torch.special.ndtri(u).float(), second], 1)


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        (lambda value, noise: noise, False),
        (lambda value, noise: value / 10 + noise, False),
        (lambda value, noise: (value / 6).sin() + noise, False),
        (lambda value, noise: value % 2 + noise, True),
        (lambda value, noise: torch.full_like(noise, 3.0), False),
        # The spread tells it, and not the mean.
        (lambda value, noise: noise * (1 + 4 * (value % 3 == 0)), True),
        # A law without an error.
        (lambda value, noise: (7 * value) % 40, True),
    ],
)
def test_columns_that_hats_cannot_tell_apart(later, expected):
    x_num = rows(2_000, later)
    telling, told = telling_columns(x_num, None, [VALUES, NONE])
    assert telling == [expected, False]
    assert told == [False, expected]


def test_noise_is_taken_for_a_law_in_few_of_many_tables():
    for seed in range(100):
        x_num = rows(500, lambda _, noise: noise, seed)
        assert not any(telling_columns(x_num, None, [VALUES, NONE]).telling)


def test_only_later_columns_count():
    x_num = rows(2_000, lambda value, noise: value % 2 + noise)
    found = telling_columns(x_num.flip(1), None, [NONE, VALUES])
    assert found == ([False, False], [False, False])


def test_told_columns_are_those_that_depend_on_values():
    x_num = rows(2_000, lambda value, noise: value % 2 + noise)
    noise = torch.randn(2_000, generator=torch.Generator().manual_seed(1))
    x_num = torch.stack([x_num[:, 0], noise, x_num[:, 1]], 1)
    telling, told = telling_columns(x_num, None, [VALUES, NONE, NONE])
    assert telling == [True, False, False]
    assert told == [False, False, True]


def test_missing_numbers_say_nothing():
    x_num = rows(2_000, lambda value, noise: value % 2 + 0.1 * noise)
    present = torch.ones_like(x_num)
    present[::2, 1] = 0
    assert telling_columns(x_num, present, [VALUES, NONE]).telling == [True, False]
    # Of the rows with a second number none has a value of the first one.
    present[:, 0] = 1 - present[:, 1]
    assert telling_columns(x_num, present, [VALUES, NONE]).telling == [False, False]
