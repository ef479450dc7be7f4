"""Attacks: functions that give every target row a score, high for a likely member."""

import warnings

import numpy as np
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics.pairwise import euclidean_distances

from ..metrics._c2st import boosting_params, fill_sparse_columns
from ..metrics._closest import comparable

CHUNK = 2**22  # distances held at a time
SMALLEST = 1e-3  # distances below are as good as equal rows


def nearest_records(queries, records, columns, base=None):
    """Squared distance and position of the record that is nearest to each query.

    Numbers are compared by their quantiles in `base`, which is `records` unless given,
    categories by 0 or 1.
    """
    base = records if base is None else base
    numbers, categories = comparable(records, base, columns)
    query_numbers, query_categories = comparable(queries, base, columns)
    best, place = np.empty(len(queries)), np.empty(len(queries), dtype=np.int64)
    step = max(1, CHUNK // len(records))
    for start in range(0, len(queries), step):
        rows = slice(start, start + step)
        squares = euclidean_distances(query_numbers[rows], numbers, squared=True)
        for q, r in zip(query_categories[rows].T, categories.T, strict=True):
            squares += q[:, None] != r
        place[rows] = squares.argmin(axis=1)
        best[rows] = squares.min(axis=1)
    return best, place


def nearest_attack(targets, synthetic, reference, columns):
    """How much nearer the nearest synthetic row is than the nearest reference row.

    In a dense region everything is near: what counts is the ratio of the distances.
    """
    first, second = (
        np.log(nearest_records(targets, table, columns, synthetic)[0] + SMALLEST**2)
        for table in (synthetic, reference)
    )
    return second - first


def classifier_attack(targets, synthetic, reference, columns, seed):
    """Log-odds of being synthetic rather than a reference row, by boosting."""
    X = np.concatenate([synthetic, reference])
    label = np.repeat([1, 0], [len(synthetic), len(reference)])
    model = HistGradientBoostingClassifier(**boosting_params(columns, seed))
    return model.fit(fill_sparse_columns(X), label).decision_function(targets)


def density_attack(targets, synthetic, reference, seed):
    """Log-likelihood ratio of two models, of synthetic and of reference rows."""
    from sklearn_unsup import VAETransformer

    model = VAETransformer(random_state=seed, handle_unknown="ignore")
    return likelihood_attack(targets, quietly_fitted(model, synthetic), reference)


def likelihood_attack(targets, model, reference):
    """How much likelier a row is under a model than under its like for the reference.

    Both are trained in the same way; the second has seen no member.
    """
    other = clone(model).set_params(handle_unknown="ignore")
    other = quietly_fitted(other, reference)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Levels that one of the models has not seen.
        first, second = (m.score_samples(targets) for m in (model, other))
    return np.nan_to_num(first - second)


def quietly_fitted(model, table):
    """A fitted model, without warnings: about its own table nobody has asked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(table)
