"""What a model of a related table brings a fit to few rows.

    python benchmarks/transfer.py [--data FILE.parquet:COLUMN[:TARGET] ...]

Each table is cut in two by a column: numbers at their median, categories into the most
frequent level and the others. A VAE is fitted to `--source-rows` of the upper half, and
others to few rows of the lower half: "alone", and "started" from the first one. All are
judged by other rows of the lower half:

- nats: their mean log-likelihood per row;
- c2st: how well boosted trees tell as many drawn rows from them (.5: not at all);
- tstr: how well TARGET, by default the last column, is predicted in them by trees that
  have learnt from drawn rows (AUC of a category, R2 of a number).

"source" is the first model itself, which saw none of the few rows, and "real" is what
trees learn from these rows themselves. Without `--data` the table is
`make_mixed_table`, cut at its column "height".
"""

import argparse
import json
import time
import warnings
from pathlib import Path

import pandas as pd
import torch
from pandas.api.types import is_numeric_dtype

from sklearn_unsup import VAETransformer
from sklearn_unsup.datasets import make_mixed_table
from sklearn_unsup.metrics import c2st_score, utility_scores

N_HELD_OUT = 3_000


def tables(specifications):
    """Name, source half, target half and column to predict of each table."""
    for specification in specifications:
        path, column, *target = specification.split(":")
        table = pd.read_parquet(path)
        yield (
            Path(path).stem,
            *halves(table, column),
            (target or [table.columns[-1]])[0],
        )
    if not specifications:
        table, _ = make_mixed_table(14_000, random_state=0)
        yield "make_mixed_table", *halves(table, "height"), "plan"


def halves(table, column):
    """Rows of the upper and of the lower half, both shuffled."""
    values = table[column]
    if is_numeric_dtype(values):
        is_upper = values > values.median()
    else:
        is_upper = values == values.mode()[0]
        table = table.drop(columns=column)  # constant in the upper half
    table = table.sample(frac=1.0, random_state=0)
    is_upper = is_upper[table.index]
    return (table[side].reset_index(drop=True) for side in (is_upper, ~is_upper))


def measure(model, few, held_out, target, seed):
    """Nats, c2st and tstr of a fitted model, and what the few rows themselves teach."""
    drawn = model.sample(len(held_out), random_state=seed)
    utility = utility_scores(few, held_out, drawn, target, random_state=seed)
    scores = {
        "nats": model.score(held_out),
        "c2st": c2st_score(held_out, drawn, random_state=seed),
        "tstr": utility.tstr,
    }
    return scores, utility.trtr


def compare(source, lower, target, n_rows, seed, parameters):
    """Scores of the source, of a fit alone, and of one that starts from the source."""
    few = lower.sample(n_rows, random_state=seed).index
    held_out = lower.drop(few)[:N_HELD_OUT].reset_index(drop=True)
    few = lower.loc[few].reset_index(drop=True)
    result = {}
    for name, start in (("source", None), ("alone", None), ("started", source)):
        cpu, model = time.process_time(), source
        if name != "source":
            model = VAETransformer(random_state=seed, **parameters)
            model.fit(few, start_from=start)
        cpu = time.process_time() - cpu
        scores, real = measure(model, few, held_out, target, seed)
        result[name] = {part: round(value, 3) for part, value in scores.items()}
        if name != "source":
            result[name]["fit_cpu_s"] = round(cpu, 1)
    return {**result, "real": {"tstr": round(real, 3)}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", nargs="*", default=[], metavar="FILE:COLUMN[:TARGET]")
    parser.add_argument("--sizes", type=int, nargs="*", default=[200])
    parser.add_argument("--source-rows", type=int, default=5_000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--max-iter", type=int, help="epochs of all fits")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of levels that few rows do not show
    parameters = {} if args.max_iter is None else {"max_iter": args.max_iter}
    for name, upper, lower, target in tables(args.data):
        source = VAETransformer(random_state=0, **parameters)
        source.fit(upper[: args.source_rows])
        for size in args.sizes:
            for seed in range(args.seeds):
                scores = compare(source, lower, target, size, seed, parameters)
                line = {"table": name, "rows": size, "seed": seed, **scores}
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
