"""Laws: sums and dependences of columns, which drawn rows are made to meet."""

import numpy as np

from .combinations import Combinations
from .constraint_set import find_column
from .constraints import Linear
from .sums import Sum


class Laws:
    """Columns that follow from others in all rows of a table.

    Unlike constraints, laws were found and not given: rows are encoded as if there were
    none, any row may break one, and only drawn rows are made to meet them: a total is
    added up, and columns that go together become the nearest combination.

    Parameters
    ----------
    constraints : list of FixedCombinations and Linear
        That go together. The first column of combinations determines the others.

    Attributes
    ----------
    parts_ : list of Combinations and Sum
    """

    def __init__(self, constraints):
        self.constraints = constraints

    def fit(self, columns: list, names: list) -> "Laws":
        """Learn the combinations, and how numbers are written, of a table's columns."""
        self.parts_ = []
        for law in self.constraints:
            places = [find_column(law, name, names) for name in law.columns]
            part = Sum if isinstance(law, Linear) else Combinations
            self.parts_.append(part(law, places).fit(columns))
        return self

    @property
    def sums(self) -> list:
        """Those that are sums."""
        return [part for part in self.parts_ if isinstance(part, Sum)]

    def find_broken(self, columns: list) -> np.ndarray:
        """Rows that do not add up after `hold`, as a sum is out of its range, (n,)."""
        broken = np.zeros(len(columns[0]), dtype=bool)
        for part in self.sums:
            broken |= part.find_broken(columns)
        return broken

    def unbroken(self, columns: list) -> "Laws | None":
        """Those that all rows of a table meet; None if none is left."""
        kept = [part for part in self.parts_ if not part.find_broken(columns).any()]
        if not kept:
            return None
        laws = Laws([part.constraint for part in kept])
        laws.parts_ = kept
        return laws

    def hold(
        self, columns: list, requests: dict, codecs: list, moves_others: bool
    ) -> list:
        """Columns that meet the laws, as far as that leaves what is asked for.

        Parameters
        ----------
        columns : list of Series
        requests : dict of {int: LevelRequests or NumberRequests}
            What is asked of each row, by position of the column.
        codecs : list
            Codecs of the columns, which the requests are in the words of.
        moves_others : bool
            Move the parts of a sum that no row of training has, if none is asked for.
        """
        for part in self.parts_:
            if isinstance(part, Combinations):
                columns = part.nearest(columns, requests, codecs)
            else:
                columns = part.recomputed(columns, requests, moves_others)
        return columns
