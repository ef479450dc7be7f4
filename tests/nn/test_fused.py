"""Gradients that are written by hand are those of autograd through the formula."""

import math

import pytest
import torch
from torch import nn

from sklearn_unsup._nn import fused, hats, likelihoods
from sklearn_unsup._nn.autoencoders import LOG_VAR_BOUNDS
from sklearn_unsup._nn.column_networks import column_networks

SIZES = [3, 2, 4]
N = 6


def numbers(*shape, seed=0, scale=1.0):
    """Standard normal numbers in double precision, as gradients are checked in."""
    noise = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=noise, dtype=torch.float64)
    return (scale * values).requires_grad_()


def codes_of(sizes=SIZES, n=N):
    noise = torch.Generator().manual_seed(1)
    return torch.stack(
        [torch.randint(size, (n,), generator=noise) for size in sizes], 1
    )


def places_of(codes, sizes=SIZES):
    return codes + torch.tensor([sum(sizes[:i]) for i in range(len(sizes))])


def indicator():
    blocks = torch.arange(len(SIZES)).repeat_interleave(torch.tensor(SIZES))
    return nn.functional.one_hot(blocks).double()


def capped(raw):
    return likelihoods.LOGIT_CAP * torch.tanh(raw / likelihoods.LOGIT_CAP)


def assert_same(ours, formula, inputs):
    """Values and gradients, with weights of the rows that differ."""
    value, expected = ours(*inputs), formula(*inputs)
    torch.testing.assert_close(value, expected)
    weights = torch.linspace(-1.0, 2.0, value.numel()).view(value.shape).double()
    learnt = [part for part in inputs if part.requires_grad]
    found = torch.autograd.grad((weights * value).sum(), learnt)
    wanted = torch.autograd.grad((weights * expected).sum(), learnt)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


@pytest.fixture
def all_by_hand(monkeypatch):
    monkeypatch.setattr(fused, "MIN_MULTIPLICATIONS", 0)


def test_small_products_are_left_to_torch():
    layer, limit = fused.Linear(8, 16), fused.MIN_MULTIPLICATIONS // 128
    for n, name in ((limit - 1, "AddmmBackward0"), (limit, "_LinearBackward")):
        assert layer(torch.ones(n, 8)).grad_fn.name() == name


@pytest.mark.usefixtures("all_by_hand")
def test_linear():
    ours, plain = fused.Linear(3, 2).double(), nn.Linear(3, 2).double()
    plain.load_state_dict(ours.state_dict())
    x = numbers(N, 3)
    assert_same(lambda x, *_: ours(x), lambda x, *_: plain(x), [x])
    for layer in (ours, plain):
        layer(x).square().sum().backward()
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad)
    torch.testing.assert_close(ours.bias.grad, plain.bias.grad)


@pytest.mark.usefixtures("all_by_hand")
def test_a_linear_map_is_added():
    assert_same(
        fused.add_linear,
        lambda added, x, weight: added + nn.functional.linear(x, weight),
        [numbers(N, 2), numbers(N, 3, seed=1), numbers(2, 3, seed=2)],
    )


def test_linear_in_a_lower_precision_is_torchs():
    layer = fused.Linear(3, 2)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(torch.ones(N, 3))
    assert out.dtype == torch.bfloat16
    out.sum().backward()
    assert layer.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("scale", [1.0, 60.0])  # where the bound of the logits bends
def test_categorical_log_prob(scale):
    codes = codes_of()

    def formula(raw):
        blocks = capped(raw).split(SIZES, 1)
        parts = [
            block.log_softmax(1).gather(1, codes[:, i : i + 1])
            for i, block in enumerate(blocks)
        ]
        return torch.cat(parts, 1).sum(1)

    assert_same(
        lambda raw: likelihoods.categorical_log_prob(
            raw, places_of(codes), indicator()
        ),
        formula,
        [numbers(N, sum(SIZES), scale=scale)],
    )


@pytest.mark.parametrize("scale", [1.0, 60.0])
def test_padded_log_prob(scale):
    codes = codes_of([4, 4]).t()

    def formula(raw):
        log_probs = capped(raw).log_softmax(1)
        return log_probs.gather(1, codes[:, None]).sum((0, 1))

    raw = numbers(2, 4, N, scale=scale)
    assert_same(lambda raw: likelihoods.padded_log_prob(raw, codes), formula, [raw])


