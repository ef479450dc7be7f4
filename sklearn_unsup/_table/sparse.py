"""SparseCodec: sparse rows of plain numbers to encoded entries, and back to arrays."""

import copy

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator

from .conditions import check_conditions, describe
from .layout import TableLayout
from .requests import TableConditions, encode_conditions

FLOAT32_MAX = float(np.finfo(np.float32).max)
# Maximum number of entries that are computed with at once in float64.
BLOCK_ENTRIES = 2**22


class SparseCodec(BaseEstimator):
    """Encode sparse rows as float32 entries; decode them to dense arrays.

    It keeps a few numbers of each column, but no rows, and never makes a matrix dense
    that comes sparse. Columns that do not vary are not encoded: they come back as their
    constant, whatever `encode` saw in them.

    Parameters
    ----------
    numeric_scaling : {"shared", "standard", "minmax"} or None, default=None
        Scaling of each column, absent entries counting as the zeros that they are.
        "shared" divides all columns by one number, so that their mean variance is 1.
        None passes numbers through.
    keep_constants : bool, default=False
        Encode constant columns too, unscaled: in a stream, later rows may have other
        values there.

    Attributes
    ----------
    layout_ : TableLayout
        Shape of the encoded rows.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> X = csr_array([[0.0, 0.0, 2.0], [0.0, 4.0, 0.0]])
    >>> codec = SparseCodec("minmax").fit(X)
    >>> indptr, columns, values, background = codec.encode_sparse(X)
    >>> columns, values, background
    (array([1, 0], dtype=int32), array([1., 1.], dtype=float32), array([0., 0.], \
dtype=float32))
    >>> codec.decode([[0.5, 1.0]])
    array([[0., 4., 2.]])
    """

    # No quantiles are kept that drawn rows could be calibrated by.
    has_marginals_ = False

    laws_ = None  # Sparse rows have none.

    def held_constraints(self) -> list:
        """What drawn rows are made to meet: nothing."""
        return []

    def __init__(self, numeric_scaling=None, *, keep_constants=False):
        self.numeric_scaling = numeric_scaling
        self.keep_constants = keep_constants

    # ------------------------------------------------------------------ learning

    def fit(self, X, y=None) -> "SparseCodec":
        """Learn ranges and scales of the columns of a sparse matrix."""
        X = canonical(X)
        n, width = X.shape
        self.dtype_, self.n_columns_ = X.dtype, width
        # Least and greatest values; greatest negative and least positive ones.
        self.low_, self.high_ = np.full(width, np.inf), np.full(width, -np.inf)
        self.below_, self.above_ = np.full(width, -np.inf), np.full(width, np.inf)
        self.whole_ = np.ones(width, dtype=bool)
        self._reach(X)
        varies = self.low_ < self.high_
        self.center_, self.scale_ = np.zeros(width), np.ones(width)
        if self.numeric_scaling in ("shared", "standard"):
            mean, deviation = moments(X)
            if self.numeric_scaling == "standard":
                self.center_, self.scale_ = mean, np.where(varies, deviation, 1.0)
            elif varies.any():
                self.scale_[:] = np.sqrt(np.mean(np.square(deviation[varies])))
        elif self.numeric_scaling == "minmax":
            self.center_ = self.low_.copy()
            self.scale_ = np.where(varies, self.high_ - self.low_, 1.0)
        encoded = varies | self.keep_constants
        self.encoded_ = np.flatnonzero(encoded)
        # A copy, because the ranges may get wider in a stream.
        self.constants_ = self.low_[~encoded]
        # With nothing that varies a network still needs an input: a column of zeros.
        self.layout_ = TableLayout(max(1, len(self.encoded_)))
        return self

    @property
    def empty_(self) -> bool:
        """Whether no column is encoded, because none varies."""
        return len(self.encoded_) == 0

    @property
    def varies_(self) -> np.ndarray:
        """Whether each column is encoded."""
        return np.isin(np.arange(self.n_columns_), self.encoded_)

    def updated(self, X) -> "SparseCodec":
        """A codec whose decoded values reach what more rows have; scales stay."""
        wider = copy.copy(self)
        for name in ("low_", "high_", "below_", "above_", "whole_"):
            setattr(wider, name, getattr(self, name).copy())
        wider._reach(X)
        return wider

    def _reach(self, X):
        """Take the values of X into the ranges, in place."""
        X = canonical(X)
        n, width = X.shape
        for columns, values in entry_blocks(X):
            np.minimum.at(self.low_, columns, values)
            np.maximum.at(self.high_, columns, values)
            positive, negative = values > 0, values < 0
            np.minimum.at(self.above_, columns[positive], values[positive])
            np.maximum.at(self.below_, columns[negative], values[negative])
            self.whole_[columns[values != np.rint(values)]] = False
        absent = counts(X) < n
        self.low_[absent] = np.minimum(self.low_[absent], 0.0)
        self.high_[absent] = np.maximum(self.high_[absent], 0.0)

    # ------------------------------------------------------------------ encoding

    def encode_sparse(self, X) -> tuple[np.ndarray, ...]:
        """Encoded entries of a sparse matrix, as CSR, and what the others encode as.

        Returns
        -------
        indptr : ndarray of shape (n + 1,), int64
        columns : ndarray of shape (n_entries,), int32
        values : ndarray of shape (n_entries,), float32
        background : ndarray of shape (layout_.n_numeric,), float32
            Encoded zeros: of what is absent.
        """
        X = canonical(X)
        values = np.empty(X.nnz, np.float32)
        stop = 0
        for columns, part in entry_blocks(X):
            start, stop = stop, stop + len(part)
            values[start:stop] = self._scale(part, columns)
        indptr, columns = X.indptr.astype(np.int64), X.indices.astype(np.int32)
        if len(self.encoded_) < self.n_columns_:
            places = np.full(self.n_columns_, -1, np.int32)
            places[self.encoded_] = np.arange(len(self.encoded_))
            columns = places[columns]
            kept = columns >= 0
            indptr = np.concatenate([[0], np.cumsum(kept)])[indptr]
            columns, values = columns[kept], values[kept]
        background = np.zeros(self.layout_.n_numeric, np.float32)
        zeros = np.zeros(len(self.encoded_))
        background[: len(zeros)] = self._scale(zeros, self.encoded_)
        return indptr, columns, values, background

    def encode(self, X, learning=False) -> tuple[np.ndarray, np.ndarray]:
        """Of dense rows: numbers (n, n_numeric) float32 and no codes, int64 (n, 0).

        `learning` is for the codec of other tables: what is unknown here is refused.
        """
        n = len(X)
        x_num = np.zeros((n, self.layout_.n_numeric), np.float32)
        for rows in row_blocks(n, self.n_columns_):
            part = X.iloc[rows] if hasattr(X, "iloc") else X[rows]
            part = np.asarray(part, dtype=np.float64)
            if not np.isfinite(part).all():
                raise ValueError(
                    "X contains NaN or infinity: a model that was fitted on sparse "
                    "rows knows no missing values. Fill them in."
                )
            z = self._scale(part[:, self.encoded_], self.encoded_)
            x_num[rows, : z.shape[1]] = z
        return x_num, np.zeros((n, 0), np.int64)

    def _scale(self, values, columns):
        with np.errstate(over="ignore"):
            z = (values - self.center_[columns]) / self.scale_[columns]
        return np.clip(z, -FLOAT32_MAX, FLOAT32_MAX)

    def binary_numbers(self) -> np.ndarray:
        """Encoded numbers of which only 0 and 1 are known, bool, (n_numeric,)."""
        is_binary = np.zeros(self.layout_.n_numeric, dtype=bool)
        low, high = self.low_[self.encoded_], self.high_[self.encoded_]
        has_two = (low == 0) & (self.above_[self.encoded_] == high)
        has_two |= (high == 0) & (self.below_[self.encoded_] == low)
        ends = (self._scale(end, self.encoded_) for end in (low, high))
        is_unit = [end == wanted for end, wanted in zip(ends, (0, 1), strict=True)]
        is_binary[: len(has_two)] = has_two & is_unit[0] & is_unit[1]
        return is_binary

    def atoms(self) -> list:
        """None: no scaling here gives a value an interval."""
        return []

    def frequent_values(self, min_share: float, few: int) -> list:
        """None, as no value has an interval."""
        return []

    # ------------------------------------------------------------------ decoding

    def decode(
        self,
        x_num,
        x_cat=None,
        random_state=None,
        requests=None,
        beyond_range=False,
    ) -> np.ndarray:
        """Dense rows of encoded ones, in the dtype of training.

        Total: any finite numbers give legal rows. They stay in the range of their
        column. Between zero and the value nearest to it that was seen there is nothing:
        they become the nearer of the two. Where only whole numbers were seen they are
        rounded.

        Parameters
        ----------
        x_num : array of shape (n, n_numeric)
        x_cat, random_state, requests, beyond_range : object
            Ignored: present for consistency with tables.
        """
        x_num, n = np.asarray(x_num), len(x_num)
        out = np.empty((n, self.n_columns_), self.dtype_)
        kept = self.encoded_
        constant = np.ones(self.n_columns_, dtype=bool)
        constant[kept] = False
        out[:, constant] = self.constants_.astype(self.dtype_)
        for rows in row_blocks(n, self.n_columns_):
            x = x_num[rows, : len(kept)].astype(np.float64)
            with np.errstate(over="ignore"):
                x = x * self.scale_[kept] + self.center_[kept]
            x = np.clip(x, self.low_[kept], self.high_[kept])
            for edge in (self.above_[kept], self.below_[kept]):
                inside = (x * np.sign(edge) > 0) & (np.abs(x) < np.abs(edge))
                nearest = np.where(np.abs(x) < 0.5 * np.abs(edge), 0.0, edge)
                x = np.where(inside, nearest, x)
            x = np.where(self.whole_[kept], np.rint(x), x)
            out[rows, kept] = x.astype(self.dtype_)
        return out

    # ------------------------------------------------------------------ conditions

    def encode_conditions(self, conditions, n_rows: int) -> TableConditions:
        """No conditions; any is refused."""
        if conditions is not None:
            check_conditions(conditions)
            if len(conditions):
                raise ValueError(
                    f"conditions={describe(conditions)}: a model of sparse rows takes "
                    "none. Draw more rows and select among them, or fit on a DataFrame."
                )
        return encode_conditions(self, None, n_rows)


