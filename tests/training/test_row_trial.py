"""Trials that find out for how many epochs the model of rows learns."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from skorch.callbacks import Callback
from skorch.history import History

from sklearn_unsup import VAETransformer
from sklearn_unsup._encoding import upload
from sklearn_unsup._nn.column_parts import has_regression, weights_of_column
from sklearn_unsup._row_fitting import FoundStart, columns_to_start_afresh
from sklearn_unsup._table.codec import TableCodec
from sklearn_unsup._training import vae_net
from sklearn_unsup._training.row_trial import BestEpochs, RowTrial, best_epochs, is_gain
from sklearn_unsup.datasets import make_mixed_table

X, _ = make_mixed_table(120, random_state=0)
SMALL = {"n_components": 2, "hidden_layer_sizes": (8,), "random_state": 0}


class Told:
    """A trial whose scores are known: of one column, or of several in each epoch."""

    def __init__(self, scores, n_rows=2):
        self.scores = torch.tensor(scores, dtype=torch.float64)
        self.n_epochs, self.n_rows = 0, n_rows

    def train_epoch(self):
        self.n_epochs += 1
        return self.scores[self.n_epochs - 1].expand(self.n_rows, -1)

    def keep(self):
        self.kept = self.n_epochs


# Scores after each epoch, and how many epochs are best and how many were tried.
CURVES = [
    ([1.0, 2.0, 3.0, 2.0, 2.0, 2.0], 3, 6),
    ([3.0, 2.0, 2.0, 2.0, 9.0], 1, 4),
    ([1.0, 2.0, 3.0, 2.0, 2.0, 4.0, 3.0, 3.0, 3.0, 9.0], 6, 9),
    ([-1.0, -2.0, -3.0, -1.5, -0.5], 1, 4),
    ([1.0, 2.0, float("nan"), 9.0], 2, 3),
    ([float("nan"), 9.0], 1, 1),
    # The patience grows with the epochs, and what hardly matters is no gain.
    ([1.0 + 1e-4 * epoch for epoch in range(20)], 1, 4),
    ([*range(8), *[1.0] * 12], 8, 12),
]


@pytest.mark.parametrize(("scores", "best", "n_tried"), CURVES)
@pytest.mark.parametrize("are_joint", [True, False])
def test_the_likeliest_epoch(scores, best, n_tried, are_joint):
    trial = Told([[score] for score in scores])
    found = best_epochs([trial], len(scores), are_joint)
    assert (found.n_epochs.tolist(), trial.n_epochs) == ([best], n_tried)
    assert np.isnan(scores[0]) or trial.kept == best
    np.testing.assert_array_equal(found.terms, [[scores[best - 1]]] * 2)


def test_each_column_has_epochs_of_its_own():
    """One memorises from the second epoch on, and another has not begun to learn."""
    scores = [[3.0, 0.0], [5.0, 0.0], [2.0, 0.0], [1.0, 0.0], [0.0, 7.0], [0.0, 6.0]]
    found = best_epochs([Told(scores)], 6)
    assert found.n_epochs.tolist() == [2, 5]
    np.testing.assert_array_equal(found.terms, [[5.0, 7.0]] * 2)
    trial = Told(scores)
    found = best_epochs([trial], 6, are_joint=True)
    assert found.n_epochs.tolist() == [5]
    assert trial.kept == 5
    np.testing.assert_array_equal(found.terms, [[7.0]] * 2)


def test_a_clear_gain_is_beyond_its_error():
    rng = np.random.default_rng(0)
    noise = torch.from_numpy(rng.normal(size=(400, 1)))
    noise -= noise.mean()  # An error of .05.
    before = torch.zeros(400, 4)
    terms = before + torch.tensor([-0.1, 0.0, 0.02, 0.03]) + noise
    assert is_gain(terms, before).tolist() == [False] * 2 + [True] * 2
    assert is_gain(terms, before, 0.5).tolist() == [False] * 3 + [True]


def test_trials_end_where_they_cannot_win():
    scores = [0.0, 3.0, 5.0, 6.0, 6.8, 7.4, 7.8, *[8.0] * 3]
    for to_beat, n_tried in ((10.1, 4), (9.9, 6), (8.3, 9), (7.9, 10), (-1.0, 10)):
        trial = Told([[score, 99.0] for score in scores])
        # Whatever the second column does, it does not matter.
        others = torch.tensor([[to_beat, np.inf]] * 2)
        found = best_epochs([trial], len(scores), to_beat=others)
        assert trial.n_epochs == n_tried
        assert found.n_epochs.tolist() == [min(n_tried, 8), 1]


def test_trials_decide_together():
    trials = [Told([[1.0], [5.0], [4.0]]), Told([[1.0], [2.0], [9.0]])]
    found = best_epochs(trials, 3)
    assert found.n_epochs.tolist() == [3]
    assert found.terms.flatten().tolist() == [4.0, 4.0, 9.0, 9.0]


@pytest.fixture(scope="module")
def model():
    options = {"max_iter": 1, "batch_size": 16, "learning_rate_init": 1e-3}
    return VAETransformer(**SMALL, **options).fit(X)


def test_trials_of_tables_with_unlike_columns():
    """Of a column that does not vary in one part of a table of few rows."""
    trials = [Told([[1.0, 1.0], [2.0, 2.0]]), Told([[3.0], [5.0]], n_rows=3)]
    found = best_epochs(trials, 2, are_joint=True)
    assert found.n_epochs.tolist() == [2]
    assert found.terms.tolist() == [[4.0], [4.0], [5.0], [5.0], [5.0]]


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
    assert score.shape == (20, model.net_.module_.autoregressive.n_columns)
    np.testing.assert_allclose(score.sum(1), log_probs, rtol=1e-4)


# ------------------------------------------------------------------- in a fit


@pytest.fixture
def found(monkeypatch):
    """Fits whose trials tell a number of epochs, and what these trials were."""
    taken = {}

    def told(trials, max_epochs, are_joint=False, to_beat=None):
        taken.update(
            rows=[(len(trial.train), len(trial.rows[0])) for trial in trials],
            held_out=[trial.rows for trial in trials],
            max_epochs=max_epochs,
            intervals=[trial.net.row_interval for trial in trials],
        )
        model = trials[0].net.module_.autoregressive
        taken["starts"].append("_".join(model.regressions) or "none")
        score = taken["scores"][taken["starts"][-1]]
        n_columns = 1 if are_joint else model.n_columns
        n_epochs, scores = taken["n_epochs"], torch.as_tensor(score)
        if isinstance(n_epochs, int):
            n_epochs = [n_epochs] * n_columns
        terms = scores.expand(n_columns).repeat(2, 1)
        return BestEpochs(torch.tensor(n_epochs), terms.double())

    monkeypatch.setattr("sklearn_unsup._row_fitting.best_epochs", told)
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


def test_columns_end_one_by_one_and_may_outlast_the_codes(found, monkeypatch):
    """Each with its average; encoder and decoder stay as they were then."""
    found(1)
    base = VAETransformer(**SMALL).fit(X).n_iter_
    ends = [1, 4, 4, base + 2, base, 2, 3, base + 1, 5]
    seen, on_epoch_end = [], vae_net.VAENet.on_epoch_end

    def told(net, *args, **kwargs):
        ids = map(id, net.average_.parameters)
        averages = dict(zip(ids, net.average_.average, strict=True))
        rows = net.module_.autoregressive
        with torch.no_grad():
            latest = [p.clone() for p in rows.parameters()]
            for p in rows.parameters():
                p.copy_(averages[id(p)])
            means = [[w.clone() for w in weights_of_column(rows, c)] for c in range(9)]
            for p, own in zip(rows.parameters(), latest, strict=True):
                p.copy_(own)
        codes = {
            name: averages[id(p)].clone()
            for name, p in net.module_.named_parameters()
            if not name.startswith("autoregressive")
        }
        seen.append((means, codes))
        on_epoch_end(net, *args, **kwargs)

    found(ends)
    monkeypatch.setattr(vae_net.VAENet, "on_epoch_end", told)
    model = VAETransformer(**SMALL).fit(X)
    n_codes = model._n_epochs(len(X))
    assert model.n_iter_ == len(seen) == max(*ends, n_codes)
    rows = model.net_.module_.autoregressive
    assert rows.n_columns == len(ends)
    for column, end in enumerate(ends):
        for weight, mean in zip(
            weights_of_column(rows, column), seen[end - 1][0][column], strict=True
        ):
            torch.testing.assert_close(weight, mean, rtol=1e-4, atol=1e-6)
    for name, parameter in model.net_.module_.named_parameters():
        if name in seen[0][1]:
            expected = seen[min(n_codes, len(seen)) - 1][1][name]
            torch.testing.assert_close(parameter, expected, rtol=1e-4, atol=1e-6)


def test_two_levels_together_are_learnt_beside_columns_of_noise():
    """These are soon memorised, which ended what else was to be learnt."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(500, 6))).rename(columns=str)
    table["kind"], table["flag"] = rng.choice(list("abcd"), 500), rng.random(500) < 0.5
    table["y"] = 3.0 * ((table["kind"] == "a") ^ table["flag"])
    table["y"] += 0.7 * rng.normal(size=500)
    drawn = VAETransformer(random_state=0).fit(table).sample(5_000, random_state=0)
    is_high = (drawn["kind"] == "a") ^ drawn["flag"].astype(bool)
    means = drawn["y"].groupby(is_high).mean()
    assert means[True] - means[False] > 2.1  # It was 1.2.


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


