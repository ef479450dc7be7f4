"""JointNormal: moments of numbers given levels, and given what is missing."""

import numpy as np
import pytest
import torch

from sklearn_unsup._nn.joint_normal import (
    MAX_INDICATORS,
    JointNormal,
    codes_of_missing,
    informative_missing,
    is_number_present,
    level_indicators,
)
from sklearn_unsup._table.layout import TableLayout

# The second number has a mask, and the category has a code of a missing value.
LAYOUT, MISSING = TableLayout(2, (2, 4), masks=(-1, 0)), (-1, 3)
N_ROWS = 4_000


@pytest.fixture
def rows():
    """The second number is missing where the first is large, levels where it is low."""
    rng = np.random.default_rng(0)
    first = rng.normal(size=N_ROWS)
    x_num = np.column_stack([first, 0.8 * first + 0.6 * rng.normal(size=N_ROWS)])
    mask = first + 0.5 * rng.normal(size=N_ROWS) > 0.6
    level = np.where(first < -1.0, 3, rng.integers(3, size=N_ROWS))
    x_num[mask, 1] = 0.0
    return torch.from_numpy(x_num).float(), torch.from_numpy(
        np.column_stack([mask, level]).astype(np.int64)
    )


def fitted(rows, informative=()):
    normal = JointNormal(LAYOUT, codes_of_missing(LAYOUT, MISSING), informative).eval()
    normal.fit(*rows, is_number_present(LAYOUT, rows[1]))
    return normal


def moments(normal, code, column, seen_number=None):
    """Those of both numbers given one code, and the second number if it is given."""
    x_num, x_cat = torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.int64)
    seen_num, seen_cat = torch.zeros(1, 2).bool(), torch.zeros(1, 2).bool()
    x_cat[0, column], seen_cat[0, column] = code, True
    if seen_number is not None:
        x_num[0, 1], seen_num[0, 1] = seen_number, True
    means, deviations, _ = normal.moments(x_num, x_cat, seen_num, seen_cat)
    return means[0], deviations[0]


@pytest.mark.parametrize(("column", "missing_code"), [(0, 1), (1, 3)])
def test_what_is_missing_tells_of_numbers(rows, column, missing_code):
    x_num, x_cat = rows
    normal = fitted(rows, [0, 1])
    is_missing = x_cat[:, column] == missing_code
    for code, own in ((missing_code, is_missing), (0, ~is_missing)):
        expected = x_num[own, 0].mean().item()
        assert moments(normal, code, column)[0][0] == pytest.approx(expected, abs=0.05)
        # Without an indicator the two cases are one.
        alone = moments(fitted(rows), code, column)[0][0]
        assert abs(alone) < 0.3 < abs(expected) + 0.15


def test_an_indicator_of_a_missing_code_changes_nothing_that_is_not_given_it(rows):
    """Where it is unknown what is missing, moments are those of a fit without it."""
    with_it, without = fitted(rows, [0, 1]), fitted(rows)
    size = len(without.mean)
    torch.testing.assert_close(with_it.mean[:size], without.mean, atol=2e-3, rtol=0)
    torch.testing.assert_close(
        with_it.covariance[:size, :size], without.covariance, atol=4e-3, rtol=0
    )


def test_a_missing_number_is_where_those_that_are_there_put_it(rows):
    """Not at their mean: it is missing where the first number is large."""
    normal = fitted(rows, [0, 1])
    assert normal.mean[1].item() == pytest.approx(0.0, abs=0.06)
    assert normal.covariance[1, 1].item() == pytest.approx(1.0, abs=0.1)
    # Given the first number, the second is independent of its mask.
    x_num, x_cat = torch.tensor([[0.5, 0.0]]), torch.zeros(1, 2, dtype=torch.int64)
    seen_num = torch.tensor([[True, False]])
    seen_cat = torch.tensor([[True, False]])
    means, deviations, _ = normal.moments(x_num, x_cat, seen_num, seen_cat)
    assert means[0, 1].item() == pytest.approx(0.4, abs=0.05)
    assert deviations[0, 1].item() == pytest.approx(0.6, abs=0.05)


def test_a_level_is_unknown_where_it_is_missing(rows):
    x_num, x_cat = rows
    normal = fitted(rows, [1])
    joint, is_seen = normal.with_indicators(
        x_num, x_cat, torch.ones_like(x_num).bool(), torch.ones_like(x_cat).bool()
    )
    assert normal.indicators == [(1, 1), (1, 2), (1, 3)]
    is_missing = x_cat[:, 1] == 3
    assert is_seen[:, 2:4].eq(~is_missing[:, None]).all()
    assert is_seen[:, 4].all()
    assert joint[:, 4].eq(is_missing).all()


def test_informative_are_missing_values_that_depend_on_others(rows):
    x_num, x_cat = rows
    assert informative_missing(LAYOUT, MISSING, x_num, x_cat) == [0, 1]
    rng = np.random.default_rng(1)
    for _ in range(20):
        shuffled = x_cat[torch.from_numpy(rng.permutation(N_ROWS))]
        shuffled = torch.stack([shuffled[:, 0], x_cat[:, 1] % 3], 1)
        assert informative_missing(LAYOUT, MISSING, x_num, shuffled) == []


