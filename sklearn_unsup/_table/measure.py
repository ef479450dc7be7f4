"""Numbers in their own units: what a density of encoded numbers means for the table.

A model of encoded rows gives probabilities of normal quantiles. The likelihood of a
table wants them per unit of each column, or of each value where values repeat. Between
the two stands a map from values to quantiles whose slope is a density. The map that
encodes training rows passes through every one of them, so that its slope is as rough as
the distances between neighbouring rows. Here it is smoothed first.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

# Rows of a bin of the smoothed map are this many times n ** (2 / 3), the order at which
# error of the rows and of the bins' width balance, and fewer towards the ends. The map
# is the mean of several, whose bins are shifted against each other.
BIN_ROWS, N_SHIFTS = 0.35, 8
# A value of a continuous column is an atom, with a probability of its own, if it has
# this share and this many of the rows.
MIN_ATOM_SHARE, MIN_ATOM_ROWS = 1 / 400, 15
# Beyond the seen range the density is that of a generalised Pareto distribution of this
# shape, whose scale is the mean excess of the outermost rows.
TAIL_SHAPE, TAIL_ROWS = 0.25, 10
# Rows, of however many, in which a cell is none of the model's but anything. It bounds
# what one surprising cell may cost.
CONTAMINATION = 0.1
# Half the width of an atom under a scaling that gives it no interval, in deviations.
ATOM_HALF_WIDTH = 0.005
MAX_GRID = 2**40  # steps of a grid
MAX_DIVISOR = 20  # of the least distance of two values, to find the step
OFF_GRID = 0.01  # of a step


@dataclass
class Cells:
    """Numbers of one column as questions to a density of encoded numbers.

    Attributes
    ----------
    middle, half : ndarray of shape (n,)
        The interval of encoded numbers that stands for the value. Half its width is 0
        where the density at the middle is asked for, and infinite, with the sign of the
        side, where everything beyond the middle is.
    log_volume : ndarray of shape (n,)
        What to add to the logarithm of the interval's probability, or density.
    log_background : ndarray of shape (n,)
        Log-probability, or density, of the value if it is none of the model's.
    log_excess : ndarray of shape (n,)
        Of a number beyond the seen range its log-density against that of one just
        beyond it; else 0.
    """

    middle: np.ndarray
    half: np.ndarray
    log_volume: np.ndarray
    log_background: np.ndarray
    log_excess: np.ndarray = None


class NumberMeasure:
    """Map from a column's numbers to intervals of encoded ones, with its volume.

    Values on a grid (whole numbers, dates, numbers of few decimals, and multiples of
    one step) have the probability of their cell of the grid. Other values have a
    density, but for those that repeat so often that they are atoms.

    Parameters
    ----------
    column : NumericColumn
        One that varies, scaled by "quantile" or "standard".
    """

    def __init__(self, column):
        self.column, self.quantiles = column, column.quantiles_
        self.n = self.quantiles.n_
        self.step = grid_step(column)
        is_float = column.raw_dtype_.kind == "f"
        self.is_discrete = self.quantiles.discrete_
        has_unit = is_float and column.decimals_ != 0 and not self.is_discrete
        # Of floats x is a multiple of a power of two where they are extreme.
        self.log_unit = np.log(float(column.step_)) if is_float else 0.0
        if self.step is not None:
            self.log_unit = self.log_unit + np.log(self.step) if has_unit else 0.0
        self._place_corners()
        self._fit_tails()

    # ------------------------------------------------------------------ the map

    def _place_corners(self):
        q, n = self.quantiles, self.n
        share = q.upper_ - q.lower_
        self.values = self._coordinates(q.values_)
        is_atom = share >= max(MIN_ATOM_SHARE, MIN_ATOM_ROWS / n)
        ends = 0.5 / n, 1 - 0.5 / n
        if self.step is not None:
            width = np.full(len(share), 0.5)
            self.is_atom = np.zeros(len(share), dtype=bool)
        else:
            self.is_atom = is_atom | self.is_discrete
            width = self._atom_widths()
        u = np.stack([q.lower_, q.upper_], 1)
        if self.step is None:
            u[~self.is_atom] = u[~self.is_atom].mean(1, keepdims=True)
        u = np.clip(u, *ends)
        # A value that repeats and the ends of a gap are borders of bins.
        is_border = is_atom.copy()
        gaps = q.gaps()
        is_border[gaps] = is_border[gaps + 1] = True
        x = self.values[:, None] + np.stack([-width, width], 1)
        self.x = x.ravel()
        if self.column.scaling == "quantile":
            self.z = self._smooth(u.ravel(), np.repeat(is_border, 2))
        else:
            self.z = self._linear(self.x)
        self.z_low, self.z_high = self.z[0], self.z[-1]

    def _coordinates(self, x):
        """Numbers in steps of the grid, if there is one, else as they are."""
        if self.step is None:
            return x
        return (x - self.quantiles.values_[0]) / self.step

    def _atom_widths(self):
        """Half the width of each value's own interval: 0, but for atoms if linear."""
        width = np.zeros(len(self.values))
        if self.column.scaling != "quantile":
            gaps = np.diff(self.values, prepend=-np.inf, append=np.inf)
            nearest = np.minimum(gaps[:-1], gaps[1:])
            most = ATOM_HALF_WIDTH * self.column.scale_
            width[self.is_atom] = np.minimum(0.4 * nearest, most)[self.is_atom]
        return width

    def _linear(self, coordinates):
        x = coordinates
        if self.step is not None:
            x = x * self.step + self.quantiles.values_[0]
        return (x - self.column.center_) / self.column.scale_

    def _smooth(self, u, is_border):
        """Encoded numbers at the corners of the map, smoothed between the borders."""
        if self.step is None and self.is_atom.all():
            return ndtri(u)
        z = smoothed(self.x, u, is_border, self.n)
        if self.step is not None:
            weight = frequency_weight(u.reshape(-1, 2), ndtr(z).reshape(-1, 2), self.n)
            z = ndtri(weight * u + (1 - weight) * ndtr(z))
        return z

    @property
    def encoded_range(self):
        """Encoded values of the least and the greatest number seen."""
        if self.column.scaling == "quantile":
            return self.quantiles.z_range_
        ends = np.array([self.column.low_, self.column.high_])
        return (ends - self.column.center_) / self.column.scale_

    # ------------------------------------------------------------------ the tails

    def _fit_tails(self):
        """Scales of the two tails, in the coordinates of the map."""
        q, n = self.quantiles, self.n
        u = (np.arange(min(TAIL_ROWS, n - 1) + 1) + 0.5) / n
        corners = ndtri(
            np.clip(np.stack([q.lower_, q.upper_], 1), 0.5 / n, 1 - 0.5 / n)
        )
        x = np.repeat(self.values, 2)
        low = np.interp(ndtri(u), corners.ravel(), x)
        high = np.interp(-ndtri(u), corners.ravel(), x)
        excess = np.array([low[-1] - low[:-1].mean(), high[:-1].mean() - high[-1]])
        # Rows that share the last value say nothing of what may come beyond it.
        least = 1.0 if self.step is not None else 0.01 * self._spread()
        self.tail_scales = np.maximum(excess, least)

    def _spread(self):
        return self.quantiles.deviation_

    def _log_tail(self, beyond, scale):
        """Log-density beyond the seen range, or of a cell of the grid, of distance."""
        shape = TAIL_SHAPE
        if self.step is None:
            return -(1 + 1 / shape) * np.log1p(shape * beyond / scale) - np.log(scale)
        # The first cell begins where the last seen one ends.
        near, far = (-np.log1p(shape * d / scale) / shape for d in (beyond - 1, beyond))
        return near + np.log(-np.expm1(far - near))

    # ------------------------------------------------------------------ questions

    def cells(self, x) -> Cells:
        """What to ask the model of numbers (n,), in units of the codec's floats."""
        x = self._coordinates(x)
        on_grid = np.ones(len(x), dtype=bool)
        if self.step is not None:
            nearest = np.rint(x)
            on_grid = np.abs(x - nearest) < OFF_GRID
            x = nearest
        low, high = self.values[0], self.values[-1]
        below, above = x < low, x > high
        cells = self._inside(np.clip(x, low, high))
        cells.log_volume[~on_grid & ~below & ~above] = -np.inf
        cells.log_excess = np.where(
            cells.log_volume > -np.inf, 0.0, -np.log(self.n + 1)
        )
        for is_beyond, end, sign, scale in (
            (below, self.z_low, -1.0, self.tail_scales[0]),
            (above, self.z_high, 1.0, self.tail_scales[1]),
        ):
            distance = np.abs(x[is_beyond] - (low if sign < 0 else high))
            cells.middle[is_beyond], cells.half[is_beyond] = end, sign * np.inf
            density = self._log_tail(distance, scale)
            nearest = self._log_tail(np.array(self.step is not None, float), scale)
            cells.log_excess[is_beyond] = density - nearest
            cells.log_volume[is_beyond] = density
            cells.log_background[is_beyond] = density + np.log(0.25)
        cells.log_volume -= self.log_unit
        cells.log_background -= self.log_unit
        is_mass = cells.log_background == -np.inf
        cells.log_volume[is_mass] += self.log_unit  # an atom's probability has no unit
        return cells

    def _inside(self, x):
        if self.step is not None:
            edges = np.interp(np.stack([x - 0.5, x + 0.5]), self.x, self.z)
            middle, half = edges.mean(0), 0.5 * (edges[1] - edges[0])
            log_volume = np.where(half > 0, 0.0, -np.inf)
            n_cells = self.values[-1] - self.values[0] + 1
            return Cells(
                middle, half, log_volume, np.full(len(x), -np.log(2 * n_cells))
            )
        place = np.searchsorted(self.values, x)
        is_atom = self.is_atom[place] & (self.values[place] == x)
        corner = np.clip(np.searchsorted(self.x, x, "right") - 1, 0, len(self.x) - 2)
        # The last value is no part of an interval that begins there.
        corner = np.where(x >= self.values[-1], np.searchsorted(self.x, x) - 1, corner)
        corner = np.clip(corner, 0, len(self.x) - 2)
        run = self.x[corner + 1] - self.x[corner]
        rise = np.maximum(self.z[corner + 1] - self.z[corner], 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            log_slope = np.log(rise) - np.log(run)
            middle = self.z[corner] + rise * ((x - self.x[corner]) / run)
        atoms = self.z.reshape(-1, 2)[place]
        in_window = self.is_atom[corner // 2] & (corner % 2 == 0)
        log_slope[in_window] = -np.inf
        return Cells(
            np.where(is_atom, atoms.mean(1), middle),
            np.where(is_atom, 0.5 * (atoms[:, 1] - atoms[:, 0]), 0.0),
            np.where(is_atom, 0.0, log_slope),
            np.where(is_atom, -np.inf, -np.log(2 * (self.values[-1] - self.values[0]))),
        )


def grid_step(column):
    """The step that all values of a column are apart by multiples of; None if none."""
    values = column.quantiles_.values_
    gaps = np.diff(values)
    if column.decimals_ is not None:
        step = 10.0**-column.decimals_
        whole = np.rint(gaps / step)
        if (values[-1] - values[0]) / step > MAX_GRID:
            return None
        return step * float(np.gcd.reduce(whole.astype(np.int64)))
    # Not always are two neighbouring steps among the values.
    for divisor in range(1, MAX_DIVISOR + 1):
        step = float(gaps.min()) / divisor
        places = (values - values[0]) / step
        error = 4 * np.finfo(column.raw_dtype_).eps * np.abs(values).max() / step + 1e-9
        if places[-1] > MAX_GRID or error > OFF_GRID:
            return None
        if np.abs(places - np.rint(places)).max() <= error:
            return float((values[-1] - values[0]) / np.rint(places[-1]))
    return None


def smoothed(x, u, is_border, n):
    """Encoded numbers at corners `x` of a map, straight over bins of several rows.

    Parameters
    ----------
    x, u : ndarray of shape (n_corners,)
        Ascending values and their quantiles.
    is_border : ndarray of bool, shape (n_corners,)
        Corners that no bin reaches beyond.
    n : int
        Rows that the quantiles are of.
    """
    z, total = ndtri(u), np.zeros(len(u))
    # Bins of equal widths on this scale have fewer rows towards the ends.
    scale = np.arcsin(np.sqrt(u)) * (2 / np.pi)
    low, high = scale[0], scale[-1]
    width = (high - low) * min(1.0, BIN_ROWS * n ** (2 / 3) / n)
    fixed = np.flatnonzero(is_border)
    for shift in (np.arange(N_SHIFTS) + 0.5) / N_SHIFTS:
        edges = low + width * np.arange(shift - 1, (high - low) / width + 1)
        places = np.searchsorted(scale, np.clip(edges, low, high))
        kept = np.unique(np.concatenate([[0, len(u) - 1], fixed, places]))
        straight = np.interp(x, x[kept], z[kept])
        straight[kept] = z[kept]  # both ends of an atom are at one place
        total += straight
    return total / N_SHIFTS


def frequency_weight(raw, smooth, n):
    """Weight of the frequencies of values against smoothed ones, in [0, 1].

    The one that makes each training row likeliest if its own count is left out:
    deleted interpolation (Jelinek and Mercer 1980).

    Parameters
    ----------
    raw, smooth : ndarray of shape (n_values, 2)
        Quantiles at both ends of each value's cell.
    n : int
        Rows that the quantiles are of.
    """
    counts = np.rint((raw[:, 1] - raw[:, 0]) * n)
    others = np.maximum(counts - 1, 0) / max(n - 1, 1)
    near = np.maximum(smooth[:, 1] - smooth[:, 0], 1e-300)
    weight = 0.5
    for _ in range(20):
        part = weight * others / (weight * others + (1 - weight) * near)
        weight = float(np.average(part, weights=np.maximum(counts, 1e-9)))
    return weight
