"""Features of the columns of a row, and what first layers make of them in a draw."""

import math
from bisect import bisect_right
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional as F

from .number_features import N_PIECES

# Share of the rows up to which it pays to look for distinct ones.
MAX_GROUPS = 0.5


class DenseFeatures:
    """All features of the columns drawn so far; those of later columns are zero.

    On a GPU a product with all of them takes hardly longer than one with the few that
    are not zero.

    Parameters
    ----------
    model : AutoregressiveModel
        Whose first layers read the features.
    n : int
        Number of rows.
    """

    def __init__(self, model, n: int):
        self.model = model
        weight = model.input_layer.weight
        self.values = torch.zeros(n, weight.shape[1], device=weight.device)

    @property
    def tensors(self) -> list[Tensor]:
        """Everything that belongs to rows, with one entry per row."""
        return [self.values]

    def set_category(self, column: int, codes: Tensor):
        features = self.model.category_features(column, codes)
        self.values[:, self.model.feature_slices[column]] = features

    def set_number(self, column: int, x: Tensor, present: Tensor | None):
        """Set the numbers of a column, which count only where they are present."""
        position = self.model.layout.n_categorical + column
        self.values[:, self.model.feature_slices[position]] = (
            self.model.number_features.of_column(column, x, present)
        )

    def first_layer(self, position: int) -> Tensor:
        """Inputs of the first hidden units of one column, shape (n_distinct, width).

        They are computed once for rows that are known to be alike so far, of which
        there are none here; :meth:`expand` gives each row its own.
        """
        model = self.model
        units = slice(position * model.width, (position + 1) * model.width)
        stop = model.feature_slices[position].start
        layer = model.input_layer
        return F.linear(
            self.values[:, :stop], layer.weight[units, :stop], layer.bias[units]
        )

    def moments(self, column: int) -> tuple[Tensor, Tensor]:
        """Moments of a number by its regression, see :class:`LinearMoments`."""
        linear, own = self.model.linear, slice(column, column + 1)
        means = F.linear(self.values, linear.weight[own], linear.bias[own])[:, 0]
        return linear.of_column(column, means, lambda place: self.values[:, place])

    def expand(self, outputs: Tensor) -> Tensor:
        """Outputs (n, ...) of all rows, of those of distinct rows (n_distinct, ...)."""
        return outputs


class SparseFeatures:
    """The features of the columns drawn so far that are not zero, with their positions.

    A level is one feature, beside its embedding if it has one, and a number three:
    itself and the two hat functions that it lies under; it has a fourth one where some
    values of its column have features of their own. On a CPU their weights are summed
    in a fraction of the time that a product with all features takes. As long as only
    categories are drawn many rows are alike, and a network needs to see each kind of
    row only once. Methods are those of
    :class:`DenseFeatures`.

    Parameters
    ----------
    model : AutoregressiveModel
    n : int
    """

    def __init__(self, model, n: int):
        self.model = model
        n_values = model.number_features.n_values
        sizes = [int(place.stop > place.start) for place in model.level_slices]
        sizes += [3 + (n > 0) for n in n_values]
        # Of each row the first one, at position 0, is a constant whose weight is the
        # bias, so that positions of features count from 1.
        self.starts = list(accumulate(sizes, initial=1))
        self.positions = torch.zeros(n, self.starts[-1], dtype=torch.int32)
        self.values = torch.zeros(n, self.starts[-1])
        self.values[:, 0] = 1.0
        # Embeddings of a column's levels have no zeros.
        self.embedded = {}
        # Rows of one group have the same features; None if most rows are unlike others.
        self.groups, self.n_groups = torch.zeros(n, dtype=torch.int64), min(n, 1)

    @property
    def tensors(self):
        groups = [] if self.groups is None else [self.groups]
        return [self.positions, self.values, *self.embedded.values(), *groups]

    def set_category(self, column, codes):
        self._split_groups(codes, self.model.layout.cardinalities[column])
        if str(column) in self.model.embeddings:
            self.embedded[column] = self.model.embeddings[str(column)](codes)
        levels, place = self.model.level_slices[column], self.starts[column]
        if levels.stop > levels.start:  # Rare levels have no features of their own.
            n_levels = levels.stop - levels.start
            self.positions[:, place] = codes.clamp_max(n_levels - 1) + levels.start + 1
            self.values[:, place] = (codes < n_levels).float()

    def _split_groups(self, codes, n_codes):
        if self.groups is not None:
            keys, self.groups = (self.groups * n_codes + codes).unique(
                return_inverse=True
            )
            self.n_groups = len(keys)
            if self.n_groups > MAX_GROUPS * len(codes):
                self.groups = None

    def set_number(self, column, x, present):
        self.groups = None
        value, x = self.model.number_features.snapped(column, x)
        quantile = torch.erf(x * math.sqrt(0.5)).add_(1.0).mul_(N_PIECES / 2)
        left = quantile.floor().clamp_max_(N_PIECES - 1)
        position = self.model.layout.n_categorical + column
        place = self.starts[position]
        first = self.model.feature_slices[position].start + 1
        self.positions[:, place] = first
        self.positions[:, place + 1] = left + (first + 1)
        self.positions[:, place + 2] = left + (first + 2)
        above = quantile.sub_(left)
        values = [x, 1.0 - above, above]
        if value is not None:
            own = value.clamp_min(0) + (first + N_PIECES + 2)
            self.positions[:, place + 3] = own
            values.append((value >= 0).float())
        values = torch.stack(values, 1)
        if present is not None:
            values *= present[:, None]
        self.values[:, place : place + values.shape[1]] = values

    def first_layer(self, position):
        model = self.model
        units = slice(position * model.width, (position + 1) * model.width)
        weight, bias = model.input_layer.weight[units], model.input_layer.bias[units]
        stop = model.feature_slices[position].start
        n_set, rows = self.starts[position], self._distinct_rows()
        total = F.embedding_bag(
            self.positions[rows, :n_set].contiguous(),
            torch.cat([bias[None], weight[:, :stop].t()]),
            per_sample_weights=self.values[rows, :n_set].contiguous(),
            mode="sum",
        )
        for column, features in self.embedded.items():
            if column < position:
                part = weight[:, model.embedded_slice(column)]
                total.addmm_(features[rows], part.t())
        return total

    def moments(self, column):
        linear, layout = self.model.linear, self.model.layout
        n_set = self.starts[layout.n_categorical + column]
        # Regressions have no weights for columns with embeddings.
        weight = torch.cat([linear.bias[column, None], linear.weight[column]])
        weights = weight[self.positions[:, :n_set].long()]
        means = (weights * self.values[:, :n_set]).sum(1)
        return linear.of_column(column, means, self._feature)

    def _feature(self, place):
        """One feature of all rows, that is not of an embedding, shape (n,)."""
        slices = self.model.feature_slices
        position = bisect_right(slices, place, key=lambda block: block.start) - 1
        own = slice(self.starts[position], self.starts[position + 1])
        is_it = self.positions[:, own] == place + 1
        return (self.values[:, own] * is_it).sum(1)

    def _distinct_rows(self):
        """Positions of one row of each group, or a slice of all rows."""
        if self.groups is None:
            return slice(None)
        n = len(self.groups)
        first = torch.zeros(self.n_groups, dtype=torch.int64)
        return first.scatter_(0, self.groups, torch.arange(n))

    def expand(self, outputs):
        return outputs if self.groups is None else outputs[self.groups]
