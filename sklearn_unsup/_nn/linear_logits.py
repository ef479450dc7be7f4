"""Logits of levels that are linear in the columns before them: logistic regressions."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .torch_private import without_compiler

# Penalties among which each column's regression chooses, falling, so that each solution
# is a good start for the next one.
PENALTIES = 30.0, 10.0, 3.0, 1.0, 0.3, 0.1
MAX_ITER = 15
# Maximum number of rows that regressions are fitted to, and the number of held-out ones
# that judge the penalties: in up to as many parts of the rows as there are of one size.
MAX_ROWS, JUDGING_ROWS, N_PARTS = 500, 60, 5
# Maximum number of weights of all columns.
MAX_WEIGHTS = 250_000
# Logit of a level that a column does not have.
NO_LEVEL = -1e4


class LinearLogits(nn.Module):
    """What each level's logit is linear in; columns lie as in :class:`CategoryHeads`.

    Parameters
    ----------
    runs : list of range
        Neighbouring columns that are padded to the largest of them.
    sizes : tuple of int
        Number of levels of each column.
    n_features : int
    """

    def __init__(self, runs: list[range], sizes: tuple[int, ...], n_features: int):
        super().__init__()
        self.runs, self.sizes = runs, sizes
        for number, run in enumerate(runs):
            shape = len(run), max(sizes[column] for column in run), n_features
            self.register_buffer(f"weight{number}", torch.zeros(shape))

    @staticmethod
    def is_affordable(runs, sizes, n_features) -> bool:
        n_logits = sum(len(run) * max(sizes[column] for column in run) for run in runs)
        return n_logits * n_features <= MAX_WEIGHTS

    def _weights(self) -> list[Tensor]:
        return [getattr(self, f"weight{number}") for number in range(len(self.runs))]

    def of_level(self, column: int) -> Tensor:
        """Weights of one column's levels, a view of shape (size, n_features)."""
        for run, weight in zip(self.runs, self._weights(), strict=True):
            if column in run:
                return weight[column - run.start, : self.sizes[column]]
        raise IndexError(column)

    def forward(self, features: Tensor) -> list[Tensor]:
        """Logits of each run of columns, of shape (n_columns, n_levels, n)."""
        return [
            F.linear(features.float(), weight.flatten(0, 1))
            .t()
            .unflatten(0, weight.shape[:2])
            for weight in self._weights()
        ]

    def of_column(self, column: int, features: Tensor) -> Tensor:
        """Logits of one column, shape (n, size)."""
        return F.linear(features.float(), self.of_level(column))

    @torch.no_grad()
    def fit(self, features: Tensor, codes: Tensor, n_seen: list[int]) -> dict:
        """Fit a regression to each column that others tell something about.

        The penalty is the one under which held-out rows are likeliest. A column that
        is likeliest by its frequencies alone has none.

        Parameters
        ----------
        features : Tensor of shape (n, n_features)
        codes : Tensor of shape (n, n_columns), int64
        n_seen : list of int
            How many of the features each column may depend on, the first ones.

        Returns
        -------
        intercepts : dict of int to Tensor of shape (size,)
            Of the columns that have a regression.
        """
        step = -(-len(features) // MAX_ROWS)
        features, codes = features[::step].cpu(), codes[::step].cpu()
        is_used = self._parts(len(features))
        problem = Regressions(features, codes, self.sizes, n_seen, is_used)
        solution = problem.start()
        found = [problem.held_out_loss(*solution)]
        for penalty in PENALTIES:
            solution = problem.solve(solution, torch.tensor(penalty))
            found.append(problem.held_out_loss(*solution))
        best = torch.stack(found).argmin(0)
        penalties = torch.tensor([PENALTIES[0], *PENALTIES])[best]
        problem = Regressions(features, codes, self.sizes, n_seen)
        weights, intercepts = problem.solve(problem.start(), penalties[:, None, None])
        gaining = best.nonzero()[:, 0].tolist()
        for column in gaining:
            self.of_level(column).copy_(weights[column, : self.sizes[column]])
        return {c: intercepts[c, : self.sizes[c]] for c in gaining}

    @staticmethod
    def _parts(n: int) -> Tensor:
        """1 for the rows that a solution is fitted to, and 0 for those that judge it.

        Each row of the result, of shape (n_parts, n), has another part of the rows 0.
        """
        generator = torch.Generator().manual_seed(0)
        parts = torch.randperm(n, generator=generator).tensor_split(N_PARTS)
        parts = parts[: -(-JUDGING_ROWS // max(1, n // N_PARTS))]
        is_used = torch.ones(len(parts), n)
        for row, part in zip(is_used, parts, strict=True):
            row[part] = 0.0
        return is_used


class LeanLBFGS(torch.optim.LBFGS):
    """torch's LBFGS without the import of a compiler, which takes a second."""

    add_param_group = without_compiler(torch.optim.LBFGS.add_param_group)


class Regressions:
    """Multinomial logistic regressions of all columns at once, to parts of the rows.

    Parameters
    ----------
    features : Tensor of shape (n, n_features)
    codes : Tensor of shape (n, n_columns), int64
    sizes : sequence of int
    n_seen : list of int
        See :meth:`LinearLogits.fit`.
    is_used : Tensor of shape (n_parts, n) or None, default=None
        1 for the rows that each solution is of, 0 for others; None for all rows.
    """

    def __init__(self, features, codes, sizes, n_seen, is_used=None):
        n, self.n_columns = codes.shape
        is_used = torch.ones(1, n) if is_used is None else is_used
        n_parts = len(is_used)
        self.features, self.codes = features, codes.t().repeat(n_parts, 1)[:, None]
        self.is_used = is_used.repeat_interleave(self.n_columns, 0)[:, None]
        places, levels = torch.arange(features.shape[1]), torch.arange(max(sizes))
        is_seen = (places < torch.tensor(n_seen)[:, None]).float()
        self.is_seen = is_seen.repeat(n_parts, 1)[:, None]
        self.is_level = (levels < torch.tensor(sizes)[:, None]).repeat(n_parts, 1)

    def start(self) -> tuple[Tensor, Tensor]:
        """Weights of zero, and the logarithms of the frequencies."""
        weights = torch.zeros(*self.is_level.shape, self.features.shape[1])
        counts = torch.zeros(self.is_level.shape)
        counts.scatter_add_(1, self.codes[:, 0], self.is_used[:, 0])
        counts = (counts + 0.5) * self.is_level
        shares = counts / counts.sum(1, keepdim=True)
        return weights, shares.log().clamp_min(NO_LEVEL)

    def _log_probs(self, weights, intercepts):
        """Of all levels, shape (n_parts * n_columns, n_levels, n)."""
        logits = F.linear(self.features, weights.flatten(0, 1)).t()
        logits = logits.unflatten(0, weights.shape[:2]) + intercepts[..., None]
        return logits.log_softmax(1)

    def held_out_loss(self, weights: Tensor, intercepts: Tensor) -> Tensor:
        """Minus the log-probability of rows that are not used, shape (n_columns,)."""
        log_probs = self._log_probs(weights, intercepts).gather(1, self.codes)
        losses = (log_probs * (self.is_used - 1.0)).sum((1, 2))
        return losses.view(-1, self.n_columns).sum(0)

    def solve(self, start, penalty: Tensor) -> tuple[Tensor, Tensor]:
        """Best weights, (n_parts * n_columns, n_levels, n_features), and intercepts.

        `penalty` counts half the squared weights, whose sums over levels become zero.
        """
        weights, intercepts = (part.clone() for part in start)
        optimizer = LeanLBFGS(
            [weights, intercepts],
            max_iter=MAX_ITER,
            tolerance_grad=1e-3,
            line_search_fn="strong_wolfe",
        )

        def loss_and_gradient():
            log_probs = self._log_probs(weights, intercepts)
            loss = -(log_probs.gather(1, self.codes) * self.is_used).sum()
            errors = log_probs.exp_().scatter_(1, self.codes, -1.0, reduce="add")
            errors.mul_(self.is_used)
            gradient = F.linear(errors.flatten(0, 1), self.features.t())
            gradient = gradient.unflatten(0, weights.shape[:2]).mul_(self.is_seen)
            weights.grad = gradient.addcmul_(penalty, weights)
            intercepts.grad = errors.sum(2) * self.is_level
            return loss + 0.5 * (penalty * weights.square()).sum()

        optimizer.step(loss_and_gradient)
        return weights, intercepts
