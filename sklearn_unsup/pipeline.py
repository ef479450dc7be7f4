"""Sampling from a whole Pipeline instead of its last step."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

__all__ = ["sample_pipeline"]


def sample_pipeline(
    pipeline, n_samples=1, *, conditions=None, random_state=None
) -> Any:
    """Draw rows from a fitted Pipeline whose last step can sample.

    The last step draws the rows; the `inverse_transform` of the steps before it carries
    them back, last first, to what the pipeline was fitted on. A mixed DataFrame needs
    no steps before an estimator of this package, which encodes its columns itself:
    this function is for pipelines that exist already, and for steps that are part of
    the model, such as a logarithm.

    Parameters
    ----------
    pipeline : Pipeline
        A fitted pipeline. Its last step has `sample`, all others (those set to
        "passthrough" or None apart) have `inverse_transform`. Steps that only resample
        while an imbalanced-learn pipeline is fitted are passed over.
    n_samples : int, default=1
        Number of rows to draw.
    conditions : dict, default=None
        What every row has to satisfy, handed on to the last step's `sample`. The
        columns are those that the last step was fitted on; after steps that return
        arrays they have lost their names, which
        ``pipeline.set_output(transform="pandas")`` before `fit` avoids.
    random_state : int, RandomState instance or None, default=None
        Handed on to the last step's `sample`: an int gives the same rows at every call,
        with None the last step decides.

    Returns
    -------
    rows : DataFrame or ndarray of shape (n_samples, n_features)
        What the first step's `inverse_transform` returns; where that is an array though
        the step was fitted on a DataFrame, a DataFrame with the names it saw in `fit`.

    Raises
    ------
    TypeError
        If `pipeline` is no Pipeline, the last step has no `sample` or one of the others
        no `inverse_transform`.
    NotFittedError
        If the last step is not fitted.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.neighbors import KernelDensity
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn_unsup.pipeline import sample_pipeline
    >>> X, _ = load_iris(return_X_y=True, as_frame=True)
    >>> model = make_pipeline(PCA(2), KernelDensity(bandwidth=0.1)).fit(X)
    >>> sample_pipeline(model, 3, random_state=0).columns[0]
    'sepal length (cm)'
    """
    if not isinstance(pipeline, Pipeline):
        raise TypeError(
            f"pipeline must be a fitted Pipeline, got a {type(pipeline).__name__}; "
            "call the `sample` of a single estimator directly"
        )
    *steps, (name, model) = pipeline.steps
    if not hasattr(model, "sample"):
        raise TypeError(
            f"the last step of the pipeline must have `sample`, but {name!r} is "
            f"{_describe(model)}; end the pipeline with an estimator such as "
            "VAETransformer"
        )
    steps = [step for step in steps if _moves_rows(*step)]
    check_is_fitted(
        model,
        msg=f"the last step of the pipeline, {name!r} (%(name)s), is not fitted; call "
        "`fit` of the pipeline before sampling from it",
    )

    # Only what was asked for: scikit-learn's KernelDensity, for one, has no conditions.
    options = {"conditions": conditions, "random_state": random_state}
    options = {key: value for key, value in options.items() if value is not None}
    rows = model.sample(n_samples, **options)
    if isinstance(rows, tuple):  # mixtures of scikit-learn return (rows, components)
        rows = rows[0]
    for _, step in reversed(steps):
        rows = _inverse(step, rows)
    return rows


def _describe(step):
    return f"'{step}'" if isinstance(step, str) else f"a {type(step).__name__}"


def _moves_rows(name, step):
    """Whether `transform` goes through the step; an error if there is no way back."""
    if step is None or step == "passthrough":
        return False
    if hasattr(step, "inverse_transform"):
        return True
    if hasattr(step, "fit_resample"):
        return False
    raise TypeError(
        f"every step before the last needs `inverse_transform` to carry rows back, "
        f"but {name!r} is {_describe(step)}, which has none; leave the step out (the "
        "estimators of this package take mixed DataFrames as they are) or replace it "
        "by one that can be inverted"
    )


def _inverse(step, rows):
    """Rows before a step, in the kind of container that its `fit` was given."""
    names = getattr(step, "feature_names_in_", None)
    if isinstance(rows, np.ndarray):
        if names is not None and hasattr(step, "get_feature_names_out"):
            # Some steps warn about rows without the names that they know.
            rows = pd.DataFrame(rows, columns=step.get_feature_names_out())
    elif names is None and hasattr(step, "n_features_in_"):
        # ... and others about names, though they were fitted on an array.
        rows = np.asarray(rows)
    rows = step.inverse_transform(rows)
    if names is None:
        return rows
    if isinstance(rows, np.ndarray):
        return pd.DataFrame(rows, columns=names)
    if isinstance(rows, pd.DataFrame) and isinstance(rows.columns, pd.RangeIndex):
        # Older steps of scikit-learn compute with a frame and lose its names.
        rows = rows.set_axis(names, axis=1)
    return rows
