"""What users ask of drawn rows: read, encoded, and met by decoded rows."""

import itertools

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_series_equal
from scipy.sparse import csr_array, issparse

from sklearn_unsup._table.codec import TableCodec
from sklearn_unsup._table.requests import n_rows_asked
from sklearn_unsup._table.sparse import SparseCodec

CONDITIONED = pd.DataFrame(
    {
        "age": [1.5, 2.5, 3.0, 4.0] * 5,
        "city": pd.Categorical(
            ["Rome", "Oslo", "Rome", "Bonn"] * 5,
            categories=["Rome", "Oslo", "Bonn", "Void"],
        ),
        "holes": pd.Series(["a", None, "a", "b"] * 5, dtype=object),
        "flag": [True, False, True, True] * 5,
        "same": ["s"] * 20,
        "grade": pd.Categorical(
            ["low", "mid", "high", "top"] * 5,
            categories=["low", "mid", "high", "top"],
            ordered=True,
        ),
        "sometimes": [1.0, np.nan, 3.0, np.nan] * 5,
    }
)


def encoded_conditions(conditions, n=3, table=CONDITIONED, **options):
    codec = TableCodec(**options).fit(table)
    return codec, codec.encode_conditions(conditions, n)


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"town": "Rome"}, r"'town' is no column\. The columns are: 'age', 'city'"),
        ({"City": "Rome"}, r"no column; did you mean 'city'\? The columns"),
        ({"city": "Paris"}, "'city' has no level 'Paris'.*'Rome', 'Bonn', 'Oslo'"),
        ({"city": "Void"}, "'city' has no level 'Void'.*'Rome', 'Bonn', 'Oslo'"),
        ({"city": None}, "'city' has no level None"),
        ({"city": np.nan}, "'city' has no level"),
        ({"city": ["Rome", "Paris", "Rome"]}, "'city' has no level 'Paris'"),
        ({"city": {"Rome", "Paris"}}, "'city' has no level 'Paris'"),
        ({"city": set()}, "'city' is asked for an empty set"),
        ({"city": ["Rome", "Oslo"]}, "2 values for 3"),
        ({"city": {"Rome": 1, "Oslo": 2, "Bonn": 3}}, "'city'"),
        ({"city": "romme"}, r"'romme'; did you mean 'Rome'\? Its levels are 'Rome', "),
        ({"city": "zebra"}, r"'zebra'\. Its levels"),
        ({"city": 1}, r"'city' has no level 1\."),
        ({"city": [("Bonn", "Oslo")] * 3}, "range .* is for numbers, dates and ord"),
        ({"flag": 2}, "'flag' has no level 2.*True, False"),
        ({"city": len}, "or a set of levels for all rows, or a sequence of 3.*an obj"),
        (
            {"city": CONDITIONED},
            "sequence of 3, one for each row; got an object of type DataFrame.$",
        ),
        ({"city": np.array([["Rome"]] * 3)}, "got an object of type ndarray.$"),
        ({"city": range(4)}, "'city' has 4 values for 3 rows"),
        ({"city": iter(["Rome"])}, "'city' has 1 values for 3 rows"),
        ({"city": itertools.repeat("Rome")}, "'city' has more than 3 values for 3"),
        ({"city": [["Rome"], ["Oslo"], ["Bonn"]]}, "'city'"),
        ({"flag": "yes"}, "'flag' has no level 'yes'.*True"),
        ({"same": "t"}, "'same' has no level 't'.*'s'"),
        ({"grade": ("top", "low")}, "'grade' has no level in .*least level first"),
        ({"grade": ("low", "best")}, "'grade' has no level 'best'"),
        ({"age": {1.5, 2.5}}, r"'age' takes one value or a range \(low, high\) for"),
        ({"age": [1.5, 2.5]}, "'age' has 2 values for 3 rows"),
        ({"age": (1.0, 2.0, 3.0)}, "a tuple of its least and its greatest value"),
        ({"age": (2.0, 1.0)}, "'age' can have no value in .*least value first"),
        ({"age": None}, "'age' had no missing values"),
        ({"age": "old"}, "'age' holds numbers; cannot read 'old'"),
        ({"age": np.inf}, "'age' takes finite numbers"),
        ({"age": (np.nan, 2.0)}, "'age' is asked for a range with a missing end"),
    ],
)
def test_errors(conditions, message):
    codec = TableCodec().fit(CONDITIONED)
    with pytest.raises(ValueError, match=message):
        codec.encode_conditions(conditions, 3)


