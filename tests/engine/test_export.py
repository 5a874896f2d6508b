import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from structkd.engine import export as export_module
from structkd.engine.export import export_student, recorded_kwargs
from structkd.engine.exporters import first_elements, named_outputs
from structkd.errors import ConfigError, DataError
from structkd.models import MLP

onnx = pytest.mark.skipif(
    any(export_module.version(package) is None for package in ("onnx", "onnxscript", "onnxruntime")),
    reason="onnx, onnxscript or onnxruntime is not installed",
)
KWARGS = dict(in_channels=6, hidden_channels=8, out_channels=3, num_layers=3, norm="batch", dropout=0.5)


@pytest.fixture
def student():
    model = MLP(**KWARGS)
    model(torch.randn(20, 6))  # running statistics that are not the initial ones
    return model


class Sums(nn.Module):
    """A student that reads edges and shows more than its logits, in an order that is not the alphabet's."""

    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(6, 3)

    def forward(self, x, edge_index):
        hidden = torch.zeros_like(x).index_add(0, edge_index[1], x[edge_index[0]])
        return {"logits": self.lin(hidden), "aux": {"hidden": hidden, "also": hidden * 2}}


class Branch(nn.Module):
    def forward(self, x):
        return x if float(x.sum()) > 0 else -x


def test_state_dict_is_the_modules_own_and_loads_weights_only(student, tmp_path):
    card = export_student(student, (torch.randn(5, 6),), tmp_path, ["state_dict"], kwargs=KWARGS)
    state = torch.load(tmp_path / "student.pt", weights_only=True)
    assert list(state) == list(student.state_dict())
    assert card["formats"]["state_dict"] | {"bytes": 0, "sha256": ""} == {
        "file": "student.pt", "bytes": 0, "sha256": "", "max_abs_difference": 0.0, "ok": True,
    }  # fmt: skip
    again = MLP(**json.loads((tmp_path / "model_card.json").read_text())["kwargs"]).eval()
    again.load_state_dict(state)
    x = torch.randn(4, 6)
    assert torch.equal(again(x), student.eval()(x))


def test_model_card(student, tmp_path):
    card = export_student(student, (torch.randn(5, 6),), tmp_path, ["state_dict"], kwargs=KWARGS, source={"seed": 0})
    assert card["class"] == "structkd.models.graphs.mlp.MLP"
    assert card["kwargs_rebuild_it"] is True
    assert card["inputs"] == {"x": {"shape": ["elements", 6], "dtype": "float32"}}
    assert card["outputs"] == {"logits": {"shape": ["elements", 3], "dtype": "float32"}}
    assert card["weights"]["lins.0.weight"] == [8, 6]
    assert card["parameters"] == sum(p.numel() for p in student.parameters())
    assert json.loads((tmp_path / "model_card.json").read_text()) == card
    other = export_student(student, (torch.randn(5, 6),), tmp_path, ["state_dict"], kwargs=KWARGS | {"norm": "layer"})
    assert other["kwargs_rebuild_it"] is False


def test_the_student_is_left_as_it_is(student, tmp_path):
    student.train()
    calls = []
    student.register_forward_hook(lambda *_: calls.append(1))
    export_student(student, (torch.randn(5, 6),), tmp_path, ["state_dict"])
    assert student.training and not calls and len(student._forward_hooks) == 1
    assert all(p.requires_grad for p in student.parameters())


