"""What codes say of columns: loadings, importances, walks, and what codes keep."""

import numbers
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from ._nn.distributions import one_hot_index, presence
from ._nn.jacobian import mean_jacobian
from ._table.cells import MISSING, encoded_cells, slopes
from ._table.constrained import ConstrainedCodec
from ._training.data import DenseDataset

# Number of vectors that a model keeps to know where codes lie, and of neighbouring
# codes that are mixed in each: the code of a row would decode to that row.
KEPT_CODES, MEAN_OF = 256, 4
# Maximum number of rows on which a method measures importances.
IMPORTANCE_ROWS = 1_000
# Shares of the codes that lie below the values that a component walks through.
WALK = np.linspace(0.02, 0.98, 9)


class CodeInspection:
    """Mixin of estimators with codes: what components listen to, and what they move.

    It uses the encoder and `inverse_transform` alone, which every model has.
    """

    # Where codes lie, in a stream those of the latest chunk; (n, n_components).
    _kept_codes = None

    def _keep_codes(self, dataset):
        """Keep mixed codes, of rows that lie evenly in a dataset."""
        n = min(len(dataset), KEPT_CODES)
        index = torch.linspace(0, len(dataset) - 1, n).long()
        codes = self._map_rows(self._encode_batch, dataset, index)
        self._kept_codes = mix_neighbours(codes).cpu().numpy()
        vars(self).pop("_mean_changes", None)

    def encoder_importances(self, X, *, n_repeats=1, random_state=None) -> pd.DataFrame:
        """Measure how much each component listens to each column.

        The cells of a column change places with those of other rows, and the codes are
        computed again. The importance is half the mean square by which a component
        changes, as a share of its variance: for components that are linear in
        independent columns it is the share of the variance that the column explains.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows with the columns that `fit` saw. Of more than 1,000 rows so many are
            used, evenly spaced; they are encoded once for each column.
        n_repeats : int, default=1
            How often each column is shuffled; the importances are means.
        random_state : int, RandomState instance or None, default=None
            Of the new places; see :meth:`sample`.

        Returns
        -------
        importances : DataFrame of shape (n_features, n_components)
            One row for each column of the table, named as the columns are, one column
            for each component. 0 where a component does not see the column.
        """
        check_is_fitted(self)
        if not isinstance(n_repeats, numbers.Integral) or n_repeats < 1:
            raise ValueError(
                f"n_repeats must be an int of at least 1, got {n_repeats!r}."
            )
        dataset, rng = self._encode_table(X), self._rng_of(random_state)
        n = min(len(dataset), IMPORTANCE_ROWS)
        x_num, x_cat = dataset.take(torch.linspace(0, len(dataset) - 1, n).long())
        codes = self._codes_of(x_num, x_cat)
        variances = codes.var(0).clip(1e-30)
        importances = np.zeros((self.n_features_in_, codes.shape[1]))
        for position, (of_num, of_cat) in encoded_places(self.codec_).items():
            for _ in range(n_repeats):
                order = torch.from_numpy(rng.permutation(n)).to(x_num.device)
                numbers_, categories = x_num.clone(), x_cat.clone()
                numbers_[:, of_num] = x_num[order][:, of_num]
                categories[:, of_cat] = x_cat[order][:, of_cat]
                changes = self._codes_of(numbers_, categories) - codes
                importances[position] += 0.5 * np.square(changes).mean(0) / variances
        importances /= n_repeats
        return pd.DataFrame(importances, self._column_index(), self._component_names())

    def _codes_of(self, x_num, x_cat):
        dataset = DenseDataset(x_num, x_cat)
        codes = self._map_rows(self._encode_batch, dataset).cpu().numpy()
        return codes.astype(np.float64)

    def traverse(
        self, component, values="quantiles", at=None, *, return_values=False
    ) -> Any:
        """Decode rows along one component, all others held where they are.

        Parameters
        ----------
        component : int or str
            Position of the component, or its name in `get_feature_names_out`.
        values : "quantiles" or array-like of shape (n_values,), default="quantiles"
            Values that the component takes. "quantiles" are nine, below which lie 2 to
            98 % of the codes of training rows, in equal shares.
        at : array-like of shape (n_components,) or None, default=None
            Code that the walk passes, such as ``transform(row)[0]``. None is the mean
            code.
        return_values : bool, default=False
            Whether to return the values of the component, too.

        Returns
        -------
        table : DataFrame or ndarray of shape (n_values, n_features)
            What `inverse_transform` makes of these codes, with the container, columns
            and dtypes that `fit` saw.
        values : ndarray of shape (n_values,)
            Only if `return_values`.
        """
        check_is_fitted(self)
        place = self._component_place(component)
        kept = self._kept_codes.astype(np.float64)
        if isinstance(values, str):
            if values != "quantiles":
                raise ValueError(
                    "values must be 'quantiles' or the numbers that the component is "
                    f"to have, got {values!r}."
                )
            values = np.quantile(kept[:, place], WALK)
        values = check_line("values", values)
        start = kept.mean(0) if at is None else check_line("at", at, kept.shape[1])
        codes = np.tile(start, (len(values), 1))
        codes[:, place] = values
        table = self.inverse_transform(codes)
        return (table, values) if return_values else table

    def _component_place(self, component) -> int:
        """Position of a component that is given by position or name."""
        names = list(self._component_names())
        if isinstance(component, str) and component in names:
            return names.index(component)
        is_position = isinstance(component, numbers.Integral)
        if not is_position or not 0 <= component < len(names):
            raise ValueError(
                f"component must be one of the {len(names)} components, by position "
                f"(from 0) or by name ({names[0]!r}), got {component!r}."
            )
        return int(component)

    def _component_names(self):
        return self.get_feature_names_out()

    def _column_index(self):
        """Names of the table's columns, their positions where it was an array."""
        if hasattr(self, "feature_names_in_"):
            return pd.Index(self.feature_names_in_)
        if getattr(self.codec_, "array_dtype_", 0) is None:
            return self.codec_.columns_
        return pd.RangeIndex(self.n_features_in_)


