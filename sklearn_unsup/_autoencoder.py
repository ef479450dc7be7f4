"""AutoencoderTransformer."""

import numbers
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.utils.validation import check_is_fitted
from torch.nn import functional as F

from ._base import BaseTableModel
from ._interpretation import DecoderInspection
from ._nn.autoencoders import LOG_SCALE_MIN, Autoencoder
from ._nn.distributions import presence
from ._nn.losses import ReconstructionLoss, check_unit_interval
from ._nn.pca import principal_axes
from ._parameters import CODING_PARAMETERS, DENSITY_PARAMETERS, resolved_layer_sizes
from ._sampling.density import DENSITY_ROWS
from ._scoring import explained, replaced_losses
from ._sklearn import Interval, StrOptions
from ._table.scaling import looks_like_pixels
from ._training.data import DatasetChunks
from ._training.net import TableNet
from ._training.trial import Trial, confirm_trial, is_doubtful, run_trial
from ._transfer import start_module

# Maximum number of rows on which explained variances are measured.
VARIANCE_ROWS = 2_000
# Maximum number of encoded values from which the principal axes are computed.
PCA_ENTRIES = 2**27
# Few rows are at most so many, of at most so many encoded values.
FEW_ROWS, FEW_ENTRIES = 5_000, 2**21
# Fraction of few rows that a trial fit is judged on, and the number of rows below which
# there is no trial, because its result would be chance.
TRIAL_FRACTION, MIN_TRIAL_ROWS = 0.2, 40
# Epochs of few rows: bounds of their maximum number, the number of rows for each of
# them, the number of epochs without a gain that ends a trial, and that of a decoder of
# categories without a trial.
EPOCHS_BOUNDS, ROWS_PER_EPOCH, PATIENCE, UNTRIED_EPOCHS = (15, 40), 40, 3, 6
# Weight of the linear decoder's error. With 1 linear models on the codes were less
# accurate than on those of PCA; with 10 the network added little to PCA.
LINEAR_WEIGHT = 3.0
# Minimum number of columns of a picture.
PICTURE_COLUMNS = 32
# Maximum batch size for images, and how many times as large the step size is: with one
# thread small batches and large steps learn most in a given time.
IMAGE_BATCH, IMAGE_STEP_FACTOR = 128, 4.0
# Minimum share of a category in the slope of its logit at the start.
MIN_START_SHARE = 0.05


