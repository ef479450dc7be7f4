"""Imputation under constraints: what is there stays, and filled rows meet them."""

import numpy as np
import pandas as pd
import pytest

from sklearn_unsup import VAETransformer
from sklearn_unsup._table.means import mean_and_nearest, most_frequent
from sklearn_unsup.constraints import (
    FixedCombinations,
    Inequality,
    Linear,
    Range,
    Unique,
    Where,
)
from sklearn_unsup.impute import GenerativeImputer

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
CITIES = np.array(["Rome", "Oslo", "Bergen", "Turin"])
COUNTRIES = np.array(["it", "no", "no", "it"])


def is_quiet(X):
    return (X["noise"] < 2) | (X["city"] != "Rome")


CONSTRAINTS = [
    Inequality("low", "high"),
    Inequality("high", "top", strict=True),
    Inequality("start", "end"),
    FixedCombinations(["city", "country"]),
    Linear({"room": 1, "meals": 1, "bill": -1}),
    Range("noise", -3, None),
    Unique("id"),
    Unique(["city", "start"]),
    Where(is_quiet),
]


def make_table(n=200, seed=0):
    rng = np.random.default_rng(seed)
    place, low = rng.integers(0, 4, n), rng.normal(30, 10, n).round(1)
    start = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(n), "D")
    table = pd.DataFrame(
        {
            "high": (low + rng.exponential(4, n)).round(1),
            "low": low,
            "start": start,
            "end": start + pd.to_timedelta(rng.integers(0, 90, n), "D"),
            "city": CITIES[np.arange(n) % 4],
            "country": pd.Categorical(COUNTRIES[np.arange(n) % 4]),
            "room": (place * 50 + rng.integers(4000, 9000, n) / 100).round(2),
            "meals": (rng.integers(0, 9000, n) / 100).round(2),
            "noise": rng.normal(size=n).clip(-3, 1.9),
            "id": rng.permutation(n),
        }
    )
    table["bill"] = (table["room"] + table["meals"]).round(2)
    table["top"] = table["high"] + rng.integers(1, 9, n) / 2
    return table


TABLE = make_table()
HOLES = TABLE.mask(np.random.default_rng(1).random(TABLE.shape) < 0.2)


def quick_vae(**parameters):
    options = {"hidden_layer_sizes": (8,), "max_iter": 4, "sampling": "any_order"}
    options |= {"constraints": CONSTRAINTS, "random_state": 0}
    return VAETransformer(2, **{**options, **parameters})


@pytest.fixture(scope="module")
def fitted():
    return quick_vae().fit(TABLE)


def assert_filled(filled, holes=HOLES):
    """Whatever was there is there; the rest is there now, and meets the constraints."""
    assert filled.index.equals(holes.index)
    assert not filled.isna().any(axis=None)
    for name in holes:
        there = holes[name].notna()
        assert filled[name][there].tolist() == holes[name][there].tolist(), name
    assert filled["low"].le(filled["high"]).all()
    assert filled["high"].lt(filled["top"]).all()
    assert filled["start"].le(filled["end"]).all()
    pairs = set(zip(filled["city"], filled["country"], strict=True))
    assert pairs <= set(zip(CITIES, COUNTRIES, strict=True))
    total = filled["room"] + filled["meals"] - filled["bill"]
    assert total.round(6).eq(0).all()
    assert filled["noise"].ge(-3).all()
    assert is_quiet(filled).all()
    assert filled["id"].is_unique
    assert not filled[["city", "start"]].duplicated().any()


@pytest.mark.parametrize("sample_posterior", [False, True])
def test_filled_rows_meet_all_constraints(fitted, sample_posterior):
    filled = fitted.impute(HOLES, sample_posterior=sample_posterior, random_state=0)
    assert (filled.dtypes == HOLES.dtypes).all()
    assert_filled(filled)


def test_means_that_are_rounded_meet_them_too(fitted):
    filled = fitted.impute(HOLES[:20], round_numbers=True, random_state=0)
    assert_filled(filled, HOLES[:20])
    assert filled["low"].equals(filled["low"].round(1))


@pytest.mark.parametrize(
    "sampling", ["latent", pytest.param("autoregressive", marks=pytest.mark.slow)]
)
def test_models_of_one_order_meet_them_too(sampling):
    vae = quick_vae(sampling=sampling, density_ratio=None).fit(TABLE)
    holes = HOLES[:30]
    assert_filled(vae.impute(holes, sample_posterior=True, random_state=0), holes)


def test_a_fit_to_the_table_with_holes():
    imputer = GenerativeImputer(quick_vae(constraints=CONSTRAINTS[:6]), random_state=0)
    filled = imputer.fit_transform(HOLES)
    assert not fails(filled)
    assert not filled.isna().any(axis=None)
    imputer.set_params(sample_posterior=True)
    assert not fails(imputer.transform(HOLES))


def fails(filled):
    """Constraints, but those on repeats and functions, that a model finds broken."""
    codec = quick_vae(constraints=CONSTRAINTS[:6]).fit(TABLE).codec_
    return codec.find_broken(filled)


def test_columns_of_an_array_by_position():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 99, (2, 150)) / 10
    X = np.stack([a, b, (a + b).round(1)], 1)
    holes = np.where(rng.random(X.shape) < 0.3, np.nan, X)
    vae = quick_vae(constraints=[Linear({0: 1, 1: 1, 2: -1}), Inequality(3, 4)])
    pair = np.column_stack([a, a + 1])
    vae.fit(np.column_stack([X, pair]))
    pair[:, 0] = np.nan
    filled = vae.impute(np.column_stack([holes, pair]))
    there = ~np.isnan(holes)
    np.testing.assert_allclose(filled[:, 0] + filled[:, 1], filled[:, 2], atol=1e-9)
    np.testing.assert_array_equal(filled[:, :3][there], holes[there])
    assert (filled[:, 3] <= filled[:, 4]).all()


