"""What users say about the rows of a table: records, which hold no table."""

import math
import numbers
from collections.abc import Callable, Hashable
from dataclasses import MISSING, dataclass, fields
from typing import Any

from .plain import is_missing


class Constraint:
    """Base class of the constraints: they compare and print by their values.

    They name columns as a table does, or by position where no column of it has a number
    for its name, as in arrays.
    """

    @property
    def columns(self) -> tuple:
        """Columns that the constraint names, in its order."""
        raise NotImplementedError

    def __repr__(self):
        shown, is_positional = [], True
        for field in fields(self):
            value = getattr(self, field.name)
            if field.default is not MISSING and value == field.default:
                is_positional = False
                continue
            value = getattr(value, "__name__", None) or repr(value)
            is_flag = isinstance(field.default, bool)
            named = is_flag or not is_positional
            shown.append(f"{field.name}={value}" if named else value)
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True, repr=False)
class Inequality(Constraint):
    """One column is never greater than another: ``low <= high``.

    Both hold numbers, or both dates, or both durations. Several inequalities may share
    columns, as in ``Inequality("a", "b"), Inequality("b", "c")``. A row in which one of
    the two is missing breaks nothing.

    Parameters
    ----------
    low, high : str, int or other column name
        Names of the columns, or their positions.
    strict : bool, default=False
        Whether they are never equal: ``low < high``.

    See Also
    --------
    Range : Bounds that are the same in every row.

    Examples
    --------
    >>> from sklearn_unsup.constraints import Inequality
    >>> Inequality("start", "end", strict=True)
    Inequality('start', 'end', strict=True)
    """

    low: Hashable
    high: Hashable
    strict: bool = False

    def __post_init__(self):
        if self.low == self.high:
            raise ValueError(
                f"Inequality needs two columns, got {self.low!r} for both."
            )
        check_flag("strict", self.strict)

    @property
    def columns(self) -> tuple:
        """Columns that the constraint names."""
        return self.low, self.high


@dataclass(frozen=True, repr=False)
class Range(Constraint):
    """A column stays between two bounds, which it may reach.

    Parameters
    ----------
    column : str, int or other column name
        Name of a column of numbers, dates or durations, or its position.
    low, high : number, date, duration, str or None, default=None
        The bounds. None for none; a date or a duration may be written as text, as in
        ``Range("born", "1900-01-01")``.

    See Also
    --------
    Inequality : A bound that is another column.

    Examples
    --------
    >>> from sklearn_unsup.constraints import Range
    >>> Range("age", 18)
    Range('age', 18)
    """

    column: Hashable
    low: Any = None
    high: Any = None

    def __post_init__(self):
        if self.low is None and self.high is None:
            raise ValueError(
                f"Range of column {self.column!r} needs a bound, low or high; both are "
                "None."
            )
        for name in ("low", "high"):
            bound = getattr(self, name)
            if bound is not None and is_missing(bound):
                raise ValueError(
                    f"{name} of Range of column {self.column!r} is {bound}: pass None "
                    "for no bound."
                )

    @property
    def columns(self) -> tuple:
        """Columns that the constraint names."""
        return (self.column,)


@dataclass(frozen=True, repr=False)
class FixedCombinations(Constraint):
    """Columns whose values occur together only as they do in the training rows.

    For example a city and its country, or an education and its number of years. The
    columns may hold anything but few different things; a missing value is one of them.

    Parameters
    ----------
    names : list of str, int or other column names
        At least two columns, by name or position.

    Examples
    --------
    >>> from sklearn_unsup.constraints import FixedCombinations
    >>> FixedCombinations(["city", "country"])
    FixedCombinations(('city', 'country'))
    """

    names: tuple

    def __post_init__(self):
        object.__setattr__(self, "names", column_names(self, self.names))
        if len(self.names) < 2:
            raise ValueError(
                f"FixedCombinations needs at least two columns, got {self.names!r}."
            )

    @property
    def columns(self) -> tuple:
        """Columns that the constraint names."""
        return self.names


