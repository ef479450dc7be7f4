"""A fit in two processes by Accelerate beside one: losses, and rows per second.

    python benchmarks/parallel.py [--rows 20000] [--epochs 4] [--width 1024]

Both train on the same table, one process with twice the batch of each of two, so that
every step sees the same rows. One thread each. Losses of all three models are compared
epoch by epoch. "nudged" compares in the same way two fits of one process, one of which
starts from weights that differ by a tenth of a millionth of their size, as rounding
does: a game of two nets is chaotic, and no two ways of adding up agree for long. The
speed is that of the autoencoder with hidden layers of `--width` units, without its
start and what follows training. On a machine whose two cores are busy, or are two
threads of one core, the second process gains little.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time

import numpy as np
from _memory import ONE_THREAD
from skorch.callbacks import Callback

MODELS = ["autoencoder", "VAE", "GAN"]


class Nudge(Callback):
    def on_train_begin(self, net, **kwargs):
        for tensor in net.weights().values():
            tensor.mul_(1 + 1e-7)


def make(name, width, batch_size, n_epochs, data_parallel, nudged):
    import sklearn_unsup as package

    kind = {
        "autoencoder": package.AutoencoderTransformer,
        "VAE": package.VAETransformer,
        "GAN": package.GANSampler,
    }[name]
    return kind(
        8,
        hidden_layer_sizes=(width, width),
        batch_size=batch_size,
        max_iter=n_epochs,
        data_parallel=data_parallel,
        callbacks=[Nudge()] if nudged else None,
        random_state=0,
    )


def make_rows(n_rows):
    from sklearn_unsup.datasets import make_mixed_table

    return make_mixed_table(n_rows, missing_rate=0, random_state=0)[0]


def one(args):
    """What each process does: the loss curve, and rows per second of training."""
    n_processes = int(os.environ.get("WORLD_SIZE", 1))
    model = make(
        args.model,
        args.width,
        args.batch // n_processes,
        args.epochs,
        n_processes > 1,
        args.nudged,
    )
    rows = make_rows(args.rows)
    start = time.perf_counter()
    model.fit(rows)
    epochs = [epoch["dur"] for epoch in model.net_.history]
    result = {
        "loss": model.loss_curve_,
        "rows_s": len(rows) / float(np.median(epochs[1:] or epochs)),
        "fit_s": time.perf_counter() - start,
        "weights": [float(t.double().sum()) for t in model.net_.weights().values()],
    }
    print(json.dumps(result))


def launch(args, model, n_processes, n_rows, width, n_epochs, nudged=False):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, **ONE_THREAD}
    if n_processes > 1:
        environment |= {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "WORLD_SIZE": str(n_processes),
            "LOCAL_WORLD_SIZE": str(n_processes),
        }
    command = [sys.executable, "-W", "ignore", __file__, "--one", "--model", model]
    for name, value in (
        ("rows", n_rows),
        ("width", width),
        ("epochs", n_epochs),
        ("batch", args.batch),
    ):
        command += [f"--{name}", str(value)]
    command += ["--nudged"] * nudged
    running = []
    for rank in range(n_processes):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if n_processes > 1 else {}
        running.append(
            subprocess.Popen(
                command,
                env={**environment, **own},
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    outputs = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise RuntimeError(f"{model} in {n_processes} processes failed")
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def main(args):
    print("largest relative difference of a loss from that of one process")
    print(f"{'':14}{'2 processes':>14}{'nudged':>10}{'over 1e-3 from':>18}")
    for model in args.models:
        form = model, 2_000, 64, args.compared
        [alone] = launch(args, form[0], 1, *form[1:])
        [nudged] = launch(args, form[0], 1, *form[1:], nudged=True)
        shared = launch(args, form[0], 2, *form[1:])
        if shared[0]["weights"] != shared[1]["weights"]:
            raise AssertionError(f"{model}: the processes' weights differ")
        apart, rounding = (
            np.abs(np.divide(other["loss"], alone["loss"]) - 1)
            for other in (shared[0], nudged)
        )
        over = np.flatnonzero(apart > 1e-3)
        since = f"epoch {over[0] + 1}" if len(over) else "never"
        print(f"{model:14}{apart.max():14.0e}{rounding.max():10.0e}{since:>18}")
    print(f"\nautoencoder, {args.width} units, {args.rows:,} rows, batch {args.batch}")
    speeds = {1: [], 2: []}
    for number in range(args.rounds):
        for n_processes in (1, 2) if number % 2 else (2, 1):
            results = launch(
                args, "autoencoder", n_processes, args.rows, args.width, args.epochs
            )
            speeds[n_processes].append(results[0]["rows_s"])
    for n_processes, measured in speeds.items():
        print(f"{n_processes} process(es): {np.median(measured):10,.0f} rows/s")
    ratios = np.divide(speeds[2], speeds[1])
    print(f"two beside one: {np.median(ratios):.2f} ({ratios.min():.2f} to ", end="")
    print(f"{ratios.max():.2f}; bar 1.4)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--width", type=int, default=1_024)
    parser.add_argument("--batch", type=int, default=1_024, help="of all processes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compared", type=int, default=20, help="epochs, of losses")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--model", default="autoencoder", help=argparse.SUPPRESS)
    parser.add_argument("--nudged", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    one(arguments) if arguments.one else main(arguments)
