"""Errors of rows that are drawn, or filled in, given a column of their own.

    OMP_NUM_THREADS=1 python benchmarks/conditions.py

Each of the laws makes an early column of a table nearly a function of later ones, which
is the hard case: the model draws the early one first. "training" is by how much rows of
the law depart from it, as a root mean square (of levels the share that is wrong), and
"free" by how much rows do that are drawn without conditions. The columns after it are
of rows that are drawn each given its own values of the later columns, for new rows of
the law, and "filled in" is of means of the early column, which `impute` gives for as
many rows as the last of these columns. Errors are in standard deviations of the law's
noise, and the twentieth of the rows with the greatest ones is left out: there new rows
lie beyond the training rows.
"""

import argparse
import time
import warnings

import numpy as np
import pandas as pd

from sklearn_unsup import VAETransformer

NOISE = {"linear": 6.0, "of two": 0.05, "square": 0.1, "steps": 0.05, "levels": 1.0}
GIVEN = {
    "linear": ["last"],
    "of two": ["last", "other"],
    "square": ["last"],
    "steps": ["early"],
    "levels": ["copy"],
}


def make_table(law, n, rng):
    last, other = rng.normal(size=(2, n))
    level, noise = rng.choice([*"abcdefgh"], n), NOISE[law] * rng.normal(size=n)
    early = {
        "linear": 3_600 + 600 * last + noise,
        "of two": last + other / 2 + noise,
        "square": last**2 + noise,
        "steps": 4.0 * (level > "b") + 8.0 * (level > "e") + 0.3 * last + noise,
        "levels": other,
    }[law]
    columns = {"early": early, "level": level, "last": last, "other": other}
    if law == "levels":
        columns["copy"] = np.char.upper(level)
    return pd.DataFrame(columns)


def errors_of(law, table):
    """Of each row, in standard deviations of the noise."""
    early, last = table["early"], table["last"]
    steps = 4.0 * (table["level"] > "b") + 8.0 * (table["level"] > "e")
    away = {
        "linear": lambda: early - 3_600 - 600 * last,
        "of two": lambda: early - last - table["other"] / 2,
        "square": lambda: early - last**2,
        "steps": lambda: early - steps - 0.3 * last,
        "levels": lambda: table["level"].str.upper() != table["copy"],
    }[law]()
    return away.to_numpy(float) / NOISE[law]


def size_of(law, table):
    errors = np.abs(errors_of(law, table))
    if law == "levels":
        return errors.mean()
    return np.sqrt(np.mean(np.sort(errors)[: int(np.ceil(0.95 * len(errors)))] ** 2))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_500, help="of training")
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--draws", type=int, nargs="+", default=(20, 200, 2_000))
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    names = [f"{n:,} given" for n in args.draws]
    heads = ["training", "free", *names, "s", "filled in", "s"]
    print("law       " + "".join(f"{head:>13}" for head in heads))
    for law in NOISE:
        table = make_table(law, args.rows, np.random.default_rng(0))
        model = VAETransformer(random_state=0, max_iter=args.epochs or "auto")
        model.fit(table)
        cells = [size_of(law, table), size_of(law, model.sample(5_000))]
        for n in args.draws:
            fresh, start = make_table(law, n, np.random.default_rng(n)), time.time()
            drawn = model.sample(n, conditions=fresh[GIVEN[law]], random_state=0)
            seconds = time.time() - start
            cells.append(size_of(law, drawn))
        hidden = "level" if law in ("steps", "levels") else "early"
        start = time.time()
        filled = model.impute(fresh.assign(**{hidden: None}), random_state=0)
        cells += [seconds, size_of(law, filled), time.time() - start]
        print(f"{law:10}" + "".join(f"{cell:13.2f}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
