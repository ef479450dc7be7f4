"""Criteria against their formulas, autograd against gradients known in closed form."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp
from torch import nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from sklearn_unsup._nn.autoencoders import VariationalAutoencoder, importance_bound
from sklearn_unsup._nn.distributions import TableDistribution, block_indicator, softcap
from sklearn_unsup._nn.gan_losses import (
    MinimaxLoss,
    RelativisticLoss,
    WassersteinLoss,
    squared_gradients,
)
from sklearn_unsup._nn.losses import NegativeELBO, ReconstructionLoss
from sklearn_unsup._table.layout import TableLayout

LOG2 = math.log(2)
NUMBERS, CATEGORIES = TableLayout(3), TableLayout(0, (3, 2))
MIXED = TableLayout(2, (3, 2), masks=(-1, 1))  # the second number has a mask
LAYOUTS = {"numbers": NUMBERS, "categories": CATEGORIES, "mixed": MIXED}
LOSSES = [RelativisticLoss, MinimaxLoss, WassersteinLoss]


@pytest.fixture(params=LAYOUTS)
def layout(request):
    return LAYOUTS[request.param]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed))


def rows_of(layout, n, seed=0):
    noise = generator(seed)
    codes = [torch.randint(k, (n, 1), generator=noise) for k in layout.cardinalities]
    x_cat = torch.cat([torch.zeros(n, 0, dtype=torch.int64), *codes], 1)
    return torch.randn(n, layout.n_numeric, generator=noise), x_cat


# ------------------------------------------------------------------- reconstruction


def expected_reconstruction(layout, raw, x_num, x_cat, bernoulli):
    """Loss of every row, number by number and block by block."""
    total = torch.zeros(len(raw))
    for column, mask in enumerate(layout.masks):
        y, x = raw[:, column], x_num[:, column]
        if bernoulli:
            p = torch.sigmoid(y)
            each = -x * p.log() - (1 - x) * (1 - p).log()
        else:
            each = (y - x) ** 2 / 2
        total += each if mask < 0 else each * (x_cat[:, mask] == 0)
    for column, block in enumerate(layout.category_slices):
        logits = softcap(raw[:, layout.n_numeric :][:, block])
        total += F.cross_entropy(logits, x_cat[:, column], reduction="none")
    return total


@pytest.mark.parametrize("bernoulli", [False, True])
def test_reconstruction_sums_columns_and_averages_rows(layout, bernoulli):
    raw, (x_num, x_cat) = 2 * randn(40, layout.width), rows_of(layout, 40, seed=1)
    if bernoulli:
        x_num = torch.sigmoid(x_num)
    loss = ReconstructionLoss(layout, bernoulli)(raw, (x_num, x_cat))
    expected = expected_reconstruction(layout, raw, x_num, x_cat, bernoulli)
    torch.testing.assert_close(loss, expected.mean())


@pytest.mark.parametrize("bernoulli", [False, True])
def test_reconstruction_is_minus_the_log_likelihood(layout, bernoulli):
    """Up to the constants of normal distributions of unit variance."""
    raw, (x_num, x_cat) = 2 * randn(40, layout.width), rows_of(layout, 40, seed=1)
    if bernoulli:
        x_num = torch.sigmoid(x_num)
    log_scale = None if bernoulli else torch.zeros(layout.n_numeric)
    log_p = TableDistribution(layout, raw, log_scale, block_indicator(layout)).log_prob(
        x_num, x_cat
    )
    n_present = sum(
        1.0 if mask < 0 else (x_cat[:, mask] == 0).float() for mask in layout.masks
    )
    constant = 0.0 if bernoulli else 0.5 * math.log(2 * math.pi) * n_present
    loss = ReconstructionLoss(layout, bernoulli)(raw, (x_num, x_cat))
    torch.testing.assert_close(loss, -(log_p + constant).mean())


@pytest.mark.parametrize("bernoulli", [False, True])
def test_a_missing_number_has_no_loss_and_no_gradient(bernoulli):
    raw = randn(40, MIXED.width).requires_grad_()
    x_num, x_cat = rows_of(MIXED, 40, seed=1)
    x_num = torch.sigmoid(x_num)
    missing = x_cat[:, 1] == 1
    assert 0 < missing.sum() < 40
    criterion = ReconstructionLoss(MIXED, bernoulli)
    loss = criterion(raw, (x_num, x_cat))
    loss.backward()
    assert (raw.grad[missing, 1] == 0).all()
    assert (raw.grad[~missing, 1] != 0).all()
    assert (raw.grad[:, 0] != 0).all()
    other = torch.where(
        missing[:, None] & torch.tensor([False, True]), 1 - x_num, x_num
    )
    torch.testing.assert_close(criterion(raw, (other, x_cat)), loss)


def test_the_loss_does_not_depend_on_the_number_of_rows():
    raw, rows = randn(30, MIXED.width), rows_of(MIXED, 30)
    criterion = ReconstructionLoss(MIXED)
    twice = criterion(torch.cat([raw, raw]), tuple(torch.cat([r, r]) for r in rows))
    torch.testing.assert_close(twice, criterion(raw, rows))


def test_cross_entropy_comes_from_logits():
    """Exact where a sigmoid would have been rounded to 1."""
    raw = torch.tensor([[200.0, -200.0, 0.0]])
    x_num, x_cat = torch.tensor([[0.0, 1.0, 0.3]]), torch.zeros(1, 0).long()
    loss = ReconstructionLoss(NUMBERS, bernoulli=True)(raw, (x_num, x_cat))
    assert loss.item() == pytest.approx(400 + LOG2)


# ------------------------------------------------------------------- evidence bound


class Outputs:
    """What a variational autoencoder gives for some rows."""

    def __init__(self, n=40):
        self.rows = rows_of(MIXED, n, seed=1)
        raw = randn(n, MIXED.width, seed=2)
        self.distribution = TableDistribution(
            MIXED, raw, torch.tensor([0.1, -0.4]), block_indicator(MIXED)
        )
        self.divergence = randn(n, seed=3).square()
        self.row_log_prob = randn(n, seed=4)

    def loss(self, criterion, with_rows=False):
        extra = self.row_log_prob if with_rows else None
        output = self.distribution, self.divergence, extra
        return criterion(output, self.rows).item()

    def terms(self):
        """Mean reconstruction term and divergence."""
        log_p = self.distribution.log_prob(*self.rows).mean().item()
        return log_p, self.divergence.mean().item()


def test_errors_of_a_linear_decoder_are_added_while_training():
    raw, errors = torch.randn(2, 6, NUMBERS.width, generator=generator()).unbind()
    batch = torch.zeros(6, 3), torch.zeros(6, 0, dtype=torch.int64)
    criterion = ReconstructionLoss(NUMBERS, linear_weight=3.0)
    expected = 0.5 * (raw.square() + 3.0 * errors.square()).sum(1).mean()
    torch.testing.assert_close(criterion((raw, errors), batch), expected)
    torch.testing.assert_close(criterion(raw, batch), 0.5 * raw.square().sum(1).mean())


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 4.0])
def test_negative_elbo(beta):
    outputs = Outputs()
    log_p, kl = outputs.terms()
    loss = outputs.loss(NegativeELBO(beta))
    assert loss == pytest.approx(beta * kl - log_p, rel=1e-5)
    # the model of rows beside it adds its own log-likelihood
    both = outputs.loss(NegativeELBO(beta), with_rows=True)
    assert both == pytest.approx(loss - outputs.row_log_prob.mean().item(), rel=1e-5)


def test_the_divergence_is_warmed_up():
    outputs, criterion = Outputs(), NegativeELBO(2.0, n_warmup_steps=4)
    log_p, kl = outputs.terms()
    for step in range(1, 8):
        expected = 2.0 * min(1.0, step / 4) * kl - log_p
        assert outputs.loss(criterion) == pytest.approx(expected, rel=1e-5)
        # held-out rows are judged by the bound itself, and are no step
        full = outputs.loss(criterion.eval())
        assert full == pytest.approx(2.0 * kl - log_p, rel=1e-5)
        criterion.train()


# ------------------------------------------------------------------- importance bound


def linear_model(n_columns=4, n_components=2):
    """A linear Gaussian model whose encoder gives the exact posterior, and log p."""
    layout = TableLayout(n_columns)
    module = VariationalAutoencoder(layout, n_components, (), "silu", False)
    noise = np.random.default_rng(0)
    loadings = noise.normal(size=(n_columns, n_components))
    intercept, scale = noise.normal(size=n_columns), noise.uniform(0.5, 1, n_columns)
    precision = np.eye(n_components) + loadings.T @ (loadings / scale[:, None] ** 2)
    # axes along which the posterior's components are independent
    _, axes = np.linalg.eigh(precision)
    loadings = loadings @ axes
    variance = 1 / np.diag(axes.T @ precision @ axes)
    gain = variance[:, None] * loadings.T / scale**2
    with torch.no_grad():
        module.decoder.set_linear_map(
            torch.from_numpy(loadings).float(), torch.from_numpy(intercept).float()
        )
        module.log_scale.copy_(torch.from_numpy(np.log(scale)))
        module.encoder.set_linear_map(
            torch.from_numpy(np.concatenate([gain, 0 * gain])).float(),
            torch.from_numpy(
                np.concatenate([-gain @ intercept, np.log(variance)])
            ).float(),
        )
    covariance = loadings @ loadings.T + np.diag(scale**2)
    return module, stats.multivariate_normal(intercept, covariance)


@torch.no_grad()
def test_under_the_exact_posterior_every_draw_gives_the_likelihood():
    """p(x | z) p(z) / q(z | x) is p(x), whatever z is."""
    module, law = linear_model()
    x_num, x_cat = 2 * randn(25, 4), torch.zeros(25, 0, dtype=torch.int64)
    for n_draws in (1, 5):
        points = 3 * randn(n_draws, 2, seed=n_draws)
        bound = importance_bound(module, x_num, x_cat, points)
        assert bound.shape == (25,)
        np.testing.assert_allclose(bound, law.logpdf(x_num), rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def curved():
    """One latent dimension, mixed columns, weights at random."""
    torch.manual_seed(0)
    module = VariationalAutoencoder(MIXED, 1, (16,), "tanh", False)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
        # wider than the true posteriors, so that draws cover these
        module.encoder.output.weight *= 0.2
        module.encoder.output.bias.copy_(torch.tensor([0.0, 0.5]))
    return module.eval()


@torch.no_grad()
def log_likelihood(module, x_num, x_cat):
    """log p(x) by the trapezoid rule over the latent dimension."""
    grid = torch.linspace(-8, 8, 2_001)[:, None]
    distribution = module.distribution(module.decode(grid))
    log_prior = stats.norm.logpdf(grid[:, 0].double().numpy())
    each = [
        distribution.log_prob(*(part[i : i + 1].expand(2_001, -1) for part in rows))
        for rows in [(x_num, x_cat)]
        for i in range(len(x_num))
    ]
    joint = torch.stack(each).double().numpy() + log_prior
    return logsumexp(joint, axis=1) + math.log(16 / 2_000)


@pytest.mark.slow
@torch.no_grad()
def test_the_bound_approaches_the_integral(curved):
    rows = rows_of(MIXED, 40)
    exact = log_likelihood(curved, *rows)
    # spread evenly over the normal, which leaves less error than random points
    levels = (torch.arange(4_000) + 0.5) / 4_000
    points = Normal(0.0, 1.0).icdf(levels)[:, None]
    many = importance_bound(curved, *rows, points)
    np.testing.assert_allclose(many, exact, atol=0.02)
    # in the mean a bound from below, the tighter the more draws
    points = randn(2_000, 1)
    means = [
        torch.stack([importance_bound(curved, *rows, p) for p in points.split(k)])
        for k in (1, 10)
    ]
    one, ten = (each.mean().item() for each in means)
    error = means[0].mean(1).std().item() / math.sqrt(2_000)
    assert one + 4.5 * error < ten < exact.mean() + 4.5 * error
    assert exact.mean() - one > 10 * (exact.mean() - ten)


@torch.no_grad()
def test_one_draw_estimates_the_evidence_lower_bound(curved):
    """Its mean over many draws is the loss's, with a divergence in closed form."""
    rows, points = rows_of(MIXED, 40), randn(1_000, 1)
    draws = torch.stack([importance_bound(curved, *rows, p[None]) for p in points])
    mean, log_var = curved.posterior(*rows)
    kl = kl_divergence(Normal(mean, (log_var / 2).exp()), Normal(0.0, 1.0))[:, 0]
    codes = mean.t() + points * (log_var / 2).exp().t()
    log_p = torch.stack(
        [curved.distribution(curved.decode(z[:, None])).log_prob(*rows) for z in codes]
    )
    expected = log_p.mean(0) - kl
    error = (draws - log_p + kl).std(0) / math.sqrt(1_000)
    assert ((draws.mean(0) - expected).abs() < 4.5 * error + 1e-4).all()


