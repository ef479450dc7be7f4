"""Features that are not zero, and all of them, are the same first layers."""

import pytest
import torch

from sklearn_unsup._nn.autoregressive import AutoregressiveModel
from sklearn_unsup._nn.distributions import presence
from sklearn_unsup._nn.features import DenseFeatures, SparseFeatures
from sklearn_unsup._table.layout import TableLayout

# The second column has an embedding, and the second number is missing in places.
LAYOUT = TableLayout(3, (3, 40, 2), masks=(-1, 2, -1))


# Values of the first two numbers that are features of their own: two in the middle, and
# one at the lower end.
QUANTILES = [
    torch.tensor([[0.4, 0.5], [0.5, 0.7]], dtype=torch.float64),
    torch.tensor([[0.0], [0.3]], dtype=torch.float64),
    torch.zeros(2, 0, dtype=torch.float64),
]


@torch.no_grad()
def make_model(max_indicators=0):
    torch.manual_seed(0)
    intervals = [torch.cat([torch.special.ndtri(u), u]) for u in QUANTILES]
    n_indicators = tuple(min(size, max_indicators) for size in LAYOUT.cardinalities)
    options = {"value_intervals": intervals, "n_indicators": n_indicators}
    model = AutoregressiveModel(LAYOUT, 8, **options).eval()
    model.input_layer.bias.normal_()
    return model


def rows_with_extremes(n):
    """Rows with numbers in the middle, at both ends, beyond them and between."""
    x_num = torch.randn(n, 3)
    x_num[:5, 0] = torch.tensor([0.0, -6.0, 6.0, -9.0, 9.0])
    sizes = LAYOUT.cardinalities
    x_cat = torch.stack([torch.arange(n) % size for size in sizes], 1)
    return x_num * presence(LAYOUT, x_cat), x_cat


@pytest.mark.parametrize("kind", [DenseFeatures, SparseFeatures])
@pytest.mark.parametrize("max_indicators", [400, 25, 0])
@torch.no_grad()
def test_columns_that_are_set_are_what_the_networks_learn_from(kind, max_indicators):
    model, n = make_model(max_indicators), 50
    x_num, x_cat = rows_with_extremes(n)
    present = presence(LAYOUT, x_cat)
    whole = model.input_layer(model.features(x_num, x_cat, present))
    whole = whole.view(n, model.n_columns, model.width)
    drawn = kind(model, n)
    for position in range(model.n_columns):
        inputs = drawn.expand(drawn.first_layer(position))
        torch.testing.assert_close(inputs, whole[:, position], atol=1e-5, rtol=1e-5)
        column = position - LAYOUT.n_categorical
        if column < 0:
            drawn.set_category(position, x_cat[:, position])
        else:
            mask = present[:, column] if LAYOUT.masks[column] >= 0 else None
            # What a missing number would have been must not matter.
            values = torch.where(present[:, column] > 0, x_num[:, column], 3.0)
            drawn.set_number(column, values, mask)


@pytest.mark.parametrize("n_drawn", [1, 2, 4])
@pytest.mark.parametrize("kind", [DenseFeatures, SparseFeatures])
@torch.no_grad()
def test_all_that_belongs_to_rows_can_be_resampled(kind, n_drawn):
    model, n = make_model(), 50
    x_num, x_cat = rows_with_extremes(n)
    drawn = kind(model, n)
    for column in range(min(n_drawn, LAYOUT.n_categorical)):
        drawn.set_category(column, x_cat[:, column])
    for column in range(n_drawn - LAYOUT.n_categorical):
        drawn.set_number(column, x_num[:, column], None)
    # Only rows with the first or the last level of the first column remain.
    chosen = (x_cat[:, 0] != 1).nonzero()[:, 0].flip(0)
    chosen = torch.cat([chosen, chosen])[:n]
    expected = drawn.expand(drawn.first_layer(n_drawn))[chosen]
    for tensor in drawn.tensors:
        assert len(tensor) == n
        tensor.copy_(tensor[chosen])
    found = drawn.expand(drawn.first_layer(n_drawn))
    torch.testing.assert_close(found, expected)


@torch.no_grad()
def test_rows_that_are_alike_so_far_are_computed_once():
    model, n = make_model(), 100
    x_num, x_cat = rows_with_extremes(n)
    drawn = SparseFeatures(model, n)
    assert len(drawn.first_layer(0)) == 1
    drawn.set_category(0, x_cat[:, 0])
    assert len(drawn.first_layer(1)) == 3
    drawn.set_number(0, x_num[:, 0], None)
    assert len(drawn.first_layer(1)) == n


@torch.no_grad()
def test_no_rows_have_no_features():
    drawn = SparseFeatures(make_model(), 0)
    drawn.set_category(0, torch.zeros(0, dtype=torch.int64))
    assert drawn.expand(drawn.first_layer(1)).shape == (0, 8)
