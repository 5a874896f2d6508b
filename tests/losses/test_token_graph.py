"""TRG's local loss: each form against a dense one in float64, by hand, and what it is blind to."""

import itertools
import math

import pytest
import torch

from structkd.errors import ConfigError, DataError
from structkd.losses import gaussian_weights, token_graph_loss
from structkd.losses.token_graph import FLOOR

FORMS = list(itertools.product(("teacher", "own"), ("neighbours", "all"), ("teacher", "student")))
each_form = pytest.mark.parametrize("support, normalise, first", FORMS)
LITERAL = {"support": "own", "normalise": "all", "first": "student", "tau": 1.0}


def sides(n=12, c_s=3, c_t=5):
    x_s, x_t = torch.randn(n, c_s, dtype=torch.float64), torch.randn(n, c_t, dtype=torch.float64)
    return x_s.requires_grad_(), x_t


def adjacency(x, near, sigma, unit):
    """Dense weights of the pairs in `near` [N, N] (row: whose neighbours)."""
    square = (x.unsqueeze(1) - x.unsqueeze(0)).square().sum(-1)
    if unit == "graph":
        square = square / square[near].mean()
    if unit == "token":
        square = square * near.sum(1, keepdim=True) / torch.where(near, square, 0).sum(1, keepdim=True)
    return torch.where(near, (-square / (2 * sigma)).exp(), 0)


def nearest(x, k):
    distance = torch.cdist(x, x).fill_diagonal_(math.inf)
    near = torch.zeros(distance.shape, dtype=torch.bool)
    return near.scatter_(1, distance.topk(min(k, len(x) - 1), largest=False).indices, True)


def dense(x_s, x_t, k, sigma, unit, support, normalise, first, tau):
    near_t = nearest(x_t, k)
    near_s = near_t if support == "teacher" else nearest(x_s.detach(), k)
    a_s, a_t = adjacency(x_s, near_s, sigma, unit), adjacency(x_t, near_t, sigma, unit)
    if normalise == "all":
        a_s, a_t = a_s.t(), a_t.t()  # published: entry (i, j) is there where i is near j
    else:
        outside = torch.where(near_s | near_t, 0.0, -1e4)
        a_s, a_t = a_s + outside, a_t + outside
    log_s, log_t = (a_s / tau).log_softmax(1), (a_t / tau).log_softmax(1)
    p, q = (log_t, log_s) if first == "teacher" else (log_s, log_t)
    return (p.exp() * (p - q)).sum() / len(x_s)


@each_form
@pytest.mark.parametrize("unit, sigma, tau", [("token", 0.5, 0.1), ("graph", 0.5, 1.0), ("absolute", 3.0, 0.5)])
def test_every_form_equals_its_dense_one(support, normalise, first, unit, sigma, tau):
    x_s, x_t = sides()
    options = (4, sigma, unit, support, normalise, first, tau)
    ours, plain = token_graph_loss(x_s, x_t, *options), dense(x_s, x_t, *options)
    assert ours > 0 and torch.allclose(ours, plain, rtol=1e-9, atol=0)
    gradients = [torch.autograd.grad(value, x_s)[0] for value in (ours, plain)]
    assert torch.allclose(*gradients, rtol=1e-8, atol=1e-14)


@each_form
def test_gradcheck(support, normalise, first):
    x_s, x_t = sides(8)
    form = {"support": support, "normalise": normalise, "first": first}
    assert torch.autograd.gradcheck(lambda x: token_graph_loss(x, x_t, 3, **form), x_s)


def test_by_hand():
    # Three tokens on a line, every other one a neighbour. Teacher at 0, 1, 3: squared distances 1, 4, 9.
    x_t = torch.tensor([[0.0], [1.0], [3.0]], dtype=torch.float64)
    x_s = torch.zeros(3, 1, dtype=torch.float64)  # all weights 1: q = 1/2 everywhere
    loss = token_graph_loss(x_s, x_t, 2, sigma=0.5, unit="absolute", tau=1.0)
    expected = 0.0
    for one, other in ((1, 9), (1, 4), (4, 9)):
        a, b = math.exp(-one), math.exp(-other)
        p = math.exp(a) / (math.exp(a) + math.exp(b))
        expected += (p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p))) / 3
    assert loss.item() == pytest.approx(expected, abs=1e-14)


