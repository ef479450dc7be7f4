"""ConstraintSet: the constraints of one table, checked against its rows and fitted."""

import copy
import numbers

import numpy as np
import pandas as pd

from .combinations import Combinations
from .conditions import did_you_mean
from .constraints import (
    FixedCombinations,
    Inequality,
    Linear,
    Range,
    Unique,
    Where,
)
from .frames import as_frame
from .grid import Grid
from .orders import Orders
from .plain import is_missing
from .sums import Sum, requested_limits
from .unique import find_repeats

# Constraints that may name columns of others.
SHARING = Range, Unique, Where


class ConstraintSet:
    """Constraints as encodings of columns, which cannot leave what is allowed.

    Parameters
    ----------
    constraints : list of Constraint

    Attributes
    ----------
    positions_ : list of list of int
        Of each constraint the positions of its columns.
    ranges_, combinations_, sums_ : list of Bounds, Combinations and Sum
    orders_ : Orders or None
    unique_ : dict
        By position of a column in which no value repeats, and which no encoding
        determines: its Grid, or None for a column of categories.
    """

    def __init__(self, constraints):
        # To say the same thing twice is to say it once.
        self.constraints = list(dict.fromkeys(constraints))

    def fit(self, columns: list, is_category) -> "ConstraintSet":
        """Learn from the columns of a table, of which some are categories."""
        names = [column.name for column in columns]
        self.positions_ = [
            [find_column(constraint, name, names) for name in constraint.columns]
            for constraint in self.constraints
        ]
        self._refuse_overlaps(names)
        self.ranges_ = [
            Bounds(constraint, i).fit(columns)
            for constraint, [i] in self.of_kind(Range)
        ]
        for constraint, places in self.of_kind((Inequality, Linear)):
            for i in places:
                if is_category[i]:
                    raise ValueError(
                        f"{constraint!r}: column {names[i]!r} is one of categories. "
                        "Convert it to a number, or leave it out of "
                        "categorical_features."
                    )
        inequalities = [(c, *ends) for c, ends in self.of_kind(Inequality)]
        self.orders_ = Orders(inequalities).fit(columns) if inequalities else None
        self.combinations_ = [
            Combinations(constraint, places).fit(columns)
            for constraint, places in self.of_kind(FixedCombinations)
        ]
        self.sums_ = [
            Sum(constraint, places).fit(columns)
            for constraint, places in self.of_kind(Linear)
        ]
        self.unique_ = {
            i: None if is_category[i] else Grid(names[i], constraint).fit(columns[i])
            for constraint, places in self.of_kind(Unique)
            for i in places
            if len(places) == 1 and self._is_free(i)
        }
        return self

    def _is_free(self, place):
        """Whether no constraint but those that may share columns names a column."""
        pairs = zip(self.constraints, self.positions_, strict=True)
        return not any(place in p for c, p in pairs if not isinstance(c, SHARING))

    def updated(self, columns: list) -> "ConstraintSet":
        """One that has learnt the ranges of more rows, too; this one is the same."""
        wider = copy.copy(self)
        if self.orders_ is not None:
            wider.orders_ = self.orders_.updated(columns)
        wider.sums_ = [part.updated(columns) for part in self.sums_]
        wider.unique_ = {
            i: grid and grid.updated(columns[i]) for i, grid in self.unique_.items()
        }
        return wider

    def of_kind(self, kind, skipped=()) -> list:
        """Constraints of one class, or of several, with the positions they name."""
        pairs = zip(self.constraints, self.positions_, strict=True)
        pairs = [(c, places) for c, places in pairs if isinstance(c, kind)]
        return [(c, places) for c, places in pairs if not isinstance(c, skipped)]

    def _refuse_overlaps(self, names):
        """Raise if two constraints would determine the same column."""
        taken = {}
        for constraint, places in zip(self.constraints, self.positions_, strict=True):
            if isinstance(constraint, SHARING):
                continue
            for place in places:
                other = taken.setdefault(place, constraint)
                both = {type(other), type(constraint)}
                if other != constraint and both != {Inequality}:
                    raise ValueError(
                        f"constraints: {other!r} and {constraint!r} both name column "
                        f"{names[place]!r}. Inequalities can share columns with each "
                        "other; list columns that belong to several combinations in "
                        "one, and leave out what follows from the rest."
                    )

    # ------------------------------------------------------------------ checking

    def find_broken(self, columns: list, table, skipped=()) -> list:
        """Each constraint that some row breaks, with the rows that break it.

        Parameters
        ----------
        columns : list of Series
        table : DataFrame or ndarray
            The same, as the function of a `Where` takes it.
        skipped : tuple of type, default=()
            Classes of constraints that are not asked about.

        Returns
        -------
        broken : list of (Constraint, ndarray of bool of shape (n,))
        """
        pairs = [
            (part.constraint, part.find_broken(columns))
            for part in (*self.ranges_, *self.combinations_, *self.sums_)
            if not isinstance(part.constraint, skipped)
        ]
        for constraint, (low, high) in self.of_kind(Inequality, skipped):
            args = low, high, constraint.strict, columns
            pairs.append((constraint, self.orders_.find_broken(*args)))
        for constraint, places in self.of_kind(Unique, skipped):
            pairs.append((constraint, find_repeats([columns[i] for i in places])))
        for constraint, _ in self.of_kind(Where, skipped):
            pairs.append((constraint, ~flags_of(constraint, table)))
        broken = {constraint: rows for constraint, rows in pairs if rows.any()}
        return [(c, broken[c]) for c in dict.fromkeys(self.constraints) if c in broken]

    def refuse_broken(self, columns, table, kind, advice="", allow_unknown=False):
        """Raise ValueError if a row breaks a constraint; the first one is named."""
        for constraint, rows in self.find_broken(columns, table):
            if allow_unknown and isinstance(constraint, FixedCombinations):
                continue
            raise broken_error(constraint, rows, kind, advice)

    # ------------------------------------------------------------------ both ways

    @property
    def _parts(self):
        return [*filter(None, [self.orders_]), *self.combinations_, *self.sums_]

    def to_free(self, columns: list) -> list:
        """Columns of a table with those that a constraint determines replaced."""
        free = list(columns)
        for part in self._parts:
            changed = part.to_free(columns)
            for i, column in enumerate(changed):
                if column is not columns[i]:
                    free[i] = column
        return free

    def to_table(self, free: list, limits=None) -> list:
        """Inverse of `to_free`: columns of a table that meets the constraints.

        `limits` are arrays of shape (2, n) by position of a column: the least and the
        greatest value that it may have in each row, instead of those of training.
        """
        for part in self.combinations_:
            free = part.to_table(free)
        for part in filter(None, [self.orders_, *self.sums_]):
            free = part.to_table(free, limits)
        return free

    # ------------------------------------------------------------------ requests

    @property
    def determined(self) -> dict:
        """By position the grids of columns of numbers that are encoded otherwise."""
        grids = {part.target_: part.grids_[part.target_] for part in self.sums_}
        if self.orders_ is not None:
            for i, below in self.orders_.below_.items():
                if below:
                    grids[i] = self.orders_.grids_[i]
        return grids

    @property
    def bases(self) -> dict:
        """By position of a determined column those that its free one counts from."""
        found = {part.target_: list(part.weights_) for part in self.sums_}
        for i, below in self.orders_.below_.items() if self.orders_ else []:
            found[i] = [low for low, _ in below]
        return found

    def grid_of(self, i) -> Grid | None:
        """Grid of a column that an inequality or a sum names, None for others."""
        parts = [*filter(None, [self.orders_]), *self.sums_]
        return next((part.grids_[i] for part in parts if i in part.grids_), None)

    def limits(self, requests: dict) -> dict:
        """Least and greatest values, (2, n), by position, of requests for numbers.

        Where nothing is asked they are those of training.
        """
        grids = {i: self.grid_of(i) for i in requests}
        return {
            i: requested_limits(grid, requests[i])
            for i, grid in grids.items()
            if grid is not None
        }

    def distances(self, free: list, requests: dict) -> np.ndarray:
        """How far columns that others determine are from what is asked, shape (n,)."""
        asked = self.limits(requests)
        others = {i: ends for i, ends in asked.items() if i not in self.determined}
        columns = self.to_table(free, others)
        distances = np.zeros(len(columns[0]))
        for i, grid in self.determined.items():
            if i in asked:
                missing, values = grid.read(columns[i])
                low, high = asked[i]
                apart = np.maximum(low - values, values - high).clip(0)
                width = float(grid.high_ - grid.low_) or 1.0
                distances += np.where(missing, 0.0, apart / width)
        return distances

    def free_categories(self, is_category) -> np.ndarray:
        """Which free columns are categories, if those columns of a table are."""
        is_category = np.array(is_category, dtype=bool)
        for part in self.combinations_:
            is_category[part.positions] = False
            is_category[part.positions[0]] = True
        return is_category


