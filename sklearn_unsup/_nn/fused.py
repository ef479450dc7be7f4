"""Layers with gradients written by hand: few operations on small tensors.

See `_likelihoods` for why. A product stands here where autograd would surround it by
more views, copies and sums than there are products.
"""

import math
from functools import cache

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .likelihoods import LOGIT_CAP

# Multiplications of a product below which torch's own autograd is faster on a CPU.
MIN_MULTIPLICATIONS = 2**20


class _Linear(Function):
    @staticmethod
    def forward(ctx, x, weight, added):
        ctx.save_for_backward(x, weight)
        ctx.is_bias = added.ndim == 1
        return torch.addmm(added, x, weight.t())

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        x, weight = ctx.saved_tensors
        by_x = by_weight = by_added = None
        if ctx.needs_input_grad[0]:
            by_x = upstream @ weight
        if ctx.needs_input_grad[1]:
            by_weight = upstream.t() @ x
        if ctx.needs_input_grad[2]:
            by_added = upstream.sum(0) if ctx.is_bias else upstream
        return by_x, by_weight, by_added


class Linear(nn.Linear):
    """A linear layer of two-dimensional input, whose gradient is three operations.

    Autograd's own takes eight, most of them views.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.bias is None or not (by_hand(x) and is_worth_it(x, self.weight)):
            return super().forward(x)
        return _Linear.apply(x, self.weight, self.bias)


def by_hand(x: Tensor) -> bool:
    """Whether a layer's gradient is wanted, in full precision.

    In a lower one autograd casts what it must.
    """
    return torch.is_grad_enabled() and not torch.is_autocast_enabled(x.device.type)


def is_worth_it(x: Tensor, weight: Tensor) -> bool:
    """Whether a product takes longer than the calls of Python around it.

    A recorded step of a GPU has none of these.
    """
    return x.is_cuda or len(x) * weight.numel() >= MIN_MULTIPLICATIONS


def add_linear(added: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """``added + x @ weight.T`` in one product; all are two-dimensional."""
    if by_hand(x) and is_worth_it(x, weight):
        return _Linear.apply(x, weight, added)
    return torch.addmm(added, x, weight.t())


class _ColumnHeads(Function):
    @staticmethod
    def forward(ctx, hidden, weight, bias, sizes):
        ctx.save_for_backward(hidden, weight)
        ctx.sizes = sizes
        logits = hidden.new_empty(hidden.shape[1], len(weight))
        parts = (
            hidden.unbind(0),
            weight.t().split(sizes, 1),
            bias.split(sizes),
            logits.split(sizes, 1),
        )
        for units, own_weight, own_bias, out in zip(*parts, strict=True):
            torch.addmm(own_bias, units, own_weight, out=out)
        return logits

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        hidden, weight = ctx.saved_tensors
        sizes = ctx.sizes
        by_hidden = by_weight = None
        if ctx.needs_input_grad[0]:
            by_hidden = torch.empty_like(hidden)
            parts = upstream.split(sizes, 1), weight.split(sizes), by_hidden.unbind(0)
            for part, own, out in zip(*parts, strict=True):
                torch.mm(part, own, out=out)
        if ctx.needs_input_grad[1]:
            by_weight = torch.empty_like(weight)
            parts = upstream.t().split(sizes), hidden.unbind(0), by_weight.split(sizes)
            for part, units, out in zip(*parts, strict=True):
                torch.mm(part, units, out=out)
        by_bias = upstream.sum(0) if ctx.needs_input_grad[2] else None
        return by_hidden, by_weight, by_bias, None


def column_heads(
    hidden: Tensor, weight: Tensor, bias: Tensor, sizes: list[int]
) -> Tensor:
    """A linear layer for each column, their outputs side by side (n, sum of sizes).

    Parameters
    ----------
    hidden : Tensor of shape (n_columns, n, width)
    weight : Tensor of shape (sum of sizes, width)
    bias : Tensor of shape (sum of sizes,)
    sizes : list of int
        Outputs of each column.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        return _ColumnHeads.apply(hidden.to(weight.dtype), weight, bias, sizes)


