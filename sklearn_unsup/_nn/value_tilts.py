"""Histograms of repeated numbers, relative to normal distributions."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .distributions import indices

# Share of a histogram that knows nothing of the moments: no bin becomes rarer than by
# this factor, however far off it is.
FLOOR = 0.1
# Width of a bin that a column does not have, instead of 0.
LEAST_WIDTH = 1e-9


class ValueTilts(nn.Module):
    """What moments of a number tell about the bins of its histogram.

    A number that repeats is a category whose levels are intervals of a normal number.
    If this number is normal with known moments, an interval has another probability
    than under the standard normal distribution: the logarithm of the ratio is added to
    the logits of the bins. Within its interval a value is where it was, anywhere.

    Parameters
    ----------
    edges : Tensor of shape (n_columns, n_bins - 1)
        Where bins end and others begin, infinite beyond the last one of a column.
    widths : Tensor of shape (n_columns, n_bins)
        Probabilities of the bins under the standard normal distribution.

    Attributes
    ----------
    columns : tuple of int
        Columns whose bins are relative to moments. There are none at first.

    Examples
    --------
    >>> tilts = ValueTilts(torch.zeros(1, 1), torch.full((1, 2), 0.5))
    >>> tilts.set_columns([0])
    >>> log_ratios = tilts.of_column(0, torch.ones(1), torch.ones(1))
    >>> [round(float(ratio), 3) for ratio in 0.5 * log_ratios[0].exp()]
    [0.193, 0.807]
    """

    def __init__(self, edges: Tensor, widths: Tensor):
        super().__init__()
        self.register_buffer("edges", edges, persistent=False)
        self.register_buffer("widths", widths.clamp_min(LEAST_WIDTH), persistent=False)
        # 1 for columns whose bins are relative to moments: a number, like all weights.
        self.register_buffer("is_tilted", torch.zeros(len(edges)))
        self._read_columns()

    def set_columns(self, columns: list[int]):
        """Have the bins of these columns relative to moments, and no others."""
        self.is_tilted.fill_(0.0)
        self.is_tilted[list(columns)] = 1.0
        self._read_columns()

    def set_column(self, column: int, is_tilted: bool):
        """Whether the bins of one column are relative to moments."""
        self.is_tilted[column] = float(is_tilted)
        self._read_columns()

    def _read_columns(self):
        # Read once, as a GPU has to be waited for.
        self.columns = tuple(self.is_tilted.nonzero()[:, 0].tolist())

    def _load_from_state_dict(self, *args, **kwargs):
        super()._load_from_state_dict(*args, **kwargs)
        self._read_columns()

    def forward(
        self, means: Tensor, scales: Tensor, first: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Logarithms of ratios, (n_tilted, n_bins, n), and positions of their columns.

        Parameters
        ----------
        means, scales : Tensor of shape (n_columns, n)
            Moments of each number.
        first : int, default=0
            Position of the first of these columns among all.
        """
        columns = tuple(column for column in self.columns if column >= first)
        index = indices(columns, means.device)
        own = indices(tuple(column - first for column in columns), means.device)
        moments = means.index_select(0, own), scales.index_select(0, own)
        edges, widths = (part.index_select(0, index) for part in self._bins)
        return log_ratios(edges, widths, *moments), own

    def of_column(self, column: int, means: Tensor, scales: Tensor) -> Tensor:
        """Those of one column of which moments (n,) are known, shape (n, n_bins)."""
        bins = (part[column : column + 1] for part in self._bins)
        return log_ratios(*bins, means[None], scales[None])[0].t()

    @property
    def _bins(self):
        return self.edges, self.widths


def log_ratios(edges: Tensor, widths: Tensor, means: Tensor, scales: Tensor) -> Tensor:
    """Logarithms of what bins have of normal distributions to their widths.

    Shapes: (n_columns, n_bins - 1), (n_columns, n_bins), twice (n_columns, n); the
    result has the shape (n_columns, n_bins, n).
    """
    factor = math.sqrt(0.5) / scales.float()[:, None]
    standard = (edges[..., None] - means.float()[:, None]) * factor
    below = F.pad(0.5 * torch.erf(standard), (0, 0, 1, 0), value=-0.5)
    below = F.pad(below, (0, 0, 0, 1), value=0.5)
    ratios = below.diff(dim=1).div_(widths[..., None])
    return ratios.mul_(1.0 - FLOOR).add_(FLOOR).log_()
