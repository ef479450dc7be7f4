"""How many rows to add, by what they gain in cross-validation."""

from numbers import Integral

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold, check_cv

# Numbers of new rows that amount="auto" tries, as multiples of the given ones.
MULTIPLES = (0.0, 2.0, 10.0, 50.0)
# Maximum number of new rows that "auto" tries, or twice the given ones if that is more.
# So many let a learner imitate its teacher, and can be fitted many times.
MAX_NEW_ROWS = 3_000
# Number of standard errors that the largest gain must exceed: at one, most gains that
# trees have would be refused.
N_ERRORS = 0.5
# Number of standard errors from which on more splits would change nothing.
N_ERRORS_CLEAR = 2.0
# Number of predicted rows up to which an integer `cv` is repeated, since on few rows a
# single round says too little, and the maximum number of rounds.
N_PREDICTIONS, MAX_ROUNDS = 300, 4


def multiples_to_try(n) -> np.ndarray:
    """Multiples of n rows, of which the largest makes no more than MAX_NEW_ROWS."""
    most = max(2.0, MAX_NEW_ROWS / n)
    return np.unique(np.minimum(MULTIPLES, most))


def rounds_of_folds(cv, X, y, is_class, seed):
    """Lists of pairs of places: each round of an integer `cv` holds out every row."""
    if not isinstance(cv, Integral):
        yield list(check_cv(cv, y, classifier=is_class).split(X, y))
        return
    n_splits = int(cv)
    if is_class:
        label, n_rarest = rarest_class(y)
        if n_rarest < 2:
            raise ValueError(
                f"y has a single row of class {label!r}, too few for amount='auto', "
                "which holds rows out: leave the class out, or set amount to a number"
            )
        n_splits = min(n_splits, n_rarest)
    folds = StratifiedKFold if is_class else KFold
    for i in range(int(np.clip(np.ceil(N_PREDICTIONS / len(y)), 1, MAX_ROUNDS))):
        shuffled = folds(n_splits, shuffle=True, random_state=(seed + i) % 2**31)
        yield list(shuffled.split(X, y))


def summarise(multiples, scores, ratio):
    """Results of the scores, of shape (n_amounts, n_splits).

    Splits whose training rows overlap err together, so that repeating them does not
    bring the error of the mean to zero. Its variance is that of a gain times (1 /
    n_splits + ratio), as Nadeau and Bengio (2003) have it, where `ratio` is that of
    held-out rows to training rows.
    """
    gains = scores - scores[:1]
    n_splits = scores.shape[1]
    error = np.full(len(gains), np.inf)
    if n_splits > 1:
        error = gains.std(axis=1, ddof=1) * np.sqrt(1 / n_splits + ratio)
    error[0] = 0.0
    return {
        "amount": np.array(multiples),
        "mean_test_score": scores.mean(axis=1),
        "mean_gain": gains.mean(axis=1),
        "se_gain": error,
        "gains": gains,
    }


def choose(results) -> tuple[int, int]:
    """Place of the amount to add, and of the one but 0 that gains most."""
    best = int(np.argmax(results["mean_gain"][1:])) + 1
    gain, error = results["mean_gain"][best], results["se_gain"][best]
    return (best if gain > max(0, N_ERRORS * error) else 0), best


def is_clear(results) -> bool:
    """Whether more rounds are not worth their time: no gain, or no doubt about it."""
    _, best = choose(results)
    gain, error = results["mean_gain"][best], results["se_gain"][best]
    return bool(gain <= 0 or gain > N_ERRORS_CLEAR * error)


def default_scoring(estimator, y, is_class):
    if not is_class:
        return "neg_root_mean_squared_error"
    if len(np.unique(y)) > 2:
        return "roc_auc_ovr" if hasattr(estimator, "predict_proba") else "accuracy"
    has_scores = any(
        hasattr(estimator, name) for name in ("predict_proba", "decision_function")
    )
    return "roc_auc" if has_scores else "accuracy"


def rarest_class(y):
    labels, counts = np.unique(y, return_counts=True)
    return labels[counts.argmin()], int(counts.min())
