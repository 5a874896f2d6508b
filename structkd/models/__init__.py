"""Reference teachers and students."""

from structkd.models.graphs import *  # noqa: F403
from structkd.models.graphs import __all__  # noqa: F401
