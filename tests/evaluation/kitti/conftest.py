import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def reference():
    """The literal evaluation in reference.py; tests are no package, so it is loaded by its path."""
    spec = importlib.util.spec_from_file_location("kitti_reference", Path(__file__).with_name("reference.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
