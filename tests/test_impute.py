"""GenerativeImputer and VAETransformer.impute: contract, dtypes, filled-in cells."""

import pickle
import warnings
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator

from sklearn_unsup import AutoencoderTransformer, VAETransformer
from sklearn_unsup.datasets import make_mixed_table
from sklearn_unsup.impute import GenerativeImputer

pytestmark = pytest.mark.filterwarnings(
    # So few steps leave components collapsed.
    "ignore::sklearn.exceptions.ConvergenceWarning"
)


def quick_vae(**parameters):
    options = {"hidden_layer_sizes": (8,), "max_iter": 4, "sampling": "any_order"}
    return VAETransformer(2, **{**options, **parameters})


def quick(**parameters):
    return GenerativeImputer(quick_vae(), **{"random_state": 0, **parameters})


def with_holes(table, share=0.3, seed=0):
    return table.mask(np.random.default_rng(seed).random(table.shape) < share)


NAMED = "plan", "active"


@pytest.fixture(scope="module")
def table():
    return make_mixed_table(300, random_state=0)[0].drop(columns="region")


@pytest.fixture(scope="module")
def fitted(table):
    return quick().fit(with_holes(table))


CHECKS = [
    pytest.param(check, estimator, id=check.func.__name__)
    for estimator, check in estimator_checks_generator(
        GenerativeImputer(quick_vae(max_iter=1), random_state=0)
    )
]


@pytest.mark.filterwarnings("ignore:.*is fitted to (one|two) row")
@pytest.mark.parametrize(("check", "estimator"), CHECKS)
def test_scikit_learn_checks(check, estimator):
    check(clone(estimator))


@pytest.mark.parametrize("sample_posterior", [False, True])
@pytest.mark.parametrize("dtype", ["as it is", "nullable", "object"])
def test_cells_are_filled_in_and_the_others_kept(table, sample_posterior, dtype):
    if dtype == "nullable":
        table = table.convert_dtypes()
    elif dtype == "object":
        table = table.assign(plan=table["plan"].astype(object))
    holes = with_holes(table)
    imputer = quick(sample_posterior=sample_posterior)
    filled = imputer.fit_transform(holes)
    assert isinstance(filled, pd.DataFrame)
    assert filled.index.equals(holes.index)
    assert (filled.dtypes == holes.dtypes).all()
    assert not filled.isna().any(axis=None)
    for name in table:
        there = holes[name].notna()
        assert filled[name][there].tolist() == holes[name][there].tolist()
        if isinstance(table[name].dtype, pd.CategoricalDtype) or name in NAMED:
            assert set(filled[name]) <= set(holes[name].dropna())
        else:
            low, high = holes[name].min(), holes[name].max()
            assert filled[name].between(low, high).all()


def test_new_rows_may_miss_anything(table, fitted):
    """Whole rows, columns that were complete, and a row in any company."""
    complete = quick().fit(table.dropna())
    new = with_holes(make_mixed_table(50, random_state=1)[0][table.columns], 0.5, 3)
    new.iloc[3] = np.nan
    for imputer in (fitted, complete):
        filled = imputer.transform(new)
        assert not filled.isna().any(axis=None)
        one = imputer.transform(new[7:8])
        pd.testing.assert_frame_equal(one, filled[7:8])
    whole = table.dropna()
    pd.testing.assert_frame_equal(complete.transform(whole), whole)


def test_rows_without_a_value_and_columns_that_are_never_complete():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    X[np.arange(200), np.arange(200) % 3] = np.nan
    X[:5] = np.nan
    filled = quick().fit_transform(X)
    assert np.isfinite(filled).all()
    assert filled.dtype == X.dtype


def test_draws_differ_and_means_do_not(table, fitted):
    holes = with_holes(table)
    imputer = pickle.loads(pickle.dumps(fitted))
    first, again = imputer.transform(holes), imputer.transform(holes)
    pd.testing.assert_frame_equal(first, again)
    imputer.set_params(sample_posterior=True)
    one, other = imputer.transform(holes), imputer.transform(holes)
    there = holes["weight"].notna()
    assert not one["weight"][~there].equals(other["weight"][~there])
    same = clone(imputer).fit(holes)
    second = clone(imputer).fit(holes)
    pd.testing.assert_frame_equal(same.transform(holes), second.transform(holes))


