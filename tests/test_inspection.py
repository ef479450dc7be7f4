"""Displays: what is drawn is the data, in its place, under the right name."""

import subprocess
import sys
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy.stats import chi2_contingency
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    PolynomialFeatures,
    StandardScaler,
)

from sklearn_unsup import AutoencoderTransformer, GANSampler
from sklearn_unsup.datasets import make_mixed_table
from sklearn_unsup.inspection import (
    LatentSpaceDisplay,
    LoadingsDisplay,
    LossCurveDisplay,
    ReasonsDisplay,
    ReconstructionDisplay,
    TableComparisonDisplay,
    TraversalDisplay,
)
from sklearn_unsup.inspection._dependence import (
    code_column,
    cramers_v,
    dependence_difference,
)
from sklearn_unsup.inspection._panels import REAL, SYNTHETIC, elide, elide_all
from sklearn_unsup.outliers import GenerativeOutlierDetector

X, y = load_iris(return_X_y=True)
TINY = {"max_iter": 3, "batch_size": 20, "random_state": 0}


def identity(table, inverse=lambda rows: rows):
    """A fitted transformer that gives the columns back, and then `inverse` of them."""
    same = FunctionTransformer(lambda X: X, inverse, check_inverse=False)
    return same.fit(table)


def fit_tiny(cls, **settings):
    return cls(2, hidden_layer_sizes=(4,), **{**TINY, **settings}).fit(X[::4])


def points(artist):
    return np.asarray(artist.get_offsets())


def heights(artist):
    """Of the steps of a StepPatch, or of the bars of a BarContainer."""
    if hasattr(artist, "patches"):
        return np.array(artist.datavalues, dtype=float)
    return artist.get_data().values


def panels(display):
    return [ax for ax in display.axes_.flat if ax is not None]


# ---------------------------------------------------------------- all displays

COLUMNS = ["height", "joined", "region", "active"]


def draw_losses(**kwargs):
    curves = np.array([3.0, 2.0, 1.5])
    display = LossCurveDisplay(
        curves, validation_scores=-curves, score_name="score", critic_loss_curve=curves
    )
    return display.plot(**kwargs)


def reparameterize(**kwargs):
    codes = np.random.default_rng(0).normal(size=(50, 4))
    return LatentSpaceDisplay(codes, target=np.arange(50) % 3).plot(**kwargs)


def draw_images(**kwargs):
    rows = np.random.default_rng(0).random((5, 6))
    return ReconstructionDisplay(rows, rows, image_shape=(2, 3)).plot(**kwargs)


def draw_reconstructions(**kwargs):
    table, _ = make_mixed_table(60, random_state=0)
    return ReconstructionDisplay(table, table).plot(columns=COLUMNS, **kwargs)


def draw_comparison(**kwargs):
    real, _ = make_mixed_table(60, random_state=0)
    synthetic, _ = make_mixed_table(50, random_state=1)
    return TableComparisonDisplay.from_tables(
        real, synthetic, columns=COLUMNS, **kwargs
    )


def draw_loadings(**kwargs):
    loadings = np.random.default_rng(0).normal(size=(5, 3))
    index = [f"a column with the number {i}" for i in range(5)]
    loadings = pd.DataFrame(loadings, index)
    kept = pd.Series(np.linspace(-0.5, 1, 5), index)
    return LoadingsDisplay(loadings, kept).plot(**kwargs)


DRAW = [draw_losses, reparameterize, draw_images, draw_reconstructions, draw_comparison]


def draw_traversals(**kwargs):
    table, _ = make_mixed_table(5, random_state=0)
    walk = np.linspace(-1, 1, 5)
    tables, values = {"code0": table[COLUMNS]}, {"code0": walk}
    return TraversalDisplay(tables, values).plot(**kwargs)


def draw_walks(**kwargs):
    rows = np.random.default_rng(0).random((3, 6))
    tables, values = {"a": rows, "b": rows[:2]}, {"a": [0, 1, 2], "b": [0, 1]}
    return TraversalDisplay(tables, values, image_shape=(2, 3)).plot(**kwargs)


DRAW += [draw_loadings, draw_traversals]


@pytest.mark.parametrize("draw", DRAW)
def test_new_figure(pyplot, draw):
    display = draw()
    assert pyplot.get_fignums() == [display.figure_.number]
    assert display.ax_ is display.axes_.flat[0]
    assert all(ax.figure is display.figure_ for ax in panels(display))


@pytest.mark.parametrize(
    ("layout", "draw"),
    [
        (None, draw_losses),
        (None, draw_comparison),
        ("constrained", reparameterize),
        *(
            pytest.param(layout, draw, marks=pytest.mark.slow)
            for layout in ("constrained", None)
            for draw in DRAW
        ),
    ],
)
def test_given_ax_is_used(pyplot, draw, layout):
    figure, (left, right) = pyplot.subplots(1, 2, layout=layout, figsize=(20, 12))
    display = draw(ax=right)
    assert display.figure_ is figure
    assert len(pyplot.get_fignums()) == 1
    figure.draw_without_rendering()
    middle = left.get_position().x1
    assert all(ax.get_position().x0 > middle for ax in panels(display))
    assert not left.has_data()
    assert right in panels(display) or not right.axison


def test_given_ax_without_a_grid(pyplot):
    ax = pyplot.figure().add_axes((0.6, 0.1, 0.3, 0.8))
    display = reparameterize(ax=ax)
    boxes = [panel.get_position() for panel in panels(display)]
    assert min(box.x0 for box in boxes) == pytest.approx(0.6)
    assert max(box.y1 for box in boxes) == pytest.approx(0.9)


@pytest.mark.parametrize("draw", DRAW)
def test_no_panel_is_empty_and_none_covers_another(pyplot, draw):
    display = draw()
    display.figure_.draw_without_rendering()
    shown = panels(display)
    assert all(ax.has_data() for ax in shown)
    boxes = [ax.get_tightbbox() for ax in shown]
    for one, other in combinations(boxes, 2):
        width = min(one.x1, other.x1) - max(one.x0, other.x0)
        height = min(one.y1, other.y1) - max(one.y0, other.y0)
        assert min(width, height) < 1  # pixel


@pytest.mark.parametrize(
    "draw",
    [draw_images, draw_reconstructions, draw_comparison, draw_loadings, draw_walks],
)
def test_no_grid_across_cells(pyplot, draw):
    with pyplot.rc_context({"axes.grid": True}):
        axes = draw().figure_.axes
    with_images = [ax for ax in axes if ax.images]
    assert with_images
    for ax in with_images:
        lines = [*ax.get_xgridlines(), *ax.get_ygridlines()]
        assert not any(line.get_visible() for line in lines)


@pytest.mark.parametrize("draw", DRAW)
def test_ax_must_be_one_axes(pyplot, draw):
    with pytest.raises(TypeError, match="ax must be one matplotlib Axes.*ndarray"):
        draw(ax=pyplot.subplots(1, 2)[1])


