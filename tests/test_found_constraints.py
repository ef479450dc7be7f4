"""constraints="auto": what all training rows meet, drawn rows meet, too."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from sklearn_unsup import AutoencoderTransformer, GANSampler, VAETransformer
from sklearn_unsup._table.constrained import ConstrainedCodec
from sklearn_unsup._table.discovery import sure_constraints
from sklearn_unsup.constraints import FixedCombinations, Inequality, Linear
from sklearn_unsup.impute import GenerativeImputer
from sklearn_unsup.privacy import Budget

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
CITIES, LANDS = np.array(["Rome", "Oslo", "Bergen"]), np.array(["it", "no", "no"])
LAWS = [
    Linear({"net": 1, "tax": 1, "total": -1}),
    FixedCombinations(["city", "land"]),
    Inequality("low", "high"),
]


def make_table(n=400, random_state=0):
    rng = np.random.default_rng(random_state)
    place = rng.choice(3, n, p=[0.6, 0.3, 0.1])
    X = pd.DataFrame({"net": rng.integers(0, 90, n), "tax": rng.integers(0, 30, n)})
    X["total"] = X["net"] + X["tax"]
    X["city"], X["land"] = CITIES[place], LANDS[place]
    X["low"] = rng.normal(size=n).round(2)
    X["high"] = (X["low"] + rng.exponential(0.5, n)).round(2)
    X["same"] = 7
    return X


X = make_table()


def fitted(handle_unknown="warn", **parameters):
    model = VAETransformer(
        2,
        max_iter=2,
        constraints="auto",
        handle_unknown=handle_unknown,
        random_state=0,
        **parameters,
    )
    return model.fit(X)


@pytest.mark.parametrize(
    "model",
    [
        VAETransformer(2, max_iter=2),
        AutoencoderTransformer(2, max_iter=2),
        GANSampler(2, max_iter=2, density_ratio=None),
    ],
)
def test_drawn_rows_meet_what_was_found(model):
    model.set_params(constraints="auto", random_state=0).fit(X)
    assert model.constraints_ == LAWS  # and no Range of the constant
    drawn = model.sample(500, random_state=0)
    assert (drawn["net"] + drawn["tax"] == drawn["total"]).all()
    assert (drawn["low"] <= drawn["high"]).all()
    known = X.groupby(["city", "land"]).size().index
    assert drawn.set_index(["city", "land"]).index.isin(known).all()


def test_constraints_that_were_given_are_told():
    assert VAETransformer(2, max_iter=1).fit(X).constraints_ == []
    given = VAETransformer(2, max_iter=1, constraints=LAWS[2:]).fit(X)
    assert given.constraints_ == LAWS[2:]


def test_a_table_without_laws_is_encoded_as_ever():
    table = X[["net", "tax", "city"]]
    model = VAETransformer(2, max_iter=2, random_state=0)
    found = clone(model).set_params(constraints="auto").fit(table)
    assert found.constraints_ == []
    assert not isinstance(found.codec_, ConstrainedCodec)
    np.testing.assert_array_equal(found.transform(table), model.fit_transform(table))


def test_what_may_be_chance_is_not_taken():
    """An order of two columns that chance would leave unbroken once in 10^6 tables."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.integers(0, 11, 2_000), "b": 10})
    table.loc[:13, "b"] = np.arange(14) % 10
    table.loc[:13, "a"] = 0
    none = np.zeros(2, dtype=bool)
    assert sure_constraints(table, none) == []
    table.loc[:200, "b"], table.loc[:200, "a"] = 5, 2
    assert sure_constraints(table, none) == [Inequality("a", "b")]


def test_columns_that_are_categories_have_no_sums_or_order():
    found = fitted(categorical_features=["city", "land", "tax"]).constraints_
    assert not any("tax" in constraint.columns for constraint in found)
    assert {FixedCombinations, Inequality} == {type(c) for c in found}


def test_later_rows_that_break_one_are_told_and_read():
    """The sum's parts are read, and of a new combination the most frequent one."""
    model = fitted()
    later = X[:3].copy()
    later.loc[0, "total"] = 500
    later.loc[1, ["city", "land"]] = "Rome", "no"
    met = later.assign(total=later["net"] + later["tax"])
    met.loc[1, ["city", "land"]] = "Rome", "it"
    with (
        pytest.warns(UserWarning, match=r"1 of 3 rows break Linear.*first at row 0"),
        pytest.warns(UserWarning, match=r"1 of 3 rows break Fixed.*first at row 1"),
    ):
        codes = model.transform(later)
    np.testing.assert_array_equal(codes, model.transform(met))
    with pytest.raises(ValueError, match="1 of 3 rows breaks? Linear"):
        fitted("error").score_samples(later)
    ignoring = fitted("ignore")
    np.testing.assert_array_equal(
        ignoring.score_samples(later), ignoring.score_samples(met)
    )


def test_streams_and_budgets_need_a_list():
    model = VAETransformer(2, max_iter=1, constraints="auto")
    with pytest.raises(ValueError, match="later rows of partial_fit may break it"):
        model.partial_fit(X)
    with pytest.raises(ValueError, match="reads the rows without noise"):
        model.set_params(privacy=Budget()).fit(X)


def test_a_grid_search_tries_with_and_without():
    grid = {"constraints": [None, "auto"]}
    search = GridSearchCV(VAETransformer(2, max_iter=2), grid, cv=2).fit(X)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_holes_are_filled_as_what_was_found_says():
    holed = X.copy()
    holed.loc[:50, "total"] = np.nan
    model = VAETransformer(2, max_iter=2, constraints="auto", random_state=0)
    filled = GenerativeImputer(model).fit_transform(holed)
    filled = pd.DataFrame(filled, columns=X.columns)
    assert (filled["net"] + filled["tax"] == filled["total"]).all()
