"""On a GPU: memory, tables that do not fit, graphs, models that move between devices.

All but one need a CUDA device. Nothing stands in for it: a test here that ran elsewhere
would say nothing of GPUs. What a CPU can tell of recorded steps is in test_capture.
"""

import gc
import os
import pickle
import subprocess
import sys
import threading
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from sklearn_unsup import (
    AutoencoderTransformer,
    GANSampler,
    VAETransformer,
)
from sklearn_unsup._encoding import upload
from sklearn_unsup._nn import device as device_module
from sklearn_unsup._training import cuda_graphs
from sklearn_unsup._training.cuda_graphs import ENV_VAR, MIN_STEPS
from sklearn_unsup._training.net import TableNet
from sklearn_unsup.datasets import make_mixed_table

# After so few steps.
pytestmark = pytest.mark.filterwarnings("ignore:Generated rows cover only")


def on_gpu(test):
    """Mark a test that needs a GPU."""
    skip = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    return pytest.mark.gpu(skip(test))


X, _ = make_mixed_table(330, random_state=0)  # the last batch of 32 has 10 rows
N_EPOCHS = 6  # of 10 steps: enough to be recorded
assert 10 * N_EPOCHS >= MIN_STEPS
SIZES = {"hidden_layer_sizes": (16,), "density_ratio": None}
MODELS = {
    "autoencoder": AutoencoderTransformer(4, ordered=True, **SIZES),
    "VAE": VAETransformer(4, **SIZES),
    "latent": VAETransformer(4, sampling="latent", **SIZES),
    "GAN": GANSampler(4, critic_hidden_layer_sizes=(16,), **SIZES),
    "Wasserstein": GANSampler(
        4,
        critic_hidden_layer_sizes=(16,),
        loss="wasserstein",
        n_critic_steps=2,
        **SIZES,
    ),
}
each_model = pytest.mark.parametrize("name", MODELS)


def fitted(name, device="cuda", **parameters):
    options = {"max_iter": N_EPOCHS, "batch_size": 32, "random_state": 0, **parameters}
    model = pickle.loads(pickle.dumps(MODELS[name]))  # its own, also in a thread
    return model.set_params(device=device, **options).fit(X)


def on_the_cpu(model, monkeypatch):
    """The model as a machine without a GPU loads it."""
    with monkeypatch.context() as without:
        without.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.warns(UserWarning, match="here is no GPU"):
            return pickle.loads(pickle.dumps(model))


# ------------------------------------------------------------------------- training


@pytest.mark.parametrize(
    "name",
    [
        "VAE",
        pytest.param("autoencoder", marks=pytest.mark.slow),
        pytest.param("GAN", marks=pytest.mark.slow),
    ],
)
def test_mixed_precision_trains(name, device):
    """The networks learn what they learn in float32; weights and losses stay float32.

    A game goes its own way from the first difference: there losses only have to be.
    """
    exact, mixed = (
        fitted(name, device, mixed_precision=mixed) for mixed in (False, True)
    )
    assert mixed.loss_curve_ != exact.loss_curve_
    assert np.isfinite(mixed.loss_curve_).all()
    assert {t.dtype for t in mixed.net_.weights().values()} == {torch.float32}
    assert mixed.sample(50, random_state=0).notna().any().all()
    if name != "GAN":
        gain = exact.loss_curve_[0] - exact.loss_curve_[-1]
        off = np.abs(np.subtract(mixed.loss_curve_, exact.loss_curve_))
        assert off.max() < 0.2 * gain