def find_broken(real, synthetic, constraints) -> list:
    """Constraints that rows of a synthetic table break.

    Parameters
    ----------
    real, synthetic : DataFrame or array-like of shape (n_rows, n_columns)
        The real table says which combinations there are, and how columns are rounded.
    constraints : list of Constraint

    Returns
    -------
    broken : list of (Constraint, ndarray of bool of shape (n_rows,), int)
        With the synthetic rows that break it, and the number of real ones.
    """
    if not constraints:
        return []
    frames = [as_frame(real, "real"), as_frame(synthetic, "synthetic")]
    if set(frames[1].columns) == set(frames[0].columns):
        frames[1] = frames[1][list(frames[0].columns)]
    columns = [[column for _, column in frame.items()] for frame in frames]
    fitted = ConstraintSet(constraints).fit(columns[0], np.zeros(len(columns[0]), bool))
    found = []
    for table, frame, parts in zip((real, synthetic), frames, columns, strict=True):
        given = frame if hasattr(table, "columns") else frame.to_numpy()
        found.append(dict(fitted.find_broken(parts, given)))
    return [
        (constraint, rows, np.count_nonzero(found[0].get(constraint, 0)))
        for constraint, rows in found[1].items()
    ]


class Bounds:
    """A range that is checked; the codec keeps decoded values in that of training."""

    def __init__(self, constraint, position):
        self.constraint, self.position = constraint, position

    def fit(self, columns):
        """Read the bounds as numbers of the column."""
        column = columns[self.position]
        self.grid_ = Grid(column.name, self.constraint).fit(column)
        self.low_ = self.grid_.value_of(self.constraint.low, up=True)
        self.high_ = self.grid_.value_of(self.constraint.high, up=False)
        if None not in (self.low_, self.high_) and self.low_ > self.high_:
            raise ValueError(f"{self.constraint!r}: low is greater than high.")
        return self

    def find_broken(self, columns):
        """Which rows are out of the range, shape (n,)."""
        missing, values = self.grid_.read(columns[self.position])
        broken = np.zeros(len(values), bool)
        if self.low_ is not None:
            broken |= values < self.low_
        if self.high_ is not None:
            broken |= values > self.high_
        return broken & ~missing


