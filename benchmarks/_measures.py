"""What a synthetic table is worth: functions of two or more frames.

Frames of one comparison have the same columns. Numbers, dates and flags may hold
missing values; columns of any other dtype are read as categories.
"""

from itertools import combinations

import numpy as np
import pandas as pd
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import QuantileTransformer

N_BINS = 10  # of a number beside a category, as in Column Pair Trends of sdmetrics
MAX_CATEGORIES = 255  # that gradient boosting takes as categories
N_QUERIES = 5_000  # synthetic rows whose neighbours are looked up


def is_numeric(column):
    """Whether a Series holds numbers or dates; flags are categories."""
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype) or pd.api.types.is_bool_dtype(dtype):
        return False
    return pd.api.types.is_numeric_dtype(dtype) or dtype.kind == "M"


def as_numbers(column):
    """Float64 array of a numeric or date Series; dates count in days."""
    if column.dtype.kind == "M":
        column = (column - pd.Timestamp("2000-01-01")) / pd.Timedelta(days=1)
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def shape(real, synthetic):
    """Mean agreement of the columns' marginal distributions, 0 (worst) to 1.

    Of a number it is 1 minus the two-sample Kolmogorov-Smirnov statistic, of a
    category 1 minus the total variation distance: Column Shapes of sdmetrics. Unlike
    there a missing value counts as a value, larger than every number.
    """
    scores = []
    for name in real:
        if is_numeric(real[name]):
            scores.append(1 - ks_distance(real[name], synthetic[name]))
        else:
            scores.append(1 - total_variation(real[[name]], synthetic[[name]]))
    return float(np.mean(scores))


def ks_distance(real, synthetic):
    """Largest difference of two empirical distribution functions."""
    first, second = (
        np.sort(np.nan_to_num(as_numbers(column), nan=np.inf))
        for column in (real, synthetic)
    )
    steps = np.concatenate([first, second])
    below = first.searchsorted(steps, side="right") / len(first)
    return np.abs(below - second.searchsorted(steps, side="right") / len(second)).max()


def total_variation(real, synthetic):
    """Half the summed differences of the frequencies of two frames' distinct rows."""
    rows = pd.concat([real.astype(object), synthetic.astype(object)])
    cells = rows.groupby(list(rows.columns), dropna=False, sort=False).ngroup()
    n_cells = cells.max() + 1
    first = np.bincount(cells[: len(real)], minlength=n_cells) / len(real)
    second = np.bincount(cells[len(real) :], minlength=n_cells) / len(synthetic)
    return 0.5 * np.abs(first - second).sum()


def trend(real, synthetic):
    """Mean agreement of all pairs of columns, 0 (worst) to 1.

    Of two numbers it is 1 minus half the difference of Pearson's correlations, over
    the rows in which both are present; of other pairs 1 minus the total variation
    distance of their two-way tables, numbers cut into ten bins of equal width over
    the range of the real ones: Column Pair Trends of sdmetrics, over every pair (its
    report bins each table over a range of its own, which punishes a single outlier).
    A correlation that is undefined in one table counts 0, in both tables 1.
    """
    numeric = [name for name in real if is_numeric(real[name])]
    correlations = [
        pd.DataFrame({name: as_numbers(table[name]) for name in numeric}).corr()
        for table in (real, synthetic)
    ]
    cut = [binned(table, real) for table in (real, synthetic)]
    scores = []
    for pair in combinations(real.columns, 2):
        if set(pair) <= set(numeric):
            scores.append(correlation_agreement(*(c.loc[pair] for c in correlations)))
        else:
            scores.append(1 - total_variation(*(table[list(pair)] for table in cut)))
    return float(np.mean(scores))


def correlation_agreement(real, synthetic):
    if np.isnan(real) or np.isnan(synthetic):
        return float(np.isnan(real) and np.isnan(synthetic))
    return 1 - abs(real - synthetic) / 2


def binned(table, real):
    """The table with its numbers replaced by places among bins of the real ones."""
    columns = {}
    for name in table:
        columns[name] = table[name]
        if is_numeric(real[name]):
            known = as_numbers(real[name])
            edges = np.linspace(np.nanmin(known), np.nanmax(known), N_BINS + 1)
            values = as_numbers(table[name])
            place = edges[1:-1].searchsorted(values, side="right")
            columns[name] = np.where(np.isnan(values), -1, place)
    return pd.DataFrame(columns)


