"""Audits find what is given away, and nothing where nothing is."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sklearn_unsup import VAETransformer
from sklearn_unsup.datasets import make_mixed_table
from sklearn_unsup.metrics._membership import auc_interval
from sklearn_unsup.privacy import (
    attribute_disclosure,
    epsilon_lower_bound,
    membership_audit,
)
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
    assert audit.findings[0].startswith("No attack finds members")


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
        ({"members": np.zeros((9, 2))}, "members must have at least 10 rows"),
        ({"non_members": np.zeros((18, 2))}, "non_members must have at least 10 rows"),
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
