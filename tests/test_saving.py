"""Saved models: pickle, joblib, skops, weights alone, and another version."""

import copy
import pickle
import warnings
import zipfile

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.pipeline import make_pipeline
from skorch.callbacks import EarlyStopping

import sklearn_unsup
from sklearn_unsup import AutoencoderTransformer, GANSampler, VAETransformer
from sklearn_unsup._table.codec import TableCodec
from sklearn_unsup.datasets import make_mixed_table

# What docs/guide/saving.rst lists: of every model, and of each.
TRUSTED = [
    "numpy.dtype",
    "skorch.callbacks.logging.EpochTimer",
    "skorch.dataset.Dataset",
    "skorch.history.History",
    "sklearn_unsup._training.loader.DeviceLoader",
    "sklearn_unsup._training.callbacks.KeepWeights",
    "sklearn_unsup._table.layout.TableLayout",
    "sklearn_unsup._training.optimizer.LeanAdamW",
    "sklearn_unsup._table.quantiles.Quantiles",
    "sklearn_unsup._sampling.marginals.MarginalMap",
    "sklearn_unsup._sampling.sampler.TableSampler",
    "sklearn_unsup._table.codec.TableCodec",
]
TRUSTED_OF = {
    AutoencoderTransformer: [
        "sklearn_unsup._autoencoder.AutoencoderTransformer",
        "sklearn_unsup._nn.autoencoders.Autoencoder",
        "sklearn_unsup._training.net.TableNet",
        "sklearn_unsup._nn.losses.ReconstructionLoss",
        "sklearn_unsup._sampling.density.LatentDensity",
    ],
    VAETransformer: [
        "sklearn_unsup._vae.VAETransformer",
        "sklearn_unsup._nn.autoencoders.VariationalAutoencoder",
        "sklearn_unsup._training.vae_net.VAENet",
        "sklearn_unsup._nn.losses.NegativeELBO",
    ],
    GANSampler: [
        "sklearn_unsup._gan.GANSampler",
        "sklearn_unsup._nn.gan.AdversarialModel",
        "sklearn_unsup._nn.gan.Critic",
        "sklearn_unsup._training.gan_net.GANNet",
        "sklearn_unsup._nn.gan_losses.RelativisticLoss",
    ],
}
# of the density ratio, where a model keeps one
TRUSTED_RATIO = [
    "functools.partial",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.utils.validation.check_array",
    "sklearn_unsup._sampling.raking.Raking",
    "sklearn_unsup._sampling.ratio.DensityRatio",
]

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def quick(model, **parameters):
    own = {"critic_hidden_layer_sizes": (16,)} if model is GANSampler else {}
    defaults = {"n_components": 3, "hidden_layer_sizes": (16,), "max_iter": 2}
    return model(**{**defaults, **own, "random_state": 0, **parameters})


@pytest.fixture(params=TRUSTED_OF, ids=lambda model: model.__name__)
def each_model(request):
    return request.param


@pytest.fixture(
    params=[
        # Its fits take longest, and what it is saved as has little of its own.
        pytest.param(model, marks=pytest.mark.slow) if model is GANSampler else model
        for model in TRUSTED_OF
    ],
    ids=lambda model: model.__name__,
)
def model(request):
    return request.param


@pytest.fixture(scope="module")
def table():
    return make_mixed_table(200, random_state=0)[0]


def assert_goes_on_alike(first, second, table):
    """Codes, rows without a seed, and training that goes on."""
    for _ in range(2):
        np.testing.assert_array_equal(first.transform(table), second.transform(table))
        pd.testing.assert_frame_equal(first.sample(20), second.sample(20))
        first.partial_fit(table)
        second.partial_fit(table)


# ------------------------------------------------------------------- pickle, joblib


@pytest.mark.parametrize("compress", [0, pytest.param(3, marks=pytest.mark.slow)])
def test_joblib(each_model, table, compress, tmp_path):
    fitted = quick(each_model).fit(table)
    joblib.dump(fitted, tmp_path / "model.joblib", compress=compress)
    other = joblib.load(tmp_path / "model.joblib")
    assert_goes_on_alike(fitted, other, table)


def test_joblib_can_map_the_weights(model, table, tmp_path):
    """They are arrays of the file itself, which no one may write to."""
    fitted = quick(model).fit(table)
    joblib.dump(fitted, tmp_path / "model.joblib")
    other = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    assert_goes_on_alike(fitted, other, table)


def test_an_unfitted_model(each_model):
    other = pickle.loads(pickle.dumps(quick(each_model)))
    assert other.get_params() == quick(each_model).get_params()
    assert not hasattr(other, "net_")


def test_no_pickle_hides_in_a_pickle(model, table):
    """What a net writes is plain: dicts, arrays and types, but no bytes to be run."""
    state = quick(model).fit(table).net_.__getstate__()

    def kinds(value):
        if isinstance(value, dict):
            return {kind for item in value.values() for kind in kinds(item)}
        if isinstance(value, list | tuple | set):
            return {kind for item in value for kind in kinds(item)}
        return {type(value)}

    found = kinds(state)
    assert np.ndarray in found
    assert bytes not in found
    assert not any(issubclass(kind, torch.Tensor) for kind in found)


