import torch

from structkd.models import GCN, MLP, DotPredictor, LinkModel, LinkPredictor

N = 30


def test_scores_are_symmetric_and_broadcast():
    x = torch.randn(7, 4)
    contexts = torch.randint(7, (3, 5))
    for predictor in (DotPredictor(), LinkPredictor(4, 8, norm="batch").eval()):
        scores = predictor(x[:3, None], x[contexts])
        assert scores.shape == (3, 5)
        torch.testing.assert_close(scores[1, 2], predictor(x[contexts[1, 2]], x[1]))
        assert predictor(x[:0], x[:0]).shape == (0,)
    torch.testing.assert_close(DotPredictor()(x[0], x[1]), x[0] @ x[1])


def test_link_model_with_and_without_edges(features, multigraph):
    x, edge_index, pairs = features(6), multigraph(), torch.randint(N, (2, 9))
    encoder = GCN(6, 8, 5).double()
    teacher = LinkModel(encoder)(x, pairs, edge_index)
    torch.testing.assert_close(teacher["x"], encoder(x, edge_index))
    torch.testing.assert_close(teacher["logits"], (teacher["x"][pairs[0]] * teacher["x"][pairs[1]]).sum(1))
    student = LinkModel(MLP(6, 8, 5), LinkPredictor(5, 8)).double()
    out = student(x.to_sparse_csr(), pairs)
    out["logits"].sum().backward()
    assert out["logits"].shape == (9,) and all(p.grad is not None for p in student.parameters())
    before = student.predictor.mlp.lins[0].weight.clone()
    student.reset_parameters()
    assert not torch.equal(before, student.predictor.mlp.lins[0].weight)
    assert student(x, pairs[:, :0])["logits"].shape == (0,)


def test_student_exports_with_dynamic_nodes_and_pairs():
    student = LinkModel(MLP(6, 8, 5), LinkPredictor(5, 8)).eval()
    nodes, links = torch.export.Dim("nodes", min=2), torch.export.Dim("links", min=2)
    program = torch.export.export(
        student,
        (torch.randn(7, 6), torch.randint(7, (2, 5))),
        dynamic_shapes={"x": {0: nodes}, "pairs": {1: links}},
    )
    x, pairs = torch.randn(12, 6), torch.randint(12, (2, 30))
    torch.testing.assert_close(program.module()(x, pairs)["logits"], student(x, pairs)["logits"])
