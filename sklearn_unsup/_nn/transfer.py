"""Networks that start from those of another table, column by column."""

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .autoregressive import AutoregressiveModel, every_nth
from .distributions import presence
from .heads import N_NORMALS, NumberHeads
from .layers import ResidualMLP

# First part of the keys of features beside an embedding, which say the level.
LEVELS = object()
# Numbers of rows that what a source says of the frequencies of levels may count as.
PRIOR_ROWS = tuple(10.0 ** (power / 2) for power in range(11))


@dataclass(frozen=True)
class ColumnKeys:
    """What the columns and levels of an encoded table are called.

    Columns of two tables are the same if their keys are equal, and so are levels.

    Parameters
    ----------
    numbers : list of hashable
        Of the columns of `x_num`.
    categories : list of hashable
        Of the columns of `x_cat`.
    levels : list of list of hashable
        Of each column of `x_cat`: what its codes stand for.
    shares : list of Tensor
        Of each column of `x_cat`: the share of the rows that each code has.
    """

    numbers: list
    categories: list
    levels: list
    shares: list

    @property
    def outputs(self) -> list:
        """Keys of a decoder's outputs: numbers, then one for each level."""
        pairs = zip(self.categories, self.levels, strict=True)
        return [*self.numbers, *((key, level) for key, own in pairs for level in own)]


@dataclass(frozen=True)
class InputBlock:
    """Neighbouring inputs of a network that say the value of one column.

    Parameters
    ----------
    place : slice
    mean : Tensor
        Their expected values.
    levels : list of hashable or None, default=None
        Of a category: what its codes stand for.
    shares : Tensor or None, default=None
        Of a category: how frequent they are.
    embedding : Embedding or None, default=None
        Of a category that has one.
    """

    place: slice
    mean: Tensor
    levels: list[Hashable] | None = None
    shares: Tensor | None = None
    embedding: nn.Embedding | None = None


def matching(target: list, source: list) -> tuple[Tensor, Tensor]:
    """Places of the keys that two lists share, in each of them."""
    places = {key: place for place, key in enumerate(source)}
    pairs = [(place, places[key]) for place, key in enumerate(target) if key in places]
    both = torch.tensor(pairs, dtype=torch.int64).view(-1, 2)
    return both[:, 0], both[:, 1]


# ---------------------------------------------------------------------- inputs


def plain_blocks(keys: list) -> dict:
    """One input for each key, of mean 0."""
    return {
        key: InputBlock(slice(place, place + 1), torch.zeros(1))
        for place, key in enumerate(keys)
    }


def table_blocks(columns: ColumnKeys) -> dict:
    """Inputs of an encoder: numbers, and one-hot blocks."""
    blocks, start = plain_blocks(columns.numbers), len(columns.numbers)
    for key, levels, shares in zip(
        columns.categories, columns.levels, columns.shares, strict=True
    ):
        place = slice(start, start + len(levels))
        blocks[key] = InputBlock(place, shares, levels, shares)
        start = place.stop
    return blocks


def feature_blocks(model: AutoregressiveModel, columns: ColumnKeys) -> dict:
    """Inputs of an autoregressive model: the features of its columns."""
    blocks = {}
    n_categorical = len(columns.categories)
    for column, (key, levels, shares) in enumerate(
        zip(columns.categories, columns.levels, columns.shares, strict=True)
    ):
        place, known, mean = model.level_slices[column], key, shares
        if str(column) in model.embeddings:
            embedding, own = model.embeddings[str(column)], model.embedded_slice(column)
            expected = shares @ embedding.weight.detach().cpu()
            blocks[key] = InputBlock(own, expected, levels, shares, embedding)
            # Only frequent levels have features of their own, too.
            n_levels, known = place.stop - place.start, (LEVELS, key)
            levels, mean = levels[:n_levels], shares[:n_levels]
            shares = torch.zeros_like(mean)  # Other levels have weights of zero.
        blocks[known] = InputBlock(place, mean, levels, shares)
    for column, key in enumerate(columns.numbers):
        place = model.feature_slices[n_categorical + column]
        blocks[key] = InputBlock(place, model.number_features.mean(column))
    n_shared = model.n_shared_features // max(1, len(columns.numbers))
    start = model.feature_slices[-1].stop if model.feature_slices else 0
    for key in columns.numbers if n_shared else ():
        place = slice(start, start + n_shared)
        blocks["moments", key] = InputBlock(place, torch.zeros(n_shared))
        start = place.stop
    return blocks