# ------------------------------------------------------------------- adversarial


SCORES = randn(2, 60) * 3
FORMULAS = {
    # losses of critic and generator by scores of real and generated rows
    RelativisticLoss: (
        lambda r, f: -np.log(1 / (1 + np.exp(f - r))).mean(),
        lambda r, f: -np.log(1 / (1 + np.exp(r - f))).mean(),
    ),
    MinimaxLoss: (
        lambda r, f: (
            -np.log(1 / (1 + np.exp(-r))).mean()
            - np.log(1 - 1 / (1 + np.exp(-f))).mean()
        ),
        lambda r, f: -np.log(1 / (1 + np.exp(-f))).mean(),
    ),
    WassersteinLoss: (
        lambda r, f: f.mean() - r.mean(),
        lambda r, f: -f.mean(),
    ),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_by_their_formulas(loss):
    real, fake = SCORES
    for method, formula in zip(
        ("critic_loss", "generator_loss"), FORMULAS[loss], strict=True
    ):
        value = getattr(loss(1.0), method)(real, fake).item()
        expected = formula(real.double().numpy(), fake.double().numpy())
        assert value == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (RelativisticLoss, (LOG2, LOG2)),
        (MinimaxLoss, (2 * LOG2, LOG2)),
        (WassersteinLoss, (0.0, 0.0)),
    ],
)
def test_losses_of_a_critic_that_knows_nothing(loss, expected):
    nothing = torch.zeros(5)
    values = (
        loss(1.0).critic_loss(nothing, nothing).item(),
        loss(1.0).generator_loss(nothing, nothing).item(),
    )
    assert values == pytest.approx(expected)


