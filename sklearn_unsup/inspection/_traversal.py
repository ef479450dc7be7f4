"""TraversalDisplay."""

from typing import Self

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from .._table.frames import as_frame
from .._table.kinds import DATES, column_kind
from .._table.plain import to_floats
from ..metrics._columns import is_measured, to_objects
from ._panels import (
    LEVEL_COLORS,
    SMALL,
    add_panels,
    check_ax,
    check_matplotlib,
    date_axis,
    elide,
    elide_all,
    few_ticks,
    grid_shape,
    open_grid,
    set_name,
)
from ._reconstruction import check_columns, pixels_of, shape_of_images, to_images


class TraversalDisplay:
    """What rows become along the components of a code.

    Create it with :meth:`from_estimator`. All parameters are stored as attributes. Of a
    table each column gets a panel, with a line for each component: a number or a date,
    or the level of a category, against the place on the way. Rows of pixels are drawn
    as images, one line of them for each component.

    Parameters
    ----------
    tables : dict of {str: DataFrame or array-like of shape (n_values, n_features)}
        Rows along the way, by the name of the component.
    values : dict of {str: array-like of shape (n_values,)}
        Values that the component takes there.
    image_shape : tuple of int or None, default=None
        Height and width of the image that a row is, and for colours 3 or 4 channels.

    Attributes
    ----------
    images_ : ndarray of shape (n_components, n_values) or None
        AxesImage of each image.
    lines_ : dict or None
        By column: the lines of the components, a list of matplotlib Line2D.
    ax_ : matplotlib Axes
        The first panel.
    axes_ : ndarray of shape (n_rows, n_cols)
        All panels; the last places may be None.
    figure_ : matplotlib Figure
        With the panels.

    See Also
    --------
    LoadingsDisplay : The mean change of each column, in one picture.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_unsup import VAETransformer
    >>> from sklearn_unsup.inspection import TraversalDisplay
    >>> X = load_iris(as_frame=True).data
    >>> vae = VAETransformer(2, max_iter=20, random_state=0).fit(X)
    >>> display = TraversalDisplay.from_estimator(vae, 0)
    >>> display.axes_.shape
    (1, 4)
    """

    def __init__(self, tables, values, *, image_shape=None) -> None:
        self.tables = tables
        self.values = values
        self.image_shape = image_shape

    @classmethod
    def from_estimator(
        cls,
        estimator,
        components=0,
        *,
        values="quantiles",
        at=None,
        image_shape=None,
        columns=None,
        ax=None,
        cmap="gray",
    ) -> Self:
        """Decode rows along components of a fitted estimator and plot them.

        Parameters
        ----------
        estimator : estimator
            Fitted, with `traverse`.
        components : int, str or list of them, default=0
            Components to walk along, by position or name.
        values : {"quantiles"} or array-like of shape (n_values,), default="quantiles"
            Values that the components take, see `traverse`.
        at : array-like of shape (n_components,) or None, default=None
            Code that the walks pass; None is the mean code.
        image_shape : tuple of int or None, default=None
            Of the image that the numbers of a row are, see
            :class:`ReconstructionDisplay`. None takes that of the estimator.
        columns : str, list or None, default=None
            Names of the columns to show, of an array their positions. None for all, or
            for the first 20 of a wide table.
        ax : matplotlib Axes, default=None
            Where to draw; its place is divided. None for a new figure.
        cmap : str or Colormap, default="gray"
            Colours of images without channels.

        Returns
        -------
        display : TraversalDisplay
            With the rows and what was drawn.

        Raises
        ------
        TypeError
            If the estimator has no `traverse`.
        """
        check_matplotlib(cls, "from_estimator")
        check_is_fitted(estimator)
        if not hasattr(estimator, "traverse"):
            raise TypeError(
                f"{type(estimator).__name__} has no traverse. Pass a fitted "
                "AutoencoderTransformer, VAETransformer or GANSampler; of a pipeline "
                "pass its step, pipeline[-1]."
            )
        is_one = isinstance(components, str) or np.ndim(components) == 0
        names, tables, places = estimator.get_feature_names_out(), {}, {}
        for component in [components] if is_one else components:
            table, walk = estimator.traverse(component, values, at, return_values=True)
            name = component if isinstance(component, str) else names[component]
            tables[name], places[name] = table, walk
        if image_shape is None:
            image_shape = shape_of_images(estimator)
        display = cls(tables, places, image_shape=image_shape)
        return display.plot(ax=ax, columns=columns, cmap=cmap)

    def plot(self, ax=None, *, columns=None, cmap="gray") -> Self:
        """Draw the rows.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; its place is divided. None for a new figure.
        columns : str, list or None, default=None
            Names of the columns to show, of an array their positions. None for all, or
            for the first 20 of a wide table.
        cmap : str or Colormap, default="gray"
            Colours of images without channels.

        Returns
        -------
        display : TraversalDisplay
            With what was drawn.
        """
        check_matplotlib(self, "plot")
        check_ax(ax)
        if not self.tables:
            raise ValueError("tables={}: pass the rows of at least one component.")
        self.images_, self.lines_ = None, None
        if self.image_shape is None:
            self._plot_columns(ax, columns)
        else:
            self._plot_images(ax, cmap)
        self.ax_ = self.axes_.flat[0]
        return self

    def _plot_images(self, ax, cmap):
        rows = [
            to_images(pixels_of(table, self.image_shape), self.image_shape)
            for table in self.tables.values()
        ]
        n_rows, n_cols = len(rows), max(map(len, rows))
        self.figure_, grid = open_grid(ax, n_rows, n_cols, (n_cols, n_rows))
        self.axes_ = add_panels(self.figure_, grid, n_rows * n_cols)
        self.images_ = np.full((n_rows, n_cols), None, dtype=object)
        limits = {"vmin": min(map(np.min, rows)), "vmax": max(map(np.max, rows))}
        for i, (name, table) in enumerate(zip(self.tables, rows, strict=True)):
            for j, panel in enumerate(self.axes_[i]):
                panel.set(xticks=[], yticks=[])
                panel.grid(visible=False)
                if j >= len(table):
                    panel.set_axis_off()
                    continue
                self.images_[i, j] = panel.imshow(table[j], cmap=cmap, **limits)
                panel.set_xlabel(f"{self.values[name][j]:.2g}", fontsize=SMALL)
            label = elide(name, 14)
            self.axes_[i, 0].set_ylabel(label, fontsize=SMALL, parse_math=False)

    def _plot_columns(self, ax, columns):
        frames = {name: as_frame(table) for name, table in self.tables.items()}
        first = next(iter(frames.values()))
        shown = check_columns(first, columns)
        n_rows, n_cols = grid_shape(len(shown), 4)
        size = 3.0 * n_cols, 2.4 * n_rows
        self.figure_, grid = open_grid(ax, n_rows, n_cols, size)
        self.axes_ = add_panels(self.figure_, grid, len(shown))
        self.lines_ = {}
        for panel, column in zip(self.axes_.flat, shown, strict=False):
            parts = {name: frame[column] for name, frame in frames.items()}
            set_name(panel, column)
            self.lines_[column] = self._plot_column(panel, parts)
            few_ticks(panel.xaxis)
        for panel in self.axes_[-1, :1]:
            label = next(iter(frames)) if len(frames) == 1 else "value of the component"
            panel.set_xlabel(elide(label, 30), fontsize=SMALL, parse_math=False)
        if len(frames) > 1:
            self.axes_.flat[0].legend(fontsize=SMALL)

    def _plot_column(self, panel, parts):
        """Draw one column along each of the ways."""
        joined = pd.concat([*parts.values()], ignore_index=True)
        if is_measured(joined):
            heights = {name: to_floats(part) for name, part in parts.items()}
        else:
            levels = list(pd.unique(to_objects(joined)))
            heights = {
                name: np.array([levels.index(level) for level in to_objects(part)])
                for name, part in parts.items()
            }
            names = ["missing" if level is None else level for level in levels]
            ticks = range(len(levels)), elide_all(names, 14)
            panel.set_yticks(*ticks, fontsize=SMALL, parse_math=False)
            panel.set_ylim(-0.5, len(levels) - 0.5)
        lines = []
        for i, (name, height) in enumerate(heights.items()):
            style = {"marker": "o", "markersize": 3, "label": elide(name, 24)}
            color = LEVEL_COLORS[i % len(LEVEL_COLORS)]
            lines += panel.plot(self.values[name], height, color=color, **style)
        if is_measured(joined):
            if column_kind(joined) == DATES:
                date_axis(panel.yaxis, np.concatenate([*heights.values()]))
            else:
                few_ticks(panel.yaxis)
        return lines
