"""New rows near the given ones, and their labels."""

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.neighbors import NearestNeighbors

from ._containers import append
from ._teacher import AutoTeacher, TableNumbers, draw_labels

# Number of copies of a new row, among which the classes have the teacher's shares.
N_COPIES = 5
# Number of nearest rows that a row is mixed with.
N_NEIGHBORS = 20
# Share of the cells of a row that a generator draws anew.
SHARE_REDRAWN = 0.4
# Share of the cells that cannot be interpolated which come from the neighbour.
SHARE_SWAPPED = 0.5


class RowMaker:
    """Fitted on some rows, draws new ones with labels."""

    def __init__(self, generator, teacher, is_class, seed):
        self.generator = generator
        self.teacher = teacher
        self.is_class = is_class
        self.rng = np.random.default_rng(seed)

    def fit(self, X, table, y):
        """Fit teacher and generator to the same rows.

        `X` is in the container that the teacher takes, `table` is a DataFrame.
        """
        self.X, self.table = X, table
        seed = int(self.rng.integers(2**31))
        if isinstance(self.teacher, str):
            self.teacher_ = AutoTeacher(self.is_class, seed).fit(table, y)
        else:
            self.teacher_ = clone(self.teacher).fit(X, y)
        self.generator_ = None
        if self.generator is not None:
            self.generator_ = clone(self.generator)
            if "random_state" in self.generator_.get_params(deep=False):
                self.generator_.set_params(random_state=seed)
            self.generator_.fit(table)
        return self

    def draw(self, n_rows):
        """A DataFrame of `n_rows` rows and their labels, in random order."""
        n_copies = N_COPIES if self.is_class else 1
        n_different = -(-n_rows // n_copies)
        if self.generator_ is None:
            rows = mix_neighbors(self.table, n_different, self.rng)
        else:
            n_mixed = n_different // 2
            rows = pd.concat(
                [
                    mix_neighbors(self.table, n_mixed, self.rng),
                    redraw_cells(
                        self.generator_, self.table, n_different - n_mixed, self.rng
                    ),
                ],
                ignore_index=True,
            )
            rows = rows.iloc[self.rng.permutation(len(rows))]
        asked = rows
        if not isinstance(self.teacher, str):
            asked = append(self.X, rows)[len(self.X) :]
        places, labels = draw_labels(
            self.teacher_, asked, self.rng, is_class=self.is_class, n_copies=n_copies
        )
        return rows.iloc[places[:n_rows]], labels[:n_rows]


def mix_neighbors(X, n_rows, rng) -> pd.DataFrame:
    """Rows whose cells lie between a row of X and its nearest neighbours.

    Each cell has a neighbour of its own, so that the new rows fill the space around a
    row, not only lines to others. Floats are interpolated; of all other cells, and
    where one of both is missing, half come from the neighbour.
    """
    numbers = TableNumbers().fit_transform(X)
    n_neighbors = min(N_NEIGHBORS + 1, len(X))
    nearest = NearestNeighbors(n_neighbors=n_neighbors).fit(numbers)
    nearest = nearest.kneighbors(numbers, return_distance=False)
    first = spread(len(X), n_rows, rng)[:, np.newaxis]
    second = nearest[first, rng.integers(n_neighbors, size=(n_rows, X.shape[1]))]
    swapped = rng.random(second.shape) < SHARE_SWAPPED
    either = np.where(swapped, second, first)
    is_float = np.array(
        [isinstance(dtype, np.dtype) and dtype.kind == "f" for dtype in X.dtypes]
    )
    # Floats are handled in one block: pandas takes its time for each column.
    values, columns = X.loc[:, is_float].to_numpy(), np.arange(is_float.sum())
    a, b = values[first, columns], values[second[:, is_float], columns]
    between = a + rng.random(a.shape) * (b - a)
    between = np.where(np.isnan(between), values[either[:, is_float], columns], between)
    floats = pd.DataFrame(between, columns=X.columns[is_float])
    others = [
        X.iloc[either[:, place], place].reset_index(drop=True)
        for place in np.flatnonzero(~is_float)
    ]
    return pd.concat([floats, *others], axis=1)[X.columns].astype(dict(X.dtypes))


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
    rounds = max(1, -(-n_rows // n))
    return np.concatenate([rng.permutation(n) for _ in range(rounds)])[:n_rows]
