"""Rows drawn again: near ones for what no network is asked, good ones for broken."""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from sklearn_unsup._drawing import N_CANDIDATES, nearest_rows
from sklearn_unsup._table.layout import EncodedConditions
from sklearn_unsup._table.ranges import PRESENT, NumberRequests
from sklearn_unsup._table.requests import TableConditions


def test_the_nearest_of_several_rows_is_taken():
    """Row i asks for i; candidates are numbers that come for it alone."""
    n, rng, drawn = 30, np.random.default_rng(0), {}
    wanted = np.arange(n, dtype=np.float64)
    requests = {0: NumberRequests(wanted, wanted, np.full(n, PRESENT))}
    bounds = np.stack([wanted, wanted], axis=1).astype(np.float32)
    asked = TableConditions(EncodedConditions(n, bounds={0: bounds}), requests)

    def draw(encoded):
        rows = encoded.bounds[0][:, 0].astype(int)
        x_num = rng.normal(rows[:, None], 5, (len(rows), 1)).astype(np.float32)
        for row, value in zip(rows.tolist(), x_num[:, 0].tolist(), strict=True):
            drawn.setdefault(row, []).append(value)
        return x_num, np.zeros((len(rows), 0), np.int64), np.zeros(len(rows))

    def distances(x_num, x_cat, requests):
        return np.abs(x_num[:, 0] - requests[0].low)

    codec = SimpleNamespace(
        constraints_=SimpleNamespace(determined={0: None}), distances=distances
    )
    x_num, x_cat, _ = draw(asked.encoded)
    x_num, _ = nearest_rows(draw, codec, asked, x_num, x_cat)
    for row, values in drawn.items():
        assert len(values) == 1 + N_CANDIDATES
        assert x_num[row, 0] == min(values, key=lambda value: abs(value - row))


def test_rows_that_are_as_asked_stay():
    n = 5
    wanted = np.zeros(n)
    requests = {0: NumberRequests(wanted, wanted, np.full(n, PRESENT))}
    asked = TableConditions(EncodedConditions(n), requests)
    codec = SimpleNamespace(
        constraints_=SimpleNamespace(determined={0: None}),
        distances=lambda x_num, x_cat, requests: np.abs(x_num[:, 0]),
    )
    x_num, x_cat = np.zeros((n, 1), np.float32), np.zeros((n, 0), np.int64)
    found, _ = nearest_rows(None, codec, asked, x_num, x_cat)
    assert not found.any()


MANY = """
import resource, sys
import sklearn_unsup
from sklearn_unsup.datasets import make_mixed_table
def peak():  # MiB; kilobytes but for macOS, where it counts bytes
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
table, _ = make_mixed_table(1_000, random_state=0)
name = sys.argv[1]
model = getattr(sklearn_unsup, name)(max_iter=1, random_state=0).fit(table)
model.sample(1_000)
before = peak()
rows = model.sample(300_000)
assert len(rows) == 300_000
print(peak() - before - rows.memory_usage().sum() / 2**20)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no resource module there")
@pytest.mark.parametrize(
    "name", ["AutoencoderTransformer", "VAETransformer", "GANSampler"]
)
def test_memory_of_many_rows(name):
    """Beyond the returned table less than one hidden layer of all rows would have.

    One of 128 units has 146 MiB. A GAN of one epoch keeps its density ratio, which
    chooses each row among four.
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MANY, name],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < 146, done.stdout
