"""Rows that come again: in a table, and in later passes over a stream."""

import hashlib

import numpy as np
import pandas as pd

from .numeric import NumericColumn

# Maximum number of rows of a chunk that is known again, and minimum number of different
# ones. Of more rows quantiles do not keep single values, which passes would repeat.
MAX_ROWS, MIN_DIFFERENT = 20_000, 30
# Maximum number of chunks that are known again, the last ones.
MAX_CHUNKS = 10_000
# Minimum mean number of rows like each one of a table in which rows repeat, and minimum
# number of values of a number, relative to rows that differ, which says that they do
# not by chance.
MIN_REPEATS, MIN_VALUES = 1.5, 0.9


def row_hashes(frame: pd.DataFrame) -> np.ndarray | None:
    """A number for each row; None for many rows, or if a cell has no hash."""
    if len(frame) > MAX_ROWS:
        return None
    try:
        return pd.util.hash_pandas_object(frame, index=False).to_numpy()
    except (TypeError, ValueError, NotImplementedError):
        return None


def n_repeated(frame: pd.DataFrame) -> int:
    """Number of rows that repeat others though numbers vary as much as rows do.

    0 where that may be by chance, and for many rows.
    """
    rows = row_hashes(frame)
    if rows is None:
        return 0
    n_different = len(np.unique(rows))
    if n_different < MIN_DIFFERENT or len(rows) < MIN_REPEATS * n_different:
        return 0
    numbers = frame.select_dtypes("number")
    n_values = max((own.nunique() for _, own in numbers.items()), default=0)
    return len(rows) - n_different if n_values >= MIN_VALUES * n_different else 0


def digests(frame: pd.DataFrame) -> np.ndarray:
    """A number that hardly any other rows have, for those of a chunk in any order.

    An array of one, or of none where too few rows differ or a cell has no hash.
    """
    rows = row_hashes(frame)
    if rows is None or len(np.unique(rows)) < MIN_DIFFERENT:
        return np.array([], dtype=np.uint64)
    hashed = hashlib.blake2b(np.sort(rows).tobytes(), digest_size=8)
    return np.frombuffer(hashed.digest(), np.uint64)


def new_rows(codec, frame: pd.DataFrame, columns: list) -> tuple[np.ndarray, set]:
    """Digests of the chunks of a stream, and which columns the last one is news for.

    Parameters
    ----------
    codec : TableCodec
    frame : DataFrame
        The last chunk.
    columns : list of Series
        Its columns in the order of training.

    Returns
    -------
    chunks : ndarray of uint64
    positions : set of int
        All numbers, but for those that vary if the stream has had the rows before.
    """
    chunk, numbers = digests(frame), {}
    for own, column in zip(codec.columns_codec_, columns, strict=True):
        if isinstance(own, NumericColumn):
            numbers[own.position_] = has_known_values(own, column)
    answers = [answer for answer in numbers.values() if answer is not None]
    is_known = bool(np.isin(chunk, codec.chunks_).any())
    if is_known or (answers and all(answers)):
        constant = [i for i in numbers if not codec.columns_codec_[i].varies_]
        return codec.chunks_, set(constant)
    chunks = np.concatenate([codec.chunks_, chunk])[-MAX_CHUNKS:]
    return chunks, set(numbers)


def has_known_values(codec: NumericColumn, column: pd.Series) -> bool | None:
    """Whether the values of a column have been there; None if maybe so by chance."""
    if codec.scaling != "quantile" or not codec.varies_:
        return None
    _, values = codec.read(column)
    return codec.quantiles_.knows(codec._to_float(values))
