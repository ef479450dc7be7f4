"""What rows of `GenerativeAugmenter` bring a learner, beside none and plain samples.

    python benchmarks/augmentation.py [--quick] [--data NAME ... | FILE.parquet ...]
    python benchmarks/augmentation.py --read LINES ...

Of each table n rows are fitted on, and at most 2,000 others are predicted: AUC (one
class against the others) or R2; of a file the last column is the target. Prints, for
each size and learner, the mean paired difference to no new rows, its standard error
over splits and tables, and how many cells (table x learner x size) gain or lose more
than two standard errors over their splits; then what other rules of decision would
have brought. --out keeps one JSON line for each score, which --read prints again.
"""

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.compose import (
    TransformedTargetRegressor,
    make_column_selector,
    make_column_transformer,
)
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
from sklearn_unsup.augmentation import GenerativeAugmenter, _augmenter
from sklearn_unsup.augmentation._candidates import RowMaker
from sklearn_unsup.augmentation._choice import multiples_to_try

N_FOLDS = 5  # of the inner cross-validation
BUNDLED = {
    "breast_cancer": load_breast_cancer,
    "diabetes": load_diabetes,
    "wine": load_wine,
}
PERCEPTRON = {
    "hidden_layer_sizes": (16,),
    "max_iter": 100,
    "solver": "lbfgs",
    "alpha": 1.0,
    "random_state": 0,
}
# Forest, boosting and perceptron are smaller than the defaults, to save time.
# Weaker learners can make gains look larger: say so beside their figures.
LEARNERS = {
    "linear": (LogisticRegression(max_iter=1000), Ridge()),
    "tree": (
        DecisionTreeClassifier(random_state=0),
        DecisionTreeRegressor(random_state=0),
    ),
    "neighbors": (KNeighborsClassifier(), KNeighborsRegressor()),
    "forest": (
        RandomForestClassifier(50, random_state=0),
        RandomForestRegressor(50, random_state=0),
    ),
    "boosting": (
        HistGradientBoostingClassifier(max_iter=50, random_state=0),
        HistGradientBoostingRegressor(max_iter=50, random_state=0),
    ),
    "mlp": (
        MLPClassifier(**PERCEPTRON),
        # A target of large numbers leaves a plain perceptron far behind a constant.
        TransformedTargetRegressor(
            MLPRegressor(**PERCEPTRON), transformer=StandardScaler()
        ),
    ),
}


class SharedRows(RowMaker):
    """Draws once for all learners: rows do not depend on who they are for."""

    drawn: ClassVar[dict] = {}

    def __init__(self, generator, teacher, is_class, seed):
        super().__init__(generator, teacher, is_class, seed)
        self.seed = seed

    def fit(self, X, table, y):
        self.given = (X, table, y)
        self.teacher_ = self.generator_ = None
        return self

    def draw(self, n_rows):
        _, table, y = self.given
        content = pd.util.hash_pandas_object(table.assign(target_=y)).sum()
        key = (self.seed, n_rows, len(y), int(content))
        if key not in self.drawn:
            super().fit(*self.given)
            self.drawn[key] = super().draw(n_rows)
        return self.drawn[key]


def load(name):
    if name in BUNDLED:
        return BUNDLED[name](return_X_y=True, as_frame=True)
    table = pd.read_parquet(name).dropna()
    table = table.sample(min(3_000, len(table)), random_state=0, ignore_index=True)
    return table.iloc[:, :-1], table.iloc[:, -1]


def with_encoder(learner, X):
    if len(X.select_dtypes("number").columns) == X.shape[1]:
        return make_pipeline(StandardScaler(), learner)  # the same in less time
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
    """Yield a line of scores for each learner, with what its inner splits said."""
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
    tables = {"smote": smote(X, y, seed)}
    if with_plain:
        tables["plain"] = plain_sample(X, y, seed)
    amounts = [round(multiple * n) for multiple in multiples_to_try(n)]
    # Rows do not depend on the learner, and fewer of them are the first of many, so
    # that one draw serves all amounts of all learners.
    augmenter = GenerativeAugmenter(
        with_encoder(LEARNERS["linear"][0 if is_class else 1], X),
        amount=max(amounts),
        random_state=seed,
    )
    X_more, y_more = augmenter.fit_resample(X, y)
    for amount in amounts:
        tables[amount] = X_more[: n + amount], y_more[: n + amount]
    for name in learners:
        learner = with_encoder(LEARNERS[name][0 if is_class else 1], X)
        augmenter = GenerativeAugmenter(learner, random_state=seed)
        start = time.process_time()
        augmenter.fit_resample(X, y)
        line = {"learner": name, "n": n, "seed": seed, "rows": augmenter.amount_}
        line["seconds"] = time.process_time() - start
        scores = {
            key: score(clone(learner).fit(*rows), X_test, y_test, is_class)
            for key, rows in tables.items()
            if rows is not None
        }
        line["inner"] = augmenter.cv_results_["gains"].T.tolist()
        line["none"], line["ours"] = scores[0], scores[augmenter.amount_]
        line["true"] = [scores.pop(amount) for amount in amounts]
        yield line | scores


