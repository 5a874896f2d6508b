"""The shell scripts, without installing anything: `pip` is replaced by a function that records what it is asked."""

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted([*(ROOT / "tools").glob("*.sh"), ROOT / ".ci" / "run"])

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


def bash(code, **variables):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("STRUCTKD_")}
    return subprocess.run(
        ["bash", "-c", f"set -euo pipefail\n. '{ROOT}/tools/env.sh'\n{code}"],
        env=environment | {key: str(value) for key, value in variables.items()},
        capture_output=True,
        text=True,
        check=False,
    )


def script(path, body):
    path.write_text(f"#!/usr/bin/env bash\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def python_without_modules(tmp_path):
    """An interpreter of a fitting version with neither venv nor pip."""
    return script(
        tmp_path / "python-bare",
        f'if [ "$1" = -m ]; then echo "No module named $2" >&2; exit 1; fi\nexec "{sys.executable}" "$@"',
    )


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_syntax(path):
    subprocess.run(["bash", "-n", str(path)], check=True)


def test_every_pin_is_exact_and_within_the_ranges_of_the_project():
    lines = (ROOT / "third_party" / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][\w.]*(; python_version (<|>=) \"3\.11\")?", pin) for pin in pins)
    pinned = {re.split("==", pin)[0].lower().replace("_", "-") for pin in pins}
    assert {"torch", "torch-geometric", "mmengine", "onnxruntime", "pytest-xdist", "setuptools"} <= pinned


def test_python_is_found_or_named(tmp_path):
    assert bash("structkd_find_python").returncode == 0
    named = bash("structkd_find_python", STRUCTKD_PYTHON=sys.executable)
    assert named.stdout.strip() == sys.executable
    old = script(tmp_path / "python-old", "exit 1")
    assert "STRUCTKD_PYTHON=" in bash("structkd_find_python", STRUCTKD_PYTHON=old).stderr
    none = bash("structkd_fits() { return 1; }; structkd_find_python")
    assert none.returncode != 0 and "no Python from 3.10 to 3.13" in none.stderr


def test_neither_pip_nor_venv_is_a_clear_error(tmp_path, python_without_modules):
    venv = tmp_path / "env"
    done = bash("structkd_env train", STRUCTKD_PYTHON=python_without_modules, STRUCTKD_VENV=venv)
    assert done.returncode != 0
    assert "has neither a working venv module nor pip" in done.stderr
    assert not venv.exists()


def test_a_folder_that_is_no_environment_is_not_touched(tmp_path):
    (tmp_path / "file").write_text("mine")
    done = bash("structkd_env train", STRUCTKD_VENV=tmp_path)
    assert done.returncode != 0 and "is no Python environment" in done.stderr
    assert (tmp_path / "file").read_text() == "mine"


PIP = 'structkd_pip() { echo "pip $*"; case "$*" in *%s*) return 1 ;; esac; }\n'


def version():
    return re.search(r"^torch==(.*)$", (ROOT / "third_party" / "constraints.txt").read_text(), re.M)[1]


@pytest.mark.skipif(sys.platform != "linux", reason="the CPU build has a name of its own on Linux only")
def test_without_a_gpu_the_cpu_build_comes_first():
    assert bash(PIP % "nothing" + "structkd_torch cpu").stdout == f"pip torch=={version()}+cpu\n"
    fallback = bash(PIP % "+cpu" + "structkd_torch cpu").stdout.splitlines()
    assert "STRUCTKD_TORCH_INDEX" in fallback[1]
    assert fallback[2] == f"pip torch=={version()}"


def test_with_a_gpu_the_default_build_comes_first_unless_an_index_is_named():
    assert bash(PIP % "nothing" + "structkd_torch cuda").stdout == f"pip torch==={version()}\n"
    assert bash(PIP % "===" + "structkd_torch cuda").stdout.splitlines()[-1] == f"pip torch=={version()}"
    named = bash(PIP % "nothing" + "structkd_torch cuda", STRUCTKD_TORCH_INDEX="file:///wheels")
    assert named.stdout == f"pip --extra-index-url=file:///wheels torch=={version()}\n"


def test_opencv_without_its_libraries_is_replaced(tmp_path):
    """The first import fails, as without libGL; the one after the replacement works."""
    mark = tmp_path / "replaced"
    python = script(
        tmp_path / "python",
        f'case "$*" in\n"-c import cv2") [ -f "{mark}" ] || {{ echo "libGL.so.1: cannot open" >&2; exit 1; }} ;;\n'
        '*version*) echo 9.8.7 ;;\n*) echo "python $*" ;;\nesac',
    )
    code = f'PYTHON="{python}"\nstructkd_pip() {{ echo "pip $*"; touch "{mark}"; }}\nstructkd_opencv'
    done = bash(code)
    assert done.returncode == 0 and "libGL" in done.stderr
    assert done.stdout.splitlines()[-1] == "pip --force-reinstall --no-deps opencv-python-headless==9.8.7"
    assert bash(code).stdout == ""


@pytest.fixture
def ready(tmp_path):
    """An environment whose installation is recorded instead of done: `ready(extras)` gives what was asked of pip."""
    python = tmp_path / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    (tmp_path / "env" / "pyvenv.cfg").touch()
    script(python, "exit 0")

    def run(extras, more=""):
        code = (
            f'{more}\nstructkd_pip() {{ echo "pip $*" >>"{tmp_path}/asked"; }}\nstructkd_env {extras}\necho "$PYTHON"'
        )
        (tmp_path / "asked").write_text("")
        done = bash(code, STRUCTKD_VENV=tmp_path / "env")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == str(python)
        return (tmp_path / "asked").read_text()

    return run


def test_a_second_run_installs_nothing_and_extras_add_up(ready):
    assert f"--editable {ROOT}[train]" in ready("train")
    assert ready("train") == ""
    assert f"--editable {ROOT}[train,dev]" in ready("dev")
    assert ready("train") == "" and ready("dev,train") == ""


def test_a_failed_installation_is_tried_again(ready, tmp_path):
    broken = 'structkd_torch() { echo "no space left"; return 1; }'
    done = bash(f"{broken}\nstructkd_pip() {{ :; }}\nstructkd_env train", STRUCTKD_VENV=tmp_path / "env")
    assert done.returncode != 0 and "no space left" in done.stderr and "torch for" in done.stderr
    assert "--editable" in ready("train")


def test_another_kind_of_machine_installs_again(ready, tmp_path):
    ready("train")
    script(tmp_path / "nvidia-smi", 'echo "GPU 0: some card"')
    asked = ready("train", f'PATH="{tmp_path}:$PATH"')
    assert f"torch==={version()}" in asked
