"""Files that changed on the disk: a clear error or the same result, never another result."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch


def flip(path, where=0.5):
    """One bit, at a share of the file."""
    content = bytearray(path.read_bytes())
    content[int(len(content) * where)] ^= 16
    path.write_bytes(content)


def flip_weight(path):
    """One bit in the middle of a weight."""
    content = bytearray(path.read_bytes())
    state = torch.load(path, weights_only=True)["state_dict"]
    weight = max(state.values(), key=torch.numel).contiguous().numpy().tobytes()
    assert content.count(weight) >= 1
    content[content.index(weight) + len(weight) // 2] ^= 16
    path.write_bytes(content)
    again = torch.load(path, weights_only=True)["state_dict"]
    assert any(not torch.equal(again[name], value) for name, value in state.items()), "torch.load looks itself now"


def cut(path):
    path.write_bytes(path.read_bytes()[:-4])


def another_table(path):
    np.save(path, np.zeros((60, 4)))


def old_format(path):
    """What was written before there were checksums."""
    path.write_text(json.dumps({"format": "structkd-cache-1", "fields": {}, "computed_from": {}}))


def digit(path):
    text = path.read_text()
    place = text.index('"num_edges": ') + 13
    path.write_text(text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :])


def other_weights(path):
    """The outputs are whole, but the weights beside them are others: the older ones belong to nothing. The student
    starts anew, since its checkpoint is of those that it was built on."""
    (path.parents[1] / "student" / "last.pth").unlink()
    content = torch.load(path, weights_only=True)
    for value in content["state_dict"].values():
        value.mul_(2.0)
    torch.save(content, path)


@pytest.fixture
def taken_up(server, reference, tmp_path):
    """Takes up a copy of a finished run whose student did not end, after something happened to one of its files."""

    def run(name, happened):
        config, unbroken = reference("node")
        shutil.copytree(unbroken, tmp_path / "work")
        (tmp_path / "work" / "seed_0" / "student" / "result.json").unlink()
        path = tmp_path / "work" / "seed_0" / name
        happened(path)
        process = server.train(config, tmp_path / "work", "--resume")
        process.wait()
        return process, path, tmp_path / "work"

    return run


@pytest.mark.parametrize(
    "name, happened",
    [
        ("student/last.pth", flip_weight),
        ("student/last.pth", cut),
        ("student/last.pth", lambda path: path.write_bytes(b"")),
        ("teacher/student.pth", flip_weight),
        ("teacher/student.pth", cut),
    ],
    ids=["checkpoint, a bit", "checkpoint, cut", "checkpoint, empty", "weights, a bit", "weights, cut"],
)
def test_a_damaged_checkpoint_is_an_error_that_names_it(taken_up, name, happened):
    process, path, _ = taken_up(name, happened)
    assert process.code == 2 and "Traceback" not in process.text, process.text
    assert f"{path} is no readable checkpoint" in process.text


def test_a_checkpoint_of_another_model_is_an_error(taken_up):
    def other(path):
        shutil.copy(path.parents[1] / "teacher" / "last.pth", path)

    process, path, _ = taken_up("student/last.pth", other)
    assert process.code == 2 and f"{path} was written with another config" in process.text, process.text


@pytest.mark.parametrize(
    "name, happened, words",
    [
        ("teacher/outputs/logits.npy", flip, "logits.npy is damaged: the checksum of shard 0 is wrong"),
        ("teacher/outputs/logits.npy", cut, "logits.npy is missing or damaged"),
        ("teacher/outputs/logits.npy", Path.unlink, "logits.npy is missing or damaged"),
        (
            "teacher/outputs/logits.npy",
            another_table,
            "its record says float32 [60, 3]",
        ),
        ("teacher/outputs/meta.json", flip, "meta.json is damaged"),
        ("teacher/outputs/meta.json", digit, "meta.json is damaged: its checksum is wrong"),
        ("teacher/outputs/meta.json", old_format, "is of the format 'structkd-cache-1'"),
        ("teacher/outputs", shutil.rmtree, "There is no complete teacher cache in"),
    ],
    ids=["a bit", "cut", "gone", "another table", "record, a bit", "record, a digit", "older format", "all gone"],
)
def test_damaged_outputs_are_computed_again(taken_up, reference, left_behind, name, happened, words):
    process, _, work_dir = taken_up(name, happened)
    assert process.code == 0, process.text
    assert words in process.text and "The outputs are computed again." in process.text
    (work_dir / "seed_0" / "student" / "last.pth").unlink()
    assert left_behind(work_dir) == left_behind(reference("node")[1])


def test_outputs_of_other_weights_are_computed_again(taken_up, reference):
    process, _, work_dir = taken_up("teacher/student.pth", other_weights)
    assert process.code == 0 and "are those of another model than the one beside them" in process.text, process.text
    ours, theirs = (np.load(d / "seed_0/teacher/outputs/logits.npy") for d in (work_dir, reference("node")[1]))
    assert not np.array_equal(ours, theirs)
