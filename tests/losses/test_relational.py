import pytest
import torch

from structkd.errors import DataError
from structkd.losses import angle_loss, distance_loss, relational

LOSSES = pytest.mark.parametrize("loss", [distance_loss, angle_loss])


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def huber(a, b):
    d = abs(a - b)
    return d**2 / 2 if d <= 1 else d - 0.5


def distances_by_loops(x_s, x_t):
    n = len(x_s)
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    psi = []
    for x in (x_s, x_t):
        d = {(i, j): (x[i] - x[j]).norm() for i, j in pairs}
        mean = sum(d.values()) / len(pairs)
        psi.append({pair: value / mean for pair, value in d.items()})
    return sum(huber(psi[0][p], psi[1][p]) for p in pairs) / len(pairs)


def angles_by_loops(x_s, x_t):
    n = len(x_s)
    triplets = [(i, j, k) for i in range(n) for j in range(n) for k in range(n) if len({i, j, k}) == 3]

    def cosine(x, i, j, k):
        return torch.cosine_similarity(x[i] - x[j], x[k] - x[j], dim=0)

    return sum(huber(cosine(x_s, *t), cosine(x_t, *t)) for t in triplets) / len(triplets)


@pytest.mark.parametrize(("loss", "reference"), [(distance_loss, distances_by_loops), (angle_loss, angles_by_loops)])
def test_against_loops(loss, reference):
    x_s, x_t = double(6, 3), double(6, 5)
    with torch.no_grad():
        x_s[0] *= 9  # one far away, so that the Huber loss is linear for some
    fast, slow = loss(x_s, x_t), reference(x_s, x_t)
    assert torch.allclose(fast, slow, rtol=1e-10)
    for ours, theirs in zip(torch.autograd.grad(fast, (x_s, x_t)), torch.autograd.grad(slow, (x_s, x_t))):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-10)
    assert torch.autograd.gradcheck(loss, (double(4, 2), double(4, 3)))


def test_distances_by_hand():
    # Distances 1, 2, 3 of mean 2 against 1, 1, 2 of mean 4/3: .5, 1, 1.5 against .75, .75, 1.5.
    x_s, x_t = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.0], [1.0], [2.0]])
    assert distance_loss(x_s, x_t).item() == pytest.approx((0.25**2 / 2 + 0.25**2 / 2) / 3)


def test_angles_by_hand():
    # A straight line (cosines 1, -1, 1) against a right angle with two of 45 degrees (0 at the middle).
    line = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    corner = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    ends = 2 * (1 - 0.5**0.5) ** 2 / 2
    assert angle_loss(line, corner).item() == pytest.approx((ends + 0.5) / 3, rel=1e-5)


@LOSSES
def test_zero_at_equality_and_blind_to_rotation_shift_scale_and_order(loss):
    x, other, order = double(7, 4), double(7, 3), torch.randperm(7)
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))
    assert loss(x, x) == 0
    assert loss(x, 5 * x @ rotation + 3).abs() < 1e-14
    assert torch.allclose(loss(x[order], other[order]), loss(x, other))


@LOSSES
def test_coinciding_elements_have_finite_gradients(loss):
    for x in (torch.ones(4, 3), torch.tensor([[0.0], [0.0], [1.0], [2.0]])):
        x.requires_grad_()
        value = loss(x, torch.randn(4, 3))
        value.backward()
        assert bool(torch.isfinite(value)) and bool(torch.isfinite(x.grad).all()) and x.grad.abs().max() < 100


@LOSSES
@pytest.mark.parametrize("rows", [0, 1, 2])
def test_few_elements(loss, rows):
    x = double(rows, 3)
    value = loss(x, double(rows, 4))
    value.backward()
    assert value.abs() < 1e-14  # two distances, over their mean, are 1 on either side


@LOSSES
def test_bad_input(loss):
    with pytest.raises(DataError, match=r"\(2, 3\).*\(4, 3\)"):
        loss(double(2, 3), double(4, 3))


def test_angles_in_blocks_of_vertices_are_the_same(monkeypatch):
    x_s, x_t = double(9, 3), double(9, 4)
    whole = angle_loss(x_s, x_t)
    wanted = torch.autograd.grad(whole, (x_s, x_t))
    for held in (1, 9 * 9 * 4):  # one vertex at a time; four, with one left over
        monkeypatch.setitem(relational.HELD, "cpu", held)
        loss = angle_loss(x_s, x_t)
        assert torch.allclose(loss, whole, rtol=1e-12)
        for ours, theirs in zip(torch.autograd.grad(loss, (x_s, x_t)), wanted):
            assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(angle_loss, (double(4, 2), double(4, 3)))


def test_the_angles_of_a_batch_of_256_images_are_never_held_at_once():
    """Of 16.8 million cosines, a few blocks; what is saved for backward is the products of pairs."""
    largest = 0

    def note(tensor):
        nonlocal largest
        largest = max(largest, tensor.numel())
        return tensor

    x_s, x_t = torch.randn(256, 8, requires_grad=True), torch.randn(256, 4)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        angle_loss(x_s, x_t).backward()
    assert 0 < largest <= relational.HELD["cpu"]
    assert bool(x_s.grad.any())


def test_angles_of_elements_close_together_far_from_the_origin():
    """Where the products of such elements have few digits left for their differences."""
    near = torch.randn(6, 4, dtype=torch.float64)
    x, other = (near * 4e-3 + 10000).float(), torch.randn(6, 3)
    assert torch.allclose(angle_loss(near * 1e-3 + 10000, other), angles_by_loops(near, other.double()), rtol=1e-6)
    exact = angles_by_loops(x.double(), other.double())
    assert angle_loss(x, other).item() == pytest.approx(exact.item(), rel=1e-6)
    assert distance_loss(x, other).item() == pytest.approx(distances_by_loops(x.double(), other.double()).item(), 1e-4)


def test_elements_that_coincide_on_one_side_have_no_angle_there():
    x, other = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    x[3] = x[1]
    exact = angles_by_loops(x, other)
    assert torch.allclose(angle_loss(x, other), exact, rtol=1e-10)
    x[3] *= 1 + 3e-8  # what rounding leaves of a difference has no direction
    x.requires_grad_()
    loss = angle_loss(x, other)
    loss.backward()
    assert torch.allclose(loss, exact, rtol=1e-6) and x.grad.abs().max() < 10
