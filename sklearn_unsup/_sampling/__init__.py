"""Sampling: rows that look real from what a trained network proposes.

May use scikit-learn, numpy, torch and `_nn`. Knows no estimator: a sampler gets what it
needs as arguments and never writes to its caller.
"""
