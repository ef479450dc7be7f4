"""All measures of a synthetic table beside those of two baselines."""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

from .._table.constraint_set import find_broken
from ._c2st import N_FOLDS, held_out_auc
from ._closest import closeness, share_of_copies
from ._fidelity import column_shapes, mean_shape, mean_trend
from ._frames import check_tables, encode_frames
from ._html import page_of, report_to_html
from ._membership import say_membership
from ._shares import share_rows
from ._signs import find_signs, percent
from ._utility import find_target, score_learnt

# Number of bins of a number, and of levels of a category, in the picture of a column.
N_BINS, MAX_LEVELS = 12, 8
# By the classifier's area under the curve, from low to high.
VERDICTS = (
    "The rows are nearer to the real ones than fresh rows would be",
    "The rows are hardly told from real ones",
    "The rows are told from real ones a little better than by chance",
    "The rows are often told from real ones",
    "Nearly every row is told from real ones",
)


class SynthesisReport:
    """What :func:`synthesis_report` returns.

    Printed, it shows `verdict`, `scores` and `warnings`; a notebook shows a page with a
    small picture of each column, too.

    Parameters
    ----------
    scores : DataFrame
        See below.
    warnings : list of str
        See below.
    columns : dict
        See below.
    n_rows : int
        Number of rows of the smaller table, by which `verdict` tells chance.
    membership : str or None, default=None
        What an attack on the rows has found, for `verdict`.
    beside_holdout : tuple of (float, int) or None, default=None
        The classifier's area under the curve beside held-out rows, and the number of
        these, for `verdict`.

    Attributes
    ----------
    verdict : list of str
        Whether to use the synthetic table, in a few sentences. With a `holdout` of at
        least 20 rows, one of them is on whether an attack finds out which rows were
        fitted on.
    scores : DataFrame of shape (3, n_measures)
        A row for the synthetic table and one for each baseline, a column for each
        measure.
    warnings : list of str
        A sentence for each sign that something is wrong with the synthetic table. Each
        begins with its kind: "Broken constraint", "Copies", "Repeats", "Near copies",
        "Dependence lost", "Collapsed column", "New values", "Other distribution",
        "Dependence reversed", "Broken order" or "Impossible pairs".
    columns : dict of (float, DataFrame)
        By column how well its distribution agrees, see :func:`shape_score`, and the
        shares of the rows of "real" and "synthetic" in each bin or level.

    See Also
    --------
    synthesis_report : Make a report.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_unsup.metrics import synthesis_report
    >>> real = np.random.default_rng(0).normal(size=(100, 3))
    >>> report = synthesis_report(real, real, random_state=0)
    >>> float(report.scores.loc["synthetic", "shape"])
    1.0
    >>> report.warnings[0]
    'Copies: 100 synthetic rows (100 %) repeat a row that is unique in ...'
    """

    def __init__(
        self, scores, warnings, columns, n_rows, membership=None, beside_holdout=None
    ) -> None:
        self.scores = scores
        self.warnings = warnings
        self.columns = columns
        self.verdict = verdict_on(
            scores.loc["synthetic"], warnings, n_rows, membership, beside_holdout
        )

    def __repr__(self):
        table = self.scores.to_string(float_format="{:.3f}".format)
        lines = [*self.verdict, *([""] if self.verdict else []), table, ""]
        if not self.warnings:
            return "\n".join([*lines, "No warnings."])
        return "\n".join([*lines, "Warnings", *(f"- {w}" for w in self.warnings)])

    def _repr_html_(self):
        return report_to_html(self)

    def to_html(self, path) -> None:
        """Save the report as one file that any browser shows.

        Parameters
        ----------
        path : str or Path
            Where to write it. The file needs nothing beside it.
        """
        page = page_of(report_to_html(self))
        Path(path).write_text(page, encoding="utf-8")


