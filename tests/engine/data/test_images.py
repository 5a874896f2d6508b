"""Image classification in the engine: what batches and splits hold, stored teachers of views, and whole runs."""

import json

import pytest
import torch
from torch import nn

from structkd import Structure
from structkd.adapters import Adapter, TokenAdapter
from structkd.datasets import Images, ImageSet
from structkd.engine import Switches, load_config, run_experiment
from structkd.engine.data import ImageTask
from structkd.engine.registry import ADAPTERS, DATASETS, MODELS
from structkd.engine.teachers import LiveTeacher, StoredTeacher
from structkd.errors import ConfigError, DataError

SIZES = dict(train=60, val=10, test=20)


def patches(split, classes=5, size=6, ragged=False):
    """Images whose colour tells their class, with noise; the last training image of each class is unlike the others."""
    generator = torch.Generator().manual_seed(len(split))
    y = torch.arange(SIZES[split]) % classes
    pixels = torch.randint(60, (len(y), 3, size, size), generator=generator) + (y * 40).view(-1, 1, 1, 1)
    pixels = pixels.byte()
    return ImageSet(
        y, [str(c) for c in range(classes)], (lambda row: pixels[row, :, : size - row % 2]) if ragged else pixels
    )


class TinyNet(nn.Module):
    def __init__(self, in_channels, out_channels, width=4):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, width, 3, padding=1)
        self.head = nn.Linear(width, out_channels)

    def forward(self, images):
        return self.head(self.conv(images).relu().mean((2, 3)))


class ImageLogits(Adapter):
    provides = frozenset({"logits", "y", "n_id"})

    def __call__(self, model, inputs):
        return Structure(logits=model(inputs.images), y=inputs.y, n_id=inputs.n_id)


@pytest.fixture(autouse=True)
def _parts():
    """The parts above under their names, for configs."""
    for registry, part in ((MODELS, TinyNet), (ADAPTERS, ImageLogits), (DATASETS, patches)):
        registry.register_module(module=part, force=True)
    yield
    for registry, part in ((MODELS, TinyNet), (ADAPTERS, ImageLogits), (DATASETS, patches)):
        registry.module_dict.pop(part.__name__)


FLIP = dict(type="HorizontalFlip")


def task(seed=0, **options):
    data = ImageTask(**{"dataset": dict(type="patches"), "latency_batches": [], **options})
    data.setup(seed)
    return data


def test_batches_of_training_and_evaluation():
    data = task(eval_batch_size=16)
    split = data.split
    assert (split.train.numel(), split.val.numel(), split.test.numel()) == (55, 5, 20)
    assert data.protocol == "patches, holdout, images: 55 train / 5 val / 20 test"
    assert (data.primary_metric, data.selection["metric"]) == ("test/accuracy", "val/accuracy")
    batches = list(data.train_loader(dict(batch_size=20), "here", 0, 0, 1))
    assert all(isinstance(batch, Images) and batch.images.shape[1:] == (3, 6, 6) for batch in batches)
    assert torch.equal(torch.cat([batch.n_id for batch in batches]).sort().values, split.train)
    assert len(list(data.train_loader(None, "here", 0, 0, 1))) == 1  # 128 in a batch
    (val,) = data.eval_loader("val")
    assert torch.equal(val.n_id, split.val) and torch.equal(val.splits["val"], torch.arange(5))
    test = list(data.eval_loader("test"))
    assert [list(batch.splits) for batch in test] == [["val"], ["test"], ["test"]]
    assert torch.equal(torch.cat([batch.n_id for batch in test[1:]]), torch.arange(60, 80))
    for batch in (*batches, val, *test):
        assert torch.equal(batch.y, data.images.y[batch.n_id])
    with pytest.raises(ConfigError, match=r"here could not be built: .*'batches'"):
        data.train_loader(dict(batches=3), "here", 0, 0, 1)


def test_no_test_image_reaches_training():
    data = task(augment=[FLIP], views=2)
    held_out = torch.cat([data.split.val, data.split.test])
    batches = [*data.train_loader(None, "here", 0, 0, 1), *data.observed_batches(), data.example()]
    for batch in batches:
        assert not torch.isin(batch.n_id % len(data.images), data.split.test).any()
    assert not torch.isin(data.observed_graph.n_id % len(data.images), held_out).any()


