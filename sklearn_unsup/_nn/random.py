"""Random numbers for batches, the same however many processes share a batch."""

import math

import torch
from torch import Tensor


class BatchGenerator(torch.Generator):
    """A generator that knows which rows of the present batch belong to its process.

    The functions of this file then draw for the whole batch and keep what is for these
    rows: processes that start from one seed see, together, what a single one would.

    Attributes
    ----------
    share : tuple of int and slice, or None
        Rows of the whole batch, and those of this process; None for all of them.
    """

    share: tuple[int, slice] | None = None


def drawn(draw, shape, generator, dim: int = 0) -> Tensor:
    """``draw(shape)``, of a shared batch this process's part; rows lie along `dim`."""
    share = getattr(generator, "share", None)
    if share is None:
        return draw(shape)
    n_rows, part = share
    whole = draw((*shape[:dim], n_rows, *shape[dim + 1 :]))
    return whole.narrow(dim, part.start, part.stop - part.start)


def normal(shape, generator, device) -> Tensor:
    """Standard normal numbers; the first dimension is that of the rows."""
    return drawn(
        lambda s: torch.randn(s, generator=generator, device=device), shape, generator
    )


def uniform(shape, generator, device) -> Tensor:
    """Uniform numbers in [0, 1); the first dimension is that of the rows."""
    return drawn(
        lambda s: torch.rand(s, generator=generator, device=device), shape, generator
    )


def gumbel(like: Tensor, generator) -> Tensor:
    """Standard Gumbel noise: the argmax of logits plus it is a draw of the softmax."""

    def draw(shape):
        noise = torch.empty(shape, dtype=like.dtype, device=like.device)
        return noise.exponential_(generator=generator)

    return drawn(draw, like.shape, generator).clamp_min_(1e-30).log_().neg_()


def random_bytes(shape, generator, device, dim: int = 0) -> Tensor:
    """Uniform bytes, eight for one random number; rows lie along `dim`."""

    def draw(shape):
        size = torch.Size(shape)
        words = torch.empty(-(-size.numel() // 8), dtype=torch.int64, device=device)
        words.random_(-(2**63), None, generator=generator)
        return words.view(torch.uint8)[: size.numel()].view(size)

    return drawn(draw, shape, generator, dim)


def coarse_uniform(shape, generator, device) -> Tensor:
    """Uniform numbers of mean 0 and variance 1, of 128 values; rows come first.

    A byte for each: normal numbers would take a small net as long as a layer does.
    """
    odd = random_bytes(shape, generator, device).bitwise_or_(1).view(torch.int8)
    # The mean square of -127, -125 .. 127 is (128 ** 2 - 1) / 3.
    return odd.float().mul_(math.sqrt(3 / (128**2 - 1)))
