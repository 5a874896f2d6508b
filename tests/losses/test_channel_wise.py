import pytest
import torch

from structkd.errors import ConfigError, DataError
from structkd.losses import channel_kl


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def by_loops(f_s, f_t, tau):
    total = 0
    for sample_s, sample_t in zip(f_s, f_t):
        for channel_s, channel_t in zip(sample_s, sample_t):
            p_s, p_t = (torch.softmax(c.flatten() / tau, 0) for c in (channel_s, channel_t))
            total = total + (p_t * (p_t / p_s).log()).sum()
    return tau**2 * total / (f_s.size(0) * f_s.size(1))


def test_maps_against_loops():
    f_s, f_t = double(2, 3, 4, 5), double(2, 3, 4, 5)
    assert torch.allclose(channel_kl(f_s, f_t, 2.5), by_loops(f_s, f_t, 2.5))
    assert torch.autograd.gradcheck(channel_kl, (double(1, 2, 2, 2), double(1, 2, 2, 2)))


def test_rows_are_maps_of_another_layout():
    f_s, f_t = double(2, 3, 4, 5), double(2, 3, 4, 5)
    batch, order = torch.tensor([1, 4]).repeat_interleave(20), torch.randperm(40)  # samples 0, 2 and 3 are empty
    rows = [f.permute(0, 2, 3, 1).reshape(40, 3)[order] for f in (f_s, f_t)]
    assert torch.allclose(channel_kl(*rows, 2.5, batch[order]), by_loops(f_s, f_t, 2.5))
    one = [f[:1].permute(0, 2, 3, 1).reshape(20, 3) for f in (f_s, f_t)]
    assert torch.allclose(channel_kl(*one, 2.5), by_loops(f_s[:1], f_t[:1], 2.5))
    small, batch = double(5, 2), torch.tensor([0, 0, 2, 2, 2])
    assert torch.autograd.gradcheck(lambda a, b: channel_kl(a, b, 2.0, batch), (small, double(5, 2)))


def test_by_hand():
    # (1/2, 1/2) against (3/4, 1/4), temperature 1.
    f_s, f_t = torch.zeros(1, 1, 1, 2), torch.tensor([[[[3.0, 1.0]]]]).log()
    expected = 0.75 * torch.tensor(1.5).log() + 0.25 * torch.tensor(0.5).log()
    assert channel_kl(f_s, f_t, 1.0).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("batch", [None, torch.tensor([0, 0, 0, 1, 1])])
def test_zero_at_equality_up_to_a_constant_a_channel(batch):
    f = double(5, 3)
    assert channel_kl(f, f, batch=batch) == 0
    assert channel_kl(f, f + torch.tensor([1.0, -9.0, 100.0]), batch=batch).abs() < 1e-13


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 2, 2), (2, 3, 0, 2), (1, 3)])
@pytest.mark.parametrize("batched", [False, True])
def test_empty_and_single(shape, batched):
    f = double(*shape)
    batch = torch.zeros(shape[0], dtype=torch.long) if batched and len(shape) == 2 else None
    value = channel_kl(f, torch.randn_like(f), batch=batch)
    value.backward()
    assert value == 0  # a distribution over one element is the same on both sides


def test_bad_input():
    rows = double(4, 3)
    for batch in (None, torch.zeros(4, dtype=torch.long)):
        with pytest.raises(ConfigError, match="tau is 0"):
            channel_kl(rows, rows, 0, batch)
    with pytest.raises(DataError, match="as many channels"):
        channel_kl(rows, double(4, 2))
