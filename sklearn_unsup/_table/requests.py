"""What users ask of drawn rows: encoded, and in the words of each column."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from .categorical import CategoricalColumn
from .conditions import check_conditions, describe, did_you_mean, one_per_row
from .layout import ANY_CODE, FIRST_SET, EncodedConditions
from .plain import is_missing
from .ranges import ANYTHING, PRESENT, encoded_bounds, read_requests

# A range without limits asks for any value, but not for a missing one.
ANY_VALUE = (None, None)


@dataclass(frozen=True)
class TableConditions:
    """Conditions on the rows of a table.

    Parameters
    ----------
    encoded : EncodedConditions
    requests : dict of {int: LevelRequests or NumberRequests}
        By position of the column in the table, for decoding.
    log_share : ndarray of shape (n_rows,)
        Sum over the columns with a condition: the logarithm of the share of training
        rows that meet it alone.
    unseen : dict of {hashable: int}
        By name of the column the number of rows that ask for what no training row has.
    """

    encoded: EncodedConditions
    requests: dict = field(default_factory=dict)
    log_share: np.ndarray = field(default_factory=lambda: np.zeros(0))
    unseen: dict = field(default_factory=dict)


@dataclass(frozen=True)
class LevelRequests:
    """What each row must have in a column of categories.

    Parameters
    ----------
    ranks : ndarray of shape (n,), int64
        Rank of the level by frequency; ANY_CODE for any, and FIRST_SET - k for one of
        the k-th set.
    sets : list of ndarray
        Ranks of the levels in each set, ascending.
    """

    ranks: np.ndarray
    sets: list

    def applied(self, codec, places, rng):
        """Places of levels with those that a request decides about in their stead."""
        places = np.where(self.ranks >= 0, self.ranks, places)
        for k, ranks in enumerate(self.sets):
            # The code of a set's rare levels stands for others as well.
            shared = ranks[ranks >= codec.n_own_]
            is_in_set = self.ranks == FIRST_SET - k
            rows = np.flatnonzero(is_in_set & (places >= codec.n_own_))
            if len(shared) and len(rows):
                weights = np.maximum(codec.counts_[shared], 1e-9)
                weights = weights / weights.sum()
                drawn = weights.argmax()
                if rng is not None:
                    drawn = rng.choice(len(shared), size=len(rows), p=weights)
                places[rows] = shared[drawn]
        return places

    def allows(self, rank, ranks):
        """Which levels, given by their ranks, meet a request: one of `self.ranks`."""
        if rank == ANY_CODE:
            return np.ones(len(ranks), dtype=bool)
        wanted = [rank] if rank >= 0 else self.sets[FIRST_SET - rank]
        return np.isin(ranks, wanted)

    def encoded(self, codec):
        """Codes (n,) and sets of codes (n_sets, cardinality) of the requests."""
        sets = np.zeros((len(self.sets), codec.cardinality_), dtype=bool)
        for k, ranks in enumerate(self.sets):
            sets[k, np.minimum(ranks, codec.n_own_)] = True
        return np.minimum(self.ranks, codec.n_own_), sets

    def log_share(self, codec):
        """Logarithm of the share of training rows that have what is asked, (n,)."""
        shares = codec.counts_ / max(1, codec.counts_.sum())
        of_sets = [shares[ranks].sum() for ranks in self.sets[::-1]]
        # Ranks from ANY_CODE down are indices that count from the end.
        with np.errstate(divide="ignore"):
            return np.log([*shares, *of_sets, 1.0])[self.ranks]


def n_rows_asked(conditions, n_samples: int) -> int:
    """Number of rows to draw: that of the partial rows, unless they are one row.

    Raises
    ------
    ValueError
        If `n_samples` is another number, but for 1, its default.
    """
    if not isinstance(conditions, pd.DataFrame) or len(conditions) in (1, n_samples):
        return n_samples
    if n_samples != 1 or len(conditions) == 0:
        raise ValueError(
            f"conditions is a DataFrame of {len(conditions)} rows, for each of which "
            f"one is drawn, but n_samples={n_samples}. Leave n_samples out, or pass a "
            "single row that all drawn ones complete."
        )
    return len(conditions)


def encode_conditions(codec, conditions, n_rows: int) -> TableConditions:
    """Encode what is asked of `n_rows` rows.

    Parameters
    ----------
    codec : TableCodec
    conditions : dict, DataFrame or None
        A dict has by column what all rows must have, or a sequence with one request for
        each: a level, a set of levels, a number or date, a range as a tuple (low, high)
        with None for no limit, or None for a missing value. A DataFrame has a row, or
        one for all, whose cells are such requests; of its missing cells nothing is
        asked.
    n_rows : int
    """
    if conditions is None:
        return TableConditions(EncodedConditions(n_rows), log_share=np.zeros(n_rows))
    check_conditions(conditions)
    by_name = {column.name: column for column in codec.columns_codec_}
    places = codec.places()
    log_share, requests, unseen = np.zeros(n_rows), {}, {}
    codes, sets, bounds = {}, {}, {}
    for name, value in conditions.items():
        if name not in by_name:
            known = ", ".join(map(repr, list(by_name)[:50]))
            raise ValueError(
                f"conditions: {name!r} is no column{did_you_mean(name, by_name)} The "
                f"columns are: {known}."
            )
        column = by_name[name]
        is_partial = isinstance(conditions, pd.DataFrame)
        cells = partial_cells(value) if is_partial else cells_of(column, value, n_rows)
        position = column.position_
        if isinstance(column, CategoricalColumn):
            asked = read_levels(column, cells, n_rows)
            if column.encoded_:
                place = places[position]
                codes[place], sets[place] = asked.encoded(column)
            share = asked.log_share(column)
            if column.declared_levels:  # Later rows of a stream may have shown them.
                share = np.maximum(share, -np.log1p(column.n_present_))
        else:
            asked = read_requests(column, cells, n_rows)
            share = asked.log_presence(column)
            if position in places:
                bounds[places[position]], inside = encoded_bounds(column, asked)
                share += inside
            elif column.n_present_:
                is_other = (asked.low > constant(column)) | (
                    asked.high < constant(column)
                )
                share[(asked.presence == PRESENT) & is_other] = -np.inf
            if position in codec.mask_of_:
                codes[codec.mask_of_[position]] = asked.presence.astype(np.int64)
        requests[position] = asked
        if np.isneginf(share).any():
            unseen[name] = int(np.isneginf(share).sum())
        log_share += share
    encoded = EncodedConditions(n_rows, codes, sets, bounds)
    return TableConditions(encoded, requests, log_share, unseen)


def constant(column):
    """The one value of a column of numbers that does not vary, as a plain one."""
    x = np.full(1, column.low_)
    if column.raw_dtype_.kind == "f":
        return (x * column.step_).astype(column.raw_dtype_)
    return column._to_whole(x)


def partial_cells(column: pd.Series) -> list:
    """Requests of a column of partial rows, of whose missing cells nothing is asked."""
    return [ANYTHING if is_missing(cell) else cell for cell in column]


def cells_of(column, value, n_rows: int) -> list:
    """Requests of a column: one for all rows, or one for each."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]  # holds one value, and has no length
    if isinstance(column, CategoricalColumn):
        if asks_for_levels(column, value):
            return [value]
        what = "one level or a set of levels for all rows"
    else:
        if isinstance(value, tuple) or not (
            pd.api.types.is_list_like(value) or callable(value)
        ):
            return [value]
        what = "one value or a range (low, high) for all rows"
    return one_per_row(column.name, value, n_rows, what)


