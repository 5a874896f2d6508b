import pytest
import torch

from structkd.datasets.epochs import Batches, EpochPlan, InOrder, PlannedLoader, seeded
from structkd.errors import ConfigError


def test_an_epoch_is_one_pass_in_balanced_batches():
    plan = EpochPlan([23, 100], num_batches=4, seed=1)
    parts = list(plan)
    assert len(plan) == len(parts) == 4
    for pool, size in enumerate((23, 100)):
        picks = [part.picks[pool] for part in parts]
        assert torch.equal(torch.cat(picks).sort().values, torch.arange(size))
        lengths = [pick.numel() for pick in picks]
        assert max(lengths) - min(lengths) <= 1
    assert all(part.share == 1.0 for part in parts)


def flat(plan):
    return torch.cat([torch.cat(part.picks) for part in plan])


def test_batches_depend_on_seed_and_epoch_alone():
    plan = EpochPlan([30], 3, seed=5)
    first, second, third = flat(plan), flat(plan), flat(plan)
    assert not torch.equal(first, second)
    resumed = EpochPlan([30], 3, seed=5)
    resumed.set_epoch(2)
    assert torch.equal(flat(resumed), third)
    plan.set_epoch(0)
    assert torch.equal(flat(plan), first)
    assert not torch.equal(flat(EpochPlan([30], 3, seed=6)), first)


def test_neighbouring_keys_are_unrelated():
    draws = {
        tuple(torch.randint(100, (4,), generator=seeded(*key)).tolist()) for key in [(0,), (1,), (0, 0), (0, 1), (1, 0)]
    }
    assert len(draws) == 5


def test_keep_drops_other_elements_each_epoch():
    plan = EpochPlan([23], num_batches=2, keep=20)
    epochs = [set(flat(plan).tolist()) for _ in range(3)]
    assert [len(epoch) for epoch in epochs] == [20, 20, 20]
    assert len({frozenset(epoch) for epoch in epochs}) == 3


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_cut_the_same_batches(world_size):
    whole = list(EpochPlan([23], 2, seed=9))
    ranks = [list(EpochPlan([23], 2, 9, rank, world_size)) for rank in range(world_size)]
    for number, part in enumerate(whole):
        pieces = [rank[number] for rank in ranks]
        assert torch.equal(torch.cat([piece.picks[0] for piece in pieces]), part.picks[0])
        for piece in pieces:
            assert piece.sizes == part.sizes
            assert piece.share == piece.picks[0].numel() * world_size / part.picks[0].numel()


def test_impossible_plans():
    with pytest.raises(ConfigError, match="rank=2"):
        EpochPlan([10], 1, rank=2, world_size=2)
    with pytest.raises(ConfigError, match="larger batch_size"):
        EpochPlan([10], 4, world_size=3)


def test_in_order_is_every_epoch_alike():
    plan = InOrder([7], 2)
    assert [part.picks[0].tolist() for part in plan] == [[0, 1, 2, 3], [4, 5, 6]]
    second = next(iter(plan))
    assert (second.picks[0].tolist(), second.key) == ([0, 1, 2, 3], (0, 1, 0, 0))
    pieces = [[part.picks[0].tolist() for part in InOrder([7], 2, rank=rank, world_size=2)] for rank in (0, 1)]
    assert pieces == [[[0, 1], [4, 5]], [[2, 3], [6]]]


def test_a_loader_gives_what_the_plan_says():
    class Parts(Batches):
        def __getitem__(self, part):
            return part

    state, loader = torch.get_rng_state(), PlannedLoader(Parts(), EpochPlan([9], 3, seed=2))
    first = [part.key for part in loader]
    assert first == [(2, 0, number, 0) for number in range(3)] and len(loader) == 3
    assert [part.key[1] for part in loader] == [1, 1, 1]
    loader.set_epoch(0)
    assert [part.key for part in loader] == first
    assert torch.equal(torch.get_rng_state(), state)


def test_a_stretch_is_what_this_process_picks():
    for rank in range(3):
        for part in EpochPlan([11, 17], 2, seed=1, rank=rank, world_size=3):
            for picks, whole, size in zip(part.picks, part.whole, part.sizes, strict=True):
                assert torch.equal(whole[part.stretch(size)], picks)
