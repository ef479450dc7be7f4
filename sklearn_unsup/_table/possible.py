"""Conditions that no row can meet under constraints, found before rows are drawn."""

import numpy as np
import pandas as pd

from .constraints import Inequality, Unique
from .ranges import ANY, PRESENT, NumberRequests, limits


def refuse_impossible(
    constraint_set, columns, requests, n_rows, beyond_range=False
) -> None:
    """Raise for requests that contradict constraints, where that is cheap to see.

    Others are found as no row that is drawn meets them.

    Parameters
    ----------
    constraint_set : ConstraintSet
    columns : list of NumericColumn or CategoricalColumn
        Of the free table, in its order.
    requests : dict of {int: LevelRequests or NumberRequests}
        By position of the column, in the words of the table.
    n_rows : int
    beyond_range : bool, default=False
        Whether values may be such as no training row has.

    Raises
    ------
    ValueError
        It names the row, the columns, the constraint, and what there could be.
    """
    for bounds in constraint_set.ranges_:
        if bounds.position in requests:
            refuse_other_range(bounds, requests[bounds.position], n_rows)
    orders = constraint_set.orders_
    if orders is not None and requests.keys() & orders.grids_.keys():
        refuse_other_orders(constraint_set, requests, n_rows)
    for part in constraint_set.sums_:
        if part.target_ in requests and not beyond_range:
            refuse_other_sums(part, constraint_set.limits(requests), requests, n_rows)
    combined = {i for part in constraint_set.combinations_ for i in part.positions}
    for constraint, places in constraint_set.of_kind(Unique):
        if set(places) <= requests.keys() - combined:
            asked = {i: requests[i] for i in places}
            refuse_repeats(constraint, [columns[i] for i in places], asked)


def is_present(grid, asked, n_rows):
    """Which rows are sure to have a value in a column, shape (n_rows,)."""
    always = not grid.column_.has_missing_
    if asked is None:
        return np.full(n_rows, always)
    return (asked.presence == PRESENT) | ((asked.presence == ANY) & always)


def asked_ends(grid, asked, n_rows):
    """The least and the greatest value that a column may have, (n_rows,) each."""
    if asked is None:
        ends = np.array(limits(grid.column_), grid.column_.raw_dtype_)
        return [np.repeat(end, n_rows) for end in grid.values_of(ends)]
    return [grid.values_of(asked.low), grid.values_of(asked.high)]


def refuse_other_range(bounds, asked, n_rows):
    """Raise where all values that a column is asked for are outside of its range."""
    low, high = asked_ends(bounds.grid_, asked, n_rows)
    broken = np.zeros(n_rows, dtype=bool)
    if bounds.low_ is not None:
        broken |= high < bounds.low_
    if bounds.high_ is not None:
        broken |= low > bounds.high_
    broken &= asked.presence == PRESENT
    if broken.any():
        raise ValueError(
            f"conditions: what is asked of column {bounds.grid_.name!r} in row "
            f"{broken.argmax()} contradicts {bounds.constraint!r}. Pass values in "
            "this range."
        )


# ------------------------------------------------------------------ inequalities


def refuse_other_orders(constraint_set, requests, n_rows):
    """Raise where a column has to be greater than one that is above it can be."""
    orders = constraint_set.orders_
    lows, highs, present = {}, {}, {}
    for i, grid in orders.grids_.items():
        lows[i], highs[i] = asked_ends(grid, requests.get(i), n_rows)
        present[i] = is_present(grid, requests.get(i), n_rows)
    for high in orders.order_:
        for low, _ in orders.below_[high]:
            raised = np.maximum(lows[high], lows[low])
            lows[high] = np.where(present[low], raised, lows[high])
    for low in reversed(orders.order_):
        for high, _ in orders.above_[low]:
            lowered = np.minimum(highs[low], highs[high])
            highs[low] = np.where(present[high], lowered, highs[low])
    for constraint, (low, high) in constraint_set.of_kind(Inequality):
        least, most = lows[low], highs[high]
        broken = least >= most if constraint.strict else least > most
        broken &= present[low] & present[high]
        if broken.any():
            row = int(broken.argmax())
            raise ValueError(
                f"conditions: what is asked of row {row} contradicts {constraint!r}: "
                f"column {orders.grids_[low].name!r} must be at least "
                f"{shown(orders.grids_[low], least[row])}, and column "
                f"{orders.grids_[high].name!r} at most "
                f"{shown(orders.grids_[high], most[row])}. Pass other values."
            )


