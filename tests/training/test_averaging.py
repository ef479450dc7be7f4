"""Averages of the weights of a stream."""

import copy
import pickle

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from sklearn_unsup import AutoencoderTransformer, GANSampler, VAETransformer
from sklearn_unsup._training.averaging import (
    LARGE_STEP_SHARPNESS,
    SHARPNESS,
    WeightAverage,
)
from sklearn_unsup.datasets import make_mixed_table

X, _ = make_mixed_table(400, random_state=0)
CHUNKS = [X[:150], X[150:250], X[250:]]
KINDS = {"autoencoder": AutoencoderTransformer, "VAE": VAETransformer}


def stream(name, chunks=CHUNKS, **parameters):
    model = KINDS[name](
        4, hidden_layer_sizes=(16,), batch_size=32, random_state=0, **parameters
    )
    for chunk in chunks:
        model.partial_fit(chunk)
    return model


@pytest.mark.parametrize("sharpness", [SHARPNESS, LARGE_STEP_SHARPNESS])
def test_the_weights_of_the_average(sharpness):
    """Step k of n counts as k ** sharpness; after the first step it is all there is."""
    weight = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    average, n = WeightAverage([weight]), 2_000
    assert average.sharpness == SHARPNESS
    average.sharpness = sharpness
    values = np.random.default_rng(0).normal(size=(n, 2))
    for step, value in enumerate(values):
        with torch.no_grad():
            weight.copy_(torch.from_numpy(value))
        average.update()
        if step == 0:
            assert torch.equal(average.average[0], weight)
    shares = (np.arange(1, n + 1) / n) ** sharpness
    expected = shares @ values / shares.sum()
    np.testing.assert_allclose(average.average[0].numpy(), expected, atol=0.01)


class Trace(Callback):
    """The weights after every step."""

    def __init__(self):
        self.seen = []

    def on_batch_end(self, net, training=False, **kwargs):
        if training:
            self.seen.append([p.detach().clone() for p in net.module_.parameters()])


class Spoil(Callback):
    """Makes the weights useless after some steps."""

    def on_batch_end(self, net, training=False, **kwargs):
        if training and len(net.history[-1]["batches"]) == 2:
            with torch.no_grad():
                next(net.module_.parameters()).fill_(torch.nan)


@pytest.mark.parametrize("name", KINDS)
def test_a_stream_is_used_with_the_average_and_trained_without(name):
    """It goes on from the latest weights: looking at it changes nothing."""
    trace = Trace()
    model = stream(name, callbacks=[trace])
    parameters = [p.detach().clone() for p in model.net_.module_.parameters()]
    average = WeightAverage(copy.deepcopy(parameters))
    for seen in trace.seen:
        for own, tensor in zip(average.parameters, seen, strict=True):
            own.copy_(tensor)
        average.update()
    assert len(trace.seen) == model.net_.step_
    for mine, expected, latest in zip(
        parameters, average.average, trace.seen[-1], strict=True
    ):
        torch.testing.assert_close(mine, expected)
        assert mine.numel() < 2 or not torch.equal(mine, latest)
    first_steps = model.net_.step_
    model.partial_fit(CHUNKS[0])
    for before, after in zip(
        trace.seen[first_steps - 1], trace.seen[first_steps], strict=True
    ):
        # one step of AdamW moves no weight by much more than the step size
        assert (after - before).abs().max() < 3 * model.net_.lr


@pytest.mark.parametrize("name", KINDS)
def test_a_saved_stream_goes_on_alike(name):
    model = stream(name, CHUNKS[:2])
    other = pickle.loads(pickle.dumps(model))
    for each in (model, other):
        each.partial_fit(CHUNKS[2])
    assert other.net_.average_.n_steps == model.net_.average_.n_steps
    np.testing.assert_allclose(other.transform(X), model.transform(X), 1e-5, 1e-6)


