import math

import pytest
import torch
import torch.nn.functional as F

from structkd.errors import DataError
from structkd.losses import token_contrast


def sides(n=9):
    return torch.randn(n, 4, dtype=torch.float64).requires_grad_(), torch.randn(n, 4, dtype=torch.float64)


def test_plain_form_in_float64():
    f_s, f_t = sides()
    cosine = F.cosine_similarity(f_s.unsqueeze(1), f_t.unsqueeze(0), dim=-1)
    plain = F.cross_entropy(cosine / 0.2, torch.arange(9))
    ours = token_contrast(f_s, f_t, 0.2)
    assert torch.allclose(ours, plain, rtol=1e-12)
    assert torch.allclose(*(torch.autograd.grad(value, f_s)[0] for value in (ours, plain)), atol=1e-12)
    assert torch.autograd.gradcheck(lambda f: token_contrast(f, f_t, 0.2), f_s)


def test_lengths_do_not_matter():
    f_s, f_t = sides()
    assert torch.allclose(token_contrast(f_s * 7, f_t * torch.rand(9, 1).double()), token_contrast(f_s, f_t))


def test_what_equal_sides_leave():
    opposite = torch.tensor([[2.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    assert token_contrast(opposite, opposite, 0.5).item() == pytest.approx(math.log1p(math.exp(-4)), abs=1e-14)
    alike = torch.tensor([[1.0, 0.1], [1.0, -0.1]], dtype=torch.float64)
    away = torch.tensor([[0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
    assert token_contrast(away, alike) < token_contrast(alike, alike)  # the docstring's warning


def test_single_empty_and_zero_rows():
    f_s, f_t = sides(1)
    assert token_contrast(f_s, f_t).abs() < 1e-12 and token_contrast(f_s[:0], f_t[:0]) == 0
    nothing = torch.zeros(3, 4, requires_grad=True)
    loss = token_contrast(nothing, torch.randn(3, 4))
    assert loss.item() == pytest.approx(math.log(3), rel=1e-6)
    assert torch.autograd.grad(loss, nothing)[0].isfinite().all()


def test_half_precision_is_summed_in_float32():
    f_s, f_t = (side.detach().half() for side in sides())
    assert token_contrast(f_s, f_t).dtype == torch.float32


def test_other_channels_need_a_projection():
    with pytest.raises(DataError, match="projection"):
        token_contrast(torch.ones(3, 4), torch.ones(3, 5))
