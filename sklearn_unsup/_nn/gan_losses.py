"""Losses of adversarial training, as criteria for skorch."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .random import uniform

Batch = tuple[Tensor, Tensor]


def squared_gradients(scores: Tensor, batch: Batch) -> Tensor:
    """Squared norm of the gradient of each score by its own row, shape (n,)."""
    inputs = [tensor for tensor in batch if tensor.shape[1]]
    gradients = torch.autograd.grad(scores.sum(), inputs, create_graph=True)
    return sum(gradient.square().sum(1) for gradient in gradients)


class AdversarialLoss(nn.Module):
    """Base class of the losses that critic and generator minimise.

    A subclass defines `critic_loss` and `generator_loss`, which turn the scores of real
    and of generated rows into a scalar.

    Parameters
    ----------
    gradient_penalty : float
        Weight of the penalty on the critic's gradient with respect to its input.
    """

    def __init__(self, gradient_penalty: float):
        super().__init__()
        self.gradient_penalty = gradient_penalty

    def scores_and_penalty(
        self, critic: Callable, real: Batch, fake: Batch, generator=None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Scores of real and of generated rows, and the gradient penalty, a scalar.

        The penalty is half the weight times the mean squared gradient on real rows (R1,
        Mescheder, Geiger and Nowozin 2018, equation 9) plus the same on generated rows
        (R2).
        """
        if not self.gradient_penalty:
            return critic(*real), critic(*fake), torch.zeros((), device=real[0].device)
        # One pass serves both, because the gradient of a row depends on that row alone.
        both = tuple(
            torch.cat(tensors).detach().requires_grad_()
            for tensors in zip(real, fake, strict=True)
        )
        scores = critic(*both)
        # The mean over real and generated rows is half the sum of R1 and R2.
        penalty = self.gradient_penalty * squared_gradients(scores, both).mean()
        return *scores.split(len(real[0])), penalty


class RelativisticLoss(AdversarialLoss):
    """Loss of a critic that compares pairs of a real and a generated row, in nats.

    Jolicoeur-Martineau (2019), with R1 and R2 as in Huang et al. (2024, equation 2).
    It is log 2 if the critic cannot distinguish the two.
    """

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(fake - real).mean()

    def generator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(real - fake).mean()


class MinimaxLoss(AdversarialLoss):
    """Cross-entropy of the critic, non-saturating for the generator, in nats.

    Goodfellow et al. (2014). If the critic cannot distinguish real from generated rows,
    its loss is 2 log 2 and the generator's is log 2.
    """

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return (F.softplus(-real) + F.softplus(fake)).mean()

    def generator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(-fake).mean()


class WassersteinLoss(AdversarialLoss):
    """Difference of the mean scores of a critic whose gradient has norm 1.

    Gulrajani et al. (2017, equation 3). Minus the critic's loss estimates the
    Wasserstein distance, in units of the encoded table.
    """

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake.mean() - real.mean()

    def generator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return -fake.mean()

    def scores_and_penalty(
        self, critic: Callable, real: Batch, fake: Batch, generator=None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, and a penalty between pairs of real and generated rows."""
        scores, device = (critic(*real), critic(*fake)), real[0].device
        if not self.gradient_penalty:
            return *scores, torch.zeros((), device=device)
        weight = uniform((len(real[0]), 1), generator, device)
        interpolated = tuple(
            torch.lerp(real_tensor, fake_tensor, weight).detach().requires_grad_()
            for real_tensor, fake_tensor in zip(real, fake, strict=True)
        )
        squares = squared_gradients(critic(*interpolated), interpolated)
        norms = (squares + 1e-12).sqrt()
        return *scores, self.gradient_penalty * (norms - 1.0).square().mean()
