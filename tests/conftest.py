"""Fixtures that every test file may use."""

import gc

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import settings

from sklearn_unsup._fitting import NetFitting
from sklearn_unsup._sampling import sampler
from sklearn_unsup.metrics import _c2st

# Asked once, here: a machine with a broken driver warns, and inside a test a warning
# is an error.
HAS_CUDA = torch.cuda.is_available()


# Few examples find most mistakes at once; `make test-all` asks for the thorough profile
# by --hypothesis-profile, for those that few examples miss.
settings.register_profile("quick", max_examples=5, deadline=None, derandomize=True)
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=30)
settings.load_profile("quick")


def pytest_configure(config):
    # The networks here are too small to gain from a second thread, and on shared cores
    # two threads run slower than one.
    torch.set_num_threads(1)
    # Torch says so once in a process, on a GPU where the home folder is not ours.
    config.addinivalue_line(
        "filterwarnings", "ignore:Specified kernel cache directory could not"
    )
    # Hypothesis looks for what holds its generator, and does not find what
    # `pytest_collection` below has frozen.
    config.addinivalue_line(
        "filterwarnings", "ignore:It looks like `register_random` was passed"
    )


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Tests and what they import stay: no search for garbage looks through them again.

    Each search would take half a second, and there are many in a run.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


# Examples in docstrings that fit networks or boosting as users do, for seconds.
SLOW_EXAMPLES = {
    "GANSampler",
    "GenerativeImputer",
    "GenerativeOutlierDetector",
    "GenerativeOverSampler",
    "SynthesisReport",
    "TableComparisonDisplay",
    "TraversalDisplay",
    "c2st_score",
    "synthesis_report",
    "utility_scores",
}


@pytest.hookimpl(tryfirst=True)  # before those that `-m` leaves out are left out
def pytest_collection_modifyitems(items):
    for item in items:
        is_example = isinstance(item, pytest.DoctestItem)
        if is_example and item.name.rpartition(".")[2] in SLOW_EXAMPLES:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _seed_global_generators():
    """A test that leans on a global generator by mistake at least repeats itself."""
    np.random.seed(0)  # noqa: NPY002  (the global generator is the one meant)
    # `torch.manual_seed` would also queue a seed for each device, with a traceback.
    torch.default_generator.manual_seed(0)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(0)


@pytest.fixture(scope="session", autouse=True)
def few_calibration_rows():
    """Fits of estimators in half the time.

    Each fit draws 20,000 rows to calibrate the marginals, which in a test takes longer
    than the training. Fewer rows calibrate a little worse and change nothing else.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampler, "CALIBRATION_ROWS", 1_000)
        yield


# Fits of at most so many epochs are there for what holds without learning.
MAX_SHORT_FIT, SHORT_FIT_BATCH = 5, 64


@pytest.fixture(scope="session", autouse=True)
def few_steps_per_epoch():
    """Short fits in a fraction of the time.

    By default a few hundred rows are cut into batches of 16, so that three epochs of
    them take 60 steps. Batches that a test gives itself, and fits of more epochs, are
    left alone. So are fits in processes that a test starts: who compares with those
    gives `batch_size`.
    """
    batch_size = NetFitting._batch_size

    def larger(self, n_rows):
        size = batch_size(self, n_rows)
        if self.batch_size != "auto" or self.max_iter == "auto":
            return size
        is_short = self.max_iter <= MAX_SHORT_FIT
        return min(n_rows, max(size, SHORT_FIT_BATCH)) if is_short else size

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NetFitting, "_batch_size", larger)
        yield batch_size


@pytest.fixture(scope="module")
def default_batches(few_steps_per_epoch):
    """Fits as users get them, for pages that say what is printed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NetFitting, "_batch_size", few_steps_per_epoch)
        yield


@pytest.fixture(scope="module")
def all_calibration_rows():
    """Fits as users get them, for tests that judge what is drawn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampler, "CALIBRATION_ROWS", 20_000)
        yield


@pytest.fixture
def few_trees(monkeypatch):
    """Reports in a fifth of the time, for what holds of any number of trees."""
    monkeypatch.setattr(_c2st, "N_TREES", 20)


@pytest.fixture(
    params=[
        "cpu",
        pytest.param(
            "cuda",
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(not HAS_CUDA, reason="no CUDA device here"),
            ],
        ),
    ]
)
def device(request):
    """Each device that an estimator accepts and this machine has."""
    return request.param


@pytest.fixture
def pyplot():
    """matplotlib.pyplot without a screen; closes the test's figures."""
    matplotlib = pytest.importorskip("matplotlib", reason="needs the extra plot")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.close("all")
    yield pyplot
    pyplot.close("all")


def _with_holes(values, rng, rate):
    """Copy of a Series in which a fraction `rate` of the values is missing."""
    return values.mask(pd.Series(rng.random(len(values)) < rate))


@pytest.fixture
def mixed_table():
    """200 rows with each kind of column that a user may bring, in odd corners too."""
    rng = np.random.default_rng(42)
    n = 200
    income = pd.Series(np.round(rng.lognormal(10.0, 0.5, n), 2))
    children = pd.Series(rng.poisson(1.5, n)).astype("Int64")
    city = pd.Series(rng.choice(["Bonn", "Köln", "Ulm"], n, p=[0.6, 0.3, 0.1]))
    days = pd.to_timedelta(rng.integers(0, 1000, n), unit="D")
    joined = pd.Series(pd.Timestamp("2021-03-01") + days)
    return pd.DataFrame(
        {
            "income": _with_holes(income, rng, 0.1),
            "height": rng.normal(170, 10, n).astype(np.float32),
            "age": rng.integers(18, 90, n),
            "level": rng.integers(-3, 4, n).astype(np.int8),
            "children": _with_holes(children, rng, 0.1),
            # most rows at one value, the others continuous
            "capital_gain": np.where(rng.random(n) < 0.8, 0.0, rng.exponential(5e3, n)),
            "city": _with_holes(city, rng, 0.1),
            # "legacy" is declared and has no row
            "plan": pd.Categorical(
                rng.choice(["basic", "plus", "pro"], n, p=[0.7, 0.25, 0.05]),
                categories=["basic", "plus", "pro", "legacy"],
            ),
            "member": rng.random(n) < 0.3,
            "joined": _with_holes(joined, rng, 0.1),
        }
    )
