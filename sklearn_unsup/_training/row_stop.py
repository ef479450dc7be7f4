"""When a model of rows has learnt what holds for other rows, too."""

import torch

# Training ends at the second look in a row at which less than this share of what the
# model has gained on training rows is gained on held-out rows as well.
MIN_CARRIED, N_LOOKS = 0.1, 2
# Gains are counted since this fraction of the steps. Shorter spans are noisy, and over
# longer ones the model has changed too much.
SPAN_START = 0.8
# Factor by which steps have grown from one look to the next, at least.
MIN_GROWTH = 1.1
# Number of rows that are judged at a time.
MAX_JUDGED_ROWS = 2_048


class RowStop:
    """Stops a model of rows when most of what it learns is about training rows alone.

    A model that is wide enough for sharp dependences memorises the rows of a table
    without such ones. Now and then the log-likelihoods of held-out rows and of as many
    training rows are computed. While both rise alike the model learns the table.
    Where those of training rows rise alone it learns these rows: held-out rows lose
    nothing by that for a long time, but samples come closer and closer to copies. So
    training ends before the held-out likelihood has its maximum, which is flat.

    The weights that are judged, and kept, are the running average: it is so smooth that
    small gains can be told from noise.

    Parameters
    ----------
    model : AutoregressiveModel
    average : StreamAverage
        Of all parameters of a net, those of the model among them.
    held_out, train : EncodedDataset
        Rows that the model does not learn from, and those that it does, of which as
        many are judged.
    """

    def __init__(self, model, average, held_out, train):
        self.model, self.datasets = model, (held_out, train)
        own = {id(parameter) for parameter in model.parameters()}
        pairs = zip(average.parameters, average.average, strict=True)
        self.pairs = [pair for pair in pairs if id(pair[0]) in own]
        self.looks = []  # Pairs of a number of steps and two log-likelihoods.
        self.n_below, self.is_done = 0, False

    def is_due(self, step: int) -> bool:
        """Whether a look after so many steps is worth its time."""
        return not self.looks or step >= MIN_GROWTH * self.looks[-1][0]

    @torch.no_grad()
    def look(self, step: int, agree=lambda scores: scores) -> list[float]:
        """Judge the average after so many steps, and perhaps end the training.

        Parameters
        ----------
        step : int
        agree : callable
            Gives all processes that share a fit the same numbers, so that rounding
            cannot make them stop at different steps.

        Returns
        -------
        scores : list of float
            Mean nats of the held-out rows, and of the training rows.
        """
        latest = [parameter.clone() for parameter, _ in self.pairs]
        self._use(mean for _, mean in self.pairs)
        scores = agree([self._mean_log_prob(rows) for rows in self.datasets])
        self.n_below = self.n_below + 1 if self._is_memorising(step, scores) else 0
        self.looks.append((step, scores))
        if self.n_below < N_LOOKS:
            self._use(latest)
        else:
            self.is_done = True
        return scores

    def _is_memorising(self, step, scores):
        """Whether few of the latest gains are gains on held-out rows, too."""
        earlier = [before for at, before in self.looks if at <= SPAN_START * step]
        if not earlier:
            return False
        held_out, train = (scores[part] - earlier[-1][part] for part in (0, 1))
        return held_out < MIN_CARRIED * train

    def _use(self, tensors):
        for (parameter, _), tensor in zip(self.pairs, tensors, strict=True):
            parameter.copy_(tensor)

    def _mean_log_prob(self, dataset):
        was_training = self.model.training
        self.model.eval()
        n_rows, total = len(self.datasets[0]), 0.0
        for start in range(0, n_rows, MAX_JUDGED_ROWS):
            batch = dataset.take(slice(start, min(n_rows, start + MAX_JUDGED_ROWS)))
            # In float32, as some devices have no other: the mean of a chunk first.
            total += self.model.log_prob(*batch).mean().item() * len(batch[0])
        self.model.train(was_training)
        return total / n_rows
