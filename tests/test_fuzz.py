"""Random tables of any dtype: each gives a legal result, or an error with a reason.

Slow: `make test-all` runs it. A table that fails can be made again from its number.
"""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from pandas.api.types import is_numeric_dtype

from sklearn_unsup import AutoencoderTransformer, GANSampler, VAETransformer

N_TABLES, TABLES_PER_TEST = 300, 20
SMALL = {"hidden_layer_sizes": (8,), "max_iter": 1, "random_state": 0}
MODELS = {
    "autoencoder": AutoencoderTransformer(2, **SMALL),
    "VAE": VAETransformer(2, **SMALL),
    "VAE with laws": VAETransformer(2, **SMALL),
    "GAN": GANSampler(2, critic_hidden_layer_sizes=(8,), density_ratio=None, **SMALL),
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*looks like an identifier"),
    pytest.mark.filterwarnings("ignore:A fit to"),
    pytest.mark.filterwarnings("ignore:.*is fitted to (one row|two rows)"),
    pytest.mark.filterwarnings("ignore:.*rows repeat others"),
]


def whole_numbers(rng, n):
    dtype = rng.choice(["int8", "int16", "int64", "uint8", "uint32", "uint64"])
    info = np.iinfo(dtype)
    kind = rng.integers(3)
    if kind == 0:
        return rng.integers(0, 5, n).astype(dtype)
    if kind == 1:  # the whole range
        return rng.integers(info.min, info.max, n, dtype=dtype, endpoint=True)
    return rng.choice(np.array([info.min, info.max], dtype=dtype), n)


def real_numbers(rng, n):
    scale = 10.0 ** rng.integers(-300, 300) if rng.random() < 0.3 else 1.0
    values = rng.choice(
        [rng.normal(size=n), rng.exponential(size=n), rng.integers(0, 3, n) / 2]
    )
    if rng.random() < 0.3:
        return (values * min(max(scale, 1e-30), 1e30)).astype(np.float32)
    return values * scale


def texts(rng, n):
    levels = [None, "", "a", "ä", " a", "nan", "0", "long " * 20, "\n", "NULL"]
    first = 0 if rng.random() < 0.5 else 1
    return pd.Series([levels[i] for i in rng.integers(first, len(levels), n)])


def categories(rng, n):
    ordered = bool(rng.random() < 0.5)
    levels = [["x", "y", "z", "never"], [3, 1, 2], [0.5, 1.5], [True, False]]
    chosen = levels[rng.integers(len(levels))]
    codes = rng.integers(-1, min(3, len(chosen)), n)
    return pd.Series(pd.Categorical.from_codes(codes, chosen, ordered=ordered))


def times(rng, n):
    unit = rng.choice(["s", "ms", "us", "ns"])
    span = 10**9 if unit == "ns" else 10**10
    seconds = rng.integers(-span, span, n)
    values = pd.Series(seconds.astype("datetime64[s]").astype(f"datetime64[{unit}]"))
    if rng.random() < 0.3:
        values = values.dt.tz_localize("UTC").dt.tz_convert("Europe/Oslo")
    return values


def durations(rng, n):
    return pd.Series(rng.integers(-(10**6), 10**6, n).astype("timedelta64[s]"))


def nullable(rng, n):
    dtype = rng.choice(["Int8", "Int64", "UInt64", "Float32", "Float64", "boolean"])
    values = pd.Series(rng.integers(0, 2 if dtype == "boolean" else 100, n))
    return values.astype(dtype).mask(pd.Series(rng.random(n) < 0.2))


def flags(rng, n):
    values = pd.Series(rng.random(n) < 0.4)
    return values.astype(object).where(rng.random(n) < 0.8, None)


def constants(rng, n):
    value = [0, 1.5, "same", True, None, np.nan, pd.Timestamp("2020-01-01")]
    return pd.Series([value[rng.integers(len(value))]] * n)


def refused(rng, n):
    cells = [
        [[1, 2]] * n,
        [{"a": 1}] * n,
        [1 + 2j] * n,
        [np.inf] * n,
        [object()] * n,
        [1, "mixed"] * (n // 2) + [2.5] * (n % 2),
    ]
    return pd.Series(cells[rng.integers(len(cells))])


KINDS = [
    *(whole_numbers, real_numbers, texts, categories, times, durations, nullable),
    *(flags, constants),
]


def table_number(number):
    rng = np.random.default_rng(number)
    n_rows = int(rng.choice([1, 2, 3, 17, 60]))
    kinds = [KINDS[i] for i in rng.integers(len(KINDS), size=rng.integers(1, 7))]
    if rng.random() < 0.1:
        kinds.append(refused)
    columns = []
    for kind in kinds:
        column = pd.Series(kind(rng, n_rows))
        if rng.random() < 0.2:
            column = column.mask(pd.Series(rng.random(n_rows) < rng.choice([0.3, 1])))
        columns.append(column)
    table = pd.concat(columns, axis=1)
    names = [f"column {i}" for i in range(len(columns))]
    if rng.random() < 0.1:
        names = ["twice"] * len(columns)
    table.columns = names
    if rng.random() < 0.3:
        table.index = rng.permutation(n_rows) * 7
    return table


def check_legal(table, drawn):
    """Columns, dtypes and values are of the kind that the table has."""
    assert list(drawn.columns) == list(table.columns)
    for position in range(table.shape[1]):
        real, new = table.iloc[:, position], drawn.iloc[:, position]
        assert new.dtype == real.dtype, (real.dtype, new.dtype)
        if not real.isna().any():
            assert not new.isna().any()
        known, values = real.dropna(), new.dropna()
        if real.dtype == object or isinstance(real.dtype, pd.CategoricalDtype):
            kinds = {type(value) for value in known} | {float, int}
            assert {type(value) for value in values} <= kinds
            if known.map(lambda value: isinstance(value, str)).all():
                assert set(values) <= set(known)
        elif len(values) and is_numeric_dtype(real) and real.dtype.kind != "b":
            assert values.min() >= known.min()
            assert values.max() <= known.max()


def use(model, table):
    model.fit(table)
    codes = model.transform(table)
    assert np.isfinite(codes).all()
    back = model.inverse_transform(codes)
    assert [str(a) for a in back.dtypes] == [str(a) for a in table.dtypes]
    check_legal(table, model.sample(20, random_state=0))
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.transform(table), codes)
    if hasattr(model, "score_samples"):
        assert np.isfinite(model.score_samples(table)).all()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("first", range(0, N_TABLES, TABLES_PER_TEST))
def test_any_table_is_used_or_refused_with_a_reason(name, first):
    n_used = 0
    for number in range(first, first + TABLES_PER_TEST):
        table = table_number(number)
        if name == "VAE with laws":  # that each column and its twin are equal
            table = table.join(table.add_suffix(" twin"))
        try:
            with warnings.catch_warnings():
                # Rows that overflow a float are the point of some tables.
                warnings.simplefilter("error", RuntimeWarning)
                use(MODELS[name], table)
            n_used += 1
        except (TypeError, ValueError) as error:
            said = str(error)
            named = any(repr(column) in said for column in table.columns)
            assert named, f"table {number}: {said}"
        except Exception as error:
            raise AssertionError(f"table {number}") from error
    assert n_used > TABLES_PER_TEST / 2  # Or the tables above are no tables.
