"""AutoregressiveModel: a normalised density whose samples follow it.

The weights are random, not trained: what is promised holds for all of them. They are
larger than at the start of training, so that columns depend on each other strongly.
"""

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.exceptions import ConvergenceWarning

from sklearn_unsup import VAETransformer
from sklearn_unsup._nn.autoregressive import (
    MAX_ONE_HOT,
    REGRESSIONS,
    AutoregressiveModel,
    dropout_masks,
)
from sklearn_unsup._nn.category_heads import (
    MAX_PADDING,
    UNUSED_BIAS,
    CategoryHeads,
    padded_runs,
)
from sklearn_unsup._nn.column_networks import visible_blocks
from sklearn_unsup._nn.column_parts import weights_of_column
from sklearn_unsup._nn.column_terms import column_terms
from sklearn_unsup._nn.distributions import softcap
from sklearn_unsup._nn.heads import GATE
from sklearn_unsup._nn.lookahead import Lookahead
from sklearn_unsup._nn.row_draws import resample_particles_
from sklearn_unsup._table.layout import EncodedConditions, TableLayout

ALPHA = 1e-5  # chance that a correct model fails one comparison under another seed
CATEGORICAL = TableLayout(0, (3, 2, 4))
MIXED = TableLayout(2, (3, 2), masks=(-1, 1))  # the second number has a mask


def make_rows(layout, width=8, seed=0, gain=2.0):
    torch.manual_seed(seed)
    bin_edges = [(0.2, 0.5, 0.55)] * layout.n_numeric
    rows = AutoregressiveModel(layout, width, bin_edges, regressions=REGRESSIONS).eval()
    regress_at_random(rows)
    if rows.linear is not None and layout.n_categorical and layout.n_numeric > 1:
        number = rows.feature_slices[layout.n_categorical].start
        rows.linear.set_departures([(1, 1, number, 0.2, 0.6)], [(0, 0, 0.5)])
    with torch.no_grad():
        for parameter in rows.parameters():
            # biases are zero at the start: without noise they would not be tested
            parameter.mul_(gain).add_(0.2 * torch.randn_like(parameter))
        rows.input_layer.weight.mul_(rows.mask)
    return rows


def regress_at_random(rows):
    """Numbers that depend linearly on those before them and on categories."""
    layout, generator = rows.layout, torch.Generator().manual_seed(0)
    sizes = layout.cardinalities
    x_cat = [torch.randint(size, (50,), generator=generator) for size in sizes]
    x_cat = torch.stack(x_cat, 1) if x_cat else torch.zeros(50, 0, dtype=torch.int64)
    x_num = torch.randn(50, layout.n_numeric, generator=generator)
    x_num[:, 1:] += 0.5 * x_num[:, :-1]
    if x_cat.shape[1]:
        x_num += 0.5 * x_cat[:, :1]
    rows.start_at_dependences(x_num, x_cat)
    rows.number_heads.reset_parameters()  # With as much of the histogram as before.


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("n_columns", [1, 2, 3, 7, 30])
def test_blocks_of_the_first_layers_cover_what_is_seen_and_little_more(n_columns):
    width = 2
    owners = torch.arange(n_columns).repeat_interleave(3)
    mask = torch.arange(n_columns)[:, None] > owners
    covered = torch.zeros(n_columns * width, len(owners), dtype=torch.int64)
    done = 0
    for n_units, n_seen in visible_blocks(mask, width):
        covered[done : done + n_units, :n_seen] += 1
        done += n_units
    assert done == n_columns * width
    assert (covered[mask.repeat_interleave(width, 0)] == 1).all()
    if n_columns == 30:  # half is seen, and an eighth lies in blocks on the diagonal
        assert 0.5 < covered.double().mean() < 0.63
    # Where all columns see the last feature there is one product as before.
    everything = visible_blocks(torch.ones(n_columns, 5, dtype=torch.bool), width)
    assert everything == [(n_columns * width, 5)]


def given_codes(n, given):
    """Conditions of one code for all rows, by column."""
    codes = {column: torch.full((n,), code) for column, code in given.items()}
    return EncodedConditions(n, codes)


def all_codes(layout):
    """Every combination of categories, shape (n_combinations, n_categorical)."""
    ranges = [range(size) for size in layout.cardinalities]
    return torch.tensor(list(itertools.product(*ranges)))


def random_rows(layout, n, seed=0):
    noise = generator(seed)
    x_cat = torch.stack(
        [torch.randint(size, (n,), generator=noise) for size in layout.cardinalities], 1
    )
    return torch.randn(n, layout.n_numeric, generator=noise), x_cat


@torch.no_grad()
def table_of(rows):
    """Probabilities of all combinations of a table of categories only."""
    codes = all_codes(rows.layout)
    return rows.log_prob(torch.zeros(len(codes), 0), codes).double().exp().numpy()


def random_numbers(n, columns, seed=0):
    return torch.randn(n, columns, generator=generator(seed))


# ------------------------------------------------------------------- a density


