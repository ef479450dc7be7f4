"""Processes that share a fit: real ones, by gloo, on this machine."""

import os
import pickle
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, Checkpoint, LoadInitState

from sklearn_unsup import (
    AutoencoderTransformer,
    GANSampler,
    VAETransformer,
    _row_fitting,
)
from sklearn_unsup._sampling import sampler
from sklearn_unsup._training.distributed import ProcessGroup, backend_for
from sklearn_unsup.datasets import make_mixed_table

pytest.importorskip("accelerate", reason="needs the extra accelerate")
pytestmark = [
    pytest.mark.filterwarnings("ignore:Generated rows cover only"),
]

MODULE = Path(__file__).stem
N_PROCESSES = 2
X, _ = make_mixed_table(330, random_state=0)  # the last batch of 64 has 10 rows
SMALL = {
    "hidden_layer_sizes": (16,),
    "max_iter": 6,
    "random_state": 0,
    "device": "cpu",
}
MODELS = {
    "autoencoder": AutoencoderTransformer(4, ordered=True, **SMALL),
    "VAE": VAETransformer(4, early_stopping=True, **SMALL),
    # Its steps by default hold rows out, and let them stop the model of rows.
    "wide VAE": VAETransformer(4, **{**SMALL, "max_iter": "auto"}),
    "GAN": GANSampler(4, n_critic_steps=2, **SMALL),
    "Wasserstein": GANSampler(4, loss="wasserstein", **SMALL),
}
FAST = ["VAE"]  # the others take a launch of their own, in slow tests


def hold_out_few_rows():
    """Hold out some of a few rows, as fits of many do, and take few steps."""
    _row_fitting.MIN_HOLD_OUT_ROWS, _row_fitting.MIN_STEPS = 100, 60


@pytest.fixture(scope="module", autouse=True)
def few_rows_are_held_out():
    with pytest.MonkeyPatch.context() as patch:
        for name in (
            "MIN_HOLD_OUT_ROWS",
            "MIN_STEPS",
        ):  # as they are after the tests
            patch.setattr(_row_fitting, name, getattr(_row_fitting, name))
        hold_out_few_rows()
        yield


