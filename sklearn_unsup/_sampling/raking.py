"""Raking: factors of weights that give weighted rows the marginals of a table."""

import numpy as np

# Maximum number of bins of a column, and minimum number of real rows for each of them.
MAX_BINS, MIN_ROWS_PER_BIN = 50, 40
# Number of times that the weights are adjusted to each column in turn.
N_SWEEPS = 12
# Number of rows that every bin counts in addition to its own.
PRIOR_ROWS = 0.5
# Maximum absolute logarithm of a factor of a bin, and of a row, whose factors multiply.
# Without the first, factors would grow in each sweep where no generated row, or no
# weight within the limit, makes up for what is missing.
MAX_LOG_FACTOR, MAX_LOG_PRODUCT = 5.0, 20.0


def limited(weights, max_share):
    """Weights of which none exceeds `max_share` times their mean.

    The mean falls with the largest weights, so that the limit is met approximately.
    """
    for _ in range(3):
        weights = np.minimum(weights, max_share * weights.mean())
    return weights


class Raking:
    """Factors for each bin of each column (Deming and Stephan 1940).

    A density ratio that is learnt from few rows is wrong on average in places: weighted
    rows do not have the marginals of the table then. Multiplied by the factors of its
    bins, the weights do.

    Parameters
    ----------
    max_share : float
        Limit of a weight, as a multiple of their mean, that holds where rows are
        drawn without replacement.

    Attributes
    ----------
    edges_ : list of ndarray
        Largest value of each bin but the last, for each column. Missing values have
        another bin behind the last.
    log_factors_ : list of ndarray
        Logarithm of the factor of each bin, for each column.
    """

    def __init__(self, max_share: float):
        self.max_share = max_share

    def fit(self, real, generated, weights):
        """Find the factors.

        Parameters
        ----------
        real, generated : ndarray of shape (n_rows, n_columns)
            Decoded rows; missing values are NaN.
        weights : ndarray
            Weights of the generated rows, all positive.
        """
        n_bins = int(np.clip(len(real) // MIN_ROWS_PER_BIN, 1, MAX_BINS))
        inner = np.arange(1, n_bins) / n_bins
        self.edges_ = [_quantiles(column, inner) for column in real.T]
        places = self._bins(generated)
        sizes = [len(edges) + 2 for edges in self.edges_]
        wanted = [
            np.bincount(bins, minlength=size) + PRIOR_ROWS
            for bins, size in zip(self._bins(real), sizes, strict=True)
        ]
        self.log_factors_ = [np.zeros(size) for size in sizes]
        log_products = np.zeros(len(generated))
        for _ in range(N_SWEEPS):
            for bins, size, target, total in zip(
                places, sizes, wanted, self.log_factors_, strict=True
            ):
                w = limited(weights * _product(log_products), self.max_share)
                w *= len(real) / w.sum()
                found = np.bincount(bins, weights=w, minlength=size)
                raked = total + np.log(target / (found + PRIOR_ROWS))
                raked = raked.clip(-MAX_LOG_FACTOR, MAX_LOG_FACTOR)
                log_products += (raked - total)[bins]
                total[:] = raked
        return self

    def factors(self, matrix):
        """Factors (n,) that the weights of decoded rows are to be multiplied by."""
        log_products = np.zeros(len(matrix))
        for bins, log_factors in zip(
            self._bins(matrix), self.log_factors_, strict=True
        ):
            log_products += log_factors[bins]
        return _product(log_products)

    def _bins(self, matrix):
        return [
            np.where(np.isnan(column), len(edges) + 1, np.searchsorted(edges, column))
            for column, edges in zip(matrix.T, self.edges_, strict=True)
        ]


def _product(log_products):
    return np.exp(log_products.clip(-MAX_LOG_PRODUCT, MAX_LOG_PRODUCT))


def _quantiles(column, probabilities):
    """Different values of a column that are its quantiles, missing ones left out."""
    values = np.sort(column[~np.isnan(column)])
    if not len(values):
        return values
    places = np.ceil(probabilities * len(values)).astype(int) - 1
    return np.unique(values[places.clip(min=0)])
