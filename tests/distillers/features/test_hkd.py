import pytest
import torch
import torch.nn.functional as F

from structkd import Structure
from structkd.distillers import HKD
from structkd.distillers.features.hkd import nearest_predictions
from structkd.errors import ConfigError, DataError

N_ID = torch.tensor([3, 0, 7, 5, 8])


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def build(**options):
    torch.manual_seed(0)
    return HKD(4, 6, **{"num_data": 9, "channels": 3, "neighbors": 2, "negatives": 11, "tau": 0.3} | options).double()


def batch(n_id=N_ID):
    student = Structure(embedding=double(len(n_id), 4), logits=double(len(n_id), 5), n_id=n_id, y=n_id % 4)
    return student, Structure(embedding=double(len(n_id), 6), logits=double(len(n_id), 5))


def encoded(encoder, e, logits, k):
    """One hop, sample by sample: the k nearest class distributions by cosine, the sample itself among them."""
    p, out = logits.softmax(1), []
    for i in range(len(e)):
        distance = 1 - torch.cosine_similarity(p[i][None], p)
        near = distance.argsort()[:k]
        assert i in near
        hop = encoder.linear.weight @ torch.cat([e[i], e[near].mean(0)]) + encoder.linear.bias
        out.append(F.normalize(hop, dim=0))
    return torch.stack(out)


def nce(anchor, own, drawn, tau=0.3):
    return -((anchor @ own / tau).exp() / ((anchor @ own / tau).exp() + (drawn @ anchor / tau).exp().sum())).log()


def test_against_loops():
    distiller, (student, teacher) = build().eval(), batch()
    distiller.memory.label[:] = torch.arange(9) % 4
    memory = distiller.memory
    rows, counts = memory.draw(N_ID, student.y)
    e_s, e_t = distiller.embed_student(student.embedding), distiller.embed_teacher(teacher.embedding)
    g_s = encoded(distiller.encode_student, e_s, student.logits, 2)
    g_t = encoded(distiller.encode_teacher, e_t, teacher.logits, 2)
    individual = relational = 0
    for e, g, bank, other in ((e_s, g_s, memory.teacher, g_t), (e_t, g_t, memory.student, g_s)):
        for i, row in enumerate(N_ID):
            drawn = bank[rows[counts[i]]]
            smooth = F.normalize(0.75 * bank[row] + 0.25 * other[i], dim=0)
            individual = individual + nce(e[i], bank[row], drawn) / 5
            relational = relational + nce(g[i], smooth, drawn) / 5
    losses = distiller(student, teacher)
    assert torch.allclose(losses["individual"], individual)
    assert torch.allclose(losses["relational"], relational)


def test_each_side_has_its_own_graph_of_what_is_nearest():
    logits = torch.tensor([[9.0, 0, 0], [0, 9, 0], [8, 0, 0], [0, 8, 0], [0, 0, 9]])
    edges = nearest_predictions(logits, 2)
    neighbours = [set(edges[0][edges[1] == i].tolist()) for i in range(4)]
    assert neighbours == [{0, 2}, {1, 3}, {0, 2}, {1, 3}]
    assert nearest_predictions(logits[:1], 8).tolist() == [[0], [0]]
    assert nearest_predictions(logits, 8).shape == (2, 25)


def test_the_memory_follows_and_a_resumed_run_goes_on():
    batches = [batch(torch.randperm(9)[:5]) for _ in range(4)]
    unbroken, broken = build(), build()
    values = [unbroken(*pair)["relational"].item() for pair in batches]
    for pair in batches[:2]:
        broken(*pair)
    resumed = build()
    resumed.load_state_dict(broken.state_dict())
    assert [resumed(*pair)["relational"].item() for pair in batches[2:]] == values[2:]
    student, teacher = batches[0]
    before = broken.memory.teacher.clone()
    expected = F.normalize(0.9 * before[student.n_id] + 0.1 * broken.embed_teacher(teacher.embedding), dim=1)
    broken(student, teacher)
    assert torch.allclose(broken.memory.teacher[student.n_id], expected)
    broken.eval()(*batches[3])
    assert torch.allclose(broken.memory.teacher[student.n_id], expected)


def test_bad_input():
    student, teacher = batch()
    with pytest.raises(DataError, match=r"HKD: n_id runs from 0 to 8, but the memory is for num_data=8"):
        build(num_data=8)(student, teacher)
    for options in ({"tau": 0}, {"neighbors": 0}, {"smoothing": 1.5}, {"momentum": -0.1}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            build(**options)
