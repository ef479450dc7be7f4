"""AutoencoderTransformer against PCA, closed forms and densities that are known."""

import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse, stats
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, load_iris, make_s_curve
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression
from sklearn.mixture import BayesianGaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

from sklearn_unsup import AutoencoderTransformer, _autoencoder, _base
from sklearn_unsup._autoencoder import explained_variance_ratios
from sklearn_unsup._encoding import upload
from sklearn_unsup._nn.autoencoders import LOG_SCALE_MIN
from sklearn_unsup._nn.layers import ACTIVATIONS
from sklearn_unsup._training import trial
from sklearn_unsup.datasets import make_mixed_table

Z = stats.norm.isf(1e-5 / 2)  # bound of a correct draw's error, in standard errors
IRIS = load_iris().data


def quick(n_components=2, **parameters):
    """A narrow autoencoder of few steps."""
    defaults = {
        "hidden_layer_sizes": (16,),
        "max_iter": 5,
        "latent_density": "normal",
        "random_state": 0,
    }
    return AutoencoderTransformer(n_components, **{**defaults, **parameters})


def untrained(n_components=2, **parameters):
    """As it is before the first step that could be noticed."""
    return quick(n_components, max_iter=1, learning_rate_init=1e-12, **parameters)


def explained(model, X, train=None):
    """Fraction of the variance of standardised columns that comes back."""
    scaler = StandardScaler().fit(X if train is None else train)
    rebuilt = model.inverse_transform(model.transform(X))
    error = scaler.transform(X) - scaler.transform(rebuilt)
    return 1 - np.square(error).sum() / np.square(scaler.transform(X)).sum()


def encoded(model, X):
    return tuple(torch.from_numpy(part) for part in model.codec_.encode(X))


# ------------------------------------------------------------------- beside PCA


