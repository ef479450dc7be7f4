"""Linear regressions that numbers are described relative to."""

import copy

import numpy as np
import pytest
import torch

from sklearn_unsup._nn.autoencoders import VariationalAutoencoder
from sklearn_unsup._nn.autoregressive import REGRESSIONS, AutoregressiveModel
from sklearn_unsup._nn.features import DenseFeatures, SparseFeatures
from sklearn_unsup._nn.linear_moments import LinearMoments
from sklearn_unsup._table.layout import EncodedConditions, TableLayout


def randn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_few_rows_and_no_inputs_leave_a_standard_normal():
    linear = LinearMoments(2, 3)
    features, x = randn(7, 3).float(), randn(7, 2, seed=1).float()
    linear.fit(features, x, None, [[0], [0, 1]], {0, 1})
    linear.fit(torch.cat(2 * [features]), torch.cat(2 * [x]), None, [[], []])
    means, scales = linear(features)
    assert not means.any()
    assert (scales == 1).all()


def test_columns_beyond_limits_are_relative_to_nothing():
    features = randn(500, 1).float()
    scales = torch.tensor([0.1, 0.4, 0.8])
    x = features + scales * randn(500, 3, seed=1).float()
    linear = LinearMoments(3, 1)
    linear.fit(features, x, None, [[0]] * 3, {0}, [(0.2, 0.6)] * 3)
    assert linear.columns == [1]
    means, scales = linear(features)
    torch.testing.assert_close(means[1], features[:, 0], atol=0.2, rtol=0)
    assert not means[[0, 2]].any()
    torch.testing.assert_close(
        scales[:, 0], torch.tensor([1.0, 0.4, 1.0]), atol=0.05, rtol=0
    )


def test_missing_numbers_are_left_out():
    features = randn(60, 1).float()
    x, present = 2 * features + 1, torch.ones(60, 1)
    x[::2], present[::2] = 0.0, 0.0
    linear = LinearMoments(1, 1)
    linear.fit(features, x, present, [[0]], {0})
    # The least penalty is a tenth of a row.
    torch.testing.assert_close(
        linear(features)[0][0], 2 * features[:, 0] + 1, atol=0.05, rtol=0
    )


# ------------------------------------------------------------------- in a model


@pytest.fixture(scope="module")
def started():
    """A model that begins with a category and two numbers, all dependent."""
    x_cat = torch.arange(2_000)[:, None] % 3
    first = randn(2_000).float() * 0.6 + (x_cat[:, 0] - 1.0)
    second = 0.9 * first + 0.3 * randn(2_000, seed=1).float()
    x_num = torch.stack([first, second], 1)
    model = AutoregressiveModel(
        TableLayout(2, (3,)), 8, [(0.5,)] * 2, regressions=REGRESSIONS
    )
    model.start_at_frequencies(x_cat)
    model.start_at_dependences(x_num, x_cat)
    return model.eval(), x_num, x_cat


def test_features_that_are_not_zero_give_the_same_moments(started):
    """Those of a draw on a CPU; with and without departures."""
    model, x_num, x_cat = copy.deepcopy(started[0]), *started[1:]
    number = model.feature_slices[1].start
    departures = [(1, 2, number, 0.3, -0.8)], [(0, 1, 0.5), (1, 2, -0.7)]
    for mask in (None, (torch.arange(len(x_num)) % 2).float()):
        features = [kind(model, len(x_num)) for kind in (DenseFeatures, SparseFeatures)]
        for own in features:
            own.set_category(0, x_cat[:, 0])
            own.set_number(0, x_num[:, 0], mask)
        for slopes, spreads in (([], []), departures):
            model.linear.set_departures(slopes, spreads)
            every = model.linear(features[0].values)
            for column in range(2):
                expected = tuple(moment[column] for moment in every)
                for own in features:
                    torch.testing.assert_close(own.moments(column), expected)


