"""Sums: one column is what several others say, and is left out of the encoding."""

import copy

import numpy as np
import pandas as pd

from .grid import MAX_SPAN, Grid
from .kinds import DATES, DURATIONS, EMPTY, NUMBERS
from .orders import in_one_unit
from .ranges import PRESENT
from .ranges import limits as limits_of

# Relative rounding errors that floats may have made in a sum, by their bytes; those of
# more than eight are computed with as floats of eight.
ROUNDING = {2: 1e-2, 4: 1e-5}
ROUNDING_OF_DOUBLES = 1e-9


class Sum:
    """A weighted sum of columns that is zero: one of them follows from the others.

    It is left out of the encoding in rows where all others are there, and computed from
    them when rows are decoded. Whole numbers and decimals are summed as integers. The
    others are moved where the sum would leave its range.

    Parameters
    ----------
    constraint : Linear
    positions : list of int
        Those of its columns.

    Attributes
    ----------
    target_ : int
        Position of the column that follows from the others.
    is_exact_ : bool
        Whether it can have every value that the others add up to.
    """

    def __init__(self, constraint, positions):
        self.constraint, self.positions = constraint, positions

    def fit(self, columns: list) -> "Sum":
        """Choose the column to leave out, and learn the grids of all of them."""
        grids = {
            i: Grid(columns[i].name, self.constraint).fit(columns[i])
            for i in self.positions
        }
        coefficients = dict(zip(self.positions, self.constraint.values, strict=True))
        refuse_other_sums(self.constraint, grids, coefficients)
        self.grids_ = in_one_unit(grids)
        self.target_, self.is_exact_ = choose_target(self.grids_, coefficients)
        self.weights_ = {
            i: -coefficients[i] / coefficients[self.target_]
            for i in self.positions
            if i != self.target_
        }
        self.offset_ = self.constraint.constant / coefficients[self.target_]
        if not float(self._scaled(self.offset_)).is_integer():
            self.is_exact_ = False
        low = self.grids_[self.target_].low_
        # What stands for a value that the others say; it never changes.
        self.start_ = 0 if low is None else low
        return self

    def updated(self, columns: list) -> "Sum":
        """One that has learnt the ranges of more rows, too; this one is the same."""
        wider = copy.copy(self)
        wider.grids_ = {i: grid.updated(columns[i]) for i, grid in self.grids_.items()}
        return wider

    def find_broken(self, columns: list) -> np.ndarray:
        """Which rows do not add up, but for rounding, shape (n,)."""
        read = {i: self.grids_[i].read(columns[i]) for i in self.positions}
        missing, values = read[self.target_]
        known = ~np.any([gaps for gaps, _ in read.values()], axis=0)
        grid = self.grids_[self.target_]
        if self.is_exact_:
            return known & (self._total(read) != values)
        terms = [np.abs(w * read[i][1]) for i, w in self.weights_.items()]
        size = np.sum(terms, axis=0) + np.abs(values).astype(np.float64)
        step = self.step()
        rounding = ROUNDING.get(grid.itemsize_, ROUNDING_OF_DOUBLES)
        # Sums of floats are rounded to 53 bits, too.
        allowed = 0.5 * (1 + 1e-6) * step + (2.0**-50 if step else rounding) * size
        return known & (np.abs(self._float_total(read) - values) > allowed)

    # ------------------------------------------------------------------ sums

    def step(self) -> float:
        """Distance of the values of the column that is left out; 0 if it has none."""
        grid = self.grids_[self.target_]
        if grid.is_whole_:
            return grid.ratio_
        return 0.0 if grid.decimals_ is None else 10.0**-grid.decimals_

    def _float_total(self, read):
        terms = [weight * read[i][1] for i, weight in self.weights_.items()]
        return np.sum(terms, axis=0) + self.offset_

    def _total(self, read):
        """Values of the column that is left out, as the others say."""
        grid = self.grids_[self.target_]
        if not self.is_exact_:
            return grid.nearest(self._float_total(read))
        total = round(self._scaled(self.offset_))
        for i, weight in self.weights_.items():
            total = total + round(weight) * self._integers(i, read[i][1])
        return total if grid.is_whole_ else grid.at(total)

    def _integers(self, i, values):
        """Values of one of the others as multiples of the last digit of the sum."""
        if self.grids_[i].is_whole_ and self.grids_[self.target_].is_whole_:
            return values
        # Larger ones have no decimals, and no such column is exact.
        points = np.rint(self._scaled(values)).clip(-(2.0**53), 2.0**53)
        return points.astype(np.int64)

    def _scaled(self, values):
        return values * 10.0 ** (self.grids_[self.target_].decimals_ or 0)

    # ------------------------------------------------------------------ both ways

    def to_free(self, columns: list) -> list:
        """Columns of a table, with a constant where the others say the value."""
        free = list(columns)
        missing, values = self.grids_[self.target_].read(columns[self.target_])
        free[self.target_] = self._column(
            missing, np.where(self._is_known(columns), self.start_, values)
        )
        return free

    def recomputed(self, columns: list, requests: dict, moves_others: bool) -> list:
        """Columns that add up, as far as that leaves what is asked for.

        The column left out becomes what the others say. Where it cannot be that, as a
        request or its range of training says, the others are moved: of rows that ask
        for it, and with `moves_others` of all. The rest stay what they are.

        Parameters
        ----------
        columns : list of Series
        requests : dict of {int: NumberRequests}
            By position.
        moves_others : bool
        """
        read = {i: self.grids_[i].read(columns[i]) for i in self.positions}
        limits = {
            i: requested_limits(self.grids_[i], requests[i])
            for i in self.positions
            if i in requests
        }
        missing, values = read.pop(self.target_)
        grid, columns = self.grids_[self.target_], list(columns)
        low, high = limits.get(self.target_, (grid.low_, grid.high_))
        known = self._is_known(columns) & ~missing
        total = self._total(read)
        movable = known & ((total < low) | (total > high))
        if not moves_others:
            asked = requests.get(self.target_)
            movable &= asked is not None and asked.presence == PRESENT
        if movable.any():
            moved = self._moved_into_range(read, movable, limits)
            new = self._total(moved)
            moves = movable & (new >= low) & (new <= high)
            total = np.where(moves, new, total)
            for i, (gaps, others) in moved.items():
                others = np.where(moves, others, read[i][1])
                columns[i] = self.grids_[i].column(others, gaps)
        is_told = known & (total >= low) & (total <= high)
        columns[self.target_] = grid.column(np.where(is_told, total, values), missing)
        return columns

    def completed(self, columns: list, within_range=False) -> list:
        """Columns with the one value of a row that is missing, as the others say it.

        Where the column cannot have it the row gets the nearest one, and does not add
        up. With `within_range` a value beyond those of training stays missing, but for
        a total of parts that all are within theirs.
        """
        columns = list(columns)
        read = {i: self.grids_[i].read(columns[i]) for i in self.positions}
        n_missing = np.sum([missing for missing, _ in read.values()], axis=0)
        if any(grid.low_ is None for grid in self.grids_.values()):
            return columns
        for i, (missing, values) in read.items():
            told, grid = missing & (n_missing == 1), self.grids_[i]
            if told.any():
                is_target = i == self.target_
                found = self._total(read) if is_target else self._remainder(i, read)
                if within_range:
                    usual = (found >= grid.low_) & (found <= grid.high_)
                    told &= usual | (is_target & self._are_usual(self.weights_, read))
                ends = np.array(limits_of(grid.column_), grid.column_.raw_dtype_)
                found = np.clip(found, *grid.values_of(ends))
                found, rest = np.where(told, found, values), missing & ~told
                columns[i] = grid.column(found, np.zeros_like(rest))
                if rest.any():
                    # Of a dtype that has missing values, whether the column's has.
                    columns[i] = columns[i].astype(object).mask(rest)
        return columns

    def _are_usual(self, parts, read):
        """Which rows have values in the ranges of training in all these columns."""
        grids = ((self.grids_[i], read[i][1]) for i in parts)
        return np.all([(x >= g.low_) & (x <= g.high_) for g, x in grids], axis=0)

    def _remainder(self, part, read):
        """Values that one of the others must have, as all other columns say."""
        total, weight = read[self.target_][1], self.weights_[part]
        others = {i: w for i, w in self.weights_.items() if i != part}
        if self.is_exact_ and all(grid.is_whole_ for grid in self.grids_.values()):
            rest = total - round(self.offset_)
            for i, of_other in others.items():
                rest = rest - round(of_other) * read[i][1]
            return rest // round(weight)
        terms = [of_other * read[i][1] for i, of_other in others.items()]
        rest = total - self.offset_ - np.sum(terms, axis=0)
        return self.grids_[part].nearest(rest / weight)

    def _column(self, missing, values):
        grid = self.grids_[self.target_]
        if grid.is_whole_:
            array = pd.arrays.IntegerArray(np.where(missing, 0, values), missing)
        else:
            array = np.where(missing, np.nan, values)
        return pd.Series(array, name=grid.name)

    def _is_known(self, columns):
        return ~np.any([columns[i].isna() for i in self.weights_], axis=0)

    def to_table(self, free: list, limits=None) -> list:
        """Inverse of `to_free`, for any columns.

        `limits` may say otherwise than training, by position, what the least and the
        greatest value of a column are in each row: arrays of shape (2, n).
        """
        columns = list(free)
        target = free[self.target_]
        grid = self.grids_[self.target_]
        missing = target.isna().to_numpy()
        dtype = np.int64 if grid.is_whole_ else np.float64
        values = target.fillna(0).to_numpy(dtype)
        read = {i: self.grids_[i].read(free[i]) for i in self.weights_}
        known = self._is_known(free)
        moved = self._moved_into_range(read, known & ~missing, limits or {})
        for i, (gaps, others) in moved.items():
            if others is not read[i][1]:
                columns[i] = self.grids_[i].column(others, gaps)
        values = np.where(known, self._total(moved), values)
        columns[self.target_] = grid.column(np.where(missing, 0, values), missing)
        return columns

    def _moved_into_range(self, read, rows, limits):
        """Values of the others, whose sum is in the range of the one left out.

        All of them go the same part of the way to the ends of their ranges. What
        rounding leaves over is made up by one after the other.
        """
        if not rows.any():
            return read
        for i in limits.keys() & read.keys():
            missing, values = read[i]
            read = {**read, i: (missing, np.clip(values, *limits[i]))}
        ends = {
            i: limits.get(i, np.full((2, len(rows)), [[grid.low_], [grid.high_]]))
            for i, grid in self.grids_.items()
        }
        for move, is_above in (
            *((self._move_all, side) for side in (True, False)),
            *((self._move_short, side) for side in (True, False)),
            # Beyond the range by a step of one column, and back by finer ones.
            *((self._move_beyond, True), (self._move_short, False)),
            *((self._move_beyond, False), (self._move_short, True)),
        ):
            excess = self._total(read) - ends[self.target_][int(is_above)]
            outside = rows & (excess > 0 if is_above else excess < 0)
            if outside.any():
                read = {i: (gaps, v.copy()) for i, (gaps, v) in read.items()}
                parts = {i: pair[:, outside] for i, pair in ends.items()}
                move(read, outside, parts, is_above)
        return read

    def _move_all(self, read, rows, ends, is_above):
        excess = self._excess(read, rows, ends, is_above)
        room = np.zeros(len(excess))
        for i, weight in self.weights_.items():
            goal = ends[i][self._end_of(i, is_above)]
            room += weight * (read[i][1][rows] - goal).astype(np.float64)
        share = np.divide(excess, room, out=np.ones(len(room)), where=room != 0)
        for i in self.weights_:
            values = read[i][1][rows]
            goal = ends[i][self._end_of(i, is_above)]
            change = share.clip(0.0, 1.0) * (goal - values).astype(np.float64)
            goal = self._on_the_way(i, values, change, ends, is_above, False)
            read[i][1][rows] = goal

    def _move_short(self, read, rows, ends, is_above):
        self._move_one_by_one(read, rows, ends, is_above, False)

    def _move_beyond(self, read, rows, ends, is_above):
        self._move_one_by_one(read, rows, ends, is_above, True)

    def _move_one_by_one(self, read, rows, ends, is_above, beyond):
        # What a column of large steps leaves over, one of small steps makes up.
        for i in sorted(self.weights_, key=self._step_of, reverse=True):
            excess = self._excess(read, rows, ends, is_above)
            is_needed = excess > 0 if is_above else excess < 0
            values = read[i][1][rows]
            change = -excess / self.weights_[i]
            goal = self._on_the_way(i, values, change, ends, is_above, beyond)
            read[i][1][rows] = np.where(is_needed, goal, values)

    def _step_of(self, i):
        """What the sum changes by as one of the others changes by its least step."""
        grid = self.grids_[i]
        if grid.is_whole_:
            return abs(self.weights_[i]) * grid.step_
        return (0.0 if grid.decimals_ is None else 10.0**-grid.decimals_) * abs(
            self.weights_[i]
        )

    def _excess(self, read, rows, ends, is_above):
        """How far sums are above their ranges, or below as negative numbers."""
        end = ends[self.target_][int(is_above)]
        return (self._total(read)[rows] - end).astype(np.float64)

    def _end_of(self, i, is_above):
        """Which end of its range one of the others goes to: 0 the lower, 1 the upper.

        That which lowers a sum that is above its range, or raises one below.
        """
        return int((self.weights_[i] > 0) != is_above)

    def _on_the_way(self, i, values, change, ends, is_above, beyond):
        """The last value before a goal that one of the others can have, or the next.

        A goal that is a value but for rounding errors of the sum is that value.
        """
        grid, up = self.grids_[i], bool(self._end_of(i, is_above)) == beyond
        tolerance = 1e-6 * self._step_of(i) / abs(self.weights_[i])
        if grid.is_whole_:
            # Changes are small where values have more digits than floats.
            change = np.ceil(change - tolerance) if up else np.floor(change + tolerance)
            change = change.clip(-float(MAX_SPAN), float(MAX_SPAN)).astype(np.int64)
            goal = values + change
        else:
            goal = values + change
            nearest = grid.nearest(goal)
            goal = np.where(np.abs(nearest - goal) <= tolerance, nearest, goal)
        return np.clip(grid.next_value(goal, up=up, strict=False), *ends[i])


