"""Imputation under constraints: what is there stays, and filled rows meet them."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import torch

from sklearn_unsup import VAETransformer, _constrained_imputation
from sklearn_unsup._constrained_imputation import Completions, encodable
from sklearn_unsup._holes import conditional_network
from sklearn_unsup._table.layout import FIRST_SET
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


@pytest.mark.parametrize(
    "sample_posterior", [pytest.param(False, marks=pytest.mark.slow), True]
)
def test_filled_rows_meet_all_constraints(fitted, sample_posterior):
    filled = fitted.impute(HOLES, sample_posterior=sample_posterior, random_state=0)
    assert (filled.dtypes == HOLES.dtypes).all()
    assert_filled(filled)


@pytest.mark.parametrize("n_together", [4_096, 100])
def test_means_that_are_rounded_meet_them_too(fitted, n_together, monkeypatch):
    """However many draws of a row are made in one pass; the last one has fewer."""
    monkeypatch.setattr(_constrained_imputation, "PASS_ROWS", n_together)
    n_rows, distances = [], Completions._distances

    def spy(self, asked, x_num, x_cat):
        n_rows.append(len(x_num))
        return distances(self, asked, x_num, x_cat)

    monkeypatch.setattr(Completions, "_distances", spy)
    filled = fitted.impute(HOLES[20:28], round_numbers=True, random_state=0)
    assert_filled(filled, HOLES[20:28])
    assert filled["low"].equals(filled["low"].round(1))
    assert max(n_rows) <= n_together
    # Of all eight rows there are 24 draws, or 48 where a sum is there.
    assert 24 * 8 < sum(n_rows) < 48 * 8


@pytest.mark.parametrize(
    "sampling", ["latent", pytest.param("autoregressive", marks=pytest.mark.slow)]
)
def test_models_of_one_order_meet_them_too(sampling):
    vae = quick_vae(sampling=sampling, density_ratio=None).fit(TABLE)
    holes = HOLES[:10]
    assert_filled(vae.impute(holes, sample_posterior=True, random_state=0), holes)


@pytest.mark.slow
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
    rows = HOLES[:8].reset_index(drop=True)
    rows.loc[3, ["low", "high", "noise", "city"]] = [9.0, 8.0, np.nan, np.nan]
    rows.loc[4, ["city", "country", "low"]] = ["Rome", "no", np.nan]
    for sample_posterior in (False, True):
        filled = vae.impute(rows, sample_posterior=sample_posterior)
        assert not filled.isna().any(axis=None)
        assert filled.loc[3, ["low", "high"]].tolist() == [9, 8]
        others = [i for i in range(8) if i not in (3, 4)]
        assert_filled(filled.iloc[others], rows.iloc[others])


def test_what_no_draw_can_meet_is_an_error():
    def never(X):
        return (X["low"] < 1_000) & (X["noise"] < 1e9)

    vae = quick_vae(constraints=[Where(never)], max_iter=1).fit(TABLE)
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


def test_gaps_and_combinations_are_unknown_where_a_part_is_missing(fitted):
    """A sum is not: what stands for it is the same in every complete row."""
    rows = TABLE[:4].copy()
    rows.loc[1, ["low", "room", "country"]] = None
    rows.loc[2, ["high", "city", "bill"]] = None
    codec = fitted.codec_
    frame, unknown = encodable(codec, rows)
    unknown = pd.DataFrame(unknown, columns=rows.columns)
    expected = {name: [] for name in rows} | {
        # The gap of "high" is counted from "low", that of "top" from "high".
        **{"low": [1], "high": [1, 2], "top": [2], "room": [1]},
        # The first column has the number of the combination.
        **{"city": [1, 2], "country": [1]},
    }
    for name, cells in expected.items():
        assert np.flatnonzero(unknown[name]).tolist() == cells, name
    # Placeholders are for missing cells and for rows of an incomplete combination.
    for name in rows:
        changed = frame[name].ne(rows[name]) & rows[name].notna()
        assert not changed[[0, 3]].any(), name
    assert not frame[["city", "country", "room", "bill"]].isna().any(axis=None)
    [part] = codec.constraints_.combinations_
    assert not part.find_broken([column for _, column in frame.items()]).any()


def test_what_a_network_is_asked_for(fitted, monkeypatch):
    """Cells that are there, ranges and combinations for others, and gaps last."""
    rows = TABLE[:6].copy()
    rows.loc[0, "low"] = np.nan
    rows.loc[1, "city"] = None
    rows.loc[2, "country"] = None
    codec, calls = fitted.codec_, []
    network = conditional_network(fitted)
    complete = network.complete

    def spy(*args):
        calls.append(args)
        return complete(*args)

    monkeypatch.setattr(network, "complete", spy)
    rng = np.random.default_rng(0)
    completions = Completions(fitted, rows, np.zeros(6, bool), rng)
    completions._draw(completions.asked.encoded)
    [(x_num, _, seen_num, seen_cat, _, wanted, last)] = calls
    places, position = codec.places(), list(rows).index
    low, city = places[position("low")], places[position("city")]
    # The cells that are there are seen as they are encoded, and draws keep them.
    encoded = torch.from_numpy(codec.encode(TABLE[:6])[0])
    torch.testing.assert_close(x_num[1:, low], encoded[1:, low])
    assert seen_num[:, low].tolist() == [False] + [True] * 5
    # "low" must leave room for "high", which is there.
    assert wanted.bounds.keys() == {low}
    least, most = wanted.bounds[low][0].tolist()
    assert least == -np.inf
    assert np.isfinite(most)
    assert (wanted.bounds[low][1:, 0] == wanted.bounds[low][1:, 1]).all()
    # A country has two cities, and a city has one country: that is as good as seen.
    [part] = codec.constraints_.combinations_
    assert seen_cat[:, city].tolist() == [True, False, *[True] * 4]
    allowed = wanted.sets[city][FIRST_SET - wanted.codes[city][1]].nonzero()[:, 0]
    levels = codec.columns_codec_[position("city")].levels_
    numbers = np.array([levels[code] for code in [*allowed, wanted.codes[city][2]]])
    cities, countries = (part.columns_at(numbers)[i].tolist() for i in part.positions)
    assert countries == [TABLE["country"][i] for i in (1, 1, 2)]
    assert set(cities[:2]) == set(CITIES[COUNTRIES == countries[0]])
    assert cities[2] == TABLE["city"][2]
    n_categorical = codec.layout_.n_categorical
    gaps = {n_categorical + places[position(name)] for name in ("high", "top", "end")}
    assert set(last) == gaps
    # A gap is drawn after the one of the column below.
    order = [places[position(name)] + n_categorical for name in ("high", "top")]
    assert [place for place in last if place in order] == order


def test_columns_that_no_encoding_determines_get_their_means(fitted):
    """They are computed, and not drawn: another seed gives the same."""
    rows = TABLE[:5].assign(noise=np.nan)
    first, second = (fitted.impute(rows, random_state=seed) for seed in (0, 1))
    pd.testing.assert_frame_equal(first, second)


def test_whole_numbers_and_masks(monkeypatch):
    rng = np.random.default_rng(0)
    a = rng.integers(0, 99, 60)
    table = pd.DataFrame({"a": a, "b": a + rng.integers(0, 9, 60)}, dtype="Int64")
    holes = table.mask(rng.random(table.shape) < 0.2)
    vae = quick_vae(constraints=[Inequality("a", "b")], max_iter=1).fit(holes)
    network, seen = conditional_network(vae), []
    complete = network.complete

    def spy(x_num, x_cat, seen_num, seen_cat, *args):
        seen.append(seen_cat)
        return complete(x_num, x_cat, seen_num, seen_cat, *args)

    monkeypatch.setattr(network, "complete", spy)
    filled = vae.impute(holes, random_state=0)
    # Means are rounded as the dtype asks for.
    assert (filled.dtypes == "Int64").all()
    assert not filled.isna().any(axis=None)
    assert (filled["a"] <= filled["b"]).all()
    # Whether a number was missing in training says nothing of these rows.
    masks = [mask for mask in vae.codec_.layout_.masks if mask >= 0]
    assert len(masks) == 2
    assert not any(cells[:, masks].any() for cells in seen)


def test_means_of_decimals_are_decimals():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 99, 60)
    table = pd.DataFrame({"a": a, "b": a + rng.integers(0, 9, 60)})
    table = table.map(lambda value: Decimal(int(value)) / 10)
    vae = quick_vae(constraints=[Inequality("a", "b")], max_iter=1).fit(table)
    holes = table.mask(rng.random(table.shape) < 0.2)
    filled = vae.impute(holes, random_state=0)
    assert all(isinstance(cell, Decimal) for cell in filled.to_numpy().ravel())
    assert (filled["a"] <= filled["b"]).all()


def test_an_array_after_a_frame():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 99, 60) / 10
    table = pd.DataFrame({"a": a, "b": a + rng.integers(0, 9, 60)})
    vae = quick_vae(constraints=[Inequality("a", "b")], max_iter=1).fit(table)
    holes = table.mask(rng.random(table.shape) < 0.2)
    frame = vae.impute(holes, sample_posterior=True, random_state=0)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        array = vae.impute(holes.to_numpy(), sample_posterior=True, random_state=0)
    np.testing.assert_array_equal(array, frame)


def test_combinations_that_were_forgotten_are_no_error():
    """A model that keeps the frequent ones alone knows no row that breaks them."""
    table = TABLE[["city", "country", "noise"]].copy()
    table.loc[0, ["city", "country"]] = ["Bergen", "it"]  # rare, and then left out
    vae = quick_vae(
        constraints=[FixedCombinations(["city", "country"])],
        max_categories=4,
        max_iter=1,
    )
    rows = table[:3].assign(noise=np.nan)
    filled = vae.fit(table).impute(rows)
    assert filled["noise"].notna().all()
    assert filled["city"].tolist() == rows["city"].tolist()


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
