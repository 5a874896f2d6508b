import math

import pytest
import torch
import torch.nn.functional as F

from structkd import Structure
from structkd.distillers import VQGraph, VQGraphTokenizer
from structkd.distillers.graphs.vqgraph import published_token_kl
from structkd.errors import ConfigError

NODES, WIDTH, CODES, CLASSES = 6, 5, 9, 3
RING = torch.tensor([[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 0]])
EDGES = torch.cat([RING, RING.flip(0)], dim=1)


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def tokenizer_side(nodes=NODES, **fields):
    leaves = {name: double(nodes, WIDTH).requires_grad_() for name in ("hidden", "node_recon", "edge_emb")}
    edges = EDGES if nodes == NODES else torch.zeros(2, 0, dtype=torch.long)
    return leaves, Structure(edge_index=edges, **leaves, **fields)


def dense_edge_term(embedding, edges):
    """The published form: N x N adjacency with loops against all rescaled products."""
    nodes = len(embedding)
    adjacency = torch.zeros(nodes, nodes, dtype=torch.float64)
    adjacency.index_put_((edges[0], edges[1]), torch.ones(edges.size(1), dtype=torch.float64), accumulate=True)
    adjacency.fill_diagonal_(1.0)
    products = embedding @ embedding.t()
    return F.mse_loss((products - products.min()) / (products.max() - products.min()), adjacency).sqrt()


def test_tokenizer_terms_match_the_published_dense_form():
    leaves, student = tokenizer_side()
    losses = VQGraphTokenizer(node_weight=0.2, edge_weight=0.5)(student, Structure())
    expected = {
        "node_reconstruction": 0.2 * F.mse_loss(leaves["hidden"], leaves["node_recon"]),
        "edge_reconstruction": 0.5 * dense_edge_term(leaves["edge_emb"], EDGES),
    }
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.allclose(losses[name], value, rtol=1e-10)
    got, want = (
        torch.autograd.grad(sum(side.values()), list(leaves.values()), allow_unused=True) for side in (losses, expected)
    )
    assert all(torch.allclose(a, b, rtol=1e-8, atol=1e-14) for a, b in zip(got, want))


def test_tokenizer_defaults_are_the_published_weights():
    leaves, student = tokenizer_side()
    losses = VQGraphTokenizer()(student, Structure())
    assert torch.allclose(losses["node_reconstruction"], 0.001 * F.mse_loss(leaves["hidden"], leaves["node_recon"]))
    assert torch.allclose(losses["edge_reconstruction"], 0.03 * dense_edge_term(leaves["edge_emb"], EDGES))


def test_tokenizer_counts_a_loop_once_and_parallel_edges_each():
    leaves, student = tokenizer_side()
    student.edge_index = torch.cat([EDGES, torch.tensor([[2, 0], [2, 1]])], dim=1)  # a loop, and 0 -> 1 once more
    loss = VQGraphTokenizer(node_weight=0, edge_weight=1.0)(student, Structure())["edge_reconstruction"]
    assert torch.allclose(loss, dense_edge_term(leaves["edge_emb"], student.edge_index))


def test_tokenizer_mask_takes_the_rows_and_the_edges_between_them():
    mask = torch.tensor([True, True, False, True, True, True])
    leaves, student = tokenizer_side(mask=mask)
    losses = VQGraphTokenizer(1.0, 1.0)(student, Structure())
    # Rows 0 1 3 4 5 become 0 1 2 3 4; the path 3-4-5-0-1 stays.
    path = torch.tensor([[2, 3, 4, 0], [3, 4, 0, 1]])
    expected = dense_edge_term(leaves["edge_emb"][mask], torch.cat([path, path.flip(0)], dim=1))
    assert torch.allclose(losses["edge_reconstruction"], expected)
    expected = F.mse_loss(leaves["hidden"][mask], leaves["node_recon"][mask])
    assert torch.allclose(losses["node_reconstruction"], expected)


def test_tokenizer_node_term_is_zero_at_equality():
    _, student = tokenizer_side()
    student.node_recon = student.hidden
    assert VQGraphTokenizer()(student, Structure())["node_reconstruction"].item() == 0


