"""GenerativeOutlierDetector: scikit-learn's contract, and what it finds."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.utils.estimator_checks import estimator_checks_generator

from sklearn_unsup import AutoencoderTransformer, VAETransformer
from sklearn_unsup.datasets import make_mixed_table
from sklearn_unsup.outliers import GenerativeOutlierDetector
from sklearn_unsup.outliers._contrast import Contrast, broken_copy
from sklearn_unsup.outliers._detector import (
    AUTO_ROWS,
    MAX_REFERENCES,
    Neighbors,
    Surprise,
    mean_surprise,
)
from sklearn_unsup.outliers._tails import MANY_GAPS_ROWS, Gaps, Rarity, Tail, Tails

QUICK = AutoencoderTransformer(2, hidden_layer_sizes=8, max_iter=2)


def quick(**options):
    return GenerativeOutlierDetector(QUICK, random_state=0, **options)


@pytest.fixture(scope="module", autouse=True)
def few_steps():
    """Of the default models, which find what is asked for here as soon."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sklearn_unsup.outliers._contrast.N_ROUNDS", 8)
        patch.setattr("sklearn_unsup.outliers._contrast.N_CLASSIFIERS", 2)
        patch.setattr("sklearn_unsup.outliers._detector.N_STEPS", 200)
        yield


def contract():
    """The fast checks are those of a quick estimator, the slow ones of the default."""
    for estimator, marks in ((QUICK, []), (None, [pytest.mark.slow])):
        detector = GenerativeOutlierDetector(estimator, random_state=0)
        for _, check in estimator_checks_generator(detector):
            name = f"{check.func.__name__}-{type(estimator).__name__}"
            yield pytest.param(detector, check, id=name, marks=marks)


@pytest.mark.parametrize(("detector", "check"), contract())
def test_contract_of_scikit_learn(detector, check, monkeypatch):
    monkeypatch.setattr("sklearn_unsup.outliers._detector.N_STEPS", 20)
    check(detector)


