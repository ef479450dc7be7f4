"""What a fit may give away, and how it is spent."""

import numbers
import secrets
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy.sparse import issparse

from .._table.constraint_set import find_broken
from .._table.frames import as_frame
from .._table.kinds import CATEGORIES
from .columns import (
    NoisyCounts,
    category_column,
    n_histograms,
    public_kind,
)
from .declared import check_names, declared_bounds, declared_levels
from .dtypes import as_dtype
from .marginals import NoisyPairs, draw_codes
from .numeric import number_column

# Share of the budget that goes to counts of single columns. Of the rest, which goes to
# pairs of columns, share that goes to the choice of the pairs.
SINGLE_SHARE, CHOICE_SHARE = 0.6, 0.1
# Share of delta that goes to levels and values that are not known beforehand.
LEVEL_SHARE = 0.5
# Minimum and maximum number of pairs that are counted for each column, and of codes of
# a column in these counts.
PAIRS_PER_COLUMN, N_CODES = (2, 4), (12, 24)
# Share of the rows that the noise of a pair may misplace where there are more of either
# than the minimum.
MAX_MISPLACED_IN_PAIRS = 0.08
# A budget is refused if noise is expected to misplace more than a tenth of the rows of
# a column of the fewest codes.
MAX_MISPLACED = 0.1
# Minimum share of the drawn rows that meet the constraints, of which counts of pairs do
# not know. Where fewer do, those that are left no longer have the noised counts.
MIN_UNBROKEN = 0.5


@dataclass
class Budget:
    """A budget of differential privacy for a fit.

    The model learns from noised counts alone: of the values of single columns and of
    pairs of columns. Whatever comes later, every gradient too, sees rows that were
    drawn from these counts. So nothing about the model or its samples depends on any
    one row more than `epsilon` and `delta` say, however often they are looked at.

    Two tables are neighbours if one has a row that the other lacks. Names and dtypes of
    columns are taken as public, but not the categories of a dtype, nor whatever else
    you have decided after looking at the rows. A column of dtype object is one of
    categories whatever its cells are: convert numbers and dates before.

    Parameters
    ----------
    epsilon : float, default=1.0
        With or without a row, no event gets more than exp(epsilon) times as likely,
        up to `delta`.
    delta : float, default=1e-6
        Probability with which this may fail. It should be much below one over the
        number of rows: choose it by what you know of that number without counting,
        since a delta that was computed from the rows would tell of them. The default
        suits up to some hundred thousand rows.
    bounds : dict or None, default=None
        By column of numbers, dates or durations, what values may lie between, as a
        pair of such: declared by you and not read from the rows. They cost nothing, and
        others are clipped to them. What is not declared is learnt.
    categories : dict or None, default=None
        By column of categories, all levels that may occur, declared in the same way.
        What is not declared is learnt; rare levels are then lost.
    noise_seed : int or None, default=None
        Seed of the noise, for experiments alone: who knows it, or tries all numbers
        that you may have taken, can take the noise away. With None it comes from the
        operating system and is kept nowhere, so that no fit can be repeated, not even
        with the same `random_state` of the model.

    See Also
    --------
    sklearn_unsup.VAETransformer : Takes it as `privacy`.

    Notes
    -----
    Noise comes from numpy's generator, with a seed of 128 bits from the operating
    system, and is rounded as floating-point numbers are. A cryptographic generator and
    discrete noise would also withstand one who reconstructs the generator's state, or
    reads counts off low bits, which this does not claim to.

    Each fit spends its budget, a refused one as well: their epsilons and deltas add
    up. So do those of a search over parameters.

    Examples
    --------
    >>> from sklearn_unsup.privacy import Budget
    >>> Budget(epsilon=2.0, bounds={"age": (0, 120)})  # doctest: +NORMALIZE_WHITESPACE
    Budget(epsilon=2.0, delta=1e-06, bounds={'age': (0, 120)}, categories=None,
           noise_seed=None)
    """

    epsilon: float = 1.0
    delta: float = 1e-6
    bounds: dict | None = None
    categories: dict | None = None
    noise_seed: int | None = None


def check_budget(budget, names):
    if not isinstance(budget.epsilon, numbers.Real) or not 0 < budget.epsilon < np.inf:
        raise ValueError(f"epsilon must be a number above 0, got {budget.epsilon!r}")
    if not isinstance(budget.delta, numbers.Real) or not 0 < budget.delta < 0.1:
        raise ValueError(
            f"delta must lie between 0 and 0.1, such as 1e-6, got {budget.delta!r}"
        )
    check_names(budget, names)


