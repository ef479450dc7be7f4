"""What helps a rare class: weights, a moved threshold, or rows, and of which kind.

    python benchmarks/balancing.py [--quick] [--rows 4000] [--data FILE.parquet ...]

Of each table the rows of one class are thinned out until they are --rare of all; of a
file the last column is the target, and its rarest class that one. One half of the rows
is fitted on and the other half predicted, of which both are as rare in. Prints, for
logistic regression and gradient boosting, balanced accuracy, the area under the ROC
curve and minus the log-loss: the means over splits and, of each way to treat the class,
the paired difference to the table as it is, with its standard error.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from imblearn.over_sampling import SMOTE, SMOTENC, RandomOverSampler
from sklearn.base import clone
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score
from sklearn.model_selection import TunedThresholdClassifierCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from sklearn_unsup import VAETransformer
from sklearn_unsup.datasets import make_mixed_table
from sklearn_unsup.over_sampling import GenerativeOverSampler

LEARNERS = {
    "logistic regression": LogisticRegression(max_iter=2000),
    "gradient boosting": HistGradientBoostingClassifier(random_state=0),
}
MEASURES = ("balanced accuracy", "ROC AUC", "minus log loss")
AS_IT_IS = "as it is"


def make_generated():
    """Customers, and whether they have the plan that is to be rare."""
    table, _ = make_mixed_table(20_000, missing_rate=0, random_state=0)
    X = table.drop(columns=["plan", "joined"])
    return X.astype({"visits": float, "region": "category", "active": "category"}), (
        table["plan"] == "pro"
    )


def read_table(path):
    table = pd.read_parquet(path).dropna()
    target = table.iloc[:, -1]
    return table.iloc[:, :-1], target == target.value_counts().index[-1]


def thin_out(X, is_rare, n_rows, share, seed):
    """`n_rows` rows, `share` of them of the rare class."""
    rng = np.random.default_rng(seed)
    n_rare = round(share * n_rows)
    places = np.concatenate(
        [
            rng.choice(np.flatnonzero(is_rare), n_rare, replace=False),
            rng.choice(np.flatnonzero(~is_rare), n_rows - n_rare, replace=False),
        ]
    )
    return X.iloc[places].reset_index(drop=True), np.repeat(
        [1, 0], [n_rare, n_rows - n_rare]
    )


def make_samplers(X, seed):
    is_category = [dtype.kind not in "iufb" for dtype in X.dtypes]
    smote = SMOTE(random_state=seed)
    if any(is_category):
        smote = SMOTENC(np.flatnonzero(is_category).tolist(), random_state=seed)
    model = VAETransformer(random_state=seed)
    return {
        "rows repeated": RandomOverSampler(random_state=seed),
        "SMOTE": smote,
        "rows of a VAE": GenerativeOverSampler(model, random_state=seed),
    }


def with_encoder(learner):
    levels = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    categories = make_column_selector(dtype_exclude="number")
    encoder = make_column_transformer((levels, categories), remainder=StandardScaler())
    return make_pipeline(encoder, learner)


def ways_without_rows(learner, seed):
    weighed = clone(learner).set_params(class_weight="balanced")
    return {
        AS_IT_IS: with_encoder(learner),
        "class_weight": with_encoder(weighed),
        "threshold tuned": TunedThresholdClassifierCV(
            with_encoder(learner), scoring="balanced_accuracy", random_state=seed
        ),
    }


def measure(model, X, y):
    shares = model.predict_proba(X)[:, 1]
    return (
        balanced_accuracy_score(y, model.predict(X)),
        roc_auc_score(y, shares),
        -log_loss(y, shares),
    )


def fit_and_measure(model, rows, held_out):
    start = time.process_time()
    fitted = model.fit(*rows)
    seconds = time.process_time() - start
    scores = dict(zip(MEASURES, measure(fitted, *held_out), strict=True))
    return scores | {"seconds": seconds}


def run_split(X, y, seed):
    """Yield a line of scores of each learner and way to treat the rare class."""
    X, X_test, y, y_test = train_test_split(
        X, y, test_size=0.5, random_state=seed, stratify=y
    )
    tables, seconds = {}, {}
    for way, sampler in make_samplers(X, seed).items():
        start = time.process_time()
        tables[way] = sampler.fit_resample(X, y)
        seconds[way] = time.process_time() - start
    for name, learner in LEARNERS.items():
        line = {"learner": name, "seed": seed}
        for way, model in ways_without_rows(learner, seed).items():
            scores = fit_and_measure(model, (X, y), (X_test, y_test))
            yield line | {"way": way} | scores
        for way, rows in tables.items():
            model = with_encoder(learner)
            scores = fit_and_measure(model, rows, (X_test, y_test))
            scores["seconds"] += seconds[way]
            yield line | {"way": way} | scores


def report(lines):
    frame = pd.DataFrame(lines)
    for (table, learner), part in frame.groupby(["table", "learner"], sort=False):
        print(f"\n{table}, {learner}")
        print(f"  {'':18}" + "".join(f"{name:>26}" for name in MEASURES) + "  seconds")
        plain = part[part["way"] == AS_IT_IS].set_index("seed")
        for way, rows in part.groupby("way", sort=False):
            rows = rows.set_index("seed")
            cells = []
            for name in MEASURES:
                difference = rows[name] - plain[name]
                cells.append(
                    f"{rows[name].mean():.3f}"
                    + (
                        ""
                        if way == AS_IT_IS
                        else f" ({difference.mean():+.3f} +- {difference.sem():.3f})"
                    )
                )
            print(
                f"  {way:18}"
                + "".join(f"{cell:>26}" for cell in cells)
                + f"{rows['seconds'].median():9.1f}"
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, nargs="*", default=[])
    parser.add_argument("--rows", type=int, default=4_000, help="half are fitted on")
    parser.add_argument("--rare", type=float, default=0.05, help="share of the class")
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="1,000 rows, one split")
    args = parser.parse_args()
    if args.quick:
        args.rows, args.splits = 1_000, 1
    warnings.simplefilter("ignore")
    tables = {"generated": make_generated()}
    tables |= {path.stem: read_table(path) for path in args.data}
    lines = []
    for name, (X, is_rare) in tables.items():
        for seed in range(args.splits):
            rows, y = thin_out(X, is_rare.to_numpy(), args.rows, args.rare, seed)
            for line in run_split(rows, y, seed):
                lines.append({"table": name} | line)
    n_rare = round(args.rare * args.rows / 2)
    print(f"{args.rows // 2} rows to fit on, {n_rare} of them of the rare class")
    report(lines)


if __name__ == "__main__":
    main()
