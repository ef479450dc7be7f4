"""Whether synthetic rows tell which rows they were made from, by nearest rows."""

import numpy as np
from scipy import stats

from ._closest import squared_distances

# Distance whose square is added to all squared distances: nearer rows count as equal.
MIN_DISTANCE = 1e-3
# Maximum number of real rows, and of held-out rows, that a report attacks.
N_TARGETS = 2_000
# Minimum number of held-out rows, of which one half is attacked and one half known.
MIN_HOLDOUT = 20
# Confidence of a report: by chance one of two thousand says that an attack succeeds.
CONFIDENCE = 0.999


def nearest_records(queries, records, columns, base=None):
    """Squared distance and position of the record that is nearest to each query.

    Numbers are compared by their quantiles in `base`, which is `records` unless given,
    categories by 0 or 1.
    """
    base = records if base is None else base
    distances, positions = np.empty(len(queries)), np.empty(len(queries), np.int64)
    for rows, squares in squared_distances(queries, records, columns, base):
        positions[rows] = squares.argmin(axis=1)
        distances[rows] = squares.min(axis=1)
    return distances, positions


def nearest_attack(targets, synthetic, reference, columns):
    """Scores of targets, high where the nearest synthetic row is nearer than reference.

    They are logarithms of the ratio of the squared distances to the nearest row of
    each, because in a dense region everything is near.
    """
    to_synthetic, to_reference = (
        nearest_records(targets, table, columns, synthetic)[0] + MIN_DISTANCE**2
        for table in (synthetic, reference)
    )
    return np.log(to_reference) - np.log(to_synthetic)


def auc_interval(members, others, confidence):
    """Area under the ROC curve, and its interval by DeLong's variance, in [0, 1].

    The variance that the data show is 0 where they are told apart without fail. Then
    that of the next worse result, one half of a pair, stands for it.
    """
    n, m = len(members), len(others)
    joint = stats.rankdata(np.concatenate([members, others]))
    # Share of others below each member, and of members above each of the others.
    others_below = (joint[:n] - stats.rankdata(members)) / m
    members_above = 1 - (joint[n:] - stats.rankdata(others)) / n
    auc = others_below.mean()
    variance = others_below.var(ddof=1) / n + members_above.var(ddof=1) / m
    variance = max(variance, 0.25 / (n * m))
    margin = stats.norm.ppf((1 + confidence) / 2) * np.sqrt(variance)
    return auc, max(0.0, auc - margin), min(1.0, auc + margin)


def say_membership(real, holdout, synthetic, columns, rng):
    """A sentence on an attack by nearest rows; None if there are too few rows.

    One half of the holdout stands for what an attacker knows of the distribution.
    """
    if len(holdout) < MIN_HOLDOUT or len(real) < MIN_HOLDOUT:
        return None
    order, half = rng.permutation(len(holdout)), len(holdout) // 2
    members = real[rng.permutation(len(real))[:N_TARGETS]]
    others = holdout[order[half:][:N_TARGETS]]
    targets, reference = np.concatenate([members, others]), holdout[order[:half]]
    scores = nearest_attack(targets, synthetic, reference, columns)
    auc, low, _ = auc_interval(*np.split(scores, [len(members)]), CONFIDENCE)
    share = f"ranks a real row above a held-out one in {100 * auc:.0f} % of pairs"
    if low > 0.5:
        return (
            "They give away which rows the generator was fitted on: an attack by "
            f"nearest rows {share}, 50 % is chance."
        )
    return (
        "An attack by nearest rows does not tell which rows the generator was fitted "
        f"on (it {share}, 50 % is chance); a stronger one may."
    )