@pytest.mark.parametrize("cardinalities", [(3, 2, 4), (5,), (2, 2, 2, 2, 2), (40, 3)])
def test_categories_sum_to_one(cardinalities):
    table = table_of(make_rows(TableLayout(0, cardinalities)))
    assert table.sum() == pytest.approx(1.0, abs=1e-5)
    assert table.std() > 0.1 / len(table)  # not the uniform one by mistake


@torch.no_grad()
@pytest.mark.parametrize("seed", range(3))
def test_a_number_integrates_to_one(seed):
    layout = TableLayout(1, (3, 2))
    rows, grid = make_rows(layout, seed=seed), torch.linspace(-60, 60, 60_001)
    categories = make_rows(TableLayout(0, (3, 2)))
    total = 0.0
    for codes in all_codes(layout):
        x_cat = codes.expand(len(grid), 2)
        density = rows.log_prob(grid[:, None], x_cat).double().exp()
        total += torch.trapezoid(density, grid.double()).item()
    assert total == pytest.approx(1.0, abs=1e-3)
    assert table_of(categories).sum() == pytest.approx(1.0, abs=1e-5)


@torch.no_grad()
def test_two_numbers_integrate_to_one():
    rows = make_rows(TableLayout(2), gain=1.0)
    axis = torch.linspace(-12, 12, 481)
    grid = torch.cartesian_prod(axis, axis)
    density = rows.log_prob(grid, torch.zeros(len(grid), 0, dtype=torch.int64))
    density = density.double().exp().view(len(axis), len(axis))
    # the hats that the second number sees of the first have corners: a coarser bound
    inner = torch.trapezoid(density, axis.double())
    assert torch.trapezoid(inner, axis.double()).item() == pytest.approx(1, abs=3e-3)


@torch.no_grad()
def test_columns_do_not_depend_on_later_ones():
    """log p of the columns up to one is the same whatever comes after it.

    Read off through sums over the later column: with log p(a, b, c), the table of
    (a, b) must be the model's own, for any weights of c's network.
    """
    layout = TableLayout(0, (3, 4))
    rows = make_rows(layout)
    before = table_of(rows).reshape(3, 4)
    weight, _ = rows.category_heads.of_column(1)
    weight += torch.randn(4, rows.width)
    after = table_of(rows).reshape(3, 4)
    np.testing.assert_allclose(after.sum(1), before.sum(1), atol=1e-6)
    assert np.abs(after - before).max() > 0.01


@torch.no_grad()
def test_numbers_do_not_depend_on_later_ones():
    """A change of the last number moves its own factor only.

    p(x_3 | x_0 .. x_2) is left as it is when the networks of the first three numbers
    change, so the difference of log p between two values of x_3 must be, too.
    """
    rows = make_rows(TableLayout(4))
    x, x_cat = random_numbers(64, 4), torch.zeros(64, 0, dtype=torch.int64)

    def difference(column):
        other = x.clone()
        other[:, column] = random_numbers(64, 1, seed=2)[:, 0]
        return rows.log_prob(x, x_cat) - rows.log_prob(other, x_cat)

    before = difference(3), difference(2)
    for parameter in (rows.hidden_layer, *rows.number_heads.parameters()):
        parameter[:3] += torch.randn_like(parameter[:3])
    torch.testing.assert_close(difference(3), before[0], atol=1e-3, rtol=1e-4)
    assert (difference(2) - before[1]).abs().max() > 0.1


@torch.no_grad()
def test_a_row_is_scored_alone():
    rows = make_rows(MIXED)
    x_num, x_cat = random_rows(MIXED, 50)
    together = rows.log_prob(x_num, x_cat)
    alone = [rows.log_prob(x_num[i : i + 1], x_cat[i : i + 1]) for i in range(50)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)


# ------------------------------------------------------------------- missing numbers


@torch.no_grad()
def test_a_masked_number_means_nothing():
    rows = make_rows(TableLayout(3, (3, 2), masks=(-1, 1, -1)))
    x_num, x_cat = random_rows(rows.layout, 40)
    x_cat[:, 1] = 1
    other = x_num.clone()
    other[:, 1] = 3.0
    torch.testing.assert_close(
        rows.log_prob(x_num, x_cat), rows.log_prob(other, x_cat), atol=0, rtol=0
    )
    x_cat[:, 1] = 0
    changed = rows.log_prob(x_num, x_cat) - rows.log_prob(other, x_cat)
    assert changed.abs().max() > 0.1


@torch.no_grad()
def test_the_density_of_a_masked_row_is_that_of_the_others():
    """With the number missing, what is left integrates to p(categories)."""
    layout = TableLayout(1, (3, 2), masks=(1,))
    rows = make_rows(layout)
    grid, total = torch.linspace(-60, 60, 60_001), 0.0
    for codes in all_codes(layout):
        if codes[1] == 1:
            total += rows.log_prob(torch.zeros(1, 1), codes[None]).exp().item()
            continue
        density = rows.log_prob(grid[:, None], codes.expand(len(grid), 2))
        total += torch.trapezoid(density.double().exp(), grid.double()).item()
    assert total == pytest.approx(1.0, abs=1e-3)


