"""A density of latent vectors, and what a stream keeps of them."""

import numpy as np
from sklearn.base import clone
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors

# Maximum number of latent vectors that the density is fitted to.
DENSITY_ROWS = 20_000
# Maximum number of latent vectors whose distance to their neighbour is measured.
SPACING_ROWS = 1_000


class LatentDensity:
    """A density of latent vectors, fitted after training (Ghosh et al. 2020).

    Parameters
    ----------
    density : {"normal", "mixture"} or estimator with `fit` and `sample`
    """

    def __init__(self, density):
        self.density = density

    def fit(self, latent, rng):
        """Fit to latent vectors, shape (n, n_components)."""
        # Standardized, so that one ridge suits all: components may be constant (one
        # row, collapsed components) or collinear.
        latent = np.asarray(latent, dtype=np.float64)
        self.center_ = latent.mean(0)
        self.scale_ = np.maximum(latent.std(0), 1e-6)
        self.estimator_ = self._estimator(len(latent))
        if "random_state" in self.estimator_.get_params():
            self.estimator_.set_params(random_state=int(rng.integers(2**31)))
        standard = (latent - self.center_) / self.scale_
        if len(standard) == 1:  # a mixture needs two rows
            standard = np.repeat(standard, 2, axis=0)
        self.estimator_.fit(standard)
        return self

    def _estimator(self, n_rows):
        if not isinstance(self.density, str):
            return clone(self.density)
        n_components = 1
        if self.density == "mixture":
            n_components = int(np.clip(n_rows // 100, 1, 50))
        return GaussianMixture(
            n_components,
            reg_covar=1e-4,
            init_params="k-means++",
            max_iter=50,
            tol=1e-2,
        )

    def sample(self, n, rng):
        """New latent vectors, shape (n, n_components), float32, in random order."""
        # An estimator's own sample may repeat itself under its seed, and sort its
        # rows by component.
        if "random_state" in self.estimator_.get_params():
            self.estimator_.set_params(random_state=int(rng.integers(2**31)))
        latent = self.estimator_.sample(n)
        latent = latent[0] if isinstance(latent, tuple) else latent
        latent = np.asarray(latent)[rng.permutation(n)]
        return (latent * self.scale_ + self.center_).astype(np.float32)


def merge_reservoir(kept, n_before, latent, n_new, rng):
    """At most DENSITY_ROWS latent vectors, each row of the stream with an equal chance.

    `kept` stands for `n_before` rows (None for none), `latent` for `n_new`.
    """
    if kept is None:
        return latent
    size = min(DENSITY_ROWS, len(kept) + len(latent))
    from_new = min(len(latent), rng.hypergeometric(n_new, n_before, size))
    from_old = min(len(kept), size - from_new)
    old = kept[rng.permutation(len(kept))[:from_old]]
    new = latent[rng.permutation(len(latent))[:from_new]]
    return np.concatenate([old, new])


def smoothed(latent, kept, rng):
    """Latent vectors with the distribution of the given ones that decode to no row.

    A smoothed bootstrap. Each vector gets noise of the covariance of all of them, as
    long as the distance between nearest neighbours (here and among the `kept` ones),
    and is drawn towards the mean by as much: mean and covariance stay what they were.
    Shape: (n, n_components).
    """
    latent = np.asarray(latent, dtype=np.float64)
    others = latent if kept is None else np.concatenate([kept, latent])
    chosen = len(others) - len(latent) + rng.permutation(len(latent))[:SPACING_ROWS]
    if len(others) < 2:
        return latent.astype(np.float32)
    nearest = NearestNeighbors(n_neighbors=2).fit(others)
    distances = nearest.kneighbors(others[chosen])[0][:, 1]
    distances = distances[distances > 0]  # of twins: two rows, and no single one
    if not len(distances):
        return latent.astype(np.float32)
    center, covariance = others.mean(0), np.atleast_2d(np.cov(others.T))
    share = min(1.0, np.median(distances) ** 2 / covariance.trace())
    noise = rng.multivariate_normal(
        np.zeros(len(center)), share * covariance, len(latent)
    )
    drawn_in = center + np.sqrt(1 - share) * (latent - center)
    return (drawn_in + noise).astype(np.float32)
