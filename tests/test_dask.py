"""Search and inference on Dask: in every worker the digits of a single process.

All models are on the CPU, and every process has one thread: only then may digits be
compared.
"""

import os
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

from sklearn_unsup import AutoencoderTransformer, GANSampler, VAETransformer
from sklearn_unsup._sampling import sampler
from sklearn_unsup.datasets import make_mixed_table

distributed = pytest.importorskip("distributed", reason="needs the extra dask")
dask = pytest.importorskip("dask", reason="needs the extra dask")
cloudpickle = pytest.importorskip("cloudpickle", reason="needs the extra dask")
dd = pytest.importorskip(
    "dask.dataframe",
    reason="needs the extra dask",
    exc_type=ImportError,  # what it raises itself without pyarrow
)

MODELS = [AutoencoderTransformer, VAETransformer, GANSampler]
DENSITIES = [AutoencoderTransformer, VAETransformer]
ONE_THREAD = dict.fromkeys(
    ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"], "1"
)
N_PARTITIONS = 3

pytestmark = pytest.mark.filterwarnings(
    # older versions, of a scheduler that a test asks for beside a client
    "ignore:Running on a single-machine scheduler",
    # so few steps leave modes out and components collapsed
    "ignore::sklearn.exceptions.ConvergenceWarning",
)


def quick(model, **parameters):
    own = {"critic_hidden_layer_sizes": (16,)} if model is GANSampler else {}
    defaults = {
        "n_components": 3,
        "hidden_layer_sizes": (16,),
        "max_iter": 2,
        "batch_size": 64,  # also in workers, to which no fixture reaches
        "handle_unknown": "ignore",  # a fold may lack the rare plan
        "device": "cpu",
        "random_state": 0,
    }
    return model(**{**defaults, **own, **parameters})


@pytest.fixture(scope="module")
def table():
    return make_mixed_table(300, random_state=0)[0].rename_axis(index="row")


@pytest.fixture(scope="module", params=MODELS, ids=lambda model: model.__name__)
def fitted(request, table):
    return quick(request.param).fit(table).set_output(transform="pandas")


@pytest.fixture(scope="module", params=DENSITIES, ids=lambda model: model.__name__)
def density(request, table):
    return quick(request.param).fit(table)


@pytest.fixture(autouse=True)
def _one_thread():
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def client():
    """Of two worker processes that see no GPU."""
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            env={**ONE_THREAD, "CUDA_VISIBLE_DEVICES": ""},
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(
    params=[
        pytest.param("synchronous", marks=pytest.mark.slow),
        "threads",
        pytest.param("cluster", marks=pytest.mark.slow),
    ]
)
def scheduler(request):
    """Where partitions are computed: threads are what Dask takes without a client."""
    if request.param == "cluster":
        return request.getfixturevalue("client")
    return request.param


@pytest.fixture(params=[False, True], ids=["own_strings", "arrow_strings"])
def partitions(request, table):
    """The table as Dask holds it: by default it makes strings those of pyarrow."""
    with dask.config.set({"dataframe.convert-string": request.param}):
        yield dd.from_pandas(table, npartitions=N_PARTITIONS)


# ------------------------------------------------------------------------ search


def own_score(model, X, y=None):
    return model.score(X)


def process(model, X, y=None):
    return os.getpid()


@pytest.fixture(params=["pipeline", "VAETransformer"])
def search(request):
    if request.param == "pipeline":
        classifier = LogisticRegression(max_iter=1_000)
        model = make_pipeline(quick(AutoencoderTransformer), classifier)
        prefix, score = "autoencodertransformer__", "neg_log_loss"
    else:
        model, prefix, score = quick(VAETransformer), "", own_score
    return GridSearchCV(
        model,
        {f"{prefix}n_components": [2, 3], f"{prefix}max_iter": [1, 2]},
        scoring={"score": score, "process": process},
        refit="score",
        cv=2,
    )