class _ColumnNetworks(Function):
    @staticmethod
    def forward(ctx, features, weight, mask, bias, weight2, bias2, kept, learnt):
        n, (n_columns, width, _) = len(features), weight2.shape
        first = torch.addmm(bias, features, weight.t())
        # Rows come before columns in the one product, after them in the batched one.
        hidden = F.silu(first).view(n, n_columns, width).transpose(0, 1)
        kept1, kept2 = (None, None) if kept is None else kept.unbind(0)
        if kept is not None:
            hidden = hidden * kept1
        second = torch.baddbmm(bias2, hidden, weight2)
        more = F.silu(second)
        ctx.learnt = learnt
        ctx.save_for_backward(
            features, weight, mask, first, hidden, weight2, second, kept1, kept2
        )
        return hidden + more if kept is None else torch.addcmul(hidden, more, kept2)

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        (features, weight, mask, first, hidden, weight2, second, kept1, kept2) = (
            ctx.saved_tensors
        )
        by_second = upstream if kept2 is None else upstream * kept2
        by_second = torch.ops.aten.silu_backward(by_second, second)
        by_weight2 = torch.bmm(hidden.transpose(1, 2), by_second)
        by_hidden = torch.baddbmm(upstream, by_second, weight2.transpose(1, 2))
        by_first = torch.empty_like(first)
        turned = by_first.view(len(first), *by_hidden.shape[::2]).transpose(0, 1)
        if kept1 is None:
            turned.copy_(by_hidden)
        else:
            torch.mul(by_hidden, kept1, out=turned)
        by_first = torch.ops.aten.silu_backward(by_first, first)
        by_features = None
        if ctx.needs_input_grad[0]:
            by_features = torch.zeros_like(features)
            for part in ctx.learnt:
                torch.mm(by_first, weight[:, part], out=by_features[:, part])
        # What a column must not see has no weight, and without a gradient gets none.
        by_weight = (by_first.t() @ features).mul_(mask)
        return (
            by_features,
            by_weight,
            None,
            by_first.sum(0),
            by_weight2,
            by_second.sum(1, keepdim=True),
            None,
            None,
        )


def column_networks(
    features: Tensor,
    weight: Tensor,
    mask: Tensor,
    bias: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    kept: Tensor | None,
    learnt: list[slice],
) -> Tensor:
    """Two hidden layers for each column, shape (n_columns, n, width).

    SiLU and dropout follow both layers, a shortcut leads around the second one. The
    first layers are one masked product.

    Parameters
    ----------
    features : Tensor of shape (n, n_features)
    weight, mask : Tensor of shape (n_columns * width, n_features)
        Weights are zero where the mask is; their gradients will be.
    bias : Tensor of shape (n_columns * width,)
    weight2 : Tensor of shape (n_columns, width, width)
    bias2 : Tensor of shape (n_columns, 1, width)
    kept : Tensor of shape (2, n_columns, n, width) or None
        What each dropout multiplies with; None for no dropout.
    learnt : list of slice
        Features that a gradient is wanted of, the embeddings. Of the others, which are
        data, it would be the second largest product of the step.
    """
    arguments = features, weight, mask, bias, weight2, bias2, kept
    if by_hand(features):
        return _ColumnNetworks.apply(*arguments, learnt)
    first = F.linear(features, weight * mask, bias)
    hidden = F.silu(first).view(len(features), *weight2.shape[:2]).transpose(0, 1)
    if kept is None:
        return hidden + F.silu(torch.baddbmm(bias2, hidden, weight2))
    hidden = hidden * kept[0].to(hidden.dtype)
    second = F.silu(torch.baddbmm(bias2, hidden, weight2))
    return hidden + second * kept[1].to(hidden.dtype)


