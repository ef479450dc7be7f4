"""Steps as CUDA graphs, replayed here by a tape of the operations that a graph holds.

What a graph cannot do a tape cannot either: see a number that Python changed, read the
device, find rows at another address.
"""

import warnings
from contextlib import contextmanager, nullcontext
from itertools import product

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import Callback
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sklearn_unsup import AutoencoderTransformer, GANSampler, VAETransformer
from sklearn_unsup._encoding import upload
from sklearn_unsup._nn.device import allow_tf32_products
from sklearn_unsup._training.cuda_graphs import (
    ENV_VAR,
    MAX_GRAPHS,
    MIN_EPOCHS,
    MIN_STEPS,
    N_EAGER_STEPS,
    CapturedSteps,
)
from sklearn_unsup._training.optimizer import LeanAdamW
from sklearn_unsup._training.vae_net import BOTH, ONLY_CODES, ONLY_ROWS
from sklearn_unsup.datasets import make_mixed_table

# After so few steps.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Generated rows cover only"),
]

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


def storages(values):
    return {
        leaf.untyped_storage().data_ptr(): leaf.untyped_storage()
        for leaf in tree_leaves(values)
        # a gradient of nothing has no memory
        if isinstance(leaf, torch.Tensor) and not leaf._is_zerotensor()
    }


class Tape:
    """The stand-in for a graph: the same operations on the same memory.

    Graphs share what they compute on the way, so that after each replay it is spoilt:
    of what was made while recording only the output may be read again.
    """

    def __init__(self, run, generator, beside=None):
        del generator, beside  # the operations hold the one, a tape shares nothing
        self.n_replays = 0
        with Operations() as operations:
            self.output = run()
        self.done = operations.done
        given, self.made = {}, {}
        for _, args, kwargs, result in self.done:
            given.update(storages((args, kwargs)))
            new = storages(result)
            self.made.update({at: new[at] for at in new if at not in given})
            given.update(new)
        for at in storages(self.output):
            self.made.pop(at, None)

    @torch.no_grad()
    def replay(self):
        self.n_replays += 1
        # Unlike a graph's, this recording did the step.
        for function, args, kwargs, before in self.done if self.n_replays > 1 else ():
            after = function(*args, **kwargs)
            pairs = zip(tree_leaves(before), tree_leaves(after), strict=True)
            for old, new in pairs:
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)
        for memory in self.made.values():
            memory.fill_(255)  # bytes of a float that is no number
        return self.output


class Heard(Callback):
    """Keeps what it needs to know of how steps were made."""

    def on_epoch_end(self, net, **kwargs):
        self.captured = net.captured_steps_


@pytest.fixture
def on_tape(monkeypatch):
    """Nets record their steps, whatever the device."""

    def switch(recorder=Tape):
        monkeypatch.setattr(CapturedSteps, "supports", staticmethod(lambda *args: True))
        monkeypatch.setattr(CapturedSteps, "recorder", staticmethod(recorder))
        monkeypatch.setattr(
            "sklearn_unsup._training.cuda_graphs.side_stream", nullcontext
        )

    return switch


class Alternating(VAETransformer):
    """Its encoder and decoder skip batches in early epochs, as of large tables."""

    def _code_interval(self, n_rows):
        return 2


