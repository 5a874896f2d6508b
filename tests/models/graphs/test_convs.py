import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch_geometric import nn as pyg

from structkd.errors import ConfigError, DataError
from structkd.models import APPNPConv, GATConv, GCNConv, GINConv, SAGEConv
from structkd.models.graphs.convs import slice_rows
from structkd.models.graphs.operators import attention_pattern, gcn_operator, mean_operator, row_block

N = 30


def net(i, o):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(i, o), torch.nn.ReLU(), torch.nn.Linear(o, o))


PAIRS = {
    "gcn": (lambda i, o: GCNConv(i, o), lambda i, o: pyg.GCNConv(i, o)),
    "gcn, edges as they are": (
        lambda i, o: GCNConv(i, o, add_self_loops=False, bias=False),
        lambda i, o: pyg.GCNConv(i, o, add_self_loops=False, bias=False),
    ),
    "sage": (lambda i, o: SAGEConv(i, o), lambda i, o: pyg.SAGEConv(i, o)),
    "sage without bias": (lambda i, o: SAGEConv(i, o, bias=False), lambda i, o: pyg.SAGEConv(i, o, bias=False)),
    "gat": (lambda i, o: GATConv(i, o, heads=3), lambda i, o: pyg.GATConv(i, o, heads=3)),
    "gat, mean of heads": (
        lambda i, o: GATConv(i, o, heads=2, concat=False, add_self_loops=False),
        lambda i, o: pyg.GATConv(i, o, heads=2, concat=False, add_self_loops=False),
    ),
    "gin": (
        lambda i, o: GINConv(net(i, o), eps=0.3, train_eps=True),
        lambda i, o: pyg.GINConv(net(i, o), eps=0.3, train_eps=True),
    ),
    "appnp": (lambda i, o: APPNPConv(4, 0.2), lambda i, o: pyg.APPNP(4, 0.2)),
}


def gradients(conv, x, *graph):
    x = x.clone().requires_grad_()
    weights = [w.clone().requires_grad_() for w in graph[1:]]
    out = conv(x, graph[0], *weights)
    generator = torch.Generator().manual_seed(5)
    (out * torch.randn(out.shape, dtype=out.dtype, generator=generator)).sum().backward()
    parameters = {name: p.grad for name, p in conv.named_parameters()}
    return {"out": out.detach(), "x": x.grad, **{f"w{i}": w.grad for i, w in enumerate(weights)}, **parameters}


def assert_equal(ours, reference):
    assert ours.keys() == reference.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], reference[name], rtol=0, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("channels", [(7, 4), (4, 7), (5, 5)])
@pytest.mark.parametrize("name", PAIRS)
def test_value_gradient_and_keys_are_pygs(name, channels, features, multigraph):
    make, make_reference = PAIRS[name]
    conv, reference = make(*channels).double(), make_reference(*channels).double()
    assert list(conv.state_dict()) == list(reference.state_dict())
    conv.load_state_dict(reference.state_dict())
    x, edge_index = features(channels[0]), multigraph()
    assert_equal(gradients(conv, x, edge_index), gradients(reference, x, edge_index))


@pytest.mark.parametrize("loops", [True, False])
@pytest.mark.parametrize("kind", ["gcn", "appnp"])
def test_edge_weights_and_their_gradient_are_pygs(kind, loops, features, multigraph):
    if kind == "gcn":
        conv, reference = GCNConv(6, 3, add_self_loops=loops), pyg.GCNConv(6, 3, add_self_loops=loops)
        conv.load_state_dict(reference.state_dict())
    else:
        conv, reference = APPNPConv(3, 0.1, add_self_loops=loops), pyg.APPNP(3, 0.1, add_self_loops=loops)
    edge_index = multigraph()
    # PyG keeps one of several loops of a node, which one is left to chance: give them the same weight.
    weight = torch.rand(edge_index.size(1), dtype=torch.float64) + 0.1
    weight[edge_index[0] == edge_index[1]] = 0.7
    x = features(6)
    ours = gradients(conv.double(), x, edge_index, weight)
    theirs = gradients(reference.double(), x, edge_index, weight)
    loop = edge_index[0] == edge_index[1]
    ours["w0"][loop] = theirs["w0"][loop] = 0
    assert_equal(ours, theirs)


def test_gcn_aggregator_by_hand():
    # 0 -> 2, 1 -> 2 twice, 2 -> 2 (a loop counts beside the node itself), 0 has no edge of its own.
    edge_index = torch.tensor([[0, 1, 1, 2], [2, 2, 2, 2]])
    x = torch.tensor([[1.0], [10.0], [100.0]], dtype=torch.float64)
    conv = SAGEConv(1, 1, aggregator="gcn").double()
    with torch.no_grad():
        conv.lin_l.weight.fill_(2.0)
        conv.lin_l.bias.fill_(0.5)
    expected = 2 * torch.tensor([[1.0], [10.0], [(1 + 20 + 100 + 100) / 5]], dtype=torch.float64) + 0.5
    torch.testing.assert_close(conv(x, edge_index), expected)
    assert list(conv.state_dict()) == ["lin_l.weight", "lin_l.bias"]


def test_gcn_aggregator_starts_xavier_with_zero_bias():
    conv = SAGEConv(300, 100, aggregator="gcn")
    bound = (2 * 6 / 400) ** 0.5
    assert conv.lin_l.weight.abs().max() <= bound < 1.02 * conv.lin_l.weight.abs().max()
    assert not conv.lin_l.bias.any()


