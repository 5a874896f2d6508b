"""Starting the processes of a distributed run, on GPUs and on CPUs."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from mmengine.dist import init_dist, is_distributed

from structkd.errors import ConfigError

#: Environment variables in which each launcher tells a process who it is: rank, number of processes, local rank.
LAUNCHERS = {
    "pytorch": ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
    "mpi": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
    "slurm": ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),
}


def join_processes(launcher: str) -> None:
    """Join the other processes: NCCL where there are GPUs (through mmengine), Gloo otherwise.

    mmengine's own start sets a CUDA device in any case and therefore fails on a machine without one.

    Raises:
        ConfigError: the launcher did not start this process, or (Gloo under MPI and Slurm) MASTER_ADDR is not set.
    """
    if launcher == "none" or is_distributed():
        return
    rank, size, local = LAUNCHERS[launcher]
    if rank not in os.environ or size not in os.environ:
        raise ConfigError(
            f"--launcher {launcher} expects the environment variables {rank} and {size}, which it sets. Start "
            "the command through it, for example: torchrun --nproc-per-node 2 tools/train.py CONFIG --launcher pytorch"
        )
    if torch.cuda.is_available():
        init_dist(launcher, backend="nccl")
        return
    os.environ.update(RANK=os.environ[rank], WORLD_SIZE=os.environ[size], LOCAL_RANK=os.environ.get(local, "0"))
    os.environ.setdefault("MASTER_PORT", "29500")
    if "MASTER_ADDR" not in os.environ:
        raise ConfigError(
            f"--launcher {launcher} on CPUs needs MASTER_ADDR, the address of the first process's machine."
        )
    dist.init_process_group("gloo")
