"""A training step in float32 and in bfloat16, on one thread and two; what samples say.

    python benchmarks/precision.py [--rounds 9] [--table some.parquet]

Milliseconds per step, by the clock, of each model with its defaults on a table with the
columns of Adult, turn by turn in one process: run it on an idle machine. With `--table`
the VAE and the GAN are also fitted to 80 % of a table in both precisions; rows drawn
from them are compared with those (trend is best at 1, c2st at .5).
"""

import argparse
import time

import numpy as np
import pandas as pd
import torch
from floor import MODELS, adult_like, trained
from sklearn.model_selection import train_test_split

from sklearn_unsup import GANSampler, VAETransformer
from sklearn_unsup.metrics import c2st_score, trend_score

FORMS = [(False, 1), (True, 1), (False, 2), (True, 2)]  # mixed_precision, threads


def measure(name, X, n_rounds):
    torch.set_num_threads(1)
    model, rows, _ = trained(name, X, "cpu")
    net = model.net_.set_params(max_epochs=1)
    taken = {form: [] for form in FORMS}
    for number in range(n_rounds):
        for place in np.roll(range(len(FORMS)), number):
            net.mixed_precision, n_threads = FORMS[place]
            torch.set_num_threads(n_threads)
            before, start = net.step_, time.perf_counter()
            net.partial_fit(rows)
            seconds = time.perf_counter() - start
            taken[FORMS[place]].append(1e3 * seconds / (net.step_ - before))
    medians = [np.median(taken[form]) for form in FORMS]
    print(f"{name:14}" + "".join(f"{median:14.1f}" for median in medians), flush=True)


def compare(path):
    torch.set_num_threads(1)
    table = pd.read_parquet(path)
    train, _ = train_test_split(table, test_size=0.2, random_state=0)
    train = train.reset_index(drop=True)
    print(f"\n{'':16}{'':10}{'fit s':>9}{'trend':>9}{'c2st':>9}")
    for kind in (VAETransformer, GANSampler):
        for mixed in (False, True):
            start = time.perf_counter()
            model = kind(mixed_precision=mixed, random_state=0).fit(train)
            seconds = time.perf_counter() - start
            rows = model.sample(len(train), random_state=0)
            scores = (
                trend_score(train, rows),
                c2st_score(train, rows, random_state=0),
            )
            label = "bfloat16" if mixed else "float32"
            print(
                f"{kind.__name__:16}{label:10}{seconds:9.1f}"
                + "".join(f"{score:9.4f}" for score in scores),
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--table", help="a parquet file to draw samples of")
    args = parser.parse_args()
    print(f"{'ms/step':14}{'float32':>14}{'bfloat16':>14}{'2 threads':>14}{'both':>14}")
    for name in MODELS:
        measure(name, adult_like(args.rows), args.rounds)
    if args.table:
        compare(args.table)
