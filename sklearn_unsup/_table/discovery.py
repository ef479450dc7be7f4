"""Constraints that every row of a table meets, and how unlikely that is by chance."""

from itertools import permutations

import numpy as np
import pandas as pd

from .constraint_set import SHARING, find_column
from .constraints import FixedCombinations, Inequality, Linear, Range
from .frames import as_frame
from .grid import Grid
from .kinds import CATEGORIES, EMPTY, NUMBERS, column_kind
from .numeric import TICKS_PER_SECOND
from .orders import in_one_unit
from .plain import to_floats
from .sums import Sum

# Number of rows on which most candidates fail, before the others are tested on all.
FIRST_ROWS = 1_000
# Maximum number of different values of a column that may determine others or be
# determined, and minimum mean number of rows for each value.
MAX_LEVELS, MIN_ROWS_PER_LEVEL = 1_000, 3
# Minimum surprise, in orders of magnitude, over what the best of all candidates of a
# kind would have by chance.
MIN_SURPRISE = 4.0
# Minimum surprise of a law, which nobody reads before it is held, and maximum number of
# rows times squared number of columns of a table that laws are looked for in.
MIN_SURE_SURPRISE, MAX_SEARCH = 10.0, 5e8
# Maximum error of the sum of a law, but for rounding, relative to the least standard
# deviation of its terms.
MAX_SUM_ERROR = 1e-9
# Maximum ratio of two factors of a sum, and number of decimals of a factor.
MAX_FACTOR, FACTOR_DECIMALS = 1_000, 3
# Singular values of standardized columns, relative to the largest one, below which the
# columns add up to a constant.
RANK_TOLERANCE = 1e-7
# Factor of a standardized column in a sum below which it counts as zero.
MIN_STANDARD_FACTOR = 1e-9
# Relative error of a sum of floats.
ROUNDING = 1e-14


def find_constraints(table) -> pd.DataFrame:
    """List constraints that hold in every row of a table.

    Looked for are columns that are constant (`Range`), that equal each other or add up
    (`Linear`), that determine each other (`FixedCombinations`), and that are never
    greater than others (`Inequality`, but for those that follow from two others). They
    are found by what the rows show, not by what they mean: read the list before you
    believe it.

    Parameters
    ----------
    table : DataFrame or array-like of shape (n_rows, n_columns)

    Returns
    -------
    found : DataFrame
        A row for each constraint, the most surprising first, with the columns

        - `constraint`: as an estimator takes it;
        - `surprise`: minus the common logarithm of the probability that all rows would
          meet it if the columns had nothing to do with each other. At 10 it is one in
          ten billion. Below 4, all candidates of a kind together, it is not listed.
          For constants it is infinite;
        - `compatible`: whether an estimator takes it together with all compatible ones
          above it. Others name columns that those determine.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_unsup.constraints import find_constraints
    >>> X = pd.DataFrame({"low": range(40), "high": [i + i % 3 for i in range(40)]})
    >>> found = find_constraints(X)
    >>> found["constraint"].tolist()
    [Inequality('low', 'high')]
    """
    frame = as_frame(table, "table").reset_index(drop=True)
    names = unique_names(frame.columns)
    columns = [column for _, column in frame.items()]
    numbers = read_numbers(columns, names)
    sums = list(find_sums(columns, numbers, names))
    linear = {frozenset(constraint.columns) for constraint, _ in sums}
    by_name = dict(zip(names, columns, strict=True))
    pairs = [
        *find_constants(numbers),
        *sums,
        *groups_of_dependent(surprises_of_dependences(by_name, known=linear)),
        *find_inequalities(numbers),
    ]
    pairs.sort(key=lambda pair: -pair[1])
    found = pd.DataFrame(
        {
            "constraint": pd.Series([c for c, _ in pairs], dtype=object),
            "surprise": pd.Series([s for _, s in pairs], dtype=np.float64),
        }
    )
    return found.assign(compatible=are_compatible(found["constraint"], names))


