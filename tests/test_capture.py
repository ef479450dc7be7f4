"""Steps as CUDA graphs, replayed here by a tape of the operations that a graph holds.

What a graph cannot do a tape cannot either: see a number that Python changed, read the
device, find rows at another address.
"""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sklearn_unsup import AutoencoderTransformer, GANSampler, VAETransformer
from sklearn_unsup._capture import MIN_STEPS, N_EAGER, CapturedSteps
from sklearn_unsup._devices import tensor_cores
from sklearn_unsup._encoding import upload
from sklearn_unsup._optimizers import LeanAdamW
from sklearn_unsup.datasets import make_mixed_table

# After so few steps.
pytestmark = pytest.mark.filterwarnings("ignore:Generated rows cover only")

# What would make the host wait for a GPU, or copy to it amid a step.
READS = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.is_nonzero.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.lift_fresh.default,
    torch.ops.aten.equal.default,
}


class Operations(TorchDispatchMode):
    """Every operation below autograd, with its arguments and results."""

    def __init__(self):
        super().__init__()
        self.done = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        self.done.append((function, args, kwargs, result))
        return result


class Tape:
    """The stand-in for a graph: the same operations on the same memory."""

    def __init__(self, run, generator):
        del generator  # the operations hold it
        self.first, self.n_replays = {}, 0
        with Operations() as operations:
            self.output = run()
        self.done = operations.done

    @torch.no_grad()
    def replay(self):
        self.n_replays += 1
        if self.n_replays == 1:  # unlike a graph's, this recording did the step
            return self.output
        for function, args, kwargs, before in self.done:
            after = function(*args, **kwargs)
            pairs = zip(tree_leaves(before), tree_leaves(after), strict=True)
            for old, new in pairs:
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)
        return self.output


class Broken(Tape):
    def __init__(self, run, generator):
        raise RuntimeError("operation not permitted when stream is capturing")


class Heard(Callback):
    """Keeps what it needs to know of how steps were made."""

    def on_epoch_end(self, net, **kwargs):
        self.captured = net.captured_


@pytest.fixture
def on_tape(monkeypatch):
    """Nets record their steps, whatever the device."""

    def switch(recorder=Tape):
        monkeypatch.setattr(CapturedSteps, "suit", staticmethod(lambda *args: True))
        monkeypatch.setattr(CapturedSteps, "recorder", recorder)
        monkeypatch.setattr("sklearn_unsup._nets.own_stream", nullcontext)

    return switch


X, _ = make_mixed_table(330, random_state=0)  # the last batch of 32 has 10 rows
MODELS = {
    "autoencoder": AutoencoderTransformer(4, hidden_layer_sizes=(16,), ordered=True),
    "VAE": VAETransformer(4, hidden_layer_sizes=(16,)),
    "latent": VAETransformer(4, hidden_layer_sizes=(16,), sampling="latent"),
    "GAN": GANSampler(4, hidden_layer_sizes=(16,), critic_hidden_layer_sizes=(16,)),
    "Wasserstein": GANSampler(
        4,
        hidden_layer_sizes=(16,),
        critic_hidden_layer_sizes=(16,),
        loss="wasserstein",
        n_critic_steps=2,
    ),
}


