"""A run of two processes, of which one dies or hangs: the other one ends and says why, and the run can go on."""

import os
import signal
import socket
from types import SimpleNamespace

import pytest
import torch

from structkd.engine import hooks


@pytest.fixture(scope="module")
def start(server):
    """Starts both processes of a run."""

    def both(config, work_dir, *arguments, **environment):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", **environment}
        return [
            server.train(
                config, work_dir, "--launcher", "pytorch", *arguments,
                environment={**address, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in (0, 1)
        ]  # fmt: skip

    return both


@pytest.fixture(scope="module")
def unbroken(start, write_config, tmp_path_factory):
    config, work_dir = write_config("node"), tmp_path_factory.mktemp("two")
    both = start(config, work_dir)
    assert [run.wait() for run in both] == [0, 0], both[0].text + both[1].text
    return config, work_dir


@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["dies", "hangs"])
def test_a_process_that_loses_the_other_ends_and_says_so(start, unbroken, left_behind, wait_for, tmp_path, lost, how):
    config, expected = unbroken
    work_dir = tmp_path / "work"
    both = start(config, work_dir, STRUCTKD_DIST_TIMEOUT="4")
    assert wait_for((work_dir / "seed_0" / "student" / "last.pth").exists, both[0]), both[0].text + both[1].text
    os.kill(both[lost].pid, how)
    assert wait_for(lambda: not both[1 - lost].running, both[1 - lost]), "it waits for ever"
    both[lost].kill()
    assert both[1 - lost].wait() == 2, both[1 - lost].text
    words = f"TrainingError: Process {1 - lost} of 2 lost the others"
    assert words in both[1 - lost].text and "Traceback" not in both[1 - lost].text, both[1 - lost].text

    both = start(config, work_dir, "--resume")
    assert [run.wait() for run in both] == [0, 0], both[0].text + both[1].text
    assert left_behind(work_dir) == left_behind(expected)


def test_all_processes_stop_at_the_same_epoch(monkeypatch):
    first = iter((0.5, 0.6, 0.6))  # what the first process measures
    monkeypatch.setattr(hooks, "broadcast_object_list", lambda values: values.__setitem__(0, next(first)))
    selection = hooks.SelectionHook(patience=1, ties="earliest")
    runner = SimpleNamespace(
        epoch=0, model=SimpleNamespace(student=torch.nn.Linear(1, 1)), train_loop=SimpleNamespace()
    )
    for own in (0.9, 0.8, 0.95):  # this one has other running statistics
        runner.epoch += 1
        selection.after_val_epoch(runner, {"val/accuracy": own})
    assert selection.best["epoch"] == 2 and runner.train_loop.stop_training
