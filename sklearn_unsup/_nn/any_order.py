"""AnyOrderModel: the conditional distribution of each column given any others."""

import torch
from torch import Tensor
from torch.nn import functional as F

from .._table.layout import ANY_CODE, FIRST_SET, EncodedConditions, TableLayout
from .autoregressive import AutoregressiveModel, every_nth
from .cell_draws import CellDraw
from .distributions import indices, softcap
from .gaussian import MAX_GAUSSIAN
from .joint_normal import JointNormal, codes_of_missing, is_number_present
from .random import uniform

# Share of the training rows for which a missing value is an unknown one, as it is where
# cells are filled in; for the others it is a value of its own, which can be drawn.
BLIND_SHARE = 0.75
# Logit of a missing value where it is unknown, of which there is no probability.
NO_LOGIT = -1e4
# Initial bias of the gate between a number's normal distribution and its histogram: it
# begins nearly normal.
GATE_BIAS = -5.0
# Number of orders of the columns among the rows of a draw: at most, and the minimum
# number of rows for each. With a single one, draws would differ in what they repeat of
# the table, since a model tells in one order what it does not in another.
MAX_ORDERS, MIN_ORDER_ROWS = 8, 32
# Parts of a draw: the cells that have conditions, and all others given them.
PARTS = "conditioned", "rest"


