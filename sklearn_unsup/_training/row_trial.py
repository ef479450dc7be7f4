"""Trial fits of the model of rows, which find out for how many epochs it learns."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .._nn.column_terms import column_terms
from .averaging import WeightAverage
from .net import epoch_seed

# A trial ends once the latest gain is as long ago as this share of the epochs up to it,
# and as this number of epochs.
PATIENCE_SHARE, MIN_PATIENCE = 0.5, 3
# Minimum gain of a column, in nats per row.
MIN_GAIN = 1e-3


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

    def train_epoch(self) -> Tensor:
        """Nats of the cells of the held-out rows after one more epoch."""
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
        terms = log_prob_terms(self.model, self.rows)
        net.average_.use_latest()
        return terms

    def keep(self):
        """Keep the averaged weights for :meth:`kept_model`."""
        self.kept = [mean.clone() for mean in self.net.average_.average]

    @torch.no_grad()
    def kept_model(self):
        """The model of rows with the weights that were kept last."""
        for parameter, kept in zip(self.model.parameters(), self.kept, strict=True):
            parameter.copy_(kept)
        return self.model.eval()


class BestEpochs(NamedTuple):
    """After how many epochs held-out rows were likeliest, and how likely.

    Parameters
    ----------
    n_epochs : Tensor of shape (n_columns,), int64
        For each column, at least 1.
    terms : Tensor of shape (n_rows, n_columns)
        Nats of the cells of all held-out rows after these epochs.
    """

    n_epochs: Tensor
    terms: Tensor


def is_gain(terms: Tensor, before: Tensor, n_errors: float = 0.0) -> Tensor:
    """Whether the cells of each column became likelier, shape (n_columns,).

    Clearly so, by a number of standard errors, if one is given.
    """
    gains = terms - before
    errors = gains.std(0) / math.sqrt(len(gains))
    return gains.mean(0) > (n_errors * errors).clamp_min(MIN_GAIN)


def best_epochs(
    trials: list,
    max_epochs: int,
    are_joint: bool = False,
    to_beat: Tensor | None = None,
) -> BestEpochs:
    """Train models of rows until held-out rows no longer become likelier.

    Parameters
    ----------
    trials : list of RowTrial
        Of the same table, with other rows held out.
    max_epochs : int
    are_joint : bool, default=False
        Whether all columns are judged as one. The trials then keep the weights after
        the best epoch.
    to_beat : Tensor of shape (n_rows, n_columns) or None, default=None
        Nats of the same cells, infinite in columns that do not matter. If the latest
        gains, which shrink from epoch to epoch, went on for half as many epochs again
        and no column reached them, the trials end.
    """
    best, latest = None, []
    for epoch in range(max_epochs):
        parts = [trial.train_epoch() for trial in trials]
        if are_joint:
            # Trials of few rows may have fewer columns: those that vary in them.
            parts = [terms.sum(1, keepdim=True) for terms in parts]
        terms = torch.cat(parts)
        if best is None:
            is_new = torch.ones(terms.shape[1], dtype=torch.bool)
            best = BestEpochs(is_new.long(), terms.clone())
        if not terms.isfinite().all():
            break
        if epoch > 0:
            is_new = is_gain(terms, best.terms)
            best.n_epochs[is_new] = epoch + 1
            best.terms[:, is_new] = terms[:, is_new]
        if is_new.all():
            for trial in trials:
                trial.keep()
        last = int(best.n_epochs.max())
        if epoch + 1 - last >= max(MIN_PATIENCE, PATIENCE_SHARE * last):
            break
        latest = [*latest[-MIN_PATIENCE:], terms.mean(0)]
        if to_beat is not None and epoch >= MIN_PATIENCE:
            gains = (latest[-1] - latest[0]) / MIN_PATIENCE
            n_more = min(max_epochs - 1 - epoch, (epoch + 1) / 2)
            if not (latest[-1] + n_more * gains.clamp_min(0.0) > to_beat.mean(0)).any():
                break
    return best


@torch.no_grad()
def log_prob_terms(model, rows) -> Tensor:
    """Nats of each cell, without dropout, shape (n_rows, n_columns).

    Categories come first, as in the model.
    """
    model.eval()
    x_num, x_cat = rows
    of_numbers, of_categories = column_terms(
        model, x_num, x_cat, x_num, torch.zeros_like(x_num)
    )
    return torch.cat([of_categories, of_numbers], 1).cpu()
