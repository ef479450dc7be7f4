"""RowFitting: steps, width and early stopping of an autoregressive model of rows."""

import math
from contextlib import ExitStack, contextmanager
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import torch

from ._encoding import upload
from ._nn.autoregressive import REGRESSIONS
from ._nn.column_parts import has_regression
from ._nn.row_widths import (
    ANY_ORDER_WIDTH,
    MEDIUM_WIDTH,
    NARROW_WIDTH,
    WIDE_WIDTH,
)
from ._scoring import likelihood_terms
from ._table.codec import TableCodec
from ._training.row_trial import RowTrial, best_epochs, is_gain
from ._transfer import column_keys, width_of_rows

# Numbers of rows between which trials find the number of epochs of the model of rows,
# and the fraction of the rows that each is judged by. Up to as many rows all numbers
# may begin with regressions.
MIN_TRIAL_ROWS, MAX_TRIAL_ROWS, TRIAL_FRACTION = 30, 6_000, 0.2
# Fraction of the epochs that fewer than MIN_TRIAL_ROWS rows, too few for a trial, are
# learnt for: about what trials find for the smallest tables.
UNTRIED_FRACTION = 0.1
# Up to this number of rows levels begin with regressions as well as numbers do; more
# rows tell the networks as much.
MAX_LEVEL_ROWS = 1_000
NUMBERS = REGRESSIONS[0]
# Those of many rows: of numbers that the columns before them nearly tell.
CLOSE_NUMBERS = "close numbers"
# Number of rows from which on some of them are held out, to see when a wide model
# begins to memorise the others. Of fewer rows, trials find how long to learn from all.
MIN_HOLD_OUT_ROWS = MAX_TRIAL_ROWS + 1
# Number of rows from which on the model is as wide as any.
MANY_ROWS = 20_000
# Number of rows that all trials together are judged by, if so few trials can do that.
TRIAL_ROWS, MAX_TRIALS = 60, 2
# Maximum number of epochs of a trial of up to MAX_LONG_TRIAL_ROWS, relative to the
# epochs of encoder and decoder. Some columns need many steps and others memorise rows:
# held-out ones say which.
TRIAL_SPAN, MAX_LONG_TRIAL_ROWS = 2, 3_000
# Factor of the learning rate of a model of rows that has trials.
TRIAL_LR_SCALE = 3.0
# Number of standard errors by which a column must be likelier without its regression.
N_UNRELATED_ERRORS = 0.5
# Number of standard errors by which rows must be likelier with embeddings that are
# learnt than with scores, of which columns keep weak dependences.
N_LEARNED_ERRORS = 2.0
# Fraction of the rows that is held out, and the maximum number of them.
HELD_OUT_FRACTION, MAX_HELD_OUT = 0.05, 2_000
# Factors of the learning rate of a medium and of a wide model, relative to a narrow
# one, and of the number of steps of encoder and decoder beside them.
MEDIUM_LR_SCALE, WIDE_LR_SCALE = 3.0, 2.0
MEDIUM_STEPS_FACTOR, WIDE_STEPS_FACTOR = 0.55, 0.49
# Maximum number of epochs of a model of rows that held-out rows stop, column by column,
# relative to those of encoder and decoder.
ROW_SPAN = 3
# Minimum number of gradient steps of a model of any order, which shows its networks
# other parts of a row in each step; their ratio to the square root of the number of
# rows; number of rows from which on this ratio grows with them, and the maximum factor.
MIN_ANY_ORDER_STEPS, ANY_ORDER_RATIO = 500, 18.0
ANY_ORDER_ROWS, MAX_ANY_ORDER_GROWTH = 8_000, 1.8
# Factor of the learning rate of such a model if the number of steps is our choice.
ANY_ORDER_LR_SCALE = 3.0
# Minimum number of gradient steps of encoder and decoder. Where they take fewer than
# CODE_STEPS, their learning rate is higher in inverse proportion.
MIN_STEPS, CODE_STEPS = 300, 1_000
# Number of rows up to which the autoregressive model learns from every second batch
# only, encoder and decoder from all, and by how much the sum of its learning rates
# grows then, because fewer and longer steps get less far.
FEW_ROWS, FEW_ROWS_INTERVAL, INTERVAL_LR_SCALE = 800, 2, 1.2
# Number of steps of the autoregressive model from which on encoder and decoder learn
# from every second batch only in the first epochs, fewer than half of all, and the
# factor of their learning rate in such a fit, with which they come as far
# (docs/notes/variational.md).
MIN_ALTERNATING_STEPS, ALTERNATING_LR_SCALE = 2_000, 1.5
# Maximum batch size on a CPU if the autoregressive model is trained. Its weights are
# averaged over steps, for which many noisy steps are better than few precise ones. On a
# GPU a step takes about as long for a larger batch, so that from MIN_LARGE_BATCH_ROWS
# rows on fewer and larger steps pay off.
MAX_BATCH, MAX_GPU_BATCH, MIN_LARGE_BATCH_ROWS = 128, 1_024, 12_000
# Number of rows below which the weight decay of the autoregressive model grows as rows
# become fewer, and the maximum factor by which it grows.
DECAY_ROWS, MAX_DECAY_FACTOR = 10_000, 90.0


