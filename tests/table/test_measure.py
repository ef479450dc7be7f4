"""The map from a column's numbers to encoded ones, against integrals and scipy."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sklearn_unsup._table.codec import TableCodec
from sklearn_unsup._table.measure import CONTAMINATION, NumberMeasure

N_ROWS = 1_000
SCALINGS = "quantile", "standard"


def draw(kind, n=N_ROWS, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(50.0, 3.0, n)
    return {
        "normal": x,
        "single": x.astype(np.float32),
        "skewed": np.exp(x / 3 - 16),
        "spiked": np.where(rng.random(n) < 0.6, 0.0, x),
        "clusters": np.where(rng.random(n) < 0.5, x, x + 1_000),
        "tiny": x * 1e-200,
        "rounded": x.round(1),
        "levels": np.exp(rng.integers(0, 7, n)),
        "whole": rng.poisson(4.0, n),
        "huge": rng.poisson(4.0, n) + 2**60,
        "spread": 5 * np.rint(100 * x).astype(np.int64),
        "standardised": (rng.poisson(40.0, n) - 39.7) / 6.3,
        "finer": (rng.poisson(400_000.0, n) - 39.7) / 6.3,
        "few": x[:40],
        "two": rng.integers(0, 2, n).astype(float),
    }[kind]


def column_of(values, scaling="quantile"):
    table = pd.DataFrame({"x": values})
    [column] = TableCodec(numeric_scaling=scaling).fit(table).numbers_
    return column


def nats(column, x, density=stats.norm):
    """Log-probability or density of values if encoded numbers have a known law."""
    measure = NumberMeasure(column)
    x = pd.Series(x).astype(column.dtype_)
    cells = measure.cells(column._to_float(column._read(x, learning=False)[1]))
    half = np.abs(cells.half)
    low, high = cells.middle - half, cells.middle + half
    low = np.where(cells.half == np.inf, cells.middle, low)
    high = np.where(cells.half == -np.inf, cells.middle, high)
    with np.errstate(divide="ignore", invalid="ignore"):
        mass = np.log(density.cdf(high) - density.cdf(low))
        own = np.where(cells.half == 0, density.logpdf(cells.middle), mass)
        share = CONTAMINATION / (column.n_present_ + 1)
        own = np.log1p(-share) + own + cells.log_volume
    return np.logaddexp(own, np.log(share) + cells.log_background)


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("law", [stats.norm(), stats.norm(0.7, 0.4), stats.t(3)])
@pytest.mark.parametrize("kind", ["normal", "skewed", "spiked", "clusters"])
def test_densities_integrate_to_one(kind, law, scaling):
    values = draw(kind)
    column = column_of(values, scaling)
    knots = NumberMeasure(column).x
    reach = 1e6 * np.ptp(values)
    beyond = np.geomspace(1e-9, reach, 4_000)
    # Corners of the map, and points between them, at which the density is no jump.
    grid = np.unique(
        np.concatenate(
            [
                values.min() - beyond,
                np.linspace(*knots[[0, -1]], 40_000),
                knots,
                values.max() + beyond,
            ]
        )
    )
    middles = 0.5 * (grid[1:] + grid[:-1])
    total = (np.exp(nats(column, middles, law)) * np.diff(grid)).sum()
    if kind == "spiked":
        total += np.exp(nats(column, [0.0], law))[0]
    assert total == pytest.approx(1.0, abs=5e-3)


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize(
    ("kind", "step"), [("rounded", 0.1), ("whole", 1), ("huge", 1), ("spread", 5)]
)
def test_probabilities_of_a_grid_sum_to_one(kind, step, scaling):
    values = draw(kind)
    column = column_of(values, scaling)
    origin = values.min()
    n_steps = round(float(values.max() - origin) / step)
    reach = 4 * n_steps
    places = np.arange(-reach, n_steps + reach + 1)
    grid = origin + places * step
    total = np.exp(nats(column, grid)).sum()
    assert total == pytest.approx(1.0, abs=2e-3)
    assert total < 1.0  # the rest is farther away


@pytest.mark.parametrize("kind", ["levels", "two"])
def test_values_that_repeat_have_probabilities(kind):
    values = draw(kind)
    column = column_of(values)
    known, counts = np.unique(values, return_counts=True)
    probabilities = np.exp(nats(column, known))
    np.testing.assert_allclose(probabilities, counts / len(values), atol=2e-3)
    assert probabilities.sum() == pytest.approx(1.0, abs=2e-3)


@pytest.mark.parametrize(
    ("law", "n", "bound"),
    [
        (stats.norm(3, 2), 1_000, 0.02),
        (stats.norm(3, 2), 20_000, 0.004),
        (stats.lognorm(1), 1_000, 0.03),
        (stats.uniform(), 1_000, 0.03),
        (stats.t(3), 1_000, 0.03),
        (stats.poisson(100), 1_000, 0.03),
        (stats.poisson(2), 1_000, 0.02),
    ],
)
def test_nats_above_the_entropy(law, n, bound):
    column = column_of(law.rvs(size=n, random_state=0))
    held_out = law.rvs(size=20_000, random_state=1)
    true = law.logpdf(held_out) if hasattr(law, "pdf") else None
    true = law.logpmf(held_out) if law.dist.name == "poisson" else true
    assert 0 < (true - nats(column, held_out)).mean() < bound


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize(
    "kind",
    [
        "normal",
        "single",
        "skewed",
        "spiked",
        "rounded",
        "levels",
        "whole",
        "huge",
        "standardised",
        "few",
        "tiny",
    ],
)
def test_beyond_the_seen_range_numbers_are_ever_less_likely(kind, scaling):
    values = draw(kind)
    column = column_of(values, scaling)
    far = np.array([2, 4, 10, 100, 1e4]) * (np.ptp(values) / 6)
    if values.dtype.kind == "i":
        far = far.astype(np.int64)
    for beyond in (values.max() + far, values.min() - far):
        beyond = beyond.astype(values.dtype)
        found = nats(
            column, np.concatenate([np.sort(values)[[500 % len(values)]], beyond])
        )
        assert np.isfinite(found).all()
        assert (np.diff(found) < -0.5).all()


@pytest.mark.parametrize("kind", ["normal", "skewed", "finer"])
@pytest.mark.parametrize("scaling", SCALINGS)
def test_nats_are_per_unit_of_the_column(kind, scaling):
    values = draw(kind)
    tests = np.linspace(values.min() - 1, values.max() + 1, 50)
    if kind == "finer":  # a grid, on which few rows share a value
        tests = np.unique(values)
    one = nats(column_of(values, scaling), tests)
    other = nats(column_of(values * 256, scaling), tests * 256)
    np.testing.assert_allclose(other, one - np.log(256), atol=1e-6)


@pytest.mark.parametrize("kind", ["rounded", "whole", "standardised"])
def test_between_the_steps_of_a_grid_there_is_nothing(kind):
    values = draw(kind).astype(float)
    step = np.diff(np.unique(values)).min()
    found = nats(column_of(values), np.median(values) + np.array([0.0, 0.5]) * step)
    assert found[1] < found[0] - 5


def test_days_have_probabilities():
    days = pd.Timestamp("2020-02-28") + pd.to_timedelta(draw("whole"), unit="D")
    column = column_of(days)
    period = pd.date_range("2020-01-01", "2020-06-30")
    total = np.exp(nats(column, period)).sum()
    assert total == pytest.approx(1.0, abs=2e-3)


def test_scalings_agree_on_the_unit():
    """With the right law of encoded numbers both give the density of the column."""
    values = draw("normal", 4_000)
    x = np.linspace(45, 55, 20)
    true = stats.norm(50, 3).logpdf(x)
    for scaling in SCALINGS:
        found = nats(column_of(values, scaling), x)
        np.testing.assert_allclose(found, true, atol=0.15)


def test_a_spike_under_a_linear_scaling_has_what_is_near_it():
    values = draw("spiked")
    spike = np.float64(-values.mean() / values.std())
    narrow = stats.norm(spike, 1e-4)
    assert nats(column_of(values, "standard"), [0.0], narrow)[0] > -0.01


def test_a_step_is_found_that_no_two_neighbours_show():
    rng = np.random.default_rng(0)
    values = (rng.choice([0, 2, 5, 9, 12, 30], 400) - 7) / 3.1
    measure = NumberMeasure(column_of(values))
    assert measure.step == pytest.approx(1 / 3.1)
    assert NumberMeasure(column_of(draw("levels"))).step is None


def test_values_between_irregular_levels_are_unlikely():
    values = draw("levels")
    found = nats(column_of(values), [np.exp(2.0), np.exp(2.5), 1.5])
    assert np.isfinite(found).all()
    assert (found[1:] < found[0] - 5).all()
