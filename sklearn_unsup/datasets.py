"""Generated tables whose true distribution is known in closed form."""

from functools import cached_property
from numbers import Integral

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import logsumexp

__all__ = ["MixedTableTruth", "make_mixed_table"]

# Everything depends on the row's hidden segment, missing values and the zeros of
# `spend` also on its plan. One row below for each segment.
SEGMENTS = np.array([0.5, 0.3, 0.2])
PLANS = ("basic", "plus", "pro", "trial")
PLAN_GIVEN_SEGMENT = np.array(
    [
        [0.700, 0.248, 0.050, 0.002],  # the rare level: 0.2 % of the rows everywhere
        [0.200, 0.598, 0.200, 0.002],
        [0.100, 0.198, 0.700, 0.002],
    ]
)
REGIONS = ("east", "north", "south", "west")
REGION_GIVEN_SEGMENT = np.array(
    [[0.70, 0.10, 0.10, 0.10], [0.10, 0.60, 0.20, 0.10], [0.05, 0.15, 0.30, 0.50]]
)
ACTIVE_GIVEN_SEGMENT = np.array([0.90, 0.50, 0.20])
# Factors, by plan, of `missing_rate`.
MISSING_FACTOR = np.array([0.5, 1.0, 2.0, 1.0])
HEIGHT_MEAN, HEIGHT_SD = np.array([150.0, 172.0, 190.0]), np.array([5.0, 4.0, 3.0])
WEIGHT_MEAN, WEIGHT_SD = np.array([50.0, 75.0, 85.0]), np.array([4.0, 8.0, 6.0])
# Correlation of height and weight within each segment.
HEIGHT_WEIGHT_CORRELATION = 0.8
VISITS_MEAN = np.array([1.0, 4.0, 12.0])
# Probability, by plan, that a customer spends nothing.
SPEND_IS_ZERO = np.array([0.90, 0.50, 0.20, 1.00])
SPEND_A, SPEND_B, SPEND_MAX = np.array([2.0, 3.0, 6.0]), np.array([6.0, 3.0, 2.0]), 100
ORIGIN, LAST_DAY = pd.Timestamp("2020-01-01"), 729
JOINED_FRACTION = np.array([0.2, 0.5, 0.8])

CATEGORICAL = ("plan", "region", "active")
NUMERIC = ("height", "weight", "visits", "spend", "joined")


class _SpikedLaw:
    """Zero with probability `p_zero`, else a draw of the continuous `law`."""

    def __init__(self, p_zero, law):
        self.p_zero = p_zero
        self.law = law

    def cdf(self, x):
        return self.p_zero * (x >= 0) + (1 - self.p_zero) * self.law.cdf(x)

    def mean(self):
        return (1 - self.p_zero) * self.law.mean()

    def std(self):
        second_moment = (1 - self.p_zero) * _second_moment(self.law)
        return np.sqrt(second_moment - self.mean() ** 2)

    def rvs(self, size, random_state):
        values = self.law.rvs(size=size, random_state=random_state)
        return np.where(random_state.random(values.shape) < self.p_zero, 0.0, values)


def _numeric_laws(segment, plan):
    """Laws of the numeric columns for rows of these segments and plans, (n_rows,)."""
    spend = stats.beta(SPEND_A[segment], SPEND_B[segment], scale=SPEND_MAX)
    return {
        "height": stats.norm(HEIGHT_MEAN[segment], HEIGHT_SD[segment]),
        "weight": stats.norm(WEIGHT_MEAN[segment], WEIGHT_SD[segment]),
        "visits": stats.poisson(VISITS_MEAN[segment]),
        "spend": _SpikedLaw(SPEND_IS_ZERO[plan], spend),
        "joined": stats.binom(LAST_DAY, JOINED_FRACTION[segment]),
    }


def _log_spend(segment, plan, spend):
    """Log-probability of zeros and log-density of other amounts, (n_rows,)."""
    law = stats.beta(SPEND_A[segment], SPEND_B[segment], scale=SPEND_MAX)
    p_zero = SPEND_IS_ZERO[plan]
    return np.where(spend == 0, np.log(p_zero), np.log1p(-p_zero) + law.logpdf(spend))


def _log_body(segment, p_missing, X):
    """Log-density of height, or of its absence, and of weight given it, (n_rows,)."""
    missing = X["height"].isna().to_numpy()
    height = (X["height"] - HEIGHT_MEAN[segment]) / HEIGHT_SD[segment]
    mean = HEIGHT_WEIGHT_CORRELATION * height.fillna(0.0)
    weight = (X["weight"] - WEIGHT_MEAN[segment]) / WEIGHT_SD[segment]
    deviation = np.where(missing, 1.0, np.sqrt(1 - HEIGHT_WEIGHT_CORRELATION**2))
    of_weight = stats.norm.logpdf(weight, mean, deviation) - np.log(WEIGHT_SD[segment])
    of_height = stats.norm.logpdf(height.fillna(0.0)) - np.log(HEIGHT_SD[segment])
    of_height = np.where(missing, np.log(p_missing), np.log1p(-p_missing) + of_height)
    return of_height + of_weight


