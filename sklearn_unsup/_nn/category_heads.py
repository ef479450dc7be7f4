"""From hidden units of a category's network to the logits of its levels."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .distributions import softcap
from .fused import batched_linear
from .likelihoods import padded_log_prob
from .linear_logits import LinearLogits

# Maximum ratio of the logits that neighbouring columns have when they are padded to the
# largest of them to those that they need.
MAX_PADDING = 4
# Bias of a level that a column does not have. Logits of levels are bounded, so that
# such a level has a weight of e ** -30 beside those of the column's own.
UNUSED_BIAS = -1e4


class CategoryHeads(nn.Module):
    """Logits of each categorical column from the hidden units of its network.

    Neighbouring columns are padded to the largest of them, which makes one batched
    product of theirs. Where that would be far more logits than there are levels, a new
    product begins.

    Parameters
    ----------
    width : int
    cardinalities : tuple of int
    """

    def __init__(self, width: int, cardinalities: tuple[int, ...]):
        super().__init__()
        self.cardinalities = cardinalities
        self.runs = padded_runs(cardinalities)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for run in self.runs:
            sizes = [cardinalities[column] for column in run]
            weight = torch.zeros(len(run), width, max(sizes))
            bias = torch.full((len(run), 1, max(sizes)), UNUSED_BIAS)
            for own_weight, own_bias, size in zip(weight, bias, sizes, strict=True):
                nn.init.normal_(own_weight[:, :size], std=1 / math.sqrt(width))
                own_bias[:, :size] = 0.0
            self.weights.append(weight)
            self.biases.append(bias)
        self.linear = None

    def set_regressions(self, n_features: int):
        """Have regressions on so many features, zero until fitted; on 0 have none."""
        arguments = self.runs, self.cardinalities, n_features
        self.linear = None
        if n_features and self.runs and LinearLogits.is_affordable(*arguments):
            self.linear = LinearLogits(*arguments).to(self.biases[0].device)

    def of_column(self, column: int) -> tuple[Tensor, Tensor]:
        """Weight (cardinality, width) and bias (cardinality,) of one column."""
        for run, weight, bias in zip(self.runs, self.weights, self.biases, strict=True):
            if column in run:
                place, size = column - run.start, self.cardinalities[column]
                return weight[place, :, :size].t(), bias[place, 0, :size]
        raise IndexError(column)

    @torch.no_grad()
    def start_at(self, shares: list[Tensor]):
        """Give each column the frequencies of its levels, nearly independent of all."""
        for column, share in enumerate(shares):
            self.of_column(column)[1].copy_(share.log())
        for weight in self.weights:
            weight.mul_(0.1)

    def log_prob(self, hidden: Tensor, x_cat: Tensor, features=None) -> Tensor:
        """Log-probability of the codes in nats, summed over columns, shape (n,).

        Shapes: hidden units (n_categorical, n, width), codes (n, n_categorical),
        features (n, n_features), which only regressions need.
        """
        codes, sizes = x_cat.t(), [len(run) for run in self.runs]
        units, codes = [hidden], [codes]
        if len(sizes) > 1:  # The gradient of a split is a copy.
            units, codes = hidden.split(sizes), codes[0].split(sizes)
        first, *others = (
            padded_log_prob(raw, own_codes)
            for raw, own_codes in zip(
                self.raw_logits(units, features), codes, strict=True
            )
        )
        return sum(others, first)

    def raw_logits(self, units, features):
        """Of each run of columns, from its hidden units: (n_columns, n_levels, n)."""
        parts = units, self.weights, self.biases
        raw = [batched_linear(*own).float() for own in zip(*parts, strict=True)]
        if self.linear is None:
            return raw
        return [a + b for a, b in zip(raw, self.linear(features), strict=True)]

    def logits(self, column: int, hidden: Tensor, features=None) -> Tensor:
        """Bounded logits of one column, shape (n, size).

        They are made of its hidden units (n, width) and, where there are regressions,
        of all features (n, n_features).
        """
        logits = F.linear(hidden, *self.of_column(column)).float()
        if self.linear is not None:
            logits = logits + self.linear.of_column(column, features)
        return softcap(logits)


def padded_runs(sizes: tuple[int, ...]) -> list[range]:
    """Neighbouring columns that may be padded to the largest of them."""
    runs, start = [], 0
    for stop in range(1, len(sizes) + 1):
        part = sizes[start : stop + 1]
        if stop == len(sizes) or len(part) * max(part) > MAX_PADDING * sum(part):
            runs.append(range(start, stop))
            start = stop
    return runs