@pytest.mark.parametrize("loss", LOSSES)
def test_critic_and_generator_pull_in_opposite_directions(loss):
    real, fake = (part.clone().requires_grad_() for part in SCORES)
    (critic_fake,) = torch.autograd.grad(loss(1.0).critic_loss(real, fake), fake)
    (generator_fake,) = torch.autograd.grad(loss(1.0).generator_loss(real, fake), fake)
    assert (critic_fake >= 0).all()
    assert (generator_fake <= 0).all()
    assert generator_fake.min() < 0 < critic_fake.max()


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_of_extreme_scores_are_finite(loss):
    for real, fake in ((1e4, -1e4), (-1e4, 1e4)):
        scores = torch.full((3,), real), torch.full((3,), fake)
        assert torch.isfinite(loss(1.0).critic_loss(*scores))
        assert torch.isfinite(loss(1.0).generator_loss(*scores))


# ------------------------------------------------------------------- gradient penalties


class Linear(nn.Module):
    """w . x + v . h of numbers x and one-hot blocks h: its gradient is (w, v)."""

    def __init__(self, w, v):
        super().__init__()
        self.w, self.v = (nn.Parameter(torch.tensor(each)) for each in (w, v))

    def forward(self, x, h):
        return x @ self.w + h @ self.v


