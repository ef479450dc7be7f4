"""From codes to rows that look real: one resampling mechanism for all models.

A model proposes rows (:class:`Proposals`), each with a log-weight that says how well it
fits the conditions. Here conditions become weighted draws, a density ratio weights
what the decoder got wrong, and marginals are calibrated last.
"""

from functools import partial
from itertools import pairwise

import numpy as np
import torch
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors

from ._batches import CHUNK_ROWS, bounded_rows

POOL_FACTOR = 4  # rows drawn for one that is kept under a density ratio
MAX_POOL = 200_000  # proposals for one combination of conditions
MIN_POOL = 2_000
DENSITY_ROWS = 20_000  # codes that the latent density is fitted to, at most
SPACING_CODES = 1_000  # codes whose distance to the next one is measured
RATIO_ROWS = 30_000  # real rows that a density ratio is fitted to, at most
CALIBRATION_ROWS = 20_000  # generated rows behind the fixed map of the marginals
MIN_RANKED = 1_000  # rows from which a request's own ranks calibrate it
MAX_CATEGORIES = 255  # of HistGradientBoosting's native categories


def kish_size(weights):
    """Rows of equal weight that would tell as much."""
    return weights.sum() ** 2 / np.square(weights).sum()


def distinct_size(weights):
    """Rows that can be drawn before one of them is due twice."""
    return weights.sum() / weights.max()


def rows_at_once(layout):
    """Rows of a pass through a net, bounded in memory whatever their width."""
    return bounded_rows(CHUNK_ROWS, 4 * layout.width)


