"""The networks of the adversarial game: generator, critic, and an encoder beside."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._distributions import one_hot_block, presence, softcap
from ._layout import TableLayout
from ._modules import ResidualMLP, TableInput
from ._noise import gumbel, normal
from ._rows import N_HATS, number_features

TEMPERATURE = 0.5  # of the relaxed categories that gradients flow through
# Features of numbers that a critic's first layer can afford; with more it sees only
# the numbers themselves.
MAX_NUMBER_FEATURES = 2_048


class Generator(nn.Module):
    """Rows from noise: categories one after another, then numbers.

    The noise becomes a state. Each category is drawn from a softmax of the state and is
    then added to it, so that later columns know what was drawn: without that, columns
    that determine each other would have to do so through the noise alone. Numbers are a
    function of the last state. The probabilities of the categories are known on the
    way, which makes conditions exact.

    Parameters
    ----------
    layout : TableLayout
    n_components : int
        Size of the noise.
    hidden_layer_sizes : tuple of int
        Of the path from noise to state; the last one is the size of the state.
    activation : str

    Examples
    --------
    >>> import torch
    >>> generator = Generator(TableLayout(2, (3,)), 4, (8, 8), "silu")
    >>> noise = torch.Generator().manual_seed(0)
    >>> x_num, x_cat, log_weights = generator.sample(5, {0: 1}, noise)
    >>> x_num.shape, x_cat.flatten().tolist()
    (torch.Size([5, 2]), [1, 1, 1, 1, 1])
    """

    def __init__(
        self,
        layout: TableLayout,
        n_components: int,
        hidden_layer_sizes: tuple[int, ...],
        activation: str,
    ):
        super().__init__()
        self.layout, self.n_components = layout, n_components
        width = hidden_layer_sizes[-1]
        form = {"activation": activation, "linear_path": False}
        self.trunk = ResidualMLP(n_components, hidden_layer_sizes[:-1], width, **form)
        if layout.n_one_hot:
            self.levels = nn.Linear(width, layout.n_one_hot)
            self.drawn = nn.Parameter(torch.empty(layout.n_one_hot, width))
            nn.init.normal_(self.drawn, std=0.1)
        self.numbers = None
        if layout.n_numeric:
            hidden = (width, width)
            self.numbers = ResidualMLP(width, hidden, layout.n_numeric, **form)

    def walk(self, noise: Tensor, choose: Callable) -> tuple[Tensor, Tensor]:
        """Numbers (n, n_numeric) and blocks (n, n_one_hot) of every row of noise.

        `choose` gets a column and its logits and returns its one-hot block.
        """
        state, sizes = self.trunk(noise), list(self.layout.cardinalities)
        blocks = []
        if sizes:
            parts = (self.levels.weight, self.levels.bias, self.drawn)
            columns = zip(*(part.split(sizes) for part in parts), strict=True)
            for column, (weight, bias, drawn) in enumerate(columns):
                logits = softcap(F.linear(state, weight, bias))
                block = choose(column, logits)
                state = state + block @ drawn
                blocks.append(block)
        blocks = torch.cat(blocks, 1) if blocks else state[:, :0]
        if self.numbers is None:
            return state[:, :0], blocks
        x_num = self.numbers(F.silu(state)).float()
        there = [
            blocks[:, self.layout.offsets[mask]] if mask >= 0 else None
            for mask in self.layout.masks
        ]
        if any(block is not None for block in there):
            ones = torch.ones_like(x_num[:, 0])
            there = [ones if block is None else block for block in there]
            x_num = x_num * torch.stack(there, 1)
        return x_num, blocks

    def forward(self, noise: Tensor, generator=None) -> tuple[Tensor, Tensor]:
        """Numbers and one-hot blocks through which gradients flow.

        Categories are drawn, and their gradient is that of a softmax of the same draw
        (the straight-through Gumbel-softmax of Jang, Gu and Poole 2017).
        """

        def relaxed(column, logits):
            noisy = logits + gumbel(logits, generator)
            soft = (noisy / TEMPERATURE).softmax(1)
            return hard_block(noisy) + soft - soft.detach()

        return self.walk(noise, relaxed)

    def mode(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The likeliest category of each column in its turn; `x_num` and `x_cat`."""
        codes = []

        def likeliest(column, logits):
            codes.append(logits.argmax(1))
            return hard_block(logits)

        x_num, _ = self.walk(noise, likeliest)
        return x_num, self._stack(codes, noise)

    def log_prob(self, noise: Tensor, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """Nats of rows given their noise, shape (n,); numbers as of unit variance.

        Without the constant of the normal distribution. Each category is judged given
        the true ones before it.
        """
        total = []

        def true(column, logits):
            codes = x_cat[:, column]
            total.append(-F.cross_entropy(logits, codes, reduction="none"))
            return one_hot_block(codes, logits.shape[1])

        numbers, _ = self.walk(noise, true)
        present = presence(self.layout, x_cat)
        errors = (numbers - x_num).square()
        errors = errors if present is None else errors * present
        return sum(total) - 0.5 * errors.sum(1)

    @torch.no_grad()
    def sample(
        self, n: int, given: dict[int, int], generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draw rows; given categories are set, not drawn.

        Returns `x_num`, `x_cat` and log-weights (n,): the log-probability that the
        given categories had when their turn came. Weighted by its exponential, the
        rows follow the conditional distribution (likelihood weighting).
        """
        device = generator.device
        noise = normal((n, self.n_components), generator, device)
        log_weights, codes = torch.zeros(n, device=device), []

        def draw(column, logits):
            if column in given:
                codes.append(torch.full((n,), given[column], device=device))
                log_weights.add_(logits.log_softmax(1)[:, given[column]])
            else:
                codes.append((logits + gumbel(logits, generator)).argmax(1))
            return one_hot_block(codes[-1], logits.shape[1])

        x_num, _ = self.walk(noise, draw)
        return x_num, self._stack(codes, noise), log_weights

    def _stack(self, codes, noise):
        if codes:
            return torch.stack(codes, 1)
        return torch.zeros(len(noise), 0, dtype=torch.int64, device=noise.device)


def hard_block(scores: Tensor) -> Tensor:
    """One-hot of the highest score, shape (n, cardinality), without gradient."""
    return one_hot_block(scores.argmax(1), scores.shape[1])


class AdversarialModel(nn.Module):
    """A generator, its running average, and an encoder that inverts the average.

    The average is what samples, encodes and decodes; the generator itself only plays.

    Parameters
    ----------
    layout : TableLayout
    n_components : int
    hidden_layer_sizes : tuple of int
        Of the generator; the encoder has them in reverse.
    activation : str
    """

    def __init__(
        self,
        layout: TableLayout,
        n_components: int,
        hidden_layer_sizes: tuple[int, ...],
        activation: str,
    ):
        super().__init__()
        self.layout, self.n_components = layout, n_components
        sizes = tuple(hidden_layer_sizes)
        self.table = TableInput(layout)
        self.generator = Generator(layout, n_components, sizes, activation)
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        self.encoder = ResidualMLP(
            layout.width, sizes[::-1], n_components, activation, linear_path=True
        )

    def encode(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """The noise that a row would come from, shape (n, n_components)."""
        return self.encoder(self.table(x_num, x_cat))

    @torch.no_grad()
    def follow(self, decay: float | Tensor):
        """Move the average towards the generator."""
        average = list(self.average.parameters())
        weight = 1.0 - decay
        if isinstance(weight, Tensor):
            weight = [weight] * len(average)
        torch._foreach_lerp_(average, list(self.generator.parameters()), weight)

    def encoder_loss(
        self, x_num: Tensor, x_cat: Tensor, generator=None, regression: float = 1.0
    ) -> Tensor:
        """How far the encoder is from inverting the average, a scalar.

        Half the squared error of the noise of generated rows, times `regression`, plus
        minus the log probability of real rows from the noise that they are encoded as.
        """
        shape = len(x_num), self.n_components
        with torch.no_grad():
            noise = normal(shape, generator, x_num.device)
            fake = torch.cat(self.average(noise, generator), 1)
        errors = 0.5 * (self.encoder(fake) - noise).square().sum(1)
        codes = self.encode(x_num, x_cat)
        log_prob = self.average.log_prob(codes, x_num, x_cat)
        return (regression * errors - log_prob).mean()


class Critic(nn.Module):
    """A score for each row; higher for rows that look real.

    Parameters
    ----------
    layout : TableLayout
    hidden_layer_sizes : tuple of int
    hats : bool
        See numbers also through hat functions of their quantile, as trees do: a
        network of smooth features is slow to find steps and narrow bands. Only for
        numbers that are encoded as standard normal ones.

    Examples
    --------
    >>> import torch
    >>> critic = Critic(TableLayout(2, (3,)), (8,), hats=True)
    >>> critic(torch.zeros(5, 2), torch.ones(5, 3)).shape
    torch.Size([5])
    """

    def __init__(
        self, layout: TableLayout, hidden_layer_sizes: tuple[int, ...], hats: bool
    ):
        super().__init__()
        n_features = (N_HATS + 2) * layout.n_numeric
        self.hats = hats and 0 < n_features <= MAX_NUMBER_FEATURES
        width = layout.n_one_hot + (n_features if self.hats else layout.n_numeric)
        self.scores = ResidualMLP(
            width, tuple(hidden_layer_sizes), 1, "leaky_relu", linear_path=False
        )
        self.scores.activation = nn.LeakyReLU(0.2)

    def forward(self, x_num: Tensor, blocks: Tensor) -> Tensor:
        """Scores (n,) of numbers and one-hot blocks."""
        numbers = number_features(x_num).flatten(1) if self.hats else x_num
        return self.scores(torch.cat([numbers, blocks], 1))[:, 0].float()


def average_decay(step: int, decay: float) -> float:
    """Decay of a running average at a step from 0: at first it forgets faster."""
    return min(decay, (1 + step) / (10 + step))
