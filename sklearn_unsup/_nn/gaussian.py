"""A normal distribution of rows with missing numbers: its fit, and its conditionals."""

import torch
from torch import Tensor

from .distributions import indices

# Maximum number of numeric columns whose joint normal distribution is fitted, because
# each row of a batch solves a linear system of this size.
MAX_GAUSSIAN = 128
# Weight of the unit matrix in a covariance, in rows.
PRIOR_ROWS = 2.0
# Number of iterations of a fit, and change of the covariance at which it ends.
MAX_ITERATIONS, TOLERANCE = 30, 1e-3
# Rows of a block, which bounds the memory: each has a matrix of its own.
BLOCK_ROWS = 512
# Least conditional variance. Standard deviations stay above 0.01.
MIN_VARIANCE = 1e-4
# Maximum factor by which the variance of conditionals grows where rows are few.
MAX_VARIANCE_FACTOR = 4.0


def fit_gaussian(
    x: Tensor, is_present: Tensor, complete: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Mean and covariance of rows with missing numbers, by maximum likelihood.

    The EM algorithm (Dempster, Laird and Rubin 1977): expected numbers and products in
    place of what is missing. The unit matrix counts as PRIOR_ROWS rows.

    Parameters
    ----------
    x : Tensor of shape (n, n_numeric)
        Numbers of about mean 0 and variance 1.
    is_present : Tensor of shape (n, n_numeric), bool
    complete : Tensor of shape (n, n_complete) or None, default=None
        More numbers, which come last in the result. They have no part in what is
        expected of missing ones: given the present ones, these are assumed to be
        independent of them. So a last step of the algorithm is all that they need.
    """
    x = x.to(precision(x.device))
    unit = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    mean, covariance = x.new_zeros(len(unit)), unit
    for _ in range(MAX_ITERATIONS):
        before = covariance
        mean, covariance = maximization(x, is_present, mean, covariance)
        if (covariance - before).abs().max() < TOLERANCE:
            break
    if complete is None or not complete.shape[1]:
        return mean, covariance
    return maximization(x, is_present, mean, covariance, complete.to(x.dtype))


def maximization(x, is_present, mean, covariance, complete=None):
    """Mean and covariance after a step of the EM algorithm, see `fit_gaussian`."""
    n, width = x.shape
    size = width if complete is None else width + complete.shape[1]
    totals, products = x.new_zeros(size), x.new_zeros(size, size)
    for start in range(0, n, BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        filled, rest = expectations(x[rows], is_present[rows], mean, covariance)
        if complete is not None:
            filled = torch.cat([filled, complete[rows]], 1)
        totals += filled.sum(0)
        products += filled.T @ filled
        products[:width, :width] += rest
    mean = totals / n
    products = products - n * torch.outer(mean, mean)
    unit = torch.eye(size, dtype=x.dtype, device=x.device)
    return mean, (products + PRIOR_ROWS * unit) / (n + PRIOR_ROWS)


def precision(device):
    """The most precise dtype that a device has."""
    return torch.float32 if torch.device(device).type == "mps" else torch.float64


def observed_systems(is_seen, covariance):
    """Cholesky factors of the covariances of each row's seen numbers, and the others.

    Rows and columns of numbers that are not seen are those of the unit matrix. The
    second result has the covariances with the seen numbers, zero for others.
    """
    seen = is_seen.to(covariance.dtype)
    covariances = covariance * seen[:, :, None]
    systems = covariances * seen[:, None, :] + torch.diag_embed(1.0 - seen)
    # Without a check, for which the host would wait for the device.
    factors, _ = torch.linalg.cholesky_ex(systems)
    return factors, covariances


def expectations(x, is_present, mean, covariance):
    """Numbers with missing ones at their expectation, and what products add to them."""
    factors, covariances = observed_systems(is_present, covariance)
    weights = torch.cholesky_solve(covariances, factors)
    centred = torch.where(is_present, x - mean, 0.0)
    expected = mean + torch.einsum("nij,ni->nj", weights, centred)
    missing = (~is_present).to(x.dtype)
    rest = covariance - covariances.transpose(1, 2) @ weights
    rest = (rest * missing[:, :, None] * missing[:, None, :]).sum(0)
    return torch.where(is_present, x, expected), rest


def conditional_moments(x, is_seen, mean, covariance) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each number given a row's seen ones.

    Both have shape (n, n_numeric), float32; those of seen numbers mean nothing.
    """
    factors, covariances = observed_systems(is_seen, covariance)
    centred = torch.where(is_seen, x.to(mean.dtype) - mean, 0.0)
    both = torch.cat([covariances, centred[:, :, None]], 2)
    whitened = torch.linalg.solve_triangular(factors, both, upper=False)
    loadings, scores = whitened[:, :, :-1], whitened[:, :, -1]
    means = mean + torch.einsum("nij,ni->nj", loadings, scores)
    variances = covariance.diagonal() - loadings.square().sum(1)
    return means.float(), variances.clamp_min(MIN_VARIANCE).sqrt().float()


def moments_without(
    x, is_seen, mean, covariance, left_out, n_asked: int
) -> tuple[Tensor, Tensor]:
    """Those of :func:`conditional_moments`, for questions that leave out seen numbers.

    All questions share a factorization: without some of the numbers that a regression
    is on, it follows from their block of the inverse covariance.

    Parameters
    ----------
    x, is_seen, mean, covariance
        See :func:`conditional_moments`.
    left_out : sequence of tuple of int
        For each question the numbers that are not looked at where they are seen.
    n_asked : int
        Number of numbers whose moments are returned, counted from the first.

    Returns
    -------
    means, deviations : Tensor of shape (n_questions, n, n_asked), float32
        Those of numbers that are seen, and not left out, mean nothing.
    """
    factors, covariances = observed_systems(is_seen, covariance)
    centred = torch.where(is_seen, x.to(mean.dtype) - mean, 0.0)
    n, width = centred.shape
    unit = torch.eye(width, dtype=mean.dtype, device=mean.device).expand(n, -1, -1)
    whitened = torch.linalg.solve_triangular(
        factors,
        torch.cat([covariances[:, :, :n_asked], centred[:, :, None], unit], 2),
        upper=False,
    )
    loadings, scores, inverse = whitened.split([n_asked, 1, width], 2)
    # Weights of regressions on the seen numbers, and the inverse covariance of these
    # times their deviations from the mean.
    transposed = inverse.transpose(1, 2)
    weights, scores = transposed @ loadings, transposed @ scores
    means = mean[:n_asked] + torch.einsum(
        "nij,ni->nj", covariances[:, :, :n_asked], scores[:, :, 0]
    )
    variances = covariance.diagonal()[:n_asked] - loadings.square().sum(1)
    # What follows is large, and needs no more than single precision.
    means, variances, weights = means.float(), variances.float(), weights.float()
    # A number and its mask leave out the same, and those of one number come first.
    questions = sorted({*left_out}, key=len)
    parts = [(means[None], variances[None])] if () in questions else []
    singles = tuple(own[0] for own in questions if len(own) == 1)
    if singles:
        own = indices(singles, x.device)
        precisions = inverse.square().sum(1).index_select(1, own)
        own_scores = scores[:, :, 0].index_select(1, own) / precisions
        own_scores, precisions = (
            part.t()[:, :, None].float() for part in (own_scores, precisions)
        )
        own_weights = weights.index_select(1, own).transpose(0, 1)
        parts.append(
            (
                torch.addcmul(means, own_weights, own_scores, value=-1.0),
                torch.addcdiv(variances, own_weights.square(), precisions),
            )
        )
    for question in questions:
        if len(question) > 1:
            own = indices(question, x.device)
            own_inverse, own_weights = inverse[:, :, own], weights[:, own]
            block, _ = torch.linalg.cholesky_ex(
                own_inverse.transpose(1, 2) @ own_inverse
            )
            own_weights = torch.cat([own_weights.to(block), scores[:, own]], 2)
            own_weights = torch.linalg.solve_triangular(block, own_weights, upper=False)
            own_weights, own_scores = own_weights.float().tensor_split([-1], 2)
            change = (own_weights * own_scores).sum(1)
            parts.append(
                (
                    (means - change)[None],
                    (variances + own_weights.square().sum(1))[None],
                )
            )
    means, variances = (torch.cat(part) for part in zip(*parts, strict=True))
    deviations = variances.clamp_min(MIN_VARIANCE).sqrt()
    places = indices(tuple(questions.index(own) for own in left_out), x.device)
    return means.index_select(0, places), deviations.index_select(0, places)


def predictive_factor(n_rows: Tensor, n_seen: Tensor) -> Tensor:
    """Ratio of the residual variance on new rows to that on the rows of a regression.

    For a linear regression on `n_seen` normal columns, fitted to `n_rows` rows by
    maximum likelihood. Bounded, as for too few rows it is infinite.
    """
    freedom = (n_rows - n_seen - 1.0).clamp_min(1.0)
    unbiased = n_rows / freedom
    factor = unbiased * (1.0 + n_seen / (freedom - 1.0).clamp_min(1.0))
    return torch.where(torch.isinf(n_rows), 1.0, factor).clamp(1.0, MAX_VARIANCE_FACTOR)
