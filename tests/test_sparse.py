"""Sparse matrices in the estimators: the codes of dense arrays, without their size."""

import pickle
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

from sklearn_unsup import (
    AutoencoderTransformer,
    GANSampler,
    VAETransformer,
    _autoencoder,
)
from sklearn_unsup._encoding import upload
from sklearn_unsup._nn import chunks
from sklearn_unsup._nn.chunks import MIN_BLOCK_ROWS
from sklearn_unsup._table.codec import TableCodec
from sklearn_unsup._table.sparse import SparseCodec
from sklearn_unsup._training import data
from sklearn_unsup._training.data import SparseDataset
from sklearn_unsup._training.loader import DeviceLoader
from sklearn_unsup.datasets import make_mixed_table
from sklearn_unsup.pipeline import sample_pipeline

MODELS = [AutoencoderTransformer, VAETransformer]
FORMATS = [
    name.removesuffix("_array")
    for name, item in vars(sparse).items()
    if name.endswith("_array") and isinstance(item, type)
]

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(params=MODELS, ids=lambda model: model.__name__)
def model(request):
    return request.param


def quick(model, **parameters):
    defaults = {"n_components": 3, "hidden_layer_sizes": (16,), "max_iter": 3}
    return model(**{**defaults, "random_state": 0, **parameters})


def make_matrix(n=120, width=15, seed=0):
    """Columns that depend on each other, most entries zero, all in [0, 1]."""
    rng = np.random.default_rng(seed)
    topics = rng.random((4, width)) ** 4
    X = topics[rng.integers(4, size=n)] * rng.random((n, width))
    X[rng.random((n, width)) < 0.5] = 0.0
    X[:, 3] = 0.0  # a word that is nowhere
    return sparse.csr_array(X)


def make_texts(n=90, seed=0):
    """Documents of two kinds, and which one each is."""
    rng = np.random.default_rng(seed)
    words = [["cat", "dog", "horse", "cow"], ["red", "green", "blue", "black"]]
    kinds = np.arange(n) % 2
    return [" ".join(rng.choice(words[kind], 6)) for kind in kinds], kinds


# ------------------------------------------------------------------- like dense rows


