"""The training loop: shuffled slices, one read per epoch, callbacks, stopping."""

import math
import pickle
import warnings
from inspect import signature

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_iris
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    GradientNormClipping,
    LRScheduler,
)
from skorch.helper import predefined_split
from torch import nn

from sklearn_unsup import AutoencoderTransformer, GANSampler, VAETransformer
from sklearn_unsup._encoding import upload
from sklearn_unsup._nn.autoencoders import Autoencoder, VariationalAutoencoder
from sklearn_unsup._nn.losses import NegativeELBO, ReconstructionLoss
from sklearn_unsup._table.layout import TableLayout
from sklearn_unsup._training.data import DenseDataset
from sklearn_unsup._training.gan_net import GANNet
from sklearn_unsup._training.gradients import clip_gradients, set_gradients
from sklearn_unsup._training.net import TableNet
from sklearn_unsup._training.schedule import warmup_cosine

X = load_iris().data
N_EPOCHS, N_STEPS = 4, 10  # of `quick`: 150 rows in batches of 16, the last of 6


def quick(**parameters):
    """An autoencoder of few steps."""
    defaults = {
        "n_components": 2,
        "hidden_layer_sizes": (8,),
        "max_iter": N_EPOCHS,
        "batch_size": 16,
        "random_state": 0,
    }
    return AutoencoderTransformer(**{**defaults, **parameters})


def make_rows(n=20):
    return DenseDataset(
        torch.arange(float(n))[:, None], torch.zeros(n, 0, dtype=torch.int64)
    )


class Clock(nn.Module):
    """Knows the number of steps it has learnt for: each adds the step size."""

    def __init__(self):
        super().__init__()
        self.time = nn.Parameter(torch.zeros(()))

    def forward(self, x_num, x_cat, generator=None):
        return self.time.expand(len(x_num))


class Script(nn.Module):
    """Training loss is minus the time; `judged` gives the loss of held-out rows."""

    def __init__(self, judged=None, trained=None):
        super().__init__()
        self.judged, self.trained = judged, trained

    def forward(self, time, rows):
        number = round(time[0].item())
        if not self.training and self.judged is not None:
            return torch.tensor(self.judged[number - 1])
        return -time.mean() if self.trained is None else 0 * time.mean() + math.nan


def make_clock(judged=None, max_epochs=None, **parameters):
    """A net of one step per epoch, which adds one to the clock."""
    defaults = {
        "criterion__judged": judged,
        "train_split": None if judged is None else predefined_split(make_rows(4)),
        "max_epochs": max_epochs or len(judged),
        "lr": 1.0,
        "lr_floor": 1.0,
        "optimizer__weight_decay": 0.0,
        "batch_size": 20,
    }
    return TableNet(Clock, Script, **{**defaults, **parameters})


def time_of(net):
    return net.module_.time.item()


class Line(nn.Module):
    """A slope; the loss of a row is half the square of what it leaves of the row."""

    def __init__(self, start=0.0):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(start))

    def forward(self, x_num, x_cat, generator=None):
        return self.slope * x_num

    @staticmethod
    def loss(output, x_num):
        return 0.5 * (output - x_num).square().mean()


class Squares(nn.Module):
    def forward(self, output, rows):
        return Line.loss(output, rows[0])


def make_line(**parameters):
    return TableNet(Line, Squares, **{"batch_size": 8, "max_epochs": 3, **parameters})


class Batches(Callback):
    """The first column of the batches of each epoch."""

    def __init__(self, training=True):
        self.training = training

    def on_train_begin(self, net, **kwargs):
        self.epochs_ = []

    def on_epoch_begin(self, net, **kwargs):
        self.epochs_.append([])

    def on_batch_begin(self, net, batch=None, training=None, **kwargs):
        if training == self.training:
            self.epochs_[-1].append(batch[0][0][:, 0].tolist())


# ------------------------------------------------------------------- batches