def test_program_runs_without_structkd_on_any_number_of_elements(student, tmp_path):
    card = export_student(student, (torch.randn(5, 6),), tmp_path, ["export"])
    assert card["formats"]["export"]["ok"]
    x = torch.randn(9, 6)
    torch.save({"x": x, "wanted": student.eval()(x).detach()}, tmp_path / "case.pt")
    code = (
        "import sys, torch\n"
        "case = torch.load('case.pt')\n"
        "program = torch.export.load('student.pt2').module()\n"
        "assert torch.allclose(program(case['x']), case['wanted'], atol=1e-6)\n"
        "assert program(case['x'][:0]).shape == (0, 3)\n"
        "assert not [name for name in sys.modules if name.startswith('structkd')]\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


@onnx
def test_onnx_agrees_on_other_sizes_and_names_its_inputs(student, tmp_path):
    import onnxruntime

    card = export_student(student, (torch.randn(5, 6),), tmp_path, ["onnx"])
    assert card["formats"]["onnx"]["ok"] and card["formats"]["onnx"]["max_abs_difference"] < 1e-5
    session = onnxruntime.InferenceSession(str(tmp_path / "student.onnx"), providers=["CPUExecutionProvider"])
    for count in (0, 1, 33):
        x = torch.randn(count, 6)
        (logits,) = session.run(["logits"], {"x": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), student.eval()(x).detach(), atol=1e-5, rtol=1e-5)


@onnx
def test_edges_and_named_outputs_survive_every_format(tmp_path):
    edges = torch.randint(0, 12, (2, 40))
    card = export_student(Sums(), (torch.randn(12, 6), edges), tmp_path)
    assert all(entry["ok"] for entry in card["formats"].values())
    assert list(card["outputs"]) == ["logits", "aux.hidden", "aux.also"]
    assert card["inputs"]["edge_index"]["shape"] == [2, "edges"]


def test_sparse_features_become_dense(student, tmp_path):
    x = (torch.rand(7, 6) * (torch.rand(7, 6) > 0.5)).to_sparse_csr()
    card = export_student(student, (x,), tmp_path, ["export"])
    assert card["formats"]["export"]["ok"]
    torch.testing.assert_close(first_elements((x,), 3)[0], x.to_dense()[:3])


def test_first_elements_keeps_the_edges_among_them():
    edges = torch.tensor([[0, 1, 4, 2], [1, 4, 0, 0]])
    x, kept, weight = first_elements((torch.arange(10.0).view(5, 2), edges, torch.arange(5.0)), 3)
    assert x.shape == (3, 2) and weight.tolist() == [0, 1, 2]
    assert kept.tolist() == [[0, 2], [1, 0]]


def test_a_file_that_disagrees_is_reported(student, tmp_path, monkeypatch):
    file, write = export_module.FORMATS["state_dict"]

    def broken(*arguments):
        run = write(*arguments)
        return lambda case: {"logits": run(case)["logits"] + 0.25}

    monkeypatch.setitem(export_module.FORMATS, "state_dict", (file, broken))
    entry = export_student(student, (torch.randn(5, 6),), tmp_path, ["state_dict"])["formats"]["state_dict"]
    assert entry["ok"] is False and entry["max_abs_difference"] == pytest.approx(0.25, abs=1e-5)


def test_bad_input_is_one_clear_error(student, tmp_path, monkeypatch):
    x = (torch.randn(5, 6),)
    with pytest.raises(ConfigError, match=r"no export format 'onyx'\. Nearest: onnx"):
        export_student(student, x, tmp_path, ["onyx"])
    with pytest.raises(DataError, match="holds no tensor"):
        export_student(student, (), tmp_path)
    with pytest.raises(ConfigError, match=r"torch.export cannot trace Branch.*format state_dict"):
        export_student(Branch(), x, tmp_path, ["export"])
    with pytest.raises(ConfigError, match="'note' is a str"):
        named_outputs({"logits": x[0], "note": "text"})
    monkeypatch.setattr(export_module, "version", lambda package: None)
    with pytest.raises(ConfigError, match="needs onnx, onnxscript, onnxruntime"):
        export_student(student, x, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_recorded_kwargs_are_the_config_and_what_the_data_settled(student):
    state = {"model": {"type": "MLP", "hidden_channels": 8, "in_channels": 6}, "facts": {"in_channels": 1, "hops": 2}}
    assert recorded_kwargs(student, state) == {"hidden_channels": 8, "in_channels": 6}
    assert recorded_kwargs(student, {}) is None
