"""The sampler of all models.

A model proposes rows with log-weights that say how well they meet the conditions (see
`proposals`). The sampler resamples them by these weights and by a density ratio, and
calibrates the marginals of the result.
"""

from functools import partial

import numpy as np
from sklearn.exceptions import NotFittedError

from .._table.layout import EncodedConditions
from .density import DENSITY_ROWS, LatentDensity, smoothed_bootstrap, update_reservoir
from .marginals import MarginalMap
from .proposals import draw_conditional, draw_each, resample_each
from .ratio import POOL_FACTOR, DensityRatio, resample_distinct

# Number of rows that are drawn at a time where a density ratio chooses among proposals:
# the classifier takes a kilobyte for each proposal, of which there are several a row.
RATIO_CHUNK = 25_000
# Number of generated rows that the map of the marginals is fitted to: at most, at
# least, and for each training row. Few rows do not show their own marginals exactly.
CALIBRATION_ROWS, MIN_CALIBRATION_ROWS, CALIBRATION_FACTOR = 20_000, 4_000, 10
# Number of different conditions up to which each has a pool of proposals for its rows,
# and number of rows from which one has such a pool beside any number of others.
MAX_GROUPS, MIN_GROUP = 16, 100
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

        def draw(n):
            nothing = EncodedConditions(n)
            x_num, x_cat, _ = self._draw(source, codec, nothing, rng)
            return x_num, x_cat

        self.ratio_ = DensityRatio.fit_if_useful(
            self.density_ratio, codec, X, draw, rng
        )
        if self.ratio_ is None:
            self.proposal_marginals_ = None
        else:
            self._fit_marginals(source, codec, rng)

    def _fit_marginals(self, source, codec, rng):
        if codec.has_marginals_:
            n = max(MIN_CALIBRATION_ROWS, CALIBRATION_FACTOR * self.n_rows_)
            nothing = EncodedConditions(min(n, CALIBRATION_ROWS))
            x_num, x_cat, _ = self._draw(source, codec, nothing, rng)
            self.marginals_ = MarginalMap(codec, source.kept_intervals)
            self.marginals_.fit(x_num, x_cat)

    def _fit_to_stream(self, source, codec):
        if self.needs_latent and self.reservoir_ is None:
            raise NotFittedError(
                "This model cannot sample: an error ended its `fit` before latent "
                "vectors were kept for latent_density. Call `fit` again."
            )
        self._fit_all(source, codec, self.reservoir_, None, self.rng)

    def sample(self, source, codec, conditions, rng, n_draws=1):
        """Draw rows that meet conditions.

        Parameters
        ----------
        source : LatentSource or RowSource
        codec : TableCodec or SparseCodec
        conditions : EncodedConditions
            Arrays of numpy, for each row that is to be drawn.
        rng : numpy.random.Generator
        n_draws : int, default=1
            Number of rows to draw for each of the conditions. Those of one row may
            share values: together they show its distribution.

        Returns
        -------
        x_num, x_cat : ndarray
            In the order of the conditions, `n_draws` neighbouring rows for each.
        log_mass : ndarray
            Estimated log-probability of each row's conditions.
        """
        if not self.is_fitted_:
            self._fit_to_stream(source, codec)
        if n_draws > 1:
            return self._sample_repeatedly(source, codec, conditions, rng, n_draws)
        n = len(conditions)
        if conditions.is_empty:
            x_num, x_cat, _ = self._draw(source, codec, conditions, rng)
            if self.marginals_ is not None:
                ranked = n >= MIN_RANKED
                x_num = self.marginals_.apply(x_num, x_cat, rng, ranked=ranked)
            return x_num, x_cat, np.zeros(n)
        x_num = np.empty((n, codec.layout_.n_numeric), np.float32)
        x_cat = np.empty((n, codec.layout_.n_categorical), np.int64)
        log_mass = np.empty(n)
        wanted = conditions
        if self.marginals_ is not None:
            conditions = self.marginals_.conditions_before(wanted)
        groups, own = group_rows(conditions)
        for index in groups:
            batch = self._draw(source, codec, conditions.take(index), rng)
            x_num[index], x_cat[index], log_mass[index] = batch
        if len(own):
            batch = self._draw_each(source, codec, conditions.take(own), rng)
            x_num[own], x_cat[own], log_mass[own] = batch
        # Given conditions, marginals differ from those of the table. Ranks among the
        # drawn rows would remove that difference.
        if self.marginals_ is not None:
            x_num = self.marginals_.meet(x_num, x_cat, wanted, rng)
        return x_num, x_cat, log_mass

    def _sample_repeatedly(self, source, codec, conditions, rng, n_draws):
        """Draw several rows for each of the conditions, by the same particles."""
        index = np.repeat(np.arange(len(conditions)), n_draws)
        wanted = conditions.take(index)
        if conditions.is_empty:
            return self.sample(source, codec, wanted, rng)
        if self.marginals_ is not None:
            conditions = self.marginals_.conditions_before(conditions)
        x_num, x_cat, log_mass = self._draw_each(
            source, codec, conditions, rng, n_draws
        )
        if self.marginals_ is not None:
            x_num = self.marginals_.meet(x_num, x_cat, wanted, rng)
        return x_num, x_cat, log_mass[index]

    def _draw(self, source, codec, conditions, rng):
        """Draw rows that have the same conditions."""
        n = len(conditions)
        if self.ratio_ is not None:
            if n > RATIO_CHUNK:
                return self._draw_chunks(self._draw, source, codec, conditions, rng)
            conditions = conditions.take(np.arange(POOL_FACTOR * n) % n)
        propose = partial(source.propose, density=self.density_)
        marginals, before = self.proposal_marginals_, conditions
        if marginals is not None:
            before = marginals.conditions_before(conditions)
        x_num, x_cat, log_mass = draw_conditional(propose, before, rng)
        if marginals is not None:
            x_num = marginals.meet(x_num, x_cat, conditions, rng)
        if self.ratio_ is not None:
            weights = self.ratio_.weights(codec.to_matrix(x_num, x_cat))
            chosen = resample_distinct(weights, n, rng)
            x_num, x_cat = x_num[chosen], x_cat[chosen]
        return x_num, x_cat, log_mass

    @staticmethod
    def _draw_chunks(draw, source, codec, conditions, rng, n_draws=1):
        """Draw rows by one of the other methods, a bounded number at a time."""
        n = len(conditions)
        n_chunks, chunks = min(n, -(-n * n_draws // RATIO_CHUNK)), []
        args = (n_draws,) if n_draws > 1 else ()
        for index in np.array_split(np.arange(n), n_chunks):
            *rows, log_mass = draw(source, codec, conditions.take(index), rng, *args)
            chunks.append((*rows, np.broadcast_to(log_mass, len(index))))
        return tuple(map(np.concatenate, zip(*chunks, strict=True)))

    def _draw_each(self, source, codec, conditions, rng, n_draws=1):
        """Draw rows that have conditions of their own, `n_draws` for each."""
        n, n_drawn = len(conditions), n_draws
        if self.ratio_ is not None:
            n_drawn *= POOL_FACTOR
            if n > 1 and n * n_draws > RATIO_CHUNK:
                return self._draw_chunks(
                    self._draw_each, source, codec, conditions, rng, n_draws
                )
        propose = partial(source.propose, density=self.density_)
        marginals, before = self.proposal_marginals_, conditions
        if marginals is not None:
            before = marginals.conditions_before(conditions)
        x_num, x_cat, log_mass = draw_each(
            propose, before, rng, n_drawn, source.needs_particles
        )
        if marginals is not None:
            repeated = conditions.take(np.repeat(np.arange(n), n_drawn))
            x_num = marginals.meet(x_num, x_cat, repeated, rng)
        if self.ratio_ is not None:
            weights = self.ratio_.weights(codec.to_matrix(x_num, x_cat))
            chosen = resample_each(weights.reshape(n, n_drawn), n_draws, rng)
            x_num, x_cat = x_num[chosen], x_cat[chosen]
        return x_num, x_cat, log_mass


def group_rows(conditions):
    """Rows whose conditions are equal, and rows that are alone or few with theirs.

    Parameters
    ----------
    conditions : EncodedConditions

    Returns
    -------
    groups : list of ndarray
        Positions of the rows of each group.
    own : ndarray
        Positions of all other rows.
    """
    columns = [*conditions.codes.values()]
    for bounds in conditions.bounds.values():
        columns += [bounds[:, 0], bounds[:, 1]]
    wanted = np.stack(columns, axis=1).astype(np.float64)
    _, inverse, counts = np.unique(
        wanted, axis=0, return_inverse=True, return_counts=True
    )
    inverse = inverse.reshape(-1)
    if len(counts) <= MAX_GROUPS:
        is_group = np.ones(len(counts), dtype=bool)
    else:
        is_group = counts >= MIN_GROUP
    groups = [np.flatnonzero(inverse == i) for i in np.flatnonzero(is_group)]
    return groups, np.flatnonzero(~is_group[inverse])