def test_rows_are_shuffled_anew_in_every_epoch():
    """Skorch's own iterator keeps the order of the rows."""
    batches = Batches()
    make_line(callbacks=[batches]).partial_fit(make_rows())
    orders = [sum(epoch, []) for epoch in batches.epochs_]
    assert len({tuple(order) for order in orders}) == 3
    for epoch, order in zip(batches.epochs_, orders, strict=True):
        assert [len(batch) for batch in epoch] == [8, 8, 4]  # the last slice is kept
        assert sorted(order) == list(range(20)) != order


def test_rows_held_out_keep_their_order():
    batches = Batches(training=False)
    split = predefined_split(make_rows(10))
    make_line(callbacks=[batches], train_split=split).partial_fit(make_rows())
    assert [sum(epoch, []) for epoch in batches.epochs_] == [list(range(10))] * 3


@pytest.mark.parametrize("n", [1, 3, 8, 9])
def test_a_batch_may_be_larger_than_the_table(n):
    net = make_line(batch_size=1_000, lr=0.1).partial_fit(make_rows(n))
    assert net.history[-1, "train_batch_count"] == 1
    assert n == 1 or net.module_.slope.item() != 0.0  # the only row's number is 0


def test_losses_are_means_over_rows():
    """Also of an epoch whose last slice is shorter."""
    split = predefined_split(make_rows(11))
    net = make_line(lr=0.0, module__start=0.5, train_split=split)
    net.partial_fit(make_rows(20))
    for prefix, n in (("train", 20), ("valid", 11)):
        x_num = make_rows(n).x_num
        expected = Line.loss(0.5 * x_num, x_num).item()
        assert net.history[:, f"{prefix}_loss"] == pytest.approx([expected] * 3)
        # only the first of equal losses is the best so far
        assert net.history[:, f"{prefix}_loss_best"] == [True, False, False]
    assert net.history[:, "train_batch_count"] == [3] * 3
    assert net.history[:, "valid_batch_count"] == [2] * 3


def counted(name, calls):
    """A method of tensors that adds its name to `calls`."""
    method = getattr(torch.Tensor, name)

    def call(self, *args):
        calls.append(name)
        return method(self, *args)

    return call


@pytest.fixture
def reads(monkeypatch):
    """Names of the calls that bring values of a tensor to the host."""
    calls = []
    for name in (
        *("item", "tolist", "cpu", "numpy"),
        *("__bool__", "__float__", "__int__", "__index__", "__array__"),
    ):
        monkeypatch.setattr(torch.Tensor, name, counted(name, calls))
    return calls


@pytest.mark.parametrize("held_out", [False, True])
@pytest.mark.parametrize("model", [AutoencoderTransformer, VAETransformer, GANSampler])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_device_is_read_once_per_epoch(model, held_out, reads):
    """Every further read would make it wait for the host; the last look has two."""
    options = {"hidden_layer_sizes": (8,), "batch_size": 30, "random_state": 0}
    fitted = model(2, max_iter=1, **options).fit(X)
    net, rows = fitted.net_, upload(fitted.codec_, X, fitted.device_)
    split = predefined_split(DenseDataset(*rows[:40][0])) if held_out else None
    net.set_params(max_epochs=3, train_split=split, n_iter_no_change=10)
    reads.clear()
    net.partial_fit(rows)
    assert net.history[-1, "train_batch_count"] >= 5
    assert reads == ["tolist"] * 3 + (["tolist"] * 3 if held_out else ["item"] * 2)


# ------------------------------------------------------------------- callbacks


class Listener(Callback):
    """Keeps the names of what it hears: once per epoch, and a step's if asked."""

    def on_train_begin(self, net, X=None, **kwargs):
        self.heard_ = ["train_begin"]
        self.rows_ = X

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        self.heard_.append("epoch_begin")
        assert dataset_train is self.rows_

    def on_epoch_end(self, net, **kwargs):
        self.heard_.append("epoch_end")

    def on_train_end(self, net, **kwargs):
        self.heard_.append("train_end")


