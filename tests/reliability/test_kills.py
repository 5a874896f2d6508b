"""Twenty kills at seeded random moments of every kind of run; each ends as one that nothing happened to."""

import random
import runpy
import shutil
import time
from pathlib import Path

import pytest
import torch

from structkd.engine.cache import TeacherCache

#: Kind of run -> kills. With the three of the cache, twenty.
KILLS = {"node": 4, "link": 3, "points": 3, "images": 3, "modules": 4}
#: What a stage writes, from its beginning to its end.
EVENTS = ("lock", "last.pth", "last.pth", "scalars.jsonl", "student.pth")
WRITE_CACHE = Path(__file__).with_name("write_cache.py")


def stamp(path):
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def next_event(rng, seed_folder, stages):
    """A condition that comes true when one of the next two unfinished stages writes some file."""
    unfinished = [stage for stage in stages if not (seed_folder / stage / "result.json").exists()]
    stage = rng.choice(unfinished[:2])
    path = seed_folder / stage / rng.choice(EVENTS if "train_cfg" in stages[stage] else ("lock", "student.pth"))
    before = stamp(path)
    return lambda: stamp(path) not in (None, before if path.name != "lock" else None)


@pytest.mark.parametrize("kind", KILLS)
def test_a_run_that_is_killed_again_and_again_ends_as_an_unbroken_one(
    server, reference, left_behind, wait_for, tmp_path, kind
):
    config, unbroken = reference(kind)
    rng, work_dir = random.Random(kind), tmp_path / "work"
    stages = runpy.run_path(str(config))["stages"]
    kills = attempts = 0
    while kills < KILLS[kind]:
        attempts += 1
        if all((work_dir / "seed_0" / stage / "result.json").exists() for stage in stages):
            shutil.rmtree(work_dir)  # nothing is left to be killed
        assert attempts < 4 * KILLS[kind], "the runs end before they can be killed"
        happened = next_event(rng, work_dir / "seed_0", stages)
        run = server.train(config, work_dir, "--resume")
        wait_for(happened, run)
        time.sleep(rng.uniform(0, 0.08))
        kills += run.kill()
        assert run.code in (0, -9), run.text
    run = server.train(config, work_dir, "--resume")
    assert run.wait() == 0, run.text
    ours, theirs = left_behind(work_dir), left_behind(unbroken)
    assert ours.keys() == theirs.keys()
    for name, content in ours.items():
        assert content == theirs[name], name


def test_a_cache_that_is_killed_again_and_again_is_whole(server, wait_for, tmp_path):
    rng, folder, log = random.Random(0), tmp_path / "outputs", tmp_path / "computed.txt"
    computed = lambda: [int(line) for line in log.read_text().splitlines()] if log.exists() else []  # noqa: E731
    for _ in range(3):
        before = stamp(folder / "progress.json")
        run = server.start(WRITE_CACHE, folder, log)
        assert wait_for(lambda before=before: stamp(folder / "progress.json") not in (None, before), run), run.text
        time.sleep(rng.uniform(0, 0.02))
        assert run.kill(), "the cache was whole before its writer could be killed"
        assert not TeacherCache(folder).exists
    already = len(computed())
    run = server.start(WRITE_CACHE, folder, log)
    assert run.wait() == 0, run.text
    script = runpy.run_path(str(WRITE_CACHE))
    assert computed()[already:] == list(range(computed()[already], script["PARTS"])) and computed()[already] > 0
    assert_whole(folder, script)
    assert server.start(WRITE_CACHE, folder, log).wait() == 0
    assert computed()[-1] == script["PARTS"] - 1 and computed().count(script["PARTS"] - 1) == 1, "written once only"


def test_two_writers_of_one_cache_share_it(server, tmp_path):
    folder, log = tmp_path / "outputs", tmp_path / "computed.txt"
    both = [server.start(WRITE_CACHE, folder, log) for _ in range(2)]
    assert [run.wait() for run in both] == [0, 0], both[0].text + both[1].text
    script = runpy.run_path(str(WRITE_CACHE))
    assert [int(line) for line in log.read_text().splitlines()] == list(range(script["PARTS"]))
    assert_whole(folder, script)


def assert_whole(folder, script):
    structure = TeacherCache(folder).load(script["graph"](), "the same teacher")
    parts = [script["part"](number) for number in range(script["PARTS"])]
    assert torch.equal(structure.x, torch.cat([part.x for part in parts]))
    assert torch.equal(structure.n_id, script["graph"]().n_id) and torch.equal(structure.codebook, parts[0].codebook)
    assert {path.name for path in folder.iterdir()} == {"codebook.npy", "lock", "meta.json", "n_id.npy", "x.npy"}
