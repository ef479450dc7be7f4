"""The net that trains a generator against a critic."""

from typing import ClassVar, NamedTuple

import torch

from .._nn.gan import Critic
from .._nn.random import normal
from .._nn.two_sample import energy_distance
from .._table.layout import EncodedConditions
from .averaging import ema_decay
from .gradients import parameters_of, set_gradients
from .net import TableNet
from .optimizer import LeanAdamW


class StepVariant(NamedTuple):
    """What a step does beside the critic's loss on the batch."""

    train_generator: bool
    penalize: bool = True
    train_encoder: bool = True


class GANNet(TableNet):
    """Adversarial training of `module`, an `AdversarialModel`, against `critic`.

    Every batch trains the critic, every `n_critic_steps`-th batch the generator, and
    every `encoder_interval`-th one the encoder. In the history "train_loss" is the
    generator's loss, "train_critic_loss" that of the critic without its penalty, and
    "valid_loss" the energy distance between generated and held-out rows.

    Parameters
    ----------
    module, criterion : class
    critic : class
        Class of the critic; its parameters have the prefix ``critic__``.
    critic_optimizer : class
        Its parameters have the prefix ``critic_optimizer__``.
    n_critic_steps : int
        Number of steps of the critic for each step of the generator.
    penalty_interval : int
        Number of the critic's steps for each gradient penalty, which then counts as
        many times (lazy regularisation: Karras et al. 2020, appendix B).
    encoder_interval : int
        Number of steps for each one of the encoder.
    decay : float
        Decay of the running average of the generator's weights.
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
        penalty_interval=1,
        encoder_interval=1,
        decay=0.999,
        **kwargs,
    ):
        super().__init__(module, criterion, **kwargs)
        self.critic = critic
        self.critic_optimizer = critic_optimizer
        self.n_critic_steps = n_critic_steps
        self.penalty_interval = penalty_interval
        self.encoder_interval = encoder_interval
        self.decay = decay

    def initialize_module(self):
        super().initialize_module()
        kwargs = self.get_params_for("critic")
        self.critic_ = self.initialized_instance(self.critic, kwargs)
        return self

    def initialize_optimizer(self, *args, **kwargs):
        # Generator and encoder have a group each, because the generator is not trained
        # in every step. The average of the generator is not trained at all.
        networks = self.module_.generator, self.module_.encoder
        _, kwargs = self.get_params_for_optimizer("optimizer", [])
        self.optimizer_ = self.optimizer(
            [{"params": list(network.parameters())} for network in networks], **kwargs
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
        self._reset_last_loss()

    def _reset_last_loss(self):
        """Reset the loss that steps without training of the generator report again."""
        self.last_loss_ = torch.zeros((), device=self.device)
        self.generator_trained_ = False

    def initialize(self):
        super().initialize()
        self._reset_last_loss()
        return self

    def step_variant(self):
        train_generator = (
            self.step_ % self.n_critic_steps == 0 or not self.generator_trained_
        )
        self.generator_trained_ = True
        penalize = self.step_ % self.penalty_interval == 0
        train_encoder = self.step_ % self.encoder_interval == 0
        variant = StepVariant(train_generator, penalize, train_encoder)
        # Generated rows help the encoder at the beginning. In the end only its error
        # on real rows should count.
        noise_weight = self.lr_factor_**4
        decay = ema_decay(self.step_, self.decay)
        return variant, {"noise_weight": noise_weight, "decay": decay}

    def train_on_batch(self, batch, variant, noise_weight, decay):
        (x_num, x_cat), model = batch[0], self.module_
        x_num, x_cat = model.to_inner(x_num, x_cat)
        real = split_blocks(model, x_num, x_cat)
        noise = self._draw_noise(len(x_num))
        with torch.set_grad_enabled(variant.train_generator), self._autocast():
            fake = model.generator(noise, self.generator_)
        detached = tuple(tensor.detach() for tensor in fake)
        critic_loss, scores = self._train_critic(real, detached, variant.penalize)
        self.optimizer_.zero_grad()
        generator, encoder = (g["params"] for g in self.optimizer_.param_groups)
        if variant.train_generator:
            # Scores of real rows from before the critic's step: it changes them little.
            loss = self._generator_loss(scores, fake)
            set_gradients(loss, generator)
            self.last_loss_.copy_(loss.detach())
        # The encoder shares no weights with the generator, so that one optimizer step
        # can update both.
        if variant.train_encoder:
            with self._autocast():
                loss = model.encoder_loss(x_num, x_cat, noise, fake, noise_weight)
            set_gradients(loss, encoder)
        self._step_optimizer(model, self.optimizer_, batch)
        model.update_ema(decay)
        return {"loss": torch.stack([self.last_loss_, critic_loss]), "y_pred": fake}

    def _generator_loss(self, real_scores, fake):
        with self._autocast():
            fake_scores = self.critic_(*fake)
        return self.criterion_.generator_loss(real_scores.float(), fake_scores.float())

    def _train_critic(self, real, fake, penalize):
        """Let the critic learn; its loss, and the scores that it gave real rows."""
        self.critic_optimizer_.zero_grad()
        with self._autocast():
            if penalize:
                real_scores, fake_scores, penalty = self.criterion_.scores_and_penalty(
                    self.critic_, real, fake, self.generator_
                )
            else:
                real_scores, fake_scores = self.critic_(*real), self.critic_(*fake)
                penalty = 0.0
            loss = self.criterion_.critic_loss(real_scores, fake_scores)
            whole = loss + self.penalty_interval * penalty
        set_gradients(whole, parameters_of(self.critic_optimizer_))
        self._step_optimizer(self.critic_, self.critic_optimizer_)
        return loss.detach(), real_scores.detach()

    def _draw_noise(self, n):
        shape = n, self.module_.n_components
        return normal(shape, self.generator_, self.generator_.device)

    def validation_step(self, batch, **fit_params):
        (x_num, x_cat), _ = batch
        self.set_training(False)
        # The noise is the same in each epoch, so that losses differ by the weights
        # alone.
        generator = torch.Generator(self.generator_.device).manual_seed(self.seed)
        model = self.module_
        with torch.no_grad():
            sample = model.ema_generator.sample(
                EncodedConditions(len(x_num)), generator
            )
            generated, real = model.table(*sample[:2]), model.table(x_num, x_cat)
            loss = energy_distance(generated, real)
        return {"loss": loss, "y_pred": generated}


def split_blocks(model, x_num, x_cat):
    """Numbers and one-hot blocks of rows as the networks see them."""
    layout = model.generator.layout
    whole = model.inner_table(x_num, x_cat)
    return whole.split([layout.n_numeric, layout.n_one_hot], 1)
