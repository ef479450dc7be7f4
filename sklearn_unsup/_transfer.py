"""Fits that start from a model of another table."""

import warnings

import numpy as np
import torch
from sklearn.base import clone

from ._nn.autoregressive import AutoregressiveModel
from ._nn.row_widths import (
    MAX_AUTOREGRESSIVE_WEIGHTS,
    affordable_width,
    n_first_weights,
)
from ._nn.transfer import (
    ColumnKeys,
    calibrate_levels,
    plain_blocks,
    start_perceptron,
    start_rows,
    table_blocks,
)
from ._table.categorical import CategoricalColumn, key_of
from ._table.codec import TableCodec
from ._warnings import warn_user

# Number of rows from which on, and up to which, held-out rows judge a start. Fewer say
# little; more correct what is wrong in a start by themselves.
MIN_JUDGED_ROWS, MAX_JUDGED_ROWS = 30, 2_000
# Fraction of these rows that is held out at a time, and the number of rows that are in
# turn if there are so many.
JUDGING_FRACTION, JUDGING_ROWS = 1 / 5, 200


def check_source(model, source) -> None:
    """Raise an error unless a model can start from another one."""
    name = type(model).__name__
    if not model._takes_start:
        raise ValueError(
            f"start_from is not for {name}, whose networks are trained against each "
            "other: leave it out, or go on with the same columns by warm_start=True."
        )
    if type(source) is not type(model):
        raise TypeError(
            f"start_from must be a fitted {name}, got a {type(source).__name__}: pass "
            "one, such as the last step of a pipeline."
        )
    if not hasattr(source, "net_"):
        raise ValueError(f"start_from={source!r} is not fitted: call its fit first.")
    if not isinstance(source.codec_, TableCodec):
        raise ValueError(
            "start_from was fitted to a sparse matrix, whose columns have no names to "
            "be found by: fit it to dense rows."
        )


def check_columns(model, source) -> None:
    """Raise ValueError unless the codec of a model fits to that of its source."""
    codec, old = model.codec_, source.codec_
    if not isinstance(codec, TableCodec):
        raise ValueError(
            "X is sparse, and start_from matches columns by their names: pass dense "
            "rows, or leave start_from out."
        )
    if codec.numeric_scaling != old.numeric_scaling:
        raise ValueError(
            f"numbers of X are scaled by {codec.numeric_scaling!r}, those of "
            f"start_from by {old.numeric_scaling!r}: pass numeric_scaling="
            f"{old.numeric_scaling!r}."
        )
    keys, old_keys = (
        {*c.numbers, *c.categories} for c in (column_keys(codec), column_keys(old))
    )
    if not keys & old_keys:
        shown = ", ".join(repr(column.name) for column in old.columns_codec_[:20])
        raise ValueError(
            "X shares no column with start_from, by name and kind (number or "
            f"category). It was fitted to {shown}."
        )


def helpful_source(model, X, rng):
    """The source of a model, or None if held-out rows score better without it.

    Warns
    -----
    UserWarning
        If it is None.
    """
    if not MIN_JUDGED_ROWS <= len(X) <= MAX_JUDGED_ROWS:
        return model._start
    known = model.get_params(deep=False)
    quiet = {
        "callbacks": None,  # Those of a user see the fit alone.
        "handle_unknown": "ignore",
        "privacy": None,  # The rows are private ones by now.
        "random_state": int(rng.integers(2**31)),
        "verbose": 0,
    }
    parameters = {**known, **{k: v for k, v in quiet.items() if k in known}}

    def new_judge():
        judge = clone(type(model)(**parameters))
        judge._judges_starts = False
        return judge

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = model._scores_of_starts(list(folds(X, rng)), new_judge)
    started, alone = (part.mean() for part in scores)
    if not started < alone:
        return model._start
    warn_user(
        f"start_from does not help: {len(scores[0])} rows that were held out score "
        f"{started:.2f} after a start from it and {alone:.2f} without. The model "
        "starts afresh."
    )
    return None


def folds(X, rng):
    """Pairs of rows to learn from and of rows that are held out."""
    n = len(X)
    order, n_held_out = rng.permutation(n), round(JUDGING_FRACTION * n)
    n_folds = int(np.clip(JUDGING_ROWS / n_held_out, 1, 1 / JUDGING_FRACTION))
    for place in range(n_folds):
        rolled = np.roll(order, place * n_held_out)
        parts = rolled[n_held_out:], rolled[:n_held_out]
        yield tuple(X.iloc[p] if hasattr(X, "iloc") else X[p] for p in parts)


