import torch

from structkd.ops.ragged import table_places


def test_hand_computed():
    count = torch.tensor([2, 0, 5, 1])
    assert table_places(count, 3).tolist() == [[0, 1, 0], [2, 2, 2], [2, 3, 4], [7, 7, 7]]
    assert table_places(count, 5, cyclic=True).tolist()[0] == [0, 1, 0, 1, 0]
    assert table_places(count, 5, cyclic=True).tolist()[2:] == [[2, 3, 4, 5, 6], [7] * 5]
    assert table_places(count[:0], 4).shape == (0, 4)
