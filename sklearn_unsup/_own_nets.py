"""Networks of users as parameters of an estimator, with parameters of their own."""

import inspect
from typing import Self

from ._nn.own import OwnNet
from ._table.conditions import did_you_mean


class OwnNets:
    """Mixin of estimators with parameters such as `encoder` and ``encoder__width``.

    What follows the two underscores is an argument of the network's class. It is stored
    as an attribute under its whole name, as all parameters are.
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
        """Get the parameters, with those of own networks.

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
        own = {name: params[name] for name in params if self._is_net_argument(name)}
        super().set_params(**{n: v for n, v in params.items() if n not in own})
        vars(self).update(own)
        return self

    def _store_net_arguments(self, arguments):
        """Store what `__init__` got by names that it does not know."""
        for name in arguments:
            if not self._is_net_argument(name):
                known = list(inspect.signature(type(self)).parameters)
                raise TypeError(
                    f"{type(self).__name__} has no parameter {name!r}"
                    f"{did_you_mean(name, known)} Its parameters are "
                    f"{', '.join(known)}; arguments of an own network begin with "
                    f"{' or '.join(self._prefixes())}."
                )
        vars(self).update(arguments)

    def _prefixes(self):
        return [f"{name}__" for name in self._net_parameters]

    def _is_net_argument(self, name):
        return any(name.startswith(prefix) for prefix in self._prefixes())

    def _net_arguments(self):
        return {n: v for n, v in vars(self).items() if self._is_net_argument(n)}

    def _own_net(self, parameter) -> OwnNet | None:
        """The network that a parameter asks for; None for ours."""
        source, prefix = getattr(self, parameter), f"{parameter}__"
        options = {
            name.removeprefix(prefix): value
            for name, value in self._net_arguments().items()
            if name.startswith(prefix)
        }
        if source is not None:
            return OwnNet(parameter, source, options)
        if options:
            raise ValueError(
                f"{prefix}{next(iter(options))} needs a network to belong to: pass "
                f"{parameter}, such as a class, too."
            )
        return None

    @property
    def _has_own_nets(self):
        return any(getattr(self, name) is not None for name in self._net_parameters)