def import_accounting():
    try:
        import dp_accounting
        from dp_accounting import rdp
    except ImportError as error:
        raise ImportError(
            "privacy=Budget(...) needs dp-accounting, which is not installed; install "
            "it with: pip install 'sklearn-unsup[privacy]'"
        ) from error
    return dp_accounting, rdp.RdpAccountant


def spent_epsilon(events, delta):
    """Epsilon that the accountant gives for what was spent.

    Events are named as the accountant does, each with its parameter, the noise per unit
    of sensitivity or rho, and how often it takes place.
    """
    accounting, accountant = import_accounting()
    account = accountant()
    for kind, value, times in events:
        event = getattr(accounting, kind)(value)
        account.compose(event, times)
    return float(account.get_epsilon(delta))


@dataclass(frozen=True)
class Plan:
    """How a budget is divided, from zero-concentrated privacy `rho` in all."""

    rho: float
    n_single: int
    n_rounds: int

    def with_resolution(self, n_rows, n_columns):
        """The plan with as many pairs, and the number of codes, as noise allows.

        Neither changes what is spent: all pairs together have a share of `rho`.
        """
        n_pairs = n_columns * (n_columns - 1) // 2
        min_rounds, max_rounds = (
            min(n_pairs, max(n_columns - 1, n * n_columns)) for n in PAIRS_PER_COLUMN
        )

        def is_told(plan, n_codes):
            noise = misplaced(plan.sigma_pair, n_codes**2, n_rows)
            return noise <= MAX_MISPLACED_IN_PAIRS

        n_codes, max_codes = N_CODES
        plan = replace(self, n_rounds=min_rounds)
        for n_rounds in range(min_rounds + 1, max_rounds + 1):
            finer = replace(self, n_rounds=n_rounds)
            if not is_told(finer, n_codes):
                break
            plan = finer
        while n_codes < max_codes and is_told(plan, n_codes + 1):
            n_codes += 1
        return plan, n_codes

    @property
    def sigma_single(self):
        return np.sqrt(self.n_single / (2 * SINGLE_SHARE * self.rho))

    @property
    def round_rho(self):
        return (1 - SINGLE_SHARE) * self.rho / max(self.n_rounds, 1)

    @property
    def sigma_pair(self):
        return 1 / np.sqrt(2 * (1 - CHOICE_SHARE) * self.round_rho)

    @property
    def choice_epsilon(self):
        return np.sqrt(8 * CHOICE_SHARE * self.round_rho)

    def events(self):
        events = [("GaussianDpEvent", self.sigma_single, self.n_single)]
        if self.n_rounds:
            events.append(("GaussianDpEvent", self.sigma_pair, self.n_rounds))
            rho = self.choice_epsilon**2 / 8
            events.append(("ZCDpEvent", rho, self.n_rounds))
        return events


def misplaced(sigma, n_counts, n_rows):
    """Share of rows that noise misplaces: half its expected sum over the counts."""
    return 0.5 * np.sqrt(2 / np.pi) * sigma * n_counts / n_rows


@lru_cache(maxsize=64)
def make_plan(epsilon, delta, n_single, n_rounds):
    """The plan that spends all of epsilon, found by bisection."""
    low, high = 1e-12, 1e4
    for _ in range(60):
        middle = np.sqrt(low * high)
        plan = Plan(middle, n_single, n_rounds)
        if spent_epsilon(plan.events(), delta) > epsilon:
            high = middle
        else:
            low = middle
        if high / low < 1.001:
            break
    return Plan(low, n_single, n_rounds)


def check_useful(plan, n_rows, delta, columns):
    """Refuse a budget that tells nothing; by the noised number of rows alone."""
    largest = MAX_MISPLACED / misplaced(1.0, N_CODES[0], n_rows)
    if plan.sigma_single > largest:
        rho = plan.rho * (plan.sigma_single / largest) ** 2
        least = spent_epsilon(Plan(rho, plan.n_single, plan.n_rounds).events(), delta)
        raise ValueError(
            f"epsilon is too small for a table of some {n_rows:,} rows and "
            f"{len(columns)} columns: noise would misplace more than "
            f"{MAX_MISPLACED:.0%} of the rows of a column. The smallest useful one is "
            f"about {least:.2g}; or fit to more rows or fewer columns."
        )
    for column in columns:
        if column.counts.sum() <= 0:
            is_object = pd.api.types.is_object_dtype(column.dtype)
            convert = "convert it if it holds numbers or dates, " if is_object else ""
            raise ValueError(
                f"no value of column {column.name!r} is so frequent that the budget "
                f"lets it be told: {convert}declare its categories in the Budget, "
                "raise epsilon, or leave the column out."
            )


