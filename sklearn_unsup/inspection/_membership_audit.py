"""MembershipAuditDisplay."""

from typing import Self

import numpy as np

from ._panels import check_ax, check_matplotlib, open_grid

# Smallest rate of false positives that is shown.
SMALLEST_RATE = 1e-3


class MembershipAuditDisplay:
    """ROC curves of the attacks of an audit, on logarithmic axes.

    What matters is on the left: how many members an attack finds where it takes hardly
    any other row for one. Create it with :meth:`from_audit`. All parameters are stored
    as attributes.

    Parameters
    ----------
    curves : dict of str to pair of ndarray
        For each attack the rates of false positives and of true positives.
    areas : dict of str to float
        Area under each curve.

    Attributes
    ----------
    lines_ : dict of str to matplotlib Line2D
        The curves.
    chance_line_ : matplotlib Line2D
        Equal rates, which is what guessing gives.
    ax_ : matplotlib Axes
        With the curves.
    figure_ : matplotlib Figure
        With the axes.

    See Also
    --------
    sklearn_unsup.privacy.membership_audit : Runs the attacks.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_unsup.inspection import MembershipAuditDisplay
    >>> from sklearn_unsup.privacy import membership_audit
    >>> members, others, fresh = np.random.default_rng(0).normal(size=(3, 100, 2))
    >>> audit = membership_audit(members, members, others, fresh, attacks="nearest")
    >>> display = MembershipAuditDisplay.from_audit(audit)
    >>> display.ax_.get_ylabel()
    'members found'
    """

    def __init__(self, curves, areas) -> None:
        self.curves = curves
        self.areas = areas

    @classmethod
    def from_audit(cls, audit, *, ax=None) -> Self:
        """Plot what the attacks of an audit have found.

        Parameters
        ----------
        audit : MembershipAudit
            What :func:`~sklearn_unsup.privacy.membership_audit` has returned.
        ax : matplotlib Axes, default=None
            Where to draw. None for a new figure.

        Returns
        -------
        display : MembershipAuditDisplay
            With the numbers and what was drawn.
        """
        check_matplotlib(cls, "from_audit")
        curves = {
            name: rates(audit.member_scores[name], audit.non_member_scores[name])
            for name in audit.attacks.index
        }
        return cls(curves, audit.attacks["auc"].to_dict()).plot(ax)

    def plot(self, ax=None) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None for a new figure.

        Returns
        -------
        display : MembershipAuditDisplay
            With what was drawn.
        """
        check_matplotlib(self, "plot")
        check_ax(ax)
        self.figure_, grid = open_grid(ax, 1, 1, (4.5, 4.0))
        self.ax_ = self.figure_.add_subplot(grid[0])
        ends = [SMALLEST_RATE, 1.0]
        [self.chance_line_] = self.ax_.plot(ends, ends, ":", color="gray")
        self.lines_ = {}
        for name, (false, true) in self.curves.items():
            label = f"{name} (area {self.areas[name]:.2f})"
            [self.lines_[name]] = self.ax_.step(false, true, where="post", label=label)
        self.ax_.set(
            xscale="log",
            yscale="log",
            xlim=ends,
            ylim=(SMALLEST_RATE, 1.1),
            xlabel="others taken for members",
            ylabel="members found",
        )
        self.ax_.legend(loc="lower right")
        return self


def rates(members, others):
    """Shares of others and of members at or above each threshold, from the highest."""
    members, others = np.sort(members), np.sort(others)
    thresholds = np.unique(np.concatenate([members, others]))[::-1]
    return tuple(
        1 - scores.searchsorted(thresholds, side="left") / len(scores)
        for scores in (others, members)
    )
