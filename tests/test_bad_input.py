"""Whatever a person gets wrong ends in one paragraph that says what and where, with exit status 2."""

import re
import shutil

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.data import Data

from structkd import Structure
from structkd.engine import TeacherCache

NODES = 30
SEED_0 = "seed_0"


@pytest.fixture
def refused(command):
    """Runs a tool and asserts that it refuses in one paragraph with the given words; returns what it printed."""

    def run(words, *arguments):
        done = command(*arguments)
        assert done.code == 2, done.err
        (paragraph,) = done.err.strip().splitlines()
        assert re.match(r"(Config|Data|Wiring|Checkpoint|Training)Error: ", paragraph), paragraph
        for word in words:
            assert word in paragraph
        return done

    return run


@pytest.fixture
def train_refused(refused, tiny_config, tmp_path):
    """As `refused`, for train.py on the tiny config with `options`, or on another one."""

    def run(words, *options, config=None):
        options = ["--cfg-options", *options] if options else []
        return refused(words, "train", config or tiny_config(), "--work-dir", tmp_path / "work", *options)

    return run


# -- the config ----------------------------------------------------------------------------------------------------

WRONG_KEYS = {
    "titel=x": ["tiny.py: unknown key 'titel'", "Nearest: title"],
    "stages.plain.modell=1": ["tiny.py: stages.plain: unknown key 'modell'", "Nearest: model"],
    "stages.plain.model.hiden=3": ["stages.plain.model.hiden: MLP takes no argument", "Nearest: hidden_channels"],
    "stages.plain.adapter.input=x": ["stages.plain.adapter.input: GraphAdapter", "Nearest: inputs"],
    "stages.plain.selection.patiance=3": ["stages.plain.selection.patiance: SelectionHook", "Nearest: patience"],
    "stages.plain.train_cfg.max_epoch=3": ["stages.plain.train_cfg.max_epoch", "Nearest: max_epochs"],
    "stages.plain.optim_wrapper.optimizer.lrr=3": ["stages.plain.optim_wrapper.optimizer.lrr", "Nearest: lr"],
    "stages.plain.optim_wrapper.clip=3": ["stages.plain.optim_wrapper", "'clip'"],
    "stages.glnn.distillers.kd.tua=3": ["stages.glnn.distillers.kd.tua: GLNN takes no argument", "Nearest: tau"],
    "stages.glnn.teachers.teacher.stages=plain": ["stages.glnn.teachers.teacher: unknown key 'stages'"],
    "data.protocoll=1": ["data.protocoll: NodeTask takes no argument", "Nearest: protocol"],
    "data.dataset.nodes=1": ["data.dataset.nodes: synthetic_graph", "num_nodes"],
    "data.protocol.tran=0.5": ["data", "'random' has no option 'tran'", "Nearest: train"],
}
WRONG_PATHS = {
    "stages.plian.model.hidden_channels=3": ["--cfg-options stages.plian", "no 'plian' in stages", "Nearest: plain"],
    "stages.plain.modle.hidden_channels=3": ["no 'modle' in stages.plain", "Nearest: model"],
    "stages.glnn.distillers.kdd.tau=3": ["no 'kdd' in stages.glnn.distillers", "Nearest: kd"],
    "stage.plain.role=plain": ["no 'stage' in the config", "Nearest: stages"],
}
UNKNOWN_TYPES = {
    "data.type=NodTask": ["data.type is 'NodTask'", "Nearest: NodeTask"],
    "data.dataset.type=synthetic": ["data.dataset.type is 'synthetic', which is no known dataset", "synthetic_graph"],
    "data.transforms=[rownorm]": ["data.transforms: there is no transform 'rownorm'", "Nearest: row_normalize"],
    "data.protocol.name=cfp": ["data", "no split protocol 'cfp'", "Nearest: cpf"],
    "stages.plain.model.type=MPL": ["stages.plain.model.type is 'MPL'", "Nearest: MLP"],
    "stages.plain.adapter.type=GraphAdaptor": ["stages.plain.adapter.type is 'GraphAdaptor'", "Nearest: GraphAdapter"],
    "stages.plain.objective.type=Klassification": ["stages.plain.objective.type", "Nearest: Classification"],
    "stages.plain.train_dataloader.type=NodeBatch": ["stages.plain.train_dataloader.type", "Nearest: NodeBatches"],
    "stages.plain.optim_wrapper.optimizer.type=Adamm": ["stages.plain.optim_wrapper.optimizer.type", "Adam"],
    "stages.plain.optim_wrapper.type=Wrapper": ["stages.plain.optim_wrapper", "Wrapper"],
    "stages.plain.param_scheduler.type=CosineLR": ["stages.plain.param_scheduler.0.type", "CosineAnnealingLR"],
    "stages.glnn.distillers.kd.type=GLN": ["stages.glnn.distillers.kd.type is 'GLN'", "Nearest: GLNN"],
}
UNKNOWN_NAMES = {
    "stages.plain.adapter.taps.x=lin.0": ["stages.plain", "'lin.0', but MLP has no submodule", "Nearest: lins.0"],
    "stages.plain.adapter.inputs=[z]": ["stages.plain", "reads 'z'", "edge_index"],
    "stages.plain.adapter.fields=[tokens]": ["stages.plain", "promises tokens", "MLP returned only logits"],
    "stages.plain.selection.metric=val/acc": ["stages.plain", "'val/acc'", "Nearest: val/accuracy"],
    "stages.glnn.teachers.teacher.stage=tea": ["stages.glnn.teachers.teacher names the stage 'tea'", "teacher"],
    "stages.glnn.distillers.kd.teacher=tea": ["stages.glnn", "'kd' (GLNN) names the teacher 'tea'", "['teacher']"],
    "stages.plain.like=tea": ["stages.plain.like names no earlier stage 'tea'", "teacher"],
    "stages.plain.init_from=tea": ["stages.plain.init_from names the stage 'tea'", "teacher"],
    "stages.glnn.baseline=plane": ["stages.glnn.baseline: there is no stage 'plane'", "Nearest: plain"],
    "stages.plain.role=student": ["stages.plain.role is 'student'", "teacher, plain, distilled, auxiliary"],
    "run=[teacher,plane]": ["run names the stage 'plane'", "Nearest: plain"],
    "run=[plain,glnn]": ["stages.glnn.teachers.teacher names the stage 'teacher', which does not run before it"],
}
WRONG_VALUES = {
    "stages=3": ["'stages' must be a dict, got 3"],
    "stages.plain=3": ["stages: 'plain' must be a dict, got 3"],
    "stages.teacher.model=3": ["stages.teacher: 'model' must be a dict, got 3"],
    "stages.glnn.distillers.kd=3": ["stages.glnn.distillers: 'kd' must be a dict, got 3"],
    "stages.plain.distillers=3": ["stages.glnn does not fit 'plain', which it is like", "distillers"],
    "stages.plain.train_cfg=None": ["stages.plain has no 'train_cfg' (max_epochs"],
    "stages.plain.train_cfg.max_epochs=many": ["stages.plain.train_cfg.max_epochs is 'many'"],
    "stages.plain.checkpoint_interval=0": ["stages.plain", "checkpoint_interval=0", "at least 1"],
    "stages.plain.objective_weight=much": ["stages.plain", "objective_weight is 'much'"],
    "stages.glnn.distillers.kd.weight=much": ["stages.glnn.distillers.kd.weight is 'much'"],
    "stages.glnn.distillers.kd.tau=0": ["stages.glnn.distillers.kd", "tau=0"],
    "stages.plain.model.num_layers=0": ["stages.plain.model", "num_layers=0"],
    "stages.plain.model.dropout=3": ["stages.plain.model", "between 0 and 1, but got 3"],
    "stages.plain.model.norm=group": ["stages.plain.model", "norm='group'", "batch, layer, none"],
    "stages.plain.optim_wrapper.optimizer.lr=-1": ["stages.plain.optim_wrapper", "learning rate: -1"],
    "seeds=3": ["seeds are 3", "list of whole numbers"],
    "seeds=[-1]": ["seeds are [-1]", "from 0"],
    "run=3": ["run is 3", "list of stages"],
    "log_level=LOUD": ["log_level is 'LOUD'"],
}
OPTIONS = WRONG_KEYS | WRONG_PATHS | UNKNOWN_TYPES | UNKNOWN_NAMES | WRONG_VALUES


