"""Link prediction in the engine: what training sees, how a link model teaches, and every stage end to end."""

import dataclasses
import json

import pytest
import torch
from mmengine.config import Config

from structkd.datasets import synthetic_graph
from structkd.engine import Switches, load_config, run_experiment
from structkd.engine.data import LinkTask
from structkd.engine.export import export_student
from structkd.engine.stages import StageRun
from structkd.errors import CheckpointError, ConfigError

ADAM = dict(optimizer=dict(type="Adam", lr=0.01))
EPOCHS = dict(max_epochs=4)
CONTEXT = dict(hops=2, rw_step=2, ns_rate=1)
PREDICTOR = dict(type="LinkPredictor", in_channels=8, hidden_channels=8)
PLAIN = dict(
    role="plain",
    model=dict(
        type="LinkModel",
        encoder=dict(type="MLP", num_layers=2, hidden_channels=8, out_channels=8, dropout=0.5),
        predictor=PREDICTOR,
    ),
    adapter=dict(inputs=["x", "pairs"]),
    optim_wrapper=ADAM,
    train_cfg=EPOCHS,
)
STAGES = dict(
    teacher=dict(
        role="teacher",
        model=dict(
            type="LinkModel",
            encoder=dict(type="GraphSAGE", num_layers=2, hidden_channels=8, out_channels=8, aggregator="mean"),
            predictor=PREDICTOR,
        ),
        adapter=dict(inputs=["x", "pairs", "edge_index"], fields=["x"]),
        optim_wrapper=ADAM,
        train_cfg=EPOCHS,
    ),
    shared=dict(
        role="teacher",
        model=dict(type="HeuristicTeacher", heuristic="common_neighbors"),
        adapter=dict(inputs=["x", "pairs", "edge_index"]),
        store_outputs=False,
    ),
    plain=PLAIN,
    llp=dict(
        PLAIN,
        role="distilled",
        train_dataloader=dict(batch_size=70, context=CONTEXT),
        teachers=dict(teacher=dict(stage="teacher")),
        distillers=dict(llp=dict(type="LLP")),
    ),
    ehdm_shared=dict(
        PLAIN,
        role="distilled",
        train_dataloader=dict(context=CONTEXT),
        teachers=dict(shared=dict(stage="shared")),
        distillers=dict(ehdm=dict(type="EHDM")),
    ),
    ehdm=dict(
        PLAIN,
        role="distilled",
        model=dict(type="GatedEnsemble", students=[dict(stage="llp"), dict(stage="ehdm_shared")], hidden_channels=8),
    ),
)


def graph(change=None):
    return synthetic_graph(num_nodes=80, num_edges=400, num_features=10, num_classes=3, seed=1)


def task(new_nodes=0.0, seed=0, **options):
    data = LinkTask(dict(type=graph), dict(test=0.2, new_nodes=new_nodes, **options), latency_batches=(4,))
    data.setup(seed)
    return data


def run(data, folder, *names):
    config = Config(dict(data=dict(), stages={name: STAGES[name] for name in names}))
    return {
        name: StageRun(name, stage, data, 0, folder, config).run(Switches()) for name, stage in config.stages.items()
    }


def ids(pairs, n_id):
    return {tuple(sorted(pair)) for pair in n_id[pairs].t().tolist()}


@pytest.mark.parametrize("new_nodes", [0.0, 0.3])
def test_training_batches_know_nothing_that_is_held_out(new_nodes):
    data = task(new_nodes)
    links, n_id = data.links, data.links.observed.n_id
    held_out = ids(links.val, n_id) | ids(links.test["all"], links.graph.n_id)
    train = ids(links.train, n_id)
    batches = list(data.train_loader(dict(batch_size=50, context=CONTEXT), "", 0, 0, 1))
    assert len(batches) > 1
    anchors = 0
    for batch in batches:
        assert batch.x.size(0) == n_id.numel() == round(80 * (1 - new_nodes))
        assert ids(batch.edge_index, n_id) == train and not train & held_out
        candidates = batch.mask
        assert torch.equal(batch.y == -1, candidates) and torch.equal(batch.batch >= 0, candidates)
        assert ids(batch.pairs[:, batch.y == 1], n_id) <= train
        assert not ids(batch.pairs[:, batch.y == 0], n_id) & train
        assert int(batch.pairs.max()) < n_id.numel()
        assert batch.label_scale * (~candidates).sum() == pytest.approx(1)
        anchors += int(batch.batch.max()) + 1
    assert anchors == n_id.numel()


