import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture(scope="module")
def harness():
    sys.path.insert(0, str(TOOLS))
    try:
        from benchmarks import harness

        yield harness
    finally:
        sys.path.remove(str(TOOLS))


@pytest.fixture(scope="module")
def graphs(harness):
    from benchmarks import graphs

    return graphs


@pytest.fixture(scope="module")
def tool(harness):
    import benchmark

    return benchmark


def test_table_and_json(tmp_path):
    file = tmp_path / "out.json"
    options = ["--size", "small", "--threads", "1", "--repeats", "2", "--only", "high-frequency loss", "--json", file]
    done = subprocess.run([sys.executable, TOOLS / "benchmark.py", "graphs", *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "high-frequency loss" in done.stdout and "extra memory, MB" in done.stdout
    assert "repeat 2 of 2" in done.stderr  # progress
    result = json.loads(file.read_text())
    assert result["size"] == "small" and result["machine"]["threads"] == 1
    assert result["machine"]["versions"]["torch"] == torch.__version__
    time_row = result["rows"][0]
    assert len(time_row["detail"]["baseline_ms"]) == len(time_row["detail"]["candidate_ms"]) == 2
    assert time_row["detail"]["largest_relative_difference"] < 1e-4
    assert time_row["gain"] == pytest.approx(time_row["baseline"] / time_row["candidate"])
    assert time_row["target"] == ""  # nothing is asked of a trial


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--size", "tiny"), "There is no size 'tiny'. Sizes: small:"),
        (("--size", "small", "--only", "speed"), "There is no benchmark speed. Benchmarks: low-frequency loss,"),
    ],
)
def test_bad_arguments(tool, capsys, arguments, message):
    assert tool.main(["graphs", "--threads", "1", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_nothing_is_repeated_less_than_once(tool, capsys):
    with pytest.raises(SystemExit):
        tool.main(["graphs", "--repeats", "0"])
    assert "at least 1" in capsys.readouterr().err


def test_both_sides_of_every_comparison_agree(graphs, harness):
    comparisons = [b for b in graphs.suite("small") if isinstance(b, harness.Comparison)]
    assert len(comparisons) == 5
    for comparison in comparisons:
        old, new = comparison.sides("small")
        for theirs, ours in zip(old(), new(), strict=True):
            assert torch.allclose(theirs, ours, rtol=1e-3, atol=1e-5 * float(theirs.abs().max())), comparison.name


def test_epoch(graphs):
    figures = graphs.epoch("small", lambda text: None)
    assert figures["edges"] == 8000 and figures["loss"] > 0 and figures["seconds"] > 0
    assert {"targets_s", "student_forward_s", "losses_s", "backward_s"} <= figures.keys()


def test_latency(graphs, harness):
    rows = graphs.Latency().measure(harness.Setting("graphs", "small", 1, 1))
    measures = [row.measure for row in rows]
    for size in (1, 128, 4096):
        assert [m for m in measures if m.startswith(f"{size} nodes")] == [
            f"{size} nodes, {part}, ms" for part in ("gathering", "computing", "both")
        ]
    macs = next(row for row in rows if row.measure.startswith("MACs"))
    assert macs.candidate == pytest.approx(2000 * (32 * 256 + 256 * 256 + 256 * 10) / 1e6) and macs.gain > 1


def test_targets(harness, monkeypatch):
    monkeypatch.setattr(harness, "in_own_process", lambda *args: {"extra_mb": 8.0, "seconds": 1.0})
    x = torch.ones(1)
    setting = harness.Setting("graphs", "arxiv", 1, 1)
    rows = harness.Comparison("a", lambda size: (lambda: [x], lambda: [x]), None, 2, ("arxiv",)).measure(setting)
    assert [row.met for row in rows] == [None, False] and rows[1].gain == 1
    assert "MISSED" in harness.table(rows).splitlines()[2]
    monkeypatch.setattr(harness, "in_own_process", lambda *args: {"seconds": 1.0, "peak_gb": 3.0})
    rows = harness.Alone("b", None, limit_gb=4, asked_at=("arxiv",)).measure(setting)
    assert rows[1].met and "<= 4" in harness.table(rows)


def test_extra_memory_counts_what_a_call_holds(harness):
    if harness.extra_memory(lambda: None) is None:
        pytest.skip("the system does not tell a process's peak memory")

    def hold():
        torch.ones(40_000_000).sum()

    assert 150 < harness.extra_memory(hold) < 200


def test_a_failing_part_is_an_error(harness, monkeypatch, tmp_path):
    (tmp_path / "fails.py").write_text("raise SystemExit(3)")
    monkeypatch.setattr(harness, "SCRIPT", tmp_path / "fails.py")
    with pytest.raises(RuntimeError, match="a, baseline: the process that measures it ended with code 3"):
        harness.in_own_process(harness.Setting("graphs", "small", 1, 1), "a", "baseline")
