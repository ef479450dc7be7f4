"""Counts of pairs of columns, chosen and noised, and rows that agree with them."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

# Number of weighted rows from which the rows of the private table are taken: that of
# few columns, how many columns these are, and that of many, as each pair costs time.
MAX_PARTICLES, FEW_COLUMNS, MIN_PARTICLES = 240_000, 15, 60_000
# Number of times that their weights are fitted to all counted pairs in turn, after some
# new pairs and after the last one, and after how many new pairs.
N_SWEEPS, N_LAST_SWEEPS, SWEEP_INTERVAL = 4, 40, 4
# Maximum factor by which one pair raises a weight at a time.
MAX_WEIGHT_FACTOR = 8.0


@dataclass
class NoisyPairs:
    """Pairs of columns, chosen and counted with noise: rows are looked at here alone.

    Attributes
    ----------
    codes : ndarray of shape (n, n_columns), int64
    sizes : list of int
        Number of codes of each column.
    sigma : float
        Standard deviation of the normal noise of each count. A row that is added or
        removed changes one count by one.
    epsilon : float
        Of each choice: a pair is exp(epsilon / 2) times as likely as one whose score
        is lower by 1, which is what a row changes a score by at most.
    rng : Generator
    n_chosen, n_measured : int
        How many pairs were chosen and counted until now.
    """

    codes: np.ndarray
    sizes: list
    sigma: float
    epsilon: float
    rng: np.random.Generator
    n_chosen: int = 0
    n_measured: int = 0

    def __post_init__(self):
        pairs = combinations(range(len(self.sizes)), 2)
        self.counts = {
            pair: pair_counts(self.codes, self.sizes, pair) for pair in pairs
        }

    def choose(self, expected):
        """One of the pairs, likely one whose counts are far from the expected ones."""
        self.n_chosen += 1
        pairs = list(expected)
        scores = [
            count_error(self.counts[p], expected[p])
            - self.sigma * np.sqrt(2 / np.pi) * self.counts[p].size
            for p in pairs
        ]
        # The largest after Gumbel noise: the exponential mechanism.
        noise = self.rng.gumbel(0.0, 2 / self.epsilon, len(pairs))
        return pairs[np.argmax(scores + noise)]

    def measure(self, pair):
        self.n_measured += 1
        counts = self.counts[pair]
        return counts + self.rng.normal(0.0, self.sigma, counts.shape)


def draw_codes(noisy, columns, n_rounds, n_rows, rng):
    """Rows of codes whose pairs of columns agree with noised counts of the real ones.

    First a tree of the most dependent pairs, which rows are drawn from exactly, then
    other pairs, by weights of these rows. Each round chooses one pair, among those
    whose counts are farthest from what is known already, and counts it.

    Parameters
    ----------
    noisy : NoisyPairs
    columns : list of PrivateColumn
    n_rounds : int
    n_rows : int
        How many rows to draw.
    rng : Generator
    """
    sizes = noisy.sizes
    single = [column.counts / column.counts.sum() for column in columns]
    pairs, measured = list(noisy.counts), {}

    def measure(expected):
        pair = noisy.choose({p: n_rows * table for p, table in expected.items()})
        margins = single[pair[0]], single[pair[1]]
        measured[pair] = consistent(noisy.measure(pair), *margins, n_rows)
        return pair

    group = list(range(len(sizes)))
    for _ in range(len(sizes) - 1):
        apart = [(i, j) for i, j in pairs if group[i] != group[j]]
        i, j = measure({(i, j): np.outer(single[i], single[j]) for i, j in apart})
        group = [group[i] if g == group[j] else g for g in group]
    n_particles = n_particles_of(len(sizes))
    particles = sample_tree(measured, single, n_particles, rng)
    weights = np.full(n_particles, 1 / n_particles)
    for number in range(n_rounds - len(sizes) + 1):
        left = [p for p in pairs if p not in measured]
        if not left:
            break
        # What the choice is made by need not be as precise as what is drawn.
        some, shares = particles[:MIN_PARTICLES], weights[:MIN_PARTICLES]
        shares = shares / shares.sum()
        pair = measure({p: pair_counts(some, sizes, p, shares) for p in left})
        is_due = number % SWEEP_INTERVAL == 0
        swept = measured if is_due else {pair: measured[pair]}
        weights = rake(particles, weights, swept, sizes, N_SWEEPS if is_due else 1)
    weights = rake(particles, weights, measured, sizes, N_LAST_SWEEPS)
    # Systematic draws: a row comes as often as its weight says, up to rounding.
    places = (np.arange(n_rows) + rng.random()) / n_rows
    rows = np.minimum(weights.cumsum().searchsorted(places), n_particles - 1)
    return rng.permutation(particles[rows])


def n_particles_of(n_columns):
    wanted = MAX_PARTICLES * FEW_COLUMNS // max(n_columns, FEW_COLUMNS)
    return max(wanted, MIN_PARTICLES)


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


def rake(particles, weights, measured, sizes, n_sweeps):
    """Weights that bring the particles' pairs to the measured ones, by turns."""
    cells = {(i, j): particles[:, i] * sizes[j] + particles[:, j] for i, j in measured}
    for _ in range(n_sweeps):
        for pair, table in measured.items():
            now = np.bincount(cells[pair], weights, minlength=table.size)
            factor = table.ravel() / np.maximum(now, 1e-12)
            weights = weights * np.minimum(factor, MAX_WEIGHT_FACTOR)[cells[pair]]
            weights /= weights.sum()
    return weights
