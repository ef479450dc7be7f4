"""Validation of the tables and numbers that users pass to estimators."""

import numbers
from contextlib import contextmanager

import numpy as np
import pandas as pd
from scipy.sparse import issparse
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import validate_data

from ._sklearn import check_feature_names, check_n_features
from ._table.frames import as_container, as_frame
from ._table.passes import n_repeated
from ._warnings import warn_user

# Ratio of the probability of conditions to that of independent columns below which
# `sample` warns.
MIN_LIFT = 1e-2


def check_table(model, X, reset: bool):
    """Return X as a DataFrame, an array or a CSR matrix, with the columns of `fit`.

    If `reset`, the names and the number of the columns are stored on the model instead
    of checked.
    """
    X = as_container(X)
    if isinstance(X, pd.DataFrame):
        # First: a refused table must leave a fitted model as it was.
        refuse_empty(X, type(model).__name__)
        check_feature_names(model, X, reset=reset)
        check_n_features(model, X, reset=reset)
        return X
    return validate_data(
        model,
        X,
        reset=reset,
        dtype=None,
        accept_sparse="csr" if model._takes_sparse else False,
        ensure_all_finite=False if holds_objects(X) else "allow-nan",
    )


def warn_of_rows(X, name) -> None:
    """Warn of a new fit to one or two rows, or to rows that repeat each other."""
    if X.shape[0] > 2:
        count = 0 if issparse(X) else n_repeated(as_frame(X))
        if count:
            warn_user(
                f"{count:,} of {X.shape[0]:,} rows repeat others in all columns, "
                "so that drawn rows will repeat them, too: drop them (drop_duplicates) "
                "unless rows of the table do so by nature."
            )
        return
    rows, can_do = "two rows", "drawn numbers lie between theirs, and values are mixed"
    if X.shape[0] == 1:
        rows, can_do = "one row", "all rows that it draws or decodes are this one"
    warn_user(
        f"{name} is fitted to {rows}: {can_do}. Pass more rows to learn how they are "
        "distributed."
    )


def check_codes(model, X) -> np.ndarray:
    """Return codes as float32, shape (n_samples, n_components)."""
    codes = check_array(X, dtype=np.float32, input_name="codes")
    if codes.shape[1] != model._n_features_out:
        raise ValueError(
            f"codes have {codes.shape[1]} columns, but {type(model).__name__} was "
            f"fitted with n_components={model._n_features_out}: pass what transform "
            "returned."
        )
    # Torch warns of read-only arrays, such as that of a DataFrame.
    return np.require(codes, requirements="W")


def check_n_samples(n_samples) -> int:
    """Return the number of rows that `sample` is asked for as an int."""
    if not isinstance(n_samples, numbers.Integral) or n_samples < 1:
        raise ValueError(f"n_samples must be an int of at least 1, got {n_samples!r}.")
    return int(n_samples)


def check_seed(random_state) -> np.random.RandomState:
    """Return what a method is passed as `random_state` as a RandomState."""
    try:
        return check_random_state(random_state)
    except ValueError as error:
        raise ValueError(
            "random_state must be an int from 0 on, a RandomState or None, got "
            f"{random_state!r}: of a Generator pass int(generator.integers(2**31))."
        ) from error


def warn_of_unlikely(conditions, log_mass) -> None:
    """Warn of conditions that no training row shows could be met.

    Either no row has what is asked of one column; or each column may have it, but the
    model finds them together far less likely than if columns had nothing to do with
    each other. Of rows that are as the model draws them a share of at most `MIN_LIFT`
    is below the threshold (Markov's inequality), which is allowed for.

    Parameters
    ----------
    conditions : TableConditions
    log_mass : ndarray of shape (n,)
        Log-probability that the model gives the conditions of each row.
    """
    n = len(log_mass)
    for name, count in conditions.unseen.items():
        warn_user(
            f"conditions: {count} of {n} rows ask for a value of {name!r} that no "
            "training row has. They are drawn, but how such rows look is a guess."
        )
    if len(conditions.requests) < 2:
        return
    log_lift = log_mass - conditions.log_share
    unlikely = np.flatnonzero(np.isfinite(log_lift) & (log_lift < np.log(MIN_LIFT)))
    by_chance = n * MIN_LIFT
    if len(unlikely) > by_chance + 3 * np.sqrt(by_chance):
        least = np.exp(-max(log_lift[unlikely].min(), np.log(1e-9)))
        warn_user(
            f"conditions: {len(unlikely)} of {n} rows ask for values that hardly go "
            f"together: the model finds them up to {least:,.0f} times less likely than "
            "if these columns were independent. They are drawn, but how such rows look "
            "is a guess."
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


def check_n_draws(n_draws) -> None:
    """Raise ValueError unless a number of draws is one."""
    if not isinstance(n_draws, numbers.Integral) or n_draws < 1:
        raise ValueError(f"n_draws must be an int of at least 1, got {n_draws!r}.")
