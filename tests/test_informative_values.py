"""VAETransformer: values of numbers of which each means something else."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch

from sklearn_unsup import GANSampler, VAETransformer
from sklearn_unsup._nn.heads import GATE, HISTOGRAM_GATE
from sklearn_unsup._row_columns import WIDE_VALUE_SHARE

N_CODES = 30
PRICES = np.random.default_rng(7).permutation(N_CODES).astype(float)


def make_table(n, seed=0):
    """A number of 30 codes, the price of each with some noise, and a smooth pair."""
    rng = np.random.default_rng(seed)
    code, smooth = rng.integers(N_CODES, size=n), rng.normal(size=n)
    table = {
        "code": 10 * code,
        "price": PRICES[code] + 0.05 * rng.normal(size=n),
        "steps": np.round(3 * smooth),
        "smooth": smooth + rng.normal(size=n),
    }
    return pd.DataFrame(table)


def short(**options):
    return VAETransformer(2, hidden_layer_sizes=4, random_state=0, **options)


@pytest.fixture(scope="module")
def fitted():
    return short(max_iter=1).fit(make_table(1_000))


def n_values(model):
    """Number of values of each column that are features of their own."""
    values = model._informative_values
    return None if values is None else [*map(len, values)]


def test_codes_have_features_and_smooth_numbers_do_not(fitted):
    # Nor have steps, but for those that many rows have.
    steps = make_table(1_000)["steps"].value_counts(normalize=True)
    n_wide = int((steps >= WIDE_VALUE_SHARE).sum())
    assert 0 < n_wide < len(steps)
    assert n_values(fitted) == [N_CODES, 0, n_wide, 0]
    rows = fitted.net_.module_.autoregressive
    assert rows.number_features.n_values == [N_CODES, 0, n_wide, 0]
    table = make_table(1_000).drop(columns=["code", "steps"])
    assert n_values(short(max_iter=1).fit(table)) is None


def test_values_of_many_rows_are_features_of_few_rows_only(monkeypatch):
    monkeypatch.setattr("sklearn_unsup._row_columns.MAX_TRIAL_ROWS", 999)
    assert n_values(short(max_iter=1).fit(make_table(1_000))) == [N_CODES, 0, 0, 0]


def test_no_features_where_numbers_are_no_quantiles_or_may_change():
    table = make_table(400)
    for options in ({"numeric_scaling": "standard"}, {"sampling": "latent"}):
        assert n_values(short(max_iter=1, **options).fit(table)) is None
    assert n_values(short().partial_fit(table)) is None


def test_in_any_order_earlier_columns_count_as_well():
    table = make_table(1_000)[["price", "smooth", "code"]]
    assert n_values(short(max_iter=1).fit(table)) is None
    model = short(max_iter=1, sampling="any_order").fit(table)
    assert n_values(model) == [0, 0, N_CODES]
    # A seen value has its feature, and a hidden one has not.
    rows = model.net_.module_.autoregressive
    z, codes = model.codec_.encode(table.iloc[:1], np.random.default_rng(0))[:2]
    z, codes = torch.from_numpy(z), torch.from_numpy(codes)
    for seen in (True, False):
        shown = torch.full_like(z, seen, dtype=torch.bool)
        features = rows.seen_features(z, codes, shown, shown[:, :0], None)
        own = features[0, rows.feature_slices[2]]
        assert own[-N_CODES:].sum() == seen


def test_features_are_dropped_where_they_would_be_too_many(monkeypatch):
    monkeypatch.setattr("sklearn_unsup._row_columns.MAX_AUTOREGRESSIVE_WEIGHTS", 25_000)
    model = short(max_iter=1).fit(make_table(1_000))
    assert n_values(model) is None
    assert model._dependent_columns == ()


def test_discrete_numbers_that_depend_on_values_begin_as_histograms(monkeypatch):
    """Of more rows than begin with regressions, which would set the gate."""
    monkeypatch.setattr("sklearn_unsup._row_fitting.MAX_TRIAL_ROWS", 999)
    monkeypatch.setattr("sklearn_unsup._row_columns.MAX_CLOSE_SCALE", 0.0)
    table = make_table(1_000)
    table["whole"] = PRICES[table["code"] // 10]
    model = short(max_iter=1, learning_rate_init=1e-12).fit(table)
    names = [column.name for column in model.codec_.numbers_]
    gates = model.net_.module_.autoregressive.number_heads.bias[:, 0, GATE].tolist()
    begun = dict(zip(names, gates, strict=True))
    assert begun["whole"] == pytest.approx(HISTOGRAM_GATE)
    # Others are no histograms alone: a price has too many values, codes come first.
    others = [begun[name] for name in ("code", "price", "steps", "smooth")]
    assert others == pytest.approx([0.0] * 4, abs=1e-6)


def test_trials_have_the_features_of_the_fit():
    """Codes of some fifteen rows, of which a trial's part of the table has fewer."""
    table = make_table(480)
    model = short().fit(table)
    features = model.net_.module_.autoregressive.number_features
    assert n_values(model) == features.n_values
    assert 0 < n_values(model)[0] < N_CODES
    before = model.score_samples(table)
    model._follow_codec()
    np.testing.assert_array_equal(model.score_samples(table), before)
    assert n_values(short(max_iter=1).fit(table, start_from=model)) == n_values(model)