def requested_limits(grid, asked) -> np.ndarray:
    """Least and greatest values of each row of a column, shape (2, n).

    Where nothing is asked they are those of training.

    Parameters
    ----------
    grid : Grid
    asked : NumberRequests
    """
    is_asked = asked.presence == PRESENT
    least, most = limits_of(grid.column_)
    low, high = grid.values_of(asked.low), grid.values_of(asked.high)
    low = np.where(is_asked & (asked.low > least), low, grid.low_ or 0)
    high = np.where(is_asked & (asked.high < most), high, grid.high_ or 0)
    # A range that training has no value in begins or ends there.
    low = np.where(is_asked & (asked.low <= least), np.minimum(low, high), low)
    high = np.where(asked.high >= most, np.maximum(low, high), high)
    return np.stack([low, high])


def choose_target(grids, coefficients):
    """Position of the column to leave out, and whether it can have all sums.

    One that can, if there is one. Among several the only one of its sign, which a sum
    of things that are not negative leaves not negative; else the last one.
    """
    signs = {i: np.sign(value) for i, value in coefficients.items()}

    def rank(i):
        alone = sum(sign == signs[i] for sign in signs.values()) == 1
        return is_exact(i, grids, coefficients), alone, list(grids).index(i)

    target = max(grids, key=rank)
    return target, is_exact(target, grids, coefficients)


