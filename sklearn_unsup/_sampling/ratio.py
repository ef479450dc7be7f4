"""A density ratio: weights for what the decoder got wrong."""

import numpy as np
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier

RATIO_ROWS = 30_000  # real rows that a density ratio is fitted to, at most
MAX_CATEGORIES = 255  # of HistGradientBoosting's native categories


def resample_distinct(weights, n, rng):
    """Indices drawn in proportion to weights, in random order, none of them twice.

    Where a row is due more than once its weight is cut: twins in a table are worse than
    a slightly smaller weight. Needs at least n weights, all positive.
    """
    weights = np.asarray(weights, dtype=np.float64)
    order = np.argsort(-weights, kind="stable")
    heaviest = weights[order]
    # Due once are the k heaviest; the others share what is left in proportion.
    left = np.cumsum(heaviest[::-1])[::-1]
    due_once = (n - np.arange(len(heaviest))) * heaviest > left
    k = int(due_once.argmin()) if not due_once.all() else len(heaviest)
    share = np.ones(len(weights))
    if k < len(weights):
        share[order[k:]] = (n - k) * heaviest[k:] / left[k]
    edges = np.cumsum(share)
    points = (rng.random() + np.arange(n)) / n * edges[-1]
    chosen = np.minimum(np.searchsorted(edges, points, side="right"), len(edges) - 1)
    return rng.permutation(chosen)


class DensityRatio:
    """Odds of a classifier that tells real rows from generated ones, as weights.

    Grover et al. (2019). It sees decoded values: in encoded space it would spend
    itself on differences inside an atom that decoding erases.
    """

    def __init__(self, classifier, gain):
        self.classifier, self.gain = classifier, gain

    @classmethod
    def fitted(cls, density_ratio, codec, X, draw, rng):
        """The ratio, or None where "auto" finds that it does not help.

        Three quarters of the rows train the classifier; the others judge it by the
        gain in mean log-likelihood that weighting the model by w brings,
        E_real[log w] - log E_generated[w], which no overfitting can flatter.
        """
        index = rng.permutation(len(X))[:RATIO_ROWS]
        part = X.iloc[index] if hasattr(X, "iloc") else X[index]
        real = codec.to_matrix(*codec.encode(part))
        fake = codec.to_matrix(*draw(2 * len(real), {}, rng))
        cut_real, cut_fake = (3 * len(real)) // 4, (3 * len(fake)) // 4
        if isinstance(density_ratio, str) and len(real) - cut_real < 20:
            return None  # nothing to judge on
        classifier = cls._classifier(density_ratio, codec, len(real), rng)
        rows = np.concatenate([real[:cut_real], fake[:cut_fake]])
        label = np.repeat([1, 0], [cut_real, cut_fake])
        ratio = cls(classifier.fit(rows, label), None)
        log_real = np.log(ratio.weights(real[cut_real:]))
        w_fake = ratio.weights(fake[cut_fake:])
        ratio.gain = log_real.mean() - np.log(w_fake.mean())
        error = np.hypot(
            log_real.std() / np.sqrt(len(log_real)),
            w_fake.std() / w_fake.mean() / np.sqrt(len(w_fake)),
        )
        if isinstance(density_ratio, str) and ratio.gain < 2 * error:
            return None
        return ratio

    @staticmethod
    def _classifier(density_ratio, codec, n_rows, rng):
        seed = int(rng.integers(2**31))
        if not isinstance(density_ratio, str):
            classifier = clone(density_ratio)
            if "random_state" in classifier.get_params():
                classifier.set_params(random_state=seed)
            return classifier
        return HistGradientBoostingClassifier(
            max_iter=150,
            learning_rate=0.1,
            early_stopping=True,
            categorical_features=native_categories(codec),
            random_state=seed,
        )

    def weights(self, matrix):
        """Odds of being real, bounded, shape (n,)."""
        p = np.clip(self.classifier.predict_proba(matrix)[:, 1], 1e-3, 1 - 1e-3)
        return p / (1 - p)


def native_categories(codec):
    """Mask of the decoded columns that boosting can take as categories."""
    mask = np.array(codec.matrix_categorical_, dtype=bool)
    sizes = np.zeros(len(mask), dtype=int)
    layout = codec.layout_
    true_columns = [
        size
        for column, size in enumerate(layout.cardinalities)
        if column not in set(layout.masks)
    ]
    sizes[mask] = true_columns
    # Codes are ordered by frequency: past the limit they still split well as numbers.
    return mask & (sizes <= MAX_CATEGORIES)
