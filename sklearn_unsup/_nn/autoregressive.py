"""An autoregressive model of rows: each column given the columns before it."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._table.layout import TableLayout
from .distributions import indices, one_hot_block, presence, softcap
from .fused import column_networks, hat_functions
from .likelihoods import mixture_log_prob, padded_log_prob
from .random import gumbel, normal, random_bytes

N_PIECES = 16  # intervals of the piecewise linear features of a number
N_NORMALS = 8  # of the mixture that a number's conditional distribution is
LOG_SCALE_BOUNDS = -6.0, 2.0
MAX_ONE_HOT = 32  # levels; a column with more is seen through an embedding
EMBEDDING_WIDTH = 16
DROPPED_BYTES = 26  # of 256: a dropout rate of 0.1
# Padding neighbouring columns to the largest of them may make at most this many times
# the logits that they need.
MAX_PADDING = 4
# Bias of a level that a column does not have. Logits are bounded, which leaves such a
# level a weight of e ** -30 beside those of the column's own.
UNUSED_LEVEL_BIAS = -1e4


class AutoregressiveModel(nn.Module):
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
    >>> rows = AutoregressiveModel(TableLayout(2, (3,)), width=8)
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
            self._add_features(N_PIECES + 2, layout.n_categorical + column, owners)
        n_features = len(owners)
        before = torch.arange(self.n_columns)[:, None] > torch.tensor(owners)
        mask = before.repeat_interleave(width, 0).float()
        self.register_buffer("mask", mask, persistent=False)
        self.input_layer = nn.Linear(n_features, self.n_columns * width)
        self.hidden_layer = nn.Parameter(torch.empty(self.n_columns, width, width))
        self.hidden_bias = nn.Parameter(torch.zeros(self.n_columns, 1, width))
        self.category_heads = CategoryHeads(width, cardinalities)
        self.mixture_head = nn.Parameter(torch.empty(n_numeric, width, 3 * N_NORMALS))
        self.mixture_bias = nn.Parameter(torch.zeros(n_numeric, 1, 3 * N_NORMALS))
        self.reset_parameters()

    def _add_features(self, size: int, position: int, owners: list):
        self.feature_slices.append(slice(len(owners), len(owners) + size))
        owners += [position] * size

    @torch.no_grad()
    def reset_parameters(self):
        for embedding in self.embeddings.values():
            nn.init.normal_(embedding.weight, std=0.25)
        nn.init.normal_(self.input_layer.weight, std=1 / math.sqrt(self.n_columns))
        self.input_layer.weight.mul_(
            self.mask
        )  # and stays so, as its gradient is masked
        nn.init.normal_(self.hidden_layer, std=1 / math.sqrt(self.width))
        nn.init.normal_(self.mixture_head, std=0.1 / math.sqrt(self.width))
        # Spread the components over the bulk of N(0, 1), which every column has.
        self.mixture_bias[..., N_NORMALS : 2 * N_NORMALS] = torch.linspace(
            -1.5, 1.5, N_NORMALS
        )
        self.mixture_bias[..., 2 * N_NORMALS :] = -0.5

    @torch.no_grad()
    def start_at_frequencies(self, x_cat: Tensor):
        """Begin with categories that are independent, each level as frequent as here.

        Few rows allow few steps: they are spent on what the columns say of each other.
        """
        shares = []
        for column, size in enumerate(self.layout.cardinalities):
            counts = torch.bincount(x_cat[:, column], minlength=size) + 0.5
            shares.append(counts / counts.sum())
        self.category_heads.start_at(shares)

    # ------------------------------------------------------------------ density

    def log_prob(self, x_num: Tensor, x_cat: Tensor, generator=None) -> Tensor:
        """Nats of each encoded row, shape (n,); dropout only while training."""
        layout, present = self.layout, presence(self.layout, x_cat)
        hidden = self._hidden(self.features(x_num, x_cat, present), generator)
        # Split, not indexed: the gradient of an index is a tensor of zeros each.
        of_categories, of_numbers = hidden.split(
            [layout.n_categorical, layout.n_numeric], 0
        )
        total = 0.0
        if layout.n_numeric:
            raw = torch.baddbmm(
                self.mixture_bias, of_numbers, self.mixture_head
            ).float()
            there = None if present is None else present.t()
            total = mixture_log_prob(raw, x_num.t(), there, LOG_SCALE_BOUNDS)
        if layout.n_categorical:
            total = total + self.category_heads.log_prob(of_categories, x_cat)
        return total

    def features(self, x_num: Tensor, x_cat: Tensor, present=None) -> Tensor:
        """What later columns see of each column, side by side (n, n_features)."""
        parts = [self._categories(x_cat)] if self.layout.n_categorical else []
        if self.layout.n_numeric:
            numbers = piecewise_linear_features(x_num)
            if present is not None:
                numbers = numbers * present[:, :, None]
            parts.append(numbers.flatten(1))
        return torch.cat(parts, 1)

    def _categories(self, x_cat: Tensor) -> Tensor:
        """Features of all categorical columns: one scatter, and the embeddings."""
        n_categorical = self.layout.n_categorical
        plain = tuple(i for i in range(n_categorical) if str(i) not in self.embeddings)
        starts = tuple(self.feature_slices[i].start for i in plain)
        width = self.feature_slices[n_categorical - 1].stop
        features = torch.zeros(len(x_cat), width, device=x_cat.device)
        codes = x_cat
        if self.embeddings:
            codes = x_cat.index_select(1, indices(plain, x_cat.device))
        features.scatter_(1, codes + indices(starts, x_cat.device), 1.0)
        parts, done = [], 0
        for column, embedding in self.embeddings.items():
            place = self.feature_slices[int(column)]
            parts += [features[:, done : place.start], embedding(x_cat[:, int(column)])]
            done = place.stop
        return torch.cat([*parts, features[:, done:]], 1) if parts else features

    def _category_features(self, column: int, codes: Tensor) -> Tensor:
        if str(column) in self.embeddings:
            return self.embeddings[str(column)](codes)
        return one_hot_block(codes, self.layout.cardinalities[column])

    def _hidden(self, features: Tensor, generator) -> Tensor:
        """Hidden units of every column's network, shape (n_columns, n, width)."""
        kept = None
        if self.training:
            shape = self.n_columns, len(features), self.width
            kept = dropout_masks(2, shape, generator, features.device)
        return column_networks(
            features,
            self.input_layer.weight,
            self.mask,
            self.input_layer.bias,
            self.hidden_layer,
            self.hidden_bias,
            kept,
            [self.feature_slices[int(column)] for column in self.embeddings],
        )

    @staticmethod
    def _mixture_parameters(outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
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
        device, layout = self.input_layer.weight.device, self.layout
        x_num = torch.zeros(n, layout.n_numeric, device=device)
        x_cat = torch.zeros(n, layout.n_categorical, dtype=torch.int64, device=device)
        log_weights = torch.zeros(n, device=device)
        features = torch.zeros(n, self.input_layer.in_features, device=device)
        for column in range(layout.n_categorical):
            hidden = self._column_hidden(column, features)
            logits = softcap(F.linear(hidden, *self.category_heads.of_column(column)))
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
            outputs = hidden @ self.mixture_head[column] + self.mixture_bias[column]
            values = sample_mixture(*self._mixture_parameters(outputs), generator)
            seen = piecewise_linear_features(values[:, None])[:, 0]
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
        weight, bias = (
            self.input_layer.weight[units, :stop],
            self.input_layer.bias[units],
        )
        hidden = F.silu(F.linear(features[:, :stop], weight, bias))
        after = hidden @ self.hidden_layer[position] + self.hidden_bias[position]
        return hidden + F.silu(after)


class CategoryHeads(nn.Module):
    """Logits of each categorical column from the hidden units of its network.

    Neighbouring columns are padded to the largest of them, which makes one batched
    product of theirs. Where that would be far more logits than there are levels, a new
    product begins.

    Parameters
    ----------
    width : int
    cardinalities : tuple of int
    """

    def __init__(self, width: int, cardinalities: tuple[int, ...]):
        super().__init__()
        self.cardinalities = cardinalities
        self.runs = padded_runs(cardinalities)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for run in self.runs:
            sizes = [cardinalities[column] for column in run]
            weight = torch.zeros(len(run), width, max(sizes))
            bias = torch.full((len(run), 1, max(sizes)), UNUSED_LEVEL_BIAS)
            for own_weight, own_bias, size in zip(weight, bias, sizes, strict=True):
                nn.init.normal_(own_weight[:, :size], std=1 / math.sqrt(width))
                own_bias[:, :size] = 0.0
            self.weights.append(weight)
            self.biases.append(bias)

    def of_column(self, column: int) -> tuple[Tensor, Tensor]:
        """Weight (cardinality, width) and bias (cardinality,) of one column."""
        for run, weight, bias in zip(self.runs, self.weights, self.biases, strict=True):
            if column in run:
                place, size = column - run.start, self.cardinalities[column]
                return weight[place, :, :size].t(), bias[place, 0, :size]
        raise IndexError(column)

    @torch.no_grad()
    def start_at(self, shares: list[Tensor]):
        """Give each column the frequencies of its levels, nearly independent of all."""
        for column, share in enumerate(shares):
            self.of_column(column)[1].copy_(share.log())
        for weight in self.weights:
            weight.mul_(0.1)

    def log_prob(self, hidden: Tensor, x_cat: Tensor) -> Tensor:
        """Nats of the codes, summed over columns, shape (n,).

        Shapes: hidden units (n_categorical, n, width), codes (n, n_categorical).
        """
        sizes = [len(run) for run in self.runs]
        parts = hidden.split(sizes), x_cat.t().split(sizes), self.weights, self.biases
        total = 0.0
        for units, codes, weight, bias in zip(*parts, strict=True):
            raw = torch.baddbmm(bias, units, weight).float()
            total = total + padded_log_prob(raw, codes)
        return total


def padded_runs(sizes: tuple[int, ...]) -> list[range]:
    """Neighbouring columns that may be padded to the largest of them."""
    runs, start = [], 0
    for stop in range(1, len(sizes) + 1):
        part = sizes[start : stop + 1]
        if stop == len(sizes) or len(part) * max(part) > MAX_PADDING * sum(part):
            runs.append(range(start, stop))
            start = stop
    return runs


def dropout_masks(n_masks: int, shape, generator, device) -> Tensor:
    """Masks of a dropout, (n_masks, n_columns, n, width), from one draw.

    An element is kept, and scaled up, unless its random byte is below DROPPED_BYTES.
    Uniform floats would cost a small net as much as its matrix products do. The
    generator is the given one, where torch's own dropout uses the global one.
    """
    drawn = random_bytes((n_masks, *shape), generator, device, dim=2)
    # Straight into floats: six times as fast as by way of booleans.
    masks = torch.empty(drawn.shape, device=device)
    return torch.ge(drawn, DROPPED_BYTES, out=masks).mul_(256 / (256 - DROPPED_BYTES))


def piecewise_linear_features(x: Tensor) -> Tensor:
    """A standard normal number and hat functions of its quantile.

    Shape (n, columns) to (n, columns, N_PIECES + 2).
    """
    hats, _ = hat_functions(x, N_PIECES)
    return torch.cat([x[..., None], hats], -1)


def sample_mixture(
    log_weights: Tensor, means: Tensor, log_scales: Tensor, generator
) -> Tensor:
    """One draw per row of a mixture of normals, shape (n,)."""
    chosen = (log_weights + gumbel(log_weights, generator)).argmax(1, keepdim=True)
    noise = normal((len(means), 1), generator, means.device)
    scales = log_scales.gather(1, chosen).exp()
    # No table of fewer than a billion rows has a value beyond these normal quantiles.
    return (means.gather(1, chosen) + noise * scales)[:, 0].clamp(-6.0, 6.0)
