"""Numbers that are spread evenly over rows, and what is drawn by them."""

import numpy as np
import pytest
import torch
from scipy import stats

from sklearn_unsup._nn.autoregressive import AutoregressiveModel
from sklearn_unsup._nn.even_numbers import BLOCK, EvenNumbers, split
from sklearn_unsup._nn.random import draw_index
from sklearn_unsup._nn.row_draws import MIN_EVEN_ROWS
from sklearn_unsup._table.layout import EncodedConditions, TableLayout


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_number_of_a_row_is_uniform():
    """Over draws; whichever the place of the row in the order."""
    source = generator()
    even = EvenNumbers(100, source, "cpu")
    even.sort_by(torch.arange(100) % 7)
    numbers = torch.stack([even.draw(source) for _ in range(2_000)])
    assert numbers.min() >= 0
    assert numbers.max() < 1
    for row in (0, 42, 99):
        assert stats.kstest(numbers[:, row], "uniform").pvalue > 1e-3


@pytest.mark.parametrize("n", [1, 13, 16, 5_000])
def test_each_part_has_a_number_of_each_block(n):
    even = EvenNumbers(n, generator(), "cpu")
    parts = (even.draw(generator())[even.order] * BLOCK).long().numpy()
    for start in range(0, n, BLOCK):
        block = parts[start : start + BLOCK]
        assert len(np.unique(block)) == len(block)


def test_numbers_are_even_among_rows_with_equal_keys():
    """Of independent ones the shares would be off by 1 / sqrt(n), .05 here."""
    rng = np.random.default_rng(0)
    first, second = (torch.from_numpy(rng.integers(3, size=3_000)) for _ in range(2))
    even = EvenNumbers(3_000, generator(), "cpu")
    even.sort_by(first)
    even.sort_by(second)
    numbers = even.draw(generator()).numpy()
    for of_first in range(3):
        for of_second in range(3):
            own = numbers[(first == of_first) & (second == of_second)]
            below = (own[:, None] < np.linspace(0, 1, 21)).mean(0)
            assert np.abs(below - np.linspace(0, 1, 21)).max() < 0.03


@pytest.mark.parametrize("keys", ["all equal", "all different"])
def test_numbers_of_two_draws_are_independent(keys):
    """Multiples of one irrational number would be off by .4 where keys are equal."""
    found = []
    for seed in range(40):
        source = generator(seed)
        even = EvenNumbers(1_000, source, "cpu")
        first = even.draw(source)
        even.sort_by(torch.zeros(1_000) if keys == "all equal" else first)
        found.append(stats.spearmanr(first, even.draw(source))[0])
    assert np.sqrt(np.mean(np.square(found))) < 0.05


def test_columns_apart_from_one_of_many_levels_are_independent():
    """Where a column has about as many levels as there are rows, sums may resonate."""
    torch.manual_seed(0)
    model = AutoregressiveModel(TableLayout(0, (2, 987, 2)), width=4).eval()
    with torch.no_grad():
        for weight in (*model.category_heads.weights, *model.category_heads.biases):
            weight.zero_()
    for seed in range(10):
        x_cat = model.sample(EncodedConditions(1_597), generator(seed))[1]
        table = np.histogram2d(x_cat[:, 0], x_cat[:, 2], bins=2)[0]
        assert stats.chi2_contingency(table, correction=False).statistic < 16


def test_rows_with_equal_keys_stay_in_their_order():
    even = EvenNumbers(6, generator(), "cpu")
    even.order = torch.arange(6)
    even.sort_by(torch.tensor([1, 0, 1, 0, 1, 0]))
    assert even.order.tolist() == [1, 3, 5, 0, 2, 4]
    even.sort_by(torch.tensor([0, 1, 1, 0, 0, 1]))
    assert even.order.tolist() == [3, 0, 4, 1, 5, 2]


def test_rows_that_follow_each_other_are_independent():
    """Else tables would have to be shuffled before they are cut."""
    even = EvenNumbers(20_000, generator(), "cpu")
    numbers = even.draw(generator()).numpy()
    assert stats.spearmanr(numbers[:-1], numbers[1:]).pvalue > 1e-3
    assert stats.kstest((numbers[1:] - numbers[:-1]) % 1, "uniform").pvalue > 1e-3


