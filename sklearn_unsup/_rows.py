"""An autoregressive model of rows: each column given the columns before it."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._distributions import (
    LOG_TWO_PI,
    block_indicator,
    categorical_log_prob,
    one_hot_block,
    presence,
    softcap,
)
from ._layout import TableLayout
from ._noise import gumbel, normal, random_bytes

N_HATS = 16  # intervals of the piecewise linear features of a number
N_NORMALS = 8  # of the mixture that a number's conditional distribution is
LOG_SCALE_BOUNDS = -6.0, 2.0
MAX_ONE_HOT = 32  # levels; a column with more is seen through an embedding
EMBEDDING_WIDTH = 16
DROPPED_BYTES = 26  # of 256: a dropout rate of 0.1


class RowModel(nn.Module):
    """log p(row) = sum over columns of log p(column | columns before it).

    Categories come first, in the order of `x_cat`, then numbers: a condition on a
    category then needs little or no weighting. Every column has a small network of its
    own on features of the columns before it; their first layers are one masked
    matrix product (Germain et al. 2015, MADE), the others batched ones. A number's
    conditional is a mixture of normals, a category's a softmax. It is exact: no
    latent variable, no bound, and one pass through the columns draws a table.

    Parameters
    ----------
    layout : TableLayout
    width : int
        Hidden units per column.

    Examples
    --------
    >>> import torch
    >>> rows = RowModel(TableLayout(2, (3,)), width=8)
    >>> generator = torch.Generator().manual_seed(0)
    >>> x_num, x_cat, log_weights = rows.sample(5, {0: 2}, generator)
    >>> x_num.shape, x_cat.flatten().tolist()
    (torch.Size([5, 2]), [2, 2, 2, 2, 2])
    >>> rows.log_prob(x_num, x_cat).shape
    torch.Size([5])
    """

    def __init__(self, layout: TableLayout, width: int):
        super().__init__()
        self.layout, self.width = layout, width
        n_numeric, cardinalities = layout.n_numeric, layout.cardinalities
        self.n_columns = layout.n_categorical + n_numeric
        self.embeddings = nn.ModuleDict()
        self.feature_slices, owners = [], []
        for column, size in enumerate(cardinalities):
            if size > MAX_ONE_HOT:
                self.embeddings[str(column)] = nn.Embedding(size, EMBEDDING_WIDTH)
                size = EMBEDDING_WIDTH
            self._add_features(size, column, owners)
        for column in range(n_numeric):
            self._add_features(N_HATS + 2, layout.n_categorical + column, owners)
        n_features = len(owners)
        before = torch.arange(self.n_columns)[:, None] > torch.tensor(owners)
        mask = before.repeat_interleave(width, 0).float()
        self.register_buffer("mask", mask, persistent=False)
        indicator = block_indicator(layout)
        self.register_buffer("indicator", indicator, persistent=False)
        self.first = nn.Linear(n_features, self.n_columns * width)
        self.second = nn.Parameter(torch.empty(self.n_columns, width, width))
        self.second_bias = nn.Parameter(torch.zeros(self.n_columns, 1, width))
        # Of zero levels torch would warn.
        self.levels = nn.Linear(width, layout.n_one_hot) if layout.n_one_hot else None
        self.normals = nn.Parameter(torch.empty(n_numeric, width, 3 * N_NORMALS))
        self.normals_bias = nn.Parameter(torch.zeros(n_numeric, 1, 3 * N_NORMALS))
        self.reset_parameters()

    def _add_features(self, size: int, position: int, owners: list):
        self.feature_slices.append(slice(len(owners), len(owners) + size))
        owners += [position] * size

    @torch.no_grad()
    def reset_parameters(self):
        for embedding in self.embeddings.values():
            nn.init.normal_(embedding.weight, std=0.25)
        nn.init.normal_(self.first.weight, std=1 / math.sqrt(self.n_columns))
        nn.init.normal_(self.second, std=1 / math.sqrt(self.width))
        if self.levels is not None:
            nn.init.normal_(self.levels.weight, std=1 / math.sqrt(self.width))
            nn.init.zeros_(self.levels.bias)
        nn.init.normal_(self.normals, std=0.1 / math.sqrt(self.width))
        # Spread the components over the bulk of N(0, 1), which every column has.
        self.normals_bias[..., N_NORMALS : 2 * N_NORMALS] = torch.linspace(
            -1.5, 1.5, N_NORMALS
        )
        self.normals_bias[..., 2 * N_NORMALS :] = -0.5

    @torch.no_grad()
    def start_at_frequencies(self, x_cat: Tensor):
        """Begin with categories that are independent, each level as frequent as here.

        Few rows allow few steps: they are spent on what the columns say of each other.
        """
        if self.levels is None:
            return
        shares = []
        for column, size in enumerate(self.layout.cardinalities):
            counts = torch.bincount(x_cat[:, column], minlength=size) + 0.5
            shares.append(counts / counts.sum())
        self.levels.bias.copy_(torch.cat(shares).log())
        self.levels.weight.mul_(0.1)

    # ------------------------------------------------------------------ density

    def log_prob(self, x_num: Tensor, x_cat: Tensor, generator=None) -> Tensor:
        """Nats of each encoded row, shape (n,); dropout only while training."""
        hidden = self._hidden(self.features(x_num, x_cat), generator)
        layout = self.layout
        # Split, not indexed: the gradient of an index is a tensor of zeros each.
        of_categories, of_numbers = hidden.split(
            [layout.n_categorical, layout.n_numeric], 0
        )
        total = 0.0
        if layout.n_numeric:
            outputs = torch.baddbmm(self.normals_bias, of_numbers, self.normals).float()
            each = mixture_log_prob(x_num.t(), *self._normals(outputs)).t()
            present = presence(layout, x_cat)
            total = (each if present is None else each * present).sum(1)
        if layout.n_categorical:
            parts = zip(of_categories.unbind(0), *self._levels(), strict=True)
            logits = torch.cat([F.linear(*part) for part in parts], 1)
            logits = softcap(logits.float())
            total = total + categorical_log_prob(logits, x_cat, layout, self.indicator)
        return total

    def _levels(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Weights and biases of the logits of each categorical column."""
        sizes = list(self.layout.cardinalities)
        return self.levels.weight.split(sizes), self.levels.bias.split(sizes)

    def features(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """What later columns see of each column, side by side (n, n_features)."""
        parts = [
            self._category_features(column, x_cat[:, column])
            for column in range(self.layout.n_categorical)
        ]
        if self.layout.n_numeric:
            numbers = number_features(x_num)
            present = presence(self.layout, x_cat)
            if present is not None:
                numbers = numbers * present[:, :, None]
            parts.append(numbers.flatten(1))
        return torch.cat(parts, 1)

    def _category_features(self, column: int, codes: Tensor) -> Tensor:
        if str(column) in self.embeddings:
            return self.embeddings[str(column)](codes)
        return one_hot_block(codes, self.layout.cardinalities[column])

    def _hidden(self, features: Tensor, generator) -> Tensor:
        """Hidden units of every column's network, shape (n_columns, n, width)."""
        first = F.linear(features, self.first.weight * self.mask, self.first.bias)
        hidden = F.silu(first).view(len(features), self.n_columns, self.width)
        hidden = self._dropout(hidden.transpose(0, 1), generator)
        more = F.silu(torch.baddbmm(self.second_bias, hidden, self.second))
        return hidden + self._dropout(more, generator)

    def _dropout(self, x: Tensor, generator) -> Tensor:
        return byte_dropout(x, generator) if self.training else x

    @staticmethod
    def _normals(outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-weights, means and log standard deviations of the components."""
        weights, means, log_scales = outputs.chunk(3, -1)
        return weights.log_softmax(-1), means, log_scales.clamp(*LOG_SCALE_BOUNDS)

    # ------------------------------------------------------------------ sampling

    @torch.no_grad()
    def sample(
        self, n: int, given: dict[int, int], generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draw rows column by column; given categories are set, not drawn.

        Returns `x_num`, `x_cat` and log-weights (n,): the log-probability that the
        given categories had when their turn came. Weighted by its exponential, the
        rows follow the conditional distribution (likelihood weighting).
        """
        device, layout = self.first.weight.device, self.layout
        x_num = torch.zeros(n, layout.n_numeric, device=device)
        x_cat = torch.zeros(n, layout.n_categorical, dtype=torch.int64, device=device)
        log_weights = torch.zeros(n, device=device)
        features = torch.zeros(n, self.first.in_features, device=device)
        levels = list(zip(*self._levels(), strict=True)) if layout.cardinalities else []
        for column in range(layout.n_categorical):
            hidden = self._column_hidden(column, features)
            logits = softcap(F.linear(hidden, *levels[column]))
            if column in given:
                codes = torch.full((n,), given[column], device=device)
                log_weights += logits.log_softmax(1)[:, given[column]]
            else:
                codes = (logits + gumbel(logits, generator)).argmax(1)
            x_cat[:, column] = codes
            block = self.feature_slices[column]
            features[:, block] = self._category_features(column, codes)
        for column in range(layout.n_numeric):
            position = layout.n_categorical + column
            hidden = self._column_hidden(position, features)
            outputs = hidden @ self.normals[column] + self.normals_bias[column]
            values = sample_mixture(*self._normals(outputs), generator)
            seen = number_features(values[:, None])[:, 0]
            mask = layout.masks[column]
            if mask >= 0:
                present = (x_cat[:, mask] == 0).float()
                values, seen = values * present, seen * present[:, None]
            x_num[:, column] = values
            features[:, self.feature_slices[position]] = seen
        return x_num, x_cat, log_weights

    def _column_hidden(self, position: int, features: Tensor) -> Tensor:
        """Hidden units of one column from the columns drawn so far, (n, width)."""
        units = slice(position * self.width, (position + 1) * self.width)
        stop = self.feature_slices[position].start  # later features are still zero
        weight, bias = self.first.weight[units, :stop], self.first.bias[units]
        hidden = F.silu(F.linear(features[:, :stop], weight, bias))
        second = hidden @ self.second[position] + self.second_bias[position]
        return hidden + F.silu(second)


def byte_dropout(x: Tensor, generator) -> Tensor:
    """Dropout at a rate of DROPPED_BYTES / 256, a random byte for each element.

    Uniform floats would cost a small net as much as its matrix products do. Rows lie
    along the second dimension. The generator is the given one, where torch's own
    dropout uses the global one.
    """
    kept = random_bytes(x.shape, generator, x.device, dim=1) >= DROPPED_BYTES
    return x * kept.to(x.dtype).mul_(256 / (256 - DROPPED_BYTES))


def number_features(x: Tensor) -> Tensor:
    """A standard normal number and hat functions of its quantile.

    Shape (n, columns) to (n, columns, N_HATS + 2). The hats are linear B-splines on
    equal shares of the rows, so that steps and spikes are as easy as slopes.
    """
    position = N_HATS * torch.special.ndtr(x)
    knots = torch.arange(N_HATS + 1, device=x.device)
    hats = F.relu(1.0 - (position[..., None] - knots).abs())
    return torch.cat([x[..., None], hats], -1)


def mixture_log_prob(
    x: Tensor, log_weights: Tensor, means: Tensor, log_scales: Tensor
) -> Tensor:
    """Log-density of a mixture of normals; components along the last axis."""
    standard = (x[..., None] - means) * torch.exp(-log_scales)
    each = log_weights - 0.5 * (standard.square() + LOG_TWO_PI) - log_scales
    return each.logsumexp(-1)


def sample_mixture(
    log_weights: Tensor, means: Tensor, log_scales: Tensor, generator
) -> Tensor:
    """One draw per row of a mixture of normals, shape (n,)."""
    chosen = (log_weights + gumbel(log_weights, generator)).argmax(1, keepdim=True)
    noise = normal((len(means), 1), generator, means.device)
    scales = log_scales.gather(1, chosen).exp()
    # Beyond the normal quantiles that a table of millions of rows has nothing is coded.
    return (means.gather(1, chosen) + noise * scales)[:, 0].clamp(-6.0, 6.0)
