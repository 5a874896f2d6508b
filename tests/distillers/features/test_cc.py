import pytest
import torch

from structkd import Structure
from structkd.distillers import CC
from structkd.errors import ConfigError
from structkd.losses import consecutive_product, correlation_congruence


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def test_the_paper_s_loss():
    f_s, f_t = double(5, 3), double(5, 6)
    sides = Structure(embedding=f_s), Structure(embedding=f_t)
    assert torch.equal(CC()(*sides)["correlation"], correlation_congruence(f_s, f_t, "polynomial", 0.4, 2))
    other = CC(kernel="gaussian", gamma=1.5)(*sides)["correlation"]
    assert torch.equal(other, correlation_congruence(f_s, f_t, "gaussian", 1.5))
    assert not list(CC().parameters())


def test_the_common_code_s_loss_is_another_one():
    torch.manual_seed(0)
    distiller = CC(variant="repdistiller", student_channels=3, teacher_channels=6, channels=4).double()
    f_s, f_t, order = double(5, 3), double(5, 6), torch.tensor([0, 2, 4, 1, 3])
    e_s = f_s @ distiller.embed_student.weight.t() + distiller.embed_student.bias
    e_t = f_t @ distiller.embed_teacher.weight.t() + distiller.embed_teacher.bias
    value = distiller(Structure(embedding=f_s), Structure(embedding=f_t))["correlation"]
    assert torch.allclose(value, consecutive_product(e_s, e_t))
    shuffled = distiller(Structure(embedding=f_s[order]), Structure(embedding=f_t[order]))["correlation"]
    assert not torch.allclose(shuffled, value)
    value.backward()
    assert all(p.grad.abs().max() > 0 for p in distiller.parameters())


def test_bad_settings():
    with pytest.raises(ConfigError, match="needs student_channels and teacher_channels"):
        CC(variant="repdistiller", student_channels=3)
    with pytest.raises(ConfigError, match="variant='code'"):
        CC(variant="code")
    with pytest.raises(ConfigError, match="kernel='rbf'"):
        CC(kernel="rbf")
    for options in ({"gamma": 0}, {"order": -1}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            CC(**options)