@pytest.mark.parametrize("option", OPTIONS)
def test_config(train_refused, option):
    train_refused(OPTIONS[option], option)


def test_config_file(train_refused, tiny_config, tmp_path):
    tiny_config()
    train_refused(["There is no config file", "tinny.py", "Nearest", "tiny.py"], config=tmp_path / "tinny.py")
    broken = tmp_path / "broken.py"
    for text, word in (
        ("data = dict(\n", "SyntaxError"),
        ("_base_ = 'none.py'\n", "none.py"),
        ("seeds = [1 / 0]\n", "ZeroDivisionError"),
        ("stages = dict()\n", "has no 'data'"),
        ("data = dict(type='NodeTask')\n", "has no 'stages'"),
    ):
        broken.write_text(text)
        train_refused([str(broken), word], config=broken)


def test_parts_of_the_data(train_refused, tiny_config):
    train_refused(["data.protocol has no 'name'", "train"], config=tiny_config(data=dict(protocol=dict(train=0.5))))
    words = ["data.positions.dims: deepwalk takes no argument", "Nearest: dim"]
    train_refused(words, config=tiny_config(data=dict(positions=dict(dims=4))))


def test_part_of_a_model_from_an_unknown_stage(train_refused, tiny_config):
    model = dict(type="MLP", encoder=dict(stage="tea"))
    words = ["stages.plain.model names the stage 'tea'", "teacher"]
    train_refused(words, config=tiny_config(stages=dict(plain=dict(model=model))))