def presence(*shape):
    return (torch.arange(math.prod(shape)) % 3 > 0).double().view(shape)


@pytest.mark.parametrize("present", [None, presence(N, 2)])
def test_normal_log_prob(present):
    x = numbers(N, 2, seed=3).detach()

    def formula(location, log_scale):
        each = torch.distributions.Normal(location, log_scale.exp()).log_prob(x)
        return (each if present is None else each * present).sum(1)

    assert_same(
        lambda *args: likelihoods.normal_log_prob(*args, x, present),
        formula,
        [numbers(N, 2), numbers(2, seed=1)],
    )


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("present", [None, presence(2, N)])
def test_number_log_prob(present, relative):
    x = numbers(2, N, seed=3).detach()
    bounds, shares = (-1.0, 1.0), torch.tensor([[0.2, 0.5, 0.3], [0.9, 0.1, 0.0]])
    places = torch.tensor([[0, 1, 2, 1, 0, 2], [0, 1, 0, 0, 1, 0]])
    log_widths = shares.double().log().clamp_min(-1e4)

    moments = None
    if relative:
        moments = numbers(2, N, seed=4).detach(), numbers(2, N, seed=5).detach().exp()

    def formula(raw):
        mixture, gate, bins = raw.transpose(1, 2).split([12, 1, 3], -1)
        weights, means, scales = mixture.chunk(3, -1)
        if relative:
            mean, scale = (moment[..., None] for moment in moments)
            means, scales = mean + scale * means, scales + scale.log()
        assert (scales < bounds[0]).any()
        assert (scales > bounds[1]).any()
        smooth = torch.distributions.MixtureSameFamily(
            torch.distributions.Categorical(logits=weights),
            torch.distributions.Normal(means, scales.clamp(*bounds).exp()),
        ).log_prob(x)
        of_bins = torch.distributions.Categorical(logits=bins).log_prob(places)
        normal = torch.distributions.Normal(0.0, 1.0).log_prob(x)
        of_bins = of_bins - log_widths.gather(1, places) + normal
        p = gate[..., 0].sigmoid()
        each = (p * of_bins.exp() + (1 - p) * smooth.exp()).log()
        return (each if present is None else each * present).sum(0)

    assert_same(
        lambda raw: likelihoods.number_log_prob(
            raw, x, places, log_widths, present, bounds, moments
        ),
        formula,
        [numbers(2, 16, N, scale=1.5)],
    )


def test_column_heads():
    def formula(hidden, weight, bias):
        parts = zip(hidden, weight.split(SIZES), bias.split(SIZES), strict=True)
        return torch.cat([nn.functional.linear(*part) for part in parts], 1)

    assert_same(
        lambda *args: fused.column_heads(*args, SIZES),
        formula,
        [numbers(3, N, 5), numbers(9, 5, seed=1), numbers(9, seed=2)],
    )


# Of three columns with four units each, that see 0, 2 and 4 of the five features.
WHOLE, CUT = [(12, 5)], [(4, 0), (8, 4)]


def after_first_layers(hidden, weight2, bias2, dropout):
    """The formula of what follows the first layers and their activation."""
    one, two = (1.0, 1.0) if dropout is None else (dropout[:-1], dropout[1:])
    hidden = hidden * one
    more = nn.functional.silu(torch.baddbmm(bias2, hidden, weight2))
    return hidden + more * two


def network_inputs(learned, weight, n_columns, width):
    """What gets a gradient: learnt features, and weights and biases of two layers."""
    return [
        learned.clone().requires_grad_(),
        weight,
        numbers(n_columns * width, seed=6),
        numbers(n_columns, width, width, seed=7),
        numbers(n_columns, 1, width, seed=8),
    ]


