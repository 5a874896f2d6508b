import os
import subprocess
import sys

import pytest
import torch

import structkd.ops  # noqa: F401  (fills OPS)
from structkd import backends
from structkd.backends import ENV, OPS, Backend, Op, devices, use_backend, version
from structkd.errors import ConfigError, DataError


@pytest.fixture
def op():
    """Three backends; the first takes positive numbers only."""
    made = Op(
        "demo",
        [
            Backend("picky", lambda x: "picky", lambda x=1: [] if x > 0 else ["x is negative", "x is bad"]),
            Backend("spare", lambda x: "spare"),
            Backend("plain", lambda x: "plain"),
        ],
    )
    yield made
    del OPS["demo"]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    monkeypatch.delenv(ENV, raising=False)


def test_version_by_package_and_by_import_name():
    assert version("torch") == str(torch.__version__)
    assert version("torch-geometric") == version("torch_geometric") is not None
    assert version("no-such-package") is None


def test_version_finds_the_owner_of_an_import_name(monkeypatch):
    version.cache_clear()
    monkeypatch.setattr(backends, "_owners", lambda: {"pointcloud": ["torch"]})
    assert version("pointcloud") == str(torch.__version__)
    version.cache_clear()


def test_devices_lists_the_cpu_first():
    assert devices()[0].startswith("cpu: 1 threads")


def test_first_backend_without_reasons_runs(op):
    assert op(1) == "picky"
    assert op(-1) == "spare"


def test_on_request_only(op):
    op.backends[1] = Backend("spare", lambda x: "spare", on_request=True)
    assert op(-1) == "plain"
    assert op(-1, backend="spare") == "spare"
    del op.backends[2]
    with pytest.raises(DataError, match="spare: runs on request only"):
        op(-1)


def test_force_by_argument(op):
    assert op(1, backend="spare") == "spare"
    assert op(1, backend="reference") == "plain"


def test_force_by_block_and_restore(op):
    with use_backend(op, "spare"):
        assert op(1) == "spare"
        with use_backend("*", "reference"):
            assert op(1) == "plain"
            assert op(1, backend="picky") == "picky"
        assert op(1) == "spare"
    assert op(1) == "picky"
    with pytest.raises(RuntimeError), use_backend("demo", "spare"):
        raise RuntimeError
    assert op(1) == "picky"


def test_star_leaves_ops_without_that_backend_alone(op):
    with use_backend("*", "gather"):
        assert op(1) == "picky"
        assert OPS["spmm"].select().name == "gather"


def test_force_by_environment(op, monkeypatch):
    monkeypatch.setenv(ENV, " *=reference, demo = spare ")
    assert op(1) == "spare"
    assert OPS["spmm"].select().name == "gather"
    with use_backend("demo", "plain"):
        assert op(1) == "plain"


def test_environment_reaches_a_new_process():
    code = "import structkd.ops as o, structkd.backends as b; print(b.OPS['spmm'].select().name)"
    run = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {ENV: "spmm=gather"}, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "gather"


def test_forced_backend_that_cannot_run_gives_its_reasons(op):
    with pytest.raises(ConfigError, match=r"'picky' of op demo was forced.*x is negative; x is bad"):
        op(-1, backend="picky")
    with use_backend("demo", "picky"), pytest.raises(ConfigError, match="x is negative"):
        op(-1)


def test_no_backend_can_run():
    Op("lame", [Backend("a", print, lambda: ["too big"]), Backend("b", print, lambda: ["too small", "too late"])])
    try:
        with pytest.raises(DataError, match=r"op lame.*a: too big\. b: too small; too late\."):
            OPS["lame"]()
    finally:
        del OPS["lame"]


@pytest.mark.parametrize(
    "target, name, message",
    [
        ("demo", "spar", "Op demo has no backend 'spar'. Nearest: spare."),
        ("dem", "spare", "no op 'dem'.*Nearest: demo"),
        ("*", "nowhere", "No op has a backend 'nowhere'"),
    ],
)
def test_unknown_names(op, monkeypatch, target, name, message):
    with pytest.raises(ConfigError, match=message), use_backend(target, name):
        pass
    monkeypatch.setenv(ENV, f"{target}={name}")
    with pytest.raises(ConfigError, match=message):
        op(1)


def test_unknown_argument_and_malformed_environment(op, monkeypatch):
    with pytest.raises(ConfigError, match="has no backend 'fast'"):
        op(1, backend="fast")
    monkeypatch.setenv(ENV, "demo:spare")
    with pytest.raises(ConfigError, match="'demo:spare'; expected op=backend pairs"):
        op(1)


#: A package that, like a torchvision of another build, asks torch for an operator that is not there.
TORCHVISION = """
import torch
from torchvision import part
torch.library.register_fake("torchvision::nms")(lambda dets, scores, iou_threshold: dets)
torch.library.register_fake("torchvision::qnms")(lambda dets, scores, iou_threshold: dets)
"""


def test_torchvision_of_another_build_is_imported(tmp_path):
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(TORCHVISION)
    (tmp_path / "torchvision" / "part.py").touch()
    (tmp_path / "timm.py").write_text("import torchvision")
    code = (
        f"import sys, torch; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from structkd.backends import import_timm, import_torchvision\n"
        "print(import_timm().__name__, import_torchvision() is sys.modules['torchvision'], torch.ops.torchvision.nms)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "timm True torchvision.nms", run.stderr


@pytest.mark.parametrize(
    "errors, message",
    [
        ([ImportError("no module")], r"torchvision does not load \(no module\).*pip install"),
        ([RuntimeError("wrong driver")], r"torchvision does not load \(wrong driver\).*pip install"),
        ([RuntimeError("operator torchvision::nms"), RuntimeError("worse")], r"torchvision does not load \(worse\)"),
        ([None, ImportError("no module")], r"timm does not load \(no module\).*pip install"),
    ],
)
def test_vision_packages_that_do_not_load(errors, message, monkeypatch):
    left = iter(errors)

    def load(name):
        if error := next(left):
            raise error

    monkeypatch.setattr(backends.importlib, "import_module", load)
    monkeypatch.setattr(backends, "_declare_torchvision_operators", lambda: None)
    monkeypatch.setitem(sys.modules, "torchvision.left_behind", sys)
    with pytest.raises(ConfigError, match=message):
        backends.import_timm()
    assert ("torchvision.left_behind" in sys.modules) == (len(errors) == 1 or errors[0] is None)