def test_a_number_is_split_into_two_that_are_independent():
    numbers = EvenNumbers(4_000, generator(), "cpu").draw(generator())
    share = torch.linspace(0, 1, 4_000)
    is_below, within = split(numbers, share)
    assert (is_below == (numbers < share)).all()
    for part in (within[is_below], within[~is_below]):
        assert stats.kstest(part, "uniform").pvalue > 1e-3
        assert part.max() < 1
    nearly = torch.tensor([1 - 2.0**-24])
    for share in (0.0, 1e-7, 0.5, 1.0):
        assert split(nearly, torch.tensor([share]))[1].item() < 1


def test_levels_are_drawn_as_often_as_they_are_probable():
    shares = torch.tensor([0.5, 0.3, 0.2, 0.0])
    logits = shares.log().expand(1_000, -1)
    numbers = EvenNumbers(1_000, generator(), "cpu").draw(generator())
    counts = torch.bincount(draw_index(logits, None, numbers), minlength=4)
    assert (counts - 1_000 * shares).abs().max() < 10
    assert counts[3] == 0


@torch.no_grad()
def independent_rows(n, seed):
    """Codes of a model in which three columns do not depend on each other."""
    torch.manual_seed(0)
    model = AutoregressiveModel(TableLayout(1, (2, 4, 5)), width=4).eval()
    codes = torch.tensor([[0, 0, 0], [1, 1, 1], [1, 2, 2], [0, 3, 3], [0, 0, 4]])
    model.start_at_frequencies(codes)
    for weight in model.category_heads.weights:
        weight.zero_()
    x_num, x_cat, _ = model.sample(EncodedConditions(n), generator(seed))
    return model, x_num, x_cat


def test_pairs_of_levels_come_as_often_as_they_are_probable():
    """Counts of independent rows would be off by ten in the mean."""
    model, _, x_cat = independent_rows(2_000, 0)
    shares = [head.softmax(0) for head in frequencies(model)]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        pairs = x_cat[:, a] * len(shares[b]) + x_cat[:, b]
        counts = torch.bincount(pairs, minlength=len(shares[a]) * len(shares[b]))
        expected = 2_000 * torch.outer(shares[a], shares[b]).flatten()
        assert (counts - expected).abs().mean() < 8


@torch.no_grad()
def frequencies(model):
    """Logits of the levels of each column, which depend on nothing."""
    heads = model.category_heads
    return [
        torch.nn.functional.linear(torch.zeros(1, model.width), *heads.of_column(i))[0]
        for i in range(3)
    ]


def test_few_rows_are_independent():
    """A coin that is thrown twice shows the same side twice in half of the cases."""
    assert MIN_EVEN_ROWS > 2
    same = []
    for seed in range(300):
        x_cat = independent_rows(2, seed)[2]
        same.append(bool(x_cat[0, 0] == x_cat[1, 0]))
    [shares, *_] = frequencies(independent_rows(2, 0)[0])
    share = shares.softmax(0).square().sum().item()
    assert stats.binomtest(sum(same), 300, share).pvalue > 1e-3


def test_bins_of_numbers_are_drawn_as_often_as_they_are_probable():
    """Counts of independent rows would be off by 11 in the mean of ten equal bins."""
    torch.manual_seed(0)
    edges = np.linspace(0, 1, 11)[1:-1]
    model = AutoregressiveModel(TableLayout(2, ()), width=4, bin_edges=[edges] * 2)
    with torch.no_grad():
        for parameter in model.number_heads.parameters():
            parameter.zero_()
    model.number_heads.start_as_histograms([0, 1])
    x_num = model.eval().sample(EncodedConditions(2_000), generator())[0]
    places = np.digitize(stats.norm.cdf(x_num.numpy()), edges)
    for column in range(2):
        counts = np.bincount(places[:, column], minlength=10)
        assert np.abs(counts - 200).mean() < 5
    pairs = np.bincount(places[:, 0] // 5 * 10 + places[:, 1], minlength=20)
    assert np.abs(pairs - 100).mean() < 6


def test_rows_under_conditions_are_independent(monkeypatch):
    """They are weighted and chosen again, one by one."""
    drawn = []
    where = "sklearn_unsup._nn.row_draws.EvenNumbers"
    monkeypatch.setattr(where, lambda *args: drawn.append(1) or EvenNumbers(*args))
    model, *_ = independent_rows(2_000, 0)
    assert drawn == [1]
    wanted = {0: torch.zeros(2_000, dtype=torch.int64)}
    model.sample(EncodedConditions(2_000, codes=wanted), generator())
    model.sample(EncodedConditions(MIN_EVEN_ROWS - 1), generator())
    assert drawn == [1]
