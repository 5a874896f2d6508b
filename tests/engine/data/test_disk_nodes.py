"""Distillation on a graph on disk: the same weights and figures as with the graph in memory, and clear refusals."""

import copy
import json

import numpy as np
import pytest
import torch
from mmengine.config import Config

from structkd.adapters import OutOfCoreAdapter
from structkd.datasets import Split, disk_graph, synthetic_graph, write_graph
from structkd.engine import Switches, run_experiment
from structkd.engine.data import DiskNodeTask
from structkd.errors import ConfigError, DataError
from structkd.models import MLP, GraphSAGE

NODES = 120
IDS = torch.arange(NODES)
SPLIT = Split(IDS[:40], IDS[40:60], IDS[60:])


def held():
    data = synthetic_graph(num_nodes=NODES, num_edges=500, num_features=6, num_classes=3, noise=2.0, seed=1)
    for name in ("train", "val", "test"):
        data[f"{name}_mask"] = torch.isin(IDS, getattr(SPLIT, name))
    return data


@pytest.fixture
def folder(tmp_path):
    data = held()
    return write_graph(tmp_path / "graph", [data.x], [data.edge_index.numpy()], data.y, 3, SPLIT)


def stages():
    adam = dict(optimizer=dict(type="Adam", lr=0.01))
    student = dict(
        role="distilled",
        model=dict(type="MLP", num_layers=2, hidden_channels=8),
        adapter=dict(inputs=["x"]),
        train_dataloader=dict(type="NodeBatches", batch_size=32),
        optim_wrapper=adam,
        train_cfg=dict(max_epochs=3, val_interval=1),
        teachers=dict(teacher=dict(stage="teacher")),
    )
    return dict(
        teacher=dict(
            role="teacher",
            model=dict(type="GraphSAGE", num_layers=2, hidden_channels=8, aggregator="gcn"),
            adapter=dict(inputs=["x", "edge_index"]),
            train_dataloader=dict(type="NodeBatches", seeds="train", batch_size=16, fanouts=[3, 3]),
            optim_wrapper=adam,
            train_cfg=dict(max_epochs=3, val_interval=1),
        ),
        glnn=dict(student, objective_weight=0.0, distillers=dict(glnn=dict(type="GLNN"))),
        ffg2m=dict(copy.deepcopy(student), distillers=dict(ffg2m=dict(type="FFG2M", high_weight=0.0))),
    )


def run(folder, data):
    config = Config(dict(title="", data=dict(data, latency_batches=[4]), stages=stages()))
    results = run_experiment(config, folder, [0], Switches())
    weights = {
        name: torch.load(folder / "seed_0" / name / "student.pth", weights_only=True)["state_dict"]
        for name in results["stages"]
    }
    return results, weights


def on_disk(folder, **options):
    dataset = dict(type="disk_graph", path=str(folder), **options)
    return dict(type="DiskNodeTask", dataset=dataset, protocol=dict(name="given"), targets={}, batch_size=25)


def test_equals_the_run_in_memory(folder, tmp_path):
    memory, expected = run(
        tmp_path / "memory", dict(type="NodeTask", dataset=dict(type=held), protocol=dict(name="given"))
    )
    disk, found = run(tmp_path / "disk", on_disk(folder))
    assert memory["primary_metric"] == disk["primary_metric"]
    for name, stage in memory["stages"].items():
        assert disk["stages"][name]["metrics"] == stage["metrics"]
        for key, value in expected[name].items():
            torch.testing.assert_close(found[name][key], value, rtol=1e-5, atol=1e-6)
    assert list((folder / "scratch").iterdir()) == []
    outputs = tmp_path / "disk" / "seed_0" / "teacher" / "outputs"
    assert sorted(path.name for path in outputs.iterdir()) == [
        "lock", "logits.npy", "meta.json", "neighbor_offset_edge_1.npy", "neighbor_target_edge_1.npy",
    ]  # fmt: skip
    from_part, weights = run(tmp_path / "stretches", on_disk(folder, sources=50))
    torch.testing.assert_close(weights["ffg2m"], found["ffg2m"], rtol=1e-3, atol=1e-4)
    assert from_part["stages"].keys() == disk["stages"].keys()


def task(folder, **options):
    data = DiskNodeTask(**{key: value for key, value in (on_disk(folder) | options).items() if key != "type"})
    data.setup(0)
    return data