@pytest.fixture(scope="module")
def numbers(few_steps):
    """A noisy line, and rows off it, whose numbers are no rarer on their own."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 1))
    X = np.hstack([x, -x, 2 * x]) + 0.1 * rng.normal(size=(400, 3))
    broken = X[300:].copy()
    broken[:, 1] = np.roll(broken[:, 1], 1)
    detector = GenerativeOutlierDetector(random_state=0).fit(X[:300])
    return detector, X[:300], X[300:], broken


def test_rows_off_the_line_are_found(numbers):
    detector, _, usual, broken = numbers
    scores = detector.score_samples(np.vstack([usual, broken]))
    moved = np.abs(usual[:, 1] - broken[:, 1]) > 0.5
    is_usual = np.repeat([True, False], 100)
    kept = np.concatenate([moved, moved])
    assert roc_auc_score(is_usual[kept], scores[kept]) > 0.97
    assert (detector.predict(broken) == -1)[moved].mean() > 0.5
    assert (detector.predict(usual) == 1).mean() > 0.9


class Copies(BaseEstimator):
    """A model that rebuilds the rows which it has learnt, and no others."""

    def fit(self, X):
        self.rows_ = X
        return self

    def score_samples(self, X):
        known = np.isin(X[:, 0], self.rows_[:, 0])
        return np.where(known, 0.0, -np.abs(X[:, 0]) - 1.0)


@pytest.fixture
def copies(monkeypatch):
    """Rows, for a detector whose model rebuilds only those that it has learnt."""
    where = "sklearn_unsup.outliers._detector.default_model"
    monkeypatch.setattr(where, lambda *_: Copies())
    return np.random.default_rng(0).normal(size=(4_000, 2))


def test_rebuilt_rows_are_usual_by_rows_that_were_held_out(copies):
    """Else nearly all other rows would be rebuilt worse than a hundredth of these."""
    X = copies
    detector = GenerativeOutlierDetector(random_state=0).fit(X[:2_000])
    assert len(detector.estimator_.rows_) == 1_800
    answers = detector._answers(X[2_000:])
    surprises = detector._surprises[0].of(answers[0])
    assert np.mean(surprises > np.log(10)) == pytest.approx(0.1, abs=0.07)
    for surprise, distances in zip(detector._surprises[1:], answers[1:], strict=True):
        assert np.mean(surprise.of(distances) > np.log(10)) == pytest.approx(
            0.1, abs=0.04
        )


def test_few_rows_are_judged_by_a_model_of_the_other_half(copies):
    """Else all other rows would be rebuilt worse than these, which have no error."""
    X = copies
    detector = GenerativeOutlierDetector(random_state=0).fit(X[:190])
    assert len(detector.estimator_.rows_) == 190
    surprises = detector._surprises[0].of(detector._answers(X[190:])[0])
    assert 0.01 < np.mean(surprises > np.log(10)) < 0.15
    assert np.mean(detector.predict(X[190:]) < 0) < 0.03


def test_score_decision_and_label_agree(numbers):
    detector, _, _, broken = numbers
    scores = detector.score_samples(broken)
    assert (scores <= 0).all()
    decision = detector.decision_function(broken)
    np.testing.assert_allclose(decision, scores - detector.offset_)
    np.testing.assert_array_equal(
        detector.predict(broken), np.where(decision < 0, -1, 1)
    )
    assert detector.offset_ == -np.log(100)


def test_a_training_row_is_not_its_own_neighbour(numbers):
    detector, X, _, _ = numbers
    for neighbors in detector._neighbors:
        distances = neighbors.distances(X)
        assert (distances > 0).all()
        # A row near a training row has that one, too.
        near = neighbors.distances(X + 1e-6)
        assert np.mean(near < distances) > 0.9


def test_farther_is_ever_more_unusual(numbers):
    detector, X, _, _ = numbers
    rows = X[[0]] + np.array([[0], [2], [4], [10], [100]]) * [1.0, 1.0, 1.0]
    assert (np.diff(detector.score_samples(rows)) < 0).all()


@pytest.mark.parametrize("contamination", [0.05, 0.3, 0.5])
def test_contamination_is_the_share_of_outliers(numbers, contamination):
    X = numbers[1]
    detector = quick(contamination=contamination)
    labels = detector.fit_predict(X)
    assert np.mean(labels == -1) == pytest.approx(contamination, abs=0.02)
    np.testing.assert_array_equal(labels, detector.predict(X))


def test_shares_add_up_to_the_score(numbers):
    detector, _, _, broken = numbers
    shares, expected = detector.explain_samples(broken, return_expected=True)
    assert shares.shape == expected.shape == broken.shape
    assert (shares <= 0).all()
    np.testing.assert_allclose(shares.sum(1), detector.score_samples(broken))


def test_what_stood_in_an_odd_cell_is_expected_there(numbers):
    detector, _, usual, broken = numbers
    moved = np.abs(usual[:, 1] - broken[:, 1]) > 1
    shares, expected = detector.explain_samples(broken[moved], return_expected=True)
    assert (shares.argmin(1) == 1).mean() > 0.9
    error = np.abs(expected - usual[moved])[:, 1]
    assert np.median(error) < 0.2
    assert (error < 0.6 * np.abs(broken - usual)[moved, 1]).mean() > 0.9


@pytest.fixture(scope="module")
def mixed(few_steps):
    table, _ = make_mixed_table(400, random_state=0)
    model = VAETransformer(2, max_iter=8, handle_unknown="ignore")
    patch = pytest.MonkeyPatch()
    patch.setattr("sklearn_unsup.outliers._detector.default_model", lambda *_: model)
    detector = GenerativeOutlierDetector(random_state=0).fit(table)
    patch.undo()
    return detector, table


def test_a_mixed_table(mixed):
    detector, table = mixed
    assert detector._neighbors == []
    assert detector._contrast is not None
    shares = detector.explain_samples(table.iloc[20:30])
    assert shares.columns.equals(table.columns)
    assert shares.index.equals(table.index[20:30])
    scores = detector.score_samples(table)
    np.testing.assert_allclose(shares.sum(axis=1), scores[20:30])
    odd = table.iloc[:20].assign(height=900.0)
    assert (detector.score_samples(odd) < scores[:20] - 1).all()
    assert (detector.predict(odd) == -1).all()
    assert (detector.explain_samples(odd).idxmin(axis=1) == "height").all()
    unseen = table.iloc[:3].assign(region="moon")
    assert (detector.explain_samples(unseen).idxmin(axis=1) == "region").all()


@pytest.fixture(scope="module")
def with_errors(few_steps):
    """A detector of a mixed table with three gross errors, and the table."""
    table, _ = make_mixed_table(400, random_state=0)
    for row, (column, value) in enumerate(ERRORS.items()):
        table.loc[row, column] = value
    model = VAETransformer(2, max_iter=2, handle_unknown="ignore")
    patch = pytest.MonkeyPatch()
    patch.setattr("sklearn_unsup.outliers._detector.default_model", lambda *_: model)
    detector = GenerativeOutlierDetector(random_state=0).fit(table)
    patch.undo()
    return detector, table


ERRORS = {"weight": 400.0, "height": 20.0, "spend": 1e6}


def test_gross_errors_in_the_training_table_are_found(with_errors):
    """The model of rows has learnt that 400 is the largest weight."""
    detector, table = with_errors
    scores = detector.score_samples(table)
    assert set(np.argsort(scores)[:3]) == {0, 1, 2}
    assert (detector.predict(table[:3]) == -1).all()
    shares = detector.explain_samples(table[:50])
    assert shares[:3].idxmin(axis=1).tolist() == list(ERRORS)
    np.testing.assert_allclose(shares.sum(axis=1), scores[:50])
    # Nearly all others are as the model sees them.
    detector = copy.copy(detector)
    detector._tails = None
    others = detector.score_samples(table)[3:]
    assert (others == scores[3:]).mean() > 0.99


class Memory(BaseEstimator):
    """A model that knows the rows which it has learnt."""

    def fit(self, X):
        self.rows_ = set(X["weight"])
        return self

    def _cell_losses(self, X):
        known = X["weight"].isin(self.rows_).to_numpy()
        noise = X["height"].to_numpy() / 100
        evidence = np.where(known, noise - 50, noise)[:, None]
        return np.zeros(X.shape), X, evidence

    def score_samples(self, X):
        return -self._cell_losses(X)[2][:, 0]


def test_what_is_usual_is_measured_on_rows_that_the_model_has_not_learnt(monkeypatch):
    """Else nearly all other rows would be outliers."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(4_000, 2)), columns=["weight", "height"])
    X["group"] = "a"
    monkeypatch.setattr(
        "sklearn_unsup.outliers._detector.default_model", lambda *_: Memory()
    )
    detector = GenerativeOutlierDetector(random_state=0).fit(X[:2_000])
    assert len(detector.estimator_.rows_) == 1_800
    assert np.mean(detector.predict(X[2_000:]) == -1) == pytest.approx(0.01, abs=0.01)
    # A share of outliers is one of all rows that were given, and one of fresh rows.
    detector.set_params(contamination=0.04)
    labels = detector.fit_predict(X[:2_000])
    assert np.mean(labels == -1) == pytest.approx(0.04, abs=0.001)
    assert np.mean(detector.predict(X[:2_000]) == -1) < 0.02
    assert np.mean(detector.predict(X[2_000:]) == -1) == pytest.approx(0.04, abs=0.03)
    few = GenerativeOutlierDetector(random_state=0).fit(X[:50])
    assert len(few.estimator_.rows_) == 50
    assert few._contrast is None