def carried_weights(weight: Tensor, target: dict, source: dict) -> tuple:
    """Weights of a layer for the inputs of another table, and what its bias gains.

    A column that is gone counts as if it had its mean, and a level that is new as the
    mean of those that are known. Columns that are new have weights of zero, so that
    the layer's outputs are at first what they were.

    Parameters
    ----------
    weight : Tensor of shape (n_units, n_source_inputs)
    target, source : dict of {hashable: InputBlock}

    Returns
    -------
    weight : Tensor of shape (n_units, n_target_inputs)
    bias : Tensor of shape (n_units,)
    """
    n_inputs = max(block.place.stop for block in target.values())
    new = weight.new_zeros(len(weight), n_inputs)
    bias = weight.new_zeros(len(weight))
    for key, old in source.items():
        own, known = weight[:, old.place], target.get(key)
        if known is None and isinstance(key, tuple) and key[0] is LEVELS:
            known = target.get(key[1])  # Now all levels have features.
        if known is None:
            bias += own @ old.mean.to(own)
            continue
        if known.embedding is not None and old.embedding is None:
            # Now only frequent levels have: the others count as the mean of all.
            known, mean = target[LEVELS, key], own @ old.mean.to(own)
            own, bias = own - mean[:, None], bias + mean
        if known.embedding is None and known.levels is not None:
            if old.embedding is not None:
                own = own @ old.embedding.weight.to(own).t()
            own = by_level(own.t(), known.levels, old).t()
        new[:, known.place] += own
    return new, bias


def by_level(rows: Tensor, levels: list, old: InputBlock) -> Tensor:
    """Rows of known levels for a list of levels; new ones have their mean."""
    mean = old.shares.to(rows) @ rows
    own, known = matching(levels, old.levels)
    new = mean.repeat(len(levels), 1)
    new[own] = rows[known.to(rows.device)]
    return new


# ---------------------------------------------------------------------- networks


@torch.no_grad()
def start_perceptron(
    target: nn.Module, source: nn.Module, inputs: tuple, outputs: tuple
) -> bool:
    """Start a multilayer perceptron from another one; return whether that is possible.

    Parameters
    ----------
    target, source : Module
        Only two :class:`ResidualMLP` of the same hidden layers fit together.
    inputs : tuple of dict of {hashable: InputBlock}
        Those of target and source.
    outputs : tuple of list of hashable
        Keys of the outputs of target and source. New outputs stay as they are.
    """
    if not isinstance(target, ResidualMLP) or not isinstance(source, ResidualMLP):
        return False
    sizes = [hidden_sizes(net) for net in (target, source)]
    if sizes[0] != sizes[1] or bool(target.n_path) != bool(source.n_path):
        return False
    rows = matching(*outputs)
    layers, old_layers = ([*net.hidden, net.output] for net in (target, source))
    for depth, (layer, old) in enumerate(zip(layers, old_layers, strict=True)):
        own, known = torch.arange(len(layer.weight)), torch.arange(len(old.weight))
        if layer is target.output:
            own, known = rows
        elif depth == 0 and target.n_path:
            units = torch.arange(sizes[0][0])
            own, known = (torch.cat([units, len(units) + part]) for part in rows)
        weight = old.weight[known.to(old.weight.device)].to(layer.weight)
        bias = 0.0
        if depth == 0:
            weight, bias = carried_weights(weight, *inputs)
        own = own.to(layer.weight.device)
        if depth == 0 and target.n_path:
            # What is new among the outputs of a linear path starts at its bias.
            layer.weight[len(units) :] = 0.0
        layer.weight[own] = weight
        if layer.bias is not None:
            old_bias = old.bias[known.to(old.bias.device)].to(layer.bias)
            layer.bias[own] = old_bias + bias
    return True


def hidden_sizes(net: ResidualMLP) -> list[int]:
    """Widths of the hidden layers, without the linear path beside the first one."""
    widths = [layer.out_features for layer in net.hidden]
    if widths:
        widths[0] -= net.n_path
    return widths