@pytest.mark.parametrize("name", [name for name in PAIRS if name not in ("gin", "appnp")])
@pytest.mark.parametrize("channels", [(7, 4), (4, 7)])
def test_sparse_features_give_the_same(name, channels, features, multigraph):
    conv = PAIRS[name][0](*channels).double()
    x = features(channels[0]) * (torch.rand(N, channels[0]) < 0.3)
    dense = gradients(conv, x, multigraph())
    conv.zero_grad()
    out = conv(x.to_sparse_csr(), multigraph())
    generator = torch.Generator().manual_seed(5)
    (out * torch.randn(out.shape, dtype=out.dtype, generator=generator)).sum().backward()
    torch.testing.assert_close(out, dense["out"])
    for parameter, p in conv.named_parameters():
        torch.testing.assert_close(p.grad, dense[parameter])


@pytest.mark.parametrize("name", [*PAIRS, "sage gcn"])
def test_permutation_equivariance(name, features, multigraph):
    conv = (SAGEConv(5, 3, "gcn") if name == "sage gcn" else PAIRS[name][0](5, 3)).double()
    x, edge_index = features(5), multigraph()
    order = torch.randperm(N)
    place = torch.empty_like(order)
    place[order] = torch.arange(N)
    shuffled = place[edge_index][:, torch.randperm(edge_index.size(1))]
    torch.testing.assert_close(conv(x[order], shuffled), conv(x, edge_index)[order])


@pytest.mark.parametrize("name", [*PAIRS, "sage gcn"])
@pytest.mark.parametrize("num_nodes", [0, 1, 3])
def test_no_edges(name, num_nodes, features):
    conv = (SAGEConv(5, 3, "gcn") if name == "sage gcn" else PAIRS[name][0](5, 3)).double()
    x = features(5, num_nodes).requires_grad_()
    out = conv(x, torch.zeros(2, 0, dtype=torch.long))
    assert out.size(0) == num_nodes and torch.isfinite(out).all()
    out.sum().backward()
    assert torch.isfinite(x.grad).all()


class LargestTensor(TorchDispatchMode):
    """The largest number of elements of any tensor an operation makes."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(value, torch.Tensor) and value.layout == torch.strided:
                self.largest = max(self.largest, value.numel())
        return out


@pytest.mark.parametrize("name", [*PAIRS, "sage gcn"])
def test_no_message_tensor_is_ever_held(name):
    nodes, channels, edges = 80, 32, 4000
    conv = SAGEConv(channels, channels, "gcn") if name == "sage gcn" else PAIRS[name][0](channels, channels)
    x = torch.randn(nodes, channels, requires_grad=True)
    edge_index = torch.randint(nodes, (2, edges))
    with LargestTensor() as seen:
        conv(x, edge_index).sum().backward()
    # Ids, degrees and attention scores are [E] or [E, heads]; messages would be [E, channels].
    assert seen.largest < 6 * (edges + nodes) < edges * channels


def test_appnp_edge_dropout_is_unbiased_in_one_step(features, multigraph):
    torch.manual_seed(0)
    conv = APPNPConv(1, 0.1, dropout=0.5).double()
    x, edge_index = features(4), multigraph()
    mean = torch.stack([conv(x, edge_index) for _ in range(3000)]).mean(0)
    torch.testing.assert_close(mean, conv.eval()(x, edge_index), rtol=0, atol=0.06)


def test_operators_are_remembered_with_the_edges(multigraph):
    edge_index = multigraph()
    for operator in (gcn_operator, mean_operator):
        assert operator(edge_index, N, torch.float64) is operator(edge_index, N, torch.float64)
        assert operator(edge_index, N, torch.float64) is not operator(edge_index.clone(), N, torch.float64)
    before = attention_pattern(edge_index, N)
    edge_index[0, 0] = 2
    assert attention_pattern(edge_index, N) is not before


def test_row_block_is_those_rows(multigraph):
    csr = gcn_operator(multigraph(), N, torch.float64)
    dense = csr.matrix(torch.float64).to_dense()
    block = row_block(csr, 4, 17)
    torch.testing.assert_close(block.matrix(torch.float64).to_dense(), dense[4:17])
    assert row_block(csr, 5, 5).shape == (0, N)


def test_slice_rows_of_both_layouts(features):
    x = features(6) * (torch.rand(N, 6) < 0.4)
    torch.testing.assert_close(slice_rows(x.to_sparse_csr(), slice(3, 9)).to_dense(), x[3:9])
    torch.testing.assert_close(slice_rows(x, slice(3, 9)), x[3:9])
    assert slice_rows(x, slice(None)) is x


def test_markers_show_what_enters_and_leaves_the_propagation(features, multigraph):
    seen = {}
    conv = GCNConv(6, 3).double()
    for name in ("before", "after"):
        getattr(conv, name).register_forward_hook(lambda _m, _i, out, name=name: seen.__setitem__(name, out))
    x, edge_index = features(6), multigraph()
    out = conv(x, edge_index)
    torch.testing.assert_close(seen["before"], x @ conv.lin.weight.t())
    torch.testing.assert_close(seen["after"] + conv.bias, out)


def test_half_precision_sums_in_float32(features, multigraph):
    x, edge_index = features(8).bfloat16(), multigraph()
    conv = GCNConv(8, 3).bfloat16()
    assert conv(x, edge_index).dtype == torch.bfloat16
    assert gcn_operator(edge_index, N, torch.bfloat16).value.dtype == torch.float32


def test_bad_input():
    with pytest.raises(ConfigError, match=r"aggregator='max'.*Nearest: mean"):
        SAGEConv(3, 2, aggregator="max")
    with pytest.raises(DataError, match=r"0 to 9.*0 to 3"):
        GCNConv(3, 2)(torch.randn(4, 3), torch.tensor([[0, 1], [9, 0]]))
