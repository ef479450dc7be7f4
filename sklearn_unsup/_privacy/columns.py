"""Noised counts (NoisyCounts), and columns of categories as few codes each."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from .._table.kinds import CATEGORIES, column_kind

# Standard deviations of noise above which a count is more than noise. 143 powers of
# two are compared for each number: one is above by chance with a probability of .005.
CLEAR_SIGMAS = 4.0


@dataclass
class NoisyCounts:
    """Counts with normal noise: the only way in which rows are looked at here.

    A row that is added or removed changes one count by one, so that each histogram is
    a Gaussian mechanism of sensitivity 1.

    Attributes
    ----------
    sigma : float
        Standard deviation of the noise.
    delta : float
        Probability with which a value that one row alone has is told, for each
        histogram over values that are not known beforehand.
    rng : Generator
    n_told : float
        How many histograms were counted until now, by their weights.
    """

    sigma: float
    delta: float
    rng: np.random.Generator
    n_told: float = 0.0

    def histogram(self, codes, size, weight=1.0):
        """Counts with the noise, and the cost, of `weight` histograms' mean."""
        self.n_told += weight
        counts = np.bincount(codes, minlength=size)
        return counts + self.rng.normal(0.0, self.sigma / np.sqrt(weight), size)

    def missing_count(self, count, dtype):
        """Count of missing values; 0 if it is noise, or if the dtype has no place."""
        has_none = isinstance(dtype, np.dtype) and dtype.kind in "biu"
        return 0.0 if has_none or count < CLEAR_SIGMAS * self.sigma else float(count)

    @property
    def threshold(self):
        """What the noised count of a single row exceeds with probability `delta`."""
        return 1 + self.sigma * stats.norm.isf(self.delta)

    def frequent(self, values):
        """Values whose noised count is above the threshold, and these counts."""
        self.n_told += 1
        known, counts = np.unique(values, return_counts=True)
        counts = counts + self.rng.normal(0.0, self.sigma, len(known))
        kept = counts > self.threshold
        return known[kept], counts[kept]


def public_kind(series):
    """What kind of column the dtype alone says it is: cells are not public.

    One of objects is of categories, since a single cell decides what else it holds.
    """
    is_object = pd.api.types.is_object_dtype(series.dtype)
    return CATEGORIES if is_object else column_kind(series)


def n_histograms(kind, declared):
    """How many histograms, by their weights, the codes of a column cost.

    How the weights of a number are divided depends on counts that are told before, and
    their sum does not: of normal noise, sums of this kind bound what an adaptive
    choice gives away as they do for a fixed one.
    """
    if kind == CATEGORIES:
        return 1
    return 4 if declared is None else 3


@dataclass
class PrivateColumn:
    """How the values of a column are coded, and drawn given a code.

    Attributes
    ----------
    name, dtype
        Of the column.
    parts : list
        What code i stands for: a list of pairs (value, share). A value is a level, a
        number, a pair of ends of an interval, or None for a missing one.
    counts : ndarray of shape (n_codes,)
        Noised counts of the codes, at least 0.
    encode : callable
        ``encode(series)`` returns the codes (n,) of values of the column.
    """

    name: object
    dtype: object
    parts: list
    counts: np.ndarray
    encode: object

    def draw(self, codes, rng):
        values = np.empty(len(codes), dtype=object)
        for code in np.unique(codes):
            rows = np.flatnonzero(codes == code)
            kinds, shares = zip(*self.parts[code], strict=True)
            picked = rng.choice(len(kinds), len(rows), p=np.array(shares))
            for k in np.unique(picked):
                places, kind = rows[picked == k], kinds[k]
                if isinstance(kind, tuple):
                    kind = rng.uniform(*kind, size=len(places))
                values[places] = kind
        return values


def category_column(series, declared, counter, n_codes):
    """Code 0 is a missing value, then the most frequent levels, then the rest.

    There are at most `n_codes` beside that of missing values.
    """
    values = series.astype(object)
    missing = values.isna().to_numpy()
    if declared is not None:
        levels = list(declared)
        index = pd.Index(levels, dtype=object)
        # Levels that were not declared are not counted. An error would tell of them.
        codes = index.get_indexer(values)
        codes = np.where(missing, len(levels), codes)
        noisy = counter.histogram(codes[codes >= 0], len(levels) + 1)
        counts, hole = noisy[:-1], noisy[-1]
    else:
        # Each cell for itself: of levels that are equal, as 1 and True are, the first
        # row would otherwise choose how all are told.
        text = ["" if gap else repr(v) for v, gap in zip(values, missing, strict=True)]
        inverse = dict(zip(text, values, strict=True))
        names, counts = counter.frequent(np.array(text, dtype=object))
        hole = sum(counts[names == ""])
        levels = [inverse[name] for name in names if name]
        counts = counts[names != ""]
    counts = np.maximum(counts, 0)
    hole = counter.missing_count(hole, series.dtype)
    order = np.argsort(-counts, kind="stable")
    levels, counts = [levels[i] for i in order], counts[order]
    parts, sizes = [[(None, 1.0)]], [hole]
    for level, count in zip(levels[: n_codes - 1], counts, strict=False):
        parts.append([(level, 1.0)])
        sizes.append(count)
    rest = counts[n_codes - 1 :]
    if len(rest):
        shares = (
            rest / rest.sum() if rest.sum() > 0 else np.full(len(rest), 1 / len(rest))
        )
        parts.append(list(zip(levels[n_codes - 1 :], shares, strict=True)))
        sizes.append(rest.sum())
    place = {level: i for i, part in enumerate(parts) for level, _ in part}
    # Rows of levels that are not told are those of the most frequent one.
    default = 1 if levels else 0

    def encode(series):
        codes = series.astype(object).map(place)
        return np.where(series.isna(), 0, codes.fillna(default)).astype(np.int64)

    return PrivateColumn(series.name, series.dtype, parts, np.array(sizes), encode)
