"""Attacks: functions that give every target row a score, high for a likely member."""

import warnings

import numpy as np
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier

from ..metrics._c2st import boosting_params, fill_sparse_columns


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
    return likelihood_attack([targets], quietly_fitted(model, synthetic), reference)


def likelihood_attack(tables, model, reference):
    """How much likelier rows are under a model than under its like for the reference.

    Both are trained in the same way; the second has seen no member. One such model
    scores all `tables`: two fits may differ in their seed or in the noise of a budget,
    and rows of different tables could then be told by that alone.
    """
    other = clone(model).set_params(handle_unknown="ignore")
    other = quietly_fitted(other, reference)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Levels that one of the models has not seen.
        first, second = (
            np.concatenate([m.score_samples(table) for table in tables])
            for m in (model, other)
        )
    # A row that neither model thinks possible is no evidence.
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(first - second)


def quietly_fitted(model, table):
    """A fitted model, without warnings: about its own table nobody has asked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(table)
