"""The detector: questions about rows, and what their answers are worth together."""

from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy.sparse import issparse
from scipy.special import logsumexp
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.neighbors import KDTree
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from .._table.frames import as_container, as_frame
from .._table.kinds import is_categorical
from .._table.plain import to_floats
from .._table.polars import is_polars, numbers_to_polars, schema_of, to_polars
from .._table.quantiles import Quantiles
from .._validation import holds_objects, refuse_empty
from ._contrast import Contrast
from ._tails import Gaps, Tails

# Rows that neighbours are looked for among, and neighbours that count.
MAX_REFERENCES, N_NEIGHBORS = 3_000, 5
N_QUANTILES = 2_000  # of a column, for the scale of normal quantiles
# Gradient steps of the default autoencoder, whose reconstructions need not be good: an
# unusual row is rebuilt worse than others long before.
N_STEPS = 800
# Scores of training rows that are kept, and the share of them that is the tail.
MAX_SCORES, TAIL_SHARE = 1_000, 0.1
# For the default model's surprises a tenth of the rows is held out, if that is so many.
MIN_HELD_OUT = 20
# Minimum number of rows, where none are held out, for judging each by a model of the
# other half.
MIN_HALVED = 10
# With contamination="auto" a row is an outlier that is as unusual, in the mean of what
# is asked, as one training row in so many.
AUTO_ROWS = 100
# A row of a table with categories is an outlier, whatever its cells say of each other,
# that is as unlikely as one held-out row in so many.
UNLIKELY_ROWS = 1_000


