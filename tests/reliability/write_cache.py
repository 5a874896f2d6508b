"""Writes a teacher cache of many small parts: `write_cache.py FOLDER LOG`. Each computed part is a line of the log."""

import sys
import time
from pathlib import Path

import torch
from torch_geometric.data import Data

from structkd import Structure
from structkd.engine.cache import TeacherCache

PARTS, ROWS, COLUMNS = 200, 50, 64


def part(number):
    generator = torch.Generator().manual_seed(number)
    x = torch.randn(ROWS, COLUMNS, generator=generator)
    return Structure(x=x, n_id=torch.arange(number * ROWS, (number + 1) * ROWS), codebook=torch.arange(12.0).view(3, 4))


def graph():
    return Data(n_id=torch.arange(PARTS * ROWS), edge_index=torch.empty(2, 0, dtype=torch.long))


def main(folder, log):
    def parts(done):
        for number in range(done, PARTS):
            with Path(log).open("a") as file:
                file.write(f"{number}\n")
            time.sleep(0.001)
            yield part(number)

    TeacherCache(folder, shard_bytes=100_000).write(parts, graph(), "the same teacher")


if __name__ == "__main__":
    main(*sys.argv[1:])