@pytest.mark.slow
def test_matplotlib_is_imported_when_drawing():
    code = (
        "import sys, sklearn_unsup.inspection;"
        "sys.exit(any(name.startswith('matplotlib') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "draw",
    [
        *DRAW,
        lambda: LossCurveDisplay.from_estimator(None),
        lambda: LatentSpaceDisplay.from_estimator(None, X),
        lambda: ReconstructionDisplay.from_estimator(None, X),
    ],
)
def test_without_matplotlib(monkeypatch, draw):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"Display\..* needs matplotlib: pip install"):
        draw()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: LossCurveDisplay.from_estimator(GANSampler()), NotFittedError, "GAN"),
        (
            lambda: LossCurveDisplay.from_estimator(PCA().fit(X)),
            ValueError,
            r"PCA has no loss_curve_. Pass a fitted .* its step",
        ),
        (lambda: LatentSpaceDisplay.from_estimator(PCA(), X), NotFittedError, "PCA"),
        (
            lambda: LatentSpaceDisplay.from_estimator(MLPClassifier(), X),
            TypeError,
            "must have transform, and MLPClassifier has not",
        ),
        (
            lambda: LatentSpaceDisplay.from_estimator(PCA().fit(X), X, y[:-1]),
            ValueError,
            "inconsistent numbers of samples",
        ),
        (
            lambda: LatentSpaceDisplay.from_estimator(PCA().fit(X), X, X),
            ValueError,
            r"y must be one column, got the shape \(150, 4\)",
        ),
        (
            lambda: LatentSpaceDisplay(X).plot(n_components=0),
            ValueError,
            "n_components must be an int of at least 1, got 0",
        ),
        (
            lambda: LatentSpaceDisplay.from_estimator(
                PCA().fit(pd.DataFrame(X, columns=list("abcd"))),
                pd.DataFrame(X, columns=list("abce")),
            ),
            ValueError,
            "feature names should match",
        ),
        (lambda: ReconstructionDisplay.from_estimator(PCA(), X), NotFittedError, "PCA"),
        (
            lambda: ReconstructionDisplay.from_estimator(
                make_pipeline(PolynomialFeatures()), X
            ),
            TypeError,
            "must have transform and inverse_transform, and Pipeline has no inverse",
        ),
        (
            lambda: ReconstructionDisplay.from_estimator(
                PCA().fit(X), X, image_shape=(2, 3)
            ),
            ValueError,
            r"image_shape=\(2, 3\) makes 6 pixels of a row, but X has 4 numeric ",
        ),
        (
            lambda: ReconstructionDisplay(X, X, image_shape=(2, 3)).plot(),
            ValueError,
            "makes 6 pixels",
        ),
        (
            lambda: ReconstructionDisplay.from_estimator(
                identity(FRAME), FRAME, image_shape=(1, 2)
            ),
            ValueError,
            r"makes 2 pixels of a row, but X has 1 numeric columns beside 'b' \(",
        ),
        (
            lambda: ReconstructionDisplay(FRAME, FRAME, image_shape=(1, 2)).plot(),
            ValueError,
            "X has 1 numeric columns beside 'b'",
        ),
        (
            lambda: LatentSpaceDisplay.from_estimator(identity(FRAME), FRAME, "b"),
            TypeError,
            r"""got the string 'b': to colour by a column pass X\["b"\]""",
        ),
        (
            lambda: ReconstructionDisplay(X, X, image_shape=(4,)).plot(),
            ValueError,
            r"image_shape must be \(height, width\), or",
        ),
        (
            lambda: ReconstructionDisplay(X, X, image_shape=(2, 1, 2)).plot(),
            ValueError,
            "3 or 4 channels",
        ),
        (
            lambda: ReconstructionDisplay(X, X).plot(columns=[7]),
            ValueError,
            r"columns must be some of \[0, 1, 2, 3\], got \[7\]",
        ),
        (
            lambda: ReconstructionDisplay(X, X).plot(n_images=0),
            ValueError,
            "n_images must be an int of at least 1",
        ),
    ],
)
@pytest.mark.usefixtures("pyplot")
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


FRAME = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": list("xyx")})


@pytest.mark.parametrize(
    ("real", "synthetic", "settings", "message"),
    [
        (
            FRAME,
            FRAME[["a"]],
            {},
            r"same columns; missing in synthetic: \['b'\]\.$",
        ),
        (
            FRAME[["a"]],
            FRAME,
            {},
            r"same columns; only in synthetic: \['b'\]\.$",
        ),
        (
            FRAME,
            FRAME.rename(columns={"b": "c"}),
            {},
            r"missing in synthetic: \['b'\], only in synthetic: \['c'\]",
        ),
        (FRAME, PCA(), {}, r"got PCA: pass rows, such as estimator.sample\(1000\)"),
        (FRAME, FRAME, {"columns": "c"}, r"some of \['a', 'b'\], got \['c'\]"),
        (X, X[:, :3], {}, r"missing in synthetic: \[3\]"),
        (
            FRAME,
            FRAME[:0],
            {},
            r"synthetic must have rows and columns, its shape is \(0, 2\)",
        ),
        (FRAME, FRAME.assign(a="1"), {}, "Column 'a' holds values of dtype float64 in"),
        (FRAME[["a", "a"]], FRAME[["a"]], {}, "real has several 'a'"),
        (FRAME, FRAME, {"columns": ["c"]}, r"some of \['a', 'b'\], got \['c'\]"),
        (FRAME, FRAME, {"columns": []}, "columns must be some of"),
        (FRAME, FRAME, {"kind": "pairs"}, "kind must be one of .* got 'pairs'"),
        (FRAME, FRAME, {"n_bins": 0}, "n_bins must be an int of at least 1, got 0"),
        (FRAME, FRAME, {"max_levels": 1}, "max_levels must be an int of at least 2"),
        (FRAME, FRAME, {"n_cols": 2.0}, "n_cols must be an int of at least 1, got 2.0"),
        (X[:, 0], X, {}, "real must be .* of two dimensions, got one of 1"),
        (
            FRAME[["a"]],
            FRAME[["a"]],
            {"kind": "dependence"},
            'kind="dependence" needs at least two columns',
        ),
    ],
)
@pytest.mark.usefixtures("pyplot")
def test_errors_of_tables(real, synthetic, settings, message):
    with pytest.raises(ValueError, match=message):
        TableComparisonDisplay.from_tables(real, synthetic, **settings)


# ------------------------------------------------------------------ loss curves


def test_losses_of_an_autoencoder(pyplot):
    model = fit_tiny(AutoencoderTransformer, early_stopping=True)
    display = LossCurveDisplay.from_estimator(model)
    lines = display.lines_
    assert list(lines) == ["training", "validation"]
    for line in lines.values():
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
    np.testing.assert_array_equal(lines["training"].get_ydata(), model.loss_curve_)
    np.testing.assert_array_equal(
        -lines["validation"].get_ydata(), model.validation_scores_
    )
    assert display.ax_.get_xlabel() == "epoch"
    assert display.ax_.get_ylabel() == "loss (nats per row)"
    best = np.argmax(model.validation_scores_) + 1
    assert display.best_line_.get_xdata()[0] == best
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["training", "validation", f"best epoch: {best}"]


