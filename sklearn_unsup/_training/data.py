"""Encoded datasets, from which batches are taken on the device."""

from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor
from torch.utils.data import Dataset

from .._nn.chunks import CHUNK_ROWS, bounded_rows
from .._nn.device import fits_on

Batch = tuple[Tensor, Tensor]


class EncodedDataset(Dataset):
    """Base class of datasets whose `take` returns dense batches on the device.

    Attributes
    ----------
    device : device
        Device of the batches.
    dequantizer : Dequantizer or None
        Applied to every batch of a shuffled pass.
    row_bytes : int
        Number of bytes of a row of a batch.
    index_device : device
        Device on which rows are looked up. The indices of a whole pass are copied there
        at once, because a copy for each batch would make the host wait for the device.
    """

    def __getitem__(self, index) -> tuple[Batch, Batch]:
        batch = self.take(index)
        return batch, batch


class DenseDataset(EncodedDataset):
    """An encoded table in two tensors.

    They are on the device of the batches, or in the host's memory if they do not fit.

    Parameters
    ----------
    x_num : Tensor of shape (n, n_numeric), float32
    x_cat : Tensor of shape (n, n_categorical), int64
    device : device or None, default=None
        Device of the batches; None is that of the tensors.
    dequantizer : Dequantizer or None, default=None
        Applied to every batch of a shuffled pass; on `device`.
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
        """All numbers of the table."""
        return self.x_num

    def take(self, index) -> Batch:
        """`x_num` and `x_cat` of the rows at `index`, on the device.

        A slice gives views if the table is on the device.
        """
        if isinstance(index, slice):
            batch = self.x_num[index], self.x_cat[index]
        else:
            index = index.to(self.index_device)
            batch = (t.index_select(0, index) for t in (self.x_num, self.x_cat))
        x_num, x_cat = (to_device(tensor, self.device) for tensor in batch)
        return x_num, x_cat

    @property
    def index_device(self) -> torch.device:
        return self.x_num.device

    def split(self, order: Tensor, n_first: int) -> tuple[Self, Self]:
        """Split the rows, in a given order, after the first `n_first` of them.

        The second dataset has no dequantizer, so that validation uses the same numbers
        in every epoch.
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
    """Encoded rows of numbers, most of which equal their column's background value.

    Only the other numbers are stored, on the device of the batches or, if they do not
    fit, in the host's memory. Batches are made dense on the device.

    Parameters
    ----------
    indptr : Tensor of shape (n + 1,), int64
        Positions at which the entries of each row begin, in the host's memory.
    columns : Tensor of shape (n_entries,), int32
        Row i has entries in ``columns[indptr[i] : indptr[i + 1]]``, at most one in each
        column.
    values : Tensor of shape (n_entries,), float32
    background : Tensor of shape (width,), float32
        Encoded value of each column where a row has no entry.
    device : device or None, default=None
        Device of the batches; None is that of `values`.
    """

    dequantizer = None
    # Sizes of batches can be read there without waiting for the device.
    index_device = torch.device("cpu")

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
        """All numbers of the table, the background of each column only once."""
        width = len(self.background)
        has_background = torch.bincount(self.columns, minlength=width) < len(self)
        has_background = has_background.to(self.device)
        return torch.cat([self.values.to(self.device), self.background[has_background]])

    def take(self, index) -> Batch:
        """`x_num` of the rows at `index`, dense on the device, and empty `x_cat`."""
        lengths, columns, values = self._entries(index)
        n, width = len(lengths), len(self.background)
        lengths, columns, values = (
            to_device(tensor, self.device) for tensor in (lengths, columns, values)
        )
        row_index = torch.arange(n, device=self.device)
        row_index = row_index.repeat_interleave(lengths, output_size=len(values))
        x_num = self.background.repeat(n, 1)
        x_num.view(-1).scatter_(0, row_index * width + columns, values)
        return x_num, self.x_cat[:n]

    def _entries(self, index):
        """Number of entries of each row at `index`; their columns and values, in order.

        The first tensor is on the CPU, the others are on the device of the table.
        """
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                edges = self.indptr[start : max(start, stop) + 1]
                entries = slice(edges[0].item(), edges[-1].item())
                return edges.diff(), self.columns[entries], self.values[entries]
            index = torch.arange(start, stop, step)
        index = index.to(self.index_device)
        starts = self.indptr[index]
        lengths = self.indptr[index + 1] - starts
        n_entries = int(lengths.sum())
        shifts = starts - lengths.cumsum(0) + lengths
        shifts, counts = (to_device(t, self.values.device) for t in (shifts, lengths))
        shifts = shifts.repeat_interleave(counts, output_size=n_entries)
        entries = torch.arange(n_entries, device=shifts.device) + shifts
        return lengths, self.columns[entries], self.values[entries]

    def split(self, order: Tensor, n_first: int) -> tuple[Self, Self]:
        """Split the rows, in a given order, after the first `n_first` of them."""
        datasets = []
        for index in (order[:n_first], order[n_first:]):
            lengths, columns, values = self._entries(index)
            indptr = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
            datasets.append(
                SparseDataset(indptr, columns, values, self.background, self.device)
            )
        return tuple(datasets)


