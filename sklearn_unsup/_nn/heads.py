"""From hidden units of a number's network to its conditional density."""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .bin_blocks import BinBlocks
from .conditions import (
    LOG_IMPOSSIBLE,
    is_point,
    middle,
    normal_log_mass,
    truncated_normal,
)
from .even_numbers import EvenNumbers, split
from .fused import batched_linear
from .likelihoods import number_log_prob
from .random import draw_index, normal, uniform
from .value_tilts import ValueTilts

# Number of components of the mixture of normals of a number, and bounds of their
# logarithmic standard deviations.
N_NORMALS, LOG_SCALE_BOUNDS = 8, (-6.0, 2.0)
# Position of the gate among the outputs of a number's network: after weights, means and
# scales of the mixture, before the bins.
GATE = 3 * N_NORMALS
# Bias of the gate of a column that begins as a histogram.
HISTOGRAM_GATE = 8.0
# Greatest mean of a mixture that begins beside known moments, where it is nearly a
# normal distribution, and the odds of a histogram there, as a fraction of the share of
# a number's variance that the moments leave. Histograms know nothing of the moments: a
# dependence is as much too weak as they are frequent, until much has been learnt.
BESIDE_SPREAD, BESIDE_ODDS = 0.6, 0.1
# Maximum absolute value of a number that is drawn. A table with a value beyond would
# have a billion rows.
MAX_Z = 6.0
# Where bins without an end end, in standard deviations.
ENDLESS = 100.0
# Logarithm of the mass under a factor below which nothing is tilted by it.
LOG_HOPELESS = -50.0
# Bias of a bin that a column does not have.
UNUSED_BIAS = -1e4


