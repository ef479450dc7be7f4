"""Scores of rows by an autoregressive model, in the units of the table."""

import numpy as np
import torch
from scipy.sparse import issparse

from ._nn.chunks import chunk_slices, map_blocks
from ._nn.column_terms import column_terms
from ._table.sparse import SparseCodec
from ._table.units import SparseMeasure, TableMeasure
from ._training.data import place_dataset


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
    is_sparse = isinstance(codec, SparseCodec)
    measure = SparseMeasure(codec) if is_sparse else TableMeasure(codec)
    if not issparse(X):
        return table_terms(model, measure, X, device)
    parts = [
        table_terms(model, measure, X[rows].toarray(), device)
        for rows in chunk_slices(X.shape[0], X.shape[1])
    ]
    return np.concatenate(parts)


def table_terms(model, measure, X, device) -> np.ndarray:
    """The same of a table that is not sparse."""
    asked = measure.questions(X)
    n_numeric = asked.x_num.shape[1]
    numbers = np.concatenate([asked.x_num, asked.middle, asked.half], 1)
    dataset = place_dataset(*map(torch.from_numpy, (numbers, asked.x_cat)), device)

    def ask(numbers, x_cat):
        x_num, middle, half = numbers.split(n_numeric, 1)
        return column_terms(model, x_num, x_cat, middle, half)

    width = model.input_layer.out_features + model.input_layer.in_features
    answers = map_blocks(ask, dataset, width)
    return measure.terms(asked, *(part.cpu().numpy() for part in answers))
