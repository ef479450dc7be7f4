"""The shell: fits that fail, warm starts, tables at the door, a newcomer's errors."""

import copy
import inspect
import math
import pickle
import re
import subprocess
import sys
import warnings
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback, Checkpoint, EarlyStopping

from sklearn_unsup import AutoencoderTransformer, GANSampler, VAETransformer
from sklearn_unsup._base import BaseTableModel
from sklearn_unsup._encoding import upload
from sklearn_unsup._sampling.sampler import TableSampler
from sklearn_unsup._table.codec import TableCodec
from sklearn_unsup.datasets import make_mixed_table

X = load_iris().data
MODELS = {
    "autoencoder": (AutoencoderTransformer, {}),
    "vae": (VAETransformer, {}),
    "vae-latent": (VAETransformer, {"sampling": "latent", "density_ratio": None}),
    "gan": (GANSampler, {"critic_hidden_layer_sizes": (16,), "density_ratio": None}),
}

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(
    params=[
        # What it has of its own, the autoencoder and the VAE have between them.
        pytest.param(name, marks=pytest.mark.slow) if name == "vae-latent" else name
        for name in MODELS
    ]
)
def make(request):
    """Makes one of the models, of few steps and narrow layers."""
    model, own = MODELS[request.param]

    def quick(**parameters):
        defaults = {
            "n_components": 3,
            "hidden_layer_sizes": (16,),
            "max_iter": 4,
            "batch_size": 50,
            "random_state": 0,
        }
        return model(**{**defaults, **own, **parameters})

    return quick


@pytest.fixture(scope="module")
def table():
    return make_mixed_table(200, random_state=0)[0]


def autoencoder(**parameters):
    return MODELS["autoencoder"][0](
        **{
            **{"n_components": 2, "hidden_layer_sizes": (8,), "max_iter": 3},
            **{"random_state": 0, **parameters},
        }
    )


def copies_of_weights(model):
    return {name: tensor.clone() for name, tensor in model.net_.weights().items()}


def assert_same_weights(first, second):
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


# ------------------------------------------------------------------- fits that fail


