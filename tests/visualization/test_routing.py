import numpy as np
import pytest
import torch
from matplotlib.image import imread

from structkd.errors import DataError
from structkd.visualization.routing import RouteMap, _colours, expert_colour, plot_load, plot_routes


def layer(expert, gate=None, experts=3):
    expert = torch.tensor(expert)
    return RouteMap("block 1", expert, torch.ones(expert.shape) if gate is None else torch.tensor(gate), experts)


def test_colours_are_the_experts_and_their_strength_the_gate():
    from matplotlib.colors import to_rgb

    found = _colours(layer([[[0, 2], [-1, 0]]], [[[0.2, 0.6], [0.2, 0.4]]]), 0)
    assert found.shape == (2, 2, 4)
    assert tuple(found[0, 1, :3]) == pytest.approx(to_rgb(expert_colour(2)))
    assert found[..., 3].tolist() == [pytest.approx([0.25, 0.75]), pytest.approx([0, 0.5])]


def test_routes(tmp_path):
    images = [torch.zeros(3, 8, 8, dtype=torch.uint8), np.full((3, 8, 8), 255, np.uint8)]
    one = plot_routes(tmp_path / "one.png", images, [layer([[[0, 1], [2, 1]], [[0, 0], [-1, 1]]])], "routes")
    two = plot_routes(tmp_path / "two.png", images, [layer([[[0, 0], [0, 0]]] * 2)] * 2)
    assert imread(two).shape[0] > imread(one).shape[0] and imread(one).std() > 0.1


def test_load(tmp_path):
    found = [
        dict(epoch=e, a=dict(load=[0.5, 0.5], dropped=0.1 * e), b=dict(load=[1.0, 0.0], dropped=0.0)) for e in (1, 3)
    ]
    assert imread(plot_load(tmp_path / "load.png", found)).std() > 0.1
    assert plot_load(tmp_path / "first.png", found[:1]).is_file()


def test_wrong_inputs(tmp_path):
    image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    with pytest.raises(DataError, match="got 0 images and 1 layers"):
        plot_routes(tmp_path / "x.png", [], [layer([[[0]]])])
    with pytest.raises(DataError, match=r"'block 1' have shapes \(2, 1, 1\).* for 1 images"):
        plot_routes(tmp_path / "x.png", [image], [layer([[[0]], [[0]]])])
    with pytest.raises(DataError, match="got 1 lines without a router"):
        plot_load(tmp_path / "x.png", [dict(epoch=1)])
