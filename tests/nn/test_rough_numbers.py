"""Numbers of which neighbouring values mean quite different things."""

import numpy as np
import pytest

from sklearn_unsup._nn.rough_numbers import information, rough_numbers

NO_CODES, DEVIATE = np.empty((4_000, 0), dtype=int), 4.0


def draw(rng, n=4_000, n_bins=20):
    return rng.integers(n_bins, size=n)


def is_first_rough(bins, n_bins, codes=NO_CODES, mask=-1):
    masks = [mask, *[-1] * (len(n_bins) - 1)]
    is_asked = [True, *[False] * (len(n_bins) - 1)]
    found, *others = rough_numbers(bins, n_bins, codes, masks, is_asked)
    assert not any(others)
    return found


def test_information_is_that_of_a_known_law():
    """The side is that of the other column in .8 of the rows."""
    rng = np.random.default_rng(0)
    other, pairs = draw(rng, 200_000, 2), draw(rng, 200_000, 5)
    side = np.where(rng.random(200_000) < 0.8, other, 1 - other)
    nats, is_sure = information(side, pairs, other, DEVIATE)
    # Half of Pearson's statistic per row, which is less than the information, .193.
    assert nats == pytest.approx(0.5 * (0.8 - 0.2) ** 2, abs=0.003)
    assert is_sure
    side = np.where(rng.random(200_000) < 0.55, other, 1 - other)
    entropy = -(0.55 * np.log(0.55) + 0.45 * np.log(0.45))
    nats, _ = information(side, pairs, other, DEVIATE)
    assert nats == pytest.approx(np.log(2) - entropy, abs=0.001)


@pytest.mark.parametrize("n", [3_000, 300])
def test_chance_has_no_information_however_small_the_cells_are(n):
    """Also where most cells of a table have no row, or one."""
    rng = np.random.default_rng(0)
    found = np.array(
        [
            information(draw(rng, n, 2), draw(rng, n, 30), draw(rng, n, 12), DEVIATE)
            for _ in range(200)
        ]
    )
    nats, is_sure = found.T
    assert nats.mean() == pytest.approx(0.0, abs=4 * nats.std() / 200**0.5)
    assert not is_sure.any()


def test_no_column_of_many_is_rough_by_chance():
    """Two hundred rows of thirty numbers and as many levels of two."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        bins, codes = draw(rng, (200, 30), 8), draw(rng, (200, 30), 2)
        assert not any(rough_numbers(bins, [8] * 30, codes, [-1] * 30, [True] * 30))


@pytest.mark.parametrize("is_level", [False, True])
def test_columns_that_tell_neighbours_apart_make_a_number_rough(is_level):
    rng = np.random.default_rng(0)
    days, other = draw(rng), draw(rng, n_bins=4)
    bins, n_bins = np.column_stack([days, other]), [20, 4]
    assert not is_first_rough(bins, n_bins)
    # Wherever a pattern begins.
    for tells in (days % 2, days // 3 % 4, days // 2 % 2, (days + 1) // 2 % 2):
        if is_level:
            assert is_first_rough(bins, n_bins, tells[:, None])
        else:
            bins[:, 1] = tells
            assert is_first_rough(bins, n_bins)


@pytest.mark.parametrize("cut", [9, 10])
def test_a_single_cut_does_not_make_a_number_rough(cut):
    days = draw(np.random.default_rng(0))
    assert not is_first_rough(days[:, None], [20], (days >= cut)[:, None].astype(int))


def test_a_number_that_depends_smoothly_on_another_is_not():
    """However closely: neighbours are about as likely as each other."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=4_000)
    y = 0.98 * x + 0.2 * rng.normal(size=4_000)
    bins = np.column_stack([np.digitize(own, np.linspace(-2, 2, 39)) for own in (x, y)])
    assert not is_first_rough(bins, [40, 40])


def test_only_rows_where_a_number_is_there_count():
    """Where it is missing it is 0, which would be told by its mask."""
    rng = np.random.default_rng(0)
    days, mask = draw(rng), draw(rng, n_bins=2)
    bins = np.where(mask == 1, 0, days)[:, None]
    assert not is_first_rough(bins, [20], mask[:, None], 0)
    assert not is_first_rough(bins, [20], np.ones((4_000, 1), dtype=int), 0)
    # Even numbers where it is missing would be told from odd ones by what is there.
    hidden = np.where(mask == 1, days // 2 * 2, days)[:, None]
    assert is_first_rough(hidden, [20], mask[:, None])
    assert not is_first_rough(hidden, [20], mask[:, None], 0)
    codes = np.column_stack([mask, np.where(mask == 0, days % 2, 0)])
    assert is_first_rough(bins, [20], codes, 0)


def test_few_bins_have_no_neighbours():
    codes = np.repeat([0, 1, 2], 500)[:, None]
    assert not is_first_rough(codes, [3], codes)
    codes = np.repeat([0, 1, 2, 3], 500)[:, None]
    assert is_first_rough(codes, [4], codes)
