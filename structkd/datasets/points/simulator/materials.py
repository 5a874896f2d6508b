"""What surfaces are made of, as a LiDAR sees them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Materials:
    """Rows of `NAMES`.

    Attributes:
        reflectance: [K] mean reported reflectance. returns: [K] share of shots that come back from near.
        black: [K] share of returns reported with reflectance 0.
    """

    reflectance: np.ndarray
    returns: np.ndarray
    black: np.ndarray


_TABLE = {
    # name: reflectance, returns, share of zeros
    "asphalt": (0.32, 1.00, 0.10),
    "pavement": (0.37, 1.00, 0.09),
    "facade": (0.40, 1.00, 0.11),
    "foliage": (0.38, 0.85, 0.12),
    "bark": (0.36, 1.00, 0.08),
    "metal": (0.40, 1.00, 0.10),
    "sign": (0.90, 1.00, 0.00),
    "paintwork": (0.16, 0.80, 0.22),
    "glass": (0.10, 0.25, 0.40),
    "lamp": (0.60, 1.00, 0.02),
    "tyre": (0.06, 0.80, 0.40),
    "cloth": (0.36, 0.95, 0.08),
    "skin": (0.42, 0.95, 0.05),
    "frame": (0.28, 0.90, 0.15),
    "spokes": (0.20, 0.55, 0.20),
}
NAMES = tuple(_TABLE)
MATERIALS = Materials(*np.array(list(_TABLE.values())).T)


def material(name: str) -> int:
    """The row of a material."""
    return NAMES.index(name)
