import numpy as np
import pytest
import torch

pytest.importorskip("matplotlib")

from structkd.distillers import TRG
from structkd.distillers.grids import resized
from structkd.errors import DataError
from structkd.losses import gaussian_weights
from structkd.visualization import tokens
from structkd.visualization.tokens import Relations, TokenMaps, plot_token_relations, token_relations

IMAGES = [torch.randint(256, (3, 32, 48), dtype=torch.uint8) for _ in range(2)]


def line(*values):
    """Two images of one row of tokens, each token a number."""
    return torch.tensor(values).view(2, 1, 1, -1)


def test_relations_by_hand():
    # Tokens 0, 1, 2 of the first image at 0, 10, 20; tokens 3, 4, 5 of the second at 1, 11, 100.
    graph = token_relations(line(0.0, 10, 20, 1, 11, 100), torch.tensor([0, 4]), 2)
    assert graph.neighbor.tolist() == [[3, 1], [1, 2]]
    squares = torch.tensor([[1, 100], [1, 81.0]])  # each token's in units of their mean, as TRG has them
    assert torch.allclose(graph.weight, torch.exp(-squares / squares.mean(1, keepdim=True)))


def test_relations_are_weighed_as_trg_does():
    maps = torch.randn(2, 3, 2, 4)
    graph = token_relations(maps, torch.arange(16), 5)
    x = maps.permute(0, 2, 3, 1).flatten(0, 2)
    square = (x[graph.query][:, None] - x[graph.neighbor]).square().sum(2).flatten()
    options = TRG(3, 3).local_options
    row = graph.query.repeat_interleave(5)
    expected = gaussian_weights(square, options["sigma"], options["unit"], row).view(16, 5)
    torch.testing.assert_close(graph.weight, expected)


def test_shared_relations():
    query, weight = torch.tensor([0, 1]), torch.ones(2, 2)
    one = Relations(query, torch.tensor([[1, 2], [0, 3]]), weight)
    other = Relations(query, torch.tensor([[2, 3], [4, 5]]), weight)
    assert one.shared(other).tolist() == [[False, True], [False, False]]
    assert one.shared(one).all()


def test_a_picture_of_three_networks(tmp_path, monkeypatch):
    from matplotlib.image import imread

    titles = []
    frame = tokens.save
    monkeypatch.setattr(tokens, "save", lambda figure, path: titles.extend(_titles(figure)) or frame(figure, path))
    teacher = torch.randn(2, 5, 7, 7)  # of another grid, and more channels
    student = resized(teacher, (4, 6))
    panels = [TokenMaps("teacher", teacher), TokenMaps("plain", student[:, :2]), TokenMaps("distilled", 3 * student)]
    path = plot_token_relations(tmp_path / "deep" / "tokens.png", IMAGES, panels, k=4, title="two images")
    image = imread(path)
    assert image.shape[0] > 900 and image.shape[1] > 900 and image.std() > 0.1
    assert titles[0] == "teacher" and titles[2] == "distilled: 20 of the teacher's 20 relations"
    assert titles[1].startswith("plain: ") and titles[1] != "plain: 20 of the teacher's 20 relations"


def _titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes]


@pytest.mark.parametrize("size", [(1, 2), (5, 5), (6, 3)])
def test_small_grids_and_arrays(tmp_path, size):
    panel = TokenMaps("teacher", torch.randn(1, 3, *size))
    path = plot_token_relations(tmp_path / "a.png", [np.zeros((3, 8, 8), np.uint8)], [panel], k=99)
    assert path.stat().st_size > 1000


def test_queries_are_chosen_far_apart_and_inside():
    maps = torch.zeros(2, 1, 6, 6)
    maps[1, 0, 3, 3] = 5.0
    chosen = tokens._spread(maps, 2).tolist()
    assert chosen == [3 * 6 + 3, 36 + 3 * 6 + 3]
    assert tokens._spread(torch.randn(1, 2, 2, 2), 5).sort().values.tolist() == [0, 1, 2, 3]


def test_bad_input(tmp_path):
    panel = TokenMaps("teacher", torch.randn(2, 3, 2, 2))
    with pytest.raises(DataError, match="2 images and 0 panels"):
        plot_token_relations(tmp_path / "a.png", IMAGES, [])
    with pytest.raises(DataError, match=r"'teacher' have shape \(2, 3, 2, 2\) for 1 images"):
        plot_token_relations(tmp_path / "a.png", IMAGES[:1], [panel])
    with pytest.raises(DataError, match=r"8 tokens and the queries \[8\]"):
        plot_token_relations(tmp_path / "a.png", IMAGES, [panel], query=[8])
    with pytest.raises(DataError, match="1 tokens"):
        plot_token_relations(tmp_path / "a.png", IMAGES[:1], [TokenMaps("one", torch.randn(1, 3, 1, 1))])
