"""Filling in the missing cells of tables whose rows meet constraints."""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from ._drawing import MIN_DRAWS, conditions_at, nearest_rows, union, with_rows
from ._holes import (
    PASS_ROWS,
    EncodedHoles,
    conditional_network,
    expected,
    expected_columns,
    filled_in,
    placeholders,
    with_implied_cells,
)
from ._nn.conditions import to_tensors
from ._table.constraint_set import broken_error
from ._table.constraints import FixedCombinations, Unique, Where
from ._table.frames import as_frame
from ._table.layout import EncodedConditions
from ._table.means import column_on_grid, mean_and_nearest, most_frequent
from ._table.ranges import ANYTHING
from ._table.requests import ANY_VALUE

# Number of draws of each row from which means and the most likely levels are taken.
N_DRAWS = 24
# Number of draws of a row that has a sum or an upper column, but not all that it is
# counted from, and number of those that count: the ones that come nearest to it.
N_CANDIDATES, N_NEAREST = 48, 6
# Maximum number of times that rows which still break a constraint are drawn again.
N_ROUNDS = 25
ADVICE = (
    " Or fit the model with handle_unknown='ignore' to fill in the cells of such rows "
    "as if nothing were known of the columns that the constraint names."
)


def impute_constrained(model, frame, *, sample_posterior, rounded, rng):
    """Fill in the missing cells of a frame so that its rows meet the constraints.

    Arguments and result are those of :func:`impute_frame`.

    Raises
    ------
    ValueError
        If what a row has already breaks a constraint, or no values are found that meet
        all of them.
    """
    codec, names = model.codec_, frame.columns
    if codec.array_dtype_ is None:  # an array may come after a frame
        frame = frame.set_axis(codec.columns_, axis=1)
    filled = with_implied_cells(frame, codec.constraints_.sums_)
    infeasible = find_infeasible(codec, filled)
    if filled.isna().any(axis=None):
        completions = Completions(model, filled, infeasible, rng)
        filled = (
            completions.drawn() if sample_posterior else completions.expected(rounded)
        )
        filled = completions.repaired(filled)
    return filled.set_axis(names, axis=1).set_axis(frame.index, axis=0)


def columns_of(frame):
    return [column for _, column in frame.items()]


def find_infeasible(codec, frame):
    """Rows that break a constraint whatever their missing cells are, shape (n,).

    Raises
    ------
    ValueError
        If there are such rows, unless the codec ignores what is unknown.
    """
    constraints = codec.constraints_
    # For these two a missing cell is a value. Here it may become any, so that a row can
    # be completed if some known combination has the cells that are there. What a
    # function will say is only known of rows without missing cells.
    broken = dict(codec.find_broken(frame, skipped=(FixedCombinations, Where)))
    for part in constraints.combinations_:
        if not part.forgets_:
            broken[part.constraint] = ~part.can_complete(columns_of(frame))
    complete = frame.notna().all(axis=1).to_numpy()
    if complete.any() and constraints.of_kind(Where):
        for constraint, rows in codec.find_broken(frame[complete]):
            if isinstance(constraint, Where):
                broken[constraint] = complete.copy()
                broken[constraint][complete] = rows
    if codec.handle_unknown != "ignore":
        for constraint, rows in broken.items():
            if rows.any():
                raise broken_error(constraint, rows, "rows", ADVICE)
    return union(broken.items(), len(frame))


def encodable(codec, frame):
    """A frame that can be encoded, and which cells of its free table are unknown.

    A cell that is counted from others, such as the gap to a lower column, is known if
    all of them are.
    """
    missing = frame.isna().to_numpy()
    unknown, constraints = missing.copy(), codec.constraints_
    values, frame = placeholders(codec, len(frame)), frame.copy(deep=False)
    for part in constraints.combinations_:
        rows = missing[:, part.positions].any(axis=1)
        unknown[:, part.positions[0]] = rows
        for i in part.positions if rows.any() else []:
            frame.isetitem(i, filled_in(frame.iloc[:, i], values.iloc[:, i], rows))
    for i, below in constraints.orders_.below_.items() if constraints.orders_ else []:
        unknown[:, i] |= missing[:, [low for low, _ in below]].any(axis=1)
    for part in constraints.sums_:
        # Completed rows all have the same value in its free column.
        unknown[:, part.target_] = False
        for i in part.positions:
            if missing[:, i].any():
                frame.isetitem(i, filled_in(frame.iloc[:, i], values.iloc[:, i]))
    return frame, unknown


