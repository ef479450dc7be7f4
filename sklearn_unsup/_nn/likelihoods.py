"""Log-likelihoods with gradients written by hand: few operations on small tensors.

The nets of this package are small, so that a step takes as long as it has operations.
Autograd records every element-wise one and runs two or three more on the way back.
Each function here computes its gradient along with its value, where the intermediate
results are at hand, and going back is one product. They can be differentiated once, by
what a network makes: rows (`x`, codes) are data and get no gradient.
"""

import math

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

LOG_TWO_PI = math.log(2 * math.pi)
LOGIT_CAP = 30.0  # exp of it and sums of exps of it are finite in float32


class _CategoricalLogProb(Function):
    @staticmethod
    def forward(ctx, raw, places, indicator):
        capped = (raw * (1.0 / LOGIT_CAP)).tanh_()
        exps = (capped * LOGIT_CAP).exp_()
        sums = exps @ indicator
        if ctx.needs_input_grad[0]:
            # Minus d log p / d logit: the share of a level, less 1 for the chosen one.
            gradient = exps.div_(sums @ indicator.t())
            gradient.scatter_add_(1, places, torch.full_like(sums, -1.0))
            ctx.save_for_backward(torch.ops.aten.tanh_backward(gradient, capped))
        chosen = capped.gather(1, places).mul_(LOGIT_CAP)
        return chosen.sub_(sums.log_()).sum(1)

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        (gradient,) = ctx.saved_tensors
        return gradient * upstream.neg()[:, None], None, None


def categorical_log_prob(raw: Tensor, places: Tensor, indicator: Tensor) -> Tensor:
    """Summed log-probability of one level in each block, in nats, shape (n,).

    Logits are `raw` bounded smoothly, ``LOGIT_CAP * tanh(raw / LOGIT_CAP)``. Sums of
    exponentials then need no maximum taken out, and one product with the indicator
    sums over all blocks at once.

    Parameters
    ----------
    raw : Tensor of shape (n, n_one_hot)
        In float32: a lower precision is too coarse for sums of probabilities.
    places : Tensor of shape (n, n_categorical), int64
        Which of the one-hot columns each row has.
    indicator : Tensor of shape (n_one_hot, n_categorical)
        1 where a one-hot column belongs to a categorical one.
    """
    with torch.autocast(raw.device.type, enabled=False):
        return _CategoricalLogProb.apply(raw, places, indicator)


class _PaddedLogProb(Function):
    @staticmethod
    def forward(ctx, raw, codes):
        capped = (raw * (1.0 / LOGIT_CAP)).tanh_()
        log_probs = (capped * LOGIT_CAP).log_softmax(-1)
        places = codes[..., None]
        chosen = log_probs.gather(-1, places)
        if ctx.needs_input_grad[0]:
            # Minus d log p / d logit: the share of a level, less 1 for the chosen one.
            gradient = log_probs.exp_()
            gradient.scatter_add_(-1, places, torch.full_like(chosen, -1.0))
            ctx.save_for_backward(torch.ops.aten.tanh_backward(gradient, capped))
        return chosen.sum((0, 2))

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        (gradient,) = ctx.saved_tensors
        return gradient * upstream.neg()[:, None], None


def padded_log_prob(raw: Tensor, codes: Tensor) -> Tensor:
    """Like :func:`categorical_log_prob`, of columns that are padded to one size.

    Parameters
    ----------
    raw : Tensor of shape (n_columns, n, n_levels), float32
        Far below zero at levels that a column does not have.
    codes : Tensor of shape (n_columns, n), int64
    """
    return _PaddedLogProb.apply(raw, codes)


