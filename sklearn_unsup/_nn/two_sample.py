"""How far two samples of encoded rows are apart."""

import torch
from torch import Tensor

# Not by a product of matrices, which in TF32 sees a distance between equal rows.
EXACT = "donot_use_mm_for_euclid_dist"
N_NEIGHBOURS = 5  # that bound a row's neighbourhood (Naeem et al. 2020)


def energy_distance(x: Tensor, y: Tensor) -> Tensor:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| of two samples, a scalar.

    Szekely and Rizzo (2013); 0 in the mean if both have the same distribution, as no
    row is paired with itself. Shapes: (n, width) and (m, width).
    """
    within = [
        torch.cdist(part, part, compute_mode=EXACT).sum()
        / max(1, len(part) * (len(part) - 1))
        for part in (x, y)
    ]
    return 2.0 * torch.cdist(x, y, compute_mode=EXACT).mean() - within[0] - within[1]


def coverage(real: Tensor, generated: Tensor) -> float:
    """Share of real rows that have a generated one in their neighbourhood.

    That is a ball up to the fifth nearest real row (Naeem et al. 2020, equation 10).
    Two samples of the same size and distribution have .97 in the mean; where modes are
    missing, their rows are not covered. Shapes: (n, width) and (m, width), n above 5.
    """
    apart = torch.cdist(real, real).fill_diagonal_(torch.inf)
    radius = apart.topk(N_NEIGHBOURS, largest=False).values[:, -1]
    nearest = torch.cdist(real, generated).min(1).values
    return (nearest <= radius).float().mean().item()
