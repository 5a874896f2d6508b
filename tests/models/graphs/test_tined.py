import pytest
import torch

from structkd.adapters.taps import tapped
from structkd.errors import ConfigError, WiringError
from structkd.models import APPNP, GAT, GCN, GraphSAGE, TINEDStudent, inject_

N = 30

SIZES = {"in_channels": 6, "hidden_channels": 8, "out_channels": 3, "num_layers": 3}
NO_EDGES = torch.zeros(2, 0, dtype=torch.long)


@pytest.mark.parametrize("kind", ["gcn", "sage", "gat"])
def test_injected_student_is_the_teacher_without_edges(kind, features, multigraph):
    torch.manual_seed(1)
    # GAT activates by ELU and always transforms first; one layer of it is comparable.
    sizes = SIZES | ({"num_layers": 1} if kind == "gat" else {})
    teacher = {"gcn": GCN, "sage": GraphSAGE, "gat": GAT}[kind](**sizes).double().eval()
    for parameter in teacher.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    student = TINEDStudent(**sizes, transform_first=True if kind == "gat" else None).double().eval()
    assert inject_(student, teacher) is student
    x = features(6)
    torch.testing.assert_close(student(x), teacher(x, NO_EDGES))
    assert not torch.allclose(student(x), teacher(x, multigraph()))


def test_order_follows_the_sizes_and_taps_line_up_with_the_teacher(features, multigraph):
    student, teacher = TINEDStudent(**SIZES), GCN(**SIZES)
    assert student.transform_first == [False, False, True]
    shapes = []
    for model, args, names in (
        (student, (features(6).float(),), ("before.{}", "propagations.{}")),
        (teacher, (features(6).float(), multigraph()), ("convs.{}.before", "convs.{}.after")),
    ):
        taps = {name.format(layer): name.format(layer) for layer in range(3) for name in names}
        with tapped(model, taps) as seen:
            model(*args)
        shapes.append([tuple(seen[tap].shape) for tap in taps])
    assert shapes[0] == shapes[1] == [(N, 6), (N, 6), (N, 8), (N, 8), (N, 3), (N, 3)]


def test_random_propagation_sparse_features_and_reset(features):
    student = TINEDStudent(**SIZES, propagation_init="random", norm="batch").double()
    assert not torch.equal(student.propagations[0].weight, torch.eye(6, dtype=torch.float64))
    x = features(6) * (torch.rand(N, 6) < 0.3)
    torch.testing.assert_close(student(x.to_sparse_csr()), student(x))
    identity = TINEDStudent(**SIZES)
    identity.propagations[0].weight.data.zero_()
    identity.reset_parameters()
    assert torch.equal(identity.propagations[0].weight, torch.eye(6))
    assert TINEDStudent(**SIZES)(torch.zeros(0, 6)).shape == (0, 3)


def test_exports_with_a_dynamic_batch():
    student = TINEDStudent(**SIZES, norm="layer").eval()
    program = torch.export.export(
        student, (torch.randn(4, 6),), dynamic_shapes={"x": {0: torch.export.Dim("batch", min=1)}}
    )
    x = torch.randn(9, 6)
    torch.testing.assert_close(program.module()(x), student(x))


def test_misfits_are_named_and_nothing_is_copied():
    student = TINEDStudent(**SIZES)
    before = student.injections[0].weight.clone()
    with pytest.raises(WiringError, match=r"injections.0.*\(8, 6\).*GCN.convs.0 has \(16, 6\)"):
        inject_(student, GCN(6, 16, 3, num_layers=3))
    with pytest.raises(WiringError, match=r"2 convolutions.*mirrors 3"):
        inject_(student, GCN(6, 8, 3, num_layers=2))
    with pytest.raises(WiringError, match=r"GraphSAGE.convs.0 \(SAGEConv\) has no single weight"):
        inject_(student, GraphSAGE(**SIZES, aggregator="mean"))
    with pytest.raises(WiringError, match="APPNP has 0 convolutions"):
        inject_(student, APPNP(**SIZES))
    assert torch.equal(before, student.injections[0].weight)
    with pytest.raises(ConfigError, match="propagation_init='eye'"):
        TINEDStudent(**SIZES, propagation_init="eye")
