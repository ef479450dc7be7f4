"""Means of numbers that are linear in the columns before them, in closed form."""

import math
from collections.abc import Callable, Set

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .gaussian import precision
from .regression import MAX_SHARE, Regression

# Minimum number of rows for a regression.
MIN_ROWS = 8
# Maximum share of the rows of a level that may depart where regressions have limits: of
# many rows, networks learn what holds in a frequent one.
MAX_RARE_SHARE = 0.05
# Buffers of slopes and of spreads of levels, which are as long as there are such.
SLOPES = "slope_levels", "slope_numbers", "slope_centres", "slopes"
SPREADS = "spread_levels", "spreads"


class LinearMoments(nn.Module):
    """Mean and standard deviation of each number, given the features before it.

    Means are linear in the features, and deviations constant. Rows of a level depart
    from this where they show clearly that they do, see :class:`Regression`: what holds
    within a rare class alone, networks do not learn of few rows.

    Parameters
    ----------
    n_numeric, n_features : int
    """

    def __init__(self, n_numeric: int, n_features: int):
        super().__init__()
        self.register_buffer("weight", torch.zeros(n_numeric, n_features))
        self.register_buffer("bias", torch.zeros(n_numeric))
        self.register_buffer("scale", torch.ones(n_numeric))
        self.set_departures([], [])

    @torch.no_grad()
    def set_departures(self, slopes: list[tuple], spreads: list[tuple]):
        """Replace slopes and spreads of levels.

        Parameters
        ----------
        slopes, spreads : list of tuple
            Those of :class:`Regression`, but with features in place of inputs, and
            after the column that each belongs to.
        """
        for names, departures in ((SLOPES, slopes), (SPREADS, spreads)):
            # A product with these sums those of each column.
            values = torch.zeros(len(departures), len(self.weight))
            for row, (column, *_, value) in zip(values, departures, strict=True):
                row[column] = value
            tensors = [
                torch.tensor([own[place] for own in departures], dtype=torch.int64)
                for place in range(1, len(names))
            ]
            if names is SLOPES:
                tensors[-1] = torch.tensor([float(own[3]) for own in departures])
            for name, tensor in zip(names, [*tensors, values], strict=True):
                self.register_buffer(name, tensor.to(self.weight.device))

    def departures(self) -> tuple[list[tuple], list[tuple]]:
        """Slopes and spreads of levels, as :meth:`set_departures` takes them."""
        found = []
        for *names, values in (SLOPES, SPREADS):
            columns = [getattr(self, name).tolist() for name in names]
            weights = getattr(self, values).tolist()
            owners = [next(c for c, w in enumerate(row) if w) for row in weights]
            sizes = [row[owner] for row, owner in zip(weights, owners, strict=True)]
            found.append([*zip(owners, *columns, sizes, strict=True)])
        return tuple(found)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        for name in (*SLOPES, *SPREADS):
            if prefix + name in state_dict:
                shape = state_dict[prefix + name].shape
                setattr(self, name, getattr(self, name).new_zeros(shape))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    @torch.no_grad()
    def fit(
        self,
        features: Tensor,
        x: Tensor,
        present: Tensor | None,
        inputs: list[list[int]],
        numbers: Set[int] = frozenset(),
        limits: list[tuple[float, float]] | None = None,
    ):
        """Fit a ridge regression to each column, with a penalty of its own.

        Parameters
        ----------
        features : Tensor of shape (n, n_features)
        x, present : Tensor of shape (n, n_numeric)
            Numbers, and 0 where one is missing; None if none is.
        inputs : list of list of int
            Of each column the features that it depends on.
        numbers : set of int, default=frozenset()
            Features that are numbers. All others are 0 or 1: whether a row has a level.
        limits : list of tuple of float or None, default=None
            Least and greatest standard deviation that the regression of each column
            may leave. Otherwise the column is relative to nothing but the departures
            of rare levels. None for no limits.
        """
        slopes, spreads = [], []
        for column, own in enumerate(inputs):
            rows = slice(None) if present is None else present[:, column] > 0
            y, index = x[rows, column], torch.tensor(own, device=x.device)
            if len(y) < MIN_ROWS or not own:
                continue
            A = features[rows].index_select(1, index).to(precision(x.device))
            is_number = torch.tensor([feature in numbers for feature in own])
            max_share = MAX_SHARE if limits is None else MAX_RARE_SHARE
            found = Regression(A, y, is_number, max_share)
            slopes += [
                (column, own[level], own[number], *others)
                for level, number, *others in found.slopes
            ]
            spreads += [(column, own[level], log) for level, log in found.spreads]
            low, high = (0.0, math.inf) if limits is None else limits[column]
            if low <= found.scale <= high:
                self.weight[column].zero_().index_copy_(0, index, found.weight.float())
                self.bias[column], self.scale[column] = found.bias, found.scale
        self.set_departures(slopes, spreads)

    @property
    def columns(self) -> list[int]:
        """Columns that are relative to a regression."""
        is_relative = (self.weight != 0).any(1) | (self.bias != 0) | (self.scale != 1)
        return is_relative.nonzero()[:, 0].tolist()

    @property
    def is_idle(self) -> bool:
        """Whether no column is relative to anything."""
        return not (self.columns or len(self.slopes) or len(self.spreads))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Means and standard deviations, both of shape (n_numeric, n)."""
        features = features.float()
        means = F.linear(features, self.weight, self.bias).t()
        scales = self.scale[:, None].expand_as(means)
        if len(self.slopes):
            away = features[:, self.slope_numbers] - self.slope_centres
            products = features[:, self.slope_levels] * away
            means = means + F.linear(products, self.slopes.t()).t()
        if len(self.spreads):
            levels = features[:, self.spread_levels]
            scales = scales * F.linear(levels, self.spreads.t()).t().exp()
        return means, scales

    def of_column(
        self, column: int, means: Tensor, feature: Callable[[int], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Means and standard deviations of one column, both of shape (n,).

        Parameters
        ----------
        column : int
        means : Tensor of shape (n,)
            What the weights of the column say.
        feature : callable
            Takes the place of a feature, and returns this feature of all rows.
        """
        scales = self.scale[column].expand_as(means)
        for place in self.slopes[:, column].nonzero()[:, 0].tolist():
            number = feature(int(self.slope_numbers[place]))
            level = feature(int(self.slope_levels[place]))
            away = number - self.slope_centres[place]
            means = means + self.slopes[place, column] * level * away
        for place in self.spreads[:, column].nonzero()[:, 0].tolist():
            level = feature(int(self.spread_levels[place]))
            scales = scales * (self.spreads[place, column] * level).exp()
        return means, scales
