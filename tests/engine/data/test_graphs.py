"""Graph classification in the engine: training graphs only, stored teachers, one small run of every stage."""

import pytest
import torch
from mmengine.config import Config
from torch_geometric.data import Batch, Data

from structkd import Structure
from structkd.datasets import GraphSet
from structkd.engine.data import GraphTask
from structkd.engine.registry import DATASETS
from structkd.engine.stages import StageRun, Switches
from structkd.engine.teachers import GraphTeacher
from structkd.errors import CheckpointError, ConfigError, DataError
from structkd.models import graph_augment

PROTOCOL = dict(name="random", train=0.5, val=0.25)
TRAINING = dict(
    train_dataloader=dict(type="GraphBatches", batch_size=7),
    optim_wrapper=dict(optimizer=dict(type="Adam", lr=0.01)),
    train_cfg=dict(max_epochs=6),
)
STAGES = dict(
    teacher=dict(
        role="teacher",
        model=dict(type="GraphClassifier", num_layers=2, hidden_channels=8),
        adapter=dict(inputs=["x", "edge_index", "batch"], fields=["x"]),
        **TRAINING,
    ),
    plain=dict(
        role="plain",
        model=dict(type="GraphMLP", num_layers=2, hidden_channels=8),
        adapter=dict(inputs=["x", "batch"], fields=["x"]),
        **TRAINING,
    ),
    mugsi=dict(
        role="distilled",
        model=dict(type="GraphMLP", in_channels=6, num_layers=2, hidden_channels=8),
        adapter=dict(inputs=["augmented", "batch"], fields=["x"]),
        teachers=dict(teacher=dict(stage="teacher")),
        distillers=dict(mugsi=dict(type="MuGSI", student_channels=8, teacher_channels=8)),
        **TRAINING,
    ),
)


def some_graphs(count=40):
    """Rings (class 0) and stars (class 1) of 3 to 7 nodes with random features."""
    generator = torch.Generator().manual_seed(0)
    graphs = []
    for number in range(count):
        nodes, label = 3 + number % 5, number % 2
        ring = torch.arange(nodes)
        edges = torch.stack([ring, (ring + 1) % nodes]) if label == 0 else torch.stack([ring[:-1] * 0, ring[1:]])
        x = torch.randn(nodes, 3, generator=generator)
        graphs.append(Data(x=x, edge_index=torch.cat([edges, edges.flip(0)], 1), y=torch.tensor([label])))
    return GraphSet(graphs)


@pytest.fixture
def dataset(monkeypatch):
    DATASETS.register_module(name="some_graphs", module=some_graphs, force=True)
    yield dict(type="some_graphs")
    DATASETS.module_dict.pop("some_graphs")


def task(dataset, seed=0, **options):
    data = GraphTask(dataset, PROTOCOL, **options)
    data.setup(seed)
    return data


def run(data, folder, *names):
    config = Config(dict(data=dict(), stages={name: STAGES[name] for name in names}))
    return {
        name: StageRun(name, stage, data, 0, folder, config).run(Switches()) for name, stage in config.stages.items()
    }


def test_training_sees_training_graphs_only(dataset):
    data = task(dataset)
    split = data.split
    assert (split.train.numel(), split.val.numel(), split.test.numel()) == (20, 10, 10)
    seen = torch.cat(
        [batch.graph_id for batch in data.train_loader(dict(type="GraphBatches", batch_size=7), "", 0, 0, 1)]
    )
    assert sorted(seen.tolist()) == sorted(split.train.tolist())
    assert torch.equal(data.observed_graph.graph_id, split.train)
    (default,) = data.train_loader(None, "", 0, 0, 1)
    assert default.num_graphs == 20


def test_evaluation_batches_hold_one_split_each(dataset):
    data = task(dataset)
    (val,) = data.eval_loader("val")
    assert torch.equal(val.graph_id, data.split.val) and val.splits["val"].tolist() == list(range(10))
    again, test = data.eval_loader("test")
    assert torch.equal(again.graph_id, data.split.val) and set(test.splits) == {"test"}
    assert torch.equal(test.graph_id, data.split.test)
    assert torch.equal(test.y, data.graphs.y[data.split.test])


