"""Networks that start from those of another table."""

import numpy as np
import pytest
import scipy.stats
import torch

from sklearn_unsup._nn.any_order import AnyOrderModel
from sklearn_unsup._nn.autoregressive import REGRESSIONS, AutoregressiveModel
from sklearn_unsup._nn.heads import NumberHeads
from sklearn_unsup._nn.layers import ResidualMLP
from sklearn_unsup._nn.transfer import (
    ColumnKeys,
    calibrate_levels,
    carried_weights,
    plain_blocks,
    start_number,
    start_perceptron,
    start_rows,
    table_blocks,
    updated_shares,
)
from sklearn_unsup._table.layout import EncodedConditions, TableLayout

N = 50


def keys(numbers, **levels):
    """Keys of columns whose levels are single letters, all equally frequent."""
    shares = [torch.full((len(own),), 1 / len(own)) for own in levels.values()]
    return ColumnKeys(
        list(numbers), list(levels), list(map(list, levels.values())), shares
    )


def model_of(
    columns, seed, bin_edges=None, model=AutoregressiveModel, max_indicators=0
):
    """A model with random weights, heads among them, for columns."""
    torch.manual_seed(seed)
    sizes = tuple(map(len, columns.levels))
    options = {}
    if model is AutoregressiveModel:
        own = tuple(min(size, max_indicators) for size in sizes)
        options = {"regressions": REGRESSIONS, "n_indicators": own}
    layout = TableLayout(len(columns.numbers), sizes)
    rows = model(layout, 8, bin_edges, **options).eval()
    for parameter in rows.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    rows.input_layer.weight.data *= rows.mask
    if rows.linear is not None:
        seen = rows.mask[8 * layout.n_categorical :: 8]
        rows.linear.weight += 0.3 * torch.randn_like(seen) * seen
        rows.linear.bias += 0.3 * torch.randn_like(rows.linear.bias)
        rows.linear.scale *= 0.5
    return rows


def hidden(model, x_num, x_cat):
    """Hidden units of each column's network, shape (n_columns, n, width)."""
    with torch.no_grad():
        return model._hidden(model.features(x_num, x_cat), None)


@pytest.mark.parametrize("model", [AutoregressiveModel, AnyOrderModel])
def test_rows_with_other_levels_keep_their_likelihood(model):
    source_keys = keys("uv", a="xyz", b="pq")
    target_keys = keys("uv", a="zxy", b="qp")
    source = model_of(source_keys, 0, model=model)
    target = model_of(target_keys, 1, model=model)
    if model is AutoregressiveModel:
        # Of levels y and q, and of the second number given the first one.
        source.linear.set_departures([(1, 1, 5, 0.2, 0.7)], [(0, 4, 0.5), (1, 1, -0.4)])
        target.linear.set_departures([], [(1, 0, 2.0)])
    x_num, a = torch.randn(N, 2), torch.randint(3, (N,))
    b = torch.randint(2, (N,))
    x_cat, recoded = torch.stack([a, b], 1), torch.stack([(a + 1) % 3, 1 - b], 1)
    expected = source.log_prob(x_num, x_cat)
    assert not torch.allclose(target.log_prob(x_num, recoded), expected)
    assert start_rows(target, source, (target_keys, source_keys))
    torch.testing.assert_close(target.log_prob(x_num, recoded), expected)


def test_new_columns_change_nothing_at_first():
    source_keys = keys("uv", a="xyz")
    target_keys = keys("uvw", a="xyz", b="pq")
    source, target = model_of(source_keys, 0), model_of(target_keys, 1)
    fresh = target.hidden_layer.detach().clone()
    assert start_rows(target, source, (target_keys, source_keys))
    x_num, x_cat = torch.randn(N, 3), torch.randint(2, (N, 2))
    expected = hidden(source, x_num[:, :2], x_cat[:, :1])
    # Positions in the target: a, b, u, v, w.
    torch.testing.assert_close(hidden(target, x_num, x_cat)[[0, 2, 3]], expected)
    assert torch.equal(target.hidden_layer[[1, 4]], fresh[[1, 4]])
    # What is new starts with visible weights of its own, which it learns from.
    assert target.input_layer.weight[8:16].abs().max() > 0


