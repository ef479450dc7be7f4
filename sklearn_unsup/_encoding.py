"""Encoding of tables for a network: fitting the codec, and datasets on the device."""

import numpy as np
import torch
from scipy.sparse import issparse

from ._nn.chunks import chunk_slices
from ._table.categorical import is_written_number
from ._table.codec import TableCodec
from ._table.constrained import ConstrainedCodec
from ._table.discovery import find_laws
from ._table.frames import as_frame
from ._table.images import full_image_shape
from ._table.laws import Laws
from ._table.numeric import ENCODED_MAX, NumericColumn
from ._table.plain import loses_digits
from ._table.scaling import (
    holds_plain_numbers,
    holds_shades,
    resolve_scaling,
    resolve_sparse_scaling,
)
from ._table.sparse import SparseCodec
from ._training.atoms import Dequantizer
from ._training.data import LazyDataset, place_dataset, place_sparse_dataset
from ._warnings import warn_user

# Parameters of an estimator that `fit_codec` takes by the same names.
CODEC_PARAMETERS = (
    "numeric_scaling",
    "loss",
    "categorical_features",
    "handle_unknown",
    "max_categories",
    "constraints",
    "image_shape",
)


def fit_codec(
    X,
    default_scaling,
    min_pixel_columns,
    knows_labelled_pixels,
    is_stream,
    *,
    numeric_scaling,
    loss,
    categorical_features,
    handle_unknown,
    max_categories,
    constraints,
    image_shape,
):
    """Fit a codec to a table, with the parameters of an estimator.

    Parameters
    ----------
    X : DataFrame, ndarray or CSR matrix
    default_scaling : str
        Meaning of ``numeric_scaling="auto"`` unless a table looks like pixels.
    min_pixel_columns : int
        Minimum number of columns of a table that looks like pixels.
    knows_labelled_pixels : bool
        Whether pixels are looked for beside categories, too.
    is_stream : bool
        Whether more rows will follow, with values that X may not have.
    numeric_scaling, loss, categorical_features, handle_unknown, max_categories, \
            constraints, image_shape
        The estimator's CODEC_PARAMETERS; `loss` matters for sparse matrices alone.

    Returns
    -------
    codec : TableCodec or SparseCodec
    """
    are_searched = isinstance(constraints, str)  # "auto"
    if are_searched:
        constraints = None
    if image_shape is not None:
        image_shape = full_image_shape(image_shape)
        refuse_options_of_tables(X, numeric_scaling, constraints)
        numeric_scaling = "minmax" if numeric_scaling == "auto" else numeric_scaling
    if issparse(X):
        refuse_sparse_rows(constraints)
        scaling = resolve_sparse_scaling(X, numeric_scaling, loss, default_scaling)
        return SparseCodec(scaling, keep_constants=is_stream).fit(X)
    options = {}
    if max_categories is not None:
        options = {"max_categories": max_categories, "keep_infrequent": False}
    codec_class = TableCodec
    if constraints:
        codec_class, options["constraints"] = ConstrainedCodec, constraints
    if image_shape is not None:
        options["image_shape"] = image_shape
    pixels = X
    if knows_labelled_pixels and numeric_scaling == "auto" and not constraints:
        pixels = pixels_beside_labels(X, categorical_features, min_pixel_columns)
    codec = codec_class(
        numeric_scaling=resolve_scaling(
            pixels, numeric_scaling, default_scaling, min_pixel_columns
        ),
        categorical_features=categorical_features,
        handle_unknown=handle_unknown,
        declared_levels=is_stream,
        **options,
    ).fit(X)
    for column in codec.numbers_:
        column.refuse_extremes()
    warn_of_columns(codec, X)
    if are_searched and not is_stream and image_shape is None:
        codec.laws_ = laws_of(codec, as_frame(X), max_categories)
    return codec


def warn_of_columns(codec, X):
    """Warn of numbers that lose digits, text of dates or numbers, and identifiers."""
    for column, (_, values) in zip(
        codec.columns_codec_, as_frame(X).items(), strict=True
    ):
        if isinstance(column, NumericColumn) and loses_digits(values):
            warn_of_lost_digits(values)
    for column in codec.categories_:
        is_chosen = not isinstance(codec.categorical_features, str)
        if not is_chosen and getattr(column, "looks_like_dates_", False):
            warn_of_dates(column)
        elif not is_chosen and getattr(column, "looks_like_numbers_", False):
            warn_of_numbers(column)
        elif getattr(column, "looks_like_identifier_", False):
            warn_of_identifier(column)


def laws_of(codec, frame, max_categories):
    """Laws that hold in all rows of a table, or None."""
    if codec.numeric_scaling in (None, "minmax"):
        return None  # pixels, or what the user has scaled
    limit = () if max_categories is None else (max_categories,)
    columns = [column for _, column in frame.items()]
    try:
        found = find_laws(frame, codec.categorical_mask(frame), *limit)
        return Laws(found).fit(columns, list(frame.columns)) if found else None
    except Exception as error:
        # Nobody has asked for laws, so that no search for them may end a fit.
        warn_user(
            "constraints='auto' found no laws, because the search for them failed: "
            f"{error!r}. Pass constraints=None for no search."
        )
        return None


def pixels_beside_labels(X, categorical_features, min_columns):
    """The numbers of a table if they can be pixels beside categories, else the table.

    Returns
    -------
    table : DataFrame or ndarray
    """
    if X.shape[1] <= min_columns:
        return X
    frame = as_frame(X)
    codec = TableCodec(categorical_features=categorical_features)
    mask = np.asarray(codec.categorical_mask(frame))
    numbers = frame.loc[:, ~mask]
    is_possible = mask.any() and numbers.shape[1] >= min_columns
    if is_possible and holds_plain_numbers(numbers) and holds_shades(numbers):
        return numbers
    return X


