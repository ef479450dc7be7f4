"""What the three models promise alike: scikit-learn's contract, seeds, saving."""

import copy
import pickle
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator

from sklearn_unsup import AutoencoderTransformer, GANSampler, VAETransformer
from sklearn_unsup.datasets import make_mixed_table

MODELS = [AutoencoderTransformer, VAETransformer, GANSampler]
SMALL = {
    AutoencoderTransformer: {"hidden_layer_sizes": (16,)},
    VAETransformer: {"hidden_layer_sizes": (16,)},
    GANSampler: {"hidden_layer_sizes": (16,), "critic_hidden_layer_sizes": (16,)},
}

pytestmark = pytest.mark.filterwarnings(
    # so few steps leave modes out and components collapsed
    "ignore::sklearn.exceptions.ConvergenceWarning"
)


def quick(model, **parameters):
    """An estimator of few steps and narrow layers, and without a density ratio."""
    defaults = {
        "n_components": 4,
        "max_iter": 3,
        "density_ratio": None,
        "random_state": 0,
    }
    return model(**{**defaults, **SMALL[model], **parameters})


@pytest.fixture(params=MODELS, ids=lambda model: model.__name__)
def model(request):
    return request.param


@pytest.fixture(scope="module")
def table():
    return make_mixed_table(300, random_state=0)[0]


# ------------------------------------------------------------------- scikit-learn


def estimator_checks(make):
    for model in MODELS:
        estimator = make(model)
        for _, check in estimator_checks_generator(estimator):
            name = f"{model.__name__}-{check.func.__name__}"
            yield pytest.param(estimator, check, id=name)


def quickest(model):
    return quick(model, max_iter=1)


