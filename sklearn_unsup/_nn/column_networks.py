"""The networks of all columns of a model of rows, with manual gradients."""

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .fused import sum_rows, uses_manual_gradient

# Number of matrix products that compute the first layers of all columns on a CPU. A
# single masked one would multiply many zeros.
N_BLOCKS = 4


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


def _first_layers_gradient(grad_output, features, own, mask, blocks):
    """Gradient of their weights. Masked weights are zero and stay so."""
    if own is not None:
        gradient, n_shared = torch.empty_like(mask), features.shape[1]
        torch.mm(grad_output.t(), features, out=gradient[:, :n_shared])
        by_column = grad_output.t().reshape(len(own), -1, len(features))
        gradient[:, n_shared:] = torch.bmm(by_column, own).flatten(0, 1)
        return gradient.mul_(mask)
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
        own,
        blocks,
        places,
        *learned,
    ):
        # The first product has rows before columns, the batched one has them after.
        shape = len(features), *weight2.shape[:2]
        if own is None:
            first = _first_layers(features, weight, bias, blocks)
        else:
            n_shared = features.shape[1]
            first = torch.addmm(bias, features, weight[:, :n_shared].t())
            first.view(shape).transpose(0, 1).baddbmm_(
                own, weight[:, n_shared:].view(*weight2.shape[:2], -1).transpose(1, 2)
            )
        hidden = F.silu(first).view(shape).transpose(0, 1)
        dropout1 = dropout2 = None
        if dropout is not None:
            dropout1, dropout2 = dropout[:-1], dropout[1:]
            hidden = hidden * dropout1
        second = torch.baddbmm(bias2, hidden, weight2)
        residual = F.silu(second)
        ctx.places, ctx.blocks = places, blocks
        saved = weight, mask, first, hidden, weight2, second, dropout1, dropout2
        ctx.save_for_backward(*saved, features, own)
        if dropout is None:
            return hidden + residual
        return torch.addcmul(hidden, residual, dropout2)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        weight, mask, first, hidden, weight2, second, *rest = ctx.saved_tensors
        dropout1, dropout2, features, own = rest
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
            _first_layers_gradient(grad_first, features, own, mask, ctx.blocks),
            None,
            sum_rows(grad_first),
            grad_weight2,
            sum_rows(grad_second),
            None,
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
    own: Tensor | None = None,
) -> Tensor:
    """Apply two hidden layers for each column; shape (n_columns, n, width).

    Both layers are followed by SiLU and dropout, and the second one has a shortcut
    around it. The first layers of all columns are one masked product.

    Parameters
    ----------
    features : Tensor of shape (n, n_features)
    weight, mask : Tensor of shape (n_columns * width, n_features + n_own)
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
    own : Tensor of shape (n_columns, n, n_own) or None, default=None
        Features that are other ones for each column. Their weights are the last ones.
        The blocks do not matter then.
    """
    arguments = features, weight, mask, bias, weight2, bias2, dropout, own
    if uses_manual_gradient(features):
        places, parts = zip(*learned, strict=True) if learned else ((), ())
        return _ColumnNetworks.apply(*arguments, blocks, places, *parts)
    for place, part in learned:
        features = features.slice_scatter(part, 1, place.start, place.stop)
    weight, own_weight = (weight * mask).tensor_split([features.shape[1]], 1)
    first = F.linear(features, weight, bias).view(len(features), *weight2.shape[:2])
    first = first.transpose(0, 1)
    if own is not None:
        own_weight = own_weight.reshape(*weight2.shape[:2], -1).transpose(1, 2)
        first = torch.baddbmm(first, own.to(first.dtype), own_weight.to(first.dtype))
    hidden = F.silu(first)
    if dropout is None:
        return hidden + F.silu(torch.baddbmm(bias2, hidden, weight2))
    hidden = hidden * dropout[:-1].to(hidden.dtype)
    residual = F.silu(torch.baddbmm(bias2, hidden, weight2))
    return hidden + residual * dropout[1:].to(hidden.dtype)
