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
        # Of each departure a column, features and numbers, see `set_departures`.
        self.register_buffer("slopes", torch.zeros(0, 5))
        self.register_buffer("spreads", torch.zeros(0, 3))
        self._read_departures()

    @torch.no_grad()
    def set_departures(self, slopes: list[tuple], spreads: list[tuple]):
        """Replace slopes and spreads of levels.

        Parameters
        ----------
        slopes, spreads : list of tuple
            Those of :class:`Regression`, but with features in place of inputs, and
            after the column that each belongs to.
        """
        device = self.weight.device
        self.slopes = torch.tensor(slopes).view(-1, 5).float().to(device)
        self.spreads = torch.tensor(spreads).view(-1, 3).float().to(device)
        self._read_departures()

    def departures(self) -> tuple[list[tuple], list[tuple]]:
        """Slopes and spreads of levels, as :meth:`set_departures` takes them."""
        slopes, spreads = self._departures
        return [*slopes], [*spreads]

    def _read_departures(self):
        """Set what products are made with: indices, and weights for each column."""
        # Read once, as a GPU has to be waited for.
        self._departures = (
            [(*map(int, own[:3]), *own[3:]) for own in self.slopes.tolist()],
            [(*map(int, own[:2]), own[2]) for own in self.spreads.tolist()],
        )
        columns = torch.arange(len(self.weight), device=self.weight.device)
        for name, own in (("slope", self.slopes), ("spread", self.spreads)):
            weights = torch.where(own[:, :1] == columns, own[:, -1:], 0.0)
            levels, numbers = own[:, 1].long(), own[:, 2].long()
            self.register_buffer(f"_{name}_weight", weights.t(), persistent=False)
            self.register_buffer(f"_{name}_levels", levels, persistent=False)
            if name == "slope":
                self.register_buffer("_slope_numbers", numbers, persistent=False)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        for name in ("slopes", "spreads"):
            own = getattr(self, name)
            # Weights that an older version saved have none.
            saved = state_dict.setdefault(prefix + name, own[:0])
            setattr(self, name, own.new_zeros(saved.shape))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        self._read_departures()

    @torch.no_grad()
    def fit(
        self,
        features: Tensor,
        x: Tensor,
        present: Tensor | None,
        inputs: list[list[int]],
        numbers: Set[int] = frozenset(),
        limits: list[tuple[float, float]] | None = None,
        between: list[float] | None = None,
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
        between : list of float or None, default=None
            Share of the variance of each column that lies between its values, see
            :meth:`Regression.look_behind_values`; None for all of it.
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
            if between is not None:
                found.look_behind_values(between[column])
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

    def describes(self, column: int) -> bool:
        """Whether a column is relative to a regression or to departures of levels."""
        owners = {own[0] for departures in self._departures for own in departures}
        return column in owners or column in self.columns

    @property
    def is_idle(self) -> bool:
        """Whether no column is relative to anything."""
        return not (self.columns or len(self.slopes) or len(self.spreads))

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        """Means and standard deviations, both of shape (n_numeric, n).

        Where levels have spreads of their own there is a third tensor: by how much the
        logarithms of the odds of histograms change, which are in proportion to the
        variance that is left, see :meth:`NumberHeads.start_beside`.
        """
        features = features.float()
        means = F.linear(features, self.weight, self.bias).t()
        scales = self.scale[:, None].expand_as(means)
        if len(self.slopes):
            away = features[:, self._slope_numbers] - self.slopes[:, 3]
            products = features[:, self._slope_levels] * away
            means = means + F.linear(products, self._slope_weight).t()
        if not len(self.spreads):
            return means, scales
        logs = F.linear(features[:, self._spread_levels], self._spread_weight).t()
        return means, scales * logs.exp(), 2.0 * logs

    def of_column(
        self, column: int, means: Tensor, feature: Callable[[int], Tensor]
    ) -> tuple[Tensor, ...]:
        """The same of one column, each of shape (n,).

        Parameters
        ----------
        column : int
        means : Tensor of shape (n,)
            What the weights of the column say.
        feature : callable
            Takes the place of a feature, and returns this feature of all rows.
        """
        slopes, spreads = self._departures
        scales = self.scale[column].expand_as(means)
        for own, level, number, centre, slope in slopes:
            if own == column:
                means = means + slope * feature(level) * (feature(number) - centre)
        logs = [log * feature(level) for own, level, log in spreads if own == column]
        if not logs:
            return means, scales
        return means, scales * sum(logs).exp(), 2.0 * sum(logs)
