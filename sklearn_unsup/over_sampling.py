"""Class balancing with generated rows, by imbalanced-learn's sampler contract."""

from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.base import clone
from sklearn.utils import check_array, check_consistent_length, check_random_state
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import validate_data

from ._table.polars import (
    from_polars,
    is_polars,
    is_polars_series,
    schema_of,
    to_polars,
)
from ._warnings import warn_user

try:
    from imblearn.over_sampling.base import BaseOverSampler
    from imblearn.utils import check_target_type
except ImportError as error:
    raise ImportError(
        "sklearn_unsup.over_sampling needs imbalanced-learn, which is not installed; "
        "install it with: pip install 'sklearn-unsup[imbalanced]'"
    ) from error

__all__ = ["GenerativeOverSampler"]

# Minimum number of rows of a class for drawing rows of it without a warning.
MIN_CLASS_ROWS = 3


class GenerativeOverSampler(BaseOverSampler):
    """Balance classes with rows that a generative model draws.

    A clone of `generator` is fitted on all rows, with `y` as one more categorical
    column, and then draws exactly as many rows of each class as `sampling_strategy`
    asks for. Unlike SMOTE and its relatives, which interpolate between the rows of one
    class, the model learns from every class what a row looks like, and X may be any
    table that the generator takes: numbers, strings, categories, booleans, dates,
    missing values.

    Put it in an imbalanced-learn Pipeline, so that only training folds are resampled.

    Parameters
    ----------
    generator : estimator, default=None
        Has `fit` and ``sample(n_samples, conditions=..., random_state=...)``, as the
        estimators of this package have. None stands for a `VAETransformer` with its
        defaults. Where it has a parameter `categorical_features` that lists columns,
        the list means columns of X; `y` is added to it.
    sampling_strategy : float, str, dict or callable, default="auto"
        Which classes get how many rows, in the words of imbalanced-learn: a float is
        the wanted ratio of the minority to the majority class (two classes only);
        "minority", "not minority", "not majority", "all" and "auto" (which is
        "not majority") name the classes to be brought up to the size of the largest
        one; a dict says the wanted number of rows of each class; a callable takes `y`
        and returns such a dict.
    random_state : int, RandomState instance or None, default=None
        Seed of both the fit and the draw. With None the generator's own `random_state`
        decides.

    Attributes
    ----------
    generator_ : estimator
        The fitted clone, if any row had to be drawn. It knows the columns of X and,
        last, the class.
    sampling_strategy_ : dict
        Number of rows drawn for each class.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X, if it is a DataFrame whose names are all strings.

    See Also
    --------
    imblearn.over_sampling.SMOTENC : Interpolation between rows of mixed tables.

    Notes
    -----
    Sparse matrices are refused, because the generators would need them dense: resample
    before the step that makes them sparse (categories need no encoding here), or have
    that step return dense arrays. Sparse columns of a DataFrame are made dense for the
    generator and come back sparse.

    Examples
    --------
    >>> from collections import Counter
    >>> from sklearn.datasets import make_classification
    >>> from sklearn_unsup import VAETransformer
    >>> from sklearn_unsup.over_sampling import GenerativeOverSampler
    >>> X, y = make_classification(300, weights=[0.9], flip_y=0, random_state=0)
    >>> sampler = GenerativeOverSampler(VAETransformer(max_iter=5), random_state=0)
    >>> X_resampled, y_resampled = sampler.fit_resample(X, y)
    >>> sorted(Counter(y_resampled.tolist()).items())
    [(0, 271), (1, 271)]
    """

    _parameter_constraints: dict = {
        **BaseOverSampler._parameter_constraints,
        "generator": "no_validation",  # by what it can do, in _make_generator
    }

    def __init__(
        self, generator=None, *, sampling_strategy="auto", random_state=None
    ) -> None:
        super().__init__(sampling_strategy=sampling_strategy)
        self.generator = generator
        self.random_state = random_state

    def fit_resample(self, X, y) -> tuple[Any, Any]:
        """Return the rows given, followed by the rows drawn.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows; a DataFrame, of pandas or polars, may mix dtypes and have missing
            values.
        y : array-like of shape (n_samples,), or (n_samples, n_classes)
            The class of each row, or one indicator column for each class, of which
            each row has a single one; these may be an array, a DataFrame or a sparse
            matrix, and are returned in the same form.

        Returns
        -------
        X_resampled : DataFrame or array-like of shape (n_samples_new, n_features)
            X, unchanged and in its order, then the new rows: in the container, with
            the columns and dtypes of X, and a new index.
        y_resampled : array-like of shape (n_samples_new,)
            The classes, in the container and dtype of `y`.

        Raises
        ------
        ValueError
            If `y` holds numbers to be predicted instead of classes, or has missing
            values, or X is sparse.

        Warns
        -----
        UserWarning
            If a class that rows are drawn of has one or two rows.
        """
        schema, X = schema_of(X), from_polars(X)
        check_consistent_length(X, y)
        y, give_back = _read_classes(y)
        X, y = super().fit_resample(X, y)
        return to_polars(X, schema), give_back(y)

    def _check_X_y(self, X, y):
        if sparse.issparse(X):
            raise ValueError(
                f"X is a sparse matrix ({type(X).__name__}), but "
                "GenerativeOverSampler needs dense data: resample before the step that "
                "makes X sparse (categories need no encoding here), set "
                "sparse_output=False in that step, or pass X.toarray()"
            )
        y, is_one_vs_all = check_target_type(y, indicate_one_vs_all=True)
        if not isinstance(X, pd.DataFrame):
            X = check_array(X, dtype=None, ensure_all_finite="allow-nan")
        elif len(X) == 0:
            raise ValueError("X has 0 rows, at least one is required")
        # What each column holds is the generator's to judge.
        validate_data(self, X=X, y=y, reset=True, skip_check_array=True)
        return X, np.asarray(y), is_one_vs_all

    def _fit_resample(self, X, y):
        wanted = {label: n for label, n in self.sampling_strategy_.items() if n > 0}
        labels = np.repeat(
            np.array(list(wanted), dtype=y.dtype), list(map(int, wanted.values()))
        )
        if len(labels) == 0:
            return X.copy(), y.copy()
        _warn_of_few_rows(y, wanted)
        drawn = self._draw(X, y, labels)
        if isinstance(X, pd.DataFrame):
            drawn.columns = X.columns
            X_new = pd.concat([X, drawn.astype(X.dtypes)], ignore_index=True)
        else:
            X_new = np.concatenate([X, drawn.to_numpy(dtype=X.dtype)])
        return X_new, np.concatenate([y, labels])

    def _draw(self, X, y, labels):
        """One new row for each of `labels`, a DataFrame with the columns of X."""
        table = _as_frame(X)
        target = "class"
        while target in table.columns:
            target += "_"
        fit_seed, draw_seed = self._draw_seeds()
        names = X.columns if isinstance(X, pd.DataFrame) else range(X.shape[1])
        self.generator_ = self._make_generator(list(names), target, fit_seed)
        # The categories are those with rows: no other class can be asked for.
        self.generator_.fit(table.assign(**{target: pd.Categorical(y)}))
        drawn = self.generator_.sample(
            len(labels), conditions={target: labels}, random_state=draw_seed
        )
        return drawn[list(table.columns)].reset_index(drop=True)

    def _draw_seeds(self):
        """Return the seeds of fit and draw, or None for both: the generator decides."""
        if self.random_state is None:
            return None, None
        return check_random_state(self.random_state).randint(2**31 - 1, size=2).tolist()

    def _make_generator(self, names, target, seed):
        """Return an unfitted clone, seeded, to which `target` is categorical.

        `names` are those of the columns of X, as they were given.
        """
        generator = self.generator
        if generator is None:
            from sklearn_unsup import VAETransformer

            generator = VAETransformer()
        if isinstance(generator, type):
            raise TypeError(
                f"generator must be an instance, got the class {generator.__name__}: "
                f"pass {generator.__name__}()"
            )
        if not (hasattr(generator, "fit") and hasattr(generator, "sample")):
            raise TypeError(
                "generator must have `fit` and `sample(n_samples, conditions=...)`, "
                f"got {generator!r}; use for example VAETransformer() or None"
            )
        generator = clone(generator)
        params = generator.get_params(deep=False)
        if seed is not None and "random_state" in params:
            generator.set_params(random_state=seed)
        listed = params.get("categorical_features", "from_dtype")
        if not isinstance(listed, str):
            listed = _add_last_column(listed, names, target)
            generator.set_params(categorical_features=listed)
        return generator

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        return tags