@torch.no_grad()
def start_rows(
    target: AutoregressiveModel,
    source: AutoregressiveModel,
    columns: tuple[ColumnKeys, ColumnKeys],
    afresh: frozenset = frozenset(),
) -> bool:
    """Start an autoregressive model from another one; return whether that is possible.

    The networks of columns that both have are copied. Those of others, and of the
    columns with keys in `afresh`, stay as they are.
    """
    if type(target) is not type(source) or target.width != source.width:
        return False
    blocks = [
        feature_blocks(model, keys)
        for model, keys in zip((target, source), columns, strict=True)
    ]
    for key, block in blocks[0].items():
        old = blocks[1].get(key)
        if old and block.embedding is not None and old.embedding is not None:
            rows = old.embedding.weight.to(block.embedding.weight)
            block.embedding.weight.copy_(by_level(rows, block.levels, old))
    keys = [[*part.categories, *part.numbers] for part in columns]
    layer, device = target.input_layer, target.input_layer.weight.device
    width, n_categorical = target.width, [len(part.categories) for part in columns]
    for own, known in zip(*(part.tolist() for part in matching(*keys)), strict=True):
        if keys[0][own] in afresh:
            continue
        units, old_units = (slice(p * width, (p + 1) * width) for p in (own, known))
        old_weight = source.input_layer.weight[old_units].to(device)
        weight, bias = carried_weights(old_weight, *blocks)
        layer.weight[units] = weight * target.mask[units]
        layer.bias[units] = source.input_layer.bias[old_units].to(device) + bias
        target.hidden_layer[own] = source.hidden_layer[known].to(device)
        target.hidden_bias[own] = source.hidden_bias[known].to(device)
        if own < n_categorical[0]:
            heads = target.category_heads, source.category_heads
            levels = columns[0].levels[own], columns[1].levels[known]
            start_category(*heads, (own, known), levels)
            if heads[0].linear is not None:
                start_logistic(target, source, (own, known), levels, blocks)
        else:
            heads = target.number_heads, source.number_heads
            places = own - n_categorical[0], known - n_categorical[1]
            start_number(*heads, *places)
            if target.linear is not None:
                start_regression(target, source, places, blocks)
    return True


def start_departures(target, source, places, blocks) -> None:
    """Copy which levels depart from the regression of a number, and by how much.

    Those of levels that are gone are left out.
    """
    linear, (own, known) = target.linear, places
    unit = (target.layout.n_categorical + own) * target.width

    def carried(place):
        """Place of a source's feature among those that the column sees, or None."""
        for key, old in blocks[1].items():
            new = blocks[0].get(key)
            if new is None or not old.place.start <= place < old.place.stop:
                continue
            offset = place - old.place.start
            if old.levels is not None:
                level = old.levels[offset]
                is_known = new.embedding is None and level in new.levels
                offset = new.levels.index(level) if is_known else None
            if offset is not None and target.mask[unit, new.place.start + offset]:
                return new.place.start + offset
        return None

    departures = linear.departures()
    old = ([], []) if source.linear is None else source.linear.departures()
    for kept, found, n_places in zip(departures, old, (2, 1), strict=True):
        kept[:] = [part for part in kept if part[0] != own]
        for column, *others in found:
            features = [carried(place) for place in others[:n_places]]
            if column == known and None not in features:
                kept.append((own, *features, *others[n_places:]))
    linear.set_departures(*departures)


def start_category(target, source, places, levels) -> None:
    """Copy the logits of the levels that a column of both tables shares."""
    own, known = matching(*levels)
    pairs = zip(target.of_column(places[0]), source.of_column(places[1]), strict=True)
    for tensor, old in pairs:
        tensor[own.to(tensor.device)] = old[known.to(old.device)].to(tensor)


def start_logistic(target, source, places, levels, blocks) -> None:
    """Copy what the logits of the levels of a column of both tables are linear in.

    The networks of a source that has no such logits are to have none here, too.
    """
    own, known = matching(*levels)
    weights = target.category_heads.linear.of_level(places[0]).zero_()
    if source.category_heads.linear is None:
        return
    old = source.category_heads.linear.of_level(places[1])
    rows = old[known.to(old.device)].to(weights)
    carried, bias = carried_weights(rows, *blocks)
    weights[own] = carried * target.mask[places[0] * target.width]
    target.category_heads.of_column(places[0])[1][own] += bias