def test_columns_that_are_named_start_afresh():
    columns = keys("uv", a="xyz", b="pq")
    source, target = model_of(columns, 0), model_of(columns, 1)
    x_num, x_cat = torch.randn(N, 2), torch.randint(2, (N, 2))
    fresh = hidden(target, x_num, x_cat)
    assert start_rows(target, source, (columns, columns), frozenset({"b", "u"}))
    after, known = hidden(target, x_num, x_cat), hidden(source, x_num, x_cat)
    torch.testing.assert_close(after[[1, 2]], fresh[[1, 2]])  # of a, b, u, v
    torch.testing.assert_close(after[[0, 3]], known[[0, 3]])
    assert torch.equal(target.linear.weight[1], source.linear.weight[1])
    assert not torch.equal(target.linear.bias[0], source.linear.bias[0])


def test_a_new_level_is_seen_as_the_mean_of_the_known_ones():
    source_keys, target_keys = keys("u", a="xy"), keys("u", a="ynx")
    source, target = model_of(source_keys, 0), model_of(target_keys, 1)
    assert start_rows(target, source, (target_keys, source_keys))
    x_num = torch.zeros(3, 1)
    places = target.feature_slices[0]
    weight = target.input_layer.weight[8:, places]
    torch.testing.assert_close(weight[:, 1], (weight[:, 0] + weight[:, 2]) / 2)
    known = hidden(target, x_num, torch.tensor([[2], [0], [2]]))[1]
    expected = hidden(source, x_num, torch.tensor([[0], [1], [0]]))[1]
    torch.testing.assert_close(known, expected)


def drawn(model, n, codes=None):
    """Encoded rows of a model, of which the first column may be given."""
    conditions = EncodedConditions(n, codes={} if codes is None else {0: codes})
    return model.sample(conditions, torch.Generator().manual_seed(0))[:2]


def log_odds(model, column):
    bias = model.category_heads.of_column(column)[1].detach().clone()
    return bias - bias.mean()


