"""How a fit sets the options of its net, and runs it."""

from skorch.helper import predefined_split

from ._training.optimizer import check_optimizer
from ._training.schedule import steps_per_epoch
from ._training.trial import use_full_batches

# Minimum number of epochs where ``max_iter="auto"``.
MIN_EPOCHS = 3


class NetFitting:
    """Mixin of estimators with a `net_`: batches, epochs, options, and a run.

    The estimator has the parameters of a fit, and the hooks of `BaseTableModel` that
    say what their "auto" stands for.
    """

    def _batch_size(self, n_rows):
        size = self.batch_size
        return min(n_rows, self._default_batch_size(n_rows) if size == "auto" else size)

    def _n_epochs(self, n_rows, n_processes=1):
        if self.max_iter != "auto":
            return self.max_iter
        per_epoch = steps_per_epoch(n_rows, self._batch_size(n_rows) * n_processes)
        return max(MIN_EPOCHS, -(-self._default_steps(n_rows) // per_epoch))

    def _n_fit_epochs(self, n_rows, n_processes):
        """Number of epochs of a fit that is about to begin."""
        return self._n_epochs(n_rows, n_processes)

    def _net_options(self, n_rows, rng):
        """Keyword arguments of the net that are the same in all estimators."""
        return {
            **self._changeable_net_options(n_rows),
            "device": self.device_,
            "max_epochs": self._n_epochs(n_rows),
            "progress_name": type(self).__name__,
            "seed": int(rng.integers(2**31)),
            # Nobody knows whether a network of a user can be recorded.
            "use_cuda_graphs": not self._has_own_nets,
            "seed_torch": self._has_own_nets,
        }

    def _optimizer_options(self):
        """Class and arguments of the optimizer, by the names that skorch gives them."""
        if self.optimizer is None:
            self._refuse_ownerless("optimizer", "an optimizer", "torch.optim.AdamW")
            return {"optimizer__weight_decay": self.weight_decay}
        options = self._arguments_of("optimizer")
        check_optimizer(self.optimizer, options)
        named = {f"optimizer__{name}": value for name, value in options.items()}
        return {"optimizer": self.optimizer, **named}

    def _optimizer_groups(self, n_rows):
        """Groups of parameters, whose weight decay is that of AdamW alone."""
        groups = self._param_groups(n_rows)
        if self.optimizer is None:
            return groups
        return [
            (pattern, {n: v for n, v in options.items() if n != "weight_decay"})
            for pattern, options in groups
        ]

    def _changeable_net_options(self, n_rows):
        """Options of the net that may change between fits with `warm_start`."""
        return {
            "lr": self._step_size(),
            "optimizer__param_groups": self._optimizer_groups(n_rows),
            **self._optimizer_options(),
            "batch_size": self._batch_size(n_rows),
            "callbacks": self.callbacks,
            "n_iter_no_change": self.n_iter_no_change,
            "tol": self.tol,
            "mixed_precision": bool(self.mixed_precision),
            "verbose": int(bool(self.verbose)),
        }

    def _update_net(self, n_rows):
        net = self.net_
        for name, value in self._changeable_net_options(n_rows).items():
            # `set_params` would initialize the net again, or set the weight decay of
            # all parameter groups.
            setattr(net, name, value)
        net.initialize_callbacks()
        net.renew_optimizers()

    def _train(self, train, valid, process_group):
        n_processes = 1 if process_group is None else process_group.n_processes
        average_weights = self._averages_fit and valid is None
        self.net_.set_params(
            train_split=None if valid is None else predefined_split(valid),
            max_epochs=self._n_fit_epochs(len(train), n_processes),
            lr_floor=float(average_weights),
            average_weights=average_weights,
            is_stream=False,
            full_batch=False,
        )
        if self._trial is not None:
            use_full_batches(self.net_, self._trial.n_epochs)
        self._run_net(train, process_group)
        # Whatever follows this fit begins with the averaged weights.
        self.net_.average_ = None

    def _run_net(self, dataset, process_group):
        """Train the net, without leaving anything of this run alone in it."""
        self.net_.process_group_ = process_group
        try:
            self.net_.partial_fit(dataset)
        finally:
            # The validation rows are in `train_split`. A fitted model holds no rows.
            self.net_.train_split, self.net_.process_group_ = None, None
            self._read_history()

    def _read_history(self):
        history = self.net_.history
        self.loss_curve_ = [epoch["train_loss"] for epoch in history]
        self.n_iter_ = len(self.loss_curve_)
        scores = [-epoch["valid_loss"] for epoch in history if "valid_loss" in epoch]
        if self.early_stopping in (False, "auto"):
            scores = self._trial.scores if self._trial else None
        self.validation_scores_ = scores

    def _update_stream_net(self, n_rows):
        """Set the options of a stream's net that may change from chunk to chunk."""
        net = self.net_
        net.lr, net.mixed_precision = self._step_size(), bool(self.mixed_precision)
        # Batch size and weight decay depend on the number of rows so far.
        net.batch_size = self._batch_size(n_rows)
        net.optimizer__param_groups = self._optimizer_groups(n_rows)
        net.renew_optimizers()
