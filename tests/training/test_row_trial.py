"""Trials that find out for how many epochs the model of rows learns."""

import copy

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from skorch.history import History

from sklearn_unsup import VAETransformer
from sklearn_unsup._encoding import upload
from sklearn_unsup._row_fitting import FoundStart, columns_to_start_afresh
from sklearn_unsup._table.codec import TableCodec
from sklearn_unsup._training import vae_net
from sklearn_unsup._training.row_trial import RowTrial, best_row_epochs
from sklearn_unsup.datasets import make_mixed_table

X, _ = make_mixed_table(120, random_state=0)
SMALL = {"n_components": 2, "hidden_layer_sizes": (8,), "random_state": 0}


class Told:
    """A trial whose scores are known."""

    def __init__(self, scores):
        self.scores, self.n_epochs = scores, 0

    def train_epoch(self):
        self.n_epochs += 1
        return self.scores[self.n_epochs - 1]

    def keep(self):
        self.kept = self.n_epochs


# Scores after each epoch, and how many epochs are best and how many were tried.
CURVES = [
    ([1.0, 2.0, 3.0, 2.0], 3, 4),
    ([3.0, 2.0, 2.0, 2.0, 9.0], 1, 4),
    ([1.0, 2.0, 3.0, 2.0, 2.0, 4.0, 3.0, 3.0, 3.0, 9.0], 6, 9),
    ([-1.0, -2.0, -3.0, -1.5, -0.5], 1, 4),
    ([1.0, 2.0, float("nan"), 9.0], 2, 3),
    ([float("nan"), 9.0], 1, 1),
    # The patience grows with the epochs.
    ([1.0] * 20, 1, 4),
    ([*range(8), *[1.0] * 12], 8, 12),
]


@pytest.mark.parametrize(("scores", "best", "n_tried"), CURVES)
def test_the_likeliest_epoch(scores, best, n_tried):
    trial = Told(scores)
    n_epochs, found = best_row_epochs([trial], len(scores))
    assert (n_epochs, trial.n_epochs) == (best, n_tried)
    assert np.isnan(scores[0]) or trial.kept == best
    np.testing.assert_array_equal(found, scores[:n_tried])


def test_trials_end_where_they_cannot_win():
    scores = [0.0, 3.0, 5.0, 6.0, 6.8, 7.4, 7.8, *[8.0] * 3]
    for to_beat, n_tried in ((18.1, 4), (17.9, 5), (7.9, 10), (-1.0, 10)):
        trial = Told(scores)
        n_epochs, found = best_row_epochs([trial], len(scores), to_beat)
        assert trial.n_epochs == len(found) == n_tried
        assert n_epochs == min(n_tried, 8)


def test_trials_decide_together():
    trials = [Told([1.0, 5.0, 4.0]), Told([1.0, 2.0, 9.0])]
    n_epochs, scores = best_row_epochs(trials, 3)
    assert n_epochs == 3
    assert scores == [1.0, 3.5, 6.5]


@pytest.fixture(scope="module")
def model():
    options = {"max_iter": 1, "batch_size": 16, "learning_rate_init": 1e-3}
    return VAETransformer(**SMALL, **options).fit(X)


def test_a_trial_trains_the_model_of_rows_alone(model):
    net = copy.deepcopy(model).net_
    net.initialize()
    net.row_interval = 2
    rows = upload(model.codec_, X, "cpu")
    train, held_out = rows.split(torch.arange(len(X)), 100)
    before = {name: tensor.clone() for name, tensor in net.weights().items()}
    trial = RowTrial(net, train, held_out, 3)
    steps = []
    update = net._train_autoregressive
    net._train_autoregressive = lambda batch: (
        steps.append(len(batch[0][0])),
        update(batch),
    )
    score = trial.train_epoch()
    changed = {n for n, tensor in net.weights().items() if not tensor.equal(before[n])}
    assert {name.split(".")[1] for name in changed} == {"autoregressive"}
    # Of seven batches every second one learns, beginning with the first.
    assert steps == [16, 16, 16, 4]
    assert net.step_ == 7
    # What is judged is the average, on held-out rows, without dropout.
    net.average_.use_average()
    with torch.no_grad():
        log_probs = net.module_.eval().autoregressive.log_prob(
            *held_out.take(slice(None))
        )
    assert len(log_probs) == 20
    assert score == pytest.approx(log_probs.mean().item(), rel=1e-5)


# ------------------------------------------------------------------- in a fit


@pytest.fixture
def found(monkeypatch):
    """Fits whose trials tell a number of epochs, and what these trials were."""
    taken = {}

    def told(trials, max_epochs, to_beat):
        taken.update(
            rows=[(len(trial.train), len(trial.rows[0])) for trial in trials],
            held_out=[trial.rows for trial in trials],
            max_epochs=max_epochs,
            intervals=[trial.net.row_interval for trial in trials],
        )
        model = trials[0].net.module_.autoregressive
        taken["starts"].append("_".join(model.regressions) or "none")
        score = taken["scores"][taken["starts"][-1]]
        return taken["n_epochs"], [score] * taken["n_epochs"]

    monkeypatch.setattr("sklearn_unsup._row_fitting.best_row_epochs", told)
    monkeypatch.setattr("sklearn_unsup._row_fitting.MIN_STEPS", 60)
    # No number is close to its regression, however few rows the trial of a start has.
    monkeypatch.setattr("sklearn_unsup._row_columns.MAX_CLOSE_SCALE", 0.0)

    def begin(n_epochs, **scores):
        taken.update(n_epochs=n_epochs, starts=[])
        kinds = "numbers_levels", "numbers", "levels", "none"
        taken["scores"] = {**dict.fromkeys(kinds, 0.0), **scores}
        return taken

    return begin


