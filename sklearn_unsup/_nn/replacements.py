"""What a row would gain if one of its cells held its likeliest value instead."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .autoregressive import AutoregressiveModel
from .distributions import TableDistribution, one_hot_index, presence


@dataclass
class Candidates:
    """Values that a cell of one column of the table may be replaced by.

    Parameters
    ----------
    numbers, codes : tuple or None
        Of each candidate the encoded number and the code; None where the column has
        none. A column of numbers with missing values has both.
    number, category : int
        Columns of `x_num` and `x_cat` that hold them.
    log_weights : tuple or None
        What to add to the log-likelihood of each candidate in the sum over all values:
        a quantile of a number stands for those around it. None adds nothing.
    """

    numbers: tuple | None = None
    codes: tuple | None = None
    number: int = -1
    category: int = -1
    log_weights: tuple | None = None

    def __len__(self) -> int:
        return len(self.numbers if self.codes is None else self.codes)

    @property
    def n_present(self) -> int:
        """How many of the candidates are numbers, which come first and ascend."""
        return 0 if self.numbers is None else len(self) - sum(self.codes or ())

    def put(self, x_num: Tensor, x_cat: Tensor) -> tuple[Tensor, Tensor]:
        """Rows as they are, then all of them with the first candidate, and so on."""
        n = len(x_num)
        x_num, x_cat = (x.repeat(len(self) + 1, 1) for x in (x_num, x_cat))
        if self.codes is not None:
            codes = torch.tensor(self.codes, device=x_cat.device)
            x_cat[n:, self.category] = codes.repeat_interleave(n)
        if self.numbers is not None:
            numbers = torch.tensor(self.numbers, device=x_num.device).float()
            x_num[n:, self.number] = numbers.repeat_interleave(n)
        return x_num, x_cat

    def judge(self, joint: Tensor, x_cat: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, expected candidate and surprise of a cell, shape (n,) each.

        Parameters
        ----------
        joint : Tensor of shape (n_candidates + 1, n)
            Log-likelihoods, up to a constant, of the rows that :meth:`put` makes.
        x_cat : Tensor
        """
        own, weighted = joint[0], joint[1:]
        gain = (weighted - own).amax(0)
        if self.log_weights is not None:
            log_weights = torch.tensor(self.log_weights, device=joint.device)
            weighted = weighted + log_weights.float()[:, None]
        expected = torch.where(gain > 0, self._expected(weighted), -1)
        total = weighted.logsumexp(0)
        if self.numbers is None:
            # A level that is no candidate is one of all values nevertheless.
            is_other = x_cat[:, self.category] >= len(self)
            total = torch.where(is_other, torch.logaddexp(total, own), total)
        return -gain.clamp_min(0.0), expected, total - own

    def _expected(self, weighted: Tensor) -> Tensor:
        """The likeliest level; of numbers the median, which no gap can hold."""
        n_present = self.n_present
        if not n_present:
            return weighted.argmax(0)
        below = weighted[:n_present].softmax(0).cumsum(0) < 0.5
        median = below.sum(0).clamp_max(n_present - 1)
        if n_present == len(self):
            return median
        is_gap = weighted[n_present:].logsumexp(0) > weighted[:n_present].logsumexp(0)
        return torch.where(is_gap, n_present, median)


@torch.no_grad()
def replacement_losses(
    model: AutoregressiveModel, x_num: Tensor, x_cat: Tensor, columns
) -> tuple[Tensor, Tensor, Tensor]:
    """Nats that each cell costs its row against the best of its candidates.

    All other cells of the row count, those before it and those after it: a loss is a
    ratio of the column's exact conditional given all others. Numbers are compared by
    their density against N(0, 1), which is what they have been encoded to.

    Parameters
    ----------
    model : AutoregressiveModel
        In evaluation mode.
    x_num, x_cat : Tensor
    columns : sequence of Candidates
        One for each column of the table that varies.

    Returns
    -------
    losses : Tensor of shape (n, n_columns)
        Zero, or negative.
    expected : Tensor of shape (n, n_columns), int64
        Which candidate the others let expect; -1 if none is likelier than the cell.
    surprises : Tensor of shape (n, n_columns)
        Minus the log-probability of each cell given all others: of the row less that
        of the sum over all candidates.
    """
    features = model.features(x_num, x_cat, presence(model.layout, x_cat))
    inputs = F.linear(features, model.input_layer.weight, model.input_layer.bias)
    given, answers = (features, inputs), []
    for candidates in columns:
        joint = candidate_log_probs(model, given, x_num, x_cat, candidates)
        answers.append(candidates.judge(joint, x_cat))
    return tuple(torch.stack(parts, 1) for parts in zip(*answers, strict=True))


