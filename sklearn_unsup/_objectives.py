"""What is minimised, as criteria for skorch: sums over columns, means over rows."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._distributions import (
    TableDistribution,
    block_indicator,
    one_hot_places,
    presence,
)
from ._layout import TableLayout
from ._likelihoods import categorical_log_prob, gaussian_kl
from ._noise import uniform

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
        distribution, mean, log_var, row_log_prob = output
        weight = self.beta
        if self.training and self.n_warmup_steps:
            self.steps_done += 1
            weight = self.steps_done * (self.beta / self.n_warmup_steps)
            weight = weight.clamp(max=self.beta)
        kl = gaussian_kl(mean, log_var)
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


def squared_gradients(scores: Tensor, rows: Batch) -> Tensor:
    """Squared norm of the gradient of each score by its own row, shape (n,)."""
    used = [part for part in rows if part.shape[1]]
    gradients = torch.autograd.grad(scores.sum(), used, create_graph=True)
    return sum(gradient.square().sum(1) for gradient in gradients)


class AdversarialLoss(nn.Module):
    """What critic and generator minimise; children say how scores become losses.

    Parameters
    ----------
    gradient_penalty : float
        Weight of the penalty on the critic's gradient by its input.
    """

    def __init__(self, gradient_penalty: float):
        super().__init__()
        self.gradient_penalty = gradient_penalty

    def critic_step(
        self, critic: Callable, real: Batch, fake: Batch, generator=None
    ) -> tuple[Tensor, Tensor]:
        """The critic's loss and its penalty, two scalars.

        Half the weight times the mean squared gradient on real rows (R1, Mescheder,
        Geiger and Nowozin 2018, equation 9) plus the same on generated ones (R2).
        """
        if not self.gradient_penalty:
            loss = self.critic_loss(critic(*real), critic(*fake))
            return loss, torch.zeros_like(loss)
        # One pass for both halves: the gradient of a row depends on that row alone.
        both = tuple(
            torch.cat(parts).detach().requires_grad_()
            for parts in zip(real, fake, strict=True)
        )
        scores = critic(*both)
        loss = self.critic_loss(*scores.split(len(real[0])))
        # The mean over both halves is half the sum of their means.
        return loss, self.gradient_penalty * squared_gradients(scores, both).mean()


class RelativisticLoss(AdversarialLoss):
    """Pairs of a real and a generated row, compared by the critic.

    Jolicoeur-Martineau (2019), with R1 and R2 as Huang et al. (2024, equation 2). In
    nats: log 2 where the critic cannot tell the two apart.
    """

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(fake - real).mean()

    def generator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(real - fake).mean()


class MinimaxLoss(AdversarialLoss):
    """Cross-entropy of the critic, non-saturating for the generator.

    Goodfellow et al. (2014). In nats: where the critic cannot tell real from generated
    rows, 2 log 2 for itself and log 2 for the generator.
    """

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return (F.softplus(-real) + F.softplus(fake)).mean()

    def generator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(-fake).mean()


class WassersteinLoss(AdversarialLoss):
    """Difference of mean scores of a critic whose gradient has norm 1.

    Gulrajani et al. (2017, equation 3); minus the critic's loss estimates the
    Wasserstein distance in units of the encoded table.
    """

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake.mean() - real.mean()

    def generator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return -fake.mean()

    def critic_step(
        self, critic: Callable, real: Batch, fake: Batch, generator=None
    ) -> tuple[Tensor, Tensor]:
        """The loss, and the penalty between pairs of a real and a generated row."""
        loss = self.critic_loss(critic(*real), critic(*fake))
        if not self.gradient_penalty:
            return loss, torch.zeros_like(loss)
        device = real[0].device
        place = uniform((len(real[0]), 1), generator, device)
        between = tuple(
            torch.lerp(one, other, place).detach().requires_grad_()
            for one, other in zip(real, fake, strict=True)
        )
        squares = squared_gradients(critic(*between), between)
        norms = (squares + 1e-12).sqrt()
        return loss, self.gradient_penalty * (norms - 1.0).square().mean()


def check_unit_interval(x_num: Tensor) -> None:
    """Refuse numbers that are no probabilities."""
    if x_num.numel() and (x_num.min() < 0 or x_num.max() > 1):
        raise ValueError(
            "loss='binary_crossentropy' needs numbers in [0, 1] once encoded, got "
            f"{x_num.min():.3g} to {x_num.max():.3g}: pass "
            "numeric_scaling='minmax', or another loss."
        )