def asks_for_levels(column, value):
    """Whether a value is a request for a row, and not a sequence with one for each."""
    if callable(value) or isinstance(value, tuple | frozenset):
        if column.has_level(value):
            return True
    if isinstance(value, tuple):
        return value == ANY_VALUE or (is_ordered(column) and len(value) == 2)
    if isinstance(value, set | frozenset):
        return True
    return not (pd.api.types.is_list_like(value) or callable(value))


def is_ordered(column):
    return bool(getattr(column.values_.dtype, "ordered", False))


def read_levels(column, cells: list, n_rows: int) -> LevelRequests:
    """Requests of single cells: a level, a set of levels, (low, high) or ANYTHING."""
    ranks = np.full(len(cells), ANY_CODE, np.int64)
    known = {}
    for i, cell in enumerate(cells):
        if cell is ANYTHING:
            continue
        if not isinstance(cell, set | frozenset | tuple) or column_has(column, cell):
            ranks[i] = column.rank_of(cell)
            continue
        found = ranks_of_set(column, cell)
        if len(found) == 1:
            ranks[i] = found[0]
        elif len(found) < len(column.levels_):
            ranks[i] = FIRST_SET - known.setdefault(tuple(found), len(known))
    sets = [np.array(found, dtype=np.int64) for found in known]
    if len(cells) != n_rows:
        ranks = np.repeat(ranks, n_rows)
    return LevelRequests(ranks, sets)


def column_has(column, cell):
    return not isinstance(cell, set) and column.has_level(cell)


def ranks_of_set(column, cell):
    """Ranks of the levels that a cell allows, ascending."""
    if isinstance(cell, set | frozenset):
        if not cell:
            raise ValueError(
                f"conditions: column {column.name!r} is asked for an empty set of "
                "levels, which no row can have."
            )
        return sorted({column.rank_of(level) for level in cell})
    present = [i for i, level in enumerate(column.levels_) if level is not None]
    if cell == ANY_VALUE:
        return present
    if not (is_ordered(column) and len(cell) == 2):
        raise ValueError(
            f"conditions: column {column.name!r} has no level {describe(cell)}. A "
            "range (low, high) is for numbers, dates and ordered categories; (None, "
            "None) means any level, but not a missing one."
        )
    order = {level: i for i, level in enumerate(column.values_.categories)}
    low, high = (
        None if end is None else order[column.levels_[column.rank_of(end)]]
        for end in cell
    )
    found = [
        i
        for i in present
        if (low is None or order[column.levels_[i]] >= low)
        and (high is None or order[column.levels_[i]] <= high)
    ]
    if not found:
        raise ValueError(
            f"conditions: column {column.name!r} has no level in {describe(cell)}: "
            "pass the least level first."
        )
    return found
