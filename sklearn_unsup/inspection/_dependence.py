"""How strongly pairs of columns depend on each other, on one scale for all kinds."""

from itertools import combinations

import numpy as np
import pandas as pd

from ._columns import kind_of, to_floats, to_objects

MAX_LEVELS = 20  # of a category; the rarer ones are one level


def dependence_difference(real, synthetic):
    """Dependence in `synthetic` minus that in `real`, (n_columns, n_columns).

    Both tables are cut into the same number of bins, each at its own quantiles: what
    single columns look like does not count.
    """
    n = min(len(real), len(synthetic))
    n_bins = int(np.clip(np.sqrt(n / 5), 2, 10))  # five rows expected in each cell
    kinds = [kind_of(real[name]) for name in real.columns]
    first, second = (pair_dependence(X, kinds, n_bins) for X in (real, synthetic))
    return pd.DataFrame(second - first, real.columns, real.columns)


def pair_dependence(table, kinds, n_bins):
    """Cramér's V of each pair, from 0 to 1: 0 for independent columns on average.

    With the correction of W. Bergsma, "A bias-correction for Cramér's V and Tschuprow's
    T", 2013. Missing values are a level.
    """
    codes = [
        code_column(table[name], kind, n_bins)
        for name, kind in zip(table.columns, kinds, strict=True)
    ]
    result = np.eye(len(codes))
    for i, j in combinations(range(len(codes)), 2):
        result[i, j] = result[j, i] = cramers_v(codes[i], codes[j])
    return result


def cramers_v(first, second):
    """V of two columns of codes 0, 1, ... that all occur; 0 if one is constant."""
    n, shape = len(first), (first.max() + 1, second.max() + 1)
    if n < 3 or min(shape) < 2:
        return 0.0
    cells = np.bincount(first * shape[1] + second, minlength=shape[0] * shape[1])
    observed = cells.reshape(shape) / n
    expected = np.outer(observed.sum(axis=1), observed.sum(axis=0))
    spread = ((observed - expected) ** 2 / expected).sum()
    spread -= (shape[0] - 1) * (shape[1] - 1) / (n - 1)
    sides = [size - (size - 1) ** 2 / (n - 1) for size in shape]
    limit = min(sides) - 1
    return float(np.sqrt(np.clip(spread / limit, 0, 1))) if limit > 0 else 0.0


def code_column(column, kind, n_bins):
    """Codes of quantile bins, or of levels; a missing value has one of its own."""
    missing = column.isna().to_numpy()
    if missing.all():
        return np.zeros(len(column), dtype=np.int64)
    if kind == "category":
        objects = to_objects(column)
        frequent = objects.value_counts().index[:MAX_LEVELS]
        codes = frequent.get_indexer(objects)
    else:
        values = to_floats(column)
        inner = np.linspace(0, 1, n_bins + 1)[1:-1]
        # values that are there: between infinite ones nothing can be interpolated
        edges = np.quantile(values[~missing], inner, method="inverted_cdf")
        codes = np.searchsorted(np.unique(edges), values, side="left")
    codes = np.where(missing, codes.max() + 1, codes)
    return np.unique(codes, return_inverse=True)[1]
