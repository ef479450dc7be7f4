"""Mean derivatives of what networks decode, by the components of their codes."""

from collections.abc import Callable

import torch
from torch import Tensor

# Distance on either side of a row over which derivatives are averaged, in standard
# deviations of the component. At the rows alone a probability that jumps between two
# groups of rows has no slope.
REACH = 0.5


@torch.no_grad()
def mean_jacobian(
    function: Callable[[Tensor], Tensor], z: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Mean over rows of the derivatives of outputs by inputs, (n_inputs, n_outputs).

    At each row it is the mean between half a standard deviation of the input below and
    above, which is a difference quotient, and so exact for any network.

    Parameters
    ----------
    function : callable
        Maps inputs (n, n_inputs) to outputs (n, n_outputs), row by row.
    z : Tensor of shape (n, n_inputs)
    weights : Tensor of shape (n, n_outputs) or None, default=None
        Factors of the derivatives of each row.

    Examples
    --------
    >>> import torch
    >>> z = torch.tensor([[1.0, 3.0], [2.0, 4.0]])
    >>> mean_jacobian(lambda z: z**2, z)
    tensor([[3., 0.],
            [0., 7.]])
    """
    # An input without variance carries nothing, and any distance will do.
    deviations = z.std(0, correction=0)
    reaches = REACH * torch.where(deviations > 0, deviations, 1.0)
    means = []
    for component, reach in enumerate(reaches):
        ahead, behind = z.clone(), z.clone()
        ahead[:, component] += reach
        behind[:, component] -= reach
        # The distance as it was rounded.
        apart = (ahead - behind)[:, component, None]
        changes = (function(ahead) - function(behind)) / apart
        means.append((changes if weights is None else changes * weights).mean(0))
    return torch.stack(means)
