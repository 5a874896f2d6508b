import pytest

from structkd.errors import DataError
from structkd.visualization.tables import (
    Table,
    markdown_overview,
    markdown_table,
    overview_table,
    replace_section,
    seed_table,
    stage_table,
    summary_table,
)


def test_stage_table_holds_the_figures(results):
    table = stage_table(results)
    assert table.columns == (
        "Model", "Role", "test accuracy, %", "vs plain", "vs teacher", "Parameters", "ms for 128",
    )  # fmt: skip
    assert table.rows[0] == ("GraphSAGE", "teacher", "91.00 ± 1.00", "–", "–", "1,234", "1.75")
    assert table.rows[1][:3] == ("MLP", "plain", "62.00 ± 2.00")
    # 25 and 24 points above the plain student, 5 and 4 below the teacher
    assert table.rows[2][:5] == ("GLNN (MLP)", "distilled", "86.50 ± 1.50", "+24.50 ± 0.50", "-4.50 ± 0.50")
    assert table.rows[3][:4] == ("Tokens (MLP)", "distilled, VQGraph", "61.50 ± 0.50", "-0.50 ± 1.50")


def test_validation_scores_are_not_shown_and_counts_are_no_percent(results):
    results["stages"]["vq"]["metrics"]["codes/perplexity"] = {"values": [40.0, 42.0], "mean": 41.0, "std": 1.0}
    table = stage_table(results)
    assert table.columns[2:4] == ("test accuracy, %", "codes perplexity")
    assert [row[3] for row in table.rows] == ["–", "–", "–", "41.00 ± 1.00"]


def test_missing_values_are_dashes(results):
    stage = results["stages"]["mlp"]
    stage["metrics"]["test/accuracy"] = {"values": [None, None], "mean": None, "std": None}
    stage["latency_ms"], stage["parameters"] = {}, None
    assert stage_table(results).rows[1] == ("MLP", "plain", "–", "–", "–", "–", "–")
    assert seed_table(results).rows[1] == ("MLP", "–", "–")


def test_equal_networks_show_one_latency(results):
    stages = results["stages"]
    for name, milliseconds, parameters in (("mlp", 3.0, 500), ("glnn", 2.0, 500), ("vq", 1.0, 700)):
        stages[name] |= dict(parameters=parameters, model="MLP", latency_ms={"128": {"compute": milliseconds}})
    assert [row[-1] for row in stage_table(results).rows] == ["1.75", "2", "2", "1"]
    stages["glnn"]["macs"] = 7  # another network, then
    assert [row[-1] for row in stage_table(results).rows][1:] == ["3", "2", "1"]
    for stage in stages.values():
        stage["parameters"] = None
    assert [row[-1] for row in stage_table(results).rows] == ["1.75", "3", "2", "1"]


def test_seed_table(results):
    table = seed_table(results)
    assert table.columns == ("Model", "seed 0", "seed 1")
    assert table.rows[2] == ("GLNN (MLP)", "85.00", "88.00")


def test_text_is_aligned_ascii():
    table = Table(("Model", "Role", "score"), (("GCN", "teacher", "9.00 ± 1.00"), ("long name", "x", "–")))
    lines = table.text().splitlines()
    assert lines == [
        "Model      Role            score",
        "--------------------------------",
        "GCN        teacher  9.00 +- 1.00",
        "long name  x                   -",
    ]


def test_markdown_escapes_and_aligns():
    lines = Table(("A|B", "C", "n"), (("x", "y", "1"),)).markdown().splitlines()
    assert lines == ["| A\\|B | C | n |", "| --- | --- | ---: |", "| x | y | 1 |"]


def test_html_escapes():
    page = Table(("a", "b", "n"), (("<b>", "&", "1"),)).html(["teacher"])
    assert "<tr class=teacher><td>&lt;b&gt;</td><td>&amp;</td><td class=number>1</td></tr>" in page


def test_summary_ends_with_what_it_says(results):
    text = summary_table(results)
    assert text.isascii()
    assert text.startswith("Digits <GNN to MLP>: 2 seeds (0, 1), random, transductive\n")
    assert text.splitlines()[-2].startswith("GLNN helps: +24.50 points")
    assert text.splitlines()[-1].startswith("Tokens shows no clear difference: -0.50 points")


def test_markdown_says_how_it_came_about(results):
    text = markdown_table(results)
    assert "| GLNN (MLP) | distilled | 86.50 ± 1.50 |" in text
    for words in ("2 seeds (0, 1)", "epoch with the best val/accuracy", "torch 2.13.0", "2026-01-02"):
        assert words in text.splitlines()[-1]


def test_overview_has_a_column_for_each_experiment(results):
    other = {**results, "stages": {"mlp": results["stages"]["mlp"]}, "paired": {}}
    table = overview_table({"cora": results, "citeseer": other})
    assert table.columns == ("Model", "Role", "cora", "citeseer")
    assert table.rows[0] == ("GraphSAGE", "teacher", "91.00 ± 1.00", "–")
    assert table.rows[1] == ("MLP", "plain", "62.00 ± 2.00", "62.00 ± 2.00")
    assert table.rows[2][2] == "86.50 ± 1.50 (+24.50)"
    assert "* citeseer: test accuracy" in markdown_overview({"cora": results, "citeseer": other})


def test_replace_section_touches_nothing_else():
    text = "# T\n<!-- results:a -->\nold\n<!-- results:a -->\nmiddle\n<!-- results:b -->\n<!-- results:b -->\nend\n"
    new = replace_section(text, "a", "| t |\n", "README.md")
    assert new == text.replace("\nold\n", "\n\n| t |\n\n", 1)
    assert replace_section(new, "a", "| t |", "README.md") == new
    with pytest.raises(DataError, match=r"README.md must hold .*results:c.* 0 times.*Sections that it has: a, b"):
        replace_section(text, "c", "", "README.md")
