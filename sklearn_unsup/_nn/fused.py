"""Layers with manual gradients: few operations on small tensors.

See `likelihoods` for the reason. The products of these layers are here because autograd
would add more views, copies and sums to them than there are products.
"""

from functools import cache

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .likelihoods import CAP_RANGE, CAP_SLOPE

# Number of multiplications below which autograd is faster than a manual gradient, on a
# CPU: a Python function costs more than it saves.
MIN_MULTIPLICATIONS = 2**20
# Number of matrix products that compute the first layers of all columns on a CPU. A
# single masked one would multiply many zeros.
N_BLOCKS = 4


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


def _first_layers(features, weight, bias, blocks):
    """Inputs of the first layers' activations, shape (n, units of all columns)."""
    if len(blocks) == 1:
        return torch.addmm(bias, features, weight.t())
    out = features.new_empty(len(features), len(weight))
    widths, sizes = zip(*blocks, strict=True)
    by_block = (part.split(widths, -1) for part in (bias, weight.t(), out))
    for n_seen, own_bias, own, own_out in zip(sizes, *by_block, strict=True):
        torch.addmm(own_bias, features[:, :n_seen], own[:n_seen], out=own_out)
    return out


def _first_layers_gradient(grad_output, features, mask, blocks):
    """Gradient of their weights. Masked weights are zero and stay so."""
    if len(blocks) == 1:
        return (grad_output.t() @ features).mul_(mask)
    gradient = torch.zeros_like(mask)
    widths, sizes = zip(*blocks, strict=True)
    by_block = grad_output.t().split(widths), gradient.split(widths)
    for n_seen, grad_units, own in zip(sizes, *by_block, strict=True):
        torch.mm(grad_units, features[:, :n_seen], out=own[:, :n_seen])
    return gradient.mul_(mask)


class _ColumnNetworks(Function):
    @staticmethod
    def forward(
        ctx,
        features,
        weight,
        mask,
        bias,
        weight2,
        bias2,
        dropout,
        blocks,
        places,
        *learned,
    ):
        first = _first_layers(features, weight, bias, blocks)
        # The first product has rows before columns, the batched one has them after.
        shape = len(features), *weight2.shape[:2]
        hidden = F.silu(first).view(shape).transpose(0, 1)
        dropout1 = dropout2 = None
        if dropout is not None:
            dropout1, dropout2 = dropout[:-1], dropout[1:]
            hidden = hidden * dropout1
        second = torch.baddbmm(bias2, hidden, weight2)
        residual = F.silu(second)
        ctx.places, ctx.blocks = places, blocks
        saved = weight, mask, first, hidden, weight2, second, dropout1, dropout2
        ctx.save_for_backward(*saved, features)
        if dropout is None:
            return hidden + residual
        return torch.addcmul(hidden, residual, dropout2)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        weight, mask, first, hidden, weight2, second, *rest = ctx.saved_tensors
        dropout1, dropout2, features = rest
        grad_second = grad_output if dropout2 is None else grad_output * dropout2
        grad_second = torch.ops.aten.silu_backward(grad_second, second)
        grad_weight2 = torch.bmm(hidden.transpose(1, 2), grad_second)
        grad_hidden = torch.baddbmm(grad_output, grad_second, weight2.transpose(1, 2))
        grad_first = torch.empty_like(first)
        by_column = grad_first.view(len(first), *grad_hidden.shape[::2]).transpose(0, 1)
        if dropout1 is None:
            by_column.copy_(grad_hidden)
        else:
            torch.mul(grad_hidden, dropout1, out=by_column)
        grad_first = torch.ops.aten.silu_backward(grad_first, first)
        grad_learned = [grad_first @ weight[:, place] for place in ctx.places]
        return (
            None,
            _first_layers_gradient(grad_first, features, mask, ctx.blocks),
            None,
            sum_rows(grad_first),
            grad_weight2,
            sum_rows(grad_second),
            None,
            None,
            None,
            *grad_learned,
        )


def visible_blocks(mask: Tensor, width: int) -> list[tuple[int, int]]:
    """Cut the first layers where later columns see much more than earlier ones.

    Parameters
    ----------
    mask : Tensor of shape (n_columns, n_features)
        Whether each column sees each feature.
    width : int
        Units per column.

    Returns
    -------
    blocks : list of tuple of int
        Number of units of neighbouring columns, and number of features up to the last
        one that any of these columns sees.
    """
    blocks = []
    for columns in mask.tensor_split(N_BLOCKS):
        if not len(columns):
            continue
        n_seen = int(columns.any(0).nonzero().max()) + 1 if columns.any() else 0
        n_units = len(columns) * width
        if blocks and blocks[-1][1] == n_seen:
            n_units += blocks.pop()[0]
        blocks.append((n_units, n_seen))
    return blocks


def column_networks(
    features: Tensor,
    weight: Tensor,
    mask: Tensor,
    bias: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    dropout: Tensor | None,
    learned: list[tuple[slice, Tensor]],
    blocks: list[tuple[int, int]],
) -> Tensor:
    """Apply two hidden layers for each column; shape (n_columns, n, width).

    Both layers are followed by SiLU and dropout, and the second one has a shortcut
    around it. The first layers of all columns are one masked product.

    Parameters
    ----------
    features : Tensor of shape (n, n_features)
    weight, mask : Tensor of shape (n_columns * width, n_features)
        Weights must be zero where the mask is; their gradients will be zero there.
    bias : Tensor of shape (n_columns * width,)
    weight2 : Tensor of shape (n_columns, width, width)
    bias2 : Tensor of shape (n_columns, 1, width)
    dropout : Tensor of shape (n_columns + 1, n, width) or None
        Factors of the dropout after the first layer of each column, and from the second
        one on after the second layers: as no two columns share a network, those of a
        network are independent, at half the price. None for no dropout.
    learned : list of tuple of slice and Tensor
        Features that get a gradient, which are the embeddings, and their places among
        the features. Those are data, whose gradient would be the second largest product
        of the step.
    blocks : list of tuple of int
        Numbers of neighbouring units of the first layers, each with the number of
        features, counted from the first, that any of them sees. Fewer products are
        faster on a GPU, and smaller ones, without what the mask makes zero, on a CPU.
    """
    arguments = features, weight, mask, bias, weight2, bias2, dropout
    if uses_manual_gradient(features):
        places, parts = zip(*learned, strict=True) if learned else ((), ())
        return _ColumnNetworks.apply(*arguments, blocks, places, *parts)
    for place, part in learned:
        features = features.slice_scatter(part, 1, place.start, place.stop)
    first = F.linear(features, weight * mask, bias)
    hidden = F.silu(first).view(len(features), *weight2.shape[:2]).transpose(0, 1)
    if dropout is None:
        return hidden + F.silu(torch.baddbmm(bias2, hidden, weight2))
    hidden = hidden * dropout[:-1].to(hidden.dtype)
    residual = F.silu(torch.baddbmm(bias2, hidden, weight2))
    return hidden + residual * dropout[1:].to(hidden.dtype)


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
