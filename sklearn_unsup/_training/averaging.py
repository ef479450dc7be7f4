"""Weights that a stream may be used with at any time."""

import torch
from torch import Tensor

from .._nn.torch_private import lerp_each

# The average reaches back over about this share of the steps: 1 / (SHARPNESS + 1).
SHARPNESS = 9


class StreamAverage:
    """The weights that a stream trains, and an average of them that it is used with.

    Nobody knows how long a stream is, so its step size stays constant, and its latest
    weights are as noisy in the end as they ever were. An average over the last tenth of
    the steps does for them what a decay of the step size does in a fit, at any time
    (the power function averages of Karras et al. 2024, equation 3).

    Parameters
    ----------
    parameters : iterable of Parameter
        Of the networks. While training they hold the latest weights, else the average.

    Examples
    --------
    >>> weight = torch.nn.Parameter(torch.zeros(1))
    >>> average = StreamAverage([weight])
    >>> for step in range(1000):
    ...     _ = weight.data.fill_(step / 1000)
    ...     average.update()
    >>> average.pause()
    >>> round(weight.item(), 1)  # the latest is 1
    0.9
    >>> average.resume()
    >>> round(weight.item(), 3)
    0.999
    """

    def __init__(self, parameters):
        self.parameters = list(parameters)
        self.average = [p.detach().clone() for p in self.parameters]
        self.latest: list[Tensor] | None = None
        self.n_steps = 0
        self.before: tuple[list[Tensor], int] | None = None

    @torch.no_grad()
    def update(self):
        """Move the average after a step."""
        self.n_steps += 1
        weight = (SHARPNESS + 1) / (SHARPNESS + self.n_steps)
        lerp_each(self.average, self.parameters, weight)

    @torch.no_grad()
    def pause(self):
        """Put the average in the place of the weights."""
        self.latest = [p.detach().clone() for p in self.parameters]
        self.before = None
        self._copy(self.average)

    @torch.no_grad()
    def resume(self):
        """Put the latest weights back to train them further."""
        self._copy(self.latest)
        self.latest = None
        self.before = [tensor.clone() for tensor in self.average], self.n_steps

    def forget_chunk(self) -> bool:
        """Bring back the average that there was when the chunk began, if there was one.

        The weights should be back at those of that time, too: :meth:`pause` follows.
        """
        if self.before is None:
            return False
        self.average, self.n_steps = self.before
        return True

    def _copy(self, tensors):
        for parameter, tensor in zip(self.parameters, tensors, strict=True):
            parameter.copy_(tensor)

    def state(self) -> dict:
        """What a copy needs besides the average, which is in the networks."""
        return {"latest": self.latest, "n_steps": self.n_steps}

    def load(self, state: dict) -> None:
        """Go on from a :meth:`state`; the networks hold the average."""
        device = self.parameters[0].device
        self.latest = [tensor.to(device) for tensor in state["latest"]]
        self.n_steps = state["n_steps"]


def ema_decay(step: int, decay: float) -> float:
    """Decay of a running average at a step from 0: at first it forgets faster."""
    return min(decay, (1 + step) / (10 + step))
