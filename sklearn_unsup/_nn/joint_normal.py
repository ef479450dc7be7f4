"""JointNormal: numbers, levels and what is missing as one normal distribution."""

import torch
from torch import Tensor, nn

from .._table.layout import TableLayout
from .distributions import indices, presence
from .gaussian import (
    MAX_GAUSSIAN,
    conditional_moments,
    fit_gaussian,
    moments_without,
    precision,
    predictive_factor,
)

# Maximum number of levels that have an indicator beside the numbers, and of missing
# codes that have one.
MAX_INDICATORS = 24
# Minimum number of training rows with and without a code for an indicator of it.
MIN_LEVEL_ROWS = 20
# Minimum correlation of a missing value with a number or a level for an indicator of
# it, and the minimum in standard deviations of what independence gives by chance.
MIN_CORRELATION, MIN_DEVIATIONS = 0.05, 4.5
# Minimum number of rows that independence lets expect with both, for chance to be
# nearly normal.
MIN_EXPECTED = 5.0
# Correlation from which on two columns are missing together: one indicator says it.
MAX_CORRELATION = 0.99
# What is divided by where a column does not vary.
TINY = 1e-12


class JointNormal(nn.Module):
    """Normal distribution of a row's numbers and of indicators of its codes.

    An indicator is 1 where a column has a certain code, else 0. Those of levels have
    missing values, as numbers do. Those of missing codes never do: they say which
    values are missing, where this tells something about others.

    Parameters
    ----------
    layout : TableLayout
        With at least one number.
    missing_codes : Tensor of shape (n_categorical,), int64
        The code of each column of `x_cat` that stands for a missing value, or -1.
    informative_missing : sequence of int, default=()
        Columns of `x_cat` whose missing code has an indicator.
    """

    def __init__(self, layout: TableLayout, missing_codes, informative_missing=()):
        super().__init__()
        self.layout = layout
        self.register_buffer("missing_codes", missing_codes, persistent=False)
        codes = missing_codes.tolist()
        levels = level_indicators(layout, codes)
        missing = [(column, codes[column]) for column in informative_missing]
        self.indicators, self.n_levels = [*levels, *missing], len(levels)
        n = layout.n_numeric + len(self.indicators)
        self.left_out = self._left_out()
        left_out = torch.zeros(len(self.left_out), n)
        for position, own in enumerate(self.left_out):
            left_out[position, list(own)] = 1.0
        self.register_buffer("is_left_out", left_out, persistent=False)
        self.register_buffer("mean", torch.zeros(n))
        self.register_buffer("covariance", torch.eye(n))
        self.register_buffer("is_used", torch.ones(n, dtype=torch.bool))
        self.register_buffer("n_effective", torch.tensor(torch.inf))

    def _left_out(self):
        """Numbers and indicators that each column does not see, by position."""
        layout = self.layout
        left_out = [[] for _ in range(layout.n_categorical + layout.n_numeric)]
        for column, mask in enumerate(layout.masks):
            left_out[layout.n_categorical + column].append(column)
            if mask >= 0:
                left_out[mask].append(column)
        for place, (column, _) in enumerate(self.indicators):
            left_out[column].append(layout.n_numeric + place)
        return [tuple(own) for own in left_out]

    @torch.no_grad()
    def fit(self, x_num: Tensor, x_cat: Tensor, is_present: Tensor):
        """Fit to rows whose missing values are unknown.

        Parameters
        ----------
        x_num, x_cat : Tensor
        is_present : Tensor of shape (n, n_numeric), bool
        """
        first, last = self.layout.n_numeric, self.layout.n_numeric + self.n_levels
        # Those of an earlier fit do not count.
        self.is_used.fill_(True)
        is_known = torch.ones_like(x_cat, dtype=torch.bool)
        joint, is_seen = self.with_indicators(x_num, x_cat, is_present, is_known)
        self.is_used[first:] = has_many(joint[:, first:], is_seen[:, first:])
        # Pairs of numbers that are both present are what a covariance is learnt from.
        self.n_effective.fill_(len(x_num) * is_present.float().mean().item() ** 2)
        is_seen = (is_seen & self.is_used)[:, :last]
        mean, covariance = fit_gaussian(joint[:, :last], is_seen, joint[:, last:])
        self.mean.copy_(mean)
        self.covariance.copy_(covariance)

    def with_indicators(self, x_num, x_cat, seen_num, seen_cat):
        """Numbers, then 1 for each code that a row has and 0 for others; what is seen.

        Two tensors of shape (n, n_numeric + n_indicators).
        """
        if not self.indicators:
            return x_num, seen_num
        columns, codes = (
            indices(part, x_num.device) for part in zip(*self.indicators, strict=True)
        )
        own = x_cat.index_select(1, columns)
        # Which level a column has is not known where its value is missing.
        is_unknown = own == self.missing_codes[columns]
        is_unknown[:, self.n_levels :] = False
        is_seen = seen_cat.index_select(1, columns) & ~is_unknown
        has_code = (own == codes).to(x_num.dtype)
        return (
            torch.cat([x_num, has_code], 1),
            torch.cat([seen_num, is_seen], 1) & self.is_used,
        )

    def moments(self, x_num, x_cat, seen_num, seen_cat):
        """Means and deviations of the numbers given what is seen.

        And what is added to the gates of histograms: three tensors of shape
        (n, n_numeric).
        """
        joint, is_seen, *arrays = self._joint(x_num, x_cat, seen_num, seen_cat)
        means, deviations = (
            moment[:, : self.layout.n_numeric]
            for moment in conditional_moments(joint, is_seen, *arrays)
        )
        return self._predictive(means, deviations, is_seen.sum(1))

    def moments_without_own(self, x_num, x_cat, seen_num, seen_cat):
        """What :meth:`moments` gives if a column does not see itself, by column.

        Tensors of shape (n_columns, n, n_numeric). A mask does not see its number.
        """
        joint, is_seen, *arrays = self._joint(x_num, x_cat, seen_num, seen_cat)
        means, deviations = moments_without(
            joint, is_seen, *arrays, self.left_out, self.layout.n_numeric
        )
        n_left_out = self.is_left_out @ is_seen.t().float()
        return self._predictive(means, deviations, is_seen.sum(1) - n_left_out)

    def _joint(self, x_num, x_cat, seen_num, seen_cat):
        """Numbers and indicators, which are seen, and their mean and covariance."""
        dtype = precision(x_num.device)
        joint = self.with_indicators(x_num, x_cat, seen_num, seen_cat)
        return *joint, self.mean.to(dtype), self.covariance.to(dtype)

    def _predictive(self, means, deviations, n_seen):
        if not self.training:
            # It is nearer to the rows that it was fitted to than to others.
            factor = predictive_factor(self.n_effective, n_seen.float())
            deviations = deviations * factor.sqrt()[..., None]
        # Histograms know nothing of the normal distribution: the odds of one are in
        # proportion to the variance that is left.
        return means, deviations, 2.0 * deviations.log()


