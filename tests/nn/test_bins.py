"""Bins of the histograms of numbers: where they end, and what they hold."""

import numpy as np
import pandas as pd
import pytest

from sklearn_unsup._nn.bins import (
    MIN_CUT_GAIN,
    atom_share,
    histogram_edges,
    level_cuts,
    log_likelihood,
)
from sklearn_unsup._table.codec import TableCodec


def atoms_of(*values):
    frame = pd.DataFrame({"x": np.concatenate(values)})
    return TableCodec().fit(frame).atoms()[0]


def test_without_atoms_bins_have_equal_shares():
    edges = histogram_edges(np.empty((4, 0)), 5, 0.01)
    np.testing.assert_allclose(edges, [0.2, 0.4, 0.6, 0.8])


def test_an_atom_has_a_bin_of_its_own():
    """Zeros are 30 % of the rows, below all others, which share what is left."""
    rng = np.random.default_rng(0)
    atoms = atoms_of(np.zeros(300), rng.uniform(1, 2, 700))
    edges = histogram_edges(atoms, 10, 0.05)
    np.testing.assert_allclose(edges, 0.3 + 0.1 * np.arange(7), atol=1e-6)


def test_a_column_of_atoms_has_a_bin_for_each():
    values = np.repeat([1.0, 2.0, 3.0, 4.0], [100, 200, 300, 400])
    edges = histogram_edges(atoms_of(values), 64, 0.01)
    np.testing.assert_allclose(edges, [0.1, 0.3, 0.6], atol=1e-6)


def test_small_atoms_have_no_bin():
    values = np.repeat(np.arange(100.0), 10)
    edges = histogram_edges(atoms_of(values), 4, 0.02)
    np.testing.assert_allclose(edges, [0.25, 0.5, 0.75])


@pytest.mark.parametrize("seed", range(20))
def test_edges_ascend_and_leave_no_empty_bin(seed):
    rng = np.random.default_rng(seed)
    values = rng.choice(rng.normal(size=30), size=2_000, p=rng.dirichlet(np.ones(30)))
    mixed = np.concatenate([values, rng.normal(size=rng.integers(1_000))])
    edges = histogram_edges(atoms_of(mixed), 64, 1 / 400)
    assert (np.diff(edges, prepend=0.0, append=1.0) > 1 / 4_000).all()


def test_cuts_are_edges_beside_the_others():
    edges = histogram_edges(np.empty((4, 0)), 4, 0.01, cuts=[0.6])
    np.testing.assert_allclose(edges, [0.25, 0.5, 0.6, 0.75])


# ------------------------------------------------------------------- cuts at levels

# Middles of the quantiles of a thousand rows, in ten bins.
U, BINS = (np.arange(1_000) + 0.5) / 1_000, np.arange(1, 10) / 10


def test_a_bin_is_cut_where_the_rows_of_a_level_end():
    codes = (U > 0.85).astype(int)[:, None]
    np.testing.assert_allclose(level_cuts(BINS, U, codes), [0.85])


def test_a_few_rows_of_the_other_level_do_not_hide_its_end():
    codes = (U > 0.85).astype(int)[:, None]
    codes[[820, 870], 0] = 1, 0
    np.testing.assert_allclose(level_cuts(BINS, U, codes), [0.85])


def test_the_clearest_of_two_cuts_of_a_bin_is_taken():
    codes = np.stack([U > 0.85, (U > 0.83) & (U % 0.01 < 0.004)], 1).astype(int)
    np.testing.assert_allclose(level_cuts(BINS, U, codes), [0.85])
    np.testing.assert_allclose(level_cuts(BINS, U, codes[:, [1, 0]]), [0.85])


def test_rows_in_any_order_have_the_same_cuts():
    order = np.random.default_rng(0).permutation(1_000)
    codes = (U > 0.85).astype(int)[:, None]
    np.testing.assert_allclose(level_cuts(BINS, U[order], codes[order]), [0.85])


def test_bins_are_not_cut_where_an_edge_is():
    codes = (U > 0.8).astype(int)[:, None]
    assert len(level_cuts(BINS, U, codes)) == 0


def test_repeated_quantiles_are_not_cut_apart():
    u = np.repeat(U[::10], 10)
    codes = np.arange(1_000)[:, None] >= 855
    cuts = level_cuts(BINS, u, codes.astype(int))
    assert len(cuts) == 1
    assert not np.isin(cuts, u)


def test_no_category_cuts_nothing():
    assert len(level_cuts(BINS, U, np.empty((1_000, 0), int))) == 0
    assert len(level_cuts(BINS, U, np.zeros((1_000, 1), int))) == 0


def test_chance_hardly_ever_cuts():
    rng = np.random.default_rng(0)
    # 300 columns of ten bins: by chance a likelihood ratio of 10 nats is rare
    n_cuts = sum(
        len(level_cuts(BINS, U, rng.integers(3, size=(1_000, 3)))) for _ in U[::10]
    )
    assert n_cuts <= 10


def test_log_likelihood_is_that_of_the_frequencies():
    counts = np.array([[3, 1], [0, 5], [0, 0]])
    expected = [3 * np.log(0.75) + np.log(0.25), 0.0, 0.0]
    np.testing.assert_allclose(log_likelihood(counts), expected)


def test_a_cut_needs_its_gain():
    """The smallest level whose end is seen: a cut of r of 100 rows gains H(r / 100)."""
    gains = {}
    for r in range(5, 50):
        gains[r] = -log_likelihood(np.array([[100 - r, r]]))[0] - MIN_CUT_GAIN - 1
        codes = (U > 0.9 - r / 1_000).astype(int)[:, None]
        codes[900:] = 0
        assert (len(level_cuts(BINS, U, codes)) == 1) == (gains[r] > 0)
    assert len(gains) == 45


def test_the_share_of_rows_with_bins_of_their_own():
    """Zeros and ones are 30 and 5 % of the rows; of the others each is its own."""
    rng = np.random.default_rng(0)
    atoms = atoms_of(np.zeros(300), np.ones(50), rng.uniform(2, 3, 650))
    assert atom_share(atoms, 0.1) == pytest.approx(0.3, abs=2e-3)
    assert atom_share(atoms, 0.01) == pytest.approx(0.35, abs=2e-3)
    assert atom_share(np.empty((4, 0)), 0.01) == 0.0