def _second_moment(law):
    return law.std() ** 2 + law.mean() ** 2


def _check_column(column, allowed, name="column"):
    if column not in allowed:
        raise ValueError(f"{name} must be one of {list(allowed)}, got {column!r}")


class MixedTableTruth:
    """Exact distribution of the rows of :func:`make_mixed_table`.

    Nothing in it is estimated: every answer is a sum over the cells of one finite
    table, the joint law of a row's hidden segment, its categorical columns and the
    places of its missing values. All methods take `conditions`, a dictionary from any
    of the columns plan, region and active to a level, and then speak of the rows that
    meet them; None as a level means a missing value. What is said of a numeric column
    holds for the rows in which it is present; ``joined`` counts in days since
    2020-01-01.

    Parameters
    ----------
    missing_rate : float, default=0.1
        The `missing_rate` given to :func:`make_mixed_table`, a fraction of the rows.

    See Also
    --------
    make_mixed_table : Draw rows of this distribution.

    Examples
    --------
    >>> from sklearn_unsup.datasets import MixedTableTruth
    >>> truth = MixedTableTruth()
    >>> truth.probabilities("plan").round(4).to_dict()
    {'basic': 0.43, 'plus': 0.343, 'pro': 0.225, 'trial': 0.002}
    >>> mean, std = truth.moments("height", {"plan": "pro"})
    >>> round(mean, 1), round(std, 1)
    (180.8, 13.8)
    """

    def __init__(self, missing_rate=0.1):
        if not 0 <= missing_rate <= 0.5:
            raise ValueError(f"missing_rate must be in [0, 0.5], got {missing_rate!r}")
        self.missing_rate = missing_rate

    def probabilities(self, *columns, conditions=None) -> pd.Series:
        """Return the probability of each level, or pair of levels.

        Parameters
        ----------
        *columns : str
            One or more of plan, region and active.
        conditions : dict, default=None
            Levels of categorical columns that the rows must have.

        Returns
        -------
        probabilities : Series of shape (n_levels,) or (n_pairs,)
            Indexed by level, a missing value among them as NaN; with two columns
            ``probabilities.unstack()`` is their table.
        """
        for column in columns:
            _check_column(column, CATEGORICAL, "columns")
        cells = self._select(conditions)
        return cells.groupby(list(columns), dropna=False)["probability"].sum()

    def missing_probability(self, column, conditions=None) -> float:
        """Return the probability that a value is missing.

        Parameters
        ----------
        column : str
            Any column of the table.
        conditions : dict, default=None
            Levels of categorical columns that the rows must have.

        Returns
        -------
        probability : float
            Between 0 and 1.
        """
        _check_column(column, CATEGORICAL + NUMERIC)
        cells = self._select(conditions)
        probability = cells["probability"] @ self._is_missing(column, cells)
        return float(np.clip(probability, 0.0, 1.0))  # a sum of shares may round past 1

    def cdf(self, column, values, conditions=None) -> np.ndarray:
        """Return the distribution function of a numeric column.

        Parameters
        ----------
        column : str
            One of height, weight, visits, spend and joined.
        values : array-like of shape (n_values,)
            Where to evaluate it; for ``joined`` dates, or days since 2020-01-01.
        conditions : dict, default=None
            Levels of categorical columns that the rows must have.

        Returns
        -------
        probabilities : ndarray of shape (n_values,)
            P(x <= value).
        """
        values = np.asarray(values)
        if values.dtype.kind == "M":
            values = (values - ORIGIN.to_datetime64()) / np.timedelta64(1, "D")
        weights, law = self._mixture(conditions, column)
        return law.cdf(values[:, None]) @ weights

    def moments(self, column, conditions=None) -> tuple[float, float]:
        """Return mean and standard deviation of a numeric column.

        Parameters
        ----------
        column : str
            One of height, weight, visits, spend and joined.
        conditions : dict, default=None
            Levels of categorical columns that the rows must have.

        Returns
        -------
        mean, std : float
            Both in the column's own unit.
        """
        weights, law = self._mixture(conditions, column)
        mean, second_moment = weights @ law.mean(), weights @ _second_moment(law)
        return float(mean), float(np.sqrt(second_moment - mean**2))

    def correlation(self, first, second, conditions=None) -> float:
        """Return Pearson's correlation of two different numeric columns.

        Parameters
        ----------
        first, second : str
            Two of height, weight, visits, spend and joined.
        conditions : dict, default=None
            Levels of categorical columns that the rows must have.

        Returns
        -------
        correlation : float
            Among the rows in which both are present.
        """
        weights, first_law, second_law = self._mixture(conditions, first, second)
        linked = {first, second} == {"height", "weight"}
        product_mean = first_law.mean() * second_law.mean()
        product_mean += (
            linked * HEIGHT_WEIGHT_CORRELATION * first_law.std() * second_law.std()
        )
        x, y = weights @ first_law.mean(), weights @ second_law.mean()
        x_variance = weights @ _second_moment(first_law) - x**2
        y_variance = weights @ _second_moment(second_law) - y**2
        return float(
            (weights @ product_mean - x * y) / np.sqrt(x_variance * y_variance)
        )

    def score_samples(self, X) -> np.ndarray:
        """Return the true log-likelihood of rows.

        Of counts, dates, categories, missing values and a `spend` of zero it has the
        probability, of other numbers the density per unit of their column, as
        :meth:`sklearn_unsup.VAETransformer.score_samples`
        has it. Minus its mean is the entropy, beyond which no model can get.

        Parameters
        ----------
        X : DataFrame of shape (n_samples, 8)
            Rows with the columns of :func:`make_mixed_table`.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            Nats; minus infinity for a row that cannot be.
        """
        plan = pd.Categorical(X["plan"], PLANS).codes.astype(int)
        region = pd.Categorical(X["region"], REGIONS).codes.astype(int)
        days = (pd.to_datetime(X["joined"]) - ORIGIN) / pd.Timedelta(1, unit="D")
        p_missing = self.missing_rate * MISSING_FACTOR[plan]
        joint = []
        with np.errstate(divide="ignore"):
            for segment in range(len(SEGMENTS)):
                p_region = REGION_GIVEN_SEGMENT[segment, region] * (1 - p_missing)
                p_active = ACTIVE_GIVEN_SEGMENT[segment]
                visits = stats.poisson(VISITS_MEAN[segment])
                joined = stats.binom(LAST_DAY, JOINED_FRACTION[segment])
                p = SEGMENTS[segment] * PLAN_GIVEN_SEGMENT[segment, plan]
                p = p * np.where(region < 0, p_missing, p_region)
                p = p * np.where(X["active"].astype(bool), p_active, 1 - p_active)
                total = np.log(p) + visits.logpmf(X["visits"]) + joined.logpmf(days)
                total += _log_spend(segment, plan, X["spend"].to_numpy(float))
                joint.append(total + _log_body(segment, p_missing, X))
        return logsumexp(joint, axis=0)

    @cached_property
    def _cells(self):
        """The joint law: hidden segment, categorical columns, holes, probability."""
        n_levels = len(SEGMENTS), len(PLANS), len(REGIONS) + 1, 2, 2
        codes = np.indices(n_levels).reshape(len(n_levels), -1)
        segment, plan, region, active, height_missing = codes
        p_missing = self.missing_rate * MISSING_FACTOR[plan]
        p_region = np.c_[REGION_GIVEN_SEGMENT, np.zeros(len(SEGMENTS))][segment, region]
        p_active = ACTIVE_GIVEN_SEGMENT[segment]
        p = SEGMENTS[segment] * PLAN_GIVEN_SEGMENT[segment, plan]
        p *= np.where(region == len(REGIONS), p_missing, p_region * (1 - p_missing))
        p *= np.where(active, p_active, 1 - p_active)
        p *= np.where(height_missing, p_missing, 1 - p_missing)
        cells = {
            "segment": segment,
            "plan": np.array(PLANS, dtype=object)[plan],
            "region": np.array([*REGIONS, None], dtype=object)[region],
            "active": active == 1,
            "height_missing": height_missing == 1,
            "probability": p,
        }
        return pd.DataFrame(cells)[p > 0]

    def _select(self, conditions=None, present=()):
        """Cells that meet the conditions, their probabilities scaled to sum to 1."""
        cells = self._cells
        for column, level in (conditions or {}).items():
            _check_column(column, CATEGORICAL, "conditions: the column")
            found = cells[column].isna() if level is None else cells[column] == level
            if not found.any():
                raise ValueError(
                    f"conditions: {column!r} must be one of its levels "
                    f"{list(self._cells[column].unique())}, got {level!r}"
                )
            cells = cells[found]
        for column in present:
            cells = cells[~self._is_missing(column, cells)]
        return cells.assign(probability=cells["probability"] / cells.probability.sum())

    def _mixture(self, conditions, *columns):
        """Weights (n_cells,) and, for each numeric column, its laws in the cells."""
        for column in columns:
            _check_column(column, NUMERIC)
        cells = self._select(conditions, present=columns)
        plan = cells["plan"].map(PLANS.index).to_numpy()
        laws = _numeric_laws(cells["segment"].to_numpy(), plan)
        return (cells["probability"].to_numpy(), *(laws[name] for name in columns))

    def _is_missing(self, column, cells):
        if column == "height":
            return cells["height_missing"]
        if column in CATEGORICAL:
            return cells[column].isna()
        return pd.Series(False, index=cells.index)


