"""Training: skorch nets for encoded rows that are kept on the device.

This package may import torch, `_nn`, and skorch, whose private names it takes from
`_skorch`. It knows the layout of an encoded table, but neither its columns nor any
estimator.
"""
