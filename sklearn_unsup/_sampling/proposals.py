"""Candidate rows that are weighted by conditions and then resampled."""

import numpy as np
import torch

from .._nn.chunks import CHUNK_ROWS, bounded_rows
from .._nn.conditions import folded, to_tensors
from .._nn.lookahead import Lookahead
from .._table.layout import EncodedConditions

# Maximum number of proposals for one combination of conditions.
MAX_POOL = 200_000
# Minimum number of proposals that are drawn at a time.
MIN_POOL = 2_000
# Number of particles that are resampled among themselves where all have one condition,
# number of such particles for each row that is drawn from them, and their minimum. A
# pool of independent proposals that would have to be larger than that is not filled.
PARTICLE_BLOCK, PARTICLES_PER_ROW, MIN_SEQUENTIAL = 4_000, 8, 20_000
# Number of particles of all rows that have conditions of their own, and the minimum and
# maximum number for one row.
N_PARTICLES, MIN_PARTICLES, MAX_PARTICLES = 50_000, 32, 1_000
# The minimum for each of several draws of a row.
PARTICLES_PER_DRAW, EFFECTIVE_PER_DRAW = 4, 0.5
# A row of whose particles fewer than MIN_EFFECTIVE matter gets GROWTH times as many, up
# to MAX_GROWN for one row and GROWN_POOL for all such rows at a time.
MIN_EFFECTIVE, GROWTH, MAX_GROWN, GROWN_POOL = 6.0, 8, 20_000, 2_000_000
# Number of rows that show how later columns depend on earlier ones.
LOOKAHEAD_ROWS = 4_000
# Number of rows in a pass on a CPU: what a network makes of more is not in its cache.
CPU_ROWS = 2_048


def effective_sample_size(weights):
    """Number of equally weighted draws that estimate a mean as well (Kish 1965)."""
    return weights.sum() ** 2 / np.square(weights).sum()


def distinct_sample_size(weights):
    """Number of draws up to which no row is expected more than once."""
    return weights.sum() / weights.max()


def ignore(n_rows):
    """Report that a pass through a network has drawn rows, to nobody."""


def rows_per_pass(layout, device):
    """Number of rows in a pass through a network, which bounds its memory."""
    most = CPU_ROWS if torch.device(device).type == "cpu" else CHUNK_ROWS
    return bounded_rows(most, 4 * layout.working_width)


class LatentSource:
    """Propose rows that are decoded from latent vectors drawn from a density.

    Parameters
    ----------
    distribution : callable
        ``distribution(z)`` is the :class:`TableDistribution` of rows given their latent
        vectors `z`, a tensor of shape (n, n_components) on the device.
    codec : TableCodec or SparseCodec
        Its numbers of two values are drawn as one of them.
    device : str or device
    report : callable, default=ignore
        Called with a number of rows whenever so many were drawn.
    """

    report, kept_intervals = staticmethod(ignore), None

    def __init__(self, distribution, codec, device):
        self._distribution, self.device = distribution, device
        self.layout, is_binary = codec.layout_, codec.binary_numbers()
        self.is_binary = torch.from_numpy(is_binary).to(device)

    def distribution(self, z):
        """Distribution of rows given latent vectors, as new rows are drawn from it."""
        distribution = self._distribution(z)
        distribution.is_binary = self.is_binary
        return distribution

    def propose(self, conditions, rng, density, n_particles=1):
        """Propose a row for each of the conditions, with latent vectors of a density.

        `n_particles` is ignored, see :class:`RowSource`.
        """
        z = torch.from_numpy(density.sample(len(conditions), rng)).to(self.device)
        return LatentProposals(
            self.distribution, self.layout, z, conditions, self.report
        )

    def needs_particles(self, conditions):
        return True


