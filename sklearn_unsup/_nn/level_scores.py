"""Scores of the levels of a category, from what they go with in other columns."""

import torch
from torch import Tensor

from .distributions import presence

# Maximum number of numbers that describe the cells that levels go with, and of those
# times rows.
MAX_TARGETS, MAX_TARGET_CELLS = 400, 5_000_000
# Maximum number of levels of another category that are targets, the most
# frequent ones.
MAX_TARGET_LEVELS = 32
# Ridge of the covariance within levels, relative to the variance of each target there,
# and the least variance that a target has there, relative to all rows.
RIDGE, LEAST_VARIANCE = 0.01, 1e-4
# Least range of a target that varies.
MIN_RANGE = 1e-6
# Maximum absolute value of a score.
MAX_SCORE = 4.0
# Number of times that rows get the levels of others, to see what noise looks like.
N_PERMUTATIONS = 5


@torch.no_grad()
def embed_levels(model, x_num: Tensor, x_cat: Tensor):
    """Set the embeddings of a model of rows to scores, which are not learnt any more.

    Networks that learn an embedding together can only end together: when the first one
    has memorised its column. Scores tell levels apart that have other means of later
    columns, and not those that only have another dependence between them.

    Parameters
    ----------
    model : AutoregressiveModel
    x_num, x_cat : Tensor
        Encoded rows.
    """
    targets = Targets(model, x_num, x_cat)
    for name, embedding in model.embeddings.items():
        column, weight = int(name), embedding.weight
        scores = level_scores(targets.after(column), x_cat[:, column], *weight.shape)
        weight.copy_(scores.float())
    model.learn_embeddings(False)


class Targets:
    """What tells the cells of rows apart: numbers, and which levels they have.

    Parameters
    ----------
    model : AutoregressiveModel
    x_num, x_cat : Tensor
    """

    def __init__(self, model, x_num, x_cat):
        features = model.features(x_num, x_cat, presence(model.layout, x_cat))
        parts = []
        for column, place in enumerate(model.feature_slices):
            own = features[:, place]
            if str(column) in model.embeddings:
                codes = x_cat[:, column]
                # Codes descend by their rows.
                own = (
                    codes[:, None] == torch.arange(MAX_TARGET_LEVELS).to(codes)
                ).float()
            parts.append(own)
        self.owners = torch.arange(len(parts)).repeat_interleave(
            torch.tensor([own.shape[1] for own in parts])
        )
        self.values = torch.cat(parts, 1).cpu()

    def after(self, column: int) -> Tensor:
        """Those of the columns after one, shape (n, n_targets)."""
        index = (self.owners > column).nonzero()[:, 0]
        if len(index) > MAX_TARGETS:
            # Hat functions and frequent levels vary more than others.
            deviations = self.values[:, index].std(0)
            index = index[deviations.argsort(descending=True)[:MAX_TARGETS]]
        return self.values[:, index]


def level_scores(
    targets: Tensor, codes: Tensor, n_levels: int, n_scores: int
) -> Tensor:
    """Canonical variates of levels (Hotelling 1936), shrunk where rows are few.

    Levels are groups of rows. The first score is that combination of the targets which
    differs most between groups, relative to its variance within them; the second one
    is the best of those that are uncorrelated to it, and so on. Scores are 0 if they
    differ no more than the first one does where rows have the levels of other rows
    (Horn 1965). The mean of a group counts as much as it is known: it is the one that
    is expected if groups are normally distributed around 0.

    Parameters
    ----------
    targets : Tensor of shape (n, n_targets)
    codes : Tensor of shape (n,), int64
        The level of each row.
    n_levels, n_scores : int

    Returns
    -------
    scores : Tensor of shape (n_levels, n_scores), float64
        The variance of each one, over rows, is the share of its variance in the
        targets that lies between levels.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> codes = torch.arange(1_000) % 4
    >>> noise = torch.randn(1_000, 3, generator=generator)
    >>> noise[:, 0] += codes >= 2  # Levels 2 and 3 have a higher mean.
    >>> scores = level_scores(noise, codes, 4, 2)
    >>> (scores[:, 0] * scores[3, 0].sign()).round(decimals=1).tolist()
    [-0.5, -0.5, 0.5, 0.5]
    >>> scores[:, 1].tolist()
    [0.0, 0.0, 0.0, 0.0]
    """
    n, x = len(targets), targets.double()
    scores = torch.zeros(n_levels, n_scores, dtype=torch.float64)
    x = x[:, (x.amax(0) - x.amin(0)) > MIN_RANGE]
    levels, codes = codes.cpu().unique(return_inverse=True)
    if not (x.shape[1] and 1 < len(levels) < n):
        return scores
    counts = torch.bincount(codes).double()
    x = (x - x.mean(0)) / x.std(0)
    scatter, generator = x.t() @ x, torch.Generator().manual_seed(0)
    orders = (torch.randperm(n, generator=generator) for _ in range(N_PERMUTATIONS))
    noise = (white_means(x, scatter, codes[order], counts) for order in orders)
    largest = max(torch.linalg.eigvalsh(products(own, counts))[-1] for own in noise)
    means = white_means(x, scatter, codes, counts)
    sizes, axes = torch.linalg.eigh(products(means, counts))
    sizes, axes = sizes.flip(0), axes.flip(1)
    effective = n - counts.square().sum() / n
    for place in range(min(n_scores, int((sizes > largest).sum()))):
        between = (sizes[place] - largest) / effective
        own = means @ axes[:, place] * between / (between + 1.0 / counts)
        own -= counts @ own / n
        spread = (counts @ own.square() / n).sqrt().clamp_min(MIN_RANGE)
        own = own / spread * (between / (1.0 + between)).sqrt()
        scores[levels, place] = own.clamp(-MAX_SCORE, MAX_SCORE)
    return scores


def products(means: Tensor, counts: Tensor) -> Tensor:
    """Scatter of the means of groups, each as often as it has rows."""
    return means.t() @ (counts[:, None] * means)


def white_means(x: Tensor, scatter: Tensor, codes: Tensor, counts: Tensor) -> Tensor:
    """Means of groups in coordinates in which rows have variance 1 within groups.

    Parameters
    ----------
    x : Tensor of shape (n, n_targets)
        Of mean 0.
    scatter : Tensor of shape (n_targets, n_targets)
        Sums of its squares and products.
    codes : Tensor of shape (n,), int64
        The group of each row.
    counts : Tensor of shape (n_groups,)
        Number of rows of each group.

    Returns
    -------
    means : Tensor of shape (n_groups, n_targets)
    """
    sums = x.new_zeros(len(counts), x.shape[1]).index_add_(0, codes, x)
    means = sums / counts[:, None]
    within = (scatter - means.t() @ sums) / (len(x) - len(counts))
    within.diagonal().mul_(1.0 + RIDGE).add_(LEAST_VARIANCE)
    variances, vectors = torch.linalg.eigh(within)
    return means @ (vectors / variances.clamp_min(LEAST_VARIANCE).sqrt())