def synthesis_report(
    real,
    synthetic,
    *,
    holdout=None,
    target=None,
    constraints=None,
    random_state=None,
) -> SynthesisReport:
    """Score a synthetic table by every measure, beside two baselines.

    The baselines have as many rows as `synthetic` and are made from `real`:
    "independent columns" draws each column by itself, which keeps every distribution
    and no dependence; "bootstrap" draws whole rows, which keeps everything and is
    nothing but copies. A good synthetic table is near the bootstrap in `shape`,
    `trend` and `tstr`, near .5 in `c2st`, where the bootstrap is below, and near
    0 in `dcr_excess`, where the bootstrap is near 1.

    Parameters
    ----------
    real : DataFrame or array-like of shape (n_rows, n_columns)
        The real rows that the generator was fitted on.
    synthetic : DataFrame or array-like of shape (n_synthetic_rows, n_columns)
        The rows to judge.
    holdout : DataFrame or array-like of shape (n_holdout_rows, n_columns), default=None
        Real rows that the generator has not seen. Needed to recognise near copies, for
        an attack that asks which rows were fitted on, and for `target`.
    target : str or other column name, default=None
        A column to predict from the others, see :func:`utility_scores`.
    constraints : list of constraints or None, default=None
        What should hold in every row, in the words of :mod:`sklearn_unsup.constraints`:
        those that synthetic rows break are among the warnings.
    random_state : int, RandomState instance or None, default=None
        Seed of the baselines, folds and classifiers.

    Returns
    -------
    report : SynthesisReport
        With a table, `scores`, and a list of sentences, `warnings`. The columns of
        `scores` are

        - `shape`: see :func:`shape_score`;
        - `trend`: see :func:`trend_score`; left out if there is one column only;
        - `c2st`: see :func:`c2st_score`; left out if a table has fewer than
          five rows;
        - `copies`: share of the rows that equal a row of `real`;
        - with `holdout`, `dcr_excess`: see :func:`closest_record_scores`;
        - with `target`, `tstr` and `trtr`: see :func:`utility_scores`.

        The warnings are about rows that copy a row which is unique in `real`, or
        repeat one another; closest records that are in `real` too often; association
        between columns less than half of the real one, and numbers of which one falls
        where it should rise; a level, or missing values, that never occur, and a number
        that is constant; levels, and numbers out of the range, that `real` does not
        have; distributions of columns that agree to less than four fifths; a number
        that is above another one, which it never is in `real`; and pairs of levels that
        never occur together there. Each is given only if rows of the same distribution
        would show it with a probability below 0.0001; a broken constraint always is.

    Raises
    ------
    ValueError
        If the tables differ in their columns or in the kind of a column, have no rows,
        or hold infinite numbers; if `target` is given without `holdout`, is no column,
        or does not vary in `holdout`.

    See Also
    --------
    SynthesisReport : The result.
    sklearn_unsup.privacy.membership_audit : More attacks, with intervals.

    Examples
    --------
    >>> from sklearn_unsup.datasets import make_mixed_table
    >>> from sklearn_unsup.metrics import synthesis_report
    >>> real, _ = make_mixed_table(300, random_state=0)
    >>> fresh, _ = make_mixed_table(300, random_state=1)
    >>> report = synthesis_report(real, fresh, random_state=0)
    >>> report.scores.columns.tolist()
    ['shape', 'trend', 'c2st', 'copies']
    >>> report.warnings
    []
    """
    tables = {"real": real, "synthetic": synthetic}
    if holdout is not None:
        tables["holdout"] = holdout
    elif target is not None:
        raise ValueError(
            f"target={target!r} needs rows that the generator has not seen, to be "
            "predicted in: pass them as holdout"
        )
    if isinstance(constraints, str):
        raise TypeError(
            f"constraints must be a list of constraints, got {constraints!r}: pass "
            "those of a fitted model, its constraints_, or what find_constraints finds."
        )
    broken = broken_constraints(real, synthetic, constraints)
    frames = check_tables(**tables)
    real, synthetic, *rest, columns = encode_frames(frames)
    holdout = rest[0] if rest else None
    target = None if target is None else find_target(columns, target)
    rng = check_random_state(random_state)
    rows = rng.randint(len(real), size=(real.shape[1], len(synthetic)))
    judged = {
        "synthetic": synthetic,
        "independent columns": np.take_along_axis(real, rows.T, axis=0),
        "bootstrap": real[rng.randint(len(real), size=len(synthetic))],
    }
    seed = rng.randint(2**31)
    scores, closest = {}, {}
    for name, table in judged.items():
        scores[name], closest[name] = score_table(
            real, table, holdout, target, columns, seed
        )
    if target is not None:
        trtr = score_learnt(real, holdout, columns, target, seed, "real", "holdout")
        scores = {name: {**row, "trtr": trtr} for name, row in scores.items()}
    n_rows = min(len(real), len(synthetic))
    beside_holdout = None
    can_tell = holdout is not None and len(holdout) >= N_FOLDS
    if can_tell and is_nearer(scores["synthetic"], n_rows):
        area = held_out_auc(holdout, synthetic, columns, seed)
        beside_holdout = area, min(len(holdout), len(synthetic))
    return SynthesisReport(
        pd.DataFrame.from_dict(scores, orient="index"),
        broken + find_signs(real, synthetic, columns, closest["synthetic"]),
        compare_columns(frames, column_shapes(real, synthetic, columns)),
        n_rows,
        attack_rows(real, holdout, synthetic, columns, seed),
        beside_holdout,
    )


