"""What happens to values that a column did not show when it was fitted."""

from .._warnings import warn_user


class UnknownValueError(ValueError):
    """Values that a column cannot encode as they are.

    Parameters
    ----------
    problem, remedy : str
        What is unknown, and what a user may do about it.
    """

    def __init__(self, problem: str, remedy: str):
        super().__init__(f"{problem} {remedy}")
        self.problem = problem

    def __reduce__(self):
        return ValueError, self.args


class Tolerance:
    """Calls functions of columns that refuse unknown values, as a parameter asks for.

    Parameters
    ----------
    handle_unknown : {"error", "warn", "ignore"}
    learning : bool, default=False
        Whether the rows are to be learnt from: what they do not say must not be learnt,
        so that "warn" is "error" then.
    """

    def __init__(self, handle_unknown: str, learning: bool = False):
        if learning and handle_unknown == "warn":
            handle_unknown = "error"
        self.handle_unknown = handle_unknown
        self.problems: list[str] = []

    def __call__(self, function, *args):
        """Call the function, whose last argument says whether to ignore the unknown."""
        if self.handle_unknown == "warn":
            try:
                return function(*args, False)
            except UnknownValueError as error:
                self.problems.append(error.problem)
                return function(*args, True)
        return function(*args, self.handle_unknown == "ignore")

    def warn(self):
        """Say what was ignored, in one warning."""
        if self.problems:
            shown = " ".join(self.problems[:3])
            more = len(self.problems) - 3
            others = f" So have {more} other columns." if more > 0 else ""
            warn_user(
                f"{shown}{others} An unseen level is read as missing where the column "
                "had missing values, else as a rare or the most frequent level, and an "
                "unseen missing number as the middle of its column. Fit on rows that "
                "show them, or pass handle_unknown='error' to refuse them or 'ignore' "
                "for no warning.",
                UserWarning,
            )
