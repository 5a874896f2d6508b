import torch

from structkd.datasets.images.draws import uniforms


def test_numbers_are_a_function_of_key_and_row():
    rows = torch.tensor([5, 0, 2**40, 5])
    whole = uniforms(rows, 7, 3, 1)
    assert whole.shape == (4, 7) and torch.equal(whole[0], whole[3])
    assert torch.equal(uniforms(rows[1:3], 7, 3, 1), whole[1:3])
    assert torch.equal(uniforms(rows, 4, 3, 1), whole[:, :4])
    keys = [(3,), (3, 0), (3, 1), (1, 3), (3, 1, 0), (2, 1)]
    assert len({uniforms(rows[:1], 1, *key).item() for key in keys}) == len(keys)
    assert uniforms(rows[:0], 3, 1).shape == (0, 3) and uniforms(rows, 0, 1).shape == (4, 0)


def test_neighbours_are_unrelated_and_uniform():
    u = uniforms(torch.arange(2000), 10, 0, 0)
    assert float(u.min()) >= 0 and float(u.max()) < 1 and u.unique().numel() == u.numel()
    counts = torch.histc(u, 20, 0, 1)
    assert float(((counts - 1000) ** 2 / 1000).sum()) < 44  # chi square of 19 degrees, p = 0.001
    for other in (
        u.roll(1, 0),
        u.roll(1, 1),
        uniforms(torch.arange(2000), 10, 0, 1),
        uniforms(torch.arange(2000), 10, 1, 0),
    ):
        correlation = torch.corrcoef(torch.stack([u.flatten(), other.flatten()]))[0, 1]
        assert abs(float(correlation)) < 0.03
