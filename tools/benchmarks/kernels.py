"""Every op with a kernel, every backend that runs here, and the published forms, at the shapes of the papers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch_geometric.utils import scatter
from torch_geometric.utils import softmax as pyg_softmax

from benchmarks.harness import Benchmark
from benchmarks.rates import Kernel, Limits, Problem
from structkd.backends import OPS, version
from structkd.ops import CSR
from structkd.ops.pairs import both_ways

SIZES = {
    "small": "graphs of 500 nodes, 2,000 points, 256 tokens: a trial",
    "cpu": "Cora, a graph of a tenth of ogbn-arxiv (logits), one KITTI frame, 4,096 tokens",
    "gpu": "Cora, ogbn-arxiv (logits and hidden features), ogbn-products, KITTI and nuScenes frames, 4k to 64k tokens",
}
#: Nodes, directed edges (both directions), channels.
GRAPHS = {
    "tiny": (500, 4_000, 16),
    "Cora": (2_708, 10_556, 64),
    "arxiv / 10": (16_934, 231_560, 40),
    "arxiv": (169_343, 2_315_598, 40),
    "arxiv, hidden": (169_343, 2_315_598, 256),
    "products": (2_449_029, 123_718_280, 47),
}
#: Points, channels of a pillar, cells across and along, boxes.
FRAMES = {
    "tiny": (2_000, 8, 32, 64),
    "KITTI": (120_000, 64, 496, 512),
    "nuScenes": (300_000, 64, 512, 4_096),
}
#: Pillars, of which asked, neighbours, channels of an edge layer.
PILLARS = {"tiny": (400, 200, 16, 16), "KITTI / 8": (14_000, 750, 128, 32), "KITTI": (14_000, 6_000, 128, 32)}
#: Tokens routed to experts, experts, channels in and out.
EXPERTS = {"tiny": (256, 4, 32, 64), "ViT-tiny": (4_096, 8, 192, 768), "ViT-small": (65_536, 32, 384, 1_536)}
#: Tokens, channels, neighbours.
TOKENS = {"256": (256, 64, 8), "4k": (4_096, 64, 32), "16k": (16_384, 64, 32), "64k": (65_536, 128, 8)}
CHOICE: dict[str, dict[str, tuple[str, ...]]] = {
    "small": {"graphs": ("tiny",), "frames": ("tiny",), "pillars": ("tiny",), "tokens": ("256",), "experts": ("tiny",)},
    "cpu": {
        "graphs": ("Cora", "arxiv / 10"),
        "frames": ("KITTI",),
        "pillars": ("KITTI / 8",),
        "tokens": ("4k",),
        "experts": ("ViT-tiny",),
    },
    "gpu": {
        "graphs": ("Cora", "arxiv", "arxiv, hidden", "products"),
        "frames": ("KITTI", "nuScenes"),
        "pillars": ("KITTI",),
        "tokens": ("4k", "16k", "64k"),
        "experts": ("ViT-tiny", "ViT-small"),
    },
}
Forms = dict[str, Callable[..., Any]]


def edges(shape: str, where: torch.device) -> tuple[Tensor, int, int]:
    """Undirected edges in both directions, with hubs as citation graphs have them."""
    nodes, count, channels = GRAPHS[shape]
    source = (nodes * torch.rand(count // 2, device=where) ** 3).long()
    target = torch.randint(nodes, (count // 2,), device=where)
    return torch.stack([torch.cat([source, target]), torch.cat([target, source])]), nodes, channels


def normal(where: torch.device, *shape: int, learns: bool = True) -> Tensor:
    return torch.randn(*shape, device=where, requires_grad=learns)


def scattered(reduce: str) -> Forms:
    """A reduction as PyG does it, and as torch-scatter does where it is installed."""
    forms: Forms = {"PyG": lambda src, index, n: scatter(src, index, 0, n, reduce)}
    if version("torch-scatter"):
        from torch_scatter import scatter as torch_scatter

        forms["torch-scatter"] = lambda src, index, n: torch_scatter(src, index, 0, None, n, reduce)
    return forms


def reference(op: str) -> Forms:
    """The unfused form: an op's last backend."""
    last = OPS[op].backends[-1]
    return {last.name: last.run}


def edge_kl(shape: str, where: torch.device) -> Problem:
    edge_index, nodes, channels = edges(shape, where)
    entries = both_ways(edge_index, nodes).num_edges
    traffic = 4 * channels * (2 * entries + 3 * nodes) + 8 * entries
    arguments = normal(where, nodes, channels), normal(where, nodes, channels, learns=False), edge_index, 1.2, None
    unfused = 40 * edge_index.size(1) * channels
    return Problem(arguments, reference("edge_difference_kl"), traffic, unfused=unfused)


