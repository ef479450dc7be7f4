"""What an encoded table looks like, and what is asked of it: shared by every floor."""

from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any

# Floats of a convolutional network for each pixel of an image.
CHANNELS = 16
# What conditions have in the place of a code: ANY_CODE if a row may have any code, and
# FIRST_SET - k if it may have those of the k-th set of its column.
ANY_CODE, FIRST_SET = -1, -2


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
    image_shape : tuple of int or None
        Channels, height and width of the image that the numbers are pixels of; None if
        they are of no image.
    pixels : tuple of int
        For each numeric column its position in the flattened image. Pixels that do not
        vary have no column.
    base_masks : tuple of tuple of int
        For each numeric column the masks of those that it is counted from, none if it
        is counted from zero. Where one of them is missing it is counted from elsewhere,
        and its numbers are not like those of other rows. Empty if there are none.
    """

    n_numeric: int
    cardinalities: tuple[int, ...] = ()
    masks: tuple[int, ...] = ()
    image_shape: tuple[int, int, int] | None = None
    pixels: tuple[int, ...] = ()
    base_masks: tuple[tuple[int, ...], ...] = ()

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
    def working_width(self) -> int:
        """Number of floats that a network makes of a row, to bound its memory.

        Convolutions make several channels of an image.
        """
        return self.width if self.image_shape is None else CHANNELS * self.width

    @property
    def offsets(self) -> tuple[int, ...]:
        """First column of each one-hot block, counted from the first block."""
        return tuple(accumulate(self.cardinalities, initial=0))[:-1]

    @property
    def category_slices(self) -> tuple[slice, ...]:
        """The one-hot block of each categorical column, counted from the first one."""
        edges = accumulate(self.cardinalities, initial=0)
        return tuple(slice(start, stop) for start, stop in pairwise(edges))


@dataclass(frozen=True)
class EncodedConditions:
    """What encoded rows ``(x_num, x_cat)`` must look like, each row for itself.

    The arrays are numpy's, or tensors on the device of a network.

    Parameters
    ----------
    n_rows : int
    codes : dict of {int: array of shape (n_rows,), int64}
        By column of `x_cat`: the code that a row must have, ANY_CODE, or
        FIRST_SET - k for one of the codes in the k-th set of this column.
    sets : dict of {int: array of shape (n_sets, cardinality), bool}
        By column of `x_cat`: the codes in each of its sets.
    bounds : dict of {int: array of shape (n_rows, 2), float32}
        By column of `x_num`: least and greatest number, which are equal for one number
        and infinite for any.
    """

    n_rows: int
    codes: dict[int, Any] = field(default_factory=dict)
    sets: dict[int, Any] = field(default_factory=dict)
    bounds: dict[int, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.n_rows

    @property
    def is_empty(self) -> bool:
        return not (self.codes or self.bounds)

    def take(self, index) -> "EncodedConditions":
        """Conditions of the rows at `index`, an array of positions or a slice."""
        n_rows = (
            len(range(*index.indices(self.n_rows)))
            if isinstance(index, slice)
            else len(index)
        )
        return EncodedConditions(
            n_rows,
            {column: codes[index] for column, codes in self.codes.items()},
            self.sets,
            {column: bounds[index] for column, bounds in self.bounds.items()},
        )

    def map(self, function) -> "EncodedConditions":
        """Conditions with a function applied to every array."""
        parts = (
            {column: function(array) for column, array in part.items()}
            for part in (self.codes, self.sets, self.bounds)
        )
        return EncodedConditions(self.n_rows, *parts)
