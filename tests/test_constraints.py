"""Constraints of the three models: every row that is drawn or decoded meets them."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import estimator_checks_generator

from sklearn_unsup import AutoencoderTransformer, GANSampler, VAETransformer
from sklearn_unsup.constraints import (
    FixedCombinations,
    Inequality,
    Linear,
    Range,
    Unique,
    Where,
)
from sklearn_unsup.metrics import synthesis_report

MODELS = {
    "autoencoder": (AutoencoderTransformer, {}),
    "vae": (VAETransformer, {}),
    "vae-latent": (VAETransformer, {"sampling": "latent", "density_ratio": None}),
    "gan": (GANSampler, {"critic_hidden_layer_sizes": (16,), "density_ratio": None}),
}
CITIES = np.array(["Rome", "Oslo", "Bergen", "Turin", "Paris"])
COUNTRIES = np.array(["it", "no", "no", "it", "fr"])

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]
CONSTRAINTS = [
    Inequality("low", "high"),
    Inequality("high", "top"),
    Inequality("start", "end", strict=True),
    FixedCombinations(["city", "country", "code"]),
    Range("price", 1, 20),
    Linear({"price": 1, "tax": 1, "total": -1}),
    Unique("id"),
    Unique(["city", "start"]),
]


def make_table(n=300, random_state=0):
    rng = np.random.default_rng(random_state)
    place = rng.choice(5, n, p=[0.4, 0.3, 0.15, 0.1, 0.05])
    low = rng.integers(0, 50, n)
    start = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), "D")
    X = pd.DataFrame(
        {
            "high": (low + rng.integers(0, 20, n)).astype("float32"),
            "city": CITIES[place],
            "low": low.astype("int8"),
            "end": start + pd.to_timedelta(rng.integers(1, 700, n), "h"),
            "start": start,
            "country": pd.Categorical(COUNTRIES[place]),
            "price": rng.normal(8, 4, n).clip(1, 20).round(2),
            "code": place * 10,
        }
    )
    X["tax"] = (X["price"] * rng.choice([0, 0.1, 0.2], n)).round(2)
    X["total"] = (X["price"] + X["tax"]).round(2)
    X["id"] = rng.permutation(n)
    X["top"] = X["high"] + rng.integers(0, 3, n) / 4
    for name in ("high", "country", "price", "start"):
        X.loc[rng.random(n) < 0.1, name] = None
    return X[~X[["city", "start"]].duplicated() | X["start"].isna()]


X = make_table()


def as_tuples(X, columns):
    cells = X[columns].astype(object)
    return set(map(tuple, cells.where(cells.notna(), None).to_numpy().tolist()))


def assert_meets_constraints(drawn):
    assert drawn.dtypes.equals(X.dtypes)
    for low, high in [("low", "high"), ("high", "top")]:
        assert not (drawn[low] > drawn[high]).any()
    assert not (drawn["start"] >= drawn["end"]).any()
    assert drawn["price"].dropna().between(1, 20).all()
    total = drawn["price"] + drawn["tax"] - drawn["total"]
    assert total.dropna().round(6).eq(0).all()
    belong = ["city", "country", "code"]
    assert as_tuples(drawn, belong) <= as_tuples(X, belong)


@pytest.fixture(
    params=[
        # What it has of its own, the autoencoder and the VAE have between them.
        pytest.param(name, marks=pytest.mark.slow) if name == "vae-latent" else name
        for name in MODELS
    ]
)
def make(request):
    """Makes one of the models, of few steps and narrow layers."""
    model, own = MODELS[request.param]

    def quick(**parameters):
        defaults = {
            "n_components": 3,
            "hidden_layer_sizes": (16,),
            "max_iter": 3,
            "batch_size": 50,
            "random_state": 0,
            "constraints": CONSTRAINTS,
        }
        return model(**{**defaults, **own, **parameters})

    return quick


def assert_has_no_repeats(drawn):
    assert drawn["id"].is_unique
    assert not drawn[["city", "start"]].dropna().duplicated().any()


def test_rows_meet_them(make):
    model = make().fit(X)
    drawn = model.sample(1000)
    assert_meets_constraints(drawn)
    assert_has_no_repeats(drawn)
    z = np.random.default_rng(0).normal(size=(300, model._n_features_out)) * 10
    assert_meets_constraints(model.inverse_transform(z))
    asked = model.sample(100, conditions={"country": "no", "code": 20})
    assert_meets_constraints(asked)
    assert_has_no_repeats(asked)
    assert set(asked["city"]) == {"Bergen"}
    cities = CITIES[np.arange(100) % 5]
    asked = model.sample(100, conditions={"city": cities})
    assert_meets_constraints(asked)
    assert asked["city"].tolist() == cities.tolist()


DAY = pd.Timestamp("2021-03-01")
ASKED = {
    "the upper column": {"high": 20},
    "a range of it": {"high": (5, 10.5)},
    "a low one": {"high": (None, 4)},
    "the lower column": {"low": (30, None)},
    "both": {"low": (10, 20), "high": (20, 21)},
    "the end of a chain": {"top": (None, 12.25)},
    "its middle and its end": {"high": (None, 12), "top": (12, 12.5)},
    "dates": {"end": (DAY, DAY + pd.Timedelta("100D"))},
    "both dates": {"start": (None, DAY), "end": (DAY, None)},
    "the sum": {"total": (4, 6)},
    "the sum exactly": {"total": 7.5},
    "the sum and a part": {"total": (None, 9), "price": (8, None)},
    "a set": {"city": {"Rome", "Oslo"}, "code": (5, None)},
    "a number of combinations": {"code": 20},
    "missing": {"high": None, "start": None, "country": None},
    "not missing": {"high": (None, None), "country": (None, None)},
    "each row": {"high": [*range(10, 22)], "code": [0, 10, {20, 30}, 40] * 3},
    "partial rows": pd.DataFrame(
        {"high": [3.0, None, 40] * 4, "city": ["Rome", "Oslo", None, None] * 3}
    ),
}


def is_met(values, asked):
    """Whether each value is what one request says."""
    if isinstance(asked, tuple):
        low, high = asked
        met = values.notna()
        met &= True if low is None else (values >= low).fillna(False)
        return met & (True if high is None else (values <= high).fillna(False))
    if asked is None:
        return values.isna()
    return values.isin(asked if isinstance(asked, set) else [asked])


@pytest.mark.filterwarnings("ignore:conditions:UserWarning")
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(name, marks=[] if name == "vae" else pytest.mark.slow)
        for name in MODELS
    ],
    indirect=True,
)
def test_conditions_on_columns_that_constraints_determine(make):
    model = make().fit(X)
    for name, conditions in ASKED.items():
        drawn = model.sample(12, conditions=conditions, random_state=0)
        assert_meets_constraints(drawn)
        assert_has_no_repeats(drawn)
        for column, asked in conditions.items():
            if isinstance(asked, list | pd.Series):
                met = [
                    is_met(drawn[column].iloc[[i]], cell).item()
                    for i, cell in enumerate(asked)
                    if isinstance(asked, list) or not pd.isna(cell)
                ]
                assert all(met), (name, column)
            else:
                assert is_met(drawn[column], asked).all(), (name, column)


def test_a_saved_model_is_the_same(make):
    model = clone(make()).fit(X)
    assert model.feature_names_in_.tolist() == X.columns.tolist()
    other = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(model.transform(X), other.transform(X))
    drawn = other.sample(50, random_state=1)
    pd.testing.assert_frame_equal(drawn, model.sample(50, random_state=1))
    assert np.isfinite(model.score(X))
    assert other.constraints == CONSTRAINTS


def test_a_stream_refuses_rows_that_break_them(make):
    later = make_table(random_state=1).assign(low=lambda X: X.low - 20)
    model = make().partial_fit(X).partial_fit(later)
    assert_meets_constraints(model.sample(500))
    expected = model.transform(X)
    with pytest.raises(ValueError, match="break Inequality.*first at row"):
        model.partial_fit(X.assign(top=0.0))
    unknown = X.assign(city="Rome")
    with pytest.raises(ValueError, match="break FixedCombinations"):
        model.partial_fit(unknown)
    np.testing.assert_array_equal(model.transform(X), expected)


def test_rows_that_break_them_are_refused_or_ignored(make):
    broken = X.assign(high=X["low"] - 5.0, city="Rome").astype({"high": "float32"})
    model = make().fit(X)
    with pytest.raises(ValueError, match="handle_unknown='ignore'"):
        model.transform(broken)
    with pytest.raises(ValueError, match="training rows break Inequality"):
        make().fit(broken)
    if hasattr(model, "score_samples"):
        for method in (model.score_samples, model.score, model.explain_samples):
            with pytest.raises(ValueError, match="rows break Inequality"):
                method(broken)
            with pytest.raises(ValueError, match="rows break FixedCombinations"):
                method(X.assign(city="Rome"))
    ignoring = make(handle_unknown="ignore").fit(X)
    assert np.isfinite(ignoring.transform(broken)).all()
    if hasattr(model, "score_samples"):
        assert np.isfinite(ignoring.score_samples(broken)).all()


def test_an_array_has_them_by_position(make):
    rng = np.random.default_rng(0)
    array = np.sort(rng.normal(size=(200, 4)), axis=1)
    array[:, 3] = array[:, 0].round()
    constraints = [Inequality(0, 1), Inequality(1, 2)]
    model = make(constraints=constraints).fit(array)
    drawn = model.sample(500)
    assert isinstance(drawn, np.ndarray)
    assert (drawn[:, 0] <= drawn[:, 1]).all()
    assert (drawn[:, 1] <= drawn[:, 2]).all()


def test_constraints_cannot_change_in_a_warm_start(make):
    model = make(warm_start=True).fit(X)
    model.set_params(constraints=list(CONSTRAINTS)).fit(X)
    with pytest.raises(ValueError, match="constraints="):
        model.set_params(constraints=CONSTRAINTS[:2]).fit(X)
    model.set_params(constraints=CONSTRAINTS)
    with pytest.raises(ValueError, match="break Inequality"):
        model.fit(X.assign(top=0.0))


def test_a_grid_search_over_constraints():
    grid = {"constraints": [None, CONSTRAINTS]}
    table = X.drop(columns="country").dropna()
    constraints = [c for c in CONSTRAINTS if "country" not in c.columns]
    grid = {"constraints": [None, constraints]}
    search = GridSearchCV(VAETransformer(2, max_iter=2), grid, cv=2).fit(table)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_over_sampling_keeps_them():
    pytest.importorskip("imblearn", reason="needs the extra imbalanced")
    from sklearn_unsup.over_sampling import GenerativeOverSampler

    y = np.where(np.arange(len(X)) % 5 == 0, "rare", "frequent")
    generator = VAETransformer(2, max_iter=2, constraints=CONSTRAINTS)
    X_new, y_new = GenerativeOverSampler(generator).fit_resample(X, y)
    assert (y_new == "rare").sum() == (y_new == "frequent").sum()
    assert_meets_constraints(X_new)


def test_polars_frames_keep_them():
    polars = pytest.importorskip("polars", reason="needs the extra test")
    frame = polars.DataFrame({"a": [1, 4, None, 6] * 10, "b": [2, 4, 3, 9] * 10})
    model = VAETransformer(2, max_iter=2, constraints=[Inequality("a", "b")])
    drawn = model.fit(frame).sample(200)
    assert drawn.filter(polars.col("a") > polars.col("b")).is_empty()


@pytest.mark.slow
def test_skops():
    io = pytest.importorskip("skops.io", reason="needs the extra test")
    model = VAETransformer(2, max_iter=2, constraints=CONSTRAINTS).fit(X)
    data = io.dumps(model)
    asked = io.get_untrusted_types(data=data)
    assert "sklearn_unsup._table.orders.Orders" in asked
    other = io.loads(data, trusted=asked)
    np.testing.assert_array_equal(model.transform(X), other.transform(X))
    assert_meets_constraints(other.sample(50))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("estimator", "check"),
    [
        pytest.param(estimator, check, id=f"{name}-{check.func.__name__}")
        for name in ("vae", "autoencoder")
        for estimator, check in estimator_checks_generator(
            MODELS[name][0](
                2, hidden_layer_sizes=(8,), max_iter=2, constraints=[Range(0, -1e6)]
            )
        )
    ],
)
def test_estimator_checks(estimator, check):
    """scikit-learn's own, with a constraint that all of its tables meet."""
    check(clone(estimator))