def weights_of_rows(net):
    pairs = net.module_.autoregressive.named_parameters()
    return {name: tensor.detach().clone() for name, tensor in pairs}


def test_a_fit_stops_the_model_of_rows_with_its_average(found, monkeypatch):
    found(2)
    seen = []
    on_epoch_end = vae_net.VAENet.on_epoch_end

    def told(net, *args, **kwargs):
        ids = map(id, net.average_.parameters)
        averages = dict(zip(ids, net.average_.average, strict=True))
        on_epoch_end(net, *args, **kwargs)
        model = net.module_.autoregressive
        own = {n: averages[id(p)].clone() for n, p in model.named_parameters()}
        seen.append((own, weights_of_rows(net)))

    monkeypatch.setattr(vae_net.VAENet, "on_epoch_end", told)
    model = VAETransformer(**SMALL).fit(X)
    assert len(seen) > 4  # encoder and decoder go on
    (_, after_one), (average, after_two), *_ = seen
    assert any(not after_one[name].equal(average[name]) for name in average)
    for name, tensor in weights_of_rows(model.net_).items():
        torch.testing.assert_close(tensor, average[name], rtol=1e-4, atol=1e-6)
        assert after_two[name].equal(average[name])
    assert model.net_.row_epochs_ is None


class Resume(Callback):
    """Goes on after some epochs of an earlier run, as a checkpoint would."""

    def __init__(self, history):
        self.history = history

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        net.history_ = History(dict(epoch) for epoch in self.history)
        self.begun = weights_of_rows(net)


@pytest.mark.parametrize("n_epochs", [2, 3, 4])
def test_a_model_of_rows_that_had_stopped_stays_as_it_was(found, n_epochs):
    found(3)
    history = VAETransformer(**SMALL).fit(X).net_.history
    callback = Resume(history[:n_epochs])
    model = VAETransformer(**SMALL, callbacks=[callback]).fit(X)
    assert len(model.net_.history) == len(history)
    rows = weights_of_rows(model.net_)
    kept = [name for name in rows if rows[name].equal(callback.begun[name])]
    assert (len(kept) == len(rows)) == (n_epochs >= 3)


def test_the_found_epochs_decide_what_is_learnt(found):
    scores = []
    for n_epochs in (1, 6):
        found(n_epochs)
        scores.append(VAETransformer(**SMALL).fit(X).score(X))
    assert scores[0] < scores[1] - 0.1


@pytest.mark.parametrize(("n", "rows"), [(120, [(96, 24)] * 2), (60, [(48, 12)] * 2)])
def test_each_trial_holds_out_other_rows(found, n, rows):
    taken = found(1)
    model = VAETransformer(**SMALL).fit(X[:n])
    assert taken["rows"] == rows
    numbers = torch.cat([x_num for x_num, _ in taken["held_out"]])
    assert len(numbers.unique(dim=0)) == sum(size for _, size in rows)
    assert taken["intervals"] == [model.net_.row_interval] * len(rows)


def test_one_trial_of_enough_rows(found):
    taken = found(1)
    table, _ = make_mixed_table(600, random_state=1)
    VAETransformer(**SMALL).fit(table)
    assert taken["rows"] == [(480, 120)]


@pytest.mark.parametrize("better", ["numbers_levels", "numbers", "none"])
def test_the_better_start_is_taken(found, better):
    taken = found(2, **{better: 1.0})
    model = VAETransformer(**SMALL).fit(X)
    assert taken["starts"] == ["numbers_levels", "numbers", "none"]
    rows = model.net_.module_.autoregressive
    assert ("_".join(rows.regressions) or "none") == better
    assert model._tried_regressions is None
    again = VAETransformer(**SMALL).fit(X)
    assert again.score(X) == model.score(X)
    assert len(model.loss_curve_) == model.n_iter_ > 2


@pytest.mark.parametrize(
    ("columns", "starts"),
    [
        (["plan", "region"], ["levels", "none"]),
        (["plan"], ["none"]),
        (["height", "visits"], ["numbers", "none"]),
    ],
)
def test_starts_are_those_that_the_columns_can_have(found, columns, starts):
    taken = found(1)
    VAETransformer(**SMALL).fit(X[columns])
    assert taken["starts"] == starts