class DecoderInspection(CodeInspection):
    """Mixin of estimators whose decoder gives every code a distribution of rows."""

    @property
    def components_(self) -> np.ndarray:
        """Mean change of each column with each component."""
        check_is_fitted(self)
        changes = self._changes()
        components = np.zeros((len(changes), self.n_features_in_))
        of_columns: dict = {}
        for cell in encoded_cells(self.codec_):
            if not cell.is_mask:
                of_columns.setdefault(cell.position, []).append(cell)
        for position, cells in of_columns.items():
            components[:, position] = in_one_number(cells, changes)
        return components

    def loadings(self, *, units="scaled") -> pd.DataFrame:
        """Mean change of each number and each level with each component.

        A loading is the mean of the decoder's derivative over codes of training rows,
        and around each code over one standard deviation of the component: by how much
        the expected number, or the probability of a level, changes per unit of the
        component. `components_` has the same with one number for each column; where the
        net is linear they are the axes of PCA.

        Parameters
        ----------
        units : {"scaled", "original"}, default="scaled"
            Units of numbers. "scaled" are those that the net sees, which compare:
            standard deviations with ``numeric_scaling="standard"``, normal scores of
            their ranks with "quantile", the column's own with None. "original" are
            the column's own; dates change by days.

        Returns
        -------
        loadings : DataFrame of shape (n_numbers_and_levels, n_components)
            The index has the name of the column and the level: "" for a number and
            "missing" for a missing value. Columns that do not vary are left out.
        """
        check_is_fitted(self)
        if units not in ("scaled", "original"):
            raise ValueError(f"units must be 'scaled' or 'original', got {units!r}.")
        is_constrained = isinstance(self.codec_, ConstrainedCodec)
        if units == "original" and is_constrained:
            raise ValueError(
                "units='original' is not possible with constraints, by which columns "
                "are decoded together: pass units='scaled', or see what `traverse` "
                "returns."
            )
        changes = self._changes(units == "original")
        cells, names = encoded_cells(self.codec_), self._column_index()
        index = pd.MultiIndex.from_tuples(
            [(names[c.position], "" if c.level is None else c.level) for c in cells],
            names=["column", "level"],
        )
        values = changes[:, [cell.place for cell in cells]].T
        return pd.DataFrame(values, index, self._component_names())

    def reconstruction_by_column(self, X) -> pd.Series:
        """Measure the share of each column that the codes keep.

        Of a number or a date it is the share of the variance that is explained, in the
        units that the net sees, where the value is present; of a category the share of
        the entropy: 1 minus the cross-entropy of the decoded probabilities over that of
        the shares of the levels. 0 is what a code keeps that says nothing, and below it
        the decoded column misleads.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows with the columns that `fit` saw, best such that it has not seen.

        Returns
        -------
        kept : Series of shape (n_features,)
            At most 1, by column. NaN for a column that does not vary in X, and for one
            that was constant in `fit`.
        """
        check_is_fitted(self)
        dataset, layout = self._encode_table(X), self.codec_.layout_
        of_numbers, of_categories = kept_shares(
            lambda *batch: self._distribution(self._encode_batch(*batch)).mean(),
            self._chunks(dataset),
            layout,
        )
        kept = pd.Series(np.nan, self._column_index(), name="kept")
        places = encoded_places(self.codec_).items()
        for position, (of_num, of_cat) in places:
            share = of_numbers[of_num] if of_num else of_categories[of_cat]
            kept.iloc[position] = share[0]
        return kept

    def _changes(self, in_own_units=False) -> np.ndarray:
        """Mean derivatives of the decoded row, (n_components, layout.width).

        They are computed when they are first asked for, and stay until the next fit.
        """
        cache = vars(self).setdefault("_mean_changes", {})
        if in_own_units not in cache:
            z = torch.from_numpy(self._kept_codes).to(self.device_)
            weights = self._number_slopes(z) if in_own_units else None
            means = mean_jacobian(lambda z: self._distribution(z).mean(), z, weights)
            cache[in_own_units] = means.cpu().numpy().astype(np.float64)
        return cache[in_own_units]

    def _number_slopes(self, z):
        """Change of decoded numbers per unit of encoded ones, 1 for categories."""
        distribution = self._distribution(z)
        location, n_numeric = distribution.mean(), self.codec_.layout_.n_numeric
        deviations = np.zeros(n_numeric)
        if distribution.log_scale is not None:
            deviations = distribution.log_scale.detach().exp().cpu().numpy()
        x_num = location[:, :n_numeric].cpu().numpy().astype(np.float64)
        weights = torch.ones_like(location)
        of_numbers = np.array(slopes(self.codec_, x_num, deviations))
        weights[:, :n_numeric] = torch.from_numpy(of_numbers).to(weights)
        return weights

    def __getstate__(self):
        state = super().__getstate__()
        state.pop("_mean_changes", None)
        return state


