"""Parameters that must not change between two fits, compared."""

import numpy as np
import pandas as pd
import pytest

from sklearn_unsup._parameters import is_same, layer_sizes


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (["a", "b"], ("a", "b"), True),
        (np.array([0, 2]), [0, 2], True),
        (pd.Index(["a"]), ["a"], True),
        (["a"], ["b"], False),
        (["a"], ["a", "b"], False),
        ([True, False], [1, 0], False),
        (True, 1, False),
        ("auto", "auto", True),
        (None, "auto", False),
    ],
)
def test_values_that_mean_the_same(first, second, expected):
    assert is_same(first, second) is expected
    assert is_same(second, first) is expected


def test_series_of_polars_mean_their_values():
    polars = pytest.importorskip("polars")
    assert is_same(polars.Series(["a"]), polars.Series(["a"]))
    assert not is_same(polars.Series(["a"]), ["b"])


def test_an_int_is_one_layer():
    assert layer_sizes(64) == layer_sizes((64,)) == layer_sizes([64]) == (64,)
