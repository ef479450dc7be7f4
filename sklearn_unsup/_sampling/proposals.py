"""Candidate rows that are weighted by conditions and then resampled."""

import numpy as np
import torch

from .._nn.chunks import CHUNK_ROWS, bounded_rows

# Maximum number of proposals for one combination of conditions.
MAX_POOL = 200_000
# Minimum number of proposals that are drawn at a time.
MIN_POOL = 2_000


def effective_sample_size(weights):
    """Number of equally weighted draws that estimate a mean as well (Kish 1965)."""
    return weights.sum() ** 2 / np.square(weights).sum()


def distinct_sample_size(weights):
    """Number of draws up to which no row is expected more than once."""
    return weights.sum() / weights.max()


def rows_per_pass(layout):
    """Number of rows in a pass through a network, which bounds its memory."""
    return bounded_rows(CHUNK_ROWS, 4 * layout.width)


class LatentSource:
    """Propose rows that are decoded from latent vectors drawn from a density.

    Parameters
    ----------
    distribution : callable
        ``distribution(z)`` is the :class:`TableDistribution` of rows given their latent
        vectors `z`, a tensor of shape (n, n_components) on the device.
    layout : TableLayout
    device : str or device
    """

    def __init__(self, distribution, layout, device):
        self.distribution, self.layout, self.device = distribution, layout, device

    def propose(self, n, given, rng, density):
        """Propose `n` rows whose latent vectors come from a :class:`LatentDensity`."""
        z = torch.from_numpy(density.sample(n, rng)).to(self.device)
        return LatentProposals(self.distribution, self.layout, z, given)


class RowSource:
    """Propose rows that a network draws column by column, without a latent density.

    Parameters
    ----------
    network : AutoregressiveModel or GeneratorNet
        A network in evaluation mode whose ``sample(n, given, generator)`` returns
        `x_num`, `x_cat` and log-weights.
    """

    def __init__(self, network):
        self.network = network

    def propose(self, n, given, rng, density=None):
        """Propose `n` rows; `density` is ignored, see :class:`LatentSource`."""
        return RowProposals(self.network, n, given, rng)


class LatentProposals:
    """Proposed latent vectors, of which only the chosen ones are decoded.

    Parameters
    ----------
    distribution : callable
        See :class:`LatentSource`.
    layout : TableLayout
    z : Tensor of shape (n, n_components)
    given : dict of {int: int}
        Codes that columns of `x_cat` must have.
    """

    # A vector may be chosen repeatedly, because each time another row is drawn from it.
    effective_size = staticmethod(effective_sample_size)

    def __init__(self, distribution, layout, z, given):
        self.distribution, self.layout = distribution, layout
        self.z, self.given = z, given
        self.log_weights = np.zeros(len(z))
        if given:
            log_weights = [self._log_weights(chunk) for chunk in self._chunks(z)]
            self.log_weights = torch.cat(log_weights).cpu().numpy().astype(np.float64)

    def _chunks(self, z):
        return z.split(rows_per_pass(self.layout))

    def _log_weights(self, z):
        distribution = self.distribution(z)
        return sum(
            distribution.category_log_probs(column)[:, code]
            for column, code in self.given.items()
        )

    def draw(self, index, rng):
        """Draw a row `x_num`, `x_cat` from each of the latent vectors at `index`."""
        z = self.z[torch.from_numpy(index).to(self.z.device)]
        generator = torch.Generator(z.device).manual_seed(int(rng.integers(2**63)))
        batches = [
            self.distribution(chunk).sample(generator) for chunk in self._chunks(z)
        ]
        x_num, x_cat = (torch.cat(t).cpu().numpy() for t in zip(*batches, strict=True))
        for column, code in self.given.items():
            x_cat[:, column] = code
        return x_num, x_cat


class RowProposals:
    """Proposed rows, which are drawn together with their weights.

    Parameters
    ----------
    network : AutoregressiveModel or GeneratorNet
    n : int
    given : dict of {int: int}
        Codes that columns of `x_cat` must have.
    rng : numpy.random.Generator
    """

    effective_size = staticmethod(distinct_sample_size)

    def __init__(self, network, n, given, rng):
        device = next(network.parameters()).device
        generator = torch.Generator(device).manual_seed(int(rng.integers(2**63)))
        step = rows_per_pass(network.layout)
        sizes = [min(step, n - start) for start in range(0, n, step)]
        batches = [network.sample(size, given, generator) for size in sizes]
        self.x_num, self.x_cat, self.log_weights = (
            torch.cat(tensors).cpu().numpy() for tensors in zip(*batches, strict=True)
        )

    def draw(self, index, rng):
        """Return the rows `x_num`, `x_cat` at `index`; `rng` is not needed."""
        return self.x_num[index], self.x_cat[index]


def draw_conditional(propose, n, given, rng):
    """Draw `n` rows with given categories, by weighting and resampling proposals.

    The number of proposals grows until their effective sample size is at least `n`, or
    up to MAX_POOL. A rare category therefore takes longer, but never fails.

    Parameters
    ----------
    propose : callable
        ``propose(n, given, rng)`` returns `LatentProposals` or `RowProposals`.
    n : int
    given : dict of {int: int}
        Codes that columns of `x_cat` must have.
    rng : numpy.random.Generator
    """
    if not given:
        return propose(n, {}, rng).draw(np.arange(n), rng)
    pools, size = [], max(MIN_POOL, n)
    while True:
        pools.append(propose(size, given, rng))
        log_weights = np.concatenate([pool.log_weights for pool in pools])
        weights = np.exp(log_weights - log_weights.max())
        effective = pools[0].effective_size(weights)
        room = MAX_POOL - len(weights)
        if effective >= n or room <= 0:
            break
        size = int(np.clip(len(weights) * (n / effective - 1.0), MIN_POOL, room))
    chosen = resample(weights, n, rng)
    edges = np.cumsum([0] + [len(pool.log_weights) for pool in pools])
    positions, batches = [], []
    for pool, start, stop in zip(pools, edges, edges[1:], strict=False):
        inside = np.flatnonzero((chosen >= start) & (chosen < stop))
        if len(inside):
            positions.append(inside)
            batches.append(pool.draw(chosen[inside] - start, rng))
    order = np.argsort(np.concatenate(positions))
    x_num, x_cat = (np.concatenate(a)[order] for a in zip(*batches, strict=True))
    return x_num, x_cat


def resample(weights, n, rng):
    """Draw indices in proportion to weights, in random order, by systematic sampling.

    The count of an index is its expectation, rounded up or down. No other scheme
    repeats rows less (Kitagawa 1996).
    """
    edges = np.cumsum(weights)
    points = (rng.random() + np.arange(n)) / n * edges[-1]
    chosen = np.minimum(np.searchsorted(edges, points, side="right"), len(edges) - 1)
    return rng.permutation(chosen)