# ------------------------------------------------------------------ drawn again


def is_odd(X):
    return (X["low"] % 2 == 1).to_numpy()


def test_where_holds_in_every_row(make):
    odd = X[is_odd(X)]
    model = make(constraints=[Where(is_odd)]).fit(odd)
    assert is_odd(model.sample(300)).all()
    cities = CITIES[np.arange(60) % 5]
    drawn = model.sample(60, conditions={"city": cities})
    assert is_odd(drawn).all()
    assert drawn["city"].tolist() == cities.tolist()
    repeated = [model.sample(40, random_state=3) for _ in range(2)]
    pd.testing.assert_frame_equal(*repeated)
    assert is_odd(pickle.loads(pickle.dumps(model)).sample(20)).all()
    assert np.isfinite(model.score(odd))


def test_where_sees_what_the_model_was_fitted_to():
    seen = set()

    def has_signs(X):
        seen.add(type(X))
        return X[:, 0] > 0

    array = np.abs(np.random.default_rng(0).normal(size=(50, 2)))
    model = VAETransformer(2, max_iter=1, constraints=[Where(has_signs)]).fit(array)
    assert (model.sample(20)[:, 0] > 0).all()
    assert seen == {np.ndarray}


def test_where_gives_up():
    calls = []

    def never_again(X):
        calls.append(len(X))
        return np.full(len(X), len(calls) <= 2)

    model = VAETransformer(2, max_iter=1, constraints=[Where(never_again)]).fit(X)
    with pytest.raises(
        ValueError, match=r"10 of 10 rows still break Where\(never_again"
    ):
        model.sample(10)


