import torch

from structkd import Structure
from structkd.distillers import PKT
from structkd.losses import probabilistic_transfer


def test_is_the_loss_of_the_vectors_and_blind_to_each_sample_s_scale():
    f_s, f_t = torch.randn(5, 3).double(), torch.randn(5, 6).double()
    value = PKT()(Structure(embedding=f_s), Structure(embedding=f_t))["neighbours"]
    assert torch.equal(value, probabilistic_transfer(f_s, f_t))
    scale = torch.rand(5, 1).double() + 0.1
    scaled = PKT()(Structure(embedding=scale * f_s), Structure(embedding=f_t))["neighbours"]
    assert torch.allclose(scaled, value)
    assert not list(PKT().parameters())
