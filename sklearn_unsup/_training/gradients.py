"""Gradients of parameters: computed without accumulation, and clipped by their norm."""

import torch

from .._nn.torch_private import divide_each, norms_of_pieces


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


def clip_gradients(parameters, max_norm):
    """Scale gradients down so that their total norm is at most `max_norm`."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return
    excess = torch.linalg.vector_norm(torch.stack(norms_of_pieces(gradients)))
    divide_each(gradients, (excess / max_norm).clamp_(min=1.0))
