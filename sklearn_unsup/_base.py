"""The base class of the three estimators."""

import copy
import warnings
from abc import ABCMeta, abstractmethod
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ._drawing import draw_table
from ._encoding import CODEC_PARAMETERS, fit_codec, hold_out, updated_codec, upload
from ._fitting import NetFitting
from ._interpretation import CodeInspection
from ._nn.chunks import CHUNK_ROWS, map_blocks
from ._nn.device import freed_memory, resolve_device
from ._own_nets import OwnNets
from ._parameters import COMMON_PARAMETERS, check_parameters, shape_parameters
from ._public_methods import copy_public_methods
from ._sampling.density import DENSITY_ROWS
from ._sampling.processes import process_token, rng_for_process
from ._sampling.proposals import LatentSource
from ._sampling.sampler import TableSampler
from ._sklearn import PackageVersionWarning, fit_context
from ._table.frames import as_container
from ._table.polars import is_polars, schema_of, to_polars
from ._table.requests import n_rows_asked
from ._table.scaling import refuse_dense_options
from ._training.callbacks import rows_bar
from ._training.data import DatasetChunks, DenseDataset
from ._training.distributed import join_process_group
from ._training.schedule import default_batch_size
from ._training.trial import Trial
from ._transfer import check_columns, check_source, helpful_source
from ._validation import (
    check_codes,
    check_n_samples,
    check_seed,
    check_table,
    explained_warm_start,
    warn_of_rows,
)
from ._version import __version__
from ._warnings import warn_user


