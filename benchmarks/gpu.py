"""What a GPU makes of the three models: speed, memory, quality, and the bars they meet.

    python benchmarks/gpu.py [--models VAE GAN] [--skip quality]
    python benchmarks/gpu.py --device cpu --rows 2000 --batches 64 --steps 20 \
        --quality-rows 300 --quality-epochs 1

Steps per second are those of the engine within a run, all that belongs to a step
included, and of a hand-written loop over the same module and loss (see floor.py), both
with TF32. "skorch" is a plain stack of layers of the same widths in skorch as it comes.
"busy" is the share of the time in which a kernel runs: the kernels' time per step that
torch.profiler sees, by the steps per second without it. A cell that fails says why and
the others go on. The second command, on a machine without a GPU, only runs the code.
"""

import argparse
import copy
import gc
import subprocess
import threading
import time
import warnings
from contextlib import contextmanager, nullcontext
from datetime import date
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from floor import MODELS, hand_written, levels, trained
from sklearn.exceptions import ConvergenceWarning
from skorch import NeuralNet
from torch import nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from sklearn_unsup._encoding import upload
from sklearn_unsup._nn import device as device_module
from sklearn_unsup._nn.device import allow_tf32_products
from sklearn_unsup._training.cuda_graphs import N_EAGER_STEPS
from sklearn_unsup.datasets import make_mixed_table
from sklearn_unsup.metrics import c2st_score, trend_score

MIB = 2**20
WARM = 40  # steps before the clock: libraries set themselves up, graphs are recorded
SECTIONS = ("speed", "memory", "stream", "quality")
SPEED_BAR, BUSY_BAR = 5.0, 0.6  # of the VAE, batch 512: times skorch; share of time
NEAR = 0.05  # two fits on a CPU with different seeds differ by less than that


def mixed_table(n_rows, seed=0):
    """10 numbers, half of them with spikes or whole, and 10 categories."""
    rng = np.random.default_rng(seed)
    hidden, columns = rng.normal(size=n_rows), {}
    for i in range(10):
        values = rng.normal(size=n_rows) + hidden * i / 10
        if i % 4 == 1:
            values = np.exp(values).round(2)
        elif i % 4 == 3:
            values = (10 * values).round() * (rng.random(n_rows) < 0.5)
        columns[f"number {i}"] = values
    for i, size in enumerate([2, 2, 3, 4, 5, 6, 8, 10, 20, 40]):
        columns[f"category {i}"] = levels(size, hidden, rng)
    return pd.DataFrame(columns)


# ----------------------------------------------------------------------- what is timed


def synchronised(device):
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class Window:
    """Ends a run after so many of its steps, and knows how long these took.

    With `watched` a profiler runs beside them.
    """

    def __init__(self, net, n_steps, n_warm, watched=False):
        self.net, self.n_steps, self.n_warm, self.count = net, n_steps, n_warm, 0
        self.train_step, net.train_step = net.train_step, self
        self.profiler = None
        if watched:
            self.profiler = profile(activities=[ProfilerActivity.CUDA])

    def __call__(self, batch, **kwargs):
        if self.count == self.n_warm:
            if self.profiler is not None:
                self.profiler.start()
            self.start = synchronised(self.net.device)
        if self.count == self.n_warm + self.n_steps:
            self.seconds = synchronised(self.net.device) - self.start
            if self.profiler is not None:
                self.profiler.stop()
            captured = self.net.captured_steps_
            self.n_graphs = 0 if captured is None else len(captured.graphs)
            raise KeyboardInterrupt  # by which skorch is told to end
        self.count += 1
        return self.train_step(batch, **kwargs)


