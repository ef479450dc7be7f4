"""How near to the truth drawn rows can be, by the number of rows that are learnt from.

    OMP_NUM_THREADS=1 python benchmarks/learning_curve.py
    python benchmarks/learning_curve.py --laws bent groups --rows 2900 3300 --seeds 5

Of each law that rows are drawn from the density is known. Printed is how many nats per
row a fitted `VAETransformer` loses to it on rows that it has not seen: the divergence
of the law from the model. More rows are to lose less; where a line goes up, a default
that changes with the number of rows changes for the worse. "+-" is the standard error
over seeds, each with rows of its own.

mixed    `make_mixed_table`: numbers, dates, levels and missing values
shares   five positive numbers, each a power of those before it, times some noise
bent     sines, squares and products of two even numbers, some noise
mixture  three numbers about eight points, one of which has few rows
groups   two categories whose pair gives two numbers their mean and width
"""

import argparse
import time
import warnings

import numpy as np
import pandas as pd
from scipy.special import logsumexp
from scipy.stats import norm

from sklearn_unsup import VAETransformer
from sklearn_unsup.datasets import make_mixed_table

N_FRESH = 4_000
ROWS = [100, 200, 400, 700, 900, 1_100, 2_000, 2_900, 3_300, 5_900, 6_100]
ROWS += [9_000, 11_000, 20_000]
FORM = np.random.default_rng(0)  # what a law is like; the same for all seeds


def mixed(n_rows, seed):
    table, truth = make_mixed_table(n_rows, random_state=seed)
    return table, truth.score_samples(table)


def normals(rng, *means_and_widths):
    """Numbers about means, and the log density of each row of them."""
    columns, density = [], 0.0
    for mean, width in means_and_widths:
        columns.append(rng.normal(mean, width))
        density += norm.logpdf(columns[-1], mean, width)
    return columns, density


def shares(n_rows, seed):
    rng, logs, density = np.random.default_rng(seed), [], 0.0
    for powers, width in (
        ([], 0.7),
        ([1.0], 0.1),
        ([0.5, 0.2], 0.3),
        ([0.0, 0.3, 0.6], 0.15),
        ([0.1, 0.1, 0.0, 0.1], 1.0),
    ):
        mean = 3 + sum(
            (w * x for w, x in zip(powers, logs, strict=True)), np.zeros(n_rows)
        )
        (column,), part = normals(rng, (mean, width))
        logs.append(column)
        density += part
    logs = np.column_stack(logs)
    return named(np.exp(logs)), density - logs.sum(1)


def bent(n_rows, seed):
    rng = np.random.default_rng(seed)
    u, v = rng.uniform(-3, 3, size=(2, n_rows))
    means = np.sin(2 * u), u**2 / 3, np.cos(v) * u, np.abs(u + v)
    columns, density = normals(rng, *zip(means, (0.2, 0.3, 0.2, 0.5), strict=True))
    return named(np.column_stack([u, v, *columns])), density - 2 * np.log(6)


CENTRES = 2 * FORM.normal(size=(8, 3))
WEIGHTS = np.array([0.2, 0.2, 0.15, 0.15, 0.1, 0.1, 0.08, 0.02])


def mixture(n_rows, seed):
    rng = np.random.default_rng(seed)
    point = rng.choice(len(WEIGHTS), p=WEIGHTS, size=n_rows)
    X = rng.normal(CENTRES[point], 0.3)
    parts = norm.logpdf(X[:, None], CENTRES, 0.3).sum(2) + np.log(WEIGHTS)
    return named(X), logsumexp(parts, axis=1)


SHARE_OF_FIRST = 0.8 ** np.arange(12) / (0.8 ** np.arange(12)).sum()
SHARE_OF_SECOND = FORM.dirichlet(np.ones(5), size=12)
MEANS, WIDTHS = FORM.normal(size=(2, 12, 5)), FORM.uniform(0.2, 0.8, size=(2, 12, 5))


def groups(n_rows, seed):
    rng = np.random.default_rng(seed)
    first = rng.choice(12, p=SHARE_OF_FIRST, size=n_rows)
    second = (rng.random((n_rows, 1)) > SHARE_OF_SECOND.cumsum(1)[first]).sum(1)
    second = second.clip(max=4)
    means, widths = MEANS[:, first, second], WIDTHS[:, first, second]
    columns, density = normals(rng, *zip(means, widths, strict=True))
    density += np.log(SHARE_OF_FIRST[first]) + np.log(SHARE_OF_SECOND[first, second])
    table = named(np.column_stack(columns))
    return table.assign(
        first=np.char.mod("f%d", first), second=second.astype(str)
    ), density


def named(X):
    return pd.DataFrame(X).rename(columns="x{}".format)


LAWS = {law.__name__: law for law in (mixed, shares, bent, mixture, groups)}


def lost(law, n_rows, seed):
    """Nats per fresh row that a fit loses to its law, and the seconds it took."""
    fresh, truth = law(N_FRESH, 1_000 + seed)
    start = time.process_time()
    model = VAETransformer(handle_unknown="ignore", random_state=seed)
    model.fit(law(n_rows, seed)[0])
    seconds = time.process_time() - start
    return (truth - model.score_samples(fresh)).mean(), seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--laws", nargs="+", default=list(LAWS), choices=list(LAWS))
    parser.add_argument("--rows", nargs="+", type=int, default=ROWS)
    parser.add_argument("--seeds", type=int, default=3, help="how many; default: 3")
    args = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    print(f"{'law':8} {'rows':>6} {'nats lost':>10} {'+-':>6} {'fit, s':>7}")
    for name in args.laws:
        for n_rows in args.rows:
            runs = [lost(LAWS[name], n_rows, seed) for seed in range(args.seeds)]
            nats, seconds = np.transpose(runs)
            error = nats.std() / np.sqrt(max(args.seeds - 1, 1))
            line = f"{nats.mean():10.3f} {error:6.3f} {seconds.mean():7.1f}"
            print(f"{name:8} {n_rows:6} {line}", flush=True)


if __name__ == "__main__":
    main()
