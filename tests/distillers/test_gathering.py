"""Two processes with parts of a batch: what they gather, and memory banks like those of one process."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from structkd import Structure
from structkd.distillers import CRD
from structkd.distillers.gathering import gathered

#: Rows of each of three batches that the first process holds, of seven; the other one has the rest.
CUTS = (3, 7, 4)


def batches():
    generator = torch.Generator().manual_seed(0)
    for start in range(len(CUTS)):
        n_id = torch.arange(7) + start
        x = torch.randn(7, 4, generator=generator)
        yield Structure(x=x, embedding=x, n_id=n_id, y=n_id % 3), Structure(embedding=x.flip(1), n_id=n_id)


def crd():
    torch.manual_seed(1)
    return CRD(4, 4, num_data=12, channels=3, negatives=20)


def trained(rank):
    """The state after three passes; `rank` None: of one process with the whole batches."""
    distiller = crd()
    for cut, sides in zip(CUTS, batches()):
        part = slice(None) if rank is None else slice(0, cut) if rank == 0 else slice(cut, None)
        distiller(*(Structure(**{name: value[part] for name, value in side.to_dict().items()}) for side in sides))
    return distiller.state_dict()


def process(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    rows = torch.arange(3 * rank + 1).float()[:, None] + 10 * rank
    torch.save((gathered(rows), gathered(rows[:0]), trained(rank)), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_keep_the_memory_of_one(tmp_path):
    mp.start_processes(process, (str(tmp_path),), nprocs=2, start_method="fork")
    one = trained(None)
    for rank in (0, 1):
        rows, nothing, state = torch.load(tmp_path / f"{rank}.pt")
        assert rows.flatten().tolist() == [0, 10, 11, 12, 13] and nothing.shape == (0, 1)
        for name, value in one.items():
            torch.testing.assert_close(state[name], value, msg=name)


@pytest.mark.parametrize("n", [0, 1, 4])
def test_alone(n):
    rows = torch.randn(n, 2, requires_grad=True)
    assert torch.equal(gathered(rows), rows) and not gathered(rows).requires_grad