def refuse_options_of_tables(X, numeric_scaling, constraints):
    """Raise ValueError for what rows of pixels cannot be, or have."""
    if issparse(X):
        raise ValueError(
            "X is sparse, and with image_shape it must be dense: pass X.toarray(), or "
            "image_shape=None."
        )
    if constraints:
        raise ValueError(
            f"constraints={constraints!r} cannot hold with image_shape, which makes "
            "pixels of all numbers: pass one of the two."
        )
    if numeric_scaling == "quantile":
        raise ValueError(
            "numeric_scaling='quantile' scales each pixel for itself, which changes "
            "an image: with image_shape pass 'auto', 'minmax', 'standard' or None."
        )


def warn_of_identifier(column):
    warn_user(
        f"column {column.name!r} looks like an identifier: {column.n_levels_seen_} of "
        f"its {column.n_present_} values differ. Samples repeat them, and a saved "
        "model holds them. Drop the column, or pass max_categories to keep the "
        "frequent ones alone.",
    )


def warn_of_dates(column):
    shown = next(level for level in column.levels_ if level is not None)
    warn_user(
        f"column {column.name!r} is text such as {shown!r}, and each of its "
        f"{column.n_levels_seen_} dates becomes a category: they have no order, and no "
        "other date can be drawn or transformed. Convert it by pandas.to_datetime for "
        "dates, or by astype('category') for no warning.",
    )


def warn_of_numbers(column):
    shown = next(filter(is_written_number, column.levels_))
    warn_user(
        f"column {column.name!r} is text such as {shown!r}, and each of its "
        f"{column.n_levels_seen_} values becomes a category: they have no order, and "
        "no other number can be drawn or transformed. Convert it by pandas.to_numeric, "
        "with errors='coerce' for marks of missing values, or by astype('category') "
        "for no warning.",
    )


def warn_of_lost_digits(column):
    warn_user(
        f"column {column.name!r} of dtype {column.dtype} has more digits than floats "
        "of 64 bits, which its numbers become: they come back rounded. Round them "
        "yourself for no warning, or name the column in categorical_features, where it "
        "keeps its values."
    )


def updated_codec(codec, X):
    """Return a codec that is also fitted to the rows of X; `codec` does not change.

    A codec of dense tables is returned as it is for a sparse matrix.
    """
    if isinstance(codec, TableCodec) and issparse(X):
        return codec
    return codec.updated(X)


def refuse_sparse_rows(constraints):
    if constraints:
        raise ValueError(
            f"constraints={constraints!r}: X is sparse, and sparse rows have none. "
            "Pass a DataFrame or X.toarray()."
        )


def upload(codec, X, device, rng=None, *, is_drawn=False):
    """Encode a table into a dataset whose batches are on a device.

    Parameters
    ----------
    codec : TableCodec or SparseCodec
    X : DataFrame, ndarray or CSR matrix
    device : str
    rng : numpy.random.Generator or None, default=None
        Given for training: numbers are then set to random points of their atoms, and
        again in each pass over the dataset.
    is_drawn : bool, default=False
        Whether the rows come from a model: they are then not checked against the
        constraints.

    Returns
    -------
    dataset : EncodedDataset
    """
    if isinstance(codec, ConstrainedCodec):
        if issparse(X):
            refuse_sparse_rows(codec.constraints)
        if not is_drawn:
            codec.refuse_broken(X)
    if issparse(X):
        return upload_sparse(codec, X, device, rng is not None)
    learning = rng is not None
    x_num, x_cat = map(torch.from_numpy, codec.encode(X, learning=learning))
    if learning and codec.laws_ is not None:
        codec.forget_broken_laws(X)
    # Rows that `fit` has not seen may be beyond the bounds.
    x_num.clamp_(-ENCODED_MAX, ENCODED_MAX)
    dequantizer = make_dequantizer(codec) if learning else None
    if dequantizer:
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        for rows in chunk_slices(len(x_num), x_num.shape[1]):
            dequantizer.dequantize_(x_num[rows], x_cat[rows], generator)
        dequantizer.to(device)
    return place_dataset(x_num, x_cat, device, dequantizer)


def upload_sparse(codec, X, device, for_training):
    """Encode a sparse matrix into a dataset of which only batches are dense."""
    if isinstance(codec, SparseCodec):
        return place_sparse_dataset(
            *map(torch.from_numpy, codec.encode_sparse(X)), device
        )
    return LazyDataset(
        lambda index: codec.encode(X[index].toarray(), learning=for_training),
        torch.arange(X.shape[0]),
        16 * X.shape[1],  # Bytes of a row: a float32, an int64 and a mask's column.
        device,
        make_dequantizer(codec).to(device) if for_training else None,
    )


def make_dequantizer(codec):
    """Make a dequantizer for the atoms of a codec."""
    return Dequantizer(codec.atoms(), codec.layout_.masks)


def hold_out(dataset, validation_fraction, rng):
    """Two parts of an encoded dataset: to train on, and to judge early stopping by.

    Raises
    ------
    ValueError
        If no rows are left to train on.
    """
    n = len(dataset)
    n_valid = max(1, round(validation_fraction * n))
    if n_valid >= n:
        raise ValueError(
            f"early_stopping with validation_fraction={validation_fraction} leaves no "
            f"rows to train on: X has {n}. Pass more rows or early_stopping=False."
        )
    return dataset.split(torch.from_numpy(rng.permutation(n)), n - n_valid)
