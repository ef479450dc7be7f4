"""Warnings that point at the line of the user, however deep they arise."""

import sys
import warnings

# Frames of these packages lie between the user's line and the place of the warning.
BETWEEN = {"sklearn_unsup", "sklearn", "skorch", "contextlib", "joblib", "pickle", "torch"}


def warn_user(message, category=None) -> None:
    """Warn as if the line outside this package that led here had done so."""
    frame, level = sys._getframe(1), 2
    while frame is not None and _is_between(frame):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def _is_between(frame) -> bool:
    return frame.f_globals.get("__name__", "").partition(".")[0] in BETWEEN
