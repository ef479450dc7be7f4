"""Learning rate schedule, default batch size and number of steps per epoch."""

import math

from .loader import DeviceLoader


def warmup_cosine(step: int, n_warmup: int, n_steps: int | None, floor: float) -> float:
    """Factor of the learning rate at a step, counted from 0.

    It rises linearly over `n_warmup` steps, then falls along half a cosine to `floor`
    at step `n_steps`. With ``n_steps=None`` it stays at 1 after the warm-up.
    """
    if step < n_warmup:
        return (step + 1) / n_warmup
    if n_steps is None:
        return 1.0
    done = min(1.0, (step - n_warmup) / max(1, n_steps - n_warmup))
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * done))


def default_batch_size(n_rows: int) -> int:
    """Power of two that is nearest to a 32nd of the rows, between 16 and 512."""
    return 2 ** min(9, max(4, round(math.log2(max(n_rows, 1) / 32))))


def steps_per_epoch(n_rows: int, batch_size: int) -> int:
    """Number of gradient steps in one shuffled pass over the rows."""
    dataset = range(n_rows)  # Only its length matters.
    return len(DeviceLoader(dataset, min(batch_size, n_rows), generator=True))
