import json

import pytest

from structkd.engine import load_config
from structkd.engine.config import plain_config, resolve_root
from structkd.errors import ConfigError

STAGE = "dict(model=dict(type='MLP', hidden_channels=8), optim_wrapper=dict(), train_cfg=dict(max_epochs=3))"
TEXT = f"""
_epochs = dict(max_epochs=7)
data = dict(type="NodeTask")
stages = dict(
    first={STAGE[:-1]}, title="First", role="plain", method="none", selection=dict(patience=5, ties="latest")),
    second=dict(like="first", title="Second", selection=dict(patience=9)),
    third=dict(like="second", model=dict(dropout=0.5), train_cfg=_epochs),
    last={STAGE},
)
"""


@pytest.fixture
def read(tmp_path):
    """Reads a config file with this text, and options."""

    def load(text=TEXT, **options):
        (tmp_path / "config.py").write_text(text)
        return load_config(tmp_path / "config.py", options)

    return load


def test_a_stage_starts_from_the_one_it_is_like(read):
    stages = read().stages
    assert stages.second.model == stages.first.model
    assert stages.second.selection == dict(patience=9, ties="latest")
    assert stages.third.model == dict(type="MLP", hidden_channels=8, dropout=0.5)
    assert stages.third.selection == stages.second.selection
    assert [stage.train_cfg.max_epochs for stage in stages.values()] == [3, 3, 7, 3]
    assert stages.first.model == dict(type="MLP", hidden_channels=8)  # untouched by what is like it


def test_names_are_not_inherited(read):
    stages = read().stages
    assert [stage.get("title") for stage in stages.values()] == ["First", "Second", None, None]
    assert [stage.get("role") for stage in stages.values()] == ["plain", None, None, None]
    assert "method" not in stages.second and "like" not in stages.second


def test_none_takes_away_what_was_inherited(read):
    stages = read(TEXT.replace("selection=dict(patience=9)", "selection=None")).stages
    assert "selection" in stages.first and "selection" not in stages.second
    assert "selection" not in read(**{"stages.third.selection": None}).stages.third


def test_delete_replaces_instead_of_merging(read):
    text = TEXT.replace("model=dict(dropout=0.5)", "model=dict(_delete_=True, type='GCN')")
    assert read(text).stages.third.model == dict(type="GCN")


def test_options_reach_the_stages_that_are_like_the_changed_one(read):
    stages = read(**{"stages.first.model.hidden_channels": 64}).stages
    assert [stage.model.hidden_channels for stage in stages.values()] == [64, 64, 64, 8]
    stages = read(**{"stages.second.model.hidden_channels": 32}).stages  # a key it has only by inheritance
    assert [stage.model.hidden_channels for stage in stages.values()] == [8, 32, 32, 8]


def test_options_may_add_a_leaf_or_a_part_of_a_stage(read):
    config = read(**{"stages.last.selection.patience": 4, "stages.last.model.norm": "batch", "title": "T"})
    assert config.stages.last.selection == dict(patience=4)
    assert config.stages.last.model.norm == "batch"
    assert config.title == "T"


def test_options_reach_into_lists(read):
    text = TEXT.replace("train_cfg=_epochs", "custom_hooks=[dict(type='A', n=1), dict(type='B', n=2)]")
    hooks = read(text, **{"stages.third.custom_hooks.1.n": 5}).stages.third.custom_hooks
    assert [hook.n for hook in hooks] == [1, 5]
    with pytest.raises(ConfigError, match=r"no '2' in stages\.third\.custom_hooks"):
        read(text, **{"stages.third.custom_hooks.2.n": 5})


def test_run_chooses_stages_in_their_order(read):
    config = read(run=["third", "first"])
    assert list(config.stages) == ["first", "third"]
    assert "run" not in config
    assert config.stages.third.selection.patience == 9  # inherited from a stage that does not run
    assert list(read(run="last").stages) == ["last"]
    assert list(read().stages) == ["first", "second", "third", "last"]
    assert list(read(TEXT + "run = ['second']\n").stages) == ["second"]


def test_helper_variables_are_gone(read, tmp_path):
    assert set(read()) == {"data", "stages"}
    (tmp_path / "base.py").write_text(TEXT)
    config = read("_base_ = 'base.py'\nstages = dict(first=dict(title='Another'))\n")
    assert set(config) == {"data", "stages"}
    assert config.stages.first.title == "Another" and config.stages.third.train_cfg.max_epochs == 7


def test_a_teacher_need_not_be_trained(read):
    untrained = "stages = dict(only=dict(role='teacher', model=dict(type='HeuristicTeacher')))\ndata = dict(type='X')\n"
    assert "train_cfg" not in read(untrained).stages.only
    with pytest.raises(ConfigError, match="has no 'optim_wrapper'"):
        read(untrained.replace("model=", "train_cfg=dict(max_epochs=1), model="))
    with pytest.raises(ConfigError, match="has no 'train_cfg'"):
        read(untrained.replace("'teacher'", "'plain'"))


@pytest.mark.parametrize("given", ["dict()", "dict(stage='first', file='a.npy')", "dict(momentum=0.9)"])
def test_a_teacher_comes_from_one_place(read, given):
    with pytest.raises(ConfigError, match=r"stages\.last\.teachers\.t must name exactly one of stage, file or model"):
        read(TEXT.replace(f"last={STAGE}", f"last={STAGE[:-1]}, teachers=dict(t={given}))"))


def test_data_folder_is_filled_in_where_it_is_named(monkeypatch):
    monkeypatch.setenv("STRUCTKD_DATA", "/data")
    value = {"a": ["$STRUCTKD_DATA/x", 3], "b": {"c": "$STRUCTKD_DATA"}, "d": "other"}
    assert resolve_root(value) == {"a": ["/data/x", 3], "b": {"c": "/data"}, "d": "other"}
    monkeypatch.delenv("STRUCTKD_DATA")
    assert resolve_root({"d": "other"}) == {"d": "other"}


def test_plain_config_is_json(read):
    config = read(TEXT.replace("dropout=0.5", "dropout=0.5, sizes=(1, 2), kind=int, names={'a'}"))
    plain = plain_config(config)
    assert json.loads(json.dumps(plain)) == plain
    assert plain["stages"]["third"]["model"] == {
        "type": "MLP", "hidden_channels": 8, "dropout": 0.5, "sizes": [1, 2], "kind": "<class 'int'>", "names": ["a"],
    }  # fmt: skip
    assert list(plain["stages"]) == ["first", "second", "third", "last"]
