"""Private names of skorch, in one file that new releases may break."""

from skorch import NeuralNet


class SkorchNet(NeuralNet):
    """A skorch net with public access to its modules, criteria and optimizers.

    skorch stores them in attributes that end with an underscore, and keeps their names
    without the underscore in private lists.
    """

    @property
    def module_names(self) -> list[str]:
        return self._modules

    @property
    def optimizer_names(self) -> list[str]:
        return self._optimizers

    @property
    def part_names(self) -> list[str]:
        """Names of all modules, criteria and optimizers, which have a `state_dict`."""
        return [*self._modules, *self._criteria, *self._optimizers]

    @property
    def built_optimizers(self) -> list:
        return [getattr(self, f"{name}_") for name in self._optimizers]

    def set_training(self, training: bool) -> None:
        """Switch all modules and criteria to training or to evaluation mode."""
        self._set_training(training)

    def rebuild_parts(self) -> None:
        """Create modules, criteria and optimizers from the net's parameters again.

        Unlike skorch's `initialize`, this prints no messages about what is initialized
        again.
        """
        self.virtual_params_ = {}
        self.initialized_ = False
        self._initialize_module()
        self._initialize_criterion()
        self._initialize_optimizer()
        self.initialized_ = True
