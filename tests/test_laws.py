"""constraints="auto": drawn rows meet the laws that all training rows meet."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.utils import get_tags

from sklearn_unsup import AutoencoderTransformer, GANSampler, VAETransformer
from sklearn_unsup._table.codec import TableCodec
from sklearn_unsup._table.discovery import find_laws, groups_of_dependent
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
    assert drawn["total"].between(X["total"].min(), X["total"].max()).all()
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
    # Only the total changes, and the land of a city, which costs less than the city,
    # but for rows whose parts do not add up to any total.
    same = ["net", "tax", "city", "low", "high", "same"]
    is_inside = (other["net"] + other["tax"]).between(*X["total"].agg(["min", "max"]))
    assert 0.9 < is_inside.mean() < 1
    pd.testing.assert_frame_equal(drawn[same][is_inside], other[same][is_inside])


@pytest.mark.parametrize("sample_posterior", [False, True])
def test_the_one_missing_value_of_a_sum_is_what_the_others_say(model, sample_posterior):
    rng = np.random.default_rng(0)
    rows = make_table(90, random_state=1).astype({"net": float, "tax": "Int64"})
    places = rng.integers(0, 3, 90)
    holes = np.arange(3) == places[:, None]
    names = ["net", "tax", "total"]
    with_holes = rows.copy()
    with_holes[names] = rows[names].mask(holes)
    with_holes.loc[:9, ["net", "tax"]] = np.nan  # of two the model decides
    X_fit = make_table().astype({"net": float, "tax": "Int64"})
    vae = clone(model).fit(X_fit)
    filled = vae.impute(with_holes, sample_posterior=sample_posterior, random_state=0)
    assert not filled.isna().any(axis=None)
    assert filled["tax"].dtype == "Int64"
    pd.testing.assert_frame_equal(filled[10:], rows[10:], check_dtype=False)
    assert not filled[:10].equals(rows[:10])
    kept = with_holes.notna()
    pd.testing.assert_frame_equal(
        filled.where(kept), with_holes.where(kept), check_dtype=False
    )


def test_a_row_that_cannot_add_up_is_filled_in_by_the_model(model):
    """No training row had a net of 990, which a total of 1,000 asks for."""
    row = make_table(1).assign(net=np.nan, tax=10, total=1_000)
    filled = model.impute(row)
    assert X["net"].min() <= filled.at[0, "net"] <= X["net"].max()
    assert filled.at[0, "total"] == 1_000


@pytest.mark.parametrize(("net", "expected"), [(88, 117), (0, 0), (990, None)])
def test_parts_that_are_usual_may_have_an_unusual_total(model, net, expected):
    """A total of parts of which one is beyond all rows is the model's."""
    tax = 29 if net else 0
    fit_to = X[X["total"].between(10, 100)]
    vae = clone(model).fit(fit_to)
    assert (fit_to["net"].min(), fit_to["net"].max()) == (0, 88)
    row = make_table(1).assign(net=net, tax=tax, total=np.nan)
    [total] = vae.impute(row)["total"]
    if expected is None:
        assert 10 <= total <= 100
    else:
        assert total == expected


