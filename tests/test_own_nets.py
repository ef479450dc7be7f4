"""Networks and optimizers of users: made with arguments, seeded, saved, searched."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import EarlyStopping, LRScheduler
from skorch.toy import MLPModule
from torch import nn
from torch.optim import SGD

from sklearn_unsup import AutoencoderTransformer, GANSampler, VAETransformer
from sklearn_unsup._training.gradients import set_gradients
from sklearn_unsup.datasets import make_mixed_table

NAMES = {
    AutoencoderTransformer: ("encoder", "decoder"),
    VAETransformer: ("encoder", "decoder"),
    GANSampler: ("generator", "critic"),
}
pytestmark = [
    pytest.mark.usefixtures("few_calibration_rows"),
    pytest.mark.filterwarnings("ignore:Generated rows cover only"),
    pytest.mark.filterwarnings("ignore:All components have collapsed"),
]


class Net(nn.Module):
    """With what draws random numbers, and what keeps statistics of batches."""

    def __init__(self, n_inputs, n_outputs, width=8, dropout=0.2):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_inputs, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, n_outputs),
        )

    def forward(self, x):
        return self.layers(x)


def linear(n_inputs, n_outputs):
    return nn.Linear(n_inputs, n_outputs)


@pytest.fixture(scope="module")
def table():
    return make_mixed_table(200, random_state=0)[0]


def with_own_nets(estimator):
    """An estimator with a class and with a function, and arguments of the class."""
    first, second = NAMES[estimator]
    networks = {first: Net, second: linear, f"{first}__width": 16}
    return estimator(3, max_iter=2, batch_size=50, random_state=0, **networks)


@pytest.fixture(params=NAMES)
def model(request):
    return with_own_nets(request.param)


SLOW_GAN = [
    # Its fits take longest, and the tests above show what it has of its own.
    pytest.param(model, marks=pytest.mark.slow) if model is GANSampler else model
    for model in NAMES
]


@pytest.fixture(params=SLOW_GAN)
def other_model(request):
    return with_own_nets(request.param)


def own_nets(model):
    """The networks in the place of those of the two parameters."""
    if isinstance(model, GANSampler):
        return model.net_.module_.generator.trunk, model.net_.critic_.scores
    return model.net_.module_.encoder, model.net_.module_.decoder


def test_arguments_are_parameters(model):
    first, _ = NAMES[type(model)]
    assert model.get_params()[f"{first}__width"] == 16
    assert f"{first}__width=16" in repr(model)
    other = clone(model)
    assert other.get_params() == model.get_params()
    other.set_params(**{f"{first}__width": 4, f"{first}__dropout": 0.0, "max_iter": 1})
    assert other.get_params()[f"{first}__dropout"] == 0.0
    assert other.max_iter == 1
    assert model.get_params()[f"{first}__width"] == 16


def test_networks_get_sizes_and_arguments(model, table):
    first, second = own_nets(model.fit(table))
    width = model.codec_.layout_.width
    assert isinstance(first, Net)
    assert first.layers[0].out_features == 16
    sizes = [first.layers[0].in_features, first.layers[-1].out_features]
    if isinstance(model, GANSampler):
        assert sizes == [3, 128]
        assert second.out_features == 1
    else:
        n_outputs = 6 if isinstance(model, VAETransformer) else 3
        assert sizes == [width, n_outputs]
        assert (second.in_features, second.out_features) == (3, width)
    assert model.transform(table).shape == (200, 3)
    rows = model.sample(20, conditions={"plan": "pro"}, random_state=0)
    assert (rows["plan"] == "pro").all()


def test_only_the_own_seed_counts(other_model, table):
    """Also where a network draws from torch's global generator."""
    model = other_model
    torch.manual_seed(1)
    codes = model.fit(table).transform(table)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again = clone(model).fit(table)
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(again.transform(table), codes)
    other = clone(model).set_params(random_state=1).fit(table)
    assert np.abs(other.transform(table) - codes).max() > 0.01


