"""The training of a generator against a critic."""

from typing import ClassVar

import torch

from .._nn.gan import Critic
from .._nn.random import normal
from .._nn.two_sample import energy_distance
from .averaging import ema_decay
from .gradients import backward
from .net import TableNet
from .optimizer import LeanAdamW


class GANNet(TableNet):
    """A game of two nets: `module`, an adversarial model, against `critic`.

    Every batch trains the critic and the encoder; every `n_critic_steps`-th one the
    generator. The history has the generator's loss as "train_loss" and the critic's,
    without penalty, as "train_critic_loss"; "valid_loss" is the energy distance of
    generated and held-out rows.

    Parameters
    ----------
    module, criterion : class
    critic : class
        Its parameters are those that begin with ``critic__``.
    critic_optimizer : class
        Likewise.
    n_critic_steps : int
    decay : float
        Of the running average of the generator's weights.
    """

    loss_names: ClassVar = ("loss", "critic_loss")

    def __init__(
        self,
        module,
        criterion,
        *,
        critic=Critic,
        critic_optimizer=LeanAdamW,
        n_critic_steps=1,
        decay=0.999,
        **kwargs,
    ):
        super().__init__(module, criterion, **kwargs)
        self.critic = critic
        self.critic_optimizer = critic_optimizer
        self.n_critic_steps = n_critic_steps
        self.decay = decay

    def initialize_module(self):
        super().initialize_module()
        kwargs = self.get_params_for("critic")
        self.critic_ = self.initialized_instance(self.critic, kwargs)
        return self

    def initialize_optimizer(self, *args, **kwargs):
        # A group each, as the generator does not learn at every step. Its average is
        # in none: it only follows.
        players = self.module_.generator, self.module_.encoder
        _, kwargs = self.get_params_for_optimizer("optimizer", [])
        self.optimizer_ = self.optimizer(
            [{"params": list(player.parameters())} for player in players], **kwargs
        )
        args, kwargs = self.get_params_for_optimizer(
            "critic_optimizer", self.critic_.named_parameters()
        )
        self.critic_optimizer_ = self.critic_optimizer(*args, **kwargs)
        return self

    def reset_optimizer_state(self):
        super().reset_optimizer_state()
        self.generator_trained_ = False

    def __setstate__(self, state):
        super().__setstate__(state)
        self._forget_loss()

    def _forget_loss(self):
        """Of the generator, which steps without a move of it report again."""
        self.last_loss_, self.generator_trained_ = (
            torch.zeros((), device=self.device),
            False,
        )

    def initialize(self):
        super().initialize()
        self._forget_loss()
        return self

    def step_variant(self):
        train_generator = (
            self.step_ % self.n_critic_steps == 0 or not self.generator_trained_
        )
        self.generator_trained_ = True
        # Generated rows show the encoder the way; in the end real ones are what counts.
        noise_weight = self.lr_factor_**4
        decay = ema_decay(self.step_, self.decay)
        return train_generator, {"noise_weight": noise_weight, "decay": decay}

    def learn(self, batch, variant, noise_weight, decay):
        rows, train_generator = batch[0], variant
        model = self.module_
        real = table_blocks(model, rows)
        noise = self._noise(len(rows[0]))
        with torch.set_grad_enabled(train_generator), self._autocast():
            fake = model.generator(noise, self.generator_)
        critic_loss = self._train_critic(real, tuple(part.detach() for part in fake))
        self.optimizer_.zero_grad()
        if train_generator:
            loss = self._generator_loss(real, fake)
            backward(loss, model.generator)
            self.last_loss_.copy_(loss.detach())
        # The encoder shares no weights with the generator: one optimizer serves both.
        with self._autocast():
            loss = model.encoder_loss(*rows, noise, fake, noise_weight)
        backward(loss, model.encoder)
        self._update(model, self.optimizer_, batch)
        model.update_ema(decay)
        return {"loss": torch.stack([self.last_loss_, critic_loss]), "y_pred": fake}

    def _generator_loss(self, real, fake):
        """Of generated rows, by a critic that judges and learns nothing from it."""
        self.critic_.requires_grad_(False)
        try:
            with self._autocast():
                with torch.no_grad():
                    real_scores = self.critic_(*real)
                fake_scores = self.critic_(*fake)
        finally:
            self.critic_.requires_grad_(True)
        return self.criterion_.generator_loss(real_scores.float(), fake_scores.float())

    def _train_critic(self, real, fake):
        self.critic_optimizer_.zero_grad()
        with self._autocast():
            loss, penalty = self.criterion_.critic_losses(
                self.critic_, real, fake, self.generator_
            )
        backward(loss + penalty, self.critic_)
        self._update(self.critic_, self.critic_optimizer_)
        return loss.detach()

    def _noise(self, n):
        shape = n, self.module_.n_components
        return normal(shape, self.generator_, self.generator_.device)

    def validation_step(self, batch, **fit_params):
        rows, _ = batch
        self.set_training(False)
        # Always the same noise: two epochs then differ by their weights alone.
        noise = torch.Generator(self.generator_.device).manual_seed(self.seed)
        with torch.no_grad():
            x_num, x_cat, _ = self.module_.ema_generator.sample(len(rows[0]), {}, noise)
            generated, real = (
                self.module_.table(x_num, x_cat),
                self.module_.table(*rows),
            )
            loss = energy_distance(generated, real)
        return {"loss": loss, "y_pred": generated}


def table_blocks(model, rows):
    """Numbers and one-hot blocks of encoded rows."""
    return model.table(*rows).split([model.layout.n_numeric, model.layout.n_one_hot], 1)
