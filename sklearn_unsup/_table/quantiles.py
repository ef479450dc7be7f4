"""The randomised distributional transform of one column of plain floats."""

import numpy as np
from scipy.special import ndtr, ndtri

# Maximum absolute encoded quantile, for values outside the training range.
Z_LIMIT = 10.0
# Minimum mean number of rows of a value for a column to count as discrete.
ATOM_REPEATS = 3
# Minimum number of different values of a column whose values hardly repeat, and maximum
# mean number of rows of one.
MIN_SINGLE_VALUES, MAX_SINGLE_REPEATS = 30, 1.05
# An interval without rows separates clusters if it is this wide, in units of the middle
# nine tenths of the column, if both sides have that many rows and that share, and if it
# is wider than the stretch that as many rows beside it cover.
GAP_WIDTH, GAP_ROWS, GAP_SHARE = 0.04, 20, 0.02


class Quantiles:
    """The randomised distributional transform of one column of plain floats.

    A value x is a point of the interval [F(x-), F(x)] of training frequencies, and is
    encoded as the normal quantile of that point: N(0, 1), whatever spikes or bounds the
    column has (Rueschendorf 2009). Discrete columns keep all their values and decode to
    them alone. Others keep at most `n_quantiles` knots, of which repeated values have
    an interval of their own and single ones a point; between knots the map is linear in
    the normal quantile, so that float32 resolves the far tails.
    """

    def __init__(self, n_quantiles: int):
        self.n_quantiles = n_quantiles

    def fit(self, x: np.ndarray) -> "Quantiles":
        """Learn from finite values, shape (n,), at least one."""
        values, counts = np.unique(x, return_counts=True)
        n = len(x)
        upper = np.cumsum(counts) / n
        lower = upper - counts / n
        # Whether all values are known, and not some of more.
        few = self.is_complete_ = len(values) <= self.n_quantiles
        self.discrete_ = bool(few and n >= ATOM_REPEATS * len(values))
        if not few:
            kept = self._knots(counts, counts)
            values, lower, upper = values[kept], lower[kept], upper[kept]
        self.deviation_ = deviation(x) or 1.0
        self._keep(values, lower, upper, n)
        return self

    def _keep(self, values, lower, upper, n, most_single=1.0):
        """Set the map; of a value of up to `most_single` rows a point."""
        edge = 0.5 / n
        self.values_, self.n_ = values, n
        self.lower_, self.upper_ = lower, upper
        if not self.discrete_:
            # Single rows become points; `update` still needs to know them as rows.
            single = (upper - lower) * n < most_single + 0.5
            middle = 0.5 * (lower + upper)
            lower = np.where(single, middle, lower)
            upper = np.where(single, middle, upper)
        self.u_lower_, self.u_upper_ = np.clip([lower, upper], edge, 1 - edge)
        self.cluster_gaps_ = np.array([], dtype=int)
        if not self.discrete_:
            self.cluster_gaps_ = self.gaps()

    def update(self, x: np.ndarray) -> None:
        """Learn from more values, shape (m,), as if all had been there at once.

        Exact where all values are kept; else knots are thinned out each time.
        """
        more = Quantiles(self.n_quantiles).fit(x)
        values = np.union1d(self.values_, more.values_)
        n = self.n_ + more.n_
        share = self.n_ / n
        lower, upper = (
            share * mine + (1 - share) * other
            for mine, other in zip(
                self._frequencies(values), more._frequencies(values), strict=True
            )
        )
        are_complete = self.is_complete_ and more.is_complete_
        few = self.is_complete_ = are_complete and len(values) <= self.n_quantiles
        self.discrete_ = bool(
            few and (self.discrete_ or n >= ATOM_REPEATS * len(values))
        )
        if not few:
            kept = self._knots(np.diff(upper, prepend=0.0) * n, (upper - lower) * n)
            values, lower, upper = values[kept], lower[kept], upper[kept]
        # Several passes repeat all values, which only spikes do of themselves.
        self._keep(values, lower, upper, n, 1.0 if few else 2 * n / self.n_quantiles)

    def knows(self, x: np.ndarray) -> bool | None:
        """Whether values have been there before; None if they may be so by chance."""
        values = np.unique(x)
        is_single = len(x) <= MAX_SINGLE_REPEATS * len(values)
        is_single &= self.n_ <= MAX_SINGLE_REPEATS * len(self.values_)
        if not is_single or len(self.values_) < MIN_SINGLE_VALUES:
            return None
        return bool(np.isin(values, self.values_).all())

    def _frequencies(self, values):
        """Shares of what was learnt that are below, and not above, each value."""
        place = np.minimum(np.searchsorted(self.values_, values), len(self.values_) - 1)
        known = self.values_[place] == values
        ends = 0.5 / self.n_, 1 - 0.5 / self.n_
        corners = np.stack([self.lower_, self.upper_], 1).ravel()
        z = ndtri(np.clip(corners, *ends))
        between = ndtr(np.interp(values, np.repeat(self.values_, 2), z))
        between = np.where(values < self.values_[0], 0.0, between)
        between = np.where(values > self.values_[-1], 1.0, between)
        return (
            np.where(known, self.lower_[place], between),
            np.where(known, self.upper_[place], between),
        )

    def gaps(self) -> np.ndarray:
        """Positions of the last knots before the gaps between clusters."""
        values, enough = self.values_, max(GAP_ROWS / self.n_, GAP_SHARE)
        gaps, before = [], 0.0
        width = np.diff(values)
        inner = np.interp([0.05, 0.95], self.u_lower_, values)
        for place in np.flatnonzero(width > GAP_WIDTH * (inner[1] - inner[0])):
            share, rest = self.u_upper_[place], 1.0 - self.u_lower_[place + 1]
            if share - before < enough or rest < enough:
                continue
            # In a long tail rows are far apart everywhere.
            left = values[place] - np.interp(share - enough, self.u_lower_, values)
            beyond = np.interp(1.0 - rest + enough, self.u_upper_, values)
            if width[place] > max(left, beyond - values[place + 1]):
                gaps.append(place)
                before = share
        return np.array(gaps, dtype=int)

    def _knots(self, counts, repeats):
        """Positions of the extremes, of spikes, and of even ranks among the others.

        `counts` are rows up to each value from the one before, `repeats` those that
        have it.
        """
        spiked = repeats > 2 * counts.sum() / self.n_quantiles
        spiked[[0, -1]] = True
        others = np.flatnonzero(~spiked)
        last = np.cumsum(counts[others])
        n_even = max(self.n_quantiles - np.count_nonzero(spiked), 0)
        ranks = np.linspace(1, last[-1], n_even).round()
        places = np.searchsorted(last, ranks)
        spiked[others[np.minimum(places, len(others) - 1)]] = True
        return np.flatnonzero(spiked)

    @property
    def z_range_(self) -> np.ndarray:
        """Normal quantiles of the least and the greatest training value."""
        return ndtri([self.u_lower_[0], self.u_upper_[-1]])

    def _map(self):
        """Corners of the map: each interval flat, straight lines in between."""
        z = ndtri(np.stack([self.u_lower_, self.u_upper_], 1).ravel())
        return np.repeat(self.values_, 2), z

    def encode(self, x: np.ndarray, rng=None) -> np.ndarray:
        """Normal quantiles; of an atom the middle, with `rng` a random point."""
        place = np.searchsorted(self.values_, x)
        place = np.minimum(place, len(self.values_) - 1)
        known = self.values_[place] == x
        if known.all():
            return self._at(place, rng)
        z = np.empty(len(x))
        z[known] = self._at(place[known], rng)
        z[~known] = self._between(x[~known])
        return z

    def _at(self, place, rng):
        """A point of the intervals of the knots at `place`."""
        middle = ndtri(0.5 * (self.u_lower_ + self.u_upper_))
        if rng is None:
            return middle[place]
        lower, upper = self._float_intervals()
        narrow = lower > upper
        lower[narrow] = upper[narrow] = middle[narrow]
        u = rng.random(len(place))
        u *= (self.u_upper_ - self.u_lower_)[place]
        u += self.u_lower_[place]
        return np.clip(ndtri(u, out=u), lower[place], upper[place])

    def _float_intervals(self):
        """Encoded intervals of the knots; as float32 no point is in the next one."""
        lower, upper = ndtri(self.u_lower_), ndtri(self.u_upper_)
        return (
            np.nextafter(lower.astype(np.float32), np.float32(np.inf)),
            np.nextafter(upper.astype(np.float32), np.float32(-np.inf)),
        )

    def atoms(self) -> np.ndarray:
        """Intervals of values that have one, in order, shape (4, n_atoms).

        Least and greatest encoded value, and the quantiles of the two.
        """
        lower, upper = self._float_intervals()
        wide = lower < upper
        return np.stack([lower, upper, self.u_lower_, self.u_upper_])[:, wide]

    def frequent_values(self, min_share: float, few: int) -> np.ndarray:
        """Values of at least a share of the rows; all of a column that has few."""
        if self.discrete_ and len(self.values_) <= few:
            return self.values_
        return self.values_[self.u_upper_ - self.u_lower_ >= min_share]

    def intervals(self, values) -> np.ndarray:
        """Intervals of given values as in :meth:`atoms`, shape (4, n_values).

        That of a value which is not known any more is empty: its least encoded value
        is above the greatest, and both are where it would be, so that all are in order.
        """
        place = np.minimum(np.searchsorted(self.values_, values), len(self.values_) - 1)
        every = np.stack([*self._float_intervals(), self.u_lower_, self.u_upper_])
        found = every[:, place]
        unknown = self.values_[place] != values
        is_beyond = values > self.values_[place]
        u = np.where(is_beyond, self.u_upper_[place], self.u_lower_[place])[unknown]
        z = ndtri(u).astype(np.float32)
        below = np.nextafter(z, np.float32(-np.inf))
        found[:, unknown] = np.stack([z, below, u, u])
        return found

    def _between(self, x):
        z = np.interp(x, *self._map())
        # Outside the training range go on straight: an outlier must look like one.
        with np.errstate(over="ignore"):
            z += np.minimum(x - self.values_[0], 0) / self.deviation_
            z += np.maximum(x - self.values_[-1], 0) / self.deviation_
        return np.clip(z, -Z_LIMIT, Z_LIMIT)

    def decode(self, z: np.ndarray) -> np.ndarray:
        """Values of normal quantiles; total: everything finite has one."""
        if self.discrete_:
            place = np.searchsorted(ndtri(self.u_upper_), z)
            return self.values_[np.minimum(place, len(self.values_) - 1)]
        x, corners = self._map()
        return np.interp(z, corners, x)


def deviation(x):
    """Standard deviation, also where squares are too much for a float."""
    largest = float(np.abs(x).max())
    if largest < 1e150:
        return float(x.std())
    return float((x / largest).std()) * largest
