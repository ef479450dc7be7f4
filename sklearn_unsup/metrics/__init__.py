"""What a synthetic table is worth: functions of two or more tables."""

from ._closest import closest_record_scores
from ._fidelity import shape_score, trend_score
from ._report import SynthesisReport, synthesis_report
from ._two_sample import two_sample_score
from ._utility import utility_scores

__all__ = [
    "SynthesisReport",
    "closest_record_scores",
    "shape_score",
    "synthesis_report",
    "trend_score",
    "two_sample_score",
    "utility_scores",
]