def launch(code, n_processes=N_PROCESSES):
    """Processes as `accelerate launch` starts them; exit codes and errors by rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(n_processes),
        "LOCAL_WORLD_SIZE": str(n_processes),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
    }
    running = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", f"import {MODULE} as t\n{code}"],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(n_processes)
    ]
    try:
        errors = [process.communicate(timeout=120)[1] for process in running]
    finally:
        for process in running:
            process.kill()
    return [process.returncode for process in running], errors


def save_fits(folder, names):
    """Fit some models and keep them."""
    rank = os.environ["RANK"]
    for name in names:
        model = MODELS[name]
        model.set_params(data_parallel=True, batch_size=32).fit(X)
        Path(folder, f"{name}_{rank}.pickle").write_bytes(pickle.dumps(model))


def fit_other_rows():
    rows = X[: 100 + 50 * int(os.environ["RANK"])]
    VAETransformer(4, data_parallel=True, **SMALL).fit(rows)


def fit_one_row():
    VAETransformer(4, data_parallel=True, **SMALL).fit(X[:1])


def save_errors(folder):
    """Keep what is said of fits that are refused."""
    for name, fit in {"other rows": fit_other_rows, "one row": fit_one_row}.items():
        try:
            fit()
        except ValueError as error:
            path = Path(folder, f"{name} {os.environ['RANK']}")
            path.write_text(str(error), encoding="utf-8")


class Die(Callback):
    """The second process dies as by `kill -9`, in the middle of the fourth epoch."""

    def on_batch_end(self, net, training=False, **kwargs):
        last = net.history[-1]
        if last["epoch"] == 4 and len(last["batches"]) == 2:
            os.kill(os.getpid(), signal.SIGKILL)


def with_checkpoint(folder, is_first, dies=False, **parameters):
    """As the guide shows: the first process saves, all of them load."""
    checkpoint = Checkpoint(monitor=None, dirname=str(folder))
    callbacks = [LoadInitState(checkpoint)]
    callbacks += [checkpoint] if is_first else []
    callbacks += [Die()] if dies else []
    return VAETransformer(4, callbacks=callbacks, **SMALL, **parameters)


def fit_and_die(folder):
    rank = int(os.environ["RANK"])
    options = {"data_parallel": True, "batch_size": 32}
    with_checkpoint(folder, rank == 0, dies=rank == 1, **options).fit(X)


def fit_all(folder):
    """What each process of the launch does.

    Fits that are refused come first: after them the processes still share others.
    """
    sampler.CALIBRATION_ROWS = 1_000
    save_errors(folder)
    save_fits(folder, FAST)
    fit_and_die(Path(folder, "checkpoint"))


def fit_others(folder):
    sampler.CALIBRATION_ROWS = 1_000
    hold_out_few_rows()
    save_fits(folder, [name for name in MODELS if name not in FAST])


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """One launch for many tests, as processes take longer to start than to fit.

    The folder of what they kept, their exit codes, and what they wrote to stderr.
    """
    folder = tmp_path_factory.mktemp("launched")
    return folder, *launch(f"t.fit_all({str(folder)!r})")


@pytest.fixture(scope="module")
def launched_others(tmp_path_factory):
    folder = tmp_path_factory.mktemp("launched")
    return folder, *launch(f"t.fit_others({str(folder)!r})")


@pytest.fixture(
    params=[
        name if name in FAST else pytest.param(name, marks=pytest.mark.slow)
        for name in MODELS
    ]
)
def name(request):
    return request.param


@pytest.fixture
def shared_fits(name, request):
    """What each process made of a model."""
    of_name = "launched" if name in FAST else "launched_others"
    folder, _, errors = request.getfixturevalue(of_name)
    files = [folder / f"{name}_{rank}.pickle" for rank in range(N_PROCESSES)]
    assert all(file.exists() for file in files), errors
    return [pickle.loads(file.read_bytes()) for file in files]


def test_two_processes_learn_what_one_does_with_twice_the_batch(name, shared_fits):
    """Noise, shuffled rows and uneven last batches included.

    A game goes other ways after some epochs, as it does in one process when its first
    weights are changed by rounding: a draw of a category falls on another level.
    """
    alone = MODELS[name].set_params(data_parallel=False, batch_size=64).fit(X)
    for shared in shared_fits:
        assert shared.n_iter_ == alone.n_iter_
        looks = [epoch.get("held_out_row_loss") for epoch in shared.net_.history]
        assert any(looks) == (name == "wide VAE")
        losses, expected = np.array(shared.loss_curve_), np.array(alone.loss_curve_)
        np.testing.assert_allclose(losses[:2], expected[:2], rtol=1e-4)
        is_game = hasattr(alone, "critic_loss_curve_")
        np.testing.assert_allclose(losses, expected, rtol=5e-3 if is_game else 1e-4)
        for key, tensor in alone.net_.weights().items():
            if key == "critic.scores.output.bias":
                # Differences of scores lack it: its gradient is rounding alone.
                continue
            close = torch.isclose(shared.net_.weights()[key], tensor, 1e-2, 1e-3)
            # Some may be off by more, as sums are in another order: one of few weights,
            # and those of a game, in which differences grow.
            n_far, share = int(close.logical_not().sum()), 0.05 if is_game else 0.01
            assert n_far <= max(1, share * close.numel()), key


def test_every_process_ends_with_the_same_model(shared_fits):
    first, second = shared_fits
    assert first.loss_curve_ == second.loss_curve_
    for key, tensor in first.net_.weights().items():
        assert torch.equal(tensor, second.net_.weights()[key]), key
    rows = [model.sample(50, random_state=0) for model in (first, second)]
    assert rows[0].equals(rows[1])


def test_nothing_of_the_processes_is_kept(shared_fits):
    [model, _] = shared_fits
    assert model.net_.process_group_ is None
    assert model.net_.generator_.local_rows is None
    model.set_params(data_parallel=False, warm_start=True).fit(X)


# ------------------------------------------------------------------- when it fails


def test_a_process_that_dies_ends_the_fit_with_an_error(launched):
    """And the last checkpoint is good: one process goes on from it alone."""
    folder, codes, errors = launched
    assert codes[1] == -signal.SIGKILL
    assert codes[0] not in (0, -signal.SIGKILL), "it did not notice"
    assert "RuntimeError" in errors[0]
    resumed = with_checkpoint(folder / "checkpoint", True, batch_size=64).fit(X)
    alone = VAETransformer(4, batch_size=64, **SMALL).fit(X)
    np.testing.assert_allclose(resumed.loss_curve_, alone.loss_curve_, rtol=1e-4)


def test_other_tables_in_other_processes_are_refused(launched):
    for rank, n_rows in enumerate((100, 150)):
        error = Path(launched[0], f"other rows {rank}").read_text(encoding="utf-8")
        assert "data_parallel=True needs the same table" in error
        assert f"this one has {n_rows}" in error


def test_fewer_rows_than_processes_are_refused(launched):
    for rank in range(N_PROCESSES):
        error = Path(launched[0], f"one row {rank}").read_text(encoding="utf-8")
        assert "needs a row for each of them" in error


def fit_alone(folder):
    """What the only process of a launch does; then it is told of a second one."""
    sampler.CALIBRATION_ROWS = 1_000
    model = MODELS["VAE"].set_params(data_parallel=True, batch_size=64).fit(X)
    Path(folder, "curve").write_bytes(pickle.dumps(model.loss_curve_))
    os.environ["WORLD_SIZE"] = "2"
    model.fit(X)


@pytest.fixture(scope="module")
def launched_alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    return folder, *launch(f"t.fit_alone({str(folder)!r})", 1)


@pytest.mark.slow
def test_in_a_single_process_nothing_changes(launched_alone):
    folder, _, errors = launched_alone
    assert (folder / "curve").exists(), errors
    alone = MODELS["VAE"].set_params(data_parallel=False, batch_size=64).fit(X)
    assert pickle.loads((folder / "curve").read_bytes()) == alone.loss_curve_


@pytest.mark.slow
def test_processes_that_accelerate_does_not_know_of_are_refused(launched_alone):
    """They would each train by themselves, and nobody would notice.

    Accelerate is asked once in a process; newer versions that are asked for a GPU first
    see one process where there are two without.
    """
    _, codes, errors = launched_alone
    assert codes == [1]
    assert "RuntimeError: 2 processes were launched" in errors[0]


def test_without_accelerate(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ImportError, match=r"install sklearn-unsup\[accelerate\]"):
        ProcessGroup("cpu")
    with pytest.raises(ImportError, match="data_parallel=True needs accelerate"):
        VAETransformer(4, data_parallel=True, **SMALL).fit(X)


# ------------------------------------------------------------------------------- GPUs


@pytest.mark.parametrize(
    ("device", "n_local", "n_gpus", "has_nccl", "backend"),
    [
        ("cuda", "2", 2, True, "nccl"),
        ("cuda", "2", 1, True, "gloo"),  # NCCL refuses a GPU twice
        ("cuda", "2", 2, False, "gloo"),
        ("cuda:1", "2", 2, True, "nccl"),
        ("cuda", None, 1, True, "nccl"),  # one process on this machine, or on each
        ("cpu", "2", 0, False, None),  # Accelerate knows by itself
    ],
)
def test_which_way_gradients_travel(
    device, n_local, n_gpus, has_nccl, backend, monkeypatch
):
    if n_local is None:
        monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    else:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", n_local)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_gpus)
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: has_nccl)
    assert backend_for(device) == backend


def test_accelerate_takes_the_backend(monkeypatch):
    """By the argument that its version here has for it."""
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

    seen = {}

    def watched(*args, **kwargs):
        seen.update(kwargs)
        return Accelerator(cpu=True)

    monkeypatch.setattr("accelerate.Accelerator", watched)
    monkeypatch.setattr(
        "sklearn_unsup._training.distributed.backend_for", lambda device: "gloo"
    )
    ProcessGroup("cuda")
    [handler] = seen["kwargs_handlers"]
    assert isinstance(handler, InitProcessGroupKwargs)
    assert handler.to_kwargs()["backend"] == "gloo"
    assert seen["cpu"] is False


def save_fit_on_gpus(folder):
    rank = os.environ["RANK"]
    options = {**SMALL, "device": "cuda", "data_parallel": True, "batch_size": 32}
    model = VAETransformer(4, **options).fit(X)
    found = torch.distributed.get_backend(), model.device_, model.loss_curve_
    Path(folder, rank).write_bytes(pickle.dumps(found))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_two_processes_on_gpus_learn_what_one_does(tmp_path):
    """Each on its own, or both on the only one."""
    codes, errors = launch(f"t.save_fit_on_gpus({str(tmp_path)!r})")
    assert codes == [0, 0], errors
    alone = VAETransformer(4, batch_size=64, **{**SMALL, "device": "cuda"}).fit(X)
    n_gpus = torch.cuda.device_count()
    curves = []
    for rank in range(2):
        backend, device, curve = pickle.loads((tmp_path / str(rank)).read_bytes())
        assert backend == ("nccl" if n_gpus > 1 else "gloo")
        assert device == f"cuda:{rank % n_gpus}"
        np.testing.assert_allclose(curve, alone.loss_curve_, rtol=0.02)
        curves.append(curve)
    assert curves[0] == curves[1]
