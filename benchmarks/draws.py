"""Speed and memory of `sample` on one thread.

    OMP_NUM_THREADS=1 python benchmarks/draws.py

Tables of 10 columns with 12,000 rows: normal numbers that depend on four factors, of
which one is rounded, one skewed and one censored ("numbers"); and the same with a half
of the columns cut into 2 to 25 levels ("mixed"). A VAETransformer is trained for a few
epochs with the width that long fits of such a table choose ("wide", 128 hidden units
for each column) and with that of short ones ("narrow"), and a GANSampler ("GAN"), whose
density ratio weighs four proposals for each row after so short a training. Rows per
second are those of CPU time, the best of the rounds; "peak" is what drawing the most
rows added to the memory that the process had held at most, beside what the drawn table
takes.
"""

import argparse
import resource
import sys
import time
import warnings

import numpy as np
import pandas as pd
import torch
from sklearn.exceptions import ConvergenceWarning

from sklearn_unsup import GANSampler, VAETransformer, _row_fitting

MIB = 2**20
WIDTHS = {"wide": _row_fitting.WIDE_WIDTH, "narrow": _row_fitting.NARROW_WIDTH}


def make_table(kind, n, rng):
    factors = rng.normal(size=(n, 4))
    numbers = factors @ rng.normal(size=(4, 10)) + 0.5 * rng.normal(size=(n, 10))
    numbers[:, 1] = np.exp(numbers[:, 1] / 3)
    numbers[:, 2] = np.round(numbers[:, 2])
    numbers[:, 3] = np.maximum(numbers[:, 3], 0.0)
    table = pd.DataFrame(numbers, columns=[f"x{i}" for i in range(10)])
    if kind == "mixed":
        for column, n_levels in zip(table.columns[5:], (2, 4, 7, 12, 25), strict=True):
            levels = [f"level {i}" for i in range(n_levels)]
            table[column] = pd.qcut(table[column], n_levels, labels=levels)
    return table


def peak_bytes():
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=12_000, help="of training")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--draws", type=int, nargs="+", default=(10_000, 100_000, 1_000_000)
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    rng = np.random.default_rng(0)
    print(f"{'table':10}{'model':>8}{'rows drawn':>12}{'rows/s':>10}{'peak MiB':>10}")
    for kind in ("numbers", "mixed"):
        table = make_table(kind, args.rows, rng)
        for width, units in WIDTHS.items():
            _row_fitting.NARROW_WIDTH = units
            model = VAETransformer(max_iter=args.epochs, random_state=0).fit(table)
            measure(model, kind, width, args)
        model = GANSampler(max_iter=args.epochs, random_state=0).fit(table)
        measure(model, kind, "GAN", args)


def measure(model, kind, name, args):
    model.sample(1_000)
    for n in args.draws:
        seconds, before = [], peak_bytes()
        for _ in range(args.rounds if n < 10**6 else 1):
            start = time.process_time()
            drawn = model.sample(n)
            seconds.append(time.process_time() - start)
        added = peak_bytes() - before - drawn.memory_usage().sum()
        print(
            f"{kind:10}{name:>8}{n:12,}{n / min(seconds):10,.0f}"
            f"{max(0, added) / MIB:10.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
