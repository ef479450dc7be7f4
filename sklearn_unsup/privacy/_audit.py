"""Attacks on released rows or a model, and what they find."""

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

from .._table.frames import as_frame
from ..metrics._frames import encode_tables
from ..metrics._membership import auc_interval, nearest_attack
from ._attacks import (
    classifier_attack,
    density_attack,
    likelihood_attack,
)
from ._evidence import epsilon_lower_bound, true_positives

ATTACKS = ("nearest", "classifier", "density_ratio", "likelihood_ratio")
CONFIDENCE = 0.95
FALSE_POSITIVES = {"1%": 0.01, "0.1%": 0.001}
# Maximum number of members, and of others, that are attacked; and the same for attacks
# without one of the columns, of which there is one for each column.
N_TARGETS, N_COLUMN_TARGETS = 5_000, 1_000
# Number of the most exposed members that are listed.
N_EXPOSED = 20
# Minimum number of members, and of others.
MIN_ROWS = 10


class MembershipAudit:
    """What :func:`membership_audit` returns.

    Printed, it shows the table of attacks and the findings.

    Parameters
    ----------
    attacks : DataFrame
        See below.
    member_scores, non_member_scores : DataFrame
        See below.
    rows : DataFrame
        See below.
    columns : Series
        See below.
    findings : list of str
        See below.

    Attributes
    ----------
    attacks : DataFrame of shape (n_attacks, 10)
        A row for each attack. `auc` is the area under the ROC curve, .5 for an attack
        that finds nothing; `tpr_1%` and `tpr_0.1%` are the shares of members that are
        found where 1 % and 0.1 % of the others are taken for members. Each with the
        ends of its interval at 95 %, `_low` and `_high`; those of `auc` hold together
        for all attacks. `epsilon` is the bound of :func:`epsilon_lower_bound`, which
        for all attacks holds together, too.
    member_scores : DataFrame of shape (n_targets, n_attacks)
        Scores of the attacked members, high for what looks like a member. The index
        is their position in `members`.
    non_member_scores : DataFrame of shape (n_other_targets, n_attacks)
        The same for the others.
    rows : DataFrame of shape (at most 20, 1 + n_attacks)
        The most exposed members, the most exposed first; the index is the position in
        `members`. For each attack the share of others that look as much like a member,
        and in `mean` the geometric mean of these shares. Of many members some are
        extreme by chance: a share of 1 / n_targets is what to expect of the first.
    columns : Series
        By how much the area of the attack "nearest" falls if it does not know the
        column; large for columns by which members are recognised.
    findings : list of str
        A sentence for each thing found.

    See Also
    --------
    membership_audit : Run an audit.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_unsup.privacy import membership_audit
    >>> members, others, fresh = np.random.default_rng(0).normal(size=(3, 400, 4))
    >>> audit = membership_audit(
    ...     members, members, others, fresh, attacks=["nearest"], random_state=0
    ... )
    >>> audit.attacks["auc"].round(1).to_dict()
    {'nearest': 1.0}
    >>> audit.leaks
    ['nearest']
    """

    def __init__(
        self, attacks, member_scores, non_member_scores, rows, columns, findings
    ) -> None:
        self.attacks = attacks
        self.member_scores = member_scores
        self.non_member_scores = non_member_scores
        self.rows = rows
        self.columns = columns
        self.findings = findings

    @property
    def leaks(self) -> list[str]:
        """The attacks that find members, the best one first.

        Those with an `auc_low` above .5; an empty list if there is none.
        """
        found = self.attacks[self.attacks["auc_low"] > 0.5]
        return found.sort_values("auc", ascending=False, kind="stable").index.tolist()

    def __repr__(self):
        table = self.attacks.T.to_string(float_format="{:.3f}".format)
        return "\n".join([table, "", *(f"- {sentence}" for sentence in self.findings)])


