"""Seconds per epoch: our engine, a hand-written PyTorch loop, out-of-the-box skorch.

    OMP_NUM_THREADS=1 python benchmarks/engine.py [--rounds 15]

The three train nets of the same widths on the same rows, turn by turn in one process,
so that a load on the machine meets all of them. "same arithmetic" is the hand-written
loop over our module and loss; "plain" is the usual stack of linear layers and ReLUs.
"""

import argparse
import time
from itertools import pairwise

import numpy as np
import torch
from skorch import NeuralNet
from torch import nn

from sklearn_unsup import AutoencoderTransformer
from sklearn_unsup._encoding import upload

BATCH = 256
SHAPES = {  # rows, columns, hidden layers of the encoder, size of the code
    "784-32-784": (10_000, 784, (), 32),
    "14-64-8-64-14": (30_000, 14, (64,), 8),
}


def make_rows(name):
    n_rows, n_columns, hidden, n_components = SHAPES[name]
    rng = np.random.default_rng(0)
    if n_columns == 784:
        X = rng.random((n_rows, n_columns), dtype=np.float32)
    else:
        mixed = rng.normal(size=(n_rows, n_columns))
        X = (mixed @ rng.normal(size=(n_columns, n_columns))).astype(np.float32)
        X = (X - X.mean(0)) / X.std(0)
    return X, hidden, n_components


def plain_net(n_columns, hidden, n_components):
    sizes = [n_columns, *hidden, n_components, *reversed(hidden), n_columns]
    layers = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def ours(X, hidden, n_components, n_epochs):
    """Epochs of the engine alone: the net is set up before the clock."""
    model = AutoencoderTransformer(
        n_components,
        hidden_layer_sizes=hidden,
        activation="relu",
        batch_size=BATCH,
        max_iter=n_epochs,
        random_state=0,
    )
    model.set_params(max_iter=1).fit(X)
    rows = upload(model.codec_, X, model.device_)
    net = model.net_.set_params(max_epochs=n_epochs)
    return lambda: net.partial_fit(rows), (net, rows)


def same_arithmetic(net, rows, n_epochs):
    """A careful person's loop over the very module, loss and optimizer of ours."""
    module, criterion = net.module_, net.criterion_
    optimizer = torch.optim.AdamW(module.parameters(), 1e-3, fused=True)
    x_num, x_cat = rows.x_num, rows.x_cat

    def turn():
        module.train()
        for _ in range(n_epochs):
            for index in torch.randperm(len(x_num)).split(BATCH):
                batch = x_num[index], x_cat[index]
                optimizer.zero_grad()
                criterion(module(*batch), batch).backward()
                optimizer.step()

    return turn


def plain_loop(X, hidden, n_components, n_epochs):
    net, rows = plain_net(X.shape[1], hidden, n_components), torch.as_tensor(X)
    loss, optimizer = nn.MSELoss(), torch.optim.Adam(net.parameters(), fused=True)

    def turn():
        for _ in range(n_epochs):
            for index in torch.randperm(len(rows)).split(BATCH):
                batch = rows[index]
                optimizer.zero_grad()
                loss(net(batch), batch).backward()
                optimizer.step()

    return turn


def plain_skorch(X, hidden, n_components, n_epochs):
    net = NeuralNet(
        plain_net(X.shape[1], hidden, n_components),
        criterion=nn.MSELoss,
        optimizer=torch.optim.Adam,
        lr=1e-3,
        max_epochs=n_epochs,
        batch_size=BATCH,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    ).initialize()
    return lambda: net.partial_fit(X, X)


def measure(name, n_rounds, n_epochs):
    X, hidden, n_components = make_rows(name)
    our_turn, (net, rows) = ours(X, hidden, n_components, n_epochs)
    turns = {
        "ours": our_turn,
        "hand-written, same arithmetic": same_arithmetic(net, rows, n_epochs),
        "hand-written, plain layers": plain_loop(X, hidden, n_components, n_epochs),
        "skorch out of the box": plain_skorch(X, hidden, n_components, n_epochs),
    }
    taken = {label: [] for label in turns}
    for turn in turns.values():
        turn()
    labels = list(turns)
    for number in range(n_rounds):
        for label in np.roll(labels, number):
            start = time.process_time()
            turns[label]()
            taken[label].append((time.process_time() - start) / n_epochs)
    print(f"\n{name}, {len(X)} rows, batch {BATCH}, {n_rounds} rounds")
    print(f"{'':32}{'ms/epoch':>9}  of ours (quartiles)")
    for label in labels:
        ratio = np.divide(taken[label], taken["ours"])
        low, middle, high = np.quantile(ratio, [0.25, 0.5, 0.75])
        milliseconds = 1e3 * np.median(taken[label])
        print(f"{label:32}{milliseconds:9.1f}  {middle:5.2f} ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--epochs", type=int, default=3, help="of each in a round")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for shape in SHAPES:
        measure(shape, args.rounds, args.epochs)
