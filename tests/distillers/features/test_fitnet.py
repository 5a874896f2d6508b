import torch

from structkd import Structure
from structkd.distillers import FitNet


def test_is_the_mean_squared_error_through_the_connector():
    distiller = FitNet(3, 5, field="backbone_0").double()
    f_s, f_t = torch.randn(2, 3, 4, 6, dtype=torch.float64), torch.randn(2, 5, 4, 6, dtype=torch.float64)
    weight, bias = distiller.connector.weight, distiller.connector.bias
    expected = 0
    for b in range(2):
        for i in range(4):
            for j in range(6):
                expected = expected + (weight @ f_s[b, :, i, j] + bias - f_t[b, :, i, j]).square().sum()
    losses = distiller(Structure(backbone_0=f_s), Structure(backbone_0=f_t))
    assert torch.allclose(losses["hint"], expected / (2 * 4 * 6 * 5))