def decoded_by(codec, conditions, follow):
    """Rows that are decoded under conditions.

    With `follow` they have the codes that were asked for, and else the others: the
    requests alone must be met, too, where there is one value to be met.
    """
    n = len(conditions.encoded)
    x_num, x_cat = (encoded[:n].copy() for encoded in codec.encode(CONDITIONED))
    for column, codes in conditions.encoded.codes.items():
        assert codes.dtype == np.int64
        x_cat[:, column] = np.where(codes < 0, x_cat[:, column], codes)
        if not follow and column not in codec.mask_of_.values():
            x_cat[:, column] = 0
    return codec.decode(x_num, x_cat, requests=conditions.requests)


@pytest.mark.parametrize("follow", [True, False])
@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"city": "Oslo"}, {"city": ["Oslo"] * 3}),
        ({"city": ["Oslo", "Rome", "Bonn"]}, {"city": ["Oslo", "Rome", "Bonn"]}),
        ({"city": {"Oslo"}}, {"city": ["Oslo"] * 3}),
        ({"flag": False}, {"flag": [False] * 3}),
        ({"flag": np.array([True, False, True])}, {"flag": [True, False, True]}),
        ({"flag": 0}, {"flag": [False] * 3}),
        ({"flag": [1, False, 0.0]}, {"flag": [True, False, False]}),
        ({"city": np.array("Oslo")}, {"city": ["Oslo"] * 3}),
        ({"city": ("Oslo", "Rome", "Bonn")}, {"city": ["Oslo", "Rome", "Bonn"]}),
        ({"holes": None}, {"holes": [None] * 3}),
        ({"holes": [np.nan, "b", None]}, {"holes": [None, "b", None]}),
        ({"same": "s", "city": pd.Series(["Rome"] * 3)}, {"city": ["Rome"] * 3}),
        ({"grade": ("top", None)}, {"grade": ["top"] * 3}),
        ({"age": 2.5}, {"age": [2.5] * 3}),
        ({"age": [4, 2.25, 1.5]}, {"age": [4.0, 2.25, 1.5]}),
        ({"age": np.float32(2.5)}, {"age": [2.5] * 3}),
        ({"age": 100.0}, {"age": [100.0] * 3}),
        ({"sometimes": [3.0, 2.0, 1.0]}, {"sometimes": [3.0, 2.0, 1.0]}),
        (pd.DataFrame({"city": ["Oslo"], "age": 3}), {"city": ["Oslo"] * 3}),
        ({}, {}),
    ],
)
def test_single_values(conditions, expected, follow):
    codec, conditions = encoded_conditions(conditions)
    back = decoded_by(codec, conditions, follow)
    assert_series_equal(back.dtypes, CONDITIONED.dtypes)
    for name, values in expected.items():
        assert back[name].tolist() == values


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        ({"Rome", "Bonn"}, [True, True, False]),
        ({"Rome", "Bonn", "Oslo"}, None),
        ((None, None), None),
        (["Oslo", {"Rome", "Oslo"}, (None, None)], [[0, 0, 1], [1, 0, 1], [1, 1, 1]]),
    ],
)
def test_sets_of_levels(asked, allowed):
    codec, conditions = encoded_conditions({"city": asked})
    [codes], [sets] = (
        [part.get(codec.places()[1])]
        for part in (conditions.encoded.codes, conditions.encoded.sets)
    )
    found = np.ones((3, 3), dtype=bool)
    for row, code in enumerate(codes):
        if code != -1:
            found[row] = sets[-2 - code] if code < 0 else np.arange(3) == code
    expected = True if allowed is None else allowed
    assert_array_equal(found, np.broadcast_to(expected, (3, 3)))