def test_farther_is_ever_more_unusual_in_a_mixed_table(with_errors):
    detector, table = with_errors
    row = table.iloc[[10] * 6].assign(weight=[130, 200, 400, 1e4, 1e8, 1e300])
    assert (np.diff(detector.score_samples(row)) < 0).all()
    row["weight"] = [0.0, -100, -1e3, -1e5, -1e9, np.nan]
    scores = detector.score_samples(row)
    assert (np.diff(scores[:5]) < 0).all()
    assert scores[5] > scores[0]


@pytest.mark.parametrize("law", [stats.expon, stats.pareto(1.5), stats.lognorm(1)])
def test_surprises_of_a_tail_are_log_probabilities(law):
    tail = Tail().fit(law.rvs(size=20_000, random_state=0))
    for probability in (0.05, 0.01, 0.001):
        found = tail.surprise(law.isf([probability]))[0]
        assert found == pytest.approx(-np.log(probability), rel=0.1)
    assert (tail.surprise(law.isf([0.2, 0.5, 0.9])) == 0).all()


@pytest.mark.parametrize("n", [60, 1_000])
@pytest.mark.parametrize("law", [stats.norm, stats.uniform, stats.poisson(1)])
def test_light_tails_are_no_outliers(law, n):
    """The distribution has no tail that is lighter than exponential."""
    rng = np.random.default_rng(0)
    far = [
        Tail()
        .fit(law.rvs(size=n, random_state=rng))
        .surprise(law.rvs(size=1_000, random_state=rng))
        .max()
        for _ in range(20)
    ]
    assert np.median(far) < np.log(1_000)


