"""What rows of `GenerativeAugmenter` bring a learner, beside none and plain samples.

    python benchmarks/augmentation.py [--quick] [--data NAME ... | FILE.parquet ...]

Of each table n rows are fitted on, and at most 2,000 others are predicted: AUC (one
class against the others) or R2; of a file the last column is the target. Prints, for
each size and learner, the mean paired difference to no new rows, its standard error
over splits and tables, and how many cells (table x learner x size) gain or lose more
than two standard errors over their splits.
"""

import argparse
import json
import time
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from sklearn_unsup import VAETransformer
from sklearn_unsup.augmentation import GenerativeAugmenter

BUNDLED = {
    "breast_cancer": load_breast_cancer,
    "diabetes": load_diabetes,
    "wine": load_wine,
}
LEARNERS = {
    "linear": (LogisticRegression(max_iter=1000), Ridge()),
    "tree": (
        DecisionTreeClassifier(random_state=0),
        DecisionTreeRegressor(random_state=0),
    ),
    "neighbors": (KNeighborsClassifier(), KNeighborsRegressor()),
    "forest": (
        RandomForestClassifier(random_state=0),
        RandomForestRegressor(random_state=0),
    ),
    "boosting": (
        HistGradientBoostingClassifier(random_state=0),
        HistGradientBoostingRegressor(random_state=0),
    ),
    "mlp": (
        MLPClassifier((32,), max_iter=300, random_state=0),
        MLPRegressor((32,), max_iter=300, solver="lbfgs", alpha=1.0, random_state=0),
    ),
}


def load(name):
    if name in BUNDLED:
        return BUNDLED[name](return_X_y=True, as_frame=True)
    table = pd.read_parquet(name).dropna()
    table = table.sample(min(3_000, len(table)), random_state=0, ignore_index=True)
    return table.iloc[:, :-1], table.iloc[:, -1]


def with_encoder(learner):
    levels = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    categories = make_column_selector(dtype_exclude="number")
    encoder = make_column_transformer((levels, categories), remainder=StandardScaler())
    return make_pipeline(encoder, learner)


def score(learner, X, y, is_class):
    if not is_class:
        return r2_score(y, learner.predict(X))
    shares = learner.predict_proba(X)
    shares = shares[:, 1] if shares.shape[1] == 2 else shares
    return roc_auc_score(y, shares, multi_class="ovr")


def plain_sample(X, y, seed):
    """Two drawn rows for each real one, the target as one more column."""
    target = y if y.dtype.kind == "f" else y.astype("category")
    model = VAETransformer(random_state=seed).fit(X.assign(target_=target))
    drawn = model.sample(2 * len(X), random_state=seed)
    return (
        pd.concat([X, drawn[X.columns]], ignore_index=True),
        pd.concat([y, drawn["target_"].astype(y.dtype)], ignore_index=True),
    )


def smote(X, y, seed):
    """Classes balanced by SMOTE, or None where it does not apply."""
    from imblearn.over_sampling import SMOTE

    is_numeric = all(dtype.kind in "iuf" for dtype in X.dtypes)
    if y.dtype.kind == "f" or not is_numeric:
        return None
    return SMOTE(random_state=seed, k_neighbors=2).fit_resample(X, y)


def run_split(X, y, n, seed, learners, with_plain):
    """A dict of scores, by learner and method, and of seconds of the augmenter."""
    is_class = y.dtype.kind != "f"
    X, X_test, y, y_test = train_test_split(
        X,
        y,
        train_size=n,
        test_size=min(2_000, len(y) - n),
        random_state=seed,
        stratify=y if is_class else None,
    )
    X, y = X.reset_index(drop=True), y.reset_index(drop=True)
    tables = {"none": (X, y), "smote": smote(X, y, seed)}
    if with_plain:
        tables["plain"] = plain_sample(X, y, seed)
    found = []
    for name in learners:
        learner = with_encoder(LEARNERS[name][0 if is_class else 1])
        augmenter = GenerativeAugmenter(learner, random_state=seed)
        start = time.perf_counter()
        tables["ours"] = augmenter.fit_resample(X, y)
        line = {"learner": name, "n": n, "seed": seed, "rows": augmenter.amount_}
        line["seconds"] = time.perf_counter() - start
        for method, rows in tables.items():
            if rows is not None:
                fitted = learner.fit(*rows)
                line[method] = score(fitted, X_test, y_test, is_class)
        found.append(line)
    return found


def report(lines):
    frame = pd.DataFrame(lines)
    for method in ("smote", "plain", "ours"):
        if method not in frame:
            continue
        frame["gain"] = frame[method] - frame["none"]
        known = frame.dropna(subset="gain")
        print(f"\n{method}: mean gain {known['gain'].mean():+.4f}")
        for (n, learner), part in known.groupby(["n", "learner"]):
            error = part["gain"].std() / np.sqrt(len(part))
            added = (part["rows"] > 0).mean()
            print(
                f"  n={n:<5}{learner:10}{part['gain'].mean():+.4f} +- {error:.4f}"
                + (f"  rows added in {added:.0%}" if method == "ours" else "")
            )
        cells = defaultdict(int)
        for _, part in known.groupby(["table", "n", "learner"]):
            mean, error = part["gain"].mean(), part["gain"].sem()
            cells["better"] += mean > 2 * error
            cells["worse"] += mean < -2 * error
            cells["all"] += 1
        print("  cells: {better} better, {worse} worse of {all}".format(**cells))
    seconds = frame.groupby("n")["seconds"].median()
    print(
        "\nseconds, median: " + ", ".join(f"n={n} {s:.1f}" for n, s in seconds.items())
    )
    print(f"splits: {frame['seed'].nunique()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", nargs="+", default=list(BUNDLED))
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[20, 50, 100, 300, 1000]
    )
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--learners", nargs="+", default=list(LEARNERS))
    parser.add_argument("--no-plain", action="store_true", help="no plain samples")
    parser.add_argument("--out", type=Path, help="append one JSON line a score")
    parser.add_argument("--quick", action="store_true", help="three splits of 50 rows")
    args = parser.parse_args()
    if args.quick:
        args.sizes, args.splits = [50], 3
        args.learners, args.no_plain = ["linear", "tree", "forest"], True
    warnings.simplefilter("ignore")
    lines = []
    for seed in range(args.splits):
        for n in args.sizes:
            for name in args.data:
                X, y = load(name)
                if n + 50 > len(y):
                    continue
                found = run_split(X, y, n, seed, args.learners, not args.no_plain)
                for line in found:
                    line["table"] = Path(name).stem
                    lines.append(line)
                    if args.out is not None:
                        with args.out.open("a", encoding="utf-8") as file:
                            file.write(json.dumps(line) + "\n")
    report(lines)


if __name__ == "__main__":
    main()
