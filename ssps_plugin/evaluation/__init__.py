"""Speaker verification: embeddings, trials, scores, error rates, results."""

from ssps_plugin.clustering import normalized_mutual_information
from ssps_plugin.evaluation.embeddings import extract_embeddings
from ssps_plugin.evaluation.error_rates import (
    DetectionCurve,
    detection_curve,
    equal_error_rate,
    min_dcf,
)
from ssps_plugin.evaluation.plots import plot_curves
from ssps_plugin.evaluation.results import (
    verification_results,
    write_results,
    write_scores,
)
from ssps_plugin.evaluation.scoring import cosine_scores
from ssps_plugin.evaluation.trial_list import (
    TrialList,
    make_trials,
    read_trials,
    write_trials,
)
from ssps_plugin.evaluation.trial_lookup import find_trial_files

__all__ = [
    "DetectionCurve",
    "TrialList",
    "cosine_scores",
    "detection_curve",
    "equal_error_rate",
    "extract_embeddings",
    "find_trial_files",
    "make_trials",
    "min_dcf",
    "normalized_mutual_information",
    "plot_curves",
    "read_trials",
    "verification_results",
    "write_results",
    "write_scores",
    "write_trials",
]
