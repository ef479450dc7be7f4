"""Draws of rows from an autoregressive model, column by column."""

import math

import torch
from torch import Tensor

from .._table.layout import ANY_CODE, EncodedConditions
from .conditions import allowed_codes, draw_codes
from .even_numbers import EvenNumbers
from .features import DenseFeatures, SparseFeatures
from .lookahead import Lookahead, LookaheadDraw
from .random import draw_index, uniform

# Number of rows from which on levels and bins are spread evenly over those alike.
MIN_EVEN_ROWS = 1_000
# Numbers are alike that lie in the same of so many steps of a standard deviation. The
# steps of all numbers up to MAX_Z, which is 6, are in the range of int8.
STEPS_PER_DEVIATION = 4
# Share of the effective number among particles below which they are resampled.
MIN_EFFECTIVE_SHARE = 0.5


class RowDraw:
    """A draw of rows, each value among those that conditions allow.

    Without conditions, levels and bins of MIN_EVEN_ROWS rows or more are spread evenly
    over them, see :class:`EvenNumbers`; each row by itself has the distribution of the
    model.

    Parameters
    ----------
    model : AutoregressiveModel
    conditions : EncodedConditions
        Tensors on the device, for each row.
    generator : torch.Generator
    begun : tuple of Tensor or None
        `x_num` and `x_cat` of which the first `n_begun` columns are drawn.
    n_begun : int
    n_particles : int, default=1
        With more than one, so many neighbouring rows have the same conditions. After a
        column has made their weights unequal they are resampled among themselves
        (sequential Monte Carlo).
    lookahead : Lookahead or None, default=None
        If given, half of the rows are drawn with regard to conditions of later columns.
        There should be an even number of particles then.
    origins : Tensor of shape (n,) or None, default=None
        Permuted in place as particles are.

    Attributes
    ----------
    x_num, x_cat : Tensor
    log_weights : Tensor of shape (n,)
        Log-probability that the conditions had when their turn came, for a single
        number its log-density, corrected for what looking ahead has changed. Weighted
        by its exponential, the rows follow the conditional distribution (likelihood
        weighting).
    """

    def __init__(
        self,
        model,
        conditions: EncodedConditions,
        generator: torch.Generator,
        begun: tuple[Tensor, Tensor] | None,
        n_begun: int,
        n_particles: int = 1,
        lookahead: Lookahead | None = None,
        origins: Tensor | None = None,
    ):
        self.model, self.layout = model, model.layout
        self.conditions, self.generator = conditions, generator
        self.n_particles, self.origins = n_particles, origins
        n, layout, device = len(conditions), model.layout, model.mask.device
        self.log_weights = torch.zeros(n, device=device)
        if begun is None:
            self.x_num = torch.zeros(n, layout.n_numeric, device=device)
            self.x_cat = torch.zeros(
                n, layout.n_categorical, dtype=torch.int64, device=device
            )
        else:
            self.x_num, self.x_cat = (tensor.clone() for tensor in begun)
        self.features = self._features_of(n_begun)
        self.even = self.ahead = None
        if conditions.is_empty and n >= MIN_EVEN_ROWS:
            self.even = EvenNumbers(n, generator, device)
        if lookahead is not None:
            self.ahead = LookaheadDraw(lookahead, conditions)
            self.log_ratio = torch.zeros(n, device=device)
            self._choose_who_looks()

    def _choose_who_looks(self):
        """Have half of the particles look ahead to the conditions until the next one.

        Weights are those of a mixture of both, so that none becomes more than twice as
        large, however wrong it is what the others see: the ratio of the density of a
        row that looks ahead to that of the model is known for both. Each time another
        half is chosen by chance. If it was the same, what is drawn between different
        conditions would depend on each other.
        """
        n, size = len(self.log_ratio), self.n_particles
        places = torch.arange(n, device=self.log_ratio.device)
        if size > 1:
            noise = uniform((n // size, size), self.generator, places.device)
            places = noise.argsort(1).view(-1)
        self.looks = places % 2 == 0

    def _features_of(self, n_drawn: int):
        """Features of rows of which the first columns are drawn."""
        # Regressions of levels read all features.
        has_levels = self.model.category_heads.linear is not None
        is_dense = self.x_num.device.type != "cpu" or has_levels
        kind = DenseFeatures if is_dense else SparseFeatures
        features = kind(self.model, len(self.x_num))
        n_categorical = self.layout.n_categorical
        for column in range(min(n_drawn, n_categorical)):
            features.set_category(column, self.x_cat[:, column])
        for column in range(n_drawn - n_categorical):
            present = self._presence_of(column)
            features.set_number(column, self.x_num[:, column], present)
        return features

    def _presence_of(self, column: int) -> Tensor | None:
        """Where a number is present, as 0 and 1; None if it is everywhere."""
        mask = self.layout.masks[column]
        return None if mask < 0 else (self.x_cat[:, mask] == 0).float()

    def draw(self, columns: range):
        """Draw the columns at some positions, categories first."""
        for position in columns:
            if position < self.layout.n_categorical:
                conditioned = self._draw_category(position)
            else:
                conditioned = self._draw_number(position - self.layout.n_categorical)
            is_last = position + 1 == self.model.n_columns
            if conditioned and self.n_particles > 1 and not is_last:
                self._resample(position)
        self._settle_ratio()
        return self

    def _draw_category(self, column: int) -> bool:
        """Draw one column of codes; return whether there is a condition on it."""
        model, generator = self.model, self.generator
        hidden = model._hidden_of(column, self.features.first_layer(column))
        logits = model.category_heads.logits(column, hidden, self.features.values)
        logits = self.features.expand(logits)
        wanted = self.conditions.codes.get(column)
        factors = None if self.ahead is None else self.ahead.of_levels(column)
        if factors is not None:
            codes = self._draw_code_ahead(column, logits, factors)
        elif wanted is None:
            u = None if self.even is None else self.even.draw(generator)
            codes = draw_index(logits, generator, u)
        else:
            codes, log_mass = draw_codes(
                logits, wanted, self.conditions.sets.get(column), generator
            )
            self.log_weights += log_mass
        self.x_cat[:, column] = codes
        self.features.set_category(column, codes)
        if self.ahead is not None:
            self.ahead.see(column, codes)
        if self.even is not None:
            self.even.sort_by(codes)
        return wanted is not None

    def _draw_code_ahead(self, column, logits, factors):
        wanted = self.conditions.codes.get(column)
        if wanted is None:
            wanted = torch.full((len(logits),), ANY_CODE, device=logits.device)
        allowed = allowed_codes(
            wanted, self.conditions.sets.get(column), logits.shape[1]
        )
        own = logits.log_softmax(1).masked_fill(~allowed, -math.inf)
        log_mass, tilted = own.logsumexp(1), own + factors
        self.log_weights += log_mass
        log_total = tilted.logsumexp(1)
        codes = draw_index(
            torch.where(self.looks[:, None], tilted, own), self.generator
        )
        factor = factors.gather(1, codes[:, None])[:, 0]
        self.log_ratio += factor + log_mass - log_total
        return codes

    def _draw_number(self, column: int) -> bool:
        """Draw one column of numbers; return whether there is a condition on it."""
        model, generator = self.model, self.generator
        position = self.layout.n_categorical + column
        hidden = model._hidden_of(position, self.features.first_layer(position))
        hidden = self.features.expand(hidden)
        bounds, moments = self.conditions.bounds.get(column), None
        if model.linear is not None:
            moments = self.features.moments(column)
        present = self._presence_of(column)
        factor = None if self.ahead is None else self.ahead.of_number(column)
        if factor is not None:
            values = self._draw_number_ahead(column, hidden, moments, factor, present)
        elif bounds is None:
            values = model.number_heads.sample(
                column, hidden, generator, moments, self.even
            )
        else:
            values, log_mass = model.number_heads.sample_within(
                column, hidden, *bounds.unbind(1), generator, moments
            )
            self.log_weights += log_mass
        if present is not None:
            values = values * present
        self.x_num[:, column] = values
        self.features.set_number(column, values, present)
        if self.ahead is not None:
            self.ahead.see(position, values)
        if self.even is not None:
            steps = (values * STEPS_PER_DEVIATION).floor()
            self.even.sort_by(steps.to(torch.int8))  # Sorted faster than floats.
        return bounds is not None

    def _draw_number_ahead(self, column, hidden, moments, factor, present):
        """Numbers of which those without a condition have regard to later ones."""
        heads, bounds = self.model.number_heads, self.conditions.bounds.get(column)
        precisions, centres = factor
        if present is not None:
            precisions = precisions * present
        is_free = torch.ones_like(precisions, dtype=torch.bool)
        if bounds is not None:
            is_free = bounds.isinf().all(1)
        values = torch.zeros_like(precisions)
        for rows, is_asked in ((is_free, False), (~is_free, True)):
            index = rows.nonzero()[:, 0]
            if not len(index):
                continue
            own = None if moments is None else tuple(m[index] for m in moments)
            if is_asked:
                low, high = bounds[index].unbind(1)
                values[index], log_mass = heads.sample_within(
                    column, hidden[index], low, high, self.generator, own
                )
                self.log_weights[index] += log_mass
                continue
            values[index], log_ratio = heads.sample_tilted(
                column,
                hidden[index],
                precisions[index],
                centres[index],
                self.looks[index],
                self.generator,
                own,
            )
            self.log_ratio[index] += log_ratio
        return values

    def _settle_ratio(self):
        """Divide weights by the density of the mixture relative to the model."""
        if self.ahead is not None:
            zero = torch.zeros_like(self.log_ratio)
            self.log_weights -= torch.logaddexp(self.log_ratio, zero) - math.log(2.0)
            self.log_ratio.zero_()
            self._choose_who_looks()

    def _resample(self, position):
        self._settle_ratio()
        tensors = [self.x_num, self.x_cat, *self.features.tensors]
        if self.origins is not None:
            tensors.append(self.origins)
        log_value = None
        if self.ahead is not None:
            tensors.append(self.ahead.expected)
            log_value = self.ahead.log_value(position)
        if log_value is not None:
            # Particles are chosen by what they are worth to later conditions as well.
            self.log_weights += log_value
            tensors.append(log_value)
        resample_particles_(
            (*tensors, self.log_weights), self.n_particles, self.generator
        )
        if log_value is not None:
            self.log_weights -= log_value


def resample_particles_(state, n_particles: int, generator) -> None:
    """Resample particles whose weights are so unequal that few of them matter.

    Particles are neighbouring rows. Where their effective number is below half of them
    they are drawn anew in proportion to their weights (systematic resampling), and each
    gets the mean weight: a mean over particles still estimates what it did before.

    Parameters
    ----------
    state : tuple of Tensor
        Tensors with one entry per row, the last one of log-weights; changed in place.
    n_particles : int
    generator : torch.Generator
    """
    log_weights = state[-1].view(-1, n_particles)
    total = log_weights.logsumexp(1, keepdim=True)
    weights = torch.exp(log_weights - total)
    effective = 1.0 / weights.square().sum(1)
    offset = uniform((len(weights), 1), generator, weights.device)
    ranks = torch.arange(n_particles, device=weights.device)
    edges = weights.cumsum(1)
    points = (ranks + offset) / n_particles * edges[:, -1:]
    chosen = torch.searchsorted(edges, points).clamp_max(n_particles - 1)
    is_uneven = effective < MIN_EFFECTIVE_SHARE * n_particles
    chosen = torch.where(is_uneven[:, None], chosen, ranks)
    first = torch.arange(len(weights), device=weights.device)[:, None] * n_particles
    index = (first + chosen).view(-1)
    means = (total - math.log(n_particles)).expand_as(log_weights)
    new = torch.where(is_uneven[:, None], means, log_weights).reshape(-1)
    for tensor in state[:-1]:
        tensor.copy_(tensor.index_select(0, index))
    state[-1].copy_(new)