def test_option_without_value(command, tiny_config):
    done = command("train", tiny_config(), "--cfg-options", "seeds")
    assert done.code == 2
    assert "--cfg-options: expected KEY=VALUE, got ['seeds']" in done.err


def test_a_mistake_in_the_last_stage_is_found_before_the_first_one_trains(train_refused, tmp_path):
    done = train_refused(["stages.glnn"], "stages.glnn.distillers.kd.teacher=tea")
    assert "epoch" not in done.out
    assert not (tmp_path / "work" / SEED_0).exists()


def test_a_refused_run_leaves_the_results_of_another_alone(refused, trained, tmp_path):
    shutil.copytree(trained.work_dir, tmp_path / "work")
    option = "stages.glnn.distillers.kd.tua=3"
    refused(["tua"], "train", trained.config, "--work-dir", tmp_path / "work", "--cfg-options", option)
    assert len(list((tmp_path / "work" / SEED_0).glob("*/result.json"))) == 3


# -- the data ------------------------------------------------------------------------------------------------------


def graph(**changes):
    """The fields of a graph of one's own; None takes one away."""
    generator = torch.Generator().manual_seed(0)
    fields = dict(
        x=torch.randn(NODES, 4, generator=generator),
        edge_index=torch.randint(NODES, (2, 60), generator=generator),
        y=torch.arange(NODES) % 3,
    )
    return {key: value for key, value in (fields | changes).items() if value is not None}


def with_nan():
    x = graph()["x"]
    x[3, 1] = float("nan")
    return x


def mask(*nodes):
    return torch.zeros(NODES, dtype=torch.bool).index_fill_(0, torch.tensor(nodes, dtype=torch.long), True)


