"""What skorch calls private, in one place: a new release changes this file."""

from skorch import NeuralNet


class SkorchNet(NeuralNet):
    """A skorch net whose parts can be listed, switched and made anew by public names.

    skorch keeps modules, criteria and optimizers as attributes that end with an
    underscore, and their names without it in private lists.
    """

    @property
    def module_names(self) -> list[str]:
        return self._modules

    @property
    def optimizer_names(self) -> list[str]:
        return self._optimizers

    @property
    def part_names(self) -> list[str]:
        """All modules, criteria and optimizers: what has a state to be saved."""
        return [*self._modules, *self._criteria, *self._optimizers]

    @property
    def built_optimizers(self) -> list:
        return [getattr(self, f"{name}_") for name in self._optimizers]

    def set_training(self, training: bool) -> None:
        """Switch all modules and criteria to training or to evaluation."""
        self._set_training(training)

    def rebuild_parts(self) -> None:
        """Make modules, criteria and optimizers from the parameters, with new weights.

        Nothing is announced: a net that is initialized prints each part that it makes
        anew.
        """
        self.virtual_params_ = {}
        self.initialized_ = False
        self._initialize_module()
        self._initialize_criterion()
        self._initialize_optimizer()
        self.initialized_ = True
