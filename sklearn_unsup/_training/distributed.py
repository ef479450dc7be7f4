"""Processes that share a fit, by way of Hugging Face Accelerate."""

import os

import torch
from torch import Tensor

from .._nn.device import resolve_device


def backend_for(device: str) -> str | None:
    """By what the processes of a fit talk to each other; None: Accelerate's choice.

    NCCL among GPUs, unless there are fewer than processes: it refuses one that two
    processes share.
    """
    if torch.device(device).type != "cuda":
        return None
    n_local = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    enough = n_local <= torch.cuda.device_count()
    return "nccl" if enough and torch.distributed.is_nccl_available() else "gloo"


class Peers:
    """The processes that were launched together, each with the same table.

    Parameters
    ----------
    device : str
        "cpu", or "cuda" for GPUs, which Accelerate deals out among the processes.

    Attributes
    ----------
    n_processes, rank : int
        How many there are, and which one this is.
    device : str
        Of this process.

    Raises
    ------
    ImportError
        If accelerate is not installed.
    RuntimeError
        If Accelerate takes one of several processes for the only one.
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
        """Replace tensors by the sum over the processes of `weight` times theirs.

        All in one message: small ones would cost a round trip each. In the group that
        Accelerate has set up, but in place, where its `reduce` makes two copies.
        """
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors]).mul_(weight)
        torch.distributed.all_reduce(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def all_equal(self, number: int) -> bool:
        """Whether all processes have the same number."""
        mean = number / self.n_processes
        differences = self.all_reduce_sum(
            torch.tensor([mean, number * mean], dtype=torch.float64, device=self.device)
        )
        return bool(differences[1] <= differences[0] ** 2 * (1 + 1e-12))

    def check_rows(self, n_rows: int) -> None:
        """Refuse fewer rows to train on than there are processes."""
        if n_rows < self.n_processes:
            raise ValueError(
                f"data_parallel=True with {self.n_processes} processes needs a row "
                f"for each of them to train on, here are {n_rows}."
            )

    def broadcast(self, number: int) -> int:
        """The number of the first process, below 2**63."""
        from accelerate.utils import broadcast

        return int(broadcast(torch.tensor([number], device=self.device))[0])


def find_peers(data_parallel: bool, device: str, n_rows: int) -> Peers | None:
    """The processes that a fit is shared with, or None.

    Raises
    ------
    ValueError
        If their tables differ in the number of rows, or have too few.
    """
    if not data_parallel:
        return None
    peers = Peers(resolve_device(device))
    if peers.n_processes == 1:
        return None
    if not peers.all_equal(n_rows):
        raise ValueError(
            "data_parallel=True needs the same table in every process, but their "
            f"numbers of rows differ (this one has {n_rows}). Each takes its part of "
            "every batch by itself: pass all rows to all of them."
        )
    peers.check_rows(n_rows)
    return peers
