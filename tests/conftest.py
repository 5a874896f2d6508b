"""What all tests share: one thread, fixed seeds, and the folder with real data where there is one."""

import os
from pathlib import Path

import pytest
import torch

# Sums come out the same on every machine, and parallel test processes do not fight over the cores.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def generator() -> torch.Generator:
    """A source of randomness of one's own, seeded."""
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with the real datasets; never write into it."""
    named = os.environ.get("STRUCTKD_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data: STRUCTKD_DATA is {named or 'not set'}" + (", no such folder" if named else ""))
    return folder