@pytest.fixture(scope="module")
def correlated():
    """Rows in six columns of known covariance, and the same standardised."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6)) + 3
    return X, StandardScaler().fit_transform(X)


def test_a_linear_autoencoder_is_pca(correlated):
    X, standard = correlated
    model = quick(3, hidden_layer_sizes=(), max_iter=10).fit(X)
    pca = PCA(3).fit(standard)
    decoder = model.net_.module_.decoder.output.weight.detach().numpy()
    basis = np.linalg.qr(decoder)[0]
    cosines = np.linalg.svd(basis.T @ pca.components_.T)[1]
    np.testing.assert_allclose(cosines, 1.0, atol=1e-4)
    ratio = pca.explained_variance_ratio_.sum()
    assert explained(model, X) == pytest.approx(ratio, abs=1e-3)
    # the codes too, up to a change of basis
    fit = np.linalg.lstsq(model.transform(X), pca.transform(standard), rcond=None)
    assert fit[1].sum() < 1e-3 * np.square(pca.transform(standard)).sum()


@pytest.mark.parametrize("hidden", [(), (8,), (8, 8, 4)])
def test_training_starts_at_pca(correlated, hidden):
    X, standard = correlated
    model = untrained(3, hidden_layer_sizes=hidden).fit(X)
    expected = PCA(3).fit(standard)
    codes = model.transform(X)
    signs = np.sign((codes * expected.transform(standard)).sum(0))
    np.testing.assert_allclose(codes * signs, expected.transform(standard), atol=1e-3)
    assert explained(model, X) == pytest.approx(
        expected.explained_variance_ratio_.sum(), abs=1e-4
    )


def test_training_leaves_pca_for_something_better():
    """A bow, which one straight axis misses by an eighth of the variance."""
    rng = np.random.default_rng(0)
    angle = rng.uniform(-1.3, 1.3, 400)
    X = np.column_stack([np.sin(angle), np.cos(angle)])
    X += 0.02 * rng.normal(size=X.shape)
    model = quick(1, max_iter=30, learning_rate_init=1e-2, numeric_scaling=None).fit(X)
    spread = np.square(X - X.mean(0)).sum()
    left = np.square(X - model.inverse_transform(model.transform(X))).sum() / spread
    straight = 1 - PCA(1).fit(X).explained_variance_ratio_.sum()
    assert left < 0.2 * straight
    assert straight > 0.1


def test_the_loss_is_half_the_squared_error(correlated):
    """In nats per row: what PCA leaves of the variance, times half the columns."""
    X, standard = correlated
    model = untrained(3).set_params(noise=0.0).fit(X)
    left = 1 - PCA(3).fit(standard).explained_variance_ratio_.sum()
    assert model.loss_curve_[0] == pytest.approx(6 / 2 * left, rel=1e-3)


def test_pixels_start_at_pca_too():
    """Under cross-entropy by a tangent of the logit: near, not on it."""
    X = load_digits().data[:400] / 16
    model = untrained(8, loss="binary_crossentropy").fit(X)
    spread = np.square(X - X.mean(0)).sum()
    rebuilt = model.inverse_transform(model.transform(X))
    ratio = PCA(8).fit(X).explained_variance_ratio_.sum()
    assert 1 - np.square(X - rebuilt).sum() / spread > 0.8 * ratio
    assert rebuilt.min() >= 0
    assert rebuilt.max() <= 1


@pytest.fixture(scope="module")
def digits():
    X = load_digits().data / 16
    return X[:1_200], X[1_200:]


def held_out_share(model, train, test):
    spread = np.square(test - train.mean(0)).sum()
    rebuilt = model.inverse_transform(model.transform(test))
    return 1 - np.square(test - rebuilt).sum() / spread


def test_digits_without_dead_codes(digits):
    """Better than PCA on rows held out, and each of 32 codes is put to use."""
    train, test = digits
    model = quick(32, hidden_layer_sizes=(64,), activation="relu", max_iter=10)
    codes = model.fit(train).transform(test)
    pca = PCA(32).fit(train)
    share = held_out_share(model, train, test)
    assert share > held_out_share(pca, train, test) + 0.002
    spread = codes.std(0)
    assert spread.min() > 0.05 * spread.max()
    # to blank one loses something
    for column in range(32):
        blanked = codes.copy()
        blanked[:, column] = codes[:, column].mean()
        rebuilt = model.inverse_transform(blanked)
        loss = np.square(test - rebuilt).sum() / np.square(test - train.mean(0)).sum()
        assert 1 - loss < share - 1e-4


@pytest.mark.slow
def test_digits_at_the_defaults(digits):
    train, test = digits
    model = AutoencoderTransformer(32, random_state=0).fit(train)
    assert held_out_share(PCA(32).fit(train), train, test) < 0.965
    assert held_out_share(model, train, test) > 0.975


# ------------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    "activation",
    [
        name
        if name in ("identity", "relu", "silu", "tanh")
        else pytest.param(name, marks=pytest.mark.slow)
        for name in ACTIVATIONS
    ],
)
def test_activations(activation):
    model = quick(activation=activation, hidden_layer_sizes=(8, 8), max_iter=15)
    model.set_params(learning_rate_init=1e-2).fit(IRIS)
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    assert np.isfinite(model.score(IRIS))
    share = PCA(2).fit(StandardScaler().fit_transform(IRIS))
    best_linear = share.explained_variance_ratio_.sum()
    if activation == "identity":  # however many layers, linear
        assert explained(model, IRIS) < best_linear + 1e-3
    else:
        assert explained(model, IRIS) > best_linear - 0.005


@pytest.mark.parametrize("scaling", ["standard", "minmax"])
def test_auto_is_the_squared_error(scaling):
    codes = [
        quick(loss=loss, numeric_scaling=scaling).fit_transform(IRIS)
        for loss in ("auto", "squared_error")
    ]
    np.testing.assert_array_equal(*codes)


@pytest.mark.parametrize(
    ("X", "scaling"),
    [
        (IRIS, "standard"),
        (IRIS / 10, None),  # in [0, 1]: pixels, or scaled by the user
        (IRIS / 10 - 0.5, "standard"),
        ((IRIS > 3).astype(int), None),
        (pd.DataFrame(IRIS / 10, columns=list("wxyz")).assign(a="b"), "standard"),
    ],
)
def test_scaling_of_numbers(X, scaling):
    assert untrained().fit(X).codec_.numeric_scaling == scaling


def test_cross_entropy_is_the_likelihood_of_pixels():
    X = np.random.default_rng(0).random((100, 5))
    model = quick(loss="binary_crossentropy").fit(X)
    p = model.inverse_transform(model.transform(X)).astype(float)
    expected = (X * np.log(p) + (1 - X) * np.log(1 - p)).sum(1)
    np.testing.assert_allclose(model.score_samples(X), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("parameters", "X", "error", "message"),
    [
        (
            {"loss": "binary_crossentropy"},
            IRIS,
            ValueError,
            r"numbers in \[0, 1\] once encoded, got.*numeric_scaling='minmax'",
        ),
        ({"loss": "huber"}, IRIS, ValueError, "The 'loss' parameter"),
        ({"n_components": 0.5}, IRIS, ValueError, "n_components=0.5.*ordered=True"),
        ({"n_components": 1.0}, IRIS, ValueError, "The 'n_components' parameter"),
        ({"noise": -0.1}, IRIS, ValueError, "The 'noise' parameter"),
        ({"activation": "swish"}, IRIS, ValueError, "The 'activation' parameter"),
        ({"latent_density": "flow"}, IRIS, ValueError, "The 'latent_density' param"),
        ({"early_stopping": True}, IRIS[:1], ValueError, "leaves no rows to train on"),
    ],
)
def test_errors(parameters, X, error, message):
    with pytest.raises(error, match=message):
        quick(**parameters).fit(X)


def test_cross_entropy_takes_scaled_numbers():
    model = quick(loss="binary_crossentropy", numeric_scaling="minmax").fit(IRIS)
    rebuilt = model.inverse_transform(model.transform(IRIS))
    assert (rebuilt >= IRIS.min(0) - 1e-6).all()
    assert (rebuilt <= IRIS.max(0) + 1e-6).all()


def test_denoising_shrinks_as_ridge_regression_does():
    """To undo noise of variance s^2 in rows of covariance C: C (C + s^2 I)^-1."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2_000, 1)) + 0.7 * rng.normal(size=(2_000, 3))
    standard = StandardScaler().fit_transform(X)
    covariance = np.cov(standard.T, bias=True)
    model = quick(
        3,
        hidden_layer_sizes=(),
        noise=0.8,
        max_iter=60,
        batch_size=200,
        learning_rate_init=1e-2,
    ).fit(X)
    module = model.net_.module_.eval()
    with torch.no_grad():
        maps = [module(row[None], torch.zeros(1, 0)) for row in torch.eye(3)]
        origin = module(torch.zeros(1, 3), torch.zeros(1, 0))
    learnt = (torch.cat(maps) - origin).numpy()
    expected = covariance @ np.linalg.inv(covariance + 0.8**2 * np.eye(3))
    np.testing.assert_allclose(learnt, expected, atol=0.05)
    assert np.abs(expected - np.eye(3)).max() > 0.3


