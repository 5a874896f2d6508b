"""Distillation out of core: a graph on disk from its edge list to a student's epoch, time and memory of every stage.

Each stage runs in a process of its own, a fork of one that has imported the libraries, and leaves its files to the
next one, in $STRUCTKD_SCALE/SIZE (default: work_dirs/scale/SIZE); remove that folder afterwards. "Peak memory" is the
peak of the resident set, which counts pages of mapped files that the system takes back when it needs them;
"anonymous" is the part that it cannot take back.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.stages import Stage
from structkd.datasets import DiskGraph, DiskNodeData, NodeBatches, Split, disk_graph, import_edges
from structkd.datasets.epochs import seeded
from structkd.datasets.graphs.disk_write import write_features
from structkd.datasets.graphs.synthetic import SIZES as GRAPHS
from structkd.datasets.graphs.synthetic_disk import edge_pieces, feature_pieces
from structkd.distillers import FFG2M, GLNN
from structkd.engine.data.disk_outputs import disk_outputs, opened_teacher
from structkd.engine.teachers import StoredTeacher
from structkd.models import MLP, GraphSAGE, mapped_inference
from structkd.npy import writing_npy
from structkd.ops.mapped import mapped_spmm
from structkd.structure import Structure

SIZES = {
    "small": "2,000 nodes, 16,000 edges, 16 features, 5 classes: a trial",
    "twentieth": "122,451 nodes, 3.1 M edges, 100 features, 47 classes: a twentieth of products",
    "products": "2,449,029 nodes, 61.9 M edges, 100 features, 47 classes, like ogbn-products",
}
NUMBERS: dict[str, dict[str, int]] = {
    "small": dict(num_nodes=2000, num_edges=16000, num_features=16, num_classes=5),
    "twentieth": dict(num_nodes=122_451, num_edges=3_095_000, num_features=100, num_classes=47),
    "products": GRAPHS["products"],
}
HIDDEN, LAYERS, BATCH, FANOUTS, SAMPLED, STRETCHES = 256, 3, 4096, (15, 10, 5), 4, 4


def folder_of(size: str) -> Path:
    return Path(os.environ.get("STRUCTKD_SCALE", "work_dirs/scale")) / size


def opened(size: str, check: bool = False) -> DiskGraph:
    return disk_graph(folder_of(size), check=check)


def model_shape(size: str) -> dict[str, int]:
    numbers = NUMBERS[size]
    return dict(
        in_channels=numbers["num_features"],
        hidden_channels=HIDDEN,
        out_channels=numbers["num_classes"],
        num_layers=LAYERS,
    )


def labels(size: str) -> Tensor:
    nodes, classes = NUMBERS[size]["num_nodes"], NUMBERS[size]["num_classes"]
    return torch.arange(nodes).remainder_(classes)[torch.randperm(nodes, generator=seeded(0))]


def nodes_stage(size: str) -> None:
    """Features, labels and split."""
    folder, numbers, y = folder_of(size), NUMBERS[size], labels(size)
    folder.mkdir(parents=True, exist_ok=True)
    centres = torch.randn(numbers["num_classes"], numbers["num_features"], generator=seeded(1))
    write_features(folder, feature_pieces(y, centres, 4.0, seeded(2)))
    order = torch.randperm(y.numel(), generator=seeded(3))
    first, second = int(0.08 * y.numel()), int(0.096 * y.numel())
    parts = {"y": y, "train": order[:first], "val": order[first:second], "test": order[second:]}
    for name, values in parts.items():
        with writing_npy(folder / f"{name}.npy", "int64") as file:
            file.append(values)


def edges_stage(size: str) -> None:
    """A shuffled edge list, each edge in one direction, as one downloads it."""
    with writing_npy(folder_of(size) / "edge_index.npy", "int32", (2,)) as file:
        for piece in edge_pieces(labels(size), NUMBERS[size]["num_edges"], 0.7, 2.5, seeded(4)):
            file.append(piece.T)


def csr_stage(size: str) -> dict[str, float]:
    """The edge list sorted by target, in both directions and without duplicates, by an external sort."""
    folder = folder_of(size)
    return {"directed_edges": import_edges(folder, folder / "edge_index.npy", NUMBERS[size]["num_classes"])}


def check_stage(size: str) -> None:
    """Everything read once and checked, as `disk_graph` does on opening."""
    opened(size, check=True)


def sampling_stage(size: str) -> dict[str, float]:
    """Batches of 1024 nodes for a teacher's training: neighbours sampled, rows fetched, forward, backward, Adam."""
    rows_read = 0
    disk = opened(size)
    torch.manual_seed(0)
    teacher = GraphSAGE(**model_shape(size), aggregator="gcn")
    optimizer = torch.optim.Adam(teacher.parameters())
    loader = NodeBatches(_nodes(disk), min(1024, disk.num_nodes), seeds="train", fanouts=FANOUTS)
    for number, batch in enumerate(loader):
        if number == SAMPLED:
            break
        z, rows = teacher(batch.x, batch.edge_index), batch.y >= 0
        rows_read += batch.x.size(0)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(z[rows], batch.y[rows]).backward()
        optimizer.step()
    return {"rows_read": rows_read}


