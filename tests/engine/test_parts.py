import pytest
import torch

from structkd.engine.parts import initialise
from structkd.errors import ConfigError
from structkd.models import GCN, MLP, TINEDStudent, ViT, VMoE

VIT = dict(preset="nano", width=8, depth=2, heads=2, image_size=8, patch_size=4)
SIZES = dict(in_channels=6, hidden_channels=8, out_channels=3)
WHOLE = {
    "V-MoE": (lambda: VMoE(3, **VIT, experts=2), lambda: ViT(3, **VIT), "a VMoE takes whole layers of a ViT"),
    "TINED": (lambda: TINEDStudent(**SIZES), lambda: GCN(**SIZES), "a TINEDStudent takes whole layers of a GCN"),
}


@pytest.mark.parametrize("case", WHOLE)
@pytest.mark.parametrize("narrow", [{}, {"nonsense": 1}])
def test_nothing_to_narrow_where_whole_layers_are_taken(case, narrow):
    student, teacher, words = WHOLE[case]
    with pytest.raises(ConfigError, match=f"^init_from='dense': narrow .*{words}"):
        initialise(student(), teacher(), "init_from='dense'", narrow)
    initialise(student(), teacher(), "init_from='dense'")


def test_leading_channels_of_a_model_of_the_same_kind():
    student, teacher = MLP(**SIZES), MLP(**SIZES | dict(hidden_channels=12))
    initialise(student, teacher, "init_from='wide'", {})
    assert torch.equal(student.lins[0].weight, teacher.lins[0].weight[:8])
    initialise(VMoE(3, **VIT, experts=2), VMoE(3, **VIT | dict(width=12), experts=2), "init_from='wide'", {})


@pytest.mark.parametrize(
    "narrow, words",
    [
        ({"concatenatd": {}}, r"narrow\.concatenatd: narrow_ takes no argument.*Nearest: concatenated"),
        ({"student": 1}, "could not be built: .*multiple values"),
        (3, "could not be built: .*not iterable"),
    ],
)
def test_arguments_that_narrowing_does_not_take(narrow, words):
    with pytest.raises(ConfigError, match=f"^init_from='wide'.*{words}"):
        initialise(MLP(**SIZES), MLP(**SIZES), "init_from='wide'", narrow)