@pytest.mark.parametrize("nodes", [0, 1])
def test_tokenizer_empty_and_single(nodes):
    _, student = tokenizer_side(nodes)
    losses = VQGraphTokenizer()(student, Structure())
    sum(losses.values()).backward()
    assert all(bool(torch.isfinite(value)) for value in losses.values())


def test_tokenizer_reads_only_what_it_weighs():
    leaves, _ = tokenizer_side()
    assert VQGraphTokenizer(edge_weight=0)(
        Structure(hidden=leaves["hidden"], node_recon=leaves["node_recon"]), Structure()
    ).keys() == {"node_reconstruction"}


def student_stage(nodes=NODES, **options):
    """Distiller, student and teacher in float64."""
    distiller = VQGraph(4, WIDTH, **options).double()
    student = Structure(double(nodes, 4).requires_grad_(), logits=double(nodes, CLASSES).requires_grad_())
    teacher = Structure(logits=double(nodes, CLASSES), hidden=double(nodes, WIDTH), codebook=double(CODES, WIDTH))
    return distiller, student, teacher


def assignments(h, codebook, metric, tau):
    rows = []
    for row in h:
        if metric == "cosine":
            scores = [(row @ code) / (row.norm() * code.norm()) for code in codebook]
        else:
            scores = [-(row - code).norm() for code in codebook]
        rows.append(torch.softmax(torch.stack(scores) / tau, 0))
    return torch.stack(rows)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_both_terms_match_the_formula(metric):
    tau = 2.5
    distiller, student, teacher = student_stage(tau=tau, token_weight=0.7, soft_weight=0.4, metric=metric)
    losses = distiller(student, teacher)
    a_s = assignments(distiller.projector(student.x), teacher.codebook, metric, tau)
    a_t = assignments(teacher.hidden, teacher.codebook, metric, tau)
    token = 0.7 * tau**2 * (a_t * (a_t.log() - a_s.log())).sum() / NODES
    p_s, p_t = student.logits.softmax(-1), teacher.logits.softmax(-1)
    soft = 0.4 * (p_t * (p_t.log() - p_s.log())).sum() / NODES
    assert torch.allclose(losses["token"], token, rtol=1e-9)
    assert torch.allclose(losses["soft_label"], soft, rtol=1e-9)
    got, want = (torch.autograd.grad(value, student.x, retain_graph=True)[0] for value in (losses["token"], token))
    assert torch.allclose(got, want, rtol=1e-7, atol=1e-12)


def equal_sides(**options):
    """The student's features are the teacher's, through the identity."""
    distiller = VQGraph(WIDTH, WIDTH, **options).double()
    torch.nn.init.eye_(distiller.projector.weight)
    torch.nn.init.zeros_(distiller.projector.bias)
    h, z = double(NODES, WIDTH), double(NODES, CLASSES)
    return distiller(Structure(h, logits=z), Structure(logits=z, hidden=h, codebook=double(CODES, WIDTH)))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_zero_at_equality(metric):
    assert all(abs(value.item()) < 1e-14 for value in equal_sides(metric=metric).values())


def test_the_published_loss_is_not_zero_at_equality():
    assert equal_sides(mode="reference", token_weight=1.0)["token"].item() > 10


def test_reference_mode_is_the_published_computation():
    distiller, student, teacher = student_stage(mode="reference", token_weight=1.0)
    log_a_s = (-torch.cdist(distiller.projector(student.x), teacher.codebook) / 4).log_softmax(-1)
    a_t = (F.normalize(teacher.hidden) @ F.normalize(teacher.codebook).t() / 4).softmax(-1)
    published = F.kl_div(log_a_s, a_t, reduction="batchmean", log_target=True) * 16
    assert torch.allclose(distiller(student, teacher)["token"], published)
    assert VQGraph(4, WIDTH, mode="reference").token_weight == 1e-8
    assert VQGraph(4, WIDTH).token_weight == 1.0