def test_levels_become_as_frequent_as_they_are():
    model = model_of(keys("u", a="xyz", b="pq"), 0)
    rows = drawn(model, 2_000, torch.arange(2_000) % 10 // 9)
    before = [log_odds(model, column) for column in (0, 1)]
    calibrate_levels(model, *rows)
    shares = drawn(model, 4_000)[1][:, 0].bincount() / 4_000
    np.testing.assert_allclose(shares, [0.9, 0.1, 0.0], atol=0.02)
    # Its changes are all due to the first column, which it follows as it did.
    torch.testing.assert_close(log_odds(model, 1), before[1], atol=0.1, rtol=0)
    assert (log_odds(model, 0) - before[0]).abs().max() > 1.0


def test_levels_stay_where_their_frequencies_agree():
    model = model_of(keys("u", a="xyz", b="pq"), 0)
    rows = drawn(model, 1_000)
    before = [log_odds(model, column) for column in (0, 1)]
    calibrate_levels(model, *rows)
    for column in (0, 1):
        expected = before[column]
        torch.testing.assert_close(log_odds(model, column), expected, atol=0.1, rtol=0)


def test_shares_move_as_far_as_counts_agree_with_each_other():
    """A Dirichlet prior about the shares, of the strength that is likeliest."""
    shares = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    counts = torch.tensor([14, 20, 6])
    fits = []
    for n in 10.0 ** np.arange(0, 5.5, 0.5):
        prior = scipy.stats.dirichlet_multinomial(n * shares.numpy(), 40)
        fits.append((prior.logpmf(counts), n))
    n = max(fits)[1]
    assert 1 < n < 1e5
    expected = (n * shares + counts) / (n + 40)
    torch.testing.assert_close(updated_shares(shares, counts), expected)


@pytest.mark.parametrize(
    ("own", "max_indicators"),
    [
        (range(40, 0, -1), 0),
        (range(40, 0, -1), 400),
        ([3, 2, 1], 0),
        ([3, 2, 1], 400),
        ([43, 2, 44], 20),
    ],
)
def test_levels_of_an_embedding_are_carried_over(own, max_indicators):
    """From an embedding to another one, and to a one-hot block of few levels."""
    own = list(own)
    source_keys, target_keys = keys("u", a=range(45)), keys("u", a=own)
    source, target = (
        model_of(columns, seed, max_indicators=max_indicators)
        for seed, columns in enumerate((source_keys, target_keys))
    )
    assert bool(target.embeddings) == (len(own) == 40)
    assert start_rows(target, source, (target_keys, source_keys))
    codes = torch.arange(3)[:, None]
    x_num, levels = torch.zeros(3, 1), torch.tensor(own)[codes]
    expected = hidden(source, x_num, levels)[1]
    torch.testing.assert_close(hidden(target, x_num, codes)[1], expected)


@pytest.mark.parametrize("max_indicators", [0, 12, 40])
def test_levels_that_get_an_embedding_are_carried_over(max_indicators):
    """Frequent ones by their indicators; others are seen as the mean of the known."""
    source_keys, target_keys = keys("u", a=range(20)), keys("u", a=range(45))
    source = model_of(source_keys, 0)
    target = model_of(target_keys, 1, max_indicators=max_indicators)
    assert start_rows(target, source, (target_keys, source_keys))
    found = first_inputs(target, torch.arange(45)[:, None])
    expected = first_inputs(source, torch.arange(20)[:, None])
    n_known = min(20, max_indicators)
    torch.testing.assert_close(found[:n_known], expected[:n_known])
    mean = expected.mean(0).expand(45 - n_known, -1)
    torch.testing.assert_close(found[n_known:], mean)


def first_inputs(model, codes):
    """Inputs of the first layer of the number, the second column."""
    features = model.features(torch.zeros(len(codes), 1), codes)
    return model.input_layer(features)[:, model.width :].detach()


def test_a_column_that_is_gone_counts_as_its_mean():
    source, target = keys("u", a="xyz"), keys("u")
    source.shares[0][:] = torch.tensor([0.5, 0.3, 0.2])
    weight = torch.randn(4, 4)
    new, bias = carried_weights(weight, table_blocks(target), table_blocks(source))
    torch.testing.assert_close(new, weight[:, :1])
    torch.testing.assert_close(bias, weight[:, 1:] @ source.shares[0])


def test_a_model_of_another_width_is_not_started_from():
    columns = keys("u", a="xy")
    source, target = model_of(columns, 0), AutoregressiveModel(TableLayout(1, (2,)), 4)
    before = [parameter.clone() for parameter in target.parameters()]
    assert not start_rows(target, source, (columns, columns))
    for parameter, old in zip(target.parameters(), before, strict=True):
        assert torch.equal(parameter, old)


def test_finer_bins_have_the_same_density():
    torch.manual_seed(0)
    source = NumberHeads(4, [[0.1, 0.5]])
    target = NumberHeads(4, [[0.1, 0.3, 0.5, 0.7]])
    source.weight.data.normal_(), source.bias.data.normal_()
    with torch.no_grad():
        start_number(target, source, 0, 0)
        units, x = torch.randn(1, N, 4), torch.randn(N, 1)
        expected = source.log_prob(units, x, None)
        torch.testing.assert_close(target.log_prob(units, x, None), expected)


def test_coarser_bins_take_the_mean_of_log_densities():
    source, target = NumberHeads(1, [[0.25, 0.5]]), NumberHeads(1, [[0.5]])
    densities = torch.tensor([2.0, -1.0, 0.5])
    source.bias.data[0, 0, -3:] = densities + torch.tensor([0.25, 0.25, 0.5]).log()
    with torch.no_grad():
        start_number(target, source, 0, 0)
    expected = torch.tensor([0.5, 0.5]) + np.log(0.5)
    torch.testing.assert_close(target.bias[0, 0, -2:], expected)


@pytest.mark.parametrize("linear_path", [False, True])
@pytest.mark.parametrize("sizes", [(), (6,), (6, 6)])
def test_perceptrons_keep_their_outputs(sizes, linear_path):
    torch.manual_seed(0)
    source = ResidualMLP(3, sizes, 2, "silu", linear_path)
    target = ResidualMLP(4, sizes, 3, "silu", linear_path)
    for parameter in source.parameters():
        parameter.data.normal_()
    inputs = plain_blocks(["c", "new", "b", "a"]), plain_blocks(["a", "b", "c"])
    outputs = ["q", "new", "p"], ["p", "q"]
    assert start_perceptron(target, source, inputs, outputs)
    x = torch.randn(N, 4)
    expected = source(x[:, [3, 2, 0]])
    torch.testing.assert_close(target(x)[:, [2, 0]], expected)


def test_perceptrons_of_other_layers_do_not_fit():
    one, other = (ResidualMLP(1, (n,), 1, "silu", False) for n in (3, 4))
    blocks = plain_blocks(["a"])
    assert not start_perceptron(one, other, (blocks, blocks), (["a"], ["a"]))
    assert not start_perceptron(one, torch.nn.Linear(1, 1), (blocks,) * 2, ([], []))


def test_columns_stay_blind_to_those_after_them():
    source_keys, target_keys = keys("uv"), keys("vu")
    source, target = model_of(source_keys, 0), model_of(target_keys, 1)
    assert start_rows(target, source, (target_keys, source_keys))
    weight = target.input_layer.weight
    assert torch.equal(weight, weight * target.mask)
    # v comes first here, and no longer knows u.
    assert not weight[:8].any()
    assert source.linear.weight[1].any()
    assert not target.linear.weight[0].any()
    assert torch.equal(target.hidden_layer[0], source.hidden_layer[1])


def test_departures_of_what_a_column_does_not_see_are_left_out():
    source_keys, target_keys = keys("uv", a="xyz"), keys("vu", a="xy")
    source, target = model_of(source_keys, 0), model_of(target_keys, 1)
    slopes = [(1, level, 3, 0.2, 0.7) for level in (0, 2)]  # v in u, which is later
    spreads = [(1, level, 0.5) for level in (0, 2)]  # of which z is gone
    source.linear.set_departures(slopes, spreads)
    target.linear.set_departures([(1, 0, 2, 0.0, 1.0)], [(0, 1, 1.0)])
    assert start_rows(target, source, (target_keys, source_keys))
    slopes, spreads = target.linear.departures()
    # Those of u are gone, too, because the source has none.
    assert slopes == []
    assert spreads == [(0, 0, 0.5)]


def test_a_source_without_regressions_is_relative_to_nothing():
    columns = keys("uv", a="xyz")
    target = model_of(columns, 1)
    layout = TableLayout(2, (3,))
    source = AutoregressiveModel(layout, 8).eval()
    x_num, x_cat = torch.randn(N, 2), torch.randint(3, (N, 1))
    assert start_rows(target, source, (columns, columns))
    expected = source.log_prob(x_num, x_cat)
    torch.testing.assert_close(target.log_prob(x_num, x_cat), expected)


def test_regressions_see_the_mean_of_a_column_that_is_gone():
    wide, narrow = keys("uv", a="xyz"), keys("uv")
    source, target = model_of(wide, 0), model_of(narrow, 1)
    assert start_rows(target, source, (narrow, wide))
    x_num, none = torch.randn(N, 2), torch.zeros(N, 0, dtype=torch.int64)
    means = [
        source.linear(source.features(x_num, torch.full((N, 1), code)))[0]
        for code in range(3)  # all as frequent
    ]
    found, scales = target.linear(target.features(x_num, none))
    torch.testing.assert_close(found, torch.stack(means).mean(0))
    torch.testing.assert_close(scales[:, 0], source.linear.scale)