def test_errors_hardly_move_the_tail_that_tells_them():
    x = stats.norm.rvs(size=500, random_state=0)
    expected = Tail().fit(x).surprise(np.array([10.0]))
    x[:3] = 1e9
    assert Tail().fit(x).surprise(np.array([10.0])) == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize("scale", [5e-324, 1.0, 1.7e308])
def test_tails_of_extreme_numbers_are_finite(scale):
    x = np.linspace(-1, 1, 101)
    frame = pd.DataFrame({"x": np.append(x, [0.9, 1.0]) * scale})
    tails = Tails().fit(frame)
    found = tails.surprises(pd.DataFrame({"x": [0.0, 1.7e308, -1.7e308, np.nan]}))
    assert np.isfinite(found).all()
    assert found[0] == found[3] == 0
    assert (found[1:3] > 0).all()


def test_a_number_that_many_rows_share_is_no_error():
    x = stats.norm.rvs(size=1_000, random_state=0)
    x[:20] = 99.0
    tail = Tail().fit(x)
    assert tail.surprise(np.array([99.0]))[0] <= np.log(1_000 / 20)
    assert tail.surprise(np.array([98.0]))[0] <= np.log(1_000 / 20)
    farther = tail.surprise(np.array([99.1, 200.0, 1e6]))
    assert (np.diff(farther) > 0).all()
    assert farther[0] > np.log(1_000)


def test_rarity_is_the_share_of_rows_with_a_level_as_rare():
    column = pd.Series(["a"] * 500 + ["b"] * 490 + [None] * 8 + ["x", "y"])
    asked = pd.Series(["a", "b", None, np.nan, "x", "never seen"])
    found = np.exp(-Rarity().fit(column).surprise(asked))
    expected = np.array([1_000, 500, 10, 10, 2, 2]) + 1
    np.testing.assert_allclose(found, expected / 1_001)
    # Where every row has a level of its own, as with identifiers, new ones are usual.
    names = pd.Series(np.arange(50).astype(str))
    assert (Rarity().fit(names).surprise(pd.Series(["3", "99"])) == 0).all()


def test_rows_with_many_gaps_are_outliers():
    """Of rows that miss two cells in ten by chance, and one that misses all but one."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1_000, 10))
    X[rng.random(X.shape) < 0.2] = np.nan
    gaps = Gaps().fit(X)
    found = gaps.decisive(X)
    n_missing = np.isnan(X).sum(1)
    n_as_many = (n_missing[:, None] >= n_missing).sum(0)
    assert_array_equal(found.max(1) > 0, (n_as_many + 1) / 1_001 < 1 / MANY_GAPS_ROWS)
    assert (found[~np.isnan(X)] == 0).all()
    row = np.full((1, 10), np.nan)
    row[0, 3] = 0.0
    [surprises] = gaps.decisive(row)
    further = 9 - n_missing.max() - 1
    expected = np.log(1_001) - further * np.log(np.isnan(X).mean())
    assert surprises[3] == 0
    assert_allclose(np.delete(surprises, 3), expected, rtol=1e-3)


@pytest.mark.parametrize("n", [10, 12, 20, 21, 22, 30, 100])
def test_an_outlier_among_few_rows_does_not_hide_itself(n):
    usual = stats.expon.ppf((np.arange(n - 1) + 0.5) / (n - 1))
    answers = np.append(usual, 50.0)
    robust, plain = Surprise().fit(answers, True), Surprise().fit(answers)
    # Of an exponential law the surprise is the answer, in units of its mean.
    assert 20 < robust.of(50.0) < 100
    assert plain.of(50.0) < 15
    assert (robust.of(usual) > np.log(AUTO_ROWS)).sum() <= n / AUTO_ROWS


@pytest.mark.parametrize("n", [60, 300])
def test_a_word_among_numbers_that_a_part_of_the_table_lacks(n):
    """The column holds levels, also for models that see a part without the word."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"age": rng.integers(20, 60, n), "x": rng.normal(size=n)})
    X["age"] = X["age"].astype(object)
    X.loc[3, "age"] = "?"
    detector = GenerativeOutlierDetector(random_state=0).fit(X)
    assert np.isfinite(detector.score_samples(X)).all()
    assert detector.score_samples(X.assign(age=30)).shape == (n,)