def test_noise_is_for_training_only():
    model = quick(noise=0.5, ordered=True).fit(IRIS)
    np.testing.assert_array_equal(model.transform(IRIS), model.transform(IRIS))
    model.net_.module_.train()  # as a callback may leave it
    np.testing.assert_array_equal(model.transform(IRIS), model.transform(IRIS))


def test_y_is_ignored():
    y = load_iris().target
    np.testing.assert_array_equal(
        quick().fit_transform(IRIS, y), quick().fit_transform(IRIS)
    )


# ------------------------------------------------------------------- ordered


@pytest.fixture(scope="module")
def ordered(correlated):
    X, _ = correlated
    return quick(
        6, hidden_layer_sizes=(), max_iter=60, ordered=True, batch_size=50
    ).fit(X)


def test_ordered_components_explain_what_pca_s_do(ordered, correlated):
    pca = PCA(6).fit(correlated[1])
    ratios = ordered.explained_variance_ratio_
    assert ratios.shape == (6,)
    np.testing.assert_allclose(ratios, pca.explained_variance_ratio_, atol=0.02)
    assert (np.diff(ratios) < 0.01).all()


def test_explained_variance_is_that_of_the_first_codes(ordered, correlated):
    """The gain by each further code when the rest are zero, on the encoded table."""
    X, standard = correlated
    codes, shares = ordered.transform(X), []
    for k in range(1, 7):
        kept = np.where(np.arange(6) < k, codes, 0.0)
        scaler = StandardScaler().fit(X)
        error = standard - scaler.transform(ordered.inverse_transform(kept))
        shares.append(1 - np.square(error).sum() / np.square(standard).sum())
    np.testing.assert_allclose(
        np.cumsum(ordered.explained_variance_ratio_), shares, atol=1e-3
    )


