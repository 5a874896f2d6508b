import pytest
import torch

from structkd import Structure
from structkd.distillers import SimilarityPreserving
from structkd.errors import DataError
from structkd.losses import similarity_preserving


def test_a_vector_a_sample():
    f_s, f_t = torch.randn(4, 3), torch.randn(4, 5)
    student, teacher = Structure(pooled=f_s, batch=torch.arange(4)), Structure(pooled=f_t)
    losses = SimilarityPreserving("pooled")(student, teacher)
    assert torch.equal(losses["similarity"], similarity_preserving(f_s, f_t))


def test_elements_of_samples_are_refused():
    side = Structure(torch.randn(4, 3), batch=torch.tensor([0, 0, 1, 1]))
    with pytest.raises(DataError, match=r"x \[4, 3\] holds the elements"):
        SimilarityPreserving("x")(side, side)
