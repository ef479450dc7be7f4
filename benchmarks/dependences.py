"""How much of what columns have to do with each other drawn rows keep.

    OMP_NUM_THREADS=1 python benchmarks/dependences.py
    python benchmarks/dependences.py --tables 7 13 14 --seeds 3 --no-interactions

Random tables are drawn from a normal copula with two factors: five to nine columns of
nine kinds, 400 to 3,000 rows, some with missing values. Of each table all correlations
are computed, of ranks of numbers and of levels. Printed are

slope   that of the drawn correlations on those of the training rows: 1 keeps them
min     the least part that is drawn of a correlation above .12
error   root mean square error of the drawn ones against 6,000 other rows, and (train)
        that of the training rows themselves
nats    mean log-likelihood of those other rows

Then three tables of 2,000 rows, in which a level of sixty changes no mean, but what
others have to do with each other: the correlation, or share of rows, that is drawn.
"""

import argparse
import warnings

import numpy as np
import pandas as pd
from scipy.stats import norm

from sklearn_unsup import VAETransformer

KINDS = "log price count int zero bin five many date".split()
N_FRESH, N_DRAWN, LEAST = 6_000, 10_000, 0.12
N_LEVELS = 60
SIGNS = np.random.default_rng(7).choice([-1.0, 1.0], N_LEVELS)


def column(kind, z, form, rng):
    """A column of a kind whose ranks are those of normal numbers, as far as it can."""
    u, (a, b, _), n = norm.cdf(z), form, len(z)
    if kind == "log":
        return np.exp(2 + z * (0.2 + a))
    if kind == "price":
        price = np.round(np.exp(2.5 + z * (0.4 + a)), 2)
        points = np.exp(2.5 + np.linspace(-1.5, 2.5, 3 + int(15 * b)))
        near = np.abs(np.log(price)[:, None] - np.log(points)).argmin(1)
        is_point = rng.random(n) < 0.3 + 0.7 * b
        return np.where(is_point, np.floor(points[near]) + 0.99, price)
    if kind == "count":
        return np.floor(np.exp(0.6 * z + 0.5 + a))
    if kind == "int":
        return np.floor(u * (3 + int(57 * b)))
    if kind == "zero":
        return np.where(u < 0.2 + 0.6 * a, 0.0, np.round(np.exp(z + 1), 1))
    if kind == "bin":
        return np.where(u < 0.1 + 0.5 * a, "a", "b").astype(object)
    if kind == "five":
        levels = "pqrst" if a < 0.5 else "tpsqr"
        return np.array([*levels], dtype=object)[(5 * u).astype(int).clip(0, 4)]
    if kind == "many":
        n_levels = 35 + int(30 * b)
        names = np.random.default_rng(int(1e6 * a)).permutation(n_levels)
        place = (u * n_levels).astype(int).clip(0, n_levels - 1)
        return np.array([f"v{name}" for name in names[place]], dtype=object)
    return pd.Timestamp("2020-01-01") + pd.to_timedelta(np.floor(700 * u), unit="D")


def random_table(number, n_rows=None):
    """The training rows of a random table, or so many other rows of the same law."""
    law, rng = np.random.default_rng(number), np.random.default_rng(number + 1)
    size, n_columns = int(law.choice([400, 800, 1_500, 3_000])), law.integers(5, 10)
    shape = n_columns, 2
    loadings = law.normal(size=shape) * (law.random(shape) < 0.6)
    covariance = loadings @ loadings.T + np.diag(law.uniform(0.5, 2, n_columns))
    deviations = np.sqrt(covariance.diagonal())
    kinds, forms = law.choice(KINDS, n_columns), law.random((n_columns, 3))
    if n_rows is not None:
        rng = np.random.default_rng(number + 10_000)
    correlation = covariance / np.outer(deviations, deviations)
    z = rng.multivariate_normal(np.zeros(n_columns), correlation, n_rows or size)
    table = {
        f"{kind}{place}": column(kind, z[:, place], forms[place], rng)
        for place, kind in enumerate(kinds)
    }
    table = pd.DataFrame(table)
    for name, form in zip(table, forms, strict=True):
        if form[2] < 0.25:
            table[name] = table[name].mask(rng.random(len(table)) < 0.1)
    return table


