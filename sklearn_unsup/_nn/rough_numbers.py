"""Numbers of which neighbouring values mean quite different things."""

import numpy as np

# Minimum information, in nats, that another column has about which of two neighbouring
# values a row has; and in standard deviations of what it seems to have by chance.
MIN_INFORMATION, MIN_DEVIATIONS = 0.03, 4.0
# Number of rows per part that another column is cut into, and of parts at most. Further
# levels of a category, which are rare, are one part.
ROWS_PER_PART, MAX_PARTS = 150, 32
# Minimum number of bins for neighbours to be a part of a column only.
MIN_BINS = 4


def is_rough(bins, n_bins, codes, column: int, mask: int = -1) -> bool:
    """Whether other columns tell neighbouring values of a number apart.

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
    column : int
        Of the number that is looked at.
    mask : int, default=-1
        Column of codes that says where it is missing; -1 if it never is.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> bins, no_codes = rng.integers(20, size=(3_000, 2)), np.empty((3_000, 0), int)
    >>> bins[:, 1] = bins[:, 0] % 2  # Tells even from odd numbers.
    >>> is_rough(bins, [20, 2], no_codes, 0)
    True
    >>> bins[:, 1] = bins[:, 0] >= 10  # Tells small from large ones.
    >>> is_rough(bins, [20, 2], no_codes, 0)
    False
    """
    if mask >= 0:
        is_present = codes[:, mask] == 0
        bins, codes = bins[is_present], codes[is_present]
    if n_bins[column] < MIN_BINS or not len(bins):
        return False
    n_parts = int(np.clip(len(bins) // ROWS_PER_PART, 2, MAX_PARTS))
    others = [np.minimum(own, n_parts - 1) for own in codes.T]
    for place, (own, n_own) in enumerate(zip(bins.T, n_bins, strict=True)):
        if place != column:
            others.append(own // -(-n_own // n_parts))
    side, pairs = bins[:, column] % 2, bins[:, column] // 2
    return any(tells_apart(side, pairs, other) for other in others)


def tells_apart(side, pairs, other) -> bool:
    """Whether a column has enough information about the side of each pair."""
    nats, deviation = information(side, pairs, other)
    return nats > max(MIN_INFORMATION, MIN_DEVIATIONS * deviation)


def information(side, pairs, other) -> tuple[float, float]:
    """Information that a column has about the side of each pair, in nats per row.

    And the standard deviation of this estimate where it has none. Half of Pearson's
    statistic per row is the information where it is small; without its expectation for
    independent columns (Haldane 1940) the estimate is not biased by small tables.

    Parameters
    ----------
    side : ndarray of shape (n,)
        0 or 1.
    pairs, other : ndarray of shape (n,), int
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
    chance = (freedom * totals / (totals - 1)).sum()
    return (statistic - chance) / (2 * n), np.sqrt(2.0 * freedom.sum()) / (2 * n)
