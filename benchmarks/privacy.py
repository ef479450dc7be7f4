"""Utility of a fit with a budget against epsilon, and an audit without, on a table.

    python benchmarks/privacy.py table.parquet --epsilon 1 10
    python benchmarks/privacy.py table.parquet --epsilon 1 --declare
    python benchmarks/privacy.py table.parquet --epsilon --audit --rows 1000

Fits to 80 % of the rows and prints a line for each epsilon: the measures of
`synthesis_report` against these rows, what boosting learns from the samples about the
last column, in the other rows, and the processor's seconds of the fit. `--table-only`
judges the rows that the model would be fitted to, which is where the budget is spent.
Ranges and levels are learnt within the budget, or with `--declare` declared as they are
in the table, as if they were known without it. `--audit` attacks a model without one.
"""

import argparse
import time
import warnings

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from sklearn_unsup import VAETransformer
from sklearn_unsup._privacy.budget import private_table
from sklearn_unsup._privacy.columns import public_kind
from sklearn_unsup._table.kinds import CATEGORIES
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
    utility = utility_scores(train, test, synthetic, target, random_state=seed)
    print(
        f"{name:24} c2st {auc:.3f}  shape {shape:.3f}  trend {trend:.3f}  "
        f"tstr {utility.tstr:.3f} (real {utility.trtr:.3f})  {seconds:.0f} s",
        flush=True,
    )


def declared(table):
    """Ranges of numbers and levels of categories, as they are in a whole table."""
    is_level = {name: public_kind(table[name]) == CATEGORIES for name in table}
    return {
        "bounds": {
            name: (table[name].min(), table[name].max())
            for name in table
            if not is_level[name] and table[name].nunique() > 1
        },
        "categories": {
            name: table[name].dropna().unique().tolist()
            for name in table
            if is_level[name]
        },
    }


def audit(train, test, seed):
    """Attack the samples of a model, and the model itself."""
    model = VAETransformer(random_state=seed).fit(train)
    found = membership_audit(None, train, test, model=model, random_state=seed)
    print(f"\naudit of {len(train):,} rows without a budget\n{found}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", nargs="?", help="parquet; None for an artificial one")
    parser.add_argument("--epsilon", type=float, nargs="*", default=[1.0, 10.0])
    parser.add_argument("--rows", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--audit", action="store_true")
    parser.add_argument("--declare", action="store_true")
    parser.add_argument("--table-only", action="store_true")
    options = parser.parse_args()
    seed = options.seed
    if options.table is None:
        table, _ = make_mixed_table(options.rows or 10_000, random_state=0)
    else:
        table = pd.read_parquet(options.table)
    train, test = train_test_split(table, test_size=0.2, random_state=0)
    train = train[: options.rows]
    known = declared(table) if options.declare else {}
    warnings.simplefilter("ignore")
    for epsilon in options.epsilon:
        budget = Budget(epsilon, noise_seed=seed, **known)
        if options.table_only:
            start = time.process_time()
            drawn, *_ = private_table(train, budget, np.random.default_rng(seed))
            seconds = time.process_time() - start
            judge(f"epsilon {epsilon:g}, table", train, test, drawn, seconds, seed)
            continue
        start = time.process_time()
        model = VAETransformer(privacy=budget, random_state=seed).fit(train)
        seconds = time.process_time() - start
        drawn = model.sample(len(train), random_state=seed)
        judge(f"epsilon {epsilon:g}", train, test, drawn, seconds, seed)
    if options.audit:
        audit(train, test, seed)


if __name__ == "__main__":
    main()
