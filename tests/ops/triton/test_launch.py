"""When kernels run, and when they must not; and that they count beyond 2^31."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import structkd.ops
from structkd.backends import OPS
from structkd.errors import ConfigError
from structkd.ops import CSR, edge_difference_kl, knn, segment_sum, spmm
from structkd.ops import pieces as pieces_of
from structkd.ops.pieces import Pieces
from structkd.ops.segment import rows_by_segment
from structkd.ops.triton import launch

KERNELS = sorted((Path(structkd.ops.__file__).parent / "triton").glob("*.py"))
HERE = Path(__file__).parent


@pytest.fixture
def interpreter():
    """Triton's, that runs kernels on the CPU; results stay where they are instead of being copied onto themselves."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU to run on")
    with launch.interpreted():
        if reasons := launch.refusals():
            pytest.skip("; ".join(reasons))
        yield


def test_the_library_imports_and_runs_without_triton():
    code = (
        "import sys; sys.modules['triton'] = None\n"
        "import torch, structkd.ops, structkd.distillers\n"
        "from structkd.ops import segment_sum\n"
        "print(segment_sum(torch.ones(3), torch.tensor([0, 1, 1]), 2).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "[1.0, 2.0]"), done.stderr


def test_reasons(monkeypatch):
    x = torch.ones(3)
    monkeypatch.setattr(launch, "_installed", lambda: False)
    assert launch.refusals() == ["triton is not installed"]
    monkeypatch.setattr(launch, "_installed", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert launch.refusals() == ["no CUDA device"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert launch.refusals(x) == ["tensors are on cpu; the kernels run on cuda"]
    with launch.interpreted():
        assert launch.refusals(x, None) == []
        assert launch.refusals(x.double(), dtypes=(torch.float32,)) == ["no kernel for torch.float64"]
        assert launch.refusals(x.to("meta")) == ["tensors are on meta; the kernels run on cpu"]
    assert launch.too_wide(4096) == [] and len(launch.too_wide(4097)) == 1


def test_the_cpu_never_gets_an_interpreted_kernel_unasked():
    assert os.environ.get("TRITON_INTERPRET") == "1" or torch.cuda.is_available()
    if not torch.cuda.is_available():
        assert all(op.find("triton").why_not() for op in OPS.values() if op.has("triton"))
    with pytest.raises(ConfigError, match="was forced but cannot run"):
        segment_sum(torch.ones(2), torch.tensor([0, 1]), 2, backend="triton")


def test_pieces():
    whole = Pieces(torch.tensor([0, 3, 3, 5]), length=3)
    assert not whole.split and whole.count == 3 and whole.longest == 3 and whole.places == 0
    cut = Pieces(torch.tensor([0, 7, 7, 8, 12]), length=3)
    assert cut.split and cut.row.tolist() == [0, 0, 0, 1, 2, 3, 3]
    assert cut.start.tolist() == [0, 3, 6, 7, 7, 8, 11] and cut.end.tolist() == [3, 6, 7, 7, 8, 11, 12]
    assert cut.first.tolist() == [0, 3, 4, 5, 7]
    assert cut.place.tolist() == [0, 1, 2, -1, -1, 3, 4]
    assert cut.split_row.tolist() == [0, 3] and cut.split_start.tolist() == [0, 3, 5] and cut.places == 5
    assert Pieces(torch.tensor([0])).count == 0


def test_rows_by_segment_are_remembered_and_in_order():
    index = torch.tensor([2, 0, 2, 2, 0])
    csr = rows_by_segment(index, 4)
    assert csr.rowptr.tolist() == [0, 2, 2, 5, 5] and csr.col.tolist() == [1, 4, 0, 2, 3]
    assert rows_by_segment(index, 4) is csr


def test_every_program_counts_in_int64():
    """Row numbers times strides pass 2^31 on large graphs; Triton's own numbers are int32."""
    for file in KERNELS:
        for line in file.read_text().splitlines():
            if "tl.program_id(0)" in line or "tl.load(col" in line:
                assert ".to(tl.int64)" in line, f"{file.name}: {line.strip()}"


def far_apart(rows):
    """The same rows, 2^30 numbers from each other: the third starts beyond 2^31. Untouched memory costs nothing."""
    try:
        room = torch.empty(len(rows) * 2**30, dtype=rows.dtype)
    except RuntimeError:
        pytest.skip("the system lends no address space")
    spread = room.as_strided(rows.shape, (2**30, 1))
    spread.copy_(rows)
    return spread


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_offsets_beyond_two_to_the_31(interpreter, monkeypatch):
    from triton.runtime.interpreter import GridExecutor

    monkeypatch.setattr(GridExecutor, "_restore_args_dev", lambda *arguments: None)
    x, t = torch.randn(2, 4, 3).bfloat16()
    far, far_t = far_apart(x), far_apart(t)
    edges = torch.tensor([[3, 0, 2, 1], [0, 3, 1, 2]])
    csr = CSR.from_edges(edges, 4)
    assert torch.equal(spmm(csr, far, backend="triton"), x[[3, 2, 1, 0]])
    near = edge_difference_kl(x, t, edges, backend="triton")
    assert torch.equal(edge_difference_kl(far, far_t, edges, backend="triton"), near) and near > 0
    assert torch.equal(knn(far, 2, backend="triton")[0], knn(x, 2)[0])
    assert torch.equal(segment_sum(far, torch.tensor([1, 1, 0, 1]), 2, backend="triton")[0], x[2])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_teacher_cached_or_not_is_the_same(interpreter, monkeypatch):
    monkeypatch.setattr(pieces_of, "LENGTH", 4)
    z_s, z_t = torch.randn(2, 9, 5)
    edges = torch.randint(9, (2, 30))
    found = []
    for cached in (False, True, True):
        z = z_s.clone().requires_grad_()
        value = edge_difference_kl(z, z_t, edges, 1.3, cache_teacher=cached, backend="triton")
        found.append((value.detach(), *torch.autograd.grad(value, z)))
    for value, gradient in found[1:]:
        assert torch.equal(value, found[0][0]) and torch.equal(gradient, found[0][1])
    z_t += 1e-2 * torch.randn_like(z_t)  # the memory notices a change
    changed = edge_difference_kl(z_s, z_t, edges, 1.3, cache_teacher=True, backend="triton")
    assert torch.equal(changed, edge_difference_kl(z_s, z_t, edges, 1.3, backend="triton"))
    assert changed != found[0][0]


def test_kernels_compile_for_a_gpu_that_is_not_here(tmp_path):
    if not launch._installed():
        pytest.skip("triton is not installed")
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment.setdefault("TRITON_CACHE_DIR", str(tmp_path))
    done = subprocess.run([sys.executable, HERE / "ahead_of_time.py"], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    names = {line.split()[0] for line in done.stdout.splitlines()}
    written = set()
    for file in KERNELS:
        written |= set(re.findall(r"def (\w+_kernel)\(", file.read_text()))
    assert names == written
