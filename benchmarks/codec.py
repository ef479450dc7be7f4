"""Seconds and memory of the table codec, on 1,000,000 generated rows or a real table.

    python benchmarks/codec.py
    python benchmarks/codec.py --rows 100000
    python benchmarks/codec.py --table some.parquet

Memory is the peak above what was held before the call, the result included, as a
multiple of the encoded table (float32 numbers and int64 codes). It is traced in a run
of its own, because tracing costs time. For a real table the last lines say which
columns do not come back exactly.
"""

import argparse
import os
import time
import tracemalloc

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is loaded

import numpy as np
import pandas as pd

from sklearn_unsup._table.codec import TableCodec


def mixed_table(n_rows, seed=0):
    """20 columns: numbers of all kinds, dates, levels of all kinds, some with holes."""
    rng = np.random.default_rng(seed)
    names = np.array([f"level {i:05d}" for i in range(10_000)], dtype=object)

    def holes(values):
        return pd.Series(values).mask(rng.random(n_rows) < 0.1)

    def few(n_levels, dtype):
        codes = np.minimum(rng.geometric(0.2, n_rows), n_levels) - 1
        return pd.Series(names[codes], dtype=dtype)

    return pd.DataFrame(
        {
            "normal": rng.normal(size=n_rows),
            "log_normal": rng.lognormal(size=n_rows).astype(np.float32),
            "with_holes": holes(rng.normal(size=n_rows)),
            "mostly_zero": rng.gamma(2, size=n_rows) * (rng.random(n_rows) < 0.1),
            "cents": rng.gamma(2, 100, n_rows).round(2),
            "age": rng.integers(17, 91, n_rows),
            "weight": rng.integers(10_000, 1_500_000, n_rows),
            "count": rng.poisson(3, n_rows).astype(np.int16),
            "nullable": holes(rng.integers(0, 1_000, n_rows)).astype("Int64"),
            "day": pd.Timestamp(2020, 1, 1)
            + pd.to_timedelta(rng.integers(0, 1_500, n_rows), unit="D"),
            "second": pd.Timestamp(2020, 1, 1, tz="UTC")
            + pd.to_timedelta(rng.integers(0, 10**7, n_rows), unit="s"),
            "identifier": rng.integers(2**60, 2**60 + 10**6, n_rows),
            "category": few(8, "category"),
            "ordered": few(20, "category").cat.as_ordered(),
            "string": few(12, "str"),
            "object": few(12, object),
            "object_holes": holes(few(5, object)),
            "flag": rng.random(n_rows) < 0.3,
            "flag_holes": holes(few(2, object) == names[0]).astype("boolean"),
            "many": pd.Series(names[rng.integers(0, 10_000, n_rows)], dtype="category"),
        }
    )


def timed(call):
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def traced(call):
    """Peak of memory above what was held before, bytes."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def report(name, call, size, repeats):
    seconds, result = zip(*(timed(call) for _ in range(repeats)), strict=True)
    memory = traced(call)
    print(
        f"  {name:<16}{np.median(seconds):8.3f} s {memory / 2**20:8.0f} MiB"
        f"{memory / size:8.2f} x encoded"
    )
    return result[-1]


def measure(table, scaling, repeats):
    codec = TableCodec(scaling).fit(table)
    size = sum(array.nbytes for array in codec.encode(table))
    print(f"numeric_scaling={scaling!r}, encoded table {size / 2**20:.0f} MiB")
    report("fit", lambda: TableCodec(scaling).fit(table), size, repeats)
    report("encode", lambda: codec.encode(table), size, repeats)
    encoded = report(
        "encode at random",
        lambda: codec.encode(table, np.random.default_rng(0)),
        size,
        repeats,
    )
    rng = np.random.default_rng(0)
    back = report("decode", lambda: codec.decode(*encoded, rng), size, repeats)
    for column in table:
        equal = (table[column] == back[column]).fillna(False).astype(bool)
        wrong = ~(equal | (table[column].isna() & back[column].isna()))
        if back[column].dtype != table[column].dtype:
            print(f"  {column}: {table[column].dtype} became {back[column].dtype}")
        if wrong.any():
            print(f"  {column}: {wrong.mean():.2%} of the rows differ")
    print("  (differ can: floats of full precision, levels that share the rare code)")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--table", help="a parquet file instead of generated columns")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.table:
        table = pd.read_parquet(arguments.table)
    else:
        table = mixed_table(arguments.rows)
    print(f"{len(table):,} rows x {table.shape[1]} columns, one thread")
    for scaling in ("quantile", "standard"):
        measure(table, scaling, arguments.repeats)


if __name__ == "__main__":
    main()
