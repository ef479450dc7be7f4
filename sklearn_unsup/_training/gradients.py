"""Gradients of modules: set anew for each step, clipped by their norm."""

import torch

from .._nn.torch_private import divide_each, norm_of_each


def backward(loss, *modules):
    """Set the gradients of the modules' parameters, and no others.

    Unlike `Tensor.backward` it adds nothing up, and so needs no copies; it computes no
    gradients of inputs that only a penalty needs. No two parameters may be the terms of
    one sum: they would get the same tensor, and clipping would divide it twice.
    """
    parameters = [
        parameter
        for module in modules
        for parameter in module.parameters()
        if parameter.requires_grad
    ]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None and gradient.stride() != parameter.stride():
            # The fused optimizer walks through both in the order of their memory.
            gradient = torch.empty_like(parameter).copy_(gradient)
        parameter.grad = gradient


def clip_gradients(module, max_norm):
    """Divide all gradients by what their norm exceeds `max_norm` by, if it does."""
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    excess = torch.linalg.vector_norm(torch.stack(norm_of_each(gradients)))
    divide_each(gradients, (excess / max_norm).clamp_(min=1.0))
