"""Private functions of torch, in one file that new releases may break."""

from contextlib import suppress
from itertools import islice

import torch
from torch import Tensor

# Number of elements that a block of threads of CUDA's multi-tensor kernels gets at once
# if it is not to be the last to finish: left alone it takes 65,536 of them.
PIECE = 8192
# Devices whose fused AdamW divides the gradients by a scale.
DIVIDES_GRADIENTS = "cpu", "cuda"


def in_pieces(tensors: list[Tensor]) -> list[Tensor]:
    """Views of the elements that keep all of a GPU busy; elsewhere the tensors.

    A kernel for many tensors gives each block of threads up to 65,536 elements, which
    it goes through one after the other. A small network is a few such blocks, so that
    most of a GPU waits for them.
    """
    if not tensors or not tensors[0].is_cuda:
        return tensors
    pieces = []
    for tensor in tensors:
        if tensor.numel() > PIECE and tensor.is_contiguous():
            pieces += tensor.detach().view(-1).split(PIECE)
        else:
            pieces.append(tensor)
    return pieces


def add_to_each(tensors: list[Tensor], number: float) -> None:
    """Add a number to every tensor, in place."""
    torch._foreach_add_(tensors, number)


def divide_each(tensors: list[Tensor], divisor: Tensor) -> None:
    """Divide every tensor by one scalar tensor, in place."""
    torch._foreach_div_(in_pieces(tensors), divisor)


def lerp_each(tensors: list[Tensor], targets: list[Tensor], weight) -> None:
    """Move every tensor towards its target by a weight, a number or a scalar tensor."""
    tensors, targets = in_pieces(tensors), in_pieces(targets)
    if isinstance(weight, Tensor):
        # Of a weight that is a tensor, the function for it is one call per tensor.
        steps = torch._foreach_sub(targets, tensors)
        torch._foreach_mul_(steps, weight)
        torch._foreach_add_(tensors, steps)
    else:
        torch._foreach_lerp_(tensors, targets, weight)


def norms_of_pieces(parts: list[list[Tensor]]) -> list[list[Tensor]]:
    """Euclidean norms of the tensors' pieces, whose squares sum to that of each part.

    A single call computes those of all parts.
    """
    pieces = [in_pieces(tensors) for tensors in parts]
    norms = iter(torch._foreach_norm([piece for own in pieces for piece in own]))
    return [list(islice(norms, len(own))) for own in pieces]


def fused_adamw_(
    parameters, gradients, averages, squares, step, *, lr, group, divisor=None
) -> None:
    """Do one step of AdamW on all parameters by a single kernel.

    Parameters
    ----------
    parameters, gradients, averages, squares : list of Tensor
        Lists of the same length, whose tensors have the same strides.
    step : Tensor
        Number of steps of all of them, including this one.
    lr : float or Tensor
    group : dict
        Parameter group of an optimizer, with `betas`, `weight_decay` and `eps`.
    divisor : Tensor or None, default=None
        What all gradients are divided by, in place.
    """
    beta1, beta2 = group["betas"]
    parameters, gradients, averages, squares = map(
        in_pieces, (parameters, gradients, averages, squares)
    )
    torch._fused_adamw_(
        parameters,
        gradients,
        averages,
        squares,
        [],
        [step] * len(parameters),
        lr=lr,
        beta1=beta1,
        beta2=beta2,
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        amsgrad=False,
        maximize=False,
        grad_scale=divisor,
    )


def without_compiler(method):
    """A method of torch's optimizers as it is below the wrapper for the compiler.

    The wrapper, which keeps the compiler out of the method, imports all of it for that:
    some 65 MB and as much time as hundreds of steps, in every process that fits.
    """
    return getattr(method, "__wrapped__", method)


def release_graph_pool(device_index: int, pool) -> None:
    """End the allocations of a CUDA graph whose recording was interrupted."""
    end = getattr(torch._C, "_cuda_endAllocateToPool", None) or getattr(
        torch._C, "_cuda_endAllocateCurrentStreamToPool", None
    )
    with suppress(Exception):
        # The first call fails if allocations have ended already. Then the pool has the
        # right number of users, and releasing it once more would abort the process.
        end(device_index, pool)
        torch._C._cuda_releasePool(device_index, pool)
