"""A distiller is imported into a plain training loop without the training framework."""

import subprocess
import sys

HEAVY = ("mmengine", "mmdet3d", "open3d", "sklearn", "matplotlib")


def test_importing_a_distiller_brings_no_framework():
    code = (
        "import sys; from structkd.distillers import FFG2M; "
        f"loaded = [name for name in {HEAVY} if name in sys.modules]; "
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
