"""Parts of attentive circuits: computation that a module's code conditions, and connections that signatures decide."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from structkd.models.images.vit import DropPath
from structkd.models.modules.nac_graph import connection_kernel, signature_distances
from structkd.models.modules.records import Record, Recorder


class ModulatedLinear(nn.Module):
    """A linear layer whose input channels are scaled by a code: W (x * (1 + g LN(W_c code))) + b, g learnt from 0.1.

    Shapes: x [B, N, C], code [N, Q] -> [B, N, D].
    """

    def __init__(self, in_channels: int, out_channels: int, code_channels: int, bias: bool = True) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, out_channels, bias=bias)
        self.code = nn.Linear(code_channels, in_channels)
        self.norm = nn.LayerNorm(in_channels)
        self.gain = nn.Parameter(torch.tensor(0.1))

    def scale(self, code: Tensor) -> Tensor:
        """[N, Q] -> [N, C]."""
        return 1 + self.gain * self.norm(self.code(code))

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        return self.linear(x * self.scale(code))


class ModulatedFFN(nn.Module):
    """GEGLU between two modulated layers, on normed states and added to them: [B, N, S], [N, Q] -> [B, N, S]."""

    def __init__(self, channels: int, code_channels: int, drop_path: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.fc1 = ModulatedLinear(channels, 2 * channels, code_channels)
        self.fc2 = ModulatedLinear(channels, channels, code_channels)
        self.scale = nn.Parameter(torch.full((channels,), 0.1))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        value, gate = self.fc1(self.norm(x), code).chunk(2, -1)
        return x + self.drop_path(self.scale * self.fc2(value * F.gelu(gate), code))


@dataclass(frozen=True, eq=False)
class Connections(Record):
    """Who may listen to whom.

    Attributes:
        kernel: [U, V] strength of the connection sender v -> receiver u, 0 beyond the cut, else in (0, 1].
        log_weight: [U, V], or [B, U, V] where it was sampled: what is added to attention scores where `kernel` is not
        0. losses: none.
    """

    kernel: Tensor
    log_weight: Tensor
    losses: dict[str, Tensor] = field(default_factory=dict)


class Connectivity(Recorder):
    """Connections from distances of signatures: exp(-d / bandwidth), cut beyond a distance, sampled in training.

    A sample is a relaxed Bernoulli variable (Maddison et al., "The Concrete Distribution", ICLR 2017) with the kernel
    as probability, drawn for each image anew.

    Args:
        truncation: distance (0 to 2) beyond which there is no connection.
        temperature: of the relaxed Bernoulli variable; None never samples.

    Shapes: receivers [U, G], senders [V, G] -> `Connections`.
    """

    def __init__(self, truncation: float = 0.9, temperature: float | None = 0.5) -> None:
        super().__init__()
        self.truncation, self.temperature = truncation, temperature
        self.log_bandwidth = nn.Parameter(torch.tensor(0.0))

    @property
    def bandwidth(self) -> Tensor:
        """Scalar, learnt from 1."""
        return self.log_bandwidth.exp()

    def forward(self, receivers: Tensor, senders: Tensor, samples: int) -> Connections:
        distance = signature_distances(receivers, senders)
        log_kernel, kernel = connection_kernel(distance, self.bandwidth, self.truncation)
        if not self.training or self.temperature is None:
            return Connections(kernel, log_kernel)
        # log of a relaxed sample: logit = log p - log(1 - p), away from p = 1, which a latent's own distance gives.
        logit = log_kernel - torch.log1p(-log_kernel.exp().clamp(max=1 - 1e-6))
        noise = torch.rand(samples, *distance.shape, device=distance.device).clamp(1e-6, 1 - 1e-6).to(distance)
        return Connections(kernel, F.logsigmoid((logit + noise.logit()) / self.temperature))


class CircuitAttention(nn.Module):
    """Receivers listen to the senders that they are connected to: kernel-modulated attention, added to their states.

    Args:
        channels: S of the states.
        code_channels: Q.
        heads: attention heads, a divisor of S.
        drop_path: rate of the branch.
        connectivity: arguments of `Connectivity`.

    A receiver that is connected to nobody keeps its state.
    """

    def __init__(self, channels: int, code_channels: int, heads: int, drop_path: float, **connectivity: Any) -> None:
        super().__init__()
        self.heads = heads
        self.connect = Connectivity(**connectivity)
        self.norm_to, self.norm_from = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.query, self.key, self.value, self.out = (
            ModulatedLinear(channels, channels, code_channels) for _ in range(4)
        )
        self.scale = nn.Parameter(torch.full((channels,), 0.1))
        self.drop_path = DropPath(drop_path)

    def forward(
        self, to: Tensor, to_signature: Tensor, to_code: Tensor, of: Tensor, of_signature: Tensor, of_code: Tensor
    ) -> Tensor:
        """States [B, U, S] and [B, V, S], signatures [U, G] and [V, G], codes [U, Q] and [V, Q] -> [B, U, S]."""
        link: Connections = self.connect(to_signature, of_signature, to.size(0))
        there = link.kernel > 0
        heard = self.norm_from(of)
        q, k, v = (
            x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for x in (self.query(self.norm_to(to), to_code), self.key(heard, of_code), self.value(heard, of_code))
        )
        # Finite, so that a receiver without connections has no NaN on the way to its zeros.
        bias = link.log_weight.masked_fill(~there, -1e4).to(q.dtype)
        bias = bias if bias.dim() == 2 else bias[:, None]
        message = F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).flatten(2)
        message = self.out(message, to_code) * there.any(1, keepdim=True).to(q.dtype)
        return to + self.drop_path(self.scale * message)


class ReadInAttention(nn.Module):
    """Input latents read tokens, each through key and value projections that its own code conditions.

    Written out, every latent u has keys W_k (x_v * a_u) of its own, [B, V, U, C] in all. Scores and messages are linear
    in the tokens, so the scales move to the query and to the pooled token, q_u . W_k (x_v * a_u) = ((W_k^T q_u) * a_u)
    . x_v, and nothing larger than the scores [B, H, U, V] is held. A key bias would cancel in the softmax, so there is
    none.

    Shapes: states [U, S], code [U, Q], tokens [B, V, C] -> [B, U, S].
    """

    def __init__(self, in_channels: int, channels: int, code_channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_to, self.norm_from = nn.LayerNorm(channels), nn.LayerNorm(in_channels)
        self.query = ModulatedLinear(channels, channels, code_channels)
        self.key = ModulatedLinear(in_channels, channels, code_channels, bias=False)
        self.value = ModulatedLinear(in_channels, channels, code_channels)
        self.out = ModulatedLinear(channels, channels, code_channels)

    def forward(self, state: Tensor, code: Tensor, tokens: Tensor) -> Tensor:
        x = self.norm_from(tokens)
        query = self.query(self.norm_to(state), code).unflatten(-1, (self.heads, -1))
        to_key, to_value = (m.linear.weight.unflatten(0, (self.heads, -1)) for m in (self.key, self.value))
        asked = torch.einsum("uhd,hdc->huc", query, to_key) * self.key.scale(code)
        share = (torch.einsum("huc,bvc->bhuv", asked, x) / query.size(-1) ** 0.5).softmax(-1)
        pooled = torch.einsum("bhuv,bvc->bhuc", share, x) * self.value.scale(code)
        message = torch.einsum("bhuc,hdc->buhd", pooled, to_value).flatten(2) + self.value.linear.bias
        return self.out(message, code)
