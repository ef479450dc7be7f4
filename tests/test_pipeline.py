"""sample_pipeline, with a tiny sampler in the place of the networks."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    Normalizer,
    PowerTransformer,
    QuantileTransformer,
    StandardScaler,
)

from sklearn_unsup.pipeline import sample_pipeline


class Bootstrap(BaseEstimator):
    """Samples by drawing training rows: what comes back must be one of them."""

    def fit(self, X, y=None):
        self.rows_ = X
        return self

    def transform(self, X):
        return X

    def sample(self, n_samples=1, *, conditions=None, random_state=None):
        rows = pd.DataFrame(self.rows_)
        for column, value in (conditions or {}).items():
            rows = rows[np.isclose(rows[column], value)]
        rows = rows.sample(n_samples, replace=True, random_state=random_state)
        frame = rows.reset_index(drop=True)
        return frame if isinstance(self.rows_, pd.DataFrame) else frame.to_numpy()


@pytest.fixture
def iris():
    return load_iris(as_frame=True).data


def assert_rows_of(rows, X):
    """Each of `rows` is, up to rounding, a row of `X`."""
    gaps = np.abs(np.asarray(rows)[:, None] - np.asarray(X)[None]).max(axis=2)
    assert gaps.min(axis=1).max() < 1e-6


STEPS = {
    "none": [],
    "standard": [StandardScaler()],
    "minmax, standard": [MinMaxScaler(), StandardScaler()],
    "power": [PowerTransformer()],
    "quantile, standard": [QuantileTransformer(n_quantiles=150), StandardScaler()],
    "standard, quantile": [StandardScaler(), QuantileTransformer(n_quantiles=150)],
    "pca": [StandardScaler(), PCA()],
    "log": [FunctionTransformer(np.log1p, np.expm1, feature_names_out="one-to-one")],
    "passthrough": ["passthrough", StandardScaler(), None],
}


@pytest.mark.parametrize("output", ["default", "pandas"])
@pytest.mark.parametrize("container", ["frame", "array"])
@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_rows_come_back(iris, steps, container, output):
    X = iris if container == "frame" else iris.to_numpy()
    pipeline = make_pipeline(*steps, Bootstrap())
    scalers = Pipeline(pipeline.steps[:-1] or [("same", "passthrough")])
    scalers.set_output(transform=output)
    rows = sample_pipeline(pipeline.fit(X), 20, random_state=0)
    assert_rows_of(rows, X)
    if container == "frame":
        assert isinstance(rows, pd.DataFrame)
        assert list(rows.columns) == list(X.columns)
    else:
        assert np.asarray(rows).shape == (20, X.shape[1])


def test_a_pipeline_of_scikit_learn_has_no_sample(iris):
    """Its error is scikit-learn's own; the function takes the same pipeline."""
    pipeline = make_pipeline(StandardScaler(), Bootstrap()).fit(iris)
    with pytest.raises(AttributeError, match="'Pipeline' object has no .*'sample'"):
        pipeline.sample(3)
    assert_rows_of(sample_pipeline(pipeline, 3, random_state=0), iris)


def test_one_row_by_default(iris):
    pipeline = make_pipeline(StandardScaler(), Bootstrap()).fit(iris)
    assert sample_pipeline(pipeline).shape == (1, 4)


def test_random_state_is_handed_on(iris):
    pipeline = make_pipeline(StandardScaler(), Bootstrap()).fit(iris)
    first, again, other = (
        sample_pipeline(pipeline, 10, random_state=seed) for seed in (0, 0, 1)
    )
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)


def test_conditions_are_handed_on(iris):
    scaler = StandardScaler().set_output(transform="pandas")
    pipeline = make_pipeline(scaler, Bootstrap()).fit(iris)
    column = "petal width (cm)"
    value = scaler.transform(iris)[column][0]
    rows = sample_pipeline(pipeline, 10, conditions={column: value}, random_state=0)
    np.testing.assert_allclose(rows[column], iris[column][0])


@pytest.mark.parametrize("density", [KernelDensity(bandwidth=0.1), GaussianMixture()])
def test_densities_of_scikit_learn(iris, density):
    pipeline = make_pipeline(StandardScaler(), density).fit(iris)
    rows = sample_pipeline(pipeline, 1000)
    error = np.abs(rows.mean() - iris.mean()) / iris.std()
    assert error.max() < 5 * np.sqrt(1 / 1000 + 1 / 150)


def test_resampling_steps_are_passed_over(iris):
    pytest.importorskip("imblearn", reason="needs the extra imbalanced")
    from imblearn.over_sampling import RandomOverSampler
    from imblearn.pipeline import make_pipeline

    y = np.arange(len(iris)) < 30
    pipeline = make_pipeline(StandardScaler(), RandomOverSampler(), Bootstrap())
    assert_rows_of(sample_pipeline(pipeline.fit(iris, y), 20, random_state=0), iris)


ERRORS = {
    "no pipeline": (
        lambda X: Bootstrap().fit(X),
        TypeError,
        "pipeline must be a fitted Pipeline, got a Bootstrap",
    ),
    "no sample": (
        lambda X: make_pipeline(StandardScaler(), LogisticRegression()),
        TypeError,
        "last step .* must have `sample`, but 'logisticregression' is a Logistic",
    ),
    "passthrough last": (
        lambda X: make_pipeline(StandardScaler(), "passthrough"),
        TypeError,
        "must have `sample`, but 'passthrough' is 'passthrough'",
    ),
    "no inverse": (
        lambda X: make_pipeline(StandardScaler(), Normalizer(), Bootstrap()).fit(X),
        TypeError,
        "but 'normalizer' is a Normalizer, which has none",
    ),
    "column transformer": (
        lambda X: make_pipeline(
            ColumnTransformer([("all", StandardScaler(), [0, 1])]), Bootstrap()
        ).fit(X),
        TypeError,
        "but 'columntransformer' is a ColumnTransformer, which has none",
    ),
    "not fitted": (
        lambda X: make_pipeline(StandardScaler(), Bootstrap()),
        NotFittedError,
        r"'bootstrap' \(Bootstrap\), is not fitted; call `fit`",
    ),
}


@pytest.mark.parametrize(("make", "error", "message"), ERRORS.values(), ids=ERRORS)
def test_errors(iris, make, error, message):
    with pytest.raises(error, match=message):
        sample_pipeline(make(iris))