class AutoencoderTransformer(DecoderInspection, BaseTableModel):
    """Non-linear dimensionality reduction by an autoencoder that starts at PCA.

    Encoder and decoder are multilayer perceptrons, each beside a linear path that is
    initialised from the principal axes while the non-linear branch starts at zero:
    training starts at PCA and leaves it only for something better. With few rows
    that is found out on rows held out, and PCA it stays if there is nothing better. The
    code is linear, so no component can die. Rows may be numbers, categories, dates and
    missing values, or those of a sparse matrix, which is never made dense as a whole;
    see the user guide for how a table is encoded.

    Parameters
    ----------
    n_components : int or float, default=8
        Number of components to keep. A float between 0 and 1, with ``ordered=True``,
        keeps as many as explain that fraction of the variance.
    hidden_layer_sizes : int, tuple of int or "auto", default="auto"
        Widths of the encoder's hidden layers; the decoder has them in reverse. An
        int is one layer; with an empty tuple encoder and decoder are linear. "auto" is
        (512, 256), and (64, 32) for tables that `early_stopping` says have few rows.
        With `image_shape`: channels of convolutions, each of which halves height and
        width; "auto" is (16, 48) for images of 28 x 28.
    activation : {"elu", "gelu", "identity", "leaky_relu", "relu", "selu", "sigmoid", \
            "silu", "softplus", "tanh"}, default="silu"
        Activation function of the hidden layers.
    encoder, decoder : type, callable, Module or None, default=None
        Own networks in the place of the multilayer perceptrons: a subclass of
        :class:`torch.nn.Module`, a function that returns a module, or a module, of
        which a copy is trained. Their arguments are parameters too, such as
        ``encoder__width=64``, see :doc:`/guide/own_nets`.
    loss : {"auto", "squared_error", "binary_crossentropy"}, default="auto"
        How numbers are compared; categories always by cross-entropy.
        "binary_crossentropy" needs encoded numbers in [0, 1]. "auto" is
        "squared_error".
    noise : float, default=0.05
        Denoising: standard deviation of the uniform noise added to encoded numbers
        while training, and probability that a category is hidden. A little of it, like
        the default, keeps small codes from learning rows by heart.
    ordered : bool, default=False
        Order the components by importance with nested dropout [2]_: the first k of
        them are then a good code of size k, for every k.
    numeric_scaling : {"auto", "quantile", "standard", "minmax"} or None, \
            default="auto"
        Encoding of numbers. "auto" is "standard", but None for a table of
        numbers that all lie in [0, 1], such as pixels. Sparse rows in [0, 1] are
        divided by one number, so that the mean variance of a column is 1.
    categorical_features : "from_dtype", array-like or None, default="from_dtype"
        Which columns are categories: by dtype (category, string, object, bool), by
        names, positions or a boolean mask; None for none.
    image_shape : tuple of int or None, default=None
        What image the numbers of a row are, pixel by pixel: (height, width), or
        (channels, height, width), channels first as in torch. The networks are then
        convolutional, and categories beside the pixels are labels. All pixels have
        one scale: with `numeric_scaling` "auto" none if they are in [0, 1], else they
        are brought there. None for a table.
    handle_unknown : {"error", "warn", "ignore"}, default="warn"
        What to do with what `fit` has not seen: refuse it, or read it as something
        known, with a warning that names it or without. A category is then read as
        missing where the column had missing values, else as a rare or the most
        frequent one, and a missing number as the middle of its column. `partial_fit`
        learns nothing from such rows: it refuses them unless they are ignored.
    max_categories : int or None, default=None
        Upper limit to the codes of a categorical column. The rarest levels of one that
        has more share a code and are not kept: drawn rows have frequent levels in
        their place, and a level that `fit` has not seen is read as one of them. A
        missing value is counted apart. None keeps all levels.
    constraints : "auto", list of constraints or None, default="auto"
        What holds in every training row and must hold in every row that is drawn or
        decoded, in the words of :mod:`sklearn_unsup.constraints`. Rows that break one
        are refused. "auto" looks for sums of columns and for columns that others
        determine, which hold in every training row. Rows that are drawn meet them as
        far as ranges and `conditions` let them, see :doc:`/guide/constraints`; all
        other methods are as with None.
    latent_density : {"normal", "mixture"} or estimator, default="mixture"
        Density that is fitted to the codes for `sample`: one normal distribution, a
        Gaussian mixture, or any estimator with `fit` and `sample`.
    density_ratio : "auto", classifier or None, default=None
        Classifier of real and generated rows whose odds weight the generated ones;
        "auto" uses gradient boosting if held-out rows say that it helps.
    max_iter : int or "auto", default="auto"
        Epochs. "auto" gives some 2,500 gradient steps whatever the number of rows,
        and at least three epochs; or as many as a trial finds, see `early_stopping`.
    batch_size : int or "auto", default="auto"
        Rows per step. "auto" is about a 32nd of the rows, from 16 to 512, of images to
        128, or all rows after a trial, in ten steps per epoch.
    optimizer : type, callable or None, default=None
        Optimizer of torch in the place of AdamW, such as :class:`torch.optim.SGD`. Its
        arguments are parameters too, such as ``optimizer__momentum=0.9``, see
        :doc:`/guide/own_nets`.
    learning_rate_init : float, default=1e-3
        Step size of AdamW; in `fit` it decays to zero along half a cosine. Steps of all
        rows are ten times as large, and end with averaged weights instead. Those of
        convolutions are four times as large.
    weight_decay : float, default=0.0
        Decoupled weight decay of AdamW.
    early_stopping : bool or "auto", default="auto"
        True: hold out rows, stop when their loss no longer falls, and keep the best
        weights. "auto", for up to 5,000 rows that are not pictures: a trial holds out a
        fifth of the rows to find the number of epochs, and the fit is then to all rows.
        If the held-out rows were not reconstructed better than by PCA, and with fewer
        than 40 rows, the codes are those of PCA, and for numbers alone the only epoch
        changes nothing. For other tables, and with a `max_iter` or `batch_size` that is
        not "auto" or an own network or optimizer, it is False.
    validation_fraction : float, default=0.1
        Fraction of the rows that early stopping holds out.
    n_iter_no_change : int, default=10
        Epochs without a gain of `tol` after which early stopping ends training.
    tol : float, default=1e-4
        Gain in nats per row that counts for early stopping.
    warm_start : bool, default=False
        Go on from the weights of the previous `fit`, with its codec.
    callbacks : list or None, default=None
        Callbacks of skorch, which are called as in any net of skorch.
    device : str, default="auto"
        "cpu", "cuda", "cuda:1" and so on; "auto" is CUDA where there is one.
    data_parallel : bool, default=False
        Share every training step among the processes that were launched together,
        each with the same table: a batch has `batch_size` rows from each of them. All
        end with the same model. Needs the extra `accelerate`; in a single process it
        changes nothing.
    mixed_precision : bool, default=False
        Run the networks in bfloat16 where that is safe, which is less exact. It is
        faster on a CPU with instructions for it; on a GPU only with large batches of
        large tables. A device without bfloat16 stays with float32, with a warning.
    verbose : int or bool, default=0
        Show a progress bar over the epochs, and over the rows that `sample` draws.
    random_state : int, RandomState instance or None, default=None
        The only source of randomness; global generators are neither used nor moved.

    Attributes
    ----------
    net_ : TableNet
        The trained skorch net.
    codec_ : TableCodec or SparseCodec
        Encodes tables, or sparse rows, and decodes them.
    constraints_ : list of constraints
        Those of `constraints`, or those that "auto" has found.
    device_ : str
        Device of the net.
    n_components_ : int
        Number of components kept.
    n_iter_ : int
        Epochs trained.
    loss_curve_ : list of float
        Training loss after each epoch, nats per row. After a trial it includes the
        error of a linear decoder, which keeps codes readable for linear models.
    validation_scores_ : list of float or None
        Minus the loss of held-out rows after each epoch, nats per row, of the trial if
        there was one, up to the best; None without early stopping.
    components_ : ndarray of shape (`n_components_`, `n_features_in_`)
        How each column changes, on average over training rows, per unit of a component:
        a number in the units that the net sees, see :meth:`loadings`; of two levels
        the probability of the second one; of more levels the probability that moves
        from some of them to others, which has no sign.
    explained_variance_ : ndarray of shape (`n_components_`,) or None
        With ``ordered=True``: `explained_variance_ratio_` of the sum of the variances
        of the encoded columns.
    explained_variance_ratio_ : ndarray of shape (`n_components_`,) or None
        With ``ordered=True``: what each component adds to the fraction of the
        variance of the encoded training table that the reconstruction explains.
    n_features_in_ : int
        Number of columns seen by `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if all are strings.

    See Also
    --------
    VAETransformer : A density of rows as well, and better samples.
    GANSampler : Samples by an adversarial game.
    sklearn.decomposition.PCA : The linear optimum that this one starts from.

    References
    ----------
    .. [1] G. Hinton and R. Salakhutdinov, "Reducing the dimensionality of data with
       neural networks", Science 313, 2006.
    .. [2] O. Rippel, M. Gelbart and R. Adams, "Learning ordered representations with
       nested dropout", ICML 2014.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_unsup import AutoencoderTransformer
    >>> X = load_iris().data
    >>> reducer = AutoencoderTransformer(2, max_iter=20, random_state=0).fit(X)
    >>> reducer.transform(X).shape
    (150, 2)
    >>> reducer.sample(3).shape
    (3, 4)
    """

    _parameter_constraints: dict = {
        **BaseTableModel._parameter_constraints,
        **DENSITY_PARAMETERS,
        **CODING_PARAMETERS,
        "n_components": [
            Interval(numbers.Integral, 1, None, closed="left"),
            Interval(numbers.Real, 0, 1, closed="neither"),
        ],
        "early_stopping": ["boolean", StrOptions({"auto"})],
        "loss": [StrOptions({"auto", "squared_error", "binary_crossentropy"})],
        "noise": [Interval(numbers.Real, 0, None, closed="left")],
        "ordered": ["boolean"],
    }

    _own_shape_parameters = ("noise", "ordered")
    _net_parameters = ("encoder", "decoder")
    _takes_sparse = True
    _default_scaling = "standard"
    # Whether the rows of the latest `fit` look like pictures.
    _has_pictures = False
    _min_pixel_columns = 1

    def __init__(
        self,
        n_components=8,
        *,
        hidden_layer_sizes="auto",
        activation="silu",
        encoder=None,
        decoder=None,
        loss="auto",
        noise=0.05,
        ordered=False,
        numeric_scaling="auto",
        categorical_features="from_dtype",
        image_shape=None,
        handle_unknown="warn",
        max_categories=None,
        constraints="auto",
        latent_density="mixture",
        density_ratio=None,
        max_iter="auto",
        batch_size="auto",
        optimizer=None,
        learning_rate_init=1e-3,
        weight_decay=0.0,
        early_stopping="auto",
        validation_fraction=0.1,
        n_iter_no_change=10,
        tol=1e-4,
        warm_start=False,
        callbacks=None,
        device="auto",
        data_parallel=False,
        mixed_precision=False,
        verbose=0,
        random_state=None,
        **net_params,
    ) -> None:
        self.n_components = n_components
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.encoder = encoder
        self.decoder = decoder
        self.loss = loss
        self.noise = noise
        self.ordered = ordered
        self.numeric_scaling = numeric_scaling
        self.categorical_features = categorical_features
        self.image_shape = image_shape
        self.handle_unknown = handle_unknown
        self.max_categories = max_categories
        self.constraints = constraints
        self.latent_density = latent_density
        self.density_ratio = density_ratio
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.learning_rate_init = learning_rate_init
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.device = device
        self.data_parallel = data_parallel
        self.mixed_precision = mixed_precision
        self.verbose = verbose
        self.random_state = random_state
        self._store_net_arguments(net_params)

    def score_samples(self, X) -> np.ndarray:
        """Log-likelihood of each row given its own code.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows with the columns that `fit` saw.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            Nats of the encoded row; low for rows unlike those of the training. Each
            number has the standard deviation that its residuals had in training.
        """
        check_is_fitted(self)
        dataset = self._encode_table(X)
        scores = self._map_rows(self._log_likelihood, dataset)
        return scores.cpu().numpy().astype(np.float64)

    def explain_samples(self, X, *, return_expected=False) -> Any:
        """Share of each cell in the score of its row, in nats.

        A cell costs its row the nats by which the row would score higher with the best
        value in its place: twelve quantiles of its column, or the 16 most frequent
        levels, are tried. To this each column adds an equal part of what the row would
        score without such costs. Of images, sparse rows and rows of more than
        100 columns the best value is the one that the row is rebuilt with.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows with the columns that `fit` saw.
        return_expected : bool, default=False
            Whether to return the expected values, too.

        Returns
        -------
        shares : DataFrame or ndarray of shape (n_samples, n_features)
            Each row adds up to its score. The lowest one names the cell that fits
            its row least.
        expected : DataFrame or ndarray of shape (n_samples, n_features)
            What the other cells let expect: the likeliest level, the median of numbers;
            the cell itself where nothing is likelier. Only if `return_expected`.
        """
        check_is_fitted(self)
        return explained(self, X, return_expected)

    def _cell_losses(self, X):
        """Losses (n, n_features) of the cells, the expected table, and the evidence.

        :meth:`explain_samples` and `GenerativeOutlierDetector` read them. The evidence
        is that of the whole row, or None.
        """
        return replaced_losses(self, X)

    def _log_likelihood(self, x_num, x_cat):
        distribution = self._distribution(self._encode_batch(x_num, x_cat))
        return distribution.log_prob(x_num, x_cat)

    def _distribution(self, z):
        """Distribution of rows given latent vectors (n, n_components_).

        Components that were trained but not kept are set to zero.
        """
        n_dropped = self.net_.module_.n_components - z.shape[1]
        return super()._distribution(F.pad(z, (0, n_dropped)) if n_dropped else z)

    @property
    def _n_features_out(self):
        return self.n_components_

    def _encode_batch(self, x_num, x_cat):
        return super()._encode_batch(x_num, x_cat)[:, : self.n_components_]

    def _build_net(self, dataset, rng):
        layout = self.codec_.layout_
        bernoulli = self.loss == "binary_crossentropy"
        if bernoulli:
            check_unit_interval(dataset.numbers)
        net = TableNet(
            Autoencoder,
            ReconstructionLoss,
            module__layout=layout,
            module__n_components=self._n_components_to_train(layout),
            module__hidden_layer_sizes=self._resolved_layer_sizes(),
            module__activation=self.activation,
            module__encoder=self._own_net("encoder"),
            module__decoder=self._own_net("decoder"),
            module__bernoulli=bernoulli,
            module__noise=float(self.noise),
            module__ordered=bool(self.ordered),
            module__linear_decoder=self._trial is not None and self._start is None,
            criterion__layout=layout,
            criterion__bernoulli=bernoulli,
            criterion__linear_weight=LINEAR_WEIGHT,
            **self._net_options(len(dataset), rng),
        ).initialize()
        if not self._has_own_nets:
            start_at_pca(net.module_, dataset, bernoulli)
        start_module(net.module_, self.codec_, self._start, dataset)
        self.n_components_ = net.module_.n_components
        return net

    def _begin_fit(self, X, process_group, is_stream=False):
        super()._begin_fit(X, process_group, is_stream)
        # Sparse rows that share a scale, such as those of a text, count as pictures.
        if issparse(X):
            self._has_pictures = self.codec_.numeric_scaling != "standard"
        else:
            self._has_pictures = self.image_shape is not None or looks_like_pixels(
                X, PICTURE_COLUMNS
            )

    def _resolved_layer_sizes(self):
        """Widths of the hidden layers, of a fit with a trial or without if "auto"."""
        default = (64, 32) if self._trial is not None else (512, 256)
        if self._start is not None and self._start.image_shape is None:
            default = self._start.net_.module__hidden_layer_sizes
        sizes = self.hidden_layer_sizes
        return resolved_layer_sizes(sizes, default, self.codec_.layout_)

    def _has_few_rows(self, dataset):
        chosen = self.max_iter, self.batch_size, self.early_stopping
        is_small = len(dataset) * self.codec_.layout_.width <= FEW_ENTRIES
        return (
            all(value == "auto" for value in chosen)
            and len(dataset) <= FEW_ROWS
            and is_small
            and not self._has_pictures
            and not self._has_own_nets
            and self.optimizer is None
        )

    def _run_trial(self, dataset, rng):
        n = len(dataset)
        if n < MIN_TRIAL_ROWS:
            n_epochs = 1 if self._is_linear else UNTRIED_EPOCHS
            return Trial(n_epochs, has_gained=False)
        self._trial = Trial()  # The net of the trial has a linear decoder, too.
        order, n_held_out = rng.permutation(n), round(TRIAL_FRACTION * n)
        train, held_out = dataset.split(torch.from_numpy(order), n - n_held_out)
        net = self._build_net(train, rng)
        max_epochs = int(np.clip(n // ROWS_PER_EPOCH, *EPOCHS_BOUNDS))
        trial, gains = run_trial(net, train, held_out, max_epochs, PATIENCE)
        if trial.has_gained and is_doubtful(gains):
            others = torch.from_numpy(np.roll(order, n_held_out))
            train, held_out = dataset.split(others, n - n_held_out)
            net = self._build_net(train, rng)
            trial = confirm_trial(net, train, held_out, trial, gains)
        if self._is_linear and not trial.has_gained:
            return Trial(1, scores=[], has_gained=False)
        return trial

    def _param_groups(self, n_rows):
        """The encoder, and for numbers the decoder, stay as they began if it was best.

        They begin at PCA, or at the networks of `start_from`.
        """
        if self._trial is None or self._trial.has_gained:
            return []
        return [("*" if self._is_linear else "encoder.*", {"lr_scale": 0.0})]

    @property
    def _is_linear(self):
        """Whether the decoder of PCA is optimal given its codes, as for numbers.

        Those of categories and of probabilities are trained even then.
        """
        has_categories = self.codec_.layout_.n_categorical > 0
        return not has_categories and self.loss != "binary_crossentropy"

    def _changeable_parameters(self):
        """A fraction of the variance cuts the components after training."""
        values = self._made_with["n_components"], self.n_components
        is_cut = not any(isinstance(value, numbers.Integral) for value in values)
        return ("n_components",) if is_cut else ()

    def _sampling_options(self):
        return {
            "latent_density": self.latent_density,
            "density_ratio": self.density_ratio,
        }

    def _row_source(self):
        return self._latent_source()

    def _default_steps(self, n_rows):
        return 2_500

    def _default_batch_size(self, n_rows):
        size = super()._default_batch_size(n_rows)
        return size if self.image_shape is None else min(size, IMAGE_BATCH)

    def _step_size(self):
        factor = 1.0 if self.image_shape is None else IMAGE_STEP_FACTOR
        return factor * self.learning_rate_init

    def _n_components_to_train(self, layout):
        if isinstance(self.n_components, numbers.Integral):
            return int(self.n_components)
        if not self.ordered:
            raise ValueError(
                f"n_components={self.n_components} is a fraction of the variance, "
                "which only ordered components can be cut at: pass ordered=True, or an "
                "int."
            )
        return min(layout.width, 64)

    def _evaluate_fit(self, dataset, rng):
        """Measure residual scales and, for ordered components, explained variances."""
        module = self.net_.module_.eval()
        index = torch.from_numpy(rng.permutation(len(dataset)))
        ratios, variance = None, None
        if self.ordered:
            batches = self._chunks(dataset, index[:VARIANCE_ROWS])
            ratios, variance = explained_variance_ratios(module, batches)
        if self._sampler.n_rows_ == 0:
            # Later chunks of a stream keep as many components as the first one.
            self.n_components_ = self._n_components_to_keep(module, ratios)
        self.explained_variance_, self.explained_variance_ratio_ = None, None
        if ratios is not None:
            self.explained_variance_ratio_ = ratios[: self.n_components_]
            self.explained_variance_ = variance * self.explained_variance_ratio_
        if not module.bernoulli:
            set_residual_scales(
                module,
                self._chunks(dataset, index[:DENSITY_ROWS]),
                self.n_components_,
                self._sampler.n_rows_,
            )

    def _n_components_to_keep(self, module, ratios):
        """Number of components that explain the fraction `n_components`, or all."""
        if isinstance(self.n_components, numbers.Integral):
            return module.n_components
        is_enough = np.cumsum(ratios) >= self.n_components
        return int(is_enough.argmax()) + 1 if is_enough.any() else len(ratios)


@torch.no_grad()
def start_at_pca(module, dataset, bernoulli):
    """Set the linear maps to the principal axes of (some of) the encoded rows."""
    layout = module.layout
    width = layout.width
    max_rows = min(DENSITY_ROWS, max(1, PCA_ENTRIES // width))
    index = torch.arange(0, len(dataset), max(1, len(dataset) // max_rows))
    batches = DatasetChunks(dataset, width, index)
    mean, axes = principal_axes(
        lambda: (module.table(*batch) for batch in batches), module.n_components
    )
    module.encoder.set_linear_map(axes, -axes @ mean)
    if module.linear_decoder is not None:
        module.linear_decoder.weight.copy_(axes.t())
        module.linear_decoder.bias.copy_(mean)
    # The decoder's output for probabilities are logits. Their tangents make the first
    # reconstructions nearly those of PCA.
    axes, mean = axes.clone(), mean.clone()
    n = layout.n_numeric
    if bernoulli:  # The tangent at probability 1/2.
        axes[:, :n] *= 4.0
        mean[:n] = 4.0 * (mean[:n] - 0.5)
    if layout.n_categorical:  # The tangent at each category's share.
        axes[:, n:] /= mean[n:].clamp_min(MIN_START_SHARE)
        mean[n:] = mean[n:].clamp_min(1 / len(dataset)).log()
    module.decoder.set_linear_map(axes.t(), mean)


@torch.no_grad()
def set_residual_scales(module, batches, n_components, n_before):
    """Set the module's `log_scale` to the standard deviations of residuals.

    Reconstructions use the first `n_components` components. The current scales of the
    module count as those of `n_before` earlier rows.
    """
    total = n_before * torch.exp(2 * module.log_scale)
    count = torch.full_like(total, n_before)
    for x_num, x_cat in batches:
        z = module.encode(x_num, x_cat)
        z[:, n_components:] = 0.0
        squares = (module.decode(z)[:, : x_num.shape[1]] - x_num).square_()
        present = presence(module.layout, x_cat)
        if present is None:
            total += squares.sum(0)
            count += len(squares)
        else:
            total += (squares * present).sum(0)
            count += present.sum(0)
    variance = torch.where(count > 0, total / count.clamp_min(1), 1.0)
    module.log_scale.copy_(0.5 * variance.clamp_min(1e-12).log())
    module.log_scale.clamp_(min=LOG_SCALE_MIN)


@torch.no_grad()
def explained_variance_ratios(module, batches):
    """Fraction of the encoded table's variance that each component adds, in order.

    Parameters
    ----------
    module : Autoencoder
    batches : iterable of (x_num, x_cat)
        Read twice, so that it must not be an iterator.

    Returns
    -------
    ratios : ndarray of shape (n_components,)
    variance : float
        Sum of the variances of the encoded columns.
    """
    sums = [(module.table(*batch).sum(0), len(batch[0])) for batch in batches]
    n_rows = sum(n for _, n in sums)
    mean = sum(total for total, _ in sums) / n_rows
    variation, lost = 0.0, torch.zeros(module.n_components, device=mean.device)
    for batch in batches:
        x, z = module.table(*batch), module.encode(*batch)
        variation = variation + (x - mean).square().sum()
        for k in range(module.n_components):
            first = torch.zeros_like(z)
            first[:, : k + 1] = z[:, : k + 1]
            reconstruction = module.distribution(module.decode(first)).mean()
            lost[k] += (x - reconstruction).square().sum()
    explained = 1.0 - (lost / variation.clamp_min(1e-30)).double().cpu().numpy()
    ratios = np.diff(explained, prepend=0.0)
    return ratios, float(variation) / max(1, n_rows - 1)
