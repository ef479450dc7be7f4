"""constraints="auto": what all training rows meet, drawn rows meet, too."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils import get_tags

from sklearn_unsup import AutoencoderTransformer, GANSampler, VAETransformer
from sklearn_unsup._table.constrained import ConstrainedCodec
from sklearn_unsup._table.discovery import sure_constraints
from sklearn_unsup.constraints import FixedCombinations, Inequality, Linear
from sklearn_unsup.impute import GenerativeImputer
from sklearn_unsup.metrics import synthesis_report
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
    X["high"] = (X["low"] + rng.integers(0, 5, n) / 4).round(2)
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


@pytest.mark.parametrize("how", ["sparse", "image"])
def test_sparse_rows_and_images_have_no_laws(how):
    table = np.random.default_rng(0).integers(0, 3, (60, 16)).astype(float)
    table[:, 1] = table[:, 0]
    model = VAETransformer(2, max_iter=2, constraints="auto")
    if how == "sparse":
        table = csr_array(table)
    else:
        model.set_params(image_shape=(4, 4))
    assert model.fit(table).constraints_ == []
    assert get_tags(model).input_tags.sparse


def test_a_table_without_laws_is_encoded_as_ever():
    table = X[["net", "tax", "city"]]
    model = VAETransformer(2, max_iter=2, random_state=0)
    found = clone(model).set_params(constraints="auto").fit(table)
    assert found.constraints_ == []
    assert not isinstance(found.codec_, ConstrainedCodec)
    np.testing.assert_array_equal(found.transform(table), model.fit_transform(table))


def laws_of(table, max_levels=1_000):
    return sure_constraints(table, np.zeros(table.shape[1], dtype=bool), max_levels)


def dates_of(table):
    """The numbers as days after one."""
    days = table.apply(lambda column: pd.to_timedelta(column, "D"))
    return days + pd.Timestamp("2020-01-01")


def test_what_may_be_chance_is_not_taken():
    """An order of two columns that chance would leave unbroken once in 10^6 tables."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.integers(0, 11, 2_000), "b": 10})
    table.loc[:13, "b"] = np.arange(14) % 10
    table.loc[:13, "a"] = 0
    assert laws_of(dates_of(table)) == []
    table.loc[:200, "b"], table.loc[:200, "a"] = 5, 2
    assert laws_of(dates_of(table)) == [Inequality("a", "b")]


def test_orders_of_numbers_are_taken_where_their_gap_has_few_values():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"low": rng.normal(size=500).round(2)})
    table["high"] = table["low"] + rng.integers(0, 9, 500)
    assert laws_of(table) == [Inequality("low", "high")]
    table["high"] = table["low"] + rng.exponential(size=500)
    assert laws_of(table) == []
    assert laws_of(dates_of(table)) == [Inequality("low", "high")]


def test_a_sum_is_more_exact_than_what_its_terms_vary_by():
    """Seconds of 55 years, and ends half a second later: no constant difference."""
    rng = np.random.default_rng(0)
    start = 1.7e9 + rng.uniform(0, 3e7, 500)
    end = start + rng.uniform(0.05, 1, 500)
    assert laws_of(pd.DataFrame({"start": start, "end": end})) == []
    parts = pd.DataFrame(rng.integers(0, 1_000, (500, 2)) / 100, columns=["a", "b"])
    for dtype in ("float64", "float32"):
        table = parts.astype(dtype)
        table["total"] = table["a"] + table["b"]
        assert laws_of(table) == [Linear({"a": 1, "b": 1, "total": -1})]


def test_combinations_are_few_and_without_gaps():
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 9, 400)
    table = pd.DataFrame({"kind": np.array(list("abcdefghi"))[kind], "group": kind % 4})
    law = FixedCombinations(["kind", "group"])
    assert laws_of(table, 9) == [law]
    assert laws_of(table, 8) == []
    table["group"] = table["group"].where(table["group"] != 2)
    assert laws_of(table) == []
    holed = table.assign(x=rng.normal(size=400))
    model = VAETransformer(2, max_iter=2, constraints="auto", random_state=0)
    assert not GenerativeImputer(model).fit_transform(holed).isna().any(axis=None)