def test_drawn_numbers_are_zero_where_masked():
    x_num, x_cat, _ = make_rows(MIXED).sample(given_codes(5_000, {}), generator())
    missing = x_cat[:, 1] == 1
    assert 0 < missing.sum() < 5_000
    assert (x_num[missing, 1] == 0).all()
    assert (x_num[~missing, 1] != 0).all()
    assert (x_num[:, 0] != 0).all()


# ------------------------------------------------------------------- sampling


@pytest.mark.parametrize("cardinalities", [(3, 2, 4), (40, 3)])
def test_drawn_categories_follow_the_density(cardinalities):
    rows = make_rows(TableLayout(0, cardinalities))
    expected = table_of(rows)
    n = 100_000
    _, x_cat, log_weights = rows.sample(given_codes(n, {}), generator())
    cells = np.ravel_multi_index(x_cat.numpy().T, cardinalities)
    counts = np.bincount(cells, minlength=len(expected))
    # cells with few expected rows are put together
    few = expected * n < 5
    observed = np.append(counts[~few], counts[few].sum())
    wanted = np.append(expected[~few], expected[few].sum()) * n
    observed, wanted = observed[wanted > 0], wanted[wanted > 0]
    wanted *= n / wanted.sum()
    assert stats.chisquare(observed, wanted).pvalue > ALPHA
    assert (log_weights == 0).all()


@torch.no_grad()
@pytest.mark.parametrize("code", [0, 1, 2])
def test_drawn_numbers_follow_the_density(code):
    """KS against the distribution function that quadrature makes of log_prob."""
    rows = make_rows(TableLayout(1, (3,)), gain=1.0, seed=code)
    grid = torch.linspace(-6, 6, 24_001)
    x_cat = torch.full((len(grid), 1), code)
    density = rows.log_prob(grid[:, None], x_cat).double().exp().numpy()
    cdf = np.cumsum((density[1:] + density[:-1]) / 2) * (grid[1] - grid[0]).item()
    # p(number | category) = p(number, category) / p(category), the same constant
    cdf = np.append(0.0, cdf) / cdf[-1]
    x_num, _, _ = rows.sample(given_codes(50_000, {0: code}), generator())
    values = x_num[:, 0].numpy()
    values = values[np.abs(values) < 6]  # drawn numbers are cut there
    assert len(values) > 49_900
    law = stats.kstest(values, lambda x: np.interp(x, grid.numpy(), cdf))
    assert law.pvalue > ALPHA


@torch.no_grad()
def test_later_numbers_follow_the_density_given_earlier_ones():
    """E[f(x) / p(x)] = integral of f: importance sampling of a known integral."""
    rows = make_rows(TableLayout(2, (2,)), gain=1.0)
    x_num, x_cat, _ = rows.sample(given_codes(200_000, {}), generator())
    target = torch.distributions.Normal(0.0, 0.5)
    log_target = target.log_prob(x_num).sum(1) - np.log(2)
    weights = (log_target - rows.log_prob(x_num, x_cat)).exp().double().numpy()
    error = weights.std() / np.sqrt(len(weights))
    assert error < 0.02  # the model covers the target
    assert abs(weights.mean() - 1) < stats.norm.isf(ALPHA) * error
    # and the first moments of both numbers under the target, 0
    for column in range(2):
        moment = weights * x_num[:, column].double().numpy()
        error = moment.std() / np.sqrt(len(moment))
        assert abs(moment.mean()) < stats.norm.isf(ALPHA) * error


@pytest.mark.parametrize("given", [{0: 1}, {1: 0}, {2: 3}, {0: 2, 2: 1}, {1: 1, 2: 0}])
def test_likelihood_weights_are_exact(given):
    """Their mean is p(given); weighted rows follow p(rest | given)."""
    rows = make_rows(CATEGORICAL)
    expected, codes = table_of(rows), all_codes(CATEGORICAL).numpy()
    met = np.all([codes[:, c] == v for c, v in given.items()], axis=0)
    n = 100_000
    _, x_cat, log_weights = rows.sample(given_codes(n, given), generator())
    x_cat = x_cat.numpy()
    for column, value in given.items():
        assert (x_cat[:, column] == value).all()
    weights = log_weights.double().exp().numpy()
    cells = np.ravel_multi_index(x_cat.T, CATEGORICAL.cardinalities)
    for cell in np.flatnonzero(met):
        share = weights * (cells == cell)
        # a share that few rows have is Poisson, not normal: 20 rows of tolerance
        bound = stats.norm.isf(ALPHA) * share.std() + 20 * weights.max() / np.sqrt(n)
        assert abs(share.mean() - expected[cell]) < bound / np.sqrt(n)
    assert weights.mean() == pytest.approx(expected[met].sum(), rel=0.05)


def test_given_first_columns_need_no_weighting():
    _, _, log_weights = make_rows(CATEGORICAL).sample(
        given_codes(1_000, {0: 2}), generator()
    )
    assert log_weights.std() < 1e-5


