"""Convolutional networks for rows of pixels."""

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d
from torch.nn import functional as F

from sklearn_unsup._nn.images import (
    ImageDecoder,
    ImageDistribution,
    ImageEncoder,
    LabelledImageDecoder,
    default_channels,
    from_images,
    to_images,
)
from sklearn_unsup._table.layout import EncodedConditions, TableLayout


def layout_of(shape, cardinalities=(), left_out=()):
    pixels = tuple(i for i in range(int(np.prod(shape))) if i not in left_out)
    return TableLayout(len(pixels), cardinalities, (), shape, pixels)


def rows_of(layout, n=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x_num = torch.rand(n, layout.n_numeric, generator=generator)
    sizes = layout.cardinalities
    codes = [torch.randint(size, (n,), generator=generator) for size in sizes]
    return x_num, torch.stack(codes, 1) if codes else torch.zeros(n, 0).long()


@pytest.mark.parametrize("left_out", [(), (0, 7, 23)])
def test_pixels_have_their_places(left_out):
    layout = layout_of((2, 3, 4), left_out=left_out)
    x_num, _ = rows_of(layout)
    images = to_images(x_num, layout)
    expected = np.zeros((5, 24), np.float32)
    expected[:, np.setdiff1d(np.arange(24), left_out)] = x_num
    np.testing.assert_array_equal(images.numpy(), expected.reshape(5, 2, 3, 4))
    assert from_images(images, layout).equal(x_num)


def test_an_encoder_correlates_images_with_kernels():
    """Beside scipy: every second pixel of the correlation with each kernel."""
    layout = layout_of((1, 5, 7))
    encoder = ImageEncoder(layout, (3,), 2, "identity", linear_path=False)
    x, _ = rows_of(layout, n=1)
    (stage,), image = encoder.stages, x.reshape(5, 7).numpy()
    maps = [
        correlate2d(np.pad(image, 1), kernel[0], "valid")[::2, ::2] + bias
        for kernel, bias in zip(
            stage.weight.detach().numpy(), stage.bias.detach().numpy(), strict=True
        )
    ]
    features = torch.tensor(np.array(maps, np.float32).reshape(1, -1))
    assert torch.allclose(encoder(x), encoder.output(features), atol=1e-5)


def test_labels_change_what_an_encoder_makes_of_pixels():
    """By more than a shift: a critic must see whether label and image go together."""
    layout = layout_of((1, 8, 8), (3,))
    encoder = ImageEncoder(layout, (4,), 1, "leaky_relu", linear_path=False)
    x_num, _ = rows_of(layout, n=2)
    scores = [
        encoder(torch.cat([x_num, F.one_hot(torch.full((2,), k), 3)], 1))
        for k in range(2)
    ]
    differences = scores[1] - scores[0]
    assert (differences[0] - differences[1]).abs() > 1e-5


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 7)])
def test_networks_start_at_their_linear_path(shape):
    layout = layout_of(shape, (2,), left_out=(1,))
    encoder = ImageEncoder(layout, (4, 6), 3, "silu", linear_path=True)
    decoder = ImageDecoder(layout, (4, 6), 3, "silu", linear_path=True)
    x, z = torch.rand(5, layout.width), torch.rand(5, 3)
    for net, inputs in ((encoder, x), (decoder, z)):
        weight, bias = (torch.randn_like(part) for part in net.linear_map())
        net.set_linear_map(weight, bias)
        expected = torch.addmm(bias, inputs, weight.t())
        assert torch.allclose(net(inputs), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 7), (3, 4, 9)])
@pytest.mark.parametrize("channels", [(4,), (4, 6, 2)])
def test_a_decoder_makes_every_pixel(shape, channels):
    layout = layout_of(shape)
    decoder = ImageDecoder(layout, channels, 5, "silu", linear_path=False)
    images = decoder(torch.randn(64, 5))
    assert images.shape == (64, layout.n_numeric)
    assert (images.var(0) > 0).all()


def test_default_channels():
    assert default_channels((1, 8, 8), (32, 64)) == (32, 64)
    assert default_channels((1, 28, 28), (16, 48)) == (16, 48)
    assert default_channels((3, 32, 48), (16, 48)) == (16, 48, 96)
    assert default_channels((1, 2, 900), (8, 16)) == (8, 16)
    assert default_channels((3, 512, 512), (8, 16)) == (8, 16, 32, 64)


def distribution_of(layout, n=6, seed=0):
    torch.manual_seed(seed)
    decoder = LabelledImageDecoder(layout, (4,), 3, "silu").requires_grad_(False)
    if decoder.category_head is not None:
        decoder.category_head.weight.mul_(3)
    z = torch.randn(n, 3)
    indicator = torch.ones(layout.n_one_hot, max(1, layout.n_categorical))
    return decoder, z, ImageDistribution(decoder, z, None, indicator)


def test_log_prob_is_that_of_the_label_and_of_the_pixels_given_it():
    layout = layout_of((1, 4, 4), (3,))
    decoder, z, distribution = distribution_of(layout)
    x_num, x_cat = rows_of(layout, 6)
    logits = decoder.category_head(z)
    label = -F.cross_entropy(logits, x_cat[:, 0], reduction="none")
    inputs = torch.cat([z, F.one_hot(x_cat[:, 0], 3).float()], 1)
    p = torch.sigmoid(decoder.pixels(inputs))
    pixels = (x_num * p.log() + (1 - x_num) * (1 - p).log()).sum(1)
    expected = label + pixels
    # Logits are bounded smoothly, which moves them by some thousandths.
    assert torch.allclose(distribution.log_prob(x_num, x_cat), expected, atol=0.02)


def test_pixels_belong_to_the_label_that_is_drawn():
    layout = layout_of((1, 4, 4), (3,))
    _, _, distribution = distribution_of(layout)
    generator = torch.Generator().manual_seed(0)
    asked = torch.tensor([0, 1, 2, 0, 1, 2])
    numbers, codes = distribution.sample(generator, EncodedConditions(6, {0: asked}))
    assert codes[:, 0].equal(asked)
    assert numbers.equal(torch.sigmoid(distribution.given(codes).location))
    assert not numbers.allclose(torch.sigmoid(distribution.location))
    numbers, codes = distribution.sample(generator)
    assert numbers.equal(torch.sigmoid(distribution.given(codes).location))
    numbers, codes = distribution.mode()
    assert codes[:, 0].equal(distribution.raw_logits.argmax(1))
    assert numbers.equal(torch.sigmoid(distribution.given(codes).location))


def test_conditions_on_pixels_and_sets_of_labels_hold():
    layout = layout_of((1, 4, 4), (3,))
    _, _, distribution = distribution_of(layout)
    bounds = torch.tensor([[0.9, 1.0]]).repeat(6, 1)
    conditions = EncodedConditions(
        6,
        {0: torch.full((6,), -2)},
        {0: torch.tensor([[True, False, True]])},
        {5: bounds},
    )
    numbers, codes = distribution.sample(torch.Generator().manual_seed(0), conditions)
    assert (codes != 1).all()
    assert ((numbers[:, 5] >= 0.9) & (numbers[:, 5] <= 1.0)).all()


def test_images_without_labels():
    layout = layout_of((1, 4, 4), left_out=(0, 1))
    _, _, distribution = distribution_of(layout)
    numbers, codes = distribution.mode()
    assert numbers.shape == (6, 14)
    assert codes.shape == (6, 0)
    assert distribution.sample(torch.Generator())[0].equal(numbers)
    assert distribution.log_prob(numbers, codes).shape == (6,)
