"""LoadingsDisplay."""

from typing import Self

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from ._panels import (
    NORMAL,
    REAL,
    SMALL,
    check_ax,
    check_count,
    check_matplotlib,
    elide_all,
    few_ticks,
    open_grid,
)

# Minimum share of the largest colour for a number to be written in its cell.
MIN_WRITTEN = 0.25
MAX_WRITTEN_COLUMNS = 12


class LoadingsDisplay:
    """Which columns each component of a code moves: a heat map of loadings.

    Create it with :meth:`from_estimator`. All parameters are stored as attributes. The
    columns that load on the same component stand together, those that load most first.

    Parameters
    ----------
    loadings : DataFrame of shape (n_columns, n_components)
        Loadings, such as the `loadings` of an estimator or the `components_` of one of
        scikit-learn, transposed.
    kept : Series of shape (n_columns,) or None, default=None
        Share of each column that the code keeps, with the index of the loadings.

    Attributes
    ----------
    shown_ : DataFrame of shape (n_rows, n_components)
        The loadings that are drawn, in their order.
    image_ : matplotlib AxesImage
        The heat map.
    bars_ : matplotlib BarContainer or None
        Shares that are kept.
    ax_ : matplotlib Axes
        Axes of the heat map.
    axes_ : ndarray of shape (1, 1) or (1, 2)
        All panels.
    figure_ : matplotlib Figure
        With the panels.

    See Also
    --------
    TraversalDisplay : Rows that one component moves through.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_unsup import AutoencoderTransformer
    >>> from sklearn_unsup.inspection import LoadingsDisplay
    >>> X = load_iris(as_frame=True).data
    >>> model = AutoencoderTransformer(2, random_state=0).fit(X)
    >>> display = LoadingsDisplay.from_estimator(model, X)
    >>> display.shown_.shape
    (4, 2)
    """

    def __init__(self, loadings, kept=None) -> None:
        self.loadings = loadings
        self.kept = kept

    @classmethod
    def from_estimator(
        cls, estimator, X=None, *, levels=False, max_columns=30, ax=None, cmap="RdBu_r"
    ) -> Self:
        """Plot the loadings of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted, with `components_`: an autoencoder, or PCA and its like.
        X : DataFrame or array-like of shape (n_samples, n_features) or None, \
                default=None
            Rows, best such that `fit` has not seen. With them the share of each column
            that the code keeps is drawn beside its loadings.
        levels : bool, default=False
            Whether each level of a category has a row of its own.
        max_columns : int, default=30
            Maximum number of rows of the heat map; those that load most are shown.
        ax : matplotlib Axes, default=None
            Where to draw; its place is divided. None for a new figure.
        cmap : str or Colormap, default="RdBu_r"
            Colours, of which the middle one is no change.

        Returns
        -------
        display : LoadingsDisplay
            With the numbers and what was drawn.

        Raises
        ------
        TypeError
            If the estimator has no loadings.
        """
        check_matplotlib(cls, "from_estimator")
        check_is_fitted(estimator)
        needed = ["components_"] + ["loadings"] * levels
        needed += ["reconstruction_by_column"] * (X is not None)
        for name in needed:
            if not hasattr(estimator, name):
                raise TypeError(
                    f"{type(estimator).__name__} has no {name}, which the picture "
                    "needs. Pass a fitted AutoencoderTransformer or VAETransformer; of "
                    "a pipeline pass its step, pipeline[-1]."
                )
        kept = None if X is None else estimator.reconstruction_by_column(X)
        if levels:
            loadings = estimator.loadings()
        else:
            values = np.asarray(estimator.components_).T
            names = getattr(estimator, "feature_names_in_", range(len(values)))
            index = pd.Index(names) if kept is None else kept.index
            loadings = pd.DataFrame(values, index, estimator.get_feature_names_out())
        if kept is not None and levels:
            kept = kept[loadings.index.get_level_values(0)].set_axis(loadings.index)
        display = cls(loadings, kept)
        return display.plot(ax=ax, max_columns=max_columns, cmap=cmap)

    def plot(self, ax=None, *, max_columns=30, cmap="RdBu_r") -> Self:
        """Draw the heat map, and the shares beside it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; its place is divided. None for a new figure.
        max_columns : int, default=30
            Maximum number of rows of the heat map; those that load most are shown.
        cmap : str or Colormap, default="RdBu_r"
            Colours, of which the middle one is no change.

        Returns
        -------
        display : LoadingsDisplay
            With what was drawn.
        """
        check_matplotlib(self, "plot")
        check_ax(ax)
        check_count("max_columns", max_columns, 1)
        order = order_of(self.loadings.to_numpy(dtype=float), max_columns)
        self.shown_ = self.loadings.iloc[order]
        values, has_kept = self.shown_.to_numpy(dtype=float), self.kept is not None
        n_rows, n_components = values.shape
        size = 2.6 + 0.55 * n_components + 1.6 * has_kept, 1.4 + 0.24 * n_rows
        ratios = {"width_ratios": [0.55 * n_components, 1.2]} if has_kept else {}
        self.figure_, grid = open_grid(ax, 1, 1 + has_kept, size, **ratios)
        self.ax_ = self.figure_.add_subplot(grid[0, 0])
        self.ax_.grid(visible=False)
        limit = np.abs(values).max() or 1.0
        self.image_ = self.ax_.imshow(
            values, cmap=cmap, vmin=-limit, vmax=limit, aspect="auto"
        )
        names = [row_name(name) for name in self.shown_.index]
        self.ax_.set_yticks(
            range(n_rows), elide_all(names, 24), fontsize=SMALL, parse_math=False
        )
        self.ax_.set_xticks(range(n_components), range(n_components), fontsize=SMALL)
        self.ax_.set_xlabel("component", fontsize=NORMAL)
        if n_components <= MAX_WRITTEN_COLUMNS:
            self._write_values(values, limit)
        self.bars_, self.axes_ = None, np.array([[self.ax_]], dtype=object)
        if has_kept:
            self._draw_kept(grid, order)
        self.figure_.colorbar(
            self.image_, ax=self.ax_, label="change per unit", pad=0.02
        )
        return self

    def _write_values(self, values, limit):
        """Write the larger loadings into their cells."""
        for row, component in np.argwhere(np.abs(values) > MIN_WRITTEN * limit):
            value = values[row, component]
            self.ax_.text(
                component,
                row,
                f"{value:.2g}",
                ha="center",
                va="center",
                fontsize=SMALL,
                color="white" if abs(value) > 0.6 * limit else "black",
            )

    def _draw_kept(self, grid, order):
        panel = self.figure_.add_subplot(grid[0, 1], sharey=self.ax_)
        self.axes_ = np.array([[self.ax_, panel]], dtype=object)
        # A column that is rebuilt worse than by its mean keeps nothing.
        kept = np.clip(self.kept.to_numpy(dtype=float)[order], 0.0, 1.0)
        self.bars_ = panel.barh(range(len(order)), kept, color=REAL)
        panel.tick_params(labelleft=False, labelsize=SMALL)
        panel.set_xlim(0, 1)
        few_ticks(panel.xaxis, 2)
        panel.set_xlabel("share kept", fontsize=NORMAL)


def order_of(values, max_columns):
    """Positions of the largest rows, by the component that they load on most."""
    size = np.abs(values)
    largest = np.argsort(-size.max(1), kind="stable")[:max_columns]
    return largest[np.argsort(size[largest].argmax(1), kind="stable")]


def row_name(name):
    """A column's name, with the level if there is one."""
    if not isinstance(name, tuple):
        return str(name)
    return " = ".join(str(part) for part in name if part != "")
