"""Where nets live: the meaning of `device`, and memory that is given back."""

from contextlib import contextmanager

import torch


def resolve_device(device):
    """The torch device, as a string, that a `device` parameter means here.

    Raises
    ------
    ValueError
        If it is no device, or not one of this machine.
    """
    if str(device) == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        resolved = torch.device(device)
        torch.empty(0, device=resolved)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device={device!r} cannot be used here ({error}). Pass 'auto', 'cpu', or "
            "'cuda' on a machine with a GPU and a CUDA build of torch."
        ) from error
    return str(resolved)


@contextmanager
def freed_memory():
    """Give cached memory of GPUs back once the work in the block is done."""
    try:
        yield
    finally:
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
