"""Column by column: the log-probabilities that an autoregressive model adds up."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from .autoregressive import AutoregressiveModel
from .distributions import presence, softcap
from .heads import LOG_SCALE_BOUNDS, NumberHeads

LOG_SQRT_TWO_PI = 0.5 * math.log(2 * math.pi)
# Below this half width, in standard deviations, a normal density is taken for an
# exponential function, which is then exact to eight digits.
NARROW = 1e-3


def column_terms(
    model: AutoregressiveModel, x_num: Tensor, x_cat: Tensor, middle, half
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of each number and each category given those before it.

    Parameters
    ----------
    model : AutoregressiveModel
        In evaluation mode.
    x_num, x_cat : Tensor
        Encoded rows, which later columns see.
    middle, half : Tensor of shape (n, n_numeric)
        Middles and half widths of the intervals that numbers are to be in. With a width
        of 0 the log-density at the middle is returned; an infinite one stands for all
        numbers above the middle or, if it is negative, below.

    Returns
    -------
    of_numbers : Tensor of shape (n, n_numeric), float64
        0 where a number is missing.
    of_categories : Tensor of shape (n, n_categorical), float64
    """
    layout, present = model.layout, presence(model.layout, x_cat)
    features = model.features(x_num, x_cat, present)
    hidden = model._hidden(features, None)
    of_categories, of_numbers = hidden.split([layout.n_categorical, layout.n_numeric])
    numbers = torch.zeros_like(middle, dtype=torch.float64)
    if layout.n_numeric:
        moments = model._moments(features)
        raw = number_parameters(model.number_heads, of_numbers, moments)
        numbers = interval_log_prob(
            model.number_heads, raw, precise(middle).t(), precise(half).t()
        ).t()
        if present is not None:
            numbers = numbers.masked_fill(present.to(numbers.device) == 0, 0.0)
    categories = torch.zeros(x_cat.shape, dtype=torch.float64, device=numbers.device)
    if layout.n_categorical:
        heads = model.category_heads
        categories = category_terms(heads, of_categories, x_cat, features)
    return numbers, categories


def precise(x: Tensor) -> Tensor:
    """Numbers in double precision, on the CPU if their device has none."""
    device = "cpu" if x.device.type == "mps" else x.device
    return x.to(device, torch.float64)


def number_parameters(heads: NumberHeads, hidden: Tensor, moments=None) -> Tensor:
    """Parameters of the conditional of each number, (n_numeric, n, n_parameters)."""
    raw = precise(torch.baddbmm(heads.bias, hidden, heads.weights()).float())
    moments = None if moments is None else tuple(precise(m) for m in moments)
    return heads._relative_to(raw, moments, range(len(raw)))


def category_terms(heads, hidden: Tensor, codes: Tensor, features: Tensor) -> Tensor:
    """Log-probability of each code, shape (n, n_categorical)."""
    sizes, terms = [len(run) for run in heads.runs], []
    logits = heads.raw_logits(hidden.split(sizes), features)
    for raw, own_codes in zip(logits, codes.t().split(sizes), strict=True):
        raw = precise(raw)
        index = own_codes.to(raw.device)[:, None]
        terms.append(softcap(raw).log_softmax(1).gather(1, index)[:, 0])
    return torch.cat(terms).t()


def interval_log_prob(heads, raw: Tensor, middle: Tensor, half: Tensor) -> Tensor:
    """Log-probability of intervals, or log-density, of shape (n_numeric, n).

    Parameters
    ----------
    heads : NumberHeads
    raw : Tensor of shape (n_numeric, n, n_parameters), float64
    middle, half : Tensor of shape (n_numeric, n), float64
    """
    weights, means, log_scales, gate, bins = heads._split(raw)
    log_scales = log_scales.clamp(*LOG_SCALE_BOUNDS)
    precision = (-log_scales).exp()
    standard = (middle[..., None] - means) * precision
    smooth = normal_interval(standard, half[..., None] * precision)
    # A density is one of encoded numbers, not of standardised ones.
    is_density = half == 0
    smooth = smooth - log_scales * is_density[..., None]
    smooth = (weights.log_softmax(-1) + smooth).logsumexp(-1)
    sharp = histogram_interval(heads, bins, middle, half)
    gate = gate[..., 0]
    return torch.logaddexp(smooth - F.softplus(gate), sharp + F.logsigmoid(gate))


def normal_interval(middle: Tensor, half: Tensor) -> Tensor:
    """Log-probability of intervals under N(0, 1), or log-density if they are points.

    Exact in the far tails and for narrow intervals, where differences of two
    probabilities are not.
    """
    density = -0.5 * middle.square() - LOG_SQRT_TWO_PI
    # The integral of an exponential function over a narrow interval.
    product = (middle * half).abs()
    ratio = torch.where(
        product > 1e-4,
        product + torch.log(-torch.expm1(-2 * product)) - torch.log(2 * product),
        product.square() / 6,
    )
    narrow = density + torch.log(2 * half.abs()) + ratio
    # The interval that lies on the negative side, mirrored if need be.
    center = torch.where(half.isinf(), -middle * half.sign(), -middle.abs())
    near = torch.where(half.isinf(), center, center + half)
    far = torch.where(half.isinf(), -torch.inf, center - half)
    top, bottom = torch.special.log_ndtr(near), torch.special.log_ndtr(far)
    wide = top + torch.log(-torch.expm1(bottom - top))
    found = torch.where(half.abs() < NARROW, narrow, wide)
    return torch.where(half == 0, density, found)


def histogram_interval(heads, bins: Tensor, middle: Tensor, half: Tensor) -> Tensor:
    """Log-probability of intervals, or log-density, under histograms of quantiles."""
    lower, upper = middle - half.abs(), middle + half.abs()
    is_open = half.isinf()
    lower = torch.where(is_open & (half > 0), middle, lower)
    upper = torch.where(is_open & (half < 0), middle, upper)
    log_densities = bins.log_softmax(-1) - precise(heads.log_widths)[:, None]
    edges = precise(heads.edges)
    first, last = (torch.searchsorted(edges, x.contiguous()) for x in (lower, upper))
    inside = log_densities.gather(-1, first[..., None])[..., 0]
    inside = inside + normal_interval(middle, half)
    ends = torch.special.ndtr(F.pad(edges, (1, 0), value=-torch.inf))
    ends = torch.cat([ends, torch.ones_like(ends[:, :1])], 1)[:, None]
    low, high = torch.special.ndtr(lower), torch.special.ndtr(upper)
    overlap = torch.minimum(high[..., None], ends[..., 1:])
    overlap = (overlap - torch.maximum(low[..., None], ends[..., :-1])).clamp_min(0.0)
    across = (log_densities + overlap.log()).logsumexp(-1)
    return torch.where(first == last, inside, across)