class StepListener(Listener):
    def on_batch_begin(self, net, batch=None, training=None, **kwargs):
        self.heard_.append("batch_begin")

    def on_grad_computed(self, net, named_parameters=None, **kwargs):
        self.heard_.append("grad")
        assert all(p.grad is not None for _, p in named_parameters)

    def on_batch_end(self, net, batch=None, loss=None, y_pred=None, **kwargs):
        self.heard_.append("batch_end")
        assert math.isfinite(loss.item())
        assert len(y_pred) == len(batch[0][0])


class CountingNet(TableNet):
    def notify(self, method_name, **kwargs):
        self.__dict__.setdefault("notified_", []).append(method_name)
        super().notify(method_name, **kwargs)


def test_callbacks_hear_every_event():
    listener = StepListener()
    quick(callbacks=[listener]).fit(X)
    step = ["batch_begin", "grad", "batch_end"]
    epoch = ["epoch_begin", *step * N_STEPS, "epoch_end"]
    assert listener.heard_ == ["train_begin", *epoch * N_EPOCHS, "train_end"]


@pytest.mark.parametrize("callbacks", [None, [Listener()], [("name", Listener())]])
def test_nobody_listens_per_batch(callbacks):
    net = CountingNet(Line, Squares, batch_size=8, max_epochs=2, callbacks=callbacks)
    net.partial_fit(make_rows())
    epoch = ["on_epoch_begin", "on_epoch_end"]
    assert net.notified_ == ["on_train_begin", *epoch * 2, "on_train_end"]


@pytest.mark.parametrize("event", ["batch_begin", "grad_computed", "batch_end"])
def test_one_listener_per_batch_suffices(event):
    heard = []
    method = {f"on_{event}": lambda *args, **kwargs: heard.append(event)}
    make_line(callbacks=[type("One", (Callback,), method)()]).partial_fit(make_rows())
    assert heard == [event] * 9


def test_held_out_rows_are_announced_too():
    listener = StepListener()
    quick(callbacks=[listener], early_stopping=True, max_iter=1).fit(X)
    # 135 rows in batches of 16: of 7 rows the last; 15 rows held out, in one batch
    step, judged = ["batch_begin", "grad", "batch_end"], ["batch_begin", "batch_end"]
    assert listener.heard_[2:-2] == step * 9 + judged


def mean_code(net, rows, y):
    with torch.no_grad():
        return net.module_.encode(rows.x_num, rows.x_cat).mean().item()


@pytest.mark.parametrize("early_stopping", [False, True])
def test_epoch_scoring(early_stopping):
    """Gets the encoded rows, trained on or held out."""
    seen = []

    def score(net, rows, y):
        seen.append(len(rows))
        return mean_code(net, rows, y)

    scoring = EpochScoring(score, name="code", on_train=not early_stopping)
    model = quick(callbacks=[scoring], early_stopping=early_stopping).fit(X)
    assert len(model.net_.history[:, "code"]) == N_EPOCHS
    assert seen == [15 if early_stopping else 150] * N_EPOCHS
    if not early_stopping:
        rows = upload(model.codec_, X, model.device_)
        assert model.net_.history[-1, "code"] == pytest.approx(
            mean_code(model.net_, rows, None), abs=1e-6
        )


def test_batch_scoring():
    """Averages over the rows of batches of different lengths."""
    scoring = BatchScoring(lambda net, rows, y: len(rows[0]), name="n", on_train=True)
    model = quick(callbacks=[scoring]).fit(X)
    sizes = [16] * 9 + [6]
    assert model.net_.history[:, "batches", :, "train_batch_size"] == [sizes] * N_EPOCHS
    expected = np.average(sizes, weights=sizes)
    assert model.net_.history[-1, "n"] == pytest.approx(expected)


