"""Bins of the histograms that conditional densities of numbers may be."""

import numpy as np
import torch

# Minimum log-likelihood ratio, in nats, of two shares of each level of a category, one
# on either side of a cut, to one for all of a bin; each level beside the first adds 1.
MIN_CUT_GAIN = 10.0
# Minimum number of rows on either side of such a cut.
MIN_CUT_ROWS = 5
# Maximum number of levels of a category that bins are cut for.
MAX_CUT_LEVELS = 32
# Least share of the rows that an atom has, and least share of the variance of a number
# that lies between its atoms.
LEAST_ATOM, LEAST_BETWEEN = 1e-9, 0.4


def atom_share(atoms, min_share: float) -> float:
    """Share of the rows whose values have bins of their own."""
    begin, end = np.asarray(atoms)[2:]
    return float((end - begin)[end - begin >= min_share].sum())


def variance_between(atoms) -> float:
    """Share of the variance of a normal number that lies between its atoms.

    The rest lies within them: it is what is left if each atom is known.

    Parameters
    ----------
    atoms : array-like of shape (4, n_atoms)
        See :func:`histogram_edges`.

    Examples
    --------
    >>> halves = [[-9.0, 0.0], [0.0, 9.0], [0.0, 0.5], [0.5, 1.0]]
    >>> round(variance_between(halves), 3)  # The squared mean of either half, 2 / pi.
    0.637
    """
    begin, end = np.asarray(atoms, dtype=float)[2:]
    width = end - begin
    begin, end, width = (part[width > LEAST_ATOM] for part in (begin, end, width))
    quantiles = np.stack([begin, end]).clip(LEAST_ATOM, 1 - LEAST_ATOM)
    edges = torch.special.ndtri(torch.from_numpy(quantiles)).numpy()
    density = np.exp(-0.5 * edges**2) / np.sqrt(2 * np.pi)
    mean = (density[0] - density[1]) / width
    square = 1.0 + (edges * density * [[1.0], [-1.0]]).sum(0) / width
    within = (width * (square - mean**2)).sum()
    return float(np.clip(1.0 - within, LEAST_BETWEEN, 1.0))


def histogram_edges(atoms, n_bins: int, min_share: float, cuts=()) -> np.ndarray:
    """Inner edges of the bins of a histogram, ascending quantiles in (0, 1).

    An atom with a share of the rows has a bin of its own. Each stretch between two such
    atoms is cut into bins of equal shares.

    Parameters
    ----------
    atoms : array-like of shape (4, n_atoms)
        Of a codec: their last two rows are the quantiles where atoms begin and end.
    n_bins : int
        Bins of a column without atoms.
    min_share : float
        Share of the rows from which on an atom has a bin.
    cuts : array-like, default=()
        Quantiles at which a bin ends whatever else does.
    """
    begin, end = np.asarray(atoms)[2:]
    large = end - begin >= min_share
    stops = np.concatenate([begin[large], [1.0]])
    starts = np.concatenate([[0.0], end[large]])
    edges = [starts[1:], stops[:-1], np.asarray(cuts, dtype=float)]
    for start, stop in zip(starts, stops, strict=True):
        n_parts = max(1, int(np.ceil(n_bins * (stop - start))))
        edges.append(np.linspace(start, stop, n_parts + 1)[1:-1])
    edges = np.unique(np.concatenate(edges))
    # An atom may begin where the last one ends, or at an end of the column, of which
    # codecs leave out half a row.
    smallest = min_share / 8
    edges = edges[(edges > smallest) & (edges < 1 - smallest)]
    return edges[np.diff(edges, prepend=0.0) > smallest]


def level_cuts(edges, u, codes) -> np.ndarray:
    """Quantiles that cut bins in which other levels of a category begin.

    A draw is uniform within its bin. Where the rows of one level end inside of it, and
    those of another begin, draws for either would lie among the rows of the other.

    Parameters
    ----------
    edges : array-like
        Inner edges of the bins, ascending.
    u : array-like of shape (n,)
        Quantiles of the rows.
    codes : array-like of shape (n, n_categories), int
    """
    order = np.argsort(u, kind="stable")
    u, codes = np.asarray(u)[order], np.asarray(codes)[order]
    place = np.searchsorted(edges, u)
    best, where = np.zeros(len(edges) + 1), np.full(len(edges) + 1, -1)
    for column in codes.T:
        gains = cut_gains(place, u, column)
        # The last of the ranks is the bin's best cut.
        rank = np.lexsort((gains, place))
        last = np.flatnonzero(np.diff(place[rank], append=-1))
        rows = rank[last]
        better = gains[rows] > best[place[rows]]
        best[place[rows[better]]] = gains[rows[better]]
        where[place[rows[better]]] = rows[better]
    rows = where[where >= 0]
    return 0.5 * (u[rows] + u[rows + 1])


def cut_gains(place, u, codes) -> np.ndarray:
    """What a cut after each row gains, less its least gain; 0 where none is allowed.

    Rows ascend, and `place` tells their bins.
    """
    levels, codes = np.unique(codes, return_inverse=True)
    gains = np.zeros(len(u))
    if not 1 < len(levels) <= MAX_CUT_LEVELS:
        return gains
    below = np.cumsum(codes[:, None] == np.arange(len(levels)), axis=0)
    starts = np.searchsorted(place, place, side="left")
    stops = np.searchsorted(place, place, side="right")
    before = np.where(starts[:, None] > 0, below[starts - 1], 0)
    left, right = below - before, below[stops - 1] - below
    n_left, n_right = left.sum(1), right.sum(1)
    allowed = np.minimum(n_left, n_right) >= MIN_CUT_ROWS
    allowed[:-1] &= u[1:] > u[:-1]
    total = log_likelihood(left) + log_likelihood(right) - log_likelihood(left + right)
    gains[allowed] = total[allowed] - MIN_CUT_GAIN - (len(levels) - 1)
    return gains.clip(0.0)


def log_likelihood(counts) -> np.ndarray:
    """Of counts (n, n_levels) under their own frequencies, shape (n,)."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return (counts * np.log(np.where(counts > 0, shares, 1.0))).sum(1)
