"""Sampling: realistic rows from the proposals of a trained network.

This package may import scikit-learn, numpy, torch and `_nn`. It knows no estimator: a
sampler gets what it needs as arguments and never changes its caller.
"""