# Number of standard errors by which a column's nats must be higher without a start.
N_AFRESH_ERRORS = 1.0


def trial_span(n_rows: int) -> int:
    """Maximum number of epochs of a trial, relative to those of encoder and decoder."""
    return TRIAL_SPAN if n_rows <= MAX_LONG_TRIAL_ROWS else 1


def module_regressions(kinds: tuple[str, ...]) -> tuple[str, ...]:
    """Kinds of regressions as a module knows them: it may have close numbers alone."""
    return tuple(NUMBERS if kind == CLOSE_NUMBERS else kind for kind in kinds)


class FoundStart(NamedTuple):
    """What trials say of a start of the model of rows.

    Parameters
    ----------
    terms : ndarray of shape (n_samples, n_features)
        Nats of the cells of held-out rows.
    n_epochs : int
        Number of epochs after which they were likeliest.
    regressions : tuple of str
        Kinds of columns that were relative to regressions.
    codec : TableCodec
        One of those that rows were encoded by.
    afresh : frozenset
        Keys of columns that started as without a source.
    """

    terms: np.ndarray
    n_epochs: int
    regressions: tuple[str, ...]
    codec: TableCodec
    afresh: frozenset


def columns_to_start_afresh(started: FoundStart, alone: FoundStart) -> frozenset:
    """Keys of the columns that held-out rows are clearly likelier in without a start.

    There are none where columns are in another order, and given other ones.
    """
    columns = [column_keys(found.codec) for found in (started, alone)]
    orders = [(part.categories, part.numbers) for part in columns]
    keys = started.codec.match_keys()
    losses = alone.terms - started.terms
    if orders[0] != orders[1] or losses.shape[1] != len(keys):
        return frozenset()
    errors = losses.std(0) / math.sqrt(len(losses))
    worse = [keys[i] for i in np.flatnonzero(losses.mean(0) > N_AFRESH_ERRORS * errors)]
    return frozenset([*worse, *(("missing", key) for key in worse)])


