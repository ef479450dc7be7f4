"""New rows near the given ones, without labels."""

import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors

from ._teacher import TableNumbers

N_NEIGHBORS = 5
SHARE_REDRAWN = 0.4  # of the cells of a row
SHARE_SWAPPED = 0.5  # of the cells that cannot be interpolated


def mix_neighbors(X, n_rows, rng) -> pd.DataFrame:
    """Rows between a row of X and one of its five nearest neighbours.

    Floats are interpolated; of all other cells, and where one of both is missing,
    half come from the neighbour.
    """
    numbers = TableNumbers().fit_transform(X)
    n_neighbors = min(N_NEIGHBORS + 1, len(X))
    nearest = NearestNeighbors(n_neighbors=n_neighbors).fit(numbers)
    nearest = nearest.kneighbors(numbers, return_distance=False)
    first = spread(len(X), n_rows, rng)
    second = nearest[first, rng.integers(n_neighbors, size=n_rows)]
    weight = rng.random(n_rows)
    columns = []
    for position in range(X.shape[1]):
        column = X.iloc[:, position]
        a, b = column.iloc[first], column.iloc[second]
        swapped = rng.random(n_rows) < SHARE_SWAPPED
        mixed = column.iloc[np.where(swapped, second, first)]
        mixed = mixed.reset_index(drop=True)
        if isinstance(column.dtype, np.dtype) and column.dtype.kind == "f":
            a, b = a.to_numpy(), b.to_numpy()
            between = (a + weight * (b - a)).astype(column.dtype)
            mixed = mixed.where(np.isnan(between), between)
        columns.append(mixed)
    return pd.concat(columns, axis=1)


def redraw_cells(generator, X, n_rows, rng) -> pd.DataFrame:
    """Rows of X of which a random part of the cells is drawn anew, given the others.

    A generator that cannot complete rows draws whole ones.
    """
    seed = int(rng.integers(2**31))
    if not hasattr(generator, "impute"):
        return generator.sample(n_rows, random_state=seed).reset_index(drop=True)
    rows = X.iloc[spread(len(X), n_rows, rng)].reset_index(drop=True)
    holes = rng.random(rows.shape) < SHARE_REDRAWN
    # What was missing stays so: imputation would fill it in.
    missing = rows.isna().to_numpy()
    drawn = generator.impute(rows.mask(holes), sample_posterior=True, random_state=seed)
    return drawn.where(~missing).astype(dict(X.dtypes))


def spread(n, n_rows, rng):
    """Places of `n_rows` rows among n: each comes as often as any other, or once more.

    The first n are a permutation, and so are the next, so that any first part of them
    covers the table evenly.
    """
    rounds = -(-n_rows // n)
    return np.concatenate([rng.permutation(n) for _ in range(rounds)])[:n_rows]
