"""SparseCodec, and rows that are dense a batch at a time: against dense arrays."""

import pickle

import numpy as np
import pytest
import torch
from scipy import sparse

from sklearn_unsup._nn import chunks
from sklearn_unsup._nn.chunks import bounded_rows
from sklearn_unsup._nn.pca import principal_axes
from sklearn_unsup._table.codec import TableCodec
from sklearn_unsup._table.sparse import SparseCodec
from sklearn_unsup._training import data
from sklearn_unsup._training.data import (
    DatasetChunks,
    DenseDataset,
    LazyDataset,
    SparseDataset,
    place_sparse_dataset,
)
from sklearn_unsup._training.loader import DeviceLoader

SCALINGS = [None, "shared", "standard", "minmax"]


def make_matrix(n=60, width=9, seed=0, dtype=np.float64):
    """Columns of many kinds: constants, rare, negative, full, few and many values."""
    rng = np.random.default_rng(seed)
    X = np.where(rng.random((n, width)) < 0.3, rng.normal(size=(n, width)), 0.0)
    X[:, 0] = 0.0
    X[:, 1] = 2.5
    X[:, 2] = np.abs(X[:, 2])
    X[:, 3] = rng.normal(10, 2, n)  # no zeros
    X[:, 4] = rng.integers(0, 3, n)
    X[:, 5] = -np.abs(X[:, 5])
    return (10 * X).astype(dtype)


def encoded_dense(codec, X):
    """What the entries and the background stand for."""
    indptr, columns, values, background = codec.encode_sparse(X)
    out = np.tile(background, (X.shape[0], 1))
    rows = np.repeat(np.arange(X.shape[0]), np.diff(indptr))
    out[rows, columns] = values
    return out


# ------------------------------------------------------------------- encoding


@pytest.mark.parametrize("scaling", SCALINGS)
def test_scales_are_those_of_the_dense_columns(scaling):
    X = make_matrix()
    varying = X[:, X.min(0) < X.max(0)]
    center, scale = {
        None: (0.0, 1.0),
        "shared": (0.0, np.sqrt(varying.var(0).mean())),
        "standard": (varying.mean(0), varying.std(0)),
        "minmax": (varying.min(0), np.ptp(varying, axis=0)),
    }[scaling]
    codec = SparseCodec(scaling).fit(sparse.csr_array(X))
    expected = (varying - center) / scale
    assert codec.layout_.n_numeric == varying.shape[1] == 7
    encoded = encoded_dense(codec, sparse.csr_array(X))
    np.testing.assert_allclose(encoded, expected, rtol=1e-5, atol=1e-6)
    x_num, x_cat = codec.encode(X)
    np.testing.assert_array_equal(x_num, encoded)  # to the last bit
    assert x_cat.shape == (60, 0)


def test_few_entries_are_scaled_at_a_time(monkeypatch):
    X = sparse.csr_array(make_matrix())
    whole = SparseCodec("standard").fit(X)
    monkeypatch.setattr("sklearn_unsup._table.sparse.BLOCK_ENTRIES", 7)
    parts = SparseCodec("standard").fit(X)
    for name in ("center_", "scale_", "low_", "high_", "above_", "below_"):
        np.testing.assert_allclose(vars(parts)[name], vars(whole)[name], rtol=1e-12)
    np.testing.assert_allclose(encoded_dense(parts, X), encoded_dense(whole, X))
    x_num, _ = whole.encode(X.toarray())
    np.testing.assert_allclose(parts.encode(X.toarray())[0], x_num)
    np.testing.assert_allclose(parts.decode(x_num), whole.decode(x_num))


def test_stored_zeros_and_duplicates_are_values():
    """Two entries of one cell are their sum, and a zero that is stored is a zero."""
    data, rows, columns = [1.0, 2.0, 0.0, 5.0], [0, 0, 1, 2], [1, 1, 0, 0]
    X = sparse.csr_matrix((data, columns, [0, 2, 3, 4]), shape=(3, 2))
    assert X.nnz == 4
    dense = np.array([[0.0, 3.0], [0.0, 0.0], [5.0, 0.0]])
    for scaling in SCALINGS:
        codec = SparseCodec(scaling).fit(X)
        other = SparseCodec(scaling).fit(sparse.csr_array(dense))
        np.testing.assert_array_equal(codec.low_, other.low_)
        np.testing.assert_array_equal(codec.high_, [5.0, 3.0])
        np.testing.assert_array_equal(encoded_dense(codec, X), other.encode(dense)[0])
    # what was given is left as it was
    assert (X.nnz, X.data.tolist(), X.indices.tolist()) == (4, data, columns)
    assert rows == X.tocoo().row.tolist()


