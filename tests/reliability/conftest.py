"""Processes that are started quickly and killed for good, and the configs they run."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]


class Run:
    """A process of the server: ends by itself, or is killed."""

    def __init__(self, server, pid, log):
        self.server, self.pid, self.log, self.code = server, pid, log, None

    @property
    def running(self):
        """Whether the process still runs (one that ended stays as a zombie until it is waited for)."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except FileNotFoundError:
            return False

    def wait(self):
        if self.code is None:
            self.code = self.server.ask(wait=self.pid)
        return self.code

    def kill(self):
        """SIGKILL; whether it came before the process had ended."""
        os.kill(self.pid, signal.SIGKILL)
        return self.wait() == -signal.SIGKILL

    @property
    def text(self):
        return self.log.read_text()


class Server:
    """Starts `tools/train.py` or another script in a process of its own within milliseconds."""

    def __init__(self, folder):
        self.folder, self.count = folder, 0
        environment = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("fork_server.py"))], cwd=REPO, env=os.environ | environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(self, script, *arguments, **how):
        self.count += 1
        log = self.folder / f"{self.count}.log"
        log.touch()
        path = str(Path(script) if Path(script).is_absolute() else REPO / script)
        return Run(self, self.ask(script=path, arguments=[str(a) for a in arguments], log=str(log), **how), log)

    def train(self, config, work_dir, *arguments, **how):
        return self.start("tools/train.py", config, "--work-dir", work_dir, *arguments, **how)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    if not hasattr(os, "fork") or not Path("/proc/self/stat").exists():
        pytest.skip("processes are forked and watched through /proc")
    server = Server(tmp_path_factory.mktemp("logs"))
    yield server
    server.process.stdin.close()
    server.process.wait()


@pytest.fixture(scope="session")
def wait_for():
    """`wait_for(condition, run)` is true as soon as the condition is, false when the run ended or a minute went by."""

    def wait(condition, run, seconds=60.0):
        deadline = time.monotonic() + seconds
        while not condition():
            if not run.running or time.monotonic() > deadline:
                return bool(condition())
            time.sleep(0.001)
        return True

    return wait


ADAM = dict(optim_wrapper=dict(optimizer=dict(type="Adam", lr=0.01)))
TEACHER = dict(teachers=dict(teacher=dict(stage="teacher")))


def node():
    graph = dict(type="synthetic_graph", num_nodes=60, num_edges=150, num_features=6, num_classes=3)
    batches = dict(type="NodeBatches", batch_size=8, fanouts=[-1])
    train = dict(train_cfg=dict(max_epochs=8), checkpoint_interval=2, **ADAM)
    mlp = dict(model=dict(type="MLP", hidden_channels=8, dropout=0.5), adapter=dict(inputs=["x"]))
    kd = dict(distillers=dict(kd=dict(type="GLNN")))
    return dict(
        data=dict(type="NodeTask", dataset=graph, protocol=dict(name="random"), latency_batches=[]),
        stages=dict(
            teacher=dict(role="teacher", model=dict(type="GCN", hidden_channels=8), **train),
            student=dict(role="distilled", train_dataloader=batches, **kd, **TEACHER, **mlp, **train),
        ),
    )  # fmt: skip


def link():
    graph = dict(type="synthetic_graph", num_nodes=80, num_edges=400, num_features=10, num_classes=3)
    train = dict(train_cfg=dict(max_epochs=5), checkpoint_interval=1, **ADAM)

    def model(**encoder):
        sizes = dict(num_layers=2, hidden_channels=8, out_channels=8, dropout=0.5)
        predictor = dict(type="LinkPredictor", in_channels=8, hidden_channels=8)
        return dict(type="LinkModel", encoder={**sizes, **encoder}, predictor=predictor)

    return dict(
        data=dict(type="LinkTask", dataset=graph, protocol=dict(test=0.2, new_nodes=0.3), latency_batches=[]),
        stages=dict(
            teacher=dict(
                role="teacher", model=model(type="GraphSAGE", aggregator="mean"),
                adapter=dict(inputs=["x", "pairs", "edge_index"], fields=["x"]), **train,
            ),
            student=dict(
                role="distilled", model=model(type="MLP"), adapter=dict(inputs=["x", "pairs"]),
                train_dataloader=dict(batch_size=70, context=dict(hops=2, rw_step=2, ns_rate=1)),
                distillers=dict(llp=dict(type="LLP")), **TEACHER, **train,
            ),
        ),
    )  # fmt: skip


