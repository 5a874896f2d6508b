import math

import pytest
import torch
from torch.autograd import gradcheck

from structkd.models.modules.nac_layers import CircuitAttention, Connectivity, ModulatedLinear, ReadInAttention


def normal(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_modulated_layer_by_its_formula(generator):
    layer = ModulatedLinear(6, 4, 3).double()
    x, code = normal(generator, 2, 5, 6), normal(generator, 5, 3)
    scale = 1 + 0.1 * torch.nn.functional.layer_norm(code @ layer.code.weight.t() + layer.code.bias, (6,))
    torch.testing.assert_close(layer(x, code), (x * scale) @ layer.linear.weight.t() + layer.linear.bias)
    with torch.no_grad():
        layer.gain.zero_()
    torch.testing.assert_close(layer(x, code), layer.linear(x))


def test_connections_by_hand():
    connect = Connectivity(truncation=0.9).eval()
    a = torch.tensor([[1.0, 0], [0, 2]])
    b = torch.tensor([[5.0, 0], [1, 1], [-1, 0]])
    link = connect(a, b, 3)
    half = 1 - math.sqrt(0.5)
    expected = torch.tensor([[1, math.exp(-half), 0], [0, math.exp(-half), 0]])
    torch.testing.assert_close(link.kernel, expected)
    torch.testing.assert_close(link.log_weight[expected > 0], expected[expected > 0].log(), rtol=0, atol=1e-6)
    with torch.no_grad():
        connect.log_bandwidth.fill_(math.log(2))
    torch.testing.assert_close(connect(a, b, 3).kernel[0, 1], torch.tensor(math.exp(-half / 2)))


def test_samples_are_relaxed_bernoulli_variables():
    connect, samples = Connectivity(), 20000
    a, b = torch.tensor([[1.0, 0]]), torch.tensor([[1.0, 0], [1, 1], [1, 5]])
    link = connect(a, b, samples)
    assert link.log_weight.shape == (samples, 1, 3)
    # A relaxed Bernoulli variable is above 1/2 with its probability, at any temperature.
    share = (link.log_weight.exp() > 0.5).float().mean(0)[0]
    torch.testing.assert_close(
        share, link.log_weight.new_tensor([1, math.exp(-(1 - math.sqrt(0.5))), 0.4477]), rtol=0, atol=0.01
    )
    torch.manual_seed(3)
    first = connect(a, b, 2).log_weight
    torch.manual_seed(3)
    assert torch.equal(first, connect(a, b, 2).log_weight) and not torch.equal(first[0], first[1])
    assert connect.eval()(a, b, 2).log_weight.shape == (1, 3)
    assert Connectivity(temperature=None).train()(a, b, 2).log_weight.shape == (1, 3)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_divides_the_logits_of_samples(temperature):
    a, b = torch.tensor([[1.0, 0]]), torch.tensor([[1.0, 1], [1, 5]])
    torch.manual_seed(3)
    plain = Connectivity(temperature=1.0)(a, b, 50).log_weight.double().exp().logit()
    torch.manual_seed(3)
    log_weight = Connectivity(temperature=temperature)(a, b, 50).log_weight
    torch.testing.assert_close(log_weight.double().exp().logit(), plain / temperature, rtol=1e-3, atol=1e-3)


def test_signatures_and_bandwidth_learn_from_samples():
    connect = Connectivity()
    a = torch.tensor([[1.0, 0], [0.9, 0.1]], requires_grad=True)
    link = connect(a, a, 4)
    link.log_weight[:, link.kernel > 0].sum().backward()
    assert bool(a.grad.isfinite().all()) and bool(a.grad.any()) and bool(connect.log_bandwidth.grad.isfinite())


@pytest.mark.parametrize("training", [False, True])
def test_a_receiver_hears_only_whom_it_is_connected_to(training, generator):
    layer = CircuitAttention(8, 3, 2, 0.0).train(training)
    to, of = torch.randn(2, 2, 8), torch.randn(2, 3, 8, requires_grad=True)
    eye = torch.eye(4)
    codes = torch.randn(5, 3)
    # Receiver 0 is near senders 0 and 1, receiver 1 is near nobody.
    out = layer(to, eye[[0, 3]], codes[:2], of, eye[[0, 0, 1]], codes[2:])
    assert torch.equal(out[:, 1], to[:, 1]) and not torch.allclose(out[:, 0], to[:, 0])
    out.square().sum().backward()
    assert bool(of.grad[:, :2].any(-1).all()) and not bool(of.grad[:, 2].any())
    assert all(bool(p.grad.isfinite().all()) for p in layer.parameters() if p.grad is not None)


def test_attention_by_its_formula(generator):
    layer = CircuitAttention(6, 3, 2, 0.0).double().eval()
    to, of = normal(generator, 2, 4, 6), normal(generator, 2, 5, 6)
    a, b = normal(generator, 4, 3), normal(generator, 5, 3)
    code_to, code_of = normal(generator, 4, 3), normal(generator, 5, 3)
    out = layer(to, a, code_to, of, b, code_of)
    kernel = layer.connect(a, b, 2).kernel
    q = layer.query(layer.norm_to(to), code_to).view(2, 4, 2, 3)
    k, v = (m(layer.norm_from(of), code_of).view(2, 5, 2, 3) for m in (layer.key, layer.value))
    weight = kernel[:, None] * (torch.einsum("buhd,bvhd->buhv", q, k) / math.sqrt(3)).exp()
    weight = weight / weight.sum(-1, keepdim=True).clamp(min=1e-300)
    message = layer.out(torch.einsum("buhv,bvhd->buhd", weight, v).flatten(2), code_to)
    heard = (kernel > 0).any(1).double()[:, None]
    torch.testing.assert_close(out, to + layer.scale * message * heard)


def test_read_in_without_the_large_tensor(generator):
    layer = ReadInAttention(5, 6, 3, 2).double()
    state, code, tokens = normal(generator, 4, 6), normal(generator, 4, 3), normal(generator, 2, 7, 5)
    x = layer.norm_from(tokens)[:, :, None].expand(2, 7, 4, 5).flatten(0, 1)  # a copy for each latent, as published
    k, v = (m(x, code).view(2, 7, 4, 2, 3) for m in (layer.key, layer.value))
    q = layer.query(layer.norm_to(state), code).view(4, 2, 3)
    share = (torch.einsum("uhd,bvuhd->buhv", q, k) / math.sqrt(3)).softmax(-1)
    expected = layer.out(torch.einsum("buhv,bvuhd->buhd", share, v).flatten(2), code)
    torch.testing.assert_close(layer(state, code, tokens), expected)
    assert gradcheck(lambda t: layer(state, code, t), (tokens.requires_grad_(),))
