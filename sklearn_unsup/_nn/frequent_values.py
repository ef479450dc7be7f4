"""Frequent values of numbers as codes of categories, and back."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._table.layout import FIRST_SET, EncodedConditions, TableLayout
from .conditions import allowed_codes
from .distributions import indices
from .random import uniform

# Bounds of the quantiles of numbers that have no frequent value.
QUANTILE_BOUNDS = 1e-9, 1 - 1e-9


class FrequentValues(nn.Module):
    """Encoded rows in which a number's frequent values are codes of a category.

    A value that many rows share is an interval of normal quantiles, of which each row
    is a random point. A generator is a smooth function of its noise: it blurs where
    such an interval ends, and whether a row has the value. Here the value is a level of
    the category that says where the number is missing, or of a new one, and the number
    is 0 like a missing one. The others are spread over the quantiles that are left.

    Parameters
    ----------
    layout : TableLayout
        Of the rows of a codec, "outer" ones here.
    intervals : sequence of array-like of shape (4, n_values)
        Of each number: least and greatest encoded value of each frequent value, and
        the quantiles of the two, ascending.

    Attributes
    ----------
    layout : TableLayout
        Of the "inner" rows, in which frequent values are codes.

    Examples
    --------
    >>> import torch
    >>> # Half of the rows, below the median, have one value.
    >>> half = torch.tensor([[-4.0], [0.0], [0.0], [0.5]])
    >>> frequent = FrequentValues(TableLayout(1), [half])
    >>> none = torch.zeros(2, 0, dtype=torch.int64)
    >>> x_num, x_cat = frequent.to_inner(torch.tensor([[-1.0], [0.6745]]), none)
    >>> [round(x, 3) for x in x_num[:, 0].tolist()], x_cat[:, 0].tolist()
    ([0.0, 0.0], [1, 0])
    >>> outer, _ = frequent.to_outer(x_num, x_cat)
    >>> [round(x, 3) for x in outer[:, 0].tolist()]
    [-0.674, 0.674]
    """

    def __init__(self, layout: TableLayout, intervals):
        super().__init__()
        # Copies: the arrays of a loaded file may be read-only.
        intervals = [
            torch.from_numpy(np.asarray(own, dtype=float).copy()) for own in intervals
        ]
        self.columns = [j for j, own in enumerate(intervals) if own.shape[1]]
        cardinalities, masks = list(layout.cardinalities), list(layout.masks)
        # The mask of each column with frequent values, and their first code.
        self.masks, self.first_codes = [], []
        for column in self.columns:
            if masks[column] < 0:
                masks[column] = len(cardinalities)
                cardinalities.append(1)
            self.masks.append(masks[column])
            self.first_codes.append(cardinalities[masks[column]])
            cardinalities[masks[column]] += intervals[column].shape[1]
        self.outer_layout = layout
        self.layout = TableLayout(layout.n_numeric, tuple(cardinalities), tuple(masks))
        most = max(intervals[column].shape[1] for column in self.columns)
        shape = len(self.columns), most
        self.register_buffer("low", torch.full(shape, torch.inf))
        self.register_buffer("high", torch.full(shape, -torch.inf))
        # Quantiles where the values begin, how much of the quantiles they take, and how
        # much they and those before them take.
        for name in ("begin", "width", "taken"):
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))
        self.set_intervals(intervals)

    @torch.no_grad()
    def set_intervals(self, intervals):
        """Replace the intervals of the same frequent values, after a codec has learnt.

        That of a value without rows may have its least value above the greatest.
        """
        for row, column in enumerate(self.columns):
            own = torch.from_numpy(np.asarray(intervals[column], dtype=float).copy())
            n = own.shape[1]
            self.low[row, :n], self.high[row, :n] = own[:2].float()
            begin, end = own[2:]
            width = (end - begin).clamp_min(0.0)
            self.begin[row, :n], self.width[row, :n] = begin, width
            self.begin[row, n:] = torch.inf
            self.taken[row] = self.width[row].cumsum(0)

    @property
    def _index(self) -> Tensor:
        return indices(tuple(self.columns), self.low.device)

    @property
    def _free(self) -> Tensor:
        """Share of the quantiles that no frequent value takes, (n_columns, 1)."""
        return (1.0 - self.taken[:, -1:]).clamp_min(1e-9)

    def _taken_before(self, place: Tensor) -> Tensor:
        """Quantiles taken by the values up to a place, which is -1 for none."""
        taken = self.taken.gather(1, place.clamp_min(0))
        return torch.where(place >= 0, taken, 0.0)

    # ------------------------------------------------------------------ rows

    @torch.no_grad()
    def to_inner(self, x_num: Tensor, x_cat: Tensor) -> tuple[Tensor, Tensor]:
        """Rows whose frequent values are codes, of rows of a codec."""
        x = x_num.index_select(1, self._index).t().contiguous()
        place = torch.searchsorted(self.low, x, right=True) - 1
        is_frequent = (place >= 0) & (x <= self.high.gather(1, place.clamp_min(0)))
        u = torch.special.ndtr(x.double()) - self._taken_before(place)
        free = torch.special.ndtri((u / self._free).clamp(*QUANTILE_BOUNDS)).float()
        n_new = self.layout.n_categorical - x_cat.shape[1]
        codes = F.pad(x_cat, (0, n_new))
        masks = indices(tuple(self.masks), codes.device)
        first = indices(tuple(self.first_codes), codes.device)[:, None]
        missing = codes.index_select(1, masks).t()
        own = torch.where(is_frequent & (missing == 0), place + first, missing)
        numbers = torch.where(own == 0, free, 0.0)
        return (
            x_num.index_copy(1, self._index, numbers.t()),
            codes.index_copy(1, masks, own.t()),
        )

    @torch.no_grad()
    def to_outer(
        self, x_num: Tensor, x_cat: Tensor, generator=None, bounds=None
    ) -> tuple[Tensor, Tensor]:
        """Rows of a codec, of rows whose frequent values are codes.

        Of a frequent value a random point, if there is a generator, else the middle; it
        is within the `bounds` of conditions where they have a part of its interval.
        """
        x = x_num.index_select(1, self._index).t()
        u = torch.special.ndtr(x.double()) * self._free
        starts = self.begin - (self.taken - self.width)
        place = torch.searchsorted(starts, u.contiguous(), right=True) - 1
        free = torch.special.ndtri(u + self._taken_before(place)).float()
        x_num, x_cat = x_num.clone(), x_cat.clone()
        for row, column in enumerate(self.columns):
            mask, first = self.masks[row], self.first_codes[row]
            codes = x_cat[:, mask]
            value = (codes - first).clamp_min(0)
            part = 0.5
            if generator is not None:
                part = uniform(codes.shape, generator, codes.device)
            point = self.begin[row][value] + part * self.width[row][value]
            point = torch.special.ndtri(point).float()
            low, high = self.low[row][value], self.high[row][value]
            if bounds is not None and column in bounds:
                least, most = bounds[column].unbind(1)
                low, high = low.maximum(least), high.minimum(most)
            point = point.minimum(high).maximum(low)
            is_frequent = codes >= first
            others = torch.where(codes == 0, free[row], 0.0)
            x_num[:, column] = torch.where(is_frequent, point, others)
            x_cat[:, mask] = torch.where(is_frequent, 0, codes)
        return x_num, x_cat[:, : self.outer_layout.n_categorical]

    # ------------------------------------------------------------------ conditions

    def conditions(self, asked: EncodedConditions) -> EncodedConditions:
        """Conditions on inner rows, of those on outer ones; bounds stay as they are."""
        codes, sets = dict(asked.codes), dict(asked.sets)
        for row, column in enumerate(self.columns):
            mask = self.masks[row]
            if mask not in codes and column not in asked.bounds:
                continue
            allowed = self._allowed_of_mask(row, asked)
            if column in asked.bounds:
                allowed &= self._allowed_by_bounds(row, *asked.bounds[column].unbind(1))
            different, which = allowed.unique(dim=0, return_inverse=True)
            sets[mask], codes[mask] = different, FIRST_SET - which
        return EncodedConditions(len(asked), codes, sets, asked.bounds)

    def _allowed_of_mask(self, row, asked):
        """Codes that the condition on whether a number is missing allows."""
        mask, first = self.masks[row], self.first_codes[row]
        n_codes, device = self.layout.cardinalities[mask], self.low.device
        allowed = torch.ones(len(asked), n_codes, dtype=torch.bool, device=device)
        if mask in asked.codes:
            allowed[:, :first] = allowed_codes(
                asked.codes[mask], asked.sets.get(mask), first
            )
            allowed[:, first:] = allowed[:, :1]
        return allowed

    def _allowed_by_bounds(self, row, low, high):
        """Codes of values within bounds; that of other numbers if there is room."""
        mask, first = self.masks[row], self.first_codes[row]
        n_values = self.layout.cardinalities[mask] - first
        start, stop = self.low[row, :n_values], self.high[row, :n_values]
        low, high = low[:, None], high[:, None]
        touched = (start <= high) & (low <= stop)
        is_inside = ((start <= low) & (high <= stop)).any(1)
        rest = ~is_inside[:, None].expand(-1, first)
        # A missing number is in no range, unless it may be anything.
        is_open = torch.isinf(low) & torch.isinf(high)
        rest = torch.cat([rest[:, :1], is_open.expand(-1, first - 1)], 1)
        return torch.cat([rest, touched], 1)
