"""structkd: knowledge distillation where the data have structure."""

from structkd.structure import Structure

__version__ = "0.1.0"
__all__ = ["Structure", "__version__"]
