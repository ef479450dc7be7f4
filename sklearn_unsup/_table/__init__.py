"""Tables: columns of a DataFrame or array to numbers and codes, and back exactly.

May use numpy, pandas, scipy and scikit-learn. Knows nothing of torch, of networks and
of estimators.
"""
