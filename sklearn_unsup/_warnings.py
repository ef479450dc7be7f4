"""Warnings that point at the user's line of code."""

import sys
import warnings

# Packages whose frames may be between the user's code and the place of a warning.
SKIPPED_PACKAGES = {
    "sklearn_unsup",
    "sklearn",
    "skorch",
    "imblearn",
    "contextlib",
    "joblib",
    "pickle",
    "torch",
}


def warn_user(message, category=None) -> None:
    """Warn with the location of the nearest frame outside of SKIPPED_PACKAGES."""
    frame, level = sys._getframe(1), 2
    while frame is not None and _is_skipped(frame):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def _is_skipped(frame) -> bool:
    return frame.f_globals.get("__name__", "").partition(".")[0] in SKIPPED_PACKAGES
