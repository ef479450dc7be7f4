"""GenerativeAugmenter: the sampler's contract, the labels, and the decision."""

from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import (
    load_diabetes,
    load_iris,
    load_wine,
    make_classification,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, Perceptron
from sklearn.model_selection import KFold, RepeatedKFold
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_unsup import VAETransformer
from sklearn_unsup.augmentation import GenerativeAugmenter
from sklearn_unsup.augmentation._augmenter import FrameNumbers
from sklearn_unsup.augmentation._candidates import (
    N_NEIGHBORS,
    mix_neighbors,
    redraw_cells,
    spread,
)
from sklearn_unsup.augmentation._choice import (
    choose,
    default_scoring,
    is_clear,
    multiples_to_try,
    rounds_of_folds,
    summarise,
)
from sklearn_unsup.augmentation._teacher import (
    AutoTeacher,
    TableNumbers,
    draw_labels,
    make_members,
)


def make_augmenter(**params):
    """One that adds 40 rows, unless told otherwise."""
    params = {"estimator": DecisionTreeClassifier(random_state=0), **params}
    return GenerativeAugmenter(**{"amount": 40, "random_state": 0, **params})


class Unsure(ClassifierMixin, BaseEstimator):
    """Says of every row that its first class has a share of .4."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.tile([0.4, 0.6], (len(X), 1))

    def predict(self, X):
        return np.full(len(X), self.classes_[1])


class Contrary(ClassifierMixin, BaseEstimator):
    """Is as sure as a logistic regression, of the other class."""

    def fit(self, X, y):
        self.learner_ = LogisticRegression().fit(X, y)
        self.classes_ = self.learner_.classes_
        return self

    def predict_proba(self, X):
        return self.learner_.predict_proba(X)[:, ::-1]

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class Fixed(BaseEstimator):
    """Draws rows of zeros, whatever it saw."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y=None):
        self.columns_ = X.columns
        return self

    def sample(self, n_samples=1, *, random_state=None):
        return pd.DataFrame(0.0, index=range(n_samples), columns=self.columns_)


class Counts(Unsure):
    """Knows how many rows it was fitted on."""

    def fit(self, X, y):
        self.n_rows_ = len(y)
        return super().fit(X, y)


class Minus(BaseEstimator):
    """Fills in -1 or, where that is no number of the column, some cell of it."""

    def impute(self, X, *, sample_posterior, random_state):
        assert sample_posterior
        filled = X.copy()
        for name, column in X.items():
            value = -1.0 if column.dtype.kind == "f" else column.dropna().iloc[0]
            filled.loc[column.isna(), name] = value
        return filled


@pytest.fixture
def classes():
    return make_classification(80, 6, n_informative=3, random_state=0)


# -------------------------------------------------------------------- the contract


def test_given_rows_come_first_and_unchanged(mixed_table):
    y = pd.Series(np.arange(len(mixed_table)) % 2, name="y", dtype="int8")
    before = mixed_table.copy()
    augmenter = make_augmenter(estimator=None)
    X_more, y_more = augmenter.fit_resample(mixed_table, y)
    n = len(before)
    assert len(X_more) == len(y_more) == n + 40
    pd.testing.assert_frame_equal(X_more[:n], before)
    pd.testing.assert_frame_equal(mixed_table, before)
    pd.testing.assert_series_equal(y_more[:n], y)
    assert list(X_more.dtypes) == list(before.dtypes)
    assert set(y_more) == {0, 1}


@pytest.mark.parametrize(
    ("amount", "n_added"), [(7, 7), (0.5, 40), (2.0, 160), (0, 0), (0.0, 0)]
)
def test_an_amount_is_obeyed(classes, amount, n_added):
    X, y = classes
    augmenter = make_augmenter(amount=amount)
    X_more, y_more = augmenter.fit_resample(X, y)
    assert augmenter.amount_ == n_added
    assert X_more.shape == (80 + n_added, 6)
    assert y_more.shape == (80 + n_added,)
    assert augmenter.cv_results_ is None
    assert (augmenter.teacher_ is None) == (n_added == 0)


def test_seeds(classes):
    first, _ = make_augmenter().fit_resample(*classes)
    again, _ = make_augmenter().fit_resample(*classes)
    other, _ = make_augmenter(random_state=1).fit_resample(*classes)
    assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("make", [list, pd.Series, np.asarray])
def test_labels_come_in_their_container(classes, make):
    X, y = classes
    _, y_more = make_augmenter().fit_resample(X, make(y.tolist()))
    assert type(y_more) is type(make([0]))
    assert len(y_more) == 120


def test_polars_tables():
    polars = pytest.importorskip("polars")
    X, y = load_wine(return_X_y=True, as_frame=True)
    augmenter = make_augmenter()
    X_more, y_more = augmenter.fit_resample(polars.from_pandas(X), polars.Series(y))
    assert isinstance(X_more, polars.DataFrame)
    assert isinstance(y_more, polars.Series)
    assert X_more.shape == (218, 13)


def test_in_a_pipeline(classes):
    imblearn = pytest.importorskip("imblearn.pipeline", reason="needs imbalanced-learn")
    X, y = classes
    tree = DecisionTreeClassifier(random_state=0)
    pipeline = imblearn.make_pipeline(make_augmenter(), tree).fit(X, y)
    by_hand = DecisionTreeClassifier(random_state=0)
    by_hand.fit(*make_augmenter().fit_resample(X, y))
    assert_array_equal(pipeline.predict_proba(X), by_hand.predict_proba(X))


@parametrize_with_checks(
    [make_augmenter(amount=10, teacher=DecisionTreeClassifier(random_state=0))]
)
def test_contract_of_scikit_learn(estimator, check):
    check(estimator)


def imbalanced_checks():
    """(augmenter, check) of imbalanced-learn, where it is installed."""
    if find_spec("imblearn") is None:
        return []
    from imblearn.utils.estimator_checks import estimator_checks_generator

    teacher = make_pipeline(FrameNumbers(), DecisionTreeClassifier(random_state=0))
    augmenter = make_augmenter(amount=10, teacher=teacher)
    return [
        pytest.param(*case, id=getattr(case[1], "func", case[1]).__name__)
        for case in estimator_checks_generator(augmenter)
    ]


@pytest.mark.parametrize(("estimator", "check"), imbalanced_checks())
def test_contract_of_imbalanced_learn(estimator, check):
    check(estimator)


def test_new_rows_are_counted_by_class(classes):
    X, y = classes
    augmenter = make_augmenter(teacher=Unsure(), amount=50)
    _, y_more = augmenter.fit_resample(X, np.array(["no", "yes"])[y])
    assert augmenter.sampling_strategy_ == {"no": 20, "yes": 30}
    regressor = make_augmenter(estimator=DecisionTreeRegressor())
    regressor.fit_resample(X, y)
    assert regressor.sampling_strategy_ is None


@pytest.mark.parametrize("make", [np.asarray, pd.DataFrame, np.ndarray.tolist])
def test_indicators_of_classes(classes, make):
    X, y = classes
    _, expected = make_augmenter().fit_resample(X, y)
    given = make(np.eye(2, dtype="int8")[y])
    _, y_more = make_augmenter().fit_resample(X, given)
    assert type(y_more) is type(given)
    assert_array_equal(y_more, np.eye(2)[expected])


@pytest.mark.parametrize(
    ("params", "y", "message"),
    [
        ({"amount": -1}, None, "amount must be .* got -1"),
        ({"amount": "some"}, None, "amount must be .* got 'some'"),
        ({"amount": True}, None, "amount must be .* got True"),
        ({"teacher": "best"}, None, "teacher must be .* got 'best'"),
        ({}, [np.nan] * 80, "missing values, 80 of 80"),
        ({}, np.zeros((80, 2)), r"Multilabel .* one column .* shape \(80, 2\)"),
        ({}, np.ones((80, 2)), "Multilabel"),
        ({}, np.ones((80, 1, 1)), r"one column .* shape \(80, 1, 1\)"),
        ({}, ["a"] * 80, "a single class, 'a'"),
        ({}, np.linspace(0, 1, 80), "continuous numbers"),
        ({"amount": "auto"}, [0] * 79 + [1], "a single row of class"),
    ],
)
def test_what_is_refused(classes, params, y, message):
    X, given = classes
    with pytest.raises(ValueError, match=message):
        make_augmenter(**params).fit_resample(X, given if y is None else y)


# ------------------------------------------------------------------- rows and labels


def test_copies_share_the_labels_in_proportion(classes):
    X, y = classes
    augmenter = make_augmenter(teacher=Unsure(), amount=50)
    X_more, y_more = augmenter.fit_resample(X, y)
    copies = X_more[80:].reshape(10, 5, 6)
    assert_array_equal(copies, np.repeat(copies[:, :1], 5, axis=1))
    # 5 copies at a share of .4: exactly 2, wherever the steps begin
    assert_array_equal((y_more[80:].reshape(10, 5) == 0).sum(axis=1), 2)


def test_labels_are_drawn_in_proportion():
    rows, rng = np.zeros((4_000, 1)), np.random.default_rng(0)
    teacher = Unsure().fit(rows, np.arange(4_000) % 2)
    _, labels = draw_labels(teacher, rows, rng, is_class=True, n_copies=1)
    assert abs(np.mean(labels == 0) - 0.4) < 4 * np.sqrt(0.24 / 4_000)


def test_numbers_are_labelled_by_the_teacher():
    X, y = load_diabetes(return_X_y=True)
    X, y = X[:60], y[:60]
    augmenter = make_augmenter(
        estimator=DecisionTreeRegressor(), teacher=LinearRegression()
    )
    X_more, y_more = augmenter.fit_resample(X, y)
    expected = LinearRegression().fit(X, y).predict(X_more[60:])
    assert_allclose(y_more[60:], expected)
    # A prediction leaves no doubt that copies of a row would have to share.
    assert len(np.unique(X_more[60:], axis=0)) == 40


def test_the_team_is_the_best_on_held_out_rows():
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(90, 5)))
    X.columns = list("abcde")
    straight = AutoTeacher(False, 0).fit(X, X.sum(axis=1))
    assert straight.chosen_ == (0,)
    assert_allclose(straight.predict(X), X.sum(axis=1), atol=0.05)
    bent = AutoTeacher(False, 0).fit(X, X["a"].abs() > 1)
    assert 1 in bent.chosen_
    parted = AutoTeacher(True, 0).fit(X, X.sum(axis=1) > 0)
    assert parted.chosen_ == (0,)
    rare = AutoTeacher(True, 0).fit(X, np.arange(90) < 2)
    assert_array_equal(rare.classes_, [False, True])


