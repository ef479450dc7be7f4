"""The distribution of an encoded table that a decoder's output stands for."""

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from .._table.layout import EncodedConditions, TableLayout
from .conditions import (
    bernoulli_log_mass,
    category_log_mass,
    draw_codes,
    is_point,
    kernel_log_mass,
    middle,
    normal_log_density,
    normal_log_mass,
    truncated_normal,
)
from .likelihoods import (
    CAP_RANGE,
    CAP_SLOPE,
    LOGIT_CAP,
    categorical_log_prob,
    normal_log_prob,
)
from .random import gumbel, normal, uniform


def block_indicator(layout: TableLayout) -> Tensor:
    """0/1 matrix that says which one-hot column belongs to which categorical column.

    Shape: (n_one_hot, n_categorical). A product with it sums over each one-hot block,
    by a single kernel for any number of columns.
    """
    blocks = torch.arange(layout.n_categorical).repeat_interleave(
        torch.tensor(layout.cardinalities, dtype=torch.int64)
    )
    return F.one_hot(blocks, max(layout.n_categorical, 1)).float()


@cache
def indices(values: tuple[int, ...], device: torch.device) -> Tensor:
    """Constant integers on a device.

    They are copied to the device once, because each copy makes a GPU wait for the host,
    and are never freed, because CUDA graphs read them at a fixed address.
    """
    # Training saves them for its backward pass, which inference tensors do not allow.
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=torch.int64, device=device)


def one_hot_index(x_cat: Tensor, layout: TableLayout) -> Tensor:
    """Index of the one-hot column of each code, counted over all blocks."""
    return x_cat + indices(layout.offsets, x_cat.device)


def one_hot(x_cat: Tensor, layout: TableLayout) -> Tensor:
    """One-hot encode codes (n, n_categorical) as (n, n_one_hot) float32 numbers."""
    blocks = torch.zeros(len(x_cat), layout.n_one_hot, device=x_cat.device)
    return blocks.scatter_(1, one_hot_index(x_cat, layout), 1.0)


def one_hot_block(codes: Tensor, size: int) -> Tensor:
    """One-hot encode the codes (n,) of one column as (n, size) float32 numbers.

    Unlike `torch.nn.functional.one_hot` it does not check the codes, which would make
    the host wait for the device.
    """
    block = torch.zeros(len(codes), size, device=codes.device)
    return block.scatter_(1, codes[:, None], 1.0)


def softcap(logits: Tensor) -> Tensor:
    """Bound logits smoothly to (-LOGIT_CAP, LOGIT_CAP).

    Sums of their exponentials are then finite without subtracting the maximum first.
    """
    return CAP_RANGE * torch.sigmoid(CAP_SLOPE * logits) - LOGIT_CAP


