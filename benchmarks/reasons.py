"""How well the odd cell of a row is named, and what is expected in its place.

    OMP_NUM_THREADS=1 python benchmarks/reasons.py [--tables ...] [--data adult.parquet]

Of half of the held-out rows two cells are swapped for those of another row. Printed
are the area under the ROC curve of the rows, the share of them whose named cell is a
swapped one, and how far in ranks what is expected there is from what was there. An
autoencoder has them twice: from replaced cells, and from what rows are rebuilt as.

With `--data`, tables that are large enough, a classifier is told of other rows which
ones were swapped, and which cell. It sees many more rows than the detector, and labels:
what it finds is near to what can be found.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from sklearn_unsup._scoring import rebuilt_losses
from sklearn_unsup.outliers import GenerativeOutlierDetector

N_TRAIN, N_TEST, N_TOLD = 5_000, 2_000, 3  # of the last as many copies of the others


def curves(n_rows=1_000):
    """Eight columns that are bent functions of three numbers that are not there."""
    rng = np.random.default_rng(5)
    hidden, weights = rng.normal(size=(n_rows, 3)), rng.normal(size=(3, 8))
    noise = 0.1 * rng.normal(size=(n_rows, 8))
    return pd.DataFrame(np.tanh(hidden @ weights) + noise).rename(columns=str)


BUNDLED = {
    "curves": curves,
    "diabetes": lambda: load_diabetes(as_frame=True).data,
    "wine": lambda: load_wine(as_frame=True).data,
    "tumours": lambda: load_breast_cancer(as_frame=True).data,
}


def with_swaps(rows, seed):
    """Rows, which cells of them were changed, and the rows as they were."""
    rng = np.random.default_rng(seed)
    swapped = np.zeros(rows.shape, dtype=bool)
    for row in range(len(rows) // 2):
        swapped[row, rng.permutation(rows.shape[1])[:2]] = True
    donors, broken = rng.permutation(len(rows)), rows.copy()
    for place, name in enumerate(rows):
        other = rows[name].iloc[donors].set_axis(rows.index)
        broken[name] = rows[name].where(~swapped[:, place], other)
    broken = broken.astype(rows.dtypes)
    changed = (broken.astype(str) != rows.astype(str)).to_numpy()
    kept = changed.any(1) | ~swapped.any(1)
    return broken[kept], changed[kept], rows[kept]


def hit(named, changed):
    """Share of the changed rows of which a changed cell is named."""
    odd = changed.any(1)
    return changed[np.arange(len(named)), named][odd].mean()


def rank_error(expected, truth, changed, train):
    """Mean distance in ranks of the training rows, over the changed numbers."""
    errors = []
    for place, name in enumerate(train):
        if not pd.api.types.is_numeric_dtype(train[name]):
            continue
        order, rows = np.sort(train[name]), changed[:, place]
        ranks = (np.searchsorted(order, x[name][rows]) for x in (expected, truth))
        errors.append(np.abs(np.subtract(*ranks)) / len(order))
    return np.concatenate(errors).mean()


def told(others, broken, changed, seed):
    """What a classifier finds that has seen which rows are swapped."""
    parts = [
        with_swaps(others.sample(frac=1, random_state=s), s) for s in range(N_TOLD)
    ]
    rows = pd.concat([part[0] for part in parts]).astype(others.dtypes)
    cells = np.concatenate([part[1] for part in parts])
    options = {"early_stopping": False, "random_state": seed}
    of_rows = HistGradientBoostingClassifier(
        max_iter=250, max_leaf_nodes=63, **options
    ).fit(rows, cells.any(1))
    area = roc_auc_score(changed.any(1), of_rows.predict_proba(broken)[:, 1])
    odd, rng = cells.any(1), np.random.default_rng(seed)
    guilty = (rng.random(cells.shape) * cells).argmax(1)
    of_cells = HistGradientBoostingClassifier(max_iter=60, **options)
    of_cells.fit(rows[odd], guilty[odd])
    return area, hit(of_cells.predict(broken), changed)


def measure(name, table, seed, with_told):
    table = table.sample(frac=1, random_state=seed).reset_index(drop=True)
    n_train = min(N_TRAIN, len(table) // 2)
    train, test = table.iloc[:n_train], table.iloc[n_train : n_train + N_TEST]
    broken, changed, truth = with_swaps(test, seed)
    detector = GenerativeOutlierDetector(random_state=seed).fit(train)
    area = roc_auc_score(changed.any(1), -detector.score_samples(broken))
    shares, expected = detector.explain_samples(broken, return_expected=True)
    print(f"{name:12} detector  AUROC {area:.3f}", end="  ")
    report(shares.to_numpy(), expected, truth, changed, train)
    if not detector._has_levels:
        losses, rebuilt, _ = rebuilt_losses(detector.estimator_, broken)
        print(f"{name:12} rebuilt               ", end="  ")
        report(losses, rebuilt.set_axis(broken.index), truth, changed, train)
    if with_told:
        area, share = told(table.iloc[n_train + N_TEST :], broken, changed, seed)
        print(f"{name:12} told      AUROC {area:.3f}  named {share:.3f}", flush=True)


def report(shares, expected, truth, changed, train):
    named, error = shares.argmin(1), rank_error(expected, truth, changed, train)
    print(f"named {hit(named, changed):.3f}  error {error:.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tables", nargs="*", choices=list(BUNDLED), default=None)
    parser.add_argument("--data", nargs="*", type=Path, default=[])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    names = list(BUNDLED) if options.tables is None else options.tables
    for name in names:
        measure(name, BUNDLED[name](), options.seed, False)
    for path in options.data:
        measure(path.stem, pd.read_parquet(path).dropna(), options.seed, True)


if __name__ == "__main__":
    main()