@pytest.mark.parametrize("scaling", [None, "standard", "minmax"])
@pytest.mark.parametrize(
    "early_stopping", [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_a_sparse_fit_is_the_dense_one(model, scaling, early_stopping):
    """Under the same scaling and seed: codes, scores and losses."""
    X = 7 * make_matrix()
    options = {"numeric_scaling": scaling, "early_stopping": early_stopping}
    if model is VAETransformer:
        options |= {"sampling": "latent", "density_ratio": None}
    one = quick(model, **options).fit(X)
    two = quick(model, **options).fit(X.toarray())
    assert isinstance(one.codec_, SparseCodec)
    assert isinstance(two.codec_, TableCodec)
    for verb in ("transform", "score_samples"):
        first, second = getattr(one, verb)(X), getattr(two, verb)(X.toarray())
        np.testing.assert_allclose(first, second, rtol=2e-3, atol=2e-4)
    np.testing.assert_allclose(one.loss_curve_, two.loss_curve_, rtol=1e-4)
    if early_stopping:
        np.testing.assert_allclose(
            one.validation_scores_, two.validation_scores_, rtol=1e-4
        )
    # where the decoders do not round
    rebuilt = one.inverse_transform(one.transform(X))
    expected = two.inverse_transform(two.transform(X.toarray()))
    seen = rebuilt > one.codec_.above_
    assert seen.any()
    np.testing.assert_allclose(rebuilt[seen], expected[seen], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    "scaling",
    [
        "auto",
        "standard",
        pytest.param(None, marks=pytest.mark.slow),
        pytest.param("minmax", marks=pytest.mark.slow),
    ],
)
def test_one_kind_after_the_other(model, scaling):
    """A model of sparse rows takes dense ones, and the other way round."""
    X = 7 * make_matrix()
    for train in (X, X.toarray()):
        fitted = quick(model, numeric_scaling=scaling).fit(train)
        for verb in ("transform", "score_samples"):
            codes = getattr(fitted, verb)(X)
            np.testing.assert_allclose(
                codes, getattr(fitted, verb)(X.toarray()), rtol=1e-4, atol=1e-5
            )
        assert fitted.score(X) == pytest.approx(fitted.score(X.toarray()), rel=1e-4)
        assert np.isfinite(codes).all()


@pytest.mark.parametrize("scaling", ["standard", "quantile"])
def test_training_goes_on_with_the_other_kind(scaling):
    X = make_matrix()
    kinds = [X.toarray(), X] if scaling == "quantile" else [X, X.toarray(), X]
    for verb in ("fit", "partial_fit"):
        fitted = quick(
            VAETransformer, numeric_scaling=scaling, warm_start=True, n_components=2
        )
        for part in kinds:
            getattr(fitted, verb)(part)
        assert fitted.n_iter_ == len(kinds) * (3 if verb == "fit" else 1)
        codec = SparseCodec if scaling == "standard" else TableCodec
        assert isinstance(fitted.codec_, codec)
        assert np.isfinite(fitted.sample(10)).all()


def test_a_ratio_of_dense_rows_ends_with_sparse_ones():
    """It would need them dense; the model that was fitted with it is of use all along.

    And a classifier is refused before it is forgotten.
    """
    X = 7 * make_matrix()
    options = {"warm_start": True, "density_ratio": "auto"}
    fitted = quick(AutoencoderTransformer, **options).fit(X.toarray()).fit(X)
    assert fitted._sampler.ratio_ is None
    assert fitted._sampler.marginals_ is not None  # its codec knows the quantiles
    fitted.set_params(density_ratio=DecisionTreeClassifier())
    with pytest.raises(ValueError, match="pass 'auto' or None"):
        fitted.fit(X)


def test_atoms_of_sparse_rows_are_redrawn():
    """As in dense rows, by a codec that knows atoms."""
    X = make_matrix()
    fitted = quick(VAETransformer, numeric_scaling="quantile").fit(X.toarray())
    rows = upload(fitted.codec_, X, fitted.device_, np.random.default_rng(0))
    generator = torch.Generator().manual_seed(0)
    first, second = (
        next(iter(DeviceLoader(rows, 120, generator)))[0][0].sort(0)[0] for _ in "12"
    )
    assert (first != second).any()
    same = [upload(fitted.codec_, X, fitted.device_).take(slice(None))[0] for _ in "12"]
    assert torch.equal(*same)


@pytest.fixture(scope="module")
def fitted_to_csr():
    return quick(AutoencoderTransformer).fit(make_matrix())


@pytest.mark.parametrize("kind", ["array", "matrix"])
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.filterwarnings("ignore:Constructing a DIA matrix")
def test_every_format(fitted_to_csr, kind, name):
    X, fitted = make_matrix(), fitted_to_csr
    other = getattr(sparse, f"{name}_{kind}")(X)
    again = quick(AutoencoderTransformer).fit(other)
    np.testing.assert_array_equal(again.transform(other), fitted.transform(X))
    assert fitted.n_features_in_ == 15
    assert not hasattr(fitted, "feature_names_in_")


def test_wide_indices_and_unsorted_entries():
    X = make_matrix()
    fitted = quick(AutoencoderTransformer).fit(X)
    order = np.concatenate(
        [np.arange(*edges)[::-1] for edges in pairwise(X.indptr.tolist())]
    )
    other = sparse.csr_array(
        (X.data[order], X.indices[order].astype(np.int64), X.indptr.astype(np.int64)),
        shape=X.shape,
    )
    before = other.indices.copy()
    again = quick(AutoencoderTransformer).fit(other)
    np.testing.assert_array_equal(again.transform(other), fitted.transform(X))
    np.testing.assert_array_equal(other.indices, before)  # it is the user's


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8, bool])
def test_rows_come_back_in_their_dtype(model, dtype):
    X = make_matrix()
    X = sparse.csr_array((X.toarray() * 5).astype(dtype))
    fitted = quick(model, max_iter=5).fit(X)
    for rows in (fitted.inverse_transform(fitted.transform(X)), fitted.sample(50)):
        assert isinstance(rows, np.ndarray)
        assert rows.dtype == dtype
        assert rows.shape[1] == 15
        assert (rows[:, 3] == 0).all()
        assert (rows >= X.min(axis=0).toarray()).all()
        assert (rows <= X.max(axis=0).toarray()).all()


# ------------------------------------------------------------------- scaling


