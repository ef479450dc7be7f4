"""Gradients of parameters: computed without accumulation, and clipped by their norm."""

import torch

from .._nn.torch_private import DIVIDES_GRADIENTS, divide_each, norms_of_pieces
from .optimizer import LeanAdamW


def set_gradients(loss, parameters):
    """Set the gradients of parameters that have some, and of nothing else.

    Unlike `Tensor.backward` this does not accumulate gradients, which would copy them,
    and computes none for inputs that only a penalty needs. The parameters are given, as
    optimizers list them: to collect those of a module takes longer than to update them.
    """
    parameters = [p for p in parameters if p.requires_grad]
    if not parameters:  # All are frozen.
        return
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    seen = set()
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if id(gradient) in seen and gradient is not None:
            # Terms of one sum have one gradient, which clipping would divide twice.
            gradient = gradient.clone()
        seen.add(id(gradient))
        if gradient is not None and gradient.stride() != parameter.stride():
            # The fused optimizer reads both in memory order.
            gradient = torch.empty_like(parameter).copy_(gradient)
        parameter.grad = gradient


def parameters_of(optimizer):
    """The parameters that an optimizer updates, as a list."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def clip_gradients(parts, max_norm, optimizer=None):
    """Scale gradients down so that the total norm of each part is at most `max_norm`.

    A :class:`LeanAdamW` that is given divides them in its next step, which reads and
    writes them anyway.

    Parameters
    ----------
    parts : list of list of Parameter
    max_norm : float
    optimizer : torch.optim.Optimizer or None, default=None
        The optimizer of all of them.
    """
    parts = [[p for p in part if p.grad is not None] for part in parts]
    parts = [part for part in parts if part]
    if not parts:
        return
    gradients = [[p.grad for p in part] for part in parts]
    norms = norms_of_pieces(gradients)
    for part, own, own_norms in zip(parts, gradients, norms, strict=True):
        norm = torch.linalg.vector_norm(torch.stack(own_norms))
        excess = (norm / max_norm).clamp_(min=1.0)
        can_divide = own[0].device.type in DIVIDES_GRADIENTS
        if can_divide and isinstance(optimizer, LeanAdamW):
            optimizer.divide_gradients(part, excess)
        else:
            divide_each(own, excess)
