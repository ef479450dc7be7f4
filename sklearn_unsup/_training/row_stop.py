"""Early stopping of the columns of a model of rows, by their gains on held-out rows."""

import numpy as np
import torch

from .._nn.column_parts import weights_of_column
from .._nn.column_terms import column_terms

# Minimum ratio of the gain in log-likelihood on held-out rows to that on training rows,
# and the number of evaluations in a row below it after which a column ends.
MIN_GAIN_RATIO, PATIENCE = 0.1, 2
# Minimum gain of a column on held-out rows, in nats per row, while no other part of the
# net learns.
MIN_GAIN = 3e-3
# Loss of a column on held-out rows, in nats per row, up to which later weights are kept
# in the place of the likeliest ones: they predict means better, which are memorised
# later than spreads.
TOLERANCE = 0.005
# Gains are counted since this fraction of the steps. Shorter spans are noisy, and over
# longer ones the model has changed too much.
SPAN_START = 0.8
# Minimum factor by which the number of steps grows from one evaluation to the next.
MIN_GROWTH = 1.1
# Maximum number of rows in a pass of an evaluation.
PASS_ROWS = 2_048


class RowStop:
    """Ends each column of a model of rows when it learns about training rows alone.

    Now and then the log-likelihoods of held-out rows and of as many training rows are
    computed. While those of a column rise alike its networks learn the table. Where
    that of training rows rises alone they learn these rows: samples come closer and
    closer to copies. Columns share no weights, and some need many more steps than
    others: a column of noise, which is memorised at once, does not end what others
    still learn.

    The weights that are evaluated, and kept, are the running average: it is so smooth
    that small gains can be told from noise. Each column ends with those by which its
    held-out cells were likeliest.

    Parameters
    ----------
    model : AutoregressiveModel
    average : WeightAverage
        Average of all parameters of a net, those of the model among them.
    held_out, train : EncodedDataset
        Rows that the model does not learn from, and rows that it does. It is evaluated
        on all of the former and on as many of the latter.
    free_steps : int
        Number of steps up to which small gains are worth them. Some dependences are
        learnt all at once, after nothing has seemed to happen.
    """

    def __init__(self, model, average, held_out, train, free_steps: int):
        self.free_steps = free_steps
        self.model, self.datasets = model, (held_out, train)
        own = {id(parameter) for parameter in model.parameters()}
        pairs = zip(average.parameters, average.average, strict=True)
        self.pairs = [pair for pair in pairs if id(pair[0]) in own]
        # Columns that learn embeddings together end together.
        self.n_parts = 1 if model.learns_embeddings else model.n_columns
        # Pairs of a number of steps and nats by part, of held-out and of training rows.
        self.evaluations = []
        self.n_waited = np.zeros(self.n_parts, dtype=int)
        self.has_ended = np.zeros(self.n_parts, dtype=bool)
        self.best = np.full(self.n_parts, -np.inf)
        self.kept, self.is_done = [None] * self.n_parts, False

    def is_due(self, step: int) -> bool:
        """Whether an evaluation after so many steps is worth its time."""
        return not self.evaluations or step >= MIN_GROWTH * self.evaluations[-1][0]

    @torch.no_grad()
    def evaluate(
        self, step: int, broadcast=lambda scores: scores, is_last=False
    ) -> list[float]:
        """Evaluate the averaged weights after so many steps, and keep the best ones.

        Parameters
        ----------
        step : int
        broadcast : callable
            Gives all processes that share a fit the scores of the first one, so that
            rounding cannot make them stop at different steps.
        is_last : bool, default=False
            Whether no steps will follow, so that all columns end.

        Returns
        -------
        scores : list of float
            Mean nats of the held-out rows, and of the training rows.
        """
        latest = [parameter.clone() for parameter, _ in self.pairs]
        self._use(mean for _, mean in self.pairs)
        scores = np.concatenate([self._mean_terms(rows) for rows in self.datasets])
        scores = np.reshape(broadcast(scores.tolist()), (2, self.n_parts))
        is_memorising = self._is_memorising(step, scores)
        self.n_waited = np.where(is_memorising, self.n_waited + 1, 0)
        self.best = np.where(self.has_ended, self.best, np.fmax(self.best, scores[0]))
        is_good = scores[0] >= self.best - TOLERANCE
        for part in np.flatnonzero(~self.has_ended & is_good):
            self.kept[part] = [weight.clone() for weight in self._weights(part)]
        self.has_ended |= self.n_waited >= PATIENCE
        self.evaluations.append((step, scores))
        self.is_done = is_last or bool(self.has_ended.all())
        if self.is_done:
            self.end()
        else:
            self._use(latest)
            # What a callback saves from now on has them as they are.
            self._use_kept(np.flatnonzero(self.has_ended))
        return scores.sum(1).tolist()

    def _is_memorising(self, step, scores):
        """Of which parts little of the latest gains is one on held-out rows, too."""
        earlier = [before for at, before in self.evaluations if at <= SPAN_START * step]
        if not earlier:
            return np.zeros(self.n_parts, dtype=bool)
        held_out, train = scores - earlier[-1]
        least = MIN_GAIN * self.model.n_columns / self.n_parts
        least = least if step > self.free_steps else -np.inf
        return held_out < np.maximum(MIN_GAIN_RATIO * train, least)

    def _weights(self, part):
        if self.model.learns_embeddings:
            return [parameter for parameter, _ in self.pairs]
        return weights_of_column(self.model, part)

    def _use(self, tensors):
        for (parameter, _), tensor in zip(self.pairs, tensors, strict=True):
            parameter.copy_(tensor)

    @torch.no_grad()
    def end(self):
        """End all parts with what was kept of them, or else with their averages."""
        self._use(mean for _, mean in self.pairs)
        self._use_kept(range(self.n_parts))
        for parameter, mean in self.pairs:
            mean.copy_(parameter)

    def _use_kept(self, parts):
        for part in parts:
            # Nothing is kept of one that was never evaluated to a finite number.
            kept = self.kept[part] or ()
            for weight, own in zip(self._weights(part), kept, strict=False):
                weight.copy_(own)

    def _mean_terms(self, dataset):
        """Mean nats of the cells of each part."""
        was_training = self.model.training
        self.model.eval()
        n_rows, total = len(self.datasets[0]), 0.0
        for start in range(0, n_rows, PASS_ROWS):
            x_num, x_cat = dataset.take(slice(start, min(n_rows, start + PASS_ROWS)))
            of_numbers, of_categories = column_terms(
                self.model, x_num, x_cat, x_num, torch.zeros_like(x_num)
            )
            # Categories come first, as in the model.
            terms = torch.cat([of_categories, of_numbers], 1)
            total = total + terms.sum(0).cpu().numpy()
        self.model.train(was_training)
        total = total / n_rows
        return total if self.n_parts > 1 else total.sum(keepdims=True)
