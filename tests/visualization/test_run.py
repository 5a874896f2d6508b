import pytest

from structkd.errors import DataError
from structkd.visualization.run import read_run, read_scalars


def test_reads_results_curves_and_the_first_seeds_figures(work_dir):
    for seed in (0, 1):
        folder = work_dir / f"seed_{seed}" / "vq" / "figures"
        folder.mkdir()
        (folder / "codes.png").write_bytes(b"png")
    run = read_run(work_dir)
    assert run.name == "digits"
    assert run.results["seeds"] == [0, 1]
    assert [line["epoch"] for line in run.curves["mlp"][0]] == [1, 2, 3]
    assert run.figures == {"vq": [work_dir / "seed_0" / "vq" / "figures" / "codes.png"]}


def test_a_repeated_epoch_counts_as_written_last_and_a_torn_line_is_left_out(tmp_path):
    path = tmp_path / "scalars.jsonl"
    path.write_text('{"epoch": 2, "a": 1}\n{"epoch": 1, "a": 0}\n{"epoch": 2, "a": 5}\n7\n{"epoch": 3, "a"')
    assert read_scalars(path) == [{"epoch": 1, "a": 0}, {"epoch": 2, "a": 5}]
    assert read_scalars(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "There is no .*results.json"),
        ("{", "results.json is damaged"),
        ('{"name": 1}', "has no seeds, stages"),
        ("[]", "has no name"),
    ],
)
def test_bad_results_are_one_clear_error(tmp_path, content, message):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(DataError, match=message):
        read_run(tmp_path)
