"""Where a training step's time goes, and how near it is to the least possible.

    OMP_NUM_THREADS=1 python benchmarks/floor.py [--rounds 9] [--table some.parquet]

Each model, with its defaults, trains on a table with the columns of Adult. One step's
operations below autograd are recorded; its matrix products alone, on the tensors that
they had in the step, are the floor. "hand-written" is a plain PyTorch loop over the
same module and loss with torch's fused AdamW and shuffled batches by index. All are
timed turn by turn in one process: on a CPU by the processor time of one thread, on a
GPU by the clock once the device is done, with what was recorded launched as one graph.
"""

import argparse
import copy
import time
from contextlib import contextmanager
from functools import partial
from itertools import count, islice
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from skorch.callbacks import Callback
from torch.nn.utils import clip_grad_norm_
from torch.utils._python_dispatch import TorchDispatchMode

from sklearn_unsup import AutoencoderTransformer, GANSampler, VAETransformer
from sklearn_unsup._encoding import upload
from sklearn_unsup._gan import ENCODER_INTERVAL, PENALTY_INTERVAL
from sklearn_unsup._nn import fused
from sklearn_unsup._nn.device import allow_tf32_products
from sklearn_unsup._training.vae_net import ONLY_ROWS

MODELS = {
    "autoencoder": AutoencoderTransformer,
    "VAE": VAETransformer,
    "GAN": GANSampler,
}
LEVELS = {  # of Adult's categories
    "workclass": 9,
    "education": 16,
    "marital": 7,
    "occupation": 15,
    "relationship": 6,
    "race": 5,
    "sex": 2,
    "country": 42,
    "income": 2,
}
PRODUCTS = {
    "mm", "addmm", "bmm", "baddbmm", "addbmm", "mv", "addmv", "dot", "linear", "matmul",
    "_addmm_activation", "_linear", "_int_mm",
}  # fmt: skip
VIEWS = {  # which launch nothing on a GPU
    "t", "transpose", "view", "slice", "select", "split", "split_with_sizes", "unbind",
    "expand", "unsqueeze", "squeeze", "detach", "permute", "_unsafe_view", "alias",
}  # fmt: skip
BARS = {"hand-written": 1.0, "products": 1.8}


def adult_like(n_rows, seed=0):
    """A table with the kinds of columns that Adult has, tied by one hidden number."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=n_rows)
    age = np.clip(38 + 13 * rng.normal(size=n_rows) + 4 * hidden, 17, 90)
    schooling = np.clip(10 + 2.5 * (rng.normal(size=n_rows) + hidden) / 2**0.5, 1, 16)
    gain = np.exp(rng.normal(8, 1, n_rows)).round()
    loss = rng.normal(1_900, 300, n_rows).round().clip(100)
    usual = rng.random(n_rows) < 0.47
    columns = {
        "age": age.astype(int),
        "weight": np.exp(rng.normal(12, 0.5, n_rows)).astype(int),
        "schooling": schooling.round().astype(int),
        "gain": np.where(rng.random(n_rows) < 0.92, 0, gain),
        "loss": np.where(rng.random(n_rows) < 0.95, 0, loss),
        "hours": np.where(usual, 40, rng.normal(41, 14, n_rows).clip(1, 99)).round(),
    }
    for name, size in LEVELS.items():
        columns[name] = levels(size, hidden, rng)
    return pd.DataFrame(columns)


def levels(size, hidden, rng):
    """A category whose first levels are frequent; the hidden number moves them."""
    # By rank, the rarest of 42 levels has about 0.3 % of the rows.
    scores = -np.log(1 + np.arange(size)) + np.outer(hidden, rng.normal(0, 0.3, size))
    codes = (scores + rng.gumbel(size=scores.shape)).argmax(1)
    return pd.Categorical.from_codes(codes, [f"level {i}" for i in range(size)])


# -------------------------------------------------------------------- what is timed


def clock(device):
    """Seconds of this process's processor, or of the clock once a GPU is done."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


