"""Outlier detection in mixed tables, by scikit-learn's contract."""

from ._detector import GenerativeOutlierDetector

__all__ = ["GenerativeOutlierDetector"]
