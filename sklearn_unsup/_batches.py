"""Rows that lie on the device once, shuffled slices of them, and schedules."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils.data import Dataset

# Rows gathered at once: large enough that the gather costs nothing per batch, small
# enough that no second copy of the table ever exists.
GATHERED_ROWS = 16_384
CHUNK_ROWS = 16_384  # of a pass without gradients; bounds memory, changes no result

Batch = tuple[Tensor, Tensor]


class Rows(Dataset):
    """An encoded table on a device.

    Parameters
    ----------
    x_num : Tensor of shape (n, n_numeric), float32
    x_cat : Tensor of shape (n, n_categorical), int64
    redraw : callable or None
        Called before every shuffled pass; returns another draw of `x_num`. Atoms are
        encoded at random points, and a net that meets always the same ones learns
        them by heart.
    """

    def __init__(
        self,
        x_num: Tensor,
        x_cat: Tensor,
        redraw: Callable[[], Tensor] | None = None,
    ):
        self.x_num, self.x_cat, self.redraw = x_num, x_cat, redraw

    def __len__(self) -> int:
        return len(self.x_num)

    def __getitem__(self, index) -> tuple[Batch, Batch]:
        rows = self.x_num[index], self.x_cat[index]
        return rows, rows

    def split(self, order: Tensor, n_first: int) -> tuple["Rows", "Rows"]:
        """Two parts of the rows in a given order, the first with `n_first` of them."""
        first, second = order[:n_first], order[n_first:]
        redraw = self.redraw and (lambda: self.redraw()[first])
        return (
            Rows(self.x_num[first], self.x_cat[first], redraw),
            Rows(self.x_num[second], self.x_cat[second]),
        )


class DeviceBatches:
    """Iterate over slices of :class:`Rows`; a new order in every pass if shuffled.

    Yields ``((x_num, x_cat), (x_num, x_cat))``: a row is its own target. The last,
    shorter slice is kept, also when it is the only one. Only a shuffled pass leaves out
    a last slice under a quarter of a batch: its gradient is the noisiest of the pass,
    and the next pass shuffles its rows elsewhere.

    Parameters
    ----------
    rows : Rows
    batch_size : int
    generator : torch.Generator or None
        Source of the order; None keeps the order of the rows.
    """

    def __init__(self, rows: Rows, batch_size: int, generator=None):
        self.rows, self.batch_size, self.generator = rows, batch_size, generator

    def __len__(self) -> int:
        full, rest = divmod(len(self.rows), self.batch_size)
        if self.generator is not None and full:
            return full + (4 * rest >= self.batch_size)
        return full + (rest > 0)

    def __iter__(self) -> Iterator[tuple[Batch, Batch]]:
        for batch in self._slices():
            yield batch, batch

    def _slices(self) -> Iterator[Batch]:
        x_num, x_cat = self.rows.x_num, self.rows.x_cat
        size, left = self.batch_size, len(self)
        order = None
        if self.generator is not None:
            # Drawn on the generator's device, the rows' own.
            order = torch.randperm(
                len(x_num), generator=self.generator, device=x_num.device
            )
            if self.rows.redraw is not None:
                x_num = self.rows.redraw()
        step = max(1, GATHERED_ROWS // size) * size
        for start in range(0, len(x_num), step):
            part = slice(start, start + step)
            if order is None:
                gathered = x_num[part], x_cat[part]
            else:
                gathered = (t.index_select(0, order[part]) for t in (x_num, x_cat))
            for batch in zip(*(t.split(size) for t in gathered), strict=True):
                if left == 0:
                    return
                left -= 1
                yield batch


def warmup_cosine(step: int, n_warmup: int, n_steps: int | None, floor: float) -> float:
    """Factor of the learning rate at a step, counted from 0.

    Rises linearly over `n_warmup` steps, then falls along half a cosine to `floor` at
    step `n_steps`; with ``n_steps=None`` (a stream of unknown length) it stays at 1.
    """
    if step < n_warmup:
        return (step + 1) / n_warmup
    if n_steps is None:
        return 1.0
    done = min(1.0, (step - n_warmup) / max(1, n_steps - n_warmup))
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * done))


def default_batch_size(n_rows: int) -> int:
    """A 32nd of the rows, between 16 and 512, as a power of two."""
    return 2 ** min(9, max(4, round(math.log2(max(n_rows, 1) / 32))))


def steps_per_epoch(n_rows: int, batch_size: int) -> int:
    """Gradient steps of one shuffled pass."""
    rows = range(n_rows)
    return len(DeviceBatches(rows, min(batch_size, n_rows), generator=True))


def chunks_of(n_rows: int) -> list[slice]:
    """Slices that cover `n_rows`."""
    return [slice(i, i + CHUNK_ROWS) for i in range(0, n_rows, CHUNK_ROWS)]


def stack_rows(parts) -> tuple:
    """Chunks of `x_num` and `x_cat` on a device to two arrays."""
    return tuple(torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
