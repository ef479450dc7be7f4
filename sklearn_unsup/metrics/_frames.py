"""Tables that are compared with each other -> float matrices of the same meaning."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype

from .._table.frames import as_frame
from .._table.kinds import column_kind
from .._table.plain import to_floats
from .._table.polars import is_polars


@dataclass(frozen=True)
class Columns:
    """What the columns of encoded tables mean.

    Attributes
    ----------
    names : list
    categorical : ndarray of bool, one for each column
    levels : list
        Of a category its levels by code, the most frequent first; else None.
    """

    names: list
    categorical: np.ndarray
    levels: list

    def take(self, positions):
        return Columns(
            [self.names[i] for i in positions],
            self.categorical[positions],
            [self.levels[i] for i in positions],
        )


def encode_tables(**tables):
    """Validated tables as float64 matrices (n_rows, n_columns), and their `Columns`.

    Dates and durations count in days. Categories are codes that all tables share.
    Missing values are NaN everywhere. The first table rules: the others must have its
    columns, in any order, and every column is read as the kind that it has there.
    """
    # An array has no names of its own: it takes those of a DataFrame beside it.
    return encode_frames(check_tables(**tables))


def check_tables(**tables) -> dict:
    """Validated tables as DataFrames with the columns of the first that has names."""
    named = [
        key
        for key, table in tables.items()
        if isinstance(table, pd.DataFrame) or is_polars(table)
    ]
    frames = {key: check_frame(key, table) for key, table in tables.items()}
    return check_columns(frames, named)


def encode_frames(frames):
    """What `encode_tables` returns, of tables that `check_tables` returned."""
    names = list(next(iter(frames.values())).columns)
    ends = np.cumsum([len(frame) for frame in frames.values()])
    matrix, categorical, levels = np.empty((ends[-1], len(names))), [], []
    for position, name in enumerate(names):
        parts = {key: frame[name] for key, frame in frames.items()}
        kind = check_kinds(name, parts)
        categorical.append(kind == "category")
        levels.append(None)
        if kind == "category":
            matrix[:, position], levels[-1] = share_codes(parts.values())
        else:
            values = [as_floats(part) for part in parts.values()]
            matrix[:, position] = np.concatenate(values)
            check_finite(name, parts, values)
    columns = Columns(names, np.array(categorical), levels)
    return (*np.split(matrix, ends[:-1]), columns)


def check_frame(key, table):
    table = as_frame(table, key)
    if 0 in table.shape:
        raise ValueError(
            f"{key} must have at least one row and one column, got shape {table.shape}"
        )
    if not table.columns.is_unique:
        twice = table.columns[table.columns.duplicated()][0]
        raise ValueError(
            f"{key} has more than one column with the name {twice!r}: each must have "
            "its own"
        )
    return table


def check_columns(frames, named):
    """The frames, all with the columns of the first of those in `named`."""
    first = named[0] if named else next(iter(frames))
    expected = frames[first].columns
    checked = {}
    for key, frame in frames.items():
        if key not in named:
            if frame.shape[1] != len(expected):
                raise ValueError(
                    f"{key} must have as many columns as {first}, {len(expected)}, got "
                    f"{frame.shape[1]}"
                )
            checked[key] = frame.set_axis(expected, axis="columns")
            continue
        lacking = [name for name in expected if name not in frame.columns]
        extra = [name for name in frame.columns if name not in expected]
        if lacking or extra:
            parts = [f"it lacks {lacking}"] if lacking else []
            parts += [f"{first} does not have its {extra}"] if extra else []
            raise ValueError(
                f"{key} must have the same columns as {first}: {', and '.join(parts)}"
            )
        checked[key] = frame
    return checked


def check_kinds(name, parts):
    """The kind of a column in the first table that says something of it."""
    kinds = {key: column_kind(part) for key, part in parts.items()}
    told = {key: kind for key, kind in kinds.items() if kind != "empty"}
    first, kind = next(iter(told.items()), (None, "number"))
    for key, other in told.items():
        flags = kind == "number" and is_bool_dtype(parts[key].dtype)
        if kind not in ("category", other) and not flags:
            raise ValueError(
                f"column {name!r} is a {kind} in {first}, but {key} has dtype "
                f"{parts[key].dtype} there. Convert it to the dtype of {first}."
            )
    return kind


def as_floats(column):
    """Numbers of a column; one without values may have any dtype."""
    return np.full(len(column), np.nan) if column.isna().all() else to_floats(column)


def check_finite(name, parts, values):
    for key, numbers in zip(parts, values, strict=True):
        if np.isinf(numbers).any():
            raise ValueError(
                f"column {name!r} of {key} holds infinite numbers; replace them by "
                "missing values or finite ones"
            )


def share_codes(parts):
    """Codes of a category over several tables, and the levels that they stand for."""
    values = pd.concat([part.astype(object) for part in parts], ignore_index=True)
    codes, levels = pd.factorize(values)
    counts = np.bincount(codes[codes >= 0], minlength=len(levels))
    by_frequency = np.argsort(-counts, kind="stable")
    place = np.append(by_frequency.argsort().astype(np.float64), np.nan)
    return place[codes], [levels[i] for i in by_frequency]


def join_codes(*columns):
    """Number the distinct rows of integer or float arrays (n_rows,); NaN equals NaN."""
    joint = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        codes, values = pd.factorize(column, use_na_sentinel=False)
        joint = pd.factorize(joint * len(values) + codes)[0]
    return joint
