"""Running averages of weights."""

import torch
from torch import Tensor

from .._nn.torch_private import lerp_each

# Exponent of the power function that weights the steps. The average reaches back over
# about 1 / (SHARPNESS + 1) of all steps.
SHARPNESS = 9
# Exponent for twice the step size, which leaves more noise to average.
LARGE_STEP_SHARPNESS = 4


class WeightAverage:
    """Average of the weights over about the last tenth of the steps so far.

    Where the step size stays constant the latest weights remain noisy. Averaging them
    has the effect of a decay of the step size, but at any time (power function
    averages, Karras et al. 2024, equation 3): of a stream, whose length is unknown, and
    of a fit that held-out rows may end.

    Parameters
    ----------
    parameters : iterable of Parameter
        Parameters of the networks. They hold the latest weights during training, and
        the average at other times.
    n_steps : int, default=0
        Number of steps that have gone into the average so far.

    Attributes
    ----------
    sharpness : float
        Exponent of the power function, SHARPNESS unless another one is set.

    Examples
    --------
    >>> weight = torch.nn.Parameter(torch.zeros(1))
    >>> average = WeightAverage([weight])
    >>> for step in range(1000):
    ...     _ = weight.data.fill_(step / 1000)
    ...     average.update()
    >>> average.use_average()
    >>> round(weight.item(), 1)
    0.9
    >>> average.use_latest()
    >>> round(weight.item(), 3)
    0.999
    """

    def __init__(self, parameters, n_steps: int = 0):
        self.parameters = list(parameters)
        self.average = [p.detach().clone() for p in self.parameters]
        self.latest: list[Tensor] | None = None
        self.n_steps, self.sharpness = n_steps, SHARPNESS
        self.before_chunk: tuple[list[Tensor], int] | None = None

    @torch.no_grad()
    def update(self):
        """Include the weights after a step in the average."""
        self.n_steps += 1
        weight = (self.sharpness + 1) / (self.sharpness + self.n_steps)
        lerp_each(self.average, self.parameters, weight)

    @torch.no_grad()
    def use_average(self):
        """Save the latest weights, and copy the average into the parameters."""
        self.latest = [p.detach().clone() for p in self.parameters]
        self.before_chunk = None
        self._copy(self.average)

    @torch.no_grad()
    def use_latest(self):
        """Copy the latest weights into the parameters, to train them on a new chunk."""
        self._copy(self.latest)
        self.latest = None
        self.before_chunk = [tensor.clone() for tensor in self.average], self.n_steps

    def restore_before_chunk(self) -> bool:
        """Restore the average from before the current chunk; False if it is the first.

        The caller has restored the parameters, and calls :meth:`use_average` next.
        """
        if self.before_chunk is None:
            return False
        self.average, self.n_steps = self.before_chunk
        return True

    def _copy(self, tensors):
        for parameter, tensor in zip(self.parameters, tensors, strict=True):
            parameter.copy_(tensor)

    def state_dict(self) -> dict:
        """State without the average, which the parameters hold."""
        return {"latest": self.latest, "n_steps": self.n_steps}

    def load_state_dict(self, state: dict) -> None:
        """Restore a :meth:`state_dict`; the parameters must hold the average."""
        device = self.parameters[0].device
        self.latest = [tensor.to(device) for tensor in state["latest"]]
        self.n_steps = state["n_steps"]


def ema_decay(step: int, decay: float) -> float:
    """Decay of a running average at a step, counted from 0.

    It is smaller for the first steps, so that the average forgets the initial weights.
    """
    return min(decay, (1 + step) / (10 + step))
