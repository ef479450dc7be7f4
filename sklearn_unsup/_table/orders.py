"""Orders: columns of which some are never greater than others."""

import copy
from graphlib import CycleError, TopologicalSorter

import numpy as np
import pandas as pd

from .grid import MAX_SPAN, MAX_WHOLE, Grid
from .kinds import EMPTY
from .numeric import FLOAT_MAX, TICKS_PER_SECOND


class Orders:
    """All inequalities of a table: an encoding in which no row can break them.

    A column with something below it is encoded as its gap to the greatest of the
    columns below it and of its own least value: what is left is what it could have
    been. Gaps are not negative, and are added to decoded values in the order of the
    columns. Columns also stay below the greatest training value of those above them,
    which therefore keep their ranges. A range can only be left where a row has two
    columns of which no training row had both.

    Parameters
    ----------
    inequalities : list of (Inequality, int, int)
        Each with the positions of its two columns.
    """

    def __init__(self, inequalities):
        self.inequalities = inequalities

    def fit(self, columns: list) -> "Orders":
        """Learn the grids of the columns of a table, given in order."""
        self.below_, self.above_ = {}, {}
        for constraint, low, high in self.inequalities:
            for end in (low, high):
                self.below_.setdefault(end, [])
                self.above_.setdefault(end, [])
            self.below_[high].append((low, constraint.strict))
            self.above_[low].append((high, constraint.strict))
        graph = {high: [low for low, _ in lows] for high, lows in self.below_.items()}
        try:
            self.order_ = list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            names = " <= ".join(repr(columns[i].name) for i in error.args[1])
            raise ValueError(
                f"constraints: the inequalities go round in a circle, {names}. Columns "
                "that are always equal are one: drop the others."
            ) from error
        grids = {}
        for constraint, *ends in self.inequalities:
            for end in ends:
                if end not in grids:
                    column = columns[end]
                    grids[end] = Grid(column.name, constraint).fit(column)
            refuse_other_measures(constraint, *(grids[end] for end in ends))
        self.grids_ = in_one_unit(grids)
        # What a gap is counted from where nothing below is greater; it never changes,
        # or rows would get other codes as a stream goes on.
        self.start_ = {
            end: 0 if grid.low_ is None else grid.low_
            for end, grid in self.grids_.items()
        }
        self.greatest_gap_ = self._greatest_gaps(columns)
        return self

    def _greatest_gaps(self, columns):
        """Of each column with something below it, by position; None without any."""
        gaps = {}
        read = {end: self.grids_[end].read(columns[end]) for end in self.order_}
        for end in filter(self.below_.get, self.order_):
            missing, values = read[end]
            bounds, is_bounded = self._bounds(end, read)
            rows = is_bounded & ~missing
            gap = self.grids_[end].gap(values, np.maximum(bounds, self.start_[end]))
            gaps[end] = gap[rows].max() if rows.any() else None
        return gaps

    def least_below(self, end: int, values) -> np.ndarray:
        """The least values below those of a column, by the greatest gap of training.

        Values of the only column that is below it.
        """
        [(low, _)] = self.below_[end]
        grid, gap = self.grids_[end], self.greatest_gap_[end]
        least = np.full(len(values), self.grids_[low].low_)
        if gap is None:
            return least
        # Gaps are counted from the next value where the order is strict.
        reach = (gap + 1) * grid.step_ if grid.is_whole_ else gap
        return np.maximum(least, values - reach)

    def updated(self, columns: list) -> "Orders":
        """One that has learnt the ranges of more rows, too; this one is the same."""
        wider = copy.copy(self)
        wider.grids_ = {
            end: grid.updated(columns[end]) for end, grid in self.grids_.items()
        }
        wider.greatest_gap_ = {
            end: gap if known is None else known if gap is None else max(known, gap)
            for (end, known), gap in zip(
                self.greatest_gap_.items(),
                wider._greatest_gaps(columns).values(),
                strict=True,
            )
        }
        return wider

    def find_broken(self, low, high, strict, columns) -> np.ndarray:
        """Which rows break one inequality, shape (n,)."""
        (no_low, lows), (no_high, highs) = (
            self.grids_[end].read(columns[end]) for end in (low, high)
        )
        broken = lows >= highs if strict else lows > highs
        return broken & ~no_low & ~no_high

    # ------------------------------------------------------------------ both ways

    def to_free(self, columns: list) -> list:
        """Columns of a table with gaps in place of those that have one."""
        free = list(columns)
        read = {end: self.grids_[end].read(columns[end]) for end in self.order_}
        for end in self.order_:
            if not self.below_[end]:
                continue
            missing, values = read[end]
            grid = self.grids_[end]
            start = np.maximum(self._bounds(end, read)[0], self.start_[end])
            gap = grid.gap(values, start)
            if grid.is_whole_:
                array = pd.arrays.IntegerArray(np.where(missing, 0, gap), missing)
            else:
                array = np.where(missing, np.nan, gap)
            free[end] = pd.Series(array, name=columns[end].name)
        return free

    def to_table(self, free: list, limits=None) -> list:
        """Inverse of `to_free`, for any columns.

        `limits` may say otherwise than training, by position, what the least and the
        greatest value of a column are in each row: arrays of shape (2, n).
        """
        columns, limits = list(free), limits or {}
        read, gaps = {}, {}
        for end in self.order_:
            if self.below_[end]:
                missing = free[end].isna().to_numpy()
                gaps[end] = free[end].to_numpy(np.float64, na_value=0.0)
                if self.grids_[end].is_whole_:
                    gaps[end] = free[end].fillna(0).to_numpy(np.int64)
                read[end] = missing, None
            else:
                read[end] = self.grids_[end].read(free[end])
        self._move_lowest(read, gaps, limits)
        highest = self._highest(read, limits)
        for end in self.order_:
            grid, (missing, values) = self.grids_[end], read[end]
            if self.below_[end]:
                bounds, is_bounded = self._bounds(end, read)
                start = np.maximum(bounds, self.start_[end])
                values = np.minimum(grid.above(start, gaps[end]), highest[end])
                # The bound counts more than the range, which an odd row may leave.
                values = np.where(is_bounded, np.maximum(values, bounds), values)
            else:
                values = np.minimum(values, highest[end])
            if end in limits:
                values = np.maximum(values, limits[end][0])
            read[end] = missing, values
            columns[end] = grid.column(values, missing)
        return columns

    def _move_lowest(self, read, gaps, limits):
        """Move columns with nothing below them, in place, to where others are asked.

        The gaps then stay what they are, which say more of a row than where it lies: a
        stay in a hospital that ends later begins later, and is no longer than others.
        """
        asked = [end for end in self.order_ if end in limits and self.below_[end]]
        found = dict(read)
        for end in filter(self.below_.get, self.order_ if asked else ()):
            start = np.maximum(self._bounds(end, found)[0], self.start_[end])
            found[end] = read[end][0], self.grids_[end].above(start, gaps[end])
        for end in asked:
            missing, values = found[end]
            shift = np.where(missing, 0, np.clip(values, *limits[end]) - values)
            for lowest in self._lowest_below(end):
                grid, (own_missing, own) = self.grids_[lowest], read[lowest]
                if grid.low_ is None:  # No training row has a value to move.
                    continue
                own_limits = limits.get(lowest, (grid.low_, grid.high_))
                moved = np.clip(own + shift, *own_limits)
                moved = grid.next_value(moved, up=False, strict=False)
                stays = own_missing | (shift == 0)
                read[lowest] = own_missing, np.where(stays, own, moved)

    def _lowest_below(self, end):
        """Columns below one that have nothing below themselves."""
        lows = [low for low, _ in self.below_[end]]
        found = {low for low in lows if not self.below_[low]}
        return found.union(*map(self._lowest_below, lows))

    def moved(self, columns: list, is_open) -> list:
        """Columns of a table in which cells that are open make way for the others.

        Parameters
        ----------
        columns : list of Series
        is_open : ndarray of bool of shape (n, n_columns)
            Cells that may move, beyond the range of training if need be.
        """
        columns = list(columns)
        read = {end: self.grids_[end].read(columns[end]) for end in self.order_}
        before = {end: values for end, (_, values) in read.items()}
        for order, nearby, up in (
            (reversed(self.order_), self.above_, False),
            (self.order_, self.below_, True),
        ):
            nearest = np.maximum if up else np.minimum
            for end in order:
                missing, values = read[end]
                for other, strict in nearby[end]:
                    bound = self.grids_[end].next_value(
                        read[other][1], up=up, strict=strict
                    )
                    rows = is_open[:, end] & ~missing & ~read[other][0]
                    values = np.where(rows, nearest(values, bound), values)
                read[end] = missing, values
        for end, (missing, values) in read.items():
            if (values != before[end]).any():
                columns[end] = self.grids_[end].column(values, missing)
        return columns

    def _bounds(self, end, read):
        """The least values that the columns below leave a column, and where there are.

        Where none is there it is what gaps are counted from.
        """
        grid = self.grids_[end]
        n = len(read[end][0])
        dtype = np.int64 if grid.is_whole_ else np.float64
        bounds = np.full(n, self.start_[end], dtype)
        is_bounded = np.zeros(n, bool)
        for low, strict in self.below_[end]:
            missing, values = read[low]
            least = grid.next_value(values, up=True, strict=strict)
            least = np.where(is_bounded, np.maximum(bounds, least), least)
            bounds = np.where(missing, bounds, least)
            is_bounded |= ~missing
        return bounds, is_bounded

    def _highest(self, read, limits):
        """The greatest value of each column that leaves room for those above it."""
        highest = {}
        for end in reversed(self.order_):
            grid = self.grids_[end]
            dtype = np.int64 if grid.is_whole_ else np.float64
            top = 0 if grid.high_ is None else grid.high_
            most = np.full(len(read[end][0]), top, dtype)
            if end in limits:
                most = limits[end][1]
            for high, strict in self.above_[end]:
                below = grid.next_value(highest[high], up=False, strict=strict)
                most = np.where(read[high][0], most, np.minimum(most, below))
            highest[end] = most
        return highest