# A net of 60 in a total of 20 is beyond all rows.
@pytest.mark.filterwarnings("ignore:conditions. .* hardly go together")
def test_what_is_asked_for_counts_more(model):
    for total in (20, (15, 30)):
        drawn = model.sample(200, conditions={"total": total}, random_state=0)
        assert drawn["total"].between(*np.array(total).repeat(2)[[0, -1]]).all()
        assert (drawn["net"] + drawn["tax"] == drawn["total"]).all()
    both = {"total": 20, "net": 12}
    drawn = model.sample(50, conditions=both, random_state=0)
    assert (drawn[["total", "net", "tax"]] == [20, 12, 8]).all(axis=None)
    too_much = {"total": 20, "net": 60}
    drawn = model.sample(50, conditions=too_much, random_state=0)
    assert (drawn[["total", "net"]] == [20, 60]).all(axis=None)
    for conditions in ({"land": "no"}, {"city": "Oslo"}, {"net": 5}):
        drawn = model.sample(200, conditions=conditions, random_state=0)
        [(name, level)] = conditions.items()
        assert (drawn[name] == level).all()
        assert (drawn["land"] == drawn["city"].map(land_of)).all()
        assert (drawn["net"] + drawn["tax"] == drawn["total"]).mean() > 0.9
    both = {"city": "Oslo", "land": "it"}  # which no row has
    drawn = model.sample(50, conditions=both, random_state=0)
    assert (drawn[["city", "land"]] == list(both.values())).all(axis=None)


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
    with pytest.raises(ValueError, match="city"):
        model.fit(later.assign(city="Paris"))
    assert model.codec_.held_constraints() == [SUM, DEPENDENCE]
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


def test_levels_that_are_not_to_be_kept_are_not():
    none = np.zeros(2, dtype=bool)
    table = X[["city", "land"]]
    assert find_laws(table, none, 3) == [DEPENDENCE]
    assert find_laws(table, none, 2) == []
    assert fitted(max_categories=2).constraints_ == [SUM]


def test_whole_numbers_add_up_exactly():
    large = np.random.default_rng(0).integers(2**61, 2**62, 300)
    assert laws_of(pd.DataFrame({"a": large, "b": large + 3})) == []


@pytest.mark.filterwarnings("error")
def test_numbers_next_to_zero_have_none():
    small = np.random.default_rng(0).normal(size=300) * 1e-310
    table = pd.DataFrame({"a": small, "b": small, "c": np.arange(300.0)})
    assert laws_of(table) == []


