"""What codes say of columns, against PCA, difference quotients and known tables."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler

from sklearn_unsup import AutoencoderTransformer, GANSampler, VAETransformer
from sklearn_unsup._table.cells import encoded_cells
from sklearn_unsup.constraints import Inequality
from sklearn_unsup.datasets import make_mixed_table

MODELS = AutoencoderTransformer, VAETransformer
pytestmark = pytest.mark.usefixtures("few_calibration_rows")


def quick(cls, n_components=3, **parameters):
    options = {"max_iter": 3, "hidden_layer_sizes": (16,), "random_state": 0}
    return cls(n_components, **{**options, **parameters})


@pytest.fixture(scope="module")
def table():
    return make_mixed_table(400, random_state=0)[0]


@pytest.fixture(scope="module", params=MODELS)
def fitted(request, table):
    return quick(request.param).fit(table)


# ------------------------------------------------------------------------- loadings


@pytest.mark.parametrize("load", [load_breast_cancer, load_iris, load_wine])
def test_components_of_a_linear_net_are_those_of_pca(load):
    """In order, with the signs and the variances, after training as well."""
    X = load().data
    model = AutoencoderTransformer(
        3,
        hidden_layer_sizes=(),
        ordered=True,
        latent_density="normal",
        max_iter=4,
        random_state=0,
    ).fit(X)
    pca = PCA(3).fit(StandardScaler().fit_transform(X))
    lengths = np.linalg.norm(model.components_, axis=1)
    cosines = (model.components_ * pca.components_).sum(1) / lengths
    assert (cosines > 0.99).all()
    np.testing.assert_allclose(
        model.explained_variance_, pca.explained_variance_, rtol=0.01
    )


def test_loadings_of_numbers_are_derivatives_of_the_decoder(fitted):
    """Around the rows, computed here by small differences with double precision."""
    codes, step = torch.from_numpy(fitted._kept_codes).double(), 1e-4
    nodes, weights = np.polynomial.legendre.leggauss(8)
    reaches = 0.5 * codes.std(0, correction=0)
    decoder = copy.deepcopy(fitted.net_.module_.decoder).double()
    cells = encoded_cells(fitted.codec_)
    numbers = [cell.place for cell in cells if cell.level is None]
    loadings = fitted.loadings()
    is_number = loadings.index.get_level_values("level") == ""
    assert is_number.sum() == len(numbers) == 5
    for component, name in enumerate(loadings):
        axis = torch.eye(3, dtype=torch.float64)[component]
        expected = 0.0
        for node, weight in zip(nodes, weights, strict=True):
            middle, shift = codes + node * reaches[component] * axis, step * axis
            with torch.no_grad():
                changes = decoder(middle + shift) - decoder(middle - shift)
            expected += weight / 2 * changes.mean(0)[numbers] / (2 * step)
        np.testing.assert_allclose(loadings.loc[is_number, name], expected, atol=1e-3)


def test_loadings_of_levels_are_changes_of_their_probabilities(fitted):
    codes = torch.from_numpy(fitted._kept_codes)
    loadings = fitted.loadings()
    for component, name in enumerate(loadings):
        reach = 0.5 * codes[:, component].std(correction=0)
        shift = reach * torch.eye(3)[component]
        ahead, behind = (
            fitted._distribution(codes + s).category_log_probs(0).exp().mean(0)
            for s in (shift, -shift)
        )
        expected = (ahead - behind) / (2 * reach)
        plan = fitted.codec_.categories_[0]
        found = loadings.loc[plan.name, name]
        assert found.index.tolist() == plan.levels_
        np.testing.assert_allclose(found, expected, atol=1e-3)
        assert abs(found.sum()) < 1e-6
        moved = fitted.components_[component, plan.position_]
        assert moved == pytest.approx(0.5 * found.abs().sum())


def test_components_of_numbers_are_their_loadings(fitted):
    """Whatever happens to the gaps of the column, which are a category."""
    loadings = fitted.loadings()
    for name in ("height", "weight"):
        position = list(fitted.feature_names_in_).index(name)
        assert ("height", "missing") in loadings.index
        found = fitted.components_[:, position]
        np.testing.assert_array_equal(found, loadings.loc[(name, "")])


def test_components_of_flags_are_signed(fitted):
    loadings = fitted.loadings()
    position = list(fitted.feature_names_in_).index("active")
    np.testing.assert_allclose(
        fitted.components_[:, position], loadings.loc[("active", True)]
    )
    np.testing.assert_allclose(
        loadings.loc[("active", True)], -loadings.loc[("active", False)], atol=1e-6
    )


@pytest.mark.parametrize("scaling", ["standard", "quantile", "minmax", None])
def test_loadings_in_own_units(scaling):
    """Of a code that is the column itself: one unit of it is one unit of the column."""
    rng = np.random.default_rng(0)
    days = rng.integers(0, 500, 400)
    table = pd.DataFrame(
        {"value": 10.0 + 0.25 * days, "date": pd.Timestamp("2020-01-01") + days * DAY}
    )
    model = quick(AutoencoderTransformer, 1, hidden_layer_sizes=(), max_iter=1)
    model.set_params(numeric_scaling=scaling, learning_rate_init=1e-9).fit(table)
    codes = model.transform(table)[:, 0]
    loadings = model.loadings(units="original").iloc[:, 0]
    assert loadings.index.tolist() == [("value", ""), ("date", "")]
    assert loadings["date", ""] == pytest.approx(4 * loadings["value", ""], rel=0.02)
    if scaling != "quantile":  # whose slope is not the same everywhere
        slope = np.polyfit(codes, table["value"], 1)[0]
        assert loadings["value", ""] == pytest.approx(slope, rel=0.02)
    else:
        change = np.diff(model.inverse_transform([[-0.5], [0.5]])["value"])
        assert 0.7 < loadings["value", ""] / change.item() < 1.4


DAY = pd.Timedelta(days=1)


@pytest.mark.slow
def test_columns_that_share_a_factor_load_on_one_component():
    """All columns of this table depend on one hidden segment."""
    table, _ = make_mixed_table(1_000, random_state=0)
    model = VAETransformer(
        3, sampling="latent", latent_density="normal", density_ratio=None
    )
    model.set_params(max_iter=20, batch_size=64, random_state=0).fit(table)
    shares = ["height", "weight", "visits", "joined"]
    places = [list(table).index(name) for name in shares]
    loadings = model.components_[:, places]
    main = np.abs(loadings).argmax(0)
    assert len(set(main)) == 1
    largest = loadings[main[0]]
    assert (np.sign(largest) == np.sign(largest[0])).all()
    others = np.abs(np.delete(loadings, main[0], axis=0)).max(0)
    assert (np.abs(largest) > 2 * others).all()


def test_a_constant_column_has_no_loadings(table):
    model = quick(AutoencoderTransformer).fit(table.assign(one=1))
    assert (model.components_[:, -1] == 0).all()
    assert "one" not in model.loadings().index.get_level_values(0)
    assert np.isnan(model.reconstruction_by_column(table.assign(one=1))["one"])


def test_tables_of_categories_or_of_constants_alone(table):
    plans = table[["plan"]]
    model = quick(AutoencoderTransformer).fit(plans)
    pd.testing.assert_frame_equal(model.loadings(units="original"), model.loadings())
    assert model.encoder_importances(plans).shape == (1, 3)
    constants = np.ones((30, 2))
    model = quick(AutoencoderTransformer).fit(constants)
    assert (model.components_ == np.zeros((3, 2))).all()
    assert model.loadings(units="original").shape == (0, 3)
    assert (model.encoder_importances(constants) == 0).all(axis=None)
    assert model.reconstruction_by_column(constants).isna().all()
    assert (model.traverse(0) == 1).all()


def test_loadings_are_those_of_the_latest_weights(table):
    model = quick(AutoencoderTransformer).fit(table)
    before = model.components_
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).components_, before)
    model.set_params(warm_start=True, learning_rate_init=0.01).fit(table)
    assert np.abs(model.components_ - before).max() > 1e-3
    before = model.components_
    model.partial_fit(table[:200])
    assert np.abs(model.components_ - before).max() > 1e-4


def test_loadings_of_sparse_rows():
    X = np.random.default_rng(0).poisson(0.3, (200, 6)).astype(float)
    X[:, 2] = 0.0
    model = quick(AutoencoderTransformer, 2, numeric_scaling="standard")
    model.fit(csr_array(X))
    assert (model.components_[:, 2] == 0).all()
    scaled, own = model.loadings(), model.loadings(units="original")
    assert scaled.index.get_level_values(0).tolist() == [0, 1, 3, 4, 5]
    deviations = np.delete(X.std(0), 2)
    np.testing.assert_allclose(own, scaled * deviations[:, None], rtol=1e-5)


def test_units_that_cannot_be(table):
    model = quick(AutoencoderTransformer).fit(table)
    with pytest.raises(ValueError, match="'scaled' or 'original', got 'metres'"):
        model.loadings(units="metres")
    X = pd.DataFrame({"low": np.arange(60.0), "high": np.arange(60.0) * 2 + 1})
    model = quick(AutoencoderTransformer, constraints=[Inequality("low", "high")])
    with pytest.raises(ValueError, match="decoded together"):
        model.fit(X).loadings(units="original")
    assert model.loadings().shape == (2, 3)


# ---------------------------------------------------------------------- importances


def test_importances_of_a_linear_code_are_shares_of_its_variance():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1_000, 3)) * [1.0, 2.0, 3.0]
    model = quick(
        AutoencoderTransformer, 2, hidden_layer_sizes=(), numeric_scaling=None
    ).fit(X)
    weight = model.net_.module_.encoder.linear_map()[0].detach().numpy()
    explained = weight**2 * X.var(0)
    expected = (explained / explained.sum(1, keepdims=True)).T
    found = model.encoder_importances(X, n_repeats=5, random_state=0)
    assert found.shape == (3, 2)
    assert list(found.columns) == list(model.get_feature_names_out())
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_importances_name_the_columns_and_repeat_themselves(fitted, table):
    first = fitted.encoder_importances(table, random_state=1)
    assert first.index.tolist() == list(table)
    assert (first > 0).all(axis=None)
    pd.testing.assert_frame_equal(
        first, fitted.encoder_importances(table, random_state=1)
    )
    assert not first.equals(fitted.encoder_importances(table, random_state=2))
    unseen = table.assign(plan=table["plan"].iloc[0])
    assert (fitted.encoder_importances(unseen).loc["plan"] == 0).all()
    with pytest.raises(ValueError, match="n_repeats must be an int"):
        fitted.encoder_importances(table, n_repeats=0)


# ----------------------------------------------------------------------- traversals


@pytest.mark.filterwarnings("ignore:Generated rows cover only")
@pytest.mark.parametrize(
    "cls", [*MODELS, pytest.param(GANSampler, marks=pytest.mark.slow)]
)
def test_a_walk_changes_one_component(cls, table):
    model = quick(cls).fit(table)
    rows, values = model.traverse(1, return_values=True)
    codes = np.tile(model._kept_codes.mean(0), (9, 1))
    codes[:, 1] = values
    pd.testing.assert_frame_equal(rows, model.inverse_transform(codes))
    shares = [np.mean(model.transform(table)[:, 1] < value) for value in values]
    np.testing.assert_allclose(shares, np.linspace(0.02, 0.98, 9), atol=0.05)
    name = model.get_feature_names_out()[1]
    pd.testing.assert_frame_equal(model.traverse(name), rows)


def test_a_walk_through_a_row(fitted, table):
    code = fitted.transform(table[:1])
    rows = fitted.traverse(0, [code[0, 0], 5.0], at=code)
    pd.testing.assert_frame_equal(rows[:1], fitted.inverse_transform(code))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"component": 3}, "one of the 3 components"),
        ({"component": "height"}, "or by name"),
        ({"component": 0, "values": "deciles"}, "values must be 'quantiles' or"),
        ({"component": 0, "values": [0.0, np.nan]}, "values must hold finite"),
        ({"component": 0, "at": [1.0]}, "has 3 numbers, got 1"),
    ],
)
def test_walks_that_cannot_be(fitted, arguments, message):
    with pytest.raises(ValueError, match=message):
        fitted.traverse(**arguments)


# -------------------------------------------------------------- reconstruction


def test_what_a_code_keeps_of_numbers_and_categories(fitted, table):
    kept = fitted.reconstruction_by_column(table)
    assert kept.index.tolist() == list(table)
    assert kept.max() <= 1
    distribution = fitted._distribution(torch.from_numpy(fitted.transform(table)))
    x_num, x_cat = fitted.codec_.encode(table)
    place = [c.name for c in fitted.codec_.numbers_].index("height")
    there = table["height"].notna().to_numpy()
    errors = distribution.mean()[:, place].numpy()[there] - x_num[there, place]
    expected = 1 - np.mean(errors**2) / x_num[there, place].var()
    assert kept["height"] == pytest.approx(expected, abs=1e-5)
    probabilities = distribution.category_log_probs(0).exp().numpy()
    labels = np.arange(probabilities.shape[1])
    shares = np.bincount(x_cat[:, 0], minlength=len(labels)) / len(table)
    entropy = log_loss(x_cat[:, 0], np.tile(shares, (len(table), 1)), labels=labels)
    expected = 1 - log_loss(x_cat[:, 0], probabilities, labels=labels) / entropy
    name = fitted.codec_.categories_[0].name
    assert kept[name] == pytest.approx(expected, abs=1e-5)


def test_a_code_of_one_forgets_the_other_column():
    X = np.random.default_rng(0).normal(size=(500, 2)) * [3.0, 1.0]
    model = quick(
        AutoencoderTransformer, 1, hidden_layer_sizes=(), numeric_scaling=None
    ).fit(X)
    kept = model.reconstruction_by_column(X)
    assert kept[0] > 0.95
    assert kept[1] < 0.1
    assert model.reconstruction_by_column(np.full((3, 2), 2.0)).isna().all()


def test_no_code_of_a_row_is_kept():
    """What is kept is as far from the codes of rows as these are from each other."""
    X = np.random.default_rng(0).normal(size=(200, 4))
    model = AutoencoderTransformer(3, max_iter=2, random_state=0).fit(X)
    codes, kept = model.transform(X), model._kept_codes
    assert kept.shape == (200, 3)
    distances = np.sort(cdist(codes, codes))[:, 1]
    ratio = np.median(cdist(kept, codes).min(1)) / np.median(distances)
    assert ratio > 0.5
    np.testing.assert_allclose(np.sort(kept, 0), np.sort(codes, 0), atol=1e-5)
    np.testing.assert_allclose(np.corrcoef(kept.T), np.corrcoef(codes.T), atol=0.2)
