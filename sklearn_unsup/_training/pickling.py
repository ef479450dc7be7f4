"""Nets in pickles: plain values and numpy arrays, made anew where they are loaded."""

import numpy as np
import torch

from .._nn.device import preserve_torch_rng, usable_device
from .._nn.random import BatchGenerator
from .averaging import StreamAverage

# Made anew by the first step, or where the net is loaded.
REMADE = "virtual_params_", "last_loss_", "generator_"
# They belong to one run of training.
OF_A_RUN = "peers_", "captured_steps_", "pending_"
# What this machine could not do, another one may.
FAULTS = "capture_error_", "precision_error_"


def state_of(net) -> dict:
    """What a pickle of a net holds: no torch object and no pickle within."""
    state = vars(net).copy()
    for name in (*REMADE, *OF_A_RUN, *FAULTS):
        state.pop(name, None)
    average = state.pop("average_", None)
    if average is not None and average.latest is not None:  # not amid training
        state["average_"] = to_arrays(average.state())
    if getattr(net, "initialized_", False):
        state["parts_"] = {
            name: to_arrays(state.pop(f"{name}_").state_dict())
            for name in net.part_names
        }
    return state


def restore(net, state: dict) -> None:
    """Give a net, which has nothing yet, the state that :func:`state_of` told of."""
    state = dict(state)
    parts, average = state.pop("parts_", None), state.pop("average_", None)
    state["device"] = usable_device(state["device"])
    vars(net).update(state)
    if parts is None:
        return
    device = torch.device(net.device)
    with preserve_torch_rng(device):
        net.rebuild_parts()
    for name, arrays in parts.items():
        getattr(net, f"{name}_").load_state_dict(to_tensors(arrays))
    net.generator_ = BatchGenerator(device)
    if average is not None:
        net.average_ = StreamAverage(net.module_.parameters())
        net.average_.load(to_tensors(average))


def to_arrays(state):
    """A state of dicts, lists and tensors with arrays in the place of tensors."""
    if isinstance(state, torch.Tensor):
        return state.detach().cpu().numpy()
    if isinstance(state, dict):
        return {key: to_arrays(value) for key, value in state.items()}
    return [to_arrays(item) for item in state] if isinstance(state, list) else state


def to_tensors(state):
    """Inverse of `to_arrays`; the tensors are copies on the CPU."""
    if isinstance(state, np.ndarray):
        return torch.tensor(state)
    if isinstance(state, dict):
        return {key: to_tensors(value) for key, value in state.items()}
    return [to_tensors(item) for item in state] if isinstance(state, list) else state
