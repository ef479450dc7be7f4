"""Methods that a public class inherits from private ones, under its own name.

Python's own errors about arguments name the class that a method was written in, which a
user has never heard of.
"""

from types import CellType, FunctionType

PACKAGE = __name__.partition(".")[0]


def copy_public_methods(cls) -> None:
    """Give a class copies of the public methods of its private bases."""
    own = vars(cls).copy()
    for base in reversed(cls.__mro__[1:]):
        if base.__module__.partition(".")[0] == PACKAGE:
            for name, method in vars(base).items():
                if isinstance(method, FunctionType) and not name.startswith("_"):
                    if name not in own:
                        setattr(cls, name, copied(method, cls))


def copied(function, cls) -> FunctionType:
    """A copy of a function, and of those that it wraps, as one of a class."""
    wrapped = getattr(function, "__wrapped__", None)
    inner = None if wrapped is None else copied(wrapped, cls)
    closure = function.__closure__
    if inner is not None:
        closure = tuple(
            CellType(inner) if cell.cell_contents is wrapped else cell
            for cell in closure
        )
    copy = FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        closure,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__doc__, copy.__annotations__ = function.__doc__, function.__annotations__
    vars(copy).update(vars(function))
    if inner is not None:
        copy.__wrapped__ = inner
    copy.__module__ = cls.__module__
    copy.__qualname__ = f"{cls.__qualname__}.{function.__name__}"
    return copy