@torch.no_grad()
def scored_replacements(
    score, x_num: Tensor, x_cat: Tensor, columns
) -> tuple[Tensor, Tensor, Tensor]:
    """The same as :func:`replacement_losses` of any model that scores whole rows.

    Parameters
    ----------
    score : callable
        Takes `x_num` and `x_cat` and returns the log-likelihoods of rows, shape (n,).
    x_num, x_cat : Tensor
    columns : sequence of Candidates
    """
    answers = []
    for candidates in columns:
        joint = score(*candidates.put(x_num, x_cat)).view(-1, len(x_num))
        answers.append(candidates.judge(joint, x_cat))
    return tuple(torch.stack(parts, 1) for parts in zip(*answers, strict=True))


def candidate_log_probs(model, given, x_num, x_cat, candidates) -> Tensor:
    """Log-likelihood of rows as they are, and with each candidate, up to a constant.

    Shape (n_candidates + 1, n). Columns before the changed one are left out, as the
    candidates do not change their terms. `given` are the features of the rows as they
    are, and the inputs of all columns' networks, which are linear in these.
    """
    features, inputs = given
    n, n_categorical = len(x_num), model.layout.n_categorical
    x_num, x_cat = candidates.put(x_num, x_cat)
    positions = []
    if candidates.codes is not None:
        positions.append(candidates.category)
    if candidates.numbers is not None:
        positions.append(n_categorical + candidates.number)
    present, start = presence(model.layout, x_cat), min(positions)
    units = slice(start * model.width, None)
    inputs = inputs[:, units].repeat(len(candidates) + 1, 1)
    features = features.repeat(len(candidates) + 1, 1)
    for position in positions:
        place = model.feature_slices[position]
        if position < n_categorical:
            changed = model.category_features(position, x_cat[:, position])
        else:
            number = position - n_categorical
            own = None if present is None else present[:, number]
            changed = model.number_features.of_column(number, x_num[:, number], own)
        change = changed - features[:, place]
        features[:, place] = changed
        inputs += F.linear(change, model.input_layer.weight[units, place])
    given = features, inputs
    total = later_log_prob(model, given, start, x_num, x_cat, present)
    if candidates.numbers is not None:
        density = 0.5 * x_num[:, candidates.number].square()
        if present is not None:
            density = density * present[:, candidates.number]
        total = total + density
    return total.view(-1, n)


def later_log_prob(model, given, start, x_num, x_cat, present) -> Tensor:
    """Log-probability of the columns from `start` on given those before, shape (n,).

    Parameters
    ----------
    model : AutoregressiveModel
    given : tuple of Tensor
        Features of the rows, and what their networks' first layers get, of shape
        (n, n_later * width).
    start : int
    x_num, x_cat, present : Tensor
    """
    n_categorical, (features, inputs) = model.layout.n_categorical, given
    hidden = F.silu(inputs).unflatten(1, (-1, model.width)).transpose(0, 1)
    after = torch.baddbmm(
        model.hidden_bias[start:], hidden.contiguous(), model.hidden_layer[start:]
    )
    hidden = hidden + F.silu(after)
    total = inputs.new_zeros(len(inputs))
    for column in range(start, n_categorical):
        units = hidden[column - start]
        logits = model.category_heads.logits(column, units, features)
        codes = x_cat[:, column, None]
        total = total + logits.log_softmax(1).gather(1, codes)[:, 0]
    first = max(start - n_categorical, 0)
    if first == model.layout.n_numeric:
        return total
    heads = model.number_heads
    units = hidden[n_categorical + first - start :].contiguous()
    moments = model._moments(features)
    if moments is not None:
        moments = tuple(moment[first:] for moment in moments)
    present = None if present is None else present[:, first:]
    return total + heads.log_prob(units, x_num[:, first:], present, moments, first)


def reconstruction_losses(
    distribution: TableDistribution, x_num: Tensor, x_cat: Tensor
) -> tuple[Tensor, Tensor]:
    """Nats that each cell costs against the value that it is rebuilt as.

    Zero, or negative. Shapes: (n, n_numeric) and (n, n_categorical).
    """
    layout = distribution.layout
    if distribution.log_scale is None:
        logits = distribution.location
        of_numbers = x_num * logits - logits.clamp_min(0.0)
    else:
        precision = torch.exp(-distribution.log_scale)
        of_numbers = -0.5 * ((x_num - distribution.location) * precision).square()
    present = presence(layout, x_cat)
    if present is not None:
        of_numbers = of_numbers * present
    of_categories = torch.zeros_like(x_cat, dtype=torch.float32)
    if layout.n_categorical:
        logits = distribution.logits
        own = logits.gather(1, one_hot_index(x_cat, layout))
        best = [logits[:, block].amax(1) for block in layout.category_slices]
        of_categories = own - torch.stack(best, 1)
    return of_numbers, of_categories