def test_boosting_teaches_where_rows_suffice():
    assert len(make_members(299, True, 0)) == 2
    assert len(make_members(300, True, 0)) == 3
    assert len(make_members(300, False, 0)) == 3


def test_numbers_of_a_table():
    table = pd.DataFrame(
        {
            "month": pd.PeriodIndex(["2020-01", "2020-02", "NaT"], freq="M"),
            "level": ["x", None, "y"],
            "empty": [None] * 3,
        }
    )
    numbers = TableNumbers().fit_transform(table)
    assert numbers.shape == (3, 4)
    # The columns of levels come first; a missing level is one of its own.
    assert_array_equal(np.sort(numbers[:, :3], axis=1), [[0, 0, 1]] * 3)
    assert len(np.unique(numbers[:, :3], axis=0)) == 3
    assert_allclose(numbers[:, 3], [-np.sqrt(1.5), np.sqrt(1.5), 0], atol=1e-12)


def test_many_levels_are_few_numbers():
    table = pd.DataFrame({"name": [f"n{i % 80}" for i in range(240)]})
    assert TableNumbers().fit_transform(table).shape == (240, 50)


def test_mixed_rows_lie_between_neighbours():
    line = np.arange(200.0)
    X = pd.DataFrame({"a": line, "b": -line, "c": ["x"] * 100 + ["y"] * 100})
    rows = mix_neighbors(X, 600, np.random.default_rng(0))
    assert rows["a"].between(0, 199).all()
    assert rows["a"].isin(line).mean() < 0.3
    # Each cell has a neighbour of its own: they differ, but not by much.
    difference = (rows["a"] + rows["b"]).abs()
    assert difference.median() > 0.5
    assert difference.max() <= 2 * N_NEIGHBORS
    assert set(rows["c"]) == {"x", "y"}