@pytest.mark.slow
def test_each_first_part_is_a_code_of_its_own():
    """What training without order does not give: there a part of the code is none."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3)) @ rng.normal(size=(3, 8))
    X = np.tanh(X) + 0.1 * rng.normal(size=X.shape)
    options = {"max_iter": 40, "learning_rate_init": 1e-2, "batch_size": 50}
    model = quick(4, ordered=True, **options).fit(X)
    assert (np.diff(model.explained_variance_ratio_) < 0).all()
    first = PCA(1).fit(StandardScaler().fit_transform(X)).explained_variance_ratio_
    assert model.explained_variance_ratio_[0] > first[0] - 0.01
    without = quick(4, **options).fit(X)
    assert without.explained_variance_ratio_ is None
    rows = upload(without.codec_, X, without.device_)[:][0]
    parts, _ = explained_variance_ratios(without.net_.module_, [rows])
    assert parts[0] < model.explained_variance_ratio_[0]


@pytest.mark.parametrize(
    "fraction",
    [
        pytest.param(0.4, marks=pytest.mark.slow),
        0.7,
        pytest.param(0.9, marks=pytest.mark.slow),
        0.97,
    ],
)
def test_a_fraction_of_the_variance_as_in_pca(correlated, fraction):
    X, standard = correlated
    model = quick(
        fraction, hidden_layer_sizes=(), max_iter=40, batch_size=50, ordered=True
    ).fit(X)
    n = PCA(fraction).fit(standard).n_components_
    assert model.n_components_ == n
    ratios = model.explained_variance_ratio_
    assert ratios.shape == (n,)
    assert ratios.sum() >= fraction > ratios[:-1].sum()
    codes = model.transform(X)
    assert codes.shape == (300, n)
    assert model.inverse_transform(codes).shape == X.shape
    names = [f"autoencodertransformer{i}" for i in range(n)]
    assert list(model.get_feature_names_out()) == names
    assert model.sample(5).shape == (5, 6)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).transform(X), codes)


def test_components_beyond_the_fraction_are_zero(correlated):
    """In score and inverse_transform alike."""
    X, _ = correlated
    model = quick(0.6, max_iter=10, ordered=True).fit(X)
    n, size = model.n_components_, model.net_.module_.n_components
    assert n < size == 6
    codes = np.pad(model.transform(X), ((0, 0), (0, size - n)))
    with torch.no_grad():
        raw = model.net_.module_.decode(torch.from_numpy(codes)).numpy()
    rebuilt = model.inverse_transform(model.transform(X))
    rebuilt = StandardScaler().fit(X).transform(rebuilt)
    np.testing.assert_allclose(rebuilt, raw, atol=1e-2)


def test_a_fraction_that_is_out_of_reach():
    """All components are kept where all explain too little."""
    X = np.random.default_rng(0).normal(size=(100, 80))
    model = quick(0.999, max_iter=2, ordered=True).fit(X)
    assert model.n_components_ == 64  # at most
    assert len(model.explained_variance_ratio_) == 64
    assert model.explained_variance_ratio_.sum() < 0.999


def test_warm_starts_may_cut_elsewhere(correlated):
    model = quick(0.9, max_iter=5, ordered=True, warm_start=True).fit(correlated[0])
    n = model.n_components_
    model.set_params(n_components=0.4).fit(correlated[0])
    assert model.transform(correlated[0]).shape[1] == model.n_components_ < n
    model.partial_fit(correlated[0])
    for components in (0.9, 2):  # a stream is cut once, and so is the net
        with pytest.raises(
            ValueError, match=rf"n_components={components} \(it was 0.4"
        ):
            model.set_params(n_components=components).partial_fit(correlated[0])
    with pytest.raises(ValueError, match=r"n_components=2 \(it was 0.4"):
        model.fit(correlated[0])


# ------------------------------------------------------------------- scores


def test_score_is_the_likelihood_of_residuals():
    """Normal, with the standard deviations that they have in training."""
    model = quick().fit(IRIS)
    x = encoded(model, IRIS)[0].numpy()
    codes = torch.from_numpy(model.transform(IRIS))
    with torch.no_grad():
        rebuilt = model.net_.module_.decode(codes).numpy()
    scales = np.sqrt(np.square(x - rebuilt).mean(0))
    np.testing.assert_allclose(
        model.net_.module_.log_scale.exp().numpy(), scales, rtol=1e-3
    )
    expected = stats.norm(rebuilt, scales).logpdf(x).sum(1)
    np.testing.assert_allclose(model.score_samples(IRIS), expected, atol=1e-3)
    assert model.score(IRIS) == pytest.approx(expected.mean(), abs=1e-4)
    assert model.score_samples(IRIS).dtype == np.float64


def test_score_of_a_mixed_table():
    """Category by category; a missing number counts by its mask alone."""
    X, _ = make_mixed_table(300, random_state=0)
    model = quick(3).fit(X)
    layout, rows = model.codec_.layout_, encoded(model, X)
    x_num, x_cat = (part.numpy() for part in rows)
    with torch.no_grad():
        raw = model.net_.module_.decode(torch.from_numpy(model.transform(X))).numpy()
    present = np.ones_like(x_num)
    for column, mask in enumerate(layout.masks):
        if mask >= 0:
            present[:, column] = x_cat[:, mask] == 0
    assert 0 < present.mean() < 1
    residuals = (x_num - raw[:, : layout.n_numeric]) * present
    scales = np.sqrt(np.square(residuals).sum(0) / present.sum(0))
    scales = np.maximum(scales, np.exp(LOG_SCALE_MIN))
    expected = (stats.norm(0, scales).logpdf(residuals) * present).sum(1)
    for column, block in enumerate(layout.category_slices):
        logits = 30 * np.tanh(raw[:, layout.n_numeric :][:, block] / 30)
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        expected += np.log(p[np.arange(300), x_cat[:, column]])
    np.testing.assert_allclose(model.score_samples(X), expected, atol=2e-3)


@pytest.mark.parametrize("scaling", ["standard", "minmax", "quantile", None])
def test_a_constant_column_weighs_nothing(scaling):
    """A row off a column that was constant in training scored 6e6 elsewhere."""
    X = np.column_stack([IRIS, np.full(150, 5.0)])
    off = X.copy()
    off[:, 4] = 7.0
    model = quick(numeric_scaling=scaling).fit(X)
    scores = model.score_samples(off)
    np.testing.assert_allclose(scores, model.score_samples(X), atol=1e-4)
    np.testing.assert_allclose(model.transform(off), model.transform(X), atol=1e-5)
    assert (model.inverse_transform(model.transform(off))[:, 4] == 5.0).all()
    assert (model.sample(20)[:, 4] == 5.0).all()
    without = quick(numeric_scaling=scaling).fit(IRIS)
    np.testing.assert_allclose(scores.mean(), without.score(IRIS), atol=2.0)


def test_a_column_that_is_reproduced_exactly_has_a_bounded_weight():
    """Two equal columns in one code: residuals of zero, a floor of 1 %."""
    x = np.random.default_rng(0).normal(size=(200, 1))
    model = untrained(1, hidden_layer_sizes=()).fit(np.hstack([x, x]))
    log_scale = model.net_.module_.log_scale
    torch.testing.assert_close(log_scale, torch.full((2,), LOG_SCALE_MIN))
    best = -2 * (LOG_SCALE_MIN + 0.5 * np.log(2 * np.pi))
    assert model.score_samples(np.hstack([x, x])).max() == pytest.approx(best, abs=1e-3)


def test_unlike_rows_score_low(correlated):
    X, _ = correlated
    model = quick(3, max_iter=10).fit(X)
    shuffled = np.random.default_rng(0).permuted(X, axis=0)
    assert model.score(shuffled) < model.score(X) - 1


def test_chunks_change_nothing(monkeypatch, mixed_table):
    """Nor does the size of the chunks that residuals are measured in."""
    whole = quick().fit(mixed_table)
    codes, scores = whole.transform(mixed_table), whole.score_samples(mixed_table)
    rebuilt = whole.inverse_transform(codes)
    monkeypatch.setattr(_base, "CHUNK_ROWS", 7)
    np.testing.assert_allclose(whole.transform(mixed_table), codes, atol=1e-5)
    np.testing.assert_allclose(whole.score_samples(mixed_table), scores, atol=1e-3)
    pd.testing.assert_frame_equal(whole.inverse_transform(codes), rebuilt)
    parts = quick().fit(mixed_table)
    torch.testing.assert_close(
        parts.net_.module_.log_scale, whole.net_.module_.log_scale
    )


# ------------------------------------------------------------------- sampling


@pytest.fixture(scope="module")
def clusters():
    """Two clusters far apart, of a quarter and three quarters of the rows."""
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0, 0.0], [30.0, 20.0, 10.0]])
    label = np.arange(800) % 4 > 0
    return centres[label.astype(int)] + rng.normal(size=(800, 3)), centres


def nearest(rows, centres):
    return KMeans(2, init=centres, n_init=1, max_iter=1).fit(rows).labels_


DENSITIES = {
    "mixture": "mixture",
    "kernels": KernelDensity(bandwidth=0.1),
    "bayes": BayesianGaussianMixture(n_components=4, random_state=0),
}


@pytest.mark.parametrize("density", DENSITIES.values(), ids=DENSITIES)
def test_densities_draw_both_clusters(clusters, density):
    X, centres = clusters
    before = {} if isinstance(density, str) else dict(vars(density))
    model = quick(2, latent_density=density, max_iter=10).fit(X)
    rows = model.sample(2_000, random_state=0)
    label = nearest(rows, centres)
    # shares of the training, and hardly a row between the clusters
    p, n = 0.75, 1 / (1 / 800 + 1 / 2_000)
    assert abs(label.mean() - p) < Z * np.sqrt(p * (1 - p) / n)
    assert (np.linalg.norm(rows - centres[label], axis=1) > 8).mean() < 0.01
    # in random order, not one component after the other
    changes = (np.diff(label) != 0).mean()
    assert abs(changes - 2 * p * (1 - p)) < Z * np.sqrt(1 / 2_000) + 0.05
    # two draws differ, whatever the estimator does under its own seed
    assert not np.array_equal(model.sample(50), model.sample(50))
    assert len(np.unique(rows, axis=0)) > 1_900
    # the estimator given is a pattern: it is cloned
    assert isinstance(density, str) or vars(density) == before


def test_a_normal_density_does_not_see_clusters(clusters):
    """Rows of one normal distribution fill the gap, so the tests above have power.

    Without scaling, as calibration would to_device values across it.
    """
    X, centres = clusters
    model = quick(2, max_iter=10, numeric_scaling=None, hidden_layer_sizes=()).fit(X)
    rows = model.sample(2_000, random_state=0)
    distance = np.linalg.norm(rows - centres[nearest(rows, centres)], axis=1)
    assert (distance > 8).mean() > 0.1


def test_rows_of_a_normal_density_have_the_covariance(correlated):
    """All components of a linear autoencoder: rows are as the table is."""
    X, _ = correlated
    model = quick(6, hidden_layer_sizes=(), max_iter=10).fit(X)
    rows = model.sample(20_000, random_state=0)
    scale = X.std(0)
    error = (np.cov(rows.T) - np.cov(X.T)) / np.outer(scale, scale)
    assert np.abs(error).max() < Z * np.sqrt(2 / 20_000) + 0.02
    error = (rows.mean(0) - X.mean(0)) / scale
    assert np.abs(error).max() < Z / np.sqrt(20_000) + 0.02


def test_an_estimator_without_fit_or_sample_is_refused():
    with pytest.raises((AttributeError, TypeError, ValueError)):
        quick(latent_density=PCA(2)).fit(IRIS).sample(3)


# ------------------------------------------------------------------- tables


def test_the_most_likely_table(mixed_table):
    """Codes come back as rows like those that they were made of."""
    model = quick(12, max_iter=60, hidden_layer_sizes=(64,), batch_size=50)
    model.set_params(learning_rate_init=5e-3).fit(mixed_table)
    rebuilt = model.inverse_transform(model.transform(mixed_table))
    assert rebuilt.dtypes.equals(mixed_table.dtypes)
    for column in ("plan", "member"):
        assert (rebuilt[column] == mixed_table[column]).mean() > 0.95
    assert np.corrcoef(rebuilt["height"], mixed_table["height"])[0, 1] > 0.9
    same = rebuilt["income"].isna() == mixed_table["income"].isna()
    assert same.mean() > 0.95


@pytest.mark.parametrize(
    "kind", ["numbers", "categories", "one category", "all missing", "constant"]
)
def test_tables_of_one_kind(kind):
    X, _ = make_mixed_table(80, random_state=0)
    X = {
        "numbers": X[["weight", "visits", "spend"]],
        "categories": X[["plan", "region", "active"]],
        "one category": X[["plan"]],
        "all missing": X.assign(weight=np.nan),
        "constant": X[["weight"]].assign(weight=3.5),
    }[kind]
    for ordered in (False, True):
        model = quick(2, ordered=ordered).fit(X)
        rows = model.sample(30, random_state=0)
        assert rows.dtypes.equals(X.dtypes)
        assert np.isfinite(model.score_samples(X)).all()
        assert np.isfinite(model.transform(X)).all()
        pd.testing.assert_index_equal(
            model.inverse_transform(model.transform(X)).columns, X.columns
        )
        if kind == "all missing":
            assert rows["weight"].isna().all()
        if kind == "constant":
            assert (rows["weight"] == 3.5).all()


def test_more_components_than_columns():
    model = quick(10).fit(IRIS)
    assert model.transform(IRIS).shape == (150, 10)
    assert model.sample(20).shape == (20, 4)


class Stop(Callback):
    def on_epoch_end(self, net, **kwargs):
        raise KeyboardInterrupt


@pytest.mark.parametrize("n", [20, 150, 1_000])
def test_few_rows_get_enough_steps(n):
    """Some 2,500 gradient steps by default, however few rows an epoch has."""
    X = np.random.default_rng(0).normal(size=(n, 3))
    options = {"max_iter": "auto", "early_stopping": False}
    net = quick(callbacks=[Stop()], **options).fit(X).net_
    steps = net.max_epochs * net.history[-1, "train_batch_count"]
    assert 2_500 <= steps < 2_500 + net.history[-1, "train_batch_count"]


def test_many_rows_are_seen_three_times():
    """Where an epoch has more than 2,500 steps: here with batches of two rows."""
    X = np.random.default_rng(0).normal(size=(6_000, 1))
    options = {"max_iter": "auto", "batch_size": 2, "hidden_layer_sizes": ()}
    assert quick(1, callbacks=[StopAtOnce()], **options).fit(X).net_.max_epochs == 3


class StopAtOnce(Callback):
    def on_batch_end(self, net, **kwargs):
        raise KeyboardInterrupt


# ------------------------------------------------------------------- few rows


def few(n_components=2, **parameters):
    """An autoencoder at its defaults, which finds out how long to train."""
    options = {"latent_density": "normal", "random_state": 0}
    return AutoencoderTransformer(n_components, **{**options, **parameters})


@pytest.fixture(scope="module")
def bow():
    """Rows near a parabola, of which one straight axis misses a third."""
    x = np.random.default_rng(0).uniform(-1, 1, 200)
    noise = 0.05 * np.random.default_rng(1).normal(size=(200, 2))
    return np.column_stack([x, 3 * x**2]) + noise


def test_where_data_are_linear_few_rows_end_at_pca(correlated):
    X, standard = correlated
    model, pca = few(3).fit(X), PCA(3).fit(standard)
    assert model.n_iter_ == len(model.loss_curve_) == 1
    assert model.validation_scores_ == []
    codes, expected = model.transform(X), pca.transform(standard)
    signs = np.sign((codes * expected).sum(0))
    np.testing.assert_allclose(codes * signs, expected, atol=1e-3)
    ratio = pca.explained_variance_ratio_.sum()
    assert explained(model, X) == pytest.approx(ratio, abs=1e-3)


def test_where_tails_are_heavy_few_rows_rebuild_as_pca_does():
    """Also rows with values that training has not seen."""
    rng = np.random.default_rng(3)
    axes = rng.normal(size=(4, 10))
    X = rng.standard_t(3, (300, 4)) @ axes + 0.7 * rng.standard_t(3, (300, 10))
    train, test = X[:200], X[200:]
    assert (test > train.max(0)).any()
    model = few(4).fit(train)
    scaler = StandardScaler().fit(train)
    standard = scaler.transform(test)
    pca = PCA(4).fit(scaler.transform(train))
    straight = pca.inverse_transform(pca.transform(standard))
    rebuilt = scaler.transform(model.inverse_transform(model.transform(test)))
    np.testing.assert_allclose(rebuilt, straight, atol=2e-3)
    drawn = model.sample(2_000, random_state=0)
    assert (drawn >= train.min(0)).all()
    assert (drawn <= train.max(0)).all()


def test_where_data_are_bent_few_rows_leave_pca(bow):
    """The share of the variance is measured on rows that the fit has not seen."""
    train, test = bow[:120], bow[120:]
    model = few(1).fit(train)
    assert 0 < model.n_iter_ == len(model.loss_curve_)
    assert len(model.validation_scores_) == model.n_iter_
    assert np.argmax(model.validation_scores_) == model.n_iter_ - 1
    scaler = StandardScaler().fit(train)
    pca = PCA(1).fit(scaler.transform(train))
    straight = pca.inverse_transform(pca.transform(scaler.transform(test)))
    bent = scaler.transform(model.inverse_transform(model.transform(test)))
    left = [np.square(x - scaler.transform(test)).sum() for x in (bent, straight)]
    assert left[0] < 0.6 * left[1]


@pytest.mark.parametrize("is_doubtful", [True, False])
def test_a_doubtful_trial_is_confirmed_on_rows_that_it_learnt_from(
    bow, monkeypatch, is_doubtful
):
    seen = []

    def confirm(net, train, valid, found, gains):
        seen.append((train, valid))
        return replace(found, has_gained=False)

    run = _autoencoder.run_trial

    def record(net, train, valid, *limits):
        seen.append((train, valid))
        return run(net, train, valid, *limits)

    monkeypatch.setattr(_autoencoder, "run_trial", record)
    monkeypatch.setattr(_autoencoder, "confirm_trial", confirm)
    monkeypatch.setattr(_autoencoder, "is_doubtful", lambda gains: is_doubtful)
    model = few(1).fit(bow)
    assert len(seen) == 1 + is_doubtful
    assert model._trial.has_gained is not is_doubtful
    if is_doubtful:
        (train, held_out), (other_train, other_held_out) = (
            [{tuple(row) for row in rows.x_num.tolist()} for rows in pair]
            for pair in seen
        )
        assert not other_held_out & held_out
        assert other_held_out < train
        assert len(other_held_out) == len(held_out)
        assert other_train == (train | held_out) - other_held_out


@pytest.mark.slow
def test_codes_stay_linearly_readable(monkeypatch):
    """A linear model reads more of the columns than without the linear decoder."""
    X = make_s_curve(300, noise=0.05, random_state=0)[0]
    X = StandardScaler().fit_transform(X)

    def readable():
        codes = few(2).fit(X).transform(X)
        return LinearRegression().fit(codes, X).score(codes, X)

    best = PCA(2).fit(X).explained_variance_ratio_.sum()
    with_decoder = readable()
    monkeypatch.setattr(_autoencoder, "LINEAR_WEIGHT", 0.0)
    assert best > with_decoder > best - 0.03
    assert readable() < best - 0.1


def test_a_mixed_table_without_structure_keeps_the_codes_of_pca(monkeypatch):
    """Its decoder is trained all the same, because logits are not linear."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({f"x{i}": rng.normal(size=60) for i in range(4)})
    table["level"] = rng.choice(["a", "b", "c"], 60)
    monkeypatch.setattr(trial, "exceeds_chance", lambda gains: False)
    model = few(2).fit(table)
    assert model.n_iter_ > 0
    dataset = upload(model.codec_, table, "cpu")
    module = model.net_.module_
    x = module.table(*dataset.take(slice(None))).numpy()
    expected = PCA(2).fit_transform(x)
    codes = model.transform(table)
    signs = np.sign((codes * expected).sum(0))
    np.testing.assert_allclose(codes * signs, expected, atol=1e-4)
    assert module.decoder.output.weight.any()


