"""Training steps that are recorded once as CUDA graphs and then replayed.

A step of a small network is some hundreds of kernels of a few microseconds each, which
take longer to launch than to run. A graph launches all of them at once.
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

# Users set this variable to 0 to turn recording off.
ENV_VAR = "SKLEARN_UNSUP_CUDA_GRAPHS"
# Number of steps of each kind before it is recorded. The first one initialises
# libraries and optimizers, the second one does exactly what will be recorded.
N_EAGER_STEPS = 2
# Minimum number of steps of a run; with fewer, recording costs more than it saves.
MIN_STEPS = 50
# Minimum number of epochs for recording the smaller last batch, which each has once.
MIN_EPOCHS = 20
# Maximum number of graphs, so that batches of many sizes do not fill the memory.
MAX_GRAPHS = 8
# Graphs whose recording was interrupted by the driver. Torch's allocators may still
# call them, so that they must not be freed.
_failed_graphs = []


class CudaGraph:
    """CUDA graph of a function, recorded on the current stream.

    The current stream must not be the default one.

    Parameters
    ----------
    run : callable
        The function, without arguments; it returns the output.
    generator : torch.Generator
        Generator that `run` draws from. A replay advances it like a call of `run`.
    share_memory_with : CudaGraph or None
        Another graph of the same stream that is never replayed at the same time. Both
        then use the same memory for intermediate results. State that a replay leaves
        for a later one must be in tensors that were made before the recordings. Each
        graph has an output of its own.
    """

    def __init__(
        self,
        run: Callable,
        generator: torch.Generator,
        share_memory_with: "CudaGraph | None" = None,
    ):
        run_errors = []

        def run_and_keep_error():
            try:
                return run()
            except BaseException as error:
                run_errors.append(error)
                raise

        self.graph = torch.cuda.CUDAGraph()
        if share_memory_with is None:
            self.pool = torch.cuda.graph_pool_handle()
        else:
            self.pool = share_memory_with.pool
        self._register(generator)
        stream = torch.cuda.current_stream(generator.device)
        try:
            # A process can record one graph at a time. With the default mode, calls of
            # other threads to CUDA would make the recording fail.
            with (
                torch_lock,
                torch.cuda.graph(
                    self.graph, self.pool, stream, capture_error_mode="thread_local"
                ),
            ):
                self.output = run_and_keep_error()
        except BaseException as error:
            if error not in run_errors:
                self._clean_up(generator)
            # If `run` fails, the end of the recording fails as well. The first error
            # says what happened, and may be a KeyboardInterrupt.
            raise (run_errors or [error])[0] from None
        finally:
            run_errors.clear()  # The list and the errors' frames refer to each other.

    def _register(self, generator):
        """Let replays read and advance the state of the generator."""
        # Newer versions of torch find the generators that are used while recording.
        register = getattr(self.graph, "register_generator_state", None)
        if register is not None:
            with torch_lock, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                # The method does not accept a subclass. This plain generator shares
                # its state with the given one: seeding one of them seeds the other.
                register(generator.graphsafe_get_state())

    def _clean_up(self, generator):
        """Restore torch's allocator and generators after a recording failed."""
        _failed_graphs.append(self.graph)
        with suppress(Exception):
            self.graph.reset()  # In the newest versions of torch this is sufficient.
        index = torch.cuda.current_device()
        release_graph_pool(index, self.pool)
        # Older versions leave the generators, including torch's own, in a state that
        # treats every draw as part of the recording. A clone of the state does not.
        for affected in (generator, torch.cuda.default_generators[index]):
            with suppress(Exception):
                affected.graphsafe_set_state(affected.clone_state())

    def replay(self) -> Tensor:
        """Run the graph and return its output, which the next replay overwrites."""
        self.graph.replay()
        return self.output


def graphs_allowed() -> bool:
    """Whether the environment variable allows steps to be recorded.

    Raises
    ------
    ValueError
        If the variable is neither 0 nor 1.
    """
    value = os.environ.get(ENV_VAR, "1")
    if value not in ("0", "1"):
        raise ValueError(
            f"The environment variable {ENV_VAR} must be 0 or 1, got {value!r}: 0 "
            "launches the steps of a fit on a GPU one kernel at a time, 1 (the "
            "default) records them."
        )
    return value == "1"


def warn_not_recorded(error: Exception) -> str:
    """Warn that a run continues without graphs, and return the reason."""
    reason = describe_error(error)
    warn_user(
        "The steps of this fit could not be recorded as CUDA graphs. They are "
        "launched kernel by kernel instead, which is slower and learns the same. To "
        f"turn recording off, set the environment variable {ENV_VAR}=0. The reason: "
        f"{reason}",
        RuntimeWarning,
    )
    return reason