def product(op: str, shape: str, where: torch.device) -> Problem:
    edge_index, nodes, channels = edges(shape, where)
    csr = CSR.from_edges(edge_index, nodes)
    x = normal(where, nodes, channels)
    traffic = 2 * (4 * channels * (csr.num_edges + nodes) + 8 * csr.num_edges)
    forms = reference(op)
    if op == "spmm":
        forms["PyG"] = lambda csr, x: scatter(x[csr.col], csr.row, 0, csr.shape[0], "sum")
    arguments = (csr, x) if op == "spmm" else (csr, x, normal(where, nodes, channels))
    traffic *= 1 if op == "spmm" else 1.5
    return Problem(arguments, forms, traffic, unfused=12 * csr.num_edges * channels)


def reduction(op: str, reduce: str, shape: str, where: torch.device) -> Problem:
    edge_index, nodes, channels = edges(shape, where)
    src = normal(where, edge_index.size(1), channels)
    traffic = 4 * channels * (2 * src.size(0) + 2 * nodes)
    return Problem((src, edge_index[1].contiguous(), nodes), scattered(reduce), traffic, unfused=3 * traffic)


def softmax(shape: str, where: torch.device) -> Problem:
    """Attention of four heads, over the edges of each target."""
    edge_index, nodes, _ = edges(shape, where)
    src, index = normal(where, edge_index.size(1), 4), edge_index[1].contiguous()
    forms = {"PyG": lambda src, index, n, log: pyg_softmax(src, index, num_nodes=n)}
    return Problem((src, index, nodes, False), forms, 4 * 4 * 5 * src.size(0), unfused=4 * 4 * 10 * src.size(0))


def token_kl(shape: str, where: torch.device) -> Problem:
    tokens, _, neighbors = TOKENS[shape]
    index = torch.arange(tokens, device=where).repeat_interleave(neighbors)
    p, q = normal(where, index.numel(), learns=False), normal(where, index.numel())

    def published(p: Tensor, q: Tensor, index: Tensor, n: int, zeros: None) -> Tensor:
        ours, theirs = (pyg_softmax(score, index, num_nodes=n) for score in (q, p))
        return scatter(theirs * (theirs.log() - ours.log()), index, 0, n, "sum")

    return Problem((p, q, index, tokens, None), {"PyG": published}, 4 * 6 * p.numel())


def edge_layers(shape: str, where: torch.device) -> Problem:
    points, centers, neighbors, channels = PILLARS[shape]
    index = torch.randint(points, (centers, neighbors), device=where)
    u_s, v_s = normal(where, points, channels), normal(where, centers, channels)
    u_t, v_t = normal(where, points, channels, learns=False), normal(where, centers, channels, learns=False)
    traffic = 4 * index.numel() * (4 * channels + 2)
    weight = torch.rand(centers, device=where)
    return Problem((u_s, v_s, u_t, v_t, index, weight), reference("edge_difference"), traffic, unfused=3 * traffic)


def lengths(shape: str, where: torch.device) -> Problem:
    edge_index, nodes, channels = edges(shape, where)
    traffic = 4 * channels * (5 * edge_index.size(1) + nodes)
    return Problem(
        (normal(where, nodes, channels), edge_index),
        reference("edge_square_distance"),
        traffic,
        unfused=16 * edge_index.size(1) * channels,
    )


def pooled(shape: str, where: torch.device) -> Problem:
    """The largest feature among the neighbours of each centre, as PointRCNN's edges are pooled."""
    points, centers, neighbors, channels = PILLARS[shape]
    index = torch.randint(points, (centers, neighbors), device=where)

    def published(u: Tensor, index: Tensor) -> Tensor:
        return u[index].amax(1)

    traffic = 4 * channels * (index.numel() + 3 * centers + points)
    return Problem((normal(where, points, channels), index), {"gather + amax": published}, traffic)


def routed(shape: str, where: torch.device) -> Problem:
    """Rows sorted by expert, some experts popular and one without any."""
    rows, experts, channels, out = EXPERTS[shape]
    share = torch.linspace(0, 2, experts, device=where) / experts
    sizes = (rows * share).long()
    sizes[-1] += rows - sizes.sum()
    arguments = normal(where, rows, channels), normal(where, experts, out, channels), sizes
    return Problem(arguments, reference("grouped_matmul"), flops=6.0 * rows * channels * out)


