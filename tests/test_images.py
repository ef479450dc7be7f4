"""Models of images: pixels in flat rows, beside labels."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.svm import SVC

from sklearn_unsup import AutoencoderTransformer, GANSampler, VAETransformer
from sklearn_unsup.constraints import Inequality
from sklearn_unsup.inspection import ReconstructionDisplay

MODELS = AutoencoderTransformer, VAETransformer, GANSampler
each_model = pytest.mark.parametrize("model_class", MODELS)
# Fits of a GAN take longest.
slow_gan = pytest.mark.parametrize(
    "model_class", [*MODELS[:2], pytest.param(GANSampler, marks=pytest.mark.slow)]
)
# Models that have hardly been trained may warn that modes or components are missing.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Generated rows cover only"),
    pytest.mark.filterwarnings("ignore:All components have collapsed"),
]


def digits(n=90):
    """Pixels of the first digits, 0 to 16, beside their label."""
    X, y = load_digits(return_X_y=True, as_frame=True)
    return X.assign(label=pd.Categorical(y))[:n]


def model_of(model_class, **options):
    """A small model of digits, which takes a few steps."""
    options = {
        "image_shape": (8, 8),
        "hidden_layer_sizes": (4, 6),
        "max_iter": 2,
        "random_state": 0,
    } | options
    if model_class is GANSampler:
        options.setdefault("critic_hidden_layer_sizes", (4,))
    return model_class(4, **options)


def halves(n=160, seed=0):
    """Images of 6 x 5 pixels whose upper or lower half is bright, as the label says."""
    rng = np.random.default_rng(seed)
    label = rng.integers(2, size=n)
    images = rng.random((n, 6, 5)) * 0.3
    for half in range(2):
        images[label == half, 3 * half : 3 * half + 3] += 0.7
    names = [f"p{i}" for i in range(30)]
    table = pd.DataFrame(images.reshape(n, 30), columns=names)
    return table.assign(half=pd.Categorical(np.array(["up", "down"])[label]))


@each_model
def test_a_row_has_the_same_code_in_any_company(model_class):
    X = digits()
    model = model_of(model_class).fit(X)
    codes = model.transform(X)
    for rows in (slice(7, 8), slice(80, None), slice(None, None, -1)):
        np.testing.assert_array_equal(model.transform(X[rows]), codes[rows])
    decoded = model.inverse_transform(codes)
    for rows in (slice(7, 8), slice(80, None)):
        alone = model.inverse_transform(codes[rows])
        pd.testing.assert_frame_equal(alone, decoded[rows].reset_index(drop=True))


@slow_gan
def test_containers_shapes_and_places_of_labels_mean_the_same(model_class):
    X = digits()
    codes = model_of(model_class).fit(X).transform(X)
    first = X[["label", *X.columns[:-1]]]
    model = model_of(model_class, image_shape=[1, 8, 8]).fit(first)
    np.testing.assert_array_equal(model.transform(first), codes)
    array = X.astype(float).to_numpy()
    model = model_of(model_class, categorical_features=[64]).fit(array)
    np.testing.assert_array_equal(model.transform(array), codes)


@each_model
def test_tables_come_back_as_they_were(model_class):
    X = digits()
    model = model_of(model_class).fit(X)
    for table in (model.inverse_transform(model.transform(X)), model.sample(20)):
        assert table.dtypes.equals(X.dtypes)
        assert (table["pixel_0_0"] == 0).all()  # A corner that is always empty.
        assert table.drop(columns="label").stack().between(0, 16).all()


@each_model
def test_asked_for_labels_come(model_class):
    X = digits()
    model = model_of(model_class).fit(X)
    assert (model.sample(30, conditions={"label": 3})["label"] == 3).all()
    wanted = np.arange(30) % 10
    drawn = model.sample(30, conditions={"label": wanted})
    assert drawn["label"].tolist() == wanted.tolist()
    drawn = model.sample(30, conditions={"label": {1, 7}, "pixel_3_3": (8, 12)})
    assert drawn["label"].isin([1, 7]).all()
    assert drawn["pixel_3_3"].between(8, 12).all()


@pytest.mark.parametrize(
    ("model_class", "options"),
    [
        (VAETransformer, {"max_iter": 30, "batch_size": 16}),
        pytest.param(
            GANSampler,
            {"max_iter": 60, "batch_size": 32, "critic_hidden_layer_sizes": (8,)},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_images_belong_to_the_label_that_was_asked_for(model_class, options):
    X = halves()
    options |= {"image_shape": (6, 5), "hidden_layer_sizes": (8,)}
    model = model_of(model_class, learning_rate_init=5e-3, **options).fit(X)
    for half, name in enumerate(["up", "down"]):
        drawn = model.sample(100, conditions={"half": name}, random_state=0)
        images = drawn.drop(columns="half").to_numpy().reshape(100, 2, 15).mean(2)
        differences = images[:, half] - images[:, 1 - half]
        assert differences.mean() > 0.35  # Of real images it is .7, or -.7.
        assert np.mean(differences > 0) > 0.85  # By chance it would be .5.


def shades(n=160, seed=0):
    """Images of 6 x 6 pixels, dark or bright as the label says, in 17 shades."""
    rng = np.random.default_rng(seed)
    label = rng.integers(2, size=n)
    images = rng.integers(0, 10, (n, 36)) + 7 * label[:, None]
    table = pd.DataFrame(images, columns=[f"p{i}" for i in range(36)])
    return table.assign(label=pd.Categorical(np.array(["dark", "bright"])[label]))


NOISE = np.random.default_rng(1).random((160, 36))


def flat_model(**options):
    options = {"hidden_layer_sizes": (8,), "max_iter": 1, "random_state": 0} | options
    return VAETransformer(2, **options)


@pytest.mark.parametrize(
    ("change", "options", "scaling"),
    [
        (lambda X: X, {}, "minmax"),
        (lambda X: X.assign(**X.filter(like="p") / 16), {}, None),
        (
            lambda X: X.assign(label=X["label"].cat.codes).to_numpy(),
            {"categorical_features": [-1]},
            "minmax",
        ),
        # Numbers that were scaled, flags, marks, few columns, holes, other scales.
        (
            lambda X: X.assign(**(X.filter(like="p") + NOISE).clip(upper=16)),
            {},
            "quantile",
        ),
        (lambda X: X.assign(**X.filter(like="p") > 8).replace(True, 1), {}, "quantile"),
        (lambda X: X.assign(**X.filter(like="p") // 4 + 1), {}, "quantile"),
        (lambda X: X.drop(columns=list(X)[:5]), {}, "quantile"),
        (lambda X: X.assign(p3=X["p3"].where(X["p3"] > 0)), {}, "quantile"),
        (lambda X: X.assign(**X.filter(like="p") - 8), {}, "quantile"),
        (lambda X: X, {"numeric_scaling": "quantile"}, "quantile"),
        (lambda X: X, {"sampling": "autoregressive"}, "quantile"),
        (lambda X: X, {"constraints": [Inequality("p0", "p1")]}, "quantile"),
    ],
)
def test_pixels_are_recognised_beside_labels(change, options, scaling):
    X = shades()
    if "constraints" in options:
        X["p1"] = X[["p0", "p1"]].max(axis=1)
    model = flat_model(**options).fit(change(X))
    assert model.codec_.numeric_scaling == scaling


def test_pixels_without_a_shape_belong_to_the_label_that_was_asked_for():
    X = shades()
    model = flat_model(max_iter=30, batch_size=16, learning_rate_init=5e-3).fit(X)
    # Whichever label is asked for, its pixels are decoded from it.
    assert model.net_.module_.decodes_labels
    # Dark images have a mean of 4.5 and bright ones one of 11.5.
    for name, sign in [("dark", -1), ("bright", 1)]:
        drawn = model.sample(200, conditions={"label": name}, random_state=0)
        assert (drawn["label"] == name).all()
        images = drawn.drop(columns="label")
        assert (images.dtypes == X.dtypes.iloc[:36]).all()
        differences = sign * (images.mean(axis=1) - 8)
        assert differences.mean() > 2
        assert np.mean(differences > 0) > 0.8
    both = model.sample(200, random_state=1)
    is_bright = both.drop(columns="label").mean(axis=1) > 8
    assert np.mean(is_bright == (both["label"] == "bright")) > 0.8
    rebuilt = model.inverse_transform(model.transform(X))
    assert (rebuilt["label"] == X["label"]).mean() > 0.9
    assert np.isfinite(model.score_samples(X)).all()
    again = pickle.loads(pickle.dumps(model))
    pd.testing.assert_frame_equal(
        again.sample(5, random_state=2), model.sample(5, random_state=2)
    )


@pytest.mark.slow
@pytest.mark.parametrize("image_shape", [None, (8, 8)])
def test_digits_that_are_asked_for_are_read(image_shape):
    """At defaults, by a classifier that has learnt the real ones."""
    X = digits(None)
    train, test = train_test_split(X, test_size=0.2, random_state=0)
    model = VAETransformer(image_shape=image_shape, random_state=0).fit(train)
    asked = np.repeat(np.arange(10), 50)
    drawn = model.sample(500, conditions={"label": asked}, random_state=0)
    reader = SVC().fit(train.drop(columns="label"), train["label"])
    assert reader.score(drawn.drop(columns="label"), asked) > 0.93
    own = model.sample(2_000, random_state=1)
    student = SVC().fit(own.drop(columns="label"), own["label"])
    assert student.score(test.drop(columns="label"), test["label"]) > 0.93


def test_an_autoencoder_starts_at_pca():
    X = digits().drop(columns="label").to_numpy() / 16
    model = model_of(AutoencoderTransformer, max_iter=1, learning_rate_init=1e-9)
    codes = model.fit(X).transform(X)
    pca = PCA(4).fit(X)
    rebuilt = pca.inverse_transform(pca.transform(X)).clip(X.min(0), X.max(0))
    decoded = model.inverse_transform(codes)
    np.testing.assert_allclose(decoded, rebuilt, atol=1e-3)


@pytest.mark.slow
def test_an_autoencoder_of_images_gains_on_pca():
    X = load_digits().data / 16
    train, test = X[:1_000], X[1_000:1_300]
    model = model_of(AutoencoderTransformer, hidden_layer_sizes=(16, 32), max_iter=15)
    model.set_params(batch_size=64).fit(train)
    errors = test - model.inverse_transform(model.transform(test))
    pca = PCA(4).fit(train)
    errors_of_pca = test - pca.inverse_transform(pca.transform(test))
    assert np.square(errors).mean() < 0.9 * np.square(errors_of_pca).mean()


@each_model
def test_colours(model_class):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (60, 3 * 4 * 5)).astype(np.uint8)
    model = model_of(model_class, image_shape=(3, 4, 5)).fit(X)
    drawn = model.sample(7)
    assert drawn.shape == (7, 60)
    assert drawn.dtype == np.uint8
    assert model.net_.module_.layout.image_shape == (3, 4, 5)


@slow_gan
def test_clones_and_pickles(model_class):
    X = digits()
    model = model_of(model_class).fit(X)
    np.testing.assert_array_equal(clone(model).fit(X).transform(X), model.transform(X))
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.transform(X), model.transform(X))
    drawn = [m.sample(5, random_state=0) for m in (model, loaded)]
    pd.testing.assert_frame_equal(*drawn)


def test_channels_in_a_search():
    X = digits(60)
    search = GridSearchCV(
        model_of(VAETransformer), {"hidden_layer_sizes": [(2,), (4, 2)]}, cv=2
    ).fit(X)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert len(search.best_estimator_.net_.module_.encoder.stages) in (1, 2)


@slow_gan
def test_streams_and_warm_starts(model_class):
    X = digits()
    model = model_of(model_class, handle_unknown="ignore")
    for part in np.array_split(np.arange(90), 3):
        model.partial_fit(X.iloc[part])
    assert (model.sample(5, conditions={"label": 4})["label"] == 4).all()
    model.set_params(warm_start=True).fit(X)
    assert model.n_iter_ == 3 + 2
    with pytest.raises(ValueError, match=r"image_shape=\(4, 16\) \(it was \(8, 8\)\)"):
        model.set_params(image_shape=(4, 16)).fit(X)


def test_scores_and_their_shares():
    X = digits()
    for model_class in (AutoencoderTransformer, VAETransformer):
        model = model_of(model_class).fit(X)
        scores = model.score_samples(X)
        shares = model.explain_samples(X[:5])
        np.testing.assert_allclose(shares.to_numpy().sum(1), scores[:5], rtol=1e-5)
        if model_class is AutoencoderTransformer:  # It starts at PCA.
            noise = X.copy()
            rng = np.random.default_rng(0)
            noise.iloc[:, :64] = rng.integers(0, 17, (90, 64))
            assert model.score(noise) < scores.mean() - 10


@each_model
def test_what_images_cannot_be_is_refused_before_training(model_class):
    X = digits()

    def refused(message, X=X, **options):
        model = model_of(model_class, **options)
        with pytest.raises((ValueError, TypeError), match=message):
            model.fit(X)
        assert not hasattr(model, "net_")

    refused("has 60 pixels, but X has 64 numeric columns", image_shape=(6, 10))
    refused("image_shape must be", image_shape=(64,))
    refused("image_shape", image_shape=64)
    refused("has missing values", X=X.mask(X == 16).astype({"label": "category"}))
    refused("numeric_scaling='quantile'", numeric_scaling="quantile")
    refused(
        "constraints=", constraints=[Inequality("pixel_0_2", "pixel_0_3", strict=False)]
    )
    refused(r"hidden_layer_sizes=\(\)", hidden_layer_sizes=())
    if model_class is not GANSampler:
        refused("sparse", X=csr_array(X.drop(columns="label").to_numpy()))
    if model_class is VAETransformer:
        for sampling in ("autoregressive", "any_order"):
            refused("with image_shape images are decoded", sampling=sampling)


def test_a_display_knows_the_shape():
    pytest.importorskip("matplotlib")
    X = digits()
    model = model_of(AutoencoderTransformer).fit(X)
    display = ReconstructionDisplay.from_estimator(model, X, n_images=3)
    assert display.images_.shape == (2, 3)
    shown = display.images_[0, 1].get_array()
    expected = X.drop(columns="label").to_numpy()[1].reshape(8, 8)
    np.testing.assert_array_equal(shown, expected)


def test_a_display_puts_channels_last():
    pytest.importorskip("matplotlib")
    images = np.random.default_rng(0).random((2, 5, 6, 3))
    images[0, 0, 0, :2] = 0, 1  # Colours are drawn between the extremes.
    flat = images.transpose(0, 3, 1, 2).reshape(2, -1)
    for rows, shape in ((flat, (3, 5, 6)), (images.reshape(2, -1), (5, 6, 3))):
        display = ReconstructionDisplay(rows, rows, image_shape=shape).plot()
        np.testing.assert_allclose(display.images_[0, 0].get_array(), images[0])
    display = ReconstructionDisplay(flat, flat, image_shape=(1, 9, 10)).plot()
    assert display.images_[0, 0].get_array().shape == (9, 10)