class BaseTableModel(
    NetFitting,
    CodeInspection,
    OwnNets,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
    metaclass=ABCMeta,
):
    """Base class with the methods that all three estimators share.

    A subclass implements the hooks below: it builds the net, says where new rows come
    from, and measures the trained net.

    Tables are annotated as `Any`, because their type is that of the training data or is
    set by `set_output`. With a union every caller would have to narrow the type.
    """

    _parameter_constraints: dict = COMMON_PARAMETERS

    # Parameters of its own that codec or net are made with.
    _own_shape_parameters: tuple = ()
    # Whether the estimator accepts sparse matrices.
    _takes_sparse = False
    # Whether a model of a stream uses an average of its weights.
    _averages_streams = True
    # Whether the weights of a fit are, which then has a constant step size.
    _averages_fit = False
    # Whether a fit may start from a model of another table, and in such a fit that
    # model. No fitted estimator keeps it.
    _takes_start, _start = True, None
    # Whether held-out rows find out first if such a start helps.
    _judges_starts = True
    # Meaning of numeric_scaling="auto" for a table that does not look like pixels.
    _default_scaling = "quantile"
    # Minimum number of columns of a table that looks like pixels.
    _min_pixel_columns = 32
    # Whether such columns may stand beside categories, which are labels of the images.
    _knows_labelled_pixels = False
    # What the trial of the latest fit has shown; None for a fit without a trial.
    _trial = None

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if BaseTableModel in cls.__bases__:
            copy_public_methods(cls)

    # -------------------------------------------------------- hooks of the subclasses

    @abstractmethod
    def _build_net(self, dataset, rng):
        """Build an initialized net for an encoded dataset."""

    @abstractmethod
    def _default_steps(self, n_rows) -> int:
        """Number of gradient steps of a fit with ``max_iter="auto"``."""

    @abstractmethod
    def _row_source(self):
        """Source of new rows: a `LatentSource` or a `RowSource`."""

    @abstractmethod
    def _sampling_options(self) -> dict:
        """Arguments `latent_density` and `density_ratio` of the sampler."""

    @abstractmethod
    def _evaluate_fit(self, dataset, rng) -> None:
        """Set the fitted attributes that are measured on the training rows."""

    def _param_groups(self, n_rows) -> list:
        """Parameter groups of the optimizer: pairs of a name pattern and options."""
        return []

    def _has_few_rows(self, dataset) -> bool:
        """Whether a trial finds out how long to train on so few rows."""
        return False

    def _run_trial(self, dataset, rng) -> Trial:
        """Find out on held-out rows how long to train."""
        raise NotImplementedError

    def _check_own_parameters(self) -> None:
        """Raise for parameters that do not go together, before a row is read."""

    def _replace_table(self, X, process_group) -> Any:
        """Table to learn from in place of X, with the same columns and dtypes."""
        return X

    def _changeable_parameters(self) -> tuple:
        """Shape parameters that a fit with `warm_start` puts in effect all the same."""
        return ()

    def _default_batch_size(self, n_rows) -> int:
        """Number of rows per step with ``batch_size="auto"``."""
        return default_batch_size(n_rows)

    def _step_size(self) -> float:
        """Learning rate of the optimizer after warm-up."""
        return self.learning_rate_init

    def _latent_for_density(self, dataset, index, rng):
        """Latent vectors of the rows at `index`, for fitting the density; an array."""
        return self._map_rows(self._encode_batch, dataset, index).cpu().numpy()

    # ------------------------------------------------------------------ fitting

    @fit_context
    def fit(self, X, y=None, *, start_from=None) -> Self:
        """Learn the table.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Numbers, categories, dates and missing values, as they are.
            Autoencoder and VAE take sparse matrices as well, here and elsewhere.
        y : None
            Ignored: present for API consistency.
        start_from : estimator or None, default=None
            A fitted estimator of the same class, of a related table: the networks
            start from its own. Columns are found by name and kind, levels by value;
            see :doc:`/guide/transfer`. Of 30 to 2,000 rows up to 200 are held out in
            turn first, to find out whether they are likelier with the start; if they
            are not, a warning says so, and the networks start afresh. The estimator
            that is given stays as it is. In a pipeline it is passed as
            ``fit(X, vae__start_from=fitted)``.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        check_parameters(self, "fit")
        if start_from is not None:
            check_source(self, start_from)
            # A copy, which keeps its net even where a model starts from itself.
            self._start = copy.copy(start_from)
        try:
            with freed_memory():
                self._fit(X)
        finally:
            for name in ("_start", "_found"):
                vars(self).pop(name, None)
        return self

    def _fit(self, X):
        is_warm_start = (
            self.warm_start and hasattr(self, "net_") and self._start is None
        )
        with explained_warm_start(is_warm_start):
            X = self._check_table(X, reset=not is_warm_start)
        process_group = join_process_group(self.data_parallel, self.device, X.shape[0])
        rng = self._init_randomness(is_warm_start, process_group)
        X = self._replace_table(X, process_group)
        if not is_warm_start:
            self._begin_fit(X, process_group)
            if self._start is not None:
                self._prepare_start(X, process_group, rng)
        with explained_warm_start(is_warm_start):
            dataset = self._encode_for_training(X, rng)
        train, valid = self._hold_out(dataset, rng)
        if process_group is not None:
            process_group.check_n_rows(len(train))
        if is_warm_start:
            if not self._has_few_rows(train):
                self._trial = None
            self._update_net(len(train))
        else:
            warn_of_rows(X, type(self).__name__)
            self._trial = None
            if self._has_few_rows(train) and process_group is None:
                self._trial = self._run_trial(train, rng)
            self.net_ = self._build_net(train, rng)
        self._made_with = shape_parameters(self)
        with self._usable_after_errors(dataset, rng):
            self._train(train, valid, process_group)
            self._fit_sampler(X, dataset, rng)

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
        check_parameters(self, "partial_fit")
        with freed_memory():
            self._partial_fit(X)
        return self

    def _partial_fit(self, X):
        first = not hasattr(self, "net_")
        X = self._check_table(X, reset=first)
        process_group = join_process_group(self.data_parallel, self.device, X.shape[0])
        X = self._replace_table(X, process_group)
        self._trial = None
        if first:
            self._init_randomness(False, process_group)
            self._begin_fit(X, process_group, is_stream=True)
        rng = self._stream_rng
        codec_before = self.codec_
        try:
            if not first:
                self.codec_ = updated_codec(codec_before, X)
                self._follow_codec()
            dataset = self._encode_for_training(X, rng)
            if first:
                self.net_ = self._build_net(dataset, rng)
                self._made_with = shape_parameters(self)
            else:
                self._update_stream_net(self._sampler.n_rows_ + len(dataset))
            with self._usable_after_errors(dataset, rng, first):
                self.net_.set_params(
                    max_epochs=1,
                    lr_floor=1.0,
                    average_weights=self._averages_streams,
                    is_stream=True,
                    full_batch=False,
                )
                self._run_net(dataset, process_group)
                self._update_sampler(dataset, rng)
        except BaseException:
            # The weights and the sampler belong to the codec from before the call.
            self.codec_ = codec_before
            if not first:
                self._follow_codec()
            raise

    def _follow_codec(self):
        """Change what a net knows of the codec, which has just become another one."""

    @contextmanager
    def _usable_after_errors(self, dataset, rng, new_sampler=True):
        """Leave a usable estimator if an error or Ctrl-C ends the block.

        The net restores its last good weights. If `new_sampler`, the sampler is then
        replaced by one that is fitted when it is used, as in a stream. Otherwise the
        sampler from before the block is still valid.
        """
        if new_sampler:
            self._sampler = self._new_sampler()
        try:
            yield
        except BaseException:
            if new_sampler:
                self._sampler = self._new_sampler()
                with suppress(Exception), warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # The error is more important.
                    self._update_sampler(dataset, rng)
            raise

    def _new_sampler(self):
        return TableSampler(**self._sampling_options(), rng=self._density_rng)

    def _init_randomness(self, is_warm_start, process_group=None):
        """Return the generator of this fit, and set those of streams and samples."""
        state = self.random_state
        if state is None:  # scikit-learn would use numpy's global generator.
            seed = np.random.SeedSequence().entropy % 2**63
        else:
            seed = check_random_state(state).randint(2**31 - 1)
        if process_group is not None:
            seed = process_group.broadcast(seed)
        rng = np.random.default_rng(seed)
        if not is_warm_start:
            self._stream_rng, self._sample_rng, self._density_rng = rng.spawn(3)
            self._sample_token = process_token()
        return rng

    def _begin_fit(self, X, process_group, is_stream=False):
        # If fitting the codec fails, the net of an earlier table must not remain.
        vars(self).pop("net_", None)
        shared_device = None if process_group is None else process_group.device
        self.device_ = shared_device or resolve_device(self.device)
        options = {name: getattr(self, name) for name in CODEC_PARAMETERS}
        auto = self._default_scaling, self._min_pixel_columns
        knows_labels = self._knows_labelled_pixels
        self.codec_ = fit_codec(X, *auto, knows_labels, is_stream, **options)

    def _prepare_start(self, X, process_group, rng):
        """Judge the model to start from, and encode columns in its order."""
        check_columns(self, self._start)
        if self._judges_starts and process_group is None:
            self._start = helpful_source(self, X, rng)
        if self._start is not None:
            self.codec_.arrange_like(self._start.codec_)

    def _scores_of_starts(self, folds, new_judge):
        """Scores of held-out rows after fits with the start, and without.

        Parameters
        ----------
        folds : list of tuple
            Tables to learn from, and rows that are held out.
        new_judge : callable
            Returns an estimator to fit to them.
        """
        scores = [
            new_judge().fit(train, start_from=start).score_samples(held_out)
            for start in (self._start, None)
            for train, held_out in folds
        ]
        return [np.concatenate(scores[i:][: len(folds)]) for i in (0, len(folds))]

    def _encode_for_training(self, X, rng):
        if issparse(X):
            refuse_dense_options(self.categorical_features, self.density_ratio)
        dataset = upload(self.codec_, X, self.device_, rng)
        self.constraints_ = self.codec_.held_constraints()
        return dataset

    def _hold_out(self, dataset, rng):
        """Rows to train on and, for early stopping, rows to judge on."""
        if self.early_stopping in (False, "auto"):
            return dataset, None
        return hold_out(dataset, self.validation_fraction, rng)

    def _fit_sampler(self, X, dataset, rng):
        """Measure the trained net, and fit the sampler."""
        self._evaluate_fit(dataset, rng)
        self._keep_codes(dataset)
        latent = self._latent_sample(dataset, rng)
        X = None if issparse(X) else X
        self._sampler.fit(self._row_source(), self.codec_, latent, X, len(dataset), rng)

    def _update_sampler(self, dataset, rng):
        """Measure the trained net, and add rows to the sampler."""
        self._evaluate_fit(dataset, rng)
        self._keep_codes(dataset)
        self._sampler.update(self._latent_sample(dataset, rng), len(dataset), rng)

    def _latent_sample(self, dataset, rng):
        """Latent vectors of at most DENSITY_ROWS rows; None if not needed."""
        if not self._sampler.needs_latent:
            return None
        index = torch.from_numpy(rng.permutation(len(dataset))[:DENSITY_ROWS])
        return self._latent_for_density(dataset, index, rng)

    # ------------------------------------------------------------------ tables

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
        dataset = self._encode_table(X)
        return self._map_rows(self._encode_batch, dataset).cpu().numpy()

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
        z = torch.from_numpy(check_codes(self, X))
        dataset = DenseDataset(z, torch.empty((len(z), 0)), self.device_)
        x_num, x_cat = self._map_rows(lambda z, _: self._mode(z), dataset)
        arrays = x_num.cpu().numpy(), x_cat.cpu().numpy()
        table = self.codec_.decode(*arrays, beyond_range=True)
        return to_polars(table, self._polars_schema)

    def sample(self, n_samples=1, *, conditions=None, random_state=None) -> Any:
        """Draw new rows.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows; of a DataFrame of conditions that of its rows.
        conditions : dict, DataFrame or None, default=None
            What the rows must have. In a dict, by column: a level, number or date; a
            set of levels; a range as a tuple (low, high) of numbers, dates or ordered
            levels, both included, with None for no limit; None for a missing value, and
            (None, None) for any but a missing one. A list, array or Series of length
            `n_samples` asks for something else in each row. A DataFrame holds partial
            rows: a row is drawn for each, and its missing cells are filled in. Values
            are read as the type of their column: 1 is True where levels are flags.
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

        Warns
        -----
        UserWarning
            If no training row has what is asked for, or the model finds it very
            unlikely together. The rows are drawn all the same.
        """
        check_is_fitted(self)
        if is_polars(conditions):
            conditions = as_container(conditions, "conditions")
        n_samples = n_rows_asked(conditions, check_n_samples(n_samples))
        rng = self._rng_of(random_state)
        # How many rows conditions take is not known before.
        total = n_samples if conditions is None else None
        bar = rows_bar(type(self).__name__, total, bool(self.verbose))
        with freed_memory(), bar:
            draw = partial(self._sample_encoded, rng=rng, report=bar.update)
            table = draw_table(draw, self.codec_, conditions, n_samples, rng)
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

    # ------------------------------------------------------------------ helpers

    def _encode_table(self, X):
        """Check a table that is not for training, and encode it as a dataset."""
        return upload(self.codec_, self._check_table(X, reset=False), self.device_)

    def _rng_of(self, random_state):
        """Generator of draws; that of the model for None."""
        if random_state is not None:
            seed = check_seed(random_state).randint(2**31 - 1)
            return np.random.default_rng(seed)
        self._sample_rng, self._sample_token = rng_for_process(
            self._sample_rng, self._sample_token
        )
        return self._sample_rng

    def _sample_encoded(self, conditions, rng, report=None, n_draws=1):
        """Draw rows `x_num`, `x_cat`, and the log-probability of their conditions."""
        source = self._row_source()
        if report is not None:
            source.report = report
        return self._sampler.sample(source, self.codec_, conditions, rng, n_draws)

    def _latent_source(self):
        return LatentSource(self._distribution, self.codec_, self.device_)

    @torch.no_grad()
    def _distribution(self, z):
        """Distribution of rows given latent vectors, on the device."""
        module = self.net_.module_.eval()
        return module.distribution(module.decode(z))

    def _mode(self, z):
        """The most likely rows `x_num`, `x_cat` given latent vectors, on the device."""
        return self._distribution(z).mode()

    def _check_table(self, X, reset):
        checked = check_table(self, X, reset)
        if reset:
            self._polars_schema = schema_of(X)
        return checked

    def _map_rows(self, function, dataset, index=None):
        """Apply a function to batches; a row's result does not depend on other rows."""
        return map_blocks(function, dataset, self.codec_.layout_.working_width, index)

    def _chunks(self, dataset, index=None):
        """Batches of all rows, or of those at `index`, for sums over rows."""
        width = self.codec_.layout_.working_width
        return DatasetChunks(dataset, width, index, CHUNK_ROWS)

    @torch.no_grad()
    def _encode_batch(self, x_num, x_cat):
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
            warn_user(PackageVersionWarning(type(self).__name__, written_by))
        super().__setstate__(state)
        if hasattr(self, "net_"):  # A net of a missing GPU was loaded onto the CPU.
            self.device_ = str(self.net_.device)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        is_free = not self.constraints or isinstance(self.constraints, str)
        tags.input_tags.sparse = self._takes_sparse and is_free
        tags.input_tags.categorical = True
        tags.non_deterministic = False
        tags.transformer_tags.preserves_dtype = []  # Codes are always float32.
        return tags
