"""The training engine: a skorch net for encoded datasets on the device."""

import math
from itertools import chain
from typing import ClassVar

import numpy as np
import torch
from skorch.callbacks import EpochTimer, LRScheduler

from .._nn.device import (
    allow_tf32_products,
    bfloat16_error,
    preserve_torch_rng,
)
from .._nn.random import BatchGenerator
from .._skorch import SkorchNet
from .._warnings import warn_user
from .averaging import WeightAverage
from .callbacks import KeepWeights, Progress, handles_batches
from .cuda_graphs import use_captured_steps
from .gradients import clip_gradients, parameters_of, set_gradients
from .loader import DeviceLoader, FullBatchLoader
from .optimizer import LeanAdamW, move_moments
from .pickling import get_state, set_state
from .schedule import warmup_cosine
from .state import atomic_checkpoint, save_files, verify_checkpoint


class TableNet(SkorchNet):
    """A skorch net for :class:`~sklearn_unsup._training.data.EncodedDataset`.

    It differs from its parent as follows. Batches are slices of tensors on the device.
    The loss is read once per epoch. Callbacks are called per batch only if one of them
    handles such an event. All randomness comes from `seed` and the number of the epoch.
    Steps on a GPU are recorded and replayed. Epochs in a history that `LoadInitState`
    has loaded count as done.

    Parameters
    ----------
    seed : int
        Seed of the initial weights, of the order of the rows and of the noise.
    n_warmup_steps : int
        Number of steps over which the learning rate rises to `lr`.
    lr_floor : float
        Fraction of `lr` at which the cosine decay ends; 1 for a constant learning rate.
        A skorch `LRScheduler` among the callbacks replaces warm-up and decay.
    max_grad_norm : float or None
        Maximum norm of the gradients, to which larger ones are scaled down, of each
        part of a module whose parts are clipped apart.
    n_iter_no_change, tol : int, float
        See `KeepWeights`; they are used if there is a `train_split`.
    mixed_precision : bool
        Run the networks, but not the losses, in bfloat16 where torch considers it safe.
        On a device without bfloat16 they run in float32, with a warning.
    average_weights : bool
        Use an average of the weights after training, and continue training from the
        latest weights. A stream does so because it may end at any time.
    full_batch : bool
        Train on all rows in every step, with ten steps in an epoch.
    is_stream : bool
        More runs will follow, of which each is one more epoch.
    use_cuda_graphs : bool
        On a GPU, record the steps as CUDA graphs, unless a callback handles batches or
        the environment forbids it. If recording fails the steps run eagerly, with a
        warning.
    seed_torch : bool
        Seed torch's global generators in each epoch, and restore them after training:
        for networks that draw from them, such as with dropout.
    progress_name : str
        Label of the progress bar that `verbose` shows.
    use_caching : bool
        See skorch's scoring callbacks. It is False because caching would stack the two
        tensors of an encoded row, which have different widths, to one target.
    """

    # Names, in the history, of the losses that a step returns.
    loss_names: ClassVar = ("loss",)
    # The processes that share the fit, and its recorded steps; None after training.
    process_group_, captured_steps_ = None, None
    # Reasons why steps could not be recorded, and why networks run in float32.
    capture_error_, precision_error_ = None, None
    # A WeightAverage, in a stream and during a run that averages its weights; and a
    # PendingCheckpoint while a callback saves one.
    average_, pending_ = None, None
    has_ended = False  # Whether nothing learns any more, though epochs are left.

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
        average_weights=False,
        full_batch=False,
        is_stream=False,
        use_cuda_graphs=True,
        seed_torch=False,
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
        self.average_weights = average_weights
        self.full_batch = full_batch
        self.is_stream = is_stream
        self.use_cuda_graphs = use_cuda_graphs
        self.seed_torch = seed_torch
        self.progress_name = progress_name

    # ------------------------------------------------------------------ set-up

    def initialize(self):
        device = torch.device(self.device)
        # Modules are made on the CPU and then moved, so that only the CPU's global
        # generator is used.
        with preserve_torch_rng():
            torch.default_generator.manual_seed(self.seed)
            super().initialize()
        self.generator_ = BatchGenerator(device)
        self.step_, self.epoch_start_, self.lr_factor_, self.warmup_ = 0, 0, 1.0, 0
        return self

    def get_default_callbacks(self):
        return [("epoch_timer", EpochTimer())]

    def initialize_callbacks(self):
        """Add the net's own callbacks after the user's.

        The user's callbacks then see the last epoch before early stopping ends the fit.
        """
        super().initialize_callbacks()
        own = [("keep_weights", KeepWeights(self.n_iter_no_change, self.tol))]
        if self.verbose:
            own.insert(0, ("progress", Progress()))
        self.callbacks_ += own
        return self

    def get_iterator(self, dataset, training=False):
        if not training:
            return self.iterator_valid(dataset, min(self.batch_size, len(dataset)))
        if self.full_batch:
            return FullBatchLoader(dataset, self.generator_)
        group = self.process_group_
        shares = () if group is None else (group.rank, group.n_processes)
        size = self.batch_size * (1 if group is None else group.n_processes)
        size = min(size, len(dataset))
        return self.iterator_train(dataset, size, self.generator_, *shares)

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        super().on_train_begin(net, X, y, **kwargs)
        callbacks = [callback for _, callback in self.callbacks_]
        self.uses_own_schedule_ = not any(isinstance(c, LRScheduler) for c in callbacks)
        self.has_batch_callbacks_ = any(map(handles_batches, callbacks))
        self.stopped_early_, self.best_losses_ = False, {}
        self.generator_.local_rows = None  # An earlier run may have failed in a batch.
        self.first_step_, self.epochs_before_ = self.step_, len(self.history)

    def partial_fit(self, X, y=None, classes=None, **fit_params):
        self._begin_average()
        try:
            super().partial_fit(X, y, classes, **fit_params)
        except BaseException:
            # The average may contain weights that have diverged.
            if self.average_ is not None and not self.average_.restore_before_chunk():
                self.average_ = None
            raise
        finally:
            # After an error skorch does not call `on_train_end`.
            for _, callback in self.callbacks_:
                if isinstance(callback, KeepWeights | Progress):
                    callback.clean_up(self)
            # The gradients would keep the memory of CUDA graphs alive.
            for optimizer in self.built_optimizers:
                optimizer.zero_grad()
            # An interrupted epoch has left a record without a loss.
            losses = ["train_loss"] + ["valid_loss"] * (self.train_split is not None)
            if self.history and not all(loss in self.history[-1] for loss in losses):
                del self.history[-1]
            if self.average_ is not None and self.average_.latest is None:
                self.average_.use_average()
        return self

    def _begin_average(self):
        if not (self.average_weights and self.is_stream):
            # A `fit` continues from the average of a stream, with one of its own: the
            # steps of a long stream would outweigh its own ones.
            self.average_ = None
        elif self.average_ is not None:
            self.average_.use_latest()

    def on_train_end(self, net, X=None, y=None, **kwargs):
        super().on_train_end(net, X, y, **kwargs)
        if self.average_ is not None and not self.is_stream:
            # What callbacks save at the end is what the model is used with.
            self.average_.use_average()

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        n_epochs = self.max_epochs if epochs is None else epochs
        per_epoch = len(self.get_iterator(X, training=True))
        n_averaged = 0
        if self.epochs_before_ == 0 and self.history:
            # A callback has loaded an earlier run, which this one continues.
            self.step_ = n_averaged = len(self.history) * per_epoch
            if not self.is_stream:  # In a stream each chunk is one more epoch.
                n_epochs = max(0, n_epochs - len(self.history))
        if self.average_weights and self.average_ is None:
            # The average must start from weights that a callback may have loaded.
            self.average_ = WeightAverage(self.module_.parameters(), n_averaged)
        for prefix in ("train", "valid"):
            losses = [
                e[f"{prefix}_loss"] for e in self.history if f"{prefix}_loss" in e
            ]
            self.best_losses_[prefix] = min(losses, default=math.inf)
        self._check_precision()
        with (
            preserve_torch_rng(self.device, self.seed_torch),
            allow_tf32_products(self.device),
            use_captured_steps(self, n_epochs, per_epoch),
        ):
            return super().fit_loop(X, y, n_epochs, **fit_params)

    def _check_precision(self):
        """Fall back to float32, with one warning, on a device without bfloat16."""
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
        """All tensors of the modules by name, without copies."""
        return {
            f"{module}.{name}": tensor
            for module in self.module_names
            for name, tensor in getattr(self, f"{module}_").state_dict().items()
        }

    def current_loss(self, dataset):
        """Loss of one batch with the current weights, or nan if these are not finite.

        It waits for the device twice, so that it is called once per run.
        """
        tensors = (
            getattr(self, f"{module}_").parameters() for module in self.module_names
        )
        are_finite = [t.isfinite().all() for t in chain.from_iterable(tensors)]
        if not torch.stack(are_finite).all().item():
            return math.nan
        batch = dataset[: self.batch_size]
        return self.validation_step(batch)["loss"].item()

    def reset_optimizer_state(self):
        """Reset the moments and step counts of the optimizers, but not the weights."""
        self.initialize_optimizer()

    def renew_optimizers(self):
        """Create the optimizers again with the net's current options.

        Each parameter keeps its moments, also where the groups are others than before.
        """
        before = {name: getattr(self, f"{name}_") for name in self.optimizer_names}
        self.initialize_optimizer()
        for name, old in before.items():
            move_moments(old, getattr(self, f"{name}_"))

    # ------------------------------------------------------------------ one epoch

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        if iterator is None:
            return
        total, n_rows, n_batches = None, 0, 0
        if training:
            # Each epoch has a seed of its own, so that a resumed run or a loaded net
            # draws the same numbers as an uninterrupted one.
            seed = epoch_seed(self.seed, len(self.history))
            self.generator_.manual_seed(seed)
            if self.seed_torch:
                torch.manual_seed(seed)
            self.epoch_start_ = self.step_
        for batch in iterator:
            if self.has_batch_callbacks_:
                self.notify("on_batch_begin", batch=batch, training=training)
            if training:
                self._set_learning_rates(len(iterator))
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
        if not self.has_batch_callbacks_:
            # skorch's Checkpoint needs at least one batch in the record of an epoch.
            self.history.new_batch()
            self.history.record_batch(f"{prefix}_batch_size", size)
        # This is the only time in an epoch that the host waits for the device.
        means = self._mean_loss(total, n_rows, training).reshape(-1).tolist()
        for name, mean in zip(self.loss_names, means, strict=False):
            self.history.record(f"{prefix}_{name}", mean)
        loss = means[0]
        self.history.record(f"{prefix}_batch_count", n_batches)
        best = loss < self.best_losses_.get(prefix, math.inf)
        if best:
            self.best_losses_[prefix] = loss
        self.history.record(f"{prefix}_loss_best", best)

    def _set_learning_rates(self, steps_per_epoch):
        if not self.uses_own_schedule_:
            return
        n_steps = self.max_epochs * steps_per_epoch
        if self.first_step_ == 0:
            self.warmup_ = self.n_warmup_steps
            if not self.is_stream:  # In a stream more steps will follow.
                self.warmup_ = min(self.warmup_, n_steps // 4)
            factor = warmup_cosine(self.step_, self.warmup_, n_steps, self.lr_floor)
        else:
            # A run that continues an earlier one has no warm-up of its own, but
            # completes a warm-up that was longer than the first chunk of a stream.
            n_done = self.step_ - self.first_step_
            factor = warmup_cosine(n_done, 0, n_steps, self.lr_floor)
            factor *= min(1.0, (self.step_ + 1) / max(1, self.warmup_))
        self.lr_factor_ = factor
        for optimizer in self.built_optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.lr * factor * group.get("lr_scale", 1.0)

    def _mean_loss(self, total, n_rows, training):
        """Mean loss over the rows of all processes."""
        if self.process_group_ is None:
            return total / n_rows
        if not training:
            # All processes have the same validation rows. They use the loss of the
            # first one, so that rounding cannot make them stop at different epochs.
            own = total / n_rows * (self.process_group_.rank == 0)
            return self.process_group_.all_reduce_sum(own)
        losses = total.reshape(-1).double()
        sums = self.process_group_.all_reduce_sum(
            torch.cat([losses, losses.new_tensor([n_rows])])
        )
        return sums[:-1] / sums[-1]

    def train_step(self, batch, **fit_params):
        if not self.module_.training:
            self.set_training(True)
        variant, numbers = self.step_variant()
        if self.captured_steps_ is None:
            step = self.train_on_batch(batch, variant, **numbers)
        else:
            step = {"loss": self.captured_steps_(batch[0], variant, numbers)}
        if self.average_ is not None:
            self.average_.update()
        self.step_ += 1
        return step

    def step_variant(self):
        """Return the variant of the next step and the numbers that it depends on.

        The variant decides which Python code the step runs, and must be hashable; each
        variant is recorded as a graph of its own. The numbers are keyword arguments of
        `train_on_batch`, and a recorded step gets them as tensors.
        """
        return None, {}

    def train_on_batch(self, batch, variant):
        """Do one training step, without waiting for the device."""
        self.optimizer_.zero_grad()
        inputs, target = batch
        with self._autocast():
            output = self.module_(*inputs, generator=self.generator_)
        loss = self.criterion_(output, target)
        set_gradients(loss, parameters_of(self.optimizer_))
        self._step_optimizer(self.module_, self.optimizer_, batch)
        return {"loss": loss, "y_pred": output}

    def _autocast(self):
        device = self.generator_.device.type
        mixed = self.mixed_precision and self.precision_error_ is None
        # A cache would reuse casts of the weights after they have changed.
        return torch.autocast(device, torch.bfloat16, mixed, cache_enabled=False)

    def _step_optimizer(self, module, optimizer, batch=None):
        """Let an optimizer step, with the gradients of the whole batch.

        If processes share the batch their gradients are summed first. `batch` is given
        for the optimizer whose gradients are announced to callbacks and clipped.
        """
        if self.process_group_ is not None:
            n_rows, rows = self.generator_.local_rows
            weight = (rows.stop - rows.start) / n_rows
            gradients = [p.grad for p in module.parameters() if p.grad is not None]
            self.process_group_.reduce_gradients(gradients, weight)
        if batch is not None:
            if self.has_batch_callbacks_:
                self.notify(
                    "on_grad_computed",
                    named_parameters=list(self.get_all_learnable_params()),
                    batch=batch,
                    training=True,
                )
            if self.max_grad_norm is not None:
                parts = self._parameters_by_part(module)
                clip_gradients(parts, self.max_grad_norm, optimizer)
        optimizer.step()

    def _parameters_by_part(self, module):
        """Lists of the parameters whose gradients are clipped by one norm."""
        return [list(module.parameters())]

    def validation_step(self, batch, **fit_params):
        inputs, target = batch
        self.set_training(False)
        # A generator of its own gives the same noise in each epoch, so that losses
        # differ by the weights alone, and leaves the order of the training rows as it
        # is without validation.
        generator = torch.Generator(self.generator_.device).manual_seed(self.seed)
        with torch.no_grad():
            output = self.module_(*inputs, generator=generator)
            loss = self.criterion_(output, target)
        return {"loss": loss, "y_pred": output}

    # ------------------------------------------------------------------ saving

    def notify(self, method_name, **kwargs):
        """Like the parent's, but the files of a checkpoint are replaced together."""
        getattr(self, method_name)(self, **kwargs)
        for _, callback in self.callbacks_:
            with atomic_checkpoint(self, callback):
                getattr(callback, method_name)(self, **kwargs)

    def save_params(
        self, f_params=None, f_optimizer=None, f_criterion=None, f_history=None, **more
    ):
        """Like the parent's, but a file is replaced once its content is complete."""
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
        """Like the parent's, but the files of a checkpoint must belong together."""
        if checkpoint is not None:
            verify_checkpoint(self, checkpoint)
        super().load_params(
            f_params, f_optimizer, f_criterion, f_history, checkpoint, **more
        )

    def __getstate__(self):
        return get_state(self)

    def __setstate__(self, state):
        set_state(self, state)


def epoch_seed(seed, epoch):
    """Seed of an epoch, statistically independent of those of other epochs."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
