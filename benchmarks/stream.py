"""A stream of more rows than memory need hold, beside a fit of a table in memory.

    python benchmarks/stream.py
    python benchmarks/stream.py --model vae --rows 1000000 --folder rows
    python benchmarks/stream.py --quality some.parquet

Generated rows go to parquet files, a chunk each, and from there chunk by chunk through
`partial_fit`, with the defaults of the model. The stream and the fit of `--memory-rows`
of the same rows have a process each, on one thread. The rows per second of a fit are
rows times epochs by all its seconds, those of the stream are with reading. Scores are
mean nats of rows that neither saw, as each encodes them (for a GAN: minus the energy
distance). All rows take about 0.1 GB of disk per million. Bars stand beside figures.

With `--quality` a VAETransformer passes again and again over ten chunks of 80 % of a
table until it has made twice the gradient steps that `fit` makes; rows drawn from it,
from itself after two passes and from `fit` are compared with those fitted on (trend is
best at 1, c2st at .5).
"""

import argparse
import json
import pickle
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from _memory import MIB, PeakMemory, in_own_process, resident
from growth import mixed_table

N_COLUMNS = 20
MODELS = {
    "autoencoder": "AutoencoderTransformer",
    "vae": "VAETransformer",
    "gan": "GANSampler",
}
HELD_OUT = 20_000, -1  # rows and chunk, one that no stream has
BARS = {"peak GB": 1.0, "ratio": 0.8, "trend": 0.01, "c2st": 0.05}

# -------------------------------------------------------------------------- the rows


def chunk_of_rows(n_rows, chunk):
    return mixed_table(n_rows, N_COLUMNS, seed=[1, chunk + 1])