def find_laws(table, is_category, max_levels=MAX_LEVELS) -> list:
    """Sums and dependences that a table shows beyond doubt, and that go together.

    Parameters
    ----------
    table : DataFrame or ndarray
    is_category : array-like of bool of shape (n_columns,)
        Which columns have no sums, whatever their dtype.
    max_levels : int
        Maximum number of different values of columns that go together.
    """
    frame = as_frame(table).reset_index(drop=True)
    if len(frame) * frame.shape[1] ** 2 > MAX_SEARCH:
        return []
    for i in np.flatnonzero(is_category):
        frame.isetitem(i, frame.iloc[:, i].astype("category"))
    names = unique_names(frame.columns)
    columns = dict(zip(names, (column for _, column in frame.items()), strict=True))
    numbers = read_numbers(list(columns.values()), names)
    found = list(find_sums(list(columns.values()), numbers, names))
    complete = {n: column for n, column in columns.items() if not column.isna().any()}
    pairs = {frozenset(constraint.columns) for constraint, _ in found}
    surprises = surprises_of_dependences(complete, max_levels, pairs)
    together = [set(law.columns) for law in sure_groups(surprises)]
    sums = [
        constraint
        for constraint, surprise in sorted(found, key=lambda pair: -pair[1])
        if surprise >= MIN_SURE_SURPRISE
        and adds_up(constraint, columns)
        # Combinations of all its columns say more than their sum.
        and not any(group.issuperset(constraint.columns) for group in together)
    ]
    flags = are_compatible(sums, names)
    sums = [law for law, is_taken in zip(sums, flags, strict=True) if is_taken]
    taken = {name for law in sums for name in law.columns}
    free = {pair: s for pair, s in surprises.items() if taken.isdisjoint(pair)}
    return sums + sure_groups(free)


def sure_groups(surprises) -> list:
    """Groups of columns that go together beyond doubt, none of which is in two."""
    groups = groups_of_dependent(surprises, overlap=False)
    return [law for law, surprise in groups if surprise >= MIN_SURE_SURPRISE]


def adds_up(constraint, columns) -> bool:
    """Whether a sum is far more exact than what its columns vary by."""
    frame = pd.DataFrame({name: columns[name] for name in constraint.columns})
    factors = np.array([float(f) for f in constraint.coefficients.values()])
    values = np.stack([to_floats(column) for _, column in frame.items()], axis=1)
    values = values[~np.isnan(values).any(axis=1)]
    # Relative to the largest of them, as squares of large numbers overflow.
    largest = np.abs(values).max() or 1.0
    values = values / largest * factors
    errors = np.abs(values.sum(axis=1) - float(constraint.constant) / largest)
    if all(pd.api.types.is_integer_dtype(dtype) for dtype in frame.dtypes):
        return largest < 2.0**53 and errors.max() * largest < 0.5
    epsilons = [np.finfo(dtype).eps for dtype in map(float_dtype, frame.dtypes)]
    rounding = 2 * max(epsilons) * np.abs(values).max()
    return errors.max() <= max(rounding, MAX_SUM_ERROR * values.std(axis=0).min())


def float_dtype(dtype):
    """The numpy dtype of a column of floats; that of doubles for others."""
    is_float = isinstance(dtype, np.dtype) and dtype.kind == "f"
    return dtype if is_float else np.dtype(np.float64)


def unique_names(index):
    """Names of columns; positions where a name is not unique."""
    is_repeated = index.duplicated(keep=False)
    return [
        i if repeated else name
        for i, (name, repeated) in enumerate(zip(index, is_repeated, strict=True))
    ]


def read_numbers(columns, names) -> dict:
    """Columns of numbers and dates: by name the grid, a mask of missing, and values."""
    grids = {}
    for name, column in zip(names, columns, strict=True):
        if column_kind(column) not in (CATEGORIES, EMPTY):
            grids[name] = Grid(name, None).fit(column)
    grids = {name: grid for name, grid in grids.items() if grid.low_ is not None}
    by_measure = {}
    for name, grid in grids.items():
        by_measure.setdefault(grid.measure_, {})[name] = grid
    grids = {}
    for group in by_measure.values():
        grids.update(comparable(group))
    places = {name: i for i, name in enumerate(names)}
    return {
        name: (grid, *grid.read(columns[places[name]])) for name, grid in grids.items()
    }


def comparable(grids) -> dict:
    """Grids of one measure in one unit.

    Columns whose values lie too far from those of others for 64 bits are left out, the
    farthest first.
    """
    while grids:
        try:
            return in_one_unit(grids)
        except ValueError:
            farthest = max(grids, key=lambda name: magnitude(grids[name]))
            grids = {name: grids[name] for name in grids if name != farthest}
    return {}


def magnitude(grid):
    """Greatest distance of a column's values from zero; of dates from 1970, in s."""
    return max(abs(grid.low_), abs(grid.high_)) / TICKS_PER_SECOND.get(grid.unit_, 1)


