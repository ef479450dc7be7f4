"""Rows on the device, slices of them, schedules."""

import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from scipy.special import ndtr, ndtri

from sklearn_unsup._nn.random import BatchGenerator
from sklearn_unsup._table.codec import TableCodec
from sklearn_unsup._training.atoms import Dequantizer
from sklearn_unsup._training.data import DenseDataset
from sklearn_unsup._training.loader import (
    GATHERED_ROWS,
    DeviceLoader,
    FullBatchLoader,
)
from sklearn_unsup._training.schedule import (
    default_batch_size,
    steps_per_epoch,
    warmup_cosine,
)


def make_rows(n, device="cpu"):
    """Row i has the number i and the codes 2 i and 2 i + 1."""
    index = torch.arange(n, device=device)
    x_cat = torch.stack([2 * index, 2 * index + 1], 1)
    return DenseDataset(index[:, None].float(), x_cat)


def generator(seed=0, device="cpu"):
    return torch.Generator(device).manual_seed(seed)


def numbers(batches):
    """The numbers of each batch, as lists."""
    return [rows[0][:, 0].tolist() for rows, _ in batches]


def flat(batches):
    return sum(numbers(batches), [])


# ------------------------------------------------------------------- rows


@pytest.mark.parametrize(
    "index", [slice(2, 5), torch.tensor([6, 0]), torch.tensor([], dtype=torch.int64)]
)
def test_a_row_is_its_own_target(index):
    rows, target = make_rows(7)[index]
    expected = torch.arange(7)[index]
    for x_num, x_cat in (rows, target):
        assert torch.equal(x_num[:, 0], expected.float())
        assert torch.equal(x_cat[:, 1], 2 * expected + 1)
    assert len(make_rows(7)) == 7


def test_split_keeps_rows_together():
    order = torch.tensor([3, 0, 4, 1, 2])
    first, second = make_rows(5).split(order, 3)
    assert first.x_num[:, 0].tolist() == [3, 0, 4]
    assert first.x_cat.tolist() == [[6, 7], [0, 1], [8, 9]]
    assert second.x_num[:, 0].tolist() == [1, 2]
    assert second.x_cat.tolist() == [[2, 3], [4, 5]]


# ------------------------------------------------------------------- atoms

# Two columns: one of three atoms (the middle one the widest, the last far in the upper
# tail), one without any, and one of a single atom whose rows may be missing.
EDGES = np.array([1e-6, 0.2, 0.999_999, 1 - 1e-8])
SPIKE = 0.3, 0.9


def make_atoms():
    first = np.stack([ndtri(EDGES[:-1]), ndtri(EDGES[1:]), EDGES[:-1], EDGES[1:]])
    last = np.array([[ndtri(SPIKE[0])], [ndtri(SPIKE[1])], [SPIKE[0]], [SPIKE[1]]])
    return Dequantizer([first, np.empty((4, 0)), last], (-1, -1, 0))


def atom_rows(n, value):
    """Rows whose first number is `value`; the last one is missing in every other row"""
    x_num = torch.tensor([[value, 0.25, 0.5]]).repeat(n, 1)
    x_cat = (torch.arange(n) % 2)[:, None]
    x_num[1::2, 2] = 0.0
    return x_num, x_cat


@pytest.mark.parametrize("atom", [0, 1, 2])
def test_an_atom_becomes_a_normal_number_within_its_interval(atom):
    """By Kolmogorov's test of the quantiles, which are uniform there."""
    low, high = EDGES[atom : atom + 2]
    middle = float(ndtri(0.5 * (low + high)))
    x_num, x_cat = (
        make_atoms().dequantize_(*atom_rows(4_000, middle), generator()),
        None,
    )
    u = ndtr(x_num[:, 0].double().numpy())
    place = (u - low) / (high - low)
    assert -1e-3 < place.min() < 0.01 < 0.99 < place.max() < 1 + 1e-3
    if atom < 2:  # in the tail float32 has steps
        assert stats.kstest(place, "uniform").pvalue > 1e-4
    assert x_cat is None