def test_without_a_context_there_are_labelled_pairs_only():
    (batch,) = task().train_loader(None, "", 0, 0, 1)
    assert "mask" not in batch and int((batch.y < 0).sum()) == 0
    assert batch.pairs.size(1) == 2 * task().links.train.size(1)


def test_evaluation_batches_run_on_what_is_visible_then():
    data = task(0.3)
    links = data.links
    (val,) = data.eval_loader("val")
    assert set(val.splits) == {"val"} and torch.equal(val.edge_index, links.observed.edge_index)
    assert torch.equal(val.pairs[:, val.y == 1], links.val)
    again, test = data.eval_loader("test")
    assert torch.equal(again.pairs, val.pairs)
    assert torch.equal(test.edge_index, links.graph.edge_index)
    assert set(test.splits) == {"test", "old_old", "old_new", "new_new"}
    for name, rows in test.splits.items():
        true = links.test["all" if name == "test" else name]
        assert torch.equal(test.pairs[:, rows[test.y[rows] == 1]], true), name
        assert torch.equal(test.pairs[:, rows[test.y[rows] == 0]], links.test_negatives), name


def test_split_by_run_seed_or_fixed():
    assert not torch.equal(task(seed=0).links.train, task(seed=1).links.train)
    fixed = [LinkTask(dict(type=graph), dict(seed=234)) for _ in range(2)]
    for seed, data in enumerate(fixed):
        data.setup(seed)
    assert torch.equal(fixed[0].links.train, fixed[1].links.train)
    assert "one split (seed 234)" in fixed[0].protocol
    assert "production" in task(0.3).protocol
    with pytest.raises(ConfigError, match=r"data\.protocol\.tset: split_links takes no argument 'tset'.*test"):
        LinkTask(dict(type=graph), dict(tset=0.2))
    with pytest.raises(ConfigError, match=r"here\.context\.hop: sample_context"):
        task().train_loader(dict(context=dict(hop=2)), "here", 0, 0, 1)


def test_a_link_teacher_scores_pairs_from_stored_embeddings(tmp_path):
    data = task(0.3)
    run(data, tmp_path, "teacher")
    stage = StageRun("teacher", STAGES["teacher"], data, 0, tmp_path, Config(dict(stages=STAGES)))
    teacher = data.stage_teacher(stage)
    (batch,) = data.train_loader(dict(context=CONTEXT), "", 0, 0, 1)
    del batch.x  # the encoder has nothing left to read
    model, observed = stage.load_model(), data.links.observed
    expected = model(observed.x, batch.pairs, observed.edge_index)["logits"]
    torch.testing.assert_close(teacher(batch).logits, expected)
    assert not teacher(batch).logits.requires_grad

    data.setup(1)  # the embeddings were computed on another split's edges
    with pytest.raises(CheckpointError, match="leak held-out data"):
        data.stage_teacher(stage)


def test_held_out_pairs_and_new_nodes_change_nothing_but_the_test_score(tmp_path):
    results, left = [], []
    for name in ("a", "b"):
        data = task(0.3)
        if name == "b":
            links, whole = data.links, data.links.graph.clone()
            new = torch.ones(80, dtype=torch.bool)
            new[links.observed.n_id] = False
            whole.x = torch.where(new[:, None], torch.randn(80, 10), whole.x)
            whole.edge_index = whole.edge_index[:, ::2]
            test = {group: pairs.flip(1)[:, 1:] for group, pairs in links.test.items()}
            negatives = links.test_negatives[:, 3:]
            data.links = dataclasses.replace(links, graph=whole, test=test, test_negatives=negatives)
        results.append(run(data, tmp_path / name, "teacher", "shared", "plain", "llp", "ehdm_shared", "ehdm"))
        left.append({
            str(path.relative_to(tmp_path / name)): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.suffix in (".npy", ".jsonl")
        })  # fmt: skip
        weights = {stage: torch.load(tmp_path / name / stage / "student.pth")["state_dict"] for stage in STAGES}
        left[-1] |= {f"{s}/{k}": v.numpy().tobytes() for s, values in weights.items() for k, v in values.items()}
    assert left[0] == left[1] and "teacher/outputs/x.npy" in left[0]
    for stage in ("teacher", "llp", "ehdm"):
        honest, changed = (result[stage]["metrics"] for result in results)
        for metric in honest:
            if metric.startswith("val/"):
                assert honest[metric] == changed[metric]
        assert honest["test/auc"] != changed["test/auc"]