class LatentDensity:
    """A density of codes, fitted after training (Ghosh et al. 2020).

    Parameters
    ----------
    density : {"normal", "mixture"} or estimator with `fit` and `sample`
    """

    def __init__(self, density):
        self.density = density

    def fit(self, codes, rng):
        """Fit to codes of shape (n, n_components)."""
        # Constant or collinear codes (n = 1, collapsed components) need a ridge of
        # their own scale.
        codes = np.asarray(codes, dtype=np.float64)
        self.center_ = codes.mean(0)
        self.scale_ = np.maximum(codes.std(0), 1e-6)
        self.estimator_ = self._estimator(len(codes))
        if "random_state" in self.estimator_.get_params():
            self.estimator_.set_params(random_state=int(rng.integers(2**31)))
        standard = (codes - self.center_) / self.scale_
        if len(standard) == 1:  # a mixture needs two rows
            standard = np.repeat(standard, 2, axis=0)
        self.estimator_.fit(standard)
        return self

    def _estimator(self, n_codes):
        if not isinstance(self.density, str):
            return clone(self.density)
        n_components = 1
        if self.density == "mixture":
            n_components = int(np.clip(n_codes // 100, 1, 50))
        return GaussianMixture(
            n_components,
            reg_covar=1e-4,
            init_params="k-means++",
            max_iter=50,
            tol=1e-2,
        )

    def sample(self, n, rng):
        """New codes, shape (n, n_components), float32, in random order."""
        # An estimator's own sample may repeat itself under its seed, and sort its
        # rows by component.
        if "random_state" in self.estimator_.get_params():
            self.estimator_.set_params(random_state=int(rng.integers(2**31)))
        codes = self.estimator_.sample(n)
        codes = codes[0] if isinstance(codes, tuple) else codes
        codes = np.asarray(codes)[rng.permutation(n)]
        return (codes * self.scale_ + self.center_).astype(np.float32)


class Proposals:
    """Codes drawn from a density, to be decoded once they are chosen.

    Parameters
    ----------
    source : estimator
        Has ``_draw_codes(n, rng)`` and ``_distribution(codes)``.
    n : int
    given : dict of {int: int}
        Codes that columns of `x_cat` must have.
    rng : numpy.random.Generator
    """

    # A row is drawn anew from its code each time: a code may come twice.
    effective_size = staticmethod(kish_size)

    def __init__(self, source, n, given, rng):
        self.source, self.given = source, given
        self.codes = source._draw_codes(n, rng)
        self.log_weights = np.zeros(n)
        if given:
            parts = [self._log_weights(part) for part in self._blocks(self.codes)]
            self.log_weights = torch.cat(parts).cpu().numpy().astype(np.float64)

    def _blocks(self, codes):
        layout = self.source._distribution(codes[:1]).layout
        return codes.split(rows_at_once(layout))

    def _log_weights(self, codes):
        distribution = self.source._distribution(codes)
        return sum(
            distribution.category_log_probs(column)[:, value]
            for column, value in self.given.items()
        )

    def draw(self, index, rng):
        """Rows `x_num`, `x_cat` of the proposals at `index`, drawn anew."""
        codes = self.codes[torch.from_numpy(index).to(self.codes.device)]
        noise = torch.Generator(codes.device).manual_seed(int(rng.integers(2**63)))
        parts = [
            self.source._distribution(part).sample(noise)
            for part in self._blocks(codes)
        ]
        x_num, x_cat = (torch.cat(p).cpu().numpy() for p in zip(*parts, strict=True))
        for column, value in self.given.items():
            x_cat[:, column] = value
        return x_num, x_cat


class RowProposals:
    """Rows of an autoregressive model, drawn at once; the weights judge them after.

    Parameters
    ----------
    rows : RowModel or Generator
    n : int
    given : dict of {int: int}
        Codes that columns of `x_cat` must have.
    rng : numpy.random.Generator
    """

    effective_size = staticmethod(distinct_size)

    def __init__(self, rows, n, given, rng):
        device = next(rows.parameters()).device
        noise = torch.Generator(device).manual_seed(int(rng.integers(2**63)))
        step = rows_at_once(rows.layout)
        sizes = [min(step, n - start) for start in range(0, n, step)]
        drawn = [rows.sample(size, given, noise) for size in sizes]
        self.x_num, self.x_cat, self.log_weights = (
            torch.cat(part).cpu().numpy() for part in zip(*drawn, strict=True)
        )

    def draw(self, index, rng):
        """Rows `x_num`, `x_cat` of the proposals at `index`."""
        return self.x_num[index], self.x_cat[index]


class TableSampler:
    """Draws rows from a fitted model.

    Parameters
    ----------
    density : {"normal", "mixture"}, estimator or None
        None for a model that draws rows without codes.
    density_ratio : "auto", classifier or None
    """

    def __init__(self, density, density_ratio):
        self.latent_density, self.density_ratio = density, density_ratio

    def fit(self, source, X, codes, rng):
        """Fit the density to codes, then ratio and calibration to the table X."""
        source._sampler = self
        self.density = None
        if self.latent_density is not None:
            self.density = LatentDensity(self.latent_density).fit(codes, rng)
        self.ratio, self.marginals, self.proposal_marginals = None, None, None
        self._fit_marginals(source, rng)
        if self.density_ratio is None:
            return self
        # The ratio sees calibrated rows: what calibration mends is not worth a weight.
        self.proposal_marginals = self.marginals
        self.ratio = DensityRatio.fitted(
            self.density_ratio, source.codec_, X, partial(self._pool, source), rng
        )
        if self.ratio is None:
            self.proposal_marginals = None
        else:
            self._fit_marginals(source, rng)
        return self

    def _fit_marginals(self, source, rng):
        codec = source.codec_
        if codec.has_marginals_:
            x_num, x_cat = self._draw(source, CALIBRATION_ROWS, {}, rng)
            self.marginals = MarginalMap(codec).fit(x_num, x_cat)

    def sample(self, source, n, conditions, rng):
        """Rows `x_num`, `x_cat` that meet the conditions, in random order.

        `conditions` gives for columns of `x_cat` the codes of all n rows.
        """
        if not conditions:
            x_num, x_cat = self._draw(source, n, {}, rng)
            if self.marginals is not None:
                ranked = n >= MIN_RANKED
                x_num = self.marginals.apply(x_num, x_cat, rng, ranked=ranked)
            return x_num, x_cat
        columns = list(conditions)
        wanted = np.stack([conditions[column] for column in columns], axis=1)
        combinations, which = np.unique(wanted, axis=0, return_inverse=True)
        which = which.reshape(-1)
        x_num = np.empty((n, source.codec_.layout_.n_numeric), np.float32)
        x_cat = np.empty((n, source.codec_.layout_.n_categorical), np.int64)
        for number, values in enumerate(combinations):
            rows = np.flatnonzero(which == number)
            given = dict(zip(columns, values.tolist(), strict=True))
            x_num[rows], x_cat[rows] = self._draw(source, len(rows), given, rng)
        if self.marginals is not None:
            # Conditional marginals are not the table's: only the fixed map is right.
            x_num = self.marginals.apply(x_num, x_cat, rng, ranked=False)
        return x_num, x_cat

    def _draw(self, source, n, given, rng):
        n_pool = n if self.ratio is None else POOL_FACTOR * n
        x_num, x_cat = self._pool(source, n_pool, given, rng)
        if self.ratio is None:
            return x_num, x_cat
        weights = self.ratio.weights(source.codec_.to_matrix(x_num, x_cat))
        chosen = resample_distinct(weights, n, rng)
        return x_num[chosen], x_cat[chosen]

    def _pool(self, source, n, given, rng):
        x_num, x_cat = draw_given(source, n, given, rng)
        if self.proposal_marginals is not None:
            x_num = self.proposal_marginals.apply(x_num, x_cat, rng, ranked=False)
        return x_num, x_cat


def draw_given(source, n, given, rng):
    """`n` rows whose categories are as given, by weighting proposals.

    The pool grows until its effective size is that of the request, or until it has
    MAX_POOL proposals: a rare level costs time, never a failure.
    """
    if not given:
        return source._propose(n, {}, rng).draw(np.arange(n), rng)
    pools, size = [], max(MIN_POOL, n)
    while True:
        pools.append(source._propose(size, given, rng))
        log_weights = np.concatenate([pool.log_weights for pool in pools])
        weights = np.exp(log_weights - log_weights.max())
        effective = pools[0].effective_size(weights)
        room = MAX_POOL - len(weights)
        if effective >= n or room <= 0:
            break
        size = int(np.clip(len(weights) * (n / effective - 1.0), MIN_POOL, room))
    chosen = resample(weights, n, rng)
    edges = np.cumsum([0] + [len(pool.log_weights) for pool in pools])
    order, parts = [], []
    for pool, start, stop in zip(pools, edges, edges[1:], strict=False):
        inside = np.flatnonzero((chosen >= start) & (chosen < stop))
        if len(inside):
            order.append(inside)
            parts.append(pool.draw(chosen[inside] - start, rng))
    back = np.argsort(np.concatenate(order))
    x_num, x_cat = (np.concatenate(part)[back] for part in zip(*parts, strict=True))
    return x_num, x_cat


def resample(weights, n, rng):
    """Indices drawn in proportion to weights, in random order, by systematic sampling.

    An index comes floor or ceil of its expected number of times: the draw that
    repeats rows least and whose counts vary least (Kitagawa 1996).
    """
    edges = np.cumsum(weights)
    points = (rng.random() + np.arange(n)) / n * edges[-1]
    chosen = np.minimum(np.searchsorted(edges, points, side="right"), len(edges) - 1)
    return rng.permutation(chosen)


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


class MarginalMap:
    """Monotone maps that give generated numbers the marginals of the training table.

    Where a column has a gap between clusters, each cluster has a map of its own: a
    value carried across a gap would leave the cluster that its row belongs to.

    Parameters
    ----------
    codec : TableCodec
    """

    def __init__(self, codec, n_knots=1_000):
        self.codec, self.n_knots = codec, n_knots

    def fit(self, x_num, x_cat):
        """Keep quantiles of generated numbers, the extremes among them."""
        inner = (np.arange(self.n_knots) + 0.5) / self.n_knots
        self.levels_ = np.concatenate([[0.0], inner, [1.0]])
        self.clusters_ = []
        for column in range(x_num.shape[1]):
            values = x_num[self._present(column, x_cat), column]
            u, borders = self.codec.gaps(column)
            which = np.searchsorted(borders, values)
            edges = np.concatenate([[0.0], u, [1.0]])
            self.clusters_.append(
                (
                    borders,
                    edges,
                    [self._knots(values[which == i]) for i in range(len(u) + 1)],
                )
            )
        return self

    def _knots(self, values):
        if not len(values):
            return np.zeros(len(self.levels_), np.float32)
        return np.quantile(values, self.levels_).astype(np.float32)

    def _places(self, values, knots, rng):
        """Quantiles of values among the kept knots; of an atom's any one of its own."""
        place = np.interp(values, knots, self.levels_)
        first, last = (np.searchsorted(knots, values, s) for s in ("left", "right"))
        atom = last - first > 1
        low, high = np.maximum(first - 1, 0), np.minimum(last - 1, self.n_knots)
        drawn = low[atom] + rng.random(atom.sum()) * (high - low)[atom]
        place[atom] = drawn / self.n_knots
        return place

    def apply(self, x_num, x_cat, rng, *, ranked):
        """Calibrated copy of `x_num`: by the rows' own ranks, or by the kept map."""
        out = x_num.copy()
        for column, (borders, edges, knots) in enumerate(self.clusters_):
            present = self._present(column, x_cat)
            values = x_num[present, column]
            which = np.searchsorted(borders, values)
            u = np.empty(len(values))
            for cluster, (low, high) in enumerate(pairwise(edges)):
                inside = which == cluster
                part = values[inside]
                if ranked:
                    place = random_ranks(part, rng)
                else:
                    # Only the outermost extremes are the column's own: at the end
                    # of another cluster begins its gap.
                    place = self._places(part, knots[cluster], rng).clip(
                        self.levels_[1] if cluster else 0.0,
                        self.levels_[-2] if cluster < len(borders) else 1.0,
                    )
                u[inside] = low + (high - low) * place
            out[present, column] = self.codec.encoded_quantile(column, u)
        return out

    def _present(self, column, x_cat):
        mask = self.codec.layout_.masks[column]
        return slice(None) if mask < 0 else x_cat[:, mask] == 0


def random_ranks(values, rng):
    """Ranks in (0, 1), those of equal values in random order."""
    order = np.lexsort((rng.random(len(values)), values))
    ranks = np.empty(len(values))
    ranks[order] = (np.arange(len(values)) + rng.random()) / max(1, len(values))
    return ranks


def merge_reservoir(kept, n_before, codes, n_new, rng):
    """At most DENSITY_ROWS codes, each row of the stream with an equal chance.

    `kept` stands for `n_before` rows (None for none), `codes` for `n_new`.
    """
    if kept is None:
        return codes
    size = min(DENSITY_ROWS, len(kept) + len(codes))
    from_new = min(len(codes), rng.hypergeometric(n_new, n_before, size))
    from_old = min(len(kept), size - from_new)
    old = kept[rng.permutation(len(kept))[:from_old]]
    new = codes[rng.permutation(len(codes))[:from_new]]
    return np.concatenate([old, new])


def smoothed(codes, kept, rng):
    """Codes, shape (n, n_components), that stand for others and decode to no row.

    A smoothed bootstrap: noise of the codes' own covariance, as long as codes are apart
    (from their nearest neighbours, here and among the `kept`), and codes drawn towards
    their mean by as much, so that mean and covariance stay.
    """
    codes = np.asarray(codes, dtype=np.float64)
    others = codes if kept is None else np.concatenate([kept, codes])
    chosen = len(others) - len(codes) + rng.permutation(len(codes))[:SPACING_CODES]
    if len(others) < 2:
        return codes.astype(np.float32)
    nearest = NearestNeighbors(n_neighbors=2).fit(others)
    distances = nearest.kneighbors(others[chosen])[0][:, 1]
    distances = distances[distances > 0]  # twins show no row of one's own
    if not len(distances):
        return codes.astype(np.float32)
    center, covariance = others.mean(0), np.atleast_2d(np.cov(others.T))
    share = min(1.0, np.median(distances) ** 2 / covariance.trace())
    noise = rng.multivariate_normal(
        np.zeros(len(center)), share * covariance, len(codes)
    )
    drawn_in = center + np.sqrt(1 - share) * (codes - center)
    return (drawn_in + noise).astype(np.float32)