class Quadratic(nn.Module):
    """c / 2 (|x|^2 + |h|^2): its gradient is c (x, h)."""

    def __init__(self, c):
        super().__init__()
        self.c = nn.Parameter(torch.tensor(c))

    def forward(self, x, h):
        return self.c / 2 * (x.square().sum(1) + h.square().sum(1))


def norms(rows):
    """Squared norms of rows given in two parts."""
    return sum(part.square().sum(1) for part in rows)


REAL = randn(30, 2), torch.rand(30, 3, generator=generator(1))
FAKE = 3 * randn(30, 2, seed=2), torch.rand(30, 3, generator=generator(3))
W, V = [1.0, -2.0], [0.5, 0.0, 1.5]
SQUARE = 1 + 4 + 0.25 + 2.25  # |w|^2 + |v|^2


def test_squared_gradients():
    rows = tuple(part.clone().requires_grad_() for part in REAL)
    squares = squared_gradients(Linear(W, V)(*rows), rows)
    torch.testing.assert_close(squares, torch.full((30,), SQUARE))
    squares = squared_gradients(Quadratic(3.0)(*rows), rows)
    torch.testing.assert_close(squares, 9 * norms(REAL))


@pytest.mark.parametrize("empty", [0, 1])
def test_squared_gradients_of_tables_of_one_kind(empty):
    parts = list(REAL)
    parts[empty] = parts[empty][:, :0]
    rows = tuple(part.clone().requires_grad_() for part in parts)
    squares = squared_gradients(Quadratic(3.0)(*rows), rows)
    torch.testing.assert_close(squares, 9 * norms(parts))