def test_departures_change_their_rows_alone():
    linear = LinearMoments(2, 4)
    linear.weight[1, 3], linear.scale[1] = 0.5, 0.2
    features = torch.tensor([[1.0, 0.0, 2.0, 3.0], [0.0, 1.0, 2.0, 3.0]])
    departures = [(1, 0, 2, 0.5, -2.0)], [(1, 1, 0.7), (0, 0, -1.0)]
    linear.set_departures(*departures)
    means, scales, odds = linear(features)
    # The level, and the number less its centre: 1 * (2 - .5) * -2.
    torch.testing.assert_close(means, torch.tensor([[0.0, 0.0], [1.5 - 3.0, 1.5]]))
    expected = torch.tensor([[np.exp(-1.0), 1.0], [0.2, 0.2 * np.exp(0.7)]])
    torch.testing.assert_close(scales, expected.float())
    # Histograms are drawn in proportion to the variance that is left.
    torch.testing.assert_close(odds, 2 * (scales / linear.scale[:, None]).log())
    np.testing.assert_allclose(linear.departures()[0], departures[0], rtol=1e-6)
    np.testing.assert_allclose(linear.departures()[1], departures[1], rtol=1e-6)
    assert not linear.is_idle
    linear.set_departures([], [])
    assert linear.columns == [1]
    linear.weight.zero_(), linear.scale.fill_(1.0)
    assert linear.is_idle


def test_rare_levels_depart_where_regressions_have_limits():
    """Here a level of 3 %, and not one of 30 %; the column itself is not close."""
    n = 3_000
    rare, frequent = (torch.arange(n) < n * share for share in (0.03, 0.33))
    levels = torch.stack([rare, frequent & ~rare, ~frequent], 1).float()
    x = randn(n).float()
    slope = 0.3 - 3 * levels[:, 0] - 2 * levels[:, 1]
    y = slope * x + randn(n, seed=1).float()
    features = torch.cat([levels, x[:, None]], 1)
    linear = LinearMoments(1, 4)
    linear.fit(features, y[:, None], None, [[0, 1, 2, 3]], {3}, [(0.0, 0.1)])
    assert linear.columns == []
    [(column, level, number, _, slope)], _ = linear.departures()
    assert (column, level, number) == (0, 0, 3)
    assert slope < -1
    linear.fit(features, y[:, None], None, [[0, 1, 2, 3]], {3})
    assert linear.columns == [0]
    assert {level for _, level, *_ in linear.departures()[0]} == {0, 1}


def test_each_feature_that_is_not_zero_is_found():
    intervals = torch.tensor([[-0.3, 0.8], [0.3, 0.9], [0.38, 0.79], [0.62, 0.82]])
    layout = TableLayout(2, (3, 40, 2))
    values = [intervals, torch.zeros(4, 0)]
    model = AutoregressiveModel(layout, 4, value_intervals=values)
    sizes = torch.tensor(layout.cardinalities)
    x_cat = (torch.rand(200, 3) * sizes).long()
    x_num = torch.randn(200, 2)
    features = [kind(model, 200) for kind in (DenseFeatures, SparseFeatures)]
    for own in features:
        for column in range(3):
            own.set_category(column, x_cat[:, column])
        for column in range(2):
            own.set_number(column, x_num[:, column], None)
    dense, sparse = features
    embedded = model.feature_slices[1]
    for place in range(dense.values.shape[1]):
        if not embedded.start <= place < embedded.stop:
            torch.testing.assert_close(sparse._feature(place), dense.values[:, place])


def test_idle_regressions_are_dropped():
    model = AutoregressiveModel(TableLayout(2, ()), 4, regressions=REGRESSIONS)
    x_num, x_cat = randn(500, 2).float(), torch.zeros(500, 0, dtype=torch.int64)
    x_num[:, 1] += 3 * x_num[:, 0]
    for limits, columns in (((0.0, 2.0), [1]), ((0.0, 0.5), [])):
        model.set_regressions(REGRESSIONS)
        model.start_at_dependences(x_num, x_cat, [limits] * 2)
        model.drop_idle_regressions()
        assert model.regressions == (("numbers",) if columns else ())
        assert (model.linear.columns if columns else []) == columns


def test_it_begins_at_the_regressions(started):
    model, x_num, x_cat = started
    means, scales = model.linear(model.features(x_num, x_cat))
    torch.testing.assert_close(means[0], x_cat[:, 0] - 1.0, atol=0.1, rtol=0)
    torch.testing.assert_close(means[1], 0.9 * x_num[:, 0], atol=0.1, rtol=0)
    torch.testing.assert_close(
        scales[:, 0], torch.tensor([0.6, 0.3]), atol=0.03, rtol=0
    )


def test_a_start_draws_what_depends_linearly(started):
    """Before any step; the share of histograms is what the regressions leave."""
    model, x_num, x_cat = started
    conditions = EncodedConditions(20_000)
    drawn, codes, _ = model.sample(conditions, torch.Generator().manual_seed(0))
    expected = np.corrcoef(torch.cat([x_num, x_cat], 1).T)
    found = np.corrcoef(torch.cat([drawn, codes], 1).T)
    np.testing.assert_allclose(found, expected, atol=0.25)
    assert found[0, 1] > 0.75