def _warn_of_few_rows(y, wanted):
    for label, n_drawn in wanted.items():
        n_rows = int((y == label).sum())
        if n_rows < MIN_CLASS_ROWS:
            label = label.item() if isinstance(label, np.generic) else label
            warn_user(
                f"y has {n_rows} {'row' if n_rows == 1 else 'rows'} of class "
                f"{label!r}, and {n_drawn:,} more are drawn: so few do not show how "
                "rows of the class differ. Gather more, or name the classes to draw, "
                "and how many rows of each, in sampling_strategy."
            )


def _read_classes(y):
    """One class for each row, and a function that gives classes the form of `y`."""
    if is_polars_series(y):
        codes, give_back = _read_classes(y.to_frame())
        return codes, lambda y: give_back(y).to_series()
    if is_polars(y):
        schema, frame = schema_of(y), from_polars(y)
        column = frame.iloc[:, 0] if frame.shape[1] == 1 else frame
        codes, give_back = _read_classes(column)
        return codes, lambda y: to_polars(pd.DataFrame(give_back(y)), schema)
    has_indicators = sparse.issparse(y) or np.ndim(y) == 2
    if not has_indicators or np.shape(y)[1] == 1:
        _check_classes(y)
        return y, lambda y: y
    return _read_indicators(y)


