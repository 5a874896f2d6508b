"""Two processes train on a graph on disk, on edges and on links to the same weights as one with the same batches.

(Node batches of a graph in memory: test_distributed.py.)
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from structkd.engine import Switches, run_experiment

REPO = Path(__file__).parents[2]
SGD = dict(optimizer=dict(type="SGD", lr=0.1))
EPOCHS = dict(max_epochs=2, val_interval=1)
GRAPH = dict(num_nodes=120, num_edges=500, num_features=6, num_classes=3, noise=2.0)
TAUGHT = dict(teachers=dict(teacher=dict(stage="teacher")), role="distilled", optim_wrapper=SGD, train_cfg=EPOCHS)
MLP = dict(type="MLP", num_layers=2, hidden_channels=8)
SAGE = dict(type="GraphSAGE", num_layers=2, hidden_channels=8, aggregator="gcn")

WORKER = """
import json, sys
from pathlib import Path
from mmengine.config import Config
from structkd.engine import Switches, run_experiment
for name, config in json.loads(Path(sys.argv[1]).read_text()).items():
    run_experiment(Config(config), Path(sys.argv[1]).parent / "two" / name, [0], Switches(launcher="pytorch"))
"""


def node_stages(loader, distiller):
    return dict(
        teacher=dict(
            role="teacher",
            model=SAGE,
            train_dataloader=dict(type="NodeBatches", seeds="train", batch_size=30, fanouts=[-1, -1]),
            optim_wrapper=SGD,
            train_cfg=EPOCHS,
        ),
        student=dict(
            TAUGHT,
            model=MLP,
            adapter=dict(inputs=["x"]),
            train_dataloader=loader,
            distillers=dict(glnn=dict(type="GLNN"), ffg2m=distiller),
        ),
    )


def disk(folder):
    """A graph on disk, all in node batches; 120 nodes in batches of 49 leave processes unequal parts."""
    dataset = dict(type="synthetic_disk_graph", root=str(folder / "graph"), train=0.4, val=0.1, **GRAPH)
    stages = node_stages(dict(type="NodeBatches", batch_size=49), dict(type="FFG2M", high_weight=0.0))
    data = dict(type="DiskNodeTask", dataset=dataset, protocol=dict(name="given"), targets={}, latency_batches=[])
    return dict(data=data, stages=stages)


def edges(folder):
    """Losses along edges, in edge batches."""
    data = dict(
        type="NodeTask",
        dataset=dict(type="synthetic_graph", **GRAPH),
        protocol=dict(name="random"),
        latency_batches=[],
    )
    return dict(data=data, stages=node_stages(dict(type="EdgeBatches", batch_size=300), dict(type="FFG2M")))


def links(folder):
    """LLP: positives, negatives and the teacher's ranking of candidates around anchors."""
    predictor = dict(type="LinkPredictor", in_channels=8, hidden_channels=8)

    def model(encoder):
        return dict(type="LinkModel", encoder=dict(encoder, out_channels=8), predictor=predictor)

    data = dict(type="LinkTask", dataset=dict(type="synthetic_graph", **GRAPH), metric="hits@10", latency_batches=[])
    context = dict(hops=2, rw_step=2, ns_rate=1)
    stages = dict(
        teacher=dict(
            role="teacher",
            model=model(SAGE),
            adapter=dict(inputs=["x", "pairs", "edge_index"], fields=["x"]),
            train_dataloader=dict(batch_size=99),
            optim_wrapper=SGD,
            train_cfg=EPOCHS,
        ),
        student=dict(
            TAUGHT,
            model=model(MLP),
            adapter=dict(inputs=["x", "pairs"]),
            train_dataloader=dict(batch_size=65, context=context),  # odd numbers of pairs and of anchors
            distillers=dict(llp=dict(type="LLP")),
        ),
    )
    return dict(data=data, stages=stages)


CASES = (disk, edges, links)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distributed")
    configs = {case.__name__: dict(title="", **case(folder)) for case in CASES}
    for name, config in configs.items():
        run_experiment(Config(config), folder / "one" / name, [0], Switches())
    (folder / "configs.json").write_text(json.dumps(configs))
    (folder / "worker.py").write_text(WORKER)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO)}
    done = subprocess.run(
        [*launch, str(folder / "worker.py"), str(folder / "configs.json")],
        cwd=REPO, capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("stage", ["teacher", "student"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_two_processes_equal_one(runs, case, stage):
    one, two = (
        torch.load(runs / processes / case.__name__ / "seed_0" / stage / "last.pth", weights_only=True)["state_dict"]
        for processes in ("one", "two")
    )
    assert one.keys() == two.keys()
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-6)
    first = torch.load(runs / "one" / case.__name__ / "seed_0" / stage / "student.pth", weights_only=True)
    assert first["state_dict"].keys() == {key.removeprefix("student.") for key in one if key.startswith("student.")}