def test_gaps_are_informative_only_if_chance_cannot_be_why():
    """Of many rare gaps and rare levels some always fall together."""
    rng = np.random.default_rng(0)
    n, n_gaps, n_level = 3_000, 5, 20
    layout = TableLayout(n_gaps, (*[2] * n_gaps, 20), masks=tuple(range(n_gaps)))
    for n_missing in (10, 25):
        for _ in range(20):
            x_cat = np.zeros((n, n_gaps + 1), dtype=np.int64)
            for column in range(n_gaps):
                x_cat[rng.permutation(n)[:n_missing], column] = 1
            x_cat[:, -1] = rng.permutation(n) // n_level
            x_cat[:, -1] *= x_cat[:, -1] < 20
            x_num = rng.normal(size=(n, n_gaps))
            rows = torch.from_numpy(x_num).float(), torch.from_numpy(x_cat)
            assert informative_missing(layout, (), *rows) == []


@pytest.mark.parametrize(("n", "shift"), [(20_000, 0.12), (60, 1.2)])
def test_gaps_that_tell_little_or_perhaps_nothing_are_not_informative(n, shift):
    """A correlation of .04 that is sure, and one of .4 that is not."""
    rng = np.random.default_rng(1)
    layout = TableLayout(2, (2,), masks=(-1, 0))
    mask = (rng.random(n) < (0.15 if n > 1_000 else 0.4)).astype(np.int64)
    x_num = rng.normal(size=(n, 2))
    x_num[:, 0] += shift * mask
    rows = torch.from_numpy(x_num).float(), torch.from_numpy(mask)[:, None]
    correlation = np.corrcoef(x_num[:, 0], mask)[0, 1]
    assert correlation > (0.03 if n > 1_000 else 0.3)
    assert informative_missing(layout, (), *rows) == []


@pytest.mark.parametrize("n", [1, 50])
@pytest.mark.parametrize(
    "layout", [TableLayout(2), TableLayout(1, (3,)), TableLayout(1, (2,), masks=(0,))]
)
def test_tables_of_few_columns_or_rows_have_none(layout, n):
    rows = torch.randn(n, layout.n_numeric), torch.zeros(n, layout.n_categorical).long()
    assert informative_missing(layout, (), *rows) == []


@pytest.mark.parametrize(("n_missing", "informative"), [(19, []), (20, [0])])
def test_few_gaps_are_not_informative(n_missing, informative):
    """Even where the numbers beside them are the largest of all."""
    layout = TableLayout(2, (2,), masks=(-1, 0))
    x_num = np.random.default_rng(0).normal(size=(500, 2))
    mask = x_num[:, 0] >= np.sort(x_num[:, 0])[-n_missing]
    rows = torch.from_numpy(x_num).float(), torch.from_numpy(mask)[:, None].long()
    assert informative_missing(layout, (), *rows) == informative


def test_columns_that_are_missing_together_have_one_indicator():
    rng = np.random.default_rng(0)
    n, width = 1_000, 30
    x_num = rng.normal(size=(n, width + 2))
    masks = [x_num[:, -2] > 0.5] * (width - 1) + [x_num[:, -1] > 1.0]
    layout = TableLayout(width + 2, tuple([2] * width), masks=(*range(width), -1, -1))
    x_cat = torch.from_numpy(np.column_stack(masks).astype(np.int64))
    rows = torch.from_numpy(x_num).float(), x_cat
    assert sorted(informative_missing(layout, (), *rows)) == [0, width - 1]
    # There are never more than a layout has room for.
    for column in range(width):
        x_cat[:, column] = torch.from_numpy(
            x_num[:, -2] + 0.3 * rng.normal(size=n) > 0.5
        ).long()
    assert len(informative_missing(layout, (), *rows)) == MAX_INDICATORS


def test_a_fit_forgets_the_one_before(rows):
    """What was rare in its rows may be frequent, and the other way round."""
    x_num, x_cat = rows
    normal = fitted(rows, [0, 1])
    before = [buffer.clone() for buffer in normal.buffers()]
    rare = x_cat.clone()
    rare[:, 1] = 0
    normal.fit(x_num, rare, is_number_present(LAYOUT, rare))
    # Numbers, the two other levels, the mask, and the missing level.
    assert normal.is_used.tolist() == [True, True, False, False, True, False]
    normal.fit(x_num, x_cat, is_number_present(LAYOUT, x_cat))
    for buffer, own in zip(normal.buffers(), before, strict=True):
        torch.testing.assert_close(buffer, own)


def test_indicators_are_those_of_the_columns_with_the_fewest_levels():
    layout = TableLayout(3, (30, 2, 4, 12, 12), masks=(1, -1, -1))
    expected = [(2, 1), (2, 2), (2, 3), *((3, code) for code in range(1, 12))]
    assert level_indicators(layout) == expected
    assert level_indicators(TableLayout(127, (2, 3))) == [(0, 1)]
    assert level_indicators(TableLayout(4)) == []
    # Neither the first level nor a missing value has one.
    assert level_indicators(TableLayout(1, (4,)), [0]) == [(0, 2), (0, 3)]
