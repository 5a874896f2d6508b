import json
import logging
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from structkd.engine.checkpoint import load, save
from structkd.engine.hooks import HistoryHook, ProgressHook, ResumeHook, SelectionHook, TaskHook
from structkd.errors import ConfigError, TrainingError


class FakeRunner:
    """What the hooks read of a runner; `epoch` counts finished epochs, as during validation."""

    def __init__(self, max_epochs=10, work_dir=""):
        self.model = SimpleNamespace(
            student=nn.Linear(1, 1, bias=False), teachers={}, progress=[], steps=0,
            set_progress=lambda *now: self.model.progress.append(now), after_step=self._step,
        )  # fmt: skip
        self.epoch, self.iter, self.max_epochs, self.work_dir = 0, 0, max_epochs, work_dir
        self.train_loop = SimpleNamespace(stop_training=False)
        self.val_loop = object()
        self.train_dataloader = [None]
        self.visualizer = SimpleNamespace(add_scalars=lambda scalars, step: self.drawn.append((step, scalars)))
        self.drawn, self.saved, self.resumed_random_state = [], [], None

    def _step(self):
        self.model.steps += 1

    def save_checkpoint(self, out_dir, filename, meta):
        self.saved.append(meta["epoch"])


def validate(hook, runner, scores):
    """One epoch for each score, until the hook stops training; a student's weight is its epoch."""
    for score in scores:
        if runner.train_loop.stop_training:
            break
        runner.epoch += 1
        with torch.no_grad():
            runner.model.student.weight.fill_(runner.epoch)
        hook.after_val_epoch(runner, {"val/accuracy": score})
    return runner


@pytest.mark.parametrize(
    ("options", "scores", "best"),
    [
        ({}, [1, 3, 2, 3, 2], 4),
        ({"ties": "earliest"}, [1, 3, 2, 3, 2], 2),
        ({"rule": "less"}, [3, 1, 2, 1, 2], 4),
        ({"rule": "less", "ties": "earliest"}, [3, 1, 2, 1, 2], 2),
        ({}, [5, 4, 3], 1),
    ],
)
def test_the_best_weights_come_back_when_training_ends(options, scores, best):
    hook, runner = SelectionHook(**options), FakeRunner()
    validate(hook, runner, scores)
    assert (hook.best["epoch"], hook.best["score"]) == (best, scores[best - 1])
    assert runner.model.student.weight.item() == len(scores)
    hook.after_train(runner)
    assert runner.model.student.weight.item() == best
    assert not runner.train_loop.stop_training


@pytest.mark.parametrize(("ties", "stopped_after"), [("latest", 6), ("earliest", 4)])
def test_patience_counts_validations_without_a_new_best(ties, stopped_after):
    runner = validate(SelectionHook(patience=2, ties=ties), FakeRunner(), [1, 2, 1, 2, 1, 1, 3])
    assert runner.train_loop.stop_training
    assert runner.epoch == stopped_after


def test_no_validation_keeps_the_last_weights():
    hook, runner = SelectionHook(), FakeRunner()
    runner.model.student.weight.data.fill_(7)
    hook.after_train(runner)
    assert runner.model.student.weight.item() == 7


def test_selection_goes_on_from_a_checkpoint(tmp_path):
    scores = [1, 3, 2, 3, 2, 1, 1, 4]
    unbroken = SelectionHook(patience=4)
    validate(unbroken, FakeRunner(), scores)
    for stop in range(1, 8):
        first, runner = SelectionHook(patience=4), FakeRunner()
        validate(first, runner, scores[:stop])
        checkpoint = {}
        first.before_save_checkpoint(runner, checkpoint)
        save(checkpoint, tmp_path / "c.pth")
        second = SelectionHook(patience=4)
        second.after_load_checkpoint(runner, load(tmp_path / "c.pth"))
        validate(second, runner, scores[stop:])
        assert {**second.best, "weights": None} == {**unbroken.best, "weights": None}
        assert torch.equal(second.best["weights"]["weight"], unbroken.best["weights"]["weight"])


def test_a_run_that_patience_ended_stays_ended():
    hook, runner = SelectionHook(patience=1), FakeRunner()
    validate(hook, runner, [2, 1])
    checkpoint = {}
    hook.before_save_checkpoint(runner, checkpoint)
    again = FakeRunner()
    SelectionHook(patience=1).after_load_checkpoint(again, checkpoint)
    assert again.train_loop.stop_training


def test_the_last_weights_stay_where_nothing_is_selected():
    hook, runner = SelectionHook(rule="last"), FakeRunner()
    validate(hook, runner, [1, 3, 2])
    hook.after_train(runner)
    assert runner.model.student.weight.item() == 3
    assert hook.chosen(3) == {"metric": None, "score": None, "epoch": 3}
    hook.after_val_epoch(runner, None)  # and no validation is asked for


def test_selection_refuses_what_it_does_not_know():
    for options in ({"rule": "greatest"}, {"ties": "first"}):
        with pytest.raises(ConfigError, match=next(iter(options.values()))):
            SelectionHook(**options)
    with pytest.raises(ConfigError, match="'val/accuracy', which the evaluation does not give"):
        SelectionHook().after_val_epoch(FakeRunner(), {})


