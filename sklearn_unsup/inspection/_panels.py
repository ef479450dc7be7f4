"""What the displays share: colours, places for panels, words for labels."""

import os
from numbers import Integral

import numpy as np

# Blue and vermilion, as Okabe and Ito chose them, the blue lighter: they are apart for
# every kind of colour vision, also where one lies on the other, on white and on black.
REAL, SYNTHETIC = "#4c9fd6", "#d55e00"
OTHER, MISSING = "#8c8c8c", "#c6c6c6"
# M. Petroff, "Accessible color sequences for data visualization", 2021; the greys last.
LEVEL_COLORS = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#92dadd",
    "#717581",
    "#94a4a2",
)
# Sizes of fonts in points.
SMALL, NORMAL = 8, 10


def check_matplotlib(display, method):
    """Import matplotlib, or say how to get it before anything is computed."""
    try:
        import matplotlib.pyplot  # noqa: F401
    except ImportError as error:
        name = display.__name__ if isinstance(display, type) else type(display).__name__
        raise ImportError(
            f"{name}.{method} needs matplotlib: pip install 'sklearn-unsup[plot]'."
        ) from error


def check_ax(ax):
    from matplotlib.axes import Axes

    if ax is not None and not isinstance(ax, Axes):
        raise TypeError(
            f"ax must be one matplotlib Axes, or None for a new figure, got "
            f"{type(ax).__name__}. A display with several panels divides the place of "
            "that one."
        )


def check_count(name, value, at_least):
    if not isinstance(value, Integral) or value < at_least:
        raise ValueError(
            f"{name} must be an int of at least {at_least}, got {value!r}."
        )


def open_grid(ax, n_rows, n_cols, size, **ratios):
    """A figure and a grid spec in it: all of a new figure, or the place of `ax`.

    `size` in inches is that of a new figure.
    """
    import matplotlib.pyplot as plt

    if ax is None:
        figure = plt.figure(figsize=size, layout="constrained")
        return figure, figure.add_gridspec(n_rows, n_cols, **ratios)
    figure = ax.figure
    ax.set_axis_off()
    if figure.get_layout_engine() is None:  # nobody else keeps labels apart
        ratios = {"hspace": 0.8, "wspace": 0.6, **ratios}
    place = ax.get_subplotspec()
    if place is not None:
        return figure, place.subgridspec(n_rows, n_cols, **ratios)
    box = ax.get_position()
    edges = {"left": box.x0, "right": box.x1, "bottom": box.y0, "top": box.y1}
    return figure, figure.add_gridspec(n_rows, n_cols, **edges, **ratios)


def grid_shape(n_panels, n_cols):
    """Rows and columns for the panels, and no column that stays empty."""
    n_cols = min(n_panels, n_cols)
    return -(-n_panels // n_cols), n_cols


def add_panels(figure, grid, n_panels):
    """Axes in the first `n_panels` cells; the last cells of the array may be None."""
    n_rows, n_cols = grid.nrows, grid.ncols
    axes = np.full((n_rows, n_cols), None, dtype=object)
    for i in range(n_panels):
        axes.flat[i] = figure.add_subplot(grid[i // n_cols, i % n_cols])
        axes.flat[i].tick_params(labelsize=SMALL)
    return axes


def elide(text, width=18):
    """At most `width` characters, shortened in the middle: ends tell names apart."""
    text = str(text)
    if len(text) <= width:
        return text
    tail = (width - 1) // 2
    return f"{text[: width - 1 - tail]}…{text[-tail:]}"


def elide_all(texts, width=18):
    """Each text in at most `width` characters, and different where texts differ.

    Where shortening in the middle makes two texts equal, what all have in common at
    their beginning is left out instead.
    """
    texts = [str(text) for text in texts]
    short = [elide(text, width) for text in texts]
    if len(set(short)) == len(set(texts)):
        return short
    n_common = max(0, len(os.path.commonprefix(texts)) - 3)
    parts = [f"…{text[n_common:]}" for text in texts]
    return [part if len(part) <= width else part[: width - 1] + "…" for part in parts]


def set_name(ax, name, remark=""):
    """Title with a column's name, to which no dollar sign does mathematics."""
    title = elide(name, 30 - len(remark)) + remark
    ax.set_title(title, fontsize=NORMAL, parse_math=False)


def date_axis(axis, days):
    """Few and short labels for dates; `days` lie on the axis."""
    from matplotlib.dates import AutoDateLocator, DateFormatter, YearLocator

    days = days[np.isfinite(days)]
    span = np.ptp(days) if len(days) else 0.0
    formats = {900: "%Y", 90: "%Y-%m", 2: "%m-%d", -1: "%d. %H:%M"}
    found = next(text for limit, text in formats.items() if span > limit)
    few_years = YearLocator(max(1, round(span / 366 / 3)))
    locator = few_years if found == "%Y" else AutoDateLocator(minticks=2, maxticks=4)
    axis.set_major_locator(locator)
    axis.set_major_formatter(DateFormatter(found))


def few_ticks(axis, n=4):
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(n, steps=[1, 2, 2.5, 5, 10]))
