"""What must hold in every row of a table, and in every row that a model draws."""

from ._table.constraints import (
    FixedCombinations,
    Inequality,
    Linear,
    Range,
    Unique,
    Where,
)
from ._table.discovery import find_constraints

__all__ = [
    "FixedCombinations",
    "Inequality",
    "Linear",
    "Range",
    "Unique",
    "Where",
    "find_constraints",
]
