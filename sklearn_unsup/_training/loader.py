"""Shuffled slices of encoded rows."""

from collections.abc import Iterator
from itertools import accumulate, pairwise

import torch

from .._nn.chunks import bounded_rows
from .data import Batch, EncodedDataset

# Rows gathered at once: large enough that the gather costs nothing per batch, small
# enough that no second copy of the table ever exists.
GATHERED_ROWS = 16_384


class DeviceLoader:
    """Iterate over slices of encoded rows; a new order in every pass if shuffled.

    Yields ``((x_num, x_cat), (x_num, x_cat))``: a row is its own target. The last,
    shorter slice is kept, also when it is the only one. Only a shuffled pass leaves out
    a last slice under a quarter of a batch: its gradient is the noisiest of the pass,
    and the next pass shuffles its rows elsewhere.

    Parameters
    ----------
    dataset : EncodedDataset
    batch_size : int
    generator : BatchGenerator, torch.Generator or None
        Source of the order; None keeps the order of the rows.
    rank, n_processes : int
        Each of several processes that have the same rows and generator gets its part
        of every batch. The generator, a :class:`BatchGenerator`, is told which.
    """

    def __init__(
        self,
        dataset: EncodedDataset,
        batch_size: int,
        generator=None,
        rank=0,
        n_processes=1,
    ):
        self.dataset, self.batch_size, self.generator = dataset, batch_size, generator
        self.rank, self.n_processes = rank, n_processes

    def __len__(self) -> int:
        full, rest = divmod(len(self.dataset), self.batch_size)
        if self.generator is not None and full:
            # A process without a row would have no loss.
            return full + (4 * rest >= self.batch_size and rest >= self.n_processes)
        return full + (rest > 0)

    def __iter__(self) -> Iterator[tuple[Batch, Batch]]:
        if self.generator is None:
            batches = (
                self.dataset.take(slice(start, start + self.batch_size))
                for start in range(0, len(self.dataset), self.batch_size)
            )
        else:
            batches = self._shuffled()
        try:
            for batch in batches:
                yield batch, batch
        finally:
            if self.n_processes > 1:
                self.generator.share = None

    def _shuffled(self) -> Iterator[Batch]:
        generator, size = self.generator, self.batch_size
        device = generator.device
        order = torch.randperm(len(self.dataset), generator=generator, device=device)
        order = order[: len(self) * size].to(self.dataset.index_device)
        gathered = bounded_rows(GATHERED_ROWS, self.dataset.row_bytes)
        for group in order.split(max(1, gathered // size) * size):
            lengths = [len(batch) for batch in group.split(size)]
            shares = [self._share(length) for length in lengths]
            if self.n_processes > 1:
                starts = accumulate(lengths, initial=0)
                places = torch.cat(
                    [
                        torch.arange(start + share.start, start + share.stop)
                        for start, share in zip(starts, shares, strict=False)
                    ]
                )
            else:
                places = slice(None)
            x_num, x_cat = self.dataset.take(group[places])
            if self.dataset.dequantizer:
                self.dataset.dequantizer.dequantize_(
                    x_num, x_cat, generator, (len(group), places)
                )
            edges = accumulate((s.stop - s.start for s in shares), initial=0)
            for (start, stop), length, share in zip(
                pairwise(edges), lengths, shares, strict=True
            ):
                if self.n_processes > 1:
                    generator.share = length, share
                yield x_num[start:stop], x_cat[start:stop]

    def _share(self, length: int) -> slice:
        """Rows of a batch that are this process's: as even as can be."""
        start, stop = (
            length * rank // self.n_processes for rank in (self.rank, self.rank + 1)
        )
        return slice(start, stop)
