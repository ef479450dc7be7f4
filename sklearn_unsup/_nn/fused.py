"""Layers with manual gradients: few operations on small tensors.

See `likelihoods` for the reason. The products of these layers are here because autograd
would add more views, copies and sums to them than there are products.
"""

from functools import cache

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .likelihoods import CAP_RANGE, CAP_SLOPE

# Number of multiplications below which autograd is faster than a manual gradient, on a
# CPU: a Python function costs more than it saves.
MIN_MULTIPLICATIONS = 2**20


@cache  # They are never freed, because CUDA graphs read them at a fixed address.
def _ones(n: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.ones(1, n, device=device)


def sum_rows(x: Tensor) -> Tensor:
    """Sum over the last dimension but one, which three-dimensional sums keep.

    On a GPU a product with ones takes half as long as a reduction over rows.
    """
    if not x.is_cuda or x.dtype != torch.float32:
        return x.sum(-2, keepdim=x.ndim > 2)
    ones = _ones(x.shape[-2], x.device)
    if x.ndim == 2:
        return (ones @ x)[0]
    return torch.bmm(ones.expand(len(x), 1, -1), x)


class _Linear(Function):
    @staticmethod
    def forward(ctx, x, weight, added):
        ctx.save_for_backward(x, weight)
        ctx.is_bias = added.ndim == 1
        return torch.addmm(added, x, weight.t())

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        x, weight = ctx.saved_tensors
        grad_x = grad_weight = grad_added = None
        if ctx.needs_input_grad[0]:
            grad_x = grad_output @ weight
        if ctx.needs_input_grad[1]:
            grad_weight = grad_output.t() @ x
        if ctx.needs_input_grad[2]:
            grad_added = sum_rows(grad_output) if ctx.is_bias else grad_output
        return grad_x, grad_weight, grad_added


class Linear(nn.Linear):
    """Linear layer for two-dimensional input, whose gradient takes three operations.

    Autograd's gradient takes eight, most of them views.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.bias is None or not (
            uses_manual_gradient(x) and is_large_product(x, self.weight)
        ):
            return super().forward(x)
        return _Linear.apply(x, self.weight, self.bias)


def uses_manual_gradient(x: Tensor) -> bool:
    """Whether layers use their manual gradients for this input.

    They do not if no gradient is needed, and they leave mixed precision to autograd,
    which inserts the casts.
    """
    return torch.is_grad_enabled() and not torch.is_autocast_enabled(x.device.type)


def is_large_product(x: Tensor, weight: Tensor) -> bool:
    """Whether a product takes longer than the Python calls of a manual gradient.

    On a GPU any product counts as large, because replayed steps call no Python.
    """
    return x.is_cuda or len(x) * weight.numel() >= MIN_MULTIPLICATIONS


def add_linear(added: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Compute ``added + x @ weight.T``; all tensors are two-dimensional."""
    if uses_manual_gradient(x) and is_large_product(x, weight):
        return _Linear.apply(x, weight, added)
    return torch.addmm(added, x, weight.t())


class _BatchedLinear(Function):
    @staticmethod
    def forward(ctx, x, weight, bias):
        x_t, weight_t = x.transpose(1, 2), weight.transpose(1, 2)
        ctx.save_for_backward(x_t, weight_t)
        return torch.baddbmm(bias.transpose(1, 2), weight_t, x_t)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        x_t, weight_t = ctx.saved_tensors
        grad_t = grad_output.transpose(1, 2)
        return (
            torch.bmm(grad_t, weight_t),
            torch.bmm(x_t, grad_t),
            grad_t.sum(1, keepdim=True),
        )


def batched_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Apply a linear layer for each column, shape (n_columns, n_outputs, n).

    Rows come last in what it returns, unlike in `x`: what the likelihoods of columns do
    with few outputs is faster so. Shapes: (n_columns, n, width), (n_columns, width,
    n_outputs) and (n_columns, 1, n_outputs).
    """
    if uses_manual_gradient(x):
        return _BatchedLinear.apply(x, weight, bias)
    return torch.baddbmm(bias, x, weight).transpose(1, 2).contiguous()


class _ColumnHeads(Function):
    @staticmethod
    def forward(ctx, hidden, weight, bias, sizes):
        ctx.save_for_backward(hidden, weight)
        ctx.sizes = sizes
        logits = hidden.new_empty(hidden.shape[1], len(weight))
        by_column = (
            hidden.unbind(0),
            weight.t().split(sizes, 1),
            bias.split(sizes),
            logits.split(sizes, 1),
        )
        for units, column_weight, column_bias, out in zip(*by_column, strict=True):
            torch.addmm(column_bias, units, column_weight, out=out)
        return logits

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        hidden, weight = ctx.saved_tensors
        sizes = ctx.sizes
        grad_hidden = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_hidden = torch.empty_like(hidden)
            by_column = (
                grad_output.split(sizes, 1),
                weight.split(sizes),
                grad_hidden.unbind(0),
            )
            for grad_logits, column_weight, out in zip(*by_column, strict=True):
                torch.mm(grad_logits, column_weight, out=out)
        if ctx.needs_input_grad[1]:
            grad_weight = torch.empty_like(weight)
            by_column = (
                grad_output.t().split(sizes),
                hidden.unbind(0),
                grad_weight.split(sizes),
            )
            for grad_logits, units, out in zip(*by_column, strict=True):
                torch.mm(grad_logits, units, out=out)
        grad_bias = sum_rows(grad_output) if ctx.needs_input_grad[2] else None
        return grad_hidden, grad_weight, grad_bias, None


def column_heads(
    hidden: Tensor, weight: Tensor, bias: Tensor, sizes: list[int]
) -> Tensor:
    """Apply a linear layer for each column; concatenated outputs (n, sum of sizes).

    Parameters
    ----------
    hidden : Tensor of shape (n_columns, n, width)
    weight : Tensor of shape (sum of sizes, width)
    bias : Tensor of shape (sum of sizes,)
    sizes : list of int
        Number of outputs of each column.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        return _ColumnHeads.apply(hidden.to(weight.dtype), weight, bias, sizes)


class _StraightThroughGumbel(Function):
    @staticmethod
    def forward(
        ctx, state, weight, bias, shift, noise, offsets, indicator, sizes, temperature
    ):
        noisy, codes, states = torch.empty_like(noise), [], []
        capped = torch.empty_like(noise)
        by_column = (
            (weight * CAP_SLOPE).t().split(sizes, 1),
            (bias * CAP_SLOPE).split(sizes),
            shift.split(sizes),
            noise.split(sizes, 1),
            capped.split(sizes, 1),
            noisy.split(sizes, 1),
        )
        for column_weight, column_bias, column_shift, gumbel, logits, out in zip(
            *by_column, strict=True
        ):
            states.append(state)
            torch.addmm(column_bias, state, column_weight, out=logits).sigmoid_()
            codes.append(torch.add(gumbel, logits, alpha=CAP_RANGE, out=out).argmax(1))
            state = state + column_shift.index_select(0, codes[-1])
        codes = torch.stack(codes, 1)
        blocks = torch.zeros_like(noisy).scatter_(1, codes + offsets, 1.0)
        ctx.sizes, ctx.temperature = sizes, temperature
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(
                weight, shift, indicator, capped, noisy, blocks, *states
            )
        return state, blocks

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_state, grad_blocks):
        weight, shift, indicator, capped, noisy, blocks, *states = ctx.saved_tensors
        sizes = ctx.sizes
        # A softmax over each block, whose largest logit is that of the draw.
        relaxed = noisy / ctx.temperature
        relaxed -= (relaxed * blocks) @ indicator @ indicator.t()
        probabilities = relaxed.exp_()
        probabilities /= probabilities @ indicator @ indicator.t()
        # Derivative of the bound of the logits, divided by the temperature.
        slope = torch.addcmul(capped, capped, capped, value=-1.0)
        slope.mul_(4.0 / ctx.temperature)
        grad_raw, grad_weight = torch.empty_like(noisy), torch.empty_like(weight)
        grad_shift = torch.empty_like(shift)
        by_column = (
            weight.split(sizes),
            shift.t().split(sizes, 1),
            slope.split(sizes, 1),
            probabilities.split(sizes, 1),
            blocks.t().split(sizes),
            grad_blocks.split(sizes, 1),
            grad_raw.split(sizes, 1),
            grad_raw.t().split(sizes),
            grad_weight.split(sizes),
            grad_shift.split(sizes),
            states,
        )
        for (
            column_weight,
            column_shift,
            column_slope,
            probability,
            block_t,
            grad_block,
            grad_logits,
            grad_logits_t,
            grad_column_weight,
            grad_column_shift,
            state_before,
        ) in reversed(list(zip(*by_column, strict=True))):
            torch.mm(block_t, grad_state, out=grad_column_shift)
            product = torch.addmm(grad_block, grad_state, column_shift)
            product.mul_(probability)
            product.addcmul_(probability, product.sum(1, keepdim=True), value=-1.0)
            torch.mul(product, column_slope, out=grad_logits)
            torch.mm(grad_logits_t, state_before, out=grad_column_weight)
            grad_state = torch.addmm(grad_state, grad_logits, column_weight)
        return (
            grad_state,
            grad_weight,
            sum_rows(grad_raw),
            grad_shift,
            None,
            None,
            None,
            None,
            None,
        )


