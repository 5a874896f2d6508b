"""Whose config is it, and what is changed so that it runs here."""

from pathlib import Path

import pytest
from mmengine.config import Config

from structkd.engine.openmmlab import is_openmmlab, stack
from structkd.engine.openmmlab.config import fit_to_machine, read_config
from structkd.errors import ConfigError

ROOT = Path(__file__).parents[3]
CONFIGS = sorted(path for path in (ROOT / "configs").rglob("*.py") if "_base_" not in path.parts)
THEIRS = [path for path in CONFIGS if path.parent.name == "mmdet3d"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_our_two_kinds_are_told_apart(path):
    assert is_openmmlab(path) == (path in THEIRS)


def test_files_of_other_people(tmp_path):
    base = tmp_path / "base.py"
    base.write_text("model = dict(type='VoxelNet')\ntrain_dataloader = dict()\n")
    child = tmp_path / "child.py"
    child.write_text("_base_ = ['./base.py']\nlr = 1\n")
    assert is_openmmlab(base) and is_openmmlab(child)
    assert is_openmmlab("mmdet3d::second/second_hv_secfpn_8xb6-80e_kitti-3d-3class.py")
    for text in ("stages = dict()\ntrain_dataloader = 1\n", "x = (", "import os\n_base_ = os.sep\n"):
        child.write_text(text)
        assert not is_openmmlab(child)
    assert not is_openmmlab(tmp_path / "none.py")


def test_the_extra_is_named_where_the_stack_is_not_installed(monkeypatch, command):
    monkeypatch.setattr(stack, "version", lambda name: None if name in ("mmdet", "mmdet3d") else "1")
    stack.prepare.cache_clear()
    done = command("train", THEIRS[0])
    assert done.code == 2
    assert "mmdet, mmdet3d are not installed" in done.err and "pip install 'structkd[mmdet3d]'" in done.err
    done = command("test", THEIRS[0], "some.pth")
    assert done.code == 2 and "structkd[mmdet3d]" in done.err
    monkeypatch.undo()
    stack.prepare.cache_clear()


def test_what_needs_a_gpu_gives_way_on_a_cpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    config = Config(
        dict(
            val_evaluator=dict(type="KittiMetric", ann_file="a.pkl"),
            test_evaluator=[dict(type="mmdet3d.KittiMetric", ann_file="a.pkl")],
            optim_wrapper=dict(type="AmpOptimWrapper", loss_scale="dynamic", optimizer=dict(type="AdamW")),
        )
    )
    assert len(fit_to_machine(config)) == 2
    assert config.val_evaluator == dict(type="structkd.KittiMetric", ann_file="a.pkl")
    assert config.test_evaluator[0]["type"] == "mmdet3d.KittiMetric"  # asked for by its full name
    assert config.optim_wrapper == dict(type="BFloat16OptimWrapper", optimizer=dict(type="AdamW"))


def test_errors_name_file_and_key(stack, tmp_path):
    with pytest.raises(ConfigError, match="There is no config file"):
        read_config(tmp_path / "none.py")
    with pytest.raises(ConfigError, match=r"mmdet3d has no config second/secnd\.py"):
        read_config("mmdet3d::second/secnd.py")
    with pytest.raises(ConfigError, match=r"there is no 'modl'.*model"):
        read_config(THEIRS[0], {"modl.width": 0.5})


@pytest.mark.parametrize("path", THEIRS, ids=lambda path: path.stem)
def test_our_configs_build_and_their_students_are_plain(path, stack):
    from structkd.engine.openmmlab.detector import built
    from structkd.engine.openmmlab.export import plain_config

    config = read_config(path)
    assert config.model.teacher_checkpoint.startswith("https://download.openmmlab.com/mmdetection3d/")
    plain = plain_config(config)
    assert "structkd" not in str(plain) and plain.model["type"] == config.model.teacher.type
    built(plain.model)
