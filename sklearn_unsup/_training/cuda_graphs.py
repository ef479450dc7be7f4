"""Training steps recorded once as CUDA graphs, and replayed.

A step of a small net is some hundreds of kernels of a few microseconds, which take
longer to launch one by one than to run. A graph launches them all at once.
"""

import os
import warnings
from collections.abc import Callable, Hashable
from contextlib import ExitStack, contextmanager, suppress

import torch
from torch import Tensor

from .._nn.device import describe_error, side_stream, torch_lock
from .._nn.torch_private import release_graph_pool
from .._warnings import warn_user
from .optimizer import LeanAdamW

SWITCH = "SKLEARN_UNSUP_CUDA_GRAPHS"  # environment variable; 0: never record
# Steps of each kind before it is recorded: the first sets libraries and optimizers up,
# the second does exactly what will be recorded.
N_EAGER = 2
MIN_STEPS = 50  # of a run; below it recording costs more than it saves
# Epochs of a run whose last, smaller batches are recorded too: there is one an epoch.
MIN_EPOCHS = 20
MAX_GRAPHS = 8  # batches of ever new sizes must not fill the memory
# Graphs whose recording the driver broke off. The allocators may still ask them
# whether an allocation is theirs, so that they have to outlive the process's work.
_broken = []


class CudaGraph:
    """What `run` does on the current stream, which must not be the default one.

    Parameters
    ----------
    run : callable
        Returns the output.
    generator : torch.Generator
        That `run` draws from; a replay moves it on as a call of `run` does.
    beside : CudaGraph or None
        Another graph of the same stream that is never replayed at the same time: both
        then use the same memory for what they compute on the way. What one replay
        leaves for a later one has to lie in tensors made before the recordings, and
        the output of each stays its own.
    """

    def __init__(
        self,
        run: Callable,
        generator: torch.Generator,
        beside: "CudaGraph | None" = None,
    ):
        failures = []

        def watched():
            try:
                return run()
            except BaseException as error:
                failures.append(error)
                raise

        self.graph = torch.cuda.CUDAGraph()
        self.pool = torch.cuda.graph_pool_handle() if beside is None else beside.pool
        self._register(generator)
        stream = torch.cuda.current_stream(generator.device)
        try:
            # One recording at a time in a process; with the default mode any call of
            # another thread would spoil it.
            with (
                torch_lock,
                torch.cuda.graph(
                    self.graph, self.pool, stream, capture_error_mode="thread_local"
                ),
            ):
                self.output = watched()
        except BaseException as error:
            if error not in failures:
                self._abandon(generator)
            # A step that fails lets the end of its recording fail as well. The first
            # of the two says what happened, and may be an interrupt.
            raise (failures or [error])[0] from None
        finally:
            failures.clear()  # their frames hold this list

    def _register(self, generator):
        """Let replays read where the generator stands, and move it on."""
        # Newer versions of torch find the generators of a recording by themselves.
        register = getattr(self.graph, "register_generator_state", None)
        if register is not None:
            with torch_lock, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                # It takes no instance of a subclass. This is a plain generator with
                # the very same state: what seeds one of them seeds the other.
                register(generator.graphsafe_get_state())

    def _abandon(self, generator):
        """Finish what a recording that the driver broke off leaves begun."""
        _broken.append(self.graph)
        with suppress(Exception):
            self.graph.reset()  # the newest versions of torch need no more
        index = torch.cuda.current_device()
        release_graph_pool(index, self.pool)
        # Older versions leave the generators, torch's own among them, in a state that
        # takes every draw for one of the recording. A copy of it does not.
        for one in (generator, torch.cuda.default_generators[index]):
            with suppress(Exception):
                one.graphsafe_set_state(one.clone_state())

    def replay(self) -> Tensor:
        """Do it again on the same memory; the output, which the next replay changes."""
        self.graph.replay()
        return self.output


def recording_allowed() -> bool:
    """Whether the environment lets steps be recorded.

    Raises
    ------
    ValueError
        If the variable says neither.
    """
    value = os.environ.get(SWITCH, "1")
    if value not in ("0", "1"):
        raise ValueError(
            f"The environment variable {SWITCH} must be 0 or 1, got {value!r}: 0 "
            "launches the steps of a fit on a GPU one kernel at a time, 1 (the "
            "default) records them."
        )
    return value == "1"


def warn_not_recorded(error: Exception) -> str:
    """Warn that a run goes on without graphs; the reason."""
    reason = describe_error(error)
    warn_user(
        "The steps of this fit could not be recorded as CUDA graphs. They are "
        "launched kernel by kernel instead, which is slower and learns the same. To "
        f"turn recording off, set the environment variable {SWITCH}=0. The reason: "
        f"{reason}",
        RuntimeWarning,
    )
    return reason