def test_whole_numbers_stay_whole_if_asked(table):
    holes = with_holes(table[["visits", "height"]])
    filled = quick().fit_transform(holes)
    assert (filled["visits"] % 1 != 0).any()
    rounded = quick(round_numbers=True).fit_transform(holes)
    np.testing.assert_array_equal(rounded["visits"], filled["visits"].round())
    drawn = quick(sample_posterior=True).fit_transform(holes)
    assert (drawn["visits"] % 1 == 0).all()
    nullable = holes.astype({"visits": "Int64"})
    assert quick().fit_transform(nullable)["visits"].dtype == "Int64"


def test_indicators_and_names(table):
    holes = with_holes(table[["height", "weight", "plan"]])
    holes["plan"] = table["plan"]
    imputer = quick(add_indicator=True).fit(holes)
    filled = imputer.transform(holes)
    names = ["height", "weight", "plan", *("missingindicator_" + n for n in holes)]
    assert imputer.get_feature_names_out().tolist() == names[:5]
    assert filled.columns.tolist() == names[:5]
    missing = holes[["height", "weight"]].isna().to_numpy()
    np.testing.assert_array_equal(filled.iloc[:, 3:], missing)
    array = quick(add_indicator=True).fit_transform(holes[["height"]].to_numpy())
    np.testing.assert_array_equal(array[:, 1], missing[:, 0])
    with pytest.raises(ValueError, match="input_features"):
        imputer.get_feature_names_out(["a"])


