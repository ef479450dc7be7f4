"""Conditions that no row can meet: found before any is drawn."""

import numpy as np
import pandas as pd
import pytest

from sklearn_unsup._table.constrained import ConstrainedCodec
from sklearn_unsup.constraints import Inequality, Linear, Range, Unique

RNG = np.random.default_rng(0)
A, B = RNG.integers(0, 50, (2, 200))
A[:2], B[:2] = [0, 49], [0, 49]
SUM = pd.DataFrame({"p": A, "q": B, "t": A + B})
WITH_HOLES = SUM.astype("Int64")
WITH_HOLES["p"] = WITH_HOLES["p"].mask(A % 7 == 0)
BYTES = pd.DataFrame({"low": A, "high": A + 1 + B}).astype("uint8")
BYTES.loc[0, "high"] = 255
FLOATS = pd.DataFrame({"low": A / 7, "high": A / 7 + B})
NOON = "2020-02-01 12:00"
DAYS = pd.Timestamp("2020-01-01") + pd.to_timedelta(A, "D")
DATES = pd.DataFrame({"low": DAYS, "high": DAYS + pd.to_timedelta(B, "D")})
KEYS = pd.DataFrame({"id": range(200), "k": [*range(20)] * 10})
KEYS["s"] = np.array([*"abcdefghij", None])[np.arange(200) // 20]
TOTAL, ORDER = Linear({"p": 1, "q": 1, "t": -1}), Inequality("low", "high")
STRICT = Inequality("low", "high", strict=True)
ID, PAIR = Unique("id"), Unique(["k", "s"])


def ask(X, constraint, conditions, n=3):
    codec = ConstrainedCodec(constraints=[constraint]).fit(X)
    return codec.encode_conditions(conditions, n)


@pytest.mark.parametrize(
    ("X", "constraint", "conditions", "message"),
    [
        (SUM, TOTAL, {"t": (500, 600)}, "'t' in row 0.*Linear.*least 0 and at most 98"),
        (SUM, TOTAL, {"t": [60, 500, 3]}, "'t' in row 1 contradicts Linear"),
        (SUM, TOTAL, {"t": (None, -1)}, "at least 0"),
        (SUM, TOTAL, {"p": 10, "q": 10, "t": 21}, "at least 20 and at most 20"),
        (WITH_HOLES, TOTAL, {"t": 200, "p": (0, 9)}, "at most 58"),
        (
            BYTES,
            STRICT,
            {"low": 255},
            "'low' must be at least 255.*'high' at most 255",
        ),
        (BYTES, STRICT, {"high": 0}, "row 0 contradicts Inequality"),
        (BYTES, STRICT, {"low": 5, "high": [9, 5, 9]}, "row 1 contradicts Inequality"),
        (
            BYTES,
            ORDER,
            {"low": (90, None), "high": (None, 20)},
            "least 90.* most 20",
        ),
        (FLOATS, ORDER, {"low": 5.1, "high": 5}, r"at least 5\.1.*at most 5\.0"),
        (DATES, ORDER, {"low": NOON, "high": "2020-02-01"}, "2020-02-01 12:00:00"),
        (FLOATS, Range("low", 0, 50), {"low": (51, 60)}, r"row 0 contradicts Range"),
        (FLOATS, Range("low", 0), {"low": [3, 4, -1]}, r"row 2 contradicts Range"),
        (DATES, Range("low", None, "2021-01-01"), {"low": "2021-01-02"}, "Range"),
        (KEYS, ID, {"id": 3}, r"3 rows ask for the same.*Unique\('id'\) leaves 1 that"),
        (KEYS, ID, {"id": (1, 2)}, "leaves 2 that differ"),
        (KEYS, ID, {"id": [1, 2, 1]}, "2 rows ask for the same as row 0"),
        (KEYS, PAIR, {"k": 3, "s": "a"}, "leaves 1"),
        (KEYS, PAIR, {"k": 3, "s": {"a", "b"}}, "leaves 2"),
    ],
)
def test_what_no_row_can_be(X, constraint, conditions, message):
    with pytest.raises(ValueError, match=f"^conditions: .*{message}"):
        ask(X, constraint, conditions)


@pytest.mark.parametrize(
    ("X", "constraint", "conditions"),
    [
        (SUM, TOTAL, {"t": 98}),
        (SUM, TOTAL, {"p": (60, 70), "t": (110, None)}),
        (SUM, TOTAL, {"p": 10, "q": 10, "t": 20}),
        # Where a part is missing, the total is what it likes.
        (WITH_HOLES, TOTAL, {"t": 200}),
        (BYTES, STRICT, {"low": 254}),
        (BYTES, STRICT, {"low": (5, 9), "high": (6, 7)}),
        (FLOATS, ORDER, {"low": 5, "high": 5}),
        (DATES, ORDER, {"low": NOON, "high": NOON}),
        (KEYS, ID, {"id": (1, 3)}),
        (KEYS, PAIR, {"k": 3}),
        (KEYS, PAIR, {"k": (3, 4), "s": {"a", "b"}}),
        (KEYS, PAIR, {"k": [1, 2, 3], "s": "a"}),
    ],
)
def test_what_rows_can_be(X, constraint, conditions):
    if constraint is PAIR:
        X = X.assign(s=X["s"].where(X["k"] > 0))
    assert ask(X, constraint, conditions).encoded.n_rows == 3


def test_missing_values_may_repeat():
    X = KEYS.assign(
        s=KEYS["s"].where(KEYS["k"] > 0), id=KEYS["id"].where(KEYS["k"] > 0)
    )
    assert ask(X, PAIR, {"k": 3, "s": None})
    assert ask(X, ID, {"id": None})
