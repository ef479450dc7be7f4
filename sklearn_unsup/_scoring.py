"""Scores of rows in the units of the table, and the share of each cell in them."""

import numpy as np
import pandas as pd
import torch
from scipy.sparse import issparse

from ._nn.chunks import chunk_slices, map_blocks
from ._nn.column_terms import column_terms
from ._nn.replacements import (
    Candidates,
    reconstruction_losses,
    replacement_losses,
    scored_replacements,
)
from ._table.constrained import ConstrainedCodec
from ._table.polars import is_polars, numbers_to_polars, to_polars
from ._table.sparse import SparseCodec
from ._table.units import SparseMeasure, TableMeasure, candidates_of
from ._training.data import place_dataset

# Rows of more columns are compared with what they are rebuilt as: a pass through the
# nets for every candidate of every column would take too long.
MAX_REPLACED_COLUMNS = 100


def likelihood_terms(model, codec, X, device) -> np.ndarray:
    """Nats of every cell given those before it, in the order of the model.

    Parameters
    ----------
    model : AutoregressiveModel
        In evaluation mode.
    codec : TableCodec or SparseCodec
    X : DataFrame, ndarray or CSR matrix
        A checked table.
    device : str

    Returns
    -------
    terms : ndarray of shape (n_samples, n_features)
        They add up to the log-likelihood of the row, in the table's own units.
    """
    refuse_broken(codec, X)
    measure = measure_of(codec)
    width = model.input_layer.out_features + model.input_layer.in_features

    def ask(numbers, x_cat):
        x_num, middle, half = numbers.chunk(3, 1)
        return column_terms(model, x_num, x_cat, middle, half)

    parts = []
    for part in dense_parts(X):
        asked = measure.questions(part)
        numbers = np.concatenate([asked.x_num, asked.middle, asked.half], 1)
        dataset = place_dataset(*map(torch.from_numpy, (numbers, asked.x_cat)), device)
        answers = map_blocks(ask, dataset, width)
        parts.append(measure.terms(asked, *(part.cpu().numpy() for part in answers)))
    return np.concatenate(parts)


def likelihood_losses(model, codec, X, device) -> tuple:
    """Nats that each cell costs its row against the best value, given all others.

    Returns
    -------
    losses : ndarray of shape (n_samples, n_features)
        Zero, or negative.
    expected : DataFrame or ndarray of shape (n_samples, n_features)
        The value that all other cells let expect.
    evidence : ndarray of shape (n_samples, n_features)
        How much likelier each value is in its column than given all other cells.
    """
    refuse_broken(codec, X)
    measure, parts = measure_of(codec), []
    columns = [Candidates(**options) for options in measure.candidates()]
    if not columns:
        rows = codec.decode(*codec.encode(X))
        return np.zeros(rows.shape), rows, np.zeros(rows.shape)
    width = max(map(len, columns)) * model.input_layer.out_features
    for part in dense_parts(X):
        asked = measure.questions(part)
        dataset = place_dataset(
            torch.from_numpy(asked.x_num), torch.from_numpy(asked.x_cat), device
        )
        losses, places, surprises = map_blocks(
            lambda x_num, x_cat: replacement_losses(model, x_num, x_cat, columns),
            dataset,
            width,
        )
        losses, surprises = (
            part.cpu().numpy().astype(np.float64) for part in (losses, surprises)
        )
        expected = replaced(asked.x_num, asked.x_cat, columns, places.cpu().numpy())
        evidence = measure.evidence(asked, surprises)
        parts.append((measure.losses(asked, losses), evidence, *expected))
    losses, evidence, x_num, x_cat = map(np.concatenate, zip(*parts, strict=True))
    return losses, codec.decode(x_num, x_cat), evidence


def replaced(x_num, x_cat, columns, places):
    """Encoded rows with the candidate at its place in each cell, if it is not -1."""
    x_num, x_cat = x_num.copy(), x_cat.copy()
    for candidates, place in zip(columns, places.T, strict=True):
        rows = place >= 0
        if candidates.numbers is not None:
            numbers = np.array(candidates.numbers, np.float32)
            x_num[rows, candidates.number] = numbers[place[rows]]
        if candidates.codes is not None:
            codes = np.array(candidates.codes)
            x_cat[rows, candidates.category] = codes[place[rows]]
    return x_num, x_cat


