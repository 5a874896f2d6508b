import json

import pytest
import torch

from structkd.engine import Switches, load_config, run_experiment
from structkd.engine.expert_pictures import route_map
from structkd.engine.routing_hook import FILE, RoutingHook
from structkd.errors import ConfigError
from structkd.models import Routing

ADAMW = dict(optimizer=dict(type="AdamW", lr=0.002))
VIT = dict(preset="nano", width=16, depth=2, heads=2, patch_size=4)
CONFIG = dict(
    data=dict(type="ImageTask", dataset=dict(type="digit_images"), protocol=dict(name="holdout"), latency_batches=[]),
    seeds=[0],
    stages=dict(
        dense=dict(
            role="plain",
            model=dict(type="ViT", **VIT),
            optim_wrapper=ADAMW,
            train_dataloader=dict(batch_size=256),
            train_cfg=dict(max_epochs=1),
        ),
        sparse=dict(
            role="distilled",
            model=dict(
                type="VMoE",
                **VIT,
                experts=3,
                moe_blocks="all",
                router=dict(order="topk_softmax", noise=0.3, capacity=0.8, balance=dict(importance=0.1, load=0.1)),
            ),
            init_from="dense",
            optim_wrapper=ADAMW,
            train_dataloader=dict(batch_size=256),
            train_cfg=dict(max_epochs=3),
            custom_hooks=[dict(type="RoutingHook", interval=2)],
        ),
    ),
)


def run(folder, changes=None, resume=False):
    sparse = CONFIG["stages"]["sparse"] | (changes or {})
    config = CONFIG | dict(stages=CONFIG["stages"] | dict(sparse=sparse))
    (folder / "config.py").write_text("".join(f"{key} = {value!r}\n" for key, value in config.items()))
    run_experiment(load_config(folder / "config.py"), folder / "work", [0], Switches(resume=resume))
    return folder / "work" / "seed_0" / "sparse"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(tmp_path_factory.mktemp("routing"))


def test_lines_of_a_run_that_starts_from_a_dense_model(finished):
    lines = [json.loads(line) for line in (finished / FILE).read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 3]
    for line in lines:
        assert set(line) == {"epoch", "blocks.0.mlp.router", "blocks.1.mlp.router"}
        found = line["blocks.0.mlp.router"]
        assert sum(found["load"]) == pytest.approx(1) and max(found["load"]) < 0.5 and 0 < found["dropped"] < 0.5
        assert len(found["by_class"]) == 10 and all(sum(shares) == pytest.approx(1) for shares in found["by_class"])
    assert {path.name for path in (finished.parent / "dense").iterdir()}.isdisjoint({FILE})


def test_balance_losses_are_part_of_the_loss(finished):
    first = json.loads((finished / "scalars.jsonl").read_text().splitlines()[0])
    parts = ("train/loss/task", "train/loss/model.importance", "train/loss/model.load")
    assert all(first[part] > 0 for part in parts)
    assert first["train/loss"] == pytest.approx(sum(first[part] for part in parts), rel=1e-4)


def test_a_resumed_run_writes_the_whole_file(finished, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    after = RoutingHook.after_train_epoch

    def killed(self, runner):
        after(self, runner)
        if runner.epoch == 1:
            raise Killed

    changes = dict(checkpoint_interval=1)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(RoutingHook, "after_train_epoch", killed)
        run(tmp_path, changes)
    folder = run(tmp_path, changes, resume=True)
    assert (folder / FILE).read_text() == (finished / FILE).read_text()


def test_pictures(finished, command, tmp_path):
    config, work_dir = finished.parents[2] / "config.py", finished.parents[1]
    done = command("visualize", "experts", config, work_dir, "--stage", "sparse", "--images", 3, "--out", tmp_path)
    assert done.code == 0, done.err
    assert [line.rpartition("/")[2] for line in done.out.split()] == ["sparse_routes.png", "sparse_load.png"]
    for stage, message in (("dense", "which has no routers"), ("spare", "no stage 'spare'. Nearest: sparse")):
        refused = command("visualize", "experts", config, work_dir, "--stage", stage, "--out", tmp_path)
        assert refused.code == 2 and message in refused.err


def test_route_maps_by_hand():
    # Two images with a class token and 2 x 2 patches; the second choice counts where the first was full.
    expert = torch.tensor([[0, 1]] * 10)
    kept = torch.ones(10, 2, dtype=torch.bool)
    kept[2, 0], kept[3] = False, False
    gate = torch.tensor([[0.7, 0.3]] * 10)
    routing = Routing((2, 5), torch.zeros(10, 2), torch.full((10, 2), 0.5), expert, gate, kept)
    found = route_map("blocks.1.mlp.router", routing, (8, 8), 1)
    assert found.title == "block 1" and found.experts == 2
    assert found.expert.tolist() == [[[0, 1], [-1, 0]], [[0, 0], [0, 0]]]
    assert found.gate[0, 0].tolist() == pytest.approx([0.7, 0.3])
    with pytest.raises(ConfigError, match="5 patches"):
        route_map("r", routing, (8, 8), 0)


def test_wrong_interval():
    with pytest.raises(ConfigError, match="interval=0"):
        RoutingHook(0)
