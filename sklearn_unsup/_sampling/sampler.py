"""The sampler of all models.

A model proposes rows with log-weights that say how well they meet the conditions (see
`proposals`). The sampler resamples them by these weights and by a density ratio, and
calibrates the marginals of the result.
"""

from functools import partial

import numpy as np
from sklearn.exceptions import NotFittedError

from .density import DENSITY_ROWS, LatentDensity, smoothed_bootstrap, update_reservoir
from .marginals import MarginalMap
from .proposals import draw_conditional
from .ratio import DensityRatio, resample_distinct

# Number of rows drawn for each row that is kept by a density ratio.
POOL_FACTOR = 4
# Number of generated rows that the map of the marginals is fitted to.
CALIBRATION_ROWS = 20_000
# Minimum number of rows in a request for calibrating them by their own ranks.
MIN_RANKED = 1_000


class TableSampler:
    """Everything that is fitted after training in order to draw rows.

    An estimator owns a sampler and passes it a source of proposals and the codec. The
    sampler never changes the estimator.

    Parameters
    ----------
    latent_density : {"normal", "mixture"}, estimator or None
        None for a model that draws rows without a latent vector.
    density_ratio : "auto", classifier or None
    rng : numpy.random.Generator
        Generator for what `sample` has to fit after the last rows of a stream.

    Attributes
    ----------
    n_rows_ : int
        Number of training rows so far.
    reservoir_ : ndarray of shape (n, n_components) or None
        In a stream: perturbed latent vectors of a sample of its rows.
    is_fitted_ : bool
        Whether the attributes below are fitted to all rows so far.
    density_ : LatentDensity or None
    ratio_ : DensityRatio or None
    marginals_ : MarginalMap or None
        Calibration of the rows that are returned.
    proposal_marginals_ : MarginalMap or None
        Calibration of proposed rows before the density ratio weights them.
    """

    def __init__(self, latent_density, density_ratio, rng):
        self.latent_density, self.density_ratio = latent_density, density_ratio
        self.rng, self.n_rows_, self.reservoir_ = rng, 0, None
        self._reset()

    def _reset(self):
        self.is_fitted_ = False
        self.density_, self.ratio_ = None, None
        self.marginals_, self.proposal_marginals_ = None, None

    @property
    def needs_latent(self) -> bool:
        return self.latent_density is not None

    def fit(self, source, codec, latent, X, n_rows, rng):
        """Fit the density to latent vectors, and ratio and calibration to the table.

        Parameters
        ----------
        source : LatentSource or RowSource
        codec : TableCodec or SparseCodec
        latent : ndarray of shape (n, n_components) or None
        X : DataFrame or ndarray or None
            Training rows for the density ratio; None for no ratio.
        n_rows : int
            Number of training rows.
        rng : numpy.random.Generator
        """
        self.n_rows_, self.reservoir_ = n_rows, None
        self._fit_all(source, codec, latent, X, rng)
        return self

    def update(self, latent, n_rows, rng):
        """Add rows of a stream. The next call of `sample` fits everything to them.

        Latent vectors are perturbed before they are kept, because they would decode to
        training rows.
        """
        if self.needs_latent:
            if self.reservoir_ is None and self.density_ is not None:
                # A `fit` keeps no latent vectors. Those of its rows are drawn from its
                # density instead.
                n = min(self.n_rows_, DENSITY_ROWS)
                self.reservoir_ = self.density_.sample(n, rng)
            latent = smoothed_bootstrap(latent, self.reservoir_, rng)
            self.reservoir_ = update_reservoir(
                self.reservoir_, self.n_rows_, latent, n_rows, rng
            )
        self.n_rows_ += n_rows
        self._reset()

    def _fit_all(self, source, codec, latent, X, rng):
        self._reset()
        try:
            if self.needs_latent:
                self.density_ = LatentDensity(self.latent_density).fit(latent, rng)
            self._fit_marginals(source, codec, rng)
            if X is not None and self.density_ratio is not None:
                self._fit_ratio(source, codec, X, rng)
        except BaseException:
            self._reset()
            raise
        self.is_fitted_ = True

    def _fit_ratio(self, source, codec, X, rng):
        # The ratio is fitted to calibrated rows, so that it does not correct marginals.
        self.proposal_marginals_ = self.marginals_
        draw = partial(self._propose, source)
        self.ratio_ = DensityRatio.fit_if_useful(
            self.density_ratio, codec, X, draw, rng
        )
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
        self._fit_all(source, codec, self.reservoir_, None, self.rng)

    def sample(self, source, codec, n, conditions, rng):
        """Draw rows `x_num`, `x_cat` that meet conditions.

        Parameters
        ----------
        source : LatentSource or RowSource
        codec : TableCodec or SparseCodec
        n : int
        conditions : dict of {int: ndarray of shape (n,)}
            Codes of columns of `x_cat`, for each row.
        rng : numpy.random.Generator
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
        combinations, inverse = np.unique(wanted, axis=0, return_inverse=True)
        inverse = inverse.reshape(-1)
        x_num = np.empty((n, codec.layout_.n_numeric), np.float32)
        x_cat = np.empty((n, codec.layout_.n_categorical), np.int64)
        for i, codes in enumerate(combinations):
            index = np.flatnonzero(inverse == i)
            given = dict(zip(columns, codes.tolist(), strict=True))
            batch = self._draw(source, codec, len(index), given, rng)
            x_num[index], x_cat[index] = batch
        if self.marginals_ is not None:
            # Given conditions, marginals differ from those of the table. Ranks among
            # the drawn rows would remove that difference.
            x_num = self.marginals_.apply(x_num, x_cat, rng, ranked=False)
        return x_num, x_cat

    def _draw(self, source, codec, n, given, rng):
        n_pool = n if self.ratio_ is None else POOL_FACTOR * n
        x_num, x_cat = self._propose(source, n_pool, given, rng)
        if self.ratio_ is None:
            return x_num, x_cat
        weights = self.ratio_.weights(codec.to_matrix(x_num, x_cat))
        chosen = resample_distinct(weights, n, rng)
        return x_num[chosen], x_cat[chosen]

    def _propose(self, source, n, given, rng):
        x_num, x_cat = draw_conditional(
            partial(source.propose, density=self.density_), n, given, rng
        )
        if self.proposal_marginals_ is not None:
            x_num = self.proposal_marginals_.apply(x_num, x_cat, rng, ranked=False)
        return x_num, x_cat
