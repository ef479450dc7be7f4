"""Columns of a table as few codes each, by noised counts alone."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from .._table.kinds import CATEGORIES, column_kind
from .._table.plain import to_floats

# Exponents of two that bounds of numbers are looked for among, of either sign.
MIN_EXPONENT, MAX_EXPONENT = -20, 50
N_CELLS = 1_024  # of the histogram that the bins of a number are merged from
N_FINE = 64  # bins of a number, at most
MAX_CODES = 12  # codes of a column in the counts of pairs, besides that of missing
# Standard deviations of noise above which a count is more than noise. 163 counts are
# compared for each number: one is above by chance with a probability below .003.
CLEAR = 4.0


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
    n_told : int
        How many histograms were counted until now.
    """

    sigma: float
    delta: float
    rng: np.random.Generator
    n_told: int = 0

    def histogram(self, codes, size):
        self.n_told += 1
        counts = np.bincount(codes, minlength=size)
        return counts + self.rng.normal(0.0, self.sigma, size)

    def clear(self, count, dtype):
        """Count of missing values; 0 if it is noise, or if the dtype has no place."""
        has_none = isinstance(dtype, np.dtype) and dtype.kind in "biu"
        return 0.0 if has_none or count < CLEAR * self.sigma else float(count)

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
    """How many histograms the codes of a column cost."""
    if kind == CATEGORIES:
        return 1
    return 3 if declared is None else 2


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


def category_column(series, declared, counter):
    """Code 0 is a missing value, then the most frequent levels, then the rest."""
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
        names, counts = counter.frequent(np.array(text, dtype=str))
        hole = sum(counts[names == ""])
        levels = [inverse[name] for name in names if name]
        counts = counts[names != ""]
    counts = np.maximum(counts, 0)
    hole = counter.clear(hole, series.dtype)
    order = np.argsort(-counts, kind="stable")
    levels, counts = [levels[i] for i in order], counts[order]
    parts, sizes = [[(None, 1.0)]], [hole]
    for level, count in zip(levels[: MAX_CODES - 1], counts, strict=False):
        parts.append([(level, 1.0)])
        sizes.append(count)
    rest = counts[MAX_CODES - 1 :]
    if len(rest):
        shares = (
            rest / rest.sum() if rest.sum() > 0 else np.full(len(rest), 1 / len(rest))
        )
        parts.append(list(zip(levels[MAX_CODES - 1 :], shares, strict=True)))
        sizes.append(rest.sum())
    place = {level: i for i, part in enumerate(parts) for level, _ in part}
    # Rows of levels that are not told are those of the most frequent one.
    default = 1 if levels else 0

    def encode(series):
        codes = series.astype(object).map(place)
        return np.where(series.isna(), 0, codes.fillna(default)).astype(np.int64)

    return PrivateColumn(series.name, series.dtype, parts, np.array(sizes), encode)


def number_column(series, bounds, counter):
    """Code 0 is a missing value; then bins, and single values that are frequent."""
    values = to_floats(series) + 0.0  # 0.0 and -0.0 are one value, and told as 0.0
    present = values[~np.isnan(values)]
    spikes, spike_counts = counter.frequent(present)
    low, high = bounds if bounds is not None else find_bounds(present, counter)
    low, high = float(low), float(high)
    if spikes.size:
        spikes, spike_counts = (
            array[(spikes >= low) & (spikes <= high)]
            for array in (spikes, spike_counts)
        )
    if pd.api.types.is_integer_dtype(series.dtype):
        low, high = np.floor(low), np.ceil(high)
        edges = whole_edges(low, high)
    else:
        edges = np.linspace(low, high, N_CELLS + 1)
    is_spike = np.isin(values, spikes)
    cells = np.clip(edges.searchsorted(values, side="right") - 1, 0, len(edges) - 2)
    cells = np.where(np.isnan(values), len(edges) - 1, cells)
    noisy = counter.histogram(cells[~is_spike], len(edges))
    missing, noisy = counter.clear(noisy[-1], series.dtype), noisy[:-1]
    return merged(series, values, edges, noisy, missing, spikes, spike_counts, counter)


def whole_edges(low, high):
    step = max(1.0, np.ceil((high - low + 1) / N_CELLS))
    n = int(np.ceil((high - low + 1) / step))
    return low + step * np.arange(n + 1) - 0.5


def find_bounds(values, counter):
    """Powers of two between which values are frequent, by one noised histogram."""
    exponents = np.arange(MIN_EXPONENT, MAX_EXPONENT + 1)
    powers = np.ldexp(1.0, exponents)
    ends = np.concatenate([-powers[::-1], [0.0], powers])
    # A cell lies between neighbouring ends; zero itself has one of its own.
    codes = np.clip(np.searchsorted(ends, values, side="left"), 1, len(ends) - 1)
    noisy = counter.histogram(codes, len(ends))
    clear = np.flatnonzero(noisy > CLEAR * counter.sigma)
    if not len(clear):
        return 0.0, 1.0
    return ends[clear[0] - 1], ends[clear[-1]]


def merged(series, values, edges, noisy, missing, spikes, spike_counts, counter):
    """Neighbouring cells as bins of equal shares, and these as codes."""
    total = max(noisy.sum(), 0.0)
    fine = cut_evenly(noisy, max(total / N_FINE, CLEAR * counter.sigma))
    counts = np.array([max(noisy[a:b].sum(), 0.0) for a, b in fine])
    atoms = [
        ((edges[a], edges[b]), n, (edges[a] + edges[b]) / 2)
        for (a, b), n in zip(fine, counts, strict=True)
    ]
    atoms += [(float(v), n, v) for v, n in zip(spikes, spike_counts, strict=True)]
    atoms.sort(key=lambda atom: atom[2])
    sizes = np.array([max(atom[1], 0.0) for atom in atoms])
    groups = cut_evenly(sizes, sizes.sum() / MAX_CODES)
    parts, group_sizes, place = [[(None, 1.0)]], [missing], {}
    for a, b in groups:
        size = sizes[a:b].sum()
        shares = sizes[a:b] / size if size > 0 else np.full(b - a, 1 / (b - a))
        parts.append([(atom[0], s) for atom, s in zip(atoms[a:b], shares, strict=True)])
        group_sizes.append(size)
        place.update({atom[0]: len(parts) - 1 for atom in atoms[a:b]})
    ends = np.array([edges[b] for _, b in fine])
    codes_of_bins = np.array([place[edges[a], edges[b]] for a, b in fine])

    def encode(series):
        values = to_floats(series)
        bins = np.clip(ends.searchsorted(values, side="left"), 0, len(ends) - 1)
        codes = codes_of_bins[bins]
        for spike in spikes:
            codes = np.where(values == spike, place[float(spike)], codes)
        return np.where(np.isnan(values), 0, codes)

    return PrivateColumn(
        series.name, series.dtype, parts, np.array(group_sizes), encode
    )


def cut_evenly(counts, least):
    """Runs [start, stop) of counts, each with a sum of at least `least`."""
    runs, start, total = [], 0, 0.0
    for i, count in enumerate(counts):
        total += count
        if total >= least:
            runs.append((start, i + 1))
            start, total = i + 1, 0.0
    if start < len(counts) or not runs:
        if runs:
            runs[-1] = (runs[-1][0], len(counts))
        else:
            runs.append((0, len(counts)))
    return runs