def test_a_teacher_trained_elsewhere(folder):
    data = task(folder)
    logits = torch.randn(NODES, 3).half()
    np.save(folder / "logits.npy", logits.numpy())
    teacher = data.file_teacher(str(folder / "logits.npy"), {"logits": "logits"})
    batch = next(iter(data.train_loader(dict(type="NodeBatches", batch_size=10), "", 0, 0, 1)))
    rows = teacher(batch)
    assert torch.equal(rows.logits, logits[batch.n_id].float())
    assert rows["neighbor_target_edge_1"].shape == rows.logits.shape
    made = folder / "scratch" / "teacher_logits" / "meta.json"
    first = json.loads(made.read_text())
    np.save(folder / "logits.npy", (logits + 1).numpy())  # another teacher: nothing of the first may be left
    again = data.file_teacher(str(folder / "logits.npy"), {"logits": "logits"})(batch)
    assert torch.equal(again.logits, (logits + 1)[batch.n_id].float())
    assert json.loads(made.read_text()) != first
    targets, table = "neighbor_target_edge_1", made.with_name("neighbor_target_edge_1.npy")
    whole = torch.from_numpy(np.load(table))
    content = bytearray(table.read_bytes())
    content[-1] ^= 0x40  # the exponent of the last number
    table.write_bytes(content)
    assert not torch.equal(torch.from_numpy(np.load(table)), whole)
    mended = data.file_teacher(str(folder / "logits.npy"), {"logits": "logits"})
    assert torch.equal(mended.structure[targets], whole)
    for array, words in (
        (logits[:5].numpy(), r"\[5, 3\]"),
        (np.full((NODES, 3), np.nan, np.float32), "NaN"),
        (logits.long().numpy(), "int64"),
    ):
        np.save(folder / "logits.npy", array)
        with pytest.raises(DataError, match=words):
            data.file_teacher(str(folder / "logits.npy"), {"logits": "logits"})
    with pytest.raises(DataError, match="npy"):
        data.file_teacher(str(folder / "logits.pt"), {"logits": "logits"})
    with pytest.raises(ConfigError, match="logits"):
        data.file_teacher(str(folder / "logits.npy"), {"x": "hidden"})


def test_evaluation_reads_labels_of_its_splits_only(folder):
    data, seen = task(folder), {}
    for batch in data.eval_loader("test"):
        for name, rows in batch.splits.items():
            seen.setdefault(name, []).append(batch.n_id[rows])
            assert torch.equal(batch.y[rows], data.disk.y[batch.n_id[rows]])
            assert torch.equal(batch.x, data.disk.x[batch.n_id])
    assert torch.equal(torch.cat(seen["val"]), SPLIT.val)
    assert torch.equal(torch.cat(seen["test"]), SPLIT.test)
    assert {name for batch in data.eval_loader("val") for name in batch.splits} == {"val"}
    observed = list(data.observed_batches())
    assert torch.equal(torch.cat([batch.n_id for batch in observed]), IDS)
    assert torch.equal(torch.cat([batch.y for batch in observed]) >= 0, IDS < 40)


def test_whole_graph_logits_follow_the_weights(folder):
    disk, adapter = disk_graph(folder), OutOfCoreAdapter()
    model = GraphSAGE(6, 8, 3).eval()
    first = adapter.whole(model, disk)
    assert adapter.whole(model, disk) is first
    with torch.no_grad():
        model.convs[0].lin_l.weight.mul_(2)
    torch.testing.assert_close(adapter.whole(model, disk), model(held().x, held().edge_index).detach())
    assert adapter.whole(copy.deepcopy(model), disk) is not first
    with pytest.raises(ConfigError, match="chunk"):
        OutOfCoreAdapter(chunk=5)


def test_example_and_latency(folder):
    data = task(folder, latency_batches=[4])
    example = data.example()
    assert MLP(6, 8, 3)(example.x).size(1) == GraphSAGE(6, 8, 3)(example.x, example.edge_index).size(1) == 3
    assert data.latency(MLP(6, 8, 3), OutOfCoreAdapter(["x"])).keys() == {"4"}
    assert data.latency(GraphSAGE(6, 8, 3), OutOfCoreAdapter()) == {}


def test_refusals(folder):
    with pytest.raises(ConfigError, match="inductive"):
        task(folder, protocol=dict(name="given", inductive=True))
    with pytest.raises(ConfigError, match="NodeTask"):
        task(folder, dataset=dict(type=held))
    with pytest.raises(ConfigError, match="NodeBatches"):
        task(folder).train_loader(None, "stages.a.train_dataloader", 0, 0, 1)
    with pytest.raises(ConfigError, match=r"data.targets.low_ta\b"):
        task(folder, targets=dict(low_ta=1)).file_teacher(_logits(folder), {"logits": "logits"})
    with pytest.raises(ConfigError, match="tau"):
        task(folder, targets=dict(tau=1)).file_teacher(_logits(folder), {"logits": "logits"})
    assert task(folder, protocol=dict(name="random")).nodes.split.train.numel() == 72
    for name in ("train", "val", "test"):
        (folder / f"{name}.npy").unlink()
    with pytest.raises(DataError, match="given"):
        task(folder)


def _logits(folder):
    np.save(folder / "logits.npy", np.zeros((NODES, 3), np.float32))
    return str(folder / "logits.npy")