def test_columns_that_cannot_go_along_leave_the_others():
    """One with gaps, one of many levels, one in a sum, one that another determines."""
    rng = np.random.default_rng(0)
    place = rng.integers(0, 30, 900)
    table = pd.DataFrame({"zip": 10_000 + place * 7, "town": place // 3 + 100})
    together = [FixedCombinations(["zip", "town"])]
    airport = (table["town"] * 7).astype(str).where(place >= 3)
    assert laws_of(table.assign(airport=airport)) == together
    fewer = table.assign(code=table["town"] ** 2)
    few = find_laws(fewer, np.zeros(3, dtype=bool), max_levels=12)
    assert few == [FixedCombinations(["town", "code"])]
    table = table.assign(fee=rng.integers(0, 9, 900), price=place**2)
    table["total"] = table["price"] + table["fee"]
    assert laws_of(table) == [Linear({"fee": 1, "price": 1, "total": -1}), *together]
    by_town = pd.DataFrame({"town": place // 3, "land": place // 9 % 2})
    by_coin = pd.DataFrame({"coin": rng.integers(0, 6, 900)})
    by_coin["metal"] = by_coin["coin"] % 3 == 0
    both = pd.concat([by_town, by_coin], axis=1).astype(str)
    found = [set(law.columns) for law in laws_of(both)]
    assert found == [{"town", "land"}, {"coin", "metal"}]


def test_combinations_say_more_than_the_sum_of_their_columns():
    """A plan has its price, and the price with tax is 1.2 times it."""
    rng = np.random.default_rng(0)
    plan = rng.integers(0, 6, 600)
    table = pd.DataFrame({"plan": np.array(list("abcdef"))[plan]})
    table["net"] = np.array([5.0, 12.5, 25.0, 40.0, 55.0, 90.0])[plan]
    table["gross"] = table["net"] * 1.2
    table["fee"] = rng.integers(0, 9, 600)
    table["total"] = table["fee"] + 2
    [*sums, together] = laws_of(table)
    assert set(together.columns) == {"plan", "net", "gross"}
    assert [set(law.columns) for law in sums] == [{"fee", "total"}]


def test_no_column_is_determined_twice():
    pairs = [("town", "land"), ("town", "mayor"), ("coin", "land"), ("coin", "metal")]
    surprises = dict.fromkeys(pairs, 20.0)
    found = list(groups_of_dependent(surprises, overlap=False))
    groups = [("town", "land", "mayor"), ("coin", "metal")]
    assert [law.columns for law, _ in found] == groups
    assert [surprise for _, surprise in found] == [40.0, 20.0]
    assert len(list(groups_of_dependent(surprises))[1][0].columns) == 3


def test_gaps_do_not_follow():
    table = X[["city", "land"]].copy()
    table["land"] = table["land"].where(table["land"] != "it")
    assert laws_of(table) == []


def test_a_search_that_fails_ends_no_fit(monkeypatch):
    def fail(*args):
        raise np.linalg.LinAlgError("SVD did not converge")

    monkeypatch.setattr("sklearn_unsup._encoding.find_laws", fail)
    with pytest.warns(UserWarning, match="SVD did not converge.*constraints=None"):
        model = fitted()
    assert model.constraints_ == []


def test_tables_of_many_columns_are_not_searched(monkeypatch):
    monkeypatch.setattr("sklearn_unsup._table.discovery.MAX_SEARCH", 400 * 7**2)
    assert laws_of(X) == []
    assert laws_of(X.drop(columns="same")) == [SUM, DEPENDENCE]


# -------------------------------------------------------------------- holding them


def held(table, laws, drawn, conditions=None, moves_others=True, **options):
    """Drawn rows that meet laws as far as the conditions allow."""
    codec = TableCodec(**options).fit(table)
    columns = [column for _, column in table.items()]
    codec.laws_ = Laws(laws).fit(columns, list(table.columns))
    asked = codec.encode_conditions(conditions, len(drawn))
    return codec.with_laws(drawn, asked.requests, moves_others)[0]


def test_rows_become_the_nearest_combination():
    """By the share of the rows between numbers: 1, 2 and 4 are a third apart."""
    table = pd.DataFrame({"x": [1.0, 2.0, 4.0] * 9, "y": [10, 20, 40] * 9})
    drawn = pd.DataFrame({"x": [0.0, 2.0, 2.9, 3.1, 1.0], "y": [10, 20, 20, 40, 40]})
    found = held(table, [FixedCombinations(["x", "y"])], drawn)
    assert found["x"].tolist() == [1.0, 2.0, 2.0, 4.0, 1.0]
    assert found["y"].tolist() == [10, 20, 20, 40, 10]


@pytest.mark.parametrize("n", [0, 1, 20])
def test_rows_that_meet_the_laws_stay_as_they_are(n):
    drawn = X[["city", "land"]].iloc[:n]
    pd.testing.assert_frame_equal(held(X[["city", "land"]], [DEPENDENCE], drawn), drawn)


def test_the_number_of_a_place_moves_and_not_the_place():
    """Numbers that name something are drawn less well than what they name."""
    rng = np.random.default_rng(0)
    number = rng.permutation(1_000)[:40]
    place = np.array(list("abcdefgh"))[np.arange(40) % 8]
    rows = rng.integers(0, 40, 600)
    table = pd.DataFrame({"number": number[rows], "place": place[rows]})
    drawn = pd.DataFrame({"number": rng.integers(0, 1_000, 300)})
    drawn["place"] = place[rng.integers(0, 40, 300)]
    found = held(table, [FixedCombinations(["number", "place"])], drawn)
    assert (found["place"] == drawn["place"]).all()
    place_of = dict(zip(number, place, strict=True))
    assert (found["number"].map(place_of) == found["place"]).all()


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (None, ("Oslo", "no")),
        ({"city": "Oslo"}, ("Oslo", "no")),
        ({"land": "it"}, ("Rome", "it")),
        ({"land": {"it"}, "city": {"Rome", "Oslo"}}, ("Rome", "it")),
        ({"city": "Oslo", "land": "it"}, ("Oslo", "it")),  # which no row has
        ({"city": (None, None), "land": (None, None)}, ("Oslo", "no")),
    ],
)
def test_what_is_asked_stays(conditions, expected):
    drawn = pd.DataFrame({"city": ["Oslo"], "land": ["it"]})
    found = held(X[["city", "land"]], [DEPENDENCE], drawn, conditions)
    assert tuple(found.iloc[0]) == expected


def test_rows_ask_for_different_levels():
    """Of a missing cell of a partial row nothing is asked."""
    asked = pd.DataFrame({"city": ["Bergen", None, None], "land": [None, "it", None]})
    drawn = pd.DataFrame({"city": ["Bergen", "Oslo", "Rome"], "land": ["it"] * 3})
    found = held(X[["city", "land"]], [DEPENDENCE], drawn, asked)
    expected = [["Bergen", "no"], ["Rome", "it"], ["Rome", "it"]]
    assert found.to_numpy().tolist() == expected


def test_numbers_are_moved_within_what_is_asked():
    table = pd.DataFrame({"x": [1.0, 2.0, 4.0] * 9, "y": [10, 20, 40] * 9})
    law = [FixedCombinations(["x", "y"])]
    drawn = pd.DataFrame({"x": [2.9, 2.0, 2.0], "y": [10, 10, 40]})
    # No training row has 2.9.
    found = held(table, law, drawn, {"x": [2.9, 2.0, 2.0]})
    assert found.to_numpy().tolist() == [[2.9, 10], [2.0, 20], [2.0, 20]]
    found = held(table, law, drawn, {"x": (2.0, 3.0)})
    assert found.to_numpy().tolist() == [[2.0, 20]] * 3
    found = held(table, law, drawn, {"x": [(3.0, None), (None, 3.0), (None, None)]})
    assert found["x"].tolist() == [4.0, 1.0, 2.0]


def test_a_range_without_the_drawn_number_is_met():
    """Without quantiles any number may be drawn."""
    table = pd.DataFrame({"k": np.arange(60) % 6 * 10})
    table["v"] = table["k"] ** 2
    drawn = pd.DataFrame({"k": [14, 23, 6], "v": [310, 420, 2_000]})
    law = [FixedCombinations(["k", "v"])]
    for asked, expected in {(5, 25): [10, 20, 20], (40, 40): [40, 40, 40]}.items():
        conditions = {"k": asked}
        found = held(table, law, drawn, conditions, numeric_scaling="standard")
        assert found["k"].isin(expected).all()
        assert (found["k"] ** 2 == found["v"]).all()


def test_distances_are_computed_in_parts(monkeypatch):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"x": np.arange(50) % 25})
    table["y"] = table["x"] ** 2
    drawn = pd.DataFrame({"x": rng.integers(0, 25, 90), "y": rng.integers(0, 600, 90)})
    laws = [FixedCombinations(["x", "y"])]
    whole = held(table, laws, drawn)
    monkeypatch.setattr("sklearn_unsup._table.combinations.MAX_CELLS", 60)
    pd.testing.assert_frame_equal(held(table, laws, drawn), whole)