def test_a_constant_is_not_looked_at_again():
    codec = SparseCodec("standard").fit(sparse.csr_array(make_matrix()))
    X = make_matrix(seed=1)
    other = X.copy()
    other[:, :2] = 99.0
    np.testing.assert_array_equal(codec.encode(other)[0], codec.encode(X)[0])
    entries = encoded_dense(codec, sparse.csr_array(other))
    np.testing.assert_array_equal(entries, codec.encode(X)[0])


def test_huge_values_stay_finite():
    """Of float32: what is beyond its range is encoded as its end."""
    X = sparse.csr_array([[0.0, 1e300], [-1e300, 1.0]])
    codec = SparseCodec().fit(X)
    assert np.isfinite(encoded_dense(codec, X)).all()
    assert np.isfinite(codec.encode(X.toarray())[0]).all()


def test_nothing_varies():
    X = sparse.csr_array((4, 3))
    for scaling in SCALINGS:
        codec = SparseCodec(scaling).fit(X)
        assert codec.layout_.width == 1
        assert (encoded_dense(codec, X) == 0).all()
        assert (codec.encode(np.ones((2, 3)))[0] == 0).all()
        np.testing.assert_array_equal(codec.decode(np.ones((2, 1))), np.zeros((2, 3)))


@pytest.mark.parametrize("X", [np.array([[np.nan, 1.0]]), np.array([[np.inf, 1.0]])])
def test_dense_rows_without_a_number_are_refused(X):
    codec = SparseCodec().fit(sparse.csr_array([[0.0, 1.0], [2.0, 0.0]]))
    with pytest.raises(ValueError, match="NaN or infinity"):
        codec.encode(X)


