"""Uniform numbers that are spread evenly over rows which are alike (EvenNumbers)."""

import torch
from torch import Tensor

from .random import uniform

# The golden ratio less one, in units of 2 ** -32. Multiples of no other number leave
# more even gaps between their fractional parts.
GOLDEN, MASK = 2_654_435_769, 2**32 - 1


class EvenNumbers:
    """A uniform number for each row, spread evenly over rows that are alike so far.

    Rows are in the order of the columns that were drawn, the latest one first, and by
    chance where these are equal: neighbouring rows know nothing of each other. The
    number of a row is the fractional part of a random shift, the same for all, plus its
    place times the golden ratio (a Kronecker sequence; Niederreiter 1992). It is
    uniform, but those of neighbours fill the interval evenly: levels that are drawn by
    them come as often as they are probable, among all rows and among those that share
    levels of other columns, but for a few rows. Independent numbers would add the noise
    of a sample.

    Parameters
    ----------
    n : int
        Number of rows.
    generator : torch.Generator
    device : device
    """

    def __init__(self, n: int, generator, device):
        self.order = uniform((n,), generator, device).argsort()
        self.multiples = torch.arange(n, device=device) * GOLDEN

    def sort_by(self, keys: Tensor) -> None:
        """Order rows by keys (n,), and those with equal ones as before."""
        sorted_keys = keys.index_select(0, self.order)
        places = sorted_keys.argsort(stable=True)
        self.order = self.order.index_select(0, places)

    def draw(self, generator) -> Tensor:
        """Numbers in [0, 1), shape (n,)."""
        device = self.order.device
        shift = torch.randint(MASK + 1, (1,), generator=generator, device=device)
        # In steps of 2 ** -24, the largest of which is below 1 as a float, too.
        steps = (self.multiples + shift).bitwise_and_(MASK).bitwise_right_shift_(8)
        numbers = torch.empty(len(steps), device=device)
        numbers.scatter_(0, self.order, steps.float().mul_(2.0**-24))
        return numbers


def split(numbers: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Whether uniform numbers (n,) are below shares, and where within either part.

    The second result is uniform in [0, 1), too, and independent of the first.
    """
    is_below = numbers < share
    within = torch.where(is_below, numbers / share, (numbers - share) / (1.0 - share))
    return is_below, within.clamp_(0.0, 1.0 - 2.0**-24)
