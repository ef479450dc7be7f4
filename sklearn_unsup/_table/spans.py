"""Texts that name a span of time: "2023" is a year, "2023-05" a month."""

import numpy as np
import pandas as pd

# Units of NumPy, and how many of them, for the frequencies that pandas reads in texts:
# "Y-DEC" and "Q-DEC" are without their month here.
UNITS = {
    "Y": ("Y", 1),
    "Q": ("M", 3),
    "M": ("M", 1),
    "D": ("D", 1),
    "h": ("h", 1),
    "min": ("m", 1),
    "s": ("s", 1),
}


def span_of(text: str):
    """The first moment of what a text names, and of what comes after it.

    None for a text that names a moment, and not a span: one of a time zone, or one that
    is finer than a second.
    """
    try:
        period = pd.Period(text)
    except ValueError:
        return None
    unit, count = UNITS.get(getattr(period, "freqstr", "").partition("-")[0], ("", 0))
    if not count:
        return None
    first, after = (
        pd.Timestamp(np.datetime64(ordinal * count, unit))
        for ordinal in (period.ordinal, period.ordinal + 1)
    )
    # pandas itself no longer reads a quarter as a moment.
    return (first, after) if count > 1 or pd.Timestamp(text) == first else None


def end_of(moment, how: str, zone=None) -> pd.Timestamp:
    """The first or the last moment of what a user names.

    pandas selects rows by texts in the same way: ``rows["2023-05"]`` are those of a
    month, and ``rows["2023-05":"2023-06"]`` those of two.

    Parameters
    ----------
    moment : object
        A moment, or a text.
    how : {"start", "end"}
    zone : tzinfo or None, default=None
        Time zone of moments without one. If a change of clocks leaves out the beginning
        of a day it begins after that, and at the first of two beginnings.

    Returns
    -------
    moment : Timestamp
        Without a zone if it has none and none is given. The last moment is a
        nanosecond, or what can be told apart in a far year, before the next span.
    """
    span = span_of(moment) if isinstance(moment, str) else None
    if span is None:
        moment = pd.Timestamp(moment)
        if moment is pd.NaT:
            raise ValueError("it is missing; pass None")
        return moment if zone is None or moment.tz else moment.tz_localize(zone)
    first, after = span
    if zone is not None:
        is_of_days = after == after.normalize() and first == first.normalize()
        options = {"ambiguous": True, "nonexistent": "shift_forward"}
        first, after = (
            part.tz_localize(zone, **(options if is_of_days else {})) for part in span
        )
    return first if how == "start" else before(after)


def before(moment):
    """The moment before another one, in the finest unit that can hold it."""
    for unit in "ns", "us", "ms":
        try:
            return moment.as_unit(unit) - pd.Timedelta(1, unit).as_unit(unit)
        except (pd.errors.OutOfBoundsDatetime, OverflowError):
            continue
    return moment - pd.Timedelta(1, "s")


def period_of(period, frequency: str, how: str) -> pd.Period:
    """The first or the last period of a frequency in what a text names."""
    if not isinstance(period, str):
        return pd.Period(period, frequency)
    named = pd.Period(period)
    if named is pd.NaT:
        raise ValueError("it is missing; pass None")
    return named.asfreq(frequency, how=how)