class CapturedSteps:
    """Training steps of a run, with a graph for each kind of step.

    A kind is a pair of the size of the batch and of the variant, on which Python code
    of the step branches. All that changes between steps of a kind is in tensors that
    the graph reads: the batch, the numbers that the step is called with, and the
    learning rates. Kinds that are not worth a graph run eagerly, and so do all steps
    after a recording or a replay has failed.

    Parameters
    ----------
    train_on_batch : callable
        ``train_on_batch(batch, variant, **numbers)`` does a step and returns the loss,
        without waiting for the device.
    generator : torch.Generator
        Generator that `train_on_batch` draws from.
    optimizers : list of LeanAdamW
    n_epochs : int
        Number of epochs of the run, which is also that of smaller last batches.
    """

    recorder = CudaGraph

    def __init__(self, train_on_batch, generator, optimizers, n_epochs):
        self.train_on_batch, self.generator = train_on_batch, generator
        self.optimizers, self.n_epochs = optimizers, n_epochs
        self.batches, self.numbers, self.graphs, self.n_eager_steps = {}, {}, {}, {}
        self.full_size = 0  # Size of the largest batch so far.
        self.error = None

    @staticmethod
    def supports(device: torch.device, optimizers: list) -> bool:
        """Whether steps of these optimizers can be recorded on a device."""
        return device.type == "cuda" and all(
            type(optimizer) is LeanAdamW for optimizer in optimizers
        )

    def __call__(self, batch, variant: Hashable, numbers: dict[str, float]) -> Tensor:
        """Train on a batch and return the loss, on the device."""
        kind = len(batch[0]), variant
        if self._uses_graph(kind):
            generator_state = self.generator.get_state()
            try:
                self._copy_inputs(kind, batch, numbers)
                if kind not in self.graphs:
                    self._record(kind)
                return self.graphs[kind].replay()
            except Exception as error:
                self._disable(error, generator_state)
        return self.train_on_batch(batch, variant, **numbers)

    def _uses_graph(self, kind) -> bool:
        """Whether the next step of this kind should use a graph."""
        size, _ = kind
        self.full_size = max(self.full_size, size)
        is_rare = size < self.full_size and self.n_epochs < MIN_EPOCHS
        if self.error is not None or is_rare:
            return False
        if kind in self.graphs:
            return True
        n_done = self.n_eager_steps.get(kind, 0)
        self.n_eager_steps[kind] = n_done + 1
        return n_done >= N_EAGER_STEPS and len(self.graphs) < MAX_GRAPHS

    def _copy_inputs(self, kind, batch, numbers):
        """Copy all that changes between steps to the tensors that graphs read."""
        size, _ = kind
        if size not in self.batches:
            self.batches[size] = tuple(tensor.clone() for tensor in batch)
        for target, tensor in zip(self.batches[size], batch, strict=True):
            target.copy_(tensor)
        for name, number in numbers.items():
            if name not in self.numbers:
                self.numbers[name] = torch.zeros((), device=batch[0].device)
            self.numbers[name].fill_(number)
        for optimizer in self.optimizers:
            optimizer.update_lr_tensors()

    def _record(self, kind):
        size, variant = kind
        for optimizer in self.optimizers:
            optimizer.zero_grad()  # The graph allocates gradients of its own.
            optimizer.reads_lr_tensors = True
        first_graph = next(iter(self.graphs.values()), None)
        try:
            self.graphs[kind] = self.recorder(
                lambda: self.train_on_batch(
                    self.batches[size], variant, **self.numbers
                ),
                self.generator,
                first_graph,
            )
        finally:
            for optimizer in self.optimizers:
                optimizer.reads_lr_tensors = False

    def _disable(self, error, generator_state):
        """Undo a step that failed, and run all further steps eagerly."""
        # Gradients and graphs would keep the memory of recordings alive. So would the
        # frames of the error, of which only the message is kept.
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        self.graphs, self.batches, self.numbers = {}, {}, {}
        self.generator.set_state(generator_state)
        self.error = warn_not_recorded(error)


@contextmanager
def use_captured_steps(net, n_epochs: int, steps_per_epoch: int):
    """Let the training steps of a net be recorded within the block, if possible.

    Parameters
    ----------
    net : TableNet
        Its `captured_steps_` are set during the block, its `capture_error_` afterwards.
    n_epochs, steps_per_epoch : int
        Length of the run.
    """
    device, optimizers = torch.device(net.device), net.built_optimizers
    is_alone = net.process_group_ is None and not net.has_batch_callbacks_
    if not (
        net.use_cuda_graphs
        and is_alone
        and net.capture_error_ is None
        and n_epochs * steps_per_epoch >= MIN_STEPS
        and CapturedSteps.supports(device, optimizers)
        and graphs_allowed()
    ):
        yield
        return

    def train_on_batch(batch, variant, **numbers):
        step = net.train_on_batch((batch, batch), variant, **numbers)
        return step["loss"].detach()

    with ExitStack() as stack:
        try:
            # Recording needs a stream other than the default one. All work of the run
            # happens on it.
            stack.enter_context(side_stream(device))
            steps = CapturedSteps(train_on_batch, net.generator_, optimizers, n_epochs)
            net.captured_steps_ = steps
        except Exception as error:
            net.capture_error_ = warn_not_recorded(error)
        try:
            yield
        finally:
            if net.captured_steps_ is not None:
                net.capture_error_ = net.captured_steps_.error
                del net.captured_steps_
