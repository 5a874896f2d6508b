import pytest
import torch

from structkd.backends import import_timm
from structkd.errors import ConfigError


@pytest.fixture
def count():
    """Number of parameters of a model that is only described, so that large ones cost nothing."""

    def parameters(build, *args, **kwargs):
        with torch.device("meta"):
            model = build(*args, **kwargs)
        return sum(p.numel() for p in model.parameters())

    return parameters


@pytest.fixture(scope="session")
def timm():
    try:
        return import_timm()
    except ConfigError as error:
        pytest.skip(str(error))
