"""The one place of the version: the build and every saved model read it."""

__version__ = "0.1.0"