@torch.no_grad()
def informative_missing(
    layout: TableLayout, missing_codes, x_num: Tensor, x_cat: Tensor
) -> list[int]:
    """Columns of `x_cat` whose missing values tell something about other columns.

    Those that correlate with a number or with a level, the strongest first. Of columns
    that are missing together one stands for all.

    Parameters
    ----------
    layout : TableLayout
        With at least one number.
    missing_codes : sequence of int
        See :class:`JointNormal`; those of masks do not count.
    x_num, x_cat : Tensor
        Some thousand rows.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> x_num = torch.randn(500, 3, generator=generator)
    >>> # The second number is missing where the first is large, the third anywhere.
    >>> is_missing = torch.stack([x_num[:, 0] > 1, torch.arange(500) % 3 == 0], 1)
    >>> layout = TableLayout(3, (2, 2), masks=(-1, 0, 1))
    >>> informative_missing(layout, (), x_num, is_missing.long())
    [0]
    """
    codes = codes_of_missing(layout, missing_codes)
    if not (codes >= 0).any():
        return []
    # On the CPU, which has float64 wherever a table is.
    x_num, x_cat = x_num.cpu(), x_cat.cpu()
    normal = JointNormal(layout, codes)
    known = torch.ones_like(x_cat, dtype=torch.bool)
    joint, is_seen = normal.with_indicators(
        x_num, x_cat, is_number_present(layout, x_cat), known
    )
    levels = slice(layout.n_numeric, None)
    is_seen[:, levels] &= has_many(joint[:, levels], is_seen[:, levels])
    absent = (x_cat == codes).double()
    strengths = correlations_with(absent, joint.double(), is_seen, layout.n_numeric)
    strengths[~has_many(absent, known)] = 0.0
    order = strengths.argsort(descending=True, stable=True)
    order = order[strengths[order] >= MIN_CORRELATION]
    if not len(order):
        return []
    alike = absent[:, order].T.corrcoef().abs().view(len(order), len(order))
    chosen = []
    for place in range(len(order)):
        if not chosen or alike[place, chosen].max() < MAX_CORRELATION:
            chosen.append(place)
    room = min(MAX_INDICATORS, MAX_GAUSSIAN - joint.shape[1])
    return order[chosen].tolist()[:room]