@torch.no_grad()
def test_weights_are_the_ratio_of_density_and_proposal():
    """With every category given the weight is p(categories) itself."""
    rows = make_rows(CATEGORICAL)
    for codes, probability in zip(
        all_codes(CATEGORICAL).tolist(), table_of(rows), strict=True
    ):
        _, _, log_weights = rows.sample(
            given_codes(3, dict(enumerate(codes))), generator()
        )
        np.testing.assert_allclose(log_weights.exp(), probability, rtol=1e-4)


def test_the_generator_decides():
    rows = make_rows(MIXED)
    before = torch.get_rng_state()
    first, again, other = (
        rows.sample(given_codes(20, {}), generator(s)) for s in (0, 0, 1)
    )
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    assert torch.equal(torch.get_rng_state(), before)


# ------------------------------------------------------------------- many levels


@torch.no_grad()
def test_each_column_has_weights_that_no_other_depends_on():
    layout = TableLayout(2, (3, 40, 2))
    rows = AutoregressiveModel(layout, 8).eval()
    x_num, x_cat = torch.randn(50, 2), torch.randint(0, 2, (50, 3))
    arguments = rows, x_num, x_cat, x_num, torch.zeros_like(x_num)

    def terms():
        with torch.no_grad():
            numbers, categories = column_terms(*arguments)
        return torch.cat([categories, numbers], 1)

    for column in range(rows.n_columns):
        before = terms()
        with torch.no_grad():
            for weight in weights_of_column(rows, column):
                weight.add_(torch.randn(weight.shape))
        is_new = (terms() != before).any(0)
        assert is_new.nonzero()[:, 0].tolist() == [column]
    # Nothing else is left but embeddings, and what pads columns.
    with torch.no_grad():
        for column in range(rows.n_columns):
            for weight in weights_of_column(rows, column):
                weight.zero_()
    left = {n for n, p in rows.named_parameters() if p.any()}
    assert "embeddings.1.weight" in left
    assert not {n for n in left if "embedding" not in n and "bias" not in n}


@pytest.mark.parametrize(
    ("layout", "n_indicators"), [((500, 3), (400, 0)), ((500, 90), (200, 20))]
)
def test_frequent_levels_have_features_of_their_own(layout, n_indicators):
    """Beside the embedding that all levels have."""
    rows = AutoregressiveModel(TableLayout(1, layout), 8, n_indicators=n_indicators)
    n_levels = n_indicators[0]
    codes = torch.tensor([0, n_levels - 1, n_levels, 499])
    x_cat = torch.stack([codes, torch.ones_like(codes)], 1)
    features = rows.features(torch.zeros(4, 1), x_cat)
    embedding = rows.embeddings["0"].weight[codes]
    assert torch.equal(features[:, :16], embedding)
    own = torch.zeros(4, n_levels)
    own[0, 0] = own[1, -1] = 1.0
    assert torch.equal(features[:, 16 : 16 + n_levels], own)
    assert torch.equal(features[:, rows.level_slices[1]].argmax(1), x_cat[:, 1])
    for column in range(2):
        expected = features[:, rows.feature_slices[column]]
        assert torch.equal(rows.category_features(column, x_cat[:, column]), expected)


def test_many_levels_are_seen_through_an_embedding():
    layout = TableLayout(1, (500, 3))
    rows = make_rows(layout)
    assert rows.input_layer.in_features < 100  # not one input per level
    x_num, x_cat = random_rows(layout, 20)
    other = x_cat.clone()
    other[:, 0] = (x_cat[:, 0] + 1) % 500
    # later columns see the level
    difference = rows.log_prob(x_num, x_cat) - rows.log_prob(x_num, other)
    assert difference.std() > 0.01
    codes = all_codes(TableLayout(0, (500, 3)))
    table = make_rows(TableLayout(0, (500, 3)))
    total = table.log_prob(torch.zeros(len(codes), 0), codes).double().exp().sum()
    assert total.item() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("layout", [TableLayout(2), TableLayout(0, (2, 3))])
def test_tables_of_one_kind_make_no_warning(layout):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = AutoregressiveModel(layout, 8)
    x_num, x_cat, _ = rows.sample(given_codes(5, {}), generator())
    assert x_num.shape == (5, layout.n_numeric)
    assert x_cat.shape == (5, layout.n_categorical)
    assert torch.isfinite(rows.log_prob(x_num, x_cat)).all()


def test_a_level_of_many_can_be_given():
    rows = make_rows(TableLayout(1, (500, 3)))
    _, x_cat, log_weights = rows.sample(given_codes(100, {0: 417}), generator())
    assert (x_cat[:, 0] == 417).all()
    assert torch.isfinite(log_weights).all()


# ------------------------------------------------------------------- dropout


