"""Histograms of repeated numbers, relative to what regressions tell of them."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from sklearn_unsup._nn.autoregressive import AutoregressiveModel
from sklearn_unsup._nn.bins import variance_between
from sklearn_unsup._nn.column_terms import column_terms
from sklearn_unsup._nn.heads import GATE, NumberHeads
from sklearn_unsup._nn.regression import Regression
from sklearn_unsup._nn.value_tilts import FLOOR
from sklearn_unsup._table.layout import TableLayout

EDGES = [np.array([0.3, 0.5, 0.9]), np.array([0.6])]


def make_heads(columns=(0, 1)):
    heads = NumberHeads(2, EDGES)
    heads.tilts.set_columns(columns)
    return heads


@pytest.mark.parametrize("column", [0, 1])
def test_bins_have_the_mass_of_the_normal_distribution_and_a_floor(column):
    heads, edges = make_heads(), EDGES[column]
    log_ratios = heads.tilts.of_column(
        column, torch.tensor([0.7, -4.0]), torch.tensor([0.4, 0.05])
    )
    bins = (heads.log_widths[column] + log_ratios).exp().numpy()
    inner = norm.ppf(np.concatenate([[0.0], edges, [1.0]]))
    for row, (mean, scale) in enumerate([(0.7, 0.4), (-4.0, 0.05)]):
        mass, width = np.diff(norm.cdf(inner, mean, scale)), np.diff(norm.cdf(inner))
        expected = (1 - FLOOR) * mass + FLOOR * width
        assert bins[row, : len(width)] == pytest.approx(expected, abs=1e-5)
        # Bins that the column does not have.
        assert (bins[row, len(width) :] == 0).all()


def test_moments_of_a_standard_normal_number_change_nothing():
    log_ratios, columns = make_heads().tilts(torch.zeros(2, 3), torch.ones(2, 3))
    assert columns.tolist() == [0, 1]
    for own, edges in zip(log_ratios, EDGES, strict=True):
        assert own[: len(edges) + 1].abs().max() < 1e-5


def test_what_is_told_of_all_columns_is_told_of_each():
    heads, generator = make_heads([1]), torch.Generator().manual_seed(0)
    means = torch.randn(2, 5, generator=generator)
    scales = torch.rand(2, 5, generator=generator) + 0.1
    log_ratios, columns = heads.tilts(means, scales)
    assert columns.tolist() == [1]
    expected = heads.tilts.of_column(1, means[1], scales[1])
    torch.testing.assert_close(log_ratios[0].t(), expected)
    # The same of the columns from the second one on.
    after, columns = heads.tilts(means[1:], scales[1:], 1)
    assert columns.tolist() == [0]
    torch.testing.assert_close(after, log_ratios)


def test_loaded_weights_know_the_columns():
    heads = NumberHeads(2, EDGES)
    assert heads.tilts.columns == ()
    heads.load_state_dict(make_heads([1]).state_dict())
    assert heads.tilts.columns == (1,)


def test_variance_between_atoms_is_that_of_their_means():
    u = (np.arange(200_000) + 0.5) / 200_000
    z = norm.ppf(u)
    # An atom of half of the rows, and a narrow one; the others are spread.
    begin, end = np.array([0.1, 0.8]), np.array([0.6, 0.85])
    known = z.copy()
    for low, high in zip(begin, end, strict=True):
        inside = (u > low) & (u < high)
        known[inside] = z[inside].mean()
    found = variance_between(np.stack([begin, end, begin, end]))
    assert found == pytest.approx(known.var(), abs=1e-3)
    assert variance_between(np.empty((4, 0))) == 1.0


def test_a_regression_looks_behind_the_values_of_a_number():
    rng = np.random.default_rng(0)
    x = rng.normal(size=50_000)
    behind = 0.6 * x + 0.8 * rng.normal(size=len(x))
    # Where it is negative there is one value: anywhere in the lower half.
    y = np.where(behind < 0, norm.ppf(0.5 * rng.random(len(x))), behind)
    A = torch.from_numpy(x)[:, None]
    found = Regression(A, torch.from_numpy(y), torch.tensor([True]))
    assert float(found.weight) < 0.55
    atom = np.array([[-9.0], [0.0], [0.0], [0.5]])
    found.look_behind_values(variance_between(atom))
    assert float(found.weight) == pytest.approx(0.6, abs=0.01)
    assert float(found.scale) == pytest.approx(0.8, abs=0.01)


def started_model():
    """A normal number, and one that depends on it, of which half have one value."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=4_000)
    behind = 0.6 * x + 0.8 * rng.normal(size=len(x))
    y = np.where(behind < 0, norm.ppf(0.5 * rng.random(len(x))), behind)
    rows = AutoregressiveModel(
        TableLayout(2), 4, [(), np.array([0.5, 0.75])], ("numbers",)
    )
    x_num = torch.from_numpy(np.column_stack([x, y])).float()
    atoms = [np.empty((4, 0)), np.array([[-9.0], [0.0], [0.0], [0.5]])]
    rows.start_at_dependences(
        x_num,
        torch.zeros(len(x), 0, dtype=torch.int64),
        between=[variance_between(own) for own in atoms],
    )
    rows.number_heads.tilts.set_columns([1])
    return rows.eval()


