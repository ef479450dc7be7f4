"""Draw the pictures of docs/guide/displays.rst into docs/pictures.

Run after a change of the displays: python docs/make_pictures.py (a minute).
"""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_unsup import AutoencoderTransformer, GANSampler, VAETransformer
from sklearn_unsup.datasets import make_mixed_table
from sklearn_unsup.inspection import (
    LatentSpaceDisplay,
    LossCurveDisplay,
    ReconstructionDisplay,
    TableComparisonDisplay,
)

FOLDER = Path(__file__).parent / "pictures"
MAX_BYTES = 100_000


def save(figure, name):
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.png"
    figure.canvas.draw()
    picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")
    picture.quantize(128).save(path, optimize=True)  # a third of the bytes
    plt.close(figure)
    size = path.stat().st_size
    assert size < MAX_BYTES, f"{path.name} has {size} bytes, more than {MAX_BYTES}"
    print(f"{path.name}: {size / 1000:.0f} kB")


def main():
    matplotlib.use("Agg")
    plt.rcParams["figure.dpi"] = 80
    table, _ = make_mixed_table(1000, random_state=0)
    fresh, _ = make_mixed_table(1000, random_state=1)
    vae = VAETransformer(early_stopping=True, random_state=0).fit(table)
    gan = GANSampler(early_stopping=True, random_state=0).fit(table)

    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    LossCurveDisplay.from_estimator(vae, ax=axes[0])
    LossCurveDisplay.from_estimator(gan, ax=axes[1])
    save(figure, "loss_curve")

    X, y = load_digits(return_X_y=True)
    X_train, X_test, _, y_test = train_test_split(X / 16, y, random_state=0)
    reducer = AutoencoderTransformer(16, ordered=True, random_state=0).fit(X_train)
    display = LatentSpaceDisplay.from_estimator(reducer, X_test, y_test)
    save(display.figure_, "latent_space")

    display = ReconstructionDisplay.from_estimator(reducer, X_test, image_shape=(8, 8))
    save(display.figure_, "reconstruction_images")

    display = ReconstructionDisplay.from_estimator(vae, fresh)
    save(display.figure_, "reconstruction_table")

    rows = vae.sample(1000, random_state=0)
    display = TableComparisonDisplay.from_tables(table, rows)
    save(display.figure_, "table_comparison")


if __name__ == "__main__":
    main()
