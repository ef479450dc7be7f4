"""Iterator over batches of an encoded dataset on its device."""

from collections.abc import Iterator
from itertools import accumulate, pairwise

import torch

from .._nn.chunks import bounded_rows
from .data import Batch, EncodedDataset

# Maximum number of rows that a shuffled pass gathers at a time. Many batches share the
# cost of one gather, but a second copy of a large table never exists.
GATHERED_ROWS = 16_384


class DeviceLoader:
    """Iterate over the batches of an encoded dataset, in a new order in every pass.

    Each item is ``((x_num, x_cat), (x_num, x_cat))``, because a row is its own target.
    A last, smaller batch is kept. But a shuffled pass omits it if it has less than a
    quarter of a batch and is not the only one: its gradient would be the noisiest of
    the pass, and the next pass has its rows in other batches.

    Parameters
    ----------
    dataset : EncodedDataset
    batch_size : int
    generator : BatchGenerator, torch.Generator or None
        Generator that shuffles the rows; None keeps their order.
    rank, n_processes : int
        Index of this process and number of processes that share every batch. All have
        the same dataset and the same state of the generator, a
        :class:`BatchGenerator`, whose `local_rows` are set for each batch.
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
            # Every process needs at least one row of each batch.
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
                self.generator.local_rows = None

    def _shuffled(self) -> Iterator[Batch]:
        generator, size = self.generator, self.batch_size
        device = generator.device
        order = torch.randperm(len(self.dataset), generator=generator, device=device)
        order = order[: len(self) * size].to(self.dataset.index_device)
        gathered = bounded_rows(GATHERED_ROWS, self.dataset.row_bytes)
        for group in order.split(max(1, gathered // size) * size):
            lengths = [len(batch) for batch in group.split(size)]
            local_slices = [self._local_slice(length) for length in lengths]
            if self.n_processes > 1:
                starts = accumulate(lengths, initial=0)
                index = torch.cat(
                    [
                        torch.arange(start + rows.start, start + rows.stop)
                        for start, rows in zip(starts, local_slices, strict=False)
                    ]
                )
            else:
                index = slice(None)
            x_num, x_cat = self.dataset.take(group[index])
            if self.dataset.dequantizer:
                self.dataset.dequantizer.dequantize_(
                    x_num, x_cat, generator, (len(group), index)
                )
            edges = accumulate((s.stop - s.start for s in local_slices), initial=0)
            for (start, stop), length, rows in zip(
                pairwise(edges), lengths, local_slices, strict=True
            ):
                if self.n_processes > 1:
                    generator.local_rows = length, rows
                yield x_num[start:stop], x_cat[start:stop]

    def _local_slice(self, length: int) -> slice:
        """Rows of a batch that belong to this process, as even as possible."""
        start, stop = (
            length * rank // self.n_processes for rank in (self.rank, self.rank + 1)
        )
        return slice(start, stop)


class FullBatchLoader:
    """Iterate over one batch of all rows, `N_STEPS` times in each pass.

    Gradients of all rows have no noise, so that few long steps do what otherwise takes
    many steps of small batches.

    Parameters
    ----------
    dataset : EncodedDataset
    generator : BatchGenerator or torch.Generator
        Generator that dequantizes the rows anew in each step.
    """

    N_STEPS = 10

    def __init__(self, dataset: EncodedDataset, generator):
        self.dataset, self.generator = dataset, generator

    def __len__(self) -> int:
        return self.N_STEPS

    def __iter__(self) -> Iterator[tuple[Batch, Batch]]:
        x_num, x_cat = self.dataset.take(slice(None))
        dequantizer = self.dataset.dequantizer
        for _ in range(self.N_STEPS):
            if dequantizer:
                x_num = x_num.clone()
                dequantizer.dequantize_(x_num, x_cat, self.generator)
            batch = x_num, x_cat
            yield batch, batch
