"""Validation of the tables that users pass to estimators."""

from contextlib import contextmanager

import numpy as np
import pandas as pd
from sklearn.utils.validation import validate_data

from ._sklearn import check_feature_names, check_n_features
from ._table.frames import as_container


def check_table(model, X, reset: bool):
    """Return X as a DataFrame, an array or a CSR matrix, with the columns of `fit`.

    If `reset`, the names and the number of the columns are stored on the model instead
    of checked.
    """
    X = as_container(X)
    if isinstance(X, pd.DataFrame):
        check_feature_names(model, X, reset=reset)
        check_n_features(model, X, reset=reset)
        refuse_empty(X, type(model).__name__)
        return X
    return validate_data(
        model,
        X,
        reset=reset,
        dtype=None,
        accept_sparse="csr" if model._takes_sparse else False,
        ensure_all_finite=False if holds_objects(X) else "allow-nan",
    )


def refuse_empty(X: pd.DataFrame, name: str) -> None:
    """Raise scikit-learn's error if a DataFrame has no rows or no columns."""
    if 0 in X.shape:
        raise ValueError(
            f"Found array with {X.shape[0]} sample(s) and {X.shape[1]} feature(s) "
            f"while a minimum of 1 is required by {name}."
        )


def holds_objects(X) -> bool:
    """Whether an array-like has strings or other objects among its values."""
    return np.asarray(X).dtype.kind in "OUS" if not hasattr(X, "tocsr") else False


@contextmanager
def explained_warm_start(is_warm_start):
    """Explain in errors about a table why a fit with `warm_start` is more strict."""
    try:
        yield
    except ValueError as error:
        if not is_warm_start:
            raise
        raise ValueError(
            f"{error}\nWith warm_start=True `fit` goes on with the columns and levels "
            "of the first fit; pass warm_start=False to start anew on this table."
        ) from error