def make_sums():
    """All a from 0 to 4 and b from 0 to 6 with totals from 0 to 8."""
    a, b = (part.ravel() for part in np.mgrid[:5, :7])
    table = pd.DataFrame({"a": a, "b": b, "total": a + b})
    return table[table["total"] < 9]


TOTAL = [Linear({"a": 1, "b": 1, "total": -1})]


def test_parts_move_at_last_if_no_total_is_their_sum():
    drawn = pd.DataFrame({"a": [1, 4], "b": [2, 6], "total": [7, 7]})
    found = held(make_sums(), TOTAL, drawn, moves_others=False)
    assert found.to_numpy().tolist() == [[1, 2, 3], [4, 6, 7]]
    found = held(make_sums(), TOTAL, drawn)
    assert found["total"].tolist() == [3, 8]
    assert (found["a"] + found["b"] == found["total"]).all()
    found = held(make_sums(), TOTAL, drawn, {"a": 4})
    assert found.to_numpy().tolist() == [[1, 2, 3], [4, 4, 8]]


def test_parts_add_up_to_a_total_that_is_asked_for():
    """All go the same part of the way to their ends; those that are asked for stay."""
    drawn = pd.DataFrame({"a": [2, 0, 4], "b": [3, 0, 6], "total": [5, 5, 5]})
    found = held(make_sums(), TOTAL, drawn, {"total": 5}, moves_others=False)
    assert found.to_numpy().tolist() == [[2, 3, 5]] * 3
    # An a of 4 leaves 1 of 5 to b.
    drawn["a"] = 4
    found = held(make_sums(), TOTAL, drawn, {"total": 5, "a": 4})
    assert found.to_numpy().tolist() == [[4, 1, 5]] * 3
    # Nothing makes an a of 1 and a b of 5 or 6 a total of 3.
    drawn = pd.DataFrame({"a": [1, 1], "b": [5, 6], "total": [3, 3]})
    asked = {"total": 3, "a": 1, "b": (5, None)}
    pd.testing.assert_frame_equal(held(make_sums(), TOTAL, drawn, asked), drawn)


