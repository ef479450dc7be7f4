"""What an encoded table looks like: the one record that every floor shares."""

from dataclasses import dataclass
from itertools import accumulate, pairwise


@dataclass(frozen=True)
class TableLayout:
    """Shape of an encoded table ``(x_num, x_cat)``.

    Parameters
    ----------
    n_numeric : int
        Columns of `x_num`, float32 of shape (n_samples, n_numeric).
    cardinalities : tuple of int
        Number of codes of each column of `x_cat`, int64 of shape
        (n_samples, n_categorical). Codes of column j are 0 .. cardinalities[j] - 1.
    masks : tuple of int
        For each numeric column the column of `x_cat` that says where the number is
        missing (code 1; the number is then 0 and means nothing), or -1 if it never is.
    """

    n_numeric: int
    cardinalities: tuple[int, ...] = ()
    masks: tuple[int, ...] = ()

    def __post_init__(self):
        if not self.masks:
            object.__setattr__(self, "masks", (-1,) * self.n_numeric)
        if len(self.masks) != self.n_numeric:
            raise ValueError(f"{len(self.masks)=} must be {self.n_numeric=}")
        if self.width == 0:
            raise ValueError(f"a layout needs at least one column, got {self}")

    @property
    def n_categorical(self) -> int:
        return len(self.cardinalities)

    @property
    def n_one_hot(self) -> int:
        """Columns of all the one-hot blocks together."""
        return sum(self.cardinalities)

    @property
    def width(self) -> int:
        """Columns of a network's input and output: numbers, then one-hot blocks."""
        return self.n_numeric + self.n_one_hot

    @property
    def offsets(self) -> tuple[int, ...]:
        """First column of each one-hot block, counted from the first block."""
        return tuple(accumulate(self.cardinalities, initial=0))[:-1]

    @property
    def category_slices(self) -> tuple[slice, ...]:
        """The one-hot block of each categorical column, counted from the first one."""
        edges = accumulate(self.cardinalities, initial=0)
        return tuple(slice(start, stop) for start, stop in pairwise(edges))
