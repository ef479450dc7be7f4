"""Long fits survive a kill: skorch's Checkpoint and LoadInitState bring them back."""

import builtins
import copy
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback, Checkpoint, LoadInitState, TrainEndCheckpoint
from skorch.history import History

from sklearn_unsup import AutoencoderTransformer, GANSampler, VAETransformer
from sklearn_unsup.datasets import make_mixed_table

pytestmark = [
    pytest.mark.filterwarnings("ignore:Generated rows cover only"),
]

X, _ = make_mixed_table(120, random_state=0)
N_EPOCHS, KILLED_IN = 5, 3  # of four batches
NAMES = ["autoencoder", "VAE", "GAN"]
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
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


def make(name, folder=None, callbacks=(), **parameters):
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
    return kinds[name](4, callbacks=list(callbacks), **SMALL, **parameters)


def assert_same_fit(one, other):
    """Nothing tells a run that was taken up again from one that was not disturbed."""
    # A product's last bits depend on where its tensors lie in the memory of a process;
    # a wrong order of rows, noise or step size shows in the third digit.
    np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=1e-5)
    for key, tensor in one.net_.weights().items():
        # Rounding grows in a game, whose weights may differ in the fifth digit.
        others = other.net_.weights()[key]
        torch.testing.assert_close(tensor, others, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(one.transform(X), other.transform(X), 1e-3, 1e-4)


def fit_and_die(folder):
    """Fit each model in a process of its own; prints how each of them ended.

    Torch lets no process train that was forked after training, so this one does not.
    """
    for name in NAMES:
        child = in_child(
            lambda: make(name, Path(folder, name), [KillInMidEpoch()]).fit(X)  # noqa: B023
        )
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Folder of the checkpoints that fits left behind, one folder for each model."""
    folder = tmp_path_factory.mktemp("killed")
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"import test_resume as t; t.fit_and_die({str(folder)!r})"
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.split() == [str(-signal.SIGKILL)] * len(NAMES), done.stderr
    return folder


@needs_fork
@pytest.mark.parametrize("name", NAMES)
def test_a_killed_fit_goes_on_where_it_was(name, killed):
    resumed = make(name, killed / name).fit(X)
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


@pytest.mark.slow
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


# ------------------------------------------------------------------- one state

FILES = ["params.pt", "optimizer.pt", "criterion.pt", "history.json"]
MANIFEST = "history.json.manifest"


@pytest.fixture(scope="module")
def fitted():
    model = make("VAE", sampling="latent")
    return model.set_params(max_iter=1, hidden_layer_sizes=(4,)).fit(X[["height"]])


@pytest.fixture
def saver(fitted, tmp_path):
    """A net whose only callback is a checkpoint in the folder of the test."""
    net = copy.deepcopy(fitted.net_)
    net.callbacks_ = [("cp", Checkpoint(monitor=None, dirname=str(tmp_path)))]
    return net


def numbers_of(net):
    """All that a checkpoint saves of a net, tensors."""
    moments = net.optimizer_.state_dict()["state"].values()
    return [
        *net.weights().values(),
        *(t for state in moments for t in state.values() if torch.is_tensor(t)),
    ]


def save_epoch(net, epoch):
    """Let the checkpoint see an epoch, in which every number is that of the epoch."""
    for tensor in numbers_of(net):
        tensor.detach().fill_(epoch)
    net.history = History()
    for number in range(1, epoch + 1):
        net.history.new_epoch()
        net.history.new_batch()
        net.history.record("epoch", number)
        net.history.record("event_cp", True)
    net.notify("on_epoch_end")


def loaded_epoch(net):
    """The one epoch that all loaded files are of."""
    for tensor in numbers_of(net):
        tensor.detach().fill_(-1)
    net.load_params(checkpoint=dict(net.callbacks_)["cp"])
    epochs = {len(net.history)}
    for tensor in numbers_of(net):
        epochs |= {tensor.min().item(), tensor.max().item()}
    assert len(epochs) == 1, epochs
    return epochs.pop()


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


CALLS = [(os, "replace"), (os, "fsync"), (os, "unlink"), (builtins, "open")]


@contextmanager
def at_call(k, act, after=False):
    """Let something happen at the k-th call that touches the disk; yields the count."""
    count = [0]

    def wrap(function):
        def wrapped(*args, **kwargs):
            count[0] += 1
            if count[0] == k and not after:
                act()
            is_last = count[0] == k
            try:
                return function(*args, **kwargs)
            finally:
                if is_last and after:
                    act()

        return wrapped

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in CALLS:
            patch.setattr(owner, name, wrap(getattr(owner, name)))
        yield count


def count_calls(net, epoch):
    with at_call(0, None) as count:
        save_epoch(net, epoch)
    return count[0]


def in_child(function):
    """Run a function in a process of its own that nothing outlives; its status."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # Python warns of threads, which it does not use
        child = os.fork()
    if child:
        return child
    try:
        function()
    finally:
        os._exit(1)


def test_a_checkpoint_is_its_files_and_a_manifest(saver, tmp_path):
    save_epoch(saver, 1)
    assert names_in(tmp_path) == sorted([*FILES, MANIFEST])
    assert loaded_epoch(saver) == 1


@pytest.mark.slow
@needs_fork
def test_a_death_at_any_step_leaves_one_epoch(saver, tmp_path):
    """The old state or the new one, and the next save finds nothing in its way."""
    save_epoch(saver, 1)
    n_calls = count_calls(saver, 2)
    assert n_calls > 15
    seen = set()
    for k in range(1, n_calls + 1):
        save_epoch(saver, 1)

        def die():
            with at_call(k, lambda: os._exit(9)):  # noqa: B023
                save_epoch(saver, 2)

        _, status = os.waitpid(in_child(die), 0)
        assert os.waitstatus_to_exitcode(status) == 9
        seen.add(loaded_epoch(saver))
        assert names_in(tmp_path) == sorted([*FILES, MANIFEST])
    assert seen == {1, 2}


@pytest.mark.slow
@needs_fork
def test_saving_goes_on_after_a_death_without_loading(saver, tmp_path):
    """Parts of a state that counts already are not overwritten by the next one."""
    n_calls = count_calls(saver, 1)
    for k in range(n_calls - 12, n_calls + 1):  # about where the manifest is replaced

        def die_twice():
            if os.fork() == 0:
                with at_call(k, lambda: os._exit(0)):  # noqa: B023
                    save_epoch(saver, 2)
            os.wait()
            with at_call(9, lambda: os._exit(9)):
                save_epoch(saver, 3)

        save_epoch(saver, 1)
        os.waitpid(in_child(die_twice), 0)
        assert loaded_epoch(saver) in (1, 2)


@pytest.mark.slow
@needs_fork
def test_kills_at_random_instants_leave_one_epoch(saver):
    rng = np.random.default_rng(0)
    begin = time.perf_counter()
    save_epoch(saver, 1)
    duration, epoch = time.perf_counter() - begin, 1
    for _ in range(10):
        reader, writer = os.pipe()

        def go_on():
            save_epoch(saver, epoch + 1)  # noqa: B023
            os.write(writer, b"!")  # noqa: B023
            for later in range(epoch + 2, 10_000):  # noqa: B023
                save_epoch(saver, later)

        child = in_child(go_on)
        assert os.read(reader, 1) == b"!"
        time.sleep(rng.uniform(0, 2 * duration))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reader)
        os.close(writer)
        before, epoch = epoch, int(loaded_epoch(saver))
        assert epoch > before