def test_a_code_is_the_same_in_any_company(model, table):
    codes = model.fit(table).transform(table)
    np.testing.assert_array_equal(model.transform(table[7:12]), codes[7:12])


def test_saved_and_opened(other_model, table):
    model = other_model
    model.fit(table)
    other = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(other.transform(table), model.transform(table))
    drawn = model.sample(10, random_state=0)
    assert other.sample(10, random_state=0).equals(drawn)
    model.set_params(warm_start=True).fit(table)
    other.set_params(warm_start=True).fit(table)
    np.testing.assert_array_equal(other.transform(table), model.transform(table))


def test_warm_start_goes_on(other_model, table):
    model = other_model
    first, _ = NAMES[type(model)]
    model.set_params(warm_start=True).fit(table)
    network = own_nets(model)[0]
    before = network.layers[0].weight.detach().clone()
    model.fit(table)
    assert own_nets(model)[0] is network
    assert not torch.equal(network.layers[0].weight, before)
    model.set_params(**{f"{first}__width": 8})
    with pytest.raises(ValueError, match=rf"{first}__width=8 \(it was 16\)"):
        model.fit(table)
    model.set_params(**{f"{first}__width": 16, first: linear})
    with pytest.raises(ValueError, match=f"{first}=<function linear"):
        model.fit(table)


def test_streams(model, table):
    model.partial_fit(table)
    codes = model.transform(table)
    assert np.abs(model.partial_fit(table).transform(table) - codes).max() > 0


def test_a_module_is_copied_with_its_weights(table):
    encoder = nn.Linear(17, 2)
    before = encoder.weight.detach().clone()
    model = AutoencoderTransformer(2, encoder=encoder, max_iter=1, random_state=0)
    model.set_params(learning_rate_init=1e-9).fit(table)
    trained = model.net_.module_.encoder
    torch.testing.assert_close(trained.weight, before, atol=1e-6, rtol=0)
    model.set_params(learning_rate_init=0.1).fit(table)
    assert (model.net_.module_.encoder.weight - before).abs().max() > 1e-3
    assert torch.equal(encoder.weight, before)


def test_statistics_of_batches_reach_the_average_of_the_generator(table):
    model = GANSampler(3, generator=Net, max_iter=2, random_state=0).fit(table)
    adversarial = model.net_.module_
    mean = adversarial.ema_generator.trunk.layers[1].running_mean
    assert mean.abs().max() > 0
    assert torch.equal(mean, adversarial.generator.trunk.layers[1].running_mean)


@pytest.mark.parametrize(
    ("cls", "parameter"),
    [(cls, name) for cls, names in NAMES.items() for name in names],
)
def test_an_own_network_beside_convolutions(cls, parameter):
    pixels = load_digits().data[:60] / 16
    model = cls(
        2, image_shape=(8, 8), max_iter=1, random_state=0, **{parameter: linear}
    )
    model.fit(pixels)
    assert any(isinstance(net, nn.Linear) for net in own_nets(model))
    assert model.transform(pixels).shape == (60, 2)
    assert model.traverse(0).shape == (9, 64)
    assert model.sample(5, random_state=0).shape == (5, 64)


# ------------------------------------------------------------------------- searches


def test_a_search_over_widths(table):
    numbers = table[["weight", "visits"]]
    model = AutoencoderTransformer(1, encoder=Net, max_iter=2, random_state=0)
    grid = {"encoder__width": [1, 16], "decoder": [None, linear]}
    search = GridSearchCV(model, grid, cv=2).fit(numbers)
    assert len(set(search.cv_results_["mean_test_score"])) == 4
    best = search.best_estimator_
    assert best.encoder__width == search.best_params_["encoder__width"]
    assert own_nets(best)[0].layers[0].out_features == best.encoder__width