def features(tables):
    """The tables as float matrices that boosting reads, and a mask of their categories.

    Categories become codes that the tables share, the more frequent the smaller.
    """
    rows = pd.concat(tables, ignore_index=True)
    out, categorical = np.empty(rows.shape), []
    for position, name in enumerate(rows):
        column = rows[name]
        categorical.append(False)
        if is_numeric(tables[0][name]):
            out[:, position] = as_numbers(column)
            continue
        column = column.astype(object)
        codes = column.map({k: i for i, k in enumerate(column.value_counts().index)})
        out[:, position] = codes.to_numpy(dtype=np.float64, na_value=np.nan)
        # Past the limit codes ordered by frequency still split well as numbers.
        categorical[-1] = column.nunique() <= MAX_CATEGORIES
    ends = np.cumsum([len(table) for table in tables])[:-1]
    return np.split(out, ends), np.array(categorical)


def c2st_auc(real, synthetic, seed=0):
    """AUC of gradient boosting that tells the tables apart, on five held-out folds.

    Classifier two-sample test (Lopez-Paz and Oquab 2017): 0.5 is indistinguishable, 1
    told apart. Well below 0.5 means copies: a row whose twin lies in another fold is
    taken for the twin's kind.
    """
    matrices, categorical = features([real, synthetic])
    label = np.repeat([1, 0], [len(real), len(synthetic)])
    boosting = HistGradientBoostingClassifier(
        categorical_features=categorical, random_state=seed
    )
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    guess = cross_val_predict(
        boosting, np.concatenate(matrices), label, cv=folds, method="predict_proba"
    )
    return float(roc_auc_score(label, guess[:, 1]))


def utility(train, test, target, seed=0):
    """Score on `test` of gradient boosting fitted on `train` to predict a column.

    R2 of a number; AUC of a category, the mean of one against the rest with more than
    two levels, which is .5 if `train` holds one level only. TSTR (Esteban, Hyland and
    Raetsch 2017) is that of synthetic rows as `train`, TRTR that of real ones.
    """
    (X, X_test), categorical = features(
        [train.drop(columns=target), test.drop(columns=target)]
    )
    params = {"categorical_features": categorical, "random_state": seed}
    if is_numeric(test[target]):
        model = HistGradientBoostingRegressor(**params).fit(
            X, as_numbers(train[target])
        )
        return float(r2_score(as_numbers(test[target]), model.predict(X_test)))
    y, y_test = (table[target].astype(object).map(str) for table in (train, test))
    if y.nunique() < 2:
        return 0.5
    model = HistGradientBoostingClassifier(**params).fit(X, y)
    proba = pd.DataFrame(model.predict_proba(X_test), columns=model.classes_)
    levels = sorted(y_test.unique())
    proba = proba.reindex(columns=levels, fill_value=0.0).to_numpy()
    one_hot = y_test.to_numpy()[:, None] == np.array(levels)
    return float(roc_auc_score(one_hot, proba, average="macro"))


def dcr_excess(train, holdout, synthetic, seed=0):
    """How much more often a synthetic row's nearest real row is a training row.

    0 is what the sizes of the two real tables give by chance, 1 means that every
    nearest row is in `train`: distance to closest record. Numbers are compared by
    their quantiles, from 0 to 1, categories by 0 or 1; ties count half.
    """
    rng = np.random.default_rng(seed)
    queries = synthetic.iloc[rng.permutation(len(synthetic))[:N_QUERIES]]
    parts = metric_space([train, holdout, queries], seed)
    to_train, to_holdout = (
        NearestNeighbors(n_neighbors=1).fit(rows).kneighbors(parts[2])[0][:, 0]
        for rows in parts[:2]
    )
    tied = np.isclose(to_train, to_holdout, rtol=0, atol=1e-6)
    share = np.where(tied, 0.5, to_train < to_holdout).mean()
    chance = len(train) / (len(train) + len(holdout))
    return float((share - chance) / (1 - chance))


def metric_space(tables, seed=0):
    """Matrices in which rows are compared; quantiles are those of the first two."""
    matrices, _ = features(tables)
    numeric = np.array([is_numeric(tables[0][name]) for name in tables[0]])
    known = np.concatenate(matrices[:2])
    out = [[] for _ in matrices]
    if numeric.any():
        quantiles = QuantileTransformer(
            n_quantiles=min(1_000, len(known)), random_state=seed
        ).fit(known[:, numeric])
        for part, matrix in zip(out, matrices, strict=True):
            part.append(np.nan_to_num(quantiles.transform(matrix[:, numeric]), nan=-1))
    codes = [np.nan_to_num(matrix[:, ~numeric], nan=-1) for matrix in matrices]
    for column in range(codes[0].shape[1]):
        levels = np.unique(np.concatenate([c[:, column] for c in codes]))
        for part, c in zip(out, codes, strict=True):
            # Two 1s that differ are the root of two apart.
            part.append((c[:, column, None] == levels) / np.sqrt(2))
    return [np.hstack(part) for part in out]
