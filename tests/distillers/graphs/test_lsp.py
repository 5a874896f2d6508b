import pytest
import torch

from structkd import Structure
from structkd.distillers import LSP
from structkd.errors import ConfigError, DataError, WiringError
from structkd.losses import edge_similarity, local_structure_kl
from structkd.relations import KNN

EDGES = torch.tensor([[0, 1, 2, 3, 0, 2, 1, 4], [1, 0, 1, 1, 2, 3, 3, 1]])


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def loss(x_s, x_t, edges=EDGES, mask=None, **options):
    return LSP(**options)(Structure(x_s, edges, mask=mask), Structure(x_t))["local_structure"]


@pytest.mark.parametrize("kernel", ["rbf", "gaussian", "linear"])
def test_compares_the_scores_of_each_side(kernel):
    x_s, x_t = double(5, 3), double(5, 6)
    scores = [edge_similarity(x, EDGES, kernel, 2.0) for x in (x_s, x_t)]
    for first in (False, True):
        expected = local_structure_kl(*scores, EDGES[1], 5, first)
        assert torch.allclose(loss(x_s, x_t, kernel=kernel, sigma=2.0, student_first=first), expected)
        assert expected > 1e-5


def test_blind_to_rotation_and_shift():
    x, order = double(5, 4), torch.randperm(8)
    rotation, _ = torch.linalg.qr(double(4, 4))
    assert loss(x @ rotation + 3, x, kernel="gaussian", sigma=1.0).abs() < 1e-14
    other = double(5, 2)
    assert torch.allclose(loss(x, other, EDGES[:, order]), loss(x, other))


def test_normalised_kernels_teach_more_than_kernels_in_a_softmax():
    """The reason for `gaussian`: see the class's Differences."""
    x_s, x_t = double(5, 8).requires_grad_(), double(5, 8)
    norms = [
        torch.autograd.grad(loss(x_s, x_t, kernel=kernel, sigma=8.0), x_s)[0].norm() for kernel in ("rbf", "gaussian")
    ]
    assert norms[1] > 2 * norms[0]


def test_tokens_with_relations_and_the_mask():
    x = double(6, 3)
    student, teacher = KNN(2)(Structure(x)), Structure(double(6, 3))
    assert LSP()(student, teacher)["local_structure"] > 0
    mask = torch.tensor([True, True, True, True, False])
    x_s, x_t = double(5, 3), double(5, 3)
    assert torch.allclose(loss(x_s, x_t, mask=mask), loss(x_s, x_t, EDGES[:, :7]))  # the last edge starts outside


def test_neighbours_of_the_teachers_rows_where_there_are_no_edges():
    x_s, x_t = double(8, 3), double(8, 5)
    batch = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1])
    whole, apart = (KNN(2)(Structure(x_t, batch=b)).edge_index for b in (None, batch))
    lsp = LSP(k=2, kernel="gaussian", sigma=2.0)
    options = {"kernel": "gaussian", "sigma": 2.0}
    assert lsp(Structure(x_s), Structure(x_t))["local_structure"] == loss(x_s, x_t, whole, **options)
    student = Structure(x_s, batch=batch)
    assert lsp(student, Structure(x_t))["local_structure"] == loss(x_s, x_t, apart, **options)
    student.mask = torch.tensor([True] * 6 + [False, True])
    kept = apart[:, (apart != 6).all(0)]
    assert lsp(student, Structure(x_t))["local_structure"] == loss(x_s, x_t, kept, **options)
    given = Structure(x_s, EDGES)
    assert LSP(k=2)(given, Structure(x_t))["local_structure"] == loss(x_s, x_t)  # edges that are there come first
    assert LSP(k=9)(Structure(double(1, 3)), Structure(double(1, 5)))["local_structure"] == 0


def test_bad_input():
    with pytest.raises(ConfigError, match="k=0"):
        LSP(k=0)
    with pytest.raises(ConfigError, match="kernel='poly'"):
        LSP(kernel="poly")
    with pytest.raises(ConfigError, match="sigma=0"):
        LSP(sigma=0)
    x = double(5, 3)
    with pytest.raises(DataError, match=r"LSP: x has 5 rows \(student\) and 4 \(teacher\)"):
        loss(x, x[:4])
    with pytest.raises(DataError, match="LSP: x is of size"):
        LSP(k=2)(Structure(x), Structure(x[:4]))
    with pytest.raises(DataError, match=r"LSP: n_id .* 0 and 1 at place 0"):
        LSP()(Structure(x, EDGES, n_id=torch.arange(5)), Structure(x, n_id=torch.arange(5) + 1))
    with pytest.raises(WiringError, match="LSP compares along relations"):
        LSP()(Structure(double(3, 2)), Structure(double(3, 2)))
