"""Gradients of modules: computed without accumulation, and clipped by their norm."""

import torch

from .._nn.torch_private import divide_each, norms_of_pieces


def set_gradients(loss, *modules):
    """Set the gradients of the modules' parameters, and of nothing else.

    Unlike `Tensor.backward` this does not accumulate gradients, which would copy them,
    and computes none for inputs that only a penalty needs.
    """
    parameters = [
        parameter
        for module in modules
        for parameter in module.parameters()
        if parameter.requires_grad
    ]
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


def clip_gradients(module, max_norm):
    """Scale all gradients down so that their total norm is at most `max_norm`."""
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    excess = torch.linalg.vector_norm(torch.stack(norms_of_pieces(gradients)))
    divide_each(gradients, (excess / max_norm).clamp_(min=1.0))
