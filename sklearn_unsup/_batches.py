"""Rows that lie on the device once, shuffled slices of them, and schedules."""

import math
from collections.abc import Iterator
from itertools import accumulate, pairwise

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from ._devices import may_lie_on

# Rows gathered at once: large enough that the gather costs nothing per batch, small
# enough that no second copy of the table ever exists.
GATHERED_ROWS = 16_384
CHUNK_ROWS = 16_384  # of a pass without gradients; bounds memory, changes no result
BLOCK_BYTES = 2**26  # of the rows of either, however wide; a batch may have more

Batch = tuple[Tensor, Tensor]


class Atoms:
    """Intervals of normal quantiles, each of which stands for one value of a column.

    An atom is encoded as any point of its interval. A net that meets always the same
    points learns them by heart: :meth:`redraw` gives each row another one.

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

    def to(self, device) -> "Atoms":
        self.tables = [table.to(device) for table in self.tables]
        self.index = self.index.to(device)
        return self

    def redraw(self, x_num: Tensor, x_cat: Tensor, generator, places=None) -> Tensor:
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


class EncodedRows(Dataset):
    """What is trained on: rows of which `take` gives some, dense, on the device.

    Attributes
    ----------
    device : device
    atoms : Atoms or None
        Redrawn in every shuffled pass.
    row_bytes : int
        Of a row that was taken.
    home : device
        Where indices are looked up. Those of a whole pass go there at once: a copy for
        each batch would have the host wait for the device.
    """

    def __getitem__(self, index) -> tuple[Batch, Batch]:
        rows = self.take(index)
        return rows, rows


class Rows(EncodedRows):
    """An encoded table, and the device that its batches are wanted on.

    It lies there as a whole, or in the host's memory if it does not fit.

    Parameters
    ----------
    x_num : Tensor of shape (n, n_numeric), float32
    x_cat : Tensor of shape (n, n_categorical), int64
    device : device or None, default=None
        None where the tensors are.
    atoms : Atoms or None, default=None
        On the device; redrawn in every shuffled pass.
    """

    def __init__(self, x_num: Tensor, x_cat: Tensor, device=None, atoms=None):
        self.x_num, self.x_cat, self.atoms = x_num, x_cat, atoms
        self.device = x_num.device if device is None else torch.device(device)

    def __len__(self) -> int:
        return len(self.x_num)

    @property
    def row_bytes(self) -> int:
        return sum(t.shape[1] * t.itemsize for t in (self.x_num, self.x_cat))

    @property
    def numbers(self) -> Tensor:
        """Every number that occurs."""
        return self.x_num

    def take(self, index) -> Batch:
        """`x_num` and `x_cat` of rows on the device; of a slice a view, if it can."""
        if isinstance(index, slice):
            parts = self.x_num[index], self.x_cat[index]
        else:
            index = index.to(self.home)
            parts = (t.index_select(0, index) for t in (self.x_num, self.x_cat))
        x_num, x_cat = (carry(part, self.device) for part in parts)
        return x_num, x_cat

    @property
    def home(self) -> torch.device:
        return self.x_num.device

    def split(self, order: Tensor, n_first: int) -> tuple["Rows", "Rows"]:
        """Two parts of the rows in a given order, the first with `n_first` of them.

        Rows of the second are judged by the same numbers in every pass.
        """
        order = order.to(self.home)
        first, second = order[:n_first], order[n_first:]
        return (
            Rows(self.x_num[first], self.x_cat[first], self.device, self.atoms),
            Rows(self.x_num[second], self.x_cat[second], self.device),
        )


class SparseRows(EncodedRows):
    """Encoded rows of numbers, most of which are their column's background.

    Only the others are kept, on the device or, if they do not fit, in the host's
    memory. Batches are made dense on the device.

    Parameters
    ----------
    indptr : Tensor of shape (n + 1,), int64
        On the host.
    columns : Tensor of shape (n_entries,), int32
        Those of row i are ``columns[indptr[i] : indptr[i + 1]]``, none of them twice.
    values : Tensor of shape (n_entries,), float32
    background : Tensor of shape (width,), float32
    device : device or None, default=None
        None where the tensors are.
    """

    atoms = None
    home = torch.device("cpu")  # where sizes can be read without waiting

    def __init__(self, indptr, columns, values, background, device=None):
        self.indptr, self.columns, self.values = indptr, columns, values
        self.device = values.device if device is None else torch.device(device)
        self.background = background.to(self.device)

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def row_bytes(self) -> int:
        return len(self.background) * self.background.itemsize

    @property
    def x_cat(self) -> Tensor:
        return torch.empty((len(self), 0), dtype=torch.int64, device=self.device)

    @property
    def numbers(self) -> Tensor:
        """Every number that occurs."""
        width = len(self.background)
        absent = torch.bincount(self.columns, minlength=width) < len(self)
        absent = absent.to(self.device)
        return torch.cat([self.values.to(self.device), self.background[absent]])

    def take(self, index) -> Batch:
        """`x_num` of rows, dense on the device, and an empty `x_cat`."""
        lengths, columns, values = self._entries(index)
        n, width = len(lengths), len(self.background)
        lengths, columns, values = (
            carry(part, self.device) for part in (lengths, columns, values)
        )
        rows = torch.arange(n, device=self.device)
        rows = rows.repeat_interleave(lengths, output_size=len(values))
        x_num = self.background.repeat(n, 1)
        x_num.view(-1).scatter_(0, rows * width + columns, values)
        return x_num, self.x_cat[:n]

    def _entries(self, index):
        """Number of entries of each indexed row; their columns and values, in order.

        The numbers are on the host, columns and values where they lie.
        """
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                edges = self.indptr[start : max(start, stop) + 1]
                part = slice(edges[0].item(), edges[-1].item())
                return edges.diff(), self.columns[part], self.values[part]
            index = torch.arange(start, stop, step)
        index = index.to(self.home)
        starts = self.indptr[index]
        lengths = self.indptr[index + 1] - starts
        n_entries = int(lengths.sum())
        shifts = starts - lengths.cumsum(0) + lengths
        shifts, counts = (carry(t, self.values.device) for t in (shifts, lengths))
        shifts = shifts.repeat_interleave(counts, output_size=n_entries)
        places = torch.arange(n_entries, device=shifts.device) + shifts
        return lengths, self.columns[places], self.values[places]

    def split(self, order: Tensor, n_first: int) -> tuple["SparseRows", "SparseRows"]:
        """Two parts of the rows in a given order, the first with `n_first` of them."""
        parts = []
        for index in (order[:n_first], order[n_first:]):
            lengths, columns, values = self._entries(index)
            indptr = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
            parts.append(
                SparseRows(indptr, columns, values, self.background, self.device)
            )
        return tuple(parts)


class LazyRows(EncodedRows):
    """Rows that are encoded whenever they are asked for.

    Parameters
    ----------
    encode : callable
        Gives `x_num` and `x_cat`, arrays, of an array of positions.
    positions : Tensor of shape (n,), int64
    row_bytes : int
    device : device
    atoms : Atoms or None, default=None
    """

    home = torch.device("cpu")

    def __init__(self, encode, positions, row_bytes, device, atoms=None):
        self.encode, self.positions, self.row_bytes = encode, positions, row_bytes
        self.device, self.atoms = torch.device(device), atoms

    def __len__(self) -> int:
        return len(self.positions)

    def take(self, index) -> Batch:
        """`x_num` and `x_cat` of rows on the device."""
        index = index if isinstance(index, slice) else index.to(self.home)
        x_num, x_cat = map(torch.from_numpy, self.encode(self.positions[index].numpy()))
        return carry(x_num, self.device), carry(x_cat, self.device)

    def split(self, order: Tensor, n_first: int) -> tuple["LazyRows", "LazyRows"]:
        """Two parts of the rows in a given order, the first with `n_first` of them."""
        first, second = self.positions[order[:n_first]], self.positions[order[n_first:]]
        return (
            LazyRows(self.encode, first, self.row_bytes, self.device, self.atoms),
            LazyRows(self.encode, second, self.row_bytes, self.device),
        )


def place_rows(x_num: Tensor, x_cat: Tensor, device, atoms=None) -> Rows:
    """Rows on a device, or for it in the host's memory if they leave it no room."""
    size = x_num.numel() * x_num.itemsize + x_cat.numel() * x_cat.itemsize
    if may_lie_on(device, size):
        x_num, x_cat = x_num.to(device), x_cat.to(device)
    return Rows(x_num, x_cat, device, atoms)


