"""What a model learns from synthetic rows."""

import numpy as np
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.utils import Bunch, check_random_state

from ._c2st import boosting_params, fill_sparse_columns
from ._frames import encode_tables


def utility_scores(train, test, synthetic, target, *, random_state=None) -> Bunch:
    """Score on real rows of a model that learnt from synthetic ones, or real ones.

    Gradient boosting learns to predict one column from the others, once from
    `synthetic` (train on synthetic, test on real: TSTR [1]_) and once from `train`
    (train on real, test on real: TRTR). Both are judged on `test`.

    Parameters
    ----------
    train : DataFrame or array-like of shape (n_rows, n_columns)
        The real rows that the generator was fitted on.
    test : DataFrame or array-like of shape (n_test_rows, n_columns)
        Real rows that it has not seen.
    synthetic : DataFrame or array-like of shape (n_synthetic_rows, n_columns)
        The rows to judge.
    target : str or other column name
        The column to predict; in arrays its position. It is a class if its dtype is
        category, string, object or bool, and a number otherwise: turn labels such as 0
        and 1 into a category first.
    random_state : int, RandomState instance or None, default=None
        Seed of the models.

    Returns
    -------
    scores : :class:`~sklearn.utils.Bunch`
        A dictionary whose entries are attributes as well.

        tstr : float
            Trained on `synthetic`.
        trtr : float
            Trained on `train`, which is what a perfect generator would reach.

        Of a class it is the area under the ROC curve, with more than two levels the
        mean over the levels, each against the rest: .5 is chance and 1 best. A missing
        value is one of the levels, and one that has fewer than two rows to learn from
        is never predicted. Of a number it is R2, at most 1, and 0 is what the mean of
        `test` reaches; rows without it are left out.

    Raises
    ------
    ValueError
        If there is no such column or no other one, if it does not vary in `test`, if
        fewer than two rows are left to learn from or to judge by, or if the tables
        differ in their columns or in the kind of a column, have no rows, or hold
        infinite numbers.

    See Also
    --------
    synthesis_report : These scores beside those of baselines.

    Notes
    -----
    A high score says that this one relation was learnt. Copies of the training rows
    reach `trtr` too.

    References
    ----------
    .. [1] C. Esteban, S. Hyland and G. Raetsch, "Real-valued (medical) time series
       generation with recurrent conditional GANs", 2017.

    Examples
    --------
    >>> from sklearn_unsup.datasets import make_mixed_table
    >>> from sklearn_unsup.metrics import utility_scores
    >>> train, _ = make_mixed_table(500, random_state=0)
    >>> test, _ = make_mixed_table(500, random_state=1)
    >>> shuffled = train.assign(
    ...     plan=train["plan"].sample(frac=1, random_state=0).to_numpy()
    ... )
    >>> scores = utility_scores(train, test, shuffled, "plan", random_state=0)
    >>> scores.tstr < 0.65 < scores.trtr
    True
    """
    *tables, columns = encode_tables(train=train, test=test, synthetic=synthetic)
    train, test, synthetic = tables
    position = find_target(columns, target)
    seed = check_random_state(random_state).randint(2**31)
    return Bunch(
        tstr=score_learnt(
            synthetic, test, columns, position, seed, "synthetic", "test"
        ),
        trtr=score_learnt(train, test, columns, position, seed, "train", "test"),
    )


def find_target(columns, target):
    if target not in columns.names:
        raise ValueError(
            f"target must be one of the columns {columns.names}, got {target!r}"
        )
    if len(columns.names) < 2:
        raise ValueError(f"a second column is needed to predict the target {target!r}")
    return columns.names.index(target)


def score_learnt(train, test, columns, position, seed, train_name, test_name):
    """AUC or R2 on `test` of boosting fitted on `train`; their names are for errors."""
    others = np.delete(np.arange(train.shape[1]), position)
    y, y_test = train[:, position], test[:, position]
    params = boosting_params(columns.take(others), seed)
    name = columns.names[position]
    if not columns.categorical[position]:
        train, test = train[~np.isnan(y)], test[~np.isnan(y_test)]
        y, y_test = train[:, position], test[:, position]
    else:
        y, y_test = np.nan_to_num(y, nan=-1), np.nan_to_num(y_test, nan=-1)
    if len(y) < 2:
        raise ValueError(
            f"{train_name} must have at least two rows with the target {name!r}, got "
            f"{len(y)}"
        )
    if len(np.unique(y_test)) < 2:
        raise ValueError(
            f"the target {name!r} must vary in {test_name}, which it does not"
        )
    X, X_test = train[:, others], test[:, others]
    if columns.categorical[position]:
        return class_auc(X, y, X_test, y_test, params)
    model = HistGradientBoostingRegressor(**params).fit(fill_sparse_columns(X), y)
    return float(r2_score(y_test, model.predict(X_test)))


def class_auc(X, y, X_test, y_test, params):
    levels, counts = np.unique(y, return_counts=True)
    # Early stopping, on large tables, cannot split a level of one row.
    learnt = np.isin(y, levels[counts >= 2])
    if (counts >= 2).sum() < 2:
        return 0.5
    model = HistGradientBoostingClassifier(**params)
    model.fit(fill_sparse_columns(X[learnt]), y[learnt])
    wanted = np.unique(y_test)
    proba = np.zeros((len(y_test), len(wanted)))
    known = np.isin(model.classes_, wanted)
    places = wanted.searchsorted(model.classes_[known])
    proba[:, places] = model.predict_proba(X_test)[:, known]
    return float(roc_auc_score(y_test[:, None] == wanted, proba, average="macro"))