@pytest.mark.slow
def test_a_search_in_two_processes():
    """With a module from elsewhere, which has other names for its sizes."""
    X = np.random.default_rng(0).normal(size=(60, 4))
    model = AutoencoderTransformer(
        2,
        encoder=MLPModule,
        encoder__input_units=4,
        encoder__output_units=2,
        encoder__output_nonlin=nn.Identity(),
        max_iter=1,
        batch_size=16,  # also in the other processes, to which no fixture reaches
        random_state=0,
    )
    grid = {"encoder__hidden_units": [2, 5], "encoder__dropout": [0.0, 0.5]}
    search = GridSearchCV(model, grid, cv=2, n_jobs=2).fit(X)
    scores = search.cv_results_["mean_test_score"]
    assert len(set(scores)) == 4
    best = search.best_estimator_
    chosen = best.net_.module_.encoder.state_dict()["sequential.0.weight"]
    assert len(chosen) == search.best_params_["encoder__hidden_units"]
    alone = GridSearchCV(model, grid, cv=2).fit(X)
    np.testing.assert_array_equal(alone.cv_results_["mean_test_score"], scores)


def test_a_search_over_callbacks():
    X = np.random.default_rng(0).normal(size=(60, 4))
    model = AutoencoderTransformer(2, encoder=Net, max_iter=3, random_state=0)
    stop = EarlyStopping(monitor="train_loss", patience=1, threshold=1e9)
    grid = {"callbacks": [None, [stop]]}
    search = GridSearchCV(model, grid, cv=2).fit(X)
    epochs = [
        clone(model).set_params(**params).fit(X).n_iter_
        for params in search.cv_results_["params"]
    ]
    assert epochs == [3, 2]


# ------------------------------------------------------------------------- optimizers


@pytest.fixture(params=SLOW_GAN)
def momentum_model(request):
    return request.param(
        2,
        optimizer=SGD,
        optimizer__momentum=0.5,
        learning_rate_init=1e-3,
        max_iter=2,
        random_state=0,
    )


def test_a_step_of_another_optimizer():
    """The first step of gradient descent is as long as its step size says."""
    X = np.random.default_rng(0).normal(size=(60, 4))

    def weights(**parameters):
        model = AutoencoderTransformer(
            2, encoder=linear, max_iter=1, batch_size=60, random_state=0, **parameters
        )
        encoder = model.fit(X).net_.module_.encoder
        return encoder.weight.detach().numpy()

    start = weights(optimizer=SGD, learning_rate_init=1e-30)
    short = weights(optimizer=SGD, learning_rate_init=1e-2) - start
    long = weights(optimizer=SGD, learning_rate_init=2e-2) - start
    np.testing.assert_allclose(long, 2.0 * short, atol=1e-6)
    assert np.abs(short).max() > 1e-4
    # Nesterov's first step adds what the momentum says of the second one.
    longer = weights(
        optimizer=SGD,
        optimizer__momentum=0.5,
        optimizer__nesterov=True,
        learning_rate_init=1e-2,
    )
    np.testing.assert_allclose(longer - start, 1.5 * short, atol=1e-6)


def test_an_optimizer_is_cloned_saved_and_goes_on(momentum_model, table):
    model = clone(momentum_model).set_params(warm_start=True).fit(table)
    optimizers = model.net_.built_optimizers
    assert len(optimizers) == 1 + isinstance(model, GANSampler)
    for optimizer in optimizers:
        assert type(optimizer) is SGD
        # Ours decays weights apart from their gradients, for which defaults are made.
        options = {(g["momentum"], g["weight_decay"]) for g in optimizer.param_groups}
        assert options == {(0.5, 0)}
        assert all("momentum_buffer" in state for state in optimizer.state.values())
    other = pickle.loads(pickle.dumps(model))
    for estimator in (model, other):
        estimator.fit(table)
    np.testing.assert_array_equal(other.transform(table), model.transform(table))
    with pytest.raises(ValueError, match=r"optimizer__momentum=0.9 \(it was 0.5\)"):
        model.set_params(optimizer__momentum=0.9).fit(table)


class Counting(SGD):
    """Its state is there before the first step, as that of some is."""

    def __init__(self, params, lr):
        super().__init__(params, lr)
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter]["steps"] = torch.zeros(())

    def step(self, closure=None):
        for state in self.state.values():
            state["steps"] += 1
        super().step(closure)


