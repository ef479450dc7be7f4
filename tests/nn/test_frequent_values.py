"""Frequent values as codes are the same rows, and the same conditions."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from sklearn_unsup._nn.conditions import allowed_codes
from sklearn_unsup._nn.frequent_values import FrequentValues
from sklearn_unsup._table.layout import EncodedConditions, TableLayout
from sklearn_unsup._table.quantiles import Quantiles

N = 2_000


@pytest.fixture(scope="module")
def made():
    """A table's columns and their quantiles: few values, one spike, none."""
    rng = np.random.default_rng(0)
    columns = [
        rng.choice([0.0, 1.0, 5.0], N, p=[0.5, 0.4, 0.1]),
        np.where(rng.random(N) < 0.3, 2.0, rng.normal(2.0, 1.0, N)),
        rng.normal(size=N),
    ]
    quantiles = [Quantiles(1_000).fit(x) for x in columns]
    values = [q.frequent_values(0.05, 32) for q in quantiles]
    assert [len(own) for own in values] == [3, 1, 0]
    intervals = [q.intervals(own) for q, own in zip(quantiles, values, strict=True)]
    # The second number may be missing, which the first category says.
    frequent = FrequentValues(TableLayout(3, (2, 4), (-1, 0, -1)), intervals)
    missing = rng.random(N) < 0.2
    encoded = [q.encode(x, rng) for q, x in zip(quantiles, columns, strict=True)]
    x_num = torch.tensor(np.stack(encoded, 1), dtype=torch.float32)
    x_num[missing, 1] = 0.0
    x_cat = torch.tensor(np.stack([missing, rng.integers(0, 4, N)], 1)).long()
    return columns, missing, quantiles, frequent, x_num, x_cat


def test_codes_say_which_frequent_value_a_row_has(made):
    columns, missing, _, frequent, x_num, x_cat = made
    inner_num, inner_cat = frequent.to_inner(x_num, x_cat)
    assert frequent.layout.cardinalities == (3, 4, 4)
    assert frequent.layout.masks == (2, 0, -1)
    expected = np.where(missing, 1, np.where(columns[1] == 2.0, 2, 0))
    np.testing.assert_array_equal(inner_cat[:, 0], expected)
    np.testing.assert_array_equal(inner_cat[:, 1], x_cat[:, 1])
    place = np.searchsorted([0.0, 1.0, 5.0], columns[0])
    np.testing.assert_array_equal(inner_cat[:, 2], place + 1)
    assert (inner_num[:, 0] == 0).all()
    assert (inner_num[inner_cat[:, 0] != 0, 1] == 0).all()
    torch.testing.assert_close(inner_num[:, 2], x_num[:, 2])


def test_numbers_without_frequent_values_are_normal_again(made):
    _, _, _, frequent, x_num, x_cat = made
    inner_num, inner_cat = frequent.to_inner(x_num, x_cat)
    rest = inner_num[inner_cat[:, 0] == 0, 1]
    assert kstest(rest.numpy(), "norm").pvalue > 0.01


def test_rows_come_back_as_the_values_they_were(made):
    columns, missing, quantiles, frequent, x_num, x_cat = made
    inner = frequent.to_inner(x_num, x_cat)
    generator = torch.Generator().manual_seed(0)
    for outer_num, outer_cat in (
        frequent.to_outer(*inner),
        frequent.to_outer(*inner, generator),
    ):
        torch.testing.assert_close(outer_cat, x_cat)
        assert (outer_num[missing, 1] == 0).all()
        outer_num = outer_num.double().numpy()
        np.testing.assert_array_equal(quantiles[0].decode(outer_num[:, 0]), columns[0])
        found = quantiles[1].decode(outer_num[:, 1])[~missing]
        wanted = columns[1][~missing]
        np.testing.assert_array_equal(found == 2.0, wanted == 2.0)
        np.testing.assert_allclose(found, wanted, atol=1e-3)


def test_random_points_of_a_frequent_value_fill_its_interval(made):
    columns, _, _, frequent, x_num, x_cat = made
    inner = frequent.to_inner(x_num, x_cat)
    generator = torch.Generator().manual_seed(0)
    outer_num, _ = frequent.to_outer(*inner, generator)
    # Encoded numbers are standard normal ones, as those of the codec are.
    assert kstest(outer_num[:, 0].numpy(), "norm").pvalue > 0.01
    middles, _ = frequent.to_outer(*inner)
    assert len(middles[:, 0].unique()) == 3