@pytest.mark.slow
def test_a_search_gives_the_digits_of_one_process(search, client, table):
    X, y = table.drop(columns="active"), table["active"]
    here, there = clone(search).set_params(n_jobs=1).fit(X, y), clone(search)
    with joblib.parallel_config("dask"):
        there.fit(X, y)
    assert os.getpid() not in there.cv_results_["split0_test_process"]
    names = [name for name in here.cv_results_ if name.endswith("_test_score")]
    assert len(names) == 5  # two splits; mean, deviation, rank
    for name in names:
        one, other = here.cv_results_[name], there.cv_results_[name]
        np.testing.assert_array_equal(one, other, err_msg=name)
    assert len(set(here.cv_results_["mean_test_score"])) == 4  # there is a difference
    assert here.best_params_ == there.best_params_
    np.testing.assert_array_equal(codes_of(here, X), codes_of(there, X))


def codes_of(search, X):
    best = search.best_estimator_
    return (best[:-1] if hasattr(best, "steps") else best).transform(X)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_fit_in_a_worker_comes_back(model, client, table, monkeypatch):
    """As if it had been fitted here: its codes, its next rows, the way on."""
    # As many as in the workers, to which no fixture reaches.
    monkeypatch.setattr(sampler, "CALIBRATION_ROWS", 20_000)
    there = client.submit(quick(model, device="auto").fit, table).result()
    assert there.device_ == "cpu"  # the worker's choice: it sees no GPU
    here = quick(model).fit(table)
    for _ in range(2):
        np.testing.assert_array_equal(there.transform(table), here.transform(table))
        pd.testing.assert_frame_equal(there.sample(20), here.sample(20))
        there.partial_fit(table)
        here.partial_fit(table)


# -------------------------------------------------------------------- partitions


def computed_as_promised(lazy, scheduler):
    """What Dask computes, which is what its meta says, as each partition is."""
    whole = lazy.compute(scheduler=scheduler)
    for part in [whole, *dask.compute(*lazy.to_delayed(), scheduler="synchronous")]:
        # columns, dtypes with their categories, names, the index
        assert_equal = getattr(pd.testing, f"assert_{kind_of(lazy._meta)}_equal")
        assert_equal(part.head(0), lazy._meta)
    return whole


def kind_of(data):
    return "series" if data.ndim == 1 else "frame"


def assert_row_for_row(computed, function, table):
    """Digits of the same parts in memory, and the whole table up to rounding."""
    assert_equal = getattr(pd.testing, f"assert_{kind_of(computed)}_equal")
    lazy = dd.from_pandas(table, npartitions=N_PARTITIONS)
    parts = dask.compute(*lazy.to_delayed(), scheduler="synchronous")
    assert len(parts) == N_PARTITIONS
    expected = pd.concat([function(part) for part in parts])
    assert_equal(computed, expected, check_exact=True)
    assert_equal(computed, function(table), rtol=1e-4, atol=1e-4)


def test_transform(fitted, partitions, table, scheduler):
    meta = dict.fromkeys(fitted.get_feature_names_out(), "float32")
    codes = partitions.map_partitions(fitted.transform, meta=meta)
    computed = computed_as_promised(codes, scheduler)
    assert_row_for_row(computed, fitted.transform, table)
    assert computed.index.equals(table.index)


def test_score_samples(density, partitions, table, scheduler):
    def score(part):
        return pd.Series(density.score_samples(part), part.index, name="score")

    scores = partitions.map_partitions(score, meta=("score", "float64"))
    computed = computed_as_promised(scores, scheduler)
    assert_row_for_row(computed, score, table)
    beside = partitions.assign(score=scores).compute(scheduler=scheduler)
    pd.testing.assert_series_equal(beside["score"], computed)


