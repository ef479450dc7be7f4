"""Encoders and decoders of tables, plain and variational."""

import math

import torch
from torch import Tensor, nn

from .._table.layout import TableLayout
from .autoregressive import AutoregressiveModel
from .distributions import TableDistribution, block_indicator
from .layers import ResidualMLP, TableInput
from .likelihoods import gaussian_posterior
from .random import coarse_uniform, normal, uniform

# exp(0.5 * log_var) stays within float32, and a code's noise between 1e-4 and 20.
LOG_VAR_BOUNDS = -18.0, 6.0
# Learnt standard deviations stay above 1 % of a standardised column's: below that a
# column that is reproduced exactly would outweigh all the others in the likelihood.
LOG_SCALE_MIN = -4.6


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
    autoregressive_width : int
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
        autoregressive_width: int = 0,
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
        self.autoregressive = (
            AutoregressiveModel(layout, autoregressive_width)
            if autoregressive_width
            else None
        )

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
        autoregressive_log_prob = None
        if self.autoregressive is not None:
            autoregressive_log_prob = self.autoregressive.log_prob(
                x_num, x_cat, generator
            )
        return (
            self.distribution(self.decoder(codes)),
            mean,
            log_var,
            autoregressive_log_prob,
        )


def reparameterize(mean: Tensor, log_var: Tensor, generator) -> Tensor:
    """One reparametrised draw of every row's posterior, shape (n, n_components)."""
    noise = normal(mean.shape, generator, mean.device)
    return torch.addcmul(mean, noise, torch.exp(0.5 * log_var))


def importance_bound(module, x_num: Tensor, x_cat: Tensor, points: Tensor) -> Tensor:
    """Importance-weighted bound of every row in nats, shape (n,).

    Burda, Grosse and Salakhutdinov (2016), equation 8: the log of the mean over draws
    of p(x | z) p(z) / q(z | x). Of one draw it estimates the evidence lower bound.

    Parameters
    ----------
    module : VariationalAutoencoder
    x_num, x_cat : Tensor
    points : Tensor of shape (n_draws, n_components)
        Standard normal noise, the same for all rows.
    """
    mean, log_var = module.posterior(x_num, x_cat)
    scale = torch.exp(0.5 * log_var)
    log_weights = []
    for noise in points:
        codes = mean + noise * scale
        log_likelihood = module.distribution(module.decode(codes)).log_prob(
            x_num, x_cat
        )
        # log p(z) - log q(z | x); the constants of the two normals cancel.
        log_ratio = 0.5 * (noise.square() - codes.square() + log_var).sum(1)
        log_weights.append(log_likelihood + log_ratio)
    return torch.stack(log_weights).logsumexp(0) - math.log(len(points))
