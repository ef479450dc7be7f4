"""When to believe that new rows help: rules of decision on the same measured gains.

    python benchmarks/augmentation_rule.py [--quick] [--others] [--out LINES]
    python benchmarks/augmentation_rule.py --read LINES ...

Of each bundled table n rows are given, and the others are held out. For each learner
and split the scores are measured that `GenerativeAugmenter` sees in its inner
cross-validation, for each amount of rows, and those of the rows held out: AUC or R2.
All rules are then asked about the same numbers: how many decisions to add rows they
take, how many of these harm, and what they bring on average. All are rules of one
standard error: that of independent splits, a multiple of it, or the one that allows
for training rows that splits share. --others measures from n = 100 on also rows of
which a network redrew some cells, and rows and labels both drawn by a network.
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from augmentation import BUNDLED, LEARNERS, load, plain_sample, score
from sklearn.base import clone
from sklearn.metrics import check_scoring
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_unsup import VAETransformer
from sklearn_unsup.augmentation import GenerativeAugmenter
from sklearn_unsup.augmentation._augmenter import MULTIPLES, RowMaker, default_scoring

DEFAULT_LEARNERS = ("tree", "neighbors", "linear", "forest")
N_TREES = 20  # of the forest, which takes most of the time
MIN_ROWS_OTHERS = 100


def independent(n_splits, ratio):
    return np.sqrt(1 / n_splits)


def shared(n_splits, ratio):
    """For splits whose training rows overlap: of Nadeau and Bengio (2003)."""
    return np.sqrt(1 / n_splits + ratio)


# How many standard errors the largest gain must exceed, of which kind, and how many of
# them below it an amount may lie that is smaller.
RULES = {
    "independent": (1, independent, 1),
    "independent, best": (1, independent, 0),
    "1.5 independent": (1.5, independent, 1),
    "1.5 independent, best": (1.5, independent, 0),
    "2 independent": (2, independent, 1),
    "2 independent, best": (2, independent, 0),
    "half shared": (0.5, shared, 1),
    "half shared, best": (0.5, shared, 0),
    "shared": (1, shared, 1),
    "shared, best": (1, shared, 0),
}


def split_rows(X, y, n, seed):
    X, X_test, y, y_test = train_test_split(
        X,
        y,
        train_size=n,
        random_state=seed,
        stratify=y if y.dtype.kind != "f" else None,
    )
    return X.reset_index(drop=True), X_test, y.reset_index(drop=True), y_test


def grow(X, y, rows, labels, multiple):
    """X and y, with the first new rows, as arrays: learners are faster on these."""
    n_new = int(multiple * len(y))
    return np.concatenate([X, rows[:n_new]]), np.concatenate([y, labels[:n_new]])


def draw(generator, X, y, seed):
    maker = RowMaker(generator, "auto", y.dtype.kind != "f", seed)
    maker.fit(X, X, y.to_numpy())
    return maker.draw(int(max(MULTIPLES) * len(y)))


def scores_of_amounts(learner, scorer, X, y, drawn, X_test, y_test):
    return [
        scorer(clone(learner).fit(*grow(X, y, *drawn, multiple)), X_test, y_test)
        for multiple in MULTIPLES
    ]


def measure(X, y, n, seed, names, with_others, *, with_inner=True):
    """Inner and held-out scores of one split, one line for each learner."""
    is_class = y.dtype.kind != "f"
    X, X_test, y, y_test = split_rows(X, y, n, seed)
    learners = {
        # The bundled tables are numbers, so that scaling is all they need.
        name: make_pipeline(StandardScaler(), LEARNERS[name][0 if is_class else 1])
        for name in names
    }

    def outer(learner, X, y):
        return score(learner, X, y, is_class)

    lines = {
        name: {"learner": name, "n": n, "seed": seed, "inner": []} for name in names
    }
    folds = GenerativeAugmenter()._folds(y.to_numpy(), is_class, seed)
    folds = list(folds.split(X, y))
    start = time.perf_counter()
    for i, (train, test) in enumerate(folds if with_inner else []):
        X_in = X.iloc[train].reset_index(drop=True)
        y_in = y.iloc[train].reset_index(drop=True)
        drawn = draw(None, X_in, y_in, seed + i)
        for name, learner in learners.items():
            scorer = check_scoring(learner, default_scoring(learner, y, is_class))
            lines[name]["inner"].append(
                scores_of_amounts(
                    learner, scorer, X_in, y_in, drawn, X.to_numpy()[test], y.iloc[test]
                )
            )
    ratio = len(folds[0][1]) / len(folds[0][0])
    seconds = time.perf_counter() - start
    X_test, drawn = X_test.to_numpy(), draw(None, X, y, seed)
    plain = plain_sample(X, y, seed) if with_others else None
    if with_others:
        vae = draw(VAETransformer(random_state=seed), X, y, seed)
    for name, learner in learners.items():
        line = lines[name]
        line.update(test_over_train=ratio, seconds=seconds)
        line["true"] = scores_of_amounts(learner, outer, X, y, drawn, X_test, y_test)
        if with_others:
            line["plain"] = outer(
                clone(learner).fit(*map(np.asarray, plain)), X_test, y_test
            )
            line["vae"] = scores_of_amounts(learner, outer, X, y, vae, X_test, y_test)
    return list(lines.values())


def decide(line, rule):
    """The place of the amount that the rule chooses."""
    inner = np.array(line["inner"])
    gains = inner - inner[:, :1]
    mean = gains.mean(axis=0)
    best = mean.argmax()
    n_errors, kind, n_below = RULES[rule]
    error = kind(len(gains), line["test_over_train"]) * n_errors
    error *= gains[:, best].std(ddof=1)
    if mean[best] <= error:
        return 0
    return int(np.flatnonzero(mean[1:] >= mean[best] - n_below * error)[0]) + 1


def gain_of(line, place, key="true"):
    return line[key][place] - line["true"][0]


def mean_and_error(values):
    values = np.asarray(values)
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{values.mean():+.4f} +- {error:.4f}"


def report_rules(lines):
    print("\nrule                   added  harm  mean gain            of the added")
    for rule in RULES:
        places = [decide(line, rule) for line in lines]
        gains = np.array([gain_of(*pair) for pair in zip(lines, places, strict=True)])
        added = np.array(places) > 0
        print(
            f"{rule:22}{added.sum():6}{(gains[added] < 0).sum():6}  "
            f"{mean_and_error(gains)}  "
            + (mean_and_error(gains[added]) if added.any() else "")
        )
    for place in range(1, len(MULTIPLES)):
        gains = np.array([gain_of(line, place) for line in lines])
        print(
            f"always {MULTIPLES[place]:<15g}{len(gains):6}{(gains < 0).sum():6}  "
            f"{mean_and_error(gains)}"
        )
    best = [max(gain_of(line, i) for i in range(len(MULTIPLES))) for line in lines]
    print(f"{'in hindsight':34}  {mean_and_error(best)}")


def report_cells(lines, rule):
    """What the rule brings each learner, and how many cells gain or lose."""
    frame = pd.DataFrame(
        {key: line[key] for key in ("table", "learner", "n")}
        | {"gain": gain_of(line, place), "added": place > 0}
        for line in lines
        for place in [decide(line, rule)]
    )
    print(f"\n{rule}: mean gain by learner")
    for (n, learner), part in frame.groupby(["n", "learner"]):
        print(
            f"  n={n:<5}{learner:10} {mean_and_error(part['gain'])}"
            f"  rows added in {part['added'].mean():.0%}"
        )
    cells = frame.groupby(["table", "n", "learner"])["gain"].agg(["mean", "sem"])
    better, worse = cells["mean"] > 2 * cells["sem"], cells["mean"] < -2 * cells["sem"]
    n_splits = frame.groupby(["table", "n", "learner"]).size()
    print(
        f"  cells: {better.sum()} better, {worse.sum()} worse of {len(cells)}; "
        f"{n_splits.min()} to {n_splits.max()} splits each"
    )
    for cell in cells[worse].itertuples():
        print(f"  worse: {cell.Index} {cell.mean:+.4f} +- {cell.sem:.4f}")


def report_others(lines):
    lines = [line for line in lines if "vae" in line]
    if not lines:
        return
    names = sorted({line["learner"] for line in lines})
    for name in ["all", *names]:
        part = [line for line in lines if name in ("all", line["learner"])]
        print(f"\n{name}, {len(part)} splits")
        drawn = [line["plain"] - line["true"][0] for line in part]
        print(f"  two drawn rows for each     {mean_and_error(drawn)}")
        for place in range(1, len(MULTIPLES)):
            mixed = [gain_of(line, place) for line in part]
            redrawn = [gain_of(line, place, "vae") for line in part]
            print(
                f"  {MULTIPLES[place]:g} times: neighbours {mean_and_error(mixed)}, "
                f"half redrawn {mean_and_error(redrawn)}, "
                f"difference {mean_and_error(np.subtract(redrawn, mixed))}"
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", nargs="+", default=list(BUNDLED))
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 100])
    parser.add_argument("--seeds", type=int, nargs=2, default=[0, 10], help="from, to")
    parser.add_argument("--learners", nargs="+", default=list(DEFAULT_LEARNERS))
    parser.add_argument("--others", action="store_true")
    parser.add_argument("--no-inner", action="store_true", help="no rules, --others")
    parser.add_argument("--out", type=Path, help="append one JSON line a measurement")
    parser.add_argument("--read", type=Path, nargs="+", help="measure nothing")
    parser.add_argument("--quick", action="store_true", help="three splits of 50 rows")
    args = parser.parse_args()
    if args.quick:
        args.sizes, args.seeds, args.learners = [50], [0, 3], ["tree", "linear"]
    warnings.simplefilter("ignore")
    lines = []
    for path in args.read or []:
        lines += [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    if args.read is None:
        for part in measure_all(args):
            lines += part
            if args.out is not None:
                with args.out.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(line) + "\n" for line in part)
    judged = [line for line in lines if line["inner"]]
    if judged:
        report_rules(judged)
        for rule in RULES:
            report_cells(judged, rule)
    report_others(lines)


def measure_all(args):
    for forest in LEARNERS["forest"]:
        forest.set_params(n_estimators=N_TREES)
    for seed in range(*args.seeds):
        for n in args.sizes:
            for table in args.data:
                with_others = args.others and n >= MIN_ROWS_OTHERS
                found = measure(
                    *load(table),
                    n,
                    seed,
                    args.learners,
                    with_others,
                    with_inner=not args.no_inner,
                )
                yield [{"table": table, **line} for line in found]


if __name__ == "__main__":
    main()