def test_a_single_curve_needs_no_legend(pyplot):
    display = LossCurveDisplay.from_estimator(fit_tiny(AutoencoderTransformer))
    assert list(display.lines_) == ["training"]
    assert display.best_line_ is None
    assert display.ax_.get_legend() is None


def test_one_epoch_is_visible(pyplot):
    display = LossCurveDisplay([1.5]).plot()
    assert display.lines_["training"].get_marker() == "o"


def test_epochs_without_validation(pyplot):
    model = fit_tiny(AutoencoderTransformer, early_stopping=True, warm_start=True)
    scores = model.validation_scores_
    model.partial_fit(X[::4])
    display = LossCurveDisplay.from_estimator(model)
    np.testing.assert_array_equal(display.validation_scores, [*scores, np.nan])

    first = AutoencoderTransformer(2, early_stopping=True, warm_start=True, **TINY)
    first.partial_fit(X[::4]).fit(X[::4])
    display = LossCurveDisplay.from_estimator(first)
    assert np.isnan(display.validation_scores).tolist() == [True, False, False, False]
    assert display.best_line_.get_xdata()[0] > 1


@pytest.mark.parametrize(
    ("loss", "unit", "equilibrium"),
    [
        ("relativistic", "nats per row", np.log(2)),
        ("minimax", "nats per row", None),
        ("wasserstein", "units of the encoded table", None),
    ],
)
def test_losses_of_a_gan(pyplot, loss, unit, equilibrium):
    model = fit_tiny(
        GANSampler, loss=loss, early_stopping=True, critic_hidden_layer_sizes=(4,)
    )
    display = LossCurveDisplay.from_estimator(model)
    lines = {name: line.get_ydata() for name, line in display.lines_.items()}
    assert list(lines) == ["generator", "critic", "validation"]
    np.testing.assert_array_equal(lines["generator"], model.loss_curve_)
    np.testing.assert_array_equal(lines["critic"], model.critic_loss_curve_)
    np.testing.assert_array_equal(lines["validation"], model.validation_scores_)
    above, below = display.axes_[:, 0]
    assert display.lines_["critic"].axes is above
    assert display.lines_["validation"].axes is below
    assert above.get_ylabel() == f"loss ({unit})"
    assert "energy distance" in below.get_ylabel()
    assert (above.get_xlabel(), below.get_xlabel()) == ("", "epoch")
    assert display.equilibrium == equilibrium
    drawn = [line.get_ydata()[0] for line in above.lines if len(line.get_xdata()) == 2]
    assert drawn == ([] if equilibrium is None else [equilibrium])


def test_losses_from_elsewhere(pyplot):
    model = MLPClassifier((3,), max_iter=5, n_iter_no_change=1, early_stopping=True)
    model.set_params(tol=10, random_state=0).fit(X, y)
    display = LossCurveDisplay.from_estimator(model)
    assert display.axes_[0, 0].get_ylabel() == "loss"
    assert display.axes_[1, 0].get_ylabel() == "validation score"
    drawn = display.lines_["validation"].get_ydata()
    np.testing.assert_array_equal(drawn, model.validation_scores_)


def test_line_kwargs(pyplot):
    display = LossCurveDisplay([2, 1], critic_loss_curve=[1, 2])
    display.plot(line_kwargs={"lw": 5, "ls": ":", "c": "red"})
    for line in display.lines_.values():
        assert line.get_linewidth() == 5
        assert line.get_linestyle() == ":"
        assert line.get_color() == "red"


# ----------------------------------------------------------------- latent space


def test_two_components(pyplot):
    pca = PCA(2).fit(X)
    display = LatentSpaceDisplay.from_estimator(pca, X, y)
    [artist] = display.artists_
    np.testing.assert_allclose(points(artist), pca.transform(X))
    assert display.axes_.shape == (1, 1)
    assert display.ax_.get_xlabel() == "component 0 (92.5% of variance)"
    assert display.ax_.get_ylabel() == "component 1 (5.3% of variance)"


def test_pairs_of_components(pyplot):
    codes = np.random.default_rng(0).normal(size=(30, 6))
    display = LatentSpaceDisplay(codes).plot(n_components=4)
    assert display.axes_.shape == (3, 3)
    drawn = iter(display.artists_)
    for i, j in np.ndindex(3, 3):
        panel = display.axes_[i, j]
        if j > i:
            assert panel is None
            continue
        artist = next(drawn)
        assert artist.axes is panel
        np.testing.assert_array_equal(points(artist), codes[:, [j, i + 1]])
        assert panel.get_xlabel() == (f"component {j}" if i == 2 else "")
        assert panel.get_ylabel() == (f"component {i + 1}" if j == 0 else "")
    assert next(drawn, None) is None
    first, second, last = display.axes_[1, 0], display.axes_[2, 0], display.axes_[2, 1]
    assert first.get_shared_x_axes().joined(first, second)
    assert last.get_shared_y_axes().joined(last, second)


def test_explained_variance_of_ordered_components(pyplot):
    model = fit_tiny(AutoencoderTransformer, ordered=True)
    display = LatentSpaceDisplay.from_estimator(make_pipeline(model), X)
    ratios = model.explained_variance_ratio_
    assert display.ax_.get_xlabel() == f"component 0 ({ratios[0]:.1%} of variance)"
    # of something else than the codes
    model = identity(X)
    model.explained_variance_ratio_ = [1.0]
    display = LatentSpaceDisplay.from_estimator(model, X)
    assert "variance" not in display.axes_[2, 0].get_xlabel()
    unordered = fit_tiny(AutoencoderTransformer)
    display = LatentSpaceDisplay.from_estimator(unordered, X)
    assert display.ax_.get_xlabel() == "component 0"


def test_levels_get_a_legend(pyplot):
    target = pd.Series(list("bca") * 20, name="kind", dtype="category")
    target = target.cat.set_categories(["c", "unused", "a", "b"])
    target[5] = None
    display = LatentSpaceDisplay.from_estimator(identity(X[:60]), X[:60, :2], target)
    labels = [text.get_text() for text in display.legend_.get_texts()]
    assert labels == ["c", "a", "b", "missing"]
    assert display.legend_.get_title().get_text() == "kind"
    assert display.colorbar_ is None
    from matplotlib.colors import to_rgba

    handles = display.legend_.legend_handles
    shown = {
        label: to_rgba(handle.get_color())
        for label, handle in zip(labels, handles, strict=True)
    }
    assert len(set(shown.values())) == 4
    drawn = display.artists_[0].get_facecolors()[:, :3]
    expected = [shown["missing" if pd.isna(v) else v][:3] for v in target]
    np.testing.assert_allclose(drawn, expected)


def test_many_levels(pyplot):
    target = np.repeat([f"level {i}" for i in range(12)], np.arange(1, 13))
    codes = np.random.default_rng(0).normal(size=(len(target), 2))
    display = LatentSpaceDisplay(codes, target=target).plot()
    labels = [text.get_text() for text in display.legend_.get_texts()]
    assert set(labels[:-1]) == {f"level {i}" for i in range(4, 12)}
    assert labels[-1] == "other (4 levels)"


