"""Log-likelihoods with manual gradients: few operations on small tensors.

The networks of this package are small, so that the time of a step depends on the number
of its operations. Autograd records every element-wise operation and runs two or three
more in the backward pass. Each function here computes its gradient together with its
value, from the same intermediate results, and its backward pass is one product. The
functions can be differentiated once, with respect to outputs of a network. The rows
that they judge (`x`, category codes) are data and get no gradient.
"""

import math

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

LOG_TWO_PI = math.log(2 * math.pi)
# Bound of the logits. Sums of exponentials of bounded logits are finite in float32.
LOGIT_CAP = 30.0
# Bounded logits, ``LOGIT_CAP * tanh(raw / LOGIT_CAP)``, are computed as
# ``CAP_RANGE * sigmoid(CAP_SLOPE * raw) - LOGIT_CAP``, because on a CPU a hyperbolic
# tangent takes six times as long as a sigmoid. Where logits are only compared with one
# another the constant is left out. The derivative is 4 times the sigmoid's.
CAP_RANGE, CAP_SLOPE = 2.0 * LOGIT_CAP, 2.0 / LOGIT_CAP


class _CategoricalLogProb(Function):
    @staticmethod
    def forward(ctx, raw, index, indicator):
        capped = (raw * CAP_SLOPE).sigmoid_()
        probs = (capped * CAP_RANGE).exp_()
        probs.div_(probs @ indicator @ indicator.t())
        # Bounded logits have no probability that is too small for its logarithm.
        observed = probs.gather(1, index)
        if ctx.needs_input_grad[0]:
            # Minus d log p / d logit: the probability of each category, minus 1 for the
            # observed one.
            probs.scatter_(1, index, -1.0, reduce="add")
            ctx.save_for_backward(torch.ops.aten.sigmoid_backward(probs, capped))
        return observed.log_().sum(1)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        (gradient,) = ctx.saved_tensors
        return gradient * (-4.0 * grad_output)[:, None], None, None


def categorical_log_prob(raw: Tensor, index: Tensor, indicator: Tensor) -> Tensor:
    """Summed log-probability of one category in each block, in nats, shape (n,).

    The logits are ``LOGIT_CAP * tanh(raw / LOGIT_CAP)``. Sums of their exponentials
    are finite without subtracting the maximum first, so that one product with the
    indicator sums over all blocks.

    Parameters
    ----------
    raw : Tensor of shape (n, n_one_hot)
        In float32, because a lower precision is too coarse for sums of probabilities.
    index : Tensor of shape (n, n_categorical), int64
        Index of the observed one-hot column in each block.
    indicator : Tensor of shape (n_one_hot, n_categorical)
        1 where a one-hot column belongs to a categorical one.
    """
    with torch.autocast(raw.device.type, enabled=False):
        return _CategoricalLogProb.apply(raw, index, indicator)


class _PaddedLogProb(Function):
    @staticmethod
    def forward(ctx, raw, codes):
        capped = (raw * CAP_SLOPE).sigmoid_()
        # Bounded logits have no probability that is too small for its logarithm.
        probs = (capped * CAP_RANGE).softmax(1)
        index = codes[:, None]
        observed = probs.gather(1, index)
        if ctx.needs_input_grad[0]:
            # Minus d log p / d logit: the probability of each category, minus 1 for the
            # observed one.
            probs.scatter_(1, index, -1.0, reduce="add")
            ctx.save_for_backward(torch.ops.aten.sigmoid_backward(probs, capped))
        return observed.log_().sum((0, 1))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        (gradient,) = ctx.saved_tensors
        return gradient * (-4.0 * grad_output), None


def padded_log_prob(raw: Tensor, codes: Tensor) -> Tensor:
    """Like :func:`categorical_log_prob`, for columns that are padded to one size.

    Parameters
    ----------
    raw : Tensor of shape (n_columns, n_levels, n), float32
        Far below zero for padding, which stands for no category.
    codes : Tensor of shape (n_columns, n), int64
    """
    return _PaddedLogProb.apply(raw, codes)