class Rates(Callback):
    def on_train_begin(self, net, **kwargs):
        self.rates_ = getattr(self, "rates_", [])

    def on_batch_end(self, net, training=None, **kwargs):
        if training:
            self.rates_.append([g["lr"] for g in net.optimizer_.param_groups])


def test_learning_rate_scheduler():
    """Takes the place of the net's own schedule."""
    rates = Rates()
    halves = LRScheduler("StepLR", step_size=1, gamma=0.5)
    quick(callbacks=[rates, halves], learning_rate_init=0.01).fit(X)
    expected = [
        [0.01 * 0.5**epoch] for epoch in range(N_EPOCHS) for _ in range(N_STEPS)
    ]
    np.testing.assert_allclose(rates.rates_, expected)


def test_early_stopping_of_skorch():
    stopping = EarlyStopping("train_loss", patience=2, threshold=1e9, sink=str)
    stopping.threshold_mode = "abs"  # no gain is enough
    model = quick(callbacks=[stopping], max_iter=50).fit(X)
    assert model.n_iter_ == len(model.loss_curve_) == 3  # a first, and two without
    assert model.sample(3).shape == (3, 4)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_checkpoint(early_stopping, tmp_path):
    """Written where nobody listens per batch, too, and a net can be loaded from it."""
    monitor = "valid_loss_best" if early_stopping else "train_loss_best"
    saved = Checkpoint(monitor, dirname=tmp_path, load_best=True, sink=str)
    model = quick(callbacks=[saved], early_stopping=early_stopping).fit(X)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("params.pt", "optimizer.pt", "criterion.pt"),
        *("history.json", "history.json.manifest"),
    }
    other = quick(max_iter=1).fit(X)
    other.net_.load_params(checkpoint=saved)
    best = model.net_.weights()
    for name, tensor in other.net_.weights().items():
        if not name.endswith("log_scale"):  # measured after training
            torch.testing.assert_close(tensor, best[name])
    best = model.net_.history[:, monitor]
    assert len(other.net_.history) == len(best) - best[::-1].index(True)


class GradientNorms(Callback):
    def on_train_begin(self, net, **kwargs):
        self.norms_ = []

    def on_batch_end(self, net, **kwargs):
        squares = [p.grad.square().sum() for p in net.module_.parameters()]
        self.norms_.append(sum(squares).sqrt().item())


def test_gradient_norm_clipping():
    free, clipped = GradientNorms(), GradientNorms()
    quick(callbacks=[free]).fit(X)
    quick(callbacks=[clipped, GradientNormClipping(0.01)]).fit(X)
    assert max(free.norms_) > 0.02
    assert max(clipped.norms_) <= 0.01 * (1 + 1e-4)


def test_gradients_are_clipped_to_the_net_s_own_norm():
    norms = GradientNorms()
    net = make_line(callbacks=[norms], max_grad_norm=0.5).partial_fit(make_rows())
    np.testing.assert_allclose(norms.norms_, 0.5, rtol=1e-4)
    assert net.step_ == 9


# ------------------------------------------------------------------- schedule


def test_steps_follow_the_schedule():
    rates = Rates()
    net = make_line(
        callbacks=[rates], lr=0.1, n_warmup_steps=2, lr_floor=0.2, max_epochs=4
    ).partial_fit(make_rows())
    expected = [[0.1 * warmup_cosine(step, 2, 12, 0.2)] for step in range(12)]
    np.testing.assert_allclose(rates.rates_, expected)
    # going on: from the top, without a second warm-up
    net.partial_fit(make_rows())
    expected = [[0.1 * warmup_cosine(step, 0, 12, 0.2)] for step in range(12)]
    np.testing.assert_allclose(rates.rates_[12:], expected)


