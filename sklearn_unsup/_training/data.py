"""Encoded rows that lie on the device once, of which batches are taken."""

from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor
from torch.utils.data import Dataset

from .._nn.chunks import CHUNK_ROWS, bounded_rows
from .._nn.device import fits_on

Batch = tuple[Tensor, Tensor]


class EncodedDataset(Dataset):
    """What is trained on: rows of which `take` gives some, dense, on the device.

    Attributes
    ----------
    device : device
    dequantizer : Dequantizer or None
        Redrawn in every shuffled pass.
    row_bytes : int
        Of a row that was taken.
    index_device : device
        Where indices are looked up. Those of a whole pass go there at once: a copy for
        each batch would have the host wait for the device.
    """

    def __getitem__(self, index) -> tuple[Batch, Batch]:
        rows = self.take(index)
        return rows, rows


class DenseDataset(EncodedDataset):
    """An encoded table, and the device that its batches are wanted on.

    It lies there as a whole, or in the host's memory if it does not fit.

    Parameters
    ----------
    x_num : Tensor of shape (n, n_numeric), float32
    x_cat : Tensor of shape (n, n_categorical), int64
    device : device or None, default=None
        None where the tensors are.
    dequantizer : Dequantizer or None, default=None
        On the device; redrawn in every shuffled pass.
    """

    def __init__(self, x_num: Tensor, x_cat: Tensor, device=None, dequantizer=None):
        self.x_num, self.x_cat, self.dequantizer = x_num, x_cat, dequantizer
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
            index = index.to(self.index_device)
            parts = (t.index_select(0, index) for t in (self.x_num, self.x_cat))
        x_num, x_cat = (to_device(part, self.device) for part in parts)
        return x_num, x_cat

    @property
    def index_device(self) -> torch.device:
        return self.x_num.device

    def split(self, order: Tensor, n_first: int) -> tuple[Self, Self]:
        """Two parts of the rows in a given order, the first with `n_first` of them.

        Rows of the second are judged by the same numbers in every pass.
        """
        order = order.to(self.index_device)
        first, second = order[:n_first], order[n_first:]
        return (
            DenseDataset(
                self.x_num[first], self.x_cat[first], self.device, self.dequantizer
            ),
            DenseDataset(self.x_num[second], self.x_cat[second], self.device),
        )


class SparseDataset(EncodedDataset):
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

    dequantizer = None
    index_device = torch.device("cpu")  # where sizes can be read without waiting

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
            to_device(part, self.device) for part in (lengths, columns, values)
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
        index = index.to(self.index_device)
        starts = self.indptr[index]
        lengths = self.indptr[index + 1] - starts
        n_entries = int(lengths.sum())
        shifts = starts - lengths.cumsum(0) + lengths
        shifts, counts = (to_device(t, self.values.device) for t in (shifts, lengths))
        shifts = shifts.repeat_interleave(counts, output_size=n_entries)
        places = torch.arange(n_entries, device=shifts.device) + shifts
        return lengths, self.columns[places], self.values[places]

    def split(self, order: Tensor, n_first: int) -> tuple[Self, Self]:
        """Two parts of the rows in a given order, the first with `n_first` of them."""
        parts = []
        for index in (order[:n_first], order[n_first:]):
            lengths, columns, values = self._entries(index)
            indptr = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
            parts.append(
                SparseDataset(indptr, columns, values, self.background, self.device)
            )
        return tuple(parts)


class LazyDataset(EncodedDataset):
    """Rows that are encoded whenever they are asked for.

    Parameters
    ----------
    encode : callable
        Gives `x_num` and `x_cat`, arrays, of an array of positions.
    positions : Tensor of shape (n,), int64
    row_bytes : int
    device : device
    dequantizer : Dequantizer or None, default=None
    """

    index_device = torch.device("cpu")

    def __init__(self, encode, positions, row_bytes, device, dequantizer=None):
        self.encode, self.positions, self.row_bytes = encode, positions, row_bytes
        self.device, self.dequantizer = torch.device(device), dequantizer

    def __len__(self) -> int:
        return len(self.positions)

    def take(self, index) -> Batch:
        """`x_num` and `x_cat` of rows on the device."""
        index = index if isinstance(index, slice) else index.to(self.index_device)
        x_num, x_cat = map(torch.from_numpy, self.encode(self.positions[index].numpy()))
        return to_device(x_num, self.device), to_device(x_cat, self.device)

    def split(self, order: Tensor, n_first: int) -> tuple[Self, Self]:
        """Two parts of the rows in a given order, the first with `n_first` of them."""
        first, second = self.positions[order[:n_first]], self.positions[order[n_first:]]
        return (
            LazyDataset(
                self.encode, first, self.row_bytes, self.device, self.dequantizer
            ),
            LazyDataset(self.encode, second, self.row_bytes, self.device),
        )


def place_dataset(
    x_num: Tensor, x_cat: Tensor, device, dequantizer=None
) -> DenseDataset:
    """Rows on a device, or for it in the host's memory if they leave it no room."""
    size = x_num.numel() * x_num.itemsize + x_cat.numel() * x_cat.itemsize
    if fits_on(device, size):
        x_num, x_cat = x_num.to(device), x_cat.to(device)
    return DenseDataset(x_num, x_cat, device, dequantizer)


def place_sparse_dataset(indptr, columns, values, background, device) -> SparseDataset:
    """Sparse rows on a device, or for it in the host's memory, see `place_dataset`."""
    parts = columns, values
    if fits_on(device, sum(t.numel() * t.itemsize for t in parts)):
        parts = [part.to(device) for part in parts]
    return SparseDataset(indptr, *parts, background, device)


def to_device(tensor: Tensor, device) -> Tensor:
    """A tensor on the device, copied while that may still work on what came before."""
    if device.type == "cuda" and not tensor.is_cuda:
        # A slice with gaps would be pinned gaps and all.
        tensor = tensor.contiguous().pin_memory()
    return tensor.to(device, non_blocking=True)


class DatasetChunks:
    """Rows on their device, a bounded part at a time, as often as they are wanted.

    Parameters
    ----------
    rows : EncodedDataset
    width : int
        Floats of a row in what is made of them.
    index : Tensor of shape (n,) or None, default=None
        Which rows; None for all of them.
    most : int, default=CHUNK_ROWS
        Rows of a part, however narrow.
    """

    def __init__(self, rows: EncodedDataset, width: int, index=None, most=CHUNK_ROWS):
        self.rows = rows
        step = bounded_rows(most, max(4 * width, rows.row_bytes))
        if index is None:
            self.parts = [slice(i, i + step) for i in range(0, len(rows), step)]
        else:
            self.parts = index.split(step)

    def __iter__(self) -> Iterator[Batch]:
        return map(self.rows.take, self.parts)