def membership_audit(
    synthetic,
    members,
    non_members,
    reference=None,
    *,
    model=None,
    attacks="auto",
    random_state=None,
) -> MembershipAudit:
    """Attack released rows, or a model, to find who was in the training table.

    Every attack gives the members, and other rows of the same distribution, a score,
    and is judged by how well the scores tell them apart. That an attack finds nothing
    proves nothing: a stronger one may. That it finds something is evidence.

    Parameters
    ----------
    synthetic : DataFrame or array-like of shape (n_synthetic_rows, n_columns) or None
        The released rows. With None, rows are drawn from `model`, as many as members.
    members : DataFrame or array-like of shape (n_rows, n_columns)
        Rows that the generator was fitted on.
    non_members : DataFrame or array-like of shape (n_other_rows, n_columns)
        Rows of the same distribution that it was not fitted on.
    reference : DataFrame or array-like of shape (n_reference_rows, n_columns) or \
            None, default=None
        More such rows, which an attacker knows and compares with. None takes one half
        of `non_members`, chosen at random, and attacks the other half.
    model : estimator with `score_samples` or None, default=None
        The fitted generator, if it is shared as well: it is compared with its clone
        fitted to `reference`.
    attacks : "auto" or list of str, default="auto"
        "nearest": a member's nearest synthetic row is nearer than its nearest reference
        row. "classifier": boosting that tells synthetic from reference rows takes it
        for synthetic. "density_ratio": it is likelier under a
        :class:`~sklearn_unsup.VAETransformer` fitted to the synthetic rows than under
        one fitted to `reference` (DOMIAS [1]_). "likelihood_ratio": the same with
        `model` and its clone. "auto" is all; the last one needs `model`.
    random_state : int, RandomState instance or None, default=None
        Seed of the choice of rows and of the attacks' models.

    Returns
    -------
    audit : MembershipAudit
        The table of attacks, the most exposed rows and columns, and sentences. Of more
        than 5,000 members or others a random selection is attacked.

    Raises
    ------
    ValueError
        If an attack is unknown or lacks what it needs, if there are fewer than ten
        members or others (twenty without `reference`), if more than a half of the
        others are members, or if the tables differ in their columns or in the kind of a
        column, have no rows, or hold infinite numbers.

    See Also
    --------
    attribute_disclosure : Whether a secret column of members can be guessed.
    sklearn_unsup.inspection.MembershipAuditDisplay : The ROC curves of the attacks.

    References
    ----------
    .. [1] B. van Breugel et al., "Membership inference attacks against synthetic data
       through overfitting detection", AISTATS 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_unsup.privacy import membership_audit
    >>> rng = np.random.default_rng(0)
    >>> members, others, fresh, drawn = rng.normal(size=(4, 400, 4))
    >>> audit = membership_audit(
    ...     drawn, members, others, fresh, attacks=["nearest"], random_state=0
    ... )
    >>> audit.leaks  # none of the attacks finds members
    []
    """
    names = check_attacks(attacks, model)
    rng = check_random_state(random_state)
    members = as_frame(members, "members")
    non_members = as_frame(non_members, "non_members")
    check_n_rows(members, non_members, is_halved=reference is None)
    if synthetic is None:
        if model is None:
            raise ValueError(
                "synthetic=None needs a model to draw rows from: pass the fitted one "
                "as model, or the rows that are to be released as synthetic."
            )
        synthetic = model.sample(len(members), random_state=rng.randint(2**31))
    if reference is None:
        order = rng.permutation(len(non_members))
        reference = non_members.iloc[order[: len(order) // 2]]
        non_members = non_members.iloc[order[len(order) // 2 :]]
    member_rows = rng.permutation(len(members))[:N_TARGETS]
    other_rows = rng.permutation(len(non_members))[:N_TARGETS]
    members, non_members = members.iloc[member_rows], non_members.iloc[other_rows]
    reference = as_frame(reference, "reference")
    # The members come first: their dtypes rule.
    first, second, *rest, columns = encode_tables(
        members=members,
        non_members=non_members,
        synthetic=synthetic,
        reference=reference,
    )
    refuse_members(first, second, "non_members")
    refuse_members(first, rest[1], "reference")
    encoded = np.concatenate([first, second]), *rest, columns
    frames = plain_frames(encoded)
    seed = int(rng.randint(2**31))
    scores = pd.DataFrame(index=np.concatenate([member_rows, other_rows]))
    for name in names:
        scores[name] = run_attack(
            name, encoded, frames, model, (members, non_members), reference, seed
        )
    split = len(members)
    scores = scores.iloc[:split], scores.iloc[split:]
    table = evidence_table(*scores, rng)
    rows = exposed_rows(*scores)
    exposed = exposed_columns(first, second, rest, columns)
    audit = MembershipAudit(table, *scores, rows, exposed, [])
    audit.findings = describe(table, audit.leaks, exposed)
    return audit


def check_attacks(attacks, model):
    if isinstance(attacks, str) and attacks == "auto":
        return [
            name for name in ATTACKS if model is not None or name != "likelihood_ratio"
        ]
    names = [attacks] if isinstance(attacks, str) else list(attacks)
    unknown = [name for name in names if name not in ATTACKS]
    if unknown or not names:
        raise ValueError(
            f'attacks must be "auto" or some of {list(ATTACKS)}, got {attacks!r}'
        )
    if "likelihood_ratio" in names and not hasattr(model, "score_samples"):
        raise ValueError(
            'attacks="likelihood_ratio" needs a fitted model with score_samples, got '
            f"model={model!r}"
        )
    return names


def refuse_members(members, others, name):
    """Raise for a table of rows that are members, which no attack could tell apart."""
    known = {row.tobytes() for row in members}
    n_shared = sum(row.tobytes() in known for row in others)
    # Rows of a few levels are shared by chance.
    if len(known) > 0.9 * len(members) and n_shared > 0.5 * len(others):
        raise ValueError(
            f"{name} must be rows that the generator was not fitted on, but {n_shared} "
            f"of {len(others)} are among the members: pass held-out rows."
        )


def check_n_rows(members, non_members, is_halved):
    """Raise for too few rows; without a reference half of the others become one."""
    least = {"members": MIN_ROWS, "non_members": MIN_ROWS * (2 if is_halved else 1)}
    for name, table in (("members", members), ("non_members", non_members)):
        if len(table) < least[name]:
            remedy = " or a reference" if is_halved and name == "non_members" else ""
            raise ValueError(
                f"{name} must have at least {least[name]} rows to be attacked, got "
                f"{len(table)}: pass more rows{remedy}."
            )


def plain_frames(encoded):
    """The encoded tables as frames of floats and of categories, for our own models."""
    *tables, columns = encoded
    frames = []
    for table in tables:
        frame = pd.DataFrame(table, columns=[f"x{i}" for i in range(table.shape[1])])
        for name in frame.columns[columns.categorical]:
            frame[name] = frame[name].astype("Int64").astype(str).astype("category")
        frames.append(frame)
    return frames


def run_attack(name, encoded, frames, model, targets, reference, seed):
    if name == "nearest":
        return nearest_attack(*encoded)
    if name == "classifier":
        return classifier_attack(*encoded, seed)
    if name == "density_ratio":
        return density_attack(*frames, seed)
    return likelihood_attack(targets, model, reference)


def evidence_table(members, others, rng):
    records = {}
    for name in members:
        pair = members[name].to_numpy(), others[name].to_numpy()
        record = dict(
            zip(
                ("auc", "auc_low", "auc_high"),
                auc_interval(*pair, joint_confidence(members)),
                strict=True,
            )
        )
        for label, share in FALSE_POSITIVES.items():
            keys = (f"tpr_{label}{end}" for end in ("", "_low", "_high"))
            values = true_positives(*pair, share, CONFIDENCE)
            record.update(zip(keys, values, strict=True))
        record["epsilon"] = epsilon_lower_bound(
            *pair, confidence=joint_confidence(members), random_state=rng
        )
        records[name] = record
    return pd.DataFrame.from_dict(records, orient="index")


def joint_confidence(scores):
    """What each attack needs so that all of them together have the usual confidence."""
    return 1 - (1 - CONFIDENCE) / scores.shape[1]


def exposed_rows(members, others):
    """Members that look least like the others; see `MembershipAudit.rows`."""
    shares = pd.DataFrame(index=members.index)
    for name in members:
        known = np.sort(others[name].to_numpy())
        above = len(known) - known.searchsorted(members[name].to_numpy(), side="left")
        shares[name] = (above + 1) / (len(known) + 1)
    shares.insert(0, "mean", np.exp(np.log(shares).mean(axis=1)))
    # Several members may lie beyond all others: then their own order decides.
    order = np.lexsort((-members.rank().mean(axis=1), shares["mean"]))
    return shares.iloc[order[:N_EXPOSED]]


def exposed_columns(members, others, tables, columns):
    """Fall of the area of the attack "nearest" without each column, largest first."""
    members, others = members[:N_COLUMN_TARGETS], others[:N_COLUMN_TARGETS]
    tables = [table[:N_TARGETS] for table in tables]

    def area(kept):
        targets = np.concatenate([members, others])[:, kept]
        known = columns.take(kept)
        scores = nearest_attack(targets, *(table[:, kept] for table in tables), known)
        return auc_interval(*np.split(scores, [len(members)]), CONFIDENCE)[0]

    everything = np.arange(len(columns.names))
    if len(everything) == 1:
        return pd.Series([area(everything) - 0.5], columns.names, name="auc_fall")
    full = area(everything)
    falls = [full - area(np.delete(everything, i)) for i in everything]
    falls = pd.Series(falls, columns.names, name="auc_fall")
    return falls.sort_values(ascending=False, kind="stable")


def describe(table, leaks, columns):
    """Sentences about what the attacks have found."""
    if not leaks:
        sentences = [
            "No attack finds members: no area is above .5 by more than chance."
        ]
        if (table["auc_high"] < 0.5).any():
            sentences = [
                "Members look less like members than others do: are the tables of the "
                "same distribution, and is the split random?"
            ]
    else:
        best = table.loc[leaks[0]]
        sentences = [
            f"Members are found by {leaks[0]!r}: it ranks a member above another "
            f"row in {best['auc']:.0%} of pairs (at 95 % between {best['auc_low']:.1%} "
            f"and {best['auc_high']:.1%}; chance is 50 %)."
        ]
        sentences.append(
            f"Members are recognised by column {columns.index[0]!r} most: without it "
            f"the attack 'nearest' loses {columns.iloc[0]:.3f} of its area."
        )
    for label in FALSE_POSITIVES:
        worst = table[f"tpr_{label}_low"].idxmax()
        low = table.loc[worst, f"tpr_{label}_low"]
        if low > FALSE_POSITIVES[label] * 2:
            share = table.loc[worst, f"tpr_{label}"]
            sentences.append(
                f"Some rows are exposed: {worst!r} finds {share:.1%} of the members "
                f"while it takes {label[:-1]} % of others for members."
            )
    if table["epsilon"].max() > 0:
        sentences.append(
            f"No claim of an epsilon below {table['epsilon'].max():.2f} can be true "
            "(at 95 %)."
        )
    return sentences
