"""Signs that something is wrong with single columns of a synthetic table."""

import numpy as np
from scipy import stats
from scipy.special import gammaln

from ._fidelity import column_shapes

# Probability with which fresh rows of the same distribution may show a sign.
CHANCE = 1e-4
# Minimum difference of the shares of a value that is a sign.
MIN_SHARE_DIFFERENCE = 0.05
# Maximum agreement of the distributions of a column whose lack is a sign.
MAX_SHAPE = 0.8


def percent(share):
    return f"{100 * share:.3g} %"


def chance_of_none(n_rows, n_marked, n_drawn):
    """Probability that of so many rows, drawn without replacement, none is marked."""
    others = n_rows - np.asarray(n_marked, dtype=np.float64)
    left = others - n_drawn
    # Spelt out, as scipy's hypergeom takes a minute for 100,000 levels.
    logarithm = gammaln(others + 1) - gammaln(np.maximum(left, 0) + 1)
    logarithm += gammaln(n_rows - n_drawn + 1) - gammaln(n_rows + 1)
    return np.where(left < 0, 0.0, np.exp(np.minimum(logarithm, 0.0)))


def is_lost(real, synthetic):
    """Whether what some rows of `real` show is in no synthetic row, beyond chance.

    Both are boolean, (n_rows,). Given how many rows show it in all, the probability is
    that of all of them being among the real ones.
    """
    if synthetic.any():
        return False
    n, m = len(real), len(synthetic)
    return bool(chance_of_none(n + m, real.sum(), m) < CHANCE)


def collapsed_columns(real, synthetic, columns):
    """Columns that lack a level, or that hold one number only, though `real` varies."""
    sentences = []
    for first, second, name, levels in zip(
        real.T, synthetic.T, columns.names, columns.levels, strict=True
    ):
        lost = lost_values(first, second, levels)
        if lost:
            sentences.append(f"Collapsed column: {name!r} {lost}.")
    return sentences


def lost_values(real, synthetic, levels):
    """What has happened to a column, as the end of a sentence; empty if nothing has."""
    missing = np.isnan(real), np.isnan(synthetic)
    if is_lost(~missing[0], ~missing[1]):
        return "is missing in every synthetic row"
    lost = []
    if is_lost(*missing):
        lost = [("a missing value", missing[0].mean())]
    if levels is None:
        present = real[~missing[0]], synthetic[~missing[1]]
        if len(present[1]) and is_lost(*(x != present[1][0] for x in present)):
            return f"is always {present[1][0]:.6g} in the synthetic table"
    else:
        known = real[~missing[0]].astype(np.int64)
        counts = np.bincount(known, minlength=len(levels))
        counts[synthetic[~missing[1]].astype(np.int64)] = 0
        chance = chance_of_none(len(real) + len(synthetic), counts, len(synthetic))
        places = np.flatnonzero(chance < CHANCE)
        lost += [(repr(levels[k]), counts[k] / len(real)) for k in places]
    if not lost:
        return ""
    shares = [f"{level} ({percent(share)} of the real rows)" for level, share in lost]
    more = f" and {len(shares) - 3} more" if len(shares) > 3 else ""
    return f"never has {', '.join(shares[:3])}{more} in the synthetic table"


def shifted_columns(real, synthetic, columns):
    """Columns whose distribution is another one, though they have not collapsed."""
    sentences = []
    shapes = column_shapes(real, synthetic, columns)
    for i, (name, shape) in enumerate(zip(columns.names, shapes, strict=True)):
        first, second = real[:, i], synthetic[:, i]
        if lost_values(first, second, columns.levels[i]):
            continue
        if shape > MAX_SHAPE:
            if not columns.categorical[i]:
                sentences += other_share(first, second, name)
            continue
        if columns.categorical[i]:
            p_value = p_value_of_codes(first, second)
        else:
            # As by `shape_score`, a missing number is larger than all others.
            tables = (np.nan_to_num(x, nan=np.inf) for x in (first, second))
            p_value = stats.ks_2samp(*tables, method="asymp").pvalue
        if p_value < CHANCE:
            sentences.append(
                f"Other distribution: that of {name!r} agrees to {percent(shape)} with "
                "the real one."
            )
    return sentences


