"""Columns of numbers as few codes each, by noised counts alone."""

import numpy as np
import pandas as pd

from .._table.plain import to_floats
from .columns import CLEAR_SIGMAS, PrivateColumn

# Exponents of two that bounds of numbers are looked for among, of either sign.
MIN_EXPONENT, MAX_EXPONENT = -20, 50
# Number of cells of the first histogram of a column, which are of equal width but for
# the last one of whole numbers, and maximum number of bins of the second histogram,
# which are cut by what the cells show.
N_CELLS, MAX_BINS = 256, 64
# Number of intervals of a tail whose rows are too few to be seen for noise.
N_TAIL = 8
# Number of standard deviations of the noise above which a bin that continues a column
# counts as one with rows: the first empty one does so with a probability of .07.
LIKELY = 1.5


def number_column(series, bounds, counter, n_codes):
    """Code 0 is a missing value; then bins, and single values that are frequent.

    There are about `n_codes` beside that of missing values, with as many rows in each.

    Rows are looked at in four steps, each with noise of its own: powers of two between
    which values are; values that are frequent; cells of equal width; and bins which
    these cells let expect about as many rows in each.
    """
    values = to_floats(series) + 0.0  # 0.0 and -0.0 are one value, and told as 0.0
    is_whole = pd.api.types.is_integer_dtype(series.dtype)
    present = values[~np.isnan(values)]
    low, high = (
        map(float, bounds) if bounds is not None else find_bounds(present, counter)
    )
    if is_whole:
        # Bounds that were found are open at their lower end.
        low = np.ceil(low) if bounds is not None else np.floor(low + (low != 0))
        edges = whole_edges(low, np.floor(high))
    else:
        edges = np.linspace(low, high, N_CELLS + 1)
    is_each = is_whole and edges[1] - edges[0] == 1
    spikes, spike_counts = np.empty(0), np.empty(0)
    if not is_each:
        spikes, spike_counts = counter.frequent(present)
        inside = (spikes >= low) & (spikes <= high)
        spikes, spike_counts = spikes[inside], np.maximum(spike_counts[inside], 0.0)
    rest = values[~np.isin(values, spikes)]
    # Where each value has a cell, what it costs to look for frequent ones is left.
    weight = 2.0 if is_each else 1.0
    cells = counter.histogram(places(rest, edges), len(edges), weight)[:-1]
    ends, n_low, n_high = cut_bins(cells, edges, counter, weight, is_whole)
    bins = counter.histogram(places(rest, ends), len(ends))
    missing, bins = counter.missing_count(bins[-1], series.dtype), bins[:-1]
    bins, sigmas = with_cells(bins, ends, cells, edges, weight, counter.sigma)
    in_noise = bins / sigmas
    first = n_low - n_clear(in_noise[:n_low][::-1])
    last = len(bins) - n_high + n_clear(in_noise[len(bins) - n_high :])
    above, below = [], []
    if bounds is not None:
        args = last - first, counter.sigma
        above = tail_of(bins[first:], ends[first:], high, *args)
        below = tail_of(bins[:last][::-1], -ends[: last + 1][::-1], -low, *args)
    ends, bins = ends[first : last + 1], np.maximum(bins[first:last], 0.0)
    pieces = [
        (parts_of(a, b, cells, edges, counter.sigma / np.sqrt(weight), is_each), n, a)
        for a, b, n in zip(ends[:-1], ends[1:], bins, strict=True)
    ]
    pieces[-1] = with_tail(*pieces[-1], above)
    pieces[0] = with_tail(*pieces[0], [((-b, -a), n) for (a, b), n in below])
    pieces += [([(v, 1.0)], n, v) for v, n in zip(spikes, spike_counts, strict=True)]
    return coded(series, pieces, ends, spikes, missing, n_codes)


def places(values, edges):
    """Which cell a value is in, those outside in the nearest; a further one for NaN."""
    cells = np.clip(edges.searchsorted(values, side="right") - 1, 0, len(edges) - 2)
    return np.where(np.isnan(values), len(edges) - 1, cells)


def whole_edges(low, high):
    step = max(1.0, np.ceil((high - low + 1) / N_CELLS))
    n = int(np.ceil((high - low + 1) / step))
    # The last cell ends with the range, so that no number beyond it is drawn.
    return np.minimum(low + step * np.arange(n + 1), high + 1) - 0.5