def test_a_fit_after_a_stream_has_no_average():
    """It goes on from the weights that the stream was used with."""
    trace = Trace()
    model = stream("VAE")
    before = [p.detach().clone() for p in model.net_.module_.parameters()]
    model.set_params(callbacks=[trace], warm_start=True, max_iter=1).fit(X)
    assert model.net_.average_ is None
    for own, tensor in zip(before, trace.seen[0], strict=True):
        assert (tensor - own).abs().max() < 3 * model.net_.lr
    for own, tensor in zip(
        model.net_.module_.parameters(), trace.seen[-1], strict=True
    ):
        assert torch.equal(own, tensor)


@pytest.mark.parametrize("n_chunks", [0, 1, 3])
def test_a_bad_chunk_leaves_the_stream_as_it_was(n_chunks):
    """Average and latest weights; of a first one the weights that it began with."""
    model = stream("VAE", CHUNKS[:n_chunks])
    if n_chunks:
        before = copy.deepcopy(model)
    model.set_params(callbacks=[Spoil()])
    if n_chunks:
        model.net_.callbacks = [Spoil()]
        model.net_.initialize_callbacks()
    with pytest.raises(FloatingPointError):
        model.partial_fit(CHUNKS[0])
    assert np.isfinite(model.transform(X)).all()
    if not n_chunks:
        assert model.net_.average_ is None
        return
    assert model.net_.average_.n_steps == before.net_.average_.n_steps
    for mine, expected in (
        (model.net_.module_.parameters(), before.net_.module_.parameters()),
        (model.net_.average_.latest, before.net_.average_.latest),
    ):
        for one, other in zip(mine, expected, strict=True):
            assert torch.equal(one, other)


@pytest.mark.filterwarnings("ignore:Generated rows cover only")
def test_a_game_has_an_average_of_its_own():
    model = GANSampler(2, hidden_layer_sizes=(8,), random_state=0).partial_fit(X)
    assert model.net_.average_ is None


class PickleNet(Callback):
    """Saves the whole net at the end of an epoch, in the middle of training."""

    def on_epoch_end(self, net, **kwargs):
        state = net.__getstate__()  # without its callbacks, this one among them
        other = type(net).__new__(type(net))
        other.__setstate__(
            pickle.loads(pickle.dumps({**state, "callbacks": None, "callbacks_": []}))
        )
        self.average = other.average_


def test_a_net_saved_amid_a_stream_opens():
    """It has the latest weights, and an average of its own from there on."""
    saved = PickleNet()
    stream("VAE", callbacks=[saved])
    assert saved.average is None


@pytest.mark.slow
def test_a_stream_begins_with_the_weights_that_a_callback_loads(tmp_path):
    from skorch.callbacks import Checkpoint, LoadInitState

    checkpoint = Checkpoint(monitor=None, dirname=str(tmp_path))
    # Frequent values of a number are features of a whole table, and not of a stream.
    is_frequent = X.select_dtypes("number").apply(
        lambda column: column.value_counts(normalize=True).max() > 0.05
    )
    table = X.drop(columns=is_frequent[is_frequent].index)
    fitted = VAETransformer(
        4, hidden_layer_sizes=(16,), max_iter=30, callbacks=[checkpoint], random_state=0
    ).fit(table)
    model = stream("VAE", [table], callbacks=[LoadInitState(checkpoint)])
    assert model.n_iter_ == 31
    assert model.net_.average_.n_steps > 0
    assert abs(model.score(table) - fitted.score(table)) < 0.5
    assert stream("VAE", [table]).score(table) < fitted.score(table) - 2


def test_an_average_that_is_taken_up_again_keeps_its_reach():
    """Step 91 weighs what it weighs in an average that has seen the 90 before it."""
    weight = torch.nn.Parameter(torch.zeros(1))
    average = WeightAverage([weight], n_steps=90)
    weight.data.fill_(1.0)
    average.update()
    average.use_average()
    assert weight.item() == pytest.approx((SHARPNESS + 1) / (SHARPNESS + 91))
