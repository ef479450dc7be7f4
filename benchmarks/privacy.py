"""Utility of a fit with a budget against epsilon, and an audit, on a table.

    python benchmarks/privacy.py table.parquet --epsilon 1 10 --audit

Fits to 80 % of the rows and prints a line for each epsilon: the measures of
`synthesis_report` against these rows, what boosting learns from the samples about the
last column, in the other rows, and the processor's seconds of the fit. "table" is for
the rows that the model is fitted to, which is where the budget is spent.
"""

import argparse
import time
import warnings

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from sklearn_unsup import VAETransformer
from sklearn_unsup._private.budget import private_table
from sklearn_unsup.datasets import make_mixed_table
from sklearn_unsup.metrics import (
    c2st_score,
    shape_score,
    trend_score,
    utility_scores,
)
from sklearn_unsup.privacy import Budget, membership_audit


def judge(name, train, test, synthetic, seconds, seed):
    target = train.columns[-1]
    auc = c2st_score(train, synthetic, random_state=seed)
    shape, trend = (score(train, synthetic) for score in (shape_score, trend_score))
    tstr = utility_scores(train, test, synthetic, target, random_state=seed).tstr
    print(
        f"{name:24} two_sample {auc:.3f}  shape {shape:.3f}  trend {trend:.3f}  "
        f"tstr {tstr:.3f}  {seconds:.0f} s",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", nargs="?", help="parquet; None for an artificial one")
    parser.add_argument("--epsilon", type=float, nargs="+", default=[1.0, 10.0])
    parser.add_argument("--rows", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--audit", action="store_true")
    parser.add_argument("--table-only", action="store_true")
    options = parser.parse_args()
    seed = options.seed
    if options.table is None:
        table, _ = make_mixed_table(options.rows or 10_000, random_state=0)
    else:
        table = pd.read_parquet(options.table)
    train, test = train_test_split(table, test_size=0.2, random_state=0)
    train = train[: options.rows]
    warnings.simplefilter("ignore")
    for epsilon in options.epsilon:
        start = time.process_time()
        drawn, *_ = private_table(train, Budget(epsilon), np.random.default_rng(seed))
        seconds = time.process_time() - start
        judge(f"epsilon {epsilon:g}, table", train, test, drawn, seconds, seed)
        if options.table_only:
            continue
        start = time.process_time()
        model = VAETransformer(
            privacy=Budget(epsilon, noise_seed=seed), random_state=seed
        ).fit(train)
        seconds = time.process_time() - start
        drawn = model.sample(len(train), random_state=seed)
        judge(f"epsilon {epsilon:g}", train, test, drawn, seconds, seed)
    if options.audit:
        model = VAETransformer(random_state=seed).fit(train)
        print(membership_audit(None, train, test, model=model, random_state=seed))


if __name__ == "__main__":
    main()
