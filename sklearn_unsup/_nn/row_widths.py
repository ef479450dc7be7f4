"""How wide the networks of a model of rows can be."""

from .._table.layout import TableLayout
from .autoregressive import MAX_ONE_HOT
from .number_features import N_PIECES

# Numbers of hidden units per column of the autoregressive model. The largest one that
# is affordable is used: up to `WIDE_WIDTH` where held-out rows of many stop the
# training in time, up to `MEDIUM_WIDTH` where those of fewer do, else up to
# `NARROW_WIDTH`, and up to `ANY_ORDER_WIDTH` in models of any order.
AUTOREGRESSIVE_WIDTHS = 128, 96, 64, 48, 32, 24, 16
WIDE_WIDTH, MEDIUM_WIDTH, NARROW_WIDTH, ANY_ORDER_WIDTH = 128, 96, 64, 48
# Maximum number of weights of the autoregressive model's largest layer.
MAX_AUTOREGRESSIVE_WEIGHTS = 2_000_000
# The same of the narrowest networks: a wide table takes long, but nothing else draws
# its rows, or fills in its cells, as well. Tables that would need more have no such
# model, and their samples come from latent vectors.
MAX_NARROWEST_WEIGHTS = 8_000_000


def affordable_width(layout: TableLayout, widest: int = NARROW_WIDTH) -> int:
    """Number of hidden units per column of the autoregressive model; 0 for no model."""
    narrowest = AUTOREGRESSIVE_WIDTHS[-1]
    for width in AUTOREGRESSIVE_WIDTHS:
        is_affordable = n_first_weights(layout, width) <= MAX_AUTOREGRESSIVE_WEIGHTS
        if width <= widest and is_affordable:
            return width
    is_affordable = n_first_weights(layout, narrowest) <= MAX_NARROWEST_WEIGHTS
    return narrowest if is_affordable else 0


def n_first_weights(layout: TableLayout, width: int) -> int:
    """Number of weights of the autoregressive model's largest layer, roughly.

    Indicators beside embeddings, of which a table has a limited number, do not count.
    """
    n_columns = layout.n_numeric + layout.n_categorical
    n_levels = sum(min(size, MAX_ONE_HOT) for size in layout.cardinalities)
    n_features = (N_PIECES + 2) * layout.n_numeric + n_levels
    return n_features * n_columns * width
