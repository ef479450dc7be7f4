"""Grid: the numbers or dates of a column, to be compared and computed with exactly."""

import copy
import numbers
from collections.abc import Hashable
from decimal import Decimal

import numpy as np
import pandas as pd

from .codec import column_of_state, column_state
from .kinds import CATEGORIES, EMPTY, column_kind
from .numeric import TICKS_PER_SECOND, NumericColumn, frequency
from .plain import as_duration, is_missing
from .spans import end_of, period_of
from .zones import has_zone, zone_of

# Whole numbers of one constraint must not lie further apart, or sums would overflow.
MAX_SPAN = 2**62
MAX_WHOLE = 2**63 - 1


class Grid:
    """A column's numbers, and the points that they lie on.

    Integers, dates and durations are int64: dates in ticks of a unit of time that all
    columns of a constraint share. They lie on the multiples of a step, such as a day.
    Floats are float64 and lie on decimals if all have few digits, else anywhere that
    their dtype allows.

    Parameters
    ----------
    name : hashable
    constraint : Constraint
        The one that errors name.

    Attributes
    ----------
    measure_ : tuple
        What the numbers are of: only columns of the same measure can be compared.
    low_, high_ : int, float or None
        Least and greatest training value, None if all are missing.
    """

    def __init__(self, name: Hashable, constraint):
        self.name, self.constraint = name, constraint

    # ------------------------------------------------------------------ learning

    def fit(self, column: pd.Series) -> "Grid":
        kind = column_kind(column)
        if kind == CATEGORIES:
            raise ValueError(
                f"{self.constraint!r}: column {self.name!r} must hold numbers, dates "
                f"or durations, but holds categories of dtype {column.dtype}. Convert "
                "it to a number."
            )
        self.column_ = NumericColumn(self.name, None, 2).fit(column)
        self.ratio_ = 1
        dtype = self.column_.dtype_
        self.unit_ = self.column_.time_unit_ if dtype.kind in "mM" else None
        self.measure_ = (kind, frequency(self.column_.form_), has_zone(dtype))
        self.is_whole_ = self.column_.raw_dtype_.kind != "f" and kind != EMPTY
        self.low_ = self.high_ = None
        if self.is_whole_:
            self.origin_, self.step_ = 0, 1
            if self.unit_:
                self.origin_, self.step_ = self.column_.origin_, self.column_.step_
        missing, values = self.column_.read(column)
        self._widen(values)
        return self

    def in_unit(self, unit: str | None) -> "Grid":
        """The same grid, counting time in a unit that is at least as fine."""
        if unit is None or unit == self.unit_:
            return self
        other = copy.copy(self)
        other.ratio_ = TICKS_PER_SECOND[unit] // TICKS_PER_SECOND[self.unit_]
        for name in ("origin_", "step_", "low_", "high_"):
            value = getattr(self, name)
            setattr(other, name, None if value is None else value * other.ratio_)
        return other

    def updated(self, column: pd.Series) -> "Grid":
        """The grid of more rows, too, which lies where it did; this one is the same."""
        wider = copy.copy(self)
        missing, values = self.read(column)
        wider._widen(values[~missing])
        return wider

    def _widen(self, values):
        if not len(values):
            return
        low, high = values.min().item(), values.max().item()
        self.low_ = low if self.low_ is None else min(low, self.low_)
        self.high_ = high if self.high_ is None else max(high, self.high_)

    # ------------------------------------------------------------------ reading

    def read(self, column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
        """Which values are missing, and all values, 0 where they are."""
        missing, present = self.column_.read(column)
        if missing is None:
            return np.zeros(len(column), bool), self.values_of(present)
        values = np.zeros(len(column), np.int64 if self.is_whole_ else np.float64)
        values[~missing] = self.values_of(present)
        return missing, values

    def values_of(self, plain) -> np.ndarray:
        """Values of plain numbers of the column, as `read_numbers` gives them."""
        if not self.is_whole_:
            return plain.astype(np.float64)
        if plain.dtype.kind == "f":
            plain = plain.clip(-float(MAX_SPAN), float(MAX_SPAN)).round()
        elif plain.dtype.kind == "u":
            plain = np.minimum(plain, MAX_WHOLE)
        # What is too far away to be counted is at the end of what can be.
        limit = MAX_WHOLE // self.ratio_
        return plain.astype(np.int64).clip(-limit, limit) * self.ratio_

    def column(self, values, missing) -> pd.Series:
        """A column with the dtype of training."""
        missing = missing if missing.any() else None
        return self.column_.column_of(self.plain_of(values), missing)

    def plain_of(self, values) -> np.ndarray:
        """Inverse of `values_of`; rounded down between two ticks of the column."""
        plain = values // self.ratio_ if self.is_whole_ else values
        return plain.astype(self.column_.raw_dtype_)

    def value_of(self, bound, up: bool):
        """A bound that a user wrote, as a value; None stays None.

        Between two ticks it is the next one, the greater if `up`.
        """
        if bound is None or self.measure_[0] == EMPTY:
            return None
        try:
            if is_missing(bound):
                raise ValueError("it is missing; pass None for no limit")
            return self._value_of(bound, up)
        except (TypeError, ValueError, ArithmeticError) as error:
            raise ValueError(
                f"{self.constraint!s}: {bound!r} cannot be compared with column "
                f"{self.name!r} of dtype {self.column_.dtype_} ({error})."
            ) from error

    def _value_of(self, bound, up):
        form = self.column_.form_
        if frequency(form) is not None:
            return period_of(bound, frequency(form), "start" if up else "end").ordinal
        if self.unit_ is None:
            if not isinstance(bound, numbers.Real | Decimal | np.bool_):
                raise TypeError(f"it is a {type(bound).__name__}")
            if isinstance(bound, Decimal):
                return float(bound)
            return bound.item() if hasattr(bound, "item") else bound + 0
        if self.column_.dtype_.kind == "m":
            time = as_duration(bound)
        else:
            # A time without a zone is one of the column's, as in conditions.
            zone = zone_of(self.column_.dtype_) if self.measure_[2] else None
            time = end_of(bound, "start" if up else "end", zone)
        ticks = int(time.asm8.view(np.int64)) * TICKS_PER_SECOND[self.unit_]
        per_second = TICKS_PER_SECOND[time.unit]
        whole = -(-ticks // per_second) if up else ticks // per_second
        return whole * self.ratio_

    # ------------------------------------------------------------------ the points

    @property
    def decimals_(self):
        """Digits after the point that all floats have; None if there is no limit."""
        return self.column_.decimals_

    def points(self, values) -> np.ndarray:
        """Values counted by steps, or by units of the last decimal."""
        if self.is_whole_:
            return (values - self.origin_) // self.step_
        return np.rint(values * 10.0**self.decimals_)

    @property
    def itemsize_(self):
        """Bytes of a float of the column."""
        return self.column_.raw_dtype_.itemsize

    def nearest(self, values) -> np.ndarray:
        """The values that the column can have nearest to some floats."""
        if self.is_whole_:
            limit = float(MAX_SPAN)
            ticks = np.rint(values / self.ratio_).clip(-limit, limit)
            return ticks.astype(np.int64) * self.ratio_
        if self.decimals_ is None:
            return self._as_stored(values)
        return self.at(self.points(values))

    def at(self, points) -> np.ndarray:
        """Inverse of `points`, as the column's dtype has the values."""
        if self.is_whole_:
            return self.origin_ + points * self.step_
        return self._as_stored(points / 10.0**self.decimals_)

    def _as_stored(self, values):
        return values.astype(self.column_.raw_dtype_).astype(np.float64)

    def next_value(self, values, *, up: bool, strict: bool) -> np.ndarray:
        """The nearest value that the column can have: not below `values`, if `up`.

        Parameters
        ----------
        values : ndarray of int64 or float64
            Values of a column of the same measure.
        up : bool
            Else the nearest value that is not above.
        strict : bool
            The value must be another one.
        """
        if self.is_whole_:
            return self._next_whole(values, up, strict)
        values = values.astype(np.float64)
        beyond = np.inf if up else -np.inf
        if self.decimals_ is None:
            found = self._as_stored(values)
            step = np.array(beyond, self.column_.raw_dtype_)
            short = self._falls_short(found, values, up, strict)
            found = found.astype(self.column_.raw_dtype_)
            found[short] = np.nextafter(found[short], step)
            return found.astype(np.float64)
        # From a point on the near side, one by one. Rounding moves it by one at most.
        way = 1.0 if up else -1.0
        points = self.points(values) - 2 * way
        for _ in range(4):
            points += way * self._falls_short(self.at(points), values, up, strict)
        return self.at(points)

    @staticmethod
    def _falls_short(found, values, up, strict):
        if strict:
            return found <= values if up else found >= values
        return found < values if up else found > values

    def _next_whole(self, values, up, strict):
        if values.dtype.kind == "f":
            limit = float(MAX_SPAN)
            rounded = np.ceil(values) if up else np.floor(values)
            # A fraction is another number already.
            moved = rounded != values
            values = rounded.clip(-limit, limit).astype(np.int64)
            if strict:
                values = np.where(moved, values, values + (1 if up else -1))
        elif strict:
            values = values + (1 if up else -1)
        steps = values - self.origin_
        steps = -(-steps // self.step_) if up else steps // self.step_
        return self.origin_ + steps * self.step_

    # ------------------------------------------------------------------ gaps

    def gap(self, values, bound) -> np.ndarray:
        """How far values are above a bound, which is a value of the column, too.

        Whole numbers of steps, or decimals, or floats.
        """
        if self.is_whole_:
            return (values - bound) // self.step_
        if self.decimals_ is None:
            return values - bound
        return (self.points(values) - self.points(bound)) / 10.0**self.decimals_

    def above(self, bound, gap) -> np.ndarray:
        """Inverse of `gap`: never below the bound if the gap is not negative."""
        if self.is_whole_:
            limit = MAX_SPAN // self.step_
            return bound + np.asarray(gap, np.int64).clip(-limit, limit) * self.step_
        if self.decimals_ is None:
            return self._as_stored(bound + gap)
        return self.at(self.points(bound) + self.points(gap))

    # ------------------------------------------------------------------ saving

    def __getstate__(self):
        return {**vars(self), "column_": column_state(self.column_)}

    def __setstate__(self, state):
        vars(self).update(state, column_=column_of_state(state["column_"]))