# ------------------------------------------------------------------- decoding


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int8, np.uint16, bool])
def test_rows_come_back(scaling, dtype):
    X = make_matrix(dtype=np.float64)
    X = np.abs(X).astype(dtype) if dtype in (np.uint16, bool) else X.astype(dtype)
    codec = SparseCodec(scaling).fit(sparse.csr_array(X))
    decoded = codec.decode(*codec.encode(X))
    assert decoded.dtype == dtype
    np.testing.assert_allclose(decoded, X, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_any_numbers_decode_to_legal_rows(scaling):
    X = make_matrix()
    codec = SparseCodec(scaling).fit(sparse.csr_array(X))
    x_num = np.random.default_rng(0).normal(size=(500, 7)).astype(np.float32)
    x_num[:2] = [[3e38], [-3e38]]
    rows = codec.decode(x_num)
    assert (rows >= X.min(0)).all()
    assert (rows <= X.max(0)).all()
    for column in (2, 6):  # none is nearer to zero than those that were seen
        least = np.abs(X[X[:, column] != 0, column]).min()
        shown = rows[rows[:, column] != 0, column]
        assert np.abs(shown).min() >= least


def test_the_nearer_of_zero_and_what_was_seen():
    """Seen are -4, 0 and 2: what lies between goes to the nearest of the three."""
    codec = SparseCodec().fit(sparse.csr_array([[-4.0], [0.0], [2.0], [3.25]]))
    x = np.array([[-3.0], [-2.1], [-1.9], [0.9], [1.1], [2.5], [7.0], [-7.0]])
    expected = [-4.0, -4.0, 0.0, 0.0, 2.0, 2.5, 3.25, -4.0]
    assert codec.decode(x).ravel().tolist() == expected


# ------------------------------------------------------------------- streams


def test_a_stream_may_show_new_columns():
    first, second = sparse.csr_array([[0.0, 1.0], [0.0, 3.0]]), np.array([[7.0, 5.0]])
    codec = SparseCodec("standard", keep_constants=True).fit(first)
    assert codec.layout_.n_numeric == 2
    x_num, _ = codec.encode(second)
    np.testing.assert_allclose(x_num, [[7.0, 3.0]])  # unscaled; by mean 2, std 1
    assert codec.decode(x_num).tolist() == [[0.0, 3.0]]
    codec = codec.updated(sparse.csr_array(second))
    assert codec.decode(x_num).tolist() == [[7.0, 5.0]]
    np.testing.assert_allclose(codec.encode(second)[0], x_num)  # scales stay


def test_no_conditions():
    codec = SparseCodec().fit(sparse.csr_array([[0.0], [1.0]]))
    for nothing in (None, {}):
        assert codec.encode_conditions(nothing, 5).encoded.is_empty
    with pytest.raises(ValueError, match="takes none"):
        codec.encode_conditions({0: 1.0}, 5)


def test_it_keeps_a_few_numbers_of_each_column():
    sizes = []
    for n in (50, 5_000):
        X = sparse.csr_array(make_matrix(n, 200))
        sizes.append(len(pickle.dumps(SparseCodec("standard").fit(X))))
    assert sizes[1] == sizes[0] < 200 * (8 * 7 + 1) + 2_000


# ------------------------------------------------------------------- sparse rows


def make_rows(n=30, width=6, device="cpu", seed=0):
    """Sparse rows, and what they are when dense."""
    rng = np.random.default_rng(seed)
    X = np.where(rng.random((n, width)) < 0.4, rng.random((n, width)), 0.0)
    X[[4, 7]] = [[0.0], [1.5]]  # rows without any, and with all entries
    background = np.linspace(-1, 1, width, dtype=np.float32)
    dense = np.where(X == 0, background, X).astype(np.float32)
    X = sparse.csr_array(X)
    parts = X.indptr.astype(np.int64), X.indices, X.data.astype(np.float32), background
    rows = place_sparse_dataset(*map(torch.from_numpy, parts), device)
    return rows, torch.from_numpy(dense).to(device)


INDICES = [
    slice(None),
    slice(2, 9),
    slice(25, 99),
    slice(9, 2),
    slice(1, None, 7),
    torch.tensor([7, 3, 3, 29, 4]),
    torch.tensor([], dtype=torch.int64),
    torch.tensor([4]),
]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_taken_rows_are_dense(device, index):
    rows, dense = make_rows(device=device)
    assert len(rows) == 30
    x_num, x_cat = rows.take(index)
    assert torch.equal(x_num, dense[index])
    assert x_cat.shape == (len(x_num), 0)
    assert x_cat.dtype == torch.int64
    assert x_num.device.type == x_cat.device.type == device
    (x_num, _), (target, _) = rows[index]
    assert target is x_num


def test_taken_rows_are_a_copy():
    """What is done to them in place must not reach the rows."""
    rows, dense = make_rows()
    rows.take(slice(None))[0].zero_()
    assert torch.equal(rows.take(slice(None))[0], dense)


def test_rows_in_the_memory_of_the_host(device, monkeypatch):
    """If they leave a device no room; batches are dense on the device all the same."""
    monkeypatch.setattr(data, "fits_on", lambda device, n_bytes: False)
    rows, dense = make_rows(device=device)
    assert rows.values.device.type == "cpu"
    for part in (*INDICES, torch.tensor([3, 1], device=device)):
        assert torch.equal(rows.take(part)[0], dense[part])
    first, second = rows.split(torch.arange(30), 20)
    assert torch.equal(second.take(slice(None))[0], dense[20:])
    assert first.values.device.type == "cpu"
    assert torch.equal(rows.numbers.sort()[0], entries(rows).sort()[0])


def entries(rows):
    absent = torch.tensor([not (rows.columns == j).sum() == 30 for j in range(6)])
    absent = absent.to(rows.device)
    return torch.cat([rows.values.to(rows.device), rows.background[absent]])


def test_split():
    rows, dense = make_rows()
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    first, second = rows.split(order, 21)
    assert (len(first), len(second)) == (21, 9)
    assert torch.equal(first.take(slice(None))[0], dense[order[:21]])
    assert torch.equal(second.take(slice(None))[0], dense[order[21:]])


def test_the_background_counts_where_entries_are_absent():
    """A column that all rows store never has it: it may lie outside their range."""
    full = torch.tensor([[3.0, 0.0], [4.0, 1.0]])
    rows = SparseDataset(
        *(torch.tensor([0, 1, 3]), torch.tensor([0, 0, 1], dtype=torch.int32)),
        *(torch.tensor([3.0, 4.0, 1.0]), torch.tensor([-9.0, 0.0])),
    )
    assert torch.equal(rows.take(slice(None))[0], full)
    assert rows.numbers.min() == 0
    assert DenseDataset(full, torch.empty(2, 0)).numbers.min() == 0


@pytest.mark.parametrize("size", [4, 7, 30, 100])
def test_batches_of_sparse_rows_are_those_of_dense_ones(size):
    """The same rows in the same order, from the same generator."""
    rows, dense = make_rows()
    twin = DenseDataset(dense, torch.empty(30, 0, dtype=torch.int64))
    for generators in ([None] * 2, [torch.Generator().manual_seed(1) for _ in "12"]):
        batches = [
            [batch for batch, _ in DeviceLoader(part, size, generator)]
            for part, generator in zip((rows, twin), generators, strict=True)
        ]
        for (one, _), (two, _) in zip(*batches, strict=True):
            assert torch.equal(one, two)


def test_lazy_rows_are_encoded_when_they_are_taken():
    _, dense = make_rows()
    asked = []

    def encode(positions):
        asked.append(len(positions))
        return dense[positions].numpy(), np.zeros((len(positions), 0), np.int64)

    rows = LazyDataset(encode, torch.arange(30), 24, "cpu")
    for index in INDICES:
        assert torch.equal(rows.take(index)[0], dense[index])
    first, second = rows.split(torch.arange(29, -1, -1), 25)
    assert torch.equal(second.take(slice(1, 3))[0], dense[[3, 2]])
    assert asked[-1] == 2
    for part, expected in zip(first.split(torch.arange(25), 20), (29, 9), strict=True):
        assert torch.equal(part.take(slice(0, 1))[0], dense[[expected]])


# ------------------------------------------------------------------- blocks


@pytest.mark.parametrize(
    ("most", "row_bytes", "expected"),
    [(100, 10, 100), (100, 100, 10), (100, 5_000, 1), (100, 0, 100), (3, 100, 3)],
)
def test_rows_of_a_block(monkeypatch, most, row_bytes, expected):
    monkeypatch.setattr(chunks, "BLOCK_BYTES", 1_000)
    assert bounded_rows(most, row_bytes) == expected


def test_blocks_cover_the_rows_again_and_again(monkeypatch):
    rows, dense = make_rows()
    monkeypatch.setattr(chunks, "BLOCK_BYTES", 7 * 4 * 6)
    index = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    for width, step in ((6, 7), (12, 3), (1, 7)):
        for chosen, expected in ((None, dense), (index, dense[index])):
            blocks = DatasetChunks(rows, width, chosen)
            for _ in range(2):
                parts = [x_num for x_num, _ in blocks]
                assert {len(part) for part in parts[:-1]} == {step}
                assert torch.equal(torch.cat(parts), expected)
    assert {len(x_num) for x_num, _ in DatasetChunks(rows, 6, max_rows=5)} == {5}


@pytest.mark.parametrize("size", [2, 4, 8])
def test_no_more_is_gathered_than_a_block(monkeypatch, size):
    """Of wide rows fewer than GATHERED_ROWS, but a whole batch at least."""
    rows, _ = make_rows()
    monkeypatch.setattr(chunks, "BLOCK_BYTES", 5 * rows.row_bytes)
    taken, take = [], rows.take
    rows.take = lambda index: taken.append(len(index)) or take(index)
    batches = DeviceLoader(rows, size, torch.Generator().manual_seed(0))
    assert sum(len(x_num) for (x_num, _), _ in batches) == sum(taken)
    assert max(taken) == {2: 4, 4: 4, 8: 8}[size]


# ------------------------------------------------------------------- principal axes


def low_rank_rows(n=400, width=2_100, seed=0):
    """Five directions of falling variance in noise, off the origin."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(n, 5)) * [9, 7, 5, 4, 3] @ rng.normal(size=(5, width))
    return (0.3 * signal + rng.normal(size=(n, width)) + 3.0).astype(np.float32)


@pytest.mark.parametrize("step", [400, 57])
def test_axes_of_wide_rows_are_those_of_pca(step):
    X = low_rank_rows()
    expected = np.linalg.svd(X - X.mean(0, dtype=np.float64), full_matrices=False)[2]
    x = torch.from_numpy(X)
    mean, axes = principal_axes(lambda: iter(x.split(step)), 5)
    np.testing.assert_allclose(mean, X.mean(0, dtype=np.float64), rtol=1e-4)
    cosines = np.abs((axes.numpy() * expected[:5]).sum(1))
    assert cosines.min() > 0.9999
    again = principal_axes(lambda: iter(x.split(step)), 5)[1]
    assert torch.equal(again, axes)


def test_axes_of_wide_noise_have_nearly_the_most_variance():
    """No gap between the eigenvalues: the worst case of subspace iteration."""
    X = np.random.default_rng(0).normal(size=(300, 2_100)).astype(np.float32)
    _, axes = principal_axes(torch.from_numpy(X), 10)
    np.testing.assert_allclose(axes @ axes.t(), np.eye(10), atol=1e-4)
    centred = X - X.mean(0)
    found = np.square(centred @ axes.numpy().T).sum()
    best = np.square(np.linalg.svd(centred, compute_uv=False)[:10]).sum()
    assert found > 0.95 * best


def test_wide_axes_beyond_the_rank_are_zero():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 2)) @ rng.normal(size=(2, 2_100)) + 10
    _, axes = principal_axes(torch.from_numpy(X).float(), 5)
    torch.testing.assert_close(axes.norm(dim=1), torch.tensor([1.0, 1, 0, 0, 0]))
    _, axes = principal_axes(torch.full((5, 2_100), 2.5), 3)
    assert (axes == 0).all()


def test_parts_of_narrow_rows_have_the_axes_of_the_whole():
    x = torch.from_numpy(low_rank_rows(width=40))
    mean, axes = principal_axes(x, 5)
    part_mean, part_axes = principal_axes(lambda: iter(x.split(33)), 5)
    torch.testing.assert_close(part_mean, mean)
    cosines = (part_axes * axes).sum(1).abs()
    torch.testing.assert_close(cosines, torch.ones(5))


def test_a_wider_codec_leaves_constants_and_the_old_one_alone():
    X = sparse.csr_array([[0.0, 5.0, 1.0], [0.0, 5.0, 2.0]])
    more = sparse.csr_array([[-1.0, 0.0, 9.0], [0.0, 5.0, 1.0]])
    codec = SparseCodec("minmax").fit(X)
    high = codec.high_.copy()
    wider = codec.updated(more)
    assert codec.high_.tolist() == high.tolist()
    assert wider.high_[2] == 9
    assert wider.decode([[0.0], [8.0]]).tolist() == [[0, 5, 1], [0, 5, 9]]
    assert codec.decode([[0.0], [8.0]]).tolist() == [[0, 5, 1], [0, 5, 2]]
    assert codec.updated(more.toarray()).high_[2] == 9


def test_whole_numbers_stay_whole():
    """Those of a column all of whose values were; also of what a stream brings."""
    X = np.array([[0.0, 3.0, 0.5], [2.0, 0.0, 4.0], [5.0, 1.0, 0.0]])
    codec = SparseCodec().fit(sparse.csr_array(X))
    x_num = np.array([[3.2, 2.6, 1.3]], np.float32)
    np.testing.assert_allclose(codec.decode(x_num), [[3.0, 3.0, 1.3]], rtol=1e-6)
    wider = codec.updated(sparse.csr_array(np.array([[2.5, 1.0, 0.0]])))
    np.testing.assert_allclose(wider.decode(x_num), [[3.2, 3.0, 1.3]], rtol=1e-6)
    np.testing.assert_allclose(codec.decode(x_num), [[3.0, 3.0, 1.3]], rtol=1e-6)


@pytest.mark.parametrize("scaling", [None, "minmax", "standard"])
def test_columns_of_two_values(scaling):
    X = np.array([[0, 2, 0.5, -1, 1], [1, 0, 1, 0, 0], [0, 2, 0, 0, 2]], float)
    binary = SparseCodec(scaling).fit(sparse.csr_array(X)).binary_numbers()
    expected = {None: [0], "minmax": [0, 1, 3], "standard": []}[scaling]
    assert np.flatnonzero(binary).tolist() == expected
    dense = TableCodec(scaling).fit(X).binary_numbers()
    assert np.flatnonzero(dense).tolist() == expected
