import copy

import torch
from torch import nn

from structkd.models.modules import Record, Recorder, owed_losses, recorded


class Note(Record):
    def __init__(self, **losses):
        self.losses = losses


class Noting(Recorder):
    def forward(self, x):
        return Note(size=x.sum(), **({"odd": x.new_tensor(5.0)} if len(x) % 2 else {}))


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = Noting(), Noting()

    def forward(self, x):
        self.second(x), self.first(x[1:]), self.second(2 * x)
        return x


def test_records_of_a_pass_and_nothing_left_behind():
    model = Two()
    with recorded(model) as records:
        model(torch.ones(2, requires_grad=True))
    assert list(records) == ["first", "second"] and float(records["second"].losses["size"]) == 4
    kept = dict(records)
    copy.deepcopy(model)(torch.ones(2))
    model(torch.ones(5))
    assert records == kept and not model.first._forward_hooks


def test_losses_are_means_over_those_who_owe_them():
    with recorded(model := Two()) as records:
        model(torch.ones(2))
    assert {name: float(value) for name, value in owed_losses(records).items()} == {"size": 2.5, "odd": 5}
    assert owed_losses({}) == {}