def correlations_with(absent: Tensor, joint: Tensor, is_seen: Tensor, n_numeric: int):
    """Largest correlation of each column with others that chance does not explain.

    Parameters
    ----------
    absent : Tensor of shape (n, n_absent)
        1 where a value is missing, else 0.
    joint, is_seen : Tensor of shape (n, n_others)
        Numbers, then indicators of levels; where they count.
    n_numeric : int
    """
    weights = is_seen.double()
    n = weights.sum(0)[:, None].clamp_min(1.0)
    means = (joint * weights).sum(0)[:, None] / n
    centred = (joint - means.T) * weights
    rates = weights.T @ absent / n
    variances = centred.square().sum(0)[:, None] * (rates * (1.0 - rates)) * n
    # A number says nothing of its own mask, as it is there whenever it is looked at.
    correlations = (centred.T @ absent / variances.clamp_min(TINY).sqrt()).abs()
    is_sure = correlations * n.sqrt() > MIN_DEVIATIONS
    is_sure[n_numeric:] &= (n * means * rates)[n_numeric:] >= MIN_EXPECTED
    return (correlations * is_sure).amax(0)


def has_many(has_code: Tensor, is_known: Tensor) -> Tensor:
    """Whether enough rows have a code, and enough have another one, by column."""
    n_with = (has_code * is_known).sum(0)
    return torch.minimum(n_with, is_known.sum(0) - n_with) >= MIN_LEVEL_ROWS


def codes_of_missing(layout: TableLayout, missing_codes=()) -> Tensor:
    """The code of a missing value of each column, -1 for none; 1 for masks."""
    codes = [*missing_codes, *[-1] * layout.n_categorical][: layout.n_categorical]
    for mask in layout.masks:
        if mask >= 0:
            codes[mask] = 1
    return torch.tensor(codes, dtype=torch.int64)


def is_number_present(layout: TableLayout, x_cat: Tensor) -> Tensor:
    """Which numbers are not missing, shape (n, n_numeric), bool."""
    present = presence(layout, x_cat)
    if present is None:
        shape = len(x_cat), layout.n_numeric
        return torch.ones(shape, dtype=torch.bool, device=x_cat.device)
    return present.bool()


def level_indicators(layout: TableLayout, missing_codes=()) -> list[tuple[int, int]]:
    """Levels that have an indicator beside the numbers, each by its column and code.

    All but the most frequent one of a column, of the columns with the fewest levels.
    """
    codes = codes_of_missing(layout, missing_codes).tolist()
    most = min(MAX_INDICATORS, MAX_GAUSSIAN - layout.n_numeric)
    found = []
    for size, column in sorted(
        (size, column)
        for column, size in enumerate(layout.cardinalities)
        if column not in layout.masks
    ):
        levels = [code for code in range(size) if code != codes[column]][1:]
        if len(found) + len(levels) > most:
            break
        found += [(column, code) for code in levels]
    return found