def mean_and_error(values):
    values = np.asarray(values, dtype=float)
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{values.mean():+.4f} +- {error:.4f}"


def report_method(frame, method):
    """Mean gains by learner and size, and how many cells gain or lose for certain."""
    frame = frame.assign(gain=frame[method] - frame["none"]).dropna(subset="gain")
    print(f"\n{method}: mean gain {mean_and_error(frame['gain'])}")
    parts = [
        (f"n={n:<5}{name:10}", p) for (n, name), p in frame.groupby(["n", "learner"])
    ]
    parts += [(f"all    {name:10}", part) for name, part in frame.groupby("learner")]
    for name, part in parts:
        added = f"  rows added in {(part['rows'] > 0).mean():.0%}"
        gain = mean_and_error(part["gain"])
        print(f"  {name}{gain}" + (added if method == "ours" else ""))
    cells = frame.groupby(["table", "n", "learner"])["gain"].agg(["mean", "sem"])
    better = cells[cells["mean"] > 2 * cells["sem"]]
    worse = cells[cells["mean"] < -2 * cells["sem"]]
    print(f"  cells: {len(better)} better, {len(worse)} worse of {len(cells)}")
    weak = cells.index.get_level_values("learner").isin(["tree", "neighbors"])
    n_better = better.index.isin(cells.index[weak]).sum()
    print(f"  of trees and neighbours: {n_better} better of {weak.sum()}")
    for cell in worse.itertuples():
        print(f"  worse: {cell.Index} {cell.mean:+.4f} +- {cell.sem:.4f}")


def report_rules(lines):
    """What the decision would bring, if the gain had to exceed more or fewer errors."""
    print("\nrows if the gain exceeds   added  harm  mean gain")
    for n_errors in (-np.inf, 0, 0.25, 0.5, 0.75, 1, 1.5):
        gains = np.array([gain_of_rule(line, n_errors) for line in lines])
        name = "nothing: always" if n_errors < 0 else f"{n_errors:g} of its errors"
        print(
            f"  {name:25}{np.isfinite(gains).sum():5}{(gains < 0).sum():6}  "
            + mean_and_error(np.nan_to_num(gains))
        )
    best = [max(line["true"]) - line["none"] for line in lines]
    print(f"  {'in hindsight':25}{'':13}{mean_and_error(best)}")


def gain_of_rule(line, n_errors):
    """The gain over no new rows on held-out rows, nan if the rule adds none."""
    inner = np.array(line["inner"])
    mean = inner.mean(axis=0)
    best = mean[1:].argmax() + 1
    ratio = 1 / (N_FOLDS - 1)
    error = inner[:, best].std(ddof=1) * np.sqrt(1 / len(inner) + ratio)
    is_added = mean[best] > (n_errors * error if n_errors > 0 else n_errors)
    return line["true"][best] - line["none"] if is_added else np.nan


def report(lines):
    frame = pd.DataFrame(lines)
    for method in ("smote", "plain", "ours"):
        if method in frame:
            report_method(frame, method)
    report_rules(lines)
    seconds = frame.groupby("n")["seconds"].agg(["median", "max"])
    for n, median, most in seconds.itertuples():
        print(f"n={n}: {median:.1f} seconds of CPU, median; {most:.1f} at most")
    print(f"splits: {frame['seed'].nunique()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", nargs="+", default=list(BUNDLED))
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[20, 50, 100, 300, 1000]
    )
    parser.add_argument("--seeds", type=int, nargs=2, default=[0, 10], help="from, to")
    parser.add_argument("--learners", nargs="+", default=list(LEARNERS))
    parser.add_argument("--no-plain", action="store_true", help="no plain samples")
    parser.add_argument(
        "--share",
        action="store_true",
        help="one teacher for all learners of a split: the same scores in less time, "
        "but these seconds are not those of a user",
    )
    parser.add_argument("--out", type=Path, help="append one JSON line a score")
    parser.add_argument("--quick", action="store_true", help="three splits of 50 rows")
    parser.add_argument("--read", type=Path, nargs="+", help="measure nothing")
    args = parser.parse_args()
    if args.read:
        text = "".join(path.read_text("utf-8") for path in args.read)
        report([json.loads(line) for line in text.splitlines()])
        return
    if args.quick:
        args.sizes, args.seeds = [50], [0, 3]
        args.learners, args.no_plain = ["linear", "tree", "forest"], True
    warnings.simplefilter("ignore")
    if args.share:
        _augmenter.RowMaker = SharedRows
    lines = []
    for seed in range(*args.seeds):
        for n in args.sizes:
            for name in args.data:
                X, y = load(name)
                if n + 50 > len(y):
                    continue
                SharedRows.drawn.clear()
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