@pytest.mark.parametrize("blocks", [WHOLE, CUT])
@pytest.mark.parametrize("dropout", [False, True])
def test_column_networks(dropout, blocks):
    n_columns, width, n_features = 3, 4, 5
    owners = torch.tensor([0, 0, 1, 1, 2])
    mask = torch.arange(n_columns)[:, None] > owners
    mask = mask.repeat_interleave(width, 0).double()
    kept = numbers(n_columns + 1, N, width, seed=9).detach() > -0.5
    dropout = 1.5 * kept if dropout else None
    features, learned = numbers(N, n_features, seed=5).detach(), slice(2, 4)

    def formula(part, weight, bias, weight2, bias2):
        parts = [features[:, :2], part, features[:, 4:]]
        first = nn.functional.linear(torch.cat(parts, 1), weight * mask, bias)
        hidden = nn.functional.silu(first).view(N, n_columns, width).transpose(0, 1)
        return after_first_layers(hidden, weight2, bias2, dropout)

    weight = (numbers(n_columns * width, n_features).detach() * mask).requires_grad_()
    inputs = network_inputs(features[:, learned], weight, n_columns, width)
    assert_same(
        lambda part, w, b, w2, b2: column_networks(
            features, w, mask, b, w2, b2, dropout, [(learned, part)], blocks
        ),
        formula,
        inputs,
    )


@pytest.mark.parametrize("dropout", [False, True])
def test_column_networks_with_features_of_their_own(dropout):
    """The last weights are those of features that differ from column to column."""
    n_columns, width, n_shared, n_own = 3, 4, 5, 2
    owners = torch.tensor([0, 0, 1, 1, 2, -1, -1])
    mask = torch.arange(n_columns)[:, None] != owners
    mask = mask.repeat_interleave(width, 0).double()
    kept = numbers(n_columns + 1, N, width, seed=9).detach() > -0.5
    dropout = 1.5 * kept if dropout else None
    features, learned = numbers(N, n_shared, seed=5).detach(), slice(2, 4)
    own = numbers(n_columns, N, n_own, seed=4).detach()

    def formula(part, weight, bias, weight2, bias2):
        shared = torch.cat([features[:, :2], part, features[:, 4:]], 1)
        seen = torch.cat([shared.expand(n_columns, -1, -1), own], 2)
        weight = (weight * mask).view(n_columns, width, -1).transpose(1, 2)
        hidden = nn.functional.silu(seen @ weight + bias.view(n_columns, 1, width))
        return after_first_layers(hidden, weight2, bias2, dropout)

    n_features = n_shared + n_own
    weight = (numbers(n_columns * width, n_features).detach() * mask).requires_grad_()
    inputs = network_inputs(features[:, learned], weight, n_columns, width)

    def networks(part, w, b, w2, b2):
        blocks = [(n_columns * width, n_features)]
        given = features, w, mask, b, w2, b2, dropout, [(learned, part)], blocks
        return column_networks(*given, own)

    assert_same(networks, formula, inputs)
    with torch.no_grad():  # without manual gradients
        torch.testing.assert_close(networks(*inputs), formula(*inputs))


def test_column_networks_in_a_lower_precision_have_gradients():
    torch.manual_seed(0)
    shapes = {"weight": (6, 4), "bias": (6,), "weight2": (2, 3, 3), "bias2": (2, 1, 3)}
    parts = {name: torch.randn(shape) for name, shape in shapes.items()}
    features, mask = torch.randn(N, 4), torch.ones(6, 4)
    dropout = torch.ones(3, N, 3)
    found = {}
    for enabled in (False, True):
        leaves = {k: v.clone().requires_grad_() for k, v in parts.items()}
        with torch.autocast("cpu", torch.bfloat16, enabled):
            out = column_networks(
                features,
                leaves["weight"],
                mask,
                leaves["bias"],
                leaves["weight2"],
                leaves["bias2"],
                dropout,
                [],
                [(6, 4)],
            )
        out.float().square().sum().backward()
        found[enabled] = {k: v.grad for k, v in leaves.items()}
    for name, exact in found[False].items():
        error = (found[True][name] - exact).norm() / exact.norm()
        assert 0 < error < 0.05  # that of bfloat16, so it was used


def columns(matrix, vector):
    return torch.cat([matrix, vector[:, None]], 1)