def shown(grid, value):
    """A value of a grid as the column has it."""
    kind = np.int64 if grid.is_whole_ else np.float64
    [cell] = grid.column(np.array([value]).astype(kind), np.zeros(1, bool))
    return cell


# ------------------------------------------------------------------ sums


def refuse_other_sums(part, ends, requests, n_rows):
    """Raise where a sum is asked for that its parts cannot have in their ranges."""
    asked, grid = requests[part.target_], part.grids_[part.target_]
    known = asked.presence == PRESENT
    least = most = np.full(n_rows, part.offset_)
    for i, weight in part.weights_.items():
        other = part.grids_[i]
        if other.low_ is None:  # never there: then the sum is free
            return
        known = known & is_present(other, requests.get(i), n_rows)
        of_part = weight * np.asarray(
            ends.get(i, np.array([[other.low_], [other.high_]])), np.float64
        )
        least, most = least + of_part.min(axis=0), most + of_part.max(axis=0)
    low, high = asked_ends(grid, asked, n_rows)
    # A sum is rounded to the digits of its column, and by the floats it is made of.
    rounding = 1e-12 if part.step() else 1e-2
    slack = 0.5 * part.step() + rounding * (np.abs(least) + np.abs(most))
    broken = known & ((most + slack < low) | (least - slack > high))
    if broken.any():
        row = int(broken.argmax())
        raise ValueError(
            f"conditions: what is asked of column {grid.name!r} in row {row} "
            f"contradicts {part.constraint!r}: by what the other columns can be, or "
            f"are asked for, it must be at least {shown(grid, least[row])} and at most "
            f"{shown(grid, most[row])}. Ask for a value in between."
        )


# ------------------------------------------------------------------ no repeats


def refuse_repeats(constraint, columns, requests):
    """Raise where more rows ask for the same values than can differ in them."""
    keys, n_values = {}, 1.0
    for column, (i, asked) in zip(columns, requests.items(), strict=True):
        if isinstance(asked, NumberRequests):
            keys[i, "low"], keys[i, "high"] = asked.low, asked.high
            width = asked.high.astype(np.float64) - asked.low + 1
            if asked.low.dtype.kind == "f":
                width = np.where(asked.low == asked.high, 1, np.inf)
            width = np.where(asked.presence == PRESENT, width, np.inf)
        else:
            keys[i, "rank"] = asked.ranks
            width = n_levels(asked, column)[asked.ranks]
        n_values = n_values * width
    table = pd.DataFrame({str(key): values for key, values in keys.items()})
    counts = table.groupby(list(table))[table.columns[0]].transform("size")
    broken = counts.to_numpy() > n_values
    if broken.any():
        row = int(broken.argmax())
        raise ValueError(
            f"conditions: {counts[row]:,} rows ask for the same as row {row} of "
            f"{', '.join(repr(column.name) for column in columns)}, but "
            f"{constraint!r} leaves {int(n_values[row]):,} that differ. Draw fewer "
            "rows, or pass one value for each of them."
        )


def n_levels(asked, column):
    """Levels that a request allows, by its rank; missing ones may repeat."""
    own = [np.inf if level is None else 1.0 for level in column.levels_]
    sets = [sum(own[rank] for rank in ranks) for ranks in asked.sets[::-1]]
    return np.array([*own, *sets, np.inf])  # -1, the last one, asks for nothing