def test_a_range_of_totals_holds_the_sum_of_the_parts():
    drawn = pd.DataFrame({"a": [2, 0, 4], "b": [3, 0, 3], "total": [6, 5, 6]})
    found = held(make_sums(), TOTAL, drawn, {"total": (4, 6)}, moves_others=False)
    # The first one's parts make another total of the range, and stay.
    assert found.loc[0].tolist() == [2, 3, 5]
    assert (found["a"] + found["b"] == found["total"]).all()
    assert found["total"].tolist() == [5, 4, 6]


def test_sums_of_floats_that_nobody_rounded_under_a_range():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.integers(0, 4_000, (500, 2)) / 100, columns=["a", "b"])
    table["total"] = table["a"] + table["b"]
    drawn = table.sample(50, random_state=0).reset_index(drop=True)
    drawn["total"] = rng.uniform(30, 60, 50)
    found = held(table, TOTAL, drawn, {"total": (30, 60)})
    assert found["total"].between(30, 60).all()
    np.testing.assert_allclose(found["a"] + found["b"], found["total"], atol=1e-9)


def test_numbers_too_large_for_a_sum_are_no_warning():
    table = make_sums().astype(float)
    drawn = table.head(3).assign(a=1e19).reset_index(drop=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = held(table, TOTAL, drawn, {"a": 1e19})
    pd.testing.assert_frame_equal(found, drawn)


@pytest.mark.parametrize("model_class", [VAETransformer, GANSampler])
def test_laws_hold_under_all_conditions_that_allow_it(model_class):
    """Sums of which many are out of range, and conditions that have nothing to do."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"birth": rng.integers(1930, 2006, 400)})
    table["year"] = rng.integers(2020, 2025, 400)
    table["age"] = table["year"] - table["birth"]
    table["sex"] = rng.choice(["f", "m"], 400)
    model = model_class(2, max_iter=2, random_state=0).fit(table)
    nothing = pd.DataFrame({name: [None] * 50 for name in table})
    one = nothing.copy()
    one.loc[3, "age"] = 40
    some = {"age": (30, 50), "birth": (1970, None), "year": (None, None)}
    for conditions in (None, {"sex": "f"}, {"age": 40}, nothing, one, some):
        n = 1 if isinstance(conditions, pd.DataFrame) else 50
        drawn = model.sample(n, conditions=conditions, random_state=0)
        assert len(drawn) == 50
        assert (drawn["birth"] + drawn["age"] == drawn["year"]).all()
        assert drawn["age"].between(table["age"].min(), table["age"].max()).all()
        if isinstance(conditions, dict) and "age" in conditions:
            assert (
                drawn["age"]
                .between(*np.array(conditions["age"]).repeat(2)[[0, -1]])
                .all()
            )
