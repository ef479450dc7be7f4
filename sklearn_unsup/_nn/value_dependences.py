"""Numbers whose single values, and not only whose size, others depend on."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .number_features import NumberFeatures

# Minimum gain, in nats of all rows together, for a column to have features of its
# values, beyond what as many features of noise would gain.
MIN_VALUE_GAIN = 10.0
# Maximum number of columns of a table in which it is measured, and maximum numbers of
# rows and of cells that it is measured on.
MAX_COLUMNS, MAX_VALUE_ROWS, MAX_VALUE_CELLS = 200, 5_000, 200_000
# Ridge penalty and least residual variance, relative to a standardised column.
RIDGE, MIN_RESIDUAL = 1e-6, 1e-9


class ValueDependences(NamedTuple):
    """Which columns depend on the values of which.

    Parameters
    ----------
    informative : list of bool
        Whether others depend on the values of each column.
    dependent : list of bool
        Whether each column depends on the values of another one.
    """

    informative: list[bool]
    dependent: list[bool]


def rows_to_compare(n_rows: int, n_columns: int) -> Tensor:
    """Positions of the rows that dependences are looked for in, the same every time.

    See :func:`random_rows`.
    """
    return random_rows(
        n_rows, min(MAX_VALUE_ROWS, MAX_VALUE_CELLS // max(1, n_columns))
    )


def random_rows(n_rows: int, max_rows: int) -> Tensor:
    """Positions of some rows of a table, the same every time.

    They are chosen at random: every n-th row of a table whose rows repeat a pattern,
    such as the hours of a day, may show a part of the pattern alone.
    """
    generator = torch.Generator().manual_seed(0)
    return torch.randperm(n_rows, generator=generator)[:max_rows]


@torch.no_grad()
def value_dependences(
    x_num: Tensor, present: Tensor | None, intervals, any_order: bool = False
) -> ValueDependences:
    """Of which columns later ones depend on values, and not smoothly on the number.

    Later numbers, and their squares, are regressed on the hat functions of a column,
    and on these and its values. Which of the two is better is told by the Bayesian
    information criterion (Schwarz 1978), with a margin.

    Parameters
    ----------
    x_num : Tensor of shape (n, n_numeric)
        Encoded numbers in the order in which they are drawn, some thousand rows.
    present : Tensor of shape (n, n_numeric) or None
        1 where a number is present, else 0; None if all are.
    intervals : sequence of array-like of shape (4, n_values)
        Values of each column, see :class:`NumberFeatures`.
    any_order : bool, default=False
        Whether earlier columns may depend on later ones as well.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> u = torch.rand(1_000, 1, generator=generator, dtype=torch.float64)
    >>> # Forty values, the odd ones of which say that a second number is large.
    >>> begin = torch.arange(40, dtype=torch.float64) / 40
    >>> quantiles = torch.stack([begin, begin + 1 / 40])
    >>> intervals = [torch.cat([torch.special.ndtri(quantiles), quantiles])]
    >>> odd = ((40 * u).floor() % 2).float()
    >>> x_num = torch.cat([torch.special.ndtri(u).float(), 2 * odd - 1], 1)
    >>> value_dependences(x_num, None, [*intervals, torch.zeros(4, 0)])
    ValueDependences(informative=[True, False], dependent=[False, True])
    """
    n_columns = x_num.shape[1]
    informative, dependent = ([False] * n_columns for _ in range(2))
    if not 1 < n_columns <= MAX_COLUMNS:
        return ValueDependences(informative, dependent)
    # On the CPU, which has float64 wherever a table is.
    x_num, present = x_num.cpu(), None if present is None else present.cpu()
    standard = standardized(x_num, present)
    features = NumberFeatures(n_columns, intervals)
    for column, n_values in enumerate(features.n_values):
        start = 0 if any_order else column + 1
        others = [place for place in range(start, n_columns) if place != column]
        if not n_values or not others:
            continue
        targets = standard[:, others].flatten(1)
        own = None if present is None else present[:, column]
        inputs = features.of_column(column, x_num[:, column], own).to(targets)
        smooth, n_smooth = residuals(inputs[:, :-n_values], targets)
        every, n_every = residuals(inputs, targets)
        gains = 0.5 * len(inputs) * (smooth / every).log().view(-1, 2).amax(1)
        penalty = 0.5 * (n_every - n_smooth) * math.log(len(inputs))
        for place in (gains - penalty > MIN_VALUE_GAIN).nonzero()[:, 0].tolist():
            informative[column] = dependent[others[place]] = True
    return ValueDependences(informative, dependent)


def standardized(x_num: Tensor, present: Tensor | None) -> Tensor:
    """Numbers and their squares, each of mean 0 and variance 1, (n, n_numeric, 2).

    Missing ones are 0, and columns that do not vary as well.
    """
    weights = torch.ones_like(x_num) if present is None else present
    weights, x = weights.double()[..., None], x_num.double()
    targets = torch.stack([x, x.square()], 2)
    n = weights.sum(0).clamp_min(1.0)
    targets = (targets - (targets * weights).sum(0) / n) * weights
    variance = targets.square().sum(0) / n
    return targets / variance.sqrt().clamp_min(1e-6)


def residuals(inputs: Tensor, targets: Tensor) -> tuple[Tensor, int]:
    """Mean squared residuals of regressions on the same inputs, and their rank."""
    n, size = inputs.shape
    moments = inputs.t() @ inputs / n
    rank = int(torch.linalg.matrix_rank(moments, hermitian=True, rtol=1e-9))
    ridge = RIDGE * torch.eye(size, dtype=inputs.dtype, device=inputs.device)
    weights = torch.linalg.solve(moments + ridge, inputs.t() @ targets / n)
    return (targets - inputs @ weights).square().mean(0).clamp_min(MIN_RESIDUAL), rank
