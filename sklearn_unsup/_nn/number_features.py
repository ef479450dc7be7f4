"""Features of numbers: what the networks of later columns see of them."""

import numpy as np
import torch
from torch import Tensor, nn

from .distributions import indices
from .hats import hat_functions

# Number of intervals of the piecewise linear features of a number.
N_PIECES = 16
# Number of quantiles over which features are averaged.
N_QUANTILES = 512


def piecewise_linear_features(x: Tensor) -> Tensor:
    """A standard normal number and hat functions of its quantile.

    Shape (n, columns) to (n, columns, N_PIECES + 2).
    """
    x = x[..., None]
    hats, _ = hat_functions(x, N_PIECES)
    return torch.cat([x, hats], -1)


class NumberFeatures(nn.Module):
    """A number, hat functions of its quantile, and which of some values it is.

    Sixteen hats cannot tell thirty values apart, of which each may mean something else
    for a later column, as months, codes and sizes do. A value that has a feature of its
    own is an interval of normal quantiles. It counts as the middle of this interval,
    whichever point of it a row has.

    Parameters
    ----------
    n_numeric : int
        Number of columns.
    intervals : sequence of array-like of shape (4, n_values) or None, default=None
        Of each column: least and greatest encoded value of each of the values with a
        feature, and the quantiles of the two, ascending. None for no such values.

    Attributes
    ----------
    widths : list of int
        Number of features of each column.

    Examples
    --------
    >>> import torch
    >>> # A quarter of the rows, in the middle, has one value.
    >>> middle = torch.tensor([[-0.32], [0.32], [0.375], [0.625]])
    >>> features = NumberFeatures(1, [middle])
    >>> features.widths
    [19]
    >>> features(torch.tensor([[0.3], [2.0]]))[:, [0, -1]].tolist()
    [[0.0, 1.0], [2.0, 0.0]]
    """

    def __init__(self, n_numeric: int, intervals=None):
        super().__init__()
        intervals = [torch.zeros(4, 0)] * n_numeric if intervals is None else intervals
        self.n_values = [len(own[0]) for own in intervals]
        self.widths = [N_PIECES + 2 + n for n in self.n_values]
        self.columns = [column for column, n in enumerate(self.n_values) if n]
        if self.columns:
            shape = len(self.columns), max(self.n_values)
            for name in ("low", "high", "middle"):
                self.register_buffer(name, torch.zeros(shape))
            self.set_intervals(intervals)

    @torch.no_grad()
    def set_intervals(self, intervals):
        """Replace the intervals of the same values, after a codec has learnt.

        That of a value without rows may have its least value above the greatest.
        """
        if not self.columns:
            return
        self.low.fill_(torch.inf)
        self.high.fill_(-torch.inf)
        for row, column in enumerate(self.columns):
            # A copy: the arrays of a loaded file may be read-only.
            own = torch.from_numpy(np.asarray(intervals[column], dtype=float).copy())
            n = own.shape[1]
            self.low[row, :n], self.high[row, :n] = own[:2].float()
            middle = torch.special.ndtri(own[2:].mean(0)).float()
            # Within the interval also where it is that of a value without rows.
            self.middle[row, :n] = middle.maximum(own[0].float()).minimum(
                own[1].float()
            )

    def forward(self, x_num: Tensor, present: Tensor | None = None) -> Tensor:
        """Features of all columns, which are 0 where a number is missing.

        Parameters
        ----------
        x_num : Tensor of shape (n, n_numeric)
        present : Tensor of shape (n, n_numeric) or None, default=None
            1 where a number is present, else 0.
        """
        if not self.columns:
            numbers = piecewise_linear_features(x_num)
            if present is not None:
                numbers = numbers * present[:, :, None]
            return numbers.flatten(1)
        index = indices(tuple(self.columns), x_num.device)
        place, x = self._snapped(
            self.low, self.high, self.middle, x_num.index_select(1, index).t()
        )
        numbers = piecewise_linear_features(x_num.index_copy(1, index, x.t()))
        if present is not None:
            numbers = numbers * present[:, :, None]
            is_known = present.index_select(1, index).t() > 0
            place = torch.where(is_known, place, -1)
        # All indicators by one scatter; the first one of each column is of no value.
        starts, total = [], 0
        for column in self.columns:
            starts.append(total)
            total += self.n_values[column] + 1
        own = torch.zeros(len(x_num), total, device=x_num.device)
        start = indices(tuple(starts), x_num.device)[:, None]
        own.scatter_(1, (place + 1 + start).t(), 1.0)
        sizes = [size for c in self.columns for size in (1, self.n_values[c])]
        values = dict(zip(self.columns, own.split(sizes, 1)[1::2], strict=True))
        parts = []
        for column in range(len(self.n_values)):
            parts.append(numbers[:, column])
            if column in values:
                parts.append(values[column])
        return torch.cat(parts, 1)

    def of_column(self, column: int, x: Tensor, present: Tensor | None = None):
        """Features of the numbers (n,) of one column."""
        place, x = self.snapped(column, x)
        features = piecewise_linear_features(x[:, None])[:, 0]
        if place is not None:
            own = torch.zeros(len(x), self.n_values[column] + 1, device=x.device)
            own.scatter_(1, (place + 1)[:, None], 1.0)
            features = torch.cat([features, own[:, 1:]], 1)
        return features if present is None else features * present[:, None]

    def snapped(self, column: int, x: Tensor) -> tuple[Tensor | None, Tensor]:
        """Which value a number (n,) is, -1 for none, and the number that counts.

        The first is None for a column of which no value has a feature.
        """
        if not self.n_values[column]:
            return None, x
        row = self.columns.index(column)
        return self._snapped(self.low[row], self.high[row], self.middle[row], x)

    @staticmethod
    def _snapped(low, high, middle, x):
        x = x.contiguous()
        place = torch.searchsorted(low, x, right=True) - 1
        known = place.clamp_min(0)
        is_value = (place >= 0) & (x <= high.gather(-1, known))
        x = torch.where(is_value, middle.gather(-1, known), x)
        return torch.where(is_value, place, -1), x

    def mean(self, column: int) -> Tensor:
        """Expected features of a column, shape (widths[column],)."""
        u = (torch.arange(N_QUANTILES, dtype=torch.float64) + 0.5) / N_QUANTILES
        z = torch.special.ndtri(u).float()
        if self.columns:
            z = z.to(self.low.device)
        return self.of_column(column, z).mean(0).cpu()
