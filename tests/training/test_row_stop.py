"""When a model of rows stops, by what held-out and training rows say of it."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import Callback, Checkpoint, LoadInitState

from sklearn_unsup import VAETransformer
from sklearn_unsup._encoding import upload
from sklearn_unsup._nn.column_parts import weights_of_column
from sklearn_unsup._row_fitting import MEDIUM_STEPS_FACTOR, ROW_SPAN
from sklearn_unsup._training import vae_net
from sklearn_unsup._training.averaging import LARGE_STEP_SHARPNESS, WeightAverage
from sklearn_unsup._training.row_stop import TOLERANCE, RowStop
from sklearn_unsup.datasets import make_mixed_table

X, _ = make_mixed_table(240, random_state=0)

# Steps at which held-out rows and training rows are evaluated, their scores, and the
# number of evaluations until the model stops; None if it does not.
CURVES = [
    # A tenth of the gain is enough, less is not.
    ([10, 20, 40, 80], [0, 1.1, 2.2, 3.3], [0, 10, 20, 30], None),
    ([10, 20, 40, 80], [0, 0.9, 1.8, 2.7], [0, 10, 20, 30], 3),
    # A single poor score is noise.
    ([10, 20, 40, 80], [0, 0.9, 2, 2.5], [0, 10, 20, 30], None),
    ([10, 20, 40, 80, 160], [0, 0.9, 2, 2.5, 3], [0, 10, 20, 30, 40], 5),
    # Falls count, also where training rows lose as well.
    ([10, 20, 40], [0, -1, -2], [0, 1, 2], 3),
    ([10, 20, 40], [0, -2, -4], [0, -1, -2], 3),
    # The span is at least a fifth of the steps: 95 is compared with 70.
    ([70, 90, 95, 100], [0, 1, 1, 1], [0, 8, 8.1, 8.2], None),
]


def judged(model, held_out, train, steps, free_steps=1_000):
    """A stop that is told scores; its number of evaluations, and its average.

    Scores are those of all columns, or rows of numbers for each column.
    """
    average = WeightAverage(model.parameters())
    stop = RowStop(model.autoregressive, average, [0], [0], free_steps)
    shape = len(held_out), stop.n_parts
    told = np.stack(
        [
            np.broadcast_to(np.reshape(part, (len(part), -1)), shape)
            for part in (held_out, train)
        ],
        axis=1,
    ).astype(float)
    told = iter(told.reshape(-1, stop.n_parts))
    stop._mean_terms = lambda _: next(told)
    for n_evaluations, step in enumerate(steps, 1):
        stop.evaluate(step)
        if stop.is_done:
            return stop, average, n_evaluations
    return stop, average, None


@pytest.fixture
def model():
    options = {"hidden_layer_sizes": (8,), "max_iter": 1, "batch_size": 60}
    return VAETransformer(2, random_state=0, **options).fit(X)


@pytest.mark.parametrize(("steps", "held_out", "train", "n_evaluations"), CURVES)
def test_when_it_stops(model, steps, held_out, train, n_evaluations):
    *_, found = judged(model.net_.module_, held_out, train, steps)
    assert found == n_evaluations


@pytest.mark.parametrize(("free_steps", "expected"), [(100, None), (39, 4), (9, 3)])
def test_small_gains_are_worth_few_steps(model, free_steps, expected):
    """Where encoder and decoder learn as well they cost little."""
    rising = 1e-3 * np.arange(5)
    steps = [10, 20, 40, 80, 160]
    *_, found = judged(model.net_.module_, rising, rising, steps, free_steps)
    assert found == expected
    *_, found = judged(model.net_.module_, 4 * rising, rising, steps, free_steps)
    assert found is None


def test_evaluations_become_rarer(model):
    stop, *_ = judged(model.net_.module_, [0.0] * 10, [0.0] * 10, [])
    due = []
    for step in (10, 11, 12, 100, 109, 111, 122, 123):
        if stop.is_due(step):
            stop.evaluate(step)
            due.append(step)
    assert due == [10, 11, 100, 111, 123]


@pytest.mark.parametrize("stops", [False, True])
def test_its_weights_are_the_average_once_it_has_stopped(model, stops):
    """And before, training goes on from the latest ones; so do the other parts."""
    module = model.net_.module_
    average = WeightAverage(module.parameters())
    stop = RowStop(module.autoregressive, average, [0], [0], 1_000)
    latest = [parameter.clone() for parameter in module.parameters()]
    seen = []
    stop._mean_terms = lambda _: (
        seen.append(stop.pairs[0][0].clone()) or np.zeros(stop.n_parts)
    )
    for mean in average.average:
        mean += 1.0
    n = stop.n_parts
    stop.n_waited[:] = int(stops)
    stop.evaluations = [(1, np.stack([np.zeros(n), -np.ones(n)]))]
    stop.evaluate(2)
    assert stop.is_done == stops
    # What is judged is the average in any case.
    assert all(part.equal(stop.pairs[0][1]) for part in seen)
    own = {id(parameter) for parameter in module.autoregressive.parameters()}
    for parameter, before in zip(module.parameters(), latest, strict=True):
        shift = float(stops and id(parameter) in own)
        torch.testing.assert_close(parameter.detach(), before + shift)


def test_each_column_keeps_the_weights_it_was_likeliest_with(model):
    """One that rises to the end keeps the last ones, one of noise the first ones."""
    module = model.net_.module_
    average = WeightAverage(module.parameters())
    stop = RowStop(module.autoregressive, average, [0], [0], 1_000)
    n, steps = stop.n_parts, [10, 20, 40, 80, 160]
    assert n == module.autoregressive.n_columns > 2
    best = np.arange(n) % 3  # the evaluation at which held-out cells are likeliest
    best[-1] = len(steps) - 1
    for number, step in enumerate(steps):
        for mean in average.average:
            mean.fill_(float(number))
        held_out = -np.abs(number - best).astype(float)
        told = iter([held_out, np.full(n, 10.0 * number)])
        stop._mean_terms = lambda _, told=told: next(told)
        stop.evaluate(step, is_last=step == steps[-1])
        assert stop.is_done == (step == steps[-1])
    for column in range(n):
        for weight in weights_of_column(module.autoregressive, column):
            assert (weight == best[column]).all()
    # The average that training ends with is the same.
    for parameter, mean in stop.pairs:
        assert mean.equal(parameter)


def test_later_weights_are_kept_if_they_lose_hardly_anything(model):
    module = model.net_.module_
    average = WeightAverage(module.parameters())
    stop = RowStop(module.autoregressive, average, [0], [0], 1_000)
    for number, loss in enumerate([1.0, 0.0, TOLERANCE / 2, 2 * TOLERANCE]):
        for mean in average.average:
            mean.fill_(float(number))
        scores = np.full(stop.n_parts, -loss)
        stop._mean_terms = lambda _, scores=scores: scores
        stop.evaluate(10 * 2**number, is_last=number == 3)
    for column in range(stop.n_parts):
        for weight in weights_of_column(module.autoregressive, column):
            assert (weight == 2.0).all()


@pytest.mark.filterwarnings("ignore:All components have collapsed")
def test_columns_that_learn_embeddings_end_together():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"many": rng.integers(50, size=300)}).astype("category")
    table["x"] = rng.normal(size=300)
    many = VAETransformer(2, hidden_layer_sizes=(8,), max_iter=1).fit(table)
    module = many.net_.module_
    assert len(module.autoregressive.embeddings) == 1
    module.autoregressive.learn_embeddings(False)
    stop, _, found = judged(module, [0, -1, -2], [0, 1, 2], [10, 20, 40])
    assert stop.n_parts == 2  # Scores of levels are not learnt.
    module.autoregressive.learn_embeddings(True)
    stop, _, found = judged(module, [0, -1, -2], [0, 1, 2], [10, 20, 40])
    assert (stop.n_parts, found) == (1, 3)
    assert len(stop.kept[0]) == len(list(module.autoregressive.parameters()))


def test_the_scores_are_mean_log_likelihoods(model, monkeypatch):
    monkeypatch.setattr("sklearn_unsup._training.row_stop.PASS_ROWS", 7)
    module = model.net_.module_.eval()
    rows = upload(model.codec_, X, "cpu")
    held_out, train = rows.split(torch.arange(len(rows)), 200)[::-1]
    stop = RowStop(
        module.autoregressive, WeightAverage(module.parameters()), held_out, train, 9
    )
    module.train()
    scores = stop.evaluate(1)
    assert module.autoregressive.training
    with torch.no_grad():
        terms = module.eval().autoregressive.log_prob(*rows.take(slice(None)))
    expected = terms[200:].mean().item(), terms[:40].mean().item()
    assert scores == pytest.approx(expected, rel=1e-5)


def weights_of(net):
    return {name: tensor.clone() for name, tensor in net.weights().items()}


def test_after_the_stop_encoder_and_decoder_go_on(model):
    net = model.net_
    rows = upload(model.codec_, X, model.device_, np.random.default_rng(0))
    net.code_interval, net.epoch_start_, net.max_epochs = 2, net.step_, 100
    net.train_step(rows[:60])
    net.epoch_start_ = net.step_
    net.row_stop_, _, _ = judged(net.module_, [0, 0, 0], [0, 1, 2], [1, 2, 4])
    assert net.row_stop_.is_done
    changes, losses = [], []
    for _ in range(2):
        before = weights_of(net)
        losses.append(net.train_step(rows[:60])["loss"].item())
        after = net.weights()
        changes.append(
            {k.split(".")[1] for k in before if not before[k].equal(after[k])}
        )
    assert changes[0] >= {"encoder", "decoder"}
    assert "autoregressive" not in changes[0]
    # The batch between is nobody's; the loss of a part that rests is its latest one.
    assert not changes[1]
    assert losses[1] == pytest.approx(losses[0])
    assert net.last_row_loss_.item() != 0.0


@pytest.fixture
def stops_at(monkeypatch):
    """Fits of few rows hold some out, and stop at the evaluation of this number."""
    taken = {"evaluations": 0, "sizes": []}
    monkeypatch.setattr("sklearn_unsup._row_fitting.MIN_HOLD_OUT_ROWS", 200)
    monkeypatch.setattr("sklearn_unsup._row_fitting.MIN_STEPS", 70)
    monkeypatch.setattr("sklearn_unsup._row_fitting.MIN_ANY_ORDER_STEPS", 40)
    monkeypatch.setattr("sklearn_unsup._row_fitting.ANY_ORDER_RATIO", 0.1)

    class Told(RowStop):
        def __init__(self, model, average, *others):
            super().__init__(model, average, *others)
            taken["sharpness"], taken["free_steps"] = average.sharpness, others[-1]

        def evaluate(self, step, broadcast, is_last=False):
            taken["evaluations"] += 1
            taken["sizes"] = [len(rows) for rows in self.datasets]
            self.n_waited[:] = 2 if taken["evaluations"] == taken["last"] else -10
            self.best[:] = -np.inf  # The latest weights are kept.
            return super().evaluate(step, broadcast, is_last)

        def _is_memorising(self, step, scores):
            return np.ones(self.n_parts, dtype=bool)

    monkeypatch.setattr(vae_net, "RowStop", Told)

    def begin(last):
        taken["last"] = last
        return taken

    return begin


SMALL = {"hidden_layer_sizes": (8,), "random_state": 0}


@pytest.mark.parametrize(("many_rows", "width"), [(240, 128), (241, 96)])
def test_a_fit_with_held_out_rows(stops_at, many_rows, width, monkeypatch):
    """The model of rows is wide, stays as the stop left it, and holds no rows."""
    monkeypatch.setattr("sklearn_unsup._row_fitting.MANY_ROWS", many_rows)
    taken = stops_at(2)
    model = VAETransformer(2, **SMALL).fit(X)
    assert taken["evaluations"] == 2
    assert taken["sizes"] == [12, 228]  # 5 % of 240 rows
    assert model.net_.module_.autoregressive.width == width
    history = model.net_.history
    assert len(history) > 4  # encoder and decoder went on
    assert ["held_out_row_loss" in epoch for epoch in history[:3]] == [
        True,
        True,
        False,
    ]
    assert np.isfinite(history[1]["held_out_row_loss"])
    assert taken["sharpness"] == LARGE_STEP_SHARPNESS
    assert model.net_.evaluation_rows_ is None
    assert model.net_.row_stop_ is None
    restored = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(restored.score_samples(X), model.score_samples(X))


@pytest.mark.parametrize(("n_rows", "factor"), [(9_900, 0.55), (20_000, 0.49)])
def test_wide_models_take_fewer_and_larger_steps(model, n_rows, factor):
    whole = copy.copy(model).set_params(max_iter="auto", batch_size="auto")
    stops_early = clone(whole).set_params(early_stopping=True)
    vars(stops_early).update(codec_=model.codec_, device_=model.device_)
    steps, lr_scales = [], []
    for estimator in (whole, stops_early):
        steps.append(estimator._default_steps(n_rows))
        groups = dict(estimator._param_groups(n_rows))
        lr_scales.append(groups["autoregressive.*"]["lr_scale"])
    assert steps[0] == pytest.approx(factor * steps[1], abs=1)
    assert lr_scales == [2.0 if n_rows == 20_000 else 3.0, 1.0]


@pytest.mark.parametrize(
    ("n_rows", "factor"), [(20, 90), (111, 90), (125, 80), (1_000, 10), (20_000, 1)]
)
def test_the_model_of_few_rows_is_held_back_more(model, n_rows, factor):
    """A normal prior of the weights counts like a fixed number of rows."""
    groups = dict(model._param_groups(n_rows))
    decay = groups["autoregressive.*"]["weight_decay"]
    assert decay == pytest.approx(factor * model.weight_decay, rel=0.01)
    assert groups["autoregressive.*bias*"]["weight_decay"] == 0
    assert "weight_decay" not in groups["*"]


def test_the_steps_are_those_of_a_wide_model_though_few_rows_are_left(
    stops_at, monkeypatch
):
    """Of as many rows as it takes for some to be held out."""
    monkeypatch.setattr("sklearn_unsup._row_fitting.MIN_HOLD_OUT_ROWS", len(X))
    monkeypatch.setattr("sklearn_unsup._row_fitting.MIN_STEPS", 1)
    taken = stops_at(100)
    model = VAETransformer(2, batch_size=64, **SMALL).fit(X)
    assert taken["evaluations"] > 0
    steps = MEDIUM_STEPS_FACTOR * 10.5 * np.sqrt(228) * 0.5
    assert np.ceil(steps / 4) == 11
    assert model.net_.max_epochs == ROW_SPAN * 11
    # Small gains are worth the steps of half the epochs of encoder and decoder.
    assert taken["free_steps"] == 11 * 4 / 2


def test_a_fit_ends_when_both_parts_have_ended(stops_at):
    """Encoder and decoder after their epochs, though held-out rows may take longer."""
    taken = stops_at(3)
    early = VAETransformer(2, batch_size=64, **SMALL).fit(X)
    n_epochs = early.net_.max_epochs // ROW_SPAN
    assert early.n_iter_ == n_epochs > 3
    decoders = []
    for n_more in (2, 5):
        taken = stops_at(n_epochs + n_more)
        taken["evaluations"] = 0
        late = VAETransformer(2, batch_size=64, **SMALL).fit(X)
        assert n_epochs + n_more <= late.n_iter_ < late.net_.max_epochs
        decoders.append(late.net_.module_.decoder.state_dict())
    # What decodes has not changed after its own epochs.
    for name, tensor in decoders[0].items():
        assert tensor.equal(decoders[1][name])


def test_columns_that_have_ended_stay_as_they_are(model):
    """While others go on: so a checkpoint has them."""
    module = model.net_.module_
    average = WeightAverage(module.parameters())
    stop = RowStop(module.autoregressive, average, [0], [0], 1_000)
    stop.has_ended[0] = True
    stop.kept[0] = [
        torch.full_like(weight, 7.0)
        for weight in weights_of_column(module.autoregressive, 0)
    ]
    before = [w.clone() for w in weights_of_column(module.autoregressive, 1)]
    stop._mean_terms = lambda _: np.zeros(stop.n_parts)
    stop.evaluate(10)
    for weight in weights_of_column(module.autoregressive, 0):
        assert (weight == 7.0).all()
    for weight, own in zip(
        weights_of_column(module.autoregressive, 1), before, strict=True
    ):
        assert weight.equal(own)


def test_an_interrupted_fit_ends_with_what_was_kept(stops_at, monkeypatch):
    """Without another evaluation, for which other processes may never be there."""
    stops_at(1_000)

    class Interrupt(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 6:
                raise KeyboardInterrupt

    whole = VAETransformer(2, callbacks=[Interrupt()], **SMALL)
    told, ended = [], RowStop.end
    monkeypatch.setattr(RowStop, "end", lambda self: told.append(self) or ended(self))
    whole.fit(X)
    [stop] = told
    rows = whole.net_.module_.autoregressive
    for column, kept in enumerate(stop.kept):
        for weight, own in zip(weights_of_column(rows, column), kept, strict=True):
            assert weight.equal(own)


def test_a_finished_fit_is_not_resumed(stops_at, tmp_path):
    taken = stops_at(2)
    files = {"dirname": str(tmp_path)}
    callbacks = [Checkpoint(monitor=None, **files)]
    first = VAETransformer(2, callbacks=callbacks, **SMALL).fit(X)
    assert first.n_iter_ < first.net_.max_epochs
    taken["evaluations"] = 0
    checkpoint = Checkpoint(monitor=None, **files)
    callbacks = [checkpoint, LoadInitState(checkpoint)]
    again = VAETransformer(2, callbacks=callbacks, **SMALL).fit(X)
    assert again.n_iter_ == first.n_iter_
    assert taken["evaluations"] == 0


def test_the_stop_decides_what_is_drawn(stops_at):
    """A model that stopped at the first evaluation is another one than a later one."""
    scores = []
    for last in (1, 4):
        taken = stops_at(last)
        taken["evaluations"] = 0
        scores.append(VAETransformer(2, **SMALL).fit(X).score(X))
    assert scores[0] < scores[1]


@pytest.mark.parametrize(
    "options",
    [
        {"max_iter": 2},
        {"early_stopping": True, "max_iter": "auto", "n_iter_no_change": 1},
        {"sampling": "any_order"},
        {"sampling": "latent", "max_iter": 2},
    ],
    ids=str,
)
def test_fits_without_held_out_rows(stops_at, options):
    taken = stops_at(1)
    model = VAETransformer(2, **SMALL, **options).fit(X)
    assert taken["evaluations"] == 0
    rows = model.net_.module_.autoregressive
    width = 48 if options.get("sampling") == "any_order" else 64
    assert rows is None or rows.width == width


def test_a_stream_holds_nothing_out(stops_at):
    taken = stops_at(1)
    model = VAETransformer(2, **SMALL).partial_fit(X)
    assert taken["evaluations"] == 0
    assert model.net_.module_.autoregressive.width == 64


@pytest.mark.slow
def test_rows_of_noise_are_not_memorised(monkeypatch):
    """Independent columns have nothing to learn after their marginals."""
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(2, 1_000, 4))
    monkeypatch.setattr(VAETransformer, "_autoregressive_steps", lambda *_: 1_500)
    # Trials of few rows would end the other fit in time, too.
    monkeypatch.setattr("sklearn_unsup._row_fitting.MAX_TRIAL_ROWS", 0)
    scores = {}
    for min_rows in (500, 10_000):
        monkeypatch.setattr("sklearn_unsup._row_fitting.MIN_HOLD_OUT_ROWS", min_rows)
        model = VAETransformer(2, weight_decay=0.01, **SMALL).fit(train)
        scores[min_rows] = model.score(test)
    entropy = 2 * np.log(2 * np.pi * np.e)
    assert scores[10_000] < scores[500] - 0.1
    assert scores[500] > -entropy - 0.3
