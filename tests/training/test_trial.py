"""Trial fits: what they hold out, when they end and what they conclude."""

import copy

import numpy as np
import pytest
import torch

from sklearn_unsup import AutoencoderTransformer
from sklearn_unsup._encoding import upload
from sklearn_unsup._nn.distributions import softcap
from sklearn_unsup._training import trial
from sklearn_unsup._training.trial import (
    Trial,
    confirm_trial,
    exceeds_chance,
    is_doubtful,
    run_trial,
    squared_errors,
)

# Losses of held-out rows after each epoch, and what they tell.
CURVES = [
    ([3.0, 2.0, 1.0, 1.5, 1.2, 0.5], 5, 2, 3),
    ([3.0, 2.0, 1.0, 1.5, 0.5, 0.7], 6, 2, 5),
    ([3.0, 2.0, 1.0, 0.5, 0.7, 0.6], 3, 2, 3),
    ([1.0, 1.1, 1.2, 0.5], 4, 3, 4),
    ([1.0, 1.1, 1.2, 0.5], 4, 2, 1),
    ([1.0, 0.9, float("nan"), 0.5], 4, 2, 2),
    ([float("nan"), 0.9, 0.8], 3, 2, 0),
]


@pytest.fixture(scope="module")
def fitted_once():
    """An autoencoder after a trial, and its training rows."""
    x = np.random.default_rng(0).normal(size=(60, 1))
    X = np.hstack([x, x**2, np.ones((60, 1))]) + [0, 0, 1]
    X[::3, 1] = np.nan
    model = AutoencoderTransformer(1, latent_density="normal", random_state=0)
    monkeypatched = pytest.MonkeyPatch()
    monkeypatched.setattr(trial, "exceeds_chance", lambda gains: True)
    model.fit(X)
    monkeypatched.undo()
    return model, upload(model.codec_, X, "cpu")


@pytest.fixture
def fitted(fitted_once):
    """A copy for each test, as training goes on in it."""
    return copy.deepcopy(fitted_once)


@pytest.mark.parametrize(("losses", "max_epochs", "patience", "n_epochs"), CURVES)
def test_the_best_epoch(fitted, monkeypatch, losses, max_epochs, patience, n_epochs):
    model, dataset = fitted
    remaining = iter(losses)
    step = {"loss": None}
    monkeypatch.setattr(
        type(model.net_),
        "validation_step",
        lambda *_: {**step, "loss": torch.tensor(next(remaining))},
    )
    model.net_.set_params(full_batch=True)
    found, gains = run_trial(model.net_, dataset, dataset, max_epochs, patience)
    assert found.n_epochs == n_epochs
    np.testing.assert_allclose(found.scores, -np.array(losses[:n_epochs]))
    assert (gains is None) == (n_epochs == 0)


def test_gains_beyond_chance():
    """A mean of 1.5 standard errors is the least that counts."""
    gains = torch.tensor([-1.0, 1.0] * 50)
    error = gains.std() / 10
    assert not exceeds_chance(gains)
    assert not exceeds_chance(gains + 1.4 * error)
    assert exceeds_chance(gains + 1.6 * error)
    assert not exceeds_chance(gains[1:2])


def test_doubtful_gains():
    """From 1.5 to 2 standard errors they might be chance."""
    gains = torch.tensor([-1.0, 1.0] * 50)
    error = gains.std() / 10
    assert is_doubtful(gains + 1.9 * error)
    assert not is_doubtful(gains + 2.1 * error)


@pytest.mark.parametrize(("gain", "is_confirmed"), [(9.0, True), (-9.0, False)])
def test_doubtful_gains_are_confirmed_on_other_rows(fitted, gain, is_confirmed):
    """Those of the trial and those of the other rows count alike."""
    model, dataset = fitted
    net = copy.deepcopy(model.net_)
    first = Trial(1, [-1.0], has_gained=True)
    gains = gain + torch.randn(60, generator=torch.Generator().manual_seed(0))
    found = confirm_trial(net, dataset, dataset, first, gains)
    assert found == Trial(1, [-1.0], is_confirmed)
    assert net.step_ - net.first_step_ == 10


def test_squared_errors_are_those_of_the_table(fitted):
    """A missing number counts nothing, its mask does."""
    model, dataset = fitted
    module = model.net_.module_
    x_num, x_cat = batch = dataset.take(slice(None))
    x = module.table(*batch)
    with torch.no_grad():
        z = module.encode(*batch)
        raw = module.decode(z)
        expected = {True: module.linear_decoder(z), False: raw.clone()}
    n = module.layout.n_numeric
    expected[False][:, n:] = softcap(raw[:, n:]).softmax(1)
    for linear, mean in expected.items():
        squares = (mean - x).square()
        squares[::3, 1] = 0.0
        actual = squared_errors(module, batch, linear)
        torch.testing.assert_close(actual, squares.sum(1), atol=1e-4, rtol=1e-4)
