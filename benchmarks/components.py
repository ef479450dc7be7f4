"""How true loadings are: against PCA, and by how far around rows they are averaged.

    python benchmarks/components.py
    python benchmarks/components.py --rows 300 --epochs 2 --tables iris

First the cosine of each row of `components_` with that of PCA, signs included, for a
linear autoencoder with ordered components that has been trained for `--epochs` epochs.
Then, for a generated mixed table, the largest loading of each column over all
components, per standard deviation of the component, if slopes are averaged over a
fiftieth, one and two standard deviations around each row. Last the seconds that the
loadings take when they are first asked for, as a share of those of the fit.
"""

import argparse
import time

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from sklearn_unsup import AutoencoderTransformer, VAETransformer
from sklearn_unsup._nn import jacobian
from sklearn_unsup.datasets import make_mixed_table

TABLES = {
    "iris": load_iris,
    "wine": load_wine,
    "diabetes": load_diabetes,
    "breast_cancer": load_breast_cancer,
}
REACHES = 0.01, 0.5, 1.0  # standard deviations, on either side


def print_cosines(names, n_epochs):
    print("linear autoencoder against PCA, cosines of the first three components")
    for name in names:
        X = TABLES[name]().data
        model = AutoencoderTransformer(
            3, hidden_layer_sizes=(), ordered=True, max_iter=n_epochs, random_state=0
        ).fit(X)
        axes = PCA(3).fit(StandardScaler().fit_transform(X)).components_
        lengths = np.linalg.norm(model.components_, axis=1)
        cosines = (model.components_ * axes).sum(1) / lengths
        print(f"{name:>14}", *(f"{cosine:8.4f}" for cosine in cosines))


def largest_loadings(model, reach):
    """Largest loading of each column, per standard deviation of its component."""
    before, jacobian.REACH = jacobian.REACH, reach
    try:
        vars(model).pop("_mean_changes", None)
        components = model.components_
    finally:
        jacobian.REACH = before
    deviations = model._kept_codes.std(0)
    return np.abs(components * deviations[:, None]).max(0)


def print_reaches(n_rows):
    table, _ = make_mixed_table(n_rows, random_state=0)
    for cls in (AutoencoderTransformer, VAETransformer):
        start = time.perf_counter()
        model = cls(4, random_state=0).fit(table)
        of_fit, start = time.perf_counter() - start, time.perf_counter()
        model.loadings()
        share = (time.perf_counter() - start) / of_fit
        print(f"\n{cls.__name__}, {n_rows} rows, largest loading of each column")
        columns = {f"{2 * r:g} sd": largest_loadings(model, r) for r in REACHES}
        print(pd.DataFrame(columns, table.columns).round(2).to_string())
        print(f"loadings take {share:.2%} of the time of the fit")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_500)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=[*TABLES])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print_cosines(arguments.tables, arguments.epochs)
    print_reaches(arguments.rows)


if __name__ == "__main__":
    main()
