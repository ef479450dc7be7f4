"""A column of numbers or dates: raw values to encoded ones and back, exactly."""

import copy
import datetime
import math
from collections.abc import Hashable

import numpy as np
import pandas as pd
from pandas.api.types import is_object_dtype
from scipy.special import ndtri

from .plain import given_back, plain_column
from .quantiles import Quantiles
from .reading import read_numbers
from .scaling import open_range
from .unknown import UnknownValueError
from .zones import are_midnights, has_zone, in_zone, nearest_midnights, zone_of

MAX_DECIMALS = 8
# Whole numbers below it are exact in float64, and so are sums of two.
EXACT = 2**52
FLOAT32_MAX = float(np.finfo(np.float32).max)
# Squares of encoded numbers, times a precision and added up, must fit into float32.
ENCODED_MAX = 1e15
# Differences of two numbers up to it stay finite in float64.
FLOAT_MAX = float(np.finfo(np.float64).max) / 4
TICKS_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
# What the types of Python can hold.
PYTHON_DATES = {
    "date": (datetime.date.min, datetime.date.max),
    "datetime": (datetime.datetime.min, datetime.datetime.max),
}


class NumericColumn:
    """Numbers and dates: exact float64 offsets, a resolution, a range, a scaling.

    Parameters
    ----------
    name : hashable
    scaling : {"quantile", "standard", "minmax"} or None
    n_quantiles : int
    """

    time_unit_, has_local_days_ = None, False

    def __init__(self, name: Hashable, scaling: str | None, n_quantiles: int):
        self.name, self.scaling, self.n_quantiles = name, scaling, n_quantiles

    def fit(self, column: pd.Series) -> "NumericColumn":
        given = column
        column, self.form_ = plain_column(given)
        self.dtype_ = column.dtype
        if self.dtype_.kind in "mM":
            self.time_unit_ = as_index(column).unit
        missing, values = self._read(given)
        self.has_missing_ = missing is not None
        self.n_present_ = len(values)
        self.missing_share_ = 1.0 - len(values) / max(1, len(column))
        # None, NaN or NA: what an object column takes for missing.
        self.na_value_ = given[missing].iloc[0] if self.has_missing_ else None
        self.raw_dtype_ = values.dtype
        self.decimals_, self.origin_, self.step_, self.span_ = None, 0, 1, None
        if values.dtype.kind != "f":
            self.decimals_ = 0
            self._fit_whole(values)
        elif len(values):
            self._fit_float(values)
        x = self._to_float(values)
        self.has_local_days_ = are_midnights(values, self.time_unit_, self.dtype_)
        self.low_, self.high_ = (x.min(), x.max()) if len(x) else (0.0, 0.0)
        self.varies_ = bool(self.low_ < self.high_)
        self.center_, self.scale_ = 0.0, 1.0
        self.reach_ = self._reach(x)
        if not self.varies_:
            return self
        self.quantiles_ = Quantiles(self.n_quantiles).fit(x)
        if self.scaling == "standard":
            self.center_, self.scale_ = float(x.mean()), self.quantiles_.deviation_
        elif self.scaling == "minmax":
            self.center_, self.scale_ = float(self.low_), float(self.high_ - self.low_)
        return self

    def _reach(self, x):
        """A wider range, of numbers that are rebuilt from codes; None for no other."""
        is_plain = self.form_ is None and self.dtype_.kind in "iuf"
        is_scaled = self.scaling == "standard" and self.varies_
        if not (is_scaled and is_plain and self.span_ is None):
            return None
        if self.raw_dtype_.kind == "f":
            with np.errstate(over="ignore"):  # Of tiny steps there is no largest one.
                most = float(np.finfo(self.raw_dtype_).max) / self.step_
            least = -most
        else:
            least, most = map(float, self._limits())
        return open_range(x, least, most)

    def refuse_extremes(self) -> None:
        """Raise for numbers that are too large for a net, as they are encoded."""
        largest = max(abs(self.low_), abs(self.high_))
        if self.scaling is None and largest > ENCODED_MAX:
            raise ValueError(
                f"column {self.name!r} goes up to {largest:.3g}, but with "
                f"numeric_scaling=None nets take numbers of up to {ENCODED_MAX:.0e}. "
                "Divide it, or pass numeric_scaling='standard' or 'quantile'."
            )

    def updated(self, column: pd.Series, ignore=False) -> "NumericColumn":
        """A column that has learnt more values, and a wider range.

        Only one that is scaled by quantiles can.

        Raises
        ------
        ValueError
            If it had one value, or none, and has another now: it is not encoded. Not
            with `ignore`.
        """
        missing, values = self._read(column)
        x = self._to_float(values)
        if not self.varies_:
            self.refuse_missing(missing, ignore)
            known = self.n_present_ and (x == self.low_).all()
            if len(x) and not known and not ignore:
                raise UnknownValueError(
                    f"column {self.name!r} had no two different numbers in the first "
                    "rows of this stream, so that it is not encoded, but it varies "
                    "now.",
                    "Begin with rows that show how every column varies, or pass "
                    "handle_unknown='ignore' to leave it constant.",
                )
            return self
        if self.scaling != "quantile" or not len(x):
            return self
        wider = copy.copy(self)
        if self.has_local_days_:
            own = values, self.time_unit_, self.dtype_
            wider.has_local_days_ = are_midnights(*own)
        if self.raw_dtype_.kind != "f":
            wider._widen_whole(values)
            x = wider._to_float(values)
            if wider.span_ is not None:
                x = x.clip(0.0, float(wider.span_))
            else:
                x = x.clip(*map(float, self._limits()))
        else:
            if self.decimals_ is not None:
                if not (rounded(values, self.decimals_) == values).all():
                    wider.decimals_ = None
            largest = float(np.finfo(self.raw_dtype_).max) / max(self.step_, 1.0)
            x = x.clip(-min(largest, FLOAT_MAX), min(largest, FLOAT_MAX))
            wider.quantiles_ = copy.copy(self.quantiles_)
        wider.quantiles_.update(x)
        wider.low_, wider.high_ = min(wider.low_, x.min()), max(wider.high_, x.max())
        return wider

    def _widen_whole(self, values):
        """Count whole numbers from the least one so far, where floats need that.

        Called on a copy, which gets quantiles of its own.
        """
        self.quantiles_ = copy.copy(self.quantiles_)
        least, most = self._limits()
        low, high = values.min().item(), values.max().item()  # exact, as Python's
        low = min(max(math.ceil(low), least), most)
        high = max(min(math.floor(high), most), least)
        if self.span_ is None:
            if max(abs(low), abs(high)) <= EXACT:
                return
            known = int(self.low_), int(self.high_)
        else:
            known = self.origin_, self.origin_ + self.span_ * self.step_
        # By whole steps, so that what was learnt stays a multiple of them.
        origin = known[0] - max(known[0] - low, 0) // self.step_ * self.step_
        shift = float((self.origin_ - origin) // self.step_)
        self.quantiles_.values_ = self.quantiles_.values_ + shift
        self.origin_, self.span_ = origin, (max(known[1], high) - origin) // self.step_
        self.low_, self.high_ = 0.0, float(self.span_)

    def _limits(self):
        """The least and the greatest whole number that the dtype can hold."""
        if self.dtype_.kind in "mM":
            kind = self.form_ and self.form_.kind
            if kind == "time":
                return 0, 86_400 * TICKS_PER_SECOND[self.time_unit_] - 1
            if kind in PYTHON_DATES and is_object_dtype(self.form_.dtype):
                ends = np.array(PYTHON_DATES[kind], f"M8[{self.time_unit_}]")
                return tuple(ends.astype(np.int64).tolist())
            return -(2**63) + 1, 2**63 - 1  # the least one is NaT
        if self.dtype_.kind == "b":
            return 0, 1
        whole = self.dtype_.kind in "iu"
        dtype = getattr(self.dtype_, "numpy_dtype", self.dtype_)
        info = np.iinfo(dtype if whole else self.raw_dtype_)
        return int(info.min), int(info.max)

    def _read(self, column, learning=True):
        """The mask of missing values, or None, and the others as plain numbers."""
        dtype = column.dtype
        column, form = plain_column(column)
        if frequency(form) != frequency(self.form_):
            raise ValueError(
                f"column {self.name!r} has dtype {dtype}, but was a column of "
                f"{self.form_.dtype if self.form_ else self.dtype_} when fitted. "
                "Convert it to that dtype."
            )
        if self.dtype_.kind not in "mM":
            return read_numbers(self.name, column)
        if column.dtype.kind != self.dtype_.kind or has_zone(column.dtype) != has_zone(
            self.dtype_
        ):
            raise ValueError(
                f"column {self.name!r} has dtype {column.dtype}, but was a column of "
                f"{self.dtype_} when fitted. Convert it to that dtype."
            )
        ticks = self._ticks(as_index(column), learning)
        missing = column.isna().to_numpy()
        return (missing, ticks[~missing]) if missing.any() else (None, ticks)

    def read(self, column: pd.Series):
        """Missing values and plain numbers, as `read_numbers` gives them.

        Dates and durations are whole numbers of `time_unit_`.
        """
        return self._read(column, learning=False)

    def _ticks(self, index, learning):
        """Dates or durations in the unit of training.

        Those that it cannot hold are its last ones: values far outside of the range,
        as others may be. To learn from them would be to learn what is not there.
        """
        try:
            return index.as_unit(self.time_unit_).asi8
        except (pd.errors.OutOfBoundsDatetime, pd.errors.OutOfBoundsTimedelta) as error:
            if learning:
                raise ValueError(
                    f"column {self.name!r} counts {self.time_unit_} since it was "
                    f"fitted and cannot hold all these values ({error}). Convert it to "
                    "a coarser unit before `fit`, such as by astype('datetime64[s]')."
                ) from error
        ratio = TICKS_PER_SECOND[self.time_unit_] // TICKS_PER_SECOND[index.unit]
        limit = (2**63 - 1) // ratio
        return index.asi8.clip(-limit, limit) * ratio

    def _fit_whole(self, values):
        """An integer to subtract and one to divide by: exact in float64 then.

        Dates count the largest unit of time that all differences are multiples of.
        Small integers stay as they are, so that ``numeric_scaling=None`` means it.
        """
        if not len(values):
            return
        low, high = int(values.min()), int(values.max())
        if self.dtype_.kind in "mM":
            second = TICKS_PER_SECOND[self.time_unit_]
            units = [86_400 * second, 3_600 * second, 60 * second]
            units += [second // 10**power for power in (0, 3, 6, 9)]
            apart = values.astype(np.uint64) - np.uint64(low % 2**64)
            self.origin_ = low
            self.step_ = next(unit for unit in units if not (apart % unit).any())
        elif max(abs(low), abs(high)) > EXACT:
            self.origin_ = low
        else:
            return
        self.span_ = (high - low) // self.step_

    def _fit_float(self, values):
        """Decimals that all values have, or a power of two that tames extreme ones."""
        largest = float(np.abs(values).max())
        if largest and not 1e-100 < largest < 1e100:
            self.step_ = 2.0 ** np.clip(np.frexp(largest)[1], -1021, 1023)
            return
        # Beyond the precision of the dtype everything looks rounded.
        finest = 4 * largest * float(np.finfo(values.dtype).eps)
        parts = values[:1_000], values[:: max(1, len(values) // 1_000)], values
        for decimals in range(MAX_DECIMALS + 1):
            if decimals and 10.0**-decimals <= finest:
                return
            if all((rounded(part, decimals) == part).all() for part in parts):
                self.decimals_ = decimals
                return

    def _to_float(self, values):
        """Plain numbers as float64, exact for whole ones within 2**53 of the origin."""
        kind = values.dtype.kind
        if self.raw_dtype_.kind == "f":
            with np.errstate(over="ignore"):  # a double may be too much for a float
                values = values.astype(self.raw_dtype_, copy=False)
                return values.astype(np.float64) / self.step_
        if kind == "f" or self.span_ is None:
            return (values.astype(np.float64) - self.origin_) / self.step_
        # Differences of 64-bit integers fit into unsigned ones, whichever way round.
        origin, unsigned = np.uint64(self.origin_ % 2**64), values.astype(np.uint64)
        below = values < self.origin_
        apart = unsigned - origin
        apart[below] = origin - unsigned[below]
        # Two parts: a quotient that is exact, and what a finer date adds.
        x = (apart // self.step_) + (apart % self.step_) / self.step_
        return np.where(below, -x, x)

    def _to_whole(self, x):
        """Inverse of `_to_float` for whole numbers, int64 or uint64."""
        if self.span_ is None:
            return x.astype(self.raw_dtype_)
        # A float of 2**64 is no integer any more; beyond 2**53 the last one differs.
        apart = np.minimum(x, np.nextafter(2.0**64, 0)).astype(np.uint64)
        apart[x >= self.high_] = self.span_
        whole = apart * np.uint64(self.step_)
        return (whole + np.uint64(self.origin_ % 2**64)).view(self.raw_dtype_)

    @property
    def encoded_(self) -> bool:
        return self.varies_

    def encode(self, column: pd.Series, rng=None, ignore=False):
        """Encoded numbers float32, 0 where missing, and the mask of missing ones."""
        missing, values = self._read(column, learning=False)
        self.refuse_missing(missing, ignore)
        z = self._scale(self._to_float(values), rng).astype(np.float32)
        if missing is None:
            return z, None
        gap = 0.0 if self.has_missing_ else self.encoded_quantile(np.array(0.5))
        full = np.full(len(column), gap, np.float32)
        full[~missing] = z
        return full, missing

    def refuse_missing(self, missing: np.ndarray | None, ignore: bool) -> None:
        """Raise for missing values, given as a mask, if none were when fitted."""
        if self.has_missing_ or ignore or missing is None or not missing.any():
            return
        raise UnknownValueError(
            f"column {self.name!r} has missing values, but had none when fitted.",
            "Fill them in, or fit on rows that show them, or pass "
            "handle_unknown='ignore' to read them as the middle of the column.",
        )

    def _scale(self, x, rng=None):
        if self.scaling == "quantile":
            return self.quantiles_.encode(x, rng)
        with np.errstate(over="ignore"):
            z = (x - self.center_) / self.scale_
        limit = FLOAT32_MAX if self.scaling is None else ENCODED_MAX
        return np.clip(z, -limit, limit)

    def atoms(self) -> np.ndarray:
        """Encoded intervals that stand for one value each, shape (4, n_atoms)."""
        if self.scaling != "quantile":
            return np.empty((4, 0))
        return self.quantiles_.atoms()

    def to_numbers(self, z: np.ndarray, beyond_range=False) -> np.ndarray:
        """Float64 values of encoded ones: in the range, at the resolution.

        With `beyond_range` in a range that may be a wider one, see `open_range`. Dates
        count units of time from the first one on; integers beyond 2**52 count from the
        least one on.
        """
        z = np.asarray(z, np.float64)
        if not self.varies_:
            return np.full(len(z), self.low_)
        if self.scaling == "quantile":
            x = self.quantiles_.decode(z)
        else:
            with np.errstate(over="ignore"):
                x = z * self.scale_ + self.center_
        if self._is_rough():
            x = self._onto_knots(z, x)
        ends = (beyond_range and self.reach_) or (self.low_, self.high_)
        x = np.clip(x, *ends)
        if self.decimals_ is not None:
            x = np.clip(np.round(x, self.decimals_), *ends)
        return x

    def _is_rough(self):
        """Whether float32 may be off by more than rounding to the resolution mends."""
        if self.scaling == "quantile":
            return not self.quantiles_.discrete_
        largest = max(abs(self.low_), abs(self.high_), self.high_ - self.low_)
        return self.decimals_ is None or largest * 10.0**self.decimals_ > 2**20

    def _onto_knots(self, z, x):
        """Exactly the kept values where `z` is what they are encoded as."""
        knots = self._scale(self.quantiles_.values_).astype(np.float32)
        place = np.minimum(np.searchsorted(knots, z), len(knots) - 1)
        return np.where(knots[place] == z, self.quantiles_.values_[place], x)

    def encoded_quantile(self, u: np.ndarray) -> np.ndarray:
        """Encoded value of the training quantile `u`, under the column's scaling."""
        z = np.clip(ndtri(np.clip(u, 0.0, 1.0)), *self.quantiles_.z_range_)
        if self.scaling == "quantile":
            return z
        return self._scale(self.quantiles_.decode(z))

    def cluster_gaps(self) -> tuple[np.ndarray, np.ndarray]:
        """Ranges without rows that separate clusters: their quantile and their middle.

        The middle is encoded. Shapes: two of (n_gaps,).
        """
        q, before = self.quantiles_, self.quantiles_.cluster_gaps_
        u = 0.5 * (q.u_upper_[before] + q.u_lower_[before + 1])
        if self.scaling == "quantile":
            return u, ndtri(u)
        return u, self._scale(0.5 * (q.values_[before] + q.values_[before + 1]))

    def decode(
        self,
        z: np.ndarray,
        missing: np.ndarray | None,
        requests=None,
        beyond_range=False,
    ) -> pd.Series:
        """A column with the dtype of training, in which `NumberRequests` are met."""
        x = self.to_numbers(z, beyond_range)
        if not self.varies_ and self.has_missing_ and missing is None:
            missing = np.ones(len(x), dtype=bool)  # a column that is all missing
        plain = self._to_plain(x)
        if self.has_local_days_:
            plain = nearest_midnights(plain, self.time_unit_, zone_of(self.dtype_))
        if requests is not None:
            plain = requests.applied(plain)
        return self.column_of(plain, missing)

    def column_of(self, plain: np.ndarray, missing: np.ndarray | None) -> pd.Series:
        """A column with the dtype of training from numbers such as `read` gives.

        Parameters
        ----------
        plain : ndarray of shape (n,)
            With the values that are missing, which may be anything.
        missing : ndarray of bool, shape (n,), or None
        """
        column = self._plain_column(plain, missing)
        return given_back(column, self.form_, self.na_value_)

    def _plain_column(self, plain, missing):
        """A column with the dtype that the column of training had as a plain one."""
        if self.dtype_.kind in "mM":
            return self._dates(plain, missing)
        column = pd.Series(plain)
        if missing is None or not missing.any():
            return column.astype(self.dtype_)
        if is_object_dtype(self.dtype_):
            return column.astype(object).mask(missing, self.na_value_)
        if isinstance(self.dtype_, np.dtype):
            return column.where(~missing).astype(self.dtype_)
        return column.astype(self.dtype_).mask(missing)

    def _to_plain(self, x):
        """Inverse of `_to_float`."""
        if self.raw_dtype_.kind == "f":
            return (x * self.step_).astype(self.raw_dtype_)
        return self._to_whole(x)

    def _dates(self, ticks, missing):
        if missing is not None:
            ticks = np.where(missing, np.iinfo(np.int64).min, ticks)  # NaT
        dates = pd.Series(ticks.view(f"{self.dtype_.kind}8[{self.time_unit_}]"))
        return in_zone(dates, zone_of(self.dtype_)).astype(self.dtype_)


def rounded(values: np.ndarray, decimals: int) -> np.ndarray:
    """`values` to so many decimals, within their own float dtype."""
    return np.round(values.astype(np.float64), decimals).astype(values.dtype)


def as_index(column: pd.Series):
    """Dates or durations as an index: the one type with unit and integers for all."""
    kind = pd.TimedeltaIndex if column.dtype.kind == "m" else pd.DatetimeIndex
    return kind(column)


def frequency(form):
    """That of periods, which count in units that cannot be told apart; else None."""
    return form.detail if form and form.kind in ("period", "Period") else None