def test_nothing_else_is_drawn():
    """Not numbers outside the atoms, not missing ones, not columns without atoms."""
    before, x_cat = atom_rows(100, 7.0)
    after = make_atoms().dequantize_(before.clone(), x_cat, generator())
    assert torch.equal(after[:, :2], before[:, :2])
    assert torch.equal(after[1::2], before[1::2])
    assert (after[::2, 2] != before[::2, 2]).all()


def test_tables_without_atoms_say_so():
    assert make_atoms()
    assert not Dequantizer([np.empty((4, 0))] * 2, (-1, -1))
    assert not Dequantizer([], ())


def test_encoded_atoms_decode_to_what_they_were():
    """Whatever point of the interval is drawn: the codec and the atoms agree."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "spiky": np.where(rng.random(3_000) < 0.6, 0.0, rng.gamma(1, 9, 3_000)),
            "counts": rng.poisson(2, 3_000),
            "holes": pd.array(rng.integers(0, 4, 3_000), dtype="Int64"),
        }
    )
    X.loc[::7, "holes"] = pd.NA
    codec = TableCodec().fit(X)
    x_num, x_cat = map(torch.from_numpy, codec.encode(X))
    atoms = Dequantizer(codec.atoms(), codec.layout_.masks)
    drawn = atoms.dequantize_(x_num.clone(), x_cat, generator())
    moved = (drawn != x_num).float().mean(0)
    assert 0.55 < moved[0] < 0.65
    assert moved[1] > 0.99
    assert 0.84 < moved[2] < 6 / 7 + 0.001
    pd.testing.assert_frame_equal(codec.decode(drawn.numpy(), x_cat.numpy()), X)


# ------------------------------------------------------------------- slices


SIZES = [(1, 1), (1, 8), (7, 8), (8, 8), (9, 8), (10, 8), (15, 4), (100, 7), (124, 100)]


@pytest.mark.parametrize(("n", "size"), SIZES)
def test_in_order_every_row_comes_once(n, size):
    batches = DeviceLoader(make_rows(n), size)
    assert flat(batches) == list(range(n))
    lengths = [len(batch) for batch in numbers(batches)]
    assert lengths[:-1] == [size] * (len(lengths) - 1)
    assert len(batches) == len(lengths) == math.ceil(n / size)


@pytest.mark.parametrize(("n", "size"), SIZES)
def test_shuffled_no_row_comes_twice(n, size):
    batches = DeviceLoader(make_rows(n), size, generator())
    for _ in range(3):
        drawn = numbers(batches)
        seen = sum(drawn, [])
        assert len(set(seen)) == len(seen)
        # all but a last slice of less than a quarter of a batch
        left_out = n % size if n > size and 4 * (n % size) < size else 0
        assert len(seen) == n - left_out
        assert len(drawn) == len(batches)


@pytest.mark.parametrize(("rest", "kept"), [(1, False), (2, True), (7, True)])
def test_a_last_slice_of_a_quarter_batch_is_kept(rest, kept):
    drawn = numbers(DeviceLoader(make_rows(16 + rest), 8, generator()))
    assert [len(batch) for batch in drawn] == [8, 8] + [rest] * kept


def test_the_only_slice_is_kept():
    """However short: fewer rows than a quarter of a batch are no silent no-op."""
    assert len(flat(DeviceLoader(make_rows(3), 100, generator()))) == 3


def test_the_slice_left_out_differs_from_pass_to_pass():
    """17 rows in batches of 8: each pass leaves one out, in the long run any."""
    batches = DeviceLoader(make_rows(17), 8, generator())
    missing = [set(range(17)) - set(map(int, flat(batches))) for _ in range(200)]
    assert all(len(each) == 1 for each in missing)
    # a row that is never missing in 200 passes: chance 17 (16/17)**200 < 1e-4
    assert len(set.union(*missing)) == 17


def test_each_pass_has_a_new_order():
    batches = DeviceLoader(make_rows(50), 8, generator())
    first, second = flat(batches), flat(batches)
    assert first != second
    assert first != sorted(first)
    # the generator decides
    again = DeviceLoader(make_rows(50), 8, generator())
    assert [flat(again), flat(again)] == [first, second]
    assert flat(DeviceLoader(make_rows(50), 8, generator(1))) != first


def test_shuffled_numbers_and_codes_stay_together():
    for (x_num, x_cat), target in DeviceLoader(make_rows(40), 16, generator()):
        assert torch.equal(x_cat[:, 0].float(), 2 * x_num[:, 0])
        assert torch.equal(x_cat[:, 1].float(), 2 * x_num[:, 0] + 1)
        assert target[0] is x_num
        assert target[1] is x_cat


@pytest.mark.parametrize("size", [512, 1_000, GATHERED_ROWS + 1_000])
def test_more_rows_than_are_gathered_at_once(size):
    n = 2 * GATHERED_ROWS + 700
    lengths = [len(batch) for batch in numbers(DeviceLoader(make_rows(n), size))]
    assert lengths == [size] * (n // size) + [n % size] * (n % size > 0)
    assert flat(DeviceLoader(make_rows(n), size)) == list(range(n))
    seen = flat(DeviceLoader(make_rows(n), size, generator()))
    assert len(set(seen)) == len(seen) > n - size / 4


def test_in_order_slices_are_views():
    """Judging rows copies none of them."""
    rows = make_rows(20)
    for (x_num, x_cat), _ in DeviceLoader(rows, 8):
        assert x_num.untyped_storage().data_ptr() == rows.x_num.data_ptr()
        assert x_cat.untyped_storage().data_ptr() == rows.x_cat.data_ptr()


@pytest.mark.parametrize("empty", ["numbers", "codes"])
def test_tables_of_one_kind(empty):
    rows = make_rows(10)
    if empty == "numbers":
        rows = DenseDataset(rows.x_num[:, :0], rows.x_cat)
    else:
        rows = DenseDataset(rows.x_num, rows.x_cat[:, :0])
    for order in (None, generator()):
        shapes = [
            (x_num.shape, x_cat.shape)
            for (x_num, x_cat), _ in DeviceLoader(rows, 5, order)
        ]
        widths = (0, 2) if empty == "numbers" else (1, 0)
        assert shapes == [((5, widths[0]), (5, widths[1]))] * 2


def test_atoms_are_drawn_anew_for_each_shuffled_pass():
    """Another point within each atom per pass; rows in order stay as they are."""
    x_num, x_cat = atom_rows(40, 0.0)
    x_num[:, 1] = torch.arange(40)
    rows = DenseDataset(x_num, x_cat, dequantizer=make_atoms())
    [(first, _)] = [rows for rows, _ in DeviceLoader(rows, 40)]
    assert torch.equal(first, x_num)
    batches, passes = DeviceLoader(rows, 8, generator()), []
    for _ in range(2):
        drawn = torch.cat([rows[0] for rows, _ in batches])
        drawn = drawn[drawn[:, 1].argsort()]
        assert torch.equal(drawn[:, 1], x_num[:, 1])
        passes.append(drawn)
    assert torch.equal(rows.x_num, x_num)
    assert (passes[0][:, 0] != passes[1][:, 0]).all()


def test_full_batches_have_all_rows_in_every_step():
    """Atoms are drawn anew for each of them, and the dataset stays as it is."""
    x_num, x_cat = atom_rows(40, 0.0)
    x_num[:, 1] = torch.arange(40)
    rows = DenseDataset(x_num, x_cat, dequantizer=make_atoms())
    before, loader = x_num.clone(), FullBatchLoader(rows, generator())
    steps = [batch for batch, target in loader if batch is target]
    assert len(steps) == len(loader) == FullBatchLoader.N_STEPS
    for (first, codes), (second, _) in pairwise(steps):
        assert torch.equal(first[:, 1], before[:, 1])
        assert torch.equal(codes, x_cat)
        assert (first[:, 0] != second[:, 0]).all()
    assert torch.equal(rows.x_num, before)


# ------------------------------------------------------------------- processes


@pytest.mark.parametrize(("n", "size"), [(40, 8), (37, 8), (23, 10), (9, 30), (5, 5)])
@pytest.mark.parametrize("n_processes", [2, 3])
def test_processes_share_every_batch(n, size, n_processes):
    """Batch by batch their rows are those of one process, with the same atoms."""
    x_num, x_cat = atom_rows(n, 0.0)
    x_num[:, 1] = torch.arange(n)
    rows = DenseDataset(x_num, x_cat, dequantizer=make_atoms())
    alone = [rows[0] for rows, _ in DeviceLoader(rows, size, generator())]
    shared = []
    for rank in range(n_processes):
        noise = BatchGenerator().manual_seed(0)
        parts = []
        for batch, _ in DeviceLoader(rows, size, noise, rank, n_processes):
            n_rows, part = noise.local_rows
            assert n_rows == len(alone[len(parts)])
            assert len(batch[0]) == part.stop - part.start
            parts.append(batch[0])
        assert noise.local_rows is None
        shared.append(parts)
    for whole, *parts in zip(alone, *shared, strict=True):
        assert torch.equal(whole, torch.cat(parts))
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= 1


def test_no_process_is_left_without_a_row():
    """A last slice of one row is enough for one process, and too little for two."""
    rows = make_rows(9)
    assert len(DeviceLoader(rows, 4, generator())) == 3
    noise = BatchGenerator().manual_seed(0)
    batches = DeviceLoader(rows, 4, noise, 1, 2)
    assert [len(x_num) for (x_num, _), _ in batches] == [2, 2]


def test_each_device_has_its_order(device):
    rows = make_rows(40, device=device)
    batches = DeviceLoader(rows, 8, generator(device=device))
    assert {rows[0].device.type for rows, _ in batches} == {device}
    assert sorted(flat(batches)) == list(range(40))


# ------------------------------------------------------------------- schedules


def test_the_rate_rises_linearly():
    factors = [warmup_cosine(step, 4, 20, 0.1) for step in range(4)]
    assert factors == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_the_rate_falls_along_half_a_cosine():
    factors = [warmup_cosine(step, 5, 35, 0.2) for step in range(5, 36)]
    angles = [math.pi * step / 30 for step in range(31)]
    assert factors == pytest.approx([0.6 + 0.4 * math.cos(a) for a in angles])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((0, 0, 10, 0.0), 1.0),  # no warm-up
        ((10, 0, 10, 0.0), 0.0),
        ((10, 0, 10, 0.05), 0.05),
        ((5, 0, 10, 0.0), 0.5),
        ((5, 0, 10, 0.5), 0.75),
        ((99, 0, 10, 0.05), 0.05),  # past the end it stays
        ((7, 3, 10, 1.0), 1.0),  # no decay
        ((7, 3, None, 0.0), 1.0),  # a stream has no end
        ((1, 4, None, 0.0), 0.5),
        ((4, 4, 4, 0.1), 1.0),  # nothing but warm-up
        ((9, 4, 4, 0.1), 0.1),
    ],
)
def test_factor_of_the_rate(arguments, expected):
    assert warmup_cosine(*arguments) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (0, 16),
        (1, 16),
        (150, 16),
        (512, 16),
        (1_024, 32),
        (4_096, 128),
        (16_384, 512),
        (50_000, 512),
        (10**9, 512),
    ],
)
def test_default_batch_size(n, expected):
    assert default_batch_size(n) == expected


def test_default_batches_are_about_a_32nd():
    for n in range(512, 16_384, 37):
        size = default_batch_size(n)
        assert math.log2(size).is_integer()
        assert 2**-0.5 <= size / (n / 32) <= 2**0.5


@pytest.mark.parametrize(("n", "size"), SIZES)
def test_steps_are_those_of_a_shuffled_pass(n, size):
    batches = DeviceLoader(make_rows(n), size, generator())
    assert steps_per_epoch(n, size) == len(list(batches))