def neighbors(shape: str, where: torch.device) -> Problem:
    tokens, channels, k = TOKENS[shape]
    x = normal(where, tokens, channels, learns=False)

    def published(x: Tensor, y: Tensor, k: int, *rest: object) -> Tensor:
        return torch.cdist(y, x).topk(k, dim=1, largest=False).indices

    arguments = (x, x, k, None, None, "euclidean", False, 16384)
    return Problem(arguments, {"cdist + topk": published}, flops=2.0 * tokens**2 * channels, unfused=8 * tokens**2)


def canvas(shape: str, where: torch.device) -> Problem:
    points, channels, side, _ = FRAMES[shape]
    cells = min(points // 8, side * side // 2)
    place = torch.randperm(side * side, device=where)[:cells]
    zero = torch.zeros_like(place)
    coords = torch.stack([zero, zero, place // side, place % side], 1)

    def published(x: Tensor, coords: Tensor, scenes: int, grid: tuple[int, int, int]) -> Tensor:
        maps = []
        for scene in range(scenes):
            mine = coords[:, 0] == scene
            flat = x.new_zeros(x.size(1), grid[1] * grid[2])
            flat[:, coords[mine, 2] * grid[2] + coords[mine, 3]] = x[mine].t()
            maps.append(flat)
        return torch.stack(maps).view(scenes, x.size(1), grid[1], grid[2])

    traffic = 4 * channels * (side * side + 4 * cells)
    return Problem((normal(where, cells, channels), coords, 1, (1, side, side)), {"mmdet3d's": published}, traffic)


def cells(shape: str, where: torch.device) -> Problem:
    points, _, side, _ = FRAMES[shape]
    cloud = torch.rand(points, 4, device=where) * torch.tensor([70.0, 80, 4, 1], device=where)
    low, size = torch.zeros(3, device=where), torch.tensor([70 / side, 80 / side, 4], device=where)
    batch = torch.zeros(points, dtype=torch.int64, device=where)
    arguments = (cloud, batch, low, size, (1, side, side))
    return Problem(arguments, reference("cells_of_points"), traffic=points * (12 + 8 + 8))


def suppression(shape: str, where: torch.device, turned: bool = True) -> Problem:
    number = FRAMES[shape][3]
    boxes = torch.rand(number, 5, device=where, dtype=torch.float64)
    boxes *= torch.tensor([70.0, 80, 4, 2, 6], device=where, dtype=torch.float64)
    if turned:
        return Problem((boxes, 0.1, None), reference("nms_rotated"))
    upright = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:4]], 1)
    return Problem((upright, 0.1, None), reference("nms"))


def overlaps(shape: str, where: torch.device) -> Problem:
    (boxes, _, _) = suppression(shape, where).arguments
    return Problem((boxes.repeat(64, 1), boxes.roll(1, 0).repeat(64, 1)), reference("rotated_intersection"))


def suite(size: str) -> list[Benchmark]:
    choice = CHOICE[size]
    found: list[Benchmark] = [Limits()]
    for shape in choice["graphs"]:
        asked = dict(faster=5, smaller=10) if shape in ("arxiv", "arxiv, hidden") else {}
        found.append(Kernel("edge_difference_kl", shape, partial(edge_kl, shape), share=0.7, **asked))
        found += [Kernel(op, shape, partial(product, op, shape)) for op in ("spmm", "edge_dot")]
        found.append(Kernel("edge_square_distance", shape, partial(lengths, shape)))
        if shape != "products":  # [E, C] is 23 GB there
            for op, reduce in (("segment_sum", "sum"), ("segment_max", "max")):
                found.append(Kernel(op, shape, partial(reduction, op, reduce, shape), faster=1))
            found.append(Kernel("segment_softmax", shape, partial(softmax, shape), faster=1))
    for shape in choice["pillars"]:
        found.append(Kernel("edge_difference", shape, partial(edge_layers, shape), faster=5, smaller=10, share=0.7))
        found.append(Kernel("neighbor_max", shape, partial(pooled, shape)))
    for shape in choice["tokens"]:
        found.append(Kernel("segment_kl", shape, partial(token_kl, shape)))
        found.append(Kernel("knn", shape, partial(neighbors, shape), faster=3 if shape == "16k" else None))
    for shape in choice["frames"]:
        found.append(Kernel("scatter_to_grid", shape, partial(canvas, shape)))
        found.append(Kernel("cells_of_points", shape, partial(cells, shape)))
        found.append(Kernel("nms_rotated", shape, partial(suppression, shape)))
        found.append(Kernel("nms", shape, partial(suppression, shape, turned=False)))
        found.append(Kernel("rotated_intersection", shape, partial(overlaps, shape)))
    for shape in choice["experts"]:
        found.append(Kernel("grouped_matmul", shape, partial(routed, shape)))
    return found
