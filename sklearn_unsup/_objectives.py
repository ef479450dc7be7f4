"""What is minimised, as criteria for skorch: sums over columns, means over rows."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._distributions import (
    TableDistribution,
    block_indicator,
    categorical_log_prob,
    gaussian_kl,
    presence,
    softcap,
)
from ._layout import TableLayout

Batch = tuple[Tensor, Tensor]


class ReconstructionLoss(nn.Module):
    """Minus the log-likelihood of rows given their own code, in nats per row.

    Numbers count half their squared error (a normal distribution of unit variance,
    without its constant) or, for `bernoulli`, their binary cross-entropy; categories
    count their cross-entropy. Missing numbers count nothing.
    """

    def __init__(self, layout: TableLayout, bernoulli: bool = False):
        super().__init__()
        self.layout, self.bernoulli = layout, bernoulli
        self.register_buffer("indicator", block_indicator(layout), persistent=False)

    def forward(self, raw: Tensor, rows: Batch) -> Tensor:
        x_num, x_cat = rows
        if not self.layout.n_categorical:  # no slice, whose gradient is a copy
            return self._numeric(raw, x_num, None) / len(raw)
        location, logits = raw.split([self.layout.n_numeric, self.layout.n_one_hot], 1)
        numeric = self._numeric(location, x_num, presence(self.layout, x_cat))
        categorical = categorical_log_prob(
            softcap(logits), x_cat, self.layout, self.indicator
        )
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

    Where an autoregressive model of rows is trained beside, minus its log-likelihood
    is added: the two share no weights, so that each has its own minimum.

    Parameters
    ----------
    beta : float
        Weight of the KL term (Higgins et al. 2017); 1 gives the bound itself.
    n_warmup_steps : int, default=0
        Training steps over which the weight rises linearly to `beta`.
    """

    def __init__(self, beta: float, n_warmup_steps: int = 0):
        super().__init__()
        self.beta, self.n_warmup_steps = beta, n_warmup_steps
        self.steps_done = 0

    def forward(
        self,
        output: tuple[TableDistribution, Tensor, Tensor, Tensor | None],
        rows: Batch,
    ) -> Tensor:
        distribution, mean, log_var, row_log_prob = output
        weight = self.beta
        if self.training:
            self.steps_done += 1
            weight *= min(1.0, self.steps_done / max(1, self.n_warmup_steps))
        kl = gaussian_kl(mean, log_var).sum(1)
        loss = weight * kl - distribution.log_prob(*rows)
        return (loss if row_log_prob is None else loss - row_log_prob).mean()


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
