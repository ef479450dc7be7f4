"""Signs that something is wrong with a synthetic table, as plain sentences.

A difference is a sign only if rows of the same distribution as the real ones would show
it with a probability below `CHANCE`.
"""

from itertools import combinations

import numpy as np
from scipy import stats

from ._closest import row_ids

CHANCE = 1e-4
COPIES_FACTOR = 1.5  # times what chance gives: fewer copies say little of anyone
NEAR_COPIES = 0.4  # dcr_excess, in which 1 means that every row is copied
KEPT = 0.5  # of the association between columns
ROWS_FOR_ASSOCIATION = 100  # fewer synthetic rows are too noisy
N_BINS = 5  # of a number, of equal frequency
SMALLEST_LEVEL = 0.1  # share of the real rows; rarer ones are put together
N_SENTENCES = 5  # of one kind


def find_signs(real, synthetic, columns, closest=None):
    """Sentences, of encoded tables; `closest` is what `closeness` returns."""
    signs = copied_rows(real, synthetic)
    if closest is not None:
        signs += near_copies(closest)
    signs += lost_dependence(real, synthetic, columns)
    signs += shorten(collapsed_columns(real, synthetic, columns), "columns")
    return signs + shorten(
        impossible_pairs(real, synthetic, columns), "pairs of columns"
    )


def shorten(sentences, what):
    if len(sentences) <= N_SENTENCES:
        return sentences
    label = sentences[0].partition(":")[0]
    return [
        *sentences[:N_SENTENCES],
        f"{label}: the same of {len(sentences) - N_SENTENCES} more {what}.",
    ]


def percent(share):
    return f"{100 * share:.3g} %"


# ------------------------------------------------------------------------ copies


def copied_rows(real, synthetic):
    """Whether rows that are unique in `real` come back more often than by chance.

    How often a fresh row equals one that was seen exactly once is estimated by the
    share of rows seen exactly twice (Good 1953).
    """
    ids = row_ids(real, synthetic)
    counts = np.bincount(ids[0], minlength=ids[1].max() + 1)
    copies = int((counts[ids[1]] == 1).sum())
    n_pairs = int((counts == 2).sum())
    n, m = len(real) // 2, len(synthetic)  # rows of a pair come together
    # Given how many coincide in all, how many of them fall among the synthetic rows.
    chance = stats.hypergeom.sf(copies - 1, n + m, copies + n_pairs, m)
    expected = n_pairs / max(1, n)
    if chance >= CHANCE or copies <= COPIES_FACTOR * expected * m:
        return []
    return [
        f"Copies: {copies} synthetic rows ({percent(copies / m)}) repeat a row that is "
        f"unique in the real table; of fresh rows about {percent(expected)} would."
    ]


def near_copies(closest):
    excess, error = closest.dcr_excess, closest.dcr_excess_std
    if excess <= max(NEAR_COPIES, stats.norm.isf(CHANCE) * error):
        return []
    return [
        "Near copies: the closest record of a synthetic row is too often in the real "
        f"table, and not the holdout (dcr_excess {excess:.2f}; 0 is chance, 1 always)."
    ]


# -------------------------------------------------------------------- dependence


def lost_dependence(real, synthetic, columns):
    """Whether columns that depend on each other in `real` no longer do."""
    if len(synthetic) < ROWS_FOR_ASSOCIATION:
        return []
    coarse = [
        coarse_codes(first, second, categorical)
        for first, second, categorical in zip(
            real.T, synthetic.T, columns.categorical, strict=True
        )
    ]
    pairs = list(combinations(coarse, 2))
    seen, kept = [], []
    for (a, a_synthetic), (b, b_synthetic) in pairs:
        association, p_value = associate(a, b)
        if p_value * len(pairs) < CHANCE:
            seen.append(association)
            kept.append(associate(a_synthetic, b_synthetic)[0])
    if not seen or sum(kept) >= KEPT * sum(seen):
        return []
    share = percent(sum(kept) / sum(seen))
    return [
        f"Dependence lost: {len(seen)} pairs of columns clearly depend on each other "
        f"in the real table; the synthetic table keeps {share} of their association."
    ]


