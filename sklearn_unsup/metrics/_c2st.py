"""Whether a classifier tells the tables apart."""

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.utils import check_random_state

from ._frames import encode_tables

N_FOLDS = 5
# Maximum number of levels of a column that gradient boosting takes as categories.
MAX_CATEGORIES = 255
# Minimum number of rows on either side of a split.
MIN_LEAF = 20
N_TREES = 100


def c2st_score(real, synthetic, *, random_state=None) -> float:
    """Area under the ROC curve of a classifier that tells the tables apart.

    The classifier two-sample test (C2ST) [1]_: gradient boosting is fitted to tell
    real rows from synthetic ones and judged on rows that it has not seen, by
    cross-validation over five folds.

    Parameters
    ----------
    real, synthetic : DataFrame or array-like of shape (n_rows, n_columns)
        The tables, with the same columns and at least five rows each.
    random_state : int, RandomState instance or None, default=None
        Seed of the folds and of the classifier.

    Returns
    -------
    auc : float
        Between 0 and 1, and .5 is best: the tables cannot be told apart. At 1 every
        row is told apart. Clearly below .5 means copies, of rows or of the values of
        single columns: what has a twin in another fold is taken for the twin's kind.

    Raises
    ------
    ValueError
        If the tables differ in their columns or in the kind of a column, have fewer
        than five rows, or hold infinite numbers.

    See Also
    --------
    synthesis_report : This measure beside the others and beside baselines.

    Notes
    -----
    For n rows in each table, the standard deviation of the score of two equal
    distributions is about 0.41 / sqrt(n).

    References
    ----------
    .. [1] D. Lopez-Paz and M. Oquab, "Revisiting classifier two-sample tests",
       ICLR 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_unsup.metrics import c2st_score
    >>> rng = np.random.default_rng(0)
    >>> real, same = rng.normal(size=(2, 500, 2))
    >>> bool(0.4 < c2st_score(real, same, random_state=0) < 0.6)
    True
    >>> c2st_score(real, same + 10, random_state=0)
    1.0
    """
    real, synthetic, columns = encode_tables(real=real, synthetic=synthetic)
    for key, table in (("real", real), ("synthetic", synthetic)):
        if len(table) < N_FOLDS:
            raise ValueError(
                f"{key} must have at least {N_FOLDS} rows, one for each fold of the "
                f"cross-validation, got {len(table)}"
            )
    seed = check_random_state(random_state).randint(2**31)
    return held_out_auc(real, synthetic, columns, seed)


def held_out_auc(real, synthetic, columns, seed):
    X = np.concatenate([real, synthetic])
    label = np.repeat([1, 0], [len(real), len(synthetic)])
    guess = np.empty(len(X))
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed)
    for learn, judge in folds.split(X, label):
        model = HistGradientBoostingClassifier(**boosting_params(columns, seed))
        model.fit(fill_sparse_columns(X[learn]), label[learn])
        guess[judge] = model.predict_proba(X[judge])[:, 1]
    return float(roc_auc_score(label, guess))


def boosting_params(columns, seed):
    n_levels = np.array([len(levels or ()) for levels in columns.levels])
    # Past the limit codes, which are ordered by frequency, still split well as numbers.
    categorical = columns.categorical & (n_levels <= MAX_CATEGORIES)
    return {
        "categorical_features": categorical,
        "max_iter": N_TREES,
        "min_samples_leaf": MIN_LEAF,
        "random_state": seed,
    }


def fill_sparse_columns(X):
    """Rows to learn from, in which no column is missing (nearly) everywhere.

    Boosting fails on a number without any value, also where only its own choice of rows
    has none. Below `MIN_LEAF` values no split could use the column: nothing is lost.
    """
    return np.where((~np.isnan(X)).sum(axis=0) < MIN_LEAF, 0.0, X)
