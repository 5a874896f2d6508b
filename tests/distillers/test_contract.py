"""What every exported distiller must do, checked on one small example of each."""

import io
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

import structkd.distillers as distillers
from structkd import Structure
from structkd.distillers import Distiller
from structkd.errors import WiringError

NODES, CLASSES, WIDTH = 7, 4, 5
#: A ring and one chord, both directions.
EDGES = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 0], [1, 2, 3, 4, 5, 6, 0, 3]])
EDGES = torch.cat([EDGES, EDGES.flip(0)], dim=1)


def _nodes(**fields: Tensor) -> Structure:
    return Structure(logits=torch.randn(NODES, CLASSES), edge_index=EDGES, **fields)


def _hidden() -> Structure:
    return _nodes(x=torch.randn(NODES, WIDTH))


def _layers() -> Structure:
    return _nodes(before=torch.randn(NODES, WIDTH), after=torch.randn(NODES, 3))


def _links() -> Structure:
    return Structure(logits=torch.randn(6), batch=torch.tensor([0, 0, 0, 1, 1, 1]))


def _graphs() -> Structure:
    batch = torch.tensor([0, 0, 0, 0, 1, 1, 1])
    edges = EDGES[:, batch[EDGES[0]] == batch[EDGES[1]]]
    return Structure(torch.randn(NODES, WIDTH), edges, logits=torch.randn(2, CLASSES), batch=batch)


def _tokenizer() -> Structure:
    fields = {name: torch.randn(NODES, WIDTH) for name in ("hidden", "node_recon", "edge_emb")}
    return Structure(edge_index=EDGES, **fields)


def _replayable() -> Structure:
    weight = torch.randn(WIDTH, CLASSES)

    def run(x: Tensor) -> Structure:
        return Structure(logits=x @ weight, x=x.tanh())

    # `weight` stands for the model's parameters: gradients of a replayed pass must reach it.
    return _nodes(x=torch.randn(NODES, WIDTH), input=torch.randn(NODES, WIDTH), replay=run, weight=weight)


def _map() -> Structure:
    return Structure(neck=torch.randn(2, WIDTH, 4, 6))


def _pillars() -> Structure:
    return Structure(
        x=torch.randn(NODES, WIDTH), importance=torch.arange(NODES), batch=torch.tensor([0, 0, 0, 0, 1, 1, 1])
    )


def _images() -> Structure:
    fields = {"neck": torch.randn(4, WIDTH, 4, 4), "embedding": torch.randn(4, WIDTH)}
    classifier = {"classifier_weight": torch.randn(CLASSES, WIDTH), "classifier_bias": torch.randn(CLASSES)}
    labels = {"y": torch.tensor([0, 3, 3, 1]), "n_id": torch.tensor([8, 2, 5, 0])}
    return Structure(logits=torch.randn(4, CLASSES), **fields, **classifier, **labels)


class _Detection:
    """What a detector found: its loss depends on `scores` [N]."""

    bounds = (0.0, 0.0, 12.0, 8.0)

    def __init__(self, scores: Tensor) -> None:
        self.scores = scores

    def loss(self, boxes: Tensor, labels: Tensor, boxes_batch: Tensor) -> dict[str, Tensor]:
        return {"cls": (self.scores * boxes.detach().sum()).sum(), "box": self.scores.square().sum()}

    def predict(self) -> list[dict[str, Tensor]]:
        return [{"boxes": BOXES[i : i + 1] + 1, "scores": torch.tensor([0.9]), "labels": LABELS[:1]} for i in (0, 1)]


#: One object in each of two scenes, on a map of 4 x 6 cells of 2 m.
BOXES = torch.tensor([[5.0, 3, -1, 4, 2, 1.5, 0.3], [9.0, 6, -1, 1, 1, 1.7, 0.1]])
LABELS = torch.tensor([0, 2])