@dataclass(frozen=True, repr=False)
class Linear(Constraint):
    """Columns that add up: a weighted sum of them is the same in every row.

    For example parts and their total, or shares that make 100. One of the columns is
    computed from the others. Integers and decimals add up exactly; where the computed
    column has fewer digits than the sum it is the sum, rounded, and floats of many
    digits are as exact as their dtype. A row in which one of the columns is missing
    breaks nothing. Durations can be added up, too, and be differences of dates.

    Parameters
    ----------
    coefficients : dict
        The factor of each column, by its name or position; at least two columns.
    constant : float, default=0
        What they add up to.

    Examples
    --------
    >>> from sklearn_unsup.constraints import Linear
    >>> Linear({"net": 1, "tax": 1, "total": -1})
    Linear({'net': 1, 'tax': 1, 'total': -1})
    """

    coefficients: dict
    constant: float = 0

    def __post_init__(self):
        if not isinstance(self.coefficients, dict):
            raise TypeError(
                "coefficients of Linear must be a dict of columns and their factors, "
                f"such as {{'a': 1, 'b': 1, 'total': -1}}, got {self.coefficients!r}."
            )
        if len(self.coefficients) < 2:
            raise ValueError(
                f"Linear needs at least two columns, got {self.coefficients!r}."
            )
        for value in (*self.coefficients.values(), self.constant):
            if not isinstance(value, numbers.Real) or not math.isfinite(value):
                raise ValueError(
                    "Linear needs finite numbers as factors and constant, got "
                    f"{value!r}."
                )
        if not all(self.coefficients.values()):
            raise ValueError(
                f"Linear needs factors other than 0, got {self.coefficients!r}: leave "
                "such columns out."
            )
        object.__setattr__(self, "coefficients", dict(self.coefficients))

    def __hash__(self):
        return hash((frozenset(self.coefficients.items()), self.constant))

    @property
    def columns(self) -> tuple:
        """Columns that the constraint names."""
        return tuple(self.coefficients)

    @property
    def values(self) -> tuple:
        """Factors of the columns."""
        return tuple(map(float, self.coefficients.values()))


@dataclass(frozen=True, repr=False)
class Unique(Constraint):
    """No two rows have the same value in a column, or the same values in several.

    It holds among the rows of one table that is drawn, and not beside the training
    rows, which no model holds: a number may be one of theirs, and text always is, as a
    model makes up no words. Missing values may repeat.

    Parameters
    ----------
    names : str, int or other column name, or list of them
        The column, or the columns, by name or position.

    Examples
    --------
    >>> from sklearn_unsup.constraints import Unique
    >>> Unique("id")
    Unique('id')
    """

    names: Any

    def __post_init__(self):
        if isinstance(self.names, list | tuple):
            object.__setattr__(self, "names", column_names(self, self.names))
            if not self.names:
                raise ValueError("Unique() needs at least one column, got none.")

    @property
    def columns(self) -> tuple:
        """Columns that the constraint names."""
        return self.names if isinstance(self.names, tuple) else (self.names,)


@dataclass(frozen=True, repr=False)
class Where(Constraint):
    """Anything that a function of the table can say about each row.

    No encoding can know what a function asks for: rows that break it are drawn again,
    and `sample` gives up with an error if it finds too few. It is for what no other
    constraint can say, and does not reach `inverse_transform`.

    Parameters
    ----------
    function : callable
        Takes a table (a DataFrame of pandas, or an array where the model was fitted to
        one) and returns a flag for each row, True where the row is as it must be. It
        must judge each row by itself. A model that is to be saved needs one that can be
        pickled: a function of a module, not a lambda.

    Examples
    --------
    >>> from sklearn_unsup.constraints import Where
    >>> def is_adult(X):
    ...     return X["age"] >= 18
    >>> Where(is_adult)
    Where(is_adult)
    """

    function: Callable

    def __post_init__(self):
        if not callable(self.function):
            raise TypeError(
                "Where needs a function that takes a table and returns a flag for each "
                f"row, got {self.function!r}."
            )

    @property
    def columns(self) -> tuple:
        """Columns that the constraint names: none."""
        return ()


def column_names(constraint, names) -> tuple:
    """Different names of columns as a tuple."""
    kind = type(constraint).__name__
    if isinstance(names, str) or not hasattr(names, "__iter__"):
        raise TypeError(f"{kind} needs a list of columns, got {names!r}.")
    names = tuple(names)
    if len(set(names)) < len(names):
        raise ValueError(f"{kind} names a column twice: {names!r}.")
    return names


def check_flag(name, value):
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}.")
