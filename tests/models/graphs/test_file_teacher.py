import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from structkd.adapters import GraphAdapter
from structkd.errors import DataError
from structkd.models import FileTeacher

LOGITS = torch.arange(12.0).view(4, 3)


@pytest.mark.parametrize("suffix", ["pt", "npy", "npz"])
def test_reads_every_format(tmp_path, suffix):
    path = tmp_path / f"teacher.{suffix}"
    if suffix == "pt":
        torch.save(LOGITS, path)
    elif suffix == "npy":
        np.save(path, LOGITS.double().numpy().astype(">f8"))
    else:
        np.savez(path, logits=LOGITS.numpy())
    teacher = FileTeacher(path, num_nodes=4)
    torch.testing.assert_close(teacher(Data(n_id=torch.tensor([2, 0])))["logits"], LOGITS[[2, 0]])
    torch.testing.assert_close(teacher(Data(num_nodes=4))["logits"], LOGITS)
    assert not teacher.state_dict() and not list(teacher.parameters())


def test_further_fields_through_the_adapter(tmp_path):
    path = tmp_path / "teacher.pt"
    torch.save({"scores": LOGITS, "hidden": LOGITS[:, :2], "note": "trained elsewhere"}, path)
    teacher = FileTeacher(path, keys={"logits": "scores", "x": "hidden"})
    structure = GraphAdapter(inputs=("data",), fields=("x",))(teacher, Data(n_id=torch.tensor([3])))
    torch.testing.assert_close(structure.x, LOGITS[3:, :2])
    torch.testing.assert_close(structure.logits, LOGITS[3:])


def test_an_empty_teacher_is_legal(tmp_path):
    np.save(tmp_path / "t.npy", np.zeros((0, 3), dtype=np.float32))
    teacher = FileTeacher(tmp_path / "t.npy")
    assert teacher(Data(n_id=torch.zeros(0, dtype=torch.long)))["logits"].shape == (0, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"x": LOGITS}, "holds no array 'logits'.*x"),
        ({"logits": LOGITS[0]}, r"'logits' has shape \(3,\)"),
        ({"logits": LOGITS.long()}, "torch.int64"),
        ({"logits": LOGITS / 0}, "NaN or infinity"),
        ({"logits": LOGITS[:3]}, "has 3 rows; expected 4"),
        ({"logits": "all of them"}, "'logits' is str"),
        ("words", "'logits' is str"),
        ({"logits": Data()}, "cannot be read as tensors"),
    ],
)
def test_bad_content_is_named(tmp_path, content, message):
    path = tmp_path / "teacher.pt"
    torch.save(content, path)
    with pytest.raises(DataError, match=message) as error:
        FileTeacher(path, num_nodes=4)
    assert "teacher.pt" in str(error.value)


def test_bad_files_and_ids_are_named(tmp_path):
    with pytest.raises(DataError, match=r"missing.npy is not a file"):
        FileTeacher(tmp_path / "missing.npy")
    (tmp_path / "t.csv").write_text("1,2")
    with pytest.raises(DataError, match=r"ends in '.csv'"):
        FileTeacher(tmp_path / "t.csv")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(DataError, match=r"cut.npz cannot be read"):
        FileTeacher(tmp_path / "cut.npz")
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"objects.npy cannot be read"):
        FileTeacher(tmp_path / "objects.npy")
    np.save(tmp_path / "t.npy", LOGITS.numpy())
    teacher = FileTeacher(tmp_path / "t.npy")
    with pytest.raises(DataError, match=r"nodes 0 to 3.*n_id runs from 0 to 4"):
        teacher(Data(n_id=torch.tensor([0, 4])))
    with pytest.raises(DataError, match="rows for 4 nodes, but the graph has 5 and no 'n_id'"):
        teacher(Data(num_nodes=5))
