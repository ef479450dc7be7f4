"""Missing cells of encoded tables: draws and expected values by a fitted model."""

import numpy as np
import pandas as pd
import torch
from scipy.special import ndtr, ndtri

from ._encoding import upload
from ._nn.chunks import bounded_rows
from ._table.categorical import CategoricalColumn
from ._table.frames import as_frame
from ._table.layout import FIRST_SET, EncodedConditions
from ._table.means import column_of_means
from ._training.data import DenseDataset

# Number of steps of quantiles by which the mean of a number's conditional is computed,
# and normal quantiles that cut the first and the last of them: given others, a number
# may be sure to be one of the greatest.
N_STEPS, TAIL_CUTS = 256, np.arange(2.7, 4.6, 0.2)
# Number of draws that stand for a conditional where it is not known in closed form.
N_DRAWS = 20
# Maximum number of rows that are drawn for at a time.
ROWS_AT_ONCE = 10_000
# Number of rows that a network completes in a pass.
PASS_ROWS = 4_096


class EncodedHoles:
    """A table with missing cells, encoded, and masks of the cells that are there.

    Parameters
    ----------
    codec : TableCodec
    frame : DataFrame
        With the columns of training. Cells may be missing in any of them.
    device : str
    missing : ndarray of bool of shape (n, n_columns) or None, default=None
        Cells to fill in; None for those that are missing in the frame.

    Attributes
    ----------
    x_num, x_cat : Tensor
        The encoded table, on the device. In the place of a missing cell is some value.
    seen_num, seen_cat : Tensor of bool
        Which of them are there. Masks of numbers never count as seen.
    """

    def __init__(self, codec, frame, device, missing=None):
        self.codec, layout = codec, codec.layout_
        self.missing = frame.isna().to_numpy() if missing is None else missing
        frame = with_placeholders(codec, frame)
        # Placeholders may break constraints, as drawn rows may.
        dataset = upload(codec, frame, device, is_drawn=True)
        self.x_num, self.x_cat = dataset.take(slice(None))
        shape_num, shape_cat = self.x_num.shape, self.x_cat.shape
        seen_num, seen_cat = np.ones(shape_num, bool), np.ones(shape_cat, bool)
        for position, place in codec.places().items():
            column = codec.columns_codec_[position]
            seen = seen_cat if isinstance(column, CategoricalColumn) else seen_num
            seen[:, place] = ~self.missing[:, position]
        for mask in codec.mask_of_.values():
            seen_cat[:, mask] = False
        self.n_rows, self.layout = len(frame), layout
        self.seen_num, self.seen_cat = (
            torch.from_numpy(seen).to(device) for seen in (seen_num, seen_cat)
        )

    def conditions(self):
        """Conditions on rows: cells that are there stay, the others are not missing."""
        codes, sets, bounds = {}, {}, {}
        x_num, x_cat = self.x_num.cpu().numpy(), self.x_cat.cpu().numpy()
        seen_num, seen_cat = self.seen_num.cpu().numpy(), self.seen_cat.cpu().numpy()
        for place, column in enumerate(self.codec.categories_):
            if column.encoded_ and isinstance(column, CategoricalColumn):
                allowed = np.ones((1, column.cardinality_), dtype=bool)
                missing = column.index_.get(None)
                if missing is not None:
                    allowed[0, missing] = False
                codes[place] = np.where(seen_cat[:, place], x_cat[:, place], FIRST_SET)
                sets[place] = allowed
        for mask in self.codec.mask_of_.values():
            codes[mask] = np.zeros(self.n_rows, np.int64)
        for place, _ in enumerate(self.codec.numbers_):
            seen, x = seen_num[:, place], x_num[:, place]
            low, high = np.where(seen, x, -np.inf), np.where(seen, x, np.inf)
            bounds[place] = np.stack([low, high], 1).astype(np.float32)
        return EncodedConditions(self.n_rows, codes, sets, bounds)


def placeholders(codec, n_rows):
    """Values that are legal in each column, as a frame of equal rows."""
    layout = codec.layout_
    x_num = np.zeros((1, layout.n_numeric))
    x_cat = np.zeros((1, layout.n_categorical), np.int64)
    row = as_frame(codec.decode(x_num, x_cat))
    return row.iloc[np.zeros(n_rows, int)]


def with_placeholders(codec, frame):
    """A frame that can be encoded: no cell is missing where training rows had none."""
    values, frame = placeholders(codec, len(frame)), frame.copy(deep=False)
    for position, column in enumerate(codec.columns_codec_):
        if isinstance(column, CategoricalColumn):
            takes_missing = column.index_.get(None) is not None
        else:
            takes_missing = column.has_missing_
        cells = frame.iloc[:, position]
        if takes_missing or not cells.isna().any():
            continue
        frame.isetitem(position, filled_in(cells, values.iloc[:, position]))
    return frame


def filled_in(column: pd.Series, values, rows=None) -> pd.Series:
    """A column with values in its missing cells, and with its dtype if that has them.

    Parameters
    ----------
    column : Series
    values : Series of the same length
    rows : ndarray of bool of shape (n,) or None, default=None
        Cells that get values; None for those that are missing.
    """
    missing = column.isna().to_numpy() if rows is None else rows
    cells = pd.Series(values.array, index=column.index)
    if isinstance(column.dtype, pd.CategoricalDtype):
        new = pd.unique(cells[missing].astype(object))
        column = column.cat.add_categories(
            [level for level in new if level not in column.cat.categories]
        )
        full = column.astype(object).where(~missing, cells.astype(object))
        return full.astype(column.dtype)
    if missing.all():
        # A column without a value may have any dtype; objects stay what they are.
        return cells.astype(object) if column.dtype == object else cells
    full = column.astype(object).where(~missing, cells.astype(object))
    return full.astype(column.dtype)