class RowSource:
    """Propose rows that a network draws column by column, without a latent density.

    Parameters
    ----------
    network : AutoregressiveModel or GeneratorNet
        A network in evaluation mode whose ``sample(conditions, generator)`` returns
        `x_num`, `x_cat` and log-weights.
    kept_intervals : sequence of ndarray or None, default=None
        Intervals of numbers that calibration shall keep, see :class:`MarginalMap`.
    report : callable, default=ignore
        See :class:`LatentSource`.
    """

    report = staticmethod(ignore)

    def __init__(self, network, kept_intervals=None):
        self.network, self.kept_intervals = network, kept_intervals
        self._drawn = None

    def propose(self, conditions, rng, density=None, n_particles=1):
        """Propose a row for each of the conditions.

        Parameters
        ----------
        conditions : EncodedConditions
        rng : numpy.random.Generator
        density : None
            Ignored, see :class:`LatentSource`.
        n_particles : int, default=1
            Number of neighbouring rows whose conditions are equal, and which an
            autoregressive network may resample among themselves while it draws them.
        """
        return RowProposals(
            self.network,
            conditions,
            rng,
            n_particles,
            self.report,
            self._lookahead(conditions, rng),
        )

    def _lookahead(self, conditions, rng):
        """What a network needs to look ahead to conditions; None if it does not."""
        if conditions.is_empty or not getattr(self.network, "can_look_ahead", False):
            return None
        numbers, codes = Lookahead.columns_of(conditions, self.network.layout)
        if not numbers and not codes:
            return None
        if self._drawn is None:
            device = next(self.network.parameters()).device
            generator = torch.Generator(device).manual_seed(int(rng.integers(2**63)))
            nothing = EncodedConditions(LOOKAHEAD_ROWS)
            self._drawn = self.network.sample(nothing, generator)[:2]
        return Lookahead(self.network.layout, *self._drawn, numbers, codes)

    def needs_particles(self, conditions):
        """Whether rows proposed for the same conditions have unequal weights."""
        needs = getattr(self.network, "needs_particles", None)
        return needs is None or needs(to_tensors(conditions, "cpu"))


class LatentProposals:
    """Proposed latent vectors, of which only the chosen ones are decoded.

    Parameters
    ----------
    distribution : callable
        See :class:`LatentSource`.
    layout : TableLayout
    z : Tensor of shape (n, n_components)
    conditions : EncodedConditions
        What each row must look like; arrays of numpy.
    report : callable
        See :class:`LatentSource`.
    """

    # A vector may be chosen repeatedly, because each time another row is drawn from it.
    effective_size = staticmethod(effective_sample_size)
    gains_by_resampling, has_density, origins = False, True, None

    @torch.no_grad()
    def __init__(self, distribution, layout, z, conditions, report=ignore):
        self.distribution, self.layout, self.report = distribution, layout, report
        self.z, self.conditions = z, to_tensors(conditions, z.device)
        self.log_weights = np.zeros(len(z))
        if not conditions.is_empty:
            log_weights = [
                self.distribution(z[part]).log_mass(self.conditions.take(part))
                for part in self._parts(len(z))
            ]
            self.log_weights = torch.cat(log_weights).cpu().numpy().astype(np.float64)

    def _parts(self, n):
        step = rows_per_pass(self.layout, self.z.device)
        return [slice(start, start + step) for start in range(0, n, step)]

    @torch.no_grad()
    def draw(self, index, rng):
        """Draw a row `x_num`, `x_cat` from each of the latent vectors at `index`."""
        index = torch.from_numpy(index).to(self.z.device)
        z, conditions = self.z[index], self.conditions.take(index)
        generator = torch.Generator(z.device).manual_seed(int(rng.integers(2**63)))
        batches = []
        for part in self._parts(len(z)):
            distribution = self.distribution(z[part])
            batches.append(distribution.sample(generator, conditions.take(part)))
            self.report(len(z[part]))
        return tuple(torch.cat(t).cpu().numpy() for t in zip(*batches, strict=True))


