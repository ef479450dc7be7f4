"""Tensors: networks, distributions and losses of encoded tables.

May use torch, numpy, and of the package only the layout of an encoded table. Knows
nothing of columns, of training loops and of estimators.
"""