@pytest.mark.parametrize("as_array", [False, True])
@pytest.mark.parametrize("keep", [False, True])
def test_empty_columns(keep, as_array):
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 3)), columns=list("abc"))
    X = with_holes(X)
    X["b"] = np.nan
    if as_array:
        X = X.to_numpy()
    imputer = quick(keep_empty_features=keep).fit(X)
    expected = ["x0", "x1", "x2"] if as_array else ["a", "b", "c"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        filled = imputer.transform(X)
    shown = [str(each.message) for each in caught]
    assert len(shown) == (not keep)
    assert (
        keep
        or f"without a value when fitted are dropped: ['{expected[1]}']" in shown[0]
    )
    names = list(imputer.get_feature_names_out())
    assert names == (expected if keep else [expected[0], expected[2]])
    assert filled.shape == (60, len(names))
    filled = np.asarray(filled)
    if keep:
        assert (filled[:, 1] == 0).all()
        filled = filled[:, [0, 2]]
    assert np.isfinite(filled).all()


def test_polars_in_polars_out(table):
    polars = pytest.importorskip("polars")
    holes = with_holes(table[["height", "visits", "plan"]]).assign(empty=np.nan)
    asked = polars.from_pandas(holes)
    for keep in (False, True):
        imputer = quick(add_indicator=True, keep_empty_features=keep).fit(asked)
        with nullcontext() if keep else pytest.warns(UserWarning, match="dropped"):
            filled = imputer.transform(asked)
        assert isinstance(filled, polars.DataFrame)
        assert filled.columns == list(imputer.get_feature_names_out())
        assert sum(filled.null_count().row(0)) == 0
        flags = filled.select("missingindicator_height", "missingindicator_plan")
        expected = holes[["height", "plan"]].isna().to_numpy()
        np.testing.assert_array_equal(flags.to_numpy(), expected)
        kept = [name for name in asked.columns if name in filled.columns]
        assert filled.select(kept).schema == asked.select(kept).schema
        assert ("empty" in kept) == keep


def test_empty_columns_that_have_values_later():
    X = pd.DataFrame({"a": np.arange(30.0), "b": np.nan, "c": pd.Series([None] * 30)})
    imputer = quick(keep_empty_features=True).fit(X)
    later = X.assign(b=[5.0, np.nan] * 15)
    for asked in (later, later[["a", "b"]].to_numpy()):
        imputer = quick(keep_empty_features=True).fit(X.iloc[:, : asked.shape[1]])
        if isinstance(asked, np.ndarray):
            imputer = quick(keep_empty_features=True).fit(X[["a", "b"]].to_numpy())
        filled = imputer.transform(asked)
        b = np.asarray(filled)[:, 1].astype(float)
        assert b.tolist() == [5.0, 0.0] * 15
    assert imputer.transform(X[["a", "b"]].to_numpy())[:, 1].tolist() == [0.0] * 30


def test_in_a_pipeline_and_a_grid_search():
    X, y = load_iris(return_X_y=True, as_frame=True)
    model = make_pipeline(quick(), LogisticRegression(max_iter=1_000))
    grid = {"generativeimputer__sample_posterior": [False, True]}
    search = GridSearchCV(model, grid, cv=2).fit(with_holes(X, 0.2), y)
    assert search.best_score_ > 0.8


def test_what_cannot_fill_in_cells_is_refused(table):
    for generator in (AutoencoderTransformer(), VAETransformer, "mean"):
        with pytest.raises(TypeError, match="estimator with `fit` and `impute`"):
            GenerativeImputer(generator).fit(table)


def linear_table(n, seed):
    """A number and a category that another number determines, but for some noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    y = 3 * x + 0.3 * rng.normal(size=n)
    return pd.DataFrame({"x": x, "y": y, "sign": np.where(x > 0, "up", "down")})


@pytest.mark.slow
@pytest.mark.parametrize("sampling", ["any_order", "autoregressive", "latent"])
def test_cells_depend_on_the_others(sampling):
    """In any direction, far better than the mean of the column."""
    table, fresh = linear_table(800, 0), linear_table(200, 1)
    hidden = with_holes(fresh, 0.4, 2)
    vae = quick_vae(sampling=sampling, max_iter=60, random_state=0)
    vae.fit(with_holes(table, 0.1))
    filled = vae.impute(hidden, random_state=0)
    for name in ("x", "y"):
        other = "y" if name == "x" else "x"
        rows = hidden[name].isna() & hidden[other].notna()
        error = (filled[name] - fresh[name])[rows].std() / fresh[name].std()
        assert error < (0.2 if sampling == "any_order" else 0.45)
    rows = hidden["sign"].isna() & (fresh["x"].abs() > 0.5) & hidden["x"].notna()
    assert (filled["sign"] == fresh["sign"])[rows].mean() > 0.9
    drawn = vae.impute(hidden, sample_posterior=True, random_state=0)
    assert not drawn.isna().any(axis=None)
    assert drawn[hidden.notna()].equals(fresh[hidden.notna()])


def test_means_are_those_of_draws_where_a_number_is_one_of_the_greatest():
    rng = np.random.default_rng(0)
    x = rng.normal(size=2_000)
    table = pd.DataFrame({"x": x, "y": np.exp(1.5 * x + 0.1 * rng.normal(size=2_000))})
    imputer = GenerativeImputer(random_state=0).fit(table)
    rows = pd.DataFrame({"x": np.full(500, 3.0), "y": np.nan})
    mean = imputer.transform(rows)["y"].mean()
    draws = imputer.set_params(sample_posterior=True).transform(rows)["y"]
    assert mean == pytest.approx(draws.mean(), rel=0.05)


@pytest.mark.parametrize("n", [1, 150, 1_000])
def test_means_are_those_of_each_row(n, monkeypatch):
    """A few thousand rows at a time, whichever others there are."""
    monkeypatch.setattr("sklearn_unsup._holes.ROWS_AT_ONCE", 400)
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    table = pd.DataFrame({"x": x, "y": x + 0.05 * rng.normal(size=400)})
    model = VAETransformer(2, hidden_layer_sizes=(8,), random_state=0).fit(table)
    drawn, draw = [], model._sample_encoded

    def count(conditions, rng, n_draws):
        drawn.append(len(conditions))
        assert n_draws == 20
        return draw(conditions, rng, n_draws=n_draws)

    monkeypatch.setattr(model, "_sample_encoded", count)
    rows = pd.DataFrame({"x": np.linspace(-1.5, 1.5, n), "y": np.nan})
    filled = model.impute(rows, random_state=0)
    assert sum(drawn) == n
    assert max(drawn) == min(n, 400)
    assert np.abs(filled["y"] - filled["x"]).mean() < 0.1


@pytest.mark.parametrize("draws", [False, True])
@pytest.mark.parametrize("dtype", ["Int64", "float64"])
def test_a_constant_with_holes_is_filled_in(dtype, draws):
    """Whether it is missing is a category, one of whose levels nobody wants."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"x": rng.normal(size=200), "y": rng.normal(size=200)})
    table["same"] = pd.Series(7, index=table.index, dtype=dtype)
    table.loc[rng.random(200) < 0.4, "same"] = None
    imputer = GenerativeImputer(sample_posterior=draws, random_state=0)
    filled = imputer.fit_transform(table)
    assert (filled["same"] == 7).all()


def test_draws_of_a_dependence_have_its_tails():
    """A histogram that knows nothing of the dependence is drawn from seldom."""
    rng, n = np.random.default_rng(0), 1_000
    x = rng.normal(rng.choice([-2.0, 2.0], n), 1.0)
    table = pd.DataFrame({"x": x, "y": 2 * x + 0.5 * rng.normal(size=n)})
    hidden = rng.random(n) < 0.2
    imputer = GenerativeImputer(sample_posterior=True, random_state=0)
    imputer.fit(table.assign(y=table["y"].mask(hidden)))
    rows = table.assign(y=np.nan)
    errors = pd.concat(
        [
            imputer.set_params(random_state=seed).transform(rows)["y"] - 2 * x
            for seed in range(10)
        ]
    )
    assert (errors.abs() > 8 * 0.5).mean() < 0.004


@pytest.mark.parametrize("name", ["first", "last"])
def test_a_column_that_another_one_determines(name):
    """Of particles that do not look ahead one in a hundred would be near to it."""
    rng, n = np.random.default_rng(0), 1_000
    x = rng.normal(size=n)
    level = rng.choice([*"abcdefgh"], n)
    columns = {"first": 100 * x, "level": level, "last": x + 0.01 * rng.normal(size=n)}
    table = pd.DataFrame({**columns, "copy": level})
    model = VAETransformer(2, random_state=0).fit(table)
    for method in (
        lambda: model.impute(table.assign(**{name: np.nan, "level": None})),
        lambda: model.sample(
            n, conditions=table.drop(columns=[name, "level"]), random_state=0
        ),
    ):
        filled = method()
        errors = (filled["first"] / 100 - filled["last"]).abs()
        assert errors.quantile(0.95) < 0.1
        assert (filled["level"] == filled["copy"]).mean() > 0.97


@pytest.mark.slow
def test_draws_cover_the_truth():
    """Nine tenths of hidden numbers are in the central nine tenths of draws."""
    table, fresh = linear_table(600, 0), linear_table(300, 1)
    hidden = with_holes(fresh, 0.3, 2)
    vae = quick_vae(max_iter=80, random_state=0).fit(with_holes(table, 0.2))
    draws = [vae.impute(hidden, sample_posterior=True) for _ in range(40)]
    for name in ("x", "y"):
        rows = hidden[name].isna()
        values = np.stack([draw[name][rows] for draw in draws])
        low, high = np.quantile(values, [0.05, 0.95], axis=0)
        share = fresh[name][rows].between(low, high).mean()
        assert 0.8 < share < 0.98


def test_sparse_rows_are_refused():
    from scipy.sparse import csr_array

    X = csr_array(np.random.default_rng(0).random((50, 5)))
    vae = VAETransformer(2, hidden_layer_sizes=(4,), max_iter=1).fit(X)
    with pytest.raises(ValueError, match="have no missing values"):
        vae.impute(X)


# ------------------------------------------------------------------ wide tables


def test_cells_of_wide_tables_are_filled_in_by_the_other_columns():
    """Seventy columns of five factors, and errors with a deviation of .5."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 5)) @ rng.normal(size=(5, 70))
    X += 0.5 * rng.normal(size=X.shape)
    holes = rng.random(X.shape) < 0.1
    model = VAETransformer(sampling="any_order", hidden_layer_sizes=(16,), max_iter=2)
    imputer = GenerativeImputer(model, random_state=0)
    filled = imputer.fit_transform(np.where(holes, np.nan, X))
    assert np.sqrt(np.mean((filled - X)[holes] ** 2)) < 0.75
    assert X[holes].std() > 2


@pytest.mark.parametrize("sampling", ["any_order", "autoregressive"])
def test_a_table_too_wide_for_a_model_of_its_columns_is_a_warning(sampling):
    X = np.random.default_rng(0).normal(size=(20, 400))
    model = VAETransformer(2, hidden_layer_sizes=(4,), sampling=sampling, max_iter=1)
    with pytest.warns(UserWarning, match="400 encoded columns make too large"):
        model.fit(X)


def test_a_wide_model_of_any_order_starts_from_its_like():
    X = np.random.default_rng(0).normal(size=(30, 130))
    model = VAETransformer(
        2, hidden_layer_sizes=(4,), sampling="any_order", max_iter=1, random_state=0
    )
    first = model.fit(X)
    again = clone(model).fit(X, start_from=first)
    for fitted in (first, again):
        assert fitted.net_.module_.autoregressive.width == 16
