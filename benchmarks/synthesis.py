"""Quality of generated tables, beside baselines that any generator must beat.

    OMP_NUM_THREADS=1 python benchmarks/synthesis.py [--table file.parquet] ...

Each model is fitted with its defaults on 80 % of a table's rows and draws as many. The
scores of sklearn_unsup.metrics compare these with the rows fitted on (shape, trend,
c2st) or use the other 20 % (tstr, trtr, dcr_excess, copies, nats). Rows of the output
are means over the seeds, which choose the split too; c2st is best at .5, dcr_excess and
copies at 0, shape, trend and tstr at 1.

`copies` is the share of drawn rows that equal a row fitted on, minus the same share of
the other 20 %. `nats` is the mean log-likelihood of the other 20 % in the units of the
table, higher is better, of models that have one.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.model_selection import train_test_split

import sklearn_unsup
from sklearn_unsup.metrics import (
    c2st_score,
    closest_record_scores,
    shape_score,
    trend_score,
    utility_scores,
)

OURS = [n for n in ("VAETransformer", "GANSampler") if hasattr(sklearn_unsup, n)]
MEASURES = (
    *("shape", "trend", "c2st", "tstr", "trtr", "dcr_excess", "copies", "nats"),
    *("fit_s", "sample_s"),
)


# ------------------------------------------------------------------------- the tables


def is_numeric(column):
    """Whether a column is a number or a date, and no class."""
    dtype = column.dtype
    is_number = pd.api.types.is_numeric_dtype(dtype) or dtype.kind == "M"
    return is_number and not pd.api.types.is_bool_dtype(dtype)


def diabetes():
    table = load_diabetes(as_frame=True, scaled=False).frame
    return table.astype({"sex": int}).astype({"sex": "category"}), "target"


def breast_cancer():
    table = load_breast_cancer(as_frame=True).frame
    return table.astype({"target": "category"}), "target"


def wine():
    return load_wine(as_frame=True).frame.astype({"target": "category"}), "target"


BUNDLED = {"diabetes": diabetes, "breast cancer": breast_cancer, "wine": wine}


def tables(path, target, n_rows):
    """Name, frame and target of each table; a given file stands instead of all."""
    if path is None:
        loaded = [(name, *load()) for name, load in BUNDLED.items()]
    else:
        table = pd.read_parquet(path)
        loaded = [(Path(path).stem, table, target or table.columns[-1])]
    for name, table, column in loaded:
        if n_rows is not None and n_rows < len(table):
            table = table.sample(n_rows, random_state=0)
        yield name, table.reset_index(drop=True), column


# ------------------------------------------------------------------------- the models


class Baseline:
    def nats(self, rows):
        return np.nan


class Independent(Baseline):
    """Every column a bootstrap of its own: perfect marginals, no dependence."""

    def fit(self, train, target, seed):
        self.train, self.rng = train, np.random.default_rng(seed)

    def sample(self, n):
        rows = self.rng.integers(len(self.train), size=(self.train.shape[1], n))
        columns = zip(self.train, rows, strict=True)
        return pd.DataFrame({k: self.train[k].iloc[row].array for k, row in columns})


class Bootstrap(Baseline):
    """Training rows again: perfect but for being copies."""

    def fit(self, train, target, seed):
        self.train, self.seed = train, seed

    def sample(self, n):
        rows = self.train.sample(n, replace=True, random_state=self.seed)
        return rows.reset_index(drop=True)


class Smote(Baseline):
    """Rows between neighbours of a class (Chawla et al. 2002) of imbalanced-learn.

    Classes are the levels of the target, or the two sides of a number's median.
    """

    def fit(self, train, target, seed):
        self.train, self.target, self.seed = train.dropna(), target, seed

    def sample(self, n):
        y = self.train[self.target]
        classes = y > y.median() if is_numeric(y) else y
        classes, levels = pd.factorize(classes)
        counts = np.bincount(classes)
        wanted = counts + np.ceil(n * counts / counts.sum()).astype(int)
        smote, table = self._smote(dict(enumerate(wanted.tolist())), counts.min())
        rows, labels = smote.fit_resample(table, classes)
        rows, labels = rows[len(table) :], labels[len(table) :]
        if self.target not in rows:
            rows = rows.assign(**{self.target: levels[labels]})
        return (
            rows[self.train.columns]
            .astype(self.train.dtypes)
            .sample(n, random_state=self.seed, ignore_index=True)
        )

    def _smote(self, wanted, smallest):
        from imblearn.over_sampling import SMOTE, SMOTEN, SMOTENC

        table = self.train
        if not is_numeric(table[self.target]):
            table = table.drop(columns=self.target)
        categorical = [name for name in table if not is_numeric(table[name])]
        params = {
            "sampling_strategy": wanted,
            "k_neighbors": int(min(5, smallest - 1)),
            "random_state": self.seed,
        }
        if not categorical:
            return SMOTE(**params), table
        if len(categorical) == table.shape[1]:
            return SMOTEN(**params), table
        return SMOTENC(categorical, **params), table


class Ours:
    """An estimator of this package, with its defaults."""

    def __init__(self, name):
        self.name = name

    def fit(self, train, target, seed):
        self.model = getattr(sklearn_unsup, self.name)(random_state=seed).fit(train)

    def sample(self, n):
        return self.model.sample(n)

    def nats(self, rows):
        """Mean log-likelihood of rows; nan for a model without likelihoods."""
        return self.model.score(rows) if self.name == "VAETransformer" else np.nan


BASELINES = {"independent": Independent, "bootstrap": Bootstrap, "SMOTE": Smote}


def make_model(name):
    return BASELINES[name]() if name in BASELINES else Ours(name)


# -------------------------------------------------------------------- the measurement


def measure(model, table, target, seed):
    """Scores of one model on one split, in the order of MEASURES."""
    classes = None if is_numeric(table[target]) else table[target]
    train, test = (
        part.reset_index(drop=True)
        for part in train_test_split(
            table, test_size=0.2, random_state=seed, stratify=classes
        )
    )
    start = time.perf_counter()
    model.fit(train, target, seed)
    fitted = time.perf_counter()
    rows = model.sample(len(train))
    sampled = time.perf_counter()
    utility = utility_scores(train, test, rows, target, random_state=seed)
    closest = closest_record_scores(train, test, rows, random_state=seed)
    return (
        shape_score(train, rows),
        trend_score(train, rows),
        c2st_score(train, rows, random_state=seed),
        utility.tstr,
        utility.trtr,
        closest.dcr_excess,
        closest.copies - closest.holdout_copies,
        model.nats(test),
        fitted - start,
        sampled - fitted,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--table", help="parquet file; default: three bundled tables")
    parser.add_argument("--target", help="column to predict; default: the last")
    parser.add_argument("--rows", type=int, help="take at most so many rows")
    parser.add_argument("--seeds", type=int, default=5, help="how many; default: 5")
    every = [*BASELINES, *OURS]
    parser.add_argument("--models", nargs="+", default=every, choices=every)
    args = parser.parse_args()
    torch.set_num_threads(1)
    heading = "".join(f"{name:>11}" for name in MEASURES)
    for name, table, target in tables(args.table, args.target, args.rows):
        kind = "R2" if is_numeric(table[target]) else "AUC"
        print(f"\n{name}: {len(table)} rows, {table.shape[1]} columns, tstr in {kind}")
        print(f"{'':16}{heading}")
        for label in args.models:
            seeds = range(args.seeds)
            scores = [measure(make_model(label), table, target, s) for s in seeds]
            means = np.mean(scores, axis=0)
            cells = ("-" if np.isnan(m) else f"{m:.3f}" for m in means)
            print(f"{label:16}" + "".join(f"{c:>11}" for c in cells), flush=True)


if __name__ == "__main__":
    main()