class Completions:
    """Completions of the rows of a frame that meet constraints.

    Parameters
    ----------
    model : VAETransformer
    frame : DataFrame
        With the columns of training, in their order.
    infeasible : ndarray of bool of shape (n,)
        Rows that break a constraint whatever their missing cells are.
    rng : numpy.random.Generator
    """

    def __init__(self, model, frame, infeasible, rng):
        self.model, self.codec, self.rng = model, model.codec_, rng
        self.frame, self.missing = frame, frame.isna().to_numpy()
        self.infeasible = infeasible
        self.constraints = self.codec.constraints_
        encoded, unknown = encodable(self.codec, frame)
        self.holes = EncodedHoles(self.codec, encoded, model.device_, unknown)
        self.asked = self._asked()

    def _asked(self):
        """Conditions that the cells which are there put on the others, encoded."""
        cells = {}
        combined = {i: p for p in self.constraints.combinations_ for i in p.positions}
        columns = columns_of(self.frame)
        fits = {part: part.can_complete(columns) for part in set(combined.values())}
        for i, (name, column) in enumerate(self.frame.items()):
            if i not in combined and self.constraints.grid_of(i) is None:
                continue
            cells[name] = column.astype(object).tolist()
            ignored = self.infeasible if i not in combined else ~fits[combined[i]]
            for row in np.flatnonzero(self.missing[:, i] & ~ignored):
                cells[name][row] = ANY_VALUE
            for row in np.flatnonzero(ignored):
                cells[name][row] = ANYTHING
        try:
            asked = self.codec.encode_conditions(
                cells or None, len(self.frame), beyond_range=True
            )
        except ValueError as error:
            raise ValueError(
                f"impute: the cells that are there leave no value for others. {error}"
            ) from error
        places, encoded = self.codec.places(), self.holes.conditions()
        codes, bounds = dict(encoded.codes), dict(encoded.bounds)
        sets = dict(encoded.sets)
        for part in self.constraints.combinations_:
            place = places.get(part.positions[0])
            if place in asked.encoded.codes:
                codes[place] = asked.encoded.codes[place]
                sets[place] = asked.encoded.sets[place]
        for place, wanted in asked.encoded.bounds.items():
            is_open = np.isinf(bounds[place]).all(axis=1, keepdims=True)
            bounds[place] = np.where(is_open, wanted, bounds[place])
        encoded = replace(encoded, codes=codes, sets=sets, bounds=bounds)
        return replace(asked, encoded=encoded)

    # ------------------------------------------------------------------ draws

    def _draw(self, encoded):
        """Rows that have the cells which are there, and values in all others."""
        model, network = self.model, conditional_network(self.model)
        if network is None:
            return model._sample_encoded(encoded, self.rng)
        generator = torch.Generator(model.device_)
        generator.manual_seed(int(self.rng.integers(2**63)))
        masks, last = set(self.codec.mask_of_.values()), self._drawn_last()
        batches = []
        for start in range(0, len(encoded), PASS_ROWS):
            part = encoded.take(slice(start, start + PASS_ROWS))
            part = to_tensors(part, model.device_)
            n, layout = len(part), self.holes.layout
            empty = torch.zeros(n, 0, device=model.device_)
            codes = [part.codes[i] for i in range(layout.n_categorical)]
            codes = torch.stack(codes, 1) if codes else empty.long()
            ends = [part.bounds[i] for i in range(layout.n_numeric)]
            low, high = torch.stack(ends, 1).unbind(2) if ends else (empty, empty)
            seen_cat, seen_num = codes >= 0, low == high
            seen_cat[:, list(masks)] = False
            arrays = low.where(seen_num, 0.0), codes.clamp_min(0), seen_num, seen_cat
            wanted = self._wanted(part, seen_num)
            batches.append(network.complete(*arrays, generator, wanted, last))
        x_num, x_cat = (
            torch.cat(parts).cpu().numpy() for parts in zip(*batches, strict=True)
        )
        return x_num, x_cat, np.zeros(len(x_num))

    def _wanted(self, encoded, seen_num):
        """Conditions on cells that are not there: combinations, and room for others."""
        places = self.codec.places()
        firsts = [places.get(p.positions[0]) for p in self.constraints.combinations_]
        codes = {i: encoded.codes[i] for i in firsts if i in encoded.codes}
        sets = {i: encoded.sets[i] for i in codes if i in encoded.sets}
        bounds = {
            i: ends
            for i, ends in encoded.bounds.items()
            if bool((torch.isfinite(ends).any(1) & ~seen_num[:, i]).any())
        }
        return EncodedConditions(len(encoded), codes, sets, bounds)

    def _drawn_last(self):
        """Positions of gaps, which mean nothing until their lower columns are drawn."""
        orders, places = self.constraints.orders_, self.codec.places()
        n_categorical = self.holes.layout.n_categorical
        ends = orders.order_ if orders else []
        above = [i for i in ends if orders.below_[i] and i in places]
        return [n_categorical + places[i] for i in above]

    def _table(self, asked, x_num, x_cat):
        return as_frame(self.codec.decode(x_num, x_cat, self.rng, asked.requests))

    def _distances(self, asked, x_num, x_cat):
        """How far draws are from the cells that are there, shape (n,)."""
        if self.constraints.determined.keys() & asked.requests.keys():
            return self.codec.distances(x_num, x_cat, asked.requests)
        return np.zeros(len(x_num))

    def _filled(self, table, index=None):
        """Rows of the frame, at an index, with the values of a table in their holes."""
        frame = self.frame if index is None else self.frame.iloc[index]
        filled = frame.copy(deep=False)
        for i in np.flatnonzero(frame.isna().any(axis=0)):
            filled.isetitem(i, filled_in(frame.iloc[:, i], table.iloc[:, i]))
        return self._moved(filled, frame.isna().to_numpy())

    def _moved(self, filled, is_open):
        """A filled frame whose open cells make way for those that are there.

        Only those are moved that would have to leave the range of training, or that
        rounding keeps from adding up.
        """
        orders, columns = self.constraints.orders_, columns_of(filled)
        moved = columns if orders is None else orders.moved(columns, is_open)
        for i, column in enumerate(moved):
            if column is not columns[i]:
                filled.isetitem(i, filled_in(columns[i], column, is_open[:, i]))
        for part in self.constraints.sums_:
            broken, last = part.find_broken(columns), np.full(len(filled), -1)
            for i in (*part.weights_, part.target_):
                last[is_open[:, i]] = i
            for i in np.unique(last[broken & (last >= 0)]):
                filled.isetitem(i, columns[i].mask(broken & (last == i)))
        return with_implied_cells(filled, self.constraints.sums_)

    def drawn(self, index=None):
        """Rows of the frame completed by draws."""
        index = np.arange(len(self.frame)) if index is None else index
        asked = conditions_at(self.asked, index)
        x_num, x_cat, _ = self._draw(asked.encoded)
        x_num, x_cat = nearest_rows(self._draw, self.codec, asked, x_num, x_cat)
        return self._filled(self._table(asked, x_num, x_cat), index)

    # ------------------------------------------------------------------ means

    def expected(self, rounded):
        """Rows of the frame completed by means and the most likely levels.

        Where constraints name columns they are those of draws: the mean of numbers if
        it meets the constraints, else the draw that is nearest to it.
        """
        named = self._named()
        means, codes = expected(self.model, self.holes, self.rng)
        columns = expected_columns(
            self.codec, self.frame, means, codes, rounded, skipped=named
        )
        filled = self.frame.copy(deep=False)
        for i, values in enumerate(columns):
            if i not in named and self.missing[:, i].any():
                filled.isetitem(i, filled_in(self.frame.iloc[:, i], values))
        is_open, has_target = self.missing[:, named].any(axis=1), self._has_target()
        if conditional_network(self.model) is None:
            # Draws of other models are weighted by their conditions as they are drawn.
            has_target[:] = False
        for rows, n_draws in ((has_target, N_CANDIDATES), (~has_target, N_DRAWS)):
            index = np.flatnonzero(is_open & rows)
            if len(index):
                part = self._expected(filled.iloc[index], index, n_draws, rounded)
                filled = with_rows(filled, index, part, np.arange(len(index)))
        return filled

    def _has_target(self):
        """Rows with a determined value that draws of what it is counted from must meet.

        Such as a total of which a part is missing.
        """
        has_target = np.zeros(len(self.frame), bool)
        for i, others in self.constraints.bases.items():
            has_target |= ~self.missing[:, i] & self.missing[:, others].any(axis=1)
        return has_target

    def _expected(self, frame, index, n_draws, rounded):
        """Some rows with means in columns that constraints name, or a draw near it."""
        mean, central = (
            self._moved(completed, self.missing[index])
            for completed in self._summarize_draws(frame, index, n_draws, rounded)
        )
        broken = self.codec.find_broken(mean, skipped=(Unique,))
        rows = np.flatnonzero(union(broken, len(index)))
        return with_rows(mean, rows, central, rows)

    def _named(self):
        """Positions of columns that are not encoded by themselves alone."""
        parts = self.constraints.combinations_
        named = {i for part in parts for i in part.positions}
        places = range(len(self.codec.columns_codec_))
        grids = [i for i in places if self.constraints.grid_of(i) is not None]
        return sorted(named.union(grids))

    def _summarize_draws(self, frame, index, n_draws, rounded):
        """Some rows completed by means of draws, and by the draws nearest to them."""
        n, tables, distances = len(index), [], []
        # Of few rows many draws at once, as a draw of one row takes as long as of many.
        n_at_once = max(1, PASS_ROWS // n)
        for n_drawn in range(0, n_draws, n_at_once):
            rows = np.tile(index, min(n_at_once, n_draws - n_drawn))
            asked = conditions_at(self.asked, rows)
            x_num, x_cat, _ = self._draw(asked.encoded)
            distances.append(self._distances(asked, x_num, x_cat).reshape(-1, n))
            tables.append(columns_of(self._table(asked, x_num, x_cat)))
        distances = np.concatenate(distances)
        farthest = np.partition(distances, N_NEAREST - 1, axis=0)[N_NEAREST - 1]
        counts = distances <= farthest
        central, mean = frame.copy(deep=False), frame.copy(deep=False)
        for part in self.constraints.combinations_:
            found = [part.find(table).reshape(-1, n) for table in tables]
            numbers = np.concatenate(found)
            for i, column in part.columns_at(most_frequent(numbers, counts)).items():
                for filled in (central, mean):
                    filled.isetitem(i, filled_in(frame.iloc[:, i], column))
        orders, sums = self.constraints.orders_, self.constraints.sums_
        for part in [*filter(None, [orders]), *sums]:
            self._fill_numbers(part, tables, counts, index, rounded, central, mean)
        return mean, central

    def _fill_numbers(self, part, tables, counts, index, rounded, central, mean):
        """Fill columns of inequalities or a sum in frames of draws and of means."""
        missing, grids = self.missing[index], part.grids_
        drawn = {
            i: np.concatenate(
                [grid.read(table[i])[1].reshape(-1, len(index)) for table in tables]
            )
            for i, grid in grids.items()
            if grid.low_ is not None
        }
        means, nearest = mean_and_nearest(drawn, counts, missing)
        for i in drawn:
            if missing[:, i].any():
                column, grid = central.iloc[:, i], grids[i]
                as_floats = not rounded and part is self.constraints.orders_
                as_floats &= pd.api.types.is_float_dtype(column)
                values = column_on_grid(grid, means[i], as_floats)
                mean.isetitem(i, filled_in(column, values))
                values = grid.column(nearest[i], np.zeros(len(index), bool))
                central.isetitem(i, filled_in(column, values))

    # ------------------------------------------------------------------ repairs

    def repaired(self, filled):
        """A filled frame in which rows that still break a constraint are drawn again.

        Raises
        ------
        ValueError
            If too few draws meet the constraints.
        """
        n_drawn = 0
        for _ in range(N_ROUNDS):
            filled = self._without_repeats(filled)
            broken = self._find_broken(filled)
            rows = np.flatnonzero(union(broken, len(filled)))
            if not len(rows):
                return filled
            index = np.repeat(rows, max(1, MIN_DRAWS // len(rows)))
            more = self.drawn(index).reset_index(drop=True)
            n_drawn += len(more)
            found = self.codec.find_broken(more, skipped=(Unique,))
            good = np.flatnonzero(~union(found, len(more)))
            good = self.rng.permutation(good)
            rows, first = np.unique(index[good], return_index=True)
            filled = with_rows(filled, rows, more, good[first])
        raise not_filled_error(broken, n_drawn)

    def _find_broken(self, filled):
        """Constraints that rows with missing cells break, with masks of the rows.

        All rows that repeat each other may make way, not the later ones alone.
        """
        found, is_open = [], self.missing.any(axis=1) & ~self.infeasible
        backwards = filled.iloc[::-1]
        earlier = dict(self.codec.find_broken(backwards))
        for constraint, rows in self.codec.find_broken(filled):
            if isinstance(constraint, Unique):
                rows = rows | earlier[constraint][::-1]
            if (rows & is_open).any():
                found.append((constraint, rows & is_open))
        return found

    def _without_repeats(self, filled):
        """A frame in which filled cells of unique columns differ from all others."""
        unique = self.constraints.unique_
        if not any(self.missing[:, i].any() for i in unique):
            return filled
        args = filled, (), self.rng, ~self.missing
        table = as_frame(self.codec.without_repeats(*args))
        filled = filled.copy(deep=False)
        for i in unique:
            rows = self.missing[:, i]
            filled.isetitem(i, filled_in(filled.iloc[:, i], table.iloc[:, i], rows))
        return filled


def not_filled_error(broken, n_drawn):
    """The error of rows for which no values are found."""
    constraint, rows = max(broken, key=lambda pair: np.count_nonzero(pair[1]))
    return ValueError(
        f"{np.count_nonzero(rows):,} of {len(rows):,} rows still break {constraint!r} "
        f"after {n_drawn:,} draws of their missing cells, first row "
        f"{int(rows.argmax())}. What these rows have may leave no value for the rest: "
        "mend or drop them, or fit a model without the constraint."
    )
