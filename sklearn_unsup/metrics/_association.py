"""How far two distributions of levels are apart, and two columns from independence."""

import numpy as np
from scipy import stats


def total_variation(first, second):
    """Half the summed differences of two arrays of shares, from 0 to 1."""
    return 0.5 * float(np.abs(np.subtract(first, second)).sum())


def associate(first, second):
    """Phi of two columns of codes, 0 for independent ones, and its p-value."""
    squared, p_value, _ = corrected_phi(first, second)
    return float(np.sqrt(squared)), p_value


def cramers_v(first, second):
    """Cramér's V of two columns of codes, from 0 to 1; 0 if one is constant."""
    squared, _, sides = corrected_phi(first, second)
    n = len(first)
    limit = min((size - (size - 1) ** 2 / (n - 1) for size in sides), default=1) - 1
    return float(np.sqrt(min(squared / limit, 1.0))) if limit > 0 else 0.0


def corrected_phi(first, second):
    """Phi squared less what chance gives, the p-value of chi squared, and the levels.

    The correction is that of W. Bergsma, "A bias-correction for Cramér's V and
    Tschuprow's T", 2013. The last result holds how many levels each column has; it is
    empty where too few rows or a constant column leave nothing to measure.
    """
    shape = first.max() + 1, second.max() + 1
    table = np.bincount(first * shape[1] + second, minlength=shape[0] * shape[1])
    table = table.reshape(shape)
    table = table[table.any(axis=1)][:, table.any(axis=0)]
    dof, n = (table.shape[0] - 1) * (table.shape[1] - 1), len(first)
    if dof == 0 or n < 3:
        return 0.0, 1.0, ()
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / n
    chi2 = ((table - expected) ** 2 / expected).sum()
    squared = max(0.0, chi2 / n - dof / (n - 1))
    return squared, float(stats.chi2.sf(chi2, dof)), table.shape
