import pytest
import torch

pytest.importorskip("matplotlib")

from structkd.visualization.codes import plot_codes


def test_a_labelled_codebook_becomes_an_image(tmp_path):
    from matplotlib.image import imread

    codes, labels = torch.randint(40, (300,)), torch.randint(-1, 5, (300,))
    path = plot_codes(codes, 50, tmp_path / "deep" / "codes.png", labels, class_names=list("abcde"))
    image = imread(path)
    assert image.shape[0] > 300 and image.shape[1] > 900 and image.std() > 0.01


@pytest.mark.parametrize("count", [0, 1, 5])
@pytest.mark.parametrize("labelled", [False, True])
def test_few_codes_and_no_labels(tmp_path, count, labelled):
    codes = torch.arange(count)
    labels = torch.full_like(codes, -1) if labelled else None
    assert plot_codes(codes, 8, tmp_path / "codes.png", labels).stat().st_size > 1000


def test_many_classes_need_no_legend(tmp_path):
    codes = torch.arange(30)
    assert plot_codes(codes, 30, tmp_path / "codes.png", labels=codes).exists()
