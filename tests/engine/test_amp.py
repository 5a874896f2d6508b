import json

import pytest
import torch
from torch import nn

from structkd.engine.amp import BFloat16OptimWrapper


def test_forward_is_bfloat16_and_weights_stay_as_they_are():
    model = nn.Linear(4, 2)
    wrapper = BFloat16OptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    x = torch.randn(3, 4)
    before = model.weight.detach().clone()
    with wrapper.optim_context(model):
        out = model(x)
    assert out.dtype == torch.bfloat16
    assert model(x).dtype == torch.float32
    wrapper.update_params(out.float().square().mean())
    assert model.weight.dtype == torch.float32 and not torch.equal(model.weight, before)


def test_a_run_in_mixed_precision_is_another_run_and_much_like_it(command, trained, tmp_path):
    done = command("train", trained.config, "--work-dir", tmp_path, "--amp")
    assert done.code == 0, done.err
    for stage in ("teacher", "plain", "glnn"):
        full, mixed = (
            [json.loads(line) for line in (folder / "seed_0" / stage / "scalars.jsonl").read_text().splitlines()]
            for folder in (trained.work_dir, tmp_path)
        )
        losses = [[line["train/loss"] for line in lines] for lines in (full, mixed)]
        assert losses[0] != losses[1]
        assert losses[0] == pytest.approx(losses[1], rel=0.03)
        weights = torch.load(tmp_path / "seed_0" / stage / "student.pth", weights_only=True)["state_dict"]
        assert all(value.dtype == torch.float32 for value in weights.values())