@pytest.mark.parametrize(
    ("better", "max_few"),
    [("all", 199), ("close", 199), ("none", 199), ("all", 200), ("close", 200)],
)
def test_regressions_of_close_numbers_alone_are_tried(
    found, monkeypatch, better, max_few
):
    """And none, of more than few rows."""
    monkeypatch.setattr("sklearn_unsup._row_fitting.MAX_LEVEL_ROWS", max_few)
    taken = found(1)
    monkeypatch.setattr("sklearn_unsup._row_columns.MAX_CLOSE_SCALE", 0.5)
    rng, kinds = np.random.default_rng(0), []
    a, loose = rng.normal(size=(2, 200))
    close = a + 0.1 * rng.normal(size=200)
    table = np.column_stack([a, loose, close])

    def told(trials, max_epochs, to_beat):
        linear = trials[0].net.module_.autoregressive.linear
        columns = [] if linear is None else linear.columns
        kinds.append({2: "all", 1: "close", 0: "none"}[len(columns)])
        return taken["n_epochs"], [float(kinds[-1] == better)]

    monkeypatch.setattr("sklearn_unsup._row_fitting.best_row_epochs", told)
    model = VAETransformer(**SMALL).fit(table)
    assert kinds == ["all", "close", "none"][: 2 + (max_few < 200)]
    linear = model.net_.module_.autoregressive.linear
    columns = {"all": [1, 2], "close": [2], "none": None}[better]
    assert (None if linear is None else linear.columns) == columns


def test_levels_of_many_rows_have_no_regressions(found, monkeypatch):
    """Neither do trials of fewer rows that are a part of them."""
    monkeypatch.setattr("sklearn_unsup._row_fitting.MAX_LEVEL_ROWS", len(X) - 1)
    taken = found(1)
    VAETransformer(**SMALL).fit(X)
    assert taken["starts"] == ["numbers", "none"]


def test_a_start_from_another_model_is_kept(found, monkeypatch):
    found(1)
    source = VAETransformer(**SMALL).fit(X)
    monkeypatch.setattr(VAETransformer, "_judges_starts", False)
    taken = found(1, none=1.0)
    model = VAETransformer(**SMALL).fit(X[:40], start_from=source)
    assert taken["starts"] == ["numbers_levels"]
    assert model.net_.module_.autoregressive.linear is not None


def test_trials_that_judge_a_start_set_its_epochs(found, monkeypatch):
    """On each fold: with it, and without it with regressions and without these."""
    monkeypatch.setattr("sklearn_unsup._transfer.JUDGING_ROWS", 16)
    found(1)
    source = VAETransformer(**SMALL).fit(X)
    told = []
    fit_loop = vae_net.VAENet.fit_loop

    def tell(net, *args, **kwargs):
        told.append(net.row_epochs_)
        return fit_loop(net, *args, **kwargs)

    monkeypatch.setattr(vae_net.VAENet, "fit_loop", tell)
    taken = found(2)
    model = VAETransformer(**SMALL).fit(X[:40], start_from=source)
    starts = ["numbers_levels", "numbers_levels", "numbers", "none"]
    assert taken["starts"][:4] == starts
    assert set(taken["starts"][4:]) <= {starts[0]}  # some columns afresh
    assert taken["rows"] == [(32, 8)] * 2
    assert told == [2]
    assert not {"_found", "_start", "_afresh"} & set(vars(model))


def told_terms(means, columns):
    """What trials said, by the mean nats of each cell of 100 rows."""
    terms = np.random.default_rng(0).normal(size=(100, len(means)))
    terms += np.subtract(means, terms.mean(0))
    codec = TableCodec().fit(X[columns])
    return FoundStart(terms, 1, True, codec, frozenset())


@pytest.mark.parametrize(
    ("order", "expected"),
    [(["height", "weight", "spend"], {"weight"}), (["spend", "weight", "height"], ())],
)
def test_columns_that_are_clearly_likelier_alone_start_afresh(order, expected):
    alone = told_terms([0.0, 0.0, 0.0], order)
    started = told_terms([0.5, -0.5, 0.0], ["height", "weight", "spend"])
    every = {("number", name, 0) for name in expected}
    every |= {("missing", key) for key in every}
    assert columns_to_start_afresh(started, alone) == every


@pytest.mark.parametrize(
    "options",
    [
        {"max_iter": 1},
        {"early_stopping": True, "n_iter_no_change": 1},
        {"sampling": "latent", "max_iter": 1},
    ],
    ids=str,
)
def test_fits_without_trials(found, options):
    taken = found(1)
    VAETransformer(**{**SMALL, **options}).fit(X)
    assert "rows" not in taken


def test_a_stream_has_no_trial(found):
    taken = found(1)
    VAETransformer(**SMALL).partial_fit(X)
    assert "rows" not in taken


def test_of_very_few_rows_a_fixed_part_of_the_epochs_is_learnt(found, monkeypatch):
    taken, told = found(1), []
    fit_loop = vae_net.VAENet.fit_loop

    def tell(net, *args, **kwargs):
        told.append((net.row_epochs_, net.max_epochs))
        return fit_loop(net, *args, **kwargs)

    monkeypatch.setattr(vae_net.VAENet, "fit_loop", tell)
    VAETransformer(**SMALL).fit(X[:29])
    assert "rows" not in taken
    assert told == [(12, 30)]  # two steps an epoch, of at least sixty
