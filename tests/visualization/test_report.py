import re
from html.parser import HTMLParser

import pytest

from structkd.visualization.curves import figures
from structkd.visualization.report import render_report
from structkd.visualization.run import Run, read_run, read_runs

PNG = b"\x89PNG\r\n\x1a\n"
VOID = {"meta", "img", "br"}


class Balanced(HTMLParser):
    """Fails on a tag that is closed in the wrong order."""

    def __init__(self):
        super().__init__()
        self.open, self.cells = [], []

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "td":
            self.cells.append(data)


@pytest.fixture
def page_and_images(work_dir):
    return render_report([read_run(work_dir)])


def test_page_holds_the_right_figures(page_and_images):
    page, _ = page_and_images
    parser = Balanced()
    parser.feed(page)
    assert not parser.open
    row = parser.cells.index("GLNN (MLP)")
    assert parser.cells[row : row + 5] == ["GLNN (MLP)", "distilled", "86.50 ± 1.50", "+24.50 ± 0.50", "-4.50 ± 0.50"]
    assert {"85.00", "88.00", "91.00 ± 1.00"} <= set(parser.cells)


def test_page_says_what_does_not_help_and_how_all_was_selected(page_and_images):
    page, _ = page_and_images
    assert re.search(r"<li class=helps>GLNN helps: \+24.50", page)
    assert re.search(r"<li class=unclear>Tokens shows no clear difference: -0.50", page)
    assert "epoch with the best val/accuracy" in page
    assert "&quot;lr&quot;: 0.0125" in page


def test_page_stands_alone_and_escapes(page_and_images):
    page, images = page_and_images
    assert "<script" not in page and "&lt;script&gt;" in page
    assert "<h1>Digits &lt;GNN to MLP&gt;</h1>" in page
    assert not re.findall(r"""(?:src|href)=["']?(?!data:|#)[^"'> ]+""", page)
    assert "@import" not in page and "url(" not in page
    assert page.count("data:image/png;base64,") == len(images) == 4


def test_figures_are_png_named_after_the_run(page_and_images):
    _, images = page_and_images
    assert set(images) == {f"digits_{name}.png" for name in ("scores", "differences", "curves", "latency")}
    assert all(png.startswith(PNG) for png in images.values())


def test_pictures_of_stages_are_embedded(work_dir, page_and_images):
    folder = work_dir / "seed_0" / "vq" / "figures"
    folder.mkdir()
    (folder / "codes.png").write_bytes(page_and_images[1]["digits_scores.png"])
    page, images = render_report([read_run(work_dir)])
    assert page.count("data:image/png;base64,") == 5
    assert "Tokens (MLP): drawn by the stage" in page and len(images) == 4


def test_several_runs_give_an_overview(work_dir):
    page, images = render_report(read_runs([work_dir, work_dir]))
    assert "<h1>2 experiments</h1>" in page and '<a href="#digits_2">' in page and '<section id="digits_2">' in page
    assert "86.50 ± 1.50 (+24.50)" in page
    assert len(images) == 8


def test_bare_results_give_a_page_without_figures(results):
    """One seed, one stage, no metric, no pairs: a run that has only begun."""
    stage = results["stages"]["mlp"] | {"metrics": {}, "latency_ms": {}, "epochs": [], "seconds": []}
    bare = {"name": "begun", "seeds": [0], "stages": {"mlp": stage}, "primary_metric": "test/accuracy"}
    run = Run("begun", bare)
    assert figures(run) == {}
    page, images = render_report([run])
    assert images == {} and "no difference is claimed" in page and "<td>MLP</td>" in page
