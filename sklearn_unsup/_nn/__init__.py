"""Tensors: networks, distributions and losses of encoded tables.

This package may import torch, numpy, and from `_table` only the layout of an encoded
table. It knows no columns of a table, no training loop and no estimator.
"""