def test_unique_gives_up_where_there_are_too_few_values():
    table = X[["city", "low"]].drop_duplicates("city")
    model = VAETransformer(2, max_iter=1, constraints=[Unique("city")]).fit(table)
    assert model.sample(5)["city"].is_unique
    with pytest.raises(ValueError, match="'city' has 5 levels, too few for 6 rows"):
        model.sample(6)
    with pytest.raises(ValueError, match="4 rows ask for the same as row 0 of 'city'"):
        model.sample(4, conditions={"city": "Rome"})


# ------------------------------------------------------------------ reports


@pytest.mark.usefixtures("few_trees")
def test_a_report_names_broken_ones():
    constraints = [*CONSTRAINTS, Where(lambda X: (X["low"] >= 0).to_numpy())]
    broken = make_table(random_state=1)[X.columns[::-1]].reset_index(drop=True)
    broken.loc[[3, 5], "low"], broken.loc[4, "country"] = -1, "fr"
    broken.loc[7, "high"] = -9.0
    report = synthesis_report(X, broken, constraints=constraints, random_state=0)
    found = [w for w in report.warnings if w.startswith("Broken")]
    assert [w.partition("break ")[2] for w in found] == [
        "Inequality('low', 'high'), first at row 7.",
        "FixedCombinations(('city', 'country', 'code')), first at row 4.",
        "Where(<lambda>), first at row 3.",
    ]
    assert f"2 synthetic rows ({200 / len(broken):.3g} %) break" in found[-1]