def private_table(X, budget, rng, constraints=()):
    """A table drawn from noised counts of X, and what was spent: epsilon and delta.

    It is a DataFrame or an array, as X is, without rows that break constraints.
    """
    if issparse(X):
        raise ValueError(
            "privacy needs a dense table: pass a DataFrame or an array, or "
            "privacy=None for a sparse one."
        )
    frame = as_frame(X)
    check_budget(budget, list(frame.columns))
    kinds = {name: public_kind(frame[name]) for name in frame}
    bounds = declared_bounds(budget.bounds, frame, kinds)
    categories = declared_levels(budget.categories, frame, kinds)
    declared = {**bounds, **categories}
    n_single = 1 + sum(
        n_histograms(kind, declared.get(name)) for name, kind in kinds.items()
    )
    d = len(kinds)
    delta = (1 - LEVEL_SHARE) * budget.delta
    plan = make_plan(budget.epsilon, delta, n_single, int(d > 1))
    rng = noise_of(plan, d, rng)
    counter = NoisyCounts(plan.sigma_single, LEVEL_SHARE * budget.delta / d, rng)
    [n_rows] = counter.histogram(np.zeros(len(frame), dtype=np.int64), 1)
    n_rows = max(1, round(n_rows))
    plan, n_codes = plan.with_resolution(n_rows, d)
    columns = [
        category_column(frame[name], categories.get(name), counter, n_codes)
        if kind == CATEGORIES
        else number_column(frame[name], bounds.get(name), counter, n_codes)
        for name, kind in kinds.items()
    ]
    check_useful(plan, n_rows, delta, columns)
    codes = np.stack([c.encode(frame[c.name]) for c in columns], axis=1)
    sizes = [len(column.counts) for column in columns]
    pairs = NoisyPairs(codes, sizes, plan.sigma_pair, plan.choice_epsilon, rng)
    drawn = draw_codes(pairs, columns, plan.n_rounds, n_rows, rng)
    told = counter.n_told, pairs.n_chosen, pairs.n_measured
    paid = n_single, plan.n_rounds, plan.n_rounds
    if told != paid:
        raise RuntimeError(
            f"histograms, choices and pairs that were told are {told}, and {paid} are "
            "paid for: this is a mistake of the package, please report it."
        )
    values = {
        c.name: as_dtype(
            c.draw(drawn[:, i], rng), frame[c.name].dtype, categories.get(c.name)
        )
        for i, c in enumerate(columns)
    }
    table = pd.DataFrame(values)
    if not isinstance(X, pd.DataFrame):
        # How long strings of an array may be is how long one of its rows is.
        table = table.to_numpy(X.dtype.kind if X.dtype.kind in "SU" else X.dtype)
    table = without_broken(table, constraints)
    spent = spent_epsilon(plan.events(), delta)
    return table, spent, budget.delta


def without_broken(table, constraints):
    """Drawn rows that meet all constraints, if these are most of them."""
    is_broken = np.zeros(len(table), dtype=bool)
    for constraint, rows, _ in find_broken(table, table, constraints or ()):
        is_broken |= rows
        share = 1 - is_broken.mean()
        if share < MIN_UNBROKEN:
            raise ValueError(
                f"{constraint!r} holds in {share:.0%} of the rows that are drawn from "
                "noised counts of pairs of columns, which are too few for a fit with a "
                "budget. Leave out a column that others determine and compute it from "
                "samples, drop the constraint, or raise epsilon."
            )
    kept = table[~is_broken]
    return kept.reset_index(drop=True) if isinstance(kept, pd.DataFrame) else kept


def noise_generator(budget, process_group=None):
    """Generator of the noise of a fit, the same one in all processes that share it."""
    seed = budget.noise_seed
    if seed is not None:
        if not isinstance(seed, numbers.Integral) or seed < 0:
            raise ValueError(
                f"noise_seed must be None or an int from 0 on, got {seed!r}"
            )
        return np.random.default_rng(seed)
    words = [secrets.randbits(63) for _ in range(3)]
    if process_group is not None:
        words = [process_group.broadcast(word) for word in words]
    return np.random.default_rng(words)


def noise_of(plan, n_columns, rng):
    """A generator whose noise is another one for each division of a budget.

    From one seed alone, fits at two epsilons would have the same noise at two scales,
    and whoever has both could take it away.
    """
    scales = np.array([plan.rho, plan.n_single, n_columns], dtype=np.float64)
    words = rng.integers(2**63, size=3)
    return np.random.default_rng([*words, *scales.view(np.uint64)])
