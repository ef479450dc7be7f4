"""Ridge regressions of numbers, in which levels may have slopes of their own."""

import math

import torch
from torch import Tensor

from .gaussian import MIN_VARIANCE

# Penalties among which each regression chooses, in rows.
PENALTIES = tuple(10.0**power for power in (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0))
# Minimum number of rows of a level that may depart from the others, and maximum number
# of slopes, and of spreads, that do so in one regression.
MIN_LEVEL_ROWS, MAX_DEPARTURES = 8, 8
# Minimum statistics, of about a chi-squared distribution with one degree of freedom, of
# a slope and of a spread, beside twice the logarithm of the number of candidates.
MIN_SLOPE_GAIN, MIN_SPREAD_GAIN = 8.0, 12.0
# Minimum gain in nats for each row of a level. Networks learn what gains less.
MIN_NATS = 0.1
# Number of rows as spread as others that a level's own rows are averaged with.
PRIOR_ROWS = 4.0
# Maximum share of the rows of a level that departs: the others depart from more.
MAX_SHARE = 0.5
# Maximum share of the variance of what is behind values that inputs tell.
MAX_BEHIND = 0.8
# Maximum number of products of a search for slopes: levels, numbers and rows.
MAX_PRODUCTS = 100_000_000


class Regression:
    """A ridge regression from which rows of some levels depart.

    For these a number has another slope, beside that of all rows, or the errors have
    another deviation. Slopes are found one by one, by the score test of their product
    with the errors, which allows for errors of unequal spread (White 1980).

    Parameters
    ----------
    A : Tensor of shape (n, n_inputs)
    y : Tensor of shape (n,)
    is_number : Tensor of shape (n_inputs,), bool
        Whether an input is a number. All others are 0 or 1: whether a row has a level.
    max_share : float, default=MAX_SHARE
        Maximum share of the rows of a level that may depart.

    Attributes
    ----------
    weight : Tensor of shape (n_inputs,)
    bias, scale : Tensor of shape ()
        Intercept, and standard deviation of errors on new rows.
    slopes : list of tuple
        Inputs of a level and of a number, the centre of the number among the rows of
        the level, and the slope in what it is away from there.
    spreads : list of tuple
        Input of a level, and the logarithm of the ratio of its deviation to `scale`.

    Examples
    --------
    >>> is_rare = torch.arange(200) % 10 == 0
    >>> x = torch.linspace(-1, 1, 200, dtype=torch.float64)
    >>> noise = 0.1 * torch.sin(1000 * x)
    >>> y = torch.where(is_rare, -2 * x, x) + noise
    >>> A = torch.stack([is_rare.double(), x], 1)
    >>> regression = Regression(A, y, torch.tensor([False, True]))
    >>> [(level, number, round(slope)) for level, number, _, slope in regression.slopes]
    [(0, 1, -3)]
    """

    def __init__(
        self, A: Tensor, y: Tensor, is_number: Tensor, max_share: float = MAX_SHARE
    ):
        self._A, self._y = A, y.to(A.dtype)
        self._terms, self._slopes = [], torch.zeros(0)
        self.spreads = []
        self._solve()
        numbers, levels = (
            (is_number == kind).nonzero()[:, 0].to(A.device) for kind in (True, False)
        )
        n_rows = A[:, levels].sum(0)
        is_many = n_rows >= MIN_LEVEL_ROWS
        levels = levels[is_many & (n_rows <= max_share * len(A))]
        n_products = len(A) * len(levels) * len(numbers)
        if 0 < n_products <= MAX_PRODUCTS:
            self._find_slopes(levels, numbers)
        if len(levels):
            self._find_spreads(levels)
        del self._A, self._y

    @property
    def slopes(self) -> list[tuple[int, int, float, float]]:
        return [
            (*term, slope)
            for term, slope in zip(self._terms, self._slopes.tolist(), strict=True)
        ]

    def look_behind_values(self, between: float):
        """Describe the normal number of variance 1 whose intervals `y` is drawn from.

        Where many rows have one value, `y` is anywhere in the interval of this value,
        and inputs tell less about it than about what is behind: about a normal number
        that falls into the interval. The covariance of an input with `y` is `between`
        times that with this number, if both are normal.

        Parameters
        ----------
        between : float
            Share of the variance of `y` that lies between its values.
        """
        told = 1.0 - float(self.scale) ** 2
        if told <= 0.0:
            return
        factor = max(1.0, min(1.0 / between, math.sqrt(MAX_BEHIND / told)))
        self.weight, self.bias = factor * self.weight, factor * self.bias
        self._slopes = factor * self._slopes
        self.scale = torch.full_like(self.scale, math.sqrt(1.0 - factor**2 * told))

    def _solve(self, spread: Tensor | None = None):
        A, n = self._A, self._A.shape[1]
        if self._terms:
            products = [A[:, i] * (A[:, j] - centre) for i, j, centre in self._terms]
            A = torch.cat([A, torch.stack(products, 1)], 1)
        weight, self.bias, self.scale = ridge(A, self._y, spread)
        self._errors = self._y - A @ weight - self.bias
        self.weight, self._slopes = weight[:n], weight[n:]

    def _find_slopes(self, levels, numbers):
        L, Z = self._A[:, levels], self._A[:, numbers]
        n_rows = L.sum(0)[:, None]
        centres = (L.T @ Z) / n_rows
        least = MIN_SLOPE_GAIN + 2.0 * math.log(centres.numel())
        is_new, before = torch.ones_like(centres), self.scale
        errors = self._errors[:, None].clone()
        while len(self._terms) < MAX_DEPARTURES:
            products = L.T @ (Z * errors) - centres * (L.T @ errors)
            squares = errors.square()
            variances = L.T @ (Z.square() * squares) + centres.square() * (
                L.T @ squares
            )
            variances -= 2.0 * centres * (L.T @ (Z * squares))
            ratios = products.square() / variances.clamp_min(MIN_VARIANCE)
            # Of few rows the variance is uncertain, too.
            gains = n_rows * torch.log1p(ratios / n_rows) * is_new
            gains[gains < 2.0 * MIN_NATS * n_rows] = 0.0
            place = int(gains.argmax())
            if not gains.view(-1)[place] > least:
                break
            i, j = divmod(place, len(numbers))
            is_new[i, j] = 0.0
            term = int(levels[i]), int(numbers[j]), float(centres[i, j])
            self._terms.append(term)
            # What is left, without a solution anew for each term.
            own = L[:, i] * (Z[:, j] - centres[i, j])
            errors[:, 0] -= own * (own @ errors[:, 0] / own.square().sum())
        if self._terms:
            self._solve()
            if not self.scale < before:
                self._terms = []
                self._solve()

    def _find_spreads(self, levels):
        L = self._A[:, levels]
        n_rows, squares = L.sum(0), (self._errors / self.scale).square()
        # Squares vary more where errors are not normal, whose variance is twice 1.
        relative = squares / squares.mean().clamp_min(MIN_VARIANCE)
        excess = (0.5 * relative.var()).clamp_min(1.0)
        least = MIN_SPREAD_GAIN + 2.0 * math.log(len(levels))
        logs = torch.zeros_like(n_rows)
        for _ in range(MAX_DEPARTURES):
            own = squares * (-2.0 * (L @ logs)).exp()
            ratios = (L.T @ own / n_rows).clamp_min(MIN_VARIANCE)
            gains = n_rows * (ratios - 1.0 - ratios.log()) / excess
            gains[gains < 2.0 * MIN_NATS * n_rows] = 0.0
            place = int(gains.argmax())
            if not gains[place] > least:
                break
            weight = n_rows[place] / (n_rows[place] + PRIOR_ROWS)
            logs[place] += 0.5 * weight * ratios[place].log()
        chosen = logs.nonzero()[:, 0].tolist()
        if chosen:
            self.spreads = [(int(levels[i]), float(logs[i])) for i in chosen]
            self._solve((L @ logs).exp())


