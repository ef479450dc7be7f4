"""Rows of a table as questions to a density of encoded rows, and the answers' units."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from .categorical import CategoricalColumn
from .frames import as_frame
from .measure import CONTAMINATION, NumberMeasure
from .numeric import NumericColumn

# Candidates for a cell: quantiles of a number, and the most frequent levels.
N_QUANTILES, MAX_LEVELS = 12, 16


@dataclass
class Questions:
    """What to ask a density of encoded rows.

    Attributes
    ----------
    x_num, x_cat : ndarray
        Encoded rows. Numbers beyond the seen range are at its end.
    middle, half : ndarray of shape (n, n_numeric), float32
        Intervals that the numbers stand for, see :class:`Cells`.
    log_volume, log_background, log_excess : ndarray of shape (n, n_numeric)
    log_share : ndarray of shape (n, n_categorical)
        Log-probabilities of categories given their codes.
    is_unknown : ndarray of bool, shape (n, n_columns)
        Cells whose value training did not show and that only stands for another one.
    """

    x_num: np.ndarray
    x_cat: np.ndarray
    middle: np.ndarray
    half: np.ndarray
    log_volume: np.ndarray
    log_background: np.ndarray
    log_excess: np.ndarray
    log_share: np.ndarray
    is_unknown: np.ndarray


class TableMeasure:
    """From log-probabilities of encoded numbers and codes to nats of the table's cells.

    Parameters
    ----------
    codec : TableCodec
        Fitted, with numbers scaled by "quantile" or "standard".
    """

    def __init__(self, codec):
        self.codec, self.layout = codec, codec.layout_
        self.numbers = [NumberMeasure(column) for column in codec.numbers_]
        self.n_columns = len(codec.columns_codec_)

    def questions(self, X) -> Questions:
        """What to ask of the rows of a table."""
        frame, codec = as_frame(X), self.codec
        x_num, x_cat = codec.encode(frame)
        shape, n = x_num.shape, len(x_num)
        middle, half = np.zeros((2, *shape), np.float32)
        log_volume, log_excess = np.zeros((2, *shape))
        log_background = np.full(shape, -np.inf)
        log_share = np.zeros(x_cat.shape)
        is_unknown = np.zeros((n, self.n_columns), dtype=bool)
        places = codec.places()
        for column, values in zip(
            codec.columns_codec_, codec._columns_of(frame), strict=True
        ):
            position = column.position_
            place = places.get(position)
            if place is None:
                continue
            if isinstance(column, CategoricalColumn):
                found = column.log_shares(values)
                log_share[:, place], is_unknown[:, position] = found
                continue
            missing, plain = column._read(values, learning=False)
            rows = slice(None) if missing is None else ~missing
            measure = self.numbers[place]
            cells = measure.cells(column._to_float(plain))
            middle[rows, place], half[rows, place] = cells.middle, cells.half
            log_volume[rows, place] = cells.log_volume
            log_background[rows, place] = cells.log_background
            log_excess[rows, place] = cells.log_excess
            x_num[:, place].clip(*measure.encoded_range, out=x_num[:, place])
            if missing is not None and not column.has_missing_:
                is_unknown[:, position] = missing
        return Questions(
            *(x_num, x_cat, middle, half, log_volume, log_background, log_excess),
            *(log_share, is_unknown),
        )

    @property
    def varying(self) -> np.ndarray:
        """Positions in the table of the columns that count."""
        return np.flatnonzero(self.codec.varies_)

    def candidates(self) -> list:
        """Of each varying column, values that others could be replaced by."""
        return candidates_of(self.codec)

    def losses(self, questions, losses) -> np.ndarray:
        """Losses of all cells (n, n_columns) from those of the varying columns.

        What the encoded row cannot show is added: how far a number is beyond the seen
        range, and that a value was never seen.
        """
        total = np.zeros(questions.is_unknown.shape)
        total[:, self.varying] = losses
        for place, column in enumerate(self.codec.numbers_):
            total[:, column.position_] += questions.log_excess[:, place]
        for column in self.codec.columns_codec_:
            if column.encoded_:
                self._reserve_for_unknown(column, total, questions.is_unknown, False)
        return total

    def evidence(self, questions, surprises) -> np.ndarray:
        """Nats that say of each cell that its value is any of its column's.

        Of a number against N(0, 1), which it was encoded to, and of a level against its
        frequency: log p(cell) - log p(cell | all others). Shape (n, n_columns).
        """
        evidence = -self.losses(questions, -surprises)
        places = self.codec.places()
        for column in self.codec.columns_codec_:
            if isinstance(column, CategoricalColumn) and column.encoded_:
                codes = questions.x_cat[:, places[column.position_]]
                known = ~questions.is_unknown[:, column.position_]
                own = column.log_frequencies()[codes]
                evidence[known, column.position_] += own[known]
        return evidence

    def terms(self, questions, of_numbers, of_categories) -> np.ndarray:
        """Nats of every cell, shape (n, n_columns); a constant column has none.

        Parameters
        ----------
        questions : Questions
        of_numbers : ndarray of shape (n, n_numeric)
        of_categories : ndarray of shape (n, n_categorical)
        """
        codec, layout = self.codec, self.layout
        terms = np.zeros((len(of_numbers), self.n_columns))
        numbers = np.zeros(of_numbers.shape)
        for place, column in enumerate(codec.numbers_):
            share = CONTAMINATION / (column.quantiles_.n_ + 1)
            numbers[:, place] = np.logaddexp(
                np.log1p(-share)
                + of_numbers[:, place]
                + questions.log_volume[:, place],
                np.log(share) + questions.log_background[:, place],
            )
            mask = layout.masks[place]
            if mask >= 0:
                numbers[questions.x_cat[:, mask] == 1, place] = 0.0
            terms[:, column.position_] += numbers[:, place]
        of_categories = of_categories + questions.log_share
        for position, place in codec.category_positions():
            terms[:, position] += of_categories[:, place]
        for column in codec.columns_codec_:
            self._reserve_for_unknown(column, terms, questions.is_unknown)
        return terms

    def _reserve_for_unknown(self, column, terms, is_unknown, from_known=True):
        """Share of what was never seen, which is that of one row more than there were.

        Only where it may come: where a value that is not known is no error, and has no
        code of its own.
        """
        position = column.position_
        if self.codec.handle_unknown == "error" or not column.encoded_:
            return
        if isinstance(column, NumericColumn):
            n, has_own = column.n_present_, column.has_missing_
        else:
            n, has_own = int(column.counts_.sum()), column.pools_
        if has_own:
            return
        if from_known:
            terms[:, position] += np.log(n / (n + 1))
        terms[is_unknown[:, position], position] = -np.log(n + 1)


def candidates_of(codec) -> list:
    """Of each varying column of a table, values that others could be replaced by.

    Dicts with the fields of :class:`~sklearn_unsup._nn.replacements.Candidates`.
    """
    found, places = [], codec.places()
    grid = (np.arange(N_QUANTILES) + 0.5) / N_QUANTILES
    weights = (-float(np.log(N_QUANTILES)),) * N_QUANTILES
    for position in np.flatnonzero(codec.varies_):
        column = codec.columns_codec_[position]
        place, mask = places.get(position), codec.mask_of_.get(position, -1)
        if isinstance(column, CategoricalColumn):
            codes = tuple(range(min(column.cardinality_, MAX_LEVELS)))
            found.append({"codes": codes, "category": place})
        elif place is None:  # a constant with gaps
            found.append({"codes": (0, 1), "category": mask})
        else:
            numbers = tuple(column.encoded_quantile(grid).tolist())
            options = {"numbers": numbers, "log_weights": weights, "number": place}
            if mask >= 0:
                codes = (0,) * N_QUANTILES + (1,)
                options.update(numbers=(*numbers, 0.0), log_weights=(*weights, 0.0))
                options.update(codes=codes, category=mask)
            found.append(options)
    return found


class SparseMeasure:
    """Of a codec of sparse rows: a density per unit of each column.

    Parameters
    ----------
    codec : SparseCodec
    """

    def __init__(self, codec):
        self.codec, self.n_columns = codec, codec.n_columns_

    def questions(self, X) -> Questions:
        """What to ask of dense rows."""
        x_num, x_cat = self.codec.encode(X)
        zeros = np.zeros(x_num.shape)
        unknown = np.zeros((len(x_num), self.n_columns), dtype=bool)
        return Questions(
            *(x_num, x_cat, x_num, np.zeros_like(x_num)),
            *(zeros, zeros - np.inf, zeros, np.zeros(x_cat.shape), unknown),
        )

    @property
    def varying(self) -> np.ndarray:
        """Positions of the columns that count."""
        return self.codec.encoded_

    def candidates(self) -> list:
        """Of each varying column zero, and normal quantiles."""
        kept = self.codec.encoded_
        zeros = self.codec._scale(np.zeros(len(kept)), kept)
        grid = ndtri((np.arange(N_QUANTILES) + 0.5) / N_QUANTILES).tolist()
        weights = (-float(np.log(N_QUANTILES + 1)),) * (N_QUANTILES + 1)
        return [
            {
                "numbers": tuple(sorted([float(zero), *grid])),
                "log_weights": weights,
                "number": place,
            }
            for place, zero in enumerate(zeros)
        ]

    def losses(self, questions, losses) -> np.ndarray:
        """Losses of all cells (n, n_columns) from those of the varying columns."""
        total = np.zeros(questions.is_unknown.shape)
        total[:, self.varying] = losses
        return total

    def evidence(self, questions, surprises) -> np.ndarray:
        """Nats that say of each cell that its value is any of its column's."""
        return -self.losses(questions, -surprises)

    def terms(self, questions, of_numbers, of_categories) -> np.ndarray:
        """Nats of every cell, shape (n, n_columns); a constant column has none."""
        kept = self.codec.encoded_
        terms = np.zeros((len(of_numbers), self.n_columns))
        terms[:, kept] = of_numbers[:, : len(kept)] - np.log(self.codec.scale_[kept])
        return terms
