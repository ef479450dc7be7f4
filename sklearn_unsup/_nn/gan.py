"""The networks of the adversarial game: generator, critic, and an encoder beside."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._table.layout import TableLayout
from .autoregressive import N_PIECES
from .distributions import (
    block_indicator,
    indices,
    one_hot,
    one_hot_places,
    presence,
    softcap,
)
from .fused import column_heads, piecewise_linear_input, straight_through_draws
from .layers import ResidualMLP, TableInput
from .likelihoods import categorical_log_prob
from .random import gumbel, normal
from .torch_private import lerp_each

TEMPERATURE = 0.5  # of the relaxed categories that gradients flow through
# Features of numbers that a critic's first layer can afford; with more it sees only
# the numbers themselves.
MAX_NUMBER_FEATURES = 2_048


class GeneratorNet(nn.Module):
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
    >>> generator = GeneratorNet(TableLayout(2, (3,)), 4, (8, 8), "silu")
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
            self.category_head = nn.Linear(width, layout.n_one_hot)
            self.category_embedding = nn.Parameter(torch.empty(layout.n_one_hot, width))
            nn.init.normal_(self.category_embedding, std=0.1)
        indicator = block_indicator(layout)
        self.register_buffer("indicator", indicator, persistent=False)
        self.numbers = None
        if layout.n_numeric:
            hidden = (width, width)
            self.numbers = ResidualMLP(width, hidden, layout.n_numeric, **form)

    def forward(self, noise: Tensor, generator=None) -> tuple[Tensor, Tensor]:
        """Numbers (n, n_numeric) and one-hot blocks, through which gradients flow."""
        state = self.trunk(noise)
        if self.layout.n_one_hot:
            shape = len(noise), self.layout.n_one_hot
            state, blocks = straight_through_draws(
                state,
                self.category_head.weight,
                self.category_head.bias,
                self.category_embedding,
                gumbel(torch.empty(shape, device=noise.device), generator),
                indices(self.layout.offsets, noise.device),
                list(self.layout.cardinalities),
                TEMPERATURE,
            )
        else:
            blocks = state[:, :0]
        return self._numbers(state, blocks), blocks

    def _numbers(self, state: Tensor, blocks: Tensor) -> Tensor:
        """Numbers given the last state, zero where the blocks say missing."""
        if self.numbers is None:
            return state[:, :0]
        x_num = self.numbers(F.silu(state)).float()
        masked = [column for column, mask in enumerate(self.layout.masks) if mask >= 0]
        if masked:
            first = tuple(self.layout.offsets[self.layout.masks[i]] for i in masked)
            there = blocks.index_select(1, indices(first, blocks.device))
            if len(masked) < self.layout.n_numeric:
                ones = torch.ones_like(x_num)
                there = ones.index_copy(1, indices(tuple(masked), ones.device), there)
            x_num = x_num * there
        return x_num

    def walk(self, noise: Tensor, choose: Callable) -> tuple[Tensor, Tensor]:
        """Numbers and codes, one category after another, without gradient.

        `choose` gets a column and its logits and returns its codes.
        """
        state, codes = self.trunk(noise), []
        if self.layout.n_one_hot:
            sizes = list(self.layout.cardinalities)
            parts = (
                self.category_head.weight,
                self.category_head.bias,
                self.category_embedding,
            )
            columns = zip(*(part.split(sizes) for part in parts), strict=True)
            for column, (weight, bias, drawn) in enumerate(columns):
                logits = softcap(F.linear(state, weight, bias))
                codes.append(choose(column, logits))
                state = state + drawn.index_select(0, codes[-1])
        if codes:
            x_cat = torch.stack(codes, 1)
        else:
            x_cat = torch.zeros(len(noise), 0, dtype=torch.int64, device=noise.device)
        return self._numbers(state, one_hot(x_cat, self.layout)), x_cat

    def mode(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The likeliest category of each column in its turn; `x_num` and `x_cat`."""
        return self.walk(noise, lambda column, logits: logits.argmax(1))

    def log_prob(self, noise: Tensor, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """Nats of rows given their noise, shape (n,); numbers as of unit variance.

        Without the constant of the normal distribution. Each category is judged given
        the true ones before it, so that all can be judged at once.
        """
        state, total = self.trunk(noise).float(), 0.0
        if self.layout.n_one_hot:
            places = one_hot_places(x_cat, self.layout)
            shifts = self.category_embedding[places]
            after = state[:, None] + shifts.cumsum(1)
            before = (after - shifts).transpose(0, 1)
            raw = column_heads(
                before,
                self.category_head.weight,
                self.category_head.bias,
                list(self.layout.cardinalities),
            )
            total = categorical_log_prob(raw, places, self.indicator)
            state = after[:, -1]
        present = presence(self.layout, x_cat)
        if self.numbers is not None:
            errors = self.numbers(F.silu(state)).float() - x_num
            errors = errors if present is None else errors * present
            total = total - 0.5 * errors.square().sum(1)
        return total

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
        log_weights = torch.zeros(n, device=device)

        def draw(column, logits):
            if column not in given:
                return (logits + gumbel(logits, generator)).argmax(1)
            log_weights.add_(logits.log_softmax(1)[:, given[column]])
            return torch.full((n,), given[column], device=device)

        x_num, x_cat = self.walk(noise, draw)
        return x_num, x_cat, log_weights


class AdversarialModel(nn.Module):
    """A generator, its running average, and an encoder that finds the noise of rows.

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
        self.generator = GeneratorNet(layout, n_components, sizes, activation)
        self.ema_generator = copy.deepcopy(self.generator).requires_grad_(False)
        self.encoder = ResidualMLP(
            layout.width, sizes[::-1], n_components, activation, linear_path=True
        )

    def encode(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """The noise that a row would come from, shape (n, n_components)."""
        return self.encoder(self.table(x_num, x_cat))

    @torch.no_grad()
    def update_ema(self, decay: float | Tensor):
        """Move the average towards the generator."""
        average = list(self.ema_generator.parameters())
        lerp_each(average, list(self.generator.parameters()), 1.0 - decay)

    def encoder_loss(
        self,
        x_num: Tensor,
        x_cat: Tensor,
        noise: Tensor,
        fake: tuple[Tensor, Tensor],
        regression: float | Tensor = 1.0,
    ) -> Tensor:
        """How far the encoder is from inverting the generator, a scalar.

        Half the squared error of the noise of generated rows, times `regression`, plus
        minus the log probability of real rows from the noise that they are encoded as.

        Parameters
        ----------
        x_num, x_cat : Tensor
            Real rows.
        noise : Tensor of shape (n, n_components)
        fake : tuple of Tensor
            Numbers and blocks that the generator made of the noise.
        regression : float or Tensor
        """
        fake = torch.cat(fake, 1).detach()
        both = torch.cat([fake, self.table(x_num, x_cat)])
        sizes = [len(noise), len(x_num)]
        of_fake, codes = self.encoder(both).float().split(sizes)
        errors = F.mse_loss(of_fake, noise, reduction="sum") / len(noise)
        log_prob = self.ema_generator.log_prob(codes, x_num, x_cat).mean()
        return 0.5 * regression * errors - log_prob


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
    >>> critic = Critic(TableLayout(2, (3,)), (8,), piecewise_linear=True)
    >>> critic(torch.zeros(5, 2), torch.ones(5, 3)).shape
    torch.Size([5])
    """

    def __init__(
        self,
        layout: TableLayout,
        hidden_layer_sizes: tuple[int, ...],
        piecewise_linear: bool,
    ):
        super().__init__()
        n_features = (N_PIECES + 2) * layout.n_numeric
        self.piecewise_linear = (
            piecewise_linear and 0 < n_features <= MAX_NUMBER_FEATURES
        )
        width = layout.n_one_hot + (
            n_features if self.piecewise_linear else layout.n_numeric
        )
        self.scores = ResidualMLP(
            width,
            tuple(hidden_layer_sizes),
            1,
            "leaky_relu",
            linear_path=False,
            layer=nn.Linear,  # which the gradient penalty differentiates twice
        )
        self.scores.activation = nn.LeakyReLU(0.2)

    def forward(self, x_num: Tensor, blocks: Tensor) -> Tensor:
        """Scores (n,) of numbers and one-hot blocks."""
        if self.piecewise_linear:
            x = piecewise_linear_input(x_num, blocks, N_PIECES)
        else:
            x = torch.cat([x_num, blocks], 1)
        return self.scores(x)[:, 0].float()