class RowProposals:
    """Proposed rows, which are drawn together with their weights.

    An autoregressive network draws the columns up to the last one with a condition.
    The others are drawn for the chosen rows alone, anew for each time that a row is
    chosen.

    Parameters
    ----------
    network : AutoregressiveModel or GeneratorNet
    conditions : EncodedConditions
        What each row must look like; arrays of numpy.
    rng : numpy.random.Generator
    n_particles : int
        See :class:`RowSource`.
    report : callable
        See :class:`LatentSource`.
    lookahead : Lookahead or None, default=None
        What an autoregressive network looks ahead by.

    Attributes
    ----------
    origins : Tensor of shape (n,) or None
        Where each row was before particles were resampled; None if none are.
    """

    effective_size = staticmethod(distinct_sample_size)
    gains_by_resampling = False

    def __init__(
        self,
        network,
        conditions,
        rng,
        n_particles=1,
        report=ignore,
        lookahead=None,
    ):
        self.network, self.report = network, report
        self.device = next(network.parameters()).device
        self.conditions = to_tensors(conditions, self.device)
        options, self.rest, self.origins = {}, None, None
        is_autoregressive = hasattr(network, "parts")
        # A generator's numbers have none: their weights only tell near from far.
        self.has_density = is_autoregressive or not conditions.bounds
        if is_autoregressive:
            first, *rest = network.parts(conditions)
            self.rest = rest[0] if rest else None
            options = {"columns": first, "n_particles": n_particles}
            if lookahead is not None:
                options["lookahead"] = lookahead
            self.origins = torch.arange(len(conditions), device=self.device)
            n_conditioned = len(conditions.codes) + len(conditions.bounds)
            self.gains_by_resampling = n_conditioned > 1

        def propose(part, generator):
            own = options
            if self.origins is not None:
                own = {**options, "origins": self.origins[part]}
            return network.sample(self.conditions.take(part), generator, **own)

        self.x_num, self.x_cat, log_weights = self._batches(
            propose, len(conditions), n_particles, rng
        )
        self.log_weights = log_weights.cpu().numpy().astype(np.float64)

    def _batches(self, function, n, unit, rng):
        """Results of passes of about as many rows each, in which units stay together.

        A small last pass would be drawn less evenly than the others.
        """
        generator = torch.Generator(self.device).manual_seed(int(rng.integers(2**63)))
        n_units = max(1, n // unit)
        most = max(1, rows_per_pass(self.network.layout, self.device) // unit)
        n_passes = -(-n_units // most)
        step = -(-n_units // n_passes) * unit
        parts = [slice(start, start + step) for start in range(0, n, step)]
        batches = []
        for part in parts:
            batches.append(function(part, generator))
            self.report(min(part.stop, n) - part.start)
        return tuple(torch.cat(tensors) for tensors in zip(*batches, strict=True))

    def draw(self, index, rng):
        """Return the rows `x_num`, `x_cat` at `index`, with all their columns."""
        index = torch.from_numpy(index).to(self.x_num.device)
        x_num, x_cat = self.x_num[index], self.x_cat[index]
        conditions = self.conditions.take(index)
        if self.rest is not None:
            x_num, x_cat, _ = self._batches(
                lambda part, generator: self.network.sample(
                    conditions.take(part),
                    generator,
                    begun=(x_num[part], x_cat[part]),
                    columns=self.rest,
                ),
                len(index),
                1,
                rng,
            )
        x_num = x_num.clone()
        for column, bounds in conditions.bounds.items():
            x_num[:, column] = folded(x_num[:, column], *bounds.unbind(1))
        return x_num.cpu().numpy(), x_cat.cpu().numpy()


def draw_conditional(propose, conditions, rng):
    """Draw rows that have the same conditions, by weighting and resampling proposals.

    The number of proposals grows until their effective sample size is at least the
    number of rows. Where that would take more of them than sequential Monte Carlo needs
    particles, and several columns have conditions, the latter draws the rows. What is
    rare therefore takes longer, but never fails.

    Parameters
    ----------
    propose : callable
        ``propose(conditions, rng, n_particles=1)`` returns `LatentProposals` or
        `RowProposals`.
    conditions : EncodedConditions
        The same for all rows.
    rng : numpy.random.Generator

    Returns
    -------
    x_num, x_cat : ndarray
        The rows, in random order.
    log_mass : float
        Estimated log-probability of the conditions; NaN where the proposals have none.
    """
    n = len(conditions)
    if conditions.is_empty:
        return *propose(conditions, rng).draw(np.arange(n), rng), 0.0

    def pool_of(size, **options):
        repeated = conditions.take(np.zeros(size, np.int64))
        return propose(repeated, rng, **options)

    n_sequential = min(MAX_POOL, max(PARTICLES_PER_ROW * n, MIN_SEQUENTIAL))
    n_sequential = max(1, n_sequential // PARTICLE_BLOCK) * PARTICLE_BLOCK
    pools, size = [], max(MIN_POOL, n)
    while True:
        pools.append(pool_of(size))
        log_weights = np.concatenate([pool.log_weights for pool in pools])
        weights = np.exp(log_weights - log_weights.max())
        effective = pools[0].effective_size(weights)
        room = MAX_POOL - len(weights)
        if effective >= n or room <= 0:
            break
        size = len(weights) * (n / effective - 1.0)
        if size > n_sequential and pools[0].gains_by_resampling:
            pools = [pool_of(n_sequential, n_particles=PARTICLE_BLOCK)]
            log_weights = pools[0].log_weights
            weights = np.exp(log_weights - log_weights.max())
            break
        size = int(np.clip(size, MIN_POOL, room))
    chosen = resample(weights, n, rng)
    log_mass = np.nan
    if pools[0].has_density:
        log_mass = log_weights.max() + np.log(weights.mean())
    edges = np.cumsum([0] + [len(pool.log_weights) for pool in pools])
    positions, batches = [], []
    for pool, start, stop in zip(pools, edges, edges[1:], strict=False):
        inside = np.flatnonzero((chosen >= start) & (chosen < stop))
        if len(inside):
            positions.append(inside)
            batches.append(pool.draw(chosen[inside] - start, rng))
    order = np.argsort(np.concatenate(positions))
    x_num, x_cat = (np.concatenate(a)[order] for a in zip(*batches, strict=True))
    return x_num, x_cat, log_mass


def draw_each(propose, conditions, rng, n_draws, needs_particles):
    """Draw rows that have conditions of their own, each from particles of its own.

    Parameters
    ----------
    propose : callable
        See :func:`draw_conditional`.
    conditions : EncodedConditions
    rng : numpy.random.Generator
    n_draws : int
        Number of rows to draw for each of the conditions.
    needs_particles : callable
        Whether rows with such conditions have weights that differ.

    Returns
    -------
    x_num, x_cat : ndarray
        Rows in the order of the conditions, `n_draws` neighbouring ones for each.
    log_mass : ndarray of shape (len(conditions),)
        Estimated log-probabilities of the conditions; NaN where the proposals have
        none.
    """
    n = len(conditions)
    least = max(MIN_PARTICLES, PARTICLES_PER_DRAW * n_draws)
    n_particles = int(np.clip(N_PARTICLES // n, least, MAX_PARTICLES))
    n_particles += n_particles % 2  # Half of them may look ahead.
    if not needs_particles(conditions):
        n_particles = n_draws
    rows, results = np.arange(n), None
    while True:
        step, parts = max(1, MAX_POOL // n_particles), []
        for start in range(0, len(rows), step):
            own = conditions.take(rows[start : start + step])
            parts.append(draw_part(propose, own, rng, n_draws, n_particles))
        new = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
        if results is None:
            results = new
        else:
            drawn = (rows[:, None] * n_draws + np.arange(n_draws)).reshape(-1)
            for all_rows, some, index in zip(
                results, new, (drawn, drawn, rows, rows), strict=True
            ):
                all_rows[index] = some
        if n_particles == n_draws:
            break
        rows = rows[new[-1] < max(MIN_EFFECTIVE, EFFECTIVE_PER_DRAW * n_draws)]
        most = min(MAX_GROWN, GROWN_POOL // max(1, len(rows)))
        if not len(rows) or most < 2 * n_particles:
            break
        n_particles = min(GROWTH * n_particles, most // 2 * 2)
    return tuple(results[:3])


def draw_part(propose, conditions, rng, n_draws, n_particles):
    """The same with a given number of particles, and how many of them mattered."""
    n = len(conditions)
    repeated = conditions.take(np.repeat(np.arange(n), n_particles))
    pool = propose(repeated, rng, n_particles=n_particles)
    log_weights = pool.log_weights.reshape(n, n_particles)
    largest = log_weights.max(1, keepdims=True)
    weights = np.exp(log_weights - largest)
    log_mass = largest[:, 0] + np.log(weights.mean(1))
    if not pool.has_density:
        log_mass[:] = np.nan
    x_num, x_cat = pool.draw(resample_each(weights, n_draws, rng), rng)
    return x_num, x_cat, log_mass, effective_particles(weights, pool.origins)


def effective_particles(weights, origins):
    """Effective number of the particles of each row, shape (n,).

    Particles that were resampled from one another count as one.

    Parameters
    ----------
    weights : ndarray of shape (n, n_particles)
    origins : Tensor of shape (n * n_particles,) or None
        Where each particle began; None if it was never resampled.
    """
    if origins is not None:
        totals = np.bincount(
            origins.cpu().numpy(), weights.reshape(-1), minlength=weights.size
        )
        weights = totals.reshape(weights.shape)
    return weights.sum(1) ** 2 / np.square(weights).sum(1)


def resample_each(weights, n_draws, rng):
    """Draw indices of the particles of each row by systematic sampling.

    `weights` has shape (n, n_particles); indices count over all of them.
    """
    n, n_particles = weights.shape
    edges = weights.cumsum(1)
    points = (rng.random((n, 1)) + np.arange(n_draws)) / n_draws
    points = points[:, :, None] * edges[:, -1:, None]
    chosen = (edges[:, None, :] <= points).sum(2).clip(max=n_particles - 1)
    chosen += np.arange(n)[:, None] * n_particles
    return chosen.reshape(-1)


def resample(weights, n, rng):
    """Draw indices in proportion to weights, in random order, by systematic sampling.

    The count of an index is its expectation, rounded up or down. No other scheme
    repeats rows less (Kitagawa 1996).
    """
    edges = np.cumsum(weights)
    points = (rng.random() + np.arange(n)) / n * edges[-1]
    chosen = np.minimum(np.searchsorted(edges, points, side="right"), len(edges) - 1)
    return rng.permutation(chosen)