class LazyDataset(EncodedDataset):
    """Rows that are encoded for each batch.

    Parameters
    ----------
    encode : callable
        Returns the arrays `x_num` and `x_cat` for an array of positions in the table.
    positions : Tensor of shape (n,), int64
        Positions of this dataset's rows in the table.
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
        """`x_num` and `x_cat` of the rows at `index`, on the device."""
        index = index if isinstance(index, slice) else index.to(self.index_device)
        x_num, x_cat = map(torch.from_numpy, self.encode(self.positions[index].numpy()))
        return to_device(x_num, self.device), to_device(x_cat, self.device)

    def split(self, order: Tensor, n_first: int) -> tuple[Self, Self]:
        """Split the rows, in a given order, after the first `n_first` of them."""
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
    """Dataset of an encoded table, which is moved to the device if it fits."""
    size = x_num.numel() * x_num.itemsize + x_cat.numel() * x_cat.itemsize
    if fits_on(device, size):
        x_num, x_cat = x_num.to(device), x_cat.to(device)
    return DenseDataset(x_num, x_cat, device, dequantizer)


def place_sparse_dataset(indptr, columns, values, background, device) -> SparseDataset:
    """Dataset of sparse rows, which are moved to the device if they fit."""
    tensors = columns, values
    if fits_on(device, sum(t.numel() * t.itemsize for t in tensors)):
        tensors = [tensor.to(device) for tensor in tensors]
    return SparseDataset(indptr, *tensors, background, device)


def to_device(tensor: Tensor, device) -> Tensor:
    """Move a tensor to a device without waiting for the device's earlier work."""
    if device.type == "cuda" and not tensor.is_cuda:
        # Pinning a strided slice would pin the memory between its elements as well.
        tensor = tensor.contiguous().pin_memory()
    return tensor.to(device, non_blocking=True)


class DatasetChunks:
    """Iterable over batches of a dataset, of bounded memory; it can be read repeatedly.

    Parameters
    ----------
    dataset : EncodedDataset
    width : int
        Number of floats that the caller makes of a row.
    index : Tensor of shape (n,) or None, default=None
        Positions of the rows to read; None for all rows.
    max_rows : int, default=CHUNK_ROWS
        Maximum number of rows of a batch.
    """

    def __init__(
        self, dataset: EncodedDataset, width: int, index=None, max_rows=CHUNK_ROWS
    ):
        self.dataset = dataset
        step = bounded_rows(max_rows, max(4 * width, dataset.row_bytes))
        if index is None:
            self.indices = [slice(i, i + step) for i in range(0, len(dataset), step)]
        else:
            self.indices = index.split(step)

    def __iter__(self) -> Iterator[Batch]:
        return map(self.dataset.take, self.indices)
