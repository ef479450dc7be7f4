"""Filling in missing cells, by scikit-learn's imputer contract."""

from typing import Any, Self

import numpy as np
import pandas as pd
from pandas.api.types import is_float_dtype, is_integer_dtype
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.impute import MissingIndicator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from ._table.frames import as_container, as_frame
from ._table.polars import is_polars, schema_of, to_polars, with_flags
from ._validation import holds_objects, refuse_empty
from ._warnings import warn_user

__all__ = ["GenerativeImputer"]


class GenerativeImputer(TransformerMixin, BaseEstimator):
    """Fill in missing cells of mixed tables from a generative model.

    A clone of `generator` learns the joint distribution of the columns from rows with
    missing cells as they are: no row has to be complete, nor any column. Each missing
    cell then gets the mean (a number) or the most likely level (a category) of its
    distribution given the cells that the row has; or, with `sample_posterior`, a draw
    from the joint distribution of all its missing cells. What is missing is assumed to
    be missing at random: for a reason that the cells which are there can tell.

    Parameters
    ----------
    generator : estimator, default=None
        Has `fit` and ``impute(X, sample_posterior=..., round_numbers=...,
        random_state=...)``, as `VAETransformer` has. None stands for a `VAETransformer`
        with ``sampling="any_order"``.
    sample_posterior : bool, default=False
        Fill in draws. Each call of `transform` then returns other ones, so that several
        calls are several imputations of the same table.
    round_numbers : bool, default=False
        Round means as the numbers of `fit` are, such as to integers. Draws and columns
        of an integer or date dtype are in any case.
    add_indicator : bool, default=False
        Append columns that say which cells were missing, one for each column that had
        missing cells in `fit`. See :class:`sklearn.impute.MissingIndicator`.
    keep_empty_features : bool, default=False
        Whether columns that were all missing in `fit` are kept; they are dropped else.
        Missing numbers in them are filled with 0, all else stays as it comes.
    random_state : int, RandomState instance or None, default=None
        Seed of the fit and of the draws. With None the generator's own `random_state`
        decides about the fit.

    Attributes
    ----------
    generator_ : estimator
        The fitted clone.
    indicator_ : MissingIndicator or None
        Of `add_indicator`.
    random_state_ : RandomState
        Generator of the next draws.
    n_features_in_ : int
        Number of columns seen by `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if all are strings.

    See Also
    --------
    sklearn.impute.IterativeImputer : One regression for each column of numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_unsup.impute import GenerativeImputer
    >>> X = load_iris(as_frame=True).data
    >>> holes = X.mask(np.random.default_rng(0).random(X.shape) < 0.2)
    >>> imputer = GenerativeImputer(random_state=0).fit(holes)
    >>> filled = imputer.set_output(transform="pandas").transform(holes)
    >>> int(filled.isna().sum().sum())
    0
    """

    def __init__(
        self,
        generator=None,
        *,
        sample_posterior=False,
        round_numbers=False,
        add_indicator=False,
        keep_empty_features=False,
        random_state=None,
    ) -> None:
        self.generator = generator
        self.sample_posterior = sample_posterior
        self.round_numbers = round_numbers
        self.add_indicator = add_indicator
        self.keep_empty_features = keep_empty_features
        self.random_state = random_state

    def fit(self, X, y=None) -> Self:
        """Learn how the columns depend on each other.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows with missing cells: NaN, None, NaT or NA.
        y : None
            Ignored: present for API consistency.

        Returns
        -------
        self : object
            The fitted imputer.
        """
        X = self._check(X, reset=True)
        frame = as_frame(X)
        missing = frame.isna().to_numpy()
        self._is_empty = missing.all(axis=0)
        seed = None
        if self.random_state is None:
            self.random_state_ = np.random.RandomState()
        else:
            self.random_state_ = check_random_state(self.random_state)
            seed = self.random_state_.randint(2**31 - 1)
        self.indicator_ = None
        if self.add_indicator:
            self.indicator_ = MissingIndicator(error_on_new=False)
            self.indicator_.fit(missing_matrix(missing))
        self.generator_ = self._make_generator(seed)
        if not self._is_empty.all():
            self.generator_.fit(self._without_empty(X))
        return self

    def transform(self, X) -> Any:
        """Fill in the missing cells of rows.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows with the columns that `fit` saw; any of their cells may be missing.

        Returns
        -------
        X_imputed : DataFrame or ndarray of shape (n_samples, n_features_out)
            In the container of X, with the dtypes of its columns.
        """
        check_is_fitted(self)
        asked, X = X, self._check(X, reset=False)
        if self._is_empty.any() and not self.keep_empty_features:
            names = feature_names(self, None)[self._is_empty]
            warn_user(
                f"Columns without a value when fitted are dropped: {list(names)}. "
                "Leave them out, or pass keep_empty_features=True."
            )
        filled = X
        if not self._is_empty.all():
            filled = self.generator_.impute(
                self._without_empty(X),
                sample_posterior=self.sample_posterior,
                round_numbers=self.round_numbers,
                random_state=self.random_state_.randint(2**31 - 1),
            )
        filled = self._with_empty(X, filled)
        flags = np.empty((len(X), 0), dtype=bool)
        if self.indicator_ is not None:
            missing = as_frame(X).isna().to_numpy()
            flags = self.indicator_.transform(missing_matrix(missing))
        if not isinstance(filled, pd.DataFrame):
            return np.hstack([filled, flags]) if flags.size else filled
        names = self.get_feature_names_out()[filled.shape[1] :]
        if is_polars(asked):
            filled = to_polars(filled, schema_of(asked.select(list(filled.columns))))
            return with_flags(filled, names, flags)
        return filled.assign(**dict(zip(names, flags.T, strict=True)))

    def get_feature_names_out(self, input_features=None) -> np.ndarray:
        """Names of the columns of what `transform` returns.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the columns that `fit` saw, if those had none.

        Returns
        -------
        names : ndarray of str
        """
        check_is_fitted(self)
        names = feature_names(self, input_features)
        kept = names if self.keep_empty_features else names[~self._is_empty]
        if self.indicator_ is None:
            return kept
        return np.concatenate([kept, self.indicator_.get_feature_names_out(names)])

    def _check(self, X, reset):
        """X as a DataFrame or an array, with the columns of `fit`."""
        X = as_container(X)
        if isinstance(X, pd.DataFrame):
            refuse_empty(X, type(self).__name__)
            validate_data(self, X, reset=reset, skip_check_array=True)
            return X
        return validate_data(
            self,
            X,
            reset=reset,
            dtype=None,
            ensure_all_finite=False if holds_objects(X) else "allow-nan",
        )

    def _without_empty(self, X):
        if not self._is_empty.any():
            return X
        kept = ~self._is_empty
        return X.loc[:, kept] if isinstance(X, pd.DataFrame) else X[:, kept]

    def _with_empty(self, X, filled):
        """The filled columns, and between them those that were all missing in `fit`."""
        if not (self.keep_empty_features and self._is_empty.any()):
            return self._without_empty(X) if self._is_empty.all() else filled
        full, kept = X.copy(), np.flatnonzero(~self._is_empty)
        empty = np.flatnonzero(self._is_empty)
        if isinstance(X, pd.DataFrame):
            for place, position in enumerate(kept):
                full.isetitem(position, filled.iloc[:, place])
            for position in empty:
                column = X.iloc[:, position]
                if is_float_dtype(column) or is_integer_dtype(column):
                    full.isetitem(position, column.fillna(0))
            return full
        if len(kept):
            full[:, kept] = filled
        full[:, empty] = np.where(pd.isna(X[:, empty]), 0, X[:, empty])
        return full

    def _make_generator(self, seed):
        generator = self.generator
        if generator is None:
            from sklearn_unsup import VAETransformer

            generator = VAETransformer(
                4, sampling="any_order", hidden_layer_sizes=(32,)
            )
        if isinstance(generator, type) or not hasattr(generator, "impute"):
            raise TypeError(
                "generator must be an estimator with `fit` and `impute`, such as "
                f"VAETransformer(sampling='any_order'), or None; got {generator!r}"
            )
        generator = clone(generator)
        if seed is not None and "random_state" in generator.get_params(deep=False):
            generator.set_params(random_state=seed)
        return generator

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags


def missing_matrix(missing):
    """NaN where something is missing and 0 elsewhere."""
    return np.where(missing, np.nan, 0.0)


def feature_names(imputer, input_features):
    """Names of the columns that `fit` saw."""
    known = getattr(imputer, "feature_names_in_", None)
    if input_features is None:
        if known is not None:
            return known
        names = [f"x{i}" for i in range(imputer.n_features_in_)]
        return np.array(names, dtype=object)
    names = np.asarray(input_features, dtype=object)
    if len(names) != imputer.n_features_in_:
        raise ValueError(
            f"input_features should have length equal to number of features "
            f"({imputer.n_features_in_}), got {len(names)}"
        )
    if known is not None and not np.array_equal(known, names):
        raise ValueError("input_features is not equal to feature_names_in_")
    return names
