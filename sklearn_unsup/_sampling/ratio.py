"""Density ratio of real and generated rows, as weights of generated rows."""

import numpy as np
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier

from .raking import Raking

# Maximum number of real rows that a density ratio is fitted to, and number of generated
# rows for each of them, of tables of few and of many values.
RATIO_ROWS, GENERATED_FACTOR, WIDE_GENERATED_FACTOR = 30_000, 4, 2
# Number of values from which a table of the rows above has many of them, for memory.
MANY_VALUES = 2_000_000
# Minimum number of held-out real rows from which "auto" judges a density ratio, and
# maximum number. At most a quarter of the rows are held out.
MIN_HELD_OUT_ROWS, MAX_HELD_OUT_ROWS = 20, 2_500
# Number of rows drawn for each row that is kept by a density ratio.
POOL_FACTOR = 4
# Number of generated rows that weights are raked with: at least, and at most. Between
# them it is POOL_FACTOR for each real row. A table of many values has the least.
MIN_RAKED_ROWS, MAX_RAKED_ROWS = 10_000, 50_000
# Maximum cardinality of a categorical feature of HistGradientBoostingClassifier.
MAX_CATEGORIES = 255


def resample_distinct(weights, n, rng):
    """Draw distinct indices in proportion to weights, in random order.

    Large weights are reduced so that no index is expected more than once, because equal
    rows in a table are worse than slightly wrong weights. There must be at least `n`
    weights, and all must be positive.
    """
    weights = np.asarray(weights, dtype=np.float64)
    order = np.argsort(-weights, kind="stable")
    heaviest = weights[order]
    # The k heaviest are drawn with probability 1, the others in proportion to their
    # weights.
    remaining = np.cumsum(heaviest[::-1])[::-1]
    is_certain = (n - np.arange(len(heaviest))) * heaviest > remaining
    k = int(is_certain.argmin()) if not is_certain.all() else len(heaviest)
    probability = np.ones(len(weights))
    if k < len(weights):
        probability[order[k:]] = (n - k) * heaviest[k:] / remaining[k]
    edges = np.cumsum(probability)
    points = (rng.random() + np.arange(n)) / n * edges[-1]
    chosen = np.minimum(np.searchsorted(edges, points, side="right"), len(edges) - 1)
    return rng.permutation(chosen)


class DensityRatio:
    """Odds of a classifier that distinguishes real from generated rows, as weights.

    Grover et al. (2019). The classifier gets decoded values, because encoded ones may
    differ where decoded ones are equal.

    Parameters
    ----------
    classifier : classifier
        Fitted, with `predict_proba`; class 1 is that of the real rows.
    gain : float
        Gain in mean log-likelihood of held-out rows, in nats.
    raking : Raking or None, default=None
        Factors that give weighted rows the marginals of the table.
    """

    def __init__(self, classifier, gain, raking=None):
        self.classifier, self.gain, self.raking = classifier, gain, raking

    @classmethod
    def fit_if_useful(cls, density_ratio, codec, X, draw, rng):
        """Fit a ratio; return None if "auto" finds that it does not help.

        Three quarters of the rows, or more, train the classifier. The others measure
        the gain in mean log-likelihood from weighting the model by w, which is
        E_real[log w] - log E_generated[w] and not biased by overfitting.

        Parameters
        ----------
        density_ratio : "auto" or classifier
        codec : TableCodec
        X : DataFrame or ndarray
            Real rows.
        draw : callable
            ``draw(n)`` returns generated rows `x_num`, `x_cat`.
        rng : numpy.random.Generator
        """
        index = rng.permutation(len(X))[:RATIO_ROWS]
        X = X.iloc[index] if hasattr(X, "iloc") else X[index]
        real = codec.to_matrix(*codec.encode(X))
        n_held_out = min(-(-len(real) // 4), MAX_HELD_OUT_ROWS)
        is_auto = isinstance(density_ratio, str)
        if is_auto and n_held_out < MIN_HELD_OUT_ROWS:
            return None
        is_wide = real.size > MANY_VALUES
        factor = WIDE_GENERATED_FACTOR if is_wide else GENERATED_FACTOR
        fake = codec.to_matrix(*draw(factor * len(real)))
        cut_real = len(real) - n_held_out
        cut_fake = factor * cut_real
        classifier = cls._classifier(density_ratio, codec, rng)
        features = np.concatenate([real[:cut_real], fake[:cut_fake]])
        label = np.repeat([1, 0], [cut_real, cut_fake])
        ratio = cls(classifier.fit(features, label), None)
        log_real = np.log(ratio.weights(real[cut_real:]))
        w_fake = ratio.weights(fake[cut_fake:])
        ratio.gain = log_real.mean() - np.log(w_fake.mean())
        error = np.hypot(
            log_real.std() / np.sqrt(len(log_real)),
            w_fake.std() / w_fake.mean() / np.sqrt(len(w_fake)),
        )
        if is_auto and ratio.gain < 2 * error:
            return None
        most = MIN_RAKED_ROWS if is_wide else MAX_RAKED_ROWS
        n_raked = int(np.clip(POOL_FACTOR * len(real), MIN_RAKED_ROWS, most))
        fake = codec.to_matrix(*draw(n_raked))
        ratio.raking = Raking(POOL_FACTOR).fit(real, fake, ratio.weights(fake))
        return ratio

    @staticmethod
    def _classifier(density_ratio, codec, rng):
        seed = int(rng.integers(2**31))
        if not isinstance(density_ratio, str):
            classifier = clone(density_ratio)
            if "random_state" in classifier.get_params():
                classifier.set_params(random_state=seed)
            return classifier
        # Few large trees: they are as quick as many small ones, and find the sharp
        # dependences that a generator blurs. See docs/notes/adversarial.md.
        return HistGradientBoostingClassifier(
            max_iter=60,
            learning_rate=0.3,
            max_leaf_nodes=511,
            l2_regularization=60.0,
            early_stopping=True,
            categorical_features=native_categories(codec),
            random_state=seed,
        )

    def weights(self, matrix):
        """Weights of decoded rows, shape (n,).

        The odds that they are real, between 1 / 999 and 999, times the factors of
        raking.
        """
        p = np.clip(self.classifier.predict_proba(matrix)[:, 1], 1e-3, 1 - 1e-3)
        odds = p / (1 - p)
        return odds if self.raking is None else odds * self.raking.factors(matrix)


def native_categories(codec):
    """Mask of the decoded columns that gradient boosting can use as categories."""
    mask = np.array(codec.matrix_categorical_, dtype=bool)
    sizes = np.zeros(len(mask), dtype=int)
    layout = codec.layout_
    sizes[mask] = [
        size
        for column, size in enumerate(layout.cardinalities)
        if column not in set(layout.masks)
    ]
    # Columns with more categories are used as numbers, which makes good splits possible
    # because codes are ordered by frequency.
    return mask & (sizes <= MAX_CATEGORIES)
