"""What the distillers that read one vector or map a sample have in common."""

import pytest
import torch

from structkd import Structure
from structkd.distillers import CC, CRD, HKD, IRG, PKT, RKD, SRRL, VID, FitNet, ReviewKD, SimilarityPreserving
from structkd.errors import DataError

WIDE, THIN, CLASSES, DATA = 6, 4, 5, 12
BUILD = {
    "CC": lambda field: CC(field),
    "CRD": lambda field: CRD(THIN, WIDE, DATA, field, channels=3, negatives=20),
    "FitNet": lambda field: FitNet(THIN, WIDE, field),
    "HKD": lambda field: HKD(THIN, WIDE, DATA, field, channels=3, neighbors=3, negatives=20),
    "IRG": lambda field: IRG([field]),
    "PKT": lambda field: PKT(field),
    "RKD": lambda field: RKD(field, elements=50),
    "ReviewKD": lambda field: ReviewKD([field], [THIN], [WIDE]),
    "SRRL": lambda field: SRRL(THIN, WIDE, field),
    "SimilarityPreserving": lambda field: SimilarityPreserving(field),
    "VID": lambda field: VID(THIN, WIDE, field),
}
each = pytest.mark.parametrize("name", sorted(BUILD))
pooling = pytest.mark.parametrize("name", ["CC", "CRD", "HKD", "PKT"])
#: Those that read whole samples through `paired_samples`.
of_samples = pytest.mark.parametrize("name", ["CC", "CRD", "HKD", "IRG", "PKT", "SRRL", "SimilarityPreserving"])


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def build(name, field="embedding"):
    torch.manual_seed(0)
    return BUILD[name](field).double().eval()


def side(channels, samples=7, **fields):
    return Structure(
        logits=double(samples, CLASSES),
        neck=double(samples, channels, 4, 3),
        embedding=double(samples, channels),
        n_id=(torch.arange(samples) * 5 + 2) % DATA,
        y=torch.arange(samples) % CLASSES,
        **fields,
    )


def sides(samples=7):
    classifier = {"classifier_weight": double(CLASSES, WIDE), "classifier_bias": double(CLASSES)}
    return side(THIN, samples), side(WIDE, samples, **classifier)


def part(structure, index):
    """The samples of an index; the classifier stays whole."""
    fields = structure.to_dict()
    kept = {name: value for name, value in fields.items() if name.startswith("classifier")}
    return Structure(**{name: value[index] for name, value in fields.items() if name not in kept}, **kept)


def total(distiller, student, teacher):
    return sum(distiller(student, teacher).values())


@each
@pytest.mark.parametrize("field", ["embedding", "neck"])
def test_the_order_of_the_batch_does_not_matter(name, field):
    student, teacher = sides()
    order = torch.randperm(7)
    first = total(build(name, field), student, teacher)
    assert torch.allclose(total(build(name, field), part(student, order), part(teacher, order)), first)


@each
@pytest.mark.parametrize("field", ["embedding", "neck"])
@pytest.mark.parametrize("samples", [0, 1])
def test_an_empty_batch_and_a_single_sample_in_training(name, field, samples):
    student, teacher = sides(samples)
    student[field].requires_grad_()
    distiller = build(name, field).train()
    value = total(distiller, student, teacher)
    value.backward()
    assert bool(torch.isfinite(value)) and bool(torch.isfinite(student[field].grad).all())
    assert samples or value == 0
    for key, buffer in distiller.state_dict().items():
        assert bool(torch.isfinite(buffer).all()), key
    student, teacher = sides(7)  # and goes on
    assert bool(torch.isfinite(total(distiller, student, teacher)))


@each
def test_gradients_go_to_the_student_only(name):
    student, teacher = sides()
    for structure in (student, teacher):
        structure.embedding.requires_grad_()
    total(build(name), student, teacher).backward()
    assert student.embedding.grad.abs().max() > 0 and teacher.embedding.grad is None


