"""GeneratorNet, critic and encoder against formulas written out and enumerated laws.

The weights are random, not trained, and larger than at the start of training, so that
columns depend on each other strongly.
"""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn import functional as F

from sklearn_unsup._nn.gan import (
    MAX_NUMBER_FEATURES,
    TEMPERATURE,
    AdversarialModel,
    Critic,
    GeneratorNet,
)
from sklearn_unsup._nn.likelihoods import LOGIT_CAP
from sklearn_unsup._nn.number_features import N_PIECES, piecewise_linear_features
from sklearn_unsup._nn.random import gumbel
from sklearn_unsup._table.layout import EncodedConditions, TableLayout
from sklearn_unsup._training.averaging import ema_decay

ALPHA = 1e-5  # chance that correct code fails one comparison under another seed
Z = stats.norm.isf(ALPHA / 2)
CATEGORICAL = TableLayout(0, (3, 2, 4))
MIXED = TableLayout(3, (3, 2, 2), masks=(-1, 1, 2))  # two numbers have a mask
LAYOUTS = [
    CATEGORICAL,
    MIXED,
    TableLayout(2),
    TableLayout(2, (3,)),
    TableLayout(0, (5,)),
]


def given_codes(n, given):
    """Conditions of one code for all rows, by column."""
    codes = {column: torch.full((n,), code) for column, code in given.items()}
    return EncodedConditions(n, codes)


def shaken(module, seed=0, gain=1.5):
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            shift = torch.randn(parameter.shape, generator=noise)
            parameter.mul_(gain).add_(0.3 * shift)
    return module


def make_generator(layout, sizes=(8, 6), seed=0):
    torch.manual_seed(seed)
    return shaken(GeneratorNet(layout, 3, sizes, "silu"))


def make_model(layout, seed=0):
    torch.manual_seed(seed)
    model = AdversarialModel(layout, 3, (8, 6), "silu")
    shaken(model.ema_generator, seed=1)
    shaken(model.encoder, seed=2)
    return model


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise_of(n, seed=0):
    return torch.randn(n, 3, generator=generator(seed))


def all_codes(layout):
    """Every combination of categories, shape (n_combinations, n_categorical)."""
    ranges = [range(size) for size in layout.cardinalities]
    return torch.tensor(list(itertools.product(*ranges)))


def random_rows(layout, n, seed=0):
    noise = generator(seed)
    x_cat = [torch.randint(s, (n,), generator=noise) for s in layout.cardinalities]
    x_cat = torch.stack(x_cat, 1) if x_cat else torch.zeros(n, 0, dtype=torch.int64)
    return torch.randn(n, layout.n_numeric, generator=noise), x_cat


def codes_of(blocks, layout):
    """Codes of one-hot blocks."""
    parts = [blocks[:, block].argmax(1) for block in layout.category_slices]
    return torch.stack(parts, 1)


# ------------------------------------------------------------------- row's probability


def by_hand(net, noise, x_cat):
    """Numbers and log-probabilities of codes, column by column as the class says."""
    state, log_p = net.trunk(noise), []
    for column, start in enumerate(net.layout.offsets):
        block = slice(start, start + net.layout.cardinalities[column])
        logits = (
            state @ net.category_head.weight[block].T + net.category_head.bias[block]
        )
        logits = LOGIT_CAP * torch.tanh(logits / LOGIT_CAP)
        codes = x_cat[:, column]
        log_p.append(logits.log_softmax(1)[range(len(codes)), codes])
        state = state + net.category_embedding[block][codes]
    if net.numbers is None:
        return None, log_p
    return net.numbers(state * torch.sigmoid(state)), log_p


@torch.no_grad()
@pytest.mark.parametrize("layout", LAYOUTS)
def test_log_prob_is_its_formula(layout):
    net = make_generator(layout)
    noise, (x_num, x_cat) = noise_of(40), random_rows(layout, 40)
    numbers, log_p = by_hand(net, noise, x_cat)
    expected = sum(log_p, torch.zeros(40))
    for number, mask in enumerate(layout.masks):
        there = 1.0 if mask < 0 else (x_cat[:, mask] == 0).float()
        error = numbers[:, number] - x_num[:, number]
        expected = expected - 0.5 * error.square() * there
    torch.testing.assert_close(net.log_prob(noise, x_num, x_cat), expected)


