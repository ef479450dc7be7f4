"""Devices: the meaning of `device`, what a device can do, and its memory."""

import difflib
import re
import threading
import warnings
from contextlib import contextmanager, suppress

import torch

from .._warnings import warn_user

# Maximum fraction of a GPU's free memory that an encoded table may take. It is below
# one half because early stopping copies the table when it splits it.
MAX_TABLE_FRACTION = 0.4
# Protects state that torch has once per process, such as its global generators.
torch_lock = threading.RLock()
# Number of blocks of `allow_tf32_products` that threads are in, and the setting to
# restore after the last of them.
_n_tf32_blocks, _setting_before = 0, None
_thread_local = threading.local()


def resolve_device(device):
    """The torch device, as a string, that a `device` parameter means on this machine.

    Raises
    ------
    ValueError
        If this machine has no such device.
    """
    if str(device) == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    allowed = "'auto', 'cpu', or, on a machine with a GPU, 'cuda' or 'cuda:0'"
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        # Torch's own message lists some 20 kinds of devices.
        raise ValueError(
            f"device={device!r} cannot be used here: there is no such device"
            f"{_similar_device(device)} Pass {allowed}."
        ) from error
    try:
        torch.empty(0, device=resolved).cpu()  # On "meta" there are no numbers.
    except (RuntimeError, AssertionError, ImportError) as error:
        # Of what torch says the first sentence; a list of its backends may follow.
        reason = re.split(r"\n|\.(?:\s|$)", str(error), maxsplit=1)[0]
        raise ValueError(
            f"device={device!r} cannot be used here: {reason}. Pass {allowed} and a "
            "CUDA build of torch."
        ) from error
    return str(resolved)


def _similar_device(device):
    """End of a sentence that asks for the device that a misspelt one may stand for."""
    kind, colon, index = str(device).lower().partition(":")
    names = {"auto": "auto", "cpu": "cpu", "cuda": "cuda", "gpu": "cuda"}
    near = difflib.get_close_matches(kind, names, n=1)
    if not near:
        return "."
    # Only GPUs are numbered.
    suffix = colon + index if names[near[0]] == "cuda" and index.isdecimal() else ""
    return f"; did you mean {names[near[0]] + suffix!r}?"


def usable_device(device):
    """The device that a model was saved on, or a substitute that this machine has.

    Warns if a model of a GPU has to be loaded onto the CPU.
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
    exists = device.index is None or device.index < torch.cuda.device_count()
    return str(device) if exists else "cuda"


def describe_error(error):
    """Type and message of an exception, in one line."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def bfloat16_error(device):
    """Reason why networks cannot run in bfloat16 on a device, or None if they can.

    A GPU that only emulates bfloat16 counts as one that cannot, because emulation is
    slower than float32.
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
            warnings.simplefilter("ignore")  # The caller gives a clearer warning.
            with torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
                product = weight @ weight
        product.sum().backward()
    except Exception as error:
        return describe_error(error)
    return None if product.dtype == torch.bfloat16 else f"torch {torch.__version__}"


def fits_on(device, n_bytes):
    """Whether a table of this size leaves enough memory of a device for training."""
    device = torch.device(device)
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return n_bytes <= MAX_TABLE_FRACTION * free


@contextmanager
def allow_tf32_products(device):
    """Compute float32 products in TF32 on GPUs within the block.

    Torch has one setting for all threads. The first block that is entered changes it,
    and the last one that is left restores it.
    """
    global _n_tf32_blocks, _setting_before
    if torch.device(device).type != "cuda":
        yield
        return
    matmul = torch.backends.cuda.matmul
    name, value = "allow_tf32", True
    if hasattr(matmul, "fp32_precision"):
        name, value = "fp32_precision", "tf32"
    with torch_lock:
        if _n_tf32_blocks == 0:
            _setting_before = getattr(matmul, name)
            setattr(matmul, name, value)
        _n_tf32_blocks += 1
    try:
        yield
    finally:
        with torch_lock:
            _n_tf32_blocks -= 1
            if _n_tf32_blocks == 0:
                setattr(matmul, name, _setting_before)


@contextmanager
def freed_memory():
    """Give the memory that torch caches on GPUs back at the end of the block."""
    try:
        yield
    finally:
        if torch.cuda.is_initialized():
            # The lock keeps this out of a graph capture of another thread. An error
            # of this call must not hide an error of the block.
            with torch_lock, suppress(RuntimeError):
                torch.cuda.empty_cache()


@contextmanager
def side_stream(device):
    """Run the block on a CUDA stream of its own, in order with the work around it.

    Each thread reuses one stream per device, because CUDA libraries keep memory for
    every stream that they are called on.
    """
    streams = vars(_thread_local).setdefault("streams", {})
    device = torch.device(device)
    if device not in streams:
        streams[device] = torch.cuda.Stream(device)
    outer_stream, stream = torch.cuda.current_stream(device), streams[device]
    stream.wait_stream(outer_stream)
    try:
        with torch.cuda.stream(stream):
            yield
    finally:
        outer_stream.wait_stream(stream)


@contextmanager
def preserve_torch_rng(device="cpu", enabled=True):
    """Let the block use torch's global generators, and restore their states after it.

    Only one thread at a time may be in such a block. All threads share the generators,
    so that a second fit in another thread, as in a worker of Dask or joblib, would get
    other weights from the same seed. It does nothing if not `enabled`.
    """
    if not enabled:
        yield
        return
    device = torch.device(device)
    forked = [device] if device.type == "cuda" else []
    with torch_lock, torch.random.fork_rng(forked):
        yield
