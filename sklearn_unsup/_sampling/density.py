"""A density of latent vectors, and the sample of them that a stream keeps."""

import numpy as np
from sklearn.base import clone
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors

# Maximum number of latent vectors that the density is fitted to.
DENSITY_ROWS = 20_000
# Maximum number of latent vectors whose nearest neighbour is searched.
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
        # Components may be constant (a single row, a collapsed component) or collinear.
        # On standardized vectors the same regularization suits all of them.
        latent = np.asarray(latent, dtype=np.float64)
        self.center_ = latent.mean(0)
        self.scale_ = np.maximum(latent.std(0), 1e-6)
        self.estimator_ = self._estimator(len(latent))
        if "random_state" in self.estimator_.get_params():
            self.estimator_.set_params(random_state=int(rng.integers(2**31)))
        standard = (latent - self.center_) / self.scale_
        if len(standard) == 1:  # GaussianMixture needs two rows.
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
        # The `sample` of an estimator may repeat itself if its seed is fixed, and may
        # sort its rows by component.
        if "random_state" in self.estimator_.get_params():
            self.estimator_.set_params(random_state=int(rng.integers(2**31)))
        latent = self.estimator_.sample(n)
        latent = latent[0] if isinstance(latent, tuple) else latent
        latent = np.asarray(latent)[rng.permutation(n)]
        return (latent * self.scale_ + self.center_).astype(np.float32)


def update_reservoir(kept, n_before, latent, n_new, rng):
    """Draw at most DENSITY_ROWS latent vectors, uniformly from all rows of a stream.

    Parameters
    ----------
    kept : ndarray or None
        Latent vectors drawn from the `n_before` earlier rows; None if there are none.
    n_before : int
    latent : ndarray
        Latent vectors drawn from the `n_new` new rows.
    n_new : int
    rng : numpy.random.Generator
    """
    if kept is None:
        return latent
    size = min(DENSITY_ROWS, len(kept) + len(latent))
    from_new = min(len(latent), rng.hypergeometric(n_new, n_before, size))
    from_old = min(len(kept), size - from_new)
    old = kept[rng.permutation(len(kept))[:from_old]]
    new = latent[rng.permutation(len(latent))[:from_new]]
    return np.concatenate([old, new])


def smoothed_bootstrap(latent, kept, rng):
    """Perturb latent vectors so that they do not decode to their own rows.

    Smoothed bootstrap: each vector gets noise with the covariance of all vectors, about
    as long as the distance between nearest neighbours among them and the `kept` ones.
    All vectors are shrunk towards the mean, so that mean and covariance do not change.
    Shape: (n, n_components).
    """
    latent = np.asarray(latent, dtype=np.float64)
    pooled = latent if kept is None else np.concatenate([kept, latent])
    chosen = len(pooled) - len(latent) + rng.permutation(len(latent))[:SPACING_ROWS]
    if len(pooled) < 2:
        return latent.astype(np.float32)
    nearest = NearestNeighbors(n_neighbors=2).fit(pooled)
    distances = nearest.kneighbors(pooled[chosen])[0][:, 1]
    # Equal vectors belong to equal rows, which do not identify a single one.
    distances = distances[distances > 0]
    if not len(distances):
        return latent.astype(np.float32)
    center, covariance = pooled.mean(0), np.atleast_2d(np.cov(pooled.T))
    # Fraction of the variance that is replaced by noise.
    noise_fraction = min(1.0, np.median(distances) ** 2 / covariance.trace())
    noise = rng.multivariate_normal(
        np.zeros(len(center)), noise_fraction * covariance, len(latent)
    )
    shrunk = center + np.sqrt(1 - noise_fraction) * (latent - center)
    return (shrunk + noise).astype(np.float32)