def write_rows(folder, n_rows, chunk):
    """Files of `chunk` rows each, one in memory at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for number, start in enumerate(range(0, n_rows, chunk)):
        frame = chunk_of_rows(min(chunk, n_rows - start), number)
        table = pa.Table.from_pandas(frame, preserve_index=False)
        pq.write_table(table, Path(folder, f"rows-{number:06d}.parquet"))


def open_rows(folder):
    import pyarrow.dataset as ds

    return ds.dataset(folder, format="parquet")


def frames(folder, chunk):
    """One chunk at a time: what is read ahead, by default 16 chunks, is held too."""
    batches = open_rows(folder).to_batches(
        batch_size=chunk, batch_readahead=0, fragment_readahead=0, use_threads=False
    )
    for batch in batches:  # dictionaries become categories
        yield batch.to_pandas()


# ------------------------------------------------------------------- the measurement


def make_model(args):
    """The model, after a small one has imported all that one imports."""
    import pyarrow as pa

    import sklearn_unsup

    # What the allocators of arrow keep for later would count as if it were needed.
    pa.set_memory_pool(pa.system_memory_pool())
    model_class = getattr(sklearn_unsup, MODELS[args.model])
    model_class(max_iter=1, random_state=0).fit(mixed_table(200, 4))
    return model_class(random_state=0)


def judge(model):
    """Score of held-out rows; drawing some must work too."""
    rows = model.sample(1_000)
    held_out = chunk_of_rows(*HELD_OUT)
    if rows.shape != (1_000, N_COLUMNS) or list(rows) != list(held_out):
        raise RuntimeError(f"drew a table of shape {rows.shape}: {list(rows)}")
    if not hasattr(model, "score_samples"):
        return model.score(held_out)
    scores = model.score_samples(held_out)
    if scores.shape != (len(held_out),) or not np.isfinite(scores).all():
        raise RuntimeError("scores of held-out rows are not a finite number each")
    return float(scores.mean())


def stream(args):
    model = make_model(args)
    before, held, n_rows, reading = resident(), [], 0, 0.0
    with PeakMemory() as memory:
        start = time.perf_counter()
        chunks = frames(args.folder, args.chunk)
        while True:
            asked = time.perf_counter()
            frame = next(chunks, None)
            reading += time.perf_counter() - asked
            if frame is None:
                break
            model.partial_fit(frame)
            n_rows += len(frame)
            del frame  # before the next one is read
            held.append(resident() / MIB)
        seconds = time.perf_counter() - start
    return {
        "rows": n_rows,
        "seconds": seconds,
        "reading": reading,
        "before": before / MIB,
        "held": held,
        "peak": memory.mib,
        "score": judge(model),
    }


def fit(args):
    model = make_model(args)
    table = open_rows(args.folder).head(args.memory_rows).to_pandas()
    start = time.perf_counter()
    with PeakMemory() as memory:
        model.fit(table)
    return {
        "rows": len(table),
        "epochs": model.n_iter_,
        "seconds": time.perf_counter() - start,
        "peak": memory.mib,
        "score": judge(model),
    }


def verdict(value, bar, most=True):
    met = value <= bar if most else value >= bar
    side = "most" if most else "least"
    return f"bar: at {side} {bar:g}, {'met' if met else 'missed'}"


def compare(args):
    """Stream, fit, and what they have to say of each other."""
    options = json.dumps(vars(args))
    streamed = in_own_process(__file__, "--one", "stream", options)
    speed = streamed["rows"] / streamed["seconds"]
    training = streamed["seconds"] - streamed["reading"]
    held = streamed["held"]
    print(
        f"stream    {speed:12,.0f} rows/s: {streamed['rows']:,} rows in "
        f"{streamed['seconds']:.1f} s, {streamed['reading']:.1f} of them reading; "
        f"{streamed['rows'] / training:,.0f} rows/s without"
    )
    print(
        f"held      {held[0]:12.0f} MiB after the first of {len(held)} chunks, "
        f"{held[min(1, len(held) - 1)]:.0f} the second, {held[-1]:.0f} the last, "
        f"{max(held):.0f} at most; {streamed['before']:.0f} before"
    )
    peak = streamed["peak"] * MIB / 1e9
    print(
        f"peak      {streamed['peak']:12.0f} MiB above libraries, {peak:.3f} GB "
        f"({verdict(peak, BARS['peak GB'])})",
        flush=True,
    )
    fitted = in_own_process(__file__, "--one", "fit", options)
    beside = fitted["rows"] * fitted["epochs"] / fitted["seconds"]
    print(
        f"fit       {beside:12,.0f} rows/s: {fitted['rows']:,} rows x "
        f"{fitted['epochs']} epochs in {fitted['seconds']:.1f} s, peak "
        f"{fitted['peak']:.0f} MiB above libraries and table"
    )
    ratio = speed / beside
    print(f"ratio     {ratio:12.2f} ({verdict(ratio, BARS['ratio'], most=False)})")
    print(f"held-out  {streamed['score']:12.3f} the stream, {fitted['score']:.3f} fit")


# ---------------------------------------------------------------------- the quality


def chunks_of_table(table, n_chunks, seed):
    """Shuffled chunks, the first of which shows every level and every gap."""
    order = np.random.default_rng(seed).permutation(len(table))
    table = table.iloc[order].reset_index(drop=True)
    first = np.zeros(len(table), dtype=bool)
    for _, column in table.items():
        # Of a number, whether it is missing is all that `partial_fit` must know.
        values = column.isna() if column.dtype.kind in "iufmM" else column
        first |= ~values.duplicated().to_numpy()
    order = np.argsort(~first, kind="stable")
    return [table.iloc[part] for part in np.array_split(order, n_chunks)]


def pass_over(model, chunks, n_passes, n_steps=None):
    """Whole passes, or as many steps; the number of passes made."""
    done = 0
    while done < n_passes:
        for number, chunk in enumerate(chunks, 1):
            model.partial_fit(chunk)
            if n_steps is not None and model.net_.step_ >= n_steps:
                return done + number / len(chunks)
        done += 1
    return done


def quality(args):
    import torch
    from sklearn.model_selection import train_test_split

    from sklearn_unsup import VAETransformer
    from sklearn_unsup.metrics import c2st_score, trend_score

    torch.set_num_threads(1)
    table = pd.read_parquet(args.quality)
    train, _ = train_test_split(table, test_size=0.2, random_state=0)
    train = train.reset_index(drop=True)
    chunks = chunks_of_table(train, args.chunks, seed=0)
    print(f"{Path(args.quality).stem}: {len(train):,} rows in {args.chunks} chunks")
    print(f"{'':16}{'passes':>8}{'steps':>9}{'fit s':>9}{'trend':>9}{'c2st':>9}")

    def report(label, model, passes, seconds):
        rows = model.sample(len(train), random_state=0)
        scores = trend_score(train, rows), c2st_score(train, rows, random_state=0)
        print(
            f"{label:16}{passes:8.1f}{model.net_.step_:9,}{seconds:9.1f}"
            + "".join(f"{score:9.4f}" for score in scores),
            flush=True,
        )
        return scores

    start = time.perf_counter()
    model = VAETransformer(max_iter=args.max_iter or "auto", random_state=0).fit(train)
    seconds = time.perf_counter() - start
    of_fit = report("fit", model, model.n_iter_, seconds)
    goal = 2 * model.net_.step_
    model = VAETransformer(random_state=0)
    start = time.perf_counter()
    passes = pass_over(model, chunks, 2)
    seconds = time.perf_counter() - start
    # A copy draws, so that the stream goes on as if nobody had looked.
    report("partial_fit", pickle.loads(pickle.dumps(model)), passes, seconds)
    start = time.perf_counter()
    if model.net_.step_ < goal:
        passes += pass_over(model, chunks, np.inf, goal)
    seconds += time.perf_counter() - start
    of_stream = report("partial_fit", model, passes, seconds)
    worse = {
        "trend": of_fit[0] - of_stream[0],
        "c2st": abs(of_stream[1] - 0.5) - abs(of_fit[1] - 0.5),
    }
    for (name, much), ours, theirs in zip(
        worse.items(), of_stream, of_fit, strict=True
    ):
        bar = verdict(much, BARS[name])
        print(f"{name:16}{ours - theirs:+8.4f} of fit's, worse by {much:.4f} ({bar})")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="autoencoder", choices=MODELS)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--chunk", type=int, default=200_000, help="rows at a time")
    parser.add_argument("--memory-rows", type=int, default=1_000_000, help="of the fit")
    parser.add_argument("--folder", help="keep the rows there; used if already there")
    parser.add_argument("--quality", metavar="FILE", help="parquet table; this alone")
    parser.add_argument("--chunks", type=int, default=10, help="of --quality")
    parser.add_argument("--max-iter", type=int, help="of --quality's fit")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        kind, options = args.one
        options = argparse.Namespace(**json.loads(options))
        print(json.dumps({"stream": stream, "fit": fit}[kind](options)))
        return
    if args.quality:
        quality(args)
        return
    with tempfile.TemporaryDirectory() as temporary:
        args.folder = args.folder or temporary
        Path(args.folder).mkdir(parents=True, exist_ok=True)
        if not any(Path(args.folder).iterdir()):
            write_rows(args.folder, args.rows, args.chunk)
        there = open_rows(args.folder).count_rows()
        if there != args.rows:
            parser.error(f"{args.folder} holds {there:,} rows, not {args.rows:,}")
        title = f"{MODELS[args.model]}, {args.rows:,} rows x {N_COLUMNS} columns"
        print(title, flush=True)
        compare(args)


if __name__ == "__main__":
    main()