def column_keys(codec) -> ColumnKeys:
    """What the columns and levels of a codec's encoded tables are called."""
    own = dict(
        zip(
            (c.position_ for c in codec.columns_codec_), codec.match_keys(), strict=True
        )
    )
    numbers = [own[column.position_] for column in codec.numbers_]
    categories, levels, shares = [], [], []
    gaps = {place: position for position, place in codec.mask_of_.items()}
    for place in range(codec.layout_.n_categorical):
        if place in gaps:
            column = codec.columns_codec_[gaps[place]]
            categories.append(("missing", own[column.position_]))
            levels.append([False, True])
            counts = [1.0 - column.missing_share_, column.missing_share_]
            shares.append(torch.tensor(counts))
            continue
        column = codec.categories_[place]
        categories.append(own[column.position_])
        levels.append(level_keys(column))
        frequencies = np.exp(column.log_frequencies())
        shares.append(torch.tensor(frequencies, dtype=torch.float32))
    # A table whose columns are all constant has one number, which is nothing.
    is_constant = not (numbers or categories)
    numbers = ["nothing"] if is_constant else numbers
    return ColumnKeys(numbers, categories, levels, shares)


def level_keys(column: CategoricalColumn) -> list:
    """What the codes of a category stand for."""
    own = [("level", key_of(level)) for level in column.levels_[: column.n_own_]]
    return own + ["others"] * (column.cardinality_ - len(own))


def width_of_rows(source, layout, widest) -> int:
    """Hidden units per column of a model of rows: those of the source, if affordable.

    Parameters
    ----------
    source : estimator or None
    layout : TableLayout
    widest : int
        Maximum number without a source.
    """
    known = 0 if source is None else source.net_.module__autoregressive_width
    # A table may have a few columns more than its source.
    if known and n_first_weights(layout, known) <= 2 * MAX_AUTOREGRESSIVE_WEIGHTS:
        return known
    return affordable_width(layout, widest)


def start_module(module, codec, source, dataset, afresh=frozenset()) -> None:
    """Start the networks of an autoencoder from those of a fitted estimator, if any.

    Parameters
    ----------
    module : Module
    codec : TableCodec
    source : estimator or None
    dataset : DenseDataset
        Rows of the new table.
    afresh : frozenset
        Keys of columns whose networks in a model of rows start as without a source.

    Warns
    -----
    UserWarning
        If parts have other sizes, or are of a kind that columns cannot be found in.
        They start as without a source.
    """
    if source is None:
        return
    old = source.net_.module_
    columns = column_keys(codec), column_keys(source.codec_)
    tables = tuple(table_blocks(part) for part in columns)
    codes = [code_keys(part) for part in (module, old)]
    ends = tuple(part.outputs for part in columns)
    kept = {
        "encoder": start_perceptron(
            module.encoder,
            old.encoder,
            tables,
            tuple(encoder_outputs(*p) for p in zip((module, old), codes, strict=True)),
        ),
        "decoder": start_perceptron(
            module.decoder, old.decoder, tuple(map(plain_blocks, codes)), ends
        ),
    }
    rows, old_rows = (getattr(part, "autoregressive", None) for part in (module, old))
    if isinstance(rows, AutoregressiveModel):
        kept["model of rows"] = old_rows is not None and start_rows(
            rows, old_rows, columns, afresh
        )
        # Models of any order take many steps, and see other columns in each.
        if kept["model of rows"] and type(rows) is AutoregressiveModel:
            calibrate_levels(rows, *dataset.take(slice(None)))
    if kept["decoder"]:
        start_scales(module, old, columns)
    fresh = [name for name, is_kept in kept.items() if not is_kept]
    if fresh:
        warn_user(
            f"start_from: the {' and the '.join(fresh)} cannot be carried over, as "
            "sizes or kinds of networks differ, and start afresh. Pass the parameters "
            "that start_from was made with."
        )


def code_keys(module) -> list:
    return [("component", i) for i in range(module.n_components)]


def encoder_outputs(module, codes) -> list:
    """Keys of an encoder's outputs: codes, or their means and log-variances."""
    if not hasattr(module, "posterior"):
        return codes
    return [(part, code) for part in ("mean", "log_var") for code in codes]


@torch.no_grad()
def start_scales(module, old, columns) -> None:
    """Copy the standard deviations of the numbers that two tables share."""
    places = {key: place for place, key in enumerate(columns[1].numbers)}
    for place, key in enumerate(columns[0].numbers):
        if key in places:
            module.log_scale[place] = old.log_scale[places[key]].to(module.log_scale)