@contextmanager
def nobody_waits():
    """Reads of the device are errors in the block, and in no test after it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")
        try:
            torch.cuda.set_sync_debug_mode("error")
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")


@on_gpu
@each_model
@pytest.mark.parametrize("mixed_precision", [False, True])
def test_a_step_makes_nobody_wait(name, mixed_precision):
    """Torch itself says that neither a step nor its batch reads the device."""
    model = fitted(name, max_iter=1, mixed_precision=mixed_precision)
    net, rows = (
        model.net_,
        upload(model.codec_, X, model.device_, np.random.default_rng(0)),
    )
    steps = [net.train_step(batch) for batch in net.get_iterator(rows, training=True)]
    with nobody_waits():
        for batch in net.get_iterator(rows, training=True):
            net.train_step(batch)
        with pytest.raises(RuntimeError, match="synchroniz"):
            steps[-1]["loss"].sum().item()


class Heard(Callback):
    """Keeps the recorded steps of a fit, which forgets them at its end."""

    def on_epoch_end(self, net, **kwargs):
        self.captured = net.captured_steps_


@on_gpu
@each_model
@pytest.mark.parametrize("early_stopping", [False, True])
def test_graphs_learn_what_eager_steps_do(name, early_stopping, monkeypatch):
    """From the same numbers: a replay moves the generator on as an eager step does."""
    heard = Heard()
    parameters = {"early_stopping": early_stopping, "n_iter_no_change": 99}
    parameters["callbacks"] = [heard]
    monkeypatch.setattr(cuda_graphs, "MIN_EPOCHS", N_EPOCHS)  # last batches as well
    graphs = fitted(name, **parameters)
    assert graphs.net_.capture_error_ is None
    sizes = {size for size, _ in heard.captured.graphs}
    assert sizes == {32, 9 if early_stopping else 10}
    monkeypatch.setenv(ENV_VAR, "0")
    eager = fitted(name, **parameters)
    assert heard.captured is None
    np.testing.assert_allclose(graphs.loss_curve_, eager.loss_curve_, rtol=0.02)


def read(step):
    step["loss"].sum().item()


def refuse(step):
    raise TypeError("expected a Generator")


@on_gpu
@each_model
@pytest.mark.parametrize("fault", [read, refuse])
def test_a_recording_that_fails_costs_only_time(name, fault, monkeypatch):
    """All goes on without graphs: this fit, its end, and the next one.

    A read of the device breaks the recording off in the driver, an error of Python
    ends it in order.
    """
    model = fitted(name, max_iter=1)
    owner = next(c for c in type(model.net_).__mro__ if "train_on_batch" in vars(c))
    train_on_batch = owner.train_on_batch

    def failing(net, *args, **numbers):
        step = train_on_batch(net, *args, **numbers)
        if torch.cuda.is_current_stream_capturing():
            fault(step)
        return step

    with monkeypatch.context() as broken:
        broken.setattr(owner, "train_on_batch", failing)
        with pytest.warns(RuntimeWarning, match="could not be recorded") as said:
            model = fitted(name)
        assert sum("recorded" in str(w.message) for w in said) == 1
    assert model.net_.capture_error_ is not None
    assert model.n_iter_ == N_EPOCHS
    with monkeypatch.context() as without:
        without.setenv(ENV_VAR, "0")
        eager = fitted(name)
    np.testing.assert_allclose(model.loss_curve_, eager.loss_curve_, rtol=0.02)
    assert len(model.sample(20)) == 20
    assert len(pickle.loads(pickle.dumps(model)).sample(20)) == 20
    # Nor do torch's own generator and its allocators take the recording for open.
    state = torch.cuda.get_rng_state()
    assert torch.rand(3, device="cuda").std() > 0
    torch.cuda.set_rng_state(state)
    assert torch.zeros(3).pin_memory().is_pinned()
    torch.cuda.empty_cache()
    assert fitted(name).net_.capture_error_ is None


@on_gpu
@pytest.mark.slow
def test_fits_in_threads_share_a_gpu():
    """Each records and frees memory while others do: none of them disturbs another."""
    alone, together, errors = fitted("VAE").loss_curve_, {}, []

    def fit(number):
        try:
            together[number] = fitted("VAE").loss_curve_
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=fit, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for curve in together.values():
        np.testing.assert_allclose(curve, alone, rtol=0.02)


@on_gpu
@pytest.mark.slow
def test_an_interrupted_run_has_ended(monkeypatch):
    """No step is still at work on the weights when `fit` gives them back."""
    train_step, n_steps = TableNet.train_step, 0

    def interrupted(net, batch, **kwargs):
        nonlocal n_steps
        step, n_steps = train_step(net, batch, **kwargs), n_steps + 1
        if n_steps == 40:
            torch.cuda._sleep(2 * 10**9)  # for about a second the stream stands still
            train_step(net, batch, **kwargs)
            raise KeyboardInterrupt
        return step

    monkeypatch.setattr(TableNet, "train_step", interrupted)
    weights = fitted("autoencoder").net_.weights()
    at_once = {key: tensor.clone() for key, tensor in weights.items()}
    torch.cuda.synchronize()
    assert all(torch.equal(at_once[key], weights[key]) for key in weights)


# --------------------------------------------------------------------------- memory


def held():
    gc.collect()
    torch.cuda.synchronize()
    return torch.cuda.memory_allocated(), torch.cuda.memory_reserved()


@on_gpu
@each_model
def test_memory_comes_back(name):
    """A fit leaves its weights and their moments, and no fit adds to that."""
    MIB = 2**20
    fitted(name)  # libraries keep some room for themselves
    torch.cuda.empty_cache()
    before = held()
    for _ in range(3):
        model = fitted(name)
        weights = sum(t.numel() * t.itemsize for t in model.net_.weights().values())
        assert held()[0] - before[0] < 3 * weights + MIB // 4
        assert not any(p.grad is not None for p in model.net_.module_.parameters())
        model.sample(1000)
        del model
    torch.cuda.empty_cache()
    after = held()
    assert abs(after[0] - before[0]) < MIB // 4
    assert abs(after[1] - before[1]) <= 2 * MIB


@on_gpu
@each_model
@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_table_that_does_not_fit_streams(name, early_stopping, monkeypatch):
    """From the host's memory come the same batches, so that the same is learnt."""
    parameters = {"early_stopping": early_stopping, "n_iter_no_change": 99}
    lies = fitted(name, **parameters)
    assert upload(lies.codec_, X, lies.device_).x_num.is_cuda
    monkeypatch.setattr(device_module, "MAX_TABLE_FRACTION", 0)
    streams = fitted(name, **parameters)
    rows = upload(streams.codec_, X, streams.device_)
    assert not rows.x_num.is_cuda
    assert rows[:5][0][0].is_cuda
    np.testing.assert_allclose(streams.loss_curve_, lies.loss_curve_, rtol=0.02)
    np.testing.assert_allclose(streams.transform(X), lies.transform(X), atol=0.1)