class _NormalLogProb(Function):
    @staticmethod
    def forward(ctx, location, log_scale, x, present):
        log_precision = -log_scale
        precision = log_precision.exp()
        standard = (x - location).mul_(precision)
        log_peak = log_precision.sub_(0.5 * LOG_TWO_PI)
        if present is None:
            log_peak = log_peak.sum()
        else:
            standard.mul_(present)
            log_peak = torch.mv(present, log_peak)
        squares = standard.square()
        ctx.save_for_backward(standard, squares, precision, present)
        return torch.sub(log_peak, squares.sum(1), alpha=0.5)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        standard, squares, precision, present = ctx.saved_tensors
        grad_location = grad_scale = None
        if ctx.needs_input_grad[0]:
            grad_location = (standard * precision).mul_(grad_output[:, None])
        if ctx.needs_input_grad[1]:
            grad_constant = grad_output.sum()
            if present is not None:
                grad_constant = torch.mv(present.t(), grad_output)
            grad_scale = torch.mv(squares.t(), grad_output).sub_(grad_constant)
        return grad_location, grad_scale, None, None


def normal_log_prob(
    location: Tensor, log_scale: Tensor, x: Tensor, present: Tensor | None
) -> Tensor:
    """Summed log-density of independent normal numbers, in nats, shape (n,).

    Parameters
    ----------
    location, x : Tensor of shape (n, n_numeric)
    log_scale : Tensor of shape (n_numeric,)
        Logarithms of the standard deviations.
    present : Tensor of shape (n, n_numeric) or None
        0 where a number is missing, which then contributes nothing; None if none is.
    """
    with torch.autocast(location.device.type, enabled=False):
        return _NormalLogProb.apply(location, log_scale, x, present)


class _NumberLogProb(Function):
    @staticmethod
    def forward(ctx, raw, x, places, log_widths, present, moments, tilts, low, high):
        n_bins = log_widths.shape[1]
        n_normals = (raw.shape[1] - n_bins - 1) // 3
        sizes = [n_normals, n_normals, n_normals, 1, n_bins]
        weights, means, scales, gate, bins = raw.split(sizes, 1)
        if moments is not None:
            own_mean, own_scale, *odds = (moment[:, None] for moment in moments)
            gate = gate + odds[0] if odds else gate
            means = torch.addcmul(own_mean, own_scale, means)
            scales = scales + own_scale.log()
        if tilts is not None:
            log_ratios, columns = tilts
            bins = bins.index_add(0, columns, log_ratios)
        log_width = log_widths.gather(1, places)[:, None]
        x, places = x[:, None], places[:, None]
        log_weights, log_scales = weights.log_softmax(1), scales.clamp(low, high)
        scale = log_scales.exp()
        standard = (x - means).div_(scale)
        joint = torch.addcmul(log_weights, standard, standard, value=-0.5)
        joint.sub_(log_scales)
        # log sigmoid(-gate) is log sigmoid(gate) - gate. The common part comes last.
        log_mixture = joint.logsumexp(1, keepdim=True).sub_(gate)
        log_bins = bins.log_softmax(1).gather(1, places)
        log_bins.sub_(log_width).addcmul_(x, x, value=-0.5)
        log_prob = torch.logaddexp(log_bins, log_mixture).add_(F.logsigmoid(gate))
        if ctx.needs_input_grad[0]:
            p_bins = log_bins.sub_(log_mixture).sigmoid_()  # p(histogram | x)
            gradient = torch.empty_like(raw)  # Minus d log p / d raw.
            grad_mixture, grad_gate, grad_bins = gradient.split(
                [3 * n_normals, 1, n_bins], 1
            )
            grad_weight, grad_mean, grad_scale = grad_mixture.chunk(3, 1)
            posterior = joint.softmax(1)  # p(component | x, mixture)
            torch.sub(posterior, log_weights.exp_(), out=grad_weight)
            torch.mul(posterior, standard, out=grad_mean)
            torch.mul(grad_mean, standard, out=grad_scale)
            zero_outside_(grad_scale.sub_(posterior), scales, (low, high))
            grad_mean.div_(scale)
            if moments is not None:
                grad_mean.mul_(own_scale)
            grad_mixture.mul_(p_bins - 1.0)
            torch.sub(gate.sigmoid(), p_bins, out=grad_gate)
            # Not the exponential of the logarithms, which takes six times as long where
            # they are so small that it is zero.
            of_bins = bins.softmax(1).scatter_(1, places, -1.0, reduce="add")
            torch.mul(of_bins, p_bins, out=grad_bins)
            if present is not None:
                gradient.mul_(present[:, None])
            ctx.save_for_backward(gradient)
        log_prob.sub_(0.5 * LOG_TWO_PI)
        if present is not None:
            log_prob.mul_(present[:, None])
        return log_prob.sum((0, 1))

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        (gradient,) = ctx.saved_tensors
        return gradient * -grad_output, *[None] * 8