GRAPHS = {
    "NaN features": (dict(x=with_nan()), ["x holds NaN or infinity", "row 3"]),
    "features without rows": (dict(x=torch.ones(NODES)), ["x has shape (30,)", "[nodes, features]"]),
    "a label below -1": (dict(y=torch.arange(NODES) % 3 - 2), ["labels go down to -2"]),
    "a label too high": (dict(y=torch.arange(NODES) % 9), ["labels go up to 8", "with 3 classes"]),
    "labels that are no ids": (dict(y=torch.rand(NODES)), ["labels are not all whole numbers"]),
    "no label at all": (dict(y=torch.full((NODES,), -1)), ["no node has a label"]),
    "fewer labels than nodes": (dict(y=torch.arange(NODES - 1) % 3), ["y has shape (29,)", "30 rows of x"]),
    "an edge beyond the nodes": (dict(edge_index=torch.tensor([[0, 30], [1, 2]])), ["nodes 0 to 30", "0 to 29"]),
    "an edge from -1": (dict(edge_index=torch.tensor([[0, -1], [1, 2]])), ["nodes -1 to 2", "0 to 29"]),
    "edges in three rows": (dict(edge_index=torch.zeros(3, 4, dtype=torch.long)), ["edge_index has shape (3, 4)"]),
    "no labels": (dict(y=None), ["holds no 'y'", "edge_index, x"]),
}


@pytest.mark.parametrize("case", GRAPHS)
def test_graph_of_ones_own(train_refused, tiny_config, tmp_path, case):
    changes, words = GRAPHS[case]
    torch.save(graph(**changes), tmp_path / "graph.pt")
    dataset = dict(type="custom_graph", path=str(tmp_path / "graph.pt"), num_classes=3)
    train_refused(["data.dataset: ", "graph.pt", *words], config=tiny_config(data=dict(dataset=dataset)))


def test_files_missing_or_cut_short(train_refused, tiny_config, tmp_path):
    torch.save(Data(**graph()), tmp_path / "graph.pt")
    np.savez(tmp_path / "graph.npz", **{key: value.numpy() for key, value in graph().items()})
    for name in ("graph.pt", "graph.npz"):
        content = (tmp_path / name).read_bytes()
        for share in (0, 0.3, 0.9):
            (tmp_path / name).write_bytes(content[: int(share * len(content))])
            config = tiny_config(data=dict(dataset=dict(type="custom_graph", path=str(tmp_path / name))))
            train_refused(["data.dataset", name, "cut short"], config=config)
    for name, text in (("edges", "0,1\n1,2\n2"), ("features", "1,2\n3,4\n5,6\n"), ("labels", "0\n1\n0\n")):
        (tmp_path / f"{name}.csv").write_text(text)
    config = tiny_config(data=dict(dataset=dict(type="custom_graph", path=str(tmp_path))))
    train_refused(["data.dataset", "edges.csv", "row 3"], config=config)
    config = tiny_config(data=dict(dataset=dict(type="custom_graph", path=str(tmp_path / "none.pt"))))
    train_refused(["data.dataset", "There is no file", "none.pt"], config=config)


def test_data_folder_not_set_or_empty(train_refused, tiny_config, tmp_path, monkeypatch):
    dataset = dict(type="planetoid_graph", name="Cora", root="$STRUCTKD_DATA/graphs")
    config = tiny_config(data=dict(dataset=dataset))
    monkeypatch.delenv("STRUCTKD_DATA", raising=False)
    train_refused(["$STRUCTKD_DATA/graphs", "STRUCTKD_DATA is not set", "data.dataset.root=FOLDER"], config=config)
    monkeypatch.setenv("STRUCTKD_DATA", str(tmp_path))
    train_refused(["There is no file", "graphs/Cora/raw/ind.cora.x", "Download it"], config=config)


def test_splits_that_leave_a_part_empty(train_refused, tiny_config, tmp_path):
    torch.save(graph(train_mask=mask(0, 1), val_mask=mask(), test_mask=mask(2)), tmp_path / "graph.pt")
    own = dict(dataset=dict(type="custom_graph", path=str(tmp_path / "graph.pt")), protocol=dict(name="public"))
    train_refused(["data", "empty val part"], config=tiny_config(data=own))
    masks = ["data", "train_mask, val_mask and test_mask"]
    train_refused(masks, config=tiny_config(data=dict(protocol=dict(name="public"))))
    train_refused(["data", "empty train part"], "data.protocol.train=0.001")
    cpf = dict(name="cpf", train_per_class=30)
    train_refused(["data", "Class 0 has 20 nodes", "30 a class"], config=tiny_config(data=dict(protocol=cpf)))


