"""Networks: shapes, starting points, noise that is only there in training."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.decomposition import PCA
from torch import nn

from sklearn_unsup._nn.autoencoders import (
    LOG_SCALE_MIN,
    LOG_VAR_BOUNDS,
    Autoencoder,
    TableModule,
    VariationalAutoencoder,
    reparameterize,
)
from sklearn_unsup._nn.layers import ACTIVATIONS, ResidualMLP, TableInput
from sklearn_unsup._nn.pca import principal_axes
from sklearn_unsup._table.layout import TableLayout

Z = stats.norm.isf(1e-5 / 2)  # bound of a correct draw's error, in standard errors
NUMBERS, CATEGORIES = TableLayout(3), TableLayout(0, (3, 2))
MIXED = TableLayout(2, (3, 2), masks=(-1, 1))
LAYOUTS = {"numbers": NUMBERS, "categories": CATEGORIES, "mixed": MIXED}


@pytest.fixture(params=LAYOUTS)
def layout(request):
    return LAYOUTS[request.param]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def rows_of(layout, n, seed=0):
    noise = generator(seed)
    codes = [torch.randint(k, (n, 1), generator=noise) for k in layout.cardinalities]
    x_cat = torch.cat([torch.zeros(n, 0, dtype=torch.int64), *codes], 1)
    return torch.randn(n, layout.n_numeric, generator=noise), x_cat


def make_autoencoder(layout, n_components=4, noise=0.0, ordered=False):
    module = Autoencoder(layout, n_components, (8,), "silu", False, noise, ordered)
    with torch.no_grad():  # off the start, where the hidden branch gives nothing
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator()))
    return module


# ------------------------------------------------------------------- input


def test_a_table_is_numbers_then_blocks(layout):
    x_num, x_cat = rows_of(layout, 20)
    x = TableInput(layout)(x_num, x_cat)
    blocks = [
        nn.functional.one_hot(x_cat[:, column], size).float()
        for column, size in enumerate(layout.cardinalities)
    ]
    assert torch.equal(x, torch.cat([x_num, *blocks], 1))
    assert x.shape == (20, layout.width)


def test_offsets_are_no_weights():
    """A net for a table of other cardinalities must not load them."""
    assert not TableInput(MIXED).state_dict()


# ------------------------------------------------------------------- layers


@pytest.mark.parametrize("hidden", [(), (8,), (8, 8), (8, 5, 5, 3)])
def test_training_starts_at_a_linear_map(hidden):
    net = ResidualMLP(6, hidden, 3, "silu", linear_path=True)
    weight, bias = torch.randn(3, 6), torch.randn(3)
    net.set_linear_map(weight, bias)
    x = torch.randn(10, 6)
    torch.testing.assert_close(net(x), x @ weight.t() + bias)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_layers_with_shortcuts(activation):
    """h + f(W h + b) where the width stays, but never around the first layer."""
    net = ResidualMLP(5, (5, 5, 7, 7), 2, activation, linear_path=True)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.5)
    x = torch.randn(30, 5)
    f = getattr(torch, activation, None) or getattr(nn.functional, activation, None)
    f = f or (lambda value: value)  # identity
    first, second, third, fourth = net.hidden
    weight, bias = first.weight, first.bias
    h = f(x @ weight[:5].t() + bias[:5])
    h = h + f(second(h))
    h = f(third(h))
    h = h + f(fourth(h))
    path = x @ weight[5:].t() + bias[5:]
    assert all(map(torch.equal, net.linear_map(), (weight[5:], bias[5:])))
    expected = path + h @ net.output.weight.t()
    torch.testing.assert_close(net(x), expected)


def test_layers_without_a_linear_path():
    net = ResidualMLP(5, (8,), 2, "tanh", linear_path=False)
    x = torch.randn(30, 5)
    expected = net.output(torch.tanh(net.hidden[0](x)))
    torch.testing.assert_close(net(x), expected)
    assert expected.std() > 0.1  # the output does not start at zero here


def test_without_hidden_layers_one_map_is_left():
    net = ResidualMLP(5, (), 2, "relu", linear_path=True)
    assert [p.shape for p in net.parameters()] == [(2, 5), (2,)]


def test_weights_start_as_glorot_and_bengio_have_it():
    net = ResidualMLP(60, (300, 300), 40, "relu", linear_path=True)
    first, second = net.hidden
    path, bias = net.linear_map()
    assert path.shape == (40, 60)
    for weight in (first.weight[:300], second.weight, path):
        limit = math.sqrt(6 / sum(weight.shape))
        weights = weight.detach().flatten().numpy()
        law = stats.uniform(-limit, 2 * limit)
        assert stats.kstest(weights, law.cdf).pvalue > 1e-5
    assert (first.bias == 0).all()
    assert (bias == 0).all()
    assert (net.output.weight == 0).all()
    assert net.output.bias is None


def test_the_hidden_branch_leaves_zero():
    """Its last layer has a gradient at once, the others from the second step on."""
    net = ResidualMLP(5, (8, 8), 2, "silu", linear_path=True)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    x, moved = torch.randn(30, 5), []
    for _ in range(2):
        optimizer.zero_grad()
        net(x).square().sum().backward()
        first, second = (layer.weight.grad for layer in net.hidden)
        moved.append([grad.abs().max() > 0 for grad in (first[:8], second)])
        assert net.output.weight.grad.abs().max() > 0
        optimizer.step()
    assert moved == [[False, False], [True, True]]


# ------------------------------------------------------------------- distribution


def test_standard_deviations_have_a_floor():
    """A column that is reproduced exactly does not outweigh all others."""
    module = TableModule(NUMBERS)
    module.log_scale.copy_(torch.tensor([-20.0, LOG_SCALE_MIN, 0.3]))
    scales = module.distribution(torch.zeros(1, 3)).log_scale
    torch.testing.assert_close(
        scales, torch.tensor([LOG_SCALE_MIN, LOG_SCALE_MIN, 0.3])
    )
    assert TableModule(NUMBERS, bernoulli=True).distribution(
        torch.zeros(1, 3)
    ).log_scale is None  # fmt: skip


# ------------------------------------------------------------------- autoencoder


def test_a_pass_is_decode_after_encode(layout):
    module = make_autoencoder(layout, noise=0.5, ordered=True).eval()
    rows = rows_of(layout, 30)
    codes = module.encode(*rows)
    assert codes.shape == (30, 4)
    # neither noise nor dropout outside training, and no generator to draw it from
    torch.testing.assert_close(module(*rows), module.decode(codes))
    torch.testing.assert_close(
        module.encode(*rows), module.encoder(module.table(*rows))
    )


def test_encoding_is_the_same_while_training():
    module = make_autoencoder(MIXED, noise=0.5, ordered=True)
    rows = rows_of(MIXED, 30)
    before = module.eval().encode(*rows)
    assert torch.equal(module.train().encode(*rows), before)


@pytest.mark.parametrize("options", [{"noise": 0.3}, {"ordered": True}])
def test_the_generator_decides_the_noise(options):
    module = make_autoencoder(MIXED, **options).train()
    rows = rows_of(MIXED, 30)
    state = torch.get_rng_state()
    first, again, other = (module(*rows, generator=generator(s)) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, module.eval()(*rows))
    assert torch.equal(torch.get_rng_state(), state)


def test_noise_has_the_standard_deviation_asked_for():
    n, sd = 20_000, 0.3
    module = make_autoencoder(MIXED, noise=sd)
    x = module.table(*rows_of(MIXED, n))
    noise = (module._corrupt(x, generator()) - x)[:, :2].detach().numpy()
    for column in noise.T:
        assert column.mean() == pytest.approx(0, abs=Z * sd / np.sqrt(n))
        assert column.std() == pytest.approx(sd, rel=0.02)
    assert abs(np.corrcoef(noise.T)[0, 1]) < Z / np.sqrt(n)


@pytest.mark.parametrize("rate", [0.0, 0.2, 1.0, 1.5])
def test_noise_blanks_whole_categories(rate):
    n = 20_000
    module = make_autoencoder(MIXED, noise=rate)
    x = module.table(*rows_of(MIXED, n))
    corrupt = module._corrupt(x, generator())
    hidden = []
    for block in (slice(2, 5), slice(5, 7)):
        blank = (corrupt[:, block] == 0).all(1)
        assert torch.equal(corrupt[~blank, block], x[~blank, block])
        hidden.append(blank.double())
    p = min(rate, 1.0)
    bound = Z * math.sqrt(p * (1 - p) / n)
    assert all(abs(each.mean() - p) <= bound for each in hidden)
    # independently of each other
    both = p**2
    bound = Z * math.sqrt(both * (1 - both) / n)
    assert abs((hidden[0] * hidden[1]).mean() - both) <= bound + 1e-12


@pytest.mark.parametrize("kind", ["numbers", "categories"])
def test_noise_on_tables_of_one_kind(kind):
    module = make_autoencoder(LAYOUTS[kind], noise=0.4)
    x = module.table(*rows_of(LAYOUTS[kind], 50))
    corrupt = module._corrupt(x, generator())
    assert corrupt.shape == x.shape
    assert not torch.equal(corrupt, x)


def test_nested_dropout_keeps_the_first_codes():
    """The share of rows that keep code i: all of .3, and .7 (1 - i / size) beside."""
    n, size = 20_000, 5
    module = make_autoencoder(NUMBERS, size, ordered=True)
    kept = module._nested_dropout_mask(torch.zeros(n, size), generator()).double()
    assert set(kept.unique().tolist()) == {0.0, 1.0}
    assert (kept.diff(dim=1) <= 0).all()  # a first part, never a gap
    assert (kept[:, 0] == 1).all()
    for index in range(1, size):
        p = 0.3 + 0.7 * (1 - index / size)
        bound = Z * math.sqrt(p * (1 - p) / n)
        assert abs(kept[:, index].mean().item() - p) < bound


def test_nested_dropout_of_one_code_keeps_it():
    module = make_autoencoder(NUMBERS, 1, ordered=True)
    assert (module._nested_dropout_mask(torch.zeros(500, 1), generator()) == 1).all()


def test_dropped_codes_reach_the_decoder_as_zeros():
    module = make_autoencoder(NUMBERS, 4, ordered=True).train()
    rows = rows_of(NUMBERS, 40)
    out = module(*rows, generator=generator())
    kept = module._nested_dropout_mask(torch.zeros(40, 4), generator())
    torch.testing.assert_close(out, module.decode(module.encode(*rows) * kept))


# ------------------------------------------------------------------- posterior


def test_log_variances_are_bounded():
    """However far the encoder goes, draws and their gradients stay finite."""
    module = VariationalAutoencoder(MIXED, 3, (8,), "silu", False)
    rows = rows_of(MIXED, 20)
    for size in (1e4, -1e4):
        with torch.no_grad():
            module.encoder.output.bias.copy_(torch.tensor([0.0] * 3 + [size] * 3))
        _, log_var = module.posterior(*rows)
        assert log_var.unique().tolist() == [LOG_VAR_BOUNDS[size > 0]]
        distribution, divergence, log_prob = module(*rows, generator=generator())
        assert log_prob is None
        loss = distribution.log_prob(*rows).sum() + divergence.sum()
        loss.backward()
        assert all(
            torch.isfinite(p.grad).all()
            for p in module.parameters()
            if p.grad is not None
        )


def test_draws_follow_the_posterior():
    mean, log_var = torch.tensor([[1.0, -2.0]]), torch.tensor([[-2.0, 1.0]])
    n = 20_000
    draws = reparameterize(mean.expand(n, 2), log_var.expand(n, 2), generator())
    for column in range(2):
        law = stats.norm(mean[0, column].item(), math.exp(log_var[0, column] / 2))
        assert stats.kstest(draws[:, column].numpy(), law.cdf).pvalue > 1e-5


def test_codes_are_posterior_means():
    """Without noise, in training too: pythae's embed draws it in evaluation."""
    module = VariationalAutoencoder(MIXED, 3, (8,), "silu", False)
    rows = rows_of(MIXED, 20)
    for mode in (True, False):
        codes = module.train(mode).encode(*rows)
        torch.testing.assert_close(codes, module.posterior(*rows)[0])


