"""Drawn rows that break a constraint, and others in their place."""

import numpy as np
import pandas as pd

from ._table.constrained import ConstrainedCodec
from ._validation import warn_of_unlikely

# Number of times that other rows are drawn to find near ones.
N_CANDIDATES = 10
# Number of rows that may be drawn for each row that is wanted, and for any number.
DRAWS_PER_ROW, MIN_DRAWS = 100, 1_000


def draw_table(draw, codec, conditions, n_samples: int, rng):
    """Draw a table, and again those of its rows that break a constraint.

    Parameters
    ----------
    draw : callable
        Takes the encoded conditions of the rows, and returns `x_num`, `x_cat` and the
        log-probability that the model gives the conditions.
    codec : TableCodec or SparseCodec
    conditions : dict, DataFrame or None
    n_samples : int
    rng : numpy.random.Generator

    Raises
    ------
    ValueError
        If too few rows meet the constraints.
    """
    asked = codec.encode_conditions(conditions, n_samples)
    x_num, x_cat, log_mass = draw(asked.encoded)
    warn_of_unlikely(asked, log_mass)
    if not isinstance(codec, ConstrainedCodec):
        return codec.decode(x_num, x_cat, rng, asked.requests)
    names = set() if conditions is None else set(conditions)
    x_num, x_cat = nearest_rows(draw, codec, asked, x_num, x_cat)
    table = codec.decode(x_num, x_cat, rng, asked.requests)
    n_drawn, limit = n_samples, MIN_DRAWS + DRAWS_PER_ROW * n_samples
    while True:
        table = codec.without_repeats(table, names, rng)
        broken = find_broken(codec, table, asked)
        if not broken:
            return table
        rows = np.flatnonzero(union(broken, n_samples))
        if n_drawn >= limit:
            raise too_few_error(broken, n_samples, n_drawn)
        again = asked
        if not names:
            # As many as should hold enough good ones, by the share of them so far.
            share = (n_samples - len(rows) + 1) / n_drawn
            n_more = int(min(MIN_DRAWS + len(rows) / share, limit))
            again = codec.encode_conditions(None, n_more)
        n_more = len(again.encoded)
        more = codec.decode(*draw(again.encoded)[:2], rng, again.requests)
        n_drawn += n_more
        good = ~union(find_broken(codec, more, again), n_more)
        if names:  # each row may ask for something else
            rows = sources = rows[good[rows]]
        else:
            sources = np.flatnonzero(good)[: len(rows)]
            rows = rows[: len(sources)]
        table = with_rows(table, rows, more, sources)


def nearest_rows(draw, codec, asked, x_num, x_cat):
    """Rows that are near to what is asked of columns that constraints determine.

    No network can be asked for them. Of several rows the nearest is taken, which
    decoding then moves to what is asked.
    """
    if not any(i in asked.requests for i in codec.constraints_.determined):
        return x_num, x_cat
    distances = codec.distances(x_num, x_cat, asked.requests)
    for _ in range(N_CANDIDATES):
        if not distances.any():
            break
        other_num, other_cat, _ = draw(asked.encoded)
        others = codec.distances(other_num, other_cat, asked.requests)
        is_nearer = others < distances
        x_num = np.where(is_nearer[:, None], other_num, x_num)
        x_cat = np.where(is_nearer[:, None], other_cat, x_cat)
        distances = np.minimum(distances, others)
    return x_num, x_cat


def find_broken(codec, table, asked):
    """What rows of a table break, constraints or conditions, with masks of the rows."""
    broken = codec.find_broken(table)
    unmet = codec.find_unmet(table, asked.requests)
    return [*broken, ("the conditions", unmet)] if unmet.any() else broken


def union(broken, n_rows):
    """Which rows break any constraint."""
    return np.any([np.zeros(n_rows, bool), *(rows for _, rows in broken)], axis=0)


def with_rows(table, rows, more, sources):
    """A table with the rows at `sources` of another one in place of those at `rows`."""
    order = np.arange(len(table))
    order[rows] = len(table) + sources
    if isinstance(table, pd.DataFrame):
        both = pd.concat([table, more], ignore_index=True)
        return both.iloc[order].reset_index(drop=True)
    return np.concatenate([table, more])[order]


def too_few_error(broken, n_samples, n_drawn):
    """The error of rows that were drawn often enough."""
    what, rows = max(broken, key=lambda pair: np.count_nonzero(pair[1]))
    return ValueError(
        f"{np.count_nonzero(rows):,} of {n_samples:,} rows still break {what!s} "
        f"after {n_drawn:,} were drawn. Ask for fewer rows or for other conditions, "
        "train longer (max_iter), or leave the constraint out and select among rows."
    )
