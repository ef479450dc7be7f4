"""Rows without a seed: a stream of their own in each worker, one stream elsewhere."""

import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pytest

from sklearn_unsup import AutoencoderTransformer, GANSampler, VAETransformer
from sklearn_unsup._sampling.processes import (
    is_worker,
    process_token,
    rng_for_process,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    # of threads that are alive, which no child of these tests waits for
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def fit(kind=VAETransformer):
    X = np.random.default_rng(0).normal(size=(60, 2))
    model = kind(2, hidden_layer_sizes=(8,), max_iter=1, random_state=0)
    return model.fit(X)


@pytest.fixture(params=[AutoencoderTransformer, VAETransformer, GANSampler])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def fitted():
    return fit()


def in_fork(function):
    """What a function returns in a forked process."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        child = os.fork()
    if child == 0:
        try:
            os.write(writer, pickle.dumps(function()))
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        result = pickle.loads(file.read())
    os.waitpid(child, 0)
    return result


def all_differ(tables):
    flat = [tuple(np.ravel(table)) for table in tables]
    return len(set(flat)) == len(flat)


@needs_fork
def test_forks_draw_rows_of_their_own(kind):
    model = fit(kind)
    expected = copy.deepcopy(model)
    inside = [in_fork(lambda: (model.sample(3), model.sample(3))) for _ in range(3)]
    outside = model.sample(3)
    assert all_differ([*(table for pair in inside for table in pair), outside])
    # The parent knows nothing of them.
    np.testing.assert_array_equal(outside, expected.sample(3))


@needs_fork
def test_a_seed_is_a_seed_in_a_fork(fitted):
    inside = in_fork(lambda: fitted.sample(3, random_state=1))
    np.testing.assert_array_equal(inside, fitted.sample(3, random_state=1))


@needs_fork
def test_a_model_fitted_in_a_fork_draws_what_it_draws_anywhere():
    inside, copied = in_fork(lambda: (fit().sample(3), copy.deepcopy(fit()).sample(3)))
    np.testing.assert_array_equal(inside, fit().sample(3))
    np.testing.assert_array_equal(inside, copied)
    back = in_fork(fit)
    np.testing.assert_array_equal(back.sample(3), inside)


@pytest.mark.parametrize(
    "backend", [pytest.param("loky", marks=pytest.mark.slow), "multiprocessing"]
)
def test_tasks_of_joblib_draw_rows_of_their_own(fitted, backend):
    """Every task gets the model in a pickle, two in a row by the same worker, too."""
    expected = copy.deepcopy(fitted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        inside = joblib.Parallel(2, backend=backend)(
            joblib.delayed(fitted.sample)(3) for _ in range(4)
        )
    assert all_differ(inside)
    np.testing.assert_array_equal(fitted.sample(3), expected.sample(3))


def test_threads_share_one_stream(fitted):
    tables = joblib.Parallel(2, backend="threading")(
        joblib.delayed(fitted.sample)(3) for _ in range(4)
    )
    assert all_differ(tables)


@pytest.mark.slow
def test_programs_that_open_a_file_draw_the_same_rows(fitted, tmp_path):
    joblib.dump(fitted, tmp_path / "model")
    code = "import joblib, sys; print(joblib.load(sys.argv[1]).sample(3).tolist())"
    command = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "model")]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == str(copy.deepcopy(fitted).sample(3).tolist())


def test_the_stream_of_a_process():
    rng = np.random.default_rng(0)
    assert not is_worker()
    assert rng_for_process(rng, "elsewhere") == (rng, "elsewhere")
    assert rng_for_process(rng, process_token())[0] is rng


@needs_fork
def test_a_fork_has_a_token_of_its_own():
    tokens = [in_fork(process_token) for _ in range(2)]
    assert len({*tokens, process_token()}) == 3
    assert in_fork(is_worker)


@pytest.mark.slow
def test_a_spawned_process_is_a_worker():
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        assert pool.apply(is_worker)
