"""What a better cell is worth, against rows in which it was replaced."""

import math

import pytest
import torch

from sklearn_unsup._nn.autoregressive import REGRESSIONS, AutoregressiveModel
from sklearn_unsup._nn.column_terms import column_terms
from sklearn_unsup._nn.distributions import TableDistribution, block_indicator
from sklearn_unsup._nn.replacements import (
    Candidates,
    reconstruction_losses,
    replacement_losses,
    scored_replacements,
)
from sklearn_unsup._table.layout import TableLayout

LAYOUT = TableLayout(3, (3, 40, 2), (-1, 2, -1))
GRID = (-1.0, 0.2, 1.4)
# A value of the first number that is a feature of its own, and the one of a constant.
VALUES = [
    [[1.0], [2.0], [0.84], [0.98]],
    [[-9.0], [9.0], [0.0], [1.0]],
    torch.zeros(4, 0),
]
COLUMNS = {
    "category": Candidates(codes=(0, 1, 2), category=0),
    "many levels": Candidates(codes=(0, 5, 39), category=1),
    "number": Candidates(GRID, number=0),
    "number with holes": Candidates((*GRID, 0.0), (0, 0, 0, 1), 1, 2),
    "last number": Candidates(GRID, number=2),
}


@pytest.fixture(scope="module", params=[False, True], ids=["free", "linear"])
def model(request):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        edges = [[0.2, 0.5], [], [0.4]]
        model = AutoregressiveModel(
            LAYOUT,
            16,
            edges,
            regressions=REGRESSIONS if request.param else (),
            value_intervals=VALUES,
        ).eval()
        for name, parameter in model.named_parameters():
            # These keep unused levels and bins away.
            if "biases" not in name and name != "number_heads.bias":
                torch.nn.init.normal_(parameter, std=0.3)
        model.input_layer.weight.data.mul_(model.mask)
        if request.param:
            linear = model.category_heads.linear
            for column, place in enumerate(
                model.feature_slices[: model.layout.n_categorical]
            ):
                weights = linear.of_level(column)
                weights[:, : place.start] = torch.randn(len(weights), place.start)
            seen = model.mask[16 * LAYOUT.n_categorical :: 16]
            model.linear.weight.copy_(0.2 * torch.randn(seen.shape) * seen)
            model.linear.scale.copy_(torch.tensor([1.0, 0.5, 0.2]))
            levels, number = model.feature_slices[0], model.feature_slices[3].start
            model.linear.set_departures(
                [
                    (1, levels.start + 2, number, 0.3, 0.8),
                    (2, levels.start, number, 0, 1),
                ],
                [(0, levels.start + 1, 0.4)],
            )
    return model


@pytest.fixture(scope="module")
def rows():
    generator = torch.Generator().manual_seed(1)
    x_num = torch.randn(6, 3, generator=generator)
    x_cat = torch.tensor(
        [[0, 1, 0], [2, 39, 1], [1, 7, 0], [0, 0, 1]] + [[2, 3, 0]] * 2
    )
    x_num[x_cat[:, 2] == 1, 1] = 0.0
    return x_num, x_cat


@torch.no_grad()
def ratio(model, x_num, x_cat, column):
    """Log-likelihood, of the column's number against N(0, 1)."""
    total = model.log_prob(x_num, x_cat)
    if column.number >= 0:
        total = total + 0.5 * x_num[:, column.number].square()
    return total


@pytest.mark.parametrize("name", COLUMNS)
def test_losses_are_those_of_replaced_rows(model, rows, name):
    x_num, x_cat = rows
    column = COLUMNS[name]
    own, gains = ratio(model, x_num, x_cat, column), []
    for place in range(len(column)):
        other_num, other_cat = x_num.clone(), x_cat.clone()
        if column.numbers is not None:
            other_num[:, column.number] = column.numbers[place]
        if column.codes is not None:
            other_cat[:, column.category] = column.codes[place]
        gains.append(ratio(model, other_num, other_cat, column) - own)
    gain, best = torch.stack(gains).max(0)
    losses, found, surprises = replacement_losses(model, x_num, x_cat, [column])
    torch.testing.assert_close(losses[:, 0], -gain.clamp_min(0), atol=1e-4, rtol=1e-4)
    better = gain > 1e-4
    assert better.any()
    if column.numbers is None:
        assert (found[better, 0] == best[better]).all()
    else:
        of_numbers = torch.stack(gains)[: len(GRID)].softmax(0)
        # The median leaves less than half on either side, and one of holes is a hole.
        for row in torch.arange(6)[better & (found[:, 0] < len(GRID))]:
            place = found[row, 0]
            assert of_numbers[:place, row].sum() < 0.5
            assert of_numbers[place + 1 :, row].sum() <= 0.5
        present = torch.stack(gains)[: len(GRID)].logsumexp(0)
        holes = torch.stack(gains)[len(GRID) :].logsumexp(0)
        assert ((found[:, 0] == len(GRID)) == (better & (holes > present))).all()
    assert (found[gain < -1e-4, 0] == -1).all()


