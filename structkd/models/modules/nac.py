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
from structkd.models.modules.nac_design import CircuitDesign, Design, graph_prior
from structkd.models.modules.nac_layers import CircuitAttention, ModulatedFFN, ReadInAttention
from structkd.models.modules.nac_tokens import ImageTokens
from structkd.ops.precision import accumulator

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
        # Half precision rounds the smallest exponential variables of the noise to 0, whose log is infinite.
        score = score.to(accumulator(score))
        share = F.gumbel_softmax(score, dim=1) if self.training else score.softmax(1)
        return torch.einsum("bo,boc->bc", share.to(x.dtype), x)


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
        prior_weight: of the loss that keeps the prior (`loss/model.prior`), see `Design`. Default, as published: 1 for
            "planted_partition", else 0.1.
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
    attention weight, and with it the gradient, is zero as well. Signatures of a prior are fitted to the cut itself, and
    no further than needed; the authors fit them to a distance of 0.8 in 1,000 steps and cut at 0.9, so that pairs in
    between are connected against the graph (of 256 mediators 12 to 43 percent of all pairs). The block model's loss
    covers the mediators, as in all published configs (the class behind them would by default take in the other latents,
    too). Its groups are numbered; the authors match latents to them anew in every step, but permute only the rows of
    the kernel. Parts with designs of their own owe for their own layer, and a training step counts their mean.
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
        prior_weight: float | None = None,
        truncation: float = 0.9,
        temperature: float | None = 0.5,
        drop_path: float = 0.0,
        shared_design: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        given = dict(width=width, depth=depth, heads=heads, inputs=inputs, mediators=mediators, outputs=outputs)
        chosen = {
            key: default if value is None else value
            for (key, value), default in zip(given.items(), entry(PRESETS, preset, "preset"))
        }
        channels, layers, num_heads, *_ = chosen.values()
        code = channels if code_channels is None else code_channels
        _check_sizes(
            **chosen,
            code_channels=code,
            signature_channels=signature_channels,
            in_channels=in_channels,
            out_channels=out_channels,
        )
        if channels % num_heads or channels % 4:
            raise ConfigError(f"width={channels} is not divisible by {num_heads} heads and by 4.")
        if prior_weight is None:
            prior_weight = 1.0 if (graph or {}).get("name") == "planted_partition" else 0.1
        for key, value, fits, expected in (
            ("prior_weight", prior_weight, prior_weight >= 0, "0 or more, or None"),
            ("drop_path", drop_path, 0 <= drop_path < 1, "0 or more, below 1"),
            ("truncation", truncation, 0 < truncation <= 2, "a distance above 0, up to 2"),
            ("temperature", temperature, temperature is None or temperature > 0, "a number above 0, or None"),
        ):
            if not fits:
                raise ConfigError(f"{key}={value}: expected {expected}.")
        sizes = {name: chosen[name] for name in ("inputs", "mediators", "outputs")}
        self.depth, self.sizes, self.shared_design = layers, sizes, shared_design
        prior = None
        if graph is not None:
            prior = graph_prior(sizes["mediators"], graph, signature_channels, truncation, seed)
        groups = [("inputs",), *[("inputs", "mediators")] * layers, ("mediators", "outputs")]
        design = partial(Design, code_channels=code, prior=prior, truncation=truncation)
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
            Step(name, partial(_run_part, i), (*owned, f"designs.{0 if self.shared_design else i}"))
            for i, (name, owned) in enumerate(parts)
        ]

    def forward(self, images: Tensor) -> Tensor:
        x, design = images, self._design(0)
        for i in range(self.depth + 2):
            x = self._part(i, design if self.shared_design or i == 0 else self._design(i), x)
        return x

    def _design(self, part: int) -> CircuitDesign:
        """Signatures and codes that a part reads; what they owe depends on the layers that read them."""
        readers = range(1, self.depth + 1) if self.shared_design else [part] * (part > 0)
        bandwidths = [self._propagator(reader).attn.connect.bandwidth for reader in readers]
        return self.get_submodule(f"designs.{0 if self.shared_design else part}")(bandwidths)

    def _propagator(self, part: int) -> Propagator:
        return cast(Propagator, self.get_submodule(f"layers.{part - 1}" if part <= self.depth else "read_out"))

    def _part(self, part: int, design: CircuitDesign, x: Tensor) -> Tensor:
        """Images -> states [B, I + M, S] in part 0, states -> logits in the last one, states -> states between."""
        if part == 0:
            code = design.code["inputs"]
            x = self.read_in(self.state["inputs"], code, self.tokens(x).flatten(2).transpose(1, 2))
            x = self.read_in_ffn(x, code)
            return torch.cat([x, self.state["mediators"].expand(x.size(0), -1, -1)], 1)
        inputs, mediators = x.tensor_split([self.sizes["inputs"]], 1)
        propagate = self._propagator(part)
        if part <= self.depth:
            return torch.cat([inputs, propagate(mediators, x, design, "mediators", "inputs", "mediators")], 1)
        outputs = self.state["outputs"].expand(x.size(0), -1, -1)
        return self.head(self.pool(self.norm(propagate(outputs, mediators, design, "outputs", "mediators"))))


def _run_part(part: int, model: NAC, x: Tensor) -> Tensor:
    return model._part(part, model._design(part), x)


def _check_sizes(**sizes: int) -> None:
    for key, size in sizes.items():
        if not isinstance(size, int) or size < 1:
            raise ConfigError(f"{key}={size!r}: expected a whole number, 1 or more.")
