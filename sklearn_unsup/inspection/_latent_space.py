"""LatentSpaceDisplay."""

from typing import Self

import numpy as np
import pandas as pd
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.validation import check_is_fitted

from .._table.frames import as_frame
from .._table.kinds import CATEGORIES, DATES, column_kind
from .._table.plain import to_floats
from .._table.polars import from_polars, is_polars_series
from ..metrics._columns import kind_of_target, main_positions, to_objects
from ._panels import (
    LEVEL_COLORS,
    MISSING,
    OTHER,
    REAL,
    SMALL,
    check_ax,
    check_count,
    check_matplotlib,
    date_axis,
    elide,
    elide_all,
    few_ticks,
    open_grid,
)


class LatentSpaceDisplay:
    """Rows where a transformer puts them, coloured by a target.

    Create it with :meth:`from_estimator`. All parameters are stored as attributes.
    Two components give a scatter plot, more of them one for each pair, and a single
    one a histogram, or a scatter plot against a target of numbers.

    Parameters
    ----------
    codes : array-like of shape (n_samples, n_components)
        One row per point.
    target : array-like of shape (n_samples,) or None, default=None
        What to colour by. Numbers and dates get a colour bar; strings, categories,
        booleans and whole numbers of at most ten different values get a legend.
    target_name : str or None, default=None
        Title of the legend or colour bar.
    explained_variance_ratio : array-like of shape (n_components,) or None, default=None
        Fraction of the variance that each component adds, for the labels of the axes.

    Attributes
    ----------
    artists_ : list of matplotlib artists
        One scatter (PathCollection) per pair of components, row by row; for a single
        component one StepPatch per level.
    legend_ : matplotlib Legend or None
        For levels.
    colorbar_ : matplotlib Colorbar or None
        For numbers.
    ax_ : matplotlib Axes
        The first panel.
    axes_ : ndarray of shape (n_panels, n_panels)
        All panels; those above the diagonal are None.
    figure_ : matplotlib Figure
        With the panels.

    See Also
    --------
    ReconstructionDisplay : What the codes keep of the rows.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_unsup.inspection import LatentSpaceDisplay
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> display = LatentSpaceDisplay.from_estimator(PCA(2).fit(X), X, y)
    >>> display.ax_.get_xlabel()
    'component 0 (92.5% of variance)'
    """

    def __init__(
        self, codes, *, target=None, target_name=None, explained_variance_ratio=None
    ) -> None:
        self.codes = codes
        self.target = target
        self.target_name = target_name
        self.explained_variance_ratio = explained_variance_ratio

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y=None,
        *,
        n_components=4,
        subsample=2_000,
        random_state=None,
        ax=None,
        cmap="viridis",
        scatter_kwargs=None,
    ) -> Self:
        """Transform rows and plot them.

        Parameters
        ----------
        estimator : estimator
            A fitted transformer, or a pipeline that ends in one.
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows to transform.
        y : array-like of shape (n_samples,) or None, default=None
            What to colour by, such as a class or a column of `X`.
        n_components : int, default=4
            Show the first so many.
        subsample : int or None, default=2000
            Draw at most so many rows, taken at random; None for all.
        random_state : int, RandomState instance or None, default=None
            Which rows are taken.
        ax : matplotlib Axes, default=None
            Where to draw, divided if there are several panels. None for a new figure.
        cmap : str or Colormap, default="viridis"
            Colours of a target of numbers.
        scatter_kwargs : dict, default=None
            For every call of `scatter` of the axes.

        Returns
        -------
        display : LatentSpaceDisplay
            With the numbers and what was drawn.
        """
        check_matplotlib(cls, "from_estimator")
        if not hasattr(estimator, "transform"):
            raise TypeError(
                f"estimator must have transform, and {type(estimator).__name__} has "
                "not: pass a fitted transformer, or a pipeline that ends in one."
            )
        check_is_fitted(estimator)
        X = X if hasattr(X, "shape") else np.asarray(X)
        if isinstance(y, str):
            raise TypeError(
                f"y must hold a value for each row, got the string {y!r}: to colour by "
                f'a column pass X["{y}"].'
            )
        check_consistent_length(X, y)
        y = None if y is None else as_column(y)
        name = None if y is None else y.name
        if subsample is not None and X.shape[0] > subsample:
            order = check_random_state(random_state).permutation(X.shape[0])
            index = np.sort(order[:subsample])
            X = X.iloc[index] if hasattr(X, "iloc") else X[index]
            y = None if y is None else y.iloc[index]
        codes = as_frame(estimator.transform(X)).to_numpy(dtype=float)
        last = estimator[-1] if hasattr(estimator, "steps") else estimator
        ratio = getattr(last, "explained_variance_ratio_", None)
        display = cls(
            codes,
            target=y,
            target_name=None if name is None else str(name),
            explained_variance_ratio=(
                ratio if ratio is not None and len(ratio) == codes.shape[1] else None
            ),
        )
        return display.plot(
            ax, n_components=n_components, cmap=cmap, scatter_kwargs=scatter_kwargs
        )

    def plot(
        self, ax=None, *, n_components=4, cmap="viridis", scatter_kwargs=None
    ) -> Self:
        """Draw the codes.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw, divided if there are several panels. None for a new figure.
        n_components : int, default=4
            Show the first so many.
        cmap : str or Colormap, default="viridis"
            Colours of a target of numbers.
        scatter_kwargs : dict, default=None
            For every call of `scatter` of the axes.

        Returns
        -------
        display : LatentSpaceDisplay
            With what was drawn.
        """
        check_matplotlib(self, "plot")
        check_ax(ax)
        check_count("n_components", n_components, 1)
        from matplotlib.cbook import normalize_kwargs
        from matplotlib.collections import PathCollection

        codes = np.asarray(self.codes)
        n_shown = min(codes.shape[1], n_components)
        given = normalize_kwargs(scatter_kwargs or {}, PathCollection)
        own_colors = not {"c", "color"}.isdisjoint(given)
        colors, groups = self._colors(cmap) if not own_colors else ({}, None)
        size = float(np.clip(12_000 / max(len(codes), 1), 8, 36))
        style = {"s": size, "alpha": 0.8, "linewidth": 0, **colors, **given}
        key_ax = self._open_panels(ax, n_shown)
        self.artists_ = []
        for i, j in np.argwhere(np.not_equal(self.axes_, None)):
            panel = self.axes_[i, j]
            if n_shown > 1:
                self.artists_.append(
                    panel.scatter(codes[:, j], codes[:, i + 1], **style)
                )
            self._label(panel, i, j, n_shown)
        if n_shown == 1:
            self._draw_one(style, groups)
        measured = "cmap" in colors and n_shown > 1
        self._draw_key(key_ax, groups, measured, outside=ax is None)
        return self

    def _open_panels(self, ax, n_shown):
        """Panels on and below the diagonal; returns where the key goes, if not in one.

        The panels of a column share a component, and so do those of a row.
        """
        import matplotlib.pyplot as plt

        if n_shown <= 2:
            if ax is None:
                _, ax = plt.subplots(layout="constrained")
            self.ax_, self.axes_ = ax, np.array([[ax]], dtype=object)
            self.figure_ = ax.figure
            return None
        n = n_shown - 1
        self.figure_, grid = open_grid(ax, n, n, (2.6 * n + 0.4, 2.3 * n + 0.4))
        self.axes_ = np.full((n, n), None, dtype=object)
        for i in range(n):
            for j in range(i + 1):
                self.axes_[i, j] = self.figure_.add_subplot(
                    grid[i, j],
                    sharex=self.axes_[j, j],  # None on the diagonal itself
                    sharey=self.axes_[i, 0],
                )
                self.axes_[i, j].tick_params(
                    labelsize=SMALL, labelbottom=i == n - 1, labelleft=j == 0
                )
        self.ax_ = self.axes_[0, 0]
        key_ax = self.figure_.add_subplot(grid[0, n - 1])
        key_ax.set_axis_off()
        return key_ax

    def _label(self, panel, i, j, n_shown):
        few_ticks(panel.xaxis), few_ticks(panel.yaxis)
        if i == len(self.axes_) - 1:
            panel.set_xlabel(self._component(j, n_shown))
        if j == 0 and n_shown > 1:
            panel.set_ylabel(self._component(i + 1, n_shown))

    def _component(self, i, n_shown):
        ratio = self.explained_variance_ratio
        if ratio is None:
            return f"component {i}"
        between = "\n" if n_shown > 2 else " "
        return f"component {i}{between}({ratio[i]:.1%} of variance)"

    def _colors(self, cmap):
        """Arguments for `scatter`, and the groups of rows if the target has levels."""
        if self.target is None:
            return {"color": REAL}, None
        import matplotlib

        target = pd.Series(self.target).reset_index(drop=True)
        if kind_of_target(target) != CATEGORIES:
            cmap = matplotlib.colormaps.get_cmap(cmap).with_extremes(bad=MISSING)
            return {"c": to_floats(target), "cmap": cmap, "plotnonfinite": True}, None
        groups = group_levels(target)
        colors = np.empty((len(target), 4))
        for _, color, rows in groups:
            colors[rows] = matplotlib.colors.to_rgba(color)
        return {"c": colors}, groups

    def _draw_one(self, style, groups):
        """A single component: against numbers, or the shares of rows in bins."""
        codes = np.asarray(self.codes)[:, 0]
        if isinstance(style.get("c"), np.ndarray) and style["c"].ndim == 1:
            self.artists_.append(self.ax_.scatter(codes, style["c"], **style))
            self.ax_.set_ylabel(self.target_name or "target", parse_math=False)
            if column_kind(pd.Series(self.target)) == DATES:
                date_axis(self.ax_.yaxis, style["c"])
            return
        edges = np.histogram_bin_edges(codes, bins=int(np.clip(len(codes) / 8, 8, 20)))
        everything = np.ones(len(codes), dtype=bool)
        for _, color, rows in groups or [("all", REAL, everything)]:
            shares = np.histogram(codes[rows], edges)[0] / len(codes)
            self.artists_.append(
                self.ax_.stairs(shares, edges, color=color, lw=1.8, fill=groups is None)
            )
        self.ax_.set_ylabel("share of rows")

    def _draw_key(self, key_ax, groups, measured, outside):
        """Legend or colour bar: beside a single panel, else in the empty corner."""
        self.legend_ = self.colorbar_ = None
        title = None if self.target_name is None else elide(self.target_name, 24)
        if groups:
            where = {"loc": "best"}
            if key_ax is not None:
                where = {"loc": "upper right", "borderaxespad": 0.0}
            elif outside:
                where = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
            self.legend_ = (key_ax or self.ax_).legend(
                handles=[handle(label, color) for label, color, _ in groups],
                title=title,
                **where,
            )
        elif measured:
            where = {"ax": self.ax_}
            if key_ax is not None:
                where = {"cax": key_ax.inset_axes([0.45, 0.05, 0.08, 0.9])}
            self.colorbar_ = self.figure_.colorbar(self.artists_[0], **where)
            self.colorbar_.solids.set_alpha(1)
            self.colorbar_.set_label(title or "target", parse_math=False)
            if column_kind(pd.Series(self.target)) == DATES:
                date_axis(self.colorbar_.ax.yaxis, self.artists_[0].get_array())