def fitted(name, **parameters):
    heard = Heard()
    options = {"max_iter": 30, "batch_size": 32, "random_state": 0, **parameters}
    model = MODELS[name].set_params(density_ratio=None, callbacks=[heard], **options)
    return model.fit(X), heard


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_replayed_steps_learn_what_others_do(name, early_stopping, on_tape):
    """Rates, warm-ups, averages and noise move on though Python no longer acts.

    A tape rounds as an eager step does: the losses agree to the last digits.
    """
    parameters = {"early_stopping": early_stopping, "n_iter_no_change": 99}
    eager, heard = fitted(name, **parameters)
    assert heard.captured is None
    on_tape()
    replayed, heard = fitted(name, **parameters)
    graphs = heard.captured.graphs
    n_forms = 2 if name == "Wasserstein" else 1
    assert len(graphs) == n_forms
    n_full = 30 * ((297 if early_stopping else 330) // 32)
    assert sum(graph.n_replays for graph in graphs.values()) == (
        n_full - n_forms * N_EAGER
    )
    np.testing.assert_allclose(replayed.loss_curve_, eager.loss_curve_, rtol=1e-4)
    for key, tensor in eager.net_.weights().items():
        close = torch.isclose(replayed.net_.weights()[key], tensor, 1e-2, 1e-3)
        assert close.float().mean() > 0.99, key


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("mixed_precision", [False, True])
def test_a_step_never_reads_the_device(name, mixed_precision):
    """Nor copies to it: a GPU would stand still, and a graph could not be recorded."""
    model, _ = fitted(name, max_iter=1, mixed_precision=mixed_precision)
    net = model.net_
    rows = upload(model, X[:32], np.random.default_rng(0))
    form, numbers = net.step_form()
    net.learn(rows[:32], form, **numbers)  # lasting indices are made here
    with Operations() as operations:
        net.learn(rows[:32], form, **numbers)
    called = {function for function, *_ in operations.done}
    assert torch.ops.aten._fused_adamw_.default in called
    assert not called & READS


def test_drawing_atoms_never_reads_the_device():
    model, _ = fitted("VAE", max_iter=1)
    rows = upload(model, X, np.random.default_rng(0))
    assert rows.atoms
    batch = rows.x_num.clone(), rows.x_cat
    with Operations() as operations:
        rows.atoms.redraw(*batch, torch.Generator())
    called = {function for function, *_ in operations.done}
    assert torch.ops.aten.searchsorted.Tensor in called
    assert not called & READS


def test_the_watch_sees_reads():
    """Else the two tests above would say nothing."""
    with Operations() as operations:
        torch.zeros(1).item()
        torch.tensor([1.0])
    assert len({function for function, *_ in operations.done} & READS) == 2


def test_a_failed_recording_falls_back(on_tape):
    eager, _ = fitted("VAE")
    on_tape(Broken)
    model, heard = fitted("VAE")
    assert not heard.captured.graphs
    assert "not permitted" in model.net_.capture_error_
    np.testing.assert_allclose(model.loss_curve_, eager.loss_curve_, rtol=1e-6)


def test_short_runs_are_not_recorded(on_tape):
    on_tape()
    n_epochs = MIN_STEPS // 11
    assert fitted("autoencoder", max_iter=n_epochs)[1].captured is None
    assert fitted("autoencoder", max_iter=n_epochs + 1)[1].captured is not None


class Listener(Heard):
    def on_batch_end(self, net, **kwargs):
        pass


def test_listeners_per_batch_keep_steps_eager(on_tape):
    on_tape()
    heard = Listener()
    MODELS["autoencoder"].set_params(callbacks=[heard], max_iter=30).fit(X)
    assert heard.captured is None


def test_nothing_of_the_graphs_is_kept(on_tape):
    on_tape()
    model, _ = fitted("GAN", max_iter=10)
    assert model.net_.captured_ is None
    assert "captured_" not in vars(model.net_)


@pytest.mark.parametrize(
    ("device", "optimizer", "suits"),
    [
        ("cpu", LeanAdamW, False),
        ("cuda", LeanAdamW, True),
        ("cuda", torch.optim.AdamW, False),
    ],
)
def test_what_can_be_recorded(device, optimizer, suits, monkeypatch):
    monkeypatch.setattr(
        torch.cuda.CUDAGraph, "register_generator_state", None, raising=False
    )
    made = optimizer([torch.nn.Parameter(torch.zeros(1))])
    assert CapturedSteps.suit(torch.device(device), [made]) is suits


def test_tf32_is_on_in_the_block_alone():
    """Of blocks that overlap, as those of threads do, until the last one ends."""
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    with tensor_cores("cpu"):
        assert matmul.fp32_precision == before
    first, second = tensor_cores("cuda"), tensor_cores("cuda:1")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert matmul.fp32_precision == "tf32" != before
    second.__exit__(None, None, None)
    assert matmul.fp32_precision == before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("name", MODELS)
def test_graphs_of_cuda(name):
    """The real ones: steps are recorded, and learn what eager ones do."""
    graphs, heard = fitted(name, device="cuda")
    assert heard.captured.graphs
    assert graphs.net_.capture_error_ is None
    net = graphs.net_
    assert np.isfinite(graphs.loss_curve_).all()
    assert graphs.loss_curve_[-1] < graphs.loss_curve_[0] or "GAN" in type(net).__name__
