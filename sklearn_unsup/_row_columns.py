"""RowColumns: which bins and features of values the model of rows of a table gets."""

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import ndtr

from ._nn.autoregressive import MAX_ONE_HOT, MAX_START_ROWS
from ._nn.bins import atom_share, histogram_edges, level_cuts, variance_between
from ._nn.distributions import presence
from ._nn.gaussian import MAX_GAUSSIAN
from ._nn.heads import MAX_Z
from ._nn.joint_normal import informative_missing
from ._nn.level_scores import MAX_TARGET_CELLS, embed_levels
from ._nn.rough_numbers import rough_numbers
from ._nn.row_widths import MAX_AUTOREGRESSIVE_WEIGHTS, n_first_weights
from ._nn.value_dependences import (
    MAX_VALUE_ROWS,
    random_rows,
    rows_to_compare,
    value_dependences,
)
from ._row_fitting import MAX_TRIAL_ROWS, NUMBERS
from ._table.frequent import in_units_of
from ._transfer import column_keys

# Minimum share of the rows that have values with bins of their own, of a number that
# counts as repeated.
REPEATED_SHARE = 0.5
# Maximum number of levels of large categories, of all together, that have indicators,
# and minimum number of rows of each.
MAX_INDICATORS, MIN_INDICATOR_ROWS = 400, 40
# Maximum number of bins of a number's histogram, and the number of rows per bin that a
# smaller table has.
MAX_BINS, ROWS_PER_BIN = 64, 90
# Minimum share and number of the rows for a repeated value to have a bin of its own.
MIN_ATOM_SHARE, MIN_ATOM_ROWS = 1 / 400, 15
# The same for a value to be a feature of its own, where later columns depend on it.
MIN_VALUE_SHARE, MIN_VALUE_ROWS = 1 / 200, 15
# Minimum share of the rows for a value to be a feature in any case, up to
# MAX_TRIAL_ROWS rows: where a number is in its interval tells nothing.
WIDE_VALUE_SHARE = 0.1
# Minimum share of the rows with such values in a column that begins as a histogram.
MIN_DISCRETE_SHARE = 0.95
# Maximum standard deviation that a regression leaves of a number close to it, of 1.
MAX_CLOSE_SCALE = 0.5
# Maximum number of features, of all columns and rows, that regressions are fitted to;
# but always those of MAX_START_ROWS rows.
MAX_START_FEATURES = 2_000_000


