"""Rows that lie on the device once, shuffled slices of them, and schedules."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

CHUNK_ROWS = 16_384  # of a pass without gradients; bounds memory, changes no result
BLOCK_BYTES = 2**26  # of the rows of either, however wide; a batch may have more


def bounded_rows(most: int, row_bytes: int) -> int:
    """As many rows as a block may have: `most`, or fewer if they are wide."""
    return max(1, min(most, BLOCK_BYTES // max(1, row_bytes)))


def chunks_of(n_rows: int, width: int) -> list[slice]:
    """Slices that cover `n_rows`, each a block of so many floats a row at most."""
    step = bounded_rows(CHUNK_ROWS, 4 * width)
    return [slice(i, i + step) for i in range(0, n_rows, step)]


# Every block has that many rows, the last one padded: enough that the calls cost a
# large table little, few enough that a single row does not wait long for its company.
BLOCK_ROWS = {"cpu": 128}
ACCELERATOR_ROWS = 4_096
MIN_BLOCK_ROWS = 16  # with fewer the element-wise kernels treat rows unlike
ALIGNED = 16  # floats: the widest register, and a line of the cache


def block_rows(width: int, device) -> int:
    """Rows of a block: a matter of the table's width and the device alone."""
    size = BLOCK_ROWS.get(torch.device(device).type, ACCELERATOR_ROWS)
    while size > MIN_BLOCK_ROWS and 4 * size * width > BLOCK_BYTES:
        size //= 2
    return size


def map_blocks(function: Callable, rows, width: int, index=None):
    """Results of a function of rows, each the same bit for bit in any company.

    Whatever a trained net says of a row comes through here.

    Parameters
    ----------
    function : callable
        Takes `x_num` and `x_cat` and returns a tensor, or several, with a line for
        each row.
    rows : EncodedDataset
    width : int
        Floats of a row in what the function makes of it.
    index : Tensor of shape (n,) or None, default=None
        Which rows; None for all of them.

    Returns
    -------
    results : Tensor or tuple of Tensors
        On the device of the rows.
    """
    size, parts = block_rows(width, rows.device), []
    n = len(rows) if index is None else len(index)
    with torch.no_grad(), AlignedProducts():
        for start in range(0, n, size):
            part = slice(start, start + size)
            block = rows.take(part if index is None else index[part])
            n_own = len(block[0])
            results = function(*(filled(t, size) for t in block))
            several = isinstance(results, tuple)
            results = results if several else (results,)
            parts.append([t[:n_own] for t in results])
    joined = tuple(torch.cat(part) for part in zip(*parts, strict=True))
    return joined if several else joined[0]


def filled(x: Tensor, n_rows: int) -> Tensor:
    """A copy with rows of zeros below, in memory of its own that begins a line."""
    block = x.new_zeros(n_rows, x.shape[1])
    block[: len(x)] = x
    return block


class AlignedProducts(TorchFunctionMode):
    """Matrix products on a processor whose sizes are filled up with zeros.

    With sizes that are multiples of `ALIGNED` every row takes the same path through
    the product, at any position and with any number of threads; with others, such as
    14 columns to 8 components, it does not. A mode, so that no network can forget it.
    """

    def __init__(self):
        super().__init__()
        self.weights = {}  # filled up once for all blocks, by the parameter's identity

    def __torch_function__(self, func, types, args=(), kwargs=None):
        product, kwargs = PRODUCTS.get(func), dict(kwargs or {})
        if product is None or args[0].device.type != "cpu":
            return func(*args, **kwargs)
        out = kwargs.pop("out", None)  # has the sizes before they are filled up
        result = product(self, *args, **kwargs)
        return result if out is None else out.copy_(result)

    def _linear(self, x, weight, bias=None):
        if not (weight.shape[0] % ALIGNED or weight.shape[1] % ALIGNED):
            return F.linear(x, weight, bias)
        wide = self.weights.get(id(weight))
        if wide is None:
            wide = aligned(weight)
            if isinstance(weight, Parameter):  # others may be gone, and others there
                self.weights[id(weight)] = wide
        bias = None if bias is None else aligned_columns(bias)
        return F.linear(aligned_columns(x), wide, bias)[:, : len(weight)]

    def _matmul(self, x, other):
        n = other.shape[-1]
        return torch.matmul(aligned_columns(x), aligned(other))[..., :n]

    def _addmm(self, start, x, other, **options):
        n = other.shape[-1]
        parts = aligned_columns(start), aligned_columns(x), aligned(other)
        return torch.addmm(*parts, **options)[:, :n]

    def _baddbmm(self, start, x, other, **options):
        n = other.shape[-1]
        parts = aligned_columns(start), aligned_columns(x), aligned(other)
        return torch.baddbmm(*parts, **options)[..., :n]


PRODUCTS = {
    F.linear: AlignedProducts._linear,
    torch.addmm: AlignedProducts._addmm,
    torch.baddbmm: AlignedProducts._baddbmm,
    **dict.fromkeys(
        (torch.matmul, torch.mm, torch.bmm, Tensor.matmul, Tensor.__matmul__),
        AlignedProducts._matmul,
    ),
}


def aligned_columns(x: Tensor) -> Tensor:
    """With zeros beside, up to the next multiple of `ALIGNED`."""
    missing = -x.shape[-1] % ALIGNED
    return F.pad(x, (0, missing)) if missing else x


def aligned(x: Tensor) -> Tensor:
    """With zeros beside and below, up to the next multiples of `ALIGNED`."""
    missing = -x.shape[-1] % ALIGNED, -x.shape[-2] % ALIGNED
    return F.pad(x, (0, missing[0], 0, missing[1])) if any(missing) else x
