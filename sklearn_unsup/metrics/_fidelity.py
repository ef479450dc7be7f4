"""How well single columns and pairs of columns agree."""

from itertools import combinations

import numpy as np
import pandas as pd

from ._association import total_variation
from ._frames import encode_tables, join_codes

# Number of bins of a number beside a category, as in Column Pair Trends of sdmetrics.
N_BINS = 10


def shape_score(real, synthetic) -> float:
    """Mean agreement of the columns' distributions.

    Of a number or a date it is one minus the Kolmogorov-Smirnov statistic, the largest
    distance of the two empirical distribution functions. Of a category (category,
    string, object and bool dtype) it is one minus the total variation distance, half
    the summed differences of the levels' frequencies. sdmetrics calls this measure
    Column Shapes; unlike there, a missing value counts, as one more level of a category
    and as a number larger than all others.

    Parameters
    ----------
    real, synthetic : DataFrame or array-like of shape (n_rows, n_columns)
        The tables, with the same columns; they may differ in their numbers of rows.

    Returns
    -------
    score : float
        From 0, no overlap in any column, to 1, equal distributions in each. Fresh rows
        of the same distribution score a little less than 1.

    Raises
    ------
    ValueError
        If the tables differ in their columns or in the kind of a column, have no rows,
        or hold infinite numbers.

    See Also
    --------
    trend_score : The same for pairs of columns.

    Notes
    -----
    It says nothing of how columns depend on each other: columns that are drawn
    independently of each other score as high as a perfect model.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_unsup.metrics import shape_score
    >>> real = pd.DataFrame({"size": [1, 2, 3, 4], "kind": ["a", "a", "b", "b"]})
    >>> synthetic = pd.DataFrame({"size": [1, 2, 3, 9], "kind": ["a", "b", "b", "b"]})
    >>> shape_score(real, synthetic)
    0.75
    """
    return mean_shape(*encode_tables(real=real, synthetic=synthetic))


def mean_shape(real, synthetic, columns):
    return float(np.mean(column_shapes(real, synthetic, columns)))


def column_shapes(real, synthetic, columns):
    scores = []
    for first, second, categorical in zip(
        real.T, synthetic.T, columns.categorical, strict=True
    ):
        distance = code_distance if categorical else ks_distance
        scores.append(float(1 - distance(first, second)))
    return scores


def ks_distance(first, second):
    """Largest difference of two empirical distribution functions; NaN is largest."""
    first, second = np.sort(first), np.sort(second)
    steps = np.concatenate([first, second])
    below = first.searchsorted(steps, side="right") / len(first)
    return np.abs(below - second.searchsorted(steps, side="right") / len(second)).max()


def code_distance(first, second):
    """Total variation of the frequencies of codes; NaN is one of them."""
    codes = join_codes(np.concatenate([first, second]))
    n_codes = codes.max() + 1
    shares = (
        np.bincount(part, minlength=n_codes) / len(part)
        for part in np.split(codes, [len(first)])
    )
    return total_variation(*shares)


def trend_score(real, synthetic) -> float:
    """Mean agreement of the pairs of columns.

    Of two numbers (or dates) it is one minus half the difference of Pearson's
    correlations, over the rows in which both are present. Of any other pair it is one
    minus the total variation distance of the two-way tables, in which a missing value
    is a level and numbers are cut into ten bins of equal width over the range of
    `real`. This is the measure that sdmetrics calls Column Pair Trends, averaged over
    every pair. A correlation that is undefined in one table counts 0, in both 1.

    Parameters
    ----------
    real, synthetic : DataFrame or array-like of shape (n_rows, n_columns)
        The tables, with the same columns; they may differ in their numbers of rows.

    Returns
    -------
    score : float
        From 0, the worst, to 1, equal correlations and two-way tables. A random change
        of sign of all correlations still scores above one half, so read it beside that
        of independent columns, which :func:`synthesis_report` gives.

    Raises
    ------
    ValueError
        If the tables differ in their columns or in the kind of a column, have no rows
        or fewer than two columns, or hold infinite numbers.

    See Also
    --------
    shape_score : The same for single columns.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_unsup.metrics import trend_score
    >>> real = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0], "y": [1.0, 2.0, 3.0, 4.0]})
    >>> trend_score(real, real.assign(y=real["y"].to_numpy()[::-1]))
    0.0
    """
    real, synthetic, columns = encode_tables(real=real, synthetic=synthetic)
    if real.shape[1] < 2:
        raise ValueError(f"trend_score needs at least two columns, got {real.shape[1]}")
    return mean_trend(real, synthetic, columns)


def mean_trend(real, synthetic, columns):
    numeric = np.flatnonzero(~columns.categorical)
    total = correlation_agreement(real[:, numeric], synthetic[:, numeric]).sum()
    first, second = (cut_numbers(table, real, columns) for table in (real, synthetic))
    pairs = list(combinations(range(real.shape[1]), 2))
    for i, j in pairs:
        if columns.categorical[i] or columns.categorical[j]:
            size = max(first[:, j].max(), second[:, j].max()) + 1
            cells = (table[:, i] * size + table[:, j] for table in (first, second))
            total += 1 - code_distance(*cells)
    return float(total / len(pairs))


def correlation_agreement(real, synthetic):
    """One minus half the difference of the correlations, of each pair once."""
    upper = np.triu_indices(real.shape[1], k=1)
    first, second = (
        pd.DataFrame(table).corr().to_numpy()[upper] for table in (real, synthetic)
    )
    undefined = np.isnan(first) & np.isnan(second)
    return np.where(undefined, 1.0, np.nan_to_num(1 - np.abs(first - second) / 2))


def cut_numbers(table, real, columns):
    """Codes from 0: bins over the range of the real numbers; 0 is a missing value."""
    codes = np.empty(table.shape, dtype=np.int64)
    for position, categorical in enumerate(columns.categorical):
        values, known = table[:, position], real[:, position]
        missing = np.isnan(values)
        if not categorical:
            known = known[~np.isnan(known)] if not np.isnan(known).all() else [0.0]
            edges = np.linspace(np.min(known), np.max(known), N_BINS + 1)
            values = edges[1:-1].searchsorted(values, side="right")
        codes[:, position] = np.where(missing, 0, values) + ~missing
    return codes
