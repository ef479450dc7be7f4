"""Draws of cells from a model of any order, column by column."""

import torch
from torch import Tensor

from .._table.layout import EncodedConditions
from .conditions import draw_codes
from .distributions import presence
from .random import draw_index
from .row_draws import resample_particles_


class CellDraw:
    """A draw of cells of rows given their other cells, in any order of the columns.

    Parameters
    ----------
    model : AnyOrderModel
    x_num, x_cat : Tensor
        Rows with the values of the seen cells. Drawn cells are written to them.
    seen : Tensor of bool of shape (n, n_columns)
        Which cells have a value, categories first. Drawn ones are seen by the next.
    conditions : EncodedConditions
        What drawn cells have to meet.
    generator : torch.Generator

    Attributes
    ----------
    log_weights : Tensor of shape (n,)
        Log-probability that the conditions had when their turn came, for a single
        number its log-density.
    """

    def __init__(
        self,
        model,
        x_num: Tensor,
        x_cat: Tensor,
        seen: Tensor,
        conditions: EncodedConditions,
        generator: torch.Generator,
    ):
        self.model, self.layout = model, model.layout
        self.x_num, self.x_cat, self.seen = x_num, x_cat, seen
        self.conditions, self.generator = conditions, generator
        self.log_weights = torch.zeros(len(seen), device=seen.device)

    def draw(self, position: int, is_due: Tensor):
        """Draw a column of some rows, given what is seen of each of them."""
        index = is_due.nonzero()[:, 0]
        if not len(index):
            return
        hidden, moments, present = self._inputs(position, index)
        if position < self.layout.n_categorical:
            self.x_cat[index, position] = self._codes(position, index, hidden)
        else:
            column = position - self.layout.n_categorical
            values = self._numbers(column, index, hidden, moments)
            if present is not None:
                values = values * present[:, column]
            self.x_num[index, column] = values
        self.seen[index, position] = True

    def _inputs(self, position, index):
        """Hidden units of a column, moments of all numbers, and which are present."""
        model, sizes = self.model, [self.layout.n_categorical, self.layout.n_numeric]
        x_num, x_cat = self.x_num[index], self.x_cat[index]
        seen_cat, seen_num = self.seen[index].split(sizes, 1)
        present = presence(self.layout, x_cat)
        if present is not None:
            seen_num = seen_num & present.bool()
        seen = x_num, x_cat, seen_num, seen_cat
        moments = model.moments(*seen)
        features = model.with_moments(model.seen_features(*seen), seen_num, moments)
        return model.column_hidden(position, features), moments, present

    def _codes(self, column, index, hidden):
        logits = self.model.category_heads.logits(column, hidden)
        codes = self.conditions.codes.get(column)
        if codes is None:
            return draw_index(logits, self.generator)
        sets = self.conditions.sets.get(column)
        drawn, log_mass = draw_codes(logits, codes[index], sets, self.generator)
        self.log_weights[index] += log_mass
        return drawn

    def _numbers(self, column, index, hidden, moments):
        heads, bounds = self.model.number_heads, self.conditions.bounds.get(column)
        own = None if moments is None else [m[:, column] for m in moments]
        if bounds is None:
            return heads.sample(column, hidden, self.generator, own)
        low, high = bounds[index].unbind(1)
        drawn, log_mass = heads.sample_within(
            column, hidden, low, high, self.generator, own
        )
        self.log_weights[index] += log_mass
        return drawn

    def resample(self, n_particles: int, origins: Tensor | None = None):
        """Resample particles, which are neighbouring rows, where few of them matter."""
        moved = self.x_num, self.x_cat, self.seen, self.log_weights
        moved = moved if origins is None else (origins, *moved)
        resample_particles_(moved, n_particles, self.generator)