def find_bounds(values, counter):
    """Powers of two between which values are frequent, by one noised histogram."""
    exponents = np.arange(MIN_EXPONENT, MAX_EXPONENT + 1)
    powers = np.ldexp(1.0, exponents)
    ends = np.concatenate([-powers[::-1], [0.0], powers])
    # A cell lies between neighbouring ends; zero is in that which ends there.
    codes = np.clip(np.searchsorted(ends, values, side="left"), 1, len(ends) - 1)
    noisy = counter.histogram(codes, len(ends))
    clear = np.flatnonzero(noisy > CLEAR_SIGMAS * counter.sigma)
    if not len(clear):
        return 0.0, 1.0
    low, high = ends[clear[0] - 1], ends[clear[-1]]
    return (0.0 if ends[clear[0]] == 0 else low), (high if high else powers[0])


def cut_bins(cells, edges, counter, weight, is_whole):
    """Ends of bins, and how many of them lie outside of the cells that are not empty.

    Inside there are about as many rows in each, by what is known of the cells. Outside
    they get wider by factors of two.
    """
    sigma = counter.sigma / np.sqrt(weight)
    start, stop = clear_range(cells, sigma)
    total = max(cells[start:stop].sum(), 0.0)
    least = max(total / MAX_BINS, 6 * counter.sigma)
    inner = [edges[start]]
    for a, b in cut_evenly(cells[start:stop], least):
        # A cell with the rows of many bins becomes as many.
        n = 1 if b - a > 1 else int(np.clip(cells[start + a] / least, 1, MAX_BINS))
        parts = np.linspace(edges[start + a], edges[start + b], n + 1)[1:]
        if is_whole:  # A bin without a whole number would hold noise alone.
            parts = np.unique(np.round(parts + 0.5) - 0.5)
            parts = parts[parts > inner[-1]]
        inner.extend(parts)
    above = widening(inner[-1], edges[-1], inner[-1] - inner[-2], is_whole)
    below = widening(-inner[0], -edges[0], inner[1] - inner[0], is_whole)
    ends = np.concatenate([-np.array(below[::-1]), inner, above])
    return ends, len(below), len(above)


def widening(start, stop, width, is_whole):
    """Ends after `start` up to `stop`, each bin twice as wide as the one before it."""
    ends = []
    while start < stop:
        start = min(start + max(width, (stop - start) / 1024), stop)
        if is_whole:
            start = min(np.round(start + 0.5) - 0.5, stop)
        ends.append(start)
        width *= 2
    return ends


def clear_range(cells, sigma):
    """First and last of the cells [start, stop) outside of which is no more than noise.

    At either end, cells are added until their sum is more than noise of as many.
    """
    noise = CLEAR_SIGMAS * sigma * np.sqrt(np.arange(1, len(cells) + 1))
    up, down = cells.cumsum() > noise, cells[::-1].cumsum() > noise
    if not (up.any() and down.any()):
        return 0, len(cells)
    start, stop = int(up.argmax()), len(cells) - int(down.argmax())
    return (start, stop) if start < stop else (0, len(cells))


def with_cells(bins, ends, cells, edges, weight, sigma):
    """Counts of bins, and their noise, after what cells tell of them is averaged in."""
    sums = np.interp(ends, edges, np.append(0.0, cells.cumsum()))
    n_each = np.interp(ends, edges, np.arange(len(edges)))
    # Only where a bin is made of whole cells: others share the noise of one cell.
    is_made = np.isclose(n_each, n_each.round())
    is_made = is_made[:-1] & is_made[1:]
    part = np.where(is_made, weight / np.maximum(np.diff(n_each), 1.0), 0.0)
    return (bins + part * np.diff(sums)) / (1 + part), sigma / np.sqrt(1 + part)


def n_clear(in_noise):
    """How many bins a column goes on for, by their counts in units of the noise.

    As far as there are rows likely in each bin, or up to the last where there are
    clearly some. A bin of few rows is more often kept than one of none.
    """
    likely, clear = in_noise > LIKELY, in_noise > CLEAR_SIGMAS
    n = len(likely) if likely.all() else int(likely.argmin())
    return max(n, int(np.flatnonzero(clear)[-1]) + 1 if clear.any() else 0)


