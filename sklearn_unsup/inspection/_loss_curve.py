"""LossCurveDisplay."""

from typing import Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ._panels import REAL, SYNTHETIC, check_ax, check_matplotlib, open_grid


class LossCurveDisplay:
    """The losses of a fit, epoch by epoch.

    Create it with :meth:`from_estimator`. All parameters are stored as attributes.

    Parameters
    ----------
    loss_curve : array-like of shape (n_epochs,)
        Training loss; of a game, the generator's.
    validation_scores : array-like of shape (n_epochs,) or None, default=None
        Scores of held-out rows, higher is better; NaN in an epoch without one.
    critic_loss_curve : array-like of shape (n_epochs,) or None, default=None
        The loss of the generator's opponent.
    loss_name : str, default="loss"
        Label of the axis, with the unit.
    score_name : str or None, default=None
        Label of a second panel for the scores. With None they are minus a loss, which
        is drawn beside the training loss.
    equilibrium : float or None, default=None
        Loss of both players where the critic cannot tell real from generated.

    Attributes
    ----------
    lines_ : dict of str to matplotlib Line2D
        Of "training" and "validation", or of "generator", "critic" and "validation".
    best_line_ : matplotlib Line2D or None
        Marks the epoch with the best score.
    ax_ : matplotlib Axes
        With the losses.
    axes_ : ndarray of shape (n_panels, 1)
        All panels: one, or two if the scores have an axis of their own.
    figure_ : matplotlib Figure
        With the panels.

    See Also
    --------
    LatentSpaceDisplay : What the codes look like.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_unsup import AutoencoderTransformer
    >>> from sklearn_unsup.inspection import LossCurveDisplay
    >>> reducer = AutoencoderTransformer(2, max_iter=5, random_state=0)
    >>> display = LossCurveDisplay.from_estimator(reducer.fit(load_iris().data))
    >>> display.ax_.get_ylabel()
    'loss (nats per row)'
    """

    def __init__(
        self,
        loss_curve,
        *,
        validation_scores=None,
        critic_loss_curve=None,
        loss_name="loss",
        score_name=None,
        equilibrium=None,
    ) -> None:
        self.loss_curve = loss_curve
        self.validation_scores = validation_scores
        self.critic_loss_curve = critic_loss_curve
        self.loss_name = loss_name
        self.score_name = score_name
        self.equilibrium = equilibrium

    @classmethod
    def from_estimator(cls, estimator, *, ax=None, line_kwargs=None) -> Self:
        """Plot what an estimator kept of its training.

        Parameters
        ----------
        estimator : estimator
            Fitted, with `loss_curve_`: any of this package, or scikit-learn's
            multilayer perceptrons. Of a pipeline pass the step.
        ax : matplotlib Axes, default=None
            Where to draw, divided if two panels are needed. None for a new figure.
        line_kwargs : dict, default=None
            For every call of `plot` of the axes.

        Returns
        -------
        display : LossCurveDisplay
            With the numbers and what was drawn.

        Raises
        ------
        ValueError
            If the estimator has no loss curve.
        """
        check_matplotlib(cls, "from_estimator")
        check_is_fitted(estimator)
        if getattr(estimator, "loss_curve_", None) is None:
            raise ValueError(
                f"{type(estimator).__name__} has no loss_curve_. Pass a fitted "
                "AutoencoderTransformer, VAETransformer or GANSampler, or another "
                "estimator that keeps one; of a pipeline pass its step, pipeline[-1]."
            )
        critic = getattr(estimator, "critic_loss_curve_", None)
        display = cls(
            np.asarray(estimator.loss_curve_, dtype=float),
            validation_scores=align_scores(estimator),
            critic_loss_curve=None if critic is None else np.asarray(critic, float),
            **describe(estimator),
        )
        return display.plot(ax=ax, line_kwargs=line_kwargs)

    def plot(self, ax=None, *, line_kwargs=None) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw, divided if two panels are needed. None for a new figure.
        line_kwargs : dict, default=None
            For every call of `plot` of the axes.

        Returns
        -------
        display : LossCurveDisplay
            With what was drawn.
        """
        check_matplotlib(self, "plot")
        check_ax(ax)
        from matplotlib.cbook import normalize_kwargs
        from matplotlib.lines import Line2D

        self._open_panels(ax)
        scores = self.validation_scores
        first = "training" if self.critic_loss_curve is None else "generator"
        self.lines_ = {}
        own = normalize_kwargs(line_kwargs or {}, Line2D)
        self._draw_line(self.ax_, first, self.loss_curve, {"color": REAL, **own})
        if self.critic_loss_curve is not None:
            style = {"color": SYNTHETIC, "linestyle": "--", **own}
            self._draw_line(self.ax_, "critic", self.critic_loss_curve, style)
        if self.equilibrium is not None:
            line = self.ax_.axhline(self.equilibrium, color="0.55", lw=1, zorder=0)
            line.set_label("critic cannot tell apart")
        self.best_line_ = None
        if scores is not None:
            shown = scores if self.score_name else -np.asarray(scores)
            last = self.axes_.flat[-1]
            self._draw_line(last, "validation", shown, {"color": SYNTHETIC, **own})
            best = int(np.nanargmax(scores)) + 1
            self.best_line_ = last.axvline(best, color="0.55", lw=1, ls=":", zorder=0)
            self.best_line_.set_label(f"best epoch: {best}")
        for panel in self.axes_.flat:
            if len(panel.lines) > 1:
                panel.legend()
        return self

    def _open_panels(self, ax):
        """One panel, or two over the same epochs."""
        import matplotlib.pyplot as plt
        from matplotlib.ticker import MaxNLocator

        panels = [ax]
        if self.validation_scores is not None and self.score_name is not None:
            figure, grid = open_grid(ax, 2, 1, (6.4, 5.6), height_ratios=[3, 2])
            panels = [figure.add_subplot(grid[0])]
            panels.append(figure.add_subplot(grid[1], sharex=panels[0]))
            panels[1].set_ylabel(self.score_name)
            panels[0].tick_params(labelbottom=False)
        elif ax is None:
            panels = [plt.subplots(layout="constrained")[1]]
        panels[0].set_ylabel(self.loss_name)
        panels[-1].set_xlabel("epoch")
        panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        self.ax_, self.figure_ = panels[0], panels[0].figure
        self.axes_ = np.array(panels, dtype=object)[:, None]

    def _draw_line(self, ax, name, values, style):
        epochs = np.arange(1, len(values) + 1)
        if len(values) == 1:  # a line through one point would be invisible
            style = {"marker": "o", **style}
        [self.lines_[name]] = ax.plot(epochs, values, **{"label": name, **style})


def align_scores(estimator):
    """Scores with one entry per epoch, NaN where there was no validation."""
    scores = getattr(estimator, "validation_scores_", None)
    if scores is None or len(scores) == 0:
        return None
    n_epochs = len(estimator.loss_curve_)
    aligned = np.full(n_epochs, np.nan)
    where = np.arange(len(scores))
    if len(scores) < n_epochs and hasattr(estimator, "net_"):
        # This was a fit with early stopping, followed or preceded by one without.
        history = estimator.net_.history
        where = [i for i, epoch in enumerate(history) if "valid_loss" in epoch]
    aligned[where] = scores
    return aligned


def describe(estimator):
    """Labels of the axes; nothing is assumed of estimators from elsewhere."""
    if not hasattr(estimator, "codec_"):
        return {"score_name": "validation score"}
    if not hasattr(estimator, "critic_loss_curve_"):
        return {"loss_name": "loss (nats per row)"}
    # A sigmoid makes log-odds of a critic's scores; this loss is a distance instead.
    is_distance = estimator.loss == "wasserstein"
    unit = "units of the encoded table" if is_distance else "nats per row"
    return {
        "loss_name": f"loss ({unit})",
        "score_name": "minus energy distance\nof held-out rows",
        "equilibrium": np.log(2) if estimator.loss == "relativistic" else None,
    }