def replaced_losses(estimator, X) -> tuple:
    """Nats that each cell of a row costs the score of its reconstruction.

    Against the best value in its place: the odd cell of a row is in its code and pulls
    what is rebuilt towards itself, and other cells away from themselves.

    Returns
    -------
    losses : ndarray of shape (n_samples, n_features)
        Zero, or negative.
    expected : DataFrame or ndarray of shape (n_samples, n_features)
        The value that all other cells let expect.
    evidence : None
    """
    codec = estimator.codec_
    is_wide = estimator.n_features_in_ > MAX_REPLACED_COLUMNS
    if is_wide or isinstance(codec, SparseCodec) or codec.image_shape is not None:
        return rebuilt_losses(estimator, X)
    columns = [Candidates(**options) for options in candidates_of(codec)]
    if not columns:
        return rebuilt_losses(estimator, X)

    def ask(x_num, x_cat):
        score = estimator._log_likelihood
        losses, places, _ = scored_replacements(score, x_num, x_cat, columns)
        return losses, places, x_num, x_cat

    width = (max(map(len, columns)) + 1) * codec.layout_.working_width
    parts = []
    for part in dense_parts(X):
        answers = map_blocks(ask, estimator._encode_table(part), width)
        losses, places, *encoded = (answer.cpu().numpy() for answer in answers)
        parts.append((losses, *replaced(*encoded, columns, places)))
    losses, x_num, x_cat = map(np.concatenate, zip(*parts, strict=True))
    total = np.zeros((len(losses), estimator.n_features_in_))
    total[:, codec.varies_] = losses
    return total, codec.decode(x_num, x_cat), None


def rebuilt_losses(estimator, X) -> tuple:
    """Nats that each cell costs against the value that the row is rebuilt with.

    Returns
    -------
    losses : ndarray of shape (n_samples, n_features)
        Zero, or negative.
    expected : DataFrame or ndarray of shape (n_samples, n_features)
        The rebuilt rows.
    evidence : None
    """
    codec, parts = estimator.codec_, []
    measure = SparseMeasure(codec) if isinstance(codec, SparseCodec) else None
    for part in dense_parts(X):
        dataset = estimator._encode_table(part)
        of_numbers, of_categories, x_num, x_cat = (
            tensor.cpu().numpy()
            for tensor in estimator._map_rows(
                lambda x_num, x_cat: rebuilt(estimator, x_num, x_cat), dataset
            )
        )
        losses = np.zeros((len(of_numbers), estimator.n_features_in_))
        if measure is not None:
            kept = codec.encoded_
            losses[:, kept] = of_numbers[:, : len(kept)]
        else:
            for place, column in enumerate(codec.numbers_):
                losses[:, column.position_] += of_numbers[:, place]
            for position, place in codec.category_positions():
                losses[:, position] += of_categories[:, place]
        parts.append((losses, x_num, x_cat))
    losses, x_num, x_cat = map(np.concatenate, zip(*parts, strict=True))
    return losses, codec.decode(x_num, x_cat, beyond_range=True), None


def rebuilt(estimator, x_num, x_cat):
    """Losses of the encoded cells, and the most likely row, each (n, n_columns)."""
    distribution = estimator._distribution(estimator._encode_batch(x_num, x_cat))
    losses = reconstruction_losses(distribution, x_num, x_cat)
    return *losses, *distribution.mode()


def explained(estimator, X, return_expected):
    """What `explain_samples` of an estimator returns, from its `_cell_losses`."""
    checked = estimator._check_table(X, reset=False)
    losses, expected, _ = estimator._cell_losses(checked)
    scores = estimator.score_samples(checked)
    shares = shares_like(X, shares_of(scores, losses, estimator.codec_.varies_))
    if not return_expected:
        return shares
    if isinstance(expected, pd.DataFrame):
        expected.index = checked.index
    return shares, to_polars(expected, estimator._polars_schema)


def shares_of(scores, losses, varies) -> np.ndarray:
    """Shares of the cells in their rows' scores, to which they add up.

    A cell has what it costs its row; the rest, which is the score of a row of which no
    cell costs anything, is divided equally among the columns that vary.
    """
    shares = losses.astype(np.float64)
    rest = scores - shares.sum(1)
    if not varies.any():
        varies = np.ones_like(varies)
    shares[:, varies] += (rest / varies.sum())[:, None]
    return shares


def shares_like(X, shares) -> object:
    """Shares in the container of X: with its index and columns, or an array."""
    if isinstance(X, pd.DataFrame):
        return pd.DataFrame(shares, index=X.index, columns=X.columns)
    return numbers_to_polars(shares, X.columns) if is_polars(X) else shares


def refuse_broken(codec, X):
    """Raise ValueError for rows that the encoding of constraints has no room for."""
    if isinstance(codec, ConstrainedCodec):
        codec.refuse_broken(X)


def measure_of(codec):
    return (SparseMeasure if isinstance(codec, SparseCodec) else TableMeasure)(codec)


def dense_parts(X):
    """X itself, or dense blocks of a sparse matrix's rows."""
    if not issparse(X):
        yield X
        return
    for rows in chunk_slices(X.shape[0], X.shape[1]):
        yield X[rows].toarray()