@torch.no_grad()
def test_categories_sum_to_one_for_every_noise():
    net, codes = make_generator(CATEGORICAL), all_codes(CATEGORICAL)
    for row in noise_of(5):
        noise = row.expand(len(codes), 3)
        total = net.log_prob(noise, torch.zeros(len(codes), 0), codes).exp().sum()
        assert total.item() == pytest.approx(1.0, abs=1e-5)


@torch.no_grad()
def test_a_masked_number_means_nothing():
    net, noise = make_generator(MIXED), noise_of(30)
    x_num, x_cat = random_rows(MIXED, 30)
    x_cat[:, 1] = 1
    other = x_num.clone()
    other[:, 1] += 7
    same = net.log_prob(noise, x_num, x_cat), net.log_prob(noise, other, x_cat)
    assert torch.equal(*same)
    x_cat[:, 1] = 0
    changed = net.log_prob(noise, x_num, x_cat) - net.log_prob(noise, other, x_cat)
    assert changed.abs().min() > 0


@torch.no_grad()
def law_of(net, n=40_000):
    """p(categories), the mean over noise of their probabilities given it."""
    codes, noise = all_codes(net.layout), noise_of(n, seed=9)
    each = [net.log_prob(noise, torch.zeros(n, 0), row.expand(n, -1)) for row in codes]
    each = torch.stack(each).double().exp().numpy()
    return each.mean(1), each.std(1) / np.sqrt(n)


def shares_of(x_cat, layout, weights=None):
    cells = np.ravel_multi_index(x_cat.numpy().T, layout.cardinalities)
    counts = np.bincount(cells, weights, minlength=np.prod(layout.cardinalities))
    return counts / len(cells)


def test_drawn_and_relaxed_categories_follow_the_law():
    net, n = make_generator(CATEGORICAL), 40_000
    law, error = law_of(net)
    assert law.std() > 0.3 / len(law)  # not the uniform one by mistake
    bound = Z * np.hypot(error, np.sqrt(law * (1 - law) / n)) + 5 / n
    _, x_cat, log_weights = net.sample(given_codes(n, {}), generator())
    assert (log_weights == 0).all()
    assert (np.abs(shares_of(x_cat, CATEGORICAL) - law) < bound).all()
    with torch.no_grad():
        _, blocks = net(noise_of(n, 1), generator())
    drawn = codes_of(blocks, CATEGORICAL)
    assert (np.abs(shares_of(drawn, CATEGORICAL) - law) < bound).all()


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({0: 1}, marks=pytest.mark.slow),
        {2: 3},
        {0: 2, 2: 1},
        pytest.param({1: 0, 2: 0}, marks=pytest.mark.slow),
    ],
)
def test_likelihood_weights_are_exact(given):
    """Weighted rows have p(rest, given): the enumerated cascade."""
    net, n = make_generator(CATEGORICAL), 40_000
    law, error = law_of(net)
    codes = all_codes(CATEGORICAL).numpy()
    met = np.all([codes[:, c] == v for c, v in given.items()], axis=0)
    _, x_cat, log_weights = net.sample(given_codes(n, given), generator())
    for column, value in given.items():
        assert (x_cat[:, column] == value).all()
    weights = log_weights.double().exp().numpy()
    assert log_weights.std() > 0.05  # noise decides how likely they are
    shares = shares_of(x_cat, CATEGORICAL, weights)
    bound = Z * np.hypot(error, np.sqrt(law * weights.max() / n)) + 5 / n
    assert (np.abs(shares - law)[met] < bound[met]).all()
    assert (shares[~met] == 0).all()


@torch.no_grad()
def test_the_weight_is_the_probability_when_all_is_given():
    net = make_generator(CATEGORICAL)
    codes = [2, 1, 3]
    _, x_cat, log_weights = net.sample(
        given_codes(20, dict(enumerate(codes))), generator(4)
    )
    noise = torch.randn(20, 3, generator=generator(4))  # what `sample` begins with
    expected = net.log_prob(noise, torch.zeros(20, 0), x_cat)
    torch.testing.assert_close(log_weights, expected, atol=1e-4, rtol=1e-4)