def test_a_short_run_warms_up_over_a_quarter():
    rates = Rates()
    net = make_line(callbacks=[rates], lr=0.1, n_warmup_steps=100, max_epochs=4)
    net.partial_fit(make_rows())
    assert np.argmax(rates.rates_) == 2
    expected = [[0.1 * warmup_cosine(step, 3, 12, 0.0)] for step in range(12)]
    np.testing.assert_allclose(rates.rates_, expected)
    net.partial_fit(make_rows())
    assert rates.rates_[12] == pytest.approx([0.1])


def test_a_stream_warms_up_across_its_batches():
    """However small the batches are: 15 steps of 20, here in calls of three."""
    rates = Rates()
    net = make_line(
        callbacks=[rates],
        lr=0.1,
        n_warmup_steps=10,
        lr_floor=1.0,
        max_epochs=1,
        is_stream=True,
    )
    for _ in range(5):
        net.partial_fit(make_rows())
    expected = [[0.1 * min(1.0, (step + 1) / 10)] for step in range(15)]
    np.testing.assert_allclose(rates.rates_, expected)


def test_groups_keep_their_own_scale():
    rates = Rates()
    net = make_line(
        callbacks=[rates],
        lr=0.1,
        lr_floor=1.0,
        optimizer__param_groups=[("slope", {"lr_scale": 3.0})],
    ).partial_fit(make_rows())
    assert net.optimizer_.param_groups[0]["lr"] == pytest.approx(0.3)


# ------------------------------------------------------------------- stopping


def test_a_flat_negative_loss_is_no_gain():
    """A relative threshold would take it for one: -100 lies below .9999 times -100."""
    net = make_clock([-100.0] * 20, n_iter_no_change=3).partial_fit(make_rows())
    assert len(net.history) == 4  # the first epoch, and three without a gain
    assert net.stopped_early_


@pytest.mark.parametrize("start", [-1e4, 0.0, 1e4])
def test_the_tolerance_is_absolute(start):
    small = [start - 0.1 * epoch for epoch in range(30)]
    net = make_clock(small, tol=0.5, n_iter_no_change=4).partial_fit(make_rows())
    assert len(net.history) == 5
    # what is gained over several epochs counts
    net = make_clock(small, tol=0.5, n_iter_no_change=7).partial_fit(make_rows())
    assert len(net.history) == 30
    assert not net.stopped_early_


def test_the_best_weights_come_back():
    judged = [3.0, 1.0, 0.9, 2.0, 0.95, 2.0, 2.0]
    net = make_clock(judged, tol=0.5, n_iter_no_change=5).partial_fit(make_rows())
    assert len(net.history) == 7
    # those of the lowest loss, though it was no gain that counts
    assert time_of(net) == pytest.approx(3, abs=1e-3)


def test_the_best_weights_come_back_at_the_last_epoch_too():
    net = make_clock([3.0, 1.0, 2.0]).partial_fit(make_rows())
    assert not net.stopped_early_
    assert time_of(net) == pytest.approx(2, abs=1e-3)


def test_without_held_out_rows_the_latest_weights_stay():
    net = make_clock(max_epochs=6, n_iter_no_change=2).partial_fit(make_rows())
    assert len(net.history) == 6
    assert time_of(net) == pytest.approx(6, abs=1e-3)


def test_early_stopping_of_the_estimator():
    """On noise there is nothing to learn, and training soon ends."""
    noise = np.random.default_rng(0).normal(size=(60, 10))
    model = quick(
        early_stopping=True, max_iter=500, n_iter_no_change=5, learning_rate_init=1e-2
    ).fit(noise)
    assert model.n_iter_ == len(model.validation_scores_) < 500
    best = int(np.argmax(model.validation_scores_))
    assert best < model.n_iter_ - 1
    assert model.n_iter_ - 1 - best <= 5 + 1
    other = quick(max_iter=1).fit(noise)
    assert other.validation_scores_ is None


