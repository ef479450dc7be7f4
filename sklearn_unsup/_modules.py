"""Networks for tables. Each takes `x_num` (floats) and `x_cat` (codes), no one-hots."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._distributions import TableDistribution, block_indicator, one_hot
from ._fused import Linear, add_linear
from ._layout import TableLayout
from ._likelihoods import gaussian_posterior
from ._noise import coarse_uniform, normal, uniform
from ._rows import RowModel

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

# exp(0.5 * log_var) stays within float32, and a code's noise between 1e-4 and 20.
LOG_VAR_BOUNDS = -18.0, 6.0
# Learnt standard deviations stay above 1 % of a standardised column's: below that a
# column that is reproduced exactly would outweigh all the others in the likelihood.
LOG_SCALE_MIN = -4.6
# Of a table with more columns principal axes are found without its covariance.
MAX_EXACT_WIDTH = 2_000
N_SPARE_AXES, N_PASSES = 10, 7


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


class TableModule(nn.Module):
    """What the networks share: a table as input, a distribution of tables as output.

    Parameters
    ----------
    layout : TableLayout
    bernoulli : bool, default=False
        Read numbers as probabilities in [0, 1], not as means of normal distributions.
    """

    def __init__(self, layout: TableLayout, bernoulli: bool = False):
        super().__init__()
        self.layout, self.bernoulli = layout, bernoulli
        self.table = TableInput(layout)
        self.register_buffer("log_scale", torch.zeros(layout.n_numeric))
        self.register_buffer("indicator", block_indicator(layout), persistent=False)

    def distribution(self, raw: Tensor) -> TableDistribution:
        """Of a decoder's output (n, layout.width)."""
        log_scale = None if self.bernoulli else self.log_scale.clamp_min(LOG_SCALE_MIN)
        return TableDistribution(self.layout, raw, log_scale, self.indicator)