# ------------------------------------------------------------------- a walk


@pytest.mark.parametrize("layout", LAYOUTS)
def test_shapes_and_dtypes(layout):
    net, n = make_generator(layout), 7
    x_num, blocks = net(noise_of(n), generator())
    assert x_num.shape == (n, layout.n_numeric)
    assert blocks.shape == (n, layout.n_one_hot)
    for x_num, x_cat in (
        net.mode(noise_of(n)),
        net.sample(given_codes(n, {}), generator())[:2],
    ):
        assert x_num.shape == (n, layout.n_numeric)
        assert x_cat.shape == (n, layout.n_categorical)
        assert x_cat.dtype == torch.int64
    assert make_generator(layout, sizes=(6,))(noise_of(n))[0].shape == x_num.shape


def test_relaxed_blocks_are_one_hot():
    net = make_generator(MIXED)
    _, blocks = net(noise_of(500), generator())
    for block in MIXED.category_slices:
        part = blocks[:, block]
        assert torch.equal(part, F.one_hot(part.argmax(1), part.shape[1]).float())
        assert (part.argmax(1).bincount(minlength=2) > 20).all()


def test_gradients_are_those_of_the_softmax():
    """Straight through: d block / d logits = the softmax's Jacobian / temperature."""
    net = make_generator(TableLayout(0, (4,)))
    noise, v = noise_of(30), torch.tensor([0.3, -1.0, 2.0, 0.5])
    _, blocks = net(noise, generator(3))
    (blocks * v).sum().backward()
    with torch.no_grad():
        raw = net.category_head(net.trunk(noise))
        logits = LOGIT_CAP * torch.tanh(raw / LOGIT_CAP)
        drawn = gumbel(logits.shape, generator(3), "cpu")
        soft = ((logits + drawn) / TEMPERATURE).softmax(1)
        by_logits = soft * (v - (soft * v).sum(1, keepdim=True)) / TEMPERATURE
        by_bias = by_logits * (1 - torch.tanh(raw / LOGIT_CAP).square())
    torch.testing.assert_close(net.category_head.bias.grad, by_bias.sum(0))
    assert net.trunk.output.weight.grad.abs().max() > 0


def test_every_weight_learns():
    net = make_generator(MIXED)
    x_num, blocks = net(noise_of(50), generator())
    (x_num.square().sum() + (blocks * torch.arange(7.0)).sum()).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


@torch.no_grad()
def test_masked_numbers_are_zero():
    net, n = make_generator(MIXED), 2_000
    x_num, blocks = net(noise_of(n), generator())
    drawn = net.sample(given_codes(n, {}), generator())[:2]
    for numbers, x_cat in [
        (x_num, codes_of(blocks, MIXED)),
        drawn,
        net.mode(noise_of(n)),
    ]:
        for number, mask in enumerate(MIXED.masks):
            if mask < 0:
                assert (numbers[:, number] != 0).all()
                continue
            missing = x_cat[:, mask] == 1
            assert 0 < missing.sum() < n
            assert (numbers[missing, number] == 0).all()
            assert (numbers[~missing, number] != 0).all()


def test_a_masked_number_gives_no_gradient():
    net = make_generator(MIXED)
    x_num, blocks = net(noise_of(200), generator())
    missing = codes_of(blocks, MIXED)[:, 1] == 1
    x_num[missing, 1].sum().backward()
    assert net.numbers.output.weight.grad.abs().max() == 0


@torch.no_grad()
def test_numbers_know_the_categories_drawn():
    """Numbers of one noise differ by the level that was drawn, as the formula says."""
    net, noise = make_generator(TableLayout(2, (3, 2))), noise_of(200)
    x_num, blocks = net(noise, generator())
    x_cat = codes_of(blocks, net.layout)
    torch.testing.assert_close(x_num, by_hand(net, noise, x_cat)[0])
    other = by_hand(net, noise, (x_cat + 1) % torch.tensor([3, 2]))[0]
    assert (other - x_num).abs().min(0).values.max() > 1e-4


