import time

import pytest
import torch
from torch import nn
from torch_geometric.data import Data

from structkd.errors import ConfigError
from structkd.evaluation.efficiency import (
    Neighborhoods,
    count_macs,
    count_parameters,
    latency,
    latency_by_part,
    node_latency,
)
from structkd.ops import csr_of, edge_dot, spmm


class Propagate(nn.Module):
    """Two rounds of summing over neighbours, then a linear layer."""

    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(4, 3)

    def forward(self, x, edge_index):
        csr = csr_of(edge_index, x.size(0))
        return self.lin(spmm(csr, spmm(csr, x)))


def test_parameters_are_counted_once():
    shared = nn.Linear(3, 3)
    model = nn.Sequential(shared, shared, nn.Linear(3, 2))
    assert count_parameters(model) == 12 + 8
    shared.requires_grad_(False)
    assert count_parameters(model, trainable=True) == 8


def test_macs_of_dense_and_sparse_products():
    mlp = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Dropout(0.5), nn.Linear(20, 5, bias=False))
    assert count_macs(mlp, torch.randn(7, 10)) == 7 * (10 * 20 + 20 * 5)
    mlp[2].eval()
    count_macs(mlp, torch.randn(7, 10))
    assert mlp.training and not mlp[2].training  # as it was
    assert count_macs(nn.Conv2d(2, 3, 3, padding=1), torch.randn(1, 2, 8, 8)) == 64 * 9 * 6
    edge_index = torch.randint(6, (2, 30))
    assert count_macs(Propagate(), torch.randn(6, 4), edge_index) == 2 * 30 * 4 + 6 * 12


def test_macs_of_fused_attention():
    class Attend(nn.Module):
        def forward(self, q, k, v):
            return nn.functional.scaled_dot_product_attention(q, k, v)

    q, k, v = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 7, 8), torch.randn(2, 3, 7, 4)
    assert count_macs(Attend(), q, k, v) == 2 * 3 * 5 * 7 * (8 + 4)
    assert count_macs(Attend(), q, k, torch.randn(2, 3, 7, 8)) == 2 * 3 * 5 * 7 * (8 + 8)


def test_macs_of_products_along_edges():
    class Similarity(nn.Module):
        def forward(self, x, edge_index):
            return edge_dot(csr_of(edge_index, x.size(0)), x, x)

    assert count_macs(Similarity(), torch.randn(6, 4), torch.randint(6, (2, 30))) == 30 * 4


def test_latency_is_in_milliseconds():
    calls = []
    times = latency(lambda: (calls.append(1), time.sleep(0.002)), warmup=2, repeats=5)
    assert len(calls) == 7
    assert 2 <= times["p10"] <= times["median"] <= times["p90"] < 200


def test_latency_by_part_adds_up_and_leaves_no_hook():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, seconds):
            time.sleep(seconds)
            return self.second(self.first(torch.zeros(1, 2)))

    model = Model()
    seen = []
    times = latency_by_part(model, [0.01, 0.02, 0.03], after=("predict", seen.append), warmup=1)
    assert list(times) == ["first", "second", "other", "predict"]
    assert 20 <= times["other"] < 200  # the median call sleeps outside of its parts
    assert times["first"] + times["second"] < times["other"]
    assert len(seen) == 4 and model.training
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_neighborhoods_suffice_for_the_prediction(hops):
    x, edge_index = torch.randn(50, 4, dtype=torch.float64), torch.randint(50, (2, 80))
    csr = csr_of(edge_index, 50)
    whole = x
    for _ in range(hops):
        whole = spmm(csr, whole)
    around = Neighborhoods(edge_index, 50, hops)
    for seeds in (torch.tensor([7, 0, 49]), torch.randperm(50)[:10]):  # the table is clean again the second time
        ids, edges = around(seeds)
        assert torch.equal(ids[: seeds.numel()], seeds) and ids.unique().numel() == ids.numel()
        part, small = x[ids], csr_of(edges, ids.numel())
        for _ in range(hops):
            part = spmm(small, part)
        assert torch.allclose(part[: seeds.numel()], whole[seeds])


def test_fanout_bounds_what_is_fetched():
    edge_index = torch.randint(50, (2, 1000))
    ids, edges = Neighborhoods(edge_index, 50, 1, fanout=3)(torch.tensor([4, 5]))
    assert edges.shape == (2, 6) and ids.numel() <= 8
    lonely = Neighborhoods(torch.empty(2, 0, dtype=torch.long), 50, 2)(torch.tensor([4]))
    assert lonely[0].tolist() == [4] and lonely[1].shape == (2, 0)


def test_node_latency_times_fetching_apart():
    seen = []

    class Slow(nn.Module):
        def forward(self, x, edge_index=None):
            seen.append((x.size(0), self.training, edge_index is None))
            time.sleep(0.003)

    data = Data(x=torch.randn(30, 4), edge_index=torch.randint(30, (2, 60)))
    model = Slow()
    times = node_latency(model, data, batch_sizes=(1, 8), hops=0, warmup=1, repeats=3)
    assert list(times) == ["1", "8"] and seen == [(1, False, True)] * 4 + [(8, False, True)] * 4
    assert times["8"]["compute"] >= 3 and 0 <= times["8"]["fetch"] < times["8"]["compute"]
    assert times["1"]["compute_p10"] <= times["1"]["compute"] <= times["1"]["compute_p90"]
    assert model.training
    seen.clear()
    node_latency(model, data, batch_sizes=(99,), hops=2, warmup=0, repeats=1)
    assert seen == [(30, False, False)]


def test_node_latency_with_sparse_features():
    data = Data(x=torch.eye(9).to_sparse_csr(), edge_index=torch.randint(9, (2, 20)))
    lin = nn.Linear(9, 2)

    class Model(nn.Module):
        def forward(self, x, edge_index):
            assert x.layout == torch.sparse_csr
            return lin(x.to_dense())

    assert set(node_latency(Model(), data, (2,), hops=1, warmup=0, repeats=1)) == {"2"}


def test_bad_input():
    with pytest.raises(ConfigError, match=r"batch_sizes=\[0\]"):
        node_latency(nn.Linear(4, 2), Data(x=torch.randn(3, 4)), (0,))
