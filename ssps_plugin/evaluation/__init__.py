"""Speaker verification: embeddings, trials, scores, error rates, results."""

from ssps_plugin.evaluation.detection_curve import (
    DetectionCurve,
    detection_curve,
)
from ssps_plugin.evaluation.embeddings import extract_embeddings
from ssps_plugin.evaluation.metrics import equal_error_rate, min_dcf
from ssps_plugin.evaluation.nmi import normalized_mutual_information
from ssps_plugin.evaluation.plots import plot_curves
from ssps_plugin.evaluation.results import (
    verification_results,
    write_results,
    write_scores,
)
from ssps_plugin.evaluation.scoring import cosine_scores
from ssps_plugin.evaluation.trial_files import find_trial_files
from ssps_plugin.evaluation.trial_list import TrialList
from ssps_plugin.evaluation.trial_making import make_trials
from ssps_plugin.evaluation.trials import read_trials, write_trials