def test_the_bound_is_asked_where_no_model_draws_cell_by_cell(monkeypatch):
    """As of images beside categories, and of very wide tables."""
    from sklearn_unsup.outliers import _detector

    build = _detector.default_model

    def latent(X, levels):
        return build(X, levels).set_params(sampling="latent", max_iter=2)

    monkeypatch.setattr(_detector, "default_model", latent)
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"kind": rng.choice(["a", "b"], 60), "x": rng.normal(size=60)})
    detector = GenerativeOutlierDetector(random_state=0).fit(X)
    bounds = detector.estimator_.score_samples(X)
    scores = detector.score_samples(X)
    assert stats.spearmanr(bounds, scores)[0] > 0.9
    assert_allclose(detector.explain_samples(X).sum(axis=1), scores)


@pytest.mark.parametrize("n", [10, 150, 199])
def test_few_rows_say_nothing_of_gaps(n):
    X = np.random.default_rng(0).normal(size=(n, 4))
    assert (Gaps().fit(X).decisive([[0.0, np.nan, np.nan, np.nan]]) == 0).all()


def test_a_table_without_gaps_finds_them_odd():
    gaps = Gaps().fit(np.zeros((400, 2)))
    [found] = gaps.decisive([[np.nan, np.nan]])
    assert_allclose(found, np.log(401) + np.log(801 / 0.5))
    full = Gaps().fit(np.full((400, 2), np.nan))
    assert full.log_share_ == np.log(0.5)


@pytest.mark.parametrize("with_levels", [False, True])
def test_reasons_of_a_row_with_many_gaps_are_its_gaps(with_levels):
    # Gaps are so rare that no other question is as sure of such a row.
    rng = np.random.default_rng(1)
    X = pd.DataFrame(rng.normal(size=(400, 6)), columns=list("abcdef"))
    if with_levels:
        X["f"] = np.where(X["f"] > 0, "high", "low")
    X = X.mask(rng.random(X.shape) < 0.02)
    detector = GenerativeOutlierDetector(random_state=0).fit(X)
    row = X.iloc[:1].copy()
    row.iloc[0, 1:] = np.nan
    row["a"] = 0.0
    assert detector.predict(row) == [-1]
    shares = detector.explain_samples(row)
    assert_allclose(shares.sum(axis=1), detector.score_samples(row))
    assert_allclose(shares.iloc[0, 1:], shares.iloc[0, 1:].mean())
    assert shares.iloc[0, 0] == pytest.approx(0, abs=1e-6)