def test_held_out_rows_are_not_kept():
    """A pickle does not grow with the rows: none of them is inside."""
    sizes = []
    for n in (200, 20_000):
        rows = np.random.default_rng(0).normal(size=(n, 4))
        options = {"early_stopping": True, "max_iter": 1, "batch_size": 500}
        model = quick(numeric_scaling=None, **options)
        sizes.append(len(pickle.dumps(model.fit(rows).net_)))
    assert sizes[1] < 1.5 * sizes[0]


# ------------------------------------------------------------------- bad losses


class Break(Callback):
    """Spoils the weights after some epochs, as too long a step would."""

    def __init__(self, n_epochs, value=math.nan, interrupt=False):
        self.n_epochs, self.value = n_epochs, value
        self.interrupt = interrupt

    def on_epoch_end(self, net, **kwargs):
        self.weights_ = getattr(self, "weights_", [])
        self.weights_.append({k: t.clone() for k, t in net.weights().items()})
        if len(net.history) == self.n_epochs:
            for parameter in net.module_.parameters():
                parameter.data.fill_(self.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
def test_a_loss_that_is_not_finite_stops_training(value):
    """With an error that says what to do, and the last good weights."""
    breaker = Break(3, value)
    model = quick(callbacks=[breaker], max_iter=10)
    message = r"training loss became (nan|inf) in epoch 4.*learning_rate_init.*0\.001"
    with pytest.raises(FloatingPointError, match=message):
        model.fit(X)
    # what the third epoch ended with was spoilt, though finite in one of the cases
    for name, tensor in model.net_.weights().items():
        if not name.endswith("log_scale"):  # measured after training
            torch.testing.assert_close(tensor, breaker.weights_[1][name])
    assert np.isfinite(model.transform(X)).all()


def test_a_bad_loss_of_held_out_rows_stops_training():
    message = r"loss of the held-out rows became nan in epoch 3.*learning_rate_init"
    net = make_clock([2.0, 1.0, math.nan, 0.0])
    with pytest.raises(FloatingPointError, match=message):
        net.partial_fit(make_rows())
    assert time_of(net) == pytest.approx(2, abs=1e-3)


@pytest.mark.parametrize("batch_size", [16, 1_000])
def test_a_rate_that_is_far_too_high(batch_size):
    """Also with one step per epoch, where the loss comes before the step."""
    model = quick(learning_rate_init=1e20, max_iter=20, batch_size=batch_size)
    with pytest.raises(FloatingPointError, match="Lower learning_rate_init"):
        model.fit(X)
    assert all(torch.isfinite(t).all() for t in model.net_.weights().values())
    # the weights are those of the start: at PCA
    codes = model.transform(X)
    assert np.isfinite(codes).all()
    assert np.isfinite(model.inverse_transform(codes)).all()


# ------------------------------------------------------------------- Ctrl-C


class Interrupt(Callback):
    """Ctrl-C at some event of some epoch."""

    def __init__(self, event, epoch, training=True):
        self.event, self.epoch, self.training = event, epoch, training

    def _at(self, event, net, training=True):
        if (event, len(net.history), training) == (
            *(self.event, self.epoch),
            self.training,
        ):
            self.weights_ = {k: t.clone() for k, t in net.weights().items()}
            self.event = None  # only once
            raise KeyboardInterrupt

    def on_epoch_begin(self, net, **kwargs):
        self._at("epoch_begin", net)

    def on_batch_end(self, net, training=None, **kwargs):
        self._at("batch_end", net, training)

    def on_epoch_end(self, net, **kwargs):
        self._at("epoch_end", net)


@pytest.mark.parametrize(
    ("event", "epoch", "n_iter"),
    [("epoch_end", 3, 3), ("batch_end", 3, 2), ("batch_end", 1, 0)],
)
def test_ctrl_c_keeps_what_was_learnt(event, epoch, n_iter):
    """The weights of the moment; an epoch that was not ended does not count."""
    interrupt = Interrupt(event, epoch)
    model = quick(callbacks=[interrupt], max_iter=50).fit(X)
    assert model.n_iter_ == len(model.loss_curve_) == n_iter
    for name, tensor in model.net_.weights().items():
        if not name.endswith("log_scale"):
            assert torch.equal(tensor, interrupt.weights_[name])
    assert model.transform(X).shape == (150, 2)
    assert np.isfinite(model.score(X))
    assert model.sample(3).shape == (3, 4)
    # and it can go on
    model.set_params(warm_start=True, max_iter=2).fit(X)
    assert model.net_.history[:, "epoch"] == list(range(1, n_iter + 3))


@pytest.mark.parametrize("training", [True, False])
def test_ctrl_c_under_early_stopping(training):
    """The best weights so far; no epoch has one loss without the other."""
    interrupt = Interrupt("batch_end", 5, training)
    model = quick(callbacks=[interrupt], max_iter=50, early_stopping=True).fit(X)
    assert len(model.loss_curve_) == len(model.validation_scores_) == 4
    assert np.isfinite(model.score(X))


# ------------------------------------------------------------------- progress


def test_the_progress_bar_shows_the_loss(capsys):
    model = quick(verbose=1).fit(X)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "AutoencoderTransformer: 100%" in shown.err
    assert f"{N_EPOCHS}/{N_EPOCHS}" in shown.err
    assert f"train_loss={model.loss_curve_[-1]:.3g}" in shown.err
    assert "valid_loss" not in shown.err


def test_the_progress_bar_shows_the_loss_of_held_out_rows(capsys):
    model = quick(verbose=1, early_stopping=True).fit(X)
    loss = -model.validation_scores_[-1]
    assert f"valid_loss={loss:.3g}" in capsys.readouterr().err


def test_silence(capsys):
    model = quick(verbose=0, early_stopping=True).fit(X)
    model.sample(5)
    model.partial_fit(X)
    assert capsys.readouterr() == ("", "")


def test_the_bar_is_closed_whatever_happens(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quick(verbose=1, callbacks=[Interrupt("epoch_end", 2)]).fit(X)
    assert capsys.readouterr().err.endswith("\n")


# ------------------------------------------------------------------- randomness


def fitted_weights(seed_of_torch, **parameters):
    torch.manual_seed(seed_of_torch)
    return quick(**parameters).fit(X).net_.weights()


def assert_same(first, second):
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def test_weights_do_not_depend_on_the_global_generator():
    """Skorch draws them from it, and torch's modules know no other."""
    torch.manual_seed(0)
    one = make_line_of_random_start().weights()
    torch.manual_seed(1)
    assert_same(one, make_line_of_random_start().weights())
    assert not torch.equal(
        one["module.weight"],
        make_line_of_random_start(seed=1).weights()["module.weight"],
    )
    assert_same(fitted_weights(0, noise=0.1), fitted_weights(1, noise=0.1))


def make_line_of_random_start(seed=0):
    net = TableNet(nn.Linear, Squares, module__in_features=2, module__out_features=2)
    return net.set_params(seed=seed).initialize()


def test_held_out_rows_do_not_move_the_generator():
    """The order of the rows is the same, whether others are judged or not."""
    orders = []
    for split in (None, predefined_split(make_rows(10))):
        batches = Batches()
        make_line(callbacks=[batches], train_split=split).partial_fit(make_rows())
        orders.append(batches.epochs_)
    assert orders[0] == orders[1]


class Noise(nn.Module):
    """Keeps the noise that each pass in training or evaluation has drawn."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(()))
        self.drawn = {True: [], False: []}

    def forward(self, x_num, x_cat, generator=None):
        noise = torch.rand((), generator=generator)
        self.drawn[self.training].append(noise.item())
        return self.slope * x_num


def test_held_out_rows_meet_the_same_noise_in_every_epoch():
    """Two epochs differ by their weights alone. Training meets new noise each time."""
    split = predefined_split(make_rows(10))
    net = TableNet(Noise, Squares, batch_size=20, max_epochs=5, train_split=split)
    drawn = net.partial_fit(make_rows()).module_.drawn
    assert len(drawn[True]) == len(drawn[False]) == 5
    assert len(set(drawn[True])) == 5
    assert len(set(drawn[False])) == 1


# ------------------------------------------------------------------- skorch


def net_of(model):
    return model(2, hidden_layer_sizes=(8,), max_iter=1, random_state=0).fit(X).net_


@pytest.mark.parametrize("model", [AutoencoderTransformer, VAETransformer, GANSampler])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_what_is_learnt_ends_in_an_underscore(model):
    """Skorch reads any other attribute as a parameter of the constructor."""
    net = net_of(model)
    declared = {
        name for kind in type(net).__mro__[:-1] for name in signature(kind).parameters
    }
    for name in [*vars(net), *net.get_params(deep=False)]:
        known = name in declared or name.partition("__")[0] in declared
        assert known or name.endswith("_") or name.startswith("_"), name
    assert not {"generator", "step", "warmup", "kept"} & set(vars(net))


@pytest.mark.parametrize("kind", [TableNet, GANNet])
def test_parameters_of_a_net(kind):
    net = kind(Line, Squares, seed=3, tol=0.5, module__start=1.0)
    parameters = clone(net).get_params(deep=False)
    assert parameters["seed"] == 3
    assert parameters["tol"] == 0.5
    assert parameters["module__start"] == 1.0
    assert parameters["verbose"] == 0


def test_a_misspelt_parameter_of_a_net():
    with pytest.raises(ValueError, match="unexpected argument.*n_warmup"):
        make_line(n_warmup=3).initialize()


def test_a_clone_trains_alike():
    first = make_line(lr=0.1).partial_fit(make_rows())
    second = clone(first).partial_fit(make_rows())
    assert_same(first.weights(), second.weights())
    assert first.weights()["module.slope"] != 0


@pytest.mark.parametrize("kind", [VAETransformer, GANSampler])
@pytest.mark.filterwarnings("ignore:Generated rows cover only")
def test_gradients_do_not_outlive_a_fit(kind):
    """They are as large as the net, and on a GPU hold the memory of its graphs."""
    net = kind(2, hidden_layer_sizes=(8,), max_iter=2, random_state=0).fit(X).net_
    assert all(p.grad is None for _, p in net.get_all_learnable_params())


@pytest.mark.parametrize("kind", ["autoencoder", "VAE"])
def test_gradients_lie_in_memory_of_their_own(kind):
    """Clipping divides each in place; two names of one would be divided twice."""
    layout = TableLayout(2, (3, 40), masks=(-1, 0))
    torch.manual_seed(0)
    if kind == "VAE":
        net = VariationalAutoencoder(
            layout, 2, (4, 4), "silu", False, autoregressive_width=4
        )
        criterion = NegativeELBO(0.5)
    else:
        net = Autoencoder(layout, 2, (4, 4), "silu", False, 0.1, False)
        criterion = ReconstructionLoss(layout)
    noise = torch.Generator().manual_seed(0)
    rows = torch.randn(9, 2), torch.randint(3, (9, 2))
    loss = criterion(net(*rows, generator=noise), rows)
    set_gradients(loss, net.parameters())
    gradients = [p.grad for p in net.parameters()]
    places = {gradient.untyped_storage().data_ptr() for gradient in gradients}
    assert len(places) == len(gradients)
    expected = torch.autograd.grad(
        criterion(net(*rows, generator=noise.manual_seed(0)), rows),
        list(net.parameters()),
    )
    norm = torch.stack([g.norm() for g in expected]).norm()
    clip_gradients([list(net.parameters())], 0.5 * norm.item())
    for gradient, plain in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, 0.5 * plain)
