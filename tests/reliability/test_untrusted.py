"""Loading a file never runs its code: each place that could is listed, and each loader meets a file that tries."""

import ast
import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from structkd.datasets import custom_graph, planetoid_graph
from structkd.datasets.images.cifar import cifar_images
from structkd.datasets.pickles import read_pickle
from structkd.datasets.points.gt_database import GTDatabase
from structkd.datasets.points.infos import read_infos
from structkd.engine.cache import TeacherCache
from structkd.engine.checkpoint import load, save
from structkd.engine.parts import load_student_weights
from structkd.errors import StructkdError
from structkd.files import load_tensors
from structkd.models import EfficientNetLite, FileTeacher, PointPillars, load_openmmlab
from structkd.structure import Structure

REPO = Path(__file__).parents[2]
SOURCES = [path for folder in ("structkd", "tools", "third_party") for path in sorted((REPO / folder).rglob("*.py"))]
#: What an unpickler is made or called by; each place where it may be lets in nothing but listed names.
UNPICKLERS = {
    "structkd/datasets/pickles.py": {"pickle.Unpickler"},
    # OpenMMLab's checkpoints; all of them only where the user asks for it by a flag.
    "third_party/mmcv_ops/checkpoints.py": {"pickle.Unpickler", "torch.load"},
}
#: Calls that read a file and can run what it says, and the argument that keeps them from it.
GUARDED = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}
FORBIDDEN = {
    "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads", "shelve.open", "joblib.load",
    "dill.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "torch.hub.load", "torch.jit.load",
    "pd.read_pickle", "pandas.read_pickle", "torch.package.PackageImporter", "CheckpointLoader.load_checkpoint",
}  # fmt: skip
#: mmengine's loader, as `mmcv_ops` has mended it.
UNPICKLERS["structkd/engine/openmmlab/checkpoints.py"] = {"CheckpointLoader.load_checkpoint"}