@pytest.mark.parametrize(
    ("target", "has_levels"),
    [
        (np.arange(60) % 10, True),
        (np.arange(60) % 11, False),
        (np.arange(60) % 2 == 0, True),
        (np.arange(60) / 7, False),
        (np.r_[np.nan, np.arange(59) % 3], True),
        (pd.Series(np.arange(60), dtype="Int64").mask(np.arange(60) < 3), False),
        (pd.Series(np.arange(60)).astype(str), True),
        (pd.date_range("2021-01-01", periods=60), False),
        (pd.date_range("2021-01-01", periods=60, tz="Asia/Tokyo"), False),
        (np.array([["a"], ["b"]] * 30), True),
        (list("ab") * 30, True),
    ],
)
def test_kind_of_target(pyplot, target, has_levels):
    codes = np.random.default_rng(0).normal(size=(60, 2))
    display = LatentSpaceDisplay.from_estimator(identity(codes), codes, target)
    assert (display.legend_ is not None) == has_levels
    assert (display.colorbar_ is None) == has_levels
    display.figure_.draw_without_rendering()
    assert len(points(display.artists_[0])) == 60


def test_numbers_get_a_colour_bar(pyplot):
    target = pd.Series(np.linspace(0, 1, 60), name="rate").mask(np.arange(60) == 3)
    display = LatentSpaceDisplay(X[:60, :2], target=target, target_name="rate").plot()
    drawn = display.artists_[0].get_array()
    np.testing.assert_array_equal(np.ma.getdata(drawn), target)
    assert display.colorbar_.ax.get_ylabel() == "rate"
    display.figure_.draw_without_rendering()
    # the row without a target is there, in grey
    red, green, blue, alpha = display.artists_[0].get_facecolors()[3]
    assert red == green == blue < 1
    assert alpha > 0


def test_dates_on_the_colour_bar(pyplot):
    dates = pd.date_range("2020-01-01", "2020-12-31", periods=60)
    display = LatentSpaceDisplay(X[:60, :2], target=dates).plot()
    display.figure_.draw_without_rendering()
    labels = [label.get_text() for label in display.colorbar_.ax.get_yticklabels()]
    assert labels == ["2020-01", "2020-05", "2020-09"]
    drawn = display.artists_[0].get_array()
    assert drawn[0] == (pd.Timestamp("2020-01-01") - pd.Timestamp(0)).days


def test_one_component(pyplot):
    codes = X[:, :1]
    display = LatentSpaceDisplay(codes, target=y).plot()
    assert len(display.artists_) == 3
    total = np.sum([heights(artist) for artist in display.artists_], axis=0)
    edges = display.artists_[0].get_data().edges
    np.testing.assert_allclose(total, np.histogram(codes, edges)[0] / 150)
    assert display.ax_.get_ylabel() == "share of rows"
    [artist] = LatentSpaceDisplay(codes).plot().artists_
    assert heights(artist).sum() == pytest.approx(1)

    display = LatentSpaceDisplay(codes, target=X[:, 1], target_name="width").plot()
    np.testing.assert_array_equal(points(display.artists_[0]), X[:, :2])
    assert display.ax_.get_ylabel() == "width"


@pytest.mark.parametrize("container", ["array", "frame"])
def test_subsample(pyplot, container):
    rows = X[:, :2]  # one panel
    if container == "frame":
        rows = pd.DataFrame(rows, index=range(9, 159))
    target = rows[:, 0] if container == "array" else rows[0]

    def drawn(random_state, subsample=40):
        display = LatentSpaceDisplay.from_estimator(
            identity(rows), rows, target, subsample=subsample, random_state=random_state
        )
        # rows and their targets go together
        np.testing.assert_array_equal(display.codes[:, 0], display.target)
        return display.codes

    assert drawn(0).shape == (40, 2)
    np.testing.assert_array_equal(drawn(0), drawn(0))
    assert not np.array_equal(drawn(0), drawn(1))
    assert drawn(0, subsample=None).shape == (150, 2)
    np.testing.assert_array_equal(drawn(0, subsample=150), X[:, :2])


def test_any_transformer(pyplot):
    texts = ["one two", "two three", "three one one"] * 5
    sparse = TfidfVectorizer().fit(texts)
    display = LatentSpaceDisplay.from_estimator(sparse, texts, texts)
    np.testing.assert_array_equal(display.codes, sparse.transform(texts).toarray())
    model = make_pipeline(sparse, TruncatedSVD(2)).fit(texts)
    assert "% of variance" in (
        LatentSpaceDisplay.from_estimator(model, texts).ax_.get_xlabel()
    )
    frames = StandardScaler().set_output(transform="pandas").fit(X)
    display = LatentSpaceDisplay.from_estimator(frames, X)
    np.testing.assert_allclose(display.codes, frames.transform(X))


def test_scatter_kwargs(pyplot):
    display = LatentSpaceDisplay(X[:, :2], target=X[:, 3])
    artist = display.plot(scatter_kwargs={"s": 7, "color": "red"}).artists_[0]
    assert artist.get_sizes().tolist() == [7]
    assert artist.get_facecolors()[0, :3].tolist() == [1, 0, 0]
    assert display.colorbar_ is None


# -------------------------------------------------------------- reconstructions


def test_images(pyplot):
    rows = np.random.default_rng(0).uniform(2, 5, (12, 6))
    model = identity(rows, lambda rows: rows / 2)
    display = ReconstructionDisplay.from_estimator(model, rows, image_shape=(2, 3))
    assert display.images_.shape == display.axes_.shape == (2, 10)
    for j in range(10):
        before, after = (image.get_array() for image in display.images_[:, j])
        np.testing.assert_array_equal(before, rows[j].reshape(2, 3))
        np.testing.assert_array_equal(after, rows[j].reshape(2, 3) / 2)
        # one scale, that of the originals: the lower row is darker
        for image in display.images_[:, j]:
            assert image.get_clim() == (rows[:10].min(), rows[:10].max())
            assert image.axes.get_xticks().size == 0
    assert display.axes_[0, 0].get_ylabel() == "before"
    assert display.axes_[1, 0].get_ylabel() == "after"
    display = ReconstructionDisplay.from_estimator(
        model, pd.DataFrame(rows), image_shape=(3, 2), n_images=3
    )
    assert display.images_.shape == (2, 3)


@pytest.mark.parametrize("scale", [1, 255])
def test_colour_images(pyplot, scale):
    rows = np.random.default_rng(0).random((2, 12))
    rows[0, :2] = [0, 1]
    display = ReconstructionDisplay(
        scale * rows, scale * (rows - 0.2), image_shape=(2, 2, 3)
    ).plot()
    before, after = (image.get_array() for image in display.images_[:, 0])
    np.testing.assert_allclose(before, rows[0].reshape(2, 2, 3))
    np.testing.assert_allclose(after, (rows[0].reshape(2, 2, 3) - 0.2).clip(0))


