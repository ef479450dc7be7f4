"""What a device can do, and what is done where it cannot."""

from unittest.mock import Mock

import numpy as np
import pytest
import torch
from sklearn.base import clone

from sklearn_unsup import AutoencoderTransformer, GANSampler, VAETransformer
from sklearn_unsup._nn.device import bfloat16_error, describe_error, resolve_device
from sklearn_unsup.datasets import make_mixed_table

# After so few steps.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Generated rows cover only"),
]

X, _ = make_mixed_table(100, random_state=0)
SIZES = {"hidden_layer_sizes": (8,), "max_iter": 2, "random_state": 0}
MODELS = {
    "autoencoder": AutoencoderTransformer(2, **SIZES),
    "VAE": VAETransformer(2, **SIZES),
    "GAN": GANSampler(2, density_ratio=None, **SIZES),
}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("two\n  lines"), "ValueError: two lines"),
        (NotImplementedError(), "NotImplementedError"),
    ],
)
def test_reasons_are_one_line(error, reason):
    assert describe_error(error) == reason


@pytest.mark.parametrize(
    ("device", "hint"),
    [
        ("gpu", "; did you mean 'cuda'?"),
        ("gpu:1", "; did you mean 'cuda:1'?"),
        ("CUDA", "; did you mean 'cuda'?"),
        ("cdua:0", "; did you mean 'cuda:0'?"),
        ("cpuu", "; did you mean 'cpu'?"),
        ("abacus", "."),
    ],
)
def test_devices_that_do_not_exist(device, hint):
    with pytest.raises(ValueError, match="cannot be used here") as raised:
        resolve_device(device)
    assert str(raised.value) == (
        f"device={device!r} cannot be used here: there is no such device{hint} Pass "
        "'auto', 'cpu', or, on a machine with a GPU, 'cuda' or 'cuda:0'."
    )


def test_devices_that_this_machine_lacks(monkeypatch):
    """Torch explains in several lines."""
    with pytest.raises(
        ValueError, match="device='cuda:99' cannot be used here: .*CUDA"
    ):
        resolve_device("cuda:99")

    for more in ("", "\nCompile with ...", ". This could be because ...\nCPU: ..."):
        error = RuntimeError(f"CUDA error: invalid device ordinal{more}")
        monkeypatch.setattr(torch, "empty", Mock(side_effect=error))
        with pytest.raises(ValueError, match=r"CUDA error: invalid device ordinal\. P"):
            resolve_device("cuda:99")


@pytest.mark.parametrize("device", ["meta", "hpu"])
def test_devices_that_hold_no_numbers(device):
    with pytest.raises(ValueError, match=f"device='{device}' cannot be used here: "):
        resolve_device(device)


def test_there_is_bfloat16(device):
    """Torch computes it on every processor; GPUs from 2020 on have it."""
    if device == "cuda" and torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("an older GPU")
    assert bfloat16_error(device) is None


@pytest.mark.parametrize(
    ("capability", "lacks"), [((7, 5), True), ((8, 0), False), ((12, 0), False)]
)
def test_older_gpus_only_emulate_it(capability, lacks, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    # Where the capability does not tell, a product does: there is no GPU for it here.
    monkeypatch.setattr(torch, "ones", lambda *args, **kwargs: 1 / 0)
    fault = bfloat16_error("cuda:1")
    assert ("bfloat16 needs 8.0" in fault) is lacks
    assert ("ZeroDivisionError" in fault) is not lacks


def test_a_product_of_another_type_is_a_fault(monkeypatch):
    """Some devices only turn the casts off."""
    cast = torch.autocast
    monkeypatch.setattr(torch, "autocast", lambda *args, **kw: cast("cpu", None, False))
    assert bfloat16_error("cpu") == f"torch {torch.__version__}"


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "error",
    [
        RuntimeError,
        pytest.param(TypeError, marks=pytest.mark.slow),
        pytest.param(NotImplementedError, marks=pytest.mark.slow),
    ],
)
def test_without_bfloat16_a_fit_is_one_in_float32(name, error, monkeypatch):
    """To the last bit, and said once, however often the model is trained further."""
    exact = clone(MODELS[name]).fit(X)
    mixed = clone(MODELS[name]).set_params(mixed_precision=True, warm_start=True)
    cast = torch.autocast

    def failing(device_type, dtype=None, enabled=True, **kwargs):
        if enabled:
            raise error("no bfloat16 in this processor")
        return cast(device_type, dtype, enabled, **kwargs)

    monkeypatch.setattr(torch, "autocast", failing)
    with pytest.warns(RuntimeWarning, match="mixed_precision=True needs") as said:
        mixed.fit(X)
    curve, weights = list(mixed.loss_curve_), mixed.net_.weights()
    weights = {key: tensor.clone() for key, tensor in weights.items()}
    mixed.fit(X)
    [words] = [str(w.message) for w in said if "cover only" not in str(w.message)]
    assert "no bfloat16 in this processor" in words
    assert "device='cpu'" in words
    np.testing.assert_array_equal(curve, exact.loss_curve_)
    for key, tensor in exact.net_.weights().items():
        assert torch.equal(weights[key], tensor), key
    assert "precision_error_" not in mixed.net_.__getstate__()
