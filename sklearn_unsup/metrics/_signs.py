"""Signs that something is wrong with a synthetic table, as plain sentences.

A difference is a sign only if rows of the same distribution as the real ones would show
it with a probability below `CHANCE`.
"""

from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pandas as pd
from scipy import stats

from ._association import associate
from ._closest import row_ids
from ._column_signs import (
    CHANCE,
    chance_of_none,
    collapsed_columns,
    lost_values,
    new_values,
    percent,
    shifted_columns,
)
from ._frames import join_codes

# Minimum ratio of the number of copies to that by chance: fewer say little of anyone.
MIN_COPIES_FACTOR = 1.5
# Minimum `dcr_excess` that is a sign; at 1 every row is copied.
MIN_DCR_EXCESS = 0.4
# Minimum share of the association between columns that a good table keeps, and minimum
# number of synthetic rows from which it is measured: fewer are too noisy.
MIN_ASSOCIATION_KEPT, MIN_ASSOCIATION_ROWS = 0.5, 100
# Minimum association (phi) of two columns whose loss is a sign by itself, and minimum
# rank correlation of two numbers whose reversal is one.
MIN_PAIR_ASSOCIATION = 0.25
# Number of bins, of equal frequency, that numbers are cut into for their association.
N_BINS = 5
# Minimum share of the real rows that a level has; rarer ones are put together.
MIN_LEVEL_SHARE = 0.1
# Maximum number of sentences about signs of one kind.
N_SENTENCES = 5
# Number of real rows that are looked at before all of them.
N_LOOKED_AT = 500
# Of numbers one of which is constant.
NO_CORRELATION = SimpleNamespace(statistic=0.0, pvalue=1.0)


def find_signs(real, synthetic, columns, closest=None):
    """Sentences, of encoded tables; `closest` is what `closeness` returns."""
    signs = copied_rows(real, synthetic) + repeated_rows(real, synthetic)
    if closest is not None:
        signs += near_copies(closest)
    signs += lost_dependence(real, synthetic, columns)
    for find in (collapsed_columns, new_values, shifted_columns):
        signs += shorten(find(real, synthetic, columns), "columns")
    for find in (reversed_pairs, broken_orders, impossible_pairs):
        signs += shorten(find(real, synthetic, columns), "pairs of columns")
    return signs


def shorten(sentences, what):
    if len(sentences) <= N_SENTENCES:
        return sentences
    label = sentences[0].partition(":")[0]
    return [
        *sentences[:N_SENTENCES],
        f"{label}: the same of {len(sentences) - N_SENTENCES} more {what}.",
    ]


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
    # Rows that are seen exactly twice come in pairs.
    n, m = len(real) // 2, len(synthetic)
    # Given how many coincide in all, how many of them fall among the synthetic rows.
    chance = stats.hypergeom.sf(copies - 1, n + m, copies + n_pairs, m)
    expected = n_pairs / max(1, n)
    if chance >= CHANCE or copies <= MIN_COPIES_FACTOR * expected * m:
        return []
    return [
        f"Copies: {copies} synthetic rows ({percent(copies / m)}) repeat a row that is "
        f"unique in the real table; of fresh rows about {percent(expected)} would."
    ]


def repeated_rows(real, synthetic):
    """Whether synthetic rows repeat each other more often than real ones do."""
    ids = row_ids(real, synthetic)
    size = max(part.max() for part in ids) + 1
    counts = [np.bincount(part, minlength=size) for part in ids]
    several = counts[0] + counts[1] > 1
    alone = several & (counts[0] == 0)
    # Two equal rows or more are all among the synthetic ones with this probability, or
    # a smaller one.
    n, m = len(real), len(synthetic)
    share = m * (m - 1) / ((n + m) * (n + m - 1))
    if stats.binom.sf(alone.sum() - 1, several.sum(), share) >= CHANCE:
        return []
    repeats = int(counts[1][alone].sum() - alone.sum())
    return [
        f"Repeats: {repeats} synthetic rows ({percent(repeats / m)}) repeat another "
        "synthetic one, which no real row is equal to."
    ]


def near_copies(closest):
    excess, error = closest.dcr_excess, closest.dcr_excess_std
    if excess <= max(MIN_DCR_EXCESS, stats.norm.isf(CHANCE) * error):
        return []
    return [
        "Near copies: the closest record of a synthetic row is too often in the real "
        f"table, and not the holdout (dcr_excess {excess:.2f}; 0 is chance, 1 always)."
    ]


# -------------------------------------------------------------------- dependence


