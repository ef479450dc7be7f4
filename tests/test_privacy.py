"""Audits find what is given away, and nothing where nothing is."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.base import BaseEstimator

from sklearn_unsup import VAETransformer
from sklearn_unsup.datasets import make_mixed_table
from sklearn_unsup.metrics._frames import encode_tables
from sklearn_unsup.metrics._membership import auc_interval
from sklearn_unsup.privacy import (
    MembershipAudit,
    attribute_disclosure,
    epsilon_lower_bound,
    membership_audit,
)
from sklearn_unsup.privacy._attacks import likelihood_attack
from sklearn_unsup.privacy._audit import evidence_table, exposed_rows, plain_frames
from sklearn_unsup.privacy._disclosure import difference_interval
from sklearn_unsup.privacy._evidence import (
    proportion_interval,
    true_positives,
)

FAST = ["nearest", "classifier"]


@pytest.fixture(scope="module")
def tables():
    """Members, others, reference and fresh rows of the same distribution."""
    return [make_mixed_table(400, random_state=seed)[0] for seed in range(4)]


# ---------------------------------------------------------------------- evidence


def test_area_and_its_variance_match_their_definitions():
    rng = np.random.default_rng(0)
    members, others = rng.integers(0, 5, 30) + 1.0, rng.integers(0, 5, 20) + 0.0
    kernel = (members[:, None] > others) + 0.5 * (members[:, None] == others)
    auc, low, high = auc_interval(members, others, 0.95)
    assert auc == pytest.approx(kernel.mean())
    variance = kernel.mean(1).var(ddof=1) / 30 + kernel.mean(0).var(ddof=1) / 20
    assert high - low == pytest.approx(2 * stats.norm.ppf(0.975) * variance**0.5)


def test_interval_of_clopper_and_pearson_matches_scipy():
    for count, n in [(0, 10), (3, 10), (10, 10)]:
        expected = stats.binomtest(count, n).proportion_ci(0.95, method="exact")
        assert proportion_interval(count, n, 0.95) == pytest.approx(tuple(expected))


def test_true_positives_at_few_false_ones():
    others = np.arange(1_000.0)
    members = np.array([989.5, 990.5, 999.5, 5.0])
    # Ten of the others may pass: the threshold is 989.
    assert true_positives(members, others, 0.01, 0.95)[0] == 0.75
    # One may: the threshold is 998.
    assert true_positives(members, others, 0.001, 0.95)[0] == 0.25
    # A score that is no higher than the threshold is not taken for a member's.
    assert true_positives(np.array([988.5, 989.0]), others, 0.01, 0.95)[0] == 0.0


def test_an_area_of_1_has_an_interval():
    """Of the variance of the next worse result, which the data do not show."""
    auc, low, high = auc_interval(np.arange(10.0) + 50, np.arange(20.0), 0.95)
    assert auc == high == 1.0
    margin = stats.norm.ppf(0.975) * np.sqrt(0.25 / (10 * 20))
    assert low == pytest.approx(1 - margin)


def test_low_scores_are_evidence_too():
    """Half of the others are told by low scores, and no member by a high one."""
    rng = np.random.default_rng(0)
    members, others = rng.normal(size=(2, 2_000))
    others[::2] = -10
    assert epsilon_lower_bound(members, others, random_state=0) > 2


def test_bounds_of_several_attacks_hold_together():
    members, others = np.random.default_rng(0).normal(size=(2, 300))
    scores = [pd.DataFrame({"a": x, "b": x}) for x in (members + 2, others)]
    table = evidence_table(*scores, np.random.RandomState(0))
    alone = epsilon_lower_bound(
        members + 2, others, confidence=0.975, random_state=np.random.RandomState(0)
    )
    assert table.loc["a", "epsilon"] == alone > 0


def test_the_interval_of_a_difference_is_newcombes():
    """His example (1998, table II, a, method 10): 56 of 70 against 48 of 80."""
    hits = [np.arange(70) < 56, np.arange(80) < 48]
    assert difference_interval(*hits) == pytest.approx((0.0524, 0.3339), abs=1e-4)


class Frequencies(BaseEstimator):
    """A density of levels, which refuses those that are unknown unless told else."""

    def __init__(self, handle_unknown="error"):
        self.handle_unknown = handle_unknown

    def fit(self, X, y=None):
        self.shares_ = X["c"].value_counts(normalize=True)
        return self

    def score_samples(self, X):
        shares = X["c"].map(self.shares_)
        if self.handle_unknown == "error" and shares.isna().any():
            raise ValueError("unknown level")
        with np.errstate(divide="ignore"):
            return np.log(shares.fillna(0.0).to_numpy())


def test_a_likelihood_ratio_of_levels_that_neither_model_knows_is_one():
    model = Frequencies("ignore").fit(pd.DataFrame({"c": [*"aaab"]}))
    reference, targets = (pd.DataFrame({"c": [*text]}) for text in ("abbb", "abz"))
    scores = likelihood_attack([targets], model, reference)
    np.testing.assert_allclose(scores, [np.log(3), -np.log(3), 0.0])
    # The clone that is fitted to the reference takes what it has not seen, too.
    known = Frequencies().fit(pd.DataFrame({"c": [*"aabz"]}))
    assert likelihood_attack([targets], known, reference)[2] > 100


class ScoresByChance(BaseEstimator):
    """Gives all rows one score, which each `fit` draws anew."""

    def __init__(self, handle_unknown="error"):
        self.handle_unknown = handle_unknown

    def fit(self, X, y=None):
        self.score_ = np.random.default_rng().normal()
        return self

    def score_samples(self, X):
        return np.full(len(X), self.score_)


def test_members_and_others_are_compared_with_one_model():
    """Another seed, or the noise of a budget, tells nobody who was a member."""
    members, others, reference = (
        pd.DataFrame({"c": np.arange(50) + part}) for part in (0.0, 0.2, 0.4)
    )
    audit = membership_audit(
        reference, members, others, reference, model=ScoresByChance().fit(members),
        attacks="likelihood_ratio", random_state=0,
    )  # fmt: skip
    assert audit.attacks.loc["likelihood_ratio", "auc"] == 0.5


def randomised_response(epsilon, n, rng):
    """Scores by a mechanism of exactly this epsilon: the truth, or else a lie."""
    truth = rng.random(2 * n) < 1 / (1 + np.exp(-epsilon))
    return truth[:n], ~truth[n:]


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 3.0])
def test_epsilon_of_randomised_response_is_bounded_from_below(epsilon):
    rng = np.random.default_rng(0)
    bounds = np.array(
        [
            epsilon_lower_bound(
                *randomised_response(epsilon, 1_000, rng), random_state=i
            )
            for i in range(200)
        ]
    )
    # At 95 % no more than 5 % may lie above; 20 of 200 do with probability 0.001.
    assert (bounds > epsilon).mean() < 0.1
    # The lower limit of some 250 guesses costs the most where epsilon is small.
    assert np.median(bounds) > 0.5 * epsilon


def test_the_bound_does_not_profit_from_the_choice_of_a_threshold():
    rng = np.random.default_rng(0)
    bounds = [
        epsilon_lower_bound(*rng.normal(size=(2, 60)), random_state=i)
        for i in range(200)
    ]
    assert np.mean(np.array(bounds) > 0) < 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], [0.0, 1.0]), "member_scores must be at least two"),
        (([1.0, 2.0], [[0.0, 1.0]]), "non_member_scores must be at least two"),
        (([1.0, np.nan], [0.0, 1.0]), "member_scores must be numbers, got 1 NaN"),
    ],
)
def test_scores_that_cannot_be_judged(arguments, message):
    with pytest.raises(ValueError, match=message):
        epsilon_lower_bound(*arguments)


def test_confidence_is_a_probability():
    with pytest.raises(ValueError, match="confidence must lie between 0 and 1"):
        epsilon_lower_bound([0, 1], [0, 1], confidence=95)


# ---------------------------------------------------------------------- the audit


def test_copies_are_found(tables):
    members, others, reference, _ = tables
    # Of a bootstrap of the same size 37 % of the members are absent; of this one 2 %.
    copies = members.sample(4 * len(members), replace=True, random_state=0)
    audit = membership_audit(
        copies, members, others, reference, attacks="nearest", random_state=0
    )
    [evidence] = audit.attacks.to_dict("records")
    assert evidence["auc"] > 0.95
    assert evidence["epsilon"] > 2
    assert evidence["tpr_1%_low"] > 0.8
    assert audit.leaks == ["nearest"]
    assert "Members are found by 'nearest'" in audit.findings[0]
    assert any("No claim of an epsilon below" in text for text in audit.findings)


def test_fresh_rows_are_not(tables):
    members, others, reference, fresh = tables
    audit = membership_audit(
        fresh, members, others, reference, attacks=FAST, random_state=0
    )
    assert (audit.attacks["auc_low"] < 0.5).all()
    assert (audit.attacks["auc_high"] > 0.5).all()
    assert audit.attacks["epsilon"].max() < 0.3
    assert audit.leaks == []
    assert audit.findings[0].startswith("No attack finds members")
    assert not any("exposed" in sentence for sentence in audit.findings)


def leaks_of(members, others):
    table = evidence_table(members, others, np.random.RandomState(0))
    return MembershipAudit(table, members, others, None, None, []).leaks


def test_attacks_that_find_nothing_leak_in_few_audits():
    """Five independent attacks: each alone would be above a half in 2.5 % of audits."""
    names, rng = list("abcde"), np.random.default_rng(0)
    n_leaks = 0
    for _ in range(200):
        members, others = (
            pd.DataFrame(rng.normal(size=(100, 5)), columns=names) for _ in range(2)
        )
        n_leaks += bool(leaks_of(members, others))
    # The two-sided error of 5 % is shared: .5 % above for each of the five.
    assert 1 <= n_leaks <= 12


def test_leaks_are_named_best_first():
    rng = np.random.default_rng(0)
    members = pd.DataFrame(rng.normal([1, 0, 2], size=(200, 3)), columns=[*"abc"])
    others = pd.DataFrame(rng.normal(size=(200, 3)), columns=[*"abc"])
    assert leaks_of(members, others) == ["c", "a"]


def test_copies_of_others_are_no_evidence(tables):
    members, others, reference, _ = tables
    audit = membership_audit(
        others, members, others, reference, attacks="nearest", random_state=0
    )
    assert audit.findings[0].startswith("Members look less like members")


def test_shares_of_exposed_rows_count_those_that_are_as_exposed():
    members, others = pd.DataFrame({"a": [1.0, 2.0]}), pd.DataFrame({"a": [1, 1, 0.0]})
    assert exposed_rows(members, others)["a"].to_dict() == {0: 0.75, 1: 0.25}


def test_own_models_get_categories_as_such():
    real = pd.DataFrame({"c": [*"aab"], "x": [1.0, 2.0, np.nan]})
    *_, frame = plain_frames(encode_tables(real=real, synthetic=real))
    kinds = [isinstance(dtype, pd.CategoricalDtype) for dtype in frame.dtypes]
    assert kinds == [True, False]


def test_independent_columns_are_not(tables):
    members, others, reference, _ = tables
    columns = {
        name: members[name].sample(frac=1, random_state=i).to_numpy()
        for i, name in enumerate(members)
    }
    audit = membership_audit(
        pd.DataFrame(columns), members, others, reference, attacks=FAST, random_state=0
    )
    assert (audit.attacks["auc_low"] < 0.5).all()


def test_exposed_row_and_column_are_named():
    rng = np.random.default_rng(0)
    members, others, reference, fresh = rng.normal(size=(4, 500, 3))
    fresh[7] = members[123] = [4.0, -4.0, 4.0]
    audit = membership_audit(
        fresh, members, others, reference, attacks="nearest", random_state=0
    )
    assert audit.rows.index[0] == 123
    assert audit.rows["nearest"].is_monotonic_increasing
    for table in (members, others, reference):
        table[:, [0, 2]] = table[:, [0, 2]].round()
    audit = membership_audit(
        members, members, others, reference, attacks="nearest", random_state=0
    )
    assert audit.columns.index[0] == 1
    assert audit.columns.iloc[0] > 0.3


def test_without_a_reference_half_of_the_others_serves(tables):
    members, others, _, fresh = tables
    audit = membership_audit(fresh, members, others, attacks="nearest", random_state=0)
    assert len(audit.member_scores) == 400
    assert len(audit.non_member_scores) == 200
    # It is the other half, of which no attacked row is its own neighbour.
    assert audit.attacks.loc["nearest", "auc_low"] < 0.5
    again = membership_audit(fresh, members, others, attacks="nearest", random_state=0)
    pd.testing.assert_frame_equal(audit.attacks, again.attacks)


@pytest.mark.slow
def test_a_model_that_has_memorised_is_found():
    rng = np.random.default_rng(0)
    members, others, reference = rng.normal(size=(3, 60, 4))
    model = VAETransformer(
        hidden_layer_sizes=(64,), weight_decay=0.0, max_iter=150, random_state=0
    ).fit(members)
    audit = membership_audit(
        None, members, others, reference, model=model, attacks="likelihood_ratio",
        random_state=0,
    )  # fmt: skip
    assert audit.attacks.loc["likelihood_ratio", "auc_low"] > 0.6


@pytest.mark.slow
def test_density_ratio_finds_copies():
    rng = np.random.default_rng(0)
    members, others, reference = rng.normal(size=(3, 40, 3))
    audit = membership_audit(
        np.repeat(members, 5, axis=0), members, others, reference,
        attacks="density_ratio", random_state=0,
    )  # fmt: skip
    assert audit.attacks.loc["density_ratio", "auc_low"] > 0.6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attacks": ["guess"]}, "attacks must be"),
        ({"attacks": []}, "attacks must be"),
        ({"attacks": "likelihood_ratio"}, "needs a fitted model with score_samples"),
        ({"synthetic": None}, "needs a model to draw rows from"),
        ({"members": np.zeros((9, 2))}, "members must have at least 10 rows .* got 9"),
        (
            {"non_members": np.zeros((18, 2))},
            "non_members must have at least 20 rows .* got 18: .* or a reference",
        ),
        ({"synthetic": np.zeros((9, 3))}, "as many columns"),
    ],
)
def test_audits_that_are_refused(change, message):
    rows = np.random.default_rng(0).normal(size=(40, 2))
    arguments = {"synthetic": rows, "members": rows, "non_members": rows, **change}
    with pytest.raises(ValueError, match=message):
        membership_audit(**arguments)


def test_display_draws_the_roc_curve(tables):
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="needs the extra plot")
    from sklearn.metrics import auc, roc_curve

    from sklearn_unsup.inspection import MembershipAuditDisplay

    members, others, reference, _ = tables
    audit = membership_audit(
        members[:100], members, others, reference, attacks="nearest", random_state=0
    )
    display = MembershipAuditDisplay.from_audit(audit)
    false, true = display.lines_["nearest"].get_data()
    label = np.repeat([1, 0], 400)
    scores = [audit.member_scores["nearest"], audit.non_member_scores["nearest"]]
    expected = roc_curve(label, np.concatenate(scores), drop_intermediate=False)
    np.testing.assert_allclose(false, expected[0][1:])
    np.testing.assert_allclose(true, expected[1][1:])
    area = auc([0, *false], [0, *true])
    assert area == pytest.approx(audit.attacks.loc["nearest", "auc"])
    pyplot.close(display.figure_)


# -------------------------------------------------------------- attribute disclosure


def test_secrets_of_copied_rows_are_disclosed(tables):
    members, others, _, fresh = tables
    copied = attribute_disclosure(members, members, others, "plan", random_state=0)
    assert copied.members > 0.95
    assert copied.excess_low > 0.1
    safe = attribute_disclosure(fresh, members, others, "plan", random_state=0)
    assert safe.excess_low < 0 < safe.excess_high
    assert safe.fresh < copied.members


def test_numbers_are_guessed_within_a_tolerance():
    rng = np.random.default_rng(0)
    known = np.arange(200.0)
    secret = np.linspace(0, 1, 200)
    members = np.column_stack([known, secret])
    span = np.subtract(*np.percentile(secret, [95, 5]))
    near, far = members.copy(), members.copy()
    near[:, 1] += 0.049 * span
    far[:, 1] += 0.051 * span
    others = rng.permutation(members)
    shares = [
        attribute_disclosure(table, members, others, 1).members for table in (near, far)
    ]
    assert shares == [1.0, 0.0]


def test_rows_without_the_secret_are_not_looked_up():
    members = np.column_stack([np.arange(50.0), np.linspace(0, 1, 50)])
    without = members.copy()
    without[:, 1] = np.nan
    both = np.concatenate([without, members])
    assert attribute_disclosure(both, members, members, 1).members == 1.0


def test_as_many_fresh_rows_are_looked_up_as_synthetic_ones():
    members = np.column_stack([np.arange(50.0), np.linspace(0, 1, 50)])
    few = members[::10]
    disclosure = attribute_disclosure(few, members, members, 1, random_state=0)
    assert disclosure.fresh < 0.5


@pytest.mark.parametrize(
    ("secret", "known", "message"),
    [
        ("z", None, "must be among the columns"),
        ("a", ["z"], "must be among the columns"),
        ("a", ["a"], "other than the secret"),
        ("a", [], "other than the secret"),
    ],
)
def test_disclosures_that_are_refused(secret, known, message):
    table = pd.DataFrame({"a": np.arange(10), "b": 1.0})
    with pytest.raises(ValueError, match=message):
        attribute_disclosure(table, table, table, secret, known=known)


@pytest.mark.parametrize("wrong", ["non_members", "reference"])
def test_members_are_not_compared_with_themselves(wrong):
    """No attack would find anything, however much was copied."""
    members, others, fresh, drawn = np.random.default_rng(0).normal(size=(4, 60, 3))
    tables = {"non_members": others, "reference": fresh, wrong: members[::-1]}
    with pytest.raises(ValueError, match=f"{wrong} must be rows .* 60 of 60"):
        membership_audit(drawn, members, **tables)
    # Rows of few levels are the same by chance.
    few = [table > 0 for table in (drawn, members, others, fresh)]
    membership_audit(*few, attacks="nearest", random_state=0)