class AnyOrderModel(AutoregressiveModel):
    """log p(column | any other columns), for each column and each set of others.

    In training each cell is predicted from a random part of the others (Uria, Murray
    and Larochelle 2014): a random part of each row is hidden, hidden cells are
    predicted from what is seen, and seen ones from the other seen ones. That every step
    is of all cells makes gradients less noisy. Columns can then be drawn in any order:
    conditions first, whatever columns they are on, and the others given them. Numbers
    are described relative to a normal distribution of all of them and of indicators of
    levels, whose conditionals are known in closed form; networks learn what departs
    from it.

    Parameters
    ----------
    layout, width, bin_edges
        See :class:`AutoregressiveModel`.
    missing_codes : sequence of int, default=()
        For each column of `x_cat` the code that stands for a missing value, or -1.
    value_intervals, is_rough
        See :class:`AutoregressiveModel`.
    informative_missing : sequence of int, default=()
        See :class:`JointNormal`.

    Examples
    --------
    >>> import torch
    >>> rows = AnyOrderModel(TableLayout(2, (3,)), width=8).eval()
    >>> conditions = EncodedConditions(5, bounds={1: torch.full((5, 2), 0.5)})
    >>> generator = torch.Generator().manual_seed(0)
    >>> x_num, x_cat, log_weights = rows.sample(conditions, generator)
    >>> x_num[:, 1].tolist()
    [0.5, 0.5, 0.5, 0.5, 0.5]
    """

    # Cells with conditions are drawn first.
    can_look_ahead = False

    def __init__(
        self,
        layout: TableLayout,
        width: int,
        bin_edges=None,
        missing_codes=(),
        value_intervals=None,
        is_rough=(),
        informative_missing=(),
    ):
        super().__init__(layout, width, bin_edges, (), value_intervals, is_rough)
        missing = codes_of_missing(layout, missing_codes)
        self.register_buffer("missing_codes", missing, persistent=False)
        self.has_missing = max([*missing_codes, *layout.masks], default=-1) >= 0
        self.normal = None
        if 0 < layout.n_numeric <= MAX_GAUSSIAN:
            normal = JointNormal(layout, missing, informative_missing)
            self.normal = normal if len(normal.mean) > 1 else None

    @property
    def n_shared_features(self):
        return 2 * self.layout.n_numeric

    def _is_visible(self, columns, owners):
        # The mask of a number does not see it: there would be nothing to predict.
        masks = [*[-2] * self.layout.n_categorical, *self.layout.masks, -2]
        mask_of = torch.tensor(masks)[owners]
        return (owners != columns) & (mask_of != columns)

    @torch.no_grad()
    def reset_parameters(self):
        super().reset_parameters()
        self.number_heads._split(self.number_heads.bias)[3].fill_(GATE_BIAS)

    @torch.no_grad()
    def start_at_dependences(self, x_num: Tensor, x_cat: Tensor, limits=None):
        """Begin with the joint normal distribution of numbers and indicators."""
        if self.normal is not None:
            x_num, x_cat = every_nth(x_num, x_cat)
            is_present = is_number_present(self.layout, x_cat)
            self.normal.fit(x_num, x_cat, is_present & self.has_base(x_cat))

    # ------------------------------------------------------------------ density

    def log_prob(self, x_num: Tensor, x_cat: Tensor, generator=None) -> Tensor:
        """Estimate of the log-likelihood of each row in nats, shape (n,).

        Each cell is predicted from a random part of the others: seen cells from the
        other seen ones, as no network sees its own column. On average that is what a
        random order of the columns gives, but for missing cells, which are mostly
        left out.
        """
        n, layout = len(x_num), self.layout
        if generator is None:
            # Every call then hides the same cells, whatever global generators do.
            generator = torch.Generator(x_num.device).manual_seed(0)
        known_num, known_cat, blind = self.known(x_num, x_cat, generator)
        hidden_share = uniform((n, 1), generator, x_num.device)
        shape = n, self.n_columns
        seen = uniform(shape, generator, x_num.device) >= hidden_share
        seen_cat, seen_num = seen.split([layout.n_categorical, layout.n_numeric], 1)
        seen_cat, seen_num = seen_cat & known_cat, seen_num & known_num
        seen_num = self._with_masks(seen_num, seen_cat, known_cat)
        hidden, moments = self.hidden_without_own(
            x_num, x_cat, seen_num, seen_cat, generator
        )
        category_hidden, number_hidden = hidden.split(
            [layout.n_categorical, layout.n_numeric], 0
        )
        total = torch.zeros(n, device=x_num.device)
        if layout.n_numeric:
            total = total + self.number_heads.log_prob(
                number_hidden, x_num, known_num.float(), moments
            )
        if layout.n_categorical:
            total = total + self._category_log_prob(
                category_hidden, x_cat, known_cat, blind
            )
        return total

    def hidden_without_own(self, x_num, x_cat, seen_num, seen_cat, generator=None):
        """Hidden units of all columns, each of which sees the seen others.

        Returns
        -------
        hidden : Tensor of shape (n_columns, n, width)
        moments : tuple of Tensor of shape (n_numeric, n) or None
            Those of each number given the seen others, see :meth:`moments`.
        """
        seen, n_categorical = (x_num, x_cat, seen_num, seen_cat), x_cat.shape[1]
        embedded = [
            own * seen_cat[:, int(column), None]
            for column, own in zip(self.embeddings, self.embedded(x_cat), strict=True)
        ]
        with torch.no_grad():
            features, own = self.seen_features(*seen, embedded), None
            if self.normal is None:
                features, moments = self.with_moments(features, seen_num, None), None
            else:
                moments = self.normal.moments_without_own(*seen)
                is_own = self.normal.is_left_out[:, None, : x_num.shape[1]] > 0
                own = moment_features(~seen_num | is_own, moments)
                moments = tuple(
                    moment[n_categorical:].diagonal(dim1=0, dim2=2).t().contiguous()
                    for moment in moments
                )
        return self._hidden(features, generator, embedded, own), moments

    def _category_log_prob(self, hidden, x_cat, is_target, blind):
        """Log-probability of the codes to predict, summed over columns, shape (n,).

        Of blind rows it is that of a level among all levels. A missing value, which is
        none of their targets, would seem to be rare otherwise.
        """
        sizes = [len(run) for run in self.category_heads.runs]
        missing = self.missing_codes.split(sizes)
        parts = hidden.split(sizes), x_cat.t().split(sizes), is_target.t().split(sizes)
        weights = self.category_heads.weights, self.category_heads.biases
        total = 0.0
        for units, codes, targets, weight, bias, own in zip(
            *parts, *weights, missing, strict=True
        ):
            logits = softcap(torch.baddbmm(bias, units, weight).float())
            if blind is not None:
                levels = torch.arange(logits.shape[2], device=logits.device)
                is_missing = (levels == own[:, None])[:, None]
                logits = logits.masked_fill(blind & is_missing, NO_LOGIT)
            log_probs = logits.log_softmax(-1).gather(-1, codes[..., None])[..., 0]
            total = total + (log_probs * targets).sum(0)
        return total

    def known(self, x_num, x_cat, generator=None):
        """Which cells may be seen or predicted; of numbers, those that are present.

        With a generator a random part of the rows, those of training, is blind: missing
        values are unknown to them, and so are numbers counted from a missing one. The
        third result tells which, shape (n, 1), or is None.
        """
        known_cat = torch.ones_like(x_cat, dtype=torch.bool)
        known_num, blind = is_number_present(self.layout, x_cat), None
        if self.has_missing and generator is not None:
            blind = uniform((len(x_cat), 1), generator, x_cat.device) < BLIND_SHARE
            known_cat = known_cat & ~(blind & self.is_missing(x_cat))
            known_num = known_num & (self.has_base(x_cat) | ~blind)
        return known_num, known_cat, blind

    def has_base(self, x_cat):
        """Which numbers have all that they are counted from, shape (n, n_numeric).

        False where a column that a number is counted from is missing.
        """
        has_base = torch.ones(
            len(x_cat), self.layout.n_numeric, dtype=torch.bool, device=x_cat.device
        )
        for column, masks in enumerate(self.layout.base_masks):
            if masks:
                has_base[:, column] = (x_cat[:, list(masks)] == 0).all(1)
        return has_base

    def is_missing(self, x_cat):
        """Which codes stand for a missing value; those of masks all do."""
        missing = x_cat == self.missing_codes
        # Whether a number is there is unknown wherever it may be missing.
        missing[:, [mask for mask in self.layout.masks if mask >= 0]] = True
        return missing

    def _with_masks(self, seen_num, seen_cat, known_cat):
        """Seen numbers, but none that would reveal a mask which is to be predicted."""
        seen_num = seen_num.clone()
        for column, mask in enumerate(self.layout.masks):
            if mask >= 0:
                seen_num[:, column] &= seen_cat[:, mask] | ~known_cat[:, mask]
        return seen_num

    def moments(self, x_num, x_cat, seen_num, seen_cat):
        """Those of :meth:`JointNormal.moments`, or None if no normal one is fitted."""
        if self.normal is None:
            return None
        return self.normal.moments(x_num, x_cat, seen_num, seen_cat)

    def seen_features(self, x_num, x_cat, seen_num, seen_cat, embedded=None):
        """Features of seen cells, which are inputs of the networks."""
        layout = self.layout
        parts = []
        if layout.n_categorical:
            owners = tuple(
                column
                for column, block in enumerate(self.feature_slices)
                for _ in range(block.start, block.stop)
                if column < layout.n_categorical
            )
            shown = seen_cat.index_select(1, indices(owners, x_cat.device))
            parts.append(torch.cat(self._categories(x_cat, embedded), 1) * shown)
        if layout.n_numeric:
            parts.append(self.number_features(x_num, seen_num.float()))
        return torch.cat(parts, 1)

    def with_moments(self, features, seen_num, moments):
        """Features, then those of hidden numbers; zeros if there are no moments."""
        if moments is None:
            moments = torch.zeros(2, *seen_num.shape, device=features.device)
        return torch.cat([features, moment_features(~seen_num, moments)], 1)

    # ------------------------------------------------------------------ one column

    def column_hidden(self, position: int, features: Tensor) -> Tensor:
        """Hidden units of the network of one column, shape (n, width)."""
        units = slice(position * self.width, (position + 1) * self.width)
        layer = self.input_layer
        weight = layer.weight[units] * self.mask[units]
        return self._hidden_of(position, F.linear(features, weight, layer.bias[units]))

    # ------------------------------------------------------------------ missing cells

    @torch.no_grad()
    def expected(self, x_num, x_cat, seen_num, seen_cat, u, values):
        """Expected values and most likely codes of cells given the seen ones of a row.

        Parameters
        ----------
        x_num, x_cat : Tensor
        seen_num, seen_cat : Tensor of bool
            Masks of missing numbers are not to be seen.
        u : Tensor of shape (n_steps - 1,)
            Ascending levels of quantiles, which cut each column into steps.
        values : Tensor of shape (n_numeric, n_steps)
            Value of each column in each step.

        Returns
        -------
        means : Tensor of shape (n, n_numeric)
            Expected values of numbers.
        codes : Tensor of shape (n, n_categorical), int64
            Most likely codes, none of which stands for a missing value.
        """
        layout = self.layout
        moments = self.moments(x_num, x_cat, seen_num, seen_cat)
        features = self.seen_features(x_num, x_cat, seen_num, seen_cat)
        features = self.with_moments(features, seen_num, moments)
        hidden = self._hidden(features, None)
        means, codes = torch.zeros_like(x_num), torch.zeros_like(x_cat)
        for column in range(layout.n_categorical):
            logits = self.category_heads.logits(column, hidden[column])
            levels = torch.arange(logits.shape[1], device=logits.device)
            is_missing = levels == self.missing_codes[column]
            codes[:, column] = logits.masked_fill(is_missing, -torch.inf).argmax(1)
        for column in range(layout.n_numeric):
            own_moments = None if moments is None else [m[:, column] for m in moments]
            units = hidden[layout.n_categorical + column]
            masses = self.number_heads.masses(column, units, u, own_moments)
            means[:, column] = (masses * values[column]).sum(1)
        return means, codes

    @torch.no_grad()
    def complete(
        self, x_num, x_cat, seen_num, seen_cat, generator, conditions=None, last=()
    ):
        """Draw the cells that are not seen given the others; no value stays missing.

        Arguments and results are those of :meth:`expected`, but single draws. Columns
        with `conditions` are drawn first, from the part of their distribution that
        meets them, and those at the positions in `last` after all others.
        """
        layout, n, device = self.layout, len(x_num), x_num.device
        masks = [mask for mask in layout.masks if mask >= 0]
        x_num, x_cat = x_num.clone(), x_cat.clone()
        x_cat[:, masks] = 0
        codes, sets = {}, {}
        for column, size in enumerate(layout.cardinalities):
            levels = torch.arange(size, device=device)
            sets[column] = (levels != self.missing_codes[column])[None]
            codes[column] = torch.full((n,), FIRST_SET, device=device)
        conditions = EncodedConditions(n) if conditions is None else conditions
        first = {
            *conditions.codes,
            *(layout.n_categorical + c for c in conditions.bounds),
        }
        conditions = EncodedConditions(
            n,
            {**codes, **conditions.codes},
            {**sets, **conditions.sets},
            conditions.bounds,
        )
        seen = torch.cat([seen_cat, seen_num], 1)
        drawn = CellDraw(self, x_num, x_cat, seen, conditions, generator)
        for rows in order_groups(n, device):
            order = self._random_order(first, generator)
            order = [place for place in order if place not in last] + list(last)
            for position in order:
                if position not in masks:
                    drawn.draw(position, rows & ~seen[:, position])
        return x_num, x_cat

    def _random_order(self, first, generator):
        """Positions of the columns by chance, but those in `first` before others.

        Masks are followed by their numbers: networks know better what the value of a
        number tells than what it tells that there is one.
        """
        device, n_categorical = self.missing_codes.device, self.layout.n_categorical
        ranks = uniform((self.n_columns,), generator, device).tolist()
        for position in first:
            ranks[position] -= 1.0
        for column, mask in enumerate(self.layout.masks):
            if mask >= 0:
                ranks[mask] = ranks[n_categorical + column]
        return sorted(range(self.n_columns), key=ranks.__getitem__)

    # ------------------------------------------------------------------ sampling

    def parts(self, conditions: EncodedConditions) -> list:
        """Parts of a draw, see PARTS; [None] for a draw of all cells at once."""
        return [None] if conditions.is_empty else list(PARTS)

    def needs_particles(self, conditions: EncodedConditions) -> bool:
        """Whether draws have weights, as they do if a condition allows several values.

        A cell with a single value is seen from the start, and all others are drawn
        given it.
        """
        ranges = any(
            bool((bounds[:, 0] < bounds[:, 1]).any() and torch.isfinite(bounds).any())
            for bounds in conditions.bounds.values()
        )
        codes = conditions.codes.values()
        return ranges or any(bool((c <= FIRST_SET).any()) for c in codes)

    @torch.no_grad()
    def sample(
        self,
        conditions,
        generator,
        *,
        begun=None,
        columns=None,
        n_particles=1,
        origins=None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draw rows: cells with conditions first, the others in a random order.

        See :meth:`AutoregressiveModel.sample`; `columns` is one of PARTS or None.
        """
        n, layout, device = len(conditions), self.layout, self.missing_codes.device
        wanted = self._wanted(conditions)
        if begun is None:
            x_num = torch.zeros(n, layout.n_numeric, device=device)
            x_cat = torch.zeros(n, layout.n_categorical, device=device).long()
            seen = torch.zeros(n, self.n_columns, dtype=torch.bool, device=device)
        else:
            x_num, x_cat = (tensor.clone() for tensor in begun)
            seen = wanted.clone()
        drawn = CellDraw(self, x_num, x_cat, seen, conditions, generator)
        if columns in (None, "conditioned"):
            for position in wanted.any(0).nonzero()[:, 0].tolist():
                drawn.draw(position, wanted[:, position])
                if n_particles > 1:
                    drawn.resample(n_particles, origins)
        if columns in (None, "rest"):
            drawn.conditions = EncodedConditions(n)
            is_asked = wanted.any(0).tolist()
            # Numbers of which is known that they are there, and not more.
            first = [
                layout.n_categorical + column
                for column, mask in enumerate(layout.masks)
                if mask >= 0 and is_asked[mask]
            ]
            for rows in order_groups(n, device):
                for position in self._random_order(first, generator):
                    drawn.draw(position, rows & ~seen[:, position])
        return x_num, x_cat, drawn.log_weights

    def _wanted(self, conditions):
        """Cells that have a condition, shape (n, n_columns)."""
        shape, device = (len(conditions), self.n_columns), self.missing_codes.device
        wanted = torch.zeros(shape, dtype=torch.bool, device=device)
        for column, codes in conditions.codes.items():
            wanted[:, column] = codes != ANY_CODE
        for column, bounds in conditions.bounds.items():
            place = self.layout.n_categorical + column
            wanted[:, place] = ~torch.isinf(bounds).all(1)
        return wanted


def moment_features(is_hidden: Tensor, moments) -> Tensor:
    """Features of hidden numbers: their moments, zero of others, (..., 2 * n_numeric).

    Of `moments` the first two count, which have the shape (..., n_numeric), as
    `is_hidden` has.
    """
    return (torch.stack([*moments[:2]], -1) * is_hidden[..., None]).flatten(-2)


def order_groups(n: int, device) -> list[Tensor]:
    """Rows of a draw that share an order of the columns, (n,) bool for each group."""
    n_groups = max(1, min(MAX_ORDERS, n // MIN_ORDER_ROWS))
    groups = torch.arange(n, device=device) % n_groups
    return [groups == group for group in range(n_groups)]
