"""Greedy matching of objects to detections, for many score thresholds at once.

Up to 63 thresholds are the bits of one integer: bit k says what holds at threshold k.
"""

from __future__ import annotations

import numpy as np


def bits_from(index: np.ndarray, count: int) -> np.ndarray:
    """int64 with bits `index` to `count - 1` set: what holds from threshold `index` on."""
    return (np.int64(2**count - 1) >> index) << index


def unpack_bits(bits: np.ndarray, count: int) -> np.ndarray:
    """[P] int64 as [P, count] uint8: 1 where the bit is set."""
    bytes_ = np.ascontiguousarray(bits, dtype="<i8").view(np.uint8).reshape(len(bits), 8)
    return np.unpackbits(bytes_, axis=1, bitorder="little")[:, :count]


def greedy_match(
    label: np.ndarray, detection: np.ndarray, frame: np.ndarray, preference: tuple[np.ndarray, ...], bits: np.ndarray
) -> np.ndarray:
    """Objects, in the order of their frame, each take the detection they prefer among those still free.

    Args:
        label, detection: [P] the candidate pairs, by label.
        frame: [P] frame of each pair.
        preference: [P] arrays, the most important first; a label takes the free detection with the least values.
            Ties go to the detection of the lowest row.
        bits: [P] int64, bit k: the pair may be matched at threshold k. The thresholds do not know of each other.

    Returns:
        [P] int64, bit k: the pair is matched at threshold k.
    """
    matched = bits.copy()
    # Most pairs have no competitor; the others go by waves: the first choice of the first label of every frame, ...
    contested = (np.bincount(label)[label] > 1) | (np.bincount(detection)[detection] > 1) if len(label) else bits > 0
    rows = np.flatnonzero(contested)
    rows = rows[np.lexsort((detection[rows], *(key[rows] for key in reversed(preference)), label[rows]))]
    label_taken, detection_taken = (np.zeros(ids.max(initial=-1) + 1, dtype=np.int64) for ids in (label, detection))
    for wave in _waves(label[rows], frame[rows]):
        pair = rows[wave]
        free = bits[pair] & ~label_taken[label[pair]] & ~detection_taken[detection[pair]]
        # No label and no detection occurs twice in a wave, so nothing is lost in these assignments.
        label_taken[label[pair]] |= free
        detection_taken[detection[pair]] |= free
        matched[pair] = free
    return matched


def _waves(label: np.ndarray, frame: np.ndarray) -> list[np.ndarray]:
    """Rows in the order in which one frame alone would visit them, all frames side by side.

    Takes rows sorted by label, and labels by frame. A wave holds at most one row of a frame.
    """
    choice = _position(label)
    new_label = choice == 0
    rank = np.empty_like(choice)
    rank[new_label] = _position(frame[new_label])
    rank = rank[new_label][np.cumsum(new_label) - 1]
    wave = rank * (choice.max(initial=0) + 1) + choice
    order = np.argsort(wave, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(wave[order])) + 1)


def _position(sorted_ids: np.ndarray) -> np.ndarray:
    """[P] how many equal ids come before each, in a sorted array."""
    new = np.diff(sorted_ids, prepend=-1) != 0
    start = np.flatnonzero(new)
    return np.arange(len(sorted_ids)) - start[np.cumsum(new) - 1]
