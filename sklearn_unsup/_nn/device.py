"""Where nets live: the meaning of `device`, and memory that is given back."""

import threading
import warnings
from contextlib import contextmanager, suppress

import torch

from .._warnings import warn_user

# Of the free memory of a GPU that an encoded table may take: early stopping makes two
# tables of it.
TABLE_SHARE = 0.4
# What torch has one of for all threads is used by one at a time, or counted.
lock = threading.RLock()
_n_blocks, _switch_before = 0, None
_of_thread = threading.local()


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
        warn_user(
            f"This model was saved on {device}; here is no GPU, so it comes to the "
            "CPU.",
        )
        return "cpu"
    there = device.index is None or device.index < torch.cuda.device_count()
    return str(device) if there else "cuda"


def describe_error(error):
    """What an exception says, in one line."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def bfloat16_fault(device):
    """Why networks cannot run in bfloat16 on a device, or None if they can.

    A GPU that only emulates it is one that cannot: there it is slower than float32.
    """
    device = torch.device(device)
    try:
        if device.type == "cuda" and torch.version.hip is None:
            capability = torch.cuda.get_device_capability(device)
            if capability < (8, 0):
                major, minor = capability
                return (
                    f"a GPU of compute capability {major}.{minor}, bfloat16 needs 8.0"
                )
        weight = torch.ones(8, 8, device=device, requires_grad=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the caller has a warning of its own
            with torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
                product = weight @ weight
        product.sum().backward()
    except Exception as error:
        return describe_error(error)
    return None if product.dtype == torch.bfloat16 else f"torch {torch.__version__}"


def fits_on(device, n_bytes):
    """Whether a table of that size leaves enough of a device's memory for training."""
    device = torch.device(device)
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return n_bytes <= TABLE_SHARE * free


@contextmanager
def allow_tf32_products(device):
    """Products of float32 in TF32 on GPUs in the block, whatever is set around it.

    The switch is one for all threads: the first block turns it, the last one back.
    """
    global _n_blocks, _switch_before
    if torch.device(device).type != "cuda":
        yield
        return
    matmul = torch.backends.cuda.matmul
    name, on = "allow_tf32", True
    if hasattr(matmul, "fp32_precision"):
        name, on = "fp32_precision", "tf32"
    with lock:
        if _n_blocks == 0:
            _switch_before = getattr(matmul, name)
            setattr(matmul, name, on)
        _n_blocks += 1
    try:
        yield
    finally:
        with lock:
            _n_blocks -= 1
            if _n_blocks == 0:
                setattr(matmul, name, _switch_before)


@contextmanager
def freed_memory():
    """Give cached memory of GPUs back once the work in the block is done."""
    try:
        yield
    finally:
        if torch.cuda.is_initialized():
            # Not amid a recording of another thread; and what cannot be given back
            # must not hide how the work ended.
            with lock, suppress(RuntimeError):
                torch.cuda.empty_cache()


@contextmanager
def side_stream(device):
    """A CUDA stream for the work in the block, in order with what is around it.

    A thread has one for each device: libraries keep memory for every stream they meet.
    """
    streams = vars(_of_thread).setdefault("streams", {})
    device = torch.device(device)
    if device not in streams:
        streams[device] = torch.cuda.Stream(device)
    around, stream = torch.cuda.current_stream(device), streams[device]
    stream.wait_stream(around)
    try:
        with torch.cuda.stream(stream):
            yield
    finally:
        around.wait_stream(stream)


@contextmanager
def preserve_torch_rng(device="cpu"):
    """Let the block draw from torch's global generators and put them back after it.

    One thread at a time: all share them, and a second fit, in a worker of Dask or of
    joblib that has several threads, would draw other weights under the same seed.
    """
    device = torch.device(device)
    forked = [device] if device.type == "cuda" else []
    with lock, torch.random.fork_rng(forked):
        yield
