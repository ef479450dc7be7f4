"""The teacher that labels new rows, and the numbers that it sees of a table."""

from itertools import combinations

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.metaestimators import available_if

from .._table.kinds import CATEGORIES, DATES, DURATIONS, EMPTY, NUMBERS, column_kind

# Level that stands for a missing category.
MISSING = "(missing)"
# Number of folds of the cross-validation that chooses among learners.
N_FOLDS = 3
# Number of trees of a forest, and of one that is only compared with other learners:
# most of a fit's time goes into trees.
N_TREES, N_TREES_HELD_OUT = 50, 20
# Minimum number of rows for boosting, which on fewer is slow for what it adds.
MIN_ROWS_BOOSTING = 300
# Maximum number of levels of a category; the rarest ones share one.
MAX_LEVELS = 50


class TableNumbers(TransformerMixin, BaseEstimator):
    """A mixed DataFrame as standardised numbers and indicators of categories."""

    def fit(self, X, y=None):
        kinds = {name: column_kind(X[name]) for name in X.columns}
        self.kinds_ = {n: kind for n, kind in kinds.items() if kind != EMPTY}
        categories = [n for n, kind in self.kinds_.items() if kind == CATEGORIES]
        numbers = [n for n in self.kinds_ if n not in categories]
        levels = OneHotEncoder(
            handle_unknown="infrequent_if_exist",
            max_categories=MAX_LEVELS,
            sparse_output=False,
        )
        fill = SimpleImputer(keep_empty_features=True)
        self.columns_ = make_column_transformer(
            (levels, categories), (make_pipeline(fill, StandardScaler()), numbers)
        ).fit(self._read(X))
        return self

    def transform(self, X):
        return np.asarray(self.columns_.transform(self._read(X)))

    def _read(self, X):
        return pd.DataFrame(
            {name: read_column(X[name], kind) for name, kind in self.kinds_.items()}
        )


def read_column(column, kind) -> pd.Series:
    """Floats of a number, a date or a duration, strings of a category."""
    if kind == CATEGORIES:
        return column.astype(object).where(column.notna(), MISSING).astype(str)
    if kind == NUMBERS:
        return pd.to_numeric(column, errors="coerce").astype("float64")
    if kind == DATES:
        if isinstance(column.dtype, pd.PeriodDtype):
            column = column.dt.to_timestamp()
        moments = pd.to_datetime(column, errors="coerce", utc=True)
        return (moments - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)
    if kind == DURATIONS:
        return pd.to_timedelta(column, errors="coerce") / pd.Timedelta(days=1)
    raise ValueError(f"unknown kind of column {kind!r}")


def make_members(n_rows, is_class, seed, *, n_trees=N_TREES):
    """The learners of which the teacher "auto" is made, on numbers."""
    if is_class:
        members = [
            LogisticRegression(max_iter=1000),
            ExtraTreesClassifier(n_trees, random_state=seed),
            HistGradientBoostingClassifier(max_iter=60, random_state=seed),
        ]
    else:
        members = [
            RidgeCV(np.logspace(-2, 3, 11)),
            ExtraTreesRegressor(n_trees, random_state=seed),
            HistGradientBoostingRegressor(max_iter=60, random_state=seed),
        ]
    return members if n_rows >= MIN_ROWS_BOOSTING else members[:2]


class AutoTeacher(BaseEstimator):
    """The mean of those learners whose mean predicts held-out rows best.

    A linear model, extremely randomised trees and, of at least 300 rows, gradient
    boosting are fitted on all but one of three folds; of all means of one, two or three
    of them that one is taken which has the least log-loss or squared error on what was
    held out.
    """

    def __init__(self, is_class, seed):
        self.is_class = is_class
        self.seed = seed

    def fit(self, X, y):
        self.numbers_ = TableNumbers().fit(X)
        Z, y = self.numbers_.transform(X), np.asarray(y)
        if self.is_class:
            self.classes_ = np.unique(y)
        self.chosen_ = self._choose(self._hold_out(Z, y), y)
        members = make_members(len(y), self.is_class, self.seed)
        self.members_ = [clone(members[i]).fit(Z, y) for i in self.chosen_]
        return self

    def _hold_out(self, Z, y):
        """Predictions of held-out rows by each member, or None: too few rows."""
        members = make_members(
            len(y), self.is_class, self.seed, n_trees=N_TREES_HELD_OUT
        )
        rarest = np.unique(y, return_counts=True)[1].min() if self.is_class else len(y)
        n_folds = min(N_FOLDS, rarest)
        if n_folds < 2:
            return None
        folds = StratifiedKFold if self.is_class else KFold
        folds = folds(n_folds, shuffle=True, random_state=self.seed)
        guesses = [None] * len(members)
        for train, test in folds.split(Z, y):
            for i, member in enumerate(members):
                fitted = clone(member).fit(Z[train], y[train])
                guess = self._ask(fitted, Z[test])
                if guesses[i] is None:
                    guesses[i] = np.zeros((len(y), *guess.shape[1:]))
                guesses[i][test] = guess
        return guesses

    def _choose(self, guesses, y):
        if guesses is None:
            return (0, 1)
        places = range(len(guesses))
        teams = [team for k in (1, 2, 3) for team in combinations(places, k)]
        return min(teams, key=lambda team: self._loss(team, guesses, y))

    def _loss(self, team, guesses, y):
        mean = np.mean([guesses[i] for i in team], axis=0)
        if self.is_class:
            return log_loss(y, mean, labels=self.classes_)
        return mean_squared_error(y, mean)

    def _ask(self, member, Z):
        return member.predict_proba(Z) if self.is_class else member.predict(Z)

    def _mean(self, X):
        Z = self.numbers_.transform(X)
        return np.mean([self._ask(member, Z) for member in self.members_], axis=0)

    def predict(self, X):
        """Classes, the likeliest of each row, or numbers; shape (n,)."""
        mean = self._mean(X)
        return self.classes_[mean.argmax(axis=1)] if self.is_class else mean

    @available_if(lambda self: self.is_class)
    def predict_proba(self, X):
        """Probabilities of the classes, shape (n, n_classes)."""
        return self._mean(X)


def draw_labels(teacher, X, rng, *, is_class, n_copies):
    """Places of rows of X, each `n_copies` times, and a label for each of them.

    The labels of one row's copies follow the teacher's probabilities as closely as
    their number allows: they are read off at equal steps from a random start, so that
    even a tree which can isolate every row sees how sure the teacher is.
    """
    places = np.repeat(np.arange(len(X)), n_copies)
    if not is_class or not hasattr(teacher, "predict_proba"):
        return places, np.asarray(teacher.predict(X))[places]
    shares = np.asarray(teacher.predict_proba(X)).cumsum(axis=1)
    steps = (np.arange(n_copies) + rng.random((len(X), 1))) / n_copies
    # What rounding leaves below 1 belongs to the last class.
    codes = (shares[places, :-1] < steps.reshape(-1, 1)).sum(axis=1)
    return places, np.asarray(teacher.classes_)[codes]