def unguarded(source):
    """Names of the calls and base classes in a source text that could run what a file says."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module in ("pickle", "marshal", "shelve", "joblib", "dill"):
            yield f"from {node.module} import ..."  # under another name nobody would find its uses
        for expression in getattr(node, "bases", ()):
            if (name := ast.unparse(expression)) in FORBIDDEN:
                yield name
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        if name in FORBIDDEN:
            yield name
        if name in GUARDED:
            argument, safe = GUARDED[name]
            value = given.get(argument)
            if not isinstance(value, ast.Constant) or value.value is not safe:
                yield name


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPO)))
def test_nothing_else_unpickles(path):
    assert set(unguarded(path.read_text())) == UNPICKLERS.get(str(path.relative_to(REPO)), set())


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path)", "torch.load(path, weights_only=False)", "torch.load(path, weights_only=safe)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)", "pickle.loads(b'')", "from pickle import loads", "yaml.load(file)",
        "class A(pickle.Unpickler): pass",
    ],
)  # fmt: skip
def test_the_audit_sees(line):
    assert list(unguarded(line))


class Runs:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return open, (self.marker, "w")


@pytest.fixture
def marker(tmp_path):
    path = tmp_path / "ran"
    pickle.loads(pickle.dumps(Runs(path)))
    assert path.exists(), "the file must be able to run code"
    path.unlink()
    return path


def archive(path, runs):
    torch.save({"state_dict": {"weight": torch.zeros(2, 2)}, "x": runs}, path)


def old_archive(path, runs):
    torch.save({"weight": torch.zeros(2, 2), "x": runs}, path, _use_new_zipfile_serialization=False)


def bare_pickle(path, runs):
    path.write_bytes(pickle.dumps({"x": runs}))


def objects(path, runs):
    np.save(path, np.array([runs, runs], dtype=object), allow_pickle=True)


def archive_of_objects(path, runs):
    np.savez(path, logits=np.array([runs], dtype=object), x=np.array([runs], dtype=object), y=np.zeros(1, dtype=int))


TENSOR_FILES = [archive, old_archive, bare_pickle]
LOADERS = {
    "checkpoint": ("a.pth", TENSOR_FILES, load),
    "tensors": ("a.pth", TENSOR_FILES, load_tensors),
    "student": ("a.pth", TENSOR_FILES, lambda path: load_student_weights(torch.nn.Linear(2, 2), path)),
    "teacher's tensors": ("a.pt", TENSOR_FILES, FileTeacher),
    "teacher's array": ("a.npy", [objects, bare_pickle], FileTeacher),
    "teacher's arrays": ("a.npz", [archive_of_objects, bare_pickle], FileTeacher),
    "graph": ("a.pt", TENSOR_FILES, custom_graph),
    "graph's arrays": ("a.npz", [archive_of_objects, bare_pickle], custom_graph),
    "detector": ("a.pth", TENSOR_FILES, lambda path: load_openmmlab(PointPillars(), path)),
    "classifier": ("a.pth", TENSOR_FILES, lambda path: EfficientNetLite(checkpoint=str(path))),
    "pickle": ("a.pkl", [bare_pickle], read_pickle),
    "infos of mmdet3d and nuScenes": ("a.pkl", [bare_pickle], read_infos),
    "ground truth": ("a.pkl", [bare_pickle], GTDatabase.read),
}


@pytest.mark.parametrize("kind, write", [(k, w) for k, (_, files, _) in LOADERS.items() for w in files])
def test_no_loader_runs_what_a_file_says(tmp_path, marker, kind, write):
    name, _, loader = LOADERS[kind]
    path = tmp_path / name
    write(path, Runs(marker))
    marker.unlink(missing_ok=True)
    with pytest.raises((StructkdError, pickle.UnpicklingError)):
        loader(path)
    assert not marker.exists()


def test_the_teacher_cache_runs_nothing(tmp_path, marker):
    graph = Data(n_id=torch.arange(2), edge_index=torch.empty(2, 0, dtype=torch.long))
    cache = TeacherCache(tmp_path / "outputs")
    cache.save(Structure(logits=torch.zeros(2, 3), n_id=graph.n_id), graph)
    objects(tmp_path / "outputs" / "logits.npy", Runs(marker))
    for dtype in ("float32", "object"):
        meta = json.loads((tmp_path / "outputs" / "meta.json").read_text())
        meta["fields"]["logits"] |= {"dtype": dtype, "shape": [2]}
        (tmp_path / "outputs" / "meta.json").write_text(json.dumps(meta))
        with pytest.raises(StructkdError):
            cache.load(graph)
    assert not marker.exists()


def test_a_checkpoint_of_openmmlab_runs_nothing(tmp_path, marker):
    checkpoints = pytest.importorskip("structkd.engine.openmmlab.checkpoints")
    safe = pytest.importorskip("mmcv_ops.checkpoints").load_checkpoint
    for write in TENSOR_FILES:
        write(tmp_path / "a.pth", Runs(marker))
        for read in (safe, checkpoints.read_checkpoint):
            with pytest.raises(StructkdError):
                read(tmp_path / "a.pth")
    assert not marker.exists()


def test_pictures_of_cifar_run_nothing(tmp_path, marker):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"):
        bare_pickle(folder / name, Runs(marker))
    with pytest.raises(StructkdError):
        cifar_images(tmp_path, "train")
    assert not marker.exists()


def test_a_graph_of_planetoid_runs_nothing(tmp_path, marker):
    folder = tmp_path / "Cora" / "raw"
    folder.mkdir(parents=True)
    for part in ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index"):
        bare_pickle(folder / f"ind.cora.{part}", Runs(marker))
    with pytest.raises(StructkdError):
        planetoid_graph(tmp_path, "Cora")
    assert not marker.exists()


def test_flipped_bits_of_any_record_are_noticed(tmp_path):
    """`torch.load` alone takes most of them for weights."""
    state = {"w": torch.arange(40.0), "epoch": 3, "name": "abc"}
    save(state, tmp_path / "a.pth")
    whole = (tmp_path / "a.pth").read_bytes()
    refused = unnoticed = 0
    for place in range(0, len(whole), 5):
        content = bytearray(whole)
        content[place] ^= 1 << (place % 8)
        (tmp_path / "b.pth").write_bytes(content)
        try:
            found = load(tmp_path / "b.pth")
            assert found.keys() == state.keys() and found["epoch"] == 3 and found["name"] == "abc", place
            assert torch.equal(found["w"], state["w"]), place
        except StructkdError:
            refused += 1
            with io.BytesIO(content) as file:
                unnoticed += loads(file)
    assert refused > 100 and unnoticed > 10


def loads(file):
    try:
        torch.load(file, weights_only=True)
    except Exception:
        return False
    return True
