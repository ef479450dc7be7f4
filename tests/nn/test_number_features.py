"""Features of numbers: hats, and which of some values a number is."""

import pytest
import torch

from sklearn_unsup._nn.number_features import (
    N_PIECES,
    NumberFeatures,
    piecewise_linear_features,
)


def intervals_of(*quantiles):
    """Intervals of values that take the given ranges of quantiles."""
    u = torch.tensor(quantiles, dtype=torch.float64).t()
    return torch.cat([torch.special.ndtri(u), u])


NONE = torch.zeros(4, 0)
# Two values beside each other, another one far from them and at the end; and one.
COLUMNS = [intervals_of((0.2, 0.3), (0.3, 0.4), (0.9, 1.0)), NONE, intervals_of((0, 1))]


def z(*quantiles):
    return torch.special.ndtri(torch.tensor(quantiles, dtype=torch.float64)).float()


def test_numbers_without_values_are_hats_alone():
    x = torch.randn(20, 2)
    features = NumberFeatures(2)
    assert features.widths == [N_PIECES + 2] * 2
    torch.testing.assert_close(features(x), piecewise_linear_features(x).flatten(1))
    assert not features.state_dict()


def test_a_number_has_the_feature_of_its_value():
    features = NumberFeatures(1, COLUMNS[:1])
    x = z(0.1, 0.25, 0.35, 0.5, 0.95)[:, None]
    own = features(x)[:, N_PIECES + 2 :]
    assert own.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_all_points_of_a_value_count_as_its_middle():
    features = NumberFeatures(1, COLUMNS[:1])
    x = z(0.21, 0.25, 0.29)[:, None]
    torch.testing.assert_close(features(x), features(x[1:2]).expand(3, -1))
    hats = piecewise_linear_features(x[1:2])[:, 0]
    torch.testing.assert_close(features(x)[1:2, : N_PIECES + 2], hats)
    # Numbers beside the values are as they are.
    x = z(0.19, 0.41)[:, None]
    hats = piecewise_linear_features(x)[:, 0]
    torch.testing.assert_close(features(x)[:, : N_PIECES + 2], hats)


def test_features_are_finite_at_the_ends():
    features = NumberFeatures(1, [intervals_of((0.0, 0.1), (0.9, 1.0))])
    x = torch.tensor([[-9.0], [9.0]])
    assert torch.isfinite(features(x)).all()
    assert features(x)[:, -2:].tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("has_gaps", [False, True])
def test_columns_one_by_one_are_all_of_them(has_gaps):
    torch.manual_seed(0)
    features, x = NumberFeatures(3, COLUMNS), torch.randn(50, 3)
    present = (torch.rand(50, 3) < 0.7).float() if has_gaps else None
    every = features(x, present).split(features.widths, 1)
    for column, part in enumerate(every):
        own = None if present is None else present[:, column]
        torch.testing.assert_close(part, features.of_column(column, x[:, column], own))
        if has_gaps:
            assert not part[own == 0].any()


def test_means_are_those_of_normal_numbers():
    torch.manual_seed(0)
    features = NumberFeatures(3, COLUMNS)
    found = features(torch.randn(200_000, 3)).mean(0).split(features.widths)
    for column, mean in enumerate(found):
        torch.testing.assert_close(features.mean(column), mean, atol=0.01, rtol=0)


def test_intervals_can_be_replaced():
    features = NumberFeatures(1, COLUMNS[:1])
    moved = intervals_of((0.5, 0.6), (0.6, 0.6), (0.6, 1.0))
    moved[1, 1] = torch.nextafter(moved[0, 1].float(), torch.tensor(-9.0)).double()
    features.set_intervals([moved])
    own = features(z(0.25, 0.55, 0.6, 0.95)[:, None])[:, N_PIECES + 2 :]
    # The second value has lost its rows.
    assert own.sum(0).tolist() in ([1, 0, 2], [2, 0, 1])
    assert own[[0, 1, 3]].tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 1]]