def test_an_optimizer_starts_anew_after_steps_that_were_too_long(table):
    model = AutoencoderTransformer(
        2, optimizer=Counting, max_iter=2, warm_start=True, random_state=0
    )
    model.fit(table).set_params(learning_rate_init=1e30)
    with pytest.raises(FloatingPointError, match="learning_rate_init"):
        model.fit(table)
    states = list(model.net_.optimizer_.state.values())
    assert len(states) == len(list(model.net_.module_.parameters()))
    assert not any(state["steps"] for state in states)


def test_few_rows_make_no_trial_with_another_optimizer(monkeypatch):
    """The steps of a trial are ten times as long, which suits AdamW alone."""
    monkeypatch.setattr(AutoencoderTransformer, "_default_steps", lambda *_: 20)
    X = np.random.default_rng(0).normal(size=(60, 4))
    for optimizer in (None, SGD):
        model = AutoencoderTransformer(2, optimizer=optimizer, random_state=0).fit(X)
        assert (model.validation_scores_ is None) == (optimizer is SGD)


def test_a_search_over_optimizers():
    X = np.random.default_rng(0).normal(size=(60, 4))
    model = AutoencoderTransformer(2, encoder=Net, max_iter=2, random_state=0)
    grid = [
        {"optimizer": [None]},
        {"optimizer": [SGD], "optimizer__momentum": [0.0, 0.9]},
        {"optimizer": [torch.optim.Adam], "optimizer__betas": [(0.5, 0.9)]},
    ]
    search = GridSearchCV(model, grid, cv=2).fit(X)
    assert len(set(search.cv_results_["mean_test_score"])) == 4
    for params in search.cv_results_["params"]:
        made = clone(model).set_params(**params).fit(X).net_.optimizer_
        expected = {
            name.removeprefix("optimizer__"): value
            for name, value in params.items()
            if name != "optimizer"
        }
        assert expected.items() <= made.param_groups[0].items()


def test_a_search_over_schedules():
    X = np.random.default_rng(0).normal(size=(60, 4))
    model = AutoencoderTransformer(
        2,
        encoder=Net,
        max_iter=3,
        batch_size=16,
        learning_rate_init=1e-2,
        random_state=0,
    )
    halving = LRScheduler(policy="StepLR", step_size=1, gamma=0.5)
    search = GridSearchCV(model, {"callbacks": [None, [halving]]}, cv=2).fit(X)
    assert len(set(search.cv_results_["mean_test_score"])) == 2
    rates = [
        clone(model).set_params(**params).fit(X).net_.optimizer_.param_groups[0]["lr"]
        for params in search.cv_results_["params"]
    ]
    assert rates[1] == pytest.approx(1e-2 / 8)
    assert rates[0] < rates[1]


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        (
            {"optimizer": torch.optim.LBFGS},
            ValueError,
            "optimizer=LBFGS evaluates the loss of one batch several times",
        ),
        (
            {"optimizer": nn.Linear},
            TypeError,
            "optimizer=Linear was called with .* unexpected keyword argument 'lr'",
        ),
        (
            {"optimizer": lambda groups, lr: groups},
            TypeError,
            "must be or return a torch.optim.Optimizer, .* got list",
        ),
        (
            {"optimizer": SGD, "optimizer__momentun": 0.9},
            TypeError,
            "lr, optimizer__momentun, and raised: .*argument 'momentun'",
        ),
        (
            {"optimizer": SGD, "optimizer__momentum": -1.0},
            ValueError,
            "raised: Invalid momentum value: -1",
        ),
        (
            {"optimizer": SGD, "optimizer__lr": 0.1},
            ValueError,
            "optimizer__lr cannot be set: the step size is learning_rate_init",
        ),
        (
            {"optimizer__momentum": 0.9},
            ValueError,
            "optimizer__momentum needs an optimizer to belong to: pass optimizer, such",
        ),
        ({"optimizer": "sgd"}, ValueError, "'optimizer' parameter .* must be a call"),
    ],
)
@pytest.mark.parametrize("cls", NAMES)
def test_mistakes_in_an_optimizer(cls, table, parameters, error, message):
    model = cls(2, max_iter=1, **parameters)
    with pytest.raises(error, match=message):
        model.fit(table)
    assert not hasattr(model, "net_")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("iterator_train__shuffle", "'iterator_train__shuffle', .* a slice of them"),
        ("iterator_valid", "rows is batch_size"),
        ("callbacks__stop__patience", r"search over lists, such as {'callbacks': \[\["),
        ("train_split", "early_stopping and validation_fraction"),
        ("module__width", "arguments of an own network .* begin with encoder__, dec"),
        ("lr", "learning_rate_init"),
        ("max_epochs", "max_iter"),
        ("criterion__beta", "such as loss"),
    ],
)
def test_parameters_of_skorch_that_are_others_here(name, message):
    with pytest.raises(TypeError, match=message):
        VAETransformer(**{name: 3})
    search = GridSearchCV(VAETransformer(max_iter=1), {name: [3]}, cv=2)
    with pytest.raises(TypeError, match=message):
        search.fit(np.zeros((4, 2)))