def _scenes() -> Structure:
    scores = torch.randn(NODES)
    targets = {"boxes": BOXES.clone(), "labels": LABELS, "boxes_batch": torch.tensor([0, 1])}
    head = {"logits": torch.randn(2, 2, 3, 4, 6), "box_map": torch.randn(2, 2, 7, 4, 6)}
    # `scores` stands for the model's outputs: gradients of the detection's own loss must reach it.
    return Structure(neck=torch.randn(2, WIDTH, 4, 6), scores=scores, detection=_Detection(scores), **head, **targets)


@dataclass
class Example:
    """How to build a distiller, and structures as its two sides give them."""

    build: Callable[[], Distiller]
    student: Callable[[], Structure] = _nodes
    teacher: Callable[[], Structure] = _nodes


EXAMPLES = {
    "AttentionTransfer": Example(distillers.AttentionTransfer, _map, _map),
    "CC": Example(distillers.CC, _images, _images),
    "CRD": Example(lambda: distillers.CRD(WIDTH, WIDTH, 9, channels=3, negatives=6), _images, _images),
    "ChannelWise": Example(lambda: distillers.ChannelWise(WIDTH, WIDTH), _map, _map),
    "DIST": Example(distillers.DIST),
    "DKD": Example(distillers.DKD, _images, _images),
    "EHDM": Example(distillers.EHDM, _links, _links),
    "FFG2M": Example(lambda: distillers.FFG2M(tau=1.5)),
    "FitNet": Example(lambda: distillers.FitNet(WIDTH, WIDTH), _map, _map),
    "GLNN": Example(distillers.GLNN),
    "HGMD": Example(distillers.HGMD),
    "HKD": Example(lambda: distillers.HKD(WIDTH, WIDTH, 9, channels=3, neighbors=2, negatives=6), _images, _images),
    "IRG": Example(lambda: distillers.IRG(transforms=[("neck", "embedding")]), _images, _images),
    "ITKD": Example(lambda: distillers.ITKD(WIDTH, WIDTH, hidden=(4, 2), head_channels=20), _scenes, _scenes),
    "KD": Example(distillers.KD),
    "KRD": Example(lambda: distillers.KRD(start_epoch=0), teacher=lambda: _nodes(importance=torch.rand(NODES))),
    "LSP": Example(distillers.LSP, _hidden, _hidden),
    "LabelKD": Example(distillers.LabelKD, _scenes, _scenes),
    "LLP": Example(distillers.LLP, _links, _links),
    "LogitKD": Example(distillers.LogitKD, _scenes, _scenes),
    "M2mKD": Example(distillers.M2mKD),
    "MuGSI": Example(lambda: distillers.MuGSI(WIDTH, WIDTH), _graphs, _graphs),
    "NOSMOG": Example(lambda: distillers.NOSMOG(WIDTH, WIDTH), _replayable, _hidden),
    "PKD": Example(lambda: distillers.PKD(WIDTH, WIDTH), _map, _map),
    "PKT": Example(distillers.PKT, _images, _images),
    "PointDistiller": Example(lambda: distillers.PointDistiller(WIDTH, WIDTH, 3, n=1.0), _pillars, _pillars),
    "RKD": Example(lambda: distillers.RKD(elements=6), _map, _map),
    "ReviewKD": Example(lambda: distillers.ReviewKD(["neck", "embedding"], [WIDTH] * 2, [WIDTH] * 2), _images, _images),
    "SRRL": Example(lambda: distillers.SRRL(WIDTH, WIDTH), _images, _images),
    "SimilarityPreserving": Example(distillers.SimilarityPreserving, _map, _map),
    "SparseKD": Example(distillers.SparseKD, _scenes, _scenes),
    "TINED": Example(lambda: distillers.TINED([("before", "after")]), _layers, _layers),
    "TRG": Example(lambda: distillers.TRG(WIDTH, WIDTH, "neck", tokens_per_image=6, k=3), _map, _map),
    "VID": Example(lambda: distillers.VID(WIDTH, WIDTH), _images, _images),
    "VQGraph": Example(
        lambda: distillers.VQGraph(WIDTH, 3),
        _hidden,
        lambda: _nodes(hidden=torch.randn(NODES, 3), codebook=torch.randn(11, 3)),
    ),
    "VQGraphTokenizer": Example(distillers.VQGraphTokenizer, _tokenizer, Structure),
}

