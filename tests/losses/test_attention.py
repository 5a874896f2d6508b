import pytest
import torch
import torch.nn.functional as F

from structkd.losses import attention_map, attention_transfer


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def reference(f_s, f_t):
    """Of maps, with the normalisation of torch."""
    q_s, q_t = (F.normalize(f.square().sum(1).flatten(1), dim=1) for f in (f_s, f_t))
    return (q_s - q_t).square().sum(1).mean()


def test_by_hand():
    # Energies 3, 4 of length 5 against 1, 0.
    f_s, f_t = torch.tensor([[1.0, 2.0**0.5], [2.0, 0.0]]), torch.tensor([[1.0], [0.0]])
    assert attention_map(f_s).tolist() == pytest.approx([0.6, 0.8])
    assert attention_transfer(f_s, f_t).item() == pytest.approx(0.4**2 + 0.8**2)


def test_maps_against_the_reference():
    f_s, f_t = double(2, 3, 4, 5), double(2, 7, 4, 5)
    assert torch.allclose(attention_transfer(f_s, f_t), reference(f_s, f_t))
    assert torch.autograd.gradcheck(attention_transfer, (double(2, 2, 2, 2), double(2, 3, 2, 2)))


def test_rows_are_maps_of_another_layout():
    f_s, f_t = double(2, 3, 4, 5), double(2, 7, 4, 5)
    rows = [f.permute(0, 2, 3, 1).reshape(40, -1) for f in (f_s, f_t)]
    batch = torch.arange(2).repeat_interleave(20)
    order = torch.randperm(40)
    rows = [f[order] for f in rows]
    assert torch.allclose(attention_transfer(*rows, batch[order]), reference(f_s, f_t))
    batch = torch.tensor([0, 0, 3, 3, 3])
    assert torch.autograd.gradcheck(lambda a, b: attention_transfer(a, b, batch), (double(5, 2), double(5, 3)))


def test_zero_at_equality_whatever_the_scale_and_two_apart():
    f = double(2, 3, 4, 5)
    assert attention_transfer(f, f) == 0
    assert attention_transfer(f, 7 * f).abs() < 1e-14
    left, right = torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    left[..., 0], right[..., 1] = 3, 1
    assert attention_transfer(left, right).item() == pytest.approx(2)


@pytest.mark.parametrize("batch", [None, torch.tensor([0, 0, 0, 1, 1])])
def test_features_of_zero_have_a_gradient_of_zero(batch):
    f = torch.zeros(5, 3, requires_grad=True)
    value = attention_transfer(f, torch.ones(5, 3), batch)
    value.backward()
    assert value.item() == pytest.approx(1) and not f.grad.any()


def test_empty_and_single():
    for shape, batch in (((0, 3), None), ((0, 3), torch.zeros(0, dtype=torch.long)), ((0, 3, 2, 2), None)):
        f = double(*shape)
        value = attention_transfer(f, f.detach(), batch)
        value.backward()
        assert value == 0
    assert attention_transfer(double(1, 3), double(1, 4)).abs() < 1e-14  # all attention is on the one element