def test_facts_and_normalisation():
    data = task()
    facts = data.facts
    assert (facts["in_channels"], facts["out_channels"], facts["image_size"]) == (3, 5, 6)
    shown = torch.cat([data.eval_views(data.images, data.rows["train"])])
    assert torch.allclose(shown.mean((0, 2, 3)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(shown.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-4)
    given = task(normalize=dict(mean=[0.5] * 3, std=[0.25] * 3)).facts
    assert given["pixel_mean"] == (0.5,) * 3 and given["pixel_std"] == (0.25,) * 3
    assert task(evaluate=[dict(type="CenterCrop", size=4, resize=6)]).facts["image_size"] == 4


def test_every_seed_draws_its_own_split_and_views():
    data = task(augment=[FLIP], views=3)
    first, shown = data.split, data.views(data.images, torch.arange(60))
    data.setup(1)
    assert not torch.equal(data.split.train, first.train)
    assert not torch.equal(data.views(data.images, torch.arange(60)), shown)
    data.setup(0)
    assert torch.equal(data.split.train, first.train)
    assert torch.equal(data.views(data.images, torch.arange(60)), shown)


def test_validation_images_of_the_dataset_and_none_at_all():
    data = task(splits=dict(val="val"))
    assert torch.equal(data.split.val, torch.arange(60, 70)) and torch.equal(data.split.test, torch.arange(70, 90))
    assert data.split.train.numel() == 60
    data = task(protocol=dict(name="holdout", val_share=0))
    assert data.eval_loader("val") is None and data.selection == {"rule": "last"}
    assert all(list(batch.splits) == ["test"] for batch in data.eval_loader("test"))


def test_long_tail():
    data = task(protocol=dict(name="long_tailed", factor=4, val_share=0.25))
    assert torch.bincount(data.images.y[data.split.train]).tolist() == [9, 6, 4, 3, 2]
    assert "long_tailed (factor=4)" in data.protocol
    (metric,) = data.metrics()
    for batch in data.eval_loader("test"):
        logits = nn.functional.one_hot(torch.where(batch.y == 0, 1, batch.y), 5).float()
        metric.process(batch, data.objective().predict(Structure(logits=logits), batch))
    assert metric.evaluate(1) == pytest.approx(
        {f"{split}/{name}": 0.8 for split in ("val", "test") for name in ("accuracy", "accuracy few")}
    )


class Stage:
    """A finished stage with the outputs of `model` on everything observed."""

    def __init__(self, data, model, adapter=None):
        self.data, self.model, self.adapter = data, model, adapter or ImageLogits()

    def outputs(self):
        with torch.no_grad():
            parts = [self.adapter(self.model, batch) for batch in self.data.observed_batches()]
        return Structure(**{name: torch.cat([part[name] for part in parts]) for name in ("logits", "y", "n_id")})

    def load_model(self):
        return self.model.eval()

    def build_adapter(self):
        return self.adapter


@pytest.mark.parametrize(
    ("options", "stored"),
    [
        (dict(), True),
        (dict(augment=[FLIP], views=2), True),
        (dict(augment=[dict(type="RandomCrop", padding=1), FLIP], views=1), True),
        (dict(dataset=dict(type="patches", ragged=True), evaluate=[dict(type="CenterCrop", size=4)]), True),
        (dict(augment=[FLIP]), False),
        (dict(store_outputs=False), False),
    ],
)
def test_stored_and_live_teachers_say_the_same(options, stored):
    data, model = task(**options), TinyNet(3, 5)
    assert data.stores_outputs == stored
    teacher = data.stage_teacher(Stage(data, model))
    assert isinstance(teacher, StoredTeacher if stored else LiveTeacher)
    loader = data.train_loader(dict(batch_size=17, seed=9), "here", 0, 0, 1)
    for _epoch in range(3):
        for batch in loader:
            assert torch.allclose(teacher(batch).logits, model(batch.images), atol=1e-6)
    if stored:
        assert torch.equal(data.observed_graph.n_id, teacher.structure.n_id)
        for batch in data.eval_loader("test"):
            with pytest.raises(DataError, match="never run on"):
                teacher(batch)


def test_rows_of_tokens_are_made_of_stored_maps():
    data, model = task(augment=[FLIP], views=2), TinyNet(3, 5)
    adapter = TokenAdapter(maps=dict(neck="conv"), tokens="neck")
    with torch.no_grad():
        parts = [adapter.compact(adapter(model, batch)) for batch in data.observed_batches()]
    stored = Structure(**{name: torch.cat([part[name] for part in parts]) for name in parts[0].provides})
    assert stored.provides == {"logits", "y", "n_id", "neck"} and stored.n_id.numel() == 2 * 55
    stage = Stage(data, model, adapter)
    stage.outputs = lambda: stored
    teacher = data.stage_teacher(stage)
    assert isinstance(teacher, StoredTeacher) and {"x", "pos", "batch", "neck"} < teacher.provides
    for batch in data.train_loader(dict(batch_size=17), "here", 0, 0, 1):
        live, found = adapter(model, batch), teacher(batch)
        assert found.provides == live.provides
        for name in live.provides:
            assert torch.allclose(found[name], live[name], atol=1e-5), name


def test_costs():
    data = task(latency_batches=[1, 8])
    costs = data.costs(TinyNet(3, 5), ImageLogits())
    assert costs["macs"] == 36 * 4 * 27 + 4 * 5
    assert list(costs["latency_ms"]) == ["1", "8"]
    assert all(times["fetch"] >= 0 and times["compute"] > 0 for times in costs["latency_ms"].values())


def test_the_embedded_default_and_the_adapter_of_images():
    data = task(dataset=dict(type="digit_images"), augment=[dict(type="RandomCrop", padding=1)])
    assert data.protocol == "digit_images, holdout, images: 1,212 train / 135 val / 450 test"
    assert data.adapter == "TokenAdapter" and data.facts["image_size"] == 8
    batch = next(iter(data.train_loader(dict(batch_size=32), "here", 0, 0, 1)))
    structure = TokenAdapter(maps=dict(neck="conv"))(TinyNet(3, 10), batch)
    assert structure.neck.shape == (batch.y.numel(), 4, 8, 8) and torch.equal(structure.n_id, batch.n_id)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (dict(splits=dict(test=None)), "data.splits"),
        (dict(splits=dict(valid="val")), "data.splits"),
        (dict(protocol=dict(val_share=0.1)), "data.protocol has no 'name'"),
        (dict(protocol=dict(name="holdout", share=0.1)), "no option 'share'"),
        (dict(protocol=dict(name="long_tailed")), "'long_tailed' needs the option 'factor'"),
        (dict(augment=[dict(type="HorizontalFlop")]), "data.augment.0.*HorizontalFlop"),
        (dict(augment=[dict(type="RandomFlip")]), "data.augment.0: RandomFlip is no augmentation of images"),
        (dict(evaluate=[FLIP]), "data.evaluate: HorizontalFlip is random"),
        (dict(normalize=dict(mean=[0] * 3)), "data.normalize has the keys"),
        (dict(dataset=dict(type="patchs")), "data.dataset"),
        (dict(views=0), "views=0"),
    ],
)
def test_configs_that_do_not_fit(options, match):
    with pytest.raises(ConfigError, match=match):
        task(**options)


