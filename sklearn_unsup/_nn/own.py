"""Networks of users in the place of ours: made, with their sizes, and checked."""

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

# Number of rows that a new network is tried on. With one, an output without the
# dimension of the rows could look right.
TRIED_ROWS = 2


@dataclass
class OwnNet:
    """A network that a user gave to an estimator, before the sizes are known.

    Parameters
    ----------
    name : str
        Name of the estimator's parameter.
    source : callable
        A subclass of :class:`torch.nn.Module` or a function that returns a module.
        `n_inputs` and `n_outputs` are passed if it has parameters of these names. Or a
        module, of which a copy is used.
    options : dict
        Further arguments, by name.

    Examples
    --------
    >>> OwnNet("encoder", nn.LazyLinear, {"out_features": 2}).build(5, 2)
    Linear(in_features=5, out_features=2, bias=True)
    """

    name: str
    source: Callable
    options: dict = field(default_factory=dict)

    def build(self, n_inputs: int, n_outputs: int) -> nn.Module:
        """Make the module, and check that it maps (n, n_inputs) to (n, n_outputs)."""
        if isinstance(self.source, nn.Module):
            net = self._copied()
        else:
            net = self._made({"n_inputs": n_inputs, "n_outputs": n_outputs})
        self._try(net, n_inputs, n_outputs)
        return net

    @property
    def label(self) -> str:
        """The parameter as a user would write it."""
        kind = type(self.source).__name__ + "(...)"
        return f"{self.name}={getattr(self.source, '__name__', kind)}"

    def _copied(self):
        if self.options:
            options = self._written(self.options)
            raise ValueError(
                f"{options} cannot be set, because {self.label} is a module that was "
                "made before: pass its class instead."
            )
        return copy.deepcopy(self.source)

    def _made(self, sizes):
        parameters = inspect.signature(self.source).parameters
        if getattr(self.source, "__init__", None) is nn.Module.__init__:
            parameters = {}  # It takes anything, and then refuses it.
        takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        unknown = [name for name in self.options if name not in parameters]
        if unknown and not takes_all:
            options = self._written(unknown)
            raise ValueError(
                f"{options} cannot be set: {self.label} takes {', '.join(parameters)}."
            )
        sizes = {n: size for n, size in sizes.items() if takes_all or n in parameters}
        try:
            net = self.source(**{**sizes, **self.options})
        except TypeError as error:
            given = ", ".join({**sizes, **self.options}) or "no arguments"
            raise TypeError(
                f"{self.label} was called with {given} and raised: {error}. Sizes are "
                "passed to arguments named n_inputs and n_outputs: rename its own, or "
                f"pass a function that has these. Pass others as {self.name}__..."
            ) from error
        if not isinstance(net, nn.Module):
            raise TypeError(
                f"{self.label} must be or return a torch.nn.Module, got "
                f"{type(net).__name__}."
            )
        return net

    def _written(self, options):
        return ", ".join(f"{self.name}__{option}" for option in options)

    @torch.no_grad()
    def _try(self, net, n_inputs, n_outputs):
        """Refuse a module whose output has another shape, before any training."""
        was_training, rows = net.training, torch.zeros(TRIED_ROWS, n_inputs)
        needed = (
            f"map rows of shape (n, {n_inputs}) to (n, {n_outputs}), which it gets as "
            "n_inputs and n_outputs if it has parameters of these names"
        )
        try:
            output = net.eval()(rows)
        except Exception as error:
            raise ValueError(
                f"{self.label} failed on rows of shape {tuple(rows.shape)}: {error}. "
                f"It must {needed}."
            ) from error
        net.train(was_training)
        if not isinstance(output, Tensor):
            raise TypeError(
                f"{self.label} must return one tensor, got {type(output).__name__}. "
                f"It must {needed}."
            )
        if output.shape != (TRIED_ROWS, n_outputs):
            raise ValueError(
                f"{self.label} turned rows of shape {tuple(rows.shape)} into "
                f"{tuple(output.shape)}. It must {needed}."
            )