class _StraightThroughDraws(Function):
    @staticmethod
    def forward(ctx, state, weight, bias, shift, noise, offsets, sizes, temperature):
        noisy, codes, states = torch.empty_like(noise), [], []
        capped = torch.empty_like(noise)
        parts = (
            (weight * (1.0 / LOGIT_CAP)).t().split(sizes, 1),
            (bias * (1.0 / LOGIT_CAP)).split(sizes),
            shift.split(sizes),
            noise.split(sizes, 1),
            capped.split(sizes, 1),
            noisy.split(sizes, 1),
        )
        for own_weight, own_bias, own_shift, own_noise, logits, out in zip(
            *parts, strict=True
        ):
            states.append(state)
            torch.addmm(own_bias, state, own_weight, out=logits).tanh_()
            codes.append(
                torch.add(own_noise, logits, alpha=LOGIT_CAP, out=out).argmax(1)
            )
            state = state + own_shift.index_select(0, codes[-1])
        codes = torch.stack(codes, 1)
        blocks = torch.zeros_like(noisy).scatter_(1, codes + offsets, 1.0)
        ctx.sizes, ctx.temperature = sizes, temperature
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(weight, shift, capped, noisy, blocks, *states)
        return state, blocks

    @staticmethod
    @once_differentiable
    def backward(ctx, by_state, by_blocks):
        weight, shift, capped, noisy, blocks, *states = ctx.saved_tensors
        sizes = ctx.sizes
        # Of the bound of the logits, over the temperature of the relaxation.
        slope = (1.0 - capped.square()).div_(ctx.temperature)
        by_raw, by_weight = torch.empty_like(noisy), torch.empty_like(weight)
        by_shift = torch.empty_like(shift)
        parts = (
            weight.split(sizes),
            shift.t().split(sizes, 1),
            slope.split(sizes, 1),
            (noisy / ctx.temperature).split(sizes, 1),
            blocks.t().split(sizes),
            by_blocks.split(sizes, 1),
            by_raw.split(sizes, 1),
            by_raw.t().split(sizes),
            by_weight.split(sizes),
            by_shift.split(sizes),
            states,
        )
        for (
            own_weight,
            own_shift,
            own_slope,
            relaxed,
            drawn,
            by_block,
            by_logits,
            turned,
            by_own_weight,
            by_own_shift,
            before,
        ) in reversed(list(zip(*parts, strict=True))):
            torch.mm(drawn, by_state, out=by_own_shift)
            share = relaxed.softmax(1)
            product = torch.addmm(by_block, by_state, own_shift).mul_(share)
            product.addcmul_(share, product.sum(1, keepdim=True), value=-1.0)
            torch.mul(product, own_slope, out=by_logits)
            torch.mm(turned, before, out=by_own_weight)
            by_state = torch.addmm(by_state, by_logits, own_weight)
        return by_state, by_weight, by_raw.sum(0), by_shift, None, None, None, None


