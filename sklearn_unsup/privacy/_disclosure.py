"""Whether released rows give away a secret column of those they were made from."""

import numpy as np
from scipy import stats
from sklearn.utils import Bunch, check_random_state

from .._table.frames import as_frame
from ..metrics._frames import encode_tables
from ..metrics._membership import nearest_records

CONFIDENCE = 0.95
# Maximum number of members, and of others, that are attacked.
N_TARGETS = 5_000
# Maximum error of a guessed number, as a share of the span from the 5th to the 95th
# percentile of the column.
MAX_ERROR = 0.05


def attribute_disclosure(
    synthetic, members, non_members, secret, *, known=None, random_state=None
) -> Bunch:
    """How much better a secret is guessed for members than for other people.

    The attacker knows some columns of a person, looks up the synthetic row that is
    nearest in them, and takes its secret for that of the person. That this is often
    right may be what the whole population shows, and no one's fault. What counts is
    that it is right for members more often than for rows which the generator has not
    seen.

    Parameters
    ----------
    synthetic : DataFrame or array-like of shape (n_synthetic_rows, n_columns)
        The released rows.
    members : DataFrame or array-like of shape (n_rows, n_columns)
        Rows that the generator was fitted on.
    non_members : DataFrame or array-like of shape (n_other_rows, n_columns)
        Rows of the same distribution that it was not fitted on.
    secret : str or other column name
        The column to guess; in arrays its position. A number counts as guessed if it is
        off by at most 5 % of the span from the 5th to the 95th percentile of `members`.
    known : list of column names or None, default=None
        The columns that the attacker knows; None for all but the secret one.
    random_state : int, RandomState instance or None, default=None
        Seed of the choice of rows: at most 5,000 of a kind are attacked.

    Returns
    -------
    disclosure : :class:`~sklearn.utils.Bunch`
        A dictionary whose entries are attributes as well.

        members, non_members : float
            Share of rows whose secret is guessed.
        fresh : float
            Share of the members' secrets that are guessed if `non_members` are looked
            up instead of `synthetic`: what fresh rows, as many, would allow.
        excess : float
            `members` less `non_members`; 0 is best.
        excess_low, excess_high : float
            Its interval at 95 %.

    Raises
    ------
    ValueError
        If `secret` or one of `known` is no column, if nothing is known, if no row has
        the secret, or if the tables differ in their columns or in the kind of a column,
        have no rows, or hold infinite numbers.

    See Also
    --------
    membership_audit : Whether members are told from others.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_unsup.privacy import attribute_disclosure
    >>> members, others = np.random.default_rng(0).normal(size=(2, 500, 4))
    >>> disclosure = attribute_disclosure(members, members, others, 3, random_state=0)
    >>> disclosure.members
    1.0
    >>> disclosure.non_members < 0.2
    True
    """
    rng = check_random_state(random_state)
    tables = [as_frame(members, "members"), as_frame(non_members, "non_members")]
    tables = [table.iloc[rng.permutation(len(table))] for table in tables]
    *tables, columns = encode_tables(
        members=tables[0], non_members=tables[1], synthetic=synthetic
    )
    position, others = find_columns(columns.names, secret, known)
    kinds = columns.take(others)
    categorical = columns.categorical[position]
    truth = tables[0][:, position]
    tolerance = 0.0
    if not categorical:
        tolerance = MAX_ERROR * float(np.subtract(*np.nanpercentile(truth, [95, 5])))

    def hits(targets, records):
        targets = targets[~np.isnan(targets[:, position])][:N_TARGETS]
        records = records[~np.isnan(records[:, position])]
        if not (len(targets) and len(records)):
            raise ValueError(
                f"the secret column {secret!r} must have values in every table, and in "
                "one it has none"
            )
        _, nearest = nearest_records(targets[:, others], records[:, others], kinds)
        errors = targets[:, position] - records[nearest, position]
        return np.abs(errors) <= tolerance

    first, second = (hits(table, tables[2]) for table in tables[:2])
    size = min(len(tables[1]), len(tables[2]))
    fresh = hits(tables[0], tables[1][:size]).mean()
    low, high = difference_interval(first, second)
    return Bunch(
        members=float(first.mean()),
        non_members=float(second.mean()),
        fresh=float(fresh),
        excess=float(first.mean() - second.mean()),
        excess_low=low,
        excess_high=high,
    )


def find_columns(names, secret, known):
    known = [name for name in names if name != secret] if known is None else list(known)
    unknown = [name for name in [secret, *known] if name not in names]
    if unknown:
        raise ValueError(
            f"secret and known must be among the columns {names}, got {unknown}"
        )
    if secret in known or not known:
        raise ValueError(
            f"known must hold columns other than the secret {secret!r}, got {known}"
        )
    return names.index(secret), [names.index(name) for name in known]


def difference_interval(first, second):
    """Interval of a difference of two shares, by Newcombe's hybrid of Wilson's."""
    (p, p_low, p_high), (q, q_low, q_high) = map(wilson, (first, second))
    low = p - q - np.hypot(p - p_low, q_high - q)
    return float(low), float(p - q + np.hypot(p_high - p, q - q_low))


def wilson(hits):
    share = hits.mean()
    test = stats.binomtest(int(hits.sum()), len(hits))
    interval = test.proportion_ci(CONFIDENCE, method="wilson")
    return share, interval.low, interval.high
