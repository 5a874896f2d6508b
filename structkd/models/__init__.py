"""Reference teachers and students."""

from structkd.models import graphs, images, modules, points
from structkd.models.graphs import *  # noqa: F403
from structkd.models.images import *  # noqa: F403
from structkd.models.modules import *  # noqa: F403
from structkd.models.narrow import narrow_
from structkd.models.points import *  # noqa: F403

__all__ = [*graphs.__all__, *images.__all__, *modules.__all__, *points.__all__, "narrow_"]
