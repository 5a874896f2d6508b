import json
import os
import subprocess
import sys
from pathlib import Path

INFO = Path(__file__).resolve().parents[2] / "tools" / "info.py"


def run(*args: object, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, INFO, *map(str, args)], capture_output=True, text=True, env=os.environ | environment
    )


def test_table_and_json(tmp_path):
    done = run("--json", tmp_path / "info.json", STRUCTKD_BACKEND="spmm=gather")
    assert done.returncode == 0, done.stderr
    info = json.loads((tmp_path / "info.json").read_text())
    assert {"torch", "torch-geometric", "mmengine"} <= {row["package"] for row in info["packages"]}
    assert info["devices"][0].startswith("cpu")
    spmm = {row["backend"]: row for row in info["ops"]["spmm"]}
    assert spmm["gather"]["forced"] and spmm["gather"]["reference"] and not spmm["csr"]["forced"]
    for name in info["ops"]:
        assert name in done.stdout
    assert "forced by STRUCTKD_BACKEND" in done.stdout


def test_bad_environment_is_one_line():
    done = run(STRUCTKD_BACKEND="spmm=gathr")
    assert done.returncode == 2
    assert done.stderr.startswith("ConfigError: Op spmm has no backend 'gathr'. Nearest: gather.")
    assert "Traceback" not in done.stderr