class Watch(Callback):
    """The time at the beginning of each epoch and at the end of the last one."""

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.marks = []

    def on_epoch_begin(self, net, **kwargs):
        self.marks.append(clock(net.device))

    def on_train_end(self, net, X=None, y=None, **kwargs):
        self.marks.append(clock(net.device))

    def seconds(self, first):
        """Of an epoch, those before the `first` one left out."""
        return (self.marks[-1] - self.marks[first]) / (len(self.marks) - 1 - first)


def trained(name, X, device, **options):
    """A model after one epoch, its rows as training gets them, and its watch."""
    watch = Watch()
    model = MODELS[name](
        max_iter=1,
        density_ratio=None,  # neither it nor the density are part of a step
        callbacks=[watch],
        device=device,
        random_state=0,
        **options,
    )
    if "latent_density" in model.get_params():
        model.set_params(latent_density="normal")
    model.fit(X)
    if name == "GAN":  # as in a fit of default length
        model.net_.set_params(
            penalty_interval=PENALTY_INTERVAL, encoder_interval=ENCODER_INTERVAL
        )
    return (
        model,
        upload(model.codec_, X, model.device_, np.random.default_rng(0)),
        watch,
    )


def our_epochs(net, rows, watch, n_epochs, n_skipped=1):
    """Seconds per step of the engine, all that belongs to an epoch included."""
    net.set_params(max_epochs=n_epochs + n_skipped)
    net.partial_fit(rows)
    return watch.seconds(n_skipped) / net.history[-1]["train_batch_count"]


def shuffled(rows, batch_size, generator):
    """Batches without end, in a new order in every pass."""
    x_num, x_cat = rows.x_num, rows.x_cat
    while True:
        order = torch.randperm(len(x_num), generator=generator, device=generator.device)
        for index in order.split(batch_size):
            yield x_num[index], x_cat[index]


def hand_written(net, rows):
    """The plain loop over a copy of the net's module: call it with a number of steps.

    The optimizers have the step size, momentum and weight decay of the net's.
    """
    generator = torch.Generator(net.device).manual_seed(0)
    step = plain_game(net, generator) if hasattr(net, "critic_") else None
    step = step or plain_step(net, generator)
    batches = shuffled(rows, net.batch_size, generator)

    def turn(n_steps):
        for batch in islice(batches, n_steps):
            step(batch)

    return turn


def adamw(like, parameters):
    group = like.param_groups[0]
    kept = {key: group[key] for key in ("betas", "weight_decay")}
    return torch.optim.AdamW(list(parameters), lr=1e-3, fused=True, **kept)


def plain_step(net, generator):
    module, criterion = (
        copy.deepcopy(m).train() for m in (net.module_, net.criterion_)
    )
    parameters = list(module.parameters())
    optimizer, longest = adamw(net.optimizer_, parameters), net.max_grad_norm

    def step(batch):
        optimizer.zero_grad()
        criterion(module(*batch, generator=generator), batch).backward()
        if longest is not None:
            clip_grad_norm_(parameters, longest)
        optimizer.step()

    return step


def plain_game(net, generator):
    model, critic, criterion = (
        copy.deepcopy(part).train()
        for part in (net.module_, net.critic_, net.criterion_)
    )
    layout, device = model.generator.layout, generator.device
    widths = [layout.n_numeric, layout.n_one_hot]
    player = adamw(
        net.optimizer_, [*model.generator.parameters(), *model.encoder.parameters()]
    )
    judge = adamw(net.critic_optimizer_, critic.parameters())
    numbers = count()

    def step(batch):
        number, batch = next(numbers), model.to_inner(*batch)
        real = model.inner_table(*batch).split(widths, 1)
        shape = len(batch[0]), model.n_components
        noise = torch.randn(shape, generator=generator, device=device)
        fake = model.generator(noise, generator)
        judge.zero_grad()
        seen = tuple(part.detach() for part in fake)
        if number % net.penalty_interval:
            scores, penalty = (critic(*real), critic(*seen)), 0.0
        else:
            *scores, penalty = criterion.scores_and_penalty(
                critic, real, seen, generator
            )
        loss = criterion.critic_loss(*scores)
        (loss + net.penalty_interval * penalty).backward()
        judge.step()
        player.zero_grad()
        critic.requires_grad_(False)
        criterion.generator_loss(scores[0].detach(), critic(*fake)).backward()
        critic.requires_grad_(True)
        if number % net.encoder_interval == 0:
            model.encoder_loss(*batch, noise, fake).backward()
        player.step()
        model.update_ema(net.decay)

    return step


