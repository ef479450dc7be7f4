"""A row's result has the same bits in any company, and on any number of threads."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from torch.nn import functional as F

from sklearn_unsup import (
    AutoencoderTransformer,
    GANSampler,
    VAETransformer,
)
from sklearn_unsup._nn import chunks
from sklearn_unsup._nn.chunks import (
    ALIGNMENT,
    BLOCK_ROWS,
    MIN_BLOCK_ROWS,
    AlignedProducts,
    block_rows,
    map_blocks,
)
from sklearn_unsup._sampling import sampler
from sklearn_unsup._training.data import DenseDataset
from sklearn_unsup.datasets import make_mixed_table

MODELS = [AutoencoderTransformer, VAETransformer, GANSampler]
N_ROWS = 300  # more than a block

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def tables():
    rng = np.random.default_rng(0)
    return {
        "mixed": make_mixed_table(N_ROWS, random_state=0)[0],
        "array": rng.normal(size=(N_ROWS, 14)),
        "sparse": sparse.csr_array(sparse.random(N_ROWS, 37, 0.2, random_state=0)),
    }


# Odd widths are those that products cut differently from row to row.
SIZES = {
    "default": {},
    "small": {"n_components": 3, "hidden_layer_sizes": (33, 7)},
    "single": {"n_components": 1, "hidden_layer_sizes": (5,)},
}


def rows_of(table, index):
    part = table.iloc[index] if hasattr(table, "iloc") else table[index]
    if isinstance(part, pd.DataFrame):
        return part.reset_index(drop=True)
    return part.toarray() if sparse.issparse(part) else part


def assert_same(one, other):
    if isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    else:
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "size", ["default", "small", pytest.param("single", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    "kind",
    [
        "mixed",
        pytest.param("array", marks=pytest.mark.slow),
        pytest.param("sparse", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_same_bits_in_any_company(model, kind, size, threads, monkeypatch):
    if kind == "sparse" and model is GANSampler:
        pytest.skip("it takes no sparse rows")
    monkeypatch.setattr(sampler, "CALIBRATION_ROWS", 50)  # nothing is sampled here
    X = tables()[kind]
    threads(1)
    options = {"max_iter": 1, "density_ratio": None, "random_state": 0}
    fitted = model(**options, **SIZES[size]).fit(X)
    codes = fitted.transform(X)
    table = fitted.inverse_transform(codes)
    scored = hasattr(fitted, "score_samples")
    scores = fitted.score_samples(X) if scored else None
    order = np.random.default_rng(1).permutation(N_ROWS)
    groups = [order[-1:], order[:2], order[:63], order[:64], order[-65:], order]
    # More threads cut a product in other places, whatever its rows are.
    cases = [(1, group) for group in groups] + [(2, order[:2]), (2, order)]
    for n_threads, index in cases:
        threads(n_threads)
        rows = X.iloc[index] if kind == "mixed" else X[index]
        assert_same(fitted.transform(rows), codes[index])
        found = fitted.inverse_transform(codes[index])
        assert_same(rows_of(found, slice(None)), rows_of(table, index))
        if scored:
            assert_same(fitted.score_samples(rows), scores[index])


@torch.no_grad()
def test_a_product_into_given_memory_gets_there():
    """Its memory has the sizes before they are filled up."""
    x, layer = torch.randn(20, 14), torch.nn.Linear(14, 3)
    start, weight = layer.bias, layer.weight.t()
    both = torch.full((20, 5), torch.nan)
    _, out = both.split([2, 3], 1)
    with AlignedProducts():
        found = torch.addmm(start, x, weight, out=out)
    torch.testing.assert_close(both[:, 2:], layer(x))
    assert found is out
    with AlignedProducts():
        torch.mm(x, weight, out=out)
    torch.testing.assert_close(both[:, 2:], x @ weight)


def test_each_row_of_a_product_takes_the_same_path(threads):
    """As no plain product of these sizes does on every processor."""
    torch.manual_seed(0)
    for n_inputs in (1, 5, 14, 77, 257):
        for n_outputs in (1, 3, 8, 17, 33):
            x = torch.randn(64, n_inputs)
            layer = torch.nn.Linear(n_inputs, n_outputs)
            start, weight = torch.randn(64, n_outputs), layer.weight.detach().t()
            products = [
                layer,
                lambda y, w=weight: y @ w,
                lambda y, w=weight, s=start: torch.addmm(s[:1], y, w, beta=0.5),
                lambda y, w=weight: torch.bmm(y[None], w[None])[0],
                lambda y, w=weight, s=start: torch.baddbmm(
                    s[None, :1], y[None], w[None]
                )[0],
            ]
            for product in products:
                results = []
                for n_threads, shift in ((1, 0), (1, 5), (4, 0), (2, 31)):
                    threads(n_threads)
                    with torch.no_grad(), AlignedProducts():
                        results.append(product(x.roll(shift, 0)).roll(-shift, 0))
                with torch.no_grad():
                    torch.testing.assert_close(
                        results[0], product(x), atol=1e-4, rtol=1e-4
                    )
                assert all(torch.equal(results[0], other) for other in results[1:])


def test_products_are_filled_up(monkeypatch):
    """Both sizes of every product are multiples, whatever the processor makes of it."""
    seen = []
    linear = F.linear
    monkeypatch.setattr(
        F, "linear", lambda x, w, b=None: seen.append(w.shape) or linear(x, w, b)
    )
    mode = AlignedProducts()
    mode._linear(torch.ones(64, 14), torch.nn.Parameter(torch.ones(3, 14)))
    [(n_outputs, n_inputs)] = seen
    assert n_outputs % ALIGNMENT == n_inputs % ALIGNMENT == 0


def test_blocks_have_one_shape_and_cover_the_rows():
    x = torch.arange(300.0)[:, None].repeat(1, 3)
    rows, shapes = DenseDataset(x, torch.empty((300, 0), dtype=torch.int64)), []

    def function(x_num, x_cat):
        shapes.append((len(x_num), len(x_cat), x_num.is_contiguous()))
        return x_num[:, 0], x_cat

    for index in (None, torch.randperm(300)):
        first, second = map_blocks(function, rows, 3, index)
        expected = x[:, 0] if index is None else x[index, 0]
        assert torch.equal(first, expected)
        assert second.shape == (300, 0)
    size = BLOCK_ROWS["cpu"]
    assert set(shapes) == {(size, size, True)}


def test_wide_rows_have_smaller_blocks(monkeypatch):
    assert block_rows(10, "cpu") == BLOCK_ROWS["cpu"]
    monkeypatch.setattr(chunks, "BLOCK_BYTES", 4 * 64 * 100)
    assert block_rows(100, "cpu") == 64
    assert block_rows(101, "cpu") == 32
    assert block_rows(10_000, "cpu") == MIN_BLOCK_ROWS
    assert block_rows(100, "cuda:0") == 64
