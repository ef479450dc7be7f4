"""Calibration of the marginal distributions of generated numbers."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
from scipy.special import ndtr

from .._table.layout import EncodedConditions

# Normal quantiles between which the quantile of an encoded number is looked up, their
# number, and the least width of a range that is divided by.
MAX_DEVIATION, N_GRID, TINY = 6.0, 4_097, 1e-12


class MarginalMap:
    """Monotone maps that give generated numbers the marginals of the training table.

    If the values of a column form clusters with gaps between them, each cluster has a
    map of its own, so that no value moves to a cluster that its row does not belong to.

    Parameters
    ----------
    codec : TableCodec
    kept_intervals : sequence of ndarray of shape (4, n_values) or None, default=None
        Of each number intervals, as of `codec.atoms()`, that no value shall leave or
        enter, because other columns of its row depend on whether it is inside.
    n_knots : int, default=1_000
        Number of quantiles that are kept of each cluster.
    """

    def __init__(self, codec, kept_intervals=None, n_knots=1_000):
        self.codec, self.n_knots = codec, n_knots
        self.kept_intervals = kept_intervals

    def fit(self, x_num, x_cat):
        """Keep quantiles of generated numbers, including their extremes."""
        inner = (np.arange(self.n_knots) + 0.5) / self.n_knots
        self.probabilities_ = np.concatenate([[0.0], inner, [1.0]])
        self.clusters_ = []
        for column in range(x_num.shape[1]):
            values = x_num[self._present(column, x_cat), column]
            u, borders, kept = self._borders(column)
            cluster = np.searchsorted(borders, values)
            edges = np.concatenate([[0.0], u, [1.0]])
            knots = [
                None if kept[i] else self._knots(values[cluster == i])
                for i in range(len(u) + 1)
            ]
            self.clusters_.append((borders, edges, knots))
        return self

    def _borders(self, column):
        """Borders of clusters, as quantiles and as encoded values, ascending.

        And whether the values of each cluster are to stay as they are.
        """
        u, borders = self.codec.cluster_gaps(column)
        if self.kept_intervals is None:
            return u, borders, [False] * (len(u) + 1)
        low, high, begin, end = self.kept_intervals[column]
        known = low <= high
        # The least value of an interval belongs to it.
        low = np.nextafter(low[known].astype(np.float32), np.float32(-np.inf))
        u = np.concatenate([u, begin[known], end[known]])
        borders = np.concatenate([borders, low, high[known]])
        order = np.argsort(borders, kind="stable")
        kept = np.append(False, np.isin(borders[order], low))
        return u[order], borders[order], kept

    def _knots(self, values):
        if not len(values):
            return np.zeros(len(self.probabilities_), np.float32)
        # The same as `np.quantile`, which takes five times as long for so many of them.
        ranks = self.probabilities_ * (len(values) - 1)
        knots = np.interp(ranks, np.arange(len(values)), np.sort(values))
        return knots.astype(np.float32)

    def _ranks(self, values, knots, rng):
        """Ranks of values among the knots, in [0, 1].

        The rank of a value that equals several knots is random among theirs.
        """
        ranks = np.interp(values, knots, self.probabilities_)
        repeated = knots[1:][knots[1:] == knots[:-1]]
        if not len(repeated):
            return ranks
        place = np.minimum(np.searchsorted(repeated, values), len(repeated) - 1)
        is_atom = repeated[place] == values
        first, last = (
            np.searchsorted(knots, values[is_atom], side) for side in ("left", "right")
        )
        low, high = np.maximum(first - 1, 0), np.minimum(last - 1, self.n_knots)
        position = low + rng.random(len(low)) * (high - low)
        ranks[is_atom] = position / self.n_knots
        return ranks

    def apply(self, x_num, x_cat, rng, *, ranked):
        """Return a calibrated copy of `x_num`.

        If `ranked`, a value is mapped by its rank among the given ones, which makes
        their marginals exact. Otherwise it is mapped by its rank among the knots, which
        suits few rows or rows that meet conditions.
        """
        out = x_num.copy()
        for column, (borders, edges, knots) in enumerate(self.clusters_):
            present = self._present(column, x_cat)
            values = x_num[present, column]
            cluster = np.searchsorted(borders, values)
            u, kept = np.empty(len(values)), np.zeros(len(values), dtype=bool)
            for i, (low, high) in enumerate(pairwise(edges)):
                inside = cluster == i
                if knots[i] is None:
                    kept |= inside
                    continue
                if ranked:
                    ranks = random_ranks(values[inside], rng)
                else:
                    # Extremes of the column may be reached. Extremes of a cluster that
                    # are next to a gap may not, because they would decode into the gap.
                    ranks = self._ranks(values[inside], knots[i], rng).clip(
                        self.probabilities_[1] if i else 0.0,
                        self.probabilities_[-2] if i < len(borders) else 1.0,
                    )
                u[inside] = low + (high - low) * ranks
            values = values.copy()
            values[~kept] = self.codec.encoded_quantile(column, u[~kept])
            out[present, column] = values
        return out

    def conditions_before(self, conditions: EncodedConditions) -> EncodedConditions:
        """What generated numbers must be, so that calibrated ones meet conditions.

        A range in which no number was generated stays as it is.
        """
        bounds = {
            column: self._bounds_before(column, own)
            for column, own in conditions.bounds.items()
        }
        return replace(conditions, bounds=bounds)

    def _bounds_before(self, column, bounds):
        before = bounds.copy()
        for end in (0, 1):
            is_finite = np.isfinite(bounds[:, end])
            before[is_finite, end] = self._values_before(column, bounds[is_finite, end])
        is_lost = (before[:, 0] == before[:, 1]) & (bounds[:, 0] != bounds[:, 1])
        before[is_lost] = bounds[is_lost]
        return before

    def _values_before(self, column, calibrated):
        """Numbers that the map of a column takes to calibrated ones."""
        grid = ndtr(np.linspace(-MAX_DEVIATION, MAX_DEVIATION, N_GRID))
        u = np.interp(calibrated, self.codec.encoded_quantile(column, grid), grid)
        borders, edges, knots = self.clusters_[column]
        cluster, values = np.searchsorted(borders, calibrated), calibrated.copy()
        for i, (low, high) in enumerate(pairwise(edges)):
            inside = cluster == i
            if knots[i] is not None and inside.any():
                ranks = (u[inside] - low) / max(high - low, TINY)
                values[inside] = np.interp(ranks, self.probabilities_, knots[i])
        return values

    def meet(self, x_num, x_cat, conditions: EncodedConditions, rng):
        """Calibrated copy of numbers that met what :meth:`conditions_before` gave."""
        calibrated = self.apply(x_num, x_cat, rng, ranked=False)
        for column, bounds in conditions.bounds.items():
            (low, high), own = bounds.T, calibrated[:, column]
            # Where nothing was generated in a range, its numbers are those drawn.
            drawn = x_num[:, column]
            is_drawn = (own < low) | (own > high)
            is_drawn &= (drawn >= low) & (drawn <= high)
            calibrated[:, column] = np.where(is_drawn, drawn, own).clip(low, high)
        return calibrated

    def _present(self, column, x_cat):
        mask = self.codec.layout_.masks[column]
        return slice(None) if mask < 0 else x_cat[:, mask] == 0


def random_ranks(values, rng):
    """Ranks of float32 values in (0, 1); equal values are ranked in random order."""
    # Integers in the same order as the values, with random bits below those of the
    # value: they are sorted in a fraction of the time that `np.lexsort` takes.
    keys = (values + np.float32(0.0)).view(np.int32).astype(np.int64)  # -0.0 is 0.0
    keys ^= (keys >> 31) & 0x7FFFFFFF
    keys <<= 32
    keys |= rng.integers(2**32, size=len(values), dtype=np.uint32)
    ranks = np.empty(len(values))
    ranks[np.argsort(keys)] = np.arange(len(values))
    return (ranks + rng.random()) / max(1, len(values))
