"""GenerativeAugmenter: rows for a learner, as many as cross-validation finds useful."""

from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, clone, is_regressor
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.metrics import check_scoring
from sklearn.pipeline import make_pipeline
from sklearn.utils import check_array, check_consistent_length, check_random_state
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import validate_data

from .._table.frames import as_container, as_frame
from .._table.polars import schema_of, to_polars
from ._candidates import RowMaker
from ._choice import (
    choose,
    default_scoring,
    is_clear,
    multiples_to_try,
    rounds_of_folds,
    summarise,
)
from ._containers import append, read_target, take
from ._tags import as_sampler_tags
from ._teacher import TableNumbers


class GenerativeAugmenter(OneToOneFeatureMixin, BaseEstimator):
    """Add new rows that a teacher labels, if they help a given estimator.

    New rows lie between near neighbours of the table or, with a `generator`, are rows
    of which it redraws some cells given the others. A teacher, stronger than the
    estimator is meant to be, labels them: what the estimator gains is what the teacher
    knows. How many rows to add is decided by cross-validation, in which none is the
    answer unless the gain exceeds half of its standard error.

    It has the methods of a sampler of imbalanced-learn, and goes into a Pipeline of
    that library; y may be numbers, too.

    Parameters
    ----------
    estimator : estimator, default=None
        What the rows are for: the amount that helps one estimator may harm another.
        None stands for a random forest, which gains less than most others, so that the
        answer errs towards no rows.
    generator : estimator, default=None
        Has `fit` and ``impute(X, sample_posterior=..., random_state=...)``, as a
        `VAETransformer` has, or ``sample(n_samples, random_state=...)``. Half of the
        new rows are then its own. With None all of them lie between neighbours, which
        takes no training.
    teacher : estimator, default="auto"
        Predicts the labels; it must take X as it is. "auto" is the mean of those of
        three learners (a linear model, extremely randomised trees, gradient boosting)
        whose mean predicts best what was held out.
    amount : "auto", int or float, default="auto"
        An int is the number of new rows, a float a multiple of the rows given. "auto"
        chooses by cross-validation among 0, 2, 10 and 50 times as many, the last two
        of them up to 3,000 rows: the one that gains most on average, or 0 if this is
        not more than half of its standard error.
    cv : int or cross-validation splitter, default=5
        Folds of "auto". Those of an int are shuffled, and stratified for classes; on
        fewer than 300 rows they are repeated, up to four times, as long as some amount
        gains, but by less than two standard errors.
    scoring : str or callable, default=None
        What is to gain, in the words of scikit-learn. None is the area under the ROC
        curve (of one class against all others) where the estimator gives probabilities
        or, for two classes, has a decision function; accuracy elsewhere; and minus the
        root of the mean squared error for numbers.
    random_state : int, RandomState instance or None, default=None
        Seed of folds, teacher, generator and rows. `estimator` keeps its own.

    Attributes
    ----------
    amount_ : int
        Number of rows that were added.
    cv_results_ : dict of ndarray
        What "auto" measured, one entry for each amount: "amount" (multiple of the
        rows), "mean_test_score", "mean_gain" over none and "se_gain", its standard
        error, which allows for folds that share training rows; "gains", of shape (n
        amounts, n splits), are what they are made of. None where `amount` is given.
    decision_ : str
        What was decided and why, in one line.
    sampling_strategy_ : dict or None
        Number of new rows of each class; None of a regression. Of classes that came as
        indicators the keys are the places of the columns.
    teacher_ : estimator
        Fitted on all rows, if any row was added; None otherwise.
    generator_ : estimator
        Fitted on all rows, if any row was added and there is one; None otherwise.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X, if it is a DataFrame whose names are all strings.

    See Also
    --------
    sklearn_unsup.over_sampling.GenerativeOverSampler : Rows of rare classes.

    Notes
    -----
    Labels are the teacher's. Of a classification each new row comes five times, with
    classes in proportion to the teacher's probabilities: an estimator that fits every
    row, such as a full tree, then learns probabilities. Of a regression the labels are
    the teacher's predictions.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from sklearn_unsup.augmentation import GenerativeAugmenter
    >>> X, y = load_wine(return_X_y=True)
    >>> tree = DecisionTreeClassifier(random_state=0)
    >>> augmenter = GenerativeAugmenter(tree, amount=100, random_state=0)
    >>> X_more, y_more = augmenter.fit_resample(X, y)
    >>> X_more.shape
    (278, 13)
    """

    def __init__(
        self,
        estimator=None,
        generator=None,
        *,
        teacher="auto",
        amount="auto",
        cv=5,
        scoring=None,
        random_state=None,
    ) -> None:
        self.estimator = estimator
        self.generator = generator
        self.teacher = teacher
        self.amount = amount
        self.cv = cv
        self.scoring = scoring
        self.random_state = random_state

    def fit(self, X, y) -> "GenerativeAugmenter":
        """Decide how many rows to add; those that are drawn on the way are discarded.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,)
            Classes or numbers.

        Returns
        -------
        self : GenerativeAugmenter
            The augmenter itself.
        """
        self.fit_resample(X, y)
        return self

    def fit_resample(self, X, y) -> tuple[Any, Any]:
        """Return the rows given, followed by the new rows.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows; a DataFrame, of pandas or polars, may mix dtypes and have missing
            values.
        y : array-like of shape (n_samples,), or (n_samples, n_classes)
            Classes, which may come as one indicator column each, or numbers to be
            predicted. `estimator` decides which: a classifier or a regressor. Without
            it, floats are numbers and anything else classes.

        Returns
        -------
        X_resampled : DataFrame or array-like of shape (n_samples_new, n_features)
            X, unchanged and in its order, then the new rows: in the container, with
            the columns and dtypes of X, and a new index.
        y_resampled : array-like of shape (n_samples_new,)
            `y`, then the teacher's labels, in its container and dtype.

        Raises
        ------
        ValueError
            If `amount` is none of what is allowed, or `y` has missing values, holds a
            single class, or is several targets.
        """
        self._check_parameters()
        schema, is_list = schema_of(X), isinstance(X, list)
        X = self._check_rows(as_container(X), y)
        target, append_labels = read_target(y)
        is_class = self._has_classes(target)
        table = self._as_frame(X)
        rng = check_random_state(self.random_state)
        seed = int(rng.randint(2**31 - 1))
        self.cv_results_ = self.teacher_ = self.generator_ = None
        self.amount_ = self._choose_amount(X, table, target, is_class, seed)
        rows, labels = table[:0], target[:0]
        if self.amount_ > 0:
            maker = RowMaker(self.generator, self.teacher, is_class, seed)
            maker.fit(X, table, target)
            self.teacher_, self.generator_ = maker.teacher_, maker.generator_
            rows, labels = maker.draw(self.amount_)
        self.sampling_strategy_ = count_classes(target, labels) if is_class else None
        X_new = append(X, rows)
        X_new = X_new.tolist() if is_list else to_polars(X_new, schema)
        return X_new, append_labels(labels)

    def _check_parameters(self):
        amount = self.amount
        is_number = isinstance(amount, Real) and not isinstance(amount, bool)
        if not (is_number and 0 <= amount < np.inf) and amount != "auto":
            raise ValueError(
                "amount must be 'auto', a number of rows (an int of at least 0) or a "
                f"multiple of the rows given (a float of at least 0), got {amount!r}"
            )
        if isinstance(self.teacher, str) and self.teacher != "auto":
            raise ValueError(
                f"teacher must be 'auto' or an estimator, got {self.teacher!r}"
            )

    def _check_rows(self, X, y):
        """X as a DataFrame or an array, dense and with rows."""
        if y is None:
            raise ValueError(
                "GenerativeAugmenter requires y to be passed, but the target y is None"
                ": pass the classes or the numbers that are to be predicted"
            )
        if sparse.issparse(X):
            raise ValueError(
                f"X is a sparse matrix ({type(X).__name__}), but GenerativeAugmenter "
                "needs dense data: augment before the step that makes X sparse, or "
                "pass X.toarray()"
            )
        if not isinstance(X, pd.DataFrame):
            X = check_array(X, dtype=None, ensure_all_finite="allow-nan")
        check_consistent_length(X, y)
        validate_data(self, X=X, reset=True, skip_check_array=True)
        if len(X) < 2:
            raise ValueError(
                f"X has {len(X)} sample(s) (shape={X.shape}) while a minimum of 2 is "
                "required by GenerativeAugmenter"
            )
        return X

    def _has_classes(self, target):
        """Whether the labels are classes: the estimator tells, or else their dtype."""
        kind = type_of_target(target, input_name="y")
        is_class = target.dtype.kind != "f"
        if self.estimator is not None:
            is_class = not is_regressor(self.estimator)
        if kind.startswith("continuous") and is_class:
            raise ValueError(
                "Unknown label type: y holds continuous numbers, but the estimator is "
                "no regressor; make classes of them, for example by pandas.cut"
            )
        if is_class and len(np.unique(target)) == 1:
            raise ValueError(
                f"y holds a single class, {target.tolist()[0]!r}: a learner needs two"
            )
        return is_class

    def _as_frame(self, X):
        """X as a DataFrame whose columns have different names, all strings."""
        table = as_frame(X).copy(deep=False)
        if table.columns.has_duplicates:
            twice = table.columns[table.columns.duplicated()].unique().tolist()
            raise ValueError(
                f"columns of X must have different names, got {twice} twice"
            )
        if not isinstance(X, pd.DataFrame):
            table = table.infer_objects()
        for name, dtype in table.dtypes.items():
            if isinstance(dtype, pd.SparseDtype):
                table[name] = table[name].sparse.to_dense()
        if not all(isinstance(name, str) for name in table.columns):
            table.columns = [f"x{i}" for i in range(table.shape[1])]
        return table

    def _choose_amount(self, X, table, y, is_class, seed):
        n = len(y)
        if self.amount != "auto":
            is_count = isinstance(self.amount, Integral)
            amount = int(self.amount) if is_count else round(self.amount * n)
            self.decision_ = f"{amount} rows are added to {n}: amount={self.amount!r}"
            return amount
        estimator = self._make_estimator(is_class, seed)
        scorer = check_scoring(
            estimator, self.scoring or default_scoring(estimator, y, is_class)
        )
        multiples = multiples_to_try(n)
        scores, ratios = [], []
        for folds in rounds_of_folds(self.cv, X, y, is_class, seed):
            for train, test in folds:
                X_train, y_train = take(X, train), y[train]
                maker = RowMaker(
                    self.generator, self.teacher, is_class, seed + len(scores)
                )
                maker.fit(X_train, table.iloc[train].reset_index(drop=True), y_train)
                rows, labels = maker.draw(int(max(multiples) * len(train)))
                ratios.append(len(test) / len(train))
                scores.append([])
                for multiple in multiples:
                    n_new = int(multiple * len(train))
                    fitted = clone(estimator).fit(
                        append(X_train, rows.iloc[:n_new]),
                        np.concatenate([y_train, labels[:n_new]]),
                    )
                    scores[-1].append(scorer(fitted, take(X, test), y[test]))
            self.cv_results_ = summarise(multiples, np.array(scores).T, np.mean(ratios))
            if is_clear(self.cv_results_):
                break
        return self._decide(n)

    def _make_estimator(self, is_class, seed):
        if self.estimator is not None:
            return self.estimator
        forest = RandomForestClassifier if is_class else RandomForestRegressor
        return make_pipeline(FrameNumbers(), forest(100, random_state=seed % 2**31))

    def _decide(self, n):
        """As many rows as gain most; none, if chance could easily give that gain."""
        results = self.cv_results_
        chosen, best = choose(results)
        amount = round(results["amount"][chosen] * n)
        self.decision_ = (
            f"{amount or 'no'} rows are added to {n}: "
            f"{results['amount'][best]:.3g} times as many gain "
            f"{results['mean_gain'][best]:.3g} +- {results['se_gain'][best]:.2g} in "
            f"{results['gains'].shape[1]} splits"
        )
        return amount

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        return as_sampler_tags(tags)


class FrameNumbers(TableNumbers):
    """`TableNumbers` of anything that is a table."""

    def fit(self, X, y=None):
        return super().fit(as_frame(X).infer_objects())

    def transform(self, X):
        return super().transform(as_frame(X).infer_objects())


def count_classes(y, labels):
    """How many of the labels are of each class of y."""
    return {label: int(np.sum(labels == label)) for label in np.unique(y).tolist()}