def correlations(table, train):
    """Of the ranks of numbers and of levels of few; of pairs of different columns."""
    ranked, owners = [], []
    for place, name in enumerate(train):
        values = table[name]
        if name.startswith("many"):
            continue
        if name.startswith(("bin", "five")):
            parts = [values.eq(own) for own in sorted(train[name].dropna().unique())]
        elif name.startswith("date"):
            parts = [values.astype("int64").where(values.notna())]
        else:
            parts = [values]
        ranked += [part.astype(float) for part in parts]
        owners += [place] * len(parts)
    found = pd.concat(ranked, axis=1).rank().corr(min_periods=50).to_numpy()
    first, second = np.tril_indices(len(owners), -1)
    is_pair = np.array(owners)[first] != np.array(owners)[second]
    return found[first, second][is_pair]


def judge(number, seed):
    """Correlations of training rows, other rows and drawn rows, and the nats."""
    train, fresh = random_table(number), random_table(number, N_FRESH)
    model = VAETransformer(handle_unknown="ignore", random_state=seed).fit(train)
    drawn = model.sample(N_DRAWN)
    found = np.array([correlations(rows, train) for rows in (train, fresh, drawn)])
    found = found[:, np.isfinite(found).all(0)]
    return found, np.maximum(model.score_samples(fresh), -200).mean()


def line(found, nats):
    train, fresh, drawn = found
    is_large = np.abs(train) > LEAST
    parts = drawn[is_large] / train[is_large] if is_large.any() else np.ones(1)
    errors = [np.sqrt(np.mean((part - fresh) ** 2)) for part in (drawn, train)]
    slope = drawn @ train / (train @ train)
    shown = f"{slope:7.3f} {parts.min():6.2f} {errors[0]:8.4f} ({errors[1]:.4f})"
    return f"{shown} {nats:9.3f}"


def slopes(rng, n):
    level, x = rng.integers(N_LEVELS, size=n), rng.normal(size=n)
    return level, {"x": x, "y": SIGNS[level] * x + 0.4 * rng.normal(size=n)}


def effects(rng, n):
    level, group = rng.integers(N_LEVELS, size=n), rng.integers(2, size=n)
    y = 2 * SIGNS[level] * (2 * group - 1) + rng.normal(size=n)
    return level, {"group": np.array(["a", "b"])[group], "y": y}


def parents(rng, n):
    child, other = rng.integers(2 * N_LEVELS, size=n), rng.integers(N_LEVELS, size=n)
    level = np.where(rng.random(n) < 0.9, child % N_LEVELS, other)
    return level, {"child": [f"z{own}" for own in child], "y": rng.normal(size=n)}


def kept(name, table):
    """What a law of interactions is judged by."""
    level = table["level"].str[1:].astype(int).to_numpy()
    if name == "parents":
        return float(np.mean(table["child"].str[1:].astype(int) % N_LEVELS == level))
    other = table["x"] if name == "slopes" else 2.0 * table["group"].eq("b") - 1
    return np.corrcoef(SIGNS[level] * other, table["y"])[0, 1]


def interactions(n_rows, seed):
    for law in (slopes, effects, parents):
        level, others = law(np.random.default_rng(seed), n_rows)
        table = pd.DataFrame({"level": [f"c{own}" for own in level], **others})
        drawn = VAETransformer(random_state=seed).fit(table).sample(N_DRAWN)
        pair = kept(law.__name__, table), kept(law.__name__, drawn)
        print(f"{law.__name__:8} table {pair[0]:.3f}  drawn {pair[1]:.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tables", nargs="*", type=int, default=list(range(24)))
    parser.add_argument("--seeds", type=int, default=1, help="how many; default: 1")
    parser.add_argument("--interaction-rows", type=int, default=2_000)
    parser.add_argument("--no-interactions", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    print(f"{'table':>5} {'slope':>7} {'min':>6} {'error':>8} (train) {'nats':>10}")
    every, nats = [], []
    for number in args.tables:
        runs = [judge(number, seed) for seed in range(args.seeds)]
        every += [found for found, _ in runs]
        nats.append(np.mean([own for _, own in runs]))
        joined = np.concatenate([found for found, _ in runs], 1)
        print(f"{number:5} {line(joined, nats[-1])}", flush=True)
    if every:
        print(f"{'all':>5} {line(np.concatenate(every, 1), np.mean(nats))}")
    if not args.no_interactions:
        interactions(args.interaction_rows, 0)


if __name__ == "__main__":
    main()