def points(kitti):
    view = [0, -6.4, -3, 19.2, 6.4, 1]
    train = dict(train_cfg=dict(max_epochs=3), checkpoint_interval=1, train_dataloader=dict(batch_size=2), **ADAM)

    def model(width):
        return dict(
            type="PointPillars", point_range=view, voxel_size=[0.8, 0.8, 4], layer_nums=[1, 1, 1], pillar_channels=8,
            channels=[width] * 3, neck_channels=[8, 8, 8],
        )  # fmt: skip

    adapter = dict(adapter=dict(elements="pillars", maps=["neck"]))
    return dict(
        data=dict(
            type="DetectionTask", dataset=dict(type="KittiFrames", root=str(kitti), point_range=view),
            classes=["Car", "Pedestrian"], augment=[dict(type="RandomFlip")], latency_frames=0,
        ),
        stages=dict(
            teacher=dict(role="teacher", model=model(16), **adapter, **train),
            student=dict(
                role="distilled", model=model(8), distillers=dict(at=dict(type="AttentionTransfer")), **adapter,
                **TEACHER, **train,
            ),
        ),
    )  # fmt: skip


def images():
    train = dict(train_cfg=dict(max_epochs=4), checkpoint_interval=1, train_dataloader=dict(batch_size=20), **ADAM)
    vit = dict(type="ViT", width=8, depth=2, heads=2, patch_size=4)
    return dict(
        data=dict(
            type="ImageTask", dataset=dict(type="digit_images"), protocol=dict(name="holdout", per_class=6),
            augment=[dict(type="RandomCrop", padding=1)], views=2, latency_batches=[], eval_batch_size=400,
        ),
        stages=dict(
            teacher=dict(role="teacher", model={**vit, "width": 12}, **train),
            student=dict(role="distilled", model=vit, distillers=dict(kd=dict(type="KD")), **TEACHER, **train),
        ),
    )  # fmt: skip


def modules():
    config = images()
    train = {key: config["stages"]["teacher"][key] for key in ("train_cfg", "optim_wrapper", "train_dataloader")}
    wide, vit = (config["stages"][name]["model"] for name in ("teacher", "student"))
    hybrid = dict(type="Hybrid", meta=dict(stage="meta"), splits=["blocks.1"])
    reader = dict(type="HybridAdapter")
    stages = dict(
        meta=dict(role="auxiliary", model=wide, store_outputs=False, **train | dict(train_cfg=dict(max_epochs=1))),
        teacher=dict(role="teacher", model=wide, **train | dict(train_cfg=dict(max_epochs=1))),
    )
    for i in (0, 1):
        stages[f"target_{i}"] = dict(
            role="auxiliary", model=dict(hybrid, source=dict(stage="teacher"), index=i, stitch="none"),
            adapter=dict(reader, fields=["prefix"] if i else []),
        )  # fmt: skip
    for i in (0, 1):
        stages[f"pair_{i}"] = dict(
            role="auxiliary", model=dict(hybrid, source=vit, index=i), adapter=reader, store_outputs=False,
            teachers=dict(teacher=dict(stage=f"target_{i}")), inputs=dict(prefix="teacher") if i else {},
            objective_weight=0.5, distillers=dict(m2mkd=dict(type="M2mKD", weight=0.5)), checkpoint_interval=1, **train,
        )  # fmt: skip
    start = dict(parts=dict(pair_0={"module.": ""}, pair_1={"module.": ""}))
    stages["student"] = dict(role="distilled", model=vit, init_from=start, checkpoint_interval=1, **train)
    return dict(data=config["data"], stages=stages)


@pytest.fixture(scope="session")
def write_config(tmp_path_factory, tiny_kitti):
    """Writes the config of a small run: `write_config("node" | "link" | "points" | "images" | "modules")`."""

    def write(kind):
        config = points(tiny_kitti) if kind == "points" else globals()[kind]()
        path = tmp_path_factory.mktemp(kind) / f"{kind}.py"
        path.write_text("".join(f"{key} = {value!r}\n" for key, value in {**config, "seeds": [0]}.items()))
        return path

    return write


@pytest.fixture(scope="session")
def reference(server, write_config, tmp_path_factory):
    """Kind -> the config, and the work dir of a run that nothing happened to."""
    known = {}

    def run(kind):
        if kind not in known:
            config, work_dir = write_config(kind), tmp_path_factory.mktemp(f"{kind}_unbroken")
            process = server.train(config, work_dir)
            assert process.wait() == 0, process.text
            known[kind] = config, work_dir
        return known[kind]

    return run


@pytest.fixture(scope="session")
def left_behind():
    """What a run left, without its timings: relative path -> content of weights, outputs, histories and results."""

    def read(work_dir):
        left = {}
        for path in sorted(work_dir.glob("seed_*/**/*")):
            name = str(path.relative_to(work_dir))
            if path.name == "result.json":
                left[name] = {key: value for key, value in json.loads(path.read_text()).items() if key != "seconds"}
            elif path.name == "student.pth" or path.suffix in (".npy", ".jsonl"):
                left[name] = path.read_bytes()
        return left

    return read
