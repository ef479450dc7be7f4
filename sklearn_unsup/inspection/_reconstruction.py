"""ReconstructionDisplay."""

from typing import Self

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from .._table.frames import as_frame
from .._table.kinds import DATES, NUMBERS, column_kind
from .._table.plain import to_floats
from ..metrics._columns import is_measured, main_positions, to_objects
from ._panels import (
    NORMAL,
    REAL,
    SMALL,
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

# Maximum number of points of a scatter plot. The figures above it count all rows.
MAX_POINTS = 2_000
MAX_LEVELS = 8
MAX_PANELS = 20


class ReconstructionDisplay:
    """Rows before and after a transformer and its inverse.

    Create it with :meth:`from_estimator`. All parameters are stored as attributes.
    Rows of pixels are drawn as images, before above after. Of any other table each
    column gets a panel: numbers and dates after against before, with their
    correlation; of categories the share of each level that became each level, with the
    share of rows that kept theirs.

    Parameters
    ----------
    original : DataFrame or array-like of shape (n_samples, n_features)
        Rows before.
    reconstruction : DataFrame or array-like of shape (n_samples, n_features)
        The same rows after.
    image_shape : tuple of int or None, default=None
        Of the image that the numbers of a row are: (height, width), with colours
        (height, width, channels) or, channels first, (channels, height, width).

    Attributes
    ----------
    images_ : ndarray of shape (2, n_images) or None
        AxesImage of each image, before and after.
    panels_ : dict or None
        By column: a PathCollection (numbers, dates) or AxesImage (categories).
    ax_ : matplotlib Axes
        The first panel.
    axes_ : ndarray of shape (n_rows, n_cols)
        All panels; the last places may be None.
    figure_ : matplotlib Figure
        With the panels.

    See Also
    --------
    TableComparisonDisplay : Compare two tables whose rows do not belong together.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_unsup.inspection import ReconstructionDisplay
    >>> X = load_digits().data
    >>> display = ReconstructionDisplay.from_estimator(
    ...     PCA(8).fit(X), X, image_shape=(8, 8)
    ... )
    >>> display.images_.shape
    (2, 10)
    """

    def __init__(self, original, reconstruction, *, image_shape=None) -> None:
        self.original = original
        self.reconstruction = reconstruction
        self.image_shape = image_shape

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        *,
        image_shape=None,
        n_images=10,
        columns=None,
        ax=None,
        cmap="gray",
    ) -> Self:
        """Reconstruct rows and plot them beside what they were.

        Parameters
        ----------
        estimator : estimator
            Fitted, with `transform` and `inverse_transform`; a pipeline will do.
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows, best such that `fit` has not seen.
        image_shape : tuple of int or None, default=None
            Of the image that the numbers of a row are: (height, width), with colours
            (height, width, channels) or, channels first, (channels, height, width).
            None takes that of the estimator, or of the last step of a pipeline.
        n_images : int, default=10
            Show the first so many rows as images.
        columns : str, list or None, default=None
            Names of the columns to show, of an array their positions. None for all, or
            for the first 20 of a wide table.
        ax : matplotlib Axes, default=None
            Where to draw; its place is divided. None for a new figure.
        cmap : str or Colormap, default="gray"
            Colours of images without channels.

        Returns
        -------
        display : ReconstructionDisplay
            With the numbers and what was drawn.

        Raises
        ------
        ValueError
            If the rows are no images of `image_shape`.
        """
        check_matplotlib(cls, "from_estimator")
        for method in ("transform", "inverse_transform"):
            if not hasattr(estimator, method):
                raise TypeError(
                    "estimator must have transform and inverse_transform, and "
                    f"{type(estimator).__name__} has no {method}."
                )
        check_is_fitted(estimator)
        X = X if hasattr(X, "shape") else np.asarray(X)
        if image_shape is None:
            image_shape = shape_of_images(estimator)
        if image_shape is not None:
            pixels_of(X, image_shape)
            X = X[:n_images]
        display = cls(
            X,
            estimator.inverse_transform(estimator.transform(X)),
            image_shape=image_shape,
        )
        return display.plot(ax, n_images=n_images, columns=columns, cmap=cmap)

    def plot(self, ax=None, *, n_images=10, columns=None, cmap="gray") -> Self:
        """Draw rows before and after.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; its place is divided. None for a new figure.
        n_images : int, default=10
            Show the first so many rows as images.
        columns : str, list or None, default=None
            Names of the columns to show, of an array their positions. None for all, or
            for the first 20 of a wide table.
        cmap : str or Colormap, default="gray"
            Colours of images without channels.

        Returns
        -------
        display : ReconstructionDisplay
            With what was drawn.
        """
        check_matplotlib(self, "plot")
        check_ax(ax)
        check_count("n_images", n_images, 1)
        self.images_ = self.panels_ = None
        if self.image_shape is not None:
            self._draw_images(ax, n_images, cmap)
        else:
            self._draw_columns(ax, columns)
        self.ax_ = self.axes_.flat[0]
        return self

    def _draw_images(self, ax, n_images, cmap):
        before, after = (
            to_images(pixels_of(X, self.image_shape)[:n_images], self.image_shape)
            for X in (self.original, self.reconstruction)
        )
        n = len(before)
        self.figure_, grid = open_grid(
            ax, 2, n, (0.4 + 0.9 * n, 2.1), hspace=0.05, wspace=0.05
        )
        # One scale for all: an image that fades would otherwise look as it should.
        low, high = np.nanmin(before), np.nanmax(before)
        if before.ndim == 4:
            low, high = (0, 1) if low >= 0 and high <= 1 else (min(low, 0), high)
            before, after = (
                np.clip((images - low) / ((high - low) or 1), 0, 1)
                for images in (before, after)
            )
        self.images_ = np.full((2, n), None, dtype=object)
        self.axes_ = add_panels(self.figure_, grid, 2 * n)
        for i, images in enumerate((before, after)):
            for j, image in enumerate(images):
                panel = self.axes_[i, j]
                panel.set(xticks=[], yticks=[])
                panel.grid(False)
                self.images_[i, j] = panel.imshow(
                    image, cmap=cmap, vmin=low, vmax=high, interpolation="nearest"
                )
            self.axes_[i, 0].set_ylabel(("before", "after")[i])

    def _draw_columns(self, ax, columns):
        before, after = as_frame(self.original), as_frame(self.reconstruction)
        if not set(before.columns) <= set(after.columns):
            # An array has no names.
            after = after.set_axis(before.columns, axis=1)
        # Rows belong together by position, whatever their labels.
        after = after.set_axis(before.index)
        names = check_columns(before, columns)
        n_rows, n_cols = grid_shape(len(names), 4)
        self.figure_, grid = open_grid(
            ax, n_rows, n_cols, (2.6 * n_cols + 0.6, 2.5 * n_rows + 0.2)
        )
        self.axes_ = add_panels(self.figure_, grid, len(names))
        self.panels_ = {}
        for panel, name in zip(self.axes_.flat, names, strict=False):
            pair = before[name], after[name]
            measured = all(column.notna().any() for column in pair)
            measured &= is_measured(before[name])
            draw = draw_numbers if measured else draw_categories
            self.panels_[name], remark = draw(panel, *pair)
            set_name(panel, name, remark)
            for side, column, axis in zip(
                ("before", "after"), pair, (panel.xaxis, panel.yaxis), strict=True
            ):
                holes = column.isna().mean() if measured else 0
                text = f"{side} ({holes:.1%} missing)" if holes else side
                axis.set_label_text(text, fontsize=SMALL)
        if ax is None and columns is None and len(names) < before.shape[1]:
            title = f"first {len(names)} of {before.shape[1]} columns"
            self.figure_.suptitle(title, fontsize=NORMAL)


