"""AnyOrderModel: conditionals of any column given any others.

Where nothing is promised for random weights, a model is trained on a table whose law is
written down.
"""

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from sklearn_unsup._nn.any_order import AnyOrderModel, order_groups
from sklearn_unsup._nn.cell_draws import CellDraw
from sklearn_unsup._table.layout import EncodedConditions, TableLayout

MIXED = TableLayout(2, (3, 2), masks=(-1, 1))  # the second number has a mask


def make_rows(layout=MIXED, width=8, seed=0, **options):
    torch.manual_seed(seed)
    edges = [(0.2, 0.5, 0.55)] * layout.n_numeric
    rows = AnyOrderModel(layout, width, edges, **options).eval()
    with torch.no_grad():
        for parameter in rows.parameters():
            parameter.mul_(1.5).add_(0.2 * torch.randn_like(parameter))
        rows.input_layer.weight.mul_(rows.mask)
        if layout.n_numeric > 1:
            rows.normal.covariance[0, 1] = rows.normal.covariance[1, 0] = 0.6
    return rows


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def some_rows(n, layout=MIXED, seed=0):
    noise = generator(seed)
    x_num = torch.randn(n, layout.n_numeric, generator=noise)
    x_cat = torch.zeros(n, layout.n_categorical, dtype=torch.int64)
    for column, size in enumerate(layout.cardinalities):
        x_cat[:, column] = torch.randint(size, (n,), generator=noise)
    return x_num, x_cat


def column_outputs(rows, x_num, x_cat, seen_num, seen_cat, position):
    moments = rows.moments(x_num, x_cat, seen_num, seen_cat)
    features = rows.seen_features(x_num, x_cat, seen_num, seen_cat)
    features = rows.with_moments(features, seen_num, moments)
    return rows.column_hidden(position, features)


@torch.no_grad()
@pytest.mark.parametrize("position", range(4))
def test_a_column_does_not_see_itself_nor_what_is_hidden(position):
    rows = make_rows()
    x_num, x_cat = some_rows(20)
    seen = torch.rand(20, 4, generator=generator(3)) < 0.5
    seen[:, position] = False
    seen_cat, seen_num = seen[:, :2], seen[:, 2:]
    before = column_outputs(rows, x_num, x_cat, seen_num, seen_cat, position)
    other_num, other_cat = some_rows(20, seed=9)
    x_num = torch.where(seen_num, x_num, other_num)
    x_cat = torch.where(seen_cat, x_cat, other_cat)
    after = column_outputs(rows, x_num, x_cat, seen_num, seen_cat, position)
    torch.testing.assert_close(after, before)
    # while what is seen matters
    changed = column_outputs(rows, -x_num, x_cat, seen_num, seen_cat, position)
    sees_a_number = seen_num.any(1)
    assert ((changed - before).abs().amax(1)[sees_a_number] > 1e-4).all()


LAYOUTS = [
    MIXED,
    TableLayout(3, (3, 2, 4, 2), masks=(-1, 1, 3)),
    TableLayout(0, (3, 4)),
    TableLayout(1, (2,), masks=(0,)),
    TableLayout(2, (40,)),
    TableLayout(4),
]


