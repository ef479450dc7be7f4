"""Time zones: between moments, as numbers since 1970, and days as clocks show them."""

import numpy as np
import pandas as pd

# Days of a time zone are counted between these dates alone: near the first and the last
# dates of a unit, or of Python, half a day more is none of them.
FIRST, LAST = "1700-01-01", "2200-01-01"


def zone_of(dtype):
    """Time zone of a dtype of dates, None if it has none."""
    return getattr(getattr(dtype, "pyarrow_dtype", dtype), "tz", None)


def has_zone(dtype) -> bool:
    return zone_of(dtype) is not None


def in_zone(dates: pd.Series, zone) -> pd.Series:
    """Moments of UTC as dates of a time zone; as they are if it is None."""
    return dates if zone is None else dates.dt.tz_localize("UTC").dt.tz_convert(zone)


def nearest_midnights(ticks: np.ndarray, unit: str, zone) -> np.ndarray:
    """The moments at which the nearest days of a time zone begin.

    Between them lie 23 to 25 hours, so that as numbers they are no whole days. A day
    whose first hour a change of clocks leaves out begins after that.
    """
    clocks = in_zone(pd.Series(ticks.view(f"M8[{unit}]")), zone).dt.tz_localize(None)
    days = (clocks + pd.Timedelta(hours=12)).dt.floor("D")
    days = days.dt.tz_localize(
        zone, nonexistent="shift_forward", ambiguous=np.ones(len(days), dtype=bool)
    )
    moments = days.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
    return moments.astype(f"M8[{unit}]").astype(ticks.dtype)


def midnight_from(tick: int, unit: str, zone) -> int:
    """The first moment from one on at which a day of a time zone begins."""
    day = np.timedelta64(1, "D").astype(f"m8[{unit}]").astype(np.int64)
    near, after = nearest_midnights(np.array([tick, tick + day]), unit, zone)
    return int(near if near >= tick else after)


def midnight_until(tick: int, unit: str, zone) -> int:
    """The last moment up to one at which a day of a time zone begins."""
    day = np.timedelta64(1, "D").astype(f"m8[{unit}]").astype(np.int64)
    near, before = nearest_midnights(np.array([tick, tick - day]), unit, zone)
    return int(near if near <= tick else before)


def is_counted(tick: int, unit: str) -> bool:
    """Whether days of time zones are counted at a moment."""
    first, last = np.array([FIRST, LAST], f"M8[{unit}]").astype(np.int64)
    return bool(first <= tick <= last)


def are_midnights(ticks: np.ndarray, unit: str, dtype) -> bool:
    """Whether there are moments, and all begin days of the time zone of a dtype."""
    zone = zone_of(dtype)
    if zone is None or not len(ticks):
        return False
    if not (is_counted(ticks.min(), unit) and is_counted(ticks.max(), unit)):
        return False
    return bool((nearest_midnights(ticks, unit, zone) == ticks).all())