@pytest.mark.parametrize(
    ("error", "after"), [(OSError, False), (KeyboardInterrupt, True)]
)
def test_an_error_at_any_step_leaves_one_epoch(saver, tmp_path, error, after):
    """An error of the system becomes a warning; Ctrl-C stays what it is."""

    def act():
        raise error(errno.ENOSPC, "No space left on device")

    save_epoch(saver, 1)
    n_calls = count_calls(saver, 2)
    n_told = 0
    for k in range(1, n_calls + 1):
        save_epoch(saver, 1)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                with at_call(k, act, after):
                    save_epoch(saver, 2)
                told = [str(w.message) for w in caught]
            except KeyboardInterrupt:
                assert error is KeyboardInterrupt
                told = ["Ctrl-C"]
        n_told += bool(told)
        # Silence means that the new state was saved.
        assert loaded_epoch(saver) in ((1, 2) if told else (2,))
        assert names_in(tmp_path) == sorted([*FILES, MANIFEST])
    assert n_told > n_calls / 2


def test_state_that_cannot_be_written_is_told_of(saver, tmp_path, monkeypatch):
    """skorch's own Checkpoint would say nothing."""
    save_epoch(saver, 1)

    def full(*args, **kwargs):
        raise RuntimeError("no memory")

    monkeypatch.setattr(torch, "save", full)
    with pytest.warns(RuntimeWarning, match=r"epoch 2 was not saved.*no memory"):
        save_epoch(saver, 2)
    monkeypatch.undo()
    assert loaded_epoch(saver) == 1