@pytest.mark.parametrize("hidden", ["room", "meals", "bill"])
@pytest.mark.parametrize("sample_posterior", [False, True])
def test_a_sum_says_its_missing_part(fitted, hidden, sample_posterior):
    holes = TABLE[:20].copy()
    holes[hidden] = np.nan
    filled = fitted.impute(holes, sample_posterior=sample_posterior)
    pd.testing.assert_frame_equal(filled, TABLE[:20])


def test_a_combination_says_what_is_missing(fitted):
    holes = TABLE[:40].copy()
    holes["country"] = holes["country"].mask(np.arange(40) % 2 == 0)
    filled = fitted.impute(holes)
    assert filled["country"].tolist() == TABLE["country"][:40].tolist()
    holes = TABLE[:40].assign(city=None, start=pd.NaT)
    filled = fitted.impute(holes, sample_posterior=True)
    expected = pd.Series(COUNTRIES, CITIES)[filled["city"]]
    assert expected.tolist() == TABLE["country"][:40].tolist()


def test_room_beyond_the_range_of_training(fitted):
    """What is there may leave nothing that training rows showed."""
    row = TABLE[:1].assign(low=np.nan, high=-500.0, top=np.nan)
    row = row.assign(room=np.nan, meals=np.nan, bill=2_000.0)
    for sample_posterior in (False, True):
        filled = fitted.impute(row, sample_posterior=sample_posterior)
        assert_filled(filled, row)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"low": 9.0, "high": 8.0}, r"1 of 3 rows breaks Inequality\('low', 'high'\)"),
        ({"city": "Rome", "country": "no"}, r"breaks FixedCombinations.*at row 1"),
        ({"room": 1.0, "meals": 1.0, "bill": 3.0}, "breaks Linear"),
        ({"noise": -4.0}, "breaks Range"),
        ({"low": 9.0, "high": None, "top": 8.0}, r"row 1 contradicts Inequality"),
        (
            {"city": "Rome", "country": "it", "noise": 2.5, "end": TABLE["end"][1]},
            "breaks.*is_quiet.*at row 1",
        ),
    ],
)
def test_cells_that_break_a_constraint_are_named(fitted, cells, message):
    rows = TABLE[:3].reset_index(drop=True)
    rows["top"] += 50
    rows.loc[:, "end"] = pd.NaT
    for name, cell in cells.items():
        rows.loc[1, name] = cell
    with pytest.raises(ValueError, match=message):
        fitted.impute(rows)


def test_broken_rows_are_filled_if_they_are_ignored():
    vae = quick_vae(handle_unknown="ignore").fit(TABLE)
    rows = HOLES[:20].reset_index(drop=True)
    rows.loc[3, ["low", "high", "noise", "city"]] = [9.0, 8.0, np.nan, np.nan]
    rows.loc[4, ["city", "country", "low"]] = ["Rome", "no", np.nan]
    for sample_posterior in (False, True):
        filled = vae.impute(rows, sample_posterior=sample_posterior)
        assert not filled.isna().any(axis=None)
        assert filled.loc[3, ["low", "high"]].tolist() == [9, 8]
        others = [i for i in range(20) if i not in (3, 4)]
        assert_filled(filled.iloc[others], rows.iloc[others])


def test_what_no_draw_can_meet_is_an_error():
    def never(X):
        return (X["low"] < 1_000) & (X["noise"] < 1e9)

    vae = quick_vae(constraints=[Where(never)]).fit(TABLE)
    rows = TABLE[:3].assign(noise=np.nan, low=[1.0, 2_000.0, 1.0])
    with pytest.raises(ValueError, match=r"1 of 3 rows still break.*never.*row 1"):
        vae.impute(rows)


@pytest.mark.slow
def test_an_upper_column_tells_of_the_lower_one():
    """A model that draws the lower one first asks whether the upper one fits."""
    rng = np.random.default_rng(0)
    low = rng.normal(size=600).round(2)
    table = pd.DataFrame(
        {"low": low, "high": (low + rng.uniform(0, 0.5, 600)).round(2)}
    )
    vae = VAETransformer(
        2,
        hidden_layer_sizes=(8,),
        sampling="any_order",
        max_iter=30,
        constraints=[Inequality("low", "high")],
        random_state=0,
    ).fit(table)
    holes = table[:200].assign(low=np.nan)
    mean = vae.impute(holes)["low"]
    drawn = vae.impute(holes, sample_posterior=True, random_state=0)["low"]
    # The best guess is .25 below it, and then off by a standard deviation of .14.
    assert np.sqrt(((mean - low[:200]) ** 2).mean()) < 0.25
    assert np.corrcoef(drawn, low[:200])[0, 1] > 0.95


# ------------------------------------------------------------------ parts


def test_the_most_frequent_number_among_those_that_count():
    numbers = np.array([[1, 1], [2, 2], [1, 2], [2, 3]])
    counts = np.array([[1, 1], [0, 1], [1, 1], [1, 0]], bool)
    assert most_frequent(numbers, counts).tolist() == [1, 2]


def test_the_draw_nearest_to_the_mean():
    dates = 2**60 + np.array([[0, 10], [4, 10], [5, 13], [99, 99]])
    counts = np.array([[1, 1], [1, 1], [1, 1], [0, 0]], bool)
    means, nearest = mean_and_nearest({1: dates}, counts, np.ones((2, 2), bool))
    assert (means[1] - 2**60).tolist() == [3, 11]
    assert (nearest[1] - 2**60).tolist() == [4, 10]
