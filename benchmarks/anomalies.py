"""How well unusual rows are found: areas under the ROC curve, ours and others'.

    OMP_NUM_THREADS=1 python benchmarks/anomalies.py [--seeds 3] [--models ...]

Three tables with a class of their own for what is to be found: trained on half of the
other rows, judged on the rest. Three tables in which two cells of every other held-out
row are swapped for those of another row, so that no cell is unusual by itself. Models
are at their defaults; others than ours get standardised numbers and one-hot categories.
Models of PyOD are left out where it is not installed.
"""

import argparse
import time
import warnings
from importlib.util import find_spec

import numpy as np
import pandas as pd
from sklearn.covariance import EmpiricalCovariance
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
from sklearn.preprocessing import StandardScaler

from sklearn_unsup import AutoencoderTransformer, VAETransformer
from sklearn_unsup.datasets import make_mixed_table
from sklearn_unsup.outliers import GenerativeOutlierDetector


class Neighbors:
    """Mean distance to the five nearest training rows."""

    def fit(self, X):
        self.index = NearestNeighbors(n_neighbors=5).fit(X)
        return self

    def score_samples(self, X):
        return -self.index.kneighbors(X)[0].mean(1)


class Gaussian:
    """One normal distribution."""

    def fit(self, X):
        self.model = EmpiricalCovariance().fit(X)
        return self

    def score_samples(self, X):
        return -self.model.mahalanobis(X)


class OfPyod:
    """A detector of PyOD, by the name of its class."""

    def __init__(self, module, name, **options):
        self.place, self.options = (module, name), options

    def fit(self, X):
        module, name = self.place
        detector = getattr(__import__(f"pyod.models.{module}", fromlist=[name]), name)
        self.model = detector(**self.options).fit(X)
        return self

    def score_samples(self, X):
        return -self.model.decision_function(X)


OURS = {
    "GenerativeOutlierDetector": lambda seed: GenerativeOutlierDetector(
        random_state=seed
    ),
    "VAETransformer": lambda seed: VAETransformer(
        handle_unknown="ignore", random_state=seed
    ),
    "AutoencoderTransformer": lambda seed: AutoencoderTransformer(
        handle_unknown="ignore", random_state=seed
    ),
}
OTHERS = {
    "IsolationForest": lambda seed: IsolationForest(random_state=seed),
    "5 nearest neighbours": lambda seed: Neighbors(),
    "LocalOutlierFactor": lambda seed: LocalOutlierFactor(novelty=True),
    "one Gaussian": lambda seed: Gaussian(),
}
PYOD = {
    "ECOD (PyOD)": lambda seed: OfPyod("ecod", "ECOD"),
    "AutoEncoder (PyOD)": lambda seed: OfPyod(
        "auto_encoder", "AutoEncoder", random_state=seed, verbose=0
    ),
    "VAE (PyOD)": lambda seed: OfPyod("vae", "VAE", random_state=seed, verbose=0),
}


def of_classes(X, is_odd, rng):
    """Train on half of the usual rows; judge on the others and all unusual ones."""
    usual = rng.permutation(np.flatnonzero(~is_odd))
    half = len(usual) // 2
    test = np.concatenate([usual[half:], np.flatnonzero(is_odd)])
    return X.iloc[usual[:half]], X.iloc[test], is_odd[test]


def of_swaps(X, rng):
    """Train on half of the rows; of half of the others two cells are another row's."""
    X = X.iloc[rng.permutation(len(X))].reset_index(drop=True)
    half = len(X) // 2
    train, test = X.iloc[:half], X.iloc[half:].reset_index(drop=True)
    donors, broken = rng.permutation(len(test)), test.copy()
    swapped = np.zeros(test.shape, dtype=bool)
    for row in range(0, len(test), 2):
        swapped[row, rng.permutation(X.shape[1])[:2]] = True
    for place, name in enumerate(test):
        other = test[name].iloc[donors].reset_index(drop=True)
        broken[name] = test[name].where(~swapped[:, place], other)
    changed = (broken.astype(str) != test.astype(str)).to_numpy().any(1)
    kept = changed | ~swapped.any(1)
    return train, broken[kept].astype(X.dtypes), changed[kept]


def tables(seed):
    """Name, training rows, held-out rows and which of these are to be found."""
    for name, load, is_odd in (
        ("malignant", load_breast_cancer, lambda y: y == 0),
        ("wine 3", load_wine, lambda y: y == 2),
        ("digit 8", load_digits, lambda y: y == 8),
    ):
        data = load(as_frame=True)
        rng = np.random.default_rng(seed)
        yield name, *of_classes(data.data, is_odd(data.target.to_numpy()), rng)
    for name, X in (
        ("diabetes", load_diabetes(as_frame=True).frame),
        ("tumours", load_breast_cancer().data),
        ("mixed", make_mixed_table(2_000, random_state=seed)[0]),
    ):
        rng = np.random.default_rng(seed)
        yield f"swapped: {name}", *of_swaps(pd.DataFrame(X), rng)


def one_hot(train, test):
    """Standardised numbers, zero where missing, and indicators of categories."""
    both = pd.concat([train, test], ignore_index=True)
    for name in both.select_dtypes("datetime"):
        both[name] = (both[name] - both[name].min()) / pd.Timedelta(1, unit="D")
    numbers = both.select_dtypes("number")
    scaled = StandardScaler().fit(numbers.iloc[: len(train)]).transform(numbers)
    levels = both.drop(columns=numbers.columns)
    found = np.nan_to_num(scaled)
    if levels.shape[1]:
        levels = pd.get_dummies(levels.astype(object), dummy_na=True)
        found = np.hstack([found, levels.to_numpy(float)])
    return found[: len(train)], found[len(train) :]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    models = {**OURS, **OTHERS, **(PYOD if find_spec("pyod") else {})}
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--models", nargs="*", choices=list(models), default=None)
    parser.add_argument("--tables", nargs="*", default=None)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    records = []
    for seed in range(options.seeds):
        for table, train, test, is_odd in tables(seed):
            if options.tables and table not in options.tables:
                continue
            encoded = one_hot(train, test)
            for name in options.models or models:
                given = (train, test) if name in OURS else encoded
                start = time.process_time()
                scores = models[name](seed).fit(given[0]).score_samples(given[1])
                seconds = time.process_time() - start
                area = roc_auc_score(is_odd, -scores)
                records.append((table, name, area, seconds))
                print(f"{seed} {table:18} {name:26} {area:.3f} {seconds:6.2f} s")
    found = pd.DataFrame(records, columns=["table", "model", "AUROC", "seconds"])
    means = found.pivot_table("AUROC", "model", "table", sort=False)
    means["seconds"] = found.groupby("model")["seconds"].mean()
    print(means.round(3).to_string())


if __name__ == "__main__":
    main()
