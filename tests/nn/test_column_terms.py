"""Terms of the autoregressive model, against quadrature and its own total."""

import numpy as np
import pytest
import torch

from sklearn_unsup._nn.autoregressive import REGRESSIONS, AutoregressiveModel
from sklearn_unsup._nn.column_terms import column_terms, interval_log_prob
from sklearn_unsup._nn.heads import NumberHeads
from sklearn_unsup._table.layout import TableLayout

EDGES = [0.05, 0.3, 0.35, 0.8], [0.5]


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module", params=[False, True], ids=["free", "linear"])
def model(request):
    layout = TableLayout(2, (3, 40, 2), (2, -1))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoregressiveModel(
            layout, 16, EDGES, regressions=REGRESSIONS if request.param else ()
        ).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.4)
        model.input_layer.weight.data.mul_(model.mask)
        if request.param:
            linear = model.category_heads.linear
            for column, place in enumerate(
                model.feature_slices[: model.layout.n_categorical]
            ):
                weights = linear.of_level(column)
                weights[:, : place.start] = torch.randn(len(weights), place.start)
            seen = model.mask[16 * layout.n_categorical :: 16]
            model.linear.weight.copy_(torch.randn(seen.shape) * seen)
            model.linear.scale.copy_(torch.tensor([1.0, 0.3]))
    return model


@pytest.fixture(scope="module")
def rows():
    x_cat = torch.tensor([[0, 39, 0], [2, 1, 1], [1, 7, 0], [2, 0, 0]])
    x_num = randn(4, 2)
    x_num[1, 0] = 0.0  # missing
    return x_num, x_cat


@torch.no_grad()
def test_terms_add_up_to_the_log_likelihood(model, rows):
    x_num, x_cat = rows
    numbers, categories = column_terms(model, *rows, x_num, torch.zeros(4, 2))
    assert numbers[1, 0] == 0
    total = numbers.sum(1) + categories.sum(1)
    torch.testing.assert_close(
        total.float(), model.log_prob(x_num, x_cat), atol=1e-4, rtol=1e-5
    )


@pytest.fixture(scope="module")
def heads():
    heads = NumberHeads(1, EDGES[:1])
    raw = randn(1, 1, heads.bias.shape[-1], seed=3).double()
    raw[..., 16:24] -= 1.5  # narrow components
    return heads, raw


def log_prob(heads, middle, half):
    heads, raw = heads
    middle = torch.tensor(middle, dtype=torch.float64).reshape(1, -1)
    half = torch.tensor(half, dtype=torch.float64).reshape(1, -1)
    raw = raw.expand(1, middle.shape[1], -1)
    with torch.no_grad():
        return interval_log_prob(heads, raw, middle, half)[0].numpy()


@pytest.mark.parametrize("middle", [-4.0, -0.7, 0.1, 3.0])
@pytest.mark.parametrize("half", [1e-9, 1e-5, 1e-3, 0.05, 1.0, 5.0])
def test_intervals_are_integrals_of_the_density(heads, middle, half):
    ends = middle - half, middle + half
    edges = [edge for edge in heads[0].edges[0].tolist() if ends[0] < edge < ends[1]]
    steps = np.unique([*ends, *edges, *np.linspace(*ends, 40)])
    # Gauss and Legendre's rule on each part, where the density is smooth.
    nodes, weights = np.polynomial.legendre.leggauss(20)
    halves = 0.5 * np.diff(steps)[:, None]
    points = (steps[:-1, None] + halves * (nodes + 1)).ravel()
    density = np.exp(log_prob(heads, points, np.zeros(len(points))))
    total = ((halves * weights).ravel() * density).sum()
    assert log_prob(heads, [middle], [half])[0] == pytest.approx(
        np.log(total), abs=2e-5
    )


@pytest.mark.parametrize("cut", [-9.0, -2.0, 0.3, 2.5, 9.0])
def test_two_sides_are_all(heads, cut):
    sides = log_prob(heads, [cut, cut], [-np.inf, np.inf])
    assert np.exp(sides).sum() == pytest.approx(1.0, abs=1e-6)


def test_parts_of_the_line_sum_to_one(heads):
    cuts = np.sort(np.random.default_rng(0).normal(0, 2, 300))
    middle, half = 0.5 * (cuts[1:] + cuts[:-1]), 0.5 * np.diff(cuts)
    ends = log_prob(heads, cuts[[0, -1]], [-np.inf, np.inf])
    total = np.exp(log_prob(heads, middle, half)).sum() + np.exp(ends).sum()
    assert total == pytest.approx(1.0, abs=1e-6)


def test_far_intervals_are_finite(heads):
    middle = np.array([30.0, 30.0, -30.0, -1e3, 1e3])
    half = np.array([0.01, np.inf, -np.inf, 1.0, np.inf])
    found = log_prob(heads, middle, half)
    assert np.isfinite(found).all()
    assert (found < -50).all()