def _read_indicators(y):
    values = y.toarray() if sparse.issparse(y) else np.asarray(y)
    _check_classes(values)
    values = values.astype(np.float64)
    if not (np.isin(values, (0, 1)).all() and (values.sum(axis=1) == 1).all()):
        raise ValueError(
            "y must hold one class for each row: an array or column of labels, or one "
            "indicator column for each class, with a single one in each row and zeros "
            f"beside it; got an array of shape {values.shape} that is neither"
        )

    def give_back(codes):
        indicators = np.eye(values.shape[1])[codes]
        if sparse.issparse(y):
            return type(y)(indicators.astype(y.dtype))
        if isinstance(y, pd.DataFrame):
            return pd.DataFrame(indicators, columns=y.columns).astype(y.dtypes)
        indicators = indicators.astype(np.asarray(y).dtype)
        return indicators.tolist() if isinstance(y, list) else indicators

    return values.argmax(axis=1), give_back


def _check_classes(y):
    if y is not None and not sparse.issparse(y):
        missing = pd.isna(np.asarray(y, dtype=object))
        if missing.any():
            raise ValueError(
                f"y has missing values, {missing.sum()} of {missing.size}: leave these "
                "rows out, or make a missing value a class of its own"
            )
    if type_of_target(y, input_name="y").startswith("continuous"):
        raise ValueError(
            "Unknown label type: y must hold classes, but it holds continuous numbers, "
            "the target of a regression, in which no class is rare; make classes of "
            "them first, for example by pandas.cut"
        )


def _as_frame(X):
    """X as a dense DataFrame whose columns have names that are strings."""
    if not isinstance(X, pd.DataFrame):
        # Columns of an object array get the dtype that their values have in common.
        frame = pd.DataFrame(X).infer_objects()
    else:
        frame = X.copy(deep=False)
        for column, dtype in zip(frame.columns, frame.dtypes, strict=True):
            if isinstance(dtype, pd.SparseDtype):
                frame[column] = frame[column].sparse.to_dense()
    if not all(isinstance(name, str) for name in frame.columns):
        frame.columns = [f"x{i}" for i in range(frame.shape[1])]
    return frame


def _add_last_column(listed, names, target):
    """The categorical columns `listed` by name, position or mask, and one more.

    What is not a string becomes a position in X, whose columns are `names`: the
    generator has one column more, and strings in place of other names.
    """
    listed = [] if listed is None else list(listed)
    if listed and isinstance(listed[0], bool | np.bool_):
        return [*listed, True]
    if listed and all(isinstance(name, str) for name in [*listed, *names]):
        return [*listed, target]
    n, positions = len(names), []
    for item in listed:
        found = [i for i, name in enumerate(names) if name == item]
        if not found and isinstance(item, Integral) and -n <= item < n:
            found = [int(item) % n]
        if not found:
            raise ValueError(
                f"categorical_features of the generator names {item!r}, which is no "
                f"column of X. The columns are {', '.join(map(repr, names[:20]))}"
            )
        positions += found
    return [*positions, n]
