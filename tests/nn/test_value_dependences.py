"""Numbers of which single values say more of later columns than their size does."""

import pytest
import torch

from sklearn_unsup._nn.value_dependences import rows_to_compare, value_dependences

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
    informative, dependent = value_dependences(x_num, None, [VALUES, NONE])
    assert informative == [expected, False]
    assert dependent == [False, expected]


def test_noise_is_taken_for_a_law_in_few_of_many_tables():
    for seed in range(100):
        x_num = rows(500, lambda _, noise: noise, seed)
        assert not any(value_dependences(x_num, None, [VALUES, NONE]).informative)


def test_only_later_columns_count():
    x_num = rows(2_000, lambda value, noise: value % 2 + noise)
    found = value_dependences(x_num.flip(1), None, [NONE, VALUES])
    assert found == ([False, False], [False, False])


def test_dependent_columns_are_those_that_depend_on_values():
    x_num = rows(2_000, lambda value, noise: value % 2 + noise)
    noise = torch.randn(2_000, generator=torch.Generator().manual_seed(1))
    x_num = torch.stack([x_num[:, 0], noise, x_num[:, 1]], 1)
    informative, dependent = value_dependences(x_num, None, [VALUES, NONE, NONE])
    assert informative == [True, False, False]
    assert dependent == [False, False, True]


def test_missing_numbers_say_nothing():
    x_num = rows(2_000, lambda value, noise: value % 2 + 0.1 * noise)
    present = torch.ones_like(x_num)
    present[::2, 1] = 0
    assert value_dependences(x_num, present, [VALUES, NONE]).informative == [
        True,
        False,
    ]
    # Of the rows with a second number none has a value of the first one.
    present[:, 0] = 1 - present[:, 1]
    assert value_dependences(x_num, present, [VALUES, NONE]).informative == [
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("n_rows", "n_columns", "expected"),
    [(10, 3, 10), (9_000, 3, 5_000), (9_000, 100, 2_000), (10, 0, 10)],
)
def test_rows_are_some_at_random_and_always_the_same(n_rows, n_columns, expected):
    rows = rows_to_compare(n_rows, n_columns)
    assert len(rows.unique()) == len(rows) == expected
    assert rows.max() < n_rows
    torch.testing.assert_close(rows, rows_to_compare(n_rows, n_columns))
    # Neighbours are not a step apart.
    assert len(rows.sort().values.diff().unique()) > 1 or expected == n_rows


def test_very_wide_tables_are_not_compared():
    x_num = rows(500, lambda value, noise: (7 * value) % 40)
    wide = torch.cat([x_num, torch.zeros(500, 199)], 1)
    found = value_dependences(wide, None, [VALUES, *[NONE] * 200])
    assert not any(found.informative)
