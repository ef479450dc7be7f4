"""Where nets live: the meaning of `device`, and memory that is given back."""

import warnings
from contextlib import contextmanager

import torch

TABLE_SHARE = 0.7  # of the free memory of a GPU that an encoded table may take


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


def usable_device(device):
    """The device that something was saved on, or what there is in its place here.

    Warns if that is the CPU.
    """
    device = torch.device(device)
    if device.type != "cuda":
        return str(device)
    if not torch.cuda.is_available():
        warnings.warn(
            f"This model was saved on {device}; here is no GPU, so it comes to the "
            "CPU.",
            stacklevel=4,
        )
        return "cpu"
    there = device.index is None or device.index < torch.cuda.device_count()
    return str(device) if there else "cuda"


def may_lie_on(device, n_bytes):
    """Whether a table of that size leaves enough of a device's memory for training."""
    device = torch.device(device)
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return n_bytes <= TABLE_SHARE * free


@contextmanager
def tensor_cores(device):
    """Products of float32 in TF32 on GPUs in the block, whatever is set around it."""
    if torch.device(device).type != "cuda":
        yield
        return
    matmul = torch.backends.cuda.matmul
    name = "fp32_precision" if hasattr(matmul, "fp32_precision") else "allow_tf32"
    before = getattr(matmul, name)
    setattr(matmul, name, "tf32" if name == "fp32_precision" else True)
    try:
        yield
    finally:
        setattr(matmul, name, before)


@contextmanager
def freed_memory():
    """Give cached memory of GPUs back once the work in the block is done."""
    try:
        yield
    finally:
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
