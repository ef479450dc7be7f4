"""Principal axes of rows that come a part at a time."""

import torch
from torch import Tensor
from torch.nn import functional as F

# Of a table with more columns principal axes are found without its covariance.
MAX_EXACT_WIDTH = 2_000
N_SPARE_AXES, N_PASSES = 10, 7


def principal_axes(x, n_components: int) -> tuple[Tensor, Tensor]:
    """Mean (width,) and the leading axes (n_components, width) of rows, as PCA's.

    Above 2,000 columns the axes are those of a subspace iteration: nearly PCA's, and
    no square matrix is made.

    Parameters
    ----------
    x : Tensor of shape (n, width), or callable
        Rows, or what gives an iterator over parts of them, anew at each call.
    n_components : int

    Notes
    -----
    Axes beyond the rank of the rows are zero: they carry nothing and train from there.
    So are those of less than a millionth of the first one's variance, where a float32
    covariance is rounding.
    """
    parts = x if callable(x) else lambda: (x,)
    sums = [(part.sum(0, dtype=torch.float64), len(part)) for part in parts()]
    n_rows = sum(n for _, n in sums)
    mean = (sum(total for total, _ in sums) / n_rows).float()
    if len(mean) <= MAX_EXACT_WIDTH:
        covariance = mean.new_zeros(len(mean), len(mean))
        for part in parts():
            centred = part - mean
            covariance.addmm_(centred.t(), centred)
        values, vectors = torch.linalg.eigh(covariance.double() / n_rows)
    else:
        values, vectors = leading_axes(parts, mean, n_components)
    axes = vectors.flip(1).t()[:n_components].float()
    spread = values.flip(0)[:n_components]
    axes[spread <= 1e-6 * spread[:1].clamp_min(1e-30)] = 0.0
    return mean, F.pad(axes, (0, 0, 0, max(0, n_components - len(axes))))


def leading_axes(parts, mean: Tensor, n_components: int) -> tuple[Tensor, Tensor]:
    """Eigenvalues (ascending) and axes (width, n) of the rows around their mean.

    Subspace iteration with a few more axes than are asked for (Halko, Martinsson and
    Tropp 2011, algorithm 4.4), from a fixed start. The eigenvalues are those of the sum
    over rows.
    """
    size = min(n_components + N_SPARE_AXES, len(mean))
    start = torch.Generator().manual_seed(0)
    image = torch.randn(len(mean), size, generator=start).to(mean.device)
    for _ in range(N_PASSES):
        basis = torch.linalg.qr(image)[0]
        image = torch.zeros_like(basis)
        shift = mean @ basis
        for part in parts():
            scores = part @ basis - shift
            image.addmm_(part.t(), scores)
            image.addr_(mean, scores.sum(0), alpha=-1)
    inner = (basis.t() @ image).double()
    values, vectors = torch.linalg.eigh(0.5 * (inner + inner.t()))
    return values, basis.double() @ vectors