def window(net, rows, batch_size, n_steps, watched=False, **params):
    """A window of a run of a copy of the net, and the copy."""
    gc.collect()  # of the nets before, which would count as this one's memory
    twin = copy.deepcopy(net)
    twin.set_params(batch_size=batch_size, max_epochs=10_000, **params)
    # The last, smaller batch is recorded only when it has come often enough.
    n_warm = (N_EAGER_STEPS + 1) * len(twin.get_iterator(rows, training=True))
    timed = Window(twin, n_steps, max(WARM, n_warm), watched)
    twin.partial_fit(rows)
    error = getattr(twin, "capture_error_", None)
    if error is not None:
        raise RuntimeError(f"not recorded: {error}")
    return timed


def our_speed(*args, **params):
    timed = window(*args, **params)
    return timed.n_steps / timed.seconds


def hand_speed(net, rows, batch_size, n_steps):
    twin = copy.deepcopy(net).set_params(batch_size=batch_size)
    turn = hand_written(twin, rows)
    with allow_tf32_products(net.device):
        turn(WARM)
        start = synchronised(net.device)
        turn(n_steps)
        return n_steps / (synchronised(net.device) - start)


# ----------------------------------------------------------- what a user of skorch has


def stack(sizes):
    layers = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


class PlainVAE(nn.Module):
    def __init__(self, width, hidden, size):
        super().__init__()
        self.encoder = stack([width, *hidden, 2 * size])
        self.decoder = stack([size, *reversed(hidden), width])

    def forward(self, x):
        mean, log_var = self.encoder(x).chunk(2, 1)
        codes = mean + torch.randn_like(mean) * torch.exp(0.5 * log_var)
        return self.decoder(codes), mean, log_var


class PlainELBO(nn.Module):
    def forward(self, output, x):
        rebuilt, mean, log_var = output
        divergence = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1)
        return (0.5 * (rebuilt - x).square().sum(1) + divergence).mean()


