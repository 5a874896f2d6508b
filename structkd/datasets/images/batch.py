"""A batch of images."""

from __future__ import annotations

from torch import Tensor
from torch_geometric.data import Data


class Images(Data):
    """B images as a model sees them.

    Attributes:
        images: [B, 3, H, W] float32, normalised.
        y: [B] int64 classes, -1 = no label may be used.
        n_id: [B] int64 row of each image in its dataset; where training meets a fixed number of views of every image,
            view * N + row, with N the size of the dataset.
        label_scale: summed over labelled images, loss * label_scale estimates the mean over all labelled images.
        share: 1, unless processes hold unequal parts of a batch: then the loss times `share`, averaged over the
            processes, equals the loss of the undivided batch.
        splits: name -> rows of the batch, for evaluation only.
    """

    images: Tensor
    y: Tensor
    n_id: Tensor
    label_scale: float
    share: float
    splits: dict[str, Tensor]