@each_form
def test_zero_for_what_a_graph_does_not_see(support, normalise, first):
    _, x = sides()
    turn = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))[0]
    form = {"support": support, "normalise": normalise, "first": first}
    assert token_graph_loss(x, x, 4, **form) == 0
    assert token_graph_loss(7 * x @ turn + 100, x, 4, **form).abs() < 1e-12
    wide = torch.cat([x, torch.ones(12, 3, dtype=torch.float64)], 1)  # other channels that tell nothing
    assert token_graph_loss(wide, x, 4, **form).abs() < 1e-12
    assert token_graph_loss(7 * x, x, 4, unit="absolute", **form) > 1e-6


@each_form
def test_order_of_tokens_does_not_matter(support, normalise, first):
    x_s, x_t = sides()
    order = torch.randperm(12)
    form = {"support": support, "normalise": normalise, "first": first}
    moved = token_graph_loss(x_s[order], x_t[order], 4, **form)
    assert torch.allclose(token_graph_loss(x_s, x_t, 4, **form), moved, rtol=1e-10)


@each_form
@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_tokens(support, normalise, first, n):
    x_s, x_t = sides(n)
    loss = token_graph_loss(x_s, x_t, 50, support=support, normalise=normalise, first=first)
    (gradient,) = torch.autograd.grad(loss, x_s)
    assert loss.shape == () and loss >= 0 and gradient.isfinite().all()
    assert n == 2 or loss == 0


def test_tokens_that_are_all_the_same():
    x_s = torch.ones(6, 3, requires_grad=True)
    loss = token_graph_loss(x_s, torch.randn(6, 4), 2)
    assert loss > 0 and torch.autograd.grad(loss, x_s)[0].isfinite().all()


def test_a_row_of_the_published_matrix_belongs_to_the_neighbour():
    # Tokens 0, 1, 2.5 on a line with one neighbour each: 0 -> 1, 1 -> 0, 2.5 -> 1. Nobody's nearest is the last one.
    x_t = torch.tensor([[0.0], [1.0], [2.5]], dtype=torch.float64)
    x_s = torch.tensor([[0.0], [1.0], [2.9]], dtype=torch.float64, requires_grad=True)
    loss = token_graph_loss(x_s, x_t, 1, 0.5, "absolute", **LITERAL)
    # Row 1 alone changes: weights exp(-1) to token 0 and exp(-d^2) to the last, next to its own 0.
    p, q = (torch.tensor([-1.0, -math.inf, -(d**2)], dtype=torch.float64).exp().softmax(0) for d in (1.9, 1.5))
    assert loss.item() == pytest.approx(float((p * (p / q).log()).sum() / 3), abs=1e-14)


def test_the_literal_gradient_fades_and_the_default_one_stays():
    def size(n, **form):
        generator = torch.Generator().manual_seed(0)
        centre = torch.randn(20, 32, generator=generator)
        x_t = centre[torch.arange(n) % 20] + 0.5 * torch.randn(n, 32, generator=generator)
        x_s = (x_t + 0.7 * torch.randn(n, 32, generator=generator)).requires_grad_()
        gradient = torch.autograd.grad(token_graph_loss(x_s, x_t, **form), x_s)[0]
        return n * gradient.norm(dim=1).mean()  # of a token, had the loss been a sum

    assert size(1600, **LITERAL) < 0.5 * size(400, **LITERAL)
    assert size(1600) > 0.9 * size(400)
    assert size(1600) > 20 * size(1600, **LITERAL)


#: The sparse loss that lets a student collapse: one unit for all tokens, and a softmax that hardly tells them apart.
COLLAPSING = {"unit": "graph", "tau": 1.0}


