"""Callbacks of every net: a progress bar, early stopping and divergence."""

import math

import torch
from skorch.callbacks import Callback
from tqdm.auto import tqdm

# Losses in the history, and their names in messages.
LOSS_NAMES = {
    "train_loss": "training loss",
    "train_critic_loss": "critic's loss",
    "valid_loss": "loss of the held-out rows",
}

# Events of a callback that a net raises for every batch.
BATCH_EVENTS = "on_batch_begin", "on_batch_end", "on_grad_computed"


class StopTraining(KeyboardInterrupt):
    """Ends skorch's training loop, which stops at a `KeyboardInterrupt` only."""


def rows_bar(name, n_rows, is_shown):
    """Progress bar over rows that are drawn; without a total if `n_rows` is None."""
    return tqdm(
        total=n_rows, unit="row", unit_scale=True, desc=name, disable=not is_shown
    )


class Progress(Callback):
    """Progress bar over the epochs that shows the latest losses.

    If several processes share a fit, only the first one shows the bar.
    """

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.bar_ = tqdm(
            total=net.max_epochs,
            initial=len(net.history) if net.epochs_before_ == 0 else 0,
            unit="epoch",
            desc=net.progress_name,
            disable=net.process_group_ is not None and net.process_group_.rank > 0,
        )

    def on_epoch_end(self, net, **kwargs):
        last = net.history[-1]
        shown = {key: last[key] for key in ("train_loss", "valid_loss") if key in last}
        self.bar_.set_postfix(shown, refresh=False)
        self.bar_.update()

    def on_train_end(self, net, X=None, y=None, **kwargs):
        self.clean_up(net)

    def clean_up(self, net):
        """Close the bar; the net calls this after an error as well."""
        bar = vars(self).pop("bar_", None)
        if bar is not None:
            bar.close()


class KeepWeights(Callback):
    """Stop training early, and restore good weights at its end or if it diverges.

    With a validation loss the weights of the best epoch are kept, and training ends
    with them. Without one the weights from the beginning of the latest epoch with a
    finite loss are kept. Those from its end may have diverged in its last step, which
    only the loss of the next epoch, or one evaluation after training, shows.

    Parameters
    ----------
    n_iter_no_change : int
        Number of epochs without improvement after which training stops.
    tol : float
        Minimum decrease of the validation loss, in nats per row, that counts as an
        improvement. It is absolute, because the loss may be negative or near zero.
    """

    def __init__(self, n_iter_no_change=10, tol=1e-4):
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.best_, self.reference_, self.n_waited_ = math.inf, math.inf, 0
        self.kept_ = {name: t.clone() for name, t in net.weights().items()}
        self.latest_ = {name: t.clone() for name, t in self.kept_.items()}
        # The history has epochs already if a callback has loaded an earlier run.
        if net.epochs_before_ == 0:
            for epoch in net.history:
                if "valid_loss" in epoch:
                    self._update_patience(epoch["valid_loss"])
                    self.best_ = epoch["valid_loss"]

    def on_epoch_end(self, net, **kwargs):
        last = net.history[-1]
        for key, name in LOSS_NAMES.items():
            if not math.isfinite(last.get(key, 0.0)):
                when = f"in epoch {len(net.history)}"
                self._raise_divergence(net, f"{name} became {last[key]} {when}")
        if "valid_loss" not in last:
            self.kept_, self.latest_ = self.latest_, self.kept_
            self._copy(net.weights(), self.latest_)
            if net.has_ended:
                raise StopTraining
            return
        loss = last["valid_loss"]
        if loss < self.best_:
            self.best_ = loss
            self._copy(net.weights(), self.kept_)
        self._update_patience(loss)
        if self.n_waited_ >= self.n_iter_no_change:
            net.stopped_early_ = True
            raise StopTraining

    def _update_patience(self, loss):
        if loss < self.reference_ - self.tol:
            self.reference_, self.n_waited_ = loss, 0
        else:
            self.n_waited_ += 1

    def on_train_end(self, net, X=None, y=None, **kwargs):
        if self.best_ == math.inf:
            loss = net.current_loss(X)
            if not math.isfinite(loss):
                self._raise_divergence(
                    net, f"training loss became {loss} with the last step"
                )
        self.clean_up(net)

    def clean_up(self, net):
        """Restore the best weights; the net calls this after an error as well."""
        kept = vars(self).pop("kept_", None)
        if kept is not None and self.best_ < math.inf:
            self._copy(kept, net.weights())
        vars(self).pop("latest_", None)

    def _raise_divergence(self, net, what):
        self._copy(self.kept_, net.weights())
        net.reset_optimizer_state()  # Its moments contain the diverged gradients.
        raise FloatingPointError(
            f"The {what}: the steps are too long. The weights are back at the last "
            f"ones that gave a finite loss. Lower learning_rate_init (it is {net.lr}) "
            "to a tenth, say, or look for extreme values in X."
        )

    @staticmethod
    @torch.no_grad()
    def _copy(source, target):
        for name, tensor in target.items():
            tensor.copy_(source[name])


def handles_batches(callback) -> bool:
    """Whether a callback does something at an event of every batch."""
    return any(
        getattr(type(callback), event) is not getattr(Callback, event)
        for event in BATCH_EVENTS
    )
