"""Draw the pictures of docs/guide into docs/pictures.

    python docs/make_pictures.py            # all, some minutes
    python docs/make_pictures.py beta noise  # those

Run after a change of the displays or the models, and look at what came out.
"""

import sys
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from PIL import Image
from sklearn.datasets import load_digits, make_moons
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from skorch.callbacks import Callback

from sklearn_unsup import AutoencoderTransformer, GANSampler, VAETransformer
from sklearn_unsup.datasets import make_mixed_table
from sklearn_unsup.inspection import (
    LatentSpaceDisplay,
    LoadingsDisplay,
    LossCurveDisplay,
    ReconstructionDisplay,
    TableComparisonDisplay,
    TraversalDisplay,
)

FOLDER = Path(__file__).parent / "pictures"
MAX_BYTES = 100_000
# Okabe and Ito's colours, which differ in any colour vision; each line has a dash of
# its own as well.
BLUE, VERMILION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#767676"


def save(figure, name):
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.png"
    figure.canvas.draw()
    picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")
    picture.quantize(128).save(path, optimize=True)  # a third of the bytes
    plt.close(figure)
    size = path.stat().st_size
    assert size < MAX_BYTES, f"{path.name} has {size} bytes, more than {MAX_BYTES}"
    print(f"{path.name}: {size / 1000:.0f} kB", flush=True)