def test_gaussian_posterior():
    noise, bounds = numbers(N, 2, seed=4).detach(), (-1.0, 1.0)

    def formula(raw):
        mean, log_var = raw.chunk(2, 1)
        scale = (0.5 * log_var.clamp(*bounds)).exp()
        posterior = torch.distributions.Normal(mean, scale)
        prior = torch.distributions.Normal(torch.zeros(()).double(), 1.0)
        divergence = torch.distributions.kl_divergence(posterior, prior).sum(1)
        return columns(mean + noise * scale, divergence)

    raw = numbers(N, 4, scale=2.0)
    assert (raw[:, 2:].abs() > 1).any()
    assert_same(
        lambda raw: columns(*likelihoods.gaussian_posterior(raw, noise, bounds)),
        formula,
        [raw],
    )


@pytest.mark.parametrize("log_var", [*LOG_VAR_BOUNDS, -1.0, 1e-3, 0.0])
def test_the_divergence_is_exact_in_single_precision(log_var):
    raw = torch.tensor([[1e-4, log_var]])
    expected = 0.5 * (1e-8 + math.expm1(log_var) - log_var)
    noise = torch.zeros(1, 1)
    _, found = likelihoods.gaussian_posterior(raw, noise, LOG_VAR_BOUNDS)
    assert found.item() == pytest.approx(expected, rel=1e-3)


def hats_by_hand(x, n_intervals):
    quantile = torch.distributions.Normal(0.0, 1.0).cdf(x)
    peaks = torch.arange(n_intervals + 1)
    return (1.0 - (n_intervals * quantile[..., None] - peaks).abs()).clamp(min=0.0)


def test_hats_share_one_between_neighbours():
    x = torch.linspace(-4, 4, 101)
    found, apart = hats.hat_functions(x[:, None], 8)
    torch.testing.assert_close(found, hats_by_hand(x, 8), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.sum(-1), torch.ones(101))
    assert ((apart.abs() < 1) == (found > 0)).all()


def features_by_hand(x, blocks):
    numbers = torch.cat([x[..., None], hats_by_hand(x, 4)], -1)
    return torch.cat([numbers.flatten(1), blocks], 1)


def test_hat_features():
    assert_same(
        lambda x, blocks: hats.piecewise_linear_input(x, blocks, 4),
        features_by_hand,
        [numbers(N, 2), numbers(N, 3, seed=1)],
    )


def test_hat_features_under_a_gradient_penalty():
    """The gradient of a gradient's norm, by the weights that come after them."""
    weight = numbers(15, 1, seed=2)
    x, blocks = numbers(N, 2), numbers(N, 3, seed=1)
    penalties = []
    for features in (
        lambda x, blocks: hats.piecewise_linear_input(x, blocks, 4),
        features_by_hand,
    ):
        scores = torch.tanh(features(x, blocks) @ weight)
        gradients = torch.autograd.grad(scores.sum(), [x, blocks], create_graph=True)
        penalty = sum(gradient.square().sum() for gradient in gradients)
        penalties.append(torch.autograd.grad(penalty, weight)[0])
    torch.testing.assert_close(*penalties)


def test_straight_through_draws():
    """Draws are the argmax, gradients those of a relaxation that is added and taken."""
    sizes, temperature, width = SIZES, 0.5, 4
    noise = -numbers(N, 9, seed=9).detach().exp().log1p().log()
    offsets = torch.tensor([0, 3, 5])

    def formula(state, weight, bias, shift):
        blocks = []
        parts = (weight, bias, shift)
        columns = zip(*(part.split(sizes) for part in parts), strict=True)
        for i, (own_weight, own_bias, own_shift) in enumerate(columns):
            logits = capped(nn.functional.linear(state, own_weight, own_bias))
            noisy = logits + noise.split(sizes, 1)[i]
            soft = (noisy / temperature).softmax(1)
            hard = nn.functional.one_hot(noisy.argmax(1), sizes[i]).double()
            blocks.append(hard + soft - soft.detach())
            state = state + blocks[-1] @ own_shift
        return torch.cat([state, *blocks], 1)

    def ours(*args):
        fixed = noise, offsets, indicator(), sizes, temperature
        draws = fused.straight_through_gumbel(*args, *fixed)
        return torch.cat(draws, 1)

    inputs = [
        numbers(N, width, scale=5.0),
        numbers(9, width, seed=1, scale=5.0),
        numbers(9, seed=2),
        numbers(9, width, seed=3),
    ]
    assert_same(ours, formula, inputs)
