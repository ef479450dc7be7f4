"""Ranges of a column of numbers or dates: from what users ask to encoded bounds."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtri

from .conditions import describe
from .numeric import NumericColumn
from .plain import as_duration, is_missing, period_name
from .spans import end_of, period_of
from .zones import has_zone, is_counted, midnight_from, midnight_until, zone_of

# A cell of which nothing is asked; None stands for a missing value.
ANYTHING = object()
# What is asked of a cell: nothing, a value, or that there is none.
ANY, PRESENT, MISSING = -1, 0, 1


@dataclass(frozen=True)
class NumberRequests:
    """What each row must have in a column of numbers or dates.

    Parameters
    ----------
    low, high : ndarray of shape (n,)
        Least and greatest value, in the dtype of the column's plain values.
    presence : ndarray of shape (n,)
        ANY, PRESENT or MISSING.
    """

    low: np.ndarray
    high: np.ndarray
    presence: np.ndarray

    def applied(self, plain):
        """Values with those outside of their range at its nearer end."""
        return np.minimum(np.maximum(plain, self.low), self.high)

    def log_presence(self, codec):
        """Logarithm of the share of training rows with, or without, a value, (n,)."""
        missing = codec.missing_share_
        with np.errstate(divide="ignore"):
            # ANY is -1, the last one.
            return np.log([1.0 - missing, missing, 1.0])[self.presence]


def read_requests(codec: NumericColumn, cells: list, n_rows: int) -> NumberRequests:
    """Requests of single cells: a value, (low, high), None or ANYTHING.

    Parameters
    ----------
    codec : NumericColumn
    cells : list
        One for all rows, or one per row.
    n_rows : int

    Raises
    ------
    ValueError
        If a cell is none of these, or the column cannot have it.
    """
    least, most = limits(codec)
    low = np.full(len(cells), least, codec.raw_dtype_)
    high = np.full(len(cells), most, codec.raw_dtype_)
    presence = np.full(len(cells), ANY, np.int8)
    for i, cell in enumerate(cells):
        if cell is ANYTHING:
            continue
        if is_missing(cell):
            if not codec.has_missing_:
                raise ValueError(
                    f"conditions: column {codec.name!r} had no missing values when "
                    "fitted, so that no row can be drawn with one."
                )
            presence[i] = MISSING
            continue
        if codec.n_present_ == 0:
            raise ValueError(
                f"conditions: column {codec.name!r} was all missing when fitted, so "
                "that no row can be drawn with a value."
            )
        presence[i] = PRESENT
        low[i], high[i] = read_range(codec, cell, least, most)
    if len(cells) != n_rows:
        low, high, presence = (np.repeat(a, n_rows) for a in (low, high, presence))
    return NumberRequests(low, high, presence)


def limits(codec):
    """The least and the greatest plain value that a column can hold."""
    if codec.raw_dtype_.kind == "f":
        return -np.inf, np.inf
    return codec._limits()


def read_range(codec, cell, least, most):
    """Ends of the range of plain values that a cell asks for."""
    if not isinstance(cell, tuple):
        # A text may name a span of time, which has two ends.
        is_exact = not isinstance(cell, str)
        low, high = (
            read_bound(codec, cell, side, is_exact) for side in ("low", "high")
        )
        if low > high:
            raise cannot_hold(codec, cell)
        return at_resolution(codec, low, high)
    if len(cell) != 2:
        raise ValueError(
            f"conditions: column {codec.name!r} takes a range as a tuple of its least "
            f"and its greatest value (None for no limit), got {describe(cell)}. For "
            "one value per row pass a list."
        )
    low, high = cell
    if any(end is not None and is_missing(end) for end in cell):
        raise ValueError(
            f"conditions: column {codec.name!r} is asked for a range with a missing "
            f"end, {describe(cell)}. Pass None for no limit, or None in place of the "
            "range for a missing value."
        )
    low = least if low is None else max(read_bound(codec, low, "low"), least)
    high = most if high is None else min(read_bound(codec, high, "high"), most)
    if low > high or low == np.inf or high == -np.inf:
        raise ValueError(
            f"conditions: column {codec.name!r} can have no value in {describe(cell)}: "
            "pass the least value first, and a range that holds a value of the "
            "column's dtype."
        )
    return at_resolution(codec, low, high)


def at_resolution(codec, low, high):
    """The part of a range that begins and ends with values as the column has them.

    Floats of a column have so many decimals, and dates are so many whole days or
    minutes from each other. A range without such a value stays.
    """
    if codec.raw_dtype_.kind != "f" and codec.span_ is not None:
        least, most = limits(codec)
        first = whole_from(codec, low) if low > least else low
        last = whole_until(codec, high) if high < most else high
        return (first, last) if first <= last else (low, high)
    decimals = codec.decimals_
    if codec.raw_dtype_.kind != "f" or decimals is None:
        return low, high
    step = 10.0**-decimals
    first, last = (
        end if math.isinf(end) else codec.raw_dtype_.type(round(float(end), decimals))
        for end in (low, high)
    )
    first = (
        first if first >= low else codec.raw_dtype_.type(round(first + step, decimals))
    )
    last = last if last <= high else codec.raw_dtype_.type(round(last - step, decimals))
    return (first, last) if low <= first <= last <= high else (low, high)


def whole_from(codec, low):
    """The first value from a whole number on that a column has steps to."""
    unit = codec.time_unit_
    if codec.has_local_days_ and is_counted(low, unit):
        return midnight_from(low, unit, zone_of(codec.dtype_))
    return low + (codec.origin_ - low) % codec.step_


def whole_until(codec, high):
    """The last value up to a whole number that a column has steps to."""
    unit = codec.time_unit_
    if codec.has_local_days_ and is_counted(high, unit):
        return midnight_until(high, unit, zone_of(codec.dtype_))
    return high - (high - codec.origin_) % codec.step_


def read_bound(codec, value, side, is_exact=False):
    """A value of a column as a plain one: an integer, or a float of its precision.

    A value between two plain ones is the next one inside of a range, and refused where
    it is meant exactly.
    """
    try:
        plain = plain_value(codec, value, side)
    except (TypeError, ValueError, OverflowError, ArithmeticError) as error:
        raise ValueError(
            f"conditions: column {codec.name!r} holds {kind_of(codec)}; cannot read "
            f"{describe(value)} as one ({error})."
        ) from error
    is_infinite = isinstance(plain, float) and math.isinf(plain)
    if isinstance(plain, float) and (math.isnan(plain) or (is_exact and is_infinite)):
        raise ValueError(
            f"conditions: column {codec.name!r} takes finite numbers, got "
            f"{describe(value)}."
        )
    if is_infinite:
        return plain
    if codec.raw_dtype_.kind != "f":
        whole = math.ceil(plain) if side == "low" else math.floor(plain)
        if is_exact:
            least, most = limits(codec)
            if whole != plain or not least <= whole <= most:
                raise cannot_hold(codec, value)
        return whole
    with np.errstate(over="ignore"):
        rounded = codec.raw_dtype_.type(plain)
    if is_exact and math.isinf(rounded):
        raise cannot_hold(codec, value)
    if is_exact or math.isinf(rounded):
        return rounded
    if side == "low" and rounded < plain:
        return np.nextafter(rounded, codec.raw_dtype_.type(np.inf))
    if side == "high" and rounded > plain:
        return np.nextafter(rounded, codec.raw_dtype_.type(-np.inf))
    return rounded


def cannot_hold(codec, value):
    return ValueError(
        f"conditions: column {codec.name!r} has dtype {codec.dtype_}, which cannot "
        f"hold {describe(value)}."
    )


def kind_of(codec):
    kinds = {"M": "dates", "m": "durations"}
    if codec.form_ and codec.form_.kind.lower() == "period":
        return f"periods of frequency {codec.form_.detail!r}"
    return kinds.get(codec.dtype_.kind, "numbers")


def plain_value(codec, value, side):
    """A number as it is; dates and durations in the column's unit, maybe in between.

    A text may name a span of time, such as a month, of which the `side` is meant.
    """
    how = "start" if side == "low" else "end"
    if codec.form_ and codec.form_.kind.lower() == "period":
        period = value
        if not isinstance(value, pd.Period):
            period = period_of(value, codec.form_.detail, how)
        if period_name(pd.PeriodDtype(period.freq)) != codec.form_.detail:
            raise ValueError(f"its frequency is {period.freqstr!r}")
        return period.ordinal
    kind = codec.dtype_.kind
    if kind not in "mM":
        if isinstance(value, str | bytes):
            raise TypeError("it is text")
        is_whole = isinstance(value, int | np.integer | np.bool_)
        return int(value) if is_whole else float(value)
    is_duration = isinstance(value, np.timedelta64)
    if isinstance(value, int | float | np.number) and not is_duration:
        raise TypeError("it is a number")
    if kind == "m":
        return in_unit(as_duration(value), codec.time_unit_)
    # A time without a zone is one of the column's zone.
    moment = end_of(value, how, zone_of(codec.dtype_))
    if moment.tz is not None and not has_zone(codec.dtype_):
        raise ValueError("the column has no time zone")
    try:
        return in_unit(moment, codec.time_unit_)
    except pd.errors.OutOfBoundsDatetime:
        if how == "start" or not isinstance(value, str):
            raise
        # Of a span that only begins in what the column can hold, that is meant.
        in_unit(end_of(value, "start", zone_of(codec.dtype_)), codec.time_unit_)
        return limits(codec)[1]


def in_unit(moment, unit):
    """Ticks of a date or duration, with a half where it is between two of them."""
    rounded = moment.as_unit(unit)
    index = pd.TimedeltaIndex if isinstance(moment, pd.Timedelta) else pd.DatetimeIndex
    ticks = index([rounded]).as_unit(unit).asi8.item()
    if rounded == moment:
        return ticks
    return ticks + 0.5 if rounded < moment else ticks - 0.5


# ------------------------------------------------------------------ encoded bounds


def encoded_bounds(codec: NumericColumn, requests: NumberRequests):
    """Encoded bounds of the ranges, and their share of the training rows.

    Returns
    -------
    bounds : ndarray of shape (n, 2), float32
    log_share : ndarray of shape (n,)
        Logarithm of the share of the training rows that have a value in the range; for
        a single number log-density of the standard normal distribution. -inf where it
        lies outside of what training rows have.
    """
    n = len(requests.low)
    bounds = np.empty((n, 2), np.float32)
    bounds[:] = -np.inf, np.inf
    log_share = np.zeros(n)
    asked = np.flatnonzero(requests.presence == PRESENT)
    low, high = (to_offsets(codec, end[asked]) for end in (requests.low, requests.high))
    if codec.scaling == "quantile":
        ends, seen = quantile_bounds(codec.quantiles_, low, high)
    else:
        ends, seen = scaled_bounds(codec, low, high)
    lower, upper = (
        codec.quantiles_._frequencies(low)[0],
        codec.quantiles_._frequencies(high)[1],
    )
    share = np.maximum(upper - lower, 0.0)
    seen &= holds_value(codec, low, high)
    points = ends[:, 1] < ends[:, 0] + 1e-4
    middle = np.where(points[:, None], ends, 0.0).mean(1)
    density = -0.5 * (middle**2 + np.log(2 * np.pi))
    with np.errstate(divide="ignore"):
        inside = np.where(points, density, np.log(share))
    bounds[asked], log_share[asked] = ends, np.where(seen, inside, -np.inf)
    return bounds, log_share


def holds_value(codec, low, high):
    """Whether ranges of offsets hold a value with the decimals of the column."""
    if codec.decimals_ is None:
        return True
    low, high = low * 10.0**codec.decimals_, high * 10.0**codec.decimals_
    dtype = codec.raw_dtype_ if codec.raw_dtype_.kind == "f" else np.float64
    with np.errstate(invalid="ignore"):  # Ends without a limit.
        slack = 1e-6 + np.finfo(dtype).eps * np.abs([low, high])
        return np.floor(high + slack[1]) >= np.ceil(low - slack[0])


def to_offsets(codec, plain):
    """Float64 values of plain ones; ends without a limit stay infinite."""
    if codec.raw_dtype_.kind == "f":
        return codec._to_float(plain)
    least, most = limits(codec)
    x = codec._to_float(plain)
    x = np.where(plain == least, -np.inf, x)
    return np.where(plain == most, np.inf, x)


def quantile_bounds(quantiles, low, high):
    """Normal quantiles of the ends of ranges, and whether rows have such values."""
    values = quantiles.values_
    first = np.searchsorted(values, low)
    last = np.searchsorted(values, high, side="right") - 1
    if quantiles.discrete_:
        seen = first <= last
        # Between two values: the nearer one stands for the range.
        below, above = np.maximum(last, 0), np.minimum(first, len(values) - 1)
        is_low = low - values[below] < values[above] - high
        nearest = np.where(is_low, below, above)
        first, last = np.where(seen, first, nearest), np.where(seen, last, nearest)
    else:
        seen = (low <= values[-1]) & (high >= values[0])
    lower, upper = quantiles._float_intervals()
    narrow = lower > upper
    middle = ndtri(0.5 * (quantiles.u_lower_ + quantiles.u_upper_))
    lower, upper = np.where(narrow, middle, lower), np.where(narrow, middle, upper)
    begin, end = lower[np.minimum(first, len(values) - 1)], upper[np.maximum(last, 0)]
    if not quantiles.discrete_:
        x, corners = quantiles._map()
        at_value = values[np.minimum(first, len(values) - 1)] == low
        begin = np.where(at_value, begin, np.interp(low, x, corners))
        at_value = values[np.maximum(last, 0)] == high
        end = np.where(at_value, end, np.interp(high, x, corners))
    # What is beyond the first and the last value decodes to them.
    begin = np.where(seen & (low <= values[0]), -np.inf, begin)
    end = np.where(seen & (high >= values[-1]), np.inf, end)
    return np.stack([begin, np.maximum(begin, end)], axis=1), seen


def scaled_bounds(codec, low, high):
    """Scaled ends of ranges, half a unit of the resolution further where it rounds."""
    seen = (low <= codec.high_) & (high >= codec.low_)
    half = 0.0 if codec.decimals_ is None else 0.5 * 10.0**-codec.decimals_
    low, high = np.clip([low, high], codec.low_, codec.high_)
    begin = np.where(low <= codec.low_, -np.inf, codec._scale(low - half))
    end = np.where(high >= codec.high_, np.inf, codec._scale(high + half))
    edge = codec._scale(np.clip(0.5 * (low + high), codec.low_, codec.high_))
    begin, end = np.where(seen, begin, edge), np.where(seen, end, edge)
    return np.stack([begin, end], axis=1), seen
