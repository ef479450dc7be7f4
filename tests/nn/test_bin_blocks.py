"""BinBlocks: weights of bins as sums over blocks of neighbours."""

import numpy as np
import pytest
import torch

from sklearn_unsup._nn.bin_blocks import SCALE_PER_SHARE, BinBlocks
from sklearn_unsup._nn.heads import GATE, NumberHeads

# Columns of nine bins, of five, of one; the second one is rough. A bin of the first
# one has .4 of the rows.
SHARES = [np.array([0.1, 0.4, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05]), np.full(5, 0.2)]
SHARES += [np.ones(1)]
IS_ROUGH = [False, True, False]


def scale_of(size, place, column):
    """That of the block of this size that a bin lies in."""
    n_bins, start = len(SHARES[column]), place // size * size
    if size > 1 and size >= n_bins:
        return 0.0
    scale = SCALE_PER_SHARE * size / n_bins
    scale = np.sqrt(scale) if IS_ROUGH[column] else scale
    of_rows = SHARES[column][start : start + size].sum()
    return min(1.0, max(scale, SCALE_PER_SHARE * of_rows))


@pytest.mark.parametrize("max_product", [2, 3, 5, 128])
def test_a_bin_is_the_sum_of_its_blocks(monkeypatch, max_product):
    """Whether large blocks are added by a product, or from size to size."""
    monkeypatch.setattr("sklearn_unsup._nn.bin_blocks.MAX_PRODUCT", max_product)
    blocks = BinBlocks(SHARES, IS_ROUGH, n_before=3)
    # Nine of a bin, then of two (the last one cut off), of four, of eight.
    sizes = [(1, 9), (2, 5), (4, 3), (8, 2)]
    assert blocks.n_coefficients == 3 + sum(n for _, n in sizes)
    coefficients = torch.randn(3, 2, blocks.n_coefficients)
    found = blocks(coefficients)
    assert found.shape == (3, 2, 3 + 9)
    torch.testing.assert_close(found[..., :3], coefficients[..., :3])
    for column in range(3):
        for place in range(9):
            expected, start = torch.zeros(2), 3
            for size, n in sizes:
                own = coefficients[column, :, start + place // size]
                expected += scale_of(size, place, column) * own
                start += n
            torch.testing.assert_close(found[column, :, 3 + place], expected)
    one = slice(1, 2)
    torch.testing.assert_close(blocks(coefficients[one], one), found[one])


def test_weights_come_back():
    blocks, weights = BinBlocks(SHARES, IS_ROUGH, 2), torch.randn(3, 2, 2 + 9)
    torch.testing.assert_close(blocks(blocks.coefficients(weights)), weights)
    heads = NumberHeads(4, [(0.2, 0.5), (), (0.5,)])
    weights = torch.randn_like(heads.weights())
    heads.set_weights(weights)
    torch.testing.assert_close(heads.weights(), weights)
    one = slice(2, 3)
    heads.set_weights(weights[:1], one)
    torch.testing.assert_close(heads.weights(one), weights[:1])
    torch.testing.assert_close(heads.weights(slice(2)), weights[:2])


@pytest.mark.parametrize("n_bins", [0, 1, 2])
def test_few_bins_are_all_that_there_is(n_bins):
    shares = [np.full(n_bins, 1 / n_bins)] if n_bins else []
    blocks = BinBlocks(shares, [False] * len(shares))
    assert blocks.n_coefficients == max(1, n_bins)
    weights = torch.randn(min(1, n_bins), 3, max(1, n_bins))
    torch.testing.assert_close(blocks(weights), weights)


def moved(is_block, is_rough):
    """Change of the logit of a bin by a step of Adam for some of 64 bins."""
    heads = NumberHeads(4, [np.arange(1, 64) / 64], [is_rough])
    before = heads.weights().detach()
    wanted = torch.arange(64) < 32 if is_block else torch.arange(64) % 2 == 0
    optimizer = torch.optim.Adam([heads.weight], lr=0.01)
    loss = -heads.weights()[..., GATE + 1 :] * torch.where(wanted, 1.0, -1.0)
    loss.sum().backward()
    optimizer.step()
    change = (heads.weights() - before)[..., GATE + 1 :]
    return (change * torch.where(wanted, 1.0, -1.0)).mean().item() / 0.01


def test_what_neighbours_share_is_learnt_before_what_they_do_not():
    sizes = [1, 2, 4, 8, 16, 32]
    scales = [SCALE_PER_SHARE * size / 64 for size in sizes]
    assert moved(True, False) == pytest.approx(sum(scales), rel=0.01)
    # The gradients of every second bin cancel in all blocks.
    assert moved(False, False) == pytest.approx(scales[0], rel=0.01)
    # Where neighbours mean different things single bins are learnt faster.
    assert moved(True, True) == pytest.approx(sum(np.sqrt(scales)), rel=0.01)
    assert moved(False, True) == pytest.approx(np.sqrt(scales[0]), rel=0.01)
