"""Encoder, decoder and the model of rows, which may learn from different batches."""

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from sklearn_unsup import VAETransformer
from sklearn_unsup._encoding import upload
from sklearn_unsup._training.vae_net import BOTH, ONLY_CODES, ONLY_ROWS, VAENet
from sklearn_unsup.datasets import make_mixed_table

X, _ = make_mixed_table(200, random_state=0)


@pytest.fixture
def model():
    options = {"hidden_layer_sizes": (16,), "max_iter": 2, "batch_size": 32}
    return VAETransformer(4, random_state=0, **options).fit(X)


def take_step(model, variant):
    """One step; the reported loss, and the names of the weights that changed."""
    net = model.net_
    net.code_interval = 2
    net.set_training(True)
    rows = upload(model.codec_, X, model.device_, np.random.default_rng(0))
    before = {name: tensor.clone() for name, tensor in net.weights().items()}
    loss = net.train_on_batch(rows[:32], variant)["loss"].item()
    after = net.weights()
    return loss, {name for name in before if not before[name].equal(after[name])}


def test_in_a_batch_between_only_the_model_of_rows_learns(model):
    _, changed = take_step(model, BOTH)
    assert {name.split(".")[1] for name in changed} >= {"encoder", "decoder"}
    _, changed = take_step(model, ONLY_ROWS)
    assert changed
    assert {name.split(".")[1] for name in changed} == {"autoregressive"}


@pytest.mark.parametrize("variant", [BOTH, ONLY_ROWS, ONLY_CODES])
def test_each_part_is_clipped_by_its_own_norm(model, variant):
    """Or steep gradients of encoder and decoder would shorten the steps of the rows."""
    net = model.net_
    net.max_grad_norm = 1e-3
    take_step(model, variant)
    for is_of_rows in (True, False):
        squares = [
            parameter.grad.square().sum()
            for name, parameter in net.module_.named_parameters()
            if name.startswith("autoregressive.") == is_of_rows
            and parameter.grad is not None
        ]
        learns = variant != (ONLY_CODES if is_of_rows else ONLY_ROWS)
        assert bool(squares) == learns
        if learns:
            norm = sum(squares).sqrt().item()
            assert norm == pytest.approx(1e-3, rel=1e-3)


def test_the_reported_loss_is_of_both(model):
    """The model of rows hardly changes in a step, the bound is that of the last one."""
    model.net_.lr = 0.0
    for group in model.net_.optimizer_.param_groups:
        group["lr"] = 0.0
    model.net_.module_.autoregressive.requires_grad_(True)
    whole, _ = take_step(model, BOTH)
    between, _ = take_step(model, ONLY_ROWS)
    assert between == pytest.approx(whole, abs=1.0)  # dropout and noise differ
    bound = model.net_.last_loss_.item()
    assert abs(whole - bound) > 5.0  # so that without the bound it would not be near


def test_an_epoch_begins_with_all(model):
    """Or a run that goes on after a checkpoint would learn from other batches."""
    net = model.net_
    net.code_interval, net.epoch_start_, net.max_epochs = 2, 7, 5
    variants = []
    for net.step_ in range(7, 11):
        variants.append(net.step_variant()[0])
    assert variants == [BOTH, ONLY_ROWS, BOTH, ONLY_ROWS]
    net.is_stream = True
    assert net.step_variant()[0] == BOTH


@pytest.mark.parametrize(("max_epochs", "variant"), [(5, ONLY_ROWS), (4, BOTH)])
def test_in_the_second_half_of_the_epochs_all_learn(model, max_epochs, variant):
    net = model.net_
    assert len(net.history) - net.epochs_before_ == 2
    net.code_interval, net.epoch_start_, net.step_ = 2, 7, 8
    net.max_epochs = max_epochs
    assert net.step_variant()[0] == variant


def test_of_few_rows_the_model_of_rows_learns_from_every_second_batch(model):
    net = model.net_
    net.row_interval, net.epoch_start_ = 2, 7
    variants = []
    for net.step_ in range(7, 11):
        variants.append(net.step_variant()[0])
    assert variants == [BOTH, ONLY_CODES, BOTH, ONLY_CODES]
    net.is_stream = True
    net.step_ = 8
    assert net.step_variant()[0] == BOTH


@pytest.mark.parametrize(
    ("n_rows", "options", "interval"),
    [
        (300, {}, 2),
        (800, {}, 2),
        (801, {}, 1),
        (300, {"max_iter": 5}, 1),
        (300, {"sampling": "any_order"}, 1),
    ],
)
def test_rows_per_batch_of_few_rows(model, n_rows, options, interval):
    """Its longer steps go a fifth farther than the ones that they replace.

    Where trials find the number of epochs, all are three times as long.
    """
    model.set_params(**{"max_iter": "auto", **options})
    assert model._row_interval(n_rows) == interval
    if not options:
        scale = dict(model._param_groups(n_rows))["autoregressive.*"]["lr_scale"]
        share = model._autoregressive_steps(n_rows) / model._default_steps(n_rows)
        assert scale == pytest.approx(3 * share * (2.4 if interval == 2 else 1.0))
    model._update_stream_net(n_rows)
    assert model._row_interval(n_rows) == 1


