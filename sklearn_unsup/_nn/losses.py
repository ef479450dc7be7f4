"""Losses of autoencoders, criteria for skorch: sums over columns, means over rows."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._table.layout import TableLayout
from .distributions import TableDistribution, block_indicator, one_hot_places, presence
from .likelihoods import categorical_log_prob, gaussian_kl

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
        raw = raw.float()  # of a network in a lower precision
        if not self.layout.n_categorical:  # no slice, whose gradient is a copy
            return self._numeric(raw, x_num, None) / len(raw)
        location, logits = raw.split([self.layout.n_numeric, self.layout.n_one_hot], 1)
        numeric = self._numeric(location, x_num, presence(self.layout, x_cat))
        places = one_hot_places(x_cat, self.layout)
        categorical = categorical_log_prob(logits, places, self.indicator)
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
        self.register_buffer("steps_done", torch.zeros(()))

    def forward(
        self,
        output: tuple[TableDistribution, Tensor, Tensor, Tensor | None],
        rows: Batch,
    ) -> Tensor:
        distribution, mean, log_var, log_prob_beside = output
        weight = self.beta
        if self.training and self.n_warmup_steps:
            self.steps_done += 1
            weight = self.steps_done * (self.beta / self.n_warmup_steps)
            weight = weight.clamp(max=self.beta)
        kl = gaussian_kl(mean, log_var)
        loss = weight * kl - distribution.log_prob(*rows)
        return (loss if log_prob_beside is None else loss - log_prob_beside).mean()


def check_unit_interval(x_num: Tensor) -> None:
    """Refuse numbers that are no probabilities."""
    if x_num.numel() and (x_num.min() < 0 or x_num.max() > 1):
        raise ValueError(
            "loss='binary_crossentropy' needs numbers in [0, 1] once encoded, got "
            f"{x_num.min():.3g} to {x_num.max():.3g}: pass "
            "numeric_scaling='minmax', or another loss."
        )
