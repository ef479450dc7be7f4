"""Whether GANSampler's score on held-out rows tells good generators from bad ones.

    OMP_NUM_THREADS=1 python benchmarks/score.py [--seeds 3]

Three generators of each table: one trained for a single pass, one that learnt only a
part of the table and so lacks modes (two points of the ring, a plan, half of the
digits), and one with the defaults. The score is minus the energy distance to rows that
none of them saw; the last column is that of fresh rows of the true distribution, the
best that can be had.
"""

import argparse

import numpy as np
import torch
from sklearn.datasets import load_digits

from sklearn_unsup import GANSampler
from sklearn_unsup._nn.two_sample import energy_distance
from sklearn_unsup.datasets import make_mixed_table

N_ROWS = 4_000


def ring(n_rows, seed):
    """Rows around eight points on a circle, and the number of each row's point."""
    rng = np.random.default_rng(seed)
    point = rng.integers(8, size=n_rows)
    angle = point * np.pi / 4
    centres = 2 * np.column_stack([np.cos(angle), np.sin(angle)])
    return centres + 0.05 * rng.normal(size=(n_rows, 2)), point


def ring_rows(seed):
    """Train, a part of it, held-out and fresh rows."""
    X, point = ring(N_ROWS, seed)
    return X, X[point < 6], ring(N_ROWS, seed + 100)[0], ring(N_ROWS, seed + 200)[0]


def mixed_rows(seed):
    X, held_out, fresh = (
        make_mixed_table(N_ROWS, random_state=seed + add)[0] for add in (0, 100, 200)
    )
    return X, X[X["plan"] != "basic"], held_out, fresh


def digit_rows(seed):
    X, y = load_digits(return_X_y=True)
    parts = np.random.default_rng(seed).permutation(len(X)) % 3
    train, held_out, fresh = (X[parts == part] for part in range(3))
    return train, train[y[parts == 0] < 5], held_out, fresh


TABLES = {"ring of 8": ring_rows, "mixed table": mixed_rows, "digits": digit_rows}


def scores(rows, seed, max_iter):
    """Held-out scores of the three generators, and of fresh rows."""
    X, part, held_out, fresh = rows
    under_trained = GANSampler(max_iter=1, random_state=seed).fit(X)
    # The first pass sets up the encoding; what is learnt later lacks the other modes.
    collapsed = GANSampler(max_iter=1, warm_start=True, random_state=seed).fit(X)
    collapsed.set_params(max_iter=max_iter).fit(part)
    good = GANSampler(max_iter=max_iter, random_state=seed).fit(X)
    return [
        *(model.score(held_out) for model in (under_trained, collapsed, good)),
        -distance(good, fresh, held_out),
    ]


def distance(model, *tables):
    """Energy distance in the encoding of a model, as its score measures it."""
    return energy_distance(*(model._encoded_rows(table) for table in tables)).item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3, help="how many; default: 3")
    parser.add_argument("--epochs", type=int, help="of good fits; default: the models'")
    args = parser.parse_args()
    torch.set_num_threads(1)
    names = "under-trained", "collapsed", "good", "fresh rows"
    print(f"{'':12} seed" + "".join(f"{name:>15}" for name in names))
    for name, make_rows in TABLES.items():
        for seed in range(args.seeds):
            values = scores(make_rows(seed), seed, args.epochs or "auto")
            line = "".join(f"{value:15.4f}" for value in values)
            print(f"{name:12} {seed:4}{line}", flush=True)


if __name__ == "__main__":
    main()