def test_cells_come_from_either_row_or_from_between():
    X = pd.DataFrame({"a": [0.0, 1.0], "b": ["x", "y"], "c": ["x", "y"]})
    rows = mix_neighbors(X, 4_000, np.random.default_rng(0))
    assert rows["a"].between(0, 1).all()
    assert set(rows["b"]) == {"x", "y"}
    # A cell is that of the other row with a share of 1/4: of two, one is with 3/8.
    share = (rows["b"] != rows["c"]).mean()
    assert abs(share - 0.375) < 4 * np.sqrt(0.375 * 0.625 / 4_000)


def test_rows_start_evenly_from_the_table():
    places = spread(10, 25, np.random.default_rng(0))
    assert_array_equal(np.sort(places[:10]), range(10))
    assert_array_equal(np.sort(places[10:20]), range(10))
    assert len(set(places[20:])) == 5
    assert not np.array_equal(places[:10], range(10))


def test_missing_cells_stay_possible():
    X = pd.DataFrame({"a": [1.0, np.nan] * 10, "b": np.arange(20.0)})
    rows = mix_neighbors(X, 100, np.random.default_rng(0))
    assert 0 < rows["a"].isna().sum() < 100
    assert set(rows["a"].dropna()) == {1.0}


def test_a_generator_redraws_cells_and_leaves_missing_ones(mixed_table):
    rows = redraw_cells(Minus(), mixed_table, 300, np.random.default_rng(0))
    assert list(rows.dtypes) == list(mixed_table.dtypes)
    assert len(rows) == 300
    numbers = mixed_table.select_dtypes("float")
    for name in numbers:
        share = (rows[name] == -1).sum() / rows[name].notna().sum()
        assert 0.25 < share < 0.55
        assert rows[name].isna().any() == numbers[name].isna().any()


