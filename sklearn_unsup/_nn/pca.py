"""Principal axes of rows that are read a batch at a time."""

import torch
from torch import Tensor
from torch.nn import functional as F

# Number of columns above which the axes are found without the covariance matrix.
MAX_EXACT_WIDTH = 2_000
# Axes that the subspace iteration follows beyond those asked for, and its iterations.
N_EXTRA_AXES, N_ITERATIONS = 10, 7


def principal_axes(x, n_components: int) -> tuple[Tensor, Tensor]:
    """Mean (width,) and leading principal axes (n_components, width) of rows.

    With more than 2,000 columns a subspace iteration finds them approximately, because
    the covariance matrix would be too large.

    Parameters
    ----------
    x : Tensor of shape (n, width), or callable
        Rows, or a function that returns a new iterator over batches of them at each
        call.
    n_components : int

    Notes
    -----
    Axes beyond the rank of the rows are zero, and so are axes with less than a
    millionth of the first one's variance, which in a float32 covariance is rounding
    error. The components that start at them carry nothing until training changes them.
    """
    batches = x if callable(x) else lambda: (x,)
    sums = [(batch.sum(0, dtype=torch.float64), len(batch)) for batch in batches()]
    n_rows = sum(n for _, n in sums)
    mean = (sum(total for total, _ in sums) / n_rows).float()
    if len(mean) <= MAX_EXACT_WIDTH:
        covariance = mean.new_zeros(len(mean), len(mean))
        for batch in batches():
            centred = batch - mean
            covariance.addmm_(centred.t(), centred)
        values, vectors = torch.linalg.eigh(covariance.double() / n_rows)
    else:
        values, vectors = leading_axes(batches, mean, n_components)
    axes = vectors.flip(1).t()[:n_components].float()
    variances = values.flip(0)[:n_components]
    axes[variances <= 1e-6 * variances[:1].clamp_min(1e-30)] = 0.0
    # Signs as scikit-learn's PCA has them: the largest entry of an axis is positive.
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    axes = torch.where(largest < 0, -axes, axes)
    return mean, F.pad(axes, (0, 0, 0, max(0, n_components - len(axes))))


def leading_axes(batches, mean: Tensor, n_components: int) -> tuple[Tensor, Tensor]:
    """Eigenvalues (ascending) and axes (width, n) of rows around their mean.

    Subspace iteration from a fixed start, with a few more axes than are asked for
    (Halko, Martinsson and Tropp 2011, algorithm 4.4). The eigenvalues are those of the
    scatter matrix, a sum over rows and not a mean.
    """
    size = min(n_components + N_EXTRA_AXES, len(mean))
    start = torch.Generator().manual_seed(0)
    image = torch.randn(len(mean), size, generator=start).to(mean.device)
    for _ in range(N_ITERATIONS):
        basis = torch.linalg.qr(image)[0]
        image = torch.zeros_like(basis)
        shift = mean @ basis
        for batch in batches():
            scores = batch @ basis - shift
            image.addmm_(batch.t(), scores)
            image.addr_(mean, scores.sum(0), alpha=-1)
    inner = (basis.t() @ image).double()
    values, vectors = torch.linalg.eigh(0.5 * (inner + inner.t()))
    return values, basis.double() @ vectors
