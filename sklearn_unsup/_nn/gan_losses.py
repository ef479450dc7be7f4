"""Losses of the adversarial game, as criteria for skorch."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .random import uniform

Batch = tuple[Tensor, Tensor]


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