def test_steps_are_longer_only_where_trials_say_how_many(model):
    model.set_params(max_iter="auto")

    def scale(n_rows=500):
        return dict(model._param_groups(n_rows))["autoregressive.*"]["lr_scale"]

    with_trials = scale()
    for name, value in (("_is_alone", False), ("_is_stream", True)):
        before = getattr(model, name)
        setattr(model, name, value)
        assert scale() == pytest.approx(with_trials / 3)
        setattr(model, name, before)
    model.set_params(early_stopping=True)
    assert scale() == pytest.approx(with_trials / 3)
    model.set_params(early_stopping=False)


def test_a_fit_of_few_rows_alternates():
    X = np.random.default_rng(0).normal(size=(40, 2))
    model = VAETransformer(2, random_state=0)
    steps = []

    class Recording(Callback):
        def on_batch_end(self, net, batch, training, **kwargs):
            steps.append(net.step_variant()[0])

    model.set_params(callbacks=[Recording()]).fit(X)
    assert model.net_.row_interval == 2
    assert set(steps) == {BOTH, ONLY_CODES}
    weights = model.net_.module_.encoder.hidden[0].weight
    assert model.net_.module__hidden_layer_sizes == (128, 128)
    assert weights.isfinite().all()
    model.partial_fit(X)
    assert model.net_.step_variant()[0] == BOTH
    stream = VAETransformer(2, random_state=0).partial_fit(X)
    assert stream.net_.module__hidden_layer_sizes == (256, 256)


@pytest.mark.parametrize(("n_rows", "interval"), [(5_000, 1), (20_000, 1), (30_000, 2)])
def test_on_large_tables_every_second_batch(model, n_rows, interval):
    model.set_params(max_iter="auto", batch_size="auto")
    assert model._code_interval(n_rows) == interval
    model.device_ = "cuda"  # a few large steps there
    assert model._code_interval(n_rows) == 1
    model.set_params(max_iter=50)
    assert model._code_interval(n_rows) == 1


@pytest.mark.parametrize(
    ("n_rows", "scale"), [(300, 1_000 / 300), (20_000, 1.0), (30_000, 1.5)]
)
def test_fewer_steps_of_encoder_and_decoder_are_longer(model, n_rows, scale):
    model.set_params(max_iter="auto", batch_size="auto")
    steps = model._default_steps(n_rows)
    assert steps == 300 or n_rows > 300
    groups = dict(model._param_groups(n_rows))
    for pattern in ("*", "*bias", "log_scale"):
        assert groups[pattern]["lr_scale"] == pytest.approx(scale)


@pytest.fixture
def alternates(monkeypatch):
    """Of few rows, too, encoder and decoder learn from some batches, rows from all."""
    for name, value in [
        ("MIN_ALTERNATING_STEPS", 1),
        ("FEW_ROWS", 0),
        ("MAX_TRIAL_ROWS", 0),
    ]:
        monkeypatch.setattr(f"sklearn_unsup._row_fitting.{name}", value)


def test_batches_are_skipped_in_fewer_than_half_of_the_epochs(alternates, monkeypatch):
    variants, train_on_batch = {}, VAENet.train_on_batch

    def record(net, batch, variant):
        variants.setdefault(len(net.history), set()).add(variant)
        return train_on_batch(net, batch, variant)

    monkeypatch.setattr(VAENet, "train_on_batch", record)
    model = VAETransformer(2, hidden_layer_sizes=(8,), random_state=0).fit(X)
    n_epochs = model.net_.max_epochs
    assert len(variants) == n_epochs > 10
    for number, seen in variants.items():
        assert seen == ({BOTH} if 2 * number >= n_epochs else {BOTH, ONLY_ROWS})
    assert torch.isfinite(torch.tensor(model.loss_curve_)).all()
    assert model.net_.code_interval == 2
    model.set_params(warm_start=True, max_iter=1).fit(X)
    assert model.net_.code_interval == 1
    assert dict(model._param_groups(len(X)))["*"]["lr_scale"] == 1.0


def test_of_a_stream_no_batch_is_skipped(model):
    """Nor are steps of encoder and decoder longer."""
    stream = VAETransformer(2, hidden_layer_sizes=(8,), random_state=0).partial_fit(X)
    model.set_params(max_iter="auto", batch_size="auto")
    assert model._code_interval(30_000) == 2
    model._update_stream_net(30_000)
    for estimator in (model, stream):
        assert estimator._code_interval(30_000) == 1
        groups = dict(estimator._param_groups(30_000))
        assert groups["*"]["lr_scale"] == 1.0


@pytest.mark.slow
def test_the_model_of_rows_is_the_same_where_batches_are_skipped(
    alternates, monkeypatch
):
    """They share no weights. Draws are others."""
    model = VAETransformer(2, hidden_layer_sizes=(8,), random_state=0).fit(X)
    monkeypatch.setattr("sklearn_unsup._row_fitting.MIN_ALTERNATING_STEPS", 1e9)
    every = VAETransformer(2, hidden_layer_sizes=(8,), random_state=0).fit(X)
    assert (model.net_.code_interval, every.net_.code_interval) == (2, 1)
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    drawn, others = (m.sample(2_000, random_state=0) for m in (model, every))
    for name in X.select_dtypes("number"):
        scale = X[name].std()
        assert abs(drawn[name].mean() - others[name].mean()) < 0.25 * scale
