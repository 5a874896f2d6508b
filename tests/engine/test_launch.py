import os
import socket

import pytest
import torch.distributed as dist

from structkd.engine.launch import LAUNCHERS, TIMEOUT, TIMEOUT_VARIABLE, join_processes
from structkd.errors import ConfigError

VARIABLES = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"}.union(*LAUNCHERS.values())


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Without any launcher's variables; what joining sets is taken back, and the group it makes is left."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # so that the variable is restored whatever happens to it
        monkeypatch.delenv(name)
    yield monkeypatch
    if dist.is_initialized():
        dist.destroy_process_group()


def test_one_process_joins_nobody():
    join_processes("none")
    assert not dist.is_initialized() and "RANK" not in os.environ


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_each_launcher_tells_a_process_who_it_is(environment, launcher):
    rank, size, local = LAUNCHERS[launcher]
    joined = []
    environment.setattr(dist, "init_process_group", lambda *how, timeout: joined.append((*how, timeout.seconds)))
    for name, value in ((rank, "3"), (size, "4"), (local, "1"), ("MASTER_ADDR", "node0")):
        environment.setenv(name, value)
    join_processes(launcher)
    assert joined == [("gloo", TIMEOUT)]
    assert [os.environ[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")] == ["3", "4", "1"]
    assert os.environ["MASTER_PORT"] == "29500"


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_processes_join_over_gloo(environment, launcher):
    rank, size, local = LAUNCHERS[launcher]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, value in (
        (rank, "0"),
        (size, "1"),
        (local, "0"),
        ("MASTER_ADDR", "127.0.0.1"),
        ("MASTER_PORT", str(port)),
    ):
        environment.setenv(name, value)
    join_processes(launcher)
    assert dist.get_backend() == "gloo"
    assert (dist.get_rank(), dist.get_world_size()) == (0, 1)
    join_processes(launcher)  # a second call finds itself joined


@pytest.mark.parametrize("launcher", ["slurm", "mpi"])
def test_gloo_needs_an_address(environment, launcher):
    rank, size, _ = LAUNCHERS[launcher]
    environment.setenv(rank, "0")
    environment.setenv(size, "2")
    with pytest.raises(ConfigError, match=f"--launcher {launcher} on CPUs needs MASTER_ADDR"):
        join_processes(launcher)
    assert not dist.is_initialized()


@pytest.mark.parametrize("seconds", ["0", "soon", "-5"])
def test_a_timeout_is_a_number_of_seconds(environment, seconds):
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), (TIMEOUT_VARIABLE, seconds)):
        environment.setenv(name, value)
    with pytest.raises(ConfigError, match=f"{TIMEOUT_VARIABLE}='{seconds}'; expected a whole number"):
        join_processes("pytorch")


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_process_that_was_not_launched_says_so(launcher):
    with pytest.raises(ConfigError, match=f"--launcher {launcher} expects .* {LAUNCHERS[launcher][0]} and"):
        join_processes(launcher)