@torch.no_grad()
def test_mode_is_the_likeliest_category_in_its_turn():
    net, noise = make_generator(MIXED), noise_of(100)
    x_num, x_cat = net.mode(noise)
    before = by_hand(net, noise, x_cat)[1]
    for column, size in enumerate(MIXED.cardinalities):
        for shift in range(1, size):
            other = x_cat.clone()
            other[:, column] = (other[:, column] + shift) % size
            assert (by_hand(net, noise, other)[1][column] <= before[column]).all()
    again = net.mode(noise)
    assert torch.equal(x_num, again[0])
    assert torch.equal(x_cat, again[1])


def test_the_generator_decides():
    net, before = make_generator(MIXED), torch.get_rng_state()
    first, again, other = (
        net.sample(given_codes(20, {}), generator(s)) for s in (0, 0, 1)
    )
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    relaxed = [net(noise_of(20), generator(s))[1] for s in (0, 0, 1)]
    assert torch.equal(relaxed[0], relaxed[1])
    assert not torch.equal(relaxed[0], relaxed[2])
    assert torch.equal(torch.get_rng_state(), before)


# ------------------------------------------------------------------- average, encoder


def test_the_average_starts_as_the_generator_and_follows():
    torch.manual_seed(0)
    model = AdversarialModel(MIXED, 3, (8, 6), "silu")
    pairs = list(
        zip(model.ema_generator.parameters(), model.generator.parameters(), strict=True)
    )
    assert all(torch.equal(slow, fast) for slow, fast in pairs)
    assert not any(slow.requires_grad for slow, _ in pairs)
    shaken(model.generator)
    start = [slow.clone() for slow, _ in pairs]
    model.update_ema(0.9)
    model.update_ema(0.5)
    # 0.5 (0.9 start + 0.1 g) + 0.5 g
    for (slow, fast), first in zip(pairs, start, strict=True):
        torch.testing.assert_close(slow, 0.45 * first + 0.55 * fast)


def test_decay_of_the_average():
    """(1 + t) / (10 + t) until the decay that is asked for."""
    assert ema_decay(0, 0.999) == pytest.approx(0.1)
    assert ema_decay(8, 0.999) == pytest.approx(0.5)
    assert ema_decay(8_989, 0.9999) == pytest.approx(8_990 / 8_999)
    assert ema_decay(8_992, 0.999) == 0.999
    assert ema_decay(10**6, 0.999) == 0.999


@pytest.mark.parametrize("layout", LAYOUTS)
def test_encoder_loss_is_its_formula(layout):
    model = make_model(layout)
    x_num, x_cat = random_rows(layout, 25)
    noise = noise_of(30, 5)
    fake = model.generator(noise, generator(5))
    loss = model.encoder_loss(x_num, x_cat, noise, fake)
    with torch.no_grad():
        parts = [
            x_num,
            *(
                F.one_hot(c, s)
                for c, s in zip(x_cat.T, layout.cardinalities, strict=True)
            ),
        ]
        codes = model.encoder(torch.cat(parts, 1).float())
        torch.testing.assert_close(model.encode(x_num, x_cat), codes)
        errors = model.encoder(torch.cat(fake, 1)) - noise
        regression = 0.5 * errors.square().sum(1).mean()
        log_prob = model.ema_generator.log_prob(codes, x_num, x_cat).mean()
    torch.testing.assert_close(loss.detach(), regression - log_prob)
    weighted = model.encoder_loss(x_num, x_cat, noise, fake, noise_weight=0.25)
    expected = 0.25 * regression - log_prob
    torch.testing.assert_close(weighted.detach(), expected)


def test_only_the_encoder_learns_from_its_loss():
    model = make_model(MIXED)
    noise = noise_of(25)
    fake = model.generator(noise, generator())
    model.encoder_loss(*random_rows(MIXED, 25), noise, fake).backward()
    for name, parameter in model.named_parameters():
        if name.startswith("encoder."):
            assert parameter.grad.abs().sum() > 0, name
        else:
            assert parameter.grad is None, name


# ------------------------------------------------------------------- critic