# ------------------------------------------------------------------- axes


@pytest.mark.parametrize("n_components", [1, 3, 6])
def test_principal_axes_are_those_of_pca(n_components):
    X = np.random.default_rng(0).normal(size=(300, 6)) * [5, 4, 3, 2, 1, 0.5] + 7
    pca = PCA(n_components).fit(X)
    mean, axes = principal_axes(torch.from_numpy(X).float(), n_components)
    np.testing.assert_allclose(mean, pca.mean_, rtol=1e-5)
    assert axes.shape == (n_components, 6)
    cosines = (axes.numpy() * pca.components_).sum(1)
    np.testing.assert_allclose(np.abs(cosines), 1.0, atol=1e-4)


@pytest.mark.parametrize("offset", [0.0, 10.0])
def test_axes_beyond_the_rank_are_zero(offset):
    """Nothing lies along them but rounding, and a hidden branch may use their codes."""
    noise = np.random.default_rng(0)
    X = noise.normal(size=(200, 2)) @ noise.normal(size=(2, 7)) + offset
    _, axes = principal_axes(torch.from_numpy(X).float(), 5)
    lengths = axes.norm(dim=1)
    torch.testing.assert_close(lengths[:2], torch.ones(2))
    assert (lengths[2:] == 0).all()
    expected = PCA(2).fit(X).components_
    cosines = np.linalg.svd(axes[:2].numpy() @ expected.T)[1]
    np.testing.assert_allclose(cosines, 1.0, atol=1e-4)


@pytest.mark.parametrize(("n", "width"), [(1, 4), (50, 2)])
def test_more_components_than_axes(n, width):
    X = torch.randn(n, width, generator=generator())
    mean, axes = principal_axes(X, 6)
    torch.testing.assert_close(mean, X.mean(0))
    assert axes.shape == (6, width)
    rank = 0 if n == 1 else width
    assert (axes.norm(dim=1) > 0).sum() == rank


def test_constant_rows_have_no_axes():
    _, axes = principal_axes(torch.full((20, 3), 2.5), 2)
    assert (axes == 0).all()