X, _ = make_mixed_table(330, random_state=0)  # the last batch of 32 has 10 rows
MODELS = {
    "autoencoder": AutoencoderTransformer(4, hidden_layer_sizes=(16,), ordered=True),
    "VAE": VAETransformer(4, hidden_layer_sizes=(16,)),
    "alternating": Alternating(4, hidden_layer_sizes=(16,)),
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


def fitted(name, X=X, **parameters):
    heard = Heard()
    options = {
        "max_iter": MIN_EPOCHS,
        "batch_size": 32,
        "random_state": 0,
        **parameters,
    }
    model = clone(MODELS[name])
    model.set_params(density_ratio=None, callbacks=[heard], **options)
    return model.fit(X), heard


QUICK_CASES = {
    ("VAE", True),
    ("autoencoder", False),
}


@pytest.mark.parametrize(
    ("name", "early_stopping"),
    [
        pytest.param(
            *case, marks=[] if case in QUICK_CASES else [pytest.mark.slow], id=str(case)
        )
        for case in product(MODELS, [False, True])
    ],
)
def test_replayed_steps_learn_what_others_do(name, early_stopping, on_tape):
    """Rates, warm-ups, averages and noise move on though Python no longer acts.

    A tape rounds as an eager step does: the losses agree to the last digits.
    """
    parameters = {"early_stopping": early_stopping, "n_iter_no_change": 99}
    parameters["X"] = X[:106]  # an epoch has 4 steps, and 3 where 11 rows are held out
    eager, heard = fitted(name, **parameters)
    assert heard.captured is None
    on_tape()
    replayed, heard = fitted(name, **parameters)
    graphs = heard.captured.graphs
    # full batches and, once an epoch, a smaller one
    n_kinds = 2
    if name == "Wasserstein":
        # Every second step is of another variant: after 4 it is the first again.
        n_kinds = 4 if early_stopping else 3
    elif name == "alternating":
        # The first batch of an epoch is of the same variant; in the second half of the
        # epochs all batches are.
        n_kinds = 3 if early_stopping else 4
    assert len(graphs) == n_kinds
    assert {size for size, _ in graphs} == {32, 31 if early_stopping else 10}
    n_steps = MIN_EPOCHS * (3 if early_stopping else 4)
    assert sum(graph.n_replays for graph in graphs.values()) == (
        n_steps - n_kinds * N_EAGER_STEPS
    )
    np.testing.assert_allclose(replayed.loss_curve_, eager.loss_curve_, rtol=1e-4)
    for key, tensor in eager.net_.weights().items():
        close = torch.isclose(replayed.net_.weights()[key], tensor, 1e-2, 1e-3)
        assert close.logical_not().sum() <= 0.01 * close.numel(), key


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("mixed_precision", [False, True])
def test_a_step_never_reads_the_device(name, mixed_precision):
    """Nor copies to it: a GPU would stand still, and a graph could not be recorded."""
    model, _ = fitted(name, X[:64], max_iter=1, mixed_precision=mixed_precision)
    net = model.net_
    rows = upload(model.codec_, X[:32], model.device_, np.random.default_rng(0))
    variant, numbers = net.step_variant()
    variants = [variant]
    if name == "alternating":
        variants = [BOTH, ONLY_ROWS, ONLY_CODES]
    for variant in variants:
        # Lasting indices are made in the first step.
        net.train_on_batch(rows[:32], variant, **numbers)
        with Operations() as operations:
            net.train_on_batch(rows[:32], variant, **numbers)
        called = {function for function, *_ in operations.done}
        assert torch.ops.aten._fused_adamw_.default in called
        assert not called & READS


def test_drawing_atoms_never_reads_the_device():
    model, _ = fitted("VAE", max_iter=1)
    rows = upload(model.codec_, X, model.device_, np.random.default_rng(0))
    assert rows.dequantizer
    batch = rows.x_num.clone(), rows.x_cat
    with Operations() as operations:
        rows.dequantizer.dequantize_(*batch, torch.Generator())
    called = {function for function, *_ in operations.done}
    assert torch.ops.aten.searchsorted.Tensor in called
    assert not called & READS


def test_the_watch_sees_reads():
    """Else the two tests above would say nothing."""
    with Operations() as operations:
        torch.zeros(1).item()
        torch.tensor([1.0])
    assert len({function for function, *_ in operations.done} & READS) == 2


# ------------------------------------------------------------- what cannot be recorded

FAULTS = {
    "runtime": RuntimeError("operation not permitted when stream is capturing"),
    "type": TypeError("expected a Generator, but got BatchGenerator"),
    "attribute": AttributeError("no attribute 'register_generator_state'"),
    "not implemented": NotImplementedError("no graphs in this build"),
    "memory": torch.OutOfMemoryError("CUDA out of memory"),
    "value": ValueError("a\nreason of two lines"),
}


def failing_at_once(error):
    def recorder(run, generator, beside):
        raise error

    return recorder


def failing_amid(error):
    """A recorder that comes to the tenth operation, and like a graph's does no step."""

    class Failing(Operations):
        def __torch_dispatch__(self, *args, **kwargs):
            if len(self.done) == 10:
                raise error
            return super().__torch_dispatch__(*args, **kwargs)

    def recorder(run, generator, beside):
        with Failing():
            run()

    return recorder


class Idle:
    """Replays fail; like a graph's, the recording does no step."""

    def __init__(self, run, generator, beside):
        pass

    def replay(self):
        raise self.error


def failing_to_replay(error):
    return type("Failing", (Idle,), {"error": error})


N_EPOCHS = 5  # of 11 steps: just enough to be recorded
WAYS = {
    "at once": failing_at_once,
    "amid a step": failing_amid,
    "at the replay": failing_to_replay,
}


@pytest.fixture(scope="module")
def eager_fits():
    names = "autoencoder", "VAE", "GAN"
    return {name: fitted(name, max_iter=N_EPOCHS)[0] for name in names}


def fitted_with_one_warning(name):
    with pytest.warns(RuntimeWarning, match="could not be recorded") as said:
        model, heard = fitted(name, max_iter=N_EPOCHS)
    [words] = [str(w.message) for w in said if "cover only" not in str(w.message)]
    return model, heard, words


def assert_same_fit(model, eager):
    assert model.loss_curve_ == eager.loss_curve_
    for key, tensor in eager.net_.weights().items():
        assert torch.equal(model.net_.weights()[key], tensor), key


FAILURES = [
    (way, name, fault)
    for way in WAYS
    for name, fault in [
        *(("autoencoder", fault) for fault in FAULTS),
        ("VAE", "type"),
        ("GAN", "type"),
    ]
]
# Each way and each model, and words that differ in kind.
QUICK_FAILURES = {
    ("at once", "autoencoder", "value"),
    ("amid a step", "GAN", "type"),
    ("at the replay", "autoencoder", "memory"),
    ("at the replay", "VAE", "type"),
}


@pytest.mark.parametrize(
    ("way", "name", "fault"),
    [
        pytest.param(
            *case,
            marks=[] if case in QUICK_FAILURES else [pytest.mark.slow],
            id="-".join(case),
        )
        for case in FAILURES
    ],
)
def test_a_failure_falls_back_to_the_same_steps(way, name, fault, on_tape, eager_fits):
    on_tape(WAYS[way](FAULTS[fault]))
    model, heard, said = fitted_with_one_warning(name)
    assert f"{ENV_VAR}=0" in said
    words = " ".join(str(FAULTS[fault]).split())
    assert said.endswith(f"{type(FAULTS[fault]).__name__}: {words}")
    assert model.net_.capture_error_ in said
    assert not heard.captured.graphs
    assert_same_fit(model, eager_fits[name])


@pytest.mark.parametrize(
    "fault",
    [
        fault if fault == "runtime" else pytest.param(fault, marks=pytest.mark.slow)
        for fault in FAULTS
    ],
)
def test_a_stream_that_cannot_be_had_falls_back(
    fault, on_tape, eager_fits, monkeypatch
):
    @contextmanager
    def no_stream(device):
        raise FAULTS[fault]
        yield

    on_tape()
    monkeypatch.setattr("sklearn_unsup._training.cuda_graphs.side_stream", no_stream)
    model, _, _ = fitted_with_one_warning("autoencoder")
    assert_same_fit(model, eager_fits["autoencoder"])


def test_a_late_failure_goes_on_from_there(on_tape):
    """A step that was not made is made in the usual way, with its own noise."""

    class Tiring(Tape):
        def replay(self):
            if self.n_replays == 7:
                raise RuntimeError("out of breath")
            return super().replay()

    eager, _ = fitted("VAE", max_iter=N_EPOCHS)
    on_tape(Tiring)
    model, _, _ = fitted_with_one_warning("VAE")
    np.testing.assert_allclose(model.loss_curve_, eager.loss_curve_, rtol=1e-5)


def test_an_error_of_the_step_itself_is_raised(on_tape, monkeypatch):
    """Falling back hides nothing: the usual step meets it too."""
    on_tape()

    def broken(net, batch, variant, **numbers):
        raise RuntimeError("no step at all")

    monkeypatch.setattr("sklearn_unsup._training.net.TableNet.train_on_batch", broken)
    with pytest.raises(RuntimeError, match="no step at all"):
        fitted("autoencoder")


@pytest.mark.parametrize("way", WAYS)
def test_an_interrupt_is_one(way, on_tape):
    """Nobody who presses Ctrl-C gets the rest of the epochs instead."""
    on_tape(WAYS[way](KeyboardInterrupt()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, _ = fitted("autoencoder", max_iter=N_EPOCHS)
    assert model.n_iter_ < N_EPOCHS
    assert model.net_.capture_error_ is None


def test_a_net_that_failed_to_record_does_not_try_again(on_tape):
    tries = []

    def recorder(*args):
        tries.append(args)
        raise RuntimeError("never")

    on_tape(recorder)
    model, _, _ = fitted_with_one_warning("autoencoder")
    model.set_params(warm_start=True).fit(X)
    model.set_params(warm_start=False)
    assert len(tries) == 1
    assert "capture_error_" not in model.net_.__getstate__()
    fitted_with_one_warning("autoencoder")  # another net may
    assert len(tries) == 2


def test_recording_can_be_turned_off(on_tape, monkeypatch, eager_fits):
    on_tape()
    monkeypatch.setenv(ENV_VAR, "0")
    model, heard = fitted("autoencoder", max_iter=N_EPOCHS)
    assert heard.captured is None
    assert_same_fit(model, eager_fits["autoencoder"])
    monkeypatch.setenv(ENV_VAR, "1")
    assert fitted("autoencoder", max_iter=N_EPOCHS)[1].captured is not None
    monkeypatch.setenv(ENV_VAR, "off")
    with pytest.raises(ValueError, match=f"{ENV_VAR} must be 0 or 1, got 'off'"):
        fitted("autoencoder", max_iter=N_EPOCHS)


# ------------------------------------------------------------------- what is recorded


def test_last_batches_of_few_epochs_are_not_recorded(on_tape):
    on_tape()
    sizes = [
        {size for size, _ in fitted("autoencoder", max_iter=n)[1].captured.graphs}
        for n in (MIN_EPOCHS - 1, MIN_EPOCHS)
    ]
    assert sizes == [{32}, {32, 10}]


def test_a_table_of_one_batch_is_recorded(on_tape):
    on_tape()
    _, heard = fitted("autoencoder", max_iter=MIN_STEPS, batch_size=512)
    assert {size for size, _ in heard.captured.graphs} == {330}


def counting_steps(n_epochs=MIN_EPOCHS):
    """Recorded steps of a toy, and how often it was trained in the usual way."""
    eager = []

    def learn(batch, variant, **numbers):
        eager.append(len(batch[0]))
        return batch[0].sum()

    return CapturedSteps(learn, torch.Generator(), [], n_epochs), eager


def test_ever_new_sizes_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(CapturedSteps, "recorder", Tape)
    steps, eager = counting_steps()
    for size in range(1, 40):
        for repeat in range(N_EAGER_STEPS + 2):
            batch = (torch.full((size,), float(repeat)),)
            assert steps(batch, None, {}).item() == size * repeat
    assert len(steps.graphs) == len(steps.batches) == MAX_GRAPHS
    assert eager.count(39) == N_EAGER_STEPS + 2


def test_graphs_share_their_memory(monkeypatch):
    """Each is told of the first one, whose pool it takes."""
    seen = []

    class Seen(Tape):
        def __init__(self, run, generator, beside):
            seen.append(beside)
            super().__init__(run, generator, beside)

    monkeypatch.setattr(CapturedSteps, "recorder", Seen)
    steps, _ = counting_steps()
    for size in (9, 8, 7) * (N_EAGER_STEPS + 1):
        steps((torch.ones(size),), None, {})
    assert seen == [None, steps.graphs[9, None], steps.graphs[9, None]]


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
    options = {"max_iter": N_EPOCHS, "batch_size": 32}
    clone(MODELS["autoencoder"]).set_params(callbacks=[heard], **options).fit(X)
    assert heard.captured is None


def test_nothing_of_the_graphs_is_kept(on_tape):
    on_tape()
    model, _ = fitted("GAN", max_iter=N_EPOCHS)
    assert model.net_.captured_steps_ is None
    assert "captured_steps_" not in vars(model.net_)


@pytest.mark.parametrize(
    ("device", "optimizer", "suits"),
    [
        ("cpu", LeanAdamW, False),
        ("cuda", LeanAdamW, True),
        ("cuda", torch.optim.AdamW, False),
    ],
)
def test_what_can_be_recorded(device, optimizer, suits):
    made = optimizer([torch.nn.Parameter(torch.zeros(1))])
    assert CapturedSteps.supports(torch.device(device), [made]) is suits


def test_tf32_is_on_in_the_block_alone():
    """Of blocks that overlap, as those of threads do, until the last one ends."""
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    with allow_tf32_products("cpu"):
        assert matmul.fp32_precision == before
    first, second = allow_tf32_products("cuda"), allow_tf32_products("cuda:1")
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
    assert {size for size, _ in heard.captured.graphs} == {32, 10}
    assert graphs.net_.capture_error_ is None
    net = graphs.net_
    assert np.isfinite(graphs.loss_curve_).all()
    assert graphs.loss_curve_[-1] < graphs.loss_curve_[0] or "GAN" in type(net).__name__