def tail_of(bins, ends, limit, n_kept, sigma):
    """How rows that are fewer than noise may go on beyond the last bin that is kept.

    They fall off exponentially, as the densities of the last bins do, unless the first
    bin beyond has clearly fewer rows than that: then the column ends there. A list of
    intervals, each with the number of its rows.
    """
    if n_kept < 3:
        return []
    counts, (start, *inner) = bins[n_kept - 3 : n_kept], ends[n_kept - 3 : n_kept + 1]
    before, width = counts[:2].sum() / (inner[1] - start), inner[2] - inner[1]
    density = counts[2] / width
    if not 0 < density < before:
        return []
    scale = (inner[2] - start) / 2 / np.log(before / density)
    beyond = density * scale * np.exp(-width / 2 / scale)
    further = np.append(ends, np.inf)[n_kept + 1] - inner[2]
    found = bins[n_kept] if n_kept < len(bins) else 0.0
    n = min(beyond, LIKELY * sigma)
    if beyond * (1 - np.exp(-further / scale)) - found > 2 * sigma:
        return []
    # The farthest of n rows is expected about so far away.
    reach = min(scale * np.log(4 * n), limit - inner[2])
    if reach <= 0:
        return []
    shares = np.linspace(0, 1, N_TAIL + 1)
    steps = inner[2] - scale * np.log1p(-shares * -np.expm1(-reach / scale))
    return [((a, b), n / N_TAIL) for a, b in zip(steps[:-1], steps[1:], strict=True)]


def with_tail(parts, count, start, tail):
    """A piece of a column that goes on beyond its bin."""
    total = max(count, 0.0) + sum(n for _, n in tail)
    if not tail or total <= 0:
        return parts, count, start
    parts = [(value, share * count / total) for value, share in parts]
    return [*parts, *((interval, n / total) for interval, n in tail)], total, start


def parts_of(low, high, cells, edges, sigma, is_each):
    """A bin as intervals with their shares: its cells, if each is a single value.

    Counts of the cells are drawn to their mean as far as noise explains how they
    differ (James and Stein's estimator).
    """
    inside = (edges[:-1] >= low) & (edges[1:] <= high)
    if not is_each or inside.sum() < 2:
        return [((low, high), 1.0)]
    counts = cells[inside]
    deviations = counts - counts.mean()
    kept = max(0.0, 1 - (len(counts) - 1) * sigma**2 / (deviations**2).sum())
    shares = np.maximum(counts.mean() + kept * deviations, 0.0)
    if counts.mean() <= 0:
        shares = np.ones(len(counts))
    pairs = zip(edges[:-1][inside], edges[1:][inside], strict=True)
    return list(zip(pairs, shares / shares.sum(), strict=True))


def coded(series, pieces, ends, spikes, missing, n_codes):
    """Bins and frequent values, in ascending order, as a column of few codes.

    Each of the `pieces` is a bin or a frequent value: a tuple of its parts, its noised
    count, and the value that it begins at.
    """
    order = np.argsort([piece[2] for piece in pieces], kind="stable")
    pieces = [pieces[i] for i in order]
    sizes = np.array([piece[1] for piece in pieces])
    parts, group_sizes, codes = [[(None, 1.0)]], [missing], np.empty(len(pieces), int)
    for a, b in cut_evenly(sizes, sizes.sum() / n_codes):
        codes[a:b] = len(parts)
        size = sizes[a:b].sum()
        shares = sizes[a:b] / size if size > 0 else np.full(b - a, 1 / (b - a))
        parts.append(
            [
                (value, share * within)
                for (values, *_), share in zip(pieces[a:b], shares, strict=True)
                for value, within in values
            ]
        )
        group_sizes.append(size)
    codes_of_pieces = codes[np.argsort(order, kind="stable")]
    codes_of_bins, codes_of_spikes = np.split(codes_of_pieces, [len(ends) - 1])

    def encode(series):
        values = to_floats(series)
        codes = np.append(codes_of_bins, 0)[places(values, ends)]
        for spike, code in zip(spikes, codes_of_spikes, strict=True):
            codes = np.where(values == spike, code, codes)
        return codes

    return PrivateColumn(
        series.name, series.dtype, parts, np.array(group_sizes), encode
    )


def cut_evenly(counts, least):
    """Runs [start, stop) of counts, each of a sum of at least `least` if possible.

    A count that is as large alone is a run of its own.
    """
    runs, start, total = [], 0, 0.0
    for i, count in enumerate(counts):
        if count >= least and start < i:
            runs.append((start, i))
            start, total = i, 0.0
        total += count
        if total >= least:
            runs.append((start, i + 1))
            start, total = i + 1, 0.0
    if start < len(counts):
        if runs and total < least / 2:
            runs[-1] = (runs[-1][0], len(counts))
        else:
            runs.append((start, len(counts)))
    return runs