def test_reconstruction_of_numbers(pyplot):
    table = pd.DataFrame(
        {"a": X[:, 0], "day": pd.date_range("2020-01-01", periods=150)}
    )
    after = table.assign(a=X[:, 0] / 2 + X[:, 1])
    table.loc[4, "a"] = np.nan
    display = ReconstructionDisplay(table, after).plot()
    pairs = np.delete(np.stack([X[:, 0], X[:, 0] / 2 + X[:, 1]], axis=1), 4, axis=0)
    np.testing.assert_array_equal(points(display.panels_["a"]), pairs)
    panel = display.ax_
    assert panel.get_title() == f"a: r = {np.corrcoef(pairs.T)[0, 1]:.2f}"
    assert panel.get_xlabel() == "before (0.7% missing)"
    assert panel.get_ylabel() == "after"
    assert panel.get_xlim() == panel.get_ylim()
    assert tuple(panel.lines[0].get_xydata().ravel()) == tuple(
        np.repeat(panel.get_xlim(), 2)
    )
    days = points(display.panels_["day"])
    np.testing.assert_array_equal(days[:, 0], 18262 + np.arange(150))


def test_reconstruction_of_categories(pyplot):
    before = pd.Series(["a"] * 6 + ["b"] * 3 + [None])
    after = pd.Series(["a"] * 4 + ["b"] * 2 + ["b"] * 3 + ["a"])
    display = ReconstructionDisplay(before.to_frame("k"), after.to_frame("k")).plot()
    image = display.panels_["k"].get_array()
    np.testing.assert_allclose(image, [[4 / 6, 0, 1], [2 / 6, 1, 0], [0, 0, 0]])
    assert display.ax_.get_title() == "k: 70% kept"
    for labels in (display.ax_.get_xticklabels(), display.ax_.get_yticklabels()):
        assert [label.get_text() for label in labels] == ["a", "b", "missing"]


@pytest.mark.parametrize("index", [[4, 1, 7, 0], list("aabb")])
@pytest.mark.parametrize("keeps_index", [False, True])
def test_rows_of_reconstructions_go_by_position(pyplot, index, keeps_index):
    before = pd.DataFrame(
        {"k": ["a", "b", None, "a"], "x": [1.0, 2.0, 3.0, np.nan]}, index
    )
    inverse = None if keeps_index else lambda rows: rows.reset_index(drop=True)
    display = ReconstructionDisplay.from_estimator(identity(before, inverse), before)
    assert display.ax_.get_title() == "k: 100% kept"
    assert display.axes_[0, 1].get_title() == "x: r = 1.00"


def test_a_single_column_by_its_name(pyplot):
    display = ReconstructionDisplay(FRAME, FRAME).plot(columns="b")
    assert list(display.panels_) == ["b"]
    display = TableComparisonDisplay.from_tables(FRAME, FRAME, columns="b")
    assert list(display.shares) == ["b"]


def test_reconstruction_of_many_levels(pyplot):
    levels = np.repeat([f"level {i:02}" for i in range(20)], np.arange(20, 0, -1))
    table = pd.DataFrame({"k": levels})
    display = ReconstructionDisplay(table, table).plot()
    np.testing.assert_array_equal(display.panels_["k"].get_array(), np.eye(8))
    labels = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert labels == [*(f"level {i:02}" for i in range(7)), "other"]


def test_what_is_missing_everywhere_is_drawn(pyplot):
    table = pd.DataFrame({"a": [np.nan] * 3, "b": [1.0, 2.0, 3.0]})
    display = ReconstructionDisplay(table, table.assign(b=None)).plot()
    assert display.ax_.get_title() == "a: 100% kept"
    assert display.axes_[0, 1].get_title() == "b: 0% kept"


def test_columns_of_reconstructions(pyplot):
    rows = np.random.default_rng(0).random((10, 30))
    display = ReconstructionDisplay(rows, rows).plot()
    assert list(display.panels_) == list(range(20))
    assert display.figure_.get_suptitle() == "first 20 of 30 columns"
    display = ReconstructionDisplay(rows, rows).plot(columns=[29, 2])
    assert list(display.panels_) == [29, 2]
    assert display.figure_.get_suptitle() == ""


def test_names_come_from_the_original(pyplot):
    """A model that returns arrays: columns keep their names."""
    frame = pd.DataFrame(X, columns=["$a$", "b", "c", "_d"])
    display = ReconstructionDisplay.from_estimator(PCA().fit(frame), frame)
    assert list(display.panels_) == ["$a$", "b", "c", "_d"]
    assert display.ax_.get_title() == "$a$: r = 1.00"
    assert not display.ax_.title.get_parse_math()


# ------------------------------------------------------------------- two tables


def compare(real, synthetic, **settings):
    if not isinstance(real, pd.DataFrame):
        real, synthetic = ({"c": pd.Series(part)} for part in (real, synthetic))
    return TableComparisonDisplay.from_tables(
        pd.DataFrame(real), pd.DataFrame(synthetic), **settings
    )


def test_what_is_drawn_are_the_shares(pyplot, mixed_table):
    synthetic = mixed_table[::2].iloc[::-1]
    display = TableComparisonDisplay.from_tables(mixed_table, synthetic)
    assert list(display.shares) == list(mixed_table.columns)
    for name, shares in display.shares.items():
        np.testing.assert_allclose(shares.sum(), 1)
        holes = [table[name].isna().mean() for table in (mixed_table, synthetic)]
        np.testing.assert_allclose(shares.iloc[-1], holes)
        drawn = [
            heights(artists[name])
            for artists in (display.real_artists_, display.synthetic_artists_)
        ]
        if isinstance(shares.index, pd.IntervalIndex):
            if name in display.missing_artists_:
                bars = display.missing_artists_[name]
                drawn = [
                    np.append(d, h) for d, h in zip(drawn, bars.datavalues, strict=True)
                ]
        drawn = np.stack(drawn, axis=1)
        np.testing.assert_allclose(drawn, shares.to_numpy()[: len(drawn)])
        np.testing.assert_allclose(drawn.sum(axis=0), 1)
    has_holes = {"income", "children", "joined"}
    assert set(display.missing_artists_) == has_holes


def test_shares_of_numbers(pyplot):
    rng = np.random.default_rng(0)
    real, synthetic = rng.random(500), 0.5 * rng.random(300)
    shares = compare(real, synthetic, n_bins=10).shares["c"]
    assert len(shares) == 11
    for part, values in (("real", real), ("synthetic", synthetic)):
        for interval, share in shares[part][:-1].items():
            inside = (values >= interval.left) & (values < interval.right)
            assert share == pytest.approx(inside.mean(), abs=1 / len(values))


@pytest.mark.parametrize(
    ("values", "unit"),
    [(np.arange(12), 1), (np.arange(12) / 8, 0.125), (10 * np.arange(9), 10)],
)
def test_values_on_a_grid_have_a_bin_each(pyplot, values, unit):
    real = np.repeat(values, np.arange(1, len(values) + 1))
    shares = compare(real, values).shares["c"][:-1]
    np.testing.assert_allclose(shares.index.mid, values)
    np.testing.assert_allclose(shares.index.length, unit)
    np.testing.assert_allclose(shares["synthetic"], 1 / len(values))
    expected = pd.Series(real).value_counts(normalize=True, sort=False)
    np.testing.assert_allclose(shares["real"], expected)


def test_bins_of_whole_numbers_hold_as_many_each(pyplot):
    """Else the histogram of 0 to 99 in 30 bins looks like a comb."""
    shares = compare(np.arange(100), np.arange(100)).shares["c"][:-1]
    assert len(shares) <= 30
    assert shares["real"][:-1].nunique() == 1


