"""Layers that several networks share."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from .._table.layout import TableLayout
from .distributions import one_hot
from .fused import Linear, add_linear

ACTIVATIONS = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "identity": nn.Identity,
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "selu": nn.SELU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
}


class TableInput(nn.Module):
    """Numbers and one-hot blocks side by side, made on the device of the rows.

    Shapes: `x_num` (n, n_numeric) and `x_cat` (n, n_categorical) to (n, layout.width).

    Examples
    --------
    >>> import torch
    >>> table = TableInput(TableLayout(1, (3,)))
    >>> table(torch.tensor([[0.5]]), torch.tensor([[2]]))
    tensor([[0.5000, 0.0000, 0.0000, 1.0000]])
    """

    def __init__(self, layout: TableLayout):
        super().__init__()
        self.layout = layout

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        if not self.layout.n_categorical:
            return x_num
        blocks = one_hot(x_cat, self.layout)
        return torch.cat([x_num, blocks], 1) if self.layout.n_numeric else blocks


class ResidualMLP(nn.Module):
    """Hidden layers, with a shortcut around each that keeps its width.

    Shapes: (n, n_inputs) to (n, n_outputs). A `linear_path` adds a linear map of the
    input to the output and starts the last layer of the hidden branch at zero, so that
    training starts at that linear map. Without hidden layers only it is left.

    Parameters
    ----------
    n_inputs : int
    hidden_layer_sizes : tuple of int
    n_outputs : int
    activation : str
        A key of `ACTIVATIONS`.
    linear_path : bool
    layer : type, default=Linear
        Of the hidden layers and the last one; `torch.nn.Linear` where gradients are
        differentiated once more.

    Examples
    --------
    >>> import torch
    >>> ResidualMLP(5, (8, 8), 2, "silu", linear_path=True)(torch.ones(3, 5)).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        n_inputs: int,
        hidden_layer_sizes: tuple[int, ...],
        n_outputs: int,
        activation: str,
        linear_path: bool,
        layer: type[nn.Linear] = Linear,
    ):
        super().__init__()
        widths = [n_inputs, *hidden_layer_sizes]
        # The linear path lies behind the first hidden layer, in the same product.
        self.n_path = n_outputs if linear_path and hidden_layer_sizes else 0
        self.hidden = nn.ModuleList(
            layer(before, after + (0 if position else self.n_path))
            for position, (before, after) in enumerate(pairwise(widths))
        )
        self.activation = ACTIVATIONS[activation]()
        self.output = layer(widths[-1], n_outputs, bias=not self.n_path)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self):
        parts = [*self.hidden, self.output]
        weights = [part.weight for part in parts]
        if self.n_path:
            weights[:1] = weights[0].split(self._widths)
        for weight in weights:
            nn.init.xavier_uniform_(weight)
        for part in parts:
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        if self.n_path:
            nn.init.zeros_(self.output.weight)

    @property
    def _widths(self) -> list[int]:
        """Outputs of the first layer: hidden units, and those of the linear path."""
        return [self.hidden[0].out_features - self.n_path, self.n_path]

    def linear_map(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the linear path, or of the only layer."""
        if not self.n_path:
            return self.output.weight, self.output.bias
        first = self.hidden[0]
        return first.weight.split(self._widths)[1], first.bias.split(self._widths)[1]

    @torch.no_grad()
    def start_at(self, weight: Tensor, bias: Tensor):
        """Make the linear path a given map: (n_outputs, n_inputs) and (n_outputs,)."""
        for own, given in zip(self.linear_map(), (weight, bias), strict=True):
            own.copy_(given)

    def forward(self, x: Tensor) -> Tensor:
        h, path = x, None
        for position, layer in enumerate(self.hidden):
            out = layer(h)
            if position == 0 and self.n_path:
                out, path = out.split(self._widths, 1)
            out = self.activation(out)
            wide = position and layer.in_features == layer.out_features
            h = h + out if wide else out
        if path is None:
            return self.output(h)
        return add_linear(path, h, self.output.weight)
