"""TableCodec: a DataFrame or array to numbers and codes, and back."""

import copy
from collections import Counter

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from .categorical import CategoricalColumn, factorize, key_of
from .frames import as_frame
from .frequent import frequent_values, value_intervals
from .images import refuse_no_pixels, share_scale
from .kinds import is_categorical
from .layout import TableLayout
from .numeric import NumericColumn
from .passes import digests, new_rows
from .plain import Form
from .requests import TableConditions, encode_conditions
from .scaling import is_binary
from .state import array_of, dtype_of, index_of, plain_array, plain_dtype, plain_index
from .unknown import Tolerance


class TableCodec(BaseEstimator):
    """Encode tables as float32 numbers and int64 codes; decode them exactly.

    It keeps the levels of categories and at most `n_quantiles` quantiles of numbers,
    but no rows. Columns that do not vary are not encoded: they come back as their
    constant, whatever `encode` saw in them.

    Parameters
    ----------
    numeric_scaling : {"quantile", "standard", "minmax"} or None, default="quantile"
        "quantile" is the randomised distributional transform: every column standard
        normal. None passes numbers through (dates in the largest unit of time
        that they are multiples of, from the first one on).
    categorical_features : "from_dtype", array-like or None, default="from_dtype"
        Which columns are categories: those of category, string, object and bool dtype;
        or by names, positions or a boolean mask; None for none. An object column of
        numbers, decimals, dates or times is numeric. Arrays have none by dtype, but for
        object arrays.
    max_categories : int, default=1000
        With more levels the rarest share one code, which decodes to them by their
        frequencies.
    n_quantiles : int, default=2000
        Quantiles kept of a numeric column that has more values.
    handle_unknown : {"error", "warn", "ignore"}, default="error"
        "ignore" reads unseen levels as missing where the column had missing values,
        else as the rare code where there is one, else as the most frequent level; and
        unseen missing numbers as the middle of the column. "warn" does so and names
        them in a warning.
    declared_levels : bool, default=False
        Whether the levels of a category dtype that no row of `fit` shows are levels:
        later rows of a stream may have them.
    keep_infrequent : bool, default=True
        Whether the levels that share a code are kept. False: the code decodes to the
        other levels by their frequencies, a category dtype comes back with these alone,
        and levels that are not known share the code.
    image_shape : tuple of int or None, default=None
        Channels, height and width of the image whose pixels the numeric columns are, in
        their order. With "minmax" and "standard" all pixels then have one scale.

    Attributes
    ----------
    layout_ : TableLayout
        Shape of the encoded table.
    matrix_categorical_ : ndarray of bool
        Which columns of :meth:`to_matrix` are codes.

    Examples
    --------
    >>> import pandas as pd
    >>> X = pd.DataFrame({"age": [31, 45, 27], "city": ["Rome", "Oslo", "Rome"]})
    >>> codec = TableCodec().fit(X)
    >>> x_num, x_cat = codec.encode(X)
    >>> x_cat.ravel()
    array([0, 1, 0])
    >>> codec.decode(x_num, x_cat).equals(X)
    True
    """

    def __init__(
        self,
        numeric_scaling="quantile",
        *,
        categorical_features="from_dtype",
        max_categories=1000,
        n_quantiles=2000,
        handle_unknown="error",
        declared_levels=False,
        keep_infrequent=True,
        image_shape=None,
    ):
        self.numeric_scaling = numeric_scaling
        self.categorical_features = categorical_features
        self.max_categories = max_categories
        self.n_quantiles = n_quantiles
        self.handle_unknown = handle_unknown
        self.declared_levels = declared_levels
        self.keep_infrequent = keep_infrequent
        self.image_shape = image_shape

    # Positions of the columns in the order of the encoded table; None for that of X.
    order_ = None
    # Laws that drawn rows are made to meet; None for none.
    laws_ = None

    # ------------------------------------------------------------------ learning

    def fit(self, X, y=None) -> "TableCodec":
        """Learn columns, levels, quantiles, resolutions and ranges of X."""
        self.array_dtype_ = None if isinstance(X, pd.DataFrame) else np.asarray(X).dtype
        frame = as_frame(X)
        self.columns_ = frame.columns
        chosen = self.categorical_mask(frame)
        columns, chosen = self._columns_to_fit(frame, chosen)
        self.columns_codec_ = [
            self._fit_column(*column)
            for column in zip(frame.columns, columns, chosen, strict=True)
        ]
        for position, codec in enumerate(self.columns_codec_):
            codec.position_ = position
        if self.image_shape is not None:
            pixels = [c for c in self.columns_codec_ if isinstance(c, NumericColumn)]
            refuse_no_pixels(pixels, self.image_shape)
            share_scale(pixels, self.numeric_scaling)
        self._lay_out()
        self.chunks_ = digests(frame)
        return self

    def updated(self, X) -> "TableCodec":
        """A codec that has learnt the numbers of more rows, too; this one is the same.

        Columns scaled by quantiles get those of all rows so far. Layout, levels and
        other scales stay what `fit` made them. Another pass over the same rows changes
        nothing: their values do not repeat. Such rows are those of an earlier chunk, in
        any order, or bring no new value to any column whose values hardly repeat.

        Raises
        ------
        ValueError
            If there are values that are unknown, unless these are ignored: what is
            learnt must be what the rows say.
        """
        wider, frame = copy.copy(self), as_frame(X)
        wider.laws_ = None  # which more rows may break
        tolerate = Tolerance(self.handle_unknown, learning=True)
        wider.columns_codec_, columns = [], self._columns_of(frame)
        wider.chunks_, learning = new_rows(self, frame, columns)
        for codec, column in zip(self.columns_codec_, columns, strict=True):
            if codec.position_ in learning:
                codec = tolerate(codec.updated, column)
            elif not codec.encoded_:  # else `encode` looks for what is new
                tolerate(codec.encode, column)
            wider.columns_codec_.append(codec)
        wider._lay_out()
        return wider

    def match_keys(self) -> list:
        """What each column is found by in another table, a tuple of three.

        Its kind, its name, and how many columns of that name come before it.
        """
        seen, keys = Counter(), []
        for column in self.columns_codec_:
            kind = "category" if isinstance(column, CategoricalColumn) else "number"
            keys.append((kind, column.name, seen[column.name]))
            seen[column.name] += 1
        return keys

    def arrange_like(self, other: "TableCodec") -> None:
        """Encode the columns of another table in its order, and new ones after them.

        Images keep their order, which says where pixels are.
        """
        if self.image_shape is not None:
            return
        known = other.match_keys()
        order = range(len(known)) if other.order_ is None else other.order_
        rank = {known[i]: place for place, i in enumerate(order)}
        ranks = [rank.get(key, len(rank)) for key in self.match_keys()]
        self.order_ = sorted(range(len(ranks)), key=ranks.__getitem__)
        self._lay_out()

    def _columns_to_fit(self, frame, chosen):
        """Columns to encode and which of them are categories."""
        return [column for _, column in frame.items()], chosen

    def _fit_column(self, name, column, categorical):
        if categorical:
            return CategoricalColumn(
                name, self.max_categories, self.declared_levels, self.keep_infrequent
            ).fit(column)
        return NumericColumn(name, self.numeric_scaling, self.n_quantiles).fit(column)

    def categorical_mask(self, frame):
        """Which columns of a frame are categories, one bool for each."""
        chosen = self.categorical_features
        if isinstance(chosen, str):
            return [is_categorical(column) for _, column in frame.items()]
        mask = np.zeros(frame.shape[1], dtype=bool)
        if chosen is None:
            return mask
        if isinstance(chosen, list | tuple | pd.MultiIndex):
            # An array would make rows of tuples, and text of numbers beside text.
            chosen = list(chosen)
        else:
            chosen = np.asarray(chosen).tolist()
        if chosen and all(isinstance(item, bool | np.bool_) for item in chosen):
            if len(chosen) != len(mask):
                raise ValueError(
                    f"categorical_features is a mask of {len(chosen)} columns, X has "
                    f"{len(mask)}: pass as many."
                )
            return np.array(chosen)
        for item in chosen:
            mask[self._position(item, frame.columns)] = True
        return mask

    @staticmethod
    def _position(item, columns):
        if pd.api.types.is_hashable(item) and item in columns:
            return columns.get_loc(item)
        is_position = isinstance(item, int | np.integer) and not isinstance(item, bool)
        if is_position and -len(columns) <= item < len(columns):
            return item
        raise ValueError(
            f"categorical_features names {item!r}, which is no column of X. The "
            f"columns are {', '.join(map(repr, columns[:20]))}."
        )

    def _lay_out(self):
        """Place columns in the encoded table: numbers; categories; masks of numbers."""
        codecs = self.columns_codec_
        if self.order_ is not None:
            codecs = [codecs[position] for position in self.order_]
        numeric = [c for c in codecs if isinstance(c, NumericColumn)]
        self.numbers_ = [c for c in numeric if c.encoded_]
        # A constant with gaps is all mask: a category of two levels.
        gaps = [c for c in numeric if not c.encoded_ and has_missing(c)]
        self.categories_ = [
            c for c in codecs if isinstance(c, CategoricalColumn) and c.encoded_
        ]
        masked = [c for c in self.numbers_ if c.has_missing_]
        cardinalities = [c.cardinality_ for c in self.categories_]
        self.categories_ += gaps
        first_mask = len(self.categories_)
        cardinalities += [2] * (len(gaps) + len(masked))
        self.mask_of_ = {
            c.position_: place
            for place, c in enumerate(gaps + masked, first_mask - len(gaps))
        }
        n_numeric = len(self.numbers_)
        masks = tuple(self.mask_of_.get(c.position_, -1) for c in self.numbers_)
        # With nothing that varies a network still needs an input: a column of zeros.
        self.empty_ = n_numeric + len(cardinalities) == 0
        if self.empty_:
            n_numeric, masks = 1, (-1,)
        pixels = ()
        if self.image_shape is not None:
            pixels = tuple(p for p, c in enumerate(numeric) if c.encoded_) or (0,)
        self.layout_ = TableLayout(
            n_numeric, tuple(cardinalities), masks, self.image_shape, pixels
        )
        self.matrix_categorical_ = np.repeat(
            [False, True], [n_numeric, len(self.categories_)]
        )

    # ------------------------------------------------------------------ encoding

    def encode(
        self, X, random_state=None, learning=False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Numbers (n, n_numeric) float32 and codes (n, n_categorical) int64.

        With a numpy Generator as `random_state` an atom is encoded at a random point of
        its interval, which makes columns exactly normal; without, at its middle. For
        rows to learn from unknown values are an error, unless they are ignored.
        """
        frame = as_frame(X)
        layout, n = self.layout_, len(frame)
        x_num = np.zeros((n, layout.n_numeric), np.float32)
        x_cat = np.zeros((n, layout.n_categorical), np.int64)
        tolerate = Tolerance(self.handle_unknown, learning)
        places = self.places()
        for codec, column in zip(
            self.columns_codec_, self._columns_of(frame), strict=True
        ):
            place = places.get(codec.position_)
            if isinstance(codec, CategoricalColumn):
                if codec.encoded_:
                    x_cat[:, place] = tolerate(codec.encode, column)
                continue
            mask = self.mask_of_.get(codec.position_)
            if place is not None:
                z, missing = tolerate(codec.encode, column, random_state)
                x_num[:, place] = z
            else:
                missing = None if mask is None else column.isna().to_numpy()
            if mask is not None and missing is not None:
                x_cat[:, mask] = missing
        tolerate.warn()
        return x_num, x_cat

    def _columns_of(self, frame) -> list:
        """Columns in the order of training: by name, where frames have unique ones."""
        columns = [column for _, column in frame.items()]
        by_name = self.array_dtype_ is None and self.columns_.is_unique
        if not by_name or frame.columns.equals(self.columns_):
            return columns
        places = frame.columns.get_indexer(self.columns_)
        # An array may come after a frame: its columns have no names.
        return [
            columns[place if place >= 0 else position]
            for position, place in enumerate(places)
        ]

    def places(self) -> dict:
        """Column of `x_num` or `x_cat` of each encoded column."""
        both = [*enumerate(self.numbers_), *enumerate(self.categories_)]
        return {
            codec.position_: place
            for place, codec in both
            if codec.encoded_  # a constant with gaps has its mask alone
        }

    def category_positions(self):
        """Position in the table, and in `x_cat`, of all categories and masks."""
        places = self.places()
        for column in self.categories_:
            if isinstance(column, CategoricalColumn):
                yield column.position_, places[column.position_]
        yield from self.mask_of_.items()

    @property
    def varies_(self) -> np.ndarray:
        """Whether each column of the table is encoded, or its gaps are."""
        return np.array(
            [c.encoded_ or c.position_ in self.mask_of_ for c in self.columns_codec_]
        )

    # ------------------------------------------------------------------ decoding

    def decode(
        self, x_num, x_cat, random_state=None, requests=None, beyond_range=False
    ):
        """The table of encoded rows, with the container and dtypes of training.

        Total: any finite numbers and legal codes give a legal table.

        Parameters
        ----------
        x_num : array of shape (n, n_numeric)
        x_cat : array of shape (n, n_categorical)
        random_state : numpy.random.Generator or None, default=None
            Draws the levels behind the shared rare code; None takes the most frequent.
        requests : dict or None, default=None
            By position of a column in X: what its values must be, as
            :meth:`encode_conditions` returns it.
        beyond_range : bool, default=False
            Whether numbers with the scaling "standard" may leave the range of training.
        """
        columns = self._decode_columns(
            x_num, x_cat, random_state, requests or {}, beyond_range
        )
        return self._assemble(columns, len(x_num))

    def held_constraints(self) -> list:
        """What drawn rows are made to meet."""
        return [] if self.laws_ is None else list(self.laws_.constraints)

    def forget_broken_laws(self, X) -> None:
        """Forget the laws that rows which are to be learnt from break."""
        self.laws_ = self.laws_.unbroken(self._columns_of(as_frame(X)))

    def with_laws(self, table, requests, moves_others=False):
        """A decoded table made to meet the laws, and which of its rows do not.

        `requests` are those that :meth:`encode_conditions` returns. For `moves_others`
        see :meth:`Laws.hold`.
        """
        columns = self._columns_of(as_frame(table))
        columns = self.laws_.hold(columns, requests, self.columns_codec_, moves_others)
        return self._assemble(columns, len(table)), self.laws_.find_broken(columns)

    def _decode_columns(self, x_num, x_cat, random_state, requests, beyond_range=False):
        places, n, columns = self.places(), len(x_num), []
        for codec in self.columns_codec_:
            asked = requests.get(codec.position_)
            place, mask = (
                places.get(codec.position_),
                self.mask_of_.get(codec.position_),
            )
            if isinstance(codec, CategoricalColumn):
                codes = np.zeros(n, np.int64) if place is None else x_cat[:, place]
                columns.append(codec.decode(codes, random_state, asked))
                continue
            z = np.zeros(n) if place is None else x_num[:, place]
            missing = None if mask is None else np.asarray(x_cat[:, mask], dtype=bool)
            columns.append(codec.decode(z, missing, asked, beyond_range))
        return columns

    def _assemble(self, columns, n):
        if self.array_dtype_ is None:
            table = dict(enumerate(columns))
            frame = pd.DataFrame(table, index=pd.RangeIndex(n))
            frame.columns = self.columns_
            return frame
        dtype = self.array_dtype_
        if dtype.kind == "U":
            dtype = np.dtype(object)
        out = np.empty((n, len(columns)), dtype)
        for position, column in enumerate(columns):
            out[:, position] = column.to_numpy()
        return out.astype(self.array_dtype_) if dtype != self.array_dtype_ else out

    def to_matrix(self, x_num, x_cat) -> np.ndarray:
        """Decoded numbers (NaN where missing), then codes: what a tree should see.

        Shape (n, n_numeric + categorical columns that are no masks), float64.
        """
        layout = self.layout_
        n_numeric = layout.n_numeric
        out = np.zeros((len(x_num), len(self.matrix_categorical_)))
        for place, codec in enumerate(self.numbers_):
            out[:, place] = codec.to_numbers(x_num[:, place])
            mask = layout.masks[place]
            if mask >= 0:
                out[x_cat[:, mask] == 1, place] = np.nan
        out[:, n_numeric:] = x_cat[:, : len(self.categories_)]
        return out

    @property
    def has_marginals_(self) -> bool:
        """Whether generated numbers can be given those of training, by quantiles.

        Pixels are not: each for itself, they would no longer fit to their neighbours.
        """
        has_scale = self.numeric_scaling is not None and self.image_shape is None
        return has_scale and self.layout_.n_numeric > 0

    def encoded_quantile(self, column: int, u: np.ndarray) -> np.ndarray:
        """Encoded values of training quantiles `u` of a column of `x_num`."""
        if self.empty_:
            return np.zeros(len(u))
        return self.numbers_[column].encoded_quantile(u)

    def cluster_gaps(self, column: int) -> tuple[np.ndarray, np.ndarray]:
        """Quantiles and encoded middles of the gaps of a column of `x_num`."""
        if self.empty_:
            return np.zeros(0), np.zeros(0)
        return self.numbers_[column].cluster_gaps()

    def binary_numbers(self) -> np.ndarray:
        """Encoded numbers of which only 0 and 1 are known, bool of shape (n_numeric,).

        All False in an image, whose pixels are not drawn one by one.
        """
        if self.empty_ or self.image_shape is not None:
            return np.zeros(self.layout_.n_numeric, dtype=bool)
        return np.array([is_binary(column) for column in self.numbers_], dtype=bool)

    def atoms(self) -> list:
        """Of each column of `x_num` the intervals that stand for one value each.

        Arrays of shape (4, n_atoms): least and greatest encoded value, and the
        quantiles in (0, 1) that they are of.
        """
        if self.empty_:
            return [np.empty((4, 0))]
        return [column.atoms() for column in self.numbers_]

    def frequent_values(self, min_share: float, few: int) -> list:
        """Of each column of `x_num` the values of at least a share of the rows.

        All values of a column that has few of them, each in several rows; none under
        other scalings than "quantile".
        """
        if self.empty_ or self.numeric_scaling != "quantile":
            return [np.empty(0)] * self.layout_.n_numeric
        return [frequent_values(column, min_share, few) for column in self.numbers_]

    def intervals(self, values: list) -> list:
        """Intervals of values of each column of `x_num`, as those of :meth:`atoms`."""
        return [*map(value_intervals, self.numbers_, values)]

    # ------------------------------------------------------------------ conditions

    def encode_conditions(self, conditions, n_rows: int) -> TableConditions:
        """What users ask of drawn rows, encoded and in the words of each column.

        Parameters
        ----------
        conditions : dict, DataFrame or None
            By column a request for all rows or one for each; see
            :func:`encode_conditions`.
        n_rows : int

        Raises
        ------
        ValueError
            For an unknown column or level, or a value that a column cannot have; the
            message lists what is known.
        """
        return encode_conditions(self, conditions, n_rows)

    # ------------------------------------------------------------------ saving

    def __getstate__(self):
        """Plain values and numpy arrays where they say it all."""
        state = dict(super().__getstate__())
        if "columns_codec_" in state:
            for name in LAID_OUT:
                del state[name]
            state["columns_"] = plain_index(self.columns_)
            state["columns_codec_"] = [column_state(c) for c in self.columns_codec_]
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        if "columns_codec_" in state:
            self.columns_ = index_of(self.columns_)
            self.columns_codec_ = [column_of_state(s) for s in self.columns_codec_]
            self._lay_out()


# What `_lay_out` makes of the columns.
LAID_OUT = (
    *("numbers_", "categories_", "mask_of_"),
    *("empty_", "layout_", "matrix_categorical_"),
)


def column_state(codec) -> dict:
    """What a column learnt, in plain parts."""
    state = dict(vars(codec))
    if isinstance(codec, CategoricalColumn):
        for name in ("levels_", "index_"):  # follow from the values
            del state[name]
        return {**state, "values_": plain_array(codec.values_)}
    form = codec.form_
    if not pd.api.types.is_object_dtype(form.dtype if form else codec.dtype_):
        # Other dtypes have one of their own, which no file of plain parts could hold.
        state["na_value_"] = None
    if form:
        state["form_"] = {**vars(form), "dtype": plain_dtype(form.dtype)}
    return {**state, "dtype_": plain_dtype(codec.dtype_)}


def column_of_state(state) -> CategoricalColumn | NumericColumn:
    """Inverse of `column_state`."""
    if "values_" not in state:
        codec = NumericColumn.__new__(NumericColumn)
        vars(codec).update(state, dtype_=dtype_of(state["dtype_"]))
        if codec.form_:
            codec.form_ = Form(
                **{**codec.form_, "dtype": dtype_of(codec.form_["dtype"])}
            )
        return codec
    codec = CategoricalColumn.__new__(CategoricalColumn)
    vars(codec).update(state, values_=array_of(state["values_"]))
    codes, levels = factorize(
        codec.name, pd.Series(codec.values_, dtype=codec.values_.dtype)
    )
    codec.levels_ = [levels[code] for code in codes]
    codec.index_ = {key_of(level): i for i, level in enumerate(codec.levels_)}
    return codec


def has_missing(codec: NumericColumn) -> bool:
    """Whether a column that is constant where present is missing in some rows only."""
    return codec.has_missing_ and codec.n_present_ > 0
