"""Uniform numbers that are spread evenly over rows which are alike (EvenNumbers)."""

import torch
from torch import Tensor

from .random import uniform

# Number of rows that share the interval, each with a part of its own.
BLOCK = 16


class EvenNumbers:
    """A uniform number for each row, spread evenly over rows that are alike so far.

    Rows are in the order of the columns that were drawn, the latest one first, and by
    chance where these are equal, so that rows which follow each other in the table know
    nothing of each other. Of each BLOCK rows that follow each other in that order, one
    has its number in each of as many parts of the interval, and chance says which one
    (stratified sampling). A number by itself is uniform, and those of different draws
    are independent, but levels that are drawn by them come nearly as often as they are
    probable, among all rows and among many that share levels of other columns.
    Independent numbers would add the noise of a sample. A sequence that is more even
    than chance, such as multiples of an irrational number, is not used: of two columns
    it may resonate, and show a dependence that no model has.

    Parameters
    ----------
    n : int
        Number of rows.
    generator : torch.Generator
    device : device
    """

    def __init__(self, n: int, generator, device):
        self.order = uniform((n,), generator, device).argsort()

    def sort_by(self, keys: Tensor) -> None:
        """Order rows by keys (n,), and those with equal ones as before."""
        sorted_keys = keys.index_select(0, self.order)
        places = sorted_keys.argsort(stable=True)
        self.order = self.order.index_select(0, places)

    def draw(self, generator) -> Tensor:
        """Numbers in [0, 1), shape (n,)."""
        n, device = len(self.order), self.order.device
        chance = uniform((2, -(-n // BLOCK), BLOCK), generator, device)
        parts = chance[0].argsort(1).add(chance[1]).view(-1)[:n]
        numbers = torch.empty(n, device=device)
        numbers.scatter_(0, self.order, parts.div_(BLOCK).clamp_max_(1.0 - 2.0**-24))
        return numbers


def split(numbers: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Whether uniform numbers (n,) are below shares, and where within either part.

    The second result is uniform in [0, 1), too, and independent of the first. Where a
    share is 0 or 1 the part that no number is in is divided by 0, and not taken.
    """
    is_below = numbers < share
    within = torch.where(is_below, numbers / share, (numbers - share) / (1.0 - share))
    return is_below, within.clamp_(0.0, 1.0 - 2.0**-24)
