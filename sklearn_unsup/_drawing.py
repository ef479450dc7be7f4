"""draw_table: decodes drawn rows, and draws those that break a constraint again."""

from dataclasses import replace

import numpy as np
import pandas as pd

from ._table.constrained import ConstrainedCodec
from ._validation import warn_of_unlikely

# Number of other rows among which the nearest one is looked for.
N_CANDIDATES = 10
# Number of times that rows which break a law are drawn again, without and with
# conditions, under which draws take longer and may all break it.
LAW_ROUNDS, ASKED_LAW_ROUNDS = 5, 1
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
        table = codec.decode(x_num, x_cat, rng, asked.requests)
        return table if codec.laws_ is None else lawful(draw, codec, table, asked, rng)
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
        if names:
            # Each row may ask for something else: as often as that makes enough rows.
            index = np.repeat(rows, max(1, MIN_DRAWS // len(rows)))
            again = conditions_at(asked, index)
        else:
            # As many as should hold enough good ones, by the share of them so far.
            share = (n_samples - len(rows) + 1) / n_drawn
            n_more = int(min(MIN_DRAWS + len(rows) / share, limit))
            index, again = None, codec.encode_conditions(None, n_more)
        more = codec.decode(*draw(again.encoded)[:2], rng, again.requests)
        n_drawn += len(more)
        good = np.flatnonzero(~union(find_broken(codec, more, again), len(more)))
        if names:
            rows, first = np.unique(index[good], return_index=True)
            good = good[first]
        table = with_rows(table, rows[: len(good)], more, good[: len(rows)])


def lawful(draw, codec, table, asked, rng):
    """A drawn table whose rows are made to meet the codec's laws.

    Rows whose sum would be out of its range are drawn again, and at last the parts of
    those that still are moved.
    """
    table, is_broken = codec.with_laws(table, asked.requests)
    for _ in range(ASKED_LAW_ROUNDS if asked.requests else LAW_ROUNDS):
        rows = np.flatnonzero(is_broken)
        if not len(rows):
            return table
        index = np.repeat(rows, max(2, MIN_DRAWS // len(rows)))
        again = conditions_at(asked, index)
        more = codec.decode(*draw(again.encoded)[:2], rng, again.requests)
        more, more_broken = codec.with_laws(more, again.requests)
        good = np.flatnonzero(~more_broken)
        if asked.requests:
            rows, first = np.unique(index[good], return_index=True)
            good = good[first]
        rows, good = rows[: len(good)], good[: len(rows)]
        table = with_rows(table, rows, more, good)
        is_broken[rows] = False
    return codec.with_laws(table, asked.requests, moves_others=True)[0]


def nearest_rows(draw, codec, asked, x_num, x_cat):
    """Rows that are near to what is asked of columns that constraints determine.

    No network can be asked for them. Of several rows the nearest is taken, which
    decoding then moves to what is asked.
    """
    if not any(i in asked.requests for i in codec.constraints_.determined):
        return x_num, x_cat
    distances = codec.distances(x_num, x_cat, asked.requests)
    n_candidates = 0
    while n_candidates < N_CANDIDATES and distances.any():
        rows = np.flatnonzero(distances)
        # A network takes as long for one row as for some hundred.
        repeats = min(N_CANDIDATES, max(1, MIN_DRAWS // len(rows)))
        n_candidates += repeats
        index = np.repeat(rows, repeats)
        candidates = conditions_at(asked, index)
        other_num, other_cat, _ = draw(candidates.encoded)
        others = codec.distances(other_num, other_cat, candidates.requests)
        best = others.reshape(-1, repeats).argmin(axis=1)
        best += np.arange(len(rows)) * repeats
        best = best[others[best] < distances[rows]]
        rows = index[best]
        x_num[rows], x_cat[rows] = other_num[best], other_cat[best]
        distances[rows] = others[best]
    return x_num, x_cat


def conditions_at(asked, index):
    """The conditions of some rows, in the order of an index, which may repeat them."""
    requests = {}
    for column, of_rows in asked.requests.items():
        parts = vars(of_rows).items()
        chosen = {name: a[index] for name, a in parts if isinstance(a, np.ndarray)}
        requests[column] = replace(of_rows, **chosen)
    return replace(asked, encoded=asked.encoded.take(index), requests=requests)


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