class Spoil(Callback):
    """Makes all weights NaN at the end of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.epoch:
            for parameter in net.module_.parameters():
                parameter.data.fill_(math.nan)


class Fail(Callback):
    """Raises in the middle of an epoch."""

    def __init__(self, error, epoch=3):
        self.error, self.epoch = error, epoch

    def on_batch_end(self, net, training=None, **kwargs):
        if len(net.history) == self.epoch:
            raise self.error


def assert_usable(model, n_iter):
    assert model.n_iter_ == len(model.loss_curve_) == n_iter
    codes = model.transform(X)
    assert np.isfinite(codes).all()
    assert model.inverse_transform(codes).shape == X.shape
    assert np.isfinite(model.score(X))
    rows = model.sample(30)
    assert rows.shape == (30, 4)
    assert (rows.min(0) >= X.min(0)).all()
    assert (rows.max(0) <= X.max(0)).all()
    other = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(other.sample(5), model.sample(5))


def test_a_bad_loss_leaves_a_usable_model(make):
    model = make(callbacks=[Spoil(2)], early_stopping=False)
    with pytest.raises(FloatingPointError, match="became nan in epoch 3"):
        model.fit(X)
    assert_usable(model, n_iter=3)
    assert np.isnan(model.loss_curve_[-1])
    assert np.isfinite(model.loss_curve_[:-1]).all()
    # the moments of the spoilt steps do not spoil the next ones
    model.set_params(warm_start=True, callbacks=None).fit(X)
    assert_usable(model, n_iter=7)
    assert np.isfinite(model.loss_curve_[-4:]).all()


def test_an_error_of_a_callback_leaves_a_usable_model(make):
    """The epoch that it broke off does not count."""
    model = make(callbacks=[Fail(RuntimeError("disk full"))])
    with pytest.raises(RuntimeError, match="disk full"):
        model.fit(X)
    assert_usable(model, n_iter=2)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_ctrl_c_after_training_leaves_a_usable_model(make, error, monkeypatch):
    """While density, ratio and marginals are fitted, which may take as long."""
    real = TableSampler.fit

    def interrupted(self, *args):
        monkeypatch.setattr(TableSampler, "fit", real)
        raise error

    monkeypatch.setattr(TableSampler, "fit", interrupted)
    model = make()
    with pytest.raises(error):
        model.fit(X)
    assert_usable(model, n_iter=4)


def test_samples_after_an_error_are_those_of_the_kept_weights():
    """Not those of a density that was fitted to the codes of another fit."""
    model = autoencoder(max_iter=20).fit(X)
    far = X + 100.0
    model.set_params(callbacks=[Spoil(2)])
    with pytest.raises(FloatingPointError):
        model.fit(far)
    assert model.sample(50).min() > 99


def test_a_failed_fit_without_codes_says_so(monkeypatch):
    def fail(self, *args):
        raise MemoryError

    model = autoencoder()
    monkeypatch.setattr(AutoencoderTransformer, "_latent_sample", fail)
    with pytest.raises(MemoryError):
        model.fit(X)
    assert model.transform(X).shape == (150, 2)
    with pytest.raises(NotFittedError, match="cannot sample.*Call `fit` again"):
        model.sample(2)


def test_a_fit_that_fails_before_training_leaves_no_half_of_a_model():
    model = autoencoder(early_stopping=True, validation_fraction=0.9)
    with pytest.raises(ValueError, match="leaves no rows to train on"):
        model.fit(X[:1])
    for verb in (model.transform, model.score_samples):
        with pytest.raises(NotFittedError):
            verb(X)
    # nor of the one before, whose net does not fit the new codec
    model = autoencoder().fit(X)
    with pytest.raises(ValueError, match="leaves no rows"):
        model.set_params(early_stopping=True, validation_fraction=0.9).fit(X[:1, :2])
    with pytest.raises(NotFittedError):
        model.transform(X[:, :2])
    assert model.set_params(early_stopping=False).partial_fit(X).sample().shape == (
        1,
        4,
    )


def test_a_stream_goes_on_after_a_bad_batch(make):
    model = make(callbacks=[Spoil(1)])
    with pytest.raises(FloatingPointError, match="with the last step"):
        model.partial_fit(X)
    assert_usable(model, n_iter=1)
    model = make(callbacks=[Spoil(2)]).partial_fit(X)
    before = copies_of_weights(model)
    with pytest.raises(FloatingPointError):
        model.partial_fit(X)
    assert_same_weights(copies_of_weights(model), before)
    assert_usable(model, n_iter=2)
    model.partial_fit(X)
    assert_usable(model, n_iter=3)


@pytest.mark.parametrize("verb", ["fit", "partial_fit"])
def test_a_last_step_that_spoils_the_weights(make, verb):
    """No further epoch shows it; the weights are those of the start."""
    model = make(max_iter=1, learning_rate_init=1e20, batch_size=150)
    # a critic steps before the generator, whose loss shows it
    when = "in epoch 1" if isinstance(model, GANSampler) else "with the last step"
    message = rf"became (nan|inf) {when}.*Lower learning_rate_init.*1e\+20"
    with pytest.raises(FloatingPointError, match=message):
        getattr(model, verb)(X)
    assert all(t.isfinite().all() for t in model.net_.weights().values())
    assert_usable(model, n_iter=1)


def test_a_last_step_that_spoils_the_critic_alone():
    """Generated rows do not show it."""

    class SpoilCritic(Callback):
        def on_epoch_end(self, net, **kwargs):
            for parameter in net.critic_.parameters():
                parameter.data.fill_(math.inf)

    model = GANSampler(hidden_layer_sizes=(8,), max_iter=1, callbacks=[SpoilCritic()])
    with pytest.raises(FloatingPointError, match="became nan with the last step"):
        model.fit(X)
    assert all(t.isfinite().all() for t in model.net_.weights().values())


def test_the_progress_bar_is_closed_after_a_bad_loss(capsys):
    model = autoencoder(verbose=1, callbacks=[Spoil(1)])
    with pytest.raises(FloatingPointError):
        model.fit(X)
    assert capsys.readouterr().err.endswith("\n")
    assert not any(hasattr(c, "bar_") for _, c in model.net_.callbacks_)


# ------------------------------------------------------------------- warm starts


def test_a_warm_fit_goes_on_from_weights_and_moments():
    """As if the net had been trained on by hand."""
    model = autoencoder(warm_start=True).fit(X)
    by_hand = copy.deepcopy(model)
    by_hand.net_.set_params(lr_floor=0.0).partial_fit(
        upload(by_hand.codec_, X, by_hand.device_)
    )
    model.fit(X)
    hidden = {k: t for k, t in copies_of_weights(model).items() if "log_scale" not in k}
    expected = copies_of_weights(by_hand)
    for name, tensor in hidden.items():
        assert torch.equal(tensor, expected[name]), name


class Count(Callback):
    def on_epoch_end(self, net, **kwargs):
        self.n_epochs_ = getattr(self, "n_epochs_", 0) + 1


def test_a_progress_bar_counts_drawn_rows(make, capsys):
    model = make().fit(X)
    quiet = model.sample(5_000, random_state=0)
    assert capsys.readouterr().err == ""
    model.set_params(verbose=1)
    np.testing.assert_array_equal(model.sample(5_000, random_state=0), quiet)
    shown = capsys.readouterr().err
    assert shown.rpartition("\r")[2].startswith(f"{type(model).__name__}: 100%")
    assert " 5.00k/5.00k " in shown
    # How many rows conditions take is not known before: no share is shown.
    model.sample(10, conditions={0: (5, None)}, random_state=0)
    shown = capsys.readouterr().err
    assert "%" not in shown
    assert "row" in shown


def test_changed_parameters_reach_a_warm_fit(make, capsys):
    model = make(warm_start=True, weight_decay=0.5).fit(X)
    old, new = model.net_, Count()
    model.set_params(
        max_iter=2,
        learning_rate_init=1e-12,
        weight_decay=0.01,
        batch_size=30,
        callbacks=[new],
        verbose=1,
    )
    before = copies_of_weights(model)
    capsys.readouterr()
    model.fit(X)
    assert model.net_ is old
    assert model.n_iter_ == 6
    assert model.net_.history[-1, "train_batch_count"] == 5
    assert new.n_epochs_ == 2
    assert "2/2" in capsys.readouterr().err
    after = copies_of_weights(model)
    for name, tensor in before.items():
        # measured after training; a running average, which still follows
        if not name.endswith("log_scale") and "ema_generator" not in name:
            torch.testing.assert_close(after[name], tensor, rtol=0, atol=1e-8)
    fresh = make(weight_decay=0.01).fit(X).net_
    for name in fresh._optimizers:
        decays = [
            [group["weight_decay"] for group in getattr(net, f"{name}_").param_groups]
            for net in (model.net_, fresh)
        ]
        assert decays[0] == decays[1]


SHAPES = {
    AutoencoderTransformer: {"loss": "squared_error", "noise": 0.5, "ordered": True},
    VAETransformer: {"loss": "gaussian", "beta": 2.0, "sampling": "latent"},
    GANSampler: {
        "loss": "wasserstein",
        "critic_hidden_layer_sizes": (4, 4),
        "n_critic_steps": 3,
        "gradient_penalty": 9.0,
    },
}


@pytest.mark.parametrize("model", SHAPES, ids=lambda model: model.__name__)
def test_parameters_of_codec_and_net_cannot_change(model):
    """They would be ignored. Each is named, with what it was."""
    own = {"critic_hidden_layer_sizes": (8,)} if model is GANSampler else {}
    options = {"hidden_layer_sizes": (8,), "max_iter": 1, **own}
    fitted = model(3, warm_start=True, random_state=0, **options).fit(X)
    before, net = fitted.get_params(), fitted.net_
    for name, value in {
        "n_components": 2,
        "hidden_layer_sizes": (4,),
        "activation": "relu",
        "numeric_scaling": "minmax",
        "categorical_features": [3],
        "handle_unknown": "ignore",
        "max_categories": 5,
        **SHAPES[model],
    }.items():
        fitted.set_params(**{name: value})
        change = re.escape(f"{name}={value!r} (it was {before[name]!r})")
        advice = "Set them back, or call fit with warm_start=False"
        for method in ("fit", "partial_fit"):
            with pytest.raises(ValueError, match=f"^{method} .*{change}.*{advice}"):
                getattr(fitted, method)(X)
        fitted.set_params(**{name: before[name]})
    assert fitted.fit(X).partial_fit(X).net_ is net
    changed = fitted.set_params(n_components=2, activation="relu")
    with pytest.raises(ValueError, match="n_components=2 .*, activation='relu'"):
        changed.fit(X)
    assert changed.set_params(warm_start=False).fit(X).transform(X).shape == (150, 2)
    changed.partial_fit(X)  # which goes on with what the new fit made


def test_other_spellings_of_parameters_are_no_change():
    options = {"warm_start": True, "categorical_features": [3]}
    model = autoencoder(**options, hidden_layer_sizes=(8,), noise=1.0).fit(X)
    for sizes, features in [([8], (3,)), (8, np.array([3])), (np.array([8]), [3])]:
        model.set_params(
            hidden_layer_sizes=sizes,
            categorical_features=features,
            noise=1,
            n_components=np.int64(2),
        )
        assert model.fit(X).partial_fit(X).transform(X).shape == (150, 2)
    features = np.array([3, 2])
    model.set_params(warm_start=False, categorical_features=features).fit(X)
    features[1] = 1  # in place
    with pytest.raises(ValueError, match=r"array\(\[3, 1\]\) \(it was array\(\[3, 2"):
        model.partial_fit(X)
    mask = [False, False, True, True]
    model = autoencoder(warm_start=True, categorical_features=mask).fit(X)
    with pytest.raises(ValueError, match="categorical_features"):
        model.set_params(categorical_features=[0, 0, 1, 1]).fit(X)


def test_changed_patience_reaches_a_warm_fit(make):
    model = make(warm_start=True, early_stopping=True).fit(X)
    model.set_params(tol=1e9, n_iter_no_change=2, max_iter=50).fit(X)
    # the first epoch gains, as all is less than infinity; two more do not
    assert model.n_iter_ == 4 + 3


def test_a_warm_fit_needs_the_same_table(table):
    model = autoencoder(warm_start=True).fit(table)
    codes = model.transform(table)
    gold = table.assign(
        plan=table["plan"].astype(object).where(table.index > 3, "gold")
    )
    holes = table.assign(visits=table["visits"].astype(float).where(table.index > 3))
    for other, message in [
        (table.drop(columns="plan"), "feature names.*plan"),
        (table.rename(columns={"plan": "tariff"}), "feature names.*tariff"),
        (gold, "'plan' has values that were not there.*gold"),
        (holes, "'visits' has missing values"),
    ]:
        with pytest.raises(ValueError, match=rf"(?s){message}.*warm_start=False"):
            model.fit(other)
        np.testing.assert_array_equal(model.transform(table), codes)
    with pytest.raises(ValueError, match="warm_start=False"):
        autoencoder(warm_start=True).fit(X).fit(X[:, :3])
    assert model.set_params(warm_start=False).fit(gold).transform(gold).shape == (
        200,
        2,
    )


# ------------------------------------------------------------------- polars


def polars_table(n=150, holes=0.0):
    """A column of each dtype that a polars frame may bring, and their names."""
    polars = pytest.importorskip("polars", reason="needs the extra test")
    rng = np.random.default_rng(0)
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 90, n), "D")
    moments = polars.Series(days.to_pydatetime().tolist())
    columns = {
        "i8": polars.Series(rng.integers(-5, 5, n), dtype=polars.Int8),
        "u32": polars.Series(rng.integers(0, 5, n), dtype=polars.UInt32),
        "i64": polars.Series(rng.integers(0, 500, n)),
        "f32": polars.Series(rng.normal(size=n), dtype=polars.Float32),
        "f64": polars.Series(rng.normal(size=n).round(2)),
        "decimal": polars.Series(rng.integers(0, 900, n) / 100).cast(
            polars.Decimal(8, 2)
        ),
        "bool": polars.Series(rng.random(n) < 0.4),
        "string": polars.Series(rng.choice(["a", "b", "ç"], n)),
        "category": polars.Series(rng.choice(["x", "y"], n), dtype=polars.Categorical),
        "enum": polars.Series(
            rng.choice(["lo", "hi"], n), dtype=polars.Enum(["lo", "hi", "never"])
        ),
        "date": moments.cast(polars.Date),
        "ms": moments.cast(polars.Datetime("ms")),
        "zone": moments.dt.replace_time_zone("Europe/Berlin"),
        "duration": polars.Series(rng.integers(0, 99, n)).cast(polars.Duration("ms")),
        "time": polars.Series(rng.integers(0, 24, n) * 3600 * 10**9).cast(polars.Time),
    }
    frame = polars.DataFrame(columns)
    if holes:
        kept = polars.Series(rng.random(n) > holes)
        frame = frame.with_columns(
            polars.when(kept).then(polars.col(name)).alias(name) for name in columns
        )
        frame = frame.with_columns(nothing=polars.lit(None))
    return polars, frame


@pytest.mark.parametrize("holes", [0.0, 0.2])
def test_polars_tables_come_back(holes):
    polars, frame = polars_table(holes=holes)
    model = autoencoder(numeric_scaling="quantile").fit(frame)
    assert model.feature_names_in_.tolist() == frame.columns
    rows = model.sample(200)
    assert rows.schema == frame.schema
    for name in frame.columns:
        kept = frame[name].drop_nulls()
        if name != "nothing":
            drawn = rows[name].drop_nulls()
            assert kept.min() <= drawn.min()
            assert drawn.max() <= kept.max()
        assert (rows[name].null_count() > 0) == (frame[name].null_count() > 0)
    codes = model.transform(frame)
    assert model.inverse_transform(codes).schema == frame.schema
    # each way of the door is exact
    table = model._check_table(frame, reset=False)
    decoded = model.codec_.decode(*model.codec_.encode(table))
    from sklearn_unsup._table.polars import to_polars

    assert to_polars(decoded, model._polars_schema).equals(frame, null_equal=True)


def test_polars_tables_are_read_as_pandas_ones(make, table):
    """The same codes, scores and rows: one door, and nothing behind it knows."""
    polars = pytest.importorskip("polars", reason="needs the extra test")
    table = table.assign(height=table["height"].round(1).astype(np.float32))
    frame = polars.from_pandas(table)
    # pandas' categories have an order of their own, which codes do not depend on
    one, other = make().fit(table), make().fit(frame)
    np.testing.assert_array_equal(one.transform(table), other.transform(frame))
    np.testing.assert_array_equal(one.transform(frame), other.transform(table))
    if hasattr(one, "score_samples"):
        np.testing.assert_array_equal(
            one.score_samples(table), other.score_samples(frame)
        )
    assert one.score(table) == other.score(frame)
    wanted = {"plan": "pro", "active": polars.Series([True, False] * 10)}
    rows = other.sample(20, conditions=wanted)
    assert (rows["plan"] == "pro").all()
    assert rows["active"].to_list() == [True, False] * 10
    drawn = other.sample(20, random_state=0).to_pandas()
    pd.testing.assert_frame_equal(
        one.sample(20, random_state=0),
        drawn.where(drawn.notna()),  # NaN where pandas 2 has None
        check_dtype=False,
        check_categorical=False,
    )
    assert isinstance(one.sample(2), pd.DataFrame)
    other.partial_fit(frame)
    assert isinstance(other.sample(2), polars.DataFrame)


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_output_containers(make, container):
    library = pytest.importorskip(container)
    model = make().set_output(transform=container)
    prefix = type(model).__name__.lower()
    for rows in (X, library.DataFrame({f"x{i}": X[:, i] for i in range(4)})):
        codes = model.fit(rows).transform(rows)
        assert isinstance(codes, library.DataFrame)
        assert list(codes.columns) == [f"{prefix}{i}" for i in range(3)]
        np.testing.assert_array_equal(
            codes.to_numpy(), model.set_output(transform="default").transform(rows)
        )
        model.set_output(transform=container)


def test_polars_in_a_search():
    polars, frame = polars_table()
    search = GridSearchCV(
        make_pipeline(autoencoder(), LogisticRegression()),
        {"autoencodertransformer__n_components": [1, 2]},
        cv=2,
        error_score="raise",
    ).fit(frame.drop("bool"), frame["bool"].to_numpy())
    assert search.best_estimator_[0].sample(3).columns == frame.drop("bool").columns


def test_polars_tables_that_cannot_be_read():
    polars, frame = polars_table()
    with pytest.raises(TypeError, match=r"LazyFrame: pass X\.collect\(\)"):
        autoencoder().fit(frame.lazy())
    model = autoencoder().fit(frame)
    with pytest.raises(TypeError, match=r"^conditions is a polars LazyFrame: pass"):
        model.sample(conditions=frame.lazy())
    lists = frame.with_columns(tags=polars.Series([[1, 2]] * len(frame)))
    with pytest.raises(TypeError, match=r"column 'tags' has the polars dtype List"):
        autoencoder().fit(lists)
    with pytest.raises(ValueError, match="minimum of 1 is required"):
        autoencoder().fit(frame.clear())
    with pytest.raises(ValueError, match="feature names"):
        autoencoder().fit(frame).transform(frame.drop("time"))


def test_a_refused_empty_frame_leaves_the_model_as_it_was():
    frame = pd.DataFrame(X[:, :2], columns=["a", "b"])
    model = autoencoder().fit(frame)
    with pytest.raises(ValueError, match="minimum of 1 is required"):
        model.fit(pd.DataFrame({"z": [], "y": [], "q": []}))
    assert model.transform(frame).shape == (150, model.n_components_)


# ------------------------------------------------------------------- fitting in


@pytest.mark.parametrize("fitted", [False, True])
def test_html(make, fitted):
    """A diagram without a link that leads nowhere."""
    model = make()
    if fitted:
        model.fit(X)
    html = sklearn.utils.estimator_html_repr(model)
    assert type(model).__name__ in html
    assert (">Fitted<" in html) == fitted
    assert (">Not fitted<" in html) != fitted
    assert "href=" not in html
    assert type(model).__name__ in sklearn.utils.estimator_html_repr(
        make_pipeline(model)
    )


def test_metadata_routing_does_not_get_in_the_way(make):
    y = load_iris().target
    with sklearn.config_context(enable_metadata_routing=True):
        search = GridSearchCV(
            make_pipeline(make(), LogisticRegression()),
            {f"{type(make()).__name__.lower()}__n_components": [2]},
            cv=2,
            error_score="raise",
        ).fit(X, y)
        assert search.predict(X).shape == (150,)
        assert make().partial_fit(X).sample(2).shape == (2, 4)
        assert make().fit_transform(X).shape == (150, 3)


@pytest.mark.slow
def test_what_an_import_does_not_do():
    """Neither it nor a fit needs polars, or torch's compiler, which takes seconds.

    scikit-learn finds what it found before.
    """
    code = (
        "import pickle, sys, numpy as np;"
        "from sklearn.utils.discovery import all_estimators;"
        "before = all_estimators();"
        "import sklearn_unsup, sklearn_unsup.pipeline, sklearn_unsup.metrics;"
        "assert all_estimators() == before;"
        "X = np.random.default_rng(0).normal(size=(20, 2));"
        "model = sklearn_unsup.AutoencoderTransformer(1, max_iter=1).fit(X);"
        "model.sample(2);"
        "pickle.loads(pickle.dumps(model)).partial_fit(X);"
        "sklearn_unsup.VAETransformer(1, max_iter=1).fit(X).score_samples(X);"
        "sklearn_unsup.GANSampler(1, max_iter=1, device='cpu').fit(X).sample(2);"
        "assert not {'polars', 'torch._dynamo'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


# ------------------------------------------------------------------- first errors


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        (
            {"hidden_layer_sizes": (8, 0)},
            ValueError,
            r"hidden_layer_sizes must.*\(8, 0",
        ),
        (
            {"hidden_layer_sizes": (8.5,)},
            ValueError,
            "hidden_layer_sizes must hold ints",
        ),
        (
            {"hidden_layer_sizes": ["8"]},
            ValueError,
            "hidden_layer_sizes must hold ints",
        ),
        (
            {"hidden_layer_sizes": 8.0},
            ValueError,
            "'hidden_layer_sizes' parameter.*Got 8.0",
        ),
        ({"callbacks": [3]}, TypeError, "callbacks must hold callbacks.*got 3"),
        ({"callbacks": [("a", int)]}, TypeError, "callbacks must hold.*'a'"),
        ({"activation": "rlu"}, ValueError, "'activation' parameter.*Got 'rlu'"),
        ({"device": "gpu"}, ValueError, "device='gpu' cannot.*Pass 'auto', 'cpu'"),
        (
            {"early_stopping": True, "validation_fraction": 0.999},
            ValueError,
            "early_stopping with validation_fraction=0.999 leaves no rows.*X has 150",
        ),
        (
            {"categorical_features": ["town"]},
            ValueError,
            "categorical_features names 'town'.*The columns are",
        ),
    ],
)
def test_parameters_that_cannot_be_used(make, parameters, error, message):
    for verb in ("fit", "partial_fit"):
        if "early_stopping" in parameters and verb == "partial_fit":
            continue
        model = make(**parameters)
        with pytest.raises(error, match=message):
            getattr(model, verb)(X)
        with pytest.raises(NotFittedError):
            model.transform(X)


def test_widths_of_a_critic_are_checked():
    with pytest.raises(ValueError, match=r"critic_hidden_layer_sizes must.*\(-1,\)"):
        GANSampler(critic_hidden_layer_sizes=(-1,)).fit(X)


def test_unknown_values_are_read_as_known_ones_with_a_warning(table, fitted):
    """A fold without a rare level is no reason to end a search."""
    model = autoencoder().fit(table)
    strange = table.head(3).assign(plan="gold", visits=np.nan)
    named = "'visits' has missing.*'plan' .*'gold'"
    with pytest.warns(UserWarning, match=named) as caught:
        codes = model.transform(strange)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    ignoring = clone(model).set_params(handle_unknown="ignore").fit(table)
    np.testing.assert_allclose(codes, ignoring.transform(strange))
    # but nothing is learnt from them
    with pytest.raises(ValueError, match="'plan'.*'gold'"):
        model.partial_fit(strange.assign(visits=1))
    with pytest.raises(ValueError, match="'visits' has missing"):
        model.partial_fit(table.head(3).assign(visits=np.nan))
    with pytest.raises(ValueError, match="'visits' has missing"):
        model.set_params(warm_start=True).fit(strange)


@pytest.fixture(scope="module")
def fitted(table):
    return autoencoder(handle_unknown="error").fit(table)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"plan": "gold"}, ValueError, "'plan'.*'gold'.*handle_unknown='ignore'"),
        ({"visits": np.nan}, ValueError, "'visits' has missing.*handle_unknown='ign"),
        ({"height": np.inf}, ValueError, "'height' contains infinity: replace"),
        ({"height": "tall"}, ValueError, "'height' has dtype .*cannot be read as num"),
        ({"joined": "2024"}, ValueError, "'joined' has dtype .*when fitted. Convert"),
    ],
)
def test_rows_that_cannot_be_read(fitted, table, change, error, message):
    for verb in (fitted.transform, fitted.score_samples, fitted.partial_fit):
        with pytest.raises(error, match=message):
            verb(table.assign(**change))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_samples": 0}, ValueError, "n_samples must be an int of at least 1, got 0"),
        ({"n_samples": 2.0}, ValueError, "n_samples must be an int.*got 2.0"),
        ({"conditions": ["plan"]}, TypeError, r"conditions must be a dict.*\['plan'\]"),
        (
            {"conditions": {"town": 1}},
            ValueError,
            "'town'.*columns are: .*'plan', 'reg",
        ),
        ({"conditions": {"height": "tall"}}, ValueError, "'height' holds numbers"),
        ({"conditions": {"plan": "gold"}}, ValueError, "'gold'.*levels are .*'pro'"),
        (
            {"n_samples": 2, "conditions": {"plan": ["pro"]}},
            ValueError,
            "'plan' has 1 values for 2 rows. Pass one level or a set of levels for all",
        ),
    ],
)
def test_requests_that_cannot_be_met(fitted, arguments, error, message):
    with pytest.raises(error, match=message):
        fitted.sample(**arguments)


def test_codes_that_are_none(fitted):
    for codes, message in [
        (np.zeros((2, 3)), "codes have 3 columns.*n_components=2: pass what transform"),
        ([[0.0, np.nan]], "codes contains NaN"),
        ([0.0, 0.0], "Expected 2D array"),
    ]:
        with pytest.raises(ValueError, match=message):
            fitted.inverse_transform(codes)


def test_an_array_after_a_frame(table):
    """By position, with scikit-learn's warning."""
    numbers = table[["height", "weight", "visits"]]
    model = autoencoder().fit(numbers)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        codes = model.transform(numbers.to_numpy())
    np.testing.assert_allclose(codes, model.transform(numbers), rtol=1e-6)


