"""How strongly pairs of columns depend on each other, on one scale for all kinds."""

from itertools import combinations

import numpy as np
import pandas as pd

from .._table.plain import to_floats
from ..metrics._association import cramers_v
from ..metrics._columns import is_measured, to_objects

# Maximum number of levels of a category; the rarest ones share one.
MAX_LEVELS = 20


def dependence_difference(real, synthetic):
    """Dependence in `synthetic` minus that in `real`, (n_columns, n_columns).

    Both tables are cut into the same number of bins, each at its own quantiles: what
    single columns look like does not count.
    """
    n = min(len(real), len(synthetic))
    # So many that five rows are expected in each cell of a two-way table.
    n_bins = int(np.clip(np.sqrt(n / 5), 2, 10))
    measured = [is_measured(real[name]) for name in real.columns]
    first, second = (pair_dependence(X, measured, n_bins) for X in (real, synthetic))
    return pd.DataFrame(second - first, real.columns, real.columns)


def pair_dependence(table, measured, n_bins):
    """Cramér's V of each pair, from 0 to 1: 0 for independent columns on average.

    `measured` says of which columns bins are made. Missing values are a level.
    """
    codes = [
        code_column(table[name], has_bins, n_bins)
        for name, has_bins in zip(table.columns, measured, strict=True)
    ]
    result = np.eye(len(codes))
    for i, j in combinations(range(len(codes)), 2):
        result[i, j] = result[j, i] = cramers_v(codes[i], codes[j])
    return result


def code_column(column, measured, n_bins):
    """Codes of quantile bins, or of levels; a missing value has one of its own."""
    missing = column.isna().to_numpy()
    if missing.all():
        return np.zeros(len(column), dtype=np.int64)
    if not measured:
        objects = to_objects(column)
        frequent = objects.value_counts().index[:MAX_LEVELS]
        codes = frequent.get_indexer(objects)
    else:
        values = to_floats(column)
        inner = np.linspace(0, 1, n_bins + 1)[1:-1]
        # Edges are values of the column: between infinite ones nothing is interpolated.
        edges = np.quantile(values[~missing], inner, method="inverted_cdf")
        codes = np.searchsorted(np.unique(edges), values, side="left")
    codes = np.where(missing, codes.max() + 1, codes)
    return np.unique(codes, return_inverse=True)[1]