def test_the_published_value_by_hand():
    # Codes at distance 1 and 2 from the student, cosines 1 and 0 for the teacher, tau 1.
    h_s, h_t = torch.tensor([[0.0, 0.0]]), torch.tensor([[5.0, 0.0]])
    codebook = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    p = math.e / (math.e + 1)  # both softmaxes are (p, 1 - p): equal, and yet
    value = math.exp(p) * (p - math.log(p)) + math.exp(1 - p) * ((1 - p) - math.log(1 - p))
    assert value > 4
    assert published_token_kl(h_s, h_t, codebook, tau=1.0).item() == pytest.approx(value)


def test_the_published_gradient_is_too_large_and_points_to_the_uniform_assignment():
    """With K codes: about K times the gradient of the divergence, and no minimum at the teacher's assignment."""
    codes, width, rows = 2000, 8, 16
    codebook, h_t = double(codes, width), double(rows, width)
    scores_t = F.normalize(h_t) @ F.normalize(codebook).t()
    scores_s = double(rows, codes).requires_grad_()  # any assignment of the student's

    def gradient(target):
        loss = F.kl_div((scores_s / 4).log_softmax(-1), target, reduction="batchmean", log_target=True)
        return torch.autograd.grad(loss, scores_s)[0]

    published, correct = gradient((scores_t / 4).softmax(-1)), gradient((scores_t / 4).log_softmax(-1))
    assert 0.3 < (published.norm() / correct.norm() / codes).item() < 3
    uniform = gradient(torch.full_like(scores_t, -math.log(codes)))
    assert F.cosine_similarity(published.flatten(), uniform.flatten(), dim=0).item() > 0.999


def test_only_masked_rows_count():
    distiller, student, teacher = student_stage()
    mask = torch.tensor([False, True, True, False, True, False])
    masked = distiller(Structure(student.x, logits=student.logits, mask=mask), teacher)
    subset = distiller(student.select(mask), Structure(**{**teacher.to_dict(), "hidden": teacher.hidden[mask],
                                                          "logits": teacher.logits[mask]}))  # fmt: skip
    assert all(torch.allclose(masked[name], subset[name]) for name in masked)


def test_node_batches_add_up_to_the_whole():
    distiller, student, teacher = student_stage()
    whole = distiller(student, teacher)
    for name, value in whole.items():
        parts = [
            len(rows) / NODES * distiller(student.select(rows), teacher.select(rows))[name]
            for rows in (torch.tensor([4, 0]), torch.tensor([1, 2, 3, 5]))
        ]
        assert torch.allclose(sum(parts), value)


def test_the_order_of_nodes_and_codes_does_not_matter():
    distiller, student, teacher = student_stage()
    order = torch.randperm(NODES)
    moved = teacher.select(order)
    moved.codebook = teacher.codebook[torch.randperm(CODES)]
    first, second = distiller(student, teacher), distiller(student.select(order), moved)
    assert all(torch.allclose(first[name], second[name]) for name in first)


def test_gradients_reach_student_and_projector_only():
    distiller, student, teacher = student_stage()
    for name in ("logits", "hidden", "codebook"):
        teacher[name].requires_grad_()
    sum(distiller(student, teacher).values()).backward()
    assert all(teacher[name].grad is None for name in ("logits", "hidden", "codebook"))
    assert bool(student.x.grad.any()) and bool(distiller.projector.weight.grad.any())


@pytest.mark.parametrize("nodes", [0, 1])
@pytest.mark.parametrize("mode", ["default", "reference"])
def test_empty_and_single(nodes, mode):
    distiller, student, teacher = student_stage(nodes, mode=mode, token_weight=1.0)
    losses = distiller(student, teacher)
    sum(losses.values()).backward()
    assert all(bool(torch.isfinite(value)) and (nodes or value.item() == 0) for value in losses.values())


def test_without_tokens_it_is_glnn_and_owns_nothing():
    distiller = VQGraph(4, WIDTH, token_weight=0)
    assert not list(distiller.parameters())
    assert distiller(Structure(logits=double(2, 3)), Structure(logits=double(2, 3))).keys() == {"soft_label"}


@pytest.mark.parametrize("options, words", [({"metric": "l2"}, "metric='l2'"), ({"mode": "paper"}, "mode='paper'")])
def test_bad_settings_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        VQGraph(2, 2, **options)
