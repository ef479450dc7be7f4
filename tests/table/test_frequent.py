"""Frequent values stay the same ones while a codec learns."""

import numpy as np
import pandas as pd
import pytest

from sklearn_unsup._table.codec import TableCodec

DAYS = pd.Timestamp("2020-01-01") + pd.to_timedelta([0, 3, 7], "D")
HUGE = 2**60 + 4096 * np.arange(3)
COLUMNS = {
    "tiny": (1e-200 * np.array([0.5, 1.5, 7.0]), [-3e-200, 1e-203]),
    "floats": (np.array([0.5, 1.5, 7.0]), [-3.0, 0.25]),
    "integers": (np.array([2, 5, 9]), [-4, 1]),
    "dates": (DAYS, pd.to_datetime(["2019-03-04", "2020-01-02"])),
    "hours": (DAYS, pd.to_datetime(["2019-03-04 05:00", "2020-01-02 07:00"])),
    "huge": (HUGE, HUGE[:2] - 2**58),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_values_are_found_after_others_have_come(kind):
    values, others = COLUMNS[kind]
    codec = TableCodec(numeric_scaling="quantile")
    first = pd.DataFrame({"x": np.repeat(values, 100)})
    codec.fit(first)
    known = codec.frequent_values(0.1, 0)
    assert len(known[0]) == 3
    codec = codec.updated(pd.DataFrame({"x": np.repeat(others, 50)}))
    intervals = codec.intervals(known)[0]
    z = codec.encode(first.iloc[::100], np.random.default_rng(0))[0][:, 0]
    assert (intervals[0] <= z).all()
    assert (z <= intervals[1]).all()
    np.testing.assert_allclose(intervals[3] - intervals[2], 0.25, atol=0.01)


def test_a_column_without_frequent_values_has_no_intervals():
    codec = TableCodec(numeric_scaling="quantile")
    codec.fit(pd.DataFrame({"x": np.arange(200.0)}))
    known = codec.frequent_values(0.1, 0)
    assert len(known[0]) == 0
    assert codec.intervals(known)[0].shape == (4, 0)
