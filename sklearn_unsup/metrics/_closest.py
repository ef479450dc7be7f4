"""Whether synthetic rows lie nearer to the rows fitted on than chance has it."""

import numpy as np
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.utils import Bunch, check_random_state

from ._frames import encode_tables, join_codes

# Maximum number of synthetic rows whose closest records are looked up.
N_QUERIES = 5_000
# Maximum number of distances that are held at a time.
CHUNK = 2**22
# Difference below which two distances count as equal.
TIE_TOLERANCE = 1e-6


def closest_record_scores(train, holdout, synthetic, *, random_state=None) -> Bunch:
    """Whether synthetic rows are copies, or nearly so, of the rows fitted on.

    For each synthetic row the closest record among all real ones is looked up
    (distance to closest record, DCR). Without copying it is in `train` as often as the
    sizes of `train` and `holdout` have it. Numbers are compared by their quantiles,
    from 0 to 1, categories by 0 or 1, missing values are a category; distances are
    Euclidean. Of several closest records each counts its part.

    Parameters
    ----------
    train : DataFrame or array-like of shape (n_rows, n_columns)
        The real rows that the generator was fitted on.
    holdout : DataFrame or array-like of shape (n_holdout_rows, n_columns)
        Real rows of the same distribution that it has not seen.
    synthetic : DataFrame or array-like of shape (n_synthetic_rows, n_columns)
        The rows to judge; of more than 5,000 a random selection.
    random_state : int, RandomState instance or None, default=None
        Seed of this selection.

    Returns
    -------
    scores : :class:`~sklearn.utils.Bunch`
        A dictionary whose entries are attributes as well.

        dcr_excess : float
            The share of synthetic rows whose closest record is in `train`, scaled so
            that 0 is what chance gives and 1 means all of them.
        dcr_excess_std : float
            Standard deviation of `dcr_excess` over random choices of the rows that are
            held out, if nothing is copied: values within some three of it are chance.
        copies : float
            Share of all synthetic rows, 0 to 1, that equal a row of `train`.
        holdout_copies : float
            The same share of the rows of `holdout`: what to expect.

    Raises
    ------
    ValueError
        If the tables differ in their columns or in the kind of a column, have no rows,
        or hold infinite numbers.

    See Also
    --------
    synthesis_report : These scores beside those of baselines.

    Notes
    -----
    Scores near 0 are no guarantee of privacy: they are averages, and a few rows that
    are given away do not move them.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_unsup.metrics import closest_record_scores
    >>> train, holdout = np.random.default_rng(0).normal(size=(2, 300, 3))
    >>> scores = closest_record_scores(train, holdout, train[:100])
    >>> scores.dcr_excess, scores.copies, scores.holdout_copies
    (1.0, 1.0, 0.0)
    """
    *tables, columns = encode_tables(train=train, holdout=holdout, synthetic=synthetic)
    return closeness(*tables, columns, check_random_state(random_state))


def closeness(train, holdout, synthetic, columns, rng):
    queries = synthetic
    if len(synthetic) > N_QUERIES:
        queries = synthetic[rng.permutation(len(synthetic))[:N_QUERIES]]
    hits = closest_record_hits(np.concatenate([train, holdout]), queries, columns)
    chance = len(train) / len(hits)
    share = hits[: len(train)].sum() / len(queries)
    # Exact variance of a sum over `train` if train and holdout are split at random.
    variance = len(train) * (1 - chance) * hits.var(ddof=1) / len(queries) ** 2
    return Bunch(
        dcr_excess=float((share - chance) / (1 - chance)),
        dcr_excess_std=float(np.sqrt(variance) / (1 - chance)),
        copies=share_of_copies(train, synthetic),
        holdout_copies=share_of_copies(train, holdout),
    )


def closest_record_hits(records, queries, columns):
    """How many queries each record is the closest to, (n_records,); ties are shared."""
    hits = np.zeros(len(records))
    for _, squares in squared_distances(queries, records, columns, records):
        limit = (np.sqrt(squares.min(axis=1, keepdims=True)) + TIE_TOLERANCE) ** 2
        closest = squares <= limit
        hits += (closest / closest.sum(axis=1, keepdims=True)).sum(axis=0)
    return hits


def squared_distances(queries, records, columns, base):
    """Squared distances of some queries at a time to all records, with their slice.

    Numbers are compared by their quantiles in `base`, categories by 0 or 1.
    """
    numbers, categories = comparable(records, base, columns)
    query_numbers, query_categories = comparable(queries, base, columns)
    step = max(1, CHUNK // len(records))
    for start in range(0, len(queries), step):
        rows = slice(start, start + step)
        squares = euclidean_distances(query_numbers[rows], numbers, squared=True)
        for q, r in zip(query_categories[rows].T, categories.T, strict=True):
            squares += q[:, None] != r
        yield rows, squares


def comparable(table, records, columns):
    """Numbers as quantiles among the records, and categories as integer codes."""
    numbers, categories = [np.zeros(len(table))], []
    for values, known, categorical in zip(
        table.T, records.T, columns.categorical, strict=True
    ):
        missing = np.isnan(values)
        if categorical:
            categories.append(np.where(missing, -1, values))
            continue
        categories.append(missing)
        if np.isnan(known).all():
            continue
        distinct, counts = np.unique(known[~np.isnan(known)], return_counts=True)
        middle = (counts.cumsum() - counts / 2) / counts.sum()
        quantiles = np.interp(values, distinct, middle)
        numbers.append(np.where(missing, 0.5, quantiles))
    return np.stack(numbers, axis=1), np.stack(categories, axis=1).astype(np.int32)


def share_of_copies(train, table):
    known, ids = row_ids(train, table)
    return float(np.isin(ids, known).mean())


def row_ids(*tables):
    """Integers that are equal for equal rows, one array (n_rows,) for each table."""
    rows = np.concatenate(tables)
    ends = np.cumsum([len(table) for table in tables])[:-1]
    return np.split(join_codes(*rows.T), ends)