def test_extremes_do_not_press_the_others_together(pyplot):
    real = np.random.default_rng(0).normal(size=1000)
    synthetic = np.r_[real[:-30], np.full(20, 1e9), np.full(10, -np.inf)]
    display = compare(real, synthetic)
    shares = display.shares["c"]
    assert shares.index.right[:-1].max() < 10
    np.testing.assert_allclose(display.beyond.loc["c"], [0, 0.03])
    np.testing.assert_allclose(shares.sum(), 1)
    assert shares["synthetic"].iloc[0] >= 0.01
    assert shares["synthetic"].iloc[-2] >= 0.02
    assert display.ax_.get_xlabel() == "3.0% beyond, in the end bins"


def test_constant_numbers(pyplot):
    shares = compare([3.0] * 5, [3.0] * 4).shares["c"]
    assert shares["real"].tolist() == [1, 0]
    shares = compare([3.0] * 5, [3.0, 3, 3, 4]).shares["c"]
    np.testing.assert_allclose(shares.sum(), 1)


@pytest.mark.parametrize("zone", [None, "Asia/Tokyo"])
def test_shares_of_dates(pyplot, zone):
    real = pd.Series(pd.date_range("2020-01-01", periods=10, tz=zone).repeat(3))
    synthetic = real[:6].copy()
    synthetic[0] = pd.NaT
    display = compare(real, synthetic)
    shares = display.shares["c"]
    starts = pd.date_range("2020-01-01", periods=10, tz=zone)
    starts = starts if zone is None else starts.tz_convert("UTC").tz_localize(None)
    assert (shares.index[:-1].left == starts).all()
    np.testing.assert_allclose(shares["real"], [0.1] * 10 + [0])
    np.testing.assert_allclose(shares["synthetic"][:2], [2 / 6, 3 / 6])
    assert display.missing_artists_["c"].datavalues[1] == pytest.approx(1 / 6)
    display.figure_.draw_without_rendering()
    labels = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert "01-05" in labels


def test_shares_of_levels(pyplot):
    real = ["b"] * 5 + ["a"] * 3 + [None] * 2
    synthetic = pd.Series(list("aabc"), dtype="category")
    display = compare(real, synthetic)
    shares = display.shares["c"]
    assert shares.index.tolist()[:-1] == ["b", "a", "c"]
    np.testing.assert_allclose(shares["real"], [0.5, 0.3, 0, 0.2])
    np.testing.assert_allclose(shares["synthetic"], [0.25, 0.5, 0.25, 0])
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels == ["b", "a", "c", "missing"]
    assert display.ax_.get_xlabel() == "share of rows"
    top, bottom = display.ax_.get_ylim()[::-1]
    assert top < bottom  # the most frequent level is above


def test_no_bar_for_nothing_missing(pyplot):
    display = compare(list("aab"), list("abb"))
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels == ["a", "b"]


def test_levels_that_are_booleans(pyplot):
    shares = compare([True, True, False], [True, False, False]).shares["c"]
    assert shares.index.tolist()[:2] == [True, False]
    np.testing.assert_allclose(shares["real"], [2 / 3, 1 / 3, 0])


def test_many_levels_of_tables(pyplot):
    real = np.repeat([f"level {i}" for i in range(20)], np.arange(1, 21))
    synthetic = np.r_[real, ["new"] * 210]
    display = compare(real, synthetic, max_levels=4)
    shares = display.shares["c"]
    assert shares.index.tolist()[:-1] == [
        "level 19",
        "level 18",
        "new",
        "other (18 levels)",
    ]
    np.testing.assert_allclose(shares.sum(), 1)
    np.testing.assert_allclose(shares["real"][:2], [20 / 210, 19 / 210])


def test_rows_and_columns_in_any_order(pyplot, mixed_table):
    other = mixed_table.sample(frac=1, random_state=0)[mixed_table.columns[::-1]]
    display = TableComparisonDisplay.from_tables(mixed_table, other)
    assert list(display.shares) == list(mixed_table.columns)
    for shares in display.shares.values():
        np.testing.assert_allclose(shares["real"], shares["synthetic"])
    np.testing.assert_allclose(display.difference, 0, atol=1e-12)


def test_columns_that_differ_most(pyplot):
    rng = np.random.default_rng(0)
    real, synthetic = rng.normal(size=(2, 200, 25))
    synthetic[:, [3, 24]] += 2
    display = TableComparisonDisplay.from_tables(real, synthetic)
    assert len(display.shares) == len(display.difference) == 20
    assert {3, 24} <= set(display.shares)
    assert list(display.shares) == sorted(display.shares)
    title = display.figure_.get_suptitle()
    assert title == "the 20 of 25 columns that differ most"
    display = TableComparisonDisplay.from_tables(real, synthetic, columns=[24, 1])
    assert list(display.shares) == [24, 1]
    assert display.figure_.get_suptitle() == ""


def test_always_the_same_two_colours(pyplot):
    from matplotlib.colors import to_rgba

    display = draw_comparison()
    colors = {"real": to_rgba(REAL), "synthetic": to_rgba(SYNTHETIC)}
    for name, shares in display.shares.items():
        real, synthetic = display.real_artists_[name], display.synthetic_artists_[name]
        if isinstance(shares.index, pd.IntervalIndex):
            drawn = real.get_facecolor(), synthetic.get_edgecolor()
        else:
            drawn = tuple(bars[0].get_facecolor() for bars in (real, synthetic))
        assert drawn == tuple(colors.values())
    labels = [text.get_text() for text in display.legend_.get_texts()]
    assert labels == list(colors)
    shown = [handle.get_facecolor() for handle in display.legend_.legend_handles]
    assert shown == list(colors.values())


@pytest.mark.parametrize(
    ("kind", "n_panels", "has_map"),
    [("all", 4, True), ("columns", 4, False), ("dependence", 1, True)],
)
def test_kind(pyplot, kind, n_panels, has_map):
    display = draw_comparison(kind=kind)
    assert len(panels(display)) == n_panels
    assert (display.image_ is not None) == has_map
    assert len(display.real_artists_) == (4 if n_panels > 1 else 0)


def test_one_column_has_no_pairs(pyplot):
    display = compare([1.0, 2.5], [1.0, 2.0])
    assert display.difference is None
    assert display.image_ is None


def test_heat_map(pyplot):
    display = draw_comparison()
    drawn = display.image_.get_array()
    names = list(display.difference.columns)
    for i, j in np.ndindex(drawn.shape):
        if j > i:
            assert np.ma.getmaskarray(drawn)[i, j]
        else:
            assert drawn[i, j] == display.difference.loc[names[i + 1], names[j]]
    ax = display.dependence_ax_
    assert [label.get_text() for label in ax.get_yticklabels()] == names[1:]
    assert [label.get_text() for label in ax.get_xticklabels()] == names[:-1]
    low, high = display.image_.get_clim()
    assert -low == high >= 0.2


# ------------------------------------------------------------------- dependence