def refuse_other_measures(constraint, *grids):
    """Raise unless columns hold numbers of one measure."""
    measures = {grid.measure_ for grid in grids if grid.measure_[0] != EMPTY}
    if len(measures) > 1:
        found = ", ".join(
            f"{grid.name!r} of dtype {grid.column_.dtype_}" for grid in grids
        )
        raise ValueError(
            f"{constraint!r}: its columns must hold the same kind of number, all dates "
            "with a time zone or all without, or periods of one frequency; got "
            f"{found}. Convert them."
        )


def in_one_unit(grids: dict) -> dict:
    """Grids that count time in the finest of their units."""
    units = [grid.unit_ for grid in grids.values() if grid.unit_]
    unit = max(units, key=TICKS_PER_SECOND.get, default=None)
    grids = {
        end: grid.in_unit(unit) if grid.unit_ else grid for end, grid in grids.items()
    }
    for grid in grids.values():
        low, high = (grid.low_ or 0), (grid.high_ or 0)
        if grid.is_whole_ and (high > MAX_WHOLE or low < -MAX_WHOLE):
            raise too_large(grid)
    whole = [
        grid for grid in grids.values() if grid.is_whole_ and grid.low_ is not None
    ]
    if whole:
        low = min(whole, key=lambda grid: grid.low_)
        high = max(whole, key=lambda grid: grid.high_)
        if high.high_ - low.low_ > MAX_SPAN:
            raise too_large(high)
    for grid in grids.values():
        if not grid.is_whole_ and grid.low_ is not None:
            if max(abs(grid.low_), abs(grid.high_)) > FLOAT_MAX:
                raise ValueError(
                    f"{grid.constraint!r}: column {grid.name!r} goes up to "
                    f"{max(abs(grid.low_), abs(grid.high_)):.3g}. Beyond "
                    f"{FLOAT_MAX:.3g} differences may be too large for floats: divide "
                    "it, and those that it is compared with."
                )
    return grids


def too_large(grid):
    return ValueError(
        f"{grid.constraint!r}: column {grid.name!r} and those that it is compared with "
        "lie too far apart to be counted by 64 bits. Convert dates to a coarser unit, "
        "such as by astype('datetime64[s]'), and integers to floats."
    )