def test_an_iterator_is_read_once():
    _, conditions = encoded_conditions({"city": iter(["Oslo", "Rome", "Bonn"])})
    assert_array_equal(conditions.requests[1].ranks, [2, 0, 1])


def test_not_missing_and_missing():
    codec, conditions = encoded_conditions({"holes": (None, None)}, 4)
    place = codec.places()[2]
    missing = codec.columns_codec_[2].index_[None]
    [allowed] = conditions.encoded.sets[place]
    assert not allowed[missing]
    assert allowed.sum() == 2
    for asked, mask in [(None, 1), ((None, None), 0), (2.0, 0), ((None, 2.0), 0)]:
        codec, conditions = encoded_conditions({"sometimes": asked}, 4)
        assert (conditions.encoded.codes[codec.mask_of_[6]] == mask).all()
        # the number of a row without one is free
        bounds = conditions.encoded.bounds[codec.places()[6]]
        assert np.isinf(bounds[:, 0]).all() or asked == 2.0
    back = decoded_by(*encoded_conditions({"sometimes": [None, 2.0, None]}), True)
    assert_array_equal(back["sometimes"], [np.nan, 2.0, np.nan])


def test_ordered_levels_have_ranges():
    codec, conditions = encoded_conditions({"grade": ("mid", "high")})
    column = codec.columns_codec_[5]
    [allowed] = conditions.encoded.sets[codec.places()[5]]
    assert {column.levels_[i] for i in np.flatnonzero(allowed)} == {"mid", "high"}
    # of two rows as well: for ordered levels a tuple is never a sequence
    _, conditions = encoded_conditions({"grade": ("mid", "high")}, 2)
    assert_array_equal(conditions.requests[5].ranks, [-2, -2])


@pytest.mark.parametrize(
    ("column", "asked", "level"),
    [
        (pd.Series([0, 1, 1]), True, 1),
        (pd.Series([0, 1, 1]), 1.0, 1),
        (pd.Series([False, True, None], dtype="boolean"), 1, True),
        (pd.Series([0.1, 0.2, 0.3], dtype="float32"), 0.1, np.float32(0.1)),
        (pd.Series([0.1, 0.2, 0.3], dtype="Float32"), 0.1, np.float32(0.1)),
        (
            pd.Series([0.1, 0.2, 0.3], dtype="float32").astype("category"),
            0.1,
            np.float32(0.1),
        ),
        # where types mix, they are told apart
        (pd.Series([1, True, "a"], dtype=object), True, True),
        (pd.Series([1, True, "a"], dtype=object), 1, 1),
        (pd.Series([("a", 1), ("b", 2)], dtype=object), ("b", 2), ("b", 2)),
    ],
)
def test_levels_are_read_as_the_type_of_the_column(column, asked, level):
    codec, conditions = encoded_conditions(
        {"a": asked}, 2, pd.DataFrame({"a": column}), categorical_features=["a"]
    )
    codes = conditions.encoded.codes[0][:, None]
    back = codec.decode(np.zeros((2, 0)), codes, None, conditions.requests)["a"]
    assert back.dtype == column.dtype
    assert back.tolist() == [level] * 2
    assert isinstance(back[0], bool | np.bool_) == isinstance(level, bool)


