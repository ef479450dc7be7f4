"""Private functions of torch, in one file that new releases may break."""

from contextlib import suppress

import torch
from torch import Tensor


def add_to_each(tensors: list[Tensor], number: float) -> None:
    """Add a number to every tensor, in place."""
    torch._foreach_add_(tensors, number)


def divide_each(tensors: list[Tensor], divisor: Tensor) -> None:
    """Divide every tensor by one scalar tensor, in place."""
    torch._foreach_div_(tensors, divisor)


def lerp_each(tensors: list[Tensor], targets: list[Tensor], weight) -> None:
    """Move every tensor towards its target by a weight, a number or a scalar tensor."""
    if isinstance(weight, Tensor):
        weight = [weight] * len(tensors)
    torch._foreach_lerp_(tensors, targets, weight)


def norm_of_each(tensors: list[Tensor]) -> list[Tensor]:
    """Euclidean norm of every tensor."""
    return torch._foreach_norm(tensors)


def fused_adamw_(parameters, gradients, averages, squares, steps, *, lr, group) -> None:
    """Do one step of AdamW on all parameters by a single kernel.

    Parameters
    ----------
    parameters, gradients, averages, squares, steps : list of Tensor
        Lists of the same length. The steps already include this one.
    lr : float or Tensor
    group : dict
        Parameter group of an optimizer, with `betas`, `weight_decay` and `eps`.
    """
    beta1, beta2 = group["betas"]
    torch._fused_adamw_(
        parameters,
        gradients,
        averages,
        squares,
        [],
        steps,
        lr=lr,
        beta1=beta1,
        beta2=beta2,
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        amsgrad=False,
        maximize=False,
    )


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
