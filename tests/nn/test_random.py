"""Random numbers of a batch, whole or shared."""

import pytest
import torch
from scipy import stats

from sklearn_unsup._nn.random import (
    BatchGenerator,
    coarse_uniform,
    draw_index,
    gumbel,
    normal,
    random_bytes,
    uniform,
)

ALPHA = 1e-4
DRAWS = {
    "normal": lambda n, g: normal((n, 3), g, "cpu"),
    "uniform": lambda n, g: uniform((n, 3), g, "cpu"),
    "coarse_uniform": lambda n, g: coarse_uniform((n, 3), g, "cpu"),
    "gumbel": lambda n, g: gumbel((n, 3), g, "cpu"),
    "draw_index": lambda n, g: draw_index(torch.zeros(n, 5), g),
    "random_bytes": lambda n, g: random_bytes((n, 3), g, "cpu"),
    "bytes of rows in the middle": lambda n, g: random_bytes(
        (5, n, 3), g, "cpu", dim=1
    ).transpose(0, 1),
}
DISTRIBUTIONS = {
    "normal": stats.norm,
    "uniform": stats.uniform,
    "gumbel": stats.gumbel_r,
}


def generator(share=None):
    noise = BatchGenerator().manual_seed(0)
    noise.local_rows = share
    return noise


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distributions(name):
    drawn = DRAWS[name](5_000, generator()).flatten().numpy()
    assert stats.kstest(drawn, DISTRIBUTIONS[name].cdf).pvalue > ALPHA


def test_bytes_are_uniform():
    drawn = random_bytes((256, 100), generator(), "cpu")
    assert drawn.dtype == torch.uint8
    counts = torch.bincount(drawn.flatten().long(), minlength=256)
    assert stats.chisquare(counts.numpy()).pvalue > ALPHA


def test_positions_follow_the_softmax():
    """Those that are impossible are never drawn, at either end and in the middle."""
    shares = torch.tensor([0.0, 0.3, 0.0, 0.05, 0.65, 0.0], dtype=torch.float64)
    n = 20_000
    drawn = draw_index(shares.log().float().expand(n, -1) + 7.0, generator())
    counts = torch.bincount(drawn, minlength=6)
    possible = shares > 0
    assert not counts[~possible].any()
    expected = n * shares[possible].numpy()
    assert stats.chisquare(counts[possible].numpy(), expected).pvalue > ALPHA


def test_each_row_has_positions_of_its_own():
    logits = torch.full((4, 4), -torch.inf)
    logits.fill_diagonal_(0.0)
    assert draw_index(logits, generator()).tolist() == [0, 1, 2, 3]


def test_the_ends_of_uniform_numbers_are_positions():
    """The least and the greatest number that can be drawn find one that is possible."""
    logits = torch.tensor([0.0, 0.7, 0.2, 0.0]).log()[None]
    for u, expected in ((0.0, 2), (1 - 2**-24, 1)):
        assert draw_index(logits, None, torch.tensor([u])).tolist() == [expected]


def test_coarse_numbers_have_mean_zero_and_variance_one():
    drawn = coarse_uniform((256, 400), generator(), "cpu")
    values, counts = drawn.unique(return_counts=True)
    assert len(values) == 128
    assert stats.chisquare(counts.numpy()).pvalue > ALPHA
    torch.testing.assert_close(values.flip(0), -values)
    assert values.double().square().mean().item() == pytest.approx(1)


@pytest.mark.parametrize("name", DRAWS)
def test_shares_are_parts_of_the_whole(name):
    """Together processes draw what one would, and go on alike."""
    draw, whole = DRAWS[name], generator()
    expected = [draw(10, whole), draw(7, whole)]
    for part in (slice(0, 4), slice(4, 7), slice(7, 10)):
        mine = generator((10, part))
        n = part.stop - part.start
        assert torch.equal(draw(n, mine), expected[0][part])
        mine.local_rows = None
        assert torch.equal(draw(7, mine), expected[1])


def test_a_plain_generator_will_do():
    plain = torch.Generator().manual_seed(0)
    assert torch.equal(normal((4,), plain, "cpu"), normal((4,), generator(), "cpu"))
