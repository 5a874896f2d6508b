import sys
from pathlib import Path

import pytest
import torch

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture(scope="module")
def tokens():
    sys.path.insert(0, str(TOOLS))
    try:
        from benchmarks import tokens

        yield tokens
    finally:
        sys.path.remove(str(TOOLS))


def test_both_sides_of_every_comparison_agree(tokens):
    from benchmarks.harness import Comparison

    comparisons = [benchmark for benchmark in tokens.suite("small") if isinstance(benchmark, Comparison)]
    names = ["TRG, 128 tokens", "literal local loss, 128 tokens", "InfoNCE, 128 tokens"]
    assert [comparison.name for comparison in comparisons] == names
    for comparison in comparisons:
        old, new = comparison.sides("small")
        for theirs, ours in zip(old(), new(), strict=True):
            gap = (theirs - ours).abs().max() / theirs.abs().max()
            assert gap < 1e-3, comparison.name


def test_the_default_teaches_more_than_the_literal_form(tokens):
    from benchmarks.harness import Setting

    (row,) = tokens.Gradient(8).measure(Setting("tokens", "small", 1, 1))
    assert 0 < row.baseline < row.candidate
    assert row.detail["default_over_literal"] == pytest.approx(row.candidate / row.baseline)


def test_memory_is_limited(tokens, monkeypatch):
    from benchmarks import harness

    x = torch.ones(1)
    benchmark = tokens.Limited("TRG", lambda size: (lambda: [x], lambda: [x]), limit_mb=8)
    for extra, met in ((7.0, True), (9.0, False)):
        monkeypatch.setattr(harness, "in_own_process", lambda *args, extra=extra: {"extra_mb": extra})
        rows = benchmark.measure(harness.Setting("tokens", "small", 1, 1))
        assert [(row.target, row.met) for row in rows] == [("", None), ("<= 8", met)]


def test_the_literal_form_runs_at_all_three_sizes(tokens):
    names = [benchmark.name for benchmark in tokens.suite("full")]
    assert {f"TRG, {count} tokens" for count in ("1,024", "4,096", "16,384")} <= set(names) and len(names) == 10
