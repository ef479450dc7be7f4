"""Long fits survive a kill: skorch's Checkpoint and LoadInitState bring them back."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, Checkpoint, LoadInitState

from sklearn_unsup import AutoencoderTransformer, GANSampler, VAETransformer
from sklearn_unsup.datasets import make_mixed_table

pytestmark = pytest.mark.filterwarnings("ignore:Generated rows cover only")

X, _ = make_mixed_table(200, random_state=0)
N_EPOCHS, KILLED_IN = 8, 5
SMALL = {
    "hidden_layer_sizes": (16,),
    "max_iter": N_EPOCHS,
    "batch_size": 32,
    "random_state": 0,
}


class KillInMidEpoch(Callback):
    """The process dies as by `kill -9`, in the third batch of an epoch."""

    def on_batch_end(self, net, training=False, **kwargs):
        last = net.history[-1]
        if training and last["epoch"] == KILLED_IN and len(last["batches"]) == 3:
            os.kill(os.getpid(), signal.SIGKILL)


def make(name, folder=None, callbacks=()):
    kinds = {
        "autoencoder": AutoencoderTransformer,
        "VAE": VAETransformer,
        "GAN": GANSampler,
    }
    files = {}
    if name == "GAN":
        files = {"f_critic": "critic.pt", "f_critic_optimizer": "critic_optimizer.pt"}
    if folder is not None:
        checkpoint = Checkpoint(monitor=None, dirname=str(folder), **files)
        callbacks = [checkpoint, LoadInitState(checkpoint), *callbacks]
    return kinds[name](4, callbacks=list(callbacks), **SMALL)


def assert_same_fit(one, other):
    """Nothing tells a run that was taken up again from one that was not disturbed."""
    np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=1e-6)
    for key, tensor in one.net_.weights().items():
        torch.testing.assert_close(tensor, other.net_.weights()[key])
    np.testing.assert_allclose(one.transform(X), other.transform(X), 1e-3, 1e-4)


@pytest.mark.parametrize("name", ["autoencoder", "VAE", "GAN"])
def test_a_killed_fit_goes_on_where_it_was(name, tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import test_resume as t\n"
        f"t.make({name!r}, {str(tmp_path)!r}, [t.KillInMidEpoch()]).fit(t.X)"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code])
    assert done.returncode == -signal.SIGKILL
    resumed = make(name, tmp_path).fit(X)
    assert resumed.n_iter_ == N_EPOCHS
    # skorch numbers the epochs, and keeps what each of them took
    assert [row["epoch"] for row in resumed.net_.history] == [*range(1, N_EPOCHS + 1)]
    assert_same_fit(resumed, make(name).fit(X))


def test_without_files_a_fit_begins_anew(tmp_path):
    assert_same_fit(make("VAE", tmp_path).fit(X), make("VAE").fit(X))


def test_a_finished_fit_has_nothing_left_to_do(tmp_path):
    first = make("VAE", tmp_path).fit(X)
    step = first.net_.step_
    again = make("VAE", tmp_path).fit(X)
    assert again.net_.step_ == step
    assert_same_fit(again, first)


def test_more_epochs_may_be_asked_for(tmp_path):
    make("VAE", tmp_path).fit(X)
    longer = make("VAE", tmp_path).set_params(max_iter=N_EPOCHS + 3).fit(X)
    assert longer.n_iter_ == N_EPOCHS + 3


def test_a_warm_fit_is_not_cut_short(tmp_path):
    """It has a history of its own, which says nothing of epochs done already."""
    model = make("VAE", tmp_path).fit(X)
    model.set_params(warm_start=True).fit(X)
    assert model.n_iter_ == 2 * N_EPOCHS


def test_an_interrupted_write_spoils_no_checkpoint(tmp_path, monkeypatch):
    """A file changes only once its new content is complete."""
    model = make("VAE", tmp_path).fit(X)
    file = tmp_path / "params.pt"
    before = file.read_bytes()

    def half(state, file, *args, **kwargs):
        Path(file).write_bytes(before[: len(before) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(KeyboardInterrupt):
        model.net_.save_params(f_params=file)
    assert file.read_bytes() == before


@pytest.mark.parametrize("monitor", [None, "valid_loss_best"])
def test_patience_goes_on_too(monitor, tmp_path):
    """Early stopping counts the epochs before the kill, and keeps the best weights."""

    def make_stopping(callbacks, max_iter):
        return VAETransformer(
            4,
            hidden_layer_sizes=(64,),
            batch_size=32,
            learning_rate_init=0.02,
            early_stopping=True,
            validation_fraction=0.3,
            n_iter_no_change=3,
            callbacks=callbacks,
            max_iter=max_iter,
            random_state=0,
        )

    alone = make_stopping([], 60).fit(X)
    assert 6 < alone.n_iter_ < 60
    losses = np.negative(alone.validation_scores_)
    assert losses.argmin() == alone.n_iter_ - 4
    checkpoint = Checkpoint(monitor=monitor, dirname=str(tmp_path))

    class Stop(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == alone.n_iter_ - 1:
                raise RuntimeError

    callbacks = [checkpoint, LoadInitState(checkpoint)]
    with pytest.raises(RuntimeError):
        make_stopping([*callbacks, Stop()], 60).fit(X)
    resumed = make_stopping(callbacks, 60).fit(X)
    assert resumed.n_iter_ == alone.n_iter_
    np.testing.assert_allclose(resumed.loss_curve_, alone.loss_curve_, rtol=1e-6)
    if monitor:
        for key, tensor in alone.net_.weights().items():
            torch.testing.assert_close(resumed.net_.weights()[key], tensor)
