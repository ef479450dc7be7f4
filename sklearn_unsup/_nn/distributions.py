"""What a decoder's output means: a distribution for each column of an encoded table."""

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from .._table.layout import TableLayout
from .likelihoods import LOGIT_CAP, categorical_log_prob, normal_log_prob
from .random import gumbel, normal


def block_indicator(layout: TableLayout, device=None) -> Tensor:
    """Which one-hot column belongs to which categorical column, as a 0/1 matrix.

    Shape: (n_one_hot, n_categorical). A product with it sums over every one-hot block
    at once, in one kernel for any number of columns.
    """
    blocks = torch.arange(layout.n_categorical, device=device).repeat_interleave(
        torch.tensor(layout.cardinalities, dtype=torch.int64, device=device)
    )
    return F.one_hot(blocks, max(layout.n_categorical, 1)).float()


@cache
def indices(values: tuple[int, ...], device: torch.device) -> Tensor:
    """Fixed ints on a device, copied once: at each copy a GPU would wait for us.

    They are kept for good, as CUDA graphs read them where they lie, and no tensors of
    inference, as training saves them for its way back.
    """
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=torch.int64, device=device)


def one_hot_places(x_cat: Tensor, layout: TableLayout) -> Tensor:
    """Which one-hot columns the codes stand for, counted over all blocks."""
    return x_cat + indices(layout.offsets, x_cat.device)


def one_hot(x_cat: Tensor, layout: TableLayout) -> Tensor:
    """Codes (n, n_categorical) to 0/1 blocks side by side (n, n_one_hot), float32."""
    flat = torch.zeros(len(x_cat), layout.n_one_hot, device=x_cat.device)
    return flat.scatter_(1, one_hot_places(x_cat, layout), 1.0)


def one_hot_block(codes: Tensor, size: int) -> Tensor:
    """0/1 block (n, size) of the codes (n,) of one column, float32.

    Unlike torch's own it checks nothing, which would mean a read of the device.
    """
    flat = torch.zeros(len(codes), size, device=codes.device)
    return flat.scatter_(1, codes[:, None], 1.0)


def softcap(logits: Tensor) -> Tensor:
    """Bound logits smoothly, so that sums of exponentials need no maximum taken out."""
    return LOGIT_CAP * torch.tanh(logits / LOGIT_CAP)


class TableDistribution:
    """Columns independent given the code: normal or Bernoulli numbers, and categories.

    Parameters
    ----------
    layout : TableLayout
    raw : Tensor of shape (n, layout.width)
        Locations of the numbers (logits for Bernoulli), then logits of the categories.
    log_scale : Tensor of shape (n_numeric,) or None
        Log standard deviation of each numeric column; None for Bernoulli numbers.
    indicator : Tensor of shape (n_one_hot, n_categorical)
        Of :func:`block_indicator`, on the device of `raw`.
    """

    def __init__(
        self,
        layout: TableLayout,
        raw: Tensor,
        log_scale: Tensor | None,
        indicator: Tensor,
    ):
        raw = raw.float()  # of a network in a lower precision
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
        """Bounded logits of all categories (n, n_one_hot); None without categories."""
        return softcap(self.raw_logits) if self.layout.n_categorical else None

    def category_log_probs(self, column: int) -> Tensor:
        """Log p(column = code) of all codes of one column, shape (n, cardinality)."""
        block = self.raw_logits[:, self.layout.category_slices[column]]
        return softcap(block).log_softmax(1)

    def log_prob(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """Log-likelihood of encoded rows in nats, shape (n,).

        A number that a mask says is missing adds nothing; its mask, a category, does.
        """
        total = self._numeric_log_prob(x_num, x_cat)
        if not self.layout.n_categorical:
            return total
        places = one_hot_places(x_cat, self.layout)
        return total + categorical_log_prob(self.raw_logits, places, self.indicator)

    def _numeric_log_prob(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        present = presence(self.layout, x_cat)
        if self.log_scale is not None:
            return normal_log_prob(self.location, self.log_scale, x_num, present)
        each = F.binary_cross_entropy_with_logits(
            self.location, x_num, weight=present, reduction="none"
        )
        return -each.sum(1)

    def mean(self) -> Tensor:
        """Expected numbers and one-hot blocks, shape (n, width)."""
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
        """The most likely `x_num` and `x_cat`; for Bernoulli numbers their mean."""
        numbers = self.location if self.log_scale is not None else self._probability()
        return numbers, self._choose(self.logits)

    def sample(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """One draw of `x_num` and `x_cat` for every row.

        Bernoulli numbers are drawn at their mean: a value in [0, 1] such as the grey
        of a pixel is read as a probability, and a 0/1 draw would never be grey.
        """
        if self.log_scale is None:
            numbers = self._probability()
        else:
            noise = normal(self.location.shape, generator, self.location.device)
            numbers = self.location + noise * torch.exp(self.log_scale)
        logits = self.logits
        if logits is None:
            return numbers, self._choose(None)
        return numbers, self._choose(logits + gumbel(logits, generator))

    def _choose(self, scores: Tensor | None) -> Tensor:
        """Codes of the highest score in each block, shape (n, n_categorical)."""
        if scores is None:
            return torch.zeros(
                len(self), 0, dtype=torch.int64, device=self.location.device
            )
        slices = self.layout.category_slices
        return torch.stack([scores[:, block].argmax(1) for block in slices], 1)


def presence(layout: TableLayout, x_cat: Tensor) -> Tensor | None:
    """1 where a number is there, 0 where its mask says missing; None without masks."""
    if max(layout.masks, default=-1) < 0:
        return None
    masked = tuple(max(mask, 0) for mask in layout.masks)
    present = x_cat.index_select(1, indices(masked, x_cat.device)) == 0
    if min(layout.masks) < 0:
        never = tuple(mask < 0 for mask in layout.masks)
        present = present | indices(never, x_cat.device).bool()
    return present.float()