def digits():
    """Pixels in [0, 1], held-out ones, and the digits that these show."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, _, y_test = train_test_split(X / 16, y, random_state=0)
    return X_train, X_test, y_test


def keeps(model, train, test, n_components=None):
    """Share of the variance of held-out rows that their first components keep."""
    codes = model.transform(test)
    if n_components is not None:
        codes[:, n_components:] = 0
    rebuilt = model.inverse_transform(codes)
    return 1 - np.square(test - rebuilt).sum() / np.square(test - train.mean(0)).sum()


# ---------------------------------------------------------------------- displays.rst


def displays():
    table, _ = make_mixed_table(1000, random_state=0)
    fresh, _ = make_mixed_table(1000, random_state=1)
    vae = VAETransformer(early_stopping=True, random_state=0).fit(table)
    gan = GANSampler(early_stopping=True, random_state=0).fit(table)

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    LossCurveDisplay.from_estimator(vae, ax=axes[0])
    LossCurveDisplay.from_estimator(gan, ax=axes[1])
    save(figure, "loss_curve")

    X_train, X_test, y_test = digits()
    reducer = AutoencoderTransformer(16, ordered=True, random_state=0).fit(X_train)
    display = LatentSpaceDisplay.from_estimator(reducer, X_test, y_test)
    save(display.figure_, "latent_space")

    display = ReconstructionDisplay.from_estimator(reducer, X_test, image_shape=(8, 8))
    save(display.figure_, "reconstruction_images")

    display = ReconstructionDisplay.from_estimator(vae, fresh)
    save(display.figure_, "reconstruction_table")


def comparison():
    """The picture of README and of the front page: defaults, held-out rows."""
    table, _ = make_mixed_table(10_000, random_state=0)
    fresh, _ = make_mixed_table(10_000, random_state=1)
    rows = VAETransformer(random_state=0).fit(table).sample(10_000, random_state=0)
    display = TableComparisonDisplay.from_tables(fresh, rows)
    save(display.figure_, "table_comparison")


# ------------------------------------------------------------------- autoencoder.rst


class AfterEpochs(Callback):
    """The values of a function before training and after each epoch."""

    def __init__(self, measure):
        self.measure = measure

    def on_train_begin(self, net, **kwargs):
        self.curve_ = [self.measure()]

    def on_epoch_end(self, net, **kwargs):
        self.curve_.append(self.measure())


def start():
    """Training starts at PCA and leaves it."""
    X_train, X_test, _ = digits()
    figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for k, color in {2: BLUE, 8: VERMILION}.items():
        linear = keeps(PCA(k).fit(X_train), X_train, X_test)
        model = AutoencoderTransformer(k, random_state=0)
        watch = AfterEpochs(lambda model=model: keeps(model, X_train, X_test))
        model.set_params(callbacks=[watch]).fit(X_train)
        ax.axhline(linear, color=color, linestyle=":")
        ax.plot(watch.curve_, color=color, label=f"autoencoder, {k} components")
        ax.annotate(
            f"PCA, {k} components",
            (1, linear),
            (-4, -4),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            va="top",
        )
    ax.set(xlabel="epoch", ylabel="variance kept, held-out digits", ylim=(0.15, 0.9))
    ax.legend(loc="center right", frameon=False)
    save(figure, "autoencoder_start")


def noise():
    """What `noise` buys: rows that come corrupted are cleaned."""
    X_train, X_test, _ = digits()
    spoilt = X_test + np.random.default_rng(0).normal(0, 0.3, X_test.shape)
    rows = {"clean": X_test, "corrupted": spoilt}
    for level in (0.0, 0.3):
        model = AutoencoderTransformer(
            16, noise=level, numeric_scaling=None, random_state=0
        ).fit(X_train)
        rebuilt = model.inverse_transform(model.transform(spoilt))
        error = np.square(X_test - rebuilt).mean()
        rows[f"noise={level:g}\n(squared error {error:.3f})"] = rebuilt
    figure, axes = plt.subplots(len(rows), 10, figsize=(7.5, 3.1), layout="constrained")
    for line, (label, pictures) in zip(axes, rows.items(), strict=True):
        for ax, picture in zip(line, pictures, strict=False):
            ax.imshow(picture.reshape(8, 8), cmap="gray", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
        line[0].set_ylabel(label, rotation=0, ha="right", va="center")
    save(figure, "autoencoder_noise")


# ------------------------------------------------------------------ n_components.rst


def components():
    """Each size fitted for itself, one ordered fit, and PCA."""
    X_train, X_test, _ = digits()
    sizes = [1, 2, 3, 4, 6, 8, 12, 16]
    pca = PCA(16).fit(X_train)
    ordered = AutoencoderTransformer(16, ordered=True, random_state=0).fit(X_train)
    curves = {"a fit for each size": [], "one fit, ordered=True": [], "PCA": []}
    for k in sizes:
        single = AutoencoderTransformer(k, random_state=0).fit(X_train)
        for name, model in zip(curves, (single, ordered, pca), strict=True):
            curves[name].append(keeps(model, X_train, X_test, k))
    figure, ax = plt.subplots(figsize=(6, 3.8), layout="constrained")
    styles = {"color": (VERMILION, BLUE, GREY), "marker": "so^", "ls": ("--", "-", ":")}
    for i, (name, curve) in enumerate(curves.items()):
        ax.plot(sizes, curve, label=name, **{k: v[i] for k, v in styles.items()})
    ax.set(xlabel="components", ylabel="variance kept, held-out digits", xticks=sizes)
    ax.legend(frameon=False)
    save(figure, "n_components")


# --------------------------------------------------------------------------- vae.rst


def beta():
    """Codes under three weights of the KL term, beside the prior."""
    X_train, X_test, y_test = digits()
    figure, axes = plt.subplots(1, 3, figsize=(8, 3), layout="constrained")
    circle = np.linspace(0, 2 * np.pi, 100)
    for ax, value in zip(axes, (0.05, 1.0, 10.0), strict=True):
        vae = VAETransformer(2, beta=value, random_state=0).fit(X_train)
        codes, share = vae.transform(X_test), keeps(vae, X_train, X_test)
        ax.scatter(*codes.T, c=y_test, cmap="viridis", s=6)
        ax.plot(*2 * np.array([np.cos(circle), np.sin(circle)]), c=VERMILION, ls="--")
        ax.set_title(f"beta={value:g}: keeps {share:.0%}")
        ax.set_aspect("equal", "datalim")
    save(figure, "vae_beta")


def two_moons():
    X, y = make_moons(2_000, noise=0.06, random_state=0)
    moon = pd.Categorical.from_codes(y, ["upper", "lower"])
    return pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "moon": moon})


def scatter(draws, name):
    figure, axes = plt.subplots(
        2, 2, figsize=(7, 5.6), sharex=True, sharey=True, layout="constrained"
    )
    for ax, (title, rows) in zip(axes.flat, draws.items(), strict=True):
        for level, color in {"upper": BLUE, "lower": VERMILION}.items():
            part = rows[rows["moon"] == level]
            ax.scatter(part["a"], part["b"], s=2, color=color)
        ax.set_title(title, fontsize=10)
    save(figure, name)


def sampling():
    """Where new rows come from, on a table of two numbers and a category."""
    table = two_moons()
    draws = {"real rows": table}
    settings = {
        'sampling="autoregressive"': {},
        'sampling="latent"': {"sampling": "latent"},
        '"latent", density_ratio=None': {"sampling": "latent", "density_ratio": None},
    }
    for title, options in settings.items():
        vae = VAETransformer(random_state=0, **options).fit(table)
        draws[title] = vae.sample(2_000, random_state=0)
    scatter(draws, "vae_sampling")


# --------------------------------------------------------------------------- gan.rst


def games():
    """The three games on the moons."""
    table = two_moons()
    draws = {"real rows": table}
    for loss in ("relativistic", "minimax", "wasserstein"):
        gan = GANSampler(loss=loss, random_state=0).fit(table)
        title = f'loss="{loss}", coverage_ {gan.coverage_:.2f}'
        draws[title] = gan.sample(2_000, random_state=0)
    scatter(draws, "gan_loss")


# -------------------------------------------------------------------- components.rst


def codes():
    table, _ = make_mixed_table(1000, random_state=0)
    fresh, _ = make_mixed_table(1000, random_state=1)
    vae = VAETransformer(4, random_state=0).fit(table)
    display = LoadingsDisplay.from_estimator(vae, fresh)
    save(display.figure_, "loadings")
    size = vae.transform(table).std(axis=0)
    display = TraversalDisplay.from_estimator(vae, np.argsort(-size)[:2].tolist())
    save(display.figure_, "traversal")


PICTURES = {
    function.__name__: function
    for function in (
        *(displays, comparison, start, noise),
        *(components, beta, sampling, games, codes),
    )
}


def main():
    matplotlib.use("Agg")
    plt.rcParams["figure.dpi"] = 80
    for name in sys.argv[1:] or PICTURES:
        PICTURES[name]()


if __name__ == "__main__":
    main()
