"""Hat functions of quantiles, and what the critic sees of numbers through them."""

import math
from functools import cache

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


@cache  # They are never freed, because CUDA graphs read them at a fixed address.
def _negative_peaks(n_intervals: int, device: torch.device) -> Tensor:
    """Minus the peaks' distances from the middle of all hats, in intervals."""
    with torch.inference_mode(False):
        numbers = torch.arange(n_intervals + 1, dtype=torch.float32, device=device)
        return n_intervals / 2 - numbers


def hat_functions(x: Tensor, n_intervals: int) -> tuple[Tensor, Tensor]:
    """Hat functions of the quantiles of standard normal numbers.

    They are linear B-splines whose intervals hold equal fractions of the rows. With
    them a network learns steps and spikes as easily as slopes.

    Parameters
    ----------
    x : Tensor of shape (..., 1)
    n_intervals : int

    Returns
    -------
    hats : Tensor of shape (..., n_intervals + 1)
    distances : Tensor of shape (..., n_intervals + 1)
        Signed distance of the quantile from the peak of each hat, in intervals.
    """
    centred = torch.erf(x * math.sqrt(0.5))  # 2 * quantile - 1
    peaks = _negative_peaks(n_intervals, x.device)
    distances = torch.add(peaks, centred, alpha=n_intervals / 2)
    return F.relu(1.0 - distances.abs()), distances


class _HatFeatures(Function):
    @staticmethod
    def forward(ctx, x, blocks, n_intervals):
        n, n_numeric = x.shape
        n_features = n_intervals + 2
        hats, distances = hat_functions(x[..., None], n_intervals)
        features = x.new_empty(n, n_numeric * n_features + blocks.shape[1])
        number_features, block_features = features.split(
            [n_numeric * n_features, blocks.shape[1]], 1
        )
        number_features = number_features.view(n, n_numeric, n_features)
        number_features[..., 0] = x
        number_features[..., 1:] = hats
        block_features.copy_(blocks)
        if any(ctx.needs_input_grad):
            # Where a hat is above zero it is linear in the quantile, whose derivative
            # is the normal density.
            density = x.square().mul_(-0.5).exp_()
            density.mul_(-n_intervals / math.sqrt(2 * math.pi))
            slopes = distances.sign_().mul_(hats > 0).mul_(density[..., None])
            ctx.save_for_backward(slopes)
        return features

    @staticmethod
    def backward(ctx, grad_output):
        (slopes,) = ctx.saved_tensors
        return *_HatFeaturesGradient.apply(grad_output, slopes), None


class _HatFeaturesGradient(Function):
    @staticmethod
    def forward(ctx, grad_output, slopes):
        ctx.save_for_backward(slopes)
        n, n_numeric, n_hats = slopes.shape
        grad_numbers = grad_output[:, : n_numeric * (n_hats + 1)]
        grad_numbers = grad_numbers.view(n, n_numeric, n_hats + 1)
        grad_x = (grad_numbers[..., 1:] * slopes).sum(2).add_(grad_numbers[..., 0])
        return grad_x, grad_output[:, n_numeric * (n_hats + 1) :].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_x, grad_blocks):
        (slopes,) = ctx.saved_tensors
        n, n_numeric, n_hats = slopes.shape
        width = n_numeric * (n_hats + 1)
        grad_grad_output = grad_blocks.new_empty(n, width + grad_blocks.shape[1])
        grad_numbers = grad_grad_output[:, :width].view(n, n_numeric, n_hats + 1)
        grad_numbers[..., 0] = grad_x
        torch.mul(grad_x[..., None], slopes, out=grad_numbers[..., 1:])
        grad_grad_output[:, width:] = grad_blocks
        return grad_grad_output, None


def piecewise_linear_input(x: Tensor, blocks: Tensor, n_intervals: int) -> Tensor:
    """Concatenate numbers with hat functions of their quantiles, and one-hot blocks.

    Shapes: (n, n_numeric) and (n, n_one_hot) to (n, (n_intervals + 2) * n_numeric +
    n_one_hot). A gradient penalty may differentiate the gradient of the inputs again:
    the second derivative is exact for the layers after this one, and the slopes of the
    hat functions count as constants.
    """
    return _HatFeatures.apply(x, blocks, n_intervals)