def number_log_prob(
    raw: Tensor,
    x: Tensor,
    places: Tensor,
    log_widths: Tensor,
    present: Tensor | None,
    log_scale_bounds: tuple[float, float],
    moments: tuple[Tensor, ...] | None = None,
    tilts: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Summed log-density of numbers, in nats, shape (n,).

    Each has, by a gate, a mixture of normals or a histogram of its normal quantile: of
    a bin from u to u + w it has the density phi(x) / w.

    Parameters
    ----------
    raw : Tensor of shape (n_numeric, 3 * n_mixture_components + 1 + n_bins, n), float32
        Logits of the weights, means and log standard deviations of the mixture, the
        logit of the bins as a whole, and those of each bin. Rows come last because a
        softmax over neighbouring numbers, which are few, takes ten times as long.
    x : Tensor of shape (n_numeric, n)
    places : Tensor of shape (n_numeric, n), int64
        Bin of each number.
    log_widths : Tensor of shape (n_numeric, n_bins)
        Logarithms of w. Columns have different numbers of bins: those that one does not
        have must have raw logits far below zero.
    present : Tensor of shape (n_numeric, n) or None
        0 where a number is missing, which then contributes nothing; None if none is.
    log_scale_bounds : tuple of float
        Log standard deviations are clamped to them.
    moments : tuple of Tensor, each of shape (n_numeric, n), or None, default=None
        Means and standard deviations that the normals of the mixtures are relative to;
        None for 0 and 1. A third tensor is added to the gates. They are data and get no
        gradient.
    tilts : tuple of Tensor or None, default=None
        What is added to the logits of the bins of some columns, of shape (n_tilted,
        n_bins, n), and positions of these columns. They are data as well.
    """
    return _NumberLogProb.apply(
        raw, x, places, log_widths, present, moments, tilts, *log_scale_bounds
    )


class _GaussianPosterior(Function):
    @staticmethod
    def forward(ctx, raw, noise, low, high):
        mean, raw_log_var = raw.chunk(2, 1)
        log_var = raw_log_var.clamp(low, high)
        shift = (0.5 * log_var).exp_().mul_(noise)
        excess = torch.expm1(log_var)
        divergence = torch.addcmul(excess, mean, mean).sub_(log_var).sum(1).mul_(0.5)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(mean, raw_log_var, shift, excess)
            ctx.bounds = low, high
        return mean + shift, divergence

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_draw, grad_divergence):
        mean, raw_log_var, shift, excess = ctx.saved_tensors
        grad_divergence = grad_divergence[:, None]
        grad_raw = shift.new_empty(len(shift), 2 * shift.shape[1])
        grad_mean, grad_log_var = grad_raw.chunk(2, 1)
        torch.addcmul(grad_draw, mean, grad_divergence, out=grad_mean)
        torch.mul(excess, grad_divergence, out=grad_log_var)
        grad_log_var.addcmul_(grad_draw, shift).mul_(0.5)
        zero_outside_(grad_log_var, raw_log_var, ctx.bounds)
        return grad_raw, None, None, None


def gaussian_posterior(
    raw: Tensor, noise: Tensor, log_var_bounds: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Draw of each row's normal posterior, and its divergence from the prior in nats.

    The draw, of shape (n, n_components), is reparametrised (Kingma and Welling 2014).
    The divergence, of shape (n,), is KL(N(mean, exp(log_var)) || N(0, I)), see their
    appendix B.

    Parameters
    ----------
    raw : Tensor of shape (n, 2 * n_components)
        Means, then log-variances that are not clamped yet.
    noise : Tensor of shape (n, n_components)
        Standard normal numbers.
    log_var_bounds : tuple of float
    """
    return _GaussianPosterior.apply(raw, noise, *log_var_bounds)


def zero_outside_(gradient: Tensor, x: Tensor, bounds: tuple[float, float]):
    """Set a gradient to zero in place where `x` has been clamped to the bounds."""
    torch.ops.aten.hardtanh_backward.grad_input(
        gradient, x, *bounds, grad_input=gradient
    )