def allowed(frequent, column, low, high, codes=None):
    """Codes that a mask may have if its number is between values, as a list."""
    bounds = torch.tensor([[low, high]])
    asked = EncodedConditions(1, codes or {}, {}, {column: bounds})
    inner = frequent.conditions(asked)
    mask = frequent.layout.masks[column]
    size = frequent.layout.cardinalities[mask]
    found = allowed_codes(inner.codes[mask], inner.sets[mask], size)
    return found[0].nonzero()[:, 0].tolist()


def test_bounds_allow_the_codes_of_values_inside(made):
    _, _, quantiles, frequent, _, _ = made
    present = {0: torch.zeros(1, dtype=torch.int64)}
    spike = quantiles[1].intervals(np.array([2.0]))[:2, 0]
    inf = float("inf")
    assert allowed(frequent, 1, *spike, present) == [2]
    assert allowed(frequent, 1, -inf, spike[0] - 0.1, present) == [0]
    assert allowed(frequent, 1, spike[0] - 0.1, inf, present) == [0, 2]
    assert allowed(frequent, 1, -inf, inf) == [0, 1, 2]
    # Of the values 0, 1 and 5 those up to 1.
    ones = quantiles[0].intervals(np.array([1.0]))[:2, 0]
    assert allowed(frequent, 0, -inf, ones[1]) == [0, 1, 2]


def test_a_number_that_must_be_missing_has_no_frequent_value(made):
    _, _, _, frequent, _, _ = made
    asked = EncodedConditions(2, {0: torch.tensor([1, 0])})
    inner = frequent.conditions(asked)
    found = allowed_codes(inner.codes[0], inner.sets[0], 3)
    assert found.tolist() == [[False, True, False], [True, False, True]]


def test_points_of_values_are_within_bounds(made):
    _, _, quantiles, frequent, _, _ = made
    low, high = quantiles[0].intervals(np.array([0.0]))[:2, 0]
    bounds = {0: torch.tensor([[low, 0.5 * (low + high)]]).expand(200, 2).float()}
    x_cat = torch.tensor([[0, 0, 1]]).expand(200, 3)
    generator = torch.Generator().manual_seed(0)
    x_num, _ = frequent.to_outer(torch.zeros(200, 3), x_cat, generator, bounds)
    assert (x_num[:, 0] <= bounds[0][:, 1]).all()


def test_intervals_follow_a_codec_that_has_learnt_more_rows(made):
    columns, _, quantiles, frequent, _, _ = made
    # Now 5 is the most frequent value, and 0 is rare.
    more = Quantiles(1_000).fit(np.append(columns[0], np.full(3 * N, 5.0)))
    values = [np.array([0.0, 1.0, 5.0]), np.array([2.0]), np.empty(0)]
    intervals = [more, quantiles[1], quantiles[2]]
    intervals = [q.intervals(own) for q, own in zip(intervals, values, strict=True)]
    moved = FrequentValues(frequent.outer_layout, intervals)
    moved.set_intervals([i.copy() for i in intervals])
    frequent_before = {k: v.clone() for k, v in frequent.state_dict().items()}
    frequent.set_intervals(intervals)
    for name, tensor in frequent.state_dict().items():
        torch.testing.assert_close(tensor, moved.state_dict()[name])
    frequent.load_state_dict(frequent_before)


def test_a_value_that_is_not_known_any_more_is_empty_and_in_its_place():
    """Places of numbers are found by bisection, which wants them in order."""
    q = Quantiles(1_000).fit(np.repeat([0.0, 1.0], 50))
    values = np.array([-1.0, 0.0, 0.5, 1.0, 2.0])
    low, high, begin, end = q.intervals(values)
    np.testing.assert_array_equal(low > high, [True, False, True, False, True])
    np.testing.assert_array_equal(begin == end, low > high)
    assert (np.diff(low.astype(np.float32)) > 0).all()
    assert (np.diff(begin) >= 0).all()
