"""How tables of a fit are encoded, and the way of encoded rows to the device."""

import torch
from scipy.sparse import issparse

from ._nn.chunks import chunk_slices
from ._table.codec import TableCodec
from ._table.numeric import ENCODED_MAX
from ._table.scaling import (
    refuse_dense_options,
    resolve_scaling,
    resolve_sparse_scaling,
)
from ._table.sparse import SparseCodec
from ._training.atoms import Dequantizer
from ._training.data import LazyDataset, place_dataset, place_sparse_dataset
from ._warnings import warn_user


def fit_codec(model, X, is_stream):
    """The codec that an estimator's parameters ask for, fitted to X."""
    scaling, default = model.numeric_scaling, model._default_scaling
    if issparse(X):
        scaling = resolve_sparse_scaling(X, scaling, model.loss, default)
        return SparseCodec(scaling, keep_constants=is_stream).fit(X)
    limit = {}
    if model.max_categories is not None:
        limit = {"max_categories": model.max_categories, "keep_infrequent": False}
    codec = TableCodec(
        numeric_scaling=resolve_scaling(X, scaling, default, model._pixel_columns),
        categorical_features=model.categorical_features,
        handle_unknown=model.handle_unknown,
        declared_levels=is_stream,
        **limit,
    ).fit(X)
    for column in codec.numbers_:
        column.refuse_extremes()
    for column in codec.categories_:
        if getattr(column, "looks_like_identifier_", False):
            warn_of_identifier(column)
    return codec


def warn_of_identifier(column):
    warn_user(
        f"column {column.name!r} looks like an identifier: {column.n_levels_seen_} of "
        f"its {column.n_present_} values differ. Samples repeat them, and a saved "
        "model holds them. Drop the column, or pass max_categories to keep the "
        "frequent ones alone.",
    )


def updated_codec(codec, X):
    """A codec that has learnt from more rows, too, where it can; `codec` stays."""
    if isinstance(codec, TableCodec) and issparse(X):
        return codec
    return codec.updated(X)


def upload(model, X, rng=None):
    """Encoded rows for an estimator's device.

    With `rng`, in training, numbers are at random points of their atoms.
    """
    codec, device = model.codec_, model.device_
    if issparse(X):
        if rng is not None:
            refuse_dense_options(model.categorical_features, model.density_ratio)
        return upload_sparse(codec, X, device, rng is not None)
    x_num, x_cat = map(torch.from_numpy, codec.encode(X))
    x_num.clamp_(-ENCODED_MAX, ENCODED_MAX)  # of rows that `fit` has not seen
    dequantizer = dequantizer_of(codec) if rng is not None else None
    if dequantizer:
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        for part in chunk_slices(len(x_num), x_num.shape[1]):
            dequantizer.dequantize_(x_num[part], x_cat[part], generator)
        dequantizer.to(device)
    return place_dataset(x_num, x_cat, device, dequantizer)


def upload_sparse(codec, X, device, to_train):
    """Encoded rows of a sparse matrix, of which no more than a batch is dense."""
    if isinstance(codec, SparseCodec):
        return place_sparse_dataset(
            *map(torch.from_numpy, codec.encode_sparse(X)), device
        )
    return LazyDataset(
        lambda index: codec.encode(X[index].toarray()),
        torch.arange(X.shape[0]),
        16 * X.shape[1],
        device,
        dequantizer_of(codec).to(device) if to_train else None,
    )


def dequantizer_of(codec):
    """The intervals of a codec's numbers that stand for one value each."""
    return Dequantizer(codec.atoms(), codec.layout_.masks)
