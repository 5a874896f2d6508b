import pytest
import torch
from torch import nn

from structkd.adapters.layouts import as_map, as_prefix, as_rows, as_vector, has_class_token, owner, token_grid
from structkd.errors import WiringError


def test_owner_is_the_innermost_that_says():
    model = nn.Sequential(nn.Sequential(nn.Linear(1, 1)), nn.Linear(1, 1))
    assert owner(model, "0.0", "tokens") is None
    model.tokens = 1
    assert owner(model, "0.0", "tokens") == owner(model, "1", "tokens") == owner(model, "", "tokens") == 1
    model[0].tokens = 2
    assert owner(model, "0.0", "tokens") == 2 and owner(model, "1", "tokens") == 1
    model[0][0].tokens = None
    assert owner(model, "0.0", "tokens") == 2


def test_who_has_a_class_token():
    model = nn.Sequential(nn.Sequential(nn.Linear(1, 1)))
    assert has_class_token(model, "0.0") is None
    model[0].cls_token = nn.Parameter(torch.zeros(1))
    assert has_class_token(model, "0.0") is None  # timm's CaiT: some layers know it, others do not
    model[0].cls_token = None
    model.cls_token = nn.Parameter(torch.zeros(1))
    assert has_class_token(model, "0.0") is False and has_class_token(model, "") is None
    for told in (True, False):
        model.has_class_token = told
        assert has_class_token(model, "0.0") is has_class_token(model, "") is told


@pytest.mark.parametrize(
    "tokens, size, grid",
    [
        (64, (32, 32), (8, 8)),
        (1, (32, 32), (1, 1)),
        (0, (32, 32), None),
        (6, (32, 32), None),
        (65, (32, 32), None),
        (32, (32, 64), (4, 8)),
        (32, (64, 32), (8, 4)),
        (8, (32, 64), (2, 4)),
        (65, (32, 64), None),
        (24 * 80, (375, 1242), (24, 80)),  # patches of 16, the last ones partial
        (23 * 77, (375, 1242), (23, 77)),
    ],
)
def test_token_grid(tokens, size, grid):
    assert token_grid(tokens, size) == grid


def test_maps_stay_and_channels_last_are_turned_round():
    x = torch.randn(2, 5, 4, 4)
    assert as_map(x, (32, 32)) is x
    assert torch.equal(as_map(x.permute(0, 2, 3, 1), (32, 32)), x)
    y = torch.randn(2, 8, 4, 8)  # channels first: 4 x 8; read the other way, 8 x 4 cells
    assert as_map(y, (32, 64)) is y
    assert torch.equal(as_map(y.permute(0, 2, 3, 1), (32, 64)), y)


def test_channels_last_in_memory_is_no_matter():
    x = torch.randn(2, 5, 4, 4).to(memory_format=torch.channels_last)
    assert as_map(x, (32, 32)) is x


def test_both_readings_fit():
    x = torch.randn(2, 4, 4, 4)
    assert as_map(x, (32, 32)) is x
    assert torch.equal(as_map(x, (32, 32), channels_last=True), x.permute(0, 3, 1, 2))
    assert as_map(x, (32, 64), channels_last=False) is x


def test_neither_reading_fits():
    with pytest.raises(WiringError, match=r"\(2, 3, 4, 5\).*32 x 32 pixels. Give channels_last"):
        as_map(torch.randn(2, 3, 4, 5), (32, 32))


def test_tokens_lose_their_prefix_and_lie_row_by_row():
    cells = torch.arange(8.0).reshape(2, 4)
    x = torch.cat([torch.full((3,), -1.0), cells.flatten()])[None, :, None].expand(1, 11, 2)
    found = as_map(x, (32, 64), prefix=3)
    assert found.shape == (1, 2, 2, 4) and torch.equal(found[0, 0], cells)
    assert torch.equal(as_map(x, (32, 32), 3, grid=(4, 2))[0, 1], cells.reshape(4, 2))


@pytest.mark.parametrize(
    "shape, arguments, message",
    [
        ((1, 65, 2), {}, r"\(1, 65, 2\); after 0 prefix tokens 65 are left.*32 x 32 pixels. Give prefix_tokens"),
        ((1, 65, 2), {"prefix": 1, "grid": (7, 9)}, r"64 are left.*the grid \(7, 9\)"),
        ((1, 2), {}, r"\(1, 2\); a map is read from"),
    ],
)
def test_what_is_no_map(shape, arguments, message):
    with pytest.raises(WiringError, match=message):
        as_map(torch.zeros(shape), (32, 32), **arguments)


def test_vectors():
    x = torch.randn(2, 3)
    assert as_vector(x) is x
    assert torch.equal(as_vector(x[:, :, None, None]), x)
    tokens = torch.randn(2, 5, 3)
    assert torch.equal(as_vector(tokens, 1), tokens[:, 0])
    for shape in ((2, 5, 3), (2, 3, 2, 2), (2,)):
        with pytest.raises(WiringError, match="Tap the pooling"):
            as_vector(torch.zeros(shape))
    assert torch.equal(as_vector(tokens, 1, class_token=True), tokens[:, 0]) and as_vector(x, 0, False) is x
    for prefix in (0, 2):
        with pytest.raises(WiringError, match=r"\(2, 5, 3\).* no class token; tap the pooling instead"):
            as_vector(tokens, prefix, class_token=False)


def test_prefix():
    tokens = torch.randn(2, 5, 3)
    assert torch.equal(as_prefix(tokens, 2), tokens[:, :2])
    for prefix in (0, 6):
        with pytest.raises(WiringError, match=f"{prefix} prefix tokens; expected tokens"):
            as_prefix(tokens, prefix)


def test_rows_by_hand():
    grid = torch.arange(12.0).reshape(2, 1, 2, 3)
    mask = torch.tensor([[[True, False, True]], [[False, False, True]]])
    rows = as_rows(grid, torch.tensor([7, 3]), mask)
    assert rows["x"].flatten().tolist() == list(range(12))
    assert rows["pos"][:6].tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert rows["batch"].tolist() == [0] * 6 + [1] * 6
    assert rows["n_id"].tolist() == [*range(42, 48), *range(18, 24)] and rows["image_id"].tolist() == [7, 3]
    assert rows["mask"].tolist() == [True, False, True] * 2 + [False, False, True] * 2
    assert as_rows(grid)["n_id"].tolist() == list(range(12)) and "mask" not in as_rows(grid)
    assert as_rows(grid)["image_id"].tolist() == [0, 1]


def test_no_images():
    rows = as_rows(torch.zeros(0, 3, 2, 2), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 2, 2, dtype=torch.bool))
    names = ("x", "pos", "batch", "n_id", "image_id", "mask")
    assert {name: len(value) for name, value in rows.items()} == dict.fromkeys(names, 0)
    assert rows["x"].shape == (0, 3)
