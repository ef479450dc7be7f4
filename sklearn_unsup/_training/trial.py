"""Trial fits, which find out on held-out rows how long to train."""

import math
from dataclasses import dataclass

import torch

from .._nn.device import allow_tf32_products
from .._nn.distributions import presence
from .averaging import WeightAverage

# Number of standard errors by which a gain must exceed zero. With 1, more than a few
# of the fits that went on were worse than PCA on other rows; with 2, gains were lost.
MIN_STANDARD_ERRORS = 1.5

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


def run_trial(net, train, valid, max_epochs, patience) -> Trial:
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
    """
    held_out, _ = valid[:]
    # A net that starts from another table has no linear decoder, and no PCA to beat.
    starts_at_pca = net.module_.linear_decoder is not None
    first_errors = squared_errors(net.module_, held_out, linear=starts_at_pca)
    use_full_batches(net, max_epochs)
    # The user's callbacks are for the fit that follows, and so is bfloat16, which a
    # device may lack: what is held out must be judged exactly.
    net.set_params(callbacks=None, mixed_precision=False)
    net.initialize_callbacks()
    net.on_train_begin(net)
    net.average_ = WeightAverage(net.module_.parameters())
    net.generator_.manual_seed(net.seed)
    best = Trial(scores=[], has_gained=False)
    scores: list[float] = []
    while len(scores) < min(max_epochs, best.n_epochs + patience):
        with allow_tf32_products(net.device):
            for batch in net.get_iterator(train, training=True):
                net.train_step(batch)
        net.average_.use_average()
        scores.append(-net.validation_step((held_out, held_out))["loss"].item())
        if not math.isfinite(scores[-1]):
            break
        if scores[-1] == max(scores):
            gains = first_errors - squared_errors(net.module_, held_out)
            best = Trial(len(scores), list(scores), exceeds_chance(gains))
        net.average_.use_latest()
    return best


def exceeds_chance(gains) -> bool:
    """Whether the mean of numbers is above zero by more than noise."""
    if len(gains) < 2:
        return False
    standard_error = gains.std() / len(gains) ** 0.5
    return bool(gains.mean() > MIN_STANDARD_ERRORS * standard_error)


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