def straight_through_draws(
    state: Tensor,
    weight: Tensor,
    bias: Tensor,
    shift: Tensor,
    noise: Tensor,
    offsets: Tensor,
    sizes: list[int],
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """Draw one category after another, each from a softmax of a state that it shifts.

    The draws are those of the Gumbel-max trick. Their gradient is that of a softmax of
    the same noisy logits over a temperature (Jang, Gu and Poole 2017).

    Parameters
    ----------
    state : Tensor of shape (n, width)
    weight, shift : Tensor of shape (n_one_hot, width)
        Of the logits, bounded as in `categorical_log_prob`; and what a drawn level adds
        to the state.
    bias : Tensor of shape (n_one_hot,)
    noise : Tensor of shape (n, n_one_hot)
        Standard Gumbel noise.
    offsets : Tensor of shape (n_columns,), int64
        First one-hot column of each categorical one.
    sizes : list of int
        Levels of each column.
    temperature : float

    Returns
    -------
    state, blocks : Tensor of shape (n, width) and (n, n_one_hot)
        The last state, and the draws as 0/1 blocks.
    """
    with torch.autocast(state.device.type, enabled=False):
        state = state.to(weight.dtype)
        return _StraightThroughDraws.apply(
            state, weight, bias, shift, noise, offsets, sizes, temperature
        )


@cache  # for good, as CUDA graphs read them where they lie
def _peaks(n_intervals: int, device: torch.device) -> Tensor:
    """Where the hats have their peaks, from the last one to the first, around 0."""
    with torch.inference_mode(False):
        numbers = torch.arange(n_intervals + 1, dtype=torch.float32, device=device)
        return n_intervals / 2 - numbers


def hat_functions(x: Tensor, n_intervals: int) -> tuple[Tensor, Tensor]:
    """Hat functions of the quantiles of standard normal numbers.

    They are linear B-splines on equal shares of the rows, so that a network finds steps
    and spikes as easily as slopes.

    Returns
    -------
    hats : Tensor of shape (*x.shape, n_intervals + 1)
    apart : Tensor of the same shape
        How many intervals the quantile lies above the peak of each hat.
    """
    spread = torch.erf(x * math.sqrt(0.5))[..., None]  # twice the quantile less 1
    apart = torch.add(_peaks(n_intervals, x.device), spread, alpha=n_intervals / 2)
    return F.relu(1.0 - apart.abs()), apart


class _HatFeatures(Function):
    @staticmethod
    def forward(ctx, x, blocks, n_intervals):
        n, n_numeric = x.shape
        n_features = n_intervals + 2
        hats, apart = hat_functions(x, n_intervals)
        features = x.new_empty(n, n_numeric * n_features + blocks.shape[1])
        of_numbers, of_blocks = features.split(
            [n_numeric * n_features, blocks.shape[1]], 1
        )
        of_numbers = of_numbers.view(n, n_numeric, n_features)
        of_numbers[..., 0] = x
        of_numbers[..., 1:] = hats
        of_blocks.copy_(blocks)
        if any(ctx.needs_input_grad):
            # A hat rises or falls in step with the quantile, where it is not zero.
            density = x.square().mul_(-0.5).exp_()
            density.mul_(-n_intervals / math.sqrt(2 * math.pi))
            slopes = apart.sign_().mul_(hats > 0).mul_(density[..., None])
            ctx.save_for_backward(slopes)
        return features

    @staticmethod
    def backward(ctx, upstream):
        (slopes,) = ctx.saved_tensors
        return *_HatFeaturesGradient.apply(upstream, slopes), None


class _HatFeaturesGradient(Function):
    @staticmethod
    def forward(ctx, upstream, slopes):
        ctx.save_for_backward(slopes)
        n, n_numeric, n_hats = slopes.shape
        of_numbers = upstream[:, : n_numeric * (n_hats + 1)]
        of_numbers = of_numbers.view(n, n_numeric, n_hats + 1)
        by_x = (of_numbers[..., 1:] * slopes).sum(2).add_(of_numbers[..., 0])
        return by_x, upstream[:, n_numeric * (n_hats + 1) :].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, by_x, by_blocks):
        (slopes,) = ctx.saved_tensors
        n, n_numeric, n_hats = slopes.shape
        width = n_numeric * (n_hats + 1)
        by_upstream = by_blocks.new_empty(n, width + by_blocks.shape[1])
        of_numbers = by_upstream[:, :width].view(n, n_numeric, n_hats + 1)
        of_numbers[..., 0] = by_x
        torch.mul(by_x[..., None], slopes, out=of_numbers[..., 1:])
        by_upstream[:, width:] = by_blocks
        return by_upstream, None


def piecewise_linear_input(x: Tensor, blocks: Tensor, n_intervals: int) -> Tensor:
    """Numbers and the hats of their quantiles, then blocks, side by side.

    Shapes: (n, n_numeric) and (n, n_one_hot) to (n, (n_intervals + 2) * n_numeric +
    n_one_hot). A gradient by the inputs may be differentiated again by what comes
    after them, as a penalty does; in that, it is taken for constant in `x`.
    """
    return _HatFeatures.apply(x, blocks, n_intervals)
