"""How tables of a fit are encoded, and the way of encoded rows to the device."""

import warnings

import torch
from scipy.sparse import issparse

from ._batches import Atoms, LazyRows, chunks_of, place_rows, place_sparse_rows
from ._columns import ENCODED_MAX
from ._frames import refuse_dense_options, resolve_scaling, resolve_sparse_scaling
from ._matrix import MatrixCodec
from ._table import TableCodec


def fit_codec(model, X, is_stream):
    """The codec that an estimator's parameters ask for, fitted to X."""
    scaling, default = model.numeric_scaling, model._default_scaling
    if issparse(X):
        scaling = resolve_sparse_scaling(X, scaling, model.loss, default)
        return MatrixCodec(scaling, keep_constants=is_stream).fit(X)
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
    warnings.warn(
        f"column {column.name!r} looks like an identifier: {column.n_levels_seen_} of "
        f"its {column.n_present_} values differ. Samples repeat them, and a saved "
        "model holds them. Drop the column, or pass max_categories to keep the "
        "frequent ones alone.",
        UserWarning,
        stacklevel=7,
    )


def widened(codec, X):
    """A codec that has learnt from more rows, too, where it can; `codec` stays."""
    if isinstance(codec, TableCodec) and issparse(X):
        return codec
    return codec.widen(X)


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
    atoms = atoms_of(codec) if rng is not None else None
    if atoms:
        noise = torch.Generator().manual_seed(int(rng.integers(2**63)))
        for part in chunks_of(len(x_num), x_num.shape[1]):
            atoms.redraw(x_num[part], x_cat[part], noise)
        atoms.to(device)
    return place_rows(x_num, x_cat, device, atoms)


def upload_sparse(codec, X, device, to_train):
    """Encoded rows of a sparse matrix, of which no more than a batch is dense."""
    if isinstance(codec, MatrixCodec):
        return place_sparse_rows(*map(torch.from_numpy, codec.encode_sparse(X)), device)
    return LazyRows(
        lambda index: codec.encode(X[index].toarray()),
        torch.arange(X.shape[0]),
        16 * X.shape[1],
        device,
        atoms_of(codec).to(device) if to_train else None,
    )


def atoms_of(codec):
    """The intervals of a codec's numbers that stand for one value each."""
    return Atoms(codec.atoms(), codec.layout_.masks)