def test_dropout_only_while_training():
    rows = make_rows(MIXED)
    x_num, x_cat = random_rows(MIXED, 30)
    with torch.no_grad():
        first, again = (rows.log_prob(x_num, x_cat, generator(s)) for s in (0, 1))
        assert torch.equal(first, again)
        rows.train()
        dropped, same, other = (
            rows.log_prob(x_num, x_cat, generator(s)) for s in (0, 0, 1)
        )
    assert torch.equal(dropped, same)
    assert not torch.equal(dropped, other)
    assert not torch.equal(dropped, first)


def test_dropout_keeps_the_mean():
    masks = dropout_masks((7, 286, 401), generator(), "cpu")
    assert masks.shape == (7, 286, 401)
    for mask in masks:
        kept = mask > 0
        assert mask[kept].unique().numel() == 1
        rate = 1 - kept.float().mean().item()
        assert rate == pytest.approx(0.1, abs=0.005)
        assert mask.mean().item() == pytest.approx(1, abs=0.005)
    apart = masks.flatten(1).sub(masks.mean()).div(masks.std())
    correlations = apart @ apart.t() / apart.shape[1]
    torch.testing.assert_close(correlations, torch.eye(7), atol=0.02, rtol=0)


# ------------------------------------------------------------------- heads


@pytest.mark.parametrize(
    ("sizes", "runs"),
    [
        ((), []),
        ((5,), [range(0, 1)]),
        ((9, 16, 7, 15, 6, 5, 2, 42, 2), [range(0, 9)]),  # 378 logits for 104 levels
        ((2, 2, 2, 2, 900), [range(0, 4), range(4, 5)]),
        ((900, 2, 2, 2, 2, 2), [range(0, 4), range(4, 6)]),
    ],
)
def test_neighbours_share_a_product_where_padding_is_cheap(sizes, runs):
    assert padded_runs(sizes) == runs
    padded = sum(len(run) * max(sizes[i] for i in run) for run in runs)
    assert padded <= MAX_PADDING * sum(sizes)


@torch.no_grad()
@pytest.mark.parametrize("sizes", [(3,), (2, 5, 3), (2, 2, 2, 2, 90), (90, 2, 2, 2, 2)])
def test_padded_heads_are_those_of_each_column(sizes):
    torch.manual_seed(0)
    heads = CategoryHeads(4, sizes)
    hidden = torch.randn(len(sizes), 50, 4)
    x_cat = random_rows(TableLayout(0, sizes), 50)[1]
    expected = 0.0
    for column, size in enumerate(sizes):
        weight, bias = heads.of_column(column)
        assert weight.shape == (size, 4)
        assert bias.shape == (size,)
        logits = softcap(torch.nn.functional.linear(hidden[column], weight, bias))
        places = x_cat[:, column : column + 1]
        expected = expected + logits.log_softmax(1).gather(1, places)[:, 0]
    torch.testing.assert_close(heads.log_prob(hidden, x_cat), expected)


def test_levels_that_a_column_lacks_stay_impossible():
    """A step moves neither the weights of padded levels nor, above all, their bias."""
    torch.manual_seed(0)
    heads = CategoryHeads(4, (2, 5))
    optimizer = torch.optim.AdamW(heads.parameters(), lr=0.1, weight_decay=0.0)
    before = [p.detach().clone() for p in heads.parameters()]
    for _ in range(3):
        optimizer.zero_grad()
        hidden, x_cat = (
            torch.randn(2, 50, 4),
            random_rows(TableLayout(0, (2, 5)), 50)[1],
        )
        heads.log_prob(hidden, x_cat).mean().neg().backward()
        optimizer.step()
    for old, new in zip(before, heads.parameters(), strict=True):
        assert torch.equal(old[0, :, 2:], new[0, :, 2:])
        assert not torch.equal(old[0, :, :2], new[0, :, :2])


def test_hidden_weights_stay_masked():
    """Their gradients are, so that a step leaves the order of the columns as it is."""
    rows = make_rows(MIXED)
    optimizer = torch.optim.AdamW(rows.parameters(), lr=0.1)
    rows.log_prob(*random_rows(MIXED, 30), generator()).mean().backward()
    optimizer.step()
    assert (rows.input_layer.weight[rows.mask == 0] == 0).all()
    assert (rows.input_layer.weight.grad[rows.mask == 1] != 0).any()


def test_it_learns_what_it_is_shown():
    """Log-likelihood of a known law: a copied code, and a number that it shifts."""
    noise = generator()
    code = torch.randint(2, (4_000,), generator=noise)
    x_cat = torch.stack([code, code], 1)
    x_num = (0.5 * torch.randn(4_000, generator=noise) + 2 * code - 1)[:, None]
    torch.manual_seed(0)
    rows = AutoregressiveModel(TableLayout(1, (2, 2)), 16)
    optimizer = torch.optim.AdamW(rows.parameters(), lr=1e-2)
    for step in range(300):
        optimizer.zero_grad()
        pick = torch.randint(4_000, (256,), generator=noise)
        loss = -rows.log_prob(x_num[pick], x_cat[pick], noise).mean()
        loss.backward()
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * (1 - step / 300)
    rows.eval()
    truth = -np.log(2) - 0.5 * np.log(2 * np.pi * np.e) - np.log(0.5)
    with torch.no_grad():
        learnt = rows.log_prob(x_num, x_cat).mean().item()
    assert truth - 0.05 < learnt < truth + 0.02


