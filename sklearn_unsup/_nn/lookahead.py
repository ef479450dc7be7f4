"""Draws that look ahead: earlier columns are drawn with regard to later conditions."""

import torch
from torch import Tensor

from .._table.layout import EncodedConditions, TableLayout
from .conditions import is_point
from .distributions import one_hot_block
from .gaussian import precision

# Maximum number of levels of a column that is looked ahead from, of numbers that are
# looked ahead to, and of all that the normal distribution is of.
MAX_LEVELS, MAX_TARGETS, MAX_WIDTH = 32, 32, 512
# Factor of the variances of the normal distribution. Rows may differ in theirs, and
# what is drawn too widely costs less than what is drawn too narrowly.
INFLATION = 2.0
# Least variance that a target has after the columns before it, and what is added to the
# variances of a column whose covariance is inverted.
MIN_VARIANCE, RIDGE = 1e-4, 1e-6
# Precision below which what a number is makes no difference to later conditions.
MIN_PRECISION = 1e-3
# Logarithm of the least weight of particles in a resampling that looks ahead.
LOG_LEAST = -10.0
# Least probability of a level that a regression on the columns before it says.
MIN_PROBABILITY = 1e-3


class Lookahead:
    """How columns that will have conditions depend on the columns before them.

    A column that is drawn before one with a condition on a single value is drawn
    without regard to it, and weighted later. Where it nearly determines that value
    hardly any particle is right. What a normal distribution of numbers and indicators
    of levels says of the value, given the columns drawn so far, is a factor that such a
    draw may be tilted by (twisted particle filters, Whiteley and Lee 2014). It changes
    how particles are spread, never the distribution that they and their weights stand
    for.

    Parameters
    ----------
    layout : TableLayout
    x_num, x_cat : Tensor
        Rows that the model has drawn without conditions.
    targets : sequence of int
        Numeric columns that will have conditions on single values.
    codes : sequence of int, default=()
        Categorical columns that will have conditions on single levels.
    """

    def __init__(
        self, layout: TableLayout, x_num: Tensor, x_cat: Tensor, targets, codes=()
    ):
        self.layout, self.targets, self.codes = layout, list(targets), list(codes)
        dtype = precision(x_num.device)
        parts, self.blocks, width = [], [], 0
        for column, size in enumerate(layout.cardinalities):
            own = size if size <= MAX_LEVELS else 0
            if own:
                parts.append(one_hot_block(x_cat[:, column], size))
            self.blocks.append(slice(width, width + own))
            width += own
        for column in range(layout.n_numeric):
            parts.append(x_num[:, column : column + 1])
            self.blocks.append(slice(width, width + 1))
            width += 1
        x = torch.cat(parts, 1).to(dtype)
        self.mean = x.mean(0).float()
        covariance = x.T.cov()
        places = [self.blocks[layout.n_categorical + t].start for t in self.targets]
        self.places = torch.tensor(places, dtype=torch.int64, device=x.device)
        # After each column: by how much it moves the expectation of all others, and the
        # covariance of the targets that is left.
        self.gains, self.covariances = [], []
        for block in self.blocks:
            own = covariance[block, block]
            ridge = RIDGE * torch.eye(len(own), dtype=dtype, device=x.device)
            factor, _ = torch.linalg.cholesky_ex(own + ridge)
            gain = torch.cholesky_solve(covariance[block], factor).T
            covariance = covariance - gain @ covariance[block]
            self.gains.append(gain.float())
            left = covariance[self.places][:, self.places]
            left = INFLATION * left + MIN_VARIANCE * torch.eye(
                len(left), dtype=dtype, device=x.device
            )
            self.covariances.append(left)

    @staticmethod
    def columns_of(
        conditions: EncodedConditions, layout: TableLayout
    ) -> tuple[list[int], list[int]]:
        """Numeric and categorical columns with conditions that can be looked ahead to.

        They are on single values, and after a column that may have several ones.

        Parameters
        ----------
        conditions : EncodedConditions
            Of numpy arrays or tensors.
        layout : TableLayout
        """
        n_levels = sum(size for size in layout.cardinalities if size <= MAX_LEVELS)
        if n_levels + layout.n_numeric > MAX_WIDTH:
            return [], []
        is_free, numbers, codes = False, [], []
        for column, size in enumerate(layout.cardinalities):
            wanted = conditions.codes.get(column)
            if is_free and size <= MAX_LEVELS and wanted is not None:
                codes += [column] if bool((wanted >= 0).any()) else []
            is_free |= wanted is None or not bool((wanted >= 0).all())
        for column in range(layout.n_numeric):
            bounds = conditions.bounds.get(column)
            if bounds is None:
                is_free = True
                continue
            point = is_point(*torch.as_tensor(bounds).unbind(1))
            if is_free and bool(point.any()):
                numbers.append(column)
            is_free |= not bool(point.all())
        return numbers[:MAX_TARGETS], codes


