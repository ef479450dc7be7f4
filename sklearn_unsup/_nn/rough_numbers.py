"""Numbers of which neighbouring values mean quite different things."""

import math

import numpy as np

# Minimum information, in nats per row, that another column has about which of two
# neighbouring values a row has.
MIN_INFORMATION = 0.03
# Probability that any other column of a table seems to have some by chance.
CHANCE = 1e-3
# Number of rows per part that another column is cut into, and of parts at most. Further
# levels of a category, which are rare, are one part.
ROWS_PER_PART, MAX_PARTS = 150, 32
# Minimum number of bins for neighbours to be a part of a column only.
MIN_BINS = 4


def rough_numbers(bins, n_bins, codes, masks, is_asked) -> list[bool]:
    """Whether other columns tell neighbouring values of a number apart, by number.

    They do where days depend on the week, and hardly where temperatures depend on the
    pressure: of these, neighbours are about as likely.

    Parameters
    ----------
    bins : ndarray of shape (n, n_numeric), int
        In which bin of its histogram each number of a row is.
    n_bins : list of int
        Number of bins of each number.
    codes : ndarray of shape (n, n_categorical), int
        Levels of categories, which descend by their rows.
    masks : list of int
        For each number the column of codes that says where it is missing, or -1.
    is_asked : list of bool
        Numbers that are looked at; of others False is returned.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> bins, no_codes = rng.integers(20, size=(3_000, 2)), np.empty((3_000, 0), int)
    >>> bins[:, 1] = bins[:, 0] % 2  # Tells even from odd numbers.
    >>> rough_numbers(bins, [20, 2], no_codes, [-1, -1], [True, True])
    [True, False]
    >>> bins[:, 1] = bins[:, 0] > 10  # Tells small from large ones.
    >>> rough_numbers(bins, [20, 2], no_codes, [-1, -1], [True, True])
    [False, False]
    """
    n_parts = int(np.clip(len(bins) // ROWS_PER_PART, 2, MAX_PARTS))
    parts = np.empty((len(n_bins) + codes.shape[1], len(bins)), dtype=np.int64)
    for place, (own, n_own) in enumerate(zip(bins.T, n_bins, strict=True)):
        parts[place] = own // -(-n_own // n_parts)
    parts[len(n_bins) :] = np.minimum(codes, n_parts - 1).T
    found = [False] * len(n_bins)
    for column, (asked, n_own) in enumerate(zip(is_asked, n_bins, strict=True)):
        if asked and n_own >= MIN_BINS:
            own, others = bins[:, column], np.delete(parts, column, axis=0)
            if masks[column] >= 0:
                is_present = codes[:, masks[column]] == 0
                own, others = own[is_present], others[:, is_present]
            found[column] = is_rough(own, others)
    return found


def is_rough(values, others) -> bool:
    """Whether one of other columns, (n_others, n), tells neighbouring values apart.

    All neighbours count: 0 and 1, 2 and 3, ..., and then 1 and 2, 3 and 4, ...
    """
    if not len(values):
        return False
    # A normal deviate that is exceeded with less than this probability.
    deviate = math.sqrt(2.0 * math.log(2 * max(1, len(others)) / CHANCE))
    for other in others:
        found = [
            information((values + first) % 2, (values + first) // 2, other, deviate)
            for first in (0, 1)
        ]
        nats, is_sure = zip(*found, strict=True)
        if any(is_sure) and np.mean(nats) > MIN_INFORMATION:
            return True
    return False


def information(side, pairs, other, deviate: float) -> tuple[float, bool]:
    """Information of a column about the side of each pair, and whether it is sure.

    Half of Pearson's statistic per row is the information, in nats, where it is small.
    Without its expectation for independent columns (Haldane 1940) the estimate is not
    biased by small tables. It is sure where chance exceeds the statistic as seldom as a
    normal variate the given `deviate` (Wilson and Hilferty 1931).

    Parameters
    ----------
    side : ndarray of shape (n,)
        0 or 1.
    pairs, other : ndarray of shape (n,), int
    deviate : float
    """
    n, n_pairs, n_parts = len(side), pairs.max() + 1, other.max() + 1
    cells = (2 * pairs + side) * n_parts + other
    counts = np.bincount(cells, minlength=2 * n_pairs * n_parts)
    counts = counts.reshape(n_pairs, 2, n_parts).astype(np.float64)
    rows, parts = counts.sum(2), counts.sum(1)
    totals = rows.sum(1)
    is_large = totals > 1
    counts, rows, parts, totals = (
        own[is_large] for own in (counts, rows, parts, totals)
    )
    expected = rows[:, :, None] * parts[:, None] / totals[:, None, None]
    statistic = ((counts - expected) ** 2 / np.maximum(expected, 1e-12)).sum()
    freedom = ((rows > 0).sum(1) - 1) * ((parts > 0).sum(1) - 1)
    chance = float((freedom * totals / (totals - 1)).sum())
    if chance <= 0.0:
        return 0.0, False
    spread = 2.0 / (9.0 * chance)
    limit = chance * (1.0 - spread + deviate * math.sqrt(spread)) ** 3
    return float(statistic - chance) / (2 * n), statistic > limit