def test_weight_decay_leaves_impossible_levels_impossible():
    """The decay of the rows' model goes by the names of its parameters."""
    rng = np.random.default_rng(0)
    columns = {"a": rng.choice(["x", "y"], 60), "b": rng.choice(list("abcde"), 60)}
    model = VAETransformer(2, max_iter=3, weight_decay=1.0, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(pd.DataFrame(columns))
    [bias] = model.net_.module_.autoregressive.category_heads.biases
    assert bias.shape == (2, 1, 5)
    assert (bias[0, 0, 2:] == UNUSED_BIAS).all()
    assert (bias[1] != 0).all()


# ------------------------------------------------------------------- ranges and sets


def enumerated(rows, allowed):
    """Probabilities of all codes given that each column has one of those allowed."""
    codes = all_codes(rows.layout)
    law = table_of(rows)
    for column, codes_allowed in allowed.items():
        law = law * np.isin(codes[:, column], codes_allowed)
    return codes, law / law.sum(), law.sum()


def set_conditions(layout, n, allowed):
    codes = {column: torch.full((n,), -2) for column in allowed}
    sets = {
        column: torch.isin(torch.arange(layout.cardinalities[column]), wanted)[None]
        for column, wanted in allowed.items()
    }
    return EncodedConditions(n, codes, sets)


@pytest.mark.parametrize("n_particles", [1, 500])
def test_sets_of_codes(n_particles):
    """Weighted rows, resampled among themselves or not, against enumeration."""
    rows, n = make_rows(CATEGORICAL), 100_000
    allowed = {0: torch.tensor([0, 2]), 2: torch.tensor([1, 3])}
    codes, law, mass = enumerated(rows, allowed)
    conditions = set_conditions(CATEGORICAL, n, allowed)
    _, x_cat, log_weights = rows.sample(
        conditions, generator(), n_particles=n_particles
    )
    weights = log_weights.exp().double().numpy()
    assert weights.mean() == pytest.approx(mass, rel=0.05)
    cells = np.ravel_multi_index(x_cat.T.numpy(), CATEGORICAL.cardinalities)
    shares = np.bincount(cells, weights, minlength=len(codes)) / weights.sum()
    assert (shares[law == 0] == 0).all()
    assert np.abs(shares - law).max() < 0.01


@pytest.mark.parametrize("n_particles", [1, pytest.param(400, marks=pytest.mark.slow)])
def test_a_range_of_a_late_number(n_particles):
    """Earlier columns follow their law given the range, as selected rows do."""
    rows, n, bounds = make_rows(MIXED), 100_000, torch.tensor([-3.0, 1.6])
    x_num, x_cat, _ = rows.sample(EncodedConditions(n), generator(1))
    # The second number is present where its mask, the second category, is 0.
    selected = (x_cat[:, 1] == 0) & (x_num[:, 1] >= -3.0) & (x_num[:, 1] <= 1.6)
    n_selected = selected.sum().item()
    assert 1_000 < n_selected < n / 4
    zeros = torch.zeros(n, dtype=torch.int64)
    conditions = EncodedConditions(n, {1: zeros}, {}, {1: bounds.expand(n, 2)})
    drawn, codes, log_weights = rows.sample(
        conditions, generator(2), n_particles=n_particles
    )
    assert ((drawn[:, 1] >= -3.0) & (drawn[:, 1] <= 1.6)).all()
    weights = log_weights.exp()
    error = 5 / np.sqrt(n_selected)
    assert weights.mean().item() == pytest.approx(n_selected / n, rel=error)
    weights = weights / weights.sum()
    for code in range(3):
        expected = (x_cat[selected, 0] == code).float().mean().item()
        found = weights[codes[:, 0] == code].sum().item()
        assert found == pytest.approx(expected, abs=0.5 * error)
    one = x_num[selected, 0]
    mean = (weights * drawn[:, 0]).sum().item()
    assert mean == pytest.approx(one.mean().item(), abs=error * one.std().item())


def moments_given(rows, x, n_particles=1, n=200_000, **options):
    """Density of one value of the second number, and means of the columns before it."""
    zeros = torch.zeros(n, dtype=torch.int64)
    bounds = {1: torch.full((n, 2), x)}
    conditions = EncodedConditions(n, {1: zeros}, {}, bounds)
    x_num, x_cat, log_weights = rows.sample(
        conditions, generator(2), n_particles=n_particles, **options
    )
    weights = log_weights.exp().double()
    shares = weights / weights.sum()
    first = x_num[:, 0].double()
    means = [(shares * first).sum(), (shares * first.square()).sum()]
    means += [shares[x_cat[:, 0] == code].sum() for code in range(2)]
    return weights.mean().item(), torch.stack(means), weights


@pytest.mark.parametrize("is_right", [True, False])
def test_looking_ahead_changes_no_distribution(is_right):
    """Only how particles are spread, even if what is seen ahead is wrong."""
    rows, n = make_rows(MIXED, seed=5), 200_000
    x_num, x_cat, _ = rows.sample(EncodedConditions(4_000), generator(1))
    if not is_right:  # Turned round, and as sure as if it was the number itself.
        x_num[:, 1] = -x_num[:, 0] + 0.3 * x_cat[:, 0]
    ahead = Lookahead(MIXED, x_num, x_cat, [1])
    density, means, weights = moments_given(rows, 1.0)
    for n_particles in (1, n // 4):
        own_density, own_means, _ = moments_given(
            rows, 1.0, n_particles, lookahead=ahead
        )
        assert own_density == pytest.approx(density, rel=0.02)
        np.testing.assert_allclose(own_means, means, atol=0.05)
    _, _, own_weights = moments_given(rows, 1.0, lookahead=ahead)
    # Half of the particles do not look: no weight is more than twice as large.
    assert own_weights.max() <= 2.02 * weights.max()


def ahead_of(rows, conditions, n=4_000):
    x_num, x_cat, _ = rows.sample(EncodedConditions(n), generator(3))
    columns = Lookahead.columns_of(conditions, rows.layout)
    return Lookahead(rows.layout, x_num, x_cat, *columns)


@pytest.mark.parametrize("n_pairs", [2, 4])
def test_looking_ahead_to_several_conditions_changes_no_distribution(n_pairs):
    """Pairs of levels of which the second is the first one, or not; pairs are
    independent. Particles that look ahead each time, or never, would couple them.
    """
    layout = TableLayout(0, (2,) * (2 * n_pairs))
    rows = AutoregressiveModel(layout, 4).eval()
    with torch.no_grad():
        for parameter in rows.parameters():
            parameter.zero_()
        for pair in range(n_pairs):
            # A unit of the second network that says which level the first one has.
            column = 2 * pair + 1
            first = rows.feature_slices[2 * pair]
            own = rows.input_layer.weight[4 * column, first]
            own.copy_(torch.tensor([-1.0, 1.0]))
            weight, _ = rows.category_heads.of_column(column)
            weight[1, 0] = 4.0
        codes = torch.tensor(list(itertools.product(range(2), repeat=2 * n_pairs)))
        given_one = rows.log_prob(torch.zeros(len(codes), 0), codes).exp().double()
    n, size = 40_000, 1_000
    wanted = {2 * pair + 1: 1 for pair in range(n_pairs)}
    keep = (codes[:, 1::2] == 1).all(1)
    law = given_one * keep
    expected = (law * (codes[:, ::2] == 1).all(1)).sum() / law.sum()
    conditions = given_codes(n, wanted)
    shares = []
    for ahead in (None, ahead_of(rows, conditions)):
        _, x_cat, log_weights = rows.sample(
            conditions, generator(), n_particles=size, lookahead=ahead
        )
        weights = log_weights.double().exp()
        assert weights.mean().item() == pytest.approx(law.sum().item(), rel=0.02)
        are_ones = (x_cat[:, ::2] == 1).all(1)
        shares.append((weights * are_ones).sum().item() / weights.sum().item())
    np.testing.assert_allclose(shares, expected.item(), atol=0.015)


def test_looking_ahead_to_levels_changes_no_distribution():
    """Weighted rows against enumeration, with a condition on the last column."""
    rows, n = make_rows(CATEGORICAL), 200_000
    conditions = given_codes(n, {2: 1})
    ahead = ahead_of(rows, conditions)
    assert ahead.codes == [2]
    codes, law, mass = enumerated(rows, {2: torch.tensor([1])})
    shares, sizes = [], []
    for own in (None, ahead):
        _, x_cat, log_weights = rows.sample(conditions, generator(), lookahead=own)
        weights = log_weights.exp().double().numpy()
        assert weights.mean() == pytest.approx(mass, rel=0.02)
        cells = np.ravel_multi_index(x_cat.T.numpy(), CATEGORICAL.cardinalities)
        shares = np.bincount(cells, weights, minlength=len(codes)) / weights.sum()
        assert np.abs(shares - law).max() < 0.005
        sizes.append(weights.sum() ** 2 / np.square(weights).sum())
    assert sizes[1] > 1.05 * sizes[0]


def test_looking_ahead_finds_what_determines_a_number():
    """Without it one particle in a hundred is near to what is wanted."""
    layout = TableLayout(3, (4,))
    rows = AutoregressiveModel(layout, 4, regressions=("numbers",)).eval()
    x = torch.randn(2_000, 3, generator=generator())
    codes = torch.randint(4, (2_000, 1), generator=generator(1))
    x[:, 2] = 0.9 * x[:, 0] + 0.02 * x[:, 2]
    x[:, 1] = 0.5 * codes[:, 0] + 0.02 * x[:, 1]
    rows.start_at_dependences(x, codes)
    with torch.no_grad():
        rows.number_heads.bias[:, :, GATE] = -30.0  # Nothing but the regressions.
    wanted = x[:500].repeat_interleave(32, 0)
    bounds = {1: wanted[:, [1, 1]], 2: wanted[:, [2, 2]]}
    conditions, errors = EncodedConditions(len(wanted), bounds=bounds), []
    columns = Lookahead.columns_of(conditions, layout)
    assert columns == ([1, 2], [])
    for ahead in (None, ahead_of(rows, conditions)):
        x_num, x_cat, log_weights = rows.sample(
            conditions, generator(2), n_particles=32, lookahead=ahead
        )
        weights = log_weights.view(-1, 32).softmax(1).flatten() / 500
        right = x_cat[:, 0] == codes[:500, 0].repeat_interleave(32)
        distances = (0.9 * x_num[:, 0] - wanted[:, 2]).abs()
        errors.append(((weights * ~right).sum(), (weights * distances).sum()))
    assert errors[1][0] < 0.01
    assert errors[1][1] < 0.04 < errors[0][1]


def test_columns_that_are_looked_ahead_to():
    """Single values after a column that may have several ones."""
    layout, n = TableLayout(2, (3, 2)), 5
    code = torch.zeros(n, dtype=torch.int64)
    wide, point = torch.tensor([0.0, 1.0]).expand(n, 2), torch.zeros(n, 2)
    for codes, bounds, expected in [
        ({0: code}, {}, ([], [])),
        ({1: code}, {}, ([], [1])),
        ({1: -1 - code}, {}, ([], [])),
        ({0: code, 1: code}, {0: point}, ([], [])),
        ({0: code}, {0: wide, 1: point}, ([1], [])),
        ({0: code}, {1: wide}, ([], [])),
        ({0: -1 - code, 1: code}, {1: point}, ([1], [1])),
    ]:
        conditions = EncodedConditions(n, codes, {}, bounds)
        assert Lookahead.columns_of(conditions, layout) == expected


def test_particles_are_resampled_within_their_block():
    """Rows of a block take each other's columns, and none of another block's."""
    rows = make_rows(CATEGORICAL)
    wanted = torch.tensor([0] * 50 + [1] * 50 + [2] * 50)
    conditions = EncodedConditions(150, {0: wanted, 2: torch.full((150,), 3)})
    _, x_cat, log_weights = rows.sample(conditions, generator(), n_particles=50)
    assert (x_cat[:, 0] == wanted).all()
    assert (x_cat[:, 2] == 3).all()
    state = (
        torch.arange(8.0)[:, None].clone(),
        torch.log(torch.tensor([1.0, 0, 0, 0, 1, 1, 1, 1])),
    )
    resample_particles_(state, 4, generator())
    assert state[0][:, 0].tolist() == [0, 0, 0, 0, 4, 5, 6, 7]  # even ones stay
    np.testing.assert_allclose(state[1].exp(), [0.25] * 4 + [1.0] * 4)


def test_columns_may_be_drawn_in_two_parts():
    """The second part depends on the first one as in a draw of all columns."""
    rows, n = make_rows(MIXED), 50_000
    nothing = EncodedConditions(n)
    x_num, x_cat, _ = rows.sample(nothing, generator())
    begun = rows.sample(nothing, generator(1), columns=range(2))[:2]
    assert (begun[0] == 0).all()
    rest = rows.sample(nothing, generator(2), begun=begun, columns=range(2, 4))
    assert (rest[1] == begun[1]).all()
    for code in range(3):
        one, other = x_num[x_cat[:, 0] == code], rest[0][rest[1][:, 0] == code]
        assert stats.ks_2samp(one[:, 0], other[:, 0]).pvalue > ALPHA
        assert stats.ks_2samp(one.sum(1), other.sum(1)).pvalue > ALPHA


def test_parts():
    rows, code = make_rows(MIXED), torch.zeros(3, dtype=torch.int64)
    assert rows.parts(EncodedConditions(3)) == [range(4)]
    assert rows.parts(EncodedConditions(3, {1: code})) == [range(2), range(2, 4)]
    conditions = EncodedConditions(3, {1: code}, {}, {0: torch.zeros(3, 2)})
    assert rows.parts(conditions) == [range(3), range(3, 4)]


def test_regressions_do_not_look_at_embeddings():
    """So that a step needs no gradient of theirs."""
    n = MAX_ONE_HOT + 1
    options = {"regressions": REGRESSIONS, "n_indicators": (n, 0)}
    rows = AutoregressiveModel(TableLayout(2, (n, 3)), 4, **options)
    codes = torch.arange(2 * n)[:, None] % torch.tensor([n, 3])
    x = torch.randn(2 * n, 2, generator=generator())
    x[:, 1] += x[:, 0] + codes[:, 1]
    rows.start_at_dependences(x, codes)
    embedded = rows.feature_slices[0]
    assert embedded.stop - embedded.start == 16 + n
    assert (rows.linear.weight[:, embedded] == 0).all()
    assert (rows.category_heads.linear.of_level(1)[:, embedded] == 0).all()
    assert (rows.linear.weight[1, embedded.stop :] != 0).any()