def place_sparse_rows(indptr, columns, values, background, device) -> SparseRows:
    """Sparse rows on a device, or for it in the host's memory, see `place_rows`."""
    parts = columns, values
    if may_lie_on(device, sum(t.numel() * t.itemsize for t in parts)):
        parts = [part.to(device) for part in parts]
    return SparseRows(indptr, *parts, background, device)


def carry(tensor: Tensor, device) -> Tensor:
    """A tensor on the device, copied while that may still work on what came before."""
    if device.type == "cuda" and not tensor.is_cuda:
        # A slice with gaps would be pinned gaps and all.
        tensor = tensor.contiguous().pin_memory()
    return tensor.to(device, non_blocking=True)


class DeviceBatches:
    """Iterate over slices of encoded rows; a new order in every pass if shuffled.

    Yields ``((x_num, x_cat), (x_num, x_cat))``: a row is its own target. The last,
    shorter slice is kept, also when it is the only one. Only a shuffled pass leaves out
    a last slice under a quarter of a batch: its gradient is the noisiest of the pass,
    and the next pass shuffles its rows elsewhere.

    Parameters
    ----------
    rows : EncodedRows
    batch_size : int
    generator : BatchGenerator, torch.Generator or None
        Source of the order; None keeps the order of the rows.
    rank, n_processes : int
        Each of several processes that have the same rows and generator gets its part
        of every batch. The generator, a :class:`BatchGenerator`, is told which.
    """

    def __init__(
        self, rows: EncodedRows, batch_size: int, generator=None, rank=0, n_processes=1
    ):
        self.rows, self.batch_size, self.generator = rows, batch_size, generator
        self.rank, self.n_processes = rank, n_processes

    def __len__(self) -> int:
        full, rest = divmod(len(self.rows), self.batch_size)
        if self.generator is not None and full:
            # A process without a row would have no loss.
            return full + (4 * rest >= self.batch_size and rest >= self.n_processes)
        return full + (rest > 0)

    def __iter__(self) -> Iterator[tuple[Batch, Batch]]:
        if self.generator is None:
            batches = (
                self.rows.take(slice(start, start + self.batch_size))
                for start in range(0, len(self.rows), self.batch_size)
            )
        else:
            batches = self._shuffled()
        try:
            for batch in batches:
                yield batch, batch
        finally:
            if self.n_processes > 1:
                self.generator.share = None

    def _shuffled(self) -> Iterator[Batch]:
        generator, size = self.generator, self.batch_size
        device = generator.device
        order = torch.randperm(len(self.rows), generator=generator, device=device)
        order = order[: len(self) * size].to(self.rows.home)
        gathered = bounded_rows(GATHERED_ROWS, self.rows.row_bytes)
        for group in order.split(max(1, gathered // size) * size):
            lengths = [len(batch) for batch in group.split(size)]
            shares = [self._share(length) for length in lengths]
            if self.n_processes > 1:
                starts = accumulate(lengths, initial=0)
                places = torch.cat(
                    [
                        torch.arange(start + share.start, start + share.stop)
                        for start, share in zip(starts, shares, strict=False)
                    ]
                )
            else:
                places = slice(None)
            x_num, x_cat = self.rows.take(group[places])
            if self.rows.atoms:
                self.rows.atoms.redraw(x_num, x_cat, generator, (len(group), places))
            edges = accumulate((s.stop - s.start for s in shares), initial=0)
            for (start, stop), length, share in zip(
                pairwise(edges), lengths, shares, strict=True
            ):
                if self.n_processes > 1:
                    generator.share = length, share
                yield x_num[start:stop], x_cat[start:stop]

    def _share(self, length: int) -> slice:
        """Rows of a batch that are this process's: as even as can be."""
        start, stop = (
            length * rank // self.n_processes for rank in (self.rank, self.rank + 1)
        )
        return slice(start, stop)


def warmup_cosine(step: int, n_warmup: int, n_steps: int | None, floor: float) -> float:
    """Factor of the learning rate at a step, counted from 0.

    Rises linearly over `n_warmup` steps, then falls along half a cosine to `floor` at
    step `n_steps`; with ``n_steps=None`` (a stream of unknown length) it stays at 1.
    """
    if step < n_warmup:
        return (step + 1) / n_warmup
    if n_steps is None:
        return 1.0
    done = min(1.0, (step - n_warmup) / max(1, n_steps - n_warmup))
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * done))


