"""Neural attentive circuits: modules with signatures and codes that learn whom to listen to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from structkd.errors import ConfigError
from structkd.models.chain import Step
from structkd.models.images.base import ImageModel
from structkd.models.images.layers import preset as entry
from structkd.models.modules.nac_design import CircuitDesign, Design
from structkd.models.modules.nac_layers import CircuitAttention, ModulatedFFN, ReadInAttention
from structkd.models.modules.nac_tokens import ImageTokens

#: Name -> channels, propagator layers, heads, latents that read in, mediators, latents that read out.
PRESETS = {
    "nano": (64, 4, 4, 16, 32, 8),
    "mini": (128, 6, 4, 32, 64, 16),
    "tiny": (384, 8, 6, 64, 256, 64),
    "base": (512, 8, 8, 192, 768, 64),
}


class Propagator(nn.Module):
    """Receivers listen to senders, then compute: one layer of a circuit."""

    def __init__(self, channels: int, code_channels: int, heads: int, drop_path: float, **connectivity: Any) -> None:
        super().__init__()
        self.attn = CircuitAttention(channels, code_channels, heads, drop_path, **connectivity)
        self.ffn = ModulatedFFN(channels, code_channels, drop_path)

    def forward(self, to: Tensor, of: Tensor, design: CircuitDesign, receiver: str, *senders: str) -> Tensor:
        """States [B, U, S] and [B, V, S], groups of the receivers and of the senders -> [B, U, S]."""
        signature, code = design.joined(*senders)
        to = self.attn(to, design.signature[receiver], design.code[receiver], of, signature, code)
        return self.ffn(to, design.code[receiver])


class ConfidentPool(nn.Module):
    """Mean of output latents, weighted by a (Gumbel) softmax of their confidences: [B, O, S] -> [B, S]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.confidence = nn.Linear(channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        score = self.confidence(x).squeeze(-1)
        share = F.gumbel_softmax(score, dim=1) if self.training else score.softmax(1)
        return torch.einsum("bo,boc->bc", share, x)


class NAC(ImageModel):
    """Neural attentive circuit: read-in, propagator layers among mediators, read-out.

    Rahaman et al., "Neural Attentive Circuits", NeurIPS 2022, in the form that m2mKD (Lo et al., TMLR 2024) distils.

    Every latent has a signature, which decides whom it is connected to, a code, which conditions what it computes, and
    a state. Input latents read the image's tokens; mediators listen to input latents and to each other, layer by layer;
    output latents listen to the mediators, and the sum of them by confidence is classified.

    Args:
        out_channels: classes.
        preset: "nano", "mini", "tiny" (published for Tiny-ImageNet) or "base" (for ImageNet), see `PRESETS`.
        width, depth, heads, inputs, mediators, outputs: in place of the preset's: channels S, propagator layers,
            attention heads, and the numbers of latents.
        in_channels, image_size: of the images; the size only chooses `patch_size`.
        patch_size, stem_depths: of the tokenizer, see `ImageTokens`.
        signature_channels: G.
        code_channels: Q; default the width.
        graph: prior on the connections between mediators: `dict(name=...)` of "scale_free" (m), "erdos_renyi" (p),
            "ring_of_cliques" (cliques) or "planted_partition" (groups, p_in, p_out). None: random signatures.
        prior_weight: of its loss (`loss/model.prior`). Published: 0.1.
        truncation, temperature: of the connections, see `Connectivity`.
        drop_path: rate in the layers. Published: 0.1.
        shared_design: whether all layers read the same signatures and codes (published). With False each part has its
            own, so that the circuit can be cut into modules (`ModularView`): then `chain` has no weight in two steps.
        seed: of graph and signatures' fit.

    Taps: `tokens` [B, S, h, w], `pool` [B, S]; `read_in` and `layers.I` give states.

    Raises:
        ConfigError: unknown names, numbers out of range. DataError: images that are not made of whole patches.

    Differences: read-in attention is computed in factored form (see `ReadInAttention`), positions are added as sines
    and cosines rather than concatenated, initial states are learnt parameters that start fifty times smaller (beside
    unit states the messages, with LayerScale at 0.1, are lost at first), codes carry no noise. Evaluation takes the
    kernel and the softmax as they are; the authors' read-out draws Gumbel noise then, too, so their predictions differ
    from pass to pass. Connections beyond the cut get no gradient: with the authors' straight-through cut their
    attention weight, and with it the gradient, is zero as well. Signatures of a prior are fitted by our own hinge (100
    steps rather than 1,000); the block model's groups are numbered, where the authors match them anew in every step.
    """

    def __init__(
        self,
        out_channels: int,
        preset: str = "nano",
        width: int | None = None,
        depth: int | None = None,
        heads: int | None = None,
        inputs: int | None = None,
        mediators: int | None = None,
        outputs: int | None = None,
        in_channels: int = 3,
        image_size: int | Sequence[int] = 32,
        patch_size: int | None = None,
        stem_depths: Sequence[int] = (1, 1),
        signature_channels: int = 64,
        code_channels: int | None = None,
        graph: Mapping[str, Any] | None = None,
        prior_weight: float = 0.1,
        truncation: float = 0.9,
        temperature: float | None = 0.5,
        drop_path: float = 0.0,
        shared_design: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        given = (width, depth, heads, inputs, mediators, outputs)
        channels, layers, num_heads, *latents = (a or b for a, b in zip(given, entry(PRESETS, preset, "preset")))
        if channels % num_heads or channels % 4:
            raise ConfigError(f"width={channels} is not divisible by {num_heads} heads and by 4.")
        if min(layers, *latents, signature_channels) < 1 or prior_weight < 0 or not 0 <= drop_path < 1:
            raise ConfigError(
                "depth, latents and signature_channels must be 1 or more, prior_weight 0 or more, drop_path 0 to 1."
            )
        if not 0 < truncation <= 2 or (temperature is not None and temperature <= 0):
            raise ConfigError(
                f"truncation={truncation}, temperature={temperature}: expected 0 to 2, and above 0 or None."
            )
        code = code_channels or channels
        sizes = dict(zip(("inputs", "mediators", "outputs"), latents))
        self.depth, self.sizes, self.shared_design = layers, sizes, shared_design
        groups = [("inputs",), *[("inputs", "mediators")] * layers, ("mediators", "outputs")]
        design = partial(Design, code_channels=code, graph=graph, truncation=truncation, seed=seed)
        self.designs = nn.ModuleList(
            design(
                {name: sizes[name] for name in names},
                # What reads in listens to tokens, which have no signatures.
                signature_channels=0 if names == ("inputs",) else signature_channels,
                prior_weight=0.0 if names == ("inputs",) else prior_weight,
            )
            for names in ([tuple(sizes)] if shared_design else groups)
        )
        self.state = nn.ParameterDict({name: 0.02 * torch.randn(count, channels) for name, count in sizes.items()})
        connect = {"truncation": truncation, "temperature": temperature}
        self.tokens = ImageTokens(in_channels, channels, stem_depths, patch_size, image_size)
        self.read_in = ReadInAttention(channels, channels, code, num_heads)
        self.read_in_ffn = ModulatedFFN(channels, code, drop_path)
        self.layers = nn.ModuleList(Propagator(channels, code, num_heads, drop_path, **connect) for _ in range(layers))
        self.read_out = Propagator(channels, code, num_heads, 0.0, **connect)
        self.norm = nn.LayerNorm(channels)
        self.pool = ConfidentPool(channels)
        self.head = nn.Linear(channels, out_channels)
        self._describe([("tokens", channels, self.tokens.stride)], channels)

    def chain(self) -> list[Step]:
        """Read-in, the layers and read-out; what passes between them are the states of input latents and mediators."""
        read_in = ("tokens", "read_in", "read_in_ffn", "state.inputs", "state.mediators")
        read_out = ("read_out", "norm", "pool", "head", "state.outputs")
        layers = [(f"layers.{i}", (f"layers.{i}",)) for i in range(self.depth)]
        parts = [("read_in", read_in), *layers, ("read_out", read_out)]
        return [
            Step(name, partial(_run_part, i), (*owned, f"designs.{self._design(i)}"))
            for i, (name, owned) in enumerate(parts)
        ]

    def forward(self, images: Tensor) -> Tensor:
        x, design = images, self.designs[0]()
        for i in range(self.depth + 2):
            x = self._part(i, design if self.shared_design or i == 0 else self.designs[i](), x)
        return x

    def _design(self, part: int) -> int:
        return 0 if self.shared_design else part

    def _part(self, part: int, design: CircuitDesign, x: Tensor) -> Tensor:
        """Images -> states [B, I + M, S] in part 0, states -> logits in the last one, states -> states between."""
        if part == 0:
            code = design.code["inputs"]
            x = self.read_in(self.state["inputs"], code, self.tokens(x).flatten(2).transpose(1, 2))
            x = self.read_in_ffn(x, code)
            return torch.cat([x, self.state["mediators"].expand(x.size(0), -1, -1)], 1)
        inputs, mediators = x.tensor_split([self.sizes["inputs"]], 1)
        if part <= self.depth:
            layer = cast(Propagator, self.get_submodule(f"layers.{part - 1}"))
            return torch.cat([inputs, layer(mediators, x, design, "mediators", "inputs", "mediators")], 1)
        outputs = self.state["outputs"].expand(x.size(0), -1, -1)
        return self.head(self.pool(self.norm(self.read_out(outputs, mediators, design, "outputs", "mediators"))))


def _run_part(part: int, model: NAC, x: Tensor) -> Tensor:
    design = model.get_submodule(f"designs.{model._design(part)}")
    return model._part(part, design(), x)
