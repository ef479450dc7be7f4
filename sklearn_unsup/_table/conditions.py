"""What users ask of drawn rows: one value per row, and errors that help to ask."""

import difflib
import reprlib
from collections.abc import Iterator
from itertools import islice

import numpy as np
import pandas as pd

# Maximum number of names that a name is compared with, as each takes some time.
MAX_COMPARED = 10_000
# Types that an error shows the value of. Others, such as tables, may be long.
SHOWN_TYPES = str, bytes, int, float, list, tuple, set, frozenset, dict, type(None)


def check_conditions(conditions) -> None:
    """Raise TypeError unless conditions are a dict."""
    if not isinstance(conditions, dict):
        raise TypeError(
            "conditions must be a dict of columns and their values, such as "
            f"{{'sex': 'Female'}}, or None, got {describe(conditions)}."
        )


def broadcast_condition(codec, value, n_samples: int) -> pd.Series:
    """One value per row from a value for all rows or a collection of that length.

    A tuple is a value if the column has it as a level.

    Parameters
    ----------
    codec : CategoricalColumn
    value : object
    n_samples : int
    """
    if _is_level(codec, value):
        values = [value] * n_samples
    elif callable(value):
        raise _not_a_request(codec, value, n_samples)
    elif not pd.api.types.is_list_like(value):
        # Numpy has arrays that hold one value and have no length.
        value = value[()] if isinstance(value, np.ndarray) else value
        values = [value] * n_samples
    else:
        is_table = len(getattr(value, "shape", ())) > 1
        if is_table or isinstance(value, dict | set | frozenset):
            raise _not_a_request(codec, value, n_samples)
        # An iterator may have no end, and is read only once.
        is_iterator = isinstance(value, Iterator)
        values = list(islice(value, n_samples + 1)) if is_iterator else list(value)
        if len(values) != n_samples:
            is_cut = is_iterator and len(values) > n_samples
            count = f"more than {n_samples}" if is_cut else len(values)
            raise ValueError(
                f"conditions: column {codec.name!r} has {count} values for "
                f"{n_samples} rows. Pass one value, or one per row."
            )
    return pd.Series(values, dtype=object)


def _is_level(codec, value):
    """Whether something that could be read as many values is a level of the column."""
    if not (isinstance(value, tuple | frozenset) or callable(value)):
        return False
    return codec.has_level(value)


def _not_a_request(codec, value, n_samples):
    return ValueError(
        f"conditions: column {codec.name!r} takes one level for all rows, or a "
        f"sequence of {n_samples}, one for each row; got {describe(value)}."
    )


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