def test_orders_that_go_round_in_a_circle_do_not_end_a_fit():
    """Each pair of columns is there in a third of the rows, and in order."""
    rng = np.random.default_rng(0)
    low, high = rng.normal(size=(2, 300))
    high = low + np.abs(high)
    table = pd.DataFrame(np.full((300, 3), np.nan), columns=list("abc"))
    for i, (first, second) in enumerate(("ab", "bc", "ca")):
        rows = slice(100 * i, 100 * i + 99)
        table.loc[rows, first], table.loc[rows, second] = low[:100], high[:100]
    laws = laws_of(dates_of(table))
    assert len(laws) == 2
    assert {type(law) for law in laws} == {Inequality}


def test_units_that_need_more_than_64_bits_do_not_end_a_fit():
    rng = np.random.default_rng(0)
    seconds = rng.integers(0, 15_000_000_000, 300).astype("m8[s]")
    born = pd.Series(np.datetime64("1500-01-01", "s") + seconds)
    lap = pd.Series(rng.integers(10**9, 10**10, 300).astype("m8[ns]"))
    table = pd.DataFrame({"born": born, "died": born + seconds[::-1], "lap": lap})
    table["total"] = lap + lap[::-1].to_numpy()
    assert laws_of(table) == [Inequality("born", "died")]


def test_tables_of_many_columns_are_not_searched(monkeypatch):
    monkeypatch.setattr("sklearn_unsup._table.discovery.MAX_SEARCHED_COLUMNS", 7)
    assert laws_of(X) == []
    assert laws_of(X.drop(columns="same")) == LAWS


def test_columns_that_are_categories_have_no_sums_or_order():
    found = fitted(categorical_features=["city", "land", "tax"]).constraints_
    assert not any("tax" in constraint.columns for constraint in found)
    assert {FixedCombinations, Inequality} == {type(c) for c in found}


def broken_rows():
    """Rows that break each of the laws, and what is read of them."""
    later = X[:4].copy()
    later.loc[0, "total"] = 500
    later.loc[1, ["city", "land"]] = "Rome", "no"
    later.loc[2, "high"] = later.loc[2, "low"] - 1
    met = later.assign(total=later["net"] + later["tax"])
    met.loc[1, ["city", "land"]] = "Rome", "it"
    return later, met


def test_later_rows_that_break_one_are_told_and_read():
    """The sum's parts are read, and of a new combination the most frequent one."""
    model = fitted()
    later, met = broken_rows()
    with (
        pytest.warns(UserWarning, match=r"1 of 4 rows break Linear.*first at row 0"),
        pytest.warns(UserWarning, match=r"1 of 4 rows break Fixed.*first at row 1"),
        pytest.warns(UserWarning, match=r"1 of 4 rows break Ineq.*first at row 2"),
    ):
        codes = model.transform(later)
    met = met.drop(index=2)
    np.testing.assert_array_equal(codes[[0, 1, 3]], model.transform(met))
    with pytest.raises(ValueError, match="1 of 4 rows breaks Linear"):
        fitted("error").score_samples(later)
    ignoring = fitted("ignore")
    scores = ignoring.score_samples(later)
    np.testing.assert_array_equal(scores[[0, 1, 3]], ignoring.score_samples(met))
    assert scores[2] < ignoring.score_samples(X).min()  # a gap below any in training


@pytest.mark.filterwarnings("ignore:.*rows break")
def test_missing_cells_of_later_rows_that_break_one_are_filled():
    model = fitted()
    later, _ = broken_rows()
    later["net"] = later["net"].astype(float)
    later.loc[1, ["net", "total"]] = np.nan
    later.loc[2, "tax"] = np.nan
    filled = model.impute(later)
    assert not filled.isna().any(axis=None)
    seen = later.notna().to_numpy()
    np.testing.assert_array_equal(filled.to_numpy()[seen], later.to_numpy()[seen])


def test_a_warm_start_does_not_learn_what_breaks_one():
    model = fitted(warm_start=True)
    with pytest.raises(ValueError, match="constraints='auto': pass None, or a list"):
        model.fit(X.assign(total=0))


def test_a_report_asks_for_the_list_that_was_found():
    with pytest.raises(TypeError, match="its constraints_"):
        synthesis_report(X, X, constraints="auto")
    report = synthesis_report(X, X.assign(total=0), constraints=fitted().constraints_)
    assert any("Broken constraint" in warning for warning in report.warnings)


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
