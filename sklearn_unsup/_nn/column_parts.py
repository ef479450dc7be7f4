"""What one column alone has in an autoregressive model: weights, and a regression."""

from torch import Tensor

from .autoregressive import AutoregressiveModel


def weights_of_column(model: AutoregressiveModel, position: int) -> list[Tensor]:
    """Views of the weights that no other column depends on.

    All weights are such ones but embeddings of categories of many levels.
    """
    units = slice(position * model.width, (position + 1) * model.width)
    weights = [
        model.input_layer.weight[units],
        model.input_layer.bias[units],
        model.hidden_layer[position],
        model.hidden_bias[position],
    ]
    number = position - model.layout.n_categorical
    if number < 0:
        return [*weights, *model.category_heads.of_column(position)]
    heads = model.number_heads
    return [*weights, heads.weight[number], heads.bias[number]]


def has_regression(model: AutoregressiveModel, position: int) -> bool:
    """Whether a column is described relative to those before it."""
    number = position - model.layout.n_categorical
    if number >= 0:
        return model.linear is not None and model.linear.describes(number)
    logits = model.category_heads.linear
    return logits is not None and bool(logits.of_level(position).any())
