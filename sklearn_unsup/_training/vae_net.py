"""The net that trains an autoencoder of rows beside an autoregressive model of them."""

import torch

from .gradients import set_gradients
from .net import TableNet


class VAENet(TableNet):
    """Training of a `VariationalAutoencoder`, whose two parts may take different steps.

    The autoregressive model learns from every batch. Encoder and decoder share no
    weights with it, and need fewer steps where a table is large. In the history
    "train_loss" is the sum of both losses; in a batch that encoder and decoder do not
    learn from, the latest bound of theirs counts.

    Parameters
    ----------
    module, criterion : class
    code_interval : int
        Encoder and decoder learn from every so many batches of an epoch, beginning with
        the first one. In a stream, of which nobody knows how long it is, from all.
    """

    def __init__(self, module, criterion, *, code_interval=1, **kwargs):
        super().__init__(module, criterion, **kwargs)
        self.code_interval = code_interval

    def initialize(self):
        super().initialize()
        self.last_loss_ = torch.zeros((), device=self.device)
        return self

    def __setstate__(self, state):
        super().__setstate__(state)
        self.last_loss_ = torch.zeros((), device=self.device)

    def step_variant(self):
        number = self.step_ - self.epoch_start_
        return self.is_stream or number % self.code_interval == 0, {}

    def train_on_batch(self, batch, variant):
        if not variant:
            return self._train_autoregressive(batch)
        step = super().train_on_batch(batch, None)
        if self.code_interval > 1:
            row_log_prob = step["y_pred"][-1]
            self.last_loss_.copy_(step["loss"].detach() + row_log_prob.detach().mean())
        return step

    def _train_autoregressive(self, batch):
        self.optimizer_.zero_grad()
        model = self.module_.autoregressive
        with self._autocast():
            loss = -model.log_prob(*batch[0], self.generator_).mean()
        set_gradients(loss, model)
        self._step_optimizer(self.module_, self.optimizer_, batch)
        return {"loss": self.last_loss_ + loss.detach(), "y_pred": None}
