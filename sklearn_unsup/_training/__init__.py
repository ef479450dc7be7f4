"""Training: skorch nets over encoded rows that lie on the device.

May use torch, skorch (what is private there through `_skorch`) and `_nn`. Knows the
layout of a table, but not its columns, and no estimators.
"""
