"""What a synthetic table is worth: functions of two or more tables."""

from ._c2st import c2st_score
from ._closest import closest_record_scores
from ._fidelity import shape_score, trend_score
from ._report import SynthesisReport, synthesis_report
from ._utility import utility_scores

__all__ = [
    "SynthesisReport",
    "c2st_score",
    "closest_record_scores",
    "shape_score",
    "synthesis_report",
    "trend_score",
    "utility_scores",
]