def test_a_start_is_likelier_than_independent_numbers(started):
    model, x_num, x_cat = started
    free = AutoregressiveModel(TableLayout(2, (3,)), 8, [(0.5,)] * 2).eval()
    free.start_at_dependences(x_num, x_cat)  # Which has nothing to start.
    free.start_at_frequencies(x_cat)
    with torch.no_grad():
        gain = (model.log_prob(x_num, x_cat) - free.log_prob(x_num, x_cat)).mean()
    # Less what the histograms get: minus the logarithms of the deviations.
    assert gain > 0.8 * -np.log([0.6, 0.3]).sum() - 0.3


def test_levels_of_embedded_categories_are_no_inputs():
    layout = TableLayout(2, (40, 2))
    model = AutoregressiveModel(layout, 4, regressions=REGRESSIONS)
    x_cat = torch.stack([torch.arange(100) % 40, torch.arange(100) % 2], 1)
    model.start_at_dependences(randn(100, 2).float() + x_cat[:, 1:], x_cat)
    used = model.linear.weight != 0
    embedded, levels, first, _ = model.feature_slices
    assert not used[:, embedded].any()
    assert used[:, levels].all()
    assert used[:, first].sum() == 1
    assert used[1, first.start]


def test_very_many_levels_are_no_inputs(monkeypatch):
    monkeypatch.setattr("sklearn_unsup._nn.autoregressive.MAX_REGRESSION_LEVELS", 5)
    model = AutoregressiveModel(TableLayout(2, (6,)), 4, regressions=REGRESSIONS)
    x_cat = torch.arange(60)[:, None] % 6
    x_num = randn(60, 2).float() + x_cat
    model.start_at_dependences(x_num, x_cat)
    assert (model.linear.weight != 0).sum() == 1


@pytest.mark.parametrize("kinds", [(), ("numbers",), ("levels",), REGRESSIONS])
def test_regressions_come_and_go_with_loaded_weights(kinds):
    """A checkpoint of a fit of few rows may be what a stream goes on from."""
    layout = TableLayout(2, (3, 4))

    def make(regressions):
        sizes = layout, 1, (4,), "silu", False, 8
        return VariationalAutoencoder(*sizes, regressions=regressions)

    others = tuple(kind for kind in REGRESSIONS if kind not in kinds)
    first, second = make(kinds), make(others)
    if "numbers" in kinds:
        first.autoregressive.linear.scale.fill_(0.5)
        # Of a level of the first category; the second one may have other numbers.
        first.autoregressive.linear.set_departures([(1, 0, 7, 0.1, 2.0)], [(0, 1, 0.5)])
    if "levels" in kinds:
        first.autoregressive.category_heads.linear.of_level(1)[:, :3].normal_()
    second.load_state_dict(first.state_dict())
    assert second.autoregressive.regressions == kinds
    rows = torch.randn(9, 2), torch.randint(3, (9, 2))
    expected = first.eval().autoregressive.log_prob(*rows)
    assert torch.equal(second.eval().autoregressive.log_prob(*rows), expected)


def test_weights_without_departures_load():
    """Those that an older version saved."""
    first, second = LinearMoments(2, 4), LinearMoments(2, 4)
    first.weight.normal_()
    second.set_departures([(1, 0, 2, 0.5, -2.0)], [(1, 1, 0.7)])
    saved = first.state_dict()
    del saved["slopes"], saved["spreads"]
    second.load_state_dict(saved)
    assert second.departures() == ([], [])
    features = torch.randn(5, 4)
    for own, expected in zip(second(features), first(features), strict=True):
        assert torch.equal(own, expected)


def test_values_that_are_too_many_leave_levels_to_regressions():
    """A number that a level determines, after one with more values than have room."""
    torch.manual_seed(0)
    n, n_values = 2_000, 260
    u = torch.arange(n_values + 1, dtype=torch.float64) / n_values
    u = torch.stack([u[:-1], u[1:]])
    intervals = torch.cat([torch.special.ndtri(u), u])
    layout = TableLayout(2, (6,))
    model = AutoregressiveModel(
        layout,
        4,
        regressions=REGRESSIONS,
        value_intervals=[intervals, torch.zeros(4, 0)],
    )
    x_cat = torch.randint(6, (n, 1))
    x_num = torch.stack([torch.randn(n), x_cat[:, 0] - 2.5], 1)
    model.start_at_dependences(x_num, x_cat)
    assert model.linear.scale[1] < 0.1
