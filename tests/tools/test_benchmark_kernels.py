import json
import sys
from pathlib import Path

import pytest
import torch

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture(scope="module")
def kernels():
    sys.path.insert(0, str(TOOLS))
    try:
        from benchmarks import kernels

        yield kernels
    finally:
        sys.path.remove(str(TOOLS))


def test_every_op_with_a_kernel_is_measured(kernels):
    from benchmarks.rates import Kernel

    from structkd.backends import OPS

    # Not by themselves: a part of edge_difference's layer, the plain form of nms_rotated, a part of LSP's and TRG's
    # losses, and torch's own product where it has one.
    elsewhere = {"neighbor_max", "nms", "edge_square_distance", "grouped_matmul"}
    measured = {one.op for size in kernels.SIZES for one in kernels.suite(size) if isinstance(one, Kernel)}
    assert measured | elsewhere >= {op.name for op in OPS.values() if op.has("triton")}
    assert set(kernels.CHOICE) == set(kernels.SIZES)


def test_published_forms_agree_with_the_op(kernels):
    from benchmarks.rates import Kernel

    from structkd.backends import OPS

    for kernel in kernels.suite("small"):
        if not isinstance(kernel, Kernel) or kernel.op in ("knn", "spmm"):
            continue
        torch.manual_seed(0)
        problem = kernel.make(torch.device("cpu"))
        expected = OPS[kernel.op](*problem.arguments)
        for name, form in problem.forms.items():
            torch.testing.assert_close(form(*problem.arguments), expected, rtol=1e-4, atol=1e-4, msg=name)


def test_rows_say_which_backend_ran_where(kernels):
    from benchmarks.harness import Setting

    (kernel,) = [one for one in kernels.suite("small") if one.name == "segment_sum, tiny"]
    rows = kernel.measure(Setting("kernels", "small", threads=1, repeats=1))
    details = [row.detail for row in rows if row.detail.get("backend")]
    assert {"op": "segment_sum", "backend": "scatter", "device": "cpu"}.items() <= details[-1].items()
    measures = {row.measure for row in rows}
    assert {"PyG: forward, ms", "scatter: forward + backward, ms", "scatter: % of copy bandwidth"} <= measures
    assert all(row.met is None for row in rows) or torch.cuda.is_available()  # goals are a GPU's


def test_info_says_on_which_gpu_a_kernel_was_measured(tool, tmp_path, monkeypatch):
    info = tool("info")
    monkeypatch.setattr(info, "RESULTS", tmp_path)
    row = {"detail": {"op": "spmm", "backend": "triton"}}
    machine = {"gpu": {"name": "NVIDIA H200"}, "date": "2026-11-21"}
    assert info.ran_on("spmm", "triton") == []
    (tmp_path / "kernels_cpu.json").write_text(json.dumps({"machine": {"gpu": None}, "rows": [row]}))
    assert info.ran_on("spmm", "triton") == []
    (tmp_path / "kernels_gpu.json").write_text(json.dumps({"machine": machine, "rows": [row]}))
    assert info.ran_on("spmm", "triton") == ["NVIDIA H200 (2026-11-21)"]
    assert info.ran_on("spmm", "csr") == []
