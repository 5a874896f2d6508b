"""What the distillers that read one vector or map a sample have in common."""

from functools import partial

import pytest
import torch

from structkd import Structure
from structkd.distillers import (
    CC,
    CRD,
    DIST,
    DKD,
    HKD,
    IRG,
    KD,
    LSP,
    PKD,
    PKT,
    RKD,
    SRRL,
    TRG,
    VID,
    AttentionTransfer,
    ChannelWise,
    FitNet,
    ReviewKD,
    SimilarityPreserving,
)
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


#: TRG without the term that begins with a learned map; KD and its relatives, at 5 classes.
EXACT = {
    "DIST": DIST,
    "DKD": lambda: DKD(warm_up=0),
    "KD": KD,
    "TRG": lambda: TRG(THIN, WIDE, "neck", k=4, global_weight=0.0, seed=1),
}


@pytest.mark.parametrize("name", sorted(EXACT))
def test_relations_of_tokens_and_logits_keep_their_digits_under_autocast(name):
    student, teacher = (Structure(**{k: v.float() if v.dtype == torch.float64 else v for k, v in s.to_dict().items()})
                        for s in sides())  # fmt: skip
    student.neck.requires_grad_()
    student.logits.requires_grad_()
    found = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses = EXACT[name]().eval()(student, teacher)
        read = student.neck if name == "TRG" else student.logits
        found.append((losses, torch.autograd.grad(sum(losses.values()), read)[0]))
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["DIST", "DKD", "KD"])
def test_half_precision_of_many_classes(name, dtype, autocast):
    """A student near its teacher: the differences of logarithms are below the rounding of 16 bits."""
    z_t, y = torch.randn(32, 1000), torch.arange(32)
    z_t[y, y] += 20  # at a temperature of 4 a seventh is the label's
    narrow = [Structure(logits=z.to(dtype), y=y) for z in (z_t + 0.3 * torch.randn(32, 1000), z_t)]
    exact = EXACT[name]()(*(Structure(logits=s.logits.double(), y=y) for s in narrow))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        losses = EXACT[name]()(*narrow)
    for key, value in losses.items():
        assert value.dtype == torch.float32 and value >= 0
        torch.testing.assert_close(value.double(), exact[key], rtol=1e-3, atol=1e-7)


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


#: Those that read maps or logits without a word about samples of their own.
MAPS = {
    "AttentionTransfer": lambda: AttentionTransfer("neck"),
    "ChannelWise": lambda: ChannelWise(THIN, WIDE, "neck"),
    "FitNet": lambda: FitNet(THIN, WIDE, "neck"),
    "ReviewKD": lambda: ReviewKD(["neck"], [THIN], [WIDE]),
    "TRG": lambda: TRG(THIN, WIDE, "neck"),
    "VID": lambda: VID(THIN, WIDE, "neck"),
}
LOGITS = {"DIST": DIST, "DKD": lambda: DKD(warm_up=0), "KD": KD}


@pytest.mark.parametrize("name", sorted(MAPS | LOGITS))
def test_maps_and_logits_of_other_samples_are_refused(name):
    student, teacher = sides()
    distiller = (MAPS | LOGITS)[name]().double().eval()
    assert bool(torch.isfinite(total(distiller, student, teacher)))
    with pytest.raises(DataError, match=f"{name}: n_id of student and teacher differ.*2 and 3 at place 0"):
        distiller(student, Structure(**teacher.to_dict() | {"n_id": (teacher.n_id + 1) % DATA}))


#: Those that read a map as its cells, or as the mean of them.
OF_CELLS = {
    **{name: MAPS[name] for name in MAPS if name != "ReviewKD"},
    **{name: partial(BUILD[name], "neck") for name in ("CC", "CRD", "HKD", "PKT")},
    "LSP": lambda: LSP("neck", k=3, kernel="gaussian", sigma=9.0),
    "PKD": lambda: PKD(THIN, WIDE),
    "RKD": lambda: RKD("neck", elements=50),
}


@pytest.mark.parametrize("name", sorted(OF_CELLS))
def test_cells_that_a_mask_shuts_out_do_not_count(name):
    """What stands in them changes nothing; a mask of another grid is read at the nearest cell."""
    build_map = OF_CELLS[name]
    student, teacher = sides()
    mask = torch.rand(7, 2, 3) < 0.6
    mask[0] = True
    shut = ~mask.repeat_interleave(2, 1)[:, None]  # of 4 x 3 cells
    values = []
    for noise in (0.0, 9.0):
        torch.manual_seed(0)
        distiller = build_map().double().eval()
        fields = [dict(s.to_dict(), neck=s.neck + noise * shut) for s in (student, teacher)]
        values.append(total(distiller, Structure(**fields[0], mask_map=mask), Structure(**fields[1])))
    torch.testing.assert_close(values[0], values[1])
    torch.manual_seed(0)
    whole = total(build_map().double().eval(), student, teacher)
    assert not torch.allclose(whole, values[0])
    torch.manual_seed(0)
    everything = Structure(**student.to_dict(), mask_map=torch.ones_like(mask))
    assert torch.equal(total(build_map().double().eval(), everything, teacher), whole)
    with pytest.raises(DataError, match=rf"{name}: mask_map has shape \[2, 2, 3\]; expected \[B=7, h, w\]"):
        build_map().double()(Structure(**student.to_dict(), mask_map=mask[:2]), teacher)


@pytest.mark.parametrize("name", ["IRG", "ReviewKD", "SRRL", "SimilarityPreserving"])
def test_a_mask_of_cells_where_whole_maps_are_needed(name):
    student, teacher = sides()
    masked = Structure(**student.to_dict(), mask_map=torch.arange(84).view(7, 4, 3) > 5)
    with pytest.raises(DataError, match=f"{name} compares whole maps"):
        build(name, "neck")(masked, teacher)
    assert torch.isfinite(total(build(name), masked, teacher))  # vectors are not touched


def beside_rows(structure, tokens=3):
    """The same samples in a Structure that also holds rows of tokens."""
    count = len(structure.y)
    return Structure(
        **structure.to_dict() | {
            "x": double(count * tokens, 2),
            "batch": torch.arange(count).repeat_interleave(tokens),
            "n_id": (structure.n_id[:, None] * tokens + torch.arange(tokens)).flatten(),
            "mask": torch.arange(count * tokens) % 2 > 0,
            "image_id": structure.n_id,
        }
    )  # fmt: skip


@pytest.mark.parametrize("name", ["HKD", "LSP", "RKD", "VID", "ReviewKD", "CC", "KD"])
def test_vectors_beside_rows_of_tokens(name):
    """`batch`, `mask` and `n_id` of the tokens say nothing about a vector or logits a sample."""
    made = {"KD": KD, "LSP": lambda: LSP("embedding", k=3)}.get(name)
    student, teacher = sides()
    values = []
    for pair in ((student, teacher), (beside_rows(student), beside_rows(teacher)), (beside_rows(student), teacher)):
        distiller = made().double().eval() if made else build(name)
        values.append(total(distiller, *pair))
    torch.testing.assert_close(values[1:], values[:1] * 2)
    other = beside_rows(teacher)
    other.image_id = (other.image_id + 1) % DATA
    with pytest.raises(DataError, match=f"{name}: n_id of student and teacher differ"):
        distiller(beside_rows(student), other)


def test_neighbours_of_rows_that_do_not_belong_together():
    student, teacher = sides()
    with pytest.raises(DataError, match=r"LSP: embedding is of size \[7\].*\[6\]"):
        LSP("embedding", k=3)(student, part(teacher, slice(0, 6)))