class GenerativeOutlierDetector(OutlierMixin, BaseEstimator):
    """Find rows that are unlike the rest of a table, and say which cell is.

    Several questions are put to a row, and each answer is read as a surprise: minus the
    logarithm of the share of training rows that are at least as unusual. The score is
    minus the mean of the surprises, in which very large ones count by their logarithm.

    By default, of a table of numbers, dates and missing values alone: how badly an
    autoencoder rebuilds the row, and how far its nearest neighbours are, once in
    standardised numbers and once in normal quantiles. Of a table with categories: how
    much likelier it is that one of its cells is any value of its column, than the one
    that a `VAETransformer` expects given all others; and, of 200 rows or more, how
    sure boosted trees are that some of its cells are another row's. There a number far
    beyond the bulk of its column makes its row an outlier by itself, also if training
    has seen it. So does, in 200 rows or more, what makes a row as unlikely as one in a
    thousand; and, by default in any dense table of 200 rows or more, a number of
    missing cells that fewer than one training row in two hundred reaches.

    Parameters
    ----------
    estimator : estimator or None, default=None
        A model with `score_samples` to ask instead, such as a `VAETransformer`. Models
        of this package explain their answers. None takes what is described above.
    contamination : "auto" or float, default="auto"
        Share of outliers among the training rows, in (0, 0.5]: `fit_predict` calls so
        many of them outliers, and `predict` about as many of other rows that have as
        many. "auto" calls a row an outlier that is in the mean as unusual as one
        training row in a hundred.
    random_state : int, RandomState instance or None, default=None
        Seed of the fit; None leaves that of `estimator`.

    Attributes
    ----------
    estimator_ : estimator
        The fitted model.
    offset_ : float
        Score below which a row is an outlier.
    n_features_in_ : int
        Number of columns seen by `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if all are strings.

    See Also
    --------
    sklearn.ensemble.IsolationForest : Faster, for numbers.
    sklearn.neighbors.LocalOutlierFactor : Neighbours alone.

    Notes
    -----
    Unlike the other models of this package, one for tables without categories keeps
    rows: of at most 3,000, randomly chosen, the numbers among which neighbours are
    looked for. Whoever has the fitted detector has them. A row that is itself among
    them is not its own neighbour.

    Surprises are those of rows that a model has not learnt from: a tenth of the rows
    is held out from the default model, and of 10 to 199 rows each is judged by a model
    of the other half. Those of an `estimator` are of the rows that it learnt.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_unsup.outliers import GenerativeOutlierDetector
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 1))
    >>> X = np.hstack([x, -x]) + 0.1 * rng.normal(size=(200, 2))
    >>> detector = GenerativeOutlierDetector(random_state=0).fit(X)
    >>> detector.predict([[1.0, -1.0], [1.0, 1.0]])
    array([ 1, -1])
    """

    def __init__(
        self, estimator=None, *, contamination="auto", random_state=None
    ) -> None:
        self.estimator = estimator
        self.contamination = contamination
        self.random_state = random_state

    def fit(self, X, y=None) -> Self:
        """Learn what is usual.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows, most of which are no outliers.
        y : None
            Ignored: present for API consistency.

        Returns
        -------
        self : object
            The fitted detector.
        """
        check_contamination(self.contamination)
        checked = self._check(X, reset=True)
        self._schema = schema_of(X)
        seed = None
        if self.random_state is not None:
            seed = check_random_state(self.random_state).randint(2**31 - 1)
        self._is_default = self.estimator is None
        levels = level_columns(checked)
        self._has_levels = bool(levels.any())
        model = clone(self.estimator) if self.estimator is not None else None
        if model is None:
            model = default_model(checked, levels)
        elif not hasattr(model, "score_samples"):
            raise TypeError(
                f"estimator must have score_samples, which {type(model).__name__} has "
                "not: pass a VAETransformer or an AutoencoderTransformer, or None."
            )
        seeded(model, seed)
        rng = np.random.default_rng(0 if seed is None else seed)
        train, held_out = self._split(checked, rng)
        holds_out = held_out is not checked
        is_few = self._is_default and not holds_out
        own = None
        if is_few and checked.shape[0] >= MIN_HALVED:
            own = self._of_other_half(checked, levels, seed, rng)
        self.estimator_ = model.fit(train)
        self._neighbors = []
        if self._is_default and not self._has_levels and not issparse(checked):
            scales = "standard", "quantile"
            self._neighbors = [Neighbors(s).fit(checked, rng) for s in scales]
        self._gaps = self._tails = self._contrast = self._overall = self._rows = None
        if self._is_default and not issparse(checked):
            self._gaps = Gaps().fit(checked)
        if self._is_default and self._has_levels:
            self._tails = Tails().fit(checked)
            # Trees know the rows that they have learnt from, and so does the model.
            if holds_out:
                self._contrast = Contrast().fit(train, rng)
                self._rows = Surprise().fit(-self.estimator_.score_samples(held_out))
        answers = self._answers(held_out)
        if own is not None:
            answers[0] = own
        if self._neighbors:
            # A row is not its own neighbour: these answers are fair of all rows.
            answers[1:] = [n.distances(checked) for n in self._neighbors]
        self._surprises = [Surprise().fit(answer, is_few) for answer in answers]
        if self._contrast is not None:
            self._overall = Surprise().fit(self._combined(answers))
        self.offset_ = -np.log(AUTO_ROWS)
        if self.contamination != "auto":
            if not self._is_fair_apart:
                held_out, answers = checked, self._answers(checked)
            scores = -self._decided(held_out, answers, self._in_tails(held_out))
            self.offset_ = float(np.percentile(scores, 100 * self.contamination))
        return self

    @property
    def _is_fair_apart(self):
        """Whether training rows that no model has learnt from say what is usual.

        Neighbours judge all rows fairly, and own estimators are judged as they are.
        """
        return self._is_default and self._has_levels

    def fit_predict(self, X, y=None) -> np.ndarray:
        """Fit to rows, and say whether each of them is an outlier.

        With a `contamination` this share of the rows is. The model of a table with
        categories has learnt them, so that `predict`, which is for other rows, calls
        fewer of these outliers.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows of usual kind, a few outliers among them.
        y : None
            Ignored.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            -1 for outliers and 1 for others.
        """
        scores = self.fit(X, y).score_samples(X)
        offset = self.offset_
        if self.contamination != "auto" and self._is_fair_apart:
            offset = np.percentile(scores, 100 * self.contamination)
        return np.where(scores < offset, -1, 1)

    def score_samples(self, X) -> np.ndarray:
        """Score rows by minus their mean surprise: higher is more usual.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows with the columns that `fit` saw.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            Zero, or negative: logarithms of shares of the training rows, which go on
            beyond the most unusual one.
        """
        check_is_fitted(self)
        checked = self._check(X, reset=False)
        answers, in_tails = self._answers(checked), self._in_tails(checked)
        return -self._decided(checked, answers, in_tails)

    def decision_function(self, X) -> np.ndarray:
        """Score above that of the least usual row that is no outlier.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows with the columns that `fit` saw.

        Returns
        -------
        decision : ndarray of shape (n_samples,)
            `score_samples` less `offset_`: negative for outliers.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X) -> np.ndarray:
        """Say whether each row is an outlier.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows with the columns that `fit` saw.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            -1 for outliers and 1 for others.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    @available_if(lambda self: explains(getattr(self, "estimator_", self.estimator)))
    def explain_samples(self, X, *, return_expected=False) -> Any:
        """Share of each cell in the score of its row.

        In proportion to the nats that the cells cost `estimator_`, and of a table with
        categories the trees, or to their own surprises if numbers far beyond the bulk
        of their columns, or missing values, decide the score. If a row of such a table
        is far less likely than any training row, all that its cells cost counts.
        Neighbours cannot tell columns apart.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows with the columns that `fit` saw.
        return_expected : bool, default=False
            Whether to return the expected values, too.

        Returns
        -------
        shares : DataFrame or ndarray of shape (n_samples, n_features)
            Each row adds up to its score. The lowest one names the cell that fits its
            row least.
        expected : DataFrame or ndarray of shape (n_samples, n_features)
            The value that each cell was expected to have. Only if `return_expected`.
        """
        check_is_fitted(self)
        checked = self._check(X, reset=False)
        losses, expected, evidence = self.estimator_._cell_losses(checked)
        answers, in_tails = self._answers(checked, evidence), self._in_tails(checked)
        scores = -self._decided(checked, answers, in_tails)
        combined = self._combined(answers, in_tails)
        # A row that is too unlikely is so by what all of its cells lose.
        is_unlikely = -scores > combined
        if evidence is not None:
            costs = evidence - losses
            if self._contrast is not None:
                costs += self._contrast.cell_costs(checked)
            costs = np.where(is_unlikely[:, None], -losses, costs)
            losses = -np.maximum(costs, 0.0)
        if in_tails is not None:
            decides = ~is_unlikely & (combined > self._combined(answers))
            losses = np.where(decides[:, None], -in_tails, losses)
        losses = losses - 1e-12  # cells of rows that cost nothing share alike
        shares = losses * (scores / losses.sum(1))[:, None]
        if is_polars(X):
            shares = numbers_to_polars(shares, X.columns)
        elif isinstance(checked, pd.DataFrame):
            shares = pd.DataFrame(shares, checked.index, checked.columns)
            expected.index = checked.index
        if not return_expected:
            return shares
        return shares, to_polars(expected, self._schema)

    # ------------------------------------------------------------------ helpers

    def _check(self, X, reset):
        X = as_container(X)
        if isinstance(X, pd.DataFrame):
            refuse_empty(X, type(self).__name__)
            return validate_data(self, X, reset=reset, skip_check_array=True)
        return validate_data(
            self,
            X,
            reset=reset,
            dtype=None,
            accept_sparse="csr",
            ensure_all_finite=False if holds_objects(X) else "allow-nan",
        )

    def _split(self, X, rng):
        """Rows to fit a model to, and rows to measure surprises on.

        Rows that a model has learnt from are likelier, and rebuilt better: by their
        surprises up to a tenth of all others would be outliers.
        """
        n = X.shape[0]
        n_held_out = min(MAX_SCORES, n // 10)
        if not self._is_default or n_held_out < MIN_HELD_OUT:
            return X, X
        order = rng.permutation(n)
        parts = order[n_held_out:], order[:n_held_out]
        return tuple(take(X, np.sort(part)) for part in parts)

    def _answers(self, X, evidence=None):
        """What is asked of each row, (n,) each, higher for the unusual."""
        answers = [self._ask(self.estimator_, X, evidence)]
        if self._contrast is not None:
            answers.append(self._contrast.log_odds(X))
        return [*answers, *(neighbors.distances(X) for neighbors in self._neighbors)]

    def _ask(self, model, X, evidence=None):
        """How unusual rows are to a model alone, (n,)."""
        if not (self._is_default and self._has_levels):
            return -np.asarray(model.score_samples(X), dtype=np.float64)
        if evidence is None:
            evidence = model._cell_losses(X)[2]
        if evidence is None:
            # Cells of images and of very wide tables have no expected distribution.
            return -model.score_samples(X)
        return logsumexp(evidence, axis=1) - np.log(evidence.shape[1])

    def _of_other_half(self, X, levels, seed, rng):
        """How unusual each row is to a model of the half that it is not in, (n,)."""
        halves = np.array_split(rng.permutation(X.shape[0]), 2)
        answers = np.empty(X.shape[0])
        for half, other in zip(halves, halves[::-1], strict=True):
            rows = take(X, np.sort(other))
            model = seeded(default_model(rows, levels), seed)
            fitted = model.fit(rows)
            answers[half] = self._ask(fitted, take(X, half))
        return answers

    def _in_tails(self, X):
        """Surprises that cells by themselves decide (n, n_columns), if asked for."""
        if self._gaps is None:
            return None
        found = self._gaps.decisive(X)
        if self._tails is not None:
            found = np.maximum(found, self._tails.decisive(X))
        return found

    def _combined(self, answers, in_tails=None):
        """Surprises of rows, (n,)."""
        surprises = [
            surprise.of(answer)
            for surprise, answer in zip(self._surprises, answers, strict=True)
        ]
        combined = mean_surprise(surprises)
        if self._overall is not None:
            combined = self._overall.of(combined)
        if in_tails is None:
            return combined
        return np.maximum(combined, in_tails.max(axis=1, initial=0.0))

    def _decided(self, X, answers, in_tails):
        """Surprises of rows, or of those far less likely than training rows, (n,).

        What cells say of each other misses a row whose cells are all extreme alike.
        """
        combined = self._combined(answers, in_tails)
        if self._rows is None:
            return combined
        found = self._rows.of(-self.estimator_.score_samples(X))
        return np.maximum(combined, np.where(found > np.log(UNLIKELY_ROWS), found, 0.0))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.input_tags.sparse = True
        return tags


def mean_surprise(surprises):
    """Mean of surprises, of which none outweighs the others by a guess.

    How rare an answer is that no training row came near to is a guess. Of one beyond
    one row in AUTO_ROWS the excess counts by its logarithm, unless it makes the row
    an outlier: what a single question is sure of is not to be overlooked, but among
    outliers those come first that several questions agree on.
    """
    if len(surprises) == 1:
        return surprises[0]
    limit = np.log(AUTO_ROWS)
    damped = np.mean(
        [
            np.minimum(surprise, limit) + np.log1p(np.maximum(surprise - limit, 0.0))
            for surprise in surprises
        ],
        axis=0,
    )
    floor = np.minimum(np.mean(surprises, axis=0), limit + 0.01 * damped)
    return np.maximum(damped, floor)


class Surprise:
    """Minus the log-share of training rows with an answer at least as high.

    Beyond the highest tenth it goes on straight, with the slope of an exponential tail.
    That of few rows follows from the median of what is beyond, which an outlier among
    them hardly moves, else from the mean. Where fewer than three rows are beyond, what
    is beyond the median of all rows takes their place.
    """

    def fit(self, answers, is_few=False):
        kept = np.linspace(0, len(answers) - 1, min(len(answers), MAX_SCORES))
        answers = np.sort(answers)[kept.round().astype(int)]
        # Of equal answers the first counts: all of them are at least as unusual.
        self.answers_, first = np.unique(answers, return_index=True)
        self.logs_ = -np.log(1 - first / len(answers))
        self.start_ = float(np.quantile(answers, 1 - TAIL_SHARE))
        beyond = answers[answers > self.start_] - self.start_
        spread = np.ptp(answers)
        self.scale_ = 0.1 * spread
        if len(beyond) and not is_few:
            self.scale_ = beyond.mean()
        elif len(beyond):
            if len(beyond) < 3:
                middle = np.median(answers)
                beyond = answers[answers > middle] - middle
            self.scale_ = np.median(beyond) / np.log(2)
        self.scale_ = float(max(self.scale_, 1e-6 * spread, 1e-12))
        return self

    def of(self, answers):
        inside = np.interp(answers, self.answers_, self.logs_)
        beyond = (answers - self.start_) / self.scale_ - np.log(TAIL_SHARE)
        return np.where(
            answers > self.start_, beyond, np.minimum(inside, -np.log(TAIL_SHARE))
        )


class Neighbors:
    """Mean distance to the nearest training rows, in numbers of one scale.

    Parameters
    ----------
    scale : {"standard", "quantile"}
    """

    def __init__(self, scale):
        self.scale = scale

    def fit(self, X, rng):
        table = floats_of(X)
        self.has_missing_ = bool(np.isnan(table).any())
        self.columns_, self.centers_ = [], []
        for x in table.T:
            x = x[np.isfinite(x)]
            varies = len(x) > 0 and x.min() < x.max()
            self.columns_.append(Quantiles(N_QUANTILES).fit(x) if varies else None)
            self.centers_.append(float(x.mean()) if varies else 0.0)
        kept = rng.permutation(len(table))[:MAX_REFERENCES]
        self.tree_ = KDTree(self._scaled(table[kept]))
        return self

    def _scaled(self, table):
        """Numbers of one scale, zero where missing; then, if any are, which ones."""
        out = np.zeros(table.shape)
        for place, column in enumerate(self.columns_):
            present = np.isfinite(table[:, place])
            if column is None or not present.any():
                continue
            x = table[present, place]
            if self.scale == "quantile":
                out[present, place] = column.encode(x)
            else:
                out[present, place] = (x - self.centers_[place]) / column.deviation_
        return np.hstack([out, np.isnan(table)]) if self.has_missing_ else out

    def distances(self, X):
        scaled = self._scaled(floats_of(X))
        n = len(self.tree_.data)
        near = self.tree_.query(scaled, min(n, N_NEIGHBORS + 1))[0]
        if near.shape[1] == 1:
            return near[:, 0]
        is_itself = near[:, 0] <= 1e-9 * (1 + np.abs(scaled).max(1))
        return np.where(is_itself, near[:, 1:].mean(1), near[:, :-1].mean(1))


def default_model(X, levels):
    """The model that is asked if none is given.

    Which columns have `levels` is told of the whole table: of a part of it, a column
    of numbers and a few words may hold numbers alone.
    """
    from sklearn_unsup import AutoencoderTransformer, VAETransformer

    if levels.any():
        return VAETransformer(categorical_features=levels, handle_unknown="ignore")
    n_rows = X.shape[0]
    batch_size = int(np.clip(n_rows // 16, 1, 128))
    return AutoencoderTransformer(
        hidden_layer_sizes=(128, 64),
        learning_rate_init=2e-3,
        batch_size=batch_size,
        max_iter=max(3, round(N_STEPS * batch_size / n_rows)),
        handle_unknown="ignore",
    )


def seeded(model, seed):
    """The model, with the seed if there is one and it takes one."""
    if seed is not None and "random_state" in model.get_params():
        model.set_params(random_state=seed)
    return model


def floats_of(X) -> np.ndarray:
    """A table of numbers and dates as float64, NaN where missing."""
    return np.column_stack([to_floats(column) for _, column in as_frame(X).items()])


def take(X, rows):
    """Some rows of a frame or an array."""
    return X.iloc[rows] if isinstance(X, pd.DataFrame) else X[rows]


def level_columns(X) -> np.ndarray:
    """Whether each column holds categories, (n_columns,)."""
    if issparse(X):
        return np.zeros(X.shape[1], dtype=bool)
    return np.array([is_categorical(column) for _, column in as_frame(X).items()])


def explains(model) -> bool:
    return model is None or hasattr(model, "_cell_losses")


def check_contamination(value):
    """Raise for anything but "auto" and shares in (0, 0.5]."""
    is_auto = isinstance(value, str) and value == "auto"
    is_share = isinstance(value, Real) and not isinstance(value, Integral)
    if not is_auto and not (is_share and 0 < value <= 0.5):
        raise ValueError(
            f"contamination must be 'auto' or a float in (0, 0.5], got {value!r}."
        )