def test_cramers_v_by_scipy():
    rng = np.random.default_rng(0)
    first = rng.integers(0, 4, 300)
    second = np.where(rng.random(300) < 0.5, first % 3, rng.integers(0, 3, 300))
    table = pd.crosstab(first, second)
    phi2 = chi2_contingency(table, correction=False).statistic / 300 - 3 * 2 / 299
    sides = 4 - 9 / 299, 3 - 4 / 299
    expected = np.sqrt(phi2 / (min(sides) - 1))
    assert cramers_v(first, second) == pytest.approx(expected)
    assert cramers_v(second, first) == pytest.approx(expected)


def test_cramers_v_at_its_ends():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 5, 200)
    assert cramers_v(codes, codes) == pytest.approx(1)
    assert cramers_v(codes, np.zeros(200, dtype=int)) == 0
    assert cramers_v(codes[:2], codes[:2]) == 0
    # The statistic of independent columns is chi-squared of 16 degrees, 16 on average
    # with standard deviation sqrt(32). Corrected, 16 becomes 0; without it the mean
    # square would be 16 / 200 / 4.
    squares = [cramers_v(codes, rng.integers(0, 5, 200)) ** 2 for _ in range(200)]
    # negative ones count as 0: their mean is some .4 standard deviations, not 2.8
    assert np.mean(squares) < np.sqrt(32) / 800


def test_dependence_looks_at_ranks_only():
    rng = np.random.default_rng(0)
    z = rng.normal(size=2000)
    table = pd.DataFrame({"a": z, "b": z + rng.normal(size=2000)})
    bent = table.assign(a=np.exp(table["a"]), b=table["b"] ** 3)
    np.testing.assert_allclose(dependence_difference(table, bent), 0, atol=1e-12)
    shuffled = table.assign(b=rng.permutation(table["b"]))
    difference = dependence_difference(table, shuffled)
    assert difference.loc["a", "b"] < -0.2
    np.testing.assert_array_equal(difference, difference.T)
    np.testing.assert_array_equal(np.diag(difference), 0)


def test_codes_of_numbers():
    spike = pd.Series([0.0] * 80 + list(range(1, 21)))
    codes = code_column(spike, "number", 10)
    assert (codes[:80] == 0).all()
    assert (np.diff(codes) >= 0).all()
    assert codes.max() == 2
    spike[[0, 50]] = np.nan
    codes = code_column(spike, "number", 10)
    assert codes[0] == codes[50] == codes.max()
    assert (codes == codes.max()).sum() == 2


def test_codes_of_infinite_numbers():
    values = pd.Series([-np.inf] * 30 + list(range(40)) + [np.inf] * 30)
    codes = code_column(values, "number", 10)
    assert (codes[:30] == 0).all()
    assert (codes[-30:] == codes.max()).all()
    assert np.bincount(codes)[1:-1].max() <= 11  # of 100 rows in 10 bins


def test_polars_tables_are_drawn_by_name(pyplot):
    polars = pytest.importorskip("polars", reason="needs the extra test")
    rng = np.random.default_rng(0)
    frame = polars.DataFrame(
        {
            "u": rng.normal(size=60),
            "word": rng.choice(["a", "b"], 60),
            "day": polars.Series(rng.integers(0, 90, 60)).cast(polars.Date),
            "flag": polars.Series([True, False, None] * 20),
        }
    )
    turned = frame.select(frame.columns[::-1])
    display = TableComparisonDisplay.from_tables(frame, turned)
    assert list(display.shares) == frame.columns
    assert (display.beyond == 0).all(axis=None)
    for shares in display.shares.values():
        assert_array_equal(shares["real"], shares["synthetic"])
    assert display.shares["day"].index.left.dtype.kind == "M"
    one = TableComparisonDisplay.from_tables(frame, turned, columns=["u"])
    assert one.ax_.get_title() == "u"
    pair = ReconstructionDisplay(frame, turned).plot(columns=["flag", "u"])
    assert list(pair.panels_) == ["flag", "u"]
    codes = rng.normal(size=(60, 2))
    colored = LatentSpaceDisplay.from_estimator(
        PCA(2).fit(codes),
        codes,
        frame["word"],
    )
    assert colored.target_name == "word"
    assert len(colored.legend_.get_texts()) == 2


def test_dates_that_nanoseconds_cannot_hold_are_drawn(pyplot):
    days = np.array(["0900-01-01", "2020-05-01", "9999-12-31"] * 5, dtype="M8[s]")
    table = pd.DataFrame({"until": days, "n": range(15)})
    display = TableComparisonDisplay.from_tables(table, table)
    display.figure_.draw_without_rendering()
    shares = display.shares["until"]
    assert shares["real"].sum() == pytest.approx(1)
    bins = shares.index[:-1]
    assert bins[0].left <= pd.Timestamp(days[0])
    assert bins[-1].right >= pd.Timestamp(days[2])
    place = bins.left.searchsorted(pd.DatetimeIndex(days), side="right") - 1
    assert_array_equal(
        np.bincount(place, minlength=len(bins)) / 15, shares["real"][:-1]
    )


