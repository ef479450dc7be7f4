"""Weights of histograms: what neighbouring bins have in common is learnt first."""

import torch
from torch import Tensor, nn

# Scale of the weights of a block, as a multiple of its share of the bins of its column,
# in discrete columns the square root of this, or of its share of the rows if that is
# more. It is at most 1.
SCALE_PER_SHARE = 2.0


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
    is_discrete : list of bool
        Which columns consist of repeated values, neighbours among which may mean quite
        different things: their small blocks count more.

    Examples
    --------
    >>> blocks = BinBlocks([[0.25, 0.25, 0.25, 0.25]], [False])
    >>> blocks.scales.flatten().tolist()  # of four bins, then of two pairs
    [0.5, 0.5, 0.5, 0.5, 1.0, 1.0]
    >>> blocks(torch.tensor([[[0.0, 0.0, 0.0, 2.0, 3.0, 0.0]]])).tolist()
    [[[3.0, 3.0, 0.0, 1.0]]]
    """

    def __init__(self, shares: list, is_discrete: list[bool]):
        super().__init__()
        n_bins = [len(own) for own in shares]
        self.n_bins = max(n_bins, default=1)
        places, members, steps = torch.arange(self.n_bins), [], [1]
        while 2 * steps[-1] < self.n_bins:
            steps.append(2 * steps[-1])
            owners = places // steps[-1]
            members.append(owners == torch.arange(int(owners[-1]) + 1)[:, None])
        members = torch.cat([torch.zeros(0, self.n_bins), *members])
        # Of the bins, then of larger and larger blocks.
        sizes = [size for size in steps for _ in range(0, self.n_bins, size)]
        sizes = torch.tensor(sizes, dtype=torch.float32)
        counts = torch.tensor(n_bins, dtype=torch.float32)[:, None]
        scales = SCALE_PER_SHARE * sizes / counts
        roots = torch.tensor(is_discrete, dtype=torch.bool)[:, None]
        scales = torch.where(roots, scales.sqrt(), scales)
        padded = torch.zeros(len(n_bins), self.n_bins)
        for own, shares_of_bins in zip(padded, shares, strict=True):
            own[: len(shares_of_bins)] = torch.as_tensor(shares_of_bins)
        of_rows = torch.cat([padded, padded @ members.t()], 1)
        scales = scales.maximum(SCALE_PER_SHARE * of_rows).clamp_max(1.0)
        # What all bins of a column share is nothing to a histogram.
        is_idle = (sizes >= counts) & (sizes > 1)
        scales = scales.masked_fill(is_idle, 0.0)
        self.register_buffer("members", members, persistent=False)
        self.register_buffer("scales", scales[:, None], persistent=False)

    @property
    def n_coefficients(self) -> int:
        return self.scales.shape[2]

    def forward(self, coefficients: Tensor, columns=slice(None)) -> Tensor:
        """Weights of bins, (n_columns, width, n_bins), from those of all blocks.

        Parameters
        ----------
        coefficients : Tensor of shape (n_columns, width, n_coefficients)
        columns : slice, default=slice(None)
            Positions of these columns.
        """
        scaled = coefficients * self.scales[columns]
        bins, blocks = scaled.tensor_split([self.n_bins], -1)
        return bins + blocks @ self.members

    def coefficients(self, weights: Tensor, columns=slice(None)) -> Tensor:
        """Coefficients of given weights, by single bins alone."""
        bins = weights / self.scales[columns, :, : self.n_bins]
        n_blocks = self.n_coefficients - self.n_bins
        return torch.cat([bins, bins.new_zeros(*bins.shape[:-1], n_blocks)], -1)
