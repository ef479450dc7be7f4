"""Explained variance and nearest-neighbour accuracy of codes, beside PCA.

    OMP_NUM_THREADS=1 python benchmarks/transform.py [--images file.npz] [--ordered]

Rows: scikit-learn's bundled digits, and any file with arrays X (pixels 0 to 255) and y
that `--images` names. Models are fitted with their defaults on 80 % of the rows and
measured on the others.
"""

import argparse
import time

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

import sklearn_unsup
from sklearn_unsup import AutoencoderTransformer


def load(images):
    if images is None:
        X, y = load_digits(return_X_y=True)
        return X.astype(np.float32) / 16, y
    with np.load(images) as arrays:
        return arrays["X"].astype(np.float32) / 255, arrays["y"]


def explained(train, test, rebuilt):
    spread = np.square(test - train.mean(0), dtype=np.float64).mean()
    return 1 - np.square(test - rebuilt, dtype=np.float64).mean() / spread


def report(label, model, k, parts, seconds):
    train, test, y_train, y_test = parts
    codes = model.transform(test)
    variance = explained(train, test, model.inverse_transform(codes))
    nearest = KNeighborsClassifier(1).fit(model.transform(train), y_train)
    accuracy = nearest.score(codes, y_test)
    print(f"{label:28}{k:4}{variance:9.3f}{accuracy:8.3f}{seconds:9.1f}", flush=True)


def compare(parts, sizes, names):
    train = parts[0]
    print(f"{'':28}{'k':>4}{'expl.var':>9}{'1-NN':>8}{'fit s':>9}")
    for k in sizes:
        models = {"PCA": PCA(k, random_state=0)}
        for name in names:
            models[name] = getattr(sklearn_unsup, name)(k, random_state=0)
        for name, model in models.items():
            start = time.perf_counter()
            model.fit(train)
            report(name, model, k, parts, time.perf_counter() - start)


def compare_ordered(parts, n_components=32):
    """One ordered fit, cut at every size, beside PCA."""
    train, test = parts[:2]
    start = time.perf_counter()
    model = AutoencoderTransformer(n_components, ordered=True, random_state=0)
    codes = model.fit(train).transform(test)
    print(f"one ordered fit: {time.perf_counter() - start:.1f} s")
    pca = PCA(n_components, random_state=0).fit(train)
    axes = pca.transform(test)
    for k in (2, 4, 8, 16, 32):
        kept = np.arange(n_components) < k
        ours = explained(train, test, model.inverse_transform(codes * kept))
        theirs = explained(train, test, pca.inverse_transform(axes * kept))
        print(f"first {k:3}: explained variance {ours:.3f}, PCA {theirs:.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", help=".npz file with X (0 to 255) and y")
    parser.add_argument("--sizes", type=int, nargs="+", default=[2, 8, 32])
    parser.add_argument("--models", nargs="+", default=["AutoencoderTransformer"])
    parser.add_argument("--ordered", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    X, y = load(args.images)
    parts = train_test_split(X, y, test_size=0.2, random_state=0, stratify=y)
    if args.ordered:
        compare_ordered(parts)
    else:
        compare(parts, args.sizes, args.models)
