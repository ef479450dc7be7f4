"""Rows that look real: one resampling mechanism for all models.

A model proposes rows, each with a log-weight that says how well it fits the conditions
(see `proposals`). Here conditions become weighted draws, a density ratio weights what
the decoder got wrong, and marginals are calibrated last.
"""

from functools import partial

import numpy as np
from sklearn.exceptions import NotFittedError

from .density import DENSITY_ROWS, LatentDensity, merge_reservoir, smoothed
from .marginals import MarginalMap
from .proposals import draw_given
from .ratio import DensityRatio, resample_distinct

POOL_FACTOR = 4  # rows drawn for one that is kept under a density ratio
CALIBRATION_ROWS = 20_000  # generated rows behind the fixed map of the marginals
MIN_RANKED = 1_000  # rows from which a request's own ranks calibrate it


class TableSampler:
    """All that is fitted after training so that a model can draw rows.

    It belongs to an estimator and never writes to it: what it needs of one it gets as
    arguments, a source of proposals and the codec of the table.

    Parameters
    ----------
    latent_density : {"normal", "mixture"}, estimator or None
        None for a model that draws rows without a latent vector.
    density_ratio : "auto", classifier or None
    rng : numpy.random.Generator
        What is fitted late, after a stream's last rows, draws from it.

    Attributes
    ----------
    n_rows_ : int
        Rows that all of this is fitted to.
    reservoir_ : ndarray of shape (n, n_components) or None
        Of a stream: smoothed latent vectors of some of its rows.
    is_fitted_ : bool
        Whether the parts below belong to the latest rows.
    density_ : LatentDensity or None
    ratio_ : DensityRatio or None
    marginals_ : MarginalMap or None
        Of rows as they are drawn.
    proposal_marginals_ : MarginalMap or None
        Of rows before the ratio weights them.
    """

    def __init__(self, latent_density, density_ratio, rng):
        self.latent_density, self.density_ratio = latent_density, density_ratio
        self.rng, self.n_rows_, self.reservoir_ = rng, 0, None
        self._forget_parts()

    def _forget_parts(self):
        self.is_fitted_ = False
        self.density_, self.ratio_ = None, None
        self.marginals_, self.proposal_marginals_ = None, None

    @property
    def needs_latent(self) -> bool:
        return self.latent_density is not None

    def fit(self, source, codec, latent, X, n_rows, rng):
        """Fit the density to latent vectors, then ratio and calibration to the table.

        Parameters
        ----------
        source : LatentSource or RowSource
        codec : TableCodec or SparseCodec
        latent : ndarray of shape (n, n_components) or None
        X : DataFrame or ndarray or None
            None for no density ratio.
        n_rows : int
        rng : numpy.random.Generator
        """
        self.n_rows_, self.reservoir_ = n_rows, None
        self._fit_parts(source, codec, latent, X, rng)
        return self

    def update(self, latent, n_rows, rng):
        """Take more rows of a stream in; `sample` fits the parts when it is called.

        No latent vector is kept as it is, because it would decode to its row.
        """
        if self.needs_latent:
            if self.reservoir_ is None and self.density_ is not None:
                # A `fit` keeps no latent vectors: its density stands for its rows.
                n = min(self.n_rows_, DENSITY_ROWS)
                self.reservoir_ = self.density_.sample(n, rng)
            latent = smoothed(latent, self.reservoir_, rng)
            self.reservoir_ = merge_reservoir(
                self.reservoir_, self.n_rows_, latent, n_rows, rng
            )
        self.n_rows_ += n_rows
        self._forget_parts()

    def _fit_parts(self, source, codec, latent, X, rng):
        self._forget_parts()
        try:
            if self.needs_latent:
                self.density_ = LatentDensity(self.latent_density).fit(latent, rng)
            self._fit_marginals(source, codec, rng)
            if X is not None and self.density_ratio is not None:
                self._fit_ratio(source, codec, X, rng)
        except BaseException:
            self._forget_parts()
            raise
        self.is_fitted_ = True

    def _fit_ratio(self, source, codec, X, rng):
        # The ratio sees calibrated rows: what calibration mends is not worth a weight.
        self.proposal_marginals_ = self.marginals_
        draw = partial(self._pool, source)
        self.ratio_ = DensityRatio.fitted(self.density_ratio, codec, X, draw, rng)
        if self.ratio_ is None:
            self.proposal_marginals_ = None
        else:
            self._fit_marginals(source, codec, rng)

    def _fit_marginals(self, source, codec, rng):
        if codec.has_marginals_:
            x_num, x_cat = self._draw(source, codec, CALIBRATION_ROWS, {}, rng)
            self.marginals_ = MarginalMap(codec).fit(x_num, x_cat)

    def _fit_to_stream(self, source, codec):
        if self.needs_latent and self.reservoir_ is None:
            raise NotFittedError(
                "This model cannot sample: an error ended its `fit` before latent "
                "vectors were kept for latent_density. Call `fit` again."
            )
        self._fit_parts(source, codec, self.reservoir_, None, self.rng)

    def sample(self, source, codec, n, conditions, rng):
        """Rows `x_num`, `x_cat` that meet the conditions, in random order.

        `conditions` gives for columns of `x_cat` the codes of all n rows.
        """
        if not self.is_fitted_:
            self._fit_to_stream(source, codec)
        if not conditions:
            x_num, x_cat = self._draw(source, codec, n, {}, rng)
            if self.marginals_ is not None:
                ranked = n >= MIN_RANKED
                x_num = self.marginals_.apply(x_num, x_cat, rng, ranked=ranked)
            return x_num, x_cat
        columns = list(conditions)
        wanted = np.stack([conditions[column] for column in columns], axis=1)
        combinations, which = np.unique(wanted, axis=0, return_inverse=True)
        which = which.reshape(-1)
        x_num = np.empty((n, codec.layout_.n_numeric), np.float32)
        x_cat = np.empty((n, codec.layout_.n_categorical), np.int64)
        for number, values in enumerate(combinations):
            rows = np.flatnonzero(which == number)
            given = dict(zip(columns, values.tolist(), strict=True))
            x_num[rows], x_cat[rows] = self._draw(source, codec, len(rows), given, rng)
        if self.marginals_ is not None:
            # Conditional marginals are not the table's: only the fixed map is right.
            x_num = self.marginals_.apply(x_num, x_cat, rng, ranked=False)
        return x_num, x_cat

    def _draw(self, source, codec, n, given, rng):
        n_pool = n if self.ratio_ is None else POOL_FACTOR * n
        x_num, x_cat = self._pool(source, n_pool, given, rng)
        if self.ratio_ is None:
            return x_num, x_cat
        weights = self.ratio_.weights(codec.to_matrix(x_num, x_cat))
        chosen = resample_distinct(weights, n, rng)
        return x_num[chosen], x_cat[chosen]

    def _pool(self, source, n, given, rng):
        x_num, x_cat = draw_given(
            partial(source.propose, density=self.density_), n, given, rng
        )
        if self.proposal_marginals_ is not None:
            x_num = self.proposal_marginals_.apply(x_num, x_cat, rng, ranked=False)
        return x_num, x_cat
