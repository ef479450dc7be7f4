"""More rows for a learner, if cross-validation says that they help it."""

from ._augmenter import GenerativeAugmenter

__all__ = ["GenerativeAugmenter"]