@pytest.mark.parametrize(
    "parameters",
    [{"max_iter": 3}, {"batch_size": 20}, {"early_stopping": False}],
    ids=str,
)
def test_what_the_user_sets_is_not_tried(bow, parameters, monkeypatch):
    monkeypatch.setattr(AutoencoderTransformer, "_default_steps", lambda *_: 30)
    model = few(1, **parameters).fit(bow)
    assert not model.net_.full_batch
    assert model.validation_scores_ is None
    assert len(model.loss_curve_) == model.n_iter_ > 0


def test_the_size_of_the_net_is_that_of_the_table(bow):
    """Pictures, and tables of many rows, have a large one."""
    pictures = np.random.default_rng(0).integers(0, 17, (50, 40))
    pictures[0] = 16
    many = [(pictures, [512, 256]), (pictures / 16, [512, 256])]
    for X, expected in [(bow, [64, 32]), *many]:
        model = few(1, max_iter="auto" if X is bow else 1).fit(X)
        hidden = model.net_.module_.encoder.hidden
        widths = [layer.out_features for layer in hidden]
        widths[0] -= 1  # The linear path, of one component.
        assert widths == expected
        assert model.net_.full_batch == (X is bow)


def test_the_trial_leaves_callbacks_alone(bow):
    class Counter(Callback):
        n_epochs = 0

        def on_epoch_end(self, net, **kwargs):
            Counter.n_epochs += 1

    model = few(1, callbacks=[Counter()]).fit(bow)
    assert Counter.n_epochs == model.n_iter_ > 0


