"""Training steps recorded once as CUDA graphs, and replayed.

A step of a small net is some hundreds of kernels of a few microseconds, which take
longer to launch one by one than to run. A graph launches them all at once.
"""

from collections.abc import Callable, Hashable
from contextlib import suppress

import torch
from torch import Tensor

from ._devices import lock
from ._optimizers import LeanAdamW

N_EAGER = 3  # steps of each form before it is recorded: libraries set themselves up
MIN_STEPS = 50  # of a run; below it recording costs more than it saves


class CudaGraph:
    """What `run` does on the current stream, which must not be the default one."""

    def __init__(self, run: Callable, generator: torch.Generator):
        self.graph = torch.cuda.CUDAGraph()
        self.graph.register_generator_state(generator)
        stream = torch.cuda.current_stream(generator.device)
        pool = torch.cuda.graph_pool_handle()
        try:
            # One recording at a time in a process; with the default mode any call of
            # another thread would spoil it.
            with (
                lock,
                torch.cuda.graph(
                    self.graph, pool, stream, capture_error_mode="thread_local"
                ),
            ):
                self.output = run()
        except RuntimeError:
            self._abandon(pool, generator)
            raise

    @staticmethod
    def _abandon(pool, generator):
        """End what a failed recording leaves begun, which torch does not."""
        index = torch.cuda.current_device()
        for name in ("_cuda_endAllocateToPool", "_cuda_releasePool"):
            with suppress(RuntimeError, AttributeError, TypeError):
                getattr(torch._C, name)(index, pool)
        with suppress(RuntimeError, AttributeError):
            generator.graphsafe_set_state(generator.clone_state())

    def replay(self) -> Tensor:
        """Do it again on the same memory; the output, which the next replay changes."""
        self.graph.replay()
        return self.output


class CapturedSteps:
    """Steps on batches of one size, each form of them a graph.

    What changes from step to step lies in tensors that a graph reads: the rows, the
    numbers that the step is called with, the rates of the optimizers. What Python
    decides is the form. Batches of another size, and all after a recording that
    failed, are learnt from in the usual way.

    Parameters
    ----------
    learn : callable
        ``learn(batch, form, **numbers)`` trains and returns the loss, without any read
        of the device.
    batch_size : int
    generator : torch.Generator
        That `learn` draws from.
    optimizers : list of LeanAdamW
    """

    recorder = CudaGraph

    def __init__(self, learn, batch_size, generator, optimizers):
        self.learn, self.batch_size, self.generator = learn, batch_size, generator
        self.optimizers = optimizers
        self.rows, self.numbers, self.graphs, self.n_eager = None, {}, {}, {}
        self.error = None

    @staticmethod
    def suit(device: torch.device, optimizers: list) -> bool:
        """Whether steps on a device can be recorded."""
        return (
            device.type == "cuda"
            and hasattr(torch.cuda.CUDAGraph, "register_generator_state")
            and all(type(optimizer) is LeanAdamW for optimizer in optimizers)
        )

    def __call__(self, batch, form: Hashable, numbers: dict[str, float]) -> Tensor:
        """Train on a batch; the loss, on the device."""
        if self.error is not None or len(batch[0]) != self.batch_size:
            return self.learn(batch, form, **numbers)
        done = self.n_eager.get(form, 0)
        if done < N_EAGER:
            self.n_eager[form] = done + 1
            return self.learn(batch, form, **numbers)
        self._set(batch, numbers)
        if form not in self.graphs and not self._record(form):
            return self.learn(batch, form, **numbers)
        return self.graphs[form].replay()

    def _set(self, batch, numbers):
        if self.rows is None:
            self.rows = tuple(part.clone() for part in batch)
            self.numbers = {
                name: torch.zeros((), device=batch[0].device) for name in numbers
            }
        for own, part in zip(self.rows, batch, strict=True):
            own.copy_(part)
        for name, number in numbers.items():
            self.numbers[name].fill_(number)
        for optimizer in self.optimizers:
            optimizer.publish_rates()

    def _record(self, form) -> bool:
        for optimizer in self.optimizers:
            optimizer.zero_grad()  # a graph has gradients of its own
            optimizer.reads_rates = True
        try:
            self.graphs[form] = self.recorder(
                lambda: self.learn(self.rows, form, **self.numbers), self.generator
            )
        except RuntimeError as error:
            # Its words alone: its frames would keep the failed graph.
            self.error, self.graphs = str(error), {}
        finally:
            for optimizer in self.optimizers:
                optimizer.reads_rates = False
        return self.error is None