def test_columns_and_augmented_features(dataset):
    data = task(dataset, columns=[2, 0], augment=2)
    assert data.facts == {"in_channels": 2, "out_channels": 2}
    for graph, original in zip(data.graphs.graphs, some_graphs().graphs):
        x = original.x[:, [2, 0]]
        assert torch.equal(graph.x, x)
        once = graph_augment(x, original.edge_index)
        expected = torch.cat([x, once, graph_augment(once, original.edge_index)], 1)
        torch.testing.assert_close(graph.augmented, expected)
    (batch,) = data.eval_loader("val")
    assert batch.augmented.shape == (batch.x.size(0), 6)


def test_graph_teacher_looks_up_nodes_and_graphs_by_id():
    outputs = Structure(
        x=torch.arange(10.0).view(5, 2), logits=torch.tensor([[1.0], [2.0]]), n_id=torch.tensor([7, 8, 9, 3, 4])
    )
    teacher = GraphTeacher(outputs, torch.tensor([2, 0]))  # graph 2 has nodes 7 to 9, graph 0 nodes 3 and 4
    batch = Batch(n_id=torch.tensor([3, 4, 7, 8, 9]), graph_id=torch.tensor([0, 2]))
    found = teacher(batch)
    assert found.logits.tolist() == [[2], [1]]
    assert found.x[:, 0].tolist() == [6, 8, 0, 2, 4]
    teacher.prepare(lambda s: Structure(**s.to_dict(), cluster=torch.tensor([1, 1, 2, 3, 3])))
    assert teacher(batch).cluster.tolist() == [3, 3, 1, 1, 2]
    assert "cluster" in teacher.provides
    with pytest.raises(DataError, match="never run on"):
        teacher(Batch(n_id=torch.tensor([3, 4]), graph_id=torch.tensor([1])))


def test_graph_teacher_where_every_graph_has_one_node():
    outputs = Structure(x=torch.tensor([[1.0], [2.0]]), logits=torch.tensor([[1.0], [2.0]]), n_id=torch.tensor([0, 1]))
    teacher = GraphTeacher(outputs, torch.tensor([0, 1]))
    found = teacher(Batch(n_id=torch.tensor([1, 0]), graph_id=torch.tensor([1, 0])))
    assert found.logits.tolist() == found.x.tolist() == [[2], [1]]


def test_a_stored_teacher_says_what_the_model_says(dataset, tmp_path):
    data = task(dataset)
    run(data, tmp_path, "teacher")
    stage = StageRun("teacher", STAGES["teacher"], data, 0, tmp_path, Config(dict(stages=STAGES)))
    teacher, model = data.stage_teacher(stage), stage.load_model()
    for batch in data.train_loader(dict(type="GraphBatches", batch_size=7), "", 0, 0, 1):
        expected = model(batch.x, batch.edge_index, batch.batch)
        torch.testing.assert_close(teacher(batch).logits, expected["logits"])
        torch.testing.assert_close(teacher(batch).x, expected["x"])
    data.setup(1)
    with pytest.raises(CheckpointError, match="leak held-out data"):
        data.stage_teacher(stage)


def test_other_test_graphs_change_nothing_but_the_test_score(dataset, tmp_path):
    results, left = [], []
    for name in ("a", "b"):
        data = task(dataset, augment=1)
        if name == "b":
            for number in data.split.test.tolist():
                graph = data.graphs.graphs[number]
                graph.x, graph.augmented = graph.x.flip(1) + 1, graph.augmented + 1
                graph.y = 1 - graph.y
        results.append(run(data, tmp_path / name, *STAGES))
        left.append({
            str(path.relative_to(tmp_path / name)): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.suffix in (".npy", ".jsonl")
        })  # fmt: skip
        weights = {stage: torch.load(tmp_path / name / stage / "student.pth")["state_dict"] for stage in STAGES}
        left[-1] |= {f"{s}/{k}": v.numpy().tobytes() for s, values in weights.items() for k, v in values.items()}
    assert left[0] == left[1] and {"teacher/outputs/x.npy", "teacher/outputs/logits.npy"} < set(left[0])
    changed = 0
    for stage in STAGES:
        honest, other = (result[stage]["metrics"] for result in results)
        assert honest["val/accuracy"] == other["val/accuracy"]
        assert 0 <= honest["test/accuracy"] <= 1
        changed += honest["test/accuracy"] != other["test/accuracy"]
        assert set(results[0][stage]["latency_ms"]) == {"128"}
    assert changed


def test_whole_graphs_cannot_be_inductive(dataset):
    with pytest.raises(ConfigError, match=r"data\.protocol\.inductive"):
        GraphTask(dataset, dict(PROTOCOL, inductive=True))
