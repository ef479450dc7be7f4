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
    """Concatenate numbers and one-hot encoded categories.

    Shapes: `x_num` (n, n_numeric) and `x_cat` (n, n_categorical) to (n, layout.width).
    One-hot blocks exist only for a batch and on its device, never for a whole table.

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
    """Multilayer perceptron with a shortcut around layers that keep the width.

    Shapes: (n, n_inputs) to (n, n_outputs). With `linear_path` a linear map of the
    input is added to the output, and the last layer of the hidden branch is initialised
    to zero, so that training starts at that linear map. Without hidden layers the
    network is a linear map.

    Parameters
    ----------
    n_inputs : int
    hidden_layer_sizes : tuple of int
    n_outputs : int
    activation : str
        A key of `ACTIVATIONS`.
    linear_path : bool
    layer : type, default=Linear
        Class of all layers; `torch.nn.Linear` if gradients are differentiated again.

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
        # The first layer computes the linear path as well, in the same product.
        self.n_path = n_outputs if linear_path and hidden_layer_sizes else 0
        self.hidden = nn.ModuleList(
            layer(n_in, n_out + (0 if depth else self.n_path))
            for depth, (n_in, n_out) in enumerate(pairwise(widths))
        )
        self.activation = ACTIVATIONS[activation]()
        self.output = layer(widths[-1], n_outputs, bias=not self.n_path)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self):
        layers = [*self.hidden, self.output]
        weights = [layer.weight for layer in layers]
        if self.n_path:
            weights[:1] = weights[0].split(self._first_widths)
        for weight in weights:
            nn.init.xavier_uniform_(weight)
        for layer in layers:
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        if self.n_path:
            nn.init.zeros_(self.output.weight)

    @property
    def _first_widths(self) -> list[int]:
        """Number of hidden units and of linear outputs of the first layer."""
        return [self.hidden[0].out_features - self.n_path, self.n_path]

    def linear_map(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the linear path, or of the only layer if there is one."""
        if not self.n_path:
            return self.output.weight, self.output.bias
        first = self.hidden[0]
        widths = self._first_widths
        return first.weight.split(widths)[1], first.bias.split(widths)[1]

    @torch.no_grad()
    def set_linear_map(self, weight: Tensor, bias: Tensor):
        """Set the linear path: weight (n_outputs, n_inputs) and bias (n_outputs,)."""
        for parameter, value in zip(self.linear_map(), (weight, bias), strict=True):
            parameter.copy_(value)

    def forward(self, x: Tensor) -> Tensor:
        h, linear_output = x, None
        for depth, layer in enumerate(self.hidden):
            out = layer(h)
            if depth == 0 and self.n_path:
                out, linear_output = out.split(self._first_widths, 1)
            out = self.activation(out)
            has_shortcut = depth and layer.in_features == layer.out_features
            h = h + out if has_shortcut else out
        if linear_output is None:
            return self.output(h)
        return add_linear(linear_output, h, self.output.weight)
