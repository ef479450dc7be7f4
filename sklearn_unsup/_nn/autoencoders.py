"""Encoders and decoders of tables, plain and variational."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._table.layout import TableLayout
from .any_order import AnyOrderModel
from .autoregressive import REGRESSIONS, AutoregressiveModel
from .distributions import TableDistribution, block_indicator
from .fused import Linear
from .images import (
    ImageDecoder,
    ImageDistribution,
    ImageEncoder,
    LabelledImageDecoder,
)
from .layers import ResidualMLP, TableInput
from .likelihoods import gaussian_posterior
from .own import OwnNet
from .random import coarse_uniform, normal, uniform

# Bounds of a posterior's log-variance. They keep exp(0.5 * log_var), the standard
# deviation, between 1e-4 and 20.
LOG_VAR_BOUNDS = -18.0, 6.0
# Minimum of a learned log standard deviation, 1 % of a standardised column's. With a
# smaller one, a column that is reconstructed exactly would dominate the likelihood.
LOG_SCALE_MIN = -4.6


class TableModule(nn.Module):
    """Base class of networks from encoded rows to distributions of encoded rows.

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
        """Distribution of rows for a decoder's output (n, layout.width)."""
        return TableDistribution(
            self.layout, raw, self._bounded_log_scale(), self.indicator
        )

    def _bounded_log_scale(self) -> Tensor | None:
        if self.bernoulli:
            return None
        # Like `clamp_min`, whose gradient takes three operations instead of one.
        return F.threshold(self.log_scale, LOG_SCALE_MIN, LOG_SCALE_MIN)