def test_a_part_that_the_net_lacks_is_told_of(fitted, tmp_path):
    net = copy.deepcopy(fitted.net_)
    checkpoint = Checkpoint(None, f_critic="critic.pt", dirname=str(tmp_path))
    net.callbacks_ = [("cp", checkpoint)]
    with pytest.warns(RuntimeWarning, match="critic"):
        save_epoch(net, 1)
    assert names_in(tmp_path) == []


@contextmanager
def small_files(n_bytes):
    """No file may grow beyond so many bytes, as on a disk that is full."""
    resource = pytest.importorskip("resource", reason="limits of POSIX")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_file_that_does_not_fit_is_named(saver, tmp_path):
    save_epoch(saver, 1)
    limit = (tmp_path / "params.pt").stat().st_size + 1
    assert (tmp_path / "optimizer.pt").stat().st_size > limit
    with (
        small_files(limit),
        pytest.warns(RuntimeWarning, match=r"epoch 2 .*optimizer\.pt"),
    ):
        save_epoch(saver, 2)
    assert loaded_epoch(saver) == 1
    assert names_in(tmp_path) == sorted([*FILES, MANIFEST])


def test_direct_saving_to_a_full_disk_is_an_error(saver, tmp_path):
    file = tmp_path / "mine.pt"
    saver.save_params(f_params=file)
    before = file.read_bytes()
    with small_files(100), pytest.raises(OSError, match=r"mine\.pt"):
        saver.save_params(f_params=file)
    assert file.read_bytes() == before
    assert names_in(tmp_path) == ["mine.pt"]