def test_codes_of_levels():
    levels = pd.Series([str(i // 2) for i in range(60)] + [None])
    codes = code_column(levels, False, 10)
    assert len(np.unique(codes)) == 22  # twenty, the rest, missing
    assert (code_column(pd.Series([None] * 3), False, 10) == 0).all()


# ----------------------------------------------------------------------- labels


def test_labels_are_short_and_differ():
    assert elide("short") == "short"
    assert elide("a very long name indeed", 11) == "a ver…ndeed"
    names = [f"the same long beginning {i} and the same end" for i in range(12)]
    short = elide_all(names, 15)
    assert len(set(short)) == 12
    assert max(map(len, short)) <= 15
    assert elide_all([1, "a", True]) == ["1", "a", "True"]


def test_wide_tables_with_long_names_have_room(pyplot):
    rng = np.random.default_rng(0)
    names = [f"a long name with $ and _ of column {i}" for i in range(9)]
    table = pd.DataFrame(rng.normal(size=(80, 9)), columns=names)
    levels = [f"a level of a category, number {i}, of thirty" for i in range(30)]
    table["level"] = rng.choice(levels, 80)
    display = TableComparisonDisplay.from_tables(table, table[::2])
    display.figure_.draw_without_rendering()
    boxes = [ax.get_tightbbox() for ax in [*panels(display), display.dependence_ax_]]
    for one, other in combinations(boxes, 2):
        width = min(one.x1, other.x1) - max(one.x0, other.x0)
        height = min(one.y1, other.y1) - max(one.y0, other.y0)
        assert min(width, height) < 1
    assert min(ax.get_window_extent().width for ax in panels(display)) > 80


# ------------------------------------------------------------------- reasons


@pytest.fixture(scope="module")
def explained():
    table, _ = make_mixed_table(200, random_state=0)
    table.index = [f"r{place}" for place in range(200)]
    model = AutoencoderTransformer(2, max_iter=3, random_state=0).fit(table)
    odd = table.copy()
    odd.loc["r7", "height"] = 1_000.0
    return model, odd


def test_reasons_of_the_most_unusual_rows(explained):
    model, table = explained
    display = ReasonsDisplay.from_estimator(model, table, n_rows=3, n_columns=5)
    assert display.axes_.shape == (2, 2)
    assert display.axes_[1, 1] is None
    scores = model.score_samples(table)
    assert list(display.table.index) == list(table.index[scores.argsort()[:3]])
    first = display.ax_
    assert first.get_title().startswith("row r7, score ")
    labels = [tick.get_text() for tick in first.get_yticklabels()]
    assert labels[0].startswith("height = 1000\n(expected ")
    assert len(labels) == 5
    widths = [bar.get_width() for bar in display.bars_[0]]
    shares = model.explain_samples(table.loc[["r7"]]).to_numpy()[0]
    np.testing.assert_allclose(widths, np.sort(shares.max() - shares)[::-1][:5])


def test_reasons_of_an_array_and_of_a_detector():
    X = np.random.default_rng(0).normal(size=(60, 3))
    quick = AutoencoderTransformer(2, max_iter=2)
    for model in (quick, GenerativeOutlierDetector(quick)):
        display = ReasonsDisplay.from_estimator(model.fit(X), X, n_rows=1)
        assert display.axes_.shape == (1, 1)
        assert display.ax_.get_yticklabels()[0].get_text()[0] in "012"


def test_reasons_without_expected_values():
    plt = pytest.importorskip("matplotlib.pyplot")
    figure, ax = plt.subplots()
    shares = [[-1.0, -4.0, -2.0]]
    table = pd.DataFrame({"a": [None], "$b$": [pd.Timestamp("2020-01-01")], "c": [1]})
    display = ReasonsDisplay(shares, table).plot(ax, bar_kwargs={"color": "red"})
    assert display.figure_ is figure
    labels = [tick.get_text() for tick in display.ax_.get_yticklabels()]
    assert labels == ["$b$ = 2020-01-01", "c = 1", "a = missing"]
    assert [bar.get_width() for bar in display.bars_[0]] == [3.0, 1.0, 0.0]
    plt.close(figure)


def test_errors_of_reasons(explained):
    model, table = explained
    with pytest.raises(TypeError, match="PCA has no explain_samples. Pass a fitted"):
        ReasonsDisplay.from_estimator(PCA(1).fit(np.eye(3)), np.eye(3))
    for options in ({"n_rows": 0}, {"n_columns": 1.5}):
        with pytest.raises(ValueError, match="must be an int of at least 1"):
            ReasonsDisplay.from_estimator(model, table, **options)


# -------------------------------------------------------------------------- loadings


def test_loadings_of_a_mixed_table(pyplot):
    table, _ = make_mixed_table(100, random_state=0)
    model = AutoencoderTransformer(3, **TINY).fit(table)
    display = LoadingsDisplay.from_estimator(model, table)
    shown = display.shown_
    expected = pd.DataFrame(model.components_.T, table.columns, shown.columns)
    pd.testing.assert_frame_equal(shown.sort_index(), expected.sort_index())
    assert_array_equal(display.image_.get_array(), shown)
    assert [text.get_text() for text in display.ax_.get_yticklabels()] == [*shown.index]
    kept = model.reconstruction_by_column(table).clip(0, 1)
    assert_array_equal(heights(display.bars_), kept[shown.index])
    levels = LoadingsDisplay.from_estimator(model, table, levels=True, max_columns=20)
    pd.testing.assert_frame_equal(
        levels.shown_.sort_index(), model.loadings().sort_index()
    )
    texts = {text.get_text() for text in levels.ax_.get_yticklabels()}
    assert {"height", "height = missing", "plan = pro"} <= texts
    places = [name for name, _ in levels.shown_.index]
    assert_array_equal(heights(levels.bars_), kept[places])


def test_columns_with_one_main_component_stand_together(pyplot):
    loadings = pd.DataFrame([[1.0, 0.0], [0.1, -3.0], [0.5, 0.2], [0.0, 2.0]])
    display = LoadingsDisplay(loadings).plot()
    assert display.shown_.index.tolist() == [0, 2, 1, 3]
    assert display.bars_ is None
    display = LoadingsDisplay(loadings).plot(max_columns=3)
    assert display.shown_.index.tolist() == [0, 1, 3]
    limits = display.image_.get_clim()
    assert limits == (-3.0, 3.0)


def test_loadings_of_other_estimators(pyplot):
    pca = PCA(2).fit(X)
    display = LoadingsDisplay.from_estimator(pca)
    assert_array_equal(display.shown_.sort_index(), pca.components_.T)
    with pytest.raises(TypeError, match="PCA has no reconstruction_by_column, which"):
        LoadingsDisplay.from_estimator(pca, X)
    with pytest.raises(TypeError, match="GANSampler has no components_"):
        LoadingsDisplay.from_estimator(fit_tiny(GANSampler))
    with pytest.raises(ValueError, match="max_columns must be an int of at least 1"):
        LoadingsDisplay.from_estimator(pca, max_columns=0)


# ------------------------------------------------------------------------ traversals


def test_walks_through_a_table(pyplot):
    table, _ = make_mixed_table(100, random_state=0)
    model = AutoencoderTransformer(3, **TINY).fit(table)
    display = TraversalDisplay.from_estimator(model, [0, 2], columns=COLUMNS)
    names = model.get_feature_names_out()[[0, 2]]
    assert [*display.tables] == [*names]
    assert [*display.lines_] == COLUMNS
    for number, component in enumerate((0, 2)):
        rows, values = model.traverse(component, return_values=True)
        assert_array_equal(display.values[names[number]], values)
        x, heights = display.lines_["height"][number].get_data()
        assert_array_equal(x, values)
        assert_array_equal(heights, rows["height"])
        place = display.lines_["region"][number].get_ydata()
        panel = display.lines_["region"][number].axes
        levels = [text.get_text() for text in panel.get_yticklabels()]
        shown = [levels[int(i)] for i in place]
        assert shown == rows["region"].astype(object).fillna("missing").tolist()
    texts = display.axes_.flat[0].get_legend().get_texts()
    assert len(texts) == 2
    with pytest.raises(ValueError, match="columns"):
        display.plot(columns=["nowhere"])


def test_walks_of_images(pyplot):
    pixels = np.random.default_rng(0).random((60, 6))
    model = AutoencoderTransformer(2, **TINY).fit(pixels)
    display = TraversalDisplay.from_estimator(
        model, [1, 0], values=[-1, 0.5], at=[0.1, 0.2], image_shape=(2, 3)
    )
    rows = model.traverse(0, [-1, 0.5], [0.1, 0.2])
    assert display.images_.shape == (2, 2)
    assert_array_equal(display.images_[1, 1].get_array(), rows[1].reshape(2, 3))
    assert display.axes_[1, 1].get_xlabel() == "0.5"
    with pytest.raises(ValueError, match="makes 4 pixels of a row"):
        TraversalDisplay.from_estimator(model, image_shape=(2, 2))


def test_walks_need_a_code(pyplot):
    with pytest.raises(TypeError, match="PCA has no traverse"):
        TraversalDisplay.from_estimator(PCA(1).fit(X))
    with pytest.raises(ValueError, match="at least one component"):
        TraversalDisplay({}, {}).plot()
