import sys


def test_a_torchvision_that_does_not_load_is_no_obstacle(command, tmp_path, monkeypatch):
    # Built for another torch, it fails with a RuntimeError, which mmengine's report of the environment does not expect.
    broken = tmp_path / "packages" / "torchvision"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text('raise RuntimeError("operator torchvision::nms does not exist")\n')
    monkeypatch.syspath_prepend(str(broken.parent))
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    options = ("run=teacher", "stages.teacher.train_cfg.max_epochs=1", "data.protocol.per_class=2")
    config = "configs/images/kd/cnn_to_vit_digits.py"
    done = command("train", config, "--work-dir", tmp_path / "work", "--seeds", "0", "--cfg-options", *options)
    assert done.code == 0, done.err
