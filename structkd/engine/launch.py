"""Starting the processes of a distributed run, on GPUs and on CPUs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from mmengine.dist import init_dist, is_distributed

from structkd.errors import ConfigError, TrainingError, reason

#: Environment variables in which each launcher tells a process who it is: rank, number of processes, local rank.
LAUNCHERS = {
    "pytorch": ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
    "mpi": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
    "slurm": ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),
}
#: Seconds that a process waits for the others before it gives up, and the environment variable that sets another
#: number, for a first process that stores a large teacher's outputs while the others wait.
TIMEOUT, TIMEOUT_VARIABLE = 1800, "STRUCTKD_DIST_TIMEOUT"


def join_processes(launcher: str) -> None:
    """Join the other processes: NCCL where there are GPUs (through mmengine), Gloo otherwise.

    mmengine's own start sets a CUDA device in any case and therefore fails on a machine without one.

    Raises:
        ConfigError: the launcher did not start this process, or (Gloo under MPI and Slurm) MASTER_ADDR is not set, or
            the time to wait for the others is no number of seconds.
    """
    if launcher == "none" or is_distributed():
        return
    rank, size, local = LAUNCHERS[launcher]
    if rank not in os.environ or size not in os.environ:
        raise ConfigError(
            f"--launcher {launcher} expects the environment variables {rank} and {size}, which it sets. Start "
            "the command through it, for example: torchrun --nproc-per-node 2 tools/train.py CONFIG --launcher pytorch"
        )
    seconds = os.environ.get(TIMEOUT_VARIABLE, str(TIMEOUT))
    if not seconds.isdigit() or int(seconds) == 0:
        raise ConfigError(f"{TIMEOUT_VARIABLE}={seconds!r}; expected a whole number of seconds.")
    if torch.cuda.is_available():
        init_dist(launcher, backend="nccl", timeout=int(seconds))
        return
    os.environ.update(RANK=os.environ[rank], WORLD_SIZE=os.environ[size], LOCAL_RANK=os.environ.get(local, "0"))
    os.environ.setdefault("MASTER_PORT", "29500")
    if "MASTER_ADDR" not in os.environ:
        raise ConfigError(
            f"--launcher {launcher} on CPUs needs MASTER_ADDR, the address of the first process's machine."
        )
    dist.init_process_group("gloo", timeout=timedelta(seconds=int(seconds)))


@contextmanager
def together() -> Iterator[None]:
    """Within the block, the end of another process of the run is a `TrainingError` that says so.

    Gloo notices a connection that closes at once; a process that hangs, and NCCL, after the time-out.
    """
    try:
        yield
    except RuntimeError as error:
        # NCCL's errors have a class; Gloo's are known by the place in its source that they name.
        if not is_distributed() or not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        raise TrainingError(
            f"Process {dist.get_rank()} of {dist.get_world_size()} lost the others: one of them ended or no longer "
            f"answers ({reason(error)}). Its own message says why. Start all of them again with --resume."
        ) from error