def test_classes_that_do_not_fit():
    def other(split):
        return patches(split, classes=5 if split == "train" else 4)

    with pytest.raises(DataError, match=r"'train' and 'test' name different classes.*lacks \['4'\]"):
        task(dataset=dict(type=other))


STAGE = dict(
    adapter=dict(type="ImageLogits"),
    train_dataloader=dict(batch_size=16),
    optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9)),
)
STAGES = dict(
    teacher=dict(STAGE, role="teacher", model=dict(type="TinyNet", width=8), train_cfg=dict(max_epochs=6)),
    distilled=dict(
        STAGE,
        role="distilled",
        model=dict(type="TinyNet"),
        train_cfg=dict(max_epochs=2),
        teachers=dict(teacher=dict(stage="teacher")),
        distillers=dict(kd=dict(type="GLNN")),
    ),
)


def run(folder, **data):
    config = dict(data=dict(type="ImageTask", dataset=dict(type="patches"), **data), stages=STAGES, seeds=[0])
    folder.mkdir()
    path = folder / "images.py"
    path.write_text("".join(f"{key} = {value!r}\n" for key, value in config.items()))
    return run_experiment(load_config(path), folder / "work", [0], Switches()), folder / "work" / "seed_0"


def test_a_run_with_stored_views(tmp_path):
    results, folder = run(tmp_path / "stored", augment=[FLIP], views=2, latency_batches=[1])
    entry = results["stages"]["distilled"]
    assert results["stages"]["teacher"]["metrics"]["test/accuracy"]["mean"] > 0.4  # five classes; chance is 0.2
    assert entry["macs"] == 36 * 4 * 27 + 4 * 5 and entry["selected"][0]["metric"] == "val/accuracy"
    meta = json.loads((folder / "teacher" / "outputs" / "meta.json").read_text())
    assert meta["computed_from"]["num_nodes"] == 2 * 55
    assert set(meta["fields"]) == {"logits", "y", "n_id"}
    assert {"test/accuracy", "last/accuracy"} < set(entry["metrics"])
    state = torch.load(folder / "distilled" / "student.pth", weights_only=True)
    assert state["facts"]["out_channels"] == 5

    _, live_folder = run(tmp_path / "live", augment=[FLIP], views=2, store_outputs=False, latency_batches=[])
    assert not (live_folder / "teacher" / "outputs").exists()
    again = torch.load(live_folder / "distilled" / "student.pth", weights_only=True)
    for name, value in state["state_dict"].items():
        assert torch.allclose(value, again["state_dict"][name], atol=1e-5), name  # the same teacher, batch by batch


