"""Conditions on single columns: their log-probability, and draws that meet them."""

import math

import torch
from torch import Tensor

from .._table.layout import ANY_CODE, FIRST_SET, EncodedConditions
from .likelihoods import LOG_TWO_PI
from .random import draw_index, uniform

# Width of a range of encoded numbers below which it stands for its middle, whose
# density then takes the place of the probability of the range.
POINT_WIDTH = 1e-4
# Least standard normal number that is drawn, unless a range is below it.
MAX_STANDARD = 10.0
# Least log-probability. Weights of rows stay finite where all are impossible.
LOG_IMPOSSIBLE = -1e4
# Standard deviation of the kernel that stands for a density of numbers where a network
# makes them without noise.
KERNEL_WIDTH = 0.05


def to_tensors(conditions: EncodedConditions, device) -> EncodedConditions:
    """Copy the arrays of conditions to a device."""
    return conditions.map(lambda array: torch.as_tensor(array).to(device))


def is_point(low: Tensor, high: Tensor) -> Tensor:
    """Whether a range stands for one number."""
    return high - low < POINT_WIDTH


def middle(low: Tensor, high: Tensor) -> Tensor:
    """Middle of a range; the finite end, or 0, of one that is not bounded."""
    both = 0.5 * (low + high)
    both = torch.where(torch.isinf(high), low, both)
    both = torch.where(torch.isinf(low), high, both)
    return torch.where(torch.isinf(both), torch.zeros_like(both), both)


# ------------------------------------------------------------------ categories


def allowed_codes(codes: Tensor, sets: Tensor | None, n_codes: int) -> Tensor:
    """Which codes each row may have, bool of shape (n, n_codes)."""
    allowed = codes[:, None] == torch.arange(n_codes, device=codes.device)
    allowed |= (codes == ANY_CODE)[:, None]
    if sets is not None and len(sets):
        of_set = sets[(FIRST_SET - codes).clamp_min(0)]
        allowed = torch.where((codes <= FIRST_SET)[:, None], of_set, allowed)
    return allowed


def draw_codes(
    logits: Tensor, codes: Tensor, sets: Tensor | None, generator
) -> tuple[Tensor, Tensor]:
    """Draw a code for each row among those that its condition allows.

    Parameters
    ----------
    logits : Tensor of shape (n, n_codes)
    codes, sets : Tensor
        See :class:`EncodedConditions`.
    generator : torch.Generator

    Returns
    -------
    drawn : Tensor of shape (n,), int64
    log_mass : Tensor of shape (n,)
        Log-probability of the condition.
    """
    allowed = allowed_codes(codes, sets, logits.shape[1])
    log_probs = logits.log_softmax(1).masked_fill(~allowed, -math.inf)
    log_mass = torch.where(codes == ANY_CODE, 0.0, log_probs.logsumexp(1))
    return draw_index(log_probs, generator), log_mass


def category_log_mass(log_probs: Tensor, codes: Tensor, sets: Tensor | None) -> Tensor:
    """Log-probability that each row meets its condition on a column, shape (n,)."""
    allowed = allowed_codes(codes, sets, log_probs.shape[1])
    log_mass = log_probs.masked_fill(~allowed, -math.inf).logsumexp(1)
    return torch.where(codes == ANY_CODE, 0.0, log_mass)


# ------------------------------------------------------------------ numbers


def normal_log_density(x: Tensor) -> Tensor:
    return -0.5 * (x.square() + LOG_TWO_PI)


def lower_tail(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Reflect ranges above zero to below it, where normal quantiles are precise.

    Returns the ends of the ranges, and -1 where they were reflected, 1 elsewhere.
    """
    is_upper = low > 0
    sign = 1.0 - 2.0 * is_upper
    return (
        torch.where(is_upper, -high, low),
        torch.where(is_upper, -low, high),
        sign,
    )


def normal_log_mass(low: Tensor, high: Tensor) -> Tensor:
    """Log-probability that a standard normal number is in a range."""
    low, high, _ = lower_tail(low, high)
    below, above = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
    mass = above + torch.log1p(-torch.exp((below - above).clamp_max(0.0)))
    return mass.clamp_min(LOG_IMPOSSIBLE)


def truncated_normal(low: Tensor, high: Tensor, generator) -> Tensor:
    """Standard normal numbers that are in ranges."""
    start, stop, sign = lower_tail(low, high)
    below, above = torch.special.ndtr(start), torch.special.ndtr(stop)
    u = below + (above - below) * uniform(low.shape, generator, low.device)
    # At the far end of a tail the quantile is infinite.
    x = torch.special.ndtri(u).clamp_min(-MAX_STANDARD).maximum(start).minimum(stop)
    return sign * x


def kernel_log_mass(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Logarithm of a normal kernel's value at the distance of numbers from ranges.

    For a single number it is a density.
    """
    distance = (low - x).clamp_min(0.0) + (x - high).clamp_min(0.0)
    log_kernel = -0.5 * (distance / KERNEL_WIDTH).square()
    constant = math.log(KERNEL_WIDTH) + 0.5 * LOG_TWO_PI
    log_kernel = torch.where(is_point(low, high), log_kernel - constant, log_kernel)
    return log_kernel.clamp_min(LOG_IMPOSSIBLE)


def bernoulli_log_mass(p: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Log-probability that numbers are in ranges, which are 1 by `p` and else 0."""
    ones, zeros = (low <= 1) & (high >= 1), (low <= 0) & (high >= 0)
    mass = torch.where(ones, p, 0.0) + torch.where(zeros, 1.0 - p, 0.0)
    return mass.log().clamp_min(LOG_IMPOSSIBLE)


def folded(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Numbers that are in ranges: those outside are reflected at the ends.

    Moved to the nearest end instead, all that came near would have the same value.
    """
    width = high - low
    finite = torch.isfinite(width) & (width > 0)
    period = torch.where(finite, 2.0 * width, 1.0)
    inside = low + width - ((x - low).remainder(period) - width).abs()
    below, above = low + (low - x), high - (x - high)
    reflected = torch.where(x < low, below, torch.where(x > high, above, x))
    reflected = torch.where(finite & ((x < low) | (x > high)), inside, reflected)
    return reflected.maximum(low).minimum(high)
