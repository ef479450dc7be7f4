"""Means of numbers that are linear in the columns before them, in closed form."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .gaussian import MIN_VARIANCE, precision

# Penalties among which each column's ridge regression chooses, in rows.
PENALTIES = tuple(10.0**power for power in (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0))
# Minimum number of rows for a regression.
MIN_ROWS = 8


class LinearMoments(nn.Module):
    """Mean and standard deviation of each number, linear in the features before it.

    Parameters
    ----------
    n_numeric, n_features : int
    """

    def __init__(self, n_numeric: int, n_features: int):
        super().__init__()
        self.register_buffer("weight", torch.zeros(n_numeric, n_features))
        self.register_buffer("bias", torch.zeros(n_numeric))
        self.register_buffer("scale", torch.ones(n_numeric))

    @torch.no_grad()
    def fit(
        self,
        features: Tensor,
        x: Tensor,
        present: Tensor | None,
        inputs: list[list[int]],
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
        limits : list of tuple of float or None, default=None
            Least and greatest standard deviation that the regression of each column
            may leave. Columns with another one are relative to nothing. None for no
            limits.
        """
        if limits is None:
            limits = [(0.0, math.inf)] * len(inputs)
        for column, own in enumerate(inputs):
            rows = slice(None) if present is None else present[:, column] > 0
            y, index = x[rows, column], torch.tensor(own, device=x.device)
            if len(y) < MIN_ROWS or not own:
                continue
            A = features[rows].index_select(1, index)
            weight, bias, scale = ridge(A.to(precision(x.device)), y)
            if not limits[column][0] <= scale <= limits[column][1]:
                continue
            self.weight[column].zero_().index_copy_(0, index, weight.float())
            self.bias[column], self.scale[column] = bias, scale

    @property
    def columns(self) -> list[int]:
        """Columns that are relative to a regression."""
        is_relative = (self.weight != 0).any(1) | (self.bias != 0) | (self.scale != 1)
        return is_relative.nonzero()[:, 0].tolist()

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Means and standard deviations, both of shape (n_numeric, n)."""
        means = F.linear(features.float(), self.weight, self.bias).t()
        return means, self.scale[:, None].expand_as(means)

    def of_column(self, column: int, features: Tensor) -> tuple[Tensor, Tensor]:
        """Means and standard deviations of one column, both of shape (n,)."""
        own = slice(column, column + 1)
        means = F.linear(features.float(), self.weight[own], self.bias[own])[:, 0]
        return means, self.scale[column].expand_as(means)


def ridge(A: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, intercept and standard deviation of errors on new rows.

    The penalty is the one with the least generalised cross-validation error (Golub,
    Heath and Wahba 1979).
    """
    n, y = len(A), y.to(A.dtype)
    centre, mean = A.mean(0), y.mean()
    A, y = A - centre, y - mean
    values, vectors = torch.linalg.eigh((A.T @ A).cpu())
    values, vectors = values.clamp_min(0.0).to(A), vectors.to(A)
    products = vectors.T @ (A.T @ y)
    penalties = torch.tensor(PENALTIES, dtype=A.dtype, device=A.device)[:, None]
    shrunk = products / (values + penalties)
    rest = y.square().sum() - (shrunk * (2 * products - values * shrunk)).sum(1)
    # The intercept is one more parameter.
    freedom = n - 1 - (values / (values + penalties)).sum(1)
    errors = n * rest.clamp_min(0.0) / freedom.clamp_min(1.0).square()
    best = errors.argmin()
    weight = vectors @ shrunk[best]
    scale = errors[best].clamp_min(MIN_VARIANCE).sqrt()
    return weight, mean - centre @ weight, scale
