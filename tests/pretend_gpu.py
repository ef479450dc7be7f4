"""A GPU that is pretended: tensors compute on the CPU and refuse to meet others there.

It finds tensors and generators that a machine with a GPU would have on the wrong side.
It knows nothing of kernels, streams, graphs, memory and speed. `install` changes torch
for the whole process, so that it is for processes of their own.
"""

import contextlib
import os

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device("cuda:0")
# Operations that take indices, and sources of copies, from the other side.
TAKE_INDICES = {"aten::index", "aten::index_put_", "aten::index_put"}
TAKE_INDICES |= {"aten::_index_put_impl_", "aten::_unsafe_index"}
COPY = {"aten::copy_", "aten::_to_copy", "aten::_foreach_copy_"}
CPUGenerator, tensor_to = torch.Generator, torch.Tensor.to
# By the address of a generator: whether it is one of the GPU.
generator_is_on_gpu = {}


class GPUTensor(torch.Tensor):
    """A tensor on the CPU that says it is on a GPU."""

    @staticmethod
    def __new__(cls, held):
        tensor = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device="cpu",
        )
        tensor.held = held
        return tensor

    device = property(lambda self: GPU)
    is_cuda = property(lambda self: True)

    def cpu(self):
        return self.detach().held

    def tolist(self):
        return self.cpu().tolist()

    def numpy(self, **kwargs):
        raise TypeError("A tensor on a GPU has no array: call cpu() first.")

    __array__ = numpy

    def __deepcopy__(self, memo):
        copied = GPUTensor(self.held.clone()).requires_grad_(self.requires_grad)
        if isinstance(self, torch.nn.Parameter):
            copied = torch.nn.Parameter(copied, self.requires_grad)
        memo[id(self)] = copied
        return copied

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return call(function, args, dict(kwargs or {}))


class Factories(TorchDispatchMode):
    """Sends operations without any tensor, such as `torch.zeros`, the same way."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return call(function, args, dict(kwargs or {}))


class Generator(CPUGenerator):
    """A generator of either side."""

    def __new__(cls, device="cpu"):
        generator = super().__new__(cls, "cpu")
        generator_is_on_gpu[generator._cdata] = is_gpu(device)
        return generator

    def __init__(self, device="cpu"):
        pass

    @property
    def device(self):
        return GPU if generator_is_on_gpu[self._cdata] else torch.device("cpu")

    def manual_seed(self, seed):
        super().manual_seed(seed)
        return self


def is_gpu(device):
    return device is not None and torch.device(device).type == "cuda"


def call(function, args, kwargs):
    """Call an operation of torch on the tensors that its arguments hold."""
    leaves = tree_leaves((args, kwargs))
    own = [leaf for leaf in leaves if isinstance(leaf, GPUTensor)]
    device = kwargs.get("device")
    name, is_own = function._schema.name, bool(own) or is_gpu(device)
    for leaf in leaves:
        if isinstance(leaf, CPUGenerator):
            side = generator_is_on_gpu.get(leaf._cdata, False)
            assert side == is_own, f"{name} draws from a generator of the other side"
    if not is_own:
        return function(*args, **kwargs)
    if own and name not in COPY:
        for leaf in leaves:
            if isinstance(leaf, torch.Tensor) and not isinstance(leaf, GPUTensor):
                is_index = name in TAKE_INDICES and not leaf.is_floating_point()
                is_number = leaf.ndim == 0 and "_foreach" not in name
                # In a backward pass torch makes zeros on what it takes for the device.
                is_zero = torch._C._current_graph_task_id() >= 0 and not leaf.any()
                is_allowed = is_index or is_number or is_zero
                assert is_allowed, f"{name} gets a tensor of the CPU: {leaf.shape}"
    holders = {id(tensor.held): tensor for tensor in own}
    args, kwargs = tree_map(
        lambda leaf: leaf.held if isinstance(leaf, GPUTensor) else leaf, (args, kwargs)
    )
    if device is not None:
        kwargs["device"] = torch.device("cpu")
    kwargs.pop("pin_memory", None)
    result = function(*args, **kwargs)

    def on_its_side(leaf):
        if not isinstance(leaf, torch.Tensor):
            return leaf
        holder = holders.get(id(leaf))
        if holder is not None and holder.shape == leaf.shape:
            return holder
        return GPUTensor(leaf)

    return tree_map(on_its_side, result)


def move(tensor, *args, **kwargs):
    """The method `to` of tensors."""
    device, others = kwargs.pop("device", None), []
    kwargs.pop("non_blocking", None)
    for arg in args:
        if isinstance(arg, torch.Tensor):
            device = arg.device
            others.append(arg.dtype)
        elif isinstance(arg, str | torch.device):
            device = arg
        elif not isinstance(arg, bool | None):
            others.append(arg)
    if device is not None and is_gpu(device) != isinstance(tensor, GPUTensor):
        held = tensor.detach()
        tensor = GPUTensor(held.clone()) if is_gpu(device) else held.held.clone()
    return tensor_to(tensor, *others, **kwargs) if others or kwargs else tensor


def on_device(function):
    def made(data, *args, device=None, **kwargs):
        if not isinstance(data, GPUTensor):
            data = function(data, *args, **kwargs)
        return data if device is None else data.to(device)

    return made


@contextlib.contextmanager
def fork_rng(devices=(), **kwargs):
    state = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(state)


def install():
    """Let torch pretend to have a GPU, until the process ends."""
    os.environ["SKLEARN_UNSUP_CUDA_GRAPHS"] = "0"
    torch.Generator, torch.random.fork_rng = Generator, fork_rng
    torch.Tensor.to = move
    torch.Tensor.pin_memory = lambda tensor: tensor
    torch.Tensor.new_tensor = lambda tensor, data: torch.tensor(
        data, dtype=tensor.dtype, device=tensor.device
    )
    torch.tensor, torch.as_tensor = map(on_device, (torch.tensor, torch.as_tensor))
    torch.cuda._lazy_init = lambda: None
    torch.cuda.is_available = lambda: True
    torch.cuda.device_count = lambda: 1
    torch.cuda.mem_get_info = lambda device=None: (2**33, 2**33)
    torch.cuda.get_device_capability = lambda device=None: (9, 0)
    # Without it modules keep the Python objects of parameters that are moved.
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    Factories().__enter__()