@pytest.mark.parametrize("gate", [-20.0, 20.0])
def test_values_begin_as_likely_as_what_is_behind_them(gate):
    """Of the normal distribution and of the histogram alike."""
    rows = started_model()
    with torch.no_grad():
        rows.number_heads.weight.zero_()
        rows.number_heads.bias[1, :, GATE] = gate
        x_num = torch.tensor([[-1.5, 0.0], [0.0, 0.0], [1.5, 0.0]])
        moments = rows._moments(rows.features(x_num, torch.zeros(3, 0).long()))
        own = [moment[1] for moment in moments]
        half = torch.tensor([0.5])
        masses = rows.number_heads.masses(1, torch.zeros(3, 4), half, own)
    expected = norm.cdf(0.0, 0.6 * np.array([-1.5, 0.0, 1.5]), 0.8)
    if gate > 0:
        expected = (1 - FLOOR) * expected + FLOOR * 0.5
    assert masses[:, 0].numpy() == pytest.approx(expected, abs=0.03)


def test_log_probs_of_rows_are_those_of_their_cells():
    rows, generator = started_model(), torch.Generator().manual_seed(0)
    x_num = torch.randn(50, 2, generator=generator)
    x_cat = torch.zeros(50, 0, dtype=torch.int64)
    with torch.no_grad():
        rows.number_heads.bias[:, :, GATE] = 0.0
        total = rows.log_prob(x_num, x_cat)
        terms, _ = column_terms(rows, x_num, x_cat, x_num, torch.zeros(50, 2))
        plain = rows.number_heads.tilts
        plain.set_columns([])
        without = rows.log_prob(x_num, x_cat)
    torch.testing.assert_close(total.double(), terms.sum(1), atol=1e-4, rtol=0)
    assert (total - without).abs().max() > 0.01


def test_drawn_values_are_as_frequent_as_their_probability():
    rows, generator = started_model(), torch.Generator().manual_seed(0)
    n = 20_000
    hidden, u = torch.zeros(n, 4), torch.tensor([0.5, 0.75])
    moments = torch.full((n,), 0.9), torch.full((n,), 0.5)
    with torch.no_grad():
        rows.number_heads.bias[1, :, GATE] = 20.0
        masses = rows.number_heads.masses(1, hidden[:1], u, [m[:1] for m in moments])
        x = rows.number_heads.sample(1, hidden, generator, moments)
    counts = torch.bincount(torch.bucketize(x, torch.special.ndtri(u)), minlength=3)
    assert (counts / n).tolist() == pytest.approx(masses[0].tolist(), abs=0.015)
