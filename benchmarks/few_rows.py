"""Few rows: what reductions keep beside PCA, how true drawn rows are, and seconds.

    OMP_NUM_THREADS=1 python benchmarks/few_rows.py
    python benchmarks/few_rows.py --parts reduce --tables wine heavy --seeds 2
    python benchmarks/few_rows.py --parts sample --models VAETransformer

*reduce*: explained variance of held-out rows (30 %), minus that of PCA, of 2, 4 and 8
components: mean, least, and in how many fits it is lower by .005. Of the generated
tables two are linear, "heavy" with heavy tails, one is skewed, one has clusters, and
one has two columns with a correlation of .995, which nothing is to reduce.
*sample*: 70 % of a table are fitted, and compared with as many rows that are drawn:
steps, processor seconds, c2st beside the training rows and beside the held-out ones, by
how much more often than chance a drawn row is nearer to a training row than to a
held-out one (`dcr_excess`), agreement of pairs of columns with held-out rows, and minus
the energy distance to those, or their log-likelihood.
*seconds*: of the processor, for fits of 300 rows of ten columns, and for a grid search
over three sizes and five folds.
"""

import argparse
import time
import warnings

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_unsup import AutoencoderTransformer, GANSampler, VAETransformer
from sklearn_unsup.metrics import c2st_score, closest_record_scores, trend_score

BUNDLED = {
    "breast_cancer": load_breast_cancer,
    "diabetes": load_diabetes,
    "iris": load_iris,
    "wine": load_wine,
}
SAMPLERS = [GANSampler, VAETransformer]
PARTS = ["reduce", "sample", "seconds"]


def linear(rng):
    axes = rng.normal(size=(4, 10))
    return rng.normal(size=(200, 4)) @ axes + 0.7 * rng.normal(size=(200, 10))


def heavy(rng):
    axes = rng.normal(size=(4, 10))
    return rng.standard_t(3, (200, 4)) @ axes + 0.7 * rng.standard_t(3, (200, 10))


def skewed(rng):
    axes = 0.5 * rng.normal(size=(3, 9))
    return np.exp(rng.normal(size=(250, 3)) @ axes + 0.3 * rng.normal(size=(250, 9)))


def clusters(rng):
    centres = 2 * rng.normal(size=(4, 12))
    return centres[rng.integers(4, size=160)] + rng.normal(size=(160, 12))


def near_copies(rng):
    return (rng.normal(size=(500, 2)) * [1.0, 0.1]).cumsum(1)


GENERATED = {f.__name__: f for f in (linear, heavy, skewed, clusters, near_copies)}


def load(name):
    if name in GENERATED:
        return GENERATED[name](np.random.default_rng(7))
    return BUNDLED[name]().data


def seconds_of(model, *table):
    start = time.process_time()
    model.fit(*table)
    return time.process_time() - start


def print_reductions(tables, seeds):
    print("reduce: explained variance of held-out rows, minus that of PCA")
    every = []
    for name in tables:
        X, gains = load(name), []
        for seed in range(seeds):
            train, test = train_test_split(X, test_size=0.3, random_state=seed)
            scaler = StandardScaler().fit(train)
            standard, new = scaler.transform(train), scaler.transform(test)
            spread = np.square(new - standard.mean(0)).sum()
            for size in (2, 4, 8):
                if size >= X.shape[1]:
                    continue
                pca = PCA(size, random_state=0).fit(standard)
                straight = pca.inverse_transform(pca.transform(new))
                model = AutoencoderTransformer(size, random_state=seed).fit(train)
                rebuilt = model.inverse_transform(model.transform(test))
                bent = scaler.transform(rebuilt)
                left = [np.square(x - new).sum() / spread for x in (straight, bent)]
                gains.append(left[0] - left[1])
        if gains:
            every += gains
            print_gains(name, np.array(gains))
    print_gains("all", np.array(every))


def print_gains(name, gains):
    behind = (gains < -0.005).sum()
    print(
        f"{name:14} mean {gains.mean():+.3f}  least {gains.min():+.3f}  "
        f"behind {behind} of {len(gains)}",
        flush=True,
    )


def print_samples(tables, seeds, kinds):
    print(
        "sample: steps, seconds, c2st beside training and held-out rows, dcr_excess, "
        "trend, energy or nats of held-out rows"
    )
    for name in tables:
        X = load(name)
        for kind in kinds:
            rows = []
            for seed in range(seeds):
                train, test = train_test_split(X, test_size=0.3, random_state=seed)
                model = kind(random_state=seed)
                seconds = seconds_of(model, train)
                drawn = model.sample(len(train), random_state=0)
                row = [model.net_.step_, seconds]
                row.append(c2st_score(train, drawn, random_state=0))
                row.append(c2st_score(test, drawn[: len(test)], random_state=0))
                closest = closest_record_scores(train, test, drawn, random_state=0)
                row += [closest.dcr_excess, trend_score(test, drawn)]
                rows.append([*row, model.score(test)])
            means = " ".join(f"{value:9.3f}" for value in np.mean(rows, axis=0))
            print(f"{name:14} {kind.__name__:15} {means}", flush=True)


def print_seconds(repeats):
    print("seconds: of the processor, median")
    rng = np.random.default_rng(0)
    axes, hidden = rng.normal(size=(4, 10)), rng.normal(size=(300, 4))
    X = np.tanh(hidden @ axes) + 0.3 * rng.normal(size=(300, 10))
    AutoencoderTransformer(2, max_iter=1, random_state=0).fit(X)  # Loads libraries.
    for kind in (AutoencoderTransformer, VAETransformer, GANSampler):
        every = [seconds_of(kind(random_state=0), X) for _ in repeats]
        print(f"{kind.__name__:22} {np.median(every):7.2f}", flush=True)
    X, y = load_breast_cancer(return_X_y=True)
    pipeline = make_pipeline(
        AutoencoderTransformer(random_state=0), LogisticRegression(max_iter=1_000)
    )
    grid = {"autoencodertransformer__n_components": [2, 4, 8]}
    search = GridSearchCV(pipeline, grid, cv=5)
    every = [seconds_of(search, X, y) for _ in repeats]
    print(f"{'grid search':22} {np.median(every):7.2f}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [*BUNDLED, *GENERATED]
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--tables", nargs="+", choices=names, default=names)
    models = [kind.__name__ for kind in SAMPLERS]
    parser.add_argument("--models", nargs="+", choices=models, default=models)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if "reduce" in args.parts:
        print_reductions(args.tables, args.seeds)
    if "sample" in args.parts:
        kinds = [kind for kind in SAMPLERS if kind.__name__ in args.models]
        print_samples(args.tables, args.seeds, kinds)
    if "seconds" in args.parts:
        print_seconds(range(args.repeats))


if __name__ == "__main__":
    main()
