"""What a model is worth: accuracy, link ranking, and (in `efficiency`) what it costs."""

from structkd.evaluation.accuracy import accuracy, micro_f1
from structkd.evaluation.links import hits_at_k, mean_reciprocal_rank, roc_auc

__all__ = ["accuracy", "hits_at_k", "mean_reciprocal_rank", "micro_f1", "roc_auc"]