def test_a_full_disk_stops_no_fit(tmp_path):
    """The state of the last epoch that fitted is what the next run goes on with."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(command).returncode:
        pytest.skip("no right to mount a small disk here")
    try:

        class Fill(Callback):
            def on_epoch_begin(self, net, **kwargs):
                if len(net.history) == 4:  # this is the fourth
                    free = shutil.disk_usage(disk).free
                    (disk / "ballast").write_bytes(bytes(free - 20_000))

        with pytest.warns(RuntimeWarning, match=r"\.pt.* stays as it is"):
            whole = make("VAE", disk, [Fill()], sampling="latent").fit(X)
        assert whole.n_iter_ == N_EPOCHS
        assert set(names_in(disk)) == {*FILES, MANIFEST, "ballast"}
        (disk / "ballast").unlink()
        begun = []

        class Look(Callback):
            def on_train_begin(self, net, **kwargs):
                begun.append(len(net.history))

        resumed = make("VAE", disk, [Look()], sampling="latent").fit(X)
        assert begun == [3]
        assert_same_fit(resumed, whole)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["older", "cut", "missing"])
def test_files_of_two_states_are_refused(saver, tmp_path, name, how):
    save_epoch(saver, 1)
    older = (tmp_path / name).read_bytes()
    saver.criterion_.weight += 1
    save_epoch(saver, 2)
    if how == "missing":
        (tmp_path / name).unlink()
    else:
        content = older if how == "older" else older[:-9]
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}: .* two epochs.* begin anew"):
        loaded_epoch(saver)


def test_a_mixed_state_ends_the_fit_that_would_load_it(tmp_path):
    make("VAE", tmp_path).set_params(max_iter=2).fit(X)
    (tmp_path / "params.pt").unlink()
    with pytest.raises(ValueError, match=r"params\.pt: missing"):
        make("VAE", tmp_path).fit(X)
    for path in tmp_path.iterdir():
        if path.name != MANIFEST:
            path.unlink()
    assert names_in(tmp_path) == [MANIFEST]
    assert make("VAE", tmp_path).set_params(max_iter=1).fit(X).n_iter_ == 1


def test_a_damaged_manifest_is_refused(saver, tmp_path):
    save_epoch(saver, 1)
    (tmp_path / MANIFEST).write_text("[", encoding="utf-8")
    with pytest.raises(ValueError, match="manifest is damaged"):
        loaded_epoch(saver)


def test_files_without_a_manifest_are_loaded(saver, tmp_path):
    """They may come from skorch itself, or from a release that wrote none."""
    save_epoch(saver, 3)
    (tmp_path / MANIFEST).unlink()
    assert loaded_epoch(saver) == 3
    (tmp_path / "optimizer.pt").unlink()
    with pytest.raises(ValueError, match=r"optimizer\.pt: missing"):
        loaded_epoch(saver)


def test_a_file_that_was_not_saved_is_missed(saver, tmp_path):
    checkpoint = Checkpoint(None, f_criterion=None, dirname=str(tmp_path))
    saver.callbacks_ = [("cp", checkpoint)]
    save_epoch(saver, 1)
    saver.callbacks_ = [("cp", Checkpoint(None, dirname=str(tmp_path)))]
    with pytest.raises(ValueError, match=r"criterion\.pt: missing"):
        loaded_epoch(saver)


def test_names_may_hold_the_epoch(saver, tmp_path):
    """Then the parameters of old epochs stay, and the history says which ones count."""
    name = "params_{last_epoch[epoch]}.pt"
    checkpoint = Checkpoint(None, f_params=name, dirname=str(tmp_path))
    saver.callbacks_ = [("cp", checkpoint)]
    save_epoch(saver, 1)
    save_epoch(saver, 2)
    assert {"params_1.pt", "params_2.pt"} < set(names_in(tmp_path))
    assert loaded_epoch(saver) == 2


def test_a_folder_may_be_moved(saver, tmp_path):
    checkpoint = Checkpoint(None, dirname=str(tmp_path / "a"))
    checkpoint.initialize()
    saver.callbacks_ = [("cp", checkpoint)]
    save_epoch(saver, 1)
    (tmp_path / "a").rename(tmp_path / "b")
    saver.callbacks_ = [("cp", Checkpoint(None, dirname=str(tmp_path / "b")))]
    assert loaded_epoch(saver) == 1


def test_a_checkpoint_at_the_end_is_one_state_too(tmp_path):
    saved = TrainEndCheckpoint(dirname=str(tmp_path))
    first = make("VAE", callbacks=[saved, LoadInitState(saved)]).fit(X)
    assert f"train_end_{MANIFEST}" in names_in(tmp_path)
    again = make("VAE", callbacks=[saved, LoadInitState(saved)]).fit(X)
    assert_same_fit(again, first)
    (tmp_path / "train_end_optimizer.pt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"train_end_optimizer\.pt: missing, or not"):
        make("VAE", callbacks=[saved, LoadInitState(saved)]).fit(X)
