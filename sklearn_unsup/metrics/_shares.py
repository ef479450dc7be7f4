"""Two columns as shares of their rows in the same bins or levels."""

import numpy as np
import pandas as pd

from .._table.kinds import CATEGORIES, DATES, EMPTY, column_kind
from .._table.plain import MICROSECONDS_PER_DAY, to_floats
from ._columns import is_measured, main_positions, to_objects


def check_pair(real, synthetic):
    """Refuse tables that cannot be compared, with an error that names the column."""
    for name, table in (("real", real), ("synthetic", synthetic)):
        if len(table) == 0 or table.shape[1] == 0:
            raise ValueError(
                f"{name} must have rows and columns, its shape is {table.shape}."
            )
        if not table.columns.is_unique:
            twice = list(table.columns[table.columns.duplicated()].unique())
            raise ValueError(
                f"names of columns must be unique: {name} has several {twice[0]!r}."
            )
    missing = [name for name in real.columns if name not in synthetic.columns]
    extra = [name for name in synthetic.columns if name not in real.columns]
    if missing or extra:
        parts = [f"missing in synthetic: {missing}"] if missing else []
        parts += [f"only in synthetic: {extra}"] if extra else []
        raise ValueError(
            f"real and synthetic must have the same columns; {', '.join(parts)}."
        )
    for name in real.columns:
        kinds = column_kind(real[name]), column_kind(synthetic[name])
        if kinds[0] in (CATEGORIES, EMPTY, kinds[1]):
            continue
        if synthetic[name].notna().any():
            raise ValueError(
                f"Column {name!r} holds values of dtype {real[name].dtype} in real and "
                f"of dtype {synthetic[name].dtype} in synthetic: convert one of them."
            )


def share_rows(real, synthetic, n_bins, max_levels):
    """Shares of all rows, DataFrame of shape (n_bins_or_levels + 1, 2).

    The last row, whose index is missing, is that of the missing values. The second
    result holds the shares that lie beyond the outermost bins and are counted in them.
    """
    if not is_measured(real) or real.isna().all():
        return share_levels(to_objects(real), to_objects(synthetic), max_levels), [0, 0]
    is_date = column_kind(real) == DATES
    columns = [to_floats(real), as_floats(synthetic)]
    edges = bin_edges(*columns, n_bins, is_date)
    shares, beyond = [], []
    for values in columns:
        present = values[~np.isnan(values)]
        inside = np.clip(present, edges[0], edges[-1])
        counts = np.histogram(inside, edges)[0]
        shares.append(np.append(counts, len(values) - len(present)) / len(values))
        beyond.append(np.count_nonzero(inside != present) / len(values))
    hole = np.nan
    if is_date:
        edges = (edges * MICROSECONDS_PER_DAY).round().astype("M8[us]")
        hole = np.datetime64("NaT", "us")
    index = pd.IntervalIndex.from_arrays(
        np.append(edges[:-1], hole), np.append(edges[1:], hole), closed="left"
    )
    return pd.DataFrame(np.transpose(shares), index, ["real", "synthetic"]), beyond


def as_floats(column):
    """Numbers or dates; what else there may be is missing, whatever its dtype."""
    return to_floats(column) if column.notna().any() else np.full(len(column), np.nan)


def bin_edges(real, synthetic, n_bins, is_date):
    """Edges of bins that both columns share.

    They cover what nearly all real values cover, and half as much on either side where
    there are values: a few extremes do not press all others into one bin.
    """
    finite = real[np.isfinite(real)]
    if len(finite) == 0:
        return np.array([0.0, 1.0])
    everything = np.concatenate([finite, synthetic[np.isfinite(synthetic)]])
    low, high = everything.min(), everything.max()
    inner = np.quantile(finite, [0.005, 0.995])
    reach = 0.5 * (inner[1] - inner[0])
    if reach > 0:
        low, high = max(low, inner[0] - reach), min(high, inner[1] + reach)
    if low == high:
        return low + np.array([0.0, 1.0] if is_date else [-0.5, 0.5])
    unit = grid_of(finite)
    if unit is None:
        return np.linspace(low, high, n_bins + 1)
    low = finite[0] + unit * np.floor((low - finite[0]) / unit + 1e-6)
    n_values = np.ceil((high - low) / unit - 1e-6) + 1
    # Each bin has as many of the possible values.
    step = np.ceil(n_values / n_bins)
    edges = low + unit * step * np.arange(np.ceil(n_values / step) + 1)
    return edges if is_date else edges - unit / 2


def grid_of(values):
    """Distance of neighbours if all values lie on a grid, such as whole numbers."""
    distinct = np.unique(values)
    if len(distinct) < 2:
        return None
    unit = np.diff(distinct).min()
    places = (distinct - distinct[0]) / unit
    regular = places[-1] < 1e7 and np.all(np.abs(places - np.round(places)) < 1e-3)
    return unit if regular else None


def share_levels(real, synthetic, max_levels):
    counts = [column.value_counts() for column in (real, synthetic)]
    # The most frequent ones of `real` come first, those of `synthetic` alone last.
    levels = counts[0].index.union(counts[1].index, sort=False)
    shares = pd.DataFrame(
        {
            name: count.reindex(levels, fill_value=0) / len(column)
            for name, count, column in zip(
                ("real", "synthetic"), counts, (real, synthetic), strict=True
            )
        }
    )
    # By position: True among the levels would be read as a mask.
    kept = main_positions(shares.max(axis=1), max_levels)
    rows = [shares.iloc[kept]]
    if len(kept) < len(shares):
        rest = shares.iloc[np.setdiff1d(np.arange(len(shares)), kept)]
        name = f"other ({len(rest)} levels)"
        rows.append(pd.DataFrame([rest.sum()], index=[name]))
    missing = [[column.isna().mean() for column in (real, synthetic)]]
    rows.append(pd.DataFrame(missing, index=[None], columns=shares.columns))
    index = [level for part in rows for level in part.index]
    values = np.concatenate([part.to_numpy(dtype=float) for part in rows])
    return pd.DataFrame(values, pd.Index(index, dtype=object), shares.columns)
