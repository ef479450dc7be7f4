"""Trial fits, which find out on held-out rows how long to train."""

import math
from dataclasses import dataclass, replace

import torch

from .._nn.device import allow_tf32_products
from .._nn.distributions import presence
from .averaging import WeightAverage

# Number of standard errors by which a gain must exceed zero. With 1, more than a few
# of the fits that went on were worse than PCA on other rows; with 2, gains were lost.
MIN_STANDARD_ERRORS = 1.5
# Number of standard errors below which a gain is doubtful, and the number by which that
# of as many other rows and those together must exceed zero then.
DOUBTFUL_STANDARD_ERRORS, CONFIRMED_STANDARD_ERRORS = 2.0, 1.0

# Factor of the step size where steps are of all rows, whose gradients have no noise.
FULL_BATCH_FACTOR = 10.0


@dataclass
class Trial:
    """What a trial fit has shown.

    Attributes
    ----------
    n_epochs : int
        Number of epochs after which the loss of the held-out rows was least.
    scores : list of float or None
        Minus the loss of the held-out rows after each of these epochs; None if there
        were too few rows to hold some out.
    has_gained : bool
        Whether the held-out rows are then reconstructed better than at the start: by
        PCA, or by the networks of another table.
    """

    n_epochs: int = 0
    scores: list | None = None
    has_gained: bool = True


def use_full_batches(net, n_epochs) -> None:
    """Let a net train on all rows in each step, and end with averaged weights."""
    net.set_params(
        max_epochs=n_epochs,
        lr=FULL_BATCH_FACTOR * net.lr,
        lr_floor=1.0,
        average_weights=True,
        full_batch=True,
    )


def run_trial(net, train, valid, max_epochs, patience) -> tuple:
    """Train a net until the loss of held-out rows no longer falls.

    They are judged by averaged weights, as the fit that follows ends with such.

    Parameters
    ----------
    net : TableNet
        Its module is an :class:`~sklearn_unsup._nn.autoencoders.Autoencoder` that
        starts at PCA, with a linear decoder, or from a net of another table.
    train, valid : EncodedDataset
        Rows to train on and rows to judge by.
    max_epochs, patience : int
        Maximum number of epochs, and of epochs in a row without a lower loss.

    Returns
    -------
    trial : Trial
    gains : Tensor of shape (n,) or None
        By how much the squared error of each held-out row is then lower than at the
        start; None if the loss was never finite.
    """
    held_out, _ = valid[:]
    first_errors = errors_at_start(net, held_out)
    begin_trial(net, max_epochs)
    best, best_gains = Trial(scores=[], has_gained=False), None
    scores: list[float] = []
    while len(scores) < min(max_epochs, best.n_epochs + patience):
        train_epoch(net, train)
        net.average_.use_average()
        scores.append(-net.validation_step((held_out, held_out))["loss"].item())
        if not math.isfinite(scores[-1]):
            break
        if scores[-1] == max(scores):
            best_gains = first_errors - squared_errors(net.module_, held_out)
            best = Trial(len(scores), list(scores), exceeds_chance(best_gains))
        net.average_.use_latest()
    return best, best_gains


def confirm_trial(net, train, valid, trial, gains) -> Trial:
    """A trial whose gains are compared with chance again, on other rows as well.

    Parameters
    ----------
    net : TableNet
        As it was when the trial began.
    train, valid : EncodedDataset
        Rows to train on, and rows to judge by that the trial has trained on.
    trial : Trial
    gains : Tensor of shape (n,)
        Those of the trial.
    """
    held_out, _ = valid[:]
    first_errors = errors_at_start(net, held_out)
    begin_trial(net, trial.n_epochs)
    for _ in range(trial.n_epochs):
        train_epoch(net, train)
    net.average_.use_average()
    more = first_errors - squared_errors(net.module_, held_out)
    together = standard_errors(torch.cat([gains, more]))
    return replace(trial, has_gained=together > CONFIRMED_STANDARD_ERRORS)


def errors_at_start(net, held_out):
    """Squared error of every row before the net is trained, shape (n,)."""
    # A net that starts from another table has no linear decoder, and no PCA to beat.
    starts_at_pca = net.module_.linear_decoder is not None
    return squared_errors(net.module_, held_out, linear=starts_at_pca)


def begin_trial(net, n_epochs):
    use_full_batches(net, n_epochs)
    # The user's callbacks are for the fit that follows, and so is bfloat16, which a
    # device may lack: what is held out must be judged exactly.
    net.set_params(callbacks=None, mixed_precision=False)
    net.initialize_callbacks()
    net.on_train_begin(net)
    net.average_ = WeightAverage(net.module_.parameters())
    net.generator_.manual_seed(net.seed)


def train_epoch(net, train):
    with allow_tf32_products(net.device):
        for batch in net.get_iterator(train, training=True):
            net.train_step(batch)


def exceeds_chance(gains) -> bool:
    """Whether the mean of numbers is above zero by more than noise."""
    return standard_errors(gains) > MIN_STANDARD_ERRORS


def is_doubtful(gains) -> bool:
    """Whether a gain may be chance all the same, so that it should be confirmed."""
    return standard_errors(gains) < DOUBTFUL_STANDARD_ERRORS


def standard_errors(gains) -> float:
    """The mean of numbers in units of its standard error; 0 of fewer than two."""
    if len(gains) < 2:
        return 0.0
    error = gains.std() / len(gains) ** 0.5
    return float(gains.mean() / error.clamp_min(1e-30))


@torch.no_grad()
def squared_errors(module, batch, linear=False):
    """Squared error of every row's reconstruction, shape (n,).

    It is that of the expected row, one-hot encoded, and counts no missing numbers. With
    `linear` the linear decoder reconstructs.
    """
    module.eval()
    x_num, x_cat = batch
    z = module.encode(x_num, x_cat)
    if linear:
        expected = module.linear_decoder(z)
    else:
        expected = module.distribution(module.decode(z)).mean()
    squares = (expected - module.table(x_num, x_cat)).square_()
    present = presence(module.layout, x_cat)
    if present is not None:
        squares[:, : x_num.shape[1]] *= present
    return squares.sum(1)