each_distiller = pytest.mark.parametrize("name", sorted(EXAMPLES))


def _leaves(structure: Structure) -> dict[str, Tensor]:
    """The structure's floating-point tensors, each made to collect a gradient."""
    fields = structure.to_dict().items()
    return {k: v.requires_grad_() for k, v in fields if isinstance(v, Tensor) and v.is_floating_point()}


def _run(name: str) -> tuple[Distiller, dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Distiller, losses, student's and teacher's leaves of one seeded run."""
    torch.manual_seed(1)
    example = EXAMPLES[name]
    distiller, student, teacher = example.build(), example.student(), example.teacher()
    leaves_s, leaves_t = _leaves(student), _leaves(teacher)
    distiller.set_progress(0, 10)
    return distiller, distiller(student, distiller.prepare(teacher)), leaves_s, leaves_t


def test_every_exported_distiller_has_an_example():
    exported = {n for n in distillers.__all__ if issubclass(getattr(distillers, n), Distiller)} - {"Distiller"}
    assert exported == set(EXAMPLES)


def test_every_distiller_is_exported():
    found, open_ends = set(), [Distiller]
    while open_ends:
        children = [c for c in open_ends.pop().__subclasses__() if c.__module__.startswith("structkd.")]
        found |= {c.__name__ for c in children}
        open_ends += children
    assert found <= set(distillers.__all__)


@each_distiller
def test_losses_are_named_finite_scalars(name):
    _, losses, _, _ = _run(name)
    assert losses and all(isinstance(key, str) for key in losses)
    for value in losses.values():
        assert value.shape == () and bool(torch.isfinite(value))


@each_distiller
def test_gradients_reach_the_student_only(name):
    _, losses, student, teacher = _run(name)
    sum(losses.values()).backward()
    gradients = [leaf.grad for leaf in student.values() if leaf.grad is not None]
    assert all(bool(torch.isfinite(g).all()) for g in gradients)
    assert any(bool(g.any()) for g in gradients)
    assert all(leaf.grad is None for leaf in teacher.values())


@each_distiller
def test_each_loss_teaches_the_student(name):
    _, losses, student, _ = _run(name)
    for key, value in losses.items():
        gradients = torch.autograd.grad(value, list(student.values()), retain_graph=True, allow_unused=True)
        assert any(g is not None and bool(g.any()) for g in gradients), key


@each_distiller
def test_own_parameters_are_trained(name):
    distiller, losses, _, _ = _run(name)
    sum(losses.values()).backward()
    for key, parameter in distiller.named_parameters():
        assert parameter.grad is not None and bool(torch.isfinite(parameter.grad).all()), key


@each_distiller
def test_a_seed_fixes_the_losses(name):
    first, second = _run(name)[1], _run(name)[1]
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


@each_distiller
def test_state_is_plain_and_comes_back(name):
    distiller = _run(name)[0]
    file = io.BytesIO()
    torch.save(distiller.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    other = EXAMPLES[name].build()
    other.load_state_dict(state)
    for key, value in other.state_dict().items():
        assert torch.equal(value, distiller.state_dict()[key]), key


@each_distiller
def test_preparing_twice_changes_nothing(name):
    torch.manual_seed(1)
    example = EXAMPLES[name]
    distiller = example.build()
    once = distiller.prepare(example.teacher())
    twice = distiller.prepare(once)
    assert once.provides == twice.provides
    for field, value in once.to_dict().items():
        if isinstance(value, Tensor):
            assert torch.equal(value, twice[field]), field


@each_distiller
@pytest.mark.parametrize("side", ["student", "teacher"])
def test_a_missing_field_is_an_error_that_names_both(name, side):
    torch.manual_seed(1)
    example = EXAMPLES[name]
    distiller = example.build()
    own = distiller.reads_student if side == "student" else distiller.reads_teacher
    for field in distiller.reads | own:
        structures = {"student": example.student(), "teacher": example.teacher()}
        del structures[side][field]
        with pytest.raises(WiringError) as error:
            distiller(structures["student"], structures["teacher"])
        for word in (name, side, field):
            assert word in str(error.value)
