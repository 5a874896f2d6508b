import json
import sys
from pathlib import Path

import numpy as np
import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture(scope="module")
def suites():
    sys.path.insert(0, str(TOOLS))
    try:
        from benchmarks import scale, scale_plan

        yield scale, scale_plan
    finally:
        sys.path.remove(str(TOOLS))


def test_every_stage_runs_on_the_files_of_those_before(suites, tmp_path, monkeypatch):
    scale, _ = suites
    monkeypatch.setenv("STRUCTKD_SCALE", str(tmp_path))
    for name, value in (("HIDDEN", 8), ("FANOUTS", (3, 2, 2))):
        monkeypatch.setattr(scale, name, value)
    from benchmarks.harness import Setting

    setting = Setting("scale", "small", 1, 1)
    for stage in scale.suite("small"):
        found = stage.part(setting, "alone")
        assert found["about"], stage.name
        assert 0 < found["anonymous_gb"] <= found["peak_gb"]
        assert found["bytes_on_disk"] == sum(found["files"].values()) > 0
    logits = np.load(tmp_path / "small" / "teacher.npy")
    assert logits.shape == (2000, 5)
    assert np.isfinite(logits).all()
    assert list((tmp_path / "small" / "scratch").iterdir()) == []


def test_a_stage_is_measured_in_a_process_of_its_own(suites, tmp_path, monkeypatch):
    scale, _ = suites
    monkeypatch.setenv("STRUCTKD_SCALE", str(tmp_path))
    (tmp_path / "small").mkdir()
    from benchmarks.harness import Setting

    stage = scale.Stage("nothing", lambda size: {"counted": 3}, scale.folder_of)
    rows = stage.measure(Setting("scale", "small", 1, 1))
    assert rows[0].detail["counted"] == 3
    assert json.loads((tmp_path / "small" / "measured.jsonl").read_text())["counted"] == 3
    with pytest.raises(RuntimeError, match="nothing"):
        scale.Stage("nothing", lambda size: sys.exit(3), scale.folder_of).measure(Setting("scale", "small", 1, 1))


def figures(scale, seconds, anonymous):
    return {stage.name: dict(cpu_seconds=seconds[stage.name], anonymous_gb=anonymous) for stage in scale.STAGES}


def test_the_plan_grows_with_the_work(suites):
    scale, plans = suites
    seconds = {stage.name: 10.0 for stage in scale.STAGES}
    seconds |= {"teacher, layer-wise": 110.0, "sparse product, 4 stretches": 13.0}
    sizes = (
        dict(num_nodes=100, num_edges=1000, num_features=4, num_classes=2),
        dict(num_nodes=200, num_edges=2000, num_features=4, num_classes=2),
    )
    small, large = figures(scale, seconds, 1.0), figures(scale, seconds, 1.5)

    def planned(numbers, memory_gb=1e9):
        return {line.name: line for line in plans.plan(small, large, numbers, memory_gb, sizes)}

    same = planned(sizes[1])
    for name, line in same.items():
        assert line.hours * 3600 == pytest.approx(seconds[name])
        assert (line.anonymous_gb, line.stretches) == (1.5, 1)
    twice = planned({**sizes[1], "num_nodes": 400, "num_edges": 4000})
    for name, line in twice.items():
        assert line.hours == pytest.approx(2 * same[name].hours)
        sorting = name == "edge list to CSR"
        assert line.anonymous_gb == pytest.approx(1.5 + 200 * 32e-9 if sorting else 2.5)  # 0.5 GB for 100 nodes
    random_gb = same["low-frequency targets"].random_gb
    assert random_gb == 4 * 200 * 2 / 1e9
    tight = planned(sizes[1], memory_gb=random_gb * 1.5 / 2.5)["low-frequency targets"]
    assert tight.stretches == 3
    # Three stretches more took 3 s for all edges, so two take 2 s.
    assert tight.hours * 3600 == pytest.approx(seconds["low-frequency targets"] + 2)


def test_a_stage_measured_at_one_size_only(suites):
    scale, plans = suites
    seconds = {stage.name: 10.0 for stage in scale.STAGES}
    small, large = figures(scale, seconds, 1.0), figures(scale, seconds, 1.5)
    numbers = plans.NUMBERS["products"]
    whole = {line.name: line for line in plans.plan(small, large, numbers)}
    del large["student, one epoch"]
    part = {line.name: line for line in plans.plan(small, large, numbers)}
    assert part["student, one epoch"].anonymous_gb is None
    grown = 2_449_029 / 122_451
    assert part["student, one epoch"].hours == pytest.approx(whole["student, one epoch"].hours * grown)
    assert part["checking all files"] == whole["checking all files"]


def test_columns_and_macs_by_hand(suites):
    scale, plans = suites
    assert scale.HIDDEN == 256
    assert plans.columns(100, 47) == 100 + 256 + 47
    assert plans.macs(100, 47) == 100 * 256 + 256 * 256 + 256 * 47


def test_the_kept_results_give_a_plan(suites):
    _, plans = suites
    text = plans.plan_table()
    assert "papers100M" in text
    assert "low-frequency targets" in text
