"""Filling in the missing cells of tables from a fitted model."""

import pandas as pd
from scipy.sparse import issparse

from ._constrained_imputation import impute_constrained
from ._holes import (
    EncodedHoles,
    draw,
    expected,
    expected_columns,
    filled_in,
    with_implied_cells,
)
from ._table.constrained import ConstrainedCodec
from ._table.frames import as_frame
from ._table.sparse import SparseCodec


def impute_table(model, X, **options):
    """Fill in the missing cells of a DataFrame or an array; see `impute_frame`.

    Raises
    ------
    ValueError
        If rows are sparse, or cannot meet the constraints of the model.
    """
    if issparse(X) or isinstance(model.codec_, SparseCodec):
        raise ValueError(
            "X is sparse, or was in `fit`, and such rows have no missing values: "
            "impute takes a DataFrame or a dense array."
        )
    constrained = isinstance(model.codec_, ConstrainedCodec)
    impute = impute_constrained if constrained else impute_frame
    filled = impute(model, as_frame(X), **options)
    if isinstance(X, pd.DataFrame):
        return filled
    return filled.to_numpy(dtype=X.dtype if X.dtype.kind in ("f", "O") else None)


def impute_frame(model, frame, *, sample_posterior, rounded, rng):
    """Fill in the missing cells of a frame.

    Parameters
    ----------
    model : VAETransformer
        Fitted to a table.
    frame : DataFrame
        With the columns of training, in their order.
    sample_posterior : bool
        Whether cells are draws, or means and most likely levels.
    rounded : bool
        Whether means of numbers are rounded as the numbers of training are.
    rng : numpy.random.Generator

    Returns
    -------
    filled : DataFrame
    """
    codec = model.codec_
    if codec.laws_ is not None:
        # A row may break a law, as one with a gross error does.
        frame = with_implied_cells(frame, codec.laws_.sums, within_range=True)
    holes = EncodedHoles(codec, frame, model.device_)
    if not holes.missing.any():
        return frame.copy()
    if sample_posterior:
        table = as_frame(codec.decode(*draw(model, holes, rng), rng))
        columns = [table.iloc[:, position] for position in range(table.shape[1])]
    else:
        means, codes = expected(model, holes, rng)
        columns = expected_columns(codec, frame, means, codes, rounded)
    filled = frame.copy()
    for position, values in enumerate(columns):
        if holes.missing[:, position].any():
            cells = filled_in(frame.iloc[:, position], values)
            filled.isetitem(position, cells)
    return filled
