"""Convolutional networks for rows whose numbers are the pixels of an image.

Rows stay flat outside of these networks. No layer mixes rows, so that a row's result
does not depend on the rows beside it.
"""

from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .._table.layout import EncodedConditions, TableLayout
from .distributions import TableDistribution, indices, one_hot
from .layers import ACTIVATIONS, ResidualMLP

# The default number of stages leaves at most so many pixels in the shorter side, and is
# in these bounds: two layers see more than one, and the smallest images are small.
MAX_SMALLEST_SIDE, MIN_STAGES, MAX_STAGES = 7, 2, 4


def default_channels(
    image_shape: tuple[int, int, int], first: tuple[int, int]
) -> tuple[int, ...]:
    """Channels of the stages for images of a shape, if a user does not choose them.

    The first two stages have `first` channels, each further one twice as many as the
    one before.

    Examples
    --------
    >>> default_channels((1, 28, 28), (16, 48)), default_channels((3, 32, 32), (16, 48))
    ((16, 48), (16, 48, 96))
    """
    side, n_stages = min(image_shape[1:]), 0
    while n_stages < MIN_STAGES or (side > MAX_SMALLEST_SIDE and n_stages < MAX_STAGES):
        side, n_stages = -(-side // 2), n_stages + 1
    return *first, *(first[-1] * 2**stage for stage in range(1, n_stages - 1))


def stage_sizes(image_shape: tuple[int, int, int], n_stages: int) -> list:
    """Height and width of the image before the first stage and after each of them."""
    sizes = [tuple(image_shape[1:])]
    for _ in range(n_stages):
        sizes.append(tuple(-(-side // 2) for side in sizes[-1]))
    return sizes


def to_images(x_num: Tensor, layout: TableLayout) -> Tensor:
    """Numbers (n, n_numeric) as images (n, channels, height, width).

    Pixels that do not vary, which are not among the numbers, are zero.
    """
    channels, height, width = layout.image_shape
    n_pixels = channels * height * width
    if layout.n_numeric < n_pixels:
        blank = x_num.new_zeros(len(x_num), n_pixels)
        x_num = blank.index_copy(1, indices(layout.pixels, x_num.device), x_num)
    return channels_last(x_num.view(-1, channels, height, width))


def channels_last(images: Tensor) -> Tensor:
    """The same images with the channels of a pixel as neighbours in memory.

    Convolutions are faster with them, most on a GPU.
    """
    return images.contiguous(memory_format=torch.channels_last)


def from_images(images: Tensor, layout: TableLayout) -> Tensor:
    """Numbers (n, n_numeric) of images, the inverse of :func:`to_images`."""
    flat = images.flatten(1)
    if layout.n_numeric == flat.shape[1]:
        return flat
    return flat.index_select(1, indices(layout.pixels, flat.device))


class ImageNet(nn.Module):
    """Base class of networks from or to rows of pixels, with or without a linear path.

    With a linear path, a linear map of the input is added to the output, and what is
    added to it starts at zero, as in :class:`ResidualMLP`.
    """

    path: nn.Linear

    def linear_map(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the linear path."""
        return self.path.weight, self.path.bias

    @torch.no_grad()
    def set_linear_map(self, weight: Tensor, bias: Tensor):
        """Set the linear path: weight (n_outputs, n_inputs) and bias (n_outputs,)."""
        self.path.weight.copy_(weight)
        self.path.bias.copy_(bias)


class ImageEncoder(ImageNet):
    """Strided convolutions from rows of pixels and one-hot blocks to any outputs.

    Shapes: (n, layout.width) to (n, n_outputs). Each stage halves height and width.
    Categories shift the channels of the first stage.

    Parameters
    ----------
    layout : TableLayout
        With an image shape.
    channels : tuple of int
        Channels of each stage, at least one.
    n_outputs : int
    activation : str
        A key of `ACTIVATIONS`.
    linear_path : bool

    Examples
    --------
    >>> import torch
    >>> layout = TableLayout(64, (3,), image_shape=(1, 8, 8), pixels=tuple(range(64)))
    >>> encoder = ImageEncoder(layout, (4, 8), 2, "silu", linear_path=True)
    >>> encoder(torch.ones(5, 67)).shape
    torch.Size([5, 2])
    """

    def __init__(
        self,
        layout: TableLayout,
        channels: tuple[int, ...],
        n_outputs: int,
        activation: str,
        linear_path: bool,
    ):
        super().__init__()
        self.layout = layout
        self.stages = nn.ModuleList(
            nn.Conv2d(n_in, n_out, 3, stride=2, padding=1)
            for n_in, n_out in pairwise([layout.image_shape[0], *channels])
        )
        self.shift = None
        if layout.n_one_hot:
            self.shift = nn.Linear(layout.n_one_hot, channels[0], bias=False)
        self.activation = ACTIVATIONS[activation]()
        height, width = stage_sizes(layout.image_shape, len(channels))[-1]
        n_features = channels[-1] * height * width
        self.output = nn.Linear(n_features, n_outputs, bias=not linear_path)
        self.path = nn.Linear(layout.width, n_outputs) if linear_path else None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self):
        reset_convolutions(self.stages)
        if self.shift is not None:
            nn.init.normal_(self.shift.weight, std=0.5)
        if self.path is not None:
            nn.init.zeros_(self.output.weight)

    def forward(self, x: Tensor) -> Tensor:
        x_num, blocks = x.split([self.layout.n_numeric, self.layout.n_one_hot], 1)
        h = to_images(x_num, self.layout)
        for depth, stage in enumerate(self.stages):
            h = stage(h)
            if depth == 0 and self.shift is not None:
                h = h + self.shift(blocks)[:, :, None, None]
            h = self.activation(h)
        out = self.output(h.flatten(1))
        return out if self.path is None else out + self.path(x)


class ImageDecoder(ImageNet):
    """Convolutions from vectors to the numbers, or rows, of images.

    Shapes: (n, n_inputs) to (n, n_numeric), and with `linear_path`, by which one-hot
    blocks come, to (n, layout.width). Each stage doubles height and width, by a
    convolution that makes four pixels of one.

    Parameters
    ----------
    layout : TableLayout
        With an image shape.
    channels : tuple of int
        Channels of each stage of the encoder, at least one; these are in reverse.
    n_inputs : int
    activation : str
        A key of `ACTIVATIONS`.
    linear_path : bool

    Examples
    --------
    >>> import torch
    >>> layout = TableLayout(21, image_shape=(1, 3, 7), pixels=tuple(range(21)))
    >>> decoder = ImageDecoder(layout, (4, 8), 2, "silu", linear_path=False)
    >>> decoder(torch.ones(5, 2)).shape
    torch.Size([5, 21])
    """

    def __init__(
        self,
        layout: TableLayout,
        channels: tuple[int, ...],
        n_inputs: int,
        activation: str,
        linear_path: bool,
    ):
        super().__init__()
        self.layout = layout
        self.sizes = stage_sizes(layout.image_shape, len(channels))[::-1]
        height, width = self.sizes[0]
        self.first_shape = channels[-1], height, width
        self.input_layer = nn.Linear(n_inputs, channels[-1] * height * width)
        n_channels = [*channels[::-1], layout.image_shape[0]]
        self.stages = nn.ModuleList(
            nn.Conv2d(n_in, 4 * n_out, 3, padding=1)
            for n_in, n_out in pairwise(n_channels)
        )
        self.activation = ACTIVATIONS[activation]()
        self.path = nn.Linear(n_inputs, layout.width) if linear_path else None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self):
        reset_convolutions(self.stages)
        if self.path is not None:
            nn.init.zeros_(self.stages[-1].weight)

    def forward(self, z: Tensor) -> Tensor:
        h = channels_last(self.input_layer(z).unflatten(1, self.first_shape))
        for stage, (height, width) in zip(self.stages, self.sizes[1:], strict=True):
            h = F.pixel_shuffle(stage(self.activation(h)), 2)
            h = h[:, :, :height, :width]  # Of an odd size, one line is too many.
        numbers = from_images(h, self.layout)
        if self.path is None:
            return numbers
        return F.pad(numbers, (0, self.layout.n_one_hot)) + self.path(z)


@torch.no_grad()
def reset_convolutions(stages: nn.ModuleList):
    """Initialize convolutions so that activations keep their variance."""
    for stage in stages:
        nn.init.kaiming_normal_(stage.weight, nonlinearity="relu")
        nn.init.zeros_(stage.bias)


class LabelledImageDecoder(nn.Module):
    """Decode categories from latent vectors, and pixels from both.

    Whichever category is drawn, or asked for, the pixels belong to it.

    Parameters
    ----------
    layout : TableLayout
        With an image shape, or without one for pixels whose places are not known.
    channels : tuple of int
        See :class:`ImageDecoder`. Without an image shape: sizes of the encoder's hidden
        layers, which are here in reverse.
    n_components : int
        Size of the latent vectors.
    activation : str
    """

    def __init__(
        self,
        layout: TableLayout,
        channels: tuple[int, ...],
        n_components: int,
        activation: str,
    ):
        super().__init__()
        self.layout = layout
        self.category_head = None
        if layout.n_one_hot:
            self.category_head = nn.Linear(n_components, layout.n_one_hot)
        n_inputs = n_components + layout.n_one_hot
        options = {"activation": activation, "linear_path": False}
        if layout.image_shape is None:
            args = n_inputs, channels[::-1], layout.n_numeric
            self.pixels = ResidualMLP(*args, **options)
        else:
            self.pixels = ImageDecoder(layout, channels, n_inputs, **options)

    def logits(self, z: Tensor) -> Tensor:
        """Logits of the categories (n, n_one_hot) of latent vectors."""
        return z[:, :0] if self.category_head is None else self.category_head(z)

    def forward(self, z: Tensor, x_cat: Tensor) -> Tensor:
        """Raw output (n, layout.width) for latent vectors and categories."""
        if self.category_head is None:
            return self.pixels(z)
        blocks = one_hot(x_cat, self.layout)
        return torch.cat([self.pixels(torch.cat([z, blocks], 1)), self.logits(z)], 1)


class ImageDistribution(TableDistribution):
    """Distribution of categories given latent vectors, and of pixels given both.

    Parameters
    ----------
    decoder : LabelledImageDecoder
    z : Tensor of shape (n, n_components)
    log_scale, indicator
        See :class:`TableDistribution`.
    """

    def __init__(self, decoder, z: Tensor, log_scale, indicator):
        self.layout, self.decoder, self.z = decoder.layout, decoder, z
        self.raw_logits = decoder.logits(z).float()
        self.log_scale, self.indicator = log_scale, indicator

    def __len__(self) -> int:
        return len(self.z)

    @property
    def location(self) -> Tensor:
        """Locations of the pixels, given the most likely categories."""
        return self.given(self._likeliest()).location

    def given(self, x_cat: Tensor) -> TableDistribution:
        """Distribution of rows whose pixels belong to the categories `x_cat`."""
        raw = self.decoder(self.z, x_cat)
        return TableDistribution(self.layout, raw, self.log_scale, self.indicator)

    def log_prob(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        return self.given(x_cat).log_prob(x_num, x_cat)

    def _likeliest(self) -> Tensor:
        """The most likely categories, shape (n, n_categorical)."""
        if self.layout.n_categorical:
            return self._argmax(self.logits)
        return torch.zeros(len(self), 0, dtype=torch.int64, device=self.z.device)

    def mode(self) -> tuple[Tensor, Tensor]:
        x_cat = self._likeliest()
        return self.given(x_cat).mode()[0], x_cat

    def sample(
        self, generator: torch.Generator, conditions: EncodedConditions | None = None
    ) -> tuple[Tensor, Tensor]:
        if conditions is None:
            conditions = EncodedConditions(len(self))
        if not self.layout.n_categorical:
            return self.given(self._likeliest()).sample(generator, conditions)
        layout = TableLayout(0, self.layout.cardinalities)
        categories = TableDistribution(layout, self.raw_logits, None, self.indicator)
        on_categories = replace(conditions, bounds={})
        x_cat = categories.sample(generator, on_categories)[1]
        drawn = dict(enumerate(x_cat.unbind(1)))
        on_pixels = EncodedConditions(len(self), drawn, {}, conditions.bounds)
        return self.given(x_cat).sample(generator, on_pixels)