def test_meta_of_made_up_rows(fitted, partitions):
    """Without a meta Dask passes rows of its own, whose levels nobody has seen."""
    codes = partitions.map_partitions(fitted.transform)
    names = fitted.get_feature_names_out()
    assert codes.dtypes.to_dict() == dict.fromkeys(names, np.dtype("float32"))


def test_sample(fitted, table, scheduler):
    def draw(seed):
        return fitted.sample(50, random_state=seed)

    with dask.config.set({"dataframe.convert-string": False}):
        rows = dd.from_map(draw, range(N_PARTITIONS), meta=draw(0))
        computed = computed_as_promised(rows, scheduler)
        again = rows.compute(scheduler=scheduler)
    pd.testing.assert_series_equal(computed.dtypes, table.dtypes)
    pd.testing.assert_frame_equal(computed, again)
    parts = [draw(seed) for seed in range(N_PARTITIONS)]
    pd.testing.assert_frame_equal(computed, pd.concat(parts))
    heights = [set(part["height"].dropna()) for part in parts]
    assert not set.intersection(*heights)


def test_sample_with_the_strings_of_dask(density, table, scheduler):
    """Dask's own meta, and nothing but the strings differs from the table."""
    rows = dd.from_map(
        lambda seed: density.sample(50, random_state=seed),
        range(N_PARTITIONS),
        meta=density.sample(1, random_state=0),
    )
    computed = computed_as_promised(rows, scheduler)
    assert computed.dtypes.drop("region").equals(table.dtypes.drop("region"))
    assert set(computed["region"].dropna()) <= set(table["region"].dropna())


# ----------------------------------------------------------------- what travels


def rows_within(data, table, encoded):
    """How many of the rows can be read off bytes: all their numbers, or encoded."""
    numbers = table[["height", "weight", "spend"]].to_numpy()
    found = 0
    for row, codes in zip(numbers, encoded, strict=True):
        kept = all(
            any(x.astype(kind).tobytes() in data for kind in ("<f8", ">f8", "<f4"))
            for x in row
        )
        found += kept or codes.tobytes() in data
    return found


@pytest.mark.parametrize(
    "model",
    [
        AutoencoderTransformer,
        pytest.param(VAETransformer, marks=pytest.mark.slow),
        pytest.param(GANSampler, marks=pytest.mark.slow),
    ],
    ids=lambda model: model.__name__,
)
def test_no_row_travels(model, monkeypatch):
    """Four times the rows add less than a tenth of a byte for each; none is there.

    A column's knots are values of the table, and all are taken from 6,000 rows on.
    """
    # A column of few values has each of them as a level, with weights of its own, and
    # some values are in the larger table alone.
    monkeypatch.setattr("sklearn_unsup._gan.FEW_VALUES", 0)
    monkeypatch.setattr("sklearn_unsup._gan.FREQUENT_SHARE", 0.2)
    table = make_mixed_table(24_000, random_state=0)[0]
    own = {"density_ratio": None} if model is not AutoencoderTransformer else {}
    sizes = []
    for part in (table[:6_000], table):
        fitted = quick(model, max_iter=1, early_stopping=True, **own).fit(part)
        data = pickle.dumps(fitted.transform)
        sizes.append(len(data))
    assert sizes[1] - sizes[0] < 1_800
    some = table.dropna().query("spend > 0")[-30:]
    encoded, _ = fitted.codec_.encode(some)
    assert rows_within(data, some, encoded) == 0
    for leak in (table, fitted.codec_.encode(table)[0]):
        assert rows_within(pickle.dumps((fitted, leak)), some, encoded) == 30


def test_a_model_is_in_a_graph_once(density):
    """Whatever the number of partitions."""

    def size(n):
        rows = dd.from_map(
            lambda seed: density.sample(5, random_state=seed),
            range(n),
            meta=density.sample(1, random_state=0),
        )
        return len(cloudpickle.dumps(rows.optimize().__dask_graph__()))

    assert size(20) < 1.5 * size(1)