def test_every_stage_end_to_end(tmp_path):
    config = Config(
        dict(
            data=dict(
                type="LinkTask",
                dataset=dict(
                    type="synthetic_graph", num_nodes=80, num_edges=400, num_features=10, num_classes=3, seed=1
                ),
                protocol=dict(test=0.2),
                latency_batches=[4],
            ),
            stages=STAGES,
        )
    )
    results = run_experiment(config, tmp_path, [0, 1], Switches())
    assert results["primary_metric"] == "test/hits@20"
    for name, stage in results["stages"].items():
        assert stage["epochs"] == ([0, 0] if name == "shared" else [4, 4])
        for metric in ("hits@10", "hits@20", "hits@50", "mrr", "auc"):
            assert 0 <= stage["metrics"][f"test/{metric}"]["mean"] <= 1
    assert set(results["stages"]["teacher"]["latency_ms"]) == {"4"}
    assert set(results["stages"]["ehdm"]["latency_ms"]) == {"4"}
    assert results["stages"]["shared"]["latency_ms"] == {}
    assert results["paired"]["llp"]["teacher"]["test/hits@20"]["values"]
    assert results["stages"]["ehdm_shared"]["teacher"] == "shared"
    lines = [json.loads(line) for line in (tmp_path / "seed_0/llp/scalars.jsonl").read_text().splitlines()]
    assert {"train/loss/task", "train/loss/llp.distribution", "train/loss/llp.ranking"} <= set(lines[0])
    # The ensemble holds the earlier stages' students as they were.
    gate = torch.load(tmp_path / "seed_0/ehdm/student.pth")["state_dict"]
    student = torch.load(tmp_path / "seed_0/llp/student.pth")["state_dict"]
    for key, value in student.items():
        assert torch.equal(gate[f"students.0.{key}"], value)


def test_a_link_student_exports_with_free_numbers_of_nodes_and_pairs(tmp_path):
    data = task()
    student = StageRun("plain", PLAIN, data, 0, tmp_path, Config(dict(stages=STAGES))).build_model()
    example = data.example()
    card = export_student(student, (example.x, example.pairs), tmp_path)
    assert all(written["ok"] for written in card["formats"].values())
    assert card["inputs"]["x"]["shape"] == ["elements", 10] and card["inputs"]["pairs"]["shape"] == [2, "edges"]


def write(path, **stages):
    path.write_text(f"data = dict(type='LinkTask')\nstages = {stages!r}\n")
    return path


def test_config_knows_untrained_stages_and_stages_in_models(tmp_path):
    gate = dict(STAGES["ehdm"], model=dict(type="GatedEnsemble", students=[dict(stage="lpl")]))
    with pytest.raises(ConfigError, match=r"stages\.ehdm\.model names the stage 'lpl'.*llp"):
        load_config(write(tmp_path / "a.py", llp=dict(PLAIN), ehdm=gate))
    load_config(write(tmp_path / "b.py", shared=STAGES["shared"]))
    for missing in ("train_cfg", "optim_wrapper"):
        stage = {key: value for key, value in STAGES["teacher"].items() if key != missing}
        with pytest.raises(ConfigError, match=rf"stages\.teacher has no '{missing}'"):
            load_config(write(tmp_path / "c.py", teacher=stage))
    untrained = {key: PLAIN[key] for key in ("role", "model", "adapter")}
    with pytest.raises(ConfigError, match=r"stages\.plain has no 'train_cfg'"):
        load_config(write(tmp_path / "d.py", plain=untrained))