def test_scaling_by_what_the_rows_are():
    X = make_matrix()
    bits = sparse.csr_array((X.toarray() > 0.2).astype(float))
    expected = {
        # rows, loss: of the autoencoder, of the VAE
        "weights": (X, "auto", "shared", "shared"),
        "bits": (bits, "auto", "shared", None),
        "as probabilities": (X, "binary_crossentropy", None, None),
        "beyond 1": (2 * X, "auto", "standard", "standard"),
        "below 0": (-0.5 * X, "auto", "standard", "standard"),
    }
    for name, (rows, loss, *scalings) in expected.items():
        for model, scaling in zip(MODELS, scalings, strict=True):
            fitted = quick(model, loss=loss, max_iter=1).fit(rows)
            assert fitted.codec_.numeric_scaling == scaling, name
            probabilities = scaling is None
            assert fitted.net_.module_.bernoulli == probabilities, name


def test_weights_that_are_small_are_learnt():
    """Codes do not hang on the unit of TF-IDF: a tenth of it makes no difference."""
    X = make_matrix(300, 40)
    codes = [
        quick(AutoencoderTransformer, max_iter=20).fit(part).transform(part)
        for part in (X, 0.01 * X)
    ]
    np.testing.assert_allclose(*codes, rtol=1e-2, atol=1e-2)


def test_few_columns_have_an_autoregressive_model():
    X = sparse.csr_array(make_matrix().toarray()[:, :4])
    fitted = quick(VAETransformer, numeric_scaling="standard").fit(X)
    assert fitted.net_.module_.autoregressive is not None
    assert fitted.sample(20).shape == (20, 4)
    fitted = quick(VAETransformer).fit(X)
    assert fitted.codec_.numeric_scaling == "shared"
    assert fitted.net_.module_.autoregressive is None