@pytest.mark.parametrize("name", sorted(BUILD.keys() - {"HKD"}))  # whose smoothed positives are constants
def test_gradients_are_those_of_the_value(name):
    student, teacher = sides(4)
    distiller = build(name).train()
    distiller(student, teacher)  # freezes CRD's constants
    distiller.eval()

    def value(x):
        return total(distiller, Structure(**student.to_dict() | {"embedding": x}), teacher)

    assert torch.autograd.gradcheck(value, double(4, THIN).requires_grad_())


@pooling
def test_a_map_is_the_mean_of_its_cells(name):
    student, teacher = sides()
    pooled = [
        Structure(**structure.to_dict() | {"embedding": structure.neck.mean((2, 3))})
        for structure in (student, teacher)
    ]
    assert torch.allclose(total(build(name, "neck"), student, teacher), total(build(name), *pooled))


@of_samples
def test_only_masked_samples_count(name):
    student, teacher = sides()
    mask = torch.arange(7) % 3 != 1
    masked = Structure(**student.to_dict(), mask=mask)
    distiller = build(name)
    few = total(build(name), part(student, mask), part(teacher, mask))
    assert torch.allclose(total(distiller, masked, teacher), few)
    assert not torch.allclose(total(distiller, student, teacher), few)


@each
def test_half_precision(name):
    """Beside a teacher in float32, as under autocast."""
    student, teacher = sides()
    narrow = [Structure(**{k: v.bfloat16() if v.is_floating_point() else v for k, v in side.to_dict().items()})
              for side in (student, teacher)]  # fmt: skip
    wide = [Structure(**{k: v.double() if v.is_floating_point() else v for k, v in side.to_dict().items()})
            for side in narrow]  # fmt: skip
    value = total(build(name).bfloat16(), *narrow)
    assert torch.allclose(value.double(), total(build(name), *wide), rtol=0.1)


@pytest.mark.parametrize("name", ["CC", "CRD", "HKD", "IRG", "PKT", "RKD", "SimilarityPreserving"])
def test_similarities_keep_their_digits_under_autocast(name):
    student, teacher = sides()
    narrow = [Structure(**s.to_dict() | {"embedding": s.embedding.float()}) for s in (student, teacher)]
    distiller = build(name).float()
    expected = total(distiller, *narrow)
    with torch.autocast("cpu", torch.bfloat16):
        value = total(distiller, *narrow)
    # What is learned (the embeddings of CRD and HKD) runs in bfloat16; similarities do not.
    assert torch.allclose(value, expected, rtol=0.05 if name in ("CRD", "HKD") else 1e-6)
    assert value.dtype == torch.float32 or name == "IRG"


@of_samples
def test_other_samples_are_refused(name):
    student, teacher = sides()
    distiller = build(name)
    with pytest.raises(DataError, match=f"{name}: n_id"):
        distiller(student, Structure(**teacher.to_dict() | {"n_id": (teacher.n_id + 1) % DATA}))
    with pytest.raises(DataError, match=f"{name}: [a-z]+ is of 7 samples"):
        fewer = part(teacher, slice(0, 6))
        distiller(student, fewer)
    with pytest.raises(DataError, match=f"{name} compares samples, but [a-z]+ "):
        distiller(Structure(**student.to_dict(), batch=torch.tensor([0, 0, 0, 1, 1, 1, 1])), teacher)
    with pytest.raises(DataError, match=f"{name}: embedding of the student has shape"):
        distiller(Structure(**student.to_dict() | {"embedding": double(7)}), teacher)


def test_relations_among_the_samples_of_a_batch():
    """RKD on one vector a sample is the published one: all pairs and triplets of the batch."""
    from structkd.losses import angle_loss, distance_loss

    student, teacher = sides()
    losses = RKD("embedding", elements=7, distance_weight=25.0, angle_weight=50.0)(student, teacher)
    pair = student.embedding, teacher.embedding
    assert torch.allclose(losses["distance"], 25 * distance_loss(*pair))
    assert torch.allclose(losses["angle"], 50 * angle_loss(*pair))
