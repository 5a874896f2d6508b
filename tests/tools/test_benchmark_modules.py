import sys
from pathlib import Path

import pytest
import torch

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture(scope="module")
def modules():
    sys.path.insert(0, str(TOOLS))
    try:
        from benchmarks import modules

        yield modules
    finally:
        sys.path.remove(str(TOOLS))


def test_both_sides_of_the_expert_benchmarks_agree(modules):
    found = modules.expert_benchmarks()
    assert len({benchmark.name for benchmark in found}) == len(found) == 7
    for benchmark in found:
        baseline, candidate = benchmark.sides("small")
        for theirs, ours in zip(baseline(), candidate(), strict=True):
            assert torch.allclose(theirs, ours, rtol=1e-3, atol=1e-4 * float(theirs.abs().max())), benchmark.name


def test_empty_experts_are_empty(modules):
    _, grouped = modules.product_sides(8, True, "small")
    gradient = grouped()[2]
    assert gradient.any((1, 2)).tolist() == [True, False] * 4
