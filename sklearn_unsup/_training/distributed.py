"""Processes that share a fit, set up by Hugging Face Accelerate."""

import os

import torch
from torch import Tensor

from .._nn.device import resolve_device


def backend_for(device: str) -> str | None:
    """Communication backend for the processes of a fit; None leaves it to Accelerate.

    It is NCCL for GPUs. If there are more processes than GPUs it is Gloo, because NCCL
    does not support two processes on one GPU.
    """
    if torch.device(device).type != "cuda":
        return None
    n_local = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    has_own_gpu = n_local <= torch.cuda.device_count()
    return "nccl" if has_own_gpu and torch.distributed.is_nccl_available() else "gloo"


class ProcessGroup:
    """The processes that were launched together to share a fit of the same table.

    Parameters
    ----------
    device : str
        "cpu", or "cuda" for GPUs, which Accelerate distributes among the processes.

    Attributes
    ----------
    n_processes, rank : int
        Number of processes, and the index of this one.
    device : str
        Device of this process.

    Raises
    ------
    ImportError
        If accelerate is not installed.
    RuntimeError
        If several processes were launched but Accelerate found a single one.
    """

    def __init__(self, device: str):
        try:
            from accelerate import Accelerator
        except ImportError as error:
            raise ImportError(
                "data_parallel=True needs accelerate: install sklearn-unsup[accelerate]"
            ) from error
        from accelerate.utils import InitProcessGroupKwargs

        on_cpu = torch.device(device).type == "cpu"
        backend = backend_for(device)
        handlers = [] if backend is None else [InitProcessGroupKwargs(backend=backend)]
        self.accelerator = Accelerator(cpu=on_cpu, kwargs_handlers=handlers)
        self.n_processes = self.accelerator.num_processes
        self.rank = self.accelerator.process_index
        launched = int(os.environ.get("WORLD_SIZE", 1))
        if self.n_processes != launched:
            raise RuntimeError(
                f"{launched} processes were launched, but Accelerate found "
                f"{self.n_processes}, which would train by itself. Without GPUs set "
                "the environment variable ACCELERATE_USE_CPU=true for all of them; "
                "with GPUs do not pass device='cpu'."
            )
        self.device = "cpu" if on_cpu else str(self.accelerator.device)

    def all_reduce_sum(self, tensor: Tensor) -> Tensor:
        """Sum of the processes' tensors."""
        return self.accelerator.reduce(tensor, "sum")

    def reduce_gradients(self, tensors: list[Tensor], weight: float) -> None:
        """Replace tensors by the weighted sum of those of all processes, in place.

        All tensors are sent in one message, because each message costs a round trip.
        This uses the process group that Accelerate has set up, but not its `reduce`,
        which makes two copies.
        """
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors]).mul_(weight)
        torch.distributed.all_reduce(flat)
        sums = flat.split([tensor.numel() for tensor in tensors])
        for tensor, total in zip(tensors, sums, strict=True):
            tensor.copy_(total.view_as(tensor))

    def all_equal(self, number: int) -> bool:
        """Whether a number is the same in all processes."""
        # It is, if the mean of the squares equals the square of the mean.
        mean = number / self.n_processes
        moments = self.all_reduce_sum(
            torch.tensor([mean, number * mean], dtype=torch.float64, device=self.device)
        )
        return bool(moments[1] <= moments[0] ** 2 * (1 + 1e-12))

    def check_n_rows(self, n_rows: int) -> None:
        """Raise an error if there are fewer training rows than processes."""
        if n_rows < self.n_processes:
            raise ValueError(
                f"data_parallel=True with {self.n_processes} processes needs a row "
                f"for each of them to train on, here are {n_rows}."
            )

    def broadcast(self, number: int) -> int:
        """Value of a number below 2**63 in the first process."""
        from accelerate.utils import broadcast

        return int(broadcast(torch.tensor([number], device=self.device))[0])


def join_process_group(
    data_parallel: bool, device: str, n_rows: int
) -> ProcessGroup | None:
    """The processes that share a fit, or None if a single process does it.

    Raises
    ------
    ValueError
        If the tables of the processes differ in their number of rows, or have too few.
    """
    if not data_parallel:
        return None
    process_group = ProcessGroup(resolve_device(device))
    if process_group.n_processes == 1:
        return None
    if not process_group.all_equal(n_rows):
        raise ValueError(
            "data_parallel=True needs the same table in every process, but their "
            f"numbers of rows differ (this one has {n_rows}). Each takes its part of "
            "every batch by itself: pass all rows to all of them."
        )
    process_group.check_n_rows(n_rows)
    return process_group