def attack_rows(real, holdout, synthetic, columns, seed):
    """What an attack finds, in a sentence; None without rows to compare with."""
    if holdout is None:
        return None
    return say_membership(
        real, holdout, synthetic, columns, np.random.RandomState(seed)
    )


def place_of_verdict(area, n_rows):
    """Which of the verdicts the classifier's area under the curve is in."""
    # Equal distributions stay within two standard deviations, see `c2st_score`.
    chance = 2 * 0.41 / np.sqrt(n_rows)
    bounds = 0.5 - 0.03 - chance, 0.55 + chance, 0.7 + chance, 0.9 + chance
    return int(np.searchsorted(bounds, area))


def is_nearer(scores, n_rows):
    """Whether rows are nearer to the real ones than fresh rows would be."""
    return "c2st" in scores and place_of_verdict(scores["c2st"], n_rows) == 0


def verdict_on(scores, warnings, n_rows, membership=None, beside_holdout=None):
    """Sentences on how real the rows look, what they teach, and what to look at."""
    sentences = []
    if beside_holdout is not None:
        # Values that repeat those of the real rows hide what else is wrong with them.
        area, n_holdout = beside_holdout
        said = VERDICTS[max(1, place_of_verdict(area, n_holdout))]
        sentences.append(
            f"{said}: c2st is {area:.2f} beside the held-out ones, .5 is chance. "
            f"Beside the others, whose values they repeat, it is {scores['c2st']:.2f}."
        )
    elif "c2st" in scores:
        said = VERDICTS[place_of_verdict(scores["c2st"], n_rows)]
        sentences.append(f"{said}: c2st is {scores['c2st']:.2f}, .5 is chance.")
    if "tstr" in scores:
        sentences.append(
            f"A model trained on them scores {scores['tstr']:.3f} on real rows, one "
            f"trained on real rows {scores['trtr']:.3f}."
        )
    if membership is not None:
        sentences.append(membership)
    if warnings:
        n = len(warnings)
        sentences.append(f"Look at the warning{'s' if n > 1 else ''} first: {n} below.")
    return sentences


def compare_columns(frames, shapes):
    """By column its agreement and the shares of rows in each bin or level."""
    real, synthetic = frames["real"], frames["synthetic"]
    shares = [
        share_rows(real[name], synthetic[name], N_BINS, MAX_LEVELS)[0] for name in real
    ]
    return dict(zip(real, zip(shapes, shares, strict=True), strict=True))


def broken_constraints(real, synthetic, constraints):
    """A sentence for each constraint that synthetic rows break."""
    sentences = []
    for constraint, rows, n_real in find_broken(real, synthetic, constraints or []):
        count = np.count_nonzero(rows)
        also = f"; of the real rows {n_real:,} do" if n_real else ""
        sentences.append(
            f"Broken constraint: {count:,} synthetic rows "
            f"({percent(count / len(rows))}) break {constraint!r}, first at row "
            f"{rows.argmax()}{also}."
        )
    return sentences


def score_table(real, table, holdout, target, columns, seed):
    """Scores by name, and what `closeness` says, which is None without a holdout."""
    row = {"shape": mean_shape(real, table, columns)}
    if len(columns.names) > 1:
        row["trend"] = mean_trend(real, table, columns)
    if min(len(real), len(table)) >= N_FOLDS:
        row["c2st"] = held_out_auc(real, table, columns, seed)
    row["copies"] = share_of_copies(real, table)
    if holdout is None:
        return row, None
    rng = np.random.RandomState(seed)
    closest = closeness(real, holdout, table, columns, rng)
    row["dcr_excess"] = closest.dcr_excess
    if target is not None:
        row["tstr"] = score_learnt(
            table, holdout, columns, target, seed, "synthetic", "holdout"
        )
    return row, closest
