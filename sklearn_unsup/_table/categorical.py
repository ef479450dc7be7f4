"""A column of categories: levels to integer codes and back."""

import datetime
import numbers
from collections.abc import Hashable

import numpy as np
import pandas as pd
from pandas.api.types import is_object_dtype

from .conditions import describe, did_you_mean
from .kinds import inferred_dtype
from .unknown import UnknownValueError

# From this share of values that differ, and so many of them, a column of categories is
# taken for an identifier: a table of thirty rows may well have 25 cities.
IDENTIFIER_SHARE, IDENTIFIER_LEVELS = 0.5, 100
# From so many levels on, text is taken for dates or numbers if this share of the levels
# is; whether it is dates a few of them tell.
MIN_TEXT_LEVELS, TEXT_SHARE, N_DATES_READ = 20, 0.9, 50
# Text that often stands for a missing value.
MISSING_MARKS = {"", "?", "-", "--", ".", "na", "n/a", "nan", "null", "none"}

BOOLEANS = bool | np.bool_
NUMBERS = numbers.Number | np.bool_


class CategoricalColumn:
    """Levels as codes in the order of their frequency, a missing value one of them.

    Parameters
    ----------
    name : hashable
    max_categories : int
        With more levels the rarest share the last code.
    declared_levels : bool, default=False
        Learn the levels of a category dtype that no row shows, too.
    keep_infrequent : bool, default=True
        False: forget which levels share the last code. It then decodes to the other
        ones, by their frequencies, and a level that is not known is read as one of
        those forgotten.
    """

    def __init__(
        self,
        name: Hashable,
        max_categories: int,
        declared_levels: bool = False,
        keep_infrequent: bool = True,
    ):
        self.name, self.max_categories = name, max_categories
        self.declared_levels = declared_levels
        self.keep_infrequent = keep_infrequent

    def fit(self, column: pd.Series) -> "CategoricalColumn":
        n_rows = len(column)
        if self.declared_levels and isinstance(column.dtype, pd.CategoricalDtype):
            declared = pd.Categorical(column.cat.categories, dtype=column.dtype)
            column = pd.concat([column, pd.Series(declared)], ignore_index=True)
        codes, levels = factorize(self.name, column)
        counts = np.bincount(codes[:n_rows], minlength=len(levels))
        order = np.argsort(-counts, kind="stable")
        present = np.array([level is not None for level in levels], dtype=bool)
        self.n_levels_seen_ = int(np.count_nonzero(counts[present]))
        self.n_present_ = int(counts[present].sum())
        self.pools_ = bool(
            not self.keep_infrequent and present.sum() > self.max_categories
        )
        if self.pools_:
            # That a value is missing is no infrequent level: it is kept in any case.
            ranks = np.cumsum(present[order])
            order = order[(ranks < self.max_categories) | ~present[order]]
        # Backwards, because the last one of several assignments stays.
        first = np.empty(len(levels), dtype=np.int64)
        first[codes[::-1]] = np.arange(len(codes))[::-1]
        # Levels in the column's own dtype, most frequent first, and as objects.
        self.values_ = column.array.take(first[order])
        self.levels_ = [levels[i] for i in order]
        self.counts_ = counts[order]
        self.n_own_ = len(order)
        if self.pools_:
            self.values_ = forget_categories(self.values_)
        elif len(levels) > self.max_categories:
            self.n_own_ = self.max_categories - 1
        self.index_ = {key_of(level): i for i, level in enumerate(self.levels_)}
        return self

    @property
    def cardinality_(self) -> int:
        return min(len(self.levels_) + self.pools_, self.n_own_ + 1)

    @property
    def encoded_(self) -> bool:
        return self.cardinality_ > 1

    @property
    def looks_like_identifier_(self) -> bool:
        """Whether most values differ from each other, and they are kept."""
        most = self.n_levels_seen_ > IDENTIFIER_SHARE * self.n_present_
        return most and self.n_levels_seen_ >= IDENTIFIER_LEVELS and not self.pools_

    @property
    def looks_like_dates_(self) -> bool:
        """Whether the levels are text, nearly all of it dates as ISO 8601 writes them.

        Declared categories are what they are.
        """
        levels = self._levels_of_text()
        read = levels[:: -(-len(levels) // N_DATES_READ) or 1]
        return bool(read) and sum(map(is_iso_date, read)) >= TEXT_SHARE * len(read)

    @property
    def looks_like_numbers_(self) -> bool:
        """Whether the levels are text of numbers, and marks of missing values.

        Text with a plus or zeros in front is of codes, and so are different texts of
        one number. Those of one length may be, unless one has a decimal point or there
        is a mark among them.
        """
        levels = self._levels_of_text()
        numbers = list(filter(is_written_number, levels))
        n_marks = sum(map(is_missing_mark, levels))
        is_text_of_numbers = len(numbers) + n_marks == len(levels) > 0
        if not is_text_of_numbers or len(numbers) < TEXT_SHARE * len(levels):
            return False
        digits = [level.lstrip("+-") for level in numbers]
        has_zeros = any(text[0] == "0" and text[1:2].isdigit() for text in digits)
        has_plus = any(level[0] == "+" for level in numbers)
        if has_zeros or has_plus or len(set(map(float, numbers))) < len(numbers):
            return False
        vary = len(set(map(len, numbers))) > 1 or any("." in level for level in numbers)
        return vary or n_marks > 0

    def _levels_of_text(self):
        """The levels if they may be text of dates or numbers, else none."""
        levels = [level for level in self.levels_ if level is not None]
        is_declared = isinstance(self.values_, pd.Categorical)
        return [] if is_declared or len(levels) < MIN_TEXT_LEVELS else levels

    def encode(self, column: pd.Series, ignore=False) -> np.ndarray:
        """Codes int64; unseen levels are refused or, with `ignore`, read as known."""
        codes, levels = factorize(self.name, column)
        known = self._places_in(levels)
        if self.pools_:
            there = np.array([level is not None for level in levels], dtype=bool)
            known[(known < 0) & there] = self.n_own_
        if len(known) and known.min() < 0:
            if not ignore:
                self._refuse([levels[i] for i in np.flatnonzero(known < 0)])
            known[known < 0] = self._stand_in()
        return np.minimum(known, self.n_own_)[codes] if len(known) else codes

    def log_frequencies(self) -> np.ndarray:
        """Logarithm of the share of the training rows that each code has."""
        counts = np.zeros(self.cardinality_)
        np.add.at(
            counts, np.minimum(np.arange(len(self.counts_)), self.n_own_), self.counts_
        )
        # Levels without rows, which were forgotten or declared, count half of one.
        counts = np.maximum(counts, 0.5)
        return np.log(counts / counts.sum())

    def log_shares(self, column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
        """Log-probability of each level given its code, and which levels are unknown.

        Shapes: two of (n,). Only levels that share a code have another one than 0; what
        all forgotten levels have in common is one level.
        """
        codes, levels = factorize(self.name, column)
        places = self._places_in(levels)
        shares = np.zeros(len(self.levels_) + 1)
        if not self.pools_ and self.n_own_ < len(self.levels_):
            counts = np.maximum(self.counts_[self.n_own_ :], 1e-9)
            shares[self.n_own_ : -1] = np.log(counts / counts.sum())
        unknown = places < 0
        if self.pools_:
            unknown &= np.array([level is None for level in levels], dtype=bool)
        return shares[places][codes], unknown[codes]

    def _stand_in(self):
        """Where an unseen level goes: missing, else rare, else most frequent."""
        missing = self.index_.get(None)
        if missing is not None:
            return missing
        return self.n_own_ if self.n_own_ < self.cardinality_ else 0

    def _refuse(self, unseen):
        shown = ", ".join(repr(level) for level in unseen[:5])
        more = f" and {len(unseen) - 5} more" if len(unseen) > 5 else ""
        raise UnknownValueError(
            f"column {self.name!r} has values that were not there when fitted: "
            f"{shown}{more}.",
            "Fit on rows that show them, or pass handle_unknown='ignore'.",
        )

    def rank_of(self, level) -> int:
        """Rank of one level by frequency; raises the error of an unknown condition."""
        try:
            place = self._place_of(level)
        except TypeError:
            place = None
        if place is None:
            known = ", ".join(repr(known) for known in self.levels_[:20])
            more = ", ..." if len(self.levels_) > 20 else ""
            hint = did_you_mean(level, self.levels_)
            raise ValueError(
                f"conditions: column {self.name!r} has no level {describe(level)}"
                f"{self._told_of_pool()}{hint} Its levels are {known}{more}."
            )
        return place

    def has_level(self, level) -> bool:
        """Whether a hashable object is a level."""
        return self._place_of(level) is not None

    def _places_in(self, levels) -> np.ndarray:
        """Places of levels, -1 for those that are unknown."""
        places = [self._place_of(level) for level in levels]
        return np.array([-1 if i is None else i for i in places], dtype=np.int64)

    def _place_of(self, level):
        """Place of a level, read as the type of the column; None for an unknown one."""
        key = key_of(level)
        if key is None or key in self.index_ or not isinstance(level, NUMBERS):
            return self.index_.get(key)
        known = (other for other in self.levels_ if other is not None)
        if isinstance(level, BOOLEANS):
            # Flags that are stored as 0 and 1.
            is_number = all(isinstance(other, NUMBERS) for other in known)
            return self.index_.get(int(level)) if is_number else None
        if level in (0, 1) and all(isinstance(other, BOOLEANS) for other in known):
            return self.index_.get(key_of(bool(level)))
        dtype = getattr(self.values_, "categories", self.values_).dtype
        if dtype.kind == "f":  # A float32 column has rounded its levels, too.
            return self.index_.get(dtype.type(level))
        return None

    def _told_of_pool(self):
        if not self.pools_:
            return ""
        return (
            f" of its own: max_categories={self.max_categories} keeps the frequent ones"
        )

    def decode(self, codes: np.ndarray, rng=None, requests=None) -> pd.Series:
        """A column with the dtype of training; rare levels by their frequencies.

        `requests` are the `LevelRequests` that its values meet.
        """
        places = self._places_of(codes, rng)
        if requests is not None:
            places = requests.applied(self, places, rng)
        return self.take(places)

    def _places_of(self, codes, rng):
        """Places of the levels that codes stand for."""
        places = np.array(codes, dtype=np.int64)
        if self.pools_:
            forgotten = places == self.n_own_
            shares = np.array([level is not None for level in self.levels_], float)
            shares *= np.maximum(self.counts_, 1e-9)
            drawn = int(shares.argmax())
            if rng is not None:
                shares = shares / shares.sum()
                drawn = rng.choice(len(shares), size=int(forgotten.sum()), p=shares)
            places[forgotten] = drawn
        elif self.n_own_ < len(self.levels_):
            rare = places == self.n_own_
            if rng is not None:
                shares = np.maximum(self.counts_[self.n_own_ :], 1e-9)
                shares = shares / shares.sum()
                drawn = rng.choice(len(shares), size=int(rare.sum()), p=shares)
                places[rare] = self.n_own_ + drawn
        return places

    def take(self, places) -> pd.Series:
        """A column of training's dtype from places of levels."""
        return pd.Series(self.values_.take(places), dtype=self.values_.dtype)


def forget_categories(values):
    """Values whose category dtype, if they have one, declares no others."""
    if not isinstance(values, pd.Categorical):
        return values
    return values.remove_unused_categories()


def key_of(level):
    """A dictionary key that keeps 1, True and 1.0 of an object column apart."""
    if level is None or level is pd.NaT or level is pd.NA or level != level:
        return None
    if isinstance(level, BOOLEANS):
        return bool, bool(level)
    return level


def level_of(key):
    """Inverse of `key_of`."""
    return key[1] if isinstance(key, tuple) and key[:1] == (bool,) else key


def factorize(name: Hashable, column: pd.Series) -> tuple[np.ndarray, list]:
    """Codes (n,) into a list of levels, sorted if they sort, None for missing."""
    try:
        # Only where types mix can 1 stand beside True, which pandas takes for equal.
        if is_object_dtype(column.dtype) and inferred_dtype(column).startswith("mixed"):
            column = column.map(key_of, na_action="ignore")
        codes, keys = pd.factorize(column)
    except TypeError as error:
        kinds = {type(cell).__name__ for cell in column if unhashable(cell)}
        raise TypeError(
            f"column {name!r} holds {', '.join(sorted(kinds))} objects: the argument "
            "must be a string or a number, or a date or missing. Convert such cells, "
            "for example by astype(str)."
        ) from error
    levels = [level_of(key) for key in keys]
    codes = codes.astype(np.int64, copy=False)
    try:
        order = sorted(range(len(levels)), key=levels.__getitem__)
    except TypeError:
        order = range(len(levels))  # levels of many kinds: first come, first coded
    back = np.empty(len(levels) + 1, dtype=np.int64)
    back[list(order)] = np.arange(len(levels))
    back[-1] = len(levels)  # code -1 of factorize: missing
    levels = [levels[i] for i in order]
    if (codes < 0).any():
        levels.append(None)
    return back[codes], levels


def unhashable(value) -> bool:
    try:
        hash(value)
    except TypeError:
        return True
    return False


def is_iso_date(level) -> bool:
    """Whether a level is text such as 2024-02-29, with or without a time of day."""
    if not isinstance(level, str) or level[4:5] + level[7:8] != "--":
        return False
    try:
        datetime.datetime.fromisoformat(level)
    except ValueError:
        return False
    return True


def is_written_number(level) -> bool:
    """Whether a level is text such as 44, -3.5 or 1e6."""
    if not isinstance(level, str) or not any(map(str.isdigit, level)):
        return False
    try:
        float(level)
    except ValueError:
        return False
    return "_" not in level


def is_missing_mark(level) -> bool:
    """Whether a level is text that often stands for a missing value."""
    return isinstance(level, str) and level.strip().lower() in MISSING_MARKS