# -------------------------------------------------------------------------- devices


@on_gpu
@each_model
def test_both_devices_agree_on_a_model(name, monkeypatch):
    """Codes, tables and scores; samples, whose numbers differ, in their shares."""
    here = fitted(name)
    there = on_the_cpu(here, monkeypatch)
    assert there.device_ == "cpu"
    codes = here.transform(X)
    np.testing.assert_allclose(there.transform(X), codes, rtol=1e-3, atol=1e-3)
    ours, theirs = here.inverse_transform(codes), there.inverse_transform(codes)
    # Two levels that are nearly as likely may change places in a row.
    assert (ours["plan"] == theirs["plan"]).mean() > 0.99
    np.testing.assert_allclose(
        ours["height"], theirs["height"], rtol=1e-3, atol=1e-3, equal_nan=True
    )
    if hasattr(here, "score_samples"):
        np.testing.assert_allclose(
            there.score_samples(X), here.score_samples(X), rtol=1e-3, atol=1e-3
        )
    n = 4_000
    drawn = [model.sample(n, random_state=0) for model in (here, there)]
    shares = [
        table["plan"].value_counts(normalize=True, sort=False).sort_index()
        for table in drawn
    ]
    share = (shares[0] + shares[1]) / 2
    bound = 5 * np.sqrt(2 * share * (1 - share) / n) + 1 / n
    assert (abs(shares[0] - shares[1]) < bound).all()
    given = {"plan": "pro", "active": True}
    for model in (here, there):
        assert (model.sample(50, conditions=given)[list(given)] == given).all(axis=None)


@on_gpu
@pytest.mark.slow
def test_a_model_opens_where_there_is_no_gpu(tmp_path):
    model = fitted("VAE")
    (tmp_path / "model.pickle").write_bytes(pickle.dumps((model, X)))
    code = (
        "import pickle, sys, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "model, X = pickle.load(open(sys.argv[1], 'rb'))\n"
        "codes = model.transform(X)\n"
        "assert model.device_ == 'cpu' and len(model.sample(20)) == 20\n"
        "pickle.dump(codes, open(sys.argv[2], 'wb'))\n"
    )
    files = tmp_path / "model.pickle", tmp_path / "codes.pickle"
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([sys.executable, "-c", code, *files], env=hidden, check=True)
    codes = pickle.loads(files[1].read_bytes())
    np.testing.assert_allclose(codes, model.transform(X), rtol=1e-3, atol=1e-3)


@on_gpu
@pytest.mark.parametrize("name", ["VAE", "GAN"])
def test_a_gpu_is_named_by_its_number(name):
    model = fitted(name, "cuda:0")
    assert model.device_ == "cuda:0"
    places = {tensor.device for tensor in model.net_.weights().values()}
    assert places == {torch.device("cuda:0")}
    assert len(model.sample(20)) == 20
    same = fitted(name, "cuda")
    np.testing.assert_allclose(same.loss_curve_, model.loss_curve_, rtol=0.02)


@on_gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU at most")
def test_a_second_gpu_does_all_the_work():
    before = torch.cuda.memory_allocated("cuda:0")
    model = fitted("GAN", "cuda:1")
    assert model.net_.capture_error_ is None
    assert len(model.sample(20)) == 20
    assert torch.cuda.memory_allocated("cuda:0") == before


@on_gpu
@each_model
def test_a_stream_learns_on_a_gpu(name):
    """Each part renews the optimizers, whose moments stay on the device."""
    model = pickle.loads(pickle.dumps(MODELS[name]))
    model.set_params(device="cuda", batch_size=32, random_state=0)
    for part in (X.iloc[:200], X.iloc[200:]):
        model.partial_fit(part)
    assert model.n_iter_ == 2
    assert np.isfinite(model.loss_curve_).all()
    assert len(model.sample(20)) == 20


@on_gpu
def test_global_generators_of_a_gpu_stay_as_they_are():
    before = torch.cuda.get_rng_state()
    model = fitted("VAE")
    model.sample(20)
    pickle.loads(pickle.dumps(model))
    assert torch.equal(torch.cuda.get_rng_state(), before)