def test_what_is_learnt_while_training_is_saved(table):
    """The optimizer's moments, the warm-up of beta, callbacks with what they know."""
    fitted = quick(VAETransformer, callbacks=[EarlyStopping("train_loss")]).fit(table)
    other = copy.deepcopy(fitted)
    assert other.net_.criterion_.weight == fitted.net_.criterion_.weight > 0
    moments = (net.net_.optimizer_.state_dict()["state"] for net in (fitted, other))
    for one, two in zip(*(list(m.values()) for m in moments), strict=True):
        for name in one:
            assert torch.equal(one[name], two[name]), name
    stopping = dict(other.net_.callbacks_)["EarlyStopping"]
    assert stopping.dynamic_threshold_ is not None
    assert other.net_.history == fitted.net_.history
    assert other.net_.lr_factor_ == fitted.net_.lr_factor_


def test_loading_leaves_the_global_generators_alone(model, table):
    data = pickle.dumps(quick(model).fit(table))
    before = torch.get_rng_state()
    pickle.loads(data)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_table_codec_comes_back(mixed_table):
    """Columns of every kind encode and decode as before, and names stay names."""
    odd = {
        "string": mixed_table["city"].astype("string"),
        "zone": mixed_table["joined"].dt.tz_localize("Europe/Berlin"),
        "when": mixed_table["joined"],  # as a category
        "nullable": mixed_table["member"]
        .astype("boolean")
        .where(mixed_table.index > 9),
        "objects": pd.Series([1, True, "1", None] * 50, dtype=object),
        "ordered": mixed_table["plan"].cat.as_ordered(),
        "float": mixed_table["income"].astype("Float32"),
        "month": mixed_table["joined"].dt.to_period("M"),
        "gaps": pd.Series([1, None] * 100, dtype=object),
    }
    frame = mixed_table.assign(**odd).rename_axis(columns="name")
    chosen = [*odd, "city", "plan", "member"]
    for categories in ("from_dtype", [c for c in chosen if c not in ("float", "gaps")]):
        codec = TableCodec(categorical_features=categories).fit(frame)
        other = pickle.loads(pickle.dumps(codec))
        assert other.layout_ == codec.layout_
        encoded = codec.encode(frame)
        for one, two in zip(encoded, other.encode(frame), strict=True):
            np.testing.assert_array_equal(one, two)
        decoded = other.decode(*encoded)
        pd.testing.assert_frame_equal(decoded, codec.decode(*encoded))
        assert decoded.columns.name == "name"
        assert [type(v) for v in decoded["objects"]] == [
            type(v) for v in frame["objects"]
        ]
    array = pd.DataFrame(frame.to_numpy(dtype=object)).to_numpy()
    codec = TableCodec().fit(array[:, :4])
    other = pickle.loads(pickle.dumps(codec))
    assert (other.decode(*other.encode(array[:, :4]))[:, 1:] == array[:, 1:4]).all()


# ------------------------------------------------------------------- skops


@pytest.mark.parametrize(
    "columns",
    [
        "mixed",
        pytest.param("numbers", marks=pytest.mark.slow),
        pytest.param("holes", marks=pytest.mark.slow),
    ],
)
def test_skops(model, table, mixed_table, columns, tmp_path):
    """With the types that the guide lists, and no bytes that only pickle can read."""
    io = pytest.importorskip("skops.io", reason="needs the extra test")
    numbers = table[["height", "visits", "joined"]]
    table = {"mixed": table, "numbers": numbers, "holes": mixed_table}[columns]
    ratio = {} if model is VAETransformer else {"density_ratio": None}
    fitted = quick(model, **ratio).fit(table)
    path = tmp_path / "model.skops"
    io.dump(fitted, path)
    trusted = TRUSTED + TRUSTED_OF[model]
    assert set(io.get_untrusted_types(file=path)) <= set(trusted)
    other = io.load(path, trusted=trusted)
    assert_goes_on_alike(fitted, other, table)
    with zipfile.ZipFile(path) as file:
        assert not any(name.endswith(".bin") for name in file.namelist())


def test_skops_in_a_pipeline_with_a_ratio(table):
    io = pytest.importorskip("skops.io", reason="needs the extra test")
    # "auto" drops a ratio that does not help, a classifier of one's own stays.
    ratio = HistGradientBoostingClassifier()
    pipeline = make_pipeline(quick(GANSampler, density_ratio=ratio)).fit(table)
    assert pipeline[0]._sampler.ratio_ is not None
    trusted = TRUSTED + TRUSTED_OF[GANSampler] + TRUSTED_RATIO
    data = io.dumps(pipeline)
    # Older versions of skops ask for more of scikit-learn's types.
    asked = io.get_untrusted_types(data=data)
    trusted += [name for name in asked if name.startswith("sklearn.")]
    other = io.loads(data, trusted=trusted)
    pd.testing.assert_frame_equal(pipeline[0].sample(20), other[0].sample(20))


