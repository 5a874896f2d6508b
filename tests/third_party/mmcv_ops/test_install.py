"""`install()` with a stand-in for mmcv-lite, each case in a process of its own: what was imported cannot be undone."""

import os
import subprocess
import sys
import textwrap

import pytest


@pytest.fixture
def stack(tmp_path):
    """A folder with packages mmcv 2.1.0 (whose ops want an extension) and mmdet, and a way to run code beside them."""

    def package(name, version, **files):
        info = tmp_path / f"{name}-{version}.dist-info"
        info.mkdir()
        module = name.partition("_")[0]
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "top_level.txt").write_text(f"{module}\n")
        (info / "RECORD").write_text(f"{module}/__init__.py,,\n")
        for file, text in {"__init__.py": "", **files}.items():
            path = tmp_path / module / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))

    ops = """
        import importlib
        extension = importlib.import_module("mmcv._ext")
        for name in ("nms", "deform_conv_forward"):
            assert hasattr(extension, name)
    """
    package("mmcv", "2.1.0", **{"ops/__init__.py": ops})

    def run(code, **environment):
        path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **environment},
        )

    run.package, run.folder = package, tmp_path
    return run


def good(done):
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_takes_the_place_of_the_extension(stack):
    code = """
        import importlib.util, pkgutil, sys
        import mmcv_ops
        assert not any(name.split(".")[0] in ("mmcv", "mmengine", "mmdet3d") for name in sys.modules)
        assert mmcv_ops.info().source == "none"
        info = mmcv_ops.install()
        assert info.source == "mmcv_ops" and "nms" in info.operators and "deform_conv_forward" in info.missing
        assert mmcv_ops.install() == info == mmcv_ops.info()
        assert "mmcv" not in sys.modules
        import mmcv.ops
        from mmcv import _ext
        assert mmcv.ops.extension is _ext and _ext.nms is mmcv_ops.OPERATORS["nms"].run
        assert importlib.util.find_spec("mmcv._ext") is _ext.__spec__
        try:
            _ext.deform_conv_forward(1, 2)
        except NotImplementedError as error:
            print(error)
        assert not hasattr(_ext, "__wrapped__")
    """
    assert "'deform_conv_forward' (mmcv.ops.deform_conv) is not among" in good(stack(code))


def test_too_late_is_an_error(stack):
    stack.folder.joinpath("mmcv/ops/__init__.py").write_text("")
    done = stack("import mmcv.ops, mmcv_ops; mmcv_ops.install()")
    assert "ConfigError: mmcv.ops was imported before mmcv_ops.install()" in done.stderr


def test_a_compiled_extension_is_used_unless_asked_otherwise(stack):
    stack.folder.joinpath("mmcv/_ext.py").write_text("nms = deform_conv_forward = 'compiled'")
    code = """
        import mmcv_ops
        info = mmcv_ops.install()
        import mmcv.ops
        assert mmcv.ops.extension.nms == "compiled"
        print(mmcv_ops.info())
        try:
            mmcv_ops.install(force=True)
        except Exception as error:
            print(error)
    """
    printed = good(stack(code))
    assert "runs on the compiled extension" in printed and "_ext.py" in printed
    assert "call it in a new process" in printed
    code = """
        import mmcv_ops
        print(mmcv_ops.install(force=True).source)
        import mmcv.ops
        assert callable(mmcv.ops.extension.nms)
    """
    assert good(stack(code)).strip() == "mmcv_ops"


def test_versions_that_do_not_fit_are_named(stack):
    stack.package("mmdet", "2.28.0")
    code = "import mmcv_ops; print(mmcv_ops.install().source)"
    assert "mmdet 2.28.0 (expected 3.0.x, 3.1.x, 3.2.x, 3.3.x)" in stack(code).stderr
    assert good(stack(code, STRUCTKD_ANY_VERSION="1")).strip() == "mmcv_ops"


def test_started_processes_install_too(stack):
    stack.folder.joinpath("user.py").write_text(
        "import mmcv.ops\n\ndef work(queue):\n    import mmcv_ops\n    queue.put(mmcv_ops.info().source)\n"
    )
    code = """
        import multiprocessing
        if __name__ == "__main__":
            import mmcv_ops
            mmcv_ops.install()
            import user
            context = multiprocessing.get_context("spawn")
            queue = context.Queue()
            process = context.Process(target=user.work, args=(queue,))
            process.start()
            process.join(60)
            assert process.exitcode == 0
            print(queue.get(timeout=10))
    """
    assert good(stack(code)).strip() == "mmcv_ops"
