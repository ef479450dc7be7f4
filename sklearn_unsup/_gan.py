"""GANSampler."""

import numbers

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from ._base import BaseTableModel
from ._encoding import upload
from ._nn.frequent_values import FrequentValues
from ._nn.gan import AdversarialModel, Critic
from ._nn.gan_losses import MinimaxLoss, RelativisticLoss, WassersteinLoss
from ._nn.two_sample import coverage, energy_distance
from ._parameters import (
    LAYER_SIZES_CONSTRAINT,
    layer_sizes,
    resolved_layer_sizes,
)
from ._row_columns import FrequentNumbers
from ._sampling.proposals import RowSource
from ._sklearn import Interval, StrOptions
from ._table.layout import EncodedConditions
from ._training.gan_net import GANNet
from ._warnings import warn_user

LOSSES = {
    "relativistic": RelativisticLoss,
    "minimax": MinimaxLoss,
    "wasserstein": WassersteinLoss,
}
# Meaning of "auto" for each loss. A Wasserstein critic needs more and shorter steps,
# because it must be nearly optimal before each step of the generator.
RELATIVISTIC_AUTO = {
    "gradient_penalty": 1.0,
    "n_critic_steps": 1,
    "learning_rate_init": 2e-3,
}
AUTO = {
    "relativistic": RELATIVISTIC_AUTO,
    "minimax": RELATIVISTIC_AUTO,
    "wasserstein": {
        "gradient_penalty": 10.0,
        "n_critic_steps": 5,
        "learning_rate_init": 5e-4,
    },
}
# Meaning of "auto" for the layer sizes of generator and critic of a table.
GENERATOR_SIZES, CRITIC_SIZES = (128, 128), (256, 256)
# The same for few rows, and how many those are at most. After more steps than MIN_STEPS
# what is drawn lies nearer to few rows than other rows do. Of fewer than FULL_STEPS the
# step size is larger, up to twice.
SMALL_GENERATOR_SIZES, SMALL_CRITIC_SIZES = (64, 64), (128, 128)
FEW_ROWS, MIN_STEPS, FULL_STEPS = 800, 450, 900
# Minimum share of the rows that have a frequent value, and maximum number of values of
# a column all of which count as such.
FREQUENT_SHARE, FEW_VALUES = 0.05, 32
# Maximum number of values, of all columns together, that count because numbers depend
# on each other's values.
MAX_MORE_VALUES = 500
# Number of steps for each gradient penalty and for each step of the encoder, if there
# are many rows and steps.
PENALTY_INTERVAL, ENCODER_INTERVAL = 4, 4
# Channels of the first two convolutions of images.
GAN_IMAGE_CHANNELS = 32, 64
# Maximum number of rows of which `score` computes the energy distance.
SCORED_ROWS = 5_000
# Maximum and minimum number of rows on which coverage is measured.
COVERED_ROWS, MIN_COVERED_ROWS = 2_000, 50
# Coverage below which `fit` warns of missing modes.
MIN_COVERAGE = 0.5
N_WARMUP_STEPS = 100
# Betas of AdamW. There is no momentum, with which generator and critic would cycle
# (Huang et al. 2024).
BETAS = 0.0, 0.99


