"""Distillers compare a student's Structure with a teacher's; each is one paper in one file."""

from structkd.distillers.base import Distiller
from structkd.distillers.features import *  # noqa: F403
from structkd.distillers.features import __all__ as _features
from structkd.distillers.graphs import *  # noqa: F403
from structkd.distillers.graphs import __all__ as _graphs
from structkd.distillers.logits import *  # noqa: F403
from structkd.distillers.logits import __all__ as _logits
from structkd.distillers.modules import *  # noqa: F403
from structkd.distillers.modules import __all__ as _modules
from structkd.distillers.points import *  # noqa: F403
from structkd.distillers.points import __all__ as _points
from structkd.distillers.tokens import *  # noqa: F403
from structkd.distillers.tokens import __all__ as _tokens

__all__ = ["Distiller", *_features, *_graphs, *_logits, *_modules, *_points, *_tokens]
