"""What training may not see changes nothing: test labels, held-out nodes and their edges."""

import pytest
import torch
from mmengine.config import Config

from structkd.datasets import synthetic_graph
from structkd.engine.data import NodeTask
from structkd.engine.stages import StageRun, Switches

ADAM = dict(optimizer=dict(type="Adam", lr=0.01))
STAGES = dict(
    teacher=dict(
        model=dict(type="GCN", num_layers=2, hidden_channels=8),
        adapter=dict(inputs=["x", "edge_index"], taps=dict(hidden="acts.0")),
        role="teacher", optim_wrapper=ADAM, train_cfg=dict(max_epochs=15),
    ),
    student=dict(
        model=dict(type="MLP", num_layers=2, hidden_channels=8, dropout=0.5),
        adapter=dict(inputs=["x"]),
        train_dataloader=dict(type="NodeBatches", batch_size=40, fanouts=[-1]),
        teachers=dict(teacher=dict(stage="teacher")),
        distillers=dict(ffg2m=dict(type="FFG2M")),
        optim_wrapper=ADAM, train_cfg=dict(max_epochs=15),
    ),
)  # fmt: skip


def graph(change=None):
    data = synthetic_graph(num_nodes=120, num_edges=400, num_features=10, num_classes=3, seed=1)
    return data if change is None else change(data)


def run(folder, inductive, change=None, protocol=None):
    """Train teacher and student; returns everything that training left behind, and the data module."""
    protocol = protocol or dict(name="cpf", train_per_class=5, val_per_class=6)
    data = NodeTask(dict(type=lambda: graph(change)), dict(inductive=inductive, **protocol), latency_batches=())
    data.setup(0)
    config = Config(dict(data=dict(), stages=STAGES))
    results = {
        name: StageRun(name, stage, data, 0, folder, config).run(Switches()) for name, stage in config.stages.items()
    }
    left = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.suffix in (".npy", ".jsonl")
    }
    weights = {name: torch.load(folder / name / "student.pth", weights_only=True)["state_dict"] for name in STAGES}
    return left, weights, results, data


def same(a, b):
    assert a[0] == b[0]
    for stage, weights in a[1].items():
        for key, value in weights.items():
            assert torch.equal(value, b[1][stage][key]), (stage, key)
        assert a[2][stage]["selected"] == b[2][stage]["selected"]


@pytest.mark.parametrize("inductive", [False, True])
def test_test_labels_change_nothing_but_the_test_score(tmp_path, inductive):
    split = run(tmp_path / "a", inductive)[3].nodes.split
    hidden = torch.cat([split.test, split.ind])

    def with_masks(data):  # "cpf" draws by label, so the masks of the first run are given to both
        for name, ids in (("train", split.train), ("val", split.val), ("test", hidden)):
            data[f"{name}_mask"] = torch.zeros(120, dtype=torch.bool)
            data[f"{name}_mask"][ids] = True
        return data

    def turned_labels(data):
        data.y[hidden] = (data.y[hidden] + 1) % 3
        return with_masks(data)

    honest = run(tmp_path / "b", inductive, with_masks, dict(name="given"))
    turned = run(tmp_path / "c", inductive, turned_labels, dict(name="given"))
    same(honest, turned)
    metrics = [{stage: r[2][stage]["metrics"] for stage in STAGES} for r in (honest, turned)]
    for stage in STAGES:
        assert metrics[0][stage]["val/accuracy"] == metrics[1][stage]["val/accuracy"]
    # One model can by chance be as often right with the turned labels.
    assert any(metrics[0][stage]["test/accuracy"] != metrics[1][stage]["test/accuracy"] for stage in STAGES)


def test_held_out_nodes_and_edges_reach_no_artefact(tmp_path):
    base = run(tmp_path / "a", inductive=True)
    held_out = base[3].nodes.split.ind
    is_held_out = torch.zeros(120, dtype=torch.bool)
    is_held_out[held_out] = True

    def shuffle(data):
        generator = torch.Generator().manual_seed(0)
        touching = is_held_out[data.edge_index].any(0)
        kept = data.edge_index[:, ~touching]
        other = torch.randint(120, (1, 60), generator=generator)
        ours = held_out[torch.randint(held_out.numel(), (1, 60), generator=generator)]
        new = torch.cat([other, ours])
        data.edge_index = torch.cat([kept, new, new.flip(0)], 1)
        data.x[held_out] = torch.randn(held_out.numel(), data.x.size(1), generator=generator)
        return data

    changed = run(tmp_path / "b", inductive=True, change=shuffle)
    same(base, changed)
    assert base[2]["teacher"]["metrics"]["ind/accuracy"] != changed[2]["teacher"]["metrics"]["ind/accuracy"]
    assert base[2]["teacher"]["metrics"]["test/accuracy"] == changed[2]["teacher"]["metrics"]["test/accuracy"]


def test_evaluation_batches_carry_only_their_own_labels():
    data = NodeTask(dict(type=graph), dict(name="cpf", inductive=True, train_per_class=5, val_per_class=6))
    data.setup(0)
    (val,) = data.eval_loader("val")
    assert set(val.splits) == {"val"}
    assert int((val.y >= 0).sum()) == data.nodes.split.val.numel()
    (train,) = data.train_loader(None, "", 0, 0, 1)
    assert int((train.y >= 0).sum()) == data.nodes.split.train.numel()
    assert not torch.isin(train.n_id, data.nodes.split.ind).any()
