"""The training engine: skorch nets whose rows lie on the device."""

import math
import warnings
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import ClassVar

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EpochTimer, LRScheduler

from ._adversarial import Critic, average_decay
from ._averages import StreamAverage
from ._batches import DeviceBatches, warmup_cosine
from ._callbacks import KeepWeights, Progress
from ._capture import (
    MIN_STEPS,
    CapturedSteps,
    recording_allowed,
    without_recording,
)
from ._devices import (
    bfloat16_fault,
    borrowed_generator,
    own_stream,
    tensor_cores,
    usable_device,
)
from ._noise import BatchGenerator, normal
from ._optimizers import LeanAdamW
from ._saving import check_state, one_state, save_files, to_arrays, to_tensors
from ._two_sample import energy_distance

BATCH_EVENTS = "on_batch_begin", "on_batch_end", "on_grad_computed"


class TableNet(NeuralNet):
    """A skorch net for :class:`~sklearn_unsup._batches.EncodedRows`.

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
    peers_, captured_ = None, None
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
        iterator_train=DeviceBatches,
        iterator_valid=DeviceBatches,
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
        with borrowed_generator():
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
        self.own_schedule_ = not any(isinstance(c, LRScheduler) for c in callbacks)
        self.heard_per_batch_ = any(
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
            for name in self._optimizers:
                getattr(self, f"{name}_").zero_grad()
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
        with tensor_cores(self.device), self._captured(n_epochs, per_epoch):
            return super().fit_loop(X, y, n_epochs, **fit_params)

    def _check_precision(self):
        """Fall back to float32, once and for all, where there is no bfloat16."""
        if not self.mixed_precision or self.precision_error_ is not None:
            return
        self.precision_error_ = bfloat16_fault(self.device)
        if self.precision_error_ is not None:
            warnings.warn(
                "mixed_precision=True needs bfloat16, which there is not on "
                f"device={str(self.device)!r} ({self.precision_error_}). The networks "
                "run in float32, as with mixed_precision=False.",
                RuntimeWarning,
                stacklevel=2,
            )

    @contextmanager
    def _captured(self, n_epochs, per_epoch):
        """Let steps become graphs, where they can."""
        device = torch.device(self.device)
        optimizers = [getattr(self, f"{name}_") for name in self._optimizers]
        alone = self.peers_ is None and not self.heard_per_batch_
        if not (
            self.captures
            and alone
            and self.capture_error_ is None
            and n_epochs * per_epoch >= MIN_STEPS
            and CapturedSteps.suit(device, optimizers)
            and recording_allowed()
        ):
            yield
            return

        def learn(batch, form, **numbers):
            return self.learn((batch, batch), form, **numbers)["loss"].detach()

        with ExitStack() as stack:
            try:
                # Recording needs a stream that is not the default one; the rest
                # follows it.
                stack.enter_context(own_stream(device))
                self.captured_ = CapturedSteps(
                    learn, self.generator_, optimizers, n_epochs
                )
            except Exception as error:
                self.capture_error_ = without_recording(error)
            try:
                yield
            finally:
                if self.captured_ is not None:
                    self.capture_error_ = self.captured_.error
                    del self.captured_

    def weights(self):
        """All tensors of the modules by name, not copied."""
        return {
            f"{module}.{name}": tensor
            for module in self._modules
            for name, tensor in getattr(self, f"{module}_").state_dict().items()
        }

    def present_loss(self, rows):
        """Loss of a batch of `rows` under the present weights, nan if they are spoilt.

        Two reads of the device, once a run.
        """
        tensors = (getattr(self, f"{module}_").parameters() for module in self._modules)
        finite = [t.isfinite().all() for t in chain.from_iterable(tensors)]
        if not torch.stack(finite).all().item():
            return math.nan
        batch = rows[: self.batch_size]
        return self.validation_step(batch)["loss"].item()

    def forget_moments(self):
        """Let the optimizers begin anew, with the weights as they are."""
        for name in self._optimizers:
            getattr(self, f"{name}_").state.clear()

    def renew_optimizers(self):
        """Optimizers with the parameters that the net has now, and the old moments."""
        names = [f"{name}_" for name in self._optimizers]
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
            if self.heard_per_batch_:
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
            if self.heard_per_batch_:
                self.history.record_batch(f"{prefix}_batch_size", size)
                self.notify("on_batch_end", batch=batch, training=training, **step)
        if not self.heard_per_batch_:  # Checkpoint wants to see one batch of each epoch
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
        if not self.own_schedule_:
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
        for name in self._optimizers:
            for group in getattr(self, f"{name}_").param_groups:
                group["lr"] = self.lr * factor * group.get("lr_scale", 1.0)

    def _mean(self, total, n_rows, training):
        """Mean loss of the rows; of a pass that processes shared, of all their rows."""
        if self.peers_ is None:
            return total / n_rows
        if not training:
            # All have the same rows; one must decide for all when to stop.
            return self.peers_.total(total / n_rows * (self.peers_.rank == 0))
        losses = total.reshape(-1).double()
        sums = self.peers_.total(torch.cat([losses, losses.new_tensor([n_rows])]))
        return sums[:-1] / sums[-1]

    def train_step(self, batch, **fit_params):
        if not self.module_.training:
            self._set_training(True)
        form, numbers = self.step_form()
        if self.captured_ is None:
            step = self.learn(batch, form, **numbers)
        else:
            step = {"loss": self.captured_(batch[0], form, numbers)}
        if self.average_ is not None:
            self.average_.follow()
        self.step_ += 1
        return step

    def step_form(self):
        """What Python decides about the next step, and numbers that it depends on."""
        return None, {}

    def learn(self, batch, form):
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
            self.peers_.add_up(gradients, weight)
        if batch is not None:
            if self.heard_per_batch_:
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
        self._set_training(False)
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
        """Plain values and arrays: no torch object, and no pickle within the pickle."""
        state = vars(self).copy()
        # `last_loss_` of a game is a tensor too; the next step gives another one.
        of_a_run = "peers_", "captured_", "pending_"
        # What this machine could not do, another one may.
        faults = "capture_error_", "precision_error_"
        parts = "virtual_params_", "last_loss_", "generator_"
        for name in (*parts, *of_a_run, *faults):
            state.pop(name, None)
        average = state.pop("average_", None)
        if average is not None and average.latest is not None:  # not amid training
            state["average_"] = to_arrays(average.state())
        if not getattr(self, "initialized_", False):
            return state
        parts = [*self._modules, *self._criteria, *self._optimizers]
        state["parts_"] = {
            name: to_arrays(state.pop(f"{name}_").state_dict()) for name in parts
        }
        return state

    def __setstate__(self, state):
        state = dict(state)
        parts, average = state.pop("parts_", None), state.pop("average_", None)
        state["device"] = usable_device(state["device"])
        vars(self).update(state, virtual_params_={})
        if parts is None:
            return
        device = torch.device(self.device)
        self.initialized_ = False  # a net that is tells of every part made anew
        with borrowed_generator(device):
            self._initialize_module()
            self._initialize_criterion()
            self._initialize_optimizer()
        self.initialized_ = True
        for name, arrays in parts.items():
            getattr(self, f"{name}_").load_state_dict(to_tensors(arrays))
        self.generator_ = BatchGenerator(device)
        if average is not None:
            self.average_ = StreamAverage(self.module_.parameters())
            self.average_.load(to_tensors(average))


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

    def forget_moments(self):
        super().forget_moments()
        self.played_ = False

    def __setstate__(self, state):
        super().__setstate__(state)
        self._forget_loss()

    def _forget_loss(self):
        """Of the generator, which steps without a move of it report again."""
        self.last_loss_, self.played_ = torch.zeros((), device=self.device), False

    def initialize(self):
        super().initialize()
        self._forget_loss()
        return self

    def step_form(self):
        plays = self.step_ % self.n_critic_steps == 0 or not self.played_
        self.played_ = True
        # Generated rows show the encoder the way; in the end real ones are what counts.
        regression = self.lr_factor_**4
        decay = average_decay(self.step_, self.decay)
        return plays, {"regression": regression, "decay": decay}

    def learn(self, batch, form, regression, decay):
        rows, plays = batch[0], form
        model = self.module_
        real = table_blocks(model, rows)
        noise = self._noise(len(rows[0]))
        with torch.set_grad_enabled(plays), self._autocast():
            fake = model.generator(noise, self.generator_)
        critic_loss = self._train_critic(real, tuple(part.detach() for part in fake))
        self.optimizer_.zero_grad()
        if plays:
            loss = self._generator_loss(real, fake)
            backward(loss, model.generator)
            self.last_loss_.copy_(loss.detach())
        # The encoder shares no weights with the generator: one optimizer serves both.
        with self._autocast():
            loss = model.encoder_loss(*rows, noise, fake, regression)
        backward(loss, model.encoder)
        self._update(model, self.optimizer_, batch)
        model.follow(decay)
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
            loss, penalty = self.criterion_.critic_step(
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
        self._set_training(False)
        # Always the same noise: two epochs then differ by their weights alone.
        noise = torch.Generator(self.generator_.device).manual_seed(self.seed)
        with torch.no_grad():
            x_num, x_cat, _ = self.module_.average.sample(len(rows[0]), {}, noise)
            generated, real = (
                self.module_.table(x_num, x_cat),
                self.module_.table(*rows),
            )
            loss = energy_distance(generated, real)
        return {"loss": loss, "y_pred": generated}


def backward(loss, *modules):
    """Set the gradients of the modules' parameters, and no others.

    Unlike `Tensor.backward` it adds nothing up, and so needs no copies; it computes no
    gradients of inputs that only a penalty needs. No two parameters may be the terms of
    one sum: they would get the same tensor, and clipping would divide it twice.
    """
    parameters = [
        parameter
        for module in modules
        for parameter in module.parameters()
        if parameter.requires_grad
    ]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None and gradient.stride() != parameter.stride():
            # The fused optimizer walks through both in the order of their memory.
            gradient = torch.empty_like(parameter).copy_(gradient)
        parameter.grad = gradient


def clip_gradients(module, max_norm):
    """Divide all gradients by what their norm exceeds `max_norm` by, if it does."""
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    excess = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    torch._foreach_div_(gradients, (excess / max_norm).clamp_(min=1.0))


def seed_of(seed, epoch):
    """Seed of the numbers drawn in one epoch, unrelated to those of other epochs."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def table_blocks(model, rows):
    """Numbers and one-hot blocks of encoded rows."""
    return model.table(*rows).split([model.layout.n_numeric, model.layout.n_one_hot], 1)
