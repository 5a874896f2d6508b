"""Structure: how any model's forward pass is handed to a distiller."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from structkd.errors import DataError, WiringError
from structkd.ops.sparse_features import take_rows

#: The documented fields; any further name (a tap of one's own, `token_logits`) is welcome beside them.
FIELDS: dict[str, str] = {
    "x": "[N, C] features at a tap",
    "logits": "[N, K] or [samples, K] class scores",
    "pos": "[N, D] positions",
    "edge_index": "[2, E] relations, source -> target",
    "edge_weight": "[E] weight of each relation",
    "batch": "[N] sample an element belongs to",
    "n_id": "[N] global element id",
    "image_id": "[B] global ids of the samples, where n_id are those of their elements",
    "importance": "[N] reliability, load or count",
    "mask": "[N] bool, elements that may be distilled",
    "x_dst": "[M, C] second set of a bipartite relation",
    "edge_scale": "[E] weights that turn a sum over a batch's edges into an unbiased mean over all edges",
}


class Structure(Data):
    """Elements, their features and their relations, read from one forward pass.

    A `torch_geometric.data.Data`, so batching, `.to()` and transforms work as everywhere in PyG.
    The fields are described in `FIELDS`; edges run source -> target. Row `i` of a student's and of a
    teacher's Structure describe the same element. Empty and single-element structures are legal.

    Two optional attributes hold no tensors: `replay`, a callable that runs the same model on other
    input features and returns the Structure of that pass (adversarial and perturbation methods), and
    `losses`, a dict of scalar losses the model itself owes (codebook commitment, load balance).
    """

    def __init__(
        self,
        x: Tensor | None = None,
        edge_index: Tensor | None = None,
        *,
        logits: Tensor | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(x=x, edge_index=edge_index)
        if logits is not None:
            self.logits = logits
        for name, value in fields.items():
            if value is not None:
                self[name] = value

    @property
    def provides(self) -> frozenset[str]:
        """Names of the fields that hold something."""
        return frozenset(name for name, value in self.to_dict().items() if value is not None)

    def require(self, names: Iterable[str], reader: str, side: str) -> None:
        """Raise a `WiringError` when a field that `reader` needs of the `side` is not there."""
        missing = sorted(set(names) - self.provides)
        if missing:
            raise WiringError(
                f"{reader} reads {', '.join(missing)} of the {side}, whose structure provides only "
                f"{', '.join(sorted(self.provides)) or 'nothing'}. Add a tap or an adapter that fills it."
            )

    @property
    def num_elements(self) -> int:
        """Number of elements, from the first node-level field that is there."""
        for name in ("x", "logits", "n_id", "pos", "mask", "importance", "batch"):
            value = self.get(name)
            if isinstance(value, Tensor):
                return value.size(0)
        return int(self.num_nodes or 0)

    def is_node_field(self, name: str) -> bool:
        """Whether a field has one row an element.

        Fields named `edge_*`, `classifier_*`, `x_dst` and `codebook` never do, whatever their size.
        """
        value = self.get(name)
        return (
            isinstance(value, Tensor)
            and not name.startswith(("edge_", "classifier_"))
            and name not in ("x_dst", "codebook")
            and value.dim() > 0
            and value.size(0) == self.num_elements
        )

    def select(self, index: Tensor) -> Structure:
        """The same structure with only the rows `index` of its node-level fields; edges are left out.

        Fields that are not node-level (a codebook, counts, `replay`) are kept as they are.
        """
        chosen = Structure()
        for name, value in self.to_dict().items():
            if name.startswith("edge_") or value is None:
                continue
            chosen[name] = take_rows(value, index) if self.is_node_field(name) else value
        return chosen

    def detach(self) -> Structure:  # type: ignore[override]
        """A copy whose tensors carry no gradient; what carries none already stays the same object.

        Operators remember what they derive from a tensor (compressed rows, undirected pairs) by its identity.
        """
        fields = self.to_dict()
        return Structure(
            **{
                name: value.detach() if isinstance(value, Tensor) and value.requires_grad else value
                for name, value in fields.items()
            }
        )

    def check(self, name: str = "structure") -> Structure:
        """Verify shapes, ids and finiteness; raises `DataError` naming the field. Returns self."""
        size = self.num_elements
        for field in ("x", "logits", "pos", "importance"):
            value = self.get(field)
            if isinstance(value, Tensor) and value.layout == torch.strided and not bool(torch.isfinite(value).all()):
                raise DataError(f"{name}.{field} holds NaN or infinity; every value must be finite.")
        for field in ("x", "pos", "importance", "mask", "n_id", "batch"):
            value = self.get(field)
            if isinstance(value, Tensor) and value.size(0) != size:
                raise DataError(f"{name}.{field} has {value.size(0)} rows, but the structure has {size} elements.")
        edges = self.get("edge_index")
        if isinstance(edges, Tensor):
            if edges.dim() != 2 or edges.size(0) != 2:
                raise DataError(f"{name}.edge_index has shape {tuple(edges.shape)}; expected [2, E].")
            second = self.get("x_dst")
            limits = (size, second.size(0) if isinstance(second, Tensor) else size)
            for row, limit in zip(edges, limits, strict=True):
                if row.numel() and (int(row.min()) < 0 or int(row.max()) >= limit):
                    raise DataError(
                        f"{name}.edge_index holds ids from {int(row.min())} to {int(row.max())}; "
                        f"expected 0 to {limit - 1}."
                    )
        return self
