"""Images with `image_shape`: codes of a reducer, and labelled images that are drawn.

    OMP_NUM_THREADS=1 python benchmarks/images.py [--images file.npz --shape 28 28]

Rows: scikit-learn's bundled digits, and any file with arrays X (pixels 0 to 255) and y
that `--images` names. Models learn 80 % of the rows.

Codes, on the other rows: explained variance and the accuracy of the nearest neighbour,
of `AutoencoderTransformer` with `image_shape` ("image") and without ("flat"). Drawn
images, of models of pixels beside a label: "asked for" is the share of images, drawn
with each label as a condition, that an SVC reads as that label, which has learnt the
real rows; "trained on drawn" is the accuracy on the other 20 % of an SVC that has
learnt 5,000 drawn images with the labels that they came with.
"""

import argparse
import time

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

import sklearn_unsup
from sklearn_unsup import AutoencoderTransformer

GENERATORS = "VAETransformer", "GANSampler"


def load(images, shape):
    if images is None:
        X, y = load_digits(return_X_y=True)
        return X.astype(np.float32) / 16, y, (8, 8)
    with np.load(images) as arrays:
        return arrays["X"].astype(np.float32) / 255, arrays["y"], tuple(shape)


def compare_codes(parts, shape, n_components, seed):
    train, test, y_train, y_test = parts
    print(f"{'codes':24}{'k':>4}{'expl.var':>10}{'1-NN':>8}{'fit s':>8}{'CPU s':>8}")
    for name, image_shape in (("flat", None), ("image", shape)):
        model = AutoencoderTransformer(
            n_components, image_shape=image_shape, random_state=seed
        )
        start, cpu = time.perf_counter(), time.process_time()
        model.fit(train)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        codes = model.transform(test)
        errors = np.square(test - model.inverse_transform(codes), dtype=np.float64)
        spread = np.square(test - train.mean(0), dtype=np.float64)
        nearest = KNeighborsClassifier(1).fit(model.transform(train), y_train)
        print(
            f"{name:24}{n_components:4}{1 - errors.mean() / spread.mean():10.3f}"
            f"{nearest.score(codes, y_test):8.3f}{seconds:8.1f}{cpu:8.1f}",
            flush=True,
        )


def compare_drawn(parts, shape, names, seed, n_drawn):
    train, test, y_train, y_test = parts
    reader = SVC().fit(train, y_train)
    table = pd.DataFrame(train, columns=[f"pixel{i}" for i in range(train.shape[1])])
    table["label"] = pd.Categorical(y_train)
    print(f"{'drawn':24}{'asked for':>10}{'trained on drawn':>18}{'CPU s':>8}")
    print(f"{'real rows':24}{'':10}{reader.score(test, y_test):18.3f}", flush=True)
    for name in names:
        model = getattr(sklearn_unsup, name)(image_shape=shape, random_state=seed)
        cpu = time.process_time()
        model.fit(table)
        cpu = time.process_time() - cpu
        asked = np.repeat(np.unique(y_train), 100)
        drawn = model.sample(
            len(asked), conditions={"label": asked}, random_state=seed
        ).drop(columns="label")
        right = np.mean(reader.predict(drawn.to_numpy()) == asked)
        drawn = model.sample(n_drawn, random_state=seed)
        labels = drawn.pop("label").to_numpy()
        student = SVC().fit(drawn.to_numpy(), labels).score(test, y_test)
        print(f"{name:24}{right:10.3f}{student:18.3f}{cpu:8.1f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", help="file with arrays X and y")
    parser.add_argument("--shape", type=int, nargs="+", default=(28, 28))
    parser.add_argument("--components", type=int, default=32, help="of the reducer")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rows", type=int, help="use only the first so many")
    parser.add_argument("--drawn", type=int, default=5_000)
    parser.add_argument("--models", nargs="*", default=GENERATORS, choices=GENERATORS)
    parser.add_argument("--no-codes", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    X, y, shape = load(args.images, args.shape)
    for seed in range(args.seeds):
        parts = train_test_split(
            X[: args.rows],
            y[: args.rows],
            test_size=0.2,
            random_state=seed,
            stratify=y[: args.rows],
        )
        print(f"seed {seed}, {len(parts[0])} rows")
        if not args.no_codes:
            compare_codes(parts, shape, args.components, seed)
        if args.models:
            compare_drawn(parts, shape, args.models, seed, args.drawn)


if __name__ == "__main__":
    main()