@pytest.mark.parametrize(
    ("columns", "options"),
    [(["price", "smooth"], {}), (["code", "price"], {"sampling": "latent"})],
)
def test_a_start_without_such_columns_can_go_on(fitted, columns, options, monkeypatch):
    monkeypatch.setattr(VAETransformer, "_judges_starts", False)
    table = make_table(200)[columns]
    model = short(max_iter=1, **options).fit(table, start_from=fitted)
    assert n_values(model) is None
    assert len(model.partial_fit(table).sample(3)) == 3


def test_a_pattern_of_rows_hides_no_values():
    code = np.tile(np.arange(N_CODES), 700)
    rng = np.random.default_rng(0)
    price = PRICES[code] + 0.05 * rng.normal(size=len(code))
    table = pd.DataFrame({"code": code, "price": price})
    assert n_values(short(max_iter=1, batch_size=5_000).fit(table)) == [N_CODES, 0]


def test_features_follow_the_codec_of_a_stream(fitted):
    model = pickle.loads(pickle.dumps(fitted))
    # A code that most rows have takes most of the quantiles.
    model.partial_fit(make_table(3_000, seed=1).assign(code=50))
    saved = pickle.loads(pickle.dumps(model))
    for one in (model, saved):
        features = one.net_.module_.autoregressive.number_features
        expected = one.codec_.intervals(one._informative_values)[0]
        np.testing.assert_array_equal(features.low[0], np.float32(expected[0]))
        width = expected[3] - expected[2]
        assert width[one._informative_values[0] == 50] > 0.7
    pd.testing.assert_frame_equal(
        model.sample(5, random_state=0), saved.sample(5, random_state=0)
    )


def test_dates_are_the_same_ones_when_earlier_ones_come():
    table = make_table(1_000)
    table["code"] = pd.Timestamp("2020-01-01") + pd.to_timedelta(table["code"], "D")
    model = short(max_iter=1).fit(table)
    assert n_values(model)[0] == N_CODES
    day = table["code"].iloc[0]
    earlier = table.assign(code=pd.Timestamp("2019-01-01"))
    model.partial_fit(earlier)
    values = [pd.Timestamp(v, unit=day.unit) for v in model._informative_values[0]]
    intervals = model.codec_.intervals(model._informative_values)[0]
    place = values.index(day)
    z, _ = model.codec_.encode(table.iloc[:1], np.random.default_rng(0))[:2]
    assert intervals[0, place] <= z[0, 0] <= intervals[1, place]


