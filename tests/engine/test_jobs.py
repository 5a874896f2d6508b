"""Pairs of modules as jobs: alone, killed and resumed, side by side in processes, and put together."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from structkd.engine import Switches, load_config, run_experiment
from structkd.engine.experiment import results_folder
from structkd.engine.locks import alone, hold
from structkd.engine.parts import assemble
from structkd.errors import CheckpointError, ConfigError, WiringError

REPO = Path(__file__).parents[2]
CONFIG = """
data = dict(type="ImageTask", dataset=dict(type="digit_images"), protocol=dict(name="holdout", per_class=6),
            augment=[dict(type="RandomCrop", padding=1)], views=2, latency_batches=[])
seeds = [0]
_vit = dict(type="ViT", width=8, depth=2, heads=2, patch_size=4)
_how = dict(optim_wrapper=dict(optimizer=dict(type="AdamW", lr=0.01)), train_dataloader=dict(batch_size=20))
_hybrid = dict(type="Hybrid", meta=dict(stage="meta"), splits=["blocks.1"], index=0)
_wide = {**_vit, "width": 12}
stages = dict(
    meta=dict(role="auxiliary", model=_wide, train_cfg=dict(max_epochs=1), store_outputs=False, **_how),
    teacher=dict(role="teacher", model=_wide, train_cfg=dict(max_epochs=1), **_how),
)
for _i in (0, 1):
    stages[f"target_{_i}"] = dict(
        role="auxiliary", model={**_hybrid, "source": dict(stage="teacher"), "index": _i, "stitch": "none"},
        adapter=dict(type="HybridAdapter", fields=["prefix"] if _i else []),
    )
for _i in (0, 1):
    stages[f"pair_{_i}"] = dict(
        role="auxiliary", model={**_hybrid, "source": _vit, "index": _i}, adapter=dict(type="HybridAdapter"),
        teachers=dict(teacher=dict(stage=f"target_{_i}")), inputs=dict(prefix="teacher") if _i else {},
        objective_weight=0.5, distillers=dict(m2mkd=dict(type="M2mKD", weight=0.5)), store_outputs=False,
        train_cfg=dict(max_epochs=25), checkpoint_interval=1, **_how,
    )