def is_exact(target, grids, coefficients):
    """Whether a column can have every value that the others add up to."""
    grid = grids[target]
    largest = 0.0
    for i, other in grids.items():
        weight = coefficients[i] / coefficients[target]
        if weight != round(weight):
            return False
        if grid.is_whole_ and other.is_whole_:
            fits = other.step_ % grid.ratio_ == 0 and other.origin_ % grid.ratio_ == 0
        else:
            digits = grid.decimals_, other.decimals_
            fits = None not in digits and digits[0] >= digits[1]
        if not fits:
            return False
        if not grid.unit_:
            ends = abs(other.low_ or 0), abs(other.high_ or 0)
            largest += abs(weight) * max(ends) * 10.0 ** (grid.decimals_ or 0)
    all_whole = all(other.is_whole_ for other in grids.values())
    return largest < (2**62 if all_whole else 2**52)


def refuse_other_sums(constraint, grids, coefficients):
    """Raise unless columns hold numbers, or durations and differences of dates."""
    kinds = {grid.measure_ for grid in grids.values() if grid.measure_[0] != EMPTY}
    numbers = {kind for kind, frequency, _ in kinds if frequency is None}
    dates = [i for i, grid in grids.items() if grid.measure_[0] == DATES]
    of_dates = sum(coefficients[i] for i in dates)
    times_add_up = numbers <= {DATES, DURATIONS} and not (
        of_dates or constraint.constant
    )
    has_periods = any(frequency is not None for _, frequency, _ in kinds)
    zones = {grids[i].measure_[2] for i in dates}
    if has_periods or len(zones) > 1 or not (numbers <= {NUMBERS} or times_add_up):
        found = ", ".join(f"{g.name!r} of {g.column_.dtype_}" for g in grids.values())
        raise ValueError(
            f"{constraint!r}: its columns must all be numbers, or durations, beside "
            "which dates may stand whose coefficients add up to zero; got "
            f"{found}. Convert them."
        )