@pytest.mark.parametrize(
    ("fitted", "cells"),
    [
        (pd.Series([True, False] * 3), pd.Series([1, 0])),
        (pd.Series([True, False] * 3), pd.Series([1.0, 0.0])),
        (pd.Series([True, None, False] * 2, dtype=object), pd.Series([1, 0])),
        (pd.Series([1, 0] * 3, dtype="category"), pd.Series([True, False])),
        (pd.Series([0.1, 0.2] * 3, dtype="float32"), pd.Series([0.1, 0.2])),
    ],
)
def test_cells_are_read_as_the_type_of_the_column(fitted, cells):
    """As conditions are: by transforming, scoring and filling in."""
    codec = TableCodec(categorical_features=["a"]).fit(pd.DataFrame({"a": fitted}))
    [column] = codec.columns_codec_
    own = pd.Series([value for value in fitted if value is not None][:2])
    expected = column.encode(own)
    assert expected[0] != expected[1]
    assert_array_equal(column.encode(cells), expected)
    assert not column.log_shares(cells)[1].any()


def test_other_types_are_no_level():
    for cells, others in [([1, 0, "a"], [True]), ([True, False, "a"], [1]), ([1], [2])]:
        X = pd.DataFrame({"a": pd.Series(cells, dtype=object)})
        [column] = TableCodec(categorical_features=["a"]).fit(X).columns_codec_
        with pytest.raises(ValueError, match="values that were not there when fitted"):
            column.encode(pd.Series(others, dtype=object))
    for cells, asked in [([1, 0, "a"], True), ([True, False, "a"], 1), ([1, 2], "1")]:
        X = pd.DataFrame({"a": pd.Series(cells, dtype=object)})
        codec = TableCodec(categorical_features=["a"]).fit(X)
        with pytest.raises(ValueError, match=f"has no level {asked!r}"):
            codec.encode_conditions({"a": asked}, 2)


def test_a_tuple_of_levels_is_a_sequence():
    """Unless the column has it as a level, see above."""
    X = pd.DataFrame({"a": pd.Series([("a", 1), ("b", 2)], dtype=object)})
    codec = TableCodec().fit(X)
    conditions = codec.encode_conditions({"a": (("b", 2), ("a", 1))}, 2)
    back = codec.decode(
        np.zeros((2, 0)), np.zeros((2, 1), int), None, conditions.requests
    )
    assert back["a"].tolist() == [("b", 2), ("a", 1)]


@pytest.mark.parametrize("X", [CONDITIONED, csr_array(np.eye(3))])
def test_conditions_that_are_none(X):
    """Without the text of a table."""
    codec = SparseCodec().fit(X) if issparse(X) else TableCodec().fit(X)
    with pytest.raises(TypeError, match="or None, got an object of type Series.$"):
        codec.encode_conditions(CONDITIONED["age"], 20)
    with pytest.raises(TypeError, match=r"or None, got \['city'\].$"):
        codec.encode_conditions(["city"], 20)


def many_levels(n_levels):
    """Level i has i + 1 rows."""
    names = [f"l{i}" for i in range(n_levels)]
    return pd.DataFrame({"a": np.repeat(names, np.arange(n_levels) + 1)})


def test_rare_levels():
    """They share a code, and are told apart by the requests."""
    X, rng = many_levels(30), np.random.default_rng(0)
    codec, conditions = encoded_conditions(
        {"a": ["l3", "l29", "l4"]}, 3, X, max_categories=5
    )
    codes = conditions.encoded.codes[0]
    assert_array_equal(codes, [4, 0, 4])
    back = codec.decode(np.zeros((3, 0)), codes[:, None], rng, conditions.requests)
    assert back["a"].tolist() == ["l3", "l29", "l4"]
    # 4 and 9 rows: a set draws them by their frequencies
    n = 4_000
    conditions = codec.encode_conditions({"a": {"l3", "l8", "l29"}}, n)
    [allowed] = conditions.encoded.sets[0]
    assert_array_equal(allowed, [True, False, False, False, True])
    back = codec.decode(np.zeros((n, 0)), np.full((n, 1), 4), rng, conditions.requests)[
        "a"
    ]
    assert set(back) == {"l3", "l8"}
    assert abs((back == "l3").mean() - 4 / 13) < 5 * np.sqrt(4 * 9 / 13**2 / n)
    conditions = codec.encode_conditions({"a": {"l3", "l8", "l29"}}, 2)
    codes = np.array([[4], [0]])
    back = codec.decode(np.zeros((2, 0)), codes, None, conditions.requests)
    assert back["a"].tolist() == ["l8", "l29"]


