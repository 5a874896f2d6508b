"""TokenAdapter: a CNN or a transformer on images, read as a Structure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from structkd.adapters.base import Adapter
from structkd.adapters.layouts import as_map, as_prefix, as_rows, as_vector, has_class_token, owner
from structkd.adapters.taps import check_taps, tapped
from structkd.errors import ConfigError, DataError, WiringError, located
from structkd.models.modules.records import owed_losses, recorded
from structkd.structure import Structure

#: What a Structure takes over from the batch as it is.
IMAGE_FIELDS = ("y", "n_id")
#: What `classifier` fills.
CLASSIFIER_FIELDS = ("classifier_weight", "classifier_bias")
#: What `tokens` fills.
ROW_FIELDS = ("x", "pos", "batch", "n_id", "image_id", "mask")


class TokenAdapter(Adapter):
    """Reads one forward pass of an image classifier on `Images`.

    Args:
        maps: field -> module path. The module's output becomes a map [B, C, h, w]: maps of a CNN as they are, maps with
            channels last turned round, tokens [B, P + T, C] of a transformer without their first P (class,
            distillation, register) tokens, laid out row by row on their grid.
        vectors: field -> module path, for [B, C]: vectors as they are, maps of one cell flattened, of tokens the class
            token (the first; the model must have prefix tokens, not registers alone).
        prefix: field -> module path of a transformer, for its prefix tokens [B, P, C].
        tokens: name of one of the maps, which is then also given as rows: `x` [B T, C], `pos` [B T, 2] (row and column
            in cells, from 0), `batch` [B T], `n_id` [B T] (the image's id times T plus the token's number, in place of
            the images' ids), `image_id` [B] (the images' ids, for what compares images beside the rows; their places
            in the batch where it has no `n_id`) and, with a token mask, `mask` [B T].
        classifier: module path of the linear layer that gives the logits, whose parameters become `classifier_weight`
            [K, C] and, where it has one, `classifier_bias` [K] (SRRL of a teacher reads them).
        prefix_tokens: P. Default: what the model says (`num_prefix_tokens`, as timm's and ours have it), else 0. Give
            0 for the `blocks` of timm's CaiT and XCiT: they hold no class token yet, although the model says 1.
        grid: (h, w) of a transformer's tokens. Default: the one of the image's proportions.
        channels_last: names of the maps whose channels are last. Default: what the image's proportions tell, and where
            both readings have them (as many channels as cells each way) the model's `output_fmt` (timm), else first.

    The Structure also holds `logits` [B, K] and, where the batch has them, `y` [B], `n_id` [B] and `mask_map` [B, h, w]
    bool, the batch's `token_mask` (True: a token that counts); `mask` reads it at the nearest cell. The model may
    return a dict with `logits` and, under `losses`, scalar losses it owes; those of its routers (and other recorders,
    see `structkd.models.modules.records`) are added to them.

    Beware of modules that work in place: they change what was tapped in front of them. Tap the activation itself.

    Errors: `WiringError` with module path and shape, for a path that names no module or one that the pass does not
    reach, and for an output that cannot be read as asked; `ConfigError` for fields named twice; `DataError` for a token
    mask of another shape.
    """

    #: What of a batch the model is called with.
    inputs = ("images",)

    def __init__(
        self,
        maps: Mapping[str, str] | None = None,
        vectors: Mapping[str, str] | None = None,
        prefix: Mapping[str, str] | None = None,
        tokens: str | None = None,
        classifier: str | None = None,
        prefix_tokens: int | None = None,
        grid: Sequence[int] | None = None,
        channels_last: Collection[str] | None = None,
    ) -> None:
        self.maps, self.vectors, self.prefix = dict(maps or {}), dict(vectors or {}), dict(prefix or {})
        self.tokens, self.classifier, self.prefix_tokens = tokens, classifier, prefix_tokens
        self.grid = None if grid is None else (int(grid[0]), int(grid[1]))
        self.channels_last = None if channels_last is None else frozenset(channels_last)
        rows = ROW_FIELDS if tokens is not None else ()
        own = ("logits", "losses", "mask_map", *CLASSIFIER_FIELDS, *IMAGE_FIELDS)
        names = [*own, *(name for name in rows if name not in own), *self.maps, *self.vectors, *self.prefix]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(f"TokenAdapter fills the field {', '.join(twice)} twice; choose other names.")
        for argument, chosen in (("tokens", rows and {tokens}), ("channels_last", self.channels_last)):
            if unknown := set(chosen or ()) - set(self.maps):
                raise ConfigError(f"TokenAdapter: {argument} names {unknown}, but the maps are {sorted(self.maps)}.")
        self.taps = self.maps | self.vectors | self.prefix
        weights = CLASSIFIER_FIELDS if classifier is not None else ()
        self.provides = frozenset({"logits", "mask_map", *IMAGE_FIELDS, *weights, *rows, *self.taps})

    def check(self, model: nn.Module) -> None:
        check_taps(model, self.taps)
        if self.classifier is not None:
            _classifier(model, self.classifier)

    def __call__(self, model: nn.Module, inputs: Any) -> Structure:
        """`inputs`: `Images`, or any `Data` with `images` [B, C, H, W] (and `y`, `n_id`, `token_mask`)."""
        images = inputs.images
        with tapped(model, self.taps) as outputs, recorded(model) as records:
            returned = model(images)
        found = returned if isinstance(returned, Mapping) else {"logits": returned}
        if not isinstance(found.get("logits"), Tensor):
            raise WiringError(f"{type(model).__name__} returned no logits; expected a tensor or a dict with 'logits'.")
        losses = {**(found.get("losses") or {}), **owed_losses(records)}
        fields: dict[str, Any] = {"logits": found["logits"], "losses": losses or None}
        fields |= {name: inputs.get(name) for name in IMAGE_FIELDS}
        for field, path in self.taps.items():
            with located(f"The tap '{field}' at '{path}' of {type(model).__name__}"):
                if not isinstance(outputs.get(field), Tensor):
                    raise WiringError("the module gave no tensor." if field in outputs else "the module did not run.")
                fields[field] = self._read(model, field, outputs[field], (images.size(-2), images.size(-1)))
        if self.classifier is not None:
            fields |= _classifier(model, self.classifier)
        mask = inputs.get("token_mask")
        if mask is not None:
            if mask.dim() != 3 or mask.size(0) != images.size(0):
                raise DataError(f"token_mask has shape {tuple(mask.shape)}; expected [B={images.size(0)}, h, w].")
            fields["mask_map"] = mask.bool()
        if self.tokens is not None:
            fields |= as_rows(fields[self.tokens], fields["n_id"], fields.get("mask_map"))
        return Structure(**fields)

    def compact(self, structure: Structure) -> Structure:
        """Images alone: the rows of `tokens` are made of their map again, and `n_id` are the images' ids."""
        if self.tokens is None:
            return structure
        fields = {name: value for name, value in structure.to_dict().items() if name not in ROW_FIELDS}
        return Structure(**fields, n_id=structure.image_id)

    def expand(self, structure: Structure) -> Structure:
        if self.tokens is None:
            return structure
        rows = as_rows(structure[self.tokens], structure.n_id, structure.get("mask_map"))
        return Structure(**structure.to_dict() | rows)

    def _read(self, model: nn.Module, field: str, x: Tensor, image_size: tuple[int, int]) -> Tensor:
        path, prefix = self.taps[field], self.prefix_tokens
        if prefix is None:
            prefix = int(owner(model, path, "num_prefix_tokens") or 0)
        if field in self.vectors:
            return as_vector(x, prefix, has_class_token(model, path))
        if field in self.prefix:
            return as_prefix(x, prefix)
        last = None if self.channels_last is None else field in self.channels_last
        if last is None and x.dim() == 4 and x.size(1) == x.size(2) == x.size(3):
            last = owner(model, path, "output_fmt") == "NHWC"
        return as_map(x, image_size, prefix, self.grid, last)


def _classifier(model: nn.Module, path: str) -> dict[str, Tensor | None]:
    check_taps(model, {"classifier": path})
    layer = model.get_submodule(path)
    weight, bias = getattr(layer, "weight", None), getattr(layer, "bias", None)
    if not isinstance(weight, Tensor) or weight.dim() != 2:
        raise WiringError(
            f"The classifier at '{path}' of {type(model).__name__} is {type(layer).__name__}; expected a linear layer."
        )
    return {"classifier_weight": weight, "classifier_bias": bias}