class LookaheadDraw:
    """What is expected of the targets of rows that are being drawn.

    Parameters
    ----------
    lookahead : Lookahead
    conditions : EncodedConditions
        Tensors on the device, for each row.
    """

    def __init__(self, lookahead: Lookahead, conditions: EncodedConditions):
        self.lookahead, n = lookahead, len(conditions)
        mean = lookahead.mean
        self.expected = mean.expand(n, -1).clone()
        wanted, asked = [], []
        for column in lookahead.targets:
            low, high = conditions.bounds[column].unbind(1)
            point = is_point(low, high)
            wanted.append(torch.where(point, (low + high) / 2, 0.0))
            asked.append(point)
        if wanted:
            self.wanted = torch.stack(wanted, 1)
            # Rows with conditions on the same columns share their matrices.
            asked = torch.stack(asked, 1)
            self.patterns, self.pattern = asked.unique(dim=0, return_inverse=True)
        else:
            self.patterns = torch.zeros(1, 0, dtype=torch.bool, device=mean.device)
        self.codes = {column: conditions.codes[column] for column in lookahead.codes}

    def _whitening(self, position: int) -> Tensor | None:
        """Of each pattern a root of the precision of targets after a column.

        Shape (n_patterns, n_targets, n_targets), zero for those that no row of the
        pattern will have a condition on; None after the last target.
        """
        ahead = self.lookahead
        last_number = position - ahead.layout.n_categorical
        later = [target > last_number for target in ahead.targets]
        if not any(later):
            return None
        open_ = self.patterns & torch.tensor(later, device=self.patterns.device)
        covariance = ahead.covariances[position]
        mask = open_.to(covariance.dtype)
        systems = covariance * mask[:, :, None] * mask[:, None, :]
        systems = systems + torch.diag_embed(1.0 - mask)
        factors, _ = torch.linalg.cholesky_ex(systems)
        roots = torch.linalg.solve_triangular(
            factors, torch.diag_embed(mask), upper=False
        )
        return roots.float()

    def _away(self) -> Tensor:
        """By how much what is wanted of targets departs from the expectation."""
        return self.wanted - self.expected[:, self.lookahead.places]

    def _whitened(self, roots: Tensor, vectors: Tensor) -> Tensor:
        """Vectors of targets (n, n_targets), multiplied by the roots of their rows."""
        if len(roots) == 1:
            return vectors @ roots[0].T
        return torch.einsum("nij,nj->ni", roots[self.pattern], vectors)

    def of_levels(self, column: int) -> Tensor | None:
        """Logarithms of the factors of levels (n, n_levels); None if all are alike."""
        ahead = self.lookahead
        block, gain = ahead.blocks[column], ahead.gains[column]
        if block.stop == block.start:
            return None
        factors, roots = None, self._whitening(column)
        if roots is not None:
            moves = gain[ahead.places]
            base = self._away() + self.expected[:, block] @ moves.T
            base = self._whitened(roots, base)
            moves = (roots @ moves)[self.pattern]
            factors = -0.5 * (base[:, :, None] - moves).square().sum(1)
        for codes, places in self._later_levels(column):
            moves = gain[places]
            own = self.expected.gather(1, places[:, None])
            own = own + moves - (moves * self.expected[:, block]).sum(1, keepdim=True)
            logs = log_probability(own, codes[:, None])
            factors = logs if factors is None else factors + logs
        return factors

    def _later_levels(self, position):
        """Conditions on columns of levels after a position: codes, and their places."""
        for column, codes in self.codes.items():
            if column > position:
                start = self.lookahead.blocks[column].start
                yield codes, start + codes.clamp_min(0)

    def of_number(self, column: int) -> tuple[Tensor, Tensor] | None:
        """Precision and centre of the normal factor of a number, both of shape (n,).

        None where it makes no difference.
        """
        ahead = self.lookahead
        position = ahead.layout.n_categorical + column
        roots, place = self._whitening(position), ahead.blocks[position].start
        if roots is None:
            return None
        gain = ahead.gains[position][ahead.places, 0]
        moves = roots @ gain
        precisions = moves.square().sum(1)
        if not (precisions > MIN_PRECISION).any():
            return None
        base = self._whitened(
            roots, self._away() + self.expected[:, place, None] * gain
        )
        precisions = precisions[self.pattern]
        centres = (base * moves[self.pattern]).sum(1) / precisions.clamp_min(1e-12)
        is_idle = precisions <= MIN_PRECISION
        return precisions.masked_fill(is_idle, 0.0), centres.masked_fill(is_idle, 0.0)

    def log_value(self, position: int) -> Tensor | None:
        """Logarithm of what a row is worth to the conditions after a column, (n,).

        None where there are no more conditions.
        """
        total, roots = None, self._whitening(position)
        if roots is not None:
            total = -0.5 * self._whitened(roots, self._away()).square().sum(1)
            total = total.clamp_min(LOG_LEAST)
        for codes, places in self._later_levels(position):
            own = self.expected.gather(1, places[:, None])[:, 0]
            logs = log_probability(own, codes)
            total = logs if total is None else total + logs
        return total

    def see(self, position: int, values: Tensor):
        """Take note of a column that has been drawn: codes or numbers, shape (n,)."""
        ahead = self.lookahead
        block = ahead.blocks[position]
        if block.stop == block.start:
            return
        own = values[:, None]
        if position < ahead.layout.n_categorical:
            own = one_hot_block(values, block.stop - block.start)
        surprise = own - self.expected[:, block]
        self.expected = torch.addmm(self.expected, surprise, ahead.gains[position].T)


def log_probability(expected: Tensor, codes: Tensor) -> Tensor:
    """Logarithm of the expectation of a level's indicator; 0 without a condition."""
    logs = expected.clamp(MIN_PROBABILITY, 1.0).log()
    return torch.where(codes >= 0, logs, 0.0)
