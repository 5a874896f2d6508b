"""What a model costs: parameters, multiply-accumulates, and milliseconds with the fetching of inputs timed apart."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from structkd.errors import ConfigError
from structkd.ops.csr import csr_of
from structkd.ops.sampling import sample_neighbors
from structkd.ops.sparse_features import take_rows


def count_parameters(model: nn.Module, trainable: bool = False) -> int:
    """Numbers in the parameters of a model, each tensor once; with `trainable`, those that take a gradient only."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)


@torch.no_grad()
def count_macs(model: nn.Module, *inputs: Any) -> int:
    """Multiply-accumulates of one forward pass in eval mode: matrix products, convolutions and attention.

    A product with a sparse matrix costs its stored entries. Elementwise work (norms, activations, the
    softmax of graph attention) is not counted, as is usual. Half of torch's floating-point operations.

    Args:
        inputs: arguments of `model`.
    """
    with _evaluating(model), _frozen(model), FlopCounterMode(display=False, custom_mapping=_FORMULAS) as counter:
        model(*inputs)
    return counter.get_total_flops() // 2


def latency(run: Callable[[], Any], warmup: int = 3, repeats: int = 20) -> dict[str, float]:
    """Wall-clock milliseconds of a call: {"median", "p10", "p90"} over `repeats` calls after `warmup` others.

    Work queued on a GPU is waited for.
    """
    return _summary(_timed(lambda: (run,), warmup, repeats)[0])


@torch.no_grad()
def node_latency(
    model: nn.Module,
    data: Any,
    batch_sizes: Sequence[int] = (1, 128, 4096),
    hops: int = 0,
    fanout: int = -1,
    warmup: int = 3,
    repeats: int = 20,
) -> dict[str, dict[str, float]]:
    """How long the predictions for a few nodes take, fetching and computing apart.

    For each repeat a new batch of nodes is drawn. "Fetch" collects what the model needs of them: their rows of `x`,
    and for a graph network the edges around them and the rows of everything reached. "Compute" is the forward pass in
    eval mode; for a graph network it includes the preparation of the small graph it is handed (grouping and
    normalising its edges).

    Args:
        model: called as `model(x)`, or with `hops` as `model(x, edge_index)`.
        data: the graph, with `x` [N, F] (dense or sparse CSR) and, with `hops`, `edge_index` [2, E]; it is
            grouped by target once, before any clock starts.
        batch_sizes: nodes in a batch, at most N of them are drawn.
        hops: how far the model looks; 0 for a graph-free model.
        fanout: neighbours fetched a node in each hop, at random; -1 for all.
        warmup, repeats: batches before the clock counts, and batches counted.

    Returns:
        For each batch size, as a string (a JSON key): "fetch" and "compute", medians in milliseconds, and the
        10th and 90th percentiles "fetch_p10", "fetch_p90", "compute_p10", "compute_p90".
    """
    if min((*batch_sizes, repeats), default=1) < 1 or hops < 0:
        raise ConfigError(
            f"node_latency(batch_sizes={list(batch_sizes)}, repeats={repeats}, hops={hops}) is too small."
        )
    nodes = data.x.size(0)
    around = Neighborhoods(data.edge_index, nodes, hops, fanout) if hops else None
    generator = torch.Generator().manual_seed(0)

    def fetch(seeds: Tensor) -> tuple[Tensor, ...]:
        if around is None:
            return (take_rows(data.x, seeds),)
        ids, edge_index = around(seeds)
        return take_rows(data.x, ids), edge_index

    def steps(size: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
        seeds = torch.randperm(nodes, generator=generator)[:size].to(data.x.device)
        inputs: list[Tensor] = []
        return lambda: inputs.extend(fetch(seeds)), lambda: model(*inputs)

    results = {}
    with _evaluating(model):
        for size in batch_sizes:
            fetched, computed = _timed(partial(steps, size), warmup, repeats)
            results[str(size)] = {
                name + suffix: value
                for name, times in (("fetch", fetched), ("compute", computed))
                for suffix, value in zip(("", "_p10", "_p90"), _summary(times).values())
            }
    return results


@torch.no_grad()
def latency_by_part(
    model: nn.Module,
    inputs: Sequence[Any],
    after: tuple[str, Callable[[Any], Any]] | None = None,
    warmup: int = 2,
) -> dict[str, float]:
    """Median milliseconds of each part of a model, over inputs that are run one at a time in eval mode.

    Args:
        model: its direct submodules are the parts.
        inputs: what it is called with, one argument a call.
        after: name of a last part, and what is done with the model's output in it (non-maximum suppression).
        warmup: calls before the clock counts, with the first input.

    Returns:
        Name of the submodule -> milliseconds; "other" is what the model spends outside of them.
    """
    log: dict[str, float] = {}
    started: dict[str, float] = {}

    def now() -> float:
        _wait()
        return time.perf_counter()

    def begin(name: str) -> Callable[..., None]:
        return lambda *_: started.__setitem__(name, now())

    def end(name: str) -> Callable[..., None]:
        return lambda *_: log.__setitem__(name, log.get(name, 0.0) + now() - started[name])

    handles = []
    for name, part in model.named_children():
        handles += [part.register_forward_pre_hook(begin(name)), part.register_forward_hook(end(name))]
    rows = []
    try:
        with _evaluating(model):
            for number, given in enumerate([*list(inputs[:1]) * warmup, *inputs]):
                log.clear()
                start = now()
                output = model(given)
                log["other"] = now() - start - sum(log.values())
                if after is not None:
                    start = now()
                    after[1](output)
                    log[after[0]] = now() - start
                if number >= warmup:
                    rows.append(dict(log))
    finally:
        for handle in handles:
            handle.remove()
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: 1e3 * statistics.median(row.get(name, 0.0) for row in rows) for name in names}