def canonical(X) -> sparse.csr_array:
    """A sparse matrix as CSR without duplicate entries; the one given is left alone.

    Raises
    ------
    ValueError
        If a value is missing.
    """
    X = sparse.csr_array(X)
    if X.dtype.kind == "f" and np.isnan(X.data).any():
        raise ValueError(
            "X is sparse and contains NaN: sparse rows have no missing values. Store "
            "what is missing as zeros, or pass a dense array or a DataFrame."
        )
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


def entry_blocks(X):
    """Columns and float64 values of the entries of CSR rows, a block at a time."""
    for start in range(0, X.nnz, BLOCK_ENTRIES):
        part = slice(start, start + BLOCK_ENTRIES)
        yield X.indices[part], X.data[part].astype(np.float64)


def row_blocks(n_rows, width):
    """Slices of rows with so many entries that are dense."""
    step = max(1, BLOCK_ENTRIES // max(1, width))
    return [slice(start, start + step) for start in range(0, n_rows, step)]


def counts(X) -> np.ndarray:
    """Number of stored entries of each column."""
    return np.bincount(X.indices, minlength=X.shape[1])


def moments(X) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the columns of CSR rows."""
    n, width = X.shape
    mean, squares = np.zeros(width), np.zeros(width)
    for columns, values in entry_blocks(X):
        mean += np.bincount(columns, values, width)
    mean /= n
    for columns, values in entry_blocks(X):
        squares += np.bincount(columns, np.square(values - mean[columns]), width)
    squares += (n - counts(X)) * np.square(mean)
    return mean, np.sqrt(squares / n)