def skorch_speed(model, rows, batch_size, n_steps):
    """Of the encoded rows as one array, which costs skorch nothing."""
    hidden, size = model.net_.module__hidden_layer_sizes, model.n_components
    table = model.net_.module_.table
    n_rows = min(len(rows), n_steps * batch_size)
    X = table(*rows.take(slice(0, n_rows))).cpu().numpy()
    width = X.shape[1]
    module, loss = stack([width, *hidden, size, *reversed(hidden), width]), nn.MSELoss
    if "VAE" in type(model).__name__:
        module, loss = PlainVAE(width, hidden, size), PlainELBO
    net = NeuralNet(
        module,
        loss,
        optimizer=torch.optim.Adam,
        lr=1e-3,
        max_epochs=1,
        batch_size=batch_size,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
        device=model.device_,
    ).initialize()
    net.partial_fit(X[: 5 * batch_size], X[: 5 * batch_size])
    n_epochs = -(-n_steps * batch_size // n_rows)
    net.set_params(max_epochs=n_epochs)
    start = synchronised(model.device_)
    net.partial_fit(X, X)
    seconds = synchronised(model.device_) - start
    return n_epochs * -(-n_rows // batch_size) / seconds


# --------------------------------------------------------------------- how busy it is


def kernels_of(timed):
    """Number of kernels in a window, and the seconds in which at least one ran."""
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in timed.profiler.events()
        if event.device_type == DeviceType.CUDA
        and not getattr(event, "is_user_annotation", False)
    )
    total, reached = 0.0, -np.inf
    for start, end in spans:
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return len(spans), total / 1e6


def busy_share(net, rows, batch_size, n_steps, speeds, state):
    """Of steps as graphs and of eager ones, and how it was found."""
    n_steps = min(n_steps, 100)
    shares, counts = {}, {}
    for use_cuda_graphs in (False, True):
        if speeds[use_cuda_graphs] is None:
            continue
        timed = window(
            net, rows, batch_size, n_steps, True, use_cuda_graphs=use_cuda_graphs
        )
        counts[use_cuda_graphs], seconds = kernels_of(timed)
        shares[use_cuda_graphs] = seconds / n_steps * speeds[use_cuda_graphs]
    if not all(counts.values()) or counts.get(True, 1) < 0.5 * counts.get(False, 0):
        # Not each version of the tools looks inside the launch of a graph.
        state["busy"] = "samples of the utilisation that NVML reports"
        run = {"use_cuda_graphs": speeds[True] is not None}
        many = max(n_steps, round(4 * (speeds[True] or speeds[False])))
        return {
            run["use_cuda_graphs"]: sampled_share(net, rows, batch_size, many, **run)
        }
    state["busy"] = "torch.profiler, which sees the kernels of graphs"
    return shares


def sampled_share(net, rows, batch_size, n_steps, **params):
    samples, done = [], threading.Event()

    def look():
        while not done.wait(0.1):
            samples.append(utilisation(net.device))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        window(net, rows, batch_size, n_steps, **params)
    finally:
        done.set()
        thread.join()
    # The setting-up is before the middle of the samples.
    return float(np.mean(samples[len(samples) // 2 :])) / 100


def utilisation(device):
    try:
        return torch.cuda.utilization(device)
    except Exception:  # it needs a package of its own
        query = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        found = subprocess.run(
            ["nvidia-smi", *query], capture_output=True, text=True, check=True
        )
        return float(found.stdout.split()[torch.device(device).index or 0])


# ------------------------------------------------------------------------ the sections


def attempt(label, function, *args, **kwargs):
    """What the function returns, or None and a line that says what went wrong."""
    try:
        return function(*args, **kwargs)
    except Exception as error:
        last = (str(error).strip().splitlines() or [""])[-1]
        print(f"  ! {label}: {type(error).__name__}: {last}", flush=True)
        return None


def shown(value, form="8.0f"):
    width = form.split(".")[0]
    return f"{'-':>{width}}" if value is None else f"{value:{form}}"


def speed(args, on_gpu, state):
    columns = "graphs", "eager", "graphs16", "eager16", "by hand", "skorch"
    print("\nSteps per second; 16: mixed_precision; recorded: a step became a graph")
    head = "".join(f"{name:>9}" for name in columns)
    print(f"{'':12}{'rows':>10}{'batch':>6}{head}  recorded  busy (eager)  peak MiB")
    for n_rows in args.rows:
        table = mixed_table(n_rows)
        for name in args.models:
            found = attempt(name, trained, name, table.iloc[:20_000], args.device)
            if found is None:
                continue
            model = found[0]
            rng = np.random.default_rng(0)
            rows = attempt(
                f"{name}, {n_rows:,} rows",
                upload,
                model.codec_,
                table,
                model.device_,
                rng,
            )
            for batch_size in args.batches if rows is not None else ():
                line(name, model, rows, batch_size, args.steps, on_gpu, state)
            del found, model, rows
            gc.collect()


def line(name, model, rows, batch_size, n_steps, on_gpu, state):
    net, label = model.net_, f"{name}, {len(rows):,} rows, batch {batch_size}"
    values, common, recorded, peak = {}, (net, rows, batch_size, n_steps), None, None
    for mixed in (False, True):
        for use_cuda_graphs in (True, False):
            key = f"{'graphs' if use_cuda_graphs else 'eager'}{'16' * mixed}"
            if use_cuda_graphs and not on_gpu:
                continue
            if on_gpu:
                gc.collect()
                torch.cuda.reset_peak_memory_stats()
            params = {"use_cuda_graphs": use_cuda_graphs, "mixed_precision": mixed}
            timed = attempt(f"{label}, {key}", window, *common, **params)
            if timed is None:
                continue
            values[key] = timed.n_steps / timed.seconds
            if key == "graphs":
                recorded = timed.n_graphs
                peak = torch.cuda.max_memory_allocated() / MIB
            del timed
    values["by hand"] = attempt(f"{label}, by hand", hand_speed, *common)
    if name != "GAN":
        values["skorch"] = attempt(
            f"{label}, skorch", skorch_speed, model, rows, batch_size, n_steps // 2
        )
    shares = None
    if on_gpu:
        speeds = {True: values.get("graphs"), False: values.get("eager")}
        shares = attempt(f"{label}, busy", busy_share, *common, speeds, state)
    shares = shares or {}
    state["cells"][name, len(rows), batch_size] = {**values, "busy": shares.get(True)}
    cells = "".join(
        shown(values.get(key), "9.0f")
        for key in ("graphs", "eager", "graphs16", "eager16", "by hand", "skorch")
    )
    said = "-" if recorded is None else f"{recorded} graph{'s' * (recorded != 1)}"
    busy = f"{shown(shares.get(True), '5.2f')} ({shown(shares.get(False), '4.2f')})"
    print(
        f"{name:12}{len(rows):10,}{batch_size:6}{cells}{said:>10}{busy:>14}"
        f"{shown(peak, '10.0f')}",
        flush=True,
    )


def memory(args, on_gpu, state):
    """What fits hold at most, and what they leave behind."""
    if not on_gpu:
        return
    print("\nMiB above what was held before; a fit may keep its weights and moments")
    print(f"{'':12}{'fit':>4}{'peak':>9}{'allocated':>11}{'due':>7}{'reserved':>10}")
    table = mixed_table(30_000)
    for name in args.models:
        attempt(f"{name}, memory", memory_of, name, table, args.device)


def memory_of(name, table, device):
    def held():
        gc.collect()
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated() / MIB, torch.cuda.memory_reserved() / MIB

    model = None
    start = held()
    for number in range(1, 4):
        del model
        gc.collect()
        torch.cuda.reset_peak_memory_stats()
        model = MODELS[name](
            max_iter=2, density_ratio=None, device=device, random_state=0
        ).fit(table)
        peak = torch.cuda.max_memory_allocated() / MIB - start[0]
        allocated, reserved = (
            now - was for now, was in zip(held(), start, strict=True)
        )
        weights = sum(t.numel() * t.itemsize for t in model.net_.weights().values())
        print(
            f"{name:12}{number:4}{peak:9.1f}{allocated:11.2f}{3 * weights / MIB:7.1f}"
            f"{reserved:10.1f}",
            flush=True,
        )
    del model
    torch.cuda.empty_cache()
    allocated, reserved = (now - was for now, was in zip(held(), start, strict=True))
    print(f"{name:12}{'gone':>4}{'':9}{allocated:11.2f}{0:7.1f}{reserved:10.1f}")


@contextmanager
def no_room():
    """No encoded table is taken for small enough to lie on a GPU."""
    before, device_module.MAX_TABLE_FRACTION = device_module.MAX_TABLE_FRACTION, 0
    try:
        yield
    finally:
        device_module.MAX_TABLE_FRACTION = before


def stream(args, on_gpu, state):
    """A table in the host's memory beside the same one on the GPU."""
    if not on_gpu:
        return
    print("\nSteps per second with the table on the GPU, and in the host's memory")
    table = mixed_table(max(args.rows))
    for name in args.models:
        found = attempt(name, trained, name, table.iloc[:20_000], args.device)
        if found is None:
            continue
        model = found[0]
        for batch_size in args.batches:
            values = []
            for place in (nullcontext, no_room):
                with place():
                    rows = upload(
                        model.codec_, table, model.device_, np.random.default_rng(0)
                    )
                if rows.x_num.is_cuda != (place is nullcontext):
                    print(f"  ! {name}: the rows are on {rows.x_num.device}")
                label = f"{name}, batch {batch_size}, {place.__name__}"
                common = model.net_, rows, batch_size, args.steps
                values.append(attempt(label, our_speed, *common))
                del rows
            cells = "".join(shown(value, "9.0f") for value in values)
            print(f"{name:12}{len(table):10,}{batch_size:6}{cells}", flush=True)


def quality(args, on_gpu, state):
    """Samples of fits on the GPU beside those of fits on the CPU."""
    n_rows = args.quality_rows
    print(f"\nSamples of fits on {n_rows:,} rows; AUC .5 and trend 1 are the best")
    print(f"{'':12}{'':20}{'fit s':>8}{'AUC':>8}{'trend':>8}")
    table = make_mixed_table(2 * n_rows, random_state=0)[0]
    train, test = table.iloc[:n_rows], table.iloc[n_rows:]
    for name in [name for name in args.models if name != "autoencoder"]:
        runs = [("cpu", False), (args.device, False)]
        runs += [(args.device, True)] * (name == "VAE")
        scores = {}
        for number, (device, mixed) in enumerate(runs):
            label = f"{device}{', mixed_precision' * mixed}"
            scores[number] = attempt(
                f"{name}, {label}", scored, name, train, test, device, mixed, args
            )
            values = scores[number] or (None,) * 3
            cells = shown(values[0], "8.1f") + "".join(
                shown(value, "8.3f") for value in values[1:]
            )
            print(f"{name:12}{label:20}{cells}", flush=True)
        state["quality"] += [
            (
                f"{name}, {'mixed_precision' if mixed else 'float32'}",
                scores[i],
                scores[0],
            )
            for i, (_, mixed) in enumerate(runs)
            if i and scores[i] and scores[0]
        ]


def scored(name, train, test, device, mixed, args):
    model = MODELS[name](
        max_iter=args.quality_epochs or "auto",
        mixed_precision=mixed,
        device=device,
        random_state=0,
    )
    start = synchronised(device)
    model.fit(train)
    seconds = synchronised(device) - start
    rows = model.sample(len(test), random_state=0)
    auc = c2st_score(test, rows, random_state=0)
    return seconds, auc, trend_score(test, rows)


def verdicts(state):
    print("\nBars")
    for (name, n_rows, batch_size), values in state["cells"].items():
        if name != "VAE" or batch_size != 512:
            continue
        ours, skorch = values.get("graphs"), values.get("skorch")
        ratio = None if ours is None or not skorch else ours / skorch
        label = f"VAE, batch 512, {n_rows:,} rows"
        verdict(
            f"{label}: times skorch", ratio, ratio and ratio >= SPEED_BAR, SPEED_BAR
        )
        busy = values["busy"]
        verdict(f"{label}: busy", busy, busy and busy >= BUSY_BAR, BUSY_BAR)
    print(f"busy by: {state['busy']}")
    for label, (_, *ours), (_, *theirs) in state["quality"]:
        worst = max(ours[0] - theirs[0], theirs[1] - ours[1])
        verdict(f"{label}: worse than on the CPU by", worst, worst <= NEAR, NEAR)


def verdict(label, value, met, bar):
    said = "not measured" if value is None else "met" if met else "MISSED"
    print(f"{label:52}{shown(value, '8.2f')}  bar {bar}: {said}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--rows", nargs="+", type=int, default=[30_000, 1_000_000])
    parser.add_argument("--batches", nargs="+", type=int, default=[512, 8_192])
    parser.add_argument("--steps", type=int, default=300, help="of each cell")
    parser.add_argument("--quality-rows", type=int, default=5_000)
    parser.add_argument("--quality-epochs", type=int, help="default: the models' own")
    parser.add_argument("--skip", nargs="+", choices=SECTIONS, default=[])
    args = parser.parse_args()
    on_gpu = torch.device(args.device).type == "cuda"
    if on_gpu and not torch.cuda.is_available():
        parser.exit(
            2, "No CUDA device here: this measures one (or pass --device cpu).\n"
        )
    where = torch.cuda.get_device_name(args.device) if on_gpu else "CPU"
    print(f"{where}, torch {torch.__version__}, {date.today()}", flush=True)
    warnings.simplefilter("ignore", ConvergenceWarning)  # so few steps are no fit
    state = {"cells": {}, "quality": [], "busy": "not measured"}
    if on_gpu:
        with profile(activities=[ProfilerActivity.CUDA]):  # its first use takes long
            torch.zeros(1, device=args.device).add_(1)
    for section in (speed, memory, stream, quality):
        if section.__name__ not in args.skip:
            attempt(section.__name__, section, args, on_gpu, state)
    verdicts(state)