def test_a_generator_draws_a_single_row(classes):
    X_more, _ = make_augmenter(generator=Fixed(), amount=1).fit_resample(*classes)
    assert_array_equal(X_more[80:], np.zeros((1, 6)))


@pytest.mark.slow
def test_a_network_redraws_cells(mixed_table):
    generator = VAETransformer(
        4, max_iter=2, hidden_layer_sizes=(16,), sampling="any_order", random_state=0
    ).fit(mixed_table)
    rows = redraw_cells(generator, mixed_table, 50, np.random.default_rng(0))
    assert list(rows.dtypes) == list(mixed_table.dtypes)


def test_half_of_the_rows_are_those_of_a_generator(classes):
    X, y = classes
    augmenter = make_augmenter(generator=Fixed(), amount=100)
    X_more, _ = augmenter.fit_resample(X, y)
    is_drawn = (X_more[80:] == 0).all(axis=1)
    assert is_drawn.sum() == 50
    assert 0 < is_drawn[:50].sum() < 50  # any first part of the rows has both kinds
    assert isinstance(augmenter.generator_.random_state, int)
    assert augmenter.generator.random_state is None


# ----------------------------------------------------------------------- the decision


def test_rows_are_added_where_they_help():
    X, y = load_diabetes(return_X_y=True)
    augmenter = make_augmenter(
        estimator=DecisionTreeRegressor(random_state=0),
        teacher=LinearRegression(),
        amount="auto",
        cv=RepeatedKFold(n_splits=3, n_repeats=2, random_state=0),
    )
    augmenter.fit_resample(X[:60], y[:60])
    results = augmenter.cv_results_
    assert augmenter.amount_ > 0
    assert results["gains"].shape == (4, 6)
    assert_allclose(results["gains"].mean(axis=1), results["mean_gain"])
    assert_allclose(results["gains"][0], 0)
    # 6 splits, of which each holds out half as many rows as it trains on
    expected = results["gains"].std(axis=1, ddof=1) * np.sqrt(1 / 6 + 1 / 2)
    assert_allclose(results["se_gain"], expected)
    assert f"{augmenter.amount_} rows are added to 60" in augmenter.decision_


def test_no_row_is_added_where_they_harm(classes):
    X, y = classes
    augmenter = make_augmenter(
        estimator=LogisticRegression(),
        teacher=Contrary(),
        amount="auto",
        cv=KFold(4),
    )
    X_more, y_more = augmenter.fit_resample(X, y)
    assert augmenter.amount_ == 0
    assert "no rows are added" in augmenter.decision_
    assert_array_equal(X_more, X)
    assert_array_equal(y_more, y)


@pytest.mark.parametrize(
    ("gains", "errors", "chosen", "clear"),
    [
        ([0, 0.10, 0.11, 0.12], [0, 0.01, 0.02, 0.03], 3, True),
        ([0, 0.10, 0.20, 0.19], [0, 0.01, 0.02, 0.03], 2, True),
        ([0, 0.10, 0.10, 0.10], [0, 0.01, 0.02, 0.03], 1, True),
        ([0, 0.01, 0.02, 0.03], [0, 0.01, 0.02, 0.012], 3, True),
        ([0, 0.01, 0.02, 0.03], [0, 0.01, 0.02, 0.05], 3, False),
        ([0, 0.01, 0.02, 0.03], [0, 0.01, 0.02, 0.07], 0, False),
        ([0, 0.10, 0.10, 0.10], [0, np.inf, np.inf, np.inf], 0, False),
        ([0, -0.1, -0.2, -0.3], [0, 0.01, 0.01, 0.01], 0, True),
        ([0, 0.0, 0.0, 0.0], [0, 0.0, 0.0, 0.0], 0, True),
    ],
)
def test_the_rule_of_half_a_standard_error(gains, errors, chosen, clear):
    results = {"mean_gain": np.array(gains), "se_gain": np.array(errors)}
    assert choose(results)[0] == chosen
    assert is_clear(results) is clear