class RowColumns:
    """Mixin of an estimator with an autoregressive model: histograms and features."""

    # Of each number the values that are features of their own, or None for none; and
    # positions of the numbers that depend on such values, and are as discrete.
    _informative_values, _dependent_columns = None, ()
    # Of which numbers neighbouring values differ in what they go with.
    _rough_numbers = ()
    # Whether these are known: trials of a fit have those of the fit.
    _knows_values = False

    def _begin_fit(self, X, process_group, is_stream=False):
        super()._begin_fit(X, process_group, is_stream)
        self._informative_values, self._dependent_columns = None, ()
        self._rough_numbers, self._knows_values = (), False

    @property
    def _describes_quantiles(self):
        """Whether there is a model of rows, and numbers are quantiles for it."""
        is_quantile = self.codec_.numeric_scaling == "quantile"
        return is_quantile and not self._samples_from_latent

    # ------------------------------------------------------------------ bins

    def _bin_edges(self, dataset):
        """Inner edges of each number's histogram.

        None if numbers are not encoded as normal quantiles, or there is no model of
        rows.
        """
        if not self._describes_quantiles:
            return None
        n_rows = self._n_judged or len(dataset)
        n_bins = number_of_bins(n_rows)
        min_share, every = least_atom_share(n_rows), []
        for column, atoms in enumerate(self.codec_.atoms()):
            edges = histogram_edges(atoms, n_bins, min_share)
            if n_rows <= MAX_TRIAL_ROWS:
                # Bins are so wide that rows of several kinds may share one.
                gaps, _ = self.codec_.cluster_gaps(column)
                u, codes = self._quantiles_and_codes(dataset, column)
                cuts = [*gaps, *level_cuts(edges, u, codes)]
                edges = histogram_edges(atoms, n_bins, min_share, cuts)
            every.append(edges)
        return every

    def _repeated_numbers(self, dataset):
        """Of which numbers most rows have values with bins of their own."""
        share = least_atom_share(self._n_judged or len(dataset))
        every = self.codec_.atoms()
        return [atom_share(atoms, share) > REPEATED_SHARE for atoms in every]

    def _find_rough_numbers(self, dataset):
        """In which numbers neighbouring values differ in what they go with.

        Only of repeated values that have bins of their own.
        """
        width = self._autoregressive_width(len(dataset))
        if not (width and self._describes_quantiles):
            return ()
        is_discrete = self._repeated_numbers(dataset)
        if not any(is_discrete):
            return is_discrete
        n_rows, layout = self._n_judged or len(dataset), self.codec_.layout_
        min_share, every = least_atom_share(n_rows), self.codec_.atoms()
        n_bins = number_of_bins(n_rows)
        edges = [histogram_edges(atoms, n_bins, min_share) for atoms in every]
        index = rows_to_compare(len(dataset), layout.n_numeric + layout.n_categorical)
        x_num, x_cat = (rows.cpu().numpy() for rows in dataset.take(index))
        bins = np.column_stack(
            [np.searchsorted(*pair) for pair in zip(edges, ndtr(x_num.T), strict=True)]
        )
        sizes = [len(own) + 1 for own in edges]
        return rough_numbers(bins, sizes, x_cat, layout.masks, is_discrete)

    def _quantiles_and_codes(self, dataset, column):
        """Quantiles of a number where it is present, and codes of the same rows."""
        z, codes = dataset.x_num[:, column].cpu().numpy(), dataset.x_cat.cpu().numpy()
        mask = self.codec_.layout_.masks[column]
        rows = codes[:, mask] == 0 if mask >= 0 else slice(None)
        return ndtr(z[rows]), codes[rows]

    # ------------------------------------------------------------------ values

    def _choose_values(self, dataset):
        """Look, once in a fit, for values that are to be learnt by themselves."""
        if self._knows_values:
            return
        self._knows_values = True
        self._rough_numbers = self._find_rough_numbers(dataset)
        # A stream does not know yet which values are frequent.
        if not self._describes_quantiles or self._is_stream:
            return
        columns = ()
        if self._start is not None:
            values = values_of_source(self._start, self.codec_)
        else:
            n_rows = self._n_judged or len(dataset)
            any_order = self.sampling == "any_order"
            found = FrequentNumbers.of(self.codec_, dataset, n_rows, any_order)
            least = math.inf
            if self._has_fixed_order and n_rows <= MAX_TRIAL_ROWS:
                least = WIDE_VALUE_SHARE
            values = found.features(least)
            columns = found.discrete_dependents()
        n_values = sum(map(len, values))
        if n_values and self._affords_values(n_values, len(dataset)):
            self._informative_values, self._dependent_columns = values, columns

    def _affords_values(self, n_values, n_rows):
        """Whether the first layer stays affordable with a feature for each value."""
        layout, width = self.codec_.layout_, self._autoregressive_width(n_rows)
        n_more = n_values * width * (layout.n_numeric + layout.n_categorical)
        return n_first_weights(layout, width) + n_more <= MAX_AUTOREGRESSIVE_WEIGHTS

    def _value_intervals(self):
        values = self._informative_values
        return None if values is None else self.codec_.intervals(values)

    def _informative_missing(self, dataset):
        """Columns of codes whose missing values tell something about other columns."""
        layout = self.codec_.layout_
        # The first rows of a stream may have no gaps yet, or others than later ones.
        is_of_rows = self.sampling == "any_order" and not self._is_stream
        if not is_of_rows or not 0 < layout.n_numeric <= MAX_GAUSSIAN:
            return ()
        rows = dataset.take(random_rows(len(dataset), MAX_VALUE_ROWS))
        return tuple(informative_missing(layout, self._missing_codes(), *rows))

    # ------------------------------------------------------------------ start

    def _begin_rows(self, rows, dataset):
        """Set the model of rows to what a look at the rows tells."""
        rows.start_at_frequencies(dataset.x_cat)
        if rows.embeddings and self._scores_levels(len(dataset)):
            n_rows = MAX_TARGET_CELLS // rows.input_layer.in_features
            embed_levels(rows, *dataset.take(random_rows(len(dataset), n_rows)))
        n_features = rows.input_layer.in_features
        max_rows = max(MAX_START_ROWS, MAX_START_FEATURES // n_features)
        index = slice(None)
        if len(dataset) > max_rows:
            index = random_rows(len(dataset), max_rows)
        if self.sampling == "any_order":
            rows.start_at_dependences(*dataset.take(index))
            return
        related = ()
        if rows.regressions:
            limits = self._regression_limits(dataset)
            between = None
            if self._describes_quantiles and limits is None:
                between = [*map(variance_between, self.codec_.atoms())]
            rows.start_at_dependences(
                *dataset.take(index), limits, self._unrelated, between
            )
            related = () if rows.linear is None else rows.linear.columns
            if between is not None:
                repeated = self._repeated_numbers(dataset)
                rows.number_heads.tilts.set_columns(
                    [column for column in related if repeated[column]]
                )
        discrete = sorted({*self._dependent_columns} - {*related})
        if discrete:
            rows.number_heads.start_as_histograms(discrete)

    def _scores_levels(self, n_rows):
        """Whether levels of large categories have scores instead of embeddings.

        Only where a trial can tell that embeddings, which know more of levels that many
        rows have, are no better. Networks of another table know its embeddings.
        """
        is_alone = self._start is None and self._found is None
        is_whole = self._n_judged is None and not self._takes_embeddings
        return self._tries_lengths(n_rows) and is_alone and is_whole

    def _n_indicators(self, dataset):
        """Of each category of many levels how many have indicators beside their scores.

        Networks that learn embeddings tell levels apart by these, and those of another
        table know what it had.
        """
        known = None if self._start is None else self._start.net_.module__n_indicators
        sizes = np.array(self.codec_.layout_.cardinalities)
        is_large = sizes > MAX_ONE_HOT
        if not is_large.any() or not (known or self._scores_levels(len(dataset))):
            return ()
        # Codes descend by their rows.
        counts = [
            int((torch.bincount(codes) >= MIN_INDICATOR_ROWS).sum())
            for codes in dataset.x_cat.t()
        ]
        most = MAX_INDICATORS // is_large.sum()
        return tuple(np.where(is_large, np.minimum(counts, most), 0).tolist())

    def _regression_limits(self, dataset):
        """Deviations that regressions of numbers may leave; None for any.

        Of many rows, networks learn by themselves what regressions tell, unless a
        number is close to its regression. Where that is sharper than its values are
        wide, histograms know better which of them a row has.
        """
        if NUMBERS in self._regressions(len(dataset)):
            return None
        least = np.zeros(self.codec_.layout_.n_numeric)
        if self._describes_quantiles:
            values = self.codec_.frequent_values(
                least_value_share(self._n_judged or len(dataset)), 0
            )
            for column, own in enumerate(self.codec_.intervals(values)):
                low, high = np.clip(own[:2], -MAX_Z, MAX_Z)
                least[column] = ((own[3] - own[2]) * (high - low)).sum()
        return [(float(low), MAX_CLOSE_SCALE) for low in least]

    def _follow_codec(self):
        if self._informative_values is not None:
            rows = self.net_.module_.autoregressive
            rows.number_features.set_intervals(self._value_intervals())


class FrequentNumbers(NamedTuple):
    """Frequent values of numbers, and which columns depend on those of which.

    Parameters
    ----------
    values : list of ndarray
        Of each number.
    informative : list of bool
        Whether others depend on the values of a number.
    dependent : list of bool
        Whether a number depends on the values of another one.
    shares : list of ndarray
        Shares of the rows that have these values.
    """

    values: list
    informative: list
    dependent: list
    shares: list

    @classmethod
    def of(cls, codec, dataset, n_rows, any_order):
        """Find them in encoded rows.

        `n_rows` is the size of the whole table, of which a trial encodes a part.
        """
        values = codec.frequent_values(least_value_share(n_rows), 0)
        if not any(map(len, values)):
            none, no_shares = [False] * len(values), [np.zeros(0)] * len(values)
            return cls(values, none, none, no_shares)
        intervals = codec.intervals(values)
        # Few rows, as a table may be too large for the device.
        index = rows_to_compare(len(dataset), len(values))
        x_num, x_cat = dataset.take(index)
        present = presence(codec.layout_, x_cat)
        found = value_dependences(x_num, present, intervals, any_order)
        return cls(values, *found, [own[3] - own[2] for own in intervals])

    @property
    def discrete(self):
        """Whether nearly all rows have such values, of each number."""
        return [shares.sum() > MIN_DISCRETE_SHARE for shares in self.shares]

    def features(self, least_share):
        """Values that are features: informative ones, others of at least a share."""
        return [
            own if is_informative else own[shares >= least_share]
            for own, is_informative, shares in zip(
                self.values, self.informative, self.shares, strict=True
            )
        ]

    def discrete_dependents(self):
        """Positions of the numbers that depend on values, and are as discrete."""
        pairs = zip(self.dependent, self.discrete, strict=True)
        return tuple(column for column, both in enumerate(pairs) if all(both))


def number_of_bins(n_rows):
    """Number of bins of a number without values that have bins of their own."""
    return int(np.clip(n_rows // ROWS_PER_BIN, 1, MAX_BINS))


def least_atom_share(n_rows):
    """Minimum share of the rows for a value to have a bin of its own."""
    return max(MIN_ATOM_SHARE, MIN_ATOM_ROWS / n_rows)


def least_value_share(n_rows):
    """Minimum share of the rows for a value to be frequent."""
    return max(MIN_VALUE_SHARE, MIN_VALUE_ROWS / n_rows)


def values_of_source(source, codec):
    """Informative values of a fitted model, of the same columns of another table."""
    if source._informative_values is None:
        return []
    names, known = column_keys(source.codec_).numbers, {}
    for key, column, values in zip(
        names, source.codec_.numbers_, source._informative_values, strict=True
    ):
        known[key] = column, values
    found = []
    for key, column in zip(column_keys(codec).numbers, codec.numbers_, strict=False):
        old, values = known.get(key, (column, ()))
        found.append(in_units_of(column, values, old))
    return found
