"""Numbers that the columns before them nearly tell, in tables of many rows."""

import numpy as np
import pandas as pd
import pytest

from sklearn_unsup import VAETransformer

N = 1_000
SMALL = {"n_components": 2, "hidden_layer_sizes": (8,), "random_state": 0}


@pytest.fixture(autouse=True)
def many_rows(monkeypatch):
    monkeypatch.setattr("sklearn_unsup._row_fitting.MAX_TRIAL_ROWS", N - 1)


def make_table(n, seed=0):
    """A close number, a loose one, and one of four values, all told by the first."""
    first, noise, other = np.random.default_rng(seed).normal(size=(3, n))
    return pd.DataFrame(
        {
            "first": first,
            "close": 3 * first + 0.3 * noise,
            "loose": first + 2 * other,
            "grade": np.digitize(first, [-0.7, 0, 0.7]).astype(float),
        }
    )


def columns_with_regressions(model):
    linear = model.net_.module_.autoregressive.linear
    names = [column.name for column in model.codec_.numbers_]
    return [] if linear is None else [names[column] for column in linear.columns]


def test_close_numbers_alone_have_regressions():
    """But not where a regression is sharper than the values of a number are wide."""
    model = VAETransformer(max_iter=1, **SMALL).fit(make_table(N))
    assert columns_with_regressions(model) == ["close"]
    table = make_table(N)[["first", "loose", "grade"]]
    assert (
        columns_with_regressions(VAETransformer(max_iter=1, **SMALL).fit(table)) == []
    )


def test_rows_are_as_close_from_the_first_epoch_on():
    model = VAETransformer(max_iter=1, **SMALL).fit(make_table(N))
    drawn = model.sample(20_000, random_state=0)
    rest = drawn["close"] - 3 * drawn["first"]
    # A deviation of .3; the quartiles of a normal distribution are .67 of it away.
    assert np.quantile(rest.abs(), 0.5) < 1.3 * 0.3 * 0.6745


def test_what_holds_within_a_rare_class_alone_is_drawn():
    """Two numbers that go together in 40 of 1,000 rows, and nowhere else."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, N))
    is_rare = np.arange(N) < 40
    second[is_rare] = -first[is_rare] + 0.2 * second[is_rare]
    kind = np.where(is_rare, "rare", "usual")
    table = pd.DataFrame({"first": first, "second": second, "kind": kind})
    model = VAETransformer(max_iter=10, **SMALL).fit(table)
    drawn = model.sample(4_000, conditions={"kind": "rare"}, random_state=0)
    assert np.corrcoef(drawn["first"], drawn["second"])[0, 1] < -0.7
    drawn = model.sample(4_000, conditions={"kind": "usual"}, random_state=0)
    assert abs(np.corrcoef(drawn["first"], drawn["second"])[0, 1]) < 0.15


def test_a_score_does_not_depend_on_company():
    table = make_table(N)
    rare = table["first"].rank() <= 40
    table["kind"] = np.where(rare, "rare", "usual")
    table.loc[rare, "loose"] = -2 * table["first"] + 0.01 * table["loose"]
    model = VAETransformer(max_iter=1, **SMALL).fit(table)
    linear = model.net_.module_.autoregressive.linear
    assert linear.columns
    assert len(linear.slopes) + len(linear.spreads)
    few = table[:12]
    alone = np.concatenate([model.score_samples(few[i : i + 1]) for i in range(12)])
    np.testing.assert_array_equal(model.score_samples(table)[:12], alone)


def test_a_stream_begins_without():
    model = VAETransformer(**SMALL)
    model.partial_fit(make_table(N))
    assert columns_with_regressions(model) == []


def test_a_start_keeps_them():
    source = VAETransformer(max_iter=1, **SMALL).fit(make_table(N))
    table = make_table(N, seed=1)
    options = {"max_iter": 1, "learning_rate_init": 1e-12}
    model = VAETransformer(**options, **SMALL)
    model._judges_starts = False
    model.fit(table, start_from=source)
    assert columns_with_regressions(model) == ["close"]
    # Bins are not the same.
    assert model.score(table) == pytest.approx(source.score(table), abs=0.2)