def find_constants(numbers):
    """Columns of numbers that have one value."""
    for name, (grid, missing, values) in numbers.items():
        if grid.low_ == grid.high_ and (~missing).sum() > 1:
            [value] = grid.column(values[~missing][:1], np.zeros(1, bool))
            yield Range(name, value, value), np.inf


# ------------------------------------------------------------------ inequalities


def find_inequalities(numbers):
    """Columns that are never greater than others."""
    found = {}
    candidates = [
        (low, high)
        for low, high in permutations(numbers, 2)
        if numbers[low][0].measure_ == numbers[high][0].measure_
    ]
    for low, high in candidates:
        (grid, no_low, lows), (_, no_high, highs) = numbers[low], numbers[high]
        present = ~(no_low | no_high)
        broken = (lows > highs) & present
        if broken.any():
            continue
        surprise = surprise_of_order(lows[present], highs[present])
        if surprise > MIN_SURPRISE + np.log10(len(candidates)):
            with np.errstate(over="ignore"):
                gap = (highs - lows)[present]
            # Strict if the columns are never equal, although their values come as near
            # to each other as different ones can.
            strict = bool(gap.min() > 0) and grid.is_whole_ and gap.min() <= grid.step_
            found[low, high] = Inequality(low, high, bool(strict)), surprise
    for low, high in list(found):
        between = (m for m in numbers if (low, m) in found and (m, high) in found)
        if (high, low) in found or next(between, None) is not None:
            continue
        yield found[low, high]


def surprise_of_order(lows, highs):
    """Orders of magnitude by which chance would not put all pairs in order."""
    n = len(lows)
    below = np.searchsorted(np.sort(lows), highs, side="right").sum()
    return -n * np.log10(below / n**2) if n else 0.0


# ------------------------------------------------------------------ dependencies


def surprises_of_dependences(columns, max_levels=MAX_LEVELS, known=()) -> dict:
    """Surprises of pairs of columns of which the first determines the second.

    Parameters
    ----------
    columns : dict of {hashable: Series}
    max_levels : int, default=MAX_LEVELS
    known : collection of frozenset, default=()
        Pairs of names that are left out.
    """
    codes = {}
    for name, column in columns.items():
        values = pd.factorize(column)[0] + 1
        n_levels = len(np.unique(values))
        few = n_levels <= min(max_levels, len(values) / MIN_ROWS_PER_LEVEL)
        if few and n_levels > 1:
            codes[name] = values
    pairs = [pair for pair in permutations(codes, 2) if frozenset(pair) not in known]
    surprises = {
        (first, second): surprise_of_dependence(codes[first], codes[second])
        for first, second in pairs
    }
    least = MIN_SURPRISE + np.log10(max(1, len(pairs)))
    return {pair: surprise for pair, surprise in surprises.items() if surprise > least}


def groups_of_dependent(surprises, overlap=True):
    """Columns that determine others, with these, and the surprise of all together.

    Without `overlap` no column is in two groups.
    """
    determined = {}
    for first, second in surprises:
        determined.setdefault(first, []).append(second)
    # Those that determine most come first, and take what they determine with them.
    taken = set()
    for first, others in sorted(determined.items(), key=lambda item: -len(item[1])):
        if not overlap:
            others = [second for second in others if second not in taken]
        if others and first not in taken:
            taken |= {first, *others}
            total = sum(surprises[first, second] for second in others)
            yield FixedCombinations([first, *others]), total


def surprise_of_dependence(codes, others):
    """Orders of magnitude by which chance would not let one column determine another.

    0 if it does not: if rows with one level of `codes` have several of `others`.
    """
    for rows in (slice(FIRST_ROWS), slice(None)):
        a, b = codes[rows], others[rows]
        n_pairs = len(np.unique(a * (others.max() + 1) + b))
        if n_pairs > len(np.unique(a)):
            return 0.0
    counts = np.bincount(codes)
    return -np.log10(chance_of_equals(others)) * (counts[counts > 0] - 1).sum()


def chance_of_equals(codes):
    """Probability that two rows have the same value."""
    shares = np.bincount(codes) / len(codes)
    return float(np.square(shares).sum())


# ------------------------------------------------------------------ sums


