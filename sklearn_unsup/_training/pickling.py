"""State of a net in a pickle: plain values and numpy arrays, without torch objects."""

import numpy as np
import torch

from .._nn.device import preserve_torch_rng, usable_device
from .._nn.random import BatchGenerator
from .averaging import WeightAverage

# Attributes that loading or the first step creates again.
RECREATED = "virtual_params_", "last_loss_", "last_row_loss_", "generator_"
# Attributes that exist only during a call of `fit`.
DURING_FIT = (
    *("process_group_", "captured_steps_", "pending_"),
    *("evaluation_rows_", "row_stop_"),
)
# Reasons why this machine lacks a feature, which another one may have.
MACHINE_ERRORS = "capture_error_", "precision_error_"


def get_state(net) -> dict:
    """State of a net for a pickle, with arrays in the place of torch objects."""
    state = vars(net).copy()
    for name in (*RECREATED, *DURING_FIT, *MACHINE_ERRORS):
        state.pop(name, None)
    average = state.pop("average_", None)
    # During training, as in a callback, the parameters do not hold the average.
    if average is not None and average.latest is not None:
        state["average_"] = to_arrays(average.state_dict())
    if getattr(net, "initialized_", False):
        state["state_dicts_"] = {
            name: to_arrays(state.pop(f"{name}_").state_dict())
            for name in net.part_names
        }
    return state


def set_state(net, state: dict) -> None:
    """Restore a net without attributes from the result of :func:`get_state`."""
    state = dict(state)
    state_dicts = state.pop("state_dicts_", None)
    average = state.pop("average_", None)
    state["device"] = usable_device(state["device"])
    vars(net).update(state)
    if state_dicts is None:
        return
    device = torch.device(net.device)
    with preserve_torch_rng(device):
        net.rebuild_parts()
    for name, arrays in state_dicts.items():
        getattr(net, f"{name}_").load_state_dict(to_tensors(arrays))
    net.generator_ = BatchGenerator(device)
    if average is not None:
        net.average_ = WeightAverage(net.module_.parameters())
        net.average_.load_state_dict(to_tensors(average))


def to_arrays(state):
    """Replace the tensors in a nested state of dicts and lists by arrays."""
    if isinstance(state, torch.Tensor):
        return state.detach().cpu().numpy()
    if isinstance(state, dict):
        return {key: to_arrays(value) for key, value in state.items()}
    return [to_arrays(item) for item in state] if isinstance(state, list) else state


def to_tensors(state):
    """Inverse of `to_arrays`; the tensors are on the CPU and share no memory."""
    if isinstance(state, np.ndarray):
        return torch.tensor(state)
    if isinstance(state, dict):
        return {key: to_tensors(value) for key, value in state.items()}
    return [to_tensors(item) for item in state] if isinstance(state, list) else state
