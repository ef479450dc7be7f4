"""How well scores tell members from others, with intervals that hold for few rows."""

import numpy as np
from scipy import stats
from sklearn.utils import check_random_state

# Number of thresholds that are compared on the first half of the rows.
N_THRESHOLDS = 50


def proportion_interval(count, n, confidence):
    """The interval of Clopper and Pearson for a probability, of two sides."""
    tail = (1 - confidence) / 2
    return lower_proportion(count, n, tail), 1 - lower_proportion(n - count, n, tail)


def lower_proportion(count, n, tail):
    """What a probability falls below with a confidence of `tail` at most."""
    return float(stats.beta.ppf(tail, count, n - count + 1)) if count > 0 else 0.0


def true_positives(members, others, false_positives, confidence):
    """Share of members above the threshold that few others pass, and its interval.

    The threshold lets at most the share `false_positives` of the others pass.
    """
    allowed = int(false_positives * len(others))
    threshold = np.sort(others)[len(others) - 1 - allowed]
    count = int((members > threshold).sum())
    low, high = proportion_interval(count, len(members), confidence)
    return count / len(members), low, high


def epsilon_lower_bound(
    member_scores, non_member_scores, *, confidence=0.95, random_state=None
) -> float:
    """Smallest epsilon that is consistent with how well an attack tells members apart.

    An attack that guesses membership, where it is as likely as not, is right in at most
    a share exp(epsilon) / (1 + exp(epsilon)) of its guesses if the mechanism that it
    attacks is differentially private with this epsilon. Of many guesses about the rows
    of a single fit the number of right ones is bounded in the same way [1]_. The bound
    here is the epsilon at which the lower Clopper-Pearson limit of the observed share
    is reached.

    The attack may abstain: it guesses where scores are high, or where they are low,
    only. The threshold is chosen on one half of the rows and the guesses are counted on
    the other half, since a bound at the best of many thresholds would be too high.

    Parameters
    ----------
    member_scores : array-like of shape (n_members,)
        Scores of rows that were fitted on; higher for what looks like a member. For a
        canary, a score for each fit that had it.
    non_member_scores : array-like of shape (n_non_members,)
        Scores of rows that were not, which must be of the same distribution.
    confidence : float, default=0.95
        Probability with which the bound holds.
    random_state : int, RandomState instance or None, default=None
        Seed of the choice of rows: as many members as others are needed on average.

    Returns
    -------
    epsilon : float
        At least 0, which is what an attack that finds nothing gives, and limited by the
        number of rows: few rows cannot show a large epsilon.

    Raises
    ------
    ValueError
        If there are fewer than two scores of a kind, if a score is not a number, or if
        `confidence` does not lie between 0 and 1.

    See Also
    --------
    membership_audit : Runs attacks, and gives this bound for each.

    Notes
    -----
    The bound is about epsilon with a delta of 0. A mechanism with some delta may break
    it with an additional probability of at most delta times the number of rows.

    References
    ----------
    .. [1] T. Steinke, M. Nasr and M. Jagielski, "Privacy auditing with one (1) training
       run", NeurIPS 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_unsup.privacy import epsilon_lower_bound
    >>> rng = np.random.default_rng(0)
    >>> told = rng.random(4_000) < np.e / (1 + np.e)  # randomised response, epsilon 1
    >>> bound = epsilon_lower_bound(told[:2_000], ~told[2_000:], random_state=0)
    >>> bool(0.7 < bound <= 1.0)
    True
    """
    if not 0 < confidence < 1:
        raise ValueError(
            f"confidence must lie between 0 and 1, such as 0.95, got {confidence!r}"
        )
    members = check_scores("member_scores", member_scores)
    others = check_scores("non_member_scores", non_member_scores)
    rng = check_random_state(random_state)
    # Whether a row is a member is a fair coin: so the theorem has it.
    n = min(len(members), len(others))
    coins = rng.randint(2, size=n).astype(bool)
    scores = np.empty(n)
    scores[coins] = rng.permutation(members)[: coins.sum()]
    scores[~coins] = rng.permutation(others)[: n - coins.sum()]
    middle = n // 2
    halves = (scores[:middle], coins[:middle]), (scores[middle:], coins[middle:])
    threshold, sign = best_guess(*halves[0], 1 - confidence)
    return float(bound_of_guesses(*halves[1], threshold, sign, 1 - confidence)[0])


def check_scores(name, scores):
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1 or len(scores) < 2:
        raise ValueError(
            f"{name} must be at least two numbers in one dimension, got shape "
            f"{scores.shape}"
        )
    if np.isnan(scores).any():
        raise ValueError(f"{name} must be numbers, got {np.isnan(scores).sum()} NaN")
    return scores


def best_guess(scores, is_member, tail):
    """The threshold and the side, 1 for above and -1 for below, of the best bound."""
    best = (0.0, np.inf, 1)
    shares = np.linspace(0, 1, N_THRESHOLDS)
    for sign in (1, -1):
        thresholds = np.unique(np.quantile(sign * scores, shares, method="lower"))
        bounds = bound_of_guesses(scores, is_member, thresholds, sign, tail)
        k = bounds.argmax()
        best = max(best, (bounds[k], thresholds[k], sign))
    return best[1:]


def bound_of_guesses(scores, is_member, thresholds, sign, tail):
    """Bound of an attack that guesses at or beyond each of the thresholds; an array."""
    guessed = sign * scores >= np.atleast_1d(thresholds)[:, None]
    n = guessed.sum(axis=1)
    right = (guessed & (is_member == (sign > 0))).sum(axis=1)
    share = np.zeros(len(n))
    some = right > 0
    share[some] = stats.beta.ppf(tail, right[some], (n - right + 1)[some])
    return np.log(np.maximum(share, 0.5) / (1 - np.maximum(share, 0.5)))