class Neighborhoods:
    """Cuts out what a graph network needs to predict some nodes; keeps what can be kept from call to call.

    Args:
        edge_index: [2, E] edges of the whole graph of `num_nodes`.
        hops: how far the model looks.
        fanout: neighbours a node in each hop, at random; -1 for all.
    """

    def __init__(self, edge_index: Tensor, num_nodes: int, hops: int, fanout: int = -1) -> None:
        self.csr, self.hops, self.fanout = csr_of(edge_index, num_nodes), hops, fanout
        self._row = torch.full((num_nodes,), -1, device=edge_index.device)  # a table, so that a call costs its own size

    def __call__(self, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Ids of the nodes within `hops` of a seed, seeds first, and the edges [2, M] between rows of these ids.

        Every node nearer than `hops` has its in-edges there, or `fanout` of them.
        """
        ids, frontier, edges = seeds.new_empty(0), seeds, []
        for hop in range(self.hops + 1):
            self._row[frontier] = torch.arange(ids.numel(), ids.numel() + frontier.numel(), device=seeds.device)
            ids = torch.cat([ids, frontier])
            if hop < self.hops:
                source, position, _ = sample_neighbors(self.csr, frontier, self.fanout)
                edges.append(torch.stack([source, frontier[position]]))
                frontier = source[self._row[source] < 0].unique()
        rows = self._row[torch.cat(edges, 1)]
        self._row[ids] = -1
        return ids, rows


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode inside the block; afterwards every module is in its own mode again."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """With parameters that take no gradient: torch's counter fails on modules that are called with views of others."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


def _timed(steps: Callable[[], tuple[Callable[[], Any], ...]], warmup: int, repeats: int) -> list[list[float]]:
    """Milliseconds of each step in each counted repeat; `steps()` prepares those of one repeat off the clock."""
    rounds = []
    for _ in range(warmup + repeats):
        times = []
        for step in steps():
            _wait()
            start = time.perf_counter()
            step()
            _wait()
            times.append((time.perf_counter() - start) * 1e3)
        rounds.append(times)
    return [list(times) for times in zip(*rounds[warmup:])]


def _wait() -> None:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _summary(times: Sequence[float]) -> dict[str, float]:
    low, middle, high = (
        torch.tensor(times, dtype=torch.float64).quantile(torch.tensor([0.1, 0.5, 0.9]).double()).tolist()
    )
    return {"median": middle, "p10": low, "p90": high}


def _product(a: Tensor, b: Tensor, *args: Any, out_val: Any = None, **kwargs: Any) -> int:
    """Floating-point operations of a @ b; a sparse side costs two for each stored entry and column (or row)."""
    if a.layout == torch.sparse_csr:
        return 2 * a.values().numel() * b.size(1)
    if b.layout == torch.sparse_csr:
        return 2 * b.values().numel() * a.size(0)
    return 2 * a.size(0) * a.size(1) * b.size(1)


def _sum_and_product(bias: Tensor, a: Tensor, b: Tensor, *args: Any, out_val: Any = None, **kwargs: Any) -> int:
    return _product(a, b)


def _sampled(pattern: Tensor, a: Tensor, b: Tensor, *args: Any, out_val: Any = None, **kwargs: Any) -> int:
    return 2 * pattern.values().numel() * a.size(1)


def _grouped_product(a: Tensor, b: Tensor, *args: Any, out_val: Any = None, **kwargs: Any) -> int:
    """Rows [N, C] in groups, each with a matrix of b [G, C, D]: every row is multiplied once."""
    return 2 * a.size(0) * a.size(1) * b.size(-1)


def _attention(q: Tensor, k: Tensor, v: Tensor, *args: Any, out_val: Any = None, **kwargs: Any) -> int:
    """Scores and weighted values of fused attention: q [..., N, C], k [..., M, C], v [..., M, D]."""
    return 2 * q.numel() * k.size(-2) + 2 * q[..., 0].numel() * v.size(-2) * v.size(-1)


# The counter hands shapes to a formula unless it says that it reads tensors.
for _formula in (_product, _sum_and_product, _sampled, _grouped_product, _attention):
    setattr(_formula, "_get_raw", True)  # noqa: B010
_FORMULAS = {
    torch.ops.aten.mm: _product,
    torch.ops.aten.addmm: _sum_and_product,
    torch.ops.aten.sparse_sampled_addmm: _sampled,
}
#: Of which the counter knows nothing, by names that not every version of torch has.
for _name, _formula in (
    ("_grouped_mm", _grouped_product),
    ("_scaled_dot_product_flash_attention_for_cpu", _attention),
):
    if hasattr(torch.ops.aten, _name):
        _FORMULAS[getattr(torch.ops.aten, _name)] = _formula