def test_a_report_says_what_real_rows_break():
    real = pd.DataFrame({"a": [1, 2, 3, 9], "b": [2, 3, 4, 5]})
    report = synthesis_report(real, real[::-1], constraints=[Inequality("a", "b")])
    assert report.warnings[0] == (
        "Broken constraint: 1 synthetic rows (25 %) break Inequality('a', 'b'), first "
        "at row 0; of the real rows 1 do."
    )


# ------------------------------------------------------------------ errors


def test_sparse_rows_have_none():
    with pytest.raises(ValueError, match=r"X is sparse.*toarray\(\)"):
        VAETransformer(constraints=[Inequality(0, 1)]).fit(csr_array(np.eye(4)))
    model = VAETransformer(2, max_iter=1, constraints=[Inequality(0, 1)])
    model.fit(np.sort(np.random.default_rng(0).normal(size=(20, 2))))
    with pytest.raises(ValueError, match="X is sparse"):
        model.transform(csr_array(np.eye(2)))


def test_what_is_no_constraint():
    with pytest.raises(
        TypeError, match=r"Inequality\('low', 'high'\), got 'low<=high'"
    ):
        VAETransformer(constraints=["low<=high"]).fit(X)


@pytest.fixture(scope="module")
def constrained():
    return VAETransformer(2, max_iter=1, constraints=CONSTRAINTS).fit(X)


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"city": "Rome", "country": "no"}, "no training row has.*'Rome'.*'no'"),
        ({"city": "Rom"}, "no level 'Rom'; did you mean 'Rome'"),
        ({"code": 11}, "'code' has no level 11"),
        ({"county": "no"}, "'county' is no column; did you mean 'country'"),
        ({"code": (41, 49)}, r"'code' has no value in \(41, 49\)"),
        ({"high": (5, 1)}, r"'high' can have no value in \(5, 1\)"),
        ({"high": 3, "low": 4}, r"row 0 contradicts Ineq.*'low'.* 4, and.*'high'.* 3"),
        ({"total": 3, "price": 4}, "'total' in row 0 contradicts Linear.*at least 4.0"),
        (
            {"id": 7},
            r"10 rows ask for the same as row 0 of 'id'.* leaves 1",
        ),
    ],
)
def test_impossible_conditions(constrained, conditions, message):
    with pytest.raises(ValueError, match=message):
        constrained.sample(10, conditions=conditions)


