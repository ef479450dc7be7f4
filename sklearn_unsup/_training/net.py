"""The training engine: skorch nets whose rows lie on the device."""

import math
from itertools import chain
from typing import ClassVar

import numpy as np
import torch
from skorch.callbacks import Callback, EpochTimer, LRScheduler

from .._nn.device import (
    allow_tf32_products,
    bfloat16_error,
    preserve_torch_rng,
)
from .._nn.random import BatchGenerator
from .._skorch import SkorchNet
from .._warnings import warn_user
from .averaging import StreamAverage
from .callbacks import KeepWeights, Progress
from .cuda_graphs import recorded_steps
from .gradients import backward, clip_gradients
from .loader import DeviceLoader
from .optimizer import LeanAdamW
from .pickling import restore, state_of
from .schedule import warmup_cosine
from .state import check_state, one_state, save_files

BATCH_EVENTS = "on_batch_begin", "on_batch_end", "on_grad_computed"


class TableNet(SkorchNet):
    """A skorch net for :class:`~sklearn_unsup._training.data.EncodedDataset`.

    Differs from its parent in these things: batches are slices of tensors that lie on
    the device, the loss is read once per epoch, callbacks are called per batch only if
    one of them listens, all randomness comes from `seed` and the number of the epoch,
    steps on a GPU are recorded and replayed, and a history that `LoadInitState` brings
    back counts as epochs done.

    Parameters
    ----------
    seed : int
        Of the weights, the order of the rows and the noise of the module.
    n_warmup_steps : int
        Steps over which the learning rate rises to `lr`.
    lr_floor : float
        Fraction of `lr` at the end of half a cosine over all the steps; 1 for none.
        A skorch `LRScheduler` among the callbacks takes the place of both.
    max_grad_norm : float or None
        Gradients of a larger norm are scaled down to it.
    n_iter_no_change, tol : int, float
        See `KeepWeights`; they matter if there is a `train_split`.
    mixed_precision : bool
        Run the networks, not the losses, in bfloat16 where torch finds it safe; in
        float32, with a warning, on a device that has none.
    averages : bool
        Use the net with an average of its weights, as a stream does that may end at any
        time, and train it further from the latest ones.
    captures : bool
        On a GPU, record the steps as CUDA graphs if nobody listens per batch and the
        environment allows it. Where that fails steps stay as they are, with a warning.
    progress_name : str
        Stands before the progress bar that `verbose` shows.
    use_caching : bool
        Of skorch's scoring callbacks. False: they get the encoded rows, whose two
        tensors of different widths cannot be stacked to one target.
    """

    loss_names: ClassVar = ("loss",)
    # Processes that share the fit and steps as graphs: while training only.
    peers_, captured_steps_ = None, None
    # Why steps could not be recorded, and why networks run in float32 after all.
    capture_error_, precision_error_ = None, None
    average_ = None  # of the weights of a stream
    pending_ = None  # what a checkpoint has said that it wants to save

    def __init__(
        self,
        module,
        criterion,
        *,
        seed=0,
        n_warmup_steps=0,
        lr_floor=0.0,
        max_grad_norm=None,
        n_iter_no_change=10,
        tol=1e-4,
        mixed_precision=False,
        averages=False,
        captures=True,
        progress_name="",
        optimizer=LeanAdamW,
        iterator_train=DeviceLoader,
        iterator_valid=DeviceLoader,
        train_split=None,
        use_caching=False,
        verbose=0,
        **kwargs,
    ):
        super().__init__(
            module,
            criterion,
            optimizer=optimizer,
            iterator_train=iterator_train,
            iterator_valid=iterator_valid,
            train_split=train_split,
            use_caching=use_caching,
            verbose=verbose,
            **kwargs,
        )
        self.seed = seed
        self.n_warmup_steps = n_warmup_steps
        self.lr_floor = lr_floor
        self.max_grad_norm = max_grad_norm
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.mixed_precision = mixed_precision
        self.averages = averages
        self.captures = captures
        self.progress_name = progress_name

    # ------------------------------------------------------------------ set-up

    def initialize(self):
        device = torch.device(self.device)
        # Modules are made on the CPU and moved then: no other generator is concerned.
        with preserve_torch_rng():
            torch.default_generator.manual_seed(self.seed)
            super().initialize()
        self.generator_ = BatchGenerator(device)
        self.step_, self.lr_factor_, self.warmup_ = 0, 1.0, 0
        return self

    def get_default_callbacks(self):
        return [("epoch_timer", EpochTimer())]

    def initialize_callbacks(self):
        """After the user's callbacks, so that these see the epoch that ends the fit."""
        super().initialize_callbacks()
        own = [("keep_weights", KeepWeights(self.n_iter_no_change, self.tol))]
        if self.verbose:
            own.insert(0, ("progress", Progress()))
        self.callbacks_ += own
        return self

    def get_iterator(self, dataset, training=False):
        size = min(self.batch_size, len(dataset))
        if not training:
            return self.iterator_valid(dataset, size)
        if self.peers_ is None:
            return self.iterator_train(dataset, size, self.generator_)
        size = min(self.batch_size * self.peers_.n_processes, len(dataset))
        return self.iterator_train(
            dataset, size, self.generator_, self.peers_.rank, self.peers_.n_processes
        )

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        super().on_train_begin(net, X, y, **kwargs)
        callbacks = [callback for _, callback in self.callbacks_]
        self.uses_own_schedule_ = not any(isinstance(c, LRScheduler) for c in callbacks)
        self.has_batch_callbacks_ = any(
            getattr(type(callback), event) is not getattr(Callback, event)
            for callback in callbacks
            for event in BATCH_EVENTS
        )
        self.stopped_early_, self.best_losses_ = False, {}
        self.generator_.share = None  # of a run that an error ended
        self.first_step_, self.epochs_before_ = self.step_, len(self.history)

    def partial_fit(self, X, y=None, classes=None, **fit_params):
        self._begin_average()
        try:
            super().partial_fit(X, y, classes, **fit_params)
        except BaseException:
            # What spoilt the weights is in their average, too.
            if self.average_ is not None and not self.average_.forget_chunk():
                self.average_ = None
            raise
        finally:
            # Skorch tells callbacks of the end unless an error brought it.
            for _, callback in self.callbacks_:
                if isinstance(callback, KeepWeights | Progress):
                    callback.clean_up(self)
            # They would outlive the fit, and the memory of a graph with them.
            for optimizer in self.built_optimizers:
                optimizer.zero_grad()
            # Amid an epoch that leaves its weights, and a record without a loss.
            losses = ["train_loss"] + ["valid_loss"] * (self.train_split is not None)
            if self.history and not all(loss in self.history[-1] for loss in losses):
                del self.history[-1]
            if self.average_ is not None:
                self.average_.pause()
        return self

    def _begin_average(self):
        if not self.averages:
            self.average_ = None  # a fit goes on from the average
        elif self.average_ is not None:
            self.average_.resume()

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        n_epochs = self.max_epochs if epochs is None else epochs
        per_epoch = len(self.get_iterator(X, training=True))
        if self.epochs_before_ == 0 and self.history:
            # A callback has brought back an earlier run, which this one goes on with.
            self.step_ = len(self.history) * per_epoch
            if self.lr_floor < 1.0:  # each chunk of a stream is an epoch of its own
                n_epochs = max(0, n_epochs - len(self.history))
        if self.averages and self.average_ is None:
            # Not before a callback has loaded the weights that it begins with.
            self.average_ = StreamAverage(self.module_.parameters())
        for prefix in ("train", "valid"):
            losses = [
                e[f"{prefix}_loss"] for e in self.history if f"{prefix}_loss" in e
            ]
            self.best_losses_[prefix] = min(losses, default=math.inf)
        self._check_precision()
        with (
            allow_tf32_products(self.device),
            recorded_steps(self, n_epochs, per_epoch),
        ):
            return super().fit_loop(X, y, n_epochs, **fit_params)

    def _check_precision(self):
        """Fall back to float32, once and for all, where there is no bfloat16."""
        if not self.mixed_precision or self.precision_error_ is not None:
            return
        self.precision_error_ = bfloat16_error(self.device)
        if self.precision_error_ is not None:
            warn_user(
                "mixed_precision=True needs bfloat16, which there is not on "
                f"device={str(self.device)!r} ({self.precision_error_}). The networks "
                "run in float32, as with mixed_precision=False.",
                RuntimeWarning,
            )

    def weights(self):
        """All tensors of the modules by name, not copied."""
        return {
            f"{module}.{name}": tensor
            for module in self.module_names
            for name, tensor in getattr(self, f"{module}_").state_dict().items()
        }

    def current_loss(self, rows):
        """Loss of a batch of `rows` under the present weights, nan if they are spoilt.

        Two reads of the device, once a run.
        """
        tensors = (
            getattr(self, f"{module}_").parameters() for module in self.module_names
        )
        finite = [t.isfinite().all() for t in chain.from_iterable(tensors)]
        if not torch.stack(finite).all().item():
            return math.nan
        batch = rows[: self.batch_size]
        return self.validation_step(batch)["loss"].item()

    def reset_optimizer_state(self):
        """Let the optimizers begin anew, with the weights as they are."""
        for optimizer in self.built_optimizers:
            optimizer.state.clear()

    def renew_optimizers(self):
        """Optimizers with the parameters that the net has now, and the old moments."""
        names = [f"{name}_" for name in self.optimizer_names]
        moments = {name: getattr(self, name).state_dict()["state"] for name in names}
        self.initialize_optimizer()
        for name, state in moments.items():
            optimizer = getattr(self, name)
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})

    # ------------------------------------------------------------------ one epoch

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        if iterator is None:
            return
        total, n_rows, n_batches = None, 0, 0
        if training:
            # Not a state that goes on: a run that is taken up again, or a loaded net,
            # then meets the numbers that it would have met.
            self.generator_.manual_seed(seed_of(self.seed, len(self.history)))
        for batch in iterator:
            if self.has_batch_callbacks_:
                self.notify("on_batch_begin", batch=batch, training=training)
            if training:
                self._schedule(len(iterator))
            step = step_fn(batch, **fit_params)
            loss, size = step["loss"].detach(), len(batch[0][0])
            if total is None:
                total = torch.zeros_like(loss)
            total.add_(loss, alpha=size)
            n_rows += size
            n_batches += 1
            if self.has_batch_callbacks_:
                self.history.record_batch(f"{prefix}_batch_size", size)
                self.notify("on_batch_end", batch=batch, training=training, **step)
        if (
            not self.has_batch_callbacks_
        ):  # Checkpoint wants to see one batch of each epoch
            self.history.new_batch()
            self.history.record_batch(f"{prefix}_batch_size", size)
        # The only read of the epoch: before it the device never waits for the host.
        means = self._mean(total, n_rows, training).reshape(-1).tolist()
        for name, mean in zip(self.loss_names, means, strict=False):
            self.history.record(f"{prefix}_{name}", mean)
        loss = means[0]
        self.history.record(f"{prefix}_batch_count", n_batches)
        best = loss < self.best_losses_.get(prefix, math.inf)
        if best:
            self.best_losses_[prefix] = loss
        self.history.record(f"{prefix}_loss_best", best)

    def _schedule(self, steps_per_epoch):
        if not self.uses_own_schedule_:
            return
        n_steps = self.max_epochs * steps_per_epoch
        if self.first_step_ == 0:
            self.warmup_ = self.n_warmup_steps
            if self.lr_floor < 1.0:  # in a stream more steps will follow
                self.warmup_ = min(self.warmup_, n_steps // 4)
            factor = warmup_cosine(self.step_, self.warmup_, n_steps, self.lr_floor)
        else:
            # A run that goes on from an earlier one needs no second warm-up, but ends
            # one that a stream's first batches were too few for.
            done = self.step_ - self.first_step_
            factor = warmup_cosine(done, 0, n_steps, self.lr_floor)
            factor *= min(1.0, (self.step_ + 1) / max(1, self.warmup_))
        self.lr_factor_ = factor
        for optimizer in self.built_optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.lr * factor * group.get("lr_scale", 1.0)

    def _mean(self, total, n_rows, training):
        """Mean loss of the rows; of a pass that processes shared, of all their rows."""
        if self.peers_ is None:
            return total / n_rows
        if not training:
            # All have the same rows; one must decide for all when to stop.
            own = total / n_rows * (self.peers_.rank == 0)
            return self.peers_.all_reduce_sum(own)
        losses = total.reshape(-1).double()
        sums = self.peers_.all_reduce_sum(
            torch.cat([losses, losses.new_tensor([n_rows])])
        )
        return sums[:-1] / sums[-1]

    def train_step(self, batch, **fit_params):
        if not self.module_.training:
            self.set_training(True)
        variant, numbers = self.step_variant()
        if self.captured_steps_ is None:
            step = self.learn(batch, variant, **numbers)
        else:
            step = {"loss": self.captured_steps_(batch[0], variant, numbers)}
        if self.average_ is not None:
            self.average_.update()
        self.step_ += 1
        return step

    def step_variant(self):
        """What Python decides about the next step, and numbers that it depends on."""
        return None, {}

    def learn(self, batch, variant):
        """One step on a batch, without any read of the device."""
        self.optimizer_.zero_grad()
        rows, target = batch
        with self._autocast():
            output = self.module_(*rows, generator=self.generator_)
        loss = self.criterion_(output, target)
        backward(loss, self.module_)
        self._update(self.module_, self.optimizer_, batch)
        return {"loss": loss, "y_pred": output}

    def _autocast(self):
        device = self.generator_.device.type
        mixed = self.mixed_precision and self.precision_error_ is None
        # The cache would keep casts of one step for the next.
        return torch.autocast(device, torch.bfloat16, mixed, cache_enabled=False)

    def _update(self, module, optimizer, batch=None):
        """Let an optimizer step, on the gradients of the whole batch."""
        if self.peers_ is not None:
            n_rows, part = self.generator_.share
            weight = (part.stop - part.start) / n_rows
            gradients = [p.grad for p in module.parameters() if p.grad is not None]
            self.peers_.reduce_gradients(gradients, weight)
        if batch is not None:
            if self.has_batch_callbacks_:
                self.notify(
                    "on_grad_computed",
                    named_parameters=list(self.get_all_learnable_params()),
                    batch=batch,
                    training=True,
                )
            if self.max_grad_norm is not None:
                clip_gradients(module, self.max_grad_norm)
        optimizer.step()

    def validation_step(self, batch, **fit_params):
        rows, target = batch
        self.set_training(False)
        # Always the same noise: two epochs then differ by their weights alone, and the
        # order of the training rows does not depend on whether there is a validation.
        noise = torch.Generator(self.generator_.device).manual_seed(self.seed)
        with torch.no_grad():
            output = self.module_(*rows, generator=noise)
            loss = self.criterion_(output, target)
        return {"loss": loss, "y_pred": output}

    # ------------------------------------------------------------------ saving

    def notify(self, method_name, **kwargs):
        """Like the parent's; what a checkpoint saves is one state."""
        getattr(self, method_name)(self, **kwargs)
        for _, callback in self.callbacks_:
            with one_state(self, callback):
                getattr(callback, method_name)(self, **kwargs)

    def save_params(
        self, f_params=None, f_optimizer=None, f_criterion=None, f_history=None, **more
    ):
        """Like the parent's; a file is replaced once its new content is complete."""
        files = {"f_params": f_params, "f_optimizer": f_optimizer}
        files |= {"f_criterion": f_criterion, "f_history": f_history, **more}
        options = {n: files.pop(n) for n in more if not n.startswith("f_")}
        save_files(self, super().save_params, files, **options)

    def load_params(
        self,
        f_params=None,
        f_optimizer=None,
        f_criterion=None,
        f_history=None,
        checkpoint=None,
        **more,
    ):
        """Like the parent's; a checkpoint is loaded if its files are one state."""
        if checkpoint is not None:
            check_state(self, checkpoint)
        super().load_params(
            f_params, f_optimizer, f_criterion, f_history, checkpoint, **more
        )

    def __getstate__(self):
        return state_of(self)

    def __setstate__(self, state):
        restore(self, state)


def seed_of(seed, epoch):
    """Seed of the numbers drawn in one epoch, unrelated to those of other epochs."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
