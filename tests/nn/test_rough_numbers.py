"""Numbers of which neighbouring values mean quite different things."""

import numpy as np
import pytest

from sklearn_unsup._nn.rough_numbers import information, is_rough

NO_CODES = np.empty((4_000, 0), dtype=int)


def draw(rng, n=4_000, n_bins=20):
    return rng.integers(n_bins, size=n)


def test_information_is_that_of_a_known_law():
    """The side is that of the other column in .8 of the rows."""
    rng = np.random.default_rng(0)
    other, pairs = draw(rng, 200_000, 2), draw(rng, 200_000, 5)
    side = np.where(rng.random(200_000) < 0.8, other, 1 - other)
    nats, _ = information(side, pairs, other)
    # Half of Pearson's statistic per row, which is more than the information, .193.
    assert nats == pytest.approx(0.5 * (0.8 - 0.2) ** 2, abs=0.003)
    side = np.where(rng.random(200_000) < 0.55, other, 1 - other)
    entropy = -(0.55 * np.log(0.55) + 0.45 * np.log(0.45))
    nats, _ = information(side, pairs, other)
    assert nats == pytest.approx(np.log(2) - entropy, abs=0.001)


@pytest.mark.parametrize(("n", "least"), [(3_000, 0.85), (300, 0.0)])
def test_chance_has_no_information_however_small_the_cells_are(n, least):
    """Also where most cells of a table have no row, or one."""
    rng = np.random.default_rng(0)
    found = np.array(
        [
            information(draw(rng, n, 2), draw(rng, n, 30), draw(rng, n, 12))
            for _ in range(200)
        ]
    )
    nats, deviations = found.T
    assert nats.mean() == pytest.approx(0.0, abs=4 * nats.std() / 200**0.5)
    # Of so small cells the deviation is too large, which errs on the safe side.
    assert least < nats.std() / deviations.mean() < 1.1


@pytest.mark.parametrize("is_level", [False, True])
def test_columns_that_tell_neighbours_apart_are_rough(is_level):
    rng = np.random.default_rng(0)
    days, other = draw(rng), draw(rng, n_bins=4)
    bins, n_bins = np.column_stack([days, other]), [20, 4]
    assert not is_rough(bins, n_bins, NO_CODES, 0)
    for tells in (days % 2, days // 3 % 4):
        if is_level:
            codes = tells[:, None]
            assert is_rough(bins, n_bins, codes, 0)
        else:
            bins[:, 1] = tells
            assert is_rough(bins, n_bins, NO_CODES, 0)


def test_a_number_that_depends_smoothly_on_another_is_not():
    """However closely: neighbours are about as likely as each other."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=4_000)
    y = 0.98 * x + 0.2 * rng.normal(size=4_000)
    bins = np.column_stack([np.digitize(own, np.linspace(-2, 2, 39)) for own in (x, y)])
    assert not is_rough(bins, [40, 40], NO_CODES, 0)


def test_only_rows_where_a_number_is_there_count():
    """Where it is missing it is 0, which would be told by its mask."""
    rng = np.random.default_rng(0)
    days, mask = draw(rng), draw(rng, n_bins=2)
    bins = np.where(mask == 1, 0, days)[:, None]
    assert not is_rough(bins, [20], mask[:, None], 0, mask=0)
    assert not is_rough(bins, [20], np.ones((4_000, 1), dtype=int), 0, mask=0)
    other = np.where(mask == 0, days % 2, 0)
    codes = np.column_stack([mask, other])
    assert is_rough(bins, [20], codes, 0, mask=0)


def test_few_bins_have_no_neighbours():
    codes = np.repeat([0, 1, 2], 500)[:, None]
    assert not is_rough(codes, [3], codes, 0)