def dense_stage(size: str) -> None:
    """An MLP of the teacher's shape over all nodes: what of the teacher's time is not along edges."""
    disk = opened(size)
    mapped_inference(MLP(**model_shape(size)), disk.x, None, disk.scratch)


def teacher_stage(size: str) -> None:
    """Layer-wise inference, and the logits written."""
    disk = opened(size)
    torch.manual_seed(0)
    z = mapped_inference(GraphSAGE(**model_shape(size), aggregator="gcn"), disk.x, disk.csr, disk.scratch)
    with writing_npy(folder_of(size) / "teacher.npy", "float32", (z.size(1),)) as file:
        for rows in z.split(65536):
            file.append(rows)


def target_stage(size: str) -> None:
    """FF-G2M's low-frequency targets, beside a copy of the logits, as a training leaves them."""
    outputs(size)


def stretches_stage(size: str) -> None:
    """The sparse product of the targets alone, of whose input a quarter is read at random at a time."""
    disk = opened(size)
    x = disk.scratch(disk.num_nodes, NUMBERS[size]["num_classes"] + 1)
    sources = -(-disk.num_nodes // STRETCHES)
    mapped_spmm(disk.csr, x, disk.scratch(*x.shape), sources=sources)


def product_stage(size: str) -> None:
    """The same product in one pass."""
    disk = opened(size)
    x = disk.scratch(disk.num_nodes, NUMBERS[size]["num_classes"] + 1)
    mapped_spmm(disk.csr, x, disk.scratch(*x.shape))


def student_stage(size: str) -> None:
    """One epoch over all nodes: an MLP under GLNN's loss and FF-G2M's low-frequency loss, Adam."""
    disk, teacher = opened(size), StoredTeacher(outputs(size))
    torch.manual_seed(0)
    student = MLP(**model_shape(size), dropout=0.2)
    optimizer = torch.optim.Adam(student.parameters())
    losses = GLNN(), FFG2M(high_weight=0.0)
    for batch in NodeBatches(_nodes(disk), min(BATCH, disk.num_nodes)):
        taught, learnt = teacher(batch), Structure(logits=student(batch.x), n_id=batch.n_id)
        total = sum(value for distiller in losses for value in distiller(learnt, taught).values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()


def outputs(size: str) -> Structure:
    disk, path = opened(size), folder_of(size) / "teacher.npy"
    return disk_outputs(folder_of(size) / "outputs", path, disk, partial(opened_teacher, path, disk), {})


def _nodes(disk: DiskGraph) -> DiskNodeData:
    assert isinstance(disk.split, Split)
    return DiskNodeData(disk, disk.split)


#: In the order in which they need each other's files.
STAGES = (
    Stage("features and labels", nodes_stage, folder_of),
    Stage("edge list", edges_stage, folder_of),
    Stage("edge list to CSR", csr_stage, folder_of),
    Stage("teacher, layer-wise", teacher_stage, folder_of),
    Stage("low-frequency targets", target_stage, folder_of),
    Stage("student, one epoch", student_stage, folder_of),
    Stage("checking all files", check_stage, folder_of),
    Stage("MLP, all nodes", dense_stage, folder_of),
    Stage("sparse product", product_stage, folder_of),
    Stage("sparse product, 4 stretches", stretches_stage, folder_of),
    Stage("teacher, 4 sampled batches", sampling_stage, folder_of),
)


def suite(size: str) -> list[Stage]:
    return list(STAGES)
