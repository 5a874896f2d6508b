import numpy as np
import pytest
import torch

from structkd.datasets import Frame, SceneLoader
from structkd.errors import ConfigError, DataError


class Numbered:
    """Frame i has i points; counts how often it is read."""

    classes = ("Car",)

    def __init__(self, count):
        self.count, self.reads = count, 0

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        self.reads += 1
        return Frame(np.full((i, 4), i, np.float32), np.zeros((1, 7), np.float32), np.zeros(1, np.int64), str(i))


def jitter(frame, rng):
    return frame.replace(boxes=frame.boxes + rng.random(frame.boxes.shape, dtype=np.float32))


def passes(loader, epoch):
    loader.set_epoch(epoch)
    return [(scenes.n_id.tolist(), scenes.boxes) for scenes in loader]


def by_frame(batches):
    return {i: boxes[row].tolist() for ids, boxes in batches for row, i in enumerate(ids)}


def test_an_epoch_passes_over_all_frames():
    loader = SceneLoader(Numbered(10), 4)
    batches = passes(loader, 0)
    assert [len(ids) for ids, _ in batches] == [4, 3, 3] and len(loader) == 3
    assert sorted(i for ids, _ in batches for i in ids) == list(range(10))
    assert [ids for ids, _ in passes(loader, 1)] != [ids for ids, _ in batches]


def test_batches_depend_on_seed_and_epoch_alone():
    state = torch.get_rng_state()
    first, second = SceneLoader(Numbered(10), 4, [jitter], seed=3), SceneLoader(Numbered(10), 4, [jitter], seed=3)
    passes(first, 0)
    for (a, x), (b, y) in zip(passes(first, 2), passes(second, 2), strict=True):
        assert a == b and torch.equal(x, y)
    assert by_frame(passes(first, 1)) != by_frame(passes(first, 2))
    assert by_frame(passes(SceneLoader(Numbered(10), 4, [jitter], seed=4), 2)) != by_frame(passes(first, 2))
    assert torch.equal(state, torch.get_rng_state())


def test_a_frame_is_augmented_alike_in_any_batch_and_process():
    whole = by_frame(passes(SceneLoader(Numbered(8), 4, [jitter]), 1))
    assert by_frame(passes(SceneLoader(Numbered(8), 3, [jitter]), 1)) == whole
    assert by_frame(passes(SceneLoader(Numbered(8), 4, [jitter], num_workers=2), 1)) == whole
    parts = [by_frame(passes(SceneLoader(Numbered(8), 4, [jitter], rank=rank, world_size=2), 1)) for rank in (0, 1)]
    assert parts[0] | parts[1] == whole and not parts[0].keys() & parts[1].keys()


def test_repeat_gives_each_frame_several_turns_with_augmentations_of_their_own():
    batches = passes(SceneLoader(Numbered(5), 5, [jitter], repeat=2), 0)
    ids = [i for ids, _ in batches for i in ids]
    assert sorted(ids) == sorted([*range(5), *range(5)])
    assert len({tuple(box) for _, boxes in batches for box in boxes.tolist()}) == 10


def test_in_order_for_evaluation():
    loader = SceneLoader(Numbered(7), 3, shuffle=False)
    assert [ids for ids, _ in passes(loader, 5)] == [[0, 1, 2], [3, 4], [5, 6]]
    halves = [SceneLoader(Numbered(7), 4, shuffle=False, rank=rank, world_size=2) for rank in (0, 1)]
    assert [[ids for ids, _ in passes(half, 0)] for half in halves] == [[[0, 1], [4, 5]], [[2, 3], [6]]]


def test_cache_reads_each_frame_once_and_keeps_it_as_it_was():
    frames = Numbered(4)
    loader = SceneLoader(frames, 2, [jitter], cache=True)
    first = by_frame(passes(loader, 0))
    assert by_frame(passes(loader, 0)) == first and frames.reads == 4
    assert by_frame(passes(SceneLoader(Numbered(4), 2, [jitter]), 0)) == first


def test_errors():
    with pytest.raises(ConfigError, match="batch_size=0"):
        SceneLoader(Numbered(2), 0)
    with pytest.raises(ConfigError, match="repeat=0"):
        SceneLoader(Numbered(2), 1, repeat=0)
    with pytest.raises(DataError, match="without frames"):
        SceneLoader(Numbered(0), 1)
    with pytest.raises(ConfigError, match="processes"):
        SceneLoader(Numbered(4), 1, world_size=2)