# --------------------------------------------------------------- recorded operations


class Operations(TorchDispatchMode):
    """Every operation below autograd, with its arguments."""

    def __init__(self):
        super().__init__()
        self.done = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.done.append((function, args, kwargs or {}))
        return function(*args, **(kwargs or {}))


def recorded(net, rows):
    """A step on the first rows, the operations of some, and the number of these.

    A GAN's steps are not all alike: they come again after its longest interval.
    """
    batch = rows[: net.batch_size]
    step = partial(net.train_step, batch)
    for _ in range(3):
        step()
    intervals = (getattr(net, f"{part}_interval", 1) for part in ("penalty", "encoder"))
    n_steps = max(intervals)
    with Operations() as operations:
        for _ in range(n_steps):
            step()
    return step, operations.done, n_steps


@contextmanager
def ways_of_a_gpu(net):
    """Let a step on a CPU take the ways that are chosen on a GPU."""
    rows = getattr(net.module_, "autoregressive", None)
    if rows is not None:  # A single product for the first layers of all columns.
        rows.blocks = [tuple(rows.mask.shape)]
    with patch.object(fused, "MIN_MULTIPLICATIONS", 0):
        yield


def operations_on_a_gpu(net, rows):
    """What to say of the operations of a step as it is on a GPU.

    While a VAE trains on a large table, encoder and decoder rest in every second batch
    of the first half of the epochs.
    """
    with ways_of_a_gpu(net):
        _, operations, n_steps = recorded(net, rows)
        total = len(operations) / n_steps
        n_views = len(list(filter(partial(is_one_of, VIEWS), operations))) / n_steps
        said = f"{round(total)} operations on a GPU, {round(n_views)} of them views"
        if hasattr(net, "code_interval"):
            with Operations() as operations:
                net.train_on_batch(rows[: net.batch_size], ONLY_ROWS)
            n_rows = len(operations.done)
            mean = round(0.75 * total + 0.25 * n_rows)
            said += f"; {n_rows} while encoder and decoder rest, on average {mean}"
    return said


def is_one_of(names, operation):
    return operation[0].overloadpacket.__name__ in names


@torch.inference_mode()
def play(operations):
    """Do them again on the tensors that they were given; what they make is dropped."""
    for function, args, kwargs in operations:
        function(*args, **kwargs)


def launched_at_once(turn, generator):
    """On a GPU its work as one graph, whose time is the device's, not the launches'."""
    device = generator.device
    if device.type != "cuda":
        return turn
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        turn()
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(generator)
        with torch.cuda.graph(graph, stream=stream):
            turn()
    torch.cuda.current_stream(device).wait_stream(stream)
    return graph.replay


def price_of_a_call(device, n_calls=5_000):
    """Seconds of an operation on one number: what calling costs in a replay."""
    one = torch.ones(1, device=device)
    calls = [(torch.ops.aten.add.Tensor, (one, one), {})] * n_calls
    play(calls)
    start = clock(device)
    play(calls)
    return (clock(device) - start) / n_calls


# ------------------------------------------------------------------------- the table


def per_step(turn, n_turns, steps_per_turn, device):
    start = clock(device)
    turn(n_turns)
    return (clock(device) - start) / (n_turns * steps_per_turn)


def repeated(turn):
    def turns(n):
        for _ in range(n):
            turn()

    return turns