@torch.no_grad()
def test_critic_sees_numbers_and_blocks():
    torch.manual_seed(0)
    layout = TableLayout(2, (3,))
    critic = Critic(layout, (7, 7), piecewise_linear=False)
    x_num, x_cat = random_rows(layout, 20)
    blocks = F.one_hot(x_cat[:, 0], 3).float()
    x = torch.cat([x_num, blocks], 1)
    first, second = critic.scores.hidden
    h = F.leaky_relu(first(x), 0.2)
    h = h + F.leaky_relu(second(h), 0.2)
    torch.testing.assert_close(critic(x_num, blocks), critic.scores.output(h)[:, 0])


@torch.no_grad()
def test_hats_are_features_of_numbers():
    torch.manual_seed(0)
    layout = TableLayout(2, (3,))
    critic = Critic(layout, (7,), piecewise_linear=True)
    assert critic.piecewise_linear
    assert critic.scores.hidden[0].in_features == 2 * (N_PIECES + 2) + 3
    x_num, x_cat = random_rows(layout, 20)
    blocks = F.one_hot(x_cat[:, 0], 3).float()
    x = torch.cat([piecewise_linear_features(x_num).flatten(1), blocks], 1)
    torch.testing.assert_close(critic(x_num, blocks), critic.scores(x)[:, 0])


def test_hats_find_a_narrow_band():
    """Logistic regression on the first layer's features alone tells a band apart."""
    x = torch.randn(2_000, 1, generator=generator())
    inside = ((x > 0.2) & (x < 0.5))[:, 0].numpy()
    areas = {}
    for name, features in [
        ("hats", piecewise_linear_features(x).flatten(1)),
        ("plain", x),
    ]:
        # the best affine function of the features, by least squares
        design = np.column_stack([features.numpy(), np.ones(2_000)])
        fit = design @ np.linalg.lstsq(design, inside.astype(float), rcond=None)[0]
        ranks = stats.rankdata(fit)
        n_in = inside.sum()
        areas[name] = (ranks[inside].mean() - (n_in + 1) / 2) / (2_000 - n_in)
    assert areas["hats"] > 0.95
    assert areas["plain"] < 0.7


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        (TableLayout(MAX_NUMBER_FEATURES // (N_PIECES + 2)), True),
        (TableLayout(MAX_NUMBER_FEATURES // (N_PIECES + 2) + 1), False),
        (TableLayout(0, (4,)), False),
    ],
)
def test_hats_only_where_they_can_be_afforded(layout, expected):
    critic = Critic(layout, (4,), piecewise_linear=True)
    assert critic.piecewise_linear == expected
    rows = torch.zeros(3, layout.n_numeric), torch.zeros(3, layout.n_one_hot)
    assert critic(*rows).shape == (3,)


def test_critic_needs_no_hidden_layer():
    critic = Critic(TableLayout(2), (), piecewise_linear=False)
    x_num = torch.randn(5, 2)
    expected = F.linear(x_num, critic.scores.output.weight)[:, 0]
    torch.testing.assert_close(critic(x_num, torch.zeros(5, 0)), expected)


def test_weights_of_sets_and_ranges():
    """A set weighs what its codes weigh together; numbers by their distance."""
    net, n = make_generator(MIXED), 200
    codes = {0: torch.full((n,), -2)}
    sets = {0: torch.tensor([[True, False, True]])}
    _, x_cat, log_weights = net.sample(EncodedConditions(n, codes, sets), generator())
    assert set(x_cat[:, 0].tolist()) == {0, 2}
    single = [net.sample(given_codes(n, {0: code}), generator())[2] for code in (0, 2)]
    torch.testing.assert_close(log_weights, torch.logaddexp(*single))
    bounds = torch.tensor([-0.1, 0.1]).expand(n, 2)
    conditions = EncodedConditions(n, {}, {}, {0: bounds})
    x_num, _, log_weights = net.sample(conditions, generator())
    x = x_num[:, 0]
    inside = (x >= -0.1) & (x <= 0.1)
    assert inside.any()
    assert (log_weights[inside] == 0).all()
    distance = (x.abs() - 0.1).clamp_min(0.0)
    order = distance[~inside].argsort()
    assert (log_weights[~inside][order].diff() <= 0).all()
    assert (log_weights[~inside] < 0).all()