@torch.no_grad()
@pytest.mark.parametrize("is_fitted", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_networks_learn_what_single_columns_answer(layout, is_fitted):
    """In one pass each column is predicted as if it, and what tells it, was hidden."""
    informative = [mask for mask in layout.masks if mask >= 0]
    rows = make_rows(layout, informative_missing=informative)
    n_numeric, n_categorical = layout.n_numeric, layout.n_categorical
    if rows.normal is not None:
        size = len(rows.normal.mean)
        root = torch.randn(size, size, generator=generator(4))
        rows.normal.covariance.copy_(root @ root.T / size + 0.3 * torch.eye(size))
        rows.normal.mean.copy_(0.1 * torch.randn(size, generator=generator(5)))
        rows.normal.n_effective.fill_(40.0 if is_fitted else torch.inf)
    x_num, x_cat = some_rows(30, layout)
    seen = torch.rand(30, rows.n_columns, generator=generator(3)) < 0.5
    seen_cat, seen_num = seen.split([n_categorical, n_numeric], 1)
    for column, mask in enumerate(layout.masks):
        if mask >= 0:
            seen_num[:, column] &= seen_cat[:, mask]
    together, moments = rows.hidden_without_own(x_num, x_cat, seen_num, seen_cat)
    for position in range(rows.n_columns):
        own_num, own_cat = seen_num.clone(), seen_cat.clone()
        if position < n_categorical:
            own_cat[:, position] = False
            own_num[:, [mask == position for mask in layout.masks]] = False
        else:
            own_num[:, position - n_categorical] = False
        single = column_outputs(rows, x_num, x_cat, own_num, own_cat, position)
        torch.testing.assert_close(together[position], single, atol=1e-4, rtol=1e-3)
        if position >= n_categorical and moments is not None:
            column = position - n_categorical
            for of_all, own in zip(
                moments, rows.moments(x_num, x_cat, own_num, own_cat), strict=True
            ):
                torch.testing.assert_close(
                    of_all[column], own[:, column], atol=1e-4, rtol=1e-3
                )


@torch.no_grad()
def test_masses_are_integrals_of_the_density():
    rows = make_rows()
    hidden = torch.randn(3, rows.width, generator=generator())
    moments = torch.tensor([0.3, -1.0, 0.0]), torch.tensor([0.5, 1.0, 0.1])
    u = torch.tensor([0.1, 0.3, 0.5, 0.9])
    masses = rows.number_heads.masses(1, hidden, u, moments)
    torch.testing.assert_close(masses.sum(1), torch.ones(3))
    grid = torch.linspace(-15, 15, 60_001)
    ends = np.searchsorted(grid.numpy(), stats.norm.ppf(u.numpy()))
    for row in range(3):
        raw = rows.number_heads._raw(
            1, hidden[row : row + 1], tuple(m[row : row + 1] for m in moments)
        )
        density = rows.number_heads._log_density(1, grid, raw.expand(len(grid), -1))
        density = density.exp().double().numpy()
        parts = integrate.cumulative_trapezoid(density, grid.numpy(), initial=0.0)
        expected = np.diff(np.concatenate([[0.0], parts[ends], [parts[-1]]]))
        np.testing.assert_allclose(masses[row], expected, atol=3e-3)


@torch.no_grad()
def test_the_start_is_the_normal_law():
    """Before training numbers are near to their normal conditionals."""
    torch.manual_seed(0)
    rows = AnyOrderModel(TableLayout(3), 8).eval()
    for parameter in (rows.number_heads.weight, rows.number_heads.bias):
        assert torch.isfinite(parameter).all()
    rng = np.random.default_rng(0)
    covariance = np.full((3, 3), 0.7) + 0.3 * np.eye(3)
    x = torch.from_numpy(rng.multivariate_normal(np.zeros(3), covariance, 3_000))
    rows.start_at_dependences(x.float(), torch.zeros(3_000, 0, dtype=torch.int64))
    np.testing.assert_allclose(rows.normal.covariance, covariance, atol=0.06)
    bounds = torch.full((4_000, 2), 1.5)
    given = EncodedConditions(4_000, {}, {}, {0: bounds, 2: bounds})
    x_num, _, _ = rows.sample(given, generator())
    weights = np.linalg.solve(covariance[::2, ::2], covariance[1, ::2])
    assert x_num[:, 1].mean().item() == pytest.approx(weights.sum() * 1.5, abs=0.15)


@torch.no_grad()
def test_conditionals_are_wider_where_rows_are_few():
    """By what the coefficients of a regression on so few rows are not known."""
    rng = np.random.default_rng(0)
    covariance = np.full((8, 8), 0.7) + 0.3 * np.eye(8)
    none = torch.zeros(4_000, 0, dtype=torch.int64)
    seen = torch.arange(8).expand(4_000, 8) > 0
    fresh = torch.from_numpy(rng.multivariate_normal(np.zeros(8), covariance, 4_000))
    fresh = fresh.float()
    for n in (30, 60, 2_000):
        errors = []
        for _ in range(10):
            x = torch.from_numpy(rng.multivariate_normal(np.zeros(8), covariance, n))
            rows = AnyOrderModel(TableLayout(8), 8).eval()
            rows.start_at_dependences(x.float(), none[:n])
            nothing = none, seen, none.bool()
            means, deviations, _ = rows.moments(fresh, *nothing)
            standard = (fresh - means)[:, 0] / deviations[:, 0]
            errors.append(standard.square().mean().item())
        # The unit matrix in the covariance widens them for few rows as well.
        assert 0.6 < np.mean(errors) < 1.1
    wide = deviations
    narrow = rows.train().moments(fresh, *nothing)[1]
    assert (narrow < wide).all()  # training learns from rows that the fit has seen


@torch.no_grad()
@pytest.mark.parametrize("n_numeric", [1, 2])
def test_numbers_start_as_regressions_on_levels(n_numeric):
    """Of a level with few rows, too. Levels with hardly any rows say nothing."""
    layout = TableLayout(n_numeric, (3, 2))
    rows = AnyOrderModel(layout, 8)
    n, shift = 1_000, torch.tensor([0.0, 1.5, -2.0])
    x_cat = torch.zeros(n, 2, dtype=torch.int64)
    x_cat[:90, 0], x_cat[90:103, 0], x_cat[::2, 1] = 1, 2, 1
    x_num = torch.randn(n, n_numeric, generator=generator())
    x_num[:, 0] += shift[x_cat[:, 0]]
    rows.start_at_dependences(x_num, x_cat)
    asked = torch.tensor([[0, 0], [1, 0], [2, 0], [1, 1]])
    none = torch.zeros(4, n_numeric)
    seen = torch.tensor([[True, True], [True, True], [True, True], [False, True]])
    means, deviations, _ = rows.moments(none, asked, none.bool(), seen)
    usual = x_num[x_cat[:, 0] != 1, 0].mean().item()
    expected = [usual, x_num[:90, 0].mean().item(), usual, x_num[:, 0].mean().item()]
    np.testing.assert_allclose(means[:, 0], expected, atol=0.1)
    others = x_num[103:, 0].std().item()
    assert deviations[1, 0].item() == pytest.approx(others, rel=0.1)


def trained(layout, x_num, x_cat, n_steps=250, **options):
    torch.manual_seed(0)
    rows, noise = AnyOrderModel(layout, 16, **options), generator()
    rows.start_at_frequencies(x_cat)
    rows.start_at_dependences(x_num, x_cat)
    optimizer = torch.optim.Adam(rows.parameters(), lr=1e-2)
    for step in range(n_steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * (1 - step / n_steps)
        index = torch.randint(len(x_num), (256,), generator=noise)
        loss = -rows.log_prob(x_num[index], x_cat[index], noise).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return rows.eval()


def cause_and_effects(n, seed=0):
    """A category, and two numbers and a category that depend on it."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    x = 2.0 * (kind == 1) - 1.0 * (kind == 2) + 0.5 * rng.normal(size=n)
    y = -x + 0.3 * rng.normal(size=n)
    flag = rng.random(n) < np.array([0.1, 0.5, 0.9])[kind]
    numbers = np.stack([x / 1.2, y / 1.25], 1).astype(np.float32)
    codes = np.stack([kind, flag.astype(np.int64)], 1)
    return torch.from_numpy(numbers), torch.from_numpy(codes)


@pytest.fixture(scope="module")
def known():
    x_num, x_cat = cause_and_effects(6_000)
    return trained(TableLayout(2, (3, 2)), x_num, x_cat), x_num, x_cat


def test_conditions_on_any_columns_give_the_conditional_law(known):
    """On the last ones as on the first, against rows that happen to meet them."""
    rows, x_num, x_cat = known
    n = 4_000
    bounds = torch.tensor([0.4, 0.9]).expand(n, 2)
    flags = torch.ones(n, dtype=torch.int64)
    given = EncodedConditions(n, {1: flags}, {}, {1: bounds})
    drawn, codes, _ = rows.sample(given, generator(), n_particles=50)
    assert ((drawn[:, 1] >= 0.4) & (drawn[:, 1] <= 0.9)).all()
    assert (codes[:, 1] == 1).all()
    met = (x_cat[:, 1] == 1) & (x_num[:, 1] >= 0.4) & (x_num[:, 1] <= 0.9)
    for code in range(3):
        expected = (x_cat[met, 0] == code).float().mean().item()
        found = (codes[:, 0] == code).float().mean().item()
        assert found == pytest.approx(expected, abs=0.1)
    expected = x_num[met, 0].mean().item()
    assert drawn[:, 0].mean().item() == pytest.approx(expected, abs=0.1)


def test_unconditional_rows_follow_the_law(known):
    rows, x_num, x_cat = known
    drawn, codes, log_weights = rows.sample(EncodedConditions(4_000), generator())
    assert (log_weights == 0).all()
    for code in range(3):
        share = (x_cat[:, 0] == code).float().mean().item()
        found = (codes[:, 0] == code).float().mean().item()
        assert found == pytest.approx(share, abs=0.05)
    correlations = [np.corrcoef(x.T)[0, 1] for x in (x_num, drawn)]
    assert correlations[0] == pytest.approx(correlations[1], abs=0.06)


def test_missing_cells_get_their_conditional_mean_and_likeliest_level(known):
    rows, x_num, x_cat = known
    new_num, new_cat = cause_and_effects(1_000, seed=5)
    u = torch.arange(1, 256) / 256
    values = torch.special.ndtri((torch.arange(256) + 0.5) / 256).expand(2, 256)
    seen_num = torch.tensor([[True, False]]).expand(1_000, 2)
    seen_cat = torch.tensor([[False, True]]).expand(1_000, 2)
    means, codes = rows.expected(new_num, new_cat, seen_num, seen_cat, u, values)
    # y = -x + 0.3 noise, of standard deviation 0.24 as it is scaled
    error = (means[:, 1] - new_num[:, 1]).square().mean().sqrt().item()
    assert error < 0.27
    assert (codes[:, 0] == new_cat[:, 0]).float().mean() > 0.8
    draws, drawn_codes = rows.complete(
        new_num, new_cat, seen_num, seen_cat, generator()
    )
    assert torch.equal(draws[:, 0], new_num[:, 0])
    assert torch.equal(drawn_codes[:, 1], new_cat[:, 1])
    spread = (draws[:, 1] - means[:, 1]).std().item()
    assert spread == pytest.approx(0.24, abs=0.06)


@torch.no_grad()
def test_no_missing_value_is_filled_in():
    """Neither the code of one nor a mask, whatever the weights."""
    rows = make_rows(missing_codes=(2, -1))
    with torch.no_grad():
        rows.category_heads.of_column(0)[1][2] = 20.0
    x_num, x_cat = some_rows(500)
    x_cat[:, 0] = 2
    seen = torch.zeros(500, 2, dtype=torch.bool)
    _, codes = rows.complete(x_num, x_cat, seen, seen, generator())
    assert (codes[:, 0] != 2).all()
    assert (codes[:, 1] == 0).all()
    u, values = torch.tensor([0.5]), torch.zeros(2, 2)
    _, codes = rows.expected(x_num, x_cat, seen, seen, u, values)
    assert (codes[:, 0] != 2).all()


def test_log_prob_repeats_and_depends_on_its_generator():
    rows = make_rows()
    x_num, x_cat = some_rows(50)
    before = torch.get_rng_state()
    first, again = rows.log_prob(x_num, x_cat), rows.log_prob(x_num, x_cat)
    assert torch.equal(first, again)
    assert not torch.equal(rows.log_prob(x_num, x_cat, generator(1)), first)
    assert torch.equal(torch.get_rng_state(), before)
    # a missing number does not count
    x_cat[:, 1] = 1
    one = rows.log_prob(x_num, x_cat)
    x_num[:, 1] = 5.0
    torch.testing.assert_close(rows.log_prob(x_num, x_cat), one)


def test_particles_are_for_ranges_and_sets_alone():
    rows, code = make_rows(), torch.zeros(3, dtype=torch.int64)
    point = torch.zeros(3, 2)
    free = torch.tensor([-torch.inf, torch.inf]).expand(3, 2)
    cases = [
        (EncodedConditions(3, {0: code}, {}, {0: point}), False),
        (EncodedConditions(3, {0: code - 1}, {}, {0: free}), False),
        (EncodedConditions(3, {}, {}, {0: point + torch.tensor([0.0, 1.0])}), True),
        (EncodedConditions(3, {0: code - 2}), True),
    ]
    for conditions, expected in cases:
        assert rows.needs_particles(conditions) == expected


def test_cells_with_conditions_come_first_and_those_that_are_last_at_the_end(
    monkeypatch,
):
    """A column that is drawn last sees all others, the first one none of them."""
    layout = TableLayout(2, (3, 2))
    rows = make_rows(layout)
    n, order = 40, []
    draw = CellDraw.draw

    def noted(drawn, position, is_due):
        order.append((position, int(drawn.seen[0].sum())))
        draw(drawn, position, is_due)

    monkeypatch.setattr(CellDraw, "draw", noted)
    nothing = torch.zeros(n, 2), torch.zeros(n, 2).long()
    seen = torch.zeros(n, 2, dtype=torch.bool), torch.zeros(n, 2, dtype=torch.bool)
    wanted = EncodedConditions(
        n,
        {0: torch.full((n,), -2)},
        {0: torch.tensor([[False, True, True]])},
        {1: torch.tensor([[-torch.inf, 0.5]]).expand(n, 2)},
    )
    for seed in range(4):
        order.clear()
        arguments = *nothing, *seen, generator(seed), wanted
        x_num, x_cat = rows.complete(*arguments, last=[2])
        assert {position for position, _ in order[:2]} == {0, 3}
        assert order[-1] == (2, 3)
        assert set(x_cat[:, 0].tolist()) == {1, 2}
        assert (x_num[:, 1] <= 0.5).all()


def test_numbers_that_are_counted_from_elsewhere_are_not_known():
    """Where the base of a number is missing it means something else."""
    layout = TableLayout(2, (2,), masks=(0, -1), base_masks=((), (0,)))
    rows = AnyOrderModel(layout, 8)
    assert rows.has_missing
    x_num = torch.zeros(400, 2)
    x_cat = (torch.arange(400) % 2)[:, None]
    known_num, *_ = rows.known(x_num, x_cat, generator())
    assert known_num[::2].all()
    assert not known_num[1::2, 0].any()
    assert 0.1 < known_num[1::2, 1].float().mean() < 0.4  # as few as are not blind
    x_num[1::2, 1] = 50.0
    rows.start_at_dependences(torch.randn(400, 2, generator=generator()) + x_num, x_cat)
    assert rows.normal.covariance[1, 1] < 2


def test_what_is_unknown_is_no_reason_to_call_it_rare():
    """Half of the levels are missing, and unknown to most rows of a step."""
    layout = TableLayout(0, (3, 2))
    torch.manual_seed(0)
    rows = AnyOrderModel(layout, 4, missing_codes=(2, -1))
    x_cat = torch.zeros(4_000, 2, dtype=torch.int64)
    x_cat[::2, 0], x_cat[1::4, 0] = 2, 1
    optimizer = torch.optim.Adam(rows.parameters(), lr=0.02)
    x_num, noise = torch.zeros(4_000, 0), generator(1)
    for _ in range(150):
        optimizer.zero_grad()
        (-rows.log_prob(x_num, x_cat, noise).mean()).backward()
        optimizer.step()
    rows.eval()
    _, drawn, _ = rows.sample(EncodedConditions(4_000), generator(2))
    shares = torch.bincount(drawn[:, 0], minlength=3) / 4_000
    np.testing.assert_allclose(shares, [0.25, 0.25, 0.5], atol=0.05)


def test_masks_come_right_before_their_numbers():
    rows = make_rows(TableLayout(3, (2, 3, 2), masks=(-1, 2, 0)))
    found, noise = set(), generator()
    for _ in range(40):
        order = rows._random_order([4], noise)
        assert sorted(order) == list(range(6))
        assert order[:2] == [2, 4]  # What is asked for, after its mask.
        assert order.index(5) == order.index(0) + 1
        found.add(tuple(order))
    assert len(found) > 5


@pytest.mark.parametrize(("n", "n_orders"), [(1, 1), (63, 1), (64, 2), (5_000, 8)])
def test_rows_of_a_draw_have_several_orders(n, n_orders):
    groups = torch.stack(order_groups(n, "cpu"))
    assert len(groups) == n_orders
    assert (groups.sum(0) == 1).all()
    assert groups.sum(1).min() >= n // n_orders
