"""Logistic regressions of levels on the columns before them."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional as F

from sklearn_unsup._nn import linear_logits
from sklearn_unsup._nn.autoregressive import REGRESSIONS, AutoregressiveModel
from sklearn_unsup._nn.linear_logits import LinearLogits, Regressions
from sklearn_unsup._table.layout import EncodedConditions, TableLayout

SIZES, STARTS = (3, 4, 2), [0, 3, 7]


def rows_of(n, seed=0):
    """The second column follows the first, the third none."""
    rng = np.random.default_rng(seed)
    first = rng.integers(3, size=n)
    second = np.where(rng.random(n) < 0.9, first + 1, rng.integers(4, size=n))
    codes = np.stack([first, second, rng.integers(2, size=n)], 1)
    return one_hot(torch.from_numpy(codes)), torch.from_numpy(codes)


def one_hot(codes):
    pairs = zip(codes.unbind(1), SIZES, strict=True)
    return torch.cat([F.one_hot(own, size).float() for own, size in pairs], 1)


@pytest.mark.parametrize("penalty", [0.1, 3.0])
def test_solutions_are_those_of_scikit_learn(monkeypatch, penalty):
    monkeypatch.setattr(linear_logits, "MAX_ITER", 200)
    features, codes = rows_of(300)
    problem = Regressions(features, codes, SIZES, STARTS)
    weights, intercepts = problem.solve(problem.start(), torch.tensor(penalty))
    for column in (1, 2):
        n_seen, size = STARTS[column], SIZES[column]
        seen, y = features[:, :n_seen].numpy(), codes[:, column].numpy()
        theirs = LogisticRegression(C=1 / penalty, tol=1e-8, max_iter=1_000)
        expected = theirs.fit(seen, y).predict_log_proba(seen)
        if size == 2:  # scikit-learn's has one logit, whose penalty is half as strong.
            theirs.set_params(C=2 / penalty)
            expected = theirs.fit(seen, y).predict_log_proba(seen)
        logits = features @ weights[column, :size].t() + intercepts[column, :size]
        found = logits.log_softmax(1).numpy()
        np.testing.assert_allclose(found, expected, atol=3e-3, rtol=3e-3)
        assert not weights[column, :, n_seen:].any()


def test_parts_are_solved_apart(monkeypatch):
    """A solution of some rows is that of a table of these rows."""
    monkeypatch.setattr(linear_logits, "MAX_ITER", 200)
    features, codes = rows_of(200)
    is_used = torch.ones(2, 200)
    is_used[0, :50], is_used[1, 50:90] = 0.0, 0.0
    both = Regressions(features, codes, SIZES, STARTS, is_used)
    solution = both.solve(both.start(), torch.tensor(1.0))
    held_out = torch.zeros(3)
    for part, used in enumerate(is_used.bool()):
        alone = Regressions(features[used], codes[used], SIZES, STARTS)
        weights, intercepts = alone.solve(alone.start(), torch.tensor(1.0))
        own = slice(3 * part, 3 * part + 3)
        torch.testing.assert_close(solution[0][own], weights, atol=0.02, rtol=0)
        rest = Regressions(features[~used], codes[~used], SIZES, STARTS)
        logits = rest._log_probs(weights, intercepts).gather(1, rest.codes)
        held_out -= logits.sum((1, 2))
    torch.testing.assert_close(
        both.held_out_loss(*solution), held_out, rtol=0.01, atol=0
    )


def test_only_columns_that_others_tell_about_have_one():
    linear = LinearLogits([range(3)], SIZES, 9)
    intercepts = linear.fit(*rows_of(400), STARTS)
    assert list(intercepts) == [1]
    assert linear.of_level(1)[:, :3].any()
    for column in (0, 2):
        assert not linear.of_level(column).any()


def test_logits_of_runs_are_those_of_their_columns():
    linear = LinearLogits([range(2), range(2, 3)], SIZES, 9)
    for column in range(3):
        linear.of_level(column).normal_()
    features, _ = rows_of(20)
    runs = linear(features)
    assert [tuple(run.shape) for run in runs] == [(2, 4, 20), (1, 2, 20)]
    for column, (run, place) in enumerate([(0, 0), (0, 1), (1, 0)]):
        own = linear.of_column(column, features)
        torch.testing.assert_close(runs[run][place, : SIZES[column]].t(), own)
    with pytest.raises(IndexError):
        linear.of_level(3)


def test_columns_of_too_many_levels_have_none():
    layout = TableLayout(0, (32,) * 30)
    model = AutoregressiveModel(layout, 4, regressions=REGRESSIONS)
    assert model.regressions == ()
    model = AutoregressiveModel(TableLayout(0, (6, 6)), 4, regressions=REGRESSIONS)
    assert model.regressions == ("levels",)


def started(n=120):
    torch.manual_seed(0)
    model = AutoregressiveModel(TableLayout(0, SIZES), 8, regressions=REGRESSIONS)
    _, codes = rows_of(n)
    x_num = torch.zeros(n, 0)
    model.start_at_frequencies(codes)
    model.start_at_dependences(x_num, codes)
    return model.eval(), x_num, codes


def test_a_start_draws_what_levels_say_of_each_other():
    model, _, codes = started()
    noise = torch.Generator().manual_seed(0)
    _, drawn, _ = model.sample(EncodedConditions(20_000), noise)
    expected = (codes[:, 1] == codes[:, 0] + 1).float().mean().item()
    found = (drawn[:, 1] == drawn[:, 0] + 1).float().mean().item()
    assert expected > 0.85  # of independent columns .25
    assert expected - 0.1 < found < expected + 0.02


def test_drawn_levels_are_as_likely_as_the_model_says():
    model, _, _ = started()
    codes = torch.cartesian_prod(*map(torch.arange, SIZES))
    with torch.no_grad():
        expected = model.log_prob(torch.zeros(len(codes), 0), codes).exp()
    assert expected.sum().item() == pytest.approx(1.0, abs=1e-5)
    n = 40_000
    noise = torch.Generator().manual_seed(0)
    _, drawn, _ = model.sample(EncodedConditions(n), noise)
    number = (drawn * torch.tensor([8, 2, 1])).sum(1)
    found = torch.bincount(number, minlength=len(codes)) / n
    np.testing.assert_allclose(found, expected, atol=4 * math.sqrt(0.25 / n))


def test_learning_leaves_the_regressions_as_they_are():
    model, x_num, codes = started()
    before = model.category_heads.linear.of_level(1).clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    first = model.log_prob(x_num, codes).mean()
    (-first).backward()
    optimizer.step()
    assert model.log_prob(x_num, codes).mean() > first
    assert torch.equal(model.category_heads.linear.of_level(1), before)
