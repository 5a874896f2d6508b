import math

import pytest
import torch
from torch_geometric.data import Data

from structkd import Structure
from structkd.engine.objectives import Classification, LinkPrediction
from structkd.errors import DataError


def test_classification_reads_labelled_rows_only():
    logits = torch.tensor([[0.0, math.log(3)], [5.0, -5.0], [0.0, 0.0]], requires_grad=True)
    batch = Data(y=torch.tensor([1, -1, 0]), label_scale=0.25)
    loss = Classification().loss(Structure(logits=logits), batch)["task"]
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 4)
    loss.backward()
    assert not logits.grad[1].any()


def test_classification_of_label_matrices():
    batch = Data(y=torch.tensor([[1.0, 0.0], [-1.0, -1.0]]), label_scale=1.0)
    loss = Classification().loss(Structure(logits=torch.tensor([[0.0, math.log(3)], [9.0, 9.0]])), batch)["task"]
    assert loss.item() == pytest.approx((math.log(2) + math.log(4)) / 2)


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_link_prediction_leaves_candidates_out(shape):
    logits = torch.tensor([0.0, math.log(3), 7.0, -7.0]).view(shape).requires_grad_()
    batch = Data(y=torch.tensor([1.0, 0.0, -1.0, -1.0]), label_scale=0.5)
    loss = LinkPrediction().loss(Structure(logits=logits), batch)["task"]
    assert loss.item() == pytest.approx((math.log(2) + math.log(4)) / 2)
    loss.backward()
    assert logits.grad.view(-1).tolist() == pytest.approx([-0.25, 0.375, 0, 0])


def test_sizes_that_do_not_fit_are_named():
    with pytest.raises(DataError, match="3 rows of logits for 2 labels"):
        Classification().loss(Structure(logits=torch.zeros(3, 2)), Data(y=torch.zeros(2).long()))
    with pytest.raises(DataError, match=r"shape \(3, 2\) for 3 pairs"):
        LinkPrediction().loss(Structure(logits=torch.zeros(3, 2)), Data(y=torch.zeros(3)))
