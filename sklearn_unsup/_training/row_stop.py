"""Early stopping of the autoregressive model, by its gains on held-out rows."""

import torch

# Minimum ratio of the gain in log-likelihood on held-out rows to that on training rows,
# and the number of evaluations in a row below it after which training ends.
MIN_GAIN_RATIO, PATIENCE = 0.1, 2
# Gains are counted since this fraction of the steps. Shorter spans are noisy, and over
# longer ones the model has changed too much.
SPAN_START = 0.8
# Minimum factor by which the number of steps grows from one evaluation to the next.
MIN_GROWTH = 1.1
# Maximum number of rows in a pass of an evaluation.
PASS_ROWS = 2_048


class RowStop:
    """Stops a model of rows when most of what it learns is about training rows alone.

    A model that is wide enough for sharp dependences memorises the rows of a table
    without such ones. Now and then the log-likelihoods of held-out rows and of as many
    training rows are computed. While both rise alike the model learns the table.
    Where those of training rows rise alone it learns these rows: held-out rows lose
    nothing by that for a long time, but samples come closer and closer to copies. So
    training ends before the held-out likelihood has its maximum, which is flat.

    The weights that are evaluated, and kept, are the running average: it is so smooth
    that small gains can be told from noise.

    Parameters
    ----------
    model : AutoregressiveModel
    average : WeightAverage
        Average of all parameters of a net, those of the model among them.
    held_out, train : EncodedDataset
        Rows that the model does not learn from, and rows that it does. It is evaluated
        on all of the former and on as many of the latter.
    """

    def __init__(self, model, average, held_out, train):
        self.model, self.datasets = model, (held_out, train)
        own = {id(parameter) for parameter in model.parameters()}
        pairs = zip(average.parameters, average.average, strict=True)
        self.pairs = [pair for pair in pairs if id(pair[0]) in own]
        # Pairs of a number of steps and two log-likelihoods.
        self.evaluations = []
        self.n_waited, self.is_done = 0, False

    def is_due(self, step: int) -> bool:
        """Whether an evaluation after so many steps is worth its time."""
        return not self.evaluations or step >= MIN_GROWTH * self.evaluations[-1][0]

    @torch.no_grad()
    def evaluate(self, step: int, broadcast=lambda scores: scores) -> list[float]:
        """Evaluate the averaged weights after so many steps, and perhaps keep them.

        Parameters
        ----------
        step : int
        broadcast : callable
            Gives all processes that share a fit the scores of the first one, so that
            rounding cannot make them stop at different steps.

        Returns
        -------
        scores : list of float
            Mean nats of the held-out rows, and of the training rows.
        """
        latest = [parameter.clone() for parameter, _ in self.pairs]
        self._use(mean for _, mean in self.pairs)
        scores = broadcast([self._mean_log_prob(rows) for rows in self.datasets])
        self.n_waited = self.n_waited + 1 if self._is_memorising(step, scores) else 0
        self.evaluations.append((step, scores))
        if self.n_waited < PATIENCE:
            self._use(latest)
        else:
            self.is_done = True
        return scores

    def _is_memorising(self, step, scores):
        """Whether few of the latest gains are gains on held-out rows, too."""
        earlier = [before for at, before in self.evaluations if at <= SPAN_START * step]
        if not earlier:
            return False
        held_out, train = (scores[part] - earlier[-1][part] for part in (0, 1))
        return held_out < MIN_GAIN_RATIO * train

    def _use(self, tensors):
        for (parameter, _), tensor in zip(self.pairs, tensors, strict=True):
            parameter.copy_(tensor)

    def _mean_log_prob(self, dataset):
        was_training = self.model.training
        self.model.eval()
        n_rows, total = len(self.datasets[0]), 0.0
        for start in range(0, n_rows, PASS_ROWS):
            batch = dataset.take(slice(start, min(n_rows, start + PASS_ROWS)))
            # In float32, as some devices have no other: the mean of a chunk first.
            total += self.model.log_prob(*batch).mean().item() * len(batch[0])
        self.model.train(was_training)
        return total / n_rows
