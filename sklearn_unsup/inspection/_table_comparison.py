"""TableComparisonDisplay."""

from typing import Self

import numpy as np
import pandas as pd

from .._table.frames import as_frame
from ..metrics._association import total_variation
from ..metrics._shares import check_pair, share_rows
from ._dependence import dependence_difference
from ._panels import (
    NORMAL,
    REAL,
    SMALL,
    SYNTHETIC,
    add_panels,
    check_ax,
    check_count,
    check_matplotlib,
    date_axis,
    elide_all,
    few_ticks,
    grid_shape,
    open_grid,
    set_name,
)

MAX_PANELS = 20
KINDS = ("all", "columns", "dependence")


class TableComparisonDisplay:
    """Two tables, column by column, and how pairs of their columns depend.

    Create it with :meth:`from_tables`. All parameters are stored as attributes.

    Parameters
    ----------
    shares : dict of DataFrame
        By column: the shares of the rows in "real" and "synthetic", each summing to 1,
        by bin (an IntervalIndex of numbers or dates) or by level; last those of the
        missing values.
    beyond : DataFrame of shape (n_columns, 2)
        Shares of the rows whose values lie beyond the outermost bins. They are counted
        in these.
    difference : DataFrame of shape (n_columns, n_columns) or None, default=None
        Dependence of each pair of columns in synthetic minus that in real.
    n_columns : int or None, default=None
        How many the tables have, if `shares` holds only those that differ most.

    Attributes
    ----------
    real_artists_, synthetic_artists_ : dict
        By column: StepPatch of a histogram, or BarContainer of levels.
    missing_artists_ : dict
        By column of numbers or dates with missing values: BarContainer with the share
        in real and in synthetic. Of categories they are one of the levels.
    image_ : matplotlib AxesImage or None
        The heat map.
    legend_ : matplotlib Legend or None
        Above the first panel.
    ax_ : matplotlib Axes
        The first panel.
    axes_ : ndarray of shape (n_rows, n_cols)
        Panels of columns; the last places may be None. Without any, the heat map.
    dependence_ax_ : matplotlib Axes or None
        With the heat map.
    figure_ : matplotlib Figure
        With the panels.

    See Also
    --------
    ReconstructionDisplay : Compare rows with their own reconstructions.

    Examples
    --------
    >>> from sklearn_unsup import VAETransformer
    >>> from sklearn_unsup.datasets import make_mixed_table
    >>> from sklearn_unsup.inspection import TableComparisonDisplay
    >>> real, _ = make_mixed_table(300, random_state=0)
    >>> vae = VAETransformer(2, max_iter=5, random_state=0).fit(real)
    >>> display = TableComparisonDisplay.from_tables(real, vae.sample(300))
    >>> display.shares["active"].columns.tolist()
    ['real', 'synthetic']
    """

    def __init__(self, shares, beyond, *, difference=None, n_columns=None) -> None:
        self.shares = shares
        self.beyond = beyond
        self.difference = difference
        self.n_columns = n_columns

    @classmethod
    def from_tables(
        cls,
        real,
        synthetic,
        *,
        columns=None,
        n_bins=30,
        max_levels=8,
        ax=None,
        kind="all",
        n_cols=4,
    ) -> Self:
        """Compare two tables and plot what was found.

        Parameters
        ----------
        real, synthetic : DataFrame or array-like of shape (n_rows, n_columns)
            Tables with the same columns; their numbers of rows may differ.
        columns : str, list or None, default=None
            Names of the columns to compare, of arrays their positions. None for all, or
            for the 20 of a wide table that differ most (total variation).
        n_bins : int, default=30
            Bins of a histogram, at most.
        max_levels : int, default=8
            Levels of a category, at most: the most frequent ones, and the sum of the
            others.
        ax : matplotlib Axes, default=None
            Where to draw; its place is divided. None for a new figure.
        kind : {"all", "columns", "dependence"}, default="all"
            A panel for each column, or the heat map of the pairs, or both.
        n_cols : int, default=4
            Panels beside each other, at most.

        Returns
        -------
        display : TableComparisonDisplay
            With the numbers and what was drawn.

        Raises
        ------
        ValueError
            If the tables differ in their columns, or a column in its kind.
        """
        check_matplotlib(cls, "from_tables")
        check_count("n_bins", n_bins, 1)
        check_count("max_levels", max_levels, 2)
        real, synthetic = as_frame(real, "real"), as_frame(synthetic, "synthetic")
        check_pair(real, synthetic)
        columns = [columns] if isinstance(columns, str) else columns
        names = list(real.columns) if columns is None else list(columns)
        unknown = [name for name in names if name not in real.columns]
        if unknown or not names:
            raise ValueError(
                f"columns must be some of {list(real.columns)}, got {names}."
            )
        shares, beyond = {}, {}
        for name in names:
            shares[name], beyond[name] = share_rows(
                real[name], synthetic[name], n_bins, max_levels
            )
        if columns is None and len(names) > MAX_PANELS:
            distance = {
                name: total_variation(table["real"], table["synthetic"])
                for name, table in shares.items()
            }
            kept = sorted(names, key=distance.get, reverse=True)[:MAX_PANELS]
            names = [name for name in names if name in kept]
        difference = None
        if len(names) > 1:
            difference = dependence_difference(real[names], synthetic[names])
        display = cls(
            {name: shares[name] for name in names},
            pd.DataFrame(
                [beyond[name] for name in names], names, ["real", "synthetic"]
            ),
            difference=difference,
            n_columns=real.shape[1] if columns is None else None,
        )
        return display.plot(ax, kind=kind, n_cols=n_cols)

    def plot(self, ax=None, *, kind="all", n_cols=4) -> Self:
        """Draw the comparison.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; its place is divided. None for a new figure.
        kind : {"all", "columns", "dependence"}, default="all"
            A panel for each column, or the heat map of the pairs, or both.
        n_cols : int, default=4
            Panels beside each other, at most.

        Returns
        -------
        display : TableComparisonDisplay
            With what was drawn.
        """
        check_matplotlib(self, "plot")
        check_ax(ax)
        check_count("n_cols", n_cols, 1)
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {KINDS}, got {kind!r}.")
        if kind == "dependence" and self.difference is None:
            raise ValueError('kind="dependence" needs at least two columns.')
        has_map = kind != "columns" and self.difference is not None
        n = len(self.shares)
        n_rows, n_cols = grid_shape(n, n_cols)
        width = max(2.8 * n_cols, 5.5) + 0.3
        parts = {"columns": 2.3 * n_rows + 0.4} if kind != "dependence" else {}
        if has_map:
            parts["dependence"] = min(0.3 * n, 6.0) + 1.6
        if kind == "dependence":
            width = min(0.5 * n, 9.0) + 2.5
        heights = list(parts.values())
        self.figure_, grid = open_grid(
            ax, len(parts), 1, (width, sum(heights)), height_ratios=heights
        )
        self.real_artists_, self.synthetic_artists_ = {}, {}
        self.missing_artists_ = {}
        self.legend_ = self.image_ = self.dependence_ax_ = None
        if "columns" in parts:
            crowded = self.figure_.get_layout_engine() is None
            gaps = {"hspace": 1.0, "wspace": 0.7} if crowded else {}
            cells = grid[0].subgridspec(n_rows, n_cols, **gaps)
            self.axes_ = add_panels(self.figure_, cells, n)
            self._draw_columns(ax is None)
        if has_map:
            self.dependence_ax_ = self.figure_.add_subplot(grid[-1])
            self._draw_dependence()
            if kind == "dependence":
                self.axes_ = np.array([[self.dependence_ax_]], dtype=object)
        self.ax_ = self.axes_.flat[0]
        return self

    def _draw_columns(self, own_figure):
        from matplotlib.patches import Patch
        from matplotlib.transforms import ScaledTranslation

        for panel, (name, shares) in zip(
            self.axes_.flat, self.shares.items(), strict=False
        ):
            if isinstance(shares.index, pd.IntervalIndex):
                self._draw_histogram(panel, name, shares)
            else:
                self._draw_levels(panel, name, shares)
            beyond = self.beyond.loc[name].max()
            set_name(panel, name)
            if beyond:
                panel.set_xlabel(
                    f"{beyond:.1%} beyond, in the end bins", fontsize=SMALL
                )
        first = self.axes_.flat[0]
        above = ScaledTranslation(0, 22 / 72, self.figure_.dpi_scale_trans)
        self.legend_ = first.legend(
            handles=[Patch(color=REAL), Patch(color=SYNTHETIC)],
            labels=["real", "synthetic"],
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            bbox_transform=first.transAxes + above,  # the title lies between
            ncols=2,
            borderaxespad=0.0,
            frameon=False,
        )
        n = len(self.shares)
        if own_figure and self.n_columns is not None and n < self.n_columns:
            title = f"the {n} of {self.n_columns} columns that differ most"
            self.figure_.suptitle(title, fontsize=NORMAL)

    def _draw_histogram(self, ax, name, shares):
        """Real values as an area, synthetic ones as a line, in the same bins."""
        bins = shares.index[:-1]
        is_date = bins.left.dtype.kind == "M"
        edges = bins.left.append(bins.right[-1:])
        if is_date:
            from matplotlib.dates import date2num

            edges = date2num(edges)
            date_axis(ax.xaxis, edges)
            ax.xaxis_date()
        else:
            edges = edges.to_numpy(dtype=float)
            few_ticks(ax.xaxis)
        heights = shares.to_numpy()
        self.real_artists_[name] = ax.stairs(
            heights[:-1, 0], edges, fill=True, color=REAL, lw=0
        )
        self.synthetic_artists_[name] = ax.stairs(
            heights[:-1, 1], edges, color=SYNTHETIC, lw=1.6, baseline=None
        )
        few_ticks(ax.yaxis)
        ax.set_ylabel("share of rows", fontsize=SMALL)
        ax.set_ylim(0, 1.05 * heights[:-1].max() or 1)
        if heights[-1].any():
            self.missing_artists_[name] = draw_missing(ax, heights[-1])

    def _draw_levels(self, ax, name, shares):
        """Pairs of bars, the most frequent level above."""
        labels = label_levels(shares.index)
        if not shares.to_numpy()[-1].any():
            shares, labels = shares[:-1], labels[:-1]
        places = np.arange(len(shares))
        self.real_artists_[name] = ax.barh(
            places - 0.2, shares["real"], 0.4, color=REAL
        )
        self.synthetic_artists_[name] = ax.barh(
            places + 0.2, shares["synthetic"], 0.4, color=SYNTHETIC
        )
        ax.set_yticks(places, labels, parse_math=False)
        ax.invert_yaxis()
        few_ticks(ax.xaxis)
        ax.set_xlabel("share of rows", fontsize=SMALL)

    def _draw_dependence(self):
        """Heat map of the pairs below the diagonal."""
        from matplotlib.colors import LinearSegmentedColormap

        ax, names = self.dependence_ax_, self.difference.columns
        values = self.difference.to_numpy()[1:, :-1]
        shown = np.ma.masked_array(values, np.triu(np.ones(values.shape, bool), 1))
        # At least this far apart: chance should not look like a finding.
        limit = max(0.2, float(np.abs(shown).max()))
        cmap = LinearSegmentedColormap.from_list(
            "real_synthetic", [REAL, "#f7f7f7", SYNTHETIC]
        )
        self.image_ = ax.imshow(
            shown, cmap=cmap, vmin=-limit, vmax=limit, aspect="auto"
        )
        places, labels = np.arange(len(values)), elide_all(names)
        ax.set_xticks(places, labels[:-1], rotation=90, parse_math=False)
        ax.set_yticks(places, labels[1:], parse_math=False)
        ax.tick_params(labelsize=SMALL, length=0)
        ax.spines[:].set_visible(False)
        ax.grid(False)
        ax.set_facecolor("none")
        inches = ax.get_window_extent().width / self.figure_.dpi
        if inches > 0.45 * len(values):
            for i, j in np.argwhere(~np.ma.getmaskarray(shown)):
                value = values[i, j]
                text = f"{value:+.2f}" if abs(value) >= 0.005 else "0"
                ax.text(j, i, text, ha="center", va="center", fontsize=7, color="black")
        bar = self.figure_.colorbar(self.image_, ax=ax)
        bar.set_label("← weaker      stronger →", fontsize=SMALL)
        bar.ax.tick_params(labelsize=SMALL)
        ax.set_title(
            "dependence of pairs (Cramér's V), synthetic minus real", fontsize=NORMAL
        )


def label_levels(levels):
    """Short labels; the last level stands for missing values."""
    n_named = len(levels) - 1
    if n_named and str(levels[n_named - 1]).startswith("other ("):
        n_named -= 1
    return [*elide_all(levels[:n_named], 15), *levels[n_named:-1], "missing"]


def draw_missing(ax, heights):
    """The two shares of missing values, beside a histogram, on a scale from 0 to 1."""
    strip = ax.inset_axes([1.15, 0, 0.13, 1])
    bars = strip.bar([0, 1], heights, 1, color=[REAL, SYNTHETIC])
    strip.grid(False)
    strip.set(xlim=(-0.7, 1.7), ylim=(0, 1), yticks=[])
    strip.set_xticks([0.5], ["missing"])
    strip.tick_params(length=0, labelsize=SMALL)
    for x, height in enumerate(heights):
        y, side = (height + 0.03, "bottom") if height < 0.7 else (height - 0.03, "top")
        strip.text(x, y, f"{height:.0%}", rotation=90, ha="center", va=side, fontsize=7)
    return bars