@pytest.mark.filterwarnings("ignore:AutoencoderTransformer is fitted to")
@pytest.mark.parametrize("shape", [(1, 3), (2, 3), (5, 2), (39, 2), (45, 60)], ids=str)
@pytest.mark.parametrize("categories", [False, True])
def test_hardly_any_rows(shape, categories):
    """Those of too few rows for a trial, and of more columns than rows, are PCA's."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=shape)).add_prefix("x")
    if categories:
        X["level"] = rng.choice(["a", "b"], len(X))
    model = few(2).fit(X)
    assert np.isfinite(model.transform(X)).all()
    assert list(model.inverse_transform(model.transform(X))) == list(X)
    if shape[0] in (5, 39):
        assert (model.n_iter_ > 1) == categories


def test_a_warm_start_and_a_stream_go_on_from_few_rows(bow):
    model = few(1, warm_start=True).fit(bow)
    epochs = model.n_iter_
    before = explained(model, bow)
    model.set_params(max_iter=5).fit(bow)
    assert model.n_iter_ == epochs + 5
    model.partial_fit(bow)
    assert model.n_iter_ == epochs + 6
    assert not model.net_.full_batch
    assert explained(model, bow) > before - 0.02


def test_a_warm_start_keeps_what_the_trial_found(correlated):
    """Where PCA was best, a second fit does not train away from it."""
    model = few(3, warm_start=True).fit(correlated[0])
    codes = model.transform(correlated[0])
    model.fit(correlated[0])
    assert model.n_iter_ == 2
    np.testing.assert_array_equal(model.transform(correlated[0]), codes)


def test_categories_start_near_pca():
    """At the start their probabilities are, to first order, what PCA reconstructs."""
    rng = np.random.default_rng(0)
    level = pd.Series(rng.choice(["a", "b", "c"], 3_000, p=[0.5, 0.3, 0.2]))
    x = 0.1 * (level == "a") + rng.normal(size=len(level))
    X = pd.DataFrame({"level": level, "x": x})
    model = untrained(1, hidden_layer_sizes=()).fit(X)
    module = model.net_.module_
    batch = upload(model.codec_, X, "cpu").take(slice(None))
    with torch.no_grad():
        x = module.table(*batch).numpy()
        z = 1e-2 * torch.linspace(-1, 1, 5)[:, None]
        means = module.distribution(module.decode(z)).mean().numpy()
    axis = PCA(1).fit(x).components_[0]
    slopes = np.polyfit(z[:, 0], means, 1)[0]
    np.testing.assert_allclose(slopes * np.sign(slopes @ axis), axis, atol=5e-3)
    np.testing.assert_allclose(means[2], x.mean(0), atol=1e-3)


def test_streams_learn_and_draw(correlated):
    X, standard = correlated
    model = quick(3, learning_rate_init=5e-3, latent_density="mixture")
    for _ in range(3):
        for start in (0, 100, 200):
            assert model.partial_fit(X[start : start + 100]) is model
    best = PCA(3).fit(standard).explained_variance_ratio_.sum()
    assert explained(model, X) > best - 0.02
    assert len(model.loss_curve_) == model.n_iter_ == 9
    rows = model.sample(500, random_state=0)
    error = (rows.mean(0) - X.mean(0)) / X.std(0)
    assert np.abs(error).max() < Z * np.sqrt(1 / 300 + 1 / 500)


# ---------------------------------------------------- cut codes, and streams of them


def residuals(model, X):
    """Standard deviation of each encoded number about what its own code gives."""
    z = model.codec_.encode(X)[0]
    rebuilt = model.codec_.encode(model.inverse_transform(model.transform(X)))[0]
    return np.sqrt(np.square(z - rebuilt).mean(0))


def test_scales_are_those_of_the_code_that_is_kept(correlated):
    X, _ = correlated
    model = quick(0.6, ordered=True, max_iter=20).fit(X)
    assert model.n_components_ < model.net_.module_.n_components
    scales = model.net_.module_.log_scale.exp().numpy()
    np.testing.assert_allclose(scales, residuals(model, X), rtol=0.02)


def test_a_stream_keeps_the_size_of_its_first_code():
    """However much of the variance later batches give to the first components."""
    rng = np.random.default_rng(0)
    model = quick(0.9, ordered=True)
    for rank in (1, 4, 2):
        axes = rng.normal(size=(rank, 4)) if rank < 4 else np.eye(4)
        batch = rng.normal(size=(100, len(axes))) @ axes
        model.partial_fit(batch + 0.01 * rng.normal(size=batch.shape))
        width = model.transform(batch).shape[1]
        assert width == model.n_components_
        assert model.sample(5).shape == (5, 4)
        if rank == 1:
            first = width
    assert width == first


def test_one_more_row_hardly_moves_the_scales_of_a_stream():
    model = quick(2, noise=0.0)
    for _ in range(3):
        model.partial_fit(IRIS)
    before = model.score(IRIS)
    model.partial_fit(IRIS[:1])
    assert abs(model.score(IRIS) - before) < 0.5


@pytest.mark.parametrize("container", ["array", "frame", "sparse", "wide"])
def test_shares_of_cells_add_up_to_the_score(container, mixed_table):
    rng = np.random.default_rng(0)
    X = {
        "array": rng.normal(size=(50, 4)),
        "frame": mixed_table,
        "sparse": sparse.csr_array(sparse.random(60, 9, 0.3, random_state=0)),
        "wide": rng.random((50, 121)),
    }[container]
    loss = "binary_crossentropy" if container == "wide" else "auto"
    model = AutoencoderTransformer(2, loss=loss, max_iter=3, random_state=0).fit(X)
    shares, expected = model.explain_samples(X, return_expected=True)
    assert shares.shape == expected.shape == X.shape
    scores = model.score_samples(X)
    np.testing.assert_allclose(np.asarray(shares).sum(1), scores, atol=1e-9)
    if container in ("sparse", "wide"):
        rebuilt = model.inverse_transform(model.transform(X))
        np.testing.assert_allclose(expected, rebuilt, atol=1e-4)


def test_what_is_expected_of_a_cell_is_what_the_others_say():
    """Rebuilt it would be a part of the way to the odd value, which is in the code."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    numbers = x[:, None] * [1.0, 2.0, -1.0] + 0.01 * rng.normal(size=(400, 3))
    X = pd.DataFrame(numbers, columns=["one", "two", "three"])
    X["sign"] = np.where(x > 0, "plus", "minus")
    model = AutoencoderTransformer(1, max_iter=5, random_state=0).fit(X)
    rows = X[(0.2 < np.abs(x)) & (np.abs(x) < 1)].head(60)
    for column in X:
        broken = rows.copy()
        if column == "sign":
            broken[column] = np.where(rows[column] == "plus", "minus", "plus")
        else:
            broken[column] -= 3 * np.sign(rows[column]) * X[column].std()
        shares, expected = model.explain_samples(broken, return_expected=True)
        assert (shares.idxmin(axis=1) == column).mean() > 0.9
        if column == "sign":
            assert (expected[column] == rows[column]).mean() > 0.95
        else:
            error = (expected[column] - rows[column]).abs() / X[column].std()
            assert error.median() < 0.25