class Autoencoder(TableModule):
    """Encoder with a linear code and mirrored decoder, each with a linear path.

    Parameters
    ----------
    layout : TableLayout
    n_components : int
        Size of the code.
    hidden_layer_sizes : tuple of int
        Widths of the encoder's hidden layers; the decoder has them in reverse.
    activation : str
    bernoulli : bool
    noise : float
        Standard deviation of the noise that training adds to encoded numbers, and
        the probability that it blanks the one-hot block of a category.
    ordered : bool
        Train with nested dropout (Rippel, Gelbart and Adams 2014): each row keeps only
        its first k components, with k random.
    linear_decoder : bool, default=False
        Train with a second decoder, a linear map. Its errors in the loss keep what PCA
        would keep of a row readable for linear models.
    encoder, decoder : OwnNet or None, default=None
        Networks in the place of the multilayer perceptrons.
    """

    # Probability that nested dropout keeps all components of a row.
    KEEP_ALL_PROBABILITY = 0.3

    def __init__(
        self,
        layout: TableLayout,
        n_components: int,
        hidden_layer_sizes: tuple[int, ...],
        activation: str,
        bernoulli: bool,
        noise: float,
        ordered: bool,
        linear_decoder: bool = False,
        encoder: OwnNet | None = None,
        decoder: OwnNet | None = None,
    ):
        super().__init__(layout, bernoulli)
        self.n_components, self.noise, self.ordered = n_components, noise, ordered
        width, mirrored = layout.width, tuple(reversed(hidden_layer_sizes))
        options = {"activation": activation, "linear_path": True}
        self.encoder = encoder_network(
            encoder, layout, hidden_layer_sizes, n_components, **options
        )
        if decoder is not None:
            self.decoder = decoder.build(n_components, width)
        elif layout.image_shape is not None:
            args = layout, hidden_layer_sizes, n_components
            self.decoder = ImageDecoder(*args, **options)
        else:
            self.decoder = ResidualMLP(n_components, mirrored, width, **options)
        self.linear_decoder = Linear(n_components, width) if linear_decoder else None

    def encode(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """Latent vectors, shape (n, n_components)."""
        return self.encoder(self.table(x_num, x_cat))

    def decode(self, z: Tensor) -> Tensor:
        """Raw output for :meth:`distribution`, shape (n, layout.width)."""
        return self.decoder(z)

    def forward(
        self, x_num: Tensor, x_cat: Tensor, generator=None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Raw output for rows; noise and nested dropout apply only while training.

        With a linear decoder, while training, a second element has its errors, of the
        same shape (n, layout.width).
        """
        x = self.table(x_num, x_cat)
        if not self.training:
            return self.decoder(self.encoder(x))
        z = self.encoder(self._corrupt(x, generator) if self.noise else x)
        if self.ordered:
            z = z * self._nested_dropout_mask(z, generator)
        if self.linear_decoder is None:
            return self.decoder(z)
        return self.decoder(z), self.linear_decoder(z) - x

    def _corrupt(self, x: Tensor, generator) -> Tensor:
        n_numeric, n_categorical = self.layout.n_numeric, self.layout.n_categorical
        numbers = x[:, :n_numeric]
        noise = coarse_uniform(numbers.shape, generator, x.device)
        numbers = torch.add(numbers, noise, alpha=self.noise)
        if not n_categorical:
            return numbers
        is_kept = uniform((len(x), n_categorical), generator, x.device) >= self.noise
        mask = is_kept.float() @ self.indicator.t()
        return torch.cat([numbers, x[:, n_numeric:] * mask], 1)

    def _nested_dropout_mask(self, z: Tensor, generator) -> Tensor:
        """0/1 mask of the shape of `z` that keeps k components of a row, k uniform."""
        n, n_components = z.shape
        u = uniform((n, 1), generator, z.device)
        keep_all = u < self.KEEP_ALL_PROBABILITY
        rescaled = (u - self.KEEP_ALL_PROBABILITY) / (1 - self.KEEP_ALL_PROBABILITY)
        k = rescaled * n_components
        index = torch.arange(n_components, device=z.device)
        return ((index <= k) | keep_all).float()


class VariationalAutoencoder(TableModule):
    """Encoder with a normal posterior per row, decoder with a distribution of rows.

    Parameters
    ----------
    layout : TableLayout
    n_components : int
    hidden_layer_sizes : tuple of int
    activation : str
    bernoulli : bool
    autoregressive_width : int
        Hidden units per column of the autoregressive model that is trained together
        with encoder and decoder, without shared weights; 0 for no such model.
    bin_edges : sequence of array-like or None, default=None
        Of that model's histograms, see :class:`NumberHeads`.
    any_order : bool, default=False
        Whether that model is an :class:`AnyOrderModel`.
    missing_codes, informative_missing : sequence of int, default=()
        See :class:`AnyOrderModel`.
    encoder, decoder : OwnNet or None, default=None
        Networks in the place of the multilayer perceptrons. Means and log-variances of
        the posterior are the two halves of the encoder's output.
    regressions : sequence of str, default=()
        Of an autoregressive model of one order, see :class:`AutoregressiveModel`.
    labelled : bool, default=False
        Whether numbers are decoded from categories as well, as those of images are.
    value_intervals : sequence of array-like or None, default=None
        Of that model, see :class:`NumberFeatures`.
    is_rough : sequence of bool, default=()
        Of that model, see :class:`NumberHeads`.
    n_indicators : sequence of int, default=()
        Of an autoregressive model of one order, see :class:`AutoregressiveModel`.
    """

    def __init__(
        self,
        layout: TableLayout,
        n_components: int,
        hidden_layer_sizes: tuple[int, ...],
        activation: str,
        bernoulli: bool,
        autoregressive_width: int = 0,
        bin_edges=None,
        any_order: bool = False,
        missing_codes=(),
        regressions: tuple[str, ...] = (),
        encoder: OwnNet | None = None,
        decoder: OwnNet | None = None,
        labelled: bool = False,
        value_intervals=None,
        is_rough=(),
        n_indicators=(),
        informative_missing=(),
    ):
        super().__init__(layout, bernoulli)
        del self.log_scale
        self.log_scale = nn.Parameter(torch.zeros(layout.n_numeric))
        self.n_components = n_components
        width, mirrored = layout.width, tuple(reversed(hidden_layer_sizes))
        options = {"activation": activation, "linear_path": False}
        self.encoder = encoder_network(
            encoder, layout, hidden_layer_sizes, 2 * n_components, **options
        )
        if decoder is not None:
            self.decoder = decoder.build(n_components, width)
        elif labelled or layout.image_shape is not None:
            args = layout, hidden_layer_sizes, n_components
            self.decoder = LabelledImageDecoder(*args, activation)
        else:
            self.decoder = ResidualMLP(n_components, mirrored, width, **options)
        self.autoregressive = None
        if autoregressive_width and any_order:
            self.autoregressive = AnyOrderModel(
                layout,
                autoregressive_width,
                bin_edges,
                missing_codes,
                value_intervals,
                is_rough,
                informative_missing,
            )
        elif autoregressive_width:
            self.autoregressive = AutoregressiveModel(
                layout,
                autoregressive_width,
                bin_edges,
                regressions,
                value_intervals,
                is_rough,
                n_indicators,
            )

    def load_state_dict(self, state_dict, *args, **kwargs):
        """Load weights. Regressions of the model of rows come and go with them.

        Fits of few rows may have them, and streams that go on from these begin without.
        """
        if self.autoregressive is not None:
            marks = "linear.weight", "category_heads.linear.weight0"
            kinds = [
                kind
                for kind, mark in zip(REGRESSIONS, marks, strict=True)
                if f"autoregressive.{mark}" in state_dict
            ]
            self.autoregressive.set_regressions(kinds)
        return super().load_state_dict(state_dict, *args, **kwargs)

    def posterior(self, x_num: Tensor, x_cat: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the latent vectors, each (n, n_components)."""
        mean, log_var = self.encoder(self.table(x_num, x_cat)).float().chunk(2, 1)
        return mean, log_var.clamp(*LOG_VAR_BOUNDS)

    def encode(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """Posterior means, shape (n, n_components)."""
        return self.posterior(x_num, x_cat)[0]

    def decode(self, z: Tensor) -> Tensor:
        """Raw output for :meth:`distribution`, shape (n, layout.width).

        Of images it is `z` itself, because pixels depend on the categories as well.
        """
        return z if self.decodes_labels else self.decoder(z)

    @property
    def decodes_labels(self) -> bool:
        """Whether the decoder takes the categories, as that of images does."""
        return isinstance(self.decoder, LabelledImageDecoder)

    def distribution(self, raw: Tensor) -> TableDistribution:
        if not self.decodes_labels:
            return super().distribution(raw)
        return ImageDistribution(
            self.decoder, raw, self._bounded_log_scale(), self.indicator
        )

    def forward(
        self, x_num: Tensor, x_cat: Tensor, generator=None, with_rows: bool = True
    ) -> tuple[TableDistribution, Tensor, Tensor | None]:
        """Distribution given one posterior draw, and the posterior's divergence (n,).

        The third element is log p(row) of the autoregressive model, shape (n,), or
        None without that model or with `with_rows` False.
        """
        raw = self.encoder(self.table(x_num, x_cat)).float()
        noise = normal((len(raw), self.n_components), generator, raw.device)
        z, divergence = gaussian_posterior(raw, noise, LOG_VAR_BOUNDS)
        autoregressive_log_prob = None
        if self.autoregressive is not None and with_rows:
            autoregressive_log_prob = self.autoregressive.log_prob(
                x_num, x_cat, generator
            )
        distribution = self.distribution(self.decode(z))
        if self.decodes_labels:  # Decode here, in the precision of the network.
            distribution = distribution.given(x_cat)
        return distribution, divergence, autoregressive_log_prob


def encoder_network(
    own: OwnNet | None,
    layout: TableLayout,
    sizes: tuple[int, ...],
    n_outputs: int,
    **options,
) -> nn.Module:
    """Make an own network, convolutions for images, or a multilayer perceptron."""
    if own is not None:
        return own.build(layout.width, n_outputs)
    if layout.image_shape is not None:
        return ImageEncoder(layout, sizes, n_outputs, **options)
    return ResidualMLP(layout.width, sizes, n_outputs, **options)


def reparameterize(mean: Tensor, log_var: Tensor, generator) -> Tensor:
    """One reparametrised draw from every row's posterior, shape (n, n_components)."""
    noise = normal(mean.shape, generator, mean.device)
    return torch.addcmul(mean, noise, torch.exp(0.5 * log_var))


def importance_bound(module, x_num: Tensor, x_cat: Tensor, noise: Tensor) -> Tensor:
    """Importance-weighted bound of every row in nats, shape (n,).

    Burda, Grosse and Salakhutdinov (2016), equation 8: the logarithm of the mean over
    posterior draws of p(x | z) p(z) / q(z | x). With one draw it estimates the evidence
    lower bound.

    Parameters
    ----------
    module : VariationalAutoencoder
    x_num, x_cat : Tensor
    noise : Tensor of shape (n_draws, n_components)
        Standard normal numbers of each draw, the same for all rows.
    """
    mean, log_var = module.posterior(x_num, x_cat)
    scale = torch.exp(0.5 * log_var)
    log_weights = []
    for epsilon in noise:
        z = mean + epsilon * scale
        log_likelihood = module.distribution(module.decode(z)).log_prob(x_num, x_cat)
        # log p(z) - log q(z | x), where the constants of the two normals cancel.
        log_ratio = 0.5 * (epsilon.square() - z.square() + log_var).sum(1)
        log_weights.append(log_likelihood + log_ratio)
    return torch.stack(log_weights).logsumexp(0) - math.log(len(noise))
