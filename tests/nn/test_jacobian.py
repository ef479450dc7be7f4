"""Mean derivatives against closed forms."""

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_unsup._nn.jacobian import mean_jacobian


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_derivatives_are_weighted_and_averaged(scale):
    """Whatever the scale of the inputs is."""
    z = scale * torch.tensor([[1.0, 2.0, 3.0], [5.0, 6.0, 3.0]])
    matrix = torch.tensor([[1.0, 2.0], [0.0, 1.0], [-1.0, 0.5]])
    weights = torch.tensor([[1.0, 0.0], [3.0, 2.0]])

    def function(z):
        return (z / scale).square() @ matrix

    each = torch.stack([2 * z[n, :, None] * matrix for n in range(2)]) / scale**2
    options = {"atol": 1e-3 / scale, "rtol": 1e-3}
    expected = (each * weights[:, None]).mean(0)
    # The third input does not vary over the rows, so that its step is not its own.
    n_inputs = 3 if scale == 1 else 2
    result = mean_jacobian(function, z, weights)
    torch.testing.assert_close(result[:n_inputs], expected[:n_inputs], **options)
    result = mean_jacobian(function, z)
    torch.testing.assert_close(result[:n_inputs], each.mean(0)[:n_inputs], **options)


def test_against_autograd():
    """The mean along half a standard deviation to either side, by quadrature."""
    z, net = torch.randn(50, 3), nn.Sequential(nn.Linear(3, 8), nn.SiLU())
    jacobian = torch.func.vmap(torch.func.jacrev(net))
    found = mean_jacobian(net, z)
    nodes, weights = np.polynomial.legendre.leggauss(8)
    for component in range(3):
        reach = torch.zeros(3)
        reach[component] = 0.5 * z[:, component].std(correction=0)
        each = [jacobian(z + node * reach)[..., component].mean(0) for node in nodes]
        expected = sum(w / 2 * part for w, part in zip(weights, each, strict=True))
        torch.testing.assert_close(found[component], expected.detach().float())
        at_rows = jacobian(z)[..., component].mean(0).detach()
        assert (found[component] - at_rows).abs().max() > 1e-4
