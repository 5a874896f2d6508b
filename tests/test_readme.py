"""What the README shows is true: its import example runs, the files its commands name are there."""

import re
from pathlib import Path

import torch

from structkd.datasets import KittiFrames, SceneLoader, digits_graph, make_split
from structkd.models import GCN, MLP, PointPillars

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_import_example_runs_and_helps():
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    (example,) = [block for block in blocks if "import FFG2M" in block]
    lines = [line for line in example.splitlines() if line.strip()]
    assert len(lines) < 15
    torch.manual_seed(0)
    data = digits_graph()
    split = make_split("planetoid_random", data, 0, train_per_class=5, num_val=300, num_test=None)
    teacher = GCN(in_channels=64, hidden_channels=32, out_channels=10)
    optimizer = torch.optim.Adam(teacher.parameters(), lr=0.01)
    for _ in range(40):
        optimizer.zero_grad()
        logits = teacher(data.x, data.edge_index)
        torch.nn.functional.cross_entropy(logits[split.train], data.y[split.train]).backward()
        optimizer.step()
    student = MLP(in_channels=64, hidden_channels=32, out_channels=10)
    optimizer = torch.optim.Adam(student.parameters(), lr=0.01)
    names = dict(data=data, teacher=teacher, student=student, optimizer=optimizer, train=split.train)
    exec(compile(example, "README.md", "exec"), names)
    right = student(data.x).argmax(1) == data.y
    assert right[split.test].float().mean() > 0.88  # a plain MLP stays around 0.84


def test_detector_example_runs(tiny_kitti):
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    (example,) = [block for block in blocks if "import PointDistiller" in block]
    assert len([line for line in example.splitlines() if line.strip()]) < 15
    point_range = (0, -6.4, -3, 19.2, 6.4, 1)
    small = dict(point_range=point_range, voxel_size=(0.4, 0.4, 4), layer_nums=(1, 1, 1), classes=("Car", "Pedestrian"))
    teacher, student = PointPillars(**small), PointPillars(**small, width=0.25)
    before = [value.clone() for value in teacher.state_dict().values()]
    loader = SceneLoader(KittiFrames(tiny_kitti, classes=small["classes"], point_range=point_range), batch_size=3)
    names = dict(teacher=teacher, student=student, loader=loader)
    exec(compile(example, "README.md", "exec"), names)
    assert names["losses"].keys() == {"cls", "box", "dir", "edge"}
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.state_dict().values()))


def test_files_in_commands_exist():
    commands = "\n".join(re.findall(r"```bash\n(.*?)```", README, re.S))
    named = set(re.findall(r"\b((?:tools|configs|third_party)/[\w./-]+\.(?:py|sh|txt))", commands))
    assert len(named) > 8
    missing = sorted(name for name in named if not (ROOT / name).is_file())
    assert not missing


def test_every_result_section_is_filled():
    for file in (ROOT / "README.md", *sorted((ROOT / "configs").rglob("README.md"))):
        text = file.read_text(encoding="utf-8")
        for name in set(re.findall(r"<!-- results:(\S+) -->", text)):
            _, content, _ = text.split(f"<!-- results:{name} -->")
            assert len(content.strip()) > 100, f"{file.relative_to(ROOT)} has an empty table '{name}'"