# --------------------------------------------------------------------------- mistakes


class NoTensor(nn.Module):
    def forward(self, x):
        return x, x


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        (
            {"encoder": nn.Linear(3, 2)},
            ValueError,
            r"encoder=Linear\(...\) failed on rows of shape \(2, 17\): .*"
            r"must map rows of shape \(n, 17\) to \(n, 2\)",
        ),
        (
            {"encoder": nn.Linear(17, 3)},
            ValueError,
            r"into \(2, 3\). It must map rows of shape \(n, 17\) to \(n, 2\)",
        ),
        (
            {"decoder": nn.Flatten},
            ValueError,
            r"decoder=Flatten turned rows of shape \(2, 2\) into \(2, 2\)",
        ),
        ({"decoder": NoTensor}, TypeError, "must return one tensor, got tuple"),
        ({"encoder": lambda: 1}, TypeError, "must be or return a .*Module, got int"),
        (
            {"encoder": nn.Linear},
            TypeError,
            "encoder=Linear was called with no arguments and raised: .*missing 2 "
            "required.* named n_inputs and n_outputs",
        ),
        (
            {"encoder": Net, "encoder__widht": 3},
            ValueError,
            "encoder__widht cannot be set: encoder=Net takes n_inputs, n_outputs, wid",
        ),
        (
            {"encoder": nn.Linear(17, 2), "encoder__width": 3},
            ValueError,
            "encoder__width cannot be set, because .* pass its class",
        ),
        ({"encoder__width": 3}, ValueError, "needs a network to belong to: pass enc"),
        ({"encoder": "mlp"}, ValueError, "'encoder' parameter .* must be a callable"),
    ],
)
def test_mistakes_are_found_before_training(table, parameters, error, message):
    model = AutoencoderTransformer(2, max_iter=1, **parameters)
    with pytest.raises(error, match=message):
        model.fit(table)
    assert not hasattr(model, "net_")


def test_parameters_that_do_not_exist():
    with pytest.raises(TypeError, match="no parameter 'n_component'.*did you mean"):
        AutoencoderTransformer(n_component=3)
    with pytest.raises(TypeError, match="begin with generator__, critic__ or opt"):
        GANSampler(encoder__width=3)
    with pytest.raises(ValueError, match="Invalid parameter 'widths'"):
        VAETransformer().set_params(widths=3)


def test_terms_of_one_sum_have_gradients_of_their_own():
    """Which clipping, in place, would otherwise divide twice."""
    module = nn.Module()
    module.first, module.second = (nn.Parameter(torch.ones(3)) for _ in range(2))
    set_gradients((module.first + module.second).square().sum(), module.parameters())
    assert module.first.grad.data_ptr() != module.second.grad.data_ptr()
    assert torch.equal(module.first.grad, module.second.grad)
