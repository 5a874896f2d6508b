import numpy as np
import pytest

from structkd.evaluation.kitti.matching import bits_from, greedy_match, unpack_bits


def one_by_one(label, detection, frame, keys, bits, count):
    """The definition: threshold by threshold, label by label."""
    matched = np.zeros(len(label), dtype=np.int64)
    for k in range(count):
        taken = set()
        for current in sorted(set(label.tolist())):
            rows = [i for i in np.flatnonzero(label == current) if bits[i] >> k & 1 and detection[i] not in taken]
            if rows:
                best = min(rows, key=lambda i: (*(key[i] for key in keys), detection[i]))
                taken.add(detection[best])
                matched[best] |= 1 << k
    return matched


@pytest.mark.parametrize("seed", range(30))
def test_agrees_with_the_definition(seed):
    random = np.random.default_rng(seed)
    count, frames = 41, 6
    pairs = []
    for f in range(frames):
        for i in range(random.integers(0, 6)):
            for j in range(random.integers(0, 7)):
                if random.random() < 0.4:
                    pairs.append((10 * f + i, 10 * f + j, f))
    label, detection, frame = np.array(pairs, dtype=np.int64).reshape(-1, 3).T
    keys = random.integers(0, 2, len(label)), random.integers(0, 3, len(label)).astype(float)
    reached = random.integers(0, count + 1, 10 * frames)
    bits = bits_from(reached, count)[detection]
    expected = one_by_one(label, detection, frame, keys, bits, count)
    assert greedy_match(label, detection, frame, keys, bits).tolist() == expected.tolist()


def test_bits():
    bits = bits_from(np.array([0, 1, 3, 4]), 4)
    assert unpack_bits(bits, 4).tolist() == [[1, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]]
    assert unpack_bits(bits_from(np.array([2]), 63), 63).sum() == 61
    assert unpack_bits(bits[:0], 4).shape == (0, 4)


def test_no_pairs():
    none = np.empty(0, dtype=np.int64)
    assert greedy_match(none, none, none, (none,), none).shape == (0,)