class TableDistribution:
    """Independent columns: normal or Bernoulli numbers, and categories.

    Parameters
    ----------
    layout : TableLayout
    raw : Tensor of shape (n, layout.width)
        A decoder's output: locations of the numbers (logits if they are Bernoulli),
        then logits of the categories.
    log_scale : Tensor of shape (n_numeric,) or None
        Logarithm of each numeric column's standard deviation; None if numbers are
        Bernoulli.
    indicator : Tensor of shape (n_one_hot, n_categorical)
        Result of :func:`block_indicator`, on the device of `raw`.

    Attributes
    ----------
    is_binary : Tensor of bool of shape (n_numeric,) or None
        Bernoulli numbers of which only 0 and 1 are known, which are drawn as such.
        Others stand for values in [0, 1], such as the grey of a pixel, and are drawn as
        their mean: a draw of 0 or 1 would never be grey. None if all are like that.
    """

    is_binary = None

    def __init__(
        self,
        layout: TableLayout,
        raw: Tensor,
        log_scale: Tensor | None,
        indicator: Tensor,
    ):
        raw = raw.float()  # The network may run in a lower precision.
        self.layout = layout
        self.location, self.raw_logits = raw.split(
            [layout.n_numeric, layout.n_one_hot], 1
        )
        self.log_scale = log_scale
        self.indicator = indicator

    def __len__(self) -> int:
        return len(self.location)

    @property
    def logits(self) -> Tensor | None:
        """Bounded logits of all categories (n, n_one_hot), None if there are none."""
        return softcap(self.raw_logits) if self.layout.n_categorical else None

    def category_log_probs(self, column: int) -> Tensor:
        """Log-probability of each category of one column, shape (n, cardinality)."""
        block = self.raw_logits[:, self.layout.category_slices[column]]
        return softcap(block).log_softmax(1)

    def log_prob(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """Log-likelihood of encoded rows in nats, shape (n,).

        A missing number contributes nothing. Its mask, which is a category, does.
        """
        total = self._numeric_log_prob(x_num, x_cat)
        if not self.layout.n_categorical:
            return total
        index = one_hot_index(x_cat, self.layout)
        return total + categorical_log_prob(self.raw_logits, index, self.indicator)

    def _numeric_log_prob(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        present = presence(self.layout, x_cat)
        if self.log_scale is not None:
            return normal_log_prob(self.location, self.log_scale, x_num, present)
        cross_entropy = F.binary_cross_entropy_with_logits(
            self.location, x_num, weight=present, reduction="none"
        )
        return -cross_entropy.sum(1)

    def mean(self) -> Tensor:
        """Means of the numbers and of the one-hot blocks, shape (n, width)."""
        numbers = self.location if self.log_scale is not None else self._probability()
        if not self.layout.n_categorical:
            return numbers
        exps = self.logits.exp()
        return torch.cat(
            [numbers, exps / (exps @ self.indicator @ self.indicator.T)], 1
        )

    def _probability(self) -> Tensor:
        return torch.sigmoid(self.location)

    def mode(self) -> tuple[Tensor, Tensor]:
        """The most likely `x_num` and `x_cat`; the mean of numbers if Bernoulli."""
        numbers = self.location if self.log_scale is not None else self._probability()
        return numbers, self._argmax(self.logits)

    def log_mass(self, conditions: EncodedConditions) -> Tensor:
        """Log-probability that a drawn row meets its conditions, shape (n,).

        For a single number it is its log-density.
        """
        total = torch.zeros(len(self), device=self.raw_logits.device)
        for column, codes in conditions.codes.items():
            log_probs = self.category_log_probs(column)
            sets = conditions.sets.get(column)
            total = total + category_log_mass(log_probs, codes, sets)
        for column, bounds in conditions.bounds.items():
            low, high = bounds.unbind(1)
            if self.log_scale is None:
                mass_of = kernel_log_mass
                if self.is_binary is not None and self.is_binary[column]:
                    mass_of = bernoulli_log_mass
                total = total + mass_of(self._probability()[:, column], low, high)
                continue
            scale = self.log_scale[column].exp()
            low = (low - self.location[:, column]) / scale
            high = (high - self.location[:, column]) / scale
            density = normal_log_density(middle(low, high)) - self.log_scale[column]
            point = is_point(*bounds.unbind(1))
            total = total + torch.where(point, density, normal_log_mass(low, high))
        return total

    def sample(
        self, generator: torch.Generator, conditions: EncodedConditions | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw `x_num` and `x_cat` once for every row, such that conditions are met."""
        if self.log_scale is None:
            numbers = self._probability()
            if self.is_binary is not None:
                drawn = uniform(numbers.shape, generator, numbers.device) < numbers
                numbers = torch.where(self.is_binary, drawn.float(), numbers)
        else:
            noise = normal(self.location.shape, generator, self.location.device)
            numbers = self.location + noise * torch.exp(self.log_scale)
        logits = self.logits
        if logits is not None:
            noise = gumbel(logits.shape, generator, logits.device)
            codes = self._argmax(logits + noise)
        else:
            codes = self._argmax(None)
        if conditions is not None:
            self._meet_(numbers, codes, conditions, generator)
        return numbers, codes

    def _meet_(self, numbers, codes, conditions, generator):
        """Draw the cells with conditions anew, in place."""
        for column, wanted in conditions.codes.items():
            log_probs = self.category_log_probs(column)
            sets = conditions.sets.get(column)
            codes[:, column], _ = draw_codes(log_probs, wanted, sets, generator)
        for column, bounds in conditions.bounds.items():
            low, high = bounds.unbind(1)
            if self.log_scale is not None:
                location, scale = self.location[:, column], self.log_scale[column].exp()
                inside = truncated_normal(
                    (low - location) / scale, (high - location) / scale, generator
                )
                numbers[:, column] = location + scale * inside
            elif self.is_binary is not None and self.is_binary[column]:
                # Where only one of the two is in the range, it is this one.
                rounded = numbers[:, column].maximum(low.ceil()).minimum(high.floor())
                numbers[:, column] = rounded
            numbers[:, column] = numbers[:, column].maximum(low).minimum(high)

    def _argmax(self, scores: Tensor | None) -> Tensor:
        """Code with the highest score in each block, shape (n, n_categorical)."""
        if scores is None:
            return torch.zeros(
                len(self), 0, dtype=torch.int64, device=self.location.device
            )
        slices = self.layout.category_slices
        return torch.stack([scores[:, block].argmax(1) for block in slices], 1)


def presence(layout: TableLayout, x_cat: Tensor) -> Tensor | None:
    """1 where a number is present and 0 where it is missing, (n, n_numeric).

    None if no column can have missing numbers.
    """
    if max(layout.masks, default=-1) < 0:
        return None
    masks = tuple(max(mask, 0) for mask in layout.masks)
    present = x_cat.index_select(1, indices(masks, x_cat.device)) == 0
    if min(layout.masks) < 0:
        has_no_mask = tuple(mask < 0 for mask in layout.masks)
        present = present | indices(has_no_mask, x_cat.device).bool()
    return present.float()