def measure(name, X, device, n_rounds, n_steps, **options):
    model, rows, watch = trained(name, X, device, **options)
    net = model.net_
    twin = copy.deepcopy(net)  # is replayed at will, and learns nonsense from that
    size = net.batch_size
    n_epochs = max(1, round(n_steps / -(-len(rows) // size)))
    step, operations, n_recorded = recorded(twin, rows)
    products = list(filter(partial(is_one_of, PRODUCTS), operations))
    n_views = len(list(filter(partial(is_one_of, VIEWS), operations)))
    turns = {
        "hand-written": hand_written(net, rows),
        "step": repeated(step),
        "operations": repeated(
            launched_at_once(partial(play, operations), twin.generator_)
        ),
        "products": repeated(
            launched_at_once(partial(play, products), twin.generator_)
        ),
    }
    clocked = {}
    for key, turn in turns.items():
        per_turn = n_recorded if key in {"operations", "products"} else 1
        n_turns = -(-n_steps // per_turn)
        clocked[key] = partial(per_step, turn, n_turns, per_turn, device)
    clocked["ours"] = partial(our_epochs, net, rows, watch, n_epochs)
    for turn in turns.values():
        turn(5)
    taken = {key: [] for key in clocked}
    for number in range(n_rounds):
        for key in np.roll(list(clocked), number):
            taken[key].append(1e3 * clocked[key]())
    taken = {key: np.array(values) for key, values in taken.items()}
    title = f"{name}: {len(rows):,} rows, {X.shape[1]} columns, batch {size}"
    print(f"\n{title}, {n_rounds} rounds of {n_steps} steps")
    counts = len(products), len(operations) - len(products), n_views
    n_products, n_others, n_views = (round(n / n_recorded) for n in counts)
    seen = f"{n_others} of them, {n_views} of which are views"
    notes = ["", "", f"{n_products} of them", seen, ""]
    if torch.device(device).type == "cuda":
        notes[4] = f"without a graph a step takes {np.median(taken['step']):.3f}"
    else:
        calls = 1e3 * (n_products + n_others) * price_of_a_call(device)
        notes[3] += f"; {calls:.3f} is what calling all {n_products + n_others} costs"
        loop = np.median(taken["ours"] - taken["step"])
        notes[4] = f"{loop:.3f} are the loop: batches, schedule, records"
    report(taken, notes)
    print(operations_on_a_gpu(twin, rows))


def report(taken, notes):
    ours, operations, products = (
        taken[key] for key in ("ours", "operations", "products")
    )
    labels = (
        "hand-written",
        "ours",
        "  matrix products",
        "  other operations",
        "  Python, autograd, loop",
    )
    values = (
        taken["hand-written"],
        ours,
        products,
        operations - products,
        ours - operations,
    )
    print(f"{'':26}{'ms/step':>9}  part of ours")
    for label, note, value in zip(labels, notes, values, strict=True):
        share = np.median(value / ours)
        print(f"{label:26}{np.median(value):9.3f}  {share:6.2f}  {note}".rstrip())
    for key, bar in BARS.items():
        low, middle, high = np.quantile(ours / taken[key], [0.25, 0.5, 0.75])
        print(f"ours / {key:19}{middle:9.2f}  ({low:.2f} to {high:.2f}; bar {bar})")


def whole_batches(X, name, device, **options):
    """The rows that fill the model's batches, so that all its steps are alike."""
    size = trained(name, X, device, **options)[0].net_.batch_size
    return X.iloc[: len(X) // size * size]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=150, help="of each in a round")
    parser.add_argument("--rows", type=int, default=26_000)
    parser.add_argument("--batch-size", type=int, help="instead of the models' own")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto")
    parser.add_argument("--table", help="a parquet file instead of the generated rows")
    args = parser.parse_args()
    device = args.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    table = pd.read_parquet(args.table) if args.table else adult_like(args.rows)
    where = (
        torch.cuda.get_device_name() if device.startswith("cuda") else "1 CPU thread"
    )
    print(f"torch {torch.__version__}, {where}")
    options = {} if args.batch_size is None else {"batch_size": args.batch_size}
    for model_name in args.models:
        with allow_tf32_products(device):
            measure(
                model_name,
                whole_batches(table, model_name, device, **options),
                device,
                args.rounds,
                args.steps,
                **options,
            )
