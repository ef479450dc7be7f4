"""Pictures of fitted models and of tables, in scikit-learn's Display convention."""

from ._latent_space import LatentSpaceDisplay
from ._loadings import LoadingsDisplay
from ._loss_curve import LossCurveDisplay
from ._membership_audit import MembershipAuditDisplay
from ._reasons import ReasonsDisplay
from ._reconstruction import ReconstructionDisplay
from ._table_comparison import TableComparisonDisplay
from ._traversal import TraversalDisplay

__all__ = [
    "LatentSpaceDisplay",
    "LoadingsDisplay",
    "LossCurveDisplay",
    "MembershipAuditDisplay",
    "ReasonsDisplay",
    "ReconstructionDisplay",
    "TableComparisonDisplay",
    "TraversalDisplay",
]
