"""Passes over many rows, a bounded number of them at a time."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

# Maximum number of rows that a pass without gradients holds at a time. It bounds the
# memory and changes no result.
CHUNK_ROWS = 16_384
# Maximum number of bytes of these rows. It bounds the memory where rows are wide.
BLOCK_BYTES = 2**26


def bounded_rows(max_rows: int, row_bytes: int) -> int:
    """Number of rows to hold at a time: `max_rows`, or fewer where rows are wide."""
    return max(1, min(max_rows, BLOCK_BYTES // max(1, row_bytes)))


def chunk_slices(n_rows: int, width: int) -> list[slice]:
    """Slices that cover `n_rows` rows of `width` floats, each of bounded memory."""
    step = bounded_rows(CHUNK_ROWS, 4 * width)
    return [slice(i, i + step) for i in range(0, n_rows, step)]


# Number of rows in every block of :func:`map_blocks`, which pads the last one. With
# this number the calls cost little for a large table, and the padding costs little for
# a single row.
BLOCK_ROWS = {"cpu": 128}
ACCELERATOR_BLOCK_ROWS = 4_096
# With fewer rows, element-wise kernels compute the rows of one block in different ways.
MIN_BLOCK_ROWS = 16
# Number of floats in the widest vector register, which is also a line of the cache.
ALIGNMENT = 16


def block_rows(width: int, device) -> int:
    """Number of rows in a block, which depends only on the width and the device."""
    size = BLOCK_ROWS.get(torch.device(device).type, ACCELERATOR_BLOCK_ROWS)
    while size > MIN_BLOCK_ROWS and 4 * size * width > BLOCK_BYTES:
        size //= 2
    return size


def map_blocks(function: Callable, dataset, width: int, index=None):
    """Apply a function to rows, with a result for a row that never depends on others.

    A row gets the same bits whichever rows are processed with it, because every block
    has the same shape and products are aligned. All results of trained networks that
    users see are computed here.

    Parameters
    ----------
    function : callable
        Takes `x_num` and `x_cat` and returns a tensor, or a tuple of tensors, with one
        entry per row along the first dimension.
    dataset : EncodedDataset
    width : int
        Number of floats that the function makes of a row; it bounds the block.
    index : Tensor of shape (n,) or None, default=None
        Positions of the rows to process; None for all rows.

    Returns
    -------
    results : Tensor or tuple of Tensors
        On the device of the dataset.
    """
    size, joined = block_rows(width, dataset.device), None
    n = len(dataset) if index is None else len(index)
    with torch.no_grad(), AlignedProducts():
        for start in range(0, n, size):
            positions = slice(start, start + size)
            batch = dataset.take(positions if index is None else index[positions])
            n_rows = len(batch[0])
            results = function(*(pad_rows(tensor, size) for tensor in batch))
            is_tuple = isinstance(results, tuple)
            results = results if is_tuple else (results,)
            if joined is None:
                # Small tensors that were kept from block to block would keep the heap
                # from shrinking, by far more than their own size.
                joined = [r.new_empty(n, *r.shape[1:]) for r in results]
            for tensor, result in zip(joined, results, strict=True):
                tensor[positions] = result[:n_rows]
    return tuple(joined) if is_tuple else joined[0]


def pad_rows(x: Tensor, n_rows: int) -> Tensor:
    """Copy of `x` with rows of zeros below, in newly allocated, aligned memory."""
    block = x.new_zeros(n_rows, x.shape[1])
    block[: len(x)] = x
    return block


class AlignedProducts(TorchFunctionMode):
    """Pad the operands of all matrix products on a CPU to aligned sizes, with zeros.

    If all sizes are multiples of `ALIGNMENT`, every row is computed in the same way, at
    any position and with any number of threads. With other sizes, such as 14 columns to
    8 components, it is not. This is a mode so that it reaches the products of any
    network.
    """

    def __init__(self):
        super().__init__()
        # Padded parameters by the identity of the parameter. They are padded only once
        # for all blocks.
        self.padded_weights = {}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        product, kwargs = PRODUCTS.get(func), dict(kwargs or {})
        if product is None or args[0].device.type != "cpu":
            return func(*args, **kwargs)
        out = kwargs.pop("out", None)  # It has the sizes without padding.
        result = product(self, *args, **kwargs)
        return result if out is None else out.copy_(result)

    def _linear(self, x, weight, bias=None):
        is_aligned = not (weight.shape[0] % ALIGNMENT or weight.shape[1] % ALIGNMENT)
        # Padding must not make operands fit that do not: torch refuses them.
        if is_aligned or x.shape[-1] != weight.shape[1]:
            return F.linear(x, weight, bias)
        padded = self.padded_weights.get(id(weight))
        if padded is None:
            padded = pad_matrix(weight)
            # A temporary tensor may be freed, and another one get its identity.
            if isinstance(weight, Parameter):
                self.padded_weights[id(weight)] = padded
        bias = None if bias is None else pad_columns(bias)
        return F.linear(pad_columns(x), padded, bias)[:, : len(weight)]

    def _matmul(self, x, other):
        if x.shape[-1] != other.shape[-2]:
            return torch.matmul(x, other)
        n = other.shape[-1]
        return torch.matmul(pad_columns(x), pad_matrix(other))[..., :n]

    def _addmm(self, bias, x, other, **options):
        n = other.shape[-1]
        operands = pad_columns(bias), pad_columns(x), pad_matrix(other)
        return torch.addmm(*operands, **options)[:, :n]

    def _baddbmm(self, bias, x, other, **options):
        n = other.shape[-1]
        operands = pad_columns(bias), pad_columns(x), pad_matrix(other)
        return torch.baddbmm(*operands, **options)[..., :n]


PRODUCTS = {
    F.linear: AlignedProducts._linear,
    torch.addmm: AlignedProducts._addmm,
    torch.baddbmm: AlignedProducts._baddbmm,
    **dict.fromkeys(
        (torch.matmul, torch.mm, torch.bmm, Tensor.matmul, Tensor.__matmul__),
        AlignedProducts._matmul,
    ),
}


def pad_columns(x: Tensor) -> Tensor:
    """Pad the last dimension with zeros to a multiple of `ALIGNMENT`."""
    missing = -x.shape[-1] % ALIGNMENT
    return F.pad(x, (0, missing)) if missing else x


def pad_matrix(x: Tensor) -> Tensor:
    """Pad the last two dimensions with zeros to multiples of `ALIGNMENT`."""
    missing = -x.shape[-1] % ALIGNMENT, -x.shape[-2] % ALIGNMENT
    return F.pad(x, (0, missing[0], 0, missing[1])) if any(missing) else x