# -- shapes that do not fit ----------------------------------------------------------------------------------------


def test_model_and_data_of_other_widths(train_refused):
    train_refused(["stages.plain", "labels go up to 2", "knows 2 classes"], "stages.plain.model.out_channels=2")
    train_refused(["stages.plain", "x has 6 features", "takes 4"], "stages.plain.model.in_channels=4")


def test_teacher_and_student_of_other_widths(train_refused, tiny_config):
    words = ["stages.glnn", "distillers.kd", "(60, 4)", "(60, 3)"]
    train_refused(words, "stages.glnn.model.out_channels=4")
    nosmog = dict(type="NOSMOG", student_channels=5, teacher_channels=8, adversarial_weight=0.0)
    stages = dict(
        teacher=dict(adapter=dict(taps=dict(x="acts.0"))),
        glnn=dict(adapter=dict(taps=dict(x="lins.0")), distillers=dict(kd=nosmog)),
    )
    train_refused(["stages.glnn", "distillers.kd", "x has 8 features", "takes 5"], config=tiny_config(stages=stages))


def test_wiring_names_both_sides(train_refused, tiny_config):
    distillers = dict(kd=dict(type="TINED", pairs=[("in0", "out0")]))
    words = ["stages.glnn", "'kd' (TINED) reads in0, out0", "student's adapter, which provides only", "hidden"]
    train_refused(words, config=tiny_config(stages=dict(glnn=dict(distillers=distillers))))
    train_refused(
        ["stages.glnn", "'kd' (GLNN) reads logits of a teacher, but is given none"],
        config=tiny_config(stages=dict(glnn=dict(teachers={}))),
    )


FILES = {
    "fewer rows": (np.ones((50, 3)), ["'logits' has 50 rows; expected 60"]),
    "more rows": (np.ones((70, 3)), ["'logits' has 70 rows; expected 60"]),
    "other classes": (np.ones((60, 4)), ["distillers.kd", "(60, 3)", "(60, 4)"]),
    "NaN": (np.full((60, 3), np.nan), ["'logits' holds NaN or infinity"]),
    "one dimension": (np.ones(60), ["'logits' has shape (60,)"]),
}


@pytest.mark.parametrize("case", FILES)
def test_teacher_from_a_file(train_refused, tiny_config, tmp_path, case):
    content, words = FILES[case]
    np.save(tmp_path / "teacher.npy", content)
    config = tiny_config(stages=dict(glnn=dict(teachers=dict(t=dict(file=str(tmp_path / "teacher.npy"))))))
    train_refused(["stages.glnn", *words], config=config)


def test_teacher_file_missing_cut_short_or_without_the_key(train_refused, tiny_config, tmp_path):
    path = tmp_path / "teacher.npy"
    np.save(path, np.ones((60, 3)))
    source = dict(file=str(path), keys=dict(logits="scores"))
    config = tiny_config(stages=dict(glnn=dict(teachers=dict(t=source))))
    train_refused(["stages.glnn", "teacher.npy holds no array 'scores'"], config=config)
    config = tiny_config(stages=dict(glnn=dict(teachers=dict(t=dict(file=str(path))))))
    path.write_bytes(path.read_bytes()[:300])
    train_refused(["stages.glnn", "teacher.npy cannot be read"], config=config)
    path.unlink()
    train_refused(["stages.glnn", "teacher.npy is not a file"], config=config)


def test_a_momentum_teacher_of_another_kind(train_refused, tiny_config):
    teachers = dict(t=dict(model=dict(type="GCN", hidden_channels=8), momentum=0.9))
    words = ["stages.glnn", "momentum teacher needs a student with the same parameters"]
    train_refused(words, config=tiny_config(stages=dict(glnn=dict(teachers=teachers))))


# -- training ------------------------------------------------------------------------------------------------------


def test_loss_that_is_not_finite(train_refused):
    words = ["TrainingError: stages.teacher", "not finite in epoch 2", "loss/task nan"]
    train_refused(words, "stages.teacher.optim_wrapper.optimizer.lr=1e30")