class GANSampler(BaseTableModel):
    """Generate and reduce mixed tables with a generative adversarial network.

    A generator makes rows from noise, a critic compares them with real ones, and both
    learn from the comparison. Its default objective pairs real and generated rows and
    penalises the critic's gradient at both, for which the game is stable and modes are
    not dropped [1]_ [2]_. The generator draws categories one after another, so that
    conditions are exact. An encoder that is trained beside it finds the noise that a
    row would come from. A running average of the generator is what samples.

    Parameters
    ----------
    n_components : int, default=16
        Size of the noise and of the code.
    hidden_layer_sizes : int, tuple of int or "auto", default="auto"
        Widths of the generator's hidden layers, at least one (an int); the encoder
        has them in reverse. "auto" is (128, 128), and (64, 64) for few rows, see
        `max_iter`. With `image_shape`: channels of the encoder's convolutions, each of
        which halves height and width, and in reverse of the generator's; "auto" is
        (32, 64) for images of 28 x 28.
    activation : {"elu", "gelu", "identity", "leaky_relu", "relu", "selu", "sigmoid", \
            "silu", "softplus", "tanh"}, default="silu"
        Activation function of the hidden layers of generator and encoder.
    critic_hidden_layer_sizes : int, tuple of int or "auto", default="auto"
        Widths of the critic's hidden layers, leaky ReLUs. "auto" is (256, 256), and
        (128, 128) for few rows. With `image_shape`: channels of its convolutions, as
        in `hidden_layer_sizes`.
    generator, critic : type, callable, Module or None, default=None
        Own networks in the place of the multilayer perceptrons: a subclass of
        :class:`torch.nn.Module`, a function that returns a module, or a module, of
        which a copy is trained. That of the generator maps noise to a state of the last
        width of `hidden_layer_sizes`. Their arguments are parameters too, such as
        ``critic__width=64``, see :doc:`/guide/own_nets`.
    loss : {"relativistic", "minimax", "wasserstein"}, default="relativistic"
        Objective of the game. "relativistic" compares pairs of a real and a generated
        row [1]_, "minimax" is the first one, non-saturating [3]_, "wasserstein" needs
        several critic steps [4]_.
    n_critic_steps : int or "auto", default="auto"
        Steps of the critic for one of the generator. "auto" is 1, for "wasserstein" 5.
    gradient_penalty : float or "auto", default="auto"
        Weight of the penalty on the critic's gradient: towards zero at real and
        generated rows, for "wasserstein" towards norm one between them. "auto" is 1,
        for "wasserstein" 10. 0 is without.
    numeric_scaling : {"auto", "quantile", "standard", "minmax"} or None, \
            default="auto"
        Encoding of numbers. "auto" is "quantile", which makes each column normal. For
        a table that looks like pixels, at least 32 columns of numbers only, it is None
        if all are in [0, 1], and "minmax" if most run from 0 to one same maximum.
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
    density_ratio : "auto", classifier or None, default="auto"
        Classifier of real and generated rows whose odds weight the generated ones.
        "auto" is gradient boosting if rows held out from it say that it helps, and
        nothing for images.
    max_iter : int or "auto", default="auto"
        Epochs. "auto" sets gradient steps, from 1,500 by the number of rows to 4,000,
        or to 5,000 without `density_ratio` and where numbers are not scaled by
        quantiles, as pixels are not; of few rows, up to 800 in a table and with another
        loss than "wasserstein", as many as there are rows, but at least 450.
    batch_size : int or "auto", default="auto"
        Rows per step. "auto" is about an eighth of the rows, from 32 to 256, and with
        "auto" epochs of few rows a quarter.
    optimizer : type, callable or None, default=None
        Optimizer of torch in the place of AdamW, such as :class:`torch.optim.SGD`. Its
        arguments are parameters too, such as ``optimizer__momentum=0.9``, see
        :doc:`/guide/own_nets`.
    learning_rate_init : float or "auto", default="auto"
        Step size of AdamW for both nets after warm-up; it decays to zero along half
        a cosine. "auto" is 2e-3, for "wasserstein" 5e-4, and with "auto" epochs of few
        rows as much larger as they take fewer than 900 steps.
    weight_decay : float, default=0.0
        Decoupled weight decay of AdamW.
    early_stopping : bool, default=False
        Hold out rows, stop when their energy distance to generated ones no longer
        falls, and keep the best weights.
    validation_fraction : float, default=0.1
        Fraction of the rows that early stopping holds out.
    n_iter_no_change : int, default=10
        Epochs without a gain of `tol` after which early stopping ends training.
    tol : float, default=1e-4
        Gain in energy distance that counts for early stopping.
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
    net_ : GANNet
        The trained skorch net.
    codec_ : TableCodec
        Encodes tables and decodes them.
    constraints_ : list of constraints
        Those of `constraints`, or those that "auto" has found.
    device_ : str
        Device of the net.
    coverage_ : float or None
        Share of training rows (of at most 2,000) that have a generated row nearer
        than their fifth nearest training row, in encoded space [5]_. A perfect
        generator has about 0.97; below 0.5 `fit` warns that modes are missing. None
        for fewer than 50 rows; 1 for a table of constants.
    n_iter_ : int
        Epochs trained.
    loss_curve_ : list of float
        The generator's loss in each epoch, in nats; for the default objective log 2
        where the critic cannot tell real from generated.
    critic_loss_curve_ : list of float
        The critic's loss in each epoch, without its penalty.
    validation_scores_ : list of float or None
        Minus the energy distance of held-out and generated rows after each epoch;
        None without early stopping.
    n_features_in_ : int
        Number of columns seen by `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, if all are strings.

    See Also
    --------
    VAETransformer : Trains faster, and has a likelihood.
    AutoencoderTransformer : Better reconstructions, ordered components.

    References
    ----------
    .. [1] N. Huang et al., "The GAN is dead; long live the GAN! A modern baseline
       GAN", NeurIPS 2024.
    .. [2] L. Mescheder, A. Geiger and S. Nowozin, "Which training methods for GANs do
       actually converge?", ICML 2018.
    .. [3] I. Goodfellow et al., "Generative adversarial nets", NeurIPS
       2014.
    .. [4] I. Gulrajani et al., "Improved training of Wasserstein GANs", NeurIPS
       2017.
    .. [5] M. Naeem et al., "Reliable fidelity and diversity metrics for generative
       models", ICML 2020.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_unsup import GANSampler
    >>> X = load_iris(as_frame=True).frame
    >>> X["target"] = X["target"].astype("category")
    >>> gan = GANSampler(4, max_iter=20, random_state=0).fit(X)
    >>> gan.sample(3, conditions={"target": 1})["target"].tolist()
    [1, 1, 1]
    >>> gan.transform(X).shape
    (150, 4)
    """

    _parameter_constraints: dict = {
        **BaseTableModel._parameter_constraints,
        "critic_hidden_layer_sizes": LAYER_SIZES_CONSTRAINT,
        "generator": [callable, None],
        "critic": [callable, None],
        "loss": [StrOptions(set(LOSSES))],
        "n_critic_steps": [
            Interval(numbers.Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "learning_rate_init": [
            Interval(numbers.Real, 0, None, closed="neither"),
            StrOptions({"auto"}),
        ],
        "gradient_penalty": [
            Interval(numbers.Real, 0, None, closed="left"),
            StrOptions({"auto"}),
        ],
    }

    _own_shape_parameters = (
        "critic_hidden_layer_sizes",
        "n_critic_steps",
        "gradient_penalty",
    )
    _net_parameters = ("generator", "critic")
    _takes_start = False
    _averages_streams = False  # The generator has an average of its own.
    # Whether rows come in chunks, whose number nobody knows.
    _is_stream = False
    # Of each number the values that the networks see as codes; None for none.
    _frequent_values = None

    def __init__(
        self,
        n_components=16,
        *,
        hidden_layer_sizes="auto",
        activation="silu",
        critic_hidden_layer_sizes="auto",
        generator=None,
        critic=None,
        loss="relativistic",
        n_critic_steps="auto",
        gradient_penalty="auto",
        numeric_scaling="auto",
        categorical_features="from_dtype",
        image_shape=None,
        handle_unknown="warn",
        max_categories=None,
        constraints="auto",
        density_ratio="auto",
        max_iter="auto",
        batch_size="auto",
        optimizer=None,
        learning_rate_init="auto",
        weight_decay=0.0,
        early_stopping=False,
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
        self.critic_hidden_layer_sizes = critic_hidden_layer_sizes
        self.generator = generator
        self.critic = critic
        self.loss = loss
        self.n_critic_steps = n_critic_steps
        self.gradient_penalty = gradient_penalty
        self.numeric_scaling = numeric_scaling
        self.categorical_features = categorical_features
        self.image_shape = image_shape
        self.handle_unknown = handle_unknown
        self.max_categories = max_categories
        self.constraints = constraints
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

    # ------------------------------------------------------------------ scoring

    def __getattr__(self, name):
        """Say what to use where a critic gives no density.

        Python calls this for attributes that are missing, so that `hasattr` is False.
        """
        if name == "score_samples":
            raise AttributeError(
                f"{type(self).__name__} has no score_samples, because a critic's "
                "output is no density of rows: score compares a whole table with "
                "generated rows, and VAETransformer.score_samples scores single rows.",
                name=name,
                obj=self,
            )
        return self.__getattribute__(name)  # Raises the error of any other name.

    def score(self, X, y=None) -> float:
        """Compute minus the energy distance between X and as many generated rows.

        Both tables are encoded: numbers scaled, categories as one-hot blocks. The
        same rows are generated at every call.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Rows with the columns that `fit` saw. At most 5,000 of them are scored.
        y : None
            Ignored: present for API consistency.

        Returns
        -------
        score : float
            Higher is better; about 0 where both have the same distribution.
        """
        check_is_fitted(self)
        X = self._check_table(X, reset=False)
        rng = np.random.default_rng(self.net_.seed)
        index = rng.permutation(len(X))[:SCORED_ROWS]
        X = X.iloc[index] if hasattr(X, "iloc") else X[index]
        x_num, x_cat, _ = self._sample_encoded(EncodedConditions(len(X)), rng)
        # Decoding and encoding again treats generated numbers like those of X, which
        # are in the middle of their atoms.
        generated = self.codec_.decode(x_num, x_cat, random_state=rng)
        real, fake = self._encoded_rows(X), self._encoded_rows(generated, is_drawn=True)
        return -energy_distance(real, fake).item()

    def _encoded_rows(self, X, is_drawn=False):
        """Encoded rows with one-hot blocks, shape (n, width), on the device."""
        dataset = upload(self.codec_, X, self.device_, is_drawn=is_drawn)
        return self.net_.module_.table(*dataset.take(slice(None)))

    # ------------------------------------------------------------------ the net

    def _begin_fit(self, X, process_group, is_stream=False):
        super()._begin_fit(X, process_group, is_stream)
        self._is_stream = is_stream

    def _check_own_parameters(self):
        if not layer_sizes(self.hidden_layer_sizes):
            raise ValueError(
                "hidden_layer_sizes=() leaves the generator without a state: pass at "
                "least one width, such as (128,)."
            )

    def _build_net(self, dataset, rng):
        layout = self.codec_.layout_
        generator_sizes, critic_sizes = GENERATOR_SIZES, CRITIC_SIZES
        if self._has_short_fit(len(dataset)):
            generator_sizes, critic_sizes = SMALL_GENERATOR_SIZES, SMALL_CRITIC_SIZES
        self._frequent_values = self._find_frequent_values(dataset)
        intervals, inner_layout = self._frequent_intervals(), layout
        if intervals is not None:
            inner_layout = FrequentValues(layout, intervals).layout
        return GANNet(
            AdversarialModel,
            LOSSES[self.loss],
            critic=Critic,
            module__layout=layout,
            module__n_components=int(self.n_components),
            module__hidden_layer_sizes=resolved_layer_sizes(
                self.hidden_layer_sizes, generator_sizes, layout, GAN_IMAGE_CHANNELS
            ),
            module__activation=self.activation,
            module__generator=self._own_net("generator"),
            module__frequent_values=intervals,
            critic__layout=inner_layout,
            critic__net=self._own_net("critic"),
            critic__hidden_layer_sizes=resolved_layer_sizes(
                self.critic_hidden_layer_sizes, critic_sizes, layout, GAN_IMAGE_CHANNELS
            ),
            critic__piecewise_linear=self.codec_.numeric_scaling == "quantile",
            criterion__gradient_penalty=float(self._resolve_auto("gradient_penalty")),
            n_critic_steps=int(self._resolve_auto("n_critic_steps")),
            **self._intervals(len(dataset)),
            n_warmup_steps=N_WARMUP_STEPS,
            **self._net_options(len(dataset), rng),
        ).initialize()

    def _intervals(self, n_rows):
        """How often the parts of a step that cost most are left out.

        In fits of a few hundred steps, and of pixels, a penalty in each of them covers
        modes better.
        """
        is_table = self._is_quantile_coded and n_rows > FEW_ROWS
        is_long = self.max_iter == "auto" and not self._is_stream
        if not (is_table and is_long) or self.loss == "wasserstein":
            return {}
        return {
            "penalty_interval": PENALTY_INTERVAL,
            "encoder_interval": ENCODER_INTERVAL,
        }

    def _find_frequent_values(self, dataset):
        """Frequent values of each number, or None if there are none to speak of.

        Of few rows a column of few values is better learnt as a number. A stream does
        not know yet which values are frequent.
        """
        n_rows = len(dataset)
        if n_rows <= FEW_ROWS or self._is_stream:
            return None
        values = self.codec_.frequent_values(FREQUENT_SHARE, FEW_VALUES)
        # Columns of more values are codes if others depend on them, or they on others,
        # those with the fewest values first.
        found = FrequentNumbers.of(self.codec_, dataset, n_rows, any_order=True)
        n_more = 0
        for column in sorted(range(len(values)), key=lambda j: len(found.values[j])):
            own = found.values[column]
            depends = found.informative[column] or found.dependent[column]
            is_affordable = n_more + len(own) <= MAX_MORE_VALUES
            if depends and found.discrete[column] and is_affordable:
                values[column] = max(own, values[column], key=len)
                n_more += len(own)
        return values if any(len(own) for own in values) else None

    def _frequent_intervals(self):
        values = self._frequent_values
        return None if values is None else self.codec_.intervals(values)

    def _follow_codec(self):
        if self._frequent_values is not None:
            frequent = self.net_.module_.frequent
            frequent.set_intervals(self._frequent_intervals())

    def _optimizer_options(self):
        options = super()._optimizer_options()
        if self.optimizer is None:
            options["optimizer__betas"] = BETAS
        return options | {f"critic_{name}": value for name, value in options.items()}

    def _resolve_auto(self, parameter):
        """Value of a parameter, with "auto" replaced by the default of the loss."""
        value = getattr(self, parameter)
        return AUTO[self.loss][parameter] if value == "auto" else value

    def _step_size(self):
        return self._resolve_auto("learning_rate_init")

    def _has_short_fit(self, n_rows):
        """Whether rows are so few that a fit takes few and long steps."""
        # Every fifth step of a Wasserstein critic alone is one of the generator.
        is_usual = self.loss != "wasserstein" and self.image_shape is None
        is_whole = self.max_iter == "auto" and not self._is_stream
        return is_usual and is_whole and n_rows <= FEW_ROWS

    def _default_batch_size(self, n_rows):
        if self._has_short_fit(n_rows):
            return max(32, -(-n_rows // 4))
        return int(np.clip(2 ** round(np.log2(n_rows / 8)), 32, 256))

    def _default_steps(self, n_rows):
        if self._has_short_fit(n_rows):
            return max(MIN_STEPS, n_rows)
        # A density ratio makes up for the steps that are left out.
        has_ratio = self.density_ratio is not None and self._is_quantile_coded
        return min(1_500 + n_rows // 4, 4_000 if has_ratio else 5_000)

    @property
    def _is_quantile_coded(self):
        return self.codec_.numeric_scaling == "quantile"

    def _changeable_net_options(self, n_rows):
        options = super()._changeable_net_options(n_rows)
        if self._has_short_fit(n_rows) and self.learning_rate_init == "auto":
            options["lr"] *= FULL_STEPS / self._default_steps(n_rows)
        return options

    def _read_history(self):
        super()._read_history()
        history = self.net_.history
        self.critic_loss_curve_ = [epoch["train_critic_loss"] for epoch in history]

    # ------------------------------------------------------------------ sampling

    def _row_source(self):
        network = self.net_.module_.eval().ema_generator
        return RowSource(network, self._frequent_intervals())

    def _sampling_options(self):
        density_ratio = self.density_ratio
        if density_ratio == "auto" and self.image_shape is not None:
            density_ratio = None  # Trees do not see what makes an image look real.
        return {"latent_density": None, "density_ratio": density_ratio}

    @torch.no_grad()
    def _mode(self, z):
        return self.net_.module_.eval().ema_generator.mode(z)

    @torch.no_grad()
    def _evaluate_fit(self, dataset, rng):
        """Measure the coverage of the training rows, and warn if it is low."""
        self.coverage_ = None
        if len(dataset) < MIN_COVERED_ROWS:
            return
        if self.codec_.empty_:
            # Whatever the generator makes is decoded to the constants of the table.
            self.coverage_ = 1.0
            return
        index = torch.from_numpy(rng.permutation(len(dataset))[:COVERED_ROWS])
        real = dataset.take(index)
        generated = self._row_source().propose(EncodedConditions(len(index)), rng)
        module = self.net_.module_
        fake = module.table(generated.x_num, generated.x_cat)
        self.coverage_ = coverage(module.table(*real), fake)
        if self.coverage_ < MIN_COVERAGE:
            is_stream = self.net_.is_stream
            longer = "Go on with more batches" if is_stream else "Raise max_iter"
            warn_user(
                f"Generated rows cover only {self.coverage_:.0%} of the training rows "
                f"(coverage_; {MIN_COVERAGE:.0%} is asked for): modes are missing. "
                f"{longer}, raise gradient_penalty, or lower learning_rate_init.",
                ConvergenceWarning,
            )