def test_falling_together_does_not_pay():
    # A network at its start: a few kinds of tokens, which have nothing to do with the teacher's. Then all but two of
    # its tokens move together, as those of a network that forgets its images; the two carry the mean.
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn(200, 16, generator=generator)
    kinds = torch.randn(8, 16, generator=generator)[torch.arange(200) % 8]
    start = kinds + 0.1 * torch.randn(200, 16, generator=generator)
    together = torch.cat([0.01 * start[:198], start[198:]])
    assert token_graph_loss(together, x_t, **COLLAPSING) < 0.5 * token_graph_loss(start, x_t, **COLLAPSING)
    assert token_graph_loss(together, x_t) > 0.9 * token_graph_loss(start, x_t)


def test_the_gradient_neither_shrinks_nor_stretches_the_tokens():
    x_s, x_t = sides(40)
    gradient = torch.autograd.grad(token_graph_loss(x_s, x_t, 4), x_s)[0]
    assert gradient.norm() > 1e-3 and (gradient * x_s).sum().abs() < 1e-12


@pytest.mark.parametrize("apart", [1e-2, 1e-5, 1e-9, 0.0])
def test_the_gradient_of_look_alikes_is_bounded(apart):
    # Patches of a plain background: what tells them apart is rounding, and must not drown what the others say.
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn(60, 8, generator=generator)
    near = torch.randn(20, 8, generator=generator) * apart
    x_s = torch.cat([x_t[:40] + torch.randn(40, 8, generator=generator), near]).requires_grad_()
    size = torch.autograd.grad(token_graph_loss(x_s, torch.cat([x_t[:40], x_t[40:] * 0.1 + 5])), x_s)[0].norm(dim=1)
    assert size.isfinite().all() and size[40:].max() < 1 / math.sqrt(FLOOR) * size[:40].max()


def test_half_precision_and_the_teacher():
    x_s, x_t = (side.detach().bfloat16().requires_grad_() for side in sides())
    loss = token_graph_loss(x_s, x_t, 4)
    loss.backward()
    assert loss.dtype == torch.float32 and x_s.grad.dtype == torch.bfloat16 and x_t.grad is None
    exact = token_graph_loss(x_s.double(), x_t.double(), 4)
    assert torch.allclose(loss.double(), exact, rtol=1e-4)


def test_weights():
    distance = torch.tensor([0.0, 1.0, 5.0])
    assert torch.allclose(gaussian_weights(distance, 0.5, "absolute"), (-distance).exp())
    assert torch.allclose(gaussian_weights(distance, 1.0, "graph"), (-distance / 4).exp())
    row = torch.tensor([2, 0, 2])  # of mean 2.5 and 1; token 1 has no edge
    assert torch.allclose(gaussian_weights(distance, 0.5, "token", row), (-torch.tensor([0.0, 1.0, 2.0])).exp())
    assert torch.equal(gaussian_weights(distance, row=row), gaussian_weights(distance, 0.5, "token", row))
    with pytest.raises(ConfigError, match="the token of each edge"):
        gaussian_weights(distance)
    for options in ({"unit": "graph"}, {"row": row[:2]}):
        assert gaussian_weights(torch.zeros(2), **options).tolist() == [1, 1]
    assert gaussian_weights(torch.zeros(0), row=row[:0]).shape == (0,)


def test_bad_input():
    x = torch.randn(4, 3)
    with pytest.raises(DataError, match=r"\(4, 3\), teacher tokens \(3, 3\)"):
        token_graph_loss(x, x[:3])
    for name, value in (("support", "both"), ("normalise", "rows"), ("first", "both"), ("unit", "metres")):
        with pytest.raises(ConfigError, match=f"{name} is '{value}'"):
            token_graph_loss(x, x, **{name: value})
    for name in ("sigma", "tau"):
        with pytest.raises(ConfigError, match=f"{name} is 0"):
            token_graph_loss(x, x, **{name: 0})
    with pytest.raises(ConfigError, match="k=0"):
        token_graph_loss(x, x, k=0)