class _NormalLogProb(Function):
    @staticmethod
    def forward(ctx, location, log_scale, x, present):
        precision = torch.exp(-log_scale)
        standard = (x - location).mul_(precision)
        constant = log_scale + 0.5 * LOG_TWO_PI
        if present is None:
            constant = constant.sum()
        else:
            standard.mul_(present)
            constant = (present * constant).sum(1)
        squares = standard.square()
        ctx.save_for_backward(standard, squares, precision, present)
        return squares.sum(1).mul_(-0.5).sub_(constant)

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        standard, squares, precision, present = ctx.saved_tensors
        by_location = by_scale = None
        if ctx.needs_input_grad[0]:
            by_location = (standard * precision).mul_(upstream[:, None])
        if ctx.needs_input_grad[1]:
            counted = upstream.sum()
            if present is not None:
                counted = torch.mv(present.t(), upstream)
            by_scale = torch.mv(squares.t(), upstream).sub_(counted)
        return by_location, by_scale, None, None


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
        0 where a number is missing, which then adds nothing; None for none missing.
    """
    with torch.autocast(location.device.type, enabled=False):
        return _NormalLogProb.apply(location, log_scale, x, present)


class _MixtureLogProb(Function):
    @staticmethod
    def forward(ctx, raw, x, present, low, high):
        weights, means, scales = raw.chunk(3, -1)
        log_weights, log_scales = weights.log_softmax(-1), scales.clamp(low, high)
        precision = (-log_scales).exp_()
        standard = (x[..., None] - means).mul_(precision)
        each = torch.addcmul(log_weights, standard, standard, value=-0.5)
        each.sub_(log_scales)
        total = each.logsumexp(-1).sub_(0.5 * LOG_TWO_PI)
        if ctx.needs_input_grad[0]:
            share = each.softmax(-1)  # of a component, given x
            gradient = torch.empty_like(raw)
            by_weight, by_mean, by_scale = gradient.chunk(3, -1)
            torch.sub(share, log_weights.exp_(), out=by_weight)
            torch.mul(share, standard, out=by_mean)
            torch.mul(by_mean, standard, out=by_scale)
            # Beyond the bounds of its clamp a scale has no gradient.
            by_scale.sub_(share).mul_(scales == log_scales)
            by_mean.mul_(precision)
            if present is not None:
                gradient.mul_(present[..., None])
            ctx.save_for_backward(gradient)
        return (total if present is None else total.mul_(present)).sum(0)

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        (gradient,) = ctx.saved_tensors
        return gradient * upstream[:, None], None, None, None, None


def mixture_log_prob(
    raw: Tensor,
    x: Tensor,
    present: Tensor | None,
    log_scale_bounds: tuple[float, float],
) -> Tensor:
    """Summed log-density of numbers under mixtures of normals, in nats, shape (n,).

    Parameters
    ----------
    raw : Tensor of shape (n_numeric, n, 3 * n_parts), float32
        Logits of the weights, then means, then log standard deviations.
    x : Tensor of shape (n_numeric, n)
    present : Tensor of shape (n_numeric, n) or None
        0 where a number is missing, which then adds nothing; None for none missing.
    log_scale_bounds : tuple of float
        Log standard deviations are clamped to them.
    """
    return _MixtureLogProb.apply(raw, x, present, *log_scale_bounds)


class _GaussianPosterior(Function):
    @staticmethod
    def forward(ctx, raw, noise, low, high):
        mean, raw_log_var = raw.chunk(2, 1)
        log_var = raw_log_var.clamp(low, high)
        shift = (0.5 * log_var).exp_().mul_(noise)
        if ctx.needs_input_grad[0]:
            inside = raw_log_var == log_var  # beyond the bounds there is no gradient
            ctx.save_for_backward(shift, inside)
        return mean + shift, mean.clone(), log_var

    @staticmethod
    @once_differentiable
    def backward(ctx, by_draw, by_mean, by_log_var):
        shift, inside = ctx.saved_tensors
        by_raw = shift.new_empty(len(shift), 2 * shift.shape[1])
        first, second = by_raw.chunk(2, 1)
        torch.add(by_draw, by_mean, out=first)
        torch.addcmul(by_log_var, by_draw, shift, value=0.5, out=second).mul_(inside)
        return by_raw, None, None, None


def gaussian_posterior(
    raw: Tensor, noise: Tensor, log_var_bounds: tuple[float, float]
) -> tuple[Tensor, Tensor, Tensor]:
    """A draw, the mean and the log-variance of each row's normal posterior.

    The draw is reparametrised (Kingma and Welling 2014). All are (n, n_components).

    Parameters
    ----------
    raw : Tensor of shape (n, 2 * n_components)
        Means, then log-variances before they are clamped.
    noise : Tensor of shape (n, n_components)
        Standard normal numbers.
    log_var_bounds : tuple of float
    """
    return _GaussianPosterior.apply(raw, noise, *log_var_bounds)


class _GaussianKL(Function):
    @staticmethod
    def forward(ctx, mean, log_var):
        excess = torch.expm1(log_var)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(mean, excess)
        total = torch.addcmul(excess, mean, mean).sub_(log_var).sum(1)
        return total.mul_(0.5)

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        mean, excess = ctx.saved_tensors
        upstream = upstream[:, None]
        return mean * upstream, excess * (0.5 * upstream)


def gaussian_kl(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mean, exp(log_var)) || N(0, I)) of every row, in nats, shape (n,).

    Kingma and Welling (2014), appendix B; both arguments are (n, n_components).
    """
    return _GaussianKL.apply(mean, log_var)