def test_skops_asks_before_it_loads(table):
    io = pytest.importorskip("skops.io", reason="needs the extra test")
    data = io.dumps(quick(AutoencoderTransformer).fit(table))
    with pytest.raises(io.exceptions.UntrustedTypesFoundException):
        io.loads(data, trusted=TRUSTED)


def test_skops_after_polars(table):
    """Also read by who has no polars, as nothing of it is in the file."""
    polars = pytest.importorskip("polars", reason="needs the extra test")
    io = pytest.importorskip("skops.io", reason="needs the extra test")
    frame = polars.from_pandas(table)
    fitted = quick(AutoencoderTransformer).fit(frame)
    trusted = TRUSTED + TRUSTED_OF[AutoencoderTransformer]
    other = io.loads(io.dumps(fitted), trusted=trusted)
    assert other.sample(5, random_state=0).equals(fitted.sample(5, random_state=0))


# ------------------------------------------------------------------- weights alone


@pytest.mark.parametrize("use_safetensors", [True, False])
def test_weights_alone(model, table, use_safetensors, tmp_path):
    pytest.importorskip("safetensors", reason="needs the extra test")
    fitted = quick(model).fit(table)
    path = tmp_path / "weights"
    fitted.net_.save_params(f_params=path, use_safetensors=use_safetensors)
    other = quick(model, random_state=1).fit(table)
    assert not np.array_equal(other.transform(table), fitted.transform(table))
    other.net_.load_params(f_params=path, use_safetensors=use_safetensors)
    np.testing.assert_array_equal(other.transform(table), fitted.transform(table))


# ------------------------------------------------------------------- what it holds


def parts_of(value, seen):
    """All arrays and plain values that a saved object is made of."""
    if id(value) in seen:
        return
    seen[id(value)] = value
    if isinstance(value, dict):
        children = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | set):
        children = value
    elif isinstance(value, np.ndarray):
        yield value
        children = value.tolist() if value.dtype == object else []
    elif isinstance(value, str | bytes | int | float | type | None):
        yield np.asarray(value)
        children = []
    elif hasattr(value, "__getstate__"):
        children = [value.__getstate__()]
    else:
        children = [getattr(value, "__dict__", None)]
    for child in children:
        yield from parts_of(child, seen)


@pytest.mark.parametrize("stream", [False, True])
def test_what_a_file_holds_of_the_rows(model, stream):
    """The sentences of the guide: quantiles, few values, levels, and no row."""
    n, rng = 4_003, np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "wage": rng.lognormal(size=n),  # many values
            "age": rng.integers(0, 90, n) + 1_000_000,  # few of them
            "city": rng.choice(["Bonn", "Ulm"], n),
        }
    )
    fitted = quick(model, max_iter=1)
    if stream:
        fitted.partial_fit(table[:2_000]).partial_fit(table[2_000:])
    else:
        fitted.fit(table)
    found = list(parts_of(fitted.__getstate__(), {}))
    numbers = [part.ravel() for part in found if part.dtype.kind in "iuf"]
    held = np.unique(np.concatenate(numbers).astype(float))
    wages = np.intersect1d(held, table["wage"])
    assert 1_500 < len(wages) <= 2_000
    if stream and model is AutoencoderTransformer:  # which keeps its first scale
        table = table[:2_000]
    assert {table["wage"].min(), table["wage"].max()} <= set(wages)
    assert np.isin(table["age"].unique(), held).all()
    levels = {str(part) for part in found if part.dtype.kind == "U"}
    assert {"Bonn", "Ulm"} <= levels
    # of rows, and of their codes, there is no list
    if not (stream and model is AutoencoderTransformer):
        lengths = {length for part in found for length in part.shape}
        assert not lengths & {n, 2_000 + 3, n - 2_000}


# ------------------------------------------------------------------- versions


def test_another_version_warns(model, table):
    fitted = quick(model).fit(table)
    data = pickle.dumps(fitted)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pickle.loads(data)
    version = sklearn_unsup.__version__.encode()
    older = data.replace(version, b"0.0.9")
    assert len(older) == len(data)
    with pytest.warns(InconsistentVersionWarning) as caught:
        other = pickle.loads(older)
    [warning] = caught
    for part in (
        *(model.__name__, "saved by sklearn_unsup 0.0.9"),
        *(f"loaded by {sklearn_unsup.__version__}", "fit it again"),
    ):
        assert part in str(warning.message)
    np.testing.assert_array_equal(other.transform(table), fitted.transform(table))
    # saved again it is of this version
    assert pickle.dumps(other).count(version) == data.count(version)


def test_a_model_without_a_version_warns(table):
    model = quick(AutoencoderTransformer)
    state = model.__getstate__()
    del state["_package_version"]
    with pytest.warns(InconsistentVersionWarning, match="sklearn_unsup unknown"):
        clone(model).__setstate__(state)
    assert not hasattr(model, "_package_version")