def make_mixed_table(
    n_samples=1000, *, missing_rate=0.1, random_state=None
) -> tuple[pd.DataFrame, MixedTableTruth]:
    """Generate a mixed table whose true distribution is known.

    Each row belongs to one of three hidden segments, and given its segment and plan all
    other columns are independent, save that height and weight have a correlation of
    0.8. So all marginals, pair tables and conditional laws are finite sums, which the
    second return value computes: samples of a generative model can be tested against
    the truth, with bounds that depend on their number only.

    The columns: ``height``, a mixture of three Gaussians, missing at random depending
    on the plan; ``weight``, linear in height plus Gaussian noise; ``visits``, counts,
    a mixture of Poisson laws; ``spend``, zero in 61 % of the rows and within (0, 100)
    in the others; ``joined``, whole days in 2020 and 2021; ``plan``, a category whose
    level trial has 0.2 % of the rows; ``region``, strings, missing as height is;
    ``active``, a flag.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of rows.
    missing_rate : float, default=0.1
        Fraction of height, and of region, that is missing on the plans plus and trial;
        half of that on basic and twice that on pro. Between 0 and 0.5.
    random_state : int, RandomState instance, Generator or None, default=None
        Seed of the draw. An int gives the same rows at every call.

    Returns
    -------
    table : DataFrame of shape (n_samples, 8)
        The rows.
    truth : MixedTableTruth
        The distribution they were drawn from.

    See Also
    --------
    MixedTableTruth : The questions that the truth answers.

    Examples
    --------
    >>> from sklearn_unsup.datasets import make_mixed_table
    >>> table, truth = make_mixed_table(2000, random_state=0)
    >>> mean = table.loc[table["plan"] == "pro", "weight"].mean()
    >>> bool(abs(mean - truth.moments("weight", {"plan": "pro"})[0]) < 2)
    True
    """
    if not isinstance(n_samples, Integral) or n_samples < 1:
        raise ValueError(f"n_samples must be an integer >= 1, got {n_samples!r}")
    truth = MixedTableTruth(missing_rate)
    if isinstance(random_state, np.random.RandomState):
        random_state = random_state.randint(2**31)
    rng = np.random.default_rng(random_state)

    segment = rng.choice(len(SEGMENTS), size=n_samples, p=SEGMENTS)
    plan = _draw_levels(PLAN_GIVEN_SEGMENT[segment], rng)
    region = _draw_levels(REGION_GIVEN_SEGMENT[segment], rng)
    height_z, noise = rng.standard_normal((2, n_samples))
    weight_z = HEIGHT_WEIGHT_CORRELATION * height_z
    weight_z += np.sqrt(1 - HEIGHT_WEIGHT_CORRELATION**2) * noise
    laws = _numeric_laws(segment, plan)
    # A size is given because scipy would return a scalar for one row.
    days = laws["joined"].rvs(size=n_samples, random_state=rng)
    visits = laws["visits"].rvs(size=n_samples, random_state=rng)
    table = pd.DataFrame(
        {
            "height": HEIGHT_MEAN[segment] + HEIGHT_SD[segment] * height_z,
            "weight": WEIGHT_MEAN[segment] + WEIGHT_SD[segment] * weight_z,
            "visits": visits.astype(np.int64),
            "spend": laws["spend"].rvs(size=n_samples, random_state=rng),
            "joined": ORIGIN + pd.to_timedelta(days, unit="D"),
            "plan": pd.Categorical.from_codes(plan, PLANS),
            "region": pd.Series(REGIONS).take(region).reset_index(drop=True),
            "active": rng.random(n_samples) < ACTIVE_GIVEN_SEGMENT[segment],
        }
    )
    for column in ("height", "region"):
        holes = rng.random(n_samples) < missing_rate * MISSING_FACTOR[plan]
        table[column] = table[column].mask(holes)
    return table, truth


def _draw_levels(probabilities, rng):
    """Codes (n_samples,), each drawn from a row of `probabilities`."""
    beyond = rng.random((len(probabilities), 1)) > probabilities.cumsum(axis=1)
    # Rounding may leave the last cumulative sum just under 1.
    return np.minimum(beyond.sum(axis=1), probabilities.shape[1] - 1)
