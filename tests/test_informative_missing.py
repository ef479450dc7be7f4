"""VAETransformer(sampling="any_order"): what missing values tell about others."""

import numpy as np
import pandas as pd
import pytest

from sklearn_unsup import VAETransformer


def make_table(n=1_500, share=0.6):
    """A share of the cells of two columns is missing where a number is large."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=n)
    is_missing = rng.random((2, n)) < np.where(x > 0, share, 0.05)
    X = pd.DataFrame({"x": x, "y": 2.0 * x + 0.3 * rng.normal(size=n)})
    X["kind"] = np.where(rng.random(n) < 0.5, "a", "b").astype(object)
    X.loc[is_missing[0], "y"] = np.nan
    X.loc[is_missing[1], "kind"] = None
    return X


@pytest.mark.parametrize(("share", "informative"), [(0.6, {0, 1}), (0.05, set())])
def test_only_missing_values_that_tell_something_are_modelled_so(share, informative):
    model = VAETransformer(
        2, sampling="any_order", hidden_layer_sizes=(8,), max_iter=1, random_state=0
    ).fit(make_table(share=share))
    assert {*model.net_.module__informative_missing} == informative


@pytest.mark.slow
@pytest.mark.usefixtures("all_calibration_rows")
def test_rows_of_any_order_keep_what_missing_values_tell():
    """A number and a level are missing where another number is large."""
    X = make_table()
    model = VAETransformer(
        2, sampling="any_order", hidden_layer_sizes=(16,), random_state=0
    ).fit(X)
    drawn = model.sample(8_000, random_state=0)
    for column in ("y", "kind"):
        for is_in in (pd.DataFrame.isna, pd.DataFrame.notna):
            expected = X["x"][is_in(X)[column]].mean()
            found = drawn["x"][is_in(drawn)[column]].mean()
            assert found == pytest.approx(expected, abs=0.15)
    # A number that is asked for is there, and is not what it seems to be instead.
    asked = model.sample(2_000, conditions={"y": 1.0}, random_state=0)
    expected = X["x"][(X["y"] - 1.0).abs() < 0.2].mean()
    assert asked["x"].mean() == pytest.approx(expected, abs=0.1)


@pytest.mark.slow
@pytest.mark.usefixtures("all_calibration_rows")
def test_levels_are_missing_as_often_as_in_the_table():
    """Wherever they come in the order of the columns, in each draw."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"x": rng.normal(size=2_000), "y": rng.normal(size=2_000)})
    X["kind"] = np.where(rng.random(2_000) < 0.5, "a", "b").astype(object)
    X.loc[rng.random(2_000) < np.where(X["x"] > 0, 0.6, 0.1), "kind"] = None
    X.loc[rng.random(2_000) < np.where(X["kind"].isna(), 0.7, 0.05), "y"] = np.nan
    model = VAETransformer(
        2, sampling="any_order", hidden_layer_sizes=(16,), random_state=0
    ).fit(X)
    for seed in range(4):
        drawn = model.sample(2_000, random_state=seed)
        for table in (drawn, drawn[drawn["x"] > 0], drawn[drawn["x"] < 0]):
            same = X[X["x"].between(table["x"].min(), table["x"].max())]
            expected = same["kind"].isna().mean()
            assert table["kind"].isna().mean() == pytest.approx(expected, abs=0.08)
        for is_in in (pd.Series.isna, pd.Series.notna):
            expected = X["kind"].isna()[is_in(X["y"])].mean()
            found = drawn["kind"].isna()[is_in(drawn["y"])].mean()
            assert found == pytest.approx(expected, abs=0.1)
    # A condition that a number is there says as much as its value would.
    asked = model.sample(2_000, conditions={"y": (None, None)}, random_state=0)
    expected = X["kind"].isna()[X["y"].notna()].mean()
    assert asked["kind"].isna().mean() == pytest.approx(expected, abs=0.08)
