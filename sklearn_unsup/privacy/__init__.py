"""What shared rows and models give away about the rows that they were made from."""

from .._privacy.budget import Budget
from ._audit import MembershipAudit, membership_audit
from ._disclosure import attribute_disclosure
from ._evidence import epsilon_lower_bound

__all__ = [
    "Budget",
    "MembershipAudit",
    "attribute_disclosure",
    "epsilon_lower_bound",
    "membership_audit",
]
