"""Counts of pairs of columns, chosen and noised, and rows that agree with them."""

from itertools import combinations

import numpy as np

N_PARTICLES = 60_000
N_SWEEPS = 20
MAX_CELLS_PER_ROW = 8.0


def draw_codes(codes, columns, sigma, scale, n_rounds, n_rows, rng):
    """Rows of codes whose pairs of columns agree with noised counts of the real ones.

    First a tree of the most dependent pairs, which rows are drawn from exactly, then
    other pairs, by weights of these rows. Each round chooses one pair by the
    exponential mechanism, among those whose counts are farthest from what is known
    already, and counts it with normal noise of standard deviation `sigma`.

    Parameters
    ----------
    codes : ndarray of shape (n, n_columns), int64
    columns : list of PrivateColumn
    sigma : float
    scale : float
        Of the Gumbel noise of a choice: 2 / epsilon, as one row moves a score by 1.
    n_rounds : int
    n_rows : int
        How many rows to draw.
    rng : Generator
    """
    sizes = [len(column.counts) for column in columns]
    single = [column.counts / column.counts.sum() for column in columns]
    pairs = list(combinations(range(len(sizes)), 2))
    truth = {pair: pair_counts(codes, sizes, pair) for pair in pairs}
    known, measured = {p: np.outer(single[p[0]], single[p[1]]) for p in pairs}, {}

    def choose(allowed):
        scores = [
            count_error(truth[p], n_rows * known[p])
            - sigma * np.sqrt(2 / np.pi) * truth[p].size
            for p in allowed
        ]
        return allowed[np.argmax(scores + rng.gumbel(0.0, scale, len(allowed)))]

    def measure(pair):
        noisy = truth[pair] + rng.normal(0.0, sigma, truth[pair].shape)
        measured[pair] = consistent(noisy, single[pair[0]], single[pair[1]], n_rows)

    group = list(range(len(sizes)))
    for _ in range(len(sizes) - 1):
        pair = choose([p for p in pairs if group[p[0]] != group[p[1]]])
        measure(pair)
        old, new = group[pair[1]], group[pair[0]]
        group = [new if g == old else g for g in group]
    particles = sample_tree(measured, single, N_PARTICLES, rng)
    weights = np.full(N_PARTICLES, 1 / N_PARTICLES)
    for _ in range(n_rounds - len(sizes) + 1):
        left = [p for p in pairs if p not in measured]
        if not left:
            break
        known = {p: pair_counts(particles, sizes, p, weights) for p in left}
        measure(choose(left))
        weights = rake(particles, weights, measured, sizes)
    # Systematic draws: a row comes as often as its weight says, up to rounding.
    places = (np.arange(n_rows) + rng.random()) / n_rows
    rows = np.minimum(weights.cumsum().searchsorted(places), N_PARTICLES - 1)
    return rng.permutation(particles[rows])


def count_error(counts, expected):
    """Summed differences, which a row more or less changes by 1 at most."""
    return np.abs(counts - expected).sum()


def pair_counts(codes, sizes, pair, weights=None):
    i, j = pair
    joint = codes[:, i] * sizes[j] + codes[:, j]
    counts = np.bincount(joint, weights, minlength=sizes[i] * sizes[j])
    return counts.reshape(sizes[i], sizes[j])


def consistent(noisy, first, second, n_rows):
    """The two-way table of shares, at least 0, that has the given margins.

    The projection to shares that add up to one comes first: it takes most of the noise
    of empty cells away.
    """
    table = project_simplex(noisy.ravel() / n_rows).reshape(noisy.shape)
    table = table + 1e-6 * np.outer(first, second)
    for _ in range(50):
        table *= (first / np.maximum(table.sum(1), 1e-300))[:, None]
        table *= second / np.maximum(table.sum(0), 1e-300)
    return table / table.sum()


def project_simplex(values):
    """The nearest point whose entries are at least 0 and add up to 1."""
    falling = np.sort(values)[::-1]
    excess = (falling.cumsum() - 1) / np.arange(1, len(values) + 1)
    last = np.flatnonzero(falling > excess)[-1]
    return np.maximum(values - excess[last], 0.0)


def sample_tree(measured, single, n, rng):
    """Rows of the distribution in which each pair is a branch of a tree."""
    codes = np.zeros((n, len(single)), dtype=np.int64)
    codes[:, 0] = rng.choice(len(single[0]), n, p=single[0])
    done, left = {0}, dict(measured)
    while left:
        i, j = next(p for p in left if (p[0] in done) != (p[1] in done))
        table = left.pop((i, j))
        known, new, table = (i, j, table) if i in done else (j, i, table.T)
        steps = (table / np.maximum(table.sum(1, keepdims=True), 1e-300)).cumsum(1)
        draws = rng.random(n)
        codes[:, new] = (draws[:, None] > steps[codes[:, known]]).sum(1)
        codes[:, new] = np.minimum(codes[:, new], table.shape[1] - 1)
        done.add(new)
    return codes


def rake(particles, weights, measured, sizes):
    """Weights that bring the particles' pairs to the measured ones, by turns."""
    cells = {(i, j): particles[:, i] * sizes[j] + particles[:, j] for i, j in measured}
    for _ in range(N_SWEEPS):
        for pair, table in measured.items():
            now = np.bincount(cells[pair], weights, minlength=table.size)
            factor = table.ravel() / np.maximum(now, 1e-12)
            weights = weights * np.minimum(factor, MAX_CELLS_PER_ROW)[cells[pair]]
            weights /= weights.sum()
    return weights