def with_implied_cells(
    frame: pd.DataFrame, sums, within_range: bool = False
) -> pd.DataFrame:
    """A frame in which the only missing cell of a sum has what the others leave it.

    With `within_range` only where that, or all parts of a total, are in the range of
    training.
    """
    filled = frame.copy(deep=False)
    columns = [column for _, column in frame.items()]
    for part in sums:
        for i, column in enumerate(part.completed(columns, within_range)):
            implied = columns[i].isna().to_numpy() & column.notna().to_numpy()
            if implied.any():
                filled.isetitem(i, filled_in(columns[i], column, implied))
    return filled


def draw(model, holes, rng):
    """Rows `x_num`, `x_cat` that have all the cells which are there."""
    network = conditional_network(model)
    if network is None:
        return model._sample_encoded(holes.conditions(), rng)[:2]
    generator = torch.Generator(model.device_).manual_seed(int(rng.integers(2**63)))
    arrays = holes.x_num, holes.x_cat, holes.seen_num, holes.seen_cat
    parts = zip(*(array.split(PASS_ROWS) for array in arrays), strict=True)
    batches = [network.complete(*part, generator) for part in parts]
    return tuple(torch.cat(t).cpu().numpy() for t in zip(*batches, strict=True))


def conditional_network(model):
    """The model of any column given any others, if there is one."""
    network = getattr(model.net_.module_.eval(), "autoregressive", None)
    return network if hasattr(network, "complete") else None


def expected(model, holes, rng):
    """Means of numbers, in the units of `to_numbers`, and most likely codes."""
    codec, network = model.codec_, conditional_network(model)
    if network is None:
        return expected_by_draws(model, holes, rng)
    tail = ndtr(-TAIL_CUTS)
    u = np.unique(np.concatenate([tail, np.arange(1, N_STEPS) / N_STEPS, 1.0 - tail]))
    ends = np.concatenate([[0.0], u, [1.0]])
    middles = ndtri((ends[:-1] + ends[1:]) / 2)
    values = np.zeros((codec.layout_.n_numeric, len(middles)), np.float32)
    centres, scales = np.zeros(len(values)), np.ones(len(values))
    for place, column in enumerate(codec.numbers_):
        # The network computes in float32, which would cost digits of large numbers.
        x = column.to_numbers(middles)
        centres[place], scales[place] = x.mean(), x.std() or 1.0
        values[place] = (x - centres[place]) / scales[place]
    u, values = (
        torch.from_numpy(array).float().to(model.device_) for array in (u, values)
    )
    n_cat, n_num = holes.layout.n_categorical, holes.layout.n_numeric
    packed = torch.cat([holes.x_cat, holes.seen_cat, holes.seen_num], 1)
    dataset = DenseDataset(holes.x_num, packed, model.device_)

    def function(x_num, packed):
        x_cat, seen_cat, seen_num = packed.split([n_cat, n_cat, n_num], 1)
        return network.expected(
            x_num, x_cat, seen_num.bool(), seen_cat.bool(), u, values
        )

    means, codes = model._map_rows(function, dataset)
    means = means.cpu().numpy().astype(np.float64) * scales + centres
    return means, codes.cpu().numpy()


def expected_by_draws(model, holes, rng):
    """Means and most frequent codes of draws."""
    codec, conditions = model.codec_, holes.conditions()
    n, layout = holes.n_rows, holes.layout
    totals = np.zeros((n, layout.n_numeric))
    counts = [np.zeros((n, size), np.int32) for size in layout.cardinalities]
    step = bounded_rows(ROWS_AT_ONCE, 4 * N_DRAWS * layout.working_width)
    for start in range(0, n, step):
        rows = np.arange(start, min(start + step, n))
        x_num, x_cat, _ = model._sample_encoded(
            conditions.take(rows), rng, n_draws=N_DRAWS
        )
        for place, column in enumerate(codec.numbers_):
            numbers = column.to_numbers(x_num[:, place])
            totals[rows, place] = numbers.reshape(len(rows), N_DRAWS).mean(1)
        for column, count in enumerate(counts):
            np.add.at(count, (np.repeat(rows, N_DRAWS), x_cat[:, column]), 1)
    codes = [count.argmax(1) for count in counts]
    return totals, np.stack(codes, 1) if codes else np.zeros((n, 0), np.int64)


def expected_columns(codec, frame, means, codes, rounded, skipped=()):
    """Columns of expected values: numbers as floats where the frame has floats.

    Those at the positions in `skipped` stay as they are.
    """
    places = codec.places()
    for position, column in enumerate(codec.columns_codec_):
        if position in skipped:
            yield frame.iloc[:, position]
            continue
        place = places.get(position)
        if isinstance(column, CategoricalColumn):
            own = np.zeros(len(frame), np.int64) if place is None else codes[:, place]
            if place is None and column.levels_[0] is None:
                yield frame.iloc[:, position]
            else:
                yield column.decode(own)
            continue
        x = np.full(len(frame), column.low_) if place is None else means[:, place]
        as_floats = pd.api.types.is_float_dtype(frame.dtypes.iloc[position])
        yield column_of_means(column, x, as_floats and not rounded)