class NumberHeads(nn.Module):
    """Conditional densities of numbers: smooth or sharp, as the data are.

    A gate draws each number from a mixture of normals or from a histogram of its normal
    quantile, in which a mixture's slow learning of spikes and steps does not matter. At
    the start the histogram is the standard normal distribution.

    Parameters
    ----------
    width : int
        Hidden units of each column's network.
    bin_edges : sequence of array-like
        For each column the inner edges of its bins, ascending quantiles in (0, 1); none
        leaves one bin, the standard normal distribution.
    is_rough : sequence of bool, default=()
        For each column whether neighbouring bins mean quite different things, see
        :class:`BinBlocks`; none stands for no such columns.
    """

    def __init__(self, width: int, bin_edges, is_rough=()):
        super().__init__()
        # Copies: the arrays of a loaded file may be read-only.
        edges = [torch.tensor(np.array(part, dtype=float)) for part in bin_edges]
        self.n_bins = max((len(part) + 1 for part in edges), default=1)
        # Quantiles at which bins begin, and how much they cover; 1 and 0 of those that
        # are padded.
        lower = torch.ones(len(edges), self.n_bins, dtype=torch.float64)
        widths = torch.zeros_like(lower)
        for column, inner in enumerate(edges):
            whole = torch.cat([inner.new_zeros(1), inner, inner.new_ones(1)])
            lower[column, : len(inner) + 1] = whole[:-1]
            widths[column, : len(inner) + 1] = whole.diff()
        # In the upper half quantiles are counted from above, where float32 is precise:
        # not all devices have float64.
        is_upper = 2 * lower + widths > 1
        start = torch.where(is_upper, 1 - lower - widths, lower).clamp_min(0.0)
        self.register_buffer("start", start.float(), persistent=False)
        self.register_buffer("widths", widths.float(), persistent=False)
        self.register_buffer("sign", 1.0 - 2.0 * is_upper.float(), persistent=False)
        log_widths = widths.log().clamp_min(UNUSED_BIAS).float()
        self.register_buffer("log_widths", log_widths, persistent=False)
        inner = torch.special.ndtri(lower[:, 1:]).float().contiguous()
        self.register_buffer("edges", inner, persistent=False)
        self.tilts = ValueTilts(inner, widths.float())
        shares = [own[: len(part) + 1] for own, part in zip(widths, edges, strict=True)]
        is_rough = [*is_rough] or [False] * len(edges)
        self.blocks = BinBlocks(shares, is_rough, GATE + 1)
        # Of the outputs before the bins, then coefficients of blocks of bins.
        n_weights = self.blocks.n_coefficients
        self.weight = nn.Parameter(torch.zeros(len(edges), width, n_weights))
        n_outputs = GATE + 1 + self.n_bins
        self.bias = nn.Parameter(torch.zeros(len(edges), 1, n_outputs))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self):
        n, width, _ = self.weight.shape
        weights = torch.empty(n, width, self.bias.shape[2], device=self.weight.device)
        self.set_weights(nn.init.normal_(weights, std=0.1 / math.sqrt(width)))
        # Spread the components over the bulk of N(0, 1), which every column has.
        _, means, log_scales, _, bins = self._split(self.bias)
        means.copy_(torch.linspace(-1.5, 1.5, N_NORMALS))
        log_scales.fill_(-0.5)
        bins.copy_(self.log_widths[:, None])

    def weights(self, columns=slice(None)) -> Tensor:
        """Weights of the outputs of some columns, (n_columns, width, n_outputs)."""
        return self.blocks(self.weight[columns], columns)

    @torch.no_grad()
    def set_weights(self, weights: Tensor, columns=slice(None)):
        """Have weights of outputs, as :meth:`weights` gives them."""
        self.weight[columns] = self.blocks.coefficients(weights, columns)

    @torch.no_grad()
    def start_beside(self, columns: list[int], scales: Tensor):
        """Begin with mixtures of mean 0 and variance 1, relative to known moments.

        Of the variance of each of the columns the moments leave squared `scales`.
        """
        _, means, log_scales, gate, _ = self._split(self.bias)
        spread = torch.linspace(-BESIDE_SPREAD, BESIDE_SPREAD, N_NORMALS)
        means[columns] = spread.to(means.device)
        log_scales[columns] = 0.5 * math.log(1.0 - spread.var(correction=0))
        gate[columns] = 2.0 * scales.log()[:, None, None] + math.log(BESIDE_ODDS)

    @torch.no_grad()
    def start_as_histograms(self, columns: list[int]):
        """Begin some columns without their mixtures, which would blur single values."""
        self.bias[columns, :, GATE] = HISTOGRAM_GATE

    def _split(self, raw: Tensor) -> tuple[Tensor, ...]:
        """Weights, means and log scales of the mixture; the gate; the bins."""
        return raw.split([N_NORMALS, N_NORMALS, N_NORMALS, 1, self.n_bins], -1)

    def _relative_to(self, raw: Tensor, moments, columns) -> Tensor:
        """Outputs whose normals have means and scales relative to given moments.

        And bins of columns that repeat, see :class:`ValueTilts`.

        Parameters
        ----------
        raw : Tensor of shape (n_columns, n, n_outputs)
        moments : tuple of Tensor, each of shape (n_columns, n), or None
            Means and standard deviations; None for 0 and 1. A third one is added to
            the gate.
        columns : range
            Positions of the columns.
        """
        if moments is None:
            return raw
        mean, scale, *odds = (moment[..., None] for moment in moments)
        weights, means, log_scales, gate, bins = self._split(raw)
        gate = gate + odds[0] if odds else gate
        means, log_scales = mean + scale * means, log_scales + scale.log()
        tilted = [column for column in self.tilts.columns if column in columns]
        bins = bins.clone() if tilted else bins
        for column in tilted:
            own = column - columns.start
            tilt = self.tilts.of_column(column, *(m[own] for m in moments[:2]))
            bins[own] += tilt.to(bins)
        return torch.cat([weights, means, log_scales, gate, bins], -1)

    def log_prob(
        self,
        hidden: Tensor,
        x: Tensor,
        present: Tensor | None,
        moments=None,
        first: int = 0,
    ) -> Tensor:
        """Log-density of the numbers in nats, summed over columns, shape (n,).

        Shapes: hidden units (n_numeric, n, width) and numbers (n, n_numeric). `present`
        (n, n_numeric) is 0 where a number is missing, None if none is; `moments` are
        two tensors (n_numeric, n), see :meth:`sample`. All may be of the columns from
        the `first` one on.
        """
        x, columns = x.t().contiguous(), slice(first, None)
        raw = batched_linear(hidden, self.weights(columns), self.bias[columns]).float()
        places = torch.searchsorted(self.edges[columns], x)
        present = None if present is None else present.t()
        tilts = None
        if moments is not None and self.tilts.columns:
            tilts = self.tilts(*moments[:2], first)
        return number_log_prob(
            raw,
            x,
            places,
            self.log_widths[columns],
            present,
            LOG_SCALE_BOUNDS,
            moments,
            tilts,
        )

    def sample(
        self,
        column: int,
        hidden: Tensor,
        generator,
        moments=None,
        even: EvenNumbers | None = None,
    ) -> Tensor:
        """One number for each row of hidden units (n, width), shape (n,).

        `moments` are means and standard deviations (n,) that the normals of the mixture
        are relative to; None for 0 and 1. Components and bins are drawn by `even`, if
        it is given.
        """
        gate = torch.addmv(
            self.bias[column, 0, GATE], hidden, self.weight[column, :, GATE]
        )
        if moments is not None and len(moments) > 2:
            gate = gate + moments[2]
        draw = self._draw_parts if gate.device.type == "cpu" else self._draw_both
        if even is None:
            u = None
            is_sharp = uniform(gate.shape, generator, gate.device) < gate.sigmoid()
        else:
            is_sharp, u = split(even.draw(generator), gate.sigmoid())
        x = draw(column, hidden, is_sharp, generator, moments, u)
        return x.clamp_(-MAX_Z, MAX_Z)

    def _draw_parts(self, column, hidden, is_sharp, generator, moments=None, u=None):
        """Numbers of mixtures or histograms, each drawn for its rows only."""
        x = torch.empty_like(is_sharp, dtype=hidden.dtype)
        index = is_sharp.nonzero()[:, 0]
        own = None if moments is None else tuple(m[index] for m in moments)
        picked = hidden.index_select(0, index)
        own_u = None if u is None else u.index_select(0, index)
        x[index] = self._draw_sharp(column, picked, generator, own, own_u)
        index = is_sharp.logical_not().nonzero()[:, 0]
        own = None if moments is None else tuple(m[index] for m in moments)
        picked = hidden.index_select(0, index)
        own_u = None if u is None else u.index_select(0, index)
        x[index] = self._draw_smooth(column, picked, generator, own, own_u)
        return x

    def _draw_both(self, column, hidden, is_sharp, generator, moments=None, u=None):
        """The same of both for all rows.

        On a GPU calls take longer than rows, and to pick rows it has to be waited for.
        """
        smooth = self._draw_smooth(column, hidden, generator, moments, u)
        sharp = self._draw_sharp(column, hidden, generator, moments, u)
        return torch.where(is_sharp, sharp, smooth)

    def _draw_smooth(self, column, hidden, generator, moments=None, u=None):
        """Numbers from mixtures of normals, shape (n,)."""
        raw = torch.addmm(
            self.bias[column, :, :GATE], hidden, self.weight[column, :, :GATE]
        )
        weights, means, log_scales = raw.float().split(N_NORMALS, 1)
        place = draw_index(weights, generator, u)[:, None]
        means, log_scales = (a.gather(1, place)[:, 0] for a in (means, log_scales))
        if moments is not None:
            mean, scale, *_ = moments
            means, log_scales = mean + scale * means, log_scales + scale.log()
        scales = log_scales.clamp(*LOG_SCALE_BOUNDS).exp()
        return means + normal(means.shape, generator, raw.device) * scales

    def _draw_sharp(self, column, hidden, generator, moments=None, u=None):
        """Numbers from histograms, shape (n,)."""
        bias, weight = self.bias[column, :, GATE + 1 :], self._weights_of(column)
        bins = torch.addmm(bias, hidden, weight[:, GATE + 1 :]).float()
        if moments is not None and column in self.tilts.columns:
            bins += self.tilts.of_column(column, *moments[:2])
        place = draw_index(bins, generator, u)
        start, width, sign = (
            part[column][place] for part in (self.start, self.widths, self.sign)
        )
        u = start + width * uniform(place.shape, generator, bins.device)
        return sign * torch.special.ndtri(u)

    def _weights_of(self, column):
        return self.weights(slice(column, column + 1))[0]

    def _raw(self, column, hidden, moments):
        raw = torch.addmm(self.bias[column], hidden, self._weights_of(column))
        if moments is not None:
            moments = tuple(moment[None] for moment in moments)
        columns = range(column, column + 1)
        return self._relative_to(raw.float()[None], moments, columns)[0]

    def sample_within(
        self,
        column: int,
        hidden: Tensor,
        low: Tensor,
        high: Tensor,
        generator,
        moments=None,
    ) -> tuple[Tensor, Tensor]:
        """One number in a range for each row, and the range's log-probability.

        For a range that stands for one number it is the log-density of this number, for
        one without ends 0. Shapes: hidden units (n, width), the others (n,).
        """
        values, log_mass = middle(low, high), torch.zeros_like(low)
        points = is_point(low, high)
        free = torch.isinf(low) & torch.isinf(high)
        for kind, rows in enumerate((free, points, ~(free | points))):
            index = rows.nonzero()[:, 0]
            if not len(index):
                continue
            own = None if moments is None else tuple(m[index] for m in moments)
            if kind == 0:
                values[index] = self.sample(column, hidden[index], generator, own)
                continue
            raw = self._raw(column, hidden[index], own)
            if kind == 1:
                log_mass[index] = self._log_density(column, values[index], raw)
            else:
                values[index], log_mass[index] = self._sample_within(
                    column, raw, low[index], high[index], generator
                )
        return values, log_mass.clamp_min(LOG_IMPOSSIBLE)

    def sample_tilted(
        self, column, hidden, precisions, centres, is_tilted, generator, moments=None
    ) -> tuple[Tensor, Tensor]:
        """One number for each row, of some from a density that is tilted.

        The tilted density is in proportion to the model's and to
        ``exp(-precision * (x - centre) ** 2 / 2)``.

        Parameters
        ----------
        column : int
        hidden : Tensor of shape (n, width)
        precisions, centres : Tensor of shape (n,)
        is_tilted : Tensor of bool of shape (n,)
            Rows that are drawn from the tilted density.
        generator : torch.Generator
        moments : tuple of Tensor or None, default=None
            See :meth:`sample`.

        Returns
        -------
        x : Tensor of shape (n,)
        log_ratio : Tensor of shape (n,)
            Logarithm of the tilted density over the model's, at these numbers before
            they were moved into the range of all numbers.
        """
        raw = self._raw(column, hidden, moments)
        weights, means, log_scales, gate, bins = self._split(raw)
        scales = log_scales.clamp(*LOG_SCALE_BOUNDS).exp()
        a, c = precisions[:, None], centres[:, None]
        log_shares = torch.cat(
            [
                F.logsigmoid(-gate) + weights.log_softmax(1),
                F.logsigmoid(gate) + bins.log_softmax(1),
            ],
            1,
        )
        # Each part is a normal distribution, and a bin a range of the standard one. A
        # product with a normal factor is a normal distribution again, and has a mass.
        spread = 1.0 + a * scales.square()
        normals = -0.5 * (spread.log() + a * (means - c).square() / spread)
        inner = self.edges[column].clamp(-ENDLESS, ENDLESS)
        start = F.pad(inner, (1, 0), value=-ENDLESS)
        stop = F.pad(inner, (0, 1), value=ENDLESS)
        narrow, middles = (1.0 + a).rsqrt(), a * c / (1.0 + a)
        inside = normal_log_mass((start - middles) / narrow, (stop - middles) / narrow)
        inside = inside - self.log_widths[column]
        pieces = inside + narrow.log() - 0.5 * a * c.square() / (1.0 + a)
        tilted = log_shares + torch.cat([normals, pieces], 1)
        # A factor that the model has hardly anything under is of no use.
        is_idle = tilted.logsumexp(1, keepdim=True) < LOG_HOPELESS
        tilted = torch.where(is_idle, log_shares, tilted)
        precisions = torch.where(is_idle[:, 0], 0.0, precisions)
        log_total = tilted.logsumexp(1)
        place = draw_index(
            torch.where(is_tilted[:, None], tilted, log_shares), generator
        )[:, None]
        a = torch.where(is_tilted, precisions, 0.0)[:, None]
        is_sharp = place >= N_NORMALS
        own = place.clamp_max(N_NORMALS - 1)
        means, scales = means.gather(1, own), scales.gather(1, own)
        spread = 1.0 + a * scales.square()
        x = (means + a * scales.square() * c) / spread
        noise = normal(x.shape, generator, x.device)
        x = x + noise * scales * spread.rsqrt()
        own = (place - N_NORMALS).clamp_min(0)
        narrow, middles = (1.0 + a).rsqrt(), a * c / (1.0 + a)
        start, stop = start[own], stop[own]
        sharp = middles + narrow * truncated_normal(
            (start - middles) / narrow, (stop - middles) / narrow, generator
        )
        x = torch.where(is_sharp, sharp.maximum(start).minimum(stop), x)
        x = x[:, 0]
        log_ratio = -0.5 * precisions * (x - centres).square() - log_total
        return x.clamp(-MAX_Z, MAX_Z), log_ratio

    def masses(self, column: int, hidden: Tensor, u: Tensor, moments=None) -> Tensor:
        """Probabilities of a number between normal quantiles, (n, len(u) + 1).

        Parameters
        ----------
        column : int
        hidden : Tensor of shape (n, width)
        u : Tensor
            Ascending, between 0 and 1.
        moments : tuple of Tensor or None, default=None
            See :meth:`sample`.
        """
        raw = self._raw(column, hidden, moments)
        weights, means, log_scales, gate, bins = self._split(raw)
        scales, z = log_scales.clamp(*LOG_SCALE_BOUNDS).exp(), torch.special.ndtri(u)
        below = weights.softmax(1)[:, :, None] * torch.special.ndtr(
            (z - means[:, :, None]) / scales[:, :, None]
        )
        shares = bins.softmax(1)
        ends = self.start[column] + self.widths[column]
        begin = torch.where(self.sign[column] > 0, self.start[column], 1.0 - ends)
        part = (u[:, None] - begin) / self.widths[column].clamp_min(1e-12)
        sharp, gate = shares @ part.clamp(0.0, 1.0).t(), gate.sigmoid()
        cdf = (1.0 - gate) * below.sum(1) + gate * sharp
        return F.pad(F.pad(cdf, (1, 0)), (0, 1), value=1.0).diff(dim=1)

    def _sample_within(self, column, raw, low, high, generator):
        """Draws from conditionals that are truncated to ranges, and their log-mass."""
        weights, means, log_scales, gate, bins = self._split(raw)
        scales = log_scales.clamp(*LOG_SCALE_BOUNDS).exp()
        low, high = low[:, None], high[:, None]
        start, stop = (low - means) / scales, (high - means) / scales
        normals = weights.log_softmax(1) + normal_log_mass(start, stop)
        begin, overlap, touched = self._overlap(column, low, high)
        part = (overlap / self.widths[column][touched]).log()
        pieces = bins.log_softmax(1)[:, touched] + part
        pieces = pieces.nan_to_num(LOG_IMPOSSIBLE, LOG_IMPOSSIBLE, LOG_IMPOSSIBLE)
        smooth = F.logsigmoid(-gate) + normals.logsumexp(1, keepdim=True)
        sharp = F.logsigmoid(gate) + pieces.logsumexp(1, keepdim=True)
        log_mass = torch.logaddexp(smooth, sharp)

        place = draw_index(normals, generator)[:, None]
        start, stop = start.gather(1, place), stop.gather(1, place)
        drawn = truncated_normal(start, stop, generator)
        x = means.gather(1, place) + scales.gather(1, place) * drawn
        place = draw_index(pieces, generator)[:, None]
        part = uniform(place.shape, generator, raw.device)
        begin, overlap = (a.expand(pieces.shape) for a in (begin, overlap))
        u = begin.gather(1, place) + overlap.gather(1, place) * part
        is_sharp = uniform(place.shape, generator, raw.device).log() < sharp - log_mass
        sign = self.sign[column][touched][place]
        x = torch.where(is_sharp, sign * torch.special.ndtri(u), x)
        x = x.clamp(-MAX_Z, MAX_Z).maximum(low).minimum(high)
        return x[:, 0], log_mass[:, 0]

    def _overlap(self, column: int, low: Tensor, high: Tensor):
        """Where the common parts of bins and ranges begin, and how much they cover.

        Both are quantiles, which in the upper half count from above, of shape
        (n, n_touched), or (1, n_touched) where all rows have the same range. The third
        result says which bins are touched: those that any range has a part of.
        """
        if bool(((low == low[:1]) & (high == high[:1])).all()):
            low, high = low[:1], high[:1]
        start, width = self.start[column], self.widths[column]
        from_below = self.sign[column] > 0
        ndtr = torch.special.ndtr
        begin = torch.where(from_below, ndtr(low), ndtr(-high)).maximum(start)
        end = torch.where(from_below, ndtr(high), ndtr(-low)).minimum(start + width)
        overlap = (end - begin).clamp_min(0.0)
        is_touched = (overlap > 0).any(0)
        # One bin stays even if the ranges lie far outside of all, as callers need one.
        is_touched[0] = True
        touched = is_touched.nonzero()[:, 0]
        return begin[:, touched], overlap[:, touched], touched

    def _log_density(self, column: int, x: Tensor, raw: Tensor) -> Tensor:
        """Log-densities of numbers (n,), of a column's outputs (n, n_outputs)."""
        places = torch.searchsorted(self.edges[column], x)
        log_widths = self.log_widths[column : column + 1]
        arrays = raw.t()[None].float(), x[None], places[None]
        return number_log_prob(*arrays, log_widths, None, LOG_SCALE_BOUNDS)