def find_sums(columns, numbers, names):
    """Columns of numbers that add up, or are equal to each other."""
    terms = [
        name
        for name, (grid, missing, _) in numbers.items()
        # Only complete rows count, and a column that is mostly missing leaves few.
        if grid.measure_[0] == NUMBERS
        and grid.low_ < grid.high_
        and missing.mean() < 0.5
    ]
    if len(terms) < 2:
        return
    missing = np.array([numbers[name][1] for name in terms])
    matrix = np.array([numbers[name][2] for name in terms], dtype=np.float64)
    complete = ~missing.any(axis=0)
    if complete.sum() < 2 * len(matrix) + 10:
        return
    for factors, constant in null_vectors(matrix[:, complete]):
        chosen = {n: f for n, f in zip(terms, factors, strict=True) if f}
        if len(chosen) < 2:
            continue
        constraint = Linear(chosen, constant)
        places = [names.index(name) for name in chosen]
        part = Sum(constraint, places).fit(columns)
        if part.find_broken(columns).any():
            continue
        target = names[part.target_]
        codes = np.unique(numbers[target][2], return_inverse=True)[1]
        yield constraint, -complete.sum() * np.log10(chance_of_equals(codes))


def null_vectors(matrix):
    """Small round factors with which the rows of a matrix add up to a constant.

    Yields
    ------
    factors : list of float of length n_rows
    constant : float
        What the rows, times their factors, add up to in every column.
    """
    # Squares of numbers near the greatest floats would overflow.
    largest = np.abs(matrix).max(axis=1)
    largest[largest == 0] = 1.0
    matrix = matrix / largest[:, None]
    center, scale = matrix.mean(axis=1), matrix.std(axis=1)
    scale[scale == 0] = 1.0
    standard = ((matrix - center[:, None]) / scale[:, None]).T
    center, scale = center * largest, scale * largest
    _, singular, vectors = np.linalg.svd(
        standard[: 50 * FIRST_ROWS], full_matrices=False
    )
    null = vectors[singular < RANK_TOLERANCE * singular[0]]
    # First, because in the units of a column of small numbers errors would be large.
    with np.errstate(over="ignore"):  # of numbers that are next to zero
        null = np.where(np.abs(null) < MIN_STANDARD_FACTOR, 0.0, null) / scale
    for factors in row_reduced(null[np.isfinite(null).all(axis=1)]):
        if not (np.abs(factors) > 1e-6).any():
            continue
        smallest = np.abs(factors[np.abs(factors) > 1e-6]).min()
        factors = np.round(factors / smallest, FACTOR_DECIMALS)
        if np.abs(factors).max() > MAX_FACTOR:
            continue
        factors *= np.sign(factors[np.flatnonzero(factors)[0]])
        constant = float(factors @ center)
        if abs(constant) < ROUNDING * np.abs(factors * largest).max():
            constant = 0.0
        if abs(constant) > 1e300:
            continue
        whole = np.round(constant, 6)
        factors = [int(f) if f == int(f) else float(f) for f in factors]
        yield factors, (int(whole) if whole == int(whole) else float(whole)) + 0


def row_reduced(rows):
    """Rows that span the same space, with the zeros that Gaussian elimination makes."""
    rows = rows / np.abs(rows).max(axis=1, keepdims=True) if len(rows) else rows
    free = set(range(rows.shape[1]))
    for i in range(len(rows)):
        # The last one is most likely a total, which stands behind its parts in a table.
        usable = [j for j in sorted(free) if np.abs(rows[i, j]) > 1e-3]
        if not usable:
            continue
        pivot = usable[-1]
        free.discard(pivot)
        rows[i] /= rows[i, pivot]
        for k in range(len(rows)):
            if k != i:
                rows[k] -= rows[k, pivot] * rows[i]
    return np.where(np.abs(rows) < 1e-6, 0.0, rows)


# ------------------------------------------------------------------ compatibility


def are_compatible(constraints, names):
    """Whether each constraint can be given together with those before it."""
    taken, flags = {}, []
    for constraint in constraints:
        places = [find_column(constraint, name, names) for name in constraint.columns]
        # Only inequalities may share columns with each other.
        others = {taken[i] for i in places if i in taken}
        is_inequality = isinstance(constraint, Inequality)
        shares = isinstance(constraint, SHARING)
        flags.append(shares or others <= ({Inequality} if is_inequality else set()))
        if flags[-1] and not shares:
            taken.update(dict.fromkeys(places, type(constraint)))
    return np.array(flags, dtype=bool)
