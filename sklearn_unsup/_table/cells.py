"""What each column of an encoded table stands for, and how its values change."""

from dataclasses import dataclass

import numpy as np

from .categorical import CategoricalColumn
from .numeric import TICKS_PER_SECOND
from .sparse import SparseCodec

# Names of what is no level: a missing value, and all levels that share a code.
MISSING, OTHER_LEVELS = "missing", "other levels"
# Minimum distance, on either side, over which the slope of a column is taken. Quantiles
# are a staircase where values repeat, and its slope at a point says nothing.
MIN_REACH = 0.1


@dataclass(frozen=True)
class EncodedCell:
    """One column of the numbers and one-hot blocks that a network makes of a table.

    Parameters
    ----------
    place : int
        Its position among these.
    position : int
        Position of the table's column that it belongs to.
    level : object or None
        The level, or `MISSING`, whose probability it is; None for a number.
    is_mask : bool
        Whether it says whether a number is missing.
    """

    place: int
    position: int
    level: object = None
    is_mask: bool = False


def encoded_cells(codec) -> list[EncodedCell]:
    """What the network's columns stand for, in the order of the table's columns.

    Of the two cells of a mask only the one for missing numbers is listed.
    """
    if isinstance(codec, SparseCodec):
        return [EncodedCell(i, int(p)) for i, p in enumerate(codec.encoded_)]
    cells = [EncodedCell(i, c.position_) for i, c in enumerate(codec.numbers_)]
    layout = codec.layout_
    for position, column in codec.category_positions():
        first = layout.n_numeric + layout.offsets[column]
        known = codec.columns_codec_[position]
        if not isinstance(known, CategoricalColumn):
            cells.append(EncodedCell(first + 1, position, MISSING, True))
            continue
        for code in range(known.cardinality_):
            cells.append(EncodedCell(first + code, position, level_name(known, code)))
    return sorted(cells, key=lambda cell: (cell.position, cell.is_mask, cell.place))


def level_name(column: CategoricalColumn, code: int):
    """The level that a code stands for."""
    if code >= column.n_own_:
        return OTHER_LEVELS
    level = column.levels_[code]
    return MISSING if level is None else level


def slopes(codec, x_num: np.ndarray, deviations: np.ndarray) -> np.ndarray:
    """Change of each decoded number per unit of the encoded one, shape of `x_num`.

    Dates and durations change by days. Where the encoding bends, it is the slope
    between one standard deviation below and above.

    Parameters
    ----------
    codec : TableCodec or SparseCodec
        Without constraints, which decode columns together.
    x_num : ndarray of shape (n, n_numeric)
        Encoded numbers.
    deviations : ndarray of shape (n_numeric,)
        How far each of them is off.
    """
    if codec.empty_ or not x_num.size:
        return np.zeros_like(x_num, dtype=float)
    if isinstance(codec, SparseCodec):
        return np.broadcast_to(codec.scale_[codec.encoded_], x_num.shape)
    reach = np.maximum(deviations, MIN_REACH)
    columns = zip(codec.numbers_, x_num.T, reach, strict=True)
    return np.stack([column_slope(*column) for column in columns], 1)


def column_slope(column, z, reach):
    """Change of the numbers of one column, in its own unit or in days."""
    unit = float(column.step_)
    if column.dtype_.kind in "mM":
        unit /= 86_400 * TICKS_PER_SECOND[column.time_unit_]
    if column.scaling != "quantile":
        return np.full(len(z), column.scale_ * unit)
    decode = column.quantiles_.decode
    return (decode(z + reach) - decode(z - reach)) / (2 * reach) * unit
