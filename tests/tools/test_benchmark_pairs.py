import sys
from pathlib import Path

import pytest
import torch

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture(scope="module")
def pairs():
    sys.path.insert(0, str(TOOLS))
    try:
        from benchmarks import pairs

        yield pairs
    finally:
        sys.path.remove(str(TOOLS))


def test_both_sides_of_the_pair_benchmarks_agree(pairs):
    found = pairs.pair_benchmarks()
    assert len({benchmark.name for benchmark in found}) == len(found) == 4
    for benchmark in found:
        baseline, candidate = benchmark.sides("small")
        for theirs, ours in zip(baseline(), candidate(), strict=True):
            assert torch.allclose(theirs, ours, rtol=1e-3, atol=1e-4 * float(theirs.abs().max())), benchmark.name


def test_the_candidate_runs_no_prefix(pairs):
    for sides, runs in ((pairs.shared_sides, 1), (pairs.stored_sides, 0)):
        data_runs = []
        _, candidate = sides(2, "small")
        data = candidate.args[0]
        # Both hybrids hold the same prefix: one meta model.
        data.student.prefix.patch_embed.register_forward_hook(lambda *_, runs=data_runs: runs.append(1))
        candidate()
        assert len(data_runs) == runs