def straight_through_gumbel(
    state: Tensor,
    weight: Tensor,
    bias: Tensor,
    shift: Tensor,
    noise: Tensor,
    offsets: Tensor,
    indicator: Tensor,
    sizes: list[int],
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """Draw categories one after another, each from a softmax of the current state.

    Each category is drawn by the Gumbel-max trick and then changes the state. The
    gradient of a draw is that of a softmax of the same noisy logits, divided by a
    temperature (the straight-through estimator of Jang, Gu and Poole 2017).

    Parameters
    ----------
    state : Tensor of shape (n, width)
    weight : Tensor of shape (n_one_hot, width)
        Weights of the logits, which are bounded as in `categorical_log_prob`.
    bias : Tensor of shape (n_one_hot,)
    shift : Tensor of shape (n_one_hot, width)
        What each category adds to the state when it is drawn.
    noise : Tensor of shape (n, n_one_hot)
        Standard Gumbel noise.
    offsets : Tensor of shape (n_columns,), int64
        Index of the first one-hot column of each categorical column.
    indicator : Tensor of shape (n_one_hot, n_columns)
        1 where a one-hot column belongs to a categorical one.
    sizes : list of int
        Number of categories of each column.
    temperature : float

    Returns
    -------
    state, blocks : Tensor of shape (n, width) and (n, n_one_hot)
        The last state, and the draws as one-hot blocks.
    """
    with torch.autocast(state.device.type, enabled=False):
        state = state.to(weight.dtype)
        return _StraightThroughGumbel.apply(
            state, weight, bias, shift, noise, offsets, indicator, sizes, temperature
        )