@pytest.mark.parametrize(("estimator", "check"), estimator_checks(quickest))
def test_estimator_checks(estimator, check):
    """scikit-learn's own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        check(clone(estimator))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("estimator", "check"), estimator_checks(lambda model: model())
)
def test_estimator_checks_at_defaults(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        check(clone(estimator))


def test_parameters_are_checked(model):
    for name, value in {
        "n_components": 0,
        "max_iter": "soon",
        "batch_size": 0,
        "learning_rate_init": -1.0,
        "numeric_scaling": "robust",
        "handle_unknown": "drop",
        "validation_fraction": 1.0,
    }.items():
        with pytest.raises(ValueError, match=f"The '{name}' parameter of"):
            quick(model, **{name: value}).fit(load_iris().data)


def test_an_int_is_one_layer(model):
    X = load_iris().data
    names = list(SMALL[model])
    one, other = (quick(model, **dict.fromkeys(names, n)).fit(X) for n in (5, (5,)))
    assert other.net_.weights().keys() == one.net_.weights().keys()
    np.testing.assert_array_equal(one.transform(X), other.transform(X))
    for name in names:
        with pytest.raises(
            ValueError, match=f"The '{name}' parameter of {model.__name__}"
        ):
            quick(model, **{name: 0}).fit(X)
        with pytest.raises(ValueError, match=rf"{name} must hold ints.*got \(5, 0\)"):
            quick(model, **{name: (5, 0)}).fit(X)


def test_not_fitted(model):
    for verb in ("transform", "inverse_transform", "score"):
        with pytest.raises(NotFittedError):
            getattr(quick(model), verb)(np.zeros((2, 4)))
    with pytest.raises(NotFittedError):
        quick(model).sample(2)


def test_latent_size_can_be_searched(model):
    """In a Pipeline in a GridSearchCV, as the package is meant to be used."""
    X, y = load_diabetes(return_X_y=True)
    X, y, estimator = X[:200], y[:200], quick(model)
    search = GridSearchCV(
        make_pipeline(estimator, Ridge()),
        {f"{model.__name__.lower()}__n_components": [1, 4]},
        cv=2,
    ).fit(X, y)
    [chosen] = search.best_params_.values()
    assert search.best_estimator_[0].transform(X).shape == (len(X), chosen)
    if model is AutoencoderTransformer:  # after two epochs others know too little
        assert chosen == 4
    by_score = GridSearchCV(estimator, {"max_iter": [1, 2]}, cv=2).fit(X)
    assert np.isfinite(by_score.cv_results_["mean_test_score"]).all()


def test_output_can_be_a_frame(model, table):
    codes = quick(model).set_output(transform="pandas").fit_transform(table)
    assert codes.index.equals(table.index)
    assert list(codes) == [f"{model.__name__.lower()}{i}" for i in range(4)]


# ------------------------------------------------------------------- tables


def test_mixed_tables_come_back(model, mixed_table):
    fitted = quick(model).fit(mixed_table)
    codes = fitted.transform(mixed_table)
    assert codes.shape == (200, 4)
    assert codes.dtype == np.float32
    assert np.isfinite(codes).all()
    # What is drawn is in the range of training; what is rebuilt may be beyond it.
    rebuilt, drawn = fitted.inverse_transform(codes), fitted.sample(200)
    for rows, low, high in ((rebuilt, 0, 89 + 71), (drawn, 18, 89)):
        assert rows.dtypes.equals(mixed_table.dtypes)
        assert list(rows) == list(mixed_table)
        assert rows["age"].between(low, high).all()
        assert set(rows["city"].dropna()) <= {"Bonn", "Köln", "Ulm"}
        assert (rows["income"].dropna().round(2) == rows["income"].dropna()).all()


def test_errors_of_tables(model, table):
    fitted = quick(model, handle_unknown="error").fit(table)
    other = table.astype({"plan": object})
    other.loc[3, "plan"] = "gold"
    with pytest.raises(ValueError, match="plan.*gold"):
        fitted.transform(other)
    with pytest.raises(ValueError, match="feature names|Feature names"):
        fitted.transform(table[table.columns[::-1]])
    with pytest.raises(ValueError, match="n_components=4"):
        fitted.inverse_transform(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="n_samples must be an int"):
        fitted.sample(0)
    with pytest.raises(ValueError, match="gold"):
        fitted.sample(2, conditions={"plan": "gold"})
    with pytest.raises(ValueError, match="colour"):
        fitted.sample(2, conditions={"colour": "red"})
    with pytest.raises(ValueError, match="minimum of 1 is required"):
        fitted.transform(table[:0])


def test_infinite_values_are_refused(model):
    X = load_iris().data.copy()
    X[3, 1] = np.inf
    with pytest.raises(ValueError, match="inf"):
        quick(model).fit(X)


def test_conditions_hold(model, table):
    fitted = quick(model).fit(table)
    rows = fitted.sample(40, conditions={"plan": "pro", "active": [True, False] * 20})
    assert (rows["plan"] == "pro").all()
    assert rows["active"].tolist() == [True, False] * 20


def is_met(rows, conditions):
    """Which rows have what a dict of conditions asks of all of them."""
    met = np.ones(len(rows), dtype=bool)
    for name, asked in conditions.items():
        column = rows[name]
        if asked is None:
            met &= column.isna()
        elif asked == (None, None):
            met &= column.notna()
        elif isinstance(asked, tuple):
            low, high = asked
            met &= (column >= low) if low is not None else column.notna()
            met &= (column <= high) if high is not None else column.notna()
        else:
            met &= column.isin(asked) if isinstance(asked, set) else column == asked
    return met


@pytest.mark.parametrize(
    "asked",
    [
        {"plan": {"pro", "plus"}, "region": (None, None)},
        {"height": (170.0, 175.0)},
        {"visits": (5, None), "spend": (None, 1.0)},
        {"height": 171.5, "region": None},
        {"joined": (pd.Timestamp("2020-06-01"), pd.Timestamp("2020-06-30"))},
        {"spend": 0.0, "plan": "basic", "joined": (None, pd.Timestamp("2022-01-01"))},
    ],
    ids=lambda asked: "-".join(asked),
)
@pytest.mark.parametrize("latent", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_conditions_of_every_form(model, table, asked, latent):
    options = {"sampling": "latent"} if latent and model is VAETransformer else {}
    if latent and not options:
        pytest.skip("has one way of sampling")
    fitted = fitted_once(model, **options)
    rows = fitted.sample(60, conditions=asked)
    assert is_met(rows, asked).all()
    assert (rows.dtypes == table.dtypes).all()
    assert rows["weight"].nunique() > 30  # they are drawn, not copied
    each = {name: [value] * 3 for name, value in asked.items()}
    assert is_met(fitted.sample(3, conditions=each), asked).all()


def fitted_once(model, **options):
    """A model of the table for several tests, which leave it as it is."""
    key = model, *options
    if key not in FITTED:
        FITTED[key] = quick(model, **options).fit(
            make_mixed_table(300, random_state=0)[0]
        )
    return FITTED[key]


FITTED = {}


def test_partial_rows_are_completed(model, table):
    fitted = fitted_once(model)
    hidden = np.random.default_rng(0).random(table.shape) < 0.5
    partial = table.mask(hidden)[:30]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # some rows may be unlikely
        rows = fitted.sample(conditions=partial)
    assert rows.shape == partial.shape
    assert (rows.dtypes == table.dtypes).all()
    for name in table:
        given = partial[name].notna()
        assert rows[name][given].tolist() == table[name][:30][given].tolist()
    with pytest.raises(ValueError, match="DataFrame of 30 rows.*n_samples=4"):
        fitted.sample(4, conditions=partial)
    one = fitted.sample(5, conditions=pd.DataFrame({"plan": ["pro"], "visits": 3.0}))
    assert (one["plan"] == "pro").all()
    assert (one["visits"] == 3).all()


def test_what_no_row_has_is_drawn_with_a_warning(model):
    fitted = fitted_once(model)
    with pytest.warns(UserWarning, match="7 of 7 rows ask for a value of 'height'"):
        rows = fitted.sample(7, conditions={"height": (400, 410)})
    assert rows["height"].between(400, 410).all()


def test_one_row_is_all_that_a_model_of_it_draws(model, table):
    with pytest.warns(
        UserWarning, match="to one row: .* rows that it .* this one"
    ) as w:
        fitted = quick(model).fit(table[:1])
    assert [str(warning.filename) for warning in w] == [__file__]
    row = table[:1].loc[[0] * 3].reset_index(drop=True)
    pd.testing.assert_frame_equal(fitted.sample(3), row)
    decoded = fitted.inverse_transform(np.random.default_rng(0).normal(size=(3, 4)))
    pd.testing.assert_frame_equal(decoded, row)


def test_two_rows_bound_what_is_drawn(model, table):
    pair = table[["height", "weight"]][:2]
    with pytest.warns(UserWarning, match="to two rows: drawn numbers lie between"):
        rows = quick(model).fit(pair).sample(200)
    assert (rows >= pair.min() - 1e-6).all(axis=None)
    assert (rows <= pair.max() + 1e-6).all(axis=None)
    quick(model).fit(table[:3])  # without a warning


def test_one_column(model, table):
    column = quick(model).fit(table[["weight"]]).sample(3)
    assert column.shape == (3, 1)


# ------------------------------------------------------------------- randomness


def weights(fitted):
    return fitted.net_.weights()


def test_seed_decides_everything(model, table):
    options = {"density_ratio": "auto"} if model is GANSampler else {}
    first, second = (quick(model, **options).fit(table) for _ in range(2))
    other = quick(model, random_state=1).fit(table)
    for name, tensor in weights(first).items():
        torch.testing.assert_close(tensor, weights(second)[name], rtol=0, atol=0)
    assert not np.array_equal(first.transform(table), other.transform(table))
    # also the rows that no seed was given for, in their order
    for _ in range(2):
        drawn = first.sample(20)
        pd.testing.assert_frame_equal(drawn, second.sample(20))
    assert not drawn.equals(first.sample(20))
    pd.testing.assert_frame_equal(
        first.sample(20, random_state=5), first.sample(20, random_state=5)
    )
    assert not first.sample(20, random_state=5).equals(first.sample(20, random_state=6))


def test_a_generator_moves_on(model):
    """As in scikit-learn: a RandomState gives two fits two seeds."""
    X, rng = load_iris().data, np.random.RandomState(0)
    first, second = (quick(model, random_state=rng).fit(X) for _ in range(2))
    assert not np.array_equal(first.transform(X), second.transform(X))


def test_without_a_seed_fits_differ(model):
    X = load_iris().data
    np.random.seed(0)  # noqa: NPY002
    first = quick(model, random_state=None).fit(X)
    np.random.seed(0)  # noqa: NPY002
    second = quick(model, random_state=None).fit(X)
    assert not np.array_equal(first.transform(X), second.transform(X))


@pytest.mark.slow
def test_threads_do_not_disturb_each_other(model, table):
    """Fits, copies and their seeds, as in a worker of Dask with several threads."""
    expected = quick(model, max_iter=1).fit(table).transform(table)

    def codes():
        fitted = quick(model, max_iter=1).fit(table)
        return pickle.loads(pickle.dumps(fitted)).transform(table)

    before = torch.get_rng_state()
    with joblib.parallel_config("threading", n_jobs=4):
        found = joblib.Parallel()(joblib.delayed(codes)() for _ in range(16))
    for other in found:
        np.testing.assert_array_equal(other, expected)
    assert torch.equal(torch.get_rng_state(), before)


def test_global_generators_are_left_alone(model, table):
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    fitted = quick(model).fit(table)
    fitted.sample(10)
    fitted.transform(table)
    assert torch.equal(torch_state, torch.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state()[1])  # noqa: NPY002


def test_fit_starts_anew_unless_warm(model, table):
    fitted = quick(model).fit(table)
    once = fitted.transform(table)
    np.testing.assert_array_equal(once, fitted.fit(table).transform(table))
    warm = quick(model, warm_start=True).fit(table)
    np.testing.assert_array_equal(once, warm.transform(table))
    warm.fit(table)
    assert not np.array_equal(once, warm.transform(table))
    assert warm.n_iter_ == 6
    assert len(warm.loss_curve_) == 6


# ------------------------------------------------------------------- saving


def test_a_saved_model_goes_on_alike(model, table, tmp_path):
    options = {"density_ratio": "auto"} if model is GANSampler else {}
    fitted = quick(model, **options).fit(table)
    joblib.dump(fitted, tmp_path / "model.joblib")
    copies = [
        pickle.loads(pickle.dumps(fitted)),
        joblib.load(tmp_path / "model.joblib"),
        copy.deepcopy(fitted),
    ]
    drawn = fitted.sample(20)
    for other in copies:
        np.testing.assert_array_equal(fitted.transform(table), other.transform(table))
        pd.testing.assert_frame_equal(drawn, other.sample(20))
    fitted.partial_fit(table)
    for other in copies:
        other.partial_fit(table)
        np.testing.assert_array_equal(fitted.transform(table), other.transform(table))


@pytest.mark.slow
def test_saved_models_open_in_a_new_process(table, tmp_path):
    """All three in one process, as its start takes longer than the rest of the test."""
    code = (
        "import joblib, sys\n"
        "for path in sys.argv[1:]:\n"
        "    rows = joblib.load(path).sample(20, random_state=3)\n"
        "    rows.to_pickle(path + '.rows')\n"
    )
    fits = {}
    for model in MODELS:
        path = str(tmp_path / model.__name__)
        fits[path] = quick(model).fit(table)
        joblib.dump(fits[path], path)
    subprocess.run([sys.executable, "-c", code, *fits], check=True)
    for path, fitted in fits.items():
        pd.testing.assert_frame_equal(
            pd.read_pickle(f"{path}.rows"), fitted.sample(20, random_state=3)
        )


@pytest.mark.parametrize(
    "model",
    [
        VAETransformer,
        pytest.param(AutoencoderTransformer, marks=pytest.mark.slow),
        pytest.param(GANSampler, marks=pytest.mark.slow),
    ],
    ids=lambda model: model.__name__,
)
@pytest.mark.parametrize(
    ("n", "parameters"),
    [
        (12_000, {}),
        pytest.param(30_000, {"density_ratio": "auto"}, marks=pytest.mark.slow),
    ],
)
def test_nothing_saved_grows_with_the_rows(model, n, parameters):
    """No training row is inside: each would add 32 bytes, for its eight columns.

    The trees of a density ratio, which have a largest size, are not counted.
    """
    estimator = quick(model, max_iter=1, batch_size=512, **parameters)
    sizes = []
    for n_rows in (6_000, n):
        estimator.fit(make_mixed_table(n_rows, random_state=0)[0])
        ratio = estimator._sampler.ratio_
        if ratio is not None:
            trees = ratio.classifier
            assert trees.n_iter_ <= trees.max_iter == 60
            ratio.classifier = None
        sizes.append(len(pickle.dumps(estimator)))
    small, large = sizes
    assert large - small < 16 * (n - 6_000)


def test_a_fit_on_cuda_opens_without(model, table):
    if torch.cuda.is_available():
        pytest.skip("this machine has what must be missing")
    fitted = quick(model).fit(table)
    expected = fitted.transform(table)
    fitted.device_ = fitted.net_.device = "cuda"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # skorch says that it falls back
        other = pickle.loads(pickle.dumps(fitted))
    assert other.device_ == "cpu"
    np.testing.assert_array_equal(other.transform(table), expected)
    assert other.sample(5).shape == (5, 8)


def test_clone_is_unfitted(model, table):
    fitted = quick(model, callbacks=[]).fit(table)
    other = clone(fitted)
    assert not hasattr(other, "net_")
    assert other.get_params() == fitted.get_params()


# ------------------------------------------------------------------- devices


def test_device_is_checked(model):
    with pytest.raises(ValueError, match="device='abacus' cannot be used here"):
        quick(model, device="abacus").fit(load_iris().data)


def test_each_device_fits(model, table, device):
    fitted = quick(model, device=device).fit(table)
    assert fitted.device_ == device
    assert {t.device.type for t in weights(fitted).values()} == {device}
    assert len(fitted.sample(20, conditions={"plan": "pro"})) == 20
    assert np.isfinite(fitted.score(table))