class RowFitting:
    """Mixin of an estimator whose net trains an autoregressive model of rows.

    A large table has a wide model, which can be as sharp as the table is, and a part
    of its rows is held out to stop it before it memorises the others.
    """

    # Whether rows come in chunks, from which none are held out.
    _is_stream = False
    # Whether no other process has a part of the rows.
    _is_alone = True
    # Whether the net was last trained on a chunk, after a fit or not.
    _trains_on_chunks = False
    # Whether some rows are held out at present. The others may be fewer than
    # MIN_HOLD_OUT_ROWS, and the fit is that of a large table all the same.
    _has_held_out = False
    # Kinds of columns that are described relative to regressions in a trial of them;
    # None for those that the number of rows lets expect.
    _tried_regressions = None
    # Positions of columns, in the order of the model, that do without.
    _unrelated = frozenset()
    # Whether networks learn embeddings of levels, where a trial chooses between these
    # and scores.
    _takes_embeddings = False
    # Of a fit that was to start from another model: what trials said of fits with it
    # and without, by whether it is there, and keys of columns that start without.
    _found, _afresh = None, frozenset()
    # Number of rows of the table of which a trial has a part.
    _n_judged = None

    def _begin_fit(self, X, process_group, is_stream=False):
        super()._begin_fit(X, process_group, is_stream)
        self._is_stream = self._trains_on_chunks = is_stream
        self._is_alone = process_group is None

    def _holds_out_rows(self, n_rows):
        """Whether held-out rows decide how long the model of rows learns."""
        if self.max_iter != "auto" or self.early_stopping or self._is_stream:
            return False
        if self._samples_from_latent or self.sampling == "any_order":
            return False
        return self._has_held_out or n_rows >= MIN_HOLD_OUT_ROWS

    def _autoregressive_width(self, n_rows):
        """Hidden units per column of the model of rows; 0 for no such model."""
        if self._samples_from_latent:
            return 0
        widest = NARROW_WIDTH
        if self.sampling == "any_order":
            widest = ANY_ORDER_WIDTH
        if self._holds_out_rows(n_rows):
            widest = WIDE_WIDTH if n_rows >= MANY_ROWS else MEDIUM_WIDTH
        return width_of_rows(self._start, self.codec_.layout_, widest)

    def _regressions(self, n_rows):
        """Kinds of columns that the model of rows describes relative to regressions.

        A model that starts from another one has those of that one, too.
        """
        if self._found is not None:
            return self._found[self._start is not None].regressions
        if not self._has_fixed_order:
            return ()
        known = ()
        if self._start is not None:
            old = self._start.net_.module_.autoregressive
            known = () if old is None else old.regressions
            known = tuple(CLOSE_NUMBERS if k == NUMBERS else k for k in known)
        if self._tried_regressions is not None:
            return (*self._tried_regressions, *known)
        if self._is_stream:
            return known
        if n_rows > MAX_TRIAL_ROWS:
            return (CLOSE_NUMBERS, *known)
        is_few = n_rows <= MAX_LEVEL_ROWS
        return REGRESSIONS if is_few else (NUMBERS, *known)

    @property
    def _has_fixed_order(self):
        return not self._samples_from_latent and self.sampling != "any_order"

    def _train(self, train, valid, process_group):
        net, row_interval = self.net_, self._row_interval(len(train))
        code_interval = self._code_interval(len(train))
        if self._holds_out_rows(len(train)):
            n = len(train)
            n_held_out = min(MAX_HELD_OUT, round(HELD_OUT_FRACTION * n))
            generator = torch.Generator().manual_seed(net.seed)
            order = torch.randperm(n, generator=generator)
            train, held_out = train.split(order, n - n_held_out)
            net.evaluation_rows_ = held_out, train
            self._has_held_out = True
            n_processes = 1 if process_group is None else process_group.n_processes
            net.code_epochs_ = self._n_epochs(len(train), n_processes)
        elif self._tries_lengths(len(train)):
            self._try_rows(train)
            net = self.net_  # Perhaps another one.
        net.row_interval, net.code_interval = row_interval, code_interval
        try:
            super()._train(train, valid, process_group)
        finally:
            # A fitted model holds no rows.
            net.evaluation_rows_ = net.row_stop_ = None
            net.row_epochs_ = net.code_epochs_ = None
            self._has_held_out = False

    def _n_fit_epochs(self, n_rows, n_processes):
        n_epochs = super()._n_fit_epochs(n_rows, n_processes)
        if self._holds_out_rows(n_rows):
            return ROW_SPAN * n_epochs
        return max([n_epochs, *(self.net_.row_epochs_ or ())])

    def _tries_lengths(self, n_rows):
        """Whether a trial decides for how many epochs the model of rows learns."""
        if self.max_iter != "auto" or self.early_stopping or self._is_stream:
            return False
        is_few = n_rows <= MAX_TRIAL_ROWS and not self._holds_out_rows(n_rows)
        return is_few and self._is_alone and self._has_fixed_order

    def _try_rows(self, dataset):
        """Find out how each column begins, and for how many epochs it learns.

        Where a column depends on a hidden group, or on several others together, more
        than on each one, a regression is a worse start than none. And where it depends
        on a level of many together with another column, scores of levels tell less than
        embeddings that are learnt.
        """
        n, n_columns = len(dataset), self.net_.module_.autoregressive.n_columns
        if self._found is not None:
            n_epochs = self._found[self._start is not None].n_epochs
            self._set_epochs(n, [n_epochs] * n_columns)
            return
        if n < MIN_TRIAL_ROWS:
            epochs = math.ceil(UNTRIED_FRACTION * self._n_epochs(n))
            self._set_epochs(n, [epochs] * n_columns)
            return
        kinds, unrelated = self._regressions(n), frozenset()
        with self._building(_tried_regressions=kinds):
            n_epochs, terms = self._best_epochs(dataset)
        rows = self.net_.module_.autoregressive
        related = [has_regression(rows, column) for column in range(n_columns)]
        if any(related) and self._start is None:
            related = torch.tensor(related)
            with self._building(_tried_regressions=()):
                to_beat = torch.where(related, terms, math.inf)
                other = self._best_epochs(dataset, to_beat)
            is_better = related & is_gain(other.terms, terms, N_UNRELATED_ERRORS)
            n_epochs = torch.where(is_better, other.n_epochs, n_epochs)
            terms = torch.where(is_better, other.terms, terms)
            unrelated = frozenset(is_better.nonzero()[:, 0].tolist())
        is_learning = False
        if rows.embeddings and not rows.learns_embeddings:
            with self._building(_tried_regressions=kinds, _takes_embeddings=True):
                learned = self._best_epochs(dataset)
            scored = terms.sum(1, keepdim=True)
            is_learning = bool(is_gain(learned.terms, scored, N_LEARNED_ERRORS))
        if is_learning:
            n_epochs, unrelated = learned.n_epochs, frozenset()
        if unrelated or is_learning:
            with self._building(_unrelated=unrelated, _takes_embeddings=is_learning):
                self.net_ = self._build_net(dataset, self._trial_rngs()[-1])
        self._set_epochs(n, n_epochs.expand(n_columns).tolist())

    def _set_epochs(self, n_rows, of_columns):
        """Set for how many epochs each part learns, and so how many there are."""
        self.net_.row_epochs_, n_epochs = of_columns, self._n_epochs(n_rows)
        self.net_.code_epochs_ = n_epochs if max(of_columns) > n_epochs else None

    @contextmanager
    def _building(self, **choices):
        """Nets are built in the block by other choices than those of the class."""
        vars(self).update(choices)
        try:
            yield
        finally:
            for name in choices:
                delattr(self, name)

    def _best_epochs(self, dataset, to_beat=None):
        """After how many epochs held-out rows were likeliest, see `best_epochs`."""
        n, (rng_order, *rngs) = len(dataset), self._trial_rngs()
        order, n_held_out = rng_order.permutation(n), round(TRIAL_FRACTION * n)
        n_trials = int(np.clip(TRIAL_ROWS / n_held_out, 1, MAX_TRIALS))
        n_epochs = self._n_epochs(n - n_held_out)
        trials = []
        for place, rng in enumerate(rngs[:n_trials]):
            others = torch.from_numpy(np.roll(order, place * n_held_out))
            train, held_out = dataset.split(others, n - n_held_out)
            net = self._build_net(train, rng)
            net.row_interval = self._row_interval(n)
            trials.append(RowTrial(net, train, held_out, n_epochs))
        # Columns that learn embeddings together end together.
        are_joint = trials[0].model.learns_embeddings
        return best_epochs(trials, trial_span(n) * n_epochs, are_joint, to_beat)

    def _scores_of_starts(self, folds, new_judge):
        n = sum(map(len, folds[0]))
        if not self._tries_lengths(n):
            return super()._scores_of_starts(folds, new_judge)
        judges = [new_judge() for _ in folds]
        started = self._try_tables(n, folds, judges, self._start)
        alone = self._try_tables(n, folds, judges, None)
        afresh = columns_to_start_afresh(started, alone)
        if afresh:
            mixed = self._try_tables(n, folds, judges, self._start, afresh)
            started = max(started, mixed, key=lambda found: found.terms.mean())
        self._found = {True: started, False: alone}
        return started.terms.sum(1), alone.terms.sum(1)

    def _try_tables(self, n_rows, folds, judges, source, afresh=frozenset()):
        """Find out how a fit to so many rows begins, by trials on parts of their table.

        What is held out is unknown to the codecs, too.
        """

        def best():
            trials = [
                judge._table_trial(n_rows, *fold, source, afresh)
                for judge, fold in zip(judges, folds, strict=True)
            ]
            n_train = len(folds[0][0])
            max_epochs = trial_span(n_rows) * judges[0]._n_epochs(n_train)
            n_epochs, terms = best_epochs(trials, max_epochs, are_joint=True)
            models = [trial.kept_model() for trial in trials]
            kinds = judges[0]._regressions(n_train)
            return float(terms.mean()), int(n_epochs), kinds, models

        found = best()
        if source is None and found[-1][0].regressions:
            with ExitStack() as stack:
                for judge in judges:
                    stack.enter_context(judge._building(_tried_regressions=()))
                found = max(found, best(), key=itemgetter(0))
        _, n_epochs, kinds, models = found
        # In the units of the table, which count what is beyond a codec's range.
        terms = [
            likelihood_terms(model, judge.codec_, held_out, self.device_)
            for model, judge, (_, held_out) in zip(models, judges, folds, strict=True)
        ]
        return FoundStart(
            np.concatenate(terms),
            n_epochs,
            kinds,
            judges[0].codec_,
            afresh,
        )

    def _table_trial(self, n_rows, train, held_out, source, afresh) -> RowTrial:
        """Trial of a part of a table of so many rows."""
        rng = self._init_randomness(False)
        self._start, self._afresh, self._n_judged = source, afresh, n_rows
        self._begin_fit(train, None)
        if source is not None:
            self.codec_.arrange_like(source.codec_)
        dataset = self._encode_for_training(train, rng)
        net = self._build_net(dataset, rng)
        net.row_interval = self._row_interval(n_rows)
        held_out = upload(self.codec_, held_out, self.device_)
        return RowTrial(net, dataset, held_out, self._n_epochs(len(dataset)))

    def _trial_rngs(self):
        """Generators of the order of the rows, of each trial, and of another net."""
        return np.random.default_rng(self.net_.seed).spawn(MAX_TRIALS + 2)

    # ------------------------------------------------------------------ steps

    def _default_steps(self, n_rows):
        if self._samples_from_latent:
            return 3_000
        if self.sampling == "any_order":
            return self._autoregressive_steps(n_rows)
        return max(MIN_STEPS, self._autoregressive_steps(n_rows))

    def _autoregressive_steps(self, n_rows):
        """Number of steps before the autoregressive model memorises training rows.

        A step with a batch four times as large as `MAX_BATCH` counts as two steps.
        """
        steps = 10.5 * math.sqrt(n_rows) * np.clip(n_rows / 5_000, 0.5, 2.5)
        if self._holds_out_rows(n_rows):
            is_wide = n_rows >= MANY_ROWS
            steps *= WIDE_STEPS_FACTOR if is_wide else MEDIUM_STEPS_FACTOR
        if self.sampling == "any_order":
            growth = np.clip(n_rows / ANY_ORDER_ROWS, 1.0, MAX_ANY_ORDER_GROWTH)
            steps = ANY_ORDER_RATIO * math.sqrt(n_rows) * growth
            steps = max(MIN_ANY_ORDER_STEPS, steps)
        return round(steps * min(1.0, math.sqrt(MAX_BATCH / self._batch_size(n_rows))))

    def _default_batch_size(self, n_rows):
        most = super()._default_batch_size(n_rows)
        if self.image_shape is not None:
            return min(most, MAX_BATCH)
        if self._samples_from_latent:
            return most
        if torch.device(self.device_).type != "cuda":
            return min(most, MAX_BATCH)
        return MAX_GPU_BATCH if n_rows >= MIN_LARGE_BATCH_ROWS else most

    def _code_interval(self, n_rows):
        """Encoder and decoder learn from every n-th batch: 2 for a large table, else 1.

        They need fewer steps than the autoregressive model of such a table, and in the
        second half of the epochs, which their averaged weights are of, learn from every
        batch again.
        """
        chosen = self.max_iter != "auto"
        if chosen or self._trains_on_chunks or self._samples_from_latent:
            return 1
        return 1 + (self._default_steps(n_rows) >= MIN_ALTERNATING_STEPS)

    def _update_stream_net(self, n_rows):
        self._trains_on_chunks = True  # From which both models learn every batch.
        super()._update_stream_net(n_rows)
        rows = self.net_.module_.autoregressive
        if rows is not None:  # Later rows may have other levels.
            rows.learn_embeddings(True)

    def _row_interval(self, n_rows):
        """The autoregressive model learns from every n-th batch: 1 of many rows."""
        chosen = self.max_iter != "auto" or self.sampling == "any_order"
        if chosen or self._trains_on_chunks or self._samples_from_latent:
            return 1
        if n_rows > FEW_ROWS:
            return 1
        return FEW_ROWS_INTERVAL

    def _param_groups(self, n_rows):
        """Parameter groups: biases without decay, and the autoregressive model's own.

        On a small table encoder and decoder need more steps than the autoregressive
        model can do without overfitting. Its learning rate is reduced so that the sum
        of its steps stays the same, and that of encoder and decoder grows.
        """
        lr_scale, code_lr_scale = 1.0, 1.0
        if self.max_iter == "auto" and not self._samples_from_latent:
            steps = self._default_steps(n_rows)
            lr_scale = self._autoregressive_steps(n_rows) / steps
            if self._row_interval(n_rows) > 1:
                lr_scale *= FEW_ROWS_INTERVAL * INTERVAL_LR_SCALE
            if self.sampling == "any_order":
                lr_scale *= ANY_ORDER_LR_SCALE
            if self._tries_lengths(n_rows):
                lr_scale *= TRIAL_LR_SCALE
            if self._holds_out_rows(n_rows):
                is_wide = n_rows >= MANY_ROWS
                lr_scale *= WIDE_LR_SCALE if is_wide else MEDIUM_LR_SCALE
            code_lr_scale = max(1.0, CODE_STEPS / max(steps, MIN_STEPS))
            if self._code_interval(n_rows) > 1:
                code_lr_scale *= ALTERNATING_LR_SCALE
        no_decay = {"weight_decay": 0.0}
        # Weight decay acts like a normal prior on the weights, whose influence relative
        # to the rows is inversely proportional to their number.
        factor = np.clip(DECAY_ROWS / n_rows, 1.0, MAX_DECAY_FACTOR)
        decay = {"weight_decay": float(self.weight_decay * factor)}
        return [
            ("autoregressive.*bias*", {**no_decay, "lr_scale": lr_scale}),
            ("autoregressive.*", {**decay, "lr_scale": lr_scale}),
            ("*bias", {**no_decay, "lr_scale": code_lr_scale}),
            ("log_scale", {**no_decay, "lr_scale": code_lr_scale}),
            ("*", {"lr_scale": code_lr_scale}),
        ]
