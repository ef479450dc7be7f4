"""Seconds of a grid search: one process, joblib's processes, a cluster of Dask.

    python benchmarks/search.py [--rows 4000] [--epochs 40] [--workers 2]

Eight candidates of an `AutoencoderTransformer`, and four of them, are searched on a
generated table of mixed columns, with OMP_NUM_THREADS unset and set to 1. Each search
has a process of its own, since the variable counts only before Python starts. "start"
is what it takes until all workers have imported the package, "search" the `fit` after
that, and "ratio" the search's to that of `n_jobs=1` under the same setting. "same
scores" compares the scores of all folds with those of `n_jobs=1`: "yes", or by how much
they differ; another number of threads may round differently.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager, nullcontext

import joblib
import numpy as np

SIZES = [2, 4, 8, 16]  # of the code
LAYERS = [(256,), (256, 128)]
COUNTS = [4, 8]  # candidates
THREAD_VARIABLES = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"]


def import_package():
    import sklearn_unsup  # noqa: F401  (brings torch along)

    time.sleep(1.0)  # so that no worker is done before all have begun


# ----------------------------------------------------------------------- where it runs
# Each takes the number of workers and yields a context to search in, and `n_jobs`.


@contextmanager
def one_process(n_workers):
    yield nullcontext(), 1


@contextmanager
def loky(n_workers):
    with joblib.parallel_config("loky", n_jobs=n_workers):
        tasks = (joblib.delayed(import_package)() for _ in range(n_workers))
        joblib.Parallel()(tasks)
    yield joblib.parallel_config("loky"), n_workers


@contextmanager
def dask(n_workers):
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
        ) as cluster,
        Client(cluster) as client,
    ):
        client.run(import_package)
        yield joblib.parallel_config("dask"), None


PLACES = {"n_jobs=1": one_process, "loky": loky, "dask": dask}


# ------------------------------------------------------------------------- measurement


def measure(place, n_candidates, args):
    """Seconds and the scores of all folds, of one search in this process."""
    from sklearn.model_selection import GridSearchCV

    from sklearn_unsup import AutoencoderTransformer
    from sklearn_unsup.datasets import make_mixed_table

    table, _ = make_mixed_table(args.rows, random_state=0)
    model = AutoencoderTransformer(
        max_iter=args.epochs, handle_unknown="ignore", device="cpu", random_state=0
    )
    layers = LAYERS[: n_candidates // len(SIZES)]
    grid = {"n_components": SIZES, "hidden_layer_sizes": layers}
    search = GridSearchCV(model, grid, cv=args.folds, refit=False)
    start = time.perf_counter()
    with PLACES[place](args.workers) as (context, n_jobs):
        started = time.perf_counter()
        with context:
            search.set_params(n_jobs=n_jobs).fit(table)
        done = time.perf_counter()
    scores = [search.cv_results_[f"split{k}_test_score"] for k in range(args.folds)]
    return {
        "start": started - start,
        "search": done - started,
        "scores": np.concatenate(scores).tolist(),
    }


def in_own_process(place, n_candidates, threads, args):
    environment = {k: v for k, v in os.environ.items() if k not in THREAD_VARIABLES}
    if threads is not None:
        environment |= dict.fromkeys(THREAD_VARIABLES, threads)
    command = [sys.executable, "-W", "ignore", __file__]
    command += ["--one", place, str(n_candidates)]
    for name in ("rows", "epochs", "folds", "workers"):
        command += [f"--{name}", str(getattr(args, name))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{place} failed:\n{done.stderr[-2_000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def compared(scores, reference):
    difference = np.abs(np.subtract(scores, reference)).max()
    return "yes" if difference == 0 else f"to {difference:.0e}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=4_000)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--places", nargs="+", default=list(PLACES), choices=PLACES)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        warnings.simplefilter("ignore")
        place, n_candidates = args.one
        print(json.dumps(measure(place, int(n_candidates), args)))
        return
    print(f"{args.rows} rows, {args.epochs} epochs, {args.folds} folds, ", end="")
    print(f"{args.workers} workers on {joblib.cpu_count()} cores")
    print(f"{'candidates':>10}{'OMP_NUM_THREADS':>17}  {'':10}", end="")
    print(f"{'start, s':>9}{'search, s':>11}{'ratio':>7}  same scores")
    for n_candidates in COUNTS:
        for threads in (None, "1"):
            reference = None
            # One after another, and the reference first.
            for place in sorted(args.places, key=list(PLACES).index):
                run = in_own_process(place, n_candidates, threads, args)
                reference = reference or run
                ratio = run["search"] / reference["search"]
                print(f"{n_candidates:10}{threads or 'unset':>17}  {place:10}", end="")
                print(f"{run['start']:9.1f}{run['search']:11.1f}{ratio:7.2f}", end="  ")
                print(compared(run["scores"], reference["scores"]), flush=True)


if __name__ == "__main__":
    main()
