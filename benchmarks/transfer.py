"""What a model of a related table brings a fit to few rows.

    python benchmarks/transfer.py [--data FILE.parquet:COLUMN ...] [--sizes 200]

Each table is cut in two by a column: numbers at their median, categories into the most
frequent level and the others. A VAE is fitted to `--source-rows` of the upper half, and
others to few rows of the lower half: alone, and started from the first one. Prints the
mean log-likelihood of other rows of the lower half, in nats per row; "source" is the
first model itself, which saw none of them. Without `--data` it is `make_mixed_table`,
cut at its column "height".
"""

import argparse
import json
import warnings
from pathlib import Path

import pandas as pd
from pandas.api.types import is_numeric_dtype

from sklearn_unsup import VAETransformer
from sklearn_unsup.datasets import make_mixed_table

N_HELD_OUT = 3_000


def tables(names):
    """Name, source half and target half of each table, both shuffled."""
    for name in names:
        path, _, column = name.rpartition(":")
        table = pd.read_parquet(path)
        yield Path(path).stem, *halves(table, column)
    if not names:
        yield (
            "make_mixed_table",
            *halves(make_mixed_table(14_000, random_state=0)[0], "height"),
        )


def halves(table, column):
    values = table[column]
    if is_numeric_dtype(values):
        is_upper = values > values.median()
    else:
        is_upper = values == values.mode()[0]
        table = table.drop(columns=column)  # constant in the upper half
    table = table.sample(frac=1.0, random_state=0)
    is_upper = is_upper[table.index]
    return (table[side].reset_index(drop=True) for side in (is_upper, ~is_upper))


def measure(source, target, n_rows, seed, max_iter):
    """Nats per held-out row of the target: alone, started."""
    few = target.sample(n_rows, random_state=seed).index
    held_out = target.drop(few)[:N_HELD_OUT]
    few = target.loc[few].reset_index(drop=True)
    scores = {"source": source.score(held_out)}
    for name, start in (("alone", None), ("started", source)):
        model = VAETransformer(random_state=seed, max_iter=max_iter)
        scores[name] = model.fit(few, start_from=start).score(held_out)
    return scores


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="*", default=[], metavar="FILE:COLUMN")
    parser.add_argument("--sizes", type=int, nargs="*", default=[200])
    parser.add_argument("--source-rows", type=int, default=5_000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--max-iter", type=int, default=None, help="epochs of all fits")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # of levels that few rows do not show
    max_iter = args.max_iter or "auto"
    for name, upper, lower in tables(args.data):
        source = VAETransformer(random_state=0, max_iter=max_iter)
        source.fit(upper[: args.source_rows])
        for size in args.sizes:
            for seed in range(args.seeds):
                scores = measure(source, lower, size, seed, max_iter)
                rounded = {part: round(value, 3) for part, value in scores.items()}
                print(
                    json.dumps({"table": name, "rows": size, "seed": seed, **rounded})
                )


if __name__ == "__main__":
    main()