def mix_neighbours(codes: Tensor) -> Tensor:
    """Vectors (n, n_components) that lie where codes do, and are none of them.

    The means of those nearest to each code; then each component gets the values that it
    has in the codes, by rank.
    """
    n_nearest = min(MEAN_OF + 1, len(codes))
    scaled = codes / codes.std(0, correction=0).clamp_min(1e-12)
    distances = torch.cdist(scaled, scaled)
    nearest = distances.topk(n_nearest, largest=False).indices
    means = codes[nearest[:, min(1, n_nearest - 1) :]].mean(1)
    ranks = means.argsort(0).argsort(0)
    return codes.sort(0).values.gather(0, ranks)


@torch.no_grad()
def kept_shares(rebuild, batches, layout) -> tuple[np.ndarray, np.ndarray]:
    """Shares of variance and of entropy that rebuilt rows keep of encoded ones.

    Parameters
    ----------
    rebuild : callable
        Takes `x_num` and `x_cat`, and returns means of numbers and probabilities of
        categories, shape (n, layout.width).
    batches : iterable of (x_num, x_cat)
        Read twice, so that it must not be an iterator.
    layout : TableLayout

    Returns
    -------
    of_numbers, of_categories : ndarray of shape (n_numeric,) and (n_categorical,)
        NaN where nothing varies.
    """
    total, n_present = 0.0, 0.0
    for x_num, x_cat in batches:
        present = presence(layout, x_cat)
        present = torch.ones_like(x_num) if present is None else present
        total = total + (x_num * present).sum(0, dtype=torch.float64)
        n_present = n_present + present.sum(0, dtype=torch.float64)
    mean = (total / n_present.clamp(min=1)).float()
    variation, lost, lost_nats, counts = 0.0, 0.0, 0.0, 0.0
    for x_num, x_cat in batches:
        rebuilt = rebuild(x_num, x_cat)
        numbers_, probabilities = rebuilt.split([layout.n_numeric, layout.n_one_hot], 1)
        present = presence(layout, x_cat)
        present = torch.ones_like(x_num) if present is None else present
        variation = variation + ((x_num - mean).square() * present).double().sum(0)
        lost = lost + ((x_num - numbers_).square() * present).double().sum(0)
        index = one_hot_index(x_cat, layout)
        log_probs = probabilities.gather(1, index).clamp(min=1e-12).log()
        lost_nats = lost_nats - log_probs.sum(0, dtype=torch.float64)
        counts = counts + torch.zeros_like(probabilities).scatter_(1, index, 1.0).sum(
            0, dtype=torch.float64
        )
    shares = 1 - lost / torch.where(variation > 0, variation, torch.nan)
    entropies = [entropy(block) for block in counts.split(list(layout.cardinalities))]
    kept = 1 - lost_nats / torch.stack(entropies) if entropies else lost_nats
    return shares.cpu().numpy(), kept.cpu().numpy()


