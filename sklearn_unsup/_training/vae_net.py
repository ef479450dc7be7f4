"""The net that trains an autoencoder of rows beside an autoregressive model of them."""

import math

import torch

from .._nn.column_parts import weights_of_column
from .averaging import LARGE_STEP_SHARPNESS
from .gradients import parameters_of, set_gradients
from .net import TableNet
from .row_stop import RowStop

# Variants of a step: which parts learn from its batch.
BOTH, ONLY_ROWS, ONLY_CODES = "both", "rows", "codes"
# Share of the epochs of encoder and decoder in which columns may learn for small gains.
FREE_SHARE = 0.5
# What the history says of epochs after which the model of rows may have ended.
ROWS_HAVE_ENDED = "rows_have_ended"


class VAENet(TableNet):
    """Training of a `VariationalAutoencoder`, whose two parts may take different steps.

    Each part learns from every batch or from every n-th one (`code_interval`,
    `row_interval`): they share no weights, and encoder and decoder need fewer steps
    where a table is large. If there are `evaluation_rows_` each column of the
    autoregressive model stops early by them, and encoder and decoder go on. In the
    history "train_loss" is the sum of both losses; in a batch that a part does not
    learn from, its latest loss counts.

    Parameters
    ----------
    module, criterion : class
    code_interval, row_interval : int
        In the first epochs, fewer than half of all, encoder and decoder learn from
        every `code_interval`-th batch of an epoch, in all epochs the autoregressive
        model from every `row_interval`-th one, beginning with the first; at most one
        of them is above 1. In a stream, of which nobody knows how long it is, both
        learn from all.

    Attributes
    ----------
    evaluation_rows_ : tuple of EncodedDataset or None
        Rows that decide during a run how long the autoregressive model learns: held-out
        ones, and those that it learns from. The net must then average its weights.
    row_epochs_ : list of int or None
        For each column of the autoregressive model the number of epochs of a run after
        which its networks stop, with their averaged weights. None for no such numbers.
    code_epochs_ : int or None
        The same of encoder and decoder.
    """

    evaluation_rows_, row_stop_, row_epochs_, code_epochs_ = None, None, None, None
    _has_done_epochs = _has_done_codes = False

    def __init__(self, module, criterion, *, code_interval=1, row_interval=1, **kwargs):
        super().__init__(module, criterion, **kwargs)
        self.code_interval = code_interval
        self.row_interval = row_interval

    def initialize(self):
        super().initialize()
        self._forget_losses()
        return self

    def __setstate__(self, state):
        super().__setstate__(state)
        self._forget_losses()

    def _forget_losses(self):
        """Begin without a latest loss of either part."""
        self.last_loss_ = torch.zeros((), device=self.device)
        self.last_row_loss_ = torch.zeros((), device=self.device)

    # ------------------------------------------------------------------ held-out rows

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        self.row_stop_, self._kept = None, {}
        # A callback may have loaded a run one part of which has stopped.
        n_begun = self._n_epochs_begun
        self._has_done_epochs = n_begun >= max(self.row_epochs_ or [math.inf])
        self._has_done_codes = n_begun >= (self.code_epochs_ or math.inf)
        if self.evaluation_rows_ is not None and n_begun:
            last = self.history[-n_begun:]
            self._has_done_epochs = any(row.get(ROWS_HAVE_ENDED) for row in last)
            if self.has_ended:
                epochs = 0
        return super().fit_loop(X, y, epochs, **fit_params)

    def on_epoch_begin(self, net, *args, **kwargs):
        super().on_epoch_begin(net, *args, **kwargs)
        if self.evaluation_rows_ is not None:
            self.average_.sharpness = LARGE_STEP_SHARPNESS

    def on_epoch_end(self, net, *args, **kwargs):
        super().on_epoch_end(net, *args, **kwargs)
        if self._n_epochs_begun in (self.row_epochs_ or ()):
            self._end_columns()
        if self._n_epochs_begun == self.code_epochs_:
            self._use_average(of_rows=False)
            self._has_done_codes = True
        if self.evaluation_rows_ is None or self._rows_are_done:
            return
        if self.row_stop_ is None:
            model = self.module_.autoregressive
            per_epoch = self.step_ - self.epoch_start_
            n_epochs = self.code_epochs_ or self.max_epochs
            free_steps = round(FREE_SHARE * n_epochs * per_epoch)
            self.row_stop_ = RowStop(
                model, self.average_, *self.evaluation_rows_, free_steps
            )
        n_steps = self.step_ - self.first_step_
        is_last = self._n_epochs_begun >= self.max_epochs
        if is_last or self.row_stop_.is_due(n_steps):
            scores = self.row_stop_.evaluate(
                n_steps, self._broadcast_from_first, is_last
            )
            if self.row_stop_.is_done:
                self.history.record(ROWS_HAVE_ENDED, True)
            self.history.record("held_out_row_loss", -scores[0])

    def on_train_end(self, net, *args, **kwargs):
        if self.row_stop_ is not None and not self.row_stop_.is_done:
            # Of an interrupted run, in which processes may be anywhere.
            self.row_stop_.end()
        super().on_train_end(net, *args, **kwargs)

    @property
    def _n_epochs_begun(self):
        """Number of epochs of this run: skorch records each one when it begins."""
        return len(self.history) - self.epochs_before_

    @torch.no_grad()
    def _end_columns(self):
        """Keep the averaged weights of the columns that end with this epoch.

        No other column depends on them. Their latest weights may go on learning, and
        the kept ones take their place when the last column ends.
        """
        model = self.module_.autoregressive
        latest = [parameter.clone() for parameter in model.parameters()]
        self._use_average(of_rows=True)
        for column, n_epochs in enumerate(self.row_epochs_):
            if n_epochs == self._n_epochs_begun:
                own = [weight.clone() for weight in weights_of_column(model, column)]
                self._kept[column] = own
        if self._n_epochs_begun < max(self.row_epochs_):
            for parameter, weight in zip(model.parameters(), latest, strict=True):
                parameter.copy_(weight)
            return
        for column, kept in self._kept.items():
            for weight, own in zip(weights_of_column(model, column), kept, strict=True):
                weight.copy_(own)
        for parameter, mean in self._averages(of_rows=True):
            mean.copy_(parameter)
        self._has_done_epochs, self._kept = True, {}

    def _averages(self, of_rows):
        """Pairs of a parameter of one of the two parts and its average."""
        rows = {id(p) for p in self.module_.autoregressive.parameters()}
        pairs = zip(self.average_.parameters, self.average_.average, strict=True)
        return [pair for pair in pairs if (id(pair[0]) in rows) == of_rows]

    @torch.no_grad()
    def _use_average(self, of_rows):
        for parameter, mean in self._averages(of_rows):
            parameter.copy_(mean)

    def _broadcast_from_first(self, numbers):
        group = self.process_group_
        if group is None:
            return numbers
        own = torch.tensor(numbers, device=self.device)
        if group.rank > 0:
            own.zero_()
        return group.all_reduce_sum(own).tolist()

    # ------------------------------------------------------------------ steps

    def train_step(self, batch, **fit_params):
        if not self._rows_are_due and not self._codes_are_due:
            self.step_ += 1
            return {"loss": self.last_loss_ + self.last_row_loss_, "y_pred": None}
        return super().train_step(batch, **fit_params)

    @property
    def _rows_are_done(self):
        is_stopped = self.row_stop_ is not None and self.row_stop_.is_done
        return is_stopped or self._has_done_epochs

    @property
    def has_ended(self):
        return self._has_done_codes and self._rows_are_done

    @property
    def _rows_are_due(self):
        return not self._rows_are_done and self._is_due(self.row_interval)

    @property
    def _codes_are_due(self):
        if self._has_done_codes:
            return False
        n_epochs = min(self.max_epochs, self.code_epochs_ or math.inf)
        is_late = 2 * self._n_epochs_begun >= n_epochs
        return is_late or self._is_due(self.code_interval)

    def _is_due(self, interval):
        number = self.step_ - self.epoch_start_
        return self.is_stream or number % interval == 0

    @property
    def _may_skip_parts(self):
        """Whether a part may not learn from a later batch."""
        may_end = self.evaluation_rows_ is not None or self.row_epochs_ is not None
        return may_end or max(self.code_interval, self.row_interval) > 1

    def step_variant(self):
        if not self._rows_are_due:
            return ONLY_CODES, {}
        return BOTH if self._codes_are_due else ONLY_ROWS, {}

    def train_on_batch(self, batch, variant):
        if variant == ONLY_CODES:
            return self._train_codes(batch)
        if variant == ONLY_ROWS:
            return self._train_autoregressive(batch)
        step = super().train_on_batch(batch, None)
        row_log_prob = step["y_pred"][-1]
        if row_log_prob is not None and self._may_skip_parts:
            with torch.no_grad():
                torch.mean(row_log_prob, 0, out=self.last_row_loss_).neg_()
                torch.sub(step["loss"], self.last_row_loss_, out=self.last_loss_)
        return step

    def _train_codes(self, batch):
        self.optimizer_.zero_grad()
        inputs, target = batch
        with self._autocast():
            output = self.module_(*inputs, generator=self.generator_, with_rows=False)
        loss = self.criterion_(output, target)
        set_gradients(loss, parameters_of(self.optimizer_))
        self._step_optimizer(self.module_, self.optimizer_, batch)
        self.last_loss_.copy_(loss.detach())
        return {"loss": loss + self.last_row_loss_, "y_pred": output}

    def _train_autoregressive(self, batch):
        self.optimizer_.zero_grad()
        model = self.module_.autoregressive
        with self._autocast():
            loss = -model.log_prob(*batch[0], self.generator_).mean()
        set_gradients(loss, model.parameters())
        self._step_optimizer(self.module_, self.optimizer_, batch)
        with torch.no_grad():
            self.last_row_loss_.copy_(loss)
        return {"loss": self.last_loss_ + self.last_row_loss_, "y_pred": None}

    def _parameters_by_part(self, module):
        """Each part by itself: what is steep for one does not slow the other down."""
        rows, codes = [], []
        for name, parameter in module.named_parameters():
            is_of_rows = name.startswith("autoregressive.")
            (rows if is_of_rows else codes).append(parameter)
        return [rows, codes]