def default_batch_size(n_rows: int) -> int:
    """A 32nd of the rows, between 16 and 512, as a power of two."""
    return 2 ** min(9, max(4, round(math.log2(max(n_rows, 1) / 32))))


def steps_per_epoch(n_rows: int, batch_size: int) -> int:
    """Gradient steps of one shuffled pass."""
    rows = range(n_rows)
    return len(DeviceBatches(rows, min(batch_size, n_rows), generator=True))


def bounded_rows(most: int, row_bytes: int) -> int:
    """As many rows as a block may have: `most`, or fewer if they are wide."""
    return max(1, min(most, BLOCK_BYTES // max(1, row_bytes)))


def chunks_of(n_rows: int, width: int) -> list[slice]:
    """Slices that cover `n_rows`, each a block of so many floats a row at most."""
    step = bounded_rows(CHUNK_ROWS, 4 * width)
    return [slice(i, i + step) for i in range(0, n_rows, step)]


class Blocks:
    """Rows on their device, a bounded part at a time, as often as they are wanted.

    Parameters
    ----------
    rows : EncodedRows
    width : int
        Floats of a row in what is made of them.
    index : Tensor of shape (n,) or None, default=None
        Which rows; None for all of them.
    most : int, default=CHUNK_ROWS
        Rows of a part, however narrow.
    """

    def __init__(self, rows: EncodedRows, width: int, index=None, most=CHUNK_ROWS):
        self.rows = rows
        step = bounded_rows(most, max(4 * width, rows.row_bytes))
        if index is None:
            self.parts = [slice(i, i + step) for i in range(0, len(rows), step)]
        else:
            self.parts = index.split(step)

    def __iter__(self) -> Iterator[Batch]:
        return map(self.rows.take, self.parts)