def lost_dependence(real, synthetic, columns):
    """Whether columns that depend on each other in `real` no longer do."""
    if len(synthetic) < MIN_ASSOCIATION_ROWS:
        return []
    coarse = [
        coarse_codes(first, second, categorical)
        for first, second, categorical in zip(
            real.T, synthetic.T, columns.categorical, strict=True
        )
    ]
    pairs = list(combinations(range(len(coarse)), 2))
    seen, kept = {}, {}
    for i, j in pairs:
        (a, a_synthetic), (b, b_synthetic) = coarse[i], coarse[j]
        association, p_value = associate(a, b)
        if p_value * len(pairs) < CHANCE:
            seen[i, j] = association
            kept[i, j] = associate(a_synthetic, b_synthetic)[0]
    if not seen:
        return []
    whole = sum(seen.values())
    if sum(kept.values()) >= MIN_ASSOCIATION_KEPT * whole:
        error = np.sqrt(1 / len(real) + 1 / len(synthetic))
        least = max(MIN_PAIR_ASSOCIATION, stats.norm.isf(CHANCE / len(pairs)) * error)
        # What has happened to a column is said of the column.
        fields = zip(real.T, synthetic.T, columns.levels, strict=True)
        whole_columns = {i for i, own in enumerate(fields) if not lost_values(*own)}
        pairs = [pair for pair in seen if whole_columns.issuperset(pair)]
        return lost_pairs(pairs, seen, kept, least, columns.names)
    share = percent(sum(kept.values()) / whole)
    most = max(seen, key=lambda pair: seen[pair] - kept[pair])
    first, second = (columns.names[i] for i in most)
    count = "1 pair" if len(seen) == 1 else f"{len(seen)} pairs"
    return [
        f"Dependence lost: {count} of columns clearly depend on each other in the real "
        f"table; the synthetic table keeps {share} of their association. The largest "
        f"loss is between {first!r} and {second!r}."
    ]


def lost_pairs(pairs, seen, kept, least, names):
    """A sentence for each of the pairs of which most of the association is lost.

    `seen` and `kept` are associations by pair, in the real and the synthetic table, and
    `least` is the smallest loss that counts.
    """
    sentences = []
    for pair in sorted(pairs, key=lambda pair: kept[pair] - seen[pair]):
        share = kept[pair] / seen[pair]
        if share >= MIN_ASSOCIATION_KEPT or seen[pair] - kept[pair] < least:
            continue
        first, second = (names[i] for i in pair)
        sentences.append(
            f"Dependence lost: {first!r} and {second!r} clearly depend on each other "
            f"in the real table; the synthetic table keeps {percent(share)} of their "
            "association."
        )
    return shorten(sentences, "pairs of columns")


def reversed_pairs(real, synthetic, columns):
    """Pairs of numbers that rise together in one table and not in the other."""
    numbers = np.flatnonzero(~columns.categorical)
    n_pairs = len(numbers) * (len(numbers) - 1) // 2
    rough = [rough_correlations(table[:, numbers]) for table in (real, synthetic)]
    sentences = []
    # Exact ones of all pairs would take a minute for some hundred columns.
    places = np.argwhere(np.triu(rough[0] * rough[1] < 0, 1))
    for i, j in numbers[places]:
        first, second = (rank_correlation(x[:, i], x[:, j]) for x in (real, synthetic))
        if first.statistic * second.statistic >= 0:
            continue
        sizes = [abs(result.statistic) for result in (first, second)]
        p_value = max(first.pvalue, second.pvalue)
        if min(sizes) > MIN_PAIR_ASSOCIATION and p_value * n_pairs < CHANCE:
            sentences.append(
                f"Dependence reversed: {columns.names[i]!r} and {columns.names[j]!r} "
                f"have a rank correlation of {first.statistic:.2f} in the real table "
                f"and of {second.statistic:.2f} in the synthetic one."
            )
    return sentences


def rough_correlations(numbers):
    """Correlations of the ranks of columns, 0 where they are small or undefined.

    A missing number has the mean rank, which makes correlations smaller.
    """
    ranks = pd.DataFrame(numbers).rank().to_numpy()
    mean = (np.count_nonzero(~np.isnan(ranks), axis=0) + 1) / 2
    ranks = np.nan_to_num(ranks - mean)
    size = np.sqrt(np.square(ranks).sum(0))
    products = ranks.T @ ranks / np.maximum(np.outer(size, size), 1e-12)
    return np.where(np.abs(products) > 0.25 * MIN_PAIR_ASSOCIATION, products, 0.0)


def rank_correlation(first, second):
    """Spearman's, over the rows in which both numbers are present."""
    present = ~(np.isnan(first) | np.isnan(second))
    first, second = first[present], second[present]
    if len(first) < 3 or not np.ptp(first) or not np.ptp(second):
        return NO_CORRELATION
    return stats.spearmanr(first, second)