def draw_numbers(ax, before, after):
    """Scatter of one column's values around the diagonal, and their correlation."""
    x, y = to_floats(before), to_floats(after)
    both = np.isfinite(x) & np.isfinite(y)
    x, y = x[both], y[both]
    remark = ""
    if len(x) > 1 and np.ptp(x) > 0 and np.ptp(y) > 0:
        remark = f": r = {np.corrcoef(x, y)[0, 1]:.2f}"
    step = -(-max(len(x), 1) // MAX_POINTS)
    size = float(np.clip(2_000 / max(len(x), 1), 4, 20))
    points = ax.scatter(
        x[::step], y[::step], s=size, color=REAL, alpha=0.6, linewidths=0
    )
    if len(x):
        # The same limits on both axes: what shrinks is seen to shrink.
        low, high = min(x.min(), y.min()), max(x.max(), y.max())
        margin = 0.04 * (high - low) or 0.5
        limits = low - margin, high + margin
        ax.set(xlim=limits, ylim=limits)
        ax.plot(limits, limits, color="0.55", lw=1, zorder=0)
    for axis in (ax.xaxis, ax.yaxis):
        date_axis(axis, x) if column_kind(before) == DATES else few_ticks(axis, 3)
    return points, remark


def draw_categories(ax, before, after):
    """Shares of each level's rows by their level after, one column per level."""
    before, after = to_objects(before), to_objects(after)
    kept = (before == after) | (before.isna() & after.isna())
    counts = before.value_counts()
    levels = [counts.index[i] for i in main_positions(counts, MAX_LEVELS)]
    labels = elide_all(levels, 12)
    codes = [code_levels(column, levels) for column in (before, after)]
    used = np.unique(np.concatenate(codes))
    names = np.array([*labels, "other", "missing"], dtype=object)[used]
    table = np.zeros((len(used), len(used)))
    np.add.at(table, tuple(np.searchsorted(used, code) for code in codes[::-1]), 1)
    table /= np.maximum(table.sum(axis=0), 1)
    image = ax.imshow(table, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    ax.grid(False)
    places = np.arange(len(used))
    ax.set_xticks(places, names, rotation=90, parse_math=False)
    ax.set_yticks(places, names, parse_math=False)
    if len(used) <= 5:
        for i, j in np.ndindex(table.shape):
            color = "white" if table[i, j] > 0.5 else "black"
            text = f"{table[i, j]:.0%}"
            ax.text(j, i, text, ha="center", va="center", fontsize=SMALL, color=color)
    return image, f": {kept.mean():.0%} kept"


def code_levels(column, levels):
    """Positions of a column's values in `levels`; then "other", then missing."""
    codes = pd.Index(levels, dtype=object).get_indexer(column)
    codes[codes < 0] = len(levels)
    codes[column.isna()] = len(levels) + 1
    return codes


def shape_of_images(estimator):
    """Shape of the images that an estimator, or a pipeline's last step, has learnt."""
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    return getattr(last, "image_shape", None)


def pixels_of(X, image_shape):
    """The numeric columns of X, which are the pixels of images, as a DataFrame.

    Raises
    ------
    ValueError
        If `image_shape` is no shape of images, or rows have no images of this shape.
    """
    shape = tuple(image_shape)
    if len(shape) not in (2, 3) or (len(shape) == 3 and channel_axis(shape) is None):
        raise ValueError(
            "image_shape must be (height, width), or (height, width, channels) with 3 "
            "or 4 channels, or (channels, height, width) with 1, 3 or 4, got "
            f"{image_shape!r}."
        )
    table = as_frame(X)
    kinds = np.array([column_kind(column) for _, column in table.items()])
    pixels = table.loc[:, kinds == NUMBERS]
    if np.prod(shape) != pixels.shape[1]:
        others = [f"{name!r} ({c.dtype})" for name, c in table.items()]
        others = [
            text for text, kind in zip(others, kinds, strict=True) if kind != NUMBERS
        ]
        beside = f" beside {', '.join(others[:5])}" if others else ""
        raise ValueError(
            f"image_shape={image_shape!r} makes {np.prod(shape)} pixels of a row, but "
            f"X has {pixels.shape[1]} numeric columns{beside}: their numbers must be "
            "the same."
        )
    return pixels


def channel_axis(shape):
    """Place of the channels among three sizes; the last one if both would do."""
    if shape[2] in (3, 4):
        return 2
    return 0 if shape[0] in (1, 3, 4) else None


def to_images(pixels, image_shape):
    """Images (n, height, width), with colours (n, height, width, channels)."""
    images = pixels.to_numpy(dtype=float).reshape(-1, *image_shape)
    if len(image_shape) == 3 and channel_axis(image_shape) == 0:
        images = np.moveaxis(images, 1, -1)
        images = images[..., 0] if image_shape[0] == 1 else images
    return images


def check_columns(table, columns):
    """Names of the columns to show."""
    if columns is None:
        return list(table.columns[:MAX_PANELS])
    columns = [columns] if isinstance(columns, str) else columns
    unknown = [name for name in columns if name not in table.columns]
    if unknown or len(columns) == 0:
        raise ValueError(
            f"columns must be some of {list(table.columns)}, got {list(columns)}."
        )
    return list(columns)
