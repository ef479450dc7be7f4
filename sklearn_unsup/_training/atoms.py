"""New points for rows that lie in the intervals of repeated values."""

import math

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


class Dequantizer:
    """Intervals of normal quantiles, each of which stands for one value of a column.

    An atom is encoded as any point of its interval. A net that meets always the same
    points learns them by heart: :meth:`dequantize_` gives each row another one.

    Parameters
    ----------
    intervals : list of array-like of shape (4, n_atoms)
        For each numeric column: least and greatest encoded value, and the quantiles
        in (0, 1) that they are of, in order; none for a column without atoms.
    masks : tuple of int
        Of the layout: where a number is missing nothing is drawn.
    """

    def __init__(self, intervals, masks: tuple[int, ...]):
        self.columns = [i for i, part in enumerate(intervals) if len(part[0])]
        self.masks = [masks[column] for column in self.columns]
        self.tables, self.index = [], torch.tensor(self.columns)
        if not self.columns:
            return
        parts = [
            torch.as_tensor(intervals[column], dtype=torch.float64)
            for column in self.columns
        ]
        low, high, u_low, u_high = (
            pad_sequence([part[i] for part in parts], True, math.inf) for i in range(4)
        )
        # In the upper half quantiles are counted from above: float32 is fine near 0.
        upper = u_low + u_high > 1
        start, stop = (torch.where(upper, 1 - u, u) for u in (u_low, u_high))
        sign = 1 - 2 * upper.double()
        self.tables = [t.float() for t in (low, high, start, stop - start, sign)]

    def __bool__(self) -> bool:
        return bool(self.columns)

    def to(self, device) -> "Dequantizer":
        self.tables = [table.to(device) for table in self.tables]
        self.index = self.index.to(device)
        return self

    def dequantize_(
        self, x_num: Tensor, x_cat: Tensor, generator, places=None
    ) -> Tensor:
        """Give every atom among the numbers a new point of its interval, in place.

        `places`, the number of rows of a group and the positions of these among them,
        is for processes that share it: each draws for the whole group.
        """
        n_rows, places = (len(x_num), slice(None)) if places is None else places
        shape = n_rows, len(self.columns)
        uniform = torch.rand(shape, generator=generator, device=x_num.device)
        if not isinstance(places, slice):
            places = places.to(x_num.device)
        uniform = uniform[places]
        low, high, start, width, sign = self.tables
        # Tables have a row for each column, and so do the numbers here.
        values = x_num.index_select(1, self.index).t().contiguous()
        place = torch.searchsorted(high, values).clamp_max_(high.shape[1] - 1)
        low, high, start, width, sign = (
            table.gather(1, place) for table in (low, high, start, width, sign)
        )
        z = sign * torch.special.ndtri(start + width * uniform.t())
        inside = (values >= low) & (values <= high)
        z = torch.where(inside, z.clamp(low, high), values)
        for number, mask in enumerate(self.masks):
            if mask >= 0:
                z[number] = torch.where(x_cat[:, mask] == 0, z[number], values[number])
        return x_num.index_copy_(1, self.index, z.t())
