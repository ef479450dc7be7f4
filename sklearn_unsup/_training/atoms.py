"""Dequantization: new random points for values that many rows repeat."""

import math

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


class Dequantizer:
    """Draw new encoded values for atoms, which are values that many rows repeat.

    An atom is encoded as any point of an interval of normal quantiles. A network that
    always sees the same points would memorise them, so that :meth:`dequantize_` draws
    another one for each row.

    Parameters
    ----------
    intervals : list of array-like of shape (4, n_atoms)
        For each numeric column and atom, in ascending order: the least and the greatest
        encoded value, and their quantiles in (0, 1). A column may have no atoms.
    masks : tuple of int
        The `masks` of the layout. Missing numbers are left as they are.
    """

    def __init__(self, intervals, masks: tuple[int, ...]):
        self.columns = [i for i, atoms in enumerate(intervals) if len(atoms[0])]
        self.masks = [masks[column] for column in self.columns]
        self.tables, self.index = [], torch.tensor(self.columns)
        if not self.columns:
            return
        arrays = [
            torch.as_tensor(intervals[column], dtype=torch.float64)
            for column in self.columns
        ]
        low, high, u_low, u_high = (
            pad_sequence([array[i] for array in arrays], True, math.inf)
            for i in range(4)
        )
        # Quantiles above one half are replaced by their distance from 1, because
        # float32 has more digits near 0.
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
        self, x_num: Tensor, x_cat: Tensor, generator, group=None
    ) -> Tensor:
        """Replace every atom in `x_num` by a new point of its interval, in place.

        Processes that share batches pass `group`: the number of rows of all of them and
        the index of these rows among them. Each draws numbers for the whole group.
        """
        n_rows, index = (len(x_num), slice(None)) if group is None else group
        shape = n_rows, len(self.columns)
        uniform = torch.rand(shape, generator=generator, device=x_num.device)
        if not isinstance(index, slice):
            index = index.to(x_num.device)
        uniform = uniform[index]
        low, high, start, width, sign = self.tables
        # The tables have one row per column, and so have the transposed values.
        values = x_num.index_select(1, self.index).t().contiguous()
        atom = torch.searchsorted(high, values).clamp_max_(high.shape[1] - 1)
        low, high, start, width, sign = (
            table.gather(1, atom) for table in (low, high, start, width, sign)
        )
        z = sign * torch.special.ndtri(start + width * uniform.t())
        inside = (values >= low) & (values <= high)
        z = torch.where(inside, z.clamp(low, high), values)
        for row, mask in enumerate(self.masks):
            if mask >= 0:
                z[row] = torch.where(x_cat[:, mask] == 0, z[row], values[row])
        return x_num.index_copy_(1, self.index, z.t())
