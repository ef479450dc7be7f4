"""Single cells that make a row an outlier: extreme numbers, rare levels, many gaps."""

import numpy as np

from .._table.frames import as_frame
from .._table.kinds import is_categorical
from .._table.plain import to_floats

# A tail of a column has a tenth of its numbers, at least so many, at most half of them;
# and the largest shape of its generalised Pareto distribution.
MIN_TAIL, MAX_SHAPE = 40, 2.0
# A number that so many rows share is no error of one of them.
MIN_COMMON = 10
# A number alone makes its row an outlier where one row in so many has one as far out.
GROSS_ROWS = 1_000
# A rare level alone makes its row as unusual as the share of rows with one as rare,
# times the number of columns with levels, if that is one row in so many.
RARE_ROWS = 20
# Missing cells make a row an outlier if fewer than one row in so many misses as many.
MANY_GAPS_ROWS = 200


class Tails:
    """How far single numbers are beyond the bulk of their columns, and levels rare.

    A model of quantiles cannot know: the largest number of a training column is its
    largest, whatever it is. Nor does a model that compares cells with any values of
    their columns count how rare a level is.
    """

    def fit(self, X):
        self.sides_, self.levels_ = {}, {}
        for place, (_, column) in enumerate(as_frame(X).items()):
            if is_categorical(column):
                self.levels_[place] = Rarity().fit(column)
                continue
            x = quarters_of(column)
            x = x[np.isfinite(x)]
            if len(x):
                self.sides_[place] = Tail().fit(x), Tail().fit(-x)
        return self

    def surprises(self, X):
        """Minus the log-probabilities of cells as far out or rare, (n, n_columns)."""
        frame = as_frame(X)
        found = np.zeros(frame.shape)
        for place, (above, below) in self.sides_.items():
            x = quarters_of(frame.iloc[:, place])
            there = ~np.isnan(x)
            x = x[there]
            found[there, place] = np.maximum(above.surprise(x), below.surprise(-x))
        for place, rarity in self.levels_.items():
            found[:, place] = rarity.surprise(frame.iloc[:, place])
        return found

    def decisive(self, X):
        """Surprises that make rows outliers, by Bonferroni's inequality, else zero.

        The order of other rows is the model's. Tails of numbers are counted apart from
        levels.
        """
        surprises = self.surprises(X)
        is_level = np.zeros(surprises.shape[1], dtype=bool)
        is_level[list(self.levels_)] = True
        n_tails = np.where(is_level, len(self.levels_), 2 * len(self.sides_))
        found = surprises - np.log(np.maximum(n_tails, 1))
        least = np.log(np.where(is_level, RARE_ROWS, GROSS_ROWS))
        return np.where(found > least, found, 0.0)


class Rarity:
    """How many rows of a column have a level that is as rare as another one.

    A level that no row has counts as one of a single row: where many are seen once, as
    identifiers are, new ones come with every row (Good 1953).
    """

    def fit(self, column):
        self.counts_ = levels_of(column).value_counts(dropna=False)
        counts, n_levels = np.unique(self.counts_, return_counts=True)
        self.sizes_, self.n_rows_ = counts, (counts * n_levels).cumsum()
        return self

    def surprise(self, column):
        """Minus the log-probability of a level as rare."""
        places = self.counts_.index.get_indexer(levels_of(column))
        counts = np.where(places < 0, 1, self.counts_.to_numpy()[places])
        below = np.searchsorted(self.sizes_, counts, side="right")
        n_as_rare = np.concatenate([[0], self.n_rows_])[below]
        return -np.log((n_as_rare + 1) / (self.n_rows_[-1] + 1))


def levels_of(column):
    """A column as objects, all missing cells alike."""
    return column.astype(object).where(column.notna(), np.nan)


class Tail:
    """The upper tail of a column: a generalised Pareto distribution of its excesses.

    Its shape and scale follow from the median and the upper quartile (Pickands 1975),
    which a few gross errors among the excesses hardly move. Numbers up to one that
    many rows share are as probable, at least, as these rows are frequent.
    """

    def fit(self, x):
        n = len(x)
        n_tail = min(max(n // 10, MIN_TAIL), n // 2)
        self.start_ = float(np.sort(x)[n - 1 - n_tail])
        excesses = x[x > self.start_] - self.start_
        # A column without excesses has seen none in n rows.
        self.log_share_ = np.log((len(excesses) or 1) / (n + 1))
        self.shape_, self.scale_ = 1.0, np.inf
        if len(excesses):
            median, quartile = np.quantile(excesses, [0.5, 0.75])
            with np.errstate(over="ignore"):
                ratio = max((quartile - median) / median, 1.0)
            # Of few excesses the shape is uncertain: to overrate it is the safe side.
            shape = min(np.log2(ratio), MAX_SHAPE) + 1 / np.sqrt(len(excesses))
            self.shape_ = float(shape)
            self.scale_ = float(median * shape / (2**shape - 1))
        values, counts = np.unique(x[x > self.start_], return_counts=True)
        common = values[counts >= MIN_COMMON]
        self.common_ = float(common[-1]) if len(common) else -np.inf
        self.most_ = -np.log(np.mean(x >= self.common_))
        return self

    def surprise(self, x):
        """Minus the log-probability of a number as large; zero below the tail."""
        with np.errstate(over="ignore"):
            ratio = self.shape_ * np.maximum(x - self.start_, 0.0) / self.scale_
        ratio = np.minimum(ratio, np.finfo(np.float64).max)  # Scores are finite.
        survival = np.log1p(ratio) / self.shape_
        surprise = np.where(x > self.start_, survival - self.log_share_, 0.0)
        return np.where(x <= self.common_, np.minimum(surprise, self.most_), surprise)


class Gaps:
    """How many cells of a row are missing, beside the rows of training.

    A model for which columns are missing independently of each other finds nothing
    strange in a row of which hardly any cell is left.
    """

    def fit(self, X):
        missing = missing_cells(X)
        self.counts_ = np.sort(missing.sum(1))
        # Between half a missing cell in all, so that there is a logarithm, and a half.
        share = (missing.sum() + 0.5) / (missing.size + 1)
        self.log_share_ = np.log(min(share, 0.5))
        return self

    def decisive(self, X):
        """Surprises (n, n_columns) that make rows outliers, in their missing cells.

        Minus the log-share of rows that miss as many cells, where these are below one
        row in MANY_GAPS_ROWS, else zero: fewer training rows decide nothing. Of the
        cells beyond the most that a training row misses, each but the first, which the
        share of rows counts, adds minus the log-share of missing cells.
        """
        missing = missing_cells(X)
        n_rows, n_missing = len(self.counts_), missing.sum(1)
        n_as_many = n_rows - np.searchsorted(self.counts_, n_missing, side="left")
        found = -np.log((n_as_many + 1) / (n_rows + 1))
        is_decisive = MANY_GAPS_ROWS * (n_as_many + 1) < n_rows + 1
        n_further = np.maximum(n_missing - self.counts_[-1] - 1, 0)
        found = np.where(is_decisive, found - n_further * self.log_share_, 0.0)
        return missing * found[:, None]


def missing_cells(X):
    """Whether each cell is missing, (n, n_columns)."""
    return np.column_stack([column.isna() for _, column in as_frame(X).items()])


def quarters_of(column) -> np.ndarray:
    """Quarters of numbers, whose differences are finite whatever the numbers are."""
    return to_floats(column) / 4