@torch.no_grad()
def calibrate_levels(model: AutoregressiveModel, x_num: Tensor, x_cat: Tensor) -> None:
    """Make each level as likely, on average, as rows say that it is frequent.

    Logits move by as much as the logarithms of the frequencies do, and not with what
    the columns before say, of which few rows know little.
    """
    layout, was_training = model.layout, model.training
    x_num, x_cat = every_nth(x_num, x_cat)
    features = model.features(x_num, x_cat, presence(layout, x_cat))
    hidden = model.eval()._hidden(features, None)
    model.train(was_training)
    for column, size in enumerate(layout.cardinalities):
        heads, bias = model.category_heads, model.category_heads.of_column(column)[1]
        logits = heads.logits(column, hidden[column], features).cpu()
        shares = logits.double().softmax(-1).mean(0)
        counts = torch.bincount(x_cat[:, column], minlength=size).cpu()
        bias += (updated_shares(shares, counts) / shares).log().to(bias)


def updated_shares(shares: Tensor, counts: Tensor) -> Tensor:
    """Shares of levels after rows that have other ones.

    The mean under a Dirichlet prior about the known shares, which counts as many rows
    as make the counts likeliest (empirical Bayes). Where these differ by chance alone
    the shares stay nearly what they were.

    Parameters
    ----------
    shares : Tensor of shape (n_levels,), float64
    counts : Tensor of shape (n_levels,)

    Examples
    --------
    >>> half = torch.tensor([0.5, 0.5], dtype=torch.float64)
    >>> updated_shares(half, torch.tensor([48, 52]))
    tensor([0.5000, 0.5000], dtype=torch.float64)
    >>> updated_shares(half, torch.tensor([0, 100]))
    tensor([0.0050, 0.9950], dtype=torch.float64)
    """
    n_prior = torch.tensor(PRIOR_ROWS, dtype=torch.float64)[:, None]
    prior = n_prior * shares
    fits = (torch.lgamma(prior + counts) - torch.lgamma(prior)).sum(1, keepdim=True)
    fits += torch.lgamma(n_prior) - torch.lgamma(n_prior + counts.sum())
    best = fits.argmax()
    return (prior[best] + counts) / (n_prior[best] + counts.sum())


def start_number(
    target: NumberHeads, source: NumberHeads, own: int, known: int
) -> None:
    """Copy the conditional of a number, its bins by how much of them they share."""
    n, device = 3 * N_NORMALS + 1, target.weight.device
    target.tilts.set_column(own, known in source.tilts.columns)
    place = slice(own, own + 1)
    old_weight = source.weights(slice(known, known + 1))[0].to(device)
    weight, bias = target.weights(place)[0], source.bias[known].to(device)
    weight[:, :n], target.bias[own][:, :n] = old_weight[:, :n], bias[:, :n]
    (lower, upper), (old_lower, old_upper) = (
        bin_ends(target, own),
        bin_ends(source, known),
    )
    is_bin = upper > lower
    lower, upper = lower[:, None], upper[:, None]
    shares = (upper.minimum(old_upper) - lower.maximum(old_lower)).clamp_min(0.0)
    # A bin of several takes the mean of their log-densities, not of their logits.
    shares = (shares / shares.sum(1, keepdim=True).clamp_min(1e-12)).to(bias)
    density = bias[:, n:] - source.log_widths[known].to(device)
    log_widths = target.log_widths[own][is_bin]
    weight[:, n:][:, is_bin] = old_weight[:, n:] @ shares[is_bin].t()
    target.set_weights(weight[None], place)
    target.bias[own][:, n:][:, is_bin] = density @ shares[is_bin].t() + log_widths


def start_regression(
    target: AutoregressiveModel, source: AutoregressiveModel, places, blocks
) -> None:
    """Copy what the conditional of a number is relative to.

    The networks of a source that is relative to nothing are to be so here, too.
    """
    linear, old, (own, known) = target.linear, source.linear, places
    start_departures(target, source, places, blocks)
    if old is None:
        linear.weight[own], linear.bias[own], linear.scale[own] = 0.0, 0.0, 1.0
        return
    row = old.weight[known : known + 1].to(linear.weight)
    weight, bias = carried_weights(row, *blocks)
    unit = (target.layout.n_categorical + own) * target.width
    linear.weight[own] = weight[0] * target.mask[unit]
    linear.bias[own] = old.bias[known].to(bias) + bias[0]
    linear.scale[own] = old.scale[known].to(bias)


def bin_ends(heads: NumberHeads, column: int) -> tuple[Tensor, Tensor]:
    """Quantiles at which the bins of a column begin and end; equal for padded ones."""
    widths = heads.widths[column].cpu().double()
    upper = widths.cumsum(0)
    return upper - widths, upper
