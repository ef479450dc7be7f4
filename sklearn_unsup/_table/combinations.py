"""Combinations: columns of which only some values occur together, as one category."""

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
from sklearn.utils import gen_batches

from .categorical import CategoricalColumn, factorize, forget_categories, key_of
from .codec import column_of_state, column_state
from .grid import Grid
from .kinds import DATES, DURATIONS, NUMBERS, column_kind
from .layout import FIRST_SET
from .plain import is_missing, to_floats
from .ranges import ANYTHING, MISSING
from .requests import LevelRequests, cells_of, read_levels
from .sums import requested_limits

# Maximum number of distances between rows and combinations that are computed at a time.
MAX_CELLS = 2_000_000


class Combinations:
    """Columns whose values are one joint category: those that training rows show.

    The first of the columns becomes the number of the combination, which the codec
    takes for a category. The others become constant, and the codec encodes no constant.

    Parameters
    ----------
    constraint : FixedCombinations
    positions : list of int
        Those of its columns.

    Attributes
    ----------
    table_ : ndarray of shape (n_combinations, n_columns)
        Codes of the values of each combination.
    numbers_, counts_ : ndarray of shape (n_combinations,)
        Number of each combination, in order, and rows that showed it.
    forgets_ : bool
        Whether there were others, which the codec's `max_categories` left out.
    """

    def __init__(self, constraint, positions):
        self.constraint, self.positions = constraint, positions

    def fit(self, columns: list) -> "Combinations":
        """Learn the combinations that the columns of a table show."""
        self.members_ = [
            CategoricalColumn(columns[i].name, len(columns[i])).fit(columns[i])
            for i in self.positions
        ]
        codes = self._codes(columns)
        self.table_, self.counts_ = np.unique(codes, axis=0, return_counts=True)
        self.numbers_, self.forgets_ = np.arange(len(self.table_)), False
        return self

    def forget_all_but(self, numbers) -> None:
        """Forget other combinations than those, and the values that only they have."""
        kept = np.isin(self.numbers_, numbers)
        if kept.all():
            return
        self.table_, self.counts_ = self.table_[kept], self.counts_[kept]
        self.numbers_, self.forgets_ = self.numbers_[kept], True
        for i, member in enumerate(self.members_):
            used, self.table_[:, i] = np.unique(self.table_[:, i], return_inverse=True)
            self.members_[i] = with_levels(member, used)

    # ------------------------------------------------------------------ both ways

    def find(self, columns: list) -> np.ndarray:
        """Number of the combination of each row, -1 for one that is not known."""
        return self._numbers_of(self._codes(columns))

    def _numbers_of(self, codes):
        # Column by column, combinations and rows are told apart by what they share.
        of_table = np.zeros(len(self.table_), dtype=np.int64)
        of_rows = np.zeros(len(codes), dtype=np.int64)
        for k, member in enumerate(self.members_):
            size = len(member.levels_)
            known, of_table = np.unique(
                of_table * size + self.table_[:, k], return_inverse=True
            )
            keys = of_rows * size + codes[:, k]
            places = np.minimum(known.searchsorted(keys), len(known) - 1)
            is_known = (of_rows >= 0) & (codes[:, k] >= 0) & (known[places] == keys)
            of_rows = np.where(is_known, places, -1)
        number = np.empty_like(self.numbers_)
        number[of_table] = self.numbers_
        return np.where(of_rows >= 0, number[of_rows], -1)

    def find_broken(self, columns: list) -> np.ndarray:
        """Which rows have a combination that is not known, shape (n,)."""
        if self.forgets_:
            return np.zeros(len(columns[self.positions[0]]), bool)
        return self.find(columns) < 0

    def can_complete(self, columns: list) -> np.ndarray:
        """Which rows have a known combination without missing values, shape (n,).

        Of rows with missing cells one that has all the values which are there.
        """
        missing = np.stack([columns[i].isna() for i in self.positions], axis=1)
        may_be_any = -2  # no code, and not that of a value which is not known
        codes = np.where(missing, may_be_any, self._codes(columns))
        code_of_missing = [member.index_.get(None, -1) for member in self.members_]
        fits = np.zeros(len(codes), bool)
        for wanted in np.unique(codes, axis=0):
            is_open = (wanted == may_be_any) & (self.table_ != code_of_missing)
            found = (is_open | (self.table_ == wanted)).all(axis=1).any()
            fits[(codes == wanted).all(axis=1)] = found
        return fits

    def to_free(self, columns: list) -> list:
        """Columns of a table with the number of the combination in the first one."""
        free = list(columns)
        first, *others = self.positions
        free[first] = pd.Series(self.find(columns), name=columns[first].name)
        for i in others:
            free[i] = pd.Series(np.zeros(len(free[first])), name=columns[i].name)
        return free

    def nearest(self, columns: list, requests: dict, codecs: list) -> list:
        """Columns in which each row has the known combination nearest to its own.

        Of those that have what is asked; a row for which there is none stays what it
        is. The distance of two numbers is the share of the rows between them, that of
        two levels 1, and a half more for the first column, which determines the others.

        Parameters
        ----------
        columns : list of Series
        requests : dict of {int: LevelRequests or NumberRequests}
            What is asked of each row, by position of the column.
        codecs : list
            Codecs of the columns, which the requests are in the words of.
        """
        codes = self._codes(columns)
        rows = np.flatnonzero(self._numbers_of(codes) < 0)
        own = [columns[i].iloc[rows] for i in self.positions]
        places = [
            self._places_of(k, codes[rows, k], column) for k, column in enumerate(own)
        ]
        allowed = [
            self._allowed_by(k, requests[i], codecs[i])
            for k, i in enumerate(self.positions)
            if i in requests
        ]
        asked = [kinds[rows] for kinds, _ in allowed]
        different, inverse = np.unique(
            np.column_stack([codes[rows], *places, *asked]), axis=0, return_inverse=True
        )
        found = self._nearest_numbers(different, [masks for _, masks in allowed])
        numbers = found[inverse.reshape(-1)]
        rows, numbers = rows[numbers >= 0], numbers[numbers >= 0]
        order = np.arange(len(codes))
        order[rows] = len(codes) + np.arange(len(rows))
        columns = list(columns)
        for i, found in self.columns_at(numbers).items():
            both = pd.concat([columns[i], found], ignore_index=True)
            columns[i] = both.take(order).reset_index(drop=True)
        return columns

    def _allowed_by(self, k, asked, codec):
        """Which combinations have what rows ask of the k-th column.

        Returns the kind of request of each row, (n,), and for each kind a mask of the
        combinations.
        """
        member, of_table = self.members_[k], self.table_[:, k]
        if isinstance(asked, LevelRequests):
            ranks, kinds = np.unique(asked.ranks, return_inverse=True)
            known = {level: r for r, level in enumerate(map(key_of, codec.levels_))}
            rank_of = np.array(
                [known.get(key_of(level), -2) for level in member.levels_]
            )
            masks = [asked.allows(rank, rank_of[of_table]) for rank in ranks]
            return kinds.reshape(-1), np.array(masks)
        rows = pd.DataFrame(vars(asked))
        kinds = rows.groupby(list(rows), sort=False).ngroup().to_numpy()
        _, first = np.unique(kinds, return_index=True)
        values = pd.Series(member.values_)
        grid = Grid(member.name, self.constraint).fit(values)
        one_each = replace(asked, **{name: a[first] for name, a in vars(asked).items()})
        low, high = requested_limits(grid, one_each)[..., None]
        values = grid.read(values)[1][of_table]
        is_present = one_each.presence[:, None] != MISSING
        return kinds, (values >= low) & (values <= high) & is_present

    def _places_of(self, k, codes, column):
        """Share of the rows below each number of the k-th column; codes of levels."""
        member = self.members_[k]
        if not is_number(member):
            return codes
        levels = to_floats(pd.Series(member.values_))
        counts = np.bincount(self.table_[:, k], self.counts_, minlength=len(levels))
        order = np.argsort(levels)
        shares = (counts[order].cumsum() - counts[order] / 2) / counts.sum()
        return np.interp(to_floats(column), levels[order], shares)

    def _nearest_numbers(self, different, allowed):
        """Number of the nearest combination of codes, places and requests, or -1.

        `allowed` has masks of the combinations for each kind of request.
        """
        n_columns = len(self.positions)
        own = [
            self._places_of(
                k, self.table_[:, k], self.members_[k].take(self.table_[:, k])
            )
            for k in range(n_columns)
        ]
        found = np.full(len(different), -1)
        if not len(different):  # `gen_batches` refuses that.
            return found
        n_at_a_time = max(1, MAX_CELLS // len(self.table_))
        for part in gen_batches(len(different), n_at_a_time):
            codes, places, asked = np.split(
                different[part], [n_columns, 2 * n_columns], axis=1
            )
            distances = np.zeros((len(codes), len(self.table_)))
            for k in range(n_columns):
                if is_number(self.members_[k]):
                    distances += np.abs(places[:, k, None] - own[k])
                else:
                    differs = codes[:, k, None] != self.table_[:, k]
                    distances += (1.0 if k else 1.5) * differs
            for masks, kinds in zip(allowed, asked.T.astype(np.int64), strict=True):
                distances[~masks[kinds]] = np.inf
            best = np.nan_to_num(distances, nan=np.inf).argmin(axis=1)
            is_possible = np.isfinite(distances[np.arange(len(best)), best])
            found[part] = np.where(is_possible, self.numbers_[best], -1)
        return found

    def to_table(self, free: list) -> list:
        """Inverse of `to_free`, for any of its numbers."""
        columns = list(free)
        numbers = free[self.positions[0]].to_numpy(np.int64)
        for i, column in self.columns_at(numbers).items():
            columns[i] = column
        return columns

    def columns_at(self, numbers) -> dict:
        """Columns of the combinations with some numbers, by position."""
        codes = self.table_[np.searchsorted(self.numbers_, numbers)]
        parts = zip(self.positions, self.members_, codes.T, strict=True)
        return {i: member.take(places) for i, member, places in parts}

    # ------------------------------------------------------------------ conditions

    @property
    def names(self) -> list:
        """Names of the columns."""
        return [member.name for member in self.members_]

    def cells_of(self, place, value, n_rows) -> list:
        """Requests of one of the columns: one for all rows, or one for each.

        Ranges of numbers and dates are the sets of their levels inside.
        """
        member = self.members_[place]
        if not is_number(member):
            return cells_of(member, value, n_rows)
        is_range = isinstance(value, tuple) and len(value) == 2
        cells = [value] if is_range else cells_of(member, value, n_rows)
        return [allowed_levels(member, cell) for cell in cells]

    def allowed_numbers(self, asked: dict, n_rows: int) -> list:
        """For each row the set of the numbers of combinations that it may have.

        Parameters
        ----------
        asked : dict
            Requests of the rows, lists of length `n_rows`, by place of a column.
        n_rows : int

        Raises
        ------
        ValueError
            If a level is not known, or no combination has all that a row is to have.
        """
        read = {
            place: read_levels(self.members_[place], cells, n_rows)
            for place, cells in asked.items()
        }
        wanted = np.stack([levels.ranks for levels in read.values()], axis=1)
        cells = np.empty(n_rows, dtype=object)
        for ranks in np.unique(wanted, axis=0):
            rows = np.flatnonzero((wanted == ranks).all(axis=1))
            fits = np.ones(len(self.table_), bool)
            for rank, (place, levels) in zip(ranks, read.items(), strict=True):
                codes = self.table_[:, place]
                if rank >= 0:
                    fits &= codes == rank
                elif rank <= FIRST_SET:
                    fits &= np.isin(codes, levels.sets[FIRST_SET - rank])
            if not fits.any():
                shown = {
                    self.members_[place].name: of_rows[rows[0]]
                    for place, of_rows in asked.items()
                }
                raise ValueError(
                    f"conditions: no training row has {shown}, and "
                    f"{self.constraint!r} allows no combination that none has."
                )
            chosen = ANYTHING
            if not fits.all():
                chosen = frozenset(self.numbers_[fits].tolist())
            for row in rows:
                cells[row] = chosen
        return cells.tolist()

    def _codes(self, columns):
        """Code of each value, -1 for one that is not known, shape (n, n_columns)."""
        pairs = zip(self.positions, self.members_, strict=True)
        return np.stack([codes_of(member, columns[i]) for i, member in pairs], axis=1)

    # ------------------------------------------------------------------ saving

    def __getstate__(self):
        members = [column_state(member) for member in self.members_]
        return {**vars(self), "members_": members}

    def __setstate__(self, state):
        members = [column_of_state(member) for member in state["members_"]]
        vars(self).update(state, members_=members)


def codes_of(member, column) -> np.ndarray:
    """Code of each value of a column, -1 for one that is not known, shape (n,)."""
    inverse, levels = factorize(member.name, column)
    known = [member.index_.get(key_of(level), -1) for level in levels]
    return np.array(known, dtype=np.int64)[inverse]


def is_number(member) -> bool:
    """Whether the levels of a column are numbers or dates, which have ranges."""
    return column_kind(pd.Series(member.values_)) in (NUMBERS, DATES, DURATIONS)


def allowed_levels(member, cell):
    """A range (low, high) as the set of its levels, and dates by text as levels.

    Other requests are what they were.
    """
    if isinstance(cell, tuple) and len(cell) == 2:
        return levels_inside(member, cell, f"in {cell!r}")
    if cell is ANYTHING or column_kind(pd.Series(member.values_)) == NUMBERS:
        return cell
    if isinstance(cell, set | frozenset):
        return frozenset().union(*(levels_of_moment(member, item) for item in cell))
    return cell if is_missing(cell) else levels_of_moment(member, cell)


def levels_of_moment(member, cell) -> frozenset:
    """The levels that are one date, duration or period, as a user may write it."""
    if is_missing(cell) or member.has_level(cell):
        return frozenset([cell])
    return levels_inside(member, (cell, cell), repr(cell))


def levels_inside(member, cell, shown) -> frozenset:
    """Levels in a range (low, high), which an error shows as `shown`."""
    grid = Grid(member.name, "conditions").fit(pd.Series(member.values_))
    missing, values = grid.read(pd.Series(member.values_))
    low, high = (
        grid.value_of(end, up) for end, up in zip(cell, (True, False), strict=True)
    )
    inside = ~missing
    if low is not None:
        inside &= values >= low
    if high is not None:
        inside &= values <= high
    if not inside.any():
        raise ValueError(
            f"conditions: column {member.name!r} has no value {shown} that belongs to "
            "a combination."
        )
    return frozenset(member.levels_[place] for place in np.flatnonzero(inside))


def with_levels(column: CategoricalColumn, places) -> CategoricalColumn:
    """A column of categories that knows some of its levels alone, in their order."""
    other = copy.copy(column)
    other.values_ = forget_categories(column.values_.take(places))
    other.levels_ = [column.levels_[place] for place in places]
    other.counts_, other.n_own_ = column.counts_[places], len(places)
    other.index_ = {key_of(level): i for i, level in enumerate(other.levels_)}
    return other