def test_squared_gradients_can_be_differentiated():
    rows = tuple(part.clone().requires_grad_() for part in REAL)
    critic = Quadratic(3.0)
    squared_gradients(critic(*rows), rows).mean().backward()
    # d/dc of c^2 |x|^2
    torch.testing.assert_close(critic.c.grad, 6 * norms(REAL).mean())


@pytest.mark.parametrize("loss", [RelativisticLoss, MinimaxLoss])
def test_r1_and_r2(loss):
    """Half the weight times the mean squared gradient on either half."""
    gamma, critic = 0.7, Quadratic(0.3)
    *scores, penalty = loss(gamma).scores_and_penalty(critic, REAL, FAKE)
    expected = gamma / 2 * 0.09 * (norms(REAL).mean() + norms(FAKE).mean())
    torch.testing.assert_close(penalty, expected)
    torch.testing.assert_close(scores, [critic(*REAL), critic(*FAKE)])
    penalty.backward()
    torch.testing.assert_close(critic.c.grad, 2 * expected / 0.3)


@pytest.mark.parametrize("loss", [RelativisticLoss, MinimaxLoss])
def test_r1_and_r2_of_a_linear_critic(loss):
    critic = Linear(W, V)
    *_, penalty = loss(0.5).scores_and_penalty(critic, REAL, FAKE)
    assert penalty.item() == pytest.approx(0.5 * SQUARE)
    penalty.backward()
    torch.testing.assert_close(critic.w.grad, torch.tensor(W))
    torch.testing.assert_close(critic.v.grad, torch.tensor(V))


def test_wasserstein_penalty_of_a_linear_critic():
    critic = Linear(W, V)
    *scores, penalty = WassersteinLoss(10.0).scores_and_penalty(
        critic, REAL, FAKE, generator()
    )
    norm = math.sqrt(SQUARE)
    assert penalty.item() == pytest.approx(10 * (norm - 1) ** 2, rel=1e-5)
    torch.testing.assert_close(scores, [critic(*REAL), critic(*FAKE)])
    penalty.backward()
    # d/dw of (|w| - 1)^2 is 2 (|w| - 1) w / |w|
    expected = 20 * (norm - 1) / norm * torch.tensor(W)
    torch.testing.assert_close(critic.w.grad, expected)


def test_wasserstein_penalty_lies_between_pairs():
    """One place per pair for both parts of it, uniform between its ends."""
    critic = Quadratic(1.0)
    loss = WassersteinLoss(10.0)
    *_, penalty = loss.scores_and_penalty(critic, REAL, FAKE, generator(5))
    place = torch.rand(30, 1, generator=generator(5))
    between = [r + place * (f - r) for r, f in zip(REAL, FAKE, strict=True)]
    expected = 10 * (norms(between).sqrt() - 1).square().mean()
    torch.testing.assert_close(penalty, expected)
    # over many draws the place is uniform
    end = torch.zeros(4_000, 1), torch.zeros(4_000, 0)
    other = torch.ones(4_000, 1), torch.zeros(4_000, 0)
    seen = []

    def record(x, h):
        seen.append(x.detach()[:, 0])
        return x.square().sum(1)

    WassersteinLoss(1.0).scores_and_penalty(record, end, other, generator())
    assert stats.kstest(seen[-1].numpy(), stats.uniform.cdf).pvalue > 1e-5


def test_a_flat_critic_has_a_finite_gradient():
    """The derivative of a norm at zero."""
    critic = Linear([0.0, 0.0], [0.0, 0.0, 0.0])
    loss = WassersteinLoss(10.0)
    *_, penalty = loss.scores_and_penalty(critic, REAL, FAKE, generator())
    assert penalty.item() == pytest.approx(10.0, rel=1e-4)
    penalty.backward()
    assert torch.isfinite(critic.w.grad).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_without_weight_there_is_no_penalty(loss):
    critic = Linear(W, V)
    *scores, penalty = loss(0.0).scores_and_penalty(critic, REAL, FAKE)
    assert penalty.item() == 0.0
    *others, _ = loss(1.0).scores_and_penalty(critic, REAL, FAKE, generator())
    torch.testing.assert_close(scores, others)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_generator_learns_nothing_from_a_critic_step(loss):
    """Nor do the rows get gradients of a penalty."""
    fake = tuple(part.clone().requires_grad_() for part in FAKE)
    critic = Quadratic(1.0)
    *_, penalty = loss(1.0).scores_and_penalty(critic, REAL, fake, generator())
    penalty.backward()
    assert all(part.grad is None for part in fake)
