"""Rows and labels in the containers that they came in."""

from collections.abc import Callable
from numbers import Real

import numpy as np
import pandas as pd
from sklearn.utils.multiclass import type_of_target

from .._table.polars import from_polars, is_polars_series, schema_of, to_polars


def take(X, places):
    if isinstance(X, pd.DataFrame):
        return X.iloc[places].reset_index(drop=True)
    return X[places]


def append(X, rows):
    """X, then `rows`, a DataFrame, in the container and with the dtypes of X."""
    if isinstance(X, pd.DataFrame):
        rows = rows.set_axis(X.columns, axis=1).astype(dict(X.dtypes))
        return pd.concat([X, rows], ignore_index=True)
    return np.concatenate([X, rows.to_numpy(dtype=X.dtype)])


def read_target(y) -> tuple[np.ndarray, Callable]:
    """One label for each row, and a function that appends others to y as it was given.

    Classes may also come as one indicator column for each of them.
    """
    if is_polars_series(y):
        y = y.to_frame()
        schema, column = schema_of(y), from_polars(y).iloc[:, 0]
        target, append_labels = read_target(column)
        return target, lambda new: to_polars(
            pd.DataFrame(append_labels(new)), schema
        ).to_series()
    target = np.asarray(y)
    missing = pd.isna(target)
    if missing.any():
        raise ValueError(
            f"y has missing values, {missing.sum()} of {missing.size}: leave these "
            "rows out"
        )
    if target.ndim == 2 and target.shape[1] > 1:
        return read_indicators(y, target)
    target = target.reshape(len(target), -1)[:, 0] if target.ndim == 2 else target
    if target.ndim != 1:
        raise ValueError(
            "y must be one column of classes or numbers, got an array of shape "
            f"{target.shape}"
        )
    if target.dtype == object and len(target) and isinstance(target[0], Real):
        target = target.astype(type(target[0]))
    return target, lambda new: extend(y, new)


def read_indicators(y, values):
    if (
        type_of_target(values) != "multilabel-indicator"
        or (values.sum(axis=1) != 1).any()
    ):
        raise ValueError(
            "Multilabel and multioutput targets are not supported. y must be one "
            "column of classes or numbers, or one indicator column for each class, "
            "with a single one in each row, got an array of shape "
            f"{values.shape}; augment for each of several targets on its own"
        )

    def append_classes(codes):
        new = np.eye(values.shape[1])[np.asarray(codes, dtype=int)]
        if isinstance(y, pd.DataFrame):
            new = pd.DataFrame(new, columns=y.columns).astype(dict(y.dtypes))
            return pd.concat([y, new], ignore_index=True)
        both = np.concatenate([values, new.astype(values.dtype)])
        return both.tolist() if isinstance(y, list) else both

    return values.argmax(axis=1), append_classes


def extend(y, labels):
    """The labels `y`, then new ones, in the container and dtype of `y`."""
    if isinstance(y, pd.DataFrame):
        column = extend(y.iloc[:, 0], labels)
        return column.to_frame(y.columns[0])
    if isinstance(y, pd.Series):
        new = pd.Series(labels).astype(y.dtype)
        return pd.concat([y, new], ignore_index=True).rename(y.name)
    if isinstance(y, list):
        return [*y, *np.asarray(labels).tolist()]
    y = np.asarray(y)
    labels = np.asarray(labels).astype(y.dtype)
    return np.concatenate([y, labels.reshape(-1, *y.shape[1:])])
