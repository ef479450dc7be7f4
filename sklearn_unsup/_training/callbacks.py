"""What watches a run of training: a progress bar, and the weights to come back to."""

import math

import torch
from skorch.callbacks import Callback
from tqdm.auto import tqdm

LOSSES = {
    "train_loss": "training loss",
    "train_critic_loss": "critic's loss",
    "valid_loss": "loss of the held-out rows",
}


class StopTraining(KeyboardInterrupt):
    """Ends skorch's loop from inside, by the only way it offers."""


class Progress(Callback):
    """One bar over the epochs, with the latest losses behind it.

    Of processes that share a fit only the first shows it.
    """

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.bar_ = tqdm(
            total=net.max_epochs,
            initial=len(net.history) if net.epochs_before_ == 0 else 0,
            unit="epoch",
            desc=net.progress_name,
            disable=net.peers_ is not None and net.peers_.rank > 0,
        )

    def on_epoch_end(self, net, **kwargs):
        last = net.history[-1]
        shown = {key: last[key] for key in ("train_loss", "valid_loss") if key in last}
        self.bar_.set_postfix(shown, refresh=False)
        self.bar_.update()

    def on_train_end(self, net, X=None, y=None, **kwargs):
        self.clean_up(net)

    def clean_up(self, net):
        """Close the bar, also where an error ended the run."""
        bar = vars(self).pop("bar_", None)
        if bar is not None:
            bar.close()


class KeepWeights(Callback):
    """Keep the weights to come back to, and stop when there is nothing to gain.

    With a validation loss these are the best ones, which training ends with. Without
    one they are those that the latest epoch of finite loss began with: what its last
    step has made of them, only the next epoch shows, or one look at the end.

    Parameters
    ----------
    n_iter_no_change : int
        Epochs without gain after which training stops.
    tol : float
        Gain in nats per row that counts. Absolute: a relative one would take a flat
        negative loss for a gain.
    """

    def __init__(self, n_iter_no_change=10, tol=1e-4):
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.best_, self.reference_, self.waited_ = math.inf, math.inf, 0
        self.kept_ = {name: t.clone() for name, t in net.weights().items()}
        self.latest_ = {name: t.clone() for name, t in self.kept_.items()}
        if net.epochs_before_ == 0:  # an earlier run that a callback has brought back
            for epoch in net.history:
                if "valid_loss" in epoch:
                    self._wait(epoch["valid_loss"])
                    self.best_ = epoch["valid_loss"]

    def on_epoch_end(self, net, **kwargs):
        last = net.history[-1]
        for key, name in LOSSES.items():
            if not math.isfinite(last.get(key, 0.0)):
                when = f"in epoch {len(net.history)}"
                self._refuse(net, f"{name} became {last[key]} {when}")
        if "valid_loss" not in last:
            self.kept_, self.latest_ = self.latest_, self.kept_
            self._copy(net.weights(), self.latest_)
            return
        loss = last["valid_loss"]
        if loss < self.best_:
            self.best_ = loss
            self._copy(net.weights(), self.kept_)
        self._wait(loss)
        if self.waited_ >= self.n_iter_no_change:
            net.stopped_early_ = True
            raise StopTraining

    def _wait(self, loss):
        if loss < self.reference_ - self.tol:
            self.reference_, self.waited_ = loss, 0
        else:
            self.waited_ += 1

    def on_train_end(self, net, X=None, y=None, **kwargs):
        if self.best_ == math.inf:
            loss = net.current_loss(X)
            if not math.isfinite(loss):
                self._refuse(net, f"training loss became {loss} with the last step")
        self.clean_up(net)

    def clean_up(self, net):
        """End with the best weights, also where an error ended the run."""
        kept = vars(self).pop("kept_", None)
        if kept is not None and self.best_ < math.inf:
            self._copy(kept, net.weights())
        vars(self).pop("latest_", None)

    def _refuse(self, net, what):
        self._copy(self.kept_, net.weights())
        net.reset_optimizer_state()  # the gradients that spoilt the weights are in them
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
