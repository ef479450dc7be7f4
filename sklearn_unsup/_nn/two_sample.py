"""Distances between two samples of encoded rows."""

import torch
from torch import Tensor

# A matrix product in TF32 would give equal rows a distance above zero.
COMPUTE_MODE = "donot_use_mm_for_euclid_dist"
# Number of nearest rows that make up the neighbourhood of a row (Naeem et al. 2020).
N_NEIGHBOURS = 5


def energy_distance(x: Tensor, y: Tensor) -> Tensor:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| of two samples, a scalar.

    Szekely and Rizzo (2013). No row is paired with itself, so that the expected value
    is 0 if both samples have the same distribution. Shapes: (n, width) and (m, width).
    """
    within = [
        torch.cdist(sample, sample, compute_mode=COMPUTE_MODE).sum()
        / max(1, len(sample) * (len(sample) - 1))
        for sample in (x, y)
    ]
    between = torch.cdist(x, y, compute_mode=COMPUTE_MODE).mean()
    return 2.0 * between - within[0] - within[1]


def coverage(real: Tensor, generated: Tensor) -> float:
    """Fraction of the real rows that have a generated row in their neighbourhood.

    The neighbourhood of a row is the ball that reaches to its fifth nearest real row
    (Naeem et al. 2020, equation 10). The mean is 0.97 for two samples of the same size
    and distribution; rows of a mode that the generator misses are not covered.
    Shapes: (n, width) and (m, width), with n above 5.
    """
    distances = torch.cdist(real, real).fill_diagonal_(torch.inf)
    radius = distances.topk(N_NEIGHBOURS, largest=False).values[:, -1]
    nearest = torch.cdist(real, generated).min(1).values
    return (nearest <= radius).float().mean().item()
