"""Fits that start from a model of another table."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch.callbacks import Callback

from sklearn_unsup import AutoencoderTransformer, GANSampler, VAETransformer
from sklearn_unsup._base import BaseTableModel
from sklearn_unsup._transfer import folds

N_ROWS = 240
CLASSES = AutoencoderTransformer, VAETransformer
each_class = pytest.mark.parametrize("cls", CLASSES)


def make_table(seed=0, n=N_ROWS):
    """Two numbers, one of them with gaps, and a category that goes with them."""
    rng = np.random.default_rng(seed)
    city = rng.choice(["Oslo", "Rome", "Bonn"], n, p=[0.5, 0.3, 0.2])
    rent = rng.normal(size=n) + 2.0 * (city == "Rome")
    size = rent + 0.3 * rng.normal(size=n)
    size[::10] = np.nan
    return pd.DataFrame({"rent": rent, "size": size, "city": city})


class Recorder(Callback):
    """Counts the fits that it sees."""

    fits = 0

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.fits += 1


def make(cls, **parameters):
    settings = {"hidden_layer_sizes": 16, "max_iter": 2, "random_state": 0}
    return cls(2, **{**settings, **parameters})


def started(cls, X, source, **parameters):
    """A fit that learns nothing beyond what it starts from."""
    settings = {"max_iter": 1, "learning_rate_init": 1e-12, **parameters}
    return make(cls, **settings).fit(X, start_from=source)


@pytest.fixture(scope="module")
def sources():
    """Models that have learnt; ten times the usual step makes up for few of them."""
    return {
        cls: make(cls, max_iter=20, batch_size=40, learning_rate_init=1e-2).fit(
            make_table()
        )
        for cls in CLASSES
    }


@pytest.fixture
def unjudged(monkeypatch):
    """Starts are taken whether they help or not."""
    monkeypatch.setattr(BaseTableModel, "_judges_starts", False)


@pytest.mark.usefixtures("unjudged")
@each_class
def test_without_learning_the_same_table_is_scored_as_by_the_source(cls, sources):
    X, source = make_table(), sources[cls]
    model = started(cls, X, pickle.loads(pickle.dumps(source)))
    np.testing.assert_allclose(model.transform(X), source.transform(X), atol=1e-5)
    if cls is VAETransformer:
        expected = source.score_samples(X)
        np.testing.assert_allclose(model.score_samples(X), expected, atol=1e-4)
        before = make(cls, max_iter=1, learning_rate_init=1e-12).fit(X)
        assert before.score(X) < source.score(X) - 0.03


@pytest.mark.usefixtures("unjudged")
@each_class
def test_columns_are_found_by_name(cls, sources):
    X, source = make_table(), sources[cls]
    turned = X[["city", "size", "rent"]]
    model = started(cls, turned, source)
    np.testing.assert_allclose(model.transform(turned), source.transform(X), atol=1e-5)
    assert list(model.sample(3, random_state=0)) == list(turned)
    if cls is VAETransformer:
        expected = source.score_samples(X)
        np.testing.assert_allclose(model.score_samples(turned), expected, atol=1e-4)


@pytest.mark.usefixtures("unjudged")
@each_class
def test_codes_do_not_know_new_columns_yet(cls, sources):
    X, source = make_table(), sources[cls]
    wider = X.assign(age=np.arange(N_ROWS), kind=list("pq") * (N_ROWS // 2))
    wider = wider[["kind", "age", *X]]
    codes = started(cls, wider, source).transform(wider)
    np.testing.assert_allclose(codes, source.transform(X), atol=1e-5)


@pytest.mark.usefixtures("unjudged")
@each_class
def test_a_table_may_have_no_numbers(cls):
    """Nor the one that is fitted, nor the one that it starts from."""
    X = make_table()
    levels = X[["city"]].assign(is_small=np.where(X["size"] < 0, "yes", "no"))
    source = make(cls).fit(levels)
    turned = levels[["is_small", "city"]]
    codes = started(cls, turned, source).transform(turned)
    np.testing.assert_allclose(codes, source.transform(levels), atol=1e-5)
    wider = levels.assign(rent=X["rent"])
    codes = started(cls, wider, source).transform(wider)
    np.testing.assert_allclose(codes, source.transform(levels), atol=1e-5)
    codes = started(cls, levels, make(cls).fit(wider)).transform(levels)
    assert np.isfinite(codes).all()
    constant = pd.DataFrame({"kind": ["a"] * 30, "x": 1.0})
    assert np.isfinite(started(cls, constant, make(cls).fit(constant)).score(constant))


@pytest.mark.usefixtures("unjudged")
def test_levels_come_and_go(sources):
    X, source = make_table(), sources[VAETransformer]
    Y = X.assign(city=X["city"].replace({"Rome": "Wien"}))
    model = started(VAETransformer, Y, source)
    kept = (X["city"] != "Rome").to_numpy()
    codes, expected = model.transform(Y), source.transform(X)
    np.testing.assert_allclose(codes[kept], expected[kept], atol=1e-5)
    assert not np.allclose(codes[~kept], expected[~kept], atol=1e-3)
    assert np.isfinite(model.score_samples(Y)).all()


@pytest.mark.usefixtures("unjudged")
def test_a_column_that_is_gone_leaves_the_others_dependent(sources):
    X, source = make_table()[["size", "rent"]], sources[VAETransformer]
    model = started(VAETransformer, X, source)
    apart = X.assign(rent=np.roll(X["rent"], 1))
    assert model.score(X) > model.score(apart) + 0.1


@pytest.mark.usefixtures("unjudged")
def test_few_rows_start_from_a_model_of_many(sources, monkeypatch):
    """Whose numbers are not relative to regressions, and the other way round.

    They begin with regressions and are then relative to nothing, as the source is.
    """
    X, source = make_table(), sources[VAETransformer]
    monkeypatch.setattr("sklearn_unsup._row_fitting.MAX_TRIAL_ROWS", N_ROWS - 1)
    options = {"max_iter": 20, "batch_size": 40, "learning_rate_init": 1e-2}
    with monkeypatch.context() as patch:
        patch.setattr("sklearn_unsup._row_columns.MAX_CLOSE_SCALE", 0.0)
        many = make(VAETransformer, **options).fit(X)
    assert many.net_.module_.autoregressive.linear is None
    relative = started(VAETransformer, X, source)
    np.testing.assert_allclose(
        relative.score_samples(X), source.score_samples(X), atol=1e-4
    )
    monkeypatch.undo()
    monkeypatch.setattr(BaseTableModel, "_judges_starts", False)
    few = started(VAETransformer, X, many)
    assert few.net_.module_.autoregressive.linear is None
    # Bins are not the same.
    assert few.score(X) == pytest.approx(many.score(X), abs=0.1)


@pytest.mark.usefixtures("unjudged")
def test_arrays_are_matched_by_position(sources):
    X = make_table()[["rent", "size"]].to_numpy()
    source = make(VAETransformer, max_iter=3).fit(X)
    wider = np.column_stack([X, X[:, 0] ** 2])
    codes = started(VAETransformer, wider, source).transform(wider)
    np.testing.assert_allclose(codes, source.transform(X), atol=1e-5)


@pytest.mark.usefixtures("unjudged")
def test_a_model_starts_from_itself_and_keeps_no_source(sources):
    X = make_table()
    model = pickle.loads(pickle.dumps(sources[VAETransformer]))
    expected = model.score_samples(X)
    model.set_params(max_iter=1, learning_rate_init=1e-12)
    model.fit(X, start_from=model)
    np.testing.assert_allclose(model.score_samples(X), expected, atol=1e-4)
    assert "_start" not in vars(model)
    with pytest.raises(TypeError, match="start_from"):
        model.fit(X, start_from=3)
    assert "_start" not in vars(model)


@pytest.mark.usefixtures("unjudged")
def test_the_source_stays_as_it_is(sources):
    X, source = make_table(), sources[VAETransformer]
    expected = source.score_samples(X)
    make(VAETransformer, learning_rate_init=0.1).fit(make_table(1), start_from=source)
    np.testing.assert_array_equal(source.score_samples(X), expected)


@pytest.mark.usefixtures("unjudged")
def test_a_start_comes_before_a_warm_start(sources):
    X, source = make_table(), sources[VAETransformer]
    model = make(VAETransformer, warm_start=True, batch_size=16).fit(X[["rent"]])
    model.set_params(max_iter=1, learning_rate_init=1e-12).fit(X, start_from=source)
    np.testing.assert_allclose(model.transform(X), source.transform(X), atol=1e-5)


@pytest.mark.usefixtures("unjudged")
def test_in_a_pipeline(sources):
    X, source = make_table(), sources[VAETransformer]
    last = make(VAETransformer, max_iter=1, learning_rate_init=1e-12)
    pipeline = make_pipeline(FunctionTransformer(), last)
    clone(pipeline).fit(X, vaetransformer__start_from=source)
    codes = pipeline.fit_transform(X, vaetransformer__start_from=source)
    np.testing.assert_allclose(codes, source.transform(X), atol=1e-5)


@pytest.mark.usefixtures("unjudged")
def test_parts_of_other_sizes_start_afresh(sources):
    model = make(VAETransformer, hidden_layer_sizes=8)
    with pytest.warns(UserWarning, match="the encoder and the decoder cannot"):
        model.fit(make_table(), start_from=sources[VAETransformer])


@pytest.mark.parametrize(
    ("model", "X", "source", "message"),
    [
        (make(GANSampler), make_table(), make(GANSampler), "not for GANSampler"),
        (make(VAETransformer), make_table(), make(VAETransformer), "not fitted"),
        (
            make(VAETransformer),
            pd.DataFrame({"city": np.arange(9.0), "area": np.arange(9.0)}),
            VAETransformer,
            "shares no column",
        ),
        (
            make(VAETransformer, numeric_scaling="standard"),
            make_table(),
            VAETransformer,
            "numeric_scaling='quantile'",
        ),
        (make(VAETransformer), csr_array(np.eye(9)), VAETransformer, "X is sparse"),
        (
            make(VAETransformer),
            make_table(),
            lambda: make(VAETransformer, max_iter=1).fit(csr_array(np.eye(9))),
            "was fitted to a sparse matrix",
        ),
    ],
)
def test_what_cannot_be_started_from_is_refused(model, X, source, message, sources):
    if source is VAETransformer:
        source = sources[VAETransformer]
    elif not hasattr(source, "fit"):
        source = source()
    with pytest.raises(ValueError, match=message):
        model.fit(X, start_from=source)


def test_few_rows_do_not_spoil_an_autoencoder_that_knows_more():
    """The trial of few rows finds out whether to train what it starts from."""
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, size=(2_000, 1))
    X = np.hstack([f(k * angle) for k in (1, 2) for f in (np.cos, np.sin)])
    X = pd.DataFrame(X).add_prefix("x")
    learnt = {"max_iter": 60, "learning_rate_init": 1e-2}
    source = make(AutoencoderTransformer, **learnt).fit(X[:900])
    few, others = X[900:930], X[1_000:]
    make_auto = {"max_iter": "auto", "hidden_layer_sizes": "auto"}
    alone = make(AutoencoderTransformer, **make_auto).fit(few)
    model = make(AutoencoderTransformer, **make_auto).fit(few, start_from=source)

    def error(estimator):
        rebuilt = estimator.inverse_transform(estimator.transform(others))
        return float(np.square(rebuilt.to_numpy() - others.to_numpy()).mean())

    assert model.net_.module__hidden_layer_sizes == (16,)
    assert error(model) < error(alone) / 5


def turned(seed, n):
    """Where one number grows, the other falls: the opposite of `make_table`."""
    return make_table(seed, n).assign(size=lambda table: -table["size"])


def test_every_row_of_few_is_held_out_once():
    X = make_table(0, 47)
    parts = list(folds(X, np.random.default_rng(0)))
    held_out = [row for _, rows in parts for row in rows.index]
    assert len(parts) == 5
    assert len(set(held_out)) == len(held_out) == 45
    for train, rows in parts:
        assert sorted([*train.index, *rows.index]) == list(range(47))
    assert len(list(folds(np.zeros((2_000, 1)), np.random.default_rng(0)))) == 1


@pytest.fixture
def briefly(monkeypatch):
    """Starts are judged by a fifth of the rows."""
    monkeypatch.setattr("sklearn_unsup._transfer.JUDGING_ROWS", 1)


@pytest.mark.usefixtures("briefly")
def test_a_start_that_does_not_help_is_dropped(sources):
    X, others = turned(1, 120), turned(2, 500)
    model = make(VAETransformer, batch_size=20, learning_rate_init=1e-2)
    with pytest.warns(UserWarning, match="24 rows that were held out score") as caught:
        model.fit(X, start_from=sources[VAETransformer])
    assert caught[0].filename == __file__
    assert model.codec_.order_ == clone(model).fit(X).codec_.order_
    unjudged = clone(model).fit(X[:29], start_from=sources[VAETransformer])
    assert unjudged.score(others) < model.score(others) - 0.1


@pytest.mark.usefixtures("briefly")
def test_a_start_is_judged_without_the_callbacks_and_levels_of_the_fit(sources):
    """Levels that only held-out rows have are no reason to refuse them."""
    X = make_table(1, 90).assign(city=[f"city {i}" for i in range(90)])
    callback = Recorder()
    model = make(
        VAETransformer, handle_unknown="error", callbacks=[("recorder", callback)]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for n_fits in 1, 2:
            model.fit(X, start_from=sources[VAETransformer])
            assert callback.fits == n_fits