def flags_of(constraint, table) -> np.ndarray:
    """What the function of a `Where` says of each row, shape (n,)."""
    # A copy, as a function may change what it is given.
    given = constraint.function(table.copy())
    if isinstance(getattr(given, "dtype", None), pd.api.extensions.ExtensionDtype):
        missing = np.flatnonzero(pd.isna(given))
        if len(missing):
            raise ValueError(
                f"{constraint!r} returns a missing flag for {len(missing):,} of "
                f"{len(table):,} rows, first for row {missing[0]}. Let it say what a "
                "missing value means: .fillna(True) keeps such rows, .fillna(False) "
                "refuses them."
            )
        if pd.api.types.is_bool_dtype(given.dtype):
            given = np.asarray(given, dtype=bool)
    flags = np.asarray(given)
    if flags.shape != (len(table),) or flags.dtype != bool:
        raise ValueError(
            f"{constraint!r} must return a flag, True or False, for each of the "
            f"{len(table)} rows of a table, got an array of shape {flags.shape} and "
            f"dtype {flags.dtype}."
        )
    return flags


def find_column(constraint, name, names) -> int:
    """Position of a column that a constraint names, by its name or position.

    Integers are positions in an array, and in a table none of whose columns has a
    number for its name; else they could be one thing or the other.
    """
    name, names = python_scalar(name), [python_scalar(other) for other in names]
    has_numbers = any(isinstance(other, numbers.Real) for other in names)
    takes_positions = not has_numbers or names == list(range(len(names)))
    places = [i for i, other in enumerate(names) if is_same_name(name, other)]
    if len(places) == 1:
        return places[0]
    if len(places) > 1:
        remedy = "Name it by its position." if takes_positions else "Rename them."
        raise ValueError(
            f"{constraint!r}: {len(places)} columns of X are called {name!r}. {remedy}"
        )
    if takes_positions and type(name) is int and -len(names) <= name < len(names):
        return name % len(names)
    known = ", ".join(map(repr, names[:20])) + (", ..." if len(names) > 20 else "")
    raise ValueError(
        f"{constraint!r} names {name!r}, which is no column of X"
        f"{did_you_mean(name, names)} The columns are {known}."
    )


def python_scalar(name):
    """A name as Python's own number, flag or text; an index of pandas has numpy's."""
    return name.item() if isinstance(name, np.number | np.bool_ | np.str_) else name


def is_same_name(name, other) -> bool:
    """Whether two names are equal; those that are missing are, True and 1 are not."""
    if is_missing(name) or is_missing(other):
        return is_missing(name) and is_missing(other)
    return isinstance(name, bool) == isinstance(other, bool) and name == other


def broken_error(constraint, rows, kind, advice):
    """The error of rows that break a constraint."""
    n_broken, n_rows = np.count_nonzero(rows), len(rows)
    verb = "breaks" if n_broken == 1 else "break"
    remedy = "Drop or mend them, or leave the constraint out."
    if isinstance(constraint, Inequality) and n_broken > 0.9 * n_rows:
        low, high = constraint.low, constraint.high
        remedy = f"Did you mean Inequality({high!r}, {low!r})? {remedy}"
    return ValueError(
        f"{n_broken:,} of {n_rows:,} {kind} {verb} {constraint!r}, first at row "
        f"{int(rows.argmax())}. {remedy}{advice}"
    )
