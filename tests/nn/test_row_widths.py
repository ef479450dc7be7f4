"""How wide the networks of a model of rows can be."""

import pytest

from sklearn_unsup._nn.row_widths import (
    MAX_AUTOREGRESSIVE_WEIGHTS,
    MAX_NARROWEST_WEIGHTS,
    affordable_width,
    n_first_weights,
)
from sklearn_unsup._table.layout import TableLayout


@pytest.mark.parametrize(
    ("layout", "width"),
    [
        (TableLayout(10), 64),
        (TableLayout(58), 32),
        (TableLayout(166), 16),
        (TableLayout(167), 0),
        (TableLayout(10, (10,) * 100), 16),
    ],
)
def test_wide_tables_have_narrow_networks_or_none(layout, width):
    assert affordable_width(layout) == width
    if width:
        largest = MAX_AUTOREGRESSIVE_WEIGHTS if width > 16 else MAX_NARROWEST_WEIGHTS
        assert n_first_weights(layout, width) <= largest


def test_no_network_is_wider_than_asked_for():
    assert affordable_width(TableLayout(10), widest=128) == 128
    assert affordable_width(TableLayout(10), widest=48) == 48
