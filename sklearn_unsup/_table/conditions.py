"""Requests of users: their form, and errors that help to ask."""

import difflib
import reprlib
from collections.abc import Iterator
from itertools import islice

import pandas as pd

# Maximum number of names that a name is compared with, as each takes some time.
MAX_COMPARED = 10_000
# Types that an error shows the value of. Others, such as tables, may be long.
SHOWN_TYPES = str, bytes, int, float, list, tuple, set, frozenset, dict, type(None)


def check_conditions(conditions) -> None:
    """Raise unless conditions are a dict, or a DataFrame of different columns."""
    if not isinstance(conditions, dict | pd.DataFrame):
        raise TypeError(
            "conditions must be a dict of columns and what is asked of them, such as "
            "{'sex': 'Female', 'age': (60, 65)}, a DataFrame of partial rows, or None, "
            f"got {describe(conditions)}."
        )
    if isinstance(conditions, pd.DataFrame) and not conditions.columns.is_unique:
        twice = conditions.columns[conditions.columns.duplicated()][0]
        raise ValueError(
            f"conditions: the DataFrame has several columns of the name {twice!r}. "
            "Keep one of them."
        )


def one_per_row(name, value, n_rows: int, what: str) -> list:
    """Cells of a sequence that asks something of each row.

    Parameters
    ----------
    name : hashable
        Of the column.
    value : object
    n_rows : int
    what : str
        What the column takes for all rows, for an error.

    Raises
    ------
    ValueError
        If it is no sequence, or of another length.
    """
    is_table = len(getattr(value, "shape", ())) > 1
    is_sequence = pd.api.types.is_list_like(value) and not callable(value)
    if is_table or not is_sequence or isinstance(value, dict | set | frozenset):
        raise ValueError(
            f"conditions: column {name!r} takes {what}, or a sequence of {n_rows}, one "
            f"for each row; got {describe(value)}."
        )
    # An iterator may have no end, and is read only once.
    is_iterator = isinstance(value, Iterator)
    cells = list(islice(value, n_rows + 1)) if is_iterator else list(value)
    if len(cells) != n_rows:
        is_cut = is_iterator and len(cells) > n_rows
        count = f"more than {n_rows}" if is_cut else len(cells)
        raise ValueError(
            f"conditions: column {name!r} has {count} values for {n_rows} rows. Pass "
            f"{what}, or one value per row."
        )
    return cells


def describe(value) -> str:
    """A value in a few words: itself if it is short, else its type."""
    if isinstance(value, SHOWN_TYPES):
        return reprlib.repr(value)
    return f"an object of type {type(value).__name__}"


def did_you_mean(asked, known) -> str:
    """End of a sentence that asks for the most similar of the known names.

    Names are compared as text, without regard to case. Without a similar one it is a
    full stop.
    """
    by_text = {}
    for name in islice(known, MAX_COMPARED):
        by_text.setdefault(str(name).lower(), name)
    near = difflib.get_close_matches(str(asked).lower(), by_text, n=1)
    return f"; did you mean {by_text[near[0]]!r}?" if near else "."
