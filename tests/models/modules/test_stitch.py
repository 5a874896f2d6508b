"""Stitches between tokens and maps: who reads whom, against sums written out, and what cannot be joined."""

import pytest
import torch
from torch import nn

from structkd.errors import ConfigError, WiringError
from structkd.models import ConvNet, Hybrid, ModularView, Stitch, Stitched, ViT
from structkd.models.modules.view import Boundary


def stitch(before, after, kind="linear"):
    return Stitch(Boundary(before), Boundary(after), kind).double()


def test_a_finer_map_becomes_tokens_of_its_cells():
    """Token (i, j) is a linear map of the 2 x 2 block of cells that it covers, as of a patch embedding."""
    join = stitch((3, 4, 4), (4, 5))
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    weight, bias = join.proj.weight, join.proj.bias
    tokens = join(x)
    assert tokens.shape == (2, 4, 5)
    for i in range(2):
        for j in range(2):
            cells = x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            expected = torch.einsum("bchw,ochw->bo", cells, weight) + bias
            torch.testing.assert_close(tokens[:, 2 * i + j], expected)


def test_tokens_become_a_finer_map():
    """Cell (i, j) of the map is a linear map, one for each place in a block, of the token that covers it."""
    join = stitch((4, 5), (3, 4, 4))
    x = torch.randn(2, 4, 5, dtype=torch.float64)
    weight, bias = join.proj.weight, join.proj.bias
    cells = join(x)
    assert cells.shape == (2, 3, 4, 4)
    for i in range(4):
        for j in range(4):
            token = x[:, 2 * (i // 2) + j // 2]
            expected = token @ weight[:, :, i % 2, j % 2] + bias
            torch.testing.assert_close(cells[:, :, i, j], expected)


@pytest.mark.parametrize(
    "before, after",
    [((3, 8, 8), (16, 5)), ((3, 2, 2), (16, 5)), ((16, 5), (3, 2, 2)), ((16, 5), (3, 4, 4)), ((3, 4, 6), (6, 5)),
     ((6, 5), (3, 2, 3)), ((3, 7, 7), (16, 5)), ((16, 5), (3, 7, 7)), ((3, 8, 8), (5, 4, 6)), ((7,), (3,)),
     ((3, 1, 1), (1, 5)), ((3, 8, 8), (3, 2, 2))],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["linear", "norm"])
def test_shapes_and_gradients(before, after, kind):
    join = stitch(before, after, kind)
    x = torch.randn(2, *before, dtype=torch.float64, requires_grad=True)
    out = join(x)
    assert out.shape == (2, *after)
    out.square().sum().backward()
    assert x.grad is not None and bool((x.grad != 0).all())
    assert all(p.grad is not None for p in join.parameters())


def test_without_weights_tokens_and_cells_are_the_same_numbers():
    x = torch.randn(2, 6, 5, dtype=torch.float64)
    there, back = stitch((6, 5), (5, 2, 3), "none"), stitch((5, 2, 3), (6, 5), "none")
    assert not list(there.parameters())
    assert torch.equal(there(x)[:, :, 1, 2], x[:, 5]) and torch.equal(back(there(x)), x)
    assert isinstance(Stitch(Boundary((4, 7)), Boundary((4, 7)), "none").proj, nn.Identity)


def test_the_norm_is_that_of_what_comes_in():
    assert isinstance(stitch((4, 5), (3, 2, 2), "norm").norm, nn.LayerNorm)
    assert isinstance(stitch((3, 2, 2), (4, 5), "norm").norm, nn.GroupNorm)


@pytest.mark.parametrize(
    "error, words, before, after, kind",
    [
        (WiringError, r"\(17, 5\) into \(3, 4, 4\).*a grid of the map's proportions", (17, 5), (3, 4, 4), "linear"),
        (WiringError, r"\(3, 4, 4\) into \(0, 5\)", (3, 4, 4), (0, 5), "linear"),
        (WiringError, r"\(8, 5\) into \(3, 4, 4\)", (8, 5), (3, 4, 4), "linear"),
        (WiringError, r"\(5,\) into \(3, 4, 4\)", (5,), (3, 4, 4), "linear"),
        (WiringError, r"\(5,\) into \(3, 5\).*equally many tokens", (5,), (3, 5), "linear"),
        (WiringError, r"\(4, 5\) into \(3, 5\)", (4, 5), (3, 5), "linear"),
        (ConfigError, "equal widths, not 5 and 3", (4, 5), (3, 2, 2), "none"),
    ],
)
def test_what_cannot_be_joined(error, words, before, after, kind):
    with pytest.raises(error, match=words):
        Stitch(Boundary(before), Boundary(after), kind)


@pytest.mark.parametrize("index", range(3))
def test_a_transformers_module_in_a_convolutional_network(index):
    """Its logits are those of the composed modules, the frozen parts do not move, and all modules make the student."""
    meta = ConvNet(5, channels=(4, 6, 8))
    source = ViT(5, width=8, depth=3, heads=2, image_size=8, patch_size=2, pool="mean")
    splits, outer_splits = ["blocks.1", "blocks.2"], ["layer2", "layer3"]
    hybrid = Hybrid(meta, source, index, splits, outer_splits, image_size=8)
    outer, inner = ModularView(meta, outer_splits, image_size=8), ModularView(source, splits, image_size=8)
    images = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        x = outer.forward_range(images, 0, index)
        x = hybrid.post(inner.forward_range(hybrid.pre(x), index, index + 1))
        meta.eval()
        assert torch.equal(hybrid.eval()(images), outer.forward_range(x, index + 1))
    hybrid.train()(images).logsumexp(1).sum().backward()
    for name, parameter in hybrid.named_parameters():
        assert (parameter.grad is None) == name.startswith(("prefix.", "suffix.")), name
    stitched = Stitched(source, meta, splits, outer_splits, image_size=8)
    assert stitched(images).shape == (4, 5)
