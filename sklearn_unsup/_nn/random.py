"""Random numbers for batches, the same for any number of processes."""

import math

import torch
from torch import Tensor


class BatchGenerator(torch.Generator):
    """A generator that knows which rows of the current batch its process trains on.

    The functions of this file draw for the whole batch and keep the numbers of these
    rows. Processes that start from the same seed then use, together, the numbers that
    a single process would use.

    Attributes
    ----------
    local_rows : tuple of int and slice, or None
        Number of rows of the whole batch, and the slice of them that belongs to this
        process; None if the process has the batch to itself.
    """

    local_rows: tuple[int, slice] | None = None


def draw_for_batch(draw, shape, generator, dim: int = 0) -> Tensor:
    """Call ``draw(shape)`` for the whole batch and return this process's rows.

    Parameters
    ----------
    draw : callable
        Draws a tensor of a given shape.
    shape : tuple of int
        Shape of the result.
    generator : torch.Generator
        A :class:`BatchGenerator` where processes share batches.
    dim : int
        Dimension along which the rows lie.
    """
    local_rows = getattr(generator, "local_rows", None)
    if local_rows is None:
        return draw(shape)
    n_rows, rows = local_rows
    whole = draw((*shape[:dim], n_rows, *shape[dim + 1 :]))
    return whole.narrow(dim, rows.start, rows.stop - rows.start)


def normal(shape, generator, device) -> Tensor:
    """Standard normal numbers; rows lie along the first dimension."""
    return draw_for_batch(
        lambda s: torch.randn(s, generator=generator, device=device), shape, generator
    )


def uniform(shape, generator, device) -> Tensor:
    """Uniform numbers in [0, 1); rows lie along the first dimension."""
    return draw_for_batch(
        lambda s: torch.rand(s, generator=generator, device=device), shape, generator
    )


def gumbel(shape, generator, device) -> Tensor:
    """Standard Gumbel noise; rows lie along the first dimension.

    The argmax of logits plus Gumbel noise is a draw from their softmax. Minus the
    logarithm of a uniform number is exponential, and drawn in a sixth of the time that
    torch takes for exponential numbers on a CPU.
    """
    exponential = uniform(shape, generator, device).clamp_min_(1e-30).log_().neg_()
    return exponential.log_().neg_()


def draw_index(logits: Tensor, generator, numbers: Tensor | None = None) -> Tensor:
    """Positions that are drawn from the softmax of each row, (n, k) to (n,).

    One uniform number is looked up in the distribution function, of `numbers` (n,)
    in [0, 1) if they are given. Noise for each of the logits would cost several times
    as much.
    """
    # A softmax would also divide by the sum. On a CPU, for 8 logits each, it takes
    # fifteen times as long as its exponentials alone.
    edges = (logits - logits.amax(1, keepdim=True)).exp_().cumsum_(1)
    # In (0, 1]: where it begins, positions without probability have an edge of 0.
    if numbers is None:
        numbers = uniform((len(logits),), generator, logits.device)
    points = (1.0 - numbers)[:, None] * edges[:, -1:]
    return torch.searchsorted(edges, points)[:, 0]


def random_bytes(shape, generator, device, dim: int = 0) -> Tensor:
    """Uniform bytes; rows lie along `dim`.

    Each random 64-bit word gives eight of them, which is faster than one at a time.
    """

    def draw(shape):
        *others, last = shape
        words = torch.empty(*others, -(-last // 8), dtype=torch.int64, device=device)
        words.random_(-(2**63), None, generator=generator)
        drawn = words.view(torch.uint8)
        return drawn[..., :last] if last % 8 else drawn

    return draw_for_batch(draw, shape, generator, dim)


def coarse_uniform(shape, generator, device) -> Tensor:
    """Uniform numbers of mean 0 and variance 1, rounded to 128 values.

    Each costs a random byte only: in a small net, drawing normal numbers would take as
    long as a layer does. Rows lie along the first dimension.
    """
    odd = random_bytes(shape, generator, device).bitwise_or_(1).view(torch.int8)
    # The mean square of -127, -125 .. 127 is (128 ** 2 - 1) / 3.
    return odd.float().mul_(math.sqrt(3 / (128**2 - 1)))


def normal_points(n_draws: int, n_components: int) -> Tensor:
    """Fixed quasi-random points of N(0, I), shape (n_draws, n_components)."""
    engine = torch.quasirandom.SobolEngine(min(n_components, 1111), True, seed=0)
    uniform = engine.draw(n_draws).clamp(1e-6, 1 - 1e-6)
    points = torch.special.ndtri(uniform)
    # Mean and variance are corrected, because all rows share the points, so that errors
    # would not average out. A single point cannot have mean 0; with variance 1 it is a
    # vector of +1 and -1.
    if n_draws > 1:
        points = points - points.mean(0)
    points = points / points.square().mean(0).sqrt()
    repeats = -(-n_components // points.shape[1])
    return points.repeat(1, repeats)[:, :n_components]