@pytest.mark.slow
def test_the_cell_that_is_rebuilt_worst_is_named():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 1)) * [1.0, 2.0, -1.0] + 0.01 * rng.normal(size=(400, 3))
    model = AutoencoderTransformer(1, max_iter=60, random_state=0).fit(X)
    broken = X[:50].copy()
    broken[:, 2] += 0.5
    losses = model.explain_samples(broken) - model.explain_samples(X[:50])
    assert (losses.sum(1) < 0).all()


def test_a_stream_after_a_fit_that_ended_at_pca_keeps_each_moment_with_its_weights():
    """Their groups are others, and moments of other shapes would crash the process."""
    X, _ = make_mixed_table(8, random_state=0)  # too few rows for a trial
    model = AutoencoderTransformer(2, random_state=0).fit(X)
    before = {id(p): s["exp_avg"] for p, s in model.net_.optimizer_.state.items()}
    model.net_.optimizer__param_groups = []
    model.net_.renew_optimizers()
    after = {id(p): s["exp_avg"] for p, s in model.net_.optimizer_.state.items()}
    assert before.keys() == after.keys()
    assert all(before[key].equal(after[key]) for key in before)
    for parameter, state in model.net_.optimizer_.state.items():
        assert state["exp_avg"].shape == parameter.shape
    assert np.isfinite(model.partial_fit(X).transform(X)).all()
