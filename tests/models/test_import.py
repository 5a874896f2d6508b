import subprocess
import sys


def test_models_need_no_training_framework():
    heavy = ("mmengine", "sklearn", "matplotlib.pyplot")
    code = f"import sys, structkd.models; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.strip() == "[]"