def broken_orders(real, synthetic, columns):
    """Numbers of which one is never above the other in `real`, but is elsewhere."""
    numbers = np.flatnonzero(~columns.categorical)
    n_pairs = max(1, len(numbers) * (len(numbers) - 1))
    sentences = []
    first, second = (
        np.asfortranarray(table[:, numbers]) for table in (real, synthetic)
    )
    m = len(synthetic)
    for place, name in enumerate(numbers):
        # Few rows tell of most pairs that one number is sometimes above the other.
        some = first[:N_LOOKED_AT]
        candidates = np.flatnonzero(~(some[:, [place]] > some).any(0))
        for other in candidates:
            count = np.count_nonzero(second[:, place] > second[:, other])
            if not count or (first[:, place] > first[:, other]).any():
                continue
            n = np.count_nonzero(~np.isnan(first[:, place] + first[:, other]))
            # That of all rows in which it is none is a real one.
            if chance_of_none(n + m, count, n) * n_pairs >= CHANCE:
                continue
            names = columns.names[name], columns.names[numbers[other]]
            sentences.append(
                f"Broken order: {names[0]!r} is never above {names[1]!r} in the real "
                f"table, but in {count} synthetic rows ({percent(count / m)})."
            )
    return sentences


def coarse_codes(real, synthetic, categorical):
    """Both columns as codes of levels of which none is rare among the real rows."""
    tables = real, synthetic
    if not categorical and not np.isnan(real).all():
        edges = np.unique(np.nanquantile(real, np.arange(1, N_BINS) / N_BINS))
        tables = (np.where(np.isnan(x), np.nan, edges.searchsorted(x)) for x in tables)
    first, second = (np.nan_to_num(x, nan=-1).astype(np.int64) + 1 for x in tables)
    counts = np.bincount(first, minlength=second.max() + 1)
    smallest = MIN_LEVEL_SHARE * len(real)
    rare, place = counts < smallest, np.arange(len(counts))
    common = np.flatnonzero(~rare)
    # All rare levels get one code: a new one, or that of the rarest of the others if
    # they are rare even together.
    place[rare] = len(counts)
    if counts[rare].sum() < smallest and len(common):
        place[rare] = common[counts[common].argmin()]
    # Numbered without gaps, as the two-way tables have a cell for each pair.
    codes = np.unique(place[np.concatenate([first, second])], return_inverse=True)[1]
    return np.split(codes, [len(first)])


# ------------------------------------------------------------------------- pairs


def impossible_pairs(real, synthetic, columns):
    """Levels of two columns that exclude each other in `real`, found together."""
    rows = np.concatenate([real, synthetic])
    # A missing value is a level as well.
    codes = np.where(np.isnan(rows), -1, rows).astype(np.int64) + 1
    found = []
    for i, j in combinations(np.flatnonzero(columns.categorical), 2):
        pairs, counts = excluded_pairs(*np.split(codes[:, [i, j]], [len(real)]))
        if len(pairs):
            names = columns.names[i], columns.names[j]
            levels = columns.levels[i], columns.levels[j]
            sentence = describe_pairs(pairs, counts, len(synthetic), names, levels)
            found.append((counts.sum(), sentence))
    return [sentence for _, sentence in sorted(found, key=lambda item: -item[0])]


def excluded_pairs(real, synthetic):
    """Pairs of codes (n_pairs, 2) that `real` lacks beyond chance; synthetic counts.

    Only pairs that some row has are looked at: there may be many levels.
    """
    n, m = len(real), len(synthetic)
    ids = join_codes(*np.concatenate([real, synthetic]).T)
    pairs, first, counts = np.unique(ids[n:], return_index=True, return_counts=True)
    new = ~np.isin(pairs, ids[:n])
    pairs, counts = synthetic[first[new]], counts[new]
    first, second = (
        np.bincount(real[:, k], minlength=synthetic[:, k].max() + 1)[pairs[:, k]]
        for k in (0, 1)
    )
    # Independent columns would have shown the pair in the real table, ...
    never = chance_of_none(n, first, second) < CHANCE
    # ... and it is not merely rare: a real table does not miss so many rows.
    too_many = chance_of_none(n + m, counts, n) < CHANCE
    return pairs[never & too_many], counts[never & too_many]


def describe_pairs(pairs, counts, n_rows, names, levels):
    example = " with ".join(
        f"{name!r} = {level_name(known, code)}"
        for name, known, code in zip(names, levels, pairs[counts.argmax()], strict=True)
    )
    return (
        f"Impossible pairs: {counts.sum()} synthetic rows or more "
        f"({percent(counts.sum() / n_rows)}) have levels of {names[0]!r} and "
        f"{names[1]!r} that never occur together in the real table, such as {example} "
        f"({counts.max()} rows)."
    )


def level_name(levels, code):
    return repr(levels[code - 1]) if code else "missing"