def test_a_run_without_validation_keeps_the_last_epoch(tmp_path):
    results, _ = run(tmp_path / "last", protocol=dict(name="holdout", val_share=0), latency_batches=[])
    assert results["stages"]["distilled"]["selected"] == [{"metric": None, "score": None, "epoch": 2}]
    metrics = results["stages"]["distilled"]["metrics"]
    assert set(metrics) == {"test/accuracy", "last/accuracy"} and metrics["test/accuracy"] == metrics["last/accuracy"]


def test_corrupted_images_are_further_test_splits(tmp_path):
    data = task(corruptions=dict(kinds=["brightness", "noise"], severities=[1, 5]))
    names = [f"detail/{kind} {severity}" for kind in ("brightness", "noise") for severity in (1, 5)]
    assert [list(batch.splits) for batch in data.eval_loader("val")] == [["val"]]
    batches = {next(iter(batch.splits)): batch for batch in data.eval_loader("test")}
    assert list(batches) == ["val", "test", *names]
    test = batches["test"]
    for name in names:
        assert torch.equal(batches[name].n_id, test.n_id) and torch.equal(batches[name].y, test.y)
        assert not torch.equal(batches[name].images, test.images)
    again = {next(iter(batch.splits)): batch for batch in task(seed=3, corruptions={}).eval_loader("test")}
    assert len(again) == 2 + 6 * 5
    assert all(torch.equal(again[name].images, batches[name].images) for name in names)  # of any seed
    (metric,) = data.metrics()
    y = test.y
    for number, name in enumerate(names):
        logits = torch.nn.functional.one_hot(y, 5).float()
        logits[: 5 * number] = logits[: 5 * number].flip(1) - 9 * logits[: 5 * number]  # so many are wrong
        metric.process(None, [{"logits": logits, "y": y, "splits": {name: torch.arange(20)}}])
    found = metric.evaluate(1)
    assert set(found) == {"corrupted/accuracy", *(f"{name}/accuracy" for name in names)}
    assert found["detail/brightness 5/accuracy"] == 0.75 and found["corrupted/accuracy"] == pytest.approx(0.625)


@pytest.mark.parametrize(
    "wrong, words",
    [(dict(kind="noise"), "unknown key 'kind'"), (dict(kinds=["fog"]), "'fog'"), (dict(severities=[6]), "severity=6")],
)
def test_wrong_corruptions(wrong, words):
    with pytest.raises(ConfigError, match=f"data.corruptions: .*{words}"):
        task(corruptions=wrong)