class Autoencoder(TableModule):
    """Encoder to a linear code and mirrored decoder, each around a linear path.

    Parameters
    ----------
    layout : TableLayout
    n_components : int
        Size of the code.
    hidden_layer_sizes : tuple of int
        Of the encoder; the decoder has them in reverse.
    activation : str
    bernoulli : bool
    noise : float
        Standard deviation of the noise on encoded numbers while training, and the
        probability that a category's whole block is blanked.
    ordered : bool
        Train with nested dropout (Rippel, Gelbart and Adams 2014): of each row only
        the first k codes are kept, k random.
    """

    FULL_SHARE = 0.3  # of the rows that keep all their codes under nested dropout

    def __init__(
        self,
        layout: TableLayout,
        n_components: int,
        hidden_layer_sizes: tuple[int, ...],
        activation: str,
        bernoulli: bool,
        noise: float,
        ordered: bool,
    ):
        super().__init__(layout, bernoulli)
        self.n_components, self.noise, self.ordered = n_components, noise, ordered
        width, mirrored = layout.width, tuple(reversed(hidden_layer_sizes))
        path = {"activation": activation, "linear_path": True}
        self.encoder = ResidualMLP(width, hidden_layer_sizes, n_components, **path)
        self.decoder = ResidualMLP(n_components, mirrored, width, **path)

    def encode(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """Codes, shape (n, n_components)."""
        return self.encoder(self.table(x_num, x_cat))

    def decode(self, codes: Tensor) -> Tensor:
        """Raw output for :meth:`distribution`, shape (n, layout.width)."""
        return self.decoder(codes)

    def forward(self, x_num: Tensor, x_cat: Tensor, generator=None) -> Tensor:
        """Raw output for rows; noise and nested dropout only while training."""
        x = self.table(x_num, x_cat)
        if self.training and self.noise:
            x = self._corrupt(x, generator)
        codes = self.encoder(x)
        if self.training and self.ordered:
            codes = codes * self._kept(codes, generator)
        return self.decoder(codes)

    def _corrupt(self, x: Tensor, generator) -> Tensor:
        n_numeric, n_categorical = self.layout.n_numeric, self.layout.n_categorical
        numbers = x[:, :n_numeric]
        noise = coarse_uniform(numbers.shape, generator, x.device)
        numbers = torch.add(numbers, noise, alpha=self.noise)
        if not n_categorical:
            return numbers
        kept = uniform((len(x), n_categorical), generator, x.device)
        kept = (kept >= self.noise).float() @ self.indicator.t()
        return torch.cat([numbers, x[:, n_numeric:] * kept], 1)

    def _kept(self, codes: Tensor, generator) -> Tensor:
        """0/1 of the codes' shape: 1 for the first k of each row, k uniform."""
        n, size = codes.shape
        draw = uniform((n, 1), generator, codes.device)
        full = draw < self.FULL_SHARE
        k = (draw - self.FULL_SHARE) / (1 - self.FULL_SHARE) * size
        index = torch.arange(size, device=codes.device)
        return ((index <= k) | full).float()


class VariationalAutoencoder(TableModule):
    """Encoder to a normal posterior per row, decoder to a distribution of tables.

    Parameters
    ----------
    layout : TableLayout
    n_components : int
    hidden_layer_sizes : tuple of int
    activation : str
    bernoulli : bool
    row_width : int
        Hidden units per column of the autoregressive model of rows that is trained
        beside the two; 0 for none.
    linear_path : bool, default=False
    """

    def __init__(
        self,
        layout: TableLayout,
        n_components: int,
        hidden_layer_sizes: tuple[int, ...],
        activation: str,
        bernoulli: bool,
        row_width: int = 0,
        linear_path: bool = False,
    ):
        super().__init__(layout, bernoulli)
        del self.log_scale
        self.log_scale = nn.Parameter(torch.zeros(layout.n_numeric))
        self.n_components = n_components
        width, mirrored = layout.width, tuple(reversed(hidden_layer_sizes))
        path = {"activation": activation, "linear_path": linear_path}
        self.encoder = ResidualMLP(width, hidden_layer_sizes, 2 * n_components, **path)
        self.decoder = ResidualMLP(n_components, mirrored, width, **path)
        self.rows = RowModel(layout, row_width) if row_width else None

    def posterior(self, x_num: Tensor, x_cat: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the codes, each (n, n_components)."""
        mean, log_var = self.encoder(self.table(x_num, x_cat)).float().chunk(2, 1)
        return mean, log_var.clamp(*LOG_VAR_BOUNDS)

    def encode(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """Posterior means, shape (n, n_components)."""
        return self.posterior(x_num, x_cat)[0]

    def decode(self, codes: Tensor) -> Tensor:
        """Raw output for :meth:`distribution`, shape (n, layout.width)."""
        return self.decoder(codes)

    def forward(
        self, x_num: Tensor, x_cat: Tensor, generator=None
    ) -> tuple[TableDistribution, Tensor, Tensor, Tensor | None]:
        """Distribution given one posterior draw, posterior mean and log-variance.

        Last comes log p(row) of the autoregressive model, shape (n,), or None.
        """
        raw = self.encoder(self.table(x_num, x_cat)).float()
        noise = normal((len(raw), self.n_components), generator, raw.device)
        codes, mean, log_var = gaussian_posterior(raw, noise, LOG_VAR_BOUNDS)
        row_log_prob = None
        if self.rows is not None:
            row_log_prob = self.rows.log_prob(x_num, x_cat, generator)
        return self.distribution(self.decoder(codes)), mean, log_var, row_log_prob


def draw_codes(mean: Tensor, log_var: Tensor, generator) -> Tensor:
    """One reparametrised draw of every row's posterior, shape (n, n_components)."""
    noise = normal(mean.shape, generator, mean.device)
    return torch.addcmul(mean, noise, torch.exp(0.5 * log_var))


def principal_axes(x, n_components: int) -> tuple[Tensor, Tensor]:
    """Mean (width,) and the leading axes (n_components, width) of rows, as PCA's.

    Above 2,000 columns the axes are those of a subspace iteration: nearly PCA's, and
    no square matrix is made.

    Parameters
    ----------
    x : Tensor of shape (n, width), or callable
        Rows, or what gives an iterator over parts of them, anew at each call.
    n_components : int

    Notes
    -----
    Axes beyond the rank of the rows are zero: they carry nothing and train from there.
    So are those of less than a millionth of the first one's variance, where a float32
    covariance is rounding.
    """
    parts = x if callable(x) else lambda: (x,)
    sums = [(part.sum(0, dtype=torch.float64), len(part)) for part in parts()]
    n_rows = sum(n for _, n in sums)
    mean = (sum(total for total, _ in sums) / n_rows).float()
    if len(mean) <= MAX_EXACT_WIDTH:
        covariance = mean.new_zeros(len(mean), len(mean))
        for part in parts():
            centred = part - mean
            covariance.addmm_(centred.t(), centred)
        values, vectors = torch.linalg.eigh(covariance.double() / n_rows)
    else:
        values, vectors = leading_axes(parts, mean, n_components)
    axes = vectors.flip(1).t()[:n_components].float()
    spread = values.flip(0)[:n_components]
    axes[spread <= 1e-6 * spread[:1].clamp_min(1e-30)] = 0.0
    return mean, F.pad(axes, (0, 0, 0, max(0, n_components - len(axes))))


def leading_axes(parts, mean: Tensor, n_components: int) -> tuple[Tensor, Tensor]:
    """Eigenvalues (ascending) and axes (width, n) of the rows around their mean.

    Subspace iteration with a few more axes than are asked for (Halko, Martinsson and
    Tropp 2011, algorithm 4.4), from a fixed start. The eigenvalues are those of the sum
    over rows.
    """
    size = min(n_components + N_SPARE_AXES, len(mean))
    start = torch.Generator().manual_seed(0)
    image = torch.randn(len(mean), size, generator=start).to(mean.device)
    for _ in range(N_PASSES):
        basis = torch.linalg.qr(image)[0]
        image = torch.zeros_like(basis)
        shift = mean @ basis
        for part in parts():
            scores = part @ basis - shift
            image.addmm_(part.t(), scores)
            image.addr_(mean, scores.sum(0), alpha=-1)
    inner = (basis.t() @ image).double()
    values, vectors = torch.linalg.eigh(0.5 * (inner + inner.t()))
    return values, basis.double() @ vectors
