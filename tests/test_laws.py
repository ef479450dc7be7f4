"""constraints="auto": drawn rows meet the laws that all training rows meet."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.utils import get_tags

from sklearn_unsup import AutoencoderTransformer, GANSampler, VAETransformer
from sklearn_unsup._table.codec import TableCodec
from sklearn_unsup._table.discovery import find_laws
from sklearn_unsup._table.laws import Laws
from sklearn_unsup.constraints import FixedCombinations, Inequality, Linear
from sklearn_unsup.metrics import synthesis_report

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
CITIES, LANDS = np.array(["Rome", "Oslo", "Bergen"]), np.array(["it", "no", "no"])
SUM = Linear({"net": 1, "tax": 1, "total": -1})
DEPENDENCE = FixedCombinations(["city", "land"])


def make_table(n=400, random_state=0):
    rng = np.random.default_rng(random_state)
    place = rng.choice(3, n, p=[0.6, 0.3, 0.1])
    X = pd.DataFrame({"net": rng.integers(0, 90, n), "tax": rng.integers(0, 30, n)})
    X["total"] = X["net"] + X["tax"]
    X["city"], X["land"] = CITIES[place], LANDS[place]
    X["low"] = rng.normal(size=n).round(2)
    X["high"] = X["low"] + rng.integers(0, 5, n)
    X["same"] = 7
    return X


X = make_table()


def fitted(**parameters):
    return VAETransformer(2, max_iter=2, random_state=0, **parameters).fit(X)


@pytest.fixture(scope="module")
def model():
    return fitted()


def land_of(cities):
    return dict(zip(CITIES, LANDS, strict=True))[cities]


def laws_of(table):
    return find_laws(table, np.zeros(table.shape[1], dtype=bool))


# ------------------------------------------------------------------------ drawn rows


@pytest.mark.parametrize(
    "model",
    [
        VAETransformer(2, max_iter=2),
        VAETransformer(2, max_iter=2, sampling="latent", density_ratio=None),
        AutoencoderTransformer(2, max_iter=2),
        GANSampler(2, max_iter=2, density_ratio=None),
    ],
)
def test_drawn_rows_meet_what_all_training_rows_met(model):
    model.set_params(random_state=0).fit(X)
    assert model.constraints_ == [SUM, DEPENDENCE]
    drawn = model.sample(500, random_state=0)
    assert (drawn["net"] + drawn["tax"] == drawn["total"]).all()
    assert (drawn["land"] == drawn["city"].map(land_of)).all()
    assert (drawn.dtypes == X.dtypes).all()


def test_all_else_is_as_without(model):
    without = fitted(constraints=None)
    assert without.constraints_ == []
    codes = model.transform(X)
    np.testing.assert_array_equal(codes, without.transform(X))
    np.testing.assert_array_equal(model.score_samples(X), without.score_samples(X))
    pd.testing.assert_frame_equal(
        model.inverse_transform(codes), without.inverse_transform(codes)
    )
    drawn, other = (m.sample(300, random_state=0) for m in (model, without))
    assert not (other["net"] + other["tax"] == other["total"]).all()
    # Columns that follow from none are the same, and those that others follow from,
    # unless a sum would leave its range.
    same = ["city", "low", "high", "same"]
    pd.testing.assert_frame_equal(drawn[same], other[same])
    is_inside = (other["net"] + other["tax"]).between(*X["total"].agg(["min", "max"]))
    parts = ["net", "tax"]
    pd.testing.assert_frame_equal(drawn[parts][is_inside], other[parts][is_inside])


def test_what_is_asked_for_counts_more(model):
    drawn = model.sample(200, conditions={"total": 20}, random_state=0)
    assert (drawn["total"] == 20).all()
    drawn = model.sample(200, conditions={"land": "it"}, random_state=0)
    assert (drawn["land"] == "it").all()
    drawn = model.sample(200, conditions={"city": "Oslo"}, random_state=0)
    assert (drawn["city"] == "Oslo").all()
    assert (drawn["land"] == "no").all()  # as the city says
    assert (drawn["net"] + drawn["tax"] == drawn["total"]).all()


def test_given_constraints_are_the_only_ones():
    given = [Inequality("low", "high")]
    model = fitted(constraints=given)
    assert model.constraints_ == given
    assert fitted(constraints=[]).constraints_ == []
    assert clone(model).set_params(constraints="auto").fit(X).constraints_ != given


def test_a_report_asks_for_the_list_that_was_found(model):
    with pytest.raises(TypeError, match="its constraints_"):
        synthesis_report(X, X, constraints="auto")
    report = synthesis_report(X, X.assign(total=0), constraints=model.constraints_)
    assert any("Broken constraint" in warning for warning in report.warnings)


def test_a_saved_model_holds_them(model):
    loaded = pickle.loads(pickle.dumps(model))
    pd.testing.assert_frame_equal(
        loaded.sample(50, random_state=0), model.sample(50, random_state=0)
    )
    assert loaded.constraints_ == model.constraints_


def test_rows_to_come_may_break_them():
    later = X.assign(total=0)
    model = fitted(warm_start=True)
    assert model.fit(later).constraints_ == [DEPENDENCE]
    stream = VAETransformer(2, random_state=0).partial_fit(X).partial_fit(later)
    assert stream.constraints_ == []


@pytest.mark.parametrize("how", ["sparse", "image"])
def test_sparse_rows_and_images_have_no_laws(how):
    table = np.random.default_rng(0).integers(0, 3, (60, 16)).astype(float)
    table[:, 1] = table[:, 0]
    model = VAETransformer(2, max_iter=2)
    if how == "sparse":
        table = csr_array(table)
    else:
        model.set_params(image_shape=(4, 4))
    assert model.fit(table).constraints_ == []
    assert get_tags(model).input_tags.sparse


def test_pixels_have_no_laws():
    codec = TableCodec("minmax")
    shades = np.random.default_rng(0).integers(0, 17, (200, 40)).astype(float)
    shades[:, 1] = shades[:, 0]
    model = VAETransformer(2, max_iter=2).fit(shades)
    assert model.codec_.numeric_scaling == codec.numeric_scaling
    assert model.constraints_ == []


# -------------------------------------------------------------------- what is a law


def test_what_may_be_chance_is_none():
    """A level of 2 % of the rows that stands beside one of as many."""
    table = pd.DataFrame({"first": ["a"] * 147 + ["b"] * 3})
    table["second"] = table["first"]
    assert laws_of(table) == []  # chance gives one in 400 tables
    table = pd.concat([table] * 4, ignore_index=True)
    assert laws_of(table) == [FixedCombinations(["first", "second"])]  # one in 10 ** 10


def test_orders_are_none():
    assert laws_of(X[["low", "high"]]) == []


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


def test_sums_of_large_numbers_do_not_overflow():
    large = np.random.default_rng(0).normal(size=300) * 1e300
    table = pd.DataFrame({"a": large, "b": large})
    assert laws_of(table) == [Linear({"a": 1, "b": -1})]


def test_columns_that_are_categories_add_up_to_nothing():
    is_category = X.columns.isin(["tax", "city", "land"])
    assert find_laws(X, is_category) == [DEPENDENCE]


def test_a_number_of_a_person_is_followed_by_none():
    """Twenty rows of each person, whose numbers say nothing until each is known."""
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(60), 20)
    years = pd.DataFrame({"person": person, "school": rng.integers(0, 20, 60)[person]})
    assert laws_of(years) == []
    smooth = years.assign(school=np.log1p(person).round(2))
    assert laws_of(smooth) == [FixedCombinations(["person", "school"])]
    assert laws_of(years.assign(person="p" + years["person"].astype(str))) == []
    known = pd.concat([years] * 3, ignore_index=True)
    assert laws_of(known) == [FixedCombinations(["person", "school"])]


def test_gaps_do_not_follow():
    table = X[["city", "land"]].copy()
    table["land"] = table["land"].where(table["land"] != "it")
    assert laws_of(table) == []


def test_tables_of_many_columns_are_not_searched(monkeypatch):
    monkeypatch.setattr("sklearn_unsup._table.discovery.MAX_SEARCHED_COLUMNS", 7)
    assert laws_of(X) == []
    assert laws_of(X.drop(columns="same")) == [SUM, DEPENDENCE]


# -------------------------------------------------------------------- holding them


def held(table, laws, drawn, asked=()):
    columns = [column for _, column in table.items()]
    fitted_laws = Laws(laws).fit(columns, list(table.columns))
    columns = fitted_laws.hold([column for _, column in drawn.items()], set(asked))
    return pd.DataFrame(dict(zip(table.columns, columns, strict=True)))


def test_numbers_that_none_has_become_the_nearest():
    table = pd.DataFrame({"x": [1.0, 2.0, 4.0] * 9, "y": [10, 20, 40] * 9})
    drawn = pd.DataFrame({"x": [0.0, 2.0, 2.9, 3.1, 9.0], "y": [0] * 5})
    found = held(table, [FixedCombinations(["x", "y"])], drawn)
    assert found["x"].tolist() == [1.0, 2.0, 2.0, 4.0, 4.0]
    assert found["y"].tolist() == [10, 20, 20, 40, 40]


def test_levels_that_none_has_stay():
    law = FixedCombinations(["city", "land"])
    drawn = pd.DataFrame({"city": ["Oslo", "Paris"], "land": ["it", "fr"]})
    found = held(X[["city", "land"]], [law], drawn)
    assert found["land"].tolist() == ["no", "fr"]


@pytest.mark.parametrize(
    ("asked", "expected"), [((), "no"), ((0,), "no"), ((1,), "it"), ((0, 1), "it")]
)
def test_what_is_asked_of_the_leading_level_alone_leaves_the_others(asked, expected):
    drawn = pd.DataFrame({"city": ["Oslo"], "land": ["it"]})
    found = held(X[["city", "land"]], [DEPENDENCE], drawn, asked)
    assert found.loc[0, "land"] == expected
    assert found.loc[0, "city"] == "Oslo"


def test_numbers_that_are_asked_for_are_not_moved():
    table = pd.DataFrame({"x": [1.0, 2.0, 4.0] * 9, "y": [10, 20, 40] * 9})
    drawn = pd.DataFrame({"x": [2.9], "y": [0]})
    found = held(table, [FixedCombinations(["x", "y"])], drawn, [0])
    assert found["x"].tolist() == [2.9]