def coarse_codes(real, synthetic, categorical):
    """Both columns as codes of levels of which none is rare among the real rows."""
    tables = real, synthetic
    if not categorical and not np.isnan(real).all():
        edges = np.unique(np.nanquantile(real, np.arange(1, N_BINS) / N_BINS))
        tables = (np.where(np.isnan(x), np.nan, edges.searchsorted(x)) for x in tables)
    first, second = (np.nan_to_num(x, nan=-1).astype(np.int64) + 1 for x in tables)
    counts = np.bincount(first, minlength=second.max() + 1)
    smallest = SMALLEST_LEVEL * len(real)
    rare, place = counts < smallest, np.arange(len(counts))
    common = np.flatnonzero(~rare)
    place[rare] = len(counts)  # one code for all rare levels
    if counts[rare].sum() < smallest and len(common):
        place[rare] = common[counts[common].argmin()]  # together they are still rare
    return place[first], place[second]


def associate(first, second):
    """Phi, corrected for what chance gives (Bergsma 2013), and the p-value of chi2."""
    shape = first.max() + 1, second.max() + 1
    table = np.bincount(first * shape[1] + second, minlength=shape[0] * shape[1])
    table = table.reshape(shape)
    table = table[table.any(axis=1)][:, table.any(axis=0)]
    dof = (table.shape[0] - 1) * (table.shape[1] - 1)
    if dof == 0:
        return 0.0, 1.0
    n = table.sum()
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / n
    chi2 = ((table - expected) ** 2 / expected).sum()
    phi = np.sqrt(max(0.0, chi2 / n - dof / (n - 1)))
    return float(phi), float(stats.chi2.sf(chi2, dof))


# ----------------------------------------------------------------------- columns


def is_lost(real, synthetic):
    """Whether what some rows of `real` show is in no synthetic row, beyond chance.

    Both are boolean, (n_rows,). Given how many rows show it in all, the probability is
    that of all of them being among the real ones.
    """
    if synthetic.any():
        return False
    n, m = len(real), len(synthetic)
    return stats.hypergeom.pmf(0, n + m, real.sum(), m) < CHANCE


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
        lost += [
            (repr(level), (real == code).mean())
            for code, level in enumerate(levels)
            if is_lost(real == code, synthetic == code)
        ]
    if not lost:
        return ""
    shares = [f"{level} ({percent(share)} of the real rows)" for level, share in lost]
    more = f" and {len(shares) - 3} more" if len(shares) > 3 else ""
    return f"never has {', '.join(shares[:3])}{more} in the synthetic table"


# ------------------------------------------------------------------------- pairs


def impossible_pairs(real, synthetic, columns):
    """Levels of two columns that exclude each other in `real`, found together."""
    found = []
    for i, j in combinations(np.flatnonzero(columns.categorical), 2):
        tables = count_pairs(real[:, [i, j]], synthetic[:, [i, j]], columns, (i, j))
        never = exclude_each_other(tables[0])
        n, m = len(real), len(synthetic)
        # Rare is not impossible: too many for a pair that no real row has.
        too_many = stats.hypergeom.pmf(0, n + m, tables[1], n) < CHANCE
        counts = np.where(never & too_many, tables[1], 0)
        if counts.any():
            found.append((int(counts.sum()), describe_pairs(counts, m, columns, i, j)))
    return [sentence for _, sentence in sorted(found, key=lambda item: -item[0])]


def count_pairs(real, synthetic, columns, pair):
    """Two-way tables of the levels; a missing value is the last one."""
    shape = tuple(len(columns.levels[position]) + 1 for position in pair)
    tables = []
    for rows in (real, synthetic):
        codes = np.where(np.isnan(rows), np.array(shape) - 1, rows).astype(np.int64)
        cells = np.ravel_multi_index(tuple(codes.T), shape)
        tables.append(np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape))
    return tables


def exclude_each_other(table):
    """Empty cells that would not be empty by chance if the columns were independent."""
    n, rows, columns = table.sum(), table.sum(axis=1), table.sum(axis=0)
    by_chance = stats.hypergeom.pmf(0, n, rows[:, None], columns[None, :])
    return (table == 0) & (by_chance < CHANCE)


def describe_pairs(counts, n_rows, columns, i, j):
    place = np.unravel_index(counts.argmax(), counts.shape)
    example = " with ".join(
        f"{columns.names[position]!r} = {level_name(columns.levels[position], code)}"
        for position, code in zip((i, j), place, strict=True)
    )
    return (
        f"Impossible pairs: {counts.sum()} synthetic rows "
        f"({percent(counts.sum() / n_rows)}) have levels of {columns.names[i]!r} and "
        f"{columns.names[j]!r} that never occur together in the real table, such as "
        f"{example} ({counts.max()} rows)."
    )


def level_name(levels, code):
    return repr(levels[code]) if code < len(levels) else "missing"