# ------------------------------------------------------------------- what is above


@pytest.fixture(scope="module")
def stays():
    """A model of stays in a hospital, three days long on average, and their table."""
    rng = np.random.default_rng(0)
    start, days = rng.integers(0, 365, 500), 1 + rng.poisson(2, 500)
    first = pd.Timestamp("2024-01-01")
    table = pd.DataFrame(
        {
            "start": first + pd.to_timedelta(start, "D"),
            "end": first + pd.to_timedelta(start + days, "D"),
            "days": days,
        }
    )
    order = Inequality("start", "end", strict=True)
    model = VAETransformer(random_state=0, constraints=[order], hidden_layer_sizes=16)
    return model.fit(table), table


def day(number):
    return pd.Timestamp("2024-01-01") + pd.Timedelta(number, "D")


@pytest.mark.parametrize("asked", [day(150), (day(150), day(160)), "each"])
def test_what_is_above_moves_what_is_below_and_not_its_distance(stays, asked):
    """To stretch distances would make the mean 9 days, and the longest stay 60."""
    model, table = stays
    asked = table["end"].iloc[:200].tolist() if asked == "each" else asked
    drawn = model.sample(200, conditions={"end": asked}, random_state=0)
    assert (drawn["start"] < drawn["end"]).all()
    length = (drawn["end"] - drawn["start"]).dt.days
    assert length.max() <= table["days"].max()
    assert length.mean() == pytest.approx(table["days"].mean(), abs=0.9)
    # The other column agrees as it does in rows of which nothing is asked.
    free = model.sample(2_000, random_state=0)
    agrees = ((free["end"] - free["start"]).dt.days - free["days"]).abs() <= 1
    assert ((length - drawn["days"]).abs() <= 1).mean() > agrees.mean() - 0.1


def test_what_is_below_is_filled_in_by_what_is_above(stays):
    model, table = stays
    filled = model.impute(table[:100].assign(start=pd.NaT))
    error = (filled["start"] - table["start"][:100]).dt.total_seconds() / 86_400
    assert error.abs().mean() < 1.0


def test_both_ends_may_be_asked_for(stays):
    """Where what is below may not move by as much the distance changes."""
    model, _ = stays
    asked = {"start": (day(150), day(152)), "end": (day(156), day(158))}
    drawn = model.sample(100, conditions=asked, random_state=0)
    for column, (low, high) in asked.items():
        assert drawn[column].between(low, high).all()


def test_an_order_the_wrong_way_round_is_told(stays):
    model = VAETransformer(constraints=[Inequality("end", "start")])
    with pytest.raises(ValueError, match=r"Did you mean Inequality\('start', 'end'\)"):
        model.fit(stays[1])
