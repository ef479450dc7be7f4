"""Texts that name a span of time: "2023" is a year, "2023-05" a month."""

import numpy as np
import pandas as pd

# Units of NumPy for the frequencies that pandas reads in texts, "Y-DEC" without its
# month.
UNITS = {"Y": "Y", "M": "M", "D": "D", "h": "h", "min": "m", "s": "s"}


def end_of(text, how: str) -> pd.Timestamp:
    """The first or the last moment of what a text names, without a time zone.

    pandas selects rows by such texts in the same way: ``rows["2023-05"]`` are those of
    a month, and ``rows["2023-05":"2023-06"]`` those of two.

    Parameters
    ----------
    text : object
        What is no text, or names a moment of a zone, is that moment.
    how : {"start", "end"}

    Returns
    -------
    moment : Timestamp
        The last moment is a nanosecond, or what it can hold, before the next span.
    """
    moment = pd.Timestamp(text)
    if how == "start" or not isinstance(text, str) or moment.tz is not None:
        return moment
    try:
        period = pd.Period(text)
    except ValueError:  # A moment that is finer than any period.
        return moment
    unit = UNITS.get(period.freqstr.partition("-")[0])
    if unit is None or moment != pd.Timestamp(np.datetime64(period.ordinal, unit)):
        return moment
    return before(pd.Timestamp(np.datetime64(period.ordinal + 1, unit)))


def before(moment):
    """The moment before another one, in the finest unit that can hold it."""
    for unit in "ns", "us", "ms":
        try:
            return moment.as_unit(unit) - pd.Timedelta(1, unit).as_unit(unit)
        except (pd.errors.OutOfBoundsDatetime, OverflowError):
            continue
    return moment - pd.Timedelta(1, "s")


def period_of(text, frequency: str, how: str) -> pd.Period:
    """The first or the last period of a frequency in what a text names."""
    if isinstance(text, str):
        return pd.Period(text).asfreq(frequency, how=how)
    return pd.Period(text, frequency)