@pytest.mark.parametrize("kind", [AutoencoderTransformer, VAETransformer, GANSampler])
def test_a_stream_may_bring_levels_that_were_declared(kind):
    """A level that the first chunk lacks may be learnt, and asked for, later."""
    dtype = pd.CategoricalDtype(["a", "b", "late"])
    rng = np.random.default_rng(0)
    chunks = [
        pd.DataFrame(
            {
                "x": rng.normal(size=200),
                "level": pd.Categorical(rng.choice(levels, 200), dtype=dtype),
            }
        )
        for levels in (["a", "b"], ["b", "late"])
    ]
    model = kind(2, hidden_layer_sizes=(8,), random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for chunk in chunks * 3:
            model.partial_fit(chunk)
    rows = model.sample(400, conditions={"level": ["late", "a"] * 200})
    assert rows["level"].tolist() == ["late", "a"] * 200
    model.set_params(max_iter=1).fit(chunks[0])
    with pytest.warns(UserWarning, match="late"):
        model.transform(chunks[1])


def test_a_refused_chunk_leaves_the_codec_as_it_was():
    X = pd.DataFrame({"x": [1.0, 2.0, 3.0] * 20, "level": ["a", "b", "b"] * 20})
    model = VAETransformer(2, hidden_layer_sizes=(8,), random_state=0).partial_fit(X)
    codes = model.transform(X)
    with pytest.raises(ValueError, match="'c'"):
        model.partial_fit(X.assign(x=X["x"] + 7, level="c"))
    np.testing.assert_array_equal(model.transform(X), codes)


def test_a_stream_draws_numbers_that_its_first_chunk_lacked():
    first = pd.DataFrame({"count": [1, 4, 4] * 100, "x": np.arange(300) % 100})
    later = pd.DataFrame({"count": [2, 9, 9] * 100, "x": np.arange(300) % 100})
    model = VAETransformer(2, hidden_layer_sizes=(8,), random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for chunk in [first] + [first, later] * 10:
            model.partial_fit(chunk)
    assert set(model.sample(2_000, random_state=0)["count"]) == {1, 2, 4, 9}


class FailInStream(Callback):
    def on_epoch_end(self, net, **kwargs):
        raise ValueError("of a callback")


def test_a_chunk_whose_training_fails_leaves_codec_and_samples_as_they_were():
    X = make_mixed_table(300, random_state=0)[0].drop(columns="plan")
    options = {"hidden_layer_sizes": (8,), "batch_size": 64, "random_state": 0}
    model = VAETransformer(2, max_iter=20, **options).fit(X[:200])
    rows = model.sample(20, random_state=0)
    codes = model.transform(X)
    net = model.net_
    net.callbacks = [FailInStream()]
    net.initialize_callbacks()
    with pytest.raises(ValueError, match="of a callback"):
        model.partial_fit(X[200:].assign(height=X["height"] + 500))
    assert model.sample(20, random_state=0)["height"].max() < 300
    assert np.abs(model.transform(X) - codes).max() < 1  # weights, a few steps on
    assert rows.columns.equals(X.columns)


def test_changed_rates_reach_a_stream():
    X, _ = make_mixed_table(100, random_state=0)
    model = VAETransformer(2, hidden_layer_sizes=(8,), random_state=0).partial_fit(X)
    model.set_params(learning_rate_init=1e-5, mixed_precision=True).partial_fit(X)
    assert model.net_.lr == 1e-5
    assert model.net_.mixed_precision


# ------------------------------------------------------------------- extremes


@pytest.mark.parametrize("kind", [AutoencoderTransformer, VAETransformer, GANSampler])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_streams_of_extremes(kind):
    """Ids over all of int64 and uint64, dates at the bounds: rows stay among them."""
    whole, unsigned = np.iinfo(np.int64), np.iinfo(np.uint64)
    rng = np.random.default_rng(0)
    date = rng.integers(whole.min + 1, whole.max, 40, endpoint=True)
    far = rng.integers(-(10**17), 10**17, 40)
    ids = rng.integers(whole.min, whole.max, 40, endpoint=True)
    table = pd.DataFrame(
        {
            "unsigned": rng.integers(0, unsigned.max, 40, np.uint64, endpoint=True),
            "id": np.where(rng.random(40) < 0.2, whole.max, ids),
            "ns": date.view("M8[ns]"),
            "s": far.view("M8[s]"),
        }
    )
    model = kind(2, hidden_layer_sizes=(8,), max_iter=1, random_state=0)
    small = table.iloc[10:20]
    for drawn, seen in (
        (model.partial_fit(small).sample(200), small),
        (model.partial_fit(table).sample(200), table),
        (model.fit(table).sample(200), table),
    ):
        assert (drawn.dtypes == table.dtypes).all()
        assert not drawn.isna().any().any()
        assert ((drawn >= seen.min()) & (drawn <= seen.max())).all().all()


@pytest.mark.parametrize("kind", [AutoencoderTransformer, VAETransformer, GANSampler])
@pytest.mark.parametrize("scaling", [None, "standard"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_scores_of_extremes_are_finite(kind, scaling):
    X = np.random.default_rng(0).normal(size=(60, 2))
    model = kind(2, hidden_layer_sizes=(8,), max_iter=1, numeric_scaling=scaling)
    model.set_params(random_state=0).fit(X)
    for extreme in (1e19, np.finfo(np.float32).max, 1e300):
        far = np.array([[extreme, 0.0], [0.0, -extreme]])
        assert np.isfinite(model.transform(far)).all()
        assert np.isfinite(model.score(far))
    far = pd.DataFrame({"x": [0.0, 1.0, 1e19]})
    if scaling is None:
        with pytest.raises(ValueError, match=r"'x' goes up to 1e\+19.*numeric_scaling"):
            model.fit(far)
    else:
        assert np.isfinite(model.fit(far).score(far))


# ------------------------------------------------------------------- identifiers


def table_of(cities, emails=None):
    n = len(cities)
    columns = {"city": pd.Series(cities, dtype=object), "x": np.arange(n) % 7}
    if emails is not None:
        columns["email"] = pd.Series(emails, dtype=object)
    return pd.DataFrame(columns)


def identifiers(n):
    return [f"person{i:05d}@example.org" for i in range(n)]


@pytest.fixture(params=[AutoencoderTransformer, VAETransformer, GANSampler])
def quick_model(request):
    small = {"hidden_layer_sizes": (8,), "max_iter": 1, "random_state": 0}
    return request.param(2, **small)


@pytest.mark.parametrize(
    ("column", "warns"),
    [
        ([Decimal("12345678901234567890.12") + i for i in range(30)], True),
        ([Decimal("1.1"), Decimal("1.10000000000000000")] * 15, True),  # as 1.1 is not
        ([Decimal("1234567890.25") + i for i in range(30)], False),
        ([Decimal("1e-20") * i for i in range(30)], False),
        ([None, Decimal("NaN"), Decimal("2.5")] * 10, False),
        (np.arange(30, dtype=np.longdouble) / 3, np.finfo(np.longdouble).nmant > 52),
        (np.arange(30, dtype=np.longdouble) / 4, False),
    ],
)
def test_digits_that_floats_do_not_have_are_warned_of(column, warns):
    table = pd.DataFrame({"many": pd.Series(column), "b": np.arange(30) % 5})
    model = AutoencoderTransformer(1, hidden_layer_sizes=(4,), max_iter=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(table)
    told = [str(w.message) for w in caught if "'many'" in str(w.message)]
    assert len(told) == warns
    assert all("more digits than floats of 64 bits" in message for message in told)


@pytest.mark.skipif(np.finfo(np.longdouble).max <= 1e308, reason="no such floats here")
def test_floats_beyond_those_of_64_bits_are_refused(quick_model):
    table = pd.DataFrame({"far": np.arange(9) * np.longdouble("1e400"), "b": range(9)})
    with pytest.raises(ValueError, match="'far' has dtype.*divide it"):
        quick_model.fit(table)


def test_an_identifier_is_warned_of_by_name(quick_model):
    table = table_of(["Bonn", "Ulm"] * 75, identifiers(150))
    told = r"'email' looks like an identifier: 150 of its 150 values differ.*[dD]rop"
    with pytest.warns(UserWarning, match=told) as caught:
        quick_model.fit(table)
    assert [w.filename for w in caught] == [__file__]  # the user's line
    with pytest.warns(UserWarning, match="'email' looks like an identifier"):
        clone(quick_model).partial_fit(table)


@pytest.mark.parametrize(
    ("column", "warns"),
    [
        (identifiers(100), True),
        (identifiers(99), False),  # too few to tell
        ([*identifiers(25), *"abcde"], False),
        (identifiers(101) + ["Bonn"] * 99, True),  # 102 of 200
        (identifiers(100) * 2, False),  # each one twice: a customer, say
        (identifiers(120) + [None] * 500, True),  # among those that are there
        (list(range(500)), False),  # numbers
    ],
)
def test_what_is_taken_for_an_identifier(column, warns):
    table = pd.DataFrame({"a": column, "b": np.arange(len(column)) % 5})
    model = AutoencoderTransformer(1, hidden_layer_sizes=(4,), max_iter=1)
    for frame in (table, table.astype({"a": "category"})):
        if frame is not table and table["a"].dtype.kind == "i":
            continue
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(frame)
        assert any("identifier" in str(w.message) for w in caught) == warns


def days(n, form="%Y-%m-%d"):
    return pd.date_range("2024-01-01", periods=n).strftime(form).tolist()


def warnings_of_fit(column, options):
    table = pd.DataFrame({"a": column, "b": np.arange(len(column)) % 5})
    model = AutoencoderTransformer(1, hidden_layer_sizes=(4,), max_iter=1, **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(table)
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize(
    ("column", "options", "warns"),
    [
        (days(150), {}, True),  # no identifier, although all differ
        (days(30) * 5, {}, True),
        (pd.Series(days(30) * 5, dtype="string"), {}, True),
        (days(30, "%Y-%m-%d %H:%M") * 5, {}, True),
        (([*days(28), None, "unknown"]) * 5, {}, True),
        (days(19) * 5, {}, False),  # few: a season, say
        (([*days(25), *"abcde"]) * 5, {}, False),
        (days(30, "%Y%m%d") * 5, {}, False),  # numbers of articles, say
        (days(30, "%Y-99-%d") * 5, {}, False),  # no month
        (pd.Categorical(days(30) * 5), {}, False),
        (days(30) * 5, {"categorical_features": ["a"]}, False),
    ],
)
def test_text_that_holds_dates_is_warned_of_by_name(column, options, warns):
    caught = warnings_of_fit(column, options)
    told = [message for message in caught if "pandas.to_datetime" in message]
    assert len(told) == warns
    assert all("'a' is text such as '2024-01-" in message for message in told)
    assert not any("identifier" in message for message in caught)


@pytest.mark.parametrize(
    ("column", "options", "warns"),
    [
        (list(map(str, range(18, 90))) + ["?"], {}, True),
        ([f"{x / 4}" for x in range(60)], {}, True),
        (list(map(str, range(5, 60))), {}, True),
        (list(map(str, range(10_000, 10_060))), {}, False),  # codes, say
        ([f"{x:03d}" for x in range(60)] + ["?"], {}, False),
        ([*map(str, range(10_000, 10_500)), "00501", "?"], {}, False),
        ([*map(str, range(10_000, 10_060)), "?"], {}, True),
        ([*map(str, range(10_000, 10_060)), "unknown"], {}, False),
        ([f"1.{x}" for x in range(40)], {}, False),  # versions: 1.1 is not 1.10
        ([f"+49{x}" for x in range(40)], {}, False),
        ([*map(str, range(12)), "?"], {}, False),  # few
        ([*map(str, range(40)), *(f"a{x}" for x in range(20))], {}, False),
        (pd.Categorical(list(map(str, range(60)))), {}, False),
        (list(map(str, range(60))), {"categorical_features": ["a"]}, False),
    ],
)
def test_text_that_holds_numbers_is_warned_of_by_name(column, options, warns):
    caught = warnings_of_fit(pd.Series(column).repeat(4), options)
    told = [message for message in caught if "pandas.to_numeric" in message]
    assert len(told) == warns
    assert all(re.match("column 'a' is text such as '[0-9.]+', and", m) for m in told)


@pytest.mark.parametrize(
    "dtype", [object, "category", pytest.param("string", marks=pytest.mark.slow)]
)
def test_max_categories_forgets_the_rest(quick_model, dtype):
    """No byte of a pooled level is kept; drawn rows have the frequent ones."""
    cities = ["Bonn"] * 60 + ["Ulm"] * 30 + [None] * 5 + identifiers(205)
    table = table_of(cities).astype({"city": dtype})
    model = quick_model.set_params(max_categories=3).fit(table)  # warns of nothing
    assert model.codec_.layout_.cardinalities[0] == 4  # two, missing, all others
    assert b"@example" not in pickle.dumps(model)
    assert b"Bonn" in pickle.dumps(model)
    assert b"@example" in pickle.dumps(
        clone(model).set_params(max_categories=300).fit(table.iloc[:110])
    )
    drawn = model.sample(300)["city"]
    assert set(drawn.dropna()) <= {"Bonn", "Ulm"}
    if dtype == "category":
        assert set(drawn.cat.categories) == {"Bonn", "Ulm"}
    else:
        assert drawn.dtype == table["city"].dtype
    again = pickle.loads(pickle.dumps(model))
    # Pooled levels are known, and so is one that was never seen.
    codes = again.transform(table)
    unseen = table.assign(city="Genf").astype({"city": object})
    np.testing.assert_array_equal(again.transform(unseen.iloc[150:200]), codes[150:200])
    back = again.inverse_transform(codes)["city"]
    assert set(back.dropna()) <= {"Bonn", "Ulm"}
    assert (again.sample(20, conditions={"city": "Ulm"})["city"] == "Ulm").all()
    with pytest.raises(ValueError, match=r"'city' has no level .* of its own: max_cat"):
        again.sample(5, conditions={"city": identifiers(1)[0]})


def test_max_categories_that_no_column_reaches_changes_nothing(quick_model):
    table = table_of(["Bonn", "Ulm", "Genf"] * 20)
    one = quick_model.fit(table)
    other = clone(quick_model).set_params(max_categories=3).fit(table)
    pd.testing.assert_frame_equal(one.sample(20), other.sample(20))
    with pytest.warns(UserWarning, match="not there when fitted"):
        other.transform(table.assign(city="Rom"))
    with pytest.raises(ValueError, match="max_categories"):
        quick_model.set_params(max_categories=1).fit(table)


def test_pooled_levels_are_drawn_by_the_frequencies_of_the_others():
    cities = ["Bonn"] * 60 + ["Ulm"] * 30 + [None] * 50 + identifiers(9)
    codec = TableCodec(max_categories=3, keep_infrequent=False)
    codec.fit(table_of(cities))
    rng = np.random.default_rng(0)
    x_num, x_cat = codec.encode(table_of(identifiers(3_000)))
    drawn = codec.decode(x_num, x_cat, rng)["city"]
    assert abs((drawn == "Bonn").mean() - 2 / 3) < 0.05
    assert ((drawn == "Bonn") | (drawn == "Ulm")).all()  # none is missing
    assert (codec.decode(x_num, x_cat)["city"] == "Bonn").all()
    gaps = codec.decode(*codec.encode(table_of([None] * 3)))
    assert gaps["city"].isna().all()
    whole = TableCodec(max_categories=3, keep_infrequent=False)
    whole.fit(table_of(["Bonn"] * 5 + ["Ulm"] * 4 + identifiers(9)))
    with pytest.raises(ValueError, match="not there when fitted: None"):
        whole.encode(table_of([None]))


@pytest.mark.parametrize("model", [AutoencoderTransformer, VAETransformer, GANSampler])
def test_errors_about_arguments_name_the_public_class(model):
    estimator = model(max_iter=1, hidden_layer_sizes=(4,)).fit(X)
    name = model.__name__
    with pytest.raises(TypeError, match=rf"^{name}\.sample\(\) got an unexpected"):
        estimator.sample(num_rows=5)
    with pytest.raises(TypeError, match=rf"^{name}\.fit\(\) got an unexpected"):
        estimator.fit(X, epochs=5)
    with pytest.raises(TypeError, match=rf"^{name}\.transform\(\) missing 1"):
        estimator.transform()
    # Everything else about a method is as it was written.
    assert model.sample.__doc__ == BaseTableModel.sample.__doc__
    assert inspect.signature(model.fit) == inspect.signature(BaseTableModel.fit)
    assert pickle.loads(pickle.dumps(model.sample)) is model.sample


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"a": [1, 2]}, r"X is a dict: pass pandas.DataFrame\(X\)"),
        ("rows.csv", r"array, got str: read the file .* pandas.read_csv\(X\)"),
        (Path("rows.csv"), "read the file that it names"),
        ((row for row in [[1.0]]), r"X is a generator, .* pass list\(X\)"),
    ],
)
def test_what_is_no_table_is_refused_by_what_to_do(table, message):
    with pytest.raises((TypeError, ValueError), match=message):
        VAETransformer().fit(table)


def test_a_generator_is_refused_as_a_seed_by_the_name_of_the_parameter():
    model = VAETransformer(max_iter=1, hidden_layer_sizes=(4,)).fit(X)
    with pytest.raises(ValueError, match=r"^random_state must be an int .* of a Gen"):
        model.sample(2, random_state=np.random.default_rng(0))


@pytest.mark.parametrize(
    "callback",
    [EarlyStopping, EarlyStopping(), ("best", Checkpoint(monitor="valid_loss_best"))],
)
def test_a_callback_that_watches_rows_which_nobody_holds_out(callback):
    options = {"max_iter": 1, "hidden_layer_sizes": (4,), "callbacks": [callback]}
    model = AutoencoderTransformer(**options)
    with pytest.raises(ValueError, match="no rows are held out for it. Pass early_"):
        model.fit(X)
    if callback is EarlyStopping:
        model.set_params(early_stopping=True).fit(X)
    training = EarlyStopping(monitor="train_loss")
    model.set_params(early_stopping=False, callbacks=[training]).fit(X)


def test_a_method_of_a_subclass_is_its_own():
    class Louder(VAETransformer):
        def sample(self, n_samples=1, **others):
            return super().sample(2 * n_samples, **others)

    model = Louder(max_iter=1, hidden_layer_sizes=(4,), n_components=2).fit(X)
    assert len(model.sample(3)) == 6
    assert Louder.fit is VAETransformer.fit


@pytest.mark.parametrize("model", [AutoencoderTransformer, VAETransformer, GANSampler])
@pytest.mark.parametrize(("times", "decimals"), [(1, 6), (2, 6), (2, 0)])
def test_rows_that_repeat_others_are_named(model, times, decimals):
    """Unless they may do so by chance, as few numbers and levels do."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"x": rng.normal(size=60).round(decimals)})
    X["level"] = rng.choice(["u", "v"], 60)
    X = pd.concat([X] * times)
    quick = model(2, hidden_layer_sizes=(4,), max_iter=1, random_state=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        quick.fit(X)
    shown = [str(each.message) for each in caught]
    found = [text for text in shown if "60 of 120 rows repeat others" in text]
    assert len(found) == (times == 2 and decimals == 6)
    assert not found or "drop_duplicates" in found[0]
