"""AdamW without the overhead that dominates the steps of small networks, and others."""

import inspect
from types import MappingProxyType

import torch

from .._nn.torch_private import add_to_each, fused_adamw_, without_compiler


class LeanAdamW(torch.optim.AdamW):
    """AdamW (Loshchilov and Hutter 2019) that calls torch's fused kernel directly.

    Its results equal those of its parent class with ``fused=True``. A step of a network
    for tables takes some hundred microseconds, a third of which the parent spends on
    hooks, profiling and one step counter per parameter. Here a parameter group has a
    single counter, so that either all of its parameters should have gradients or none;
    a group without gradients is skipped. Step hooks and closures are not supported.

    Parameters
    ----------
    params : iterable of Tensor or of dict
        Parameters or parameter groups, already on their device.
    **kwargs
        Options of :class:`torch.optim.AdamW`, without `amsgrad`, `maximize` and those
        that choose an implementation.

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

    # Learning rate of each group as a tensor, and whether steps read it from there.
    lr_tensors, reads_lr_tensors = None, False
    # What the next step divides gradients by, by the identity of their parameter.
    divisors = MappingProxyType({})

    def __init__(self, params, lr: float = 1e-3, **kwargs):
        super().__init__(params, lr, fused=True, **kwargs)

    add_param_group = without_compiler(torch.optim.AdamW.add_param_group)
    state_dict = without_compiler(torch.optim.AdamW.state_dict)
    load_state_dict = without_compiler(torch.optim.AdamW.load_state_dict)

    def update_lr_tensors(self):
        """Copy the learning rates to tensors, from which replayed steps read them.

        A CUDA graph sees changes of tensors, but not of Python numbers.
        """
        if self.lr_tensors is None:
            self.lr_tensors = [
                torch.zeros((), device=group["params"][0].device)
                for group in self.param_groups
            ]
        for group, lr in zip(self.param_groups, self.lr_tensors, strict=True):
            lr.fill_(group["lr"])

    def zero_grad(self, set_to_none: bool = True):
        """Set all gradients to None; `set_to_none` is for the parent's signature."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def divide_gradients(self, parameters, divisor):
        """Have the next step divide the gradients of these parameters by a tensor.

        Of each parameter group they are all or none.
        """
        own = dict.fromkeys(map(id, parameters), divisor)
        self.divisors = self.divisors | own

    def step(self):
        """Update every group that has gradients."""
        updates = []
        for number, group in enumerate(self.param_groups):
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                lr = self.lr_tensors[number] if self.reads_lr_tensors else group["lr"]
                states = [
                    self.state[p] or self._init_state(group, p) for p in parameters
                ]
                updates.append((group, parameters, states, lr))
        if updates:
            with torch.no_grad():
                # Only the first counter of a group is used. After loading, every
                # parameter has a counter of its own, with the same count.
                add_to_each([states[0]["step"] for _, _, states, _ in updates], 1)
                for update in updates:
                    self._update_group(*update)
        self.divisors = MappingProxyType({})

    # Without this mark the parent would wrap the step in a profiling function.
    step.hooked = True

    def _update_group(self, group, parameters, states, lr):
        fused_adamw_(
            parameters,
            [p.grad for p in parameters],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            states[0]["step"],
            lr=lr,
            group=group,
            divisor=self.divisors.get(id(parameters[0])),
        )

    def _init_state(self, group, parameter):
        state = self.state[parameter]
        first = self.state.get(group["params"][0])
        state["step"] = (
            first["step"] if first else torch.zeros((), device=parameter.device)
        )
        state["exp_avg"] = torch.zeros_like(parameter)
        state["exp_avg_sq"] = torch.zeros_like(parameter)
        return state


def move_moments(old, new) -> None:
    """Give an optimizer what another one of its class knows of the same parameters.

    A state dict goes by the order of the parameters, which depends on the groups.
    """
    if type(old) is not type(new):
        return
    for group in new.param_groups:
        counters = {}  # Groups count their steps apart, those of a group may share one.
        for parameter in group["params"]:
            for key, value in old.state.get(parameter, {}).items():
                if isinstance(value, torch.Tensor) and value.ndim == 0:
                    value = counters.setdefault(id(value), value.clone())
                new.state[parameter][key] = value


# Arguments of an own optimizer that an estimator sets, and what decides about them.
SET_BY_FIT = {
    "lr": "the step size is learning_rate_init",
    "params": "they are the parameters of the networks",
    "param_groups": "the groups come from the networks",
}


def check_optimizer(optimizer, options: dict) -> None:
    """Raise an error unless a net can be trained by an optimizer of a user.

    It is tried on one parameter, so that mistakes are found before training.

    Parameters
    ----------
    optimizer : callable
        A subclass of :class:`torch.optim.Optimizer`, or a function that returns one,
        which gets the parameter groups and `lr`.
    options : dict
        Its other arguments, by name.

    Raises
    ------
    TypeError
        If it is no optimizer, or cannot be made with these arguments.
    ValueError
        If an argument is not the user's to set, has a value that it refuses, or if a
        step needs a closure, which computes the loss anew.
    """
    name = getattr(optimizer, "__name__", repr(optimizer))
    for option in options:
        if option in SET_BY_FIT:
            raise ValueError(
                f"optimizer__{option} cannot be set: {SET_BY_FIT[option]}."
            )
    try:
        parameter = torch.nn.Parameter(torch.zeros(1))
        made = optimizer([{"params": [parameter]}], lr=1e-3, **options)
    except (TypeError, ValueError) as error:
        shown = ", ".join(["lr", *(f"optimizer__{option}" for option in options)])
        raise type(error)(
            f"optimizer={name} was called with parameter groups and {shown}, and "
            f"raised: {error}"
        ) from error
    if not isinstance(made, torch.optim.Optimizer):
        raise TypeError(
            f"optimizer={name} must be or return a torch.optim.Optimizer, such as "
            f"torch.optim.SGD, got {type(made).__name__}."
        )
    closure = inspect.signature(made.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise ValueError(
            f"optimizer={name} evaluates the loss of one batch several times in a "
            "step, which the training of these networks does not: pass one that takes "
            "a gradient, such as torch.optim.AdamW."
        )