def other_share(real, synthetic, name):
    """A sentence on the number whose share differs most, in a list; or none."""
    tables = real[~np.isnan(real)], synthetic[~np.isnan(synthetic)]
    if not all(map(len, tables)):
        return []
    values, codes = np.unique(np.concatenate(tables), return_inverse=True)
    counts = np.stack(
        [
            np.bincount(part, minlength=len(values))
            for part in np.split(codes, [len(tables[0])])
        ]
    )
    sizes = counts.sum(1)
    differences = np.abs(counts[0] / sizes[0] - counts[1] / sizes[1])
    place = differences.argmax()
    found = np.stack([counts[:, place], sizes - counts[:, place]])
    if differences[place] < MIN_SHARE_DIFFERENCE:
        return []
    # The largest of so many differences: each could have been it.
    n_frequent = np.count_nonzero(
        (counts >= MIN_SHARE_DIFFERENCE * sizes[:, None]).any(0)
    )
    if stats.fisher_exact(found).pvalue * n_frequent >= CHANCE:
        return []
    shares = [
        percent(count / size) for count, size in zip(found[0], sizes, strict=True)
    ]
    return [
        f"Other distribution: {name!r} is {values[place]:.6g} in {shares[1]} of the "
        f"synthetic rows, and in {shares[0]} of the real ones."
    ]


def p_value_of_codes(first, second):
    """Of chi squared, for the same frequencies of codes in two samples."""
    both = np.nan_to_num(np.concatenate([first, second]), nan=-1.0)
    codes = np.unique(both, return_inverse=True)[1]
    parts = np.split(codes, [len(first)])
    counts = np.stack([np.bincount(x, minlength=codes.max() + 1) for x in parts])
    return stats.chi2_contingency(counts).pvalue


def new_values(real, synthetic, columns):
    """Levels that no real row has, and numbers that are out of the real range."""
    sentences = []
    for first, second, name, levels in zip(
        real.T, synthetic.T, columns.names, columns.levels, strict=True
    ):
        first, second = first[~np.isnan(first)], second[~np.isnan(second)]
        if not len(first) or not len(second):
            continue
        told = new_range(first, second) if levels is None else None
        if levels is not None:
            told = new_levels(first, second, levels)
        if told:
            sentences.append(f"New values: {name!r} {told}.")
    return sentences


def new_levels(real, synthetic, levels):
    n, m = len(real), len(synthetic)
    counts = np.bincount(synthetic.astype(np.int64), minlength=len(levels))
    counts[np.unique(real.astype(np.int64))] = 0
    # Given how many rows have a level in all, that none of them is a real one.
    places = np.flatnonzero(chance_of_none(n + m, counts, n) < CHANCE)
    if not len(places):
        return ""
    most = places[counts[places].argmax()]
    others = f" and {len(places) - 1} more levels" if len(places) > 1 else ""
    return (
        f"is {levels[most]!r} in {counts[most]} synthetic rows "
        f"({percent(counts[most] / m)}), a level that no real row has{others}"
    )


def new_range(real, synthetic):
    """The end of a sentence on numbers beyond those of `real`; empty if few are."""
    n, m = len(real), len(synthetic)
    width = np.ptp(real)
    for end, beyond in (
        ("above the greatest", synthetic - real.max()),
        ("below the least", real.min() - synthetic),
    ):
        count = int((beyond > 0).sum())
        # That so many of the most extreme numbers of all are synthetic ones.
        if chance_of_none(n + m, count, n) < CHANCE:
            told = f"is {end} real number in {count} synthetic rows "
            told += f"({percent(count / m)})"
            if width:
                ratio = f"{beyond.max() / width:.3g}"
                told += f", by up to {ratio} times the range of these"
            return told
    return ""
