"""ConstrainedCodec: encodes what constraints leave free, and decodes what they fix."""

from dataclasses import replace

import numpy as np
import pandas as pd

from .codec import TableCodec
from .conditions import check_conditions
from .constraint_set import ConstraintSet
from .frames import as_frame
from .possible import refuse_impossible
from .ranges import (
    ANY,
    ANYTHING,
    MISSING,
    PRESENT,
    NumberRequests,
    encoded_bounds,
    read_requests,
)
from .requests import ANY_VALUE, TableConditions, cells_of, partial_cells
from .unique import exchanged_levels, find_repeats, spread_numbers
from .unknown import Tolerance


class ConstrainedCodec(TableCodec):
    """Encode tables whose rows meet constraints, which every decoded row meets, too.

    The columns that constraints name are replaced by free ones, such as the gap between
    two of them, before the codec of all tables encodes them. The free table has as many
    columns as the table, by the same names: those that others determine are constant.

    Parameters
    ----------
    numeric_scaling, categorical_features, max_categories, n_quantiles, \
            handle_unknown, declared_levels, keep_infrequent
        See :class:`TableCodec`.
    constraints : list of Constraint

    Attributes
    ----------
    constraints_ : ConstraintSet
    """

    def __init__(
        self,
        numeric_scaling="quantile",
        *,
        constraints=(),
        categorical_features="from_dtype",
        max_categories=1000,
        n_quantiles=2000,
        handle_unknown="error",
        declared_levels=False,
        keep_infrequent=True,
    ):
        super().__init__(
            numeric_scaling,
            categorical_features=categorical_features,
            max_categories=max_categories,
            n_quantiles=n_quantiles,
            handle_unknown=handle_unknown,
            declared_levels=declared_levels,
            keep_infrequent=keep_infrequent,
        )
        self.constraints = constraints

    # ------------------------------------------------------------------ learning

    def fit(self, X, y=None) -> "ConstrainedCodec":
        """Learn the free columns of X.

        Raises
        ------
        ValueError
            If rows break a constraint, or constraints do not go together.
        """
        super().fit(X)
        for combinations in self.constraints_.combinations_:
            first = self.columns_codec_[combinations.positions[0]]
            combinations.forget_all_but(first.levels_)
        return self

    def _columns_to_fit(self, frame, chosen):
        columns, chosen = super()._columns_to_fit(frame, chosen)
        self.constraints_ = ConstraintSet(self.constraints).fit(columns, chosen)
        self.constraints_.refuse_broken(
            columns, self._as_container(frame), "training rows"
        )
        free = self.constraints_.to_free(columns)
        return free, self.constraints_.free_categories(chosen)

    def _lay_out(self):
        super()._lay_out()
        bases = self.constraints_.bases
        if bases and not self.empty_:
            base_masks = [
                tuple(
                    self.mask_of_[i]
                    for i in bases.get(c.position_, ())
                    if i in self.mask_of_
                )
                for c in self.numbers_
            ]
            if any(base_masks):
                self.layout_ = replace(self.layout_, base_masks=tuple(base_masks))

    def updated(self, X) -> "ConstrainedCodec":
        """A codec that has learnt the numbers of more rows, too; this one is the same.

        Raises
        ------
        ValueError
            If rows break a constraint.
        """
        frame = as_frame(X)
        columns = super()._columns_of(frame)
        ignore = self.handle_unknown == "ignore"
        self.constraints_.refuse_broken(
            columns, self._as_container(frame), "rows", allow_unknown=ignore
        )
        wider = super().updated(X)
        wider.constraints_ = self.constraints_.updated(columns)
        return wider

    def refuse_broken(self, X) -> None:
        """Raise ValueError for rows that break a constraint, unless they are ignored.

        With ``handle_unknown="ignore"`` they are encoded as rows beyond the range, or
        as what the other columns say.
        """
        if self.handle_unknown == "ignore":
            return
        frame = as_frame(X)
        columns = super()._columns_of(frame)
        advice = " Or pass handle_unknown='ignore' to encode what can be encoded."
        self.constraints_.refuse_broken(
            columns, self._as_container(frame), "rows", advice
        )

    def _as_container(self, frame):
        """A frame in the container that the function of a `Where` expects."""
        return frame if self.array_dtype_ is None else frame.to_numpy()

    def held_constraints(self) -> list:
        """What drawn rows, and all that are decoded, meet."""
        return list(self.constraints)

    # ------------------------------------------------------------------ drawn rows

    def find_broken(self, table, skipped=()) -> list:
        """Constraints that rows of a decoded table break, with a mask of the rows.

        Constraints of the `skipped` classes are not asked about.
        """
        frame = as_frame(table)
        columns = super()._columns_of(frame)
        table = self._as_container(frame)
        return self.constraints_.find_broken(columns, table, skipped)

    def without_repeats(self, table, asked, rng, fixed=None):
        """A decoded table whose rows differ where single columns must be unique.

        Numbers move to the nearest ones that are free, levels are exchanged for others
        that no row has. Columns that conditions or other constraints are about stay,
        and cells that are `fixed`, a mask of the table.
        """
        columns, is_changed = super()._columns_of(as_frame(table)), False
        for place, grid in self.constraints_.unique_.items():
            column = columns[place]
            if self.columns_[place] in asked or not find_repeats([column]).any():
                continue
            is_changed = True
            own = None if fixed is None else fixed[:, place]
            if grid is None:
                codec = self.columns_codec_[place]
                columns[place] = exchanged_levels(codec, column, rng, own)
            else:
                columns[place] = spread_numbers(grid, column, own)
        return super()._assemble(columns, len(table)) if is_changed else table

    # ------------------------------------------------------------------ both ways

    def encode(self, X, random_state=None, learning=False):
        """Numbers and codes of the free table; see `TableCodec`."""
        tolerate = Tolerance(self.handle_unknown, learning)
        columns = super()._columns_of(as_frame(X))
        for part in self.constraints_.sums_:
            # No constant to its user, although the free one is.
            codec = self.columns_codec_[part.target_]
            if not codec.encoded_:
                missing = columns[part.target_].isna().to_numpy()
                tolerate(codec.refuse_missing, missing)
        tolerate.warn()
        return super().encode(X, random_state, learning)

    def _columns_of(self, frame):
        return self.constraints_.to_free(super()._columns_of(frame))

    def decode(
        self, x_num, x_cat, random_state=None, requests=None, beyond_range=False
    ):
        """The table of encoded rows, which meets constraints and requests.

        Its numbers stay in the range of training whatever `beyond_range` is: their
        constraints are met by values that were seen to meet them. `requests` are those
        that :meth:`encode_conditions` returns: of columns that a constraint determines
        they are in the words of the column, not of its free one.
        """
        requests = requests or {}
        free = self._free_columns(x_num, x_cat, random_state, requests)
        limits = self.constraints_.limits(requests)
        return self._assemble(self.constraints_.to_table(free, limits), len(x_num))

    def _free_columns(self, x_num, x_cat, random_state, requests):
        determined = self.constraints_.determined
        free = {i: asked for i, asked in requests.items() if i not in determined}
        return self._decode_columns(x_num, x_cat, random_state, free)

    # ------------------------------------------------------------------ conditions

    def encode_conditions(
        self, conditions, n_rows: int, beyond_range=False
    ) -> TableConditions:
        """What users ask of drawn rows, encoded for the free table; see `TableCodec`.

        What is asked of a column that a constraint determines can only be encoded in
        part, and `decode` sees to the rest. With `beyond_range` parts of a sum may
        leave the range of training to add up to what is asked.
        """
        if conditions is None:
            return super().encode_conditions(conditions, n_rows)
        check_conditions(conditions)
        is_partial = isinstance(conditions, pd.DataFrame)
        free = {
            name: expanded(partial_cells(value), n_rows) if is_partial else value
            for name, value in conditions.items()
        }
        for part in self.constraints_.combinations_:
            asked = {
                place: expanded(part.cells_of(place, free.pop(name), n_rows), n_rows)
                for place, name in enumerate(part.names)
                if name in free
            }
            if asked:
                free[part.names[0]] = part.allowed_numbers(asked, n_rows)
        own = {}
        for i, grid in self.constraints_.determined.items():
            if grid.name in free:
                cells = cells_of(grid.column_, free[grid.name], n_rows)
                own[i] = read_requests(grid.column_, cells, n_rows)
                free[grid.name] = [PRESENCE[what] for what in own[i].presence]
        found = super().encode_conditions(free, n_rows)
        self._bound_what_is_below(found, own)
        requests = {**found.requests, **own}
        args = self.constraints_, self.columns_codec_, requests, n_rows
        refuse_impossible(*args, beyond_range)
        return replace(found, requests=requests)

    def _bound_what_is_below(self, found, own):
        """Bound columns that are drawn first by what is asked of those above them.

        They leave room for these, and no more than the greatest gap that was seen.
        """
        orders, places = self.constraints_.orders_, self.places()
        for i, asked in own.items():
            for low, strict in orders.below_.get(i, []) if orders else []:
                if low in self.constraints_.determined or low not in places:
                    continue
                [[lowest, highest]] = self.constraints_.limits({i: asked}).values()
                grid, codec = orders.grids_[low], self.columns_codec_[low]
                most = grid.next_value(highest, up=False, strict=strict)
                least = np.full(len(most), grid.low_)
                if len(orders.below_[i]) == 1:
                    least = np.minimum(orders.least_below(i, lowest), most)
                is_asked = (asked.presence == PRESENT)[:, None]
                bounds = encoded_limits(codec, *map(grid.plain_of, (least, most)))
                bounds = np.where(is_asked, bounds, np.float32([-np.inf, np.inf]))
                known = found.encoded.bounds.setdefault(places[low], bounds)
                # What is asked of the column itself counts more.
                known[:, 1] = known[:, 1].clip(known[:, 0], bounds[:, 1])
                known[:, 0] = known[:, 0].clip(bounds[:, 0], known[:, 1])

    def distances(self, x_num, x_cat, requests) -> np.ndarray:
        """How far rows are from what is asked of determined columns, shape (n,).

        In widths of the columns' ranges. `decode` moves them there, which changes rows
        less if they are near.
        """
        free = self._free_columns(x_num, x_cat, None, requests)
        return self.constraints_.distances(free, requests)

    def find_unmet(self, table, requests) -> np.ndarray:
        """Rows of a decoded table in which numbers are not what is asked for, (n,)."""
        columns = super()._columns_of(as_frame(table))
        unmet = np.zeros(len(table), bool)
        for i, (low, high) in self.constraints_.limits(requests).items():
            missing, values = self.constraints_.grid_of(i).read(columns[i])
            outside = (values < low) | (values > high)
            unmet |= outside & ~missing & (requests[i].presence == PRESENT)
        return unmet


# Requests of a free column by the presence of the one that it stands for.
PRESENCE = {ANY: ANYTHING, PRESENT: ANY_VALUE, MISSING: None}


def expanded(cells, n_rows):
    """One cell for each row, also where there is one for all."""
    return cells if len(cells) == n_rows else cells * n_rows


def encoded_limits(codec, low, high):
    """Encoded bounds of a column of numbers, (n, 2), from plain ones of shape (n,)."""
    bounds, _ = encoded_bounds(
        codec, NumberRequests(low, high, np.full(len(high), PRESENT))
    )
    return bounds