def test_columns_of_arrays_go_by_position():
    X = np.array([["a", 1.0], ["b", 2.0], ["b", 2.5]], dtype=object)
    codec, conditions = encoded_conditions({0: "a", 1: 2.0}, 2, X)
    assert_array_equal(conditions.encoded.codes[0], [1, 1])
    x_num, x_cat = np.zeros((2, 1)), np.zeros((2, 1), int)
    back = codec.decode(x_num, x_cat, requests=conditions.requests)
    assert back.tolist() == [["a", 2.0]] * 2


# ------------------------------------------------------------------ partial rows


def test_partial_rows():
    """Of a missing cell nothing is asked."""
    partial = CONDITIONED.head(4).copy()
    partial.loc[[0, 1], "age"] = np.nan
    partial.loc[[1, 2], "city"] = None
    codec, conditions = encoded_conditions(partial, 4)
    bounds = conditions.encoded.bounds[codec.places()[0]]
    assert_array_equal(np.isinf(bounds).all(1), [True, True, False, False])
    codes = conditions.encoded.codes[codec.places()[1]]
    assert_array_equal(codes == -1, [False, True, True, False])
    # a missing cell is no missing value, though the column had some
    assert_array_equal(conditions.encoded.codes[codec.mask_of_[6]], [0, -1, 0, -1])
    back = decoded_by(codec, conditions, True)
    for name in partial:
        given = partial[name].notna()
        assert back[name][given].tolist() == partial[name][given].tolist()


def test_partial_rows_with_a_column_twice():
    partial = CONDITIONED[["age", "city", "age"]].head(3)
    with pytest.raises(ValueError, match="several columns of the name 'age'"):
        encoded_conditions(partial)


@pytest.mark.parametrize(
    ("n_partial", "n_samples", "expected"), [(4, 1, 4), (4, 4, 4), (1, 1, 1), (1, 7, 7)]
)
def test_number_of_rows(n_partial, n_samples, expected):
    assert n_rows_asked(CONDITIONED.head(n_partial), n_samples) == expected
    assert n_rows_asked({"city": "Rome"}, n_samples) == n_samples


@pytest.mark.parametrize(("n_partial", "n_samples"), [(4, 3), (4, 8), (0, 1), (0, 2)])
def test_another_number_of_rows_is_an_error(n_partial, n_samples):
    with pytest.raises(ValueError, match=f"DataFrame of {n_partial} rows.*{n_samples}"):
        n_rows_asked(CONDITIONED.head(n_partial), n_samples)


# ------------------------------------------------------------------ shares


def test_shares_of_the_training_rows():
    """Each condition's own, multiplied; -inf for what no row has."""
    for asked, share in [
        ({"city": "Rome"}, 1 / 2),
        ({"city": {"Rome", "Oslo"}, "flag": True}, 3 / 4 * 3 / 4),
        ({"sometimes": None}, 1 / 2),
        ({"sometimes": (None, 2.0)}, 1 / 4),
        ({"sometimes": (None, None), "holes": None}, 1 / 8),
        ({"age": (2.0, 3.5)}, 1 / 2),
        ({"age": (2.0, 3.5), "same": "s"}, 1 / 2),
        ({}, 1.0),
    ]:
        _, conditions = encoded_conditions(asked, 5)
        assert_allclose(np.exp(conditions.log_share), [share] * 5, rtol=1e-6)
        assert conditions.unseen == {}
    for asked in ({"age": 9.0}, {"age": (3.1, 3.9)}, {"age": (None, 1.0)}):
        _, conditions = encoded_conditions(asked, 5)
        assert conditions.unseen == {"age": 5}
