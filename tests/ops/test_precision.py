import torch

from structkd.ops.precision import inner_products


def test_products_are_not_rounded_under_autocast():
    a, b = torch.randn(5, 3, requires_grad=True), torch.randn(4, 3)
    expected = torch.stack([torch.stack([(x * y).sum() for y in b]) for x in a])
    with torch.autocast("cpu", torch.bfloat16):
        assert (a @ b.t()).dtype == torch.bfloat16
        products = inner_products(a, b)
    assert products.dtype == torch.float32 and torch.allclose(products, expected)
    (gradient,) = torch.autograd.grad(products.sum(), a)
    assert torch.allclose(gradient, b.sum(0).expand(5, 3))
    assert inner_products(a[:0], b).shape == (0, 4)