# ------------------------------------------------------------------- never dense


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of ten rows of 15 columns; the list of how many were dense at once."""
    monkeypatch.setattr(chunks, "BLOCK_BYTES", 10 * 4 * 15)
    monkeypatch.setattr("sklearn_unsup._table.sparse.BLOCK_ENTRIES", 10 * 15)
    dense, take = [], SparseDataset.take

    def watched(self, index):
        rows = take(self, index)
        dense.append(len(rows[0]))
        return rows

    monkeypatch.setattr(SparseDataset, "take", watched)
    return dense


def forbid_dense(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a sparse matrix was made dense")

    for kind in ("array", "matrix"):
        for name in FORMATS:
            for verb in ("toarray", "todense", "__array__"):
                monkeypatch.setattr(
                    getattr(sparse, f"{name}_{kind}"), verb, refuse, raising=False
                )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"early_stopping": True},
        {"ordered": True},
        {"numeric_scaling": "standard"},
        pytest.param({"loss": "binary_crossentropy"}, marks=pytest.mark.slow),
        pytest.param({"latent_density": "normal"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_never_dense(model, options, small_blocks, monkeypatch):
    """No verb that takes rows has more of them dense than a block or a batch."""
    if "ordered" in options and model is VAETransformer:
        pytest.skip("only the autoencoder has ordered components")
    X = make_matrix(12 * 16)
    # The rows' model of so few columns needs none of this.
    sampling = {"sampling": "latent"} if model is VAETransformer else {}
    forbid_dense(monkeypatch)
    fitted = quick(model, batch_size=8, **options, **sampling).fit(X)
    fitted.transform(X)
    fitted.score(X)
    fitted.partial_fit(X)
    assert len(small_blocks) > 12 * 16 / 10 * 5
    assert max(small_blocks) <= MIN_BLOCK_ROWS


def test_blocks_change_nothing(model, small_blocks):
    """Nor for tables: measures, axes and scores are the same in any blocks."""
    table = make_mixed_table(80, random_state=0)[0]
    for X in (make_matrix(), table):
        options = {"ordered": True} if model is AutoencoderTransformer else {}
        fits = []
        for n_bytes in (10 * 4 * 15, 2**26):
            chunks.BLOCK_BYTES = n_bytes  # the fixture puts it back
            fitted = quick(model, numeric_scaling="standard", **options).fit(X)
            fits.append((fitted, fitted.transform(X), fitted.score_samples(X)))
        (one, *results), (two, *expected) = fits
        for found, other in zip(results, expected, strict=True):
            np.testing.assert_allclose(found, other, rtol=2e-3, atol=2e-3)
        if options:
            np.testing.assert_allclose(
                one.explained_variance_ratio_, two.explained_variance_ratio_, atol=1e-3
            )
            torch.testing.assert_close(
                one.net_.module_.log_scale,
                two.net_.module_.log_scale,
                rtol=1e-3,
                atol=1e-3,
            )
        else:
            np.testing.assert_array_equal(
                one.active_components_, two.active_components_
            )
        rows = one.inverse_transform(results[0])
        chunks.BLOCK_BYTES = 10 * 4 * 15
        again = one.inverse_transform(results[0])
        if isinstance(rows, pd.DataFrame):
            pd.testing.assert_frame_equal(rows, again)
        else:
            np.testing.assert_allclose(rows, again, rtol=1e-4, atol=1e-5)


def test_codes_are_decoded_in_blocks(model, small_blocks, monkeypatch):
    fitted = quick(model).fit(make_matrix())
    decoded, mode = [], model._mode
    monkeypatch.setattr(
        model, "_mode", lambda self, z: decoded.append(len(z)) or mode(self, z)
    )
    # one of 15 columns is constant
    assert fitted.inverse_transform(np.zeros((25, 3))).shape == (25, 15)
    assert decoded == [MIN_BLOCK_ROWS] * 2


def test_axes_are_found_from_a_part_of_wide_rows(monkeypatch):
    monkeypatch.setattr(_autoencoder, "PCA_ENTRIES", 30 * 14)
    seen, axes = [], _autoencoder.principal_axes

    def watched(parts, n_components):
        seen.append(sum(len(part) for part in parts()))
        return axes(parts, n_components)

    monkeypatch.setattr(_autoencoder, "principal_axes", watched)
    quick(AutoencoderTransformer).fit(make_matrix())
    assert seen == [30]


def test_explained_variance_is_around_the_mean(small_blocks):
    """Encoded columns need not have mean 0 here; in blocks as in one piece."""
    X = make_matrix()
    fitted = quick(AutoencoderTransformer, ordered=True).fit(X)
    x = torch.from_numpy(fitted.codec_.encode(X.toarray())[0])
    assert x.mean(0).abs().max() > 0.2
    codes, shares = torch.from_numpy(fitted.transform(X)), []
    for k in range(1, 4):
        kept = codes.clone()
        kept[:, k:] = 0
        lost = (x - fitted._distribution(kept).mean()).square().sum()
        shares.append(1 - (lost / (x - x.mean(0)).square().sum()).item())
    found = np.cumsum(fitted.explained_variance_ratio_)
    np.testing.assert_allclose(found, shares, atol=1e-4)


WIDE = """
import resource, sys
import numpy as np
from scipy import sparse
from sklearn_unsup import AutoencoderTransformer
n, width = 10_000, 25_000
rng = np.random.default_rng(0)
X = sparse.csr_array(
    (rng.random(20 * n), rng.integers(width, size=20 * n), np.arange(n + 1) * 20),
    shape=(n, width),
)
def peak():  # MiB; kilobytes but for macOS, where it counts bytes
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
reducer = AutoencoderTransformer(
    2, hidden_layer_sizes=(8,), max_iter=1, batch_size=128, random_state=0
)
reducer.fit(X[:200]).score(X[:200])
before = peak()
reducer.fit(X).score(X)
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no resource module there")
def test_memory_of_wide_rows():
    """Some blocks of 64 MiB more than for 200 rows; one dense copy has 954 MiB."""
    done = subprocess.run(
        [sys.executable, "-c", WIDE], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 480, done.stdout


# ------------------------------------------------------------------- refused


def test_what_needs_dense_rows_is_refused(model):
    X = make_matrix()
    forest = DecisionTreeClassifier()
    for options, message in (
        ({"numeric_scaling": "quantile"}, "'quantile' needs dense rows"),
        ({"categorical_features": [0]}, "all columns of sparse rows are numbers"),
        ({"categorical_features": [True] * 15}, "all columns of sparse rows"),
        ({"density_ratio": forest}, "pass 'auto' or None"),
    ):
        with pytest.raises(ValueError, match=message):
            quick(model, **options).fit(X)
    for options in (
        {"density_ratio": None},
        {"density_ratio": "auto"},
        {"categorical_features": None},
        {"categorical_features": []},
        {"categorical_features": [False] * 15},
    ):
        fitted = quick(model, max_iter=1, **options).fit(X)
        assert fitted._sampler.ratio_ is None


def test_values_that_are_no_numbers(model):
    fitted = quick(model).fit(make_matrix())
    for value, message in ((np.nan, "sparse and contains NaN"), (np.inf, "infinity")):
        X = make_matrix()
        X.data[5] = value
        for verb in (quick(model).fit, fitted.transform, fitted.score):
            with pytest.raises(ValueError, match=message):
                verb(X)
    with pytest.raises(ValueError, match="NaN or infinity"):
        fitted.transform(np.full((2, 15), np.nan))
    with pytest.raises(ValueError, match="(?i)complex"):
        quick(model).fit(make_matrix() * 1j)


def test_shapes_are_checked(model):
    fitted = quick(model).fit(make_matrix())
    with pytest.raises(ValueError, match="14 features"):
        fitted.transform(make_matrix(width=14))
    with pytest.raises(ValueError, match="minimum of 1 is required"):
        fitted.transform(sparse.csr_array((0, 15)))
    other = quick(model, loss="binary_crossentropy", numeric_scaling=None)
    with pytest.raises(ValueError, match="needs numbers in"):
        other.fit(2 * make_matrix())


def test_no_conditions(model):
    fitted = quick(model).fit(make_matrix())
    with pytest.raises(ValueError, match="a model of sparse rows takes none"):
        fitted.sample(2, conditions={0: 1.0})
    assert fitted.sample(2, conditions={}).shape == (2, 15)


def test_games_refuse_sparse_rows():
    X = make_matrix()
    with pytest.raises(TypeError, match="Sparse data was passed"):
        GANSampler(2, max_iter=1).fit(X)
    gan = GANSampler(2, max_iter=1, random_state=0, hidden_layer_sizes=(8,))
    with pytest.raises(TypeError, match="Sparse data was passed"):
        gan.fit(X.toarray()).transform(X)
    assert not GANSampler().__sklearn_tags__().input_tags.sparse
    assert all(m().__sklearn_tags__().input_tags.sparse for m in MODELS)


# ------------------------------------------------------------------- in use


def test_text_in_a_pipeline():
    """TF-IDF, codes, a classifier; the size of the code is searched."""
    texts, kinds = make_texts()
    pipeline = make_pipeline(
        TfidfVectorizer(),
        AutoencoderTransformer(2, hidden_layer_sizes=(16,), max_iter=10),
        LogisticRegression(),
    ).set_params(autoencodertransformer__random_state=0)
    grid = {"autoencodertransformer__n_components": [1, 2]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(texts, kinds)
    assert search.best_score_ > 0.9
    names = (
        pipeline[1]
        .set_output(transform="pandas")
        .fit_transform(pipeline[0].fit_transform(texts))
    )
    assert list(names) == ["autoencodertransformer0", "autoencodertransformer1"]


@pytest.mark.parametrize(
    "model",
    [
        AutoencoderTransformer,
        pytest.param(VAETransformer, marks=pytest.mark.slow),
    ],
    ids=lambda model: model.__name__,
)
def test_rebuilt_texts_can_be_read(model):
    """A row has words again, most entries are zero, and words of its own kind."""
    texts, kinds = make_texts(200)
    words = TfidfVectorizer()
    X = words.fit_transform(texts)
    fitted = quick(model, max_iter=60, batch_size=20).fit(X)
    rebuilt = fitted.inverse_transform(fitted.transform(X))
    assert (rebuilt == 0).mean() > 0.4
    animals = np.isin(words.get_feature_names_out(), ["cat", "dog", "horse", "cow"])
    share = rebuilt[:, animals].sum(1) / rebuilt.sum(1)
    assert (share[kinds == 0] > 0.5).mean() > 0.9
    assert (share[kinds == 1] < 0.5).mean() > 0.9
    drawn = sample_pipeline(make_pipeline(words, fitted), 5, random_state=0)
    assert len(drawn) == 5
    assert set(np.concatenate(drawn)) <= set(words.get_feature_names_out())


@pytest.mark.parametrize("kind", ["dense", "sparse", "ints"])
def test_independent_bits_are_drawn_as_often_as_they_were(kind):
    """Their means alone, rounded, would be the likelier value in every row."""
    rng = np.random.default_rng(0)
    X = (rng.random((500, 40)) < np.linspace(0.05, 0.95, 40)).astype(float)
    made = {"dense": X, "sparse": sparse.csr_array(X), "ints": X.astype(int)}[kind]
    model = VAETransformer(2, max_iter=30, random_state=0).fit(made)
    drawn = model.sample(2_000, random_state=0)
    assert set(np.unique(drawn)) == {0, 1}
    assert np.abs(drawn.mean(0) - X.mean(0)).mean() < 0.03
    assert drawn.sum(1).std() == pytest.approx(X.sum(1).std(), rel=0.15)
    # What a code decodes to stays the likelier value.
    decoded = model.inverse_transform(np.zeros((3, 2)))
    assert np.ptp(decoded, axis=0).max() == 0


def test_images_are_not_drawn_bit_by_bit():
    X = (np.random.default_rng(0).random((200, 64)) < 0.5).astype(float)
    pixels = VAETransformer(2, image_shape=(8, 8), max_iter=1, random_state=0).fit(X)
    assert not pixels._latent_source().is_binary.any()
    flat = VAETransformer(2, max_iter=1, random_state=0).fit(X)
    assert flat._latent_source().is_binary.all()


def test_one_hot_rows_are_drawn_as_bits():
    X = sparse.csr_array(np.eye(4)[np.random.default_rng(0).integers(4, size=400)])
    vae = quick(VAETransformer, max_iter=60, batch_size=40).fit(X)
    drawn = vae.sample(300, random_state=0)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    assert (drawn.sum(1) == 1).mean() > 0.6


def test_streams_of_hashed_words(model):
    """Later parts may show columns that the first one left empty."""
    texts, _ = make_texts(60)
    hashing = HashingVectorizer(n_features=64, alternate_sign=False)
    first = hashing.transform([text for text in texts if "red" not in text])
    later = hashing.transform(texts)
    red = hashing.transform(["red"]).indices[0]
    fitted = quick(model).partial_fit(first)
    assert fitted.codec_.layout_.n_numeric == 64
    assert fitted.codec_.high_[red] == 0
    for _ in range(3):
        fitted.partial_fit(later)
    assert fitted.codec_.high_[red] == later.max(axis=0).toarray()[0, red] > 0
    assert fitted.transform(later).shape == (60, 3)
    assert fitted.sample(3).shape == (3, 64)
    # fitted as a whole, columns without a word are no input
    assert quick(model).fit(later).codec_.layout_.n_numeric == 8


@pytest.mark.filterwarnings("ignore:.*fitted to one row")
def test_one_row(model):
    X = make_matrix()[[0]]
    fitted = quick(model).fit(X)
    np.testing.assert_array_equal(fitted.sample(3), X.toarray().repeat(3, axis=0))
    assert np.isfinite(fitted.transform(X)).all()


# ------------------------------------------------------------------- saving


def test_saved_models_hold_no_rows(model, tmp_path):
    sizes = []
    for n in (300, 3_000):
        fitted = quick(model, latent_density="normal", max_iter=1).fit(make_matrix(n))
        data = pickle.dumps(fitted)
        assert b"scipy" not in data
        sizes.append(len(data))
    assert abs(sizes[1] - sizes[0]) < 2_000
    other = pickle.loads(data)
    X = make_matrix()
    for _ in range(2):
        np.testing.assert_array_equal(fitted.transform(X), other.transform(X))
        np.testing.assert_array_equal(fitted.sample(5), other.sample(5))
        fitted.partial_fit(X)
        other.partial_fit(X)


@pytest.mark.slow
def test_skops(model):
    io = pytest.importorskip("skops.io", reason="needs the extra test")
    X = make_matrix()
    fitted = quick(model).fit(X)
    data = io.dumps(fitted)
    found = io.get_untrusted_types(data=data)
    assert "sklearn_unsup._table.sparse.SparseCodec" in found
    assert all(
        name.split(".")[0] in ("sklearn_unsup", "skorch", "numpy") for name in found
    )
    other = io.loads(data, trusted=found)
    np.testing.assert_array_equal(other.transform(X), fitted.transform(X))
    np.testing.assert_array_equal(other.sample(5), fitted.sample(5))


# ------------------------------------------------------------------- devices


def test_each_device_fits(model, device, monkeypatch):
    """Also where the rows lie in the memory of the host."""
    X, codes = make_matrix(), []
    for fits in (True, False):
        monkeypatch.setattr(data, "fits_on", lambda *_, fits=fits: fits)
        fitted = quick(model, device=device, early_stopping=True).fit(X)
        assert fitted.device_ == device
        assert np.isfinite(fitted.score(X))
        codes.append(fitted.transform(X))
    np.testing.assert_allclose(*codes, rtol=1e-3, atol=1e-4)