@pytest.mark.parametrize(("launcher", "variable"), [("pytorch", "RANK"), ("slurm", "SLURM_PROCID"), ("mpi", "OMPI_")])
def test_launcher_that_did_not_launch(refused, tiny_config, tmp_path, monkeypatch, launcher, variable):
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    arguments = ["train", tiny_config(), "--work-dir", tmp_path / "work", "--launcher", launcher]
    refused([f"--launcher {launcher}", variable, "torchrun"], *arguments)


def test_work_dir_that_cannot_be(refused, tiny_config, tmp_path):
    (tmp_path / "file").write_text("")
    refused(
        ["work dir", "file/work", "cannot be made"], "train", tiny_config(), "--work-dir", tmp_path / "file" / "work"
    )


# -- taking up again -----------------------------------------------------------------------------------------------


@pytest.fixture
def resumed(refused, trained, tmp_path):
    """Takes up a copy of a finished run in which `unfinished` did not end and `happened(seed's folder)`."""

    def run(words, unfinished, happened, *arguments):
        work_dir = tmp_path / "work"
        shutil.copytree(trained.work_dir, work_dir)
        if unfinished:
            (work_dir / SEED_0 / unfinished / "result.json").unlink()
        happened(work_dir / SEED_0)
        refused(words, "train", trained.config, "--work-dir", work_dir, "--resume", *arguments)

    return run


def nothing(folder):
    """What happens to the folder of a run that is taken up with another command line."""


def cut(name, share=0.5):
    def change(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(share * len(content))])

    return change


def without(part):
    def change(folder):
        state = torch.load(folder / "plain" / "last.pth", weights_only=True)
        del state[part]
        torch.save(state, folder / "plain" / "last.pth")

    return change


def another(name):
    return lambda folder: shutil.copy(folder / name, folder / "plain" / "last.pth")


WEIGHT = "stages.plain.objective_weight=0.5"
CHANGED = {
    "config": (None, ["--cfg-options", WEIGHT], ["stages.plain", "plain/result.json belongs to another config"]),
    "config, unfinished": ("plain", ["--cfg-options", WEIGHT], ["plain/last.pth was written with another config"]),
    "data": (None, ["--cfg-options", "data.protocol.train=0.5"], ["teacher/result.json belongs to another", "data"]),
    "precision": (None, ["--amp"], ["stages.teacher", "teacher/result.json belongs to another config"]),
}
DAMAGED = {
    "result": (None, cut("plain/result.json"), ["stages.plain", "plain/result.json is damaged"]),
    "checkpoint": ("plain", cut("plain/last.pth"), ["stages.plain", "plain/last.pth is no readable checkpoint"]),
    "empty checkpoint": ("plain", cut("plain/last.pth", 0), ["plain/last.pth is no readable checkpoint"]),
    "no optimizer": ("plain", without("optimizer"), ["plain/last.pth is damaged: it holds no optimizer"]),
    "no weights": ("plain", without("state_dict"), ["plain/last.pth is damaged: it holds no state_dict"]),
    "another stage's": ("plain", another("teacher/last.pth"), ["plain/last.pth was written with another config"]),
    "only weights": ("plain", another("plain/student.pth"), ["plain/last.pth is no training checkpoint"]),
}


@pytest.mark.parametrize("case", CHANGED)
def test_resume_of_something_else(resumed, case):
    unfinished, arguments, words = CHANGED[case]
    resumed(words, unfinished, nothing, *arguments)


@pytest.mark.parametrize("case", DAMAGED)
def test_resume_of_something_damaged(resumed, case):
    unfinished, happened, words = DAMAGED[case]
    resumed(words, unfinished, happened)


def test_resume_with_outputs_of_another_graph(resumed):
    def happened(folder):
        other = Data(n_id=torch.arange(60), edge_index=torch.tensor([[0, 1], [1, 0]]))
        TeacherCache(folder / "teacher" / "outputs").save(Structure(logits=torch.zeros(60, 3), n_id=other.n_id), other)

    resumed(["stages.glnn", "60 nodes and 2 edges", "60 nodes and 300 edges", "leak"], "glnn", happened)