def ridge(A: Tensor, y: Tensor, spread: Tensor | None = None):
    """Weights, intercept and standard deviation of errors on new rows.

    The penalty is the one with the least generalised cross-validation error (Golub,
    Heath and Wahba 1979). Errors of rows may have deviations that are in proportion to
    a `spread` of shape (n,); the one that is returned is that where it is 1.
    """
    n, y = len(A), y.to(A.dtype)
    if spread is None:
        centre, mean = A.mean(0), y.mean()
        A, y = A - centre, y - mean
    else:
        share = spread**-2 / (spread**-2).sum()
        centre, mean = A.T @ share, share @ y
        A, y = (A - centre) / spread[:, None], (y - mean) / spread
    values, vectors = torch.linalg.eigh((A.T @ A).cpu())
    values, vectors = values.clamp_min(0.0).to(A), vectors.to(A)
    products = vectors.T @ (A.T @ y)
    penalties = torch.tensor(PENALTIES, dtype=A.dtype, device=A.device)[:, None]
    shrunk = products / (values + penalties)
    rest = y.square().sum() - (shrunk * (2 * products - values * shrunk)).sum(1)
    # The intercept is one more parameter.
    freedom = n - 1 - (values / (values + penalties)).sum(1)
    errors = n * rest.clamp_min(0.0) / freedom.clamp_min(1.0).square()
    best = errors.argmin()
    weight = vectors @ shrunk[best]
    scale = errors[best].clamp_min(MIN_VARIANCE).sqrt()
    return weight, mean - centre @ weight, scale
