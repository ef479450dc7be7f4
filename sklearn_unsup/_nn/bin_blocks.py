"""Weights of histograms: what neighbouring bins have in common is learnt first."""

import torch
from torch import Tensor, nn

# Scale of the weights of a block, as a multiple of its share of the bins of its column,
# in rough columns the square root of this, or of its share of the rows if that is
# more. It is at most 1.
SCALE_PER_SHARE = 2.0
# Maximum number of blocks of a size to which all larger ones are added by a product.
# Of more blocks it is faster to go from size to size.
MAX_PRODUCT = 128


class BinBlocks(nn.Module):
    """A bin's weight as a sum over the blocks of neighbouring bins that it lies in.

    There are blocks of one bin, of two, four, eight and so on. An optimizer that takes
    steps of the same size in all coefficients, as Adam does, learns a bin by itself as
    fast as all others: the order of bins means nothing to it, and what is noise in a
    hundred bins is memorised before what all of them have in common is learnt. Here
    coefficients count in proportion to the size of their blocks, so that a conditional
    distribution becomes sharp where it has to, and stays smooth elsewhere.

    Parameters
    ----------
    shares : list of ndarray
        Of each column the shares of the rows that lie in its bins. Columns with fewer
        bins than others are padded.
    is_rough : list of bool
        In which columns neighbours mean quite different things, see
        :func:`~.rough_numbers.rough_numbers`: their small blocks count more.
    n_before : int, default=0
        Number of outputs before the bins, whose weights are left as they are.

    Examples
    --------
    >>> blocks = BinBlocks([[0.25, 0.25, 0.25, 0.25]], [False])
    >>> blocks.n_coefficients  # of four bins, each times 0.5, then of two pairs
    6
    >>> blocks(torch.tensor([[[0.0, 0.0, 0.0, 2.0, 3.0, 0.0]]])).tolist()
    [[[3.0, 3.0, 0.0, 1.0]]]
    """

    def __init__(self, shares: list, is_rough: list[bool], n_before: int = 0):
        super().__init__()
        self.n_before = n_before
        n_bins = [len(own) for own in shares]
        self.n_bins = max(n_bins, default=1)
        steps = [1]
        while 2 * steps[-1] < self.n_bins:
            steps.append(2 * steps[-1])
        # Of the bins, then of larger and larger blocks.
        n_blocks = [-(-self.n_bins // step) for step in steps]
        sizes = torch.tensor(steps).repeat_interleave(torch.tensor(n_blocks)).float()
        counts = torch.tensor(n_bins, dtype=torch.float32)[:, None]
        scales = SCALE_PER_SHARE * sizes / counts
        is_rough = torch.tensor(is_rough, dtype=torch.bool)[:, None]
        scales = torch.where(is_rough, scales.sqrt(), scales)
        padded = torch.zeros(len(n_bins), self.n_bins)
        for own, shares_of_bins in zip(padded, shares, strict=True):
            own[: len(shares_of_bins)] = torch.as_tensor(shares_of_bins)
        of_rows = torch.cat([padded, padded @ memberships(n_blocks).t()], 1)
        scales = scales.maximum(SCALE_PER_SHARE * of_rows).clamp_max(1.0)
        # What all bins of a column share is nothing to a histogram.
        is_idle = (sizes >= counts) & (sizes > 1)
        scales = scales.masked_fill(is_idle, 0.0)[:, None]
        self.n_coefficients = n_before + sum(n_blocks)
        # Numbers of blocks of each small size, the last of which products are added to.
        self.n_small = [n for n in n_blocks if n > MAX_PRODUCT]
        self.n_small.append(n_blocks[len(self.n_small)])
        small, large = scales.tensor_split([sum(self.n_small)], -1)
        self.register_buffer("scales", small, persistent=False)
        products = large.transpose(1, 2) * memberships(
            n_blocks[len(self.n_small) - 1 :]
        )
        self.register_buffer("products", products, persistent=False)

    def forward(self, coefficients: Tensor, columns=slice(None)) -> Tensor:
        """Weights, (n_columns, width, n_before + n_bins), from those of all blocks.

        Parameters
        ----------
        coefficients : Tensor of shape (n_columns, width, n_coefficients)
        columns : slice, default=slice(None)
            Positions of these columns.
        """
        products, scales = self.products[columns], self.scales[columns]
        sizes = [self.n_before, *self.n_small, products.shape[1]]
        before, *small, large = coefficients.split(sizes, -1)
        *scales, last_scales = scales.split(self.n_small, -1)
        total = torch.baddbmm(small.pop() * last_scales, large, products)
        for own, scale in zip(reversed(small), reversed(scales), strict=True):
            halves = total[..., None].expand(*total.shape, 2).flatten(-2)
            total = torch.addcmul(halves[..., : own.shape[-1]], own, scale)
        return torch.cat([before, total], -1)

    def coefficients(self, weights: Tensor, columns=slice(None)) -> Tensor:
        """Coefficients of given weights, by single bins alone."""
        before, bins = weights.tensor_split([self.n_before], -1)
        bins = bins / self.scales[columns, :, : self.n_bins]
        n_blocks = self.n_coefficients - self.n_before - self.n_bins
        blocks = bins.new_zeros(*bins.shape[:-1], n_blocks)
        return torch.cat([before, bins, blocks], -1)


def memberships(n_blocks: list[int]) -> Tensor:
    """In which larger blocks each block of the first size is.

    Parameters
    ----------
    n_blocks : list of int
        Numbers of blocks, of each size as large as two of the size before.

    Returns
    -------
    members : Tensor of shape (n_larger_blocks, n_blocks[0])
    """
    places, members = torch.arange(n_blocks[0]), [torch.zeros(0, n_blocks[0])]
    for level, n in enumerate(n_blocks[1:], start=1):
        members.append((places // 2**level == torch.arange(n)[:, None]).float())
    return torch.cat(members)
