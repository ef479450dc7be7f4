"""Fits in which held-out rows decide how long the model of rows learns."""

import torch

from ._nn.autoregressive import NARROW_WIDTH, WIDE_WIDTH
from ._transfer import width_of_rows

# Minimum number of rows of a table of which some are held out: smaller tables need all
# of them, and have steps and regularisation by their number instead.
MIN_ROWS = 10_000
# Fraction of the rows that is held out, and the maximum number of them.
HELD_OUT_FRACTION, MAX_HELD_OUT = 0.05, 2_000


class RowFitting:
    """Mixin of an estimator whose net trains an autoregressive model of rows.

    A large table has a wide model, which can be as sharp as the table is, and a part
    of its rows is held out to stop it before it memorises the others.
    """

    # Whether rows come in chunks, of which none is held out.
    _is_stream = False

    def _begin_fit(self, X, process_group, is_stream=False):
        super()._begin_fit(X, process_group, is_stream)
        self._is_stream = is_stream

    def _holds_out_rows(self, n_rows):
        """Whether held-out rows decide how long the model of rows learns."""
        chosen = self.max_iter != "auto" or self.early_stopping
        is_whole = not (chosen or self._is_stream or self._samples_from_latent)
        return is_whole and self.sampling != "any_order" and n_rows >= MIN_ROWS

    def _autoregressive_width(self, n_rows):
        """Hidden units per column of the model of rows; 0 for no such model."""
        if self._samples_from_latent:
            return 0
        widest = WIDE_WIDTH if self._holds_out_rows(n_rows) else NARROW_WIDTH
        return width_of_rows(self._source, self.codec_.layout_, widest)

    def _train(self, train, valid, process_group):
        net = self.net_
        if self._holds_out_rows(len(train)):
            n = len(train)
            n_held_out = min(MAX_HELD_OUT, round(HELD_OUT_FRACTION * n))
            generator = torch.Generator().manual_seed(net.seed)
            order = torch.randperm(n, generator=generator)
            train, held_out = train.split(order, n - n_held_out)
            net.judged_rows_ = held_out, train
        try:
            super()._train(train, valid, process_group)
        finally:
            # A fitted model holds no rows.
            net.judged_rows_ = net.row_stop_ = None