class CapturedSteps:
    """Steps of a run, each kind of them a graph.

    What changes from step to step lies in tensors that a graph reads: the rows, the
    numbers that the step is called with, the rates of the optimizers. A kind is the
    size of the batch and the variant, which is what Python decides. Kinds that are not
    worth a graph, and all after a recording or a replay that failed, are learnt from
    in the usual way.

    Parameters
    ----------
    learn : callable
        ``learn(batch, variant, **numbers)`` trains and returns the loss, and never
        waits for the device.
    generator : torch.Generator
        That `learn` draws from.
    optimizers : list of LeanAdamW
    n_epochs : int
        Of the run: so often a last, smaller batch is to be expected.
    """

    recorder = CudaGraph

    def __init__(self, learn, generator, optimizers, n_epochs):
        self.learn, self.generator = learn, generator
        self.optimizers, self.n_epochs = optimizers, n_epochs
        self.rows, self.numbers, self.graphs, self.n_eager = {}, {}, {}, {}
        self.largest = 0  # size of a full batch, by what was seen
        self.error = None

    @staticmethod
    def suit(device: torch.device, optimizers: list) -> bool:
        """Whether steps on a device can be recorded."""
        return device.type == "cuda" and all(
            type(optimizer) is LeanAdamW for optimizer in optimizers
        )

    def __call__(self, batch, variant: Hashable, numbers: dict[str, float]) -> Tensor:
        """Train on a batch; the loss, on the device."""
        kind = len(batch[0]), variant
        if self._is_due(kind):
            before = self.generator.get_state()
            try:
                self._set(kind, batch, numbers)
                if kind not in self.graphs:
                    self._record(kind)
                return self.graphs[kind].replay()
            except Exception as error:
                self._give_up(error, before)
        return self.learn(batch, variant, **numbers)

    def _is_due(self, kind) -> bool:
        """Whether a step of this kind is to be a graph."""
        size, _ = kind
        self.largest = max(self.largest, size)
        rare = size < self.largest and self.n_epochs < MIN_EPOCHS
        if self.error is not None or rare:
            return False
        if kind in self.graphs:
            return True
        done = self.n_eager.get(kind, 0)
        self.n_eager[kind] = done + 1
        return done >= N_EAGER and len(self.graphs) < MAX_GRAPHS

    def _set(self, kind, batch, numbers):
        size, _ = kind
        if size not in self.rows:
            self.rows[size] = tuple(part.clone() for part in batch)
        for own, part in zip(self.rows[size], batch, strict=True):
            own.copy_(part)
        for name, number in numbers.items():
            if name not in self.numbers:
                self.numbers[name] = torch.zeros((), device=batch[0].device)
            self.numbers[name].fill_(number)
        for optimizer in self.optimizers:
            optimizer.publish_rates()

    def _record(self, kind):
        size, variant = kind
        for optimizer in self.optimizers:
            optimizer.zero_grad()  # a graph has gradients of its own
            optimizer.reads_rates = True
        beside = next(iter(self.graphs.values()), None)
        try:
            self.graphs[kind] = self.recorder(
                lambda: self.learn(self.rows[size], variant, **self.numbers),
                self.generator,
                beside,
            )
        finally:
            for optimizer in self.optimizers:
                optimizer.reads_rates = False

    def _give_up(self, error, before):
        """Leave all as it was before the step that failed, and record no more."""
        # Gradients and graphs hold memory that belongs to recordings. Of the error its
        # words alone are kept: its frames would hold the failed graph.
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        self.graphs, self.rows, self.numbers = {}, {}, {}
        self.generator.set_state(before)
        self.error = warn_not_recorded(error)


@contextmanager
def recorded_steps(net, n_epochs: int, steps_per_epoch: int):
    """Let the steps of a net's run become graphs, where they can.

    Parameters
    ----------
    net : TableNet
        Its `captured_steps_` are set for the block, and its `capture_error_` after it.
    n_epochs, steps_per_epoch : int
        Of the run.
    """
    device, optimizers = torch.device(net.device), net.built_optimizers
    is_alone = net.peers_ is None and not net.has_batch_callbacks_
    if not (
        net.captures
        and is_alone
        and net.capture_error_ is None
        and n_epochs * steps_per_epoch >= MIN_STEPS
        and CapturedSteps.suit(device, optimizers)
        and recording_allowed()
    ):
        yield
        return

    def learn(batch, variant, **numbers):
        return net.learn((batch, batch), variant, **numbers)["loss"].detach()

    with ExitStack() as stack:
        try:
            # Recording needs a stream that is not the default one; the rest follows.
            stack.enter_context(side_stream(device))
            steps = CapturedSteps(learn, net.generator_, optimizers, n_epochs)
            net.captured_steps_ = steps
        except Exception as error:
            net.capture_error_ = warn_not_recorded(error)
        try:
            yield
        finally:
            if net.captured_steps_ is not None:
                net.capture_error_ = net.captured_steps_.error
                del net.captured_steps_
