"""The report's plots, as plotly figures.

Errors come in as [0, 1] and are drawn in percent.
"""

from nas_cli.report.plots.alphas import live_candidates, option_looks, probabilities
from nas_cli.report.plots.compare import best_curves, mark_reached
from nas_cli.report.plots.distribution import uncertainty
from nas_cli.report.plots.options import candidate_losses, marginals, path_counts
from nas_cli.report.plots.search import candidates, progress
from nas_cli.report.plots.table import predicted, replacements
from nas_cli.report.plots.training import retraining, training
from nas_cli.report.plots.trust import agreement

__all__ = [
    "agreement",
    "best_curves",
    "candidate_losses",
    "candidates",
    "live_candidates",
    "marginals",
    "mark_reached",
    "option_looks",
    "path_counts",
    "predicted",
    "probabilities",
    "progress",
    "replacements",
    "retraining",
    "training",
    "uncertainty",
]
