"""Networks and optimizers of users as parameters, with parameters of their own."""

import inspect
from typing import Self

from ._nn.own import OwnNet
from ._table.conditions import did_you_mean

LOADER = (
    "the rows of a fit are tensors on its device, and a batch is a slice of them, so "
    "that there is no loader to set up. The number of rows is batch_size, and other "
    "rows are a matter of the table that fit gets"
)
# Parameters of skorch's nets by their first word, and what is there in their place.
NOT_SKORCH = {
    "callbacks": "a callback has no parameters of its own here: search over lists, "
    "such as {'callbacks': [[EarlyStopping(patience=3)], [EarlyStopping(patience=9)]]}",
    "criterion": "the likelihood belongs to the encoding of the columns. Parameters "
    "choose among those that fit, such as loss",
    "iterator_train": LOADER,
    "iterator_valid": LOADER,
    "lr": "the step size is learning_rate_init",
    "max_epochs": "the number of epochs is max_iter",
    "module": "the sizes of a network come from the table. Its parts are parameters, "
    "see below",
    "train_split": "rows are held out by early_stopping and validation_fraction",
}


class OwnNets:
    """Mixin of estimators with parameters such as `encoder` and ``encoder__width``.

    What follows the two underscores is an argument of the network's class, or of the
    optimizer's. It is stored as an attribute under its whole name, as all parameters
    are.
    """

    # Parameters that take a network.
    _net_parameters: tuple = ()

    def __init_subclass__(cls, **kwargs):
        """Show only parameters that have a name in the signature of the class.

        There is no parameter of the name that the others are collected under.
        """
        super().__init_subclass__(**kwargs)
        signature = inspect.signature(cls.__init__)
        named = [
            parameter
            for name, parameter in signature.parameters.items()
            if name != "self" and parameter.kind is not parameter.VAR_KEYWORD
        ]
        cls.__signature__ = signature.replace(parameters=named)

    def get_params(self, deep=True) -> dict:
        """Get the parameters, with those of own networks and of an own optimizer.

        Parameters
        ----------
        deep : bool, default=True
            Whether to get those of nested estimators, too.

        Returns
        -------
        params : dict
            Values by name.
        """
        return {**super().get_params(deep), **self._net_arguments()}

    def set_params(self, **params) -> Self:
        """Set parameters, those of own networks and of nested estimators among them.

        Parameters
        ----------
        **params : dict
            Values by name.

        Returns
        -------
        self : object
            The estimator.
        """
        prefixes = self._prefixes
        own = {n: value for n, value in params.items() if n.startswith(prefixes)}
        others = {n: value for n, value in params.items() if n not in own}
        for name in others:
            self._refuse_skorch_parameter(name)
        super().set_params(**others)
        vars(self).update(own)
        return self

    def _store_net_arguments(self, arguments):
        """Store what `__init__` got by names that it does not know."""
        for name in arguments:
            if not name.startswith(self._prefixes):
                self._refuse_skorch_parameter(name)
                known = list(inspect.signature(type(self)).parameters)
                raise TypeError(
                    f"{type(self).__name__} has no parameter {name!r}"
                    f"{did_you_mean(name, known)} Its parameters are "
                    f"{', '.join(known)}; {self._own_arguments()}."
                )
        vars(self).update(arguments)

    def _refuse_skorch_parameter(self, name):
        """Say what is there in the place of a parameter of skorch's nets."""
        first, separator, _ = name.partition("__")
        is_own = first in inspect.signature(type(self)).parameters and not separator
        if first in NOT_SKORCH and not is_own:
            raise TypeError(
                f"{type(self).__name__} has no parameter {name!r}, as nets of skorch "
                f"have: {NOT_SKORCH[first]}; {self._own_arguments()}."
            )

    def _own_arguments(self):
        *first, last = self._prefixes
        return (
            "arguments of an own network or optimizer begin with "
            f"{', '.join(first)} or {last}"
        )

    @property
    def _parameters_with_arguments(self):
        """Parameters whose values have arguments."""
        return (*self._net_parameters, "optimizer")

    @property
    def _prefixes(self):
        """What the names of such arguments begin with."""
        return tuple(f"{owner}__" for owner in self._parameters_with_arguments)

    def _net_arguments(self):
        prefixes = self._prefixes
        return {n: v for n, v in vars(self).items() if n.startswith(prefixes)}

    def _arguments_of(self, owner) -> dict:
        """Arguments of what a parameter holds, by the names that it gives them."""
        prefix = f"{owner}__"
        return {
            name.removeprefix(prefix): value
            for name, value in self._net_arguments().items()
            if name.startswith(prefix)
        }

    def _own_net(self, parameter) -> OwnNet | None:
        """The network that a parameter asks for; None for ours."""
        source = getattr(self, parameter)
        if source is not None:
            return OwnNet(parameter, source, self._arguments_of(parameter))
        self._refuse_ownerless(parameter, "a network", "a class")
        return None

    def _refuse_ownerless(self, parameter, kind, example):
        for name in self._arguments_of(parameter):
            raise ValueError(
                f"{parameter}__{name} needs {kind} to belong to: pass {parameter}, "
                f"such as {example}, too."
            )

    @property
    def _has_own_nets(self):
        return any(getattr(self, name) is not None for name in self._net_parameters)