def test_typos_in_levels_are_found():
    """Whether the detector has learnt from them or not."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"city": rng.choice(["Rome", "Oslo", "Bern"], 600)})
    table["kind"], table["x"] = rng.choice(["a", "b"], 600), rng.normal(size=600)
    odd = pd.DataFrame({"city": ["Romme", "Oslo"], "kind": ["a", "A"], "x": [0.1, 0.0]})
    both = pd.concat([odd, table], ignore_index=True)
    for rows in (both, table):
        detector = GenerativeOutlierDetector(random_state=0).fit(rows)
        ranks = stats.rankdata(detector.score_samples(both))
        assert (ranks[:2] <= 12).all()
        shares = detector.explain_samples(odd)
        assert shares.idxmin(axis=1).tolist() == ["city", "kind"]
        np.testing.assert_allclose(shares.sum(axis=1), detector.score_samples(odd))


def test_tails_of_one_value_and_of_none():
    constant = Tail().fit(np.zeros(99))
    np.testing.assert_allclose(constant.surprise(np.array([0, 1e9])), [0, np.log(100)])
    frame = pd.DataFrame({"gone": [np.nan] * 3, "x": [1.0, 2.0, np.nan]})
    tails = Tails().fit(frame)
    assert tails.surprises(frame.assign(gone=9.0)).shape == (3, 2)
    assert (tails.surprises(frame.assign(gone=9.0))[:, 0] == 0).all()
    assert tails.surprises(frame)[2].tolist() == [0, 0]


def test_score_of_a_row_does_not_depend_on_company(mixed, numbers):
    for detector, X in (mixed, numbers[:2]):
        scores, index = detector.score_samples(X), np.arange(0, 300, 41)[::-1]
        part = X.iloc[index] if isinstance(X, pd.DataFrame) else X[index]
        np.testing.assert_array_equal(detector.score_samples(part), scores[index])


def test_missing_numbers_sparse_rows_and_polars(numbers):
    X = numbers[1].copy()
    X[::7, 1] = np.nan
    detector = GenerativeOutlierDetector(random_state=0).fit(X)
    assert np.isfinite(detector.score_samples(X)).all()
    sparse = csr_array(np.where(np.isnan(X), 0.0, X))
    assert np.isfinite(quick().fit(sparse).score_samples(sparse)).all()
    assert GenerativeOutlierDetector(QUICK).fit(sparse)._neighbors == []
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(X, schema=["a", "b", "c"])
    shares, expected = quick().fit(frame).explain_samples(frame, return_expected=True)
    assert isinstance(shares, polars.DataFrame)
    assert shares.columns == expected.columns == ["a", "b", "c"]


def test_kept_rows_are_bounded(monkeypatch, numbers):
    monkeypatch.setattr("sklearn_unsup.outliers._detector.MAX_REFERENCES", 50)
    assert MAX_REFERENCES == 3_000
    X = numbers[1]
    for scale in ("standard", "quantile"):
        neighbors = Neighbors(scale).fit(X, np.random.default_rng(0))
        assert neighbors.tree_.data.shape == (50, 3)


@pytest.mark.slow
def test_copies_score_alike(numbers):
    detector, X, _, _ = numbers
    copy = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(copy.score_samples(X), detector.score_samples(X))
    again = clone(detector).fit(X)
    np.testing.assert_array_equal(again.score_samples(X), detector.score_samples(X))


def test_surprises_are_log_shares():
    answers = np.random.default_rng(0).exponential(size=20_000)
    surprise = Surprise().fit(answers)
    # Of exponential answers the surprise is the answer itself, far beyond them, too.
    x = np.array([0.1, 1.0, 2.0, 3.0, 8.0, 40.0])
    np.testing.assert_allclose(surprise.of(x), x, rtol=0.08)
    assert Surprise().fit(np.ones(5)).of(np.array([1.0]))[0] < np.log(100)


def test_surprise_of_ties():
    """All rows answer at least the least of tied answers, half at least the other."""
    surprise = Surprise().fit(np.repeat([0.0, 1.0], 50))
    x = surprise.of(np.array([0.0, 1.0]))
    np.testing.assert_allclose(x, [0, np.log(2)], atol=1e-6)


def test_no_question_outweighs_the_others_by_a_guess():
    x = np.array([0.5, 3.0, 4.0, 6.0, 20.0, 400.0])
    np.testing.assert_array_equal(mean_surprise([x]), x)
    # Up to one row in a hundred the mean, and beyond it an outlier as ever.
    np.testing.assert_allclose(mean_surprise([x, x])[:3], x[:3])
    limit = np.log(AUTO_ROWS)
    for others in (0.1, 2.0, 5.0):
        surprises = [x, np.full(6, others), np.full(6, others)]
        found, mean = mean_surprise(surprises), np.mean(surprises, axis=0)
        np.testing.assert_array_equal(found > limit, mean > limit)
        assert (np.diff(found) > 0).all()
    # One that is sure comes after three that agree.
    one, three = np.array([60.0, 7.0]), np.array([0.5, 7.0])
    assert np.diff(mean_surprise([one, three, three]))[0] > 0


def test_a_broken_copy_has_cells_of_other_rows():
    rng = np.random.default_rng(0)
    table = np.arange(300.0)[:, None] + 1_000 * np.arange(5)
    table[::7, 2] = np.nan
    copy = broken_copy(table, rng)
    for cells, column in zip(copy.T, table.T, strict=True):
        assert np.isin(cells[~np.isnan(cells)], column).all()
    rows = copy - 1_000 * np.arange(5)
    kept = np.array([np.unique(row[~np.isnan(row)]).size > 1 for row in rows])
    assert kept.mean() > 0.95  # The others differ in what is missing.
    assert broken_copy(np.ones((50, 3)), rng).shape == (0, 3)


def test_log_odds_are_those_of_broken_rows(monkeypatch):
    monkeypatch.setattr("sklearn_unsup.outliers._contrast.N_ROUNDS", 120)
    rng = np.random.default_rng(0)
    x = rng.integers(2, size=1_000).astype(float)
    table = np.column_stack([x, np.where(rng.random(1_000) < 0.1, 1 - x, x)])
    copies = np.concatenate([broken_copy(table, rng) for _ in range(20)])
    agrees = [np.mean(rows[:, 0] == rows[:, 1]) for rows in (table, copies)]
    expected = np.diff([np.log(share / (1 - share)) for share in agrees])[0]
    contrast = Contrast().fit(table, rng)
    odds = contrast.log_odds(np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    assert odds[0] - odds[1] == pytest.approx(expected, abs=0.2)
    assert odds[0] == pytest.approx(odds[2], abs=0.15)


def test_trees_name_the_cell_that_does_not_go_with_the_others(monkeypatch):
    rng = np.random.default_rng(0)
    group = rng.integers(3, size=600)
    table = pd.DataFrame({"x": group + 0.1 * rng.normal(size=600), "y": -group})
    table["group"] = np.array(["a", "b", "c"])[group]
    contrast = Contrast().fit(table, rng)
    rows = table[group == 0]
    for name, value in {"x": 2.0, "y": -2, "group": "c"}.items():
        costs = contrast.cell_costs(rows.assign(**{name: value}))
        assert costs.shape == rows.shape
        assert (costs.argmax(axis=1) == table.columns.get_loc(name)).mean() > 0.9
    with monkeypatch.context() as patch:
        patch.setattr("sklearn_unsup.outliers._contrast.COSTED_ROWS", 7)
        part_by_part = contrast.cell_costs(rows)
    np.testing.assert_array_equal(part_by_part, contrast.cell_costs(rows))
    strange = pd.DataFrame({"x": [np.nan], "y": [np.nan], "group": ["new"]})
    assert np.isfinite(contrast.log_odds(strange)).all()
    assert np.isfinite(contrast.cell_costs(strange)).all()


def test_equal_rows_are_not_contrasted():
    frame = pd.DataFrame({"x": [1.0] * 30, "group": "a"})
    contrast = Contrast().fit(frame, np.random.default_rng(0))
    assert (contrast.log_odds(frame) == 0).all()
    assert (contrast.cell_costs(frame) == 0).all()


@pytest.mark.parametrize("contamination", [0, 0.0, 0.6, -0.1, "half", 1])
def test_error_of_contamination(contamination):
    with pytest.raises(ValueError, match="contamination must be 'auto' or a float in"):
        GenerativeOutlierDetector(contamination=contamination).fit(np.zeros((9, 2)))


def test_error_of_estimator(numbers):
    X = numbers[1]
    with pytest.raises(TypeError, match="estimator must have score_samples, which Rid"):
        GenerativeOutlierDetector(Ridge()).fit(X)
    other = GenerativeOutlierDetector(PCA(1)).fit(X)
    assert not hasattr(other, "explain_samples")
    assert other.predict(X).shape == (300,)


@pytest.mark.parametrize("n_rows", [500, 1_500])
def test_rows_whose_cells_are_all_extreme_are_outliers(n_rows):
    """Each cell lets expect the other, and the noise of a category hides neither."""
    rng = np.random.default_rng(0)

    def usual(n):
        a = rng.normal(size=n)
        b = 8 * a + 6 * rng.normal(size=n)
        return pd.DataFrame({"a": 10 * a, "b": b, "z": rng.choice(["u", "v"], n)})

    train, rows, bad = usual(n_rows), usual(200), usual(20)
    bad["a"], bad["b"] = 18 + rng.normal(size=20), 40 + rng.normal(size=20)
    detector = GenerativeOutlierDetector(random_state=0).fit(train)
    scores = detector.score_samples(pd.concat([rows, bad]))
    assert roc_auc_score(np.arange(220) < 200, scores) > 0.95
    assert (detector.predict(bad) == -1).mean() > 0.7
    assert (detector.predict(rows) == 1).mean() > 0.95
    shares = detector.explain_samples(bad)
    np.testing.assert_allclose(shares.sum(axis=1), scores[200:])
    assert (shares["z"] > shares["b"]).mean() > 0.9
