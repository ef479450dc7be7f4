"""Candidate rows, weighted by how well they fit the conditions, and resampled."""

import numpy as np
import torch

from .._nn.chunks import CHUNK_ROWS, bounded_rows

MAX_POOL = 200_000  # proposals for one combination of conditions
MIN_POOL = 2_000


def effective_sample_size(weights):
    """Rows of equal weight that would tell as much."""
    return weights.sum() ** 2 / np.square(weights).sum()


def distinct_sample_size(weights):
    """Rows that can be drawn before one of them is due twice."""
    return weights.sum() / weights.max()


def rows_at_once(layout):
    """Rows of a pass through a net, bounded in memory whatever their width."""
    return bounded_rows(CHUNK_ROWS, 4 * layout.width)


class LatentSource:
    """Proposes rows by way of the latent space: drawn from a density, then decoded.

    Parameters
    ----------
    distribution : callable
        ``distribution(z)`` is the :class:`TableDistribution` of rows given their latent
        vectors, shape (n, n_components), on the device.
    layout : TableLayout
    device : str or device
    """

    def __init__(self, distribution, layout, device):
        self.distribution, self.layout, self.device = distribution, layout, device

    def propose(self, n, given, rng, density):
        """`n` candidates, drawn from a fitted :class:`LatentDensity`."""
        z = torch.from_numpy(density.sample(n, rng)).to(self.device)
        return LatentProposals(self.distribution, self.layout, z, given)


class RowSource:
    """Proposes rows that a network draws column by column, without a latent density.

    Parameters
    ----------
    network : AutoregressiveModel or GeneratorNet
        In evaluation mode. ``network.sample(n, given, generator)`` gives `x_num`,
        `x_cat` and log-weights.
    """

    def __init__(self, network):
        self.network = network

    def propose(self, n, given, rng, density=None):
        """`n` candidates; `density` is there for the signature of its sibling."""
        return RowProposals(self.network, n, given, rng)


class LatentProposals:
    """Latent vectors, to be decoded once they are chosen.

    Parameters
    ----------
    distribution : callable
        See :class:`LatentSource`.
    layout : TableLayout
    z : Tensor of shape (n, n_components)
    given : dict of {int: int}
        Codes that columns of `x_cat` must have.
    """

    # A row is drawn anew from its latent vector each time: a vector may come twice.
    effective_size = staticmethod(effective_sample_size)

    def __init__(self, distribution, layout, z, given):
        self.distribution, self.layout = distribution, layout
        self.z, self.given = z, given
        self.log_weights = np.zeros(len(z))
        if given:
            parts = [self._log_weights(part) for part in self._parts(z)]
            self.log_weights = torch.cat(parts).cpu().numpy().astype(np.float64)

    def _parts(self, z):
        return z.split(rows_at_once(self.layout))

    def _log_weights(self, z):
        distribution = self.distribution(z)
        return sum(
            distribution.category_log_probs(column)[:, value]
            for column, value in self.given.items()
        )

    def draw(self, index, rng):
        """Rows `x_num`, `x_cat` of the proposals at `index`, drawn anew."""
        z = self.z[torch.from_numpy(index).to(self.z.device)]
        generator = torch.Generator(z.device).manual_seed(int(rng.integers(2**63)))
        parts = [self.distribution(part).sample(generator) for part in self._parts(z)]
        x_num, x_cat = (torch.cat(p).cpu().numpy() for p in zip(*parts, strict=True))
        for column, value in self.given.items():
            x_cat[:, column] = value
        return x_num, x_cat


class RowProposals:
    """Rows that are drawn at once; their weights judge them afterwards.

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
        step = rows_at_once(network.layout)
        sizes = [min(step, n - start) for start in range(0, n, step)]
        drawn = [network.sample(size, given, generator) for size in sizes]
        self.x_num, self.x_cat, self.log_weights = (
            torch.cat(part).cpu().numpy() for part in zip(*drawn, strict=True)
        )

    def draw(self, index, rng):
        """Rows `x_num`, `x_cat` of the proposals at `index`."""
        return self.x_num[index], self.x_cat[index]


def draw_given(propose, n, given, rng):
    """`n` rows whose categories are as given, by weighting proposals.

    `propose` is called with a number, the given categories and `rng`.

    The pool grows until its effective size is that of the request, or until it has
    MAX_POOL proposals: a rare level costs time, never a failure.
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
    order, parts = [], []
    for pool, start, stop in zip(pools, edges, edges[1:], strict=False):
        inside = np.flatnonzero((chosen >= start) & (chosen < stop))
        if len(inside):
            order.append(inside)
            parts.append(pool.draw(chosen[inside] - start, rng))
    back = np.argsort(np.concatenate(order))
    x_num, x_cat = (np.concatenate(part)[back] for part in zip(*parts, strict=True))
    return x_num, x_cat


def resample(weights, n, rng):
    """Indices drawn in proportion to weights, in random order, by systematic sampling.

    An index comes floor or ceil of its expected number of times: the draw that
    repeats rows least and whose counts vary least (Kitagawa 1996).
    """
    edges = np.cumsum(weights)
    points = (rng.random() + np.arange(n)) / n * edges[-1]
    chosen = np.minimum(np.searchsorted(edges, points, side="right"), len(edges) - 1)
    return rng.permutation(chosen)
