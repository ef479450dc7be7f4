"""Trees that tell rows of a table from rows whose cells do not go together."""

import numpy as np
import pandas as pd
from scipy.special import logsumexp
from sklearn.ensemble import HistGradientBoostingClassifier

from .._table.frames import as_frame
from .._table.kinds import is_categorical
from .._table.plain import to_floats

# Number of classifiers, of boosting rounds of each, and of broken copies of the table
# that each learns from.
N_CLASSIFIERS, N_ROUNDS, N_COPIES = 3, 150, 4
# Maximum number of cells of other rows in a broken row: in a wide table a row of other
# cells alone would be told without looking at how they depend on each other.
MAX_BROKEN = 3
# Maximum number of rows that a classifier learns from, and of levels of a category that
# it knows: the most frequent ones, as many as scikit-learn's trees take.
MAX_ROWS, MAX_LEVELS = 15_000, 254
# Number of values that are tried in the place of a cell: quantiles of a number, levels.
N_QUANTILES, N_TRIED_LEVELS = 12, 16
# Number of rows whose cells are replaced at a time: there are up to sixteen copies.
COSTED_ROWS = 10_000


class Contrast:
    """How much a row looks like one that has got cells of other rows.

    Boosted trees learn to tell the rows of a table from copies in which some cells are
    those of other rows. Their log-odds estimate the ratio of two densities (Gutmann and
    Hyvarinen 2010, noise-contrastive estimation), of which no column is unusual by
    itself. The mean of a few classifiers, each with copies of its own, is steadier.
    """

    def fit(self, X, rng):
        frame = as_frame(X)
        self.levels_ = [frequent_levels(column) for _, column in frame.items()]
        table = self._coded(frame)
        self.candidates_ = [
            candidates_of(codes, levels is not None)
            for codes, levels in zip(table.T, self.levels_, strict=True)
        ]
        table = table[rng.permutation(len(table))[:MAX_ROWS]]
        is_category = [levels is not None for levels in self.levels_]
        self.classifiers_ = []
        for _ in range(N_CLASSIFIERS):
            copies = [broken_copy(table, rng) for _ in range(N_COPIES)]
            copies = np.concatenate(copies)
            if not len(copies):  # All rows are equal.
                break
            classifier = HistGradientBoostingClassifier(
                max_iter=N_ROUNDS,
                max_leaf_nodes=63,
                # Smaller leaves know single rows, and find them usual however odd.
                min_samples_leaf=40,
                max_features=0.5,
                early_stopping=False,
                class_weight="balanced",
                categorical_features=is_category,
                random_state=int(rng.integers(2**31)),
            )
            is_broken = np.repeat([False, True], [len(table), len(copies)])
            rows = np.concatenate([table, copies])
            self.classifiers_.append(classifier.fit(rows, is_broken))
        return self

    def log_odds(self, X):
        """Log-odds that each row is a broken one, (n,)."""
        rows = self._coded(as_frame(X))
        total = np.zeros(len(rows))
        for classifier in self.classifiers_:
            total += classifier.decision_function(rows)
        return total / N_CLASSIFIERS

    def cell_costs(self, X):
        """How much each cell makes its row look broken, (n, n_columns).

        What the log-odds lose with the best value in its place, and with any value of
        its column, added up. One of the classifiers is asked, for the time it takes.
        """
        rows = self._coded(as_frame(X))
        costs = np.zeros(rows.shape)
        if self.classifiers_:
            for start in range(0, len(rows), COSTED_ROWS):
                part = slice(start, start + COSTED_ROWS)
                costs[part] = self._costs_by(self.classifiers_[0], rows[part])
        return costs

    def _costs_by(self, classifier, rows):
        costs, own = np.zeros(rows.shape), classifier.decision_function(rows)
        for place, (values, log_shares) in enumerate(self.candidates_):
            if not len(values):
                continue
            others = np.repeat(rows, len(values), axis=0)
            others[:, place] = np.tile(values, len(rows))
            odds = classifier.decision_function(others).reshape(len(rows), -1)
            gain = np.maximum(own - odds.min(axis=1), 0.0)
            costs[:, place] = gain + own + logsumexp(log_shares - odds, axis=1)
        return costs

    def _coded(self, frame):
        """Numbers, and of categories codes by frequency; NaN where missing or new."""
        columns = (column for _, column in frame.items())
        return np.column_stack(
            [
                to_floats(column) if levels is None else codes_of(column, levels)
                for column, levels in zip(columns, self.levels_, strict=True)
            ]
        )


def frequent_levels(column):
    """The most frequent levels of a category; None of numbers and dates."""
    if not is_categorical(column):
        return None
    levels = column.astype(object).value_counts().index[:MAX_LEVELS]
    return pd.Index(list(levels), dtype=object, tupleize_cols=False)


def codes_of(column, levels):
    """Places of the cells among the levels, as floats; NaN where they are not."""
    codes = levels.get_indexer(column.astype(object)).astype(np.float64)
    codes[codes < 0] = np.nan
    return codes


def candidates_of(codes, is_category):
    """Values that may stand in a cell of a column, and their log-shares."""
    codes = codes[~np.isnan(codes)]
    if not len(codes):
        return codes, codes
    if is_category:
        counts = np.bincount(codes.astype(np.int64))[:N_TRIED_LEVELS]
        return np.arange(len(counts), dtype=np.float64), np.log(counts / counts.sum())
    grid = (np.arange(N_QUANTILES) + 0.5) / N_QUANTILES
    values = np.quantile(codes, grid, method="nearest")
    return values, np.full(N_QUANTILES, -np.log(N_QUANTILES))


def broken_copy(table, rng):
    """Rows with one to MAX_BROKEN cells of other rows, where that makes a difference.

    Parameters
    ----------
    table : ndarray of shape (n, n_columns)
    rng : numpy.random.Generator

    Returns
    -------
    copy : ndarray of shape (n_changed, n_columns)
    """
    n_broken = rng.integers(1, MAX_BROKEN + 1, len(table))
    places = rng.random(table.shape).argsort(axis=1).argsort(axis=1)
    others = rng.permuted(table, axis=0)
    is_same = (table == others) | (np.isnan(table) & np.isnan(others))
    is_broken = (places < n_broken[:, None]) & ~is_same
    copy = np.where(is_broken, others, table)
    return copy[is_broken.any(axis=1)]
