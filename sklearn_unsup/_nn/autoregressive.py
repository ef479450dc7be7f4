"""An autoregressive model of rows: each column given the columns before it."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._table.layout import EncodedConditions, TableLayout
from .category_heads import CategoryHeads
from .column_networks import column_networks, visible_blocks
from .distributions import indices, one_hot_block, presence
from .heads import NumberHeads
from .linear_moments import LinearMoments
from .lookahead import Lookahead
from .number_features import NumberFeatures
from .random import random_bytes
from .row_draws import RowDraw

# Maximum number of levels of a column that is one-hot encoded for the other columns,
# and width of the embedding of a column with more levels.
MAX_ONE_HOT, EMBEDDING_WIDTH = 32, 16
# Factor of the weights of indicators beside embeddings in the beginning: networks are
# then slow to memorise what is noise.
INDICATOR_SCALE = 0.1
# Number of values of a byte, of 256, that drop a hidden unit: a dropout rate of 0.1.
DROPPED_BYTES = 26
# Number of rows that a model is set to before it learns, if a table has so many; those
# of regressions may be more. And maximum number of levels of all categories, and of
# values of numbers beside them, that later numbers are regressed on.
MAX_START_ROWS, MAX_REGRESSION_LEVELS = 4_000, 250

# Kinds of columns that may be described relative to regressions.
REGRESSIONS = "numbers", "levels"


class AutoregressiveModel(nn.Module):
    """log p(row) = sum over columns of log p(column | columns before it).

    Categories come first, in the order of `x_cat`, then numbers: a condition on a
    category then needs little or no weighting. Every column has a small network of its
    own on features of the columns before it; their first layers are one masked
    matrix product (Germain et al. 2015, MADE), the others batched ones. A number's
    conditional is a mixture of normals or a histogram, a category's a softmax. It is
    exact: no latent variable, no bound, and one pass through the columns draws a table.

    Parameters
    ----------
    layout : TableLayout
    width : int
        Hidden units per column.
    bin_edges : sequence of array-like or None, default=None
        Edges of each number's histogram, see :class:`NumberHeads`; None for no
        histograms.
    regressions : sequence of str, default=()
        Kinds of columns, of "numbers" and "levels", that are described relative to
        linear and logistic regressions on the columns before them, which are fitted
        apart from the networks: a good start where rows are few.
    value_intervals : sequence of array-like or None, default=None
        Of each number the values that are features of their own for the columns after
        it, see :class:`NumberFeatures`.
    is_rough : sequence of bool, default=()
        See :class:`NumberHeads`.
    n_indicators : sequence of int, default=()
        Of each column of categories the number of levels, the most frequent ones, that
        have indicators as well if the column has an embedding. None have by default.

    Examples
    --------
    >>> import torch
    >>> rows = AutoregressiveModel(TableLayout(2, (3,)), width=8)
    >>> generator = torch.Generator().manual_seed(0)
    >>> conditions = EncodedConditions(5, codes={0: torch.full((5,), 2)})
    >>> x_num, x_cat, log_weights = rows.sample(conditions, generator)
    >>> x_num.shape, x_cat.flatten().tolist()
    (torch.Size([5, 2]), [2, 2, 2, 2, 2])
    >>> rows.log_prob(x_num, x_cat).shape
    torch.Size([5])
    """

    # Whether columns are drawn before others that may have conditions.
    can_look_ahead = True

    def __init__(
        self,
        layout: TableLayout,
        width: int,
        bin_edges=None,
        regressions: tuple[str, ...] = (),
        value_intervals=None,
        is_rough=(),
        n_indicators=(),
    ):
        super().__init__()
        self.layout, self.width = layout, width
        n_numeric, cardinalities = layout.n_numeric, layout.cardinalities
        self.n_columns = layout.n_categorical + n_numeric
        self.embeddings = nn.ModuleDict()
        # Places of all features of a column, and of those of a category that say which
        # level it is, of which only frequent ones have such features beside embeddings.
        self.feature_slices, self.level_slices, owners = [], [], []
        for column, size in enumerate(cardinalities):
            n_embedded, n_levels = 0, size
            if size > MAX_ONE_HOT:
                self.embeddings[str(column)] = nn.Embedding(size, EMBEDDING_WIDTH)
                n_embedded = EMBEDDING_WIDTH
                n_levels = n_indicators[column] if n_indicators else 0
            self._add_features(n_embedded + n_levels, column, owners)
            self.level_slices.append(slice(len(owners) - n_levels, len(owners)))
        # 1 if embeddings are scores that are not learnt: a number, like all weights.
        self.register_buffer("has_scores", torch.zeros(()))
        self._learns_embeddings = True
        self.number_features = NumberFeatures(n_numeric, value_intervals)
        for column, size in enumerate(self.number_features.widths):
            self._add_features(size, layout.n_categorical + column, owners)
        owners += [-1] * self.n_shared_features
        n_features = len(owners)
        mask = self._is_visible(
            torch.arange(self.n_columns)[:, None], torch.tensor(owners)
        )
        self.blocks = visible_blocks(mask, width)
        mask = mask.repeat_interleave(width, 0).float()
        self.register_buffer("mask", mask, persistent=False)
        self.input_layer = nn.Linear(n_features, self.n_columns * width)
        self.hidden_layer = nn.Parameter(torch.empty(self.n_columns, width, width))
        self.hidden_bias = nn.Parameter(torch.zeros(self.n_columns, 1, width))
        self.category_heads = CategoryHeads(width, cardinalities)
        if bin_edges is None:
            bin_edges = [()] * n_numeric
        self.number_heads = NumberHeads(width, bin_edges, is_rough)
        self.set_regressions(regressions)
        self.reset_parameters()

    @property
    def n_shared_features(self) -> int:
        """Number of features that belong to no column, after all others."""
        return 0

    def _is_visible(self, columns: Tensor, owners: Tensor) -> Tensor:
        """Whether the networks of columns see features of the owners, by position."""
        return owners < columns

    def _add_features(self, size: int, position: int, owners: list):
        self.feature_slices.append(slice(len(owners), len(owners) + size))
        owners += [position] * size

    @torch.no_grad()
    def reset_parameters(self):
        for embedding in self.embeddings.values():
            nn.init.normal_(embedding.weight, std=0.25)
        nn.init.normal_(self.input_layer.weight, std=1 / math.sqrt(self.n_columns))
        for column in map(int, self.embeddings):
            self.input_layer.weight[:, self.level_slices[column]] *= INDICATOR_SCALE
        # Masked weights stay zero, because their gradients are masked as well.
        self.input_layer.weight.mul_(self.mask)
        nn.init.normal_(self.hidden_layer, std=1 / math.sqrt(self.width))

    @torch.no_grad()
    def start_at_frequencies(self, x_cat: Tensor):
        """Begin with independent categories, each level as frequent as in `x_cat`.

        Few rows allow few steps, which are then left for the dependences.
        """
        shares = []
        for column, size in enumerate(self.layout.cardinalities):
            counts = torch.bincount(x_cat[:, column], minlength=size) + 0.5
            shares.append(counts / counts.sum())
        self.category_heads.start_at(shares)

    def set_regressions(self, kinds):
        """Have regressions of some kinds, which change nothing until fitted."""
        weight, self.linear = self.input_layer.weight, None
        if "numbers" in kinds and self.layout.n_numeric:
            moments = LinearMoments(self.layout.n_numeric, weight.shape[1])
            self.linear = moments.to(weight.device)
        has_levels = "levels" in kinds and self.layout.n_categorical > 1
        self.category_heads.set_regressions(weight.shape[1] if has_levels else 0)

    @property
    def regressions(self) -> tuple[str, ...]:
        """Kinds of columns that have regressions."""
        parts = self.linear, self.category_heads.linear
        pairs = zip(REGRESSIONS, parts, strict=True)
        return tuple(kind for kind, part in pairs if part is not None)

    @torch.no_grad()
    def _start_at_logistic(self, x_num: Tensor, x_cat: Tensor, without):
        """Begin with levels that depend on those of the columns before them."""
        features = self.features(x_num, x_cat)
        for column in map(int, self.embeddings):
            features[:, self.feature_slices[column]] = 0.0
        slices = self.feature_slices[: self.layout.n_categorical]
        n_seen = [0 if c in without else own.start for c, own in enumerate(slices)]
        intercepts = self.category_heads.linear.fit(features, x_cat, n_seen)
        for column, intercept in intercepts.items():
            self.category_heads.of_column(column)[1].copy_(intercept)

    def start_at_dependences(
        self,
        x_num: Tensor,
        x_cat: Tensor,
        limits=None,
        without=frozenset(),
        between=None,
    ):
        """Begin with regressions of each column on those before it, if there are.

        For `limits` of those of numbers, and the variance `between` their values, see
        :meth:`LinearMoments.fit`. Columns at the positions `without` have none.
        """
        if self.category_heads.linear is not None:
            self._start_at_logistic(x_num, x_cat, without)
        if self.linear is not None:
            self._start_at_normal(x_num, x_cat, limits, without, between)

    @torch.no_grad()
    def _start_at_normal(self, x_num: Tensor, x_cat: Tensor, limits, without, between):
        """Begin with numbers that are normal given the columns before them."""
        present = presence(self.layout, x_cat)
        n_categorical = self.layout.n_categorical
        levels = [
            feature
            for position, block in enumerate(self.feature_slices[:n_categorical])
            if str(position) not in self.embeddings
            for feature in range(block.start, block.stop)
        ]
        if len(levels) > MAX_REGRESSION_LEVELS:
            levels = []
        # The first feature of a number is the number itself, the last ones its values.
        inputs, known = [], levels
        n_inputs = len(levels)
        for block, n_values in zip(
            self.feature_slices[n_categorical:],
            self.number_features.n_values,
            strict=True,
        ):
            inputs.append([] if n_categorical + len(inputs) in without else known)
            known = [*known, block.start]
            if n_inputs + n_values <= MAX_REGRESSION_LEVELS:
                known += range(block.stop - n_values, block.stop)
                n_inputs += n_values
        features = self.features(x_num, x_cat, present)
        numbers = {block.start for block in self.feature_slices[n_categorical:]}
        self.linear.fit(features, x_num, present, inputs, numbers, limits, between)
        columns = self.linear.columns
        self.number_heads.start_beside(columns, self.linear.scale[columns])

    def drop_idle_regressions(self):
        """Have no regressions of numbers if none is relative to one."""
        if self.linear is not None and self.linear.is_idle:
            self.linear = None

    # ------------------------------------------------------------------ density

    def log_prob(self, x_num: Tensor, x_cat: Tensor, generator=None) -> Tensor:
        """Log-likelihood of each encoded row in nats, shape (n,).

        While the model is training, with dropout, whose masks the generator draws.
        """
        layout, present = self.layout, presence(self.layout, x_cat)
        embedded = self.embedded(x_cat)
        with torch.no_grad():
            features = self.features(x_num, x_cat, present, embedded)
        learned = embedded if self.learns_embeddings else ()
        hidden = self._hidden(features, generator, learned)
        # Split and not indexed: the gradient of each index would be a whole tensor.
        category_hidden, number_hidden = hidden.split(
            [layout.n_categorical, layout.n_numeric], 0
        )
        total = 0.0
        if layout.n_numeric:
            moments = self._moments(features)
            total = self.number_heads.log_prob(number_hidden, x_num, present, moments)
        if layout.n_categorical:
            own = self.category_heads.log_prob(category_hidden, x_cat, features)
            total = total + own
        return total

    def features(
        self, x_num: Tensor, x_cat: Tensor, present=None, embedded=None
    ) -> Tensor:
        """Features of all columns, which later ones see, shape (n, n_features).

        Those of columns of many levels may be given, see :meth:`embedded`.
        """
        parts = self._categories(x_cat, embedded) if self.layout.n_categorical else []
        if self.layout.n_numeric:
            parts.append(self.number_features(x_num, present))
        return torch.cat(parts, 1)

    def _moments(self, features: Tensor):
        """Moments that the normals of numbers are relative to; None for 0 and 1."""
        return None if self.linear is None else self.linear(features)

    @property
    def learns_embeddings(self) -> bool:
        """Whether columns have learnt weights in common: embeddings, not scores."""
        return len(self.embeddings) > 0 and self._learns_embeddings

    def learn_embeddings(self, is_learning: bool):
        """Learn embeddings with the networks, or leave them as they are."""
        self.has_scores.fill_(float(not is_learning))
        self._read_scores()

    def _read_scores(self):
        # Read once, as a GPU has to be waited for.
        self._learns_embeddings = not bool(self.has_scores)
        self.embeddings.requires_grad_(self._learns_embeddings)

    def _load_from_state_dict(self, *args, **kwargs):
        super()._load_from_state_dict(*args, **kwargs)
        self._read_scores()

    def embedded(self, x_cat: Tensor) -> list[Tensor]:
        """The only features that may be learnt: those of columns of many levels."""
        return [
            embedding(x_cat[:, int(column)])
            for column, embedding in self.embeddings.items()
        ]

    def _categories(self, x_cat: Tensor, embedded=None) -> list[Tensor]:
        """Features of neighbouring categorical columns: one scatter, the embeddings."""
        embedded = self.embedded(x_cat) if embedded is None else embedded
        device, width = x_cat.device, self.level_slices[-1].stop
        features = torch.zeros(len(x_cat), width, device=device)
        if not self.embeddings:
            starts = tuple(place.start for place in self.level_slices)
            return [features.scatter_(1, x_cat + indices(starts, device), 1.0)]
        sizes = [place.stop - place.start for place in self.level_slices]
        columns = tuple(column for column, size in enumerate(sizes) if size)
        starts = tuple(self.level_slices[column].start for column in columns)
        last = indices(tuple(sizes[column] - 1 for column in columns), device)
        codes = x_cat.index_select(1, indices(columns, device))
        places = codes.minimum(last) + indices(starts, device)
        # Rare levels have no features of their own.
        features.scatter_(1, places, (codes <= last).float())
        parts, done = [], 0
        for place, own in zip(self._embedded_slices, embedded, strict=True):
            parts += [features[:, done : place.start], own]
            done = place.stop
        return [*parts, features[:, done:]]

    @property
    def _embedded_slices(self) -> list[slice]:
        return [self.embedded_slice(int(column)) for column in self.embeddings]

    def embedded_slice(self, column: int) -> slice:
        """Place of the embedding of a column, empty if it has none."""
        features, levels = self.feature_slices[column], self.level_slices[column]
        return slice(features.start, levels.start)

    def category_features(self, column: int, codes: Tensor) -> Tensor:
        """Features of codes (n,) of one column."""
        place = self.level_slices[column]
        n_levels = place.stop - place.start
        if str(column) not in self.embeddings:
            return one_hot_block(codes, n_levels)
        # All rare levels share the last place.
        levels = one_hot_block(codes.clamp_max(n_levels), n_levels + 1)[:, :n_levels]
        return torch.cat([self.embeddings[str(column)](codes), levels], 1)

    def _hidden(self, features: Tensor, generator, embedded=(), own=None) -> Tensor:
        """Hidden units of every column's network, shape (n_columns, n, width).

        Of the features only those that are `embedded` get a gradient. Features that
        belong to no column may be other ones for each network: (n_columns, n, n_own).
        """
        kept = None
        if self.training:
            shape = self.n_columns + 1, len(features), self.width
            kept = dropout_masks(shape, generator, features.device)
        return column_networks(
            features,
            self.input_layer.weight,
            self.mask,
            self.input_layer.bias,
            self.hidden_layer,
            self.hidden_bias,
            kept,
            list(zip(self._embedded_slices, embedded, strict=False)),
            self.blocks if features.device.type == "cpu" else [tuple(self.mask.shape)],
            own,
        )

    # ------------------------------------------------------------------ sampling

    @torch.no_grad()
    def sample(
        self,
        conditions: EncodedConditions,
        generator: torch.Generator,
        *,
        begun: tuple[Tensor, Tensor] | None = None,
        columns: range | None = None,
        n_particles: int = 1,
        lookahead: Lookahead | None = None,
        origins: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draw rows column by column, each value among those that conditions allow.

        Returns `x_num`, `x_cat` and log-weights (n,), by which the rows follow the
        conditional distribution; see :class:`RowDraw`.

        Parameters
        ----------
        conditions : EncodedConditions
            Tensors on the device, for each row that is to be drawn.
        generator : torch.Generator
        begun : tuple of Tensor or None, default=None
            `x_num` and `x_cat` of which the columns before `columns` are drawn.
        columns : range or None, default=None
            Positions of the columns to draw, categories first; None for all.
        n_particles, lookahead, origins
            See :class:`RowDraw`.
        """
        columns = range(self.n_columns) if columns is None else columns
        drawn = RowDraw(
            self,
            conditions,
            generator,
            begun,
            columns.start,
            n_particles,
            lookahead,
            origins,
        ).draw(columns)
        return drawn.x_num, drawn.x_cat, drawn.log_weights

    def parts(self, conditions: EncodedConditions) -> list[range]:
        """Parts of a draw: columns up to the last one with a condition; the rest."""
        n_categorical = self.layout.n_categorical
        positions = [*conditions.codes, *(n_categorical + c for c in conditions.bounds)]
        begun = max(positions, default=self.n_columns - 1) + 1
        parts = [range(begun), range(begun, self.n_columns)]
        return [part for part in parts if len(part)]

    def needs_particles(self, conditions: EncodedConditions) -> bool:
        """Whether draws have weights: columns are drawn without later conditions."""
        return not conditions.is_empty

    def _hidden_of(self, position: int, first: Tensor) -> Tensor:
        """Hidden units of one column's network from inputs of its first ones.

        Both have shape (n, width); the inputs are overwritten.
        """
        hidden = F.silu(first, inplace=True)
        bias = self.hidden_bias[position]
        after = torch.addmm(bias, hidden, self.hidden_layer[position])
        return F.silu(after, inplace=True).add_(hidden)


def every_nth(*tensors: Tensor) -> list[Tensor]:
    """Every n-th row of a table, so that there are at most MAX_START_ROWS."""
    step = -(-len(tensors[0]) // MAX_START_ROWS)
    return [tensor[::step] for tensor in tensors]


def dropout_masks(shape, generator, device) -> Tensor:
    """Masks of a dropout; rows lie along the second dimension of the shape.

    An element is kept, and scaled up, unless its random byte is below DROPPED_BYTES:
    uniform floats would cost a small net as much as its matrix products do. torch's own
    dropout would also draw from the global generator.
    """
    drawn = random_bytes(shape, generator, device, dim=1)
    # Straight into floats: six times as fast as by way of booleans.
    masks = torch.empty(drawn.shape, device=device)
    return torch.ge(drawn, DROPPED_BYTES, out=masks).mul_(256 / (256 - DROPPED_BYTES))
