"""The networks of adversarial training: generator, critic and encoder."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._table.layout import EncodedConditions, TableLayout
from .conditions import draw_codes, kernel_log_mass
from .distributions import (
    block_indicator,
    indices,
    one_hot,
    one_hot_index,
    presence,
    softcap,
)
from .frequent_values import FrequentValues
from .fused import column_heads, straight_through_gumbel
from .hats import piecewise_linear_input
from .images import ImageDecoder, ImageEncoder
from .layers import ResidualMLP, TableInput
from .likelihoods import categorical_log_prob
from .number_features import N_PIECES
from .own import OwnNet
from .random import draw_index, gumbel, normal
from .torch_private import lerp_each

# Temperature of the relaxed categories that gradients flow through.
TEMPERATURE = 0.5
# Maximum number of piecewise linear features of all numbers together in the critic's
# first layer. If a table would have more, the critic sees only the numbers themselves.
MAX_NUMBER_FEATURES = 2_048
# Width of the state that categories and pixels of images are made from.
IMAGE_STATE_WIDTH = 128


class GeneratorNet(nn.Module):
    """Generate rows from noise: categories one after another, then numbers.

    A network maps the noise to a state. Each category is drawn from a softmax of the
    state, and its embedding is then added to the state, so that later columns depend on
    the categories drawn. Without that, columns could depend on each other only through
    the noise. Numbers are a function of the last state. The probability of each
    category is known when it is drawn, which makes conditions exact.

    Parameters
    ----------
    layout : TableLayout
    n_components : int
        Size of the noise.
    hidden_layer_sizes : tuple of int
        Widths of the layers from noise to state; the last one is that of the state. Of
        images: channels of the convolutions from state to pixels, in reverse.
    activation : str
    trunk : OwnNet or None, default=None
        Network from noise to state in the place of the multilayer perceptron.
    frequent : FrequentValues or None, default=None
        Turns frequent values of numbers into codes and back. The networks make rows of
        its layout then, and :meth:`mode` and :meth:`sample` return those of `layout`.

    Examples
    --------
    >>> import torch
    >>> net = GeneratorNet(TableLayout(2, (3,)), 4, (8, 8), "silu")
    >>> generator = torch.Generator().manual_seed(0)
    >>> conditions = EncodedConditions(5, codes={0: torch.full((5,), 1)})
    >>> x_num, x_cat, log_weights = net.sample(conditions, generator)
    >>> x_num.shape, x_cat.flatten().tolist()
    (torch.Size([5, 2]), [1, 1, 1, 1, 1])
    """

    def __init__(
        self,
        layout: TableLayout,
        n_components: int,
        hidden_layer_sizes: tuple[int, ...],
        activation: str,
        trunk: OwnNet | None = None,
        frequent: FrequentValues | None = None,
    ):
        super().__init__()
        self.frequent = frequent
        layout = layout if frequent is None else frequent.layout
        self.layout, self.n_components = layout, n_components
        options = {"activation": activation, "linear_path": False}
        if layout.image_shape is None:
            *trunk_sizes, width = hidden_layer_sizes
        else:
            trunk_sizes, width = (), IMAGE_STATE_WIDTH
        if trunk is not None:
            self.trunk = trunk.build(n_components, width)
        else:
            self.trunk = ResidualMLP(n_components, tuple(trunk_sizes), width, **options)
        if layout.n_one_hot:
            self.category_head = nn.Linear(width, layout.n_one_hot)
            self.category_embedding = nn.Parameter(torch.empty(layout.n_one_hot, width))
            nn.init.normal_(self.category_embedding, std=0.1)
        indicator = block_indicator(layout)
        self.register_buffer("indicator", indicator, persistent=False)
        self.numbers = None
        if layout.image_shape is not None:
            channels = tuple(hidden_layer_sizes)
            self.numbers = ImageDecoder(layout, channels, width, **options)
        elif layout.n_numeric:
            hidden = (width, width)
            self.numbers = ResidualMLP(width, hidden, layout.n_numeric, **options)

    def forward(self, noise: Tensor, generator=None) -> tuple[Tensor, Tensor]:
        """Numbers (n, n_numeric) and one-hot blocks (n, n_one_hot), differentiable."""
        state = self.trunk(noise)
        if self.layout.n_one_hot:
            shape = len(noise), self.layout.n_one_hot
            state, blocks = straight_through_gumbel(
                state,
                self.category_head.weight,
                self.category_head.bias,
                self.category_embedding,
                gumbel(shape, generator, noise.device),
                indices(self.layout.offsets, noise.device),
                self.indicator,
                list(self.layout.cardinalities),
                TEMPERATURE,
            )
        else:
            blocks = state[:, :0]
        return self._numbers(state, blocks), blocks

    def _numbers(self, state: Tensor, blocks: Tensor) -> Tensor:
        """Numbers given the last state; zero where a mask among the blocks is set."""
        if self.numbers is None:
            return state[:, :0]
        x_num = self.numbers(F.silu(state)).float()
        masked = [column for column, mask in enumerate(self.layout.masks) if mask >= 0]
        if masked:
            # The first one-hot column of a mask is 1 where the number is present.
            first = tuple(self.layout.offsets[self.layout.masks[i]] for i in masked)
            present = blocks.index_select(1, indices(first, blocks.device))
            if len(masked) < self.layout.n_numeric:
                ones = torch.ones_like(x_num)
                index = indices(tuple(masked), ones.device)
                present = ones.index_copy(1, index, present)
            x_num = x_num * present
        return x_num

    def generate(self, noise: Tensor, choose: Callable) -> tuple[Tensor, Tensor]:
        """Rows `x_num`, `x_cat`, whose categories are chosen by a function.

        Parameters
        ----------
        noise : Tensor of shape (n, n_components)
        choose : callable
            ``choose(column, logits)`` returns the codes (n,) of a column of `x_cat`.
        """
        state, codes = self.trunk(noise), []
        if self.layout.n_one_hot:
            sizes = list(self.layout.cardinalities)
            parameters = (
                self.category_head.weight,
                self.category_head.bias,
                self.category_embedding,
            )
            columns = zip(*(p.split(sizes) for p in parameters), strict=True)
            for column, (weight, bias, embedding) in enumerate(columns):
                logits = softcap(F.linear(state, weight, bias))
                codes.append(choose(column, logits))
                state = state + embedding.index_select(0, codes[-1])
        if codes:
            x_cat = torch.stack(codes, 1)
        else:
            x_cat = torch.zeros(len(noise), 0, dtype=torch.int64, device=noise.device)
        return self._numbers(state, one_hot(x_cat, self.layout)), x_cat

    def mode(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Rows `x_num`, `x_cat` with the likeliest category of each column in turn."""
        rows = self.generate(noise, lambda column, logits: logits.argmax(1))
        return rows if self.frequent is None else self.frequent.to_outer(*rows)

    def log_prob(self, noise: Tensor, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """Log-likelihood of rows given their noise in nats, shape (n,).

        Numbers have a normal distribution of unit variance, whose constant is left out.
        Each category is conditioned on the observed ones before it, so that all columns
        are computed at once.
        """
        state, total = self.trunk(noise).float(), 0.0
        if self.layout.n_one_hot:
            index = one_hot_index(x_cat, self.layout)
            # Sums one after another: on a CPU `cumsum` takes three times as long.
            states = [state]
            for shift in F.embedding(index.t(), self.category_embedding):
                states.append(states[-1] + shift)
            state = states.pop()
            raw = column_heads(
                torch.stack(states),
                self.category_head.weight,
                self.category_head.bias,
                list(self.layout.cardinalities),
            )
            total = categorical_log_prob(raw, index, self.indicator)
        present = presence(self.layout, x_cat)
        if self.numbers is not None:
            errors = self.numbers(F.silu(state)).float() - x_num
            errors = errors if present is None else errors * present
            total = total - 0.5 * errors.square().sum(1)
        return total

    @torch.no_grad()
    def sample(
        self, conditions: EncodedConditions, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draw rows, whose categories are among those that conditions allow.

        Returns `x_num`, `x_cat` and log-weights (n,). A log-weight is the sum of the
        log-probabilities of the conditions on categories, each given the columns
        before it. Weighted by its exponential, the rows follow the conditional
        distribution (likelihood weighting). Numbers are a function of noise and
        categories, so that rows whose numbers are near to the ranges weigh more; the
        numbers themselves are not changed.

        Parameters
        ----------
        conditions : EncodedConditions
            Tensors on the device, for each row that is to be drawn.
        generator : torch.Generator
        """
        device, n = generator.device, len(conditions)
        noise = normal((n, self.n_components), generator, device)
        log_weights = torch.zeros(n, device=device)
        inner = conditions
        if self.frequent is not None:
            inner = self.frequent.conditions(conditions)

        def choose(column, logits):
            if column not in inner.codes:
                return draw_index(logits, generator)
            wanted, sets = inner.codes[column], inner.sets.get(column)
            codes, log_mass = draw_codes(logits, wanted, sets, generator)
            log_weights.add_(log_mass)
            return codes

        x_num, x_cat = self.generate(noise, choose)
        if self.frequent is not None:
            bounds = conditions.bounds
            x_num, x_cat = self.frequent.to_outer(x_num, x_cat, generator, bounds)
        for column, bounds in conditions.bounds.items():
            log_weights += kernel_log_mass(x_num[:, column], *bounds.unbind(1))
        return x_num, x_cat, log_weights


class AdversarialModel(nn.Module):
    """A generator, a running average of it, and an encoder that inverts the average.

    The average samples and decodes. The generator itself is used only in training.

    Parameters
    ----------
    layout : TableLayout
    n_components : int
    hidden_layer_sizes : tuple of int
        Widths of the generator's layers; the encoder has them in reverse. Of images:
        channels of the encoder's convolutions, which the generator has in reverse.
    activation : str
    generator : OwnNet or None, default=None
        Network from noise to the generator's state.
    frequent_values : sequence of array-like or None, default=None
        Of each number the intervals of its frequent values, which the networks see as
        codes, see :class:`FrequentValues`; None if there are none.
    """

    def __init__(
        self,
        layout: TableLayout,
        n_components: int,
        hidden_layer_sizes: tuple[int, ...],
        activation: str,
        generator: OwnNet | None = None,
        frequent_values=None,
    ):
        super().__init__()
        self.layout, self.n_components = layout, n_components
        sizes = tuple(hidden_layer_sizes)
        self.table = TableInput(layout)
        self.frequent, inner = None, layout
        if frequent_values is not None:
            self.frequent = FrequentValues(layout, frequent_values)
            inner = self.frequent.layout
        self.inner_table = TableInput(inner)
        self.generator = GeneratorNet(
            layout, n_components, sizes, activation, generator, self.frequent
        )
        self.ema_generator = copy.deepcopy(self.generator).requires_grad_(False)
        self.ema_generator.frequent = self.frequent
        options = {"activation": activation, "linear_path": True}
        if layout.image_shape is None:
            self.encoder = ResidualMLP(
                inner.width, sizes[::-1], n_components, **options
            )
        else:
            self.encoder = ImageEncoder(layout, sizes, n_components, **options)

    def encode(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """Noise that the generator would make each row from, (n, n_components)."""
        return self.encoder(self.inner_table(*self.to_inner(x_num, x_cat)))

    def to_inner(self, x_num: Tensor, x_cat: Tensor) -> tuple[Tensor, Tensor]:
        """Rows as the networks see them, `x_num` and `x_cat`."""
        if self.frequent is None:
            return x_num, x_cat
        return self.frequent.to_inner(x_num, x_cat)

    @torch.no_grad()
    def update_ema(self, decay: float | Tensor):
        """Move the average of the weights towards those of the generator."""
        averages = list(self.ema_generator.parameters())
        lerp_each(averages, list(self.generator.parameters()), 1.0 - decay)
        # Statistics of an own network, such as those of batches, are averages already.
        own = self.ema_generator.trunk.buffers(), self.generator.trunk.buffers()
        for average, current in zip(*own, strict=True):
            average.copy_(current)

    def encoder_loss(
        self,
        x_num: Tensor,
        x_cat: Tensor,
        noise: Tensor,
        fake: tuple[Tensor, Tensor],
        noise_weight: float | Tensor = 1.0,
    ) -> Tensor:
        """Loss of an encoder that should invert the generator, a scalar.

        Minus the mean log-likelihood of real rows given the noise that they are encoded
        as, plus `noise_weight` times half the squared error of the noise of generated
        rows.

        Parameters
        ----------
        x_num, x_cat : Tensor
            Real rows, as the networks see them.
        noise : Tensor of shape (n, n_components)
        fake : tuple of Tensor
            Numbers and one-hot blocks that the generator made of the noise.
        noise_weight : float or Tensor
        """
        fake = torch.cat(fake, 1).detach()
        both = torch.cat([fake, self.inner_table(x_num, x_cat)])
        sizes = [len(noise), len(x_num)]
        fake_noise, real_noise = self.encoder(both).float().split(sizes)
        errors = F.mse_loss(fake_noise, noise, reduction="sum") / len(noise)
        log_prob = self.ema_generator.log_prob(real_noise, x_num, x_cat).mean()
        return 0.5 * noise_weight * errors - log_prob


class Critic(nn.Module):
    """Score each row; rows that look real should get a higher score.

    Parameters
    ----------
    layout : TableLayout
    hidden_layer_sizes : tuple of int
        Of images: channels of the convolutions.
    piecewise_linear : bool
        Give the network hat functions of the numbers' quantiles in addition to the
        numbers, because a network of smooth features learns steps and narrow bands
        slowly. The numbers must be encoded as standard normal ones.
    net : OwnNet or None, default=None
        Network in the place of the multilayer perceptron; it has one output.

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
        net: OwnNet | None = None,
    ):
        super().__init__()
        if layout.image_shape is not None and net is None:
            self.piecewise_linear = False
            self.scores = ImageEncoder(
                layout, tuple(hidden_layer_sizes), 1, "leaky_relu", linear_path=False
            )
            self.scores.activation = nn.LeakyReLU(0.2)
            return
        n_features = (N_PIECES + 2) * layout.n_numeric
        self.piecewise_linear = (
            piecewise_linear and 0 < n_features <= MAX_NUMBER_FEATURES
        )
        width = layout.n_one_hot + (
            n_features if self.piecewise_linear else layout.n_numeric
        )
        if net is not None:
            self.scores = net.build(width, 1)
            return
        self.scores = ResidualMLP(
            width,
            tuple(hidden_layer_sizes),
            1,
            "leaky_relu",
            linear_path=False,
            layer=nn.Linear,  # The gradient penalty differentiates it twice.
        )
        self.scores.activation = nn.LeakyReLU(0.2)

    def forward(self, x_num: Tensor, blocks: Tensor) -> Tensor:
        """Scores (n,) of rows given as numbers and one-hot blocks."""
        if self.piecewise_linear:
            x = piecewise_linear_input(x_num, blocks, N_PIECES)
        else:
            x = torch.cat([x_num, blocks], 1)
        return self.scores(x)[:, 0].float()
