"""Trial fits of the model of rows, which find out for how many epochs it learns."""

import math

import torch

from .averaging import WeightAverage
from .net import epoch_seed

# A trial ends once the best epoch is as long ago as this share of the epochs up to it,
# and as this number of epochs.
PATIENCE_SHARE, MIN_PATIENCE = 0.5, 3


class RowTrial:
    """Trains a model of rows alone, and scores held-out rows after each epoch.

    They are judged by averaged weights, as the fit that follows ends with such.

    Parameters
    ----------
    net : VAENet
    train, held_out : EncodedDataset
        Rows to train on and rows to judge by.
    max_epochs : int
    """

    def __init__(self, net, train, held_out, max_epochs: int):
        self.net, self.train, (self.rows, _) = net, train, held_out[:]
        self.n_epochs = 0
        # The user's callbacks are for the fit that follows, and so is bfloat16: what
        # is held out must be judged exactly.
        net.set_params(
            callbacks=None, mixed_precision=False, max_epochs=max_epochs, lr_floor=1.0
        )
        net.initialize_callbacks()
        net.on_train_begin(net)
        self.model = net.module_.autoregressive
        net.average_ = WeightAverage(self.model.parameters())
        self.kept = net.average_.average

    def train_epoch(self) -> float:
        """Mean nats of the held-out rows after one more epoch."""
        net = self.net
        net.set_training(True)
        net.generator_.manual_seed(epoch_seed(net.seed, self.n_epochs))
        self.n_epochs += 1
        net.epoch_start_ = net.step_
        loader = net.get_iterator(self.train, training=True)
        for batch in loader:
            net._set_learning_rates(len(loader))
            if net._is_due(net.row_interval):
                net._train_autoregressive(batch)
            net.average_.update()
            net.step_ += 1
        net.average_.use_average()
        score = mean_log_prob(self.model, self.rows)
        net.average_.use_latest()
        return score

    def keep(self):
        """Keep the averaged weights for :meth:`kept_model`."""
        self.kept = [mean.clone() for mean in self.net.average_.average]

    @torch.no_grad()
    def kept_model(self):
        """The model of rows with the weights that were kept last."""
        for parameter, kept in zip(self.model.parameters(), self.kept, strict=True):
            parameter.copy_(kept)
        return self.model.eval()


def best_row_epochs(
    trials: list, max_epochs: int, to_beat: float = -math.inf
) -> tuple[int, list[float]]:
    """Train models of rows until held-out rows no longer become likelier.

    The trials keep the weights that are best for all of them together.

    Parameters
    ----------
    trials : list of RowTrial
        Of the same table, with other rows held out. Their mean score decides.
    max_epochs : int
    to_beat : float, default=-inf
        A score that is out of reach if the latest gains, which shrink from epoch to
        epoch, would have to grow for it: then the trials end.

    Returns
    -------
    n_epochs : int
        Number of epochs after which held-out rows were likeliest, at least 1.
    scores : list of float
        Mean nats of the held-out rows after each epoch.
    """
    scores: list[float] = []
    best = 0
    for epoch in range(max_epochs):
        scores.append(sum(trial.train_epoch() for trial in trials) / len(trials))
        if not math.isfinite(scores[-1]):
            break
        if epoch == 0 or scores[-1] > scores[best]:
            best = epoch
            for trial in trials:
                trial.keep()
        if epoch - best >= max(MIN_PATIENCE, PATIENCE_SHARE * (best + 1)):
            break
        if epoch >= MIN_PATIENCE:
            gain = (scores[-1] - scores[-1 - MIN_PATIENCE]) / MIN_PATIENCE
            if scores[-1] + gain * (max_epochs - 1 - epoch) < to_beat:
                break
    return best + 1, scores


@torch.no_grad()
def mean_log_prob(model, rows) -> float:
    """Mean nats of rows, without dropout."""
    model.eval()
    return model.log_prob(*rows).mean().item()