def test_initial_weights_cut_short(resumed):
    def happened(folder):
        (folder / "glnn" / "last.pth").unlink()
        cut("plain/student.pth")(folder)

    words = ["stages.glnn", "plain/student.pth is no readable checkpoint"]
    resumed(words, "glnn", happened, "--cfg-options", "stages.glnn.init_from=plain")


def test_resume_from_a_checkpoint_that_is_of_no_stage(refused, trained, tmp_path):
    arguments = ["train", trained.config, "--work-dir", tmp_path / "work", "--resume"]
    refused(["no checkpoint at", "none.pth"], *arguments, tmp_path / "none.pth")
    elsewhere = trained.work_dir / SEED_0 / "plain" / "last.pth"
    refused([str(elsewhere), "lies in no stage's folder", str(tmp_path / "work")], *arguments, elsewhere)


# -- checkpoints ---------------------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(trained, tmp_path):
    return shutil.copy(trained.work_dir / SEED_0 / "glnn" / "student.pth", tmp_path / "student.pth")


@pytest.mark.parametrize("name", ["test", "export"])
def test_checkpoints_that_cannot_be_read(refused, trained, checkpoint, tmp_path, name):
    refused(["no checkpoint at", "none.pth"], name, trained.config, tmp_path / "none.pth")
    whole = checkpoint.read_bytes()
    for content in (whole[: len(whole) // 3], whole[:-20], b"", b"hello"):
        checkpoint.write_bytes(content)
        refused(["student.pth is no readable checkpoint"], name, trained.config, checkpoint)
    torch.save({"run": nn.Linear(1, 1)}, checkpoint)
    refused(["student.pth holds more than tensors and plain data"], name, trained.config, checkpoint)
    torch.save([1], checkpoint)
    refused(["student.pth holds a list"], name, trained.config, checkpoint)


@pytest.mark.parametrize("name", ["test", "export"])
def test_checkpoints_of_something_else(refused, trained, checkpoint, name):
    arguments = [name, trained.config, checkpoint]
    refused(["student.pth", "no known stage", "Nearest: glnn"], *arguments, "--stage", "gln")
    refused(
        ["student.pth is a checkpoint of another model than this GCN", "convs.0.bias"], *arguments, "--stage", "teacher"
    )
    words = ["another model than this MLP", "lins.0.bias: (8,) in the file, (4,) in the model"]
    refused(words, *arguments, "--cfg-options", "stages.glnn.model.hidden_channels=4")
    torch.save({"weight": torch.ones(1)}, checkpoint)
    refused(["student.pth", "no known stage", "--stage"], *arguments)
    refused(["another model than this MLP", "missing lins.0.bias", "unexpected weight"], *arguments, "--stage", "glnn")


def test_models_from_checkpoints_of_others(train_refused, tiny_config, trained):
    def config(**model):
        path = trained.work_dir / SEED_0 / "teacher" / "student.pth"
        teacher = dict(model=dict(type="GCN") | model, checkpoint=str(path))
        return tiny_config(stages=dict(glnn=dict(teachers=dict(t=teacher))))

    words = ["stages.glnn", "teacher/student.pth is a checkpoint of another model than this GCN", "(8, 6) in the file"]
    train_refused(words, config=config(hidden_channels=4))
    train_refused(["stages.glnn.teachers.t.model", "needs the argument 'hidden_channels'"], config=config())
    words = ["stages.glnn", "init_from='teacher' is a checkpoint of another model than this MLP", "convs.0.bias"]
    train_refused(words, "stages.glnn.init_from=teacher")


def test_report_of_no_work_dir(refused, trained, tmp_path):
    refused(["There is no", "results.json"], "report", tmp_path)
    shutil.copytree(trained.work_dir, tmp_path / "work")
    cut("results.json")(tmp_path / "work")
    refused(["results.json is damaged"], "report", tmp_path / "work")
