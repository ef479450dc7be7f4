"""The shell that the three models share: tables in, tables out, one net between."""

import numbers
import warnings
from contextlib import contextmanager, suppress
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from scipy.sparse import issparse
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from skorch.helper import predefined_split

from ._batches import (
    CHUNK_ROWS,
    Blocks,
    Rows,
    default_batch_size,
    steps_per_epoch,
)
from ._blocks import map_blocks
from ._devices import freed_memory, resolve_device
from ._encoding import fit_codec, upload, widened
from ._frames import (
    explained_warm_start,
    from_polars,
    holds_objects,
    refuse_empty,
    schema_of,
    to_polars,
)
from ._parallel import find_peers
from ._processes import process_token, stream_of_process
from ._sampling import (
    DENSITY_ROWS,
    Proposals,
    TableSampler,
    merge_reservoir,
    smoothed,
)
from ._sklearn import (
    NET_PARAMETERS,
    RATIO_PARAMETERS,
    TABLE_PARAMETERS,
    OtherVersion,
    check_feature_names,
    check_lists,
    check_n_features,
    fit_context,
)
from ._version import __version__

MIN_EPOCHS = 3


class BaseTableModel(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """fit, partial_fit, transform, inverse_transform, sample and score of all models.

    A child says what its net is (`_build_net`), how rows become codes
    (`_encode_rows`) and, if it wants, what is fitted after training
    (`_finish`). Think twice before adding a method here.

    Tables are annotated as `Any`: they have the container of the training data or of
    `set_output`, and a union would make every caller say which.
    """

    _parameter_constraints: dict = {
        **NET_PARAMETERS,
        **TABLE_PARAMETERS,
        **RATIO_PARAMETERS,
    }

    _takes_sparse = False

    _averages_streams = True  # whether streams are used with averaged weights

    # ------------------------------------------------------------------ fitting

    @fit_context
    def fit(self, X, y=None) -> Self:
        """Learn the table.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Numbers, categories, dates and missing values, as they are.
            Autoencoder and VAE take sparse matrices as well, here and elsewhere.
        y : None
            Ignored: present for API consistency.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        check_lists(self)
        with freed_memory():
            self._learn(X)
        return self

    def _learn(self, X):
        going_on = self.warm_start and hasattr(self, "net_")
        with explained_warm_start(going_on):
            X = self._check_table(X, reset=not going_on)
        peers = find_peers(self.data_parallel, self.device, X.shape[0])
        rng = self._start_randomness(going_on, peers)
        if not going_on:
            self._start(X, peers)
        with explained_warm_start(going_on):
            rows = upload(self, X, rng)
        train, valid = self._hold_out(rows, rng)
        if peers is not None:
            peers.check_rows(len(train))
        if going_on:
            self._renew_net(len(train))
        else:
            self.net_ = self._build_net(train, rng)
        with self._usable_after_errors(rows, rng):
            self._train(train, valid, peers)
            self._finish(X, rows, rng)

    @fit_context
    def partial_fit(self, X, y=None) -> Self:
        """Train for one pass over a batch of rows, on top of what was learnt before.

        The first call sets up the codec and the nets: give it rows that show how every
        column varies, and every category, or columns of a category dtype that declares
        them. Numbers may go beyond: their quantiles are learnt from all rows. The
        learning rate does not fall; what the model is used with is an average of the
        weights over the last tenth of the steps.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            The next rows.
        y : None
            Ignored: present for API consistency.

        Returns
        -------
        self : object
            The fitted estimator, ready to transform and sample.
        """
        check_lists(self)
        with freed_memory():
            self._learn_more(X)
        return self

    def _learn_more(self, X):
        first = not hasattr(self, "net_")
        X = self._check_table(X, reset=first)
        peers = find_peers(self.data_parallel, self.device, X.shape[0])
        if first:
            self._start_randomness(False, peers)
            self._start(X, peers, is_stream=True)
        rng = self._stream_rng
        before = self.codec_
        try:
            if not first:
                self.codec_ = widened(before, X)
            rows = upload(self, X, rng)
            if first:
                self.net_ = self._build_net(rows, rng)
            else:
                self._renew_stream(self._n_seen + len(rows))
            with self._usable_after_errors(rows, rng, first):
                self.net_.set_params(
                    max_epochs=1, lr_floor=1.0, averages=self._averages_streams
                )
                self._run(rows, peers)
                self._finish_stream(rows, rng)
        except BaseException:
            self.codec_ = before  # which the weights and the sampler are of
            raise

    def _renew_stream(self, n_rows):
        """Hand what may change between two chunks on to the net of a stream."""
        net = self.net_
        net.lr, net.mixed_precision = self._step_size(), bool(self.mixed_precision)
        # Batches and weight decay follow the rows seen so far.
        net.batch_size = self._batch_size(n_rows)
        net.optimizer__param_groups = self._param_groups(n_rows)
        net.renew_optimizers()

    @contextmanager
    def _usable_after_errors(self, rows, rng, anew=True):
        """Let an error or Ctrl-C leave an estimator that can do all that others can.

        Its weights are the last good ones. With `anew` what sampling needs is fitted
        to their codes, as in a stream; else what was there before still fits.
        """
        if anew:
            self._reservoir, self._sampler, self._n_seen = None, None, 0
        try:
            yield
        except BaseException:
            if anew:
                self._reservoir, self._sampler, self._n_seen = None, None, 0
                with suppress(Exception), warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # the error says more
                    self._finish_stream(rows, rng)
            raise

    def _start_randomness(self, going_on, peers=None):
        """The generator of this fit; those of streams and samples go on from it."""
        state = self.random_state
        if state is None:  # fresh entropy; numpy's global generator is left alone
            seed = np.random.SeedSequence().entropy % 2**63
        else:
            seed = check_random_state(state).randint(2**31 - 1)
        if peers is not None:
            seed = peers.same(seed)
        rng = np.random.default_rng(seed)
        if not going_on:
            self._stream_rng, self._sample_rng, self._density_rng = rng.spawn(3)
            self._sample_home = process_token()
        return rng

    def _start(self, X, peers, is_stream=False):
        vars(self).pop("net_", None)  # of another table: no half of it must stay
        self.device_ = resolve_device(self.device) if peers is None else peers.device
        self.codec_ = fit_codec(self, X, is_stream)

    def _hold_out(self, rows, rng):
        """Rows to train on and, for early stopping, rows to judge on."""
        n = len(rows)
        if not self.early_stopping:
            return rows, None
        n_valid = max(1, round(self.validation_fraction * n))
        if n_valid >= n:
            raise ValueError(
                f"early_stopping with validation_fraction={self.validation_fraction} "
                f"leaves no rows to train on: X has {n}. Pass more rows or "
                "early_stopping=False."
            )
        return rows.split(torch.from_numpy(rng.permutation(n)), n - n_valid)

    def _batch_size(self, n_rows):
        size = self.batch_size
        return min(n_rows, self._default_batch_size(n_rows) if size == "auto" else size)

    def _default_batch_size(self, n_rows):
        return default_batch_size(n_rows)

    def _step_size(self):
        return self.learning_rate_init

    def _n_epochs(self, n_rows, n_processes=1):
        if self.max_iter != "auto":
            return self.max_iter
        per_epoch = steps_per_epoch(n_rows, self._batch_size(n_rows) * n_processes)
        return max(MIN_EPOCHS, -(-self._default_steps(n_rows) // per_epoch))

    def _net_options(self, n_rows, rng):
        """Keyword arguments of the skorch net that all models set alike."""
        return {
            "device": self.device_,
            "batch_size": self._batch_size(n_rows),
            "max_epochs": self._n_epochs(n_rows),
            "lr": self._step_size(),
            "optimizer__weight_decay": self.weight_decay,
            "n_iter_no_change": self.n_iter_no_change,
            "tol": self.tol,
            "callbacks": self.callbacks,
            "mixed_precision": bool(self.mixed_precision),
            "verbose": int(bool(self.verbose)),
            "progress_name": type(self).__name__,
            "seed": int(rng.integers(2**31)),
        }

    def _renew_net(self, n_rows):
        """Hand what may change between two warm fits on to the net that is kept."""
        net = self.net_
        options = {
            "lr": self._step_size(),
            "batch_size": self._batch_size(n_rows),
            "callbacks": self.callbacks,
            "optimizer__param_groups": self._param_groups(n_rows),
            **{f"{name}__weight_decay": self.weight_decay for name in net._optimizers},
            "n_iter_no_change": self.n_iter_no_change,
            "tol": self.tol,
            "mixed_precision": bool(self.mixed_precision),
            "verbose": int(bool(self.verbose)),
        }
        for name, value in options.items():
            # `set_params` would begin anew, and set the weight decay of all groups.
            setattr(net, name, value)
        net.initialize_callbacks()
        net.renew_optimizers()

    def _param_groups(self, n_rows):
        """Parameters of the optimizer by patterns of the names of weights."""
        return []

    def _train(self, train, valid, peers):
        n_processes = 1 if peers is None else peers.n_processes
        self.net_.set_params(
            train_split=None if valid is None else predefined_split(valid),
            max_epochs=self._n_epochs(len(train), n_processes),
            lr_floor=0.0,
            averages=False,
        )
        self._run(train, peers)

    def _run(self, rows, peers):
        """Train the net, which keeps nothing that belongs to this run alone."""
        self.net_.peers_ = peers
        try:
            self.net_.partial_fit(rows)
        finally:
            # It holds the rows that were held out; a fitted object holds none.
            self.net_.train_split, self.net_.peers_ = None, None
            self._read_history()

    def _read_history(self):
        history = self.net_.history
        self.loss_curve_ = [epoch["train_loss"] for epoch in history]
        self.n_iter_ = len(self.loss_curve_)
        self.validation_scores_ = None
        if self.early_stopping:
            self.validation_scores_ = [
                -epoch["valid_loss"] for epoch in history if "valid_loss" in epoch
            ]

    def _sampling_options(self):
        """What rows are drawn with: a density of codes (or None), a density ratio."""
        return {"density": None, "density_ratio": self.density_ratio}

    def _finish(self, X, rows, rng):
        """Measure the trained net, and fit what sampling needs to its codes."""
        self._measure(rows, rng)
        options = self._sampling_options()
        if issparse(X):
            options["density_ratio"] = None
        self._sampler = TableSampler(**options)
        self._reservoir, self._n_seen = None, len(rows)
        codes = None if options["density"] is None else self._some_codes(rows, rng)
        self._sampler.fit(self, X, codes, rng)

    def _finish_stream(self, rows, rng):
        """Add codes to the reservoir; `sample` fits the density when it is asked.

        No code is kept as it is: it would decode to its row.
        """
        self._measure(rows, rng)
        if self._sampling_options()["density"] is None:
            self._sampler = None
            self._n_seen += len(rows)
            return
        if self._reservoir is None and self._sampler is not None:
            # After a `fit`, which keeps no codes, its density stands for its rows.
            n = min(self._n_seen, DENSITY_ROWS)
            if self._sampler.density is not None:
                self._reservoir = self._sampler.density.sample(n, rng)
        codes = smoothed(self._some_codes(rows, rng), self._reservoir, rng)
        self._reservoir = merge_reservoir(
            self._reservoir, self._n_seen, codes, len(rows), rng
        )
        self._n_seen += len(rows)
        self._sampler = None

    def _some_codes(self, rows, rng):
        index = torch.from_numpy(rng.permutation(len(rows))[:DENSITY_ROWS])
        return self._codes_for_density(rows, index, rng)

    def _ready_sampler(self):
        if self._sampler is None:
            density = self._sampling_options()["density"]
            if density is not None and self._reservoir is None:
                raise NotFittedError(
                    f"This {type(self).__name__} cannot sample: an error ended its "
                    "`fit` before codes were kept for latent_density. Call `fit` again."
                )
            sampler = TableSampler(density, None)
            try:
                sampler.fit(self, None, self._reservoir, self._density_rng)
            except BaseException:
                self._sampler = None
                raise
        return self._sampler

    # ------------------------------------------------------------------ verbs

    def transform(self, X) -> Any:
        """Reduce rows to their codes.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows with the columns that `fit` saw.

        Returns
        -------
        codes : ndarray of shape (n_samples, n_components), float32
            The same for the same row in any company.
        """
        check_is_fitted(self)
        rows = upload(self, self._check_table(X, reset=False))
        return self._each_row(self._encode_rows, rows).cpu().numpy()

    def inverse_transform(self, X) -> Any:
        """The most likely table for the given codes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_components)
            Codes, as `transform` gives them.

        Returns
        -------
        table : DataFrame or ndarray of shape (n_samples, n_features)
            With the container, columns and dtypes that `fit` saw.
        """
        check_is_fitted(self)
        codes = check_array(X, dtype=np.float32, input_name="codes")
        if codes.shape[1] != self._n_features_out:
            raise ValueError(
                f"codes have {codes.shape[1]} columns, but {type(self).__name__} was "
                f"fitted with n_components={self._n_features_out}: pass what "
                "transform returned."
            )
        # A frame's own array may be read-only, which torch warns of.
        codes = torch.from_numpy(np.require(codes, requirements="W"))
        rows = Rows(codes, torch.empty((len(codes), 0)), self.device_)
        x_num, x_cat = self._each_row(lambda z, _: self._mode(z), rows)
        table = self.codec_.decode(x_num.cpu().numpy(), x_cat.cpu().numpy())
        return to_polars(table, self._polars_schema)

    def sample(self, n_samples=1, *, conditions=None, random_state=None) -> Any:
        """Draw new rows.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        conditions : dict or None, default=None
            Values that categorical columns must have in every row, such as
            ``{"sex": "Female"}``. A value may be a sequence of length `n_samples`.
            Columns of an array are named by their position.
        random_state : int, RandomState instance or None, default=None
            With an int the same rows come at every call. With None two calls differ,
            and a second run of the program repeats both if the estimator's own
            `random_state` is an int. Worker processes (forks, those of joblib,
            multiprocessing and Dask) that share a model draw rows of their own, which
            no run repeats: pass them ints where that matters.

        Returns
        -------
        table : DataFrame or ndarray of shape (n_samples, n_features)
            With the container, columns and dtypes that `fit` saw.

        Raises
        ------
        ValueError
            If a condition names an unknown column or level; the known ones are listed.
        """
        check_is_fitted(self)
        if not isinstance(n_samples, numbers.Integral) or n_samples < 1:
            raise ValueError(
                f"n_samples must be an int of at least 1, got {n_samples!r}."
            )
        if random_state is None:
            self._sample_rng, self._sample_home = stream_of_process(
                self._sample_rng, self._sample_home
            )
            rng = self._sample_rng
        else:
            seed = check_random_state(random_state).randint(2**31 - 1)
            rng = np.random.default_rng(seed)
        codes, fixed = self.codec_.encode_conditions(conditions, n_samples)
        with freed_memory():
            sampler = self._ready_sampler()
            x_num, x_cat = sampler.sample(self, int(n_samples), codes, rng)
        table = self.codec_.decode(x_num, x_cat, random_state=rng, fixed=fixed)
        return to_polars(table, self._polars_schema)

    def score(self, X, y=None) -> float:
        """Mean of :meth:`score_samples` over the rows, in nats per row.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows with the columns that `fit` saw.
        y : None
            Ignored: present for API consistency.

        Returns
        -------
        score : float
            Higher is better.
        """
        return float(np.mean(self.score_samples(X), dtype=np.float64))

    # ------------------------------------------------------- for the sampler

    def _propose(self, n, given, rng):
        """Candidate rows with log-weights for the categories that are given."""
        return Proposals(self, n, given, rng)

    def _draw_codes(self, n, rng):
        """New codes from the fitted density, shape (n, n_components), on the device."""
        codes = self._sampler.density.sample(n, rng)
        return torch.from_numpy(codes).to(self.device_)

    @torch.no_grad()
    def _distribution(self, codes):
        """Distribution of rows given codes on the device."""
        module = self.net_.module_.eval()
        return module.distribution(module.decode(codes))

    def _mode(self, codes):
        """The most likely `x_num` and `x_cat` given codes on the device."""
        return self._distribution(codes).mode()

    # ------------------------------------------------------------------ helpers

    def _check_table(self, X, reset):
        X, schema = from_polars(X), schema_of(X)
        if reset:
            self._polars_schema = schema
        if isinstance(X, pd.DataFrame):
            check_feature_names(self, X, reset=reset)
            check_n_features(self, X, reset=reset)
            refuse_empty(X, type(self).__name__)
            return X
        return validate_data(
            self,
            X,
            reset=reset,
            dtype=None,
            accept_sparse="csr" if self._takes_sparse else False,
            ensure_all_finite=False if holds_objects(X) else "allow-nan",
        )

    def _codes_for_density(self, rows, index, rng):
        """Codes of the indexed rows that the latent density is fitted to, an array."""
        return self._each_row(self._encode_rows, rows, index).cpu().numpy()

    def _each_row(self, function, rows, index=None):
        """What a function of blocks says of rows, the same bits in any company."""
        return map_blocks(function, rows, self.codec_.layout_.width, index)

    def _blocks(self, rows, index=None):
        """Rows, all or those of an index, a bounded part at a time, to sum up over."""
        return Blocks(rows, self.codec_.layout_.width, index, CHUNK_ROWS)

    @torch.no_grad()
    def _encode_rows(self, x_num, x_cat):
        return self.net_.module_.eval().encode(x_num, x_cat)

    @property
    def _n_features_out(self):
        return self.net_.module_.n_components

    def __sklearn_is_fitted__(self):
        return hasattr(self, "net_")

    def __getstate__(self):
        return {**super().__getstate__(), "_package_version": __version__}

    def __setstate__(self, state):
        state = dict(state)
        written_by = state.pop("_package_version", "unknown")
        if written_by != __version__:
            warnings.warn(OtherVersion(type(self).__name__, written_by), stacklevel=2)
        super().__setstate__(state)
        if hasattr(self, "net_"):  # loaded without the GPU that it was fitted on
            self.device_ = str(self.net_.device)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.sparse = self._takes_sparse
        tags.input_tags.categorical = True
        tags.non_deterministic = False
        tags.transformer_tags.preserves_dtype = []  # codes are float32
        return tags
