"""AdamW without the overhead that dominates the steps of small nets."""

import torch

from .._nn.torch_private import add_to_each, fused_adamw_


class LeanAdamW(torch.optim.AdamW):
    """AdamW (Loshchilov and Hutter 2019) that goes straight to torch's fused kernel.

    The same numbers as its parent's with ``fused=True``. Of a net for tables, whose
    step takes some hundred microseconds, the parent's bookkeeping takes a third: hooks,
    a profiler's record, a step counter for each parameter. Here a group has one
    counter, so that it should learn as a whole or not at all: one without any gradient
    is left alone. There are no hooks on the step and no closures.

    Parameters
    ----------
    params : iterable of Tensor or of dict
        Parameters or groups of them, already on their device.
    **kwargs
        Of :class:`torch.optim.AdamW`, without `amsgrad`, `maximize` and the choice of
        an implementation.

    Examples
    --------
    >>> layer = torch.nn.Linear(2, 1)
    >>> optimizer = LeanAdamW(layer.parameters(), lr=0.1, weight_decay=0.0)
    >>> before = layer.bias.item()
    >>> layer(torch.ones(4, 2)).sum().backward()
    >>> optimizer.step()
    >>> round(before - layer.bias.item(), 4)
    0.1
    """

    # Step sizes as tensors, and whether steps read them there.
    rates, reads_rates = None, False

    def __init__(self, params, lr: float = 1e-3, **kwargs):
        super().__init__(params, lr, fused=True, **kwargs)

    def publish_rates(self):
        """Write the step sizes to where steps look for them while `reads_rates`.

        A recorded step cannot see a number of Python, only a tensor.
        """
        if self.rates is None:
            self.rates = [
                torch.zeros((), device=group["params"][0].device)
                for group in self.param_groups
            ]
        for group, rate in zip(self.param_groups, self.rates, strict=True):
            rate.fill_(group["lr"])

    def zero_grad(self, set_to_none: bool = True):
        """Drop the gradients; `set_to_none` is for the parent's signature."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def step(self):
        """Update every group that has gradients."""
        updates = []
        for number, group in enumerate(self.param_groups):
            learning = [p for p in group["params"] if p.grad is not None]
            if learning:
                rate = self.rates[number] if self.reads_rates else group["lr"]
                states = [
                    self.state[p] or self._first_state(group, p) for p in learning
                ]
                updates.append((group, learning, states, rate))
        if updates:
            with torch.no_grad():
                # After loading, each state has a counter of its own: all are alike.
                add_to_each([states[0]["step"] for _, _, states, _ in updates], 1)
                for update in updates:
                    self._update(*update)

    # The parent wraps a step that does not say so in a profiler's record.
    step.hooked = True

    def _update(self, group, parameters, states, rate):
        fused_adamw_(
            parameters,
            [p.grad for p in parameters],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [states[0]["step"]] * len(parameters),
            lr=rate,
            group=group,
        )

    def _first_state(self, group, parameter):
        state = self.state[parameter]
        first = self.state.get(group["params"][0])
        state["step"] = (
            first["step"] if first else torch.zeros((), device=parameter.device)
        )
        state["exp_avg"] = torch.zeros_like(parameter)
        state["exp_avg_sq"] = torch.zeros_like(parameter)
        return state
