import pytest
import torch
from torch.autograd import gradcheck
from torch.nn import functional as F

from structkd.backends import use_backend
from structkd.errors import WiringError
from structkd.models.images.vit import MLPBlock
from structkd.models.modules import MoE, recorded
from structkd.ops.grouped_matmul import GROUPED_MATMUL


def layer(experts=4, channels=8, inner=16, **router):
    moe = MoE(channels, inner, experts, **router)
    with torch.no_grad():
        for parameter in moe.parameters():
            parameter.normal_(std=0.5)
    return moe


def one_by_one(moe, x):
    """The definition: for each token, the sum over its experts."""
    with recorded(moe) as records:
        moe(x)
    routing, rows = records["router"], x.flatten(0, -2)
    out = [torch.zeros_like(row) for row in rows]
    for token, experts in enumerate(routing.expert.tolist()):
        for choice, e in enumerate(experts):
            if routing.kept[token, choice]:
                hidden = F.gelu(F.linear(rows[token], moe.experts.fc1.weight[e], moe.experts.fc1.bias[e]))
                found = F.linear(hidden, moe.experts.fc2.weight[e], moe.experts.fc2.bias[e])
                out[token] = out[token] + routing.gate[token, choice] * found
    return torch.stack(out).view_as(x)


@pytest.mark.parametrize("router", [{}, dict(order="topk_softmax", k=1), dict(k=3, capacity=0.7, priority=True)])
def test_against_the_definition(router, generator):
    moe = layer(**router).double()
    x = torch.randn(2, 7, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    out, expected = moe(x), one_by_one(moe, x)
    torch.testing.assert_close(out, expected)
    weight = torch.randn(out.shape, generator=generator, dtype=torch.float64)
    wanted = [x, *moe.parameters()]
    for ours, theirs in zip(torch.autograd.grad(out, wanted, weight), torch.autograd.grad(expected, wanted, weight)):
        torch.testing.assert_close(ours, theirs)


def test_gradcheck():
    moe = layer(3, 3, 4).double()
    x = torch.randn(1, 5, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(moe, (x,))


@pytest.mark.skipif(bool(GROUPED_MATMUL.find("grouped").why_not()), reason="torch has no grouped_mm")
def test_grouped_and_looped_experts_agree():
    moe, x = layer(6), torch.randn(3, 5, 8)
    with torch.no_grad():
        moe.router.linear.weight[4:] = 0  # two experts that few or none are sent to
        moe.router.linear.weight[5] = -moe.router.linear.weight[:5].sum(0)
    results = []
    for backend in ("grouped", "loop"):
        moe.zero_grad()
        with use_backend("grouped_matmul", backend):
            out = moe(x)
            out.square().sum().backward()
        results.append([out, *(p.grad for p in moe.parameters())])
    for ours, reference in zip(*results, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-5, atol=1e-6)


def test_an_expert_learns_from_its_own_tokens_only():
    moe = layer(3, 3, 4, k=1)
    with torch.no_grad():
        moe.router.linear.weight.copy_(torch.eye(3))
    x = torch.tensor([[[5.0, 0, 0], [0, 5, 0]]], requires_grad=True)
    out = moe(x)
    out[0, 1].sum().backward()
    gradient = moe.experts.fc1.weight.grad
    assert bool(gradient[1].any()) and not bool(gradient[[0, 2]].any())  # 2 has no token at all
    assert moe.experts.fc2.bias.grad[1].tolist() == pytest.approx([float(torch.tensor([0, 5.0, 0]).softmax(0)[1])] * 3)
    assert not bool(x.grad[0, 0].any()) and bool(moe.router.linear.weight.grad.any())


def test_a_token_without_room_gets_zeros():
    moe = layer(2, 2, 4, k=1, capacity=0.5)
    with torch.no_grad():
        moe.router.linear.weight.copy_(torch.eye(2))
    out = moe(torch.tensor([[[5.0, 0], [6, 0], [7, 0], [0, 8]]]))  # one place each
    assert out.any(-1).tolist() == [[True, False, False, True]]


def test_copies_of_a_dense_layer():
    dense, moe, x = MLPBlock(8, 16), MoE(8, 16, 4, order="topk_softmax"), torch.randn(2, 5, 8)
    moe.experts.copy_(dense)
    torch.testing.assert_close(moe(x), dense(x))
    every = moe.experts.of_all(x.flatten(0, 1))
    torch.testing.assert_close(every, dense(x).flatten(0, 1).expand_as(every))
    with pytest.raises(WiringError, match=r"fc1 of an expert is \(16, 8\), of the dense MLP \(12, 8\)"):
        moe.experts.copy_(MLPBlock(8, 12))


def test_no_tokens():
    moe = layer()
    out = moe(torch.zeros(0, 5, 8))
    out.sum().backward()
    assert out.shape == (0, 5, 8) and all(not bool(p.grad.any()) for p in moe.experts.parameters())


def test_autocast():
    moe, x = layer(), torch.randn(2, 5, 8)
    with torch.autocast("cpu", torch.bfloat16):
        out = moe(x)
    assert out.dtype == torch.float32 and torch.allclose(out, moe(x), atol=0.1)
    out.sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in moe.parameters())