def entropy(counts):
    """Entropy of all rows in nats, of their counts by level; NaN if all are equal."""
    shares = counts / counts.sum()
    total = torch.special.entr(shares).sum() * counts.sum()
    return torch.where(total > 0, total, torch.nan)


def in_one_number(cells, changes) -> np.ndarray:
    """Change of a column with each component, (n_components,).

    That of a number; of two levels that of the probability of the second one, in their
    own order; of more levels the probability that moves from some to others.
    """
    of_cells = changes[:, [cell.place for cell in cells]]
    if len(cells) == 1:
        return of_cells[:, 0]
    levels = [cell for cell in cells if cell.level is not MISSING]
    if len(levels) == 2:
        return changes[:, second_of(levels).place]
    return 0.5 * np.abs(of_cells).sum(1)


def second_of(cells):
    """The cell of the greater of two levels, else of the rarer one."""
    try:
        return max(cells, key=lambda cell: cell.level)
    except TypeError:
        return cells[1]


def encoded_places(codec) -> dict:
    """By position of a column its places in `x_num` and in `x_cat`, as two lists."""
    places: dict = {}
    layout = codec.layout_
    starts = [layout.n_numeric + offset for offset in layout.offsets]
    for cell in encoded_cells(codec):
        of_num, of_cat = places.setdefault(cell.position, ([], []))
        if cell.place < layout.n_numeric:
            of_num.append(cell.place)
            continue
        block = int(np.searchsorted(starts, cell.place, side="right")) - 1
        if block not in of_cat:
            of_cat.append(block)
    return places


def check_line(name, values, n_values=None) -> np.ndarray:
    """Return finite numbers as an array of one dimension, refuse anything else."""
    try:
        line = np.asarray(values, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError):
        line = np.array([np.nan])
    if not len(line) or not np.isfinite(line).all():
        raise ValueError(f"{name} must hold finite numbers, got {values!r}.")
    if n_values is not None and len(line) != n_values:
        raise ValueError(
            f"{name} must be one code, which has {n_values} numbers, got {len(line)}."
        )
    return line