def test_a_start_brings_dates_in_another_unit(monkeypatch):
    monkeypatch.setattr(VAETransformer, "_judges_starts", False)
    table = make_table(1_000)
    days = pd.Timestamp("2020-01-01") + pd.to_timedelta(table["code"], "D")
    source = short(max_iter=1).fit(table.assign(code=days.astype("datetime64[ns]")))
    other = table.assign(code=days.astype("datetime64[s]")).head(500)
    model = short(max_iter=1).fit(other, start_from=source)
    assert n_values(model)[0] == N_CODES
    _, _, low, high = model.codec_.intervals(model._informative_values)[0]
    assert (high - low).sum() > 0.9


def test_a_start_brings_its_values(fitted, monkeypatch):
    monkeypatch.setattr(VAETransformer, "_judges_starts", False)
    table = make_table(200, seed=3)
    turned = table[["smooth", "price", "code"]].assign(new=1.0 * np.arange(200))
    model = short(max_iter=1).fit(turned, start_from=fitted)
    # Columns are in the order of the source.
    assert [column.name for column in model.codec_.numbers_][0] == "code"
    assert n_values(model) == [N_CODES, 0, 0, 0]
    np.testing.assert_array_equal(
        model._informative_values[0], fitted._informative_values[0]
    )
    # And is the source before it learns.
    same = short(max_iter=1, learning_rate_init=1e-12)
    same = same.fit(make_table(1_000), start_from=fitted)
    rows = make_table(50, seed=4)
    expected = fitted.score_samples(rows)
    np.testing.assert_allclose(same.score_samples(rows), expected, atol=1e-3)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_codes_that_others_depend_on_are_codes_of_a_gan(monkeypatch):
    monkeypatch.setattr("sklearn_unsup._gan.FEW_VALUES", 25)
    table = make_table(1_000)
    sizes = {"hidden_layer_sizes": 4, "critic_hidden_layer_sizes": 4}
    gan = GANSampler(2, max_iter=1, density_ratio=None, random_state=0, **sizes)
    # Of the others one has so few values that they are codes anyway.
    few = table["steps"].nunique()
    assert [*map(len, gan.fit(table)._frequent_values)] == [N_CODES, 0, few, 0]
    alone = table.assign(price=np.random.default_rng(1).normal(size=1_000))
    assert [*map(len, gan.fit(alone)._frequent_values)] == [0, 0, few, 0]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_gan_has_a_limited_number_of_codes(monkeypatch):
    monkeypatch.setattr("sklearn_unsup._gan.FEW_VALUES", 2)
    monkeypatch.setattr("sklearn_unsup._gan.MAX_MORE_VALUES", N_CODES + 5)
    table = make_table(1_000)[["code", "price"]]
    table["twin"] = 7 * table["code"].rank(method="dense") % 31
    sizes = {"hidden_layer_sizes": 4, "critic_hidden_layer_sizes": 4}
    gan = GANSampler(2, max_iter=1, density_ratio=None, random_state=0, **sizes)
    assert sorted(map(len, gan.fit(table)._frequent_values)) == [0, 0, N_CODES]


@pytest.mark.slow
def test_the_price_of_a_code_is_learnt_from_fewer_rows(monkeypatch):
    table, others = make_table(1_500), make_table(500, seed=5)
    scores = []
    for min_share in (1 / 200, 1.0):
        monkeypatch.setattr("sklearn_unsup._row_columns.MIN_VALUE_SHARE", min_share)
        model = VAETransformer(random_state=0).fit(table)
        rows = model.sample(1_500, random_state=0)
        errors = (rows["price"] - PRICES[rows["code"] // 10]).abs()
        scores.append([(errors < 0.5).mean(), model.score_samples(others).mean()])
    # Measured: .33 and .12 of the rows, -6.96 and -8.62 nats.
    assert scores[0][0] > scores[1][0] + 0.1
    assert scores[0][1] > scores[1][1] + 0.8
