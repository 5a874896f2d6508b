import concurrent.futures
import json
import pickle
import sys
import time

import pytest

from structkd.datasets import KittiFrames, simulated_kitti
from structkd.errors import ConfigError, DataError

pytestmark = pytest.mark.usefixtures("open3d")


def make(root, train=3, val=2, **more):
    return simulated_kitti(root, train, val, show_progress=False, **more)


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_layout(tmp_path):
    folder = make(tmp_path, num_test=1)
    assert folder.parent == tmp_path
    assert {path.name for path in folder.iterdir()} == {"training", "ImageSets", "manifest.json"}
    for split, size in (("train", 3), ("val", 2), ("test", 1)):
        frames = KittiFrames(folder, split)
        assert len(frames) == size
        for frame in frames:
            assert len(frame.points) > 8000 and frame.calibration.projection[0, 0] == 721.5377
    assert KittiFrames(folder, "val").frame_ids == ["100000", "100001"]


def test_a_complete_set_is_used_as_it_is(tmp_path):
    folder = make(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    time.sleep(0.01)
    assert make(tmp_path) == folder and {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_an_interrupted_set_is_taken_up(tmp_path, monkeypatch):
    whole = content(make(tmp_path / "whole"))
    from structkd.datasets.points.simulator.simulate import Simulation

    real, numbers = Simulation.frame, []

    def breaks(self, number):
        if number == 2:
            raise KeyboardInterrupt
        return real(self, number)

    monkeypatch.setattr(Simulation, "frame", breaks)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "cut")
    (folder,) = (tmp_path / "cut").iterdir()
    assert not (folder / "manifest.json").exists()

    def counted(self, number):
        numbers.append(number)
        return real(self, number)

    monkeypatch.setattr(Simulation, "frame", counted)
    assert make(tmp_path / "cut") == folder and numbers == [2, 100000, 100001]
    assert content(folder) == whole


def test_frames_do_not_depend_on_how_many_there_are(tmp_path):
    few, many = make(tmp_path, 2, 1), make(tmp_path, 4, 3)
    assert few != many
    names = [path.name for path in (few / "training" / "velodyne").iterdir()]
    for name in names:
        assert (few / "training/velodyne" / name).read_bytes() == (many / "training/velodyne" / name).read_bytes()
    assert sorted(names) == ["000000.bin", "000001.bin", "100000.bin"]


def test_other_parameters_have_folders_of_their_own(tmp_path):
    folders = {make(tmp_path, 1, 0), make(tmp_path, 1, 0, seed=1), make(tmp_path, 1, 0, counts={"Car": 9})}
    assert len(folders) == 3


class _Pool:
    """Does what a pool of spawned processes does with its work: sends it as bytes."""

    def __init__(self, workers, context):
        assert workers == 2 and context.get_start_method() == "spawn"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def map(self, work, numbers, chunksize):
        return [pickle.loads(pickle.dumps(work))(number) for number in numbers]


def test_processes_make_the_same_frames(tmp_path, monkeypatch):
    alone = content(make(tmp_path / "a", 2, 1))
    monkeypatch.setattr(concurrent.futures, "ProcessPoolExecutor", _Pool)
    assert content(make(tmp_path / "b", 2, 1, num_workers=2)) == alone


def test_default_root(tmp_path, monkeypatch):
    monkeypatch.setenv("STRUCTKD_CACHE", str(tmp_path))
    assert make(None, 1, 0).parent == tmp_path / "simulated_kitti"
    monkeypatch.delenv("STRUCTKD_CACHE")
    monkeypatch.chdir(tmp_path)
    assert make(None, 1, 0).resolve().parent == tmp_path / "data" / "simulated_kitti"


def test_progress_goes_to_the_error_stream(tmp_path, capsys):
    simulated_kitti(tmp_path, 2, 0)
    captured = capsys.readouterr()
    assert captured.out == "" and "frames: 2 of 2" in captured.err


def test_manifest(tmp_path):
    folder = make(tmp_path, 1, 0)
    path = folder / "manifest.json"
    parameters = json.loads(path.read_text())
    assert parameters["train"] == 1 and parameters["seed"] == 0 and "version" in parameters
    path.write_text(json.dumps(parameters | {"seed": 3}))
    with pytest.raises(DataError, match=r"manifest\.json is of other frames"):
        make(tmp_path, 1, 0)
    path.write_text("{")
    with pytest.raises(DataError, match="damaged"):
        make(tmp_path, 1, 0)


def test_errors(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="Tram"):
        make(tmp_path, counts={"Tram": 1})
    with pytest.raises(ConfigError, match="not all 0"):
        make(tmp_path, 0, 0)
    with pytest.raises(ConfigError, match="numbers from 0"):
        make(tmp_path, -1, 2)
    monkeypatch.setitem(sys.modules, "open3d", None)
    with pytest.raises(ConfigError, match=r"structkd\[points\]"):
        make(tmp_path, 1, 0, seed=99)