def regressed(model):
    """Positions of the columns that have a regression."""
    rows = model.net_.module_.autoregressive
    return [c for c in range(rows.n_columns) if has_regression(rows, c)]


@pytest.mark.parametrize("better", ["numbers_levels", "none"])
def test_the_better_start_is_taken(found, better):
    taken = found(2, **{better: 1.0})
    model = VAETransformer(**SMALL).fit(X)
    assert taken["starts"] == ["numbers_levels", "none"]
    assert bool(regressed(model)) == (better != "none")
    assert model._tried_regressions is None
    assert not model._unrelated
    again = VAETransformer(**SMALL).fit(X)
    assert again.score(X) == model.score(X)
    assert len(model.loss_curve_) == model.n_iter_ > 2


def test_each_column_begins_as_is_better_for_it(found):
    found(2)
    every = regressed(VAETransformer(**SMALL).fit(X))
    assert len(every) > 3
    gains = [float(column in every[1:3]) for column in range(max(every) + 1)]
    found(2, none=gains)
    assert regressed(VAETransformer(**SMALL).fit(X)) == [every[0], *every[3:]]


@pytest.mark.parametrize(
    ("columns", "starts"),
    [
        (["plan", "active"], ["levels", "none"]),
        (["plan"], ["none"]),
        (["height", "visits"], ["numbers", "none"]),
    ],
)
def test_starts_are_those_that_the_columns_can_have(found, columns, starts):
    taken = found(1)
    VAETransformer(**SMALL).fit(X[columns])
    assert taken["starts"] == starts


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
    starts = ["numbers_levels", "numbers_levels", "none"]
    assert taken["starts"][:3] == starts
    assert set(taken["starts"][3:]) <= {starts[0]}  # some columns afresh
    assert taken["rows"] == [(32, 8)] * 2
    n_columns = model.net_.module_.autoregressive.n_columns
    assert told == [[2] * n_columns]
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
        told.append((set(net.row_epochs_), net.max_epochs))
        return fit_loop(net, *args, **kwargs)

    monkeypatch.setattr(vae_net.VAENet, "fit_loop", tell)
    VAETransformer(**SMALL).fit(X[:29])
    assert "rows" not in taken
    assert told == [({3}, 30)]  # two steps an epoch, of at least sixty
