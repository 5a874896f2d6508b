"""A batch of LiDAR frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from structkd.datasets.points.frame import Frame
from structkd.errors import DataError


class Scenes(Data):
    """B frames, one after another; frames without points or boxes are legal.

    Attributes:
        points: [P, C] float32 x, y, z, reflectance, ... (see `Frame`).
        batch: [P] int64 ascending: scene of each point, 0 to B - 1.
        num_scenes: B.
        boxes: [M, 7 or 9] float32 LiDAR boxes.
        labels: [M] int64 class of each box.
        boxes_batch: [M] int64 ascending: scene of each box.
        n_id: [B] int64 index of each frame in its dataset.
        frame_id: [B] names of the frames.
    """

    points: Tensor
    batch: Tensor
    num_scenes: int
    boxes: Tensor
    labels: Tensor
    boxes_batch: Tensor
    n_id: Tensor
    frame_id: list[str]

    @classmethod
    def from_frames(cls, frames: Sequence[Frame], n_id: Sequence[int] | Tensor | None = None) -> Scenes:
        """The batch of `frames`; `n_id` [B] defaults to 0 to B - 1.

        Raises:
            DataError: no frame, or frames whose points or boxes have different columns.
        """
        if not frames:
            raise DataError("Scenes.from_frames got no frame; expected at least one.")
        for name in ("points", "boxes"):
            if len(columns := {getattr(frame, name).shape[1] for frame in frames}) > 1:
                raise DataError(
                    f"Scenes.from_frames: {name} of frames {', '.join(frame.frame_id for frame in frames[:8])} have "
                    f"{' and '.join(map(str, sorted(columns)))} columns; expected the same number in all."
                )
        ids = torch.arange(len(frames)) if n_id is None else torch.as_tensor(n_id, dtype=torch.int64)
        if ids.shape != (len(frames),):
            raise DataError(f"Scenes.from_frames got n_id {tuple(ids.shape)} for {len(frames)} frames.")
        return cls(
            points=torch.from_numpy(np.concatenate([frame.points for frame in frames]).astype(np.float32, copy=False)),
            batch=_scene_of([len(frame.points) for frame in frames]),
            num_scenes=len(frames),
            boxes=torch.from_numpy(np.concatenate([frame.boxes for frame in frames]).astype(np.float32, copy=False)),
            labels=torch.from_numpy(np.concatenate([frame.labels for frame in frames]).astype(np.int64, copy=False)),
            boxes_batch=_scene_of([len(frame.boxes) for frame in frames]),
            n_id=ids,
            frame_id=[frame.frame_id for frame in frames],
        )


def _scene_of(counts: list[int]) -> Tensor:
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
