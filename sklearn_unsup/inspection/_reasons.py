"""ReasonsDisplay."""

from typing import Self

import numpy as np
import pandas as pd
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted

from .._table.frames import as_frame
from ._panels import (
    NORMAL,
    OTHER,
    SMALL,
    SYNTHETIC,
    add_panels,
    check_ax,
    check_count,
    check_matplotlib,
    elide,
    few_ticks,
    grid_shape,
    open_grid,
)

MAX_PANELS = 20


class ReasonsDisplay:
    """Why rows are unusual: a bar for each column of a row.

    Create it with :meth:`from_estimator`. All parameters are stored as attributes. A
    bar is what the cell costs its row, in the unit of the score, against the row's
    cell that costs least. Beside it stand the value that the cell has and, where it has
    another one, the value that was expected.

    Parameters
    ----------
    shares : DataFrame or array-like of shape (n_samples, n_features)
        Share of each cell in its row's score, as `explain_samples` gives them.
    table : DataFrame or array-like of shape (n_samples, n_features)
        The rows.
    expected : DataFrame or array-like of shape (n_samples, n_features), default=None
        The value that each cell was expected to have.

    Attributes
    ----------
    bars_ : ndarray of shape (n_samples,)
        BarContainer of each row, the costliest column first.
    ax_ : matplotlib Axes
        The first panel.
    axes_ : ndarray of shape (n_rows, n_cols)
        All panels; the last places may be None.
    figure_ : matplotlib Figure
        With the panels.

    See Also
    --------
    sklearn_unsup.outliers.GenerativeOutlierDetector : Finds the rows.

    Examples
    --------
    >>> from sklearn_unsup import AutoencoderTransformer
    >>> from sklearn_unsup.datasets import make_mixed_table
    >>> from sklearn_unsup.inspection import ReasonsDisplay
    >>> table, _ = make_mixed_table(200, random_state=0)
    >>> model = AutoencoderTransformer(4, max_iter=5, random_state=0).fit(table)
    >>> display = ReasonsDisplay.from_estimator(model, table, n_rows=2)
    >>> display.axes_.shape
    (1, 2)
    """

    def __init__(self, shares, table, expected=None) -> None:
        self.shares = shares
        self.table = table
        self.expected = expected

    @classmethod
    def from_estimator(
        cls, estimator, X, *, n_rows=4, n_columns=8, ax=None, bar_kwargs=None
    ) -> Self:
        """Explain the most unusual rows and plot their reasons.

        Parameters
        ----------
        estimator : estimator
            Fitted, with `explain_samples`.
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows, of which the ones with the lowest scores are shown.
        n_rows : int, default=4
            Number of rows to show, at most 20; the most unusual one comes first.
        n_columns : int, default=8
            Number of columns to show of each row, those that cost most.
        ax : matplotlib Axes, default=None
            Where to draw; its place is divided. None for a new figure.
        bar_kwargs : dict, default=None
            For every call of `barh` of the axes.

        Returns
        -------
        display : ReasonsDisplay
            With what was drawn.

        Raises
        ------
        TypeError
            If the estimator explains nothing.
        """
        check_matplotlib(cls, "from_estimator")
        check_count("n_rows", n_rows, 1)
        check_is_fitted(estimator)
        if not hasattr(estimator, "explain_samples"):
            raise TypeError(
                f"{type(estimator).__name__} has no explain_samples. Pass a fitted "
                "AutoencoderTransformer, VAETransformer or GenerativeOutlierDetector; "
                "of a pipeline pass its step, pipeline[-1], and X as that step sees it."
            )
        frame = as_frame(X)
        # An estimator that was fitted to an array has no names for columns.
        given = frame if hasattr(estimator, "feature_names_in_") else X
        order = np.argsort(estimator.score_samples(given), kind="stable")
        order = order[: min(n_rows, MAX_PANELS)]
        if isinstance(given, pd.DataFrame):
            rows = given.iloc[order]
        else:
            rows = np.asarray(given)[order]
        shares, expected = estimator.explain_samples(rows, return_expected=True)
        display = cls(shares, frame.iloc[order], expected)
        return display.plot(ax=ax, n_columns=n_columns, bar_kwargs=bar_kwargs)

    def plot(self, ax=None, *, n_columns=8, bar_kwargs=None) -> Self:
        """Draw a panel for each row.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; its place is divided. None for a new figure.
        n_columns : int, default=8
            Number of columns to show of each row, those that cost most.
        bar_kwargs : dict, default=None
            For every call of `barh` of the axes.

        Returns
        -------
        display : ReasonsDisplay
            With what was drawn.
        """
        check_matplotlib(self, "plot")
        check_ax(ax)
        check_count("n_columns", n_columns, 1)
        shares, table = np.asarray(as_frame(self.shares), float), as_frame(self.table)
        expected = None if self.expected is None else as_frame(self.expected)
        check_consistent_length(shares, table, expected)
        costs = shares.max(1, keepdims=True) - shares
        n_rows, n_cols = grid_shape(len(table), 2)
        n_shown = min(n_columns, table.shape[1])
        size = 5.0 * n_cols, (0.8 + 0.3 * n_shown) * n_rows
        self.figure_, grid = open_grid(ax, n_rows, n_cols, size)
        self.axes_ = add_panels(self.figure_, grid, len(table))
        self.ax_ = self.axes_.flat[0]
        self.bars_ = np.empty(len(table), dtype=object)
        for row, panel in enumerate(self.axes_.flat[: len(table)]):
            shown = np.argsort(-costs[row], kind="stable")[:n_shown]
            names = [label_of(table, expected, row, column) for column in shown]
            places = np.arange(n_shown)
            style = {
                "color": [SYNTHETIC] + [OTHER] * (n_shown - 1),
                **(bar_kwargs or {}),
            }
            self.bars_[row] = panel.barh(places, costs[row, shown], **style)
            panel.set_yticks(places, names, fontsize=SMALL, parse_math=False)
            panel.invert_yaxis()
            few_ticks(panel.xaxis)
            title = f"row {elide(table.index[row])}, score {shares[row].sum():.4g}"
            panel.set_title(title, fontsize=NORMAL, parse_math=False)
            panel.set_xlabel("cost (nats)", fontsize=SMALL)
        return self


def label_of(table, expected, row, column):
    """Name, value and, where it is another one, expected value of a cell."""
    value = text_of(table.iloc[row, column])
    label = f"{elide(table.columns[column])} = {value}"
    if expected is None:
        return label
    other = text_of(expected.iloc[row, column])
    return label if other == value else f"{label}\n(expected {other})"


def text_of(value):
    """A cell in few characters."""
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return "missing"
    if isinstance(value, float | np.floating):
        return f"{value:.4g}"
    if isinstance(value, pd.Timestamp) and value == value.normalize():
        return str(value.date())
    return elide(value, 14)
