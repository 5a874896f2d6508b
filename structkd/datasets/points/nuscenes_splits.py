"""The official splits of nuScenes by the names of scenes, such as scene-0061."""

from __future__ import annotations

import re

from structkd.errors import ConfigError

#: Numbers of the 150 scenes of v1.0-trainval to validate on, as first-last; the other 700 are there to train on.
VALIDATION = (
    "3 12-18 35-36 38-39 92-110 221 268-278 329-332 344-346 519-524 552-565 625-627 629-630 632-638 770-771 775 "
    "777-778 780-784 794-800 802 904-917 919-931 962-963 966-969 971-972 1059-1073"
)
#: The two scenes of v1.0-mini to validate on; the other eight, some of which the list above has, are to train on.
MINI_VALIDATION = "103 916"
SPLITS = ("train", "val", "test", "all", "mini_train", "mini_val")


def in_split(scene: str, split: str, version: str) -> bool:
    """Whether a scene belongs to a split of one of the three versions of the dataset.

    Raises:
        ConfigError: an unknown split.
    """
    if split not in SPLITS:
        raise ConfigError(f"split is {split!r}; expected one of {', '.join(SPLITS)}.")
    if split == "all":
        return True
    if version.endswith("test") or split == "test":
        return version.endswith("test") and split == "test"
    mini, number = version.endswith("mini"), re.fullmatch(r"scene-(\d+)", scene)
    if split.startswith("mini") and not mini:
        return False
    held_out = number is not None and int(number[1]) in _numbers(MINI_VALIDATION if mini else VALIDATION)
    return held_out == split.endswith("val")


def _numbers(ranges: str) -> set[int]:
    found: set[int] = set()
    for part in ranges.split():
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found
