"""Seconds and peak memory of the codec and of fits as tables get longer and wider.

    python benchmarks/growth.py
    python benchmarks/growth.py --rows 10000 100000 --columns --models codec
    python benchmarks/growth.py --keep growth.json --picture growth.svg

Every fit has a process of its own, on one thread, and `--limit` seconds, in which that
process starts and makes its rows too. Models have their defaults but for `--epochs`.
"codec" among the columns is what fitting and encoding take of the seconds, "rest" the
training and all that follows it. Memory is the peak above that of the imported
libraries and of the table passed in, also as a multiple of the encoded table. The slope
says with which power of the size a figure grew since the line before: 1 is linear.
"""

import argparse
import json
import math
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
from _memory import MIB, PeakMemory, in_own_process
from scipy.special import ndtri

MODELS = "codec", "AutoencoderTransformer", "VAETransformer", "GANSampler"
LEVELS = 2, 3, 5, 8, 12, 20, 35, 50
N_FACTORS = 4
BAR = 4  # times the encoded table, at most, ...
BAR_AT = 1_000_000, 20, 1  # ... for so many rows and columns and a fit of one epoch

# ------------------------------------------------------------------------- the rows


def mixed_table(n_rows, n_columns=20, seed=0):
    """Numbers and categories in turn, some with holes, related by a few factors.

    The seed chooses the rows; what the columns are like it leaves as it is.
    """
    form, rng = np.random.default_rng(0), np.random.default_rng(seed)
    factors = rng.standard_normal((n_rows, N_FACTORS))
    columns = {}
    for position in range(n_columns):
        loadings = form.normal(size=N_FACTORS)
        z = factors @ (0.8 * loadings / np.linalg.norm(loadings))
        z += 0.6 * rng.standard_normal(n_rows)  # standard normal again
        hole = rng.random(n_rows) < 0.1 if position % 5 == 4 else None
        if position % 2:
            column = category(z, LEVELS[position // 2 % len(LEVELS)], hole)
        else:
            column = number(z, position // 2 % 4)
            if hole is not None:
                column = np.where(hole, np.nan, column)
        columns[f"column_{position}"] = column
    return pd.DataFrame(columns)


def number(z, kind):
    """Normal, skewed, whole or mostly zero."""
    if kind == 0:
        return 100 + 15 * z
    if kind == 1:
        return np.exp(z)
    if kind == 2:
        return np.rint(40 + 12 * z).astype(np.int64)
    return np.maximum(z - 0.5, 0)


def category(z, n_levels, hole):
    """Slices of z, each level rarer than the one before."""
    shares = 1 / np.arange(2, n_levels + 2)
    cuts = ndtri(np.cumsum(shares / shares.sum())[:-1])
    codes = np.searchsorted(cuts, z)
    if hole is not None:
        codes[hole] = -1
    return pd.Categorical.from_codes(codes, [f"level {i:02d}" for i in range(n_levels)])


# ------------------------------------------------------------------ the measurement


@contextmanager
def codec_clock():
    """A list that gets the seconds of each call of the codec within the block."""
    from sklearn_unsup._table.codec import TableCodec

    spent = []

    def timed(method):
        def call(*args, **kwargs):
            start = time.perf_counter()
            result = method(*args, **kwargs)
            spent.append(time.perf_counter() - start)
            return result

        return call

    methods = {name: timed(getattr(TableCodec, name)) for name in ("fit", "encode")}
    with mock.patch.multiple(TableCodec, **methods):
        yield spent


def run(name, table, n_epochs):
    """The codec, fitted, and what must be kept until the peak is read."""
    import sklearn_unsup
    from sklearn_unsup._table.codec import TableCodec

    if name == "codec":
        codec = TableCodec().fit(table)
        return codec, codec.encode(table, np.random.default_rng(0))
    model = getattr(sklearn_unsup, name)(max_iter=n_epochs, random_state=0).fit(table)
    return model.codec_, model


def measure(name, n_rows, n_columns, n_epochs):
    run(name, mixed_table(200, 4), 1)  # imports what a fit imports
    table = mixed_table(n_rows, n_columns)
    with codec_clock() as spent, PeakMemory() as memory:
        start = time.perf_counter()
        codec, _ = run(name, table, n_epochs)
        seconds = time.perf_counter() - start
    few = table.head(100)
    encoded = sum(array.nbytes for array in codec.encode(few)) * n_rows / len(few)
    return {
        "seconds": seconds,
        "codec": sum(spent),
        "MiB": memory.mib,
        "encoded MiB": encoded / MIB,
    }


def measured(args, name, n_rows, n_columns):
    """The figures of one fit, or {"failure": why there are none}."""
    options = [name, n_rows, n_columns, args.epochs]
    key = " ".join(map(str, options))
    kept = {}
    if args.keep and Path(args.keep).exists():
        kept = json.loads(Path(args.keep).read_text())
    if key in kept:
        return kept[key]
    try:
        figures = in_own_process(__file__, "--one", *options, limit=args.limit)
    except subprocess.TimeoutExpired:
        figures = {"failure": f"not finished in {args.limit:g} s"}
    except RuntimeError as error:
        figures = {"failure": f"failed: {str(error).splitlines()[-1]}"}
    if args.keep and "failure" not in figures:
        Path(args.keep).write_text(json.dumps({**kept, key: figures}, indent=1))
    return figures


# ----------------------------------------------------------------------- the tables

HEADING = (
    f"{'':24}{'size':>10}{'seconds':>10}{'codec':>9}{'rest':>10}{'slope':>7}"
    f"{'MiB':>10}{'slope':>7}{'encoded':>9}{'times':>9}"
)


def slope(before, now, figure):
    """Power of the size that a figure grew with, nan where there is none."""
    if before is None or min(before[1][figure], now[1][figure]) <= 0:
        return math.nan
    return math.log(now[1][figure] / before[1][figure]) / math.log(now[0] / before[0])


def line(name, size, figures, before, bar):
    start = f"{name:24}{size:10,}"
    if "failure" in figures:
        return f"{start}   {figures['failure']}"
    seconds, codec = figures["seconds"], figures["codec"]
    peak, encoded = figures["MiB"], figures["encoded MiB"]
    slopes = [slope(before, (size, figures), key) for key in ("seconds", "MiB")]
    verdict = f"   bar {BAR}: {'met' if peak <= BAR * encoded else 'missed'}"
    return (
        f"{start}{seconds:10.2f}{codec:9.2f}{seconds - codec:10.2f}{slopes[0]:7.2f}"
        f"{peak:10.1f}{slopes[1]:7.2f}{encoded:9.1f}{peak / encoded:9.2f}"
        + (verdict if bar else "")
    )


def compare(args, what, sizes):
    """Print the table of growing rows or columns; {name: [(size, figures)]}."""
    rows = what == "rows"
    beside = f"{args.at_columns:,} columns" if rows else f"{args.at_rows:,} rows"
    print(f"\n{what}, at {beside}, epochs: {args.epochs}\n{HEADING}")
    curves = {name: [] for name in args.models}
    for name, curve in curves.items():
        before = None
        for size in sizes:
            shape = (size, args.at_columns) if rows else (args.at_rows, size)
            figures = measured(args, name, *shape)
            bar = name != "codec" and (*shape, args.epochs) == BAR_AT
            print(line(name, size, figures, before, bar), flush=True)
            curve.append((size, figures))
            before = None if "failure" in figures else curve[-1]
    return curves


# ----------------------------------------------------------------------- the picture

# Colours of Okabe and Ito that stand out from white; markers tell them apart in grey.
STYLES = {
    "codec": ("#000000", "D"),
    "AutoencoderTransformer": ("#0072B2", "o"),
    "VAETransformer": ("#D55E00", "s"),
    "GANSampler": ("#009E73", "^"),
}


def draw(path, tables, limit):
    """Seconds above memory, a column of panels for each table."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        2,
        len(tables),
        figsize=(4.5 * len(tables), 6.5),
        sharex="col",
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    for (above, below), (title, curves) in zip(axes.T, tables.items(), strict=True):
        encoded = {}
        for name, curve in curves.items():
            color, marker = STYLES[name]
            done = [(size, f) for size, f in curve if "failure" not in f]
            style = {"color": color, "marker": marker, "label": name}
            sizes = [size for size, _ in done]
            above.plot(sizes, [f["seconds"] for _, f in done], **style)
            below.plot(sizes, [f["MiB"] for _, f in done], **style)
            encoded.update((size, f["encoded MiB"]) for size, f in done)
            late = [s for s, f in curve if "not finished" in f.get("failure", "")]
            style.update(fillstyle="none", ls="")
            above.plot(late, [limit] * len(late), **style)
        style = {"color": "0.45", "zorder": 1}
        sizes = sorted(encoded)
        once, bar = ([k * encoded[size] for size in sizes] for k in (1, BAR))
        below.plot(sizes, once, ls="--", label="encoded table", **style)
        below.plot(sizes, bar, ls=":", label=f"{BAR} x encoded table", **style)
        above.set_title(title)
        below.set_xlabel(title.split(",")[0])
        for ax in (above, below):
            ax.set(xscale="log", yscale="log")
            ax.grid(which="major", color="0.88")
            ax.set_axisbelow(True)
            ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("seconds (hollow: not finished)")
    axes[1, 0].set_ylabel("peak memory, MiB")
    handles, labels = axes[1, 0].get_legend_handles_labels()
    place = {"loc": "outside lower center", "ncols": 1 + len(tables)}
    figure.legend(handles, labels, frameon=False, **place)
    figure.savefig(path, dpi=150, facecolor="white")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    rows, columns = [10**4, 10**5, 10**6], [10, 100, 1000]
    parser.add_argument("--rows", type=int, nargs="*", default=rows, help="sizes")
    parser.add_argument("--at-columns", type=int, default=20, help="of these tables")
    parser.add_argument("--columns", type=int, nargs="*", default=columns, help="sizes")
    parser.add_argument("--at-rows", type=int, default=10**4, help="of these tables")
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--epochs", type=int, default=1, help="of each fit; default: 1")
    parser.add_argument("--limit", type=float, default=3_600, help="seconds of a run")
    parser.add_argument("--keep", help="JSON file of figures not to measure again")
    parser.add_argument("--picture", help="file to draw to, .png or .svg")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        name, *numbers = args.one
        print(json.dumps(measure(name, *map(int, numbers))))
        return
    tables = {}
    if args.rows:
        title = f"rows, at {args.at_columns:,} columns"
        tables[title] = compare(args, "rows", args.rows)
    if args.columns:
        title = f"columns, at {args.at_rows:,} rows"
        tables[title] = compare(args, "columns", args.columns)
    rows, columns, _ = BAR_AT
    print(
        f"\nbar: a peak of at most {BAR} times the encoded table for {rows:,} rows of "
        f"{columns} columns and one epoch of each model"
    )
    if args.picture and tables:
        draw(args.picture, tables, args.limit)


if __name__ == "__main__":
    main()