def as_column(y):
    y = from_polars(y.to_frame() if is_polars_series(y) else y)
    if np.ndim(y) == 2 and np.shape(y)[1] == 1:
        y = y.iloc[:, 0] if hasattr(y, "iloc") else np.asarray(y)[:, 0]
    if np.ndim(y) != 1:
        raise ValueError(f"y must be one column, got the shape {np.shape(y)}.")
    return pd.Series(y)


def group_levels(target):
    """Label, colour and rows of each level: the ten most frequent, or eight and rest.

    Levels come in the order of their categories, or sorted; missing values last.
    """
    objects = to_objects(target)
    counts = objects.value_counts()
    if isinstance(target.dtype, pd.CategoricalDtype):
        order = [level for level in target.cat.categories if level in counts.index]
    else:
        order = sorted(counts.index, key=lambda level: (str(type(level)), level))
    few = len(order) <= len(LEVEL_COLORS)
    kept = main_positions([counts[level] for level in order], len(order) if few else 9)
    shown = [order[i] for i in kept]
    groups = [
        (label, color, (objects == level).to_numpy(dtype=bool))
        for label, color, level in zip(
            elide_all(shown, 24), LEVEL_COLORS, shown, strict=False
        )
    ]
    taken = np.zeros(len(objects), dtype=bool)
    for *_, rows in groups:
        taken |= rows
    missing = objects.isna().to_numpy()
    rest = ~(taken | missing)
    if rest.any():
        n_rest = len(order) - len(shown)
        groups.append((f"other ({n_rest} levels)", OTHER, rest))
    if missing.any():
        groups.append(("missing", MISSING, missing))
    return groups


def handle(label, color):
    """A dot for the legend; a label may begin with an underscore."""
    from matplotlib.lines import Line2D

    return Line2D(
        [], [], color=color, marker="o", ls="", label=label.replace("$", r"\$")
    )