def test_a_single_split_proves_nothing():
    results = summarise([0.0, 2.0], np.array([[0.5], [0.6]]), 0.25)
    assert_array_equal(results["se_gain"], [0, np.inf])
    assert choose(results) == (0, 1)


@pytest.mark.parametrize(
    ("n", "multiples"),
    [
        (20, [0, 2, 10, 50]),
        (100, [0, 2, 10, 30]),
        (300, [0, 2, 10]),
        (1_000, [0, 2, 3]),
        (5_000, [0, 2]),
    ],
)
def test_amounts_are_bounded(n, multiples):
    assert_allclose(multiples_to_try(n), multiples)


@pytest.mark.parametrize(
    ("gain", "spread", "n_splits"),
    [(-1, 0, 5), (1, 0, 5), (1, 2, 20)],
    ids=["no gain", "a clear gain", "a doubtful gain"],
)
def test_splits_go_on_while_there_is_doubt(classes, gain, spread, n_splits):
    X, y = classes
    rng = np.random.default_rng(0)

    def score(learner, X, y):
        added = learner.n_rows_ > 70
        return added * (gain + spread * rng.normal())

    augmenter = make_augmenter(
        estimator=Counts(),
        teacher=LogisticRegression(),
        amount="auto",
        scoring=score,
    )
    augmenter.fit_resample(X[:70], y[:70])
    assert augmenter.cv_results_["gains"].shape == (4, n_splits)


def test_held_out_rows_are_held_out(classes):
    X, y = classes
    taught, fitted = set(), set()

    class Pupil(Unsure):
        def fit(self, X, y):
            taught.add(len(y))
            return super().fit(X, y)

    def score(learner, X, y):
        fitted.add((learner.n_rows_, len(y)))
        return 0.0

    make_augmenter(
        estimator=Counts(), teacher=Pupil(), amount="auto", scoring=score
    ).fit_resample(X[:60], y[:60])
    assert taught == {48}
    assert fitted == {(48 + 48 * multiple, 12) for multiple in (0, 2, 10, 50)}


def test_rounds_of_folds():
    y = np.repeat([0, 1], [90, 10])
    rounds = list(rounds_of_folds(5, y, y, True, 0))
    assert len(rounds) == 3  # until some 300 rows were predicted
    for folds in rounds:
        assert [y[test].sum() for _, test in folds] == [2] * 5
        assert_array_equal(np.sort(np.concatenate([t for _, t in folds])), range(100))
    assert not np.array_equal(rounds[0][0][1], rounds[1][0][1])
    assert len(list(rounds_of_folds(5, y[:20], y[:20], False, 0))) == 4
    # No fold is without the rarest class.
    rare = np.repeat([0, 1], [97, 3])
    assert len(next(rounds_of_folds(5, rare, rare, True, 0))) == 3
    assert len(next(rounds_of_folds(5, rare, rare, False, 0))) == 5


@pytest.mark.parametrize(
    ("estimator", "n_classes", "expected"),
    [
        (LogisticRegression(), 2, "roc_auc"),
        (Perceptron(), 2, "roc_auc"),
        (LogisticRegression(), 3, "roc_auc_ovr"),
        (Perceptron(), 3, "accuracy"),
        (LinearRegression(), None, "neg_root_mean_squared_error"),
    ],
)
def test_what_is_to_gain(estimator, n_classes, expected):
    y = np.arange(30) % (n_classes or 30)
    assert default_scoring(estimator, y, n_classes is not None) == expected


def test_integers_are_numbers_to_a_regressor():
    X, y = load_diabetes(return_X_y=True)
    y = y.astype(int)
    augmenter = make_augmenter(estimator=DecisionTreeRegressor())
    _, y_more = augmenter.fit_resample(X, y)
    assert y_more.dtype == y.dtype
    assert not set(y_more[len(y) :]) <= set(y)


def test_a_teacher_predicts_classes_and_their_probabilities():
    X, y = load_iris(return_X_y=True, as_frame=True)
    names = np.array(["a", "b", "c"])[y]
    teacher = AutoTeacher(True, 0).fit(X, names)
    shares = teacher.predict_proba(X)
    assert shares.shape == (150, 3)
    assert_array_equal(teacher.predict(X), np.array(["a", "b", "c"])[shares.argmax(1)])
    assert (teacher.predict(X) == names).mean() > 0.9
    assert not hasattr(AutoTeacher(False, 0).fit(X, y.astype(float)), "predict_proba")