def test_history_is_the_mean_of_an_epoch_beside_its_scores(tmp_path):
    hook, runner = HistoryHook(), FakeRunner(work_dir=tmp_path)
    for epoch, losses in enumerate([[1.0, 3.0], [4.0]]):
        for loss in losses:
            hook.after_train_iter(runner, 0, outputs={"loss": torch.tensor(loss), "loss/kd": loss / 2})
        hook.after_train_epoch(runner)
        runner.epoch += 1
        if epoch == 0:
            hook.after_val_epoch(runner, {"val/accuracy": torch.tensor(0.5)})
    hook.after_train(runner)
    lines = [json.loads(line) for line in (tmp_path / "scalars.jsonl").read_text().splitlines()]
    first = {"train/loss": 2.0, "train/loss/kd": 1.0, "val/accuracy": 0.5}
    assert lines == [{"epoch": 1, **first}, {"epoch": 2, "train/loss": 4.0, "train/loss/kd": 2.0}]
    assert runner.drawn == [(1, first)]
    checkpoint = {}
    hook.before_save_checkpoint(runner, checkpoint)
    again = HistoryHook()
    again.after_load_checkpoint(runner, checkpoint)
    assert again.lines == hook.lines and again.lines is not hook.lines


def test_checkpoints_come_at_intervals_and_at_the_end():
    hook, runner = ResumeHook(interval=2), FakeRunner(max_epochs=5)
    for runner.epoch in range(1, 6):
        hook.after_val_epoch(runner)
    assert runner.saved == [2, 4, 5]
    runner.saved.clear()
    for runner.epoch in range(5):  # an epoch is counted after this call
        hook.after_train_epoch(runner)
    assert runner.saved == []  # validation follows, whose outcome belongs into the checkpoint
    runner.val_loop = None
    for runner.epoch in range(5):
        hook.after_train_epoch(runner)
    assert runner.saved == [2, 4, 5]
    runner.saved.clear()
    hook.SECONDS = -1.0  # epochs that take longer than the time between two checkpoints
    for runner.epoch in range(5):
        hook.after_train_epoch(runner)
    assert runner.saved == [1, 2, 3, 4, 5]
    with pytest.raises(ConfigError, match="checkpoint_interval=0"):
        ResumeHook(interval=0)


def test_random_numbers_and_teachers_go_on_from_a_checkpoint():
    class Counting:
        def __init__(self, count):
            self.count = count

        def state_dict(self):
            return {"count": torch.tensor(self.count)}

        def load_state_dict(self, state):
            self.count = int(state["count"])

    frozen = SimpleNamespace(
        state_dict=dict, load_state_dict=lambda state: pytest.fail("a frozen teacher has no state")
    )
    hook, runner = ResumeHook(), FakeRunner()
    runner.model.teachers = {"ema": Counting(5), "frozen": frozen}
    checkpoint = {}
    hook.before_save_checkpoint(runner, checkpoint)
    expected = torch.rand(3)
    runner.model.teachers["ema"].count = 0
    hook.after_load_checkpoint(runner, checkpoint)
    assert runner.model.teachers["ema"].count == 5
    runner.resumed_random_state = checkpoint["random"]
    hook.before_train(runner)
    assert torch.equal(torch.rand(3), expected)


def test_task_is_told_the_epoch_and_every_step():
    hook, runner = TaskHook(), FakeRunner(max_epochs=4)
    epochs = []
    runner.train_dataloader = SimpleNamespace(set_epoch=epochs.append)
    for runner.epoch in range(2):
        hook.before_train_epoch(runner)
        hook.after_train_iter(runner, 0, outputs={"loss": torch.tensor(1.0)})
    assert runner.model.progress == [(0, 4), (1, 4)] and epochs == [0, 1]
    assert runner.model.steps == 2


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_loss_that_is_not_finite_stops_before_the_next_step(loss):
    hook, runner = TaskHook(), FakeRunner()
    runner.epoch = 3
    with pytest.raises(TrainingError, match=r"not finite in epoch 4: loss (nan|inf), loss/kd 2\."):
        hook.after_train_iter(runner, 0, outputs={"loss": torch.tensor(loss), "loss/kd": torch.tensor(2.0)})
    assert runner.model.steps == 0


def test_progress_is_logged_a_few_times_a_stage(caplog):
    hook, runner = ProgressHook("[seed 0] glnn", lines=5), FakeRunner(max_epochs=20)
    logger = logging.getLogger("structkd")
    logger.addHandler(caplog.handler)
    try:
        caplog.set_level(logging.INFO, logger="structkd")
        hook.before_train(runner)
        for runner.epoch in range(1, 21):
            hook.after_train_iter(runner, 0, outputs={"loss": torch.tensor(0.25)})
            hook.after_val_epoch(runner, {"val/accuracy": 0.5})
    finally:
        logger.removeHandler(caplog.handler)
    lines = sorted({record.getMessage() for record in caplog.records})
    assert [line.split("  ")[1] for line in lines] == [f"epoch {n}/20" for n in (12, 16, 20, 4, 8)]
    assert all("[seed 0] glnn" in line and "loss 0.2500" in line and "val/accuracy 0.5000" in line for line in lines)
    assert lines[2].endswith("at most 0:00:00 left")