def test_expected_numbers_are_medians():
    """In the first row the likeliest one is greater, in the second most are missing."""
    column = Candidates((-1.0, 0.0, 1.0, 0.0), (0, 0, 0, 1), 0, 0)
    of_first, of_second = [0.1, 0.3, 0.3, 0.4, 0.2], [0.1, 0.3, 0.2, 0.2, 0.8]
    joint = torch.tensor([of_first, of_second]).log().T
    found = column.judge(joint, torch.zeros((2, 1), dtype=torch.int64))[1]
    assert found.tolist() == [1, 3]


def test_a_scored_row_has_the_same_losses(model, rows):
    columns = list(COLUMNS.values())[:2]  # of categories alone nothing is a density
    for mine, other in zip(
        scored_replacements(model.log_prob, *rows, columns),
        replacement_losses(model, *rows, columns),
        strict=True,
    ):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-4)


def test_losses_of_a_rebuilt_row():
    layout = TableLayout(2, (2, 3), (0, -1))
    raw = torch.tensor([[0.5, -1.0, 2.0, 0.0, 1.0, 0.0, -1.0]])
    log_scale = torch.tensor([0.0, 1.0])
    distribution = TableDistribution(layout, raw, log_scale, block_indicator(layout))
    x_num, x_cat = torch.tensor([[0.0, 3.0]]), torch.tensor([[1, 2]])
    numbers, categories = reconstruction_losses(distribution, x_num, x_cat)
    # The first number is missing; the best codes are 0 and 0.
    expected = torch.tensor([[0.0, -0.5 * 16 * torch.exp(torch.tensor(-2.0))]])
    torch.testing.assert_close(numbers, expected)
    torch.testing.assert_close(
        categories, torch.tensor([[-2.0, -2.0]]), atol=0.02, rtol=0.0
    )
    own = distribution.log_prob(x_num, x_cat)
    best = distribution.log_prob(torch.tensor([[0.0, -1.0]]), torch.tensor([[1, 0]]))
    difference = numbers[0, 1] + categories[0, 1]
    torch.testing.assert_close(own[0] - best[0], difference, atol=1e-5, rtol=1e-5)


def test_losses_of_pixels():
    layout = TableLayout(3)
    raw = torch.tensor([[2.0, -3.0, 0.0]])
    distribution = TableDistribution(layout, raw, None, block_indicator(layout))
    x_num, x_cat = (
        torch.tensor([[0.25, 1.0, 0.5]]),
        torch.empty((1, 0), dtype=torch.int64),
    )
    numbers, _ = reconstruction_losses(distribution, x_num, x_cat)
    torch.testing.assert_close(numbers, torch.tensor([[-1.5, -3.0, 0.0]]))


def test_surprises_are_conditional_log_probabilities(model, rows):
    x_num, x_cat = rows
    columns = [
        Candidates(codes=(0, 1, 2), category=0),
        Candidates(codes=(0,), category=0),
    ]
    whole, part = replacement_losses(model, x_num, x_cat, columns)[2].T
    joint = []
    for code in range(3):
        other = x_cat.clone()
        other[:, 0] = code
        joint.append(model.log_prob(x_num, other).detach())
    joint = torch.stack(joint, 1)
    own = joint.gather(1, x_cat[:, :1])[:, 0]
    torch.testing.assert_close(whole, joint.logsumexp(1) - own, atol=1e-4, rtol=1e-4)
    # A level that is no candidate counts itself.
    few = torch.where(x_cat[:, 0] > 0, torch.logaddexp(joint[:, 0], own), joint[:, 0])
    torch.testing.assert_close(part, few - own, atol=1e-4, rtol=1e-4)


def test_surprises_of_numbers_are_densities(model, rows):
    """Of the last number: what its head says, against N(0, 1)."""
    grid = torch.linspace(-12, 12, 1_201)
    weights = -0.5 * grid.square() - 0.5 * math.log(2 * math.pi) + math.log(0.02)
    column = Candidates(
        tuple(grid.tolist()), number=2, log_weights=tuple(weights.tolist())
    )
    surprises = replacement_losses(model, *rows, [column])[2][:, 0]
    zeros = torch.zeros(6, 3)
    with torch.no_grad():
        terms = column_terms(model, *rows, rows[0], zeros)[0][:, 2]
    expected = terms + 0.5 * rows[0][:, 2].square() + 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(-surprises.double(), expected, atol=0.03, rtol=0.0)
