"""Monotone maps that give drawn numbers the marginals of the training table."""

from itertools import pairwise

import numpy as np


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
            u, borders = self.codec.cluster_gaps(column)
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