stages["student"] = dict(
    role="distilled", model=_vit, train_cfg=dict(max_epochs=1), **_how,
    init_from=dict(parts=dict(pair_0={"module.": ""}, pair_1={"module.": ""})),
)
"""
PREPARED = "run=[meta,teacher,target_0,target_1]"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "pairs.py"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def serial(config, tmp_path_factory):
    """The work dir of a run of everything in one process."""
    folder = tmp_path_factory.mktemp("serial")
    run_experiment(load_config(config), folder, [0], Switches())
    return folder


def weights(folder, stage):
    return torch.load(folder / "seed_0" / stage / "student.pth", weights_only=True)["state_dict"]


def assert_same(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert torch.equal(value, other[key]), key


def test_the_student_starts_from_every_distilled_weight(config, serial):
    options = {"stages.student.train_cfg.max_epochs": 0, "run": ["student"], "stages.student.role": "plain"}
    before = {path: path.stat().st_mtime_ns for path in serial.rglob("*") if "student" not in path.parts}
    run_experiment(load_config(config, options), serial, [0], Switches())
    try:
        pairs = [weights(serial, f"pair_{i}") for i in (0, 1)]
        expected = {key[7:]: value for pair in pairs for key, value in pair.items() if key.startswith("module.")}
        assert_same(weights(serial, "student"), expected)
        # The other stages were read, and nothing of theirs nor of the whole run was written.
        after = {path: path.stat().st_mtime_ns for path in before}
        assert all(path.is_dir() or after[path] == before[path] for path in before)
        job = serial / "jobs" / "student.seed_0"
        assert {path.name for path in job.iterdir()} == {"config.json", "lock", "results.json", "train.log"}
        assert list(json.loads((job / "results.json").read_text())["stages"]) == ["student"]
        assert "student" in json.loads((serial / "results.json").read_text())["stages"]
    finally:
        run_experiment(load_config(config, {"run": ["student"]}), serial, [0], Switches())


def test_frozen_parts_stay_as_they_were(serial):
    meta = weights(serial, "meta")
    for i in (0, 1):
        pair = weights(serial, f"pair_{i}")
        for part in ("prefix.", "suffix."):
            frozen = {key[len(part) :]: value for key, value in pair.items() if key.startswith(part)}
            assert_same(frozen, {key: meta[key] for key in frozen})
        assert any(key.startswith(("prefix.", "suffix.")) for key in pair)


def test_a_job_whose_pair_has_not_run_names_it(config, serial, tmp_path):
    with pytest.raises(
        ConfigError, match=r"stages\.pair_1\.(model|teachers\.teacher) names the stage '(meta|target_1)'"
    ):
        run_experiment(load_config(config, {"run": ["pair_1"]}), tmp_path, [0], Switches())
    other = load_config(config, {"run": ["pair_1"], "stages.meta.train_cfg.max_epochs": 2})
    with pytest.raises(CheckpointError, match="belongs to another config of stage 'meta'"):
        run_experiment(other, serial, [0], Switches())
    assert list(load_config(config, {"run": ["pair_1"]}).taken) == ["meta", "teacher", "target_1"]
    assert "taken" not in load_config(config, {"run": ["meta", "teacher"]})


def test_pairs_in_two_processes_one_of_them_killed(config, serial, tmp_path, command):
    work = tmp_path / "work"
    shown = command("train", config, "--work-dir", work, "--cfg-options", PREPARED)
    assert shown.code == 0, shown.err
    tops = {name: (work / name).read_bytes() for name in ("config.json", "results.json", "train.log")}
    start = [sys.executable, "tools/train.py", str(config), "--work-dir", str(work), "--cfg-options"]
    both = [
        subprocess.Popen(
            [*start, f"run=[pair_{i}]"], cwd=REPO, stdout=subprocess.DEVNULL, start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )
        for i in (0, 1)
    ]  # fmt: skip
    folder = work / "seed_0" / "pair_1"
    deadline = time.monotonic() + 240
    while not (folder / "last.pth").exists() and both[1].poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(both[1].pid, signal.SIGSTOP)  # so that it is still at it when the others have looked
    # Others are kept from a pair that is being trained, whatever else they run, and take nothing of it away.
    try:
        others = [
            command("train", config, "--work-dir", work, *resume, "--cfg-options", "run=[meta,pair_1]")
            for resume in (["--resume"], [])
        ]
    finally:
        os.killpg(both[1].pid, signal.SIGKILL)
    assert both[1].wait() == -signal.SIGKILL and (folder / "last.pth").exists()
    assert not (folder / "student.pth").exists(), "the job ended before it could be killed"
    for other in others:
        assert other.code == 2 and "[seed 0] pair_1 is being run by another process" in other.err, other.err
    assert (work / "seed_0" / "meta" / "result.json").exists()
    assert both[0].wait(240) == 0
    assert_same(weights(work, "pair_0"), weights(serial, "pair_0"))

    done = command("train", config, "--work-dir", work, "--resume", "--cfg-options", "run=[pair_1]")
    assert done.code == 0, done.err
    assert_same(weights(work, "pair_1"), weights(serial, "pair_1"))
    assert all((work / name).read_bytes() == content for name, content in tops.items())
    assert {path.name for path in (work / "jobs").iterdir()} == {
        "pair_0.seed_0", "pair_1.seed_0", "meta+pair_1.seed_0",
    }  # fmt: skip

    whole = command("train", config, "--work-dir", work, "--resume")
    assert whole.code == 0, whole.err
    assert_same(weights(work, "student"), weights(serial, "student"))
    ours, theirs = (json.loads((path / "results.json").read_text())["stages"] for path in (work, serial))
    assert {name: stage["metrics"] for name, stage in ours.items()} == {
        name: stage["metrics"] for name, stage in theirs.items()
    }


def test_a_shared_prefix_gives_what_recomputing_it_gives(config, serial, tmp_path):
    for name in ("meta", "teacher", "target_1"):
        (tmp_path / "seed_0").mkdir(exist_ok=True)
        os.symlink(serial / "seed_0" / name, tmp_path / "seed_0" / name)
    run_experiment(load_config(config, {"run": ["pair_1"], "stages.pair_1.inputs": {}}), tmp_path, [0], Switches())
    expected = weights(serial, "pair_1")
    for key, value in weights(tmp_path, "pair_1").items():
        assert torch.allclose(value, expected[key], atol=1e-4), key


@pytest.mark.parametrize(
    "options, words",
    [
        (dict(pair_0={"module.": ""}), "missing blocks.1"),
        (dict(pair_2={"": ""}), "init_from names the stage 'pair_2'"),
        (dict(pair_0="module."), "'pair_0' must be a dict"),
        ({}, "names no stage"),
        (dict(pair_0={"modul.": ""}), "no weight begins with 'modul.'"),
        ({"stages.pair_1.inputs": dict(prefix="tea")}, "names the teacher 'tea'"),
        ({"stages.pair_0.inputs": dict(prefix="teacher")}, "reads prefix of the teacher 'teacher'"),
        ({"stages.pair_1.model.index": 2}, "index=2"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_trains(config, options, words, tmp_path):
    if not any("stages" in name for name in options):
        parts, options = options, {}
        config = tmp_path / "pairs.py"
        config.write_text(f"{CONFIG}stages['student']['init_from'] = dict(parts={parts!r})\n")
    with pytest.raises((ConfigError, CheckpointError, WiringError), match=words):
        run_experiment(load_config(config, options), tmp_path, [0], Switches())
    assert not (tmp_path / "seed_0").exists()


def test_assembly_takes_each_weight_once():
    first, second = torch.nn.Linear(2, 2), torch.nn.Linear(2, 3)
    student = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 3))
    assemble(student, {"a": first, "b": second}, {"a": {"": "0."}, "b": {"": "1."}})
    assert torch.equal(student[0].weight, first.weight) and torch.equal(student[1].bias, second.bias)
    with pytest.raises(CheckpointError, match=r"parts\.b: '0\.bias' comes from an earlier part too"):
        assemble(student, {"a": first, "b": first}, {"a": {"": "0."}, "b": {"": "0."}})
    with pytest.raises(CheckpointError, match=r"unexpected 2\.bias"):
        assemble(student, {"a": first, "b": second}, {"a": {"": "0."}, "b": {"": "1.", "b": "2.b"}})


def test_locks(tmp_path):
    with alone(tmp_path / "x" / "lock", "The stage"):
        assert hold(tmp_path / "x" / "lock") is None
        other = alone(tmp_path / "x" / "lock", "The stage")
        with pytest.raises(CheckpointError, match="The stage is being run by another process"), other:
            pass
    with hold(tmp_path / "x" / "lock"):
        pass


def test_where_the_results_of_the_whole_go(config, tmp_path):
    from contextlib import ExitStack

    whole, job = load_config(config), load_config(config, {"run": ["pair_0"]})
    with ExitStack() as stack:
        assert results_folder(job, tmp_path, [0], stack) == tmp_path / "jobs" / "pair_0.seed_0"
        assert results_folder(job, tmp_path, [1, 2], stack) == tmp_path / "jobs" / "pair_0.seed_1_2"
        assert results_folder(whole, tmp_path, [0], stack) == tmp_path
        other = results_folder(whole, tmp_path, [0], stack)  # someone writes there already
        assert other.parent == tmp_path / "jobs" and len(other.name) < 100
    with ExitStack() as stack:
        assert results_folder(whole, tmp_path, [0], stack) == tmp_path
