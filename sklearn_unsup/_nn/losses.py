"""Losses of autoencoders, as criteria for skorch: column sums, averaged over rows."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._table.layout import TableLayout
from .distributions import TableDistribution, block_indicator, one_hot_index, presence
from .likelihoods import categorical_log_prob

Batch = tuple[Tensor, Tensor]


class ReconstructionLoss(nn.Module):
    """Minus the log-likelihood of rows given their own code, in nats per row.

    A number contributes half its squared error (a normal distribution of unit variance,
    without its constant) or, if `bernoulli`, its binary cross-entropy. A category
    contributes its cross-entropy, and a missing number nothing.

    If the network has a linear decoder, half the squared error of that one is added
    while training, `linear_weight` times.
    """

    def __init__(
        self, layout: TableLayout, bernoulli: bool = False, linear_weight: float = 0.0
    ):
        super().__init__()
        self.layout, self.bernoulli = layout, bernoulli
        self.linear_weight = linear_weight
        self.register_buffer("indicator", block_indicator(layout), persistent=False)

    def forward(self, output: Tensor | tuple[Tensor, Tensor], batch: Batch) -> Tensor:
        if not isinstance(output, tuple):
            return self._negative_log_likelihood(output, batch)
        raw, linear_errors = output
        squares = linear_errors.float().square().sum() / len(raw)
        loss = self._negative_log_likelihood(raw, batch)
        return torch.add(loss, squares, alpha=0.5 * self.linear_weight)

    def _negative_log_likelihood(self, raw, batch):
        x_num, x_cat = batch
        raw = raw.float()  # The network may run in a lower precision.
        if not self.layout.n_categorical:  # The gradient of a split would be a copy.
            return self._numeric(raw, x_num, None) / len(raw)
        location, logits = raw.split([self.layout.n_numeric, self.layout.n_one_hot], 1)
        numeric = self._numeric(location, x_num, presence(self.layout, x_cat))
        index = one_hot_index(x_cat, self.layout)
        categorical = categorical_log_prob(logits, index, self.indicator)
        return (numeric - categorical.sum()) / len(raw)

    def _numeric(self, location: Tensor, x_num: Tensor, present: Tensor | None):
        if self.bernoulli:
            return F.binary_cross_entropy_with_logits(
                location, x_num, weight=present, reduction="sum"
            )
        if present is not None:
            location, x_num = location * present, x_num * present
        return 0.5 * F.mse_loss(location, x_num, reduction="sum")


class NegativeELBO(nn.Module):
    """Minus the evidence lower bound with one posterior draw, in nats per row.

    If an autoregressive model is trained together with the autoencoder, minus its
    log-likelihood is added. The two share no weights, so that the minimum of the sum is
    that of both.

    Parameters
    ----------
    beta : float
        Weight of the KL term (Higgins et al. 2017); 1 gives the bound itself.
    n_warmup_steps : int, default=0
        Number of training steps over which the weight rises linearly to `beta`.
    """

    def __init__(self, beta: float, n_warmup_steps: int = 0):
        super().__init__()
        self.beta, self.n_warmup_steps = beta, n_warmup_steps
        # Weight of the KL term that the last training step had.
        self.register_buffer("weight", torch.zeros(()))

    def forward(
        self,
        output: tuple[TableDistribution, Tensor, Tensor | None],
        batch: Batch,
    ) -> Tensor:
        distribution, divergence, autoregressive_log_prob = output
        weight = self.beta
        if self.training and self.n_warmup_steps:
            self.weight += self.beta / self.n_warmup_steps
            weight = self.weight.clamp_(max=self.beta)
        log_prob = distribution.log_prob(*batch)
        if autoregressive_log_prob is not None:
            log_prob = log_prob + autoregressive_log_prob
        return (weight * divergence - log_prob).mean()


def check_unit_interval(x_num: Tensor) -> None:
    """Raise an error for numbers outside [0, 1], which are no probabilities."""
    if x_num.numel() and (x_num.min() < 0 or x_num.max() > 1):
        raise ValueError(
            "loss='binary_crossentropy' needs numbers in [0, 1] once encoded, got "
            f"{x_num.min():.3g} to {x_num.max():.3g}: pass "
            "numeric_scaling='minmax', or another loss."
        )
